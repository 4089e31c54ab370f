"""A TCP proxy whose connections a test can drop or stall."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

PIECE_BYTES = 1 << 16


class Proxy:
    """Hands bytes to and fro between clients and a server on 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    @property
    def connections(self) -> int:
        return len(self._writers) // 2

    @property
    def flows(self) -> bool:
        return self._flows.is_set()

    def drop(self) -> None:
        """Cut all connections off, as a firewall that forgets them does: with a reset."""
        for writer in self._writers:
            writer.transport.abort()

    def stall(self) -> None:
        """Let no byte through any more, either way; connections stay, and new ones are taken."""
        self._flows.clear()

    def flow(self) -> None:
        """Let bytes through again, those that wait first."""
        self._flows.set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.drop()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        self._writers.add(writer)
        ends = [writer]
        try:
            await self._flows.wait()
            server_reader, server_writer = await asyncio.open_connection(
                "127.0.0.1", self._upstream
            )
            self._writers.add(server_writer)
            ends.append(server_writer)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, server_writer))
                pumps.create_task(self._pump(server_reader, writer))
        except (OSError, BaseExceptionGroup, asyncio.CancelledError):
            pass  # an end has gone, so the other goes too
        finally:
            for end in ends:
                self._writers.discard(end)
                end.transport.abort()
            self._pumps.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE_BYTES):
            await self._flows.wait()
            writer.write(piece)
            await writer.drain()
        raise ConnectionResetError


@contextlib.asynccontextmanager
async def proxied(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Give a proxy to the server of a URL, and the URL that leads through it."""
    parts = urlsplit(url)
    assert parts.port is not None
    proxy = Proxy(parts.port)
    await proxy.start()
    try:
        own = parts.netloc.rpartition(":")[0]
        yield proxy, parts._replace(netloc=f"{own}:{proxy.port}").geturl()
    finally:
        await proxy.stop()
