"""Events and flows of several chunks at a time, each chunk handed its own."""

import asyncio

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchcore.frames import Days, Decimals, Flows, Positions, Text
from batchcore.run.chunk_groups import (
    ROWS_OF_A_PORTFOLIO,
    EventsByPosition,
    GroupedLoad,
    flows_between,
    group_size,
)
from batchcore.run.plan import Chunk
from batchcore.sources.events_flows import LooseEvents
from batchcore.sources.host import sorted_ids
from support import build

READER = None
"""No session: what loads here asks nobody."""


def days(count: int) -> Days:
    return Days(np.arange(count, dtype=np.int32))


def mantissas(count: int) -> Decimals:
    return Decimals(np.arange(count, dtype=np.int64), 2)


def events(positions: list[int], bits: int = 0) -> LooseEvents:
    """Return an event of each position, its day the number of its row."""
    count = len(positions)
    return LooseEvents(
        build.ids([one << bits for one in positions]),
        days(count),
        mantissas(count),
        mantissas(count),
    )


def held(numbers: list[int], bits: int = 0) -> Positions:
    """Return positions, each of the portfolio whose number is a hundred times its own."""
    count = len(numbers)
    return Positions(
        id=build.ids([number << bits for number in numbers]),
        portfolio_id=build.ids([100 * number for number in numbers]),
        symbol=Text.constant("AAA", count),
        position_type=Text.constant("LONG", count),
        quantity=mantissas(count),
        entry_price=mantissas(count),
        entry_day=days(count),
    )


def flows(portfolios: list[int], bits: int) -> Flows:
    """Return a flow of each portfolio, its day the number of its row."""
    count = len(portfolios)
    return Flows(
        portfolio_id=build.ids([one << bits for one in portfolios]),
        day=days(count),
        amount=mantissas(count),
        change_type=Text.constant("CONTRIBUTION", count),
    )


def chunks(works: list[list[bool]]) -> list[Chunk]:
    size = len(works[0])
    return [
        Chunk(number, slice(number * size, (number + 1) * size), np.array(one))
        for number, one in enumerate(works)
    ]


def test_events_go_to_their_positions_whatever_the_order() -> None:
    found = EventsByPosition.of(events([7, 3, 9, 3, 8])).among(held([8, 3, 5]))

    # 3 has the events of rows 1 and 3, 8 that of row 4; 7 and 9 are others' positions
    rows = sorted(zip(found.day.values.tolist(), found.position_id[:, 15].tolist(), strict=True))
    assert rows == [(1, 3), (3, 3), (4, 8)]
    of = {day: int.from_bytes(one.tobytes(), "big") for day, one in pairs(found)}
    assert of == {1: 300, 3: 300, 4: 800}


def pairs(found) -> list[tuple[int, npt.NDArray[np.uint8]]]:
    return list(zip(found.day.values.tolist(), found.portfolio_id, strict=True))


@given(
    made=st.lists(st.integers(0, 40), max_size=60),
    wanted=st.lists(st.integers(0, 40), unique=True, max_size=30),
    bits=st.sampled_from([0, 8, 60, 64, 100]),
)
def test_events_are_those_that_a_search_finds(
    made: list[int], wanted: list[int], bits: int
) -> None:
    found = EventsByPosition.of(events(made, bits)).among(held(wanted, bits))
    expected = [row for row, position in enumerate(made) if position in wanted]
    assert sorted(found.day.values.tolist()) == expected
    assert found.quantity.values.tolist() == found.day.values.tolist()
    for day, portfolio in pairs(found):
        assert int.from_bytes(portfolio.tobytes(), "big") == 100 * made[day]


@given(made=st.lists(st.integers(0, 12), max_size=40), bits=st.sampled_from([0, 60, 64, 100]))
def test_flows_are_cut_by_the_ids_of_the_plan(made: list[int], bits: int) -> None:
    sorted_flows = flows(made, bits)
    sorted_flows = sorted_flows.take(sorted_ids(sorted_flows.portfolio_id))
    for chunk in ([2], [3, 5], [7, 11, 12]):
        found = flows_between(sorted_flows, build.ids([one << bits for one in chunk]))
        expected = [row for row, one in enumerate(made) if chunk[0] <= one <= chunk[-1]]
        assert sorted(found.day.values.tolist()) == expected
        portfolios = [int.from_bytes(one.tobytes(), "big") >> bits for one in found.portfolio_id]
        assert portfolios == [made[row] for row in found.day.values]


@pytest.mark.parametrize(
    ("bytes_each", "size"),
    [
        (0.1, 5),
        (100.0, 5),  # 10 portfolios take 1,000 bytes
        (101.0, 3),  # two groups, of 3 and 2 chunks
        (200.0, 3),
        (201.0, 2),
        (5000.0, 1),  # a chunk is the least
    ],
)
def test_groups_take_no_more_than_they_may(bytes_each: float, size: int) -> None:
    works = [[True, False], [False, False], [True, True], [True, True], [False, True]]
    rows = {"equity_changes": round(bytes_each * 10), "portfolios": 400}  # of 40 bytes each
    assert group_size(chunks(works), rows, "equity_changes", 1000) == size
    assert group_size([], {}, "equity_changes", 1000) == 1


@pytest.mark.parametrize(
    ("estimated", "size"),
    [
        ({"equity_changes": 30, "portfolios": 12}, 3),  # 10 times 2.5 rows of 40 bytes
        ({"portfolios": 12}, 2),  # 10 times `ROWS_OF_A_PORTFOLIO`
        ({"equity_changes": 30}, 2),
        ({"equity_changes": 0, "portfolios": 12}, 2),
    ],
)
def test_what_the_server_does_not_know_is_estimated(estimated: dict[str, int], size: int) -> None:
    assert ROWS_OF_A_PORTFOLIO == 5
    made = chunks([[True, False]] * 5)
    assert group_size(made, estimated, "equity_changes", 900) == size


async def test_a_group_is_loaded_once_and_dropped_after_its_last_chunk() -> None:
    loaded: list[Chunk] = []

    async def load(_reader: object, group: Chunk) -> list[int]:
        loaded.append(group)
        await asyncio.sleep(0)
        return [group.number]

    made = chunks([[True], [False], [True], [True]])
    kept: GroupedLoad[list[int]] = GroupedLoad(made, 2, load)  # type: ignore[arg-type]

    # chunk 1 has nothing to write and never asks
    found = await asyncio.gather(*(kept.of(READER, made[number]) for number in (2, 0, 3)))

    assert found == [[2], [0], [2]]
    assert sorted(group.number for group in loaded) == [0, 2]
    assert sorted((group.rows.start, group.rows.stop) for group in loaded) == [(0, 2), (2, 4)]
    assert kept._kept == {}  # noqa: SLF001
    # A group of one chunk may have any number.
    again = Chunk(7, slice(0, 1), np.array([True]))
    alone: GroupedLoad[list[int]] = GroupedLoad([again], 1, load)  # type: ignore[arg-type]
    assert await alone.of(READER, again) == [7]


async def test_who_waits_for_a_load_that_fails_tries_again() -> None:
    attempts: list[int] = []

    async def load(_reader: object, group: Chunk) -> int:
        attempts.append(group.number)
        await asyncio.sleep(0)
        if len(attempts) == 1:
            msg = "the connection was lost"
            raise ConnectionError(msg)
        return group.number

    made = chunks([[True], [True]])
    kept: GroupedLoad[int] = GroupedLoad(made, 2, load)  # type: ignore[arg-type]

    found = await asyncio.gather(
        *(kept.of(READER, chunk) for chunk in made), return_exceptions=True
    )

    assert isinstance(found[0], ConnectionError)
    assert found[1] == 0
    assert attempts == [0, 0]
