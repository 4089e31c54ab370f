"""Words of messages that agree with numbers."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """Return a number with a noun that agrees with it, such as "1 chunk" or "2 chunks"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def counted_are(count: int, noun: str) -> str:
    """Return a number with noun and verb: "1 session is" or "2 sessions are"."""
    return f"{counted(count, noun)} {'is' if count == 1 else 'are'}"


def of_rows(part: int, rows: int, one: str, more: str) -> str:
    """Return how many of some rows sent, with the verb that agrees with it."""
    return f"{part:,} of {counted(rows, 'row')} sent {one if part == 1 else more}"


def differ(count: int) -> str:
    """Return a number with the verb that agrees with it: "1 differs" or "2 differ"."""
    return f"{count:,} {'differs' if count == 1 else 'differ'}"
