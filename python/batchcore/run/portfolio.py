"""What is asked of one portfolio: its beta, its sectors, and the sector tags of its positions."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypedDict

import numpy as np

from batchcore import calendar as calendars
from batchcore.analytics.provider_beta import beta_coverage, provider_beta
from batchcore.analytics.sector_exposure import over_and_underweights, sector_exposure, sector_of
from batchcore.analytics.sector_tags import COLORS, sector_tag
from batchcore.arguments import checked_id
from batchcore.caches import check_cache
from batchcore.config import BETA_WEIGHTS
from batchcore.db import load as loads
from batchcore.db import tags
from batchcore.db.access import changing, reading
from batchcore.db.analytic_queries import AnalyticQueries
from batchcore.db.analytic_tables import COLUMNS, PROFILES
from batchcore.db.benchmarks import Benchmark, BenchmarkQueries, load_benchmark
from batchcore.db.catalog import BENCHMARKS, REQUIRED, check_needs
from batchcore.db.load_analytics import SymbolProfiles, floats, load_profiles
from batchcore.db.queries import Selection
from batchcore.entry import check_choice
from batchcore.errors import ConfigError
from batchcore.frames import Opening
from batchcore.native import build_market, hold
from batchcore.units import LotKind, State

if TYPE_CHECKING:
    import uuid
    from collections.abc import AsyncIterator, Mapping, Sequence

    import numpy.typing as npt

    from batchcore.caches import CompanyProfile
    from batchcore.config import Schema
    from batchcore.db.catalog import Needs
    from batchcore.db.engine import Session
    from batchcore.db.queries import Queries
    from batchcore.frames import Events, Holdings, Positions, Prices

BETA_WITHOUT_ANY: Final = 1.0
"""The beta of a portfolio without any (A1)."""

OPTION_TYPES: Final = frozenset({"LC", "LP", "SC", "SP"})

NEEDS: Final[Needs] = {
    **{
        table: REQUIRED[table]
        for table in ("portfolios", "positions", "market_data_cache", "portfolio_snapshots")
    },
    PROFILES: COLUMNS[PROFILES],
}
"""What tables and columns beta and sectors of a portfolio need."""


class ProfileCache(Protocol):
    """Profiles that were loaded before, such as `CompanyProfileCache`."""

    def get(self, symbol: str, /) -> CompanyProfile | None:
        """Return the profile of a symbol, None if it is not there."""


class ProviderBeta(TypedDict):
    """What `calculate_portfolio_provider_beta` returns."""

    portfolio_beta: float
    positions_with_beta: int
    total_positions: int
    coverage: float
    calculation_date: dt.date


class SectorExposure(TypedDict):
    """What `calculate_portfolio_sector_exposure` returns."""

    sector_weights: dict[str, float] | None
    benchmark: str
    benchmark_date: dt.date | None
    benchmark_weights: dict[str, float]
    over_underweights: dict[str, float] | None
    calculation_date: dt.date


@dataclass(frozen=True, slots=True)
class SectorTagResult:
    """The sector tags of some positions, and what was changed for them.

    Attributes:
        tags: Name of a sector -> how many of the positions have its tag, sorted by name.
        created: Tags that were created.
        adopted: Existing tags that were put on a position.
        removed: How many times another sector tag was taken off a position.
        unchanged: Positions that already had the tag of their sector.
    """

    tags: Mapping[str, int]
    created: int
    adopted: int
    removed: int
    unchanged: int


async def restore_sector_tag_for_position(
    db: object,
    user_id: uuid.UUID | str,
    position_id: uuid.UUID | str,
    profile_cache: ProfileCache | None = None,
    *,
    schema: Schema | None = None,
) -> SectorTagResult:
    """Give a position the tag of its sector, and no other sector tag.

    The user's tags with the names of sectors (A2) are sector tags, archived ones too; only one
    that is not archived is put on a position. It is created, in the colour of its sector, if the
    user has none, and an existing tag keeps its colour. All other tags stay. The uses of every
    sector tag that is or was on the position are then counted. Doing it twice changes nothing.

    Args:
        db: Any kind of database. In a caller's transaction nothing is committed.
        user_id: Whose position and tags.
        position_id: A position in a portfolio of the user.
        profile_cache: Profiles that were loaded before; what it lacks is loaded.
        schema: Names of tables and columns; None for those of docs/schema.md.

    Raises:
        ConfigError: there is no such position, it is soft-deleted or another user's, or ``db`` is
            of a wrong kind.
        SchemaError: a table or column is missing.
        DatabaseError: the database refused, failed or went away.
    """
    check_cache("profile_cache", profile_cache)
    position, user = checked_id(position_id, "position_id"), checked_id(user_id, "user_id")
    async with changing(db, schema, tags.NEEDS, inserts=tags.INSERTS) as (session, queries):
        writer = tags.SectorTags(session, queries.catalog, user)
        found = [await writer.position(position)]
        return await _restore(writer, session, queries, found, profile_cache)


async def restore_sector_tags_for_portfolio(
    db: object,
    user_id: uuid.UUID | str,
    portfolio_id: uuid.UUID | str,
    profile_cache: ProfileCache | None = None,
    *,
    schema: Schema | None = None,
) -> SectorTagResult:
    """Give each position of a portfolio the tag of its sector, and no other sector tag.

    Like `restore_sector_tag_for_position`, arguments and errors too, for all positions that are
    not soft-deleted; the number of statements does not grow with them.
    """
    check_cache("profile_cache", profile_cache)
    portfolio, user = checked_id(portfolio_id, "portfolio_id"), checked_id(user_id, "user_id")
    async with changing(db, schema, tags.NEEDS, inserts=tags.INSERTS) as (session, queries):
        writer = tags.SectorTags(session, queries.catalog, user)
        found = await writer.positions(portfolio)
        return await _restore(writer, session, queries, found, profile_cache)


async def _restore(
    writer: tags.SectorTags,
    session: Session,
    queries: Queries,
    positions: Sequence[tags.TaggedPosition],
    cache: ProfileCache | None,
) -> SectorTagResult:
    symbols = sorted({loads.normalised(position.symbol or "") for position in positions})
    profiles = await _profiles(session, queries, symbols, cache)
    row_of = {symbol: row for row, symbol in enumerate(symbols)}
    sectors = {}
    for position in positions:
        row = row_of[loads.normalised(position.symbol or "")]
        sectors[position.id] = sector_tag(
            profiles.sector[row], is_etf=profiles.is_etf[row], kind=_kind(position)
        )
    changes = await writer.put(sectors, COLORS)
    return SectorTagResult(
        tags=dict(sorted(Counter(sectors.values()).items())),
        created=changes.created,
        adopted=changes.adopted,
        removed=changes.removed,
        unchanged=len(positions) - changes.assigned,
    )


def _kind(position: tags.TaggedPosition) -> LotKind:
    if loads.normalised(position.investment_class or "") == "PRIVATE":
        return LotKind.PRIVATE
    return LotKind.OPTION if position.position_type in OPTION_TYPES else LotKind.STOCK


async def calculate_portfolio_provider_beta(
    db: object,
    portfolio_id: uuid.UUID | str,
    profile_cache: ProfileCache | None = None,
    weights: str = "market_value",
    *,
    calculation_date: dt.date | None = None,
    schema: Schema | None = None,
) -> ProviderBeta:
    """Return the beta of a portfolio from those of its companies' profiles (A1).

    Positions are valued by their marks (S4) on the date. The beta is a share of their value, or of
    the equity: that of the latest complete snapshot on or before the date, else
    `portfolios.equity_balance`.

    Args:
        db: Any kind of database, a caller's transaction too.
        portfolio_id: Which.
        profile_cache: Profiles that were loaded before; what it lacks is loaded.
        weights: `market_value` or `equity`.
        calculation_date: The date; None is the last session of XNYS that is closed by now.
        schema: Names of tables and columns; None for those of docs/schema.md.

    Returns:
        ``portfolio_beta``, 1.0 without any; ``positions_with_beta`` of ``total_positions`` LONG and
        SHORT ones that are held, not PRIVATE and worth something; ``coverage``, the share of their
        absolute value that has a beta, 0 to 1, and 0 without a beta; and ``calculation_date``.

    Raises:
        ConfigError: there is no such portfolio or it is soft-deleted, unknown ``weights``, or
            ``db`` is of a wrong kind.
        SchemaError: a table or column is missing.
        DatabaseError: the database refused, failed or went away.

    Source:
        docs/semantics.md, A1.
    """
    check_choice("weights", weights, BETA_WEIGHTS)
    holding = _holding(db, schema, portfolio_id, calculation_date, profile_cache)
    async with holding as (_, held):
        lots, beta = held.lots, held.profiles.beta
    values: dict[str, Any] = {
        "portfolio": lots.portfolio,
        "symbol": held.symbol,
        "kind": lots.kind,
        "value": lots.value,
        "beta": beta,
    }
    ((coverage,),) = beta_coverage(**values, portfolios=1)
    ((found,),) = provider_beta(**values, equity=held.equity, weights=weights)
    counts = (lots.kind == LotKind.STOCK) & (lots.value[:, 0] != 0)
    has_beta = np.nan_to_num(beta)[held.symbol] != 0
    known = not np.isnan(found)
    return ProviderBeta(
        portfolio_beta=float(found) if known else BETA_WITHOUT_ANY,
        positions_with_beta=len(np.unique(lots.position[counts & has_beta])),
        total_positions=len(np.unique(lots.position[counts])),
        coverage=float(coverage) if known else 0.0,
        calculation_date=calendars.date_of(held.day),
    )


async def calculate_portfolio_sector_exposure(
    db: object,
    portfolio_id: uuid.UUID | str,
    profile_cache: ProfileCache | None = None,
    *,
    benchmark: str = "SP500",
    calculation_date: dt.date | None = None,
    schema: Schema | None = None,
) -> SectorExposure:
    """Return the share of a portfolio in each sector, beside that of a benchmark (A2).

    Positions are valued by their marks (S4) on the date, their absolute values divided by the
    equity: that of the latest complete snapshot on or before the date, else
    `portfolios.equity_balance`.

    Args:
        db: Any kind of database, a caller's transaction too.
        portfolio_id: Which.
        profile_cache: Profiles that were loaded before; what it lacks is loaded.
        benchmark: Code of `benchmarks_sector_weights`.
        calculation_date: The date; None is the last session of XNYS that is closed by now.
        schema: Names of tables and columns; None for those of docs/schema.md.

    Returns:
        ``sector_weights`` by name of sector, sorted, without those of no value; None if the equity
        is not above 0. ``benchmark_weights``, the newest on or before the date, by the same names;
        empty without any, and ``benchmark_date`` None. ``over_underweights``, the first less the
        second over the sectors of either; None if one of them is missing. ``benchmark`` and
        ``calculation_date``.

    Raises:
        ConfigError: there is no such portfolio or it is soft-deleted, or ``db`` is of a wrong
            kind.
        SchemaError: a table or column is missing; without benchmark table there are no benchmark
            weights.
        DatabaseError: the database refused, failed or went away.

    Source:
        docs/semantics.md, A2.
    """
    holding = _holding(db, schema, portfolio_id, calculation_date, profile_cache)
    async with holding as (queries, held):
        found = await _benchmark(held.session, queries, benchmark, held.day)
    shares = _shares(held)
    of_benchmark = {
        sector: 0.0 - weight for sector, weight in over_and_underweights({}, found.weights).items()
    }
    both = shares is not None and found.day is not None
    return SectorExposure(
        sector_weights=shares,
        benchmark=benchmark,
        benchmark_date=None if found.day is None else calendars.date_of(found.day),
        benchmark_weights=of_benchmark,
        over_underweights=over_and_underweights(shares or {}, of_benchmark) if both else None,
        calculation_date=calendars.date_of(held.day),
    )


@dataclass(frozen=True, eq=False, slots=True)
class _Held:
    """A portfolio on a date.

    Attributes:
        session: It was read in.
        day: The date.
        lots: With their values.
        symbol: (l,) row of `profiles` of each lot.
        profiles: Of the symbols of positions, normalised and distinct.
        equity: (1, 1) float64 dollars, NaN where there is none.
    """

    session: Session
    day: int
    lots: Holdings
    symbol: npt.NDArray[np.intp]
    profiles: SymbolProfiles
    equity: npt.NDArray[np.float64]


@contextlib.asynccontextmanager
async def _holding(
    db: object,
    schema: Schema | None,
    portfolio_id: uuid.UUID | str,
    date: dt.date | None,
    cache: ProfileCache | None,
) -> AsyncIterator[tuple[Queries, _Held]]:
    """Give what a portfolio holds on a date, the last session closed by now without one."""
    check_cache("profile_cache", cache)
    portfolio = checked_id(portfolio_id, "portfolio_id")
    if date is not None and type(date) is not dt.date:
        msg = f"calculation_date is {date!r}, expected a datetime.date"
        raise ConfigError(msg, "calculation_date")
    sessions = calendars.load("XNYS")
    async with reading(db, schema, NEEDS) as (session, queries):
        day = sessions.last_closed(await session.now()) if date is None else calendars.day_of(date)
        selection = Selection(np.frombuffer(portfolio.bytes, dtype=np.uint8).reshape(1, 16))
        portfolios = await loads.load_portfolios(session, queries, sessions, day + 1, selection)
        if len(portfolios) == 0 or portfolios.deleted[0]:
            why = "unknown" if len(portfolios) == 0 else "soft-deleted"
            raise ConfigError(f"{why} portfolio {portfolio}", "portfolio_id")
        latest, own = portfolios.before, portfolios.equity_balance
        equity = latest.equity_balance if latest.day.state[0] == State.VALUE else own
        positions = await loads.load_positions(session, queries, selection)
        spelt = [loads.normalised(symbol) for symbol in positions.symbol.table()]
        symbols = sorted(set(spelt))
        events = await loads.load_events(session, queries, selection)
        prices = await loads.load_fallback(session, queries, symbols, (), day, day)
        profiles = await _profiles(session, queries, symbols, cache)
        opening = Opening(portfolio_id=portfolios.id, equity=own)
        lots = await asyncio.to_thread(_lots, prices, positions, events, opening, day)
        row_of = {symbol: row for row, symbol in enumerate(symbols)}
        rows = np.array([row_of[symbol] for symbol in spelt], dtype=np.intp)[lots.symbol]
        yield queries, _Held(session, day, lots, rows, profiles, floats(equity).reshape(1, 1))


def _lots(
    prices: Prices, positions: Positions, events: Events, opening: Opening, day: int
) -> Holdings:
    sessions = np.array([day], dtype=np.int32)
    return hold(
        build_market(prices, sessions),
        positions=positions,
        events=events,
        opening=opening,
        sessions=sessions,
    )


async def _profiles(
    session: Session, queries: Queries, symbols: Sequence[str], cache: ProfileCache | None
) -> SymbolProfiles:
    """Return the profiles of normalised symbols, those that the cache has from there."""
    known = {} if cache is None else {symbol: cache.get(symbol) for symbol in symbols}
    lacking = [symbol for symbol in symbols if known.get(symbol) is None]
    rows: dict[str, tuple[float, str | None, bool]] = {
        symbol: (math.nan if one.beta is None else float(one.beta), one.sector, bool(one.is_etf))
        for symbol, one in known.items()
        if one is not None
    }
    if lacking:
        loaded = await load_profiles(session, AnalyticQueries(queries.catalog), lacking)
        columns = zip(loaded.beta.tolist(), loaded.sector, loaded.is_etf, strict=True)
        rows |= zip(lacking, columns, strict=True)
    found = [rows[symbol] for symbol in symbols]
    return SymbolProfiles(
        np.array([beta for beta, _, _ in found], dtype=np.float64),
        tuple(sector for _, sector, _ in found),
        tuple(is_etf for _, _, is_etf in found),
    )


async def _benchmark(session: Session, queries: Queries, code: str, day: int) -> Benchmark:
    catalog = queries.catalog
    if not all(catalog.has_table(table) for table in BENCHMARKS):
        return Benchmark(None, {})
    check_needs(catalog, BENCHMARKS)
    return await load_benchmark(session, BenchmarkQueries(catalog), code, day)


def _shares(held: _Held) -> dict[str, float] | None:
    if not held.equity[0, 0] > 0:
        return None
    profiles, lots = held.profiles, held.lots
    of_lots = [
        sector_of(profiles.sector[symbol], is_etf=profiles.is_etf[symbol], kind=kind)
        for symbol, kind in zip(held.symbol.tolist(), lots.kind.tolist(), strict=True)
    ]
    names, sector = np.unique(np.array(of_lots, dtype=np.object_), return_inverse=True)
    shares = sector_exposure(
        portfolio=lots.portfolio,
        sector=sector,
        value=lots.value,
        equity=held.equity,
        sectors=len(names),
    )[0, 0]
    both = zip(names.tolist(), shares.tolist(), strict=True)
    return {name: share for name, share in both if not math.isnan(share)}
