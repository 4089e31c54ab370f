"""A PgBouncer of Debian's, before the server of the tests."""

import contextlib
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import make_url

PORT = 6432
PATIENCE_S = 30


def program() -> str | None:
    """Return the path of PgBouncer, or None if it is not installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def bouncer(
    server_url: str, pool_mode: str, *, pool_size: int = 20, wait_s: int = 120
) -> Iterator[Callable[[str], str]]:
    """Start a PgBouncer; give a function from the URL of a database to the one through it.

    The mode is `session` or `transaction`; a client may wait so long for one of the connections to
    each database.
    """
    path = program()
    assert path is not None, "PgBouncer is not installed"
    url = make_url(server_url)
    host = url.query.get("host") or url.host or "127.0.0.1"
    port = url.query.get("port") or url.port or 5432
    assert isinstance(host, str)
    owner = Path(host).stat() if host.startswith("/") else None
    with tempfile.TemporaryDirectory(prefix="bouncer") as name:
        folder = Path(name)
        password = f" password={url.password}" if url.password else ""
        (folder / "pgbouncer.ini").write_text(
            f"""
[databases]
* = host={host} port={port} user={url.username}{password}

[pgbouncer]
listen_port = {PORT}
unix_socket_dir = {folder}
auth_type = any
pool_mode = {pool_mode}
default_pool_size = {pool_size}
server_login_retry = 1
query_wait_timeout = {wait_s}
""",
            encoding="utf-8",
        )
        account: dict[str, object] = {}
        if os.geteuid() == 0:  # which PgBouncer refuses
            uid, gid = (65534, 65534) if owner is None else (owner.st_uid, owner.st_gid)
            account = {"user": uid, "group": gid, "extra_groups": []}
            for each in (folder, *folder.iterdir()):
                os.chown(each, uid, gid)
        folder.chmod(stat.S_IRWXU)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603  # our own words
                [path, "-q", str(folder / "pgbouncer.ini")],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                **account,  # type: ignore[call-overload]
            )
        try:
            _wait_until_ready(process, folder)
            place = f"host={folder}&port={PORT}"
            yield lambda direct: f"postgresql://{url.username}@/{make_url(direct).database}?{place}"
        finally:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], folder: Path) -> None:
    path = str(folder / f".s.PGSQL.{PORT}")
    until = time.monotonic() + PATIENCE_S
    while True:
        assert time.monotonic() < until, "PgBouncer does not answer"
        assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(path)
            return
