"""batchcore inside FastAPI: an engine of the event loop, a run that shutdown cancels."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

from fastapi import FastAPI
from sqlalchemy.ext.asyncio import create_async_engine

import batchcore


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Make the engine; on shutdown cancel the run, which gives its lease back."""
    batchcore.preload()  # before the first request
    app.state.engine = create_async_engine(os.environ["DATABASE_URL"])  # of this event loop
    app.state.batch = None
    yield
    if app.state.batch is not None:
        app.state.batch.cancel()  # the run gives its lease back
        await asyncio.gather(app.state.batch, return_exceptions=True)
    await app.state.engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/batch")
async def batch() -> batchcore.BatchResult:
    """Run the batch; FastAPI answers with the keys of the mapping."""
    work = batchcore.run_batch(
        app.state.engine, date(2025, 6, 26), date(2025, 6, 30), on_existing="replace", wait=60
    )
    app.state.batch = asyncio.create_task(work)
    return await app.state.batch


@app.get("/runs")
async def runs() -> list[dict[str, Any]]:
    """Return the latest runs."""
    return [run.to_dict() for run in await batchcore.runs(app.state.engine, limit=5)]


async def tried() -> None:
    """Do what a server does: start, answer, shut down."""
    async with lifespan(app):
        print((await batch())["success"], (await runs())[0]["state"])


asyncio.run(tried())
