"""`compute` on arrays: bad input names its column, and odd input is taken as it is."""

import sys
import threading
from dataclasses import fields, replace
from decimal import Decimal
from operator import attrgetter
from typing import Any

import numpy as np
import pytest

import batchcore
from batchcore import _core, native
from batchcore import reference as ref
from batchcore.errors import CancelledError, ConfigError, InputError, InternalError
from batchcore.frames import Days, Decimals, Inputs, Rows, Text
from batchcore.units import State
from support import build
from support.worked import (
    ONE_AAA,
    PRICES,
    contribution,
    event,
    idle,
    issue,
    jan,
    portfolio,
    position,
)

SESSIONS = build.session_days(jan(on) for on in (5, 6, 7))


def two() -> Inputs:
    """Return two portfolios of 1 AAA each with one row in every frame."""
    own = {
        "flows": (contribution(2, "1"),),
        "snapshots": (ref.Snapshot(jan(20), Decimal(1000)),),
    }
    closed = position(quantity="0", events=(event(20, "1", "0"),))
    return build.inputs(
        (portfolio(position(), closed, name="a", **own), portfolio(position(), name="b")),
        PRICES,
        SESSIONS.tolist(),
    )


def computed(inputs: Inputs, **arguments: Any) -> Rows:
    arguments = {"sessions": SESSIONS, "threads": 1} | arguments
    return batchcore.compute(inputs, **arguments)


def rows_of(inputs: Inputs, **arguments: Any) -> list[tuple[ref.Row, ...]]:
    return [result.rows for result in build.results(computed(inputs, **arguments))]


ONE = build.inputs((portfolio(position()),), PRICES, SESSIONS.tolist())

FRAMES = ("positions", "events", "flows", "prices", "previous", "opening")
EVERY = [(frame, item.name) for frame in FRAMES for item in fields(getattr(ONE, frame))]
PLAIN = [of for of in EVERY if isinstance(attrgetter(".".join(of))(ONE), np.ndarray)]
COLUMNS = [of for of in EVERY if of not in PLAIN]


def test_flows_in_any_order_are_added_up_on_the_session_that_they_count_on() -> None:
    # Each flow searched all others: minutes for the 200,000 here.
    many = [contribution(on, "0.01") for on in (5, 7, 6, 4, 3) for _ in range(40_000)]
    snapshot = ref.Snapshot(jan(2), Decimal(1000))
    held = portfolio(flows=tuple(many), snapshots=(snapshot,))
    (rows,) = rows_of(build.inputs((held,), PRICES, SESSIONS.tolist()))
    assert [row.daily_capital_flow for row in rows] == [1200, 400, 400]
    assert [row.equity_balance for row in rows] == [2200, 2600, 3000]


def test_of_two_unreadable_amounts_the_one_that_is_not_finite_is_told() -> None:
    # its column comes after the other one
    snapshot = ref.Snapshot(jan(2), Decimal("0.001"), cumulative_pnl=Decimal("NaN"))
    inputs = build.inputs((portfolio(snapshots=(snapshot,)),), PRICES, SESSIONS.tolist())
    (result,) = build.results(computed(inputs))
    assert result.issues == (issue("non_finite", "cumulative_pnl", None, on=5),)


def test_an_incomplete_snapshot_is_passed_over() -> None:
    complete = ref.Snapshot(jan(1), Decimal(1000))
    later = ref.Snapshot(jan(2), Decimal(5), is_complete=False)
    for snapshots in ((complete, later), (later, complete)):
        inputs = build.inputs((portfolio(snapshots=snapshots),), PRICES, SESSIONS.tolist())
        (rows,) = rows_of(inputs)
        assert [row.equity_balance for row in rows] == [1000] * 3


def with_column(inputs: Inputs, frame: str, column: str, value: Any) -> Inputs:
    owner = getattr(inputs, frame)
    return replace(inputs, **{frame: replace(owner, **{column: value})})


def with_array(inputs: Inputs, frame: str, column: str, name: str, array: Any) -> Inputs:
    """Return the inputs with another array in a column, past all checks of the frames."""
    changed = replace(getattr(getattr(inputs, frame), column))
    object.__setattr__(changed, name, array)
    return with_column(inputs, frame, column, changed)


def assert_refused(inputs: Inputs, column: str, told: str | None = None, **arguments: Any) -> None:
    with pytest.raises(InputError, match=told) as caught:
        computed(inputs, **arguments)
    assert caught.value.column == column


def test_every_frame_has_its_columns() -> None:
    assert (len(COLUMNS), len(PLAIN)) == (31, 12)


@pytest.mark.parametrize("of", COLUMNS, ids=".".join)
def test_a_wrong_array_of_a_column_is_named(of: tuple[str, str]) -> None:
    inputs, whole = two(), ".".join(of)
    column = attrgetter(whole)(inputs)
    name = "codes" if isinstance(column, Text) else "values"
    state = column.state.copy()
    state[-1] = 4
    floats = getattr(column, name).astype(np.float64)
    for array, value, told, named in (
        (name, floats, f"`{whole}.{name}`.*was float64", f"{whole}.{name}"),
        ("state", np.zeros(99, dtype=np.uint8), f"`{whole}`.*99 rows", whole),
        ("state", state, f"row {len(state) - 1}.*state from 0 to 3", whole),
    ):
        assert_refused(with_array(inputs, *of, array, value), named, told)


@pytest.mark.parametrize("of", PLAIN, ids=".".join)
def test_a_plain_array_of_a_wrong_dtype_is_named(of: tuple[str, str]) -> None:
    array = attrgetter(".".join(of))(two()).astype(np.int16)
    assert_refused(with_column(two(), *of, array), ".".join(of), "was int16")


@pytest.mark.parametrize(
    "keys",
    [
        np.zeros((2, 15), dtype=np.uint8),
        np.zeros(32, dtype=np.uint8),
        np.zeros((2, 32), dtype=np.uint8)[:, ::2],
    ],
)
def test_keys_of_another_shape_are_named(keys: Any) -> None:
    inputs = two()
    opening = replace(inputs.opening)
    object.__setattr__(opening, "portfolio_id", keys)
    assert_refused(replace(inputs, opening=opening), "opening.portfolio_id")


@pytest.mark.parametrize(
    ("of", "value", "expected", "column"),
    [
        ("quantity.values", np.zeros((3, 1), dtype=np.int64), "1 dimension", "quantity.values"),
        ("quantity.values", np.zeros(6, dtype=np.int64)[::2], "contiguous", "quantity.values"),
        ("quantity.values", np.zeros(3, dtype=">i8"), "int64", "quantity.values"),
        ("quantity.values", [0, 0, 0], "a NumPy array", "quantity.values"),
        ("quantity.scale", 19, "0 to 18", "quantity"),
        ("quantity.scale", -1, "0 to 18", "quantity.scale"),
        ("quantity.scale", "4", "0 to 18", "quantity.scale"),
        ("quantity.scale", None, "0 to 18", "quantity.scale"),
        ("position_type.codes", np.array([0, 9, 0], np.uint32), "row 1: a code", "position_type"),
    ],
)
def test_an_array_that_is_no_column_is_named(
    of: str, value: Any, expected: str, column: str
) -> None:
    wrong = with_array(two(), "positions", *of.split("."), value)
    assert_refused(wrong, f"positions.{column}", expected)


def test_a_code_beyond_the_table_means_nothing_where_there_is_no_value() -> None:
    inputs = two()
    column = inputs.positions.investment_class
    codes = np.full(len(column), 9, dtype=np.uint32)
    wrong = with_array(inputs, "positions", "investment_class", "codes", codes)
    assert rows_of(wrong) == rows_of(inputs)


@pytest.mark.parametrize("offsets", [[], [1, 3], [0, 99], [0, 3, 1, 3], [0, 1, 3]])
def test_a_table_that_is_cut_wrong_is_named(offsets: list[int]) -> None:
    euro = np.frombuffer("€".encode(), dtype=np.uint8)
    symbol = Text(np.zeros(3, dtype=np.uint32), np.array(offsets, dtype=np.int64), euro)
    assert_refused(with_column(two(), "positions", "symbol", symbol), "positions.symbol")


@pytest.mark.parametrize(
    ("sessions", "told"),
    [
        *((build.session_days(days), "ascending") for days in ([5, 5], [6, 5], [5, 7, 6])),
        (SESSIONS.astype(np.int64), "expected int32, was int64"),
    ],
)
def test_sessions_out_of_order_or_of_another_dtype_are_refused(sessions: Any, told: str) -> None:
    assert_refused(two(), "sessions", told, sessions=sessions)


@pytest.mark.parametrize(
    ("frame", "column", "row"),
    [
        ("opening", "portfolio_id", 2),
        ("prices", "symbol", 5),
        ("previous", "portfolio_id", 1),
        ("positions", "id", 3),
    ],
)
def test_a_key_in_two_rows_is_named(frame: str, column: str, row: int) -> None:
    owner = getattr(two(), frame)
    twice = replace(two(), **{frame: build.take(owner, [*range(len(owner)), 0])})
    assert_refused(twice, f"{frame}.{column}", f"row {row}: the same key stands in row 0")


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("policy", "guess", "`guess`, expected one of rollforward"),
        *(("lookback_days", days, "lookback_days") for days in (-1, 2**31, 2**32, 10**30)),
        *(("threads", threads, "threads") for threads in (0, -1)),
    ],
)
def test_an_argument_that_is_none_is_named(argument: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        computed(two(), **{argument: value})
    assert caught.value.option == argument


def test_a_frame_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match="missing on"):
        computed(replace(two(), events=two().flows))


def test_nothing_gives_nothing() -> None:
    none = build.session_days([])
    spoilt = build.inputs((portfolio(position(quantity=None)),), PRICES)
    for inputs, sessions, portfolios in (
        (build.inputs(), none, 0),
        (replace(two(), opening=build.inputs().opening), SESSIONS, 0),
        (spoilt, none, 1),
    ):
        rows = computed(inputs, sessions=sessions)
        assert (len(rows), len(rows.issues), len(rows.misses)) == (0, 0, 0)
        assert (rows.written.tolist(), rows.failed.tolist()) == ([0] * portfolios,) * 2
        assert rows.marks.shape == (0, 4)


def test_no_prices_leave_the_entry_price_and_no_positions_the_equity() -> None:
    # 1 AAA bought at 10: worth 10 throughout, never marked
    (rows,) = rows_of(replace(ONE, prices=build.prices()))
    assert [row.long_value for row in rows] == [10, 10, 10]
    assert [row.marks for row in rows] == [(0, 0, 0, 1)] * 3
    inputs = build.inputs((portfolio(),), PRICES, SESSIONS.tolist())
    assert rows_of(inputs) == [idle("1000", 5, 6, 7)]


def test_rows_of_portfolios_that_are_not_asked_for_are_not_used() -> None:
    others = (
        portfolio(
            position(quantity=None, events=(event(6, "-1", "1"),)),
            flows=(contribution(6, "5"),),
            snapshots=(ref.Snapshot(jan(2), Decimal(1)),),
            name="other",
        ),
        portfolio(position()),
    )
    both = build.inputs(others, PRICES, SESSIONS.tolist())
    asked = replace(both, opening=build.take(both.opening, [1]))
    rows = computed(asked)
    assert [result.rows for result in build.results(rows)] == [ONE_AAA]
    assert len(rows.issues) == 0


def test_events_of_positions_that_are_not_there_are_not_used() -> None:
    inputs = build.inputs((portfolio(position(events=(event(6, "1", "1"),))),), PRICES)
    alone = replace(inputs, positions=replace(inputs.positions, id=build.uuids(["another"])))
    assert rows_of(alone) == [ONE_AAA]


def test_inputs_and_results_are_read_only() -> None:
    inputs = two()
    before = inputs.positions.quantity.values.tolist()
    sessions = SESSIONS.copy()
    sessions.setflags(write=False)
    rows = computed(inputs, sessions=sessions)
    assert not inputs.positions.quantity.values.flags.writeable
    assert inputs.positions.quantity.values.tolist() == before
    for array in (rows.equity_balance, rows.daily_return.values, rows.misses.first):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    del inputs  # on which results do not hang
    assert build.results(rows)[1].rows == ONE_AAA


@pytest.mark.parametrize(
    ("first", "last", "written"),
    [
        (5, 7, (5, 6, 7)),
        (1, 31, (5, 6, 7)),
        (6, 7, (6, 7)),
        (5, 5, (5,)),
        (7, 6, ()),
        (8, 31, ()),
        (1, 4, ()),
    ],
)
def test_a_portfolio_runs_over_its_own_days(
    first: int, last: int, written: tuple[int, ...]
) -> None:
    one = (portfolio(position(entry_day=2)), portfolio(name="whole"))
    spans = [(jan(first), jan(last)), (jan(1), jan(31))]
    inputs = build.inputs(one, PRICES, SESSIONS.tolist(), spans=spans)
    own, whole = build.results(computed(inputs))
    alone = ref.roll_forward(one[0], ref.market(PRICES), [jan(on) for on in written])
    assert own.rows == alone.rows
    assert [row.day for row in own.rows] == [jan(on) for on in written]
    assert whole.rows == idle("1000", 5, 6, 7)


def test_duplicate_prices_are_reported_before_issues_of_portfolios() -> None:
    prices = [*PRICES, ("aaa", jan(6), PRICES[1][2])]
    short = portfolio(position(position_type="SHORT"))
    rows = computed(build.inputs((short,), prices, SESSIONS.tolist()))
    assert build.issues(rows.issues) == [
        (-1, issue("duplicate_price", "1 date; aaa counts on the first", "AAA", on=6)),
        (0, issue("sign_mismatch", "quantity")),
    ]


def test_of_two_refused_closes_of_a_session_the_highest_spelling_is_told() -> None:
    refused = [(" AAA", jan(5), "-1"), ("AAA", jan(5), "-2"), ("AAA", jan(6), "-3")]
    prices = [("AAA", jan(2), Decimal(10))] + [(*of, Decimal(close)) for *of, close in refused]
    inputs = build.inputs((portfolio(position()),), prices, SESSIONS.tolist())
    (result,) = build.results(computed(inputs))
    told = [one.detail for one in result.issues if one.name == "close_refused"]
    assert told == ["-2, the first of 2 sessions"]


def test_misses_tell_symbols_without_a_fresh_enough_mark() -> None:
    # lookback 1: OPT of the 6th is stale on the 8th; ZZZ has no close at all, two lots of it
    holder = portfolio(
        position(symbol="OPT"), position(symbol="ZZZ"), position(symbol="ZZZ", entry_day=7)
    )
    sessions = [jan(on) for on in (5, 6, 7, 8)]
    inputs = build.inputs((holder,), PRICES, sessions)
    misses = computed(inputs, sessions=build.session_days(sessions), lookback_days=1).misses
    assert misses.symbol.texts() == ["OPT", "ZZZ"]
    assert misses.unpriced.tolist() == [False, True]
    assert misses.lot_sessions.tolist() == [1, 4 + 2]
    assert misses.first.tolist() == [jan(8), jan(5)]
    assert misses.last.tolist() == [jan(8), jan(8)]


def test_misses_end_where_a_portfolio_fails() -> None:
    # 10^14 paid in on the 7th does not fit (S10): the 5th and 6th are written
    failing = portfolio(position(symbol="ZZZ"), flows=(contribution(7, "100000000000000"),))
    rows = computed(build.inputs((failing,), PRICES, SESSIONS.tolist()))
    assert rows.written.tolist() == [2]
    assert rows.misses.lot_sessions.tolist() == [2]
    assert rows.misses.last.tolist() == [jan(6)]


def test_values_at_the_end_of_every_scale_add_up() -> None:
    # 16 options never priced, 2^63 - 1 contracts at 2^63 - 1 each, are worth 1600 * (2^63 - 1)^2;
    # exit prices and events in units of 10^-18 make that 10^36 times as many units: 256 bits.
    most, lots = 2**63 - 1, 16
    inputs = build.inputs(
        (portfolio(*[position(symbol="ZZZ", position_type="LC")] * lots),), PRICES
    )
    whole = Decimals(np.full(lots, most, dtype=np.int64), 0)
    inputs = replace(
        inputs,
        positions=replace(
            inputs.positions, quantity=whole, entry_price=whole, exit_price=Decimals.nulls(lots, 18)
        ),
        events=replace(inputs.events, quantity=Decimals.nulls(0, 18)),
    )
    (result,) = build.results(computed(inputs))
    worth = 1600 * most * most
    assert result.issues == (issue("out_of_range", f"long_value = {worth}.00", None, on=5),)


def test_other_threads_run_during_a_native_call() -> None:
    portfolios, lots, sessions = 200, 1000, 1000
    keys = np.arange(portfolios * lots, dtype=np.uint64)
    ids = np.stack([keys, keys], axis=1).view(np.uint8)
    one = build.take(ONE.positions, np.zeros(portfolios * lots, dtype=np.intp))
    positions = replace(one, id=ids, portfolio_id=np.repeat(ids[:portfolios], lots, axis=0))
    opening = replace(
        build.take(ONE.opening, np.zeros(portfolios, dtype=np.intp)), portfolio_id=ids[:portfolios]
    )
    days = build.session_days(range(jan(5), jan(5) + sessions))
    market = native.build_market(ONE.prices, days)
    flag, gate = native.CancelFlag(), threading.Lock()

    def cancel() -> None:
        with gate:
            flag.set()

    # The interpreter switches threads by itself only every 1000 s: the other thread can raise the
    # flag only if the call, which takes far longer than a wake-up, lets go of the GIL.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    other = threading.Thread(target=cancel)
    try:
        gate.acquire()
        other.start()
        gate.release()
        with pytest.raises(CancelledError):
            native.roll_forward(
                market,
                native.Book.of(replace(ONE, positions=positions)),
                previous=ONE.previous,
                opening=opening,
                threads=1,
                cancel=flag,
            )
    finally:
        sys.setswitchinterval(interval)
        other.join()


@pytest.mark.parametrize("rules", ["other", "legacy"])  # which needs its own inputs
def test_rules_that_the_module_lacks_are_a_defect(rules: str) -> None:
    market, book = native.build_market(ONE.prices, SESSIONS), native.Book.of(ONE)
    with pytest.raises(InternalError, match=f"no rules `{rules}` of these inputs"):
        native.roll_forward(market, book, previous=ONE.previous, opening=ONE.opening, rules=rules)


def test_a_flag_is_raised_once_and_for_all_and_stops_every_call() -> None:
    flag = native.CancelFlag()
    assert not flag.is_set()
    flag.set()
    flag.set()
    assert flag.is_set()
    sessions = build.session_days([0])
    prices = build.prices([("AAA", 0, Decimal(1))])
    store = _core.PriceStore.from_frame(prices)
    fields = [("a", "int4", (np.zeros(1, dtype=np.int32),), None)]
    for call in (
        lambda: native.build_market(prices, sessions, cancel=flag),
        lambda: _core.Marks.from_prices(store, sessions=sessions, lookback_days=10, cancel=flag),
        lambda: _core.encode(fields=fields, rows=1, piece_bytes=1, cancel=flag),
    ):
        with pytest.raises(CancelledError):
            call()


def test_days_without_value_are_no_exit() -> None:
    inputs = build.inputs((portfolio(position()),), PRICES)
    never = Days(np.array([jan(6)], dtype=np.int32), np.array([State.NULL], dtype=np.uint8))
    changed = replace(inputs, positions=replace(inputs.positions, exit_day=never))
    assert rows_of(changed) == [ONE_AAA]
