"""The examples run, and adopting batchcore changes little of them and nothing of their rows."""

import asyncio
import difflib
import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batchcore import calendar as calendars
from batchcore import reference as ref
from batchcore.calendar import date_of
from support import database
from support.callers import with_driver
from support.generate import MONDAY
from support.tables import query

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
BEFORE, AFTER = EXAMPLES / "orchestrator_before.py", EXAMPLES / "orchestrator_after.py"
NIGHTS = calendars.load("XNYS").sessions(MONDAY, MONDAY + 8).tolist()
COLUMNS = (
    "portfolio_id, snapshot_date, total_value, cash_value, long_value, short_value,"
    " gross_exposure, net_exposure, equity_balance, daily_pnl, daily_realized_pnl,"
    " daily_capital_flow, daily_return, cumulative_pnl, cumulative_realized_pnl,"
    " cumulative_capital_flow, num_positions, num_long_positions, num_short_positions, is_complete"
)


def test_adopting_batchcore_changes_ten_lines_at_most() -> None:
    lines = difflib.ndiff(BEFORE.read_text().splitlines(), AFTER.read_text().splitlines())
    changed = [line for line in lines if line[:2] in {"+ ", "- "}]
    assert 0 < len(changed) <= 10


def position(symbol: str, kind: str, quantity: int, **columns: Any) -> ref.Position:
    return ref.Position(symbol, kind, Decimal(quantity), Decimal(10), MONDAY - 20, **columns)


def host() -> database.Host:
    """Return what both ways value alike: whole cents, no flow on the first night."""
    first = ref.Portfolio(
        "p0",
        Decimal(10_000),
        (
            position("AAA", "LONG", 100),
            position("BBB", "SHORT", -30),
            position("AAA", "LONG", 40, exit_day=NIGHTS[3], exit_price=Decimal("12.34")),
            position("OPT", "LC", 2),
        ),
        (
            ref.Flow(NIGHTS[2], Decimal("250.50"), "CONTRIBUTION"),
            ref.Flow(NIGHTS[5] - 1, Decimal(99), "WITHDRAWAL"),  # on a Sunday
        ),
    )
    second = ref.Portfolio(
        "p1", Decimal(500), (position("BBB", "LONG", 7), position("CCC", "LONG", 1))
    )
    third = ref.Portfolio("p2", Decimal(77))
    closes = {
        "AAA": ("11.00", "11.50", "10.75", "12.00", "12.10", "11.90", "12.25"),
        "BBB": ("20.10", None, "19.80", "20.00", None, None, "21.37"),
        "CCC": ("5.01", "5.02", None, "5.04", "5.05", "5.06", "5.07"),
        "OPT": ("1.15", "1.20", "1.05", "0.95", "1.00", "1.45", "1.40"),
    }
    prices = tuple(
        (symbol, day, Decimal(close))
        for symbol, of in closes.items()
        for day, close in zip(NIGHTS, of, strict=True)
        if close is not None
    )
    return database.Host((first, second, third), prices)


def run(example: Path, url: str) -> str:
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, example, str(date_of(NIGHTS[0])), str(date_of(NIGHTS[-1]))],
        env={**os.environ, "DATABASE_URL": with_driver(url)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.db
def test_both_orchestrators_write_the_same(copy: Callable[[str], str], template: str) -> None:
    stored, said, equities = [], [], []
    for example in (BEFORE, AFTER):
        url = copy(template)
        asyncio.run(database.fill(url, host()))
        said.append(run(example, url))
        rows = query(url, f"SELECT {COLUMNS} FROM portfolio_snapshots ORDER BY 1, 2")  # noqa: S608
        stored.append([tuple(row) for row in rows])
        equities.append(query(url, "SELECT id, equity_balance FROM portfolios ORDER BY id"))

    assert said[0] == said[1]
    assert said[0].splitlines()[0] == "2026-01-05: 3 snapshots"
    assert len(stored[0]) == 3 * len(NIGHTS)
    assert stored[0] == stored[1]
    assert equities[0] == equities[1]
