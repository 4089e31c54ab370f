"""Portfolios without snapshots: told where nothing asks for their history, valued from inception.

Each holds 10 AAA bought at 10 and opens at 1000; AAA closes at 11 on the first day, one more each
day, so a portfolio that begins with day n has 1000 + 10 * (its day - n).
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal

import pytest

import batchcore
from batchcore import reference as ref
from batchcore.calendar import date_of
from batchcore.config import Settings
from batchcore.errors import ConfigError
from batchcore.run.writing import ChunkWriter
from support import database
from support.database import Host
from support.generate import MONDAY
from support.runs import run_days

pytestmark = pytest.mark.db

DAYS = tuple(range(MONDAY, MONDAY + 5))
D0, D1, D2, D3, D4 = DAYS


async def run(
    url: str, start: str | None = None, mode: str = "skip", **options: object
) -> batchcore.BatchResult:
    settings = options.pop("settings", Settings(today=date_of(D4), min_coverage=0.0))
    return await batchcore.run_batch(url, start, on_existing=mode, settings=settings, **options)


def host(entries: dict[str, int]) -> Host:
    """Return portfolios with a position each, by the day on which it was bought."""
    plain = database.plain_host(1, DAYS)
    held = plain.portfolios[0].positions[0]
    return Host(
        tuple(
            replace(plain.portfolios[0], id=name, positions=(replace(held, entry_day=day),))
            for name, day in entries.items()
        ),
        plain.prices,
    )


async def days_of(url: str, name: str) -> list[int]:
    own = database.key(name)
    return sorted(day for portfolio, day in await database.snapshots(url) if portfolio == own)


async def test_inception_is_the_run_over_a_range_that_begins_with_the_entry(
    same_host: str,
) -> None:
    alone = host({"one": D1})
    await database.fill(same_host, alone)
    await run(same_host, "inception", analytics="every")
    by_inception = database.without_stamps(await database.snapshots(same_host))
    await database.execute(
        same_host, "TRUNCATE portfolio_snapshots; UPDATE portfolios SET equity_balance = 1000"
    )
    await run_days(same_host, D1, D4, analytics="every", settings=Settings(min_coverage=0.0))
    assert by_inception == database.without_stamps(await database.snapshots(same_host))


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
    ("call", "told"),
    [
        (lambda url: run(url, "inception", missing=True), "does not go with missing"),
        (
            lambda url: run(url, "inception", changed_since=database.MOMENT),
            "does not go with changed_since",
        ),
        (lambda url: batchcore.repair(url, "inception"), "does not go with repair"),
        (lambda url: run(url, "beginning"), "`inception`"),
    ],
    ids=["missing", "changed_since", "repair", "another word"],
)
async def test_what_inception_does_not_go_with_is_refused(
    call: Callable[[str], Awaitable[object]], told: str
) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        await call("postgresql://nowhere")
    assert told != "`inception`" or caught.value.option == "start"


async def test_a_run_from_inception_that_was_stopped_is_gone_on_with(
    same_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.fill(same_host, host({"one": D0, "two": D1, "three": D2}))
    settings = Settings(today=date_of(D4), min_coverage=0.0, chunk_size=1, connections=2)
    write = ChunkWriter._commit  # noqa: SLF001  # what commits a chunk
    done = 0

    async def once(self: ChunkWriter, *args: object) -> object:
        nonlocal done
        if done:
            raise RuntimeError
        done += 1
        return await write(self, *args)

    monkeypatch.setattr(ChunkWriter, "_commit", once)
    with pytest.raises(RuntimeError):
        await run(same_host, "inception", settings=settings)
    monkeypatch.setattr(ChunkWriter, "_commit", write)
    result = await run(same_host, "inception", settings=settings)

    assert result.attempt == 2
    for name, first in (("one", D0), ("two", D1), ("three", D2)):
        assert await days_of(same_host, name) == list(range(first, D4 + 1))
