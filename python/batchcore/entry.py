"""What entry points share before the rooms behind them are imported."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from batchcore.errors import ConfigError


async def imported(name: str) -> Any:  # noqa: ANN401  # a module, whose names are not known
    """Return a module, imported in a thread: that may take long, and the event loop goes on."""
    return await asyncio.to_thread(importlib.import_module, name)


def check_choice(option: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a value that is not one of those known.

    Raises:
        ConfigError: it is none of them.
    """
    if value not in known:
        msg = f"unknown {option} `{value}`, expected one of {', '.join(known)}"
        raise ConfigError(msg, option)


def check_legacy(
    calendar: str,
    changed_since: object = None,
    *,
    missing: bool = False,
    analytics: str = "none",
) -> None:
    """Refuse what the policy `legacy` does not have; it writes columns of its own (L32 to L34).

    Raises:
        ConfigError: it is asked for.
    """
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


def db_of(call: object, own: object) -> object:
    """Return the `db` that a call works on: its own argument, else that of the constructor.

    Raises:
        ConfigError: there is neither.
    """
    if call is not None:
        return call
    if own is None:
        msg = "db is None, and the constructor was given none: pass `db` to one of the two"
        raise ConfigError(msg, "db")
    return own
