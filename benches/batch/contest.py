"""The rounds: each side in its turn, on tables that were put back, its rows compared."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from batch import state
from batch.compare import Expected, check_with_reference
from batch.job import Job
from batch.outputs import Outputs, keep_outputs
from batch.sides import SIDES, Entry, floor
from batch.sides.native import CAPTURED
from batch.table import Rounds, tell
from batch.wire import connected

ROUNDS = {"daily": 5, "backfill": 3}
CHECKED = {"daily": 200, "backfill": 30}
"""Portfolios that are checked with the reference, all their sessions."""

READINGS = 3
CLOSE = 0.1
"""By how much the SELECTs of the floor and those of batchcore may differ without a word."""


@dataclass(frozen=True, slots=True)
class Contest:
    """A job, and those who do it so many `rounds`, by default those of `ROUNDS`."""

    url: str
    job: Job
    sides: tuple[Entry, ...]
    rounds: int | None
    seed: int

    async def run(self) -> Rounds:
        """Return what each side took; raise `DiffersError` where one wrote something else."""
        await keep_history(self.url, self.job)
        expected = await self._expected()
        await self._cross_check()
        only = {
            side.name: await self._drawn(side.portfolios)
            for side in self.sides
            if side.portfolios is not None and side.portfolios < self.job.portfolios
        }
        found = Rounds(self.job.portfolios, on={side: len(ids) for side, ids in only.items()})
        dice = random.Random(self.seed)
        rounds = self.rounds or ROUNDS[self.job.name]
        for number in range(1, rounds + 1):
            turn = [s for s in self.sides if number <= s.rounds.get(self.job.name, rounds)]
            dice.shuffle(turn)
            tell(f"round {number} of {rounds}: {', '.join(side.name for side in turn)}")
            for side in turn:
                found.add(side.name, await self._one(side.name, expected, only.get(side.name, ())))
        return found

    async def _one(
        self, side: str, expected: Expected, only: Sequence[UUID] = ()
    ) -> dict[str, Any]:
        """Run a side once and compare what it wrote."""
        job = replace(self.job, only=tuple(only))
        await self._put_back(job)
        told = child(side, self.url, job)
        async with connected(self.url) as connection:
            rows = await expected.compare(connection, side, only)
        if rows != job.rows_after:
            raise RuntimeError(f"{side}: {rows:,} rows stand, expected {job.rows_after:,}")
        tell(f"  {side:10} {told['total']:9.3f} s, the same {rows:,} rows")
        return told

    async def _put_back(self, job: Job) -> None:
        async with connected(self.url) as connection:
            await state.put_back(connection, job)

    async def _expected(self) -> Expected:
        """Return what batchcore writes, checked with the reference."""
        await self._put_back(self.job)
        (self.job.path / CAPTURED).touch()
        child("batchcore", self.url, self.job)
        async with connected(self.url) as connection:
            checked = await check_with_reference(
                self.url, connection, self.job, CHECKED[self.job.name], self.seed
            )
            tell(checked)
            await keep_outputs(connection, self.job)
            return await Expected.kept(connection, self.job)

    async def _cross_check(self) -> None:
        """Tell whether the floor reads what batchcore reads, and how much longer either takes."""
        sent = json.loads((self.job.path / CAPTURED).read_text(encoding="utf-8"))
        (self.job.path / CAPTURED).unlink()  # so that no timed run keeps its own
        await self._put_back(self.job)
        sets = {"floor": floor.selects(self.job, Outputs.read(self.job.path).symbols)}
        async with connected(self.url) as connection:
            read = await floor.reading(connection, {**sets, "batchcore": sent}, READINGS)
        for name, one in read.items():
            tell(
                f"the SELECTs of {name}: {one.rows:,} rows, {one.size_bytes:,} bytes,"
                f" {one.seconds:.3f} s"
            )
        least, most = sorted(one.seconds for one in read.values())
        if most > least * (1 + CLOSE):
            tell(f"they differ by {most / least - 1:.0%}")

    async def _drawn(self, count: int) -> tuple[UUID, ...]:
        async with connected(self.url) as connection:
            rows = await connection.fetch(
                "SELECT id FROM portfolios WHERE deleted_at IS NULL"
                " ORDER BY md5($2::text || id::text) LIMIT $1",
                count,
                str(self.seed),
            )
        return tuple(sorted(UUID(bytes=row["id"].bytes) for row in rows))


async def keep_history(url: str, job: Job) -> None:
    """Make the snapshots that a daily run goes on from, once."""
    async with connected(url) as connection:
        await state.keep_opening(connection)
        if not job.history or await state.has_history(connection, len(job.history)):
            return
    before = replace(job, sessions=job.history, history=(), analytics="none", options={})
    async with connected(url) as connection:
        await state.put_back(connection, before)
    child("batchcore", url, before)
    async with connected(url) as connection:
        await state.keep_history(connection, len(job.history))


def child(side: str, url: str, job: Job) -> dict[str, Any]:
    """Return what a side told of a run in a process of its own."""
    file = job.path / "job.json"
    file.write_text(job.to_json(), encoding="utf-8")
    benches = os.fspath(Path(__file__).parents[1])
    paths = [benches, *SIDES[side].path, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has its bytecode
    command = [sys.executable, "-m", "batch.child", "--side", side, "--url", url]
    command += ["--job", os.fspath(file), "--spawned-ns", str(time.time_ns())]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{side} failed:\n{done.stderr.decode(errors='replace')}")
    return json.loads(done.stdout.splitlines()[-1])
