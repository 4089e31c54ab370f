"""Write the generated parts of docs/ from the code: tables, functions, options, exceptions.

Usage: python scripts/docs.py [--check]

A generated part is what lies between `<!-- KIND NAME... -->` and `<!-- end -->`; `KINDS` has the
function for each kind. With `--check` nothing is written, and the exit code is 1 if a page is not
what the code says.
"""

from __future__ import annotations

import functools
import inspect
import operator
import pydoc
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints, is_typeddict

import typer

import batchcore
from batchcore import errors
from batchcore.cli.app import app
from batchcore.cli.exits import exit_code
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

OPTIONS = {"start_date": "start", "end_date": "end", "portfolio_ids": "portfolio"}
"""Arguments whose options have other names."""

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


def functions(*names: str) -> str:
    """Return a row for each function, or method of a class: how it is called, what it does."""
    rows = []
    for name in names:
        function: Any = pydoc.locate(f"batchcore.{name}")
        wait = "await " if inspect.iscoroutinefunction(function) else ""
        rows.append((f"`{wait}{name}({parameters(function)})`", first_sentence(function)))
    return table(("call", "what it does"), rows)


def parameters(function: Any) -> str:  # noqa: ANN401  # a function
    """Return the parameters of a function or method, without types and `self`."""
    empty = inspect.Parameter.empty
    signature = inspect.signature(function)
    untyped = [one.replace(annotation=empty) for one in signature.parameters.values()]
    own = [one for one in untyped if one.name != "self"]
    return str(signature.replace(parameters=own, return_annotation=empty))[1:-1]


def run_options() -> str:
    """Return a row for each argument of `run_batch` and each option of a run."""
    commands = typer.main.get_command(app).commands
    known = {one.name: one for one in commands["run"].params}
    signature = inspect.signature(batchcore.run_batch).parameters
    rows = []
    for name, text in entries(batchcore.run_batch, "Args").items():
        if name not in {"options", "overrides"}:
            rows.append((f"`{name}`", option(known, name), value(signature[name].default), text))
    for defaults, prefix in ((batchcore.RunOptions(), ""), (batchcore.Settings(), "Settings.")):
        for name, text in entries(type(defaults), "Attributes").items():
            if name != "settings":
                default = value(getattr(defaults, name))
                rows.append((f"`{prefix}{name}`", option(known, name), default, text))
    return table(("argument", "option", "default", "meaning"), rows)


def option(known: dict[str, Any], name: str) -> str:
    """Return the option of a command for an argument, "" without one."""
    found = known.get(OPTIONS.get(name, name))
    if found is None:
        return ""
    words = "/".join([*found.opts, *found.secondary_opts])
    return f"`{words}`" if found.metavar is None else f"`{words} {found.metavar}`"


def classes(*names: str) -> str:
    """Return a row for each class, with its attributes, and its properties and methods."""
    rows = []
    for name in names:
        cls: Any = pydoc.locate(f"batchcore.{name}")
        if is_typeddict(cls):
            listed = [*get_type_hints(cls)]
        elif name.endswith("Cache"):
            listed = members(cls)
        else:
            listed = [*inspect.signature(cls).parameters, *members(cls)]
        rows.append((f"`{name.rpartition('.')[2]}`", ", ".join(f"`{one}`" for one in listed)))
    return table(("class", "attributes and methods"), rows)


def members(cls: Any) -> list[str]:  # noqa: ANN401  # a class
    """Return the public properties and methods that a class defines and describes."""
    found = []
    for name, member in vars(cls).items():
        function = getattr(member, "__func__", member)
        if not name.startswith("_") and inspect.getdoc(function):
            if isinstance(function, property):
                found.append(name)
            elif inspect.isfunction(function):
                found.append(f"{name}()")
    return found


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


def first_sentence(item: Any) -> str:  # noqa: ANN401  # what has a docstring
    """Return the first line of a docstring."""
    return plain((inspect.getdoc(item) or "").partition("\n\n")[0])


def plain(text: str) -> str:
    """Return text of a docstring as one line of Markdown."""
    text = " ".join(text.split()).replace("``", "`")
    return re.sub(r"`docs/(\w+\.md)`|docs/(\w+\.md)", r"[\1\2](\1\2)", text)


def value(given: object) -> str:
    """Return a default as it is written."""
    if given is inspect.Parameter.empty:
        return ""
    return "`Schema()`" if type(given).__name__ == "Schema" else f"`{given!r}`"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table of Markdown."""
    head = list(head)
    lines = [[*head], ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    texts = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines]
    return "\n".join(f"| {text} |" for text in texts)


KINDS = {
    "tables": listing,
    "functions": functions,
    "run_options": run_options,
    "classes": classes,
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
