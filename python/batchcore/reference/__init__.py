"""The executable specification: plain `decimal`, rule by rule; no NumPy, no native code.

`rollforward` holds the rules S1 to S14 of docs/semantics.md, and its names are those of this
package. `legacy` holds the rules L1 to L34 of docs/legacy.md, under names of its own. `facts`,
`one_close` and `values` define what both read and how both round.
"""

from batchcore.reference.currencies import Rates as Rates
from batchcore.reference.currencies import rates as rates
from batchcore.reference.facts import DEFAULT_SCALES as DEFAULT_SCALES
from batchcore.reference.facts import OPTION_TYPES as OPTION_TYPES
from batchcore.reference.facts import Beta as Beta
from batchcore.reference.facts import Event as Event
from batchcore.reference.facts import Flow as Flow
from batchcore.reference.facts import Issue as Issue
from batchcore.reference.facts import Market as Market
from batchcore.reference.facts import Position as Position
from batchcore.reference.facts import Scales as Scales
from batchcore.reference.facts import Snapshot as Snapshot
from batchcore.reference.one_close import one_close as one_close
from batchcore.reference.rollforward import POSITION_TYPES as POSITION_TYPES
from batchcore.reference.rollforward import SHORT_TYPES as SHORT_TYPES
from batchcore.reference.rollforward import Portfolio as Portfolio
from batchcore.reference.rollforward import Result as Result
from batchcore.reference.rollforward import Row as Row
from batchcore.reference.rollforward import Span as Span
from batchcore.reference.rollforward import coverage as coverage
from batchcore.reference.rollforward import market as market
from batchcore.reference.rollforward import roll_forward as roll_forward
from batchcore.reference.rollforward import span as span
from batchcore.reference.splits import Splits as Splits
from batchcore.reference.splits import splits as splits
from batchcore.values import INFINITE_DAY as INFINITE_DAY
from batchcore.values import MONEY_LIMIT as MONEY_LIMIT
from batchcore.values import RETURN_LIMIT as RETURN_LIMIT
from batchcore.values import Currency as Currency
from batchcore.values import from_double as from_double
from batchcore.values import normalised as normalised
from batchcore.values import r2 as r2
from batchcore.values import r6 as r6
from batchcore.values import representable as representable
