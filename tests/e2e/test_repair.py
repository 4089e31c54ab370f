"""`batchcore repair` on a real server: what it prints, its exit codes, its entry in the ledger."""

import asyncio
import signal

import pytest

from support.command import Said, batchcore
from support.tables import ROWS, digests, query, run
from support.worker import At, started

pytestmark = pytest.mark.db

FIRST = "(SELECT min(id::text)::uuid FROM portfolios)"


def repair(url: str, *words: str) -> Said:
    return batchcore("repair", "--database-url", url, "--analytics", "none", *words)


@pytest.fixture
def done(filled: str) -> str:
    """The URL of a database whose run is done: 10 sessions of 12 portfolios."""
    assert run(filled, "--analytics", "none").code == 0
    return filled


def test_nothing_differs(done: str) -> None:
    for words, code in ((), 99), (("--ok-if-nothing",), 0), (("--dry-run",), 99):
        said = repair(done, *words)
        assert (said.code, said.err) == (code, "")
        assert said.out.splitlines()[0] == f"nothing to repair: {ROWS} snapshots compared, 0 differ"


def test_a_cell_that_differs(done: str) -> None:
    wrong = f"snapshot_date = '2025-06-26' AND portfolio_id = {FIRST}"
    query(done, f"UPDATE portfolio_snapshots SET num_positions = 99 WHERE {wrong}")  # noqa: S608
    before = digests(done)

    dry = repair(done, "--dry-run")

    assert (dry.code, dry.err) == (0, "")
    assert digests(done) == before
    first = query(done, f"SELECT {FIRST}::text")[0][0]
    assert dry.out.splitlines()[:4] == [
        "would repair 1 of 12 portfolios",
        "cells: 1 differs; 120 snapshots compared",
        "rows: 3 to write",
        f"portfolio {first}: rows from 2025-06-26 on: 3, cells: 1",
    ]
    said = repair(done, "--json")
    assert (said.code, said.err) == (0, "")
    document = said.document()
    assert document["differences"] == [
        {"portfolio": first, "first_session": "2025-06-26", "rows": 3, "cells": 1}
    ]
    assert document["rows_written"] == 3
    status = batchcore("status", "--database-url", done).out.splitlines()
    assert "rollforward repair" in status[1]
    told = batchcore("status", "--database-url", done, "--run", document["run_id"]).out
    assert "asked for: rollforward repair, latest to " in told
    assert batchcore("verify", "--database-url", done, "--fast").code == 0
    assert repair(done).code == 99


def test_its_own_equity_alone(done: str) -> None:
    query(done, f"UPDATE portfolios SET equity_balance = 1 WHERE id = {FIRST}")  # noqa: S608
    said = repair(done)
    assert said.code == 0
    assert said.out.splitlines()[3].endswith(": its equity_balance")


async def killed(*words: str) -> int:
    """Return the exit code of a call that kills itself after its second chunk."""
    at = At("committed", 2, signal.SIGKILL)
    async with started(("repair", *words, "-vv"), at) as worker:
        return await worker.ended()


def test_killed_half_way_and_run_again(done: str) -> None:
    before = digests(done)
    query(
        done, "DELETE FROM portfolio_snapshots WHERE snapshot_date IN ('2025-06-18', '2025-06-25')"
    )
    query(done, "UPDATE portfolios SET equity_balance = 0")
    words = ("--database-url", done, "--analytics", "none", "--chunk-size", "3")
    assert asyncio.run(killed(*words)) == -signal.SIGKILL
    query(done, "UPDATE batchcore_run_heartbeats SET expires_at = now() - interval '1 second'")

    said = batchcore("repair", *words, "--json")

    assert said.code == 0
    document = said.document()
    assert document["attempt"] == 2
    assert len(document["differences"]) == 6
    assert batchcore("verify", "--database-url", done, "--fast").code == 0
    (rows,) = query(done, "SELECT count(*) FROM portfolio_snapshots")
    assert rows[0] == ROWS
    assert digests(done)["positions"] == before["positions"]
    assert repair(done).code == 99
