"""Random runs, odd in every way that the rules know.

All choices are made by one function, `Integers`: hypothesis draws them and shrinks them towards 0,
a seeded `random.Random` makes the same kinds of runs ten times as fast. 0 is always the plain
choice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any, Self, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchcore import reference as ref
from support.cases import Price, RateRow, Run, SplitTable, day

Integers = Callable[[int, int], int]
"""Returns an integer of a range, both ends included."""

T = TypeVar("T")

PROFILE = settings(
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

_integers = cache(st.integers)


MONDAY = day("2026-01-05")
SYMBOLS = ("AAA", "BBB", " aaa", "Aaa ", "bbb", "C C", "é", "ZZZ")
SPELLINGS = ("AAA", "BBB", "aaa", "aAA ", " BBB", "C C", "c c", "é", "É", "NONE", "\tAAA")
BLANKS = ("", " ", "   ")
UNITS = ("USD", "EUR", "GBP", "JPY", " eur ", "GBp", "GBX")
HOMES = ("USD", "USD", "EUR", " usd", "GBp", "", None)
CURRENCIES = (None, "USD", "EUR", "GBP", "eur ", "GBX", "GBp", "ZAc", " ", "JPY", "EUR\udcff")
TYPES = ("LONG", "SHORT", "LC", "LP", "SC", "SP")
NO_TYPES = ("FUT", "", "long", " LONG")
CLASSES = (None, "PUBLIC", "OPTIONS", " private", "PRIVATE", "Private ")
CHANGE_TYPES = ("CONTRIBUTION", "WITHDRAWAL")
NO_CHANGE_TYPES = (None, "DIVIDEND", "contribution")
NAN = Decimal("NaN")
NOT_FINITE = (NAN, Decimal("Infinity"), Decimal("-Infinity"))
TOO_FINE = Decimal("1E-25")
TOO_LARGE = (Decimal("1E+30"), Decimal("-1E+30"))
LARGE_AMOUNTS = (Decimal("60000000000000.01"), Decimal(10) ** 14, Decimal("99999999999999.99"))
NO_DAYS = (None, ref.INFINITE_DAY)
SPOILT: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("symbol", (None, *BLANKS, "AAA\udcff", "\udce9")),
    ("position_type", (None, *NO_TYPES, "LONG\udcff")),
    ("investment_class", ("PRIVATE\udc80",)),
    ("entry_day", NO_DAYS),
    ("exit_day", (ref.INFINITE_DAY,)),
    ("expiration_day", (ref.INFINITE_DAY,)),
    ("quantity", (None,)),
    ("entry_price", (None,)),
)
"""Values of columns for which a position is left out."""

QUOTIENTS = (
    ("2", "1"),
    ("1", "10"),
    ("3", "2"),
    ("1", "3"),
    ("4", "2"),
    ("1.0625", "1"),
    ("7", "13"),
    ("92233720368", "0.00000001"),
)
"""New and old shares; those of the last fit few quantities."""

SCALED_COLUMNS = (
    "quantity",
    "entry_price",
    "exit_price",
    "market_value",
    "quantity_closed",
    "realized_pnl",
    "amount",
    "close",
    "snapshot",
)


@dataclass(frozen=True)
class Generator:
    """Makes runs.

    `odd` is the chance of what is left out or reported, of a value, in percent; with `edges`
    mantissas go to the ends of 64 bits.
    """

    integer: Integers
    odd: int = 3
    edges: bool = True
    scales: ref.Scales = ref.DEFAULT_SCALES

    @classmethod
    def seeded(cls, seed: int | str) -> Self:
        return cls(Random(seed).randint)  # noqa: S311  # to be repeated, not to be secret

    def chance(self, percent: int) -> bool:
        return self.integer(0, 99) >= 100 - percent

    def one_of(self, values: Sequence[T]) -> T:
        return values[self.integer(0, len(values) - 1)]

    def day(self, first: int = -6, last: int = 16) -> int:
        return MONDAY + self.integer(first, last)

    def odd_decimal(self, scale: int) -> Decimal | None:
        """Return NULL, not finite, not representable, or a value of the wrong sign."""
        half_a_unit = Decimal(5).scaleb(-scale - 1)
        beyond = Decimal(2**63).scaleb(-scale)
        odd = (None, Decimal(0), Decimal(-1), *NOT_FINITE, TOO_FINE, *TOO_LARGE)
        return self.one_of((*odd, half_a_unit, beyond) if self.edges else odd)

    def odd_day(self) -> int | None:
        return self.one_of(NO_DAYS)

    def decimal(self, scale: int, most: int = 3000) -> Decimal:
        """Return a plain value above 0, of few digits or many."""
        if self.chance(70):
            return Decimal(self.integer(1, most)).scaleb(-min(scale, 2))
        return Decimal(self.integer(1, most * 10_000)).scaleb(-scale)

    def huge(self, scale: int) -> Decimal:
        """Return a value above 0 whose mantissa needs 41 to 63 bits."""
        bits = self.one_of((62, 61, 50, 40))
        return Decimal(2**bits + self.integer(0, 2**bits - 1)).scaleb(-scale)

    def maybe_odd(self, value: Decimal, scale: int) -> Decimal | None:
        return self.odd_decimal(scale) if self.chance(self.odd) else value

    def market(self) -> tuple[Price, ...]:
        """Return closes of some symbols on some days, no two of one symbol and day."""
        closes: dict[tuple[str, int | None], Decimal | None] = {}
        scale = self.scales.close
        for symbol in SYMBOLS[: self.integer(1, len(SYMBOLS))]:
            last = self.integer(0, 16)
            for number in range(-6, last + 1):
                if self.chance(35):
                    continue
                close: Decimal | None = self.decimal(scale)
                if self.chance(self.odd):
                    close = self.odd_decimal(scale)
                closes[symbol, MONDAY + number] = close
            if self.chance(self.odd):
                closes[symbol, self.odd_day()] = self.decimal(scale)
        return tuple((symbol, on, close) for (symbol, on), close in closes.items())

    def tiny_market(self) -> tuple[Price, ...]:
        """Return closes of one to three units, which keep the value of huge quantities in range."""
        return tuple(
            (symbol, MONDAY + number, Decimal(self.integer(1, 3)).scaleb(-self.scales.close))
            for symbol in ("AAA", "BBB")
            for number in range(-8, 17)
            if number == -8 or self.chance(60)
        )

    def event(self) -> ref.Event:
        on = self.odd_day() if self.chance(self.odd) else self.day()
        realized = self.decimal(self.scales.money, 9000) * self.one_of((1, -1))
        return ref.Event(
            on,
            self.maybe_odd(self.decimal(self.scales.quantity, 400), self.scales.quantity),
            self.maybe_odd(realized, self.scales.money),
        )

    def position(self, *, huge: bool = False) -> ref.Position:
        kind = self.one_of(TYPES)
        quantity = self.decimal(self.scales.quantity)
        entry_price = self.decimal(self.scales.price)
        if huge:
            quantity = self.huge(self.scales.quantity)
            entry_price = self.huge(self.scales.price)
        if (kind in ref.SHORT_TYPES) != self.chance(10):
            quantity = -quantity
        if self.chance(8):
            quantity = Decimal(0)
        if self.chance(5):
            entry_price = Decimal(0)
        position = ref.Position(
            symbol=self.one_of(SPELLINGS[: 2 if huge else None]),
            position_type=kind,
            quantity=self.maybe_odd(quantity, self.scales.quantity),
            entry_price=self.maybe_odd(entry_price, self.scales.price),
            entry_day=self.day(-8, 12 if self.chance(20) else 1),
            investment_class=self.one_of(CLASSES) if self.chance(10 if huge else 30) else None,
            market_value=self.market_value() if self.chance(40) else None,
            deleted=self.chance(self.odd),
        )
        position = self.ended(position, huge=huge)
        return self.spoilt(position) if self.chance(self.odd * 3) else position

    def ended(self, position: ref.Position, *, huge: bool) -> ref.Position:
        """Return a position that may have an exit, an expiry and events."""
        if self.chance(25):
            price = self.exit_price(huge=huge) if self.chance(75) else None
            position = replace(position, exit_day=self.day(), exit_price=price)
        elif self.chance(self.odd):
            position = replace(position, exit_price=self.odd_decimal(self.scales.price))
        if self.chance(60 if position.position_type in ref.OPTION_TYPES else 10):
            position = replace(position, expiration_day=self.day())
        if self.chance(20):
            events = [self.event() for _ in range(self.integer(1, 3))]
            if position.exit_day is not None and self.chance(50):
                events = [replace(event, day=position.exit_day) for event in events]
                if position.quantity and self.chance(50):
                    events[0] = replace(events[0], quantity=abs(position.quantity))
            position = replace(position, events=tuple(events))
        return position

    def exit_price(self, *, huge: bool) -> Decimal | None:
        if self.chance(15):
            return Decimal(0)
        price = self.huge(self.scales.price) if huge else self.decimal(self.scales.price)
        return self.maybe_odd(price, self.scales.price)

    def market_value(self) -> Decimal | None:
        value = self.decimal(self.scales.money, 9000) * self.one_of((1, -1, 0))
        return self.maybe_odd(value, self.scales.money)

    def spoilt(self, position: ref.Position) -> ref.Position:
        """Return a position with one more thing wrong with it."""
        column, values = self.one_of(SPOILT)
        return replace(position, **{column: self.one_of(values)})

    def twin(self, position: ref.Position) -> ref.Position:
        """Return the other side of a position, an exit of which differs by one unit of price."""
        quantity, price = position.quantity, position.exit_price
        if price is not None and price.is_finite() and abs(price) < 10**9:
            price += Decimal(1).scaleb(-self.scales.price)
        return replace(position, quantity=quantity and -quantity, exit_price=price)

    def flow(self) -> ref.Flow:
        amount = self.decimal(self.scales.money, 9000)
        if self.edges and self.chance(3):
            amount = self.one_of(LARGE_AMOUNTS)
        return ref.Flow(
            self.odd_day() if self.chance(self.odd) else self.day(),
            self.maybe_odd(amount, self.scales.money),
            self.one_of(NO_CHANGE_TYPES if self.chance(self.odd) else CHANGE_TYPES),
        )

    def amount_or_null(self) -> Decimal | None:
        if self.chance(40):
            return None
        amount = self.decimal(self.scales.money, 90000) * self.one_of((1, -1))
        return self.odd_decimal(self.scales.money) if self.chance(1) else amount

    def snapshots(self) -> tuple[ref.Snapshot, ...]:
        """Return none or some, before the sessions, among or after them."""
        if self.chance(50):
            return ()
        first, last = self.one_of(((-6, 0), (-6, 16), (0, 16)))
        made = [self.snapshot(self.day(first, last)) for _ in range(self.integer(1, 3))]
        return tuple({snapshot.day: snapshot for snapshot in made}.values())

    def snapshot(self, on: int) -> ref.Snapshot:
        equity = self.decimal(self.scales.money, 999_999) * self.one_of((1, 1, 1, -1, 0))
        if self.edges and self.chance(3):
            equity = self.one_of((Decimal("99999999999999.99"), TOO_FINE, Decimal(2**63) / 100))
        return ref.Snapshot(on, equity, *(self.amount_or_null() for _ in range(5)))

    def portfolio(self, name: str, *, huge: bool = False) -> ref.Portfolio:
        positions = [self.position(huge=huge) for _ in range(self.integer(0, 6))]
        if self.chance(60 if huge else 5):
            positions += [self.twin(position) for position in positions]
        opening = self.decimal(self.scales.money, 999_999) * self.one_of((1, 1, -1, 0))
        return ref.Portfolio(
            id=name,
            opening_equity=None if self.chance(10) else self.maybe_odd(opening, self.scales.money),
            positions=tuple(positions),
            flows=tuple(self.flow() for _ in range(self.integer(0, 3))),
            snapshots=self.snapshots(),
        )

    def run(self) -> Run:
        """Return a run of 1 to 4 portfolios over 1 to 8 sessions."""
        this = self
        if self.chance(15):
            units = [self.integer(0, 8) for _ in range(3)]
            this = replace(self, scales=ref.Scales(*units, money=self.one_of((2, 3, 4))))
        return this.any_run()

    def any_run(self) -> Run:
        huge = self.edges and self.chance(20)
        sessions = [MONDAY + n for n in range(13) if not self.chance(40)][: self.integer(1, 8)]
        return Run(
            prices=self.tiny_market() if huge and self.chance(80) else self.market(),
            portfolios=tuple(
                self.portfolio(f"p{number}", huge=huge) for number in range(self.integer(1, 4))
            ),
            days=tuple(sessions) or (MONDAY,),
            lookback_days=self.one_of((10, 0, 1, 2, 3)),
            scales=self.scales,
        )

    def split_run(self) -> Run:
        """Return a run on a host that maps splits, most of them plain, on one of the bases."""
        run = self.run()
        symbols = (*SYMBOLS, "aAA ", "NONE")
        rows: list[tuple[str | None, int | None, Decimal | None, Decimal | None]] = []
        for _ in range(self.integer(1, 8)):
            new, old = self.one_of(QUOTIENTS)
            row = (self.one_of(symbols), self.day(), Decimal(new), Decimal(old))
            if self.chance(self.odd):
                row = self.one_of(((None, *row[1:]), (row[0], self.odd_day(), *row[2:])))
            if self.chance(self.odd):
                row = (*row[:2], *self.one_of(((self.odd_decimal(8), row[3]), (row[2], None))))
            rows.append(row)
        bases = self.one_of(("as_traded", "adjusted")), self.one_of(("as_entered", "current"))
        return replace(run, splits=SplitTable(tuple(rows), *bases))

    def finer_run(self) -> Run:
        """Return a run whose columns have scales of their own, larger than their values need."""
        run = replace(self, edges=False, scales=ref.Scales(2, 2, 2)).any_run()
        scales = {name: 2 + self.integer(0, 7) for name in SCALED_COLUMNS}
        return replace(run, column_scales=scales)

    def rate_rows(self, scale: int) -> tuple[RateRow, ...]:
        """Return rates of some pairs on some days, some of them bad or twice."""
        rows: list[RateRow] = []
        for _ in range(self.integer(0, 6)):
            base, quote = self.one_of(UNITS), self.one_of(UNITS)
            for number in range(-14, 13):
                if self.chance(45):
                    continue
                rate: Decimal | None = self.decimal(scale, 300)
                if self.chance(self.odd):
                    rate = self.odd_decimal(scale)
                rows.append((base, quote, MONDAY + number, rate))
                if self.chance(3):
                    other = self.decimal(scale, 300) if self.chance(50) else rate
                    rows.append((base.lower(), quote, MONDAY + number, other))
        return tuple(rows)

    def foreign_run(self) -> Run:
        """Return a run of portfolios and positions in several currencies."""
        return self.with_currencies(self.run())

    def foreign_split_run(self) -> Run:
        """Return a run in several currencies on a host that maps splits as well."""
        return self.with_currencies(self.split_run())

    def with_currencies(self, run: Run) -> Run:
        """Return a run in several currencies."""
        scale = self.one_of((4, 0, 2, 9, 18))
        portfolios = [
            replace(
                portfolio,
                currency=self.one_of(HOMES),
                positions=tuple(
                    replace(position, currency=self.one_of(CURRENCIES))
                    for position in portfolio.positions
                ),
            )
            for portfolio in run.portfolios
        ]
        return replace(
            run,
            portfolios=tuple(portfolios),
            rates=self.rate_rows(scale),
            fx={
                "lookback_days": self.one_of((5, 0, 1, 30)),
                "pivot": self.one_of(("USD", "EUR", "XXX")),
                "scale": scale,
            },
        )

    def failing_run(self) -> Run:
        """Return a run of small values, some portfolios of which fail by their flows."""
        run = replace(self, edges=False).any_run()
        large = ref.Flow(self.day(0, 10), Decimal(10) ** 14, "CONTRIBUTION")
        portfolios = [
            replace(portfolio, flows=(*portfolio.flows, large)) if self.chance(50) else portfolio
            for portfolio in run.portfolios
        ]
        return replace(run, portfolios=tuple(portfolios))


@st.composite
def drawn(draw: st.DrawFn, make: Callable[[Any], T], kind: type[Generator] = Generator) -> T:
    """Return what a function makes of a generator whose every choice is drawn, and shrinks.

    A strategy is made once for each range, not for each draw.
    """
    return make(kind(lambda first, last: draw(_integers(first, last))))


def for_any(
    make: Callable[[Any], Any],
    kind: type[Generator] = Generator,
    *others: st.SearchStrategy[Any],
    examples: int,
) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Decorate a test of what a function makes of a generator, and of what `others` draw.

    Of ten examples only one is `drawn`, of nine a seed alone, which takes a tenth of the time. To
    shrink what fails by its seed, the slow tests draw all of theirs.
    """
    seeded = st.integers(0, 2**32 - 1).map(lambda seed: make(kind.seeded(seed)))
    shares = ((drawn(make, kind), examples // 10), (seeded, examples - examples // 10))

    def decorated(test: Callable[..., None]) -> Callable[[], None]:
        def on_all() -> None:
            for strategy, share in shares:
                settings(PROFILE, max_examples=share)(given(strategy, *others)(test))()

        return on_all

    return decorated
