"""What the commands have in common: what they refuse, and what they say of the machine."""

import asyncio
import os
import platform
import sys
from collections.abc import Callable

from batch.compare import DiffersError
from batch.data import server_version
from batchcore import about


class RefusedError(Exception):
    """What was asked for cannot be done."""


def exit_code(command: Callable[[], None]) -> int:
    """Run a command and return 0, or 1 where it is refused or rows differ, which stderr says."""
    if about.build_profile != "release":
        return _refused(f"batchcore._core is a {about.build_profile} build: `make build` first")
    try:
        command()
    except (RefusedError, DiffersError) as error:
        return _refused(str(error))
    return 0


def _refused(reason: str) -> int:
    sys.stderr.write(f"{reason}\n")
    return 1


def machine(url: str) -> str:
    """Return cores and versions as a line, PostgreSQL that of a server."""
    version = asyncio.run(server_version(url))
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, PostgreSQL {version}"
