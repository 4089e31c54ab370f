"""The report of a run: mapping, JSON, issues, errors; and how issues are gathered."""

import dataclasses
import json
from typing import Any

import fastapi
import numpy as np
import pytest
from fastapi.encoders import jsonable_encoder

from batchcore.frames import Issues, Misses, Text
from batchcore.run.issues import IssueList
from batchcore.run.result import (
    BatchResult,
    cache_stats,
    issue_dicts,
)
from batchcore.units import Mark
from support import asgi, build
from support.reports import IDS, MONDAY, issues, replace, report


def test_a_report_is_a_mapping_with_the_keys_of_the_plan() -> None:
    result = report()
    plan = {
        "success": False,
        "portfolios_processed": 1,
        "snapshots_created": 3,
        "errors": [f"{IDS[1]}: out_of_range daily_pnl = 100000000000000.00 on 2026-01-06"],
        "cache_stats": dict(result.cache),
        "duration_seconds": 1.5,
    }
    assert (dict(result), list(result), len(result)) == (plan, [*plan], 6)
    assert "rows" not in result
    with pytest.raises(KeyError):
        result["rows"]


def test_a_report_is_json() -> None:
    result = report()
    told = result.to_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["portfolios"] == {
        "id": [str(one) for one in IDS],
        "status": ["ok", "failed", "skipped"],
        "sessions_planned": [2, 2, 0],
        "sessions_written": [2, 1, 0],
    }
    assert told["sessions"] == ["2026-01-05", "2026-01-06"]
    assert told["sessions_left_out"] == ["2026-01-10"]
    assert told["statements"] == 13
    assert told["coverage"] == {"2026-01-05": 0.25, "2026-01-06": 1.0}
    assert told["issues"][3] == {
        "name": "out_of_range",
        "portfolio": str(IDS[1]),
        "symbol": None,
        "session": "2026-01-06",
        "detail": "daily_pnl = 100000000000000.00",
    }
    assert told["issues"][0]["portfolio"] is None


def is_plain(value: Any) -> bool:
    """Return whether a value is of JSON's own types, exactly: a NumPy scalar is a float too."""
    if type(value) is dict:
        return all(type(name) is str and is_plain(one) for name, one in value.items())
    if type(value) is list:
        return all(map(is_plain, value))
    return value is None or type(value) in {str, int, float, bool}


def test_a_report_has_nothing_but_types_of_json() -> None:
    result = report()
    assert is_plain(replace(result, resumed=result).to_dict())
    assert is_plain(dict(result))
    json.dumps(result.to_dict(), allow_nan=False)


def test_fastapi_takes_a_report_for_the_mapping_that_it_is() -> None:
    application = fastapi.FastAPI()

    @application.get("/mapping")
    async def mapping():
        return report()

    @application.get("/declared")
    async def declared() -> BatchResult:
        return report()

    @application.get("/document")
    async def document():
        return report().to_dict()

    @application.get("/beside")
    async def beside():
        return {"result": report()}

    plan = asgi.get(application, "/mapping")
    assert plan == json.loads(json.dumps(dict(report())))
    assert asgi.get(application, "/declared") == plan
    assert asgi.get(application, "/beside") == {"result": plan}
    assert asgi.get(application, "/document") == report().to_dict()
    assert asgi.get(application, "/openapi.json")["paths"].keys() >= {"/declared", "/beside"}
    assert jsonable_encoder(report()) == plan
    assert not dataclasses.is_dataclass(BatchResult)


def test_what_a_report_says_of_its_issues_and_itself() -> None:
    result = report()
    counts = {"expired": 2, "non_finite": 1, "out_of_range": 1, "stale": 1}
    assert result.issues_by_name() == counts
    # `non_finite` of a position has no session and fails nobody.
    assert len(result.errors()) == 1
    fine = replace(result, issues=issues(("expired", 0, "OPT", MONDAY, "expiration_date")))
    assert fine.errors() == []
    assert not result.nothing_to_do
    assert replace(result, sessions=np.zeros(0, dtype=np.int32)).nothing_to_do
    assert repr(result) == (
        "BatchResult(run_id='r', policy='rollforward', portfolios=3, failed=1, rows_written=3,"
        " issues=5)"
    )
    assert issue_dicts(replace(result, issues=IssueList().finish())) == []


def test_hits_are_fresh_and_lookback() -> None:
    marks = np.zeros(4, dtype=np.int64)
    assert cache_stats(marks)["hit_rate"] is None
    marks[Mark.FRESH], marks[Mark.LOOKBACK], marks[Mark.STALE], marks[Mark.UNPRICED] = 6, 3, 2, 1
    assert cache_stats(marks) == {
        "fresh": 6,
        "lookback_hits": 3,
        "stale": 2,
        "unpriced": 1,
        "hits": 9,
        "misses": 3,
        "hit_rate": 0.75,
    }


def shown(found: Issues) -> list[tuple[str, int, str | None, int | None, str]]:
    columns = (found.name, found.symbol, found.detail)
    names, symbols, details = (column.texts() for column in columns)
    days = build.cells(found.day)
    return list(zip(names, found.portfolio.tolist(), symbols, days, details, strict=True))


def test_issues_come_in_the_order_of_portfolios_whatever_was_noticed_first() -> None:
    chunks = IssueList()
    chunks.add(issues(("gap", 1, None, MONDAY, "2 sessions")), first_portfolio=4)
    chunks.add(
        issues(
            ("duplicate_price", -1, "AAA", MONDAY, "1 date"),
            ("expired", 0, "OPT", MONDAY, "expiration_date"),
            ("expired", 1, "OPT", MONDAY, "expiration_date"),
        )
    )
    chunks.add(issues(("bad_flow", 1, None, None, "amount")), first_portfolio=4)

    assert shown(chunks.finish()) == [
        ("duplicate_price", -1, "AAA", MONDAY, "1 date"),
        ("expired", 0, "OPT", MONDAY, "expiration_date"),
        ("expired", 1, "OPT", MONDAY, "expiration_date"),
        ("gap", 5, None, MONDAY, "2 sessions"),
        ("bad_flow", 5, None, None, "amount"),
    ]


def misses(*rows: tuple[str, bool, int, int, int]) -> Misses:
    return Misses(
        symbol=Text.of([symbol for symbol, *_ in rows]),
        unpriced=np.array([unpriced for _, unpriced, *_ in rows], dtype=np.bool_),
        lot_sessions=np.array([count for *_, count, _, _ in rows], dtype=np.int64),
        first=np.array([first for *_, first, _ in rows], dtype=np.int32),
        last=np.array([last for *_, last in rows], dtype=np.int32),
    )


def test_misses_of_a_symbol_add_up_over_chunks() -> None:
    found = IssueList()
    found.add(issues(("gap", 0, None, MONDAY, "1 session")))
    for chunk in (
        misses(("AAA", False, 2, MONDAY + 1, MONDAY + 2), ("BBB", True, 1, MONDAY, MONDAY)),
        misses(("AAA", False, 3, MONDAY, MONDAY + 1)),
    ):
        found.add_misses(chunk)
    assert shown(found.finish()) == [
        ("gap", 0, None, MONDAY, "1 session"),
        ("stale", -1, "AAA", MONDAY, "5 lot-sessions until 2026-01-07"),
        ("unpriced", -1, "BBB", MONDAY, "1 lot-session until 2026-01-05"),
    ]


def test_symbols_of_issues_come_once_and_in_order() -> None:
    again = (
        ("stale", -1, "BBB", MONDAY, ""),
        ("stale", -1, "AAA", MONDAY + 1, ""),
        ("expired", 0, "BBB", MONDAY, ""),
        ("soft_deleted", 0, None, None, ""),
        ("stale", -1, "BBB", MONDAY + 2, ""),
    )
    assert replace(report(), issues=issues(*again)).symbols_by_issue() == {
        "stale": ["BBB", "AAA"],
        "expired": ["BBB"],
    }
    assert replace(report(), issues=issues()).symbols_by_issue() == {}


def test_issues_of_no_portfolio_and_no_symbol_are_about_what_they_say() -> None:
    mixed = (
        ("stale", -1, "BBB", MONDAY, ""),
        ("bad_rate", -1, None, MONDAY, "EUR/USD: 1 date; 0 on the first"),
        ("bad_rate", -1, None, MONDAY, "CHF/USD: 1 date; 0 on the first"),
        ("bad_rate", -1, None, MONDAY + 1, "EUR/USD: 1 date; 0 on the first"),
        ("off_session", -1, None, MONDAY, ""),
        ("bad_flow", 0, None, MONDAY, "amount"),
    )
    assert replace(report(), issues=issues(*mixed)).subjects_by_issue() == {
        "stale": ["BBB"],
        "bad_rate": ["EUR/USD: 1 date; 0 on the first", "CHF/USD: 1 date; 0 on the first"],
    }
