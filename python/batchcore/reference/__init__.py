"""The executable specification: plain `decimal`, rule by rule; no NumPy, no native code.

`rollforward` holds the rules S1 to S14 of docs/semantics.md, and its names are those of this
package. `legacy` holds the rules L1 to L34 of docs/legacy.md, under names of its own. `facts`,
`sources` and `values` are what both read and how both round.
"""

from batchcore.reference.currencies import Currency, Rates, currency, rates
from batchcore.reference.facts import (
    DEFAULT_SCALES,
    OPTION_TYPES,
    Beta,
    Event,
    Flow,
    Issue,
    Market,
    Position,
    Scales,
)
from batchcore.reference.one_close import one_close
from batchcore.reference.rollforward import (
    MONEY_COLUMNS,
    POSITION_TYPES,
    SHORT_TYPES,
    Portfolio,
    Result,
    Row,
    Snapshot,
    Span,
    Stored,
    coverage,
    market,
    roll_forward,
    span,
)
from batchcore.reference.splits import Splits, splits
from batchcore.reference.values import (
    INFINITE_DAY,
    MONEY_LIMIT,
    RETURN_LIMIT,
    from_double,
    normalized,
    r2,
    r6,
    representable,
)

__all__ = [
    "DEFAULT_SCALES",
    "INFINITE_DAY",
    "MONEY_COLUMNS",
    "MONEY_LIMIT",
    "OPTION_TYPES",
    "POSITION_TYPES",
    "RETURN_LIMIT",
    "SHORT_TYPES",
    "Beta",
    "Currency",
    "Event",
    "Flow",
    "Issue",
    "Market",
    "Portfolio",
    "Position",
    "Rates",
    "Result",
    "Row",
    "Scales",
    "Snapshot",
    "Span",
    "Splits",
    "Stored",
    "coverage",
    "currency",
    "from_double",
    "market",
    "normalized",
    "one_close",
    "r2",
    "r6",
    "rates",
    "representable",
    "roll_forward",
    "span",
    "splits",
]
