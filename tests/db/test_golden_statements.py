"""The statements that reach the server are those of the golden file, so that a change is seen."""

import pytest

from support.statements import PATH, recorded


async def test_statements_are_those_of_the_golden_file(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await recorded(host, monkeypatch.setattr) == PATH.read_text()
