"""Metrics of a run, read as Prometheus reads them."""

import datetime as dt
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from batchcore.cli.artifact import RunRecord
from batchcore.cli.metrics import HELP, SUCCESS, metrics_text
from batchcore.errors import DatabaseError
from support.reports import replace, report

NIGHT = dt.datetime(2026, 1, 6, 23, 30, 0, 250_000, tzinfo=dt.UTC)
EARLIER = NIGHT - dt.timedelta(days=1)


def read(text: str, batch: str = "nightly") -> dict[str, float]:
    """Return the value of each series by its name and the labels that are not the batch."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert (family.type, family.documentation) == ("gauge", HELP[family.name])
        for sample in family.samples:
            assert sample.labels.pop("batch") == batch
            found["/".join([sample.name, *sample.labels.values()])] = sample.value
    return found


def test_a_run_is_told() -> None:
    result = replace(report(), sessions_behind=2)
    assert read(metrics_text("/var/lib/node/nightly.prom", {None: result}, 0, NIGHT)) == {
        SUCCESS: NIGHT.timestamp(),
        "batchcore_last_end_timestamp_seconds": NIGHT.timestamp(),
        "batchcore_exit_code": 0,
        **{f"batchcore_portfolios/{name}": 0 for name in ("lookback", "stale", "unpriced")},
        **{f"batchcore_portfolios/{name}": 1 for name in ("ok", "skipped", "failed")},
        "batchcore_rows_written": 3,
        "batchcore_phase_seconds/load": 0.25,
        "batchcore_phase_seconds/total": 1.5,
        "batchcore_hit_ratio": 0.75,
        "batchcore_coverage_ratio": 0.25,
        "batchcore_sessions_behind": 2,
    }


@pytest.mark.parametrize(("code", "succeeds"), [(0, True), (99, True), (1, False), (130, False)])
def test_a_run_that_fails_keeps_the_time_of_the_last_success(
    tmp_path: Path, code: int, *, succeeds: bool
) -> None:
    path = tmp_path / "nightly.prom"
    path.write_text(metrics_text(str(path), {None: report()}, 0, EARLIER))
    for _ in "twice":
        path.write_text(metrics_text(str(path), {}, code, NIGHT))
    found = read(path.read_text())
    assert found[SUCCESS] == (NIGHT if succeeds else EARLIER).timestamp()
    assert found["batchcore_exit_code"] == code
    assert "batchcore_rows_written" not in found  # what is not known is not 0


@pytest.mark.parametrize("before", [None, b"", b"\xff\xfe", b"other 1\n", b"%s NaN\n"])
def test_without_a_success_there_is_no_time_of_one(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "nightly.prom"
    if before is not None:
        path.write_bytes(before.replace(b"%s", SUCCESS.encode()))
    assert set(read(metrics_text(str(path), {}, 2, NIGHT))) == {
        "batchcore_last_end_timestamp_seconds",
        "batchcore_exit_code",
    }


def test_they_are_written_beside_the_document_and_named_after_their_file(tmp_path: Path) -> None:
    path, other = tmp_path / "nightly.prom", tmp_path / "artifact.json"
    record = RunRecord(["run", f"--metrics={path}", "--artifact", str(other)])
    record.leave(2, DatabaseError("no"))
    assert read(path.read_text())["batchcore_exit_code"] == 2
    assert sorted(tmp_path.iterdir()) == [other, path]
    odd = 'a "b\\c\nd'
    assert read(metrics_text(f"/x/{odd}.prom", {}, 0, NIGHT), odd)["batchcore_exit_code"] == 0
