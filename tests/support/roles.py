"""Roles that own nothing."""

import contextlib
import uuid
from collections.abc import AsyncIterator

from sqlalchemy import make_url

from support.database import execute

USUAL = (
    "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public",
    "USAGE ON ALL SEQUENCES IN SCHEMA public",
)


@contextlib.asynccontextmanager
async def role_of(url: str, *grants: str) -> AsyncIterator[tuple[str, str]]:
    """Give a role with grants, without any those that a run needs, and the URL of its logins."""
    role = f"role_{uuid.uuid4().hex}"
    granted = [f"GRANT {grant} TO {role}" for grant in grants or USUAL]
    await execute(url, f"CREATE ROLE {role} LOGIN", *granted)
    try:
        yield role, make_url(url).set(username=role).render_as_string(hide_password=False)
    finally:
        await execute(url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
