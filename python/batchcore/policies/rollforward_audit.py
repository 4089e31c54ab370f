"""The policy `rollforward` for stored snapshots (S5 to S10, A1 to A6)."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore import reference as ref
from batchcore.analytics.windows import LOOK
from batchcore.audit import compare
from batchcore.audit.compute import ExpectedRows, cents_of, shares_of
from batchcore.audit.policy import PolicyAudit, latest_before
from batchcore.db.analytic_tables import Parts, check_parts
from batchcore.errors import SchemaError
from batchcore.frames import Decimals, Integers, Opening, Rows, day_keys, joined, rescaled, taken
from batchcore.native import CancelFlag, contributions
from batchcore.run.analysis import PAST_RETURNS, Analysis, ChunkInputs, extra_symbols, load_analysis
from batchcore.run.monitor import Monitor
from batchcore.run.prices import PriceWindow, load_closes
from batchcore.run.valuation import Valuation
from batchcore.schema import COUNT_COLUMNS, Use, snapshot_figures
from batchcore.sources.events_flows import EXPIRY
from batchcore.sources.host import Selection, complete, floats
from batchcore.sources.positions import load_symbols
from batchcore.sources.query import load
from batchcore.sources.snapshots import Returns, select_returns
from batchcore.sources.stored import ANALYTIC, SHARES, Fact, OwnEquities, StoredRows, StoredRules
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from batchcore.audit.chunk_check import ChunkCheck
    from batchcore.audit.compute import Inputs, Links, Roll
    from batchcore.frames import Bools, Column, Contributions, Int32, Int64, Text
    from batchcore.sources.portfolios import Portfolios


LEVEL: Final = "portfolio"
"""The analytics with columns of snapshots."""

BY_CHAIN: Final = (*compare.PNL_COLUMNS, *compare.FLOW_COLUMNS)
"""Columns that depend on the row before; P&L is 0 on a baseline (S5)."""

_BEFORE: Final = ("equity_balance", "daily_return")
"""Columns that analytics of later rows use."""


_END: Final = f"COALESCE({{p.exit_date}}, {EXPIRY.strip()})"

STORED_RULES: Final = StoredRules(
    complete=complete,
    earlier="{complete} ORDER BY {s.snapshot_date} DESC LIMIT 1",
    is_dated=f"isfinite({{p.entry_date}}) AND isfinite(COALESCE({_END}, '2000-01-01'))",
    end=_END,
    private="(upper(btrim({p.investment_class}::text COLLATE \"C\", ' ')) = 'PRIVATE') IS TRUE",
    of_alive=True,
)
"""Which stored rows and facts count (S3, S5)."""


class RollForwardAudit(PolicyAudit):
    """The policy on the tables of a host."""

    columns = compare.COLUMNS
    stored_rules: ClassVar = STORED_RULES
    computed: ClassVar = snapshot_figures(Use.ROLLFORWARD)
    of_first_row: ClassVar = compare.PNL_COLUMNS
    sums: ClassVar = ("capital_flow",)
    by_chain: ClassVar = BY_CHAIN
    by_value: ClassVar = (*compare.EXPOSURES, *compare.OF_WEIGHTS)  # (S9, A2, A3)
    by_quantity: ClassVar = COUNT_COLUMNS

    _prices = ref.market(())
    _reference_rates: ref.Rates | None = None
    _analysis: Analysis | None = None

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # of `PolicyAudit`
        """Determine the analytics that the tables allow."""
        super().__init__(*args, **options)
        self._parts: Parts | None = None  # of the analytics; None where there are none
        if self.request.analytics == "none":
            self.read = self.computed
            return
        try:
            self._parts = check_parts(self.catalog, LEVEL, writes=False)
            self.off.update(self._parts.off)
        except SchemaError as error:  # of the columns of analytics: the others were checked
            self.off["analytics"] = str(error)
            self.read = self.computed

    async def share(self, selection: Selection, first: int, last: int) -> None:
        """Load closes, marks and betas."""
        symbols = await load_symbols(self.session, self.catalog, selection)
        settings = self.request.settings
        if not self.fast:
            self._prices = await self.reader.closes(symbols.table())
            self._reference_rates = await self.reader.rates(
                last, settings.fx_lookback_days, settings.fx_pivot
            )
        self.valuation = Valuation(self.catalog, settings, self.calendar.sessions(first, last))
        if self.fast or self._parts is not None:
            await self._share_natively(symbols, first, last)

    async def _share_natively(self, symbols: Text, first: int, last: int) -> None:
        session, settings = self.session, self.request.settings
        level, days = "none", self.calendar.last_sessions(first, 1)
        if self._parts is not None:
            level, days = LEVEL, self.calendar.last_sessions(first, LOOK + 1)[:1]
        start = min([first - settings.lookback_days, *days.tolist()])
        monitor = Monitor(str(uuid.uuid4()))
        spelt = (*symbols.table(), *extra_symbols(level))
        closes = await load_closes(
            session,
            self.catalog,
            spelt,
            PriceWindow(max(start, calendars.FIRST_DATE), first, last),
            source=None,
            monitor=monitor,
        )
        self.market = await self.valuation.market(session, closes, spelt)
        if self._parts is not None:
            self._analysis = await load_analysis(
                session,
                self.catalog,
                self._parts,
                market=self.market,
                symbols=symbols,
                days=self.calendar.sessions(min([first, *days.tolist()]), last),
                monitor=monitor,
                options=self.request,
            )

    def previous(self, stored: StoredRows) -> tuple[Int64, ...]:
        """Return the latest complete row before each (S5)."""
        return (latest_before(stored.portfolio, stored.complete),)

    def reads(self, *, any_current: bool) -> dict[str, bool]:  # noqa: ARG002  # no day is
        """Return that profiles count with analytics, and betas never."""
        return {"profiles": self._parts is not None and self._parts.profiles, "betas": False}

    def contributions(self, links: Links, inputs: Inputs, cancel: CancelFlag) -> Contributions:
        """Return the contribution of each lot from the row before the first to the last (X1, X4).

        A range that begins with a baseline continues from it, as its P&L is 0.
        """
        first, last = np.full((2, len(inputs.ids)), np.iinfo(np.int32).min, dtype=np.int32)
        starts = np.flatnonzero(np.diff(links.portfolio, prepend=-1))
        ends = np.flatnonzero(np.diff(links.portfolio, append=-1))
        own, is_baseline = links.portfolio[starts], links.first[starts] & (starts == ends)
        first[own] = np.where(is_baseline, first[own], links.previous_day[starts])
        last[own] = links.day[ends]
        return contributions(
            self.market,
            inputs.book,
            opening=Opening(
                portfolio_id=inputs.ids,
                equity=Decimals.nulls(len(inputs.ids)),
                first_day=first,
                last_day=last,
                currency=inputs.currency,
            ),
            threads=self.request.settings.threads,
            cancel=cancel,
        )

    async def roll(self, ids: list[uuid.UUID]) -> Roll:
        """Return the reference on the portfolios of a chunk."""
        portfolios = await self.reader.portfolios(dict.fromkeys(ids), ids)
        lookback, scales = self.request.settings.lookback_days, self.reader.scales

        def row(
            portfolio: int, day: int, previous: tuple[Any, ...] | None, equity: Decimal, _: int
        ) -> ref.Row | None:
            before = () if previous is None else (ref.Snapshot(*previous),)
            start = replace(portfolios[portfolio], opening_equity=equity, snapshots=before)
            prices, rates = self._prices, self._reference_rates
            found = ref.roll_forward(start, prices, [day], lookback, scales, rates=rates)
            return next(iter(found.rows), None)

        return row

    def judge(self, check: ChunkCheck, judged: compare.Judgement) -> None:
        """Exclude analytics that were not computed, and those from a profile that changed since."""
        every = np.ones(len(check.rows), dtype=np.bool_)
        if self._parts is None:
            judged.leave_out("analytics_off", every, ANALYTIC)
            return
        analysed = compare.is_analysed(check.stored)[check.rows]
        judged.leave_out("not_analysed", ~analysed, ANALYTIC)
        if not self._parts.profiles:
            judged.leave_out("analytics_off", every, compare.BY_PROFILE)
        # A profile is today's (A1, A2): its values when the row was written are lost.
        profiles = check.facts.kind == Fact.PROFILE
        changed = check.written.changed_while_held(check.facts, profiles)
        judged.leave_out("profile_changed", changed, compare.BY_PROFILE)

    async def analysed(
        self, check: ChunkCheck, judged: compare.Judgement
    ) -> tuple[ExpectedRows, Bools] | None:
        """Return the expected analytic columns, and the cells that differ (A1 to A6)."""
        stored, ids, wrong = check.stored, check.ids, check.wrong
        own = np.flatnonzero(compare.in_any(judged.checked(), ANALYTIC))
        if self._analysis is None or len(own) == 0:
            return None
        inputs = check.inputs or await self.inputs(check)
        first = np.full(len(ids), calendars.LAST_DATE, dtype=np.int32)
        np.minimum.at(first, stored.portfolio, stored.day)
        query = select_returns(self.catalog, self.calendar, ids, first, PAST_RETURNS)
        past = await load(self.session, query)
        rows = check.rows[own]
        cells = {name: stored.cells[name] for name in _BEFORE}
        of = self._analysis, inputs, stored, rows
        differ = partial(compare.differences, are_floats=True)
        should = await asyncio.to_thread(analysed_rows, *of, cells, past)
        found = await asyncio.to_thread(differ, stored, rows, should)
        # A wrong equity or return counts in its own row; analytics may follow from the right one.
        if compare.in_any(wrong, _BEFORE).any():
            right = _corrected(cells, check.rows, check.expected)
            other = await asyncio.to_thread(analysed_rows, *of, right, past)
            found &= await asyncio.to_thread(differ, stored, rows, other)
        place, every = np.zeros(len(wrong), dtype=np.int64), np.zeros_like(wrong)
        place[own], every[own] = np.arange(len(own)), found
        return should.take(place), every

    def looks_back(self, links: Links, wrong: Bools) -> Int32:
        """Return the first day with a close that may have been used in rows (S4, A5)."""
        back = links.previous_day - max(self.request.settings.lookback_days, 1)
        for row in np.flatnonzero(compare.in_any(wrong, ANALYTIC)).tolist():
            of_betas = self.calendar.last_sessions(int(links.day[row]), LOOK + 1)
            back[row] = min(int(back[row]), int(of_betas[0]))
        return np.maximum(back, calendars.FIRST_DATE).astype(np.int32)

    async def own_equities(
        self,
        portfolios: Portfolios,
        at: Int64,
        selection: Selection,  # noqa: ARG002  # whose snapshots were loaded
    ) -> OwnEquities:
        """Return the equity of the latest complete snapshot (S8)."""
        before = portfolios.before.take(at)
        equity = before.equity_balance
        return OwnEquities(before.day, equity, equity, np.zeros(len(at), dtype=np.bool_))


def _corrected(
    cells: dict[str, Decimals], rows: Int64, expected: ExpectedRows
) -> dict[str, Decimals]:
    """Return columns of stored rows, with expected values in some rows, where they are known."""
    known, found = np.flatnonzero(expected.known), {}
    for name, column in cells.items():
        right = rescaled(expected.cells[name].take(known), column.scale)
        values, state = column.values.copy(), column.state.copy()
        values[rows[known]], state[rows[known]] = right.values, right.state
        found[name] = Decimals(values, column.scale, state)
    return found


def analysed_rows(  # noqa: PLR0917  # rows, and what their analytics are made of
    analysis: Analysis,
    inputs: Inputs,
    stored: StoredRows,
    rows: Int64,
    cells: Mapping[str, Decimals],
    past: Returns,
) -> ExpectedRows:
    """Return the analytic columns of rows (A1 to A6).

    ``cells`` are `equity_balance` and `daily_return` of all stored rows, stored or expected, and
    ``past`` the returns before these.
    """
    history = _history(stored, cells["daily_return"], past)
    portfolios = len(inputs.ids)
    opening = Opening(
        portfolio_id=inputs.ids, equity=Decimals.nulls(portfolios), currency=inputs.currency
    )
    parts, order = [], []
    for session in np.unique(stored.day[rows]).tolist():
        at = np.flatnonzero(stored.day[rows] == session)
        own = rows[at]
        last = np.full(portfolios, np.iinfo(np.int32).min, dtype=np.int32)
        last[stored.portfolio[own]] = session
        chunk = ChunkInputs(
            book=inputs.book,
            opening=opening,
            rows=_as_rows(stored, own, cells),
            last_session=last,
            is_latest=np.zeros(portfolios, dtype=np.bool_),
            returns=_last_returns(history, stored.portfolio[own], session),
        )
        parts.append(analysis.analyse(chunk).snapshot)
        order.append(at)
    back = np.argsort(np.concatenate(order))
    return expected_of(taken(joined(parts), back))


def expected_of(analytics: Mapping[str, Column]) -> ExpectedRows:
    """Return the analytic columns of rows."""
    columns: dict[str, Any] = dict(analytics)
    shares = shares_of(columns.pop(SHARES))
    cells = {
        name: Decimals(column.values.astype(np.int64), 0, column.state)
        if isinstance(column, Integers)
        else column
        for name, column in columns.items()
    }
    return ExpectedRows(np.ones(len(shares), dtype=np.bool_), cells, shares)


def _history(stored: StoredRows, returned: Decimals, past: Returns) -> Returns:
    own = np.flatnonzero(stored.complete & (returned.state == State.VALUE))
    portfolio = np.concatenate([past.portfolio, stored.portfolio[own]])
    day = np.concatenate([past.day, stored.day[own]])
    value = np.concatenate([past.value, floats(returned)[own]])
    order = np.lexsort((day, portfolio))
    return Returns(portfolio[order].astype(np.int32), day[order].astype(np.int32), value[order])


def _last_returns(history: Returns, portfolio: Int32, session: int) -> Returns:
    """Return the last returns of each portfolio before a session that A4 may need."""
    keys = day_keys(history.portfolio, history.day)
    first = np.searchsorted(keys, portfolio.astype(np.int64) << 32)
    end = np.searchsorted(keys, day_keys(portfolio, np.full(len(portfolio), session)))
    count = np.minimum(end - first, PAST_RETURNS)
    within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    row = np.repeat(end - count, count) + within
    return Returns(history.portfolio[row], history.day[row], history.value[row])


def _as_rows(stored: StoredRows, own: Int64, cells: Mapping[str, Decimals]) -> Rows:
    """Return stored rows in the form of the analytics, which read only equity and return."""
    equity, returned = cells["equity_balance"], cells["daily_return"]
    columns: dict[str, Any] = dict.fromkeys((one.name for one in fields(Rows)), None)
    columns |= {
        "portfolio": stored.portfolio[own],
        "day": stored.day[own],
        "equity_balance": cents_of(equity)[own],
        "daily_return": returned.take(own),
    }
    return Rows(**columns)
