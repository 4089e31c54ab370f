"""Queries as text: literals of any value, conditions, names of the host."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from batchcore import calendar as calendars
from batchcore.config import Schema
from batchcore.db.catalog import Catalog, ColumnType
from batchcore.errors import InputError
from batchcore.pg.sql import Sql, date_literal, text_array
from batchcore.schema import HOST, Kind, Use
from batchcore.sources.events_flows import select_all_events, select_events, select_flows
from batchcore.sources.host import Selection, complete
from batchcore.sources.portfolios import select_portfolios
from batchcore.sources.positions import (
    select_held,
    select_positions,
    select_stepped_symbols,
    select_symbols,
)
from batchcore.sources.prices import (
    load_fallback,
    load_legacy_closes,
    load_prices,
    select_price_dates,
)
from batchcore.sources.snapshots import select_existing
from support import build

MONDAY = 20458
"""2026-01-05 in days since 1970-01-01."""

REQUIRED = {name: found for name, table in HOST.items() if (found := table.needed(Use.RUN))}

IDS = build.ids((1, 2, 258))


def catalog(schema: Schema | None = None, **changes: ColumnType) -> Catalog:
    """Return the tables of docs/schema.md; a change is of ``table__column``."""
    schema = schema or Schema()
    columns = {
        table: {
            schema.column(table, column.name): changes.get(
                f"{table}__{column.name}",
                ColumnType(
                    column.name,
                    column.kind,
                    str(column.kind),
                    *(column.sizes if column.kind is Kind.NUMERIC else ()),
                ),
            )
            for column in columns
        }
        for table, columns in REQUIRED.items()
    }
    return Catalog(schema, columns, frozenset(columns), indexes=frozenset())


def test_a_zero_character_is_refused() -> None:
    with pytest.raises(InputError, match="zero character"):
        text_array(["a\0b"])


@pytest.mark.parametrize(
    ("day", "literal"),
    [
        (0, "'1970-01-01'::date"),
        (-1, "'1969-12-31'::date"),
        (MONDAY, "'2026-01-05'::date"),
        (calendars.FIRST_DATE, "'0001-01-01'::date"),
        (calendars.LAST_DATE, "'9999-12-31'::date"),
        (calendars.LAST_DATE + 1, "'10000-01-01'::date"),
    ],
)
def test_a_day_is_a_date_literal(day: int, literal: str) -> None:
    assert date_literal(day) == literal


def test_portfolios_are_chosen_by_range_by_list_or_not_at_all() -> None:
    first, second, third = (str(uuid.UUID(int=number)) for number in (1, 2, 258))
    own = Sql("id")
    assert Selection().condition(own) == "true"
    assert Selection(IDS[:0]).condition(own) == "false"
    assert Selection(IDS[:0], as_range=True).condition(own) == "false"
    listed = ",".join(one.replace("-", "") for one in (first, second, third))
    assert Selection(IDS).condition(own) == f"id = ANY('{{{listed}}}'::uuid[])"
    assert (
        Selection(IDS, as_range=True).condition(own)
        == f"id BETWEEN '{first}'::uuid AND '{third}'::uuid"
    )


def every_query(catalog: Catalog) -> list[str]:
    calendar, chosen = calendars.load("XNYS"), Selection(IDS)
    found = [
        select_portfolios(catalog, calendar, MONDAY, chosen),
        select_portfolios(catalog, calendar, MONDAY, Selection()),
        select_symbols(catalog, chosen),
        select_stepped_symbols(catalog, 10),
        select_held(catalog, chosen, ["AAA"]),
        select_price_dates(catalog),
        select_positions(catalog, chosen),
        select_events(catalog, chosen),
        select_all_events(catalog),
        select_flows(catalog, chosen, MONDAY, MONDAY),
        select_existing(catalog, calendar, chosen, MONDAY, MONDAY),
    ]
    return [*(query.sql for query in found), *asyncio.run(statements_of_closes(catalog))]


class Recorder:
    """A session that has no rows, and notes the statements that it is sent."""

    has_encoding = True

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.ambiguous: list[object] = []

    async def copy_out(self, query: str, take: Callable[[bytes], None]) -> None:
        self.sent.append(query)
        take(b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\xff\xff")


async def statements_of_closes(catalog: Catalog) -> list[str]:
    session: Any = Recorder()
    names, days = ["AAA"], (MONDAY, MONDAY)
    await load_prices(session, catalog, names, *days)
    await load_fallback(session, catalog, names, names, days, since=MONDAY + 1)
    await load_legacy_closes(session, catalog, names, *days)
    return session.sent


def test_every_query_uses_the_names_of_the_host() -> None:
    tables = {table: f"their {table}" for table in REQUIRED}
    columns = {
        f"{table}.{one.name}": f"their {one.name}" for table in REQUIRED for one in REQUIRED[table]
    }
    schema = Schema(namespace='na"me', tables=tables, columns=columns)
    for sql in every_query(catalog(schema)):
        for table in REQUIRED:
            assert f'"{table}"' not in sql
            assert f'."their {table}"' not in sql.replace(f'"na""me"."their {table}"', "")
        for name in {one.name for columns in REQUIRED.values() for one in columns}:
            assert f'"{name}"' not in sql


def test_no_query_has_parameters_or_ends_a_statement() -> None:
    for sql in every_query(catalog()):
        assert "$" not in sql
        assert ";" not in sql
        assert sql.startswith(("SELECT ", "WITH "))


def test_columns_are_read_with_the_scale_of_their_type() -> None:
    five = ColumnType("quantity", Kind.NUMERIC, "numeric(18,5)", 18, 5)
    query = select_positions(catalog(positions__quantity=five), Selection())
    scales = {column.name: column.scale for column in query.columns}
    assert (scales["quantity"], scales["entry_price"]) == (5, 4)


def test_complete_depends_on_the_calendar() -> None:
    host = catalog()
    assert complete(host, calendars.from_price_dates([])) == "false"
    # 2026-01-05 and 2026-01-08: bits 0 and 3 of the first byte
    four_days = complete(host, calendars.from_price_dates([MONDAY, MONDAY + 3]))
    assert "decode('09', 'hex')" in four_days
    assert "'2026-01-05'::date AND '2026-01-08'::date" in four_days
    assert "decode" not in complete(host, calendars.load("daily"))


def test_what_64_bits_may_not_hold_is_compared_with_what_they_do() -> None:
    plain = ColumnType("amount", Kind.NUMERIC, "numeric")
    narrow = ColumnType("amount", Kind.NUMERIC, "numeric(16,2)", 16, 2)
    wide = replace(narrow, precision=30)

    def flows(amount: ColumnType) -> str:
        schema = Schema(scales={"equity_changes.amount": 2})
        found = catalog(schema, equity_changes__amount=amount)
        return select_flows(found, Selection(), MONDAY, MONDAY).sql

    limits = "BETWEEN -92233720368547758.08 AND 92233720368547758.07"
    assert limits in flows(plain)
    assert limits in flows(wide)
    assert "trunc" not in flows(narrow)
