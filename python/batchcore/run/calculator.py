"""The entry points of an existing orchestrator: one date at a time, or a sequence of sessions."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from batchcore.db.engine import Database
from batchcore.errors import ConfigError
from batchcore.run.orchestrator import Run, connections_needed, run_batch
from batchcore.run.request import make_request

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from batchcore.config import Settings
    from batchcore.run.orchestrator import Progress
    from batchcore.run.prices import PriceSource
    from batchcore.run.result import BatchResult
    from batchcore.run.snapshots import SnapshotSource


class PnLCalculator:
    """Values all portfolios on one date, on whatever connection the caller has."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        policy: str = "rollforward",
        calendar: str = "XNYS",
        on_existing: str = "skip",
        analytics: str = "portfolio",
        beta_weights: str = "market_value",
    ) -> None:
        """Take what all dates share.

        Args:
            settings: As in `run_batch`.
            policy: As in `run_batch`.
            calendar: As in `run_batch`.
            on_existing: As in `run_batch`.
            analytics: As in `run_batch`.
            beta_weights: As in `run_batch`.

        Raises:
            ConfigError: an option is wrong.
        """
        self._make = partial(
            make_request,
            policy=policy,
            calendar=calendar,
            on_existing=on_existing,
            missing=False,
            analytics=analytics,
            beta_weights=beta_weights,
            settings=settings,
        )
        self._make(None, None, None)  # raises while the caller's own line is at fault

    async def calculate_all_portfolios_pnl(
        self,
        calculation_date: dt.date,
        db: object,
        portfolio_ids: Sequence[uuid.UUID | str] | None = None,
        price_cache: PriceSource | None = None,
        snapshot_cache: SnapshotSource | None = None,
    ) -> BatchResult:
        """Value portfolios on one date and write their snapshots.

        On connections of its own it is a run of one session: each chunk is committed. On a
        connection or session of the caller's, everything is read and written in the caller's
        transaction, under one SAVEPOINT: rows flushed but not yet committed are seen, nothing is
        committed, and an error undoes only what this call did.

        Args:
            calculation_date: The session; on a date that is none there is nothing to do.
            db: A database URL, an `asyncpg.Pool`, an SQLAlchemy `AsyncEngine`; or an
                `AsyncSession`, an `AsyncConnection` or an `asyncpg.Connection` in a transaction.
            portfolio_ids: Which portfolios; None is all that are not soft-deleted.
            price_cache: Closes that count before those stored. Of the symbols that it covers from
                the snapshots before the date on, only older closes are read.
            snapshot_cache: Snapshots before the date that count before those stored, where no
                later one is stored.

        Returns:
            The report; `consistent` is False where the caller's transaction is READ COMMITTED.

        Raises:
            ConfigError: an argument is wrong, or the caller's connection is in no transaction.
            SchemaError: the database is not one that batchcore can work on.
            CoverageError: the prices of the session have not arrived (S12); nothing was written.
            SnapshotExistsError: ``on_existing="error"`` and there is one; nothing was written.
            LeaseHeldError: another run works on some of the portfolios, or took over.
            TooManyFailedError: more portfolios failed than may.
            DatabaseError: the database refused, failed or went away.
        """
        if type(calculation_date) is not dt.date:  # None would be the whole way from what is there
            msg = f"calculation_date is {calculation_date!r}, expected a datetime.date"
            raise ConfigError(msg, "calculation_date")
        request = replace(
            self._make(calculation_date, calculation_date, portfolio_ids),
            price_source=price_cache,
            snapshot_source=snapshot_cache,
        )
        database = Database(db, borrow=True)
        database.require(connections_needed(request.settings))
        return await Run(database, request).run()


class BatchOrchestrator:
    """Runs over sessions in a sequence, with the same options each time.

    Nothing is kept from one run to the next: each reads prices, profiles and snapshots anew.
    """

    def __init__(
        self,
        db: object,
        settings: Settings | None = None,
        *,
        policy: str = "rollforward",
        calendar: str = "XNYS",
        on_existing: str = "skip",
        missing: bool = False,
        resume: bool = True,
        analytics: str = "portfolio",
        beta_weights: str = "market_value",
        progress: Progress | None = None,
    ) -> None:
        """Take what all runs share.

        Args:
            db: A database URL, an `asyncpg.Pool` or an SQLAlchemy `AsyncEngine` on asyncpg.
            settings: As in `run_batch`, like everything that follows.
            policy: What the figures mean.
            calendar: Whose sessions.
            on_existing: What becomes of complete snapshots.
            missing: Whether to look for holes between snapshots.
            resume: Whether to go on with a run that has ended early.
            analytics: What of the analytics is written.
            beta_weights: What `beta_provider_1y` is a share of.
            progress: Called while work goes on.
        """
        self._db = db
        self._settings = settings
        self._policy = policy
        self._calendar = calendar
        self._on_existing = on_existing
        self._missing = missing
        self._resume = resume
        self._analytics = analytics
        self._beta_weights = beta_weights
        self._progress = progress

    async def run_batch_sequence(
        self,
        start_date: dt.date | Literal["inception"] | None = None,
        end_date: dt.date | None = None,
        portfolio_ids: Sequence[uuid.UUID | str] | None = None,
    ) -> BatchResult:
        """Roll portfolios forward over the sessions of a range; see `run_batch`.

        Args:
            start_date: First day of the range, included, or `inception`; None goes on after
                what is there.
            end_date: Last day of the range, included; None is the last session closed.
            portfolio_ids: Which portfolios; None is all that are not soft-deleted.

        Returns:
            The report.

        Raises:
            BatchcoreError: as `run_batch` does.
        """
        return await run_batch(
            self._db,
            start_date,
            end_date,
            portfolio_ids,
            policy=self._policy,
            calendar=self._calendar,
            on_existing=self._on_existing,
            missing=self._missing,
            resume=self._resume,
            analytics=self._analytics,
            beta_weights=self._beta_weights,
            settings=self._settings,
            progress=self._progress,
        )
