"""The commands `run` and `plan`."""

from __future__ import annotations

import sys
from dataclasses import asdict, fields
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import batchcore
from batchcore import policies
from batchcore.cli import options as given
from batchcore.cli.app import Call, command, views
from batchcore.cli.basis import check_basis
from batchcore.cli.exits import DONE, INCOMPLETE, NOTHING_TO_DO
from batchcore.cli.options import Date, OkIfNothing, PortfolioIds, PortfoliosFile, flag, option
from batchcore.cli.output import (
    first_of,
    listed,
    listed_lines,
    named_counts,
    print_stderr,
    showing_progress,
)
from batchcore.cli.processes import run_processes
from batchcore.cli.signals import finish
from batchcore.config import CHECKS, Settings
from batchcore.errors import ConfigError
from batchcore.words import counted, counted_are

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from batchcore.run.result import BatchResult

    Work = Callable[..., Coroutine[Any, Any, BatchResult]]

Result = TypeVar("Result")

PARALLEL: Final = 4
"""Default number of databases worked on at a time."""

SYMBOLS: Final = 5
"""Number of symbols of an issue that a report names."""

OPTIONS: Final = given.derived()
OWN: Final = [given.PROCESSES, *given.DATABASES]
CHECK_BASIS: Final = given.text(
    "check_basis", "SYMBOL", "Show whether its closes and quantities are split-adjusted."
)
FINDINGS: Final = 5
"""Number of findings of the checks of prices that a plan lists."""

PLAN: Final = "Show what `run` would do with these options; write nothing."


@command("plan", [*OPTIONS, CHECK_BASIS, given.PLAN_ARTIFACT], text=PLAN)
@command("run", [*OPTIONS, *OWN, given.ARTIFACT, given.METRICS])
def run(
    call: Call,
    *,
    start: Annotated[  # noqa: ANN401  # a date or `inception`: Typer takes no union
        Any,
        option(
            "DATE|inception",
            "First day; default: after each portfolio's latest snapshot.",
            parser=given.start,
        ),
    ] = None,
    end: Annotated[Date, given.date_option("Last day; default: the last closed session.")] = None,
    portfolio: PortfolioIds = None,
    portfolios_file: PortfoliosFile = None,
    dry_run: Annotated[
        bool, flag("--dry-run", "Plan only: compute and write nothing, like `plan`.")
    ] = False,
    ok_if_nothing: OkIfNothing = False,
    **options: Any,  # noqa: ANN401  # those of `RunOptions` and `Settings`
) -> int:
    """Value portfolios over a range and write their snapshots."""
    if (symbol := options.pop("check_basis", None)) is not None:
        return check_basis(call, symbol)
    dry_run = dry_run or call.command == "plan"
    which = start, end, portfolio, portfolios_file
    processes = options.pop("processes", 1)  # `plan` has none of these
    file, parallel = options.pop("databases", None), options.pop("parallel", None)
    if file is None and parallel is not None:
        raise ConfigError(
            "--parallel applies to several databases: give --databases too", "parallel"
        )
    if file is not None:
        from batchcore.cli.databases import run_on_databases  # noqa: PLC0415  # it needs this module

        if processes > 1:
            msg = "--databases uses one process: give --databases or --processes"
            raise ConfigError(msg, "processes")
        return run_on_databases(
            *(call, file, which, options),
            parallel=parallel or PARALLEL,
            dry_run=dry_run,
            ok_if_nothing=ok_if_nothing,
        )
    if processes > 1 and options["shard"] is not None:
        raise ConfigError("a shard is one process: give --shard or --processes", "processes")
    work: Work = batchcore.run_batch
    if processes > 1 and not dry_run:
        work = partial(run_processes, count=processes, verbose=call.verbose)
    result = run_batch(work, call, which, options, dry_run=dry_run)
    if dry_run:
        plan = plan_dict(result, options["min_coverage"])
        call.record.report(result, plan)
        call.answer(plan, lambda: plan_text(result, plan), lambda: views().plan_parts(result, plan))
    else:
        document = result.to_dict()
        call.record.report(result, document)
        call.answer(
            document,
            lambda: result_text(result, document),
            lambda: views().run_parts(result, document),
        )
    return code_of(call, result, ok_if_nothing=ok_if_nothing)


def run_batch(
    work: Callable[..., Coroutine[Any, Any, Result]],
    call: Call,
    which: tuple[Any, Any, list[str] | None, str | None],
    options: Mapping[str, Any],
    *,
    dry_run: bool,
) -> Result:
    """Return the result of a run or repair of the portfolios named or listed in a file."""
    if dry_run and call.record.metrics is not None:
        call.record.metrics = None
        raise ConfigError("a dry run has no metrics: give --artifact or --json instead", "metrics")
    start, end, portfolios, file = which
    if file is not None:
        portfolios = given.portfolios(portfolios, file)
    names = {one.name for one in fields(Settings)}
    own = {name: value for name, value in options.items() if name in names}
    own["checks"] = given.entries(own.get("checks"), "checks")
    chosen = {name: value for name, value in options.items() if name not in names}
    chosen["settings"] = Settings(schema=call.schema, dry_run=dry_run, **own)
    with showing_progress() as progress:
        run = work(call.url, start, end, portfolios, progress=progress, **chosen)
        return finish(run, call.record.leave)


def code_of(call: Call, result: BatchResult, *, ok_if_nothing: bool) -> int:
    """Return the exit code of a run, and print the failed portfolios unless they were shown."""
    both = [result] if result.resumed is None else [result.resumed, result]
    if not (call.on_terminal and sys.stderr.isatty()):
        for line in (line for one in both for line in failure_lines(one)):
            print_stderr(line)
    if any(one.failed for one in both):
        return INCOMPLETE
    if all(one.nothing_to_do for one in both) and not ok_if_nothing:
        return NOTHING_TO_DO
    return DONE


def failure_lines(result: BatchResult) -> list[str]:
    """Return a line for each failed portfolio, and the number of others."""
    return listed_lines(result.errors(), "failed")


def result_text(result: BatchResult, document: Mapping[str, Any]) -> str:
    """Return the result of a run, preceded by that of the run that it finished first."""
    both = [] if result.resumed is None else [_own_text(result.resumed, document["resumed"])]
    return "\n".join([*both, _own_text(result, document)])


def _own_text(result: BatchResult, document: Mapping[str, Any]) -> str:
    if not document["sessions"]:
        return "\n".join([nothing_text(document), *issue_lines(result)])
    cache, failed = document["cache"], document["portfolios_failed"]
    written = document["portfolios_processed"]
    skipped = len(document["portfolios"]["id"]) - written - failed
    rate = "none" if cache["hit_rate"] is None else f"{cache['hit_rate']:.2%}"
    rows, chunks = document["rows_written"], document["chunks"]
    lines = [
        (
            f"{' '.join(named(document))}: {document['policy']}, {sessions_text(document)}"
            f"{attempt_text(document)}"
        ),
        f"portfolios: {written:,} complete, {skipped:,} skipped, {failed:,} failed",
        f"rows: {rows:,} written in {counted(chunks, 'chunk')}",
        f"marks: {rate} hits; {marks_text(cache)}",
        *phase_lines(document),
        *shard_lines(document),
    ]
    return "\n".join([*lines, *note_lines(result, document)])


def named(document: Mapping[str, Any]) -> tuple[str, str]:
    """Return the option of `status` that shows a run, or all its shards, with its id."""
    is_group = document["group"] is not None and document["shard"] is None
    return ("group" if is_group else "run"), document["run_id"]


def attempt_text(document: Mapping[str, Any]) -> str:
    """Return the number of the attempt, if not the first."""
    return "" if document["attempt"] == 1 else f", attempt {document['attempt']}"


def phase_lines(document: Mapping[str, Any]) -> list[str]:
    """Return statements and seconds by phase."""
    statements, seconds = document["statements_by_phase"], document["seconds_by_phase"]
    counts = [f"{phase} {count:,}" for phase, count in statements.items()]
    spent = [f"{phase} {time:.2f}" for phase, time in seconds.items() if phase != "total"]
    return [
        f"statements: {', '.join(counts)}; {document['statements']:,} in all",
        f"seconds: {', '.join(spent)}; {seconds['total']:.2f} in all",
    ]


def shard_lines(document: Mapping[str, Any]) -> list[str]:
    """Return the ends of the shards of a run, and the snapshots that they read."""
    if not document["shards"]:
        return []
    held = document["snapshot_seconds"]
    views = "each shard read a snapshot of its own"
    if held is not None:
        views = f"one for all shards, held for {held:.2f} seconds"
    return [
        f"snapshot: {views}",
        *(
            f"shard {one['shard']}: {one['state']}, {counted(one['portfolios'], 'portfolio')},"
            f" {counted(one['rows_written'], 'row')}, {one['seconds']:.2f} seconds"
            + ("" if one["consistent"] else ", read a later snapshot")
            for one in document["shards"]
        ),
    ]


def note_lines(result: BatchResult, document: Mapping[str, Any]) -> list[str]:
    """Return the issues."""
    return [*run_notes(document), *issue_lines(result)]


def run_notes(document: Mapping[str, Any]) -> list[str]:
    """Return further notes, each line a name and a text."""
    retries, rounded = document["retries"], document["rounded"]
    lines = []
    if retries:
        newer = "retried chunks used newer data than the rest of the run"
        lines.append(f"retries: {retries:,}; {newer}")
    lines += [f"analytics off: {part}, {why}" for part, why in document["analytics_off"].items()]
    if rounded:
        named = ", ".join(f"{count:,} of {name}" for name, count in rounded.items())
        lines.append(f"doubles rounded: {named}")
    return lines


def issue_lines(result: BatchResult) -> list[str]:
    """Return a line for each name of issues, with their number and the first symbols."""
    subjects = result.subjects_by_issue()
    return [
        f"issue {name}: {count:,}"
        + (f" ({first_of(subjects[name], SYMBOLS)})" if name in subjects else "")
        for name, count in result.issues_by_name().items()
    ]


def plan_dict(result: BatchResult, min_coverage: float) -> dict[str, Any]:
    """Return the report of a dry run for JSON, with derived figures.

    If the policy does not check prices, there are none about them.
    """
    from batchcore.run.result import NO_CLOSE  # noqa: PLC0415  # brings NumPy

    document = result.to_dict()
    document["rows_planned"] = sum(document["portfolios"]["sessions_planned"])
    if not policies.entry(result.policy).checks_prices:
        return document
    issues, coverage = document["issues"], document["coverage"]
    stale, unpriced, lacking = (
        [issue for issue in issues if issue["name"] == name]
        for name in ("stale", "unpriced", "lacks_prices")
    )
    return document | {
        "time_stamps": [asdict(one) for one in result.stamps],
        "min_coverage": min_coverage,
        "sessions_below_min_coverage": [s for s, share in coverage.items() if share < min_coverage],
        "sessions_below_full_coverage": [s for s, share in coverage.items() if share < 1],
        "symbols_without_close": [
            issue["symbol"] for issue in unpriced if issue["detail"].endswith(NO_CLOSE)
        ],
        "symbols_lacking_prices": sorted({issue["symbol"] for issue in (*stale, *unpriced)}),
        "sessions_lacking_prices": [
            issue["session"] for issue in lacking if issue["portfolio"] is None
        ],
        "portfolios_lacking_prices": [
            issue["portfolio"] for issue in lacking if issue["portfolio"] is not None
        ],
        "price_findings": [issue for issue in issues if issue["name"] in CHECKS],
    }


def finding_lines(plan: Mapping[str, Any]) -> list[str]:
    """Return a line for each of the first findings of the checks of prices."""
    found = plan["price_findings"]
    lines = [
        f"{one['name']} {one['symbol'] or one['portfolio']} on {one['session']}: {one['detail']}"
        for one in found[:FINDINGS]
    ]
    more = len(found) - FINDINGS
    return [*lines, f"{more:,} more findings; --json lists all"] if more > 0 else lines


def plan_text(result: BatchResult, plan: Mapping[str, Any]) -> str:
    """Return what a run would do, from a dry run and its document."""
    left_out = f"skipped dates (not trading sessions): {listed(plan['sessions_left_out'])}"
    stamps = stamp_lines(plan.get("time_stamps", ()))
    if result.nothing_to_do:
        nothing = [nothing_text(plan), *issue_lines(result)]
        return "\n".join([*nothing, left_out, *stamps])
    sessions = plan["portfolios"]["sessions_planned"]
    planned = sum(count > 0 for count in sessions)
    lines = [
        f"would run {sessions_text(plan)}",
        f"portfolios: {planned:,} of {len(sessions):,} have something to write",
        f"rows: {plan['rows_planned']:,} to write",
        left_out,
    ]
    if not policies.entry(result.policy).checks_prices:
        lines.append(f"prices: not looked at under the policy {result.policy}")
    else:
        lines += [
            f"symbols without any close: {listed(plan['symbols_without_close'])}",
            *(
                f"{what} lacking prices: {listed(plan[f'{what}_lacking_prices'])}"
                for what in ("symbols", "sessions", "portfolios")
            ),
            f"sessions below full coverage: {listed(plan['sessions_below_full_coverage'])}",
            f"findings of price checks: {len(plan['price_findings']) or 'none'}",
            *(f"  {line}" for line in finding_lines(plan)),
            *_coverage_lines(result, plan),
        ]
    return "\n".join([*lines, *stamps, *note_lines(result, plan)])


def _coverage_lines(result: BatchResult, plan: Mapping[str, Any]) -> list[str]:
    coverage, share = result.coverage, result.coverage.share().tolist()
    counts = zip(coverage.fresh.tolist(), coverage.recent.tolist(), strict=True)
    least = float(plan["min_coverage"])
    lines = [f"symbols with a close, by session (at least {least:.1%}):"]
    for row, (session, (fresh, recent)) in enumerate(zip(plan["coverage"], counts, strict=True)):
        mark = "  below" if share[row] < least else ""
        lines.append(f"  {session}  {fresh:>6,} of {recent:>6,}  {share[row]:>6.1%}{mark}")
    if below := len(plan["sessions_below_min_coverage"]):
        lines.append(f"the run would stop: {counted_are(below, 'session')} below {least:.1%}")
    return lines


def stamp_lines(stamps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return which of the two ways to apply corrections the time stamps suggest, and why."""
    if not stamps:
        return []
    loose = [one["table"] for one in stamps if not one["trigger"]]
    if any(one["touched"] * 2 > one["rows"] for one in stamps):
        advice = (
            "use repair: most rows are touched each day, which --changed-since takes for changes"
        )
    elif loose:
        advice = (
            "use repair, unless your application sets updated_at: no trigger of"
            f" {', '.join(loose)} does"
        )
    else:
        advice = "use --changed-since: triggers set updated_at; repair finds deleted rows too"
    shares = ", ".join(
        f"{one['touched']:,} of {one['rows']:,} {one['table']}" for one in stamps if one["rows"]
    )
    if shares:
        advice += f" (updated in the last 24 hours, of a sample: {shares})"
    return [f"late corrections: {advice}"]


def nothing_text(document: Mapping[str, Any]) -> str:
    """Return why there is nothing to do."""
    if not document["portfolios"]["id"]:
        return "nothing to do: there is no portfolio to run"
    return "nothing to do: no session of the range is left to write"


def sessions_text(document: Mapping[str, Any]) -> str:
    """Return the number of sessions of a run, with the first and the last."""
    sessions = document["sessions"]
    return f"{counted(len(sessions), 'session')} from {sessions[0]} to {sessions[-1]}"


def marks_text(cache: Mapping[str, Any]) -> str:
    """Return the numbers of fresh, lookback, stale and unpriced marks."""
    names = {"lookback_hits": "by lookback"}
    keys = ("fresh", "lookback_hits", "stale", "unpriced")
    return named_counts({names.get(key, key): cache[key] for key in keys})
