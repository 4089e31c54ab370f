"""Files that are complete at any moment."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file completely, or leave it unchanged: the new file is renamed at the end.

    The new file has the permissions of the old one. An `OSError` names the file; an impossible name
    is a `ValueError`, and a loop of links a `RuntimeError`.
    """
    own = path.resolve()  # the target of a link, rather than the link
    if own.exists() and not own.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    # No pid: containers that share a volume may all be pid 1.
    beside = own.with_name(f".{own.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with beside.open("xb") as file:
                if own.exists():
                    beside.chmod(stat.S_IMODE(own.stat().st_mode))
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(own)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
