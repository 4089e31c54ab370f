"""A daily run as events: chunks that wait for cores, event loops, connections and the log.

What the bounds of `model` leave out is here: that a chunk is loaded, computed and written one after
the other, that the last ones wait for nobody, and that costs differ from chunk to chunk.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy

from batch.model import LANES, Costs, Layout

SLICE_S = 0.005
"""For how long a core is held before the next in the queue has it."""

Steps = Generator[simpy.Event, Any, None]


@dataclass(slots=True)
class Machine:
    """What every machine of a simulation has: one clock, and one pair of dice."""

    env: simpy.Environment
    costs: Costs
    dice: np.random.Generator

    def work(self, cores: simpy.Resource, seconds: float) -> Steps:
        """Take a core for so long, slice by slice."""
        left = seconds
        while left > 0:
            with cores.request() as core:
                yield core
                yield self.env.timeout(min(left, SLICE_S))
            left -= SLICE_S

    def drawn(self, seconds: float) -> float:
        """Return the cost of a chunk."""
        spread = self.costs.spread
        if not spread or not seconds:
            return seconds
        return float(self.dice.gamma(spread**-2, seconds * spread**2))


def simulated(costs: Costs, layout: Layout, seed: int = 1) -> float:
    """Return how long a run takes."""
    env = simpy.Environment()
    machine = Machine(env, costs, np.random.default_rng(seed))
    shared = [simpy.Resource(env, layout.cores) for _ in range(layout.machines or layout.servers)]
    ends = [
        env.process(_process(machine, shared[server % len(shared)], log, layout))
        for server in range(layout.servers)
        for log in [simpy.Resource(env)]
        for _ in range(layout.processes)
    ]
    env.run(env.all_of(ends))
    return costs.alone_s + float(env.now)


def _process(machine: Machine, cores: simpy.Resource, log: simpy.Resource, layout: Layout) -> Steps:
    costs, env = machine.costs, machine.env
    own = layout.on_a_server / layout.processes
    loop = simpy.Resource(env)
    yield env.process(machine.work(cores, costs.client_start_s))
    yield env.process(machine.work(cores, costs.server_start_s))
    sizes = iter([costs.chunk] * int(own // costs.chunk) + [own % costs.chunk])
    lanes = [env.process(_lane(machine, cores, loop, log, sizes)) for _ in range(LANES)]
    yield env.all_of(lanes)


def _lane(
    machine: Machine, cores: simpy.Resource, loop: simpy.Resource, log: simpy.Resource, sizes: Any
) -> Steps:
    costs, env = machine.costs, machine.env
    for size in sizes:
        client, server = (machine.drawn(size * one) for one in (costs.client_s, costs.server_s))
        for share in (costs.load_share, 1 - costs.load_share):
            yield env.process(machine.work(cores, server * share))
            left = client * share
            while left > 0:
                with loop.request() as turn:
                    yield turn
                    yield env.process(machine.work(cores, min(left, SLICE_S)))
                left -= SLICE_S
        with log.request() as turn:
            yield turn
            yield env.timeout(size * costs.log_bytes / costs.log_bytes_s)
