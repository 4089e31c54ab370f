"""What commands say, where a run would be long to arrange."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from batchcore.cli import migrate, run
from batchcore.db.migrate import MigrateReport, MigrateStatus
from batchcore.demo import report as demo_report
from batchcore.demo.stored import Valuation


def failed(count: int) -> Any:
    return SimpleNamespace(errors=lambda: [f"portfolio {number}" for number in range(count)])


def test_twenty_failures_are_told_one_by_one_and_the_rest_is_counted() -> None:
    lines = run.failure_lines(failed(20))
    assert lines == [f"failed: portfolio {number}" for number in range(20)]
    more = run.failure_lines(failed(1_025))
    assert more == [*lines, "failed: 1,005 more, which --json lists"]


def status(revision: str | None, **found: tuple[str, ...]) -> MigrateStatus:
    nothing = dict.fromkeys(("pending", "steps", "problems"), ())
    return MigrateStatus(revision=revision, head="0002", adopted=False, **nothing | found)


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (
            status(None, pending=("0001", "0002"), steps=("0001: marked", "0002: x")),
            [
                "revision: none, batchcore never migrated it; newest: 0002",
                "to do: 0001: marked",
                "to do: 0002: x",
            ],
        ),
        (
            status("0003", problems=("too new",)),
            ["revision: 0003; newest: 0002", "in the way: too new"],
        ),
        (status("0002"), ["revision: 0002; newest: 0002", "nothing to do"]),
    ],
    ids=["older", "newer", "current"],
)
def test_a_status_says_what_is_to_do_and_what_is_in_the_way(
    given: MigrateStatus, lines: list[str]
) -> None:
    assert migrate.status_text(given).splitlines() == lines


def test_a_migration_of_a_host_says_what_it_left_alone() -> None:
    done = MigrateReport(
        before=None,
        revision="0002",
        adopted=True,
        marked=("0001",),
        applied=("0002",),
        notes=("take over public.theirs as idx_positions_symbol_active",),
    )
    assert migrate.migrated_text(done).splitlines() == [
        "0001: marked as done, the tables are the host's",
        "0002: done",
        "index: take over public.theirs as idx_positions_symbol_active",
        "the database is at revision 0002, the newest",
    ]


def valuation(name: str, **analytics: Any) -> Valuation:
    nothing = Decimal(0)
    return Valuation(name, 1, nothing, nothing, nothing, nothing, nothing, **analytics)


def test_analytics_of_a_portfolio_are_shown_and_gaps_left_empty() -> None:
    one = valuation(
        "Core 000001",
        beta=Decimal("1.0449"),
        effective=Decimal("7.25"),
        volatility=Decimal("0.1234"),
    )
    tables = demo_report._analytics_tables  # noqa: SLF001  # the whole demo takes a server
    shown: Any = SimpleNamespace(shown=(one, valuation("Core 000002", effective=Decimal("1.00"))))
    (table,) = tables(shown)
    assert [list(column.cells) for column in table.columns] == [
        ["Core 000001", "Core 000002"],
        ["1.04", ""],
        ["7.2", "1.0"],  # 7.25 lies between; ties go to the even digit
        ["12.3%", ""],
    ]
    shown.shown = (valuation("Core 000001"),)
    assert tables(shown) == []


@pytest.mark.parametrize(
    ("symbols", "counts", "lines"),
    [
        ({"stale": [*"CABED"]}, {"stale": 6}, ["issue stale: 6 (C, A, B, E, D)"]),
        (
            {"stale": [f"SYM{number}" for number in range(1_007)]},
            {"stale": 2_000},
            ["issue stale: 2,000 (SYM0, SYM1, SYM2, SYM3, SYM4 and 1,002 more)"],
        ),
        (
            {"stale": ["A"]},
            {"soft_deleted": 1, "stale": 1},
            ["issue soft_deleted: 1", "issue stale: 1 (A)"],
        ),
        ({}, {}, []),
    ],
)
def test_an_issue_names_its_first_five_symbols(
    symbols: dict[str, list[str]], counts: dict[str, int], lines: list[str]
) -> None:
    result: Any = SimpleNamespace(issues_by_name=lambda: counts, subjects_by_issue=lambda: symbols)
    assert run.issue_lines(result) == lines
