"""A fork after a run, or with connections open, works or is an error; nothing hangs."""

import asyncio

import pytest

from batchcore.calendar import date_of
from support import bounded, database
from support.generate import MONDAY

RUN = """
import asyncio
import datetime as dt
import os
import asyncpg
import batchcore

URL, FIRST, NEXT = {url!r}, dt.date.fromisoformat({first!r}), dt.date.fromisoformat({next!r})

async def written(db, date):
    return (await batchcore.run_batch(db, date, date, calendar="daily")).rows_written

def run(db, date):
    return asyncio.run(written(db, date))

def forked(work):
    child = os.fork()
    if child == 0:
        try:
            os._exit(work())
        except BaseException as error:
            print(type(error).__name__, flush=True)
            os._exit(100)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


@pytest.fixture
def script(host: str) -> str:
    days = [MONDAY, MONDAY + 1]
    asyncio.run(database.fill(host, database.plain_host(3, days)))
    first, following = (date_of(day).isoformat() for day in days)
    return RUN.format(url=host, first=first, next=following)


def test_a_child_runs_after_its_parent_did(script: str) -> None:
    code = """
print(run(URL, FIRST))
print(forked(lambda: run(URL, NEXT)), run(URL, NEXT))
"""
    assert bounded.run(script + code) == "3\n3 0\n"


def test_a_child_runs_after_its_parent_has_loaded_everything(script: str) -> None:
    code = """
import sys
import threading
batchcore.preload()
before = set(sys.modules)
print(threading.active_count())

def first():
    rows = run(URL, FIRST)
    return 100 * len({name for name in sys.modules if "batchcore" in name} - before) + rows

print(forked(first), run(URL, NEXT))
"""
    assert bounded.run(script + code) == "1\n3 3\n"


def test_a_pool_that_a_child_uses_too_is_an_error_and_nothing_hangs(script: str) -> None:
    # both processes hold the same sockets then, and either may read what is the other's
    code = """
async def main():
    async with asyncpg.create_pool(URL, min_size=4, max_size=8) as pool:
        await written(pool, FIRST)
        print(forked(lambda: run(pool, NEXT)))
        try:
            await written(pool, NEXT)
        except batchcore.BatchcoreError:
            pass
        pool.terminate()
    print(await written(URL, FIRST))
    await written(URL, NEXT)
    print(await written(URL, NEXT))

asyncio.run(main())
"""
    kind, *rows = bounded.run(script + code).splitlines()
    assert kind.endswith("Error")
    assert rows == ["100", "0", "0"]
