"""SQLAlchemy tables made from the description, for migrations and `alembic check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, ENUM, JSONB

from batchcore.db.migrate import options
from batchcore.schema import ENUMS, HOST, INDEXES, OWN, Column, Index, Table

if TYPE_CHECKING:
    from collections.abc import Iterable


_NAMES: Final = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s",
}
_TYPES: Final[dict[str, Any]] = {
    "uuid": sa.Uuid,
    "uuid[]": lambda: ARRAY(sa.Uuid),
    "varchar": sa.String,
    "text": sa.Text,
    "numeric": sa.Numeric,
    "date": sa.Date,
    "timestamptz": lambda: sa.DateTime(timezone=True),
    "bool": sa.Boolean,
    "int": sa.Integer,
    "bigint": sa.BigInteger,
    "json": sa.JSON,
    "jsonb": JSONB,
}


def metadata_of(
    tables: Iterable[Table], namespace: str | None = None, indexes: Iterable[Index] = ()
) -> sa.MetaData:
    """Return tables with their keys and some indexes; tables that others refer to come first."""
    metadata = sa.MetaData(naming_convention=_NAMES, schema=namespace)
    made = {}
    for table in tables:
        columns = (_column(table, column, namespace) for column in table.columns)
        unique = [sa.UniqueConstraint(*table.unique)] if table.unique else []
        made[table.name] = sa.Table(table.name, metadata, *columns, *unique)
    for index in indexes:
        own = made[index.table].c
        where = index.where.format_map({name: name for name in index.where_columns})
        columns = (own[name] for name in index.columns)
        sa.Index(index.name, *columns, postgresql_where=sa.text(where))
    return metadata


def enums_of(namespace: str | None) -> list[ENUM]:
    """Return the enum types of the host's tables, which creating a table does not create."""
    return [
        ENUM(*labels, name=name, schema=namespace, create_type=False)
        for name, labels in ENUMS.items()
    ]


def _column(table: Table, column: Column, namespace: str | None) -> sa.Column[Any]:
    enums = {enum.name: enum for enum in enums_of(namespace)}
    kind = enums.get(column.type_name) or _TYPES[column.type_name](*column.sizes)
    # the tables of batchcore refer to its runs, and go with them
    cascade = "CASCADE" if table.name in OWN else None
    references = (
        [sa.ForeignKey(f"{column.references}.id", ondelete=cascade)] if column.references else []
    )
    return sa.Column(
        column.name,
        kind,
        *references,
        primary_key=column.name in table.key,
        nullable=not column.not_null,
        server_default=sa.text(column.default) if column.default else None,
    )


metadata: Final = metadata_of(HOST.values(), indexes=INDEXES)
"""The host's tables, with the indexes of revision 0002."""

ledger: Final = metadata_of(OWN.values())
"""The tables of batchcore itself."""


def create(revision: str) -> None:
    """Create the tables of a revision, with their keys, in the migration that is running."""
    made, tables = _of_revision(revision)
    made.create_all(op.get_bind(), tables, checkfirst=False)


def drop(revision: str) -> None:
    """Drop the tables of a revision that are there."""
    made, tables = _of_revision(revision)
    made.drop_all(op.get_bind(), tables)


def _of_revision(revision: str) -> tuple[sa.MetaData, list[sa.Table]]:
    described = HOST if any(one.revision == revision for one in HOST.values()) else OWN
    made = metadata_of(described.values(), options().schema.namespace)
    return made, [one for one in made.sorted_tables if described[one.name].revision == revision]
