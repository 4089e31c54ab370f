"""What all chunks of a run share: its plan, its prices, and what must be refused before it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore.db import load as loads
from batchcore.db.analytic_queries import AnalyticQueries
from batchcore.db.analytic_tables import check_parts
from batchcore.db.catalog import check_revision, inspect
from batchcore.db.change_queries import ChangeQueries, StampQueries
from batchcore.db.load_changes import Stamps, load_stamps
from batchcore.db.queries import Boundaries, Part, Selection
from batchcore.errors import ConfigError, CoverageError
from batchcore.frames import among, distinct
from batchcore.native import CancelFlag, build_market
from batchcore.run import plan as plans
from batchcore.run.analytic_inputs import load_analysis, return_sessions
from batchcore.run.changes import find_affected
from batchcore.run.completeness import Completeness, latest_closes, spellings
from batchcore.run.prices import Window, load_closes
from batchcore.run.regressions import extra_symbols
from batchcore.run.result import Coverage
from batchcore.run.snapshots import with_snapshots
from batchcore.run.threads import in_thread
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import numpy.typing as npt

    from batchcore.calendar import Calendar
    from batchcore.db.analytic_tables import Parts
    from batchcore.db.catalog import Catalog
    from batchcore.db.engine import Session
    from batchcore.db.load import Holes, Portfolios
    from batchcore.db.sessions import Sessions
    from batchcore.frames import Prices as Closes
    from batchcore.frames import Text
    from batchcore.native import Host, Market
    from batchcore.run.analyse import Analysis
    from batchcore.run.changes import Affected
    from batchcore.run.issues import IssueList
    from batchcore.run.monitor import Monitor
    from batchcore.run.plan import Chunk, Plan, Range
    from batchcore.run.request import Request

    Columns = dict[str, Any]

MANY: Final = 50_000
"""Portfolios from which on both reading sessions load them; a half takes a quarter second then."""

log = logging.getLogger("batchcore")


class Offer:
    """A part of a load that another session may take, as long as nobody has."""

    def __init__(self, load: Callable[[Session], Awaitable[Columns]]) -> None:
        """Take what loads it on a session."""
        self._load = load
        self._found: asyncio.Future[Columns] | None = None

    async def take(self, session: Session) -> None:
        """Load it, unless it is loaded elsewhere."""
        if self._found is not None:
            return
        self._found = asyncio.get_running_loop().create_future()
        columns = await self._load(session)
        if not self._found.done():  # who waited for it may have been cancelled
            self._found.set_result(columns)

    async def found(self, session: Session) -> Columns:
        """Return what was loaded; if nobody has begun, it is loaded here."""
        if self._found is not None:
            return await self._found
        self._found = asyncio.get_running_loop().create_future()  # nobody is to begin now
        return await self._load(session)


@dataclass(frozen=True, eq=False, slots=True)
class Prices:
    """The prices of a run, and where portfolios stood before it.

    Attributes:
        market: Closes, marked on the sessions of the plan.
        coverage: Of the sessions that were checked (S12).
        analysis: None where nothing is analysed.
        host: What the policy `legacy` reads beside the frames of a chunk.
    """

    market: Market
    coverage: Coverage
    analysis: Analysis | None
    host: Host | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Prepared:
    """What all chunks share.

    Attributes:
        queries: On the tables of the host.
        parts: What of the analytics is done.
        calendar: That of the run.
        days: Its range.
        plan: What each portfolio writes.
        chunks: In the order of ids.
        names: Of its portfolios, where errors tell them.
        refused: (n,) bool, portfolios that fail before anything is computed; None is none.
        stamps: Of a plan, how the host keeps the time stamps of its tables.
    """

    queries: AnalyticQueries
    parts: Parts
    calendar: Calendar
    days: Range
    plan: Plan
    chunks: list[Chunk]
    names: tuple[str | None, ...] = ()
    refused: npt.NDArray[np.bool_] | None = None
    stamps: tuple[Stamps, ...] = ()


class Preparation:
    """Loads what all chunks share, and refuses what must not begin.

    `prepare` comes first; `prices` may run while chunks are loaded, but none may be computed
    before it has returned.
    """

    def __init__(
        self,
        readers: Sessions,
        request: Request,
        issues: IssueList,
        monitor: Monitor,
        tasks: asyncio.TaskGroup,
        *,
        catalog: Catalog | None = None,
    ) -> None:
        """Take what a run has.

        Args:
            readers: Sessions that see the same moment.
            request: What was asked for.
            issues: Where to report.
            monitor: Where to count.
            tasks: Where to load side by side.
            catalog: The host's tables, where they were looked at already.
        """
        self.readers = readers
        self.tasks = tasks
        self.catalog = catalog
        self.request = request
        self.selection = Selection(request.wanted)
        self._planned: asyncio.Future[Plan] = asyncio.get_running_loop().create_future()
        self._beside: asyncio.Task[Prices | None] | None = None
        self._stored: Text | None = None
        self.entries: Boundaries | None = None
        self._part: asyncio.Future[Offer | None] = asyncio.get_running_loop().create_future()
        self.settings = request.settings
        self.issues = issues
        self.monitor = monitor
        self.cancel = CancelFlag()

    async def prepare(self) -> Prepared:
        """Return what all chunks share.

        Raises:
            ConfigError: an argument does not fit the calendar, or names an unknown portfolio.
            SchemaError: the database is not one that batchcore can work on.
            CoverageError: the prices of a session have not arrived (S12).
            SnapshotExistsError: one stands where none may (S13).
        """
        async with self.readers.lend("check") as reader:
            catalog = await self._inspect(reader)
            self.queries = AnalyticQueries(catalog)
            await reader.enter("load")
            with self.monitor.phase("load"):
                self._begin_with_symbols()
                self.calendar = await self._calendar(reader)
                self.days = self._range()
                self.entries = await self._inception(reader)
                holes = await self._holes(reader)
                affected = await self._affected(reader)
                portfolios = await self._portfolios(reader, holes, affected)
                plan = self._plan(portfolios, holes, affected)
                await self._look_for_history(reader, plan)
                stamps: tuple[Stamps, ...] = ()
                if self.request.only_plans:
                    stamps = await load_stamps(reader, StampQueries(catalog))
        self._planned.set_result(plan)
        self._look_at_currencies(portfolios.currency, plan)
        return Prepared(
            queries=self.queries,
            parts=self.parts,
            calendar=self.calendar,
            days=self.days,
            plan=plan,
            chunks=plans.chunks(plan, self._chunk_size(plan)),
            stamps=stamps,
        )

    def request_again(self, ids: npt.NDArray[np.uint8]) -> Request:
        """Return the request of this run for some of its portfolios, at a later moment.

        Its dates are those of the run, and no session is held up again (S12).
        """
        return replace(
            self.request,
            end=calendars.date_of(self.days.end),
            wanted=np.ascontiguousarray(ids),
            known_calendar=self.calendar,
            settings=replace(self.settings, min_coverage=0.0),
            snapshot_source=None,
        )

    async def _inspect(self, reader: Session) -> Catalog:
        """Return the host's tables, found fit for a run."""
        catalog = self.catalog
        if catalog is None:
            catalog = await self.inspected(reader, self.request)
        self._check(catalog, self.request)
        return catalog

    @classmethod
    async def inspected(cls, reader: Session, request: Request) -> Catalog:
        """Return the host's tables, found fit for a run.

        Raises:
            SchemaError: the database is not one that batchcore can work on.
        """
        catalog = await inspect(reader, request.settings.schema)
        cls._checked(catalog, request)
        await check_revision(reader, catalog)
        return catalog

    def _chunk_size(self, plan: Plan) -> int:
        """Return how many portfolios a chunk has: what was asked for, or what memory allows."""
        if self.settings.chunk_size is not None:
            return self.settings.chunk_size
        rows = self.queries.catalog.estimated_rows
        held, holders = rows.get("positions"), rows.get("portfolios")
        positions = held / holders if held and holders else plans.POSITIONS
        return plans.default_chunk_size(len(plan.sessions), positions)

    @classmethod
    def _checked(cls, catalog: Catalog, request: Request) -> Any:  # noqa: ANN401  # by policy
        return check_parts(catalog, request.analytics, writes=not request.settings.dry_run)

    def _check(self, catalog: Catalog, request: Request) -> None:
        self.parts = self._checked(catalog, request)

    def _begin_with_symbols(self) -> None:
        """Load symbols, then prices, beside portfolios, where there is a session for it."""
        everyone = self.request.wanted is None and self.request.changed_since is None
        if everyone and self.readers.several:
            self._beside = self.tasks.create_task(self._priced(self._planned, ahead=True))

    async def _priced(self, planned: asyncio.Future[Plan], *, ahead: bool = False) -> Prices | None:
        """Return the prices of a plan; `ahead` of it symbols and spellings are loaded."""
        async with self.readers.lend("load") as reader:
            with self.monitor.phase("load"):
                symbols = await loads.load_symbols(reader, self.queries, self.selection)
                self.monitor.loaded(symbols=len(symbols))
                if ahead:
                    await self._look_ahead(reader)
            plan = await planned
            if not plan.works().any():
                return None
            with self.monitor.phase("load"):
                return await self._prices(reader, plan, symbols)

    async def _look_ahead(self, reader: Session) -> None:
        """Load what is of use for the prices of any plan, and a part of many portfolios."""
        if self.request.price_source is None:
            self._stored = await loads.load_spellings(reader, self.queries)
        offer = await self._part
        if offer is not None:
            await offer.take(reader)

    async def _calendar(self, reader: Session) -> Calendar:
        if self.request.known_calendar is not None:
            return self.request.known_calendar
        return calendars.from_price_dates(await loads.load_price_dates(reader, self.queries))

    def _range(self) -> Range:
        start, end = self.request.start, self.request.end
        if self.request.only_rewrites:
            start = None  # bounds what is rewritten, portfolio by portfolio
        last = self.last_closed(self.request) if end is None else calendars.day_of(end)
        first = None if start is None else calendars.day_of(start)
        if first is not None and first > last:
            msg = (
                f"start {calendars.date_of(first)} is after the last session closed,"
                f" {calendars.date_of(last)}"
            )
            raise ConfigError(msg, "start")
        if first is None:
            last = self.calendar.last_on_or_before(last)
        else:
            self.calendar.sessions(first, last)  # raises beyond the calendar
        return plans.Range(first, last)

    def last_closed(self, request: Request) -> int:
        """Return the last session closed by what "now" is for a request."""
        if request.settings.today is None:
            return self.calendar.last_closed(request.now)
        return self.calendar.last_on_or_before(calendars.day_of(request.settings.today))

    async def _inception(self, reader: Session) -> Boundaries | None:
        """Return the earliest entry of each portfolio where the range begins with it."""
        if not self.request.inception:
            return None
        return await self._earliest_entries(reader, Selection(self.request.wanted))

    async def _earliest_entries(self, reader: Session, selection: Selection) -> Boundaries:
        """Return the earliest entry of each portfolio that has one, within the calendar."""
        entries = await loads.load_earliest_entries(reader, self.queries, selection)
        self.monitor.loaded(earliest_entries=len(entries.day))
        return Boundaries(entries.ids, np.maximum(entries.day, np.int32(self.calendar.first_day)))

    async def _look_for_history(self, reader: Session, plan: Plan) -> None:
        """Report portfolios without a snapshot whose earlier sessions nothing asked for."""
        request = self.request
        if request.start is not None or request.inception or request.only_rewrites:
            return
        row = plans.without_history(plan)
        if len(row) == 0:
            return
        ids = np.ascontiguousarray(plan.id[row])
        entries = await self._earliest_entries(reader, Selection(ids))
        row = row[loads.located(entries.ids, ids)]
        first = self.calendar.next_sessions(entries.day)
        early = first < plan.first_day[row]
        portfolio = row[early].astype(np.int32)
        details = [
            f"earliest entry {calendars.iso_of(day)}; start with `inception` to value it from there"
            for day in entries.day[early].tolist()
        ]
        self.issues.add_each("no_history", portfolio, plan.first_day[portfolio], details)

    async def _holes(self, reader: Session) -> Holes | None:
        """Return the holes of the chains where what is missing was asked for."""
        days = self.days
        if not self.request.missing or (days.start is not None and not self.request.replaces):
            return None  # with a start, what stands in the range tells its gaps
        selection = Selection(self.request.wanted)
        holes = await loads.load_holes(
            reader, self.queries, self.calendar, selection, days.start, days.end
        )
        self.monitor.loaded(holes=len(holes.earliest))
        return holes

    async def _affected(self, reader: Session) -> Affected | None:
        """Return what changes of the host affect; None in an ordinary run."""
        start, since = self.request.start, self.request.changed_since
        if since is None:
            return None
        return await find_affected(
            reader,
            ChangeQueries(self.queries.catalog, since),
            self.calendar,
            Selection(self.request.wanted),
            None if start is None else calendars.day_of(start),
            self.monitor,
        )

    async def _portfolios(
        self, reader: Session, holes: Holes | None, affected: Affected | None
    ) -> Portfolios:
        wanted, boundary = self.request.wanted, self.days.boundary
        self.selection = Selection(wanted)
        self.is_whole = wanted is None
        own = self.entries
        if holes is not None and self.request.replaces:
            day = plans.rewrites(holes, self.calendar, self.days)
            has = day.state == State.VALUE
            own = Boundaries(holes.portfolio_id[has], day.values[has])
        elif affected is not None:
            own = affected.boundaries() if len(affected.id) else None
            if affected.everyone_from is not None:
                boundary = affected.everyone_from
            elif wanted is None:
                self.selection, self.is_whole = Selection(affected.id), False
        portfolios = await self._load_portfolios(reader, boundary, own)
        self.monitor.loaded(portfolios=len(portfolios))
        if self.request.snapshot_source is not None:
            given = self.request.snapshot_source.to_frame()
            portfolios = with_snapshots(portfolios, given, self.calendar, self.days.boundary)
        if wanted is not None:
            plans.check_found(wanted, portfolios.id)
            self.selection = Selection(np.ascontiguousarray(portfolios.id[~portfolios.deleted]))
        for row in np.flatnonzero(portfolios.deleted).tolist():
            self.issues.add_one("soft_deleted", row, "")
        return portfolios

    async def _load_portfolios(
        self, reader: Session, boundary: int, own: Boundaries | None
    ) -> Portfolios:
        """Return the portfolios; of many, the other reading session loads a part."""
        load = partial(loads.load_part, queries=self.queries, calendar=self.calendar)
        load = partial(load, boundary=boundary, selection=self.selection)
        estimated = self.queries.catalog.estimated_rows.get("portfolios", 0)
        if self._beside is None or own is not None or estimated < MANY:
            split = None
        else:
            split = await loads.load_split(reader, self.queries)
        if split is None:
            self._part.set_result(None)
            return await loads.load_portfolios(
                reader, self.queries, self.calendar, boundary, self.selection, own
            )
        upper = Offer(partial(load, part=Part(split, is_lower=False)))
        self._part.set_result(upper)
        lower = await load(reader, part=Part(split, is_lower=True))
        return loads.portfolios_of(lower, await upper.found(reader))

    def _plan(self, portfolios: Portfolios, holes: Holes | None, affected: Affected | None) -> Plan:
        """Return the plan; holes are filled under `replace`, else reported (S13)."""
        rewrite = None
        if self.entries is not None:
            replaces = self.request.replaces
            rewrite = plans.from_inception(portfolios, self.entries, replaces=replaces)
        elif affected is not None:
            rewrite = affected.rewritten(portfolios)
        elif holes is not None and self.request.replaces:
            rewrite = plans.rewritten(portfolios.id, holes, self.calendar, self.days)
        elif holes is not None:
            noticed = plans.noticed_holes(portfolios.id, holes)
            self.issues.add_noticed("gap", noticed, 0, "sessions")
        plan = plans.make_plan(
            portfolios,
            self.calendar,
            self.days,
            self.request.on_existing,
            rewrite,
            only_rewrite=affected is not None,
            is_whole=self.is_whole,
            committed=self.request.committed,
            inception=self.request.inception,
        )
        if affected is not None and not plan.works().all():
            self.selection = Selection(np.ascontiguousarray(plan.id[plan.works()]))
        return plan

    def _look_at_currencies(self, currency: Text, plan: Plan) -> None:
        """Report portfolios of several currencies: prices are taken to be in each's own (S1)."""
        names = currency.table()
        codes = distinct(currency.codes[plan.works() & (currency.state == State.VALUE)])
        found = sorted({names[code].strip() for code in codes.tolist()})
        if len(found) > 1:
            listed = ", ".join(found)
            log.warning("run=%s currencies=%s", self.monitor.run_id, ",".join(found))
            self.issues.add_one("currencies", -1, listed)

    async def prices(self) -> Prices | None:
        """Return the prices of the run; None where nothing is to be written.

        Raises:
            CoverageError: those of a session have not arrived (S12).
        """
        if self._beside is None:
            return await self._priced(self._planned)
        return await self._beside

    async def _prices(self, reader: Session, plan: Plan, symbols: Text) -> Prices:
        lookback = self.settings.lookback_days
        level = "none" if self.request.only_plans else self.parts.level
        days = return_sessions(plan, self.calendar, level)
        first = min([plan.price_first - lookback, *days[:1].tolist()])
        first = max(first, calendars.FIRST_DATE)
        window = Window(first, plan.price_first, plan.price_last)
        closes = await load_closes(
            reader,
            self.queries,
            (*symbols.table(), *extra_symbols(level)),
            window,
            source=self.request.price_source,
            monitor=self.monitor,
            stored=self._stored,
        )
        self.issues.add_ambiguous(reader.ambiguous)
        build = partial(
            build_market,
            closes,
            plan.sessions,
            policy=self.request.policy,
            lookback_days=lookback,
            cancel=self.cancel,
        )
        market = await in_thread(build, self.cancel)
        self.issues.add(market.issues)
        if self.request.only_plans:
            await self._tell_what_lacks(reader, plan, symbols, closes)
        coverage = await self._coverage(reader, plan, market, symbols)
        if level == "none":
            return Prices(market, coverage, None)
        analysis = await load_analysis(
            reader,
            self.queries,
            self.parts,
            market=market,
            symbols=symbols,
            days=days,
            monitor=self.monitor,
            threads=self.settings.threads,
            beta_weights=self.request.beta_weights,
        )
        for detail in analysis.unreadable:
            self.issues.add_one("not_representable", -1, detail)
        return Prices(market, coverage, analysis)

    async def _tell_what_lacks(
        self, reader: Session, plan: Plan, symbols: Text, closes: Closes
    ) -> None:
        """Report sessions, symbols and portfolios without prices before anything is computed."""
        sessions = plan.sessions[plan.sessions_run()]
        latest = await asyncio.to_thread(latest_closes, symbols, closes, sessions)
        if not latest.symbols:
            return
        names = spellings(symbols, latest)
        held = await loads.load_held(reader, self.queries, self.selection, names)
        self.monitor.loaded(held=len(held.start))
        lookback = self.settings.lookback_days
        found = await asyncio.to_thread(Completeness, plan, held, latest, lookback)
        self.issues.add_told("stale", found.symbols(unpriced=False))
        self.issues.add_told("unpriced", found.symbols(unpriced=True))
        self.issues.add_told("lacks_prices", found.sessions())
        self.issues.add_told("lacks_prices", found.portfolios())

    async def _coverage(
        self, reader: Session, plan: Plan, market: Market, symbols: Text
    ) -> Coverage:
        """Return the coverage of each session; refuse those whose prices have not arrived (S12)."""
        fresh, recent, known = market.coverage(symbols)
        checked = plan.sessions_run()
        if self.calendar.code == calendars.DAILY:
            priced = await loads.load_price_dates(reader, self.queries)
            checked = checked & among(plan.sessions, priced)
        coverage = Coverage(plan.sessions[checked], fresh[checked], recent[checked], known[checked])
        share = coverage.share()
        low = np.flatnonzero(share < self.settings.min_coverage)
        if len(low) == 0 or self.request.only_plans:
            return coverage
        row = int(low[0])
        session = calendars.date_of(int(coverage.session[row])).isoformat()
        least = self.settings.min_coverage
        msg = (
            f"prices of {session} have not arrived: {coverage.told(row)}, {float(share[row]):.1%},"
            f" expected {least:.1%} (min_coverage); {len(low)} sessions are below it"
        )
        raise CoverageError(msg, session, float(share[row]), least)
