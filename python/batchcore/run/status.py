"""Runs of the ledger, as `batchcore status` shows them."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from batchcore.arguments import checked_id
from batchcore.config import Schema, shard_text
from batchcore.db.catalog import inspect
from batchcore.db.check import check_revision
from batchcore.errors import ConfigError
from batchcore.pg.database import Database
from batchcore.pg.ledger import NEXT_CHANGED_SINCE, OUTCOME, Ledger
from batchcore.run.result import ShardResult
from batchcore.words import plain

if TYPE_CHECKING:
    from collections.abc import Sequence


MISSING: Final = "missing"
"""The state of a shard that has not begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkStatus:
    """A chunk that a run has committed.

    Attributes:
        chunk: Its number.
        attempt: The attempt that committed it.
        first_portfolio: Id of its first portfolio.
        last_portfolio: Id of its last portfolio.
        first_session: First session of its snapshots; None if it wrote none.
        last_session: Last session of its snapshots; None if it wrote none.
        sessions: Number of sessions.
        rows_written: Snapshots written.
        sha256: Of the bytes written.
        committed_at: Time of the commit.
    """

    chunk: int
    attempt: int
    first_portfolio: str
    last_portfolio: str
    first_session: dt.date | None
    last_session: dt.date | None
    sessions: int
    rows_written: int
    sha256: str
    committed_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueStatus:
    """Issues of one name that a run found for a portfolio.

    Attributes:
        portfolio: Its id.
        name: See docs/semantics.md, "Issues".
        failed: Whether the portfolio failed.
        count: Number of issues.
        symbol: Symbol of the first, if any.
        session: Session of the first, if any.
        detail: Detail of the first.
        chunk: The chunk that it was committed with, if any.
    """

    portfolio: str
    name: str
    failed: bool
    count: int
    symbol: str | None
    session: dt.date | None
    detail: str | None
    chunk: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolIssueStatus:
    """Issues of one name that an attempt of a run found for a symbol, or for no single one.

    Attributes:
        symbol: As stored; None for issues without symbol, such as `bad_rate`.
        name: See docs/semantics.md, "Issues".
        count: Number of issues.
        session: Session of the first, if any.
        detail: Detail of the first, if any.
        attempt: The attempt that found them.
    """

    symbol: str | None
    name: str
    count: int
    session: dt.date | None
    detail: str | None
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """A run of the ledger.

    Attributes:
        run_id: Its id.
        state: `running`, `stuck`, `complete`, `incomplete`, `failed`, `interrupted` or
            `superseded`, see docs/operations.md.
        asked: The options that its rows depend on.
        portfolios_asked: Number of portfolios requested; None is all.
        configuration: Its other options, host and process.
        code_version: Of batchcore.
        attempt: 1, or more for a run that was continued.
        token: The token by which its transactions may write.
        start_date: First day of its range; None continues after the latest snapshots.
        end_date: Last day; None before it is resolved.
        snapshot_id: The snapshot of the database that it read, as PostgreSQL writes it.
        lsn: The position in the log of the server at that moment.
        portfolios: Number of portfolios; None as for `end_date`.
        failed: Number of portfolios that failed.
        chunks: Number of chunks committed.
        rows_written: Snapshots written.
        seconds: Seconds of work.
        error: The error that ended it, if it failed.
        created_at: Start of its first attempt.
        started_at: Start of its latest attempt.
        ended_at: End of its latest attempt.
        beat_at: Its last heartbeat.
        expires_at: When its lease expires.
        shard: ``(k, n)`` if it is a share of a run.
        group: Of a shard, the id that it shares with the others of the night.
        next_changed_since: The `changed_since` to pass to the next correction.
        seconds_by_phase: Of its latest attempt that ended; empty before one has.
        portfolios_by_status: Likewise, `ok`, `lookback` and so on; `skipped` are those of which
            that attempt wrote nothing.
        consistent: Whether all loads of that attempt saw one snapshot of the database; for a shard
            the one held for all shards, if any. True before one has ended.
        chunks_committed: Its chunks, if requested by its id; else empty.
        issues: Issues of portfolios, if requested by its id; else empty.
        symbol_issues: Issues of symbols, if requested by its id; else empty.
    """

    run_id: str
    state: str
    asked: dict[str, Any]
    portfolios_asked: int | None
    configuration: dict[str, Any]
    code_version: str
    attempt: int
    token: int
    start_date: dt.date | None
    end_date: dt.date | None
    snapshot_id: str | None
    lsn: str | None
    portfolios: int | None
    failed: int
    chunks: int
    rows_written: int
    seconds: float
    error: str | None
    created_at: dt.datetime
    started_at: dt.datetime
    ended_at: dt.datetime | None
    beat_at: dt.datetime | None
    expires_at: dt.datetime | None
    shard: tuple[int, int] | None = None
    group: str | None = None
    next_changed_since: dt.datetime | None = None
    seconds_by_phase: dict[str, float] = field(default_factory=dict)
    portfolios_by_status: dict[str, int] = field(default_factory=dict)
    consistent: bool = True
    chunks_committed: tuple[ChunkStatus, ...] = ()
    issues: tuple[IssueStatus, ...] = ()
    symbol_issues: tuple[SymbolIssueStatus, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold: dates and times as ISO text."""
        shard = None if self.shard is None else shard_text(self.shard)
        return {**plain(asdict(self)), "shard": shard}


_DETAILS: Final = {
    "chunks_committed": ChunkStatus,
    "issues": IssueStatus,
    "symbol_issues": SymbolIssueStatus,
}


async def runs(
    db: object,
    *,
    run_id: uuid.UUID | str | None = None,
    group: uuid.UUID | str | None = None,
    limit: int = 20,
    schema: Schema | None = None,
) -> list[RunStatus]:
    """Return the latest runs, newest first, or the run or the group of an id.

    A run whose state is `running` although its lease has expired is shown as `stuck`.

    Args:
        db: Any kind of database, the caller's connections too.
        run_id: That run alone, with its chunks and the issues of its portfolios.
        group: The runs of that group alone, by number of the shard, with the same; also the id of
            a run of it. Of a shard that was run again the latest comes last.
        limit: Number of runs at most.
        schema: Where the ledger is; None is `public`.

    Raises:
        ConfigError: ``db`` is of a wrong kind, ``limit`` is not above 0, there is no such run or
            group, or both are asked for.
        SchemaError: the database was not migrated to this version.
        DatabaseError: the database refused, failed or went away.
    """
    _check_limit(limit)
    if run_id is not None and group is not None:
        raise ConfigError("a run or a group can be shown: give one of them", "group")
    kind, wanted = ("run", run_id) if group is None else ("group", group)
    own = None if wanted is None else str(checked_id(wanted, kind))
    schema = schema or Schema()
    ledger = Ledger(schema)
    async with Database(db, borrow=True).reading("load") as session:
        await check_revision(session, await inspect(session, schema))
        if own is not None and kind == "group":
            found = await ledger.group(session, own)
        else:
            found = await ledger.runs(session, limit=limit, run_id=own)
        if own is None:
            return [run_of(row) for row in found]
        if not found:
            raise ConfigError(f"there is no {kind} {own} in the ledger", kind)
        for row in found:
            details = await ledger.details(session, row["run_id"])
            for name, made in _DETAILS.items():
                row[name] = tuple(made(**_whole_seconds(one)) for one in details[name])
        return [run_of(row) for row in found]


async def runs_and_groups(db: str, *, limit: int, schema: Schema) -> list[RunStatus]:
    """Return the latest ``limit`` runs, as `runs`, and then all others of their groups."""
    _check_limit(limit)
    async with Database(db).reading("load") as session:
        await check_revision(session, await inspect(session, schema))
        return [run_of(row) for row in await Ledger(schema).runs_and_groups(session, limit=limit)]


def _check_limit(limit: int) -> None:
    if limit < 1:
        msg = f"limit is {limit}, expected 1 or more"
        raise ConfigError(msg, "limit")


def run_of(row: dict[str, Any]) -> RunStatus:
    """Return a row of `Ledger.runs` in its public form."""
    row = dict(row)
    shard = row.pop("shard"), row.pop("shards")
    asked, configuration = (json.loads(row[name]) for name in ("asked", "configuration"))
    since = configuration.pop(NEXT_CHANGED_SINCE, None)
    outcome = configuration.pop(OUTCOME, {})
    shown = {
        **{name: outcome.get(name, {}) for name in ("seconds_by_phase", "portfolios_by_status")},
        "consistent": outcome.get("consistent", True),
        "asked": asked,
        "configuration": configuration,
        "group": row.pop("group_id"),
        "shard": None if None in shard else shard,
        "seconds": float(row["seconds"]),
        NEXT_CHANGED_SINCE: None if since is None else dt.datetime.fromisoformat(since),
    }
    return RunStatus(**_whole_seconds(row) | shown)


def shard_of(*runs: RunStatus) -> ShardResult:
    """Return the end of a shard by its runs, the latest last, with the rows and seconds of all."""
    latest = runs[-1]
    return ShardResult(
        shard=latest.shard or (1, 1),
        run_id=latest.run_id,
        state=latest.state,
        error=latest.error,
        attempt=sum(run.attempt for run in runs),
        portfolios=latest.portfolios or 0,
        failed=latest.failed,
        rows_written=sum(run.rows_written for run in runs),
        consistent=latest.consistent,
        seconds=sum(run.seconds for run in runs),
    )


def latest_of_each(runs: Sequence[RunStatus]) -> list[RunStatus]:
    """Return the run of each shard that worked last, by number; one that is no shard itself."""
    ordered = sorted(runs, key=lambda run: (run.shard or (1, 1), run.token))
    return [*{run.shard: run for run in ordered}.values()]


def shards_of(runs: Sequence[RunStatus]) -> tuple[ShardResult, ...]:
    """Return the shards of a group by its runs, by number; `missing` are those not begun."""
    _, count = runs[0].shard or (1, 1)
    shards = []
    for number in range(1, count + 1):
        own = [run for run in runs if (run.shard or (1, 1))[0] == number]
        if own:
            shards.append(shard_of(*sorted(own, key=lambda run: run.token)))
        else:
            shards.append(ShardResult(shard=(number, count), state=MISSING, attempt=0))
    return tuple(shards)


def _whole_seconds(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.replace(microsecond=0) if isinstance(value, dt.datetime) else value
        for name, value in row.items()
    }
