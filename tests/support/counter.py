"""Statements as the server counts them."""

import asyncpg


class Counter:
    """What the server has counted in one database since the last call."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    async def statements(self) -> int:
        found = await self.connection.fetchval(
            r"""
            SELECT coalesce(sum(calls), 0)::int FROM pg_stat_statements
            WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND query ~* '^\s*(select|with|copy|insert|update|delete|merge|values)\M'
            AND query NOT LIKE '%pg_stat_statements%'
            AND query NOT LIKE 'SELECT pg_catalog.set_config(%'"""
        )
        await self.connection.fetchval("SELECT pg_stat_statements_reset()")
        return found
