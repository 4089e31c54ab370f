"""The manifests of examples/: what each task of an array runs, with what its system sets."""

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import jinja2
import pytest
import yaml

from batchcore.cli.options import URL_VARIABLE
from support.command import Said, batchcore
from support.tables import SIZE, query

pytestmark = pytest.mark.db

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
DATES = ("--start", "2025-06-26", "--end", "2025-06-30")
SESSIONS = 3


@dataclass(frozen=True)
class Task:
    """What one of them runs, and what its system sets for it."""

    command: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)


def of_kubernetes() -> Iterator[Task]:
    job = yaml.safe_load((EXAMPLES / "indexed_job.yaml").read_text())["spec"]
    (container,) = job["template"]["spec"]["containers"]
    given = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    assert job["completionMode"] == "Indexed"
    assert int(given["SHARDS"]) == job["completions"] == job["parallelism"]
    for index in range(job["completions"]):
        yield Task(container["command"], {**given, "JOB_COMPLETION_INDEX": str(index)})


def of_slurm(*tried: int) -> Iterator[Task]:
    """Give the tasks of the array, or of `sbatch --array=` with some of them."""
    file = EXAMPLES / "array.sbatch"
    (array,) = re.findall(r"^#SBATCH --array=(.+)$", file.read_text(), re.MULTILINE)
    first, last = map(int, array.split("-"))
    numbers = tried or range(first, last + 1)
    for number in numbers:
        given = {"ID": number, "COUNT": len(numbers), "MIN": min(numbers), "MAX": max(numbers)}
        variables = {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in given.items()}
        yield Task(["sh", "-c", file.read_text()], variables)


class Operator:
    """Stands in for the operator of Airflow, which tests do not need: keeps what it was given."""

    made: list["Operator"] = []  # noqa: RUF012  # what the one example makes

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.made.append(self)

    @classmethod
    def partial(cls, **given: Any) -> Self:
        return cls(**given)

    def expand(self, *, env: list[dict[str, str]]) -> Self:
        self.given["mapped"] = len(env)
        return self

    def __rshift__(self, after: Self) -> Self:
        return after


class Dag:
    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> list[Operator]:
    """The operators that the example makes."""
    names = {"airflow.sdk": {"DAG": Dag}}
    names["airflow.providers.standard.operators.bash"] = {"BashOperator": Operator}
    for name, members in names.items():
        parts = name.split(".")
        for end in range(1, len(parts)):
            monkeypatch.setitem(sys.modules, ".".join(parts[:end]), ModuleType("stand-in"))
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(Operator, "made", [])
    runpy.run_path(str(EXAMPLES / "in_airflow_mapped.py"))
    return Operator.made


def rendered(operator: Operator, map_index: int = -1) -> list[str]:
    """Return the command as Airflow renders it: -1 where nothing is mapped."""
    template = jinja2.Template(operator.given["bash_command"], undefined=jinja2.StrictUndefined)
    return ["bash", "-c", template.render(ti={"map_index": map_index})]


def shell(task: Task, *path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Return how a command ended, with programs of some folders before all others."""
    found = os.pathsep.join([*map(str, path), os.environ["PATH"]])
    return subprocess.run(  # noqa: S603  # what our own examples say
        task.command,
        env={**os.environ, **task.variables, **variables, "PATH": found},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture
def ran(tmp_path: Path, filled: str) -> Callable[[Task], Said]:
    """A function that runs a task for some dates, as clocks play no part.

    The shell calls a program that prints its words; the command line is called in this process.
    """
    program = tmp_path / "batchcore"
    program.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    program.chmod(0o755)

    def run(task: Task) -> Said:
        words = shell(task, tmp_path).stdout.splitlines()
        assert words[0] == "run"
        return batchcore(*words, *DATES, "--database-url", filled)

    return run


def assert_all_done(url: str, shards: int) -> None:
    """Check that each portfolio was in one share, and that the ledger has them as one group."""
    rows = query(url, "SELECT portfolio_id FROM portfolio_snapshots")
    assert len(rows) == SIZE.portfolios * SESSIONS
    shares = query(url, "SELECT shard, shards FROM batchcore_run_shards ORDER BY shard")
    assert [tuple(row) for row in shares] == [(n, shards) for n in range(1, shards + 1)]
    assert len(query(url, "SELECT DISTINCT group_id FROM batchcore_run_shards")) == 1


@pytest.mark.parametrize("system", [of_kubernetes, of_slurm])
def test_the_tasks_of_an_array_do_all_portfolios_once(
    filled: str, ran: Callable[[Task], Said], system: Callable[[], Iterator[Task]]
) -> None:
    tasks = list(system())
    for task in tasks:
        said = ran(task)
        assert (said.code, said.err) == (0, "")
    assert_all_done(filled, len(tasks))
    assert ran(tasks[0]).code == 0  # nothing to do is a success


@pytest.mark.parametrize("again", [(3,), (2, 3, 4), (4, 1)])
def test_tasks_of_an_array_that_are_tried_again_have_their_shares(
    ran: Callable[[Task], Said], filled: str, again: tuple[int, ...]
) -> None:
    for task in of_slurm(*again):
        assert ran(task).code == 0
    shares = query(filled, "SELECT shard, shards FROM batchcore_run_shards")
    assert {tuple(row) for row in shares} == {(number, 4) for number in again}


def test_mapped_tasks_of_airflow_do_all_portfolios_once(
    filled: str, ran: Callable[[Task], Said], airflow: list[Operator]
) -> None:
    shards, whole = airflow
    tasks = [Task(rendered(shards, index)) for index in range(shards.given["mapped"])]
    assert [ran(task).code for task in tasks] == [0] * len(tasks)
    assert_all_done(filled, len(tasks))

    programs = Path(sys.executable).parent
    done = shell(Task(rendered(whole)), programs, **{URL_VARIABLE: filled})
    assert (done.returncode, done.stderr) == (0, "")
    assert f": complete, {len(tasks)} shards\n" in done.stdout
    assert ran(tasks[0]).code == shards.given["skip_on_exit_code"]  # nothing to do
