"""S13 and S8 worked by hand: what becomes of rows that stand, and of the equity of a portfolio."""

from decimal import Decimal

import pytest

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.errors import ConfigError, SnapshotExistsError
from support import database
from support.database import Host, Standing, equity_by_day
from support.generate import MONDAY, Generator
from support.outcome import random_host, seeded

pytestmark = pytest.mark.db

D0, D1, D2, D3, D4 = range(MONDAY, MONDAY + 5)
DAYS = (D0, D1, D2, D3, D4)
P = database.key("p0")


def host(*standing: Standing, flows: tuple[ref.Flow, ...] = ()) -> Host:
    """Return 10 AAA that close at 11, 12, 13, 14, 15: U is 10, 20, 30, 40, 50."""
    plain = database.plain_host(1, DAYS)
    portfolio = ref.Portfolio("p0", Decimal(1000), plain.portfolios[0].positions, flows)
    return Host((portfolio,), plain.prices, {"p0": standing})


async def run(url: str, first: int, last: int, mode: str = "skip") -> batchcore.BatchResult:
    return await batchcore.run_batch(
        url, date_of(first), date_of(last), calendar="daily", on_existing=mode
    )


async def test_replace_goes_on_to_the_latest_complete_snapshot(same_host: str) -> None:
    await database.fill(
        same_host,
        host(Standing(D0, Decimal(500)), Standing(D2, Decimal(1)), Standing(D3, Decimal(2))),
    )
    before = await database.snapshots(same_host)

    result = await run(same_host, D1, D1, "replace")

    # s is D0 with 500: U(D0) = 10, U(D1) = 20 and so on, 10 more each day.
    assert await equity_by_day(same_host) == {D0: 500, D1: 510, D2: 520, D3: 530}
    assert await database.equities(same_host) == {P: 530}
    assert result.rows_written == 3
    after = await database.snapshots(same_host)
    assert after[P, D0] == before[P, D0]
    for day in (D2, D3):
        for column in ("id", "created_at", *database.OWN_COLUMNS):
            assert after[P, day][column] == before[P, day][column]
        assert after[P, day]["num_positions"] == 1
    assert all(after[P, D1][column] is None for column in database.OWN_COLUMNS)


async def test_writing_before_later_rows_leaves_the_equity_of_the_latest(same_host: str) -> None:
    await database.fill(
        same_host,
        host(
            Standing(D3, Decimal(777), daily_pnl=Decimal(7)),
            Standing(D4, Decimal("888.88")),
            Standing(D4 + 1, Decimal(999), is_complete=False),
        ),
    )

    await run(same_host, D0, D1, "error")

    # Opening: 777 - 7, without flows; the rows of D3 and D4 are not touched.
    assert await equity_by_day(same_host) == {
        D0: 770,
        D1: 780,
        D3: 777,
        D4: Decimal("888.88"),
        D4 + 1: 999,
    }
    assert await database.equities(same_host) == {P: Decimal("888.88")}


async def test_a_value_out_of_range_leaves_rows_from_there_on_as_they_are(same_host: str) -> None:
    most = Decimal("99999999999999.99")
    flows = (ref.Flow(D2, most, "CONTRIBUTION"),)
    standing = tuple(Standing(day, Decimal(day - D0)) for day in (D0, D1, D2, D3))
    await database.fill(same_host, host(*standing, flows=flows))
    before = await database.snapshots(same_host)

    result = await run(same_host, D1, D2, "replace")

    # D1: 0 + 10. D2: 10 + 10 + the flow is 100000000000019.99, one digit too many.
    after = await database.snapshots(same_host)
    assert await equity_by_day(same_host) == {D0: 0, D1: 10, D2: 2, D3: 3}
    assert {at: after[at] for at in ((P, D2), (P, D3))} == {
        at: before[at] for at in ((P, D2), (P, D3))
    }
    assert await database.equities(same_host) == {P: 3}  # of the latest that is complete
    assert not result["success"]
    assert result.errors() == [
        f"{P}: out_of_range equity_balance = 100000000000019.99 on {date_of(D2)}"
    ]


async def test_a_complete_snapshot_in_the_range_stops_error_before_it_writes(
    same_host: str,
) -> None:
    plain = host(Standing(D2, Decimal(5)), Standing(D1, Decimal(5), is_complete=False))
    other = ref.Portfolio("p1", Decimal(1))
    await database.fill(same_host, Host((*plain.portfolios, other), plain.prices, plain.standing))
    before = await database.snapshots(same_host)

    with pytest.raises(SnapshotExistsError) as caught:
        await run(same_host, D0, D4, "error")

    assert (caught.value.portfolio, caught.value.session) == (str(P), date_of(D2).isoformat())
    assert await database.snapshots(same_host) == before

    result = await run(same_host, D0, D1, "error")  # an incomplete row is as if not there
    assert result.rows_written == 4


async def test_skip_goes_on_after_the_latest_and_names_the_hole(same_host: str) -> None:
    await database.fill(
        same_host, host(Standing(D0, Decimal(100)), Standing(D2, Decimal(300), is_complete=True))
    )

    result = await run(same_host, D0, D4)

    assert await equity_by_day(same_host) == {D0: 100, D2: 300, D3: 310, D4: 320}
    assert result.issues_by_name() == {"gap": 1}
    (issue,) = result.to_dict()["issues"]
    assert (issue["session"], issue["detail"]) == (date_of(D1).isoformat(), "1 sessions")


@pytest.mark.parametrize("mode", ["skip", "replace", "error"])
async def test_without_dates_each_goes_on_after_its_latest(same_host: str, mode: str) -> None:
    plain = database.plain_host(3, DAYS)
    await database.fill(
        same_host,
        Host(
            plain.portfolios,
            plain.prices,
            {
                "p0": (Standing(D0, Decimal(100)), Standing(D1, Decimal(110))),
                "p1": (Standing(D4, Decimal(500)),),
            },
        ),
    )

    result = await batchcore.run_batch(
        same_host, calendar="daily", on_existing=mode, settings=Settings(today=date_of(D3))
    )

    written = {
        at: row["equity_balance"]
        for at, row in (await database.snapshots(same_host)).items()
        if row["created_at"] != database.MOMENT
    }
    assert written == {
        (P, D2): 120,
        (P, D3): 130,
        (database.key("p2"), D3): 1000,  # no snapshot: the last session only, its baseline
    }
    assert result.rows_written == 3
    assert await database.equities(same_host) == {
        P: 130,
        database.key("p1"): 1000,  # as it was: nothing was written
        database.key("p2"): 1000,
    }


async def test_without_dates_the_last_closed_session_is_the_end(same_host: str) -> None:
    saturday = D4 + 1
    await database.fill(same_host, database.plain_host(1, DAYS))

    result = await batchcore.run_batch(same_host, settings=Settings(today=date_of(saturday)))

    assert set(await database.snapshots(same_host)) == {(P, D4)}
    assert result.sessions.tolist() == [D4]


async def test_an_end_that_is_no_session_stands_for_the_one_before(same_host: str) -> None:
    await database.fill(same_host, database.plain_host(1, DAYS))

    await batchcore.run_batch(same_host, end_date=date_of(D4 + 2))

    assert set(await database.snapshots(same_host)) == {(P, D4)}


async def test_a_start_after_the_last_closed_session_is_refused(same_host: str) -> None:
    await database.fill(same_host, database.plain_host(1, DAYS))
    with pytest.raises(ConfigError, match="is after the last session closed"):
        await batchcore.run_batch(same_host, date_of(D4), settings=Settings(today=date_of(D2)))


async def test_a_range_without_a_session_writes_nothing(same_host: str) -> None:
    await database.fill(same_host, host(Standing(D0, Decimal(9))))
    saturday = date_of(D4 + 1)
    for mode in ("skip", "replace", "error"):
        result = await batchcore.run_batch(same_host, saturday, date_of(D4 + 2), on_existing=mode)
        assert result.nothing_to_do
        assert result.sessions_left_out.tolist() == [D4 + 1, D4 + 2]
    assert set(await database.snapshots(same_host)) == {(P, D0)}


@pytest.mark.parametrize("seed", range(3))
async def test_replace_from_any_session_on_leaves_no_trace(same_host: str, seed: int) -> None:
    generator = Generator(seeded(f"replace {seed}").randint, odd=0, edges=False)
    made = random_host(generator, portfolios=5)
    await database.fill(same_host, Host(made.portfolios, made.prices))
    settings = Settings(min_coverage=0.0, today=date_of(MONDAY + 10))

    async def replaced(first: int) -> batchcore.BatchResult:
        return await batchcore.run_batch(
            same_host,
            date_of(first),
            on_existing="replace",
            analytics="none",
            settings=settings,
        )

    await replaced(MONDAY)
    undisturbed = await database.snapshots(same_host)
    equities = await database.equities(same_host)
    assert len(undisturbed) == 5 * 9

    # the weekend before the baseline, the baseline, sessions between, the last one
    for first, sessions in ((MONDAY - 2, 9), (MONDAY, 9), (D3, 6), (D4 + 1, 4), (MONDAY + 10, 1)):
        result = await replaced(first)
        assert result.rows_written == 5 * sessions
        assert await database.snapshots(same_host) == undisturbed
        assert await database.equities(same_host) == equities


async def test_replace_from_before_the_baseline_opens_so_that_equities_stand(
    same_host: str,
) -> None:
    plain = host(flows=(ref.Flow(D1, Decimal(7), "CONTRIBUTION"),))
    bought = ref.Position("AAA", "LONG", Decimal(10), Decimal(14), D3)
    portfolio = ref.Portfolio("p0", Decimal(1000), (bought,), plain.portfolios[0].flows)
    await database.fill(same_host, Host((portfolio,), plain.prices))
    await run(same_host, D2, D4)
    # bought at the close of D3; the next is 1 higher
    undisturbed = {D2: 1000, D3: 1000, D4: 1010}
    assert await equity_by_day(same_host) == undisturbed

    await run(same_host, D0, D0, "replace")

    # opening: 1000 less the flow of D1, which the first row knew nothing of
    assert await equity_by_day(same_host) == {D0: 993, D1: 1000, **undisturbed}
