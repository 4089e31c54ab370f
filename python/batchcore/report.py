"""What commands say, as text and tables; nothing here prints."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from batchcore import policies
from batchcore.calendar import date_of
from batchcore.run.result import NO_CLOSE, difference_dicts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchcore.audit.result import VerifyResult
    from batchcore.db.migrate import MigrateReport, MigrateStatus
    from batchcore.run.result import BatchResult

LISTED: Final = 20
"""How many of a kind are told one by one; JSON has them all."""

SYMBOLS: Final = 5
"""How many symbols of an issue a report names."""


def result_text(result: BatchResult) -> str:
    """Return what a run did, after what it finished first."""
    if result.resumed is not None:
        return f"{_own_text(result.resumed)}\n{_own_text(result)}"
    return _own_text(result)


def _own_text(result: BatchResult) -> str:
    if result.nothing_to_do:
        return _nothing_text(result)
    cache, failed = result.cache, result.failed
    written = result["portfolios_processed"]
    skipped = len(result.portfolios) - written - failed
    rate = "none" if cache["hit_rate"] is None else f"{cache['hit_rate']:.2%}"
    again = "" if result.attempt == 1 else f", attempt {result.attempt}"
    lines = [
        f"run {result.run_id}: {result.policy}, {sessions_text(result)}{again}",
        f"portfolios: {written:,} complete, {skipped:,} skipped, {failed:,} failed",
        f"rows: {result.rows_written:,} written in {result.chunks:,} chunks",
        f"marks: {rate} hits; {marks_text(cache)}",
        f"statements: {_counts_text(result.statements_by_phase)}",
        f"seconds: {_seconds_text(result.seconds_by_phase)}",
    ]
    return "\n".join([*lines, *_note_lines(result)])


def repair_text(result: BatchResult) -> str:
    """Return what a repair did, or would do."""
    found = result.differences
    compared = result.rows_by_phase.get("compute", 0)
    if not found:
        lines = [f"nothing to repair: {compared:,} snapshots are what they should be"]
        return "\n".join([*lines, *_note_lines(result)])
    cells, planned = int(found.cells.sum()), int(found.rows.sum())
    did = "would repair" if result.dry_run else f"run {result.run_id}: repaired"
    again = "" if result.attempt == 1 else f", attempt {result.attempt}"
    lines = [
        f"{did} {len(found):,} of {len(result.portfolios):,} portfolios{again}",
        f"cells: {cells:,} differ; {compared:,} snapshots compared",
        f"rows: {planned:,} to write"
        if result.dry_run
        else f"rows: {result.rows_written:,} written",
    ]
    lines += [
        f"portfolio {one['portfolio']}: "
        + (
            f"rows from {one['first_session']} on: {one['rows']:,}, cells: {one['cells']:,}"
            if one["first_session"]
            else "its equity_balance"
        )
        for one in (difference_dicts(result) or [])[:LISTED]
    ]
    if len(found) > LISTED:
        lines.append(f"{len(found) - LISTED:,} more portfolios, which --json lists")
    if not result.dry_run:
        lines += [
            f"statements: {_counts_text(result.statements_by_phase)}",
            f"seconds: {_seconds_text(result.seconds_by_phase)}",
        ]
    return "\n".join([*lines, *_note_lines(result)])


def _note_lines(result: BatchResult) -> list[str]:
    return [
        *_retried_lines(result),
        *_off_lines(result),
        *_rounded_lines(result),
        *issue_lines(result),
    ]


def _retried_lines(result: BatchResult) -> list[str]:
    if not result.retries:
        return []
    return [f"retries: {result.retries:,}; chunks tried again are of a later moment than the run"]


def _off_lines(result: BatchResult) -> list[str]:
    return [f"analytics off: {part}, {reason}" for part, reason in result.analytics_off.items()]


def _rounded_lines(result: BatchResult) -> list[str]:
    named = ", ".join(f"{count:,} of {name}" for name, count in result.rounded.items())
    return [f"doubles rounded: {named}"] if named else []


def failure_lines(result: BatchResult) -> list[str]:
    """Return a line for each failed portfolio, and how many more there are."""
    errors = result.errors()
    lines = [f"failed: {line}" for line in errors[:LISTED]]
    if len(errors) > LISTED:
        lines.append(f"failed: {len(errors) - LISTED:,} more, which --json lists")
    return lines


def plan_dict(result: BatchResult, min_coverage: float) -> dict[str, Any]:
    """Return the report of a dry run as JSON has it, and what follows from it.

    Where the policy does not check prices, there is nothing of them.
    """
    document = result.to_dict()
    document["rows_planned"] = sum(document["portfolios"]["sessions_planned"])
    if not policies.entry(result.policy).checks_prices:
        return document
    document["time_stamps"] = [asdict(one) for one in result.stamps]
    issues = document["issues"]
    lacking = [issue for issue in issues if issue["name"] == "lacks_prices"]
    return {
        **document,
        "min_coverage": min_coverage,
        "sessions_below_min_coverage": [
            session for session, share in document["coverage"].items() if share < min_coverage
        ],
        "sessions_below_full_coverage": [
            session for session, share in document["coverage"].items() if share < 1
        ],
        "symbols_without_close": [
            issue["symbol"]
            for issue in issues
            if issue["name"] == "unpriced" and issue["detail"].endswith(NO_CLOSE)
        ],
        "symbols_lacking_prices": sorted(
            {issue["symbol"] for issue in issues if issue["name"] in {"stale", "unpriced"}}
        ),
        "sessions_lacking_prices": [
            issue["session"] for issue in lacking if issue["portfolio"] is None
        ],
        "portfolios_lacking_prices": [
            issue["portfolio"] for issue in lacking if issue["portfolio"] is not None
        ],
    }


def plan_text(result: BatchResult, plan: Mapping[str, Any]) -> str:
    """Return what a run would do.

    Args:
        result: Of a dry run.
        plan: What `plan_dict` made of it.
    """
    if result.nothing_to_do:
        lines = [_nothing_text(result), _left_out_text(plan), *_stamp_lines(result)]
        return "\n".join(lines)
    planned = int((result.portfolios.sessions_planned > 0).sum())
    lines = [
        f"would run {sessions_text(result)}",
        f"portfolios: {planned:,} of {len(result.portfolios):,} have something to write",
        f"rows: {plan['rows_planned']:,} to write",
        _left_out_text(plan),
    ]
    if not policies.entry(result.policy).checks_prices:
        lines.append(f"prices: not looked at under the policy {result.policy}")
        return "\n".join([*lines, *_note_lines(result)])
    lines += [
        f"symbols without any close: {_listed(plan['symbols_without_close'])}",
        f"symbols lacking prices: {_listed(plan['symbols_lacking_prices'])}",
        f"sessions lacking prices: {_listed(plan['sessions_lacking_prices'])}",
        f"portfolios lacking prices: {_listed(plan['portfolios_lacking_prices'])}",
        f"sessions below full coverage: {_listed(plan['sessions_below_full_coverage'])}",
    ]
    lines += [*_coverage_lines(result, plan), *_stamp_lines(result), *_note_lines(result)]
    return "\n".join(lines)


def _stamp_lines(result: BatchResult) -> list[str]:
    """Return which of two ways to bring corrections in the time stamps speak for, and why."""
    if not result.stamps:
        return []
    touched = [one for one in result.stamps if one.touched * 2 > one.rows]
    loose = [one.table for one in result.stamps if not one.trigger]
    if touched:
        told = "use repair: most rows are touched each day, which --changed-since takes for changes"
    elif loose:
        told = (
            f"use repair, unless your application sets updated_at: no trigger of {', '.join(loose)}"
            " does"
        )
    else:
        told = "use --changed-since: triggers set updated_at; repair finds deleted rows too"
    shares = ", ".join(
        f"{one.touched:,} of {one.rows:,} {one.table}" for one in result.stamps if one.rows
    )
    if shares:
        told += f" (updated in the last 24 hours, of a sample: {shares})"
    return [f"late corrections: {told}"]


def verified_text(result: VerifyResult) -> str:
    """Return what a verification found."""
    if result.rows == 0:
        return "nothing to verify: no snapshot is stored in the range"
    how = "natively" if result.fast else "by the reference"
    of = f" of {result.rows_stored:,}" if result.rows < result.rows_stored else ""
    lines = [
        (
            f"{result.rows:,}{of} snapshots of {result.portfolios:,} portfolios recomputed {how}: "
            f"{result.policy}, calendar {result.calendar}"
        ),
        (
            f"cells: {result.checked:,} compared, {result.differing:,} differ"
            f" in {result.rows_differing:,} snapshots"
        ),
        f"not checkable: {_named_counts(result.not_checkable)}",
    ]
    lines += [f"not computed: {part}: {why}" for part, why in result.analytics_off.items()]
    if result.missing_sessions:
        lines.append(f"sessions without a complete snapshot: {result.missing_sessions:,}")
    if result.causes:
        lines.append(f"causes: {_named_counts(result.causes)}")
    return "\n".join([*lines, *_column_lines(result), *_difference_lines(result)])


def _column_lines(result: VerifyResult) -> list[str]:
    """Return a line for each column that has cells that differ."""
    columns = result.columns
    wrong = [row for row, count in enumerate(columns.differing.tolist()) if count]
    width = max((len(columns.name[row]) for row in wrong), default=0)
    lines = []
    for row in wrong:
        worst = columns.worst[row]
        apart = None if worst is None else worst.difference
        told = "" if apart is None else f", by {apart:,f} at most"
        lines.append(
            f"  {columns.name[row]:<{width}}  {int(columns.differing[row]):>9,} of"
            f" {int(columns.checked[row]):>9,}{told}"
        )
    return lines


def _difference_lines(result: VerifyResult) -> list[str]:
    lines = [
        f"portfolio {one.portfolio}{'' if one.session is None else f' on {one.session}'}: "
        f"{one.column} is {_cell(one.stored)}, expected {_cell(one.expected)}"
        f"{f' ({one.cause})' if one.cause else ''}"
        for one in result.examples
    ]
    if result.differing > len(lines):
        lines.append(f"{result.differing - len(lines):,} more differ")
    return lines


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_cell(value[name])}" for name in sorted(value)) + "}"
    return "NULL" if value is None else f"{value}"


def _named_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "none"


def status_text(status: MigrateStatus) -> str:
    """Return where a database stands."""
    at = "none, batchcore never migrated it" if status.revision is None else status.revision
    lines = [f"revision: {at}; newest: {status.head}"]
    lines += [f"to do: {step}" for step in status.steps]
    lines += [f"index: {note}" for note in status.notes]
    lines += [f"in the way: {problem}" for problem in status.problems]
    if status.is_current:
        lines.append("nothing to do")
    return "\n".join(lines)


def runs_text(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return runs of the ledger, a line for each."""
    if not runs:
        return "no run is in the ledger"
    head = ("run", "state", "policy", "range", "attempt", "portfolios", "failed", "chunks")
    rows = [(*head, "rows", "began")]
    for run in runs:
        counts = (run["attempt"], _or_dash(run["portfolios"]), run["failed"], run["chunks"])
        asked, began = _asked_text(run["asked"]), run["created_at"]
        told = (run["run_id"], run["state"], asked, _range_text(run), *counts)
        rows.append((*(f"{cell}" for cell in told), f"{run['rows_written']}", began))
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(r, widths, strict=True)) for r in rows
    )
    table = [line.rstrip() for line in lines]
    whole = [run for run in runs if run["state"] == "complete" and run["portfolios_asked"] is None]
    corrected = [
        run for run in whole if run["asked"]["changed_since"] or run["asked"].get("repairs")
    ]
    # A run that corrects nothing has seen no change to the rows that stood before it.
    shown = corrected[:1] or whole[-1:]
    return "\n".join([*table, *_next_text(*shown)])


def _next_text(*runs: Mapping[str, Any]) -> list[str]:
    """Return from which moment on the next correction is to look, a line for each run."""
    known = [run["next_changed_since"] for run in runs if run["state"] == "complete"]
    return [f"next correction: --changed-since {since}" for since in known if since is not None]


def run_text(run: Mapping[str, Any]) -> str:
    """Return one run of the ledger with its chunks, and the portfolios that were noticed."""
    asked, failed = run["asked"], [issue for issue in run["issues"] if issue["failed"]]
    of = "all" if run["portfolios_asked"] is None else f"{run['portfolios_asked']:,} asked for"
    lines = [
        f"run {run['run_id']}: {run['state']}, attempt {run['attempt']}",
        (
            f"asked for: {_asked_text(asked)}, {_range_text(run)}, calendar {asked['calendar']},"
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
            f"rows: {run['rows_written']:,} written in {run['chunks']:,} chunks,"
            f" {run['seconds']:.3f} seconds, batchcore {run['code_version']}"
        ),
    ]
    lines += _next_text(run)
    if run["error"]:
        lines.append(f"error: {run['error']}")
    lines += [
        f"chunk {chunk['chunk']}: {chunk['first_portfolio']} to {chunk['last_portfolio']},"
        f" {chunk['sessions']:,} sessions, {chunk['rows_written']:,} rows,"
        f" attempt {chunk['attempt']}, sha256 {chunk['sha256']}"
        for chunk in run["chunks_committed"]
    ]
    lines += [
        f"failed: {issue['portfolio']}: {issue['name']} {issue['detail'] or ''}".rstrip()
        + _at(" on", issue["session"])
        for issue in failed[:LISTED]
    ]
    if len(failed) > LISTED:
        lines.append(f"failed: {len(failed) - LISTED:,} more, which --json lists")
    noticed = Counter(issue["name"] for issue in run["issues"] if not issue["failed"])
    if noticed:
        lines.append(f"noticed, portfolios: {_named_counts(dict(sorted(noticed.items())))}")
    lines += [
        f"noticed, symbols: {name}: {_first_symbols(list(symbols))}"
        for name, symbols in _by_name(run["symbol_issues"]).items()
    ]
    return "\n".join(lines)


def _asked_text(asked: Mapping[str, Any]) -> str:
    return f"{asked['policy']} repair" if asked.get("repairs") else f"{asked['policy']}"


def _range_text(run: Mapping[str, Any]) -> str:
    start, end = run["start_date"] or run["asked"]["start"], run["end_date"] or run["asked"]["end"]
    return f"{start or 'latest'} to {end or 'now'}"


def _or_dash(value: object) -> str:
    return "-" if value is None else f"{value}"


def _at(label: str, moment: str | None) -> str:
    return "" if moment is None else f"{label} {moment}"


def migrated_text(report: MigrateReport) -> str:
    """Return what a migration did."""
    lines = [f"{revision}: marked as done, the tables are the host's" for revision in report.marked]
    lines += [f"{revision}: done" for revision in report.applied]
    lines += [f"index: {note}" for note in report.notes]
    return "\n".join([*lines, f"the database is at revision {report.revision}, the newest"])


def _nothing_text(result: BatchResult) -> str:
    if len(result.portfolios) == 0:
        why = "there is no portfolio to run"
    else:
        why = "no session of the range is left to write"
    return "\n".join([f"nothing to do: {why}", *issue_lines(result)])


def sessions_text(result: BatchResult) -> str:
    """Return how many sessions a run has, and from when to when."""
    first, last = (date_of(int(result.sessions[row])) for row in (0, -1))
    return f"{len(result.sessions):,} sessions from {first} to {last}"


def _left_out_text(plan: Mapping[str, Any]) -> str:
    return f"dates left out, no session: {_listed(plan['sessions_left_out'])}"


def marks_text(cache: Mapping[str, Any]) -> str:
    """Return how many marks are fresh, by lookback, stale and unpriced."""
    names = {"fresh": "fresh", "lookback_hits": "by lookback", "stale": "stale"}
    parts = [f"{cache[key]:,} {name}" for key, name in {**names, "unpriced": "unpriced"}.items()]
    return ", ".join(parts)


def _counts_text(counts: Mapping[str, int]) -> str:
    parts = ", ".join(f"{phase} {count:,}" for phase, count in counts.items())
    return f"{parts}; {sum(counts.values()):,} in all"


def _seconds_text(seconds: Mapping[str, float]) -> str:
    parts = [f"{phase} {spent:.2f}" for phase, spent in seconds.items() if phase != "total"]
    return f"{', '.join(parts)}; {seconds['total']:.2f} in all"


def issue_lines(result: BatchResult) -> list[str]:
    """Return a line for each name of issues, with how many there are and the first symbols."""
    symbols = result.symbols_by_issue()
    return [
        f"issue {name}: {count:,}"
        + (f" ({_first_symbols(symbols[name])})" if name in symbols else "")
        for name, count in result.issues_by_name().items()
    ]


def _first_symbols(symbols: Sequence[str]) -> str:
    more = f" and {len(symbols) - SYMBOLS:,} more" if len(symbols) > SYMBOLS else ""
    return f"{', '.join(symbols[:SYMBOLS])}{more}"


def _by_name(issues: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, None]]:
    """Return the symbols of issues by name, each once and in order."""
    found: dict[str, dict[str, None]] = {}
    for issue in issues:
        found.setdefault(issue["name"], {})[issue["symbol"]] = None
    return found


def _coverage_lines(result: BatchResult, plan: Mapping[str, Any]) -> list[str]:
    coverage, share = result.coverage, result.coverage.share()
    least = float(plan["min_coverage"])
    lines = [f"symbols with a close, by session (at least {least:.1%}):"]
    for row, session in enumerate(coverage.session.tolist()):
        fresh, recent = int(coverage.fresh[row]), int(coverage.recent[row])
        mark = "  below" if share[row] < least else ""
        lines.append(
            f"  {date_of(session)}  {fresh:>6,} of {recent:>6,}  {float(share[row]):>6.1%}{mark}"
        )
    if below := len(plan["sessions_below_min_coverage"]):
        lines.append(f"the run would stop: {below:,} sessions are below {least:.1%}")
    return lines


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return f"{len(names):,} ({', '.join(names[:LISTED])}{more})"
