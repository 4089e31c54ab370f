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
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from batch import command, state
from batch.command import Found, empty_folder, exit_code, machine, shuffled
from batch.compare import check_count, check_with_reference
from batch.contest import child
from batch.data import SETTINGS, fill
from batch.job import Job, job_of
from batch.sizes import POSITIONS, Size
from batch.table import MIB, aligned, tell
from batch.wire import connected
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
    """How a figure grows: along a line from `at_none` by `each`, or as a power of `exponent`."""

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
    """What the processes of each case told, by its name; the first case is the base."""

    cases: list[Case]
    told: dict[str, list[dict[str, Any]]]

    def medians(self, case: Case) -> dict[str, float]:
        runs = self.told[case.name]
        names = (*PHASES, "peak_bytes", "statements")
        found = {name: float(median(run[name] for run in runs)) for name in names}
        return {**found, "chunks": median(run["notes"]["chunks"] for run in runs)}

    def series(self, dimension: str) -> list[tuple[int, dict[str, float]]]:
        """Return what grows and the medians, the base among them, ascending."""
        base = self.cases[0]
        found = [(getattr(base.size, DIMENSIONS[dimension]), self.medians(base))]
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
                dimension: {name: asdict(fit) for name, fit in fits.items()}
                for dimension, fits in self.fits().items()
            },
            "rounds": self.told,
        }


async def study(
    server: embedded.EmbeddedServer,
    base: Size,
    factors: Sequence[float],
    *,
    rounds: int,
    seed: int,
    folder: Path,
) -> Growth:
    """Return what each case took, on a database of its own.

    Raises:
        DiffersError: rows are missing, or differ from those of the reference.
    """
    cases = cases_of(base, factors)
    jobs = {case.name: await _filled(server, case, folder) for case in cases}
    told: dict[str, list[dict[str, Any]]] = {case.name: [] for case in cases}
    for number, case in shuffled(cases, rounds, random.Random(seed)):
        url, job = server.database_url(case.database), jobs[case.name]
        async with connected(url) as connection:
            await state.put_back(connection, job)
        took = child("batchcore", url, job)
        async with connected(url) as connection:
            await check_count(connection, job)
            if number == 1:
                await check_with_reference(url, connection, job, CHECKED, seed)
        told[case.name].append(took)
        tell(f"  {case.name:20} {took['total']:8.3f} s")
    return Growth(cases, told)


async def _filled(server: embedded.EmbeddedServer, case: Case, folder: Path) -> Job:
    """Make the database of a case; return what is to be done on it."""
    tell(f"{case.name}: {case.size}")
    async with connected(server.url) as connection:
        await connection.execute(f"CREATE DATABASE {case.database}")
    url = server.database_url(case.database)
    await fill(url, case.size, analytics=False)
    async with connected(url) as connection:
        await state.keep_opening(connection)
    own = folder / case.database
    own.mkdir()
    return job_of("backfill", case.size, own)


def parser() -> argparse.ArgumentParser:
    made = command.parser("batch.scaling", __doc__, rounds=3)
    made.add_argument("--portfolios", type=int, default=BASE.portfolios)
    made.add_argument("--lots", type=int, default=POSITIONS)
    made.add_argument("--symbols", type=int, default=BASE.symbols)
    made.add_argument("--sessions", type=int, default=BASE.sessions)
    made.add_argument("--factors", default=",".join(f"{factor:g}" for factor in FACTORS))
    return made


def run(given: argparse.Namespace) -> Found:
    base = Size("base", given.portfolios, given.symbols, given.sessions, given.lots)
    factors = [float(factor) for factor in given.factors.split(",")]
    with empty_folder() as folder, embedded.start(settings=SETTINGS) as server:
        on = machine(server.url)
        found = asyncio.run(
            study(server, base, factors, rounds=given.rounds, seed=given.seed, folder=folder)
        )
    head = f"backfill of {base}, each varied alone; medians of {given.rounds} runs, seconds"
    return [head, on], found.lines(), found.figures()


if __name__ == "__main__":
    sys.exit(exit_code(parser(), run))
