"""The policy `legacy` for stored snapshots (L1 to L34)."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore import reference as ref
from batchcore.audit import compare
from batchcore.audit.compute import columns_of, shares_of
from batchcore.audit.policy import PolicyAudit, latest_before
from batchcore.db.analytic_tables import LEGACY, LEGACY_USES, POSITION_BETAS, PROFILES
from batchcore.frames import ComputedDays, Decimals, Opening
from batchcore.native import CancelFlag, build_host, contributions
from batchcore.policies.legacy import PREVIOUS_CLOSE_DAYS
from batchcore.reference import legacy
from batchcore.run.valuation import Valuation
from batchcore.schema import COUNT_COLUMNS, RULE_COLUMNS
from batchcore.sources import stored as stores
from batchcore.sources.host import Selection, part, select
from batchcore.sources.positions import load_symbols
from batchcore.sources.prices import load_legacy_closes
from batchcore.sources.profiles import select_newest_betas, select_spelt_profiles
from batchcore.sources.query import load
from batchcore.sources.reference_rows import bytes_of, selected
from batchcore.sources.stored import ANALYTIC, SHARES, Fact, OwnEquities, StoredRows, StoredRules
from batchcore.units import State
from batchcore.values import present, upper

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from batchcore.audit.chunk_check import ChunkCheck
    from batchcore.audit.compute import Inputs, Links, Roll, Shares
    from batchcore.frames import Bools, Contributions, Int32, Int64, Rows
    from batchcore.sources.portfolios import Portfolios


OF_DAY: Final = ("beta_provider_1y", *compare.OF_WEIGHTS)
"""Columns that are filled on a current day (L32 to L34)."""

BY_CHAIN: Final = (
    *("daily_pnl", "daily_return"),
    *("cumulative_pnl", "cumulative_realized_pnl", "cumulative_capital_flow"),
    *("beta_provider_1y", SHARES),
)
"""Columns that depend on P, beside the equity; P&L is 0 without one (L11)."""

BY_QUANTITY: Final = (
    *("total_value", "equity_balance", "daily_pnl", "daily_return", "cumulative_pnl"),
    *compare.EXPOSURES,
    *COUNT_COLUMNS[1:],
    *OF_DAY,
)
"""Columns that depend on the quantities of positions (L15 to L34)."""

_NEVER_FILLED: Final = tuple(column for column in ANALYTIC if column not in OF_DAY)
"""Columns of A4 to A6, which are NULL on every day (L31)."""

_NATIVE: Final = ("total_value", *(name for name in LEGACY if name != SHARES))
"""Columns of native rows that only this policy has, beside `sector_exposure`."""

# A row continues from the latest one that existed when it was written (L5): so all rows since the
# latest that is not younger than any of the range; as a rule that is one row. Events of
# soft-deleted positions count too (L17).
STORED_RULES: Final = StoredRules(
    complete=lambda catalog, _: part(catalog, "{s.is_complete}"),  # (L3), whatever its day
    earlier="""
    isfinite({s.snapshot_date}) AND {s.snapshot_date} >= COALESCE((
        SELECT {s.snapshot_date} FROM {s}
        WHERE {s.portfolio_id} = {o.id} AND {s.snapshot_date} < {first:date}
            AND isfinite({s.snapshot_date})
            AND {written} <= (
                SELECT min({written}) FROM {s} WHERE {s.portfolio_id} = {o.id} AND {in_range})
        ORDER BY {s.snapshot_date} DESC LIMIT 1), {first_date:date})
    """,
    is_dated="isfinite({p.entry_date})",
    end="CASE WHEN isfinite({p.exit_date}) THEN {p.exit_date} END",
    private="({p.investment_class}::text = 'PRIVATE') IS TRUE",
    of_alive=False,
)


class LegacyAudit(PolicyAudit):
    """The policy on the tables of a host."""

    columns = (*RULE_COLUMNS, *ANALYTIC, *stores.GREEKS, *stores.EMPTY)
    stored_rules: ClassVar = STORED_RULES
    computed: ClassVar = (*RULE_COLUMNS, *_NATIVE[1:], *_NEVER_FILLED)
    has_shares: ClassVar = True
    of_first_row: ClassVar = ("daily_pnl", "daily_return")
    of_pnl: ClassVar = ("daily_pnl", "daily_realized_pnl")
    sums: ClassVar = ("pnl", "realized_pnl", "capital_flow")
    by_chain: ClassVar = BY_CHAIN
    by_value: ClassVar = compare.EXPOSURES
    by_quantity: ClassVar = BY_QUANTITY
    ends_at_exit: ClassVar = False  # it goes on (L8)
    of_day: ClassVar = True
    uses: ClassVar = LEGACY_USES
    reads_deleted: ClassVar = True  # for what they realized (L17)

    _prices = ref.market(())
    _profiles: Mapping[str, legacy.Profile] = {}
    _benchmark_since = 0

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # of `PolicyAudit`
        """Compare the existing columns."""
        super().__init__(*args, **options)
        self.columns = self.read = stores.readable(self.catalog, self.columns)

    async def share(self, selection: Selection, first: int, last: int) -> None:
        """Load closes, profiles and the moment since which there is a benchmark."""
        session, catalog = self.session, self.catalog
        symbols = await load_symbols(session, catalog, selection)
        spelt = {*symbols.table(), ""}
        self._benchmark_since = await load(session, stores.select_benchmark_since(catalog))
        if not self.fast:
            # Every finite close, as spelt and in upper case (L10, L12, L26).
            found = await self.reader.spelt_closes(sorted({*spelt, *map(upper, spelt)}))
            self._prices = await asyncio.to_thread(legacy.closes, found, self.reader.scales)
            self._profiles = await self._spelt_profiles(spelt)
            return
        start = max(first - PREVIOUS_CLOSE_DAYS, calendars.FIRST_DATE)
        closes = await load_legacy_closes(session, catalog, spelt, start, last)
        sessions = self.calendar.sessions(first, last)
        self.valuation = Valuation(catalog, self.request.settings, sessions)
        self.market = await self.valuation.market(session, closes)
        profiles, _ = await load(session, select_spelt_profiles(catalog, spelt))
        # Rows with weights had a benchmark; `judge` excludes those that had none.
        self.host = build_host(dt.date.max, profiles=profiles, has_benchmark=True)

    def previous(self, stored: StoredRows) -> tuple[Int64, ...]:
        """Return the latest row before each that existed when it was written, and that of today.

        A replaced row keeps the time of its first writing, so this may be too early (L5). A row
        that says what positions earned had one before it (L11).
        """
        every = np.ones(len(stored), dtype=np.bool_)
        latest, cells = latest_before(stored.portfolio, every), stored.cells
        earned = compare.differs(cells["daily_pnl"], cells["daily_realized_pnl"])
        at_writing = rows_at_writing(stored)
        return np.where((at_writing < 0) & earned, latest, at_writing), at_writing, latest

    def current(self, stored: StoredRows) -> Bools:
        """Return which rows have a column of a current day."""
        return compare.is_analysed(stored, OF_DAY)

    def reads(self, *, any_current: bool) -> dict[str, bool]:
        """Return that profiles and betas count on current days, if the tables exist."""
        tables = {"profiles": PROFILES, "betas": POSITION_BETAS}
        return {name: any_current and self.catalog.has_table(t) for name, t in tables.items()}

    async def inputs(self, check: ChunkCheck) -> Inputs:
        """Return the inputs with the betas that count on current days."""
        inputs = await super().inputs(check)
        if not check.any_current:
            return inputs
        betas = await load(self.session, select_newest_betas(self.catalog, check.selection))
        return replace(inputs, book=replace(inputs.book, betas=betas))

    def contributions(self, links: Links, inputs: Inputs, cancel: CancelFlag) -> Contributions:
        """Return the contribution of each position on the days of the rows (X7)."""
        return contributions(
            self.market,
            inputs.book,
            opening=Opening(portfolio_id=inputs.ids, equity=Decimals.nulls(len(inputs.ids))),
            days=ComputedDays(portfolio=links.portfolio, day=links.day, earns=~links.first),
            threads=self.request.settings.threads,
            cancel=cancel,
        )

    async def roll(self, ids: list[uuid.UUID]) -> Roll:
        """Return the reference on the portfolios of a chunk."""
        portfolios = await self._portfolios(ids)
        scales = self.reader.scales

        def row(
            portfolio: int, day: int, previous: tuple[Any, ...] | None, equity: Decimal, today: int
        ) -> legacy.Row | None:
            before = () if previous is None else (ref.Snapshot(*previous),)
            start = replace(portfolios[portfolio], equity_balance=equity, snapshots=before)
            shared = legacy.Shared(self._prices, (day,), today, profiles=self._profiles)
            return next(iter(legacy.roll(start, shared, [day], scales).rows), None)

        return row

    async def _portfolios(self, ids: Sequence[uuid.UUID]) -> list[legacy.Portfolio]:
        """Return portfolios with no snapshot and no equity.

        Positions, soft-deleted ones too, are in the order of the bytes of their ids.
        """
        selection = selected(ids)
        held = await self.reader.positions(selection, deleted=True)
        paid = await self.reader.flows(selection)
        betas = await self._betas([own for of_one in held.values() for own in of_one])
        portfolios = []
        for one in ids:
            in_order = sorted(held[one], key=lambda own: own.bytes)
            positions = (replace(held[one][own], betas=tuple(betas[own])) for own in in_order)
            made = legacy.Portfolio(str(one), None, tuple(positions), tuple(paid[one]))
            portfolios.append(made)
        return portfolios

    async def _betas(self, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[ref.Beta]]:
        found: dict[uuid.UUID, list[ref.Beta]] = defaultdict(list)
        if not self.catalog.has_table(POSITION_BETAS):
            return found
        template = "SELECT {columns} FROM {b} WHERE {b.position_id} = ANY({ids:uuids})"
        read = "b.position_id, b.beta, b.calc_date day"
        query = select(self.catalog, "betas", dict[str, Any], read, template, ids=bytes_of(ids))
        for row in await self.reader.read(query):
            if row["day"] is not None and row["beta"] is not None:
                found[row["position_id"]].append(ref.Beta(row["day"], row["beta"]))
        return found

    async def _spelt_profiles(self, spelt: set[str]) -> dict[str, legacy.Profile]:
        rows = await self.reader.read(select_spelt_profiles(self.catalog, spelt))
        count = Counter(row["symbol"] for row in rows)
        only = [row for row in rows if count[row["symbol"]] == 1]
        return {row.pop("symbol"): legacy.Profile(**row) for row in only}

    def cells(self, rows: Rows) -> tuple[dict[str, Decimals], Shares | None]:
        """Return the columns of native rows, and their `sector_exposure`."""
        own = {name: getattr(rows.legacy, name) for name in _NATIVE}
        return columns_of(rows, RULE_COLUMNS) | own, shares_of(present(rows.legacy).sector_exposure)

    def opens(self, links: Links) -> Bools:
        """Return which rows continue from the column of the portfolio (L6).

        Its former value was overwritten since.
        """
        equity = links.carried["equity_balance"]
        zero = (equity.state == State.VALUE) & (equity.values == 0)
        found: Bools = links.first | zero | (equity.state == State.NULL)
        return found

    def judge(self, check: ChunkCheck, judged: compare.Judgement) -> None:
        """Exclude the figures of L32 to L34, whose inputs were overwritten since."""
        current, facts, written = check.current[check.rows], check.facts, check.written
        # Without active positions these columns are NULL on every day (L25).
        active = check.expected.cells["num_positions"].values > 0
        judged.leave_out("not_analysed", active & ~current, OF_DAY)
        filled = active & current
        for reason, kind, columns in (
            ("position_edited", Fact.POSITION, OF_DAY),
            ("profile_changed", Fact.PROFILE, compare.BY_PROFILE),
            ("beta_changed", Fact.BETA, ("beta_provider_1y",)),
        ):
            judged.leave_out(reason, filled & written.changed(facts, facts.kind == kind), columns)
        weighed = compare.is_analysed(check.stored, compare.OF_WEIGHTS)[check.rows]
        since = filled & ~weighed & (written.at < self._benchmark_since)
        judged.leave_out("benchmark_changed", since, compare.OF_WEIGHTS)

    def looks_back(self, links: Links, wrong: Bools) -> Int32:
        """Return the first day with a close that may have been used in rows (L12, L26)."""
        back = links.day - PREVIOUS_CLOSE_DAYS
        back[compare.in_any(wrong, compare.EXPOSURES)] = calendars.FIRST_DATE
        return np.maximum(back, calendars.FIRST_DATE).astype(np.int32)

    async def own_equities(
        self,
        portfolios: Portfolios,  # the latest of each, which may not be the last
        at: Int64,
        selection: Selection,
    ) -> OwnEquities:
        """Return the equity of the snapshot that was written last (L7)."""
        ids = np.ascontiguousarray(portfolios.id[at])
        return await load(self.session, stores.select_last_run(self.catalog, selection, ids))


def rows_at_writing(stored: StoredRows) -> Int64:
    """Return for each row the latest earlier one that is not younger, -1 for none.

    A row that was written later, out of order, is not the one that this row continued from (L5,
    L7).
    """
    found = np.full(len(stored), -1, dtype=np.int64)
    # A stack of candidates: younger rows are skipped by all rows that follow an older one.
    open_rows: list[int] = []
    portfolio, written = stored.portfolio.tolist(), stored.written.tolist()
    for row in range(len(stored)):
        if open_rows and portfolio[open_rows[-1]] != portfolio[row]:
            open_rows.clear()
        while open_rows and written[open_rows[-1]] > written[row]:
            open_rows.pop()
        if open_rows:
            found[row] = open_rows[-1]
        open_rows.append(row)
    return found
