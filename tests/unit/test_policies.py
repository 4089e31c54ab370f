"""The figures of docs/legacy.md, computed by the references of both policies."""

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batchcore import reference as ref
from batchcore.reference import legacy
from support.cases import Case, cases
from support.worked_legacy import (
    CALENDAR,
    held,
    jan,
    portfolio,
    position,
    price,
    profile,
    snapshot,
)

TEXT = (Path(__file__).parents[2] / "docs" / "legacy.md").read_text(encoding="utf-8")
EXAMPLES = cases("legacy", "policies.toml")


def table_rows() -> dict[str, list[str]]:
    """Return the other cells of each row under "What differs", by its first one."""
    section = TEXT.partition("\n## What differs\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells if row[0] != "what"}


def rolled_forward(example: Case) -> dict[int, Any]:
    """Return the rows of the policy `rollforward` by day."""
    (held,) = example.portfolios
    rows = tuple(
        ref.Snapshot(one.day, one.equity)
        for one in held.snapshots
        if one.is_complete and one.equity is not None and one.day in CALENDAR
    )
    whole = ref.Portfolio("p", Decimal(777), held.positions, held.flows, rows)
    result = ref.roll_forward(whole, ref.market(example.prices), example.days)
    return {row.day: row for row in result.rows}


def by_legacy(example: Case) -> dict[int, Any]:
    """Return the rows of the policy `legacy` by day."""
    (held,) = example.portfolios
    shared = example.shared(CALENDAR)
    return {row.day: row for row in legacy.roll(held, shared, example.days).rows}


def cell(rows: dict[int, Any], figure: str) -> str:
    """Return a figure, "`column` day", as the tables write it."""
    found = re.fullmatch(r"`(\w+)` (\d)th", figure)
    assert found
    row = rows.get(jan(int(found[2])))
    if row is None:
        return "no row"
    # The rows of `rollforward` leave out the total value: it is the equity (S8).
    total = isinstance(row, ref.Row) and found[1] == "total_value"
    value = getattr(row, "equity_balance" if total else found[1])
    return "NULL" if value is None else str(value)


def worked(example: Case) -> list[str]:
    """Return rules, example, figure, and the figure under both policies."""
    rules, _, text = example.why.partition(": ")
    found = re.fullmatch(r"(.*); (`\w+` \dth): (.*), or (.*)", text)
    assert found
    return [rules, *found.groups()]


def test_every_row_of_the_table_is_one_of_the_examples() -> None:
    examples = {example.name: worked(example) for example in EXAMPLES}
    rows = table_rows()
    assert len(rows) == len(examples) - 15
    assert {name: examples[name] for name in rows} == rows


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_difference_worked_by_hand(example: Case) -> None:
    _, _, figure, rollforward, stored = worked(example)
    assert cell(rolled_forward(example), figure) == rollforward
    assert cell(by_legacy(example), figure) == stored


def current(*positions: ref.Position, equity: str = "1000", **inputs: Any) -> legacy.Row:
    """Return the row of the 5th as today, of positions without a close on it."""
    example = replace(
        EXAMPLES[0],
        portfolios=(portfolio(*positions, snapshots=(snapshot(2, equity),)),),
        prices=(price("AAA", 2, "1"),),
        days=(jan(5),),
        today=jan(5),
        **inputs,
    )
    row: legacy.Row = by_legacy(example)[jan(5)]
    return row


def current_cell(title: str) -> str:
    section = TEXT.partition("\n## Columns of the current day\n")[2].partition("\n## ")[0]
    (line,) = re.findall(rf"^\| {re.escape(title)} \|[^|]*\|([^|]*)\|", section, re.MULTILINE)
    return str(line)


def test_columns_of_the_current_day() -> None:
    row = current(held("AAA", "300"), profiles={"AAA": profile("1.5")})
    assert f"= {row.beta_provider_1y}" in current_cell("provider beta")
    assert current(held("AAA", "100")).sector_exposure == {}
    assert "`{}`" in current_cell("sectors")
    row = current(held("AAA", "100"), equity="-500", profiles={"AAA": profile(None, "Energy")})
    assert row.sector_exposure == {"Energy": -0.2}
    assert '`{"Energy": -0.2}`' in current_cell("sectors, equity of -500")
    assert current(held("AAA", "100"), held("aaa", "100")).hhi == 5000
    assert "hhi 5000" in current_cell("concentration")
    row = current(held("AAA", "100"), has_benchmark=False)
    assert (row.sector_exposure, row.hhi, row.effective_num_positions) == (None, None, None)
    assert (row.top_3_concentration, row.top_10_concentration) == (None, None)
    assert "all five columns NULL" in current_cell("without rows of the benchmark")


def test_legacy_would_have_earned_on_as_rollforward_does_after_the_switch() -> None:
    # tests/db/test_switch.py switches: 100 x (10.50 - 11) = -50 on the 6th there.
    example = replace(
        EXAMPLES[0],
        portfolios=(portfolio(position(quantity="100"), snapshots=(snapshot(2, "9980"),)),),
        prices=(price("AAA", 2, "10"), price("AAA", 5, "11"), price("AAA", 6, "10.50")),
        days=(jan(5), jan(6)),
    )
    stayed = by_legacy(example)[jan(6)]
    assert (stayed.daily_pnl, stayed.equity_balance) == (-50, 10030)
