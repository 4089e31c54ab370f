"""What runs, plans and pages tell of odd closes (C1, C2), and plans of those that lack."""

from collections import defaultdict
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

import batchcore
from batchcore import calendar
from batchcore import reference as ref
from batchcore.calendar import date_of, day_of
from batchcore.config import CHECKS, Settings
from batchcore.errors import TooManyFailedError
from batchcore.pages.night import load_night
from batchcore.pages.render import night_page
from batchcore.run import price_gaps
from batchcore.run.batch import run_up_to_now
from batchcore.run.request import requested
from batchcore.values import normalised
from support import database
from support.command import batchcore as command
from support.database import Host
from support.generate import MONDAY, Generator
from support.outcome import LOOSE, random_host, seeded
from support.runs import run_days, told

D0, D1, D2, D3, D4 = range(MONDAY, MONDAY + 5)
BEFORE = calendar.load("XNYS").last_sessions(MONDAY - 1, 9).tolist()

OPTIONS = ("policy", "calendar", "on_existing")
Told = list[tuple[str, str | None, str | None, str, str]]


def position(symbol: str, start: int = D0 - 30, **columns: Any) -> ref.Position:
    columns = {"position_type": "LONG", "quantity": Decimal(10), **columns}
    return ref.Position(symbol, entry_price=Decimal(10), entry_day=start, **columns)


def closes(symbol: str, by_day: dict[int, str]) -> list[tuple[str, int, Decimal]]:
    return [(symbol, day, Decimal(close)) for day, close in by_day.items()]


PORTFOLIOS = {
    "p0": (position("AAA"),),
    "p1": (position("AAA", D2),),
    "p2": (position("BBB"), position("bbb")),
    "p3": (position("AAA"), position("BBB")),
}
HOST = Host(
    tuple(ref.Portfolio(name, Decimal(1000), held) for name, held in PORTFOLIOS.items()),
    (
        *closes("AAA", dict.fromkeys((*BEFORE[-2:], D0, D1), "100") | {D2: "50", D3: "50.5"}),
        *closes("BBB", {BEFORE[-1]: "7", D0: "7.1", D1: "7.2", D3: "7.3"}),
    ),
)
NAMES = {str(database.key(name)): name for name in PORTFOLIOS}
SPLIT = (
    *("split_suspected", None, "AAA", "2026-01-07"),
    "100 to 50, near 2 for 1; held by 2 portfolios",
)
LOW = [
    ("price_low", "p2", None, "2026-01-07", "1 of 1 symbol"),
    ("price_low", "p3", None, "2026-01-07", "1 of 2 symbols"),
]


def findings(result: batchcore.BatchResult) -> Told:
    """Return what the checks have found, by portfolios' names."""
    found = told(result, *CHECKS)
    return sorted(((name, NAMES.get(own, own), *more) for name, own, *more in found), key=str)


async def run(url: str, first: int = D0, last: int = D3, **settings: Any) -> batchcore.BatchResult:
    options = {one: settings.pop(one) for one in OPTIONS if one in settings}
    own = Settings(min_coverage=0.0, connections=2, **settings)
    return await run_days(url, first, last, settings=own, analytics="none", **options)


@pytest.mark.parametrize("chunk_size", [1, 100])
async def test_a_run_and_its_plan_tell_the_findings_and_change_nothing(
    same_filled: str, chunk_size: int
) -> None:
    off = await run(same_filled, checks=dict.fromkeys(CHECKS, "off"))
    assert findings(off) == []
    stored = database.without_stamps(await database.snapshots(same_filled))

    planned = await run(same_filled, dry_run=True, on_existing="replace")
    done = await run(same_filled, chunk_size=chunk_size, on_existing="replace")

    assert findings(done) == [*LOW, SPLIT]
    assert findings(planned) == findings(done)
    assert (done.failed, done["success"], done.state) == (0, True, "complete")
    assert database.without_stamps(await database.snapshots(same_filled)) == stored


async def test_a_check_fails_the_portfolios_that_hold_the_symbol_from_that_session_on(
    same_filled: str,
) -> None:
    done = await run(same_filled, checks={"split_suspected": "fail"}, max_failed="50%")

    figures = "100 to 50, near 2 for 1"
    own = [("split_suspected", name, "AAA", "2026-01-07", figures) for name in ("p0", "p3")]
    assert findings(done) == sorted([*LOW, *own, SPLIT], key=str)
    written = {name: [] for name in PORTFOLIOS}
    for portfolio, day in await database.snapshots(same_filled):
        written[NAMES[str(portfolio)]].append(day)
    both, every = [D0, D1], [D0, D1, D2, D3]
    assert written == {"p0": both, "p1": every, "p2": every, "p3": both}
    assert (done.failed, done["success"], done.state) == (2, False, "incomplete")
    ids = {name: own for own, name in NAMES.items()}
    assert sorted(done["errors"]) == sorted(
        f"{ids[name]}: split_suspected {figures} on 2026-01-07" for name in ("p0", "p3")
    )


@pytest.mark.parametrize("chunk_size", [1, 100])
async def test_failures_of_checks_count_towards_the_limit(
    same_filled: str, chunk_size: int
) -> None:
    told = "2 of 4 portfolios failed; .* the commonest reason is split_suspected: 2$"
    with pytest.raises(TooManyFailedError, match=told):
        await run(
            same_filled,
            checks={"split_suspected": "fail"},
            max_failed=1,
            chunk_size=chunk_size,
        )


async def test_of_several_reasons_the_commonest_is_named(same_filled: str) -> None:
    checks = {"split_suspected": "fail", "price_low": "fail"}
    # p0 by the one, p2 by the other, p3 by both on one session, the first by name
    with pytest.raises(TooManyFailedError, match=r"3 of 4 .* reason is price_low: 2$"):
        await run(same_filled, checks=checks, max_failed=1)
    assert await database.snapshots(same_filled) == {}


def test_the_command_tells_what_fails_and_exits_with_1(same_filled: str) -> None:
    range_ = ("--start", "2026-01-05", "--end", "2026-01-08", "--min-coverage", "0")
    words = ("--database-url", same_filled, *range_, "--max-failed", "50%")

    plan = command("plan", *words)
    assert plan.code == 0
    assert "findings of price checks: 3\n" in plan.out
    assert "  split_suspected AAA on 2026-01-07: 100 to 50, near 2 for 1; held by 2" in plan.out

    said = command("run", *words, "--check", "price_low=fail", "--check", "split_suspected=off")
    assert said.code == 1
    assert "price_low 1 of 1 symbol on 2026-01-07" in said.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("price_jump", "checks: `price_jump` has no value, expected NAME=ACTION"),
        ("jump=fail", f"checks: unknown check `jump`, expected one of {', '.join(CHECKS)}"),
        ("price_jump=no", "checks: `price_jump` is 'no', expected one of off, report, fail"),
    ],
)
def test_a_wrong_check_is_told_with_what_is_right(given: str, message: str) -> None:
    said = command("run", "--database-url", "postgresql://nobody@127.0.0.1:1/x", "--check", given)
    assert said.code == 3
    assert message in said.err


async def test_enough_closes_before_a_run_are_loaded_for_its_first_session(same_host: str) -> None:
    frozen = closes("AAA", dict.fromkeys((*BEFORE, D0), "9.50"))
    await database.fill(same_host, Host(HOST.portfolios[:1], tuple(frozen)))
    expected = [("price_frozen", None, "AAA", "2026-01-05", "9.5 on 10 sessions until 2026-01-05")]

    done = await run(same_host, last=D0, lookback_days=0)

    assert [(*one[:4], one[4].partition(";")[0]) for one in findings(done)] == expected
    (night,) = await database.fetch(same_host, "SELECT * FROM batchcore_run_symbol_issues")
    assert (night["name"], night["symbol"], night["count"]) == ("price_frozen", "AAA", 1)


async def test_closes_after_the_last_session_closed_are_told_where_a_run_reaches_it(
    same_host: str,
) -> None:
    ahead = (*HOST.prices, *closes("BBB", {D4: "7.4", MONDAY + 40_000: "8"}))
    await database.fill(same_host, replace(HOST, prices=ahead))
    checks = dict.fromkeys(CHECKS, "off") | {"price_ahead": "report"}

    earlier = await run(same_host, last=D1, checks=checks, today=date_of(D3))
    planned = await run(same_host, D2, D3, checks=checks, today=date_of(D3), dry_run=True)
    done = await run(same_host, D2, D3, checks=checks, today=date_of(D3))

    assert findings(earlier) == []
    assert findings(planned) == findings(done)
    assert findings(done) == [
        (
            *("price_ahead", None, "BBB", "2026-01-08"),
            "7.4 on 2026-01-09, after 2026-01-08, the first of 2 dates; held by 2 portfolios",
        )
    ]


async def test_under_daily_the_dates_with_closes_are_neighbours(same_host: str) -> None:
    week = [*range(D0, D0 + 5), D0 + 7]
    prices = closes("AAA", dict.fromkeys(week, "100") | {D0 + 7: "50"})
    await database.fill(same_host, Host(HOST.portfolios[:1], tuple(prices)))

    done = await run(same_host, D1, D0 + 7, calendar="daily")

    assert findings(done) == [
        (
            *("split_suspected", None, "AAA", "2026-01-12"),
            "100 to 50, near 2 for 1; held by 1 portfolio",
        )
    ]


async def test_repair_and_legacy_check_nothing(same_filled: str) -> None:
    fails = dict.fromkeys(CHECKS, "fail")
    await run(same_filled)

    settings = Settings(checks=fails, connections=2, min_coverage=0.0)
    repaired = await batchcore.repair(same_filled, settings=settings, analytics="none")

    assert (repaired.failed, findings(repaired), repaired.rows_written) == (0, [], 0)
    await database.execute(same_filled, "DELETE FROM portfolio_snapshots")
    legacy = await run(same_filled, checks=fails, policy="legacy")
    assert not {*CHECKS} & set(legacy.issues_by_name())


async def test_closes_that_are_handed_in_are_checked(same_filled: str) -> None:
    prices = batchcore.PriceCache()
    for day in (BEFORE[-1], D0, D1, D2, D3):
        await prices.load_single_date(same_filled, ["AAA", "BBB"], date_of(day))
    request = await requested(
        date_of(D0), date_of(D3), None, analytics="none", settings=Settings(min_coverage=0.0)
    )
    result = await run_up_to_now(same_filled, replace(request, price_source=prices))
    assert findings(result) == [*LOW, SPLIT]


@pytest.mark.usefixtures("painted")
async def test_the_page_of_a_night_lists_findings(same_filled: str) -> None:
    await run(same_filled)

    night = await load_night(same_filled)

    (found,) = night.findings or ()
    assert (found.name, found.symbol, found.count) == ("split_suspected", "AAA", 1)
    assert (found.session, found.detail) == (date_of(D2), SPLIT[-1])
    text = night_page(night)
    assert "Checks of prices" in text
    assert SPLIT[-1] in text

    await run(same_filled, D4, D4, checks=dict.fromkeys(CHECKS, "off"))
    unchecked = await load_night(same_filled)
    assert unchecked.findings is None
    assert "Checks of prices" not in night_page(unchecked)


@pytest.mark.parametrize("seed", range(4))
async def test_a_plan_tells_what_the_run_then_finds(same_host: str, seed: int) -> None:
    host = random_host(Generator(seeded(f"checks {seed}").randint, odd=0, edges=False))
    await database.fill(same_host, host)
    options = {"frozen_sessions": 2, "max_missing": seed / 10, "lookback_days": seed % 4}

    planned = await run(same_host, MONDAY, MONDAY + 15, dry_run=True, **options)
    done = await run(same_host, MONDAY, MONDAY + 15, **options)

    assert done.failed == 0
    assert len(findings(done)) > 0
    assert findings(planned) == findings(done)


async def plan(url: str, first: int, last: int, **settings) -> batchcore.BatchResult:
    return await run_days(url, first, last, settings=Settings(dry_run=True, **settings))


@pytest.mark.parametrize("cells", [1, 1 << 20])
async def test_a_plan_names_symbols_sessions_and_portfolios(
    same_host: str, monkeypatch: pytest.MonkeyPatch, cells: int
) -> None:
    monkeypatch.setattr(price_gaps, "CELLS", cells)  # one position at a time, or all
    sold = ref.Event(D1, Decimal(4), Decimal(0))
    private = position("PRV", investment_class="private")
    held = {
        "p0": (position("AAA"), position("GAP"), position("new", D2), private),
        "p1": (position("AAA"), position("NEW", D0), position("NEW", D2)),
        "p2": (
            # held until D1 only: by an event, an exit, an expiry
            position("GAP", quantity=Decimal(0), events=(sold,)),
            position("GAP", exit_day=D1, exit_price=Decimal(1)),
            position("GAP", position_type="LC", expiration_day=D1),
            position("AAA"),
        ),
    }
    portfolios = tuple(ref.Portfolio(name, Decimal(1000), own) for name, own in held.items())
    prices = (
        *(("AAA", day, Decimal(11)) for day in (D0, D1, D2, D3, D4)),
        ("GAP", D0, Decimal(9)),  # two days old on D2, three and four on D3 and D4
        (" gap", D4, Decimal(9)),
        ("NEW", D1, Decimal(8)),  # before the lot of p0, which begins on D2
    )
    await database.fill(same_host, Host(portfolios, prices))

    result = await plan(same_host, D0, D4, lookback_days=2)

    assert told(result, "stale") == [
        ("stale", None, "GAP", "2026-01-08", "1 session until 2026-01-08"),
        ("stale", None, "NEW", "2026-01-09", "1 session until 2026-01-09"),
    ]
    # NEW of p0 from D2 on; that of p1 on D0, when there is no close yet
    assert told(result, "unpriced") == [
        ("unpriced", None, "NEW", "2026-01-05", "4 sessions until 2026-01-09")
    ]
    lacking = [(NAMES.get(row[1]), *row[2:]) for row in told(result, "lacks_prices")]
    assert sorted(lacking, key=str) == [
        ("p0", None, "2026-01-07", "2 symbols: GAP, NEW"),
        ("p1", None, "2026-01-05", "1 symbol: NEW"),
        (None, None, "2026-01-05", "1 symbol: NEW"),
        (None, None, "2026-01-07", "1 symbol: NEW"),
        (None, None, "2026-01-08", "2 symbols: GAP, NEW"),
        (None, None, "2026-01-09", "1 symbol: NEW"),
    ]
    # PRV has no closes and needs none; coverage is of GAP, AAA and NEW
    assert result.coverage.fresh.tolist() == [2, 2, 1, 1, 2]
    assert result.coverage.recent.tolist() == [2, 3, 3, 2, 2]
    assert await database.snapshots(same_host) == {}


async def test_a_symbol_without_any_close_is_told_as_such(same_host: str) -> None:
    many = tuple(position(f"T{number}", D0) for number in range(7))
    await database.fill(same_host, Host((ref.Portfolio("p0", Decimal(1), many),)))

    result = await plan(same_host, D0, D1)

    detail = "2 sessions until 2026-01-06, no close at all"
    assert told(result, "unpriced") == [
        ("unpriced", None, f"T{number}", "2026-01-05", detail) for number in range(7)
    ]
    assert {row[4] for row in told(result, "lacks_prices")} == {
        "7 symbols: T0, T1, T2, T3, T4 and 2 more"
    }


def by_symbol(result: batchcore.BatchResult) -> dict[tuple[str, str], tuple[str, str]]:
    """Return first and last session of what is stale or unpriced."""
    found = defaultdict(list)
    for name, _, symbol, first, detail in told(result, "stale", "unpriced"):
        last = detail.partition(" until ")[2].partition(",")[0]
        found[name, normalised(symbol)] += [first, last]
    return {key: (min(days), max(days)) for key, days in found.items()}


@pytest.mark.parametrize("seed", range(8))
async def test_a_plan_tells_the_gaps_that_the_run_then_finds(
    same_host: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    if seed % 2:
        monkeypatch.setattr(price_gaps, "CELLS", 30)  # two or three positions at a time
    generator = Generator(seeded(f"completeness {seed}").randint, odd=0, edges=False)
    host = random_host(generator)

    done = await check_plan(same_host, host, lookback_days=seed % 4)

    assert done.failed == 0


# runs in which portfolios fail have found less than there is
@pytest.mark.parametrize("seed", [5, 9, 10, 11, 14, 18])
async def test_a_plan_tells_nothing_of_positions_left_out(same_loose_host: str, seed: int) -> None:
    generator = Generator(seeded(f"completeness {seed}").randint, odd=4, edges=False)
    host = random_host(generator, odd=True)

    done = await check_plan(same_loose_host, host, lookback_days=seed % 4, schema=LOOSE)

    assert done.failed == 0
    assert {"non_finite", "not_representable"} & set(done.issues_by_name())


@pytest.mark.parametrize("seed", range(8))
async def test_a_plan_on_doubles_tells_what_the_run_finds(same_double_host: str, seed: int) -> None:
    # every other close is so small that it may be rounded to 0, which is no valid close
    host = random_host(Generator(seeded(f"double plan {seed}").randint, odd=0, edges=False))
    prices = tuple(
        (symbol, day, close and (close if number % 2 else Decimal(number % 8).scaleb(-5)))
        for number, (symbol, day, close) in enumerate(host.prices)
    )
    host = Host(host.portfolios, prices, host.standing)

    await check_plan(same_double_host, host, lookback_days=seed % 4, schema=LOOSE)


async def check_plan(url: str, host: Host, **settings: Any) -> batchcore.BatchResult:
    """Plan and run; return the run, which finds what the plan has told."""
    await database.fill(url, host)

    planned = await plan(url, MONDAY, MONDAY + 15, min_coverage=0.0, **settings)
    done = await run_days(url, MONDAY, MONDAY + 15, settings=Settings(min_coverage=0.0, **settings))

    assert by_symbol(planned) == by_symbol(done)
    lacking = {row[1] for row in told(planned, "lacks_prices") if row[1] is not None}
    worst = dict(zip(map(bytes, done.portfolios.id), done.portfolios.status, strict=True))
    names = [database.key(one.id) for one in host.portfolios]
    assert lacking == {str(name) for name in names if worst[name.bytes] in {2, 3}}
    sessions = {row[3] for row in told(planned, "lacks_prices") if row[1] is None}
    assert sessions <= {date_of(day).isoformat() for day in done.sessions.tolist()}
    assert all(day_of(date.fromisoformat(session)) >= MONDAY for session in sessions)
    return done
