"""Runs, their leases, and what has been committed: the one function that commits a chunk.

A run holds a lease: a row of `batchcore_runs` with a token, and one of `batchcore_run_heartbeats`
that says until when it counts. Who takes a run over, or puts another in its place, gives it a new
token. Each transaction that writes ends with an UPDATE that finds the run only by the token that
it began with, so nothing is committed after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.calendar import date_of
from batchcore.db.acting import acting_on
from batchcore.db.engine import alone, transaction
from batchcore.db.fields import encoded, field_of
from batchcore.db.sql import quote_identifier, quote_literal
from batchcore.errors import DatabaseError, LeaseHeldError
from batchcore.frames import Integers

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

    import numpy.typing as npt

    from batchcore.config import Schema
    from batchcore.db.engine import Session, View
    from batchcore.db.fields import Column
    from batchcore.frames import Kept

RUNS: Final = "batchcore_runs"
CHUNKS: Final = "batchcore_run_chunks"
ISSUES: Final = "batchcore_run_issues"
SYMBOL_ISSUES: Final = "batchcore_run_symbol_issues"
HEARTBEATS: Final = "batchcore_run_heartbeats"
TOKENS: Final = "batchcore_run_tokens"

NOT_REPLACED: Final = "not_replaced"
"""The issue of rows that another writer stored, so that a chunk left them as they are."""

LIVES: Final = "running"
RESUMABLE: Final = ("failed", "interrupted", "incomplete")
"""States of runs that have ended and that the same call goes on with."""

WHOLE: Final = ("complete", "incomplete")
"""States of runs that came to their end, so that what was noticed outside chunks is entered."""

WAIT_S: Final = 30.0
"""How long the transactions of a run that was taken over may take to end."""

POLL_S: Final = 0.02

NEXT_CHANGED_SINCE: Final = "next_changed_since"
"""What the configuration of a run calls the moment from which on it may have missed a change."""

HIDDEN: Final = "interval '1 hour'"
"""How long a transaction counts as open whose start the role may not see."""

# Time stamps are those of when a transaction began, and one that is open does not show its rows.
_NEXT_CHANGED_SINCE: Final = (
    f"(SELECT jsonb_build_object('{NEXT_CHANGED_SINCE}', to_char(LEAST(now(), min(o.began))"  # noqa: S608
    " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')) FROM"
    f" (SELECT COALESCE(a.xact_start, now() - {HIDDEN}) AS began FROM pg_locks AS l"
    " JOIN pg_stat_activity AS a ON a.pid = l.pid WHERE l.locktype = 'virtualxid'"
    " AND l.mode = 'ExclusiveLock' AND a.datname = current_database()"
    " AND a.usesysid IS NOT NULL AND a.pid <> pg_backend_pid()"
    f" UNION ALL SELECT p.prepared - {HIDDEN} FROM pg_prepared_xacts AS p"
    " WHERE p.database = current_database()) AS o)"
)

_KEYS: Final = 2**31
"""Advisory locks of two parts take 32 bits; the sign is left alone."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run was asked for, as the ledger has it.

    Attributes:
        fingerprint: The same for the same question.
        document: The question, as JSON.
        portfolio_ids: Which portfolios; None is all.
        configuration: How it is worked on, as JSON.
        code_version: Of batchcore.
        lease_ms: How long a lease lasts.
        today: The day that "now" is taken for, where it is given and bounds the run.
    """

    fingerprint: str
    document: str
    portfolio_ids: npt.NDArray[np.uint8] | None
    configuration: str
    code_version: str
    lease_ms: int
    today: dt.date | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A run of the ledger that matters for one that begins.

    Attributes:
        run_id: Its id.
        token: Of its lease.
        state: As stored.
        same: Whether it was asked for the same.
        alive: Whether its lease counts still.
        until: Until when.
    """

    run_id: str
    token: int
    state: str
    same: bool
    alive: bool
    until: dt.datetime


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write as a run, as long as its token stands.

    Attributes:
        run_id: Of the run.
        token: By which each transaction finds it.
        attempt: From 1; a run that is taken over, or resumed, goes on with the next.
        moment: When the run began, by the server's clock: what "now" is for it, and the
            `created_at` of its rows.
        began: When this attempt began, likewise.
        end: Its last day, where an earlier attempt has found it.
        configuration: How it is worked on, as JSON.
        lease_ms: How long it lasts without a heartbeat.
    """

    run_id: str
    token: int
    attempt: int
    moment: dt.datetime
    began: dt.datetime
    end: dt.date | None
    configuration: str
    lease_ms: int


@dataclass(frozen=True, slots=True)
class Blocked:
    """A server process that waits for a lock, and one that holds it.

    Attributes:
        pid: That waits.
        holder: That holds the lock, or waits for it too, ahead; 0 is a prepared transaction.
        user: Of the holder; None, as all of it, where this role may not see it.
        application: As it names itself.
        state: What it does.
        age_s: For how long its transaction is open.
    """

    pid: int
    holder: int
    user: str | None
    application: str | None
    state: str | None
    age_s: float | None


@dataclass(frozen=True, slots=True)
class Planned:
    """What is known of a run once it is planned.

    Attributes:
        view: The moment of the database that it reads.
        start: First day of its range; None goes on after what is there.
        end: Last day.
        portfolios: How many.
    """

    view: View
    start: dt.date | None
    end: dt.date
    portfolios: int


@dataclass(frozen=True, slots=True)
class IssueRows:
    """What was noticed of portfolios or of symbols, encoded.

    Attributes:
        table: Of the ledger.
        columns: Its columns.
        rows: How many.
        pieces: COPY bytes of the columns; none without rows.
    """

    table: str
    columns: tuple[str, ...]
    rows: int
    pieces: list[bytes]


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger keeps of a chunk.

    Attributes:
        chunk: Its number.
        first_portfolio: 16 bytes.
        last_portfolio: Likewise.
        first_session: Day of the earliest row; None without rows.
        last_session: Day of the latest.
        sessions: How many different ones.
        rows: Snapshots written.
        failed: Portfolios that failed.
        issues: What was noticed.
        sha256: Of the COPY bytes of its rows in the order of their sending, as digits.
    """

    chunk: int
    first_portfolio: bytes
    last_portfolio: bytes
    first_session: dt.date | None
    last_session: dt.date | None
    sessions: int
    rows: int
    failed: int
    issues: IssueRows
    sha256: str


ISSUE_COLUMNS: Final = {
    ISSUES: (
        *("run_id", "chunk", "portfolio_id", "name", "failed"),
        *("count", "symbol", "session", "detail"),
    ),
    SYMBOL_ISSUES: ("run_id", "attempt", "name", "symbol", "count", "session", "detail"),
}


@dataclass(frozen=True, eq=False, slots=True)
class Committed:
    """The chunks that a run has committed, in the order of their numbers.

    Attributes:
        first: 16 bytes of each, the first portfolio.
        last: The last.
        failed: Portfolios of each that failed.
        chunks: One more than the highest number.
    """

    first: tuple[bytes, ...] = ()
    last: tuple[bytes, ...] = ()
    failed: tuple[frozenset[bytes], ...] = ()
    chunks: int = 0

    def covers(self, ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Return which portfolios are among those of a chunk."""
        return self._marked(ids)[0]

    def done(self, ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Return which of them did not fail when they were committed last."""
        return self._marked(ids)[1]

    def _marked(
        self, ids: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return both of ``ids``, which are sorted."""
        keys = [row.tobytes() for row in ids]
        covered, done = (np.zeros(len(keys), dtype=np.bool_) for _ in range(2))
        for first, last, failed in zip(self.first, self.last, self.failed, strict=True):
            inside = slice(bisect_left(keys, first), bisect_right(keys, last))
            covered[inside] = done[inside] = True
            for row, key in enumerate(keys[inside], start=inside.start) if failed else ():
                done[row] = key not in failed
        return covered, done


class Ledger:
    """The tables of the ledger in one namespace."""

    def __init__(self, schema: Schema) -> None:
        """Take the namespace."""
        self._schema = schema
        self._namespace = schema.namespace
        names = (RUNS, CHUNKS, ISSUES, HEARTBEATS, TOKENS)
        self._runs, self._chunks, self._issues, self._heartbeats, self._tokens = (
            f"{quote_identifier(schema.namespace)}.{quote_identifier(name)}" for name in names
        )

    async def found(self, session: Session, asked: Asked) -> list[Found]:
        """Return the runs that one asked for so has to do with, the latest token first.

        These are runs that count as running, on portfolios of its own, and the latest one that
        was asked for the same, if that has ended early and nobody else has written to its
        portfolios since. One that goes, or may go, beyond the "today" of this one is not the same.
        Until the transaction ends no other run can begin.
        """
        await session.execute(f"LOCK TABLE {self._runs} IN SHARE UPDATE EXCLUSIVE MODE")
        same = f"r.fingerprint = {quote_literal(asked.fingerprint)}"
        if asked.today is not None:
            until = "COALESCE(r.end_date, (r.configuration ->> 'today')::date)"
            same = f"({same} AND COALESCE({until} <= {_date(asked.today)}, false))"
        ended = ", ".join(quote_literal(state) for state in RESUMABLE)
        rows = await self._fetch(
            session,
            f"SELECT r.id::text, r.token, r.state, {same} AS same,"  # noqa: S608  # quoted
            " COALESCE(h.expires_at > clock_timestamp(), false) AS alive,"
            " COALESCE(h.expires_at, r.started_at) AS until"
            f" FROM {self._runs} AS r LEFT JOIN {self._heartbeats} AS h ON h.run_id = r.id"
            f" WHERE (r.state = '{LIVES}' AND {_overlaps('r', asked.portfolio_ids)})"
            f" OR (r.state IN ({ended}) AND {same} AND NOT EXISTS (SELECT FROM {self._runs} AS l"
            " WHERE l.token > r.token AND (l.fingerprint = r.fingerprint"
            f" OR (l.chunks > 0 AND {_overlaps('l', asked.portfolio_ids)}))))"
            " ORDER BY r.token DESC",
        )
        return [Found(*row) for row in rows]

    async def begin(self, session: Session, asked: Asked, run_id: str) -> Lease:
        """Enter a run, with its lease; it begins when the transaction did."""
        ids = asked.portfolio_ids
        own = quote_literal(run_id)
        rows = await self._fetch(
            session,
            f"WITH run AS (INSERT INTO {self._runs} (id, fingerprint, asked, portfolio_ids,"  # noqa: S608
            " configuration, code_version, state, attempt, token, created_at, started_at, failed,"
            f" chunks, rows_written, seconds) VALUES ({own}, {quote_literal(asked.fingerprint)},"
            f" {quote_literal(asked.document)}, {'NULL' if ids is None else _uuid_array(ids)},"
            f" {quote_literal(asked.configuration)}::jsonb || {_NEXT_CHANGED_SINCE},"
            f" {quote_literal(asked.code_version)}, '{LIVES}', 1, {self._next_token()}, now(),"
            f" clock_timestamp(), 0, 0, 0, 0) RETURNING id, token, created_at),"
            f" {self._lent(asked.lease_ms)} SELECT token, created_at FROM run",
        )
        token, moment = rows[0]
        return Lease(
            run_id=run_id,
            token=token,
            attempt=1,
            moment=moment,
            began=moment,
            end=None,
            configuration=asked.configuration,
            lease_ms=asked.lease_ms,
        )

    async def is_alive(self, session: Session, run_id: str | None) -> bool:
        """Return whether a run counts as running and its lease has not expired."""
        rows = await self._fetch(
            session,
            f"SELECT FROM {self._runs} AS r JOIN {self._heartbeats} AS h ON h.run_id = r.id"
            f" WHERE r.id = {quote_literal(str(run_id))} AND r.state = '{LIVES}'"
            " AND h.expires_at > clock_timestamp()",
        )
        return bool(rows)

    async def take_over(self, session: Session, run_id: str, lease_ms: int) -> Lease:
        """Go on with a run: its next attempt, under another token."""
        rows = await self._fetch(
            session,
            f"WITH run AS (UPDATE {self._runs} SET state = '{LIVES}', attempt = attempt + 1,"  # noqa: S608
            f" token = {self._next_token()}, started_at = clock_timestamp(), ended_at = NULL,"
            f" failed = 0, error = NULL WHERE id = {quote_literal(run_id)} RETURNING id, token,"
            " attempt, created_at, started_at, end_date, configuration::text AS configured),"
            f" {self._lent(lease_ms)}"
            " SELECT token, attempt, created_at, started_at, end_date, configured FROM run",
        )
        token, attempt, moment, began, end, configuration = rows[0]
        return Lease(
            run_id=run_id,
            token=token,
            attempt=attempt,
            moment=moment,
            began=began,
            end=end,
            configuration=configuration,
            lease_ms=lease_ms,
        )

    async def supersede(self, session: Session, runs: Iterable[str]) -> None:
        """Take the right to write from runs that another is put in the place of."""
        ids = ", ".join(f"{quote_literal(run_id)}::uuid" for run_id in runs)
        await self._fetch(
            session,
            f"WITH gone AS (UPDATE {self._runs} SET state = 'superseded',"  # noqa: S608  # quoted
            f" token = {self._next_token()}, ended_at = clock_timestamp() WHERE id IN ({ids})"
            f" RETURNING id, token) UPDATE {self._heartbeats} AS h SET token = gone.token"
            " FROM gone WHERE h.run_id = gone.id",
        )

    def _next_token(self) -> str:
        return f"nextval({quote_literal(self._tokens)}::regclass)"

    def _lent(self, lease_ms: int) -> str:
        """Return the part of a statement that lends what its part `run` returns."""
        return (
            f"lent AS (INSERT INTO {self._heartbeats} (run_id, token, beat_at, expires_at)"  # noqa: S608
            f" SELECT id, token, clock_timestamp(), {_expiry(lease_ms)} FROM run"
            " ON CONFLICT (run_id) DO UPDATE SET token = EXCLUDED.token,"
            " beat_at = EXCLUDED.beat_at, expires_at = EXCLUDED.expires_at)"
        )

    async def end_transactions(self, session: Session, tokens: Sequence[int]) -> int:
        """End the connections whose transactions write under tokens; return how many there were.

        A client that is stalled inside a COPY holds the keys of its rows, and no timeout of the
        server ends that.
        """
        keys = ", ".join(f"{token % _KEYS}::oid" for token in tokens)
        found = await self._fetch(
            session,
            "SELECT count(pg_terminate_backend(l.pid)) FROM (SELECT DISTINCT pid FROM pg_locks"  # noqa: S608
            f" WHERE locktype = 'advisory' AND objsubid = 2 AND classid = {self._class()}"
            f" AND objid IN ({keys}) AND database = (SELECT oid FROM pg_database"
            " WHERE datname = current_database()) AND pid <> pg_backend_pid()) AS l",
        )
        return int(found[0][0])

    async def await_end(self, session: Session, tokens: Sequence[int]) -> None:
        """End the transactions of tokens that are given up, and wait until there are none.

        Raises:
            DatabaseError: they do not end.
        """
        until = time.monotonic() + WAIT_S
        while await self.end_transactions(session, tokens):
            if time.monotonic() > until:
                msg = f"the transactions of the run before have not ended within {WAIT_S:.0f} s"
                raise DatabaseError(msg)
            await asyncio.sleep(POLL_S)

    async def in_the_way(
        self, session: Session, pids: Sequence[int], token: int | None
    ) -> list[Blocked]:
        """Return which server processes of a run wait for a lock, and who holds it.

        Those that write are known by the advisory lock of their token, also behind a pooler,
        which hides their process ids.

        Args:
            session: Not one of those.
            pids: Of the processes that may wait.
            token: Of the run, if it has one yet.
        """
        own = ", ".join(map(str, pids))
        writes = "false" if token is None else f"objid = {token % _KEYS}::oid"
        rows = await self._fetch(
            session,
            "SELECT w.pid, h.pid, a.usename, a.application_name, a.state,"  # noqa: S608
            " extract(epoch FROM clock_timestamp() - a.xact_start)::float8"
            " FROM pg_stat_activity AS w, unnest(pg_blocking_pids(w.pid)) AS h (pid)"
            " LEFT JOIN pg_stat_activity AS a ON a.pid = h.pid"
            " WHERE w.datname = current_database() AND w.usename = session_user"
            f" AND w.wait_event_type = 'Lock' AND (w.pid IN ({own}) OR w.pid IN"
            " (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2"
            f" AND classid = {self._class()} AND {writes}))",
        )
        return [Blocked(*row) for row in rows]

    def _class(self) -> str:
        return f"{quote_literal(self._runs)}::regclass::oid"

    async def beat(self, session: Session, lease: Lease) -> bool:
        """Prolong a lease; return whether it was still that of this run."""
        touched = await alone(
            session,
            f"UPDATE {self._heartbeats} SET beat_at = clock_timestamp(),"  # noqa: S608  # quoted
            f" expires_at = {_expiry(lease.lease_ms)} WHERE {_own('run_id', lease)}",
        )
        return touched == 1

    @contextlib.asynccontextmanager
    async def fenced(self, session: Session, lease: Lease) -> AsyncIterator[None]:
        """Run a transaction that writes under a lease.

        Who takes over looks for its advisory lock after the token was replaced: either the token
        is read after that here, or the lock is there to be found.

        Raises:
            LeaseHeldError: another run took over.
        """
        key = f"({self._class()}::int8)::bit(32)::int4, {lease.token % _KEYS}"
        first = (
            f"SELECT pg_advisory_xact_lock_shared({key})",
            f"SELECT 1 FROM {self._runs} WHERE {_own('id', lease)} AND state = '{LIVES}'",  # noqa: S608
        )
        async with transaction(session, idle_ms=max(lease.lease_ms // 2, 1), first=first) as held:
            if not held:
                raise taken_over(lease)
            yield

    async def enter(self, session: Session, lease: Lease, entry: Entry, planned: Planned) -> None:
        """Enter a chunk, as the last statement of its transaction.

        Raises:
            LeaseHeldError: another run took over: the transaction must not commit.
            DatabaseError: a trigger keeps the entry out.
        """
        values = (
            quote_literal(lease.run_id),
            str(entry.chunk),
            str(lease.attempt),
            *(quote_literal(_uuid(one)) for one in (entry.first_portfolio, entry.last_portfolio)),
            *(_date(day) for day in (entry.first_session, entry.last_session)),
            str(entry.sessions),
            str(entry.rows),
            quote_literal(entry.sha256),
            "clock_timestamp()",
        )
        touched = await session.execute(
            f"WITH entry AS (INSERT INTO {self._chunks} (run_id, chunk, attempt, first_portfolio,"  # noqa: S608
            " last_portfolio, first_session, last_session, sessions, rows_written, sha256,"
            f" committed_at) VALUES ({', '.join(values)}) RETURNING run_id)"
            f" UPDATE {self._runs} SET chunks = chunks + 1,"
            f" rows_written = rows_written + {entry.rows}, failed = failed + {entry.failed},"
            f" {_of_plan(planned)} FROM entry WHERE {_own('id', lease)} AND state = '{LIVES}'"
        )
        if not touched:
            await self._refuse_triggers(session, CHUNKS, RUNS)
            raise taken_over(lease)

    async def enter_issues(self, session: Session, issues: IssueRows) -> None:
        """Enter issues.

        Raises:
            DatabaseError: the server keeps fewer than it was sent.
        """
        if not issues.rows:
            return
        kept = await session.copy_in(
            issues.table, list(issues.columns), issues.pieces, namespace=self._namespace
        )
        await self._check_kept(session, issues.table, kept, issues.rows)

    async def _check_kept(self, session: Session, table: str, kept: int, sent: int) -> None:
        """Raise an error when a table of the ledger keeps another number of rows than was sent."""
        if kept != sent:
            await self._refuse_triggers(session, table)
            msg = f"the ledger does not keep what it was sent: {kept} of {sent} rows in {table}"
            raise DatabaseError(msg)

    async def _refuse_triggers(self, session: Session, *tables: str) -> None:
        """Raise an error that names the triggers on tables of the ledger, if there are any."""
        found = await acting_on(session, self._schema, tables)
        if found:
            names = ", ".join(map(str, found))
            raise DatabaseError(f"the ledger does not keep what it was sent: {names} acts on it")

    async def enter_kept(
        self, session: Session, lease: Lease, chunk: int, kept: Sequence[Kept]
    ) -> None:
        """Enter what a chunk left to other writers.

        Raises:
            DatabaseError: the server keeps fewer rows than it was sent.
        """
        if not kept:
            return
        rows = ", ".join(
            f"({quote_literal(lease.run_id)}, {chunk}, {quote_literal(_uuid(one.portfolio))},"
            f" {quote_literal(NOT_REPLACED)}, false, {one.rows}, NULL::text,"
            f" {_date(date_of(one.day))}, {quote_literal(one.detail)})"
            for one in kept
        )
        columns = ", ".join(ISSUE_COLUMNS[ISSUES])
        sql = f"INSERT INTO {self._issues} ({columns}) VALUES {rows}"  # noqa: S608  # quoted
        await self._check_kept(session, ISSUES, await session.execute(sql), len(kept))

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
    ) -> bool:
        """End a run, give its lease back, and forget runs that are too old.

        Args:
            session: To write on.
            lease: Of the run.
            state: In which it ends.
            seconds: That the attempt took.
            ledger_days: How many days ended runs stay.
            planned: What is known of the run, if it came so far.
            failed: Portfolios that failed; None is those of the chunks.
            error: Why it ends early.

        Returns:
            Whether the run was still this one's.
        """
        known = "" if planned is None else f" {_of_plan(planned)},"
        known += "" if failed is None else f" failed = {failed},"
        told = "NULL" if error is None else quote_literal(error)
        age = f"clock_timestamp() - interval '{ledger_days} days'"
        touched = await alone(
            session,
            f"WITH given AS (UPDATE {self._heartbeats} SET expires_at = clock_timestamp()"  # noqa: S608
            f" WHERE {_own('run_id', lease)}),"
            f" old AS (DELETE FROM {self._runs} WHERE id IN (SELECT r.id FROM {self._runs} AS r"
            f" LEFT JOIN {self._heartbeats} AS h ON h.run_id = r.id"
            f" WHERE r.id <> {quote_literal(lease.run_id)} AND CASE WHEN r.state = '{LIVES}'"
            f" THEN COALESCE(h.expires_at, r.started_at) ELSE r.ended_at END < {age}"
            " FOR UPDATE OF r SKIP LOCKED))"
            f" UPDATE {self._runs} SET state = {quote_literal(state)},{known}"
            f" ended_at = clock_timestamp(), seconds = seconds + {max(seconds, 0.0):.3f},"
            f" error = {told} WHERE {_own('id', lease)} AND state = '{LIVES}'",
        )
        return touched == 1

    async def committed(self, session: Session, run_id: str) -> Committed:
        """Return what a run has committed so far."""
        own = f"run_id = {quote_literal(run_id)}"
        chunks = await self._fetch(
            session,
            f"SELECT chunk, first_portfolio::text, last_portfolio::text FROM {self._chunks}"  # noqa: S608
            f" WHERE {own} ORDER BY chunk",
        )
        failed: dict[int, set[bytes]] = {}
        for chunk, portfolio in await self._fetch(
            session,
            f"SELECT DISTINCT chunk, portfolio_id::text FROM {self._issues}"  # noqa: S608  # quoted
            f" WHERE {own} AND failed",
        ):
            failed.setdefault(chunk, set()).add(uuid.UUID(portfolio).bytes)
        return Committed(
            first=tuple(uuid.UUID(row[1]).bytes for row in chunks),
            last=tuple(uuid.UUID(row[2]).bytes for row in chunks),
            failed=tuple(frozenset(failed.get(row[0], ())) for row in chunks),
            chunks=max((row[0] for row in chunks), default=-1) + 1,
        )

    async def _fetch(self, session: Session, sql: str) -> list[Any]:
        return await session.fetch(sql)


async def commit_chunk(
    session: Session,
    schema: Schema,
    write: Callable[[Callable[[str], None]], Awaitable[tuple[Entry, Sequence[Kept]]]],
    *,
    lease: Lease,
    planned: Planned,
    step: Callable[[str], None] = lambda _: None,
) -> None:
    """Write and commit a chunk in one transaction: rows, equities and ledger, or nothing.

    Args:
        session: In no transaction.
        schema: Names of tables and columns.
        write: Writes its rows; it is handed ``step``, and returns what the ledger keeps of the
            chunk and what that left to other writers.
        lease: Of the run.
        planned: What is known of the run.
        step: Told the name of each step when it is done.

    Raises:
        LeaseHeldError: another run took over; nothing of the chunk was written.
        DatabaseError: nothing of the chunk was written.
    """
    ledger = Ledger(schema)
    async with ledger.fenced(session, lease):
        step("begun")
        entry, kept = await write(step)
        await ledger.enter_issues(session, entry.issues)
        await ledger.enter_kept(session, lease, entry.chunk, kept)
        step("ledger")
        await ledger.enter(session, lease, entry, planned)
        step("fenced")
    step("committed")


def encode_issues(table: str, run_id: str, number: int, columns: Mapping[str, Column]) -> IssueRows:
    """Return issues, encoded.

    Args:
        table: `ISSUES` or `SYMBOL_ISSUES`.
        run_id: Of the run.
        number: Of the chunk, or of the attempt that noticed issues of symbols.
        columns: The other columns of the table.
    """
    rows, names = len(columns["name"]), ISSUE_COLUMNS[table]
    own = np.frombuffer(uuid.UUID(run_id).bytes, dtype=np.uint8)
    every = {
        "run_id": np.tile(own, (rows, 1)),
        names[1]: Integers(np.full(rows, number, dtype=np.int32)),
        **columns,
    }
    fields = [field_of(name, every[name]) for name in names]
    return IssueRows(table, names, rows, encoded(fields, rows))


def taken_over(lease: Lease) -> LeaseHeldError:
    """Return the error for a run whose token is no longer its own."""
    msg = f"another run took over from run {lease.run_id}; what it had not committed is undone"
    return LeaseHeldError(msg, lease.run_id)


def _own(column: str, lease: Lease) -> str:
    return f"{column} = {quote_literal(lease.run_id)} AND token = {lease.token}"


def _of_plan(planned: Planned) -> str:
    view = planned.view
    lsn = "NULL" if view.lsn is None else quote_literal(view.lsn)
    return (
        f"snapshot_id = {quote_literal(view.snapshot_id)}, lsn = {lsn},"
        f" start_date = {_date(planned.start)}, end_date = {_date(planned.end)},"
        f" portfolios = {planned.portfolios}"
    )


def _expiry(lease_ms: int) -> str:
    return f"clock_timestamp() + interval '{lease_ms} ms'"


def _date(day: dt.date | None) -> str:
    return "NULL::date" if day is None else f"'{day.isoformat()}'::date"


def _uuid(raw: bytes) -> str:
    return str(uuid.UUID(bytes=raw))


def _uuid_array(ids: npt.NDArray[np.uint8]) -> str:
    return f"'{{{','.join(_uuid(row.tobytes()) for row in ids)}}}'::uuid[]"


def _overlaps(runs: str, ids: npt.NDArray[np.uint8] | None) -> str:
    """Return the condition that portfolios of a run are among others; NULL is all."""
    column = f"{runs}.portfolio_ids"
    if ids is None:
        return f"COALESCE(cardinality({column}), 1) > 0"
    if len(ids) == 0:
        return "false"
    # by a hash of both, where && would compare each with each
    return (
        f"({column} IS NULL OR EXISTS (SELECT unnest({column})"
        f" INTERSECT SELECT unnest({_uuid_array(ids)})))"
    )
