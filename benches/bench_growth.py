"""`batch.scaling` and `batch.server`, once on little, and what their tables are made of.

Their figures come from `python -m batch.scaling` and `python -m batch.server`.
"""

import asyncio
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from batch import server as dba
from batch.compare import DiffersError
from batch.data import SETTINGS
from batch.job import last_sessions
from batch.scaling import Fit, cases_of, study
from batch.server import ATTACHED, LOADS, PARENTS, STRAIGHT, Findings, Took, Trial
from batch.sizes import SIZES, Size
from batch.variants import PLAIN, Month, Variant, months, variants
from batchcore.demo import embedded

TINY = Size("tiny", 6, symbols=20, sessions=2, positions=3)


@pytest.mark.db
@pytest.mark.usefixtures("child_here")
def bench_scaling(tmp_path: Path):
    with embedded.start(settings=SETTINGS) as server:
        found = asyncio.run(study(server, TINY, (1, 2), rounds=1, seed=1, folder=tmp_path))

    assert set(found.told) == {"base", "portfolios 12", "lots 6", "symbols 40", "sessions 4"}
    assert all(runs[0]["total"] > 0 for runs in found.told.values())
    assert [value for value, _ in found.series("lots")] == [3, 6]
    assert set(found.fits()) == {"portfolios", "lots", "symbols", "sessions"}
    assert len(found.lines()) == (1 + 2 * 4) + 1 + (1 + 4)


def trial(folder: str, *only: str) -> Trial:
    Path(folder).chmod(0o711)  # as root, another account runs the server in it
    return Trial(Path(folder), SIZES["xs"], ("daily",), only, rounds=1, seed=1)


@pytest.mark.db
@pytest.mark.usefixtures("child_here")
def bench_server():
    with TemporaryDirectory() as folder:
        only = ("monthly partitions", "packed fillfactor 50", "synchronous_commit off", LOADS)
        found = asyncio.run(trial(folder, *only).run())

    daily = found.medians("daily")
    assert list(daily) == [
        PLAIN,
        "monthly partitions",
        "portfolios packed",
        "packed fillfactor 50",
        "durable",
        "synchronous_commit off",
    ]
    for name, one in daily.items():
        assert one["total"] > 0, name
        assert one["wal_bytes"] > 0, name
        # the 20 portfolios are on one page, which has room for another 20
        assert one["hot"] == 1.0, name
    assert found.rows == 20 * 10
    assert set(found.loads) == {STRAIGHT, PARENTS, ATTACHED}
    assert len(found.lines()) == (2 + len(daily)) + (2 + 3)


@pytest.mark.db
@pytest.mark.usefixtures("child_here")
def test_a_variant_that_gets_other_rows_fails(monkeypatch: pytest.MonkeyPatch):
    changed = ("UPDATE positions SET entry_price = entry_price + 0.01",)
    odd = Variant("odd", "a cent", sql=changed)
    monkeypatch.setattr(dba, "variants", lambda *_, **__: [Variant(PLAIN, ""), odd])
    with TemporaryDirectory() as folder, pytest.raises(DiffersError, match="odd got"):
        asyncio.run(trial(folder, "odd").run())


def test_every_variant_is_compared_with_one_before_it():
    known = variants(last_sessions(120), compression="lz4")
    for at, variant in enumerate(known):
        assert variant.plain in [one.name for one in known[: at + 1]], variant.name
    assert len({variant.name for variant in known}) == len(known)


def test_months_are_those_of_the_sessions():
    found = months([date(2024, 11, 29), date(2024, 12, 2), date(2024, 12, 31), date(2025, 1, 2)])
    assert found == [Month(date(2024, 11, 1)), Month(date(2024, 12, 1)), Month(date(2025, 1, 1))]
    assert [month.end for month in found] == [
        date(2024, 12, 1),
        date(2025, 1, 1),
        date(2025, 2, 1),
    ]
    assert found[1].partition == "portfolio_snapshots_2024_12"


def test_a_fit_of_a_line():
    # 0.5 + 3 for each
    fit = Fit.of([1, 2, 4], [3.5, 6.5, 12.5])
    assert fit.each == pytest.approx(3.0)
    assert fit.at_none == pytest.approx(0.5)


def test_a_fit_of_a_power():
    assert Fit.of([1, 2, 4], [5.0, 20.0, 80.0]).exponent == pytest.approx(2.0)
    assert Fit.of([1, 2, 4], [3.0, 6.0, 12.0]).exponent == pytest.approx(1.0)
    assert Fit.of([1, 2, 4], [3.0, 3.0, 3.0]).exponent == pytest.approx(0.0)


def test_cases_vary_one_at_a_time():
    cases = cases_of(TINY, (0.25, 1.0, 2.0))
    # a quarter of 2 sessions rounds to none, and of 3 lots to 1
    assert [(case.name, case.value) for case in cases] == [
        ("base", 0),
        ("portfolios 2", 2),
        ("portfolios 12", 12),
        ("lots 1", 1),
        ("lots 6", 6),
        ("symbols 5", 5),
        ("symbols 40", 40),
        ("sessions 4", 4),
    ]
    for case in cases[1:]:
        changed = [
            name
            for name in ("portfolios", "positions", "symbols", "sessions")
            if getattr(case.size, name) != getattr(TINY, name)
        ]
        assert len(changed) == 1


def test_ratios_are_to_the_plain_one_of_each():
    found = Findings()
    for name, plain, total in (
        ("plain", "plain", 2.0),
        ("durable", "durable", 3.0),
        ("off", "durable", 1.5),
    ):
        told = {"total": total, "load": 0.0, "persist": 0.0}
        found.add("daily", Variant(name, "", plain), Took(told, 0, 0, None))
    cells = [line.split() for line in found.lines()[2:]]
    assert [(row[0], row[1], row[2]) for row in cells] == [
        ("plain", "2.000", "1.00"),
        ("durable", "3.000", "1.00"),
        ("off", "1.500", "0.50"),
    ]
