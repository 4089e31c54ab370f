"""The ledger read back: runs, their chunks, and what portfolios were noticed for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from batchcore.db.ledger import (
    CHUNKS,
    HEARTBEATS,
    ISSUES,
    LIVES,
    RUNS,
    SYMBOL_ISSUES,
    WHOLE,
)
from batchcore.db.sql import quote_identifier, quote_literal

if TYPE_CHECKING:
    import uuid

    from batchcore.config import Schema
    from batchcore.db.engine import Session

STUCK: Final = "stuck"
"""What a run is called that counts as running and whose lease has expired."""


async def load_runs(
    session: Session, schema: Schema, *, limit: int, run_id: uuid.UUID | None = None
) -> list[dict[str, Any]]:
    """Return the runs that began last, the latest first, or the one of an id."""
    namespace = quote_identifier(schema.namespace)
    condition = "true" if run_id is None else f"r.id = {quote_literal(str(run_id))}"
    return await _rows(
        session,
        f"SELECT r.id::text AS run_id, CASE WHEN r.state = '{LIVES}'"  # noqa: S608  # quoted
        " AND COALESCE(h.expires_at <= clock_timestamp(), true)"
        f" THEN '{STUCK}' ELSE r.state END AS state,"
        " r.asked::text AS asked, cardinality(r.portfolio_ids) AS portfolios_asked,"
        " r.configuration::text AS configuration, r.code_version, r.attempt, r.token,"
        f" {_date('r.start_date', 'start_date')}, {_date('r.end_date', 'end_date')},"
        " r.snapshot_id, r.lsn, r.portfolios, r.failed, r.chunks, r.rows_written,"
        f" r.seconds::text AS seconds, r.error, {_instant('r.created_at', 'created_at')},"
        f" {_instant('r.started_at', 'started_at')}, {_instant('r.ended_at', 'ended_at')},"
        f" {_instant('h.beat_at', 'beat_at')}, {_instant('h.expires_at', 'expires_at')}"
        f" FROM {namespace}.{RUNS} AS r LEFT JOIN {namespace}.{HEARTBEATS} AS h ON h.run_id = r.id"
        f" WHERE {condition} ORDER BY r.created_at DESC, r.token DESC LIMIT {limit}",
    )


async def load_chunks(session: Session, schema: Schema, run_id: uuid.UUID) -> list[dict[str, Any]]:
    """Return the chunks of a run in the order of their numbers."""
    namespace = quote_identifier(schema.namespace)
    return await _rows(
        session,
        "SELECT chunk, attempt, first_portfolio::text AS first_portfolio,"  # noqa: S608  # quoted
        f" last_portfolio::text AS last_portfolio, {_date('first_session', 'first_session')},"
        f" {_date('last_session', 'last_session')}, sessions, rows_written, sha256,"
        f" {_instant('committed_at', 'committed_at')} FROM {namespace}.{CHUNKS}"
        f" WHERE run_id = {quote_literal(str(run_id))} ORDER BY chunk",
    )


async def load_issues(session: Session, schema: Schema, run_id: uuid.UUID) -> list[dict[str, Any]]:
    """Return what portfolios of a run were noticed for, by portfolio.

    What is in no chunk was noticed anew by each attempt that came to its end, and has minus its
    number: that of the last such attempt counts.
    """
    namespace = quote_identifier(schema.namespace)
    own = quote_literal(str(run_id))
    ended = ", ".join(quote_literal(state) for state in WHOLE)
    return await _rows(
        session,
        "SELECT portfolio_id::text AS portfolio, name, failed, count, symbol,"  # noqa: S608  # quoted
        f" {_date('session', 'session')}, detail, CASE WHEN chunk >= 0 THEN chunk END AS chunk"
        f" FROM {namespace}.{ISSUES} WHERE run_id = {own} AND (chunk >= 0 OR chunk ="
        f" (SELECT CASE WHEN r.state IN ({ended}) THEN -r.attempt ELSE (SELECT min(chunk)"
        f" FROM {namespace}.{ISSUES} WHERE run_id = {own}) END"
        f" FROM {namespace}.{RUNS} AS r WHERE r.id = {own}))"
        " ORDER BY portfolio_id, name, chunk",
    )


async def load_symbol_issues(
    session: Session, schema: Schema, run_id: uuid.UUID
) -> list[dict[str, Any]]:
    """Return what each attempt of a run noticed of symbols, by name and symbol."""
    namespace = quote_identifier(schema.namespace)
    return await _rows(
        session,
        "SELECT name, symbol, count, session::text AS session, detail, attempt"  # noqa: S608
        f" FROM {namespace}.{SYMBOL_ISSUES} WHERE run_id = {quote_literal(str(run_id))}"
        ' ORDER BY name, symbol COLLATE "C", attempt',
    )


async def _rows(session: Session, sql: str) -> list[dict[str, Any]]:
    return [dict(row) for row in await session.fetch(sql)]


# What a cast to text gives is up to DateStyle.
def _date(day: str, name: str) -> str:
    return f"to_char({day}, 'YYYY-MM-DD') AS {name}"


def _instant(moment: str, name: str) -> str:
    return f"to_char({moment} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS {name}"
