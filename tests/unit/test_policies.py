"""The figures of docs/legacy.md, computed by the references of both policies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchcore import reference as ref
from batchcore.reference import legacy
from support.worked_legacy import (
    CALENDAR,
    PRICES,
    P,
    contribution,
    event,
    held,
    jan,
    portfolio,
    position,
    price,
    profile,
    snapshot,
)

if TYPE_CHECKING:
    from support.cases import Price

TEXT = (Path(__file__).parents[2] / "docs" / "legacy.md").read_text(encoding="utf-8")
ONE = (position(),)


@dataclass(frozen=True)
class Example:
    """A portfolio of the tables under "What differs"; `title` is the first cell of its row."""

    title: str
    positions: tuple[ref.Position, ...] = ONE
    flows: tuple[ref.Flow, ...] = ()
    snapshots: tuple[legacy.Snapshot, ...] = (P,)
    prices: tuple[Price, ...] = PRICES
    days: tuple[int, ...] = (5, 6)


PENNY = (price("BBB", 2, "0.25"),)
PRIVATE = {"investment_class": "PRIVATE"}

EXAMPLES = [
    Example("a day that is not run", days=(6,)),
    Example("a close older than ten days", prices=(price("AAA", -6, "10"), price("AAA", 5, "11"))),
    Example("the entry day", positions=(position(entry_day=5, entry_price="10.50"),)),
    Example("an exit", positions=(position(exit_day=5, exit_price=Decimal("10.80")),)),
    Example("an exit price", positions=(position(exit_day=5, exit_price=Decimal("10.80")),)),
    Example(
        "a sale after days of marking",
        positions=(
            position(
                exit_day=6,
                exit_price=Decimal(12),
                events=(ref.Event(jan(6), Decimal(10), Decimal(20)),),
            ),
        ),
    ),
    Example(
        "a weekend's event",
        positions=(position(quantity="6", events=(ref.Event(jan(3), Decimal(4), Decimal(3)),)),),
    ),
    Example("a weekend's flow", flows=(contribution(3, "500"),)),
    Example(
        "an event of a soft-deleted position",
        positions=(*ONE, position(deleted=True, events=(event(5, "3"),))),
    ),
    Example("a close of 0", prices=(price("AAA", 2, "0"), price("AAA", 5, "11"))),
    Example("letter case", positions=(position(symbol="aaa"),)),
    Example(
        "half cents",
        positions=(position(symbol="HLF", quantity="0.5", entry_price="1.00"),),
        snapshots=(snapshot(2, "100000"),),
        prices=(price("HLF", 2, "1.00"), price("HLF", 5, "0.99")),
    ),
    Example("an incomplete row", snapshots=(P, snapshot(5, "500", is_complete=False)), days=(6,)),
    Example("an equity of 0", snapshots=(snapshot(2, "0.00"),)),
    Example("the first day", positions=(position(events=(event(5, "3"),)),), snapshots=()),
    Example("a row off session", snapshots=(P, snapshot(3, "900"))),
    Example("a return of 100", snapshots=(snapshot(2, "0.10"),)),
    Example("the day after a failure", flows=(contribution(5, "99999999999999"),)),
    Example("margin", snapshots=(snapshot(2, "50"),)),
    Example("no positions left", positions=(position(exit_day=5, exit_price=Decimal(11)),)),
    Example(
        "an expired option",
        positions=(position(position_type="LC", quantity="0.1", expiration_day=2),),
    ),
    Example("a tie", positions=(position(symbol="BBB", quantity="0.5"),), prices=PENNY),
    Example(
        "binary64",
        positions=(position(symbol="BBB", quantity="0.1"),),
        prices=(price("BBB", 2, "0.35"),),
    ),
    Example(
        "sums of rounded sums",
        positions=(
            position(symbol="BBB", quantity="0.5"),
            position(symbol="BBB", quantity="-0.25"),
        ),
        prices=PENNY,
    ),
    Example(
        "a close before the entry",
        positions=(position(entry_day=5, entry_price="10.50"),),
        prices=(price("AAA", 2, "10"),),
    ),
    Example("no close at all", prices=()),
    Example("a negative close", prices=(price("AAA", 2, "10"), price("AAA", 5, "-1"))),
    Example(
        "a private position with closes", positions=(position(market_value="1000", **PRIVATE),)
    ),
    Example(
        "a private position of an option type",
        positions=(position(position_type="LC", quantity="2", market_value="200", **PRIVATE),),
        prices=(),
    ),
    Example("a quantity of 0", positions=(*ONE, position(quantity="0"))),
    Example(
        "a position closed in part later",
        positions=(position(quantity="6", events=(ref.Event(jan(6), Decimal(4), Decimal(8)),)),),
    ),
]


def table_rows() -> dict[str, list[str]]:
    """Return the other cells of each row under "What differs", by its first one."""
    section = TEXT.partition("\n## What differs\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells if row[0] != "what"}


def rolled_forward(example: Example) -> dict[int, Any]:
    """Return the rows of the policy `rollforward` by day."""
    rows = tuple(
        ref.Snapshot(one.day, one.equity)
        for one in example.snapshots
        if one.is_complete and one.equity is not None and one.day in CALENDAR
    )
    whole = ref.Portfolio("p", Decimal(777), example.positions, example.flows, rows)
    result = ref.roll_forward(whole, ref.market(example.prices), [jan(on) for on in example.days])
    return {row.day: row for row in result.rows}


def shared(example: Example, **inputs: Any) -> legacy.Shared:
    return legacy.Shared(
        prices=legacy.closes(example.prices),
        calendar=CALENDAR,
        **({"today": jan(60)} | inputs),
    )


def by_legacy(example: Example, **inputs: Any) -> dict[int, Any]:
    """Return the rows of the policy `legacy` by day."""
    whole = portfolio(*example.positions, flows=example.flows, snapshots=example.snapshots)
    days = [jan(on) for on in example.days]
    return {row.day: row for row in legacy.roll(whole, shared(example, **inputs), days).rows}


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


def test_every_row_of_the_tables_has_an_example() -> None:
    assert list(table_rows()) == [example.title for example in EXAMPLES]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_a_difference_worked_by_hand(example: Example) -> None:
    _, _, figure, rollforward, stored = table_rows()[example.title]
    assert cell(rolled_forward(example), figure) == rollforward
    assert cell(by_legacy(example), figure) == stored


def current(*positions: ref.Position, equity: str = "1000", **inputs: Any) -> legacy.Row:
    """Return the row of the 5th as today, of positions without a close on it."""
    example = Example(
        "", positions, snapshots=(snapshot(2, equity),), prices=(price("AAA", 2, "1"),), days=(5,)
    )
    row: legacy.Row = by_legacy(example, today=jan(5), **inputs)[jan(5)]
    return row


def current_cell(title: str) -> str:
    section = TEXT.partition("\n## Columns of the current day\n")[2].partition("\n## ")[0]
    (line,) = re.findall(rf"^\| {re.escape(title)} \|[^|]*\|([^|]*)\|", section, re.MULTILINE)
    return str(line)


def test_provider_beta_of_the_current_day() -> None:
    row = current(held("AAA", "300"), profiles={"AAA": profile("1.5")})
    assert f"= {row.beta_provider_1y}" in current_cell("provider beta")


def test_sectors_of_the_current_day() -> None:
    assert current(held("AAA", "100")).sector_exposure == {}
    assert "`{}`" in current_cell("sectors")


def test_sectors_of_a_negative_equity() -> None:
    row = current(held("AAA", "100"), equity="-500", profiles={"AAA": profile(None, "Energy")})
    assert row.sector_exposure == {"Energy": -0.2}
    assert '`{"Energy": -0.2}`' in current_cell("sectors, equity of -500")


def test_concentration_of_the_current_day() -> None:
    assert current(held("AAA", "100"), held("aaa", "100")).hhi == 5000
    assert "hhi 5000" in current_cell("concentration")


def test_columns_of_the_current_day_without_a_benchmark() -> None:
    row = current(held("AAA", "100"), has_benchmark=False)
    assert (row.sector_exposure, row.hhi, row.effective_num_positions) == (None, None, None)
    assert (row.top_3_concentration, row.top_10_concentration) == (None, None)
    assert "all five columns NULL" in current_cell("without rows of the benchmark")


# The switch: 100 AAA bought at 10.00 on the 2nd; legacy up to the 5th, then both on the 6th.
BOUGHT = position(quantity="100")
SWITCH = Example(
    "",
    positions=(BOUGHT,),
    snapshots=(snapshot(2, "9980"),),
    prices=(price("AAA", 2, "10"), price("AAA", 5, "11"), price("AAA", 6, "10.50")),
)


def switched(example: Example) -> Any:
    """Return the row of the 6th by `rollforward`, after one of the 5th by `legacy`."""
    row = by_legacy(example)[jan(5)]
    before = snapshot(5, str(row.equity_balance))
    after = Example("", example.positions, example.flows, (before,), example.prices, days=(6,))
    return rolled_forward(after)[jan(6)]


def test_the_switch_is_no_jump() -> None:
    # 9980 + 100 x 1 = 10,080 by legacy; then 100 x (10.50 - 11) = -50, -50/10080 = -0.0049603...
    assert by_legacy(SWITCH)[jan(5)].equity_balance == 10080
    row = switched(SWITCH)
    assert (row.daily_pnl, row.equity_balance) == (-50, 10030)
    assert row.daily_return == Decimal("-0.004960")
    stayed = by_legacy(SWITCH)[jan(6)]
    assert (stayed.daily_pnl, stayed.equity_balance) == (-50, 10030)


def test_an_exited_position_stops_earning_at_the_switch() -> None:
    exited = position(quantity="100", exit_day=2, exit_price=Decimal(10))
    example = Example("", (exited,), snapshots=SWITCH.snapshots, prices=SWITCH.prices)
    assert by_legacy(example)[jan(5)].equity_balance == 10080
    assert switched(example).equity_balance == 10080


def test_a_sale_at_the_switch_counts_once() -> None:
    # Sold at 10.50 on the 6th: 50 realized, of which U(5) = 100 was earned before: -50.
    sold = position(
        quantity="100",
        exit_day=6,
        exit_price=Decimal("10.50"),
        events=(ref.Event(jan(6), Decimal(100), Decimal(50)),),
    )
    example = Example("", (sold,), snapshots=SWITCH.snapshots, prices=SWITCH.prices)
    assert switched(example).daily_pnl == -50
    assert by_legacy(example)[jan(6)].daily_pnl == 0


def test_a_sale_is_mended_by_computing_all_anew() -> None:
    (example,) = (one for one in EXAMPLES if one.title == "a sale after days of marking")
    assert by_legacy(example)[jan(6)].equity_balance == 1040
    assert rolled_forward(example)[jan(6)].equity_balance == 1020
