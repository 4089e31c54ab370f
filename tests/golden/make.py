"""Write binary COPY of a real server, and what it means, beside this file.

Run by hand when a case is added: ``python tests/golden/make.py --dsn postgresql://...``. See
README.md for what the files hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import asyncpg

FOLDER = Path(__file__).parent

# Days and microseconds are those since 1970-01-01, so that no reader needs a calendar.
EXPECTED = {
    "date": "CASE WHEN isfinite({0}) THEN ({0} - date '1970-01-01')::text ELSE {0}::text END",
    "timestamp": "CASE WHEN isfinite({0}) THEN trunc(extract(epoch FROM {0}) * 1000000)::text"
    " ELSE {0}::text END",
}


@dataclass(frozen=True)
class Column:
    """A column of a case: its name, how it is decoded, and the scale of a numeric."""

    name: str
    kind: str
    scale: int | None = None

    def expected_sql(self) -> str:
        """Return the SQL expression of the expected value as text."""
        return EXPECTED.get(self.kind, "{0}::text").format(f'"{self.name}"')

    def as_json(self) -> dict[str, Any]:
        """Return the column as it stands in the JSON file."""
        scale = {} if self.scale is None else {"scale": self.scale}
        return {"name": self.name, "kind": self.kind, **scale}


@dataclass(frozen=True)
class Case:
    """A query whose rows are stored, in an order that it fixes itself."""

    name: str
    columns: tuple[Column, ...]
    query: str


def values(name: str, columns: tuple[Column, ...], types: tuple[str, ...], rows: list[str]) -> Case:
    """Return the case of literal rows, each ``a, b`` in SQL, cast to the types."""
    casts = ", ".join(
        f'c{i}::{sql_type} AS "{column.name}"'
        for i, (column, sql_type) in enumerate(zip(columns, types, strict=True))
    )
    names = ", ".join(f"c{i}" for i in range(len(columns)))
    literals = ", ".join(f"({i}, {row})" for i, row in enumerate(rows))
    query = f"SELECT {casts} FROM (VALUES {literals}) AS v (n, {names}) ORDER BY n"  # noqa: S608  # constants of this file
    return Case(name, columns, query)


def one(name: str, kind: str, sql_type: str, literals: list[str], scale: int | None = None) -> Case:
    """Return the case of one column of quoted literals, after which comes a NULL."""
    rows = ["'" + literal.replace("'", "''") + "'" for literal in literals]
    return values(name, (Column("x", kind, scale),), (sql_type,), [*rows, "NULL"])


def mantissas(scale: int) -> Case:
    """Return the case of 64-bit mantissas of many lengths in a numeric that shows ``scale``."""
    whole = [0, 1, 5, 10, 9999, 10000, 10001, 12345678, 10**8, 10**12, 10**16, 2**63 - 1]
    signed = [*whole, *(-mantissa for mantissa in whole), -(2**63)]
    literals = [f"{mantissa}e-{scale}" for mantissa in signed]
    return one(f"mantissas_{scale}", "numeric", f"numeric(22, {scale})", literals, scale)


def powers_of_ten(least: int, most: int) -> list[str]:
    """Return 1, 12345 and their negatives, shifted by each power of ten."""
    return [
        f"{mantissa}e{power}"
        for power in range(least, most + 1)
        for mantissa in ("1", "-1", "12345", "-12345")
    ]


POSITION_COLUMNS = (
    Column("id", "uuid"),
    Column("portfolio_id", "uuid"),
    Column("symbol", "text"),
    Column("position_type", "text"),
    Column("quantity", "numeric", 4),
    Column("entry_price", "numeric", 4),
    Column("entry_date", "date"),
    Column("exit_price", "numeric", 4),
    Column("exit_date", "date"),
    Column("deleted_at", "timestamp"),
)
POSITION_QUERY = """
SELECT md5('position ' || i)::uuid AS id,
       md5('portfolio ' || i / 7)::uuid AS portfolio_id,
       (ARRAY['AAPL', 'msft ', 'BRK B', 'SPY  240621C00500000'])[1 + i % 4]::varchar(20) AS symbol,
       (ARRAY['LONG', 'SHORT', 'LC', 'SP'])[1 + i % 4]::positiontype AS position_type,
       ((i - 9) * 1234.5625)::numeric(16, 4) AS quantity,
       (i * i * i / 8.0)::numeric(12, 4) AS entry_price,
       date '1999-12-25' + i AS entry_date,
       CASE WHEN i % 3 = 0 THEN i::numeric(12, 4) END AS exit_price,
       CASE WHEN i % 3 = 0 THEN date '2016-07-01' - i END AS exit_date,
       CASE WHEN i % 5 = 0 THEN timestamptz '2024-02-29 12:34:56.789+00' + i * interval '1s'
       END AS deleted_at
FROM generate_series(1, 20) AS i
ORDER BY i
"""

SNAPSHOT_COLUMNS = (
    Column("id", "uuid"),
    Column("snapshot_date", "date"),
    Column("total_value", "numeric", 2),
    Column("quantity", "numeric", 4),
    Column("daily_return", "numeric", 6),
    Column("shares", "numeric", 0),
    Column("ratio", "numeric", 9),
    Column("num_positions", "int4"),
    Column("volume", "int8"),
    Column("is_complete", "bool"),
    Column("symbol", "text"),
)
SNAPSHOT_QUERY = """
SELECT md5('snapshot ' || i)::uuid AS id,
       CASE WHEN i % 6 <> 5 THEN date '1970-01-01' + i * 1000 END AS snapshot_date,
       CASE WHEN i % 7 <> 6 THEN (power(-10::numeric, i % 17) / 100 + i)::numeric(19, 2)
       END AS total_value,
       (power(-10::numeric, i % 18) / 10000)::numeric(18, 4) AS quantity,
       (i / 7.0 - 3)::numeric(8, 6) AS daily_return,
       (10000::numeric * i * i * i)::numeric(18, 0) AS shares,
       (1 / (i + 1.0))::numeric(18, 9) AS ratio,
       (i - 20) * 100000000 AS num_positions,
       CASE WHEN i % 4 <> 3 THEN (i - 20) * 400000000000000000 END AS volume,
       i % 2 = 0 AS is_complete,
       CASE WHEN i % 5 <> 4 THEN (ARRAY['AAPL', '', 'größe'])[1 + i % 3] END AS symbol
FROM generate_series(0, 40) AS i
ORDER BY i
"""

CONSTANT_COLUMNS = (
    Column("created_at", "timestamp"),
    Column("is_complete", "bool"),
    Column("is_late", "bool"),
    Column("label", "text"),
    Column("nothing", "date"),
)
CONSTANT_QUERY = """
SELECT timestamptz '2024-02-29 12:34:56.789+00' AS created_at,
       true AS is_complete,
       false AS is_late,
       'größe'::varchar(20) AS label,
       NULL::date AS nothing
FROM generate_series(1, 3)
"""

CASES = (
    one(
        "uuid",
        "uuid",
        "uuid",
        [
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "017f22e2-79b0-7cc3-98c4-dc0c0c07398f",
            "12345678-9abc-def0-1234-567800000000",
        ],
    ),
    one(
        "date",
        "date",
        "date",
        [
            "1970-01-01",
            "1969-12-31",
            "2000-01-01",
            "1999-12-31",
            "2024-02-29",
            "0001-01-01",
            "0001-12-31 BC",
            "4713-01-01 BC",
            "4714-11-24 BC",
            "5874897-12-31",
            "infinity",
            "-infinity",
        ],
    ),
    one("date_finite", "date", "date", ["1970-01-01", "1999-12-31", "4713-01-01 BC", "9999-12-31"]),
    one(
        "timestamp",
        "timestamp",
        "timestamptz",
        [
            "1970-01-01 00:00:00+00",
            "2000-01-01 00:00:00+00",
            "1999-12-31 23:59:59.999999+00",
            "2024-02-29 12:34:56.789+02",
            "4714-11-24 00:00:00+00 BC",
            "294246-12-31 23:59:59.999999+00",
            "294276-12-31 23:59:59.999999+00",
            "infinity",
            "-infinity",
        ],
    ),
    one("bool", "bool", "bool", ["true", "false"]),
    one("int2", "int2", "int2", ["0", "1", "-1", "32767", "-32768"]),
    one("int4", "int4", "int4", ["0", "1", "-1", "2147483647", "-2147483648"]),
    one(
        "int8",
        "int8",
        "int8",
        ["0", "1", "-1", "9223372036854775807", "-9223372036854775808"],
    ),
    one(
        "text",
        "text",
        "text",
        [
            "AAPL",
            "",
            " BRK B ",
            "größe",
            "日本",
            "\N{SLICE OF PIZZA}",
            "AAPL",
            'it\'s\\ "quoted",\ttabbed',
            "x" * 300,
        ],
    ),
    values(
        "kinds_of_text",
        (Column("varchar", "text"), Column("enum", "text"), Column("json", "text")),
        ("varchar(20)", "positiontype", "json"),
        ["'SPY', 'LONG', '{\"Energy\": 0.25}'", "NULL, 'SC', NULL", "'', NULL, '{}'"],
    ),
    one(
        "numeric_12_4",
        "numeric",
        "numeric(12, 4)",
        [
            "0",
            "-0",
            "1",
            "-1",
            "0.0001",
            "-0.0001",
            "0.01",
            "0.1",
            "10000",
            "10000.0001",
            "99999999.9999",
            "-99999999.9999",
            "12345678.9",
            "100",
            "20000000",
            "NaN",
        ],
        scale=4,
    ),
    one(
        "numeric_any",
        "numeric",
        "numeric",
        [
            "0",
            "0.0000000000",
            "1.50000",
            "1.50001",
            "-1.50000000000000000000",
            "0.00010",
            "0.00001",
            "-0.00001",
            "100000000.0001",
            "922337203685477.5807",
            "922337203685477.5808",
            "-922337203685477.5808",
            "-922337203685477.5809",
            "922337203685477.58070000",
            "922337203685478",
            "1844674407370955.1616",
            "NaN",
            "Infinity",
            "-Infinity",
            "1e1000",
            "-1e-1000",
            "12345678901234567890123456789012345678.9012345678901234567890",
        ],
        scale=4,
    ),
    one("numeric_weights", "numeric", "numeric", powers_of_ten(-12, 20), scale=4),
    one("numeric_scale_0", "numeric", "numeric", powers_of_ten(-6, 20), scale=0),
    one("numeric_scale_18", "numeric", "numeric", powers_of_ten(-24, 3), scale=18),
    *(mantissas(scale) for scale in (0, 1, 2, 3, 4, 18)),
    Case("positions", POSITION_COLUMNS, POSITION_QUERY),
    Case("written", SNAPSHOT_COLUMNS, SNAPSHOT_QUERY),
    Case("constants", CONSTANT_COLUMNS, CONSTANT_QUERY),
    Case("empty", POSITION_COLUMNS, f"SELECT * FROM ({POSITION_QUERY}) AS p WHERE false"),  # noqa: S608  # constants of this file
    Case("no_columns", (), "SELECT FROM generate_series(1, 3)"),
)


def as_text(value: object) -> str:
    """Return a value as JSON on one line."""
    return json.dumps(value, ensure_ascii=False)


def as_lines(items: list[Any]) -> str:
    """Return a list as JSON with a line for each item."""
    return "[" + ",\n ".join(as_text(item) for item in items) + "]"


async def write(connection: asyncpg.Connection[asyncpg.Record], case: Case) -> None:
    """Write the two files of a case."""
    query = " ".join(line.strip() for line in case.query.strip().splitlines())
    out = BytesIO()
    await connection.copy_from_query(query, output=out, format="binary")
    expected = ", ".join(column.expected_sql() for column in case.columns)
    # The inner ORDER BY holds: this SELECT only scans what comes out of it.
    rows = await connection.fetch(f"SELECT {expected} FROM ({query}) AS q")  # noqa: S608  # constants of this file
    (FOLDER / f"{case.name}.copy").write_bytes(out.getvalue())
    parts = (
        f'"query": {as_text(query)}',
        f'"columns": {as_lines([column.as_json() for column in case.columns])}',
        f'"rows": {as_lines([list(row.values()) for row in rows])}',
    )
    text = "{" + ",\n".join(parts) + "}\n"
    (FOLDER / f"{case.name}.json").write_text(text, encoding="utf-8")


async def main() -> None:
    """Write all cases on the server of ``--dsn``; nothing stays there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dsn", required=True, help="server to ask, PostgreSQL 14 or newer")
    connection = await asyncpg.connect(parser.parse_args().dsn)
    try:
        await connection.execute(
            "CREATE TYPE pg_temp.positiontype AS ENUM ('LC', 'LP', 'SC', 'SP', 'LONG', 'SHORT')"
        )
        await connection.execute("SET search_path = pg_temp, public; SET TimeZone = 'UTC'")
        for case in CASES:
            await write(connection, case)
    finally:
        await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
