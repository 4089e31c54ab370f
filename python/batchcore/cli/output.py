"""The output of commands: the log, progress, lists and tables."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Final

from batchcore.cli.exits import redacted
from batchcore.streams import write_stderr

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from batchcore.options import Progress

LISTED: Final = 20
"""Number of items of a kind that are listed; JSON has all of them."""


def print_stderr(line: str) -> None:
    """Print a line on stderr, under the name of the program."""
    write_stderr(f"batchcore: {line}")


def named_counts(counts: Mapping[str, int]) -> str:
    """Return counts with their nouns."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "none"


def listed(names: Sequence[str]) -> str:
    """Return the number of names, and the first of them."""
    return f"{len(names):,} ({first_of(names, LISTED)})" if names else "none"


def first_of(names: Sequence[str], most: int) -> str:
    """Return the first of some names, and the number of others."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def listed_lines(lines: Sequence[str], kind: str) -> list[str]:
    """Return the first lines of a kind, and one with the number of others."""
    more = [f"{kind}: {len(lines) - LISTED:,} more, which --json lists"]
    return [*(f"{kind}: {line}" for line in lines[:LISTED]), *more[: len(lines) > LISTED]]


def aligned(rows: Sequence[Sequence[str]], *, left: Collection[int] | None = None) -> list[str]:
    """Return the lines of a table with aligned columns.

    All are aligned to the left or, given those on the ``left``, the others to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if left is None or at in left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


class _ToStderr(logging.Handler):
    """Writes to the current stderr, so that a progress bar stays below the log."""

    def emit(self, record: logging.LogRecord) -> None:
        write_stderr(redacted(self.format(record)))


@contextlib.contextmanager
def logging_to_stderr(verbose: int) -> Iterator[None]:
    """Log warnings to stderr; with 1 progress too, with 2 everything."""
    logger = logging.getLogger("batchcore")
    handler = _ToStderr()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)])
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


@contextlib.contextmanager
def showing_progress() -> Iterator[Progress | None]:
    """Yield a bar with rate and time left on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich import progress as bars  # noqa: PLC0415  # only on a terminal
    from rich.console import Console  # noqa: PLC0415  # likewise

    bar = bars.Progress(
        bars.TextColumn("{task.description:<8}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[rate]}"),
        bars.TimeElapsedColumn(),
        bars.TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )
    phases: dict[str, bars.TaskID] = {}

    def show(phase: str, done: int, total: int) -> None:
        if phase not in phases:
            phases[phase] = bar.add_task(phase, rate="", total=None)
        task = bar.tasks[phases[phase]]
        rate = f"{task.speed:.1f}/s" if task.speed else ""
        bar.update(phases[phase], completed=done, total=total or None, rate=rate)

    with bar:
        yield show
