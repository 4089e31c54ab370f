"""The options of a run: what type checkers know of them, and what they settle."""

import datetime as dt
from dataclasses import fields
from typing import Any, get_type_hints

import pytest

import batchcore
from batchcore.errors import ConfigError
from batchcore.options import OptionKeywords, RepairKeywords, RunKeywords, RunOptions

SINCE = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)


def test_type_checkers_know_each_option_once() -> None:
    names = {one.name for one in fields(RunOptions)}
    assert set(get_type_hints(RunKeywords)) == names
    assert set(get_type_hints(OptionKeywords)) == names - {"settings"}
    assert set(get_type_hints(RepairKeywords)) == names - {
        "on_existing",
        "missing",
        "changed_since",
    }


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"policy": "other"}, "policy"),
        ({"on_existing": "keep"}, "on_existing"),
        ({"analytics": "all"}, "analytics"),
        ({"beta_weights": "value"}, "beta_weights"),
        ({"missing": True, "on_existing": "error"}, "missing"),
        ({"changed_since": "2026-01-05"}, "changed_since"),
        ({"changed_since": SINCE.replace(tzinfo=None)}, "changed_since"),
        ({"changed_since": SINCE, "on_existing": "error"}, "changed_since"),
        ({"changed_since": SINCE, "missing": True}, "changed_since"),
        ({"wait": -1}, "wait"),
        ({"wait": True}, "wait"),
        ({"wait": float("nan")}, "wait"),
        ({"settings": "postgresql://nowhere"}, "settings"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, Any], option: str) -> None:
    for made in (RunOptions, batchcore.PnLCalculator):
        with pytest.raises(ConfigError) as caught:
            made(**options)
        assert caught.value.option == option


def test_late_corrections_replace_rows() -> None:
    assert RunOptions(changed_since=SINCE).on_existing == "replace"


def test_an_unknown_keyword_is_refused_as_python_does() -> None:
    with pytest.raises(TypeError, match="no_such_option"):
        batchcore.BatchOrchestrator("postgresql://nowhere", no_such_option=1)  # type: ignore[call-arg]
