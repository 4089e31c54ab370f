"""Splits (C3 to C5): the core against the reference, one basis against another, and no table."""

from dataclasses import replace
from decimal import Decimal
from itertools import zip_longest

import numpy as np
from hypothesis import strategies as st

from batchcore import reference as ref
from batchcore.calendar import FIRST_DATE
from batchcore.config import Splits
from batchcore.frames import Text
from batchcore.run import changes
from batchcore.sources.changes import ChangedPrices
from batchcore.sources.positions import Held
from batchcore.splits import restates
from batchcore.values import present
from support.cases import Run, SplitTable
from support.generate import MONDAY, Generator, for_any
from support.sides import by_core, by_reference

# New shares for old ones whose products and quotients have few decimals, up to three in a row.
EXACT = ((2, 1), (4, 1), (1, 2), (1, 4), (5, 1), (1, 5))
BASES = [
    (price_basis, quantity_basis)
    for price_basis in ("as_traded", "adjusted")
    for quantity_basis in ("as_entered", "current")
]


def plain_run(generator: Generator) -> Run:
    """Return a run as traded and as entered in which no split rounds anything."""
    drawn = replace(generator, odd=0, edges=False)
    first = MONDAY - 6
    days = sorted({first + 1 + drawn.integer(0, 18) for _ in range(drawn.integer(1, 3))})
    ratios = [drawn.one_of(EXACT) for _ in days]
    rows = tuple(
        ("AAA", day, Decimal(new), Decimal(old))
        for day, (new, old) in zip(days, ratios, strict=True)
    )
    closes = tuple(
        ("AAA", day, Decimal(8000 * drawn.integer(1, 40)))
        for day in range(first, MONDAY + 14)
        if drawn.chance(70)
    )
    positions = tuple(position(drawn, first) for _ in range(drawn.integer(1, 4)))
    portfolio = ref.Portfolio("p0", Decimal(drawn.integer(0, 10**6)), positions)
    sessions = [MONDAY + n for n in range(12) if drawn.chance(70)] or [MONDAY]
    return Run((portfolio,), closes, tuple(sessions), splits=SplitTable(rows))


def position(drawn: Generator, first: int) -> ref.Position:
    """Return a stock, long or short, open, closed or closed in parts, of 8000 times a number."""
    kind, sign = drawn.one_of((("LONG", 1), ("SHORT", -1)))
    price = Decimal(8000 * drawn.integer(1, 40))
    entry = first + drawn.integer(0, 14)
    found = ref.Position("AAA", kind, Decimal(sign * 8000 * drawn.integer(1, 9)), price, entry)
    if drawn.chance(40):
        exit_price = Decimal(8000 * drawn.integer(1, 40)) if drawn.chance(70) else None
        found = replace(found, exit_day=entry + drawn.integer(0, 9), exit_price=exit_price)
    if drawn.chance(40):
        events = tuple(
            ref.Event(
                entry + drawn.integer(0, 9),
                Decimal(8000 * drawn.integer(1, 9)),
                Decimal(drawn.integer(-999, 999)),
            )
            for _ in range(drawn.integer(1, 2))
        )
        found = replace(found, events=events)
    return found


def factor(splits: SplitTable, day: int) -> Decimal:
    """Return how many shares after all splits one of `day` is."""
    product = Decimal(1)
    for _, on, new, old in splits.rows:
        if on is not None and new is not None and old is not None and day < on:
            product *= new / old
    return product


def restated(run: Run, price_basis: str, quantity_basis: str) -> Run:
    """Return the data of a run as a host on other bases has them."""
    splits = run.splits
    assert splits is not None

    def close(day: int, value: Decimal) -> Decimal:
        return value / factor(splits, day) if price_basis == "adjusted" else value

    def current(one: ref.Position) -> ref.Position:
        assert one.quantity is not None
        assert one.entry_price is not None
        assert one.entry_day is not None
        of_entry = factor(splits, one.entry_day)
        exited = one.exit_price is not None and one.exit_day is not None
        return replace(
            one,
            quantity=one.quantity * of_entry,
            entry_price=one.entry_price / of_entry,
            exit_price=one.exit_price / factor(splits, one.exit_day)
            if exited and one.exit_price and one.exit_day
            else one.exit_price,
            events=tuple(
                replace(event, quantity=event.quantity * factor(splits, event.day))
                for event in one.events
                if event.quantity is not None and event.day is not None
            ),
        )

    portfolios = run.portfolios
    if quantity_basis == "current":
        portfolios = tuple(
            replace(one, positions=tuple(map(current, one.positions))) for one in portfolios
        )
    return replace(
        run,
        prices=tuple(
            (symbol, day, close(day, value))
            for symbol, day, value in run.prices
            if day is not None and value is not None
        ),
        portfolios=portfolios,
        splits=replace(splits, price_basis=price_basis, quantity_basis=quantity_basis),
    )


@for_any(plain_run, examples=60)
def test_every_pair_of_bases_gives_the_same_rows_as_restated_data_without_a_table(run: Run) -> None:
    without = replace(restated(run, "adjusted", "current"), splits=None)
    (expected,), _ = by_reference(without)
    for bases in BASES:
        other = restated(run, *bases)
        assert by_core(other) == ([expected], [])
        assert by_reference(other) == ([expected], [])


@for_any(plain_run, examples=40)
def test_a_split_alone_makes_no_pnl(run: Run) -> None:
    """Each close is the first one in the shares of its day: no price moves."""
    splits = run.splits
    assert splits is not None
    close = Decimal(8000)
    still = [
        ("AAA", day, close * factor(splits, day)) for _, day, _ in run.prices if day is not None
    ]
    held = [
        replace(
            one,
            exit_day=None,
            events=(),
            entry_price=close * factor(splits, one.entry_day or 0),
        )
        for one in run.portfolios[0].positions
    ]
    portfolio = replace(run.portfolios[0], positions=tuple(held))
    (result,), _ = by_core(replace(run, prices=tuple(still), portfolios=(portfolio,)))
    assert {row.daily_pnl for row in result.rows} == {Decimal(0)}


MOST_SHARES = 100
"""New shares of a split that makes no quantity unrepresentable."""


def late_run(generator: Generator) -> Run:
    """Return a run on any bases whose last split comes late."""
    plain = replace(generator, odd=0, edges=False)
    run = plain.split_run()
    assert run.splits is not None
    rows = tuple(row for row in run.splits.rows if row[2] is not None and row[2] < MOST_SHARES)
    rows = rows or (("AAA", MONDAY, Decimal(2), Decimal(1)),)
    # stocks in the symbol, with the events that make a split count before its ex-date
    stock = {"symbol": rows[-1][0], "position_type": "LONG", "investment_class": None}
    first, *others = (replace(one, snapshots=()) for one in run.portfolios)
    stocks = [replace(one, events=(plain.event(),), **stock) for one in first.positions]
    first = replace(first, positions=tuple(stocks))
    return replace(run, portfolios=(first, *others), splits=replace(run.splits, rows=rows))


def held(run: Run) -> Held:
    """Return when the positions of a run are held, as `select_held` does, by portfolio."""
    rows = [
        (number, one.symbol, present(one.entry_day), *_ends(one))
        for number, portfolio in enumerate(run.portfolios)
        for one in portfolio.positions
        if one.symbol is not None
    ]
    number, symbol, *days = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    ids = np.zeros((len(rows), 16), dtype=np.uint8)
    ids[:, 0] = number
    return Held(ids, Text.of(symbol), *(np.array(column, dtype=np.int32) for column in days))


def _ends(one: ref.Position) -> tuple[int, int]:
    """Return the day on which the last lot ends, and that of the last event."""
    least, most = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    last = max((present(event.day) for event in one.events), default=least)
    left = most if one.exit_day is None else one.exit_day
    return max(last, left if one.quantity else least), last


@for_any(late_run, Generator, st.booleans(), st.integers(-3, 3), examples=200)
def test_no_figure_changes_before_the_day_that_a_late_split_counts_from(
    run: Run,
    edited: bool,  # noqa: FBT001
    moved: int,
) -> None:
    table = run.splits
    assert table is not None
    *known, (symbol, ex_date, new, old) = table.rows
    assert ex_date is not None
    if edited:
        known.append((symbol, ex_date + moved, old, new))
    before = replace(run, splits=replace(table, rows=tuple(known)))
    (was, _), (becomes, _) = by_reference(before), by_reference(run)
    mapped = Splits("stock_splits", table.price_basis, table.quantity_basis)
    late = ChangedPrices(Text.of([symbol]), np.array([FIRST_DATE if edited else ex_date], np.int32))
    counts_from = {}
    if restates(mapped):
        found = changes.affected_by_splits(late, held(run), mapped)
        for number, day in zip(found.portfolio_id[:, 0].tolist(), found.day.tolist(), strict=True):
            counts_from[number] = min(day, counts_from.get(number, day))
    for number, (one, other) in enumerate(zip(was, becomes, strict=True)):
        pairs = zip_longest(one.rows, other.rows)
        changed = [(own or then).day for own, then in pairs if own != then]
        assert not changed or counts_from[number] <= min(changed)
