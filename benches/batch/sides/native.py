"""batchcore itself."""

import asyncio
import contextlib

import batchcore
from batch.job import Job, Timing
from batchcore.config import Settings
from batchcore.policies import rollforward as rollforward  # noqa: PLC0414  # before the clock
from batchcore.run import batch as batch  # noqa: PLC0414  # before the clock

# A run imports it where it is installed, which is not the run's own time.
with contextlib.suppress(ImportError):
    import opentelemetry.trace  # noqa: F401  # loaded


def run(url: str, job: Job) -> Timing:
    settings = Settings(lookback_days=job.lookback_days, **job.options)
    result = asyncio.run(
        batchcore.run_batch(
            url,
            job.start,
            job.end,
            portfolio_ids=job.only or None,
            analytics=job.analytics,
            settings=settings,
        )
    )
    if not result["success"]:
        raise RuntimeError(f"the run failed: {result.to_dict()}")
    seconds = result.seconds_by_phase
    return Timing(
        load=seconds["load"],
        compute=seconds["compute"] + seconds["analytics"],
        persist=seconds["persist"],
        statements=sum(result.statements_by_phase.values()),
        rows=result.rows_written,
        notes={"chunks": result.chunks, "bytes_read": result.bytes_by_phase["load"]},
    )
