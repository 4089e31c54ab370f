"""The help of every command stands in a file; `python tests/support/command.py` rewrites them."""

import pytest

from support.command import COMMANDS, HELP, batchcore, help_file, help_text


def test_every_command_has_a_file() -> None:
    assert {path.stem for path in HELP.iterdir()} == {"batchcore", *COMMANDS}


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_is_that_of_the_file(command: str | None) -> None:
    assert help_text(command) == help_file(command).read_text()


def test_each_command_has_one_whole_line_on_a_terminal_of_80_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    listed = batchcore("--help").out.split("Commands:\n")[1].splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert [line for line in listed if not line.endswith(".") or line.endswith("...")] == []


ONLY_RUNS = tuple(f"  --{name} " for name in ("metrics", "processes", "databases", "parallel"))
"""Options that a plan lacks."""

ONLY_PLANS = "  --check-basis "
"""The option that a run lacks."""


def without(text: str, options: str | tuple[str, ...]) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(options))


def test_plan_takes_the_options_of_run() -> None:
    """But it leaves no metrics, and its document only where an option says so."""
    run, plan = (help_file(name).read_text().split("Options:")[1] for name in ("run", "plan"))
    plan = plan.replace("if the run fails.", "if the run fails; or $BATCHCORE_ARTIFACT.")
    assert without(plan, ONLY_PLANS) == without(run, ONLY_RUNS)
