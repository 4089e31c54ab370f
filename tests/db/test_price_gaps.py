"""What a plan tells of prices that lack, against what the run then finds."""

from collections import defaultdict
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of, day_of
from batchcore.config import Settings
from batchcore.run import price_gaps
from batchcore.values import normalised
from support import database
from support.database import Host
from support.generate import MONDAY, Generator
from support.outcome import LOOSE, random_host, seeded
from support.runs import run_days

pytestmark = pytest.mark.db

D0, D1, D2, D3, D4 = range(MONDAY, MONDAY + 5)


async def plan(url: str, first: int, last: int, **settings) -> batchcore.BatchResult:
    return await run_days(url, first, last, settings=Settings(dry_run=True, **settings))


def told(result: batchcore.BatchResult, *names: str) -> list[tuple]:
    return [
        (issue["name"], issue["portfolio"], issue["symbol"], issue["session"], issue["detail"])
        for issue in result.to_dict()["issues"]
        if issue["name"] in names
    ]


def position(symbol: str, start: int, **columns) -> ref.Position:
    kind = columns.pop("position_type", "LONG")
    quantity = columns.pop("quantity", Decimal(10))
    return ref.Position(symbol, kind, quantity, Decimal(10), start, **columns)


@pytest.mark.parametrize("cells", [1, 1 << 20])
async def test_a_plan_names_symbols_sessions_and_portfolios(
    same_host: str, monkeypatch: pytest.MonkeyPatch, cells: int
) -> None:
    monkeypatch.setattr(price_gaps, "CELLS", cells)  # one position at a time, or all
    sold = ref.Event(D1, Decimal(4), Decimal(0))
    portfolios = (
        ref.Portfolio(
            "p0",
            Decimal(1000),
            (
                position("AAA", D0 - 30),
                position("GAP", D0 - 30),
                position("new", D2),
                position("PRV", D0 - 30, investment_class="private"),
            ),
        ),
        ref.Portfolio(
            "p1",
            Decimal(1000),
            (position("AAA", D0 - 30), position("NEW", D0), position("NEW", D2)),
        ),
        # held until D1 only: by an event, an exit, an expiry
        ref.Portfolio(
            "p2",
            Decimal(1000),
            (
                position("GAP", D0 - 30, quantity=Decimal(0), events=(sold,)),
                position("GAP", D0 - 30, exit_day=D1, exit_price=Decimal(1)),
                position("GAP", D0 - 30, position_type="LC", expiration_day=D1),
                position("AAA", D0 - 30),
            ),
        ),
    )
    prices = (
        *(("AAA", day, Decimal(11)) for day in (D0, D1, D2, D3, D4)),
        ("GAP", D0, Decimal(9)),  # two days old on D2, three and four on D3 and D4
        (" gap", D4, Decimal(9)),
        ("NEW", D1, Decimal(8)),  # before the lot of p0, which begins on D2
    )
    await database.fill(same_host, Host(portfolios, prices))

    result = await plan(same_host, D0, D4, lookback_days=2)

    ids = {name: str(database.key(name)) for name in ("p0", "p1", "p2")}
    by_portfolio = [row for row in told(result, "lacks_prices") if row[1] is not None]
    assert told(result, "stale") == [
        ("stale", None, "GAP", "2026-01-08", "1 session until 2026-01-08"),
        ("stale", None, "NEW", "2026-01-09", "1 session until 2026-01-09"),
    ]
    # NEW of p0 from D2 on; that of p1 on D0, when there is no close yet
    assert told(result, "unpriced") == [
        ("unpriced", None, "NEW", "2026-01-05", "4 sessions until 2026-01-09")
    ]
    assert [row for row in told(result, "lacks_prices") if row[1] is None] == [
        ("lacks_prices", None, None, "2026-01-05", "1 symbol: NEW"),
        ("lacks_prices", None, None, "2026-01-07", "1 symbol: NEW"),
        ("lacks_prices", None, None, "2026-01-08", "2 symbols: GAP, NEW"),
        ("lacks_prices", None, None, "2026-01-09", "1 symbol: NEW"),
    ]
    assert sorted(by_portfolio, key=lambda row: row[1]) == sorted(
        [
            ("lacks_prices", ids["p0"], None, "2026-01-07", "2 symbols: GAP, NEW"),
            ("lacks_prices", ids["p1"], None, "2026-01-05", "1 symbol: NEW"),
        ],
        key=lambda row: row[1],
    )
    # PRV has no closes and needs none; coverage is of GAP, AAA and NEW
    assert result.coverage.fresh.tolist() == [2, 2, 1, 1, 2]
    assert result.coverage.recent.tolist() == [2, 3, 3, 2, 2]
    assert await database.snapshots(same_host) == {}


async def test_a_symbol_without_any_close_is_told_as_such(same_host: str) -> None:
    many = tuple(position(f"T{number}", D0) for number in range(7))
    await database.fill(same_host, Host((ref.Portfolio("p0", Decimal(1), many),)))

    result = await plan(same_host, D0, D1)

    assert len(told(result, "unpriced")) == 7
    assert told(result, "unpriced")[0] == (
        "unpriced",
        None,
        "T0",
        "2026-01-05",
        "2 sessions until 2026-01-06, no close at all",
    )
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
async def test_a_plan_tells_what_the_run_then_finds(
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
async def test_a_plan_tells_nothing_of_positions_that_the_run_leaves_out(
    same_loose_host: str, seed: int
) -> None:
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
