"""Test a wheel as its users get it: in a clean environment, away from the sources.

Usage: python scripts/check_wheel.py [--no-database] [WHEEL or SDIST]

Without a file, builds the wheel with the maturin of the running environment. An sdist is built
into a wheel first. `--no-database` leaves out what starts a PostgreSQL, for platforms that the
embedded server does not come for.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "python"
CONSTRAINTS = ROOT / "constraints.txt"
MODULES = {
    "-cp311-abi3-": r"_core\.abi3\.so",
    "-cp314-cp314t-": r"_core\.cpython-314t-[\w-]+\.so",
    "-cp315-abi3.abi3t-": r"_core\.abi3t(-[\w-]+)?\.so",
}
"""The compiled module by the tags of a wheel; the interpreter that builds it decides."""

TESTS = ("tests/unit/test_worked_cases.py", "tests/unit/test_threads.py")
"""Test files that run against the installed wheel."""

COPIED = (*TESTS, "tests/cases", "tests/support")
"""What those tests need beside them; nothing else of the source tree is there."""

TEST_PACKAGES = ("pytest",)
"""What those tests import, beside the package and its extras."""

LOCATION = """
import sys
import batchcore, batchcore._core
for module in (batchcore, batchcore._core):
    assert module.__file__.startswith(sys.prefix), module.__file__
assert batchcore._core.build_profile == "release", batchcore._core.build_profile
"""

MIGRATE = """
import subprocess, sys
from batchcore.demo import embedded

with embedded.start() as server:
    command = [sys.argv[1], "migrate", "--database-url", server.url]
    assert subprocess.run([*command, "--check"]).returncode == 1
    subprocess.run(command, check=True)
    subprocess.run([*command, "--check"], check=True)
"""

CHECKED = re.compile(r"\b[1-9][\d,]* rows checked against the reference, 0 differ\b")
"""The line of the demo that says that it is right."""


def main() -> int:
    """Run every check; return the exit code."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="batchcore-wheel-") as name:
        folder = Path(name).resolve()
        try:
            wheel = _wheel(arguments.file, folder / "dist")
            _check_contents(wheel)
            _check_installed(wheel, folder, database=arguments.database)
        except subprocess.CalledProcessError as error:
            program = Path(error.cmd[0]).name
            print(f"wheel test: {program} ended with code {error.returncode}", file=sys.stderr)
            return 1
        except AssertionError as error:
            print(f"wheel test: {error}", file=sys.stderr)
            return 1
    print(f"wheel test: {wheel.name} is good")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Test a wheel in a clean environment.")
    parser.add_argument("file", nargs="?", type=Path, help="wheel or sdist; else built here")
    parser.add_argument("--no-database", dest="database", action="store_false")
    return parser.parse_args()


def _step(title: str) -> None:
    print(f"--> {title}", flush=True)


def _wheel(file: Path | None, out: Path) -> Path:
    if file is not None and file.suffix == ".whl":
        return file.resolve(strict=True)
    if file is None:
        _step("maturin build")
        build = [Path(sys.executable).with_name("maturin"), "build"]
        _run(*build, "--release", "--locked", "--out", out, cwd=ROOT)
    else:
        _step(f"build {file.name}")
        _run(
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--wheel-dir", out, file.resolve(strict=True)),
            cwd=ROOT,
        )
    (wheel,) = out.glob("*.whl")
    return wheel


def _check_contents(wheel: Path) -> None:
    """Check that the wheel is the package, the compiled module, and nothing else."""
    _step(f"contents of {wheel.name}")
    modules = [module for tag, module in MODULES.items() if tag in wheel.name]
    _expect(len(modules) == 1, f"{wheel.name} has none of the tags {', '.join(MODULES)}")
    ignored = {".so", ".pyc"}
    expected = {
        path.relative_to(SOURCES).as_posix()
        for path in (SOURCES / "batchcore").rglob("*")
        if path.is_file() and path.suffix not in ignored
    }
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if not name.endswith("/")}
    sboms = [name for name in found if ".dist-info/sboms/" in name]
    _expect(len(sboms) == 1, f"expected one SBOM in the wheel, found {sboms}")
    found = {name for name in found if ".dist-info/" not in name}
    compiled = {name for name in found if re.fullmatch(f"batchcore/{modules[0]}", name)}
    _expect(len(compiled) == 1, f"not in the wheel: {modules[0]}")
    found -= compiled
    _expect(found >= expected, f"not in the wheel: {sorted(expected - found)}")
    _expect(found <= expected, f"unexpected in the wheel: {sorted(found - expected)}")


def _check_installed(wheel: Path, folder: Path, *, database: bool) -> None:
    environment = folder / "venv"
    python = environment / "bin" / "python"
    batchcore = environment / "bin" / "batchcore"
    away = folder / "away"
    away.mkdir()
    extras = "cli,migrate,demo,report" if database else "cli,migrate"

    _step(f"install [{extras}]")
    venv.create(environment, with_pip=True)
    _run(
        *(python, "-m", "pip", "install", "--quiet", "--constraint", CONSTRAINTS),
        *(f"{wheel}[{extras}]", *TEST_PACKAGES),
        cwd=away,
    )
    _run(python, "-m", "pip", "check", cwd=away)
    _run(python, "-I", "-c", LOCATION, cwd=away)
    _run(batchcore, "version", cwd=away)

    _step("worked cases, threads")
    for path in COPIED:
        _copy(ROOT / path, away / path)
    _run(
        *(python, "-I", "-m", "pytest", "-c", os.devnull, "--rootdir", away, "-W", "error"),
        *("--import-mode", "importlib", "-o", "pythonpath=" + str(away / "tests")),
        *("-p", "no:cacheprovider", *TESTS),
        cwd=away,
    )
    if not database:
        return

    _step("migrate an empty database")
    _run(python, "-I", "-c", MIGRATE, batchcore, cwd=away)

    _step("demo")
    printed = _run(batchcore, "demo", "--pages", away, cwd=away, capture=True)
    print(printed)
    for page in ("night.html", "portfolio.html"):
        _expect((away / page).stat().st_size > 0, f"the demo has not written {page}")
    _expect(CHECKED.search(printed) is not None, "the demo does not say that its rows are right")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)


def _run(*command: str | Path, cwd: Path, capture: bool = False) -> str:
    leaves = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTEST_ADDOPTS"}
    environment = {name: value for name, value in os.environ.items() if name not in leaves}
    done = subprocess.run(
        command,
        check=True,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE if capture else None,
        encoding="utf-8",
    )
    return done.stdout or ""


def _expect(condition: bool, otherwise: str) -> None:  # noqa: FBT001  # reads like `assert`
    if not condition:
        raise AssertionError(otherwise)


if __name__ == "__main__":
    sys.exit(main())
