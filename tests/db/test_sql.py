"""Quoting, tried on a real server under both meanings of a backslash."""

import pytest

from batchcore.config import Schema
from batchcore.db.sql import column_name, quote_identifier, quote_literal, table_name, text_array
from batchcore.errors import InputError
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


@pytest.mark.db
@pytest.mark.parametrize("text", ["", *HOSTILE])
@pytest.mark.parametrize("conforming", ["on", "off"])
async def test_a_literal_comes_back_as_it_was(server, text: str, conforming: str) -> None:
    async with connected(server.url) as connection:
        await connection.execute("SET escape_string_warning = on")
        await connection.execute(f"SET standard_conforming_strings = {conforming}")
        assert await connection.fetchval(f"SELECT {quote_literal(text)}::text") == text
        several = [text, "NULL", ""]
        assert await connection.fetchval(f"SELECT {text_array(several)}::text[]") == several


@pytest.mark.db
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
