"""``python -m batchcore`` and the script ``batchcore`` are the command line."""

import contextlib
import signal
import sys

from batchcore.streams import open_streams


def main() -> int:
    """Run a command and return its exit code.

    `version` is answered here: what reads the arguments of other commands takes eight times as
    long to import as Python takes to start.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing to tell before there is anything to stop
    open_streams()
    words = sys.argv[1:]
    if any("://" in word for word in words):
        from batchcore.redact import hide_arguments  # noqa: PLC0415  # what version does not need

        hide_arguments()
    if words in (["version"], ["version", "--json"]):
        from batchcore import about  # noqa: PLC0415  # what the others do not need

        with contextlib.suppress(OSError):  # the command itself says why
            sys.stdout.write(about.text(as_json="--json" in words) + "\n")
            sys.stdout.flush()
            return 0

    from batchcore import cli  # noqa: PLC0415  # what version does not need

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
