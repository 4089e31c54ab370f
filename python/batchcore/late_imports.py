"""Helpers of entry points, used before their modules are imported."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from batchcore.errors import ConfigError


async def imported(name: str) -> Any:  # noqa: ANN401  # a module, whose names are not known
    """Return a module, imported in a thread, as a long import would block the event loop."""
    return await asyncio.to_thread(importlib.import_module, name)


def check_choice(option: str, value: str, known: tuple[str, ...]) -> None:
    """Raise an error for a value that is not one of the known ones."""
    if value not in known:
        raise ConfigError(f"unknown {option} `{value}`, expected one of {', '.join(known)}", option)


def db_of(call: object, own: object) -> object:
    """Return the `db` of a call: its own argument, or else that of the constructor."""
    if call is not None:
        return call
    if own is None:
        msg = "db is None, and the constructor was given none: pass `db` to one of the two"
        raise ConfigError(msg, "db")
    return own
