"""The version, found without NumPy and without the libraries of the command line."""

from __future__ import annotations

import json
import sys

from batchcore import _core

core_version: str = _core.__version__
build_profile: str = _core.build_profile


def document() -> dict[str, str]:
    """Return version, build of the core and version of Python."""
    return {
        "version": core_version,
        "build_profile": build_profile,
        "python": ".".join(map(str, sys.version_info[:3])),
    }


def text(*, as_json: bool) -> str:
    """Return the text of the command `version`."""
    if as_json:
        return json.dumps(document(), indent=2)
    return f"batchcore {core_version} ({build_profile} build)"
