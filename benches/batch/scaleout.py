"""How far one server goes, and what comes next: measured runs, a model of them, a simulation.

    python -m batch.scaleout --sizes s,m,l --processes 1,2,4 --servers 1,2,3 --json scaleout.json

with `benches/` on the path. Servers of this machine hold a size each; `batchcore run --processes`
does a daily run on all of them at the same time, one command for each. Processor time is that which
the system has counted for the commands and for the servers. The costs of `model` are fitted to the
runs; the table shows how far the model, and `simulation`, are from each, and then what the model
says of other machines.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import psutil

from batch import command, state
from batch.command import Found, empty_folder, exit_code, machine, shuffled
from batch.compare import check_count
from batch.contest import keep_history
from batch.data import server
from batch.job import Job, job_of
from batch.model import Costs, Layout, Took, best, bound, errors, fitted, seconds
from batch.simulation import simulated
from batch.sizes import SIZES
from batch.table import MIB, aligned, tell
from batch.wire import connected
from batchcore.cli.options import URL_VARIABLE
from batchcore.demo import embedded

WRITTEN = 256 * MIB
"""Bytes by which the disk of the log is timed."""

PORTFOLIOS = (1_000_000, 10_000_000, 100_000_000)
CORES = (8, 16, 32, 64)
SERVERS = (1, 2, 4, 8, 16)
"""What the model is asked about."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server, and the job on what it holds."""

    server: embedded.EmbeddedServer
    job: Job

    @property
    def url(self) -> str:
        return self.server.url

    def processor_s(self) -> float:
        """Return what it has taken, those of its processes that have ended included."""
        file = self.server.data_dir / "data" / "postmaster.pid"
        main = psutil.Process(int(file.read_text(encoding="ascii").split("\n", 1)[0]))
        while True:
            try:
                every = [main.cpu_times(), *(one.cpu_times() for one in main.children())]
            except psutil.NoSuchProcess:  # it has ended, and so counts among those
                continue
            ended = every[0].children_user + every[0].children_system
            return ended + sum(one.user + one.system for one in every)


async def study(
    servers: dict[str, list[Server]],
    processes: Sequence[int],
    counts: Sequence[int],
    rounds: int,
    seed: int,
) -> list[Took]:
    """Return the median run of each layout: servers of a size, and processes for each of them."""
    cases = [(size, each, count) for size in servers for each in processes for count in counts]
    told: dict[tuple[str, int, int], list[Took]] = {case: [] for case in cases}
    for held in servers.values():
        for one in held:
            await keep_history(one.url, one.job)
    for _, (size, each, count) in shuffled(cases, rounds, random.Random(seed)):
        took = await _one(servers[size][:count], each)
        told[size, each, count].append(took)
        tell(f"  {f'{count} x {size}, {each} processes':24} {took.seconds:8.3f} s")
    return [sorted(runs, key=lambda one: one.seconds)[len(runs) // 2] for runs in told.values()]


async def _one(servers: Sequence[Server], processes: int) -> Took:
    for one in servers:
        async with connected(one.url) as connection:
            await state.put_back(connection, one.job)
    logs = [await _log_bytes(one.url) for one in servers]
    taken = [one.processor_s() for one in servers]
    own, began = _children_s(), time.perf_counter()
    commands = [_started(one, processes) for one in servers]
    outputs = [command.communicate()[0] for command in commands]
    took = time.perf_counter() - began
    if any(command.returncode for command in commands):
        raise RuntimeError(f"a run failed: {[one.returncode for one in commands]}")
    reports = [json.loads(output) for output in outputs]
    for one in servers:
        async with connected(one.url) as connection:
            await check_count(connection, one.job)
    phases = [report["seconds_by_phase"] for report in reports]
    return Took(
        layout=Layout(
            portfolios=sum(one.job.portfolios for one in servers),
            cores=os.cpu_count() or 1,
            servers=len(servers),
            processes=processes,
            machines=1,
        ),
        seconds=took,
        client_s=_children_s() - own,
        server_s=sum(s.processor_s() - t for s, t in zip(servers, taken, strict=True)),
        log_bytes=sum([await _log_bytes(one.url) for one in servers]) - sum(logs),
        load_s=sum(one["load"] for one in phases),
        persist_s=sum(one["persist"] for one in phases),
        chunks=sum(report["chunks"] for report in reports),
    )


def _started(one: Server, processes: int) -> subprocess.Popen[bytes]:
    day = one.job.start.isoformat()
    words = ["run", "--start", day, "--end", day, "--analytics", "none", "--json"]
    words += ["--processes", str(processes)] if processes > 1 else []
    return subprocess.Popen(
        [sys.executable, "-m", "batchcore", *words],
        env={**os.environ, URL_VARIABLE: one.url},
        stdout=subprocess.PIPE,
    )


def _children_s() -> float:
    """Return the processor time of commands that have ended, and of their processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


async def _log_bytes(url: str) -> int:
    async with connected(url) as connection:
        return int(await connection.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"))


def disk_bytes_s(folder: Path) -> float:
    """Return how many bytes a file of a folder takes in a second, as a log does."""
    piece = os.urandom(MIB)
    with tempfile.TemporaryFile(dir=folder) as file:
        began = time.perf_counter()
        for _ in range(WRITTEN // MIB):
            file.write(piece)
            file.flush()
            os.fdatasync(file.fileno())
        return WRITTEN / (time.perf_counter() - began)


def checked(costs: Costs, runs: Sequence[Took]) -> list[list[str]]:
    """Return a table of what was measured, of the model and of the simulation."""
    table = [["portfolios", "servers", "processes", "seconds", "model", "", "simulation", ""]]
    told = [seconds(costs, run.layout) for run in runs]
    events = [simulated(costs, run.layout) for run in runs]
    measured = [run.seconds for run in runs]
    rows = zip(runs, told, errors(measured, told), events, errors(measured, events), strict=True)
    for run, model, off, event, event_off in rows:
        at = run.layout
        table.append(
            [
                *(f"{at.portfolios:,}", f"{at.servers}", f"{at.processes}", f"{run.seconds:.2f}"),
                *(f"{model:.2f}", f"{off:+.0%}", f"{event:.2f}", f"{event_off:+.0%}"),
            ]
        )
    return table


def asked(costs: Costs) -> list[list[str]]:
    """Return a table of what the model says: time, what it waits for, and processes of a server."""
    table = [["portfolios", "cores", *(f"{count} servers" for count in SERVERS)]]
    for portfolios in PORTFOLIOS:
        for cores in CORES:
            cells = []
            for servers in SERVERS:
                at = best(costs, portfolios, cores, servers)
                cells.append(f"{_time(seconds(costs, at))} {bound(costs, at)} {at.processes}")
            table.append([f"{portfolios:,}", f"{cores}", *cells])
    return table


def _time(taken: float) -> str:
    return f"{taken:.0f} s" if taken < 120 else f"{taken / 60:.0f} min"


def report(costs: Costs, runs: Sequence[Took]) -> list[str]:
    """Return all lines."""
    shown = [f"{name} {value:.3g}" for name, value in asdict(costs).items()]
    absolute = [
        median(map(abs, errors([run.seconds for run in runs], told)))
        for told in (
            [seconds(costs, run.layout) for run in runs],
            [simulated(costs, run.layout) for run in runs],
        )
    ]
    return [
        *shown,
        "",
        *aligned(checked(costs, runs)),
        f"median error: model {absolute[0]:.0%}, simulation {absolute[1]:.0%}",
        "",
        *aligned(asked(costs)),
    ]


def parser() -> argparse.ArgumentParser:
    made = command.parser("batch.scaleout", __doc__, rounds=3)
    made.add_argument("--sizes", default="s,m,l")
    made.add_argument("--processes", default="1,2,4")
    made.add_argument("--servers", default="1,2,3")
    made.add_argument("--data", type=Path, help="folder that keeps the databases")
    return made


def run(given: argparse.Namespace) -> Found:
    sizes = [SIZES[name] for name in given.sizes.split(",")]
    counts = [int(count) for count in given.servers.split(",")]
    processes = [int(count) for count in given.processes.split(",")]
    with ExitStack() as stack:
        folder = stack.enter_context(empty_folder())
        servers: dict[str, list[Server]] = {}
        for size in sizes:
            for number in range(max(counts)):
                kept = None if given.data is None else given.data / str(number)
                started = stack.enter_context(server(size, folder=kept))
                own = folder / f"{size.name}{number}"
                own.mkdir()
                job = job_of("daily", size, own)
                servers.setdefault(size.name, []).append(Server(started, job))
        on = machine(servers[sizes[0].name][0].url)
        runs = asyncio.run(study(servers, processes, counts, given.rounds, given.seed))
        costs = fitted(runs, disk_bytes_s(folder))
    head = f"daily runs on {', '.join(map(str, sizes))}; medians of {given.rounds} runs"
    figures = {"costs": asdict(costs), "runs": [*map(asdict, runs)]}
    return [head, on], report(costs, runs), figures


if __name__ == "__main__":
    sys.exit(exit_code(parser(), run))
