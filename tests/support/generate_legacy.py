"""Random runs of the policy `legacy`, odd in every way that its rules know.

As in `support.generate`, all choices are made by one function, and 0 is the plain choice.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from batchcore import reference as ref
from batchcore.reference import legacy
from support.cases import Price, Run
from support.generate import (
    CHANGE_TYPES,
    LARGE_AMOUNTS,
    MONDAY,
    NAN,
    NO_CHANGE_TYPES,
    NO_DAYS,
    SCALED_COLUMNS,
    Generator,
)

SYMBOLS = ("AAA", "aaa", "BBB", "bbb", "Aaa", " AAA", "é", "É")
SPELLINGS = ("AAA", "BBB", "aaa", "Aaa", "bbb", " AAA", "é", "É", "ZZZ", "")
TYPES = ("LONG", "SHORT", "LC", "LP", "SC", "SP", None, "long")
CLASSES = (
    "PUBLIC",
    "PRIVATE",
    "OPTIONS",
    None,
    "private",
    "Private",
    "PRIVATE ",
    "PUBLIC ",
    "Public",
)
SECTORS = (
    "Technology",
    "Financial Services",
    "Financials",
    "Consumer Cyclical",
    "Consumer Defensive",
    "Basic Materials",
    "Unknown",
    "",
    None,
    "ETFs",
    "Unclassified",
)
SPOILT: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("symbol", (None,)),
    ("quantity", (None, NAN)),
    ("entry_price", (NAN,)),
    ("last_price", (NAN,)),
    ("market_value", (NAN,)),
    ("entry_day", (ref.INFINITE_DAY,)),
    ("exit_day", (ref.INFINITE_DAY,)),
)
"""Values for which a portfolio fails."""


@dataclass(frozen=True)
class LegacyGenerator(Generator):
    """Makes runs; of `Generator` it has the single values."""

    def price(self, *, huge: bool = False) -> Decimal:
        """Return a close: above 0 as a rule, ties of half cents among them."""
        if huge:
            return self.huge(self.scales.close)
        if self.scales.close >= 3 and self.chance(25):
            return Decimal(5 * self.integer(1, 9999)).scaleb(-3)
        return self.decimal(self.scales.close)

    def close(self, *, huge: bool) -> Decimal | None:
        if self.chance(8):
            return Decimal(0)
        if self.chance(8):
            return -self.price(huge=huge)
        if self.chance(self.odd):
            return self.odd_decimal(self.scales.close)
        return self.price(huge=huge)

    def prices(self, *, huge: bool) -> tuple[Price, ...]:
        closes: dict[tuple[str, int | None], Decimal | None] = {}
        for symbol in SYMBOLS[: self.integer(1, len(SYMBOLS))]:
            missing = self.one_of((20, 60, 85))
            for number in range(-14, 14):
                if not self.chance(missing):
                    closes[symbol, MONDAY + number] = self.close(huge=huge)
            if self.chance(self.odd):
                closes[symbol, self.one_of(NO_DAYS)] = self.price()
        return tuple((symbol, on, close) for (symbol, on), close in closes.items())

    def cached(self) -> dict[tuple[str, int], Decimal]:
        found = {}
        for _ in range(self.integer(0, 6) if self.chance(30) else 0):
            price = self.one_of((self.price(), Decimal(0), -self.price()))
            found[self.one_of(SPELLINGS), self.day(-3, 13)] = price
        return found

    def profile(self) -> legacy.Profile:
        beta: Decimal | None = self.decimal(4, 300) * self.one_of((1, -1, 0))
        if self.chance(25):
            beta = None
        if self.chance(2 * self.odd):
            beta = self.one_of((NAN, Decimal(9999)))
        return legacy.Profile(
            beta, self.one_of(SECTORS), self.one_of((False, False, False, True, None))
        )

    def profiles(self) -> dict[str, legacy.Profile]:
        return {symbol: self.profile() for symbol in SYMBOLS if self.chance(60)}

    def own_event(self) -> ref.Event:
        on = self.one_of(NO_DAYS) if self.chance(self.odd) else self.day(-3, 13)
        realized: Decimal | None = self.decimal(self.scales.money, 9000) * self.one_of((1, -1))
        if self.chance(self.odd):
            realized = None
        return ref.Event(on, None, realized)

    def betas(self) -> tuple[ref.Beta, ...]:
        def value() -> Decimal:
            if self.chance(2 * self.odd):
                return self.one_of((NAN, Decimal(999_999)))
            return self.decimal(6, 300) * self.one_of((1, -1, 0))

        days = [self.day(-20, 20) for _ in range(self.integer(0, 3))]
        return tuple(ref.Beta(day, value()) for day in days)

    def own_position(self, *, huge: bool) -> ref.Position:
        quantity = self.huge(self.scales.quantity) if huge else self.decimal(self.scales.quantity)
        if self.chance(25):
            quantity = Decimal(self.integer(1, 99))
        price: Decimal | None = self.decimal(self.scales.price)
        if self.chance(10):
            price = self.one_of((None, Decimal(0), Decimal(-1)))
        last_price: Decimal | None = None
        if self.chance(40):
            last_price = self.decimal(self.scales.price) * self.one_of((1, 0, -1))
        value: Decimal | None = None
        if self.chance(60):
            value = self.decimal(self.scales.money, 9000) * self.one_of((1, 1, -1, 0))
        position = ref.Position(
            symbol=self.one_of(SPELLINGS[: 3 if huge else None]),
            position_type=self.one_of(TYPES if self.chance(60) else TYPES[:2]),
            quantity=quantity * self.one_of((1, -1, 0) if self.chance(40) else (1,)),
            entry_price=price,
            entry_day=None if self.chance(self.odd) else self.day(-20, 6),
            exit_day=self.day(-8, 13) if self.chance(20) else None,
            investment_class=self.one_of(CLASSES if self.chance(60) else CLASSES[:1]),
            market_value=value,
            deleted=self.chance(6),
            events=tuple(self.own_event() for _ in range(self.integer(0, 2))),
            last_price=last_price,
            betas=self.betas(),
        )
        if self.chance(1):
            column, values = self.one_of(SPOILT)
            position = replace(position, **{column: self.one_of(values)})
        return position

    def own_flow(self) -> ref.Flow:
        amount: Decimal | None = self.decimal(self.scales.money, 9000)
        if self.edges and self.chance(3):
            amount = self.one_of(LARGE_AMOUNTS)
        elif self.chance(2):
            amount = self.one_of((None, NAN))
        on = self.one_of(NO_DAYS) if self.chance(self.odd) else self.day(-3, 13)
        types = NO_CHANGE_TYPES if self.chance(self.odd) else CHANGE_TYPES
        return ref.Flow(on, amount, self.one_of(types))

    def cents(self, most: int) -> Decimal | None:
        """Return an amount of a snapshot in cents: small or large, 0, NULL or odd."""
        if self.chance(10):
            return self.one_of((None, Decimal(0)))
        if self.chance(1):
            large = Decimal("99999999999999.99") if self.edges else Decimal(9)
            return self.one_of((NAN, Decimal("1E-25"), large))
        return Decimal(self.integer(1, most)).scaleb(-2) * self.one_of((1, 1, 1, -1))

    def stored(self) -> tuple[legacy.Snapshot, ...]:
        if self.chance(15):
            return ()
        days = [self.day(-12, self.one_of((0, 13))) for _ in range(self.integer(1, 5))]
        most = self.one_of((99_999_999, 300_000, 9))
        return tuple(
            legacy.Snapshot(
                day,
                self.cents(most),
                *(self.cents(9999) for _ in range(3)),
                is_complete=self.chance(60),
            )
            for day in sorted(set(days))
        )

    def own_portfolio(self, name: str, *, huge: bool) -> legacy.Portfolio:
        positions = [self.own_position(huge=huge) for _ in range(self.integer(0, 6))]
        if self.chance(40 if huge else 5):
            positions += [
                replace(one, quantity=one.quantity and -one.quantity) for one in positions
            ]
        return legacy.Portfolio(
            name,
            self.cents(99_999_999),
            tuple(positions),
            tuple(self.own_flow() for _ in range(self.integer(0, 3))),
            self.stored(),
        )

    def legacy_run(self) -> Run:
        """Return a run of 1 to 3 portfolios over 1 to 6 days."""
        this = self
        if self.chance(20):
            units = [self.integer(0, 8) for _ in range(3)]
            this = replace(self, scales=ref.Scales(*units, money=self.one_of((2, 3, 4))))
        return this.any_legacy_run()

    def any_legacy_run(self) -> Run:
        huge = self.edges and self.chance(15)
        days = [MONDAY + number for number in range(12) if not self.chance(50)]
        return Run(
            portfolios=tuple(
                self.own_portfolio(f"p{number}", huge=huge) for number in range(self.integer(1, 3))
            ),
            prices=self.prices(huge=huge and self.chance(50)),
            days=tuple(days[: self.integer(1, 6)]) or (MONDAY,),
            today=self.day(-1, self.one_of((13, 0))),
            cached=self.cached(),
            profiles=self.profiles(),
            has_benchmark=not self.chance(10),
            scales=self.scales,
        )

    def finer_legacy_run(self) -> Run:
        """Return a run whose columns have scales of their own, larger than their values need."""
        run = replace(self, edges=False, scales=ref.Scales(2, 2, 2)).any_legacy_run()
        names = (*SCALED_COLUMNS, "last_price", "cached")
        return replace(run, column_scales={name: 3 + self.integer(0, 6) for name in names})
