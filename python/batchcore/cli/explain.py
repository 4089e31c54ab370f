"""The command `explain`."""

from __future__ import annotations

import sys
from decimal import ROUND_HALF_UP, Decimal, Inexact, localcontext
from typing import TYPE_CHECKING, Annotated, Any, Final

import batchcore
from batchcore.attribution.explanation import (
    AMOUNTS,
    NOT_EXPLAINED,
    TYPES,
    ExplainedRow,
    Explanation,
)
from batchcore.cli import options as given
from batchcore.cli.app import Call, command
from batchcore.cli.exits import DONE, INCOMPLETE
from batchcore.cli.options import Date, PortfolioIds, flag, option
from batchcore.cli.output import LISTED, aligned, first_of, print_stderr
from batchcore.cli.signals import finish
from batchcore.cli.verify import exact
from batchcore.config import VALUATION
from batchcore.errors import ConfigError
from batchcore.values import EXACT
from batchcore.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType


_FOREIGN: Final = ("currency_effect", "price_effect", "currency", "rate", "rate_before")
"""Columns that are shown if a rate applies (C6)."""

_SHOWN: Final = (
    *("key", "contribution", "share", "unrealized_change", "realized", "value", "quantity"),
    *("mark_before", "mark", "status", "symbol", "type", "sector", "entry_price", "mark_day"),
    *("mark_before_day", "status_before", "multiplier", *_FOREIGN),
)
"""Columns of a table in the order in which a narrow terminal keeps them."""

_LOTS_SHOWN: Final = (
    *("symbol", "contribution", "quantity", "type", "mark_before", "mark", "share", "status"),
    *("value", "unrealized_change", "realized", "entry_price", "sector", "key", "mark_day"),
    *("mark_before_day", "status_before", "multiplier", *_FOREIGN),
)
"""The order of columns for lots and positions, whose keys are long."""

_ORDER: Final = (
    *("key", "symbol", "sector", "type", "quantity", "multiplier", "entry_price"),
    *("mark_before", "mark_before_day", "status_before", "mark", "mark_day", "status"),
    *("currency", "rate_before", "rate", "unrealized_change", "realized"),
    *("price_effect", "currency_effect", "contribution", "share", "value"),
)
"""The columns in the order shown."""

_TEXTS: Final = frozenset(name for name, kind in TYPES.items() if kind is str)
_AMOUNTS: Final = frozenset({*AMOUNTS, "contribution"})
_SIGNED: Final = _AMOUNTS - {"value"}

_LEAST_TEXT: Final = 8
"""Characters of a text on a narrow terminal."""


@command("explain", given.derived(only=("policy", "calendar", *VALUATION)))
def explain(
    call: Call,
    *,
    portfolio: PortfolioIds = None,
    session: Annotated[
        Date, given.date_option("Stored session, or last day of a range; default: the latest.")
    ] = None,
    since: Annotated[
        Date, given.date_option("Day after which the range begins; default: one session.")
    ] = None,
    by: Annotated[
        str | None,
        option("KEY", "lot, position, symbol, sector, type, class or portfolio.", "--by"),
    ] = None,
    top: Annotated[
        int | None,
        option("N", f"Rows to show; default: {LISTED}, and all with --json and --csv.", min=1),
    ] = None,
    as_csv: Annotated[bool, flag("--csv", "Print the rows as CSV on stdout.")] = False,
    **options: Any,  # noqa: ANN401  # of `RunOptions`
) -> int:
    """Show which lots made the P&L of a stored session or range."""
    if as_csv and call.as_json:
        raise ConfigError("--csv and --json are both given, expected one of them", "csv")
    settings = given.valuation(call.schema, options)
    found = finish(
        batchcore.explain(
            call.url, portfolio, session, since=since, by=by, settings=settings, **options
        )
    )
    if as_csv or call.as_json:
        for line in attention_lines(found):
            print_stderr(line)
    if as_csv:
        with call.printing():
            sys.stdout.write(found.to_csv(top))
    else:
        document = found.to_dict()
        document["rows"] = document["rows"][:top]
        shown = top or LISTED
        call.answer(
            document, lambda: explained_text(found, shown), lambda: explained_parts(found, shown)
        )
    return DONE if found.explained and not found.unbalanced else INCOMPLETE


def explained_text(found: Explanation, top: int) -> str:
    """Return an explanation as text for a pipe."""
    attention = attention_lines(found)
    head = [*attention, *([""] if attention else []), *amount_lines(found)]
    names, cells = _columns(found.rows[:top])
    left = {at for at, name in enumerate(names) if name in _TEXTS}
    table = aligned([_titles(names), *cells], left=left) if names else ["no lot"]
    return "\n".join([*head, "", *table, *_rest_lines(found, top)])


def explained_parts(found: Explanation, top: int) -> list[RenderableType]:
    """Return an explanation for a terminal: gains green, losses red."""
    from batchcore.cli import tables  # noqa: PLC0415  # imports Rich

    attention = attention_lines(found)
    parts: list[RenderableType] = [*map(tables.bad, attention), *([""] if attention else [])]
    parts += [*amount_lines(found), ""]
    names, cells = _columns(found.rows[:top])
    if not names:
        return [*parts, "no lot"]
    order = _order(found.rows)
    # a part of an id is useless
    cut = _TEXTS - {"key"} if found.by in {"lot", "position", "portfolio"} else _TEXTS
    columns = [
        tables.Column(
            title,
            right=name not in _TEXTS,
            least=_LEAST_TEXT if name in cut else None,
            drop=order.index(name),
        )
        for name, title in zip(names, _titles(names), strict=True)
    ]
    rows = [
        [
            tables.gain(cell) if name in _SIGNED else cell
            for name, cell in zip(names, row, strict=True)
        ]
        for row in cells
    ]
    listing = tables.Listing(columns, rows, most=len(rows), where="--json and --csv have all")
    return [*parts, listing, *_rest_lines(found, top)]


def attention_lines(found: Explanation) -> list[str]:
    """Return the problems of an explanation, and what it lacks."""
    lines = [] if found.explained else _unexplained_lines(found)
    unbalanced = [
        f"  {row.session}: equity before {exact(row.equity_before)}, P&L"
        f" {exact(row.daily_pnl)}, flow {exact(row.daily_capital_flow)}, equity"
        f" {exact(row.equity)}; flows of that session are {exact(row.flows)}"
        for row in found.unbalanced
    ]
    if unbalanced:
        rows = "1 row does" if len(unbalanced) == 1 else f"{len(unbalanced):,} rows do"
        lines += [f"{rows} not add up:", *_cut(unbalanced)]
    if found.missing_sessions:
        missing = [day.isoformat() for day in found.missing_sessions]
        lines.append(f"sessions without a complete snapshot: {first_of(missing, LISTED)}")
    if found.currencies:
        mixed = first_of(found.currencies, LISTED)
        lines.append(f"amounts are in each portfolio's currency, and sums mix them: {mixed}")
    return lines


def amount_lines(found: Explanation) -> list[str]:
    """Return the headline of an explanation: whose P&L, from which equity to which."""
    one, since = found.portfolio, found.since
    days = f"on {found.session}" if since is None else f"after {since} up to {found.session}"
    of = counted(found.portfolios, "portfolio") if one is None else f"portfolio {one}"
    amounts: list[tuple[str, object]] = [
        ("stored P&L", found.daily_pnl),
        ("contributions", found.computed_pnl),
        (found.line, found.rounding),
    ]
    if one is not None:
        if found.previous is not None:
            amounts.insert(0, (f"equity of {found.previous}", found.equity_before))
        amounts += [(f"flow of {flow.date}", flow.amount) for flow in found.flows]
        amounts.append((f"equity of {found.session}", found.equity))
    first = ", its first row" if one is not None and found.previous is None else ""
    return [f"{of} {days}{first}: {found.policy}, by {found.by}", *_pointed(amounts)]


def _unexplained_lines(found: Explanation) -> list[str]:
    """Return the warning that data have changed since, with stored and computed values."""
    if found.portfolio is not None:
        cells = [
            (one.session.isoformat(), one.column, exact(one.stored), exact(one.computed))
            for one in found.cells
        ]
        head, *lines = aligned([("  session", "column", "stored", "computed"), *cells], left={0, 1})
        why = "data have changed since the snapshot was written, or its run had other options"
        if found.daily_pnl is None:
            why = "a stored daily_pnl is not a number"
        return [f"{NOT_EXPLAINED}: {why}", head, *_cut(lines)]
    worst = [
        (str(one.portfolio), exact(one.daily_pnl), exact(one.computed_pnl))
        for one in found.examples
    ]
    of = f"{found.unexplained:,} of {counted(found.portfolios, 'portfolio')}"
    head, *lines = aligned([("  portfolio", "stored", "computed"), *worst], left={0})
    why = "data have changed since the snapshots were written, or their runs had other options"
    return [f"{NOT_EXPLAINED}: {of}: {why}", *(head, *_cut(lines, found.unexplained))]


def _cut(lines: Sequence[str], count: int | None = None) -> list[str]:
    """Return the first lines, and the number of others."""
    more = (len(lines) if count is None else count) - LISTED
    return [*lines[:LISTED], *([f"  and {more:,} more"] if more > 0 else [])]


def _rest_lines(found: Explanation, top: int) -> list[str]:
    """Return the number of rows not shown, and their sum."""
    rest = found.rows[top:]
    if not rest:
        return []
    with localcontext(EXACT):
        amount = sum((row.contribution or Decimal(0) for row in rest), Decimal(0))
    rows = counted(len(rest), "more row")
    return [f"{rows}, {_amount(amount, signed=True)} together; --top shows more"]


def _columns(rows: Sequence[ExplainedRow]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the columns with values that do not repeat the key, and their cells."""
    cells = {name: _cells(name, [getattr(row, name) for row in rows]) for name in _ORDER}
    converts = any(row.currency_effect or {row.rate, row.rate_before} - {None, 1} for row in rows)
    names: list[str] = [
        name
        for name in _ORDER
        if any(cells[name])
        and (name == "key" or cells[name] != cells["key"])
        and (converts or name not in _FOREIGN)
    ]
    return names, list(zip(*(cells[name] for name in names), strict=True))


def _order(rows: Sequence[ExplainedRow]) -> Sequence[str]:
    """Return the columns in the order in which a narrow terminal keeps them."""
    of_lots = any(row.position is not None and str(row.position) in f"{row.key}" for row in rows)
    return _LOTS_SHOWN if of_lots else _SHOWN


def _titles(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name.replace("_", " ") for name in names)


def _cells(name: str, values: Sequence[Any]) -> list[str]:
    """Return the cells of a column; of numbers with the same decimals."""
    if name in _AMOUNTS:
        return ["" if one is None else _amount(one, signed=name != "value") for one in values]
    if name == "share":
        return ["" if one is None else f"{_rounded(one * 100, 1):f} %" for one in values]
    known = [one for one in values if isinstance(one, Decimal)]
    decimals = max((-int(one.as_tuple().exponent) for one in known), default=0)
    return [
        f"{one:,.{decimals}f}" if isinstance(one, Decimal) else "" if one is None else str(one)
        for one in values
    ]


def _amount(value: Decimal, *, signed: bool) -> str:
    """Return an amount in cents."""
    cents = _rounded(value, 2)
    return f"{cents:{'+' if signed and cents else ''},f}"


def _rounded(value: Decimal, decimals: int) -> Decimal:
    with localcontext(EXACT) as context:
        context.traps[Inexact] = False
        return value.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP) + 0  # -0 is 0


def _pointed(amounts: Sequence[tuple[str, object]]) -> list[str]:
    """Return lines of amounts aligned at the decimal point."""
    parted = [(f"  {name}", *exact(amount).partition(".")) for name, amount in amounts]
    width = max(len(fraction) for *_, fraction in parted)
    rows = [
        (name, f"{whole}{point or ' '}{fraction.ljust(width)}" if width else whole)
        for name, whole, point, fraction in parted
    ]
    return aligned(rows, left={0})
