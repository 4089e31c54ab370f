"""What the policy `legacy` says of stored snapshots (L1 to L34)."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore import reference as ref
from batchcore.audit import compare
from batchcore.audit import links as linking
from batchcore.audit.changes import Patterns
from batchcore.audit.compute import ByReference, Inputs, Natively
from batchcore.audit.rules import Rules, uuids_of
from batchcore.db.analytic_tables import POSITION_BETAS, PROFILES
from batchcore.db.legacy_tables import WRITTEN, check_tables
from batchcore.frames import Betas
from batchcore.native import build_host, build_market
from batchcore.policies.legacy import PREVIOUS_CLOSE_DAYS
from batchcore.reference import legacy
from batchcore.sources import stored as stores
from batchcore.sources.facts import select_events, select_flows
from batchcore.sources.positions import load_symbols, select_all_positions
from batchcore.sources.prices import load_legacy_closes
from batchcore.sources.profiles import select_newest_betas, select_spelt_profiles
from batchcore.sources.query import load
from batchcore.sources.stored import ANALYTIC, COUNTS, GREEKS, RULED, SHARES, Fact
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from batchcore.audit.compute import Computer
    from batchcore.audit.links import Expected, Links
    from batchcore.audit.rules import Chunk
    from batchcore.frames import Bools, Bytes, Int32, Int64
    from batchcore.native import Host, Market
    from batchcore.sources.host import Selection
    from batchcore.sources.portfolios import Portfolios
    from batchcore.sources.stored import Facts, OwnEquities, StoredRows


_NEVER_FILLED: Final = tuple(column for column in ANALYTIC if column not in compare.OF_DAY)
"""Columns of A4 to A6, which are NULL on every day (L31)."""

_SUMS: Final = ("total_value", "cash_value", *linking.CARRIED)

_BY_LOT: Final = (
    *("daily_pnl", "daily_realized_pnl", "long_value", "short_value"),
    *(*ANALYTIC, *COUNTS, *_SUMS, *GREEKS),
)


class Legacy(Rules):
    """The policy on the tables of a host."""

    computed = (*RULED, *(name for name in WRITTEN if name != SHARES), *_NEVER_FILLED)
    patterns = Patterns(
        price=_BY_LOT,
        flow=("daily_capital_flow", *ANALYTIC, *_SUMS),
        lot=_BY_LOT,
        exits=False,
    )
    of_first_row = ("daily_pnl",)
    sums = ("pnl", "realized_pnl", "capital_flow")
    by_chain = compare.BY_LEGACY_CHAIN
    by_value = compare.EXPOSURES
    by_quantity = compare.BY_QUANTITY

    stored_rules = stores.LEGACY
    shares = True
    _prices = ref.market(())
    _profiles: Mapping[str, legacy.Profile] = {}
    _native: tuple[Market, Host] | None = None
    _benchmark_since = 0

    def _look(self) -> None:
        check_tables(self.catalog, writes=False)
        self.columns = stores.readable(self.catalog, compare.ALL_COLUMNS)

    async def share(self, selection: Selection, first: int, last: int) -> None:
        """Load closes, profiles and since when there is a benchmark."""
        session, catalog = self.session, self.catalog
        symbols = await load_symbols(session, catalog, selection)
        spelt = {*symbols.table(), ""}
        self._benchmark_since = await load(session, stores.select_benchmark_since(catalog))
        if not self.fast:
            self._prices = await self.reader.legacy_closes(spelt)
            self._profiles = await self.reader.legacy_profiles(spelt)
            return
        start = max(first - PREVIOUS_CLOSE_DAYS, calendars.FIRST_DATE)
        closes = await load_legacy_closes(session, catalog, spelt, start, last)
        market = await asyncio.to_thread(build_market, closes, self.calendar.sessions(first, last))
        profiles = await load(session, select_spelt_profiles(catalog, spelt))
        # Rows with weights tell of a benchmark; `judge` leaves out those that tell of none.
        self._native = market, build_host(dt.date.max, profiles=profiles, has_benchmark=True)

    def previous(self, stored: StoredRows) -> tuple[Int64, ...]:
        """Return the latest row before each that stood when it was written, and that of today (L5).

        A row that was replaced keeps the time of its first writing, so that may be too early.
        """
        return linking.rows_that_stood(stored), linking.rows_before(stored)

    def _current(self, stored: StoredRows) -> Bools:
        return compare.is_analysed(stored, compare.OF_DAY)

    def _reads(self, current: Bools) -> dict[str, bool]:
        tables, any_current = {"profiles": PROFILES, "betas": POSITION_BETAS}, current.any()
        return {
            name: bool(any_current) and self.catalog.has_table(table)
            for name, table in tables.items()
        }

    async def _computer(
        self,
        ids: Bytes,
        selection: Selection,
        stored: StoredRows,
        current: Bools,
    ) -> Computer:
        if self._native is not None:
            (market, host), session, catalog = self._native, self.session, self.catalog
            window = int(stored.day.min()), int(stored.day.max())
            inputs = Inputs(
                ids,
                await load(session, select_all_positions(catalog, selection)),
                await load(session, select_events(catalog, selection, deleted=True)),
                await load(session, select_flows(catalog, selection, *window)),
                await load(session, select_newest_betas(catalog, selection))
                if current.any()
                else Betas.none(),
            )
            threads = self.request.settings.threads
            return Natively(market, inputs, self.computed, threads=threads, host=host)
        portfolios = await self.reader.legacy_portfolios(uuids_of(ids))
        scales = self.reader.scales

        def roll(
            portfolio: int, day: int, previous: tuple[Any, ...] | None, opening: Decimal, today: int
        ) -> legacy.Row | None:
            start = replace(portfolios[portfolio], equity_balance=opening)
            if previous is not None:
                start = replace(start, snapshots=(legacy.Snapshot(*previous),))
            shared = legacy.Shared(self._prices, (day,), today, profiles=self._profiles)
            rows = legacy.roll(start, shared, [day], scales).rows
            return rows[0] if rows else None

        return ByReference(roll, self.computed, shares=True)

    def opens(self, links: Links) -> Bools:
        """Return which rows go on from the column of the portfolio (L6).

        What it was then has been overwritten since.
        """
        equity = links.carried["equity_balance"]
        zero = (equity.state == State.VALUE) & (equity.values == 0)
        found: Bools = links.first | zero | (equity.state == State.NULL)
        return found

    def _judge_analytics(self, judged: compare.Judged, chunk: Chunk, expected: Expected) -> None:
        # Without active positions these columns are NULL on every day (L25).
        active = expected.cells["num_positions"].values > 0
        judged.leave_out("not_analysed", active & ~chunk.current[chunk.rows], compare.OF_DAY)

    def _judge_changes(self, judged: compare.Judged, chunk: Chunk, expected: Expected) -> None:
        """Leave out what L32 to L34 read of a state that has been overwritten since."""
        current = chunk.current[chunk.rows] & (expected.cells["num_positions"].values > 0)
        facts, written = chunk.facts, chunk.written

        def always(_: Int64, __: Facts, fact: Int64) -> Bools:
            return np.ones(len(fact), dtype=np.bool_)

        for reason, kind, columns in (
            ("position_edited", Fact.POSITION, compare.OF_DAY),
            ("profile_changed", Fact.PROFILE, compare.BY_PROFILE),
            ("beta_changed", Fact.BETA, ("beta_provider_1y",)),
        ):
            changed = written.changed(facts, facts.kind == kind, always)
            judged.leave_out(reason, current & changed, columns)
        weighed = compare.is_analysed(chunk.stored, compare.OF_WEIGHTS)[chunk.rows]
        since = current & ~weighed & (written.at < self._benchmark_since)
        judged.leave_out("benchmark_changed", since, compare.OF_WEIGHTS)

    def looks_back(self, links: Links, wrong: Bools) -> Int32:
        """Return the first day whose close may have counted in rows (L12, L26)."""
        back = links.day - PREVIOUS_CLOSE_DAYS
        back[compare.in_any(wrong, compare.EXPOSURES)] = calendars.FIRST_DATE
        return np.maximum(back, calendars.FIRST_DATE).astype(np.int32)

    def since(self, links: Links) -> Int32:
        """Return the day before: what is of no session is never picked up (L18)."""
        return links.day - 1

    async def own_equities(
        self,
        portfolios: Portfolios,  # the latest of each, which need not be the last
        at: Int64,
        selection: Selection,
    ) -> OwnEquities:
        """Return the equity of the snapshot that was written last (L7)."""
        ids = np.ascontiguousarray(portfolios.id[at])
        return await load(self.session, stores.select_last_run(self.catalog, selection, ids))
