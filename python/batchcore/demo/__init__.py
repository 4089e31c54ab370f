"""The demo and all that only it and the tests need: a market, a server, rows checked one by one.

The commands `demo` and `generate` import it; a run loads nothing of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchcore.demo.run import Demo as Demo
    from batchcore.demo.run import Seeded as Seeded
    from batchcore.demo.run import Size as Size
    from batchcore.demo.run import run_demo as run_demo
    from batchcore.demo.run import schema_of as schema_of
    from batchcore.demo.run import seeded as seeded
    from batchcore.demo.run import with_betas as with_betas

__all__ = ["Demo", "Seeded", "Size", "run_demo", "schema_of", "seeded", "with_betas"]


def __getattr__(name: str) -> object:
    """Return a public name; a market alone needs neither the driver nor SQLAlchemy."""
    if name not in __all__:
        msg = f"module `batchcore.demo` has no attribute `{name}`"
        raise AttributeError(msg)
    from batchcore.demo import run  # noqa: PLC0415  # brings both

    value: object = getattr(run, name)
    return value
