"""The stamps of new rows: their `created_at`, and ids that ascend over a whole run."""

from __future__ import annotations

import datetime as dt
import os
import time
from typing import TYPE_CHECKING, Final

from batchcore.sinks.snapshots import Stamp

if TYPE_CHECKING:
    from batchcore.run.request import Request

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class StampClock:
    """Gives the stamp of each chunk; ids of a later one sort after those of one before."""

    def __init__(self, request: Request) -> None:
        """Take the moments of a run, by the server's clock."""
        self._moment_us = (request.now - _EPOCH) // dt.timedelta(microseconds=1)
        self._began_ms = (request.attempt_began - _EPOCH) // dt.timedelta(milliseconds=1)
        self._made = time.monotonic()

    def stamp(self) -> Stamp:
        """Return what the new rows of a chunk share."""
        elapsed_ms = int((time.monotonic() - self._made) * 1000)
        return Stamp(self._moment_us, self._began_ms + elapsed_ms, os.urandom(16))
