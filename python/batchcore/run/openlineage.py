"""A run as events of OpenLineage, with the facets that fit, as plain values.

Source: https://openlineage.io/docs/spec/object-model; each facet names its published schema.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from batchcore import about
from batchcore.calendar import date_of
from batchcore.errors import ConfigError
from batchcore.words import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchcore.run.result import BatchResult

    Facet = Callable[..., dict[str, Any]]

SPEC: Final = "https://openlineage.io/spec"
SCHEMA: Final = f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"

ENDS: Final = {
    "complete": "COMPLETE",
    "incomplete": "COMPLETE",
    "failed": "FAIL",
    "interrupted": "ABORT",
}
"""The last event of a run, by its state."""

READ: Final = {
    "portfolios": "portfolios",
    "positions": "positions",
    "events": "position_realized_events",
    "flows": "equity_changes",
    "prices": "market_data_cache",
    "profiles": "company_profiles",
}
"""Queries of a run -> the table that they read."""

CLOSES: Final = "market_data_cache"

_DATABASE: Final = re.compile(r"(postgres(?:ql)?://[^/@?#]+)/([^/?#]+)")


def events(
    result: BatchResult, *, namespace: str, database: str | None, producer: str | None
) -> list[dict[str, Any]]:
    """Return START and the last event of a run, after those of a run that it finished first."""
    if result.dry_run:
        raise ConfigError("a dry run has no events of OpenLineage")
    server, prefix = namespace, ""
    if database is not None:
        found = _DATABASE.fullmatch(database)
        if found is None:
            msg = f"database is `{database}`, expected postgres://host:port/name, without a user"
            raise ConfigError(msg, "database")
        server, prefix = found[1].replace("postgresql:", "postgres:"), f"{found[2]}."
    own = producer or f"urn:batchcore:{about.core_version}"

    def facet(name: str, version: str, /, **values: object) -> dict[str, Any]:
        schema = f"{SPEC}/facets/{version}/{name}.json#/$defs/{name}"
        return {"_producer": own, "_schemaURL": schema, **values}

    def dataset(table: str, **facets: object) -> dict[str, Any]:
        name = f"{prefix}{result.schema.namespace}.{result.schema.table(table)}"
        return {"namespace": server, "name": name, "facets": {}, **facets}

    command = "run" if result.differences is None else "repair"
    kinds = {"processingType": "BATCH", "integration": "BATCHCORE", "jobType": "COMMAND"}
    job = {
        "namespace": namespace,
        "name": f"batchcore.{command}",
        "facets": {"jobType": facet("JobTypeJobFacet", "2-0-4", **kinds)},
    }
    read = [query for query in READ if query in result.rows_by_load]
    of_run, written = _of_run(result, facet), "portfolio_snapshots"
    of_error: dict[str, Any] = {}
    if result.error is not None:
        attributes = {"message": result.error, "programmingLanguage": "PYTHON"}
        of_error["errorMessage"] = facet("ErrorMessageRunFacet", "1-0-1", **attributes)
    rows = facet("OutputStatisticsOutputDatasetFacet", "1-0-2", rowCount=result.rows_written)
    start = {
        "run": {"runId": _run_id(result), "facets": of_run},
        "inputs": [dataset(READ[query], inputFacets={}) for query in read],
        "outputs": [dataset(written, outputFacets={})],
    }
    end = {
        "run": {"runId": _run_id(result), "facets": of_run | of_error},
        "inputs": [
            dataset(READ[query], inputFacets=_of_input(result, facet, query)) for query in read
        ],
        "outputs": [dataset(written, outputFacets={"outputStatistics": rows})],
    }
    same = {"producer": own, "schemaURL": SCHEMA, "job": job}
    own_events = [
        {"eventType": "START", "eventTime": plain(result.started_at), **same, **start},
        {"eventType": ENDS[result.state], "eventTime": plain(result.ended_at), **same, **end},
    ]
    if result.resumed is None:
        return own_events
    before = events(result.resumed, namespace=namespace, database=database, producer=producer)
    return [*before, *own_events]


def _of_run(result: BatchResult, facet: Facet) -> dict[str, Any]:
    engine = {"version": about.core_version, "name": "batchcore"}
    facets = {"processing_engine": facet("ProcessingEngineRunFacet", "1-1-1", **engine)}
    if len(result.sessions):
        first, last = (date_of(int(result.sessions[at])) for at in (0, -1))
        facets["nominalTime"] = facet(
            "NominalTimeRunFacet",
            "1-0-1",
            nominalStartTime=f"{first}T00:00:00Z",
            nominalEndTime=f"{last + dt.timedelta(1)}T00:00:00Z",
        )
    return facets


def _of_input(result: BatchResult, facet: Facet, query: str) -> dict[str, Any]:
    rows, table = result.rows_by_load[query], READ[query]
    name = "InputStatisticsInputDatasetFacet"
    found = {"inputStatistics": facet(name, "1-0-0", rowCount=rows)}
    if table in {CLOSES, "portfolios"} and (assertions := _assertions(result, table)):
        name = "DataQualityAssertionsDatasetFacet"
        found["dataQualityAssertions"] = facet(name, "1-1-0", assertions=assertions)
    return found


def _run_id(result: BatchResult) -> str:
    """Return the id of the attempt, as a run of OpenLineage ends only once."""
    if result.attempt == 1:
        return result.run_id
    return str(uuid.uuid5(uuid.UUID(result.run_id), str(result.attempt)))


def _assertions(result: BatchResult, table: str) -> list[dict[str, Any]]:
    """Return coverage (S12) of closes, and each name of issues as a failed assertion."""
    found: list[dict[str, Any]] = []
    if table == CLOSES:
        days, shares = result.coverage.session.tolist(), result.coverage.share().tolist()
        for day, share in zip(days, shares, strict=True):
            found.append(
                {
                    "assertion": "coverage",
                    "success": share >= result.min_coverage,
                    "severity": "error",
                    "name": f"coverage of {date_of(day)}",
                    "expected": f"{result.min_coverage:.6f}",
                    "actual": f"{share:.6f}",
                }
            )
    issues = result.issues
    own = issues.take((issues.portfolio >= 0) == (table == "portfolios"))
    for name, count in sorted(Counter(map(str, own.name.texts())).items()):
        found.append(
            {
                "assertion": name,
                "success": False,
                "severity": "warn",
                "expected": "0",
                "actual": str(count),
            }
        )
    return found
