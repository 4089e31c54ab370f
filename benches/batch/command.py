"""What the commands have in common: arguments, rounds, what they refuse and how they end."""

import argparse
import asyncio
import os
import platform
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from batch.compare import DiffersError
from batch.sizes import SEED
from batch.table import keep, tell
from batch.wire import connected
from batchcore import about

Case = TypeVar("Case")

Found = tuple[list[str], list[str], Mapping[str, Any]]
"""What a command prints, first what it was asked and where, and its figures for JSON."""


class RefusedError(Exception):
    """What was asked for cannot be done."""


def parser(name: str, doc: str | None, rounds: int | None = None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog=f"python -m {name}", description=doc)
    made.add_argument(
        "--rounds", type=int, default=rounds, help=f"{rounds or '5 for daily, 3 for backfill'}"
    )
    made.add_argument("--json", type=Path, help="file for the figures of every round")
    made.add_argument("--seed", type=int, default=SEED, help="of the order in each round")
    return made


def exit_code(made: argparse.ArgumentParser, run: Callable[[argparse.Namespace], Found]) -> int:
    """Run a command and return 0, or 1 where it is refused or rows differ, which stderr says."""
    given = made.parse_args()
    if about.build_profile != "release":
        sys.stderr.write(f"batchcore._core is a {about.build_profile} build: `make build` first\n")
        return 1
    try:
        head, lines, figures = run(given)
    except (RefusedError, DiffersError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    tell("", *head, *lines)
    if given.json is not None:
        keep(given.json, {"head": head, **figures})
    return 0


@contextmanager
def empty_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="batchcore-bench-") as folder:
        yield Path(folder)


def shuffled(
    cases: Sequence[Case], rounds: int, dice: random.Random, name: str = ""
) -> Iterator[tuple[int, Case]]:
    """Give the number of each round with each case, in an order of its own in each round."""
    for number in range(1, rounds + 1):
        tell(f"{name}round {number} of {rounds}")
        for case in dice.sample(cases, len(cases)):
            yield number, case


def machine(url: str) -> str:
    """Return cores and versions as a line, PostgreSQL that of a server."""

    async def asked() -> str:
        async with connected(url) as connection:
            return await connection.fetchval("SHOW server_version")

    version = asyncio.run(asked())
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, PostgreSQL {version}"
