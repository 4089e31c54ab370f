"""Write the generated parts of docs/ from the code: tables, options, attributes, exceptions.

Usage: python scripts/docs.py [--check]

A generated part is what lies between `<!-- KIND NAME... -->` and `<!-- end -->`; `KINDS` has the
function for each kind. With `--check` nothing is written, and the exit code is 1 if a page is not
what the code says.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import operator
import pydoc
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints, is_typeddict

import typer

from batchcore import errors
from batchcore.cli.app import app
from batchcore.cli.exits import exit_code
from batchcore.config import Settings
from batchcore.schema import HOST, OWN, Use

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batchcore.schema import Column, Table

DOCS = Path(__file__).parent.parent / "docs"
PART = re.compile(r"^<!-- (\w+)(.*?) -->\n.*?^<!-- end -->$", re.MULTILINE | re.DOTALL)
SECTIONS = r"^(?:Args|Attributes|Returns|Raises|Source):$"

USES = {
    "run": Use.RUN,
    "analytics": Use.ANALYTICS | Use.SECTORS | Use.BETAS | Use.FACTORS | Use.PROXIES | Use.VALUES,
    "others": Use.PROFILES | Use.BENCHMARKS | Use.TAGS,
    "legacy": Use.LEGACY | Use.GREEKS | Use.CLEARED,
}
"""What reads or writes a column; the first that does has it in the table."""

EVERY = functools.reduce(operator.or_, USES.values())

OPTIONS = {
    "start_date": "start",
    "end_date": "end",
    "portfolio_ids": "portfolio",
    "periods": "period",
}
"""Arguments whose options have other names."""

WHOLE = ("settings", "options", "overrides")
"""Arguments that hold others, which have rows of their own."""

ELSEWHERE = ("As in `run_batch`.", "Likewise.")
"""What is said of arguments that have rows in the table of `run_batch`."""


# Tables of the database.


def listing(part: str) -> str:
    """Return the tables of the `host`, or of the `ledger`: a row for each table and use."""
    if part == "ledger":
        rows = [(f"`{name}`", ", ".join(described(one, one.columns))) for name, one in OWN.items()]
        return table(("table", "columns"), rows)
    return table(("table", "for", "columns"), (row for one in HOST.values() for row in uses(one)))


def uses(one: Table) -> Iterator[tuple[str, str, str]]:
    """Yield a row for each use of a table, with the columns that no use before has."""
    listed = Use(0)
    for label, use in USES.items():
        columns = [column for column in one.needed(use) if not column.uses & listed]
        if columns:
            with_keys = not one.needed(listed)
            yield f"`{one.name}`", label, ", ".join(described(one, columns, with_keys=with_keys))
        listed |= use


def described(one: Table, columns: Iterable[Column], *, with_keys: bool = True) -> Iterator[str]:
    """Yield columns of a table, all but the primary key `id`, and the keys."""
    has_id = one.key == ("id",)
    for column in columns:
        if not has_id or column.name != "id":
            text = f"{column.name} {column.type.replace('timestamptz', 'ts')}"
            text += f" = {column.default}" if column.default else ""
            yield text + (f" -> {column.references}" if column.references else "")
    if with_keys and not has_id:
        yield f"primary key ({', '.join(one.key)})"
    if with_keys and one.unique and all(one.column(name).uses & EVERY for name in one.unique):
        yield f"unique ({', '.join(one.unique)})"


# Docstrings.


def arguments(command: str, *names: str) -> str:
    """Return a row for each argument of functions, and each attribute of classes of options."""
    known = {p.name: p for p in typer.main.get_command(app).commands[command].params}
    rows = []
    for name in names:
        source: Any = pydoc.locate(name)
        prefix = "Settings." if source is Settings else ""
        texts = entries(source, "Attributes" if inspect.isclass(source) else "Args")
        given = inspect.signature(source).parameters
        rows += [
            (
                f"`{prefix}{key}`",
                option(known, key),
                value(default(source, key, given[key].default)),
                text,
            )
            for key, text in texts.items()
            if key not in WHOLE and text not in ELSEWHERE
        ]
    return table(("argument", "option", "default", "meaning"), rows)


def option(known: dict[str, Any], name: str) -> str:
    """Return the option of a command for an argument, "" without one."""
    found = known.get(OPTIONS.get(name, name))
    if found is None:
        return ""
    words = "/".join([*found.opts, *found.secondary_opts])
    return f"`{words}`" if found.metavar is None else f"`{words} {found.metavar}`"


def attributes(*names: str) -> str:
    """Return a row for each attribute, property and method of classes."""
    rows: list[tuple[str, str]] = []
    for name in names:
        cls = pydoc.locate(name)
        rows += [(f"`{key}`", text) for key, text in entries(cls, "Attributes").items()]
        rows += members_of(cls)
    return table(("attribute", "meaning"), rows)


def members(*names: str) -> str:
    """Return a row for each property and method of classes."""
    rows = []
    for name in names:
        cls = pydoc.locate(name)
        rows += [(f"`{name.rpartition('.')[2]}`", *row) for row in members_of(cls)]
    return table(("class", "member", "what it does"), rows)


def members_of(cls: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401  # a class
    """Return the public properties and methods that a class defines, with what they do."""
    for name, member in vars(cls).items():
        found = getattr(member, "__func__", member)
        if name.startswith("_") or not inspect.getdoc(found):
            continue
        if isinstance(found, property):
            yield f"`{name}`", summary(found)
        elif inspect.isfunction(found):
            wait = "await " if inspect.iscoroutinefunction(found) else ""
            yield f"`{wait}{name}({parameters(found)})`", summary(found)


def parameters(function: Any) -> str:  # noqa: ANN401  # a function
    """Return the parameters of a method, without types."""
    own = list(inspect.signature(function).parameters.values())[1:]
    return ", ".join(
        one.name if one.default is one.empty else f"{one.name}={one.default!r}" for one in own
    )


def columns(*names: str) -> str:
    """Return a row for each class with the names of its attributes."""
    rows = []
    for name in names:
        cls: Any = pydoc.locate(name)
        named = get_type_hints(cls) if is_typeddict(cls) else inspect.signature(cls).parameters
        listed = ", ".join(f"`{one}`" for one in named)
        rows.append((f"`{name.rpartition('.')[2]}`", listed))
    return table(("class", "attributes"), rows)


def exceptions() -> str:
    """Return a row for each exception, with its exit code."""
    rows = []
    for name, cls in vars(errors).items():
        if name.endswith("Error") and cls is not errors.BatchcoreError:
            listed = ", ".join(f"`{one}`" for one in entries(cls, "Attributes"))
            code = exit_code(cls("why"))
            rows.append((f"`{name}`", f"`{cls.__bases__[1].__name__}`", listed, summary(cls), code))
    return table(("exception", "also a", "attributes", "when", "exit code"), rows)


def entries(item: Any, section: str) -> dict[str, str]:  # noqa: ANN401  # what has a docstring
    """Return the entries of a section of a docstring by name."""
    text = inspect.getdoc(item) or ""
    _, _, rest = text.partition(f"{section}:\n")
    body = re.split(r"^\S", rest, maxsplit=1, flags=re.MULTILINE)[0]
    found: dict[str, str] = {}
    for name, words in re.findall(r"^    (\w+): (.*\n?(?:^ {8}.*\n?)*)", body, re.MULTILINE):
        found[name] = plain(words)
    return found


def summary(item: Any) -> str:  # noqa: ANN401  # what has a docstring
    """Return what a docstring says before its sections."""
    text = inspect.getdoc(item) or ""
    return plain(re.split(SECTIONS, text, maxsplit=1, flags=re.MULTILINE)[0])


def plain(text: str) -> str:
    """Return text of a docstring as one line of Markdown."""
    text = " ".join(text.split()).replace("``", "`")
    return re.sub(r"`docs/(\w+\.md)`|docs/(\w+\.md)", r"[\1\2](\1\2)", text)


def default(source: Any, name: str, given: object) -> object:  # noqa: ANN401  # what has options
    """Return the default of an argument or attribute, made where a factory makes it."""
    for field in dataclasses.fields(source) if dataclasses.is_dataclass(source) else ():
        if field.name == name and field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
    return given


def value(given: object) -> str:
    """Return a default as it is written."""
    if given is inspect.Parameter.empty:
        return ""
    return "`Schema()`" if type(given).__name__ == "Schema" else f"`{given!r}`"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table of Markdown."""
    head = list(head)
    lines = [[*head], ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in lines)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


KINDS = {
    "tables": listing,
    "arguments": arguments,
    "attributes": attributes,
    "members": members,
    "columns": columns,
    "exceptions": exceptions,
}


def generated(text: str) -> str:
    """Return a page with its generated parts as the code has them."""

    def part(found: re.Match[str]) -> str:
        kind, names = found[1], found[2]
        return f"<!-- {kind}{names} -->\n{KINDS[kind](*names.split())}\n<!-- end -->"

    return PART.sub(part, text)


def main(*, check: bool) -> int:
    """Write pages that differ, or only name them; return the exit code."""
    stale = []
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        fresh = generated(text)
        if fresh != text:
            stale.append(page.name)
            if not check:
                page.write_text(fresh, encoding="utf-8")
    if check and stale:
        print(f"not current: {', '.join(stale)}; run `make docs`")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
