"""How the cost of a run grows: with portfolios, lots, symbols and sessions, each varied alone.

    python -m batch.scaling --json scaling.json

with `benches/` on the path. Each case is a database of its own on one server; a backfill of all
its sessions by batchcore is timed, in a process of its own, on tables put back as for a contest.
The cases take turns in a shuffled order. Rows are counted after each run, and in the first round
some portfolios are checked with the reference.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
import numpy as np

from batch import state
from batch.command import exit_code, machine
from batch.compare import DiffersError, check_with_reference
from batch.contest import child
from batch.data import SETTINGS, connected, fill
from batch.job import Job, job_of
from batch.sizes import POSITIONS, SEED, Size
from batch.table import MIB, aligned, keep, tell
from batchcore.demo import embedded

DIMENSIONS = {
    "portfolios": "portfolios",
    "lots": "positions",
    "symbols": "symbols",
    "sessions": "sessions",
}
"""What grows, by the field of a size."""

BASE = Size("base", 4000, symbols=1000, sessions=20)
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
ROUNDS = 3
CHECKED = 5
"""Portfolios of each case that are checked with the reference."""

PHASES = ("total", "load", "compute", "persist")


@dataclass(frozen=True, slots=True)
class Case:
    """A size, and the value of what grows in it; `dimension` is empty for the base."""

    dimension: str
    value: int
    size: Size

    @property
    def name(self) -> str:
        return f"{self.dimension} {self.value:,}" if self.dimension else "base"

    @property
    def database(self) -> str:
        return f"{self.dimension}_{self.value}" if self.dimension else "base"


@dataclass(frozen=True, slots=True)
class Fit:
    """How a figure grows.

    Attributes:
        each: Of a straight line, by unit of what grows.
        at_none: Where that line begins.
        exponent: Of a power law: 1 is in proportion, 0 not at all.
    """

    each: float
    at_none: float
    exponent: float

    @classmethod
    def of(cls, values: Sequence[int], figures: Sequence[float]) -> "Fit":
        each, at_none = np.polyfit(values, figures, 1)
        exponent, _ = np.polyfit(np.log(values), np.log(figures), 1)
        return cls(float(each), float(at_none), float(exponent))


def cases_of(base: Size, factors: Sequence[float]) -> list[Case]:
    """Return the base, and each dimension times each factor, but 1 and what is less than one."""
    cases = [Case("", 0, base)]
    for dimension, name in DIMENSIONS.items():
        values = {round(getattr(base, name) * factor) for factor in factors}
        cases += [
            Case(dimension, value, replace(base, **{name: value}))
            for value in sorted(values - {0, getattr(base, name)})
        ]
    return cases


@dataclass(frozen=True, slots=True)
class Growth:
    """What the runs of each case took.

    Attributes:
        base: What the other cases vary.
        cases: The base first.
        told: By name of a case, what its processes told.
    """

    base: Size
    cases: list[Case]
    told: dict[str, list[dict[str, Any]]]

    def medians(self, case: Case) -> dict[str, float]:
        runs = self.told[case.name]
        names = (*PHASES, "peak_bytes", "statements")
        found = {name: float(median(run[name] for run in runs)) for name in names}
        return {**found, "chunks": median(run["notes"]["chunks"] for run in runs)}

    def series(self, dimension: str) -> list[tuple[int, dict[str, float]]]:
        """Return what grows and the medians, the base among them, ascending."""
        found = [(getattr(self.base, DIMENSIONS[dimension]), self.medians(self.cases[0]))]
        found += [(c.value, self.medians(c)) for c in self.cases if c.dimension == dimension]
        return sorted(found, key=lambda one: one[0])

    def fits(self) -> dict[str, dict[str, Fit]]:
        """Return by dimension how seconds in all, those of phases, and peak memory grow."""
        return {
            dimension: {
                name: Fit.of([value for value, _ in found], [one[name] for _, one in found])
                for name in (*PHASES, "peak_bytes")
            }
            for dimension in DIMENSIONS
            if len(found := self.series(dimension)) > 1
        }

    def lines(self) -> list[str]:
        head = ["", "", *PHASES, "peak MiB", "statements", "chunks"]
        body = [head]
        for dimension in DIMENSIONS:
            for value, one in self.series(dimension):
                cells = [f"{one[name]:.3f}" for name in PHASES]
                cells += [f"{one['peak_bytes'] / MIB:.0f}"]
                cells += [f"{one['statements']:.0f}", f"{one['chunks']:.0f}"]
                body.append([dimension, f"{value:,}", *cells])
        fitted = [["", "ms each", "s at none", *(f"^ {name}" for name in PHASES), "KiB each"]]
        for dimension, fits in self.fits().items():
            total = fits["total"]
            fitted.append(
                [
                    dimension,
                    f"{total.each * 1000:.4f}",
                    f"{total.at_none:.3f}",
                    *(f"{fits[name].exponent:.2f}" for name in PHASES),
                    f"{fits['peak_bytes'].each / 1024:.2f}",
                ]
            )
        return [*aligned(body), "", *aligned(fitted)]

    def figures(self) -> dict[str, Any]:
        return {
            "medians": {case.name: self.medians(case) for case in self.cases},
            "fits": {
                dimension: {
                    name: {"each": fit.each, "at_none": fit.at_none, "exponent": fit.exponent}
                    for name, fit in fits.items()
                }
                for dimension, fits in self.fits().items()
            },
            "rounds": self.told,
        }


@dataclass(frozen=True, slots=True)
class Study:
    """The cases and how they are run.

    Attributes:
        server: That holds a database for each case.
        base: What the cases vary.
        factors: By how much.
        rounds: How often each case is run.
        seed: Of the order in each round.
        folder: An empty one.
        tell: Called with a line for each step.
    """

    server: embedded.EmbeddedServer
    base: Size
    factors: Sequence[float]
    rounds: int
    seed: int
    folder: Path
    tell: Callable[[str], object]

    async def run(self) -> Growth:
        """Return what each case took.

        Raises:
            DiffersError: rows are missing, or differ from those of the reference.
        """
        cases = cases_of(self.base, self.factors)
        jobs = {case.name: await self._filled(case) for case in cases}
        told: dict[str, list[dict[str, Any]]] = {case.name: [] for case in cases}
        dice = random.Random(self.seed)
        for number in range(1, self.rounds + 1):
            self.tell(f"round {number} of {self.rounds}")
            for case in dice.sample(cases, len(cases)):
                took = await self._one(case, jobs[case.name], check=number == 1)
                told[case.name].append(took)
                self.tell(f"  {case.name:20} {took['total']:8.3f} s")
        return Growth(self.base, cases, told)

    def _url(self, case: Case) -> str:
        return self.server.database_url(case.database)

    async def _filled(self, case: Case) -> Job:
        """Make the database of a case; return what is to be done on it."""
        self.tell(f"{case.name}: {case.size}")
        async with connected(self.server.url) as connection:
            await connection.execute(f"CREATE DATABASE {case.database}")
        await fill(self._url(case), case.size, analytics=False)
        async with connected(self._url(case)) as connection:
            await state.keep_opening(connection)
        folder = self.folder / case.database
        folder.mkdir()
        return job_of("backfill", case.size, history=0, analytics="none", folder=folder)

    async def _one(self, case: Case, job: Job, *, check: bool) -> dict[str, Any]:
        url = self._url(case)
        async with connected(url) as connection:
            await state.put_back(connection, job)
        told = child("batchcore", url, job)
        async with connected(url) as connection:
            await _count(connection, case, job)
            if check:
                await check_with_reference(url, connection, job, CHECKED, self.seed)
        return told


async def _count(connection: asyncpg.Connection, case: Case, job: Job) -> None:
    rows = await connection.fetchval("SELECT count(*) FROM portfolio_snapshots")
    if rows != job.rows:
        raise DiffersError(f"{case.name}: {rows:,} rows stand, expected {job.rows:,}")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m batch.scaling", description=__doc__)
    made.add_argument("--portfolios", type=int, default=BASE.portfolios)
    made.add_argument("--lots", type=int, default=POSITIONS)
    made.add_argument("--symbols", type=int, default=BASE.symbols)
    made.add_argument("--sessions", type=int, default=BASE.sessions)
    made.add_argument("--factors", default=",".join(f"{factor:g}" for factor in FACTORS))
    made.add_argument("--rounds", type=int, default=ROUNDS)
    made.add_argument("--json", type=Path, help="file for the figures of every round")
    made.add_argument("--seed", type=int, default=SEED, help="of the order of cases")
    return made


def run(given: argparse.Namespace) -> None:
    base = Size("base", given.portfolios, given.symbols, given.sessions, given.lots)
    with (
        tempfile.TemporaryDirectory(prefix="batchcore-bench-") as folder,
        embedded.start(settings=SETTINGS) as server,
    ):
        on = machine(server.url)
        study = Study(
            server=server,
            base=base,
            factors=[float(factor) for factor in given.factors.split(",")],
            rounds=given.rounds,
            seed=given.seed,
            folder=Path(folder),
            tell=tell,
        )
        found = asyncio.run(study.run())
    head = [
        f"backfill of {base}, each varied alone; medians of {given.rounds} runs, seconds",
        on,
    ]
    tell("", *head, *found.lines())
    if given.json is not None:
        keep(given.json, {"head": head, **found.figures()})


def main() -> int:
    given = parser().parse_args()
    return exit_code(lambda: run(given))


if __name__ == "__main__":
    sys.exit(main())
