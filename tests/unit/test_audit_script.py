"""`make audit` without any network: what is looked at, and what the exit code says."""

import importlib.util
import io
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def audit() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "audit.py"
    spec = importlib.util.spec_from_file_location("audit_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def refused(*_: object, **__: object) -> None:
    raise OSError("no route")


def test_what_cannot_be_reached_is_told_and_no_failure(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit.urllib.request, "urlopen", refused)
    monkeypatch.setattr(audit, "run", lambda _: pytest.fail("nothing can be looked at"))
    assert audit.main() == 0
    assert capsys.readouterr().out.splitlines() == [
        f"audit: crates were not looked at: {audit.RUSTSEC} does not answer",
        f"audit: Python packages were not looked at: {audit.OSV} does not answer",
    ]


@pytest.mark.parametrize(("found", "code"), [("", 0), ("cargo-deny", 1), ("pip-audit", 1)])
def test_what_is_found_is_a_failure(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, found: str, code: int
) -> None:
    ran: list[str] = []

    def run(words: list[object]) -> bool:
        ran.append(Path(str(words[0])).name)
        return ran[-1] != found

    monkeypatch.setattr(audit.urllib.request, "urlopen", lambda *_, **__: io.BytesIO(page))
    page = b'{"id": "OSV-2020-111"}'
    monkeypatch.setattr(audit, "run", run)
    assert audit.main() == code
    assert ran[0] == "cargo-deny"
    assert ran[-1] == "pip-audit"


def test_a_page_that_is_no_advisory_is_no_database_of_them(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for page in (b"{}", b"<html>"):
        monkeypatch.setattr(
            audit.urllib.request, "urlopen", lambda *_, page=page, **__: io.BytesIO(page)
        )
        assert not audit.has_osv()
