"""Sector tags of positions: a fixed number of statements, whatever the number of positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from batchcore.errors import ConfigError
from batchcore.pg.sql import Relation, compose, joined, table_name
from batchcore.schema import HOST, Use
from batchcore.sinks.staging import not_stored_error
from batchcore.words import of_rows

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    import asyncpg

    from batchcore.db.catalog import Catalog
    from batchcore.pg.session import Session

USES: Final = Use.TAGS | Use.SECTORS  # the uses of sector tags

_TEXTS: Final = ("symbol", "position_type", "investment_class")


@dataclass(frozen=True, slots=True)
class TaggedPosition:
    """A position that needs a sector tag; texts are as stored."""

    id: str
    symbol: str | None
    position_type: str | None
    investment_class: str | None


_OWNED_BY: Final = {
    "position": ("{p.id}", "is in no portfolio of"),
    "portfolio": ("{o.id}", "does not belong to"),
}
"""Key of positions -> its column, and the error if it belongs to another user."""

_POSITIONS: Final = """
SELECT {o.user_id} = $2::text::uuid AS owned, {p.id}::text AS id, {texts}
FROM {o} LEFT JOIN {p} ON {p.portfolio_id} = {o.id} AND {p.deleted_at} IS NULL
WHERE {key} = $1::text::uuid AND {o.deleted_at} IS NULL
"""
_CREATE: Final = """
INSERT INTO {tags} ({t.id}, {t.user_id}, {t.name}, {t.color}, {t.display_order}, {t.usage_count},
    {t.is_archived}, {t.created_at}, {t.updated_at})
SELECT gen_random_uuid(), $1::text::uuid, w.name, w.color,
    o.last + row_number() OVER (ORDER BY w.number), 0, false, now(), now()
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS w(name, color, number)
CROSS JOIN (
    SELECT COALESCE(max({x.display_order}), -1) AS last FROM {x}
    WHERE {x.user_id} = $1::text::uuid) AS o
WHERE NOT EXISTS (
    SELECT FROM {x}
    WHERE {x.user_id} = $1::text::uuid AND {x.name} = w.name AND NOT {x.is_archived})
ON CONFLICT DO NOTHING RETURNING {t.name}::text AS name
"""
_LOCK: Final = """
SELECT {x.id}::text AS id, {x.name}::text AS name, {x.is_archived} AS archived FROM {x}
WHERE {x.user_id} = $1::text::uuid AND {x.name} = ANY($2::text[])
ORDER BY {x.id} DESC FOR UPDATE
"""
_LINK: Final = """
WITH wanted AS (
    SELECT w.position::uuid AS position, w.tag::uuid AS tag
    FROM unnest($1::text[], $2::text[]) AS w(position, tag)),
gone AS (
    DELETE FROM {l} USING wanted AS w
    WHERE {l.position_id} = w.position AND {l.tag_id} <> w.tag
        AND {l.tag_id} = ANY($3::text[]::uuid[])
    RETURNING {l.tag_id} AS tag),
lacking AS (
    SELECT w.position, w.tag FROM wanted AS w WHERE NOT EXISTS (
        SELECT FROM {l} WHERE {l.position_id} = w.position AND {l.tag_id} = w.tag)),
come AS (
    INSERT INTO {links} ({k.id}, {k.position_id}, {k.tag_id}, {k.assigned_at}, {k.assigned_by})
    SELECT gen_random_uuid(), position, tag, now(), $4::text::uuid FROM lacking
    ON CONFLICT DO NOTHING RETURNING {k.tag_id} AS tag)
SELECT true AS put, tag::text AS tag, count(*) AS times FROM come GROUP BY tag
UNION ALL SELECT false, tag::text, count(*) FROM gone GROUP BY tag
UNION ALL SELECT NULL, NULL, count(*) FROM lacking
"""
_DIFFERENCES: Final = """
SELECT (
        SELECT count(*) FROM unnest($1::text[], $2::text[]) AS w(position, tag)
        WHERE NOT EXISTS (
            SELECT FROM {l} WHERE {l.position_id} = w.position::uuid AND {l.tag_id} = w.tag::uuid)
    ) AS links, (
        SELECT count(*) FROM {x}
        WHERE {x.id} = ANY($3::text[]::uuid[])
            AND {x.usage_count} <> (SELECT count(*) FROM {l} WHERE {l.tag_id} = {x.id})) AS counts
"""
_COUNT: Final = """
UPDATE {x} SET {t.usage_count} = c.used, {t.updated_at} = now()
FROM (
    SELECT k.id::uuid AS id, count({l.tag_id}) AS used
    FROM unnest($1::text[]) AS k(id) LEFT JOIN {l} ON {l.tag_id} = k.id::uuid GROUP BY k.id) AS c
WHERE {x.id} = c.id AND {x.usage_count} IS DISTINCT FROM c.used
"""


class SectorTags:
    """The sector tags of a user's positions, in the transaction of a session."""

    def __init__(self, session: Session, catalog: Catalog, user: UUID) -> None:
        """Take a session inside a transaction, and the user of portfolios and tags."""
        schema = catalog.schema
        self._session = session
        self._schema = schema
        self._watched = any(HOST[table].inserts & USES for table, _ in catalog.acting)
        self._user = str(user)
        self._tables = {
            "tags": table_name(schema, "tags_v2"),
            "links": table_name(schema, "position_tags"),
            "t": Relation(schema, "tags_v2"),
            "k": Relation(schema, "position_tags"),
            "x": Relation(schema, "tags_v2", "x"),
            "l": Relation(schema, "position_tags", "l"),
            "o": Relation(schema, "portfolios", "o"),
            "p": Relation(schema, "positions", "p"),
        }

    async def positions(self, what: str, key: UUID) -> list[TaggedPosition]:
        """Return a ``position`` by its id, or those of a ``portfolio``, that are not soft-deleted.

        Raises:
            ConfigError: there is none of the id, or it is another user's.
        """
        column, otherwise = _OWNED_BY[what]
        # As bytes, since a database without an encoding cannot send invalid UTF-8 as text.
        encoding = "UTF8" if self._session.has_encoding else "SQL_ASCII"
        template = "convert_to({text}::text, {encoding:text}) AS {name:name}"
        texts = [
            compose(template, text=getattr(self._tables["p"], name), encoding=encoding, name=name)
            for name in _TEXTS
        ]
        holes = {"texts": joined(", ", texts), "key": compose(column, **self._tables)}
        rows = await self._fetch(_POSITIONS, str(key), self._user, **holes)
        if not rows:
            raise ConfigError(f"unknown {what} {key}", f"{what}_id")
        if not rows[0]["owned"]:
            raise ConfigError(f"{what} {key} {otherwise} user {self._user}", f"{what}_id")
        return [_position(row) for row in rows if row["id"] is not None]

    async def put(self, sectors: Mapping[str, str], colors: Mapping[str, str]) -> dict[str, int]:
        """Give each position the tag of its sector and no other sector tag.

        Return the numbers of tags created, existing tags adopted, tags removed from positions, and
        positions unchanged. A tag of the user with the name of a sector is a sector tag, even if
        batchcore did not create it. The usage of every tag that is or was on one of the positions
        is counted again. New tags get the colour of their sector; ``colors`` has all sectors.
        """
        if not sectors:
            return dict.fromkeys(("created", "adopted", "removed", "unchanged"), 0)
        names = sorted(set(sectors.values()))
        own_colors = [colors[name] for name in names]
        created = await self._fetch(_CREATE, self._user, names, own_colors)
        # Locked against changes by other transactions.
        known = await self._fetch(_LOCK, self._user, list(colors))
        of_sector = {row["name"]: row["id"] for row in known if not row["archived"]}
        lost = [name for name in names if name not in of_sector]
        if lost:
            wrong = of_rows(len(lost), len(names), "is missing", "are missing")
            raise await not_stored_error(self._session, self._schema, "tags_v2", wrong)
        tags = [of_sector[name] for name in sectors.values()]
        of_user = [row["id"] for row in known]
        links = await self._fetch(_LINK, list(sectors), tags, of_user, self._user)
        come, gone, lacked = (
            {row["tag"]: row["times"] for row in links if row["put"] is put}
            for put in (True, False, None)
        )
        counted = {*tags, *gone}
        await self._fetch(_COUNT, sorted(counted))
        if self._watched or sum(come.values()) != sum(lacked.values()):
            await self._require_kept(list(sectors), tags, counted)
        made = {row["name"] for row in created}
        return {
            "created": len(made),
            "adopted": sum(of_sector[name] in come for name in names if name not in made),
            "removed": sum(gone.values()),
            "unchanged": len(sectors) - sum(come.values()),
        }

    async def _require_kept(
        self, positions: Sequence[str], tags: Sequence[str], counted: Collection[str]
    ) -> None:
        """Read back the tags: a trigger or rule of the host may have kept them out."""
        (row,) = await self._fetch(_DIFFERENCES, positions, tags, sorted(counted))
        if row["links"]:
            wrong = of_rows(row["links"], len(positions), "is missing", "are missing")
            raise await not_stored_error(self._session, self._schema, "position_tags", wrong)
        if row["counts"]:
            unequal = of_rows(row["counts"], len(counted), "differs", "differ")
            wrong = f"{unequal} in usage_count"
            raise await not_stored_error(self._session, self._schema, "tags_v2", wrong)

    async def _fetch(
        self, template: str, *arguments: object, **holes: object
    ) -> list[asyncpg.Record]:
        query = compose(template, **self._tables, **holes)
        return await self._session.fetch(query, *arguments)


def _position(row: asyncpg.Record) -> TaggedPosition:
    # A byte that is not UTF-8 is shown as digits, which no symbol of a profile has.
    texts = (row[column] for column in _TEXTS)
    return TaggedPosition(
        row["id"], *(text and text.decode("utf-8", "backslashreplace") for text in texts)
    )
