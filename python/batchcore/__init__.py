"""batchcore: the nightly P&L batch over PostgreSQL, native, exact and restartable.

Public names load when they are first used, so that importing batchcore imports neither SQLAlchemy
nor asyncpg. Inside an event loop, async functions load in a thread, so that the loop keeps running;
`preload` loads everything beforehand.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    __version__: str

    from batchcore.attribution.explainer import explain as explain
    from batchcore.attribution.explanation import ComparedCell as ComparedCell
    from batchcore.attribution.explanation import ExplainedFlow as ExplainedFlow
    from batchcore.attribution.explanation import ExplainedRow as ExplainedRow
    from batchcore.attribution.explanation import Explanation as Explanation
    from batchcore.attribution.explanation import UnbalancedRow as UnbalancedRow
    from batchcore.attribution.explanation import UnexplainedPortfolio as UnexplainedPortfolio
    from batchcore.audit.repair import repair as repair
    from batchcore.audit.result import VerifyResult as VerifyResult
    from batchcore.audit.verifier import verify as verify
    from batchcore.caches import Closes as Closes
    from batchcore.caches import CompanyProfile as CompanyProfile
    from batchcore.caches import CompanyProfileCache as CompanyProfileCache
    from batchcore.caches import CompanyProfileCacheStats as CompanyProfileCacheStats
    from batchcore.caches import PriceCache as PriceCache
    from batchcore.caches import PriceCacheStats as PriceCacheStats
    from batchcore.caches import Snapshot as Snapshot
    from batchcore.caches import SnapshotCache as SnapshotCache
    from batchcore.caches import SnapshotCacheStats as SnapshotCacheStats
    from batchcore.config import Fx as Fx
    from batchcore.config import Schema as Schema
    from batchcore.config import Settings as Settings
    from batchcore.config import Splits as Splits
    from batchcore.db.autogenerate import alembic_include_object as alembic_include_object
    from batchcore.errors import BatchcoreError as BatchcoreError
    from batchcore.errors import CancelledError as CancelledError
    from batchcore.errors import ConcurrentUseError as ConcurrentUseError
    from batchcore.errors import ConfigError as ConfigError
    from batchcore.errors import CoverageError as CoverageError
    from batchcore.errors import DatabaseError as DatabaseError
    from batchcore.errors import DecodeError as DecodeError
    from batchcore.errors import InputError as InputError
    from batchcore.errors import InternalError as InternalError
    from batchcore.errors import LeaseHeldError as LeaseHeldError
    from batchcore.errors import NumericError as NumericError
    from batchcore.errors import ProcessDiedError as ProcessDiedError
    from batchcore.errors import RateMissingError as RateMissingError
    from batchcore.errors import SchemaError as SchemaError
    from batchcore.errors import SnapshotExistsError as SnapshotExistsError
    from batchcore.errors import TooManyFailedError as TooManyFailedError
    from batchcore.frames import BenchmarkWeights as BenchmarkWeights
    from batchcore.frames import Betas as Betas
    from batchcore.frames import Days as Days
    from batchcore.frames import Decimals as Decimals
    from batchcore.frames import Events as Events
    from batchcore.frames import FloatObjects as FloatObjects
    from batchcore.frames import Flows as Flows
    from batchcore.frames import HeldFindings as HeldFindings
    from batchcore.frames import Inputs as Inputs
    from batchcore.frames import Issues as Issues
    from batchcore.frames import LegacyColumns as LegacyColumns
    from batchcore.frames import Misses as Misses
    from batchcore.frames import Opening as Opening
    from batchcore.frames import Positions as Positions
    from batchcore.frames import Previous as Previous
    from batchcore.frames import Prices as Prices
    from batchcore.frames import Profiles as Profiles
    from batchcore.frames import RateRows as RateRows
    from batchcore.frames import Rows as Rows
    from batchcore.frames import SplitRows as SplitRows
    from batchcore.frames import Text as Text
    from batchcore.options import RunOptions as RunOptions
    from batchcore.policies.compute import compute as compute
    from batchcore.returns.performance import performance as performance
    from batchcore.returns.result import Performance as Performance
    from batchcore.returns.snapshots import Snapshots as Snapshots
    from batchcore.returns.snapshots import read_snapshots as read_snapshots
    from batchcore.run.batch import run_batch as run_batch
    from batchcore.run.calculator import BatchOrchestrator as BatchOrchestrator
    from batchcore.run.calculator import PnLCalculator as PnLCalculator
    from batchcore.run.cluster import GroupResult as GroupResult
    from batchcore.run.cluster import run_on as run_on
    from batchcore.run.many import ManyResult as ManyResult
    from batchcore.run.many import run_many as run_many
    from batchcore.run.portfolio import SectorTagResult as SectorTagResult
    from batchcore.run.portfolio import (
        calculate_portfolio_provider_beta as calculate_portfolio_provider_beta,
    )
    from batchcore.run.portfolio import (
        calculate_portfolio_sector_exposure as calculate_portfolio_sector_exposure,
    )
    from batchcore.run.portfolio import (
        restore_sector_tag_for_position as restore_sector_tag_for_position,
    )
    from batchcore.run.portfolio import (
        restore_sector_tags_for_portfolio as restore_sector_tags_for_portfolio,
    )
    from batchcore.run.result import BatchResult as BatchResult
    from batchcore.run.result import ShardResult as ShardResult
    from batchcore.run.split_basis import BasisCheck as BasisCheck
    from batchcore.run.split_basis import EntryPrice as EntryPrice
    from batchcore.run.split_basis import SplitCloses as SplitCloses
    from batchcore.run.split_basis import check_basis as check_basis
    from batchcore.run.status import ChunkStatus as ChunkStatus
    from batchcore.run.status import IssueStatus as IssueStatus
    from batchcore.run.status import RunStatus as RunStatus
    from batchcore.run.status import SymbolIssueStatus as SymbolIssueStatus
    from batchcore.run.status import runs as runs


_ROOMS: Final = {
    "batchcore.attribution.explainer": "explain",
    "batchcore.attribution.explanation": (
        "ComparedCell ExplainedFlow ExplainedRow Explanation UnbalancedRow UnexplainedPortfolio"
    ),
    "batchcore.audit.repair": "repair",
    "batchcore.audit.result": "VerifyResult",
    "batchcore.audit.verifier": "verify",
    "batchcore.caches": (
        "Closes CompanyProfile CompanyProfileCache CompanyProfileCacheStats PriceCache "
        "PriceCacheStats Snapshot SnapshotCache SnapshotCacheStats"
    ),
    "batchcore.config": "Fx Schema Settings Splits",
    "batchcore.db.autogenerate": "alembic_include_object",
    "batchcore.errors": (
        "BatchcoreError CancelledError ConcurrentUseError ConfigError CoverageError DatabaseError "
        "DecodeError InputError InternalError LeaseHeldError NumericError ProcessDiedError "
        "RateMissingError SchemaError SnapshotExistsError TooManyFailedError"
    ),
    "batchcore.frames": (
        "BenchmarkWeights Betas Days Decimals Events FloatObjects Flows HeldFindings Inputs "
        "Issues LegacyColumns Misses Opening Positions Previous Prices RateRows Profiles Rows "
        "SplitRows Text"
    ),
    "batchcore.options": "RunOptions",
    "batchcore.policies.compute": "compute",
    "batchcore.returns.performance": "performance",
    "batchcore.returns.result": "Performance",
    "batchcore.returns.snapshots": "Snapshots read_snapshots",
    "batchcore.run.calculator": "BatchOrchestrator PnLCalculator",
    "batchcore.run.batch": "run_batch",
    "batchcore.run.cluster": "GroupResult run_on",
    "batchcore.run.many": "ManyResult run_many",
    "batchcore.run.portfolio": (
        "SectorTagResult calculate_portfolio_provider_beta calculate_portfolio_sector_exposure "
        "restore_sector_tag_for_position restore_sector_tags_for_portfolio"
    ),
    "batchcore.run.result": "BatchResult ShardResult",
    "batchcore.run.split_basis": "BasisCheck EntryPrice SplitCloses check_basis",
    "batchcore.run.status": "ChunkStatus IssueStatus RunStatus SymbolIssueStatus runs",
}
"""Modules, and the public names that are loaded from each."""

_LATE: Final = ("batchcore.policies.rollforward",)
"""A module without a public name that calls import when needed."""

_EXTRAS: Final = ("nanoarrow", "opentelemetry.trace", "scipy.optimize", "scipy.special")
"""Modules of optional packages that calls import."""

_HOMES: Final = {name: room for room, names in _ROOMS.items() for name in names.split()}

_AWAITED: Final = frozenset(
    name
    for name, room in _HOMES.items()
    if name.islower()
    and room.startswith(
        ("batchcore.attribution.", "batchcore.audit.", "batchcore.returns.", "batchcore.run.")
    )
)
"""The async functions: all of these modules."""

__all__ = [  # noqa: PLE0604  # strings, from the table above
    "__version__",
    *sorted([*_HOMES, "preload"]),
]

logging.getLogger(__name__).addHandler(logging.NullHandler())


def preload(calendar: str = "XNYS") -> None:
    """Import everything that calls need, so that the first call is as fast as later ones.

    For a server that forks its workers, which then share the memory, or that should wait at its
    start rather than in a request. It opens no connection and starts no thread.

    Args:
        calendar: A calendar to load too; a code of exchange_calendars imports pandas.

    Raises:
        ConfigError: the calendar is unknown, or needs an extra.
    """
    for room in (*_ROOMS, *_LATE):
        importlib.import_module(room)
    for module in _EXTRAS:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    calendars = importlib.import_module("batchcore.calendar")
    if calendar != calendars.PRICES:  # which only the database knows
        calendars.load(calendar)


if not TYPE_CHECKING:  # a type checker would accept any name

    def __getattr__(name: str) -> object:
        """Return a public name from the module that owns it."""
        if name == "__version__":
            from batchcore.about import core_version  # noqa: PLC0415  # loads the compiled module

            return core_version
        if name not in _HOMES:
            msg = f"module `batchcore` has no attribute `{name}`"
            raise AttributeError(msg)
        if name in _AWAITED and _in_event_loop():
            return _loading(name)
        return _loaded(name)


def _loaded(name: str) -> Any:  # noqa: ANN401  # whatever has the name
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def _in_event_loop() -> bool:
    asyncio = sys.modules.get("asyncio")  # imported already if a loop is running
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001


def _loading(name: str) -> Callable[..., Awaitable[object]]:
    """Return a function that loads another in a thread when called, and then calls it."""

    async def call(*args: object, **kwargs: object) -> object:
        import asyncio  # noqa: PLC0415  # there is a loop, so it is imported

        function = await asyncio.to_thread(_loaded, name)
        return await function(*args, **kwargs)

    call.__module__, call.__name__, call.__qualname__ = __name__, name, name
    return call


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
