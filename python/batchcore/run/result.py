"""The report of a run: columnar, and a mapping with the keys of the plan."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from batchcore import arrow, policies
from batchcore.calendar import iso_of
from batchcore.config import PRICE_LOW, Schema, shard_text
from batchcore.frames import ArrowFrame, Frame, among, arrow_column, distinct
from batchcore.units import Mark, State
from batchcore.words import counted

if TYPE_CHECKING:
    from batchcore.arrow import ArrowColumn
    from batchcore.frames import Bools, Bytes, Days, Floats, Ids, Int32, Int64, Issues, UInt32
    from batchcore.run.issues import Shared
    from batchcore.sources.changes import Stamps

STATUSES: Final = ("ok", "lookback", "stale", "unpriced", "skipped", "failed")
"""By code: the worst mark of the sessions written, or why not all were written."""

EPOCH: Final = dt.datetime.fromtimestamp(0, dt.UTC)

SKIPPED: Final = STATUSES.index("skipped")
FAILED: Final = STATUSES.index("failed")


class PortfolioResults(ArrowFrame):
    """One row for each portfolio of the run, sorted by id.

    Attributes:
        id: (n, 16) uint8.
        status: (n,) uint8, a row of `STATUSES`.
        sessions_planned: (n,) int32 sessions to write.
        sessions_written: (n,) int32.
    """

    id: Ids
    status: Bytes
    sessions_planned: Int32
    sessions_written: Int32

    def _arrow_columns(self) -> Mapping[str, ArrowColumn]:
        columns = {name: arrow_column(getattr(self, name)) for name in self._columns()}
        return columns | {"status": arrow.coded(self.status, STATUSES)}


class Coverage(Frame):
    """Coverage of the sessions that were checked (S12).

    Attributes:
        session: (s,) int32.
        fresh: (s,) uint32 symbols with a valid close on the session.
        recent: (s,) uint32 symbols with one on it or in the lookback before.
        known: (s,) uint32 symbols with one on it or ever before.
    """

    session: Int32
    fresh: UInt32
    recent: UInt32
    known: UInt32

    def share(self) -> Floats:
        """Return ``fresh / recent`` of each session; without either 0, or 1 if none is known."""
        share: Floats = self.fresh / np.maximum(self.recent, 1)
        return np.where(self.known == 0, 1.0, share)

    def counts_text(self, row: int) -> str:
        """Return the counts of a session in words."""
        fresh, recent, known = int(self.fresh[row]), int(self.recent[row]), int(self.known[row])
        if recent == 0 and known > 0:
            return f"none of {counted(known, 'symbol')} has a close on it or in the lookback before"
        have = "has" if 1 in (fresh, recent) else "have"
        return f"{fresh} of {counted(recent, 'symbol')} {have} a close"


class Differences(Frame):
    """Portfolios whose stored rows differ from the computed ones: one row for each.

    Attributes:
        portfolio: (k,) int32 row of the portfolios of the run.
        first: (k,) the first session that differs; NULL where `portfolios.equity_balance` alone
            does.
        rows: (k,) int64 snapshots to write, from that session.
        cells: (k,) int64 cells that differ; a session without a complete snapshot counts with all
            compared cells.
    """

    portfolio: Int32
    first: Days
    rows: Int64
    cells: Int64


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardResult:
    """The end of a shard, in the report of several.

    Attributes:
        shard: ``(k, n)``.
        run_id: Id of its run; None if it had not begun.
        state: As in the ledger.
        error: The error that ended it early, or None.
        attempt: Attempt of its run.
        portfolios: Number of its portfolios.
        failed: Number of them that failed.
        rows_written: Snapshots written.
        consistent: Whether it saw one snapshot of the database, that of all shards.
        seconds: Total time.
    """

    shard: tuple[int, int]
    run_id: str | None = None
    state: str = "failed"
    error: str | None = None
    attempt: int = 1
    portfolios: int = 0
    failed: int = 0
    rows_written: int = 0
    consistent: bool = True
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return it as a value for JSON."""
        return asdict(self) | {"shard": shard_text(self.shard), "seconds": round(self.seconds, 6)}


def _no_days() -> Int32:
    return np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class BatchResult(Mapping[str, Any]):
    """The report of a run.

    It is also a mapping with the keys `success`, `portfolios_processed`, `snapshots_created`,
    `errors`, `cache_stats` and `duration_seconds`.

    Attributes:
        run_id: The run's id, as in log lines and the ledger.
        policy: As requested.
        dry_run: Whether the run stopped before anything was computed.
        portfolios: One row for each portfolio, sorted by id.
        issues: The issues; `portfolio` is a row of `portfolios`, -1 for none.
        sessions: (s,) int32 sessions that some portfolio wrote, or would write after a dry run.
        sessions_left_out: (k,) int32 dates of the range that are not sessions.
        rows_written: Snapshots written.
        statements_by_phase: SELECT, COPY, INSERT, UPDATE and DELETE statements caused.
        seconds_by_phase: `load`, `compute`, `analytics`, `persist`, `total`; phases overlap.
        rows_by_load: Rows that each query returned, `prices` and so on.
        bytes_written: Bytes of COPY sent.
        cache: Marks of all lots and sessions by status, hits, misses and `hit_rate` (S4).
        coverage: Of each session that was checked (S12).
        peak_memory_bytes: Peak memory of the process; 0 where the system does not report it.
        consistent: Whether every load saw one snapshot of the database; false after a retry.
        chunks: Chunks committed; on a caller's connection, chunks written.
        rows_by_phase: Rows loaded, computed and written.
        bytes_by_phase: Bytes of COPY received and sent.
        analytics: As requested.
        analytics_off: Part of the analytics -> why it was not computed although requested.
        names: Of the portfolios, under the policy `legacy`; else empty.
        rounded: ``table.column`` of docs/schema.md -> number of doubles read that had more decimals
            than its scale; one that is read twice counts twice.
        retries: Number of times a chunk was tried again after a conflict with others.
        attempt: 1, or more for a run that was continued.
        shard: ``(k, n)`` if it was a share of a run.
        group: Of a shard, the id that it shares in the ledger with the other shards of the night.
        differences: Portfolios that a repair found to differ; None of a run.
        stamps: Of a plan: for each table with `updated_at` whether a trigger keeps it, and how
            many rows of a sample were touched in the last 24 hours.
        resumed: The report of the earlier run that the call finished first, or None.
        state: `complete`, `incomplete`, `failed` or `interrupted`, as in the ledger; `of_error`
            returns the report of the last two.
        error: Type and text of the error that ended it early, or None.
        started_at: When it began, by the clock of the client, as all its seconds are.
        ended_at: When it ended.
        min_coverage: As requested (S12).
        sessions_behind: Number of closed sessions after the latest snapshot of the portfolio
            furthest behind; None if not known.
        schema: Names of the host's tables.
        shared: Facts about symbols behind the last of `issues`, which the report of several shards
            adds up.
        shards: In the report of several shards, the end of each. Then `run_id` is their group,
            `attempt` the highest, counts and `peak_memory_bytes` are sums, and seconds, of each
            phase too, those of the slowest, without the start of its process.
        snapshot_seconds: Likewise, how long the snapshot that all of them read was held, and held
            vacuum back; None where each had its own.
    """

    run_id: str
    policy: str
    dry_run: bool
    portfolios: PortfolioResults = field(default_factory=PortfolioResults.none)
    issues: Issues
    sessions: Int32 = field(default_factory=_no_days)
    sessions_left_out: Int32 = field(default_factory=_no_days)
    rows_written: int = 0
    statements_by_phase: Mapping[str, int]
    seconds_by_phase: Mapping[str, float]
    rows_by_load: Mapping[str, int]
    bytes_written: int = 0
    cache: Mapping[str, Any] = field(default_factory=lambda: cache_stats(np.zeros(4, np.int64)))
    coverage: Coverage = field(default_factory=Coverage.none)
    peak_memory_bytes: int
    consistent: bool
    chunks: int = 0
    rows_by_phase: Mapping[str, int] = field(default_factory=dict)
    bytes_by_phase: Mapping[str, int] = field(default_factory=dict)
    analytics: str = "none"
    analytics_off: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str | None, ...] = ()
    rounded: Mapping[str, int] = field(default_factory=dict)
    retries: int = 0
    attempt: int = 1
    shard: tuple[int, int] | None = None
    group: str | None = None
    differences: Differences | None = None
    stamps: tuple[Stamps, ...] = ()
    resumed: BatchResult | None = None
    state: str = "complete"
    error: str | None = None
    started_at: dt.datetime = EPOCH
    ended_at: dt.datetime = EPOCH
    min_coverage: float = 0.0
    sessions_behind: int | None = None
    schema: Schema = field(default_factory=Schema)
    shared: Shared | None = None
    shards: tuple[ShardResult, ...] = ()
    snapshot_seconds: float | None = None

    @classmethod
    def of_error(cls, error: BaseException) -> BatchResult | None:
        """Return the report of a run until an error or its cancellation ended it.

        None if the run had not begun, for instance because an argument is wrong. Portfolios that it
        did not reach count as skipped. Work committed while the error was raised may be missing.
        """
        return cast("BatchResult | None", kept(error, KEPT))

    def to_openlineage(
        self,
        *,
        namespace: str = "batchcore",
        database: str | None = None,
        producer: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return the run's events for OpenLineage, as what JSON can hold.

        First START, then COMPLETE, FAIL or ABORT, and before them those of the run that was
        finished first. The caller sends them.

        Args:
            namespace: Of the job, whose name is `batchcore.run` or `batchcore.repair`.
            database: Namespace of the tables in the form of OpenLineage,
                ``postgres://host:port/name``; None names them by schema and table alone, in the
                namespace of the job.
            producer: A URI of the code that emits the events; None is this version.

        Raises:
            ConfigError: the report is of a dry run, which is not a run, or ``database`` has another
                form.
        """
        from batchcore.run.openlineage import events  # noqa: PLC0415  # only for those who ask

        return events(self, namespace=namespace, database=database, producer=producer)

    @property
    def failed(self) -> int:
        """Number of portfolios that failed."""
        return int((self.portfolios.status == FAILED).sum())

    @property
    def nothing_to_do(self) -> bool:
        """Whether there was nothing to write for any portfolio."""
        return len(self.sessions) == 0 and not self.differences

    def issues_by_name(self) -> dict[str, int]:
        """Return how many issues of each name there are, by name."""
        return dict(sorted(Counter(map(str, self.issues.name.texts())).items()))

    def subjects_by_issue(self) -> dict[str, list[str]]:
        """Return the subjects of each name of issues, each once and in order.

        Subjects are symbols; for issues without portfolio and symbol, such as `bad_rate`, their
        details.
        """
        issues = self.issues
        shared = issues.take((issues.portfolio < 0) & (issues.symbol.state != State.VALUE))
        texts = _by_name(shared, [text or None for text in shared.detail.texts()])
        return texts | self.symbols_by_issue()

    def symbols_by_issue(self) -> dict[str, list[str]]:
        """Return the symbols of each name of issues that has any, each once and in order."""
        named = self.issues.take(self.issues.symbol.state == State.VALUE)
        return _by_name(named, named.symbol.texts())

    def errors(self) -> list[str]:
        """Return one line for each failed portfolio, or day if the policy fails single days."""
        by_day = policies.entry(self.policy).failures_by_day
        if by_day:
            owners = zip(self.issues.portfolio.tolist(), self.issues.name.texts(), strict=True)
            return [
                f"{self.names[owner]}: Failed to create snapshot"
                for owner, name in owners
                if name in by_day
            ]
        own = causes(self.issues, self.portfolios.status == FAILED, policies.FAILURES)
        return [
            f"{one['portfolio']}: {one['name']} {one['detail']} on {one['session']}"
            for one in issue_dicts(with_changes(self, issues=own))
        ]

    def __repr__(self) -> str:
        """Return a short text, as `asyncio.run` calls it and writing out arrays would take long."""
        return (
            f"BatchResult(run_id={self.run_id!r}, policy={self.policy!r},"
            f" portfolios={len(self.portfolios)}, failed={self.failed},"
            f" rows_written={self.rows_written}, issues={len(self.issues)})"
        )

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401  # each key has its own type
        """Return the value of one of the plan's keys."""
        return _VALUES[key](self)

    def __iter__(self) -> Iterator[str]:
        """Return the plan's keys."""
        return iter(_VALUES)

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(_VALUES)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: Callable[[Any], Any]) -> Any:  # noqa: ANN401  # pydantic's
        """Return the schema of a mapping, for pydantic and so for FastAPI."""
        return handler(dict[str, Any])

    def to_dict(self) -> dict[str, Any]:
        """Return the report as what JSON can hold: columns as lists, dates as ISO text."""
        share = self.coverage.share()
        return {
            "run_id": self.run_id,
            "policy": self.policy,
            "dry_run": self.dry_run,
            "success": self["success"],
            "portfolios_processed": self["portfolios_processed"],
            "portfolios_failed": self.failed,
            "rows_written": self.rows_written,
            "bytes_written": self.bytes_written,
            "chunks": self.chunks,
            "sessions": [iso_of(day) for day in self.sessions.tolist()],
            "sessions_left_out": [iso_of(day) for day in self.sessions_left_out.tolist()],
            "portfolios": {
                "id": _texts_of(self.portfolios.id),
                "status": [STATUSES[code] for code in self.portfolios.status.tolist()],
                "sessions_planned": self.portfolios.sessions_planned.tolist(),
                "sessions_written": self.portfolios.sessions_written.tolist(),
            },
            "issues": issue_dicts(self),
            "statements_by_phase": dict(self.statements_by_phase),
            "statements": sum(self.statements_by_phase.values()),
            "seconds_by_phase": {k: round(v, 6) for k, v in self.seconds_by_phase.items()},
            "rows_by_load": dict(self.rows_by_load),
            "rows_by_phase": dict(self.rows_by_phase),
            "bytes_by_phase": dict(self.bytes_by_phase),
            "cache": dict(self.cache),
            "coverage": {
                iso_of(day): round(float(share[row]), 6)
                for row, day in enumerate(self.coverage.session.tolist())
            },
            "analytics": self.analytics,
            "analytics_off": dict(self.analytics_off),
            "rounded": dict(self.rounded),
            "peak_memory_bytes": self.peak_memory_bytes,
            "consistent": self.consistent,
            "retries": self.retries,
            "attempt": self.attempt,
            "shard": None if self.shard is None else shard_text(self.shard),
            "group": self.group,
            "shards": [one.to_dict() for one in self.shards],
            "snapshot_seconds": self.snapshot_seconds,
            "differences": _difference_dicts(self),
            "resumed": None if self.resumed is None else self.resumed.to_dict(),
        }


# It is a mapping: FastAPI would encode all fields of a dataclass, arrays among them.
del BatchResult.__dataclass_fields__

KEPT: Final = "batchcore_result"
"""The attribute of an exception that holds the report of the run that it ended."""

_VALUES: Final[Mapping[str, Callable[[BatchResult], Any]]] = {
    "success": lambda result: result.failed == 0 and result.error is None,
    "portfolios_processed": lambda result: int((result.portfolios.status < SKIPPED).sum()),
    "snapshots_created": lambda result: result.rows_written,
    "errors": BatchResult.errors,
    "cache_stats": lambda result: dict(result.cache),
    "duration_seconds": lambda result: result.seconds_by_phase["total"],
}
"""Keys of the report as a mapping."""

NO_CLOSE: Final = "no close at all"
"""The end of the detail of a symbol without any valid close, in a plan."""


def with_changes(result: BatchResult, **changes: Any) -> BatchResult:  # noqa: ANN401  # of fields
    """Return a report with some fields replaced."""
    return BatchResult(**(vars(result) | changes))


def keep_with(error: BaseException, result: BatchResult) -> None:
    """Let `BatchResult.of_error` find the report of a run that an error ended."""
    vars(error)[KEPT] = result


def kept(error: BaseException, name: str) -> object:
    """Return an attribute of an error, or of one that caused it; None without it."""
    seen: BaseException | None = error
    while seen is not None:
        if (found := vars(seen).get(name)) is not None:
            return found
        seen = seen.__cause__ or seen.__context__
    return None


def causes(issues: Issues, failed: Bools, names: Collection[str]) -> Issues:
    """Return the issues by which portfolios failed: those with one of the names, and a session."""
    own = (issues.portfolio >= 0) & (issues.day.state == State.VALUE)
    own[own] = failed[issues.portfolio[own]]
    found = issues.take(own)
    texts = found.name.texts()
    # which is also reported for portfolios that fail for another reason
    is_low = np.array([name == PRICE_LOW for name in texts], dtype=np.bool_)
    counts = np.array([name in names for name in texts], dtype=np.bool_)
    otherwise = among(found.portfolio, found.portfolio[counts & ~is_low])
    return found.take(counts & ~(is_low & otherwise))


def _by_name(issues: Issues, texts: Sequence[str | None]) -> dict[str, list[str]]:
    """Return the texts of each name of issues that has any, each once and in order."""
    found: dict[str, list[str]] = {}
    for name, text in dict.fromkeys(zip(issues.name.texts(), texts, strict=True)):
        if text is not None:
            found.setdefault(str(name), []).append(text)
    return found


def issue_dicts(result: BatchResult) -> list[dict[str, str | None]]:
    """Return the issues for JSON; None where one has no portfolio, symbol or day."""
    issues = result.issues
    portfolios = distinct(issues.portfolio)
    portfolios = portfolios[portfolios >= 0]  # -1 is of none
    ids = dict(zip(portfolios.tolist(), _texts_of(result.portfolios.id[portfolios]), strict=True))
    dated = np.where(issues.day.state == State.VALUE, issues.day.values, 0)
    days = {day: iso_of(day) for day in distinct(dated).tolist()}
    return [
        {
            "name": name,
            "portfolio": ids.get(portfolio),
            "symbol": symbol if of_symbol == State.VALUE else None,
            "session": days[day] if of_day == State.VALUE else None,
            "detail": detail,
        }
        for name, portfolio, symbol, of_symbol, day, of_day, detail in zip(
            issues.name.texts(),
            issues.portfolio.tolist(),
            issues.symbol.texts(),
            issues.symbol.state.tolist(),
            dated.tolist(),
            issues.day.state.tolist(),
            issues.detail.texts(),
            strict=True,
        )
    ]


def _texts_of(ids: Ids) -> list[str]:
    """Return ids of (n, 16) uint8 as text."""
    text = ids.tobytes().hex()
    return [
        f"{text[at : at + 8]}-{text[at + 8 : at + 12]}-{text[at + 12 : at + 16]}"
        f"-{text[at + 16 : at + 20]}-{text[at + 20 : at + 32]}"
        for at in range(0, len(text), 32)
    ]


def joined_differences(parts: Sequence[Differences]) -> Differences:
    """Return the differences found in the chunks of a repair, sorted by portfolio."""
    found = Differences.concat([Differences.none(), *parts])
    return found.take(np.argsort(found.portfolio))


def _difference_dicts(result: BatchResult) -> list[dict[str, Any]] | None:
    found = result.differences
    if found is None:
        return None
    return [
        {
            "portfolio": _texts_of(result.portfolios.id[portfolio])[0],
            "first_session": iso_of(int(found.first.values[row]))
            if found.first.state[row] == State.VALUE
            else None,
            "rows": int(found.rows[row]),
            "cells": int(found.cells[row]),
        }
        for row, portfolio in enumerate(found.portfolio.tolist())
    ]


def status_counts(status: Bytes) -> dict[str, int]:
    """Return the number of portfolios by status; empty without any portfolio."""
    counts = np.bincount(status, minlength=len(STATUSES)).tolist()
    return dict(zip(STATUSES, counts, strict=True)) if len(status) else {}


def cache_stats(marks: Int64) -> dict[str, Any]:
    """Return counts and hit rate of (4,) marks, by `units.Mark`: fresh and lookback hit (S4)."""
    fresh, lookback, stale, unpriced = (int(marks[status]) for status in Mark)
    hits, misses = fresh + lookback, stale + unpriced
    return {
        "fresh": fresh,
        "lookback_hits": lookback,
        "stale": stale,
        "unpriced": unpriced,
        "hits": hits,
        "misses": misses,
        "hit_rate": hits / (hits + misses) if hits + misses else None,
    }
