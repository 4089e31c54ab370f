"""Portfolios without snapshots: told where nothing asks for their history, valued from inception.

Each holds 10 AAA bought at 10 and opens at 1000; AAA closes at 11 on the first day, one more each
day, so a portfolio that begins with day n has 1000 + 10 * (its day - n).
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.errors import ConfigError, SnapshotExistsError
from batchcore.run.orchestrator import Run
from support import database
from support.database import Host, Standing, equity_by_day
from support.generate import MONDAY

pytestmark = pytest.mark.db

DAYS = tuple(range(MONDAY, MONDAY + 5))
D0, D1, D2, D3, D4 = DAYS
SATURDAY, NEXT_MONDAY = MONDAY - 2, MONDAY + 7
POLICIES = ["rollforward", "legacy"]


async def run(
    url: str, start: str | None = None, mode: str = "skip", **options: object
) -> batchcore.BatchResult:
    settings = options.pop("settings", Settings(today=date_of(D4), min_coverage=0.0))
    return await batchcore.run_batch(url, start, on_existing=mode, settings=settings, **options)


def host(entries: dict[str, tuple[int, ...]], **standing: tuple[int, ...]) -> Host:
    """Return portfolios with a position for each entry, and complete snapshots of 500."""
    plain = database.plain_host(1, DAYS)
    held = plain.portfolios[0].positions[0]
    portfolios = tuple(
        replace(
            plain.portfolios[0],
            id=name,
            positions=tuple(replace(held, entry_day=day) for day in days),
        )
        for name, days in entries.items()
    )
    rows = {
        name: tuple(Standing(day, Decimal(500)) for day in days) for name, days in standing.items()
    }
    return Host(portfolios, plain.prices, rows)


def told(result: batchcore.BatchResult) -> dict[str, tuple[str, str]]:
    """Return session and detail of each `no_history`, by portfolio."""
    return {
        issue["portfolio"]: (issue["session"], issue["detail"])
        for issue in result.to_dict()["issues"]
        if issue["name"] == "no_history"
    }


async def days_of(url: str, name: str) -> list[int]:
    own = database.key(name)
    return sorted(day for portfolio, day in await database.snapshots(url) if portfolio == own)


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_portfolio_without_history_is_told_with_its_earliest_entry(
    same_host: str, policy: str
) -> None:
    await database.fill(
        same_host,
        host(
            # bought on the session that is valued, or on a weekend before it: nothing is left out
            {"old": (D3, D1), "today": (D4,), "known": (D0,), "none": ()},
            known=(D3,),
        ),
    )

    result = await run(same_host, policy=policy)

    detail = f"earliest entry {date_of(D1)}; start with `inception` to value it from there"
    assert told(result) == {str(database.key("old")): (date_of(D4).isoformat(), detail)}
    assert await days_of(same_host, "old") == [D4]
    again = await run(same_host, policy=policy)
    assert told(again) == {}


async def test_an_entry_on_a_weekend_counts_from_the_session_after(same_host: str) -> None:
    monday = Settings(today=date_of(D0), min_coverage=0.0)
    await database.fill(same_host, host({"weekend": (SATURDAY,)}))
    assert told(await run(same_host, settings=monday)) == {}
    daily = await run(same_host, settings=replace(monday, dry_run=True), calendar="daily")
    assert daily.nothing_to_do  # the baseline of that day is there


async def test_a_plan_tells_it_too(same_host: str) -> None:
    await database.fill(same_host, host({"old": (D0,)}))
    settings = Settings(today=date_of(D4), dry_run=True)
    assert len(told(await run(same_host, settings=settings))) == 1
    assert await database.snapshots(same_host) == {}


async def test_a_run_that_asks_for_dates_tells_nothing(same_host: str) -> None:
    await database.fill(same_host, host({"old": (D0,)}))
    result = await batchcore.run_batch(same_host, date_of(D4), date_of(D4))
    assert told(result) == {}


@pytest.mark.parametrize("chunk_size", [1, 100])
async def test_inception_values_each_from_its_own_earliest_entry_on(
    same_host: str, chunk_size: int
) -> None:
    await database.fill(
        same_host,
        host(
            {
                "first": (D3, D0),
                "third": (D2,),
                "weekend": (SATURDAY,),
                "known": (D0,),
                "none": (),
                "future": (NEXT_MONDAY,),
            },
            known=(D2,),
        ),
    )

    settings = Settings(today=date_of(D4), min_coverage=0.0, chunk_size=chunk_size)
    result = await run(same_host, "inception", settings=settings)

    assert told(result) == {}
    assert (await equity_by_day(same_host, "third")) == {D2: 1000, D3: 1010, D4: 1020}
    assert await days_of(same_host, "first") == list(DAYS)
    assert await days_of(same_host, "weekend") == list(DAYS)
    # one with a snapshot goes on after it, one without any entry has its cash valued as ever
    assert (await equity_by_day(same_host, "known")) == {D2: 500, D3: 510, D4: 520}
    assert await days_of(same_host, "none") == [D4]
    assert await days_of(same_host, "future") == []
    assert (await run(same_host, "inception")).nothing_to_do


async def test_inception_is_the_run_over_a_range_that_begins_with_the_entry(
    same_host: str,
) -> None:
    alone = host({"one": (D1,)})
    await database.fill(same_host, alone)
    await run(same_host, "inception", analytics="every")
    by_inception = database.without_stamps(await database.snapshots(same_host))
    await database.execute(
        same_host, "TRUNCATE portfolio_snapshots; UPDATE portfolios SET equity_balance = 1000"
    )
    await batchcore.run_batch(
        same_host, date_of(D1), date_of(D4), analytics="every", settings=Settings(min_coverage=0.0)
    )
    assert by_inception == database.without_stamps(await database.snapshots(same_host))


async def test_replace_computes_chains_from_their_earliest_entry_on(same_host: str) -> None:
    await database.fill(same_host, host({"known": (D1,), "early": (D2,)}, known=(D3,), early=(D0,)))

    await run(same_host, "inception", "replace")

    # opens with 500, what the earliest snapshot stands for (S5); `early` goes on from its own
    assert await equity_by_day(same_host, "known") == {D1: 500, D2: 510, D3: 520, D4: 530}
    first, second = {D0: 500}, {D2: 530, D3: 540, D4: 550}
    assert await equity_by_day(same_host, "early") == first | second


@pytest.mark.parametrize("policy", POLICIES)
async def test_error_refuses_where_a_snapshot_is_complete(same_host: str, policy: str) -> None:
    await database.fill(same_host, host({"new": (D1,), "known": (D1,)}, known=(D3,)))
    with pytest.raises(SnapshotExistsError, match=str(database.key("known"))):
        await run(same_host, "inception", "error", policy=policy)
    assert await days_of(same_host, "new") == []
    await run(same_host, "inception", "error", policy=policy, portfolio_ids=[database.key("new")])
    assert await days_of(same_host, "new") == [D1, D2, D3, D4]


@pytest.mark.parametrize(("mode", "known"), [("skip", [D2, D3, D4]), ("replace", list(DAYS))])
async def test_legacy_begins_with_the_earliest_entry_too(
    same_host: str, mode: str, known: list[int]
) -> None:
    await database.fill(same_host, host({"new": (D3, D1), "known": (D0,)}, known=(D2,)))
    await run(same_host, "inception", mode, policy="legacy")
    assert await days_of(same_host, "new") == [D1, D2, D3, D4]
    assert await days_of(same_host, "known") == known


async def test_an_entry_before_the_calendar_begins_with_the_calendar(same_host: str) -> None:
    early = ref.Position("AAA", "LONG", Decimal(10), Decimal(10), -30_000)  # in 1887
    plain = database.plain_host(1, DAYS)
    await database.fill(
        same_host, replace(plain, portfolios=(replace(plain.portfolios[0], positions=(early,)),))
    )
    settings = Settings(today=date_of(D4), dry_run=True, min_coverage=0.0)
    result = await run(same_host, "inception", settings=settings)
    assert date_of(int(result.sessions[0])).isoformat() == "1990-01-02"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"missing": True}, "missing"),
        ({"changed_since": database.MOMENT}, "changed_since"),
    ],
)
async def test_what_inception_does_not_go_with_is_refused(
    options: dict[str, object], named: str
) -> None:
    with pytest.raises(ConfigError, match=f"does not go with {named}"):
        await run("postgresql://nowhere", "inception", **options)


async def test_a_repair_from_inception_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not go with repair"):
        await batchcore.repair("postgresql://nowhere", "inception")  # type: ignore[arg-type]


async def test_any_other_word_is_refused() -> None:
    with pytest.raises(ConfigError, match="`inception`") as caught:
        await run("postgresql://nowhere", "beginning")
    assert caught.value.option == "start"


async def test_a_run_from_inception_that_was_stopped_is_gone_on_with(
    same_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.fill(same_host, host({"one": (D0,), "two": (D1,), "three": (D2,)}))
    settings = Settings(today=date_of(D4), min_coverage=0.0, chunk_size=1, connections=2)
    write = Run._write  # noqa: SLF001  # what commits a chunk
    done = 0

    async def once(self: Run, *args: object) -> None:
        nonlocal done
        if done:
            raise RuntimeError
        done += 1
        await write(self, *args)

    monkeypatch.setattr(Run, "_write", once)
    with pytest.raises(RuntimeError):
        await run(same_host, "inception", settings=settings)
    monkeypatch.setattr(Run, "_write", write)
    result = await run(same_host, "inception", settings=settings)

    assert result.attempt == 2
    for name, first in (("one", D0), ("two", D1), ("three", D2)):
        assert await days_of(same_host, name) == list(range(first, D4 + 1))
