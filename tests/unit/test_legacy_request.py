"""What a run refuses under the policy `legacy`, before anything is read."""

import datetime as dt
from typing import Any

import pytest

from batchcore.errors import ConfigError
from batchcore.run.calculator import PnLCalculator
from batchcore.run.request import Request, make_request

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
        ("missing", True, "the policy `legacy` knows no `missing`"),
        ("changed_since", dt.datetime(2026, 1, 5, tzinfo=dt.UTC), "knows no `changed_since`"),
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


@pytest.mark.parametrize("on_existing", ["skip", "replace", "error"])
def test_rows_that_stand_may_be_treated_in_three_ways(on_existing: str) -> None:
    assert request(on_existing=on_existing).on_existing == on_existing


def test_a_calculator_refuses_the_same_where_it_is_made() -> None:
    with pytest.raises(ConfigError, match="expected XNYS"):
        PnLCalculator(policy="legacy", calendar="daily")
