"""`batch.scaleout`, once on little; the arithmetic of its model, by hand, and of its simulation.

Its figures come from `python -m batch.scaleout`.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from batch.data import server
from batch.job import job_of
from batch.model import Costs, Layout, Took, best, bound, bounds, errors, fitted, seconds
from batch.scaleout import Server, asked, checked, disk_bytes_s, report, study
from batch.simulation import simulated
from batch.sizes import SIZES

COSTS = Costs(
    alone_s=1.0,
    client_start_s=0.5,
    server_start_s=0.25,
    client_s=0.001,
    server_s=0.003,
    log_bytes=1000,
    log_bytes_s=1_000_000,
    chunk=100,
)


@pytest.mark.db
def bench_scaleout(tmp_path: Path):
    size = SIZES["xs"]
    with server(size) as started:
        servers = {"xs": [Server(started, job_of("daily", size, tmp_path))]}
        runs = asyncio.run(study(servers, processes=(1, 2), counts=(1,), rounds=1, seed=1))

    assert [run.layout.processes for run in runs] == [1, 2]
    for run in runs:
        assert run.seconds > 0
        assert min(run.client_s, run.server_s, run.log_bytes) > 0
        assert run.chunks == run.layout.processes
    costs = fitted(runs, disk_bytes_s(tmp_path))
    assert len(checked(costs, runs)) == 1 + len(runs)
    assert len(report(costs, runs)) > len(asked(costs))


def test_the_bounds_of_one_process_on_one_server():
    found = bounds(COSTS, Layout(10_000, cores=4))
    assert found == pytest.approx(
        {
            "cores": (0.5 + 0.25 + 10_000 * 0.004) / 4,  # 10.1875
            "loops": 0.5 + 10_000 * 0.001,  # 10.5
            "connections": 0.25 + 10_000 * 0.003 / 4,  # 7.75
            "log": 10_000 * 1000 / 1_000_000,  # 10
        }
    )
    assert bound(COSTS, Layout(10_000, cores=4)) == "loops"
    assert seconds(COSTS, Layout(10_000, cores=4)) == pytest.approx(1 + 10.5)


def test_more_processes_lift_loops_and_connections_and_cost_a_start_each():
    found = bounds(COSTS, Layout(10_000, cores=4, processes=2))
    assert found["cores"] == pytest.approx((2 * 0.75 + 40) / 4)
    assert found["loops"] == pytest.approx((2 * 0.5 + 10) / 2)
    assert found["connections"] == pytest.approx(0.25 + 30 / 8)
    assert found["log"] == pytest.approx(10)


def test_more_servers_divide_every_bound_unless_they_share_a_machine():
    apart = bounds(COSTS, Layout(20_000, cores=4, servers=2))
    assert apart == pytest.approx(bounds(COSTS, Layout(10_000, cores=4)))
    together = bounds(COSTS, Layout(20_000, cores=4, servers=2, machines=1))
    assert together == pytest.approx(apart | {"cores": 2 * apart["cores"]})


def test_the_best_layout_has_the_fewest_processes_of_those_that_are_fastest():
    # The log takes 10 s, and so does the loop of one process, or those of two at twice the cost.
    fast = replace(COSTS, client_start_s=0.0, server_start_s=0.0)
    found = best(fast, 10_000, cores=8, servers=1)
    assert (found.processes, bound(fast, found)) == (1, "loops")
    assert best(replace(fast, client_s=0.002), 10_000, cores=8, servers=1).processes == 2


def test_costs_that_explain_every_run_are_found():
    layouts = [Layout(count, 4, processes=n) for count in (1000, 10_000) for n in (1, 2, 4)]
    runs = [
        Took(
            layout=one,
            seconds=seconds(COSTS, one),
            client_s=one.processes * 0.5 + one.portfolios * 0.001,
            server_s=one.processes * 0.25 + one.portfolios * 0.003,
            log_bytes=one.portfolios * 1000,
            load_s=1.0,
            persist_s=3.0,
            chunks=one.portfolios // 100,
        )
        for one in layouts
    ]
    found = fitted(runs, 1_000_000)
    names = [name for name in Costs.__slots__ if name != "load_share"]
    assert [getattr(found, name) for name in names] == pytest.approx(
        [getattr(COSTS, name) for name in names]
    )
    assert found.load_share == 0.25


def test_an_error_is_a_share_of_what_was_measured():
    assert errors([2.0, 4.0], [3.0, 3.0]) == [0.5, -0.25]


@pytest.mark.parametrize(
    "layout",
    [
        Layout(10_000, cores=1),
        Layout(10_000, cores=8, processes=2),
        Layout(20_000, cores=4, servers=2, processes=4),
        Layout(20_000, cores=2, servers=2, machines=1),
    ],
)
def test_no_simulation_is_faster_than_its_bounds_and_none_much_slower(layout: Layout):
    least = seconds(COSTS, layout)
    assert least <= simulated(COSTS, layout) + 1e-9 <= 1.25 * least


def test_a_simulation_of_one_chunk_takes_its_steps_one_after_the_other():
    # 0.5 + 0.25 to start, a chunk of 100: 0.1 + 0.3 of a core, 0.1 of the log; 1 alone
    assert simulated(COSTS, Layout(100, cores=4)) == pytest.approx(1 + 0.75 + 0.4 + 0.1)


def test_a_simulation_with_spread_repeats_itself():
    uneven = replace(COSTS, spread=0.3)
    layout = Layout(10_000, cores=8, processes=2)
    assert simulated(uneven, layout, seed=1) == simulated(uneven, layout, seed=1)
    assert simulated(uneven, layout, seed=1) != simulated(uneven, layout, seed=2)
