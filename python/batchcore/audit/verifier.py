"""Stored snapshots recomputed, chunk by chunk, each row from the one before it."""

from __future__ import annotations

import datetime as dt
import math
import random
import time
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore.audit.chunk_check import ChunkCheck
from batchcore.audit.compare import Judgement, differs, value_at
from batchcore.audit.compute import in_cents
from batchcore.audit.policy import PolicyAudit, policy_audit
from batchcore.audit.result import (
    EQUITY,
    Difference,
    Tally,
    VerifyResult,  # imported for type annotations only
)
from batchcore.config import Settings  # noqa: TC001  # callers may look at types
from batchcore.errors import ConfigError
from batchcore.frames import Decimals
from batchcore.options import Progress  # noqa: TC001  # callers may look at types
from batchcore.pg.database import Database
from batchcore.run import plan as plans
from batchcore.run.request import requested
from batchcore.sources import stored as stores
from batchcore.sources.host import Selection
from batchcore.sources.portfolios import select_portfolios
from batchcore.sources.query import load
from batchcore.units import State

if TYPE_CHECKING:
    from batchcore.frames import Bools, Int64
    from batchcore.sources.stored import OwnEquities, StoredRows


ROWS_OF_A_CHUNK: Final = 100_000
"""Maximum snapshots and positions held at a time, some 50 MiB; no portfolio is split."""

ROWS_AS_DECIMALS: Final = 10_000
"""The same when each cell is a `Decimal`."""


async def verify(
    db: object,
    start_date: dt.date | None = None,
    end_date: dt.date | None = None,
    portfolio_ids: Iterable[uuid.UUID | str] | None = None,
    *,
    policy: str = "rollforward",
    calendar: str = "XNYS",
    beta_weights: str = "market_value",
    sample: int | None = None,
    seed: int = 0,
    fast: bool = False,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> VerifyResult:
    """Recompute stored snapshots and return how they differ, cell by cell; write nothing.

    Each complete snapshot is computed from the stored one before it, and from the current
    positions, events, flows and closes. If the one before is wrong itself, a row may follow from
    its expected values instead, so that one wrong row shows once. Cells that the stored data do not
    determine are counted as not checkable, never as equal.

    Args:
        db: A database URL, an `asyncpg.Pool` or Connection, or an SQLAlchemy `AsyncEngine`,
            `AsyncConnection` or `AsyncSession` on asyncpg. A role that may only SELECT will do.
        start_date: First day of the range, included; None begins with the first snapshot.
        end_date: Last day of the range, included; None ends with the last snapshot.
        portfolio_ids: The portfolios; None is all that are not soft-deleted, an empty list none.
        policy: The rules of the figures: `rollforward`, docs/semantics.md, or `legacy`,
            docs/legacy.md.
        calendar: `XNYS`, `daily`, `prices` or a code of exchange_calendars (S1); under `legacy`
            `XNYS` (L2).
        beta_weights: The weights of `beta_provider_1y` (A1), as in the runs.
        sample: Number of snapshots to check, drawn by ``seed``; None checks all.
        seed: Seed of the sample, which is the same each time for the same database.
        fast: Whether to compute natively instead of by the pure-Python reference.
        settings: `schema`, `lookback_days`, `fx_lookback_days`, `fx_pivot`, `threads` and
            `chunk_size` count.
        progress: Called with `verify`, snapshots done and snapshots in all.

    Raises:
        ConfigError: an argument is wrong, or names a portfolio that does not exist.
        SchemaError: the tables are not those that batchcore can read.
        DatabaseError: the database refused, failed or went away.

    Source:
        docs/semantics.md, S5 to S10, A1 to A6; S14 for what "equal" leaves out. docs/legacy.md,
        L3 to L34.
    """
    request = await requested(
        start_date,
        end_date,
        portfolio_ids,
        policy=policy,
        calendar=calendar,
        beta_weights=beta_weights,
        settings=settings,
    )
    if sample is not None and sample < 1:
        raise ConfigError(f"sample is {sample}, expected 1 or more", "sample")
    began = time.perf_counter()
    async with Database(db, borrow=True).reading("verify") as session:
        audit = await policy_audit(session, request, fast=fast)
        verification = Verification(audit, progress)
        await verification.prepare(sample, seed)
        await verification.run()
        return verification.tally.result(
            policy=policy,
            calendar=calendar,
            fast=fast,
            portfolios=len(verification.chosen),
            rows_stored=int(verification.counted.rows.sum()),
            analytics_off=dict(audit.off),
            consistent=session.consistent and not audit.catalog.foreign,
            seconds=time.perf_counter() - began,
        )


class Verification:
    """One verification; `chosen` are the portfolios with a snapshot to check."""

    def __init__(self, policy: PolicyAudit, progress: Progress | None) -> None:
        """Take the policy, and a callback for the snapshots done and in all."""
        self.tally = Tally(policy.columns)
        self._policy = policy
        self._session = policy.session
        self._wanted = policy.request.wanted
        self._progress = progress
        self._done = self._total = 0

    async def prepare(self, sample: int | None, seed: int) -> None:
        """Load the portfolios, count their snapshots, and draw some.

        Snapshots are numbered by portfolio and day.
        """
        policy, wanted = self._policy, Selection(self._wanted)
        query = select_portfolios(
            policy.catalog,
            policy.calendar,
            calendars.LAST_DATE,
            wanted,
            complete=policy.stored_rules.complete,
        )
        self._portfolios = await load(self._session, query)
        if wanted.ids is not None:
            plans.check_found(wanted.ids, self._portfolios.id)
        days, ids = (policy.start, policy.end), self._portfolios.id
        counts = stores.select_counts(policy.source, wanted, days, ids)
        self.counted = await load(self._session, counts)
        rows = drawn_rows = self.counted.rows
        self._number = np.cumsum(rows) - rows
        self._drawn: Int64 | None = None
        self._total = int(rows.sum())
        if sample is not None and sample < self._total:
            source = random.Random(seed)  # noqa: S311  # no secret
            self._drawn = np.array(sorted(source.sample(range(self._total), sample)))
            owner = np.searchsorted(self._number + rows, self._drawn, side="right")
            drawn_rows = np.bincount(owner, minlength=len(rows))
            self._total = sample
        self.chosen = np.flatnonzero(drawn_rows > 0)

    async def run(self) -> None:
        """Compare all chunks."""
        if len(self.chosen) == 0:
            return
        policy, counted, calendar = self._policy, self.counted, self._policy.calendar
        around = counted.first[self.chosen].min(), counted.last[self.chosen].max()
        first, last = np.clip(around, calendar.first_day, calendar.last_day).tolist()
        await policy.share(self._selection(self.chosen), first, last)
        self._run_chunks = await load(self._session, stores.select_run_chunks(policy.catalog))
        for at in self._parts():
            await self._check(at)

    def _tick(self, rows: int) -> None:
        self._done += rows
        if self._progress is not None:
            self._progress("verify", self._done, self._total)

    def _selection(self, at: Int64) -> Selection:
        """Return a range of ids if it selects only what is needed."""
        ids = np.ascontiguousarray(self._portfolios.id[at])
        whole = self._wanted is None and len(at) == int(at[-1] - at[0]) + 1
        return Selection(ids, as_range=whole)

    def _parts(self) -> list[Int64]:
        """Return portfolios in chunks of a maximum number of snapshots and positions."""
        chosen, size = self.chosen, self._policy.request.settings.chunk_size
        if size is not None:
            return np.split(chosen, np.arange(size, len(chosen), size))
        most = ROWS_OF_A_CHUNK if self._policy.fast else ROWS_AS_DECIMALS
        held = math.ceil(plans.average_positions(self._policy.catalog.estimated_rows))
        cuts, rows = list[int](), 0
        for number, count in enumerate((self.counted.rows[chosen] + held).tolist()):
            rows += count
            if rows > most and number:
                cuts.append(number)
                rows = count
        return np.split(chosen, cuts)

    async def _check(self, at: Int64) -> None:
        """Compare the snapshots of some portfolios, and their own equities."""
        ids, selection = np.ascontiguousarray(self._portfolios.id[at]), self._selection(at)
        stored = await self._policy.stored(selection, ids)
        asked = self._asked_for(stored, at)
        deleted = self._portfolios.deleted[at][stored.portfolio]
        self._leave_out(stored, asked, deleted)
        own = await self._policy.own_equities(self._portfolios, at, selection)
        instead = Decimals.nulls(len(at))
        rows = np.flatnonzero(asked & stored.complete & ~deleted)
        if len(rows):
            check = ChunkCheck(self._policy, ids, selection, stored, rows)
            await check.run(self.tally, self._run_chunks, self._tick)
            instead = check.right_equities(own.day)
        self._check_equities(at, own, instead)

    def _asked_for(self, stored: StoredRows, at: Int64) -> Bools:
        """Return which stored rows are in the range and the sample."""
        start, end = self._policy.start, self._policy.end
        asked = np.ones(len(stored), dtype=np.bool_)
        if start is not None:
            asked &= stored.day >= start
        if end is not None:
            asked &= stored.day <= end
        if self._drawn is None:
            return asked
        before: Int64 = np.cumsum(asked) - asked
        first: Int64 = before[np.searchsorted(stored.portfolio, stored.portfolio)]
        number = self._number[at][stored.portfolio] + before - first
        return asked & np.isin(number, self._drawn)

    def _leave_out(self, stored: StoredRows, asked: Bools, deleted: Bools) -> None:
        """Count rows that the policy cannot check."""
        self.tally.rows += int(asked.sum())
        others = asked & (~stored.complete | deleted)
        count = int(others.sum())
        judged = Judgement(count, self._policy.columns)
        judged.leave_out("soft_deleted", deleted[others])
        judged.leave_out("off_session", ~stored.session[others])
        judged.leave_out("incomplete", np.ones(count, dtype=np.bool_))
        self.tally.judge(judged)
        self._tick(count)

    def _check_equities(self, at: Int64, own: OwnEquities, instead: Decimals) -> None:
        """Compare `portfolios.equity_balance` with the equity of a snapshot (S8, L7).

        ``instead`` is the expected equity of that snapshot, where the stored one is wrong.
        """
        there = ~self._portfolios.deleted[at] & (own.day.state == State.VALUE)
        whole = there & in_cents(own.equity)
        mine = self._portfolios.equity_balance.take(at)
        wrong = whole & differs(mine, own.equity) & differs(mine, own.latest)
        wrong &= (instead.state != State.VALUE) | differs(mine, instead)
        differences = [
            Difference(
                stores.uuid_at(self._portfolios.id, int(at[row])),
                None,
                EQUITY,
                value_at(mine, row),
                value_at(own.equity, row),
            )
            for row in np.flatnonzero(wrong & ~own.elsewhere).tolist()
        ]
        elsewhere = int((wrong & own.elsewhere).sum())
        left_out = {"portfolio_fails": int((there & ~whole).sum()), "day_order": elsewhere}
        self.tally.equities(int(whole.sum()) - elsewhere, left_out, differences)
