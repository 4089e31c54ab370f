"""Several rows of one symbol and date: columns against the reference, and runs on what counts."""

from dataclasses import dataclass, replace

import numpy as np

from batchcore import reference as ref
from batchcore.frames import Prices, Text
from batchcore.sources.prices import one_close
from support import build
from support.cases import Price, Run
from support.generate import MONDAY, SYMBOLS, Generator, for_any
from support.sides import by_core, by_reference

SOURCES = ("a", "b", "c", None)


@dataclass(frozen=True)
class Rows:
    """Closes with their sources, and which sources are declared."""

    rows: tuple[tuple[*Price, str | None], ...]
    declared: tuple[str, ...]


def made(generator: Generator) -> Rows:
    """Return up to four rows of each symbol and date, mostly of a few closes."""
    rows: list[tuple[*Price, str | None]] = []
    for symbol in SYMBOLS[: generator.integer(1, 3)]:
        for day in range(MONDAY - 2, MONDAY + generator.integer(0, 6)):
            for _ in range(generator.integer(0, 4)):
                close = generator.maybe_odd(generator.decimal(4, 3), 4)
                rows.append((symbol, day, close, generator.one_of(SOURCES)))
    return Rows(tuple(rows), generator.one_of(((), ("b", "a"), ("a", "b", "c"), ("z",))))


def several_rows(plain: Generator) -> tuple[Rows, Run]:
    generator = replace(plain, odd=15)
    return made(generator), generator.any_run()


def shown(prices: Prices) -> list[tuple[str | None, int, int, int]]:
    columns = (prices.symbol.texts(), prices.day.values, prices.close.values, prices.close.state)
    return sorted(zip(*(map(_plain, column) for column in columns), strict=True))


def _plain(cell: object) -> object:
    return cell.item() if isinstance(cell, np.generic) else cell


def by_columns(given_rows: Rows) -> tuple[list[tuple[str | None, int, int, int]], list[ref.Issue]]:
    """Return what the loads of a run make of the rows that a query brings."""
    rows, rank = list(given_rows.rows), None
    if given_rows.declared:
        rows = [row for row in rows if row[3] in given_rows.declared]
        rank = np.array([given_rows.declared.index(row[3] or "") for row in rows], dtype=np.int64)
    prices, found = one_close(build.prices(row[:3] for row in rows), rank)
    issues = [ref.Issue("ambiguous_price", one.symbol, one.day, one.detail) for one in found]
    return shown(prices), sorted(issues, key=lambda one: one.symbol or "")


@for_any(several_rows, examples=300)
def test_one_close_of_a_symbol_and_date_is_that_of_the_reference(drawn: tuple[Rows, Run]) -> None:
    given_rows, run = drawn
    kept, issues = ref.one_close(given_rows.rows, given_rows.declared)
    assert by_columns(given_rows) == (shown(build.prices(kept)), list(issues))

    run = replace(run, prices=tuple(kept))
    assert by_core(run) == by_reference(run)


def test_no_rows_are_none() -> None:
    none = build.prices()
    assert one_close(none, None) == (none, [])
    assert Text.of([]).texts() == []
