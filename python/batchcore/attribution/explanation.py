"""The result of an explanation: rows with their context, as JSON and CSV too."""

from __future__ import annotations

import csv
import datetime as dt
import io
import uuid
from dataclasses import dataclass, fields
from decimal import Context, Decimal, localcontext
from typing import TYPE_CHECKING, Any, Final, get_args, get_type_hints

from batchcore import arrow
from batchcore.values import EXACT
from batchcore.words import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchcore.arrow import ArrowColumn

ROUNDING: Final = "rounding"
NOT_EXPLAINED: Final = "not explained"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedRow:
    """The contribution of a lot, or a group of lots, to a P&L (X6).

    Values that lots of a group do not share are None, and so are those that do not apply: marks of
    PRIVATE lots, contributions to a baseline.

    Attributes:
        key: The key by which the rows are grouped; None for lots without it. For a lot it is its
            position and its number in that, as ``<position>/1``.
        position: Id of the position.
        symbol: As stored; trimmed and upper-cased where it is the key.
        sector: One of A2's names.
        type: As stored.
        quantity: Signed; the sum for several lots of one symbol and multiplier.
        multiplier: Shares per unit of quantity.
        entry_price: As stored.
        mark_before: Mark at the beginning of the range; None if it was not held.
        mark_before_day: Day of that close; None if the entry price was used instead.
        status_before: `fresh`, `lookback`, `stale` or `unpriced` (S4).
        mark: Mark at the end of the range; None if it is not held.
        mark_day: Day of that close, likewise.
        status: Status of the mark, likewise.
        unrealized_change: Exact, like the next three.
        realized: Amount realized by its end within the range.
        contribution: The sum of both.
        price_effect: Effect of changed prices, at the rate at the beginning of the range (C8).
        currency_effect: The rest of the contribution; 0 in the portfolio's own currency.
        value: Value at the end of the range (S9, L28); None if it is not held.
        currency: Currency of the position's prices as stored; None for the portfolio's (C6).
        rate_before: Value of one unit of it at the beginning of the range.
        rate: The same at the end of the range.
        share: Share of the sum of the absolute contributions of all rows, to 28 digits.
    """

    key: str | None
    position: uuid.UUID | None = None
    symbol: str | None = None
    sector: str | None = None
    type: str | None = None
    quantity: Decimal | None = None
    multiplier: int | None = None
    entry_price: Decimal | None = None
    mark_before: Decimal | None = None
    mark_before_day: dt.date | None = None
    status_before: str | None = None
    mark: Decimal | None = None
    mark_day: dt.date | None = None
    status: str | None = None
    unrealized_change: Decimal | None = None
    realized: Decimal | None = None
    contribution: Decimal | None = None
    price_effect: Decimal | None = None
    currency_effect: Decimal | None = None
    value: Decimal | None = None
    currency: str | None = None
    rate_before: Decimal | None = None
    rate: Decimal | None = None
    share: Decimal | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold: decimals as text, dates in ISO form; without share."""
        return {name: plain(getattr(self, name)) for name in KEYS}


AMOUNTS: Final = ("unrealized_change", "realized", "price_effect", "currency_effect", "value")
"""Amounts that are added up for a group, beside the contribution."""

COLUMNS: Final = tuple(one.name for one in fields(ExplainedRow))
KEYS: Final = COLUMNS[:-1]
"""Keys of a row in JSON."""


TYPES: Final = {name: get_args(hint)[0] for name, hint in get_type_hints(ExplainedRow).items()}
"""Types of the columns, beside None."""

_SCALES: Final = {
    **dict.fromkeys(("quantity", "entry_price", "mark_before", "mark"), 4),
    **dict.fromkeys(("rate_before", "rate"), 12),
    "share": 28,
}
_SCALE: Final = 8
"""Least decimals of columns as Arrow has them."""


@dataclass(frozen=True, slots=True)
class ExplainedFlow:
    """A flow of cash (S7).

    Attributes:
        date: Of the change.
        amount: Signed, negative for a withdrawal.
    """

    date: dt.date
    amount: Decimal


@dataclass(frozen=True, slots=True)
class ComparedCell:
    """A column of a stored row, with its value by the current data.

    Attributes:
        session: Date of the row.
        column: Its name in docs/schema.md.
        stored: A number, None for NULL, or text for a value that is not a number.
        computed: Likewise; None where the rules give no row.
    """

    session: dt.date
    column: str
    stored: Decimal | str | None
    computed: Decimal | str | None

    @property
    def differs(self) -> bool:
        """Whether the two differ."""
        return self.stored != self.computed


@dataclass(frozen=True, slots=True)
class UnbalancedRow:
    """A stored row that does not add up: equity before, P&L and flows are not its equity (X5).

    Attributes:
        session: Date of the row.
        equity_before: Equity of the row from which it continues; None if that is not stored.
        daily_pnl: As stored.
        daily_capital_flow: As stored.
        flows: Current sum of the flows that count in it.
        equity: As stored.
    """

    session: dt.date
    equity_before: Decimal | str | None
    daily_pnl: Decimal | str | None
    daily_capital_flow: Decimal | str | None
    flows: Decimal
    equity: Decimal | str | None


@dataclass(frozen=True, slots=True)
class UnexplainedPortfolio:
    """A portfolio whose stored P&L differs from that of the current data.

    Attributes:
        portfolio: Its id.
        daily_pnl: The stored sum over the range; None if one is not a number.
        computed_pnl: The sum of its contributions.
    """

    portfolio: uuid.UUID
    daily_pnl: Decimal | None
    computed_pnl: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation(arrow.ArrowTable):
    """Which lots made a P&L.

    `portfolio`, `previous`, `equity_before`, `equity`, `flows`, `missing_sessions`, `cells` and
    `unbalanced` are of one chain: None or empty where several portfolios are explained.

    Attributes:
        portfolio: Id of the only portfolio.
        portfolios: Number of portfolios with a row in the range.
        policy: The rules of the rows.
        by: The key by which rows are grouped.
        session: The last day of the range; None if no portfolio was requested.
        since: Its first day, exclusive, as requested; None for a single session.
        previous: Date of the row from which the range continues; None for a baseline (X3).
        equity_before: `equity_balance` of that row.
        daily_pnl: Sum of the stored `daily_pnl`; None if one is not a number.
        computed_pnl: Sum of all contributions, exact.
        flows: By date.
        equity: `equity_balance` of the last row.
        rows: Largest absolute contribution first, then by key.
        missing_sessions: Sessions of the range without a complete row.
        cells: P&L columns of the rows that differ, stored and computed, if not explained.
        unbalanced: Stored rows that do not add up (X5).
        unexplained: Number of portfolios that are not explained.
        examples: Those with the largest differences, at most 20.
        currencies: Currencies of the portfolios, if there are several: amounts of each are in its
            own, and sums mix them.
    """

    portfolio: uuid.UUID | None = None
    portfolios: int = 1
    policy: str
    by: str
    session: dt.date | None
    since: dt.date | None
    previous: dt.date | None = None
    equity_before: Decimal | str | None = None
    daily_pnl: Decimal | None
    computed_pnl: Decimal
    flows: tuple[ExplainedFlow, ...] = ()
    equity: Decimal | str | None = None
    rows: tuple[ExplainedRow, ...]
    missing_sessions: tuple[dt.date, ...] = ()
    cells: tuple[ComparedCell, ...] = ()
    unbalanced: tuple[UnbalancedRow, ...] = ()
    unexplained: int = 0
    examples: tuple[UnexplainedPortfolio, ...] = ()
    currencies: tuple[str, ...] = ()

    def _arrow_columns(self) -> Mapping[str, ArrowColumn]:
        """Return the rows; amounts have 8 decimals, or more if needed."""
        columns = {name: [getattr(row, name) for row in self.rows] for name in COLUMNS}
        return {name: _arrow_column(name, values) for name, values in columns.items()}

    @property
    def explained(self) -> bool:
        """Whether the rounding of each portfolio is within its limit (X2)."""
        return self.unexplained == 0

    @property
    def rounding(self) -> Decimal | None:
        """`daily_pnl` less `computed_pnl`; None if the stored P&L is not a number."""
        if self.daily_pnl is None:
            return None
        with localcontext(EXACT):
            return self.daily_pnl - self.computed_pnl

    @property
    def line(self) -> str:
        """The name of the line of the rounding (X2)."""
        return ROUNDING if self.explained else NOT_EXPLAINED

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold: decimals as text, dates in ISO form.

        Of several portfolios with `currencies`, and without the keys of one chain.
        """
        of_chain = {"portfolio", "previous", "equity_before", "flows", "equity"}
        names = (
            *("portfolio", "session", "since", "previous", "equity_before"),
            *("daily_pnl", "computed_pnl", "rounding", "flows", "equity", "explained", "rows"),
        )
        own = {name: getattr(self, name) for name in names}
        own |= {"rows": [row.to_dict() for row in self.rows]}
        own |= {"flows": [{"date": one.date, "amount": one.amount} for one in self.flows]}
        if self.portfolio is None:
            own = {name: value for name, value in own.items() if name not in of_chain}
            own["currencies"] = self.currencies
        found: dict[str, Any] = plain(own)
        return found

    def to_csv(self, top: int | None = None) -> str:
        """Return the rows, or the first of them, as CSV with a line of names; None is empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in self.rows[:top]:
            writer.writerow([plain(getattr(row, name)) for name in COLUMNS])
        return text.getvalue()


def _arrow_column(name: str, values: list[Any]) -> ArrowColumn:
    if name == "key":
        return arrow.texts(values)
    scale = _SCALES.get(name, _SCALE)
    if name == "share":  # of 28 digits, which for a small share are far behind the point
        unit, digits = Decimal(1).scaleb(-scale), Context(prec=scale + 2)
        values = [None if one is None else one.quantize(unit, context=digits) for one in values]
    return arrow.of_values(values, TYPES[name], scale=scale)
