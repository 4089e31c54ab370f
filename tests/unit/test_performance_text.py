"""What `batchcore performance` shows: a table for a pipe, and one for a terminal."""

from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from rich.console import Console

from batchcore import Performance
from batchcore.cli.performance import performance_parts, performance_text
from batchcore.frames import Days, Text, WideDecimals
from batchcore.native import RATIO_SCALE
from batchcore.returns.ratios import of_decimals

DAY = 20454  # 2026-01-01


def made(rows: int = 2) -> Performance:
    """Return a row that has all, and others that have nothing."""

    def of(value: str) -> Any:
        return of_decimals([Decimal(value), *[None] * (rows - 1)])

    def day(value: int) -> Days:
        state = np.array([0, *[1] * (rows - 1)], dtype=np.uint8)
        return Days(np.full(rows, value, dtype=np.int32), state)

    def number(value: float) -> np.ndarray:
        return np.array([value, *[np.nan] * (rows - 1)])

    return Performance(
        portfolio_id=np.zeros((rows, 16), dtype=np.uint8),
        period=Text.of(["ITD", *["YTD"] * (rows - 1)]),
        start=day(DAY),
        end=day(DAY + 5),
        sessions=np.array([1234, *[0] * (rows - 1)], dtype=np.int32),
        twr=of("0.1"),
        twr_annual=WideDecimals.nulls(rows, RATIO_SCALE),
        mwr=number(-0.00004),
        mwr_annual=number(0.5),
        volatility=number(0.2),
        max_drawdown=of("-0.25"),
        peak=day(DAY + 1),
        trough=day(DAY + 2),
        recovered=Days.nulls(rows),
        current_drawdown=of("0"),
        best=of("0.3"),
        best_day=day(DAY),
        worst=of("-0.3"),
        worst_day=day(DAY),
        gains=number(0.5),
        benchmark=of("0.3"),
        difference=of("-0.2"),
        reason=Text.of([None, *["no session in the period"] * (rows - 1)]),
    )


def test_a_pipe_gets_a_table_without_what_no_row_has() -> None:
    head, first, second, reason = performance_text(made(), None).splitlines()
    names = (
        "portfolio period from to sessions return IRR IRR a year volatility drawdown peak trough"
    )
    assert head.split() == names.split()
    cells = "ITD 2026-01-01 2026-01-06 1,234 +10.00 % 0.00 % +50.00 % 20.00 % -25.00 %"
    assert first.split()[1:] == [*cells.split(), "2026-01-02", "2026-01-03"]
    assert second.split()[1:5] == ["YTD", "-", "-", "0"]
    assert reason == "YTD: no session in the period"


def test_a_benchmark_has_two_columns() -> None:
    head, first, *_ = performance_text(made(), "SPY").splitlines()
    assert head.split()[-2:] == ["SPY", "difference"]
    assert first.split()[-4:] == ["+30.00", "%", "-20.00", "%"]


def test_of_several_portfolios_reasons_name_theirs_and_rows_are_cut() -> None:
    found = made(30)
    ids = np.arange(30 * 16, dtype=np.int64).astype(np.uint8).reshape(30, 16)
    lines = performance_text(replace(found, portfolio_id=ids), None).splitlines()
    assert lines[21] == "10 more rows, which --json lists"
    assert lines[22].endswith("YTD: no session in the period")
    assert len(lines[22].split()[0]) == 36


def test_no_portfolio_is_said() -> None:
    assert performance_text(Performance.none(), None) == "no portfolio"
    assert shown(Performance.none(), 80) == "no portfolio\n"


def shown(found: Performance, width: int, benchmark: str | None = None) -> str:
    console = Console(width=width, color_system=None, highlight=False, markup=False)
    with console.capture() as capture:
        for part in performance_parts(found, benchmark):
            console.print(part)
    return capture.get()


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_terminal_gets_reasons_first_and_a_table_that_fits(width: int) -> None:
    text = shown(made(), width, "SPY")
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    first, second = lines[:2]
    assert (first, second) == ("YTD: no session in the period", f"Portfolio {UUID(int=0)}")
    assert "+10.00 %" in text
    assert "-25.00 %" in text
    assert max(map(len, lines)) <= width
    assert ("no room for" in text) == (width < 200)


def test_a_terminal_shows_several_portfolios_in_80_columns() -> None:
    found = made(3)
    ids = np.arange(48, dtype=np.uint8).reshape(3, 16)
    lines = shown(replace(found, portfolio_id=ids), 80).splitlines()
    assert lines[0] == f"{UUID(bytes=bytes(range(16, 32)))} YTD: no session in the period"
    assert max(map(len, map(str.rstrip, lines))) <= 80
    assert any("+10.00 %" in line for line in lines)
