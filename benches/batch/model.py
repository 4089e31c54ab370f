"""How long a daily run takes on how much hardware: operational bounds on measured costs, pure.

A run is as slow as the station with the most work (Lazowska et al., *Quantitative System
Performance*, 1984, chapter 5), after what each process does by itself before and after.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

LANES = 4
"""Connections of a process that work side by side."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a daily run costs.

    In `alone_s` no portfolio is worked on. Of a core, each process takes `client_start_s`, however
    few portfolios it has, and its server `server_start_s` for it; each portfolio takes `client_s`
    and `server_s`, of which `load_share` is loading and the rest writing. The disk of a server
    takes `log_bytes_s`, a portfolio has `log_bytes`. `spread` is the standard deviation of the
    costs of a chunk, as a share of their mean.
    """

    alone_s: float
    client_start_s: float
    server_start_s: float
    client_s: float
    server_s: float
    log_bytes: float
    log_bytes_s: float
    load_share: float = 0.5
    chunk: int = 10_000
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Layout:
    """What a run has: portfolios in all, cores of each machine, processes for each server.

    Servers have as many portfolios each, and a machine each unless `machines` says how many.
    """

    portfolios: int
    cores: int
    servers: int = 1
    processes: int = 1
    machines: int = 0

    @property
    def on_a_server(self) -> float:
        return self.portfolios / self.servers

    @property
    def servers_of_a_machine(self) -> float:
        return self.servers / (self.machines or self.servers)


def bounds(costs: Costs, layout: Layout) -> dict[str, float]:
    """Return the seconds that a run takes at least, by what it waits for.

    - `cores`: the machine, of which processes and server share the cores
    - `loops`: the event loop of each process, which is one thread
    - `connections`: each is one process of the server
    - `log`: of the server, which is one stream
    """
    own, count = layout.on_a_server, layout.processes
    client = count * costs.client_start_s + own * costs.client_s
    server = count * costs.server_start_s + own * costs.server_s
    return {
        "cores": layout.servers_of_a_machine * (client + server) / layout.cores,
        "loops": client / count,
        "connections": costs.server_start_s + own * costs.server_s / (count * LANES),
        "log": own * costs.log_bytes / costs.log_bytes_s,
    }


def seconds(costs: Costs, layout: Layout) -> float:
    """Return how long a run takes."""
    return costs.alone_s + max(bounds(costs, layout).values())


def bound(costs: Costs, layout: Layout) -> str:
    """Return what a run waits for."""
    found = bounds(costs, layout)
    return max(found, key=lambda name: found[name])


def best(costs: Costs, portfolios: int, cores: int, servers: int) -> Layout:
    """Return the layout with the fewest processes of those that are fastest, within 1 %."""
    layouts = [Layout(portfolios, cores, servers, count) for count in range(1, cores + 1)]
    least = min(seconds(costs, layout) for layout in layouts)
    return next(layout for layout in layouts if seconds(costs, layout) <= 1.01 * least)


@dataclass(frozen=True, slots=True)
class Took:
    """What a run took, of all processes and servers together.

    `client_s` and `server_s` are seconds of a core, `load_s` and `persist_s` those of reports.
    """

    layout: Layout
    seconds: float
    client_s: float
    server_s: float
    log_bytes: float
    load_s: float
    persist_s: float
    chunks: int


def fitted(runs: Sequence[Took], log_bytes_s: float) -> Costs:
    """Return the costs by which runs are explained best, by least squares of relative errors."""
    processes = [run.layout.processes * run.layout.servers for run in runs]
    portfolios = [run.layout.portfolios for run in runs]
    client_start_s, client_s = _line(processes, portfolios, [run.client_s for run in runs])
    server_start_s, server_s = _line(processes, portfolios, [run.server_s for run in runs])
    log_bytes = [run.log_bytes / run.layout.portfolios for run in runs]
    load_s, persist_s = sum(run.load_s for run in runs), sum(run.persist_s for run in runs)
    costs = Costs(
        alone_s=0.0,
        client_start_s=client_start_s,
        server_start_s=server_start_s,
        client_s=client_s,
        server_s=server_s,
        log_bytes=float(np.median(log_bytes)),
        log_bytes_s=log_bytes_s,
        load_share=load_s / (load_s + persist_s),
        chunk=max(run.layout.portfolios // run.chunks for run in runs),
    )
    left = [run.seconds - seconds(costs, run.layout) for run in runs]
    return replace(costs, alone_s=max(float(np.median(left)), 0.0))


def _line(
    processes: Sequence[int], portfolios: Sequence[int], took: Sequence[float]
) -> tuple[float, float]:
    """Return what each process and each portfolio adds, neither less than nothing."""
    weights = 1 / np.asarray(took)
    matrix = np.stack([processes, portfolios], axis=1) * weights[:, None]
    start, each = np.linalg.lstsq(matrix, np.ones(len(took)), rcond=None)[0].tolist()
    if start < 0 or each < 0:
        only = [float(np.mean(np.asarray(took) / one)) for one in (processes, portfolios)]
        start, each = (0.0, only[1]) if start < 0 else (only[0], 0.0)
    return start, each


def errors(took: Iterable[float], told: Iterable[float]) -> list[float]:
    """Return by what share of what was measured each figure is too high."""
    return [one / measured - 1 for measured, one in zip(took, told, strict=True)]
