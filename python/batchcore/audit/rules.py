"""What a policy says of stored snapshots: the face that each policy has one of."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchcore.db import load as loads
from batchcore.db import load_stored as stores

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Collection

    import numpy as np
    import numpy.typing as npt

    from batchcore.audit.causes import Patterns
    from batchcore.audit.compare import Analysed, Judged
    from batchcore.audit.links import Expected, Links
    from batchcore.calendar import Calendar
    from batchcore.config import Settings
    from batchcore.db.audit_queries import AuditQueries
    from batchcore.db.catalog import Catalog
    from batchcore.db.engine import Session
    from batchcore.db.load import Portfolios
    from batchcore.db.load_stored import AddedEvents, Held, OwnEquities, Rewritten, StoredRows
    from batchcore.db.queries import Selection
    from batchcore.db.read import Reader

    Bools = npt.NDArray[np.bool_]
    Bytes = npt.NDArray[np.uint8]
    Int32 = npt.NDArray[np.int32]
    Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Ground:
    """What a verification stands on, under whichever policy.

    Attributes:
        session: To read in.
        catalog: The host's tables.
        reader: On these, for the reference.
        settings: `lookback_days` and `threads` count.
        fast: Whether rows are computed natively.
        start: First day of the range; None begins with the first row.
        end: Last day of the range; None ends with the last row.
        beta_weights: What `beta_provider_1y` is a share of under `rollforward` (A1).
    """

    session: Session
    catalog: Catalog
    reader: Reader
    settings: Settings
    fast: bool
    start: int | None
    end: int | None
    beta_weights: str


@dataclass(frozen=True, eq=False, slots=True)
class Chunk:
    """Portfolios that are looked at together, and their rows.

    Attributes:
        ids: (p, 16) uint8.
        selection: The same, for queries.
        stored: Their snapshots.
        rows: (k,) int64 complete ones that were asked for, rows of `stored`.
    """

    ids: Bytes
    selection: Selection
    stored: StoredRows
    rows: Int64

    @property
    def uuids(self) -> list[uuid.UUID]:
        """The ids."""
        return [stores.uuid_at(self.ids, row) for row in range(len(self.ids))]


@dataclass(frozen=True, eq=False, slots=True)
class AnalysedRows:
    """The analytic columns of some of the rows of a chunk.

    Attributes:
        own: Which of them.
        should: What these columns should be.
        wrong: (k, c) bool of all rows, which cells differ.
    """

    own: npt.NDArray[np.intp]
    should: Analysed
    wrong: Bools


class Rules(abc.ABC):
    """A policy on the tables of a host.

    Attributes:
        ground: What it stands on.
        queries: The SELECTs of the policy.
        calendar: Whose sessions count.
        columns: Those that are compared, in the order of the report.
        off: Part of the columns -> why it cannot be computed.
    """

    columns: tuple[str, ...]
    off: dict[str, str]

    def __init__(self, ground: Ground, queries: AuditQueries, calendar: Calendar) -> None:
        """Take what it stands on."""
        self.ground = ground
        self.queries = queries
        self.calendar = calendar
        self._rewritten: Rewritten | None = None

    async def rewritten(self) -> Rewritten:
        """Return the chunks that runs have computed anew; they are loaded once."""
        if self._rewritten is None:
            query = self.queries.rewritten()
            self._rewritten = await stores.load_rewritten(self.ground.session, query)
        return self._rewritten

    @abc.abstractmethod
    async def share(self, selection: Selection, first: int, last: int) -> None:
        """Load what all chunks share.

        Args:
            selection: All portfolios that are looked at.
            first: First day that anything is needed of.
            last: Last day of a row.
        """

    def inside(self, day: int) -> int:
        """Return the nearest day that the calendar knows."""
        return min(max(day, self.calendar.first_day), self.calendar.last_day)

    async def stored(self, selection: Selection, ids: Bytes) -> StoredRows:
        """Return the snapshots of a chunk in the range, and those before that they go on from."""
        ground = self.ground
        columns = self.queries.readable(self.columns)
        query = self.queries.stored(
            self.calendar, selection, ground.start, ground.end, self._needed(columns)
        )
        fetch = loads.load if ground.fast else stores.load_plainly
        return await stores.load_stored(ground.session, query, self.calendar, ids, fetch)

    def _needed(self, columns: Collection[str]) -> Collection[str]:
        """Return which of the columns that are there are read."""
        return columns

    @abc.abstractmethod
    def previous(self, stored: StoredRows) -> tuple[Int64, ...]:
        """Return the row that each may go on from, -1 for none; the likeliest first."""

    @abc.abstractmethod
    def part(self, chunk: Chunk) -> Part:
        """Return what the policy says of a chunk."""

    @abc.abstractmethod
    async def own_equities(self, portfolios: Portfolios, at: Int64, chunk: Chunk) -> OwnEquities:
        """Return what `portfolios.equity_balance` is to be, of the portfolios of a chunk.

        Args:
            portfolios: All, with the latest complete snapshot of each before the end of time.
            at: Those of the chunk.
            chunk: Itself.
        """


class Part(abc.ABC):
    """What a policy says of the rows of one chunk.

    Attributes:
        chunk: Itself.
        held: Positions, and when they were changed.
        events: Partial closes, and when they were added.
        patterns: By which columns the causes of differences show.
    """

    patterns: Patterns
    held: Held
    events: AddedEvents

    def __init__(self, rules: Rules, chunk: Chunk) -> None:
        """Take the chunk."""
        self._rules = rules
        self.chunk = chunk

    async def load_history(self) -> None:
        """Load `held` and `events`."""
        session, queries, chunk = self._rules.ground.session, self._rules.queries, self.chunk
        of = session, queries, chunk.selection, chunk.ids
        self.held = await stores.load_holdings(*of)
        self.events = await stores.load_added_events(*of)

    @abc.abstractmethod
    async def rows(self, links: Links, tick: Callable[[int], None]) -> Expected:
        """Return what rows should be; those that nothing can be said of are not known.

        Args:
            links: The rows, each with what it goes on from.
            tick: Called with how many more are done.
        """

    @abc.abstractmethod
    async def judge(self, links: Links, expected: Expected) -> Judged:
        """Return which cells the stored data determine."""

    async def analysed(
        self,
        links: Links,  # noqa: ARG002  # what those need that compute such columns apart
        expected: Expected,  # noqa: ARG002
        wrong: Bools,  # noqa: ARG002
        judged: Judged,  # noqa: ARG002
    ) -> AnalysedRows | None:
        """Return the columns that are compared with one unit in the last place allowed."""
        return None

    @abc.abstractmethod
    def looks_back(self, links: Links, wrong: Bools) -> Int32:
        """Return the first day whose close may have counted in rows.

        Args:
            links: The rows.
            wrong: (k, c) which cells differ.
        """

    @abc.abstractmethod
    def since(self, links: Links) -> Int32:
        """Return the day after which events and flows count in rows."""
