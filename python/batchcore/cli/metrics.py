"""Metrics of a run, for the textfile collector of Prometheus's node exporter.

The text is written by hand: it is a dozen gauges, and whoever forgot to install an extra for it
would lose the alert that the batch did not run. A test parses it with prometheus_client.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from batchcore.cli.exits import DONE, NOTHING_TO_DO

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping

    from batchcore.run.result import BatchResult

SUCCESS: Final = "batchcore_last_success_timestamp_seconds"

HELP: Final[Mapping[str, str]] = {
    SUCCESS: "When a run last ended with exit code 0 or 99.",
    "batchcore_last_end_timestamp_seconds": "When the last run ended.",
    "batchcore_exit_code": "Exit code of the last run.",
    "batchcore_portfolios": "Portfolios of the last run, by status.",
    "batchcore_rows_written": "Snapshots that the last run wrote.",
    "batchcore_phase_seconds": "Seconds of the last run, by phase; phases overlap.",
    "batchcore_hit_ratio": "Share of marks of the last run that were fresh or by lookback.",
    "batchcore_coverage_ratio": "Least share of symbols with a close on a session of the last run.",
    "batchcore_sessions_behind": "Closed sessions that the portfolio furthest behind lacks.",
}
"""The metrics, all gauges, and their help texts."""

_BEFORE: Final = re.compile(rf"^{SUCCESS}(?:\{{[^\n]*\}})? (\d+(?:\.\d+)?)$", re.MULTILINE)

Sample = tuple[str, dict[str, str], float]


def metrics_text(
    path: str, results: Mapping[str | None, BatchResult], code: int, now: dt.datetime
) -> str:
    """Return the metrics of a run, on one database or by the names of several.

    A run that does not succeed takes the time of the last success from the file at the path. Its
    name is a label, so that the files of two batches on one machine share no series.
    """
    batch = Path(path).stem
    lines = []
    previous = ""
    samples: list[Sample] = []
    success = now.timestamp() if code in {DONE, NOTHING_TO_DO} else _success_before(path)
    if success is not None:
        samples.append((SUCCESS, {}, success))
    samples.append(("batchcore_last_end_timestamp_seconds", {}, now.timestamp()))
    samples.append(("batchcore_exit_code", {}, code))
    for database, result in results.items():
        own = {} if database is None else {"database": database}
        samples += [(name, {**own, **labels}, value) for name, labels, value in _samples(result)]
    for name, labels, value in sorted(samples, key=lambda one: [*HELP].index(one[0])):
        if name != previous:
            lines += [f"# HELP {name} {HELP[name]}", f"# TYPE {name} gauge"]
            previous = name
        named = ",".join(
            f'{label}="{_escaped(text)}"' for label, text in {"batch": batch, **labels}.items()
        )
        lines.append(f"{name}{{{named}}} {value:.15g}")
    return "\n".join(lines) + "\n"


def _samples(result: BatchResult) -> Iterator[Sample]:
    from batchcore.run.result import STATUSES  # noqa: PLC0415  # brings NumPy

    for number, status in enumerate(STATUSES):
        count = int((result.portfolios.status == number).sum())
        yield "batchcore_portfolios", {"status": status}, count
    yield "batchcore_rows_written", {}, result.rows_written
    for phase, seconds in result.seconds_by_phase.items():
        yield "batchcore_phase_seconds", {"phase": phase}, seconds
    if (rate := result.cache["hit_rate"]) is not None:
        yield "batchcore_hit_ratio", {}, rate
    if len(result.coverage):
        yield "batchcore_coverage_ratio", {}, float(result.coverage.share().min())
    if result.sessions_behind is not None:
        yield "batchcore_sessions_behind", {}, result.sessions_behind


def _success_before(path: str) -> float | None:
    """Return the time of the last success in a file."""
    try:
        found = _BEFORE.search(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # there is none yet, or it is not text
        return None
    return None if found is None else float(found[1])


def _escaped(text: str) -> str:
    """Return the quoted value of a label."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
