"""Stored rows compared with the pure-Python reference, cell by cell."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.demo.stored import STORED_COLUMNS, reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from decimal import Decimal
    from uuid import UUID

    from batchcore.demo.stored import StoredRow
    from batchcore.options import Progress

EXAMPLES: Final = 20
"""Number of differences that are listed; all are counted."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of a check."""

    rows: int  # snapshots compared, stored and expected
    differing: int
    """Rows with a differing cell, missing rows and unexpected ones; a wrong
    `portfolios.equity_balance` also counts as one."""
    portfolios: int  # compared
    portfolios_in_all: int  # those that could have been
    examples: tuple[str, ...]  # the first differences, a line for each


async def check(
    db: object,
    opening: Mapping[UUID, Decimal | None],
    sessions: Sequence[int],
    *,
    sample: int | None = None,
    seed: int = 0,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Checked:
    """Return the comparison of the snapshots of a run with those that the reference computes.

    The inputs are the current ones; earlier snapshots are not known, so portfolios must have none
    but those of ``sessions``, ascending days. ``opening`` has the portfolios of the run with their
    equities before it, of which ``sample`` are drawn, or all.

    Source:
        docs/semantics.md, S3 to S10, C3 to C7; S14 for what "equal" leaves out.
    """
    ids, settings = sorted(opening), settings or Settings()
    if sample is not None and sample < len(ids):
        ids = sorted(random.Random(seed).sample(ids, sample))  # noqa: S311  # no secret
    async with reading(db, schema=settings.schema) as reader:
        scales = reader.scales
        portfolios = await reader.portfolios(opening, ids)
        prices = await reader.market(portfolios)
        rates = await reader.rates(max(sessions), settings.fx_lookback_days, settings.fx_pivot)
        stored = await reader.snapshots(ids)
        equities = await reader.equities(ids)

    rows, differing, examples = 0, 0, list[str]()
    for done, (one, portfolio) in enumerate(zip(ids, portfolios, strict=True)):
        if progress is not None:
            progress("check", done, len(ids))
        await asyncio.sleep(0)  # the reference is slow, and signals must be handled
        result = ref.roll_forward(
            portfolio, prices, sessions, settings.lookback_days, scales, rates=rates
        )
        compared, different = _compare(portfolio.id, result.rows, stored.get(one, []))
        rows += compared
        expected = result.rows[-1].equity_balance if result.rows else equities.get(one)
        if equities.get(one) != expected:
            different.append(
                f"portfolio {one}: portfolios.equity_balance is {equities.get(one)}, "
                f"expected {expected}"
            )
        differing += len(different)
        examples += different[: EXAMPLES - len(examples)]
    return Checked(rows, differing, len(ids), len(opening), tuple(examples))


def _compare(
    portfolio: str, expected: Sequence[ref.Row], stored: Sequence[StoredRow]
) -> tuple[int, list[str]]:
    """Return the number of rows compared, and a line for each that differs."""
    wanted = {row.day: row for row in expected}
    found = {row.day: row for row in stored}
    lines = []
    for day in sorted(wanted.keys() | found.keys()):
        on = "an infinite date" if day == ref.INFINITE_DAY else date_of(day).isoformat()
        where = f"portfolio {portfolio} on {on}"
        if day not in found:
            lines.append(f"{where}: missing")
        elif day not in wanted:
            lines.append(f"{where}: stored, but not expected")
        elif cells := list(_cells(wanted[day], found[day])):
            lines.append(f"{where}: {'; '.join(cells)}")
    return len(wanted.keys() | found.keys()), lines


def _cells(expected: ref.Row, stored: StoredRow) -> Iterator[str]:
    for column, value in zip(STORED_COLUMNS, stored.values, strict=True):
        wanted = getattr(expected, column, True)  # `is_complete`
        if value != wanted:
            yield f"{column} is {value}, expected {wanted}"
