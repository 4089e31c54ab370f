"""Returns over stored snapshots, and the snapshots themselves as a table for other tools."""
