"""The valid rows of a table of splits, and the issues of the others (C3)."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.frames import Days, Decimals, Issues, SplitRows, day_keys
from batchcore.units import State
from batchcore.values import decimal_of, normalised
from batchcore.words import short

if TYPE_CHECKING:
    from batchcore.config import Splits

_SHOWN: Final = {
    State.NULL: "NULL",
    State.NON_FINITE: "not finite",
    State.NOT_REPRESENTABLE: "not representable",
}


def counting(rows: SplitRows) -> tuple[SplitRows, Issues]:
    """Return the valid splits, at most one of a symbol and ex-date, and `bad_split` for the others.

    Rows of one normalised symbol and ex-date count once if they agree, else not at all; rows with a
    NULL or blank symbol are ignored (C3).
    """
    name = [normalised(symbol) for symbol in rows.symbol.table()]
    place = {one: at for at, one in enumerate(sorted(set(name)))}
    owner = np.array([*map(place.__getitem__, name), -1], dtype=np.int64)
    known = rows.symbol.state == State.VALUE
    owner = owner[np.where(known, rows.symbol.codes, len(name))]
    has_symbol = known & (owner != place.get("", -1))
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
        if others and len({_quotient(rows, one) for one in group}) > 1:
            ratios = sorted({f"{_shown(rows.new, n)} for {_shown(rows.old, n)}" for n in group})
            bad |= dict.fromkeys(group.tolist(), f"{' and '.join(ratios)} on one ex-date")
        elif at >= 0:
            kept.append(at)
    on = np.where(rows.day.state == State.VALUE, rows.day.values, 0)
    shown = sorted(bad, key=lambda at: (int(owner[at]), int(on[at]), bad[at]))
    texts, states = rows.symbol.texts(), rows.day.state[shown]
    days = Days(on[shown], np.minimum(states, np.uint8(State.NULL)))  # an issue has a date or none
    issues = Issues.of(
        "bad_split",
        np.full(len(shown), -1),
        symbol=[texts[at] for at in shown],
        detail=[bad[at] for at in shown],
    )
    return rows.take(np.array(kept, dtype=np.int64)), replace(issues, day=days)


def restates(mapped: Splits) -> bool:
    """Return whether splits change any figure: not with adjusted closes and quantities (C4)."""
    return mapped.price_basis != "adjusted" or mapped.quantity_basis != "current"


def restates_earlier(mapped: Splits) -> bool:
    """Return whether a split changes the quantities of all days before it.

    With closes as traded and quantities as entered, it does so only for positions with an event on
    or after its ex-date, whose quantity is restated to the entry (C4, C5).
    """
    return (mapped.price_basis == "adjusted") != (mapped.quantity_basis == "current")


def quotients(rows: SplitRows) -> list[tuple[int, Fraction]]:
    """Return ex-date and quotient of valid splits, by ex-date."""
    return sorted((int(rows.day.values[at]), _quotient(rows, at)) for at in range(len(rows)))


def shares_of_close(rows: SplitRows, day: int) -> Fraction:
    """Return the number of shares from before the splits that one share of a day equals.

    Multiplied by it, closes of all days are of the same shares: their quotient is the return (C5).
    The splits are valid ones of one symbol.
    """
    if rows.price_basis == "adjusted":
        return Fraction(1)
    taken = (quotient for on, quotient in quotients(rows) if on <= day)
    return math.prod(taken, start=Fraction(1))


def _fault(rows: SplitRows, at: int) -> str:
    """Return the first faulty column of an invalid row, and its value."""
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
    return short(decimal_of(int(column.values[at]), column.scale))


def _quotient(rows: SplitRows, at: int) -> Fraction:
    new, old = (Fraction(int(one.values[at]), 10**one.scale) for one in (rows.new, rows.old))
    return new / old
