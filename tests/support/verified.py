"""What a verification has found, by column."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchcore import VerifyResult


def wrong(result: VerifyResult) -> dict[str, int]:
    """Return how many cells differ in each column that has any."""
    columns = result.columns
    counts = zip(columns.name, columns.differing.tolist(), strict=True)
    return {name: count for name, count in counts if count}


def checked(result: VerifyResult) -> dict[str, int]:
    """Return how many cells of each column were compared."""
    return dict(zip(result.columns.name, result.columns.checked.tolist(), strict=True))
