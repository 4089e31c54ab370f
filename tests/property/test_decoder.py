"""Binary COPY: the bytes of a real server split anywhere, and what was encoded decoded again."""

import itertools
import json
import math
import struct
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any
from uuid import RFC_4122, UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchcore import _core
from batchcore import reference as ref
from batchcore.errors import DecodeError, InputError
from batchcore.frames import Constant, Days, Moment
from batchcore.pg.fields import field_of
from batchcore.sinks.snapshots import Stamp
from batchcore.sources.host import fitting, smallest
from batchcore.units import State
from support import build
from support.cases import GOLDEN

NAMES = sorted(path.stem for path in GOLDEN.glob("*.copy"))
TYPES = {"timestamp": "timestamptz"}
INFINITIES = ("infinity", "-infinity")

Cell = tuple[State, Any]


@dataclass(frozen=True)
class Golden:
    """Bytes of a server and, by column, the cells that they mean."""

    data: bytes
    columns: list[tuple[str, str, int]]
    rows: int
    cells: dict[str, list[Cell]]


@cache
def golden(name: str) -> Golden:
    document = json.loads((GOLDEN / f"{name}.json").read_text())
    kinds = [(c["name"], c["kind"], c.get("scale", 0)) for c in document["columns"]]
    return Golden(
        data=(GOLDEN / f"{name}.copy").read_bytes(),
        columns=[(column, TYPES.get(kind, kind), scale) for column, kind, scale in kinds],
        rows=len(document["rows"]),
        cells={
            column: [expected(row[number], kind, scale) for row in document["rows"]]
            for number, (column, kind, scale) in enumerate(kinds)
        },
    )


def expected(text: str | None, kind: str, scale: int) -> Cell:
    """Return the cell that the server's own text of a value means."""
    if text is None:
        return State.NULL, None
    if text in INFINITIES and kind in {"date", "timestamp"}:
        return State.NON_FINITE, None
    if kind == "numeric":
        units, state = build.mantissa(Decimal(text), scale)
        return state, None if state else units
    values = {"uuid": UUID, "bool": ("false", "true").index, "text": str}
    value = values.get(kind, int)(text)
    if kind == "timestamp" and value not in build.INT64:
        return State.NOT_REPRESENTABLE, None
    return State.VALUE, value


def decoded(columns: list[tuple[str, str, int]], pieces: list[bytes]) -> dict[str, list[Cell]]:
    decoder = _core.Decoder(columns)
    for piece in pieces:
        decoder.push(piece)
    return cells_of(decoder, columns)


def cells_of(decoder: _core.Decoder, columns: list[tuple[str, str, int]]) -> dict[str, list[Cell]]:
    found = decoder.finish()
    assert list(found) == [name for name, _, _ in columns]
    return {name: cells(found[name], kind, scale) for name, kind, scale in columns}


def cells(parts: tuple[Any, ...], kind: str, scale: int) -> list[Cell]:
    state = parts[-1].tolist()
    if kind == "uuid":
        values = [UUID(bytes=row.tobytes()) for row in parts[0].reshape(-1, 16)]
    elif kind == "text":
        codes, offsets, data, _ = parts
        raw, ends = data.tobytes(), offsets.tolist()
        table = [raw[a:b].decode() for a, b in itertools.pairwise(ends)]
        assert len(set(table)) == len(table)
        values = [
            None if no_value else table[code] for code, no_value in zip(codes, state, strict=True)
        ]
    else:
        values = parts[0].tolist()
    if kind == "numeric":
        assert parts[1] == scale
    pairs = zip(state, values, strict=True)
    return [(State(why), None if why else value) for why, value in pairs]


@pytest.mark.parametrize("name", NAMES)
def test_bytes_of_a_server_mean_what_it_says(name: str) -> None:
    """rust/core/tests has the same bytes split, cut off and damaged anywhere."""
    case = golden(name)
    assert decoded(case.columns, [case.data]) == case.cells
    decoder = _core.Decoder(case.columns)
    counts = []
    for at in range(len(case.data)):
        decoder.push(case.data[at : at + 1])
        counts.append(decoder.rows)
    assert counts == sorted(counts)
    assert counts[-1] == case.rows
    assert cells_of(decoder, case.columns) == case.cells
    decoder = _core.Decoder(case.columns)
    decoder.push(case.data[:-1])
    with pytest.raises(DecodeError, match="expected a trailer"):
        decoder.finish()


def test_what_is_wrong_is_named() -> None:
    case = golden("positions")
    columns = [
        (name, "int4" if kind == "uuid" else kind, scale) for name, kind, scale in case.columns
    ]
    with pytest.raises(DecodeError, match="`id`") as caught:
        _core.Decoder(columns).push(case.data)
    assert (caught.value.column, caught.value.row) == ("id", 0)
    decoder = _core.Decoder(case.columns)
    decoder.push(case.data)
    decoder.finish()
    with pytest.raises(InputError, match="finished"):
        decoder.push(b"")
    with pytest.raises(InputError, match="`money`") as unknown:
        _core.Decoder([("close", "money", 0)])
    assert unknown.value.column == "close"


int32s = st.integers(-(2**31), 2**31 - 1)
finite_days = st.integers(-2_440_588, 10_000_000)
int64s = st.integers(-(2**63), 2**63 - 1)


@st.composite
def columns_to_write(
    draw: st.DrawFn,
) -> tuple[int, list[tuple[str, str, list[Any], list[int], int]]]:
    rows = draw(st.integers(0, 8))
    columns = []
    for number in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(("uuid", "date", "numeric", "int4", "bool")))
        scale = draw(st.integers(0, 18)) if kind == "numeric" else 0
        value = {
            "uuid": st.uuids(),
            "date": finite_days,
            "numeric": int64s,
            "int4": int32s,
            "bool": st.integers(0, 1),
        }[kind]
        values = draw(st.lists(value, min_size=rows, max_size=rows))
        state = draw(st.lists(st.integers(0, 1), min_size=rows, max_size=rows))
        columns.append((f"c{number}", kind, values, state, scale))
    return rows, columns


def parts_of(kind: str, values: list[Any], scale: int) -> tuple[Any, ...]:
    if kind == "uuid":
        return (build.ids(values),)
    if kind == "numeric":
        return np.array(values, dtype=np.int64), scale
    return (np.array(values, dtype=np.uint8 if kind == "bool" else np.int32),)


@given(columns_to_write(), st.integers(1, 300))
def test_what_was_encoded_is_decoded_again(
    written: tuple[int, list[tuple[str, str, list[Any], list[int], int]]], piece_bytes: int
) -> None:
    rows, columns = written
    pieces = _core.encode(
        fields=[
            (name, kind, parts_of(kind, values, scale), np.array(state, dtype=np.uint8))
            for name, kind, values, state, scale in columns
        ],
        rows=rows,
        piece_bytes=piece_bytes,
    )
    again = decoded([(name, kind, scale) for name, kind, _, _, scale in columns], pieces)
    assert again == {
        name: [
            (State(why), None if why else value) for value, why in zip(values, state, strict=True)
        ]
        for name, _, values, state, _ in columns
    }


def test_constants_are_encoded_into_every_row() -> None:
    fields = [
        field_of("is_complete", Constant(value=True)),
        field_of("created_at", Moment(1_700_000_000_123_456)),
        field_of("beta", Days.nulls(3)),
    ]
    pieces = _core.encode(fields=fields, rows=3, piece_bytes=1 << 20)
    columns = [("is_complete", "bool", 0), ("created_at", "timestamptz", 0), ("beta", "numeric", 4)]
    assert decoded(columns, pieces) == {
        "is_complete": [(State.VALUE, 1)] * 3,
        "created_at": [(State.VALUE, 1_700_000_000_123_456)] * 3,
        "beta": [(State.NULL, None)] * 3,
    }


def test_made_ids_ascend_from_the_time_given() -> None:
    unix_ms = 1_767_571_200_000
    for random in (bytes(16), b"\x5a" * 16, b"\xff" * 16):
        made = Stamp(0, unix_ms, random).ids(100)
        ids = [UUID(bytes=key.tobytes()) for key in made]
        assert ids == sorted(set(ids))
        assert {(key.version, key.int >> 80) for key in ids} == {(7, unix_ms)}
        assert {key.variant for key in ids} == {RFC_4122}


@pytest.mark.parametrize(
    ("state", "match"), [([0, 2], "row 1"), ([0, 3], "row 1"), ([0], "expected 2 states")]
)
def test_a_value_that_cannot_be_written_is_named(state: list[int], match: str) -> None:
    values = np.array([1, 2], dtype=np.int64)
    fields = [("equity", "numeric", (values, 2), np.array(state, dtype=np.uint8))]
    with pytest.raises(InputError, match=match) as caught:
        _core.encode(fields=fields, rows=2, piece_bytes=100)
    assert caught.value.column == "equity"


def rounded(value: float, scale: int) -> tuple[State, int | None, bool]:
    """Return state and mantissa of a double by exact fractions, and whether it lost decimals."""
    if not math.isfinite(value):
        return State.NON_FINITE, None, False
    units = Fraction(value) * 10**scale
    mantissa = math.floor(abs(units) + Fraction(1, 2)) * (-1 if value < 0 else 1)
    if not -(2**63) <= mantissa < 2**63:
        return State.NOT_REPRESENTABLE, None, False
    lost = abs(units - mantissa) > Fraction(math.ulp(value)) / 2 * 10**scale
    return State.VALUE, mantissa, lost


doubles = st.one_of(
    st.floats(),
    # what hosts store: decimals, halves of a unit, and neighbours of both
    st.decimals(-(10**9), 10**9, places=4).map(float),
    st.tuples(int32s, st.integers(0, 12)).map(lambda pair: math.ldexp(pair[0], -pair[1])),
    st.tuples(int32s, st.integers(1, 6)).map(
        lambda pair: math.nextafter(pair[0] / 10 ** pair[1] / 2, math.inf)
    ),
)


@given(st.lists(doubles, max_size=20), st.integers(0, 18), st.integers(1, 40))
def test_doubles_are_rounded_half_away(values: list[float], scale: int, piece_bytes: int) -> None:
    rows = [struct.pack(">hid", 1, 8, value) for value in values]
    data = b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"".join(rows) + b"\xff\xff"
    decoder = _core.Decoder([("close", "float8", scale)])
    for at in range(0, len(data), piece_bytes):
        decoder.push(data[at : at + piece_bytes])
    mantissas, given_scale, state, lost = decoder.finish()["close"]
    expected = [rounded(value, scale) for value in values]
    assert given_scale == scale
    assert state.tolist() == [why for why, _, _ in expected]
    assert mantissas.tolist() == [mantissa or 0 for _, mantissa, _ in expected]
    assert lost == sum(cut for _, _, cut in expected)


@given(doubles, st.integers(0, 18))
def test_the_reference_reads_doubles_alike(value: float, scale: int) -> None:
    state, mantissa, _ = rounded(value, scale)
    read = ref.from_double(value, scale)
    assert read.is_finite() == (state != State.NON_FINITE)
    if state == State.VALUE:
        assert read == Decimal(mantissa or 0).scaleb(-scale)
    elif state == State.NOT_REPRESENTABLE:
        assert not ref.representable(read, scale)


@given(doubles, st.integers(0, 18))
def test_the_bounds_of_statements_part_doubles_as_they_are_read(value: float, scale: int) -> None:
    def literal(text: str) -> float:
        return float(text.removesuffix("::float8").strip("'"))

    state, mantissa, _ = rounded(value, scale)
    least, most = fitting(scale)
    assert (literal(least) <= value <= literal(most)) == (state == State.VALUE)
    if mantissa is not None:
        assert (value >= literal(smallest(scale))) == (mantissa > 0)
        assert (value <= -literal(smallest(scale))) == (mantissa < 0)


@pytest.mark.parametrize("scale", range(19))
def test_the_bounds_of_statements_are_the_last_ones(scale: int) -> None:
    above = float(smallest(scale).removesuffix("::float8").strip("'"))
    assert rounded(above, scale)[1] == 1
    assert rounded(math.nextafter(above, 0), scale)[1] == 0
    for end in fitting(scale):
        last = float(end.removesuffix("::float8").strip("'"))
        assert rounded(last, scale)[0] == State.VALUE
        assert rounded(math.nextafter(last, last * 2), scale)[0] == State.NOT_REPRESENTABLE
