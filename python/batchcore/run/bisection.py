"""Chunks of which the database refuses a part: bisected until the portfolios refused are found."""

from __future__ import annotations

import asyncio
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from batchcore.errors import DatabaseError
from batchcore.frames import Issues
from batchcore.pg.triggers import acting_on
from batchcore.sinks.refusal_errors import described, is_refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import numpy.typing as npt

    from batchcore.config import Schema
    from batchcore.frames import Kept, Rows
    from batchcore.pg.session import Session
    from batchcore.pg.triggers import Acting
    from batchcore.sinks.snapshots import Batch

    Judge = Callable[[DatabaseError], Awaitable[bool]]

REFUSED: Final = "refused_by_database"
"""The issue of a portfolio that the database does not take (S10)."""


@dataclass
class Bisection:
    """Writes a chunk part by part, each under a SAVEPOINT, in one transaction.

    A part that is refused is halved; a portfolio that is refused alone is left out. So each costs
    two attempts at most for every halving of the chunk.

    Attributes:
        session: In a transaction.
        schema: Names of tables and columns.
        put: Writes a part; returns what it left to other writers.
        judge: Returns whether an error is the refusal of a portfolio.
        count: Called with `refused` whenever there is one more; may raise.
        settles: Whether deferred constraints are checked part by part: not in a transaction of the
            caller's, who may have deferred others.
        written: The parts that the database took, in the order of their sending.
        kept: What these left to other writers.
        refused: Portfolio of the chunk -> who refuses it, and the message.
    """

    session: Session
    schema: Schema
    put: Callable[[Batch], Awaitable[Sequence[Kept]]]
    _: KW_ONLY
    judge: Judge
    count: Callable[[Mapping[int, str]], None]
    settles: bool
    written: list[Batch] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    _acting: list[Acting] | None = field(default=None, init=False)

    async def write(self, batch: Batch) -> None:
        """Write what the database takes of a chunk."""
        refusal = await self.attempt(batch)
        if refusal is None:
            self.written.append(batch)
        else:
            await self.halve(batch, refusal)

    async def halve(self, batch: Batch, refusal: DatabaseError) -> None:
        """Write what the database takes of a chunk that it refuses as a whole."""
        own = batch.portfolios()
        if len(own) == 0:
            raise refusal
        if len(own) == 1:
            self.refused[int(own[0])] = await self._described(batch, refusal)
            self.count(self.refused)
            return
        for half in np.array_split(own, 2):
            kept = np.zeros(int(own[-1]) + 1, dtype=np.bool_)
            kept[half] = True
            await self.write(await asyncio.to_thread(batch.cut, kept))

    async def attempt(self, batch: Batch) -> DatabaseError | None:
        """Write a part, or nothing of it; return why the database refuses it."""
        await self.session.execute("SAVEPOINT batchcore_part")
        try:
            kept = await self.put(batch)
            if self.settles:
                await self.session.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except DatabaseError as error:
            if not is_refusal(error):
                raise
            await self.session.execute(
                "ROLLBACK TO SAVEPOINT batchcore_part; RELEASE SAVEPOINT batchcore_part"
            )
            if not await self.judge(error):
                raise
            return error
        await self.session.execute("RELEASE SAVEPOINT batchcore_part")
        self.kept += kept
        return None

    async def _described(self, batch: Batch, refusal: DatabaseError) -> str:
        if self._acting is None:
            tables = list(dict.fromkeys(part.table for part in batch.parts()))
            self._acting = await acting_on(self.session, self.schema, tables)
        return described(refusal, self._acting)


def without(rows: Rows, refused: npt.NDArray[np.bool_]) -> Rows:
    """Return rows of a chunk without those of portfolios that are refused, which have failed."""
    kept = np.flatnonzero(~refused[rows.portfolio])
    return replace(
        rows.take(kept),
        written=np.where(refused, 0, rows.written).astype(np.int32),
        failed=rows.failed | refused,
    )


def issues_of(refused: Mapping[int, str]) -> Issues:
    """Return an issue for each portfolio that is refused."""
    portfolios = sorted(refused)
    return Issues.of(REFUSED, portfolios, detail=[refused[portfolio] for portfolio in portfolios])
