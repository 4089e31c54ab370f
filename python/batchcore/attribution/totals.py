"""Sums of the contributions of many portfolios by key, chunk by chunk, native and exact (X8)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.analytics.sector_exposure import UNCLASSIFIED, UNKNOWN
from batchcore.attribution.explanation import ExplainedRow
from batchcore.attribution.lots import share_of, trimmed
from batchcore.frames import WideDecimals
from batchcore.native import sums_by_key
from batchcore.units import LotKind, State
from batchcore.values import EXACT, normalised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from batchcore.audit.compute import Inputs
    from batchcore.frames import Contributions, Decimals, Int64, Text

AMOUNTS: Final = ("unrealized_change", "realized", "price_effect", "currency_effect", "value")

Amounts = tuple[Decimal | None, ...]
"""Sums of `AMOUNTS`."""


@dataclass(slots=True)
class GroupSums:
    """Sums by what lots are grouped by: `symbol`, `sector`, `type`, `class` or `portfolio`."""

    by: str
    _sums: dict[str | None, Amounts] = field(default_factory=dict)

    def add(self, found: Contributions, inputs: Inputs, sectors: Mapping[str, str]) -> None:
        """Add the lots of a chunk; ``sectors`` are of public stocks by normalised symbol (A2)."""
        names, codes = self._keys(found, inputs, sectors)
        seen = np.bincount(codes, minlength=len(names)).tolist()
        columns = [_sums(getattr(found, name), codes, len(names)) for name in AMOUNTS]
        with localcontext(EXACT):
            for key, count, *own in zip(names, seen, *columns, strict=True):
                if not (count or self.by == "portfolio"):
                    continue
                before = self._sums.get(key, (None,) * len(AMOUNTS))
                self._sums[key] = tuple(map(_added, before, own))

    def rows(self) -> tuple[ExplainedRow, ...]:
        """Return a row for each key; largest contribution first, then by key."""
        zero = Decimal(0)
        with localcontext(EXACT):
            found = [
                (key, sums, (sums[0] or zero) + (sums[1] or zero))
                for key, sums in self._sums.items()
            ]
            whole = sum((abs(contribution) for *_, contribution in found), zero)
        found.sort(key=lambda one: (-abs(one[2]), one[0] or ""))
        named = {"symbol", "sector", "type"} & {self.by}
        return tuple(
            ExplainedRow(
                key=key,
                contribution=trimmed(contribution),
                share=share_of(contribution, whole),
                **_named_amounts(sums),
                **dict.fromkeys(named, key),
            )
            for key, sums, contribution in found
        )

    def _keys(
        self, found: Contributions, inputs: Inputs, sectors: Mapping[str, str]
    ) -> tuple[Sequence[str | None], Int64]:
        """Return the names of keys, and of each lot which one it has."""
        positions = inputs.book.positions
        if self.by == "portfolio":
            names = [str(uuid.UUID(bytes=one.tobytes())) for one in inputs.ids]
            return names, found.portfolio.astype(np.int64)
        if self.by in {"symbol", "sector"}:
            symbols, of_code = _named(positions.symbol, normalised)
            codes = of_code[positions.symbol.codes[found.position]]
            if self.by == "symbol":
                return symbols, codes
            known = sorted({*sectors.values(), UNCLASSIFIED, UNKNOWN})
            place = {name: at for at, name in enumerate(known)}
            own = [place[sectors.get(name or "", UNKNOWN)] for name in symbols]
            of_symbol = np.array(own or [0], dtype=np.int64)
            is_stock = found.kind == LotKind.STOCK
            return known, np.where(is_stock, of_symbol[codes], place[UNCLASSIFIED])
        column = positions.position_type if self.by == "type" else positions.investment_class
        texts, of_code = _named(column, normalised if self.by == "class" else str)
        spelt = column.codes[found.position]
        is_null = column.state[found.position] == State.NULL
        codes = np.where(is_null, len(texts), of_code[np.where(is_null, 0, spelt)])
        return [*texts, None], codes


def _named_amounts(sums: Amounts) -> dict[str, Any]:
    return dict(zip(AMOUNTS, map(trimmed, sums), strict=True))


def _added(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _named(column: Text, name: Callable[[str], str]) -> tuple[list[str | None], Int64]:
    """Return the distinct names of a column, and which of them each of its texts has."""
    places: dict[str | None, int] = {}
    codes = [places.setdefault(name(text), len(places)) for text in column.table()]
    return list(places), np.array(codes or [0], dtype=np.int64)


def _sums(column: WideDecimals, codes: npt.NDArray[Any], groups: int) -> list[Decimal | None]:
    """Return the sums of a column by key; None where all is NULL."""
    found: list[Decimal | None] = sums_by_key(column, codes, groups).decimals()
    known = np.bincount(codes[column.state == State.VALUE], minlength=groups).tolist()
    return [one if count else None for one, count in zip(found, known, strict=True)]


@dataclass(frozen=True, slots=True)
class PortfolioSums:
    """An amount of each portfolio of a chunk; None where a value is no number."""

    mantissas: Sequence[int | None]
    scale: int

    def at(self, portfolio: int) -> Decimal | None:
        """Return the amount of a portfolio."""
        return self._amount(self.mantissas[portfolio])

    def whole(self) -> Decimal | None:
        """Return the sum over all portfolios; None if one is no number."""
        known = [one for one in self.mantissas if one is not None]
        return self._amount(sum(known) if len(known) == len(self.mantissas) else None)

    def apart(
        self, other: PortfolioSums, half_cents: Sequence[int], which: Sequence[int]
    ) -> Iterator[int]:
        """Give those of some portfolios whose two amounts differ by more than so much."""
        scale = max(self.scale, other.scale)
        mine, theirs = 10 ** (scale - self.scale), 10 ** (scale - other.scale)
        for at in which:
            one, two = self.mantissas[at], other.mantissas[at] or 0
            if one is None or abs(one * mine - two * theirs) * 200 > half_cents[at] * 10**scale:
                yield at

    def _amount(self, mantissa: int | None) -> Decimal | None:
        with localcontext(EXACT):
            return None if mantissa is None else trimmed(Decimal(mantissa).scaleb(-self.scale))


def computed_sums(found: Contributions, portfolios: int) -> PortfolioSums:
    """Return the sum of the contributions of each portfolio."""
    of = found.portfolio
    change = sums_by_key(found.unrealized_change, of, portfolios).mantissas()
    realized = sums_by_key(found.realized, of, portfolios).mantissas()
    both = [(one or 0) + (two or 0) for one, two in zip(change, realized, strict=True)]
    return PortfolioSums(both, found.unrealized_change.scale)


def stored_sums(column: Decimals, portfolio: npt.NDArray[Any], count: int) -> PortfolioSums:
    """Return the sum of a stored column of each portfolio; None where one value is no number."""
    is_value = column.state == State.VALUE
    values = np.where(is_value, column.values, 0)
    # the integers of 64 bits as such of 128, the lower half first
    wide = np.column_stack((values, values >> 63)).astype("<i8").view(np.uint8).reshape(-1, 16)
    found = sums_by_key(WideDecimals(wide, column.scale), portfolio, count).mantissas()
    for at in portfolio[~is_value].tolist():
        found[at] = None
    return PortfolioSums(found, column.scale)
