"""A host's edits after a run, each with the time stamps that its application would write."""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import asyncpg

import batchcore
from batchcore import calendar as calendars
from batchcore import reference as ref
from batchcore.calendar import date_of, day_of
from batchcore.config import Schema, Settings
from support import database
from support.database import Db
from support.generate import CHANGE_TYPES, MONDAY, SPELLINGS, SYMBOLS, Generator

SINCE = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
"""After all rows of `database.fill`, before all edits."""


async def set_price(
    connection: asyncpg.Connection, symbol: str, day: int, close: object, at: dt.datetime
) -> None:
    """Write a close, over one that stands."""
    await connection.execute(
        "INSERT INTO market_data_cache (id, symbol, date, close, data_source, created_at,"
        " updated_at) VALUES ($1, $2, $3, $4, 'test', $5, $5) ON CONFLICT (symbol, date)"
        " DO UPDATE SET close = excluded.close, updated_at = excluded.updated_at",
        uuid.uuid4(),
        symbol,
        database.date(day),
        close,
        at,
    )


async def insert(connection: asyncpg.Connection, table: str, row: Mapping[str, Any]) -> None:
    places = ", ".join(f"${number + 1}" for number in range(len(row)))
    await connection.execute(
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})",  # noqa: S608  # our own names
        *row.values(),
    )


async def update(
    connection: asyncpg.Connection, table: str, key: uuid.UUID, /, **columns: object
) -> None:
    """Set columns of a row, `updated_at` only if it is among them."""
    sets = ", ".join(f"{name} = ${number + 2}" for number, name in enumerate(columns))
    await connection.execute(
        f"UPDATE {table} SET {sets} WHERE id = $1",  # noqa: S608  # our own names
        key,
        *columns.values(),
    )


async def add_position(
    connection: asyncpg.Connection, owner: uuid.UUID, position: ref.Position, at: dt.datetime
) -> uuid.UUID:
    """Write a position without its events and return its id."""
    key = uuid.uuid4()
    await insert(connection, "positions", database.position_row(key, owner, position, at))
    return key


async def add_event(
    connection: asyncpg.Connection,
    owner: uuid.UUID,
    position: uuid.UUID,
    event: ref.Event,
    at: dt.datetime,
) -> None:
    row = database.event_row(position, owner, event, at)
    await insert(connection, "position_realized_events", row)


async def add_flow(
    connection: asyncpg.Connection, owner: uuid.UUID, flow: ref.Flow, at: dt.datetime
) -> uuid.UUID:
    """Write a flow and return its id."""
    key = uuid.uuid4()
    await insert(connection, "equity_changes", database.flow_row(key, owner, flow, at))
    return key


Versions = dict[tuple[uuid.UUID, int], tuple[str, str]]


async def versions(db: Db) -> Versions:
    """Return for each snapshot which transaction wrote it last, and where it is stored."""
    rows = await database.fetch(
        db, "SELECT portfolio_id, snapshot_date, xmin::text, ctid::text FROM portfolio_snapshots"
    )
    return {(row[0], day_of(row[1])): (row[2], row[3]) for row in rows}


async def touched(db: Db, before: Versions) -> set[tuple[uuid.UUID, int]]:
    """Return the snapshots that were written since their `versions` were taken."""
    return {at for at, version in (await versions(db)).items() if version != before[at]}


async def recomputed(db: Db, code: str, schema: Schema) -> None:
    """Compute the chain of each portfolio anew from its first snapshot on."""
    calendar = calendars.from_price_dates(
        [
            day_of(row[0])
            for row in await database.fetch(
                db, "SELECT date FROM market_data_cache WHERE close > 0"
            )
        ]
    )
    if code != "prices":
        calendar = calendars.load(code)
    stored = await database.snapshots(db)
    chains: dict[tuple[int, int], list[uuid.UUID]] = {}
    for own in {own for own, _ in stored}:
        days = [day for at, day in stored if at == own and calendar.is_session([day])[0]]
        if days:
            chains.setdefault((min(days), max(days)), []).append(own)
    for (first, last), owners in chains.items():
        await batchcore.run_batch(
            db,
            date_of(first),
            date_of(last),
            owners,
            calendar=code,
            on_existing="replace",
            analytics="none",
            settings=Settings(schema=schema, min_coverage=0.0, max_failed="100%"),
        )


async def assert_as_recomputed(db: Db, code: str, schema: Schema) -> None:
    """Assert that snapshots and equities are those of a computation from the first day on."""
    found, equities = await database.snapshots(db), await database.equities(db)
    await recomputed(db, code, schema)
    again = database.without_stamps(await database.snapshots(db))
    assert database.without_stamps(found) == again
    assert await database.equities(db) == equities


class Editor:
    """Random edits of a random host, of every kind that the time stamps tell."""

    def __init__(self, connection: asyncpg.Connection, generator: Generator) -> None:
        self.connection = connection
        self.generator = generator
        self.at = SINCE

    async def edit(self, edits: int) -> None:
        """Make some edits, one after the other."""
        kinds = (
            self.price,
            self.new_price,
            self.new_position,
            self.moved_position,
            self.position,
            self.removed_position,
            self.event,
            self.new_flow,
            self.moved_flow,
            self.flow,
        )
        for _ in range(edits):
            self.at += dt.timedelta(minutes=1)
            await self.generator.one_of(kinds)()

    async def some(self, table: str) -> asyncpg.Record | None:
        rows = await self.connection.fetch(f"SELECT * FROM {table} ORDER BY id")  # noqa: S608
        return self.generator.one_of(rows) if rows else None

    async def owner(self) -> uuid.UUID:
        row = await self.some("portfolios")
        assert row is not None
        return row["id"]

    async def price(self) -> None:
        if (row := await self.some("market_data_cache")) is not None:
            close = 0 if self.generator.chance(20) else self.generator.decimal(4)
            await update(
                self.connection, "market_data_cache", row["id"], close=close, updated_at=self.at
            )

    async def new_price(self) -> None:
        symbol = self.generator.one_of(SYMBOLS)
        day = MONDAY + self.generator.integer(-6, 20)
        await set_price(self.connection, symbol, day, self.generator.decimal(4), self.at)

    async def new_position(self) -> None:
        entry = self.generator.day(-3, 12)
        position = replace(self.generator.position(), entry_day=entry)
        key = await add_position(self.connection, owner := await self.owner(), position, self.at)
        for event in position.events:
            await add_event(self.connection, owner, key, event, self.at)

    async def position(self) -> None:
        if (row := await self.some("positions")) is None:
            return
        new = self.generator.position()
        columns = self.generator.one_of(
            (
                {"quantity": new.quantity},
                {"entry_price": new.entry_price},
                {"symbol": self.generator.one_of(SPELLINGS)},
                {"position_type": new.position_type},
                {"exit_date": database.date(self.generator.day()), "exit_price": new.exit_price},
                {"exit_date": None},
                {"expiration_date": database.date(self.generator.day())},
                {"investment_class": "PRIVATE", "market_value": self.generator.market_value()},
                {"investment_class": None},
                {"deleted_at": None},
            )
        )
        await update(self.connection, "positions", row["id"], **columns, updated_at=self.at)

    async def moved_position(self) -> None:
        if (row := await self.some("positions")) is not None:
            entry = database.date(self.generator.day(-3, 12))
            await update(
                self.connection, "positions", row["id"], entry_date=entry, updated_at=self.at
            )

    async def moved_flow(self) -> None:
        if (row := await self.some("equity_changes")) is not None:
            day = database.date(self.generator.day(0, 12))
            await update(
                self.connection, "equity_changes", row["id"], change_date=day, updated_at=self.at
            )

    async def removed_position(self) -> None:
        if (row := await self.some("positions")) is not None:
            # some hosts set deleted_at alone
            stamps = {"updated_at": self.at} if self.generator.chance(50) else {}
            await update(self.connection, "positions", row["id"], deleted_at=self.at, **stamps)

    async def event(self) -> None:
        if (row := await self.some("positions")) is None:
            return
        event = self.generator.event()
        await add_event(self.connection, row["portfolio_id"], row["id"], event, self.at)
        if self.generator.chance(50):
            left = Decimal(row["quantity"]) - (
                event.quantity if row["quantity"] > 0 else -event.quantity
            )
            await update(self.connection, "positions", row["id"], quantity=left, updated_at=self.at)

    async def new_flow(self) -> None:
        await add_flow(self.connection, await self.owner(), self.generator.flow(), self.at)

    async def flow(self) -> None:
        if (row := await self.some("equity_changes")) is None:
            return
        columns = self.generator.one_of(
            (
                {"amount": self.generator.decimal(2)},
                {"change_type": self.generator.one_of(CHANGE_TYPES)},
                {"deleted_at": self.at},
            )
        )
        await update(self.connection, "equity_changes", row["id"], **columns, updated_at=self.at)
