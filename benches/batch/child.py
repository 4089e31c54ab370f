"""One run of one side in a process of its own; prints what it took as a line of JSON."""

import time

ENTERED_NS = time.time_ns()

import argparse  # noqa: E402  # the interpreter's start ends before the first import
import json  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
from dataclasses import asdict  # noqa: E402
from pathlib import Path  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m batch.child", description=__doc__)
    parser.add_argument("--side", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--job", required=True, type=Path, help="file with the job")
    parser.add_argument("--spawned-ns", required=True, type=int, help="when it was started")
    given = parser.parse_args()

    began = time.perf_counter()
    from batch.job import Job, Timing  # noqa: PLC0415  # their time is told apart
    from batch.sides import SIDES  # noqa: PLC0415

    side = SIDES[given.side].load()
    imported = time.perf_counter()
    job = Job.from_json(given.job.read_text(encoding="utf-8"))
    if hasattr(side, "prepare"):
        side.prepare(job)
    before, memory = set(sys.modules), peak_memory_bytes()

    clock = time.perf_counter()
    timing: Timing = side.run(given.url, job)
    total = time.perf_counter() - clock

    told = {
        **asdict(timing),
        "total": total,
        "start": (ENTERED_NS - given.spawned_ns) / 1e9,
        "import": imported - began,
        "peak_bytes": peak_memory_bytes(),
        "peak_bytes_before": memory,
        "imported_late": sorted({name.partition(".")[0] for name in set(sys.modules) - before}),
    }
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
