"""Company profiles, betas of positions, and the weights of benchmarks."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from batchcore.db.analytic_tables import POSITION_BETAS, PROFILES
from batchcore.frames import Betas, Decimals, Profiles, Text
from batchcore.schema import Kind
from batchcore.sources.host import HostTable, Selection, floats, part, select
from batchcore.sources.query import Column, Query, load, result_columns
from batchcore.units import State
from batchcore.values import normalised, upper

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchcore.db.catalog import Catalog
    from batchcore.frames import Bools, Floats
    from batchcore.pg.session import Session

log = logging.getLogger("batchcore")

WEIGHTS: Final = "benchmarks_sector_weights"

SP500: Final = "SP500"
"""The benchmark of the policy `legacy`."""


@dataclass(frozen=True, eq=False, slots=True)
class SymbolProfiles:
    """Profiles of the symbols of a run, in its order."""

    beta: Floats  # NaN without one
    sector: tuple[str | None, ...]  # as stored, None without one
    is_etf: tuple[bool, ...]
    found: int = 0  # number of symbols with a profile
    unreadable: tuple[str, ...] = ()  # sectors that are not UTF-8, which count as missing
    ambiguous: tuple[str, ...] = ()  # symbols whose profiles differ, which count as missing


# A view has no key that limits a symbol to one row. Rows that agree count once.
_AS_SPELT: Final = "SELECT DISTINCT {columns} FROM {c} WHERE {c.symbol} = ANY({symbols:texts})"
_NORMALISED: Final = _AS_SPELT.replace("{c.symbol} =", "{c.symbol:normalised} =")
_AS_TEXT: Final = Column("symbol", Kind.TEXT, "{c.symbol}::text")
_IS_ETF: Final = Column("is_etf", Kind.BOOL, "{c.is_etf} IS TRUE")


async def load_profiles(
    session: Session, catalog: Catalog, symbols: Sequence[str]
) -> SymbolProfiles:
    """Return the profiles of normalised symbols; of two spellings the higher one counts (S2)."""
    read = (_AS_TEXT, "c.beta, c.sector", _IS_ETF)
    query = select(catalog, "profiles", dict[str, Any], read, _NORMALISED, symbols=symbols)
    columns = await load(session, query)
    return await asyncio.to_thread(_profiles_of, symbols, **columns)


def _profiles_of(
    symbols: Sequence[str], symbol: Text, beta: Decimals, sector: Text, is_etf: Bools
) -> SymbolProfiles:
    counts, ambiguous = _only(symbol)
    spelt = sorted((str(name), row) for row, name in enumerate(symbol.texts()) if counts[row])
    chosen = {normalised(name): row for name, row in spelt}  # the higher spelling, as the later
    betas, sectors = floats(beta), sector.texts()
    unreadable = []
    for name, row in sorted(chosen.items()):
        if sector.state[row] == State.NOT_REPRESENTABLE:
            unreadable.append(f"company_profiles.sector of {name}: {sectors[row]}")
            sectors[row] = None
    rows = [chosen.get(wanted, -1) for wanted in symbols]
    return SymbolProfiles(
        beta=np.array([betas[row] if row >= 0 else np.nan for row in rows], dtype=np.float64),
        sector=tuple(sectors[row] if row >= 0 else None for row in rows),
        is_etf=tuple(row >= 0 and bool(is_etf[row]) for row in rows),
        found=sum(row >= 0 for row in rows),
        unreadable=tuple(unreadable),
        ambiguous=ambiguous,
    )


def _only(keys: Text, of: str = "company_profiles") -> tuple[Bools, tuple[str, ...]]:
    """Return which rows have a unique key, and the other keys, with a warning."""
    names = keys.table()
    count = np.bincount(keys.codes[keys.state != State.NULL], minlength=len(names))
    ambiguous = tuple(sorted(names[code] for code in np.flatnonzero(count > 1)))
    if ambiguous:
        log.warning("ambiguous=%s keys=%r: rows differ, none counts", of, ", ".join(ambiguous))
    only = np.zeros(len(keys), dtype=np.bool_)
    known = np.flatnonzero(keys.state != State.NULL)
    only[known] = count[keys.codes[known]] == 1
    return only, ambiguous


def select_spelt_profiles(
    catalog: Catalog, symbols: Iterable[str]
) -> Query[tuple[Profiles | None, tuple[str, ...]]]:
    """Return the profiles of symbols as spelt and in upper case (L32, L33), None without a table.

    Only the columns that the policy `legacy` reads have values. The second result are the symbols
    whose profiles differ, which count as missing.
    """
    if not catalog.has_table(PROFILES):
        return Query("profiles", "", (), lambda: (None, ()))
    spelt = set(symbols)
    read = (_AS_TEXT, "c.beta, c.sector", _IS_ETF)
    wanted = sorted({*spelt, *map(upper, spelt)})
    return select(catalog, "profiles", _spelt, read, _AS_SPELT, symbols=wanted)


def _spelt(
    symbol: Text,
    is_etf: Bools,
    **columns: Any,  # noqa: ANN401  # of several types
) -> tuple[Profiles, tuple[str, ...]]:
    rows = len(is_etf)
    columns |= dict.fromkeys(("name", "industry", "country"), Text.constant(None, rows))
    found = Profiles(symbol=symbol, **columns, is_etf=is_etf, market_cap=Decimals.nulls(rows))
    counts, ambiguous = _only(symbol)
    return found.take(counts), ambiguous


def select_company_profiles(catalog: Catalog, symbols: Iterable[str]) -> Query[Profiles]:
    """Return the profiles of symbols exactly as spelt."""
    read = (
        _AS_TEXT,
        "c.sector, c.industry, c.country, c.company_name name, c.beta, c.market_cap",
        _IS_ETF,
    )
    return select(catalog, "company_profiles", _whole, read, _AS_SPELT, symbols=symbols)


def _whole(**columns: Any) -> Profiles:  # noqa: ANN401  # of several types
    found = Profiles(**columns)
    return found.take(_only(found.symbol)[0])


_BETAS: Final = """
SELECT {columns} FROM {p}
CROSS JOIN LATERAL (
    SELECT {b.calc_date}, {b.beta} FROM {b}
    WHERE {b.portfolio_id} = {p.portfolio_id} AND {b.position_id} = {p.id}
        AND {b.calc_date} IS NOT NULL
    ORDER BY {b.calc_date} DESC FETCH FIRST 1 ROW WITH TIES) AS newest
WHERE {p.deleted_at} IS NULL AND {p.exit_date} IS NULL
    AND {p.position_type}::text IN ('LONG', 'SHORT')
    AND {p.investment_class}::text = 'PUBLIC' AND {p.market_value} <> 0
    AND {selection:{p.portfolio_id}} {unprofiled}
"""
_UNPROFILED: Final = """
AND NOT EXISTS (
    SELECT FROM {c} WHERE {c.symbol}::text = {p.symbol}::text COLLATE "C"
        AND ({c.beta:above_zero} OR {c.beta:below_zero}))
"""


def select_newest_betas(catalog: Catalog, selection: Selection) -> Query[Betas]:
    """Return the betas of the newest date of each position that needs them (L32).

    These are the positions that count in the provider beta and have none in their profile. It looks
    up each on the unique index, which begins with the portfolio: 20 to 40 times as fast as ranking
    millions of rows by position.
    """
    if not catalog.has_table(POSITION_BETAS):
        return Query("betas", "", (), Betas.none)
    read = "p.id position_id, newest.beta, newest.calc_date day"
    newest = HostTable(catalog, POSITION_BETAS, "newest")
    unprofiled = part(catalog, _UNPROFILED if catalog.has_table(PROFILES) else "")
    holes = {"selection": selection, "newest": newest, "unprofiled": unprofiled}
    return select(catalog, "betas", Betas, read, _BETAS, **holes)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Weights of a benchmark."""

    day: int | None  # their date; None without any
    weights: dict[str, float]  # sector as stored -> share of the benchmark, 0 to 1


_WEIGHTS: Final = """
SELECT DISTINCT {columns} FROM {w}
WHERE {of_code} AND {w.weight:finite}
    AND {w.asof_date} = (SELECT max({w.asof_date}) FROM {w} WHERE {of_code})
ORDER BY {w.sector}
"""
_OF_CODE: Final = """
{w.benchmark_code} = {code:text} AND isfinite({w.asof_date}) AND {w.asof_date} <= {day:date}
"""


def select_benchmark(catalog: Catalog, code: str, day: int) -> Query[Benchmark]:
    """Return the newest finite weights of a benchmark on or before a day, one of each sector."""
    of_code = part(catalog, _OF_CODE, code=code, day=day)
    read = "w.asof_date, w.sector, w.weight"
    return select(catalog, "benchmark", _benchmark, read, _WEIGHTS, of_code=of_code)


def _benchmark(asof_date: Any, sector: Text, weight: Decimals) -> Benchmark:  # noqa: ANN401
    counts, _ = _only(sector, WEIGHTS)
    weights = zip(sector.texts(), floats(weight).tolist(), counts.tolist(), strict=True)
    days = asof_date.values.tolist()
    found = {str(name): one for name, one, is_only in weights if is_only}
    return Benchmark(days[0] if days else None, found)


def select_has_benchmark(catalog: Catalog) -> Query[bool]:
    """Return whether there is any weight of SP500 (L34)."""
    if not catalog.has_table(WEIGHTS):
        return Query("benchmark", "", (), bool)
    template = "SELECT EXISTS (SELECT FROM {w} WHERE {w.benchmark_code} = {code:text})"
    sql = part(catalog, template, code=SP500)
    return Query("benchmark", sql, result_columns("there bool"), lambda there: bool(there[0]))
