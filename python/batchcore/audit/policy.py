"""The interface of a policy to stored snapshots."""

from __future__ import annotations

import abc
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from batchcore import policies
from batchcore.audit.compute import ExpectedRows, Inputs, Links, columns_of
from batchcore.calendar import Calendar, day_of
from batchcore.db.catalog import Catalog, inspect
from batchcore.db.check import check
from batchcore.errors import ConfigError
from batchcore.native import Book, CancelFlag, Host, Market
from batchcore.schema import Use
from batchcore.sources import stored as stores
from batchcore.sources.events_flows import select_events, select_flows
from batchcore.sources.host import Selection, located
from batchcore.sources.positions import select_all_positions, select_positions
from batchcore.sources.prices import load_calendar
from batchcore.sources.query import Query, load
from batchcore.sources.rates import select_homes
from batchcore.sources.reference_rows import Reader, load_plainly
from batchcore.sources.stored import UNKNOWN

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from batchcore.audit.chunk_check import ChunkCheck
    from batchcore.audit.compare import Judgement
    from batchcore.audit.compute import Roll, Shares
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
    from batchcore.pg.session import Session
    from batchcore.run.request import Request
    from batchcore.run.valuation import Valuation
    from batchcore.sources.portfolios import Portfolios
    from batchcore.sources.stored import ChangedCloses, OwnEquities, StoredRows


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
    check(catalog, kind.uses, writes=False)
    calendar = await load_calendar(session, catalog, request.calendar)
    return kind(session, catalog, calendar, request, fast=fast)


class PolicyAudit(abc.ABC):
    """A policy on the tables of a host."""

    stored_rules: ClassVar[stores.StoredRules]
    columns: tuple[str, ...]  # compared columns, in the order of the report
    computed: ClassVar[tuple[str, ...]]  # columns of native rows
    has_shares: ClassVar[bool] = False  # whether `sector_exposure` is another one
    of_first_row: ClassVar[tuple[str, ...]]  # columns whose value in a first row is certain
    of_pnl: ClassVar[tuple[str, ...]] = ("daily_pnl",)  # columns that an explanation reads
    sums: ClassVar[tuple[str, ...]]  # amounts that are daily and cumulative the same in a first row
    by_chain: ClassVar[tuple[str, ...]]  # columns that depend on the row before, beside the equity
    by_value: ClassVar[tuple[str, ...]]  # columns that depend on the value of PRIVATE lots
    by_quantity: ClassVar[tuple[str, ...]]  # columns that a partial close changes on earlier days
    ends_at_exit: ClassVar[bool] = True  # whether closes after an exit are ignored (S3, L8)
    of_day: ClassVar[bool] = False
    """Whether P&L and flows of a row belong to its day alone, not to the time since the row before
    it (L12, L18); then no row is a baseline either."""
    reads_deleted: ClassVar[bool] = False  # whether soft-deleted positions and events count
    uses: ClassVar[Use] = Use.ROLLFORWARD  # the uses of tables that it needs
    valuation: Valuation  # once `share` is done and anything is computed natively
    market: Market  # likewise
    host: Host | None = None  # likewise, where the policy needs one

    def __init__(
        self,
        session: Session,
        catalog: Catalog,
        calendar: Calendar,
        request: Request,
        *,
        fast: bool,
    ) -> None:
        """Take the tables; raise a `SchemaError` unless the policy can read them."""
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
        self.read = self.columns  # where they are there
        self.off: dict[str, str] = {}  # part of the columns -> why it cannot be computed
        self._closes, self._closes_of = stores.ChangedCloses.none(), (frozenset[str](), UNKNOWN, 0)

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
        """Return the rows from which each may continue, -1 for none; the likeliest first."""

    def current(self, stored: StoredRows) -> Bools:
        """Return for each stored row whether its day was current."""
        return np.zeros(len(stored), dtype=np.bool_)

    @abc.abstractmethod
    def reads(self, *, any_current: bool) -> dict[str, bool]:
        """Return whether changed profiles and betas count in rows, some on a current day or not."""

    async def inputs(self, check: ChunkCheck) -> Inputs:
        """Return the inputs of the rows of a chunk for the native core."""
        session, day, of = self.session, check.stored.day, (self.catalog, check.selection)
        book = Book(
            positions=await load(session, self.select_positions(check.selection)),
            events=await load(session, select_events(*of, deleted=self.reads_deleted)),
            flows=await load(session, select_flows(*of, int(day.min()), int(day.max()))),
        )
        return await self.convert(session, Inputs(check.ids, book), check.selection)

    async def convert(self, session: Session, inputs: Inputs, selection: Selection) -> Inputs:
        """Return inputs with the rates of their lots, once `share` is done (C6)."""
        if Use.RATES not in self.uses:
            return inputs
        currency = inputs.currency
        if self.catalog.schema.fx is not None:
            homes = await load(session, select_homes(self.catalog, selection))
            currency = homes.currency.take(located(inputs.ids, homes.id))
        book = await self.valuation.convert(session, inputs.book, currency)
        return replace(inputs, book=book, currency=currency)

    def select_positions(self, selection: Selection) -> Query[Positions]:
        """Return the positions that count."""
        select = select_all_positions if self.reads_deleted else select_positions
        return select(self.catalog, selection)

    def half_cents(self, rows: Int64, later: Int64) -> Int64:
        """Return by how much rounding may make stored P&L and contributions differ (X2).

        In half cents, for a number of rows of portfolios, some of which have one before them. A sum
        of `daily_pnl` has the unrealized P&L of both ends rounded, and what was realized in each
        row (S6); a baseline is 0.
        """
        found: Int64 = rows if self.of_day else np.where(later > 0, later + 2, 0)
        return found

    @abc.abstractmethod
    def contributions(self, links: Links, inputs: Inputs, cancel: CancelFlag) -> Contributions:
        """Return the contribution of each lot to the P&L of rows (X1, X4, X7)."""

    @abc.abstractmethod
    async def roll(self, ids: list[uuid.UUID]) -> Roll:
        """Return the reference on the portfolios of a chunk."""

    def cells(self, rows: Rows) -> tuple[dict[str, Decimals], Shares | None]:
        """Return the columns of native rows, and their `sector_exposure` if that is computed."""
        return columns_of(rows, self.computed), None

    def opens(self, links: Links) -> Bools:
        """Return which rows continue from an equity that is not stored (S5, L6)."""
        return links.first

    @abc.abstractmethod
    def judge(self, check: ChunkCheck, judged: Judgement) -> None:
        """Exclude cells that were not computed, or whose inputs were overwritten since."""

    async def analysed(
        self,
        check: ChunkCheck,  # noqa: ARG002  # what those need that compute such columns apart
        judged: Judgement,  # noqa: ARG002
    ) -> tuple[ExpectedRows, Bools] | None:
        """Return the expected values of separately computed analytic columns, and which differ."""
        return None

    @abc.abstractmethod
    def looks_back(self, links: Links, wrong: Bools) -> Int32:
        """Return the first day whose close rows with (k, c) wrong cells may have used."""

    def since(self, links: Links) -> Int32:
        """Return the day after which events and flows count in rows (S6, S7, L18)."""
        return links.day - 1 if self.of_day else links.previous_day

    async def changed_closes(self, symbols: Sequence[str], since: int, last: int) -> ChangedCloses:
        """Return the closes of symbols up to a day that were changed since a moment, or others too.

        Each time, all closes are searched. So those of a chunk are kept for the next ones, and read
        again only for further symbols, an earlier moment or a later day.
        """
        names, moment, day = self._closes_of
        if not (names.issuperset(symbols) and moment <= since and last <= day):
            names, moment, day = names.union(symbols), min(moment, since), max(day, last)
            query = stores.select_changed_closes(self.catalog, sorted(names), moment, day)
            self._closes, self._closes_of = await load(self.session, query), (names, moment, day)
        return self._closes.of(sorted(names), symbols)

    @abc.abstractmethod
    async def own_equities(
        self, portfolios: Portfolios, at: Int64, selection: Selection
    ) -> OwnEquities:
        """Return the expected `portfolios.equity_balance` of the portfolios ``at`` some rows."""


def latest_before(portfolio: Int32, counts: Bools) -> Int64:
    """Return for each stored row the latest earlier one of the same portfolio, -1 for none.

    Only rows that count: complete ones (S5), or all (L5).
    """
    latest = np.maximum.accumulate(np.where(counts, np.arange(len(portfolio)), -1))
    before = np.concatenate([[-1], latest])[:-1]
    same = portfolio[before] == portfolio
    return np.where((before >= 0) & same, before, -1)
