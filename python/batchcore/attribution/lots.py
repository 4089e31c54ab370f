"""The lots of one portfolio as rows, and their groups (X6)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import TYPE_CHECKING, Any, Final, overload

from batchcore.analytics.sector_exposure import UNCLASSIFIED, UNKNOWN
from batchcore.attribution.explanation import AMOUNTS, COLUMNS, ExplainedRow
from batchcore.audit.compare import value_at
from batchcore.calendar import date_of
from batchcore.sources.stored import uuid_at
from batchcore.units import LotKind, Mark
from batchcore.values import EXACT, ZERO, normalised, or_zero

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping, Sequence

    from batchcore.frames import Contributions, Days, Integers, Positions, WideDecimals

CENTS: Final = 2
"""Decimals that a price or an amount has at least."""

_UNITS: Final = {least: Decimal(1).scaleb(-least) for least in (0, CENTS)}

_SHARE: Final = Context(prec=28, rounding=ROUND_HALF_EVEN)

_IN_COMMON: Final = tuple({*COLUMNS} - {*AMOUNTS, "key", "quantity", "contribution", "share"})
"""What a group says where all its lots have the same."""


@dataclass(frozen=True, slots=True)
class Lot:
    """A lot as a row, and its `investment_class`, trimmed and upper-cased."""

    row: ExplainedRow
    class_: str | None

    def key(self, by: str) -> str | None:
        """Return what it is grouped by."""
        row = self.row
        keys = {
            "lot": row.key,
            "position": str(row.position),
            "symbol": None if row.symbol is None else normalised(row.symbol),
            "sector": row.sector,
            "type": row.type,
            "class": self.class_,
        }
        return keys.get(by)


def lots_of(
    found: Contributions,
    positions: Positions,
    sectors: Mapping[str, str],
    *,
    has_contributions: bool,
) -> list[Lot]:
    """Return the lots of one portfolio as rows; those of a baseline have no contributions (X3).

    ``sectors`` are of public stocks by normalised symbol (A2).
    """
    symbols, types = positions.symbol.texts(), positions.position_type.texts()
    classes = positions.investment_class.texts()
    numbers: Counter[int] = Counter()
    currencies = positions.currency.texts()

    def added(column: WideDecimals) -> list[Decimal | None]:
        return column.decimals() if has_contributions else [None] * len(column)

    quantities, values = found.quantity.decimals(), found.value.decimals()
    rates_before, rates = found.rate_before.decimals(), found.rate.decimals()
    before = _marks(found.mark_before, found.day_before, found.status_before)
    after = _marks(found.mark, found.day, found.status)
    changes, ended = added(found.unrealized_change), added(found.realized)
    price_effects, currency_effects = added(found.price_effect), added(found.currency_effect)
    lots = []
    for row, at in enumerate(found.position.tolist()):
        numbers[at] += 1
        own, symbol, class_ = uuid_at(positions.id, at), symbols[at], classes[at]
        entry_price, sector = value_at(positions.entry_price, at), UNCLASSIFIED
        if found.kind[row] == LotKind.STOCK:
            sector = sectors.get("" if symbol is None else normalised(symbol), UNKNOWN)
        explained = ExplainedRow(
            key=f"{own}/{numbers[at]}",
            position=own,
            symbol=symbol,
            sector=sector,
            type=types[at],
            quantity=trimmed(quantities[row], 0),
            multiplier=int(found.multiplier[row]),
            entry_price=trimmed(entry_price) if isinstance(entry_price, Decimal) else None,
            mark_before=before[row][0],
            mark_before_day=before[row][1],
            status_before=before[row][2],
            mark=after[row][0],
            mark_day=after[row][1],
            status=after[row][2],
            unrealized_change=trimmed(changes[row]),
            realized=trimmed(ended[row]),
            contribution=trimmed(total((changes[row], ended[row]))),
            price_effect=trimmed(price_effects[row]),
            currency_effect=trimmed(currency_effects[row]),
            value=trimmed(values[row]),
            currency=currencies[at],
            rate_before=trimmed(rates_before[row], 0),
            rate=trimmed(rates[row], 0),
        )
        lots.append(Lot(explained, None if class_ is None else normalised(class_)))
    return lots


def by_key(lots: Sequence[Lot], by: str) -> tuple[ExplainedRow, ...]:
    """Return the sums of lots by what ``by`` says; largest contribution first, then by key."""
    groups: dict[str | None, list[ExplainedRow]] = {}
    for lot in lots:
        groups.setdefault(lot.key(by), []).append(lot.row)
    return ordered([_group(key, rows, by) for key, rows in groups.items()])


def _group(key: str | None, rows: list[ExplainedRow], by: str) -> ExplainedRow:
    own: dict[str, Any] = {"symbol": key} if by == "symbol" else {}
    if len(rows) == 1:
        return replace(rows[0], key=key, **own)
    common: dict[str, Any] = {}
    for name in _IN_COMMON:
        values = {getattr(row, name) for row in rows}
        common[name] = values.pop() if len(values) == 1 else None
    common |= own
    if common["symbol"] is not None and common["multiplier"] is not None:
        common["quantity"] = trimmed(total(row.quantity for row in rows), 0)
    for name in (*AMOUNTS, "contribution"):
        common[name] = trimmed(total(getattr(row, name) for row in rows))
    return ExplainedRow(key=key, **common)


def ordered(rows: Iterable[ExplainedRow]) -> tuple[ExplainedRow, ...]:
    """Return rows with their shares; largest contribution first, whatever its sign, then by key."""
    with localcontext(EXACT):
        sized = [(abs(or_zero(row.contribution)), row) for row in rows]
        whole = sum((size for size, _ in sized), ZERO)
        sized.sort(key=lambda one: (-one[0], one[1].key or ""))
    return tuple(
        replace(row, share=_SHARE.divide(size, whole) if whole else None) for size, row in sized
    )


def total(values: Iterable[Decimal | None]) -> Decimal | None:
    """Return the exact sum of those that are there; None if none is."""
    with localcontext(EXACT):
        known = [value for value in values if value is not None]
        return sum(known, ZERO) if known else None


@overload
def trimmed(value: Decimal, least: int = ...) -> Decimal: ...
@overload
def trimmed(value: Decimal | None, least: int = ...) -> Decimal | None: ...
def trimmed(value: Decimal | None, least: int = CENTS) -> Decimal | None:
    """Return a value without zeros at its end, but for so many decimals."""
    if value is None:
        return None
    short = EXACT.normalize(value)
    exponent = short.as_tuple().exponent
    if isinstance(exponent, int) and exponent > -least:
        short = EXACT.quantize(short, _UNITS[least])
    return EXACT.add(short, ZERO)  # which makes 0 of -0


def _marks(
    prices: WideDecimals, days: Days, statuses: Integers
) -> list[tuple[Decimal | None, dt.date | None, str | None]]:
    """Return price, date of the close, and status of each mark."""
    return [
        (
            trimmed(price),
            None if days.state[row] else date_of(int(days.values[row])),
            None if statuses.state[row] else Mark(statuses.values[row]).name.lower(),
        )
        for row, price in enumerate(prices.decimals())
    ]
