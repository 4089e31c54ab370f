"""The command `report`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # the command line looks at types
from typing import TYPE_CHECKING, Annotated, Any

from batchcore.cli import options as given
from batchcore.cli.app import Call, command
from batchcore.cli.exits import DONE
from batchcore.cli.options import Date, flag, option
from batchcore.cli.signals import finish
from batchcore.config import Settings
from batchcore.errors import ConfigError
from batchcore.units import MARKET

if TYPE_CHECKING:
    from batchcore.pages.write import Written


@command("report", given.derived(only=("policy", "calendar", "lookback_days")))
def report(
    call: Call,
    *,
    out: Annotated[Path, option("FILE", "HTML file to write.", show_default=False)],
    run: Annotated[
        str | None, option("ID", "Run to show; default: the latest.", show_default=False)
    ] = None,
    verify: Annotated[bool, flag("--verify", "Recompute the rows of the night, natively.")] = False,
    portfolio: Annotated[
        str | None, option("ID", "Portfolio to show instead of a night.", show_default=False)
    ] = None,
    since: Annotated[
        Date, given.date_option("First session to show of a portfolio; default: all.")
    ] = None,
    benchmark: Annotated[
        str, option("SYMBOL", "What a portfolio is compared with; empty is none.")
    ] = MARKET,
    **options: Any,  # noqa: ANN401  # of `RunOptions` and `Settings`
) -> int:
    """Write a page about a night, or about a portfolio, as one HTML file that loads nothing.

    A night is shown by the policy, calendar and lookback of its run; options are for a portfolio.
    """
    from batchcore.pages import write  # noqa: PLC0415  # brings NumPy and the driver

    if portfolio is None:
        if since is not None:
            raise ConfigError("since is of a portfolio: give --portfolio too", "since")
        work = write.write_night(call.url, out, run_id=run, verifies=verify, schema=call.schema)
    else:
        if run is not None or verify:
            name = "run" if run is not None else "verify"
            raise ConfigError(f"{name} is of a night: give no --portfolio with it", name)
        lookback_days = options.pop("lookback_days")
        settings = Settings(schema=call.schema, lookback_days=lookback_days)
        options |= {"since": since, "benchmark": benchmark, "settings": settings}
        work = write.write_portfolio(call.url, out, portfolio, **options)
    written = finish(work)
    call.answer(written.to_dict(), lambda: written_text(written))
    return DONE


def written_text(written: Written) -> str:
    """Return which page was written, and where."""
    kilobytes = -(-written.size_bytes // 1000)
    return f"{written.page} {written.shows}: {written.path}, {kilobytes:,} kB"
