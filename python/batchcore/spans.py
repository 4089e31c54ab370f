"""Sorted ranges of days, known or missing."""

from __future__ import annotations

from typing import NamedTuple

Span = tuple[int, int]
"""First and last day, both included."""

Spans = tuple[Span, ...]
"""Ascending, none next to another."""


class Window(NamedTuple):
    """Symbols, as spelt, and the first and last day wanted."""

    symbols: tuple[str, ...]
    first: int
    last: int


def gaps(spans: Spans, first: int, last: int) -> list[Span]:
    """Return the parts of a window that are in no span, ascending."""
    found = []
    for start, end in spans:
        if end < first:
            continue
        if start > last:
            break
        if start > first:
            found.append((first, start - 1))
        first = end + 1
    if first <= last:
        found.append((first, last))
    return found


def widened(spans: Spans, first: int, last: int) -> Spans:
    """Return spans with one more; those that meet it become one with it."""
    apart = []
    for start, end in spans:
        if end < first - 1 or start > last + 1:
            apart.append((start, end))
        else:
            first, last = min(first, start), max(last, end)
    return tuple(sorted([*apart, (first, last)]))
