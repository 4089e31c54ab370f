"""The lots that made a P&L, as `explain` shows them (docs/semantics.md, X1 to X8)."""
