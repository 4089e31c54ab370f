"""Rows of a COPY that were encoded once, and some of them again."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from batchcore import _core
from batchcore.frames import Days, Text
from batchcore.pg.fields import field_of, picked

ROWS = st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.sampled_from(["", "x", "éé", None])))


def pieces_of(rows, piece_bytes):
    days = np.array([day for day, _, _ in rows], dtype=np.int32)
    state = np.array([is_null for _, is_null, _ in rows], dtype=np.uint8)
    fields = [
        field_of("day", Days(days, state)),
        field_of("note", Text.of([text for _, _, text in rows])),
    ]
    return _core.encode(fields=fields, rows=len(rows), piece_bytes=piece_bytes)


@given(ROWS, st.data(), st.sampled_from([1, 40, 1 << 20]))
def test_rows_picked_are_those_that_would_have_been_encoded_alone(rows, data, piece_bytes):
    keep = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    kept = [row for row, is_kept in zip(rows, keep, strict=True) if is_kept]
    found = picked(pieces_of(rows, piece_bytes), np.array(keep, dtype=np.bool_))
    assert b"".join(found) == (b"".join(pieces_of(kept, 1 << 20)) if kept else b"")
