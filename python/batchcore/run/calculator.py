"""The entry points of an existing orchestrator: one date at a time, or a sequence of sessions."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from batchcore.config import ANALYTICS, BETA_WEIGHTS, ON_EXISTING, POLICIES, Settings
from batchcore.entry import check_choice, check_legacy, db_of, imported
from batchcore.errors import ConfigError

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from batchcore.run.orchestrator import Progress
    from batchcore.run.prices import PriceSource
    from batchcore.run.result import BatchResult
    from batchcore.run.snapshots import SnapshotSource


class PnLCalculator:
    """Values all portfolios on one date, on whatever connection the caller has."""

    def __init__(
        self,
        settings: Settings | None = None,
        db: object = None,
        *,
        policy: str = "rollforward",
        calendar: str = "XNYS",
        on_existing: str = "skip",
        analytics: str = "portfolio",
        beta_weights: str = "market_value",
    ) -> None:
        """Set the options of all dates.

        Args:
            settings: As in `run_batch`.
            db: The database of calls that pass none.
            policy: As in `run_batch`.
            calendar: As in `run_batch`.
            on_existing: As in `run_batch`.
            analytics: As in `run_batch`.
            beta_weights: As in `run_batch`.

        Raises:
            ConfigError: an option is wrong.
        """
        if settings is not None and not isinstance(settings, Settings):
            msg = f"settings is of type {type(settings).__name__}, expected Settings"
            raise ConfigError(f"{msg}; a database is given as `db`", "settings")
        check_choice("policy", policy, POLICIES)
        check_choice("on_existing", on_existing, ON_EXISTING)
        check_choice("analytics", analytics, ANALYTICS)
        check_choice("beta_weights", beta_weights, BETA_WEIGHTS)
        if policy == "legacy":
            check_legacy(calendar, analytics=analytics)
        self._db = db
        self._options: dict[str, Any] = {
            "policy": policy,
            "calendar": calendar,
            "on_existing": on_existing,
            "missing": False,
            "analytics": analytics,
            "beta_weights": beta_weights,
            "settings": settings,
        }

    async def calculate_all_portfolios_pnl(
        self,
        calculation_date: dt.date,
        db: object = None,
        portfolio_ids: Sequence[uuid.UUID | str] | None = None,
        price_cache: PriceSource | None = None,
        snapshot_cache: SnapshotSource | None = None,
    ) -> BatchResult:
        """Value portfolios on one date and write their snapshots.

        On connections of its own it is a run of one session: each chunk is committed. On a
        connection or session of the caller's, everything is read and written in the caller's
        transaction, under one SAVEPOINT: rows flushed but not yet committed are seen, nothing is
        committed, and an error undoes only what this call did. The rows of the portfolios are
        locked there until the caller's transaction ends, so that another such call on one of them
        waits, and then finds the work done.

        Args:
            calculation_date: The session; on a date that is no session there is nothing to do.
            db: A database URL, an `asyncpg.Pool`, an SQLAlchemy `AsyncEngine`; or an
                `AsyncSession`, an `AsyncConnection` or an `asyncpg.Connection` in a transaction.
                None takes that of the constructor.
            portfolio_ids: UUIDs or their text; None is all that are not soft-deleted.
            price_cache: Closes that count before those stored. Of the symbols that it covers from
                the snapshots before the date on, only older closes are read.
            snapshot_cache: Snapshots before the date that count before those stored, unless a
                later one is stored.

        Returns:
            The report; `consistent` is False where the caller's transaction is READ COMMITTED.

        Raises:
            ConfigError: an argument is wrong, or the caller's connection is in no transaction.
            SchemaError: batchcore cannot work on the database.
            CoverageError: the prices of the session have not arrived (S12); nothing was written.
            SnapshotExistsError: ``on_existing="error"`` and there is one; nothing was written.
            LeaseHeldError: another run works on some of the portfolios, or took over.
            TooManyFailedError: more portfolios failed than `Settings.max_failed`.
            DatabaseError: the database refused, failed or went away.
        """
        db = db_of(db, self._db)
        if type(calculation_date) is not dt.date:  # None would be the whole way from what is there
            msg = f"calculation_date is {calculation_date!r}, expected a datetime.date"
            raise ConfigError(msg, "calculation_date")
        caches = await imported("batchcore.caches")
        caches.check_cache("price_cache", price_cache)
        caches.check_cache("snapshot_cache", snapshot_cache)
        orchestrator = await imported("batchcore.run.orchestrator")
        requests = await imported("batchcore.run.request")
        request = await requests.requested(
            calculation_date, calculation_date, portfolio_ids, **self._options
        )
        request = replace(request, price_source=price_cache, snapshot_source=snapshot_cache)
        result: BatchResult = await orchestrator.run_on_any(db, request)
        return result

    async def calculate_portfolio_pnl(
        self,
        portfolio_id: uuid.UUID | str,
        calculation_date: dt.date,
        db: object = None,
        price_cache: PriceSource | None = None,
        snapshot_cache: SnapshotSource | None = None,
    ) -> BatchResult:
        """Value one portfolio on one date and write its snapshot.

        Args:
            portfolio_id: UUID or its text.
            calculation_date: As in `calculate_all_portfolios_pnl`, like everything that follows.
            db: The database; None takes that of the constructor.
            price_cache: Closes that count before those stored.
            snapshot_cache: Snapshots that count before those stored.

        Returns:
            The report.

        Raises:
            BatchcoreError: as `calculate_all_portfolios_pnl` does.
        """
        return await self.calculate_all_portfolios_pnl(
            calculation_date, db, [portfolio_id], price_cache, snapshot_cache
        )


class BatchOrchestrator:
    """Runs over sessions in a sequence, with the same options each time.

    Nothing is kept from one run to the next: each reads prices, profiles and snapshots itself.
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
        wait: float = 0,
        progress: Progress | None = None,
    ) -> None:
        """Set the options of all runs.

        Args:
            db: A database URL, an `asyncpg.Pool` or an SQLAlchemy `AsyncEngine` on asyncpg.
            settings: As in `run_batch`, like everything that follows.
            policy: Defines the figures.
            calendar: Defines the sessions.
            on_existing: Whether to skip or replace complete snapshots, or to stop.
            missing: Whether to look for holes between snapshots.
            resume: Whether to continue a run that ended early.
            analytics: The level of analytics to write.
            beta_weights: The denominator of `beta_provider_1y`.
            wait: Seconds to wait for another run on some of the portfolios.
            progress: Called while work continues.
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
        self._wait = wait
        self._progress = progress

    async def run_batch_sequence(
        self,
        start_date: dt.date | Literal["inception"] | None = None,
        end_date: dt.date | None = None,
        portfolio_ids: Sequence[uuid.UUID | str] | None = None,
    ) -> BatchResult:
        """Roll portfolios forward over the sessions of a range; see `run_batch`.

        Args:
            start_date: First day of the range, included, or `inception`; None continues after
                the latest snapshots.
            end_date: Last day of the range, included; None is the last session closed by now.
            portfolio_ids: UUIDs or their text; None is all that are not soft-deleted.

        Returns:
            The report.

        Raises:
            BatchcoreError: as `run_batch` does.
        """
        orchestrator = await imported("batchcore.run.orchestrator")
        result: BatchResult = await orchestrator.run_batch(
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
            wait=self._wait,
            settings=self._settings,
            progress=self._progress,
        )
        return result
