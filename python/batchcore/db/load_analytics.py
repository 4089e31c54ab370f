"""What the analytics need beside the inputs of the roll-forward, as frames."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batchcore.db.load import load, normalised
from batchcore.frames import Frame
from batchcore.units import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from batchcore.calendar import Calendar
    from batchcore.db.analytic_queries import AnalyticQueries
    from batchcore.db.engine import Session
    from batchcore.frames import Decimals, Floats, Int32, Text


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


@dataclass(frozen=True, eq=False)
class Returns(Frame):
    """Daily returns of portfolios before a run.

    Attributes:
        portfolio: (n,) int32 row of the portfolios asked for.
        day: (n,) int32 days since 1970-01-01.
        value: (n,) float64, never NaN.
    """

    portfolio: Int32
    day: Int32
    value: Floats


@dataclass(frozen=True, eq=False, slots=True)
class Factors:
    """Active factors that get the betas of an ETF (A8), sorted by id.

    Attributes:
        id: (f, 16) uint8.
        etf: Symbol of the ETF of each, normalised.
        off: What no factor was found for -> why.
    """

    id: npt.NDArray[np.uint8]
    etf: tuple[str, ...]
    off: Mapping[str, str]


def floats(column: Decimals) -> Floats:
    """Return a column as float64, the nearest ones; NaN where it has no value."""
    values = column.values / 10**column.scale
    return np.where(column.state == State.VALUE, values, np.nan)


async def load_profiles(
    session: Session, queries: AnalyticQueries, symbols: Sequence[str]
) -> SymbolProfiles:
    """Return the profiles of normalised symbols; of two spellings the higher one counts (S2)."""
    columns = await load(session, queries.profiles(symbols))
    return await asyncio.to_thread(_profiles_of, columns, symbols)


def _profiles_of(columns: Mapping[str, Any], symbols: Sequence[str]) -> SymbolProfiles:
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
    is_etf = columns["is_etf"].tolist()
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
    found = Returns(columns["portfolio"].astype(np.int32), columns["day"].values, value)
    return found.take(~np.isnan(value))


async def load_factors(session: Session, queries: AnalyticQueries, etfs: Sequence[str]) -> Factors:
    """Return the factors that these ETFs stand for: those of `Schema.factors`, or by proxy."""
    columns = await load(session, queries.factors(etfs))
    names = [str(name) for name in columns["name"].texts()]
    by_name = queries.catalog.schema.factors
    if by_name:
        etf_of, off = _by_name(names, by_name)
    else:
        regressed = columns["regressed"].tolist()
        etf_of, off = _by_proxy(names, [str(etf) for etf in columns["etf"].texts()], regressed)
    rows = sorted(etf_of)
    return Factors(columns["id"][rows], tuple(etf_of[row] for row in rows), off)


def _by_name(
    names: Sequence[str], etf_of: Mapping[str, str]
) -> tuple[dict[int, str], dict[str, str]]:
    """Return the ETF of each row that is one's own, and why a name has none."""
    found, off = {}, {}
    for name, etf in etf_of.items():
        rows = [row for row, one in enumerate(names) if one == name]
        if len(rows) == 1:
            found[rows[0]] = etf
        else:
            count = len(rows) or "no"
            off[f"factor {name}"] = f"{count} active factors of this name, expected one"
    return found, off


def _by_proxy(
    names: Sequence[str], etfs: Sequence[str], regressed: Sequence[bool]
) -> tuple[dict[int, str], dict[str, str]]:
    """Return the ETF of each row that alone is a regression on it, and why an ETF has none."""
    found, off = {}, {}
    for etf in sorted(set(etfs)):
        having = [row for row, one in enumerate(etfs) if one == etf]
        rows = [row for row in having if regressed[row]]
        if len(rows) == 1:
            found[rows[0]] = etf
            continue
        listed = ", ".join(f"`{names[row]}`" for row in rows or having)
        why = "are regressions on it" if rows else "has it as proxy, but is no regression by method"
        if not rows and len(having) > 1:
            why = "have it as proxy, but are no regressions by method"
        off[f"factor {etf}"] = f"{listed} {why}: name the right one in schema.factors"
    return found, off
