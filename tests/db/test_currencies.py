"""Lots in other currencies on a real server (C6 to C8): runs, verify, explain, corrections.

`euros` is worked by hand: 10 AAA, bought at 10 EUR before the days, on which it closes at 11, 12,
13 and 14 EUR; EUR/USD is 1.10 all the time, so each day after the first earns 11 USD.
"""

import asyncio
import datetime as dt
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.cli.run import issue_lines
from batchcore.config import Fx, Schema
from batchcore.demo import run as demo
from batchcore.errors import SchemaError
from batchcore.pages.night import load_night
from batchcore.pages.render import night_page
from db.conftest import EMPTY, LOOP, PoolOf
from support import database, foreign_host
from support.audit import both
from support.cases import RateRow
from support.command import called
from support.database import Db, Host
from support.edits import assert_as_recomputed, touched, versions
from support.foreign_host import OF_POSITIONS, OF_PROFILES, every_day, in_currencies, settings
from support.generate import MONDAY, Generator, Run
from support.outcome import issues_of, random_host, seeded
from support.roles import role_of
from support.runs import run_days, told
from support.sides import by_reference

DAYS = tuple(range(MONDAY, MONDAY + 4))
D0, D1, D2, D3 = DAYS
SINCE = dt.datetime(2026, 2, 1, tzinfo=dt.UTC)
LATE = dt.datetime(2026, 2, 2, tzinfo=dt.UTC)
AFTER = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)  # every row was written
BEFORE = tuple(range(D0 - 3, D3 + 1))
P = database.key("p0")
WITHOUT_STAMPS = Schema(fx=Fx("fx_rates", "positions.currency", {"updated_at": "none_such"}))
EQUITIES = [Decimal(value) for value in (1000, 1011, 1022, 1033)]
UNCONVERTED = [Decimal(value) for value in (1000, 1010, 1020, 1030)]


def euros(count: int = 1) -> Host:
    plain = database.plain_host(count, DAYS)
    made = tuple(in_currencies(one, "USD", ["EUR"]) for one in plain.portfolios)
    return replace(plain, portfolios=made)


async def filled(url: str, host: Host | None = None, rates: list[RateRow] | None = None) -> Host:
    host = host or euros()
    await foreign_host.fill(url, host, every_day(BEFORE, EURUSD="1.10") if rates is None else rates)
    return host


async def filled_by_profiles(url: str, *profiles: tuple[str, str | None]) -> None:
    """Fill a host on which profiles name currencies: pairs of symbols and those of them."""
    own = tuple(in_currencies(one, "USD", [None]) for one in euros().portfolios)
    await filled(url, replace(euros(), portfolios=own))
    await database.add_profiles(url, "symbol quoted_in", *profiles)


async def ran(url: str, **options: Any) -> batchcore.BatchResult:
    return await run_days(url, D0, D3, **{"settings": settings(), "analytics": "none", **options})


async def stood(
    url: str, host: Host | None = None, rates: list[RateRow] | None = None, **options: Any
) -> batchcore.BatchResult:
    """Fill a host and run it."""
    await filled(url, host, rates)
    return await ran(url, **options)


async def verified(url: Db, **options: Any) -> batchcore.VerifyResult:
    return await batchcore.verify(url, **{"settings": settings(), "fast": True, **options})
    return await batchcore.verify(url, **{"settings": settings(), "fast": True, **options})


async def assert_verified(url: str, rows: int, **options: Any) -> None:
    found = await both(verified, url, **options)
    assert (found.rows, found.differing) == (rows, 0)


def rate_set(day: int, rate: str, at: dt.datetime = LATE) -> str:
    """Return the statement that sets the rates of a day, as of a moment later than `SINCE`."""
    return (
        f"UPDATE fx_rates SET rate = {rate}, updated_at = '{at}'"  # noqa: S608  # our own
        f" WHERE date = '{date_of(day)}'"
    )


async def test_a_run_converts_what_positions_are_quoted_in(same_rates_host: str) -> None:
    result = await stood(same_rates_host)
    assert await database.equity_list(same_rates_host) == EQUITIES
    assert result.rows_by_load["rates"] == len(BEFORE)
    await assert_verified(same_rates_host, 4)


BY_PROFILES = {
    "two spellings": ([("aaa", "EUR"), (" aaa ", "EUR"), ("BBB", None)], EQUITIES),
    "the higher has none": ([("AAA", "EUR"), ("aaa", None)], UNCONVERTED),
    "the higher is blank": ([("AAA", "EUR"), ("aaa", "  ")], UNCONVERTED),
}


@pytest.mark.parametrize(("profiles", "equities"), BY_PROFILES.values(), ids=BY_PROFILES)
async def test_profiles_may_name_the_currency(
    same_rates_host: str, profiles: list[tuple[str, str | None]], equities: list[Decimal]
) -> None:
    await filled_by_profiles(same_rates_host, *profiles)
    await ran(same_rates_host, settings=settings(OF_PROFILES))
    assert await database.equity_list(same_rates_host) == equities
    await assert_verified(same_rates_host, 4, settings=settings(OF_PROFILES))


async def test_without_foreign_lots_no_statement_is_sent_for_rates(same_rates_host: str) -> None:
    plain = database.plain_host(2, DAYS)
    made = tuple(in_currencies(one, "USD", [" usd"]) for one in plain.portfolios)
    await filled(same_rates_host, replace(plain, portfolios=made), [])
    await ran(same_rates_host)
    unmapped = await ran(same_rates_host, on_existing="replace", settings=settings(Schema()))
    mapped = await ran(same_rates_host, on_existing="replace")
    assert mapped.statements_by_phase == unmapped.statements_by_phase
    assert "rates" not in mapped.rows_by_load


async def test_five_currencies_beside_one(same_rates_host: str) -> None:
    homes = ("USD", "EUR", "GBp", "USD")
    own = (None, "EUR", "GBX", "CHF", "jpy ")
    made = []
    for number, home in enumerate(homes):
        position = euros().portfolios[0].positions[0]
        held = tuple(
            replace(position, quantity=Decimal(10 + at), entry_day=D0 - 3 + at % 2, currency=one)
            for at, one in enumerate(own[: 1 if number == 3 else None])
        )
        made.append(ref.Portfolio(f"p{number}", Decimal(1000), held, currency=home))
    rates = every_day(
        BEFORE, EURUSD="1.10", USDGBP="0.77", USDCHF="0.9", CHFJPY="165.5", JPYUSD="0.0067"
    )
    host = replace(euros(), portfolios=tuple(made))
    result = await stood(same_rates_host, host, rates, analytics="every")
    assert result.rows_written == 16
    assert result.issues_by_name()["currencies"] == 1  # totals mix them
    run = Run(host.portfolios, host.prices, DAYS, rates=tuple(rates), fx={"scale": 10})
    expected, _ = by_reference(run)
    stored = await database.snapshots(same_rates_host)
    for portfolio, of_one in zip(host.portfolios, expected, strict=True):
        for row in of_one.rows:
            cells = stored[database.key(portfolio.id), row.day]
            for name in ("equity_balance", "daily_pnl", "long_value", "cash_value"):
                assert cells[name] == getattr(row, name), (portfolio.id, row.day, name)
    await assert_verified(same_rates_host, 16)


async def test_a_portfolio_without_a_rate_fails_alone(same_rates_host: str) -> None:
    host = euros(2)
    francs = in_currencies(host.portfolios[1], "USD", ["CHF"])
    host = replace(host, portfolios=(host.portfolios[0], francs))
    rates = [*every_day(BEFORE, EURUSD="1.10"), ("CHF", "USD", D0 - 4, Decimal("1.2"))]
    own = settings(fx_lookback_days=5, max_failed=1)
    result = await stood(same_rates_host, host, rates, settings=own)
    # 5 days old on D1; on D2 there is no rate
    assert issues_of(result, host) == Counter(
        {("p1", ref.Issue("fx_missing", None, D2, "CHF/USD")): 1}
    )
    stored = await database.snapshots(same_rates_host)
    assert [day for own, day in sorted(stored) if own != P] == [D0, D1]
    assert await database.equity_list(same_rates_host) == EQUITIES


async def test_a_plan_names_the_pairs_without_a_rate(same_rates_host: str) -> None:
    host = euros(3)
    francs = in_currencies(host.portfolios[1], "USD", ["CHF"])
    old = in_currencies(host.portfolios[2], "USD", ["GBP"])
    early = tuple(replace(position, entry_day=D0 - 300) for position in old.positions)
    host = replace(host, portfolios=(host.portfolios[0], francs, replace(old, positions=early)))
    rates = every_day(BEFORE, EURUSD="1.10", GBPUSD="1.25")
    result = await stood(same_rates_host, host, rates, settings=settings(dry_run=True))
    assert [one[3:] for one in told(result, "fx_missing")] == [
        (date_of(D0).isoformat(), "CHF/USD on 2026-01-04, in 1 portfolio"),
        (date_of(D0).isoformat(), f"GBP/USD on {date_of(D0 - 300)}, in 1 portfolio"),
    ]


BAD_ROWS: list[RateRow] = [
    *(("EUR", "usd", D1, Decimal("1.30")), ("EUR", "USD", None, Decimal(1))),
    *(("USD", "EUR", D2, None), ("USD", "EUR", D3, Decimal("NaN")), (None, "USD", D3, None)),
]
BAD = [
    (date_of(D1), "EUR/USD: 1 date; 1.1 and 1.3 on the first"),
    (date_of(D2), "USD/EUR: 2 dates; NULL on the first"),
]


def bad_rates(result: batchcore.BatchResult) -> list[tuple[dt.date, str]]:
    return [(dt.date.fromisoformat(one[3]), one[4]) for one in told(result, "bad_rate")]


@pytest.mark.usefixtures("painted")
async def test_bad_rates_are_reported_once_and_count_as_absent(same_rates_host: str) -> None:
    await filled(same_rates_host, rates=[*every_day(BEFORE, EURUSD="1.10"), *BAD_ROWS])
    planned = await ran(same_rates_host, settings=settings(dry_run=True))
    assert bad_rates(planned) == BAD
    result = await ran(same_rates_host, settings=settings(chunk_size=1))
    # on D1 there is no rate, and that of D0 counts
    assert await database.equity_list(same_rates_host) == EQUITIES
    assert bad_rates(result) == BAD
    line = f"issue bad_rate: 2 ({BAD[0][1]}, {BAD[1][1]})"
    assert line in issue_lines(result)
    assert line in issue_lines(planned)

    (kept,) = await batchcore.runs(same_rates_host, run_id=result.run_id)
    (issue,) = kept.symbol_issues
    # of no symbol: both pairs, and what the first says
    assert (issue.name, issue.symbol, issue.count) == ("bad_rate", None, 2)
    assert (issue.session, issue.detail) == BAD[0]
    words = ("status", "--run", result.run_id, "--database-url", same_rates_host)
    said = await asyncio.to_thread(called, words)
    assert f"noticed, symbols: bad_rate: {BAD[0][1]} and 1 more" in said.out
    night = await load_night(same_rates_host, run_id=result.run_id)
    (counted,) = (one for one in night.issues if one.name == "bad_rate")
    assert (counted.count, counted.portfolios, counted.failed, counted.symbols) == (2, 0, 0, 0)
    assert counted.example == f"{BAD[0][0].isoformat()}; {BAD[0][1]}"
    assert BAD[0][1] in night_page(night)


async def test_a_late_rate_is_a_late_correction(same_rates_host: str) -> None:
    await stood(same_rates_host, euros(2))
    await database.execute(same_rates_host, rate_set(D2, "1.20"))
    result = await late_rates(same_rates_host)
    assert result.rows_written == 4
    # U(D2) is 10 * (13 * 1.20 - 10 * 1.10) = 46, U(D0) was 11
    assert await database.equity_list(same_rates_host) == [1000, 1011, 1035, 1033]
    assert (await verified(same_rates_host)).differing == 0


async def test_a_late_rate_that_no_lot_needs_rewrites_nothing(same_rates_host: str) -> None:
    await stood(same_rates_host)
    late = [("EUR", "USD", D0 - 30, Decimal("1.5")), ("CHF", "USD", D1, Decimal("1.5"))]
    await foreign_host.add_rates(same_rates_host, late, LATE)
    result = await late_rates(same_rates_host)
    assert result.rows_written == 0


def one_lot(**columns: Any) -> Host:
    """Return `euros` with a position that differs from its own."""
    (portfolio,) = (host := euros()).portfolios
    position = replace(portfolio.positions[0], **columns)
    return replace(host, portfolios=(replace(portfolio, positions=(position,)),))


def sold(day: int, quantity: int, realized: int) -> tuple[ref.Event, ...]:
    return (ref.Event(day, Decimal(quantity), Decimal(realized)),)


# A position, what the rate of D2 makes of its equities, and the days that are computed again.
ENDS: dict[str, tuple[dict[str, Any], list[float], tuple[int, ...]]] = {
    # 5 are held until D3: U(D1) is 5 * (12 - 10) * 1.10 = 11, U(D2) 5 * (13 * 1.20 - 11) = 23
    "an event after the exit": (
        {"exit_day": D1, "exit_price": Decimal(12), "events": sold(D3, 5, 20)},
        [1000, 1016.5, 1028.5, 1025.5],
        (D2, D3),
    ),
    "an event on the day of the rate": (
        {"quantity": Decimal(0), "events": sold(D2, 10, 40)},
        [1000, 1011, 1029, 1029],
        (D2, D3),
    ),
    "closed by an event before": (
        {"quantity": Decimal(0), "events": sold(D1, 10, 40)},
        [1000, 1029, 1029, 1029],
        (),
    ),
    # 1000 shares at the mark of D1
    "an option that expired before": (
        {"position_type": "LC", "expiration_day": D1},
        [1000, 2100, 2100, 2100],
        (),
    ),
}


@pytest.mark.parametrize(("columns", "after", "rewritten"), ENDS.values(), ids=ENDS)
async def test_a_late_rate_counts_until_the_last_lot_of_a_position_ends(
    same_rates_host: str, columns: dict[str, Any], after: list[float], rewritten: tuple[int, ...]
) -> None:
    await stood(same_rates_host, one_lot(**columns))
    await database.execute(same_rates_host, rate_set(D2, "1.20", AFTER))
    found = await verified(same_rates_host)
    assert found.causes.keys() <= {"rate_changed"}
    async with database.connected(same_rates_host) as connection:
        before = await versions(connection)
        await late_rates(same_rates_host)
        assert await touched(connection, before) == {(P, day) for day in rewritten}
    assert await database.equity_list(same_rates_host) == after
    assert (await verified(same_rates_host)).differing == 0


async def late_rates(url: str, schema: Schema = OF_POSITIONS) -> batchcore.BatchResult:
    own = settings(schema, today=date_of(D3))
    return await batchcore.run_batch(url, changed_since=SINCE, analytics="none", settings=own)


async def test_verify_names_a_close_of_what_an_event_ends_after_the_exit(
    same_rates_host: str,
) -> None:
    columns, _, _ = ENDS["an event after the exit"]
    await stood(same_rates_host, one_lot(**columns))
    await database.execute(
        same_rates_host,
        "UPDATE market_data_cache SET close = close + 1, updated_at = '2100-01-01'"  # noqa: S608
        f" WHERE date = '{date_of(D2)}'",
    )
    found = await verified(same_rates_host)
    assert found.causes == {"price_changed": found.rows_differing}
    assert found.rows_differing > 0


UNREADABLE = {
    "ALTER TABLE fx_rates ALTER updated_at TYPE timestamp": (
        "is timestamp without time zone, expected timestamp with time zone"
    ),
    "ALTER TABLE fx_rates ALTER updated_at DROP DEFAULT, ALTER updated_at TYPE text": (
        "is text, expected timestamp with time zone"
    ),
}


@pytest.mark.parametrize(("change", "problem"), UNREADABLE.items(), ids=["timestamp", "text"])
async def test_a_time_stamp_of_rates_that_cannot_be_read_is_refused(
    host: str, change: str, problem: str
) -> None:
    await database.execute(host, *foreign_host.TABLE)
    await filled(host)
    await database.execute(host, change)
    await ran(host)  # reads none
    with pytest.raises(SchemaError) as error:
        await late_rates(host)
    assert error.value.problems == (f"public.fx_rates.updated_at: {problem}",)
    assert (await verified(host)).differing == 0


async def test_a_time_stamp_of_rates_without_a_grant_is_refused(same_rates_host: str) -> None:
    await stood(same_rates_host)
    async with role_of(same_rates_host) as (role, url):
        await database.execute(
            same_rates_host,
            f"REVOKE ALL ON fx_rates FROM {role}",
            f"GRANT SELECT (base, quote, date, rate) ON fx_rates TO {role}",
        )
        with pytest.raises(SchemaError) as error:
            await late_rates(url)
        assert error.value.problems == ("public.fx_rates.updated_at: the role may not SELECT it",)
        assert (await verified(url)).differing == 0


@pytest.mark.parametrize("left", [True, False], ids=["one before", "none"])
async def test_a_rate_that_was_deleted_makes_rows_differ_or_fails_the_portfolio(
    same_rates_host: str, *, left: bool
) -> None:
    rates = [*every_day(BEFORE[:-1], EURUSD="1.10"), ("EUR", "USD", D3, Decimal("1.20"))]
    await stood(same_rates_host, rates=rates)
    was = await database.equity_list(same_rates_host)
    own = settings(today=date_of(D3), fx_lookback_days=5 if left else 0, max_failed="100%")
    await database.execute(
        same_rates_host,
        f"DELETE FROM fx_rates WHERE date = '{date_of(D3)}'",  # noqa: S608  # our own
    )
    found = await verified(same_rates_host, settings=own)
    assert found.causes == ({"unknown": 1} if left else {})
    assert ("portfolio_fails" in found.not_checkable) is not left
    result = await batchcore.repair(same_rates_host, analytics="none", settings=own)
    assert ("fx_missing" in result.issues_by_name()) is not left
    # 10 * 14 * 1.10 in place of 1.20
    assert await database.equity_list(same_rates_host) == (
        [*was[:-1], was[-1] - 14] if left else was
    )


async def test_an_edited_currency_is_not_seen_and_repair_mends_it(same_rates_host: str) -> None:
    await stood(same_rates_host)
    await database.execute(
        same_rates_host, "UPDATE portfolios SET currency = 'EUR', updated_at = '2100-01-01'"
    )
    assert (await late_rates(same_rates_host)).rows_written == 0
    await batchcore.repair(same_rates_host, analytics="none", settings=settings(today=date_of(D3)))
    assert await database.equity_list(same_rates_host) == UNCONVERTED


async def some_rates(url: Db, generator: Generator, at: dt.datetime) -> None:
    """Write rates of some pairs on some days, as of a moment."""
    pairs = (("EUR", "USD"), ("USD", "GBP"), ("gbp", "EUR"), ("CHF", "USD"))
    days = range(D0 - 8, D0 + 14)
    rows = [
        (*pair, day, Decimal(generator.integer(50, 200)) / 100)
        for pair in pairs
        for day in (days if at == foreign_host.MOMENT else [generator.day(-8, 13)])
        if generator.chance(85 if at == foreign_host.MOMENT else 40)
    ]
    await foreign_host.add_rates(url, rows, at)


async def edit_rate(url: Db, generator: Generator, at: dt.datetime) -> None:
    await database.execute(
        url,
        f"UPDATE fx_rates SET rate = rate * 2, updated_at = '{at}'"  # noqa: S608  # our own
        f" WHERE date = '{date_of(generator.day(-8, 13))}'",
    )


@LOOP
@hypothesis.settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 10**6))
async def test_a_correction_after_late_rates_equals_a_full_recomputation(
    same_rates_host: str, pool_of: PoolOf, seed: int
) -> None:
    generator = Generator(seeded(f"late rates {seed}").randint, odd=0, edges=False)
    made = random_host(generator, portfolios=4)
    portfolios = tuple(
        in_currencies(
            portfolio,
            generator.one_of(("USD", "EUR", "GBP")),
            [generator.one_of(("USD", "EUR", "GBX", None)) for _ in portfolio.positions],
        )
        for portfolio in made.portfolios
    )
    own = settings(today=date_of(D0 + 20), max_failed="100%", fx_lookback_days=5)
    db = await pool_of(same_rates_host)
    await database.execute(db, EMPTY, "DELETE FROM fx_rates")
    await foreign_host.fill(db, Host(portfolios, made.prices), [])
    await some_rates(db, generator, foreign_host.MOMENT)
    await run_days(db, D0, D0 + 10, settings=own, analytics="none")
    for change in (some_rates, edit_rate):
        since = await database.fetchval(db, "SELECT now()")
        await change(db, generator, since)
        checked = await verified(db, settings=own)
        assert checked.causes.keys() <= {"rate_changed"}, checked.examples
        await batchcore.run_batch(db, changed_since=since, settings=own, analytics="none")
        await assert_as_recomputed(db, "XNYS", own.schema)


async def test_verify_sees_a_changed_rate_and_repair_mends_it(same_rates_host: str) -> None:
    await stood(same_rates_host)
    await database.execute(same_rates_host, rate_set(D3, "1.20", AFTER))
    found = await both(verified, same_rates_host)
    assert found.rows_differing == 1
    assert found.causes == {"rate_changed": 1}
    repaired = await batchcore.repair(
        same_rates_host, analytics="none", settings=settings(today=date_of(D3))
    )
    assert repaired.rows_written == 1
    # U(D3) is 10 * (14 * 1.20 - 10 * 1.10) = 58, U(D0) was 11
    assert await database.equity_list(same_rates_host) == [1000, 1011, 1022, 1047]
    assert (await verified(same_rates_host)).differing == 0


@pytest.mark.parametrize(
    ("late", "causes"),
    [
        # the rate of D1 makes D1 differ, and D2, whose P&L of the day goes on from it
        (("EUR", "USD", D1, "1.20"), {"rate_changed": 2}),
        # what was realized on D2 was bought at the rate of D0 - 1, for which that of D0 - 2 counted
        (("EUR", "USD", D0 - 1, "1.20"), {"rate_changed": 1}),
        # no pair that has a rate of its own goes by way of another
        (("EUR", "GBP", D1, "0.85"), {}),
    ],
    ids=["mark", "entry", "neither"],
)
async def test_verify_names_a_rate_that_came_late(
    same_rates_host: str, late: tuple[str, str, int, str], causes: dict[str, int]
) -> None:
    sold = {"entry_day": D0 - 1, "exit_day": D2, "exit_price": Decimal(13)}
    own = settings(fx_lookback_days=1)
    rates = every_day([D0 - 2, D0, D2, D3], EURUSD="1.10")
    await stood(same_rates_host, one_lot(**sold), rates, settings=own)
    base, quote, day, rate = late
    await foreign_host.add_rates(same_rates_host, [(base, quote, day, Decimal(rate))], AFTER)
    assert (await verified(same_rates_host, settings=own)).causes == causes


async def test_late_rates_without_time_stamps_are_not_seen(same_rates_host: str) -> None:
    await stood(same_rates_host, settings=settings(WITHOUT_STAMPS))
    await database.execute(same_rates_host, rate_set(D3, "1.20", AFTER))
    assert (await late_rates(same_rates_host, WITHOUT_STAMPS)).rows_written == 0
    found = await verified(same_rates_host, settings=settings(WITHOUT_STAMPS))
    assert found.causes == {"unknown": 1}


async def test_verify_names_a_late_rate_of_what_profiles_quote(same_rates_host: str) -> None:
    await filled_by_profiles(same_rates_host, ("AAA", "EUR"))
    await ran(same_rates_host, settings=settings(OF_PROFILES))
    await database.execute(same_rates_host, rate_set(D3, "1.20", AFTER))
    found = await verified(same_rates_host, settings=settings(OF_PROFILES))
    assert found.causes == {"rate_changed": 1}


async def test_explain_parts_price_and_currency(same_rates_host: str) -> None:
    rates = [*every_day(BEFORE[:-1], EURUSD="1.10"), ("EUR", "USD", D3, Decimal("1.20"))]
    await stood(same_rates_host, rates=rates)
    found = await batchcore.explain(same_rates_host, [P], date_of(D3), settings=settings())
    (row,) = found.rows
    assert found.explained
    # one EUR more at 1.10 for each of 10, and 0.10 USD more for each of 140 EUR
    assert (row.price_effect, row.currency_effect, row.contribution) == (11, 14, 25)
    assert (row.mark, row.rate_before, row.rate, row.currency) == (
        14,
        Decimal("1.1"),
        Decimal("1.2"),
        "EUR",
    )
    assert row.value == 168
    every = await batchcore.explain(same_rates_host, None, date_of(D3), settings=settings())
    (whole,) = every.rows
    assert (whole.price_effect, whole.currency_effect, whole.contribution) == (11, 14, 25)


async def test_explain_of_a_lot_whose_rate_is_gone_says_so(same_rates_host: str) -> None:
    await stood(same_rates_host)
    await database.execute(same_rates_host, "DELETE FROM fx_rates")
    found = await batchcore.explain(same_rates_host, [P], date_of(D3), settings=settings())
    (row,) = found.rows
    assert (found.explained, row.contribution, row.rate, row.value) == (False, None, None, None)
    counted = (await verified(same_rates_host)).not_checkable
    assert counted["portfolio_fails"] > 0


async def test_market_values_are_the_portfolios_and_prices_the_positions(
    same_rates_host: str,
) -> None:
    await stood(same_rates_host, analytics="full")
    (row,) = await database.fetch(
        same_rates_host, "SELECT last_price, market_value, unrealized_pnl FROM positions"
    )
    # 10 * 14 EUR at 1.10, less 110
    assert tuple(row) == (Decimal("14.0000"), Decimal("154.00"), Decimal("44.00"))
    (stored,) = await database.fetch(
        same_rates_host,
        "SELECT sector_exposure FROM portfolio_snapshots ORDER BY snapshot_date DESC LIMIT 1",
    )
    # 154 / 1033
    assert stored["sector_exposure"] == '{"Unknown":0.149080}'


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (
            Schema(fx=Fx("fx_rates", "positions.currency", {"rate": "mid"})),
            "public.fx_rates.mid: missing column",
        ),
        (
            Schema(fx=Fx("fx_rates", "positions.entry_date")),
            "public.positions.entry_date: is date, expected text, varchar or an enum",
        ),
    ],
)
async def test_what_is_mapped_and_is_not_there_is_named(
    same_rates_host: str, schema: Schema, problem: str
) -> None:
    await filled(same_rates_host)
    for work in (ran, verified):
        with pytest.raises(SchemaError) as error:
            await work(same_rates_host, settings=settings(schema))
        assert problem in error.value.problems
    # the policy `legacy` reads neither
    await ran(same_rates_host, policy="legacy", settings=settings(schema, today=date_of(D3)))


LOCKED = tuple(
    f"public.fx_rates.{column}: the role may not SELECT it"
    for column in ("base", "quote", "date", "rate")
)


async def test_a_role_that_may_not_read_rates_is_told_so_before_anything_is_written(
    same_rates_host: str, tmp_path: Path
) -> None:
    await filled(same_rates_host)
    path = tmp_path / "schema.toml"
    path.write_text("fx = { table = 'fx_rates', currency = 'positions.currency' }")
    async with role_of(same_rates_host) as (role, url):
        await database.execute(same_rates_host, f"REVOKE ALL ON fx_rates FROM {role}")
        for work in (ran, verified):
            with pytest.raises(SchemaError) as error:
                await work(url)
            assert error.value.problems == LOCKED
        asked = ("plan", "--database-url", url, "--schema", str(path), "--min-coverage", "0")
        said = await asyncio.to_thread(called, asked)
        assert said.error() == f"{LOCKED[0]} (and 3 more)"
        assert await database.snapshots(same_rates_host) == {}
        # the policy `legacy` does not read them
        await ran(url, policy="legacy", settings=settings(today=date_of(D3)))


async def test_legacy_reads_no_rates(same_rates_host: str) -> None:
    result = await stood(same_rates_host, policy="legacy")
    stored = await database.snapshots(same_rates_host)
    assert [row["long_value"] for _, row in sorted(stored.items())] == [110, 120, 130, 140]
    assert "rates" not in result.rows_by_load


async def test_chunks_of_any_size_give_the_same_rows(same_rates_host: str) -> None:
    generator = Generator.seeded(7)
    position = ref.Position("AAA", "LONG", Decimal(1), Decimal(10), D0 - 1)
    portfolios = []
    for number in range(6):
        sizes = [Decimal(generator.integer(1, 99)) for _ in range(3)]
        held = tuple(replace(position, quantity=size) for size in sizes)
        home = generator.one_of(("USD", "EUR", "GBP"))
        own = [generator.one_of(("USD", "EUR", "GBP", "CHF", None)) for _ in range(3)]
        portfolios.append(
            in_currencies(ref.Portfolio(f"p{number}", Decimal(1000), held), home, own)
        )
    host = replace(euros(), portfolios=tuple(portfolios))
    rates = every_day(BEFORE, EURUSD="1.10", USDGBP="0.77", USDCHF="0.9")
    await filled(same_rates_host, host, rates)
    outcomes = []
    for size in (None, 1, 4):
        await ran(same_rates_host, on_existing="replace", settings=settings(chunk_size=size))
        outcomes.append(database.without_stamps(await database.snapshots(same_rates_host)))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert len(outcomes[0]) == 24


@pytest.mark.parametrize("schema", [OF_POSITIONS, OF_PROFILES], ids=["positions", "profiles"])
async def test_generated_markets_have_foreign_lots(same_rates_host: str, schema: Schema) -> None:
    data = demo.seeded(demo.Size(20, 60, 3), seed=1)
    await data.write(same_rates_host, schema=schema)
    first, last = date_of(data.market.start), date_of(data.market.end)
    result = await batchcore.run_batch(same_rates_host, first, last, settings=settings(schema))
    assert result.rows_by_load["rates"] > 0
    assert "fx_missing" not in result.issues_by_name()
    found = await verified(same_rates_host, fast=False, sample=20, settings=settings(schema))
    assert (found.rows, found.differing) == (20, 0)
    night = await batchcore.explain(same_rates_host, session=last, settings=settings(schema))
    effects = [row.currency_effect for row in night.rows]
    assert night.explained
    assert any(effects)
    assert not all(effects)
