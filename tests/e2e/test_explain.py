"""`batchcore explain` on a real server: what it prints, and its exit codes."""

import csv
import io
import json
import re
from decimal import Decimal

import pytest

from batchcore.attribution.explanation import COLUMNS
from support.command import Said, batchcore, shown
from support.tables import digests, query

pytestmark = pytest.mark.db

DAY = ("--session", "2025-06-24")
"""A Tuesday."""

KEYS = [
    *("portfolio", "session", "since", "previous", "equity_before", "daily_pnl"),
    *("computed_pnl", "rounding", "flows", "equity", "explained", "rows"),
]
OF_CHAIN = {"portfolio", "previous", "equity_before", "flows", "equity"}
ROW = [
    *("key", "position", "symbol", "sector", "type", "quantity", "multiplier", "entry_price"),
    *("mark_before", "mark_before_day", "status_before", "mark", "mark_day", "status"),
    *("unrealized_change", "realized", "contribution", "price_effect", "currency_effect"),
    *("value", "currency", "rate_before", "rate"),
]


@pytest.fixture(scope="module")
def portfolio(stored: str) -> str:
    (row,) = query(stored, "SELECT min(id::text) FROM portfolios")
    return row[0]


def explain(url: str, *words: str) -> Said:
    return batchcore("explain", "--database-url", url, *words)


def test_json_of_one_portfolio_has_exactly_these_keys(stored: str, portfolio: str) -> None:
    before = digests(stored)
    said = explain(stored, *DAY, "--portfolio", portfolio, "--json")
    assert (said.code, said.err) == (0, "")
    found = said.document()
    assert list(found) == KEYS
    assert (found["portfolio"], found["session"], found["since"]) == (portfolio, DAY[1], None)
    assert (found["previous"], found["explained"]) == ("2025-06-23", True)
    assert found["rows"]
    for row in found["rows"]:
        assert list(row) == ROW
    (pnl,) = query(
        stored,
        "SELECT daily_pnl FROM portfolio_snapshots WHERE snapshot_date = '2025-06-24'"  # noqa: S608
        f" AND portfolio_id = '{portfolio}'",
    )
    contributed = sum(Decimal(row["contribution"]) for row in found["rows"])
    assert contributed == Decimal(found["computed_pnl"])
    assert contributed + Decimal(found["rounding"]) == Decimal(found["daily_pnl"]) == pnl[0]
    assert digests(stored) == before


def test_json_of_all_has_no_keys_of_one_chain(stored: str) -> None:
    said = explain(stored, *DAY, "--since", "2025-06-20", "--by", "sector", "--json")
    assert (said.code, said.err) == (0, "")
    found = said.document()
    assert list(found) == [*(key for key in KEYS if key not in OF_CHAIN), "currencies"]
    assert found["currencies"] == []
    assert (found["session"], found["since"]) == ("2025-06-24", "2025-06-20")
    assert all(list(row) == ROW for row in found["rows"])
    assert [row["key"] for row in found["rows"]] == [row["sector"] for row in found["rows"]]
    contributed = sum(Decimal(row["contribution"]) for row in found["rows"])
    assert contributed + Decimal(found["rounding"]) == Decimal(found["daily_pnl"])
    top = explain(stored, *DAY, "--since", "2025-06-20", "--by", "sector", "--json", "--top", "2")
    assert top.document() == {**found, "rows": found["rows"][:2]}


def test_csv_has_the_rows(stored: str, portfolio: str) -> None:
    words = (*DAY, "--portfolio", portfolio, "--by", "symbol")
    said = explain(stored, *words, "--csv")
    assert (said.code, said.err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert list(rows[0]) == list(COLUMNS) == [*ROW, "share"]
    found = explain(stored, *words, "--json").document()["rows"]
    told = [{name: value or None for name, value in row.items() if name != "share"} for row in rows]
    assert told == [
        {name: None if value is None else str(value) for name, value in row.items()}
        for row in found
    ]
    assert len(explain(stored, *words, "--csv", "--top", "1").out.splitlines()) == 2


def test_text_is_plain_where_it_is_piped(stored: str, portfolio: str) -> None:
    said = explain(stored, *DAY, "--portfolio", portfolio)
    assert (said.code, said.err) == (0, "")
    assert "\x1b" not in said.out
    lines = said.out.splitlines()
    assert lines[0] == f"portfolio {portfolio} on 2025-06-24: rollforward, by lot"
    names = [line.split("  ")[1] for line in lines[1:6]]
    assert names == [
        "equity of 2025-06-23",
        "stored P&L",
        "contributions",
        "rounding",
        "equity of 2025-06-24",
    ]
    amounts = [Decimal(line.rsplit(" ", 1)[1].replace(",", "")) for line in lines[1:6]]
    before, pnl, contributions, rounding, after = amounts
    assert (contributions + rounding, before + pnl) == (pnl, after)
    title = next(line for line in lines if line.startswith("key "))
    assert title.split()[:5] == ["key", "symbol", "sector", "type", "quantity"]


def on_a_terminal(url: str, width: int, *words: str, **environment: str) -> str:
    command = ("explain", "--database-url", url, *words)
    said = shown(*command, width=width, TERM="xterm", COLORTERM="", **environment)
    assert said.code == 0
    return said.out


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_terminal_gets_a_table_that_fits(
    stored: str, portfolio: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    words = (*DAY, "--portfolio", portfolio, "--by", "symbol")
    coloured = on_a_terminal(stored, width, *words)
    assert re.search(r"\x1b\[32m *\+", coloured)
    assert re.search(r"\x1b\[31m *-", coloured)
    plain = on_a_terminal(stored, width, *words, NO_COLOR="1")
    assert not re.search(r"\x1b\[3\d", plain)
    text = re.sub(r"\x1b\[[\d;]*m", "", plain)
    assert text == re.sub(r"\x1b\[[\d;]*m", "", coloured)
    table = text.partition("\n\n")[2].splitlines()
    assert max(map(len, table)) <= width
    assert table[0].split()[0] == "key"
    assert "contribution" in table[0]
    # where rows are lots, their symbols are told first
    lots = re.sub(r"\x1b\[[\d;]*m", "", on_a_terminal(stored, width, *words[:-2], NO_COLOR="1"))
    title = lots.partition("\n\n")[2].splitlines()[0]
    assert title.split()[0] == ("key" if width == 200 else "symbol")
    assert "contribution" in title


def test_what_has_changed_comes_first(copy, stored: str, portfolio: str) -> None:
    url = copy(stored)
    query(
        url,
        "UPDATE portfolio_snapshots SET daily_pnl = daily_pnl + 5 WHERE"  # noqa: S608
        f" portfolio_id = '{portfolio}' AND snapshot_date = '2025-06-24'",
    )
    said = explain(url, *DAY, "--portfolio", portfolio)
    assert (said.code, said.err) == (1, "")
    first, title, pnl, *_ = said.out.splitlines()
    assert first == (
        "not explained: data have changed since the snapshot was written,"
        " or its run had other options"
    )
    assert title.split() == ["session", "column", "stored", "computed"]
    stored, computed = (Decimal(cell.replace(",", "")) for cell in pnl.split()[2:])
    assert stored - computed == 5
    attention, amounts, _ = said.out.split("\n\n", 2)
    assert "1 row does not add up:\n  2025-06-24: equity before" in attention
    assert "\n  not explained  " in amounts
    document = explain(url, *DAY, "--portfolio", portfolio, "--json")
    assert (document.code, json.loads(document.out)["explained"]) == (1, False)
    rows = explain(url, *DAY, "--portfolio", portfolio, "--csv")
    assert rows.code == 1
    warned = "".join(f"batchcore: {line}\n" for line in attention.splitlines())
    assert document.err == rows.err == warned
    night = explain(url, *DAY)
    assert night.code == 1
    head, _, worst, *_ = night.out.splitlines()
    assert head.startswith("not explained: 1 of 12 portfolios")
    assert worst.split()[0] == portfolio
