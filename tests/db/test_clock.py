"""Every moment is one of the server's clock, whatever that of the client shows."""

import datetime as dt
import sys
import types
from datetime import UTC, datetime, timedelta

import pytest

import batchcore
from batchcore.calendar import date_of
from batchcore.cli.status import next_lines
from batchcore.config import Settings
from batchcore.run import status
from support import database, ledger
from support.callers import caller
from support.roles import role_of
from support.runs import DAYS

HOST = database.plain_host(2, DAYS)
IDS = sorted(database.key(portfolio.id) for portfolio in HOST.portfolios)
CORRECT = (
    "UPDATE market_data_cache SET close = 50, updated_at = now()"  # noqa: S608  # our own day
    f" WHERE date = '{date_of(DAYS[1]).isoformat()}'"
)

AHEAD = [timedelta(minutes=5), timedelta(minutes=-5), timedelta(days=40), timedelta(days=-400)]
skewed = pytest.mark.parametrize("ahead", AHEAD, ids=str)


def skew(monkeypatch: pytest.MonkeyPatch, ahead: timedelta) -> None:
    """Let the clock of the client be wrong, in every module that looks at it."""

    class Kind(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, datetime)

    class Skewed(datetime, metaclass=Kind):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> datetime:
            return datetime.now(tz) + ahead

    wrong = types.ModuleType("datetime")
    vars(wrong).update({**vars(dt), "datetime": Skewed})
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "batchcore" and getattr(module, "dt", None) is dt:
            monkeypatch.setattr(module, "dt", wrong)
    import time  # noqa: PLC0415  # patched for every module at once

    now_ns, now = time.time_ns, time.time
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + int(ahead.total_seconds() * 1e9))
    monkeypatch.setattr(time, "time", lambda: now() + ahead.total_seconds())


async def run(db: object, **options: object) -> batchcore.BatchResult:
    options.setdefault("analytics", "none")
    return await batchcore.run_batch(
        db, calendar="daily", settings=Settings(min_coverage=0.0), **options
    )


async def first(url: str) -> batchcore.BatchResult:
    return await run(url, start_date=date_of(DAYS[0]), end_date=date_of(DAYS[-1]))


async def server_now(url: str) -> datetime:
    return await database.fetchval(url, "SELECT clock_timestamp()")


async def next_since(url: str) -> datetime:
    found = (await status.runs(url))[0].next_changed_since
    assert found is not None
    return found


async def told(url: str) -> str:
    """Return the last line of `batchcore status`."""
    return next_lines(await status.runs(url))[-1]


@skewed
async def test_stamps_and_corrections(
    same_filled: str, monkeypatch: pytest.MonkeyPatch, ahead: timedelta
) -> None:
    skew(monkeypatch, ahead)
    before = await server_now(same_filled)
    calculator = batchcore.PnLCalculator(calendar="daily", analytics="none")
    async with caller(same_filled, "asyncpg") as given:  # who takes its rows back
        await calculator.calculate_all_portfolios_pnl(date_of(DAYS[0]), given.db)
        created = await given.execute("SELECT min(created_at) FROM portfolio_snapshots")
    assert before <= created <= await server_now(same_filled)
    assert (await first(same_filled)).rows_written == 6
    after = await server_now(same_filled)

    async with database.connected(same_filled) as raw:
        made = await raw.fetch("SELECT id, created_at FROM portfolio_snapshots")
        touched = await raw.fetch("SELECT updated_at FROM portfolios")
    (entered,) = await ledger.runs(same_filled)
    moments = {row["created_at"] for row in made} | {row["updated_at"] for row in touched}
    assert moments == {entered["created_at"]}
    for name in ("created_at", "started_at", "ended_at"):
        assert before <= entered[name] <= after
    for row in made:
        of_id = datetime.fromtimestamp((row["id"].int >> 80) / 1000, tz=UTC)
        assert before - timedelta(seconds=1) <= of_id <= after + timedelta(seconds=1)
    since = await next_since(same_filled)
    assert since == entered["created_at"]

    await database.execute(same_filled, CORRECT)
    corrected = await run(same_filled, changed_since=since)
    assert corrected.rows_written == 4
    since = await next_since(same_filled)
    assert (await run(same_filled, changed_since=since)).nothing_to_do


@skewed
async def test_what_has_closed(
    same_filled: str, monkeypatch: pytest.MonkeyPatch, ahead: timedelta
) -> None:
    skew(monkeypatch, ahead)
    yesterday = (await server_now(same_filled)).astimezone(UTC).date() - timedelta(days=1)
    for dry in (True, False):
        settings = Settings(min_coverage=0.0, dry_run=dry)
        result = await batchcore.run_batch(
            same_filled, calendar="daily", analytics="none", settings=settings
        )
        assert [date_of(day) for day in result.sessions] == [yesterday]
    beta = await batchcore.calculate_portfolio_provider_beta(same_filled, IDS[0])
    # of XNYS, whose session of today may have closed
    assert timedelta(days=-1) <= yesterday - beta["calculation_date"] < timedelta(days=6)


async def test_a_change_that_is_committed_after_the_run_is_found(same_filled: str) -> None:
    async with database.connected(same_filled) as other:
        await other.execute("BEGIN")
        began = await other.fetchval("SELECT now()")  # no row is locked, nothing is written yet
        await first(same_filled)
        await other.execute(CORRECT)
        await other.execute("COMMIT")

    since = await next_since(same_filled)
    assert since == began
    assert (await run(same_filled, changed_since=since)).rows_written == 4


async def test_an_hour_is_allowed_for_a_transaction_that_hides_its_start(same_filled: str) -> None:
    async with role_of(same_filled) as (_, url), database.connected(same_filled) as other:
        await other.execute("BEGIN")
        await other.execute("SELECT 1")
        await first(url)
        await other.execute("COMMIT")
    (entered,) = await ledger.runs(same_filled)
    since = await next_since(same_filled)
    assert since == entered["created_at"] - timedelta(hours=1)


async def test_status_shows_the_moment_of_the_run_that_corrects(same_filled: str) -> None:
    await first(same_filled)
    whole = await next_since(same_filled)
    assert (await told(same_filled)).startswith("next correction: --changed-since")
    await database.execute(same_filled, CORRECT)
    await run(same_filled, changed_since=whole)
    corrected = await next_since(same_filled)
    await run(same_filled, start_date=date_of(DAYS[0]), end_date=date_of(DAYS[-1] + 1))
    assert datetime.fromisoformat((await told(same_filled)).rpartition(" ")[2]) == corrected
