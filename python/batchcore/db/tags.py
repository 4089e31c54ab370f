"""Sector tags of positions: a fixed number of statements, whatever the number of positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from batchcore.db.analytic_tables import COLUMNS, PROFILES
from batchcore.db.catalog import TAGS
from batchcore.db.sent import not_kept
from batchcore.db.sql import column_name, table_name
from batchcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    import asyncpg

    from batchcore.db.catalog import Catalog, Needs
    from batchcore.db.engine import Session

NEEDS: Final[Needs] = {**TAGS, PROFILES: COLUMNS[PROFILES]}
"""What tables and columns sector tags need."""

INSERTS: Final = ("tags_v2", "position_tags")
"""Those of them that rows are inserted into."""

_TEXTS: Final = ("symbol", "position_type", "investment_class")


@dataclass(frozen=True, slots=True)
class TaggedPosition:
    r"""A position that is to have a sector tag.

    Attributes:
        id: Text of its id.
        symbol: As stored; a byte that is no UTF-8 as `\xff`, which no profile has.
        position_type: As stored.
        investment_class: As stored.
    """

    id: str
    symbol: str | None
    position_type: str | None
    investment_class: str | None


@dataclass(frozen=True, slots=True)
class TagChanges:
    """What was changed.

    Attributes:
        created: Tags that were made.
        adopted: Tags that were there already and were put on a position.
        assigned: Tags put on positions.
        removed: Tags taken off positions.
    """

    created: int = 0
    adopted: int = 0
    assigned: int = 0
    removed: int = 0


class SectorTags:
    """The sector tags of a user's positions, in the transaction of a session."""

    def __init__(self, session: Session, catalog: Catalog, user: UUID) -> None:
        """Take a session to write in.

        Args:
            session: Inside a transaction.
            catalog: The host's tables.
            user: Whose portfolios and tags.
        """
        schema = catalog.schema
        self._session = session
        self._schema = schema
        self._watched = any(table in INSERTS for table, _ in catalog.acting)
        self._user = str(user)
        self._tags = table_name(schema, "tags_v2")
        self._links = table_name(schema, "position_tags")
        self._tag = {c: column_name(schema, "tags_v2", c) for c in TAGS["tags_v2"]}
        self._link = {c: column_name(schema, "position_tags", c) for c in TAGS["position_tags"]}

    async def position(self, position: UUID) -> TaggedPosition:
        """Return a position by its id.

        Raises:
            ConfigError: there is none that is not soft-deleted, or it is another user's.
        """
        rows = await self._positions("p", position)
        if not rows:
            raise ConfigError(f"unknown position {position}", "position_id")
        if not rows[0]["owned"]:
            msg = f"position {position} is in no portfolio of user {self._user}"
            raise ConfigError(msg, "position_id")
        return _position(rows[0])

    async def positions(self, portfolio: UUID) -> list[TaggedPosition]:
        """Return the positions of a portfolio that are not soft-deleted.

        Raises:
            ConfigError: there is no such portfolio, it is soft-deleted, or another user's.
        """
        rows = await self._positions("o", portfolio)
        if not rows:
            raise ConfigError(f"unknown portfolio {portfolio}", "portfolio_id")
        if not rows[0]["owned"]:
            msg = f"portfolio {portfolio} is none of user {self._user}"
            raise ConfigError(msg, "portfolio_id")
        return [_position(row) for row in rows if row["id"] is not None]

    async def _positions(self, of: str, key: UUID) -> list[asyncpg.Record]:
        """Return the position p with a key, or all positions of the portfolio o with it."""
        p = {c: f"p.{column_name(self._schema, 'positions', c)}" for c in TAGS["positions"]}
        o = {c: f"o.{column_name(self._schema, 'portfolios', c)}" for c in TAGS["portfolios"]}
        # As bytes, which in a database without an encoding no client of UTF-8 may be sent as text.
        encoding = "UTF8" if self._session.has_encoding else "SQL_ASCII"
        texts = ", ".join(f"convert_to({p[c]}::text, '{encoding}') AS {c}" for c in _TEXTS)
        return await self._fetch(
            f"SELECT {o['user_id']} = $2::text::uuid AS owned, {p['id']}::text AS id, {texts}"  # noqa: S608
            f" FROM {table_name(self._schema, 'portfolios')} AS o"
            f" LEFT JOIN {table_name(self._schema, 'positions')} AS p"
            f" ON {p['portfolio_id']} = {o['id']} AND {p['deleted_at']} IS NULL"
            f" WHERE {(p if of == 'p' else o)['id']} = $1::text::uuid"
            f" AND {o['deleted_at']} IS NULL",
            str(key),
            self._user,
        )

    async def put(self, sectors: Mapping[str, str], colors: Mapping[str, str]) -> TagChanges:
        """Give each position the tag of its sector and no other sector tag; return what changed.

        A tag of the user with the name of a sector is a sector tag, whoever made it. Every tag
        that is or was on one of the positions then counts its uses anew.

        Args:
            sectors: Id of a position -> name of its sector.
            colors: Name of every sector -> colour of a tag that is made.

        Raises:
            DatabaseError: the server refused it, or holds something else than was sent.
        """
        if not sectors:
            return TagChanges()
        names = sorted(set(sectors.values()))
        created = await self._create(names, [colors[name] for name in names])
        of_sector, of_user = await self._lock(list(colors))
        lost = [name for name in names if name not in of_sector]
        if lost:
            wrong = f"{len(lost)} of {len(names)} rows sent are not there"
            raise await not_kept(self._session, self._schema, "tags_v2", wrong)
        tags = [of_sector[name] for name in sectors.values()]
        come, gone, lacked = await self._link_all(list(sectors), tags, of_user)
        await self._count({*tags, *gone})
        if self._watched or sum(come.values()) != lacked:
            await self._require_kept(list(sectors), tags, {*tags, *gone})
        return TagChanges(
            created=len(created),
            adopted=sum(of_sector[name] in come for name in names if name not in created),
            assigned=sum(come.values()),
            removed=sum(gone.values()),
        )

    async def _create(self, names: Sequence[str], colors: Sequence[str]) -> set[str]:
        """Make the tags that the user lacks, after all others; return their names."""
        t = self._tag
        columns = (
            *("id", "user_id", "name", "color", "display_order", "usage_count", "is_archived"),
            *("created_at", "updated_at"),
        )
        rows = await self._fetch(
            f"INSERT INTO {self._tags} ({', '.join(t[c] for c in columns)})"  # noqa: S608
            f" SELECT gen_random_uuid(), $1::text::uuid, w.name, w.color,"
            f" o.last + row_number() OVER (ORDER BY w.number), 0, false, now(), now()"
            f" FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS w(name, color, number)"
            f" CROSS JOIN (SELECT COALESCE(max({t['display_order']}), -1) AS last"
            f" FROM {self._tags} WHERE {t['user_id']} = $1::text::uuid) AS o"
            f" WHERE NOT EXISTS (SELECT FROM {self._tags} AS t WHERE"
            f" t.{t['user_id']} = $1::text::uuid AND t.{t['name']} = w.name"
            f" AND NOT t.{t['is_archived']})"
            f" ON CONFLICT DO NOTHING RETURNING {t['name']}::text AS name",
            self._user,
            names,
            colors,
        )
        return {row["name"] for row in rows}

    async def _lock(self, names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        """Lock the user's sector tags, so that nobody else changes them or counts at once.

        Returns:
            Name -> id of those that are not archived, and the ids of all of them.
        """
        t = self._tag
        rows = await self._fetch(
            f"SELECT {t['id']}::text AS id, {t['name']}::text AS name,"  # noqa: S608
            f" {t['is_archived']} AS archived FROM {self._tags}"
            f" WHERE {t['user_id']} = $1::text::uuid AND {t['name']} = ANY($2::text[])"
            f" ORDER BY {t['id']} DESC FOR UPDATE",
            self._user,
            names,
        )
        alive = {row["name"]: row["id"] for row in rows if not row["archived"]}
        return alive, [row["id"] for row in rows]

    async def _link_all(
        self, positions: Sequence[str], tags: Sequence[str], of_user: Sequence[str]
    ) -> tuple[dict[str, int], dict[str, int], int]:
        """Put tags on positions and take the others of the user's sector tags off.

        Returns:
            Id of each tag -> how many positions it was put on, the same of taken off, and how
            many positions lacked theirs.
        """
        link = self._link
        position, tag = link["position_id"], link["tag_id"]
        columns = ("id", "position_id", "tag_id", "assigned_at", "assigned_by")
        rows = await self._fetch(
            f"WITH wanted AS (SELECT w.position::uuid AS position, w.tag::uuid AS tag"  # noqa: S608
            f" FROM unnest($1::text[], $2::text[]) AS w(position, tag)),"
            f" gone AS (DELETE FROM {self._links} AS l USING wanted AS w"
            f" WHERE l.{position} = w.position AND l.{tag} <> w.tag"
            f" AND l.{tag} = ANY($3::text[]::uuid[]) RETURNING l.{tag} AS tag),"
            f" lacking AS (SELECT w.position, w.tag FROM wanted AS w WHERE NOT EXISTS"
            f" (SELECT FROM {self._links} AS l WHERE l.{position} = w.position"
            f" AND l.{tag} = w.tag)),"
            f" come AS (INSERT INTO {self._links} ({', '.join(link[c] for c in columns)})"
            f" SELECT gen_random_uuid(), position, tag, now(), $4::text::uuid FROM lacking"
            f" ON CONFLICT DO NOTHING RETURNING {tag} AS tag)"
            f" SELECT true AS put, tag::text AS tag, count(*) AS times FROM come GROUP BY tag"
            f" UNION ALL SELECT false, tag::text, count(*) FROM gone GROUP BY tag"
            f" UNION ALL SELECT NULL, NULL, count(*) FROM lacking",
            positions,
            tags,
            of_user,
            self._user,
        )
        come, gone = (
            {row["tag"]: row["times"] for row in rows if row["put"] is put} for put in (True, False)
        )
        return come, gone, next(row["times"] for row in rows if row["put"] is None)

    async def _require_kept(
        self, positions: Sequence[str], tags: Sequence[str], counted: Collection[str]
    ) -> None:
        """Read back what was sent: a trigger or rule of the host may have kept it out.

        Raises:
            DatabaseError: the server holds something else.
        """
        t, link = self._tag, self._link
        (row,) = await self._fetch(
            f"SELECT (SELECT count(*) FROM unnest($1::text[], $2::text[]) AS w(position, tag)"  # noqa: S608
            f" WHERE NOT EXISTS (SELECT FROM {self._links} AS l"
            f" WHERE l.{link['position_id']} = w.position::uuid"
            f" AND l.{link['tag_id']} = w.tag::uuid)) AS links,"
            f" (SELECT count(*) FROM {self._tags} AS t WHERE t.{t['id']} = ANY($3::text[]::uuid[])"
            f" AND t.{t['usage_count']} <> (SELECT count(*) FROM {self._links} AS l"
            f" WHERE l.{link['tag_id']} = t.{t['id']})) AS counts",
            positions,
            tags,
            sorted(counted),
        )
        if row["links"]:
            wrong = f"{row['links']} of {len(positions)} rows sent are not there"
            raise await not_kept(self._session, self._schema, "position_tags", wrong)
        if row["counts"]:
            wrong = f"{row['counts']} of {len(counted)} rows sent have another usage_count"
            raise await not_kept(self._session, self._schema, "tags_v2", wrong)

    async def _count(self, tags: Collection[str]) -> None:
        """Set how often tags are used, where that is not what it says."""
        t, link = self._tag, self._link
        await self._fetch(
            f"UPDATE {self._tags} AS t SET {t['usage_count']} = c.used,"  # noqa: S608
            f" {t['updated_at']} = now()"
            f" FROM (SELECT k.id::uuid AS id, count(l.{link['tag_id']}) AS used"
            f" FROM unnest($1::text[]) AS k(id) LEFT JOIN {self._links} AS l"
            f" ON l.{link['tag_id']} = k.id::uuid GROUP BY k.id) AS c"
            f" WHERE t.{t['id']} = c.id AND t.{t['usage_count']} IS DISTINCT FROM c.used",
            sorted(tags),
        )

    async def _fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        return await self._session.fetch(query, *arguments)


def _position(row: asyncpg.Record) -> TaggedPosition:
    texts = (row[column] for column in _TEXTS)
    return TaggedPosition(
        row["id"], *(text and text.decode("utf-8", "backslashreplace") for text in texts)
    )
