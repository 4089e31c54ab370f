"""Which lots made a P&L: what `explain` shows (docs/semantics.md, X1 to X8)."""
