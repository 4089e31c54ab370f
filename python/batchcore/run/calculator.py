"""The entry points of an existing orchestrator: one date at a time, or a sequence of sessions."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Unpack

from batchcore.config import Settings  # noqa: TC001  # callers may look at types
from batchcore.declared import checked_date
from batchcore.late_imports import db_of, imported
from batchcore.options import OptionKeywords, RunOptions, merged

if TYPE_CHECKING:
    from batchcore.run.plan import SnapshotSource
    from batchcore.run.prices import PriceSource
    from batchcore.run.result import BatchResult


class PnLCalculator:
    """Values all portfolios on one date, on any kind of connection."""

    def __init__(
        self,
        settings: Settings | None = None,
        db: object = None,
        *,
        options: RunOptions | None = None,
        **overrides: Unpack[OptionKeywords],
    ) -> None:
        """Set the options of all calls.

        Args:
            settings: As in `RunOptions`.
            db: The database of calls that pass none.
            options: The options of a run; None is all defaults.
            **overrides: Options that override those: the keywords of `run_batch`.

        Raises:
            ConfigError: an option is wrong.
        """
        self._db = db
        own = {} if settings is None else {"settings": settings}
        self._options = merged(options, {**own, **overrides})

    async def calculate_all_portfolios_pnl(
        self,
        calculation_date: dt.date,
        db: object = None,
        portfolio_ids: Iterable[uuid.UUID | str] | None = None,
        price_cache: PriceSource | None = None,
        snapshot_cache: SnapshotSource | None = None,
    ) -> BatchResult:
        """Value portfolios on one date and write their snapshots.

        On connections of its own it is a run of one session: each chunk is committed. On a
        connection or session of the caller's, everything happens in the caller's transaction,
        under one SAVEPOINT, and nothing is committed (docs/api.md).

        Args:
            calculation_date: The session; on any other date there is nothing to do.
            db: A database URL, an `asyncpg.Pool`, an SQLAlchemy `AsyncEngine`; or an
                `AsyncSession`, an `AsyncConnection` or an `asyncpg.Connection` in a transaction.
                None uses the one of the constructor.
            portfolio_ids: UUIDs or their text; None is all that are not soft-deleted.
            price_cache: Closes that take precedence over those stored. For symbols that it covers
                since the snapshots before the date, only older closes are read.
            snapshot_cache: Snapshots before the date that take precedence over those stored, unless
                a later one is stored.

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
        # None would mean every session since the latest snapshot.
        day = checked_date(calculation_date, "calculation_date")
        caches = await imported("batchcore.caches")
        caches.check_cache("price_cache", price_cache)
        caches.check_cache("snapshot_cache", snapshot_cache)
        batch = await imported("batchcore.run.batch")
        requests = await imported("batchcore.run.request")
        request = await requests.requested(day, day, portfolio_ids, self._options)
        request = replace(request, price_source=price_cache, snapshot_source=snapshot_cache)
        result: BatchResult = await batch.run_up_to_now(db, request, borrow=True)
        return result

    async def calculate_portfolio_pnl(
        self,
        portfolio_id: uuid.UUID | str,
        calculation_date: dt.date,
        db: object = None,
        price_cache: PriceSource | None = None,
        snapshot_cache: SnapshotSource | None = None,
    ) -> BatchResult:
        """Value one portfolio, a UUID or its text, on one date and write its snapshot.

        Otherwise as `calculate_all_portfolios_pnl`.

        Raises:
            BatchcoreError: as `calculate_all_portfolios_pnl` does.
        """
        return await self.calculate_all_portfolios_pnl(
            calculation_date, db, [portfolio_id], price_cache, snapshot_cache
        )


class BatchOrchestrator:
    """Runs over consecutive ranges of sessions, with the same options each time.

    Nothing is kept from one run to the next: each reads prices, profiles and snapshots itself.
    """

    def __init__(
        self,
        db: object,
        settings: Settings | None = None,
        *,
        options: RunOptions | None = None,
        **overrides: Unpack[OptionKeywords],
    ) -> None:
        """Set the options of all runs.

        Args:
            db: A database URL, an `asyncpg.Pool` or an SQLAlchemy `AsyncEngine` on asyncpg.
            settings: As in `RunOptions`.
            options: The options of each run; None is all defaults.
            **overrides: Options that override those: the keywords of `run_batch`.

        Raises:
            ConfigError: an option is wrong.
        """
        self._db = db
        own = {} if settings is None else {"settings": settings}
        self._options = merged(options, {**own, **overrides})

    async def run_batch_sequence(
        self,
        start_date: dt.date | Literal["inception"] | None = None,
        end_date: dt.date | None = None,
        portfolio_ids: Iterable[uuid.UUID | str] | None = None,
    ) -> BatchResult:
        """Roll portfolios forward over the sessions of a range; the arguments are `run_batch`'s.

        Raises:
            BatchcoreError: as `run_batch` does.
        """
        batch = await imported("batchcore.run.batch")
        result: BatchResult = await batch.run_batch(
            self._db, start_date, end_date, portfolio_ids, options=self._options
        )
        return result
