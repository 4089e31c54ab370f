"""Shards of the portfolios: the share of each id, which never changes."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

Shard = tuple[int, int]
"""Number of a shard, from 1, and how many there are."""

HASHED: Final = 4
"""Bytes of a digest that determine the shard."""


def in_shard(ids: npt.NDArray[np.uint8], shard: Shard | None) -> npt.NDArray[np.bool_]:
    """Return which portfolios, (n, 16) uint8, are in a shard; None contains all.

    The first four bytes of the SHA-256 of the 16 bytes of an id, as a big-endian number modulo the
    number of shards, count the shards from 0.
    """
    if shard is None:
        return np.ones(len(ids), dtype=np.bool_)
    number, count = shard
    every = ids.tobytes()
    found = b"".join(
        sha256(every[at : at + 16]).digest()[:HASHED] for at in range(0, len(every), 16)
    )
    own: npt.NDArray[np.bool_] = np.frombuffer(found, dtype=">u4") % count == number - 1
    return own
