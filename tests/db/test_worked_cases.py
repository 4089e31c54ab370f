"""The worked cases of `rollforward` on a real server.

Those of `legacy` are in tests/db/test_legacy.py, those of splits in tests/db/test_splits.py.
"""

from collections import Counter
from dataclasses import fields, replace
from itertools import groupby

import pytest

from batchcore import calendar as calendars
from batchcore import reference as ref
from batchcore.config import Schema, Settings
from db.conftest import LOOP, PoolOf
from support import database
from support.cases import Case, Expected, cases
from support.database import Host, Standing
from support.outcome import LOOSE, issues_of
from support.runs import run_days

BESIDE = {"gap", "off_session"}
"""Issues of the plan, which no case names."""


def is_of_a_run(case: Case) -> bool:
    """Return whether a run over the days of a case computes these days and no others.

    A server in UTF-8 takes no other bytes; the tables here have money in cents.
    """
    if not case.days or case.scales.money != ref.DEFAULT_SCALES.money:
        return False
    sessions = calendars.load("XNYS").sessions(case.days[0], case.days[-1]).tolist()
    last = max((row.day for one in case.portfolios for row in one.snapshots), default=0)
    in_utf8 = "udc" not in repr(case.portfolios)
    return list(case.days) == sessions and last <= sessions[-1] and in_utf8


def shared(case: Case) -> str:
    """Return what cases have in common that one run can compute."""
    return repr((case.days, case.prices, case.lookback_days, case.scales))


OF_A_RUN = [case for case in cases("rollforward") if is_of_a_run(case) and not case.splits]
RUNS = [list(group) for _, group in groupby(sorted(OF_A_RUN, key=shared), key=shared)]


def host_of(one_run: list[Case]) -> Host:
    portfolios = [
        replace(portfolio, id=f"{case.name}: {portfolio.id}")
        for case in one_run
        for portfolio in case.portfolios
    ]
    return Host(
        tuple(replace(portfolio, snapshots=()) for portfolio in portfolios),
        one_run[0].prices,
        {portfolio.id: tuple(map(standing, portfolio.snapshots)) for portfolio in portfolios},
    )


def standing(row: ref.Snapshot) -> Standing:
    return Standing(**{item.name: getattr(row, item.name) for item in fields(row)})


def assert_worked(
    portfolio: str,
    expected: Expected,
    stored: database.Snapshots,
    issues: Counter[tuple[str, ref.Issue]],
) -> None:
    """Assert that a portfolio of a case has its rows and its issues."""
    for row in expected.rows:
        found = stored[database.key(portfolio), row.day]
        cells = database.cells(row)
        assert {name: found[name] for name in cells} == cells
    own = [issue for name, issue in issues.elements() if name == portfolio]
    own = [issue for issue in own if issue.name not in BESIDE]
    assert sorted(map(repr, own)) == [repr(issue) for issue in expected.issues]


@pytest.mark.parametrize("one_run", RUNS, ids=lambda one_run: str(one_run[0]))
@LOOP
async def test_run_stores_the_rows_of_worked_cases(
    same_loose_host: str, pool_of: PoolOf, one_run: list[Case]
) -> None:
    assert len(OF_A_RUN) > 100
    host, db = host_of(one_run), await pool_of(same_loose_host)
    await database.fill(db, host)
    scales = {**LOOSE.scales, "positions.quantity": one_run[0].scales.quantity}
    days = one_run[0].days

    result = await run_days(
        db,
        days[0],
        days[-1],
        on_existing="replace",
        settings=Settings(
            schema=Schema(scales=scales),
            lookback_days=one_run[0].lookback_days,
            min_coverage=0.0,
            max_failed="100%",
        ),
    )

    stored = await database.snapshots(db)
    issues = issues_of(result, host)
    told = [expected for case in one_run for expected in case.expected]
    for portfolio, expected in zip(host.portfolios, told, strict=True):
        assert_worked(portfolio.id, expected, stored, issues)
    assert result.rows_written == sum(len(expected.rows) for expected in told)
    assert result.failed == sum(expected.failed for expected in told)
