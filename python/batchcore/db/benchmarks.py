"""Weights of the sectors in a benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from batchcore.db.load import load
from batchcore.db.load_analytics import floats
from batchcore.db.queries import Column, Queries, Query, date_literal
from batchcore.db.sql import quote_literal
from batchcore.schema import Kind

if TYPE_CHECKING:
    from batchcore.db.engine import Session

TABLE: Final = "benchmarks_sector_weights"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Weights of a benchmark.

    Attributes:
        day: Days since 1970-01-01 of the date that they are of; None without any.
        weights: Sector as stored -> share of the benchmark, 0 to 1.
    """

    day: int | None
    weights: dict[str, float]


class BenchmarkQueries(Queries):
    """The query of a benchmark's weights."""

    def weights(self, code: str, day: int) -> Query:
        """Return the newest finite weights of a benchmark on or before a day."""
        benchmark, asof, sector, weight = (
            self._name(TABLE, c) for c in ("benchmark_code", "asof_date", "sector", "weight")
        )
        mine = (
            f"{benchmark} = {quote_literal(code)}"
            f" AND isfinite({asof}) AND {asof} <= {date_literal(day)}"
        )
        sql = (
            f"SELECT {asof}, {sector}, {weight} FROM {self._table(TABLE)}"  # noqa: S608  # quoted
            f" WHERE {mine} AND {self._finite(weight)} AND {asof} ="
            f" (SELECT max({asof}) FROM {self._table(TABLE)} WHERE {mine}) ORDER BY {sector}"
        )
        return Query(
            "benchmark",
            sql,
            (
                Column("day", Kind.DATE),
                Column("sector", Kind.TEXT),
                self._decimal("weight", TABLE, "weight"),
            ),
        )


async def load_benchmark(
    session: Session, queries: BenchmarkQueries, code: str, day: int
) -> Benchmark:
    """Return the newest weights of a benchmark on or before a day."""
    columns = await load(session, queries.weights(code, day))
    weights = zip(columns["sector"].texts(), floats(columns["weight"]).tolist(), strict=True)
    days = columns["day"].values.tolist()
    return Benchmark(days[0] if days else None, {str(name): weight for name, weight in weights})
