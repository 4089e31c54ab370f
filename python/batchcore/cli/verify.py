"""The command `verify`."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import batchcore
from batchcore.cli import options as given
from batchcore.cli.app import Call, command, views
from batchcore.cli.exits import DONE, INCOMPLETE, NOTHING_TO_DO
from batchcore.cli.options import Date, PortfolioIds, flag, option
from batchcore.cli.output import named_counts, showing_progress
from batchcore.cli.signals import finish
from batchcore.config import VALUATION
from batchcore.words import counted, differ

if TYPE_CHECKING:
    from batchcore.audit.result import VerifyResult


@command("verify", given.derived(only=("policy", "calendar", *VALUATION, "beta_weights")))
def verify(
    call: Call,
    *,
    start: Annotated[Date, given.date_option("First day; default: the earliest snapshot.")] = None,
    end: Annotated[Date, given.date_option("Last day; default: the latest snapshot.")] = None,
    portfolio: PortfolioIds = None,
    sample: Annotated[
        int | None, option("N", "Random snapshots to check; default: all.", show_default=False)
    ] = None,
    seed: Annotated[int, option("N", "Seed of the random sample.", min=0)] = 0,
    fast: Annotated[bool, flag("--fast", "Recompute natively instead of in pure Python.")] = False,
    **options: Any,  # noqa: ANN401  # of `RunOptions`
) -> int:
    """Recompute snapshots and show what differs; write nothing."""
    options["settings"] = given.valuation(call.schema, options)
    options |= {"sample": sample, "seed": seed, "fast": fast}
    with showing_progress() as progress:
        work = batchcore.verify(call.url, start, end, portfolio, progress=progress, **options)
        result = finish(work)
    call.answer(
        result.to_dict(), lambda: verified_text(result), lambda: views().verify_parts(result)
    )
    if result.rows == 0:
        return NOTHING_TO_DO
    return INCOMPLETE if result.differing else DONE


def verified_text(result: VerifyResult) -> str:
    """Return the result of a verification."""
    if result.rows == 0:
        return "nothing to verify: no snapshot is stored in the range"
    how = "natively" if result.fast else "by the reference"
    of = f" of {result.rows_stored:,}" if result.rows < result.rows_stored else ""
    rows = f"{result.rows:,}{of} snapshot{'' if result.rows == 1 and not of else 's'}"
    lines = [
        (
            f"{rows} of {counted(result.portfolios, 'portfolio')} recomputed {how}: "
            f"{result.policy}, calendar {result.calendar}"
        ),
        (
            f"cells: {result.checked:,} compared, {differ(result.differing)}"
            f" in {counted(result.rows_differing, 'snapshot')}"
        ),
        f"not checkable: {named_counts(result.not_checkable)}",
        *(f"not computed: {part}: {why}" for part, why in result.analytics_off.items()),
    ]
    if result.missing_sessions:
        lines.append(f"sessions without a complete snapshot: {result.missing_sessions:,}")
    if result.causes:
        lines.append(f"causes: {named_counts(result.causes)}")
    return "\n".join([*lines, *_column_lines(result), *_difference_lines(result)])


def _column_lines(result: VerifyResult) -> list[str]:
    """Return a line for each column with differing cells."""
    of = result.columns
    cells = zip(of.name, of.differing.tolist(), of.checked.tolist(), of.worst, strict=True)
    wrong = [one for one in cells if one[1]]
    width = max((len(name) for name, *_ in wrong), default=0)
    lines = []
    for name, differing, checked, worst in wrong:
        apart = None if worst is None else worst.difference
        by = "" if apart is None else f", by {apart:,f} at most"
        lines.append(f"  {name:<{width}}  {differing:>9,} of {checked:>9,}{by}")
    return lines


def _difference_lines(result: VerifyResult) -> list[str]:
    lines = [
        f"portfolio {one.portfolio}{'' if one.session is None else f' on {one.session}'}: "
        f"{one.column} is {cell_words(one.stored)}, expected {cell_words(one.expected)}"
        f"{f' ({one.cause})' if one.cause else ''}"
        for one in result.examples
    ]
    if more := result.differing - len(lines):
        lines.append(f"{more:,} more {'differs' if more == 1 else 'differ'}")
    return lines


def exact(value: object) -> str:
    """Return a cell of a table; numbers have separated thousands."""
    return f"{value:,f}" if isinstance(value, Decimal) else cell_words(value)


def cell_words(value: object) -> str:
    """Return the value of a cell."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {cell_words(value[name])}" for name in sorted(value)) + "}"
    return "NULL" if value is None else f"{value}"
