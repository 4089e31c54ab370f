"""The analytics A1 to A8: pure functions of NumPy arrays, one subject a file; nothing is read.

What most of them take, for many portfolios at once:

- ``portfolio``: (l,) integers, the portfolio of each lot, ascending; ``symbol``: (l,) integers, its
  row in the symbols of the other arguments; ``kind``: (l,) uint8 of `units.LotKind`.
- ``value``: (l, s) float64 dollars, signed (S9), a column for each session; 0 where the lot is not
  held. A lot of value 0 plays no part.
- ``equity``: (p, s) float64 dollars; NaN where there is none.

What they give has a row for each portfolio and a column for each session, and NaN where the rule
says NULL. A portfolio's sums run over its lots in row order, so no other portfolio, no other
session and no lot that is not held changes a digit.
"""
