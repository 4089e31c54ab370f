"""The command `version`."""

from __future__ import annotations

from batchcore import about
from batchcore.cli.app import Call, command
from batchcore.cli.exits import DONE


@command("version", has_database=False)
def version(call: Call) -> int:
    """Show the version and how its core was built."""
    call.answer(about.document(), lambda: about.text(as_json=False))
    return DONE
