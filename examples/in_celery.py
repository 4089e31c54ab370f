"""batchcore as a task of Celery: preloaded in the parent, run in a forked worker."""

import asyncio
import os
from typing import Any

import celery

import batchcore

batchcore.preload()  # in the parent
app = celery.Celery("nightly")


@app.task(acks_late=True)
def nightly() -> dict[str, Any]:
    """Run the batch; the next worker continues it if this one is killed."""
    return asyncio.run(batchcore.run_batch(os.environ["DATABASE_URL"], wait=600)).to_dict()
