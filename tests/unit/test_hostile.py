"""Input that no database and no caller should hand over: refused or taken, in little memory."""

import datetime as dt
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import batchcore
from batchcore import _core
from batchcore.errors import InputError
from batchcore.frames import Inputs, Text
from batchcore.units import State
from support import bounded, build
from support.worked import PRICES, contribution, event, jan, portfolio, position

SESSIONS = build.session_days(jan(on) for on in (5, 6, 7))
INT32 = np.iinfo(np.int32)


def test_a_field_is_not_made_room_for_by_its_claim() -> None:
    said = bounded.run(
        """
HEADER = b"PGCOPY\\n\\xff\\r\\n\\0" + bytes(8)
allow(16 << 20)
for kind in ("uuid", "date", "numeric", "float8", "text", "bool", "int8", "timestamptz"):
    for claim in (2**31 - 1, 2**31, 2**32 - 2):
        decoder = _core.Decoder([("x", kind, 4)])
        try:
            decoder.push(HEADER + bytes([0, 1]) + claim.to_bytes(4))
        except DecodeError as error:
            print(error)
# an extension of the header, so long, is passed over
decoder = _core.Decoder([("x", "text", 0)])
decoder.push(HEADER[:15] + (2**31 - 1).to_bytes(4))
for _ in range(64):
    decoder.push(bytes(1 << 20))
# a text that never ends
decoder = _core.Decoder([("x", "text", 0)])
decoder.push(HEADER + bytes([0, 1]) + (1 << 20).to_bytes(4))
for _ in range(1024):
    decoder.push(b"x" * 1023)
try:
    decoder.finish()
except DecodeError as error:
    print(error)
"""
    )
    lines = said.splitlines()
    assert len(lines) == 8 * 3 + 1
    assert lines[0] == "binary copy, row 0, column `x`: expected 16 bytes, was 2147483647"
    assert lines[12] == (
        "binary copy, row 0, column `x`: expected 0 to 1048576 bytes, was 2147483647"
    )
    assert lines[-1] == "binary copy, row 0: expected a trailer, was cut off within a row"


def test_texts_may_be_empty_hold_zero_characters_or_be_of_another_encoding() -> None:
    """Numerics, dates and texts that no server sends are those of the tests of pgcopy in Rust."""
    texts = (b"", b"a\0b", b"\0", b"", b"ab\xc3")
    rows = b"".join(b"\0\1" + len(text).to_bytes(4) + text for text in texts)
    decoder = _core.Decoder([("x", "text", 0)])
    decoder.push(b"PGCOPY\n\xff\r\n\0" + bytes(8) + rows + b"\xff\xff")
    column = Text(*decoder.finish()["x"])
    assert column.texts() == ["", "a\0b", "\0", "", "ab\\xc3"]
    assert column.state.tolist() == [0, 0, 0, 0, State.NOT_REPRESENTABLE]


SYMBOLS = """
import resource
from batchcore.frames import Days, Decimals, Prices, Text
COUNT, STEP = {count}, 100_000
allow({bytes_each} * COUNT + (64 << 20))
decoder = _core.Decoder([("symbol", "text", 0)])
decoder.push(b"PGCOPY\\n\\xff\\r\\n\\0" + bytes(8))
for first in range(0, COUNT, STEP):
    decoder.push(bounded.symbols(first, STEP))
decoder.push(b"\\xff\\xff")
symbol = Text(*decoder.finish()["symbol"])
day = Days(np.full(COUNT, 20_000, dtype=np.int32))
prices = Prices(symbol=symbol, day=day, close=Decimals(np.full(COUNT, 12_345), 4))
market = native.build_market(prices, build.session_days([20_000, 20_001]))
fresh, recent, _ = market.marks.coverage(symbol)
print(fresh.tolist(), recent.tolist())
"""


def test_memory_is_in_proportion_to_symbols() -> None:
    said = bounded.run(SYMBOLS.format(count=200_000, bytes_each=800))
    assert said == "[200000, 0] [200000, 200000]\n"


@pytest.mark.slow
def test_ten_million_symbols_take_memory_and_time_in_proportion() -> None:
    said = bounded.run(SYMBOLS.format(count=10_000_000, bytes_each=800), timeout_s=1_000)
    assert said == "[10000000, 0] [10000000, 10000000]\n"


def inputs() -> Inputs:
    """Return a portfolio with rows in every frame."""
    held = position(events=(event(6, "0.5", "1"),))
    return build.inputs(
        (portfolio(held, position(), flows=(contribution(6, "1"),)),), PRICES, SESSIONS.tolist()
    )


def arrays(owner: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the paths of all arrays and scales of a frame."""
    found = []
    for item in fields(owner):
        value, at = getattr(owner, item.name), (*path, item.name)
        if is_dataclass(value):
            found += arrays(value, at)
        elif isinstance(value, np.ndarray | int):
            found.append(at)
    return found


PATHS = arrays(inputs())


class Raw:
    """Columns that nobody has looked at."""

    def __init__(self, owner: Any) -> None:
        for item in fields(owner):
            value = getattr(owner, item.name)
            setattr(self, item.name, Raw(value) if is_dataclass(value) else value)

    def __len__(self) -> int:
        return 0


def odd(values: Any, draw: st.DrawFn) -> Any:
    """Return other values of the same type, those at its ends first of all."""
    if values.dtype == np.bool_:
        return ~values
    ends = np.iinfo(values.dtype)
    each = st.sampled_from([ends.min, ends.max, ends.min + 1, 0, 1, 2, 3, 4, 100])
    drawn = draw(st.lists(each, min_size=values.size, max_size=values.size))
    return np.array(drawn, dtype=values.dtype).reshape(values.shape)


def spoiled(value: Any, draw: st.DrawFn) -> Any:
    """Return an array or a scale made wrong, or odd, in one way."""
    if isinstance(value, int):
        return draw(st.sampled_from([-1, 0, 17, 18, 19, 2**31, 2**32, 2**64, None]))
    ways = {
        "shorter": lambda: value[:-1],
        "longer": lambda: np.concatenate([value, value[:1]]),
        "none": lambda: value[:0],
        "float": lambda: value.astype(np.float64),
        "object": lambda: value.astype(object),
        "list": value.tolist,
        "odd": lambda: odd(value, draw),
    }
    return ways[draw(st.sampled_from(sorted(ways)))]()


@st.composite
def spoiled_inputs(draw: st.DrawFn) -> Raw:
    frames = Raw(inputs())
    for path in draw(st.lists(st.sampled_from(PATHS), min_size=1, max_size=3, unique=True)):
        *owners, name = path
        owner: Any = frames
        for each in owners:
            owner = getattr(owner, each)
        setattr(owner, name, spoiled(getattr(owner, name), draw))
    return frames


@settings(max_examples=300)
@given(
    spoiled_inputs(),
    st.lists(st.sampled_from([INT32.min, -1, 0, jan(5), jan(6), INT32.max]), max_size=4),
    st.sampled_from([0, 10, 1_000_000]),
    st.sampled_from([1, 1_000_000]),
    st.sampled_from(["rollforward", "legacy"]),
)
def test_columns_that_nobody_checked_are_rows_or_an_error_that_names_one(
    frames: Any, sessions: list[int], lookback_days: int, threads: int, policy: str
) -> None:
    try:
        rows = batchcore.compute(
            frames,
            build.session_days(sessions),
            policy=policy,
            lookback_days=lookback_days,
            today=dt.date(2026, 1, 7),
            threads=threads,
        )
    except InputError as error:
        named = error.column
    else:
        named = "none is wrong"
        assert len(rows) <= len(sessions) * 2
    assert named
