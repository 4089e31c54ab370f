"""Which rows of a table of splits count, and what was odd about the others (C3)."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.frames import Issues, day_keys
from batchcore.reference.values import normalized
from batchcore.units import State

if TYPE_CHECKING:
    from batchcore.frames import Decimals, SplitRows

BAD_SPLIT: Final = "bad_split"

_SHOWN: Final = {
    State.NULL: "NULL",
    State.NON_FINITE: "not finite",
    State.NOT_REPRESENTABLE: "not representable",
}


def counting(rows: SplitRows) -> tuple[SplitRows, Issues]:
    """Return the splits that count, at most one of a symbol and ex-date, and `bad_split` of others.

    A row counts if it has an ex-date, and `new` and `old` are above 0. Rows of one symbol, trimmed
    and upper-cased, and one ex-date count once if they say the same, and not at all if they differ.
    Rows without a symbol are nobody's.

    Source:
        C3.
    """
    name = [normalized(symbol) for symbol in rows.symbol.table()]
    place = {one: at for at, one in enumerate(sorted(set(name)))}
    owner = np.array([*map(place.__getitem__, name), -1], dtype=np.int64)
    has_symbol = rows.symbol.state == State.VALUE
    owner = owner[np.where(has_symbol, rows.symbol.codes, len(name))]
    sound = has_symbol & (rows.day.state == State.VALUE)
    for column in (rows.new, rows.old):
        sound &= (column.state == State.VALUE) & (column.values > 0)
    bad = {at: _fault(rows, at) for at in np.flatnonzero(has_symbol & ~sound).tolist()}
    good = np.flatnonzero(sound)
    keys = day_keys(owner, rows.day.values)[good]
    order = np.argsort(keys, kind="stable")
    kept = []
    for group in np.split(good[order], np.flatnonzero(np.diff(keys[order])) + 1):
        at, *others = group.tolist() or [-1]
        if len({_quotient(rows, one) for one in (at, *others)}) > 1 and others:
            told = sorted({_said(rows, one) for one in (at, *others)})
            bad[at] = f"{' and '.join(told)} on one ex-date"
        elif at >= 0:
            kept.append(at)
    shown = sorted(bad, key=lambda at: (int(owner[at]), int(rows.day.values[at]), bad[at]))
    texts, days = rows.symbol.texts(), rows.day.take(np.array(shown, dtype=np.int64))
    issues = Issues.of(
        BAD_SPLIT,
        np.full(len(shown), -1),
        symbol=[texts[at] for at in shown],
        detail=[bad[at] for at in shown],
    )
    return rows.take(np.array(kept, dtype=np.int64)), replace(issues, day=days)


def _fault(rows: SplitRows, at: int) -> str:
    """Return the first column that makes a row count for nothing, and what it has."""
    state = State(int(rows.day.state[at]))
    if state != State.VALUE:
        return f"ex_date = {_SHOWN[state]}"
    new = _shown(rows.new, at)
    is_sound = rows.new.state[at] == State.VALUE and rows.new.values[at] > 0
    return f"old = {_shown(rows.old, at)}" if is_sound else f"new = {new}"


def _shown(column: Decimals, at: int) -> str:
    state = State(int(column.state[at]))
    if state != State.VALUE:
        return _SHOWN[state]
    text = f"{Fraction(int(column.values[at]), 10**column.scale):.{column.scale}f}"
    return text.rstrip("0").rstrip(".") if column.scale else text


def _said(rows: SplitRows, at: int) -> str:
    return f"{_shown(rows.new, at)} for {_shown(rows.old, at)}"


def _quotient(rows: SplitRows, at: int) -> Fraction:
    new, old = (Fraction(int(one.values[at]), 10**one.scale) for one in (rows.new, rows.old))
    return new / old
