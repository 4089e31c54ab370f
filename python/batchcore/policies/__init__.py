"""The policies by name; a page of rules defines the figures of each.

A `Policy` determines what a run reads, plans, computes and writes. Only this package knows policies
by name: the rest of batchcore asks their entries. These are light, so that options are checked
before NumPy and the driver are imported; the module of a policy is imported when a run begins.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from batchcore.config import CHECKS
from batchcore.errors import ConfigError
from batchcore.late_imports import check_choice

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

    from batchcore.audit.policy import PolicyAudit
    from batchcore.frames import Inputs
    from batchcore.native import Host
    from batchcore.options import RunOptions
    from batchcore.policies.policy import Policy

FAILURES: Final = ("out_of_range", "fx_missing", "non_finite", "not_representable", *CHECKS)
"""Names of issues that fail a portfolio, where they have a session."""


def _imported(module: str, name: str) -> Callable[[], Any]:
    return lambda: getattr(importlib.import_module(f"{__name__}.{module}"), name)


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    """The facts about a policy known before it is imported."""

    load: Callable[[], type[Policy]]
    rules: str = "rollforward"  # by which the compiled module computes its rows
    audit: Callable[[], type[PolicyAudit]] | None = None  # to verify its rows; None if it cannot
    repaired: Callable[[], type[Policy]] | None = None  # for repairs: writes only differences
    settled: Callable[[RunOptions], Mapping[str, Any]] = lambda _: {}
    """Raises an error for options that it lacks; returns those that it determines itself."""
    repair_refusal: str | None = "the policy has no repair"
    host: Callable[[Inputs, dt.date | None], Host | None] | None = None
    """Returns the inputs of native rules beside frames, for `compute`; None without such rules."""
    checks_prices: bool = True  # whether it looks at the coverage of prices (S12)
    failures_by_day: tuple[str, ...] = ()  # issues of a day alone; others fail a portfolio whole


def _settled_by_legacy(options: RunOptions) -> Mapping[str, Any]:
    """Raise an error for options that `legacy` lacks; it writes columns of its own (L32 to L34)."""
    if options.calendar != "XNYS":
        msg = (
            f"calendar is `{options.calendar}`, expected XNYS, the only one of the policy `legacy`"
        )
        raise ConfigError(f"{msg} (L2)", "calendar")
    if options.missing:
        msg = (
            "the policy `legacy` does not support `missing`: it fills the holes of a range as it is"
        )
        raise ConfigError(msg, "missing")
    if options.changed_since is not None:
        msg = (
            "the policy `legacy` does not support `changed_since`: later rows are not repaired (L7)"
        )
        raise ConfigError(msg, "changed_since")
    if options.analytics in {"full", "every"}:
        msg = f"analytics is `{options.analytics}`, which the policy `legacy` does not have"
        raise ConfigError(msg, "analytics")
    return {"analytics": "none"}


def _host_of_legacy(inputs: Inputs, today: dt.date | None) -> Host:
    from batchcore.native import build_host  # noqa: PLC0415  # which imports NumPy

    if today is None:
        raise ConfigError("policy `legacy` needs `today`", "today")
    return build_host(
        today,
        profiles=inputs.profiles,
        cached=inputs.cached,
        has_benchmark=inputs.benchmark is not None and len(inputs.benchmark) > 0,
    )


_ENTRIES: Final[dict[str, PolicyEntry]] = {
    "rollforward": PolicyEntry(
        _imported("rollforward", "RollForward"),
        audit=_imported("rollforward_audit", "RollForwardAudit"),
        repaired=_imported("rollforward_repair", "RepairedRollForward"),
        repair_refusal=None,
        host=lambda *_: None,
    ),
    "legacy": PolicyEntry(
        _imported("legacy", "Legacy"),
        rules="legacy",
        audit=_imported("legacy_audit", "LegacyAudit"),
        settled=_settled_by_legacy,
        repair_refusal=(
            "the policy `legacy` supports no repair: what its rows came from is overwritten, and"
            " later rows are not repaired (L7); verify reports which cells differ"
        ),
        host=_host_of_legacy,
        checks_prices=False,
        failures_by_day=(
            *(name for name in FAILURES if name not in CHECKS),
            "missing_value",
            "no_session",
        ),
    ),
}


def names() -> tuple[str, ...]:
    """Return the names of all policies; the first is the default."""
    return tuple(_ENTRIES)


def entry(name: str) -> PolicyEntry:
    """Return the entry of a policy.

    Raises:
        ConfigError: there is no policy of that name.
    """
    check_choice("policy", name, names())
    return _ENTRIES[name]
