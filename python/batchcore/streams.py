"""Standard streams that are closed, full, or unable to show every character."""

import os
import sys
from typing import Final, TextIO

_MODES: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_streams() -> None:
    """Replace closed streams by the null device, and let stdout show any text.

    Otherwise the first connection would get the file descriptor of such a stream, and everything
    written to it.
    """
    for number, (name, mode) in enumerate(_MODES):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def silence(stream: TextIO) -> None:
    """Redirect a stream that cannot be written to the null device.

    Python would try again at exit, and set an exit code of its own.
    """
    try:
        number, null = stream.fileno(), os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)
    except (OSError, ValueError):  # no file, or closed: then there is nothing to write at the end
        return


def write_stderr(line: str) -> None:
    """Print a line on stderr; ignore a line that cannot be printed."""
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        silence(sys.stderr)
