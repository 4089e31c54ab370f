"""PostgreSQL without rules about portfolios: connections, transactions, COPY, SQL, ledger."""
