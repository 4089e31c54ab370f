"""The options of a run: what type checkers know of them, what they settle, what is refused."""

import datetime as dt
from dataclasses import fields
from typing import Any, get_type_hints

import pytest

import batchcore
from batchcore.errors import ConfigError
from batchcore.options import OptionKeywords, RepairKeywords, RunKeywords, RunOptions
from batchcore.run.request import Request, make_request

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
        ({"wait": "5"}, "wait"),
        ({"wait": None}, "wait"),
        ({"settings": "postgresql://nowhere"}, "settings"),
        ({"policy": 1}, "policy"),
        ({"calendar": None}, "calendar"),
        ({"analytics": None}, "analytics"),
        ({"missing": "false"}, "missing"),
        ({"resume": "no"}, "resume"),
        ({"changed_since": dt.date(2026, 1, 5)}, "changed_since"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, Any], option: str) -> None:
    for made in (RunOptions, batchcore.PnLCalculator):
        with pytest.raises(ConfigError) as caught:
            made(**options)
        assert caught.value.option == option


def test_progress_is_called() -> None:
    with pytest.raises(ConfigError, match=r"^progress is True, expected a function or None$"):
        RunOptions(progress=True)  # type: ignore[arg-type]
    assert RunOptions(progress=print).progress is print


class Date(dt.date):
    """What libraries derive from dates, such as pendulum."""


def test_dates_may_be_of_a_derived_class() -> None:
    asked = make_request(Date(2026, 1, 5), Date(2026, 1, 7), None)
    assert (asked.start, asked.end) == (dt.date(2026, 1, 5), dt.date(2026, 1, 7))
    assert {type(asked.start), type(asked.end)} == {dt.date}
    for moment in (SINCE, "2026-01-05", 1):
        with pytest.raises(ConfigError, match=r"^start is .*, expected a datetime\.date"):
            make_request(moment, None, None)  # type: ignore[arg-type]


def test_late_corrections_replace_rows() -> None:
    assert RunOptions(changed_since=SINCE).on_existing == "replace"


def test_an_unknown_keyword_is_refused_as_python_does() -> None:
    with pytest.raises(TypeError, match="no_such_option"):
        batchcore.BatchOrchestrator("postgresql://nowhere", no_such_option=1)  # type: ignore[call-arg]


# What the policy `legacy` does not have, refused before anything is read.

PLAIN: dict[str, Any] = {
    "policy": "legacy",
    "calendar": "XNYS",
    "on_existing": "skip",
    "missing": False,
    "analytics": "portfolio",
    "settings": None,
}


def request(**options: Any) -> Request:
    return make_request(dt.date(2026, 1, 5), None, None, **{**PLAIN, **options})


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("calendar", "daily", "calendar is `daily`, expected XNYS"),
        ("calendar", "prices", "calendar is `prices`, expected XNYS"),
        ("missing", True, "the policy `legacy` does not support `missing`"),
        (
            "changed_since",
            dt.datetime(2026, 1, 5, tzinfo=dt.UTC),
            "does not support `changed_since`",
        ),
        ("analytics", "full", "analytics is `full`"),
        ("analytics", "every", "analytics is `every`"),
    ],
)
def test_what_the_policy_does_not_have_is_refused(option: str, value: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        request(**{option: value})
    assert caught.value.option == option


@pytest.mark.parametrize("level", ["portfolio", "none"])
def test_levels_of_analytics_have_no_effect(level: str) -> None:
    assert request(analytics=level).analytics == "none"


def test_a_calculator_refuses_the_same_where_it_is_made() -> None:
    with pytest.raises(ConfigError, match="expected XNYS"):
        batchcore.PnLCalculator(policy="legacy", calendar="daily")
