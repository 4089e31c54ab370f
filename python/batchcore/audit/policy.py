"""What a policy says of stored snapshots: the part that all policies share."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from batchcore.audit.causes import Written
from batchcore.audit.compare import Judged, follow_lost_rows
from batchcore.audit.compute import (
    Expected,
    cents_of,
    columns_of,
    computed_by_reference,
    computed_natively,
    in_cents,
)
from batchcore.calendar import day_of
from batchcore.db import load as loads
from batchcore.db import load_stored as stores
from batchcore.db.audit_queries import AuditQueries, Fact
from batchcore.db.read import Reader
from batchcore.units import State

if TYPE_CHECKING:
    import uuid
    from collections.abc import Awaitable, Callable

    from batchcore.audit.compute import Inputs, Links, Roll, Shares, Tick
    from batchcore.calendar import Calendar
    from batchcore.db.catalog import Catalog
    from batchcore.db.engine import Session
    from batchcore.db.load import Portfolios
    from batchcore.db.load_stored import Facts, OwnEquities, StoredRows
    from batchcore.db.queries import Selection
    from batchcore.frames import Bools, Bytes, Decimals, Int32, Int64, Rows
    from batchcore.native import Host, Market
    from batchcore.run.request import Request


_CORRECTIONS: Final = 3
"""How often an opening equity is corrected: after the second no more than a cent is left."""

_MOST_CENTS: Final = 2**61
"""Equities up to which the correction of an opening equity fits 64 bits."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class AuditChunk:
    """Portfolios that are looked at together, and their rows.

    Attributes:
        ids: (p, 16) uint8.
        selection: The same, for queries.
        stored: Their snapshots.
        rows: (k,) int64 complete ones that were asked for, rows of `stored`.
        current: Of each stored row, whether its day was a current one (L32).
        facts: What the rows are made of, and when it was changed.
        inputs: The same, to compute natively; None if that was not asked for.
        compute: Computes rows again.
    """

    ids: Bytes
    selection: Selection
    stored: StoredRows
    rows: Int64
    current: Bools
    facts: Facts
    inputs: Inputs | None
    compute: Callable[[Links, Int64, Bools, Tick], Awaitable[Expected]]

    @property
    def written(self) -> Written:
        """When the rows were written, as far as they say so."""
        stored, rows = self.stored, self.rows
        return Written(stored.portfolio[rows], stored.day[rows], stored.written[rows])


class PolicyAudit(abc.ABC):
    """A policy on the tables of a host.

    Attributes:
        select: The SELECTs of the policy.
        columns: Columns that are compared, in the order of the report.
        computed: Columns that rows are computed with.
        has_shares: Whether `sector_exposure` is another one.
        of_first_row: Columns whose value in a first row is known for good.
        sums: Amounts of which the daily column of a first row equals the cumulative one.
        by_chain: Columns that the row before has a part in, beside the equity.
        by_value: Columns in which the value of a PRIVATE lot counts.
        by_quantity: Columns that a partial close changes on earlier days.
        ends_at_exit: Whether closes of a position that was exited count no more.
        market: To compute natively, if anything is.
        host: Likewise, of policies that need one.
        read: Columns that are read where they are there.
        off: Part of the columns -> why it cannot be computed.
    """

    select: ClassVar[type[AuditQueries]] = AuditQueries
    columns: tuple[str, ...]
    computed: ClassVar[tuple[str, ...]]
    has_shares: ClassVar[bool] = False
    of_first_row: ClassVar[tuple[str, ...]]
    sums: ClassVar[tuple[str, ...]]
    by_chain: ClassVar[tuple[str, ...]]
    by_value: ClassVar[tuple[str, ...]]
    by_quantity: ClassVar[tuple[str, ...]]
    ends_at_exit: ClassVar[bool] = True
    market: Market
    host: Host | None = None

    def __init__(
        self,
        session: Session,
        catalog: Catalog,
        calendar: Calendar,
        request: Request,
        *,
        fast: bool,
    ) -> None:
        """Take the tables, and what was asked for.

        Raises:
            SchemaError: the tables are not those that the policy reads.
        """
        self.session = session
        self.catalog = catalog
        self.reader = Reader(session, catalog)
        self.calendar = calendar
        self.request = request
        self.fast = fast
        self.queries = self.select(catalog)
        self.start, self.end = (
            None if date is None else day_of(date) for date in (request.start, request.end)
        )
        self.read = self.columns
        self.off: dict[str, str] = {}

    @abc.abstractmethod
    async def share(self, selection: Selection, first: int, last: int) -> None:
        """Load what all chunks share, for rows from one day of the calendar to another."""

    async def stored(self, selection: Selection, ids: Bytes) -> StoredRows:
        """Return the snapshots of a chunk in the range, and those before that they go on from."""
        columns = self.queries.readable(self.read)
        query = self.queries.stored(self.calendar, selection, self.start, self.end, columns)
        fetch = loads.load if self.fast else stores.load_plainly
        return await stores.load_stored(self.session, query, self.calendar, ids, fetch)

    @abc.abstractmethod
    def previous(self, stored: StoredRows) -> tuple[Int64, ...]:
        """Return the row that each may go on from, -1 for none; the likeliest first."""

    async def chunk(
        self, ids: Bytes, selection: Selection, stored: StoredRows, rows: Int64
    ) -> AuditChunk:
        """Return a chunk with what its rows are computed from."""
        current = self.current(stored)
        any_current = bool(current[rows].any())
        profiles, betas = self.reads(any_current=any_current)
        query = self.queries.facts(selection, profiles=profiles, betas=betas)
        facts = await stores.load_facts(self.session, query, ids)
        if self.fast:
            inputs = await self.inputs(ids, selection, stored, any_current=any_current)
            compute = partial(computed_natively, self, inputs)
        else:
            inputs = None
            roll = await self.roll([stores.uuid_at(ids, row) for row in range(len(ids))])
            compute = partial(computed_by_reference, self, roll)
        return AuditChunk(
            ids=ids,
            selection=selection,
            stored=stored,
            rows=rows,
            current=current,
            facts=facts,
            inputs=inputs,
            compute=compute,
        )

    def current(self, stored: StoredRows) -> Bools:
        """Return for each stored row whether its day was a current one."""
        return np.zeros(len(stored), dtype=np.bool_)

    @abc.abstractmethod
    def reads(self, *, any_current: bool) -> tuple[bool, bool]:
        """Return whether changed profiles and betas count in rows, some on a current day or not."""

    @abc.abstractmethod
    async def inputs(
        self, ids: Bytes, selection: Selection, stored: StoredRows, *, any_current: bool
    ) -> Inputs:
        """Return what the rows of a chunk are computed from natively."""

    @abc.abstractmethod
    async def roll(self, ids: list[uuid.UUID]) -> Roll:
        """Return the reference on the portfolios of a chunk."""

    def cells(self, rows: Rows) -> tuple[dict[str, Decimals], Shares | None]:
        """Return the columns of native rows, and their `sector_exposure` if that is computed."""
        return columns_of(rows), None

    def opens(self, links: Links) -> Bools:
        """Return which rows go on from an equity that is not stored (S5, L6)."""
        return links.first

    async def rows(self, chunk: AuditChunk, links: Links, tick: Tick | None = None) -> Expected:
        """Return what rows should be; unknown where they go on from what is no amount.

        What a first row opened with is not stored: it is taken to be what leads to its equity.
        """
        tick = tick or _uncounted
        found = Expected.unknown(len(links), self.computed, shares=self.has_shares)
        opens, own = self.opens(links), cents_of(links.equity)
        able = ~opens | (in_cents(links.equity) & (np.abs(own) < _MOST_CENTS))
        for column in links.carried.values():
            able &= links.first | in_cents(column) | (column.state == State.NULL)
        tick(int((~able).sum()))
        opening, current = np.where(opens, own, 0), chunk.current[links.row]
        again = np.flatnonzero(able)
        for _ in range(1 + _CORRECTIONS):
            computed = await chunk.compute(links.take(again), opening[again], current[again], tick)
            found = found.replaced(again, computed)
            tick = _uncounted  # a row that is computed again is done
            again = again[opens[again] & found.known[again]]
            off = own[again] - found.cells["equity_balance"].values[again]
            again, off = again[off != 0], off[off != 0]
            if len(again) == 0:
                break
            opening[again] += off
        return found

    def judge(self, chunk: AuditChunk, links: Links, expected: Expected) -> Judged:
        """Return which cells the stored data determine."""
        facts, written = chunk.facts, chunk.written
        judged = Judged(len(links), self.columns)
        judged.leave_out("portfolio_fails", ~expected.known)
        judged.leave_out("opening", self.opens(links), ("equity_balance",))
        first = np.flatnonzero(links.first & expected.known)
        later = np.zeros(len(links), dtype=np.bool_)
        later[first] = follow_lost_rows(
            chunk.stored, links.row[first], expected.take(first), self.of_first_row, self.sums
        )
        judged.leave_out("earlier_rows", later, self.by_chain)
        self.judge_own(judged, chunk, expected)
        is_event = facts.kind == Fact.EVENT
        valued = facts.private & (is_event | (facts.kind == Fact.POSITION))
        judged.leave_out("private_value", written.changed_while_held(facts, valued), self.by_value)
        closed = written.changed_while_held(facts, is_event)
        judged.leave_out("closed_since", closed, self.by_quantity)
        return judged

    @abc.abstractmethod
    def judge_own(self, judged: Judged, chunk: AuditChunk, expected: Expected) -> None:
        """Leave out cells that were not computed, or from what has been overwritten since."""

    async def analysed(
        self,
        chunk: AuditChunk,  # noqa: ARG002  # what those need that compute such columns apart
        expected: Expected,  # noqa: ARG002
        wrong: Bools,  # noqa: ARG002
        judged: Judged,  # noqa: ARG002
    ) -> tuple[Expected, Bools] | None:
        """Return what analytic columns that are computed apart should be, and which differ."""
        return None

    @abc.abstractmethod
    def looks_back(self, links: Links, wrong: Bools) -> Int32:
        """Return the first day whose close may have counted in rows with (k, c) wrong cells."""

    @abc.abstractmethod
    def since(self, links: Links) -> Int32:
        """Return the day after which events and flows count in rows."""

    @abc.abstractmethod
    async def own_equities(
        self, portfolios: Portfolios, at: Int64, selection: Selection
    ) -> OwnEquities:
        """Return what `portfolios.equity_balance` of some portfolios is to be.

        ``portfolios`` are all, with the latest complete snapshot of each; ``at`` and ``selection``
        are those that are asked for.
        """


def _uncounted(_: int) -> None: ...
