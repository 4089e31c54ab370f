"""Frames from what the reference reads, and results of the core as the reference gives them.

The core and the reference are handed the same portfolios: `inputs` turns them into the columns that
the decoder would have made of the rows, `results` turns result columns back.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import partial
from hashlib import blake2b
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
import numpy.typing as npt

from batchcore import reference as ref
from batchcore.frames import (
    Days,
    Decimals,
    Events,
    Flows,
    Frame,
    Inputs,
    Issues,
    Opening,
    Positions,
    Previous,
    Prices,
    RateRows,
    Rows,
    SplitRows,
    Text,
)
from batchcore.reference import legacy
from batchcore.units import CENTS, RETURN_SCALE, State
from batchcore.values import present
from support.cases import CENTS as CENTS_OF_A_ROW
from support.cases import Price, RateRow, SplitTable

SomeFrame = TypeVar("SomeFrame", bound=Frame)
Row = TypeVar("Row")

BETA_SCALE = 6
INT64 = range(-(2**63), 2**63)
NO_SCALES: Mapping[str, int] = {}


def mantissa(value: Decimal | None, scale: int) -> tuple[int, State]:
    """Return what stands for `value` in a column of `scale`: mantissa and state."""
    if value is None:
        return 0, State.NULL
    if not value.is_finite():
        return 0, State.NON_FINITE
    units = Fraction(value) * 10**scale
    if units.denominator != 1 or units.numerator not in INT64:
        return 0, State.NOT_REPRESENTABLE
    return units.numerator, State.VALUE


def decimals(values: Iterable[Decimal | None], scale: int) -> Decimals:
    cells = [mantissa(value, scale) for value in values]
    return Decimals(
        np.array([units for units, _ in cells], dtype=np.int64),
        scale,
        np.array([state for _, state in cells], dtype=np.uint8),
    )


def days(values: Iterable[int | None]) -> Days:
    """Return the column of days; None is NULL, `INFINITE_DAY` not finite."""
    states = {None: State.NULL, ref.INFINITE_DAY: State.NON_FINITE}
    cells = [(value, states.get(value, State.VALUE)) for value in values]
    return Days(
        np.array([0 if state else value for value, state in cells], dtype=np.int32),
        np.array([state for _, state in cells], dtype=np.uint8),
    )


def ids(keys: Iterable[UUID | int]) -> npt.NDArray[np.uint8]:
    """Return the bytes of each id, which may be the number that it stands for."""
    raw = (key.to_bytes(16, "big") if isinstance(key, int) else key.bytes for key in keys)
    return np.frombuffer(b"".join(raw), dtype=np.uint8).reshape(-1, 16)


def uuids(names: Iterable[str]) -> npt.NDArray[np.uint8]:
    """Return a key for each name: the same for the same name."""
    return ids(UUID(bytes=blake2b(name.encode(), digest_size=16).digest()) for name in names)


def session_days(values: Iterable[int]) -> npt.NDArray[np.int32]:
    return np.array(list(values), dtype=np.int32)


def prices(rows: Iterable[Price] = (), scale: int = 4) -> Prices:
    rows = list(rows)
    return Prices(
        symbol=Text.of([symbol for symbol, _, _ in rows]),
        day=days(day for _, day, _ in rows),
        close=decimals((close for _, _, close in rows), scale),
    )


def rate_rows(rows: Iterable[RateRow] = (), scale: int = 6) -> RateRows:
    rows = list(rows)
    return RateRows(
        base=Text.of([base for base, *_ in rows]),
        quote=Text.of([quote for _, quote, *_ in rows]),
        day=days(day for *_, day, _ in rows),
        rate=decimals((rate for *_, rate in rows), scale),
    )


def inputs(
    portfolios: Sequence[ref.Portfolio] = (),
    prices_as_stored: Iterable[Price] = (),
    sessions: Sequence[int] = (),
    scales: ref.Scales = ref.DEFAULT_SCALES,
    *,
    column_scales: Mapping[str, int] = NO_SCALES,
    spans: Sequence[tuple[int, int]] | None = None,
    rates: Iterable[RateRow] | None = None,
    rate_scale: int = 6,
    splits: SplitTable | None = None,
) -> Inputs:
    """Return the frames of `portfolios`, which need different ids.

    S5 looks at the first of the sessions. `spans` are the first and last day of each portfolio, if
    they are not the same; `column_scales` those of single columns, such as ``exit_price``.
    """

    def scaled(name: str, default: int, values: Iterable[Decimal | None]) -> Decimals:
        return decimals(values, column_scales.get(name, default))

    stored = partial(scaled, "snapshot", scales.money)
    held = [
        (portfolio.id, f"{portfolio.id}/{number}", position)
        for portfolio in portfolios
        for number, position in enumerate(portfolio.positions)
    ]
    positions = [position for _, _, position in held]
    events = [(owner, key, event) for owner, key, p in held for event in p.events]
    flows = [(portfolio.id, flow) for portfolio in portfolios for flow in portfolio.flows]
    snapshots = [(p.id, snapshot) for p in portfolios for snapshot in p.snapshots]
    firsts = [sessions[0] if len(sessions) else 0] * len(portfolios)
    if spans is not None:
        firsts = [min((s for s in sessions if s >= a), default=0) for a, _ in spans]
    earliest = [
        min((s for s in p.snapshots if s.day >= first), key=lambda s: s.day, default=None)
        for p, first in zip(portfolios, firsts, strict=True)
    ]
    return Inputs(
        positions=Positions(
            id=uuids(key for _, key, _ in held),
            portfolio_id=uuids(owner for owner, _, _ in held),
            symbol=Text.of([p.symbol for p in positions]),
            position_type=Text.of([p.position_type for p in positions]),
            quantity=scaled("quantity", scales.quantity, (p.quantity for p in positions)),
            entry_price=scaled("entry_price", scales.price, (p.entry_price for p in positions)),
            entry_day=days(p.entry_day for p in positions),
            exit_price=scaled("exit_price", scales.price, (p.exit_price for p in positions)),
            exit_day=days(p.exit_day for p in positions),
            expiration_day=days(p.expiration_day for p in positions),
            investment_class=Text.of([p.investment_class for p in positions]),
            market_value=scaled("market_value", scales.money, (p.market_value for p in positions)),
            deleted=np.array([p.deleted for p in positions], dtype=np.bool_),
            currency=Text.of([p.currency for p in positions]),
        ),
        events=Events(
            position_id=uuids(key for _, key, _ in events),
            portfolio_id=uuids(owner for owner, _, _ in events),
            day=days(event.day for _, _, event in events),
            quantity=scaled("quantity_closed", scales.quantity, (e.quantity for _, _, e in events)),
            realized=scaled("realized_pnl", scales.money, (e.realized for _, _, e in events)),
        ),
        flows=Flows(
            portfolio_id=uuids(owner for owner, _ in flows),
            day=days(flow.day for _, flow in flows),
            amount=scaled("amount", scales.money, (flow.amount for _, flow in flows)),
            change_type=Text.of([flow.change_type for _, flow in flows]),
        ),
        prices=prices(prices_as_stored, column_scales.get("close", scales.close)),
        previous=Previous(
            portfolio_id=uuids(owner for owner, _ in snapshots),
            day=session_days(snapshot.day for _, snapshot in snapshots),
            equity=stored(s.equity for _, s in snapshots),
            cumulative_pnl=stored(s.cumulative_pnl for _, s in snapshots),
            cumulative_realized_pnl=stored(s.cumulative_realized_pnl for _, s in snapshots),
            cumulative_capital_flow=stored(s.cumulative_capital_flow for _, s in snapshots),
            is_complete=np.array([s.is_complete for _, s in snapshots], dtype=np.bool_),
        ),
        opening=Opening(
            portfolio_id=uuids(portfolio.id for portfolio in portfolios),
            equity=stored(portfolio.opening_equity for portfolio in portfolios),
            earliest_day=days(s and s.day for s in earliest),
            earliest_equity=stored(s and s.equity for s in earliest),
            earliest_pnl=stored(s and s.daily_pnl for s in earliest),
            earliest_flow=stored(s and s.daily_capital_flow for s in earliest),
            first_day=None if spans is None else session_days(first for first, _ in spans),
            last_day=None if spans is None else session_days(last for _, last in spans),
            currency=Text.of([portfolio.currency for portfolio in portfolios]),
        ),
        rates=None if rates is None else rate_rows(rates, rate_scale),
        splits=None if splits is None else split_rows(splits),
    )


def split_rows(table: SplitTable) -> SplitRows:
    symbol, day, new, old = zip(*table.rows, strict=True) if table.rows else ((), (), (), ())
    return SplitRows(
        symbol=Text.of(symbol),
        day=days(day),
        new=decimals(new, 8),
        old=decimals(old, 8),
        price_basis=table.price_basis,
        quantity_basis=table.quantity_basis,
    )


def take(frame: SomeFrame, rows: Sequence[int]) -> SomeFrame:
    """Return the rows of a frame with these numbers, in this order."""
    return frame.take(np.array(rows, dtype=np.intp))


AnyPortfolio = TypeVar("AnyPortfolio", ref.Portfolio, legacy.Portfolio)


def double(value: Decimal | None, scale: int) -> Decimal | None:
    """Return a decimal as it is read from a column of doubles."""
    return None if value is None else ref.from_double(float(value), scale)


def in_doubles(portfolio: AnyPortfolio, scales: ref.Scales = ref.DEFAULT_SCALES) -> AnyPortfolio:
    """Return a portfolio as it is read from tables that hold its inputs as doubles."""

    def position(one: ref.Position) -> ref.Position:
        return replace(
            one,
            quantity=double(one.quantity, scales.quantity),
            entry_price=double(one.entry_price, scales.price),
            exit_price=double(one.exit_price, scales.price),
            last_price=double(one.last_price, scales.price),
            market_value=double(one.market_value, scales.money),
            events=tuple(
                ref.Event(
                    each.day,
                    double(each.quantity, scales.quantity),
                    double(each.realized, scales.money),
                )
                for each in one.events
            ),
            betas=tuple(
                replace(each, beta=present(double(each.beta, BETA_SCALE))) for each in one.betas
            ),
        )

    return replace(
        portfolio,
        positions=tuple(map(position, portfolio.positions)),
        flows=tuple(
            replace(flow, amount=double(flow.amount, scales.money)) for flow in portfolio.flows
        ),
    )


def prices_in_doubles(rows: Iterable[Price], scale: int = 4) -> tuple[Price, ...]:
    return tuple((symbol, day, double(close, scale)) for symbol, day, close in rows)


def issues(columns: Issues) -> list[tuple[int, ref.Issue]]:
    """Return the number of the portfolio (-1 for none) and the issue, in the order of rows."""
    found = zip(
        columns.portfolio.tolist(),
        columns.name.texts(),
        columns.symbol.texts(),
        cells(columns.day),
        columns.detail.texts(),
        strict=True,
    )
    return [(portfolio, ref.Issue(*columns)) for portfolio, *columns in found]


def row_columns(rows: Rows) -> dict[str, list[Any]]:
    """Return the columns that rows of both policies have, as the references name them."""
    assert rows.daily_return.scale == RETURN_SCALE
    counts = ("day", "num_positions", "num_long_positions", "num_short_positions")
    return {
        **{name: cells(Decimals(getattr(rows, name), CENTS)) for name in CENTS_OF_A_ROW.values()},
        "daily_return": cells(rows.daily_return),
        **{name: getattr(rows, name).tolist() for name in counts},
    }


def by_portfolio(rows: Rows, kind: Callable[..., Row], columns: dict[str, Any]) -> list[list[Row]]:
    """Return the rows of each portfolio as a reference has them."""
    found: list[list[Row]] = [[] for _ in rows.written]
    for row, portfolio in enumerate(rows.portfolio.tolist()):
        found[portfolio].append(kind(**{name: column[row] for name, column in columns.items()}))
    assert [len(own) for own in found] == rows.written.tolist()
    return found


def results(rows: Rows) -> list[ref.Result]:
    """Return the result of each portfolio.

    Where the unrealized P&L needs more than 64 bits, that of the row is None.
    """
    columns = row_columns(rows)
    assert rows.unrealized_pnl.scale == CENTS
    columns["total_value"] = cells(Decimals(rows.total_value, CENTS))
    columns["unrealized_pnl"] = cells(rows.unrealized_pnl)
    columns["marks"] = [tuple(counts) for counts in rows.marks.tolist()]
    noticed: list[list[ref.Issue]] = [[] for _ in rows.written]
    for portfolio, issue in issues(rows.issues):
        if portfolio >= 0:
            noticed[portfolio].append(issue)
    return [
        ref.Result(tuple(own), tuple(noticed[number]), failed)
        for number, (own, failed) in enumerate(
            zip(by_portfolio(rows, ref.Row, columns), rows.failed.tolist(), strict=True)
        )
    ]


def market_issues(rows: Rows) -> list[ref.Issue]:
    """Return the issues that are of no portfolio."""
    return [issue for portfolio, issue in issues(rows.issues) if portfolio < 0]


def snapshot_of(row: ref.Row) -> ref.Snapshot:
    """Return the snapshot as which a row is stored."""
    return ref.Snapshot(
        row.day,
        row.equity_balance,
        row.cumulative_pnl,
        row.cumulative_realized_pnl,
        row.cumulative_capital_flow,
        row.daily_pnl,
        row.daily_capital_flow,
    )


def in_64_bits(result: ref.Result) -> ref.Result:
    """Return a result of the reference as far as `results` can tell it."""
    rows = [
        row if int(row.unrealized_pnl.scaleb(CENTS)) in INT64 else replace(row, unrealized_pnl=None)
        for row in result.rows
    ]
    return replace(result, rows=tuple(rows))


def cells(column: Any) -> list[Any]:
    """Return the values of a column, None for those without one."""
    values = column.values.tolist()
    if isinstance(column, Decimals):
        values = [Decimal(value).scaleb(-column.scale) for value in values]
    return [
        None if state else value for value, state in zip(values, column.state.tolist(), strict=True)
    ]
