"""Columns and frames."""

from dataclasses import FrozenInstanceError, fields, replace
from decimal import Decimal

import numpy as np
import pytest

from batchcore import reference as ref
from batchcore.errors import InputError
from batchcore.frames import (
    Constant,
    Days,
    Decimals,
    Frame,
    Issues,
    Objects,
    Opening,
    Positions,
    Table,
    Text,
    among,
    distinct,
    first_of_each,
    rescaled,
)
from batchcore.policies.compute import compute
from batchcore.units import CENTS, State
from support import build
from support.worked import portfolio, position

KEYS = build.uuids(("a", "b"))
TWO = Decimals(np.array([100, 200], dtype=np.int64), 2)
TWO_DAYS = Days(np.array([1, 2], dtype=np.int32))


def two_positions(**columns: object) -> Positions:
    values = {
        "id": build.uuids(("x", "y")),
        "portfolio_id": KEYS,
        "symbol": Text.of(["AAA", "BBB"]),
        "position_type": Text.of(["LONG", "LONG"]),
        "quantity": TWO,
        "entry_price": TWO,
        "entry_day": TWO_DAYS,
    }
    return Positions(**(values | columns))


def test_states_left_out_are_all_values_and_nulls_have_theirs() -> None:
    assert TWO.state.tolist() == TWO_DAYS.state.tolist() == [State.VALUE] * 2
    column = Decimals.nulls(2, 4)
    assert (len(column), column.scale) == (2, 4)
    assert column.state.tolist() == Days.nulls(2).state.tolist() == [State.NULL] * 2


def test_a_frame_is_frozen_and_its_arrays_are_read_only() -> None:
    deleted = np.zeros(2, dtype=np.bool_)
    frame, column = two_positions(deleted=deleted), Text.of(["AAA"])
    columns = (TWO.values, TWO.state, TWO_DAYS.values, column.codes, column.data, KEYS)
    for array in (*columns, deleted):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(FrozenInstanceError):
        frame.quantity = TWO
    with pytest.raises(InputError, match="expected 2"):
        replace(frame, quantity=Decimals.nulls(1))
    assert two_positions(quantity=None).quantity is None  # for the core to refuse


def test_texts_are_codes_into_distinct_values() -> None:
    column = Text.of(["AAA", None, "é", "AAA", ""])
    assert column.table() == ["AAA", "é", ""]
    assert column.codes.tolist() == [0, 0, 1, 0, 2]
    assert column.state.tolist() == [0, State.NULL, 0, 0, 0]
    assert column.offsets.tolist() == [0, 3, 5, 5]  # é has two bytes
    for values in ([], [None], ["", None, "a b", "é", ""]):
        assert Text.of(values).texts() == values


def test_columns_left_out_are_null() -> None:
    frame = two_positions()
    assert frame.exit_price.state.tolist() == [State.NULL] * 2
    assert frame.exit_price.scale == frame.entry_price.scale
    assert frame.market_value.scale == CENTS
    assert frame.exit_day.state.tolist() == [State.NULL] * 2
    assert frame.expiration_day.state.tolist() == [State.NULL] * 2
    assert frame.investment_class.texts() == [None, None]
    assert frame.deleted.tolist() == [False, False]
    assert len(frame) == 2


def test_an_opening_without_days_runs_over_all_sessions() -> None:
    frame = Opening(portfolio_id=KEYS, equity=TWO)
    limits = np.iinfo(np.int32)
    assert frame.first_day.tolist() == [limits.min] * 2
    assert frame.last_day.tolist() == [limits.max] * 2
    assert frame.earliest_day.state.tolist() == [State.NULL] * 2


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("quantity", Decimals(np.zeros(3, dtype=np.int64), 4)),
        ("entry_day", Days(np.zeros(1, dtype=np.int32))),
        ("symbol", Text.of(["AAA"])),
        ("deleted", np.zeros(0, dtype=np.bool_)),
        ("portfolio_id", build.uuids(("a", "b", "c"))),
    ],
)
def test_a_column_of_another_length_is_named(column: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"`positions.{column}` has {len(value)} rows") as caught:
        two_positions(**{column: value})
    assert caught.value.column == f"positions.{column}"


def values(column: object) -> object:
    """Return what a frame or a column holds, row by row, whatever its codes are."""
    if isinstance(column, Text):
        return column.texts(), column.state.tolist()
    if isinstance(column, Frame):
        return {item.name: values(getattr(column, item.name)) for item in fields(column)}
    return column.tolist() if isinstance(column, np.ndarray) else column


INPUTS = build.inputs(
    (
        portfolio(
            position(symbol="B"),
            position(symbol="A", events=(ref.Event(1, Decimal(1), Decimal(2)),)),
            flows=(ref.Flow(3, Decimal(4), "CONTRIBUTION"), ref.Flow(4, Decimal(5), "WITHDRAWAL")),
            snapshots=(ref.Snapshot(2, Decimal(7)),),
        ),
        portfolio(position(symbol="C"), name="other"),
    ),
    [("AAA", 1, Decimal(2)), ("BBB", 1, Decimal(3))],
)
ALL_FRAMES = (
    *(INPUTS.positions, INPUTS.events, INPUTS.flows),
    *(INPUTS.prices, INPUTS.previous, INPUTS.opening),
)


def test_every_frame_knows_its_length() -> None:
    assert [len(frame) for frame in ALL_FRAMES] == [3, 1, 2, 2, 1, 2]


@pytest.mark.parametrize("frame", ALL_FRAMES, ids=lambda frame: type(frame).__name__)
def test_rows_taken_apart_and_put_together_are_the_frame(frame: Frame) -> None:
    rows = [np.array([row]) for row in range(len(frame))]
    for parts in (
        [frame.take(slice(0, 1)), frame.take(slice(1, None))],
        [type(frame).none(), *(frame.take(row) for row in rows)],
        [frame.take(np.arange(len(frame)) < 1), frame.take(np.arange(len(frame)) >= 1)],
    ):
        assert values(type(frame).concat(parts)) == values(frame)


def test_rows_come_in_the_order_that_they_are_taken_in() -> None:
    frame = two_positions().take(np.array([1, 0, 1]))
    assert frame.symbol.texts() == ["BBB", "AAA", "BBB"]
    assert frame.quantity.values.tolist() == [200, 100, 200]
    assert (frame.id[0] == frame.id[2]).all()


@pytest.mark.parametrize("rows", [1, 3])
def test_a_mask_of_another_length_is_an_error(rows: int) -> None:
    with pytest.raises(IndexError, match="boolean index did not match"):
        two_positions().take(np.ones(rows, dtype=np.bool_))


def test_what_has_no_value_for_each_row_stays() -> None:
    inputs = build.inputs((portfolio(position(symbol="")),), sessions=[1, 2])
    rows = compute(inputs, build.session_days([1, 2]))
    last = rows.take(np.array([1]))
    assert (len(rows), len(last), last.day.tolist()) == (2, 1, [2])
    assert (last.written.tolist(), last.issues) == ([2], rows.issues)


def test_decimals_are_put_together_in_the_largest_scale() -> None:
    most = Decimals(np.array([2**62, 5], dtype=np.int64), 1)
    both = Decimals.concat([most, Decimals(np.array([7], dtype=np.int64), 3)])
    assert (both.scale, both.values[1:].tolist()) == (3, [500, 7])
    assert both.state.tolist() == [State.NOT_REPRESENTABLE, State.VALUE, State.VALUE]


def test_texts_are_put_together_in_one_table() -> None:
    both = Text.concat([Text.of(["a", None]), Text.of([]), Text.of(["b", "a", "\udcff"])])
    assert both.texts() == ["a", None, "b", "a", "\\xff"]
    assert both.table() == ["a", "b", "\\xff"]
    assert both.state.tolist() == [0, State.NULL, 0, 0, State.NOT_REPRESENTABLE]


def test_objects_and_tables_are_taken_and_put_together() -> None:
    shares = Objects(("x", "y"), np.array([[1, 2], [3, 4]]), 2, np.ones((2, 2), dtype=np.bool_))
    table = Table(
        "t", 2, {"n": TWO, "one": Constant("c"), "shares": shares}, build.session_days([5, 6])
    )
    turned = Table.concat([table.take(np.array([1])), table.take(np.array([0]))])
    assert (turned.rows, turned.portfolio.tolist()) == (2, [6, 5])
    assert turned.columns["n"].values.tolist() == [200, 100]
    assert turned.columns["one"] == Constant("c")
    assert turned.columns["shares"].values.tolist() == [[3, 4], [1, 2]]


def test_issues_are_made_of_texts() -> None:
    issues = Issues.of("gap", [1, -1], day=[3, 4], detail=["one", "two"])
    assert values(Issues.concat([issues, Issues.of(["a"], [0], symbol=["S"])])) == values(
        Issues(
            name=Text.of(["gap", "gap", "a"]),
            portfolio=np.array([1, -1, 0], dtype=np.int32),
            symbol=Text.of([None, None, "S"]),
            day=build.days([3, 4, None]),
            detail=Text.of(["one", "two", ""]),
        )
    )


@pytest.mark.parametrize("value", ["one", None])
def test_a_constant_column_is_that_of_its_values(value: str | None) -> None:
    for rows in (0, 3):
        column = Text.constant(value, rows)
        assert column.texts() == Text.of([value] * rows).texts() == [value] * rows


def test_one_distinct_text_is_that_of_the_table() -> None:
    column = Text.of(["b", None, "", "\u00e9", "b"])
    assert column.table() == ["b", "", "\u00e9"]


def test_distinct_values_the_first_of_each_and_values_among_others() -> None:
    none = np.zeros(0, dtype=np.int32)
    values = np.array([3, 1, 3, 2, 1, 3], dtype=np.int32)
    assert distinct(values).tolist() == [1, 2, 3]
    assert [found.tolist() for found in first_of_each(values)] == [[1, 3, 0], [2, 1, 3]]
    others = np.array([9, 1, 1], dtype=np.int32)
    assert among(values[:4], others).tolist() == [False, True, False, False]
    assert distinct(none).tolist() == among(none, values).tolist() == []
    assert [found.tolist() for found in first_of_each(none)] == [[], []]
    assert among(values, none).tolist() == [False] * 6


def test_more_decimals_that_64_bits_do_not_hold_is_not_representable() -> None:
    most = 2**63 - 1
    values = np.array([most // 10, most // 10 + 1, -(most // 10), -(most // 10) - 1, -(2**63)])
    wider = rescaled(Decimals(values.astype(np.int64), 2), 3)
    lost = State.NOT_REPRESENTABLE
    assert wider.state.tolist() == [State.VALUE, lost, State.VALUE, lost, lost]
    assert wider.values[[0, 2]].tolist() == [most // 10 * 10, -(most // 10 * 10)]
