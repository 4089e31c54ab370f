"""The preparation of a run, in order: tables, calendar, range, plan, prices."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from batchcore import calendar as calendars
from batchcore.db.catalog import Catalog, inspect
from batchcore.db.check import check_revision
from batchcore.errors import ConfigError
from batchcore.frames import Issues
from batchcore.run import plan as plans
from batchcore.run.plan import Range
from batchcore.sources.changes import select_stamps
from batchcore.sources.events_flows import refuse_doubles
from batchcore.sources.host import Selection, located
from batchcore.sources.positions import load_symbols
from batchcore.sources.prices import load_calendar
from batchcore.sources.query import load
from batchcore.units import State

if TYPE_CHECKING:
    import asyncio

    from batchcore.calendar import Calendar
    from batchcore.frames import Ids, Text
    from batchcore.pg.session import Session
    from batchcore.pg.session_pool import SessionPool
    from batchcore.policies.policy import Policy, RunContext, RunPrices
    from batchcore.run.monitor import Monitor
    from batchcore.run.request import Request


async def inspected(reader: Session, request: Request, kind: type[Policy]) -> Catalog:
    """Return the host's tables, checked for a run."""
    catalog = await inspect(reader, request.settings.schema)
    kind.check_tables(catalog, request)
    await check_revision(reader, catalog)
    await refuse_doubles(reader, catalog)
    return catalog


async def prepare(
    readers: SessionPool, run: RunContext, kind: type[Policy], catalog: Catalog
) -> Policy:
    """Return the policy of a run, with its plan and its chunks."""
    async with readers.lend("load") as reader:
        with run.monitor.phase("load"):
            calendar = await calendar_of(reader, run.request, catalog)
            policy = kind(run, catalog, calendar, _range(run.request, calendar))
            await policy.make_plan(reader)
            await _report_unvalued_history(reader, policy)
            if run.request.only_plans:
                policy.stamps = await load(reader, select_stamps(catalog))
    positions = plans.average_positions(policy.catalog.estimated_rows)
    size = plans.default_chunk_size(len(policy.plan.sessions), positions)
    policy.begin(plans.chunks(policy.plan, policy.settings.chunk_size or size))
    return policy


async def calendar_of(reader: Session, request: Request, catalog: Catalog) -> Calendar:
    """Return the calendar of a run."""
    if request.known_calendar is not None:
        return request.known_calendar
    return await load_calendar(reader, catalog, request.calendar)


async def load_prices(readers: SessionPool, policy: Policy) -> RunPrices | None:
    """Return the prices of a run; None if there is nothing to write."""
    if not policy.plan.works.any():
        return None
    async with readers.lend("load") as reader:
        with policy.monitor.phase("load"):
            symbols = await load_symbols(reader, policy.catalog, policy.selection)
            return await _of_symbols(reader, policy, symbols)


async def load_prices_beside(
    readers: SessionPool, monitor: Monitor, catalog: Catalog, planned: asyncio.Future[Policy]
) -> RunPrices | None:
    """Return the prices of a run over all portfolios, whose symbols need not wait for its plan.

    The session stays reserved until the prices are loaded, as chunks would take it.
    """
    async with readers.lend("load") as reader:
        with monitor.phase("load"):
            symbols = await load_symbols(reader, catalog, Selection(None))
            policy = await planned
            return await _of_symbols(reader, policy, symbols) if policy.plan.works.any() else None


async def _of_symbols(reader: Session, policy: Policy, symbols: Text) -> RunPrices:
    policy.monitor.loaded(symbols=len(symbols))
    return await policy.load_prices(reader, symbols)


def request_again(policy: Policy, ids: Ids) -> Request:
    """Return the request of a run for some portfolios, at a later moment, without S12."""
    return replace(
        policy.request,
        end=calendars.date_of(policy.days.end),
        wanted=np.ascontiguousarray(ids),
        known_calendar=policy.calendar,
        settings=replace(policy.settings, min_coverage=0.0, shard=None),
        snapshot_source=None,
    )


def last_closed(request: Request, calendar: Calendar) -> int:
    """Return the last session closed by the "now" of a request."""
    if request.settings.today is None:
        return calendar.last_closed(request.now)
    return calendar.last_on_or_before(calendars.day_of(request.settings.today))


def _range(request: Request, calendar: Calendar) -> Range:
    # A run that only rewrites has no range: its start limits the rows that each portfolio rewrites.
    start = None if request.only_rewrites else request.start
    last = last_closed(request, calendar) if request.end is None else calendars.day_of(request.end)
    if start is None:
        return Range(None, calendar.last_on_or_before(last))
    first = calendars.day_of(start)
    if first > last:
        msg = f"start {start} is after the last session closed, {calendars.date_of(last)}"
        raise ConfigError(msg, "start")
    calendar.sessions(first, last)  # raises beyond the calendar
    return Range(first, last)


async def _report_unvalued_history(reader: Session, policy: Policy) -> None:
    """Report portfolios without a snapshot that have sessions before the first one valued."""
    request, plan = policy.request, policy.plan
    if request.start is not None or request.inception or request.only_rewrites:
        return
    row = np.flatnonzero(plan.works & (plan.latest_day.state != State.VALUE))
    if len(row) == 0:
        return
    ids = np.ascontiguousarray(plan.id[row])
    entries = await policy.earliest_entries(reader, Selection(ids))
    row = row[located(entries.ids, ids)]
    early = policy.calendar.next_sessions(entries.day) < plan.first_day[row]
    portfolio = row[early]
    details = [
        f"earliest entry {calendars.iso_of(day)}; start with `inception` to value it from there"
        for day in entries.day[early].tolist()
    ]
    days = plan.first_day[portfolio]
    policy.issues.add(Issues.of("no_history", portfolio, day=days, detail=details))
