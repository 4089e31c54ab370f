"""What a policy says of stored snapshots: the part that the policies share."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.audit.changes import Written
from batchcore.audit.compare import Judged, tells_of_earlier_rows
from batchcore.audit.links import Expected, cents_of, in_cents
from batchcore.calendar import day_of
from batchcore.sources import stored as stores
from batchcore.sources.query import load, load_plainly
from batchcore.sources.reference import Reader
from batchcore.sources.stored import Fact
from batchcore.units import State

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable

    from batchcore.audit.changes import Patterns
    from batchcore.audit.compute import Computer
    from batchcore.audit.links import Links
    from batchcore.calendar import Calendar
    from batchcore.db.catalog import Catalog
    from batchcore.db.engine import Session
    from batchcore.frames import Bools, Bytes, Int32, Int64
    from batchcore.run.request import Request
    from batchcore.sources.host import Selection
    from batchcore.sources.portfolios import Portfolios
    from batchcore.sources.stored import Facts, OwnEquities, StoredRows


_TRIES: Final = 3
"""How often an opening equity is corrected: after the second no more than a cent is left."""

_MOST_CENTS: Final = 2**61
"""Equities up to which the correction of an opening equity fits 64 bits."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Chunk:
    """Portfolios that are looked at together, and their rows.

    Attributes:
        ids: (p, 16) uint8.
        selection: The same, for queries.
        stored: Their snapshots.
        rows: (k,) int64 complete ones that were asked for, rows of `stored`.
        current: Of each stored row, whether its day was a current one (L32).
        facts: What the rows are made of, and when it was changed.
        computer: Computes them again.
    """

    ids: Bytes
    selection: Selection
    stored: StoredRows
    rows: Int64
    current: Bools
    facts: Facts
    computer: Computer

    @property
    def written(self) -> Written:
        """When the rows were written, as far as they say so."""
        stored, rows = self.stored, self.rows
        return Written(stored.portfolio[rows], stored.day[rows], stored.written[rows])


class Rules(abc.ABC):
    """A policy on the tables of a host.

    Attributes:
        session: To read in.
        catalog: The host's tables.
        reader: On these, for the reference.
        calendar: Whose sessions count.
        request: `settings`, `beta_weights` and the range count.
        fast: Whether rows are computed natively.
        stored_rules: Which stored rows and facts count under the policy.
        source: The same, on the host's tables.
        start: First day of the range; None begins with the first row.
        end: Last day of the range; None ends with the last row.
        columns: Columns that are compared, in the order of the report.
        off: Part of the columns -> why it cannot be computed.
        computed: Columns that rows are computed with.
        shares: Whether `sector_exposure` is another one.
        patterns: In which columns changed inputs show.
        of_first_row: Columns whose value in a first row is known for good.
        sums: What the daily and the cumulative column of a first row are equal of.
        by_chain: Columns that the row before has a part in, beside the equity.
        by_value: Columns in which the value of a PRIVATE lot counts.
        by_quantity: Columns that a partial close changes on earlier days.
    """

    stored_rules = stores.ROLLFORWARD
    columns: tuple[str, ...]
    computed: tuple[str, ...]
    shares = False
    patterns: Patterns
    of_first_row: tuple[str, ...]
    sums: tuple[str, ...]
    by_chain: tuple[str, ...]
    by_value: tuple[str, ...]
    by_quantity: tuple[str, ...]

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
        self.source = stores.StoredSource(catalog, calendar, self.stored_rules)
        self.request = request
        self.fast = fast
        self.start, self.end = (
            None if date is None else day_of(date) for date in (request.start, request.end)
        )
        self.off: dict[str, str] = {}
        self._look()

    @abc.abstractmethod
    def _look(self) -> None:
        """Look at the tables that the policy needs beside those of every run."""

    @abc.abstractmethod
    async def share(self, selection: Selection, first: int, last: int) -> None:
        """Load what all chunks share.

        Args:
            selection: All portfolios that are looked at.
            first: First day that anything is needed of, one that the calendar knows.
            last: Last day of a row, likewise.
        """

    async def stored(self, selection: Selection, ids: Bytes) -> StoredRows:
        """Return the snapshots of a chunk in the range, and those before that they go on from."""
        columns, days = stores.readable(self.catalog, self._read()), (self.start, self.end)
        query = stores.select_stored(self.source, selection, days, columns, ids)
        return await (load if self.fast else load_plainly)(self.session, query)

    def _read(self) -> tuple[str, ...]:
        """Return the columns that are read where they are there."""
        return self.columns

    @abc.abstractmethod
    def previous(self, stored: StoredRows) -> tuple[Int64, ...]:
        """Return the row that each may go on from, -1 for none; the likeliest first."""

    async def chunk(
        self, ids: Bytes, selection: Selection, stored: StoredRows, rows: Int64
    ) -> Chunk:
        """Return a chunk with what its rows are computed from."""
        current = self._current(stored)
        reads = self._reads(current[rows])
        query = stores.select_facts(self.source, selection, ids, **reads)
        return Chunk(
            ids=ids,
            selection=selection,
            stored=stored,
            rows=rows,
            current=current,
            facts=await load(self.session, query),
            computer=await self._computer(ids, selection, stored, current[rows]),
        )

    def _current(self, stored: StoredRows) -> Bools:
        """Return for each stored row whether its day was a current one."""
        return np.zeros(len(stored), dtype=np.bool_)

    @abc.abstractmethod
    def _reads(self, current: Bools) -> dict[str, bool]:
        """Return whether changed `profiles` and `betas` count in rows, some on a current day."""

    @abc.abstractmethod
    async def _computer(
        self, ids: Bytes, selection: Selection, stored: StoredRows, current: Bools
    ) -> Computer:
        """Return what computes rows of a chunk, some of them on a current day."""

    def opens(self, links: Links) -> Bools:
        """Return which rows go on from an equity that is not stored (S5, L6)."""
        return links.first

    async def rows(self, chunk: Chunk, links: Links, tick: Callable[[int], None]) -> Expected:
        """Return what rows should be; unknown where they go on from what is no amount.

        What a first row opened with is not stored: it is taken to be what leads to its equity.

        Args:
            chunk: Of the rows.
            links: The rows, each with what it goes on from.
            tick: Called with how many more are done.
        """
        found = Expected.unknown(len(links), self.computed, shares=self.shares)
        opens, own = self.opens(links), cents_of(links.equity)
        able = ~opens | (in_cents(links.equity) & (np.abs(own) < _MOST_CENTS))
        for column in links.carried.values():
            able &= links.first | in_cents(column) | (column.state == State.NULL)
        tick(int((~able).sum()))
        opening, current = np.where(opens, own, 0), chunk.current[links.row]
        again = np.flatnonzero(able)
        for _ in range(1 + _TRIES):
            part = links.take(again)
            computed = await chunk.computer.rows(part, opening[again], current[again], tick)
            found = found.replaced(again, computed)
            tick = _uncounted  # a row that is computed again is done
            again = again[opens[again] & found.known[again]]
            off = own[again] - found.cells["equity_balance"].values[again]
            again, off = again[off != 0], off[off != 0]
            if len(again) == 0:
                break
            opening[again] += off
        return found

    def judge(self, chunk: Chunk, links: Links, expected: Expected) -> Judged:
        """Return which cells the stored data determine."""
        facts, written = chunk.facts, chunk.written
        judged = Judged(len(links), self.columns)
        judged.leave_out("portfolio_fails", ~expected.known)
        judged.leave_out("opening", self.opens(links), ("equity_balance",))
        first = np.flatnonzero(links.first & expected.known)
        earlier = np.zeros(len(links), dtype=np.bool_)
        earlier[first] = tells_of_earlier_rows(
            chunk.stored, links.row[first], expected.take(first), self.of_first_row, self.sums
        )
        judged.leave_out("earlier_rows", earlier, self.by_chain)
        self._judge_analytics(judged, chunk, expected)
        is_event = facts.kind == Fact.EVENT
        valued = facts.private & (is_event | (facts.kind == Fact.POSITION))
        judged.leave_out("private_value", written.changed_while_held(facts, valued), self.by_value)
        closed = written.changed_while_held(facts, is_event)
        judged.leave_out("closed_since", closed, self.by_quantity)
        self._judge_changes(judged, chunk, expected)
        return judged

    @abc.abstractmethod
    def _judge_analytics(self, judged: Judged, chunk: Chunk, expected: Expected) -> None:
        """Leave out analytic columns that were not computed, or cannot be."""

    @abc.abstractmethod
    def _judge_changes(self, judged: Judged, chunk: Chunk, expected: Expected) -> None:
        """Leave out what else was made of a state that has been overwritten since."""

    async def analysed(
        self,
        chunk: Chunk,  # noqa: ARG002  # what those need that compute such columns apart
        expected: Expected,  # noqa: ARG002
        wrong: Bools,  # noqa: ARG002
        judged: Judged,  # noqa: ARG002
    ) -> tuple[Expected, Bools] | None:
        """Return what analytic columns should be that are computed apart, and which cells differ.

        Rows that have none of these columns mean nothing.
        """
        return None

    @abc.abstractmethod
    def looks_back(self, links: Links, wrong: Bools) -> Int32:
        """Return the first day whose close may have counted in rows.

        Args:
            links: The rows.
            wrong: (k, c) which cells differ.
        """

    @abc.abstractmethod
    def since(self, links: Links) -> Int32:
        """Return the day after which events and flows count in rows."""

    @abc.abstractmethod
    async def own_equities(
        self, portfolios: Portfolios, at: Int64, selection: Selection
    ) -> OwnEquities:
        """Return what `portfolios.equity_balance` is to be, of the portfolios of a chunk.

        Args:
            portfolios: All, with the latest complete snapshot of each before the end of time.
            at: Those of the chunk.
            selection: The same, for queries.
        """


def uuids_of(ids: Bytes) -> list[uuid.UUID]:
    """Return ids of 16 bytes as UUIDs."""
    return [stores.uuid_at(ids, row) for row in range(len(ids))]


def _uncounted(_: int) -> None: ...
