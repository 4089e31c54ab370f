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
from batchcore.config import RUN_STATES
from batchcore.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CODES: Final = {"complete": DONE, "incomplete": INCOMPLETE, "running": LEASE_HELD}
"""Exit codes of a group by its state; any other is one to be run again."""

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
        every = ledger.runs_and_groups(call.url, limit=limit, schema=call.schema)
        runs = [one.to_dict() for one in finish(every)]
        shown, following = runs[:limit], next_lines(runs)
        call.answer(
            {"runs": shown},
            lambda: runs_text(shown, following),
            lambda: views().runs_parts(shown, following),
        )
        return DONE
    work = ledger.runs(call.url, run_id=run, group=group, schema=call.schema)
    runs = [one.to_dict() for one in finish(work)]
    if group is not None:
        whole = group_dict(runs)
        call.answer(whole, lambda: group_text(whole), lambda: views().group_parts(whole))
        return CODES.get(whole["state"], FAILED)
    call.answer(runs[0], lambda: run_text(runs[0]), lambda: views().of_ledger_parts(runs[0]))
    return DONE


def runs_text(runs: Sequence[Mapping[str, Any]], following: Sequence[str]) -> str:
    """Return runs of the ledger, a line for each, and the lines that follow."""
    if not runs:
        return "no run is in the ledger"
    counts = ("attempt", "portfolios", "failed", "chunks")
    shard = ("shard",) if any(run["shard"] for run in runs) else ()
    rows = [("run", *shard, "state", "policy", "range", *counts, "rows", "began")]
    for run in runs:
        own = [_or_dash(run[name]) for name in shard]
        numbers = (_or_dash(run[name]) for name in (*counts, "rows_written", "created_at"))
        asked = asked_text(run["asked"]), range_text(run)
        rows.append((run["run_id"], *own, run["state"], *asked, *numbers))
    return "\n".join([*aligned(rows), *following])


def next_lines(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return from which moment on the next correction after some runs is to look."""
    whole = [
        run
        for run in _with_whole_groups(runs)
        if run["state"] == "complete" and run["portfolios_asked"] is None
    ]
    corrected = [
        run for run in whole if run["asked"]["changed_since"] or run["asked"].get("repairs")
    ]
    # A run that corrects nothing has seen no change to the rows that existed before it.
    shown = corrected[:1] or whole[-1:]
    return correction_lines(*shown)


def _with_whole_groups(runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return runs, with one for all shards of a group."""
    found: dict[str, Mapping[str, Any]] = {}
    for run in runs:
        if run["group"] is None:
            found[run["run_id"]] = run
        elif run["group"] not in found:
            whole = group_dict([one for one in runs if one["group"] == run["group"]])
            found[run["group"]] = {**run, **{name: whole[name] for name in ("state", SINCE)}}
    return [*found.values()]


def group_dict(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the runs of a group as one report.

    Of a shard that was run again the latest run counts; rows, chunks and seconds are those of all.
    """
    latest = latest_runs(runs)
    shards = int(runs[0]["shard"].partition("/")[2])
    every = [f"{number}/{shards}" for number in range(1, shards + 1)]
    there = {run["shard"] for run in latest}
    missing = [shard for shard in every if shard not in there]
    states = [*(run["state"] for run in latest), *["missing"][: len(missing)]]
    counted_once, added_up = ("portfolios", "failed"), ("chunks", "rows_written")
    views = {run["snapshot_id"] for run in latest}
    return {
        "group": runs[0]["group"],
        "state": max(states, key=RUN_STATES.index),
        "shards": shards,
        "missing": missing,
        **{name: sum(run[name] or 0 for run in latest) for name in counted_once},
        **{name: sum(run[name] for run in runs) for name in added_up},
        "seconds": max(
            sum(run["seconds"] for run in runs if run["shard"] == shard) for shard in there
        ),
        "portfolios_by_status": _summed(run["portfolios_by_status"] for run in latest),
        "issues_by_name": _issues_by_name(latest),
        "one_view": None if missing or None in views else len(views) == 1,
        SINCE: min((run[SINCE] for run in runs if run[SINCE]), default=None),
        "runs": [*runs],
    }


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    every: Counter[str] = Counter()
    for one in counts:
        every.update(one)
    return dict(sorted(every.items()))


def _issues_by_name(runs: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many issues runs have noticed; what several say of a symbol counts once."""
    of_symbols: dict[tuple[str, str | None], int] = {}
    for one in (one for run in runs for one in run["symbol_issues"]):
        key = one["name"], one["symbol"]
        of_symbols[key] = max(of_symbols.get(key, 0), one["count"])
    own = [{one["name"]: one["count"]} for run in runs for one in run["issues"]]
    return _summed([*own, *({name: count} for (name, _), count in of_symbols.items())])


def view_text(group: Mapping[str, Any]) -> str:
    """Return whether all shards of a group read one moment."""
    texts = {True: "one snapshot", False: "several snapshots", None: "not all shards have begun"}
    return texts[group["one_view"]]


def latest_runs(runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the latest run of each shard, by number."""
    ordered = sorted(runs, key=lambda run: (int(run["shard"].partition("/")[0]), run["token"]))
    return [*{run["shard"]: run for run in ordered}.values()]


def group_text(group: Mapping[str, Any]) -> str:
    """Return all shards of a group, and the portfolios that were noticed."""
    runs = group["runs"]
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
            *(shard_text(run) for run in runs),
            *(f"shard {shard}: missing" for shard in group["missing"]),
            *issue_lines(latest_runs(runs)),
        ]
    )


def shard_text(run: Mapping[str, Any]) -> str:
    """Return how a shard has ended."""
    error = f": {run['error']}" if run["error"] else ""
    return (
        f"shard {run['shard']}: run {run['run_id']}, {run['state']}, attempt {run['attempt']},"
        f" {counted(run['portfolios'] or 0, 'portfolio')}, {run['failed']:,} failed,"
        f" {counted(run['rows_written'], 'row')}{error}"
    )


def correction_lines(*runs: Mapping[str, Any]) -> list[str]:
    """Return from which moment on the next correction is to look, a line for each run."""
    known = [run["next_changed_since"] for run in runs if run["state"] == "complete"]
    return [f"next correction: --changed-since {since}" for since in known if since is not None]


def run_text(run: Mapping[str, Any]) -> str:
    """Return one run of the ledger with its chunks, and the portfolios that were noticed."""
    asked = run["asked"]
    shard = f", shard {run['shard']} of group {run['group']}" if run["group"] else ""
    of = "all" if run["portfolios_asked"] is None else f"{run['portfolios_asked']:,} asked for"
    lines = [
        f"run {run['run_id']}: {run['state']}, attempt {run['attempt']}{shard}",
        (
            f"asked for: {asked_text(asked)}, {range_text(run)}, calendar {asked['calendar']},"
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
    """Return portfolios that failed, then what was noticed of portfolios and of symbols."""
    failed, noticed, symbols = noticed_of(runs)
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


def noticed_of(
    runs: Sequence[Mapping[str, Any]],
) -> tuple[list[Mapping[str, Any]], dict[str, int], dict[str, list[str]]]:
    """Return issues of portfolios that failed; how many of others, and whom, by their names."""
    issues = [issue for run in runs for issue in run["issues"]]
    noticed = Counter(issue["name"] for issue in issues if not issue["failed"])
    symbols: dict[str, dict[str, None]] = {}
    for issue in (issue for run in runs for issue in run["symbol_issues"]):
        symbols.setdefault(issue["name"], {})[subject_text(issue)] = None
    failed = [issue for issue in issues if issue["failed"]]
    return failed, dict(sorted(noticed.items())), {name: [*own] for name, own in symbols.items()}


def subject_text(issue: Mapping[str, Any]) -> str:
    """Return the symbol of issues; of those without one what the first says, and how many more."""
    if issue["symbol"] is not None:
        return str(issue["symbol"])
    more = f" and {issue['count'] - 1:,} more" if issue["count"] > 1 else ""
    return f"{issue['detail']}{more}"


def asked_text(asked: Mapping[str, Any]) -> str:
    """Return which command and policy a run was."""
    return f"{asked['policy']} repair" if asked.get("repairs") else f"{asked['policy']}"


def range_text(run: Mapping[str, Any]) -> str:
    """Return which days a run was asked for."""
    start, end = run["start_date"] or run["asked"]["start"], run["end_date"] or run["asked"]["end"]
    return f"{start or 'latest'} to {end or 'now'}"


def _or_dash(value: object) -> str:
    return "-" if value is None else f"{value}"


def _at(label: str, moment: str | None) -> str:
    return "" if moment is None else f"{label} {moment}"
