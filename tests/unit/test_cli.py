"""The command line without a database: exit codes, messages, what is imported and shown."""

import io
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from batchcore import cli, errors
from batchcore.cli import exits, options, output
from support.command import Terminal, batchcore

SECRET = "s3cret"  # noqa: S105  # made up


@pytest.fixture(autouse=True)
def _no_database_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (options.URL_VARIABLE, *options.LIBPQ_VARIABLES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """A function that lets each command end with an error."""

    def fail_with(error: BaseException) -> None:
        def fail(_given: str | None) -> str:
            raise error

        monkeypatch.setattr(options, "database_url", fail)

    return fail_with


def python(code: str, *, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own words
        [sys.executable, "-c", code],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("error", "code", "outcome"),
    [
        (errors.DatabaseError("x"), 2, "failed"),
        (errors.CoverageError("x", "2026-01-05", 0.25, 0.5), 2, "refused"),
        (errors.SnapshotExistsError("x"), 2, "refused"),
        (errors.DecodeError("x"), 2, "failed"),
        (errors.NumericError("x"), 2, "failed"),
        (errors.CancelledError("x"), 2, "failed"),
        (errors.InternalError("x"), 2, "failed"),
        (ZeroDivisionError("x"), 2, "failed"),
        (errors.ConfigError("x"), 3, "refused"),
        (errors.InputError("x"), 3, "refused"),
        (errors.SchemaError("x", ("a", "b")), 3, "refused"),
        (errors.LeaseHeldError("x"), 4, "refused"),
        (exits.Interrupted(signal.SIGINT), 130, "interrupted"),
        (exits.Interrupted(signal.SIGTERM), 143, "interrupted"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_exception_has_its_exit_code_and_outcome(
    failing, error: BaseException, code: int, outcome: str
) -> None:
    failing(error)
    said = batchcore("run")
    assert (said.code, said.out) == (code, "")
    assert said.artifact is not None
    assert said.artifact["outcome"] == outcome
    assert said.error()
    document = batchcore("run", "--json").document()
    assert document["error"]["exit_code"] == code


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("can't start new thread"), "no thread can be started: "),
        (EncodingWarning("'encoding' argument not specified"), "a warning that -W or "),
        (DeprecationWarning("old"), "a warning that -W or PYTHONWARNINGS makes an error: old"),
        (MemoryError(), "out of memory: "),
        (RuntimeError("other"), "a defect of batchcore: RuntimeError: other; "),
        (ZeroDivisionError("no\nsense"), "a defect of batchcore: ZeroDivisionError: no sense; "),
    ],
)
def test_a_defect_says_so_and_nothing_else_is_called_one(
    failing, error: Exception, told: str
) -> None:
    failing(error)
    said = batchcore("run")
    assert said.code == 2
    assert said.error().startswith(told)
    traced = batchcore("run", "--debug")
    assert traced.err.startswith("Traceback (most recent call last):")
    assert traced.err.splitlines()[-1] == said.err.strip()


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("run", "--nonsense"),
        ("run", "--start", "tomorrow"),
        ("run", "--lookback-days", "many"),
        ("run", "a word"),
        ("generate", "--portfolios"),
        ("version", "--start", "2025-01-02"),
        ("run", "--changed-since", "yesterday"),
        ("version", "--schema", "file"),
        ("status", "--limit", "all"),
        ("verify", "--resume"),
    ],
    ids=" ".join,
)
def test_what_the_parser_refuses_is_bad_usage(words: tuple[str, ...]) -> None:
    said = batchcore(*words)
    assert (said.code, said.out) == (3, "")
    assert "--help`)" in said.error()


def test_json_of_an_error_has_the_attributes_of_its_exception(failing) -> None:
    said = batchcore("run", "--json", "--nonsense")
    error = said.document()["error"]
    assert (error["type"], error["exit_code"]) == ("UsageError", 3)
    assert error["message"] == said.error()
    failing(errors.SchemaError("one (and 1 more)", ("one", "two")))
    assert batchcore("plan", "--json").document() == {
        "error": {
            "type": "SchemaError",
            "message": "one (and 1 more)",
            "exit_code": 3,
            "problems": ["one", "two"],
        }
    }


def test_without_words_the_help_is_shown() -> None:
    said = batchcore()
    assert said == batchcore("--help")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("Usage: batchcore ")


@pytest.mark.parametrize("command", ["run", "plan", "status", "migrate", "generate"])
def test_a_database_that_is_missing_or_something_else_is_told(command: str) -> None:
    said = batchcore(command)
    assert (said.code, said.out) == (3, "")
    assert said.error() == (
        "no database: give --database-url, or set BATCHCORE_DATABASE_URL or PGHOST"
    )
    said = batchcore(command, "--database-url", f"mysql://someone:{SECRET}@host/db")
    assert (said.code, said.out) == (3, "")
    assert "`postgresql://`" in said.error()
    assert SECRET not in said.err


def test_passwords_of_urls_are_hidden_wherever_they_stand(monkeypatch) -> None:
    text = f"cannot use postgresql://someone:{SECRET}@host/db and postgresql://host/db"
    hidden = "cannot use postgresql://someone:***@host/db and postgresql://host/db"
    assert exits.redacted(text) == hidden
    said = batchcore("run", "--debug", "--database-url", f"postgresql://someone@host:{SECRET}/db")
    assert said.code in {2, 3}
    assert SECRET not in said.err + said.out
    monkeypatch.setenv(options.URL_VARIABLE, f"postgresql://someone:{SECRET}@host/db")
    said = batchcore("run", "--help")
    assert said.code == 0
    assert SECRET not in said.out


@pytest.mark.parametrize("words", [("migrate",), ("migrate", "--check")])
def test_without_alembic_its_extra_is_named(monkeypatch, words: tuple[str, ...]) -> None:
    monkeypatch.setitem(sys.modules, "alembic", None)
    said = batchcore(*words, "--database-url", "postgresql://host/db")
    assert (said.code, said.out) == (3, "")
    assert "batchcore[migrate]" in said.error()


@pytest.mark.parametrize("name", options.LIBPQ_VARIABLES)
def test_variables_of_libpq_name_a_database(monkeypatch, name: str) -> None:
    monkeypatch.setenv(name, "something")
    assert options.database_url(None) == "postgresql://"  # asyncpg reads the rest


def test_version_as_text_and_as_json() -> None:
    said = batchcore("version")
    document = batchcore("version", "--json").document()
    assert said.code == 0
    assert said.out == f"batchcore {document['version']} ({document['build_profile']} build)\n"
    assert document["python"] == sys.version.split()[0].rstrip("+")


@pytest.mark.parametrize("name", ["typer", "rich"])
def test_without_the_extra_one_line_names_it(name: str) -> None:
    done = python(
        f"import sys; sys.modules['{name}'] = None; sys.argv[1:] = ['plan']\n"
        "from batchcore.__main__ import main; sys.exit(main())"
    )
    assert (done.returncode, done.stdout) == (3, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("batchcore: error: ")
    assert "`batchcore[cli]`" in line


def test_a_reader_that_went_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = python(
            "import sys; from batchcore import cli; sys.exit(cli.main(['version']))",
            stdout=writing,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("error", ["MemoryError", "OSError(24, 'no file')", "ImportError('other')"])
def test_a_command_line_that_cannot_be_loaded_is_no_run_with_failed_portfolios(error: str) -> None:
    code = (
        "import builtins, sys; load = builtins.__import__\n"
        "def broken(name, *given):\n"
        f"    if name == 'batchcore.cli.app': raise {error}\n"
        "    return load(name, *given)\n"
        "builtins.__import__ = broken\n"
        "from batchcore.__main__ import main; sys.argv = ['batchcore', 'run']; sys.exit(main())"
    )
    done = python(code)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    prefix = "batchcore: error: the command line cannot be loaded: "
    assert line.startswith(prefix + error.partition("(")[0])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_outside_the_event_loop_ends_with_its_code(
    monkeypatch, number: signal.Signals, code: int
) -> None:
    def interrupted(_given: str | None) -> str:
        os.kill(os.getpid(), number)
        return "postgresql://host/db"

    before = signal.getsignal(number)
    monkeypatch.setattr(options, "database_url", interrupted)
    said = batchcore("migrate", "--json")
    assert said.code == code
    assert said.document()["error"]["type"] == "Interrupted"
    assert said.error().startswith(f"interrupted by {number.name}; ")
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_python_swallows_counts_all_the_same(
    monkeypatch, number: signal.Signals
) -> None:
    class Finalised:
        def __del__(self) -> None:
            os.kill(os.getpid(), number)

    def given(_given: str | None) -> str:
        Finalised()
        return "postgresql://127.0.0.1:1/db"

    monkeypatch.setattr(options, "database_url", given)
    said = batchcore("verify", "--json")
    assert said.code == 128 + number
    assert said.document()["error"]["type"] == "Interrupted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [["verify"], ["verify", "--json"]], ids=str)
def test_a_signal_while_nobody_reads_the_output_ends_it(
    number: signal.Signals, words: list[str]
) -> None:
    code = (
        "import sys; from batchcore import cli; from batchcore.cli import options\n"
        "options.database_url = lambda _: print('x' * 2**22)\n"
        f"sys.exit(cli.main({words}))"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603  # our own words
        assert process.stdout is not None
        assert process.stdout.read(1) == b"x"
        process.send_signal(number)
        process.send_signal(number)
        assert process.wait(timeout=60) == 128 + number


def test_commands_run_outside_the_main_thread() -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(cli.main(["version", "--json"])))
    thread.start()
    thread.join()
    assert codes == [0]


def test_the_log_is_left_as_it_was() -> None:
    logger = logging.getLogger("batchcore")
    before = (logger.level, list(logger.handlers))
    assert batchcore("version", "-vv").code == 0
    assert (logger.level, logger.handlers) == before
    assert any(isinstance(handler, logging.NullHandler) for handler in logger.handlers)


def test_a_terminal_gets_a_bar_with_rate_and_time_left_and_nothing_else_does(monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with output.showing_progress() as progress:
        assert progress is not None
        progress("load", 0, 0)  # how many there are is not known yet
        progress("persist", 3, 4)
    assert all(text in terminal.getvalue() for text in ("load", "0/?", "persist", "3/4"))
    assert "100" not in terminal.getvalue()
    monkeypatch.setattr(sys, "stderr", file := io.StringIO())
    with output.showing_progress() as progress:
        assert progress is None
    assert file.getvalue() == ""
