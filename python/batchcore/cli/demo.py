"""The command `demo`."""

from __future__ import annotations

import sys
import uuid
from functools import partial
from pathlib import Path  # the command line reads the annotations
from typing import TYPE_CHECKING, Annotated

from batchcore import about
from batchcore.cli.app import Call, command
from batchcore.cli.exits import DONE, INCOMPLETE
from batchcore.cli.options import Seed, option
from batchcore.cli.output import print_stderr, showing_progress
from batchcore.cli.run import failure_lines, issue_lines, marks_text, sessions_text
from batchcore.cli.signals import finish
from batchcore.config import Schema, Settings

if TYPE_CHECKING:
    from batchcore.pages.write import Written
    from batchcore.run.result import BatchResult


@command("demo", has_database=False)
def demo(
    call: Call,
    *,
    portfolios: Annotated[
        int | None, option("N", "Number of portfolios; default: 300 on real closes.")
    ] = None,
    symbols: Annotated[
        int | None, option("N", "Stocks and options of the generated market.")
    ] = None,
    sessions: Annotated[int | None, option("N", "Sessions of the generated market.")] = None,
    seed: Seed = 1,
    pages: Annotated[
        Path | None,
        option(
            "FOLDER", "Write pages about the night and a portfolio into it.", show_default=False
        ),
    ] = None,
) -> int:
    """Value portfolios in an embedded PostgreSQL; check every row.

    The closes are real ones of 27 symbols, over 120 sessions; with one of --portfolios, --symbols
    and --sessions the market is generated, a few stocks split, a few symbols are quoted in other
    currencies, and 50 portfolios are checked.
    """
    from rich.console import Console  # noqa: PLC0415  # only here

    from batchcore.demo import embedded  # noqa: PLC0415  # only here
    from batchcore.demo import run as demos  # noqa: PLC0415  # brings NumPy and the driver
    from batchcore.demo.report import checked_text, demo_parts  # noqa: PLC0415  # likewise

    if about.build_profile == "debug":
        print_stderr(
            "warning: this is a debug build of the core, many times slower than a release build"
        )
    size = demos.Size.of(portfolios, symbols, sessions)
    if pages is not None:
        pages.mkdir(parents=True, exist_ok=True)
    with embedded.start() as server, showing_progress() as progress:
        done = finish(demos.run_demo(server.url, size, seed=seed, progress=progress))
        schema = demos.schema_of(size)
        pages_of = None if pages is None else _write_pages(server.url, pages, done.result, schema)
        written = () if pages_of is None else finish(pages_of)
    document = done.to_dict()
    run = document["run"]
    texts = sessions_text(run), marks_text(run["cache"]), issue_lines(done.result)
    if not call.as_json:
        console = Console(file=sys.stdout, highlight=False)
        with call.printing():
            for part in demo_parts(done, run, *texts):
                # wider than the terminal rather than with digits cut off
                width = max(console.width, console.measure(part).minimum)
                console.print(part, soft_wrap=isinstance(part, str), width=width, crop=False)
    call.answer(document, lambda: checked_text(done))
    if not call.as_json:
        with call.printing():
            for page in written:
                print(f"page of the {page.page}: {page.path}")
    for line in (*done.checked.examples, *failure_lines(done.result)):
        print_stderr(line)
    return INCOMPLETE if done.checked.differing or done.result.failed else DONE


async def _write_pages(
    url: str, folder: Path, result: BatchResult, schema: Schema
) -> tuple[Written, ...]:
    """Write the page of the night, and that of the first portfolio valued."""
    from batchcore.pages.night import load_night  # noqa: PLC0415  # once the demo has begun
    from batchcore.pages.portfolio import load_portfolio_page  # noqa: PLC0415  # likewise
    from batchcore.pages.write import write_page  # noqa: PLC0415  # likewise

    ids, last = result.portfolios.id, int(result.portfolios.sessions_written.argmax())
    own, settings = uuid.UUID(bytes=ids[last].tobytes()), Settings(schema=schema)
    night = partial(load_night, url, run_id=result.run_id, verifies=True, schema=schema)
    portfolio = partial(load_portfolio_page, url, own, settings=settings)
    return (
        await write_page(folder / "night.html", night),
        await write_page(folder / "portfolio.html", portfolio),
    )
