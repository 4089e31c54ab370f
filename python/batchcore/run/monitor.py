"""Seconds and rows of the phases of a run, its log lines and OpenTelemetry spans."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchcore.run.result import BatchResult

PHASES: Final = ("load", "compute", "analytics", "persist")
"""The phases of each chunk, one after the other; those of different chunks overlap."""

SPAN: Final = "batchcore"
"""Name of the tracer, and prefix of the names of spans and of their attributes."""

log: Final = logging.getLogger("batchcore")


class Monitor:
    """Seconds and rows of the phases of one run.

    A phase is entered again for each chunk, and by several chunks at a time. Its seconds are those
    in which any chunk is in it; its span goes from its first moment to its last. `rows` counts rows
    loaded, computed and written by phase, `rows_by_load` by query.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.rows: Counter[str] = Counter()
        self.rows_by_load: Counter[str] = Counter()
        self._inside: Counter[str] = Counter()
        self._entered: dict[str, float] = {}
        self._spans: dict[str, tuple[int, int]] = {}
        self._began = time.perf_counter()

    @contextlib.contextmanager
    def phase(self, phase: str) -> Iterator[None]:
        """Count the time of the block as that of a phase."""
        began, began_ns = time.perf_counter(), time.time_ns()
        if not self._inside[phase]:
            self._entered[phase] = began
        self._inside[phase] += 1
        try:
            yield
        finally:
            self._inside[phase] -= 1
            if not self._inside[phase]:
                self.seconds[phase] += time.perf_counter() - self._entered[phase]
            first, last = self._spans.get(phase, (began_ns, began_ns))
            self._spans[phase] = (min(first, began_ns), max(last, time.time_ns()))

    def step(self, name: str, chunk: int | None = None) -> None:
        """Log that a step is done, of a chunk or of the run."""
        of_chunk = "" if chunk is None else f" chunk={chunk}"
        log.debug("run=%s step=%s%s", self.run_id, name, of_chunk)

    def loaded(self, **rows: int) -> None:
        """Count the rows that queries returned."""
        self.rows_by_load.update(rows)
        self.rows["load"] += sum(rows.values())

    def seconds_by_phase(self) -> dict[str, float]:
        """Return the seconds of each phase so far, and of the run as `total`."""
        return {**self.seconds, "total": time.perf_counter() - self._began}

    @contextlib.contextmanager
    def span(self, counts: Mapping[str, Mapping[str, int]]) -> Iterator[Any]:
        """Run under a span of OpenTelemetry, if any; phases get theirs later, with ``counts``."""
        try:
            from opentelemetry import trace  # noqa: PLC0415  # an extra
        except ImportError:
            yield None
            return
        tracer = trace.get_tracer(SPAN)
        with tracer.start_as_current_span(f"{SPAN}.run") as span:
            span.set_attribute(f"{SPAN}.run_id", self.run_id)
            try:
                yield span
            finally:
                for phase, (first, last) in self._spans.items():
                    child = tracer.start_span(f"{SPAN}.{phase}", start_time=first)
                    child.set_attribute(f"{SPAN}.run_id", self.run_id)
                    figures: dict[str, float] = {
                        "seconds": self.seconds[phase],
                        "rows": self.rows[phase],
                        **{name: one.get(phase, 0) for name, one in counts.items()},
                    }
                    for name, figure in figures.items():
                        child.set_attribute(f"{SPAN}.{name}", figure)
                    child.end(last)


def describe(span: Any, result: BatchResult) -> None:  # noqa: ANN401  # of a module that may not be there
    """Set the results of a run on its span, if it has one."""
    if span is None:
        return
    own = {"run_id": result.run_id, "policy": result.policy, **_counts(result), **_rate(result)}
    span.set_attributes({f"{SPAN}.{name}": value for name, value in own.items()})


def log_result(result: BatchResult) -> None:
    """Log a line for each phase, and one for the run, as key=value."""
    for phase in PHASES:
        _log(
            run=result.run_id,
            phase=phase,
            seconds=f"{result.seconds_by_phase[phase]:.3f}",
            statements=result.statements_by_phase.get(phase, 0),
            rows=result.rows_by_phase.get(phase, 0),
            bytes=result.bytes_by_phase.get(phase, 0),
            **(_rate(result) if phase == "compute" else {}),
        )
    seconds = f"{result.seconds_by_phase['total']:.3f}"
    _log(run=result.run_id, **_counts(result), issues=len(result.issues), seconds=seconds)


def _counts(result: BatchResult) -> dict[str, Any]:
    return {
        "portfolios": len(result.portfolios),
        "failed": result.failed,
        "sessions": len(result.sessions),
        "rows": result.rows_written,
    }


def _rate(result: BatchResult) -> dict[str, float]:
    rate = result.cache["hit_rate"]
    return {} if rate is None else {"hit_rate": round(float(rate), 6)}


def _log(**pairs: object) -> None:
    log.info("%s", " ".join(f"{key}={value}" for key, value in pairs.items()))


def peak_memory_bytes() -> int:
    """Return the peak memory of the process; 0 where the system does not report it."""
    try:
        import resource  # noqa: PLC0415  # not on every system
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
