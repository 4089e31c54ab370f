"""The options of a run, each declared once: everything that takes or shows them derives from it.

`RunOptions` is what `run_batch`, `repair`, `PnLCalculator` and `BatchOrchestrator` take as
keywords; the command line makes its options of the same fields, and the ledger its fingerprint.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypedDict

from batchcore import policies
from batchcore.config import (
    ANALYTICS,
    BETA_WEIGHTS,
    ON_EXISTING,
    Analytics,
    BetaWeights,
    OnExisting,
    Settings,
)
from batchcore.declared import FINGERPRINT, check_types, option
from batchcore.errors import ConfigError
from batchcore.late_imports import check_choice

Progress = Callable[[str, int, int], object]
"""Called with phase, chunks done and chunks in all."""


class SharedKeywords(TypedDict, total=False):
    """Keywords of all runs, for type checkers; `RunOptions` says what they mean."""

    policy: str
    calendar: str
    analytics: Analytics
    beta_weights: BetaWeights
    resume: bool
    wait: float
    progress: Progress | None


class OptionKeywords(SharedKeywords, total=False):
    """Keywords of functions that take settings by position."""

    on_existing: OnExisting
    missing: bool
    changed_since: dt.datetime | None


class RunKeywords(OptionKeywords, total=False):
    """Keywords of `run_batch`."""

    settings: Settings | None


class RepairKeywords(SharedKeywords, total=False):
    """Keywords of `repair`."""

    settings: Settings | None


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of a run beside its dates and portfolios.

    Attributes:
        policy: Defines the figures: `rollforward`, docs/semantics.md, or `legacy`, docs/legacy.md.
        calendar: `XNYS`, `daily`, `prices` or, with the extra `calendars`, a code of
            exchange_calendars (S1).
        on_existing: Whether to `skip` or `replace` complete snapshots in the range, or to stop
            with an `error` (S13).
        missing: Whether to look for holes between snapshots: they are reported as `gap`, and with
            ``on_existing="replace"`` each portfolio is computed again from its first hole on (S13).
        changed_since: A `datetime` with a time zone. For each portfolio affected by prices,
            positions, events, flows, splits or rates that changed since then, the rows from the
            first affected session to the latest complete snapshot are computed again (S13).
            ``start_date`` is then the first day that may be rewritten, and ``end_date`` is not
            given.
        analytics: `portfolio`: the analytic columns of each portfolio's last session; `every`: of
            every session; `full`: as `portfolio`, and market values, position and factor tables;
            `none`: those columns are not touched.
        beta_weights: Whether `beta_provider_1y` is a share of the `market_value` of the lots with a
            beta, or of the `equity` (A1). No effect under `legacy` (L32).
        resume: Whether to continue a run of the same call that ended early; otherwise everything
            requested is computed again.
        wait: Seconds to wait for another run on some of the portfolios, until it ends or its lease
            expires. A warning in the log names it.
        settings: All other options; None is `Settings()`.
        progress: Called with phase, chunks done and chunks in all, at least once a second while
            work continues; forward it as your heartbeat.

    Raises:
        ConfigError: a value is wrong, two contradict each other, or the policy lacks one.
    """

    policy: str = option(
        policies.names()[0],
        f"Valuation rules: {', '.join(policies.names())}.",
        metavar="NAME",
        ledger=FINGERPRINT,
    )
    calendar: str = option(
        "XNYS",
        "XNYS, daily, prices or the code of an exchange.",
        metavar="CODE",
        ledger=FINGERPRINT,
    )
    on_existing: OnExisting = option(
        "skip",
        "What to do with existing complete snapshots.",
        choices=ON_EXISTING,
        ledger=FINGERPRINT,
    )
    missing: bool = option(
        False, "Report holes between snapshots; with replace, fill them.", ledger=FINGERPRINT
    )
    changed_since: dt.datetime | None = option(
        None,
        "Recompute only rows affected by data changed since TIMESTAMP.",
        metavar="TIMESTAMP",
        ledger=FINGERPRINT,
    )
    analytics: Analytics = option(
        "portfolio", "Which analytics to write.", choices=ANALYTICS, ledger=FINGERPRINT
    )
    beta_weights: BetaWeights = option(
        "market_value", "Weights of the provider beta.", choices=BETA_WEIGHTS, ledger=FINGERPRINT
    )
    resume: bool = option(True, "Resume the same run if it ended early.", has_opposite=True)
    wait: float = option(0, "Seconds to wait for a run on the same portfolios.", metavar="SECONDS")
    settings: Settings = field(default_factory=Settings)
    progress: Progress | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Check the options, and set those that others determine."""
        if self.settings is None:
            self._settle(settings=Settings())
        if not isinstance(self.settings, Settings):
            msg = f"settings is of type {type(self.settings).__name__}, expected Settings"
            raise ConfigError(f"{msg}; a database is given as `db`", "settings")
        check_types(self, RunOptions)
        policy = policies.entry(self.policy)
        for one in fields(RunOptions):
            if choices := one.metadata.get("choices"):
                check_choice(one.name, getattr(self, one.name), choices)
        if self.missing and self.on_existing == "error":
            msg = "missing continues after existing snapshots: on_existing is error, expected skip"
            raise ConfigError(f"{msg} or replace", "missing")
        self._settle(**policy.settled(self))
        if self.changed_since is not None:
            self._check_changed_since(self.changed_since)
            self._settle(on_existing="replace")
        if not self.wait >= 0:
            raise ConfigError(f"wait is {self.wait!r}, expected seconds, 0 or more", "wait")

    def _settle(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _check_changed_since(self, since: dt.datetime) -> None:
        if since.utcoffset() is None:
            msg = f"changed_since {since.isoformat()} needs a time zone"
        elif not _has_utc(since):
            msg = f"changed_since {since.isoformat()} is out of range"
        elif self.on_existing == "error":
            msg = "changed_since replaces snapshots: on_existing is error, expected replace"
        elif self.missing:
            msg = "changed_since rewrites after changes, missing after holes: give one of them"
        else:
            return
        raise ConfigError(msg, "changed_since")


def merged(options: RunOptions | None, overrides: Mapping[str, Any]) -> RunOptions:
    """Return options with some of them replaced."""
    return replace(options or RunOptions(), **overrides)


def recorded(options: RunOptions | Settings, kind: str) -> dict[str, Any]:
    """Return the options that the ledger records, of its fingerprint or its configuration."""
    return {
        one.name: _plain(getattr(options, one.name))
        for one in fields(options)
        if one.metadata.get("ledger") == kind
    }


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, dt.datetime):
        value = value.astimezone(dt.UTC)
    return value.isoformat() if isinstance(value, dt.date) else value


def _has_utc(since: dt.datetime) -> bool:
    try:
        since.astimezone(dt.UTC)
    except OverflowError:
        return False
    return True
