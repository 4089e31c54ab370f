"""The database: engine, loads, writes, ledger, and a server of our own for demo and tests."""
