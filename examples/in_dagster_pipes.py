"""The batch that Dagster starts: it reports rows, and coverage also of a run that was refused."""

import asyncio
import os

from dagster_pipes import PipesContext, open_dagster_pipes

import batchcore


def check(context: PipesContext, result: batchcore.BatchResult) -> None:
    """Tell Dagster whether the prices of each session have arrived."""
    share = result.coverage.share()
    context.report_asset_check(
        "coverage",
        passed=bool((share >= result.min_coverage).all()),
        metadata={"least": float(share.min(initial=1.0)), "needed": result.min_coverage},
    )


with open_dagster_pipes() as pipes:
    try:
        done = asyncio.run(batchcore.run_batch(os.environ["BATCHCORE_DATABASE_URL"], wait=600))
    except batchcore.BatchcoreError as error:
        if (until_then := batchcore.BatchResult.of_error(error)) is not None:
            check(pipes, until_then)
        raise
    check(pipes, done)
    pipes.report_asset_materialization(
        metadata={
            "run": done.run_id,
            "rows": done.rows_written,
            "failed": done.failed,
            "issues": {"raw_value": done.issues_by_name(), "type": "json"},
        }
    )
