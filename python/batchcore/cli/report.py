"""The command `report`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path  # the command line reads the annotations
from typing import Annotated, Any, Final

from batchcore.cli import options as given
from batchcore.cli.app import Call, command
from batchcore.cli.exits import DONE
from batchcore.cli.options import Date, flag, option
from batchcore.cli.signals import finish
from batchcore.config import VALUATION, Settings
from batchcore.errors import ConfigError
from batchcore.options import RunOptions
from batchcore.units import MARKET

_DEFAULTS: Final = RunOptions()


@command("report")
def report(
    call: Call,
    *,
    out: Annotated[Path, option("FILE", "HTML file to write.", show_default=False)],
    run: Annotated[
        str | None,
        option(
            "ID", "Run to show, a shard with its group; default: the latest.", show_default=False
        ),
    ] = None,
    group: Annotated[
        str | None, option("ID", "Show all shards of a run, as one night.", show_default=False)
    ] = None,
    verify: Annotated[
        bool, flag("--verify", "Recompute the rows of the last session of the run, natively.")
    ] = False,
    portfolio: Annotated[
        str | None, option("ID", "Portfolio to show instead of a night.", show_default=False)
    ] = None,
    since: Annotated[
        Date, given.date_option("First session to show of a portfolio; default: all.")
    ] = None,
    benchmark: Annotated[
        str | None,
        option(
            "SYMBOL", f"Symbol to compare a portfolio with; default: {MARKET}, if it has closes."
        ),
    ] = None,
    policy: Annotated[
        str | None, option("NAME", f"Valuation rules of a portfolio; default: {_DEFAULTS.policy}.")
    ] = None,
    calendar: Annotated[
        str | None, option("CODE", f"Calendar of a portfolio; default: {_DEFAULTS.calendar}.")
    ] = None,
    lookback_days: Annotated[
        int | None,
        option(
            "N", f"Days after which closes are stale; default: {_DEFAULTS.settings.lookback_days}."
        ),
    ] = None,
    fx_lookback_days: Annotated[
        int | None,
        option(
            "N", f"Maximum age of a rate in days; default: {_DEFAULTS.settings.fx_lookback_days}."
        ),
    ] = None,
    fx_pivot: Annotated[
        str | None,
        option("CODE", f"Currency to convert through; default: {_DEFAULTS.settings.fx_pivot}."),
    ] = None,
) -> int:
    """Write an HTML page about a night or a portfolio.

    The page loads nothing from elsewhere. The options from --since to --fx-pivot apply to the page
    of a portfolio only: a night has the policy, calendar and settings of its run.
    """
    from batchcore.pages.night import load_night  # noqa: PLC0415  # brings NumPy and the driver
    from batchcore.pages.portfolio import load_portfolio_page  # noqa: PLC0415  # likewise
    from batchcore.pages.write import write_page  # noqa: PLC0415  # likewise

    asked: dict[str, Any] = {
        "since": since,
        "benchmark": benchmark,
        "policy": policy,
        "calendar": calendar,
        "lookback_days": lookback_days,
        "fx_lookback_days": fx_lookback_days,
        "fx_pivot": fx_pivot,
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    if portfolio is None:
        for name in asked:
            word = name.replace("_", "-")
            raise ConfigError(
                f"--{word} applies to the page of a portfolio: give --portfolio too", name
            )
        work = write_page(
            out,
            lambda: load_night(
                call.url, run_id=run, group=group, verifies=verify, schema=call.schema
            ),
        )
    else:
        for name, value in (("run", run), ("group", group), ("verify", verify)):
            if value:
                raise ConfigError(
                    f"--{name} applies to the page of a night: leave out --portfolio", name
                )
        own = {name: asked.pop(name) for name in VALUATION if name in asked}
        settings = Settings(schema=call.schema, **own)
        work = write_page(
            out, lambda: load_portfolio_page(call.url, portfolio, settings=settings, **asked)
        )
    written = finish(work)
    kilobytes = -(-written.size_bytes // 1000)
    text = f"{written.page} {written.shows}: {written.path}, {kilobytes:,} kB"
    call.answer(asdict(written), lambda: text)
    return DONE
