"""The analytics of a run: the data they read, and the columns and rows of each chunk."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from batchcore.analytics.concentration import concentration
from batchcore.analytics.factor_exposure import factor_exposures
from batchcore.analytics.factor_regression import FactorBetas, factor_betas
from batchcore.analytics.portfolio_beta import portfolio_beta
from batchcore.analytics.provider_beta import provider_beta
from batchcore.analytics.returns import simple_returns
from batchcore.analytics.sector_exposure import sector_exposure, sector_of
from batchcore.analytics.symbol_beta import SymbolBetas, symbol_betas
from batchcore.analytics.volatility import realized_volatility
from batchcore.analytics.windows import LOOK
from batchcore.db.analytic_tables import KEYS, SNAPSHOTS, Parts
from batchcore.errors import CancelledError
from batchcore.frames import Integers, Table, distinct, first_of_each, known_states
from batchcore.native import Book, CancelFlag, Market, held_lots, value_positions
from batchcore.pg.sql import Sql
from batchcore.run.analytic_rows import Fitting, HeldStocks, TableRows, etf_columns
from batchcore.schema import HOST, Use
from batchcore.sources.factors import Factors, select_factors, select_rows_exist
from batchcore.sources.host import Selection, floats, located
from batchcore.sources.profiles import SymbolProfiles, load_profiles
from batchcore.sources.query import load
from batchcore.sources.snapshots import Returns, select_returns
from batchcore.units import CENTS, FACTOR_ETFS, MARKET, LotKind
from batchcore.values import normalised

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchcore.calendar import Calendar
    from batchcore.db.catalog import Catalog
    from batchcore.frames import (
        Bools,
        Column,
        Floats,
        Holdings,
        Int32,
        Int64,
        Issues,
        Opening,
        Rows,
        Text,
    )
    from batchcore.options import RunOptions
    from batchcore.pg.session import Session
    from batchcore.run.monitor import Monitor
    from batchcore.run.plan import Chunk, Plan

log: Final = logging.getLogger("batchcore")

PAST_RETURNS: Final = 62
"""Daily returns before a run that A4 may need: its longer window, less one of the run."""

VOLATILITIES: Final = {"realized_volatility_21d": 21, "realized_volatility_63d": 63}

OBSERVATIONS: Final = "beta_calculated_90d_observations"
SHARES: Final = "sector_exposure"
NUMBERS: Final = tuple(
    c for c in HOST[SNAPSHOTS].names(Use.ANALYTICS) if c not in {OBSERVATIONS, SHARES}
)


def extra_symbols(level: str) -> tuple[str, ...]:
    """Return the symbols, beyond those of positions, whose prices a level of analytics needs."""
    if level == "none":
        return ()
    return FACTOR_ETFS if level == "full" else (MARKET,)


def return_sessions(plan: Plan, calendar: Calendar, level: str) -> Int32:
    """Return the sessions whose closes the analytics of a level read, ascending."""
    # Regressions (A5) look back the furthest; the first return is that of the second session.
    if level == "none":
        return np.zeros(0, dtype=np.int32)
    analysed = plan.sessions[plan.sessions_run]
    if level != "every":
        analysed = distinct(plan.last_session[plan.works])
    first = calendar.last_sessions(int(analysed[0]), LOOK + 1)
    return calendar.sessions(int(first[0]), int(analysed[-1]))


class Regressions:
    """Symbols of a run, their returns and regressions, computed when first needed, by one task."""

    def __init__(self, market: Market, symbols: Sequence[str], days: Int32, level: str) -> None:
        """Take symbols as spelt, and (d,) sessions from the first one that needs a return."""
        # PRIVATE positions may have the empty one.
        wanted = {"", *extra_symbols(level), *(normalised(symbol) for symbol in symbols)}
        self.symbols = tuple(sorted(wanted))
        self._market = market
        self._days = days
        self._column = {symbol: column for column, symbol in enumerate(self.symbols)}
        self._betas: dict[tuple[int, int], SymbolBetas] = {}
        self._factor_betas: dict[int, FactorBetas] = {}

    def columns(self, symbols: Text) -> Int64:
        """Return the row in `symbols` of each text in the table of a column."""
        # Positions of portfolios that the run leaves out may be among them; they get the empty
        # symbol.
        none = self._column[""]
        rows = [self._column.get(normalised(symbol), none) for symbol in symbols.table()]
        return np.array(rows, dtype=np.int64)

    @cached_property
    def _returns(self) -> Floats:
        return simple_returns(self._market.fresh_closes(self.symbols, self._days))

    def returns(self, session: int) -> Floats:
        """Return (d, u) returns of all symbols up to a session."""
        return self._returns[: int(np.searchsorted(self._days, session, side="right"))]

    def market(self, session: int) -> Floats:
        """Return (d,) returns of the market up to a session."""
        return self.returns(session)[:, self._column[MARKET]]

    def betas(self, session: int, sessions: int = 1) -> SymbolBetas:
        """Return the regressions (A5) of a number of sessions up to and including one."""
        key = (session, sessions)
        if key not in self._betas:
            returns, market = self.returns(session), self.market(session)
            self._betas[key] = symbol_betas(returns, market, sessions=sessions)
        return self._betas[key]

    def factor_betas(self, session: int) -> FactorBetas:
        """Return the betas (A7) against `FACTOR_ETFS` on a session."""
        if session not in self._factor_betas:
            returns = self.returns(session)
            etfs = returns[:, [self._column[etf] for etf in FACTOR_ETFS]]
            self._factor_betas[session] = factor_betas(returns, etfs)
        return self._factor_betas[session]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ChunkInputs:
    """The input of the analytics of a chunk.

    ``last_session`` is the last session of each portfolio with a row, ``is_latest`` whether no
    complete snapshot is later, and ``returns`` are the returns before the run.
    """

    book: Book
    opening: Opening
    rows: Rows
    last_session: Int32
    is_latest: Bools
    returns: Returns

    def last_rows(self) -> Int64:
        """Return the rows of the last session of their portfolio."""
        return np.flatnonzero(self.rows.day == self.last_session[self.rows.portfolio])


@dataclass(frozen=True, eq=False, slots=True)
class Analysed:
    """Analytic columns of the rows of a chunk, and rows of other tables."""

    snapshot: Mapping[str, Column]  # A1 to A4 and A6 by name; NULL in rows that are not analysed
    tables: tuple[Table, ...]  # of `KEYS`, without ids and stamps; then market values
    days: Int32
    issues: tuple[Issues, ...]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class _Block:
    """Portfolios that are analysed on the same sessions."""

    members: Int32  # (p,) rows of the chunk, ascending
    sessions: Int32
    lots: dict[str, Any]  # arguments of `analytics`; portfolios are rows of `members`
    position: Int32  # (l,) rows of `Positions`
    equity: Floats  # (p, s) dollars
    row: Int64  # (n,) rows of `Rows`
    at: tuple[Int64, Int64]  # index of these rows in an array of (p, s)


@dataclass(frozen=True, eq=False, slots=True)
class Sectors:
    """The sectors of lots (A2): ascending names, and the sector of stocks and of other lots."""

    names: tuple[str, ...]
    of_symbol: Int64
    other: int

    @classmethod
    def of(cls, profiles: SymbolProfiles) -> Self:
        """Return the sectors of symbols with these profiles."""
        of_symbol = [
            sector_of(sector, is_etf=is_etf, kind=LotKind.STOCK)
            for sector, is_etf in zip(profiles.sector, profiles.is_etf, strict=True)
        ]
        other = sector_of(None, is_etf=None, kind=LotKind.OPTION)
        names = tuple(sorted({*of_symbol, other}))
        code = {name: number for number, name in enumerate(names)}
        return cls(names, np.array([code[name] for name in of_symbol], np.int64), code[other])

    def shares(self, lots: Mapping[str, Any], equity: Floats) -> Floats:
        """Return the share of each portfolio in each sector, (p, s, k); NaN for none."""
        stock = lots["kind"] == LotKind.STOCK
        return sector_exposure(
            portfolio=lots["portfolio"],
            sector=np.where(stock, self.of_symbol[lots["symbol"]], self.other),
            value=lots["value"],
            equity=equity,
            sectors=len(self.names),
        )


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Analysis:
    """The analytics of a run, with the data that its chunks share; one chunk is analysed at a time.

    Profiles and sectors are those of the symbols of the regressions, and None where A1 and A2 are
    off; factors are active ones, and None where A8 is off.
    """

    parts: Parts
    market: Market
    regressions: Regressions
    profiles: SymbolProfiles | None
    sectors: Sectors | None
    factors: Factors | None
    threads: int | None
    beta_weights: str

    def analyse(self, inputs: ChunkInputs, cancel: CancelFlag | None = None) -> Analysed:
        """Return the analytics of a chunk: a pure function of its frames."""
        rows = inputs.rows
        numbers = {column: np.full(len(rows), np.nan) for column in NUMBERS}
        observations = np.zeros(len(rows), dtype=np.int32)
        names = () if self.sectors is None else self.sectors.names
        shares = np.full((len(rows), len(names)), np.nan)
        known = np.zeros(len(rows), dtype=np.bool_)
        fitting = Fitting(self.parts.capacities)
        tables: list[Table] = []
        for block in self._blocks(inputs, cancel):
            if cancel is not None and cancel.is_set():
                raise CancelledError("cancelled")
            found, count = self._numbers(block, inputs)
            for name, figures in found.items():
                numbers[name][block.row] = figures[block.at]
            observations[block.row] = count[block.at]
            if self.sectors is not None:
                shares[block.row] = self.sectors.shares(block.lots, block.equity)[block.at]
                known[block.row] = (block.equity > 0)[block.at]
            if self.parts.level == "full":
                tables += self._table_rows(block, inputs, fitting)
        issues: list[Issues] = []
        if self.parts.level == "full":
            for values, noticed in self._market_values(inputs, fitting, cancel):
                tables.append(values)
                issues.append(noticed)
        whose = rows.portfolio, rows.day
        written = dict.fromkeys(table.name for table in tables if table.rows)
        columns: dict[str, Column] = {
            name: fitting.decimals(SNAPSHOTS, name, figures, *whose)
            for name, figures in numbers.items()
        }
        columns[OBSERVATIONS] = Integers(observations, known_states(observations > 0))
        columns[SHARES] = fitting.shares(names, shares, known, *whose)
        return Analysed(
            columns,
            tuple(Table.concat([one for one in tables if one.name == name]) for name in written),
            distinct(rows.day[inputs.last_rows()]),
            (*issues, fitting.issues()),
        )

    def _blocks(self, inputs: ChunkInputs, cancel: CancelFlag | None) -> Iterator[_Block]:
        rows, every = inputs.rows, self.parts.level == "every"
        row = np.arange(len(rows)) if every else inputs.last_rows()
        if len(row) == 0:
            return
        sessions = self.market.sessions if every else distinct(rows.day[row])
        holdings = held_lots(
            self.market,
            inputs.book,
            opening=inputs.opening,
            sessions=sessions,
            threads=self.threads,
            cancel=cancel,
        )
        symbol = self.regressions.columns(inputs.book.positions.symbol)[holdings.symbol]
        if every:
            yield _block(rows, holdings, symbol, row, sessions, slice(None))
            return
        for number, session in enumerate(sessions.tolist()):
            own = row[rows.day[row] == session]
            yield _block(rows, holdings, symbol, own, sessions, slice(number, number + 1))

    def _numbers(self, block: _Block, inputs: ChunkInputs) -> tuple[dict[str, Floats], Int64]:
        """Return the figures of each column, and the observations of the regression, all (p, s)."""
        sessions, last = len(block.sessions), int(block.sessions[-1])
        by_symbol = {name: block.lots[name] for name in ("portfolio", "symbol", "value")}
        concentrated = concentration(**by_symbol, portfolios=len(block.members))
        fit = portfolio_beta(
            **block.lots,
            equity=block.equity,
            beta=self.regressions.betas(last, sessions).beta,
            returns=self.regressions.returns(last),
            market=self.regressions.market(last),
        )
        found = {
            "hhi": concentrated.hhi,
            "effective_num_positions": concentrated.effective_num_positions,
            "top_3_concentration": concentrated.top_3,
            "top_10_concentration": concentrated.top_10,
            "beta_calculated_90d": fit.beta,
            "beta_calculated_90d_r_squared": fit.r_squared,
        }
        past = _daily_returns(inputs, self.market.sessions, block.members, last)
        for name, window in VOLATILITIES.items():
            found[name] = realized_volatility(past, sessions=sessions, window=window)
        if self.profiles is not None:
            found["beta_provider_1y"] = provider_beta(
                **block.lots,
                equity=block.equity,
                beta=self.profiles.beta,
                weights=self.beta_weights,
            )
        return found, fit.observations

    def _table_rows(self, block: _Block, inputs: ChunkInputs, fitting: Fitting) -> Iterator[Table]:
        session, lots = int(block.sessions[0]), block.lots
        rows = TableRows(session, fitting)
        stocks = np.flatnonzero(lots["kind"] == LotKind.STOCK)
        first, _ = first_of_each(block.position[stocks])
        lot = stocks[np.sort(first)]  # a position counts once, at its first lot
        held = HeldStocks(
            position_id=inputs.book.positions.id[block.position[lot]],
            portfolio=block.members[lots["portfolio"][lot]],
            symbol=lots["symbol"][lot],
        )
        portfolio_id = inputs.opening.portfolio_id
        if self.parts.position_betas:
            yield rows.betas(held, portfolio_id, self.regressions.betas(session))
        if self.factors is None:
            return
        betas = self.regressions.factor_betas(session)
        yield rows.position_factors(held, betas, self.factors)
        found = factor_exposures(
            **{**lots, "value": lots["value"][:, 0]},
            equity=block.equity[:, 0],
            beta=betas.beta[:, etf_columns(self.factors)],
        )
        yield rows.factors(found, block.members, portfolio_id, self.factors)

    def _market_values(
        self, inputs: ChunkInputs, fitting: Fitting, cancel: CancelFlag | None
    ) -> Iterator[tuple[Table, Issues]]:
        rows, row, positions = inputs.rows, inputs.last_rows(), inputs.book.positions
        row = row[inputs.is_latest[rows.portfolio[row]]]
        owner = located(positions.portfolio_id, inputs.opening.portfolio_id)
        for session in distinct(rows.day[row]).tolist():
            values = value_positions(
                self.market,
                inputs.book,
                opening=inputs.opening,
                session=session,
                threads=self.threads,
                cancel=cancel,
            )
            counts = np.zeros(len(inputs.opening), dtype=np.bool_)
            counts[rows.portfolio[row[rows.day[row] == session]]] = True
            own = values.take(counts[owner[values.position]])
            made = TableRows(session, fitting).market_values(own, positions, owner)
            yield made, values.issues.take(counts[values.issues.portfolio])


def _block(  # noqa: PLR0917  # some rows, and the lots of their portfolios
    rows: Rows, holdings: Holdings, symbol: Int64, row: Int64, sessions: Int32, columns: slice
) -> _Block:
    """Return the block of some rows on some of the sessions of the lots."""
    sessions = sessions[columns]
    members = distinct(rows.portfolio[row])
    owner = np.searchsorted(members, rows.portfolio[row])
    column = np.searchsorted(sessions, rows.day[row])
    equity = np.full((len(members), len(sessions)), np.nan)
    equity[owner, column] = rows.equity_balance[row] / 10**CENTS
    place = np.searchsorted(members, holdings.portfolio)
    place = np.minimum(place, len(members) - 1)
    held = holdings.held[:, columns].any(axis=1)
    lot = np.flatnonzero(held & (members[place] == holdings.portfolio))
    value = holdings.value[:, columns]
    return _Block(
        members=members,
        sessions=sessions,
        lots={
            "portfolio": place[lot],
            "symbol": symbol[lot],
            "kind": holdings.kind[lot],
            "value": value if len(lot) == len(value) else value[lot],
        },
        position=holdings.position[lot],
        equity=equity,
        row=row,
        at=(owner, column),
    )


def _daily_returns(inputs: ChunkInputs, sessions: Int32, members: Int32, last: int) -> Floats:
    """Return the daily returns of portfolios up to a session, oldest first; NULL becomes NaN."""
    # Those before the run are at the end of the first `PAST_RETURNS` columns.
    rows, past = inputs.rows, inputs.returns
    sessions = sessions[: int(np.searchsorted(sessions, last, side="right"))]
    found = np.full((len(inputs.opening), PAST_RETURNS + len(sessions)), np.nan)
    order = np.lexsort((past.day, past.portfolio))
    owner = past.portfolio[order]
    until_end = np.searchsorted(owner, owner, side="right") - np.arange(len(owner))
    found[owner, PAST_RETURNS - until_end] = past.value[order]
    own = np.flatnonzero(rows.day <= last)
    column = PAST_RETURNS + np.searchsorted(sessions, rows.day[own])
    found[rows.portfolio[own], column] = floats(rows.daily_return)[own]
    return found[members]


async def load_analysis(
    reader: Session,
    catalog: Catalog,
    parts: Parts,
    *,
    market: Market,
    symbols: Text,
    days: Int32,
    monitor: Monitor,
    options: RunOptions,
) -> Analysis:
    """Return the analysis of a run; days are those of `return_sessions`, symbols as spelt."""
    off = [*parts.off.items()]
    spellings = symbols.table()
    regressions = await asyncio.to_thread(Regressions, market, spellings, days, parts.level)
    profiles = factors = None
    if parts.profiles:
        profiles = await load_profiles(reader, catalog, regressions.symbols)
        monitor.loaded(profiles=profiles.found)
    if parts.factors:
        factors = await load(reader, select_factors(catalog, FACTOR_ETFS))
        monitor.loaded(factors=len(factors.id))
        off += ((repr(part), reason) for part, reason in factors.off.items())
    for part, reason in off:
        log.warning("run=%s analytics_off=%s reason=%r", monitor.run_id, part, reason)
    return Analysis(
        parts=parts,
        market=market,
        regressions=regressions,
        profiles=profiles,
        sectors=None if profiles is None else await asyncio.to_thread(Sectors.of, profiles),
        factors=factors,
        threads=options.settings.threads,
        beta_weights=options.beta_weights,
    )


async def load_past_returns(
    reader: Session, catalog: Catalog, calendar: Calendar, plan: Plan, chunk: Chunk
) -> Returns:
    """Return the daily returns before the run that A4 needs; portfolios are rows of the chunk."""
    works = np.flatnonzero(chunk.works).astype(np.int32)
    ids = np.ascontiguousarray(plan.id[chunk.rows][works])
    before = plan.first_day[chunk.rows][works]
    found = await load(reader, select_returns(catalog, calendar, ids, before, PAST_RETURNS))
    return replace(found, portfolio=works[found.portfolio])


def rows_exist(
    analysed: Analysed, analysis: Analysis, catalog: Catalog, portfolios: Selection
) -> Sql:
    """Return the SELECT of which tables of a chunk have rows of its portfolios and days."""
    names = [table.name for table in analysed.tables if table.name in KEYS]
    if not names:
        return Sql()
    factors = Selection(None if analysis.factors is None else analysis.factors.id)
    return select_rows_exist(catalog, names, portfolios, analysed.days.tolist(), factors)
