"""The row that counts among several of one symbol and date (S2), for both policies."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from batchcore.reference.facts import Issue
from batchcore.values import representable, rounded
from batchcore.words import counted, short

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from decimal import Decimal

Price = tuple[str, int | None, "Decimal | None"]


def one_close(
    rows: Iterable[tuple[*Price, str | None]],
    price_sources: Sequence[str] = (),
    *,
    scale: int = 4,
) -> tuple[list[Price], tuple[Issue, ...]]:
    """Return at most one row of each symbol and day, and the issues `ambiguous_price`.

    If sources are declared, the first with a valid close counts, and no row of another. If no row
    has a valid close, the first by source counts: a finite and representable one before others, and
    the lowest of these (S2).
    """
    found: dict[tuple[str, int | None], list[tuple[int, Decimal | None]]] = defaultdict(list)
    for symbol, day, close, source in rows:
        if not price_sources:
            found[symbol, day].append((0, close))
        elif source in price_sources:
            found[symbol, day].append((price_sources.index(source), close))
    kept: list[Price] = []
    differing: dict[str, dict[int, list[Decimal]]] = defaultdict(dict)
    for (symbol, day), closes in found.items():
        valid = [
            (rank, close) for rank, close in closes if close is not None and _valid(close, scale)
        ]
        first = min((rank for rank, _ in valid), default=None)
        counting = sorted({close for rank, close in valid if rank == first})
        if len(counting) > 1 and day is not None:
            differing[symbol][day] = counting
        elif counting:
            kept.append((symbol, day, counting[0]))
        else:
            kept.append((symbol, day, min(closes, key=lambda row: _order(row, scale))[1]))
    issues = []
    for symbol, by_day in sorted(differing.items()):
        day = min(by_day)
        low, *_, high = (shown_close(close, scale) for close in by_day[day])
        detail = f"{counted(len(by_day), 'date')}; {low} and {high} on the first"
        issues.append(Issue("ambiguous_price", symbol, day, detail))
    return kept, tuple(issues)


def shown_close(close: Decimal, scale: int) -> str:
    """Return a finite close as an issue shows it, without trailing zeros."""
    return short(rounded(close, scale)) if representable(close, scale) else "not_representable"


def _valid(close: Decimal, scale: int) -> bool:
    return close.is_finite() and close > 0 and representable(close, scale)


def _order(row: tuple[int, Decimal | None], scale: int) -> tuple[int, int, Decimal | int]:
    """Return the key by which rows without a valid close are sorted."""
    rank, close = row
    if close is None or not close.is_finite():
        return 2, rank, 0
    return (0, rank, close) if representable(close, scale) else (1, rank, 0)
