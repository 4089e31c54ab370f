"""Real closes for the demo, and what belongs to them; README.md beside this file names sources."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.calendar import day_of

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A company or a fund, as `company_profiles` has it.

    Attributes:
        symbol: Its ticker.
        name: Of the company or fund.
        sector: As data vendors spell it; None for funds, and where it is not known.
        industry: Likewise.
        country: Of its seat.
        is_etf: Whether it is an exchange-traded fund.
        beta: Against SPY, 4 decimals; None if it is not known.
        market_cap: Dollars, 2 decimals; None if it is not known.
    """

    symbol: str
    name: str
    sector: str | None
    industry: str | None
    country: str | None
    is_etf: bool
    beta: Decimal | None = None
    market_cap: Decimal | None = None


@dataclass(frozen=True, slots=True)
class SectorWeight:
    """The share of a sector in a benchmark.

    Attributes:
        benchmark: Its code, such as `SP500`.
        asof_day: Days since 1970-01-01 of the date that it held on.
        sector: By the names of A2.
        weight: A fraction; those of a benchmark and a day sum to 1.
    """

    benchmark: str
    asof_day: int
    sector: str
    weight: Decimal


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
