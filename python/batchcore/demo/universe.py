"""Related rows of a seeded market in a database: profiles, factors, benchmark, users and tags.

As in `market`, everything is a pure function of its arguments, the same on every machine.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from batchcore.demo.data import Profile, benchmark_weights
from batchcore.demo.market import FUNDS, PER_MILLE, Dice, Stream, stamps, uuids
from batchcore.frames import Constant, Days, Decimals, Integers, Table, Text, known_states
from batchcore.units import CENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from batchcore.demo.market import Market, Portfolios
    from batchcore.frames import Bytes

BETA_SCALE: Final = 4
WEIGHT_SCALE: Final = 6
SOURCE: Final = Constant("batchcore")

PER_MILLE_WITHOUT_PROFILE: Final = 30
PER_MILLE_ETF: Final = 30
PER_MILLE_WITHOUT_SECTOR: Final = 10
PER_MILLE_WITHOUT_BETA: Final = 40
PER_MILLE_BETA_ZERO: Final = 20
BETA_DEVIATION: Final = 4500  # of 10,000, which is 1

SECTORS: Final = (
    ("Technology", 140, ("Software - Application", "Semiconductors")),
    ("Financial Services", 140, ("Banks - Regional", "Insurance - Diversified")),
    ("Healthcare", 125, ("Biotechnology", "Medical Devices")),
    ("Industrials", 155, ("Specialty Industrial Machinery", "Aerospace & Defense")),
    ("Consumer Cyclical", 110, ("Specialty Retail", "Restaurants")),
    ("Consumer Defensive", 75, ("Packaged Foods", "Discount Stores")),
    ("Communication Services", 45, ("Entertainment", "Telecom Services")),
    ("Utilities", 60, ("Utilities - Regulated Electric", "Utilities - Regulated Gas")),
    ("Real Estate", 60, ("REIT - Industrial", "REIT - Residential")),
    ("Basic Materials", 50, ("Specialty Chemicals", "Gold")),
    ("Energy", 40, ("Oil & Gas E&P", "Oil & Gas Midstream")),
)
"""Sector, its stocks in a thousand (about the shares of the S&P 500's companies), industries."""

COUNTRIES: Final = ("United States",) * 17 + ("Ireland", "Canada", "United Kingdom")

USER_TAGS: Final = (("Core", "#1f6f5c"), ("Watch", "#c0392b"), ("Tax lot", "#6c5ce7"))
"""Names and colours of the users' own tags."""

SECTOR_NAME_TAG: Final = ("Technology", "#abcdef")
"""A tag of some users with the name of a sector, made before there were sector tags."""

PER_MILLE_TAGGED: Final = 150
USERS_A_SECTOR_NAME: Final = 3  # one user in three has it


class Factor(NamedTuple):
    """A row of `factor_definitions`."""

    name: str
    kind: str  # `factor_type`
    etf: str  # whose returns stand for it (A7)


FACTORS: Final = (
    Factor("Market", "market", "SPY"),
    Factor("Long Treasury", "rates", "TLT"),
    Factor("Intermediate Treasury", "rates", "IEF"),
    Factor("Short Treasury", "rates", "SHY"),
    Factor("High Yield", "credit", "HYG"),
    Factor("Investment Grade", "credit", "LQD"),
    Factor("Value", "style", "VTV"),
    Factor("Growth", "style", "VUG"),
    Factor("Momentum", "style", "MTUM"),
    Factor("Quality", "style", "QUAL"),
    Factor("Low Volatility", "style", "USMV"),
)
"""The factors of the eleven ETFs, in the order in which they are shown."""


def generated_profiles(market: Market, *, seed: int) -> tuple[Profile, ...]:
    """Return profiles of the stocks and factor ETFs of a market, by symbol.

    In a thousand stocks about 30 have none, 30 are ETFs, which have no sector, and 10 others have
    none either; 40 have no beta and 20 a beta of 0. The other betas have a mean of 1 and a
    deviation of 0.45. Options have no profile.
    """
    rng = Stream.PROFILES.of(seed)
    symbols = market.symbols[: len(market.symbols) - len(market.options)]
    dice = Dice(rng, len(symbols))
    lacking, is_etf = dice.chance(PER_MILLE_WITHOUT_PROFILE), dice.chance(PER_MILLE_ETF)
    without_sector = dice.chance(PER_MILLE_WITHOUT_SECTOR)
    without_beta, zero = dice.chance(PER_MILLE_WITHOUT_BETA), dice.chance(PER_MILLE_BETA_ZERO)
    off = rng.integers(-BETA_DEVIATION, BETA_DEVIATION + 1, (3, len(symbols))).sum(0)
    sector_of, industry_of = dice.whole(0, PER_MILLE - 1), dice.whole(0, 1)
    country_of, millions = dice.whole(0, len(COUNTRIES) - 1), dice.whole(0, 1_999_999)
    ends = np.cumsum([share for _, share, _ in SECTORS])

    profiles = []
    for row, symbol in enumerate(symbols):
        if symbol in FUNDS:
            profiles.append(_fund_profile(symbol))
            continue
        if lacking[row]:
            continue
        sector, _, industries = SECTORS[int(np.searchsorted(ends, sector_of[row], side="right"))]
        classified = not is_etf[row] and not without_sector[row]
        beta = Decimal(0 if zero[row] else 10**BETA_SCALE + int(off[row]))
        profiles.append(
            Profile(
                symbol=symbol,
                name=f"{symbol} Index Fund" if is_etf[row] else f"{symbol} Corporation",
                sector=sector if classified else None,
                industry=industries[industry_of[row]] if classified else None,
                country=COUNTRIES[country_of[row]],
                is_etf=bool(is_etf[row]),
                beta=None if without_beta[row] else beta.scaleb(-BETA_SCALE),
                market_cap=Decimal((300 + int(millions[row])) * 1_000_000),
            )
        )
    return tuple(sorted(profiles, key=lambda profile: profile.symbol))


def profile_table(profiles: Sequence[Profile], *, day: int) -> Table:
    """Return rows of `company_profiles`, of no symbol twice, made on a day."""
    made = stamps(day)
    return Table(
        "company_profiles",
        len(profiles),
        {
            "symbol": Text.of([profile.symbol for profile in profiles]),
            "company_name": Text.of([profile.name for profile in profiles]),
            "sector": Text.of([profile.sector for profile in profiles]),
            "industry": Text.of([profile.industry for profile in profiles]),
            "country": Text.of([profile.country for profile in profiles]),
            "market_cap": _decimals([profile.market_cap for profile in profiles], CENTS),
            "is_etf": np.array([profile.is_etf for profile in profiles], dtype=np.bool_),
            "beta": _decimals([profile.beta for profile in profiles], BETA_SCALE),
            "data_source": SOURCE,
            "last_updated": made["updated_at"],
            **made,
        },
    )


def factor_table(*, day: int, seed: int) -> Table:
    """Return the rows of `factor_definitions`, one for each of `FACTORS`, made on a day."""
    return Table(
        "factor_definitions",
        len(FACTORS),
        {
            "id": uuids(Stream.FACTORS.of(seed), len(FACTORS), day),
            "name": Text.of([factor.name for factor in FACTORS]),
            "description": Text.of([f"Returns of {factor.etf}" for factor in FACTORS]),
            "factor_type": Text.of([factor.kind for factor in FACTORS]),
            "calculation_method": Constant("RIDGE_REGRESSION"),
            "etf_proxy": Text.of([factor.etf for factor in FACTORS]),
            "display_order": Integers(np.arange(1, len(FACTORS) + 1, dtype=np.int32)),
            "is_active": Constant(value=True),
            **stamps(day),
        },
    )


def benchmark_table(*, day: int, seed: int) -> Table:
    """Return the rows of `benchmarks_sector_weights` that `data.benchmark_weights` has."""
    weights = benchmark_weights()
    return Table(
        "benchmarks_sector_weights",
        len(weights),
        {
            "id": uuids(Stream.BENCHMARK.of(seed), len(weights), day),
            "benchmark_code": Text.of([row.benchmark for row in weights]),
            "asof_date": Days(np.array([row.asof_day for row in weights], dtype=np.int32)),
            "sector": Text.of([row.sector for row in weights]),
            "weight": _decimals([row.weight for row in weights], WEIGHT_SCALE),
            "data_source": SOURCE,
            **stamps(day),
        },
    )


def user_table(portfolios: Portfolios, *, day: int) -> Table:
    """Return the rows of `users` that own portfolios; nobody can log in as them."""
    ids, _ = _users(portfolios)
    return Table(
        "users",
        len(ids),
        {
            "id": ids,
            "email": Text.of([f"user{row + 1:06}@example.com" for row in range(len(ids))]),
            "hashed_password": Constant("!"),  # not the form of any hash
            "full_name": Text.of([f"User {row + 1:06}" for row in range(len(ids))]),
            "is_active": Constant(value=True),
            **stamps(day),
        },
    )


def tag_tables(portfolios: Portfolios, *, day: int, seed: int) -> tuple[Table, Table]:
    """Return rows of `tags_v2` and `position_tags`: users' own tags, on some of their positions.

    Every user has those of `USER_TAGS`, one in three a tag with the name of a sector too. About
    one position in seven has one of the tags of its user.
    """
    rng = Stream.TAGS.of(seed)
    user_ids, user_of_portfolio = _users(portfolios)
    positions, opening = portfolios.inputs.positions, portfolios.inputs.opening
    made = stamps(day)
    tags = [
        (user, order, *tag)
        for user in range(len(user_ids))
        for order, tag in enumerate(
            (*USER_TAGS, SECTOR_NAME_TAG) if user % USERS_A_SECTOR_NAME == 0 else USER_TAGS
        )
    ]
    tag_ids = uuids(rng, len(tags), day)
    owner = np.array([user for user, *_ in tags])
    first, count = np.searchsorted(owner, np.arange(len(user_ids))), np.bincount(owner)

    row_of = {key.tobytes(): row for row, key in enumerate(opening.portfolio_id)}
    portfolio = np.array([row_of[key.tobytes()] for key in positions.portfolio_id], dtype=np.int64)
    (tagged,) = np.nonzero(rng.integers(0, PER_MILLE, len(positions)) < PER_MILLE_TAGGED)
    user = user_of_portfolio[portfolio[tagged]]
    tag = first[user] + rng.integers(0, count[user])
    used = Counter(tag.tolist())
    return Table(
        "tags_v2",
        len(tags),
        {
            "id": tag_ids,
            "user_id": user_ids[owner],
            "name": Text.of([name for *_, name, _ in tags]),
            "color": Text.of([color for *_, color in tags]),
            "display_order": Integers(np.array([order for _, order, *_ in tags], dtype=np.int32)),
            "usage_count": Integers(np.array([used[row] for row in range(len(tags))], np.int32)),
            "is_archived": Constant(value=False),
            **made,
        },
    ), Table(
        "position_tags",
        len(tagged),
        {
            "id": uuids(rng, len(tagged), day),
            "position_id": positions.id[tagged],
            "tag_id": tag_ids[tag],
            "assigned_at": made["created_at"],
            "assigned_by": user_ids[user],
        },
    )


def _fund_profile(symbol: str) -> Profile:
    (factor,) = (factor for factor in FACTORS if factor.etf == symbol)
    return Profile(
        symbol=symbol,
        name=f"{factor.name} ETF",
        sector=None,
        industry=None,
        country="United States",
        is_etf=True,
        beta=Decimal(FUNDS[symbol].beta).scaleb(-3),
    )


def _users(portfolios: Portfolios) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Return the distinct users, ascending, and which of them each portfolio is of."""
    of_portfolio = portfolios.portfolios.columns["user_id"]
    ids, rows = np.unique(np.asarray(of_portfolio), axis=0, return_inverse=True)
    return ids, rows.astype(np.int64)


def _decimals(values: Sequence[Decimal | None], scale: int) -> Decimals:
    """Return a column of values that have at most ``scale`` decimals."""
    mantissas = [0 if value is None else int(value.scaleb(scale)) for value in values]
    state = known_states(np.array([value is not None for value in values]))
    return Decimals(np.array(mantissas, np.int64), scale, state)
