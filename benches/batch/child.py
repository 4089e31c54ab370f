"""One run of one side in a process of its own; prints what it took as a line of JSON."""

import argparse
import json
import pickle
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path

from batch.sides import SIDES


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m batch.child", description=__doc__)
    parser.add_argument("--side", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--job", required=True, type=Path, help="file with the job")
    given = parser.parse_args()
    side = SIDES[given.side].load()
    job = pickle.loads(given.job.read_bytes())  # noqa: S301  # our own
    if hasattr(side, "prepare"):
        side.prepare(job)

    clock = time.perf_counter()
    timing = side.run(given.url, job)
    total = time.perf_counter() - clock

    told = {**asdict(timing), "total": total, "peak_bytes": peak_memory_bytes()}
    sys.stdout.write(json.dumps(told, default=str) + "\n")


def peak_memory_bytes() -> int:
    """Return the most resident memory that this process has had.

    Not that of getrusage where Linux tells better: it counts what the process was before exec.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except FileNotFoundError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
