"""Runs, plans, repairs, verifications and the ledger on a terminal.

Each function returns the parts of one answer: urgent items first, then the figures.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from batchcore import policies
from batchcore.cli.exits import one_line
from batchcore.cli.output import LISTED, first_of, named_counts
from batchcore.cli.run import (
    attempt_text,
    marks_text,
    named,
    nothing_text,
    run_notes,
    sessions_text,
    shard_lines,
    stamp_lines,
)
from batchcore.cli.status import command_text, correction_lines, range_text, split_issues, view_text
from batchcore.cli.tables import Bars, Cell, Column, Facts, Listing, bad, dim, good, listing, warn
from batchcore.cli.verify import exact
from batchcore.config import CHECKS
from batchcore.words import counted, counted_are, differ

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import RenderableType
    from rich.text import Text

    from batchcore.audit.result import VerifyResult
    from batchcore.run.many import ManyResult
    from batchcore.run.result import BatchResult

NAMED: Final = 4
"""Number of names that fit a line."""

SHOWN: Final = 6
"""Number of sessions of a plan that are listed, so that it fits a screen of 24 lines."""

OF_PRICES: Final = ("stale", "unpriced", "lacks_prices", *CHECKS)
"""Issues with lines of their own in a plan."""

STATES: Final = {
    "complete": good,
    "running": warn,
    "superseded": dim,
    "incomplete": bad,
    "interrupted": warn,
    "failed": bad,
    "stuck": bad,
}
"""The style of each state of a run."""

ATTENTION: Final = ("stuck", "failed", "incomplete", "interrupted")
"""States of runs that need attention, the worst first."""


def run_parts(result: BatchResult, document: Mapping[str, Any]) -> list[RenderableType]:
    """Return the result of a run, preceded by that of the run that it finished first."""
    first: list[RenderableType] = []
    if result.resumed is not None:
        first = [*_run_parts(result.resumed, document["resumed"]), ""]
    return [*first, *_run_parts(result, document)]


def databases_parts(
    many: ManyResult,
    codes: Mapping[str, int],
    parts_of: Callable[[BatchResult], Sequence[RenderableType]],
) -> list[RenderableType]:
    """Return the result of the run on each database, or the error that ended it."""
    parts: list[RenderableType] = []
    for name, code in codes.items():
        error, head = many.errors.get(name), f"database {name}: exit code {code}"
        own = (
            [head, *parts_of(many[name])] if error is None else [bad(f"{head}, {one_line(error)}")]
        )
        parts += ["", *own] if parts else own
    return parts


def _run_parts(result: BatchResult, document: Mapping[str, Any]) -> list[RenderableType]:
    if not document["sessions"]:
        return [good(nothing_text(document)), *_issue_parts(result)]
    failed, written = document["portfolios_failed"], document["portfolios_processed"]
    skipped = len(document["portfolios"]["id"]) - written - failed
    head = good(f"{counted(written, 'portfolio')} complete")
    if failed:
        head = bad(f"{counted(failed, 'portfolio')} failed, {written:,} complete")
    rows, chunks = document["rows_written"], counted(document["chunks"], "chunk")
    rate = document["cache"]["hit_rate"]
    kind, own_id = named(document)
    pairs = [
        (kind, f"{own_id}{attempt_text(document)}"),
        ("policy", document["policy"]),
        ("sessions", sessions_text(document)),
        ("rows", f"{rows:,} written in {chunks}"),
        ("skipped", f"{skipped:,}" if skipped else None),
        (
            "marks",
            f"{rate:.2%} hits; {marks_text(document['cache'])}" if rate is not None else None,
        ),
    ]
    return [
        head,
        *_failed_parts(document),
        *_issue_parts(result),
        "",
        Facts([*pairs, *_note_pairs(shard_lines(document)), *_note_pairs(run_notes(document))]),
        "",
        _phase_part(document),
    ]


def _failed_parts(document: Mapping[str, Any]) -> list[RenderableType]:
    """Return the issues of failed portfolios."""
    of = document["portfolios"]
    failed = {own for own, status in zip(of["id"], of["status"], strict=True) if status == "failed"}
    return _failed_listing(
        [one for one in document["issues"] if one["portfolio"] in failed], "issue"
    )


def _failed_listing(issues: Sequence[Mapping[str, Any]], noun: str) -> list[RenderableType]:
    rows = [(one["portfolio"], bad(one["name"]), one["session"], one["detail"]) for one in issues]
    columns = (Column("portfolio"), Column("issue"), Column("session", drop=1), _wide("detail"))
    return [Listing(columns, rows, title="Failed", noun=noun)] if rows else []


def _issue_parts(
    result: BatchResult, left_out: Sequence[str] = (), most: int = LISTED
) -> list[RenderableType]:
    """Return the number of issues by name, and their first symbols."""
    subjects = result.subjects_by_issue()
    rows = [
        (warn(name), count, first_of(subjects.get(name, []), NAMED))
        for name, count in result.issues_by_name().items()
        if name not in left_out
    ]
    return _issue_listing(rows, most)


def _issue_listing(rows: Sequence[Sequence[Cell]], most: int = LISTED) -> list[RenderableType]:
    columns = (Column("issue"), Column("count", right=True), _wide("of"))
    return [Listing(columns, rows, title="Noticed", noun="name", most=most)] if rows else []


def _note_pairs(lines: Sequence[str]) -> list[tuple[str, str | None]]:
    return [(name, text) for name, _, text in (line.partition(": ") for line in lines)]


def _phase_part(document: Mapping[str, Any]) -> Listing:
    seconds, statements = document["seconds_by_phase"], document["statements_by_phase"]
    rows, sizes = document["rows_by_phase"], document["bytes_by_phase"]
    return listing(
        [name for name in dict.fromkeys([*statements, *seconds]) if name != "total"],
        (Column("phase"), lambda name: name),
        (_number("seconds"), lambda name: f"{seconds[name]:.2f}" if seconds.get(name) else None),
        (_number("statements"), statements.get),
        (_number("rows"), rows.get),
        (_number("MB"), lambda name: f"{sizes[name] / 1e6:,.1f}" if sizes.get(name) else None),
        last=("in all", f"{seconds['total']:.2f}", document["statements"], None, None),
        noun="phase",
    )


def plan_parts(result: BatchResult, plan: Mapping[str, Any]) -> list[RenderableType]:
    """Return what a run would do, on one screen."""
    stamps = [dim(line) for line in stamp_lines(plan.get("time_stamps", ()))]
    left_out = plan["sessions_left_out"]
    dates = f"{counted(len(left_out), 'date')} of the range {'is' if len(left_out) == 1 else 'are'}"
    tail = [dim(f"{dates} no session"), *stamps] if left_out else stamps
    if result.nothing_to_do:
        return [good(nothing_text(plan)), *_issue_parts(result), *tail]
    sessions = plan["portfolios"]["sessions_planned"]
    planned = sum(count > 0 for count in sessions)
    head = [
        f"would run {sessions_text(plan)}",
        f"{plan['rows_planned']:,} rows of {planned:,} of {counted(len(sessions), 'portfolio')}",
    ]
    if not policies.entry(result.policy).checks_prices:
        head.append(f"prices: not looked at under the policy {result.policy}")
        return [*head, *_issue_parts(result), *tail]
    return [
        *_plan_attention(plan),
        *head,
        *_coverage_parts(result, plan),
        *_issue_parts(result, OF_PRICES, most=3),
        *tail,
    ]


def _plan_attention(plan: Mapping[str, Any]) -> list[Text]:
    """Return lines about missing prices, the worst first."""
    lines = []
    least = f"{plan['min_coverage']:.1%}"
    if below := len(plan["sessions_below_min_coverage"]):
        lines.append(bad(f"the run would stop: {counted_are(below, 'session')} below {least}"))
    for what, key, most in (
        ("symbol", "symbols_without_close", NAMED),
        ("symbol", "symbols_lacking_prices", NAMED),
        ("session", "sessions_lacking_prices", NAMED - 1),
        ("portfolio", "portfolios_lacking_prices", 1),
    ):
        if names := plan[key]:
            lacks = "without any close" if key == "symbols_without_close" else "lacking prices"
            line = f"{counted(len(names), what)} {lacks}: {first_of(names, most)}"
            lines.append((bad if key == "symbols_without_close" else warn)(line))
    lines = lines or [good("all prices are there")]
    if found := Counter(one["name"] for one in plan["price_findings"]):
        what = counted(found.total(), "finding")
        lines.append(warn(f"{what} of price checks: {named_counts(found)}"))
    return lines


def _coverage_parts(result: BatchResult, plan: Mapping[str, Any]) -> list[RenderableType]:
    coverage, least = result.coverage, float(plan["min_coverage"])
    shares, fresh, recent = coverage.share().tolist(), coverage.fresh, coverage.recent
    low = [
        (share, day, at)
        for at, (share, day) in enumerate(zip(shares, plan["coverage"], strict=True))
        if share < 1
    ]
    parts: list[RenderableType] = [
        f"symbols with a close, by session (at least {least:.1%})",
        Bars(shares, least),
    ]
    if not low:
        return parts
    return [
        *parts,
        listing(
            sorted(low),
            (Column("session"), lambda row: row[1]),
            (_number("with a close"), lambda row: int(fresh[row[2]])),
            (_number("of"), lambda row: int(recent[row[2]])),
            (_number("share"), lambda row: (bad if row[0] < least else warn)(f"{row[0]:.1%}")),
            (Column(""), lambda row: bad("below") if row[0] < least else ""),
            noun="session",
            most=SHOWN,
        ),
    ]


def repair_parts(result: BatchResult, document: Mapping[str, Any]) -> list[RenderableType]:
    """Return the result of a repair, or of its dry run."""
    found, dry_run = document["differences"], document["dry_run"]
    compared = counted(document["rows_by_phase"].get("compute", 0), "snapshot")
    if not found:
        head: RenderableType = good(f"nothing to repair: {compared} compared, 0 differ")
        return [head, *_issue_parts(result), Facts(_note_pairs(run_notes(document)))]
    of = counted(len(document["portfolios"]["id"]), "portfolio")
    cells = differ(sum(one["cells"] for one in found))
    rows = sum(one["rows"] for one in found) if dry_run else document["rows_written"]
    failed = document["portfolios_failed"]
    heads = [bad(f"{counted(failed, 'portfolio')} failed")] if failed else []
    listed = listing(
        found,
        (Column("portfolio"), lambda one: one["portfolio"]),
        (Column("from"), lambda one: one["first_session"] or "its equity"),
        (_number("rows"), lambda one: one["rows"]),
        (_number("cells"), lambda one: one["cells"]),
        title="Different",
        noun="portfolio",
    )
    pairs = [
        ("run", None if dry_run else f"{document['run_id']}{attempt_text(document)}"),
        ("cells", f"{cells}; {compared} compared"),
        ("rows", f"{rows:,} {'to write' if dry_run else 'written'}"),
    ]
    parts: list[RenderableType] = [
        *heads,
        (warn if dry_run else good)(
            f"{'would repair' if dry_run else 'repaired'} {len(found):,} of {of}"
        ),
        *_failed_parts(document),
        *_issue_parts(result),
        listed,
        "",
        Facts([*pairs, *_note_pairs(run_notes(document))]),
    ]
    return parts if dry_run else [*parts, "", _phase_part(document)]


def verify_parts(result: VerifyResult) -> list[RenderableType]:
    """Return the result of a verification."""
    if result.rows == 0:
        return [good("nothing to verify: no snapshot is stored in the range")]
    of = f" of {result.rows_stored:,}" if result.rows < result.rows_stored else ""
    if result.differing:
        where = f"{result.rows_differing:,} of {counted(result.rows, 'snapshot')}"
        head = bad(f"{counted(result.differing, 'cell')} of {result.checked:,} differ in {where}")
    else:
        head = good(f"all of {counted(result.checked, 'cell')} are as they should be")
    missing = result.missing_sessions
    pairs = [
        ("snapshots", f"{result.rows:,}{of} of {counted(result.portfolios, 'portfolio')}"),
        ("recomputed", "natively" if result.fast else "by the reference"),
        ("policy", f"{result.policy}, calendar {result.calendar}"),
        ("causes", named_counts(result.causes) if result.causes else None),
        ("not checkable", named_counts(result.not_checkable)),
        ("no snapshot", counted(missing, "session") if missing else None),
        *((f"no {part}", why) for part, why in result.analytics_off.items()),
    ]
    return [head, *_differing_parts(result), "", Facts(pairs)]


def _differing_parts(result: VerifyResult) -> list[RenderableType]:
    """Return the columns with differing cells, those with most first, and examples."""
    if not result.differing:
        return []
    of = result.columns
    counts = zip(of.name, of.differing.tolist(), of.checked.tolist(), of.worst, strict=True)
    columns = listing(
        sorted((one for one in counts if one[1]), key=lambda one: -one[1]),
        (Column("column"), lambda one: one[0]),
        (_number("differ"), lambda one: bad(one[1])),
        (_number("compared"), lambda one: one[2]),
        (_number("by at most"), lambda one: None if one[3] is None else one[3].difference),
        title="Columns",
        noun="column",
    )
    examples = listing(
        result.examples,
        (Column("portfolio", least=9), lambda one: str(one.portfolio)),
        (Column("session"), lambda one: None if one.session is None else f"{one.session}"),
        (_wide("column"), lambda one: one.column),
        (_number("stored"), lambda one: bad(exact(one.stored))),
        (_number("expected"), lambda one: exact(one.expected)),
        (Column("cause", drop=1), lambda one: one.cause),
        title="Examples",
        noun="cell",
        most=10,
    )
    return [columns, examples]


def runs_parts(runs: Sequence[Mapping[str, Any]], following: Sequence[str]) -> list[RenderableType]:
    """Return runs of the ledger, the latest first, preceded by the number that need attention."""
    if not runs:
        return ["the ledger has no runs"]
    states = Counter(run["state"] for run in runs)
    wrong = {state: states[state] for state in ATTENTION if states[state]}
    head = [bad(f"to look at: {named_counts(wrong)}")] if wrong else []
    return [*head, _runs_part(runs), *map(dim, following)]


def _runs_part(runs: Sequence[Mapping[str, Any]]) -> Listing:
    shard = (
        [(Column("shard"), lambda run: run["shard"])] if any(run["shard"] for run in runs) else []
    )
    return listing(
        runs,
        (Column("run"), lambda run: run["run_id"]),
        *shard,
        (Column("state"), lambda run: STATES.get(run["state"], warn)(run["state"])),
        (Column("policy", drop=5), lambda run: command_text(run["asked"])),
        (Column("range", drop=3), range_text),
        (_number("attempt", drop=6), lambda run: run["attempt"]),
        (_number("portfolios", drop=4), lambda run: run["portfolios"]),
        (_number("failed"), lambda run: bad(run["failed"]) if run["failed"] else run["failed"]),
        (_number("chunks", drop=7), lambda run: run["chunks"]),
        (_number("rows", drop=2), lambda run: run["rows_written"]),
        (Column("began", drop=1), lambda run: run["created_at"]),
        most=len(runs),
        noun="run",
    )


def group_parts(
    group: Mapping[str, Any], latest: Sequence[Mapping[str, Any]]
) -> list[RenderableType]:
    """Return all shards of a run with the latest run of each, urgent items first."""
    state = group["state"]
    heads = [STATES.get(state, bad)(f"{state}, {counted(group['shards'], 'shard')}")]
    heads += [bad(f"missing: {', '.join(group['missing'])}")] if group["missing"] else []
    heads += [bad(f"shard {run['shard']}: {run['error']}") for run in latest if run["error"]]
    rows, chunks = f"{group['rows_written']:,} written", counted(group["chunks"], "chunk")
    pairs = [
        ("group", group["group"]),
        ("portfolios", f"{group['portfolios']:,}, {group['failed']:,} failed"),
        ("rows", f"{rows} in {chunks}, {group['seconds']:.3f} seconds of the slowest shard"),
        ("read", view_text(group)),
    ]
    return [
        *heads,
        *_ledger_issues(latest),
        "",
        Facts(pairs),
        "",
        _runs_part(group["runs"]),
        *map(dim, correction_lines(group)),
    ]


def of_ledger_parts(run: Mapping[str, Any]) -> list[RenderableType]:
    """Return one run of the ledger with its chunks, and the portfolios with issues."""
    asked, of = run["asked"], run["portfolios_asked"]
    state = STATES.get(run["state"], warn)(f"{run['state']}, attempt {run['attempt']}")
    failed = run["failed"]
    heads = [state]
    if run["error"]:
        heads.append(bad(run["error"]))
    if failed:
        heads.append(bad(f"{counted(failed, 'portfolio')} failed"))
    portfolios = None if run["portfolios"] is None else counted(run["portfolios"], "portfolio")
    chunks, seconds = counted(run["chunks"], "chunk"), run["seconds"]
    pairs = [
        ("run", run["run_id"]),
        ("shard", run["group"] and f"{run['shard']} of group {run['group']}"),
        ("asked for", f"{command_text(asked)}, {range_text(run)}, calendar {asked['calendar']}"),
        (
            "portfolios",
            f"{portfolios or 'not known'} of {'all' if of is None else f'{of:,}'} asked for",
        ),
        ("rows", f"{run['rows_written']:,} written in {chunks}, {seconds:.3f} seconds"),
        ("began", run["created_at"]),
        ("this attempt", run["started_at"]),
        ("ended", run["ended_at"]),
        ("last heartbeat", run["beat_at"]),
        ("lease until", run["expires_at"]),
        ("read", run["snapshot_id"] and f"snapshot {run['snapshot_id']} at {run['lsn']}"),
        ("version", run["code_version"]),
    ]
    return [
        *heads,
        *_ledger_issues([run]),
        "",
        Facts(pairs),
        *_chunk_parts(run["chunks_committed"]),
        *map(dim, correction_lines(run)),
    ]


def _ledger_issues(runs: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """Return failed portfolios, then the issues of portfolios and of symbols."""
    failed, counts, symbols = split_issues(runs)
    noticed = [(warn(name), count, "portfolios") for name, count in counts.items()]
    noticed += [(warn(name), len(own), first_of(own, NAMED)) for name, own in symbols.items()]
    return [*_failed_listing(failed, "portfolio"), *_issue_listing(noticed)]


def _chunk_parts(chunks: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    listed = listing(
        chunks,
        (_number("chunk"), lambda chunk: chunk["chunk"]),
        (Column("first portfolio"), lambda chunk: chunk["first_portfolio"]),
        (_number("sessions", drop=3), lambda chunk: chunk["sessions"]),
        (_number("rows"), lambda chunk: chunk["rows_written"]),
        (_number("attempt", drop=2), lambda chunk: chunk["attempt"]),
        (Column("sha256", least=9, drop=1), lambda chunk: chunk["sha256"]),
        title="Committed",
        noun="chunk",
        most=10,
    )
    return [listed] if chunks else []


def _number(title: str, drop: int = 0) -> Column:
    return Column(title, right=True, drop=drop)


def _wide(title: str) -> Column:
    """Return a column of texts that may be cut."""
    return Column(title, least=24)
