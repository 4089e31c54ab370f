"""A run under the policy `legacy`: the same stages as any, with its own plan and loads (L1 to L34).

Each portfolio runs over all sessions of its range; rows that stand are passed over by the core,
session by session (L3), which also finds the row that each day goes on from (L5). So a chunk loads
all rows of its range, and nothing of the plan tells where a portfolio stands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore.db import load as loads
from batchcore.db import load_legacy
from batchcore.db.analytic_tables import Parts
from batchcore.db.ledger import Committed
from batchcore.db.legacy_queries import LegacyQueries
from batchcore.db.legacy_tables import WRITTEN, LegacyTables, check_tables
from batchcore.db.load import Existing
from batchcore.db.load_analytics import Returns
from batchcore.db.queries import Selection
from batchcore.db.save import Equities, encode_batch, stands_already
from batchcore.frames import (
    Betas,
    Days,
    Decimals,
    Issues,
    Opening,
    Previous,
    SnapshotAnalytics,
    Text,
)
from batchcore.native import build_host, build_market
from batchcore.run import plan as plans
from batchcore.run.plan import Plan
from batchcore.run.prepare import Preparation, Prepared, Prices
from batchcore.run.result import Coverage
from batchcore.run.stages import Computed, Facts, Loaded, Stages
from batchcore.run.threads import in_thread
from batchcore.units import State

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchcore.db.catalog import Catalog
    from batchcore.db.engine import Session
    from batchcore.db.load_legacy import LegacyPortfolios
    from batchcore.frames import FloatObjects, Rows
    from batchcore.run.plan import Chunk
    from batchcore.run.request import Request

PREVIOUS_CLOSE_DAYS: Final = 10
"""How many calendar days before a session its previous close may be (L12)."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class LegacyPlan(Plan):
    """A plan whose portfolios pass over the sessions that have a complete row.

    Attributes:
        stands: (n,) int64, how many these are.
    """

    stands: npt.NDArray[np.int64]

    def sessions_planned(self) -> npt.NDArray[np.int32]:
        """Return for each portfolio how many sessions are to be written."""
        inside = Plan.sessions_planned(self)
        planned: npt.NDArray[np.int32] = np.maximum(inside - self.stands, 0).astype(np.int32)
        return planned


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class LegacyPrepared(Prepared):
    """What all chunks share.

    Attributes:
        queries: On the tables of the host.
        tables: What the policy finds of these.
        today: The first day that is current (L29).
    """

    queries: LegacyQueries
    tables: LegacyTables
    today: int


class LegacyPreparation(Preparation):
    """Loads what all chunks share, and refuses what must not begin."""

    queries: LegacyQueries

    async def prepare(self) -> LegacyPrepared:
        """Return what all chunks share.

        Raises:
            ConfigError: an argument does not fit the calendar, or names an unknown portfolio.
            SchemaError: the database is not one that batchcore can work on.
            SnapshotExistsError: one stands where none may.
        """
        async with self.readers.lend("check") as reader:
            self.queries = LegacyQueries(await self._inspect(reader))
            await reader.enter("load")
            with self.monitor.phase("load"):
                self._begin_with_symbols()
                self.calendar = await self._calendar(reader)
                self.days = self._range()
                self.today = self._today()
                self.entries = await self._inception(reader)
                portfolios = await self._legacy_portfolios(reader)
                plan = self._legacy_plan(portfolios)
                await self._look_for_history(reader, plan)
        self._planned.set_result(plan)
        self._refuse_no_sessions(portfolios)
        self._look_at_currencies(portfolios.currency, plan)
        return LegacyPrepared(
            queries=self.queries,
            parts=Parts("none"),
            calendar=self.calendar,
            days=self.days,
            plan=plan,
            chunks=plans.chunks(plan, self._chunk_size(plan)),
            names=tuple(portfolios.name.texts()),
            refused=self._has_no_sessions() & ~portfolios.deleted,
            tables=self.tables,
            today=self.today,
        )

    @classmethod
    def _checked(cls, catalog: Catalog, request: Request) -> LegacyTables:
        return check_tables(catalog, writes=not request.settings.dry_run)

    def _check(self, catalog: Catalog, request: Request) -> None:
        self.tables = self._checked(catalog, request)

    def _sessions(self) -> npt.NDArray[np.int32]:
        """Return the sessions of a range with a start; without one, none."""
        if self.days.start is None:
            return np.zeros(0, dtype=np.int32)
        return self.calendar.sessions(self.days.start, self.days.end)

    def _has_no_sessions(self) -> bool:
        return self.days.start is not None and len(self._sessions()) == 0

    async def _legacy_portfolios(self, reader: Session) -> LegacyPortfolios:
        wanted = self.request.wanted
        portfolios = await load_legacy.load_legacy_portfolios(
            reader, self.queries, Selection(wanted), self._sessions()
        )
        self.monitor.loaded(portfolios=len(portfolios.id))
        self.selection = Selection(wanted)
        if wanted is not None:
            plans.check_found(wanted, portfolios.id)
            self.selection = Selection(np.ascontiguousarray(portfolios.id[~portfolios.deleted]))
        for row in np.flatnonzero(portfolios.deleted).tolist():
            self.issues.add_one("soft_deleted", row, "")
        return portfolios

    def _legacy_plan(self, portfolios: LegacyPortfolios) -> LegacyPlan:
        days, count = self.days, len(portfolios.id)
        committed = self.request.committed or Committed()
        if self.request.on_existing == "error":
            _refuse_existing(portfolios, committed, inception=self.request.inception)
        first_day = np.full(count, days.end if days.start is None else days.start, dtype=np.int32)
        if days.start is None:
            latest = portfolios.latest
            goes_on = latest.state == State.VALUE
            first_day[goes_on] = latest.values[goes_on] + 1
            if self.entries is not None:
                row = loads.located(portfolios.id, self.entries.ids)
                begins = (row >= 0) & (~goes_on | self.request.replaces)
                first_day[begins] = self.entries.day[row[begins]]
        last_day = np.full(count, days.end, dtype=np.int32)
        stands = portfolios.stands
        idle = portfolios.deleted  # skipped (L1), as those are whose rows all stand (L3)
        if self.request.replaces:
            if days.start is not None:
                written = stands >= len(self._sessions())
                idle = idle | (committed.done(portfolios.id) & written)
            stands = np.zeros(count, dtype=np.int64)
        if days.start is not None:
            idle = idle | (stands >= len(self._sessions()))
        last_day[idle] = plans.NEVER
        busy = first_day <= last_day
        sessions = np.zeros(0, dtype=np.int32)
        if busy.any():
            sessions = self.calendar.sessions(int(first_day[busy].min()), days.end)
        return LegacyPlan(
            id=portfolios.id,
            first_day=first_day,
            last_day=last_day,
            sessions=sessions,
            goes_on=np.zeros(count, dtype=np.bool_),
            previous=Previous.none(),
            opening=Opening(
                portfolio_id=portfolios.id,
                equity=portfolios.equity_balance,
                first_day=first_day,
                last_day=last_day,
            ),
            latest_day=portfolios.latest,
            latest_equity=Decimals.nulls(count),
            deleted=portfolios.deleted,
            price_first=int(sessions[0]) if len(sessions) else 0,
            price_last=int(sessions[-1]) if len(sessions) else 0,
            is_whole=self.request.wanted is None,
            stands=stands,
        )

    def _refuse_no_sessions(self, portfolios: LegacyPortfolios) -> None:
        """Report each date of a range that has no session at all, for each portfolio (L2)."""
        if not self._has_no_sessions():
            return
        start, end = int(self.days.start or 0), self.days.end
        dates = np.arange(start, end + 1, dtype=np.int32)
        alive = np.flatnonzero(~portfolios.deleted).astype(np.int32)
        rows = len(alive) * len(dates)
        self.issues.add(
            Issues(
                name=Text.constant("no_session", rows),
                portfolio=np.repeat(alive, len(dates)),
                symbol=Text.constant(None, rows),
                day=Days(np.tile(dates, len(alive))),
                detail=Text.constant("", rows),
            )
        )

    async def _look_ahead(self, reader: Session) -> None:
        """Load nothing: closes are looked up as symbols are spelt on positions (L12)."""

    async def _prices(self, reader: Session, plan: Plan, symbols: Text) -> Prices:
        spelt = {*symbols.table(), ""}
        first = max(plan.price_first - PREVIOUS_CLOSE_DAYS, calendars.FIRST_DATE)
        closes = await load_legacy.load_legacy_closes(
            reader, self.queries, spelt, first, plan.price_last
        )
        self.monitor.loaded(prices=len(closes))
        self.issues.add_ambiguous(reader.ambiguous)
        build = partial(
            build_market,
            closes,
            plan.sessions,
            policy="legacy",
            lookback_days=self.settings.lookback_days,
            cancel=self.cancel,
        )
        market = await in_thread(build, self.cancel)
        profiles, has_benchmark = None, False
        if plan.price_last >= self.today:
            profiles = await load_legacy.load_spelt_profiles(reader, self.queries, spelt)
            self.monitor.loaded(profiles=0 if profiles is None else len(profiles))
            has_benchmark = await load_legacy.load_has_benchmark(reader, self.queries)
        source = self.request.price_source
        cached = None if source is None else source.to_frame()
        if cached is not None:
            self.monitor.loaded(cached=len(cached))
        host = build_host(
            calendars.date_of(self.today),
            profiles=profiles,
            cached=cached,
            has_benchmark=has_benchmark,
        )
        return Prices(market, Coverage.none(), None, host)

    def _today(self) -> int:
        """Return the first day that is current (L29)."""
        if self.settings.today is not None:
            return calendars.day_of(self.settings.today)
        return self.calendar.local_date(self.request.now)


def _refuse_existing(
    portfolios: LegacyPortfolios, committed: Committed, *, inception: bool
) -> None:
    own = committed.covers(portfolios.id)  # rows that the run itself has written
    stored = portfolios.stands > 0
    first = portfolios.first_stands.values
    if inception:
        stored, first = portfolios.latest.state == State.VALUE, portfolios.latest.values
    stands = np.flatnonzero(stored & ~portfolios.deleted & ~own)
    if len(stands) > 0:
        row = int(stands[0])
        day = int(first[row])
        raise plans.existing_error(portfolios.id[row], day, len(stands))


class LegacyStages(Stages):
    """The stages that each chunk of a run goes through."""

    prepared: LegacyPrepared
    reads_deleted: ClassVar = True

    async def load(self, reader: Session, chunk: Chunk) -> Loaded:
        """Return the rows of a chunk."""
        if not chunk.works.any():
            return Loaded(chunk, _no_rows(), None)
        with self.monitor.phase("load"):
            return await self._loaded(reader, chunk)

    async def _loaded(self, reader: Session, chunk: Chunk) -> Loaded:
        queries, selection = self.prepared.queries, self._selection(chunk, chunk.works)
        first, last = self._flow_window(chunk)
        stored = await load_legacy.load_stored(reader, queries, selection, first, last)
        positions = await load_legacy.load_all_positions(reader, queries, selection)
        events = await self.events(reader, chunk, positions)
        flows = await self.flows(reader, chunk)
        betas = Betas.none()
        if self.plan.price_last >= self.prepared.today:
            betas = await load_legacy.load_betas(reader, queries, selection)
        self.monitor.loaded(
            stored=len(stored),
            positions=len(positions),
            events=len(events),
            flows=len(flows),
            betas=len(betas),
        )
        existing = Existing(stored.portfolio_id, stored.day, stored.is_complete)
        if self.request.replaces:
            outside = (stored.day < first) | (stored.day > last)
            stored = replace(stored, is_complete=stored.is_complete & outside)
        facts = Facts(positions, events, flows, stored, Returns.none(), betas)
        return Loaded(chunk, existing, facts)

    def _flow_window(self, chunk: Chunk) -> tuple[int, int]:
        """Return the days of the sessions of a chunk."""
        rows, works = chunk.rows, chunk.works
        first = int(self.plan.first_day[rows][works].min())
        return first, int(self.plan.last_day[rows][works].max())

    def _encoded(
        self,
        loaded: Loaded,
        opening: Opening,
        rows: Rows,
        *_: object,  # analytics, which the policy has none of
    ) -> Computed:
        existing, ids, tables = loaded.existing, opening.portfolio_id, self.prepared.tables
        batch = encode_batch(
            rows,
            ids,
            stands_already(rows, ids, existing.portfolio_id, existing.day),
            _last_equities(rows, ids),
            self.stamp(),
            analytics=SnapshotAnalytics(own_columns(rows)),
            jsonb=tables.jsonb,
            cleared=tables.cleared,
            defaulted=tables.defaulted,
            cancel=self.cancel,
        )
        return Computed(loaded.chunk, (batch,), rows, ())

    def notice(self, chunk: Chunk, existing: Existing) -> tuple[Issues, ...]:  # noqa: ARG002  # of its base
        """Report nothing: rows that stand are passed over without a word (L3)."""
        return ()

    async def only_notice(self, reader: Session) -> None:
        """Report nothing, likewise."""


def own_columns(rows: Rows) -> dict[str, Decimals | FloatObjects]:
    """Return the columns beside those of every run, by name."""
    return {name: getattr(rows.legacy, name) for name in WRITTEN}


def _last_equities(rows: Rows, ids: npt.NDArray[np.uint8]) -> Equities:
    """Return the equity of the last day that each portfolio wrote, in order or not (L7)."""
    wrote = np.flatnonzero(rows.written > 0)
    last = np.cumsum(rows.written)[wrote] - 1
    return Equities(np.ascontiguousarray(ids[wrote]), rows.equity_cents[last])


def _no_rows() -> Existing:
    nobody = Previous.none()
    return Existing(nobody.portfolio_id, nobody.day, nobody.is_complete)
