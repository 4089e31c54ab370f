"""The plan: a dictionary cache in pure Python, `benches/baseline.py`."""

import asyncio

import baseline
from batch.job import Job, Timing


def run(url: str, job: Job) -> Timing:
    taken = asyncio.run(baseline.run(url, list(job.sessions), job.lookback_days))
    return Timing(
        load=taken["load"],
        compute=taken["compute"],
        persist=taken["persist"],
        statements=int(taken["statements"]),
        rows=int(taken["rows"]),
    )
