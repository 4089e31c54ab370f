"""batchcore as a task of Prefect: retried where that can help, and told as a state of its own."""

import os
from typing import Any

from prefect import flow, task
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

import batchcore


async def can_help(_task: object, _run: object, state: State[Any]) -> bool:
    """Return whether to try again: what was asked for wrongly stays wrong."""
    error = await state.aresult(raise_on_failure=False)
    return not isinstance(error, batchcore.ConfigError | batchcore.SchemaError)


@task(retries=3, retry_delay_seconds=300, retry_condition_fn=can_help)
async def batch() -> batchcore.BatchResult:
    """Run the batch; a task that is cancelled gives its lease back."""
    return await batchcore.run_batch(os.environ["BATCHCORE_DATABASE_URL"], wait=600)


@flow
async def nightly() -> State[Any]:
    """Value the portfolios of the night."""
    result = await batch()
    if result.failed:
        return Failed(message=f"{result.failed} portfolios: {result.errors()[:20]}")
    if result.nothing_to_do:
        return Completed(name="NothingToDo", message="no session is left to write")
    return Completed(message=f"{result.rows_written} rows")
