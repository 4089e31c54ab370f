"""``python -m batchcore`` and the script ``batchcore`` are the command line."""

import contextlib
import signal
import sys

from batchcore.streams import open_streams, write_stderr


def main() -> int:
    """Run a command and return its exit code.

    `version` is answered here, as the argument parser of the other commands takes eight times as
    long to import as Python takes to start.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing to stop yet
    open_streams()
    words = sys.argv[1:]
    if words in (["version"], ["version", "--json"]):
        from batchcore import about  # noqa: PLC0415  # what the others do not need

        with contextlib.suppress(OSError):  # the command itself reports why
            sys.stdout.write(about.text(as_json="--json" in words) + "\n")
            sys.stdout.flush()
            return 0

    try:
        from batchcore import cli  # noqa: PLC0415  # what version does not need
    except Exception as error:  # noqa: BLE001  # a broken installation, or no memory for it
        why = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
        write_stderr(f"batchcore: error: the command line cannot be loaded: {why}")
        return 2
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
