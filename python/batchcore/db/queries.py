"""Each SELECT of a run, with the columns that its binary COPY brings.

COPY takes no driver parameters: dates, uuids and texts stand in the statement as literals, made
here from integers, 16 bytes each, and quoted text.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.calendar import FIRST_DATE, LAST_DATE
from batchcore.db.doubles import fitting, smallest
from batchcore.db.sql import column_name, quote_literal, table_name
from batchcore.schema import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from batchcore.calendar import Calendar
    from batchcore.db.catalog import Catalog

_EPOCH: Final = dt.date(1970, 1, 1).toordinal()
_INFINITY: Final = "'Infinity'::numeric"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a query's result.

    Attributes:
        name: Its name in the frame.
        kind: How its bytes are read.
        scale: Decimals of a NUMERIC, and those that a FLOAT8 is rounded to.
        source: ``table.column`` of docs/schema.md that a FLOAT8 is read from.
    """

    name: str
    kind: Kind
    scale: int = 0
    source: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """A SELECT and what it brings.

    Attributes:
        name: For errors and logs.
        sql: Without parameters.
        columns: In order.
    """

    name: str
    sql: str
    columns: tuple[Column, ...]

    @property
    def in_bytes(self) -> str:
        """The same with texts as their bytes, for a database without an encoding.

        There the server refuses to send a text to a client of UTF-8 that is none.
        """
        names = [f"c{number}" for number in range(len(self.columns))]
        items = (
            f"convert_to({name}::text, 'SQL_ASCII')" if column.kind is Kind.TEXT else name
            for name, column in zip(names, self.columns, strict=True)
        )
        return f"SELECT {', '.join(items)} FROM ({self.sql}) AS q({', '.join(names)})"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Selection:
    """Which portfolios a query is about: an inclusive range of ids, or a list of them.

    Attributes:
        ids: (n, 16) uint8, sorted; None means all that are not soft-deleted.
        as_range: Whether every portfolio between the first and the last is meant.
    """

    ids: npt.NDArray[np.uint8] | None = None
    as_range: bool = False

    def condition(self, column: str) -> str:
        """Return the condition that ``column`` is one of them; `all` is no condition."""
        if self.ids is None:
            return "true"
        if len(self.ids) == 0:
            return "false"
        if self.as_range:
            return f"{column} BETWEEN {_uuid(self.ids[0])} AND {_uuid(self.ids[-1])}"
        return f"{column} = ANY('{{{uuids(self.ids)}}}'::uuid[])"


@dataclass(frozen=True, eq=False, slots=True)
class Boundaries:
    """Days that part the snapshots of some portfolios, instead of the day of the run.

    Attributes:
        ids: (n, 16) uint8, each once.
        day: (n,) int32.
    """

    ids: npt.NDArray[np.uint8]
    day: npt.NDArray[np.int32]

    def rows(self) -> str:
        """Return them as a table of id and day."""
        return f"unnest('{{{uuids(self.ids)}}}'::uuid[], '{{{dates(self.day)}}}'::date[])"


def _uuid(row: npt.NDArray[np.uint8]) -> str:
    return f"'{uuid.UUID(bytes=row.tobytes())}'::uuid"


def uuids(ids: npt.NDArray[np.uint8]) -> str:
    """Return ids with commas between, without hyphens, which PostgreSQL needs none of."""
    digits = ids.tobytes().hex()
    return ",".join(digits[first : first + 32] for first in range(0, len(digits), 32))


def dates(days: npt.NDArray[np.int32]) -> str:
    """Return days as ISO dates with commas between."""
    known = {day: iso_date(day) for day in set(days.tolist())}
    return ",".join(known[day] for day in days.tolist())


def date_literal(day: int) -> str:
    """Return a day since 1970-01-01 as a date literal."""
    return f"'{iso_date(day)}'::date"


def iso_date(day: int) -> str:
    """Return a day since 1970-01-01 as an ISO date; the one after Python's last is a date too."""
    if day + _EPOCH == dt.date.max.toordinal() + 1:
        return "10000-01-01"  # what is before it is everything up to the last
    return dt.date.fromordinal(day + _EPOCH).isoformat()


def text_array(texts: Iterable[str]) -> str:
    """Return texts as an array literal that means the same under any server setting.

    It has no type, so that ``column = ANY(...)`` compares as the column's own type does: blanks at
    the end of a char(20) or the case of a citext would count in a comparison of texts.
    """
    quoted = ",".join('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts)
    return quote_literal("{" + quoted + "}")


def _bits(days: npt.NDArray[np.int32]) -> str:
    """Return days as a string of bits from the first of them on, for `get_bit`."""
    bits = np.zeros(int(days[-1] - days[0]) + 1, dtype=np.bool_)
    bits[days - days[0]] = True
    # get_bit counts from the lowest bit of each byte
    return f"decode('{np.packbits(bits, bitorder='little').tobytes().hex()}', 'hex')"


def _sessions(calendar: Calendar, start: int | None, end: int) -> str:
    """Return the sessions up to ``end``, with their places in order, from 0."""
    if calendar.days is None:  # from the earliest snapshot on, as there is no first day to name
        first = "(SELECT min(c.day) AS day FROM c)" if start is None else None
        first = first or f"(SELECT {date_literal(start or 0)} AS day)"
        return (
            f"SELECT first.day + i, i::int8 FROM {first} AS first,"  # noqa: S608
            f" generate_series(0, {date_literal(end)} - first.day) AS i"
        )
    days = calendar.days[calendar.days <= end]
    if start is not None:
        days = days[days >= start]
    if len(days) == 0:
        return "SELECT NULL::date, 0::int8 WHERE false"
    return (
        f"SELECT {date_literal(int(days[0]))} + i, row_number() OVER (ORDER BY i) - 1"  # noqa: S608
        f" FROM generate_series(0, {int(days[-1] - days[0])}) AS i"
        f" WHERE get_bit({_bits(days)}, i) = 1"
    )


SYMBOL_INDEX: Final = "idx_positions_symbol_active"

LEAST_STEPPED: Final = 20_000
"""Positions from which on their symbols are stepped through."""

POSITIONS_OF_A_STEP: Final = 30
"""How many positions are read in the time of one step: 0.4 us each, where a step takes 10."""


class Queries:
    """The queries of one run, on the tables that the catalog found."""

    def __init__(self, catalog: Catalog) -> None:
        """Take the names, types and scales of the host's tables."""
        self._catalog = catalog
        self._schema = catalog.schema

    @property
    def catalog(self) -> Catalog:
        """What the tables are."""
        return self._catalog

    def has_table(self, table: str) -> bool:
        """Return whether an optional table is there."""
        return self._catalog.has_table(table)

    def _table(self, table: str) -> str:
        return table_name(self._schema, table)

    def _name(self, table: str, column: str) -> str:
        return column_name(self._schema, table, column)

    def _decimal(self, name: str, table: str, column: str) -> Column:
        kind = Kind.FLOAT8 if self._is_double(table, column) else Kind.NUMERIC
        return Column(name, kind, self._catalog.scale(table, column), f"{table}.{column}")

    def _is_double(self, table: str, column: str) -> bool:
        return self._catalog.column(table, column).kind is Kind.FLOAT8

    def portfolios(
        self,
        calendar: Calendar,
        boundary: int,
        selection: Selection,
        own: Boundaries | None = None,
    ) -> Query:
        """Return each portfolio with the snapshots around ``boundary``, or around one of its own.

        Three LATERAL look-ups on the unique index: the latest complete snapshot before the
        boundary, the earliest from it on, and, where there is one, the latest. Of those asked for
        by id, soft-deleted ones come too, marked.
        """
        own_names = ("id", "equity_balance", "currency", "deleted_at")
        p = {c: self._name("portfolios", c) for c in own_names}
        s = {
            c: self._name("portfolio_snapshots", c)
            for c in (
                "portfolio_id",
                "snapshot_date",
                "equity_balance",
                "cumulative_pnl",
                "cumulative_realized_pnl",
                "cumulative_capital_flow",
                "daily_pnl",
                "daily_capital_flow",
            )
        }
        cumulative = [
            s["equity_balance"],
            s["cumulative_pnl"],
            s["cumulative_realized_pnl"],
            s["cumulative_capital_flow"],
        ]
        earliest = [s["equity_balance"], s["daily_pnl"], s["daily_capital_flow"]]
        complete = self.complete(calendar)
        parting, joined = date_literal(boundary), ""
        if own is not None and len(own.day):
            parting = f"COALESCE(own.day, {parting})"
            joined = f" LEFT JOIN {own.rows()} AS own(id, day) ON own.id = p.{p['id']}"

        def lateral(alias: str, names: list[str], order: str, condition: str = "") -> str:
            compare = "<" if alias == "before" else ">="
            columns = ", ".join([s["snapshot_date"], *names])
            return (
                f" LEFT JOIN LATERAL (SELECT {columns}"  # noqa: S608  # quoted
                f" FROM {self._table('portfolio_snapshots')}"
                f" WHERE {condition}{s['portfolio_id']} = p.{p['id']}"
                f" AND {s['snapshot_date']} {compare} {parting} AND {complete}"
                f" ORDER BY {s['snapshot_date']} {order} LIMIT 1) AS {alias} ON true"
            )

        selected = [f"p.{p[c]}" for c in ("id", "equity_balance", "currency")]
        selected.append(f"p.{p['deleted_at']} IS NOT NULL")
        for alias, names in (("before", cumulative), ("first", earliest), ("last", cumulative)):
            selected += [f"{alias}.{name}" for name in (s["snapshot_date"], *names)]
        wanted = f"p.{p['deleted_at']} IS NULL"
        if selection.ids is not None:
            wanted = selection.condition(f"p.{p['id']}")
        sql = (
            f"SELECT {', '.join(selected)} FROM {self._table('portfolios')} AS p{joined}"  # noqa: S608
            + lateral("before", cumulative, "DESC")
            + lateral("first", earliest, "ASC")
            + lateral("last", cumulative, "DESC", f"first.{s['snapshot_date']} IS NOT NULL AND ")
            + f" WHERE {wanted}"
        )

        def snapshot(prefix: str, columns: tuple[str, ...]) -> list[Column]:
            return [
                Column(f"{prefix}_day", Kind.DATE),
                *(self._decimal(f"{prefix}_{c}", "portfolio_snapshots", c) for c in columns),
            ]

        sums = (
            "equity_balance",
            "cumulative_pnl",
            "cumulative_realized_pnl",
            "cumulative_capital_flow",
        )
        return Query(
            "portfolios",
            sql,
            (
                Column("id", Kind.UUID),
                self._decimal("equity_balance", "portfolios", "equity_balance"),
                Column("currency", Kind.TEXT),
                Column("deleted", Kind.BOOL),
                *snapshot("before", sums),
                *snapshot("first", ("equity_balance", "daily_pnl", "daily_capital_flow")),
                *snapshot("last", sums),
            ),
        )

    def lock_of_portfolios(self, selection: Selection) -> str:
        """Return the SELECT that locks the rows of portfolios, and counts them.

        In the order of their ids, so that two do not wait for each other. Foreign keys to them
        can be checked meanwhile.
        """
        own = self._name("portfolios", "id")
        wanted = f"{self._name('portfolios', 'deleted_at')} IS NULL"
        if selection.ids is not None:
            wanted = selection.condition(own)
        return (
            f"SELECT count(*) FROM (SELECT {own} FROM {self._table('portfolios')}"  # noqa: S608
            f" WHERE {wanted} ORDER BY {own} FOR NO KEY UPDATE) AS locked"
        )

    def complete(self, calendar: Calendar) -> str:
        """Return the condition that a snapshot is complete (S5), session of the calendar included.

        Sessions travel as a string of bits: 4 KB for 46 years, and one look-up for each row.
        """
        day = self._name("portfolio_snapshots", "snapshot_date")
        equity = self._name("portfolio_snapshots", "equity_balance")
        flag = self._name("portfolio_snapshots", "is_complete")
        condition = f"{flag} AND {self._finite(equity)}"
        if calendar.days is None:
            return (
                f"{condition} AND {day} BETWEEN {date_literal(calendar.first_day)}"
                f" AND {date_literal(calendar.last_day)}"
            )
        if len(calendar.days) == 0:
            return "false"
        first, last = int(calendar.days[0]), int(calendar.days[-1])
        return (
            f"{condition} AND CASE WHEN {day} BETWEEN {date_literal(first)} AND"
            f" {date_literal(last)} THEN get_bit({_bits(calendar.days)}, {day} -"
            f" {date_literal(first)}) = 1 ELSE false END"
        )

    def holes(self, calendar: Calendar, selection: Selection, start: int | None, end: int) -> Query:
        """Return where the chains of portfolios have holes: sessions without a complete snapshot.

        Of each portfolio that has a complete snapshot in the range: the day of its earliest, the
        first session after it that has none though a later one has, and how many such sessions
        there are. Without a start the range begins with the earliest.
        """
        table = "portfolio_snapshots"
        portfolio = self._name(table, "portfolio_id")
        day = self._name(table, "snapshot_date")
        after = "" if start is None else f" AND {day} >= {date_literal(start)}"
        missing = "COALESCE(next.place, (SELECT count(*) FROM sessions)) - own.place - 1"
        hole = f"c.following IS NOT NULL AND {missing} > 0"
        sql = (
            f"WITH c(portfolio, day, following) AS (SELECT {portfolio}, {day},"  # noqa: S608
            f" lead({day}) OVER (PARTITION BY {portfolio} ORDER BY {day})"
            f" FROM {self._table(table)} WHERE {selection.condition(portfolio)}{after}"
            f" AND {self.complete(calendar)}),"
            f" sessions(day, place) AS ({_sessions(calendar, start, end)})"
            f" SELECT c.portfolio, min(c.day), min(beyond.day) FILTER (WHERE {hole}),"
            f" COALESCE(sum({missing}) FILTER (WHERE {hole}), 0)::int8"
            f" FROM c JOIN sessions AS own ON own.day = c.day"
            f" LEFT JOIN sessions AS next ON next.day = c.following"
            f" LEFT JOIN sessions AS beyond ON beyond.place = own.place + 1"
            f" GROUP BY c.portfolio"
        )
        return Query(
            "holes",
            sql,
            (
                Column("portfolio_id", Kind.UUID),
                Column("earliest", Kind.DATE),
                Column("hole", Kind.DATE),
                Column("missing", Kind.INT8),
            ),
        )

    def symbols(self, selection: Selection) -> Query:
        """Return the distinct symbols of the positions of the run, as spelt."""
        symbol = self._name("positions", "symbol")
        portfolio = self._name("positions", "portfolio_id")
        sql = (
            f"SELECT DISTINCT {symbol} FROM {self._table('positions')}"  # noqa: S608
            f" WHERE {self._name('positions', 'deleted_at')} IS NULL"
            f" AND {symbol} IS NOT NULL AND {symbol} <> '' AND {self.alive(selection, portfolio)}"
        )
        return Query("symbols", sql, (Column("symbol", Kind.TEXT),))

    def steps(self, selection: Selection) -> int:
        """Return from how many symbols on `stepped_symbols` is no better than `symbols`; 0 is any.

        A step costs as much as reading some dozens of positions, if there is the index for it.
        """
        held = self._catalog.estimated_rows.get("positions", 0)
        if selection.ids is not None or not self._catalog.indexes.get(SYMBOL_INDEX, False):
            return 0
        return held // POSITIONS_OF_A_STEP if held >= LEAST_STEPPED else 0

    def stepped_symbols(self, most: int) -> Query:
        """Return what `symbols` does of all portfolios, up to so many, without every position.

        It steps through the index on symbols, one probe each.
        """
        symbol = self._name("positions", "symbol")
        deleted = self._name("positions", "deleted_at")
        table = self._table("positions")

        def positions(alias: str) -> str:
            return (
                f"FROM {table} AS {alias} WHERE {alias}.{deleted} IS NULL"
                f" AND {alias}.{symbol} IS NOT NULL AND {alias}.{symbol} <> ''"
            )

        # The order names the first column of the index too, or the index would not be seen to fit.
        first = f"ORDER BY p.{deleted}, p.{symbol} LIMIT 1"
        portfolio = self._name("positions", "portfolio_id")
        sql = (
            f"WITH RECURSIVE spelling(symbol) AS ("  # noqa: S608
            f"(SELECT p.{symbol} {positions('p')} {first}) UNION ALL"
            f" SELECT (SELECT p.{symbol} {positions('p')} AND p.{symbol} > spelling.symbol {first})"
            f" FROM spelling WHERE spelling.symbol IS NOT NULL)"
            f" SELECT spelling.symbol FROM spelling WHERE spelling.symbol IS NOT NULL"
            f" AND (SELECT true {positions('own')} AND own.{symbol} = spelling.symbol"
            f" AND {self.alive(Selection(None), f'own.{portfolio}')} LIMIT 1) LIMIT {most}"
        )
        return Query("symbols", sql, (Column("symbol", Kind.TEXT),))

    def alive(self, selection: Selection, portfolio: str) -> str:
        """Return the condition that ``portfolio`` is selected; of `all`, not soft-deleted."""
        if selection.ids is not None:
            return selection.condition(portfolio)
        return (
            f"{portfolio} IN (SELECT {self._name('portfolios', 'id')} FROM"  # noqa: S608
            f" {self._table('portfolios')} WHERE"
            f" {self._name('portfolios', 'deleted_at')} IS NULL)"
        )

    def prices(self, spellings: Iterable[str], first: int, last: int) -> Query:
        """Return every finite close of these spellings in a window."""
        symbol = self._price_names()[0]
        sql = (
            f"SELECT {self._price_items()} FROM {self._table('market_data_cache')}"  # noqa: S608
            f" WHERE {symbol} = ANY({text_array(spellings)}) AND {self._in_window(first, last)}"
        )
        return Query("prices", sql, self._price_columns())

    def fallback(  # noqa: PLR0917  # what is missing in a window
        self,
        normalised: Iterable[str],
        brought: Iterable[str],
        first: int,
        last: int,
        since: int | None = None,
        settled: Iterable[str] = (),
    ) -> Query:
        """Return what the closes of a window leave out.

        Of each spelling of a symbol the last valid close before the window, and the last finite
        one where it is newer; and the closes in the window of spellings that were not brought.
        The distinct spellings are found by stepping through the unique index, one probe each.

        Args:
            normalised: Symbols, trimmed and upper-cased.
            brought: Spellings whose closes in the window are there already.
            first: First day of the window.
            last: Last day of the window.
            since: From which day on they are there, if not in the whole window.
            settled: Of ``normalised``, those that no close before the window is wanted of.
        """
        wanted = (
            f"{self._stepped_spellings()}, wanted(symbol, settled) AS ("  # noqa: S608
            f"SELECT one.symbol, one.normalised = ANY({text_array(settled)})"
            f" FROM (SELECT symbol, upper(btrim(symbol COLLATE \"C\", ' ')) AS normalised"
            f" FROM spelling) AS one WHERE one.normalised = ANY({text_array(normalised)}))"
        )
        return self._left_out(wanted, brought, first, last, since)

    def spellings(self, most: int) -> Query:
        """Return the distinct symbols that closes are stored under, up to so many."""
        sql = (
            f"{self._stepped_spellings()} SELECT spelling.symbol FROM spelling"  # noqa: S608
            f" WHERE spelling.symbol IS NOT NULL LIMIT {most}"
        )
        return Query("spellings", sql, (Column("symbol", Kind.TEXT),))

    def left_out(
        self,
        earlier: Iterable[str],
        others: Iterable[str],
        brought: Iterable[str],
        first: int,
        last: int,
    ) -> Query:
        """Return what `fallback` does, where the spellings are known.

        Args:
            earlier: Spellings that a close before the window is wanted of.
            others: Further ones whose closes in the window may not be there yet.
            brought: Spellings whose closes in the window are there already.
            first: First day of the window.
            last: Last day of the window.
        """
        symbol, prices = self._price_names()[0], self._table("market_data_cache")
        empty = f"ARRAY(SELECT {symbol} FROM {prices} WHERE false)"  # noqa: S608  # gives its type
        wanted = (
            f"WITH wanted(symbol, settled) AS (SELECT unnest({empty} || {text_array(earlier)}),"
            f" false UNION ALL SELECT unnest({empty} || {text_array(others)}), true)"
        )
        return self._left_out(wanted, brought, first, last, None)

    def _stepped_spellings(self) -> str:
        """Return the start of a statement that has the symbols of closes, and a NULL."""
        symbol, prices = self._price_names()[0], self._table("market_data_cache")
        return (
            f"WITH RECURSIVE spelling(symbol) AS ("  # noqa: S608
            f"(SELECT min({symbol}) FROM {prices}) UNION ALL"
            f" SELECT (SELECT min({symbol}) FROM {prices} WHERE {symbol} > spelling.symbol)"
            f" FROM spelling WHERE spelling.symbol IS NOT NULL)"
        )

    def _left_out(
        self, wanted: str, spellings: Iterable[str], first: int, last: int, since: int | None
    ) -> Query:
        """Return the query that begins with a WITH of `wanted`."""
        symbol, day, close = self._price_names()
        prices, brought = self._table("market_data_cache"), text_array(spellings)
        before, items = f"{day} < {date_literal(first)}", self._price_items()
        ranked = ", 0" if self._schema.price_sources else ""
        sql = (
            f"{wanted} SELECT wanted.symbol, earlier.day, earlier.close{ranked}"  # noqa: S608
            f" FROM wanted CROSS JOIN LATERAL ("
            f"(SELECT {day}, {close} FROM {prices} AS p WHERE {symbol} = wanted.symbol AND {before}"
            f" AND {self._valid_close()}{self._counts()} ORDER BY {day} DESC LIMIT 1) UNION ALL"
            f" SELECT * FROM (SELECT {day}, {close} FROM {prices} AS p"
            f" WHERE {symbol} = wanted.symbol AND {before} AND {self._finite(close)}"
            f"{self._counts()} ORDER BY {day} DESC{self._then()} LIMIT 1) AS newest(day, close)"
            f" WHERE NOT ({self._above_zero('market_data_cache', 'close', 'newest.close')})"
            f") AS earlier(day, close) WHERE NOT wanted.settled UNION ALL"
            f" SELECT {items} FROM {prices} WHERE {symbol} = ANY(ARRAY("
            f"SELECT wanted.symbol FROM wanted"
            f" WHERE NOT wanted.symbol = ANY({brought})))"
            f" AND {self._in_window(first, last)}"
        )
        if since is not None and since > first:
            sql += (
                f" UNION ALL SELECT {items} FROM {prices}"  # noqa: S608
                f" WHERE {symbol} = ANY({brought}) AND {self._in_window(first, since - 1)}"
            )
        return Query("fallback", sql, self._price_columns())

    def _in_window(self, first: int, last: int) -> str:
        _, day, close = self._price_names()
        return (
            f"{day} BETWEEN {date_literal(first)} AND {date_literal(last)}"
            f" AND {self._finite(close)}{self._declared()}"
        )

    def price_dates(self) -> Query:
        """Return the dates with a valid close of any symbol (S1, S12)."""
        _, day, _ = self._price_names()
        sql = (
            f"SELECT DISTINCT {day} FROM {self._table('market_data_cache')} AS p"  # noqa: S608
            f" WHERE {self._valid_close()}{self._counts()}"
            f" AND {day} BETWEEN {date_literal(FIRST_DATE)} AND {date_literal(LAST_DATE)}"
        )
        return Query("price_dates", sql, (Column("day", Kind.DATE),))

    def _price_names(self) -> tuple[str, str, str]:
        symbol, day, close = (
            self._name("market_data_cache", column) for column in ("symbol", "date", "close")
        )
        return symbol, day, close

    @property
    def one_price(self) -> bool:
        """Whether no symbol can have two closes of one date that count as stored (S2)."""
        return self._catalog.one_price and not self._schema.price_sources

    def _price_columns(self) -> tuple[Column, ...]:
        """Return the columns of `_price_items`."""
        columns = (
            Column("symbol", Kind.TEXT),
            Column("day", Kind.DATE),
            self._decimal("close", "market_data_cache", "close"),
        )
        return (*columns, Column("rank", Kind.INT4)) if self._schema.price_sources else columns

    def _price_items(self, *, text: bool = False) -> str:
        """Return what is selected of a close, its symbol as a text if it may be of another type."""
        symbol, day, close = self._price_names()
        ranked = f", {self._rank()}" if self._schema.price_sources else ""
        return f"{symbol}{'::text' if text else ''}, {day}, {close}{ranked}"

    def _source(self, alias: str = "") -> str:
        return f"{alias}{self._name('market_data_cache', 'data_source')}::text"

    def _sources(self) -> str:
        return f"{text_array(self._schema.price_sources)}::text[]"

    def _rank(self, alias: str = "") -> str:
        """Return the place of a row's source among those declared; NULL of another."""
        return f"array_position({self._sources()}, {self._source(alias)})"

    def _declared(self, alias: str = "") -> str:
        """Return the further condition that the source of a row is declared, if any are."""
        if not self._schema.price_sources:
            return ""
        return f" AND {self._source(alias)} = ANY({self._sources()})"

    def _counts(self) -> str:
        """Return the further condition that row ``p`` is the one of its symbol and date (S2).

        Of rows without a valid close on a date any may be. A double is compared as it is rounded,
        as far as 15 digits tell.
        """
        if self._catalog.one_price:
            return self._declared("p.")
        symbol, day, close = self._price_names()

        def rounded(alias: str) -> str:
            name = f"{alias}{close}"
            if not self._is_double("market_data_cache", "close"):
                return name
            return f"round({name}::numeric, {self._catalog.scale('market_data_cache', 'close')})"

        better = f"({self._valid_close('p.')}) IS NOT TRUE OR "
        differs = f"{rounded('o.')} <> {rounded('p.')}"
        if self._schema.price_sources:
            own, other = self._rank("p."), self._rank("o.")
            differs = f"{other} < {own} OR {other} = {own} AND {differs}"
        return (
            f"{self._declared('p.')} AND NOT EXISTS (SELECT"  # quoted
            f" FROM {self._table('market_data_cache')} AS o WHERE o.{symbol} = p.{symbol}"
            f" AND o.{day} = p.{day} AND {self._valid_close('o.')}{self._declared('o.')}"
            f" AND ({better}{differs}))"
        )

    def _then(self) -> str:
        """Return the rest of the order in which the rows of one date count."""
        if self._catalog.one_price:
            return ""
        rank = f", {self._rank('p.')}" if self._schema.price_sources else ""
        return f"{rank}, p.{self._price_names()[2]}"

    @staticmethod
    def _finite(value: str) -> str:
        # NaN sorts above Infinity, of numeric and of double, so the two comparisons leave it out.
        return f"{value} < {_INFINITY} AND {value} > '-Infinity'::numeric"

    def _valid_close(self, alias: str = "") -> str:
        """Return the condition that a close is valid (S2)."""
        close = f"{alias}{self._price_names()[2]}"
        above = self._above_zero("market_data_cache", "close", close)
        return f"{above} AND {self._readable('market_data_cache', 'close', alias)}"

    def _above_zero(self, table: str, column: str, name: str) -> str:
        """Return the condition that a value is above 0, a double once it is rounded.

        ``> 0`` stays in it, so that an index with that condition serves.
        """
        if not self._is_double(table, column):
            return f"{name} > 0"
        return f"{name} > 0 AND {name} >= {smallest(self._catalog.scale(table, column))}"

    def _below_zero(self, table: str, column: str, name: str) -> str:
        """Return the condition that a value is below 0, a double once it is rounded."""
        if not self._is_double(table, column):
            return f"{name} < 0"
        return f"{name} <= -{smallest(self._catalog.scale(table, column))}"

    def _readable(self, table: str, column: str, alias: str = "") -> str:
        """Return the condition that a value is finite and representable (S3)."""
        name = f"{alias}{self._name(table, column)}"
        found = self._catalog.column(table, column)
        if found.kind is Kind.FLOAT8:
            least, most = fitting(self._catalog.scale(table, column))
            return f"{name} BETWEEN {least} AND {most}"
        if self._catalog.always_fits(table, column):
            return self._finite(name)
        scale = self._catalog.scale(table, column)
        least, most = (f"{Decimal(end).scaleb(-scale):f}" for end in (-(2**63), 2**63 - 1))
        return (
            f"{self._finite(name)} AND {name} BETWEEN {least} AND {most}"
            f" AND trunc({name}, {scale}) = {name}"
        )

    def positions(self, selection: Selection) -> Query:
        """Return the positions of a chunk that are not soft-deleted."""
        read = (
            Column("id", Kind.UUID),
            Column("portfolio_id", Kind.UUID),
            Column("symbol", Kind.TEXT),
            Column("position_type", Kind.TEXT),
            self._decimal("quantity", "positions", "quantity"),
            self._decimal("entry_price", "positions", "entry_price"),
            Column("entry_date", Kind.DATE),
            self._decimal("exit_price", "positions", "exit_price"),
            Column("exit_date", Kind.DATE),
            Column("expiration_date", Kind.DATE),
            Column("investment_class", Kind.TEXT),
            self._decimal("market_value", "positions", "market_value"),
        )
        names = ", ".join(self._name("positions", column.name) for column in read)
        sql = (
            f"SELECT {names} FROM {self._table('positions')}"  # noqa: S608
            f" WHERE {self._name('positions', 'deleted_at')} IS NULL"
            f" AND {selection.condition(self._name('positions', 'portfolio_id'))}"
        )
        return Query("positions", sql, read)

    def earliest_entries(self, selection: Selection) -> Query:
        """Return the earliest entry date of each portfolio that has one."""
        portfolio, entry, deleted = (
            self._name("positions", c) for c in ("portfolio_id", "entry_date", "deleted_at")
        )
        sql = (
            f"SELECT {portfolio}, min({entry}) FROM {self._table('positions')}"  # noqa: S608
            f" WHERE {deleted} IS NULL AND {selection.condition(portfolio)}"
            f" AND {entry} BETWEEN {date_literal(FIRST_DATE)} AND {date_literal(LAST_DATE)}"
            f" GROUP BY {portfolio}"
        )
        return Query(
            "earliest_entries", sql, (Column("portfolio_id", Kind.UUID), Column("day", Kind.DATE))
        )

    def held(self, selection: Selection, spellings: Iterable[str]) -> Query:
        """Return when the public positions in some symbols are held: from entry to the end (S3).

        The end of a position is that of its last lot; it is infinite where a lot stays open.
        """
        names = {
            c: f"p.{self._name('positions', c)}"
            for c in (
                "id",
                "portfolio_id",
                "symbol",
                "position_type",
                "quantity",
                "entry_price",
                "entry_date",
                "exit_date",
                "expiration_date",
                "investment_class",
                "deleted_at",
            )
        }
        kind = f"{names['position_type']}::text"
        expiry = f"CASE WHEN {kind} IN ('LC', 'LP', 'SC', 'SP') THEN {names['expiration_date']} END"
        above, below = (
            condition("positions", "quantity", names["quantity"])
            for condition in (self._above_zero, self._below_zero)
        )
        left = (
            f"CASE WHEN {above} OR {below}"
            f" THEN COALESCE({names['exit_date']}, {expiry}, 'infinity') END"
        )
        sql = (
            f"SELECT {names['portfolio_id']}, {names['symbol']}, {names['entry_date']},"  # noqa: S608
            f" GREATEST({left}, events.last) FROM {self._table('positions')} AS p"
            f" LEFT JOIN ({self._last_events()}) AS events(id, last) ON events.id = {names['id']}"
            f" WHERE {names['deleted_at']} IS NULL"
            f" AND {selection.condition(names['portfolio_id'])}"
            f" AND {names['symbol']} = ANY({text_array(spellings)})"
            f" AND {kind} IN ('LC', 'LP', 'SC', 'SP', 'LONG', 'SHORT')"
            f" AND {self._readable('positions', 'quantity', 'p.')}"
            f" AND {self._readable('positions', 'entry_price', 'p.')}"
            f" AND NOT ({self._below_zero('positions', 'entry_price', names['entry_price'])})"
            f" AND isfinite({names['entry_date']})"
            f" AND isfinite({names['exit_date']}) IS NOT FALSE"
            f" AND isfinite({expiry}) IS NOT FALSE"
            f" AND ({names['exit_date']} IS NULL"
            f" OR ({self._readable('positions', 'exit_price', 'p.')}) IS NOT FALSE)"
            f" AND upper(btrim({names['investment_class']}::text COLLATE \"C\", ' '))"
            f" IS DISTINCT FROM 'PRIVATE'"
        )
        return Query(
            "held",
            sql,
            (
                Column("portfolio_id", Kind.UUID),
                Column("symbol", Kind.TEXT),
                Column("start", Kind.DATE),
                Column("end", Kind.DATE),
            ),
        )

    def _last_events(self) -> str:
        """Return of each position the end of the last lot that an event of it made.

        One pass over the events: a host need have no index on their position.
        """
        table = "position_realized_events"
        if not self.has_table(table):
            return "SELECT NULL::uuid, NULL::date WHERE false"
        names = ("position_id", "trade_date", "quantity_closed")
        position, day, quantity = (self._name(table, name) for name in names)
        return (
            f"SELECT {position}, max({day}) FROM {self._table(table)}"  # noqa: S608
            f" WHERE isfinite({day}) AND {self._above_zero(table, 'quantity_closed', quantity)}"
            f" AND {self._readable(table, 'quantity_closed')} GROUP BY {position}"
        )

    def events(self, selection: Selection, *, deleted: bool = False) -> Query:
        """Return the events of the positions of a chunk, found by the position's portfolio.

        Args:
            selection: The portfolios.
            deleted: Whether those of soft-deleted positions come too.
        """
        table = "position_realized_events"
        event = {
            c: f"e.{self._name(table, c)}"
            for c in ("position_id", "trade_date", "quantity_closed", "realized_pnl")
        }
        portfolio = f"p.{self._name('positions', 'portfolio_id')}"
        sql = (
            f"SELECT {event['position_id']}, {portfolio}, {event['trade_date']},"  # noqa: S608
            f" {event['quantity_closed']}, {event['realized_pnl']} FROM {self._table(table)} AS e"
            f" JOIN {self._table('positions')} AS p"
            f" ON p.{self._name('positions', 'id')} = {event['position_id']}"
            f" WHERE {selection.condition(portfolio)}"
        )
        if not deleted:
            sql += f" AND p.{self._name('positions', 'deleted_at')} IS NULL"
        return Query("events", sql, self._event_columns())

    def all_events(self) -> Query:
        """Return every event without its portfolio, for which positions would have to be read."""
        table = "position_realized_events"
        names = ("position_id", "trade_date", "quantity_closed", "realized_pnl")
        listed = ", ".join(self._name(table, name) for name in names)
        sql = (
            f"SELECT {listed} FROM {self._table(table)}"  # noqa: S608
            f" WHERE {self._name(table, 'position_id')} IS NOT NULL"
        )
        position, _, *rest = self._event_columns()
        return Query("events", sql, (position, *rest))

    def _event_columns(self) -> tuple[Column, ...]:
        table = "position_realized_events"
        return (
            Column("position_id", Kind.UUID),
            Column("portfolio_id", Kind.UUID),
            Column("day", Kind.DATE),
            self._decimal("quantity", table, "quantity_closed"),
            self._decimal("realized", table, "realized_pnl"),
        )

    def flows(self, selection: Selection, first: int, last: int) -> Query:
        """Return the flows of a chunk dated in a window, and those of no use (S3) of any date."""
        table = "equity_changes"
        names = {
            c: self._name(table, c)
            for c in ("portfolio_id", "change_date", "amount", "change_type", "deleted_at")
        }
        day = names["change_date"]
        sql = (
            f"SELECT {names['portfolio_id']}, {day}, {names['amount']},"  # noqa: S608
            f" {names['change_type']} FROM {self._table(table)}"
            f" WHERE {names['deleted_at']} IS NULL"
            f" AND {selection.condition(names['portfolio_id'])}"
            f" AND ({day} BETWEEN {date_literal(first)} AND {date_literal(last)}"
            f" OR {day} IS NULL OR NOT isfinite({day})"
            f" OR {names['amount']} IS NULL OR NOT ({self._readable(table, 'amount')})"
            f" OR {names['change_type']} IS NULL"
            f" OR {names['change_type']}::text NOT IN ('CONTRIBUTION', 'WITHDRAWAL'))"
        )
        return Query(
            "flows",
            sql,
            (
                Column("portfolio_id", Kind.UUID),
                Column("day", Kind.DATE),
                self._decimal("amount", table, "amount"),
                Column("change_type", Kind.TEXT),
            ),
        )

    def existing(self, calendar: Calendar, selection: Selection, first: int, last: int) -> Query:
        """Return the snapshots of a chunk that stand in a window, and which are complete."""
        table = "portfolio_snapshots"
        portfolio = self._name(table, "portfolio_id")
        day = self._name(table, "snapshot_date")
        sql = (
            f"SELECT {portfolio}, {day}, ({self.complete(calendar)}) IS TRUE"  # noqa: S608
            f" FROM {self._table(table)} WHERE {selection.condition(portfolio)}"
            f" AND {day} BETWEEN {date_literal(first)} AND {date_literal(last)}"
        )
        return Query(
            "existing",
            sql,
            (
                Column("portfolio_id", Kind.UUID),
                Column("day", Kind.DATE),
                Column("complete", Kind.BOOL),
            ),
        )
