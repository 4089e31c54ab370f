"""A few foreign holdings of a generated market, and the rates that convert them (C6)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final
from zlib import crc32

import numpy as np

from batchcore.frames import Days, Decimals, Table, Text, known_states
from batchcore.schema import CURRENCY, RATES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchcore.config import Fx

HOME: Final = "USD"
"""The currency of generated portfolios."""

STARTS: Final = {"EUR": 1_100_000, "GBP": 1_250_000, "CHF": 1_150_000}
"""Currencies, and their first rates in `HOME`, with `SCALE` decimals."""

SCALE: Final = 6
ONE_OF: Final = 10
"""One symbol in this many is quoted in another currency."""

MOVE: Final = 0.004
"""Standard deviation of the daily change of a rate."""


def currency_of(symbol: str, seed: int) -> str | None:
    """Return the foreign currency of a symbol; most have none."""
    drawn = crc32(f"{seed} {symbol}".encode()) % (ONE_OF * len(STARTS))
    return [*STARTS][drawn] if drawn < len(STARTS) else None


def with_rates(tables: Sequence[Table], mapped: Fx, *, last: int, seed: int) -> tuple[Table, ...]:
    """Return tables in which a few symbols are quoted in other currencies, and one of rates.

    Rates are of every day from the earliest entry to the last session.
    """
    positions = next(table for table in tables if table.name == "positions")
    entries = positions.columns["entry_date"]
    first = last
    if isinstance(entries, Days):
        first = int(entries.values.min(initial=last))
    quoted = (
        _quoted(table, seed) if table.name == mapped.currency_table else table for table in tables
    )
    return (*quoted, rate_table(first, last, seed=seed))


def _quoted(table: Table, seed: int) -> Table:
    symbols = table.columns["symbol"]
    if not isinstance(symbols, Text):
        return table
    names = [*STARTS]
    own = [currency_of(symbol, seed) for symbol in symbols.table()]
    of_code = np.array([-1 if one is None else names.index(one) for one in own], dtype=np.int64)
    code, listed = of_code[symbols.codes], Text.of(names)
    currency = replace(
        listed, codes=np.maximum(code, 0).astype(np.uint32), state=known_states(code >= 0)
    )
    return replace(table, columns={**table.columns, CURRENCY.name: currency})


def rate_table(first: int, last: int, *, seed: int) -> Table:
    """Return the rates of `STARTS` on every day of a range: random walks."""
    days = np.arange(first, last + 1, dtype=np.int32)
    rng = np.random.default_rng([seed, 7])
    moves = rng.normal(0.0, MOVE, (len(STARTS), len(days))).cumsum(axis=1)
    starts = np.array([*STARTS.values()])[:, None]
    rates = np.maximum(np.rint(starts * np.exp(moves)), 1).astype(np.int64)
    rows = len(STARTS) * len(days)
    bases = Text.of([*STARTS])
    codes = np.repeat(np.arange(len(STARTS), dtype=np.uint32), len(days))
    return Table(
        RATES,
        rows,
        {
            "base": replace(bases, codes=codes, state=np.zeros(rows, dtype=np.uint8)),
            "quote": Text.constant(HOME, rows),
            "date": Days(np.tile(days, len(STARTS))),
            "rate": Decimals(rates.reshape(-1), SCALE),
        },
    )
