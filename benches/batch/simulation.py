"""A daily run as events: chunks that wait for cores, event loops, connections and the log.

What the bounds of `model` leave out is here: that a chunk is loaded, computed and written one after
the other, and that the last ones wait for nobody.
"""

from collections.abc import Generator, Iterator
from typing import Any

import simpy

from batch.model import LANES, Costs, Layout

SLICE_S = 0.005
"""For how long a core is held before the next in the queue has it."""

Steps = Generator[simpy.Event, Any, None]


def simulated(costs: Costs, layout: Layout) -> float:
    """Return how long a run takes."""
    env = simpy.Environment()
    machines = [simpy.Resource(env, layout.cores) for _ in range(layout.machines or layout.servers)]
    ends = []
    for server in range(layout.servers):
        cores, log = machines[server % len(machines)], simpy.Resource(env)
        ends += [
            env.process(_process(env, costs, cores, log, layout)) for _ in range(layout.processes)
        ]
    env.run(env.all_of(ends))
    return costs.alone_s + float(env.now)


def _process(
    env: simpy.Environment,
    costs: Costs,
    cores: simpy.Resource,
    log: simpy.Resource,
    layout: Layout,
) -> Steps:
    own = layout.on_a_server / layout.processes
    loop = simpy.Resource(env)
    yield env.process(_work(env, cores, costs.client_start_s))
    yield env.process(_work(env, cores, costs.server_start_s))
    sizes = iter([costs.chunk] * int(own // costs.chunk) + [own % costs.chunk])
    lanes = [_lane(env, costs, (cores, loop, log), sizes) for _ in range(LANES)]
    yield env.all_of([env.process(lane) for lane in lanes])


def _lane(
    env: simpy.Environment,
    costs: Costs,
    waited_for: tuple[simpy.Resource, simpy.Resource, simpy.Resource],
    sizes: Iterator[float],
) -> Steps:
    cores, loop, log = waited_for
    for size in sizes:
        for share in (costs.load_share, 1 - costs.load_share):
            yield env.process(_work(env, cores, size * costs.server_s * share))
            left = size * costs.client_s * share
            while left > 0:
                with loop.request() as turn:
                    yield turn
                    yield env.process(_work(env, cores, min(left, SLICE_S)))
                left -= SLICE_S
        with log.request() as turn:
            yield turn
            yield env.timeout(size * costs.log_bytes / costs.log_bytes_s)


def _work(env: simpy.Environment, cores: simpy.Resource, seconds: float) -> Steps:
    """Take a core for so long, slice by slice."""
    left = seconds
    while left > 0:
        with cores.request() as core:
            yield core
            yield env.timeout(min(left, SLICE_S))
        left -= SLICE_S
