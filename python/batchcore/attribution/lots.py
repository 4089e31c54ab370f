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
    from collections.abc import Iterable, Mapping, Sequence

    from batchcore.frames import Contributions, Positions

CENTS: Final = 2
"""Minimum decimals of a price or an amount."""

_UNITS: Final = {least: Decimal(1).scaleb(-least) for least in (0, CENTS)}

_SHARE: Final = Context(prec=28, rounding=ROUND_HALF_EVEN)

_IN_COMMON: Final = tuple({*COLUMNS} - {*AMOUNTS, "key", "quantity", "contribution", "share"})
"""Columns that a group has if all its lots agree."""


@dataclass(frozen=True, slots=True)
class Lot:
    """A lot as a row, and its `investment_class`, trimmed and upper-cased."""

    row: ExplainedRow
    class_: str | None

    def key(self, by: str) -> str | None:
        """Return its key."""
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
    classes, currencies = positions.investment_class.texts(), positions.currency.texts()
    columns = _columns(found)
    if not has_contributions:
        columns |= dict.fromkeys({*AMOUNTS} - {"value"}, [None] * len(found))
    numbers: Counter[int] = Counter()
    lots = []
    values = zip(*columns.values(), strict=True)
    for at, kind, row in zip(found.position.tolist(), found.kind.tolist(), values, strict=True):
        numbers[at] += 1
        own, symbol, class_ = uuid_at(positions.id, at), symbols[at], classes[at]
        entry_price, sector = value_at(positions.entry_price, at), UNCLASSIFIED
        if kind == LotKind.STOCK:
            sector = sectors.get("" if symbol is None else normalised(symbol), UNKNOWN)
        named = dict(zip(columns, row, strict=True))
        explained = ExplainedRow(
            key=f"{own}/{numbers[at]}",
            position=own,
            symbol=symbol,
            sector=sector,
            type=types[at],
            entry_price=trimmed(entry_price) if isinstance(entry_price, Decimal) else None,
            contribution=trimmed(total((named["unrealized_change"], named["realized"]))),
            currency=currencies[at],
            **named,
        )
        lots.append(Lot(explained, None if class_ is None else normalised(class_)))
    return lots


def _columns(found: Contributions) -> dict[str, list[Any]]:
    """Return the columns of `ExplainedRow` that are figures of each lot."""
    columns: dict[str, list[Any]] = {"multiplier": found.multiplier.tolist()}
    for name in (*AMOUNTS, "mark_before", "mark"):
        columns[name] = [trimmed(one) for one in getattr(found, name).decimals()]
    for name in ("quantity", "rate_before", "rate"):
        columns[name] = [trimmed(one, 0) for one in getattr(found, name).decimals()]
    for day, days in (("mark_before_day", found.day_before), ("mark_day", found.day)):
        dates = zip(days.values.tolist(), days.state.tolist(), strict=True)
        columns[day] = [None if state else date_of(one) for one, state in dates]
    for status, marks in (("status_before", found.status_before), ("status", found.status)):
        known = zip(marks.values.tolist(), marks.state.tolist(), strict=True)
        columns[status] = [None if state else Mark(one).name.lower() for one, state in known]
    return columns


def by_key(lots: Sequence[Lot], by: str) -> tuple[ExplainedRow, ...]:
    """Return the sums of lots grouped ``by`` a key; largest contribution first, then by key."""
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
    """Return rows with their shares; largest absolute contribution first, then by key."""
    with localcontext(EXACT):
        sized = [(abs(or_zero(row.contribution)), row) for row in rows]
        whole = sum((size for size, _ in sized), ZERO)
        sized.sort(key=lambda one: (-one[0], one[1].key or ""))
    return tuple(
        replace(row, share=_SHARE.divide(size, whole) if whole else None) for size, row in sized
    )


def total(values: Iterable[Decimal | None]) -> Decimal | None:
    """Return the exact sum of the values that exist; None if none does."""
    with localcontext(EXACT):
        known = [value for value in values if value is not None]
        return sum(known, ZERO) if known else None


@overload
def trimmed(value: Decimal, least: int = ...) -> Decimal: ...
@overload
def trimmed(value: Decimal | None, least: int = ...) -> Decimal | None: ...
def trimmed(value: Decimal | None, least: int = CENTS) -> Decimal | None:
    """Return a value without trailing zeros, but with a minimum number of decimals."""
    if value is None:
        return None
    short = EXACT.normalize(value)
    exponent = short.as_tuple().exponent
    if isinstance(exponent, int) and exponent > -least:
        short = EXACT.quantize(short, _UNITS[least])
    return EXACT.add(short, ZERO)  # which makes 0 of -0
