"""What the policy `legacy` says of stored snapshots (L1 to L34)."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore import calendar as calendars
from batchcore import reference as ref
from batchcore.audit import causes, compare
from batchcore.audit import links as linking
from batchcore.audit.by_reference import LegacyByReference
from batchcore.audit.links import Expected
from batchcore.audit.natively import Inputs, LegacyNatively
from batchcore.audit.rules import Part, Rules
from batchcore.db import load as loads
from batchcore.db import load_legacy
from batchcore.db import load_stored as stores
from batchcore.db.analytic_tables import PROFILES
from batchcore.db.audit_queries import ANALYTIC, LegacyAuditQueries
from batchcore.db.legacy_queries import LegacyQueries
from batchcore.db.legacy_tables import check_tables
from batchcore.frames import Betas, Decimals
from batchcore.native import build_host, build_market
from batchcore.policies.legacy import PREVIOUS_CLOSE_DAYS
from batchcore.units import CENTS, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from batchcore.audit.links import Links
    from batchcore.audit.rules import Chunk, Ground
    from batchcore.calendar import Calendar
    from batchcore.db.load import Portfolios
    from batchcore.db.load_stored import OwnEquities, StoredRows
    from batchcore.db.queries import Selection
    from batchcore.native import Host, Market
    from batchcore.reference.legacy import Profile

    Bools = npt.NDArray[np.bool_]
    Int32 = npt.NDArray[np.int32]
    Int64 = npt.NDArray[np.int64]

CALENDAR: Final = "XNYS"

_NEVER_FILLED: Final = tuple(column for column in ANALYTIC if column not in compare.OF_DAY)
"""Columns of A4 to A6, which are NULL on every day (L31)."""

_MOST_CENTS: Final = 10**16
"""No amount that is stored is as large (L4)."""

_TRIES: Final = 3
"""How often an opening equity is corrected: after the second no more than a cent is left."""


class Legacy(Rules):
    """The policy on the tables of a host.

    Attributes:
        legacy: The SELECTs that a run shares.
        prices: Closes for the reference; None natively.
        profiles: For the reference, by symbol.
        market: Closes natively; None for the reference.
        host: Profiles natively; None for the reference.
        benchmark_since: Since when there is a weight of SP500, microseconds since 1970.
    """

    queries: LegacyAuditQueries

    def __init__(self, ground: Ground, calendar: Calendar | None = None) -> None:
        """Take what it stands on.

        Raises:
            SchemaError: the tables are not those that the policy reads and writes.
        """
        check_tables(ground.catalog, writes=False)
        queries = LegacyAuditQueries(ground.catalog)
        super().__init__(ground, queries, calendar or calendars.load(CALENDAR))
        self.legacy = LegacyQueries(ground.catalog)
        self.columns = queries.readable(compare.ALL_COLUMNS)
        self.off = {}
        self.prices: ref.Market | None = None
        self.profiles: Mapping[str, Profile] = {}
        self.market: Market | None = None
        self.host: Host | None = None
        self.benchmark_since = 0

    async def share(self, selection: Selection, first: int, last: int) -> None:
        """Load closes, profiles and since when there is a benchmark."""
        ground = self.ground
        session = ground.session
        symbols = await loads.load_symbols(session, self.queries, selection)
        spelt = {*symbols.table(), ""}
        self.benchmark_since = await stores.load_benchmark_since(
            session, self.queries, load_legacy.BENCHMARK
        )
        if not ground.fast:
            self.prices = await ground.reader.legacy_closes(spelt)
            self.profiles = await ground.reader.legacy_profiles(spelt)
            return
        first, last = self.inside(first), self.inside(last)
        start = max(first - PREVIOUS_CLOSE_DAYS, calendars.FIRST_DATE)
        closes = await load_legacy.load_legacy_closes(session, self.legacy, spelt, start, last)
        self.market = await asyncio.to_thread(
            build_market, closes, self.calendar.sessions(first, last), policy="legacy"
        )
        profiles = await load_legacy.load_spelt_profiles(session, self.legacy, spelt)
        # Rows with weights tell of a benchmark; `judge` leaves out those that tell of none.
        self.host = build_host(dt.date.max, profiles=profiles, has_benchmark=True)

    def previous(self, stored: StoredRows) -> tuple[Int64, ...]:
        """Return the latest row before each that stood when it was written, and that of today (L5).

        A row that was replaced keeps the time of its first writing, so that may be too early.
        """
        return linking.rows_that_stood(stored), linking.rows_before(stored)

    def part(self, chunk: Chunk) -> LegacyPart:
        """Return what the policy says of a chunk."""
        return LegacyPart(self, chunk)

    async def own_equities(
        self,
        portfolios: Portfolios,  # noqa: ARG002  # the latest of each, which need not be the last
        at: Int64,  # noqa: ARG002
        chunk: Chunk,
    ) -> OwnEquities:
        """Return the equity of the snapshot that was written last (L7)."""
        return await stores.load_last_run(
            self.ground.session, self.queries, chunk.selection, chunk.ids
        )


class LegacyPart(Part):
    """What the policy says of the rows of a chunk."""

    patterns = causes.BY_LEGACY

    def __init__(self, rules: Legacy, chunk: Chunk) -> None:
        """Take the chunk."""
        super().__init__(rules, chunk)
        self._own = rules
        self._current = compare.is_analysed(chunk.stored, compare.OF_DAY)
        self._computer: LegacyByReference | LegacyNatively | None = None

    async def _made_computer(self) -> LegacyByReference | LegacyNatively:
        if self._computer is None:
            rules = self._own
            if rules.market is not None and rules.host is not None:
                self._computer = await self._natively(rules.market, rules.host)
            else:
                reader = rules.ground.reader
                portfolios = await reader.legacy_portfolios(self.chunk.uuids)
                prices = rules.prices or ref.Market({}, {}, ())
                self._computer = LegacyByReference(
                    portfolios, prices, rules.profiles, reader.scales
                )
        return self._computer

    async def _natively(self, market: Market, host: Host) -> LegacyNatively:
        rules, chunk = self._own, self.chunk
        session, selection = rules.ground.session, chunk.selection
        days = chunk.stored.day
        inputs = Inputs(
            chunk.ids,
            await load_legacy.load_all_positions(session, rules.legacy, selection),
            await loads.load_events(session, rules.queries, selection, deleted=True),
            await loads.load_flows(
                session, rules.queries, selection, int(days.min()), int(days.max())
            ),
        )
        betas = Betas.none()
        if self._current[chunk.rows].any():
            betas = await load_legacy.load_betas(session, rules.legacy, selection)
        threads = rules.ground.settings.threads
        return LegacyNatively(market, inputs, threads, host=host, betas=betas)

    async def rows(self, links: Links, tick: Callable[[int], None]) -> Expected:
        """Return what rows should be; unknown where they go on from what is no amount.

        Where a row does not go on from the equity of P (L6), what it did go on from has been
        overwritten since: it is taken to be what leads to the equity of the row.
        """
        computer = await self._made_computer()
        able = np.flatnonzero(_usable(links))
        part, current = links.part(able), self._current[links.row[able]]
        tick(len(links) - len(able))
        opening = np.zeros(len(part), dtype=np.int64)
        expected = await computer.legacy_rows(part, opening, current, tick)
        again = np.flatnonzero(_opens(part))
        for _ in range(_TRIES):
            again = again[expected.known[again]]
            off = _cents(part.equity)[again] - expected.cells["equity_balance"].values[again]
            again, off = again[off != 0], off[off != 0]
            if len(again) == 0:
                break
            opening[again] += off
            other = await computer.legacy_rows(
                part.part(again), opening[again], current[again], lambda _: None
            )
            expected = linking.replaced(expected, again, other, np.arange(len(again)))
        cells = dict(expected.cells)
        cells |= {name: Decimals.nulls(len(part)) for name in _NEVER_FILLED}
        found = Expected(expected.known, cells, expected.shares)
        return linking.spread(found, able, len(links))

    async def judge(self, links: Links, expected: Expected) -> compare.Judged:
        """Return which cells the stored data determine."""
        chunk, rules = self.chunk, self._own
        stored, rows = chunk.stored, chunk.rows
        judged = compare.Judged(len(rows), rules.columns)
        judged.leave_out("portfolio_fails", ~expected.known)
        judged.leave_out("opening", _opens(links), ("equity_balance",))
        earlier = links.first & expected.known
        earlier[earlier] = compare.tells_of_earlier_legacy_rows(
            stored, rows[earlier], expected.part(np.flatnonzero(earlier))
        )
        judged.leave_out("earlier_rows", earlier, compare.BY_LEGACY_CHAIN)
        # Without active positions these columns are NULL on every day (L25).
        active = expected.cells["num_positions"].values > 0
        current = self._current[rows]
        judged.leave_out("not_analysed", active & ~current, compare.OF_DAY)
        valued = compare.private_values_changed(stored, rows, self.held, self.events)
        judged.leave_out("private_value", valued, compare.EXPOSURES)
        parted = compare.closed_since(stored, rows, self.events)
        judged.leave_out("closed_since", parted, compare.BY_QUANTITY)
        if (active & current).any():
            await self._judge_current(judged, active & current)
        return judged

    async def _judge_current(self, judged: compare.Judged, current: Bools) -> None:
        """Leave out what L32 to L34 read of a state that has been overwritten since."""
        chunk, rules, held = self.chunk, self._own, self.held
        stored, rows = chunk.stored, chunk.rows
        session, queries = rules.ground.session, rules.queries
        portfolio, written = stored.portfolio[rows], stored.written[rows]
        pair = compare.pairs(portfolio, held.portfolio)

        def holds(changed: Int64) -> Bools:
            """Return the rows with a position for which something was changed since."""
            since = changed[pair.right] > written[pair.left]
            return current & compare.any_by_left(pair, since, len(rows))

        judged.leave_out("position_edited", holds(held.changed), compare.OF_DAY)
        if queries.has_table(PROFILES):
            changed = await stores.load_changed_profiles(session, queries, held.symbols)
            never = np.iinfo(np.int64).min
            of_symbol = np.array([changed.get(one, never) for one in held.symbols], dtype=np.int64)
            profiles = of_symbol[held.symbol] if len(held) else held.changed
            judged.leave_out("profile_changed", holds(profiles), compare.BY_PROFILE)
        betas = await stores.load_changed_betas(session, queries, chunk.selection, chunk.ids)
        since = current & (betas[portfolio] > written)
        judged.leave_out("beta_changed", since, ("beta_provider_1y",))
        weighed = compare.is_analysed(stored, compare.OF_WEIGHTS)[rows]
        since = current & ~weighed & (written < rules.benchmark_since)
        judged.leave_out("benchmark_changed", since, compare.OF_WEIGHTS)

    def looks_back(self, links: Links, wrong: Bools) -> Int32:
        """Return the first day whose close may have counted in rows (L12, L26)."""
        back = links.day - PREVIOUS_CLOSE_DAYS
        back[compare.in_any(wrong, compare.EXPOSURES)] = calendars.FIRST_DATE
        return np.maximum(back, calendars.FIRST_DATE).astype(np.int32)

    def since(self, links: Links) -> Int32:
        """Return the day before: what is of no session is never picked up (L18)."""
        return links.day - 1


def _opens(links: Links) -> Bools:
    """Return which rows go on from the column of the portfolio (L6)."""
    equity = links.carried["equity_balance"]
    zero = (equity.state == State.VALUE) & (equity.values == 0)
    found: Bools = links.first | zero | (equity.state == State.NULL)
    return found


def _usable(links: Links) -> Bools:
    """Return which rows go on from what is an amount, or has been (L6, L21)."""
    found = np.ones(len(links), dtype=np.bool_)
    for column in links.carried.values():
        found &= links.first | linking.in_cents(column) | (column.state == State.NULL)
    own = linking.in_cents(links.equity) & (np.abs(_cents(links.equity)) < _MOST_CENTS)
    return found & (own | ~_opens(links))


def _cents(column: Decimals) -> Int64:
    """Return values in cents; those that are none mean nothing."""
    return column.values // np.int64(10 ** max(column.scale - CENTS, 0))
