"""Code in a process of its own that may take only so much memory and time."""

import os
import subprocess
import sys

import numpy as np

# The limit counts from what is mapped once everything is imported.
PRELUDE = """
import resource

import numpy as np

import batchcore.policies.compute
from batchcore import _core, native
from batchcore.errors import DecodeError
from support import build, bounded

def allow(more):
    with open("/proc/self/statm") as statm:
        mapped = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + more,) * 2)
"""


def run(code: str, *, timeout_s: float = 60, **environment: str) -> str:
    """Return what a process prints that runs `code` after the prelude, and must end well.

    In `code`, ``allow(n)`` lets the process map no more than n further bytes from there on.
    """
    command = [sys.executable, "-W", "ignore", "-c", PRELUDE + code]
    path = os.pathsep.join(sys.path)
    done = subprocess.run(  # noqa: S603  # this interpreter, and code of tests
        command,
        env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stderr[-4000:]}"
    return done.stdout


def symbols(first: int, count: int) -> bytes:
    """Return rows of a binary COPY of one text column: eight digits each, all different."""
    rows = np.zeros((count, 14), dtype=np.uint8)
    rows[:, 1], rows[:, 5] = 1, 8
    numbers = np.arange(first, first + count)
    for place in range(8):
        rows[:, 13 - place] = ord("0") + numbers // 10**place % 10
    return rows.tobytes()
