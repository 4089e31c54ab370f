"""A filter that keeps a host's own Alembic from dropping the tables and indexes of batchcore."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from batchcore.schema import INDEXES

IncludeObject = Callable[[Any, str | None, str, bool, Any], bool]

_OWN = "batchcore_"


def alembic_include_object(hook: IncludeObject | None = None) -> IncludeObject:
    """Return an `include_object` for `context.configure` of a host's `env.py`.

    Autogenerate then ignores everything that batchcore created: tables whose names start with
    ``batchcore_``, and the three indexes of revision 0002, also those on partitions. ``hook``
    decides about everything else, and about objects of the host's own models.

    Args:
        hook: The host's own `include_object`; None includes everything.
    """

    def include_object(
        item: Any,  # noqa: ANN401  # a schema item of SQLAlchemy, which is not imported for it
        name: str | None,
        type_: str,
        reflected: bool,  # noqa: FBT001  # the signature is Alembic's
        compare_to: Any,  # noqa: ANN401  # likewise
    ) -> bool:
        if reflected and compare_to is None and _is_own(name or "", type_):
            return False
        return hook is None or hook(item, name, type_, reflected, compare_to)

    return include_object


def _is_own(name: str, type_: str) -> bool:
    if type_ == "index":
        return name.removeprefix(_OWN).startswith(tuple(index.name for index in INDEXES))
    return type_ == "table" and name.startswith(_OWN)
