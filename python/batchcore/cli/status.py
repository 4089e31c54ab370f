"""The command `status`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

from batchcore.cli.app import Call, command, views
from batchcore.cli.exits import DONE
from batchcore.cli.options import option
from batchcore.cli.output import aligned, first_of, listed_lines, named_counts
from batchcore.cli.run import SYMBOLS
from batchcore.cli.signals import finish
from batchcore.words import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@command("status")
def status(
    call: Call,
    *,
    run: Annotated[str | None, option("ID", "Show one run, with its chunks and issues.")] = None,
    limit: Annotated[int, option("N", "Number of runs to show, latest first.")] = 20,
) -> int:
    """Show runs and what they have committed; one whose lease has expired is stuck."""
    from batchcore.run import status as ledger  # noqa: PLC0415  # brings the driver

    found = finish(ledger.runs(call.url, run_id=run, limit=limit, schema=call.schema))
    runs = [one.to_dict() for one in found]
    if run is not None:
        call.answer(runs[0], lambda: run_text(runs[0]), lambda: views().of_ledger_parts(runs[0]))
    else:
        call.answer({"runs": runs}, lambda: runs_text(runs), lambda: views().runs_parts(runs))
    return DONE


def runs_text(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return runs of the ledger, a line for each."""
    if not runs:
        return "no run is in the ledger"
    counts = ("attempt", "portfolios", "failed", "chunks")
    rows = [("run", "state", "policy", "range", *counts, "rows", "began")]
    for run in runs:
        numbers = (_or_dash(run[name]) for name in (*counts, "rows_written", "created_at"))
        rows.append(
            (run["run_id"], run["state"], asked_text(run["asked"]), range_text(run), *numbers)
        )
    return "\n".join([*aligned(rows), *next_lines(runs)])


def next_lines(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return from which moment on the next correction after some runs is to look."""
    whole = [run for run in runs if run["state"] == "complete" and run["portfolios_asked"] is None]
    corrected = [
        run for run in whole if run["asked"]["changed_since"] or run["asked"].get("repairs")
    ]
    # A run that corrects nothing has seen no change to the rows that existed before it.
    shown = corrected[:1] or whole[-1:]
    return correction_lines(*shown)


def correction_lines(*runs: Mapping[str, Any]) -> list[str]:
    """Return from which moment on the next correction is to look, a line for each run."""
    known = [run["next_changed_since"] for run in runs if run["state"] == "complete"]
    return [f"next correction: --changed-since {since}" for since in known if since is not None]


def run_text(run: Mapping[str, Any]) -> str:
    """Return one run of the ledger with its chunks, and the portfolios that were noticed."""
    asked, issues = run["asked"], run["issues"]
    of = "all" if run["portfolios_asked"] is None else f"{run['portfolios_asked']:,} asked for"
    lines = [
        f"run {run['run_id']}: {run['state']}, attempt {run['attempt']}",
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
    failed = [
        f"{issue['portfolio']}: {issue['name']} {issue['detail'] or ''}".rstrip()
        + _at(" on", issue["session"])
        for issue in issues
        if issue["failed"]
    ]
    noticed = Counter(issue["name"] for issue in issues if not issue["failed"])
    lines += listed_lines(failed, "failed")
    if noticed:
        lines.append(f"noticed, portfolios: {named_counts(dict(sorted(noticed.items())))}")
    symbols: dict[str, dict[str, None]] = {}
    for issue in run["symbol_issues"]:
        symbols.setdefault(issue["name"], {})[issue["symbol"]] = None
    lines += [
        f"noticed, symbols: {name}: {first_of([*own], SYMBOLS)}" for name, own in symbols.items()
    ]
    return "\n".join(lines)


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
