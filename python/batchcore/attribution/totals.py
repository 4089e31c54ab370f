"""Sums of the contributions of many portfolios by key, chunk by chunk, native and exact (X8)."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.analytics.sector_exposure import UNCLASSIFIED, UNKNOWN
from batchcore.attribution.explanation import ExplainedRow
from batchcore.attribution.lots import ordered, trimmed
from batchcore.frames import WideDecimals
from batchcore.native import sums_by_key
from batchcore.reference.values import EXACT
from batchcore.sources.host import normalised
from batchcore.units import LotKind, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from batchcore.frames import Contributions, Decimals, Int64, Positions, Text

AMOUNTS: Final = ("unrealized_change", "realized", "value")


@dataclass(slots=True)
class GroupSums:
    """Sums by key.

    Attributes:
        by: What lots are grouped by: `symbol`, `sector`, `type` or `class`.
    """

    by: str
    _sums: dict[str | None, dict[str, Decimal | None]] = field(default_factory=dict)

    def add(self, found: Contributions, positions: Positions, sectors: Mapping[str, str]) -> None:
        """Add the lots of a chunk; ``sectors`` are of public stocks by normalised symbol (A2)."""
        names, codes = self._keys(found, positions, sectors)
        columns = {name: _sums(getattr(found, name), codes, len(names)) for name in AMOUNTS}
        seen = np.bincount(codes, minlength=len(names)).tolist()
        with localcontext(EXACT):
            for code, key in enumerate(names):
                if not seen[code]:
                    continue
                own = self._sums.setdefault(key, dict.fromkeys(AMOUNTS))
                for name, sums in columns.items():
                    if (amount := sums[code]) is not None:
                        own[name] = amount + (own[name] or 0)

    def rows(self) -> tuple[ExplainedRow, ...]:
        """Return a row for each key; largest contribution first, then by key."""
        named = {"symbol", "sector", "type"} & {self.by}
        return ordered(
            row_of(key, sums, **dict.fromkeys(named, key)) for key, sums in self._sums.items()
        )

    def _keys(
        self, found: Contributions, positions: Positions, sectors: Mapping[str, str]
    ) -> tuple[Sequence[str | None], Int64]:
        """Return the names of keys, and of each lot which one it has."""
        if self.by in {"symbol", "sector"}:
            names, of_code = _named(positions.symbol, normalised)
            codes = of_code[positions.symbol.codes[found.position]]
            if self.by == "symbol":
                return names, codes
            known = sorted({*sectors.values(), UNCLASSIFIED, UNKNOWN})
            place = {name: at for at, name in enumerate(known)}
            own = [place[sectors.get(name or "", UNKNOWN)] for name in names]
            of_symbol = np.array(own or [0], dtype=np.int64)
            is_stock = found.kind == LotKind.STOCK
            return known, np.where(is_stock, of_symbol[codes], place[UNCLASSIFIED])
        column = positions.position_type if self.by == "type" else positions.investment_class
        names, of_code = _named(column, normalised if self.by == "class" else str)
        spelt = column.codes[found.position]
        is_null = column.state[found.position] == State.NULL
        codes = np.where(is_null, len(names), of_code[np.where(is_null, 0, spelt)])
        return [*names, None], codes


def _named(column: Text, name: Callable[[str], str]) -> tuple[list[str | None], Int64]:
    """Return the distinct names of a column, and which of them each of its texts has."""
    places: dict[str | None, int] = {}
    codes = [places.setdefault(name(text), len(places)) for text in column.table()]
    return list(places), np.array(codes or [0], dtype=np.int64)


def row_of(key: str | None, sums: Mapping[str, Decimal | None], **named: Any) -> ExplainedRow:  # noqa: ANN401
    """Return the row of a group."""
    with localcontext(EXACT):
        contribution = (sums["unrealized_change"] or Decimal(0)) + (sums["realized"] or 0)
    amounts: dict[str, Any] = {name: trimmed(sums[name]) for name in AMOUNTS}
    return ExplainedRow(key=key, contribution=trimmed(contribution), **amounts, **named)


def _sums(column: WideDecimals, codes: npt.NDArray[Any], groups: int) -> list[Decimal | None]:
    """Return the sums of a column by key; None where all is NULL."""
    found: list[Decimal | None] = sums_by_key(column, codes, groups).decimals()
    if not column.state.any():
        return found
    known = np.bincount(codes[column.state == State.VALUE], minlength=groups).tolist()
    return [one if count else None for one, count in zip(found, known, strict=True)]


def sums_by_portfolio(found: Contributions, portfolios: int) -> dict[str, list[Decimal | None]]:
    """Return the sums of the lots of each portfolio."""
    return {name: _sums(getattr(found, name), found.portfolio, portfolios) for name in AMOUNTS}


def stored_sums(column: Decimals, portfolio: npt.NDArray[Any], count: int) -> list[Decimal | None]:
    """Return the sums of a stored column by portfolio; None where one value is no number."""
    is_value = column.state == State.VALUE
    values = np.where(is_value, column.values, 0)
    wide = np.column_stack((values, values >> 63)).astype("<i8").view(np.uint8).reshape(-1, 16)
    found: list[Decimal | None] = sums_by_key(
        WideDecimals(wide, column.scale), portfolio, count
    ).decimals()
    for at in portfolio[~is_value].tolist():
        found[at] = None
    return found
