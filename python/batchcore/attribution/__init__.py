"""Which lots made a P&L: what `explain` tells (docs/semantics.md, X1 to X8)."""
