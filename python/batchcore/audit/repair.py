"""Stored snapshots recomputed, and each portfolio's replaced from its first difference on.

The same stages as those of a run that replaces everything (S13).
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, Unpack

from batchcore import policies
from batchcore.options import RepairKeywords, RunOptions, merged
from batchcore.pg.database import Database
from batchcore.run.batch import Run, connections_needed
from batchcore.run.request import requested
from batchcore.run.result import BatchResult  # noqa: TC001  # callers may look at types

REPAIRING: Final[dict[str, Any]] = {
    "on_existing": "replace",
    "missing": False,
    "changed_since": None,
}
"""The treatment of existing snapshots in a repair, whatever the options."""


async def repair(
    db: object,
    start_date: dt.date | None = None,
    end_date: dt.date | None = None,
    portfolio_ids: Iterable[uuid.UUID | str] | None = None,
    *,
    options: RunOptions | None = None,
    **overrides: Unpack[RepairKeywords],
) -> BatchResult:
    """Recompute stored snapshots, and replace each portfolio's from its first difference on.

    For hosts whose time stamps do not show changes: only figures are compared. All that is stored
    in the range is recomputed natively; of each portfolio the rows from the first session that
    differs to its latest complete snapshot are written (S13), and none of one without a difference.
    Otherwise it is a run like any other: one snapshot of the database, a lease, an entry in the
    ledger, and continued after an early end.

    Args:
        db: A database URL, an `asyncpg.Pool`, or an SQLAlchemy `AsyncEngine` on asyncpg.
        start_date: First day to recompute; None begins with each portfolio's earliest complete
            snapshot. The latest one before the range is used as stored (S5).
        end_date: Last day on which a difference counts; None ends with the latest snapshots.
        portfolio_ids: The portfolios; None is all that are not soft-deleted, an empty list none.
        options: The options of the run; None is all defaults. `legacy` has no repair; existing
            snapshots are always compared, so `on_existing`, `missing` and `changed_since` have no
            effect; with `Settings.dry_run` nothing is written.
        **overrides: Options that override those.

    Returns:
        The report: `differences` has the portfolios that differed.

    Raises:
        ConfigError: an argument is wrong, or names a portfolio that does not exist.
        BatchcoreError: as `run_batch` does.
    """
    own = replace(merged(options, overrides), **REPAIRING)
    request = await requested(start_date, end_date, portfolio_ids, own, repairs=True)
    database = Database(db)
    database.require(connections_needed(request.settings))
    repaired = policies.entry(request.policy).repaired
    return await Run(database, request, policy=None if repaired is None else repaired()).run()
