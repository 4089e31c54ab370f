"""What a run must leave in the tables, by the reference alone."""

import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Literal

from batchcore import reference as ref
from batchcore.config import CHECKS, Schema
from batchcore.run.result import BatchResult
from batchcore.units import State
from support import build, database
from support.database import Host, Standing
from support.generate import Generator

Mode = Literal["skip", "replace", "error"]
NAN = Decimal("NaN")
UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BY_SYMBOL = {"bad_split", "stale", "unpriced", "duplicate_price", "currencies"}
"""Issues of a market or a whole run, not of a portfolio."""

LOOSE = Schema(
    scales={
        "portfolios.equity_balance": 2,
        "positions.quantity": 4,
        "positions.entry_price": 4,
        "positions.exit_price": 4,
        "positions.last_price": 4,
        "positions.market_value": 2,
        "market_data_cache.close": 4,
        "company_profiles.beta": 4,
        "position_market_betas.beta": 6,
        "portfolio_snapshots.equity_balance": 2,
        "portfolio_snapshots.daily_pnl": 2,
        "portfolio_snapshots.daily_capital_flow": 2,
        "portfolio_snapshots.cumulative_pnl": 2,
        "portfolio_snapshots.cumulative_realized_pnl": 2,
        "portfolio_snapshots.cumulative_capital_flow": 2,
        "equity_changes.amount": 2,
        "position_realized_events.quantity_closed": 4,
        "position_realized_events.realized_pnl": 2,
    }
)
"""Of a host that declares no scales, `loose_copy`."""


def in_doubles(host: Host) -> Host:
    """Return a host as it is read from tables that hold its inputs as doubles."""
    return replace(
        host,
        portfolios=tuple(map(build.in_doubles, host.portfolios)),
        prices=build.prices_in_doubles(host.prices),
    )


@dataclass
class Outcome:
    """What a run does to a host: cells by portfolio and day, and those that take over a row.

    `exists` is the first portfolio and session that stop a run in the mode `error`.
    """

    cells: dict[tuple[uuid.UUID, int], dict[str, Any]] = field(default_factory=dict)
    in_place: set[tuple[uuid.UUID, int]] = field(default_factory=set)
    equity: dict[uuid.UUID, Decimal | None] = field(default_factory=dict)
    issues: Counter[tuple[str, ref.Issue]] = field(default_factory=Counter)
    failed: set[str] = field(default_factory=set)
    exists: tuple[str, int] | None = None


def seeded(seed: object) -> Random:
    return Random(str(seed))  # noqa: S311  # the same numbers each time


def outcome(
    host: Host,
    calendar: Iterable[int],
    start: int,
    end: int,
    mode: Mode = "skip",
    *,
    lookback_days: int = 10,
) -> Outcome:
    """Return what a run over ``[start, end]`` does, portfolios in the order of their ids."""
    found = Outcome()
    days = sorted(set(calendar))
    market = ref.market(host.prices)
    for portfolio in sorted(host.portfolios, key=lambda one: database.key(one.id).bytes):
        own = database.key(portfolio.id)
        standing = host.standing_of(portfolio.id)
        stored = [
            ref.Snapshot(row.day, row.equity, is_complete=row.is_complete) for row in standing
        ]
        span = ref.span(stored, days, start, end, mode)
        if span.exists is not None and found.exists is None:
            found.exists = (portfolio.id, span.exists)
        complete = {row.day: row.snapshot() for row in standing if row.counts and row.day in days}
        result = ref.roll_forward(
            replace(portfolio, snapshots=tuple(complete.values())),
            market,
            span.sessions,
            lookback_days,
        )
        found.cells |= {(own, row.day): database.cells(row) for row in result.rows}
        found.in_place |= {
            (own, row.day) for row in result.rows if row.day in {each.day for each in standing}
        }
        equity = {day: row.equity for day, row in complete.items()}
        equity |= {row.day: row.equity_balance for row in result.rows}
        found.equity[own] = database.comparable(
            equity[max(equity)] if result.rows else portfolio.opening_equity
        )
        found.issues.update((portfolio.id, issue) for issue in result.issues)
        for name, noticed, noun in (
            ("gap", span.gaps, "session"),
            ("off_session", span.off_session, "date"),
        ):
            if noticed:
                detail = f"{len(noticed)} {noun}{'s' * (len(noticed) != 1)}"
                found.issues[portfolio.id, ref.Issue(name, None, noticed[0], detail)] += 1
        if result.failed:
            found.failed.add(portfolio.id)
    return found


def issues_of(result: BatchResult, host: Host) -> Counter[tuple[str, ref.Issue]]:
    """Return the issues of a report that are of a portfolio, without findings of price checks."""
    names = {database.key(portfolio.id).bytes: portfolio.id for portfolio in host.portfolios}
    issues = result.issues
    found: Counter[tuple[str, ref.Issue]] = Counter()
    columns = zip(
        issues.portfolio.tolist(),
        issues.name.texts(),
        issues.symbol.texts(),
        issues.day.values.tolist(),
        issues.day.state.tolist(),
        issues.detail.texts(),
        strict=True,
    )
    for portfolio, name, symbol, day, state, detail in columns:
        if name in CHECKS:
            continue
        if portfolio < 0:
            assert name in BY_SYMBOL, name
            continue
        on = day if state == State.VALUE else None
        owner = names[result.portfolios.id[portfolio].tobytes()]
        found[owner, ref.Issue(name, symbol, on, detail)] += 1
    return found


def assert_left(
    before: database.Snapshots,
    after: database.Snapshots,
    expected: Outcome,
    host: Host,
) -> None:
    """Assert that a run wrote the rows of ``expected``, each cell, and touched no other."""
    assert {at for at in after if at not in before} == set(expected.cells) - expected.in_place
    assert set(before) <= set(after)
    stamps = set()
    for at, row in after.items():
        if at not in expected.cells:
            assert row == before[at]
            continue
        kept = before[at] if at in expected.in_place else {}
        own = {name: cell for name, cell in kept.items() if name not in expected.cells[at]}
        blank = dict.fromkeys(row)
        want = {**blank, "portfolio_id": row["portfolio_id"], "snapshot_date": database.date(at[1])}
        want |= expected.cells[at] | own
        if not kept:
            stamps.add(row["created_at"])
            want |= {"id": row["id"], "created_at": row["created_at"]}
        assert row == want, database.shown(row) + database.shown(want)
    assert len(stamps) <= 1
    assert_time_ordered(after, set(expected.cells) - expected.in_place)
    assert host.portfolios


async def assert_undisturbed(
    url: str, host: Host, days: Sequence[int], done: Collection[object] | None = None
) -> database.Snapshots:
    """Assert that the tables hold what a run over all days leaves, and return its snapshots.

    With `done` these portfolios alone have been run, and the others are untouched.
    """
    expected = outcome(host, days, days[0], days[-1])
    stored = await database.snapshots(url)
    assert set(stored) == {at for at in expected.cells if done is None or at[0] in done}
    for at, row in stored.items():
        assert row.items() >= expected.cells[at].items()
    opening = {database.key(one.id): one.opening_equity for one in host.portfolios}
    left = {own: opening[own] for own in opening if done is not None and own not in done}
    assert await database.equities(url) == expected.equity | left
    return stored


def assert_time_ordered(after: database.Snapshots, new: set[tuple[uuid.UUID, int]]) -> None:
    """Assert that the ids of new rows are UUIDv7, made after the run began."""
    for at in new:
        own, started = after[at]["id"], after[at]["created_at"]
        assert (own.version, own.variant) == (7, uuid.RFC_4122), own
        milliseconds = (started - UNIX_EPOCH) // timedelta(milliseconds=1)
        assert 0 <= (own.int >> 80) - milliseconds < 60_000, (own, started)


def standing(generator: Generator, *, odd: bool) -> tuple[Standing, ...]:
    """Return none or some snapshots before, among and after two weeks of sessions."""
    if generator.chance(25):
        return ()
    first, last = generator.one_of(((-6, 0), (-6, 16), (0, 16), (0, 3), (6, 16)))
    made = []
    for _ in range(generator.integer(1, 6)):
        on = generator.day(first, last)
        money = [generator.amount_or_null() if odd else plain_or_null(generator) for _ in range(5)]
        equity: Decimal | None = generator.decimal(2, 999_999)
        if generator.chance(10):
            equity = generator.one_of((None, NAN))
        elif odd and generator.chance(5):
            equity = generator.one_of((Decimal("1E-25"), Decimal(2**63) / 100, Decimal("-5.5")))
        made.append(Standing(on, equity, not generator.chance(20), *money))
    return tuple({row.day: row for row in made}.values())


def plain_or_null(generator: Generator) -> Decimal | None:
    if generator.chance(30):
        return None
    return generator.decimal(2, 90_000) * generator.one_of((1, -1))


def stored_in_utf8(portfolio: ref.Portfolio) -> ref.Portfolio:
    """Return a portfolio whose texts a database in UTF-8 takes, other bytes as letters of Latin."""

    def storable(text: str | None) -> str | None:
        return text and text.encode("utf-8", "surrogateescape").decode("latin-1")

    texts = ("symbol", "position_type", "investment_class")
    return replace(
        portfolio,
        positions=tuple(
            replace(position, **{name: storable(getattr(position, name)) for name in texts})
            for position in portfolio.positions
        ),
    )


def random_host(generator: Generator, *, odd: bool = False, portfolios: int = 8) -> Host:
    """Return portfolios, prices and snapshots; with ``odd`` what only a loose table stores."""
    made = tuple(
        stored_in_utf8(replace(generator.portfolio(f"p{number}"), snapshots=()))
        for number in range(portfolios)
    )
    return Host(
        made,
        generator.market(),
        {portfolio.id: standing(generator, odd=odd) for portfolio in made},
    )
