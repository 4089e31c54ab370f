"""Writing of pages to files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchcore.errors import ConfigError
from batchcore.files import replace_file
from batchcore.late_imports import imported
from batchcore.pages.contents import Night, PortfolioPage


@dataclass(frozen=True, slots=True)
class Written:
    """A page that was written."""

    path: str  # absolute
    page: str  # `night` or `portfolio`
    shows: str  # id of the run, of the group or of the portfolio
    size_bytes: int


async def write_page(
    out: str | os.PathLike[str], loading: Callable[[], Awaitable[Night | PortfolioPage]]
) -> Written:
    """Write the page of loaded contents to a file; if that fails, an existing file stays."""
    path = Path(out)
    render = await _renderer(path)
    page = await loading()

    def written() -> Written:
        if isinstance(page, Night):
            kind, shows, content = "night", page.run.run_id, render.night_page(page)
        else:
            kind, shows, content = "portfolio", page.portfolio, render.portfolio_page(page)
        data = content.encode()
        replace_file(path, data)
        return Written(str(path.absolute()), kind, shows, len(data))

    return await asyncio.to_thread(written)


async def _renderer(out: Path) -> Any:  # noqa: ANN401  # a module
    """Return the module that renders pages, before anything is read."""
    await asyncio.to_thread(_check_place, out)
    try:
        return await imported("batchcore.pages.render")
    except ImportError as error:
        if error.name is None or error.name.startswith("batchcore"):
            raise
        raise ConfigError(
            f"a page needs `{error.name}` of the extra `report`: pip install 'batchcore[report]'",
            "out",
        ) from error


def _check_place(out: Path) -> None:
    if not out.parent.is_dir():
        what = "is not a folder" if out.parent.exists() else "there is no such folder"
        raise ConfigError(f"{out.parent}: {what}", "out")
    if out.exists() and not out.is_file():
        what = "is a folder" if out.is_dir() else "is not a regular file"
        raise ConfigError(f"{out}: {what}, expected the file to write", "out")
