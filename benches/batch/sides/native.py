"""batchcore itself."""

import asyncio
import contextlib
import json
from dataclasses import fields
from pathlib import Path

import batchcore
from batch.job import Job, Timing
from batchcore.config import Settings
from batchcore.pg.session import Session
from batchcore.policies import rollforward as rollforward  # noqa: PLC0414  # before the clock
from batchcore.run import batch as batch  # noqa: PLC0414  # before the clock

# A run imports it where it is installed, which is not the run's own time.
with contextlib.suppress(ImportError):
    import opentelemetry.trace  # noqa: F401  # loaded

CAPTURED = "captured.json"
"""In the job's folder: the SELECTs that a run sent, if the file was there before it."""


def run(url: str, job: Job) -> Timing:
    known = {field.name for field in fields(Settings)}
    if unknown := set(job.options) - known:
        raise ValueError(f"this batchcore has no setting {', '.join(sorted(unknown))}")
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
        notes={
            "chunks": result.chunks,
            "rows_by_load": result.rows_by_load,
            "bytes_by_phase": result.bytes_by_phase,
            "seconds_by_phase": seconds,
        },
    )


def prepare(job: Job) -> None:
    """Keep the SELECTs of the run, where they were asked for."""
    file = Path(job.folder) / CAPTURED
    if not file.exists():
        return
    sent: list[str] = []
    copy_out = Session.copy_out

    async def kept(session: Session, query: str, take) -> None:
        sent.append(query)
        await copy_out(session, query, take)
        file.write_text(json.dumps(sent), encoding="utf-8")

    Session.copy_out = kept
