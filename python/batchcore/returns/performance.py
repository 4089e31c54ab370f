"""Performance of portfolios over their stored snapshots, read chunk by chunk."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore.config import Settings  # noqa: TC001  # callers may look at types
from batchcore.db.access import reading, rechecked
from batchcore.frames import Flows
from batchcore.late_imports import check_choice
from batchcore.native import CancelFlag, in_thread
from batchcore.options import Progress  # noqa: TC001  # callers may look at types
from batchcore.returns.benchmark import Benchmark
from batchcore.returns.chunk import INFLOWS, performance_of
from batchcore.returns.periods import Period, chosen
from batchcore.returns.result import Performance
from batchcore.run.plan import check_found
from batchcore.run.request import Request, requested
from batchcore.schema import Use
from batchcore.sources.events_flows import FLOWS, select_flows
from batchcore.sources.host import Selection
from batchcore.sources.prices import load_calendar
from batchcore.sources.query import first_column, load
from batchcore.sources.snapshots import (
    ChainRows,
    select_chain_rows,
    select_ids,
    select_latest_snapshots,
)

if TYPE_CHECKING:
    from batchcore.calendar import Calendar
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Ids
    from batchcore.pg.session import Session

ROWS_OF_A_CHUNK: Final = 200_000
"""Target number of snapshots of portfolios read together: some 30 MiB while computed."""

FIRST_CHUNK: Final = 200
"""Portfolios of the first chunk; its rows determine the size of the next."""

GROWTH: Final = 4
"""Maximum growth factor of the next chunk."""

MOST_FLOWS: Final = 400_000
"""Up to this number flows are read at once, since a host may lack an index for those of a chunk."""


@rechecked
async def performance(
    db: object,
    portfolio_ids: Iterable[uuid.UUID | str] | None = None,
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
    """Return the performance of portfolios, period by period, from their complete snapshots.

    Nothing is recomputed, and nothing is written. Figures that are not available are NULL, with a
    reason.

    Args:
        db: A database URL, an `asyncpg.Pool` or Connection, or an SQLAlchemy `AsyncEngine`,
            `AsyncConnection` or `AsyncSession` on asyncpg. A role that may only SELECT will do.
        portfolio_ids: The portfolios; None is all that are not soft-deleted, an empty list none.
        periods: Some of `1D`, `MTD`, `QTD`, `YTD`, `1Y`, `3Y`, `5Y` and `ITD`; None is all of
            them. Each ends with the portfolio's last snapshot (W5).
        start: First day of a range, in place of periods.
        end: Last day of all of them; None is that of each portfolio's last snapshot.
        inflows: Whether contributions come at the `end` of a session, or at its `start` (W1).
        benchmark: Symbol with whose closes the periods are compared (W5).
        calendar: `XNYS`, `daily`, `prices` or a code of exchange_calendars: a chain must have no
            gap in its sessions (W2).
        settings: `schema`, `lookback_days` (of the benchmark) and `chunk_size` count.
        progress: Called with `performance`, portfolios done and portfolios in all.

    Raises:
        ConfigError: an argument is wrong, or names a portfolio that does not exist, or a benchmark
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
    beside = None if benchmark is None else Benchmark.of(benchmark, request.settings)
    uses = Use.RETURNS
    if beside is not None or request.known_calendar is None:
        uses |= Use.PRICES
    if beside is not None:
        uses |= Use.SPLITS
    async with reading(db, request.settings.schema, uses) as (session, catalog):
        known = await load_calendar(session, catalog, calendar)
        chains = Chains(session, catalog, known, request)
        await chains.prepare()
        found = Performance.concat(await chains.performance(asked, inflows, progress))
        return found if beside is None else await beside.beside(session, catalog, found)


class Chains:
    """The chains of the requested portfolios, read some portfolios at a time."""

    def __init__(
        self, session: Session, catalog: Catalog, calendar: Calendar, request: Request
    ) -> None:
        self._session, self._catalog = session, catalog
        self._calendar, self._request = calendar, request
        end = request.end
        self._until = calendars.LAST_DATE if end is None else calendars.day_of(end)
        self._flows: Flows | None = None

    async def prepare(self) -> None:
        """Load the portfolios, and all flows where they are not many.

        Raises:
            ConfigError: a requested portfolio does not exist.
        """
        wanted = self._request.wanted
        selection = Selection(wanted)
        self._ids = await load(self._session, select_ids(self._catalog, selection))
        if wanted is not None:
            check_found(wanted, self._ids)
        if self._catalog.estimated_rows.get(FLOWS, MOST_FLOWS) < MOST_FLOWS:
            everything = Selection(self._ids, as_range=wanted is None)
            self._flows = await self._load_flows(everything, calendars.FIRST_DATE)

    async def performance(
        self, periods: Sequence[Period], inflows: str, progress: Progress | None
    ) -> list[Performance]:
        """Return the rows of each chunk of portfolios; one is read while another is computed."""
        cancel, at = CancelFlag(), 0
        compute = partial(
            performance_of, periods=periods, inflows=inflows, calendar=self._calendar, cancel=cancel
        )
        found = [compute(self._ids[:0], ChainRows.none(), Flows.none())]  # where there are none
        size = self._request.settings.chunk_size or FIRST_CHUNK
        computing: asyncio.Task[Performance] | None = None
        try:
            while at < len(self._ids):
                ids = np.ascontiguousarray(self._ids[at : at + size])
                rows, flows = await self._load(ids, periods)
                if computing is not None:
                    found.append(await computing)
                work = partial(compute, ids, rows, flows)
                computing = asyncio.create_task(in_thread(work, cancel))
                at += len(ids)
                if self._request.settings.chunk_size is None:
                    fitting = ROWS_OF_A_CHUNK * size // max(len(rows), 1)
                    size = max(min(fitting, GROWTH * size), 1)
                if progress is not None:
                    progress("performance", at, len(self._ids))
            if computing is not None:
                found.append(await computing)
        finally:
            if computing is not None and not computing.done():
                computing.cancel()
                await asyncio.wait([computing])
        return found

    async def _load(self, ids: Ids, periods: Sequence[Period]) -> tuple[ChainRows, Flows]:
        """Return the snapshots of a chunk, as far back as its periods go, and the flows."""
        selection = Selection(ids, as_range=self._request.wanted is None)
        first, earlier = calendars.FIRST_DATE, False
        if not any(one.is_inception for one in periods):
            of = self._catalog, self._calendar, ids, self._until + 1
            query = select_latest_snapshots(*of, frame=first_column, read=["s.snapshot_date! day"])
            last = await load(self._session, query)
            eves = [one.eves(last).min(initial=calendars.LAST_DATE - 1) for one in periods]
            first, earlier = int(min(eves)) + 1, True
        select = partial(select_chain_rows, self._catalog, self._calendar, selection)
        rows = await load(self._session, select((first, self._until), earlier=earlier))
        if self._flows is not None:
            return rows, self._flows
        return rows, await self._load_flows(selection, int(rows.day.min(initial=self._until)))

    async def _load_flows(self, selection: Selection, since: int) -> Flows:
        return await load(self._session, select_flows(self._catalog, selection, since, self._until))
