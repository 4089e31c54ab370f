"""What a run was asked for, checked before anything is read."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batchcore import calendar as calendars
from batchcore.arguments import checked_id, checked_values
from batchcore.config import (
    ANALYTICS,
    BETA_WEIGHTS,
    INCEPTION,
    ON_EXISTING,
    POLICIES,
    Settings,
)
from batchcore.entry import check_choice, check_legacy
from batchcore.errors import ConfigError, InternalError

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    import numpy.typing as npt

    from batchcore.calendar import Calendar
    from batchcore.db.ledger import Committed
    from batchcore.run.prices import PriceSource
    from batchcore.run.snapshots import SnapshotSource


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Request:
    """The arguments of a run.

    Attributes:
        start: First day of the range, included; None goes on after each latest snapshot.
        inception: Whether the range of each portfolio begins with its earliest entry.
        end: Last day, included; None is the last session closed.
        wanted: (n, 16) uint8, sorted: which portfolios; None is all that are not soft-deleted.
        policy: What the figures mean.
        known_calendar: None for `prices`, which only the database knows.
        on_existing: What becomes of complete snapshots in the range (S13).
        missing: Whether to look for holes: they are reported, or under `replace` filled.
        changed_since: The moment from which on changes of the host are looked for: only rows that
            they affect are computed anew. None is an ordinary run.
        repairs: Whether existing rows are compared with recomputed ones, and only those of a
            portfolio from its first difference on are written.
        analytics: What of the analytics is written.
        beta_weights: What `beta_provider_1y` is a share of (A1).
        wait_s: How long to wait for another run on some of the portfolios to end.
        settings: Everything else.
        price_source: Closes that were loaded before; they count before those stored.
        snapshot_source: Snapshots that were loaded before, likewise.
        moment: What "now" is, and the `created_at` of new rows, by the server's clock; None as
            long as that was not asked.
        began: When this attempt of the run began, likewise.
        committed: What earlier attempts of the run have committed.
    """

    start: dt.date | None = None
    inception: bool = False
    end: dt.date | None = None
    wanted: npt.NDArray[np.uint8] | None = None
    policy: str = POLICIES[0]
    known_calendar: Calendar | None = None
    on_existing: str = ON_EXISTING[0]
    missing: bool = False
    changed_since: dt.datetime | None = None
    repairs: bool = False
    analytics: str = ANALYTICS[0]
    beta_weights: str = BETA_WEIGHTS[0]
    wait_s: float = 0.0
    settings: Settings
    price_source: PriceSource | None = None
    snapshot_source: SnapshotSource | None = None
    moment: dt.datetime | None = None
    began: dt.datetime | None = None
    committed: Committed | None = None

    @property
    def now(self) -> dt.datetime:
        """What "now" is, once the server was asked."""
        return _known(self.moment)

    @property
    def attempt_began(self) -> dt.datetime:
        """When this attempt began, once the server was asked."""
        return _known(self.began)

    @property
    def replaces(self) -> bool:
        """Whether rows that stand are computed anew."""
        return self.on_existing == "replace"

    @property
    def only_rewrites(self) -> bool:
        """Whether only existing rows are computed again, and no portfolio goes on."""
        return self.repairs or self.changed_since is not None

    @property
    def only_plans(self) -> bool:
        """Whether nothing is computed: a dry run of a repair computes all, and writes nothing."""
        return self.settings.dry_run and not self.repairs


def _known(moment: dt.datetime | None) -> dt.datetime:
    if moment is None:
        msg = "the server was not asked for its time"
        raise InternalError(msg)
    return moment


async def requested(*arguments: Any, **options: Any) -> Request:  # noqa: ANN401  # make_request's
    """Return what `make_request` does, in a thread: a calendar may bring pandas."""
    return await asyncio.to_thread(make_request, *arguments, **options)


def make_request(
    start: dt.date | str | None,
    end: dt.date | None,
    portfolio_ids: Sequence[uuid.UUID | str] | None,
    *,
    policy: str,
    calendar: str,
    on_existing: str,
    missing: bool,
    analytics: str,
    settings: Settings | None,
    changed_since: dt.datetime | None = None,
    repairs: bool = False,
    beta_weights: str = BETA_WEIGHTS[0],
    wait: float = 0,
) -> Request:
    """Return the arguments of a run, checked.

    Raises:
        ConfigError: one of them is wrong, or two contradict each other.
    """
    check_choice("policy", policy, POLICIES)
    check_choice("on_existing", on_existing, ON_EXISTING)
    if missing and on_existing == "error":
        msg = "missing goes on after snapshots that stand: on_existing is error, expected skip"
        raise ConfigError(f"{msg} or replace", "missing")
    check_choice("analytics", analytics, ANALYTICS)
    check_choice("beta_weights", beta_weights, BETA_WEIGHTS)
    first, inception = _first_day(start)
    if end is not None and type(end) is not dt.date:
        msg = f"end is {end!r}, expected a datetime.date"
        raise ConfigError(msg, "end")
    if inception and (missing or changed_since is not None or repairs):
        other = "missing" if missing else "repair" if repairs else "changed_since"
        msg = f"start is `{INCEPTION}`, which does not go with {other}: give a date or none"
        raise ConfigError(msg, "start")
    if policy == "legacy":
        if repairs:
            msg = (
                "the policy `legacy` knows no repair: what its rows came from is overwritten, and"
                " later rows are not repaired (L7); verify reports which cells differ"
            )
            raise ConfigError(msg, "policy")
        check_legacy(calendar, changed_since, missing=missing, analytics=analytics)
        analytics = "none"
    if first is not None and end is not None and first > end:
        msg = f"start {first.isoformat()} is after end {end.isoformat()}"
        raise ConfigError(msg, "start")
    if changed_since is not None:
        _check_changed_since(changed_since, end, on_existing, missing=missing)
        on_existing = "replace"
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not wait >= 0:
        msg = f"wait is {wait!r}, expected seconds, 0 or more"
        raise ConfigError(msg, "wait")
    return Request(
        start=first,
        inception=inception,
        end=end,
        wanted=None if portfolio_ids is None else _uuids(portfolio_ids),
        policy=policy,
        known_calendar=None if calendar == calendars.PRICES else calendars.load(calendar),
        on_existing=on_existing,
        missing=missing,
        changed_since=changed_since,
        repairs=repairs,
        analytics=analytics,
        beta_weights=beta_weights,
        wait_s=wait,
        settings=settings or Settings(),
    )


def _first_day(start: dt.date | str | None) -> tuple[dt.date | None, bool]:
    """Return the first day of a range, and whether it begins with each earliest entry."""
    if start == INCEPTION:
        return None, True
    if start is None or type(start) is dt.date:
        return start, False
    msg = f"start is {start!r}, expected a datetime.date or `{INCEPTION}`"
    raise ConfigError(msg, "start")


def _check_changed_since(
    since: dt.datetime, end: dt.date | None, on_existing: str, *, missing: bool
) -> None:
    if not isinstance(since, dt.datetime):
        msg = f"changed_since is {since!r}, expected a datetime.datetime"
    elif since.utcoffset() is None:
        msg = f"changed_since {since.isoformat()} needs a time zone"
    elif not _has_utc(since):
        msg = f"changed_since {since.isoformat()} is out of range"
    elif on_existing == "error":
        msg = "changed_since replaces snapshots that stand: on_existing is error, expected replace"
    elif missing:
        msg = "changed_since rewrites what changes affect, missing what holes do: give one of them"
    elif end is not None:
        msg = "changed_since rewrites up to each portfolio's latest snapshot: give no end"
    else:
        return
    raise ConfigError(msg, "changed_since")


def _has_utc(since: dt.datetime) -> bool:
    try:
        since.astimezone(dt.UTC)
    except OverflowError:
        return False
    return True


def _uuids(ids: Sequence[uuid.UUID | str]) -> npt.NDArray[np.uint8]:
    found = {
        checked_id(given, "portfolio_ids").bytes for given in checked_values(ids, "portfolio_ids")
    }
    return np.frombuffer(b"".join(sorted(found)), dtype=np.uint8).reshape(-1, 16)
