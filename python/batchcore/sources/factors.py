"""Factors that get betas (A8), and which rows of the analytic tables exist already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from batchcore.db.analytic_tables import KEYS
from batchcore.pg.sql import Sql, compose, joined
from batchcore.schema import Kind
from batchcore.sources.host import part, select, tables
from batchcore.sources.query import Column, Query

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from batchcore.db.catalog import Catalog
    from batchcore.frames import Bools, Ids, Text
    from batchcore.sources.host import Selection


@dataclass(frozen=True, eq=False, slots=True)
class Factors:
    """Active factors that get the betas of an ETF (A8), sorted by id."""

    id: npt.NDArray[np.uint8]
    etf: tuple[str, ...]  # symbol of the ETF of each, normalised
    off: Mapping[str, str]  # what no factor was found for -> why


_FACTORS: Final = """
SELECT {columns} FROM {d} WHERE {d.is_active} AND {proxy} = ANY({wanted:texts}) ORDER BY {d.id}
"""
_PROXY: Final = "upper(btrim({d.etf_proxy}::text COLLATE \"C\", ' '))"
_REGRESSED: Final = """
({d.calculation_method}::text COLLATE "C" ILIKE '%regression%') IS TRUE
"""


def select_factors(catalog: Catalog, etfs: Iterable[str]) -> Query[Factors]:
    """Return the active factors that these ETFs stand for, or those of `Schema.factors`."""
    by_name = catalog.schema.factors
    etf, regressed = ("NULL::text", "false") if by_name else (_PROXY + "::text", _REGRESSED)

    def frame(id: Ids, name: Text, etf: Text, regressed: Bools) -> Factors:  # noqa: A002
        names = [str(one) for one in name.texts()]
        if by_name:
            etf_of, off = _by_name(names, by_name)
        else:
            proxies = [str(one) for one in etf.texts()]
            etf_of, off = _by_proxy(names, proxies, regressed.tolist())
        rows = sorted(etf_of)
        return Factors(id[rows], tuple(etf_of[row] for row in rows), off)

    read = (
        "d.id, d.name",
        Column("etf", Kind.TEXT, etf),
        Column("regressed", Kind.BOOL, regressed),
    )
    proxy, wanted = part(catalog, "{d.name}" if by_name else _PROXY), by_name or etfs
    return select(catalog, "factors", frame, read, _FACTORS, proxy=proxy, wanted=wanted)


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
        why = (
            "are regressions on it"
            if rows
            else "has it as proxy, but its method is not a regression"
        )
        if not rows and len(having) > 1:
            why = "have it as proxy, but their methods are not regressions"
        off[f"factor {etf}"] = f"{listed} {why}: name the right one in schema.factors"
    return found, off


_EXISTS: Final = "EXISTS (SELECT FROM {o} JOIN {r} ON {selection:{portfolio}} AND {same})"

_OF_KEYS: Final = {
    "position_id": "{r.position_id} = {o.id}",
    "portfolio_id": "{r.portfolio_id} = {portfolio}",
    "calc_date": "{r.calc_date} IN ({days})",
    "calculation_date": "{r.calculation_date} IN ({days})",
    "factor_id": "{factors:{r.factor_id}}",
}
"""Column of a key -> the condition on it; other columns have none."""


def rows_exist(
    catalog: Catalog,
    names: Sequence[str],
    portfolios: Selection,
    days: Sequence[int],
    factors: Selection,
) -> Sql:
    """Return the statement that tells of each table whether it has rows of these keys.

    Rows are looked up position by position on the unique indexes, which end in the date.
    """
    listed = joined(",", [compose("{day:date}", day=day) for day in days])

    def exists(table: str) -> Sql:
        owner = "positions" if "position_id" in KEYS[table] else "portfolios"
        holes = tables(catalog, r=table, o=owner)
        o = holes["o"]
        portfolio = o.portfolio_id if owner == "positions" else o.id
        more = {"portfolio": portfolio, "days": listed, "factors": factors}
        same = [
            compose(_OF_KEYS[column], **holes, **more)
            for column in KEYS[table]
            if column in _OF_KEYS
        ]
        both = joined(" AND ", same)
        return compose(_EXISTS, selection=portfolios, same=both, **holes, **more)

    return compose("SELECT {exist}", exist=joined(", ", map(exists, names)))
