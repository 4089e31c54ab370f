"""Write binary COPY of a real server, and what it means, beside this file.

Run by hand when a query is changed or added: ``python tests/golden/make.py --dsn postgresql://...``.
README.md says what the files hold.
"""

import argparse
import asyncio
import json
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


def expected_sql(column: dict[str, Any]) -> str:
    """Return the SQL expression of the expected value as text."""
    return EXPECTED.get(column["kind"], "{0}::text").format(f'"{column["name"]}"')


def as_text(value: object) -> str:
    """Return a value as JSON on one line."""
    return json.dumps(value, ensure_ascii=False)


def as_lines(items: list[Any]) -> str:
    """Return a list as JSON with a line for each item."""
    return "[" + ",\n ".join(as_text(item) for item in items) + "]"


Answer = tuple[bytes, list[list[str | None]]]


async def answers(dsn: str, cases: list[dict[str, Any]]) -> list[Answer]:
    """Return the bytes and the rows of each case; nothing stays on the server."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "CREATE TYPE pg_temp.positiontype AS ENUM ('LC', 'LP', 'SC', 'SP', 'LONG', 'SHORT')"
        )
        await connection.execute("SET search_path = pg_temp, public; SET TimeZone = 'UTC'")
        return [await answer(connection, case) for case in cases]
    finally:
        await connection.close()


async def answer(connection: asyncpg.Connection, case: dict[str, Any]) -> Answer:
    out = BytesIO()
    await connection.copy_from_query(case["query"], output=out, format="binary")
    expected = ", ".join(map(expected_sql, case["columns"]))
    # The inner ORDER BY holds: this SELECT only scans what comes out of it.
    rows = await connection.fetch(f"SELECT {expected} FROM ({case['query']}) AS q")  # noqa: S608  # our own queries
    return out.getvalue(), [list(row.values()) for row in rows]


def main() -> None:
    """Write all files as the server of ``--dsn`` has them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dsn", required=True, help="server to ask, PostgreSQL 14 or newer")
    files = [copied.with_suffix(".json") for copied in sorted(FOLDER.glob("*.copy"))]
    cases = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    found = asyncio.run(answers(parser.parse_args().dsn, cases))
    for file, case, (copied, rows) in zip(files, cases, found, strict=True):
        file.with_suffix(".copy").write_bytes(copied)
        parts = (
            f'"query": {as_text(case["query"])}',
            f'"columns": {as_lines(case["columns"])}',
            f'"rows": {as_lines(rows)}',
        )
        file.write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
