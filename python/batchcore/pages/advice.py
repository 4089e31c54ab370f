"""Advice about issues, by name; docs/semantics.md defines when each arises."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

ADVICE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "missing_value": "Fill in the column that the position lacks; until then it is left out.",
        "unknown_position_type": "Set its type to LONG, SHORT, LC, LP, SC or SP.",
        "non_finite": "Replace NaN, Infinity or the infinite date in the row named.",
        "not_representable": "Store the value with fewer digits, or the text as UTF-8.",
        "missing_entry_price": "Enter the entry price; until then the position is left out.",
        "blank_symbol": "Enter the symbol; until then the position is left out.",
        "sign_mismatch": "Check the sign of the quantity against the type LONG or SHORT.",
        "closed_twice": "Remove the exit date or the event: both close the position.",
        "end_before_start": "Correct the entry date, or the date on which the lot ends.",
        "bad_event": "Correct the date, quantity or amount of the realized event.",
        "bad_flow": "Correct the type, amount or date of the equity change.",
        "exit_unpriced": "Enter the exit price; the mark of the day counts instead.",
        "expired": "Nothing, if the option expired at its mark; else enter its exit.",
        "return_out_of_range": "Check flows and the equity before: gains of 100 times are rare.",
        "out_of_range": "Check quantities and prices of the portfolio: a value is too large.",
        "fx_missing": "Load the rate named, then run again: nothing is valued without one.",
        "bad_rate": "Correct the rates that are 0, negative, not a number, or differ on one date.",
        "bad_split": "Correct the row of the table of splits; until then it is ignored.",
        "option_over_split": "Enter the adjusted contract: options are valued as they are stored.",
        "refused_by_database": "Correct what the constraint or trigger refuses, then run again.",
        "market_value_out_of_range": "Check quantity and price of the position.",
        "not_replaced": "Nothing, if another program owns the rows; else delete them, run again.",
        "analytic_out_of_range": "Check the positions of the portfolio: a ratio is too large.",
        "close_refused": "Correct the closes that are 0, negative or have too many digits.",
        "ambiguous_price": "Keep one close for a symbol and date, or name the sources that count.",
        "ambiguous_profile": "Keep one profile for each symbol; until then none counts.",
        "duplicate_price": "Keep one spelling of the symbol.",
        "stale": "Load closes of these symbols: their last ones are older than the lookback.",
        "unpriced": "Load closes of these symbols: they are valued at their entry prices.",
        "lacks_prices": "Load the closes named before you run.",
        "split_suspected": "Restate closes or positions if it was a split; else nothing.",
        "price_jump": "Compare the close with another source; nothing, if it is true.",
        "price_frozen": "Check whether the feed still delivers closes of the symbol.",
        "price_ahead": "Correct the date of the close, or run when its session has closed.",
        "price_low": "Load closes of the session, then run the portfolios again.",
        "gap": "Fill the sessions: run with --missing --on-existing replace.",
        "no_history": "Run with --start inception to value the portfolio from its first entry.",
        "off_session": "Nothing, if the calendar is right: these snapshots are on other days.",
        "currencies": "Nothing, but ignore totals: each portfolio has figures in its own currency.",
        "soft_deleted": "Leave the portfolio out, or restore it.",
        "no_session": "Run the portfolio on sessions of its calendar.",
        "failed": "See the error of the run.",
    }
)
"""The actions open to whoever maintains the data."""

UNKNOWN: Final = "See the section Issues of docs/semantics.md."


def advice(name: str) -> str:
    """Return the advice about issues of a name."""
    return ADVICE.get(name, UNKNOWN)
