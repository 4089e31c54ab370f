"""Currencies at their edges on a real server: no home, wide amounts, missing rates (C6 to C8)."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any

import asyncpg
import pytest

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import Fx, Schema, Splits
from batchcore.errors import ConfigError, RateMissingError, SchemaError, TooManyFailedError
from batchcore.pages.night import load_night
from batchcore.pages.portfolio import load_portfolio_page
from batchcore.pages.render import night_page
from db.conftest import EMPTY, Emptied, copied
from support import database, foreign_host
from support.cases import RateRow
from support.command import called
from support.database import Host
from support.foreign_host import OF_POSITIONS, OF_PROFILES, every_day, settings
from support.generate import MONDAY
from support.outcome import issues_of, seeded
from support.runs import run_days, told

DAYS = tuple(range(MONDAY, MONDAY + 4))
D0, D1, D2, D3 = DAYS
BEFORE = tuple(range(D0 - 3, D3 + 1))
SPLITS = """
CREATE TABLE stock_splits (symbol text, ex_date date, new {number}, old {number},
    created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now())
"""


@pytest.fixture(scope="module")
def free_copy(server, template: str) -> Iterator[str]:
    """The URL of a database with a table of rates, whose portfolios may have no currency."""
    free = "ALTER TABLE portfolios ALTER currency DROP NOT NULL"
    yield from copied(server, template, *foreign_host.TABLE, free)


@pytest.fixture
def free_host(free_copy: str, emptied: Emptied) -> str:
    """The same without rows."""
    return emptied(free_copy, "fx_rates")


def lot(symbol: str, quantity: int, currency: str | None, **columns: Any) -> ref.Position:
    columns = {"entry_price": Decimal(100), "entry_day": D0 - 1, **columns}
    return ref.Position(symbol, "LONG", Decimal(quantity), currency=currency, **columns)


def host(
    portfolios: dict[str, tuple[str | None, list[ref.Position]]], equity: int = 10_000
) -> Host:
    """Return portfolios by name, each with its currency and its lots; closes are 101 to 104."""
    made = tuple(
        ref.Portfolio(name, Decimal(equity), tuple(held), currency=home)
        for name, (home, held) in portfolios.items()
    )
    symbols = sorted({str(one.symbol) for _, held in portfolios.values() for one in held})
    closes = [(name, day, Decimal(101 + at)) for name in symbols for at, day in enumerate(DAYS)]
    return Host(made, tuple(closes))


async def ran(url: str, **options: Any) -> batchcore.BatchResult:
    own = {"settings": settings(max_failed="100%"), "analytics": "none", **options}
    return await run_days(url, D0, D3, **own)


def of_rates(result: batchcore.BatchResult, made: Host) -> dict[str, tuple[int | None, str]]:
    """Return session and rate of each portfolio that failed for want of one."""
    named = issues_of(result, made)
    return {name: (one.day, one.detail) for name, one in named if one.name == "fx_missing"}


# Who else runs does not matter to a portfolio without a currency


@pytest.mark.parametrize("home", [None, "", "  "])
@pytest.mark.parametrize("beside", [[], ["EUR"], ["EUR", "USD"]], ids=len)
async def test_a_portfolio_without_a_currency_fails_whoever_is_beside_it(
    free_host: str, home: str | None, beside: list[str]
) -> None:
    homes = {"none": home} | {f"p{own}": own for own in beside}
    made = host({name: (own, [lot("AAA", 10, "EUR")]) for name, own in homes.items()})
    await foreign_host.fill(free_host, made, every_day(BEFORE, EURUSD="1.1"))
    result = await ran(free_host)
    assert of_rates(result, made) == {"none": (D0, "EUR/ on 2026-01-04")}
    planned = await ran(free_host, settings=settings(dry_run=True), on_existing="replace")
    (issue,) = told(planned, "fx_missing")
    assert issue[-1] == "EUR/ on 2026-01-04, in 1 portfolio"
    owners = {own for own, _ in await database.snapshots(free_host)}
    assert owners == {database.key(f"p{own}") for own in beside}


async def test_a_portfolio_without_a_currency_holds_lots_without_one(free_host: str) -> None:
    made = host({"none": (None, [lot("AAA", 10, None), lot("BBB", 10, " ")])})
    await foreign_host.fill(free_host, made, [])
    result = await ran(free_host)
    assert (result.failed, result.rows_written) == (0, 4)


# Amounts of any size


async def explained(url: str, name: str | None, **options: Any) -> batchcore.Explanation:
    ids = None if name is None else [database.key(name)]
    own = options.pop("settings", settings())
    return await batchcore.explain(url, ids, date_of(D1), settings=own, **options)


WON = [
    *every_day(BEFORE, EURUSD="1.08345678"),
    *every_day(BEFORE, USDKRW="1345.12345678"),
]
ONE_EUR = Decimal("1.08345678") * Decimal("1345.12345678")


def with_splits() -> Schema:
    splits = Splits("stock_splits", "as_traded", "as_entered")
    return Schema(fx=Fx("fx_rates", "positions.currency"), splits=splits)


@pytest.mark.parametrize("number", ["numeric(18,8)", None], ids=["splits", "no splits"])
async def test_amounts_of_long_rates_are_explained(free_host: str, number: str | None) -> None:
    made = host({"won": ("KRW", [lot("AAA", 100_000, "EUR")])}, equity=10**11)
    await foreign_host.fill(free_host, made, WON)
    schema = OF_POSITIONS if number is None else with_splits()
    own = settings(schema, max_failed="100%")
    if number is not None:
        await database.execute(free_host, SPLITS.format(number=number))
    try:
        result = await ran(free_host, settings=own)
        assert result.rows_written == 4
        for by in ("lot", "symbol", "portfolio"):
            found = await explained(free_host, "won", by=by, settings=own)
            (row,) = found.rows
            assert (found.explained, row.contribution) == (True, 100_000 * ONE_EUR)
            assert row.value == 10_200_000 * ONE_EUR
        every = await explained(free_host, None, settings=own)
        assert every.rows[0].value == 10_200_000 * ONE_EUR
        night = await load_night(free_host, schema=schema)
        assert night.by_symbol.explained
        page = await load_portfolio_page(free_host, database.key("won"), settings=own)
        assert page.by_symbol is not None
    finally:
        await database.execute(free_host, "DROP TABLE IF EXISTS stock_splits")


async def test_a_large_portfolio_is_explained_beside_a_foreign_lot(free_host: str) -> None:
    made = host(
        {
            "large": ("USD", [lot("AAA", 200_000_000, None)]),
            "small": ("EUR", [lot("BBB", 1, "GBP")]),
        },
        equity=10**11,
    )
    rates = every_day(BEFORE, GBPUSD="1.27345678", USDEUR="0.92345678")
    await foreign_host.fill(free_host, made, rates)
    await ran(free_host)
    found = await explained(free_host, None)
    assert found.explained
    values = {row.symbol: row.value for row in found.rows}
    one_pound = Decimal("1.27345678") * Decimal("0.92345678")
    assert values == {"AAA": 20_400_000_000, "BBB": 102 * one_pound}


async def test_many_portfolios_add_up_beyond_what_one_has(free_host: str) -> None:
    names = [f"p{number}" for number in range(20)]
    held = [lot("AAA", 900_000_000, "EUR")]
    made = host(dict.fromkeys(names, ("KRW", held)), equity=10**11)
    await foreign_host.fill(free_host, made, WON)
    assert (await ran(free_host)).failed == 20  # values of 17 digits do not fit their columns
    small = host({name: ("KRW", [lot("AAA", 100_000, "EUR")]) for name in names}, equity=10**11)
    await database.execute(free_host, EMPTY, "DELETE FROM fx_rates")
    await foreign_host.fill(free_host, small, WON)
    await ran(free_host)
    found = await explained(free_host, None, by="sector")
    (row,) = found.rows
    assert (found.explained, row.value) == (True, 20 * 10_200_000 * ONE_EUR)


# Functions of one portfolio


async def betas(url: str) -> None:
    rows = ("AAA", Decimal(2), "Energy"), ("BBB", Decimal(1), "Utilities")
    await database.add_profiles(url, "symbol beta sector", *rows)


async def beta(url: str, **options: Any) -> dict[str, Any]:
    own = {"calculation_date": date_of(D1), "schema": OF_POSITIONS, **options}
    return dict(await batchcore.calculate_portfolio_provider_beta(url, database.key("p"), **own))


async def sectors(url: str, **options: Any) -> dict[str, Any]:
    own = {"calculation_date": date_of(D1), "schema": OF_POSITIONS, **options}
    return dict(await batchcore.calculate_portfolio_sector_exposure(url, database.key("p"), **own))


CROWNS = [
    *every_day([D0 - 3, D0 - 2, D0 - 1, D0], SEKEUR="0.09"),
    *every_day([D0 - 3, D0 - 2, D0 - 1, D0], EURNOK="11.5"),
]
MIXED = {"p": ("NOK", [lot("AAA", 10, "SEK"), lot("BBB", 10, None)])}


async def test_one_portfolio_is_valued_as_runs_value_it(free_host: str) -> None:
    await foreign_host.fill(free_host, host(MIXED), CROWNS)
    await betas(free_host)
    await ran(free_host, analytics="every", settings=settings(fx_pivot="eur", max_failed="100%"))
    stored = (await database.snapshots(free_host))[database.key("p"), D1]
    found = await beta(free_host, settings=settings(fx_pivot="eur"), schema=None)
    # 1.035 NOK for one SEK: the shares are as 1.035 to 1
    assert found["portfolio_beta"] == pytest.approx(float(stored["beta_provider_1y"]), abs=1e-4)
    assert found["portfolio_beta"] == pytest.approx(3.07 / 2.035)
    assert (found["coverage"], found["total_positions"]) == (1.0, 2)
    shares = await sectors(free_host, settings=settings(fx_pivot="eur"))
    equity = float(stored["equity_balance"])
    assert shares["sector_weights"]["Energy"] == pytest.approx(1020 * 1.035 / equity)


@pytest.mark.parametrize(
    ("options", "rate"),
    [
        ({}, "SEK/NOK on 2026-01-04"),  # by USD there is none, on the entry first
        ({"settings": settings(fx_pivot="EUR", fx_lookback_days=0)}, "SEK/NOK"),
        (
            {"settings": settings(fx_pivot="EUR"), "calculation_date": date_of(D0 + 6)},
            "SEK/NOK",
        ),
    ],
    ids=["pivot", "no lookback", "old"],
)
async def test_one_portfolio_without_a_rate_is_an_error_that_names_it(
    free_host: str, options: dict[str, Any], rate: str
) -> None:
    await foreign_host.fill(free_host, host(MIXED), CROWNS)
    await betas(free_host)
    for function in (beta, sectors):
        with pytest.raises(RateMissingError) as error:
            await function(free_host, **options)
        assert error.value.rate == rate
        assert error.value.session == str(options.get("calculation_date", date_of(D1)))
        assert rate in str(error.value)


async def test_one_portfolio_needs_no_rate_of_what_it_does_not_hold(free_host: str) -> None:
    ended = {"exit_day": D0, "exit_price": Decimal(1)}
    own = {"investment_class": "PRIVATE", "market_value": Decimal(500)}
    held = [lot("AAA", 10, "SEK", **ended), lot("AAA", 10, "SEK", **own), lot("BBB", 10, None)]
    await foreign_host.fill(free_host, host({"p": ("NOK", held)}), [])
    await betas(free_host)
    assert (await beta(free_host))["portfolio_beta"] == 1.0


async def test_settings_that_are_none_are_refused(free_host: str) -> None:
    wrong: Any = "EUR"
    for function in (beta, sectors):
        with pytest.raises(ConfigError, match="settings is of type str, expected Settings"):
            await function(free_host, settings=wrong)


# Wide NUMERICs in the tables that a host maps

WIDE = "whose digits do not all fit 64 bits, expected its decimals in schema.scales, such as"


@pytest.mark.parametrize("kind", ["numeric(38,18)", "numeric(24,16)", "numeric(19,2)"])
async def test_wide_rates_are_refused_with_the_line_that_is_missing(
    free_host: str, kind: str
) -> None:
    made = host({"p": ("JPY", [lot("AAA", 10, "USD")])})
    await foreign_host.fill(free_host, made, every_day(BEFORE, USDJPY="150"))
    await database.execute(free_host, f"ALTER TABLE fx_rates ALTER rate TYPE {kind}")
    try:
        decimals = 2 if kind == "numeric(19,2)" else 8 if kind == "numeric(38,18)" else 10
        line = f"public.fx_rates.rate: is {kind}, {WIDE} `fx.rate = {decimals}`"
        for work in (ran(free_host), batchcore.verify(free_host, settings=settings())):
            with pytest.raises(SchemaError) as error:
                await work
            assert error.value.problems == (line,)
        schema = replace(OF_POSITIONS, scales={"fx.rate": 2})
        result = await ran(free_host, settings=settings(schema))
        assert (result.failed, result.rows_written) == (0, 4)
    finally:
        narrow = "ALTER TABLE fx_rates ALTER rate TYPE numeric(18,10)"
        await database.execute(free_host, narrow)


@pytest.mark.parametrize("kind", ["numeric(38,18)", "numeric(20,4)"])
async def test_wide_splits_are_refused_likewise(free_host: str, kind: str) -> None:
    await database.execute(free_host, SPLITS.format(number=kind))
    try:
        with pytest.raises(SchemaError) as error:
            await ran(free_host, settings=settings(with_splits()))
        assert len(error.value.problems) == 2
        for name, problem in zip(("new", "old"), error.value.problems, strict=True):
            assert problem.startswith(f"public.stock_splits.{name}: is {kind}, {WIDE} `splits.")
    finally:
        await database.execute(free_host, "DROP TABLE stock_splits")


# One error names every fault of every mapped table


@pytest.mark.parametrize("level", ["none", "portfolio", "full"])
async def test_every_missing_table_is_named_at_once(free_host: str, level: str) -> None:
    splits = Splits("no_splits", "as_traded", "as_entered")
    schema = Schema(fx=Fx("no_rates", "positions.no_column"), splits=splits)
    expected = {
        "public.no_splits: missing table",
        "public.no_rates: missing table",
        "public.positions.no_column: missing column",
    }
    own = settings(schema)
    works = [ran(free_host, settings=own, analytics=level)]
    works += [batchcore.verify(free_host, settings=own)] if level == "none" else []
    works += [batchcore.explain(free_host, settings=own)] if level == "none" else []
    for work in works:
        with pytest.raises(SchemaError) as error:
            await work
        assert set(error.value.problems) == expected


# Of profiles, only those of symbols held count


@pytest.mark.parametrize(
    ("symbols", "pairs"),
    [(["AAA"], None), (["AAA", "NONE"], None), (["AAA", "BBB"], 1)],
    ids=["at home", "without a profile", "one foreign"],
)
async def test_currencies_of_profiles_that_nobody_holds_bring_no_rates(
    free_host: str, symbols: list[str], pairs: int | None
) -> None:
    made = host({"p": ("USD", [lot(symbol, 10, None) for symbol in symbols])})
    rates = [*every_day(BEFORE, EURUSD="1.1"), ("JPY", "USD", D1, Decimal(0))]
    await foreign_host.fill(free_host, made, rates)
    quoted = (("AAA", "USD"), ("BBB", "EUR"), ("ZZZ", "JPY"))
    await database.add_profiles(free_host, "symbol quoted_in", *quoted)
    result = await ran(free_host, settings=settings(OF_PROFILES))
    assert (result.failed, result.rows_written) == (0, 4)
    assert "bad_rate" not in result.issues_by_name()
    loaded = None if pairs is None else pairs * len(BEFORE)
    assert result.rows_by_load.get("rates") == loaded


# Totals that mix currencies


@pytest.mark.usefixtures("painted")
async def test_totals_that_mix_currencies_say_so(free_host: str) -> None:
    homes = {"a": "USD", "b": "EUR", "c": "JPY", "d": "usd"}
    made = host({name: (home, [lot("AAA", 10, "USD")]) for name, home in homes.items()})
    rates = every_day(BEFORE, EURUSD="1.25", USDJPY="150")
    await foreign_host.fill(free_host, made, rates)
    result = await ran(free_host)
    (issue,) = told(result, "currencies")
    assert issue[-1] == "EUR, JPY, USD"
    found = await explained(free_host, None)
    assert found.currencies == ("EUR", "JPY", "USD")
    assert found.to_dict()["currencies"] == ["EUR", "JPY", "USD"]
    night = await load_night(free_host, schema=OF_POSITIONS)
    assert night.totals.currency is None
    page = night_page(night)
    assert "sums mix EUR, JPY, USD" in page
    assert "ignore totals" in page
    asked = ("explain", "--database-url", free_host, "--session", date_of(D1).isoformat())
    said = await asyncio.to_thread(called, (*asked, "--by", "portfolio"))
    assert "currency, and sums mix them: EUR, JPY, USD" in said.out


@pytest.mark.parametrize("homes", [["USD", "usd ", None], ["GBP"], [None, None]])
@pytest.mark.usefixtures("painted")
async def test_totals_of_one_currency_say_nothing(free_host: str, homes: list[str | None]) -> None:
    named = {f"p{at}": (home, [lot("AAA", 10, None)]) for at, home in enumerate(homes)}
    await foreign_host.fill(free_host, host(named), [])
    result = await ran(free_host)
    assert "currencies" not in result.issues_by_name()
    assert (await explained(free_host, None)).currencies == ()
    night = await load_night(free_host, schema=OF_POSITIONS)
    assert "sums mix" not in night_page(night)


async def test_portfolios_of_other_currencies_that_are_not_summed_do_not_count(
    free_host: str,
) -> None:
    made = host({name: (name, [lot("AAA", 10, None)]) for name in ("USD", "EUR", "GBP")})
    await foreign_host.fill(free_host, made, [])
    await ran(free_host)
    await database.execute(
        free_host,
        f"DELETE FROM portfolio_snapshots WHERE portfolio_id = '{database.key('GBP')}'",  # noqa: S608  # our own
    )
    assert (await explained(free_host, None)).currencies == ("EUR", "USD")
    assert (await explained(free_host, "EUR")).currencies == ()


# A rate that is missing is named as the reason


async def test_too_many_without_a_rate_are_told_why(free_host: str) -> None:
    made = host({f"p{at}": ("USD", [lot("AAA", 10, "CHF")]) for at in range(3)})
    await foreign_host.fill(free_host, made, [])
    with pytest.raises(TooManyFailedError, match=r"the commonest reason is fx_missing: 3$"):
        await ran(free_host, settings=settings())
    result = await ran(free_host)
    assert sorted(result.errors()) == sorted(
        f"{database.key(one.id)}: fx_missing CHF/USD on 2026-01-04 on 2026-01-05"
        for one in made.portfolios
    )
    night = await load_night(free_host, run_id=result.run_id, schema=OF_POSITIONS)
    assert len(night.failed) == 3


# A plan names what the run fails by, and nothing else


def odd_lot(random: Random) -> ref.Position:
    start = random.choice([D0 - 700, D0 - 40, D0 - 7, D0 - 2, D0, D1, D2, D3])
    held: dict[str, Any] = {"entry_day": start}
    if random.random() < 0.4:
        exit_price = random.choice([None, Decimal(90)])
        held |= {"exit_day": start + random.choice([1, 2, 5, 30]), "exit_price": exit_price}
    if random.random() < 0.2:
        value = random.choice([None, Decimal(500)])
        held |= {"investment_class": "PRIVATE", "market_value": value}
    if random.random() < 0.3:
        day = start + random.choice([0, 1, 3, 8])
        held["events"] = (ref.Event(day, Decimal(3), Decimal(1)),)
    symbol = random.choice(["AAA", "BBB", "NONE"])
    currency = random.choice([None, "USD", "EUR", "GBX", "SEK", "DEM", " eur"])
    return lot(symbol, 10, currency, **held)


def odd_rates(random: Random) -> list[RateRow]:
    pairs = {"EURUSD": "1.1", "GBPUSD": "1.25", "SEKUSD": "0.1", "EURGBP": "0.85"}
    days = [D0 - 700, D0 - 40, *range(D0 - 8, D3 + 1)]
    some = {pair: sorted(random.sample(days, random.randint(0, len(days)))) for pair in pairs}
    return [row for pair, on in some.items() for row in every_day(on, **{pair: pairs[pair]})]


def odd_host(random: Random) -> Host:
    homes = ["USD", "EUR", "GBP", None]
    made = host(
        {
            f"p{at}": (random.choice(homes), [odd_lot(random) for _ in range(random.randint(0, 4))])
            for at in range(8)
        }
    )
    closes = [one for one in made.prices if one[0] != "NONE" and random.random() < 0.8]
    return replace(made, prices=(*closes, ("AAA", D0 - 40, Decimal(99))))


@pytest.mark.parametrize("seed", range(40))
async def test_a_plan_names_the_rates_that_the_run_fails_by(free_host: str, seed: int) -> None:
    async with database.pooled(free_host) as pool:
        await check_plans(pool, seeded(seed), OF_PROFILES if seed % 4 == 3 else OF_POSITIONS)


async def check_plans(db: asyncpg.Pool, random: Random, schema: Schema) -> None:
    made = odd_host(random)
    await foreign_host.fill(db, made, odd_rates(random))
    if schema is OF_PROFILES:
        await database.add_profiles(db, "symbol quoted_in", ("AAA", "EUR"), ("BBB", "SEK"))
    lookback = random.choice([0, 1, 5])
    own: dict[str, Any] = {"fx_lookback_days": lookback, "max_failed": "100%"}
    first = random.choice([D0, D1])
    for start in (first, D2):  # the second goes on from rows of the first
        planned, result = [
            await run_days(
                db, start, D3 if start == D2 else D1, analytics="none", settings=settings(**one)
            )
            for one in (
                {"schema": schema, "dry_run": True, **own},
                {"schema": schema, "chunk_size": random.choice([1, 3, None]), **own},
            )
        ]
        expected = sorted(
            (day, f"{rate}, in {count} portfolio{'' if count == 1 else 's'}")
            for (day, rate), count in Counter(one[3:] for one in told(result, "fx_missing")).items()
        )
        assert sorted(one[3:] for one in told(planned, "fx_missing")) == expected
