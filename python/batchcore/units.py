"""Constants and enumerations; numbers are those of the core (`fixed.rs`, `ids.rs`)."""

from enum import IntEnum
from typing import Final

MAX_SCALE: Final = 18
"""The largest scale with a unit that fits 64 bits."""

CENTS: Final = 2
"""Scale of money columns."""

RETURN_SCALE: Final = 6
"""Scale of `daily_return`."""

OPTION_MULTIPLIER: Final = 100
"""Shares that one contract of LC, LP, SC, SP stands for."""

FLOW_SIGNS: Final = {"CONTRIBUTION": 1, "WITHDRAWAL": -1}
"""Types of flows that count, and their signs (S7, L18)."""

FACTOR_ETFS: Final = (
    "SPY",
    "TLT",
    "IEF",
    "SHY",
    "HYG",
    "LQD",
    "VTV",
    "VUG",
    "MTUM",
    "QUAL",
    "USMV",
)
"""The ETFs of the factor betas (A7)."""

MARKET: Final = FACTOR_ETFS[0]
"""The symbol whose returns those of others are regressed on (A5, A6)."""


class State(IntEnum):
    """Why a value has no mantissa; the byte beside a column."""

    VALUE = 0
    NULL = 1
    NON_FINITE = 2
    NOT_REPRESENTABLE = 3


class Mark(IntEnum):
    """Status of a mark (S4), best first; the order of the columns of `Rows.marks`."""

    FRESH = 0
    LOOKBACK = 1
    STALE = 2
    UNPRICED = 3


class LotKind(IntEnum):
    """The kind of a lot in the analytics."""

    STOCK = 0
    OPTION = 1
    PRIVATE = 2
