"""The command line: arguments in, exit code out; the only package that prints.

An error is one line on stderr, and one more for each further problem of the tables; with
``--debug`` its traceback comes first. With ``--json`` the one document on stdout is then
``{"error": {"type", "message", "exit_code", ...}}``, with the attributes of the exception.
"""

from __future__ import annotations

import importlib
import sys

try:
    for _extra in ("typer", "rich"):
        importlib.import_module(_extra)
except ImportError as error:
    print(  # the one line that must not use them
        f"batchcore: error: the command line needs `{error.name}`: "
        "install `batchcore[cli]` (pip install 'batchcore[cli]')",
        file=sys.stderr,
    )
    raise SystemExit(3) from None

from batchcore.cli.app import main as main

for _command in (
    "run",
    "repair",
    "verify",
    "explain",
    "performance",
    "status",
    "report",
    "migrate",
    "demo",
    "generate",
    "version",
):
    importlib.import_module(f"{__name__}.{_command}")  # registered in the order of the help
