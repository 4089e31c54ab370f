"""The command `migrate`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

from batchcore.cli.app import Call, command
from batchcore.cli.exits import DONE, INCOMPLETE, USAGE
from batchcore.cli.options import flag
from batchcore.cli.signals import finish

if TYPE_CHECKING:
    from batchcore.db.migrate import MigrateReport, MigrateStatus


@command("migrate")
def migrate(
    call: Call,
    *,
    check: Annotated[
        bool, flag("--check", "Change nothing; exit with 1 if a migration is due.")
    ] = False,
    drop_redundant: Annotated[
        bool, flag("--drop-redundant", "Drop indexes that another index makes redundant.")
    ] = False,
) -> int:
    """Create or upgrade what batchcore needs in a database."""
    from batchcore.db import migrate as migrations  # noqa: PLC0415  # brings SQLAlchemy

    options: dict[str, Any] = {"schema": call.schema, "drop_redundant": drop_redundant}
    if check:
        status = finish(migrations.check(call.url, **options))
        document = {**dataclasses.asdict(status), "is_current": status.is_current}
        call.answer(document, lambda: status_text(status))
        if status.problems:
            return USAGE
        return DONE if status.is_current else INCOMPLETE
    migrated = finish(migrations.migrate(call.url, **options))
    call.answer(dataclasses.asdict(migrated), lambda: migrated_text(migrated))
    return DONE


def status_text(status: MigrateStatus) -> str:
    """Return the revision of a database, and what a migration would do."""
    at = "none, batchcore never migrated it" if status.revision is None else status.revision
    lines = [f"revision: {at}; newest: {status.head}"]
    lines += [f"to do: {step}" for step in status.steps]
    lines += [f"index: {note}" for note in status.notes]
    lines += [f"in the way: {problem}" for problem in status.problems]
    if status.is_current:
        lines.append("nothing to do")
    return "\n".join(lines)


def migrated_text(report: MigrateReport) -> str:
    """Return the changes of a migration."""
    lines = [f"{revision}: marked as done, the tables are the host's" for revision in report.marked]
    lines += [f"{revision}: done" for revision in report.applied]
    lines += [f"index: {note}" for note in report.notes]
    return "\n".join([*lines, f"the database is at revision {report.revision}, the newest"])
