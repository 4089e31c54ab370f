"""Quoting, tried on a real server under both meanings of a backslash."""

import datetime as dt

import numpy as np
import pytest

from batchcore.config import Schema
from batchcore.errors import InputError
from batchcore.pg.sql import (
    Relation,
    Sql,
    column_name,
    compose,
    joined,
    quote_identifier,
    quote_literal,
    table_name,
    text_array,
)
from support.database import connected

HOSTILE = [
    "plain",
    "O'Neil",
    'say "hi"',
    "'; DROP TABLE x; --",
    '"; DROP TABLE x; --',
    "back\\slash",
    "\\'; DROP TABLE x; --",
    "E'\\047",
    "$1 $$ $tag$ %s %(a)s :b {c} ?",
    " two\nlines\t",
    "größe 株 \U0001f4c8",
    "select",
    "\\",
    "'",
]


@pytest.mark.parametrize("text", ["", *HOSTILE])
@pytest.mark.parametrize("conforming", ["on", "off"])
async def test_a_literal_comes_back_as_it_was(server, text: str, conforming: str) -> None:
    async with connected(server.url) as connection:
        await connection.execute("SET escape_string_warning = on")
        await connection.execute(f"SET standard_conforming_strings = {conforming}")
        assert await connection.fetchval(f"SELECT {quote_literal(text)}::text") == text
        several = [text, "NULL", ""]
        assert await connection.fetchval(f"SELECT {text_array(several)}::text[]") == several


@pytest.mark.parametrize("name", HOSTILE)
async def test_an_identifier_names_what_it_says(server, name: str) -> None:
    async with connected(server.url) as connection:
        row = await connection.fetchrow(f"SELECT 1 AS {quote_identifier(name)}")
    assert list(row.keys()) == [name]


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_no_server_takes_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        quote_literal(text)
    with pytest.raises(InputError):
        quote_identifier(text)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        quote_identifier("")


def test_names_go_through_the_schema() -> None:
    schema = Schema(
        namespace="my host",
        tables={"positions": 'hold"ings'},
        columns={"positions.entry_price": "cost basis"},
    )

    assert table_name(schema, "positions") == '"my host"."hold""ings"'
    assert column_name(schema, "positions", "entry_price") == '"cost basis"'
    assert column_name(schema, "positions", "quantity") == '"quantity"'


def test_a_template_is_filled_with_names_literals_and_parts() -> None:
    p = Relation(Schema(namespace="host"), "positions", "p")
    own = compose("{p.id} = {id:uuid}", p=p, id=bytes(15) + b"\1")
    found = compose(
        """
        SELECT {p.symbol} FROM {p} WHERE {own} AND {p.entry_date} < {day:date}
        AND {p.symbol} = ANY({names:texts}) AND {p.notes} <> {note:text} LIMIT {most}
        """,
        p=p,
        own=own,
        day=20458,
        names=["a'b", "{c}"],
        note="{p}",
        most=3,
    )
    assert found == (
        """SELECT p."symbol" FROM "host"."positions" AS p"""
        """ WHERE p."id" = '00000000-0000-0000-0000-000000000001'::uuid"""
        """ AND p."entry_date" < '2026-01-05'::date\n"""
        """        AND p."symbol" = ANY('{"a''b","{c}"}') AND p."notes" <> '{p}' LIMIT 3"""
    )


def test_lists_and_moments_are_literals_too() -> None:
    ids, days = np.arange(32, dtype=np.uint8).reshape(2, 16), np.array([0, 20458], dtype=np.int32)
    assert compose("{ids:uuids}", ids=ids) == (
        "'{000102030405060708090a0b0c0d0e0f,101112131415161718191a1b1c1d1e1f}'::uuid[]"
    )
    assert compose("{days:dates}", days=days) == "'{1970-01-01,2026-01-05}'::date[]"
    east = dt.timezone(dt.timedelta(hours=2))
    moment = dt.datetime(2026, 1, 5, 2, tzinfo=east)
    assert compose("{at:moment}", at=moment) == "'2026-01-05T00:00:00+00:00'::timestamptz"
    assert joined(", ", [Sql("a"), "b"]) == "a, b"


@pytest.mark.parametrize("value", ["plain text", 1.5, None, True, b"x"])
def test_a_hole_takes_no_value_without_a_kind(value: object) -> None:
    with pytest.raises(TypeError, match="neither SQL nor a literal"):
        compose("{hole}", hole=value)


def test_a_literal_has_a_kind_that_is_known() -> None:
    with pytest.raises(TypeError, match="literal of kind `json`"):
        compose("{hole:json}", hole={})
