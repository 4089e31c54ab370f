"""Lots held on sessions, values of positions, and closes as floats: cases worked out by hand."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from batchcore import native
from batchcore import reference as ref
from batchcore.errors import CancelledError, ConfigError, InputError
from batchcore.frames import Decimals, Holdings, Inputs, PositionValues
from batchcore.units import LotKind
from support import build
from support.worked import PRICES, event, jan, portfolio, position, price

WEEK = (5, 6, 7, 8)
"""Sessions of every market here; AAA closes at 10, 11 and 12 on the first three."""


def market(inputs: Inputs) -> native.Market:
    return native.build_market(inputs.prices, build.session_days(map(jan, WEEK)))


def chunk(inputs: Inputs) -> dict[str, Any]:
    return {"book": native.Book.of(inputs), "opening": inputs.opening, "threads": 1}


def held(
    *positions: ref.Position,
    sessions: Sequence[int] = WEEK,
    span: tuple[int, int] = (1, 31),
    prices: Sequence[Any] = PRICES,
) -> Holdings:
    spans = [(jan(span[0]), jan(span[1]))]
    inputs = build.inputs((portfolio(*positions),), prices, spans=spans)
    days = build.session_days(map(jan, sessions))
    return native.held_lots(market(inputs), **chunk(inputs), sessions=days)


def valued(
    *positions: ref.Position, on: int = 7, prices: Sequence[Any] = PRICES, **arguments: Any
) -> PositionValues:
    inputs = build.inputs((portfolio(*positions),), prices, **arguments)
    return native.value_positions(market(inputs), **chunk(inputs), session=jan(on))


def cents(found: PositionValues) -> list[tuple[int, int]]:
    columns = (found.market_value.tolist(), found.unrealized_pnl.tolist())
    return list(zip(*columns, strict=True))


SOLD = position(exit_day=6, exit_price="11")
LOTS: dict[str, tuple[tuple[ref.Position, ...], tuple[int, ...], list[list[float | None]]]] = {
    # -2 contracts of 100 at 1 and 1.50; the mark of the 6th is that of the 7th
    "option": (
        (position(symbol="OPT", position_type="SC", quantity="-2"),),
        (5, 6, 7),
        [[-200, -300, -300]],
    ),
    # of 5 AAA 2 were sold on the 6th: 2 until then, 3 throughout; events come first
    "partly closed": (
        (position(quantity="3", events=(event(6, "2", "2"),)),),
        (5, 6),
        [[20, None], [30, 33]],
    ),
    "events by day and quantity": (
        (
            position(
                quantity="0", events=(event(8, "1", "0"), event(7, "3", "0"), event(7, "2", "0"))
            ),
        ),
        (6, 7),
        [[22, None], [33, None], [11, 12]],
    ),
    "held on none of the sessions": ((SOLD, position(quantity="3")), (6, 8), [[33, 36]]),
}


@pytest.mark.parametrize(("positions", "sessions", "expected"), LOTS.values(), ids=LOTS)
def test_lots_have_the_values_of_their_marks_while_they_are_held(
    positions: tuple[ref.Position, ...],
    sessions: tuple[int, ...],
    expected: list[list[float | None]],
) -> None:
    found = held(*positions, sessions=sessions)
    assert found.value.tolist() == [[value or 0 for value in lot] for lot in expected]
    assert found.held.tolist() == [[value is not None for value in lot] for lot in expected]
    is_option = positions[0].symbol == "OPT"
    assert set(found.kind.tolist()) == {LotKind.OPTION if is_option else LotKind.STOCK}
    assert found.portfolio.tolist() == [0] * len(expected)
    assert set(found.position.tolist()) == {len(positions) - 1}


@pytest.mark.parametrize(
    ("market_value", "value"),
    [("-12.34", -12.34), ("500", 500), (None, 20), ("0", 20)],
)
def test_a_private_lot_has_its_market_value_or_that_of_its_entry(
    market_value: str | None, value: float
) -> None:
    # 2 at 10 is 20, whatever AAA closes at
    private = position(quantity="2", investment_class=" private", market_value=market_value)
    found = held(private, sessions=(5, 7))
    assert found.value.tolist() == [[value, value]]
    assert found.kind.tolist() == [LotKind.PRIVATE]


def test_symbols_are_codes_of_the_positions() -> None:
    inputs = build.inputs((portfolio(position(symbol="ZZZ"), position(symbol="aaa ")),), PRICES)
    found = native.held_lots(market(inputs), **chunk(inputs), sessions=build.session_days([jan(5)]))
    table = inputs.positions.symbol.table()
    symbols = dict(zip(found.position.tolist(), found.symbol.tolist(), strict=True))
    assert {row: table[code] for row, code in symbols.items()} == {0: "ZZZ", 1: "aaa "}


def test_portfolios_come_in_the_order_of_opening() -> None:
    two = (portfolio(position(), name="a"), portfolio(position(quantity="2"), name="b"))
    inputs = build.inputs(two, PRICES)
    turned = replace(inputs, opening=build.take(inputs.opening, [1, 0]))
    day = build.session_days([jan(5)])
    for asked, expected in ((inputs, [[10], [20]]), (turned, [[20], [10]])):
        found = native.held_lots(market(asked), **chunk(asked), sessions=day)
        assert found.portfolio.tolist() == [0, 1]
        assert found.value.tolist() == expected


@pytest.mark.parametrize(
    ("sessions", "message"),
    [((5, 9), "row 1: a session of the market"), ((6, 5), "ascending"), ((5, 5), "ascending")],
)
def test_days_that_are_no_sessions_are_refused(sessions: Sequence[int], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        held(position(), sessions=sessions)
    assert caught.value.column == "sessions"


def test_what_cannot_be_asked_for_is_refused() -> None:
    inputs = build.inputs((portfolio(position()),), PRICES)
    wrong = replace(inputs.positions, quantity=Decimals([1], 4))  # type: ignore[arg-type]
    column = r"`positions\.quantity\.values`"
    flag = native.CancelFlag()
    flag.set()
    asked, days = chunk(inputs), build.session_days([jan(5)])
    of_wrong = chunk(replace(inputs, positions=wrong))
    for given, more, error, told in (
        (asked | {"threads": 0}, {}, ConfigError, "threads is 0"),
        (asked | {"threads": -1}, {}, ConfigError, "threads is -1"),
        (asked | {"cancel": flag}, {}, CancelledError, None),
        (of_wrong, {}, InputError, column),
        (asked, {"session": jan(9)}, InputError, "a session of the market"),
        (asked, {"sessions": days.astype(np.int64)}, InputError, "expected int32, was int64"),
    ):
        if "session" not in more:
            with pytest.raises(error, match=told):
                native.held_lots(market(inputs), **given, **{"sessions": days} | more)
        if "sessions" not in more:
            with pytest.raises(error, match=told):
                native.value_positions(market(inputs), **given, **{"session": jan(5)} | more)


def test_results_are_read_only() -> None:
    found = held(position())
    inputs = build.inputs((), PRICES)
    closes = market(inputs).fresh_closes(["AAA"], build.session_days([jan(5)]))
    stored = valued(position())
    arrays = (found.value, found.held, closes, stored.market_value, stored.last_price.values)
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_a_position_has_its_mark_its_value_and_what_it_has_earned() -> None:
    # 3 at 12, bought at 10; the lot of 2 that were sold is no part of it
    found = valued(position(quantity="3", events=(event(8, "2", "0"),)))
    assert found.position.tolist() == [0]
    assert (found.last_price.values.tolist(), found.last_price.scale) == ([12_0000], 4)
    assert cents(found) == [(36_00, 6_00)]
    assert len(found.issues) == 0


def test_closes_of_the_very_day_are_floats() -> None:
    prices = (*PRICES, price("b b", 6, "0.1"), price("B B", 7, "0"), price("AAA", 3, "9"))
    inputs = build.inputs((), prices)
    days = build.session_days(map(jan, (8, 3, 6, 7)))
    found = market(inputs).fresh_closes(["OPT", " aaa", "NONE", "B B", "AAA"], days)
    none = np.nan
    expected = [
        [none, none, none, none, none],
        [none, 9.0, none, none, 9.0],
        [1.5, 11.0, none, 0.1, 11.0],
        [none, 12.0, none, none, 12.0],
    ]
    np.testing.assert_array_equal(found, expected)
    assert (found.dtype, found.flags.c_contiguous) == (np.float64, True)


@pytest.mark.parametrize(("symbols", "days"), [([], [5]), (["AAA"], []), ([], [])])
def test_nothing_asked_for_is_an_empty_table(symbols: list[str], days: list[int]) -> None:
    inputs = build.inputs((), PRICES)
    found = market(inputs).fresh_closes(symbols, build.session_days(map(jan, days)))
    assert found.shape == (len(days), len(symbols))
