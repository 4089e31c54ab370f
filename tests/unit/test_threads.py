"""Threads: a cache refuses two at once, the core serves as many as come."""

import asyncio
import datetime as dt
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pytest

import batchcore
from batchcore import _core, caches
from batchcore.caches import CompanyProfileCache, PriceCache, SnapshotCache
from batchcore.db import access
from batchcore.errors import ConcurrentUseError
from batchcore.frames import Previous, Profiles
from support import build
from support.worked import PRICES, jan, portfolio, position

MONDAY = dt.date(2025, 6, 30)
THREADS = 8

Cache = PriceCache | CompanyProfileCache | SnapshotCache


class Blocked:
    """A call of another thread that waits, in the middle of it, until it is told to go on."""

    def __init__(self) -> None:
        self._inside, self._go_on = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self._inside.set()
        assert self._go_on.wait(60)

    def while_inside(self, call: Callable[[], object], do: Callable[[], None]) -> object:
        """Return what a call returns, after something was done in the middle of it."""
        with ThreadPoolExecutor(1) as other:
            result = other.submit(call)
            try:
                assert self._inside.wait(60)
                do()
            finally:
                self._go_on.set()
            return result.result()


def filled() -> PriceCache:
    cache = PriceCache()
    cache.set("A", MONDAY, "1.5")
    return cache


def await_(call: Awaitable[object]) -> object:
    async def awaited() -> object:
        return await call

    return asyncio.run(awaited())


PRICE_CALLS: dict[str, Callable[[PriceCache], object]] = {
    "clear": lambda cache: cache.clear(),
    "covers": lambda cache: cache.covers("A", 1, 2),
    "get": lambda cache: cache.get("A", MONDAY),
    "get_array": lambda cache: cache.get_array(["A"], MONDAY),
    "get_batch": lambda cache: cache.get_batch(["A"], MONDAY),
    "get_with_lookback": lambda cache: cache.get_with_lookback("A", MONDAY),
    "load_date_range": lambda c: await_(c.load_date_range("postgresql:", ["A"], MONDAY, MONDAY)),
    "load_missing": lambda cache: await_(cache.load_missing("postgresql:", ["A"], [MONDAY])),
    "load_single_date": lambda c: await_(c.load_single_date("postgresql:", ["A"], MONDAY)),
    "missing": lambda cache: cache.missing(["A"], [MONDAY]),
    "set": lambda cache: cache.set("A", MONDAY, 2),
    "stats": lambda cache: cache.stats(),
    "to_frame": lambda cache: cache.to_frame(),
}
PROFILE_CALLS: dict[str, Callable[[CompanyProfileCache], object]] = {
    "clear": lambda cache: cache.clear(),
    "get": lambda cache: cache.get("A"),
    "get_beta": lambda cache: cache.get_beta("A"),
    "get_sector": lambda cache: cache.get_sector("A"),
    "load": lambda cache: await_(cache.load("postgresql:", ["A"])),
    "stats": lambda cache: cache.stats(),
    "to_frame": lambda cache: cache.to_frame(),
}
SNAPSHOT_CALLS: dict[str, Callable[[SnapshotCache], object]] = {
    "clear": lambda cache: cache.clear(),
    "get_equity": lambda cache: cache.get_equity(UUID(int=1)),
    "get_latest": lambda cache: cache.get_latest(UUID(int=1)),
    "load_latest_snapshots": lambda cache: await_(
        cache.load_latest_snapshots("postgresql:", [UUID(int=1)], MONDAY)
    ),
    "stats": lambda cache: cache.stats(),
    "to_frame": lambda cache: cache.to_frame(),
}


@pytest.mark.parametrize("name", PRICE_CALLS)
def test_a_second_thread_is_refused_while_one_looks_up_prices(name: str) -> None:
    cache, blocked = filled(), Blocked()

    def symbols() -> Iterator[str]:
        yield "A"
        blocked()
        yield "B"

    def refused() -> None:
        with pytest.raises(ConcurrentUseError) as caught:
            PRICE_CALLS[name](cache)
        assert caught.value.cache == "PriceCache"
        assert str(caught.value) == (
            "PriceCache is in use by another thread, expected one thread at a time:"
            " give each thread a cache of its own, or a lock"
        )

    def look_up() -> object:
        return cache.get_batch(symbols(), MONDAY)

    assert blocked.while_inside(look_up, refused) == {"A": Decimal("1.5")}
    assert cache.get("A", MONDAY) == Decimal("1.5")  # nobody is inside any more


@pytest.mark.parametrize(
    ("cache", "source", "rows", "calls"),
    [
        (PriceCache, "load_closes", build.prices(), PRICE_CALLS),
        (CompanyProfileCache, "load_company_profiles", Profiles.none(), PROFILE_CALLS),
        (SnapshotCache, "load_latest_snapshots", Previous.none(), SNAPSHOT_CALLS),
    ],
)
def test_a_second_thread_is_refused_while_one_awaits_a_load(
    monkeypatch: pytest.MonkeyPatch, cache: type[Cache], source: str, rows: object, calls: Any
) -> None:
    made, blocked = cache(), Blocked()

    async def slow(*_: object) -> object:
        await asyncio.to_thread(blocked)
        return rows

    def refused() -> None:
        for call in calls.values():
            with pytest.raises(ConcurrentUseError, match=f"^{cache.__name__} is in use by another"):
                call(made)

    monkeypatch.setattr(caches, source, slow)
    load = next(call for name, call in calls.items() if name.startswith("load"))
    blocked.while_inside(lambda: load(made), refused)
    made.clear()


def test_a_task_asks_while_another_awaits_a_load(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = filled()

    async def asks(*_: object) -> object:
        found = await asyncio.create_task(ask())
        assert found == {"A": Decimal("1.5")}
        return build.prices([("B", 20_269, Decimal(7))])

    async def ask() -> object:
        return cache.get_batch(("A" for _ in [cache.get("A", MONDAY)]), MONDAY)

    monkeypatch.setattr(caches, "load_closes", asks)
    assert await_(cache.load_single_date("postgresql:", ["B"], MONDAY)) == 1
    with ThreadPoolExecutor(1) as other:
        assert other.submit(cache.get, "B", MONDAY).result() == Decimal(7)


def test_a_load_that_fails_lets_other_threads_in(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = filled()

    async def fails(*_: object) -> object:
        raise OSError("made up")

    monkeypatch.setattr(caches, "load_closes", fails)
    with pytest.raises(OSError, match="made up"):
        await_(cache.load_single_date("postgresql:", ["B"], MONDAY))
    with ThreadPoolExecutor(1) as other:
        assert other.submit(cache.get, "A", MONDAY).result() == Decimal("1.5")


def test_a_flag_raised_in_another_thread_is_seen() -> None:
    flag = _core.CancelFlag()
    with ThreadPoolExecutor(1) as other:
        other.submit(flag.set).result()
    assert flag.is_set()


def at_once(work: Callable[[int], Any]) -> list[Any]:
    """Return what threads that begin together have made of their numbers."""
    begin = threading.Barrier(THREADS)

    def begun(number: int) -> Any:
        begin.wait(60)
        return work(number)

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(begun, range(THREADS)))


def test_threads_that_begin_together_see_right_prices_or_a_refusal() -> None:
    cache = filled()
    symbols = ["A", *(f"S{number}" for number in range(50))]

    def asked(_number: int) -> int:
        refused = 0
        for _ in range(200):
            try:
                assert cache.get_batch(symbols, MONDAY) == {"A": Decimal("1.5")}
            except ConcurrentUseError:
                refused += 1
        return refused

    refused = sum(at_once(asked))
    stats = cache.stats()
    assert stats["hits"] == THREADS * 200 - refused
    assert stats["misses"] == 50 * stats["hits"]


def test_caches_of_their_own_in_many_threads() -> None:
    def own(number: int) -> Any:
        cache = PriceCache()
        for day in range(100):
            cache.set("A", MONDAY - dt.timedelta(days=day), number * day + 1)
        return [cache.get("A", MONDAY - dt.timedelta(days=day)) for day in range(100)]

    assert at_once(own) == [[number * day + 1 for day in range(100)] for number in range(THREADS)]


def test_threads_compute_the_same_rows_from_the_same_arrays_and_stores() -> None:
    portfolios = [portfolio(position(), name=str(number)) for number in range(20)]
    inputs = build.inputs(portfolios, PRICES, [jan(5)])
    sessions = build.session_days([jan(5)])
    expected = batchcore.compute(inputs, sessions, threads=1).daily_pnl.tolist()
    days = np.arange(1, 200, dtype=np.int32)
    closes = [("A", day, Decimal(day)) for day in days.tolist()]
    store = _core.PriceStore.from_frame(build.prices(closes))

    def same(_number: int) -> bool:
        for _ in range(10):
            assert batchcore.compute(inputs, sessions, threads=2).daily_pnl.tolist() == expected
        _core.Marks.from_prices(store, sessions=days, lookback_days=5)
        return all(store.as_of(0, day, 0) == (day * 10_000, day) for day in days.tolist())

    assert at_once(same) == [True] * THREADS


def test_catalogs_are_remembered_by_many_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = [f"postgresql://h/{number}" for number in range(access.MOST_KEPT)]
    kept: dict[Any, Any] = {url: {} for url in urls}
    others = ThreadPoolExecutor(1)

    def closed(one: object) -> bool:
        others.submit(kept.pop, one, None).result()
        others.submit(kept.setdefault, f"{one} again", {}).result()
        return True

    monkeypatch.setattr(access, "_kept", kept)
    monkeypatch.setattr(access, "_is_closed", closed)
    with others:
        assert access._remembered("postgresql://h/new") == {}  # noqa: SLF001  # no other way
    assert list(kept)[-1] == "postgresql://h/new"
    assert len(kept) == access.MOST_KEPT


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="needs a free-threaded interpreter"
)
def test_the_import_leaves_a_free_threaded_interpreter_without_its_lock() -> None:
    # a module that needs the lock brings it back with a warning
    code = "import sys, batchcore.db.access, batchcore._core; assert not sys._is_gil_enabled()"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)  # noqa: S603
