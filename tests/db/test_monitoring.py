"""What a run tells of itself: log lines, figures by phase, spans, and a warning."""

import json
import logging
import sys
from types import SimpleNamespace

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import batchcore
from batchcore.config import Settings
from batchcore.errors import CoverageError
from batchcore.run import monitor
from support import database
from support.generate import MONDAY
from support.runs import run_days

pytestmark = pytest.mark.db

DAYS = tuple(range(MONDAY, MONDAY + 4))
PHASES = ("load", "compute", "analytics", "persist")


async def run(url: str, analytics: str = "none", **settings) -> batchcore.BatchResult:
    return await run_days(
        url, DAYS[0], DAYS[-1], analytics=analytics, settings=Settings(**settings)
    )


def pairs(line: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in line.split(" "))


async def test_each_phase_is_one_line_of_pairs(
    same_host: str, caplog: pytest.LogCaptureFixture
) -> None:
    await database.fill(same_host, database.plain_host(3, DAYS))
    with caplog.at_level(logging.INFO, "batchcore"):
        result = await run(same_host, "portfolio", chunk_size=1)

    lines = [pairs(record.getMessage()) for record in caplog.records]
    assert {line["run"] for line in lines} == {result.run_id}
    by_phase = {line["phase"]: line for line in lines if "seconds" in line and "phase" in line}
    assert tuple(by_phase) == PHASES
    for phase, line in by_phase.items():
        assert int(line["statements"]) == result.statements_by_phase.get(phase, 0)
        assert int(line["rows"]) == result.rows_by_phase.get(phase, 0)
        assert int(line["bytes"]) == result.bytes_by_phase.get(phase, 0)
        assert float(line["seconds"]) == pytest.approx(result.seconds_by_phase[phase], abs=1e-3)
    # closes of three of the four sessions' symbols are those of the day: all are hits
    assert [phase for phase, line in by_phase.items() if "hit_rate" in line] == ["compute"]
    assert float(by_phase["compute"]["hit_rate"]) == 1.0
    (whole,) = [line for line in lines if "portfolios" in line]
    assert (whole["portfolios"], whole["rows"], whole["failed"]) == ("3", "12", "0")


async def test_the_fallback_is_told_in_one_line(
    same_host: str, caplog: pytest.LogCaptureFixture
) -> None:
    plain = database.plain_host(1, DAYS)
    held = plain.portfolios[0].positions[0]
    old, lost = (
        type(held)(symbol, "LONG", held.quantity, held.entry_price, held.entry_day)
        for symbol in ("OLD", "LOST")
    )
    one = type(plain.portfolios[0])("p0", plain.portfolios[0].opening_equity, (held, old, lost))
    # AAA has a close on the first day, so an earlier one is of no use
    earlier = [(symbol, DAYS[0] - 90, held.entry_price) for symbol in ("AAA", "OLD")]
    await database.fill(same_host, database.Host((one,), (*plain.prices, *earlier)))
    with caplog.at_level(logging.INFO, "batchcore"):
        result = await run(same_host)

    (line,) = [
        pairs(record.getMessage())
        for record in caplog.records
        if "fallback_statements" in record.getMessage()
    ]
    assert line == {
        "run": result.run_id,
        "phase": "load",
        "fallback_statements": "1",
        "symbols": "3",
        "rows": "1",
        "without_close": "1",
    }
    assert result.rows_by_load["fallback"] == 1
    assert result.rows_by_load["prices"] == len(DAYS)


async def test_rows_and_bytes_are_those_of_the_copies(same_host: str) -> None:
    await database.fill(same_host, database.plain_host(2, DAYS))

    result = await run(same_host, "full")

    assert result.bytes_by_phase["persist"] == result.bytes_written
    assert result.bytes_by_phase["load"] > 20 * sum(result.rows_by_load.values())
    assert result.rows_by_phase["load"] == sum(result.rows_by_load.values())
    assert result.rows_by_phase["compute"] == result.rows_written == 8
    # the last snapshot of each portfolio, and the market value of its position
    assert result.rows_by_phase["analytics"] == 2 + 2
    assert result.rows_by_phase["persist"] == 8 + 2
    told = json.loads(json.dumps(result.to_dict()))
    assert told["rows_by_phase"] == result.rows_by_phase
    assert told["bytes_by_phase"] == result.bytes_by_phase
    assert told["cache"]["hit_rate"] == 1.0


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What a run exports; the provider of the process is left alone."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    found = exporter.get_finished_spans()
    assert len({span.name for span in found}) == len(found)
    return {span.name: span for span in found}


async def test_a_run_and_its_phases_are_spans(same_host: str, spans: InMemorySpanExporter) -> None:
    await database.fill(same_host, database.plain_host(3, DAYS))

    result = await run(same_host, "portfolio", chunk_size=1)

    found = by_name(spans)
    assert set(found) == {"batchcore.run", *(f"batchcore.{phase}" for phase in PHASES)}
    root = found["batchcore.run"]
    assert dict(root.attributes) == {
        "batchcore.run_id": result.run_id,
        "batchcore.policy": "rollforward",
        "batchcore.portfolios": 3,
        "batchcore.failed": 0,
        "batchcore.sessions": 4,
        "batchcore.rows": 12,
        "batchcore.hit_rate": 1.0,
    }
    for phase in PHASES:
        span = found[f"batchcore.{phase}"]
        assert span.parent.span_id == root.context.span_id
        assert root.start_time <= span.start_time <= span.end_time <= root.end_time
        assert dict(span.attributes) == {
            "batchcore.run_id": result.run_id,
            "batchcore.seconds": result.seconds_by_phase[phase],
            "batchcore.statements": result.statements_by_phase.get(phase, 0),
            "batchcore.rows": result.rows_by_phase.get(phase, 0),
            "batchcore.bytes": result.bytes_by_phase.get(phase, 0),
        }


async def test_a_phase_lasts_from_its_first_moment_to_its_last(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter(range(100))

    def tick() -> int:
        return next(moments)

    monkeypatch.setattr(monitor, "time", SimpleNamespace(perf_counter=tick, time_ns=tick))
    seen = monitor.Monitor("run")  # at 0
    with seen.span({}):
        for _ in range(2):
            with seen.phase("load"):  # from 1 to 3, and from 5 to 7; of a span from 2 to 8
                pass

    assert seen.seconds["load"] == 2 + 2
    span = by_name(spans)["batchcore.load"]
    assert (span.start_time, span.end_time) == (2, 8)


async def test_a_run_that_stops_ends_its_spans(same_host: str, spans: InMemorySpanExporter) -> None:
    await database.fill(same_host, database.plain_host(1, DAYS[:2]))

    with pytest.raises(CoverageError):
        await run(same_host)

    found = by_name(spans)
    assert set(found) == {"batchcore.run", "batchcore.load"}
    assert found["batchcore.run"].status.status_code is StatusCode.ERROR
    assert found["batchcore.load"].attributes["batchcore.statements"] > 0


async def test_without_opentelemetry_a_run_is_the_same(
    same_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)  # importing it now fails
    await database.fill(same_host, database.plain_host(1, DAYS))

    result = await run(same_host)

    assert result.rows_written == 4


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        (["USD", "USD", "USD"], None),
        (["USD", "EUR", "USD"], "EUR, USD"),
        (["CHF", "EUR", "GBP"], "CHF, EUR, GBP"),
    ],
)
async def test_several_currencies_are_warned_of(
    same_host: str,
    caplog: pytest.LogCaptureFixture,
    stored: list[str],
    told: str | None,
) -> None:
    host = database.plain_host(3, DAYS)
    await database.fill(same_host, host)
    change = "UPDATE portfolios SET currency = $1 WHERE id = $2"
    for portfolio, currency in zip(host.portfolios, stored, strict=True):
        await database.fetch(same_host, change, currency, database.key(portfolio.id))

    result = await run(same_host)

    issues = [i for i in result.to_dict()["issues"] if i["name"] == "currencies"]
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    if told is None:
        assert issues == warned == []
        return
    (issue,) = issues
    assert (issue["portfolio"], issue["session"], issue["detail"]) == (None, None, told)
    listed = told.replace(", ", ",")
    assert warned == [f"run={result.run_id} currencies={listed}"]


async def test_only_portfolios_that_are_written_count_as_of_a_currency(same_host: str) -> None:
    host = database.plain_host(2, DAYS)
    await database.fill(same_host, host)
    await database.execute(
        same_host,
        "ALTER TABLE portfolios ALTER currency TYPE char(5)",
        "UPDATE portfolios SET currency = 'EUR', deleted_at = now() WHERE name = 'p1'",
    )
    try:
        result = await run(same_host)
    finally:
        await database.execute(same_host, "ALTER TABLE portfolios ALTER currency TYPE varchar(3)")

    assert result.rows_written == 4
    assert "currencies" not in result.issues_by_name()
