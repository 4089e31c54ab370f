"""What the ledger keeps of a chunk, what of it counts as done, and which runs asked the same."""

import datetime as dt
import json

import numpy as np
import pytest

from batchcore.config import Schema, Settings
from batchcore.pg.ledger import Committed, Lease
from batchcore.run.chunk import issue_columns
from batchcore.run.lease import run_spec, with_original_dates
from batchcore.run.request import Request, make_request
from support import build
from support.reports import issues

MONDAY = dt.date(2026, 1, 5)
OPTIONS = {
    "policy": "rollforward",
    "calendar": "XNYS",
    "on_existing": "skip",
    "missing": False,
    "analytics": "none",
    "settings": Settings(),
}


def raw(number: int) -> bytes:
    return number.to_bytes(16, "big")


def told(columns: dict) -> list[tuple]:
    """Return name, portfolio's last byte, failed, count, symbol, session and detail of each row."""
    return list(
        zip(
            columns["name"].texts(),
            columns["portfolio_id"][:, -1].tolist(),
            columns["failed"].tolist(),
            columns["count"].values.tolist(),
            columns["symbol"].texts(),
            build.cells(columns["session"]),
            columns["detail"].texts(),
            strict=True,
        )
    )


def test_issues_are_one_row_for_each_portfolio_and_name_with_the_first_of_them() -> None:
    own = issues(
        ("gap", 1, None, 7, "2 sessions"),
        ("bad_event", 0, "AAA", None, "first"),
        ("bad_event", 0, "BBB", 5, "second"),
        ("stale", -1, "CCC", 3, "of no portfolio"),
    )
    of_run = issues(("off_session", 11, None, 4, "1 date"), ("bad_event", 10, "DDD", 6, "third"))
    failed = np.array([False, True])

    found = issue_columns(build.ids((1, 2)), failed, [(of_run, 10), (own, 0)])

    assert sorted(told(found)) == [
        ("bad_event", 1, False, 3, "DDD", 6, "third"),
        ("gap", 2, True, 1, None, 7, "2 sessions"),
        ("off_session", 2, True, 1, None, 4, "1 date"),
    ]


def test_a_portfolio_that_failed_without_an_issue_has_a_row() -> None:
    found = issue_columns(build.ids((1, 2, 3)), np.array([False, True, False]), [])
    assert told(found) == [("failed", 2, True, 1, None, None, None)]
    none = issue_columns(build.ids((1,)), np.array([False]), [])
    assert told(none) == []


def test_what_is_done_is_what_a_later_chunk_did_not_fail() -> None:
    high = 200 << 120
    committed = Committed(
        (
            (raw(2), raw(4), {raw(4), raw(3)}),
            (raw(5), raw(high), {raw(7)}),
            (raw(4), raw(5), set()),
        ),
        chunks=3,
    )
    given = build.ids((1, 2, 3, 4, 5, 6, 7, high, high + 1))
    assert committed.covers(given).tolist() == [False, *[True] * 7, False]
    expected = [False, True, False, True, True, True, False, True, False]
    assert committed.done(given).tolist() == expected
    assert Committed().done(given).tolist() == [False] * 9
    assert committed.done(build.ids(())).tolist() == []


def request(start: dt.date | None = MONDAY, end: dt.date | None = None, **options) -> Request:
    portfolios = options.pop("portfolio_ids", None)
    return make_request(start, end, portfolios, **{**OPTIONS, **options})


def test_the_same_question_has_the_same_fingerprint_however_it_is_worked_on() -> None:
    settings = Settings(
        threads=1,
        connections=8,
        chunk_size=3,
        max_failed=7,
        lease_seconds=5,
        ledger_days=1,
        today=MONDAY,
    )
    found = run_spec(request(settings=settings))
    assert found.fingerprint == run_spec(request()).fingerprint
    configured = json.loads(found.configuration)
    assert (configured["chunk_size"], configured["today"]) == (3, "2026-01-05")
    # The moment of changes counts, and not its time zone.
    east = dt.datetime(2026, 1, 5, 6, tzinfo=dt.timezone(dt.timedelta(hours=5)))
    moments = (east, east.astimezone(dt.UTC))
    one, same = (run_spec(request(changed_since=when)).fingerprint for when in moments)
    assert one == same


@pytest.mark.parametrize(
    "other",
    [
        {"start": None},
        {"end": MONDAY},
        {"portfolio_ids": []},
        {"portfolio_ids": ["00000000-0000-4000-8000-000000000001"]},
        {"policy": "legacy"},
        {"calendar": "daily"},
        {"calendar": "prices"},
        {"on_existing": "replace"},
        {"on_existing": "error"},
        {"missing": True},
        {"changed_since": dt.datetime(2026, 1, 5, tzinfo=dt.UTC)},
        {"analytics": "full"},
        {"beta_weights": "equity"},
        {"settings": Settings(lookback_days=9)},
        {"settings": Settings(min_coverage=0.25)},
        {"settings": Settings(checks={"price_low": "off"})},
        {"settings": Settings(max_move=0.25)},
        {"settings": Settings(fx_lookback_days=4)},
        {"settings": Settings(schema=Schema(tables={"positions": "holdings"}))},
        {"settings": Settings(schema=Schema(columns={"positions.symbol": "ticker"}))},
        {"settings": Settings(schema=Schema(scales={"positions.quantity": 4}))},
    ],
    ids=lambda other: str(other)[:60],
)
def test_another_question_has_another_fingerprint(other: dict) -> None:
    assert run_spec(request(**other)).fingerprint != run_spec(request()).fingerprint


JUNE = dt.date(2025, 6, 2)


@pytest.mark.parametrize(
    ("found", "fingerprint"),
    [
        (
            request(JUNE, JUNE),
            "9bca6ae44f6b9de6b56da5f3e7a6386d838934cc416538ff5f7592e782557c70",
        ),
        (
            request(
                JUNE,
                dt.date(2025, 6, 3),
                calendar="daily",
                on_existing="replace",
                analytics="every",
                beta_weights="equity",
                settings=Settings(lookback_days=9),
            ),
            "c096848ec12a7aa6933f01f7cfe480e75cd257bb56d2489e85fa8cea9ca6ff65",
        ),
        (
            request(JUNE, JUNE, policy="legacy", settings=Settings(min_coverage=0.25, today=JUNE)),
            "52d4fe594d6f7bf018e21dcb1538f830a378b5b54682787f60b90d8926ea2f38",
        ),
    ],
    ids=["nothing more", "options", "legacy"],
)
def test_a_run_of_an_earlier_version_is_that_of_the_same_call(
    found: Request, fingerprint: str
) -> None:
    # As a build wrote them into its ledger that had neither checks of prices nor currencies.
    assert run_spec(found).fingerprint == fingerprint


def lease(attempt: int, end: dt.date | None, today: str | None) -> Lease:
    moment = dt.datetime(2026, 1, 6, 22, tzinfo=dt.UTC)
    configuration = json.dumps({"today": today, "chunk_size": 1})
    return Lease("r", 1, attempt, moment, moment, end, configuration, 1000)


def test_a_run_that_is_gone_on_with_has_the_dates_that_it_began_with() -> None:
    later = request(settings=Settings(today=dt.date(2026, 1, 9), chunk_size=7))
    began = with_original_dates(later, lease(2, dt.date(2026, 1, 6), "2026-01-06"))
    assert (began.start, began.end) == (MONDAY, dt.date(2026, 1, 6))
    assert began.moment == dt.datetime(2026, 1, 6, 22, tzinfo=dt.UTC)
    assert (began.settings.today, began.settings.chunk_size) == (dt.date(2026, 1, 6), 7)

    by_clock = with_original_dates(later, lease(2, None, None))
    assert (by_clock.end, by_clock.settings.today) == (None, None)

    first = with_original_dates(later, lease(1, None, None))
    assert (first.start, first.end) == (MONDAY, None)
    assert (first.settings, first.moment) == (later.settings, began.moment)


@pytest.mark.parametrize(
    ("max_failed", "portfolios", "allowed"),
    [
        ("1%", 0, 1),
        ("1%", 99, 1),
        ("1%", 199, 1),
        ("1%", 200, 2),
        ("0%", 1000, 1),
        ("0.5%", 1000, 5),
        ("12.5%", 80, 10),
        ("100%", 7, 7),
        (0, 1000, 0),
        (3, 1, 3),
        ("3", 1, 3),
    ],
)
def test_of_so_many_portfolios_so_many_may_fail(
    max_failed: int | str, portfolios: int, allowed: int
) -> None:
    assert Settings(max_failed=max_failed).failures_allowed(portfolios) == allowed
