"""The faces that rooms show each other: what is public is used, and both languages agree."""

import ast
import inspect
import re
import typing
from dataclasses import fields
from decimal import Decimal
from enum import IntEnum
from pathlib import Path

import pytest

import batchcore
from batchcore import _core, about, frames, reference, units
from batchcore.config import CHECKS
from batchcore.units import LotKind, Mark, State
from support.command import printed

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "batchcore"
CORE = ROOT / "rust" / "core" / "src"

OUTSIDE_THE_CORE = {"ambiguous_price", "bad_split", "gap", "off_session"}
"""Issues of the reference's table that no core has: they come from the rows as they are read."""

OF_POSITIONS = {"market_value_out_of_range"}
"""Issues of values that no snapshot has, which the reference does not compute."""

OF_ARRAYS = {"BatchResult", "Closes", "compute"}
"""What names types of NumPy arrays, as frames do: nothing that looks at types could use them."""


LATE = {"BatchOrchestrator", "PnLCalculator"}
"""Classes that load what their methods name with the first call, as hosts name them at start."""


def rust(path: str) -> str:
    return (CORE / path).read_text()


def constant(path: str, name: str) -> int:
    """Return a constant of the core's source."""
    found = re.search(rf"\bconst {name}: \w+ = ([\d_]+);", rust(path))
    assert found is not None, f"{path} has no constant {name}"
    return int(found[1])


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


@pytest.mark.parametrize("name", sorted({*batchcore.__all__} - OF_ARRAYS - LATE))
def test_callers_can_look_at_the_types_of_what_they_call(name: str) -> None:
    """FastAPI does of what it is to inject, pydantic of what it is to check."""
    found = getattr(batchcore, name)
    parts = [found]
    if isinstance(found, type):
        if issubclass(found, frames.Frame):
            return
        members = [part for key, part in vars(found).items() if key[0] != "_" or key == "__init__"]
        parts = [getattr(part, "fget", getattr(part, "__func__", part)) for part in members]
    for part in filter(inspect.isfunction, parts):
        typing.get_type_hints(part)


def test_all_of_the_compiled_module_is_complete() -> None:
    public = {name for name in vars(_core) if not name.startswith("_")}
    assert set(_core.__all__) == public | {"__version__"}


def test_each_name_of_the_compiled_module_is_used() -> None:
    used = {
        node.attr
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "_core"
    }
    assert sorted(set(_core.__all__) - used) == []


def test_the_module_is_built_for_release_or_says_that_it_is_not() -> None:
    assert about.build_profile in {"release", "debug"}
    assert batchcore.__version__ == about.core_version == _core.__version__


def test_version_is_that_of_the_workspace() -> None:
    manifest = (ROOT / "Cargo.toml").read_text()
    assert f'\nversion = "{_core.__version__}"\n' in manifest


@pytest.mark.parametrize(
    ("value", "path", "name"),
    [
        (units.MAX_SCALE, "fixed.rs", "MAX_SCALE"),
        (units.CENTS, "fixed.rs", "CENTS"),
        (units.OPTION_MULTIPLIER, "pnl/lot.rs", "OPTION_MULTIPLIER"),
        (10**units.RETURN_SCALE, "pnl/value.rs", "RETURN_UNIT"),
        (reference.MONEY_LIMIT.scaleb(units.CENTS), "pnl/value.rs", "MONEY_LIMIT"),
        (reference.RETURN_LIMIT.scaleb(units.RETURN_SCALE), "pnl/value.rs", "RETURN_LIMIT"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_units_agree_in_both_languages(value: int | Decimal, path: str, name: str) -> None:
    assert constant(path, name) == value


@pytest.mark.parametrize(
    ("names", "path", "name"), [(State, "fixed.rs", "State"), (LotKind, "pnl/lot.rs", "LotKind")]
)
def test_bytes_agree_in_both_languages(names: type[IntEnum], path: str, name: str) -> None:
    body = re.search(rf"\benum {name} \{{(.*?)\n\}}", rust(path), re.DOTALL)
    assert body is not None
    members = re.findall(r"^    (\w+) = (\d),$", body[1], re.MULTILINE)
    assert {snake(name): int(byte) for name, byte in members} == {
        member.name.lower(): member.value for member in names
    }


def test_marks_are_counted_in_the_order_of_their_names() -> None:
    (order,) = re.findall(r"let \[(\w+, [^\]]+)\] = count;", rust("pnl/rollforward/roll.rs"))
    assert [name.strip(" _") for name in order.split(",")] == [mark.name.lower() for mark in Mark]


def test_issues_have_the_names_of_the_reference() -> None:
    table = re.split(r"^=[= ]+$", reference.rollforward.__doc__ or "", flags=re.MULTILINE)[2]
    documented = set(re.findall(r"^([a-z_]+) ", table, re.MULTILINE))
    in_the_core = set(re.findall(r'^    \w+: "(\w+)",$', rust("pnl/issue.rs"), re.MULTILINE))
    assert in_the_core - OF_POSITIONS - {*CHECKS} == documented - OUTSIDE_THE_CORE
    assert documented >= OUTSIDE_THE_CORE


def test_columns_are_judged_in_the_order_of_the_reference() -> None:
    (body,) = re.findall(
        r"-> \[\(&'static str, Wide\); 12\](.*?)\n\}\n", rust("pnl/rollforward/roll.rs"), re.DOTALL
    )
    assert re.findall(r'\(\s*"(\w+)"', body) == list(reference.rollforward.MONEY_COLUMNS)


@pytest.mark.parametrize("name", batchcore.__all__)
def test_each_public_name_is_there(name: str) -> None:
    assert getattr(batchcore, name) is not None
    assert name in dir(batchcore)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="`no_such_name`"):
        _ = batchcore.no_such_name


def reached(name: str) -> set[str]:
    """Return the frames and columns that a frame is made of, itself included."""
    parts = [str(item.type) for item in fields(getattr(frames, name))]
    own = [part for part in parts if inspect.isclass(getattr(frames, part, None))]
    return {name}.union(*map(reached, own))


def test_everything_that_compute_takes_and_gives_is_public() -> None:
    names = reached("Inputs") | reached("Rows")
    assert {"Prices", "Decimals", "Text", "Days", "Issues", "Misses"} <= names
    assert names <= set(batchcore.__all__)


VERSION = "sys.argv[1:] = {!r}; from batchcore.__main__ import main; assert main() == 0"
BOTH = "from batchcore import cli; assert cli.main(['version']) == cli.main(['run', '--help']) == 0"
HEAVY = "numpy sqlalchemy asyncpg typer rich alembic exchange_calendars"
READERS = "numpy typer rich asyncio batchcore.cli"


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import batchcore", HEAVY),
        ("import batchcore, batchcore.cli; batchcore.preload()", "batchcore.demo"),
        (
            "from batchcore import calendar; calendar.load('XNYS').sessions(9999, 9999)",
            "pandas exchange_calendars",
        ),
        (VERSION.format(["version"]), READERS),
        (VERSION.format(["version", "--json"]), READERS),
        (BOTH, "asyncpg sqlalchemy alembic rich.table"),
    ],
)
def test_what_needs_it_alone_imports_what_is_heavy(code: str, absent: str) -> None:
    of_typer = "import typer; known |= set(sys.modules)\n" if code == BOTH else ""
    script = f"import sys; known = set()\n{of_typer}{code}\nprint(*set(sys.modules) - known)"
    *said, modules = printed(script).splitlines()
    assert set(absent.split()).isdisjoint(modules.split())
    if code.startswith("sys.argv"):
        assert "\n".join(said) == about.text(as_json="--json" in code)
