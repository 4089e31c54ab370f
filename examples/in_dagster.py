"""batchcore as an asset of Dagster: Pipes starts the batch and takes what it reports."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster

BATCH = Path(__file__).with_name("in_dagster_pipes.py")


@dagster.asset(
    check_specs=[dagster.AssetCheckSpec("coverage", asset="portfolio_snapshots")],
    retry_policy=dagster.RetryPolicy(max_retries=3, delay=300),
)
def portfolio_snapshots(context: dagster.AssetExecutionContext) -> Iterator[object]:
    """Write the snapshots of the night."""
    # PipesSubprocessClient would drop what a batch that failed had reported
    with dagster.open_pipes_session(
        context, dagster.PipesTempFileContextInjector(), dagster.PipesTempFileMessageReader()
    ) as session:
        variables = {**os.environ, **session.get_bootstrap_env_vars()}
        code = subprocess.run([sys.executable, BATCH], env=variables, check=False).returncode
    yield from session.get_results(implicit_materializations=False)
    if code:
        raise dagster.Failure(f"the batch ended with {code}, see its log")


defs = dagster.Definitions(assets=[portfolio_snapshots])
