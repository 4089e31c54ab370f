"""A verification under `legacy`: what a run leaves is right, and whatever else is there is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import batchcore
from batchcore import calendar as calendars
from batchcore.config import Settings
from support import legacy_host
from support.generate import MONDAY
from support.generate_legacy import LegacyGenerator
from support.legacy_host import after, by_reference
from support.outcome import LOOSE, seeded

pytestmark = [pytest.mark.db, pytest.mark.asyncio]
SESSIONS = calendars.load("XNYS").sessions(MONDAY - 60, MONDAY + 60).tolist()
WAYS = pytest.mark.parametrize("fast", [False, True], ids=["reference", "fast"])

def wrong(result):
    columns = result.columns
    counts = zip(columns.name, columns.differing.tolist(), strict=True)
    return {name: count for name, count in counts if count}

@pytest.mark.parametrize("seed", range(30))
async def test_any(same_loose_host: str, seed: int) -> None:
    made = LegacyGenerator(seeded(f"verify legacy {seed}").randint).any_legacy_run()
    random = seeded(f"range {seed}")
    run = replace(made, cached={})
    await legacy_host.fill(same_loose_host, run)
    first = MONDAY + random.randint(-4, 4)
    written = 0
    day = first
    for _ in range(3):
        last = day + random.randint(0, 3)
        res = await batchcore.run_batch(same_loose_host, calendars.date_of(day), calendars.date_of(last), policy="legacy", settings=Settings(schema=LOOSE, today=calendars.date_of(run.today)))
        written += res.rows_written
        day = last + random.randint(-2, 4)
    found = []
    for fast in (False, True):
        result = await batchcore.verify(same_loose_host, policy="legacy", fast=fast, settings=Settings(schema=LOOSE))
        own = [one for one in result.examples]
        found.append(result)
        print(seed, fast, result.rows, written, wrong(result), result.not_checkable, result.causes)
    a, b = (one.to_dict() | {"seconds": 0, "fast": 0} for one in found)
    assert a == b
