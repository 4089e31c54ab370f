"""PostgreSQL, and nothing of portfolios: connections, transactions, COPY, SQL, the ledger."""
