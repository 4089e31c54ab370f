"""Stored snapshots recomputed, chunk by chunk, each row from the one before it."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore.audit.chunk import ChunkCheck
from batchcore.audit.compare import Judged, differs, value_at
from batchcore.audit.legacy import CALENDAR, Legacy
from batchcore.audit.links import in_cents
from batchcore.audit.result import Difference, VerifyResult
from batchcore.audit.rollforward import RollForward
from batchcore.audit.rules import Chunk, Ground
from batchcore.audit.tally import EQUITY, Tally
from batchcore.db import load as loads
from batchcore.db import load_stored as stores
from batchcore.db.catalog import check_run, inspect
from batchcore.db.engine import Database
from batchcore.db.queries import Queries, Selection
from batchcore.db.read import Reader
from batchcore.errors import ConfigError, SchemaError
from batchcore.frames import Decimals
from batchcore.run import plan as plans
from batchcore.run.request import requested
from batchcore.units import State

if TYPE_CHECKING:
    import datetime as dt
    import uuid
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from batchcore.audit.rules import Rules
    from batchcore.calendar import Calendar
    from batchcore.config import Settings
    from batchcore.db.catalog import Catalog
    from batchcore.db.engine import Session
    from batchcore.db.load import Portfolios
    from batchcore.db.load_stored import Counted, OwnEquities, StoredRows
    from batchcore.run.request import Request

    Progress = Callable[[str, int, int], object]
    Bools = npt.NDArray[np.bool_]
    Int64 = npt.NDArray[np.int64]

ROWS_OF_A_CHUNK: Final = 100_000
"""Snapshots that are held at a time at most, some 50 MiB of columns; no portfolio is parted."""

ROWS_AS_DECIMALS: Final = 10_000
"""The same, while each cell is a `Decimal`."""


async def verify(
    db: object,
    start_date: dt.date | None = None,
    end_date: dt.date | None = None,
    portfolio_ids: Sequence[uuid.UUID | str] | None = None,
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

    Each complete snapshot is computed from the one before it, as that is stored, and from
    positions, events, flows and closes as they are now. If the one before is wrong itself, a row
    may follow from what it should have been; so one wrong row shows once. What the stored data do
    not determine is counted as not checkable, and never as equal.

    Args:
        db: A database URL, an `asyncpg.Pool` or Connection, or an SQLAlchemy `AsyncEngine`,
            `AsyncConnection` or `AsyncSession` on asyncpg. A role that may only SELECT will do.
        start_date: First day of the range, included; None begins with the first snapshot.
        end_date: Last day of the range, included; None ends with the last snapshot.
        portfolio_ids: Which portfolios; None is all that are not soft-deleted, an empty one none.
        policy: What the figures are taken to mean: `rollforward`, docs/semantics.md, or `legacy`,
            docs/legacy.md.
        calendar: `XNYS`, `daily`, `prices` or a code of exchange_calendars (S1); under `legacy`
            `XNYS` (L2).
        beta_weights: What `beta_provider_1y` is a share of (A1): that of the runs.
        sample: How many snapshots, drawn by ``seed``; None takes all.
        seed: Of the draw: the same snapshots of the same database each time.
        fast: Whether to compute natively instead of by the pure-Python reference.
        settings: `schema`, `lookback_days`, `threads` and `chunk_size` count.
        progress: Called with `verify`, snapshots done and snapshots in all.

    Raises:
        ConfigError: an argument is wrong, or names a portfolio that is not there.
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
        on_existing="skip",
        missing=False,
        analytics="none",
        beta_weights=beta_weights,
        settings=settings,
    )
    if sample is not None and sample < 1:
        msg = f"sample is {sample}, expected 1 or more"
        raise ConfigError(msg, "sample")
    asked = Asked(request, calendar, sample, seed, fast)
    async with Database(db, borrow=True).reading("verify") as session:
        return await Verification(session, asked, progress).run()


@dataclass(frozen=True, eq=False, slots=True)
class Asked:
    """What a verification was asked for.

    Attributes:
        request: What it shares with a run.
        calendar: Its code.
        sample: Snapshots to draw; None takes all.
        seed: Of the draw.
        fast: Whether natively.
    """

    request: Request
    calendar: str
    sample: int | None
    seed: int
    fast: bool

    @property
    def start(self) -> int | None:
        """First day of the range."""
        start = self.request.start
        return None if start is None else calendars.day_of(start)

    @property
    def end(self) -> int | None:
        """Last day of the range."""
        end = self.request.end
        return None if end is None else calendars.day_of(end)


class Verification:
    """One verification from its arguments to its result."""

    rules: Rules

    def __init__(self, session: Session, asked: Asked, progress: Progress | None) -> None:
        self.session = session
        self.asked = asked
        self.settings = asked.request.settings
        self._progress = progress
        self._done = self._total = 0
        self._began = time.perf_counter()
        self._other: Rules | None = None
        self._knows_other = False

    async def run(self) -> VerifyResult:
        """Return what was found."""
        await self._prepare()
        self.tally = Tally(self.rules.columns)
        self.chosen = np.flatnonzero(self.drawn_rows > 0)
        self._total = int(self.drawn_rows.sum())
        if len(self.chosen):
            await self._share(self.rules, self.counted)
            for at in self._parts():
                await self._check(at)
        return VerifyResult(
            policy=self.asked.request.policy,
            calendar=self.asked.calendar,
            fast=self.asked.fast,
            portfolios=len(self.chosen),
            rows=self.tally.rows,
            rows_stored=int(self.counted.rows.sum()),
            rows_differing=self.tally.rows_differing,
            missing_sessions=self.tally.missing_sessions,
            columns=self.tally.columns(),
            analytics_off=dict(self.rules.off),
            consistent=self.session.consistent,
            seconds=time.perf_counter() - self._began,
            **self.tally.rest(),
        )

    def _tick(self, rows: int) -> None:
        self._done += rows
        if self._progress is not None:
            self._progress("verify", self._done, self._total)

    async def _prepare(self) -> None:
        catalog = await inspect(self.session, self.settings.schema)
        check_run(catalog, writes=False)
        self.ground = Ground(
            session=self.session,
            catalog=catalog,
            reader=Reader(self.session, catalog),
            settings=self.settings,
            fast=self.asked.fast,
            start=self.asked.start,
            end=self.asked.end,
            beta_weights=self.asked.request.beta_weights,
        )
        calendar = await self._calendar(catalog)
        is_legacy = self.asked.request.policy == "legacy"
        self.rules = (Legacy if is_legacy else RollForward)(self.ground, calendar)
        wanted = Selection(self.asked.request.wanted)
        self.portfolios: Portfolios = await loads.load_portfolios(
            self.session, self.rules.queries, calendar, calendars.LAST_DATE, wanted
        )
        if wanted.ids is not None:
            plans.check_found(wanted.ids, self.portfolios.id)
        self.counted = await self._count(self.rules)
        self._draw()

    async def _calendar(self, catalog: Catalog) -> Calendar:
        if self.asked.request.known_calendar is not None:
            return self.asked.request.known_calendar
        dates = await loads.load_price_dates(self.session, Queries(catalog))
        return calendars.from_price_dates(dates)

    async def _count(self, rules: Rules) -> Counted:
        wanted = Selection(self.asked.request.wanted)
        query = rules.queries.counts(rules.calendar, wanted, self.asked.start, self.asked.end)
        return await stores.load_counts(self.session, query, self.portfolios.id)

    async def _share(self, rules: Rules, counted: Counted) -> None:
        first, last = counted.first[self.chosen].min(), counted.last[self.chosen].max()
        await rules.share(self._selection(self.chosen), int(first), int(last))

    async def other(self) -> Rules | None:
        """Return the other policy, on the same tables; None where these do not fit it."""
        if not self._knows_other:
            self._knows_other = True
            try:
                if self.asked.request.policy == "legacy":
                    self._other = RollForward(self.ground, calendars.load(CALENDAR))
                else:
                    self._other = Legacy(self.ground)
            except SchemaError:
                return None
            await self._share(self._other, await self._count(self._other))
        return self._other

    def _draw(self) -> None:
        """Draw the sample: snapshots are numbered by portfolio and day."""
        rows, sample = self.counted.rows, self.asked.sample
        self.number = np.cumsum(rows) - rows
        self.drawn: Int64 | None = None
        self.drawn_rows = rows
        total = int(rows.sum())
        if sample is not None and sample < total:
            source = random.Random(self.asked.seed)  # noqa: S311  # no secret
            self.drawn = np.array(sorted(source.sample(range(total), sample)), dtype=np.int64)
            owner = np.searchsorted(self.number + rows, self.drawn, side="right")
            self.drawn_rows = np.bincount(owner, minlength=len(rows))

    def _selection(self, at: Int64) -> Selection:
        """Return a range of ids where it brings nothing but what is needed."""
        ids = np.ascontiguousarray(self.portfolios.id[at])
        whole = self.asked.request.wanted is None and len(at) == int(at[-1] - at[0]) + 1
        return Selection(ids, as_range=whole)

    def _parts(self) -> list[Int64]:
        """Return portfolios in chunks of so many snapshots at most."""
        chosen = self.chosen
        if self.settings.chunk_size is not None:
            cuts = np.arange(self.settings.chunk_size, len(chosen), self.settings.chunk_size)
            return np.split(chosen, cuts)
        most = ROWS_OF_A_CHUNK if self.asked.fast else ROWS_AS_DECIMALS
        parts, rows = list[list[int]](), most
        for portfolio in chosen.tolist():
            rows += int(self.counted.rows[portfolio])
            if rows > most:
                parts.append([])
                rows = int(self.counted.rows[portfolio])
            parts[-1].append(portfolio)
        return [np.array(part, dtype=np.int64) for part in parts]

    async def _check(self, at: Int64) -> None:
        """Compare the snapshots of some portfolios, and their own equities."""
        chunk = await self._load(at)
        own = await self.rules.own_equities(self.portfolios, at, chunk)
        instead = Decimals.nulls(len(at))
        if len(chunk.rows):
            check = ChunkCheck(self.rules, chunk, self.tally, self._tick, self.other)
            await check.run()
            instead = check.right_equities(own.day)
        self._check_equities(at, own, instead)

    async def _load(self, at: Int64) -> Chunk:
        ids = np.ascontiguousarray(self.portfolios.id[at])
        selection = self._selection(at)
        stored = await self.rules.stored(selection, ids)
        asked = self._asked_for(stored, at)
        deleted = self.portfolios.deleted[at][stored.portfolio]
        self._leave_out(stored, asked, deleted)
        rows = np.flatnonzero(asked & stored.complete & ~deleted)
        return Chunk(ids, selection, stored, rows)

    def _asked_for(self, stored: StoredRows, at: Int64) -> Bools:
        """Return which stored rows are of the range, and of the sample."""
        asked = np.ones(len(stored), dtype=np.bool_)
        if self.asked.start is not None:
            asked &= stored.day >= self.asked.start
        if self.asked.end is not None:
            asked &= stored.day <= self.asked.end
        if self.drawn is None:
            return asked
        before: Int64 = np.cumsum(asked) - asked
        first: Int64 = before[np.searchsorted(stored.portfolio, stored.portfolio)]
        number = self.number[at][stored.portfolio] + before - first
        return asked & np.isin(number, self.drawn)

    def _leave_out(self, stored: StoredRows, asked: Bools, deleted: Bools) -> None:
        """Count rows that the policy has nothing to say of."""
        self.tally.rows += int(asked.sum())
        others = asked & (~stored.complete | deleted)
        judged = Judged(int(others.sum()), self.rules.columns)
        judged.leave_out("soft_deleted", deleted[others])
        judged.leave_out("off_session", ~stored.session[others])
        judged.leave_out("incomplete", np.ones(int(others.sum()), dtype=np.bool_))
        self.tally.judge(judged)
        self._tick(int(others.sum()))

    def _check_equities(self, at: Int64, own: OwnEquities, instead: Decimals) -> None:
        """Compare `portfolios.equity_balance` with the equity of a snapshot (S8, L7).

        Args:
            at: Portfolios.
            own: What it is to be.
            instead: What the equity of that snapshot should be, where it is wrong itself.
        """
        there = ~self.portfolios.deleted[at] & (own.day.state == State.VALUE)
        whole = there & in_cents(own.equity)
        mine = self.portfolios.equity_balance.take(at)
        wrong = whole & differs(mine, own.equity) & differs(mine, own.latest)
        wrong &= (instead.state != State.VALUE) | differs(mine, instead)
        differences = [
            Difference(
                stores.uuid_at(self.portfolios.id, int(at[row])),
                None,
                EQUITY,
                value_at(mine, row),
                value_at(own.equity, row),
            )
            for row in np.flatnonzero(wrong & ~own.elsewhere).tolist()
        ]
        left_out = {
            "portfolio_fails": int((there & ~whole).sum()),
            "day_order": int((wrong & own.elsewhere).sum()),
        }
        checked = int(whole.sum()) - left_out["day_order"]
        self.tally.equity(checked=checked, left_out=left_out, differences=differences)
