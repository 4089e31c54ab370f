"""Which lots made the P&L of stored rows: `explain` (X1 to X8)."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt  # imported for type annotations only
import logging
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore.analytics.sector_exposure import UNKNOWN, sector_of
from batchcore.attribution.chain import ChainRows
from batchcore.attribution.explanation import Explanation, UnexplainedPortfolio
from batchcore.attribution.lots import by_key, lots_of, total, trimmed
from batchcore.attribution.totals import Totals, fits
from batchcore.audit.chunk_check import ChunkCheck
from batchcore.audit.compute import Inputs
from batchcore.audit.policy import PolicyAudit, policy_audit
from batchcore.config import Settings  # noqa: TC001  # callers may look at types
from batchcore.db.analytic_tables import PROFILES
from batchcore.db.check import problems_of
from batchcore.declared import optional_date
from batchcore.errors import ConfigError
from batchcore.frames import Flows
from batchcore.late_imports import check_choice
from batchcore.native import Book, CancelFlag, in_thread
from batchcore.pg.database import Database
from batchcore.pg.session_pool import SessionPool
from batchcore.run import plan as plans
from batchcore.run.chunk_groups import EventsByPosition, GroupedLoad, events_of
from batchcore.run.plan import Chunk
from batchcore.run.request import requested
from batchcore.run.tasks import together
from batchcore.schema import RULE_COLUMNS, Use
from batchcore.sources import stored as stores
from batchcore.sources.events_flows import select_events
from batchcore.sources.host import Selection, located
from batchcore.sources.profiles import load_profiles
from batchcore.sources.query import Query, load
from batchcore.sources.rates import select_homes, several_currencies
from batchcore.sources.stored import Ranges, StoredRows, uuid_at
from batchcore.units import LotKind, State
from batchcore.values import normalised

if TYPE_CHECKING:
    from batchcore.frames import Events, Int64
    from batchcore.pg.session import Session

log = logging.getLogger("batchcore")

BY_LOT: Final = ("lot", "position")
"""Keys by which only the rows of one portfolio may be grouped."""

BY_SUMS: Final = ("symbol", "sector", "type", "class", "portfolio")
"""Keys by which the rows of any number of portfolios may be grouped."""

LANES: Final = 3
"""Chunks in progress: two being loaded, and one being computed."""

ROWS_OF_A_CHUNK: Final = 100_000
"""Maximum snapshots held at a time."""


async def explain(
    db: object,
    portfolio_ids: Iterable[uuid.UUID | str] | None = None,
    session: dt.date | None = None,
    *,
    since: dt.date | None = None,
    by: str | None = None,
    policy: str = "rollforward",
    calendar: str = "XNYS",
    settings: Settings | None = None,
) -> Explanation:
    """Return which lots made the P&L of a stored session, or of a range; write nothing.

    For one portfolio the rows are its lots, or groups of them, with their context: equity, flows,
    rounding. For several they are sums over all of their lots, computed natively, a chunk of
    portfolios at a time. Contributions are exact; with the rounding they add up to the stored P&L.
    If the data have changed since, the answer is not `explained`, and shows stored and computed
    values. Everything is read from one snapshot of the database, for several portfolios on two
    connections if available.

    Args:
        db: A database URL, an `asyncpg.Pool` or Connection, or an SQLAlchemy `AsyncEngine`,
            `AsyncConnection` or `AsyncSession` on asyncpg. A role that may only SELECT will do.
        portfolio_ids: The portfolios; None is all that are not soft-deleted.
        session: The stored session, or the last day of the range; None is the latest stored one.
        since: The day after which the range begins; None explains the session alone.
        by: `lot` or `position` of one portfolio; `symbol`, `sector`, `type`, `class` or `portfolio`
            of any number. None is `lot` of one, `symbol` of several.
        policy: The rules by which the rows were written: `rollforward` or `legacy`.
        calendar: `XNYS`, `daily`, `prices` or a code of exchange_calendars (S1); under `legacy`
            `XNYS` (L2).
        settings: `schema`, `lookback_days`, `fx_lookback_days`, `fx_pivot`, `threads` and
            `chunk_size` count.

    Raises:
        ConfigError: an argument is wrong, names a portfolio that does not exist, or a session
            without a complete snapshot.
        SchemaError: the tables are not those that batchcore can read.
        DatabaseError: the database refused, failed or went away.

    Source:
        docs/semantics.md, X1 to X8.
    """
    session, since = optional_date(session, "session"), optional_date(since, "since")
    if session is not None and since is not None and since >= session:
        msg = f"since {since.isoformat()} is not before session {session.isoformat()}"
        raise ConfigError(msg, "since")
    if by is not None:
        check_choice("by", by, (*BY_LOT, *BY_SUMS))
    request = await requested(
        None,
        session,
        portfolio_ids,
        policy=policy,
        calendar=calendar,
        analytics="none",
        settings=settings,
    )
    wanted = request.wanted
    if by in BY_LOT and (wanted is None or len(wanted) != 1):
        msg = f"by is `{by}`, expected one of {', '.join(BY_SUMS)}: only one portfolio has lots"
        raise ConfigError(msg, "by")
    database, is_one = Database(db, borrow=True), wanted is not None and len(wanted) == 1
    async with _readers(database, several=not is_one) as readers:
        async with readers.lend("explain") as reading:
            audit = await policy_audit(reading, request, fast=True)
            explainer = Explainer(audit, since)
            if not await explainer.prepare():
                return explainer.nothing(by or BY_SUMS[0])
            if is_one:
                return await explainer.one(by or BY_LOT[0])
        return await explainer.several(by or BY_SUMS[0], readers)


@contextlib.asynccontextmanager
async def _readers(database: Database, *, several: bool) -> AsyncIterator[SessionPool]:
    """Yield sessions on one snapshot: two for several portfolios, if there are connections."""
    if not (several and database.owns):
        async with database.reading("explain") as session:
            yield SessionPool(session)
        return
    async with database.snapshot("explain", shared=True) as session:
        readers, exported = SessionPool(session), session.exported
        if exported is None:
            yield readers
            return
        others = partial(database.snapshot, "explain", of=exported)
        async with readers.opening(others, max(database.most(1), 0)):
            yield readers


class Explainer:
    """One explanation."""

    def __init__(self, policy: PolicyAudit, since: dt.date | None) -> None:
        """Take the policy, and the day after which the range begins; None is a single session."""
        self._policy = policy
        self._session = policy.session
        self._selection = Selection(policy.request.wanted)
        self._since = since
        self._sectors: Mapping[str, str] = {}
        self._first = self._last = 0
        self._asked: int | None = None
        self._currencies: tuple[str, ...] = ()
        self._ranges: Ranges

    async def prepare(self) -> bool:
        """Find the rows of the range; return whether there are any portfolios.

        Raises:
            ConfigError: a portfolio is unknown, or has no complete snapshot in the range.
        """
        policy, wanted = self._policy, self._selection.ids
        self._asked = last = policy.end
        if wanted is not None and len(wanted) == 0:
            return False
        if last is None:
            last = await stores.latest_day(self._session, policy.source, self._selection)
        is_stored = last is not None
        last = calendars.FIRST_DATE if last is None else last
        first = last if self._since is None else calendars.day_of(self._since) + 1
        self._first, self._last = policy.start, policy.end = first, last
        query_ranges = stores.select_ranges(policy.source, self._selection, first, last)
        self._ranges = await load(self._session, query_ranges)
        if wanted is not None:
            plans.check_found(wanted, self._ranges.id)
        if not is_stored or not (self._ranges.last.state == State.VALUE).any():
            raise ConfigError(await self._no_row_error(), "session")
        return True

    async def _no_row_error(self) -> str:
        """Return the error for a range without rows, naming the last earlier day with one."""
        ids, of = self._selection.ids, "any portfolio"
        if ids is not None:
            of = f"portfolio {uuid_at(ids, 0)}" if len(ids) == 1 else "these portfolios"
        scope = self._policy.source, self._selection
        latest = await stores.latest_day(self._session, *scope, self._last)
        if latest is None:
            on = "" if self._asked is None else f" on {calendars.iso_of(self._asked)} or before it"
            return f"no complete snapshot of {of} is stored{on}"
        where = f"on {calendars.iso_of(self._last)}"
        if self._since is not None:
            where = f"after {self._since.isoformat()}, up to {calendars.iso_of(self._last)}"
        return f"no complete snapshot of {of} {where}: the latest is of {calendars.iso_of(latest)}"

    def nothing(self, by: str) -> Explanation:
        """Return the explanation of no portfolio."""
        end, none = self._policy.end, Decimal(0)
        session = None if end is None else calendars.date_of(end)
        return self._explanation(
            by, portfolios=0, session=session, daily_pnl=none, computed_pnl=none, rows=()
        )

    def _explanation(self, by: str, **found: Any) -> Explanation:  # noqa: ANN401  # what was found
        return Explanation(policy=self._policy.request.policy, by=by, since=self._since, **found)

    async def _share(self) -> None:
        """Load the closes that all portfolios share."""
        days = self._ranges.first
        await self._policy.share(
            self._selection, *self._within(int(days.values[days.state == State.VALUE].min()))
        )

    def _within(self, first: int) -> tuple[int, int]:
        """Return a day and the last one, within the calendar."""
        calendar = self._policy.calendar
        window = np.clip((first, self._last), calendar.first_day, calendar.last_day).tolist()
        return window[0], window[1]

    async def _sectors_of(self, session: Session, symbols: Sequence[str]) -> Mapping[str, str]:
        """Return the sectors of public stocks by normalised symbol, with those of earlier calls."""
        names = sorted({normalised(symbol) for symbol in symbols} - self._sectors.keys())
        if not names:
            return self._sectors
        catalog, found = self._policy.catalog, dict.fromkeys(names, UNKNOWN)
        problems = problems_of(catalog, Use.SECTORS, writes=False)
        if not catalog.has_table(PROFILES):
            problems = (f"there is no table {PROFILES}",)
        if not problems:
            profiles = await load_profiles(session, catalog, names)
            of_names = zip(names, profiles.sector, profiles.is_etf, strict=True)
            for name, sector, is_etf in of_names:
                found[name] = sector_of(sector, is_etf=is_etf, kind=LotKind.STOCK)
        elif not self._sectors:
            log.warning("sectors=unknown reason=%r", "; ".join(problems))
        self._sectors = {**self._sectors, **found}  # a thread may still read the last one
        return self._sectors

    async def one(self, by: str) -> Explanation:
        """Return the explanation of the only portfolio."""
        policy, ids = self._policy, self._ranges.id
        policy.read = RULE_COLUMNS
        await self._share()
        stored = await policy.stored(self._selection, ids)
        rows = self._rows(stored)
        if len(rows) == 0:
            msg = f"{calendars.iso_of(self._last)} is not a session of the calendar"
            raise ConfigError(msg, "session")
        check = ChunkCheck(policy, ids, self._selection, stored, rows)
        inputs = await policy.inputs(check)
        sectors = await self._sectors_of(self._session, inputs.book.positions.symbol.table())
        chain = ChainRows(policy, stored, rows, inputs.book.flows)
        cancel = CancelFlag()
        work = partial(policy.contributions, chain.chains, inputs, cancel)
        found = await in_thread(work, cancel)
        positions = inputs.book.positions
        lots = lots_of(found, positions, sectors, has_contributions=chain.has_contributions)
        owner, explained = uuid_at(ids, 0), by_key(lots, by)
        if by == "portfolio":
            explained = tuple(replace(row, key=str(owner)) for row in explained)
        contributed = total(row.contribution for row in explained)
        pnl, computed = chain.daily_pnl, trimmed(contributed or Decimal(0))
        differs = not fits(pnl, computed, chain.half_cents)
        cells = chain.cells(await check.expected_from(chain.chains, inputs)) if differs else ()
        return self._explanation(
            by,
            portfolio=owner,
            daily_pnl=pnl,
            computed_pnl=computed,
            rows=explained,
            cells=cells,
            **chain.around(self._last),
            unexplained=int(differs),
            examples=(UnexplainedPortfolio(owner, pnl, computed),) if differs else (),
        )

    def _rows(self, stored: StoredRows) -> Int64:
        """Return the complete rows of the range."""
        return np.flatnonzero(stored.complete & (stored.day >= self._first))

    async def several(self, by: str, readers: SessionPool) -> Explanation:
        """Return the explanation of several portfolios: sums by key.

        Closes are loaded while the first chunks load, and chunks while others are computed.
        """
        self._totals = Totals(self._policy, by)
        self._cancel, self._computing = CancelFlag(), asyncio.Lock()
        self._priced = asyncio.Event()
        chunks, whole = self._chunks(), self._selection.ids is None
        events = events_of(chunks, self._policy.catalog, self._select_events, whole=whole)
        todo = iter(chunks)
        try:
            await together(
                self._share_on(readers),
                *(self._lane(todo, events, by, readers) for _ in range(LANES)),
            )
        finally:
            self._cancel.set()
        return self._explanation(
            by,
            session=calendars.date_of(self._last),
            currencies=self._currencies,
            **self._totals.found(),
        )

    async def _share_on(self, readers: SessionPool) -> None:
        async with readers.lend("explain") as self._policy.session:
            await self._share()
            homes = await load(
                self._policy.session, select_homes(self._policy.catalog, self._selection)
            )
        works = self._ranges.last.state == State.VALUE
        of_rows = located(homes.id, np.ascontiguousarray(self._ranges.id[works])) >= 0
        self._currencies = several_currencies(homes.currency.take(of_rows))
        self._priced.set()

    async def _lane(
        self,
        chunks: Iterator[Chunk],
        events: GroupedLoad[EventsByPosition],
        by: str,
        readers: SessionPool,
    ) -> None:
        """Load and add chunks, one after the other, always the next one."""
        for chunk in chunks:
            if not chunk.works.any():
                continue
            async with readers.lend("explain") as session:
                ids, selection = self._ranges.id[chunk.rows], self._selection_of(chunk)
                ids = np.ascontiguousarray(ids[chunk.works])
                days, read = (self._first, self._last), self._policy.of_pnl
                query = stores.select_stored(self._policy.source, selection, days, read, ids)
                stored = await load(session, query)
                positions = await load(session, self._policy.select_positions(selection))
                of_group = await events.of(session, chunk)
                closed = await asyncio.to_thread(of_group.among, positions)
                symbols = positions.symbol.table() if by == "sector" else ()
                sectors = await self._sectors_of(session, symbols)
            book = Book(positions=positions, events=closed, flows=Flows.none())
            inputs, rows = Inputs(ids, book), self._rows(stored)
            await self._priced.wait()
            async with readers.lend("explain") as session:
                inputs = await self._policy.convert(session, inputs, selection)
            add = partial(self._totals.add, stored, rows, inputs, sectors, self._cancel)
            async with self._computing:
                await in_thread(add, self._cancel)

    def _chunks(self) -> list[Chunk]:
        """Return all portfolios in chunks."""
        policy, works = self._policy, self._ranges.last.state == State.VALUE
        size = policy.request.settings.chunk_size
        if size is None:
            sessions = max(len(policy.calendar.sessions(*self._within(self._first))), 1)
            held = plans.average_positions(policy.catalog.estimated_rows)
            # a contribution takes as much memory as its position
            size = min(plans.default_chunk_size(0, 2 * held), ROWS_OF_A_CHUNK // sessions)
            size = max(size, plans.LEAST_PORTFOLIOS)
        return [
            Chunk(number, slice(first, first + size), works[first : first + size])
            for number, first in enumerate(range(0, len(works), size))
        ]

    def _select_events(self, group: Chunk) -> Query[Events]:
        policy, selection = self._policy, self._selection_of(group)
        return select_events(policy.catalog, selection, deleted=policy.reads_deleted)

    def _selection_of(self, chunk: Chunk) -> Selection:
        """Return a range of ids if it selects little more than is needed."""
        ids, works = self._ranges.id[chunk.rows], chunk.works
        if self._selection.ids is None and works.sum() * 2 >= len(works):
            return Selection(np.ascontiguousarray(ids), as_range=True)
        return Selection(np.ascontiguousarray(ids[works]))
