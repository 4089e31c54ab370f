"""Words of messages that agree with numbers, and values as texts and for JSON."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any


def counted(count: int, noun: str) -> str:
    """Return a number with a noun that agrees with it, such as "1 chunk" or "2 chunks"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def counted_are(count: int, noun: str) -> str:
    """Return a number with noun and verb: "1 session is" or "2 sessions are"."""
    return f"{counted(count, noun)} {'is' if count == 1 else 'are'}"


def of_rows(part: int, rows: int, one: str, more: str) -> str:
    """Return how many of the rows sent, with a verb that agrees."""
    return f"{part:,} of {counted(rows, 'row')} sent {one if part == 1 else more}"


def differ(count: int) -> str:
    """Return a number with the verb that agrees with it: "1 differs" or "2 differ"."""
    return f"{count:,} {'differs' if count == 1 else 'differ'}"


def short(value: Decimal) -> str:
    """Return a decimal without trailing zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def plain(value: Any) -> Any:  # noqa: ANN401  # of any depth
    """Return a value for JSON: decimals, dates, moments in UTC, and ids as text."""
    match value:
        case Decimal():
            return f"{value:f}"
        case dt.datetime():
            return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
        case uuid.UUID() | dt.date():
            return str(value)
        case Mapping():
            return {name: plain(one) for name, one in value.items()}
        case list() | tuple():
            return [plain(one) for one in value]
    return value
