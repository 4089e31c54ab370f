"""The compiled core: converts arrays, calls Rust, converts back. Use `batchcore.native`."""

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, final

from batchcore.frames import (
    Bytes,
    ComputedDays,
    Floats,
    Int32,
    Int64,
    Opening,
    Previous,
    Prices,
    RateRows,
    SplitRows,
    Text,
    UInt32,
)
from batchcore.native import Book, Host, Market

__all__ = [
    "CancelFlag",
    "Checks",
    "Decoder",
    "Marks",
    "PriceReader",
    "PriceStore",
    "Rates",
    "ThreadGuard",
    "__version__",
    "build_profile",
    "compound",
    "contributions",
    "encode",
    "hold",
    "load_needed",
    "locate",
    "run",
    "sums_by_key",
    "value_positions",
]

__version__: str
build_profile: str

@final
class CancelFlag:
    def __new__(cls) -> CancelFlag: ...
    def set(self) -> None: ...
    def is_set(self) -> bool: ...

@final
class Checks:
    @staticmethod
    def of(
        marks: Marks,
        *,
        days: Int32,
        actions: dict[str, str],
        max_move: int,
        frozen_sessions: int,
        max_missing: int,
        closed: int | None = None,
    ) -> Checks: ...
    def findings(self) -> dict[str, Any]: ...

@final
class Decoder:
    def __new__(cls, columns: list[tuple[str, str, int]]) -> Decoder: ...
    def push(self, data: bytes) -> None: ...
    @property
    def rows(self) -> int: ...
    def finish(self) -> dict[str, Any]: ...

@final
class PriceStore:
    @staticmethod
    def from_frame(prices: Prices, *, cancel: CancelFlag | None = None) -> PriceStore: ...
    def as_of(self, symbol: int, day: int, lookback_days: int) -> tuple[int, int] | None: ...
    def __len__(self) -> int: ...
    @property
    def scale(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...

@final
class PriceReader:
    def __new__(
        cls, store: PriceStore, days: dict[dt.date, int], threads: ThreadGuard
    ) -> PriceReader: ...
    def over(self, store: PriceStore) -> PriceReader: ...
    def get(self, symbol: str, date: dt.date) -> Decimal | None: ...
    def get_with_lookback(
        self, symbol: str, date: dt.date, lookback_days: int
    ) -> tuple[Decimal, int] | None: ...
    def get_batch(self, symbols: Iterable[str], date: dt.date) -> dict[str, Decimal]: ...
    def get_array(self, symbols: Iterable[str], date: dt.date) -> tuple[Int64, Bytes, int]: ...
    def price(self, symbol: str, date: dt.date) -> Decimal | None: ...
    def as_of(self, symbol: str, day: int, lookback_days: int) -> tuple[Decimal, int] | None: ...
    def columns(self) -> dict[str, Any]: ...
    @property
    def scale(self) -> int: ...
    @property
    def counts(self) -> tuple[int, int, int]: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def last_batch(self) -> dict[str, Decimal] | None: ...

@final
class ThreadGuard:
    def __new__(cls, owner: str) -> ThreadGuard: ...
    def __enter__(self) -> None: ...
    def __exit__(self, _type: object, _value: object, _traceback: object) -> None: ...

@final
class Marks:
    @staticmethod
    def from_prices(
        prices: PriceStore,
        *,
        sessions: Int32,
        lookback_days: int,
        splits: SplitRows | None = None,
        cancel: CancelFlag | None = None,
    ) -> Marks: ...
    def coverage(self, symbols: Text) -> tuple[UInt32, UInt32, UInt32]: ...
    def fresh_closes(self, symbols: Text, days: Int32) -> Floats: ...
    def issues(self) -> dict[str, Any]: ...

@final
class Rates:
    @staticmethod
    def from_frame(
        rates: RateRows,
        *,
        currencies: Text,
        homes: Text,
        sessions: Int32,
        lookback_days: int,
        pivot: str,
    ) -> Rates: ...
    def issues(self) -> dict[str, Any]: ...
    def look_up(
        self, currency: str, home: str | None, day: int
    ) -> tuple[str, tuple[int, int] | None, bool] | None: ...

def compound(
    *, pnl: Int64, basis: Int64, first: UInt32, last: UInt32, cancel: CancelFlag | None = None
) -> dict[str, Any]: ...
def contributions(
    *,
    book: Book,
    opening: Opening,
    market: Market,
    threads: int,
    days: ComputedDays | None = None,
    cancel: CancelFlag | None = None,
) -> dict[str, Any]: ...
def encode(
    *,
    fields: list[tuple[str, str, tuple[Any, ...], Bytes | None]],
    rows: int,
    piece_bytes: int,
    cancel: CancelFlag | None = None,
) -> list[bytes]: ...
def hold(
    *,
    book: Book,
    opening: Opening,
    market: Market,
    sessions: Int32,
    threads: int,
    cancel: CancelFlag | None = None,
) -> dict[str, Any]: ...
def load_needed() -> None: ...
def locate(*, keys: Bytes, ids: Bytes) -> Int32: ...
def run(
    *,
    rules: str,
    book: Book,
    opening: Opening,
    market: Market,
    previous: Previous,
    threads: int,
    cancel: CancelFlag | None = None,
    checks: Checks | None = None,
    host: Host | None = None,
) -> dict[str, Any]: ...
def sums_by_key(keys: UInt32, groups: int, amounts: Bytes) -> Bytes: ...
def value_positions(
    *,
    book: Book,
    opening: Opening,
    market: Market,
    session: int,
    threads: int,
    cancel: CancelFlag | None = None,
) -> dict[str, Any]: ...
