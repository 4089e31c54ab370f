"""Pages into files."""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchcore.errors import ConfigError
from batchcore.late_imports import imported
from batchcore.pages.night import load_night
from batchcore.pages.portfolio import load_portfolio_page

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Written:
    """A page that was written.

    Attributes:
        path: Of the file, absolute.
        page: `night` or `portfolio`.
        shows: Id of the run or of the portfolio.
        size_bytes: Of the file.
    """

    path: str
    page: str
    shows: str
    size_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return {
            "path": self.path,
            "page": self.page,
            "shows": self.shows,
            "size_bytes": self.size_bytes,
        }


async def write_night(db: object, out: str | os.PathLike[str], **options: Any) -> Written:  # noqa: ANN401  # those of `load_night`
    """Write the page of a night into a file; ``options`` are those of `load_night`.

    Raises:
        ConfigError: there is no such folder, the extra `report` is not installed, or as
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
    if not out.parent.is_dir():
        raise ConfigError(f"{out.parent}: there is no such folder", "out")
    try:
        return await imported("batchcore.pages.render")
    except ImportError as error:
        if error.name is None or error.name.startswith("batchcore"):
            raise
        raise ConfigError(
            f"a page needs `{error.name}` of the extra `report`: pip install 'batchcore[report]'",
            "out",
        ) from error


async def _write(out: Path, page: str, shows: str, text: Callable[[], str]) -> Written:
    def written() -> Written:
        content = text().encode()
        replace_file(out, content)
        return Written(str(out.absolute()), page, shows, len(content))

    return await asyncio.to_thread(written)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole, or leave what is there: it is written beside and renamed.

    Raises:
        OSError: it cannot be written; it names the file.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        beside = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            beside.chmod(0o666 & ~_umask())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
