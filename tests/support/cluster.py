"""A server of a test's own that is killed, restarted and short of disk."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import asyncpg
from sqlalchemy import make_url

from batchcore.demo import embedded

SETTINGS = {
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
    "fsync": "off",  # processes die here, not machines
    "full_page_writes": "off",
    "max_connections": "100",
}
GONE = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
"""What a client gets to hear of a server that starts or stops."""

PATIENCE_S = 120.0


class Cluster:
    """A server on 127.0.0.1 and on a socket, whose databases outlive its death."""

    def __init__(self) -> None:
        # Another account runs the server where we are root, and must get to its folder.
        self._folder = Path(tempfile.mkdtemp(prefix="batchcore-faults-"))
        self._folder.chmod(0o711)
        self._server, self._socket = self._start()

    def _start(self) -> tuple[embedded.EmbeddedServer, str]:
        server = embedded.start(self._folder / "cluster", tcp=True, settings=SETTINGS)
        lines = (server.data_dir / "data" / "postmaster.pid").read_text().splitlines()
        port, folder = lines[3:5]
        return server, f"host={quote(folder)}&port={port}"

    def stop(self) -> None:
        self._server.stop()
        shutil.rmtree(self._folder)

    def tcp_url(self, database: str, user: str, password: str) -> str:
        """Return the URL of a database by way of 127.0.0.1, which takes a password."""
        url = make_url(self._server.database_url(database))
        return url.set(username=user, password=password).render_as_string(hide_password=False)

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return the URL of a database by way of the socket, where nobody is asked who they are."""
        return f"postgresql://{user}@/{quote(database)}?{self._socket}"

    @contextlib.asynccontextmanager
    async def connected(self, database: str = "postgres") -> AsyncIterator[asyncpg.Connection]:
        """Give a connection, as soon as the server takes one."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                connection = await self._connected(database)
        except TimeoutError as error:
            error.add_note(self._server.log_file.read_text("utf-8", "replace")[-2000:])
            raise
        try:
            yield connection
        finally:
            await connection.close()

    async def _connected(self, database: str) -> asyncpg.Connection:
        while True:
            try:
                return await asyncpg.connect(self.url(database), statement_cache_size=0)
            except GONE:
                await asyncio.sleep(0.01)

    async def execute(self, *statements: str, database: str = "postgres") -> None:
        async with self.connected(database) as connection:
            for statement in statements:
                await connection.execute(statement)

    async def copy(self, template: str, name: str) -> None:
        """Make a database of another that nobody is connected to."""
        # Which begins with a checkpoint, so that a server that dies has little to do again.
        await self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')

    async def drop(self, name: str) -> None:
        await self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    async def backends(self, database: str, condition: str = "true") -> list[int]:
        """Return the process ids of the backends of a database, in the order of their start."""
        async with self.connected() as connection:
            rows = await connection.fetch(
                "SELECT pid FROM pg_stat_activity WHERE datname = $1"  # noqa: S608
                f" AND backend_type = 'client backend' AND {condition} ORDER BY backend_start, pid",
                database,
            )
        return [row["pid"] for row in rows]

    async def bytes_of(self, table: str, database: str) -> int:
        async with self.connected(database) as connection:
            found: int = await connection.fetchval("SELECT pg_relation_size($1::text)", table)
        return found

    async def until_alone(self, database: str) -> None:
        """Return when no backend works on a database any more."""
        async with asyncio.timeout(PATIENCE_S), self.connected() as connection:
            while await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = $1"
                " AND backend_type = 'client backend'",
                database,
            ):
                pass

    async def kill_backend(self, pid: int) -> None:
        """Kill one backend, upon which the server ends all others and starts anew."""
        async with self.connected() as connection:
            began = await connection.fetchval("SELECT pg_backend_pid()")
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            # The connection of this test goes too, once the server has seen it.
            with contextlib.suppress(*GONE):
                async with asyncio.timeout(PATIENCE_S):
                    while await connection.fetchval("SELECT pg_backend_pid()") == began:
                        pass
        await self.ready()

    async def restart(self) -> None:
        """Stop the server at once, as if it had crashed, and start it again."""
        with contextlib.suppress(ProcessLookupError):  # a recovery that failed has ended it
            os.kill(self._server.pid, signal.SIGQUIT)
        await asyncio.to_thread(self._server.stop)
        self._server, self._socket = await asyncio.to_thread(self._start)
        await self.ready()

    async def ready(self) -> None:
        async with self.connected():
            pass

    def limit_files(self, most_bytes: int | None = None) -> None:
        """Let no process of the server write beyond so many bytes of a file; None is no limit."""
        # Only who runs the server may do that, which root without all of its rights is not.
        owner = (self._server.data_dir / "data").stat()
        account = {} if os.geteuid() else {"user": owner.st_uid, "group": owner.st_gid}
        limit = "unlimited" if most_bytes is None else str(most_bytes)
        for pid in (self._server.pid, *_children(self._server.pid)):
            words = ["prlimit", f"--pid={pid}", f"--fsize={limit}:unlimited"]
            done = subprocess.run(  # noqa: S603  # our own words
                words, **account, cwd="/", capture_output=True, text=True, check=False
            )
            assert done.returncode == 0 or "No such process" in done.stderr, done.stderr

    async def revive(self) -> None:
        """Lift the limit, and start the server anew: it may wait for ever for a recovery.

        Its crash recovery, begun while nothing could be written, is not tried again by itself.
        """
        self.limit_files()
        await self.restart()


def _children(parent: int) -> list[int]:
    """Return the process ids of the children of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name in brackets may hold blanks; state and parent follow it.
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found
