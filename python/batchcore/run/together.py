"""Progress of several runs as one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from batchcore.options import Progress


class SharedProgress:
    """Adds up where several runs are, for one bar."""

    def __init__(self, progress: Progress | None) -> None:
        """Take what is called each time that one of them is further."""
        self._progress: Final = progress
        self._at: dict[object, tuple[str, int, int]] = {}

    def of(self, run: object) -> Progress | None:
        """Return what one of the runs calls; None if nobody wants to know."""
        return None if self._progress is None else partial(self._tell, run)

    def _tell(self, run: object, phase: str, done: int, total: int) -> None:
        self._at[run] = phase, done, total
        if self._progress is not None:
            phases, finished, totals = zip(*self._at.values(), strict=True)
            self._progress(max(phases), sum(finished), sum(totals))  # `load`, then `persist`
