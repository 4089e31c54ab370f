"""Triggers and rules of a host that act on the rows written to its tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from batchcore.pg.sql import Sql, compose, joined, quote_literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchcore.config import Schema
    from batchcore.pg.session import Session

# Row triggers of a partition, or of a table that inherits, act on rows written to its parent, and
# those of a table on rows written to a view of it. Triggers of constraints are internal. Foreign
# tables have no effect here, but are read at another moment.
_ACTING: Final = """\
WITH RECURSIVE part (root, oid) AS (
    SELECT c.oid, c.oid FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = {namespace} AND c.relname IN ({names})
    UNION
    SELECT p.root, under.oid FROM part AS p CROSS JOIN LATERAL (
        SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = p.oid
        UNION ALL
        SELECT d.refobjid FROM pg_catalog.pg_rewrite AS r
        JOIN pg_catalog.pg_class AS v ON v.oid = r.ev_class AND v.relkind = 'v'
        JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
            AND d.objid = r.oid AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        WHERE r.ev_class = p.oid AND r.ev_type = '1') AS under (oid)
), fires (state) AS (
    VALUES ('A'), (CASE pg_catalog.current_setting('session_replication_role')
        WHEN 'replica' THEN 'R' ELSE 'O' END)
)
SELECT p.root, 'trigger'::text AS kind, t.tgname::text AS name, t.tgrelid AS relation,
    f.proname::text AS function, t.tgtype & 4 <> 0 AS inserts, t.tgtype & 16 <> 0 AS updates
FROM part AS p
JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = p.oid
JOIN pg_catalog.pg_proc AS f ON f.oid = t.tgfoid
WHERE NOT t.tgisinternal AND t.tgtype & 20 <> 0
    AND t.tgenabled::text IN (SELECT state FROM fires)
UNION ALL
SELECT p.root, 'rule', r.rulename::text, r.ev_class, NULL, r.ev_type = '3', r.ev_type = '2'
FROM part AS p
JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = p.oid
WHERE r.ev_type IN ('2', '3') AND r.ev_enabled::text IN (SELECT state FROM fires)
UNION ALL
SELECT p.root, 'foreign', c.relname::text, c.oid, NULL, false, false
FROM part AS p JOIN pg_catalog.pg_class AS c ON c.oid = p.oid AND c.relkind = 'f'"""

_BY_NAME: Final = """
SELECT kind, name, relation::regclass::text AS relation, function
FROM ({acting}) AS a WHERE kind <> 'foreign' ORDER BY 3, 2
"""


@dataclass(frozen=True, slots=True)
class Acting:
    """A `trigger` or `rule`."""

    kind: str
    name: str
    relation: str  # the table that it is on, which may be a partition
    function: str | None  # what a trigger calls

    def __str__(self) -> str:
        """Return its name in errors."""
        return f"{self.kind} `{self.name}` on {self.relation}"


def acting_sql(schema: Schema, tables: Iterable[str]) -> Sql:
    """Return the statement that finds triggers and rules on INSERT and UPDATE that are enabled.

    Foreign tables among the tables, or beneath them, are rows of the kind `foreign`.
    """
    names = joined(", ", [quote_literal(schema.table(table)) for table in tables])
    return compose(_ACTING, namespace=quote_literal(schema.namespace), names=names)


async def acting_on(session: Session, schema: Schema, tables: Sequence[str]) -> list[Acting]:
    """Return the triggers and rules on INSERT and UPDATE of tables, by table and name."""
    query = compose(_BY_NAME, acting=acting_sql(schema, tables))
    return [Acting(*row) for row in await session.fetch(query)]


def called_in(context: str, found: Iterable[Acting]) -> list[Acting]:
    """Return the triggers whose function the context of an error names."""
    return [
        one
        for one in found
        if one.function and re.search(rf"(?<!\w){re.escape(one.function)}(?!\w)", context)
    ]
