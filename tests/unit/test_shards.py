"""Which shard a portfolio belongs to: the same for ever, for every id and number of shards."""

import asyncio
import uuid

import numpy as np
import pytest

from batchcore.config import MOST_SHARDS
from batchcore.errors import ProcessDiedError
from batchcore.run.group import shard_result
from batchcore.shards import in_shard
from support import build

IDS = [uuid.UUID(int=number) for number in (0, 1, 2**64, 2**128 - 1)]
PREFIXES = (0x374708FF, 0x7C3CCD10, 0x78382582, 0x5AC6A594)
"""What sha256sum prints first of their 16 bytes."""


@pytest.mark.parametrize("count", [1, 2, 3, 7, MOST_SHARDS])
def test_an_id_belongs_to_the_shard_of_its_hash_for_ever(count: int) -> None:
    for row, prefix in enumerate(PREFIXES):
        own = prefix % count + 1
        assert in_shard(build.ids(IDS), (own, count))[row]
        assert not in_shard(build.ids(IDS), (own % count + 1, count))[row] or count == 1


def test_each_id_belongs_to_one_shard() -> None:
    ids = build.ids([uuid.UUID(int=number) for number in range(500)])
    for count in (1, 2, 3, 7):
        found = [in_shard(ids, (number, count)) for number in range(1, count + 1)]
        assert np.sum(found, axis=0).tolist() == [1] * 500
        assert min(own.sum() for own in found) > 500 / count / 2


def test_without_shards_all_ids_count_and_without_ids_none() -> None:
    assert in_shard(build.ids(IDS), None).tolist() == [True] * 4
    assert in_shard(build.ids([]), (1, 2)).tolist() == []


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (asyncio.CancelledError(), "interrupted"),
        (KeyboardInterrupt(), "interrupted"),
        (ProcessDiedError("it is gone", (2, 2), -9), "failed"),
        (None, "failed"),
    ],
)
def test_a_shard_without_a_report_was_interrupted_if_it_was_stopped(
    error: BaseException | None, state: str
) -> None:
    assert shard_result((2, 2), None, error).state == state
