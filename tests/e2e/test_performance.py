"""`batchcore performance` on a real server: what it prints, and its exit codes."""

from decimal import Decimal

import pytest

from support.command import Said, batchcore
from support.tables import query

pytestmark = pytest.mark.db


def performance(url: str, *words: str) -> Said:
    return batchcore("performance", "--database-url", url, *words)


def one_of(url: str) -> str:
    return str(query(url, "SELECT min(id::text) FROM portfolios WHERE deleted_at IS NULL")[0][0])


def test_json_is_what_python_returns(stored: str) -> None:
    one = one_of(stored)
    said = performance(stored, "--portfolio", one, "--period", "1D", "--period", "ITD", "--json")
    assert (said.code, said.err) == (0, "")
    day, whole = said.document()["rows"]
    assert (day["period"], day["sessions"], day["start"]) == ("1D", 1, "2025-06-27")
    assert (whole["period"], whole["sessions"], whole["start"]) == ("ITD", 9, "2025-06-16")
    rows = query(
        stored,
        "SELECT portfolio_id::text, daily_pnl, lag(equity_balance) OVER ("
        "PARTITION BY portfolio_id ORDER BY snapshot_date) FROM portfolio_snapshots"
        " ORDER BY portfolio_id, snapshot_date",
    )
    index = Decimal(1)
    for owner, pnl, before in rows:
        if owner == one and before is not None:
            index *= 1 + pnl / before
    assert Decimal(whole["twr"]) == index - 1


def test_text_is_a_table_with_a_line_for_each_reason(stored: str) -> None:
    said = performance(
        stored, "--portfolio", one_of(stored), "--period", "YTD", "--benchmark", "SPY"
    )
    assert (said.code, said.err) == (0, "")
    head, row, *reasons = said.out.splitlines()
    assert head.split()[:5] == ["portfolio", "period", "from", "to", "sessions"]
    assert head.split()[-2:] == ["SPY", "difference"]
    assert row.split()[1:5] == ["YTD", "2025-06-16", "2025-06-30", "9"]
    assert "%" in row
    assert reasons[0] == ("YTD: from the first snapshot on: there is none on or before 2024-12-31")


def test_a_range_is_named_and_without_a_session_there_is_nothing_to_do(stored: str) -> None:
    lines = performance(stored, "--start", "2025-06-20").out.splitlines()
    assert lines[1].split()[1] == "2025-06-20/.."
    said = performance(stored, "--start", "2025-07-01")
    assert (said.code, said.err) == (99, "")
    assert "no session in the period" in said.out
