"""What runs, plans, repairs, verifications and the ledger look like on a terminal.

Each function returns the parts of one answer: what needs attention first, then the figures.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
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
from batchcore.cli.status import (
    asked_text,
    correction_lines,
    latest_runs,
    noticed_of,
    range_text,
    view_text,
)
from batchcore.cli.tables import (
    Bars,
    Column,
    Facts,
    Listing,
    bad,
    dim,
    good,
    warn,
)
from batchcore.cli.verify import cell_words
from batchcore.config import CHECKS
from batchcore.words import counted, counted_are, differ

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import RenderableType
    from rich.text import Text

    from batchcore.audit.result import VerifyResult
    from batchcore.cli.tables import Cell
    from batchcore.run.many import ManyResult
    from batchcore.run.result import BatchResult

NAMED: Final = 4
"""How many names a line has room for."""

SHOWN: Final = 6
"""How many sessions of a plan are shown one by one, so that it fits a screen of 24 lines."""

OF_PRICES: Final = ("stale", "unpriced", "lacks_prices", *CHECKS)
"""Issues that a plan has lines of its own for."""

STATES: Final = {
    "complete": good,
    "running": warn,
    "superseded": dim,
    "incomplete": bad,
    "interrupted": warn,
    "failed": bad,
    "stuck": bad,
}
"""How each state of a run is shown."""

ATTENTION: Final = ("stuck", "failed", "incomplete", "interrupted")
"""States of runs to look at, the worst first."""


def run_parts(result: BatchResult, document: Mapping[str, Any]) -> list[RenderableType]:
    """Return what a run did, after what it finished first."""
    first: list[RenderableType] = []
    if result.resumed is not None:
        first = [*_run_parts(result.resumed, document["resumed"]), ""]
    return [*first, *_run_parts(result, document)]


def databases_parts(
    many: ManyResult,
    codes: Mapping[str, int],
    parts_of: Callable[[BatchResult], Sequence[RenderableType]],
) -> list[RenderableType]:
    """Return what the run on each database did, or what ended it."""
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
    """Return the issues of portfolios that failed."""
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
    """Return how many issues of each name there are, and their first symbols."""
    subjects = result.subjects_by_issue()
    rows = [
        (warn(name), count, first_of(subjects.get(name, []), NAMED))
        for name, count in result.issues_by_name().items()
        if name not in left_out
    ]
    return _noticed_listing(rows, most)


def _noticed_listing(rows: Sequence[Sequence[Cell]], most: int = LISTED) -> list[RenderableType]:
    columns = (Column("issue"), Column("count", right=True), _wide("of"))
    return [Listing(columns, rows, title="Noticed", noun="name", most=most)] if rows else []


def _note_pairs(lines: Sequence[str]) -> list[tuple[str, str | None]]:
    return [(name, text) for name, _, text in (line.partition(": ") for line in lines)]


def _phase_part(document: Mapping[str, Any]) -> Listing:
    seconds, statements = document["seconds_by_phase"], document["statements_by_phase"]
    rows, sizes = document["rows_by_phase"], document["bytes_by_phase"]
    names = [name for name in dict.fromkeys([*statements, *seconds]) if name != "total"]
    columns = (
        Column("phase"),
        *(Column(name, right=True) for name in ("seconds", "statements", "rows", "MB")),
    )

    def cells(name: str) -> tuple[str | int | None, ...]:
        spent, size = seconds.get(name), sizes.get(name)
        return (
            name,
            f"{spent:.2f}" if spent else None,
            statements.get(name),
            rows.get(name),
            f"{size / 1e6:,.1f}" if size else None,
        )

    last = ("in all", f"{seconds['total']:.2f}", document["statements"], None, None)
    return Listing(columns, [cells(name) for name in names], last=last, noun="phase")


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
    """Return lines of what is missing, the worst first."""
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
            told = f"{counted(len(names), what)} {lacks}: {first_of(names, most)}"
            lines.append((bad if key == "symbols_without_close" else warn)(told))
    lines = lines or [good("all prices are there")]
    if found := Counter(one["name"] for one in plan["price_findings"]):
        what = counted(found.total(), "finding")
        lines.append(warn(f"{what} of price checks: {named_counts(found)}"))
    return lines


def _coverage_parts(result: BatchResult, plan: Mapping[str, Any]) -> list[RenderableType]:
    coverage, least = result.coverage, float(plan["min_coverage"])
    shares = coverage.share().tolist()
    rows = sorted(
        (share, session, fresh, recent)
        for share, session, fresh, recent in zip(
            shares,
            plan["coverage"],
            coverage.fresh.tolist(),
            coverage.recent.tolist(),
            strict=True,
        )
        if share < 1
    )
    bars: list[RenderableType] = [
        f"symbols with a close, by session (at least {least:.1%})",
        Bars(shares, least),
    ]
    if not rows:
        return bars
    columns = (
        Column("session"),
        *(Column(name, right=True) for name in ("with a close", "of", "share")),
        Column(""),
    )
    cells = [
        (session, fresh, recent, *_share_cells(share, least))
        for share, session, fresh, recent in rows
    ]
    return [*bars, Listing(columns, cells, noun="session", most=SHOWN)]


def _share_cells(share: float, least: float) -> tuple[Text, Text | str]:
    text = f"{share:.1%}"
    return (bad(text), bad("below")) if share < least else (warn(text), "")


def repair_parts(result: BatchResult, document: Mapping[str, Any]) -> list[RenderableType]:
    """Return what a repair did, or would do."""
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
    columns = (
        Column("portfolio"),
        Column("from"),
        *(Column(name, right=True) for name in ("rows", "cells")),
    )
    listed = [
        (one["portfolio"], one["first_session"] or "its equity", one["rows"], one["cells"])
        for one in found
    ]
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
        Listing(columns, listed, title="Different", noun="portfolio"),
        "",
        Facts([*pairs, *_note_pairs(run_notes(document))]),
    ]
    return parts if dry_run else [*parts, "", _phase_part(document)]


def verify_parts(result: VerifyResult) -> list[RenderableType]:
    """Return what a verification found."""
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
    """Return the columns with cells that differ, the most first, and examples."""
    if not result.differing:
        return []
    of = result.columns
    counts = zip(of.name, of.differing.tolist(), of.checked.tolist(), of.worst, strict=True)
    columns = (
        Column("column"),
        *(Column(name, right=True) for name in ("differ", "compared", "by at most")),
    )
    rows = [
        (name, bad(differing), checked, None if worst is None else worst.difference)
        for name, differing, checked, worst in sorted(counts, key=lambda one: -one[1])
        if differing
    ]
    examples = (
        Column("portfolio", least=9),
        Column("session"),
        _wide("column"),
        Column("stored", right=True),
        Column("expected", right=True),
        Column("cause", drop=1),
    )
    cells = [
        (
            str(one.portfolio),
            None if one.session is None else one.session.isoformat(),
            one.column,
            bad(_amount(one.stored)),
            _amount(one.expected),
            one.cause,
        )
        for one in result.examples
    ]
    parts: list[RenderableType] = [
        Listing(columns, rows, title="Columns", noun="column"),
        Listing(examples, cells, title="Examples", noun="cell", most=10),
    ]
    return parts


def _amount(value: object) -> str:
    """Return a cell of the table, a number with its thousands."""
    return f"{value:,f}" if isinstance(value, Decimal) else cell_words(value)


def runs_parts(runs: Sequence[Mapping[str, Any]], following: Sequence[str]) -> list[RenderableType]:
    """Return runs of the ledger, the latest first, after how many need a look."""
    if not runs:
        return ["no run is in the ledger"]
    states = Counter(run["state"] for run in runs)
    wrong = {state: states[state] for state in ATTENTION if states[state]}
    head = [bad(f"to look at: {named_counts(wrong)}")] if wrong else []
    return [
        *head,
        _runs_part(runs),
        *map(dim, following),
    ]


def _runs_part(runs: Sequence[Mapping[str, Any]]) -> Listing:
    has_shards = any(run["shard"] for run in runs)
    columns = (
        Column("run"),
        *[Column("shard")][:has_shards],
        Column("state"),
        Column("policy", drop=5),
        Column("range", drop=3),
        Column("attempt", right=True, drop=6),
        Column("portfolios", right=True, drop=4),
        Column("failed", right=True),
        Column("chunks", right=True, drop=7),
        Column("rows", right=True, drop=2),
        Column("began", drop=1),
    )
    cells = [_run_cells(run, has_shards=has_shards) for run in runs]
    return Listing(columns, cells, most=len(runs), noun="run")


def group_parts(group: Mapping[str, Any]) -> list[RenderableType]:
    """Return all shards of a run, what needs attention first."""
    state, latest = group["state"], latest_runs(group["runs"])
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


def _run_cells(run: Mapping[str, Any], *, has_shards: bool) -> tuple[Any, ...]:
    state, failed = run["state"], run["failed"]
    return (
        run["run_id"],
        *[run["shard"]][:has_shards],
        STATES.get(state, warn)(state),
        asked_text(run["asked"]),
        range_text(run),
        run["attempt"],
        run["portfolios"],
        bad(failed) if failed else failed,
        run["chunks"],
        run["rows_written"],
        run["created_at"],
    )


def of_ledger_parts(run: Mapping[str, Any]) -> list[RenderableType]:
    """Return one run of the ledger with its chunks, and the portfolios that were noticed."""
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
        ("asked for", f"{asked_text(asked)}, {range_text(run)}, calendar {asked['calendar']}"),
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
    """Return portfolios that failed, then what was noticed of portfolios and of symbols."""
    failed, counts, symbols = noticed_of(runs)
    noticed = [(warn(name), count, "portfolios") for name, count in counts.items()]
    noticed += [(warn(name), len(own), first_of(own, NAMED)) for name, own in symbols.items()]
    return [*_failed_listing(failed, "portfolio"), *_noticed_listing(noticed)]


def _chunk_parts(chunks: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    columns = (
        Column("chunk", right=True),
        Column("first portfolio"),
        Column("sessions", right=True, drop=3),
        Column("rows", right=True),
        Column("attempt", right=True, drop=2),
        Column("sha256", least=9, drop=1),
    )
    names = ("chunk", "first_portfolio", "sessions", "rows_written", "attempt", "sha256")
    rows = [tuple(chunk[name] for name in names) for chunk in chunks]
    return [Listing(columns, rows, title="Committed", noun="chunk", most=10)] if rows else []


def _wide(title: str) -> Column:
    """Return a column of texts that may be cut."""
    return Column(title, least=24)
