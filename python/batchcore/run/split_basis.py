"""The bases of a host's closes and quantities, as a known split shows them: `check_basis` (C3)."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from bisect import bisect_left
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from batchcore.calendar import date_of
from batchcore.config import PRICE_BASES, QUANTITY_BASES, Schema, Splits
from batchcore.db.access import reading, rechecked
from batchcore.errors import ConfigError
from batchcore.run.prices import valid_rows
from batchcore.schema import Use
from batchcore.sources.positions import select_entries
from batchcore.sources.prices import load_fallback, load_splits
from batchcore.sources.reference_rows import fetch_plainly
from batchcore.splits import counting, quotients
from batchcore.values import decimal_of, normalised
from batchcore.words import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from fractions import Fraction

    from batchcore.frames import Prices

    _Closes = Sequence[tuple[int, Decimal]]  # by day

AROUND_DAYS: Final = 10
"""Maximum calendar days between a close and an ex-date or entry."""

UNKNOWN: Final = "unknown"
"""The basis where the data do not show it, or contradict each other."""

USES: Final = Use.PRICES | Use.LOTS | Use.SPLITS


@dataclass(frozen=True, slots=True)
class SplitCloses:
    """The closes around a split.

    Attributes:
        ex_date: Its date.
        split: New shares for old ones, such as ``2 for 1``.
        before: The last close before it; None without one in the days before.
        before_date: Its date.
        after: The first close from it on, likewise.
        after_date: Its date.
        quotient: The later close divided by the earlier one.
        if_as_traded: The quotient to expect for closes as traded, if the price itself did not move.
        looks: `as_traded` or `adjusted`, whichever is nearer; `unknown` without both closes.
    """

    ex_date: dt.date
    split: str
    before: Decimal | None
    before_date: dt.date | None
    after: Decimal | None
    after_date: dt.date | None
    quotient: float | None
    if_as_traded: float
    looks: str


@dataclass(frozen=True, slots=True)
class EntryPrice:
    """The entry price of a position that was held over a split.

    Attributes:
        position: Its id.
        entry_date: Its entry.
        entry_price: As stored.
        close: The close of the entry date, or of one a few days away.
        close_date: Its date.
        quotient: The entry price divided by the close.
        if_as_entered: The quotient to expect for an entry at the close, left as entered.
        if_current: The same for an entry restated since.
        looks: `as_entered` or `current`, whichever is nearer.
    """

    position: str
    entry_date: dt.date
    entry_price: Decimal
    close: Decimal
    close_date: dt.date
    quotient: float
    if_as_entered: float
    if_current: float
    looks: str


@dataclass(frozen=True, slots=True)
class BasisCheck:
    """The likely bases of closes and quantities of a symbol, and the figures behind them.

    Attributes:
        symbol: Trimmed and upper-cased.
        price_basis: `as_traded`, `adjusted`, or `unknown` where splits contradict each other.
        quantity_basis: `as_entered`, `current`, or `unknown` without a position that was held over
            a split, or if as many suggest one as the other.
        declared_price_basis: The one of the `Schema`.
        declared_quantity_basis: Likewise.
        splits: Those of the symbol, by ex-date.
        entries: Positions that were held over a split, by entry.
    """

    symbol: str
    price_basis: str
    quantity_basis: str
    declared_price_basis: str
    declared_quantity_basis: str
    splits: tuple[SplitCloses, ...]
    entries: tuple[EntryPrice, ...]

    def counts(self) -> dict[str, int]:
        """Return the number of positions that suggest each basis of quantities."""
        return {name: sum(one.looks == name for one in self.entries) for name in QUANTITY_BASES}

    @property
    def agrees(self) -> bool:
        """Whether the data, as far as they show, agree with the `Schema`."""
        return self.price_basis in {UNKNOWN, self.declared_price_basis} and (
            self.quantity_basis in {UNKNOWN, self.declared_quantity_basis}
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as a value for JSON: dates in ISO format, decimals as text."""
        return {**plain(asdict(self)), "positions": self.counts(), "agrees": self.agrees}


@rechecked
async def check_basis(db: object, symbol: str, *, schema: Schema | None = None) -> BasisCheck:
    """Return the likely bases of closes and quantities of a symbol, from its splits; read only.

    A close that falls to a half over a 2 for 1 is as traded, one that does not was adjusted. An
    entry price near the close of its day, with both as they were then, is as entered.

    Args:
        db: A database URL, an `asyncpg.Pool` or Connection, or an SQLAlchemy `AsyncEngine`,
            `AsyncConnection` or `AsyncSession` on asyncpg. A role that may only SELECT will do.
        symbol: In any spelling.
        schema: Maps the table of splits; what it declares as bases is compared, and not used.

    Raises:
        ConfigError: no table of splits is mapped, the symbol has no split in it, or no closes
            around any of them.
        SchemaError: the tables are not those that batchcore can read.
        DatabaseError: the database refused, failed or went away.

    Source:
        docs/semantics.md, C3.
    """
    if not isinstance(symbol, str) or not symbol.strip(" "):
        raise ConfigError(f"check_basis is {symbol!r}, expected a symbol", "check_basis")
    if schema is None or schema.splits is None:
        msg = "no table of splits: map one in `splits` of the schema, with any bases"
        raise ConfigError(msg, "check_basis")
    name = normalised(symbol)
    async with reading(db, schema, USES) as (session, catalog):
        rows = await load_splits(session, catalog, [name])
        found = () if rows is None else quotients(counting(rows)[0])
        if not found:
            table = catalog.label("splits")
            msg = f"`{name}` has no split in {table}, expected a symbol with one"
            raise ConfigError(msg, "check_basis")
        last = found[-1][0]
        entries = [*await fetch_plainly(session, select_entries(catalog, name, last))]
        first = min([found[0][0], *(day for _, day, _ in entries)]) - AROUND_DAYS
        closes = await load_fallback(session, catalog, [name], (), (first, last + AROUND_DAYS))
    return await asyncio.to_thread(_checked, name, schema.splits, found, entries, closes)


def _checked(
    name: str,
    declared: Splits,
    found: Sequence[tuple[int, Fraction]],
    entries: Iterable[tuple[Any, int, Decimal]],
    prices: Prices,
) -> BasisCheck:
    valid = prices.take(valid_rows(prices))
    rows = zip(valid.day.values.tolist(), valid.close.values.tolist(), strict=True)
    by_day = {day: decimal_of(close, valid.close.scale) for day, close in rows}
    closes = sorted(by_day.items())
    splits = tuple(_around(day, quotient, closes) for day, quotient in found)
    if all(one.quotient is None for one in splits):
        days = ", ".join(one.ex_date.isoformat() for one in splits)
        msg = (
            f"`{name}` has no close both in the {AROUND_DAYS} days before and from its split on,"
            f" of {days}: expected closes around one"
        )
        raise ConfigError(msg, "check_basis")
    looks = {one.looks for one in splits} - {UNKNOWN}
    price_basis = looks.pop() if len(looks) == 1 else UNKNOWN
    every = [_entry(*entry, found, closes, price_basis) for entry in entries]
    held = tuple(one for one in every if one is not None)
    votes = sum(1 if one.looks == QUANTITY_BASES[0] else -1 for one in held)
    quantity_basis = QUANTITY_BASES[votes < 0] if votes else UNKNOWN
    return BasisCheck(
        symbol=name,
        price_basis=price_basis,
        quantity_basis=quantity_basis,
        declared_price_basis=declared.price_basis,
        declared_quantity_basis=declared.quantity_basis,
        splits=splits,
        entries=held,
    )


def _near(closes: _Closes, day: int, *, before: bool = False) -> tuple[int, Decimal] | None:
    """Return the first close from a day on, or the last before it; None if that is far away."""
    at = bisect_left(closes, day, key=lambda one: one[0]) - before
    if not 0 <= at < len(closes) or abs(closes[at][0] - day) > AROUND_DAYS:
        return None
    return closes[at]


def _around(day: int, quotient: Fraction, closes: _Closes) -> SplitCloses:
    before, after = _near(closes, day, before=True), _near(closes, day)
    expected, moved, looks = 1 / float(quotient), None, UNKNOWN
    if before is not None and after is not None:
        moved = float(after[1] / before[1])
        looks = _nearer(moved, (expected, 1.0), PRICE_BASES)
    return SplitCloses(
        ex_date=date_of(day),
        split=f"{quotient.numerator} for {quotient.denominator}",
        before=before and before[1],
        before_date=before and date_of(before[0]),
        after=after and after[1],
        after_date=after and date_of(after[0]),
        quotient=moved,
        if_as_traded=expected,
        looks=looks,
    )


def _entry(  # noqa: PLR0917  # an entry, and what it is compared with
    own: Any,  # noqa: ANN401  # a UUID
    day: int,
    price: Decimal,
    found: Sequence[tuple[int, Fraction]],
    closes: _Closes,
    price_basis: str,
) -> EntryPrice | None:
    """Return an entry price with its close; None where nothing shows its basis."""
    close = _near(closes, day) or _near(closes, day, before=True)
    if close is None or price <= 0 or price_basis == UNKNOWN:
        return None
    held_over = math.prod((quotient for on, quotient in found if day < on), start=1)
    # between the entry and its close, where that is another day
    between = math.prod((quotient for on, quotient in found if day < on <= close[0]), start=1)
    as_entered, current = float(between), float(between) / float(held_over)
    if price_basis != PRICE_BASES[0]:
        as_entered, current = float(held_over), 1.0
    moved = float(price / close[1])
    looks = _nearer(moved, (as_entered, current), QUANTITY_BASES)
    if looks == UNKNOWN:
        return None
    return EntryPrice(
        position=str(own),
        entry_date=date_of(day),
        entry_price=price,
        close=close[1],
        close_date=date_of(close[0]),
        quotient=moved,
        if_as_entered=as_entered,
        if_current=current,
        looks=looks,
    )


def _nearer(quotient: float, expected: tuple[float, float], names: Sequence[str]) -> str:
    """Return which of two quotients is nearer, by their ratios; `unknown` if neither."""
    apart = [abs(math.log(quotient / one)) for one in expected]
    if expected[0] == expected[1] or apart[0] == apart[1]:
        return UNKNOWN
    return names[apart[1] < apart[0]]
