"""What the analytics of a run need: which sessions and symbols, and what is loaded for them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.analytics.windows import LOOK
from batchcore.frames import distinct
from batchcore.run.analyse import PAST_RETURNS, Analysis
from batchcore.run.regressions import Regressions
from batchcore.sinks.analytics import ChunkTables
from batchcore.sources.factors import rows_exist, select_factors
from batchcore.sources.host import Selection
from batchcore.sources.profiles import load_profiles
from batchcore.sources.query import load
from batchcore.sources.snapshots import select_returns
from batchcore.units import FACTOR_ETFS

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchcore.calendar import Calendar
    from batchcore.db.analytic_tables import Parts
    from batchcore.db.catalog import Catalog
    from batchcore.db.engine import Session
    from batchcore.frames import Text
    from batchcore.native import Market
    from batchcore.run.analyse import Analysed
    from batchcore.run.monitor import Monitor
    from batchcore.run.plan import Chunk, Plan
    from batchcore.sources.snapshots import Returns

    Int32 = npt.NDArray[np.int32]

log: Final = logging.getLogger("batchcore")


def last_sessions(plan: Plan) -> Int32:
    """Return the last session of each portfolio, (n,) int32; of those without any, a lower day."""
    last = np.searchsorted(plan.sessions, plan.last_day, side="right") - 1
    session = plan.sessions[np.maximum(last, 0)]
    return np.where(plan.works(), session, np.iinfo(np.int32).min).astype(np.int32)


def return_sessions(plan: Plan, calendar: Calendar, level: str) -> Int32:
    """Return the sessions whose closes the analytics of a level read, (d,) int32, ascending.

    Those that regressions (A5) look at up to each session analysed, and one more, as the first
    return is that of the second of them.
    """
    if level == "none":
        return np.zeros(0, dtype=np.int32)
    analysed = plan.sessions[plan.sessions_run()]
    if level != "every":
        analysed = distinct(last_sessions(plan)[plan.works()])
    first = calendar.last_sessions(int(analysed[0]), LOOK + 1)
    return calendar.sessions(int(first[0]), int(analysed[-1]))


async def load_analysis(
    reader: Session,
    catalog: Catalog,
    parts: Parts,
    *,
    market: Market,
    symbols: Text,
    days: Int32,
    monitor: Monitor,
    threads: int | None,
    beta_weights: str,
) -> Analysis:
    """Return the analysis of a run, with profiles and factors where it needs them.

    Args:
        reader: In the transaction of the run.
        catalog: The host's tables.
        parts: What is to be done.
        market: Of the run.
        symbols: Of its positions, as spelt.
        days: Of `return_sessions`.
        monitor: Of the run.
        threads: Of native calls.
        beta_weights: One of `BETA_WEIGHTS`.
    """
    for part, reason in parts.off.items():
        log.warning("run=%s analytics_off=%s reason=%r", monitor.run_id, part, reason)
    spellings = symbols.table()
    regressions = await asyncio.to_thread(Regressions, market, spellings, days, parts.level)
    profiles = factors = None
    if parts.profiles:
        profiles = await load_profiles(reader, catalog, regressions.symbols)
        monitor.loaded(profiles=profiles.found)
    if parts.factors:
        factors = await load(reader, select_factors(catalog, FACTOR_ETFS))
        monitor.loaded(factors=len(factors.id))
        for part, reason in factors.off.items():
            log.warning("run=%s analytics_off=%r reason=%r", monitor.run_id, part, reason)
    return await asyncio.to_thread(
        Analysis,
        parts,
        market,
        regressions,
        profiles=profiles,
        factors=factors,
        threads=threads,
        beta_weights=beta_weights,
    )


async def load_past_returns(
    reader: Session, catalog: Catalog, calendar: Calendar, plan: Plan, chunk: Chunk
) -> Returns:
    """Return the daily returns before the run that A4 needs; portfolios count those of a chunk."""
    works = np.flatnonzero(chunk.works).astype(np.int32)
    ids = np.ascontiguousarray(plan.id[chunk.rows][works])
    before = plan.first_day[chunk.rows][works]
    found = await load(reader, select_returns(catalog, calendar, ids, before, PAST_RETURNS))
    return replace(found, portfolio=works[found.portfolio])


def chunk_tables(
    analysed: Analysed, analysis: Analysis, catalog: Catalog, portfolios: Selection
) -> ChunkTables:
    """Return what a chunk writes beside its snapshots.

    Args:
        analysed: The chunk.
        analysis: Of the run.
        catalog: The host's tables.
        portfolios: Those of the chunk.
    """
    tables, values = analysed.tables, analysed.market_values
    beside = () if values is None or not values.rows else (values,)
    if not tables:
        return ChunkTables(beside)
    factors = Selection(None if analysis.factors is None else analysis.factors.id)
    names = [table.name for table in tables]
    days = sorted(set(analysed.days.tolist()))
    exist = rows_exist(catalog, names, portfolios, days, factors)
    return ChunkTables((*tables, *beside), exist)
