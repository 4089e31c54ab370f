"""Seed data, a whole run on them, and the comparison of every row with the reference."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np

from batchcore.analytics.returns import simple_returns
from batchcore.analytics.symbol_beta import symbol_betas
from batchcore.calendar import date_of
from batchcore.config import Fx, Schema, Settings, Splits
from batchcore.db.migrate import migrate
from batchcore.demo.check_rows import Checked, check
from batchcore.demo.currencies import with_rates
from batchcore.demo.data import CLOSE_SCALE, real_profiles
from batchcore.demo.market import (
    demo_portfolios,
    generated_market,
    generated_portfolios,
    price_table,
    real_market,
    split_table,
    with_factors,
    with_splits,
)
from batchcore.demo.seed import create_mapped, fill
from batchcore.demo.stored import Valuation, reading
from batchcore.demo.universe import (
    BETA_SCALE,
    benchmark_table,
    factor_table,
    generated_profiles,
    profile_table,
    tag_tables,
    user_table,
)
from batchcore.run.batch import run_batch
from batchcore.units import CENTS, FACTOR_ETFS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchcore.demo.data import Profile
    from batchcore.demo.market import Market, Portfolios
    from batchcore.frames import Table
    from batchcore.options import Progress
    from batchcore.run.result import BatchResult

CHECKED_OF_GENERATED: Final = 50
"""Portfolios of a generated market that are checked; of real closes all are."""

SHOWN: Final = 10
"""Portfolios in the table of the demo."""

SYMBOLS: Final = 500
"""Default number of stocks and options of a generated market."""


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a market."""

    portfolios: int = 300
    symbols: int | None = None  # stocks and options; None takes the real closes of the package
    sessions: int = 120  # to value

    @classmethod
    def of(
        cls, portfolios: int | None = None, symbols: int | None = None, sessions: int | None = None
    ) -> Size:
        """Return the size of the real closes if nothing is given, else of a generated market."""
        given = {"portfolios": portfolios, "symbols": symbols, "sessions": sessions}
        known = {name: number for name, number in given.items() if number is not None}
        return cls(**{"symbols": SYMBOLS, **known}) if known else cls()


@dataclass(frozen=True, eq=False, slots=True)
class Seeded:
    """A market, portfolios and related rows, not written anywhere yet."""

    size: Size
    seed: int
    market: Market  # closes of the symbols held
    portfolios: Portfolios
    prices: Market  # as in the price table: with factor ETFs, and history for betas
    profiles: tuple[Profile, ...]  # of `prices`

    @property
    def tables(self) -> tuple[Table, ...]:
        """Return all tables in the order of foreign keys."""
        day, seed = int(self.market.days[0]), self.seed
        return (
            user_table(self.portfolios, day=day),
            *self.portfolios.tables,
            *tag_tables(self.portfolios, day=day, seed=seed),
            profile_table(self.profiles, day=day),
            factor_table(day=day, seed=seed),
            benchmark_table(day=day, seed=seed),
            price_table(self.prices, seed=seed),
            *((split_table(self.market),) if self.market.splits else ()),
        )

    def opening(self) -> dict[UUID, Decimal | None]:
        """Return the opening equity of each portfolio."""
        opening = self.portfolios.inputs.opening
        ids = [UUID(bytes=row.tobytes()) for row in opening.portfolio_id]
        cents = opening.equity.values.tolist()
        return {own: Decimal(one).scaleb(-CENTS) for own, one in zip(ids, cents, strict=True)}

    async def write(
        self, db: object, *, schema: Schema | None = None, progress: Progress | None = None
    ) -> int:
        """Fill an empty database with the data, see `fill`; return the rows written.

        Where the schema maps rates, a few symbols are quoted in other currencies.
        """
        tables, mapped = self.tables, None if schema is None else schema.fx
        if mapped is not None:
            tables = with_rates(tables, mapped, last=self.market.end, seed=self.seed)
        return await fill(db, tables, schema=schema, progress=progress)


@dataclass(frozen=True, slots=True)
class Demo:
    """The result of a demo."""

    size: Size
    seed: int
    symbols: int
    closes: int  # written
    positions: int
    result: BatchResult
    shown: tuple[Valuation, ...]  # the first portfolios after the last session
    total: Valuation  # all of them
    checked: Checked
    seconds: dict[str, float] = field(default_factory=dict)  # by step

    def to_dict(self) -> dict[str, Any]:
        """Return it as a value for JSON."""
        return {
            "market": "real" if self.size.symbols is None else "generated",
            "seed": self.seed,
            "symbols": self.symbols,
            "closes": self.closes,
            "positions": self.positions,
            "seconds": {name: round(seconds, 6) for name, seconds in self.seconds.items()},
            "total": {
                name: str(getattr(self.total, name))
                for name in ("equity", "pnl", "realized", "flow", "gross")
            },
            "checked": asdict(self.checked),
            "run": self.result.to_dict(),
        }


def seeded(size: Size, *, seed: int, splits: bool = False) -> Seeded:
    """Return a market and portfolios: on real closes, or generated.

    With ``splits`` a few stocks of a generated market split; closes are as traded, and positions
    as entered.
    """
    if size.symbols is None:
        market = prices = real_market(size.sessions)
        portfolios = demo_portfolios(market, count=size.portfolios, seed=seed)
        profiles = with_betas(real_profiles(), market)
    else:
        market = generated_market(size.symbols, size.sessions, seed=seed)
        if splits:
            market = with_splits(market, seed=seed)
        portfolios = generated_portfolios(size.portfolios, market, seed=seed)
        prices = with_factors(market, seed=seed)
        profiles = generated_profiles(prices, seed=seed)
    return Seeded(size, seed, market, portfolios, prices, profiles)


def with_betas(profiles: Sequence[Profile], market: Market) -> tuple[Profile, ...]:
    """Return profiles with the betas of the session before the first one to value.

    They are those of A5, to 4 decimals, so that none depends on closes of the sessions valued.
    Without betas if there are fewer than 60 sessions before them.
    """
    known = np.where(market.known, market.closes, np.nan)[: market.first]
    returns = simple_returns(known / 10**CLOSE_SCALE)
    spy = market.symbols.index(FACTOR_ETFS[0])
    found = symbol_betas(returns, returns[:, spy]).beta[0].tolist()
    betas = {
        symbol: None if math.isnan(beta) else round(Decimal(beta), BETA_SCALE)
        for symbol, beta in zip(market.symbols, found, strict=True)
    }
    return tuple(replace(profile, beta=betas[profile.symbol]) for profile in profiles)


def schema_of(size: Size) -> Schema:
    """Return the schema of the database of a demo: a generated market has splits and rates."""
    if size.symbols is None:
        return Schema()
    return Schema(
        splits=Splits("stock_splits", "as_traded", "as_entered"),
        fx=Fx("fx_rates", "positions.currency"),
    )


async def run_demo(
    url: str,
    size: Size,
    *,
    seed: int,
    progress: Progress | None = None,
) -> Demo:
    """Migrate an empty database, fill it, run the batch over all sessions, and check its rows.

    The seed also selects the portfolios that are checked. Progress is that of `run_batch`, with the
    phases `fill` and `check` too.
    """
    seconds = dict[str, float]()
    began = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal began
        now = time.perf_counter()
        seconds[name] = now - began
        began = now

    data = seeded(size, seed=seed, splits=True)
    settings = Settings(schema=schema_of(size))
    lap("generate")
    await migrate(url)
    await create_mapped(url, settings.schema)
    lap("migrate")
    await data.write(url, schema=settings.schema, progress=progress)
    lap("fill")
    market = data.market
    result = await run_batch(
        url, date_of(market.start), date_of(market.end), settings=settings, progress=progress
    )
    lap("run")
    checked = await check(
        url,
        data.opening(),
        market.days[market.first :].tolist(),
        settings=settings,
        sample=None if size.symbols is None else CHECKED_OF_GENERATED,
        seed=seed,
        progress=progress,
    )
    lap("check")
    async with reading(url, schema=settings.schema) as reader:
        shown, total = await reader.valuations(market.end, SHOWN)
    return Demo(
        size=size,
        seed=seed,
        symbols=len(market.symbols),
        closes=int(data.prices.known.sum()),
        positions=len(data.portfolios.inputs.positions),
        result=result,
        shown=tuple(shown),
        total=total,
        checked=checked,
        seconds=seconds,
    )
