"""What a run tells of itself: log lines, figures, spans, warnings; and if it ends early."""

import asyncio
import datetime as dt
import json
import logging
import pickle
import sys
from dataclasses import replace
from types import SimpleNamespace

import asyncpg
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from tblib import pickling_support

import batchcore
from batchcore import BatchResult
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.errors import (
    BatchcoreError,
    ConfigError,
    CoverageError,
    DatabaseError,
)
from batchcore.run import monitor
from support import database
from support.generate import MONDAY
from support.runs import run_days

DAYS = tuple(range(MONDAY, MONDAY + 4))
HOST = database.plain_host(3, DAYS)
PHASES = ("load", "compute", "analytics", "persist")


async def run(url: str, analytics: str = "none", **settings) -> batchcore.BatchResult:
    return await run_days(
        url, DAYS[0], DAYS[-1], analytics=analytics, settings=Settings(**settings)
    )


def pairs(line: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in line.split(" "))


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


async def test_each_phase_is_one_line_of_pairs_and_a_span(
    same_filled: str, caplog: pytest.LogCaptureFixture, spans: InMemorySpanExporter
) -> None:
    with caplog.at_level(logging.INFO, "batchcore"):
        result = await run(same_filled, "portfolio", chunk_size=1)

    lines = [pairs(record.getMessage()) for record in caplog.records]
    assert {line["run"] for line in lines} == {result.run_id}
    by_phase = {line["phase"]: line for line in lines if "seconds" in line and "phase" in line}
    assert tuple(by_phase) == PHASES
    found = by_name(spans)
    root = found.pop("batchcore.run")
    assert set(found) == {f"batchcore.{phase}" for phase in PHASES}
    for phase, line in by_phase.items():
        counts = {
            "statements": result.statements_by_phase.get(phase, 0),
            "rows": result.rows_by_phase.get(phase, 0),
            "bytes": result.bytes_by_phase.get(phase, 0),
        }
        assert {name: int(line[name]) for name in counts} == counts
        assert float(line["seconds"]) == pytest.approx(result.seconds_by_phase[phase], abs=1e-3)
        span = found[f"batchcore.{phase}"]
        assert span.parent.span_id == root.context.span_id
        assert root.start_time <= span.start_time <= span.end_time <= root.end_time
        assert dict(span.attributes) == {
            "batchcore.run_id": result.run_id,
            "batchcore.seconds": result.seconds_by_phase[phase],
            **{f"batchcore.{name}": count for name, count in counts.items()},
        }
    # closes of three of the four sessions' symbols are those of the day: all are hits
    assert [phase for phase, line in by_phase.items() if "hit_rate" in line] == ["compute"]
    assert float(by_phase["compute"]["hit_rate"]) == 1.0
    (whole,) = [line for line in lines if "portfolios" in line]
    assert (whole["portfolios"], whole["rows"], whole["failed"]) == ("3", "12", "0")
    assert dict(root.attributes) == {
        "batchcore.run_id": result.run_id,
        "batchcore.policy": "rollforward",
        "batchcore.portfolios": 3,
        "batchcore.failed": 0,
        "batchcore.sessions": 4,
        "batchcore.rows": 12,
        "batchcore.hit_rate": 1.0,
    }


async def test_the_fallback_is_told_in_one_line(
    same_host: str, caplog: pytest.LogCaptureFixture
) -> None:
    plain = database.plain_host(1, DAYS)
    held = plain.portfolios[0].positions[0]
    lots = tuple(replace(held, symbol=symbol) for symbol in ("AAA", "OLD", "LOST"))
    one = replace(plain.portfolios[0], positions=lots)
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
    assert found["batchcore.run"].status.description.startswith("CoverageError: price coverage on ")
    (event,) = found["batchcore.run"].events
    assert event.attributes["exception.type"].rsplit(".")[-1] == "CoverageError"  # older: no module
    assert found["batchcore.load"].attributes["batchcore.statements"] > 0


async def test_without_opentelemetry_a_run_is_the_same(
    same_filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)  # importing it now fails
    result = await run(same_filled)

    assert result.rows_written == 12


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        (["USD", "USD", "USD"], None),
        (["USD", "EUR", "USD"], "EUR, USD"),
        (["CHF", "EUR", "GBP"], "CHF, EUR, GBP"),
    ],
)
async def test_several_currencies_are_warned_of(
    same_filled: str,
    caplog: pytest.LogCaptureFixture,
    stored: list[str],
    told: str | None,
) -> None:
    change = "UPDATE portfolios SET currency = $1 WHERE id = $2"
    for portfolio, currency in zip(HOST.portfolios, stored, strict=True):
        await database.fetch(same_filled, change, currency, database.key(portfolio.id))

    result = await run(same_filled)

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


def reported(error: BaseException) -> BatchResult:
    found = BatchResult.of_error(error)
    assert found is not None
    return found


async def test_prices_that_have_not_arrived(same_host: str) -> None:
    prices = tuple(one for one in HOST.prices if one[1] != DAYS[2])
    await database.fill(same_host, replace(HOST, prices=prices))
    with pytest.raises(CoverageError) as caught:
        await run_days(same_host, DAYS[0], DAYS[-1], calendar="XNYS")
    result = reported(caught.value)
    assert (result.state, result["success"], result.rows_written) == ("failed", False, 0)
    assert result.error.startswith(f"CoverageError: price coverage on {date_of(DAYS[2])} is 0.0%")
    shares = dict(
        zip(result.coverage.session.tolist(), result.coverage.share().tolist(), strict=True)
    )
    assert (shares[DAYS[0]], shares[DAYS[2]]) == (1.0, 0.0)
    assert result.min_coverage == 0.5
    assert len(result.portfolios) == 3
    (kept,) = await batchcore.runs(same_host)
    assert (kept.run_id, kept.state, kept.error) == (result.run_id, result.state, result.error)
    assert [one["eventType"] for one in result.to_openlineage()] == ["START", "FAIL"]
    assert pickle.loads(pickle.dumps(result)).to_dict() == result.to_dict()  # noqa: S301


async def test_chunks_that_were_committed_are_in_it(same_filled: str) -> None:
    committed = asyncio.Event()

    def progress(phase: str, done: int, _total: int) -> None:
        if phase == "persist" and done:
            committed.set()

    options = {"settings": Settings(chunk_size=1), "progress": progress}
    task = asyncio.create_task(run_days(same_filled, DAYS[0], DAYS[-1], **options))
    await committed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    result = reported(caught.value)
    assert (result.state, result.error) == ("interrupted", "CancelledError")
    (kept,) = await batchcore.runs(same_filled)
    assert 4 <= result.rows_written <= kept.rows_written
    assert result.started_at <= result.ended_at
    assert [one["eventType"] for one in result.to_openlineage()][-1] == "ABORT"


async def test_on_a_connection_of_the_caller(same_host: str) -> None:
    await database.fill(same_host, database.plain_host(2, DAYS))
    connection = await asyncpg.connect(same_host)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("ALTER TABLE portfolio_snapshots DROP COLUMN net_exposure")
        calculator = batchcore.PnLCalculator(db=connection, calendar="daily")
        with pytest.raises(BatchcoreError) as caught:
            await calculator.calculate_all_portfolios_pnl(date_of(DAYS[0]))
        await transaction.rollback()
    finally:
        await connection.close()
    result = reported(caught.value)
    assert (result.state, len(result.portfolios), result.sessions_behind) == ("failed", 0, None)


async def test_without_a_server() -> None:
    pickling_support.install()  # as distributed does: causes and contexts are pickled too
    with pytest.raises(DatabaseError) as caught:
        await batchcore.run_batch("postgresql://x@127.0.0.1:1/none")
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  # made in this line
    assert reported(again).to_dict()["run_id"] == reported(caught.value).run_id


async def test_a_wrong_argument_is_no_run() -> None:
    with pytest.raises(ConfigError) as caught:
        await batchcore.run_batch("postgresql://x@127.0.0.1:1/none", policy="x")
    assert BatchResult.of_error(caught.value) is None


async def test_how_far_behind_a_run_leaves_its_portfolios(same_filled: str) -> None:
    today = Settings(today=date_of(DAYS[3]))
    plan = Settings(today=date_of(DAYS[3]), dry_run=True)
    first = await run_days(same_filled, DAYS[0], DAYS[0], settings=plan)
    assert first.sessions_behind is None  # as there is no snapshot
    first = await run_days(same_filled, DAYS[0], DAYS[0], settings=today)
    assert first.sessions_behind == 3
    own = {"calendar": "daily", "analytics": "none"}
    planned = await batchcore.run_batch(same_filled, settings=plan, **own)
    assert planned.sessions_behind == 3
    alone = [str(database.key("p1"))]
    some = await batchcore.run_batch(
        same_filled, None, date_of(DAYS[2]), alone, settings=today, **own
    )
    assert some.sessions_behind == 1
    last = await batchcore.run_batch(same_filled, settings=today, **own)
    assert (last.sessions_behind, last.state) == (0, "complete")
    assert last.started_at.tzinfo is dt.UTC
