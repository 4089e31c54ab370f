"""A chunk on its way into the tables: what is encoded is what stands there."""

import uuid
from decimal import Decimal

import numpy as np
import pytest

import batchcore
from batchcore import reference as ref
from batchcore.config import Schema
from batchcore.errors import DatabaseError
from batchcore.pg import fields
from batchcore.pg.database import Database
from batchcore.pg.session import Session, transaction
from batchcore.schema import HOST, Use
from batchcore.sinks import snapshots
from batchcore.sinks.snapshots import Equities, Stamp, encode_batch
from support import build, database
from support.generate import MONDAY, Generator
from support.outcome import seeded

DAYS = list(range(MONDAY, MONDAY + 6))
STAMP = Stamp(
    unix_us=1_767_571_200_123_456,  # 2026-01-05 00:00:00.123456
    id_unix_ms=1_767_571_200_999,
    random=bytes(range(16)),
)


class Chunk:
    """Portfolios, and the rows that the reference and the core have for them."""

    def __init__(self, seed: int, portfolios: int = 5) -> None:
        generator = Generator(seeded(f"save {seed}").randint, odd=0, edges=False)
        made = [generator.portfolio(f"p{number}") for number in range(portfolios)]
        self.portfolios = sorted(
            (ref.Portfolio(p.id, p.opening_equity, p.positions, p.flows) for p in made),
            key=lambda portfolio: database.key(portfolio.id).bytes,
        )
        prices = generator.market()
        self.rows = batchcore.compute(
            build.inputs(self.portfolios, prices, DAYS), build.session_days(DAYS)
        )
        self.ids = build.uuids(portfolio.id for portfolio in self.portfolios)
        market = ref.market(prices)
        self.expected = {
            (database.key(portfolio.id), row.day): database.cells(row)
            for portfolio in self.portfolios
            for row in ref.roll_forward(portfolio, market, DAYS).rows
        }
        assert len(self.rows) == portfolios * len(DAYS)

    def equities(self, cents: int = 12345) -> Equities:
        every = np.arange(len(self.ids), dtype=np.int64) - 2  # negative, zero and positive
        return Equities(self.ids, every * cents)

    def batch(self, *, exist: np.ndarray | None = None, stamp: Stamp = STAMP) -> snapshots.Batch:
        if exist is None:
            exist = np.zeros(len(self.rows), dtype=np.bool_)
        return encode_batch(self.rows, self.ids, exist, self.equities(), stamp)

    async def fill(self, url: str) -> None:
        await database.fill(url, database.Host(tuple(self.portfolios)))


async def committed(session: Session, batch: snapshots.Batch) -> None:
    async with transaction(session):
        await snapshots.write_batch(session, Schema(), batch, STAMP)


async def write(url: str, batch: snapshots.Batch) -> None:
    async with Database(url).writing("persist") as session:
        await committed(session, batch)


def cells(stored: database.Snapshots, chunk: Chunk) -> database.Snapshots:
    """Return the columns that the policy fills."""
    return {
        at: {name: row[name] for name in expected}
        for (at, row), expected in zip(stored.items(), chunk.expected.values(), strict=True)
    }


@pytest.mark.parametrize("seed", range(3))
async def test_new_rows_are_those_of_the_reference(same_host: str, seed: int) -> None:
    chunk = Chunk(seed)
    await chunk.fill(same_host)

    await write(same_host, chunk.batch())

    stored = await database.snapshots(same_host)
    assert cells(stored, chunk) == chunk.expected
    first, *others = (row["id"] for row in stored.values())
    # 0x019b8b... is the millisecond; then the version, and the last 73 bits of what is random
    assert first.int >> 80 == STAMP.id_unix_ms
    assert first.version == 7
    counted = [first.int + number for number in range(1, len(others) + 1)]
    assert [one.int for one in others] == counted
    assert {row["created_at"].isoformat() for row in stored.values()} == {
        "2026-01-05T00:00:00.123456+00:00"
    }
    assert await database.equities(same_host) == {
        uuid.UUID(bytes=bytes(own)): Decimal(12345 * (row - 2)).scaleb(-2)
        for row, own in enumerate(chunk.ids)
    }


def test_what_a_run_writes_is_what_the_description_says() -> None:
    batch = Chunk(0).batch()
    snapshots, portfolios = HOST["portfolio_snapshots"], HOST["portfolios"]
    assert set(batch.new.columns) == set(snapshots.names(Use.RUN))
    kept = {"id", "created_at"}
    assert set(batch.replaced.columns) == set(snapshots.names(Use.RUN)) - kept
    assert {*batch.equity.columns} - {"id"} <= {c.name for c in portfolios.columns if c.writes}


async def test_bytes_may_be_cut_into_pieces_of_any_size(
    same_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = Chunk(4)
    await chunk.fill(same_host)
    whole = chunk.batch()
    monkeypatch.setattr(fields, "PIECE_BYTES", 100)

    batch = chunk.batch()

    assert len(batch.new.pieces) > 20
    assert b"".join(batch.new.pieces) == b"".join(whole.new.pieces)
    assert batch.size_bytes == whole.size_bytes
    await write(same_host, batch)
    assert cells(await database.snapshots(same_host), chunk) == chunk.expected


async def test_a_row_to_replace_that_is_gone_undoes_the_chunk(same_host: str) -> None:
    chunk = Chunk(6)
    await chunk.fill(same_host)
    stands = np.zeros(len(chunk.rows), dtype=np.bool_)
    stands[3] = True

    with pytest.raises(DatabaseError, match=r"portfolio_snapshots: 1 of 1 row sent is missing$"):
        await write(same_host, chunk.batch(exist=stands))

    assert await database.snapshots(same_host) == {}
    assert set((await database.equities(same_host)).values()) == {
        portfolio.opening_equity for portfolio in chunk.portfolios
    }


async def test_a_portfolio_whose_equity_stays_is_not_touched(same_host: str) -> None:
    chunk = Chunk(8)
    await chunk.fill(same_host)
    async with database.connected(same_host) as connection:
        await connection.execute(
            "UPDATE portfolios SET equity_balance = 0 WHERE id = $1",
            uuid.UUID(bytes=bytes(chunk.ids[2])),  # which `equities` sets to 0
        )
        await write(same_host, chunk.batch())
        moments = await connection.fetch("SELECT id, updated_at FROM portfolios ORDER BY id")
    told = ["2026-01-05T00:00:00.123456+00:00"] * 5
    told[2] = database.MOMENT.isoformat()
    assert [row["updated_at"].isoformat() for row in moments] == told


async def test_an_empty_chunk_has_no_bytes() -> None:
    rows = batchcore.compute(build.inputs(), build.session_days([]))
    no_ids = np.zeros((0, 16), dtype=np.uint8)
    none = np.zeros(0, dtype=np.bool_)
    batch = encode_batch(rows, no_ids, none, Equities(no_ids, np.zeros(0, dtype=np.int64)), STAMP)
    assert batch.size_bytes == 0
    assert [part.rows for part in batch.parts()] == [0, 0, 0]
    assert len(batch.portfolios()) == 0


@pytest.mark.parametrize("kept", [(0,), (4,), (1, 3), (0, 1, 2, 3, 4), ()])
async def test_what_is_cut_of_a_chunk_are_the_rows_of_some_portfolios(
    same_host: str, kept: tuple[int, ...]
) -> None:
    chunk = Chunk(10)
    await chunk.fill(same_host)
    own = {uuid.UUID(bytes=bytes(chunk.ids[portfolio])) for portfolio in kept}
    whole = chunk.batch()
    before = await database.equities(same_host)

    batch = whole.cut(np.isin(np.arange(5), kept))
    await write(same_host, batch)

    assert batch.portfolios().tolist() == list(kept)
    assert batch.snapshots == len(kept) * len(DAYS)
    expected = {at: row for at, row in chunk.expected.items() if at[0] in own}
    stored = await database.snapshots(same_host)
    assert set(stored) == set(expected)
    for at, row in expected.items():
        assert stored[at].items() >= row.items()
    changed = await database.equities(same_host)
    assert {at for at in changed if changed[at] != before[at]} <= own
