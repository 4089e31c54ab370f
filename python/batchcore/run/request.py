"""The request of a run, checked before anything is read."""

from __future__ import annotations

import asyncio
import datetime as dt  # imported for type annotations only
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from batchcore import calendar as calendars
from batchcore import policies
from batchcore.arguments import checked_id, checked_values
from batchcore.config import INCEPTION
from batchcore.declared import optional_date
from batchcore.errors import ConfigError, InternalError
from batchcore.options import RunOptions, merged
from batchcore.shards import in_shard

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable

    from batchcore.calendar import Calendar
    from batchcore.frames import Ids
    from batchcore.pg.ledger import Committed
    from batchcore.pg.session import SharedView
    from batchcore.run.plan import SnapshotSource
    from batchcore.run.prices import PriceSource
    from batchcore.sources.portfolios import LatestSnapshots


@dataclass(frozen=True, eq=False, kw_only=True)
class Request(RunOptions):
    """The arguments of a run: its options, dates and portfolios, and facts added later."""

    start: dt.date | None = None  # None continues after each latest snapshot
    inception: bool = False  # whether the range of each portfolio begins with its earliest entry
    end: dt.date | None = None  # None is the last session closed
    wanted: Ids | None = None  # sorted; None is all portfolios that are not soft-deleted
    known_calendar: Calendar | None = None  # None for `prices`, which only the database knows
    repairs: bool = False  # only rows from the first difference of a portfolio on are written
    price_source: PriceSource | None = None  # closes used before those stored
    snapshot_source: SnapshotSource | None = None  # likewise
    moment: dt.datetime | None = None  # "now", and the `created_at` of new rows, of the server
    began: dt.datetime | None = None  # when this attempt of the run began, by its clock
    committed: Committed | None = None  # by earlier attempts of the run
    view: SharedView | None = None  # the view that all shards of a run read, where one is held
    latest: LatestSnapshots | None = None  # the latest days of all portfolios in it
    order: str | None = None  # the id of the call of `run_on` that the run works for
    continues: str | None = None  # of a shard, the group of an earlier call, whose work is kept

    @property
    def now(self) -> dt.datetime:
        """The "now" of the run, once the server was asked."""
        if self.moment is None:
            msg = "the server was not asked for its time"
            raise InternalError(msg)
        return self.moment

    @property
    def own(self) -> Ids | None:
        """(n, 16) uint8, sorted: the requested portfolios of the shard; None is all."""
        if self.wanted is None:
            return None
        return np.ascontiguousarray(self.wanted[in_shard(self.wanted, self.settings.shard)])

    @property
    def replaces(self) -> bool:
        """Whether existing rows are computed again."""
        return self.on_existing == "replace"

    @property
    def only_rewrites(self) -> bool:
        """Whether only existing rows are computed again, and no portfolio continues."""
        return self.repairs or self.changed_since is not None

    @property
    def only_plans(self) -> bool:
        """Whether nothing is computed; a dry run of a repair computes, but writes nothing."""
        return self.settings.dry_run and not self.repairs


async def requested(*arguments: Any, **options: Any) -> Request:  # noqa: ANN401  # make_request's
    """Call `make_request` in a thread, as a calendar may import pandas."""
    return await asyncio.to_thread(make_request, *arguments, **options)


def make_request(
    start: dt.date | str | None,
    end: dt.date | None,
    portfolio_ids: Iterable[uuid.UUID | str] | None,
    options: RunOptions | None = None,
    *,
    repairs: bool = False,
    **overrides: Any,  # noqa: ANN401  # those of `RunOptions`
) -> Request:
    """Return the arguments of a run, checked."""
    chosen = merged(options, overrides)
    inception = start == INCEPTION
    if isinstance(start, str) and not inception:
        msg = f"start is {start!r}, expected a datetime.date or `{INCEPTION}`"
        raise ConfigError(msg, "start")
    first = None if inception else optional_date(start, "start")
    end = optional_date(end, "end")
    if inception and (chosen.missing or chosen.changed_since is not None or repairs):
        other = "missing" if chosen.missing else "repair" if repairs else "changed_since"
        msg = f"start is `{INCEPTION}`, which does not go with {other}: give a date or none"
        raise ConfigError(msg, "start")
    if repairs and (refusal := policies.entry(chosen.policy).repair_refusal) is not None:
        raise ConfigError(refusal, "policy")
    if first is not None and end is not None and first > end:
        msg = f"start {first.isoformat()} is after end {end.isoformat()}"
        raise ConfigError(msg, "start")
    if chosen.changed_since is not None and end is not None:
        msg = "changed_since rewrites up to each portfolio's latest snapshot: give no end"
        raise ConfigError(msg, "changed_since")
    wanted = None
    if portfolio_ids is not None:
        given = checked_values(portfolio_ids, "portfolio_ids")
        every = {checked_id(one, "portfolio_ids").bytes for one in given}
        wanted = np.frombuffer(b"".join(sorted(every)), dtype=np.uint8).reshape(-1, 16)
    calendar = chosen.calendar
    return Request(
        **{one.name: getattr(chosen, one.name) for one in fields(RunOptions)},
        start=first,
        inception=inception,
        end=end,
        wanted=wanted,
        known_calendar=None if calendar == calendars.PRICES else calendars.load(calendar),
        repairs=repairs,
    )
