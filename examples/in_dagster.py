"""batchcore as an asset of Dagster: Pipes starts the batch and takes what it reports."""

import sys
from pathlib import Path

import dagster

BATCH = Path(__file__).with_name("in_dagster_pipes.py")


@dagster.asset(
    check_specs=[dagster.AssetCheckSpec("coverage", asset="portfolio_snapshots")],
    retry_policy=dagster.RetryPolicy(max_retries=3, delay=300),
)
def portfolio_snapshots(
    context: dagster.AssetExecutionContext, pipes: dagster.PipesSubprocessClient
) -> dagster.PipesExecutionResult:
    """Write the snapshots of the night."""
    batch = pipes.run(command=[sys.executable, str(BATCH)], context=context)
    return batch.get_results()


defs = dagster.Definitions(
    assets=[portfolio_snapshots], resources={"pipes": dagster.PipesSubprocessClient()}
)
