"""Connections that the server has closed meanwhile: replaced, all of them, before a run fails."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import asyncpg
import pytest
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy.ext.asyncio import AsyncEngine

from batchcore.config import Settings
from batchcore.errors import DatabaseError
from batchcore.pg import errors, session_pool
from batchcore.pg.database import Database
from batchcore.pg.errors import answers, database_error, is_connection_lost
from batchcore.pg.ledger import Lease, Ledger
from batchcore.pg.session import Session, transaction
from batchcore.pg.session_pool import SessionPool
from db.conftest import KEPT
from support import database, runs
from support.callers import caller, engine_of
from support.generate import MONDAY
from support.tables import query

DAYS = list(range(MONDAY, MONDAY + 2))
run = partial(runs.run, days=DAYS)
HOST = database.plain_host(6, DAYS)
BACKEND = "SELECT pg_backend_pid()"
MANY = 10
END_ALL = f"""SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND backend_type = 'client backend' AND state = 'idle'
    AND application_name <> '{KEPT}'"""  # noqa: S608  # our own name
END_USED = f"{END_ALL} AND query <> ''"


def end_all(url: str, sql: str = END_ALL) -> int:
    """End idle connections before the event loop of this thread gets to hear of it."""
    ended: list[int] = []
    thread = threading.Thread(target=lambda: ended.append(len(query(url, sql))))
    thread.start()
    thread.join()
    return ended[0]


async def all_lent(db: Any) -> None:
    """Open as many connections as there may be."""
    if isinstance(db, asyncpg.Pool):
        taken = [await db.acquire() for _ in range(MANY)]
        for raw in taken:
            await db.release(raw)
        return
    opened = [await db.connect() for _ in range(MANY)]
    for connection in opened:
        await connection.close()


async def setup(raw: asyncpg.Connection) -> None:
    await raw.execute("SET work_mem = '5MB'")


@pytest.mark.parametrize("kind", ["pool", "pool with setup", "engine", "engine with overflow"])
@pytest.mark.parametrize("noticed", [False, True])
async def test_a_run_replaces_all_dead_connections_of_a_callers(
    same_filled: str, kind: str, *, noticed: bool
) -> None:
    size = 3 if "overflow" in kind else MANY
    if kind.startswith("pool"):
        each = setup if "setup" in kind else None
        given: Any = asyncpg.create_pool(same_filled, min_size=MANY, max_size=MANY, setup=each)
    else:
        given = engine_of(same_filled, pool_size=size, max_overflow=MANY - size)
    async with given as db:
        await all_lent(db)
        assert end_all(same_filled) >= size  # those of the fill may be about to end
        if noticed:
            await asyncio.sleep(0)
        for _ in range(2):
            await run(db, on_existing="replace")
    assert len(await database.snapshots(same_filled)) == 6 * len(DAYS)


async def test_a_server_that_is_gone_is_tried_once_and_told(
    same_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def connect(*_: object, **__: object) -> asyncpg.Connection:
        nonlocal tries
        tries += 1
        raise ConnectionRefusedError(111, "Connection refused")

    async with asyncpg.create_pool(same_host, min_size=0, max_size=MANY) as pool:
        monkeypatch.setattr("asyncpg.connect_utils._connect", connect)
        with pytest.raises(DatabaseError, match="nothing is listening at that address"):
            await run(pool)
    assert tries == 1


async def test_a_connection_that_is_closed_while_it_is_opened_is_opened_again(
    same_filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = AsyncEngine.connect
    closed = asyncpg.InternalClientError(
        "cannot switch to state 11; another operation (2) is in progress"
    )
    failures = [closed]

    def connecting(self: AsyncEngine) -> object:
        if failures:
            raise failures.pop()
        return connect(self)

    monkeypatch.setattr(AsyncEngine, "connect", connecting)
    async with engine_of(same_filled) as engine:
        assert (await run(engine)).rows_written == 6 * len(DAYS)
        failures += [closed] * 20
        with pytest.raises(DatabaseError, match=errors.ENDED):
            await run(engine)


async def test_a_session_that_was_closed_while_it_was_idle_is_opened_again(
    same_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_pool, "IDLE_S", 0.0)
    async with asyncpg.create_pool(same_host, min_size=0, max_size=2) as pool:
        found, writers = Database(pool), SessionPool()
        async with writers.opening(lambda: found.writing("persist"), 2):
            async with writers.lend("persist") as one, writers.lend("persist") as other:
                before = {await each.raw.fetchval(BACKEND) for each in (one, other)}
            assert end_all(same_host) == 2
            async with writers.lend("persist") as one, writers.lend("persist") as other:
                after = {await each.raw.fetchval(BACKEND) for each in (one, other)}
    assert len(before | after) == 4


async def test_a_session_that_cannot_be_opened_again_is_an_error(
    same_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_pool, "IDLE_S", 0.0)
    urls = [same_host, "postgresql://nobody@127.0.0.1:1/none"]
    writers = SessionPool()
    async with writers.opening(lambda: Database(urls.pop(0)).writing("persist"), 1):
        async with writers.lend("persist") as session:
            await session.raw.fetchval(BACKEND)  # from now on the server calls it idle
        assert end_all(same_host) == 1
        with pytest.raises(DatabaseError, match="nothing is listening at that address"):
            async with writers.lend("persist"):
                pass


@pytest.mark.parametrize("kind", ["url", "pool", "engine"])
async def test_a_run_whose_idle_writers_are_closed_goes_on(
    same_host: str, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(session_pool, "IDLE_S", 0.0)
    await database.fill(same_host, HOST)
    ended, lent, answers_of = 0, set[Session](), Session.answers

    async def asked(self: Session) -> bool:
        """Ask, after the server has ended the connection if it was lent before."""
        nonlocal ended
        if self in lent:
            ended += end_all(same_host, END_USED)
        lent.add(self)
        return await answers_of(self)

    monkeypatch.setattr(Session, "answers", asked)
    async with caller(same_host, kind) as given:
        result = await run(given.db, settings=Settings(chunk_size=1, connections=2))
    assert result.rows_written == 6 * len(DAYS)
    assert result.retries == 0
    assert ended


async def test_asking_whether_a_server_answers_leaves_no_transaction(same_host: str) -> None:
    async with (
        database.connected(same_host) as asked,
        database.connected(same_host) as other,
    ):
        assert await answers(asked)
        found = await other.fetchrow(
            "SELECT state, xact_start FROM pg_stat_activity WHERE pid = $1",
            asked.get_server_pid(),
        )
    assert tuple(found) == ("idle", None)


async def test_cancelled_while_it_asks_a_connection_is_closed(
    same_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = asyncio.Event()

    async def fetch(_: PreparedStatement) -> None:
        parsed.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(PreparedStatement, "fetch", fetch)
    async with database.connected(same_host) as asked:
        task = asyncio.create_task(answers(asked))
        await parsed.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asked.is_closed()


def test_a_connection_that_the_server_broke_counts_as_lost():
    error = database_error(asyncpg.InternalClientError("got result for unknown protocol state 3"))
    assert is_connection_lost(error)
    assert str(error) == "the connection is broken: got result for unknown protocol state 3"


async def frozen(url: str, session: Session) -> None:
    """Answer a statement, end the transaction that then idles, and only then let this thread on."""
    pid = session.raw.get_server_pid()

    def freeze() -> None:
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()

    def wait() -> None:
        while pid in {found for (found,) in query(url, "SELECT pid FROM pg_stat_activity")}:
            pass

    asyncio.get_running_loop().call_soon(freeze)
    await session.execute("SET LOCAL idle_in_transaction_session_timeout = 1")


@pytest.mark.parametrize(
    "work",
    [
        lambda session: session.fetch("SELECT 1"),
        lambda session: session.execute("SELECT 1"),
        lambda session: session.copy_out("SELECT 1", lambda _: None),
        lambda session: session.copy_in("portfolios", ["id"], [b""]),
        lambda _: asyncio.sleep(0),
    ],
    ids=["fetch", "execute", "copy out", "copy in", "commit"],
)
async def test_a_frozen_client_is_told_that_the_server_has_ended_its_connection(
    same_host: str, work: Callable[[Session], Awaitable[object]]
) -> None:
    async def write(session: Session) -> None:
        async with transaction(session):
            await frozen(same_host, session)
            await work(session)

    async with Database(same_host).writing("persist") as session:
        with pytest.raises(DatabaseError, match=errors.ENDED) as caught:
            await write(session)
        assert is_connection_lost(caught.value)
        assert session.is_gone


@pytest.mark.parametrize(
    ("kind", "work"),
    [
        ("pool", lambda session: asyncio.sleep(0, session.settings)),
        ("pool", lambda session: asyncio.sleep(0, session.server_version)),
        ("pool", lambda session: session.fetch("SELECT 1")),
        ("url", lambda session: session.fetch("SELECT 1")),
        ("engine", lambda session: session.execute("SELECT 1")),
    ],
    ids=["settings of a pool", "version of a pool", "fetch of a pool", "fetch", "execute"],
)
async def test_a_connection_that_was_lost_before_a_call_is_told_as_such(
    same_host: str, kind: str, work: Callable[[Session], Awaitable[object]]
) -> None:
    async with caller(same_host, kind) as given, Database(given.db).writing("load") as session:
        session.raw.terminate()  # upon which a pool takes it back
        with pytest.raises(DatabaseError, match=errors.ENDED) as caught:
            await work(session)
    assert is_connection_lost(caught.value)


async def test_after_a_run_that_was_frozen_in_a_transaction_the_next_one_finishes(
    same_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.fill(same_host, HOST)
    failed_elsewhere = Ledger.failed_elsewhere

    async def after_frost(self: Ledger, session: Session, lease: Lease) -> int:
        await frozen(same_host, session)
        return await failed_elsewhere(self, session, lease)

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "failed_elsewhere", after_frost)
        with pytest.raises(DatabaseError, match=errors.ENDED):
            await run(same_host)
    result = await run(same_host)
    assert result.attempt == 2
    assert len(await database.snapshots(same_host)) == 6 * len(DAYS)


@pytest.mark.parametrize(
    ("kind", "message", "advice"),
    [
        (
            asyncpg.ReadOnlySQLTransactionError,
            "cannot execute LOCK TABLE during recovery",
            errors.STANDBY,
        ),
        (
            asyncpg.ObjectNotInPrerequisiteStateError,
            "cannot acquire lock mode X on database objects while recovery is in progress",
            errors.STANDBY,
        ),
        (
            asyncpg.ReadOnlySQLTransactionError,
            "cannot execute LOCK TABLE in a read-only transaction",
            errors.READ_ONLY,
        ),
        (
            asyncpg.ReadOnlySQLTransactionError,
            "cannot execute SELECT FOR NO KEY UPDATE in a read-only transaction",
            errors.READ_ONLY,
        ),
        (asyncpg.TooManyConnectionsError, "sorry, too many clients already", errors.TOO_MANY),
    ],
)
def test_what_to_do_is_said_with_an_error(kind: type, message: str, advice: str) -> None:
    assert str(database_error(kind(message))) == f"{message}: {advice}"
