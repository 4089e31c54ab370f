"""The analytics A1 to A8: pure functions of NumPy arrays, one subject for each file.

Most of them take, for many portfolios at once:

- ``portfolio``: (l,) integers, the portfolio of each lot, ascending; ``symbol``: (l,) integers, its
  row in the symbols of the other arguments; ``kind``: (l,) uint8 of `units.LotKind`.
- ``value``: (l, s) float64 dollars, signed (S9), a column for each session; 0 where the lot is not
  held. A lot of value 0 has no effect.
- ``equity``: (p, s) float64 dollars; NaN where there is none.

Their results have a row for each portfolio and a column for each session, and NaN where the rule
says NULL. A portfolio's sums run over its lots in row order, so other portfolios, other sessions
and lots not held do not change a digit.
"""
