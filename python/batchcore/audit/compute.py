"""Recomputed rows: by the reference, one by one, or natively, all of a session at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from batchcore import policies
from batchcore.audit.compare import value_at
from batchcore.frames import LEFT_OUT, Decimals, Frame, Objects, Opening, Previous, taken
from batchcore.native import Book, CancelFlag, in_thread, roll_forward
from batchcore.schema import SNAPSHOT_SCALES
from batchcore.sources.reference_rows import as_decimals
from batchcore.sources.stored import SHARES, StoredRows
from batchcore.units import CENTS, State
from batchcore.values import decimal_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from batchcore.audit.policy import PolicyAudit
    from batchcore.frames import Bools, FloatObjects, Int32, Int64, Rows, Text

    Tick = Callable[[int], None]
    Shares = npt.NDArray[np.object_]
    Roll = Callable[[int, int, tuple[Any, ...] | None, Decimal, int], Any]

CARRIED: Final = (
    "equity_balance",
    "cumulative_pnl",
    "cumulative_realized_pnl",
    "cumulative_capital_flow",
)
"""Columns from which the next row continues (S8, L6, L21)."""


class Links(Frame):
    """Stored rows by portfolio and day, each with the row from which it continues."""

    row: Int64  # of `StoredRows`, ascending
    portfolio: Int32  # row of the chunk
    day: Int32
    previous_day: Int32  # of the row before; its own where `first`
    first: Bools  # whether there is no row before
    carried: Mapping[str, Decimals]  # its `CARRIED` columns, if read; the row's own where `first`

    @classmethod
    def stored(cls, stored: StoredRows, rows: Int64, before: Int64) -> Self:
        """Return some complete rows, each with the stored row before it, -1 for none."""
        first = before < 0
        basis = np.where(first, rows, before)
        carried = {name: stored.cells[name] for name in CARRIED if name in stored.cells}
        return cls(
            rows,
            stored.portfolio[rows],
            stored.day[rows],
            stored.day[basis],
            first,
            taken(carried, basis),
        )

    def after(self, expected: ExpectedRows, before: Int64) -> Self:
        """Return the rows with the one before each replaced by a row of ``expected``."""
        return replace(self, carried={n: expected.cells[n].take(before) for n in CARRIED})


class ExpectedRows(Frame):
    """Expected rows, with the decimals of the rules; NULL where nothing is known."""

    known: Bools  # whether the rules give a row, as a portfolio may fail (S10, L4)
    cells: Mapping[str, Decimals]
    shares: Shares | None  # `sector_exposure` as mappings of decimals, None for NULL or without it

    @classmethod
    def unknown(cls, rows: int, columns: Sequence[str], *, shares: bool) -> Self:
        """Return a number of rows of which nothing is known."""
        cells = {name: Decimals.nulls(rows, SNAPSHOT_SCALES[name]) for name in columns}
        nothing = np.full(rows, None, dtype=np.object_) if shares else None
        return cls(np.zeros(rows, dtype=np.bool_), cells, nothing)

    def replaced(self, at: Int64, others: Self) -> Self:
        """Return the rows with others at some places."""
        order = np.arange(len(self))
        order[at] = len(self) + np.arange(len(at))
        return self.concat([self, others]).take(order)


async def computed_by_reference(  # noqa: PLR0917  # rows, and what they are computed from
    policy: PolicyAudit, roll: Roll, links: Links, opening: Int64, current: Bools, tick: Tick
) -> ExpectedRows:
    """Return the expected rows by the pure-Python reference, one by one.

    ``roll`` returns the row of a portfolio and a day, None if it fails: from day and `CARRIED` of
    the row before it, or None, from an opening equity (S5, L6; ``opening`` has cents), and with the
    first current day (L32). ``current`` marks rows whose day was current; ``tick`` is called with
    the number of further rows done.
    """
    rows = []
    for row in range(len(links)):
        await asyncio.sleep(0)  # the reference is slow, and signals must be handled
        previous: Any = None
        if not links.first[row]:
            carried = (value_at(links.carried[name], row) for name in CARRIED)
            previous = (int(links.previous_day[row]), *carried)
        day, equity = int(links.day[row]), decimal_of(int(opening[row]), CENTS)
        today = day + (not current[row])
        rows.append(roll(int(links.portfolio[row]), day, previous, equity, today))
        tick(1)
    shares = None
    if policy.has_shares:
        shares = np.full(len(rows), None, dtype=np.object_)
        for number, one in enumerate(rows):
            weights = getattr(one, SHARES, None)
            if weights is not None:
                shares[number] = {name: Decimal(repr(own)) for name, own in weights.items()}
    known = np.array([row is not None for row in rows], dtype=np.bool_)
    return ExpectedRows(known, {name: _cells(rows, name) for name in policy.computed}, shares)


def _cells(rows: list[Any], column: str) -> Decimals:
    """Return a column of rows of the reference; NULL where there is no row, or no such column."""
    values = [getattr(row, column, None) for row in rows]
    decimals = [None if value is None else Decimal(value) for value in values]
    return as_decimals(decimals, SNAPSHOT_SCALES[column])


@dataclass(frozen=True, eq=False, slots=True)
class Inputs:
    """The inputs of the rows of a chunk; currencies are left out if there are no rates."""

    ids: npt.NDArray[np.uint8]
    book: Book
    currency: Text = LEFT_OUT


async def computed_natively(  # noqa: PLR0917  # rows, and what they are computed from
    policy: PolicyAudit, inputs: Inputs, links: Links, opening: Int64, current: Bools, tick: Tick
) -> ExpectedRows:
    """Return the expected rows, at least one, by the native core, all of a session at once."""
    found = ExpectedRows.unknown(len(links), policy.computed, shares=policy.has_shares)
    at, parts, cancel = [], [], CancelFlag()
    keys = 2 * links.day.astype(np.int64) + current
    order = np.argsort(keys, kind="stable")
    for own in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
        today = int(links.day[own[0]]) + (not current[own[0]])
        work = _session(policy, inputs, links.take(own), opening[own], today, cancel)
        rows = await in_thread(work, cancel)
        cells, weights = policy.cells(rows)
        nothing = Decimals.nulls(len(rows))
        cells = {name: cells.get(name, nothing) for name in policy.computed}
        at.append(own[rows.portfolio])
        parts.append(ExpectedRows(np.ones(len(rows), dtype=np.bool_), cells, weights))
        tick(len(own))
    return found.replaced(np.concatenate(at), ExpectedRows.concat(parts))


def _session(  # noqa: PLR0917  # rows, and what they are computed from
    policy: PolicyAudit,
    inputs: Inputs,
    links: Links,
    opening: Int64,
    today: int,
    cancel: CancelFlag,
) -> Callable[[], Rows]:
    """Return the function that computes the rows of a session, by rows of ``links``."""
    ids = np.ascontiguousarray(inputs.ids[links.portfolio])
    later = np.flatnonzero(~links.first)
    equity, pnl, realized, flow = (links.carried[name].take(later) for name in CARRIED)
    previous = Previous(
        portfolio_id=np.ascontiguousarray(ids[later]),
        day=links.previous_day[later],
        equity=equity,
        cumulative_pnl=pnl,
        cumulative_realized_pnl=realized,
        cumulative_capital_flow=flow,
    )
    return partial(
        roll_forward,
        policy.market,
        inputs.book,
        previous=previous,
        opening=Opening(
            portfolio_id=ids,
            equity=Decimals(opening, CENTS),
            first_day=links.day,
            last_day=links.day,
            currency=taken(inputs.currency, links.portfolio),
        ),
        rules=policies.entry(policy.request.policy).rules,
        threads=policy.request.settings.threads,
        cancel=cancel,
        host=None if policy.host is None else replace(policy.host, today=today),
    )


def columns_of(rows: Rows, figures: Sequence[str]) -> dict[str, Decimals]:
    """Return the figures of rows, of their snapshots."""
    columns = {name: getattr(rows, name) for name in figures}
    return {
        name: column
        if isinstance(column, Decimals)
        else Decimals(column.astype(np.int64, copy=False), SNAPSHOT_SCALES[name])
        for name, column in columns.items()
    }


def shares_of(objects: Objects | FloatObjects) -> Shares:
    """Return objects as mappings of decimals, the shortest ones of binary64; None for NULL."""
    found = np.full(len(objects), None, dtype=np.object_)
    for row in np.flatnonzero(objects.state == State.VALUE).tolist():
        names = np.flatnonzero(objects.present[row]).tolist()
        values = objects.values[row, names].tolist()
        if isinstance(objects, Objects):
            decimals = (decimal_of(value, objects.scale) for value in values)
        else:
            decimals = (Decimal(repr(value)) for value in values)
        found[row] = dict(zip((objects.names[name] for name in names), decimals, strict=True))
    return found


def in_cents(column: Decimals) -> Bools:
    """Return which values are whole cents."""
    unit = 10 ** max(column.scale - CENTS, 0)
    whole: Bools = (column.state == State.VALUE) & (column.values % unit == 0)
    return whole


def cents_of(column: Decimals) -> Int64:
    """Return values in cents; those that are not whole cents mean nothing."""
    return column.values // np.int64(10 ** max(column.scale - CENTS, 0))
