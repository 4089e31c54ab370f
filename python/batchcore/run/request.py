"""What a run was asked for, checked before anything is read."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchcore import calendar as calendars
from batchcore.arguments import checked_id, checked_values
from batchcore.config import ANALYTICS, ON_EXISTING, POLICIES, Settings
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
        end: Last day, included; None is the last session closed.
        wanted: (n, 16) uint8, sorted: which portfolios; None is all that are not soft-deleted.
        policy: What the figures mean.
        known_calendar: None for `prices`, which only the database knows.
        on_existing: What becomes of complete snapshots in the range (S13).
        missing: Whether to look for holes: they are reported, or under `replace` filled.
        changed_since: The moment from which on changes of the host are looked for: only rows that
            they affect are computed anew. None is an ordinary run.
        analytics: What of the analytics is written.
        settings: Everything else.
        price_source: Closes that were loaded before; they count before those stored.
        snapshot_source: Snapshots that were loaded before, likewise.
        moment: What "now" is, and the `created_at` of new rows, by the server's clock; None as
            long as that was not asked.
        began: When this attempt of the run began, likewise.
        committed: What earlier attempts of the run have committed.
    """

    start: dt.date | None = None
    end: dt.date | None = None
    wanted: npt.NDArray[np.uint8] | None = None
    policy: str = POLICIES[0]
    known_calendar: Calendar | None = None
    on_existing: str = ON_EXISTING[0]
    missing: bool = False
    changed_since: dt.datetime | None = None
    analytics: str = ANALYTICS[0]
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


def _known(moment: dt.datetime | None) -> dt.datetime:
    if moment is None:
        msg = "the server was not asked for its time"
        raise InternalError(msg)
    return moment


def make_request(
    start: dt.date | None,
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
) -> Request:
    """Return the arguments of a run, checked.

    Raises:
        ConfigError: one of them is wrong, or two contradict each other.
    """
    _check("policy", policy, POLICIES)
    _check("on_existing", on_existing, ON_EXISTING)
    if missing and on_existing == "error":
        msg = "missing goes on after snapshots that stand: on_existing is error, expected skip"
        raise ConfigError(f"{msg} or replace", "missing")
    _check("analytics", analytics, ANALYTICS)
    for option, date in (("start", start), ("end", end)):
        if date is not None and type(date) is not dt.date:
            msg = f"{option} is {date!r}, expected a datetime.date"
            raise ConfigError(msg, option)
    if policy == "legacy":
        _check_legacy(calendar, changed_since, missing=missing, analytics=analytics)
        analytics = "none"
    if start is not None and end is not None and start > end:
        msg = f"start {start.isoformat()} is after end {end.isoformat()}"
        raise ConfigError(msg, "start")
    if changed_since is not None:
        _check_changed_since(changed_since, end, on_existing, missing=missing)
        on_existing = "replace"
    return Request(
        start=start,
        end=end,
        wanted=None if portfolio_ids is None else _uuids(portfolio_ids),
        policy=policy,
        known_calendar=None if calendar == calendars.PRICES else calendars.load(calendar),
        on_existing=on_existing,
        missing=missing,
        changed_since=changed_since,
        analytics=analytics,
        settings=settings or Settings(),
    )


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


def _check(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        msg = f"unknown {option} `{value}`, expected one of {', '.join(known)}"
        raise ConfigError(msg, option)


def _check_legacy(
    calendar: str, changed_since: dt.datetime | None, *, missing: bool, analytics: str
) -> None:
    """Refuse what the policy `legacy` does not have; it writes columns of its own (L32 to L34)."""
    if calendar != "XNYS":
        msg = f"calendar is `{calendar}`, expected XNYS: the policy `legacy` knows no other (L2)"
        raise ConfigError(msg, "calendar")
    if missing:
        msg = "the policy `legacy` knows no `missing`: it fills the holes of a range as it is"
        raise ConfigError(msg, "missing")
    if changed_since is not None:
        msg = "the policy `legacy` knows no `changed_since`: later rows are not repaired (L7)"
        raise ConfigError(msg, "changed_since")
    if analytics in {"full", "every"}:
        msg = f"analytics is `{analytics}`, which the policy `legacy` does not have"
        raise ConfigError(msg, "analytics")


def _uuids(ids: Sequence[uuid.UUID | str]) -> npt.NDArray[np.uint8]:
    found = {
        checked_id(given, "portfolio_ids").bytes for given in checked_values(ids, "portfolio_ids")
    }
    return np.frombuffer(b"".join(sorted(found)), dtype=np.uint8).reshape(-1, 16)
