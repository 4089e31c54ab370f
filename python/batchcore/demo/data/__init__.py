"""Real closes for the demo, and what belongs to them; README.md beside this file names sources."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from batchcore.calendar import day_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchcore.frames import Int32, Int64

CLOSE_SCALE: Final = 4
"""Decimals of every close here, as numeric(12,4) has."""


@dataclass(frozen=True, eq=False, slots=True)
class RealCloses:
    """Closes without a gap."""

    symbols: tuple[str, ...]  # (s,) sorted
    days: Int32  # (d,) sorted: sessions of XNYS
    values: Int64  # (d, s) scale `CLOSE_SCALE`, > 0

    def __post_init__(self) -> None:
        self.days.setflags(write=False)
        self.values.setflags(write=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A company or a fund, as `company_profiles` has it; what is not known is None."""

    symbol: str
    name: str
    sector: str | None  # as data vendors spell it; None for funds
    industry: str | None
    country: str | None
    is_etf: bool
    beta: Decimal | None = None  # against SPY, 4 decimals
    market_cap: Decimal | None = None  # dollars, 2 decimals


class SectorWeight(NamedTuple):
    """The share of a sector in a benchmark."""

    benchmark: str  # its code, such as `SP500`
    asof_day: int
    sector: str  # by the names of A2
    weight: Decimal  # a fraction; those of a benchmark and a day sum to 1


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


def real_profiles() -> tuple[Profile, ...]:
    """Return the profiles of the symbols of `real_closes`, in their order.

    None of them has a beta or a market capitalisation: betas follow from the closes.
    """
    return tuple(
        Profile(
            symbol=row["symbol"],
            name=row["name"],
            sector=row["sector"] or None,
            industry=row["industry"] or None,
            country=row["country"] or None,
            is_etf=row["is_etf"] == "true",
        )
        for row in _records("profiles.csv")
    )


def benchmark_weights() -> tuple[SectorWeight, ...]:
    """Return the sector weights of the S&P 500, by date and sector."""
    return tuple(
        SectorWeight(
            row["benchmark_code"],
            day_of(date.fromisoformat(row["asof_date"])),
            row["sector"],
            Decimal(row["weight"]),
        )
        for row in _records("benchmark_weights.csv")
    )


def _records(name: str) -> Iterator[dict[str, str]]:
    text = (Path(__file__).parent / name).read_text(encoding="ascii")
    return csv.DictReader(text.splitlines())
