"""Splits of symbols, where the host maps a table of them (C3)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from batchcore.frames import SplitRows
from batchcore.pg.sql import Sql
from batchcore.schema import SPLITS, WHOLE, Kind
from batchcore.sources.host import HostTable, select
from batchcore.sources.query import Column, load
from batchcore.values import normalised, underlying

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchcore.config import Splits
    from batchcore.db.catalog import Catalog
    from batchcore.pg.session import Session
    from batchcore.sources.query import Query

_SPLITS: Final = "SELECT {columns} FROM {r} WHERE {r.symbol:normalised} = ANY({symbols:texts})"


def select_splits(catalog: Catalog, mapped: Splits, symbols: Iterable[str]) -> Query[SplitRows]:
    """Return all splits of symbols and of the underlyings of options, in any spelling.

    Future ones are included: a current quantity has been restated for them (C4).
    """
    read = [
        Column("symbol", Kind.TEXT, "{r.symbol}::text"),
        "r.ex_date day",
        *(_shares(catalog, name) for name in ("new", "old")),
    ]
    frame = partial(SplitRows, price_basis=mapped.price_basis, quantity_basis=mapped.quantity_basis)
    names = {normalised(symbol) for symbol in symbols}
    wanted = sorted({*names, *filter(None, map(underlying, names))} - {""})
    return select(catalog, SPLITS, frame, read, _SPLITS, symbols=wanted)


def _shares(catalog: Catalog, name: str) -> str | Column:
    """Return a column of shares, which may be of an integer type."""
    if catalog.column(SPLITS, name).kind not in WHOLE:
        return f"r.{name}"
    column = getattr(HostTable(catalog, SPLITS, "r"), name)
    return Column(name, Kind.NUMERIC, Sql(f"{column}::numeric"), always_fits=True)


_ENTRIES: Final = """
SELECT {columns} FROM {p}
WHERE {p.symbol:normalised} = {symbol:text} AND {p.deleted_at} IS NULL
    AND {p.position_type}::text IN ('LONG', 'SHORT')
    AND upper(btrim({p.investment_class}::text COLLATE "C", ' ')) IS DISTINCT FROM 'PRIVATE'
    AND {p.entry_date:dated} AND {p.entry_date} < {until:date} AND {p.entry_price:readable}
ORDER BY {p.entry_date}, {p.id} LIMIT {most}
"""

MOST_ENTRIES: Final = 1000  # how many positions of a symbol are read at most


def select_entries(catalog: Catalog, symbol: str, until: int) -> Query[object]:
    """Return id, entry date and entry price of the first public stocks in a normalised symbol."""
    read, holes = "p.id, p.entry_date, p.entry_price", {"symbol": symbol, "until": until}
    return select(catalog, "entries", dict, read, _ENTRIES, most=MOST_ENTRIES, **holes)


async def load_splits(
    session: Session, catalog: Catalog, symbols: Iterable[str]
) -> SplitRows | None:
    """Return the splits of symbols; None on a host that maps no table of them (C3)."""
    mapped = catalog.schema.splits
    return None if mapped is None else await load(session, select_splits(catalog, mapped, symbols))
