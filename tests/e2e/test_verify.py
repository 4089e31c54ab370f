"""`batchcore verify` on a real server: what it prints, and its exit codes."""

from decimal import Decimal

import pytest

from support.command import Said, batchcore
from support.tables import digests, query

pytestmark = pytest.mark.db

ONE = "snapshot_date = '2025-06-18' AND portfolio_id = (SELECT min(id::text)::uuid FROM portfolios)"


def verify(url: str, *words: str) -> Said:
    return batchcore("verify", "--database-url", url, *words)


@pytest.fixture
def verified(filled: str) -> str:
    """The URL of a database whose run is done: 10 sessions of 12 portfolios."""
    words = ("--start", "2025-06-16", "--end", "2025-06-30", "--analytics", "none")
    assert batchcore("run", "--database-url", filled, *words).code == 0
    return filled


def test_what_a_run_wrote_is_right(verified: str) -> None:
    before = digests(verified)
    for words, way in ((), "by the reference"), (("--fast",), "natively"):
        said = verify(verified, *words)
        assert (said.code, said.err) == (0, "")
        # 17 cells of S5 to S9 for each row and the equity of each portfolio, less 12 openings;
        # of the 11 cells of A1 to A6 none was written.
        assert said.out.splitlines() == [
            f"120 snapshots of 12 portfolios recomputed {way}: rollforward, calendar XNYS",
            "cells: 2,040 compared, 0 differ in 0 snapshots",
            "not checkable: 12 opening, 1,320 not_analysed",
        ]
    assert digests(verified) == before


@pytest.fixture
def legacy(filled: str) -> str:
    """The same, run under `legacy`: the last of the 10 sessions on the current day."""
    words = ("--start", "2025-06-16", "--end", "2025-06-30", "--today", "2025-06-30")
    assert batchcore("run", "--database-url", filled, *words, "--policy", "legacy").code == 0
    return filled


def test_what_a_run_under_legacy_wrote_is_right(legacy: str) -> None:
    before = digests(legacy)
    for words, way in ((), "by the reference"), (("--fast",), "natively"):
        said = verify(legacy, "--policy", "legacy", *words)
        assert (said.code, said.err) == (0, "")
        # 46 cells of each row and the equity of each portfolio, less 12 openings; the 6 columns of
        # a current day are NULL on 9 days.
        assert said.out.splitlines() == [
            f"120 snapshots of 12 portfolios recomputed {way}: legacy, calendar XNYS",
            "cells: 4,872 compared, 0 differ in 0 snapshots",
            "not checkable: 12 opening, 648 not_analysed",
        ]
    assert digests(legacy) == before


def test_what_differs_under_legacy_is_told(legacy: str) -> None:
    query(legacy, f"UPDATE portfolio_snapshots SET portfolio_vega = 7.5 WHERE {ONE}")  # noqa: S608
    said = verify(legacy, "--policy", "legacy", "--json")
    assert (said.code, said.err) == (1, "")
    document = said.document()
    assert (document["policy"], document["cells_differing"]) == ("legacy", 1)
    assert document["causes"] == {"unknown": 1}
    (example,) = document["examples"]
    assert document["columns"]["portfolio_vega"] == {
        "checked": 120,
        "differing": 1,
        "worst": example,
    }
    assert (example["session"], example["stored"], example["expected"], example["difference"]) == (
        "2025-06-18",
        "7.50",
        "0.00",
        "7.50",
    )


def test_rows_of_rollforward_differ_under_legacy(verified: str) -> None:
    said = verify(verified, "--policy", "legacy", "--fast")
    assert said.code == 1
    # 120 rows have no greeks, which `legacy` writes with each active position.
    assert "causes: 120 unknown" in said.out.splitlines()


def test_rows_of_legacy_differ_under_rollforward(legacy: str) -> None:
    said = verify(legacy, "--fast", "--json")
    assert said.code == 1
    document = said.document()
    assert document["causes"] == {"unknown": document["rows_differing"]}


def test_options_choose_what_is_looked_at_under_legacy(legacy: str) -> None:
    query(legacy, f"UPDATE portfolio_snapshots SET long_value = 7 WHERE {ONE}")  # noqa: S608
    own = ("--policy", "legacy", "--fast", "--json")
    later = verify(legacy, *own, "--start", "2025-06-20", "--end", "2025-06-23")
    assert (later.code, later.document()["rows"]) == (0, 2 * 12)
    least, most = query(
        legacy,
        "SELECT id::text FROM portfolios WHERE id::text IN"
        " (SELECT min(id::text) FROM portfolios UNION SELECT max(id::text) FROM portfolios)"
        " ORDER BY 1",
    )
    other = verify(legacy, *own, "--portfolio", most[0])
    assert (other.code, other.document()["rows"]) == (0, 10)
    both = verify(legacy, *own, "--portfolio", most[0], "--portfolio", least[0])
    assert (both.code, both.document()["rows"]) == (1, 20)
    drawn = [verify(legacy, *own, "--sample", "5", "--seed", "3").document() for _ in "12"]
    assert [one | {"seconds": 0} for one in drawn] == [drawn[0] | {"seconds": 0}] * 2
    assert (drawn[0]["rows"], drawn[0]["rows_stored"]) == (5, 120)


def test_what_differs_is_told(verified: str) -> None:
    (row,) = query(
        verified,
        f"SELECT portfolio_id, long_value FROM portfolio_snapshots WHERE {ONE}",  # noqa: S608
    )
    query(
        verified,
        "UPDATE portfolio_snapshots SET long_value = long_value + 1234.5, gross_exposure ="  # noqa: S608
        f" 'NaN' WHERE {ONE}",
    )
    said = verify(verified, "--fast")
    assert (said.code, said.err) == (1, "")
    head, cells, _, causes, long, gross, *examples = said.out.splitlines()
    assert head.startswith("120 snapshots of 12 portfolios")
    assert cells == "cells: 2,040 compared, 2 differ in 1 snapshot"
    assert causes == "causes: 1 unknown"
    assert long == "  long_value              1 of       120, by 1,234.50 at most"
    assert gross == "  gross_exposure          1 of       120"
    where, value = f"portfolio {row['portfolio_id']} on 2025-06-18", row["long_value"]
    assert examples[0] == (
        f"{where}: long_value is {value + Decimal('1234.50')}, expected {value} (unknown)"
    )
    assert examples[1].startswith(f"{where}: gross_exposure is not finite, expected ")


def test_differences_as_json(verified: str) -> None:
    query(verified, f"UPDATE portfolio_snapshots SET long_value = 7 WHERE {ONE}")  # noqa: S608
    said = verify(verified, "--fast", "--json")
    assert (said.code, said.err) == (1, "")
    document = said.document()
    assert (document["rows"], document["rows_differing"], document["causes"]) == (
        120,
        1,
        {"unknown": 1},
    )
    (example,) = document["examples"]
    column = document["columns"]["long_value"]
    assert column == {"checked": 120, "differing": 1, "worst": example}
    assert (example["session"], example["stored"]) == ("2025-06-18", "7.00")
    assert document["columns"]["short_value"] == {"checked": 120, "differing": 0, "worst": None}
    assert document["not_checkable"] == {"opening": 12, "not_analysed": 1320}


def test_options_choose_what_is_looked_at(verified: str) -> None:
    query(verified, f"UPDATE portfolio_snapshots SET long_value = 7 WHERE {ONE}")  # noqa: S608
    later = verify(verified, "--fast", "--start", "2025-06-20", "--end", "2025-06-23", "--json")
    assert (later.code, later.document()["rows"]) == (0, 2 * 12)
    (one,) = query(verified, "SELECT max(id::text) FROM portfolios")
    other = verify(verified, "--fast", "--portfolio", one[0], "--json")
    assert (other.code, other.document()["rows"]) == (0, 10)
    drawn = [verify(verified, "--sample", "5", "--seed", "3", "--json").document() for _ in "12"]
    assert [one | {"seconds": 0} for one in drawn] == [drawn[0] | {"seconds": 0}] * 2
    assert (drawn[0]["rows"], drawn[0]["rows_stored"]) == (5, 120)


def test_many_differences_are_counted(verified: str) -> None:
    query(verified, "UPDATE portfolio_snapshots SET long_value = -7, net_exposure = 0")
    said = verify(verified, "--fast")
    assert said.code == 1
    assert said.out.splitlines()[-1] == "220 more differ"


def test_without_a_snapshot_there_is_nothing_to_verify(filled: str) -> None:
    said = verify(filled)
    assert (said.code, said.err) == (99, "")
    assert said.out == "nothing to verify: no snapshot is stored in the range\n"


def test_wrong_words_are_refused(filled: str) -> None:
    for words, wanted in (
        (("--sample", "0"), "sample is 0, expected 1 or more"),
        (("--policy", "other"), "unknown policy `other`"),
        (("--calendar", "NOWHERE"), "unknown calendar `NOWHERE`"),
        (("--policy", "legacy", "--calendar", "daily"), "expected XNYS"),
        (("--portfolio", "x"), "portfolio_ids 'x' is no UUID"),
        (("--start", "2025-06-20", "--end", "2025-06-19"), "is after end"),
    ):
        said = verify(filled, *words)
        assert (said.code, said.out) == (3, "")
        assert wanted in said.error()


def test_a_database_without_tables_is_refused(empty: str) -> None:
    said = verify(empty)
    assert (said.code, said.out) == (3, "")
    assert "missing table" in said.error()
