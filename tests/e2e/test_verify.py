"""`batchcore verify` on a real server: what it prints, and its exit codes."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal

import pytest

from support import database
from support.command import Said, batchcore
from support.tables import digests, query, run

pytestmark = pytest.mark.db

ONE = "snapshot_date = '2025-06-18' AND portfolio_id = (SELECT min(id::text)::uuid FROM portfolios)"


def verify(url: str, *words: str) -> Said:
    return batchcore("verify", "--database-url", url, *words)


LEGACY = ("--policy", "legacy")


@pytest.fixture(scope="module")
def runs(server, filled_template: str) -> Iterator[dict[tuple[str, ...], str]]:
    """The URLs of databases whose run is done, 10 sessions of 12 portfolios, by its policy.

    Under `legacy` the last session was the current day.
    """
    urls = {}
    for policy, today in (((), ()), (LEGACY, ("--today", "2025-06-30"))):
        urls[policy] = asyncio.run(database.created(server, filled_template))
        assert run(urls[policy], "--analytics", "none", *policy, *today).code == 0
    yield urls
    for url in urls.values():
        asyncio.run(database.dropped(server, url))


@pytest.fixture
def verified(copy, runs) -> str:
    return copy(runs[()])


@pytest.fixture
def legacy(copy, runs) -> str:
    return copy(runs[LEGACY])


# 17 cells of S5 to S9 for each row and the equity of each portfolio, less 12 openings; of the 11
# cells of A1 to A6 none was written. Under `legacy` 46 cells of each row; the 6 columns of a
# current day are NULL on 9 days.
@pytest.mark.parametrize(
    ("policy", "cells", "not_analysed"), [((), "2,040", "1,320"), (LEGACY, "4,872", "648")]
)
def test_what_a_run_wrote_is_right(
    copy, runs, policy: tuple[str, ...], cells: str, not_analysed: str
) -> None:
    url = copy(runs[policy])
    before = digests(url)
    name = policy[-1] if policy else "rollforward"
    for words, way in ((), "by the reference"), (("--fast",), "natively"):
        said = verify(url, *policy, *words)
        assert (said.code, said.err) == (0, "")
        assert said.out.splitlines() == [
            f"120 snapshots of 12 portfolios recomputed {way}: {name}, calendar XNYS",
            f"cells: {cells} compared, 0 differ in 0 snapshots",
            f"not checkable: 12 opening, {not_analysed} not_analysed",
        ]
    assert digests(url) == before


def test_rows_of_the_other_policy_differ(verified: str, legacy: str) -> None:
    said = verify(verified, *LEGACY, "--fast")
    assert said.code == 1
    # 120 rows have no greeks, which `legacy` writes with each active position.
    assert "causes: 120 unknown" in said.out.splitlines()
    said = verify(legacy, "--fast", "--json")
    assert said.code == 1
    document = said.document()
    assert document["causes"] == {"unknown": document["rows_differing"]}


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


@pytest.mark.parametrize(
    ("policy", "column", "expected"), [((), "long_value", None), (LEGACY, "portfolio_vega", "0.00")]
)
def test_differences_as_json(
    copy, runs, policy: tuple[str, ...], column: str, expected: str | None
) -> None:
    url = copy(runs[policy])
    query(url, f"UPDATE portfolio_snapshots SET {column} = 7.5 WHERE {ONE}")  # noqa: S608
    said = verify(url, *policy, "--fast", "--json")
    assert (said.code, said.err) == (1, "")
    document = said.document()
    counts = ("policy", "rows", "cells_differing", "rows_differing", "causes")
    assert [document[name] for name in counts] == [
        *(policy[-1] if policy else "rollforward", 120, 1, 1, {"unknown": 1})
    ]
    (example,) = document["examples"]
    assert document["columns"][column] == {"checked": 120, "differing": 1, "worst": example}
    assert (example["session"], example["stored"]) == ("2025-06-18", "7.50")
    assert expected is None or (example["expected"], example["difference"]) == (expected, "7.50")
    assert document["columns"]["short_value"] == {"checked": 120, "differing": 0, "worst": None}
    assert document["not_checkable"] == {"opening": 12, "not_analysed": 648 if policy else 1320}


@pytest.mark.parametrize("policy", [(), LEGACY], ids=["rollforward", "legacy"])
def test_options_choose_what_is_looked_at(copy, runs, policy: tuple[str, ...]) -> None:
    url = copy(runs[policy])
    query(url, f"UPDATE portfolio_snapshots SET long_value = 7 WHERE {ONE}")  # noqa: S608
    own = (*policy, "--fast", "--json")
    later = verify(url, *own, "--start", "2025-06-20", "--end", "2025-06-23")
    assert (later.code, later.document()["rows"]) == (0, 2 * 12)
    least, *_, most = (row[0] for row in query(url, "SELECT id::text FROM portfolios ORDER BY 1"))
    other = verify(url, *own, "--portfolio", most)
    assert (other.code, other.document()["rows"]) == (0, 10)
    both = verify(url, *own, "--portfolio", most, "--portfolio", least)
    assert (both.code, both.document()["rows"]) == (1, 20)
    drawn = [verify(url, *own, "--sample", "5", "--seed", "3").document() for _ in "12"]
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
