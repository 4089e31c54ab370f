"""What an explanation says of its rows: order, shares, decimals, JSON and CSV (X2, X6)."""

import datetime as dt
import uuid
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console

from batchcore.attribution.explanation import (
    ComparedCell,
    ExplainedFlow,
    ExplainedRow,
    Explanation,
    UnbalancedRow,
)
from batchcore.attribution.lots import Lot, by_key, ordered, total, trimmed
from batchcore.cli.explain import attention_lines, explained_parts, explained_text

OWNER = uuid.UUID(int=7)
DAY = dt.date(2026, 1, 6)


def row(key: str, change: str | None, realized: str | None = "0", **more: Any) -> ExplainedRow:
    amounts = [None if one is None else Decimal(one) for one in (change, realized)]
    return ExplainedRow(
        key=key,
        unrealized_change=amounts[0],
        realized=amounts[1],
        contribution=total(amounts),
        **more,
    )


def lot(key: str, change: str, quantity: str, **more: Any) -> Lot:
    own: dict[str, Any] = {
        "position": OWNER,
        "symbol": "aaa ",
        "type": "LONG",
        "multiplier": 1,
        "quantity": Decimal(quantity),
        "value": None,
    }
    return Lot(row(key, change, **{**own, **more}), "PUBLIC")


def test_the_largest_contribution_comes_first_then_the_key() -> None:
    rows = ordered([row("c", "1"), row("b", "-3"), row("d", "1"), row("a", None, None)])
    assert [one.key for one in rows] == ["b", "c", "d", "a"]
    # of 5; what has no contribution adds nothing
    assert [one.share for one in rows] == [Decimal("0.6"), Decimal("0.2"), Decimal("0.2"), 0]
    assert [one.share for one in ordered([row("a", "0")])] == [None]


def test_a_group_has_what_its_lots_have_in_common() -> None:
    (found,) = by_key([lot("1", "2.5", "40", value=Decimal(8)), lot("2", "-1", "60")], "position")
    assert (found.key, found.position, found.symbol) == (str(OWNER), OWNER, "aaa ")
    assert (found.quantity, found.contribution, found.value) == (100, Decimal("1.5"), 8)
    others = [lot("1", "1", "40"), lot("2", "1", "1", type="LC", multiplier=100)]
    (found,) = by_key(others, "symbol")
    assert (found.key, found.symbol, found.type) == ("AAA", "AAA", None)
    assert (found.multiplier, found.quantity, found.contribution) == (None, None, 2)


def test_lots_without_a_class_are_a_group_of_their_own() -> None:
    without = replace(lot("1", "1", "1"), class_=None)
    found = by_key([without, lot("2", "2", "1")], "class")
    assert [(one.key, one.contribution) for one in found] == [("PUBLIC", 2), (None, 1)]


@pytest.mark.parametrize(
    ("value", "least", "text"),
    [
        ("110.00000000", 2, "110.00"),
        ("0.1200", 2, "0.12"),
        ("0.0036000", 2, "0.0036"),
        ("-0.00", 2, "0.00"),
        ("1E+3", 2, "1000.00"),
        ("100.0000", 0, "100"),
        ("0.5000", 0, "0.5"),
        ("12345678901234567890123456789012345.678", 2, "12345678901234567890123456789012345.678"),
    ],
)
def test_zeros_at_the_end_are_cut(value: str, least: int, text: str) -> None:
    found = trimmed(Decimal(value), least)
    assert found is not None
    assert f"{found:f}" == text


def test_sums_and_roundings_of_many_digits_are_exact() -> None:
    assert total([None, None]) is total([]) is None
    # 31 digits, where the usual context rounds to 28
    large = [Decimal(10) ** 28, Decimal("0.01")]
    assert total(large) == Decimal("10000000000000000000000000000.01")
    many = Decimal("12345678901234567890.123456789012345")
    found = explanation(computed_pnl=many, daily_pnl=Decimal("0.01"))
    assert found.rounding == Decimal("-12345678901234567890.113456789012345")
    assert explanation(daily_pnl=None).rounding is None
    assert not ComparedCell(DAY, "daily_pnl", Decimal("1.00"), Decimal(1)).differs
    assert ComparedCell(DAY, "daily_pnl", None, Decimal(1)).differs


def explanation(**more: Any) -> Explanation:
    own: dict[str, Any] = {
        "portfolio": OWNER,
        "policy": "rollforward",
        "by": "lot",
        "session": DAY,
        "since": None,
        "daily_pnl": Decimal("10.00"),
        "computed_pnl": Decimal("10.0036"),
        "rows": (row("k", "10.0036", mark_day=DAY, position=OWNER, multiplier=1),),
    }
    return Explanation(**{**own, **more})


def test_json_has_decimals_as_text_and_dates_in_iso_form() -> None:
    found = explanation(flows=(ExplainedFlow(DAY, Decimal("-5.00")),)).to_dict()
    assert found["portfolio"] == str(OWNER)
    assert (found["session"], found["since"], found["previous"]) == ("2026-01-06", None, None)
    assert (found["daily_pnl"], found["computed_pnl"]) == ("10.00", "10.0036")
    assert (found["rounding"], found["explained"]) == ("-0.0036", True)
    assert found["flows"] == [{"date": "2026-01-06", "amount": "-5.00"}]
    (only,) = found["rows"]
    assert (only["contribution"], only["mark_day"], only["multiplier"]) == (
        "10.0036",
        "2026-01-06",
        1,
    )
    assert "share" not in only


def test_csv_leaves_out_what_does_not_apply() -> None:
    names, line = explanation().to_csv().splitlines()
    cells = dict(zip(names.split(","), line.split(","), strict=True))
    assert (cells["key"], cells["contribution"], cells["value"]) == ("k", "10.0036", "")
    assert explanation(rows=()).to_csv().splitlines() == [names]


def test_what_needs_attention_is_cut_with_a_count() -> None:
    days = [DAY + dt.timedelta(days=number) for number in range(30)]
    cells = tuple(ComparedCell(day, "daily_pnl", Decimal(1), Decimal(3)) for day in days)
    unbalanced = tuple(
        UnbalancedRow(day, Decimal(1), Decimal(1), None, Decimal(0), Decimal(1)) for day in days
    )
    found = explanation(
        cells=cells, unexplained=1, unbalanced=unbalanced, missing_sessions=(days[1], days[2])
    )
    lines = attention_lines(found)
    assert lines[0] == (
        "not explained: data have changed since the snapshot was written,"
        " or its run had other options"
    )
    assert lines.count("  and 10 more") == 2
    assert "30 rows do not add up:" in lines
    assert lines[-1].endswith(": 2026-01-07, 2026-01-08")
    assert len(lines) < 50
    null = (ComparedCell(DAY, "daily_pnl", None, Decimal(3)),)
    first, *_ = attention_lines(explanation(daily_pnl=None, cells=null, unexplained=1))
    assert first == "not explained: a stored daily_pnl is not a number"


def test_text_shows_amounts_with_their_points_below_each_other() -> None:
    rows = (
        row("a", "-1234.565", "0", symbol="AAA", mark=Decimal("7.3"), quantity=Decimal(5)),
        row("b", "0.004", "-0.004", symbol="BBB", mark=Decimal("10.25")),
    )
    around = {"equity_before": Decimal("100.00"), "equity": Decimal("110.00")}
    found = explanation(rows=ordered(rows), previous=DAY, **around)
    head, *lines = explained_text(found, 20).splitlines()
    assert head == f"portfolio {OWNER} on 2026-01-06: rollforward, by lot"
    assert lines == [
        "  equity of 2026-01-06  100.00",
        "  stored P&L             10.00",
        "  contributions          10.0036",
        "  rounding               -0.0036",
        "  equity of 2026-01-06  110.00",
        "",
        "key  symbol  quantity   mark  unrealized change  realized  contribution    share",
        "a    AAA            5   7.30          -1,234.57      0.00     -1,234.57  100.0 %",
        "b    BBB               10.25               0.00      0.00          0.00    0.0 %",
    ]
    rest = explained_text(found, 1).splitlines()[-1]
    assert rest == "1 more row, 0.00 together; --top shows more"
    assert explained_text(explanation(rows=()), 20).splitlines()[-1] == "no lot"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_ids_are_whole_however_narrow_a_terminal_is(width: int) -> None:
    rows = [row(str(uuid.UUID(int=number)), "12345.67", value=Decimal(9999)) for number in (1, 2)]
    found = explanation(rows=ordered(rows), by="portfolio", portfolio=None)
    console = Console(width=width)
    with console.capture() as shown:
        console.print(*explained_parts(found, 20), sep="\n")
    lines = shown.get().splitlines()
    for one in rows:
        assert any(line.startswith(str(one.key)) and "+12,345.67" in line for line in lines)
    assert max(map(len, lines)) <= width
