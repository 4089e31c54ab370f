"""Sums of the contributions of many portfolios by key, chunk by chunk, native and exact (X8)."""

from __future__ import annotations

import uuid
from decimal import Decimal, localcontext
from heapq import nlargest
from typing import TYPE_CHECKING, Any

import numpy as np

from batchcore.analytics.sector_exposure import UNCLASSIFIED, UNKNOWN
from batchcore.attribution.explanation import (
    AMOUNTS,
    ExplainedRow,
    UnexplainedPortfolio,
)
from batchcore.attribution.lots import ordered, trimmed
from batchcore.audit.compute import Inputs, Links
from batchcore.audit.result import EXAMPLES
from batchcore.frames import WideDecimals
from batchcore.native import CancelFlag, sums_by_key
from batchcore.sources.stored import StoredRows, uuid_at
from batchcore.units import LotKind, State
from batchcore.values import EXACT, ZERO, normalised, or_zero

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from batchcore.audit.policy import PolicyAudit
    from batchcore.frames import Contributions, Decimals, Int64, Text

Amounts = tuple[Decimal | None, ...]
"""Sums of `AMOUNTS`."""


class Totals:
    """Sums over many portfolios by `symbol`, `sector`, `type`, `class` or `portfolio`."""

    def __init__(self, policy: PolicyAudit, by: str) -> None:
        self._policy, self._by = policy, by
        self._sums: dict[str | None, Amounts] = {}
        self._portfolios = self._unexplained = 0
        self._stored: Decimal | None = ZERO
        self._computed = ZERO
        self._examples: list[UnexplainedPortfolio] = []

    def add(
        self,
        stored: StoredRows,
        rows: Int64,
        inputs: Inputs,
        sectors: Mapping[str, str],
        cancel: CancelFlag,
    ) -> None:
        """Add the portfolios of a chunk; ``sectors`` are of public stocks by normalised symbol."""
        policy, count = self._policy, len(inputs.ids)
        before, *_ = policy.previous(stored)
        links = Links.stored(stored, rows, before[rows])
        found = policy.contributions(links, inputs, cancel)
        counts = np.bincount(links.portfolio, minlength=count)
        later = np.bincount(links.portfolio[~links.first], minlength=count)
        most = policy.half_cents(counts, later).tolist()
        with localcontext(EXACT):
            self._add_groups(found, inputs, sectors)
            pnl = _stored_sums(stored.cells["daily_pnl"].take(rows), links.portfolio, count)
            computed = _computed_sums(found, count)
            self._portfolios += int((counts > 0).sum())
            self._computed += sum(computed, ZERO)
            known = [one for one in pnl if one is not None]
            if self._stored is not None:
                whole = len(known) == count
                self._stored = self._stored + sum(known, ZERO) if whole else None
            for at in np.flatnonzero(counts).tolist():
                if not fits(pnl[at], computed[at], most[at]):
                    self._unexplained += 1
                    amounts = trimmed(pnl[at]), trimmed(computed[at]) or ZERO
                    self._examples.append(UnexplainedPortfolio(uuid_at(inputs.ids, at), *amounts))
            if len(self._examples) > EXAMPLES:
                self._examples = nlargest(EXAMPLES, self._examples, key=_distance)

    def _add_groups(self, found: Contributions, inputs: Inputs, sectors: Mapping[str, str]) -> None:
        names, codes = self._keys(found, inputs, sectors)
        seen = np.bincount(codes, minlength=len(names)).tolist()
        columns = [_sums(getattr(found, name), codes, len(names)) for name in AMOUNTS]
        for key, count, *own in zip(names, seen, *columns, strict=True):
            if count or self._by == "portfolio":
                before = self._sums.get(key, (None,) * len(AMOUNTS))
                self._sums[key] = tuple(map(_added, before, own))

    def found(self) -> dict[str, Any]:
        """Return the totals, by the names of `Explanation`."""
        return {
            "portfolios": self._portfolios,
            "daily_pnl": trimmed(self._stored),
            "computed_pnl": trimmed(self._computed),
            "rows": ordered(self._row(key, sums) for key, sums in self._sums.items()),
            "unexplained": self._unexplained,
            "examples": tuple(self._examples),
        }

    def _row(self, key: str | None, sums: Amounts) -> ExplainedRow:
        named = {"symbol", "sector", "type"} & {self._by}
        amounts: dict[str, Any] = dict(zip(AMOUNTS, map(trimmed, sums), strict=True))
        contribution = EXACT.add(or_zero(sums[0]), or_zero(sums[1]))
        amounts |= dict.fromkeys(named, key)
        return ExplainedRow(key=key, contribution=trimmed(contribution), **amounts)

    def _keys(
        self, found: Contributions, inputs: Inputs, sectors: Mapping[str, str]
    ) -> tuple[Sequence[str | None], Int64]:
        """Return the names of keys, and the one of each lot."""
        positions = inputs.book.positions
        if self._by == "portfolio":
            names = [str(uuid.UUID(bytes=one.tobytes())) for one in inputs.ids]
            return names, found.portfolio.astype(np.int64)
        if self._by in {"symbol", "sector"}:
            symbols, of_code = _named(positions.symbol, normalised)
            codes = of_code[positions.symbol.codes[found.position]]
            if self._by == "symbol":
                return symbols, codes
            known = sorted({*sectors.values(), UNCLASSIFIED, UNKNOWN})
            place = {name: at for at, name in enumerate(known)}
            own = [place[sectors.get(name or "", UNKNOWN)] for name in symbols]
            of_symbol = np.array(own or [0], dtype=np.int64)
            is_stock = found.kind == LotKind.STOCK
            return known, np.where(is_stock, of_symbol[codes], place[UNCLASSIFIED])
        column = positions.position_type if self._by == "type" else positions.investment_class
        texts, of_code = _named(column, normalised if self._by == "class" else str)
        spelt = column.codes[found.position]
        is_null = column.state[found.position] == State.NULL
        codes = np.where(is_null, len(texts), of_code[np.where(is_null, 0, spelt)])
        return [*texts, None], codes


def _added(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _named(column: Text, name: Callable[[str], str]) -> tuple[list[str | None], Int64]:
    """Return the distinct names of a column, and the one of each of its texts."""
    places: dict[str | None, int] = {}
    codes = [places.setdefault(name(text), len(places)) for text in column.table()]
    return list(places), np.array(codes or [0], dtype=np.int64)


def _sums(column: WideDecimals, codes: npt.NDArray[Any], groups: int) -> list[Decimal | None]:
    """Return the sums of a column by key; None where all is NULL."""
    found: list[Decimal | None] = sums_by_key(column, codes, groups).decimals()
    known = np.bincount(codes[column.state == State.VALUE], minlength=groups).tolist()
    return [one if count else None for one, count in zip(found, known, strict=True)]


def _computed_sums(found: Contributions, portfolios: int) -> list[Decimal]:
    """Return the sum of the contributions of each portfolio."""
    change, realized = (
        sums_by_key(column, found.portfolio, portfolios).decimals()
        for column in (found.unrealized_change, found.realized)
    )
    return [or_zero(one) + or_zero(two) for one, two in zip(change, realized, strict=True)]


def _stored_sums(column: Decimals, portfolio: npt.NDArray[Any], count: int) -> list[Decimal | None]:
    """Return the sum of a stored column of each portfolio; None if one value is not a number."""
    is_value = column.state == State.VALUE
    values = np.where(is_value, column.values, 0)
    # the integers of 64 bits as such of 128, the lower half first
    wide = np.column_stack((values, values >> 63)).astype("<i8").view(np.uint8).reshape(-1, 16)
    found = sums_by_key(WideDecimals(wide, column.scale), portfolio, count).decimals()
    for at in portfolio[~is_value].tolist():
        found[at] = None
    return found


def fits(stored: Decimal | None, computed: Decimal, half_cents: int) -> bool:
    """Return whether a stored P&L differs from the sum of contributions only by rounding."""
    if stored is None:
        return False
    return EXACT.subtract(stored, computed).copy_abs() <= EXACT.divide(half_cents, 200)


def _distance(one: UnexplainedPortfolio) -> Decimal:
    """Return the difference of stored and computed P&L; values that are not numbers differ most."""
    if one.daily_pnl is None:
        return Decimal("Infinity")
    return EXACT.subtract(one.daily_pnl, one.computed_pnl).copy_abs()
