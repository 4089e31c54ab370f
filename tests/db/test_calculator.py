"""The entry points of an orchestrator, on every kind of `db` that a caller has."""

import datetime as dt
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

import batchcore
from batchcore.caches import CompanyProfileCache, PriceCache, SnapshotCache
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.errors import ConfigError, CoverageError
from batchcore.frames import Previous, Prices, Text
from support import build, database
from support.callers import OWN, caller
from support.database import Standing
from support.generate import MONDAY

DAYS = tuple(range(MONDAY, MONDAY + 5))
D0, D1, D2, D3, D4 = DAYS
P = database.key("p0")
BORROWED = ("connection", "session", "asyncpg")
OPTIONS = ("analytics", "on_existing")


@pytest_asyncio.fixture
async def one_host(same_host: str) -> str:
    """The URL of a database with one portfolio: 1000 on D0, and 10 more each day."""
    await database.fill(same_host, database.plain_host(1, DAYS))
    return same_host


def calculator(**settings: Any) -> batchcore.PnLCalculator:
    options = {name: settings.pop(name) for name in OPTIONS if name in settings}
    return batchcore.PnLCalculator(Settings(**settings), **options)


@pytest.mark.parametrize("kind", OWN + BORROWED)
async def test_every_kind_of_db_gives_the_same_rows(same_host: str, kind: str) -> None:
    await database.fill(same_host, database.plain_host(5, DAYS))

    async with caller(same_host, kind) as own:
        for day in (D0, D1):
            # three chunks in one transaction, then the same session again in place
            for mode in ("skip", "replace"):
                calculate = calculator(chunk_size=2, on_existing=mode)
                result = await calculate.calculate_all_portfolios_pnl(date_of(day), own.db)
                assert (result.rows_written, result.chunks) == (5, 3)
                assert result.sessions.tolist() == [day]
                assert result.consistent is (kind in OWN)  # READ COMMITTED is the caller's
        if kind in BORROWED:
            assert await database.snapshots(same_host) == {}
            await own.commit()

    assert await database.equity_by_day(same_host) == {D0: 1000, D1: 1010}
    assert len(await database.snapshots(same_host)) == 10
    assert set((await database.equities(same_host)).values()) == {Decimal(1010)}


@pytest.mark.parametrize("kind", BORROWED)
async def test_a_plan_writes_nothing_and_a_rollback_undoes_all(same_host: str, kind: str) -> None:
    await database.fill(same_host, database.plain_host(3, DAYS))
    before = await database.equities(same_host)

    async with caller(same_host, kind) as own:
        plan = await calculator(dry_run=True).calculate_all_portfolios_pnl(date_of(D0), own.db)
        assert plan.portfolios.sessions_planned.tolist() == [1, 1, 1]
        assert await own.execute("SELECT count(*) FROM portfolio_snapshots") == 0
        result = await calculator().calculate_all_portfolios_pnl(date_of(D0), own.db)
        assert result.rows_written == 3
        await own.rollback()

    assert await database.snapshots(same_host) == {}
    assert await database.equities(same_host) == before


@pytest.mark.parametrize("kind", BORROWED)
async def test_rows_not_committed_are_seen_and_an_error_undoes_the_call_alone(
    one_host: str, kind: str
) -> None:
    change = f"UPDATE market_data_cache SET close = 21 WHERE date = '{date_of(D1)}'"  # noqa: S608
    gone = f"DELETE FROM market_data_cache WHERE date = '{date_of(D2)}'"  # noqa: S608

    async with caller(one_host, kind) as own:
        await own.execute(change)
        for day in (D0, D1):
            await calculator().calculate_all_portfolios_pnl(date_of(day), own.db)
        await own.execute(gone)
        with pytest.raises(CoverageError):
            await calculator().calculate_all_portfolios_pnl(date_of(D2), own.db)
        await own.commit()

    # ten shares from 11 to 21
    assert await database.equity_by_day(one_host) == {D0: 1000, D1: 1100}


@pytest.mark.parametrize("kind", BORROWED)
@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_a_transaction_with_one_view_is_consistent(
    one_host: str, kind: str, isolation: str
) -> None:
    level = isolation if kind == "asyncpg" else isolation.replace("_", " ").upper()

    async with caller(one_host, kind, level) as own:
        result = await calculator().calculate_all_portfolios_pnl(date_of(D0), own.db)

    assert result.consistent


async def test_a_date_that_is_no_session_is_nothing_to_do(one_host: str) -> None:
    result = await calculator().calculate_all_portfolios_pnl(date_of(D4 + 1), one_host)
    assert result.nothing_to_do
    assert result.sessions_left_out.tolist() == [D4 + 1]


@pytest.mark.parametrize("kind", ["url", "session"])
async def test_a_db_of_the_constructor_is_that_of_calls_that_name_none(
    same_host: str, kind: str
) -> None:
    await database.fill(same_host, database.plain_host(3, DAYS))
    async with caller(same_host, kind) as given:
        own = batchcore.PnLCalculator(None, given.db)
        assert (await own.calculate_all_portfolios_pnl(date_of(D0))).rows_written == 3
        one = await own.calculate_portfolio_pnl(P, date_of(D1))
        assert (one.rows_written, len(one.portfolios)) == (1, 1)
        elsewhere = batchcore.PnLCalculator(db="postgresql://nowhere.invalid/x")
        again = await elsewhere.calculate_portfolio_pnl(str(P), date_of(D2), given.db)
        assert again.rows_written == 1
        if kind in BORROWED:
            await given.commit()
    assert await database.equity_by_day(same_host) == {D0: 1000, D1: 1010, D2: 1020}


async def test_a_calculator_without_a_db_says_so() -> None:
    told = "^db is None, and the constructor was given none: pass `db` to one of the two$"
    with pytest.raises(ConfigError, match=told):
        await batchcore.PnLCalculator().calculate_all_portfolios_pnl(date_of(D0))
    with pytest.raises(ConfigError, match=told):
        await batchcore.PnLCalculator().calculate_portfolio_pnl(P, date_of(D0))
    with pytest.raises(ConfigError, match=r"^settings is of type str, expected Settings; a databa"):
        batchcore.PnLCalculator("postgresql://nowhere.invalid/x")


@pytest.mark.parametrize(
    ("option", "given", "told"),
    [
        ("price_cache", SnapshotCache(), "price_cache is SnapshotCache, expected a PriceCache"),
        ("price_cache", PriceCache, "price_cache is PriceCache, expected a PriceCache"),
        ("price_cache", {}, "price_cache is dict, expected a PriceCache"),
        ("snapshot_cache", PriceCache(), "snapshot_cache is PriceCache, expected a SnapshotCache"),
        ("snapshot_cache", CompanyProfileCache(), "snapshot_cache is CompanyProfileCache, "),
    ],
)
async def test_a_cache_of_the_wrong_kind_is_named(option: str, given: Any, told: str) -> None:
    own = batchcore.PnLCalculator(db="postgresql://nowhere.invalid/x")
    for call in (
        own.calculate_all_portfolios_pnl(date_of(D0), **{option: given}),
        own.calculate_portfolio_pnl(P, date_of(D0), **{option: given}),
    ):
        with pytest.raises(ConfigError, match=f"^{told}"):
            await call


@pytest.mark.parametrize(
    "call",
    [
        batchcore.calculate_portfolio_provider_beta,
        batchcore.calculate_portfolio_sector_exposure,
        partial(batchcore.restore_sector_tag_for_position, "postgresql://nowhere.invalid/x"),
        partial(batchcore.restore_sector_tags_for_portfolio, "postgresql://nowhere.invalid/x"),
    ],
)
async def test_a_profile_cache_of_the_wrong_kind_is_named(call: Any) -> None:
    with pytest.raises(ConfigError, match=r"^profile_cache is PriceCache, expected a CompanyProf"):
        await call(str(P), str(P), PriceCache())


@pytest.mark.parametrize("date", [None, "2026-01-05", dt.datetime(2026, 1, 5, tzinfo=dt.UTC), 5])
async def test_what_is_no_date_is_refused(same_host: str, date: Any) -> None:
    with pytest.raises(ConfigError, match=r"^calculation_date is .*, expected a datetime\.date$"):
        await calculator().calculate_all_portfolios_pnl(date, same_host)


@pytest.mark.parametrize("ids", [5, str(P)])
async def test_what_is_no_portfolios_is_refused(same_host: str, ids: Any) -> None:
    with pytest.raises(ConfigError, match=r"^portfolio_ids is of type .*, expected an iterable$"):
        await calculator().calculate_all_portfolios_pnl(date_of(D0), same_host, ids)


class Closes:
    """Closes handed in; `covered` says of which symbols, from which day on."""

    def __init__(self, closes: dict[tuple[str, int], str], covered: dict[str, int]) -> None:
        self.closes = closes
        self.covered = covered

    def to_frame(self) -> Prices:
        return Prices(
            symbol=Text.of([symbol for symbol, _ in self.closes]),
            day=build.days([day for _, day in self.closes]),
            close=build.decimals([Decimal(close) for close in self.closes.values()], 5),
        )

    def covers(self, symbol: str, first_day: int, last_day: int) -> bool:
        return symbol in self.covered and self.covered[symbol] <= first_day <= last_day


@pytest.mark.parametrize(
    "covered",
    [{"AAA": D1}, {"AAA": D2}, {}],  # not from s on: all is read, what is handed in counts
)
async def test_closes_handed_in_count_before_those_stored(
    one_host: str, covered: dict[str, int]
) -> None:
    calculate = calculator(analytics="none").calculate_all_portfolios_pnl
    await calculate(date_of(D1), one_host)
    closes = {("AAA", D2): "15.00001", ("AAA", D1): "12", ("OTHER", D2): "1"}
    if "AAA" not in covered or covered["AAA"] > D1:
        del closes["AAA", D1]

    result = await calculate(date_of(D2), one_host, price_cache=Closes(closes, covered))

    # ten shares: closes of D1 and D2 are 12 and 13 in the database, 15.00001 handed in on D2
    assert await database.equity_by_day(one_host) == {D1: 1000, D2: 1030}
    loaded = result.rows_by_load
    assert "prices" not in loaded
    assert loaded["cached"] == len(closes) - 1
    # the close of D0 always; those of D1 and D2 only where they are not covered
    assert loaded["fallback"] == (1 if covered == {"AAA": D1} else 3)
    # portfolios, symbols, fallback, existing rows, positions, events, flows
    assert result.statements_by_phase["load"] == 7


@pytest.mark.parametrize("how", ["given", "set", "loaded and set"])
async def test_a_close_that_is_set_to_nothing_is_none(one_host: str, how: str) -> None:
    calculate = calculator(min_coverage=0.0).calculate_all_portfolios_pnl
    await calculate(date_of(D1), one_host)
    prices: Any = Closes({("AAA", D1): "12", ("AAA", D2): "0"}, {"AAA": D1})
    if how != "given":
        prices = PriceCache()
        if how == "loaded and set":
            await prices.load_single_date(one_host, ["AAA"], date_of(D2))
        prices.set("AAA", date_of(D2), 0)

    result = await calculate(date_of(D2), one_host, price_cache=prices)

    # the database has 13 on D2; the mark of D1 still counts
    assert await database.equity_by_day(one_host) == {D1: 1000, D2: 1000}
    assert result.cache["lookback_hits"] == 1


class Snapshots:
    def __init__(self, day: int, equity: int, name: str = "p0") -> None:
        sums = ("cumulative_pnl", "cumulative_realized_pnl", "cumulative_capital_flow")
        self.frame = Previous(
            portfolio_id=build.uuids([name]),
            day=build.days([day]).values,
            **{name: build.decimals([Decimal(equity)], 2) for name in ("equity", *sums)},
        )

    def to_frame(self) -> Previous:
        return self.frame


@pytest.mark.parametrize(
    ("given", "stored", "equity"),
    [
        (Snapshots(D1, 5000), 2000, 5010),  # counts before the one stored
        (Snapshots(D0, 5000), 2000, 2010),  # older than the one stored: that one counts
        (Snapshots(D2, 5000), 2000, 2010),  # not before the date
        (Snapshots(D1, 5000, "p1"), 2000, 2010),  # of nobody here
        (Snapshots(D0, 300), None, 320),  # from D0 to D2 ten shares gain two each
    ],
)
async def test_a_snapshot_handed_in_is_gone_on_from(
    one_host: str, given: Snapshots, stored: int | None, equity: int
) -> None:
    if stored is not None:
        await database.add_snapshots(one_host, "p0", (Standing(D1, Decimal(stored)),))

    await calculator().calculate_all_portfolios_pnl(date_of(D2), one_host, snapshot_cache=given)

    assert (await database.equity_by_day(one_host))[D2] == equity


async def test_no_portfolios_take_no_snapshot(one_host: str) -> None:
    result = await calculator().calculate_all_portfolios_pnl(
        date_of(D2), one_host, [], snapshot_cache=Snapshots(D0, 300)
    )

    assert result.nothing_to_do
    assert await database.equity_by_day(one_host) == {}


async def test_caches_of_the_package_are_used(same_host: str) -> None:
    await database.fill(same_host, database.plain_host(2, DAYS))
    calculate = calculator().calculate_all_portfolios_pnl
    await calculate(date_of(D1), same_host)
    prices, snapshots = PriceCache(), SnapshotCache()
    async with caller(same_host, "session") as own:
        await prices.load_single_date(own.db, ["AAA"], date_of(D2))
        await snapshots.load_latest_snapshots(
            own.db, [P, database.key("p1")], date_of(D2), calendar="XNYS"
        )
        prices.set("AAA", date_of(D2), Decimal(20))

        result = await calculate(date_of(D2), own.db, None, prices, snapshots)

        await own.commit()
    assert result.rows_by_load["cached"] == 3
    assert result.rows_by_load["fallback"] == 1  # D0, before the first day needed
    assert await database.equity_by_day(same_host) == {D1: 1000, D2: 1080}


@pytest.mark.parametrize("kind", OWN)
async def test_nothing_survives_from_one_run_to_the_next(one_host: str, kind: str) -> None:
    async with caller(one_host, kind) as own:
        orchestrator = batchcore.BatchOrchestrator(own.db, on_existing="replace")
        await orchestrator.run_batch_sequence(date_of(D0), date_of(D1))
        assert await database.equity_by_day(one_host) == {D0: 1000, D1: 1010}
        await database.execute(
            one_host,
            f"UPDATE market_data_cache SET close = 21 WHERE date = '{date_of(D1)}'",  # noqa: S608
            f"UPDATE portfolios SET equity_balance = 7 WHERE id = '{P}'",  # noqa: S608
        )

        result = await orchestrator.run_batch_sequence(date_of(D1), date_of(D2))

    assert await database.equity_by_day(one_host) == {D0: 1000, D1: 1100, D2: 1020}
    assert result["success"]
