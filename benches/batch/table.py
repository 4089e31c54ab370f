"""The rounds of a contest as a table, and as JSON."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

MIB = 1 << 20


@dataclass
class Rounds:
    """What each side took, as its processes told, `of` so many portfolios.

    `on` has how many a side was run on, where those are not all.
    """

    of: int
    on: dict[str, int] = field(default_factory=dict)
    told: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, side: str, told: dict[str, Any]) -> None:
        self.told.setdefault(side, []).append(told)

    def medians(self) -> dict[str, dict[str, Any]]:
        """Return the median figures of each side; seconds and statements extrapolated to all."""
        return {side: self._median(side, runs) for side, runs in self.told.items()}

    def _median(self, side: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
        def middle(name: str, factor: float = 1.0) -> float | None:
            values = [run[name] for run in runs if run[name] is not None]
            return median(values) * factor if values else None

        on = self.on.get(side, self.of)
        times = self.of / on
        totals = [run["total"] for run in runs]
        if on < self.of:
            # The first portfolio pays for the connection and what is compiled but once.
            firsts = [run["notes"]["first"] for run in runs]
            totals = [
                first + (total - first) * (self.of - 1) / (on - 1)
                for first, total in zip(firsts, totals, strict=True)
            ]
        return {
            "rounds": len(runs),
            "extrapolated_from": self.on.get(side),
            "total": median(totals),
            **{name: middle(name, times) for name in ("load", "compute", "persist")},
            "least": min(totals),
            "most": max(totals),
            "statements": middle("statements", times),
            **{name: middle(name) for name in ("peak_bytes", "start", "import")},
        }

    def lines(self) -> list[str]:
        """Return the table."""
        medians = self.medians()
        heads = ("total", "least", "most", "load", "compute", "persist")
        titles = ["runs", *heads, "x floor", "x batchcore", "peak MiB", "statements", "start"]
        titles.append("import")
        body = []
        for side, row in medians.items():
            cells = [str(row["rounds"]), *(_seconds(row[name]) for name in heads)]
            cells += [
                f"{row['total'] / medians[other]['total']:.2f}" if other in medians else ""
                for other in ("floor", "batchcore")
            ]
            cells.append(f"{row['peak_bytes'] / MIB:.0f}")
            cells.append("" if row["statements"] is None else f"{row['statements']:,.0f}")
            cells += [_seconds(row["start"]), _seconds(row["import"])]
            body.append([side, *cells])
        lines = aligned([["", *titles], *body])
        lines += [
            f"{side}: run on {self.on[side]:,} of {self.of:,} portfolios; seconds and statements"
            " are extrapolated"
            for side in medians
            if side in self.on
        ]
        return lines


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def tell(*lines: str) -> None:
    """Print lines at once, wherever they go."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def keep(path: Path, document: Mapping[str, object]) -> None:
    """Write a document to a file, as JSON."""
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
