"""Changes by a host since a moment, from the time stamps of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from batchcore.calendar import FIRST_DATE, LAST_DATE
from batchcore.pg.sql import Sql, compose, joined, table_name
from batchcore.schema import HOST, SPLITS, Kind, Use
from batchcore.sources.events_flows import EVENTS, FLOWS
from batchcore.sources.host import HostTable, Selection, part, select, tables
from batchcore.sources.query import Query, first_day, result_columns

if TYPE_CHECKING:
    import datetime as dt

    import numpy.typing as npt

    from batchcore.db.catalog import Catalog
    from batchcore.frames import Ids, Int32, Text

EDITED: Final = tuple(
    name for name, table in HOST.items() if "updated_at" in table.names(Use.CHANGES)
)
"""Tables whose rows a host edits."""

SAMPLE: Final = 10_000  # target size of a sample of a table


@dataclass(frozen=True, slots=True)
class Stamps:
    """Evidence of how a host keeps the time stamps of a table."""

    table: str
    trigger: bool  # whether a trigger seems to maintain `updated_at`
    rows: int  # number of sampled rows older than a day
    touched: int  # number of them updated within the last day


# 19 is BEFORE UPDATE FOR EACH ROW; moddatetime has the column among its arguments
_EVIDENCE: Final = """
SELECT {name:text}::text, EXISTS (
        SELECT FROM pg_trigger AS g JOIN pg_proc AS f ON f.oid = g.tgfoid
        WHERE g.tgrelid = {relation:text}::regclass AND NOT g.tgisinternal
            AND g.tgenabled IN ('O', 'A') AND g.tgtype & 19 = 19
            AND strpos(f.prosrc || encode(g.tgargs, 'escape'), {updated:text}) > 0),
    count(*) FILTER (WHERE {t.created_at} < now() - interval '1 day'),
    count(*) FILTER (WHERE {t.created_at} < now() - interval '1 day'
        AND {t.updated_at} >= now() - interval '1 day')
FROM {t} TABLESAMPLE SYSTEM ({share})
"""


def select_stamps(catalog: Catalog) -> Query[tuple[Stamps, ...]]:
    """Return for each table whether a trigger maintains `updated_at`, and how old its rows look.

    These are the tables, not views, of `EDITED` with both time stamps.
    """
    schema, parts = catalog.schema, []
    for table in sorted(set(EDITED) & catalog.writable_tables):
        stamps = [catalog.find(table, name) for name in ("created_at", "updated_at")]
        if all(one and one.can_select and one.kind is Kind.TIMESTAMPTZ for one in stamps):
            share = min(100.0, 100.0 * SAMPLE / catalog.estimated_rows.get(table, 1))
            holes = {"name": table, "relation": str(table_name(schema, table))}
            holes |= {"updated": schema.column(table, "updated_at"), "share": Sql(f"{share:.6f}")}
            parts.append(compose(_EVIDENCE, t=HostTable(catalog, table, "t"), **holes))
    if not parts:
        return Query("stamps", "", (), tuple)
    columns = result_columns("table text, trigger bool, rows int8, touched int8")
    return Query("stamps", joined(" UNION ALL ", parts), columns, _stamps)


def _stamps(table: Text, **counted: npt.NDArray[Any]) -> tuple[Stamps, ...]:
    rows = zip(table.texts(), *(counts.tolist() for counts in counted.values()), strict=True)
    return tuple(Stamps(str(name), *counts) for name, *counts in rows)


@dataclass(frozen=True, eq=False, slots=True)
class ChangedPrices:
    """Closes, or splits, that were added or changed, each once; symbols are as stored."""

    symbol: Text
    day: Int32


@dataclass(frozen=True, eq=False, slots=True)
class ChangedFacts:
    """Portfolios with a change, and the first day that it may affect."""

    portfolio_id: Ids
    day: Int32


_STAMPED: Final = "({t.created_at} >= {since:moment} OR {t.updated_at} >= {since:moment})"


def _price_changed(catalog: Catalog, since: dt.datetime) -> Sql:
    return compose(_STAMPED, t=HostTable(catalog, "market_data_cache", "m"), since=since)


def select_changed_prices(catalog: Catalog, since: dt.datetime) -> Query[ChangedPrices]:
    """Return symbol, as stored, and date of each close that was added or changed."""
    template = "SELECT DISTINCT {columns} FROM {m} WHERE {changed} AND {m.date:dated}"
    changed, read = _price_changed(catalog, since), "m.symbol, m.date! day"
    return select(catalog, "changed_prices", ChangedPrices, read, template, changed=changed)


_IS_NEW: Final = "{t.created_at} >= {since:moment} AND {t.updated_at} <= {t.created_at}"
_SPLITS: Final = """
SELECT DISTINCT {r.symbol}::text, CASE WHEN {is_new} THEN {r.ex_date} ELSE {first:date} END
FROM {r} WHERE {changed} AND {r.symbol} IS NOT NULL
    AND (({is_new}) IS NOT TRUE OR {r.ex_date:dated})
"""


def select_changed_splits(catalog: Catalog, since: dt.datetime) -> Query[ChangedPrices]:
    """Return symbol, as stored, and ex-date of each split that was added or changed.

    An edited one has the first possible date, as its former ex-date is unknown.
    """
    r = HostTable(catalog, SPLITS, "r")
    conditions = {
        "is_new": compose(_IS_NEW, t=r, since=since),
        "changed": compose(_STAMPED, t=r, since=since),
    }
    sql = part(catalog, _SPLITS, first=FIRST_DATE, **conditions)
    return Query("changed_splits", sql, result_columns("symbol text, day day"), ChangedPrices)


# A changed row may differ from an unchanged one, and then neither is a close.
_SESSION: Final = """
SELECT min(touched.day) FROM (
    SELECT {m.date} AS day FROM {m} WHERE {m.date:dated}
    GROUP BY {m.date}
    HAVING bool_or(({changed}) IS TRUE) AND NOT bool_or({unchanged})) AS touched
"""


def select_changed_session(catalog: Catalog, since: dt.datetime) -> Query[int | None]:
    """Return the first date with a changed close and no valid one that did not change."""
    changed, unchanged = _price_changed(catalog, since), Sql("false")
    if catalog.one_price and not catalog.schema.price_sources:
        template = "({m.close:valid}) IS TRUE AND NOT ({changed}) IS TRUE"
        unchanged = part(catalog, template, changed=changed)
    sql = part(catalog, _SESSION, changed=changed, unchanged=unchanged)
    return Query("changed_session", sql, result_columns("day date"), first_day)


_FACTS: Final = """
SELECT c.portfolio, GREATEST(LEAST(min(c.day), {last:date}), {first:date})
FROM ({facts}) AS c(portfolio, day) WHERE c.portfolio IS NOT NULL GROUP BY c.portfolio
"""
_EDITED: Final = """
SELECT {t.portfolio_id}, CASE
    WHEN {is_new} AND {t.deleted_at} IS NULL
    THEN COALESCE({date}, {first:date}) ELSE {first:date} END
FROM {t}
WHERE ({t.created_at} >= {since:moment} OR {t.updated_at} >= {since:moment}
    OR {t.deleted_at} >= {since:moment}) AND {owned}
"""
_EVENTS: Final = """
SELECT {p.portfolio_id}, COALESCE({p.entry_date}, {first:date})
FROM {e} JOIN {p} ON {p.id} = {e.position_id}
WHERE {e.created_at} >= {since:moment} AND {p.deleted_at} IS NULL AND {owned}
"""


def select_changed_facts(
    catalog: Catalog, since: dt.datetime, selection: Selection
) -> Query[ChangedFacts]:
    """Return the portfolios whose positions, events or flows changed, and the first day affected.

    A row that was never edited counts from its own date. The former values of a row are unknown, so
    one that was edited or soft-deleted counts from the first possible date. An event splits its
    position's lot, so it counts from the position's entry (S3).
    """
    named = tables(catalog)
    p, f = named["p"], named["f"]
    days = {"since": since, "first": FIRST_DATE}

    def edited(t: HostTable, date: Sql) -> Sql:
        owned = selection.owned(catalog, t.portfolio_id)
        is_new = compose(_IS_NEW, t=t, since=since)
        return compose(_EDITED, t=t, is_new=is_new, date=date, owned=owned, **days)

    facts = [edited(p, p.entry_date)]
    if catalog.has_table(EVENTS):
        owned = selection.owned(catalog, p.portfolio_id)
        facts.append(part(catalog, _EVENTS, owned=owned, **days))
    if catalog.has_table(FLOWS):
        facts.append(edited(f, f.change_date))
    every = joined(" UNION ALL ", facts)
    sql = compose(_FACTS, facts=every, first=FIRST_DATE, last=LAST_DATE)
    return Query("changed_facts", sql, result_columns("portfolio_id uuid, day day"), ChangedFacts)
