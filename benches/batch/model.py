"""How long a daily run takes on how much hardware: operational bounds on measured costs, pure.

A run is as slow as the station with the most work (Lazowska et al., *Quantitative System
Performance*, 1984, chapter 5), after what each process does by itself before and after.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

LANES = 4
"""Connections of a process that work side by side."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a daily run costs.

    Attributes:
        alone_s: Seconds at the start and the end in which no portfolio is worked on.
        client_start_s: Seconds of a core that each process takes, however few portfolios it has.
        server_start_s: Those that its server takes for it.
        client_s: Seconds of a core that a process takes for a portfolio.
        server_s: Those that the server takes.
        log_bytes: What the server writes to its log for a portfolio.
        log_bytes_s: How many bytes of it the disk of a server takes in a second.
        load_share: Share of loading in what a portfolio costs; the rest is writing.
        chunk: Portfolios of a chunk.
        spread: Standard deviation of the costs of a chunk, as a share of their mean.
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
    """What a run has.

    Attributes:
        portfolios: On all servers together.
        cores: Of each machine.
        servers: How many, each with as many portfolios.
        processes: For each server, on its machine.
        machines: How many; as many as servers, but where several share one.
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
    """What a run took.

    Attributes:
        layout: That it had.
        seconds: From the start of the first process to the end of the last.
        client_s: Seconds of a core, of all processes.
        server_s: Of all servers.
        log_bytes: Of all servers.
        load_s: Seconds of loading, as the report has them.
        persist_s: Of writing.
        chunks: Of all processes.
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
    return Costs(
        **{
            **{name: getattr(costs, name) for name in Costs.__slots__},
            "alone_s": max(float(np.median(left)), 0.0),
        }
    )


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
