"""What an explanation says: rows, what lies around them, and both as JSON and CSV."""

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
    """What a lot, or a group of lots, added to a P&L (X6).

    What lots of a group do not have in common is None, and so is what does not apply: marks of
    PRIVATE lots, contributions to a baseline.

    Attributes:
        key: What the rows are grouped by; None for lots without it. Of a lot it is its position
            and its number in that, as ``<position>/1``.
        position: Id of the position.
        symbol: As stored; trimmed and upper-cased where it is the key.
        sector: One of A2's names.
        type: As stored.
        quantity: Signed; of several lots of one symbol and multiplier their sum.
        multiplier: Shares that a unit of quantity stands for.
        entry_price: As stored.
        mark_before: What it was valued at where the range begins; None if it was not held.
        mark_before_day: Of the close; None where the entry price stands for it.
        status_before: `fresh`, `lookback`, `stale` or `unpriced` (S4).
        mark: What it is valued at where the range ends; None if it is not held.
        mark_day: Of the close, likewise.
        status: Of the mark, likewise.
        unrealized_change: Exact, as the next three.
        realized: What its end within the range realized.
        contribution: Both added.
        price_effect: What changes of prices added, at the rate where the range begins (C8).
        currency_effect: The rest of the contribution; 0 in the portfolio's own currency.
        value: Where the range ends (S9, L28); None if it is not held.
        currency: Of the position's prices as stored; None for the portfolio's (C6).
        rate_before: What 1 of that counted as where the range begins.
        rate: Where the range ends, likewise.
        share: Of the sum of the absolute contributions of all rows, to 28 digits.
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
"""What lots of a group add up, beside the contribution."""

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
    """A column of a stored row beside what it is by the data as they are.

    Attributes:
        session: Date of the row.
        column: Its name in docs/schema.md.
        stored: A number, None for NULL, or text for what is no number.
        computed: Likewise; None where the rules give no row.
    """

    session: dt.date
    column: str
    stored: Decimal | str | None
    computed: Decimal | str | None

    @property
    def differs(self) -> bool:
        """Whether the two are not equal."""
        return self.stored != self.computed


@dataclass(frozen=True, slots=True)
class UnbalancedRow:
    """A stored row that does not add up: equity before, P&L and flows are not its equity (X5).

    Attributes:
        session: Date of the row.
        equity_before: Of the row that it goes on from; None where that is not stored.
        daily_pnl: As stored, as the next.
        daily_capital_flow: As stored.
        flows: Sum of the flows that count in it, as they are.
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
    """A portfolio whose stored P&L is not that of the data as they are.

    Attributes:
        portfolio: Its id.
        daily_pnl: As stored, the sum over the range; None if one is no number.
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
        portfolios: How many have a row in the range.
        policy: By whose rules.
        by: What the rows are grouped by.
        session: The last day of the range; None where no portfolio was asked for.
        since: Its first day, exclusive, as it was asked for; None for a single session.
        previous: Date of the row that the range goes on from; None for a baseline (X3).
        equity_before: `equity_balance` of that row.
        daily_pnl: Sum of the stored `daily_pnl`; None if one is no number.
        computed_pnl: Sum of all contributions, exact.
        flows: By date.
        equity: `equity_balance` of the last row.
        rows: Largest contribution first, whatever its sign; then by key.
        missing_sessions: Sessions of the range without a complete row.
        cells: P&L columns of the rows that differ, stored and computed, if not explained.
        unbalanced: Stored rows that do not add up (X5).
        unexplained: How many portfolios are not explained.
        examples: Those of them that are furthest off, 20 at most.
        currencies: Of the portfolios, where there are several: amounts of each are in its own, and
            sums mix them.
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
        """Return the rows: amounts with 8 decimals or more, as many as they have."""
        columns = {name: [getattr(row, name) for row in self.rows] for name in COLUMNS}
        return {name: _arrow_column(name, values) for name, values in columns.items()}

    @property
    def explained(self) -> bool:
        """Whether the rounding is no more than that (X2), of each portfolio."""
        return self.unexplained == 0

    @property
    def rounding(self) -> Decimal | None:
        """`daily_pnl` less `computed_pnl`; None if the stored P&L is no number."""
        if self.daily_pnl is None:
            return None
        with localcontext(EXACT):
            return self.daily_pnl - self.computed_pnl

    @property
    def line(self) -> str:
        """What the line of the rounding is called (X2)."""
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
    if name == "share":  # of 28 digits, which a small one has far behind the point
        unit, digits = Decimal(1).scaleb(-scale), Context(prec=scale + 2)
        values = [None if one is None else one.quantize(unit, context=digits) for one in values]
    return arrow.of_values(values, TYPES[name], scale=scale)
