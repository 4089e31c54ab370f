"""Worked cases of both policies, read from the tables of `tests/cases`, which README explains."""

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from batchcore import reference as ref
from batchcore.reference import legacy
from batchcore.units import Mark

TESTS = Path(__file__).parent.parent
GOLDEN = TESTS / "golden"
FOLDER = TESTS / "cases"
EPOCH = date(1970, 1, 1).toordinal()
CENT = Decimal("0.00")

TEXTS = {
    *("symbol", "position_type", "investment_class", "change_type", "name", "detail", "sector"),
    "currency",
}
"""Columns that are no numbers, days or booleans."""

LISTS: dict[str, tuple[type, dict[str, Any]]] = {
    "events": (ref.Event, {"quantity": 1}),
    "betas": (ref.Beta, {}),
}
"""Columns of a position that hold rows, and what a row has unless it says otherwise."""

CENTS = {
    "equity": "equity_balance",
    "pnl": "daily_pnl",
    "realized": "daily_realized_pnl",
    "flow": "daily_capital_flow",
    "total": "cumulative_pnl",
    "total realized": "cumulative_realized_pnl",
    "total flow": "cumulative_capital_flow",
    "long": "long_value",
    "short": "short_value",
    "gross": "gross_exposure",
    "net": "net_exposure",
    "cash": "cash_value",
}
"""Columns of a table of rows, and what they are called in a row."""

INFINITE = (ref.INFINITE_DAY, "inf", Decimal("Infinity"))

Record = TypeVar("Record")
Price = tuple[str, int | None, Decimal | None]
RateRow = tuple[str | None, str | None, int | None, Decimal | None]


def day(text: str) -> int:
    """Return an ISO date as days since 1970-01-01."""
    return date.fromisoformat(text).toordinal() - EPOCH


def jan(number: int) -> int:
    """Return a day of January 2026; the 5th is a Monday, day 0 is 31 December."""
    return day("2026-01-01") + number - 1


@dataclass(frozen=True)
class SplitTable:
    """A host's table of splits, and what its closes and quantities are stated in."""

    rows: tuple[tuple[str | None, int | None, Decimal | None, Decimal | None], ...]
    price_basis: str = "as_traded"
    quantity_basis: str = "as_entered"

    def counting(self) -> ref.Splits:
        return ref.splits(self.rows, self.price_basis, self.quantity_basis)


@dataclass(frozen=True)
class Expected:
    """What a portfolio must give; issues of `rollforward` sorted, of `legacy` in order of days.

    Days of `legacy` that have a complete snapshot are skipped; `equity_after` is that of its
    portfolio after a run.
    """

    rows: tuple[Any, ...]
    issues: tuple[ref.Issue, ...] = ()
    failed: bool = False
    skipped: tuple[int, ...] = ()
    equity_after: Decimal | None = None


@dataclass(frozen=True)
class Run:
    """What references and core compute: portfolios with different ids, closes as stored, days.

    Days of `rollforward` are its sessions. `column_scales` are scales of single columns, for the
    core alone, larger than their values need. Rates and splits are None on a host that maps none;
    `fx` has `lookback_days`, `pivot`, and the `scale` of the column. `today` (L31), `cached` prices
    (L16) by symbol and day, profiles (L32, L33) by symbol, and whether there is a row of SP500
    (L34) are of `legacy`.
    """

    portfolios: tuple[Any, ...]
    prices: tuple[Price, ...]
    days: tuple[int, ...]
    lookback_days: int = 10
    scales: ref.Scales = ref.DEFAULT_SCALES
    column_scales: Mapping[str, int] = field(default_factory=dict)
    rates: tuple[RateRow, ...] | None = None
    fx: Mapping[str, Any] = field(default_factory=dict)
    splits: SplitTable | None = None
    today: int = 0
    cached: Mapping[tuple[str, int], Decimal] = field(default_factory=dict)
    profiles: Mapping[str, legacy.Profile] = field(default_factory=dict)
    has_benchmark: bool = True

    def market(self) -> ref.Market:
        """Return the market that `rollforward` reads."""
        splits = None if self.splits is None else self.splits.counting()
        return ref.market(self.prices, self.scales, splits)

    def shared(self, calendar: Collection[int]) -> legacy.Shared:
        """Return what all portfolios share under `legacy`."""
        return legacy.Shared(
            prices=legacy.closes(self.prices, self.scales),
            calendar=calendar,
            today=self.today,
            cached=self.cached,
            profiles=self.profiles,
            has_benchmark=self.has_benchmark,
        )


@dataclass(frozen=True, kw_only=True)
class Case(Run):
    """A worked case: a run under a policy, and what each portfolio must give.

    `why` has the rules, a colon, and the arithmetic by hand.
    """

    policy: str
    name: str
    why: str
    expected: tuple[Expected, ...]
    market_issues: tuple[ref.Issue, ...] = ()

    @property
    def rules(self) -> list[str]:
        return self.why.partition(":")[0].split(", ")

    def __str__(self) -> str:
        return f"{self.rules[0]} {self.name}" if self.policy == "legacy" else self.name


def from_toml(path: str) -> dict[str, Any]:
    """Return a file of `tests/cases`, its decimals exact."""
    return tomllib.loads((FOLDER / path).read_text(), parse_float=Decimal)


USUAL = {policy: from_toml(f"{policy}.toml") for policy in ("rollforward", "legacy")}
"""What the cases of a policy give unless they say otherwise."""


@cache
def cases(policy: str, *paths: str) -> list[Case]:
    """Return the worked cases of a policy, or those of some files."""
    paths = paths or tuple(
        f"{policy}/{path.name}" for path in sorted((FOLDER / policy).glob("*.toml"))
    )
    return [
        _case(policy, USUAL[policy]["case"] | file.get("usual", {}) | table)
        for file in map(from_toml, paths)
        for table in file["case"]
    ]


def _case(policy: str, table: dict[str, Any]) -> Case:
    portfolios = [table | own for own in table.get("portfolios", [{}])]
    return Case(
        policy=policy,
        name=table["name"],
        why=table["why"],
        portfolios=tuple(_portfolio(policy, own) for own in portfolios),
        prices=tuple(closes(table["prices"])),
        days=tuple(map(jan, table["days"])),
        expected=tuple(_expected(policy, own) for own in portfolios),
        market_issues=tuple(_issues(table.get("market_issues", []))),
        scales=ref.Scales(**table.get("scales", {})),
        lookback_days=table.get("lookback_days", 10),
        today=jan(table.get("today", 0)),
        cached={(symbol, on): close for symbol, on, close in closes(table.get("cached", {}))},
        profiles={
            symbol: profile(**columns)
            for symbols, columns in table.get("profiles", {}).items()
            for symbol in _names(symbols)
        },
        has_benchmark=table.get("has_benchmark", True),
        rates=tuple(rate_rows(table["rates"])) if "rates" in table else None,
        fx={"scale": 6, **table.get("fx", {})},
        splits=split_table(**table["splits"]) if "splits" in table else None,
    )


def split_table(bases: str, **by_symbol: Mapping[str, Any]) -> SplitTable:
    """Return the splits of ``{symbol: {day of January: "new for old"}}``."""
    rows = [
        (symbol, _cell("day", on), *map(partial(_cell, "shares"), ratio.split(" for ")))
        for symbol, by_day in by_symbol.items()
        for on, told in by_day.items()
        for ratio in ([told] if isinstance(told, str) else told)
    ]
    return SplitTable(tuple(rows), *bases.split(" "))


def closes(table: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Any, Any]]:
    """Return symbol, day and close of ``{symbols: {day of January: close}}``."""
    for symbols, by_day in table.items():
        for symbol in _names(symbols):
            for on, close in by_day.items():
                yield symbol, _cell("day", on), _cell("close", close)


def rate_rows(table: Mapping[str, Mapping[str, Any]]) -> Iterator[RateRow]:
    """Return the rows of ``{base/quote: {day of January: rate}}``; a list is several rows."""
    for pair, by_day in table.items():
        base, _, quote = pair.partition("/")
        for on, found in by_day.items():
            for rate in found if isinstance(found, list) else [found]:
                yield base, quote, _cell("day", on), _cell("rate", rate)


def _names(text: str) -> Iterator[str]:
    """Return the symbols of ``AAA,S{00..09}``."""
    for name in text.split(","):
        head, _, numbers = name.partition("{")
        first, _, last = numbers.rstrip("}").partition("..")
        if first:
            width = len(first)
            yield from (f"{head}{number:0{width}}" for number in range(int(first), int(last) + 1))
        else:
            yield name


def _portfolio(policy: str, table: dict[str, Any]) -> Any:
    kind = {"rollforward": ref.Portfolio, "legacy": legacy.Portfolio}[policy]
    positions = [
        position(policy, **columns | {"symbol": symbol})
        for columns in table["positions"]
        for symbol in _names(columns.get("symbol", USUAL[policy]["position"]["symbol"]))
    ]
    return kind(
        table.get("id", "p"),
        _cell("equity_balance", table["equity_balance"]),
        tuple(positions),
        tuple(record(ref.Flow, **columns) for columns in table.get("flows", [])),
        tuple(snapshot(policy, **columns) for columns in table.get("snapshots", [])),
        **{"deleted": True} if table.get("deleted") else {},
        **{"currency": table["currency"]} if "currency" in table else {},
    )


def position(policy: str, **columns: Any) -> ref.Position:
    """Return the usual position of a policy with other columns; dates are days of January."""
    made = record(ref.Position, **USUAL[policy]["position"] | columns)
    texts = {name: _undecoded(getattr(made, name)) for name in TEXTS if hasattr(made, name)}
    return replace(made, **texts)


def _undecoded(text: str | None) -> str | None:
    r"""Return a text with bytes that are no UTF-8 instead of ``\xff``."""
    return text and re.sub(r"\\x(..)", lambda found: chr(0xDC00 + int(found[1], 16)), text)


def snapshot(policy: str, **columns: Any) -> Any:
    """Return a stored row of a policy; its day is one of January."""
    kind = {"rollforward": ref.Snapshot, "legacy": legacy.Snapshot}[policy]
    return record(kind, **USUAL[policy]["snapshot"] | columns)


def profile(**columns: Any) -> legacy.Profile:
    """Return the profile of a company, of no ETF unless `columns` say so."""
    return record(legacy.Profile, **{"is_etf": False} | columns)


def record(kind: type[Record], **columns: Any) -> Record:
    """Return a row of the reference; numbers as text or numbers, dates as days of January."""
    return kind(**{name: _cell(name, value) for name, value in columns.items()})


def _cell(name: str, value: Any) -> Any:
    if value is None or value == "NULL":
        return None
    if name in LISTS:
        kind, usual = LISTS[name]
        return tuple(record(kind, **usual | row) if isinstance(row, dict) else row for row in value)
    if name == "day" or name.endswith("_day"):
        return ref.INFINITE_DAY if value in INFINITE else jan(int(value))
    if isinstance(value, bool) or name in TEXTS:
        return value
    return Decimal(value)


def _issues(rows: list[dict[str, Any]]) -> list[ref.Issue]:
    empty = {"symbol": None, "day": None}
    return [record(ref.Issue, **empty | row) for row in rows]


def _expected(policy: str, table: dict[str, Any]) -> Expected:
    made = rows(policy, table["rows"], **table.get("analytics", {}))
    issues = _issues(table.get("issues", []))
    if policy == "rollforward":
        return Expected(made, tuple(sorted(issues, key=repr)), table.get("failed", False))
    after = table.get("equity_after", made[-1].equity_balance if made else None)
    return Expected(
        made,
        tuple(issues),
        failed=len(issues) > 0,
        skipped=tuple(map(jan, table.get("skipped", []))),
        equity_after=_cell("equity_after", after),
    )


def rows(policy: str, table: str, **analytics: Any) -> tuple[Any, ...]:
    """Return the rows of a text with one line each, below a line of names.

    A cell of several days is as many rows; a cell left empty is 0, or follows from others.
    """
    lines = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
    made = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    return tuple(
        _row(policy, int(on), {name: cell for name, cell in cells.items() if cell}, analytics)
        for cells in made
        for on in cells["day"].split()
    )


def _row(policy: str, on: int, cells: dict[str, str], analytics: dict[str, Any]) -> Any:
    equity, long, short = (Decimal(cells.get(name, 0)) for name in ("equity", "long", "short"))
    longs, shorts = (int(cells.get(name, 0)) for name in ("longs", "shorts"))
    is_empty = policy == "legacy" and longs + shorts == 0
    usual = {"gross": long - short, "net": long + short, "cash": equity - long - short}
    if is_empty:
        usual["cash"] = Decimal(0)
    returned = cells.get("return", "0")
    columns: dict[str, Any] = {
        column: CENT + Decimal(cells.get(name, usual.get(name, 0)))
        for name, column in CENTS.items()
    }
    columns |= {
        "day": jan(on),
        "daily_return": None if returned == "NULL" else Decimal("0.000000") + Decimal(returned),
        "num_positions": longs + shorts,
        "num_long_positions": longs,
        "num_short_positions": shorts,
    }
    columns["total_value"] = CENT if is_empty else CENT + equity
    if policy == "rollforward":
        unrealized = CENT + Decimal(cells.get("unrealized", 0))
        return ref.Row(**columns, unrealized_pnl=unrealized, marks=_marks(cells.get("marks", "")))
    greeks = ("portfolio_delta", "portfolio_gamma", "portfolio_theta", "portfolio_vega")
    columns |= dict.fromkeys(greeks, None if is_empty else CENT)
    columns |= {name: _analytic(value) for name, value in analytics.items()}
    return legacy.Row(**columns)


def _marks(cell: str) -> tuple[int, ...]:
    """Return the counts by status of ``2 fresh, 1 stale``."""
    counts = dict.fromkeys((status.name.lower() for status in Mark), 0)
    for part in filter(None, cell.split(", ")):
        count, name = part.split()
        counts[name] = int(count)
    return tuple(counts.values())


def _analytic(value: Any) -> Any:
    return (
        {name: float(share) for name, share in value.items()} if isinstance(value, dict) else value
    )
