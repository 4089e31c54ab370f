"""Rows that a host's view shows twice, of which every figure would count twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batchcore.errors import SchemaError
from batchcore.pg.sql import Sql
from batchcore.schema import Kind
from batchcore.sources.host import HostTable, select
from batchcore.sources.query import Column, Query, first_column, load

if TYPE_CHECKING:
    from batchcore.db.catalog import Catalog
    from batchcore.frames import Text
    from batchcore.pg.session import Session

SUMMED: Final = ("positions", "position_realized_events", "equity_changes")
"""Tables each of whose rows counts in a sum; of the others the keys are looked at as they load."""


def select_double(catalog: Catalog, table: str) -> Query[Text]:
    """Return an id that is in several rows of a table, if there is one."""
    rows = HostTable(catalog, table, "x")
    template = """
    SELECT {columns} FROM {x} WHERE {x.id} IS NOT NULL GROUP BY {x.id} HAVING count(*) > 1
    ORDER BY {x.id} LIMIT 1
    """
    read = [Column("id", Kind.TEXT, Sql(f"{rows.id}::text"))]
    return select(catalog, f"double_{table}", first_column, read, template, x=rows)


async def refuse_doubles(session: Session, catalog: Catalog) -> None:
    """Look for ids that are in two rows of views of several tables, and in tables with children.

    Raises:
        SchemaError: there is one.
    """
    for table in SUMMED:
        found = catalog.find(table, "id")
        if table not in catalog.may_repeat or found is None or not found.can_select:
            continue
        double = (await load(session, select_double(catalog, table))).texts()
        if double:
            label = catalog.label(table, "id")
            problem = f"{label}: {double[0]} is in several rows, expected each id once"
            raise SchemaError(problem, (problem,))
