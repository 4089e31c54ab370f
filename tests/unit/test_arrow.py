"""What other libraries read of results: exactly, and as often as they like."""

import datetime as dt
import json
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import batchcore
from batchcore import arrow, frames
from batchcore import reference as ref
from batchcore.attribution.explanation import ExplainedRow, Explanation
from batchcore.audit.result import ColumnCounts, Difference, VerifyResult
from batchcore.errors import ConfigError, NumericError
from batchcore.frames import Days, Decimals, Issues, Text, WideDecimals
from batchcore.run.result import PortfolioResults
from batchcore.units import State
from support import build, legacy_frames
from support import worked_legacy as worked
from support.cases import Run, day

Rows = list[dict[str, Any]]

IDS = [uuid.UUID(int=2**127 + 5), uuid.UUID(int=7)]


def by_polars(table: Any) -> Rows:
    polars = pytest.importorskip("polars")
    return polars.DataFrame(table).to_dicts()


def by_pyarrow(table: Any) -> Rows:
    pyarrow = pytest.importorskip("pyarrow")
    return pyarrow.table(table).to_pylist()


def by_pandas(table: Any) -> Rows:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    if not hasattr(pandas.DataFrame, "from_arrow"):
        pytest.skip(f"pandas {pandas.__version__} takes no Arrow stream, 3.0 does")
    read = pandas.DataFrame.from_arrow(table)
    return [
        {
            name: None if value is pandas.NA or value is pandas.NaT else value
            for name, value in row.items()
        }
        for row in read.astype(object).where(read.notna(), None).to_dict("records")
    ]


def by_duckdb(rows: Any) -> Rows:  # noqa: ARG001  # the statement names it
    duckdb = pytest.importorskip("duckdb")
    relation = duckdb.sql("SELECT * FROM rows")
    return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


READERS: list[Callable[[Any], Rows]] = [by_polars, by_pandas, by_duckdb, by_pyarrow]


@dataclass(frozen=True)
class Sample(arrow.ArrowTable):
    """Values of each kind, and a NULL of each."""

    columns: dict[str, arrow.ArrowColumn]

    def _arrow_columns(self) -> dict[str, arrow.ArrowColumn]:
        return self.columns


STATE = np.array([0, 0, State.NULL, State.NON_FINITE], dtype=np.uint8)
SAMPLE = Sample(
    {
        "amount": arrow.decimals(
            np.array([-1, 99_999_999_999_999_99, 5, 5]), 2, STATE, precision=16
        ),
        "ratio": arrow.decimals(
            np.frombuffer(
                b"".join(n.to_bytes(16, "little", signed=True) for n in (-1, 10**38 - 1, 5, 5)),
                dtype=np.uint8,
            ).reshape(-1, 16),
            28,
            STATE,
        ),
        "day": arrow.dates(np.array([20454, -1, 0, 0], dtype=np.int32), STATE),
        "symbol": arrow.coded(np.array([1, 0, 1, 0], dtype=np.uint32), ["AAA", "ÄÖ 'x'"], STATE),
        "text": arrow.texts(["", "zwölf", None, None]),
        "count": arrow.numbers(np.array([-5, 2**31 - 1, 0, 0], dtype=np.int32), STATE),
        "share": arrow.numbers(np.array([0.1, -0.0, np.nan, np.nan])),
        "flag": arrow.numbers(np.array([True, False, True, True]), STATE),
    }
)
EXPECTED = {
    "amount": [Decimal("-0.01"), Decimal("99999999999999.99"), None, None],
    "ratio": [Decimal("-1E-28"), Decimal("9999999999.9999999999999999999999999999"), None, None],
    "day": [dt.date(2026, 1, 1), dt.date(1969, 12, 31), None, None],
    "symbol": ["ÄÖ 'x'", "AAA", None, None],
    "text": ["", "zwölf", None, None],
    "count": [-5, 2**31 - 1, None, None],
    "share": [0.1, 0.0, None, None],
    "flag": [True, False, None, None],
}


@pytest.mark.parametrize("read", READERS)
def test_every_value_is_read_exactly_and_twice(read: Callable[[Any], Rows]) -> None:
    for _ in range(2):
        rows = read(SAMPLE)
        assert {name: [row[name] for row in rows] for name in EXPECTED} == EXPECTED


@pytest.mark.parametrize("read", READERS)
def test_ids_are_uuids_or_their_bytes(read: Callable[[Any], Rows]) -> None:
    rows = read(Sample({"id": arrow.uuids(build.ids(IDS))}))
    known = (IDS, [one.bytes for one in IDS], list(map(str, IDS)))
    assert [row["id"] for row in rows] in known


@pytest.mark.parametrize("read", READERS)
def test_no_rows_are_read_as_none(read: Callable[[Any], Rows]) -> None:
    assert read(Issues.none()) == []
    assert read(batchcore.Performance.none()) == []


def types(table: Any) -> dict[str, str]:
    nanoarrow = pytest.importorskip("nanoarrow")
    schema = nanoarrow.c_schema(table)
    return {child.name: child.format for child in schema.children}


def test_types_keep_precision_and_scale() -> None:
    of_sample = ("d:16,2", "d:38,28", "tdD", "i", "u", "i", "g", "b")
    assert types(SAMPLE) == dict(zip(EXPECTED, of_sample, strict=True))
    ids = arrow.uuids(np.zeros((1, 16), dtype=np.uint8))
    others = Sample({"id": ids, "at": arrow.moments(np.array([0]))})
    assert types(others) == {"id": "w:16", "at": "tsu:UTC"}


def computed() -> frames.Rows:
    position = ref.Position("AAA", "LONG", Decimal(10), Decimal(10), day("2026-01-02"))
    portfolio = ref.Portfolio("p", Decimal(1000), (position,))
    sessions = [day("2026-01-05"), day("2026-01-06")]
    prices = [("AAA", one, Decimal(11 + at)) for at, one in enumerate(sessions)]
    inputs = build.inputs([portfolio], prices, sessions)
    return batchcore.compute(inputs, build.session_days(sessions))


def test_rows_of_compute_have_the_types_of_their_columns() -> None:
    rows = computed()
    found = types(rows)
    assert found["equity_balance"] == found["long_value"] == "d:16,2"
    assert (found["daily_return"], found["unrealized_pnl"]) == ("d:8,6", "d:19,2")
    assert (found["day"], found["num_positions"], found["marks_fresh"]) == ("tdD", "i", "i")
    read = by_pyarrow(rows)
    assert [int(row["daily_pnl"] * 100) for row in read] == rows.daily_pnl.tolist()
    assert [row["marks_fresh"] for row in read] == rows.marks[:, 0].tolist()
    assert by_pyarrow(rows.misses) == []


def test_rows_under_legacy_have_their_own_columns() -> None:
    run = Run(
        portfolios=(worked.portfolio(worked.position()),),
        prices=(worked.price("AAA", 2, "10"),),
        days=(worked.jan(5),),
        today=worked.jan(5),
        profiles={"AAA": worked.profile("1.5", "Energy")},
    )
    days = build.session_days(run.days)
    today = dt.date(2026, 1, 5)
    rows = batchcore.compute(legacy_frames.inputs(run), days, policy="legacy", today=today)
    found = types(rows)
    assert (found["total_value"], found["hhi"]) == ("d:16,2", "d:10,4")
    assert found["sector_exposure"] == "u"
    (row,) = by_pyarrow(rows)
    assert json.loads(row["sector_exposure"]).keys() == {"Energy"}
    assert "hhi" not in types(computed())


def test_issues_and_portfolios_of_a_run() -> None:
    issues = Issues.of(
        "stale", [0, -1], symbol=["AAA", None], day=[20454, 20454], detail=["x", "y"]
    )
    stale = {"name": "stale", "day": dt.date(2026, 1, 1)}
    assert by_pyarrow(issues) == [
        stale | {"portfolio": 0, "symbol": "AAA", "detail": "x"},
        stale | {"portfolio": -1, "symbol": None, "detail": "y"},
    ]
    counts = np.array([3, 4], dtype=np.int32)
    portfolios = PortfolioResults(build.ids(IDS), np.array([0, 5], dtype=np.uint8), counts, counts)
    assert [row["status"] for row in by_pyarrow(portfolios)] == ["ok", "failed"]


def verified(*cells: Difference) -> VerifyResult:
    counts = np.array([5])
    return VerifyResult(
        policy="rollforward",
        calendar="XNYS",
        fast=True,
        portfolios=1,
        rows=1,
        rows_stored=1,
        rows_differing=1,
        missing_sessions=0,
        columns=ColumnCounts(("daily_pnl",), counts, counts - 4, (None,)),
        examples=cells,
        causes={},
        not_checkable={},
        analytics_off={},
        consistent=True,
        seconds=0.0,
    )


def test_cells_of_a_verification() -> None:
    session = dt.date(2026, 1, 5)
    shares = {"Energy": Decimal("0.5")}
    result = verified(
        Difference(IDS[0], session, "daily_pnl", Decimal("1.10"), Decimal("1.05"), "unknown"),
        Difference(IDS[1], None, "portfolios.equity_balance", Decimal("NaN"), None),
        Difference(IDS[1], session, "sector_exposure", shares, Decimal(10) ** 30, "unknown"),
    )
    first, second, third = by_pyarrow(result)
    assert (first["stored"], first["expected"]) == (Decimal("1.10"), Decimal("1.05"))
    assert (first["difference"], first["stored_text"]) == (Decimal("0.05"), None)
    assert (first["column"], first["cause"]) == ("daily_pnl", "unknown")
    assert (second["snapshot_date"], second["stored"], second["cause"]) == (None, None, None)
    assert (second["stored_text"], second["expected_text"]) == ("NaN", None)
    assert third["stored_text"] == '{"Energy": "0.5"}'
    assert third["expected_text"] == f"{Decimal(10) ** 30}"
    assert by_pyarrow(verified()) == []
    assert by_pyarrow(result.columns) == [{"column": "daily_pnl", "checked": 5, "differing": 1}]


def test_rows_of_an_explanation() -> None:
    row = ExplainedRow(
        key="AAA",
        position=IDS[0],
        symbol="AAA",
        multiplier=100,
        mark_day=dt.date(2026, 1, 5),
        mark=Decimal("1.2345678"),
        contribution=Decimal("-0.00000000001"),
        share=Decimal("0.3333333333333333333333333333"),
    )
    found = Explanation(
        policy="rollforward",
        by="symbol",
        session=dt.date(2026, 1, 5),
        since=None,
        daily_pnl=Decimal(0),
        computed_pnl=Decimal(0),
        rows=(row, ExplainedRow(key=None), ExplainedRow(key="B", share=Decimal(1).scaleb(-50))),
    )
    first, second, third = by_pyarrow(found)
    assert third["share"] == 0
    names = ("key", "symbol", "multiplier", "mark_day", "mark", "contribution", "share")
    assert {name: first[name] for name in names} == {name: getattr(row, name) for name in names}
    assert first["position"] in (IDS[0], IDS[0].bytes)
    assert set(second.values()) == {None}
    assert (types(found)["mark"], types(found)["value"]) == ("d:38,7", "d:38,8")


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal(10) ** 38, Decimal(1).scaleb(-39)])
def test_a_decimal_that_does_not_fit_is_refused(value: Decimal) -> None:
    with pytest.raises(NumericError, match=r"38 digits|not a finite decimal"):
        arrow.of_values([value], Decimal)


def test_a_requested_schema_is_left_to_the_reader() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    schema = pyarrow.schema([("checked", pyarrow.int32())])
    capsule = verified().columns.__arrow_c_stream__(schema.__arrow_c_schema__())
    assert "arrow_array_stream" in repr(capsule)


def test_columns_of_frames_become_arrow_columns() -> None:
    wide = WideDecimals(np.zeros((1, 16), dtype=np.uint8), 28)
    columns = {
        "decimals": frames.arrow_column(Decimals(np.array([5]), 18)),
        "wide": frames.arrow_column(wide, digits=50),
        "days": frames.arrow_column(Days(np.array([0], dtype=np.int32))),
        "text": frames.arrow_column(Text.of(["x"])),
        "bools": frames.arrow_column(np.array([True])),
    }
    assert types(Sample(columns)) == dict(
        zip(columns, ("d:19,18", "d:38,28", "tdD", "i", "b"), strict=True)
    )
    with pytest.raises(TypeError, match="no column of a frame: object"):
        frames.arrow_column(object())


def test_without_nanoarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nanoarrow", None)
    for call in (SAMPLE.__arrow_c_stream__, SAMPLE.__arrow_c_schema__):
        with pytest.raises(ConfigError, match=r"install `batchcore\[arrow\]`"):
            call()
