"""`python -m batch`: a contest from the command line."""

import argparse
import asyncio
import sys
from pathlib import Path

from batch import command
from batch.command import Found, RefusedError, empty_folder, exit_code, machine
from batch.contest import ROUNDS, Contest
from batch.data import SETTINGS, server
from batch.job import ANALYTICS, JOBS, job_of
from batch.sides import SIDES
from batch.sizes import SIZES
from batch.table import tell


def parser() -> argparse.ArgumentParser:
    made = command.parser("batch", __doc__)
    made.add_argument("--size", choices=SIZES, default="m")
    made.add_argument("--job", choices=JOBS, default="daily")
    made.add_argument("--sides", default="", help="names with commas between; all that can run")
    made.add_argument("--analytics", choices=ANALYTICS, default="none")
    made.add_argument("--history", type=int, default=1, help="sessions stored before a daily one")
    made.add_argument("--data", type=Path, help="folder that keeps the databases of the sizes")
    made.add_argument("--setting", action="append", default=[], help="name=value of the server")
    for option in ("connections", "threads", "chunk-size"):
        made.add_argument(f"--{option}", type=int, help="of batchcore")
    return made


def run(given: argparse.Namespace) -> Found:
    names = [name for name in given.sides.split(",") if name]
    if unknown := set(names) - set(SIDES):
        raise RefusedError(f"no side {', '.join(sorted(unknown))}; there are {', '.join(SIDES)}")
    for name in names:
        if lacks := SIDES[name].lacks:
            how = "run `make peers`" if SIDES[name].own else "install the extra `bench`"
            raise RefusedError(f"{name} needs {', '.join(lacks)}: {how}")
    sides = [SIDES[n] for n in names] or [s for s in SIDES.values() if not s.lacks]
    if given.analytics != "none":
        sides = [side for side in sides if side.analytics]
    settings = dict(pair.split("=", 1) for pair in given.setting)
    size = SIZES[given.size]
    options = {name: getattr(given, name) for name in ("connections", "threads", "chunk_size")}

    with (
        empty_folder() as folder,
        server(
            size, analytics=given.analytics != "none", folder=given.data, settings=settings
        ) as started,
    ):
        job = job_of(
            given.job,
            size,
            folder,
            history=given.history,
            analytics=given.analytics,
            options={name: value for name, value in options.items() if value is not None},
        )
        head = [
            (
                f"{given.job} {size.name}: {size}; {len(job.sessions)} sessions on top of"
                f" {len(job.history)}; analytics {given.analytics}; seed {given.seed}"
            ),
            (
                f"{machine(started.url)}, settings"
                f" {' '.join(f'{k}={v}' for k, v in {**SETTINGS, **settings}.items())}"
            ),
        ]
        tell(*head)
        contest = Contest(started.url, job, tuple(sides), given.rounds, given.seed)
        found = asyncio.run(contest.run())
    lines = [f"medians of up to {given.rounds or ROUNDS[given.job]} runs, seconds", *found.lines()]
    return head, lines, {"medians": found.medians(), "rounds": found.told}


if __name__ == "__main__":
    sys.exit(exit_code(parser(), run))
