"""The output of `plan --check-basis`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import batchcore
from batchcore.cli.exits import DONE
from batchcore.cli.output import LISTED
from batchcore.cli.signals import finish
from batchcore.errors import ConfigError
from batchcore.words import counted, short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchcore.cli.app import Call
    from batchcore.run.split_basis import BasisCheck, EntryPrice, SplitCloses


def check_basis(call: Call, symbol: str) -> int:
    """Describe the bases of closes and quantities of a symbol, with the figures behind them."""
    if call.record.artifact is not None:
        call.record.artifact = None
        raise ConfigError("--check-basis writes no artifact: give --json instead", "artifact")
    result = finish(batchcore.check_basis(call.url, symbol, schema=call.schema))
    call.answer(result.to_dict(), lambda: "\n".join(basis_lines(result)))
    return DONE


def basis_lines(result: BasisCheck) -> Iterator[str]:
    """Yield the bases found, the figures behind them, and whether the schema agrees."""
    yield f"closes of {result.symbol} look {result.price_basis}"
    yield from (f"  {split_line(one)}" for one in result.splits)
    counts = ", ".join(f"{count:,} {name}" for name, count in result.counts().items())
    yield f"quantities of {result.symbol} look {result.quantity_basis}: {counts}"
    yield from (f"  {entry_line(one)}" for one in result.entries[:LISTED])
    if (more := len(result.entries) - LISTED) > 0:
        yield f"  {counted(more, 'more position')}, which --json lists"
    declared = f"{result.declared_price_basis}, {result.declared_quantity_basis}"
    differs = "" if result.agrees else ": not what the data look like"
    yield f"the schema declares {declared}{differs}"


def split_line(one: SplitCloses) -> str:
    """Return the closes around a split."""
    if one.before is None or one.after is None:
        return f"{one.split} on {one.ex_date}: no closes around it"
    return (
        f"{one.split} on {one.ex_date}: {short(one.before)} on {one.before_date},"
        f" {short(one.after)} on {one.after_date}: {one.quotient:.4g}"
        f" (as_traded {one.if_as_traded:.4g}, adjusted 1)"
    )


def entry_line(one: EntryPrice) -> str:
    """Return an entry price beside its close."""
    return (
        f"{one.position}: entered at {short(one.entry_price)} on {one.entry_date},"
        f" close {short(one.close)} on {one.close_date}: {one.quotient:.4g}"
        f" (as_entered {one.if_as_entered:.4g}, current {one.if_current:.4g})"
    )
