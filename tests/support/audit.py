"""Verifications in tests: what they find, and changes of what a run left in the tables."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from batchcore import VerifyResult
from support import database

FAST = (False, True)
"""By the reference, and by the core."""


async def both(
    verify: Callable[..., Awaitable[VerifyResult]], *arguments: Any, **options: Any
) -> VerifyResult:
    """Verify by the reference and by the core, and return what both have found."""
    ours, native = [await verify(*arguments, fast=fast, **options) for fast in FAST]
    assert (ours.fast, native.fast) == FAST
    same = {"seconds": 0, "fast": None}
    assert {**ours.to_dict(), **same} == {**native.to_dict(), **same}
    return native


def wrong(result: VerifyResult) -> dict[str, int]:
    """Return how many cells differ in each column that has any."""
    columns = result.columns
    counts = zip(columns.name, columns.differing.tolist(), strict=True)
    return {name: count for name, count in counts if count}


def checked(result: VerifyResult) -> dict[str, int]:
    return dict(zip(result.columns.name, result.columns.checked.tolist(), strict=True))


def snapshot(day: int, portfolio: uuid.UUID) -> str:
    """Return the condition of a row."""
    return f"portfolio_id = '{portfolio}' AND snapshot_date = '{database.date(day)}'"


def flow_added(portfolio: uuid.UUID, day: int) -> str:
    """Return the statement that pays 7 in."""
    return (
        "INSERT INTO equity_changes (id, portfolio_id, change_type, amount, change_date,"  # noqa: S608
        " created_by_user_id, created_at, updated_at) SELECT gen_random_uuid(), id,"
        f" 'CONTRIBUTION', 7, '{database.date(day)}', user_id, now(), now() FROM portfolios"
        f" WHERE id = '{portfolio}'"
    )


def event_added(day: int, quantity: int, realized: int, positions: str = "true") -> str:
    """Return the statement that sells some of positions."""
    return (
        "INSERT INTO position_realized_events (id, position_id, portfolio_id, trade_date,"  # noqa: S608
        " quantity_closed, realized_pnl, created_at) SELECT gen_random_uuid(), id, portfolio_id,"
        f" '{database.date(day)}', {quantity}, {realized}, now() FROM positions WHERE {positions}"
    )


def closed(day: int, price: str, symbol: str = "AAA") -> str:
    """Return the statement that corrects a close, as a feed does: with a time stamp."""
    return (
        f"UPDATE market_data_cache SET close = {price}, updated_at = now()"  # noqa: S608
        f" WHERE symbol = '{symbol}' AND date = '{database.date(day)}'"
    )


@dataclass(frozen=True)
class Tampering:
    """What is done to the tables after a run, and what a verification then finds.

    Of cells that differ, how many by column; of their rows by cause, None where a case is not about
    it; cells that are not checkable by reason, where they are others than on untouched tables.
    Examples are day, column and maybe stored and expected value, in their order.
    """

    statements: tuple[str, ...]
    wrong: Mapping[str, int] = field(default_factory=dict)
    causes: Mapping[str, int] | None = None
    not_checkable: Mapping[str, int] = field(default_factory=dict)
    checked: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[tuple[Any, ...], ...] = ()
    portfolios: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    async def assert_found(
        self, verify: Callable[..., Awaitable[VerifyResult]], usual: Mapping[str, int]
    ) -> None:
        """Assert it of both ways to verify; `usual` is what is not checkable without tampering."""
        result = await both(verify, **self.options)
        assert wrong(result) == dict(self.wrong)
        assert self.causes is None or result.causes == dict(self.causes)
        reasons = {name: cells for name, cells in (usual | self.not_checkable).items() if cells}
        assert result.not_checkable == reasons
        assert checked(result).items() >= self.checked.items()
        found = iter((one.session, one.column, one.stored, one.expected) for one in result.examples)
        for day, *cell in self.examples:
            expected = (database.date(day), *cell)
            assert any(one[: len(expected)] == expected for one in found), expected


@contextlib.asynccontextmanager
async def changed(url: str, column: str, new: str, where: str) -> AsyncIterator[None]:
    """Set a cell of a snapshot to an expression, and to what it was at the end."""
    async with database.connected(url) as connection:
        cell = await connection.fetchval(f"SELECT {column} FROM portfolio_snapshots WHERE {where}")  # noqa: S608
        update = "UPDATE portfolio_snapshots SET"
        await connection.execute(f"{update} {column} = {new} WHERE {where}")
        try:
            yield
        finally:
            await connection.execute(f"{update} {column} = $1 WHERE {where}", cell)


@contextlib.asynccontextmanager
async def reader(url: str, *more: str) -> AsyncIterator[str]:
    """The URL for a role that may only SELECT, from the tables of a verification and `more`."""
    role = f"reader_{uuid.uuid4().hex}"
    tables = (
        *("portfolios", "positions", "market_data_cache", "portfolio_snapshots", "equity_changes"),
        *("position_realized_events", "company_profiles", *more),
    )
    grant = f"CREATE ROLE {role}; GRANT SELECT ON {', '.join(tables)} TO {role}"
    await database.execute(url, grant)
    try:
        yield f"{url}{'&' if '?' in url else '?'}options=-c%20role%3D{role}"
    finally:
        await database.execute(url, f"DROP OWNED BY {role}; DROP ROLE {role}")
