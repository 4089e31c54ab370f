"""Runs on a Dask cluster: workers, the client or the scheduler die; then one plain re-run."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from distributed import Client

from support.faults import Moment
from support.survival import Stage
from support.tasks import (
    ANYWHERE,
    LASTING,
    STEPS,
    Fault,
    assert_survived,
    client_cancelled,
    client_cancelled_anywhere,
    commands,
    connected,
    coordinator_killed,
    disarm,
    local_cluster,
    scheduler_killed,
    task_given_twice,
    worker_killed,
    worker_paused,
)

pytestmark = pytest.mark.db


@pytest.fixture(scope="module")
def lasting() -> Iterator[str]:
    """The address of a scheduler whose workers nobody kills."""
    with local_cluster() as address:
        yield address


@pytest.fixture
def scheduler(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a scheduler: Dask does not start each worker again that a test has killed."""
    if request.node.callspec.params.get("fault") in LASTING:
        yield request.getfixturevalue("lasting")
        return
    with local_cluster() as address:
        yield address


@pytest_asyncio.fixture
async def client(scheduler: str) -> AsyncIterator[Client]:
    async with connected(scheduler) as found:
        await found.run(disarm)
        yield found


@pytest.mark.parametrize(
    ("fault", "job", "step"),
    [
        (worker_killed, "skip", "copied"),
        (worker_killed, "replace", "committed"),
        (worker_killed, "skip", "finished"),
        (worker_paused, "replace", "begun"),
        (worker_paused, "skip", "planned"),
        (task_given_twice, "replace", "lease"),
        (client_cancelled, "skip", "fenced"),
        (client_cancelled_anywhere, "replace", "lease"),
        (coordinator_killed, "skip", "computed"),
    ],
    ids=lambda given: getattr(given, "__name__", str(given)),
)
async def test_disturbed_at_a_step(
    stage: Stage, client: Client, fault: Fault, job: str, step: str
) -> None:
    await assert_survived(stage, client, fault, job, Moment(step))


async def test_a_scheduler_that_is_killed(stage: Stage) -> None:
    with commands() as (address, scheduler):
        async with connected(address) as client:
            await assert_survived(
                stage, client, scheduler_killed(scheduler), "skip", Moment("loaded")
            )


@pytest.mark.slow
@pytest.mark.parametrize("stage", range(60), indirect=True)
async def test_disturbed_anyhow(stage: Stage, client: Client) -> None:
    choose = stage.random.choice
    job, at = choose(["skip", "replace", "go-on"]), Moment(choose(STEPS), choose([1, 2]))
    await assert_survived(stage, client, choose(ANYWHERE), job, at)


@pytest.mark.slow
@pytest.mark.parametrize("stage", range(5), indirect=True)
async def test_a_scheduler_that_is_killed_anywhere(stage: Stage) -> None:
    with commands() as (address, scheduler):
        async with connected(address) as client:
            fault, at = scheduler_killed(scheduler), Moment(stage.random.choice(STEPS))
            await assert_survived(stage, client, fault, "replace", at)
