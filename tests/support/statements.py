"""The statements that reach the server, with the calls that send them: tests/golden/statements.sql.

`PYTHONPATH=tests .venv/bin/python -m support.statements` writes them anew.
"""

import asyncio
import datetime as dt
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import batchcore
from batchcore.calendar import date_of
from batchcore.config import Fx, Schema, Settings, Splits
from batchcore.db.migrate import migrate
from batchcore.demo import embedded
from batchcore.demo import run as demo
from batchcore.pages.night import load_night
from batchcore.pages.portfolio import load_portfolio_page
from batchcore.pg.session import Session
from support import database
from support.database import Db

PATH = Path(__file__).parents[1] / "golden" / "statements.sql"

HEAD = """\
-- Every statement that reaches the server, with default names, and the calls that send it.
-- Values that differ from run to run are in angle brackets. tests/db/test_golden_statements.py
-- compares; `PYTHONPATH=tests .venv/bin/python -m support.statements` writes this file.
"""

DATA = demo.seeded(demo.Size(portfolios=4, symbols=12, sessions=8), seed=1)
DAYS = [date_of(int(day)) for day in DATA.market.days[DATA.market.first :]]
SINCE = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

HIDDEN = (
    (r"'\{[0-9a-f]{32}[0-9a-f,]*\}'", "'<ids>'"),
    (r"'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'", "'<id>'"),
    (r"decode\('[0-9a-f]+', 'hex'\)", "<bits>"),
    (r"'\{\"[^']*\"\}'", "'<texts>'"),
    (r"'\{\d{4}-\d\d-\d\d[-0-9,]*\}'", "'<days>'"),
    (r"'\d{4}-\d\d-\d\d'::date", "'<day>'::date"),
    (r"to_timestamp\(\d+\) \+ interval '\d+ us'", "<moment>"),
    (r"'[0-9a-f]{64}'", "'<digest>'"),
    (r"\b\d{9,}\b", "<number>"),
    (r"(?s)VALUES\s+\('<id>'.*?clock_timestamp\(\)\)", "VALUES (<values>)"),
    (r"(NOT EXISTS \(SELECT FROM )(\S+ LIMIT 0\)\s+AND \1)*\S+ LIMIT", r"\1<each table> LIMIT"),
    (
        r"\b(token|lsn|snapshot_id|failed|portfolios|chunks|rows_written) ([=+]) ('[^']*'|\d+)",
        r"\1 \2 <value>",
    ),
)
"""Values that differ from run to run, or are long."""

SETTINGS = ("SET ", "SHOW ")
"""What is no statement (docs/architecture.md)."""

SOMETIMES = ("'advisory'", "pg_stat_activity", "batchcore_run_heartbeats")
"""What is sent only where something takes time."""


SPLITS = """
CREATE TABLE stock_splits (symbol text, ex_date date, new integer, old integer,
    created_at timestamptz, updated_at timestamptz)
"""
RATES = (
    (
        "CREATE TABLE fx_rates (base text, quote text, date date, rate numeric(18,6),"
        " updated_at timestamptz)"
    ),
    "ALTER TABLE positions ADD currency text",
    "ALTER TABLE company_profiles ADD quoted_in text",
    (
        "INSERT INTO fx_rates SELECT 'EUR', 'USD', day, 1.1, '2026-01-02'"
        " FROM generate_series(timestamp '2010-01-01', '2025-12-31', '1 day') AS day"
    ),
    "UPDATE positions SET currency = 'EUR'",
    "UPDATE company_profiles SET quoted_in = 'EUR'",
)
FX = {
    table: Settings(schema=Schema(fx=Fx("fx_rates", f"{table}.{column}")), min_coverage=0.0)
    for table, column in (("positions", "currency"), ("company_profiles", "quoted_in"))
}


class Recorder:
    """Notes what sessions send while it is open, under the name of a call."""

    def __init__(self) -> None:
        self.calls: dict[str, dict[str, None]] = defaultdict(dict)
        self.call = ""

    def note(self, statement: str) -> None:
        for pattern, shown in HIDDEN:
            statement = re.sub(pattern, shown, statement)
        if not statement.startswith(SETTINGS) and not any(part in statement for part in SOMETIMES):
            self.calls[statement.strip()][self.call] = None

    def wrapped(self, name: str) -> Callable[..., Any]:
        method = getattr(Session, name)

        async def send(session: Session, first: str, *arguments: Any, **options: Any) -> Any:
            if name == "copy_out":
                self.note(f"COPY (\n{first}\n) TO STDOUT (FORMAT binary)")
            elif name == "copy_in":
                listed = ", ".join(f'"{column}"' for column in arguments[0])
                table = f'"{options["namespace"]}"."{first}"'
                self.note(f"COPY {table} (\n    {listed}\n) FROM STDIN (FORMAT binary)")
            else:
                self.note(first)
            return await method(session, first, *arguments, **options)

        return send

    def text(self) -> str:
        """Return statements by the calls that send them."""

        def blocks() -> Iterator[str]:
            for statement, calls in sorted(self.calls.items(), key=lambda one: (*one[1], one[0])):
                yield "\n".join([*(f"-- {call}" for call in calls), statement + ";\n"])

        return "\n".join([HEAD, *blocks()])


async def recorded(url: str, patch: Callable[[type, str, Any], None]) -> str:
    """Return what the calls of `batchcore` send to a migrated database without rows."""
    recorder = Recorder()
    await DATA.write(url)
    for name in ("copy_out", "copy_in", "execute", "fetch", "fetchval"):
        patch(Session, name, recorder.wrapped(name))
    async with database.pooled(url) as pool:
        for calls in (runs, others):
            async for call in calls(pool):
                recorder.call = call
    return recorder.text()


async def runs(db: Db) -> AsyncIterator[str]:
    """Make runs under `rollforward` one after the other; the name of each is given before it."""
    first, second, third, *_, last = DAYS
    one = Settings(chunk_size=2, min_coverage=0.0)
    run = batchcore.run_batch
    for level, day in zip(("none", "portfolio", "full"), (first, second, third), strict=True):
        yield f"run_batch(analytics={level!r})"
        await run(db, day, day, analytics=level, settings=one)
    yield "run_batch(analytics='every', on_existing='replace')"
    await run(db, third, last, analytics="every", on_existing="replace", settings=one)
    gap = "DELETE FROM portfolio_snapshots WHERE snapshot_date = $1"
    await database.fetch(db, gap, third)
    for mode in ("skip", "replace"):
        yield f"run_batch(missing=True, on_existing={mode!r})"
        await run(db, None, last, missing=True, on_existing=mode, analytics="none", settings=one)
    for calendar in ("XNYS", "prices", "daily"):
        yield f"run_batch(changed_since=..., calendar={calendar!r})"
        await run(
            db,
            changed_since=SINCE,
            on_existing="replace",
            calendar=calendar,
            analytics="none",
            settings=one,
        )
    yield "run_batch('inception', on_existing='replace')"
    await run(db, "inception", last, on_existing="replace", analytics="none", settings=one)
    yield "run_batch(settings=Settings(dry_run=True))"
    await run(db, last, last, on_existing="replace", settings=Settings(dry_run=True))
    yield "run_batch(settings=Settings(shard=(1, 2)))"
    for number in (1, 2):
        shard = Settings(shard=(number, 2), chunk_size=2, min_coverage=0.0)
        await run(db, last, last, on_existing="replace", analytics="none", settings=shard)
    yield "run_batch(schema with price_sources)"
    sources = Settings(schema=Schema(price_sources=("test", "other")), min_coverage=0.0)
    await run(db, last, last, on_existing="replace", analytics="none", settings=sources)
    splits = Schema(splits=Splits("stock_splits", "as_traded", "as_entered"))
    symbol, day = DATA.market.symbols[0], DAYS[1]
    await database.execute(db, SPLITS)
    await database.fetch(db, "INSERT INTO stock_splits VALUES ($1, $2, 2, 1)", symbol, day)
    of_splits = Settings(schema=splits, min_coverage=0.0)
    yield "run_batch(schema with splits)"
    await run(db, last, last, on_existing="replace", analytics="none", settings=of_splits)
    yield "run_batch(schema with splits, changed_since=...)"
    await run(db, changed_since=SINCE, on_existing="replace", settings=of_splits)
    yield "check_basis(db, symbol)"
    await batchcore.check_basis(db, symbol, schema=splits)
    await database.execute(db, *RATES)
    for table, own in FX.items():
        yield f"run_batch(schema with fx, currency of {table})"
        await run(db, last, last, on_existing="replace", analytics="none", settings=own)
        yield f"run_batch(schema with fx, currency of {table}, changed_since=...)"
        await run(db, changed_since=SINCE, on_existing="replace", settings=own)
        yield f"run_batch(schema with fx, currency of {table}, settings=Settings(dry_run=True))"
        planned = replace(own, dry_run=True)
        await run(db, last, last, on_existing="replace", settings=planned)
    yield "PnLCalculator().calculate_all_portfolios_pnl(...)"
    async with database.connected(db) as connection, connection.transaction():
        calculator = batchcore.PnLCalculator(Settings(min_coverage=0.0), analytics="none")
        await calculator.calculate_all_portfolios_pnl(last, connection)


async def others(db: Db) -> AsyncIterator[str]:
    """Make the other calls in the same way."""
    first, second, *_, last = DAYS
    run = batchcore.run_batch
    for fast in (False, True):
        yield f"verify(fast={fast})"
        await batchcore.verify(db, second, last, fast=fast)
    (portfolio, owner), *_ = await database.fetch(db, "SELECT id, user_id FROM portfolios")
    yield "explain(db)"
    await batchcore.explain(db, settings=Settings(chunk_size=2))
    yield "explain(db, [portfolio], session, since=...)"
    await batchcore.explain(db, [portfolio], last, since=first)
    await database.execute(db, "UPDATE portfolio_snapshots SET daily_pnl = 1")
    for fast in (False, True):
        yield f"verify(schema with fx, fast={fast})"
        await batchcore.verify(db, second, last, fast=fast, settings=FX["positions"])
    yield "repair()"
    await batchcore.repair(db, first, last, settings=Settings(chunk_size=2, min_coverage=0.0))
    today = Settings(chunk_size=2, today=last)
    for mode in ("skip", "replace"):
        yield f"run_batch(policy='legacy', on_existing={mode!r})"
        await run(db, first, last, policy="legacy", on_existing=mode, settings=today)
    for fast in (False, True):
        yield f"verify(policy='legacy', fast={fast})"
        await batchcore.verify(db, second, last, policy="legacy", fast=fast)
    yield "explain(db, session=..., policy='legacy')"
    await batchcore.explain(db, session=last, policy="legacy")
    prices, symbols = batchcore.PriceCache(), DATA.market.symbols[:2]
    yield "PriceCache.load_date_range(...)"
    await prices.load_date_range(db, symbols, first, last)
    yield "CompanyProfileCache.load(...)"
    await batchcore.CompanyProfileCache().load(db, symbols)
    yield "SnapshotCache.load_latest_snapshots(...)"
    await batchcore.SnapshotCache().load_latest_snapshots(db, [portfolio], last)
    yield "calculate_portfolio_provider_beta(...)"
    await batchcore.calculate_portfolio_provider_beta(db, portfolio, calculation_date=last)
    yield "calculate_portfolio_sector_exposure(...)"
    await batchcore.calculate_portfolio_sector_exposure(db, portfolio, calculation_date=last)
    yield "restore_sector_tags_for_portfolio(...)"
    await batchcore.restore_sector_tags_for_portfolio(db, owner, portfolio)
    yield "performance(...)"
    await batchcore.performance(db, benchmark="SPY")
    yield "performance(periods='YTD', calendar='prices')"
    await batchcore.performance(db, periods="YTD", calendar="prices")
    yield "read_snapshots(...)"
    await batchcore.read_snapshots(db, first, last, [portfolio])
    yield "runs(...)"
    found = await batchcore.runs(db, limit=1)
    await batchcore.runs(db, run_id=found[0].run_id)
    yield "the page of a night"
    await load_night(db, run_id=found[0].run_id)
    yield "the page of a portfolio"
    await load_portfolio_page(db, portfolio)


async def written() -> str:
    """Return what a server of its own is sent."""
    with embedded.start() as server:
        await migrate(server.url)
        return await recorded(server.url, setattr)


if __name__ == "__main__":
    PATH.write_text(asyncio.run(written()))
