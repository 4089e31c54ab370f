"""Pages into files."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchcore.errors import ConfigError
from batchcore.files import replace_file
from batchcore.late_imports import imported
from batchcore.pages.night import load_night
from batchcore.pages.portfolio import load_portfolio_page

if TYPE_CHECKING:
    import os
    import uuid
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Written:
    """A page that was written."""

    path: str  # absolute
    page: str  # `night` or `portfolio`
    shows: str  # id of the run, of the group or of the portfolio
    size_bytes: int


async def write_night(db: object, out: str | os.PathLike[str], **options: Any) -> Written:  # noqa: ANN401  # those of `load_night`
    """Write the page of a night into a file; ``options`` are those of `load_night`.

    Raises:
        ConfigError: no file can be there, the extra `report` is not installed, or as
            `load_night`.
        OSError: the file cannot be written; what was there before still is.
    """
    render = await _renderer(Path(out))
    night = await load_night(db, **options)
    return await _write(Path(out), "night", night.run.run_id, lambda: render.night_page(night))


async def write_portfolio(
    db: object,
    out: str | os.PathLike[str],
    portfolio: uuid.UUID | str,
    **options: Any,  # noqa: ANN401  # those of the loader
) -> Written:
    """Write the page of a portfolio; ``options`` are those of `load_portfolio_page`.

    Raises:
        ConfigError: as `write_night`, or as `load_portfolio_page`.
        OSError: the file cannot be written; what was there before still is.
    """
    render = await _renderer(Path(out))
    page = await load_portfolio_page(db, portfolio, **options)
    return await _write(Path(out), "portfolio", page.portfolio, lambda: render.portfolio_page(page))


async def _renderer(out: Path) -> Any:  # noqa: ANN401  # a module
    """Return the module that makes pages, before anything is read."""
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


async def _write(out: Path, page: str, shows: str, text: Callable[[], str]) -> Written:
    def written() -> Written:
        content = text().encode()
        replace_file(out, content)
        return Written(str(out.absolute()), page, shows, len(content))

    return await asyncio.to_thread(written)
