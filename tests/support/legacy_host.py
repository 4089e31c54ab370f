"""A host's tables filled for the policy `legacy`, and what a run must leave in them.

As in `support.database`, nothing here goes through the native decoder or encoder.
"""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from decimal import Decimal
from typing import Any

from batchcore.frames import Prices
from batchcore.reference import legacy
from batchcore.run.result import BatchResult
from batchcore.units import State
from support import database, legacy_frames
from support.cases import Run
from support.database import MOMENT, SOURCED, STAMPED, Db, Standing, Tables, comparable, date, key

STAMPS = {"id", "portfolio_id", "snapshot_date", "created_at"}


@dataclass(frozen=True)
class Source:
    """Cached prices of a run, as a caller hands them in."""

    frame: Prices

    def to_frame(self) -> Prices:
        return self.frame

    def covers(self, symbol: str, first_day: int, last_day: int) -> bool:  # noqa: ARG002
        return False


def source_of(run: Run) -> Source:
    frame = legacy_frames.inputs(run).cached
    assert frame is not None
    return Source(frame)


def tables_of(run: Run) -> Tables:
    """Return the rows of a run; ids of positions ascend in the order in which they are held."""
    tables = database.tables_of(run.portfolios, in_order=True)
    for event in tables["position_realized_events"]:
        if event["quantity_closed"] is None:  # which the table refuses, and no rule reads
            event["quantity_closed"] = Decimal(1)
    held = [(owner, one) for owner in run.portfolios for one in owner.positions]
    return tables | {
        "portfolio_snapshots": [
            _snapshot(portfolio.name, row)
            for portfolio in run.portfolios
            for row in portfolio.snapshots
        ],
        "company_profiles": [
            {"symbol": symbol, **asdict(profile), "last_updated": MOMENT, **SOURCED}
            for symbol, profile in run.profiles.items()
        ],
        "position_market_betas": [
            {
                "id": uuid.uuid4(),
                "portfolio_id": key(owner.name),
                "position_id": uuid.UUID(int=at),
                "calc_date": date(beta.day),
                "beta": beta.beta,
                "observations": 90,
                "window_days": number,
                "method": "test",
                "market_index": "SPY",
                **STAMPED,
            }
            for at, (owner, position) in enumerate(held)
            for number, beta in enumerate(position.betas)
        ],
        "benchmarks_sector_weights": [
            {
                "id": uuid.uuid4(),
                "benchmark_code": code,
                "asof_date": date(0),
                "sector": "Energy",
                "weight": Decimal(1),
                **SOURCED,
            }
            for code in ("NDX", *["SP500"] * run.has_benchmark)
        ],
        "market_data_cache": database.price_rows(run.prices),
    }


async def fill(url: Db, run: Run) -> None:
    """Write the rows of a run."""
    async with database.connected(url) as connection:
        for table, rows in tables_of(run).items():
            await database.copy(connection, table, rows)


def _snapshot(owner: str, row: legacy.Snapshot) -> dict[str, Any]:
    standing = Standing(
        row.day,
        row.equity,
        row.is_complete,
        cumulative_pnl=row.cumulative_pnl,
        cumulative_realized_pnl=row.cumulative_realized_pnl,
        cumulative_capital_flow=row.cumulative_capital_flow,
    )
    (stored,) = database.snapshot_rows(owner, [standing])
    return stored | {"sector_exposure": "null", "hhi": Decimal("77.0000")}


def by_reference(
    run: Run, days: Sequence[int], sessions: Iterable[int]
) -> dict[str, legacy.Result]:
    """Return what a run over some days does to each portfolio, by name."""
    shared = run.shared(frozenset(sessions))
    return {one.name: legacy.roll(one, shared, days, run.scales) for one in run.portfolios}


def after(run: Run, results: dict[str, legacy.Result]) -> Run:
    """Return a run on the tables that another has left."""
    portfolios = tuple(
        one if one.deleted else legacy_frames.after(one, results[one.name])
        for one in run.portfolios
    )
    return replace(run, portfolios=portfolios)


async def assert_left(
    url: Db, before: database.Snapshots, results: dict[str, legacy.Result]
) -> None:
    """Assert that the tables hold what the reference says, and else what they held."""
    assert_stored(before, await database.snapshots(url), results)
    assert await database.equities(url) == equities_of(results)


def assert_stored(
    before: database.Snapshots,
    stored: database.Snapshots,
    results: dict[str, legacy.Result],
    text: Callable[[Any], str] = str,
) -> None:
    """Assert that each snapshot holds what the reference says, and else what it held.

    `text` is what two cells must have in common.
    """
    expected = {
        (key(name), row.day): cells(row) for name, result in results.items() for row in result.rows
    }
    assert set(stored) == set(before) | set(expected)
    for at, row in stored.items():
        if at not in expected:
            assert row == before[at]
            continue
        want = {**dict.fromkeys(row), **expected[at]}
        found = {name: loaded(name, cell) for name, cell in row.items()}
        assert {name: text(cell) for name, cell in found.items() if name not in STAMPS} == {
            name: text(cell) for name, cell in want.items() if name not in STAMPS
        }
        if at in before:
            assert (row["id"], row["created_at"]) == (before[at]["id"], before[at]["created_at"])


def equities_of(results: dict[str, legacy.Result]) -> dict[uuid.UUID, Any]:
    """Return `portfolios.equity_balance` of each portfolio after a run."""
    return {key(name): comparable(result.equity_balance) for name, result in results.items()}


def cells(row: legacy.Row) -> dict[str, Any]:
    """Return the columns of a row of the reference by name; names of sectors ascend."""
    return {item.name: getattr(row, item.name) for item in fields(row) if item.name != "day"}


def loaded(name: str, cell: Any) -> Any:
    """Return a cell, JSON as the object that it tells."""
    return json.loads(cell) if name == "sector_exposure" and cell is not None else cell


def assert_told(result: BatchResult, results: dict[str, legacy.Result]) -> None:
    """Assert that a report tells the failures that the reference has.

    That a portfolio has no history is told by the plan (S1), which the reference has not.
    """
    names = {key(name).bytes: name for name in results}
    owner = [names[own.tobytes()] for own in result.portfolios.id]
    told: Counter[Any] = Counter()
    issues = result.issues
    for row, (name, symbol) in enumerate(
        zip(issues.name.texts(), issues.symbol.texts(), strict=True)
    ):
        has_day = issues.day.state[row] == State.VALUE
        if issues.portfolio[row] >= 0 and has_day and name != "no_history":
            told[owner[issues.portfolio[row]], name, symbol, int(issues.day.values[row])] += 1
    assert told == Counter(
        (name, issue.name, issue.symbol, issue.day)
        for name, found in results.items()
        for issue in found.failures
    )
    assert Counter(result.errors()) == Counter(
        error for found in results.values() for error in found.errors
    )
    assert result.failed == sum(len(found.failures) > 0 for found in results.values())
    assert result.rows_written == sum(len(found.rows) for found in results.values())
    assert result["success"] == (result.failed == 0)
