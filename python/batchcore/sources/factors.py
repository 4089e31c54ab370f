"""Factors that get betas (A8), and the existing rows of the analytic tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from batchcore.db.analytic_tables import KEYS
from batchcore.pg.sql import Sql, compose, joined
from batchcore.schema import Kind
from batchcore.sources.host import Selection, part, select, tables
from batchcore.sources.query import Column, Query

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batchcore.db.catalog import Catalog
    from batchcore.frames import Bools, Ids, Text


@dataclass(frozen=True, eq=False, slots=True)
class Factors:
    """Active factors that get the betas of an ETF (A8), sorted by id."""

    id: Ids
    etf: tuple[str, ...]  # symbol of the ETF of each, normalised
    off: Mapping[str, str]  # entry without a factor -> why


_FACTORS: Final = """
SELECT {columns} FROM {d} WHERE {d.is_active} AND {proxy} = ANY({wanted:texts}) ORDER BY {d.id}
"""
_PROXY: Final = "upper(btrim({d.etf_proxy}::text COLLATE \"C\", ' '))"
_REGRESSED: Final = """
({d.calculation_method}::text COLLATE "C" ILIKE '%regression%') IS TRUE
"""


def select_factors(catalog: Catalog, etfs: Iterable[str]) -> Query[Factors]:
    """Return the active factors that these ETFs represent, or those of `Schema.factors`."""
    by_name = catalog.schema.factors
    etf, regressed = ("NULL::text", "false") if by_name else (_PROXY + "::text", _REGRESSED)

    def frame(id: Ids, name: Text, etf: Text, regressed: Bools) -> Factors:  # noqa: A002
        names = [str(one) for one in name.texts()]
        keys = names if by_name else [str(one) for one in etf.texts()]
        found, off = {}, {}
        for key in by_name or sorted(set(keys)):
            having = [row for row, one in enumerate(keys) if one == key]
            rows = having if by_name else [row for row in having if regressed[row]]
            if len(rows) == 1:
                found[rows[0]] = by_name.get(key, key)
            elif by_name:
                count = len(rows) or "no"
                off[f"factor {key}"] = f"{count} active factors of this name, expected one"
            else:
                several = [names[row] for row in rows or having]
                off[f"factor {key}"] = _undecided(several, are_regressions=bool(rows))
        rows = sorted(found)
        return Factors(id[rows], tuple(found[row] for row in rows), off)

    read = (
        "d.id, d.name",
        Column("etf", Kind.TEXT, etf),
        Column("regressed", Kind.BOOL, regressed),
    )
    proxy, wanted = part(catalog, "{d.name}" if by_name else _PROXY), by_name or etfs
    return select(catalog, "factors", frame, read, _FACTORS, proxy=proxy, wanted=wanted)


def _undecided(names: Sequence[str], *, are_regressions: bool) -> str:
    """Return why none of these factors gets the betas of its proxy ETF."""
    why = "are regressions on it"
    if not are_regressions:
        why = "have it as proxy, but their methods are not regressions"
        if len(names) == 1:
            why = "has it as proxy, but its method is not a regression"
    listed = ", ".join(f"`{name}`" for name in names)
    return f"{listed} {why}: name the right one in schema.factors"


_EXISTS: Final = "EXISTS (SELECT FROM {o} JOIN {r} ON {selection:{portfolio}} AND {same})"

_OF_KEYS: Final = {
    "position_id": "{r.position_id} = {o.id}",
    "portfolio_id": "{r.portfolio_id} = {portfolio}",
    "calc_date": "{r.calc_date} IN ({days})",
    "calculation_date": "{r.calculation_date} IN ({days})",
    "factor_id": "{factors:{r.factor_id}}",
}
"""Column of a key -> the condition on it; other columns have none."""


def select_rows_exist(
    catalog: Catalog,
    names: Sequence[str],
    portfolios: Selection,
    days: Sequence[int],
    factors: Selection,
) -> Sql:
    """Return the statement that selects for each table whether it has rows of these keys.

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
