"""A host's tables filled from what the reference reads, and read back: asyncpg and Decimals only.

Nothing here goes through the native decoder or encoder, so that a test which compares with it
compares two ways of reading and writing a table.
"""

import asyncio
import contextlib
import datetime as dt
import json
import uuid
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import asyncpg
from sqlalchemy import make_url

from batchcore import reference as ref
from batchcore.reference import legacy
from support.cases import Price

EPOCH = dt.date(1970, 1, 1)
MOMENT = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
STAMPED: Mapping[str, Any] = {"created_at": MOMENT, "updated_at": MOMENT}
SOURCED: Mapping[str, Any] = {"data_source": "test", **STAMPED}

Db = str | asyncpg.Pool | asyncpg.Connection
"""The URL of a database, or connections to it, or one."""

Tables = dict[str, list[dict[str, Any]]]
"""Rows by table."""


OWN_COLUMNS: Mapping[str, Any] = {
    "portfolio_delta": Decimal("12.34"),
    "beta_portfolio_regression": Decimal("0.5000"),
    "expected_volatility_21d": Decimal("0.1250"),
    "volatility_trend": "stable",
    "target_price_return_eoy": Decimal("0.0700"),
    "target_price_downside": Decimal("-1.50"),
    "target_price_num_covered": 3,
    "target_price_updated_at": MOMENT,
}
"""Columns of a snapshot that no rule of the roll-forward names, as the host has filled them."""


@dataclass(frozen=True)
class Standing:
    """A snapshot that stands before a run; whether it is complete depends on the calendar too."""

    day: int
    equity: Decimal | None = Decimal(0)
    is_complete: bool = True
    daily_pnl: Decimal | None = None
    daily_capital_flow: Decimal | None = None
    cumulative_pnl: Decimal | None = None
    cumulative_realized_pnl: Decimal | None = None
    cumulative_capital_flow: Decimal | None = None

    @property
    def counts(self) -> bool:
        """Whether it is complete, if its day is a session (S5)."""
        return self.is_complete and self.equity is not None and self.equity.is_finite()

    def snapshot(self) -> ref.Snapshot:
        assert self.equity is not None
        return ref.Snapshot(
            self.day,
            self.equity,
            self.cumulative_pnl,
            self.cumulative_realized_pnl,
            self.cumulative_capital_flow,
            self.daily_pnl,
            self.daily_capital_flow,
        )


@dataclass(frozen=True)
class Host:
    """What a host's tables hold before a run; snapshots are `standing`, by id of the portfolio."""

    portfolios: tuple[ref.Portfolio, ...]
    prices: tuple[Price, ...] = ()
    standing: Mapping[str, tuple[Standing, ...]] = ()  # type: ignore[assignment]

    def standing_of(self, portfolio: str) -> tuple[Standing, ...]:
        return dict(self.standing).get(portfolio, ())


def key(name: str) -> uuid.UUID:
    """Return the id that stands for a name: the same for the same name."""
    return uuid.UUID(bytes=blake2b(name.encode(), digest_size=16).digest())


def date(day: int | None) -> dt.date | None:
    """Return a date; asyncpg writes `date.max` as infinity."""
    if day is None:
        return None
    return dt.date.max if day == ref.INFINITE_DAY else EPOCH + dt.timedelta(days=day)


@contextlib.asynccontextmanager
async def connected(db: Db) -> AsyncIterator[asyncpg.Connection]:
    if isinstance(db, asyncpg.Pool):
        async with db.acquire() as connection:
            yield connection
        return
    if not isinstance(db, str):
        yield db
        return
    connection = await asyncpg.connect(db)
    try:
        yield connection
    finally:
        await connection.close()


async def execute(db: Db, *statements: str) -> None:
    """Execute statements, each committed by itself."""
    async with connected(db) as connection:
        for statement in statements:
            await connection.execute(statement)


async def created(server: Any, template: str | None = None) -> str:
    """Make a database, empty or a copy of that of a URL, and return its URL; see `shared`.

    Its files are copied where PostgreSQL can, from 15 on, which takes half as long.
    """
    name = f"test_{uuid.uuid4().hex}"
    source = "template0" if template is None else make_url(template).database
    async with connected(server.url) as connection:
        way = "STRATEGY file_copy" if connection.get_server_version() >= (15,) else ""
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source}" {way}')
    return server.database_url(name)


async def encoded(make_database: Callable[..., Awaitable[str]], server: Any, encoding: str) -> str:
    """Make and migrate a database of an encoding, and return its URL."""
    from batchcore.db.migrate import migrate  # noqa: PLC0415  # other processes write hosts too

    url = await make_database()
    name = make_url(url).database
    await execute(
        server.url,
        f'DROP DATABASE "{name}"',
        f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING {encoding} LOCALE 'C'",
    )
    await migrate(url)
    return url


async def dropped(server: Any, url: str) -> None:
    name = make_url(url).database
    await execute(server.url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


ITSELF = (
    "CREATE EXTENSION postgres_fdw",
    """
    DO $$ BEGIN
        EXECUTE format('CREATE SERVER itself FOREIGN DATA WRAPPER postgres_fdw
            OPTIONS (dbname %L, port %L, host %L)', current_database(), current_setting('port'),
            btrim(split_part(current_setting('unix_socket_directories'), ',', 1), ' "'));
        EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER itself OPTIONS ("user" %L)',
            current_user);
    END $$""",
)
"""Make the server a foreign one, `itself`, to its own database."""


async def need_foreign_tables(url: str) -> None:
    """Skip a test where the server has no foreign tables."""
    import pytest  # noqa: PLC0415  # other processes write hosts too

    available = "SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'"
    if not await fetchval(url, available):
        pytest.skip("the server has no postgres_fdw")


def shared(
    server: Any, fill: Callable[[str], Awaitable[object]], template: str | None = None
) -> Iterator[str]:
    """Make and fill a database, yield its URL, and drop it: the body of a fixture.

    Nobody is connected to the database at the URL `template`, which it is a copy of.
    """
    url = asyncio.run(created(server, template))
    asyncio.run(_awaited(fill(url)))
    yield url
    asyncio.run(dropped(server, url))


async def _awaited(made: Awaitable[object]) -> None:
    await made


async def fetch(db: Db, query: str, *arguments: Any) -> list[asyncpg.Record]:
    async with connected(db) as connection:
        return await connection.fetch(query, *arguments)


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the nodes of a plan of EXPLAIN, the first the plan itself."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes_of(below)


async def fetchval(db: Db, query: str, *arguments: Any) -> Any:
    async with connected(db) as connection:
        return await connection.fetchval(query, *arguments)


@contextlib.asynccontextmanager
async def pooled(url: str) -> AsyncIterator[asyncpg.Pool]:
    """Return connections for many runs, whose caches of the catalog stay warm.

    A run on a URL opens each of its connections, which takes longer than a run of few rows.
    """
    async with asyncpg.create_pool(url, min_size=0, max_size=8) as pool:
        yield pool


async def fill(db: Db, host: Host) -> None:
    """Write a host's rows."""
    async with connected(db) as connection:
        await add_portfolios(connection, host.portfolios)
        await add_prices(connection, host.prices)
        for portfolio in host.portfolios:
            await add_snapshots(connection, portfolio.id, host.standing_of(portfolio.id))


async def add_portfolios(
    connection: asyncpg.Connection, portfolios: Sequence[ref.Portfolio]
) -> None:
    """Write portfolios with their positions, events and flows."""
    for table, rows in tables_of(portfolios).items():
        await copy(connection, table, rows)


def tables_of(
    portfolios: Sequence[ref.Portfolio | legacy.Portfolio], *, in_order: bool = False
) -> Tables:
    """Return the rows of portfolios of either policy, with their positions, events and flows.

    With `in_order`, ids of positions ascend in the order in which they are held.
    """
    named = [(one.id if isinstance(one, ref.Portfolio) else one.name, one) for one in portfolios]
    held = [
        (owner, key(f"{owner}/{number}"), position)
        for owner, portfolio in named
        for number, position in enumerate(portfolio.positions)
    ]
    if in_order:
        held = [(owner, uuid.UUID(int=at), one) for at, (owner, _, one) in enumerate(held)]
    return {
        "portfolios": [
            {
                "id": key(name),
                "user_id": key(f"user of {name}"),
                "name": name,
                "account_name": name,
                "account_type": "taxable",
                "currency": "USD",
                "equity_balance": portfolio.opening_equity
                if isinstance(portfolio, ref.Portfolio)
                else portfolio.equity_balance,
                "deleted_at": MOMENT if getattr(portfolio, "deleted", False) else None,
                "created_at": MOMENT,
                "updated_at": MOMENT,
            }
            for name, portfolio in named
        ],
        "positions": [position_row(own, key(owner), one) for owner, own, one in held],
        "position_realized_events": [
            event_row(own, key(owner), event)
            for owner, own, position in held
            for event in position.events
        ],
        "equity_changes": [
            flow_row(uuid.uuid4(), key(name), flow)
            for name, portfolio in named
            for flow in portfolio.flows
        ],
    }


def position_row(
    own: uuid.UUID, owner: uuid.UUID, position: ref.Position, at: dt.datetime = MOMENT
) -> dict[str, Any]:
    return {
        "id": own,
        "portfolio_id": owner,
        "symbol": position.symbol,
        "position_type": position.position_type,
        "quantity": position.quantity,
        "entry_price": position.entry_price,
        "entry_date": date(position.entry_day),
        "exit_price": position.exit_price,
        "exit_date": date(position.exit_day),
        "expiration_date": date(position.expiration_day),
        "investment_class": position.investment_class,
        "market_value": position.market_value,
        "last_price": position.last_price,
        "created_at": at,
        "updated_at": at,
        "deleted_at": at if position.deleted else None,
    }


def event_row(
    position: uuid.UUID, owner: uuid.UUID, event: ref.Event, at: dt.datetime = MOMENT
) -> dict[str, Any]:
    return {
        "id": uuid.uuid4(),
        "position_id": position,
        "portfolio_id": owner,
        "trade_date": date(event.day),
        "quantity_closed": event.quantity,
        "realized_pnl": event.realized,
        "created_at": at,
    }


def flow_row(
    own: uuid.UUID, owner: uuid.UUID, flow: ref.Flow, at: dt.datetime = MOMENT
) -> dict[str, Any]:
    return {
        "id": own,
        "portfolio_id": owner,
        "change_type": flow.change_type,
        "amount": flow.amount,
        "change_date": date(flow.day),
        "created_by_user_id": owner,
        "created_at": at,
        "updated_at": at,
    }


async def add_prices(db: Db, prices: Iterable[Price]) -> None:
    """Write closes."""
    await copy(db, "market_data_cache", price_rows(prices))


def price_rows(prices: Iterable[Price]) -> list[dict[str, Any]]:
    """Return closes as rows of their table."""
    return [
        {
            "id": uuid.uuid4(),
            "symbol": symbol,
            "date": date(day),
            "close": close,
            **SOURCED,
        }
        for symbol, day, close in prices
    ]


async def add_profiles(db: Db, columns: str, *rows: tuple[Any, ...]) -> None:
    """Write profiles of companies, of which names of columns are given as ``"symbol sector"``."""
    names = (*columns.split(), "data_source", "last_updated", "created_at", "updated_at")
    own = [(*row, "test", MOMENT, MOMENT, MOMENT) for row in rows]
    await copy(db, "company_profiles", [dict(zip(names, row, strict=True)) for row in own])


async def add_snapshots(db: Db, portfolio: str, standing: Sequence[Standing]) -> None:
    """Write snapshots, with `OWN_COLUMNS` of the host."""
    await copy(db, "portfolio_snapshots", snapshot_rows(portfolio, standing))


def snapshot_rows(portfolio: str, standing: Iterable[Standing]) -> list[dict[str, Any]]:
    """Return snapshots as rows of their table; each number that no rule reads is an odd one."""
    amounts = ("total_value", "cash_value", "long_value", "short_value")
    amounts += ("gross_exposure", "net_exposure")
    counts = ("num_positions", "num_long_positions", "num_short_positions")
    return [
        {
            "id": key(f"{portfolio} on {row.day}"),
            "portfolio_id": key(portfolio),
            "snapshot_date": date(row.day),
            **dict.fromkeys(amounts, Decimal("-7.77")),
            "equity_balance": row.equity,
            "daily_pnl": row.daily_pnl,
            "daily_capital_flow": row.daily_capital_flow,
            "cumulative_pnl": row.cumulative_pnl,
            "cumulative_realized_pnl": row.cumulative_realized_pnl,
            "cumulative_capital_flow": row.cumulative_capital_flow,
            **dict.fromkeys(counts, 77),
            "is_complete": row.is_complete,
            "created_at": MOMENT,
            **OWN_COLUMNS,
        }
        for row in standing
    ]


async def copy(db: Db, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        async with connected(db) as connection:
            await connection.copy_records_to_table(
                table, records=[tuple(row.values()) for row in rows], columns=list(rows[0])
            )


Snapshots = dict[tuple[uuid.UUID, int], dict[str, Any]]
"""All columns of `portfolio_snapshots` by portfolio and day."""


async def snapshots(db: Db) -> Snapshots:
    """Return every stored snapshot as a plain SELECT brings it."""
    async with connected(db) as connection:
        rows = await connection.fetch(
            "SELECT * FROM portfolio_snapshots ORDER BY portfolio_id, snapshot_date"
        )
    return {
        (row["portfolio_id"], (row["snapshot_date"] - EPOCH).days): {
            name: comparable(cell) for name, cell in row.items()
        }
        for row in rows
    }


async def equities(db: Db) -> dict[uuid.UUID, Decimal | None]:
    """Return `portfolios.equity_balance` by id."""
    async with connected(db) as connection:
        rows = await connection.fetch("SELECT id, equity_balance FROM portfolios")
    return {row["id"]: comparable(row["equity_balance"]) for row in rows}


async def equity_by_day(db: Db, name: str = "p0") -> dict[int, Decimal]:
    """Return the stored equities of a portfolio."""
    return {
        day: row["equity_balance"]
        for (portfolio, day), row in (await snapshots(db)).items()
        if portfolio == key(name)
    }


async def equity_list(db: Db, name: str = "p0") -> list[Decimal]:
    """Return the stored equities of a portfolio in the order of their days."""
    return [*(await equity_by_day(db, name)).values()]


def comparable(cell: Any) -> Any:
    """Return a cell, a NaN as text: it equals no other NaN."""
    return "NaN" if isinstance(cell, Decimal) and cell.is_nan() else cell


def cells(row: ref.Row) -> dict[str, Any]:
    """Return the columns that the policy fills, as a row of the reference has them."""
    own = {item.name: getattr(row, item.name) for item in fields(row)}
    for name in ("day", "unrealized_pnl", "marks"):  # which no table has
        del own[name]
    return {**own, "total_value": row.equity_balance, "is_complete": True}


def without_stamps(stored: Snapshots, *others: str) -> Snapshots:
    """Return snapshots without `id` and `created_at`, which no comparison counts (S14)."""
    left_out = {"id", "created_at", *others}
    return {
        at: {name: cell for name, cell in row.items() if name not in left_out}
        for at, row in stored.items()
    }


def shown(row: Mapping[str, Any]) -> str:
    """Return a row as text, for the message of a failed assertion."""
    return json.dumps(dict(row), default=str, indent=1)


def plain_host(portfolios: int, days: Sequence[int]) -> Host:
    """Return portfolios of 10 AAA each, bought at 10 before the days, on which it closes at 11 on.

    Each opens at 1000, so on day n of the days, from 0, its equity is 1000 + 10 * n.
    """
    position = ref.Position("AAA", "LONG", Decimal(10), Decimal(10), min(days) - 1)
    return Host(
        tuple(ref.Portfolio(f"p{n}", Decimal(1000), (position,)) for n in range(portfolios)),
        tuple(("AAA", day, Decimal(11 + n)) for n, day in enumerate(sorted(days))),
    )


def full_host(portfolios: int, days: Sequence[int], *, event: int, flow: int) -> Host:
    """Return a plain host whose rows depend on every table.

    Each portfolio sells one AAA on the day ``event``, for 3 realized, and is paid 70 on ``flow``.
    """
    plain = plain_host(portfolios, days)
    sold = ref.Event(event, Decimal(1), Decimal(3))
    paid = ref.Flow(flow, Decimal(70), "CONTRIBUTION")
    return replace(
        plain,
        portfolios=tuple(
            replace(
                portfolio,
                positions=(replace(portfolio.positions[0], events=(sold,)),),
                flows=(paid,),
            )
            for portfolio in plain.portfolios
        ),
    )
