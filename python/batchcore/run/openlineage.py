"""What a run tells of itself to OpenLineage: events with the facets that fit, as plain values.

Source: https://openlineage.io/docs/spec/object-model; each facet names its published schema.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from typing import TYPE_CHECKING, Any, Final

from batchcore import about
from batchcore.calendar import date_of
from batchcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchcore.run.result import BatchResult

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
    """Return START and the last event of a run, after those of the run that was finished first."""
    if result.dry_run:
        raise ConfigError("a dry run is no run: there is nothing to tell OpenLineage of it")
    server, prefix = namespace, ""
    if database is not None:
        found = _DATABASE.fullmatch(database)
        if found is None:
            msg = f"database is `{database}`, expected postgres://host:port/name, without a user"
            raise ConfigError(msg, "database")
        server, prefix = found[1].replace("postgresql:", "postgres:"), f"{found[2]}."
    if producer is None:
        producer = f"urn:batchcore:{about.core_version}"
    told = _Events(result, namespace, server, prefix)
    own = [told.event(kind, producer) for kind in ("START", ENDS[result.state])]
    if result.resumed is None:
        return own
    return [
        *events(result.resumed, namespace=namespace, database=database, producer=producer),
        *own,
    ]


class _Events:
    """The events of one run."""

    def __init__(self, result: BatchResult, namespace: str, server: str, prefix: str) -> None:
        self.result = result
        self.namespace, self.server, self.prefix = namespace, server, prefix

    def event(self, kind: str, producer: str) -> dict[str, Any]:
        result, is_start = self.result, kind == "START"
        moment = result.started_at if is_start else result.ended_at
        command = "run" if result.differences is None else "repair"
        told = {
            "eventType": kind,
            "eventTime": _text(moment),
            "producer": producer,
            "schemaURL": SCHEMA,
            "run": {"runId": self._run_id(), "facets": self._of_run(is_start=is_start)},
            "job": {
                "namespace": self.namespace,
                "name": f"batchcore.{command}",
                "facets": {
                    "jobType": {
                        "_schemaURL": _facet("JobTypeJobFacet", "2-0-4"),
                        "processingType": "BATCH",
                        "integration": "BATCHCORE",
                        "jobType": "COMMAND",
                    }
                },
            },
            "inputs": list(self._inputs(is_start=is_start)),
            "outputs": list(self._outputs(is_start=is_start)),
        }
        signed: dict[str, Any] = _signed(told, producer)
        return signed

    def _run_id(self) -> str:
        """Return the id of the attempt: one run of OpenLineage ends once."""
        result = self.result
        if result.attempt == 1:
            return result.run_id
        return str(uuid.uuid5(uuid.UUID(result.run_id), str(result.attempt)))

    def _of_run(self, *, is_start: bool) -> dict[str, Any]:
        result = self.result
        facets: dict[str, Any] = {
            "processing_engine": {
                "_schemaURL": _facet("ProcessingEngineRunFacet", "1-1-1"),
                "version": about.core_version,
                "name": "batchcore",
            }
        }
        if len(result.sessions):
            first, last = (date_of(int(result.sessions[at])) for at in (0, -1))
            facets["nominalTime"] = {
                "_schemaURL": _facet("NominalTimeRunFacet", "1-0-1"),
                "nominalStartTime": f"{first}T00:00:00Z",
                "nominalEndTime": f"{last + dt.timedelta(1)}T00:00:00Z",
            }
        if result.error is not None and not is_start:
            facets["errorMessage"] = {
                "_schemaURL": _facet("ErrorMessageRunFacet", "1-0-1"),
                "message": result.error,
                "programmingLanguage": "PYTHON",
            }
        return facets

    def _inputs(self, *, is_start: bool) -> Iterator[dict[str, Any]]:
        result = self.result
        quality = {CLOSES: self._of_closes(), "portfolios": self._of_portfolios()}
        for query, table in READ.items():
            if query not in result.rows_by_load:
                continue
            facets: dict[str, Any] = {}
            if not is_start:
                facets["inputStatistics"] = {
                    "_schemaURL": _facet("InputStatisticsInputDatasetFacet", "1-0-0"),
                    "rowCount": result.rows_by_load[query],
                }
                if assertions := quality.get(table):
                    facets["dataQualityAssertions"] = {
                        "_schemaURL": _facet("DataQualityAssertionsDatasetFacet", "1-1-0"),
                        "assertions": assertions,
                    }
            yield {**self._dataset(table), "inputFacets": facets}

    def _outputs(self, *, is_start: bool) -> Iterator[dict[str, Any]]:
        facets: dict[str, Any] = {}
        if not is_start:
            facets["outputStatistics"] = {
                "_schemaURL": _facet("OutputStatisticsOutputDatasetFacet", "1-0-2"),
                "rowCount": self.result.rows_written,
            }
        yield {**self._dataset("portfolio_snapshots"), "outputFacets": facets}

    def _dataset(self, table: str) -> dict[str, Any]:
        schema = self.result.schema
        name = f"{self.prefix}{schema.namespace}.{schema.table(table)}"
        return {"namespace": self.server, "name": name, "facets": {}}

    def _of_closes(self) -> list[dict[str, Any]]:
        """Return whether the prices of each session have arrived (S12), and issues of symbols."""
        result, found = self.result, []
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
        return found + self._noticed(of_portfolios=False)

    def _of_portfolios(self) -> list[dict[str, Any]]:
        return self._noticed(of_portfolios=True)

    def _noticed(self, *, of_portfolios: bool) -> list[dict[str, Any]]:
        """Return an assertion that does not hold for each name of issues."""
        issues = self.result.issues
        own = issues.take((issues.portfolio >= 0) == of_portfolios)
        counts: dict[str, int] = {}
        for name in map(str, own.name.texts()):
            counts[name] = counts.get(name, 0) + 1
        return [
            {
                "assertion": name,
                "success": False,
                "severity": "warn",
                "expected": "0",
                "actual": str(count),
            }
            for name, count in sorted(counts.items())
        ]


def _facet(name: str, version: str) -> str:
    return f"{SPEC}/facets/{version}/{name}.json#/$defs/{name}"


def _signed(value: Any, producer: str) -> Any:  # noqa: ANN401  # what an event may hold
    """Return an event with the producer in each of its facets."""
    match value:
        case dict():
            own = {"_producer": producer} if "_schemaURL" in value else {}
            return own | {name: _signed(one, producer) for name, one in value.items()}
        case list():
            return [_signed(one, producer) for one in value]
    return value


def _text(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
