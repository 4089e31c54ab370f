"""`run --databases`: runs on the databases that a file names, with one report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import batchcore
from batchcore.cli.app import Call, views
from batchcore.cli.artifact import database_dicts
from batchcore.cli.exits import WORST, exit_code, one_line, redacted
from batchcore.cli.output import print_stderr
from batchcore.cli.run import code_of, plan_dict, plan_text, result_text, run_batch
from batchcore.config import Schema, read_toml
from batchcore.errors import ConfigError, SchemaError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchcore.run.many import ManyResult
    from batchcore.run.result import BatchResult

KEYS: Final = ("url", "schema")


def named(file: str) -> tuple[dict[str, str], dict[str, Schema]]:
    """Return the named URLs of a TOML file, and the schemas of some of them.

    Errors name file and key, but no value, which may contain a password.
    """
    document = read_toml(file, "databases")
    if not document:
        raise ConfigError(f"{file}: names no database", "databases")
    urls, schemas = {}, {}
    for name, value in document.items():
        entry = value if isinstance(value, dict) else {"url": value}
        for key in entry:
            if key not in KEYS:
                msg = f"{file}: unknown key `{name}.{key}`, expected {' or '.join(KEYS)}"
                raise ConfigError(msg, "databases")
        url, schema = entry.get("url"), entry.get("schema")
        redacted.hide(url if isinstance(url, str) else None)
        if not isinstance(url, str) or not url:
            msg = f"{file}: `{name}` has no url, expected a text such as postgresql://host/name"
            raise ConfigError(msg, "databases")
        urls[name] = url
        if schema is not None:
            if not isinstance(schema, str):
                raise ConfigError(f"{file}: `{name}.schema` is not a file name", "databases")
            schemas[name] = Schema.from_toml(Path(file).parent / schema)
    return urls, schemas


def run_on_databases(
    call: Call,
    file: str,
    which: tuple[Any, Any, list[str] | None, str | None],
    options: dict[str, Any],
    *,
    parallel: int,
    dry_run: bool,
    ok_if_nothing: bool,
) -> int:
    """Run on each database of a file, and return the worst exit code."""
    if which[2] or which[3]:
        msg = "portfolio ids belong to one database: give --databases or portfolios"
        raise ConfigError(msg, "databases")
    urls, schemas = named(file)

    async def work(_url: str, start: Any, end: Any, _ids: None, **chosen: Any) -> ManyResult:  # noqa: ANN401  # as `run_batch`
        return await batchcore.run_many(
            urls, start, end, parallel=parallel, schemas=schemas, **chosen
        )

    many = run_batch(work, call, which, options, dry_run=dry_run)

    def document(result: BatchResult) -> dict[str, Any]:
        return plan_dict(result, options["min_coverage"]) if dry_run else result.to_dict()

    codes = {
        name: exit_code(many.errors[name])
        if name in many.errors
        else code_of(call, many[name], ok_if_nothing=ok_if_nothing)
        for name in urls
    }
    whole = {"databases": database_dicts(many, codes, document)}
    call.record.report_many(many, whole)
    show = plan_text if dry_run else result_text
    parts = views().plan_parts if dry_run else views().run_parts
    call.answer(
        whole,
        lambda: text(many, codes, lambda result: show(result, document(result))),
        lambda: views().databases_parts(many, codes, lambda one: parts(one, document(one))),
    )
    for name, error in many.errors.items():
        for problem in error.problems[1:] if isinstance(error, SchemaError) else ():
            print_stderr(redacted(f"also: database {name}: {problem}"))
    return max(codes.values(), key=WORST.index)


def text(many: ManyResult, codes: Mapping[str, int], text_of: Callable[[BatchResult], str]) -> str:
    """Return the result of the run on each database, or the error that ended it."""
    lines = []
    for name, code in codes.items():
        error = many.errors.get(name)
        line = f"database {name}: exit code {code}"
        lines += [f"{line}: {one_line(error)}"] if error else [line, text_of(many[name])]
    return "\n".join(lines)
