"""The batch that Dagster starts: it reports rows and coverage, those of a failed run too."""

import asyncio
import os

from dagster_pipes import PipesContext, open_dagster_pipes

import batchcore


def report(context: PipesContext, result: batchcore.BatchResult) -> None:
    """Tell Dagster what a run did."""
    share = result.coverage.share()
    context.report_asset_check(
        "coverage",
        passed=bool((share >= result.min_coverage).all()),
        metadata={"least": float(share.min(initial=1.0))},
    )
    context.report_asset_materialization(
        metadata={
            "run": result.run_id,
            "state": result.state,
            "rows": result.rows_written,
            "failed": result.failed,
            "issues": {"raw_value": result.issues_by_name(), "type": "json"},
        }
    )


with open_dagster_pipes() as pipes:
    try:
        done = asyncio.run(batchcore.run_batch(os.environ["BATCHCORE_DATABASE_URL"], wait=600))
    except batchcore.BatchcoreError as error:
        if (until_then := batchcore.BatchResult.of_error(error)) is not None:
            report(pipes, until_then)
        raise
    report(pipes, done)
