"""The analytics of a run: the columns and rows of each of its chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.analytics.concentration import concentration
from batchcore.analytics.portfolio_beta import portfolio_beta
from batchcore.analytics.provider_beta import provider_beta
from batchcore.analytics.sector_exposure import sector_exposure, sector_of
from batchcore.analytics.volatility import realized_volatility
from batchcore.config import BETA_WEIGHTS
from batchcore.db.analytic_tables import COLUMNS, SNAPSHOTS
from batchcore.errors import CancelledError
from batchcore.frames import Integers, Issues, SnapshotAnalytics, Table, distinct, first_of_each
from batchcore.native import hold, value_positions
from batchcore.run import table_rows
from batchcore.run.fitting import Fitting
from batchcore.sources.host import floats, located
from batchcore.units import CENTS, LotKind, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from batchcore.db.analytic_tables import Parts
    from batchcore.frames import Events, Holdings, Opening, Positions, Rows
    from batchcore.native import CancelFlag, Market
    from batchcore.run.regressions import Regressions
    from batchcore.sources.factors import Factors
    from batchcore.sources.profiles import SymbolProfiles
    from batchcore.sources.snapshots import Returns

    Bools = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.float64]
    Int32 = npt.NDArray[np.int32]
    Int64 = npt.NDArray[np.int64]

PAST_RETURNS: Final = 62
"""Daily returns before a run that A4 may need: with one of its own, the longer window."""

VOLATILITIES: Final = {"realized_volatility_21d": 21, "realized_volatility_63d": 63}

OBSERVATIONS: Final = "beta_calculated_90d_observations"
SHARES: Final = "sector_exposure"
NUMBERS: Final = tuple(c for c in COLUMNS[SNAPSHOTS] if c not in {OBSERVATIONS, SHARES})


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ChunkInputs:
    """What the analytics of a chunk are computed from.

    Attributes:
        positions: Holdings.
        events: Partial closes.
        opening: The portfolios, and the days that each runs over.
        rows: What the roll-forward made of them.
        last_session: (c,) int32 last session that each portfolio is to have a row of.
        is_latest: (c,) bool, whether no complete snapshot is later than that.
        returns: Daily returns before the run.
    """

    positions: Positions
    events: Events
    opening: Opening
    rows: Rows
    last_session: Int32
    is_latest: Bools
    returns: Returns


@dataclass(frozen=True, eq=False, slots=True)
class Analysed:
    """The analytics of a chunk.

    Attributes:
        snapshot: Columns of its rows.
        tables: Rows of other tables, one of each name.
        days: (n,) int32 sessions that these rows are of.
        market_values: Of positions; None where they are not asked for.
        issues: What did not fit; portfolios count those of the chunk.
    """

    snapshot: SnapshotAnalytics
    tables: tuple[Table, ...]
    days: Int32
    market_values: Table | None
    issues: tuple[Issues, ...]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class _Block:
    """Portfolios that are analysed on the same sessions.

    Attributes:
        members: (p,) int32 rows of the chunk, ascending.
        sessions: (s,) int32.
        lots: `portfolio` (row of `members`), `symbol`, `kind`, `value` (l, s), as the functions of
            `analytics` take them.
        position: (l,) int32 row of `Positions`.
        equity: (p, s) float64 dollars.
        row: (n,) rows of `Rows`.
        at: Index of these rows in an array of (p, s).
    """

    members: Int32
    sessions: Int32
    lots: dict[str, Any]
    position: Int32
    equity: Floats
    row: Int64
    at: tuple[Int64, Int64]


class Analysis:
    """The analytics of a run, from what its chunks share; one chunk is analysed at a time.

    Attributes:
        parts: What is to be done.
        factors: Active ones; None where A8 is off or not asked for.
        unreadable: Sectors of profiles that are not representable, with their symbols.
    """

    def __init__(
        self,
        parts: Parts,
        market: Market,
        regressions: Regressions,
        *,
        profiles: SymbolProfiles | None,
        factors: Factors | None,
        threads: int | None = None,
        beta_weights: str = BETA_WEIGHTS[0],
    ) -> None:
        """Take what was loaded.

        Args:
            parts: What is to be done.
            market: Prices and marks; its sessions are those of the run.
            regressions: Of the symbols of the run.
            profiles: Of these symbols; None where A1 and A2 are off.
            factors: Active ones; None where A8 is off or not asked for.
            threads: As of the native calls.
            beta_weights: What `beta_provider_1y` is a share of (A1).
        """
        self.parts = parts
        self._market = market
        self._regressions = regressions
        self._profiles = profiles
        self.factors = factors
        self.unreadable = () if profiles is None else profiles.unreadable
        self._threads = threads
        self._beta_weights = beta_weights
        self._sectors = _sectors(profiles, len(regressions.symbols))

    def analyse(self, inputs: ChunkInputs, cancel: CancelFlag | None = None) -> Analysed:
        """Return the analytics of a chunk: a pure function of its frames.

        Args:
            inputs: The chunk.
            cancel: Raised from another thread, it stops the call.

        Raises:
            CancelledError: `cancel` was raised.
        """
        rows = inputs.rows
        numbers = {column: np.full(len(rows), np.nan) for column in NUMBERS}
        observations = np.zeros(len(rows), dtype=np.int32)
        names, *_ = self._sectors
        shares = np.full((len(rows), len(names)), np.nan)
        known = np.zeros(len(rows), dtype=np.bool_)
        fitting = Fitting(self.parts.rooms)
        tables: list[Table] = []
        for block in self._blocks(inputs, cancel):
            _not_raised(cancel)
            found, count = self._numbers(block, inputs)
            for name, figures in found.items():
                numbers[name][block.row] = figures[block.at]
            observations[block.row] = count[block.at]
            if self._profiles is not None:
                shares[block.row] = self._shares(block)[block.at]
                known[block.row] = (block.equity > 0)[block.at]
            _not_raised(cancel)
            if self.parts.level == "full":
                tables += self._table_rows(block, inputs, fitting)
        values, issues = self._market_values(inputs, fitting, cancel)
        whose = rows.portfolio, rows.day
        columns = {
            name: fitting.decimals(SNAPSHOTS, name, figures, *whose)
            for name, figures in numbers.items()
        }
        counted = np.where(observations > 0, State.VALUE, State.NULL).astype(np.uint8)
        return Analysed(
            SnapshotAnalytics(
                {
                    **columns,
                    OBSERVATIONS: Integers(observations, counted),
                    SHARES: fitting.shares(names, shares, known, *whose),
                }
            ),
            _by_name(tables),
            distinct(rows.day[rows.day == inputs.last_session[rows.portfolio]]),
            values,
            (*issues, fitting.issues()),
        )

    def _blocks(self, inputs: ChunkInputs, cancel: CancelFlag | None) -> Iterator[_Block]:
        rows, every = inputs.rows, self.parts.level == "every"
        row = np.arange(len(rows))
        if not every:
            row = np.flatnonzero(rows.day == inputs.last_session[rows.portfolio])
        if len(row) == 0:
            return
        sessions = self._market.sessions if every else distinct(rows.day[row])
        holdings = hold(
            self._market,
            positions=inputs.positions,
            events=inputs.events,
            opening=inputs.opening,
            sessions=sessions,
            threads=self._threads,
            cancel=cancel,
        )
        symbol = self._regressions.columns(inputs.positions.symbol)[holdings.symbol]
        if every:
            yield _block(rows, holdings, symbol, row, sessions, slice(None))
            return
        for number, session in enumerate(sessions.tolist()):
            own = row[rows.day[row] == session]
            yield _block(rows, holdings, symbol, own, sessions, slice(number, number + 1))

    def _numbers(self, block: _Block, inputs: ChunkInputs) -> tuple[dict[str, Floats], Int64]:
        """Return the figures of each column, and the observations of the regression, (p, s)."""
        sessions, last = len(block.sessions), int(block.sessions[-1])
        by_symbol = {name: block.lots[name] for name in ("portfolio", "symbol", "value")}
        concentrated = concentration(**by_symbol, portfolios=len(block.members))
        fit = portfolio_beta(
            **block.lots,
            equity=block.equity,
            beta=self._regressions.betas(last, sessions).beta,
            returns=self._regressions.returns(last),
            market=self._regressions.market(last),
        )
        found = {
            "hhi": concentrated.hhi,
            "effective_num_positions": concentrated.effective_num_positions,
            "top_3_concentration": concentrated.top_3,
            "top_10_concentration": concentrated.top_10,
            "beta_calculated_90d": fit.beta,
            "beta_calculated_90d_r_squared": fit.r_squared,
        }
        past = _daily_returns(inputs, self._market.sessions, block.members, last)
        for name, window in VOLATILITIES.items():
            found[name] = realized_volatility(past, sessions=sessions, window=window)
        if self._profiles is not None:
            found["beta_provider_1y"] = provider_beta(
                **block.lots,
                equity=block.equity,
                beta=self._profiles.beta,
                weights=self._beta_weights,
            )
        return found, fit.observations

    def _shares(self, block: _Block) -> Floats:
        names, of_symbol, other = self._sectors
        stock = block.lots["kind"] == LotKind.STOCK
        return sector_exposure(
            portfolio=block.lots["portfolio"],
            sector=np.where(stock, of_symbol[block.lots["symbol"]], other),
            value=block.lots["value"],
            equity=block.equity,
            sectors=len(names),
        )

    def _table_rows(self, block: _Block, inputs: ChunkInputs, fitting: Fitting) -> Iterator[Table]:
        session, lots = int(block.sessions[0]), block.lots
        stocks = np.flatnonzero(lots["kind"] == LotKind.STOCK)
        first, _ = first_of_each(block.position[stocks])
        lot = stocks[np.sort(first)]  # a position counts once, where its first lot stands
        portfolio = block.members[lots["portfolio"][lot]]
        held = table_rows.HeldStocks(
            position_id=inputs.positions.id[block.position[lot]],
            portfolio_id=inputs.opening.portfolio_id[portfolio],
            portfolio=portfolio,
            symbol=lots["symbol"][lot],
            session=session,
        )
        if self.parts.position_betas:
            yield table_rows.beta_rows(held, self._regressions.betas(session), fitting)
        if self.factors is None:
            return
        betas = self._regressions.factor_betas(session)
        yield table_rows.position_factor_rows(held, betas, self.factors, fitting)
        yield table_rows.factor_rows(
            {**lots, "value": lots["value"][:, 0]},
            equity=block.equity[:, 0],
            members=block.members,
            portfolio_id=inputs.opening.portfolio_id[block.members],
            session=session,
            betas=betas,
            factors=self.factors,
            fitting=fitting,
        )

    def _market_values(
        self, inputs: ChunkInputs, fitting: Fitting, cancel: CancelFlag | None
    ) -> tuple[Table | None, list[Issues]]:
        if not self.parts.market_values:
            return None, []
        rows = inputs.rows
        row = np.flatnonzero(rows.day == inputs.last_session[rows.portfolio])
        row = row[inputs.is_latest[rows.portfolio[row]]]
        owner = located(inputs.positions.portfolio_id, inputs.opening.portfolio_id)
        found, issues = [], []
        for session in distinct(rows.day[row]).tolist():
            values = value_positions(
                self._market,
                positions=inputs.positions,
                events=inputs.events,
                opening=inputs.opening,
                session=session,
                threads=self._threads,
                cancel=cancel,
            )
            counts = np.zeros(len(inputs.opening), dtype=np.bool_)
            counts[rows.portfolio[row[rows.day[row] == session]]] = True
            found.append(
                table_rows.market_value_rows(
                    values,
                    position_id=inputs.positions.id,
                    symbol=inputs.positions.symbol,
                    portfolio=owner,
                    counts=counts,
                    session=session,
                    fitting=fitting,
                )
            )
            issues.append(values.issues.take(counts[values.issues.portfolio]))
        return (Table.concat(found) if found else None), issues


def _not_raised(cancel: CancelFlag | None) -> None:
    if cancel is not None and cancel.is_set():
        msg = "cancelled"
        raise CancelledError(msg)


def _sectors(profiles: SymbolProfiles | None, symbols: int) -> tuple[tuple[str, ...], Int64, int]:
    """Return the names of sectors, which of them stocks of each symbol are in, and other lots."""
    if profiles is None:
        return (), np.zeros(symbols, dtype=np.int64), 0
    of_symbol = [
        sector_of(sector, is_etf=is_etf, kind=LotKind.STOCK)
        for sector, is_etf in zip(profiles.sector, profiles.is_etf, strict=True)
    ]
    other = sector_of(None, is_etf=None, kind=LotKind.OPTION)
    names = tuple(sorted({*of_symbol, other}))
    code = {name: number for number, name in enumerate(names)}
    return names, np.array([code[name] for name in of_symbol], dtype=np.int64), code[other]


def _block(  # noqa: PLR0917  # some rows, and the lots of their portfolios
    rows: Rows, holdings: Holdings, symbol: Int64, row: Int64, sessions: Int32, columns: slice
) -> _Block:
    """Return the block of some rows, on some of the sessions that lots are held on."""
    sessions = sessions[columns]
    members = distinct(rows.portfolio[row])
    owner = np.searchsorted(members, rows.portfolio[row])
    column = np.searchsorted(sessions, rows.day[row])
    equity = np.full((len(members), len(sessions)), np.nan)
    equity[owner, column] = rows.equity_cents[row] / 10**CENTS
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
    """Return the daily returns of portfolios up to a session, oldest first: (p, h), NaN for NULL.

    Those before the run stand at the end of the first `PAST_RETURNS` columns.
    """
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


def _by_name(tables: list[Table]) -> tuple[Table, ...]:
    """Return the rows of each table, without tables that have none."""
    names = dict.fromkeys(table.name for table in tables if table.rows)
    return tuple(Table.concat([table for table in tables if table.name == name]) for name in names)
