"""batchcore: the nightly P&L batch over PostgreSQL, native, exact and restartable."""
