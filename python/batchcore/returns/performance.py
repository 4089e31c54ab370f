"""Performance of portfolios over their stored snapshots, read chunk by chunk."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore.db.access import reading
from batchcore.late_imports import check_choice
from batchcore.native import CancelFlag, in_thread
from batchcore.returns.benchmark import Benchmark
from batchcore.returns.chunk import INFLOWS, chain_of, performance_of
from batchcore.returns.periods import chosen
from batchcore.returns.result import Performance
from batchcore.run.plan import check_found
from batchcore.run.request import requested
from batchcore.schema import Use
from batchcore.sources.chains import select_chain_ends, select_chain_rows
from batchcore.sources.facts import select_flows
from batchcore.sources.host import Selection
from batchcore.sources.prices import select_price_dates
from batchcore.sources.query import load
from batchcore.units import State

if TYPE_CHECKING:
    import datetime as dt
    import uuid
    from collections.abc import Callable, Iterator, Sequence

    from batchcore.calendar import Calendar
    from batchcore.config import Settings
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Flows, Int32, Int64
    from batchcore.options import Progress
    from batchcore.pg.session import Session
    from batchcore.returns.periods import Period
    from batchcore.run.request import Request
    from batchcore.sources.chains import ChainEnds, ChainRows

ROWS_OF_A_CHUNK: Final = 200_000
"""Snapshots that are held at a time at most, but for one portfolio's: some 30 MiB."""


async def performance(
    db: object,
    portfolio_ids: Sequence[uuid.UUID | str] | None = None,
    *,
    periods: Sequence[str] | str | None = None,
    start: dt.date | None = None,
    end: dt.date | None = None,
    inflows: str = "end",
    benchmark: str | None = None,
    calendar: str = "XNYS",
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Performance:
    """Return what portfolios returned, period by period, from their complete snapshots.

    Nothing is computed again, and nothing is written. What is not available is NULL, with the
    reason beside it.

    Args:
        db: A database URL, an `asyncpg.Pool` or Connection, or an SQLAlchemy `AsyncEngine`,
            `AsyncConnection` or `AsyncSession` on asyncpg. A role that may only SELECT will do.
        portfolio_ids: Which portfolios; None is all that are not soft-deleted, an empty one none.
        periods: Some of `1D`, `MTD`, `QTD`, `YTD`, `1Y`, `3Y`, `5Y` and `ITD`; None is all of
            them. Each ends with the portfolio's last snapshot (W5).
        start: First day of a range, in place of periods.
        end: Last day of all of them; None is that of each portfolio's last snapshot.
        inflows: Whether contributions come at the `end` of a session, or at its `start` (W1).
        benchmark: Symbol whose closes the periods are compared with (W5).
        calendar: `XNYS`, `daily`, `prices` or a code of exchange_calendars: whose sessions a chain
            has no gap in (W2).
        settings: `schema`, `lookback_days` (of the benchmark) and `chunk_size` count.
        progress: Called with `performance`, portfolios done and portfolios in all.

    Raises:
        ConfigError: an argument is wrong, or names a portfolio that is not there, or a benchmark
            without a close; or a portfolio with flows needs SciPy (extra `analytics`).
        SchemaError: the tables are not those that batchcore can read.
        DatabaseError: the database refused, failed or went away.

    Source:
        docs/semantics.md, W1 to W5.
    """
    check_choice("inflows", inflows, INFLOWS)
    asked = chosen(periods, start, end)
    request = await requested(
        None, end, portfolio_ids, analytics="none", calendar=calendar, settings=settings
    )
    lookback = request.settings.lookback_days
    beside = None if benchmark is None else Benchmark.of(benchmark, lookback)
    uses = Use.RETURNS
    if beside is not None or request.known_calendar is None:
        uses |= Use.PRICES
    async with reading(db, request.settings.schema, uses, phase="performance") as (
        session,
        catalog,
    ):
        known = request.known_calendar
        if known is None:
            dates = await load(session, select_price_dates(catalog))
            known = calendars.from_price_dates(dates)
        chains = Chains(session, catalog, known, request)
        await chains.prepare()
        parts = await chains.performance(asked, inflows, progress)
        found = Performance.concat(parts) if parts else Performance.none()
        return found if beside is None else await beside.beside(session, catalog, found)


@dataclass(frozen=True, eq=False, slots=True)
class Loaded:
    """What a chunk is computed from.

    Attributes:
        ends: Its portfolios.
        rows: Their snapshots.
        flows: Cash in and out.
    """

    ends: ChainEnds
    rows: ChainRows
    flows: Flows


class Chains:
    """The chains of the portfolios that are asked for."""

    def __init__(
        self, session: Session, catalog: Catalog, calendar: Calendar, request: Request
    ) -> None:
        """Take where they are read, and which."""
        self._session, self._catalog = session, catalog
        self._calendar, self._request = calendar, request

    async def prepare(self) -> None:
        """Load the portfolios, and where their chains begin and end.

        Raises:
            ConfigError: one that is asked for is not there.
        """
        end = self._request.end
        until = calendars.LAST_DATE if end is None else calendars.day_of(end)
        wanted = self._request.wanted
        query = select_chain_ends(self._catalog, self._calendar, Selection(wanted), until)
        self._ends = await load(self._session, query)
        if wanted is not None:
            check_found(wanted, self._ends.id)

    async def performance(
        self, periods: Sequence[Period], inflows: str, progress: Progress | None
    ) -> list[Performance]:
        """Return the rows of each chunk of portfolios; one is read while another is computed."""
        cancel, found, done = CancelFlag(), list[Performance](), 0
        computing: asyncio.Task[Performance] | None = None
        try:
            for at, first in self._parts(periods):
                loaded = await self._load(at, first)
                if computing is not None:
                    found.append(await computing)
                work = self._work(loaded, periods, inflows, cancel)
                computing = asyncio.create_task(in_thread(work, cancel))
                done += len(at)
                if progress is not None:
                    progress("performance", done, len(self._ends))
            if computing is not None:
                found.append(await computing)
        finally:
            if computing is not None and not computing.done():
                computing.cancel()
                await asyncio.wait([computing])
        return found

    def _work(
        self, loaded: Loaded, periods: Sequence[Period], inflows: str, cancel: CancelFlag
    ) -> Callable[[], Performance]:
        def work() -> Performance:
            chain = chain_of(loaded.ends, loaded.rows, loaded.flows, self._calendar)
            return performance_of(
                loaded.ends,
                chain,
                periods,
                inflows=inflows,
                calendar=self._calendar,
                cancel=cancel,
            )

        return work

    def _parts(self, periods: Sequence[Period]) -> Iterator[tuple[Int64, int]]:
        """Give rows of portfolios, as many as have so many snapshots at most, and their first day.

        No portfolio is parted. One without a snapshot takes no room.
        """
        ends = self._ends
        first = np.where(ends.first.state == State.VALUE, ends.first.values, calendars.LAST_DATE)
        last = np.where(ends.last.state == State.VALUE, ends.last.values, calendars.FIRST_DATE)
        if not any(one.is_inception for one in periods):
            eves = [one.eves(last.astype(np.int32)) for one in periods]
            first = np.maximum(first, np.min(eves, axis=0) + 1)
        rows = self._sessions_between(first, last) + 1
        size, most = self._request.settings.chunk_size, ROWS_OF_A_CHUNK
        at, held = 0, 0
        for row, count in enumerate(rows.tolist()):
            full = held + count > most if size is None else row - at == size
            if full and row > at:
                yield np.arange(at, row), int(first[at:row].min())
                at, held = row, 0
            held += count
        if at < len(rows):
            yield np.arange(at, len(rows)), int(first[at:].min())

    def _sessions_between(self, first: Int32, last: Int32) -> Int64:
        """Return how many sessions there are from one day to another, both included."""
        days = self._calendar.days
        if days is None:
            count: Int64 = last.astype(np.int64) - first + 1
        else:
            count = np.searchsorted(days, last, side="right") - np.searchsorted(days, first)
        return np.maximum(count, 0)

    async def _load(self, at: Int64, first: int) -> Loaded:
        """Return the snapshots of a chunk, from a day on and the one before it, and the flows."""
        ends = self._ends.take(at)
        whole = self._request.wanted is None and len(at) > 1
        selection = Selection(ends.id, as_range=whole)
        there = ends.last.state == State.VALUE
        last = int(ends.last.values[there].max(initial=calendars.FIRST_DATE))
        begins = int(ends.first.values[there].min(initial=calendars.LAST_DATE))
        query = partial(select_chain_rows, self._catalog, self._calendar, selection)
        rows = await load(self._session, query((first, last), earlier=begins < first))
        since = int(rows.day.min(initial=calendars.LAST_DATE))
        flows = await load(self._session, select_flows(self._catalog, selection, since, last))
        return Loaded(ends, rows, flows)
