"""Functions of one portfolio: its beta, its sectors, and the sector tags of its positions."""

from __future__ import annotations

import asyncio
import datetime as dt  # imported for type annotations only
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol, TypedDict

import numpy as np

from batchcore import calendar as calendars
from batchcore.analytics.provider_beta import beta_coverage, provider_beta
from batchcore.analytics.sector_exposure import COLORS, over_and_underweights, sector_tag
from batchcore.arguments import checked_id
from batchcore.caches import CompanyProfile, check_cache
from batchcore.config import BETA_WEIGHTS, Schema, Settings
from batchcore.db.access import changing, reading, rechecked
from batchcore.db.check import check
from batchcore.declared import optional_date
from batchcore.errors import ConfigError, RateMissingError
from batchcore.frames import Decimals, Flows, Opening, Previous, distinct
from batchcore.late_imports import check_choice
from batchcore.native import Book, held_lots, roll_forward
from batchcore.options import RunOptions
from batchcore.run.analysis import Sectors
from batchcore.run.valuation import Valuation
from batchcore.schema import Use
from batchcore.sinks import tags
from batchcore.sources.events_flows import select_events
from batchcore.sources.host import Selection, floats
from batchcore.sources.portfolios import select_portfolios
from batchcore.sources.positions import select_positions
from batchcore.sources.prices import load_fallback
from batchcore.sources.profiles import (
    WEIGHTS,
    Benchmark,
    SymbolProfiles,
    load_profiles,
    select_benchmark,
)
from batchcore.sources.query import load
from batchcore.units import CENTS, LotKind
from batchcore.values import normalised

if TYPE_CHECKING:
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Floats, Holdings, Int32, Rows
    from batchcore.pg.session import Session

BETA_WITHOUT_ANY: Final = 1.0
"""The beta of a portfolio without any (A1)."""

OPTION_TYPES: Final = frozenset({"LC", "LP", "SC", "SP"})

USES: Final = Use.HOLDINGS | Use.VALUATION | Use.SECTORS
"""The uses of tables and columns for beta and sectors of a portfolio."""


class ProfileCache(Protocol):
    """Profiles loaded before, such as a `CompanyProfileCache`."""

    def get(self, symbol: str, /) -> CompanyProfile | None:
        """Return the profile of a symbol; None if there is none."""


class ProviderBeta(TypedDict):
    """The result of `calculate_portfolio_provider_beta`."""

    portfolio_beta: float
    positions_with_beta: int
    total_positions: int
    coverage: float
    calculation_date: dt.date


class SectorExposure(TypedDict):
    """The result of `calculate_portfolio_sector_exposure`."""

    sector_weights: dict[str, float] | None
    benchmark: str
    benchmark_date: dt.date | None
    benchmark_weights: dict[str, float]
    over_underweights: dict[str, float] | None
    calculation_date: dt.date


@dataclass(frozen=True, slots=True)
class SectorTagResult:
    """The sector tags of some positions, and the changes made.

    Attributes:
        tags: Name of a sector -> number of the positions with its tag, sorted by name.
        created: Tags created.
        adopted: Existing tags put on a position.
        removed: Number of other sector tags taken off positions.
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

    The user's tags with the names of sectors (A2) are sector tags, archived ones too; only one that
    is not archived is put on a position. It is created, in the colour of its sector, if the user
    has none; an existing tag keeps its colour. All other tags stay. The uses of every sector tag
    that is or was on the position are then counted. A second call changes nothing.

    Args:
        db: Any kind of database. In a caller's transaction nothing is committed.
        user_id: Whose position and tags.
        position_id: A position in a portfolio of the user.
        profile_cache: Profiles loaded before; those that it lacks are loaded.
        schema: Names of tables and columns; None for those of docs/schema.md.

    Raises:
        ConfigError: there is no such position, it is soft-deleted or another user's, or ``db`` is
            of a wrong kind.
        SchemaError: a table or column is missing.
        DatabaseError: the database refused, failed or went away.
    """
    return await _restore(db, user_id, "position", position_id, profile_cache, schema)


async def restore_sector_tags_for_portfolio(
    db: object,
    user_id: uuid.UUID | str,
    portfolio_id: uuid.UUID | str,
    profile_cache: ProfileCache | None = None,
    *,
    schema: Schema | None = None,
) -> SectorTagResult:
    """Give each position of a portfolio the tag of its sector, and no other sector tag.

    Like `restore_sector_tag_for_position`, whose other arguments it has, for all positions of a
    portfolio of the user that are not soft-deleted, by the same number of statements whatever
    their number.

    Raises:
        ConfigError: there is no such portfolio, it is soft-deleted or another user's.
        BatchcoreError: as `restore_sector_tag_for_position` does.
    """
    return await _restore(db, user_id, "portfolio", portfolio_id, profile_cache, schema)


async def _restore(  # noqa: PLR0917  # the arguments of both, and what the id is of
    db: object,
    user_id: uuid.UUID | str,
    what: str,
    given: uuid.UUID | str,
    cache: ProfileCache | None,
    schema: Schema | None,
) -> SectorTagResult:
    key = checked_id(given, f"{what}_id")
    check_cache("profile_cache", cache)
    user = checked_id(user_id, "user_id")
    async with changing(db, schema, tags.USES) as (session, catalog):
        writer = tags.SectorTags(session, catalog, user)
        positions = await writer.positions(what, key)
        symbols = sorted({normalised(position.symbol or "") for position in positions})
        profiles = await _profiles(session, catalog, symbols, cache)
        sectors = {}
        for position in positions:
            row = symbols.index(normalised(position.symbol or ""))
            sectors[position.id] = sector_tag(
                profiles.sector[row], is_etf=profiles.is_etf[row], kind=_kind(position)
            )
        changes = await writer.put(sectors, COLORS)
    return SectorTagResult(dict(sorted(Counter(sectors.values()).items())), **changes)


def _kind(position: tags.TaggedPosition) -> LotKind:
    if normalised(position.investment_class or "") == "PRIVATE":
        return LotKind.PRIVATE
    return LotKind.OPTION if position.position_type in OPTION_TYPES else LotKind.STOCK


@rechecked
async def calculate_portfolio_provider_beta(
    db: object,
    portfolio_id: uuid.UUID | str,
    profile_cache: ProfileCache | None = None,
    weights: str = "market_value",
    *,
    calculation_date: dt.date | None = None,
    schema: Schema | None = None,
    settings: Settings | None = None,
) -> ProviderBeta:
    """Return the beta of a portfolio from those of its companies' profiles (A1).

    Positions are valued by their marks (S4) on the date. The beta is a share of their value, or of
    the equity: that of the latest complete snapshot on or before the date, else
    `portfolios.equity_balance`.

    Args:
        db: Any kind of database, a caller's transaction too.
        portfolio_id: Which.
        profile_cache: Profiles loaded before; those that it lacks are loaded.
        weights: `market_value` or `equity`.
        calculation_date: The date; None is the last session of XNYS that is closed by now.
        schema: Names of tables and columns; None for those of the settings.
        settings: Those of a run: `schema`, `fx_lookback_days` and `fx_pivot` count.

    Returns:
        ``portfolio_beta``, 1.0 without any; ``positions_with_beta`` of ``total_positions`` LONG and
        SHORT ones that are held, not PRIVATE and worth something; ``coverage``, the share of their
        absolute value that has a beta, 0 to 1, and 0 without a beta; and ``calculation_date``.

    Raises:
        ConfigError: there is no such portfolio or it is soft-deleted, unknown ``weights``, or
            ``db`` is of a wrong kind.
        SchemaError: a table or column is missing.
        RateMissingError: a lot in another currency has no rate (C7).
        DatabaseError: the database refused, failed or went away.

    Source:
        docs/semantics.md, A1, C6 and C7.
    """
    check_choice("weights", weights, BETA_WEIGHTS)
    portfolio, own = _checked(portfolio_id, profile_cache, calculation_date, schema, settings)
    async with reading(db, own.schema, USES) as (session, catalog):
        held = await _load(session, catalog, portfolio, calculation_date, own, profile_cache)
    lots, beta = held.lots, held.profiles.beta
    ((coverage,),) = beta_coverage(**lots, beta=beta, portfolios=1)
    ((found,),) = provider_beta(**lots, equity=held.equity, beta=beta, weights=weights)
    counts = (lots["kind"] == LotKind.STOCK) & (lots["value"][:, 0] != 0)
    has_beta = np.nan_to_num(beta)[lots["symbol"]] != 0
    known = not np.isnan(found)
    return ProviderBeta(
        portfolio_beta=float(found) if known else BETA_WITHOUT_ANY,
        positions_with_beta=len(distinct(held.position[counts & has_beta])),
        total_positions=len(distinct(held.position[counts])),
        coverage=float(coverage) if known else 0.0,
        calculation_date=calendars.date_of(held.day),
    )


@rechecked
async def calculate_portfolio_sector_exposure(
    db: object,
    portfolio_id: uuid.UUID | str,
    profile_cache: ProfileCache | None = None,
    *,
    benchmark: str = "SP500",
    calculation_date: dt.date | None = None,
    schema: Schema | None = None,
    settings: Settings | None = None,
) -> SectorExposure:
    """Return the share of a portfolio in each sector, with that of a benchmark (A2).

    Positions are valued as in `calculate_portfolio_provider_beta`, whose other arguments it has,
    and their absolute values divided by the equity. ``benchmark`` is a code of
    `benchmarks_sector_weights`.

    Returns:
        ``sector_weights`` by name of sector, sorted, without those of no value; None if the equity
        is not above 0. ``benchmark_weights``, the newest on or before the date, by the same names;
        empty without any, and ``benchmark_date`` None. ``over_underweights``, the first less the
        second over the sectors of either; None if one of them is missing. ``benchmark`` and
        ``calculation_date``.

    Raises:
        SchemaError: a table or column is missing; without benchmark table there are no benchmark
            weights.
        BatchcoreError: as `calculate_portfolio_provider_beta` does.

    Source:
        docs/semantics.md, A2, C6 and C7.
    """
    portfolio, own = _checked(portfolio_id, profile_cache, calculation_date, schema, settings)
    async with reading(db, own.schema, USES) as (session, catalog):
        held = await _load(session, catalog, portfolio, calculation_date, own, profile_cache)
        found = Benchmark(None, {})
        if catalog.has_table(WEIGHTS):
            check(catalog, Use.BENCHMARKS, writes=False)
            found = await load(session, select_benchmark(catalog, benchmark, held.day))
    shares = None
    if held.equity[0, 0] > 0:
        sectors = Sectors.of(held.profiles)
        own_shares = sectors.shares(held.lots, held.equity)[0, 0].tolist()
        by_name = zip(sectors.names, own_shares, strict=True)
        shares = {name: share for name, share in by_name if not np.isnan(share)}
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
class _Holding:
    """The lots of a portfolio on a date."""

    day: int
    lots: dict[str, Any]  # as the functions of `analytics` take them; symbols are of the profiles
    position: Int32  # (l,) which position each is of
    equity: Floats  # (1, 1) dollars, NaN where there is none
    profiles: SymbolProfiles


async def _load(  # noqa: PLR0917  # what of which portfolio, and how
    session: Session,
    catalog: Catalog,
    portfolio: uuid.UUID,
    date: dt.date | None,
    settings: Settings,
    cache: ProfileCache | None,
) -> _Holding:
    sessions = calendars.load("XNYS")
    day = sessions.last_closed(await session.now()) if date is None else calendars.day_of(date)
    selection = Selection(np.frombuffer(portfolio.bytes, dtype=np.uint8).reshape(1, 16))
    query = select_portfolios(catalog, sessions, day + 1, selection)
    portfolios = await load(session, query)
    if len(portfolios) == 0 or portfolios.deleted[0]:
        why = "unknown" if len(portfolios) == 0 else "soft-deleted"
        raise ConfigError(f"{why} portfolio {portfolio}", "portfolio_id")
    latest = portfolios.before
    equity = latest.equity_balance if latest.day.state[0] == 0 else portfolios.equity_balance
    positions = await load(session, select_positions(catalog, selection))
    spelt = [normalised(one) for one in positions.symbol.table()]
    symbols = sorted(set(spelt))
    events = await load(session, select_events(catalog, selection))
    prices = await load_fallback(session, catalog, symbols, (), (day, day))
    profiles = await _profiles(session, catalog, symbols, cache)
    days = np.array([day], dtype=np.int32)
    valuation = Valuation(catalog, settings, days)
    market = await valuation.market(session, prices, symbols)
    book = Book(positions=positions, events=events, flows=Flows.none())
    book = await valuation.convert(session, book, portfolios.currency)
    opening = Opening(
        portfolio_id=portfolios.id,
        equity=Decimals.nulls(1, CENTS),  # no equity, so none is out of range
        currency=portfolios.currency,
    )

    def held() -> Holdings:
        if book.rates is not None:
            previous = Previous.none()
            _check_rates(roll_forward(market, book, previous=previous, opening=opening))
        return held_lots(market, book, opening=opening, sessions=days)

    lots = await asyncio.to_thread(held)
    row = np.array([symbols.index(one) for one in spelt], dtype=np.int64)
    return _Holding(
        day=day,
        lots={
            "portfolio": lots.portfolio,
            "symbol": row[lots.symbol],
            "kind": lots.kind,
            "value": lots.value,
        },
        position=lots.position,
        equity=floats(equity).reshape(1, 1),
        profiles=profiles,
    )


def _check_rates(rows: Rows) -> None:
    """Raise an error if a run on the date would fail for a missing rate (C7)."""
    issues = rows.issues
    for name, day, rate in zip(
        issues.name.texts(), issues.day.values.tolist(), issues.detail.texts(), strict=True
    ):
        if name == "fx_missing":
            session = calendars.date_of(day).isoformat()
            msg = f"no rate for a lot in another currency on {session}: {rate}"
            raise RateMissingError(msg, str(rate), session)


async def _profiles(
    session: Session, catalog: Catalog, symbols: Sequence[str], cache: ProfileCache | None
) -> SymbolProfiles:
    """Return the profiles of normalised symbols, from the cache where it has them."""
    known = {} if cache is None else {symbol: cache.get(symbol) for symbol in symbols}
    found = {
        symbol: (
            np.nan if profile.beta is None else float(profile.beta),
            profile.sector,
            bool(profile.is_etf),
        )
        for symbol, profile in known.items()
        if profile is not None
    }
    if lacking := [symbol for symbol in symbols if symbol not in found]:
        loaded = await load_profiles(session, catalog, lacking)
        columns = zip(loaded.beta.tolist(), loaded.sector, loaded.is_etf, strict=True)
        found.update(zip(lacking, columns, strict=True))
    rows = [found[symbol] for symbol in symbols]
    return SymbolProfiles(
        np.array([beta for beta, _, _ in rows], dtype=np.float64),
        tuple(sector for _, sector, _ in rows),
        tuple(is_etf for _, _, is_etf in rows),
    )


def _checked(
    portfolio: uuid.UUID | str,
    cache: ProfileCache | None,
    date: dt.date | None,
    schema: Schema | None,
    settings: Settings | None,
) -> tuple[uuid.UUID, Settings]:
    own = Settings() if settings is None else settings
    RunOptions(settings=own)  # which checks them
    check_cache("profile_cache", cache)
    optional_date(date, "calculation_date")
    portfolio = checked_id(portfolio, "portfolio_id")
    return portfolio, own if schema is None else replace(own, schema=schema)
