"""What a policy says of stored snapshots."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from batchcore import policies
from batchcore.audit.compute import Inputs, columns_of
from batchcore.calendar import day_of
from batchcore.db.catalog import inspect
from batchcore.db.check import check
from batchcore.errors import ConfigError
from batchcore.native import Book
from batchcore.schema import Use
from batchcore.sources import stored as stores
from batchcore.sources.facts import select_events, select_flows
from batchcore.sources.plain import Reader, load_plainly
from batchcore.sources.positions import select_all_positions, select_positions
from batchcore.sources.prices import load_calendar
from batchcore.sources.query import load

if TYPE_CHECKING:
    import uuid

    from batchcore.audit.chunk_check import ChunkCheck
    from batchcore.audit.compare import Judgement
    from batchcore.audit.compute import ExpectedRows, Links, Roll, Shares
    from batchcore.calendar import Calendar
    from batchcore.db.catalog import Catalog
    from batchcore.frames import (
        Bools,
        Bytes,
        Contributions,
        Decimals,
        Int32,
        Int64,
        Positions,
        Rows,
    )
    from batchcore.native import CancelFlag, Host, Market
    from batchcore.pg.session import Session
    from batchcore.run.request import Request
    from batchcore.sources.host import Selection
    from batchcore.sources.portfolios import Portfolios
    from batchcore.sources.query import Query
    from batchcore.sources.stored import OwnEquities, StoredRows


@dataclass(frozen=True, eq=False, slots=True)
class Chains:
    """Stored rows whose P&L is explained, by portfolio and day, each with the row before it.

    `portfolio` counts the ids of the chunk; `previous_day` is a row's own if it is a `first` one,
    without a row before it.
    """

    portfolio: Int32
    day: Int32
    previous_day: Int32
    first: Bools

    def ends(self) -> tuple[Int64, Int64]:
        """Return the first and the last row of each portfolio that has one."""
        new = np.ones(len(self.portfolio) + 1, dtype=np.bool_)
        new[1:-1] = self.portfolio[1:] != self.portfolio[:-1]
        starts = np.flatnonzero(new)
        return starts[:-1], starts[1:] - 1


async def policy_audit(session: Session, request: Request, *, fast: bool) -> PolicyAudit:
    """Return the policy on the tables of a host.

    Raises:
        ConfigError: its rows cannot be computed again.
        SchemaError: the tables are not those that batchcore can read.
    """
    audit = policies.entry(request.policy).audit
    if audit is None:
        raise ConfigError(f"the policy `{request.policy}` has no verification", "policy")
    catalog = await inspect(session, request.settings.schema)
    kind = audit()
    check(catalog, Use.RUN | kind.valued_by, writes=False)
    calendar = await load_calendar(session, catalog, request.calendar)
    return kind(session, catalog, calendar, request, fast=fast)


class PolicyAudit(abc.ABC):
    """A policy on the tables of a host.

    Attributes:
        columns: Columns that are compared, in the order of the report.
        computed: Columns that rows are computed with.
        has_shares: Whether `sector_exposure` is another one.
        of_first_row: Columns whose value in a first row is known for good.
        sums: Amounts of which the daily column of a first row equals the cumulative one.
        by_chain: Columns that the row before has a part in, beside the equity.
        by_value: Columns in which the value of a PRIVATE lot counts.
        by_quantity: Columns that a partial close changes on earlier days.
        ends_at_exit: Whether closes of a position that was exited count no more (S3, L8).
        of_day: Whether P&L and flows of a row are of its day alone, whatever has been since the
            row before it (L12, L18); then no row is a baseline either.
        reads_deleted: Whether soft-deleted positions and their events count.
        valued_by: What values lots beside closes, where the host maps it.
        market: To compute natively, if anything is; with a `host` where the policy needs one.
        read: Columns that are read where they are there.
        off: Part of the columns -> why it cannot be computed.
    """

    stored_rules: ClassVar[stores.StoredRules] = stores.ROLLFORWARD
    columns: tuple[str, ...]
    computed: ClassVar[tuple[str, ...]]
    has_shares: ClassVar[bool] = False
    of_first_row: ClassVar[tuple[str, ...]]
    sums: ClassVar[tuple[str, ...]]
    by_chain: ClassVar[tuple[str, ...]]
    by_value: ClassVar[tuple[str, ...]]
    by_quantity: ClassVar[tuple[str, ...]]
    ends_at_exit: ClassVar[bool] = True
    of_day: ClassVar[bool] = False
    reads_deleted: ClassVar[bool] = False
    valued_by: ClassVar[Use] = Use.VALUATION
    market: Market
    host: Host | None = None

    def __init__(
        self,
        session: Session,
        catalog: Catalog,
        calendar: Calendar,
        request: Request,
        *,
        fast: bool,
    ) -> None:
        """Take the tables; raise a `SchemaError` if they are not those that the policy reads."""
        self.session = session
        self.catalog = catalog
        self.reader = Reader(session, catalog)
        self.calendar = calendar
        self.request = request
        self.fast = fast
        self.source = stores.StoredSource(catalog, calendar, self.stored_rules)
        self.start, self.end = (
            None if date is None else day_of(date) for date in (request.start, request.end)
        )
        self.read = self.columns
        self.off: dict[str, str] = {}

    @abc.abstractmethod
    async def share(self, selection: Selection, first: int, last: int) -> None:
        """Load what all chunks share, for rows from one day of the calendar to another."""

    async def stored(self, selection: Selection, ids: Bytes) -> StoredRows:
        """Return the snapshots of a chunk in the range, and those before that they go on from."""
        columns, days = stores.readable(self.catalog, self.read), (self.start, self.end)
        query = stores.select_stored(self.source, selection, days, columns, ids)
        return await (load if self.fast else load_plainly)(self.session, query)

    @abc.abstractmethod
    def previous(self, stored: StoredRows) -> tuple[Int64, ...]:
        """Return the row that each may go on from, -1 for none; the likeliest first."""

    def current(self, stored: StoredRows) -> Bools:
        """Return for each stored row whether its day was a current one."""
        return np.zeros(len(stored), dtype=np.bool_)

    @abc.abstractmethod
    def reads(self, *, any_current: bool) -> dict[str, bool]:
        """Return whether changed profiles and betas count in rows, some on a current day or not."""

    async def inputs(self, check: ChunkCheck) -> Inputs:
        """Return what the rows of a chunk are computed from natively."""
        session, day, of = self.session, check.stored.day, (self.catalog, check.selection)
        book = Book(
            positions=await load(session, self.select_positions(check.selection)),
            events=await load(session, select_events(*of, deleted=self.reads_deleted)),
            flows=await load(session, select_flows(*of, int(day.min()), int(day.max()))),
        )
        return await self.convert(session, Inputs(check.ids, book), check.selection)

    async def convert(
        self,
        session: Session,  # noqa: ARG002  # what a policy needs that converts
        inputs: Inputs,
        selection: Selection,  # noqa: ARG002
    ) -> Inputs:
        """Return inputs with what converts their lots, once `share` is done (C6)."""
        return inputs

    def select_positions(self, selection: Selection) -> Query[Positions]:
        """Return the positions that count."""
        select = select_all_positions if self.reads_deleted else select_positions
        return select(self.catalog, selection)

    def leave_out_analytics(self) -> None:  # noqa: B027  # a policy may have none apart
        """Read nothing that only columns of analytics are computed from."""

    def half_cents(self, rows: Int64, later: Int64) -> Int64:
        """Return by how much stored P&L and contributions may differ by roundings alone (X2).

        In half cents, for so many rows of portfolios, and so many of them that have one before
        them. A sum of `daily_pnl` has the unrealized P&L of both ends rounded, and what was
        realized in each row (S6); a baseline is 0.
        """
        found: Int64 = rows if self.of_day else np.where(later > 0, later + 2, 0)
        return found

    @abc.abstractmethod
    def contributions(self, chains: Chains, inputs: Inputs, cancel: CancelFlag) -> Contributions:
        """Return what each lot added to the P&L of rows (X1, X4, X7)."""

    @abc.abstractmethod
    async def roll(self, ids: list[uuid.UUID]) -> Roll:
        """Return the reference on the portfolios of a chunk."""

    def cells(self, rows: Rows) -> tuple[dict[str, Decimals], Shares | None]:
        """Return the columns of native rows, and their `sector_exposure` if that is computed."""
        return columns_of(rows), None

    def opens(self, links: Links) -> Bools:
        """Return which rows go on from an equity that is not stored (S5, L6)."""
        return links.first

    @abc.abstractmethod
    def judge(self, check: ChunkCheck, judged: Judgement) -> None:
        """Leave out cells that were not computed, or from what has been overwritten since."""

    async def analysed(
        self,
        check: ChunkCheck,  # noqa: ARG002  # what those need that compute such columns apart
        judged: Judgement,  # noqa: ARG002
    ) -> tuple[ExpectedRows, Bools] | None:
        """Return what analytic columns that are computed apart should be, and which differ."""
        return None

    @abc.abstractmethod
    def looks_back(self, links: Links, wrong: Bools) -> Int32:
        """Return the first day whose close may have counted in rows with (k, c) wrong cells."""

    @abc.abstractmethod
    def since(self, links: Links) -> Int32:
        """Return the day after which events and flows count in rows."""

    @abc.abstractmethod
    async def own_equities(
        self, portfolios: Portfolios, at: Int64, selection: Selection
    ) -> OwnEquities:
        """Return what `portfolios.equity_balance` is to be, of the portfolios ``at`` some rows."""
