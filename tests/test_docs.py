"""The documents: every example runs, every rule and issue that the code names is defined."""

import ast
import asyncio
import dataclasses
import inspect
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer

import batchcore
from batchcore import reference as ref
from batchcore.audit.causes import CAUSES
from batchcore.audit.compare import REASONS
from batchcore.cli import exits
from batchcore.cli.app import app
from batchcore.cli.databases import named
from batchcore.cli.options import LIBPQ_VARIABLES, URL_VARIABLE
from batchcore.demo import run as demo
from batchcore.pg.ledger import NOT_REPLACED
from support import database, sides
from support.callers import with_driver
from support.cases import Run, day
from support.command import called, printed

ROOT = Path(__file__).parent.parent
SEMANTICS = ROOT / "docs" / "semantics.md"
LEGACY = ROOT / "docs" / "legacy.md"


def documents() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def sources() -> Iterator[Path]:
    for folder, suffixes in (
        ("python", "py pyi"),
        ("rust", "rs"),
        ("tests", "py"),
        ("benches", "py"),
    ):
        for suffix in suffixes.split():
            yield from (ROOT / folder).rglob(f"*.{suffix}")


def defined_rules() -> set[str]:
    found = re.findall(r"^(?:### |\*\*)([ACSWX]\d+) ", SEMANTICS.read_text(), re.MULTILINE)
    return {*found, *re.findall(r"^\*\*(L\d+) ", LEGACY.read_text(), re.MULTILINE)}


def test_the_rules_are_a1_to_a8_c1_to_c8_l1_to_l34_s1_to_s14_w1_to_w5_and_x1_to_x8() -> None:
    last = {"A": 8, "C": 8, "L": 34, "S": 14, "W": 5, "X": 8}
    assert defined_rules() == {f"{a}{n}" for a in last for n in range(1, last[a] + 1)}


def test_every_rule_that_code_names_is_defined() -> None:
    named = {
        (rule, path.relative_to(ROOT).as_posix())
        for path in sources()
        for rule in re.findall(r"\b[ACLSWX]\d{1,2}\b", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 100, "the search finds nothing"
    assert sorted(name for name in named if name[0] not in defined_rules()) == []


def told_issues() -> set[str]:
    """Return the names in the table of issues, and the one that only `legacy` has."""
    cells = re.findall(r"^\| (`.*?) \|", section(SEMANTICS, "Issues"), re.MULTILINE)
    of_legacy = re.findall(r"`(no_\w+)` \(L2\)", LEGACY.read_text())
    return {*of_legacy, *(name for cell in cells for name in re.findall(r"`(\w+)`", cell))}


def named_issues() -> set[str]:
    """Return the names that core, reference and run give to issues."""
    core = (ROOT / "rust/core/src/pnl/issue.rs").read_text()
    names = set(re.findall(r'^    \w+: "(\w+)",$', core, re.MULTILINE))
    paths = ("run/*.py", "policies/*.py", "splits.py")
    for path in (file for one in paths for file in (ROOT / "python/batchcore").glob(one)):
        text = path.read_text()
        names.update(re.findall(r"\b(?:Issues\.of|_day_issues)\(\s*\"(\w+)\"", text))
        names.update(re.findall(r"\"(\w+_out_of_range|refused_by_\w+)\"", text))
    return names | {"stale", "unpriced", NOT_REPLACED}


def test_the_issues_of_the_code_are_those_of_the_table() -> None:
    assert named_issues() == told_issues()


# The portfolio that semantics.md works by hand: its table has the closes and what must come out.

WORKED = ref.Portfolio(
    "worked",
    Decimal("10000.00"),
    (
        ref.Position(
            "AAA",
            "LONG",
            Decimal(60),
            Decimal("10.00"),
            day("2026-01-02"),
            events=(ref.Event(day("2026-01-06"), Decimal(40), Decimal("36.00")),),
        ),
    ),
    (ref.Flow(day("2026-01-03"), Decimal("500.00"), "CONTRIBUTION"),),
)


@pytest.mark.parametrize("side", [sides.by_reference, sides.by_core])
def test_the_portfolio_worked_by_hand(side: Callable[[Run], sides.Outcome]) -> None:
    lines = re.findall(r"^\|(.*)\|$", section(SEMANTICS, "Worked by hand"), re.MULTILINE)
    head, _, *rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    table = [dict(zip(head, row, strict=True)) for row in rows]
    sessions = [day(row["session"]) for row in table]
    prices = [
        ("AAA", at, Decimal(row["close AAA"])) for at, row in zip(sessions, table, strict=True)
    ]
    (result,), _ = side(Run((WORKED,), tuple(prices), tuple(sessions)))
    assert not result.failed
    for row, expected in zip(result.rows, table, strict=True):
        cells = {name: expected[name] for name in expected if hasattr(row, name)}
        assert len(cells) > 8
        assert {name: str(getattr(row, name)) for name in cells} == cells


# Examples: each block runs as it stands, in a process of its own.

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$(?:\n+^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block, and the `text` block right after it: what it prints."""

    where: str
    language: str
    text: str
    printed: str | None

    @property
    def needs_database(self) -> bool:
        return "DATABASE_URL" in self.text


def blocks(language: str) -> list[Block]:
    found = []
    for path in documents():
        text = path.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            where = f"{path.relative_to(ROOT).as_posix()}:{line}"
            found.append(Block(where, match[1], match[2], match[3]))
    return [block for block in found if block.language == language]


def where(block: Block) -> str:
    return block.where


def ran(command: list[str], url: str | None) -> str:
    """Return what a command prints; it must succeed, without a warning if it is Python."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    if url is not None:
        environment |= {"DATABASE_URL": with_driver(url), "BATCHCORE_DATABASE_URL": url}
    done = subprocess.run(  # noqa: S603  # commands of our own documents
        command, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def skip_without_packages(text: str) -> None:
    if "DataFrame.from_arrow(" in text and not hasattr(pd.DataFrame, "from_arrow"):
        pytest.skip(f"pandas {pd.__version__} takes no Arrow stream, 3.0 does")


def run_python(block: Block, url: str | None = None) -> None:
    printed = ran([sys.executable, "-W", "error", "-c", block.text], url)
    assert block.printed is None or printed == block.printed


@pytest.fixture(scope="session")
def filled_template(server: Any, template: str) -> Iterator[str]:
    """The URL of a database with a market up to 2025-06-30, to be copied."""
    size = demo.Size(portfolios=30, symbols=40, sessions=25)
    yield from database.shared(server, demo.seeded(size, seed=1).write, template)


PYTHON = blocks("python")


def test_there_are_examples() -> None:
    assert len([block for block in PYTHON if block.needs_database]) > 0
    assert len([block for block in PYTHON if not block.needs_database]) > 0


@pytest.mark.parametrize("block", [one for one in PYTHON if not one.needs_database], ids=where)
def test_a_python_example_runs(block: Block) -> None:
    run_python(block)


@pytest.mark.db
@pytest.mark.asyncio
@pytest.mark.parametrize("block", [one for one in PYTHON if one.needs_database], ids=where)
async def test_a_python_example_runs_on_a_database(
    block: Block, make_database: Callable[[str], Awaitable[str]], filled_template: str
) -> None:
    url = await make_database(filled_template)
    await asyncio.to_thread(run_python, block, url)


PRINTED = {
    "caches.py": (
        "None 2025-06-27\nTrue\n"
        "{'NEW': Decimal('10.5000')} [('GONE', datetime.date(2025, 6, 30))]\n"
        "[     0 105000] [1 0] 4 1\nFalse None\nNone 0\n"
    ),
    "calculator.py": "True False\nTrue True\n",
    "compute_arrays.py": (
        "2026-01-02 0 1000000\n2026-01-05 8000 1008000\n"
        "2026-01-06 -5000 1003000\n2026-01-07 0 1003000\n"
    ),
    "explain_a_number.py": (
        "30 portfolios: 33654.67; worst: -7223.45\n"
        "2343994.72, P&L -7223.44, rounding 0.00712953\n"
        "  AAAF Technology: -6415.94, 36% of all moves\n"
        "  AABH Financials: -5763.67, 32% of all moves\n"
        "  AAAH Healthcare: 3132.81, 18% of all moves\n"
        "20531 AAAF x 1, bought at 9.0107\n"
        "9.7268 of 2025-06-23 to 9.4143 of 2025-06-24, fresh\n"
        "True\n"
    ),
    "in_apscheduler.py": "True\n",
    "in_fastapi.py": "True complete\n",
    "in_orm_session.py": "True\nFalse\n",
    "in_threads.py": "[True, True]\n",
    "on_dask.py": "complete 30 30\n4\n",
    "one_portfolio.py": (
        "['calculation_date', 'coverage', 'portfolio_beta', 'positions_with_beta',"
        " 'total_positions']\n"
        "['benchmark', 'benchmark_date', 'benchmark_weights', 'calculation_date',"
        " 'over_underweights', 'sector_weights']\n"
        "0 0 True\n0 0 1\n"
    ),
    "results_as_data.py": "True\ndecimal128(16, 2)\nTrue\n",
    "run_batch.py": (
        "True ['2025-06-26', '2025-06-27', '2025-06-30']\nTrue every {}\nTrue legacy\nTrue True\n"
    ),
    "runs_and_verify.py": (
        "True complete 2025-06-30 None\nTrue\n10 snapshots, 0 cells differ {}\n"
    ),
    "several_databases.py": "europe 30 complete\nasia 0 DatabaseError\n",
}
"""What the examples print that are files."""

ELSEWHERE = {
    *("in_airflow.py", "in_celery.py", "in_dagster.py", "in_dagster_pipes.py", "in_prefect.py"),
    *("in_airflow_mapped.py", "orchestrator_after.py", "orchestrator_before.py", "valuation.py"),
}
"""Examples that tests/e2e runs, and those of packages that tests do not need."""


def test_every_example_file_is_run_and_linked() -> None:
    files = {path.name for path in (ROOT / "examples").glob("*.py")}
    assert files == PRINTED.keys() | ELSEWHERE
    text = "".join(path.read_text(encoding="utf-8") for path in documents())
    assert [name for name in sorted(files - {"valuation.py"}) if f"/{name})" not in text] == []


@pytest.mark.db
@pytest.mark.asyncio
@pytest.mark.parametrize("name", PRINTED)
async def test_an_example_file_runs(
    name: str, make_database: Callable[[str], Awaitable[str]], filled_template: str
) -> None:
    path = ROOT / "examples" / name
    skip_without_packages(path.read_text(encoding="utf-8"))
    url = await make_database(filled_template)
    command = [sys.executable, "-W", "error", str(path)]
    assert await asyncio.to_thread(ran, command, url) == PRINTED[name]


def commands(block: Block) -> list[list[str]]:
    """Return the words of each command of a block."""
    return [shlex.split(line, comments=True) for line in block.text.splitlines() if line.strip()]


SHELL = [block for language in ("sh", "bash", "shell", "console") for block in blocks(language)]
OURS = [block for block in SHELL if any(words[0] == "batchcore" for words in commands(block))]


@pytest.mark.parametrize("block", SHELL, ids=where)
def test_the_commands_of_an_example_are_there(block: Block) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in commands(block):
        match words:
            case ["make", target]:
                assert target in targets
            case ["batchcore", name, *_]:
                assert name in command_line().commands
            case ["export", setting]:
                assert setting.startswith(f"{URL_VARIABLE}=")
            case ["pip", "install", package]:
                wheel = re.escape("$(echo dist/batchcore-*.whl)")
                extras = re.fullmatch(rf"(?:batchcore|{wheel})\[(.*)\]", package)
                assert extras
                assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
            case [".venv/bin/python", "-m", "pytest", *options]:
                paths = [ROOT / word for word in options if word.startswith("tests")]
                assert all(path.exists() for path in paths)
            case _:
                pytest.fail(f"a command that no test knows: {shlex.join(words)}")


@pytest.mark.parametrize("block", blocks("toml"), ids=where)
def test_a_file_of_names_is_one(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "host.toml"
    path.write_text(block.text, encoding="utf-8")
    if block.where.startswith("docs/operations.md"):  # names of databases
        (tmp_path / "asia.toml").write_text("[tables]\npositions = 'holdings'\n")
        urls, schemas = named(str(path))
        assert list(urls) == ["europe", "asia"]
        assert list(schemas) == ["asia"]
        return
    assert batchcore.Schema.from_toml(path) != batchcore.Schema()


def test_the_file_of_names_has_every_key_and_keywords_say_the_same(tmp_path: Path) -> None:
    text = section(ROOT / "docs" / "schema.md", "Other names")
    (file,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "host.toml"
    path.write_text(file, encoding="utf-8")
    document = tomllib.loads(file)
    assert document.keys() == {field.name for field in dataclasses.fields(batchcore.Schema)}
    (code,) = re.findall(r"`columns=(\{.*?\})`", text)
    keywords = document | {
        "columns": ast.literal_eval(code),
        "scales": {"positions.quantity": document["scales"]["positions"]["quantity"]},
    }
    assert batchcore.Schema(**keywords) == batchcore.Schema.from_toml(path)


@pytest.mark.db
@pytest.mark.parametrize("block", OURS, ids=where)
def test_a_shell_example_runs(
    block: Block,
    make_database: Callable[..., Awaitable[str]],
    filled_template: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fills = any(words[:2] == ["batchcore", "generate"] for words in commands(block))
    url = asyncio.run(make_database(*([] if fills else [filled_template])))
    for name in LIBPQ_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(URL_VARIABLE, url)
    monkeypatch.chdir(tmp_path)
    for program, *words in commands(block):
        assert program == "batchcore"
        said = called(words)
        assert said.code == 0, said.err


# The reference: every public name, option, attribute and exit code is told.

API = ROOT / "docs" / "api.md"


def command_line() -> Any:
    return typer.main.get_command(app)


def section(path: Path, title: str) -> str:
    return path.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_public_name_is_told() -> None:
    """In a generated table if it is a function: what these say is current, see below."""
    text = API.read_text(encoding="utf-8")
    told = set(re.findall(r"\w+", text))
    assert sorted(set(batchcore.__all__) - told - {"__version__"}) == []
    calls = [name for name in batchcore.__all__ if inspect.isfunction(getattr(batchcore, name))]
    listed = re.findall(r"^\| `(?:await )?(\w+)\(", text, re.MULTILINE)
    assert sorted(set(calls) - set(listed)) == []


def test_every_argument_of_a_run_is_told() -> None:
    told = re.findall(r"^\| `([\w.]+)` \|", section(API, "run_batch"), re.MULTILINE)
    names = [
        name
        for source in (batchcore.run_batch, batchcore.RunOptions)
        for name in inspect.signature(source).parameters
        if name not in {"options", "overrides", "settings"}
    ]
    settings = [f"Settings.{field.name}" for field in dataclasses.fields(batchcore.Settings)]
    assert told == names + settings


def test_every_argument_of_a_verification_is_in_its_docstring() -> None:
    text = inspect.getdoc(batchcore.verify) or ""
    names = re.findall(r"^    (\w+): ", text.partition("Raises:")[0], re.MULTILINE)
    assert names == list(inspect.signature(batchcore.verify).parameters)


def test_every_cause_and_reason_is_told() -> None:
    told = re.findall(r"^\| `(\w+)` \|", section(API, "verify"), re.MULTILINE)
    assert told[-len(CAUSES) - len(REASONS) :] == [*CAUSES, *REASONS]


def test_every_command_and_option_is_told() -> None:
    text = API.read_text(encoding="utf-8")
    told = set(re.findall(r"`(\w+)`", section(API, "The command line")))
    assert sorted(set(command_line().commands) - told) == []
    options_told = set(re.findall(r"(--[\w-]+)", text))
    for name in ("run", "plan", "verify"):
        options = {text for option in command_line().commands[name].params for text in option.opts}
        assert {option for option in options if option.startswith("--")} - {
            "--verbose"
        } <= options_told


def test_without_a_handler_nothing_is_logged() -> None:
    code = "import logging, batchcore; logging.getLogger('batchcore.run').error('told')"
    assert printed(code) == ""


def test_the_table_of_exit_codes_has_those_of_the_command_line() -> None:
    rows = re.findall(
        r"^\| ([\d, ]+) \|", section(ROOT / "docs" / "operations.md", "Exit codes"), re.MULTILINE
    )
    codes = [exits.DONE, exits.INCOMPLETE, exits.FAILED, exits.USAGE, exits.LEASE_HELD]
    codes += [exits.NOTHING_TO_DO, 128 + signal.SIGINT, 128 + signal.SIGTERM, exits.BROKEN_PIPE]
    assert [int(code) for row in rows for code in row.split(", ")] == codes


def test_the_generated_parts_are_current() -> None:
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, str(ROOT / "scripts" / "docs.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([\w-]+))?\)", path.read_text()):
        linked = path.parent / target if target else path
        assert linked.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors


def test_every_test_that_shows_a_guarantee_is_there() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:tests|benches)/[\w/]+\.py)`", text))
    assert len(named) >= 7
    assert not [name for name in sorted(named) if not (ROOT / name).is_file()]


def test_documents_name_no_other_place() -> None:
    for path in (*documents(), ROOT / "CHANGELOG.md"):
        assert not re.search(r"(?<!\w)/(work|root|tmp)\b|shared/", path.read_text()), path


def test_every_make_target_is_told() -> None:
    targets = re.findall(r"^([\w-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [target for target in targets if f"`make {target}`" not in text] == []


def test_the_rooms_of_the_table_are_there() -> None:
    text = section(ROOT / "docs" / "architecture.md", "Rooms")
    cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    rooms = [room.rstrip("*/") for cell in cells for room in re.findall(r"`([^`]+)`", cell)]
    package = ROOT / "python" / "batchcore"
    assert len(cells) <= 28
    assert [room for room in rooms if not any(package.glob(f"{room}*"))] == []
