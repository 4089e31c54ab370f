"""The command `generate`."""

from __future__ import annotations

from typing import Annotated

from batchcore.cli.app import Call, command
from batchcore.cli.exits import DONE
from batchcore.cli.options import Seed, option
from batchcore.cli.output import showing_progress
from batchcore.cli.signals import finish
from batchcore.config import PRICE_BASES, QUANTITY_BASES
from batchcore.errors import ConfigError
from batchcore.words import counted

BASES = PRICE_BASES[0], QUANTITY_BASES[0]
"""The bases of generated closes and quantities."""


@command("generate")
def generate(
    call: Call,
    *,
    portfolios: Annotated[int, option("N", "Number of portfolios.")] = 1000,
    symbols: Annotated[int, option("N", "Number of stocks and options.")] = 500,
    sessions: Annotated[int, option("N", "Number of sessions, up to 2025-06-30.")] = 120,
    seed: Seed = 1,
) -> int:
    """Fill an empty, migrated database with generated portfolios.

    With a table of rates in the schema a few symbols are quoted in other currencies.

    With a table of splits in the schema a few stocks split: closes as traded, positions as entered.
    """
    from batchcore.calendar import date_of  # noqa: PLC0415  # brings NumPy
    from batchcore.demo import run as demos  # noqa: PLC0415  # brings the driver too

    splits = call.schema.splits
    if splits is not None and (splits.price_basis, splits.quantity_basis) != BASES:
        msg = (
            f"the schema has splits {splits.price_basis} and {splits.quantity_basis}, expected"
            f" {' and '.join(BASES)}: that is what is generated"
        )
        raise ConfigError(msg, "schema")
    size = demos.Size(portfolios, symbols, sessions)
    data = demos.seeded(size, seed=seed, splits=splits is not None)
    with showing_progress() as progress:
        rows = finish(data.write(call.url, schema=call.schema, progress=progress))
    start, end = date_of(data.market.start).isoformat(), date_of(data.market.end).isoformat()
    document = {
        "portfolios": portfolios,
        "symbols": symbols,
        "sessions": sessions,
        "start": start,
        "end": end,
        "seed": seed,
        "rows_written": rows,
    }
    made = f"{counted(portfolios, 'portfolio')}, {counted(symbols, 'symbol')}, seed {seed}"
    call.answer(
        document,
        lambda: (
            f"{counted(rows, 'row')} written: {made}\n"
            f"now: batchcore run --start {start} --end {end}"
        ),
    )
    return DONE
