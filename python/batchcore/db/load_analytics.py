"""What the analytics need beside the inputs of the roll-forward, as frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from batchcore.db.load import load, normalised
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from batchcore.calendar import Calendar
    from batchcore.db.analytic_queries import AnalyticQueries
    from batchcore.db.engine import Session
    from batchcore.frames import Decimals, Text

    Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class SymbolProfiles:
    """Profiles of the symbols of a run, in its order.

    Attributes:
        beta: (u,) float64, NaN without one.
        sector: Of each symbol as stored, None without one.
        is_etf: Of each symbol.
        found: How many symbols have a profile.
        unreadable: Sectors that are no UTF-8, which count as none, with their symbols.
    """

    beta: Floats
    sector: tuple[str | None, ...]
    is_etf: tuple[bool, ...]
    found: int = 0
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Returns:
    """Daily returns of portfolios before a run.

    Attributes:
        portfolio: (n,) int32 row of the portfolios asked for.
        day: (n,) int32 days since 1970-01-01.
        value: (n,) float64, never NaN.
    """

    portfolio: npt.NDArray[np.int32]
    day: npt.NDArray[np.int32]
    value: Floats

    @classmethod
    def none(cls) -> Self:
        """Return no returns."""
        no_days = np.zeros(0, dtype=np.int32)
        return cls(no_days, no_days, np.zeros(0))


@dataclass(frozen=True, eq=False, slots=True)
class Factors:
    """Active factors, sorted by id.

    Attributes:
        id: (f, 16) uint8.
        etf: Symbol of the ETF of each, normalised.
    """

    id: npt.NDArray[np.uint8]
    etf: tuple[str, ...]


def floats(column: Decimals) -> Floats:
    """Return a column as float64, the nearest ones; NaN where it has no value."""
    values = column.values / 10**column.scale
    return np.where(column.state == State.VALUE, values, np.nan)


async def load_profiles(
    session: Session, queries: AnalyticQueries, symbols: Sequence[str]
) -> SymbolProfiles:
    """Return the profiles of normalised symbols; of two spellings the higher one counts (S2)."""
    columns = await load(session, queries.profiles(symbols))
    spelt: Text = columns["symbol"]
    chosen: dict[str, tuple[str, int]] = {}
    for row, symbol in enumerate(spelt.texts()):
        if symbol is not None:
            name = normalised(symbol)
            chosen[name] = max(chosen.get(name, ("", -1)), (symbol, row))
    beta, sector = floats(columns["beta"]), columns["sector"].texts()
    unreadable = []
    for name, (_, row) in sorted(chosen.items()):
        if columns["sector"].state[row] == State.NOT_REPRESENTABLE:
            unreadable.append(f"company_profiles.sector of {name}: {sector[row]}")
            sector[row] = None
    is_etf = columns["is_etf"].astype(np.bool_).tolist()
    rows = [chosen.get(symbol, ("", -1))[1] for symbol in symbols]
    return SymbolProfiles(
        beta=np.array([beta[row] if row >= 0 else np.nan for row in rows], dtype=np.float64),
        sector=tuple(sector[row] if row >= 0 else None for row in rows),
        is_etf=tuple(row >= 0 and is_etf[row] for row in rows),
        found=sum(row >= 0 for row in rows),
        unreadable=tuple(unreadable),
    )


async def load_returns(  # noqa: PLR0917  # of portfolios, before a day of each
    session: Session,
    queries: AnalyticQueries,
    calendar: Calendar,
    ids: npt.NDArray[np.uint8],
    before: npt.NDArray[np.int32],
    count: int,
) -> Returns:
    """Return the last daily returns of portfolios before the day of each; NULLs do not count."""
    columns = await load(session, queries.returns(calendar, ids, before, count))
    value = floats(columns["daily_return"])
    known = ~np.isnan(value)
    return Returns(
        portfolio=columns["portfolio"][known].astype(np.int32),
        day=columns["day"].values[known],
        value=value[known],
    )


async def load_factors(session: Session, queries: AnalyticQueries, etfs: Sequence[str]) -> Factors:
    """Return the active factors of these ETFs."""
    columns = await load(session, queries.factors(etfs))
    names: Text = columns["etf"]
    return Factors(columns["id"], tuple(str(name) for name in names.texts()))
