"""The caches on rows in memory: `Host` stands in for the database and notes what is asked of it."""

import datetime as dt
import pickle
import random
from collections.abc import Iterable
from decimal import Decimal, localcontext
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from batchcore import caches, calendar
from batchcore.caches import (
    Closes,
    CompanyProfile,
    CompanyProfileCache,
    PriceCache,
    Snapshot,
    SnapshotCache,
)
from batchcore.calendar import date_of, day_of
from batchcore.errors import ConfigError, DatabaseError, NumericError
from batchcore.frames import Decimals, Previous, Prices, Profiles, Text
from batchcore.units import State
from support import build

FRIDAY = dt.date(2025, 6, 27)
MONDAY = dt.date(2025, 6, 30)
A, B = UUID(int=1), UUID(int=2)


def days_before(days: int, date: dt.date = MONDAY) -> dt.date:
    return date - dt.timedelta(days=days)


class Host:
    """Tables in memory; each load that reaches it is noted."""

    def __init__(self, *closes: tuple[str, dt.date, str], scale: int = 4) -> None:
        self.closes = list(closes)
        self.profiles: dict[str, tuple[Any, ...]] = {}
        self.snapshots: list[tuple[UUID, dt.date, str | None]] = []
        self.scale = scale
        self.asked: list[Any] = []

    async def load_closes(self, _schema: object, windows: Any) -> Prices:
        self.asked.append(windows)
        rows = [(symbol, day_of(date), Decimal(close)) for symbol, date, close in self.closes]
        return build.prices(
            (
                row
                for row in rows
                if any(
                    row[0] in window.symbols and window.first <= row[1] <= window.last
                    for window in windows
                )
            ),
            self.scale,
        )

    async def load_company_profiles(self, _schema: object, symbols: Any) -> Profiles:
        self.asked.append(list(symbols))
        rows = [(symbol, *self.profiles[symbol]) for symbol in symbols if symbol in self.profiles]
        columns = list(zip(*rows, strict=True)) or [()] * 8
        return Profiles(
            symbol=Text.of(columns[0]),
            name=Text.of(columns[1]),
            beta=decimals(columns[2], 4),
            sector=Text.of(columns[3]),
            industry=Text.of(columns[4]),
            country=Text.of(columns[5]),
            market_cap=decimals(columns[6], 2),
            is_etf=np.array(columns[7], dtype=np.bool_),
        )

    async def load_latest_snapshots(
        self, _schema: object, sessions: calendar.Calendar, ids: Any, before: int
    ) -> Previous:
        self.asked.append(list(ids))
        found: dict[bytes, tuple[int, str | None]] = {}
        for key, date, equity in sorted(self.snapshots, key=lambda row: row[1]):
            day = day_of(date)
            if key.bytes in ids and day < before and sessions.is_session([day])[0]:
                found[key.bytes] = (day, equity)
        equity = decimals([equity for _, equity in found.values()], 2)
        nulls = Decimals.nulls(len(found))
        return Previous(
            portfolio_id=np.frombuffer(b"".join(found), dtype=np.uint8).reshape(-1, 16),
            day=np.array([day for day, _ in found.values()], dtype=np.int32),
            equity=equity,
            cumulative_pnl=equity,
            cumulative_realized_pnl=nulls,
            cumulative_capital_flow=equity,
        )


def decimals(values: Iterable[str | None], scale: int) -> Decimals:
    return build.decimals([None if value is None else Decimal(value) for value in values], scale)


@pytest.fixture(autouse=True)
def _hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("load_closes", "load_company_profiles", "load_latest_snapshots"):

        async def load(db: Host, *arguments: Any, name: str = name) -> Any:
            if not isinstance(db, Host):
                raise ConfigError("expected a database", "db")
            return await getattr(db, name)(*arguments)

        monkeypatch.setattr(caches, name, load)


async def loaded(*closes: tuple[str, dt.date, str], on: dt.date = MONDAY) -> PriceCache:
    """Return a cache with those of the closes that a load of one date brings."""
    cache = PriceCache()
    await cache.load_single_date(Host(*closes), {symbol for symbol, _, _ in closes}, on)
    return cache


def test_an_empty_cache_has_nothing() -> None:
    cache = PriceCache()
    assert cache.get("A", MONDAY) is None
    assert cache.get_with_lookback("A", MONDAY) == (None, None)
    assert cache.get_batch(["A"], MONDAY) == {}
    assert cache.get_array(["A"], MONDAY).state.tolist() == [State.NULL]
    assert len(cache.to_frame()) == 0
    assert cache.lookback_days == 10


async def test_a_price_is_that_of_its_exact_symbol_and_date_in_decimals_of_its_column() -> None:
    cache = await loaded(
        ("A", MONDAY, "10.5"), ("B", MONDAY, "0.0001"), ("C", MONDAY, "12345678.9012")
    )
    with localcontext() as context:
        context.prec = 3
        found = [str(cache.get(symbol, MONDAY)) for symbol in "ABC"]
    assert found == ["10.5000", "0.0001", "12345678.9012"]
    assert [cache.get(symbol, MONDAY) for symbol in ("a", " A", "A ", "AA")] == [None] * 4
    assert cache.get("A", days_before(-1)) is None


THURSDAY, NEXT_MONDAY = dt.date(2025, 7, 3), dt.date(2025, 7, 7)
"""Before and after 4 July 2025, a Friday without a session."""


@pytest.mark.parametrize(
    ("day", "asked", "age"),
    [
        (FRIDAY, (MONDAY,), 3),  # over a weekend
        (THURSDAY, (NEXT_MONDAY,), 4),  # over a holiday
        (THURSDAY, (NEXT_MONDAY, 3), None),
        (days_before(10), (MONDAY,), 10),
        (days_before(11), (MONDAY,), None),
        (days_before(11), (MONDAY, 11), 11),
        (MONDAY, (FRIDAY,), None),  # before the first price
        (MONDAY, (MONDAY, 0), 0),
        (FRIDAY, (MONDAY, 0), None),
    ],
)
async def test_lookback(day: dt.date, asked: tuple[Any, ...], age: int | None) -> None:
    cache = await loaded(("A", day, "10"), on=max(day, days_before(11)))
    await cache.load_single_date(Host(), ["A"], MONDAY)
    found = (None, None) if age is None else (Decimal(10), days_before(age, asked[0]))
    assert cache.get_with_lookback("A", *asked) == found


async def test_a_single_date_brings_its_lookback_and_no_day_more() -> None:
    cache = await loaded(("A", days_before(11), "10"))
    assert cache.get_with_lookback("A", MONDAY, 11) == (None, None)


async def test_a_close_not_above_zero_is_no_price_and_lookback_skips_it() -> None:
    cache = await loaded(
        ("A", days_before(4), "9"), ("A", FRIDAY, "-1"), ("A", MONDAY, "0"), ("B", MONDAY, "5")
    )
    assert cache.get("A", MONDAY) is None
    assert cache.get_with_lookback("A", MONDAY) == (Decimal(9), days_before(4))
    assert cache.get_batch(["A", "B"], MONDAY) == {"B": Decimal(5)}
    assert cache.get_array(["A", "B"], MONDAY).state.tolist() == [State.NULL, State.VALUE]


async def test_a_batch_has_those_with_a_price_in_the_order_asked() -> None:
    cache = await loaded(("A", MONDAY, "1"), ("B", FRIDAY, "2"), ("C", MONDAY, "3"))
    for _ in range(2):  # the second finds the Decimals made
        batch = cache.get_batch(["C", "B", "A", "?"], MONDAY)
        assert list(batch.items()) == [("C", Decimal(3)), ("A", Decimal(1))]
        assert cache.get_batch(iter(["B"]), FRIDAY) == {"B": Decimal(2)}
        batch["A"] = Decimal(99)  # it is the caller's own


async def test_an_array_is_in_the_order_asked() -> None:
    cache = await loaded(("A", MONDAY, "1.25"), ("C", MONDAY, "3"))
    array = cache.get_array(("C", "B", "A", "C"), MONDAY)
    assert isinstance(array, Closes)
    assert array.values.tolist() == [3_0000, 0, 1_2500, 3_0000]
    assert array.state.tolist() == [State.VALUE, State.NULL, State.VALUE, State.VALUE]
    assert (array.values.dtype, array.state.dtype, array.scale) == (np.int64, np.uint8, 4)
    assert cache.get_array([], MONDAY).values.shape == (0,)


# What is set


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        (Decimal("10.5"), "10.5000"),
        (7, "7.0000"),
        ("0.000000000000000001", "1E-18"),
        ("1.50000000", "1.5000"),
        (Decimal("1E+2"), "100.0000"),
        ("9223372036854775807", "9223372036854775807.0000"),
    ],
)
async def test_a_price_that_is_set_is_exact(price: Any, expected: str) -> None:
    cache = await loaded(("A", MONDAY, "1"))
    cache.set("A", MONDAY, price)
    assert str(cache.get("A", MONDAY)) == expected
    assert str(cache.get_with_lookback("A", MONDAY)[0]) == expected
    assert str(cache.get_batch(["A"], MONDAY)["A"]) == expected


def test_set_needs_no_load() -> None:
    cache = PriceCache()
    cache.set("A", FRIDAY, "1.5")
    assert cache.get_with_lookback("A", MONDAY) == (Decimal("1.5"), FRIDAY)
    assert cache.get_array(["A"], FRIDAY)[0::2] == (np.array([15]), 1)


async def test_set_lies_over_what_is_loaded_and_survives_loads() -> None:
    host = Host(("A", FRIDAY, "10"), ("A", MONDAY, "11"), ("B", MONDAY, "20"))
    cache = PriceCache()
    cache.set("A", MONDAY, 12)
    await cache.load_single_date(host, ["A"], MONDAY)
    assert (cache.get("A", MONDAY), cache.get("A", FRIDAY)) == (12, 10)
    await cache.load_single_date(host, ["B"], MONDAY)
    assert cache.get_batch(["A", "B"], MONDAY) == {"A": 12, "B": 20}
    cache.set("A", MONDAY, 0)  # no price, which lookback passes
    assert cache.get("A", MONDAY) is None
    assert cache.get_batch(["A", "B"], MONDAY) == {"B": 20}
    assert cache.get_array(["A"], MONDAY).state.tolist() == [State.NULL]
    assert cache.get_with_lookback("A", MONDAY) == (Decimal(10), FRIDAY)
    cache.set("A", days_before(2), 11)  # later than what is stored
    assert cache.get_with_lookback("A", MONDAY) == (Decimal(11), days_before(2))
    cache.set("A", days_before(4), 9)
    assert cache.get_with_lookback("A", MONDAY) == (Decimal(11), days_before(2))
    cache.set("A", MONDAY, 12)
    assert cache.get("A", MONDAY) == 12


async def test_an_array_has_the_larger_scale() -> None:
    cache = await loaded(("A", MONDAY, "1.25"), ("B", MONDAY, "90000000000000"))
    cache.set("C", MONDAY, "0.000001")
    array = cache.get_array(["A", "B", "C"], MONDAY)
    assert array.scale == 6
    # 9e13 at scale 6 is 9e19, more than 64 bits hold
    assert array.state.tolist() == [State.VALUE, State.NOT_REPRESENTABLE, State.VALUE]
    assert array.values.tolist() == [1_250_000, 0, 1]
    assert cache.get("B", MONDAY) == 90_000_000_000_000


@pytest.mark.parametrize(
    "price",
    [
        1.5,
        True,
        None,
        "",
        "ten",
        "NaN",
        "Infinity",
        Decimal("NaN"),
        -1,
        "-0.01",
        "0.0000000000000000001",
        "9223372036854775808",
        "1E+400",
        "1E+999999",
        pytest.param(10**5000, id="an int of 5001 digits"),
        np.float64(1.5),
    ],
    ids=repr,
)
def test_a_price_that_is_none_is_refused(price: Any) -> None:
    cache = PriceCache()
    with pytest.raises(ConfigError, match=r"^price ") as caught:
        cache.set("A", MONDAY, price)
    assert caught.value.option == "price"
    assert cache.get("A", MONDAY) is None


async def test_clear_forgets_everything() -> None:
    host = Host(("A", MONDAY, "10"))
    cache = PriceCache(5)
    await cache.load_single_date(host, ["A"], MONDAY)
    cache.set("B", MONDAY, 1)
    cache.get_batch(["A", "B", "C"], MONDAY)
    cache.clear()
    assert cache.stats() == PriceCache(5).stats()
    assert (cache.get("A", MONDAY), cache.get("B", MONDAY)) == (None, None)
    assert await cache.load_single_date(host, ["A"], MONDAY) == 1
    assert (cache.get("A", MONDAY), cache.lookback_days) == (10, 5)


# What is loaded


async def test_what_is_loaded_is_not_asked_for_again() -> None:
    host = Host(("A", MONDAY, "10"))
    cache = PriceCache(2)
    assert await cache.load_single_date(host, ["A", "NONE", "A"], MONDAY) == 1
    assert await cache.load_single_date(host, ["NONE", "A"], MONDAY) == 0
    assert await cache.load_single_date(host, [], FRIDAY) == 0
    assert len(host.asked) == 1
    assert await cache.load_date_range(host, ["A"], days_before(20), MONDAY) == 0
    assert len(host.asked) == 2  # as the range reaches further back
    await cache.load_date_range(host, ["A"], days_before(9), days_before(3))
    await cache.load_single_date(host, ["A"], days_before(20))
    assert len(host.asked) == 2


async def test_a_wider_range_is_one_load_of_what_lacks() -> None:
    host = Host(*(("A", days_before(age), str(100 - age)) for age in range(60)))
    cache = PriceCache(0)
    assert await cache.load_date_range(host, ["A"], days_before(20), days_before(10)) == 11
    assert await cache.load_date_range(host, ["A"], days_before(30), MONDAY) == 20
    ((before, after),) = host.asked[1:]
    assert (before.first, before.last) == (day_of(days_before(30)), day_of(days_before(21)))
    assert (after.first, after.last) == (day_of(days_before(9)), day_of(MONDAY))
    assert [cache.get("A", days_before(age)) for age in range(33)] == [
        100 - age if age <= 30 else None for age in range(33)
    ]


async def test_more_symbols_are_one_load_of_those_that_lack() -> None:
    host = Host(("A", MONDAY, "1"), ("B", MONDAY, "2"), ("C", MONDAY, "3"))
    cache = PriceCache()
    await cache.load_single_date(host, ["A"], MONDAY)
    assert await cache.load_single_date(host, ["C", "A", "B"], MONDAY) == 2
    assert [window.symbols for window in host.asked[1]] == [("C", "B")]
    assert cache.get_batch(list("ABC"), MONDAY) == {"A": 1, "B": 2, "C": 3}


async def test_many_different_holes_are_one_window() -> None:
    names = [f"S{row}" for row in range(40)]
    host = Host(*((name, MONDAY, "1") for name in names))
    cache = PriceCache(0)
    for row, name in enumerate(names):
        await cache.load_single_date(host, [name], days_before(row + 1))
    assert await cache.load_date_range(host, names, days_before(60), MONDAY) == 40
    (window,) = host.asked[-1]
    assert window.symbols == tuple(names)
    assert cache.stats()["total_prices"] == 40


@pytest.mark.parametrize("seed", range(5))
async def test_any_loads_end_with_the_same_as_one(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311  # a seeded test
    names = ["A", "B", "C"]
    rows = [
        (name, days_before(age), str(rng.randrange(1, 99)))
        for name in names
        for age in range(40)
        if rng.random() < 0.7
    ]
    host, cache = Host(*rows), PriceCache(3)
    for _ in range(12):
        some = rng.sample(names, rng.randrange(1, 4))
        first, last = sorted((rng.randrange(40), rng.randrange(40)), reverse=True)
        await cache.load_date_range(host, some, days_before(first), days_before(last))
        if rng.random() < 0.3:
            await cache.load_missing(host, some, [days_before(first), days_before(last)])
    await cache.load_date_range(host, names, days_before(40), MONDAY)
    expected = {(name, date): Decimal(close) for name, date, close in rows}
    got = {
        (name, days_before(age)): cache.get(name, days_before(age))
        for name in names
        for age in range(40)
    }
    assert {key: price for key, price in got.items() if price is not None} == expected
    assert len(cache.to_frame()) == len(rows)


async def test_what_failed_to_load_is_asked_again() -> None:
    class Broken(Host):
        async def load_closes(self, *_: Any) -> Prices:
            raise DatabaseError("gone")

    cache = PriceCache()
    with pytest.raises(DatabaseError):
        await cache.load_single_date(Broken(), ["A"], MONDAY)
    assert await cache.load_single_date(Host(("A", MONDAY, "1")), ["A"], MONDAY) == 1


async def test_databases_of_other_scales_share_a_cache() -> None:
    cache = PriceCache()
    await cache.load_single_date(Host(("A", MONDAY, "1.25"), scale=2), ["A"], MONDAY)
    await cache.load_single_date(Host(("B", MONDAY, "1.123456"), scale=6), ["B"], MONDAY)
    await cache.load_single_date(Host(("C", MONDAY, "3"), scale=0), ["C"], MONDAY)
    assert cache.get_batch(list("ABC"), MONDAY) == {
        "A": Decimal("1.25"),
        "B": Decimal("1.123456"),
        "C": Decimal(3),
    }


async def test_the_first_dates_there_are_can_be_loaded() -> None:
    host = Host(("A", dt.date.min, "1"))
    cache = PriceCache()
    assert await cache.load_single_date(host, ["A"], dt.date(1, 1, 2)) == 1
    assert cache.get_with_lookback("A", dt.date(1, 1, 2)) == (Decimal(1), dt.date.min)


# What is missing


async def test_missing_is_what_has_no_price_in_the_order_asked() -> None:
    cache = await loaded(("A", FRIDAY, "10"), ("B", MONDAY, "0"), ("C", MONDAY, "1"))
    cache.set("C", FRIDAY, 0)
    assert cache.missing(["C", "B", "A", "B"], [MONDAY, FRIDAY, MONDAY]) == [
        ("B", MONDAY),
        ("B", FRIDAY),
        ("A", MONDAY),
    ]
    assert cache.stats()["misses"] == 0


async def test_load_missing_is_one_load_for_all_or_none() -> None:
    host = Host(("A", MONDAY, "10"), ("B", FRIDAY, "20"), ("B", days_before(12), "19"))
    cache = PriceCache()
    assert await cache.load_missing(host, ["A", "B"], [MONDAY, FRIDAY]) == 3
    assert len(host.asked) == 1
    assert cache.missing(["A", "B"], [MONDAY, FRIDAY]) == [("A", FRIDAY), ("B", MONDAY)]
    assert cache.covers("A", day_of(days_before(13)), day_of(MONDAY))
    assert not cache.covers("A", day_of(days_before(14)), day_of(MONDAY))
    cache.set("NONE", MONDAY, 0)
    assert await cache.load_missing(host, ["A", "NONE"], [MONDAY]) == 0
    assert len(host.asked) == 1


async def test_load_missing_finds_what_has_come_since() -> None:
    host = Host()
    cache = PriceCache()
    await cache.load_single_date(host, ["A"], MONDAY)
    host.closes = [("A", MONDAY, "10"), ("A", FRIDAY, "9")]
    assert await cache.load_single_date(host, ["A"], MONDAY) == 0
    assert await cache.load_missing(host, ["A"], [MONDAY]) == 2
    assert cache.get("A", MONDAY) == 10
    host.closes = [("A", MONDAY, "11")]
    assert await cache.load_missing(host, ["A"], [days_before(1)]) == 0
    assert (cache.get("A", MONDAY), cache.get("A", FRIDAY)) == (10, None)


async def test_what_is_covered_is_known_to_the_day() -> None:
    cache = PriceCache(2)
    today = day_of(MONDAY)
    await cache.load_single_date(Host(), ["A"], MONDAY)
    assert cache.covers("A", today - 2, today)
    assert cache.covers("A", today, today)
    assert not cache.covers("A", today - 3, today)
    assert not cache.covers("A", today, today + 1)
    assert not cache.covers("B", today, today)
    cache.set("B", MONDAY, 1)
    assert not cache.covers("B", today, today)


async def test_the_frame_has_every_close_and_what_was_set() -> None:
    cache = await loaded(("A", FRIDAY, "10"), ("A", MONDAY, "11"), ("B", MONDAY, "-1"))
    cache.set("A", MONDAY, 0)
    cache.set("C", MONDAY, "3.5")
    prices = cache.to_frame()
    rows = zip(
        prices.symbol.texts(),
        map(date_of, prices.day.values),
        prices.close.values.tolist(),
        strict=True,
    )
    assert sorted(rows) == [
        ("A", FRIDAY, 10_0000),
        ("A", MONDAY, 0),
        ("B", MONDAY, -1_0000),
        ("C", MONDAY, 3_5000),
    ]
    assert prices.close.scale == 4


# Counts


async def test_counts_of_prices() -> None:
    cache = await loaded(("A", FRIDAY, "10"), ("A", MONDAY, "11"), ("B", MONDAY, "0"))
    cache.set("C", days_before(1), 1)
    cache.get("A", MONDAY)  # hit
    cache.get("B", MONDAY)  # miss
    cache.get_with_lookback("A", MONDAY)  # hit
    cache.get_with_lookback("C", MONDAY)  # hit, by lookback
    cache.get_with_lookback("B", MONDAY)  # miss
    cache.get_batch(["A", "B", "C"], MONDAY)  # 1 hit, 2 misses
    cache.get_array(["A", "A", "?"], MONDAY)  # 2 hits, 1 miss
    stats = cache.stats()
    assert stats.pop("size_bytes") > 0  # type: ignore[misc]
    assert stats == {
        "total_prices": 3,
        "dates_loaded": 3,
        "symbols_loaded": 2,
        "hits": 6,
        "lookback_hits": 1,
        "misses": 5,
        "hit_rate": 6 / 11,
    }


async def test_counts_go_on_over_loads() -> None:
    for empty in (PriceCache(), CompanyProfileCache(), SnapshotCache()):
        assert empty.stats()["hit_rate"] is None
    cache = PriceCache()
    cache.get("A", MONDAY)
    await cache.load_single_date(Host(("A", MONDAY, "10")), ["A"], MONDAY)
    cache.get("A", MONDAY)
    assert (cache.stats()["hits"], cache.stats()["misses"]) == (1, 1)


async def test_size_grows_with_what_is_held() -> None:
    small = await loaded(("A", MONDAY, "10"))
    large = await loaded(*((f"S{row}", MONDAY, "10") for row in range(1000)))
    # at the least 12 bytes for each close
    assert large.stats()["size_bytes"] - small.stats()["size_bytes"] >= 999 * 12


# Wrong types


NO_DATES = (None, "2025-06-30", dt.datetime(2025, 6, 30, tzinfo=dt.UTC), 20269, [MONDAY])
NO_SYMBOLS = (None, 1, b"A", ["A"])
WRONG = [
    *(("dates? is of type .*, expected ", "A", date) for date in NO_DATES),
    *(("symbol is of type .*, expected str$", symbol, MONDAY) for symbol in NO_SYMBOLS),
]


@pytest.mark.parametrize(("told", "symbol", "date"), WRONG, ids=repr)
async def test_what_is_no_date_or_no_symbol_is_refused(told: str, symbol: Any, date: Any) -> None:
    cache = await loaded(("A", MONDAY, "10"))
    calls = [
        lambda: cache.get(symbol, date),
        lambda: cache.get_with_lookback(symbol, date),
        lambda: cache.get_batch([symbol], date),
        lambda: cache.get_array([symbol], date),
        lambda: cache.set(symbol, date, 1),
        lambda: cache.missing([symbol], [date]),
    ]
    loads = [
        cache.load_single_date(Host(), [symbol], date),
        cache.load_date_range(Host(), [symbol], date, MONDAY),
        cache.load_date_range(Host(), [symbol], MONDAY, date),
        cache.load_missing(Host(), [symbol], [date]),
    ]
    if date is MONDAY:
        calls.append(lambda: CompanyProfileCache().get(symbol))
        loads.append(CompanyProfileCache().load(Host(), [symbol]))
    else:
        loads.append(SnapshotCache().load_latest_snapshots(Host(), [A], date))
    for call in calls:
        with pytest.raises(ConfigError, match=f"^{told}"):
            call()
    for load in loads:
        with pytest.raises(ConfigError):
            await load
    assert cache.stats()["misses"] == 0


@pytest.mark.parametrize("symbols", ["A", None, 5])
async def test_symbols_that_are_one_text_or_none_are_refused(symbols: Any) -> None:
    cache = PriceCache()
    for call in (cache.get_batch, cache.get_array):
        with pytest.raises(ConfigError, match=r"^symbols is of type"):
            call(symbols, MONDAY)
    with pytest.raises(ConfigError, match=r"^symbols is of type"):
        await cache.load_single_date(Host(), symbols, MONDAY)
    with pytest.raises(ConfigError, match="not valid Unicode"):
        cache.get("\ud800", MONDAY)


@pytest.mark.parametrize("days", [-1, 1.0, "10", True, 10**6], ids=repr)
def test_a_lookback_that_is_none_is_refused(days: Any) -> None:
    with pytest.raises(ConfigError, match="lookback_days"):
        PriceCache(days)
    with pytest.raises(ConfigError, match="lookback_days"):
        PriceCache().get_with_lookback("A", MONDAY, days)


async def test_a_range_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ConfigError, match="is after end_date"):
        await PriceCache().load_date_range(Host(), ["A"], MONDAY, FRIDAY)


# Company profiles

APPLE = ("Apple Inc.", "1.1090", "Technology", "Consumer Electronics", "US", "3000.01", False)


async def profiles() -> tuple[CompanyProfileCache, Host]:
    host = Host()
    host.profiles = {
        "AAPL": APPLE,
        "SPY": ("SPDR", None, None, None, None, None, True),
        "ODD": (None, "NaN", "Energy", None, None, "NaN", False),
    }
    cache = CompanyProfileCache()
    assert await cache.load(host, ["AAPL", "NONE", "AAPL"]) == 1
    return cache, host


async def test_a_profile_is_as_stored() -> None:
    cache, _ = await profiles()
    assert cache.get("AAPL") == CompanyProfile(
        symbol="AAPL",
        name="Apple Inc.",
        beta=Decimal("1.1090"),
        sector="Technology",
        industry="Consumer Electronics",
        country="US",
        market_cap=Decimal("3000.01"),
        is_etf=False,
    )
    assert str(cache.get_beta("AAPL")) == "1.1090"
    assert cache.get_sector("AAPL") == "Technology"
    assert (cache.get("aapl"), cache.get_beta("NONE"), cache.get_sector("NONE")) == (None,) * 3


async def test_profiles_are_merged_by_one_load_of_those_that_lack() -> None:
    cache, host = await profiles()
    assert await cache.load(host, ["NONE", "AAPL"]) == 0
    assert await cache.load(host, ["SPY", "AAPL", "ODD"]) == 2
    assert host.asked == [["AAPL", "NONE"], ["SPY", "ODD"]]
    spy, odd = cache.get("SPY"), cache.get("ODD")
    assert spy == CompanyProfile("SPY", "SPDR", None, None, None, None, None, True)  # noqa: FBT003
    assert odd is not None
    assert (odd.beta, odd.market_cap, odd.sector) == (None, None, "Energy")
    assert cache.get_beta("AAPL") == Decimal("1.109")


async def test_counts_and_frame_of_profiles() -> None:
    cache, host = await profiles()
    await cache.load(host, ["ODD"])
    cache.get("AAPL")
    cache.get_beta("ODD")  # a profile, if without a beta
    cache.get_sector("NONE")
    stats = cache.stats()
    assert stats.pop("size_bytes") > 0  # type: ignore[misc]
    assert stats == {
        "total_profiles": 2,
        "symbols_loaded": 3,
        "hits": 2,
        "misses": 1,
        "hit_rate": 2 / 3,
    }
    table = cache.to_frame()
    assert table.symbol.texts() == ["AAPL", "ODD"]
    assert table.beta.values.tolist()[0] == 1_1090
    assert table.beta.state.tolist() == [State.VALUE, State.NON_FINITE]
    cache.clear()
    assert cache.stats() == CompanyProfileCache().stats()


# Snapshots


async def snapshots() -> tuple[SnapshotCache, Host]:
    host = Host()
    host.snapshots = [(A, days_before(9), "90.10"), (A, FRIDAY, "100.25"), (B, MONDAY, "7")]
    cache = SnapshotCache()
    assert await cache.load_latest_snapshots(host, [A, str(B), A], MONDAY) == 1
    return cache, host


async def test_the_latest_snapshot_is_before_the_date() -> None:
    cache, _ = await snapshots()
    assert cache.get_latest(A) == Snapshot(
        portfolio_id=A,
        snapshot_date=FRIDAY,
        equity_balance=Decimal("100.25"),
        cumulative_pnl=Decimal("100.25"),
        cumulative_realized_pnl=None,
        cumulative_capital_flow=Decimal("100.25"),
    )
    assert cache.get_latest(str(A)) == cache.get_latest(A)
    assert cache.get_equity(A) == Decimal("100.25")
    assert (cache.get_latest(B), cache.get_equity(B)) == (None, Decimal(0))


async def test_snapshots_that_are_known_are_not_asked_for() -> None:
    cache, host = await snapshots()
    # nothing lies between Friday's snapshot and Monday
    for date in (MONDAY, days_before(1), days_before(2)):
        assert await cache.load_latest_snapshots(host, [A, B], date) == 0
    assert len(host.asked) == 1
    assert await cache.load_latest_snapshots(host, [A], FRIDAY) == 1
    assert cache.get_equity(A) == Decimal("90.10")
    assert await cache.load_latest_snapshots(host, [A, B], days_before(-1)) == 2
    assert (cache.get_equity(A), cache.get_equity(B)) == (Decimal("100.25"), 7)


async def test_a_portfolio_without_snapshot_takes_the_old_one_away() -> None:
    cache, host = await snapshots()
    assert await cache.load_latest_snapshots(host, [A], days_before(9)) == 0
    assert cache.get_latest(A) is None
    assert len(cache.to_frame()) == 0


async def test_the_calendar_says_which_snapshots_count() -> None:
    host = Host()
    host.snapshots = [(A, FRIDAY, "1"), (A, days_before(1), "2")]  # a Sunday
    cache = SnapshotCache()
    await cache.load_latest_snapshots(host, [A], MONDAY)
    assert cache.get_equity(A) == 2
    await cache.load_latest_snapshots(host, [A], MONDAY, calendar="XNYS")
    assert cache.get_equity(A) == 1
    with pytest.raises(ConfigError, match="prices"):
        await cache.load_latest_snapshots(host, [A], MONDAY, calendar="prices")


async def test_an_equity_that_does_not_fit_cents_is_an_error() -> None:
    host = Host()
    host.snapshots = [(A, FRIDAY, "NaN")]
    cache = SnapshotCache()
    await cache.load_latest_snapshots(host, [A], MONDAY)
    with pytest.raises(NumericError, match="equity_balance") as caught:
        cache.get_equity(A)
    assert caught.value.column == "equity_balance"


async def test_counts_and_frame_of_snapshots() -> None:
    cache, _ = await snapshots()
    cache.get_latest(A)
    cache.get_equity(B)
    cache.get_equity(B)
    stats = cache.stats()
    assert stats.pop("size_bytes") > 0  # type: ignore[misc]
    assert stats == {
        "total_snapshots": 1,
        "portfolios_cached": 2,
        "hits": 1,
        "misses": 2,
        "hit_rate": 1 / 3,
    }
    previous = cache.to_frame()
    assert previous.portfolio_id.tobytes() == A.bytes
    assert previous.day.tolist() == [day_of(FRIDAY)]
    assert (previous.equity.values.tolist(), previous.equity.scale) == ([10025], 2)
    assert previous.cumulative_realized_pnl.state.tolist() == [State.NULL]
    cache.clear()
    assert cache.stats() == SnapshotCache().stats()


@pytest.mark.parametrize("key", [None, 1, "no uuid", b"1" * 16], ids=repr)
async def test_what_is_no_portfolio_is_refused(key: Any) -> None:
    cache = SnapshotCache()
    for call in (cache.get_latest, cache.get_equity):
        with pytest.raises(ConfigError, match="portfolio_id"):
            call(key)
    with pytest.raises(ConfigError, match="portfolio_id"):
        await cache.load_latest_snapshots(Host(), [key], MONDAY)


async def test_what_caches_give_is_frozen_and_pickles() -> None:
    cache, _ = await profiles()
    profile = cache.get("AAPL")
    assert pickle.loads(pickle.dumps(profile)) == profile  # noqa: S301  # our own
    with pytest.raises(AttributeError):
        profile.sector = "Energy"  # type: ignore[misc,union-attr]


def test_a_cache_takes_no_window_beyond_the_limit() -> None:
    assert caches.MOST_WINDOWS < 40  # what the test of many holes goes beyond
