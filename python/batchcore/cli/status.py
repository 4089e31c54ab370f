"""The command `status`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Final

from batchcore.cli.app import Call, command, views
from batchcore.cli.exits import DONE, FAILED, INCOMPLETE, LEASE_HELD
from batchcore.cli.options import option
from batchcore.cli.output import aligned, first_of, listed_lines, named_counts
from batchcore.cli.run import SYMBOLS
from batchcore.cli.signals import finish
from batchcore.config import RUN_STATES, shard_text
from batchcore.words import counted, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchcore.run.status import RunStatus

CODES: Final = {"complete": DONE, "incomplete": INCOMPLETE, "running": LEASE_HELD}
"""Exit codes of a group by its state; any other state is to be run again."""

SINCE: Final = "next_changed_since"


@command("status")
def status(
    call: Call,
    *,
    run: Annotated[str | None, option("ID", "Show one run, with its chunks and issues.")] = None,
    group: Annotated[
        str | None, option("ID", "Show all shards of a run; exit with the worst code.")
    ] = None,
    limit: Annotated[int, option("N", "Number of runs to show, latest first.")] = 20,
) -> int:
    """Show runs and what they have committed."""
    from batchcore.run import status as ledger  # noqa: PLC0415  # brings the driver

    if run is None and group is None:
        runs = finish(ledger.runs_and_groups(call.url, limit=limit, schema=call.schema))
        shown, following = [one.to_dict() for one in runs[:limit]], next_lines(runs)
        call.answer(
            {"runs": shown},
            lambda: runs_text(shown, following),
            lambda: views().runs_parts(shown, following),
        )
        return DONE
    found = finish(ledger.runs(call.url, run_id=run, group=group, schema=call.schema))
    if group is not None:
        whole = group_dict(found)
        latest = [one.to_dict() for one in ledger.latest_of_each(found)]
        call.answer(
            whole, lambda: group_text(whole, latest), lambda: views().group_parts(whole, latest)
        )
        return CODES.get(whole["state"], FAILED)
    own = found[0].to_dict()
    call.answer(own, lambda: run_text(own), lambda: views().of_ledger_parts(own))
    return DONE


def runs_text(runs: Sequence[Mapping[str, Any]], following: Sequence[str]) -> str:
    """Return runs of the ledger, a line for each, and the following lines."""
    if not runs:
        return "the ledger has no runs"
    counts = ("attempt", "portfolios", "failed", "chunks")
    shard = ("shard",) if any(run["shard"] for run in runs) else ()
    rows = [("run", *shard, "state", "policy", "range", *counts, "rows", "began")]
    for run in runs:
        own = [_or_dash(run[name]) for name in shard]
        numbers = (_or_dash(run[name]) for name in (*counts, "rows_written", "created_at"))
        asked = command_text(run["asked"]), range_text(run)
        rows.append((run["run_id"], *own, run["state"], *asked, *numbers))
    return "\n".join([*aligned(rows), *following])


def next_lines(runs: Sequence[RunStatus]) -> list[str]:
    """Return the moment since which the next correction after some runs has to look."""
    groups: dict[str, list[RunStatus]] = {}
    for run in runs:
        groups.setdefault(run.group or run.run_id, []).append(run)
    whole = [
        (own[0].asked, group)
        for own in groups.values()
        if (group := group_dict(own))["state"] == "complete" and own[0].portfolios_asked is None
    ]
    corrected = [group for asked, group in whole if asked["changed_since"] or asked.get("repairs")]
    # A run that corrects nothing has not seen changes behind existing rows.
    shown = corrected[:1] or [group for _, group in whole[-1:]]
    return [line for group in shown for line in correction_lines(group)]


def group_dict(runs: Sequence[RunStatus]) -> dict[str, Any]:
    """Return the runs of a group as one report, or a single run that is not a shard.

    For a shard that was run again the latest run counts; rows, chunks and seconds are those of all
    its runs.
    """
    from batchcore.run.status import MISSING, latest_of_each, shards_of  # noqa: PLC0415  # as above

    latest, shards = latest_of_each(runs), shards_of(runs)
    missing = [shard_text(one.shard) for one in shards if one.state == MISSING]
    views = {run.snapshot_id for run in latest}
    by_status = Counter[str]()
    for run in latest:
        by_status.update(run.portfolios_by_status)
    since = min(filter(None, (run.next_changed_since for run in runs)), default=None)
    return {
        "group": runs[0].group,
        "state": max((one.state for one in shards), key=RUN_STATES.index),
        "shards": len(shards),
        "missing": missing,
        "portfolios": sum(one.portfolios for one in shards),
        "failed": sum(one.failed for one in shards),
        "chunks": sum(run.chunks for run in runs),
        "rows_written": sum(one.rows_written for one in shards),
        "seconds": max(one.seconds for one in shards),
        "portfolios_by_status": dict(sorted(by_status.items())),
        "issues_by_name": _issues_by_name(latest),
        "one_view": None if missing or None in views else len(views) == 1,
        SINCE: plain(since),
        "runs": [run.to_dict() for run in runs],
    }


def _issues_by_name(runs: Sequence[RunStatus]) -> dict[str, int]:
    """Return the number of issues of runs; those of several about one symbol count once."""
    of_symbols: dict[tuple[str, str | None], int] = {}
    counts = Counter[str]()
    for run in runs:
        for own in run.issues:
            counts[own.name] += own.count
        for one in run.symbol_issues:
            key = one.name, one.symbol
            of_symbols[key] = max(of_symbols.get(key, 0), one.count)
    for (name, _), count in of_symbols.items():
        counts[name] += count
    return dict(sorted(counts.items()))


def view_text(group: Mapping[str, Any]) -> str:
    """Return whether all shards of a group read one snapshot."""
    texts = {True: "one snapshot", False: "several snapshots", None: "not all shards have begun"}
    return texts[group["one_view"]]


def group_text(group: Mapping[str, Any], latest: Sequence[Mapping[str, Any]]) -> str:
    """Return all shards of a group, and the issues of the latest run of each."""
    return "\n".join(
        [
            f"group {group['group']}: {group['state']}, {counted(group['shards'], 'shard')}",
            f"read: {view_text(group)}",
            f"portfolios: {group['portfolios']:,}, {group['failed']:,} failed",
            (
                f"rows: {group['rows_written']:,} written in {counted(group['chunks'], 'chunk')},"
                f" {group['seconds']:.3f} seconds of the slowest shard"
            ),
            *correction_lines(group),
            *(_shard_line(run) for run in group["runs"]),
            *(f"shard {shard}: missing" for shard in group["missing"]),
            *issue_lines(latest),
        ]
    )


def _shard_line(run: Mapping[str, Any]) -> str:
    """Return the end of a shard."""
    error = f": {run['error']}" if run["error"] else ""
    return (
        f"shard {run['shard']}: run {run['run_id']}, {run['state']}, attempt {run['attempt']},"
        f" {counted(run['portfolios'] or 0, 'portfolio')}, {run['failed']:,} failed,"
        f" {counted(run['rows_written'], 'row')}{error}"
    )


def correction_lines(run: Mapping[str, Any]) -> list[str]:
    """Return the moment since which the correction after a run or group has to look, if known."""
    if run["state"] != "complete" or run[SINCE] is None:
        return []
    return [f"next correction: --changed-since {run[SINCE]}"]


def run_text(run: Mapping[str, Any]) -> str:
    """Return one run of the ledger with its chunks, and the portfolios with issues."""
    asked = run["asked"]
    shard = f", shard {run['shard']} of group {run['group']}" if run["group"] else ""
    of = "all" if run["portfolios_asked"] is None else f"{run['portfolios_asked']:,} asked for"
    lines = [
        f"run {run['run_id']}: {run['state']}, attempt {run['attempt']}{shard}",
        (
            f"asked for: {command_text(asked)}, {range_text(run)}, calendar {asked['calendar']},"
            f" on_existing {asked['on_existing']}, portfolios: {of}"
        ),
        (
            f"began {run['created_at']}, this attempt {run['started_at']}"
            f"{_at(', ended', run['ended_at'])}{_at(', last heartbeat', run['beat_at'])}"
            f"{_at(', lease until', run['expires_at'])}"
        ),
        f"read: snapshot {_or_dash(run['snapshot_id'])} at {_or_dash(run['lsn'])}",
        f"portfolios: {_or_dash(run['portfolios'])}, {run['failed']:,} failed",
        (
            f"rows: {run['rows_written']:,} written in {counted(run['chunks'], 'chunk')},"
            f" {run['seconds']:.3f} seconds, batchcore {run['code_version']}"
        ),
        *correction_lines(run),
    ]
    if run["error"]:
        lines.append(f"error: {run['error']}")
    lines += [
        f"chunk {chunk['chunk']}: {chunk['first_portfolio']} to {chunk['last_portfolio']},"
        f" {counted(chunk['sessions'], 'session')}, {counted(chunk['rows_written'], 'row')},"
        f" attempt {chunk['attempt']}, sha256 {chunk['sha256']}"
        for chunk in run["chunks_committed"]
    ]
    return "\n".join([*lines, *issue_lines([run])])


def issue_lines(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return failed portfolios, then the issues of portfolios and of symbols."""
    failed, noticed, symbols = split_issues(runs)
    named = [
        f"{issue['portfolio']}: {issue['name']} {issue['detail'] or ''}".rstrip()
        + _at(" on", issue["session"])
        for issue in failed
    ]
    lines = listed_lines(named, "failed")
    if noticed:
        lines.append(f"noticed, portfolios: {named_counts(noticed)}")
    return [
        *lines,
        *(f"noticed, symbols: {name}: {first_of(own, SYMBOLS)}" for name, own in symbols.items()),
    ]


def split_issues(
    runs: Sequence[Mapping[str, Any]],
) -> tuple[list[Mapping[str, Any]], dict[str, int], dict[str, list[str]]]:
    """Return the issues of failed portfolios, and the counts and portfolios of others by name."""
    issues = [issue for run in runs for issue in run["issues"]]
    noticed = Counter(issue["name"] for issue in issues if not issue["failed"])
    symbols: dict[str, dict[str, None]] = {}
    for issue in (issue for run in runs for issue in run["symbol_issues"]):
        symbols.setdefault(issue["name"], {})[subject_text(issue)] = None
    failed = [issue for issue in issues if issue["failed"]]
    return failed, dict(sorted(noticed.items())), {name: [*own] for name, own in symbols.items()}


def subject_text(issue: Mapping[str, Any]) -> str:
    """Return the symbol of issues; without one, the first detail and the number of others."""
    if issue["symbol"] is not None:
        return str(issue["symbol"])
    more = f" and {issue['count'] - 1:,} more" if issue["count"] > 1 else ""
    return f"{issue['detail']}{more}"


def command_text(asked: Mapping[str, Any]) -> str:
    """Return the command and policy of a run."""
    return f"{asked['policy']} repair" if asked.get("repairs") else f"{asked['policy']}"


def range_text(run: Mapping[str, Any]) -> str:
    """Return the requested days of a run."""
    start, end = run["start_date"] or run["asked"]["start"], run["end_date"] or run["asked"]["end"]
    return f"{start or 'latest'} to {end or 'now'}"


def _or_dash(value: object) -> str:
    return "-" if value is None else f"{value}"


def _at(label: str, moment: str | None) -> str:
    return "" if moment is None else f"{label} {moment}"
