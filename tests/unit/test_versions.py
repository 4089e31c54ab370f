"""The versions that a host may have: what is declared, what is tested, what the README says."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HOST = {"sqlalchemy": "2.0.41", "asyncpg": "0.30", "numpy": "2.3.1", "alembic": "1.16.4"}
"""What the host of this package has locked, as far as it is a requirement."""

LOWEST_PYTHON = {"python_version": "3.11"}
"""Newer ones may need more: their lines have markers."""


def requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"]
    texts = [*PROJECT["dependencies"]]
    for name, needed in extras.items():
        if name not in {"all", "bench"}:
            texts += needed
    found = map(Requirement, texts)
    return [one for one in found if one.marker is None or one.marker.evaluate(LOWEST_PYTHON)]


def bounds() -> dict[str, Version]:
    return {
        canonicalize_name(requirement.name): Version(specifier.version)
        for requirement in requirements()
        for specifier in requirement.specifier
        if specifier.operator == ">="
    }


def test_the_lowest_constraints_pin_each_package_at_its_bound() -> None:
    pins = {
        canonicalize_name(name): Version(version)
        for name, version in re.findall(
            r"^([\w.-]+)==(\S+)$", (ROOT / "constraints-lowest.txt").read_text(), re.MULTILINE
        )
    }
    assert {name: pins.get(name) for name in bounds()} == bounds()


def test_the_versions_of_the_host_are_allowed() -> None:
    allowed = {
        name
        for requirement in requirements()
        if (name := canonicalize_name(requirement.name)) in HOST
        and requirement.specifier.contains(HOST[name])
    }
    assert allowed == set(HOST)


def test_the_readme_names_each_bound() -> None:
    _, _, table = (ROOT / "README.md").read_text().partition("| extra | for | needs |\n")
    named = re.findall(r" (\d[\d.]*)(?=,| or newer)", table.partition("\n\n")[0])
    assert {Version(version) for version in named} == set(bounds().values())


def test_ci_runs_each_python_of_the_classifiers() -> None:
    declared = [
        text.rpartition(" ")[2]
        for text in PROJECT["classifiers"]
        if re.search(r"Python :: 3\.\d+$", text)
    ]
    run = re.search(r"python: \[(.*)\]", (ROOT / ".github/workflows/ci.yml").read_text())
    assert run is not None
    assert re.findall(r"[\d.]+", run[1]) == declared
