"""Real closes for the demo; README.md beside this file names their sources."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.calendar import day_of

if TYPE_CHECKING:
    import numpy.typing as npt

CLOSE_SCALE: Final = 4
"""Decimals of every close here, as numeric(12,4) has."""


@dataclass(frozen=True, eq=False, slots=True)
class RealCloses:
    """Closes without a gap.

    Attributes:
        symbols: (s,) sorted.
        days: (d,) int32, sorted, read-only: sessions of XNYS.
        values: (d, s) int64, scale `CLOSE_SCALE`, > 0, read-only; days down, symbols across.
    """

    symbols: tuple[str, ...]
    days: npt.NDArray[np.int32]
    values: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        self.days.setflags(write=False)
        self.values.setflags(write=False)


def real_closes() -> RealCloses:
    """Return the closes of 20 US stocks and 7 ETFs, 2015-01-02 to 2016-07-01.

    Each is the text of the file without its point, so no float is involved.
    """
    packed = (Path(__file__).parent / "closes.csv.gz").read_bytes()
    header, *lines = gzip.decompress(packed).decode("ascii").splitlines()
    symbols = tuple(header.split(",")[1:])
    rows = [line.split(",") for line in lines]
    days = np.array([day_of(date.fromisoformat(row[0])) for row in rows], dtype=np.int32)
    values = np.array(
        [[int(close.replace(".", "")) for close in row[1:]] for row in rows], dtype=np.int64
    )
    return RealCloses(symbols, days, values)
