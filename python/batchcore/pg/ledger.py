"""Runs, their leases, and what has been committed.

A run holds a lease: a row of `batchcore_runs` with a token, and one of `batchcore_run_heartbeats`
with the moment at which it expires. A process that takes over or replaces a run gives it a new
token. Each writing transaction ends with an UPDATE that finds the run only by the token that it
began with, so it cannot commit after a takeover.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.errors import DatabaseError, LeaseHeldError
from batchcore.frames import Integers, NotReplaced
from batchcore.pg.fields import encoded, field_of
from batchcore.pg.session import Session, View, execute_alone, transaction
from batchcore.pg.sql import Sql, compose, in_shard, joined, quote_literal, table_name
from batchcore.pg.triggers import acting_on
from batchcore.schema import OWN, TOKENS
from batchcore.words import counted

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    import numpy.typing as npt

    from batchcore.config import Schema
    from batchcore.pg.fields import Column
    from batchcore.shards import Shard

    Row = dict[str, Any]

RUNS: Final = "batchcore_runs"
CHUNKS: Final = "batchcore_run_chunks"
ISSUES: Final = "batchcore_run_issues"
SYMBOL_ISSUES: Final = "batchcore_run_symbol_issues"
_TABLES: Final = {
    "runs": RUNS,
    "shards": "batchcore_run_shards",
    "chunks": CHUNKS,
    "issues": ISSUES,
    "symbol_issues": SYMBOL_ISSUES,
    "heartbeats": "batchcore_run_heartbeats",
}
ISSUE_COLUMNS: Final = {
    table: [column.name for column in OWN[table].columns] for table in (ISSUES, SYMBOL_ISSUES)
}

NOT_REPLACED: Final = "not_replaced"
"""The issue of rows that a chunk left as they are, since another writer stored them."""

LIVES: Final = "running"
"""The state of a run that is working, or was when its process died."""

WAIT_S: Final = 30.0
"""Seconds to wait until the transactions of a replaced run have ended."""

POLL_S: Final = 0.02

NEXT_CHANGED_SINCE: Final = "next_changed_since"
"""The key in the configuration of a run of the moment after which it may have missed a change."""

OUTCOME: Final = "outcome"
"""The key of the outcome of its latest attempt."""

_KEYS: Final = 2**31
"""Advisory locks of two parts take 32 bits; the sign is left alone."""

_RELATED_RUNS: Final = """
SELECT r.id::text, r.token, r.state, {same} AS same,
    COALESCE(h.expires_at > clock_timestamp(), false) AS alive,
    COALESCE(h.expires_at, r.started_at) AS until
FROM {runs} AS r LEFT JOIN {heartbeats} AS h ON h.run_id = r.id
LEFT JOIN {shards} AS rs ON rs.run_id = r.id
WHERE (r.state = 'running' AND {overlaps})
    OR ((r.state IN ('failed', 'interrupted', 'incomplete')
            OR (r.state = 'complete' AND rs.group_id = {continues:text}::uuid)) AND {same}
        AND r.token = (SELECT max(l.token) FROM {runs} AS l
            LEFT JOIN {shards} AS ls ON ls.run_id = l.id WHERE {later_same})
        AND NOT EXISTS (SELECT FROM {runs} AS l LEFT JOIN {shards} AS ls ON ls.run_id = l.id
            WHERE l.token > r.token AND l.chunks > 0 AND {later_overlaps}))
ORDER BY r.token DESC"""

_SAME: Final = """
({run}.fingerprint = {spec.fingerprint:text}
    AND {run}s.shard IS NOT DISTINCT FROM {number:integer}
    AND {run}s.shards IS NOT DISTINCT FROM {of:integer})"""
_SAME_UNTIL: Final = """
({same} AND COALESCE(
    COALESCE(r.end_date, (r.configuration ->> 'today')::date) <= {today:date}, false))"""

# By a hash of the list, made once for all runs, where && would compare each with each. NULL is all
# portfolios, or all of a shard.
_LIST_OVERLAPS: Final = """
(CASE WHEN {run}.portfolio_ids IS NOT NULL
    THEN EXISTS (SELECT FROM unnest({run}.portfolio_ids) AS id WHERE id = ANY ({ids:uuids}))
    ELSE {run}s.shards IS NULL OR EXISTS (SELECT FROM unnest({ids:uuids}) AS id WHERE {in_theirs})
END)"""
# Two remainders have a number in common if they are the same modulo the common divisor.
_SHARD_OVERLAPS: Final = """
(CASE WHEN {run}.portfolio_ids IS NOT NULL
    THEN EXISTS (SELECT FROM unnest({run}.portfolio_ids) AS id WHERE {in_own})
    ELSE {run}s.shards IS NULL OR ({run}s.shard - {number}) % gcd({run}s.shards, {of}) = 0
END)"""

# The latest that was asked for the same; without an end, with the same "today".
_GROUP: Final = """
SELECT s.group_id::text, r.created_at, own.has_shard, own.end_date, now()
FROM {runs} AS r JOIN {shards} AS s ON s.run_id = r.id
CROSS JOIN LATERAL (SELECT bool_or(os.shard = {number}) AS has_shard, max(o.end_date) AS end_date
    FROM {shards} AS os JOIN {runs} AS o ON o.id = os.run_id WHERE os.group_id = s.group_id) AS own
WHERE r.fingerprint = {spec.fingerprint:text} AND s.shards = {of}
    AND (r.asked ->> 'end' IS NOT NULL
        OR (r.configuration ->> 'today')::date IS NOT DISTINCT FROM {spec.today:date})
ORDER BY r.created_at DESC, r.token DESC LIMIT 1"""

# Time stamps are those of the start of a transaction, and an open one does not show its rows. If
# the role may not see its start, an hour is assumed.
_MISSED_SINCE: Final = """
SELECT LEAST(now(), min(o.began)) FROM (
    SELECT COALESCE(a.xact_start, now() - interval '1 hour') AS began FROM pg_locks AS l
    JOIN pg_stat_activity AS a ON a.pid = l.pid WHERE l.locktype = 'virtualxid'
        AND l.mode = 'ExclusiveLock' AND a.datname = current_database()
        AND a.usesysid IS NOT NULL AND a.pid <> pg_backend_pid()
    UNION ALL SELECT p.prepared - interval '1 hour' FROM pg_prepared_xacts AS p
    WHERE p.database = current_database()) AS o"""

_BEGIN: Final = """
INSERT INTO {runs} (id, fingerprint, asked, portfolio_ids, configuration, code_version, state,
    attempt, token, created_at, started_at, failed, chunks, rows_written, seconds)
VALUES ({run:text}, {spec.fingerprint:text}, {spec.document:text},
    {spec.portfolio_ids:uuids}, {spec.configuration:text}::jsonb ||
    jsonb_build_object('next_changed_since',
        to_char(LEAST({spec.changed_since:moment}, ({next_changed_since})) AT TIME ZONE 'UTC',
            'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')),
    {spec.code_version:text}, 'running', 1, {next_token}, COALESCE({created_at:moment}, now()),
    clock_timestamp(), 0, 0, 0, 0)"""

_JOIN: Final = """
shared AS (INSERT INTO {shards} (run_id, group_id, shard, shards)
    SELECT id, {group:text}::uuid, {number}, {of} FROM run),"""

_TAKE_OVER: Final = """
UPDATE {runs} SET state = 'running', attempt = attempt + 1,
    token = {next_token}, started_at = clock_timestamp(), ended_at = NULL,
    failed = 0, error = NULL,
    configuration = (configuration - 'order') || {spec.process:text}::jsonb
WHERE id = {run:text}"""

_GRANT_LEASE: Final = """
WITH run AS ({change} RETURNING id, token, attempt, created_at, started_at, end_date,
    configuration::text AS configured),
{joins} lent AS (INSERT INTO {heartbeats} (run_id, token, beat_at, expires_at)
    SELECT id, token, clock_timestamp(), clock_timestamp() + interval '{ms} ms' FROM run
    ON CONFLICT (run_id) DO UPDATE SET token = EXCLUDED.token, beat_at = EXCLUDED.beat_at,
        expires_at = EXCLUDED.expires_at)
SELECT token, attempt, created_at,
    CASE WHEN attempt = 1 AND created_at = now() THEN created_at ELSE started_at END,
    end_date, configured,
    COALESCE({group:text}, (SELECT s.group_id::text FROM {shards} AS s WHERE s.run_id = run.id))
FROM run"""

_IS_ALIVE: Final = """
SELECT FROM {runs} AS r JOIN {heartbeats} AS h ON h.run_id = r.id
WHERE r.id = {run:text} AND r.state = 'running' AND h.expires_at > clock_timestamp()"""

_SUPERSEDE: Final = """
WITH gone AS (UPDATE {runs} SET state = {state:text},
    token = {next_token}, ended_at = clock_timestamp()
    WHERE id IN ({ids}) AND state = 'running' RETURNING id, token)
UPDATE {heartbeats} AS h SET token = gone.token FROM gone WHERE h.run_id = gone.id"""

_HOLD: Final = "SELECT pg_advisory_xact_lock_shared(({of}::int8)::bit(32)::int4, {key})"
_HOLDERS: Final = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2
    AND classid = {of} AND objid::int8 IN ({keys})
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""

_END_TRANSACTIONS: Final = """
SELECT count(pg_terminate_backend(l.pid)) FROM (SELECT DISTINCT pid FROM ({holders}) AS h
    WHERE pid <> pg_backend_pid()) AS l"""

_BLOCKED: Final = """
SELECT w.pid, h.pid, a.usename, a.application_name, a.state,
    extract(epoch FROM clock_timestamp() - a.xact_start)::float8,
    EXISTS (WITH RECURSIVE ahead (pid) AS (SELECT h.pid
            UNION SELECT b.pid FROM ahead, unnest(pg_blocking_pids(ahead.pid)) AS b (pid))
        SELECT FROM ahead WHERE pid IN ({holding}))
FROM pg_stat_activity AS w, unnest(pg_blocking_pids(w.pid)) AS h (pid)
LEFT JOIN pg_stat_activity AS a ON a.pid = h.pid
WHERE w.datname = current_database() AND w.usename = session_user AND w.wait_event_type = 'Lock'
    AND (w.pid IN ({pids}) OR w.pid IN ({holders}))"""

_BEAT: Final = """
UPDATE {heartbeats} SET beat_at = clock_timestamp(),
    expires_at = clock_timestamp() + interval '{lease.lease_ms} ms'
WHERE run_id = {lease.run_id:text} AND token = {lease.token}"""

_IS_OWN: Final = """
SELECT 1 FROM {runs}
WHERE id = {lease.run_id:text} AND token = {lease.token} AND state = 'running'"""

_RECORD_CHUNK: Final = """
WITH entry AS (INSERT INTO {chunks} (run_id, chunk, attempt, first_portfolio, last_portfolio,
    first_session, last_session, sessions, rows_written, sha256, committed_at)
    VALUES ({lease.run_id:text}, {entry.chunk}, {lease.attempt}, {entry.first:uuid},
        {entry.last:uuid}, {entry.first_session:date}, {entry.last_session:date},
        {entry.sessions}, {entry.rows}, {entry.sha256:text}, clock_timestamp())
    RETURNING run_id)
UPDATE {runs} SET chunks = chunks + 1, rows_written = rows_written + {entry.rows},
    failed = failed + {entry.failed}, {plan}
FROM entry WHERE id = {lease.run_id:text} AND token = {lease.token} AND state = 'running'"""

_PLANNED: Final = """
snapshot_id = {planned.view.snapshot_id:text}, lsn = {planned.view.lsn:text},
    start_date = {planned.start:date}, end_date = {planned.end:date},
    portfolios = {planned.portfolios}"""

_RECORD_NOT_REPLACED: Final = "INSERT INTO {issues} ({columns}) VALUES {rows}"
_KEPT: Final = """
({run:text}, {chunk}, {kept.portfolio:uuid}, 'not_replaced', false, {kept.rows}, NULL::text,
    {kept.day:date}, {kept.detail:text})"""

_FINISH: Final = """
WITH given_back AS (UPDATE {heartbeats} SET expires_at = clock_timestamp()
    WHERE run_id = {lease.run_id:text} AND token = {lease.token}),
old AS (DELETE FROM {runs} WHERE id IN (
    SELECT r.id FROM {runs} AS r LEFT JOIN {heartbeats} AS h ON h.run_id = r.id
    WHERE r.id <> {lease.run_id:text} AND CASE WHEN r.state = 'running'
        THEN COALESCE(h.expires_at, r.started_at) ELSE r.ended_at END
        < clock_timestamp() - interval '{ledger_days} days'
    FOR UPDATE OF r SKIP LOCKED))
UPDATE {runs} SET state = {state:text}, {plan} failed = COALESCE({failed:integer}, failed),
    configuration = configuration || {outcome:text}::jsonb,
    ended_at = clock_timestamp(), seconds = seconds + {milliseconds}::numeric / 1000,
    error = {error:text}
WHERE id = {lease.run_id:text} AND token = {lease.token} AND state = 'running'"""

_COMMITTED: Final = """
SELECT chunk, first_portfolio::text, last_portfolio::text FROM {chunks}
WHERE run_id = {run:text} ORDER BY chunk"""

_FAILED: Final = """
SELECT DISTINCT chunk, portfolio_id::text FROM {issues} WHERE run_id = {run:text} AND failed"""

# OFFSET 0 keeps the server from asking about overlaps for each chunk instead of each run.
_COMMIT_STATE: Final = """
SELECT count(*), max(c.committed_at) FROM (
    SELECT r.id FROM {runs} AS r LEFT JOIN {shards} AS rs ON rs.run_id = r.id
    WHERE {overlaps} OFFSET 0) AS own
JOIN {chunks} AS c ON c.run_id = own.id"""

# Of a shard that was run again, its latest run counts.
_FAILED_ELSEWHERE: Final = """
SELECT COALESCE(sum(latest.failed), 0)::int8
FROM (SELECT DISTINCT ON (s.shard) r.failed FROM {shards} AS s JOIN {runs} AS r ON r.id = s.run_id
    WHERE s.group_id = {lease.group:text}::uuid
        AND s.shard <> (SELECT o.shard FROM {shards} AS o WHERE o.run_id = {lease.run_id:text})
    ORDER BY s.shard, r.token DESC) AS latest"""

_SHOW_RUNS: Final = """
SELECT r.id::text AS run_id,
    CASE WHEN r.state = 'running' AND COALESCE(h.expires_at <= clock_timestamp(), true)
        THEN 'stuck' ELSE r.state END AS state,
    r.asked::text AS asked, cardinality(r.portfolio_ids) AS portfolios_asked,
    r.configuration::text AS configuration, r.code_version, r.attempt, r.token, r.start_date,
    r.end_date, r.snapshot_id, r.lsn, r.portfolios, r.failed, r.chunks, r.rows_written, r.seconds,
    r.error, r.created_at, r.started_at, r.ended_at, h.beat_at, h.expires_at,
    s.group_id::text AS group_id, s.shard, s.shards
FROM {runs} AS r LEFT JOIN {heartbeats} AS h ON h.run_id = r.id
LEFT JOIN {shards} AS s ON s.run_id = r.id
WHERE {condition} ORDER BY r.created_at DESC, r.token DESC LIMIT {limit}"""

# A run, or all runs of a group.
_NIGHTS: Final = """
SELECT COALESCE(s.group_id, r.id)::text,
    COALESCE(bool_or({own:text}::uuid IN (r.id, s.group_id)), false)
FROM {runs} AS r LEFT JOIN {shards} AS s ON s.run_id = r.id
GROUP BY COALESCE(s.group_id, r.id) ORDER BY max(r.created_at) DESC, max(r.token) DESC"""

# The others may have begun before those that are shown, or have been run again since.
_OF_LATEST: Final = """
COALESCE(s.group_id, r.id) IN (SELECT COALESCE(ls.group_id, l.id)
    FROM {runs} AS l LEFT JOIN {shards} AS ls ON ls.run_id = l.id
    ORDER BY l.created_at DESC, l.token DESC LIMIT {latest})"""

_OF_GROUP: Final = """
s.group_id = (SELECT own.group_id FROM {shards} AS own
    WHERE {group:text}::uuid IN (own.run_id, own.group_id) LIMIT 1)"""

_SHOW_CHUNKS: Final = """
SELECT chunk, attempt, first_portfolio::text AS first_portfolio,
    last_portfolio::text AS last_portfolio, first_session, last_session, sessions, rows_written,
    sha256, committed_at
FROM {chunks} WHERE run_id = {run:text} ORDER BY chunk"""

# Issues outside chunks are found again by each attempt that ends, and carry minus its number: those
# of the last such attempt count.
_NOTICED: Final = """
{issues} AS i WHERE i.run_id = ANY ({of:texts}) AND (i.chunk >= 0 OR i.chunk = (
    SELECT CASE WHEN r.state IN ('complete', 'incomplete') THEN -r.attempt
        ELSE (SELECT min(o.chunk) FROM {issues} AS o WHERE o.run_id = i.run_id) END
    FROM {runs} AS r WHERE r.id = i.run_id))"""

# Several shards report the same symbol: the one with the most counts.
_NOTICED_OF_SYMBOLS: Final = """
(SELECT DISTINCT ON (i.name, i.symbol) i.name, i.symbol, i.count, i.session, i.detail
    FROM {symbol_issues} AS i WHERE i.run_id = ANY ({of:texts}) AND i.attempt = (
        SELECT max(o.attempt) FROM {symbol_issues} AS o WHERE o.run_id = i.run_id)
    ORDER BY i.name, i.symbol, i.count DESC, i.session) AS of_symbols"""

_SHOW_ISSUES: Final = """
SELECT portfolio_id::text AS portfolio, name, failed, count, symbol, session, detail,
    CASE WHEN chunk >= 0 THEN chunk END AS chunk
FROM {noticed}
ORDER BY portfolio_id, name, chunk"""

_COUNT_ISSUES: Final = """
SELECT name, sum(count)::int8 AS count, count(DISTINCT portfolio_id) AS portfolios,
    count(DISTINCT portfolio_id) FILTER (WHERE failed) AS failed, count(DISTINCT symbol) AS symbols,
    (array_agg(DISTINCT symbol) FILTER (WHERE symbol IS NOT NULL))[1:{most}] AS named,
    min(session) AS session, min(detail) AS detail
FROM {noticed}
GROUP BY name
UNION ALL
SELECT name, sum(count)::int8, 0, 0, count(*) FILTER (WHERE symbol <> ''),
    (array_remove(array_agg(symbol ORDER BY count DESC, symbol COLLATE "C"), ''))[1:{most}],
    min(session), min(detail)
FROM {of_symbols}
GROUP BY name
ORDER BY failed DESC, count DESC, name"""

_SHOW_FAILED: Final = """
SELECT portfolio_id::text AS portfolio, name, detail, session
FROM (SELECT *, row_number() OVER (PARTITION BY portfolio_id
        ORDER BY name = ANY ({causes:texts}) DESC, session, name) AS place FROM {noticed}
    AND failed) AS found
WHERE place = 1 ORDER BY portfolio_id LIMIT {most}"""

_FIRST_OF_SYMBOLS: Final = """
SELECT name, symbol, count, session, detail FROM {of_symbols} WHERE name = ANY ({names:texts})
ORDER BY array_position({names:texts}, name::text), session, symbol COLLATE "C" LIMIT {most}"""

_SESSIONS: Final = """
SELECT min(first_session), max(last_session) FROM {chunks} WHERE run_id = ANY ({of:texts})"""

_SHOW_SYMBOL_ISSUES: Final = """
SELECT name, NULLIF(symbol, '') AS symbol, count, session, detail, attempt FROM {symbol_issues}
WHERE run_id = {run:text} ORDER BY name, symbol COLLATE "C", attempt"""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """The request of a run; `portfolio_ids` None is all, or all of a shard.

    `today` is the given date of "now", if it bounds the run. All shards have one `fingerprint`, and
    each has its own `portfolio_ids`. `changed_since` is that of the view given to the run.
    `process` is the part of the `configuration` that each attempt sets. `continues` is the group
    whose shards are continued although they are complete.
    """

    fingerprint: str
    document: str
    portfolio_ids: npt.NDArray[np.uint8] | None
    configuration: str
    process: str
    code_version: str
    lease_ms: int
    today: dt.date | None = None
    shard: Shard | None = None
    changed_since: dt.datetime | None = None
    continues: str | None = None


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """A run that matters to one that begins: whether it had the `same` request, and is `alive`."""

    run_id: str
    token: int
    state: str
    same: bool
    alive: bool
    until: dt.datetime


@dataclass(frozen=True, slots=True)
class ShardGroup:
    """Shards with the same request; moments are those of the server's clock."""

    id: str  # that of its first run
    moment: dt.datetime  # when it began
    has_shard: bool  # whether the shard that begins has run in it before
    end: dt.date | None  # its last day; None before a shard has found it
    now: dt.datetime  # when the transaction began that read this


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write as a run, valid while its token is that of the ledger.

    ``moment`` is when the run began, or the first shard of its group, by the server's clock: what
    "now" is for it, and the `created_at` of its rows.
    """

    run_id: str
    token: int
    attempt: int  # from 1; a run that is taken over, or resumed, continues with the next
    moment: dt.datetime
    began: dt.datetime  # when this attempt began
    end: dt.date | None  # its last day, where an earlier attempt has found it
    configuration: str
    lease_ms: int
    group: str | None = None  # of a shard, the id of the first run of its group


@dataclass(frozen=True, slots=True)
class Blocked:
    """A process that waits for a lock, and its holder; 0 is a prepared transaction.

    Facts about the holder that this role may not see are None. It `is_circular` if the holder waits
    for the run itself.
    """

    pid: int
    holder: int
    user: str | None
    application: str | None
    state: str | None
    age_s: float | None
    is_circular: bool


@dataclass(frozen=True, slots=True)
class Planned:
    """The facts of a planned run; without a start it continues after existing snapshots."""

    view: View
    start: dt.date | None
    end: dt.date
    portfolios: int


@dataclass(frozen=True, slots=True)
class IssueRows:
    """Rows of `ISSUES` or `SYMBOL_ISSUES`, as COPY bytes."""

    table: str
    rows: int
    pieces: list[bytes]


@dataclass(frozen=True, slots=True)
class ChunkEntry:
    """The entry of a chunk in the ledger: its first and last portfolio, sessions and counts.

    `sha256` is the hash of the COPY bytes of its rows, in the order sent, in hexadecimal.
    """

    chunk: int
    first: bytes
    last: bytes
    first_session: dt.date | None
    last_session: dt.date | None
    sessions: int
    rows: int
    failed: int
    issues: IssueRows
    sha256: str


@dataclass(frozen=True, eq=False, slots=True)
class Committed:
    """The chunks of a run by number: first and last portfolio, and the failed ones."""

    parts: tuple[tuple[bytes, bytes, set[bytes]], ...] = ()
    chunks: int = 0  # the next number

    def covers(self, ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Return which of sorted portfolios are in a chunk."""
        return self._marked(ids)[0]

    def done(self, ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Return which of them did not fail when last committed."""
        return self._marked(ids)[1]

    def _marked(
        self, ids: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        keys = [row.tobytes() for row in ids]
        covered, done = np.zeros((2, len(keys)), dtype=np.bool_)
        for first, last, failed in self.parts:
            inside = slice(bisect_left(keys, first), bisect_right(keys, last))
            covered[inside] = done[inside] = True
            for row, key in enumerate(keys[inside], start=inside.start) if failed else ():
                done[row] = key not in failed
        return covered, done


class Ledger:
    """The tables of the ledger in one namespace."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        names = {key: table_name(schema, name) for key, name in _TABLES.items()}
        tokens = quote_literal(table_name(schema, TOKENS))
        next_token = compose("nextval({tokens}::regclass)", tokens=tokens)
        self._names = names | {"next_token": next_token}
        # Advisory locks of two parts have one of these as the first.
        self._of_tokens, self._of_orders = (
            compose("{table}::regclass::oid", table=quote_literal(names[key]))
            for key in ("runs", "shards")
        )

    def _sql(self, template: str, **holes: object) -> Sql:
        return compose(template, **self._names, **holes)

    async def _rows(self, session: Session, template: str, **holes: object) -> list[Row]:
        return [dict(row) for row in await session.fetch(self._sql(template, **holes))]

    async def _select_runs(
        self, session: Session, condition: str, *, limit: int | None = None, **holes: object
    ) -> list[Row]:
        """Return the runs for which a condition holds, the latest first."""
        of, most = self._sql(condition, **holes), Sql("ALL") if limit is None else limit
        return await self._rows(session, _SHOW_RUNS, condition=of, limit=most)

    async def related_runs(self, session: Session, spec: RunSpec) -> list[EarlierRun]:
        """Return the runs that matter to one that begins, the latest token first.

        These are runs in the state running on any of its portfolios, and the latest run with the
        same request, if it ended early, or belongs to the group to be continued, and no other run
        has written to its portfolios since. A run that goes, or may go, beyond the "today" of this
        one is not the same. No other run can begin until the transaction ends.
        """
        await self.lock(session)
        same = _same("r", spec)
        if spec.today is not None:
            same = compose(_SAME_UNTIL, same=same, today=spec.today)
        sql = self._sql(
            _RELATED_RUNS,
            continues=spec.continues,
            same=same,
            overlaps=_overlaps("r", spec),
            later_same=_same("l", spec),
            later_overlaps=_overlaps("l", spec),
        )
        return [EarlierRun(*row) for row in await session.fetch(sql)]

    async def begin(
        self, session: Session, spec: RunSpec, run_id: str, group: ShardGroup | None = None
    ) -> Lease:
        """Record a run, with its lease; a shard begins a group, or belongs to one.

        "Now" is the start of the transaction, or that of the group that lacked this shard.
        """
        group_id = None
        if spec.shard is not None:
            group_id = run_id if group is None else group.id
        change = self._sql(
            _BEGIN,
            run=run_id,
            spec=spec,
            created_at=None if group is None or group.has_shard else group.moment,
            next_changed_since=Sql(_MISSED_SINCE),
        )
        return await self._grant_lease(session, change, run_id, spec, group_id)

    async def latest_group(self, session: Session, spec: RunSpec) -> ShardGroup | None:
        """Return the latest shards with the same request; None for no shard, or for the first."""
        if spec.shard is None:
            return None
        sql = self._sql(_GROUP, spec=spec, **_numbers(spec.shard))
        for row in await session.fetch(sql):
            return ShardGroup(*row)
        return None

    async def unfinished_group(self, session: Session, spec: RunSpec) -> str | None:
        """Return the latest group with the same request, unless all its shards are complete."""
        found = await self.latest_group(session, spec)
        if found is None or spec.shard is None:
            return None
        states = {row["shard"]: row["state"] for row in await self.group(session, found.id)}
        is_whole = [*states.values()] == ["complete"] * spec.shard[1]
        return None if is_whole else found.id

    async def take_over(self, session: Session, run_id: str, spec: RunSpec) -> Lease:
        """Continue a run: begin its next attempt, under a new token."""
        change = self._sql(_TAKE_OVER, run=run_id, spec=spec)
        return await self._grant_lease(session, change, run_id, spec)

    async def _grant_lease(
        self, session: Session, change: Sql, run_id: str, spec: RunSpec, group: str | None = None
    ) -> Lease:
        joins = Sql() if group is None else self._sql(_JOIN, group=group, **_numbers(spec.shard))
        ms = spec.lease_ms
        sql = self._sql(_GRANT_LEASE, change=change, ms=ms, group=group, joins=joins)
        (row,) = await session.fetch(sql)
        token, attempt, moment, began, end, configuration, group = row
        return Lease(run_id, token, attempt, moment, began, end, configuration, ms, group)

    async def commit_state(self, session: Session, spec: RunSpec) -> tuple[Any, ...]:
        """Return the number of chunks that runs on the same portfolios have committed, and when.

        It shows whether one session sees everything that another does.
        """
        sql = self._sql(_COMMIT_STATE, overlaps=_overlaps("r", spec))
        (row,) = await session.fetch(sql)
        return tuple(row)

    async def failed_elsewhere(self, session: Session, lease: Lease) -> int:
        """Return how many portfolios of the other shards of a group have failed so far."""
        if lease.group is None:
            return 0
        return int(await session.fetchval(self._sql(_FAILED_ELSEWHERE, lease=lease)))

    async def is_alive(self, session: Session, run_id: str | None) -> bool:
        """Return whether a run is in the state running and its lease has not expired."""
        return bool(await session.fetch(self._sql(_IS_ALIVE, run=str(run_id))))

    async def supersede(
        self, session: Session, runs: Iterable[str], state: str = "superseded"
    ) -> None:
        """Revoke the tokens of runs that another run replaces, or that must stop."""
        ids = joined(", ", (compose("{run:text}::uuid", run=run) for run in runs))
        await session.fetch(self._sql(_SUPERSEDE, ids=ids, state=state))

    async def end_transactions(self, session: Session, tokens: Sequence[int]) -> int:
        """End the connections whose transactions write under tokens; return their number.

        A client that is stalled inside a COPY holds the keys of its rows, and no timeout of the
        server ends it.
        """
        sql = self._sql(_END_TRANSACTIONS, holders=self._holders(tokens))
        return int(await session.fetchval(sql))

    def _holders(self, tokens: Sequence[int]) -> Sql:
        """Return the query of the processes that hold the advisory locks of tokens."""
        keys = joined(", ", (str(token % _KEYS) for token in tokens))
        return self._sql(_HOLDERS, of=self._of_tokens, keys=keys)

    async def await_end(self, session: Session, tokens: Sequence[int]) -> None:
        """End the transactions of revoked tokens, and wait until there are none."""
        until = time.monotonic() + WAIT_S
        while await self.end_transactions(session, tokens):
            if time.monotonic() > until:
                msg = f"the transactions of the replaced run did not end within {WAIT_S:.0f} s"
                raise DatabaseError(msg)
            await asyncio.sleep(POLL_S)

    async def blocked(
        self, session: Session, pids: Iterable[int], holding: Iterable[int], token: int | None
    ) -> list[Blocked]:
        """Return the processes ``pids`` of a run that wait for a lock, and its holders.

        Those of ``holding`` keep their own locks until the run ends. Writing ones are found by the
        advisory lock of their token, also behind a pooler, which hides process ids.
        """
        holders = Sql("NULL") if token is None else self._holders([token])
        own, kept = (joined(", ", map(str, some)) or Sql("NULL") for some in (pids, holding))
        sql = self._sql(_BLOCKED, pids=own, holders=holders, holding=kept)
        rows = await session.fetch(sql)
        return [Blocked(*row) for row in rows]

    async def beat(self, session: Session, lease: Lease) -> bool:
        """Renew a lease; return whether this run still held it."""
        return await execute_alone(session, self._sql(_BEAT, lease=lease)) == 1

    @contextlib.asynccontextmanager
    async def fenced(self, session: Session, lease: Lease) -> AsyncIterator[None]:
        """Run a transaction that writes under a lease, unless another run took over.

        A run that takes over looks for the advisory lock after replacing the token: either the
        token is read after that here, or the lock is visible there.
        """
        hold = self._sql(_HOLD, of=self._of_tokens, key=lease.token % _KEYS)
        first = (hold, self._sql(_IS_OWN, lease=lease))
        async with transaction(session, idle_ms=max(lease.lease_ms // 2, 1), first=first) as held:
            if not held:
                raise taken_over(lease)
            yield

    async def record_chunk(
        self, session: Session, lease: Lease, entry: ChunkEntry, planned: Planned
    ) -> None:
        """Record a chunk, as the last statement of its transaction.

        An error, for instance because another run took over, means that the transaction must not
        commit.
        """
        plan = compose(_PLANNED, planned=planned)
        if not await session.execute(self._sql(_RECORD_CHUNK, lease=lease, entry=entry, plan=plan)):
            await self._refuse_triggers(session, CHUNKS, RUNS)
            raise taken_over(lease)

    async def record_issues(self, session: Session, issues: IssueRows) -> None:
        """Record issues."""
        if issues.rows:
            columns, namespace = ISSUE_COLUMNS[issues.table], self._schema.namespace
            kept = await session.copy_in(issues.table, columns, issues.pieces, namespace=namespace)
            await self._check_kept(session, issues.table, kept, issues.rows)

    async def record_not_replaced(
        self, session: Session, lease: Lease, chunk: int, kept: Sequence[NotReplaced]
    ) -> None:
        """Record the rows that a chunk left to other writers."""
        if not kept:
            return
        rows = [compose(_KEPT, run=lease.run_id, chunk=chunk, kept=one) for one in kept]
        columns = joined(", ", ISSUE_COLUMNS[ISSUES])
        sql = self._sql(_RECORD_NOT_REPLACED, columns=columns, rows=joined(", ", rows))
        await self._check_kept(session, ISSUES, await session.execute(sql), len(kept))

    async def _check_kept(self, session: Session, table: str, kept: int, sent: int) -> None:
        """Raise an error unless a table of the ledger stored as many rows as were sent."""
        if kept != sent:
            await self._refuse_triggers(session, table)
            msg = f"{kept} of {counted(sent, 'row')} sent to the ledger table {table} were stored"
            raise DatabaseError(msg)

    async def _refuse_triggers(self, session: Session, *tables: str) -> None:
        """Raise an error that names the triggers on tables of the ledger, if there are any."""
        found = await acting_on(session, self._schema, tables)
        if found:
            names = ", ".join(map(str, found))
            raise DatabaseError(f"the ledger does not store what it is sent: {names} acts on it")

    async def finish(
        self,
        session: Session,
        lease: Lease,
        state: str,
        *,
        seconds: float,
        ledger_days: int,
        planned: Planned | None = None,
        failed: int | None = None,
        error: str | None = None,
        outcome: Mapping[str, Any] | None = None,
    ) -> bool:
        """End a run, give its lease back, and forget runs that are too old.

        Return whether this process still held the run. ``outcome`` is a value for JSON about this
        attempt; without ``failed``, the count is that of the chunks.
        """
        sql = self._sql(
            _FINISH,
            lease=lease,
            state=state,
            ledger_days=ledger_days,
            milliseconds=round(max(seconds, 0.0) * 1000),
            plan=Sql() if planned is None else compose(f"{_PLANNED},", planned=planned),
            failed=failed,
            error=error,
            outcome=json.dumps({OUTCOME: dict(outcome or {})}),
        )
        return await execute_alone(session, sql) == 1

    async def committed(self, session: Session, run_id: str) -> Committed:
        """Return the chunks that a run has committed so far."""
        chunks = await session.fetch(self._sql(_COMMITTED, run=run_id))
        failed: defaultdict[int, set[bytes]] = defaultdict(set)
        for chunk, portfolio in await session.fetch(self._sql(_FAILED, run=run_id)):
            failed[chunk].add(uuid.UUID(portfolio).bytes)
        parts = tuple(
            (uuid.UUID(first).bytes, uuid.UUID(last).bytes, failed[chunk])
            for chunk, first, last in chunks
        )
        return Committed(parts, chunks[-1][0] + 1 if chunks else 0)

    async def runs(self, session: Session, *, limit: int, run_id: str | None = None) -> list[Row]:
        """Return the latest runs, newest first, or the one of an id."""
        condition = "true" if run_id is None else "r.id = {run:text}"
        return await self._select_runs(session, condition, limit=limit, run=run_id)

    async def runs_and_groups(self, session: Session, *, limit: int) -> list[Row]:
        """Return the latest ``limit`` runs, newest first, and all of their groups."""
        return await self._select_runs(session, _OF_LATEST, latest=limit)

    async def group(self, session: Session, group: str) -> list[Row]:
        """Return the runs of a group, or of the group of a run.

        They are in the order of shards; for one that was run again the latest comes last.
        """
        rows = await self._select_runs(session, _OF_GROUP, group=group)
        return sorted(rows, key=lambda row: (row["shard"], row["token"]))

    async def lock_order(self, session: Session, order: str) -> None:
        """Allow the runs of a call of `run_on` to begin, until the transaction ends."""
        key = uuid.UUID(order).int % _KEYS
        await session.fetch(self._sql(_HOLD, of=self._of_orders, key=key))

    async def is_order_locked(self, session: Session, order: str) -> bool:
        """Return whether the call still holds its order."""
        key = uuid.UUID(order).int % _KEYS
        return bool(await session.fetch(self._sql(_HOLDERS, of=self._of_orders, keys=key)))

    async def lock(self, session: Session) -> None:
        """Keep runs from beginning until the transaction ends."""
        await session.execute(self._sql("LOCK TABLE {runs} IN SHARE UPDATE EXCLUSIVE MODE"))

    async def of_order(self, session: Session, order: str) -> list[Row]:
        """Return the runs that work, or last worked, for a call of `run_on`."""
        return await self._select_runs(
            session, "r.configuration ->> 'order' = {order:text}", order=order
        )

    async def nights(
        self, session: Session, *, limit: int, own: str | None = None
    ) -> list[list[Row]]:
        """Return the runs of the last nights, the latest first; a night is a run, or a group.

        Within a night the run that worked last comes last. With ``own``, the id of a run or a
        group, these are its night and earlier ones; none if there is no such id.
        """
        found = await session.fetch(self._sql(_NIGHTS, own=own))
        first = 0 if own is None else next((at for at, row in enumerate(found) if row[1]), None)
        if first is None:
            return []
        nights: dict[str, list[Row]] = {night: [] for night, _ in found[first : first + limit]}
        condition = "COALESCE(s.group_id, r.id) = ANY ({nights:texts})"
        for row in await self._select_runs(session, condition, nights=[*nights]):
            nights[row["group_id"] or row["run_id"]].append(row)
        return [sorted(rows, key=lambda row: row["token"]) for rows in nights.values()]

    async def issue_counts(self, session: Session, of: Sequence[str], *, most: int) -> list[Row]:
        """Return the number of issues of runs by name, with the first ``most`` symbols."""
        return await self._fetch_issues(session, _COUNT_ISSUES, of, most=most)

    async def failed_portfolios(
        self, session: Session, of: Sequence[str], *, causes: Sequence[str], most: int
    ) -> list[Row]:
        """Return the first ``most`` portfolios that failed, each with an issue of it.

        Issues named in ``causes`` come first.
        """
        return await self._fetch_issues(session, _SHOW_FAILED, of, causes=causes, most=most)

    async def symbol_issues(
        self, session: Session, of: Sequence[str], *, names: Sequence[str], most: int
    ) -> list[Row]:
        """Return the first ``most`` symbols with issues of some names, in the order of these."""
        return await self._fetch_issues(session, _FIRST_OF_SYMBOLS, of, names=names, most=most)

    async def requested_portfolios(
        self, session: Session, of: Sequence[str]
    ) -> npt.NDArray[np.uint8] | None:
        """Return the requested portfolios of runs, sorted (n, 16); None is all."""
        sql = self._sql("SELECT portfolio_ids FROM {runs} WHERE id = ANY ({of:texts})", of=of)
        asked = [row[0] for row in await session.fetch(sql)]
        if None in asked:
            return None
        ids = b"".join(sorted({own.bytes for every in asked for own in every}))
        return np.frombuffer(ids, dtype=np.uint8).reshape(-1, 16)

    async def sessions(
        self, session: Session, of: Sequence[str]
    ) -> tuple[dt.date | None, dt.date | None]:
        """Return the first and the last session that runs wrote; None where they wrote none."""
        ((first, last),) = await session.fetch(self._sql(_SESSIONS, of=of))
        return first, last

    async def _fetch_issues(
        self, session: Session, template: str, of: Sequence[str], **holes: object
    ) -> list[Row]:
        noticed, of_symbols = self._sql(_NOTICED, of=of), self._sql(_NOTICED_OF_SYMBOLS, of=of)
        return await self._rows(session, template, noticed=noticed, of_symbols=of_symbols, **holes)

    async def details(self, session: Session, run_id: str) -> dict[str, list[Row]]:
        """Return chunks by number, issues by portfolio, and issues of symbols by name."""
        return {
            "chunks_committed": await self._rows(session, _SHOW_CHUNKS, run=run_id),
            "issues": await self._fetch_issues(session, _SHOW_ISSUES, [run_id]),
            "symbol_issues": await self._rows(session, _SHOW_SYMBOL_ISSUES, run=run_id),
        }


async def next_changed_since(session: Session) -> dt.datetime:
    """Return the moment after which a snapshot taken next may miss a change."""
    moment: dt.datetime = await session.fetchval(_MISSED_SINCE.strip())
    return moment


def encode_issues(table: str, run_id: str, number: int, columns: Mapping[str, Column]) -> IssueRows:
    """Return rows of ``table``; the number is that of the chunk, or of the attempt for symbols."""
    rows, names = len(columns["name"]), ISSUE_COLUMNS[table]
    own = np.frombuffer(uuid.UUID(run_id).bytes, dtype=np.uint8)
    every = {
        "run_id": np.tile(own, (rows, 1)),
        names[1]: Integers(np.full(rows, number, dtype=np.int32)),
        **columns,
    }
    return IssueRows(table, rows, encoded([field_of(name, every[name]) for name in names], rows))


def taken_over(lease: Lease) -> LeaseHeldError:
    """Return the error for a run whose token was replaced."""
    msg = f"run {lease.run_id} lost its lease to another run; its uncommitted work was rolled back"
    return LeaseHeldError(msg, lease.run_id)


def _same(run: str, spec: RunSpec) -> Sql:
    """Return the condition that a run had the same request, for the same shard."""
    return compose(_SAME, run=Sql(run), spec=spec, **_numbers(spec.shard))


def _overlaps(run: str, spec: RunSpec) -> Sql:
    """Return the condition that portfolios of a run are among those of another."""
    ids, shard, alias = spec.portfolio_ids, _numbers(spec.shard), Sql(run)
    if ids is not None:
        theirs = in_shard(Sql("id"), Sql(f"{run}s.shard"), Sql(f"{run}s.shards"))
        whole = compose(_LIST_OVERLAPS, run=alias, ids=ids, in_theirs=theirs)
        return whole if len(ids) else Sql("false")
    if spec.shard is None:
        return compose("COALESCE(cardinality({run}.portfolio_ids), 1) > 0", run=alias)
    return compose(_SHARD_OVERLAPS, run=alias, in_own=in_shard(Sql("id"), **shard), **shard)


def _numbers(shard: Shard | None) -> dict[str, int | None]:
    number, of = shard or (None, None)
    return {"number": number, "of": of}
