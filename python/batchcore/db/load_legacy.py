"""What the policy `legacy` reads, as frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from batchcore.db.analytic_tables import POSITION_BETAS, PROFILES
from batchcore.db.benchmarks import TABLE as BENCHMARKS
from batchcore.db.load import load, load_closes, load_prices, positions_of, sorted_ids
from batchcore.frames import Betas, Decimals, Frame, Positions, Previous, Prices, Profiles, Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchcore.db.engine import Session
    from batchcore.db.legacy_queries import LegacyQueries
    from batchcore.db.queries import Selection
    from batchcore.frames import Bools, Days, Ids, Int32, Int64

BENCHMARK: Final = "SP500"


@dataclass(frozen=True, eq=False)
class LegacyPortfolios(Frame):
    """The portfolios of a run, sorted by id.

    Attributes:
        id: (n, 16) uint8, ascending.
        name: As stored.
        equity_balance: Dollars.
        currency: As stored.
        deleted: (n,) bool; True only for portfolios that were asked for by id.
        latest: Date of the latest complete row, on a session or not.
        first_stands: Date of the first complete row on the sessions of the range.
        stands: (n,) int64, how many there are.
    """

    id: Ids
    name: Text
    equity_balance: Decimals
    currency: Text
    deleted: Bools
    latest: Days
    first_stands: Days
    stands: Int64


async def load_legacy_portfolios(
    session: Session,
    queries: LegacyQueries,
    selection: Selection,
    sessions: Int32,
) -> LegacyPortfolios:
    """Return the portfolios of a run, and which of them have complete rows on some sessions."""
    portfolios = LegacyPortfolios(
        **await load(session, queries.legacy_portfolios(selection, sessions))
    )
    return portfolios.take(sorted_ids(portfolios.id))


async def load_stored(
    session: Session, queries: LegacyQueries, selection: Selection, first: int, last: int
) -> Previous:
    """Return the rows of a window and the latest before it, complete or not (L3, L5)."""
    columns = await load(session, queries.stored(selection, first, last))
    return Previous(
        day=columns.pop("day").values,
        equity=columns.pop("equity_balance"),
        is_complete=columns.pop("complete"),
        **columns,
    )


async def load_all_positions(
    session: Session, queries: LegacyQueries, selection: Selection
) -> Positions:
    """Return the positions of a chunk, soft-deleted ones too."""
    return positions_of(await load(session, queries.all_positions(selection)))


def upper(symbol: str) -> str:
    """Return a symbol with the letters a to z in upper case, and nothing else changed."""
    return symbol.encode().upper().decode()


async def load_legacy_closes(
    session: Session, queries: LegacyQueries, symbols: Iterable[str], first: int, last: int
) -> Prices:
    """Return every finite close of symbols in a window, and the last one before it (L10 to L26).

    Args:
        session: In the transaction of the run.
        queries: On the tables of the host.
        symbols: As spelt on positions; their closes under the same spelling and in upper case.
        first: First day of the window.
        last: Last day of the window.
    """
    spelt = set(symbols)
    uppers = sorted({upper(symbol) for symbol in spelt})
    within = await load_prices(session, queries, sorted({*spelt, *uppers}), first, last)
    before = await load_closes(session, queries, queries.last_closes(uppers, first))
    return Prices.concat([within, before])


async def load_spelt_profiles(
    session: Session, queries: LegacyQueries, symbols: Iterable[str]
) -> Profiles | None:
    """Return the profiles of symbols as spelt and in upper case (L32, L33); None without a table.

    Of the columns only those that the policy reads have values.
    """
    if not queries.has_table(PROFILES):
        return None
    spelt = set(symbols)
    wanted = sorted({*spelt, *map(upper, spelt)})
    columns = await load(session, queries.spelt_profiles(wanted))
    rows = len(columns["is_etf"])
    columns |= dict.fromkeys(("name", "industry", "country"), Text.constant(None, rows))
    return Profiles(**columns, market_cap=Decimals.nulls(rows))


async def load_betas(session: Session, queries: LegacyQueries, selection: Selection) -> Betas:
    """Return the newest betas of the positions of a chunk that need them; none without a table."""
    if not queries.has_table(POSITION_BETAS):
        return Betas.none()
    return Betas(**await load(session, queries.newest_betas(selection)))


async def load_has_benchmark(session: Session, queries: LegacyQueries) -> bool:
    """Return whether there is any weight of SP500 (L34)."""
    if not queries.has_table(BENCHMARKS):
        return False
    columns = await load(session, queries.has_benchmark(BENCHMARK))
    return bool(columns["there"][0])
