"""Queries by an ordinary SELECT: nothing goes through the native decoder, for the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batchcore import reference as ref
from batchcore.arrow import EXACT
from batchcore.frames import Days, Decimals, Text
from batchcore.pg.sql import Sql, compose
from batchcore.schema import Kind
from batchcore.sources.query import as_bytes
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from decimal import Decimal

    from batchcore.pg.session import Session
    from batchcore.sources.query import Column, Query, Result


async def load_plainly(session: Session, query: Query[Result]) -> Result:
    """Return what `load` returns, by an ordinary SELECT and without the native decoder."""
    if not query.sql:
        return query.frame()
    rows = list(await fetch_plainly(session, query))
    cells = {
        column.name: _converted(column, [row[number] for row in rows])
        for number, column in enumerate(query.columns)
    }
    return query.frame(**cells)


async def fetch_plainly(session: Session, query: Query[Any]) -> Iterator[tuple[Any, ...]]:
    """Return the rows of a query by an ordinary SELECT.

    Dates are days since 1970-01-01, `reference.INFINITE_DAY` for an infinite one; doubles are
    rounded as the column says; bytes of a text that are no UTF-8 are lone surrogates.
    """
    if not query.sql:
        return iter(())

    def item(name: str, column: Column) -> str:
        if column.kind is Kind.DATE:
            return day_number(Sql(name))
        return name if session.has_encoding else as_bytes(name, column)

    scales = [column.scale for column in query.columns]
    rows = await session.fetch(query.converted(item))
    return (tuple(map(_plain, row, scales)) for row in rows)


def _plain(value: Any, scale: int) -> Any:  # noqa: ANN401  # a cell of any type
    if isinstance(value, float):
        return ref.from_double(value, scale)
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def day_number(date: Sql) -> Sql:
    """Return the expression for a date as a day since 1970-01-01, an infinite one as such."""
    return compose(
        "CASE WHEN isfinite({date}) THEN ({date} - DATE '1970-01-01')::bigint"
        " WHEN {date} IS NOT NULL THEN {infinite} END",
        date=date,
        infinite=ref.INFINITE_DAY,
    )


def _converted(column: Column, values: Sequence[Any]) -> Any:  # noqa: ANN401  # as `_decoded`
    match column.kind:
        case Kind.NUMERIC | Kind.FLOAT8:
            return as_decimals(values, column.scale)
        case Kind.DATE:
            days = np.array(values, dtype=np.int32)
            return days if column.bare else Days(days)
        case Kind.TEXT:
            return Text.of(values)
        case Kind.UUID:
            data = b"".join(value.bytes for value in values)
            return np.frombuffer(data, dtype=np.uint8).reshape(-1, 16)
        case Kind.BOOL:
            return np.array(values, dtype=np.bool_)
        case _:
            return np.array(values, dtype=np.int64)


def as_decimals(values: Sequence[Decimal | None], scale: int) -> Decimals:
    """Return decimals as a column of a scale."""
    mantissas, states = [], []
    for value in values:
        state, mantissa = State.VALUE, 0
        if value is None:
            state = State.NULL
        elif not value.is_finite():
            state = State.NON_FINITE
        else:
            units = value.scaleb(scale, EXACT)
            if units == units.to_integral_value() and -(2**63) <= units < 2**63:
                mantissa = int(units)
            else:
                state = State.NOT_REPRESENTABLE
        mantissas.append(mantissa)
        states.append(state)
    return Decimals(np.array(mantissas, dtype=np.int64), scale, np.array(states, dtype=np.uint8))
