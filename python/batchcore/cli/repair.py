"""The command `repair`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import batchcore
from batchcore.cli import options as given
from batchcore.cli.app import Call, command, views
from batchcore.cli.options import Date, OkIfNothing, PortfolioIds, PortfoliosFile, flag
from batchcore.cli.output import LISTED
from batchcore.cli.run import attempt_text, code_of, note_lines, phase_lines, run_batch
from batchcore.words import counted, differ

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchcore.run.result import BatchResult


LEFT_OUT: Final = (
    *("on_existing", "missing", "changed_since", "today"),
    *("checks", "max_move", "frozen_sessions", "max_missing"),
)


@command("repair", [*given.derived(but=LEFT_OUT), given.ARTIFACT, given.METRICS])
def repair(
    call: Call,
    *,
    start: Annotated[
        Date, given.date_option("First day to compare; default: the earliest snapshot.")
    ] = None,
    end: Annotated[
        Date, given.date_option("Last day to compare; default: the latest snapshot.")
    ] = None,
    portfolio: PortfolioIds = None,
    portfolios_file: PortfoliosFile = None,
    dry_run: Annotated[bool, flag("--dry-run", "Report what differs and write nothing.")] = False,
    ok_if_nothing: OkIfNothing = False,
    **options: Any,  # noqa: ANN401  # those of `RunOptions` and `Settings`
) -> int:
    """Recompute stored snapshots and replace those that differ.

    Each portfolio is replaced from its first difference on. This is for applications whose time
    stamps do not show corrections; if they do, `run --changed-since` is faster.
    """
    which = start, end, portfolio, portfolios_file
    result = run_batch(batchcore.repair, call, which, options, dry_run=dry_run)
    document = result.to_dict()
    call.record.report(result, document)
    call.answer(
        document,
        lambda: repair_text(result, document),
        lambda: views().repair_parts(result, document),
    )
    return code_of(call, result, ok_if_nothing=ok_if_nothing)


def repair_text(result: BatchResult, document: Mapping[str, Any]) -> str:
    """Return the result of a repair, or of its dry run."""
    found = document["differences"]
    compared = document["rows_by_phase"].get("compute", 0)
    if not found:
        lines = [f"nothing to repair: {counted(compared, 'snapshot')} compared, 0 differ"]
        return "\n".join([*lines, *note_lines(result, document)])
    dry_run = document["dry_run"]
    did = "would repair" if dry_run else f"run {document['run_id']}: repaired"
    of = counted(len(document["portfolios"]["id"]), "portfolio")
    rows = sum(one["rows"] for one in found) if dry_run else document["rows_written"]
    lines = [
        f"{did} {len(found):,} of {of}{attempt_text(document)}",
        (
            f"cells: {differ(sum(one['cells'] for one in found))};"
            f" {counted(compared, 'snapshot')} compared"
        ),
        f"rows: {rows:,} {'to write' if dry_run else 'written'}",
        *(f"portfolio {one['portfolio']}: {_what(one)}" for one in found[:LISTED]),
    ]
    if (more := len(found) - LISTED) > 0:
        lines.append(f"{more:,} more portfolio{'' if more == 1 else 's'}, which --json lists")
    if not dry_run:
        lines += phase_lines(document)
    return "\n".join([*lines, *note_lines(result, document)])


def _what(one: Mapping[str, Any]) -> str:
    if one["first_session"] is None:
        return "its equity_balance"
    return f"rows from {one['first_session']} on: {one['rows']:,}, cells: {one['cells']:,}"
