"""Passwords: searched for in all that commands print and log, and in what they store."""

import asyncio
import contextlib
import json
import logging
import os
import traceback
from urllib.parse import quote, urlsplit

import pytest

import batchcore
from batchcore.calendar import date_of
from batchcore.cli import exits, options
from batchcore.db.migrate import migrate
from batchcore.errors import BatchcoreError
from batchcore.redact import Redactor
from support import database
from support.command import Said
from support.command import batchcore as command
from support.generate import MONDAY
from support.tables import query

pytestmark = pytest.mark.db

PASSWORD = "pa/ss w:rd#?%&=+ü\"'\\@tr0ub4dor"  # noqa: S105  # made up
WRONG = "n0t-the/one:at@all"
"""Both are spelt here in all the ways in which they must not be found."""
DAYS = ("--start", date_of(MONDAY).isoformat(), "--end", date_of(MONDAY + 1).isoformat())
COMMANDS = {
    "run": (*DAYS, "--calendar", "daily"),
    "plan": (*DAYS, "--calendar", "daily"),
    "verify": ("--calendar", "daily"),
    "migrate": (),
    "generate": ("--portfolios", "2", "--symbols", "3", "--sessions", "2"),
    "status": (),
}


@pytest.fixture(scope="module")
def secured(tcp_server) -> str:
    """The URL of a filled database on a server that asks for a password, without one."""
    literal = "'" + PASSWORD.replace("'", "''") + "'"
    query(tcp_server.url, f"CREATE ROLE keeper SUPERUSER LOGIN PASSWORD {literal}")
    query(tcp_server.url, "CREATE DATABASE kept")
    url = tcp_server.database_url("kept")
    asyncio.run(migrate(url))
    asyncio.run(database.fill(url, database.plain_host(3, [MONDAY, MONDAY + 1])))
    parts = urlsplit(url)
    return f"postgresql://keeper@{parts.hostname}:{parts.port}/kept"


def spelt(secret: str) -> set[str]:
    """Return what of a password must not be found anywhere: it, and telling parts of it."""
    ways = {secret, quote(secret, safe=""), quote(secret), repr(secret)[1:-1]}
    return ways | {"tr0ub4dor", "n0t-the", "at@all"}


def assert_hidden(text: str) -> None:
    for secret in spelt(PASSWORD) | spelt(WRONG):
        assert secret not in text


def everything(said: Said) -> str:
    """Return all that a command printed and left."""
    return said.out + said.err + json.dumps(said.artifact, ensure_ascii=False)


def forms(url: str, secret: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Return URL and environment for each way to give a password."""
    coded, rest = quote(secret, safe=""), url.removeprefix("postgresql://keeper@")
    return {
        "authority": (f"postgresql://keeper:{coded}@{rest}", {}),
        "driver": (f"postgresql+asyncpg://keeper:{coded}@{rest}", {}),
        "parameter": (f"{url}?password={coded}", {}),
        "both": (f"postgresql://{rest}?user=keeper&password={coded}&application_name=a", {}),
        "environment": (url, {"PGPASSWORD": secret}),
        "variable": ("", {options.URL_VARIABLE: f"postgres://keeper:{coded}@{rest}"}),
    }


FORMS = list(forms("", ""))
EACH = pytest.mark.parametrize(
    ("name", "form"),
    [*((name, "authority") for name in COMMANDS), *(("run", form) for form in FORMS[1:])],
)
"""Every command, and every way to give a password."""


def said_by(monkeypatch: pytest.MonkeyPatch, name: str, form: str, url: str, secret: str):
    given, variables = forms(url, secret)[form]
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    words = ("--database-url", given) if given else ()
    return command(name, *COMMANDS[name], *words, "-vv", "--debug")


@EACH
def test_the_right_password_is_shown_nowhere(
    secured: str, monkeypatch: pytest.MonkeyPatch, name: str, form: str
) -> None:
    said = said_by(monkeypatch, name, form, secured, PASSWORD)
    # `generate` wants an empty database, which it is told by this one only once it is let in
    assert "password authentication failed" not in said.err
    assert said.code in {exits.DONE, exits.NOTHING_TO_DO} or name == "generate", said.err
    assert_hidden(everything(said))


@EACH
def test_a_wrong_password_is_shown_nowhere(
    secured: str, monkeypatch: pytest.MonkeyPatch, name: str, form: str
) -> None:
    said = said_by(monkeypatch, name, form, secured, WRONG)
    assert said.code == exits.FAILED
    assert 'password authentication failed for user "keeper"' in said.err
    assert_hidden(everything(said))


@pytest.mark.parametrize(
    ("name", "as_json"), [("run", False), ("run", True), ("migrate", False), ("status", True)]
)
@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://keeper:{WRONG}@127.0.0.1:1/db",
        "postgresql://keeper:12/at@all@127.0.0.1:1/db",
        "postgresql://keeper:12?at@all@127.0.0.1:1/db",
        "postgresql://keeper:12#at@all@127.0.0.1:1/db",
        "postgresql://keeper:at@all:n0t-the@127.0.0.1:1/db",
        "postgresql://127.0.0.1:1/db?user=keeper&password=n0t-the/at@all",
        "mysql://keeper:n0t-the@127.0.0.1:1/db",
        "postgresql://keeper:n0t-the@127.0.0.1:port/db",
        "postgresql://keeper:n0t-the@127.0.0.1:1/db?sslmode=odd",
        "postgresql://keeper:n0t-the@[::1/db",
        "postgresql://keeper:%zzn0t-the%@127.0.0.1:1/db",
        "keeper:n0t-the@127.0.0.1:1/db",
        "host=127.0.0.1 port=1 user=keeper password=n0t-the",
    ],
)
def test_a_url_that_cannot_be_used_tells_nothing_of_its_password(
    name: str, url: str, *, as_json: bool
) -> None:
    words = ("--json",) if as_json else ()
    said = command(name, *COMMANDS[name], "--database-url", url, "-vv", "--debug", *words)
    assert said.code in {exits.FAILED, exits.USAGE}
    assert_hidden(everything(said))


@pytest.mark.parametrize("form", FORMS)
def test_errors_and_logs_of_a_program_tell_no_password(
    secured: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    form: str,
) -> None:
    url, variables = forms(secured, WRONG)[form]
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(BatchcoreError) as caught:
        asyncio.run(batchcore.run_batch(url or variables[options.URL_VARIABLE], calendar="daily"))
    assert_hidden("".join(traceback.format_exception(caught.value)) + repr(caught.value))
    assert_hidden(caplog.text)


EMPTY_HERE = {
    "batchcore_analytic_writes",
    "batchcore_run_issues",
    "batchcore_run_shards",
    "batchcore_run_symbol_issues",
}
"""Nothing is noticed, no run is a shard, and nothing is written at the level `full`."""


def test_the_ledger_keeps_no_password(secured: str, tcp_server) -> None:
    url, _ = forms(secured, PASSWORD)["authority"]
    assert command("run", *COMMANDS["run"], "--database-url", url).code in {0, exits.NOTHING_TO_DO}
    own = tcp_server.database_url("kept")
    tables = query(
        own, "SELECT relname FROM pg_class WHERE relname LIKE 'batchcore%' AND relkind = 'r'"
    )
    assert len(tables) == 8
    for (table,) in tables:
        rows = query(own, f"SELECT t::text FROM {table} AS t")  # noqa: S608  # our own names
        assert rows or table in EMPTY_HERE
        assert_hidden(str(rows))


def test_a_redactor_hides_what_it_was_told_in_every_spelling() -> None:
    redacted = Redactor()
    redacted.hide(f"postgresql://a:{quote(PASSWORD, safe='')}@h/db", None, "")
    for way in (PASSWORD, quote(PASSWORD, safe=""), repr(PASSWORD)[1:-1]):
        assert redacted(f"before {way} after") == "before *** after"
    redacted.forget()
    assert redacted(f"before {PASSWORD}") == f"before {PASSWORD}"


def test_an_account_name_of_the_environment_is_not_taken_for_a_password() -> None:
    with contextlib.suppress(KeyError):
        del os.environ["PGPASSWORD"]
    assert (
        Redactor()("postgresql://someone@host/db?user=a") == "postgresql://someone@host/db?user=a"
    )
