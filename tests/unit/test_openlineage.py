"""Events of OpenLineage, against the classes that come from its published schemas."""

import datetime as dt
import json
import uuid
from typing import Any

import pytest

from batchcore.config import Schema
from batchcore.errors import ConfigError
from batchcore.run.result import BatchResult
from support.lineage import assert_published
from support.reports import replace, report

RUN = "0197bd7c-35f1-7d25-a2b1-f4a5ab25f2e9"
BEGAN = dt.datetime(2026, 1, 6, 23, 0, tzinfo=dt.UTC)
PLACE = "postgresql://db.example:5432/books"


def result(**changes: Any) -> BatchResult:
    own = {
        "run_id": RUN,
        "started_at": BEGAN,
        "ended_at": BEGAN + dt.timedelta(seconds=90.5),
        "min_coverage": 0.5,
        "rows_by_load": {"prices": 7, "portfolios": 3, "existing": 0},
    }
    return replace(report(), **own | changes)


def events(found: BatchResult, **options: Any) -> list[dict[str, Any]]:
    told = found.to_openlineage(**options)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    for event in told:
        assert_published(event)
    return told


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("complete", "COMPLETE"),
        ("incomplete", "COMPLETE"),
        ("failed", "FAIL"),
        ("interrupted", "ABORT"),
    ],
)
def test_a_run_starts_and_ends(state: str, kind: str) -> None:
    start, end = events(result(state=state, error=None if kind == "COMPLETE" else "X: no"))
    assert [start["eventType"], end["eventType"]] == ["START", kind]
    assert [start["eventTime"], end["eventTime"]] == [
        "2026-01-06T23:00:00Z",
        "2026-01-06T23:01:30.500000Z",
    ]
    assert start["run"]["runId"] == end["run"]["runId"] == RUN
    assert end["run"]["facets"]["nominalTime"]["nominalStartTime"] == "2026-01-05T00:00:00Z"
    assert end["run"]["facets"]["nominalTime"]["nominalEndTime"] == "2026-01-07T00:00:00Z"
    assert "errorMessage" not in start["run"]["facets"]
    told = end["run"]["facets"].get("errorMessage", {})
    assert told.get("message") == (None if kind == "COMPLETE" else "X: no")


def test_tables_are_named_as_the_host_names_them() -> None:
    schema = Schema(namespace="ledger", tables={"portfolio_snapshots": "valuations"})
    _, end = events(result(schema=schema), namespace="desk", database=PLACE)
    assert end["job"]["namespace"] == "desk"
    assert {one["namespace"] for one in (*end["inputs"], *end["outputs"])} == {
        "postgres://db.example:5432"
    }
    assert [one["name"] for one in end["inputs"]] == [
        "books.ledger.portfolios",
        "books.ledger.market_data_cache",
    ]
    (output,) = end["outputs"]
    assert output["name"] == "books.ledger.valuations"
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 3


def test_coverage_and_issues_are_assertions() -> None:
    start, end = events(result())
    assert all(one["inputFacets"] == {} for one in start["inputs"])
    portfolios, closes = end["inputs"]
    assert closes["inputFacets"]["inputStatistics"]["rowCount"] == 7
    found = closes["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert [(one["assertion"], one["success"], one["actual"]) for one in found] == [
        ("coverage", False, "0.250000"),
        ("coverage", True, "1.000000"),
        ("stale", False, "1"),
    ]
    found = portfolios["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert {one["assertion"]: one["actual"] for one in found} == {
        "expired": "2",
        "non_finite": "1",
        "out_of_range": "1",
    }


def test_a_run_that_was_continued_is_one_of_its_own() -> None:
    earlier = result(attempt=2)
    told = events(result(run_id=str(uuid.UUID(int=1)), resumed=earlier))
    assert [one["eventType"] for one in told] == ["START", "COMPLETE"] * 2
    first, second = told[0]["run"]["runId"], told[2]["run"]["runId"]
    assert first == events(earlier)[0]["run"]["runId"] != RUN
    assert second == str(uuid.UUID(int=1))


def test_who_tells_is_named_everywhere() -> None:
    (start, _) = events(result(), producer="https://example.org/nightly")
    assert start["producer"] == "https://example.org/nightly"
    assert start["run"]["facets"]["processing_engine"]["_producer"] == start["producer"]


def test_a_run_without_sessions_has_no_nominal_time() -> None:
    _, end = events(result(sessions=report().sessions[:0], coverage=report().coverage.none()))
    assert "nominalTime" not in end["run"]["facets"]


def test_without_a_place_tables_are_named_in_the_namespace_of_the_job() -> None:
    _, end = result().to_openlineage(namespace="desk")
    assert {(one["namespace"], one["name"]) for one in end["outputs"]} == {
        ("desk", "public.portfolio_snapshots")
    }


@pytest.mark.parametrize("database", ["", "books", "postgres://user@host/db", "mysql://h/db"])
def test_a_place_of_another_form_is_refused(database: str) -> None:
    with pytest.raises(ConfigError, match="expected postgres://host:port/name"):
        result().to_openlineage(database=database)


def test_a_plan_is_no_run() -> None:
    with pytest.raises(ConfigError, match="a dry run has no events"):
        result(dry_run=True).to_openlineage()
