"""The native checks of prices against the reference: the same on any input."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from batchcore import reference as ref
from batchcore.config import CHECK_ACTIONS, CHECKS
from batchcore.frames import Days, Findings, HeldFindings, Text
from batchcore.reference import checks
from batchcore.run.issues import added_up, of_symbols
from support import build
from support.cases import Price, SplitTable
from support.checked import CheckedRun, by_core, by_reference
from support.generate import MONDAY, Generator, for_any

STEPS = ("1", "1", "1", "1.01", "0.5", "0.49", "0.51", "0.509", "2.04", "1.5", "1.51", "0.25", "3")
"""What a close is of the one before: the same, near a split, at a bound, a jump."""


def closes(generator: Generator) -> tuple[Price, ...]:
    """Return closes that step from day to day, of some symbols in one spelling."""
    found: list[Price] = []
    for symbol in ("AAA", "bbb", "C C"):
        close = Decimal(generator.integer(1, 400)) / 4
        steps = STEPS[:4] if generator.chance(40) else STEPS
        for number in range(-6, 17):
            close = round(close * Decimal(generator.one_of(steps)), 4)
            if close and not generator.chance(15):
                found.append((symbol, MONDAY + number, close))
    return tuple(found)


MOST_SHARES = 1000
"""Of a split; far larger ones leave closes as they are (C1), which the reference does not know."""


def most_shares(splits: SplitTable) -> int:
    """Return the most shares, new or old, in lowest terms, of the splits that count."""
    every = splits.counting().quotients.values()
    return max((max(one.as_integer_ratio()) for own in every for one in own.values()), default=1)


def checked_run(generator: Generator) -> CheckedRun:
    run = generator.split_run() if generator.chance(30) else generator.run()
    if run.splits is not None and most_shares(run.splits) > MOST_SHARES:
        run = replace(run, splits=None)
    if generator.chance(80) and run.scales.close >= 4:
        run = replace(run, prices=closes(generator))
    if generator.chance(30):
        run = generator.with_currencies(run)
    before = [MONDAY + number for number in range(-5, 0)][generator.integer(0, 5) :]
    days = [*(day for day in before if day < run.days[0]), *run.days]
    if generator.chance(20):
        days = [day for day in days if not generator.chance(20)]
    actions = {name: generator.one_of(("report", "fail", "off")) for name in CHECKS}
    rules = checks.Rules(
        checks=actions,
        max_move=Fraction(generator.one_of((50, 1, 51, 100)), 100),
        frozen_sessions=generator.integer(2, 4),
        max_missing=Fraction(generator.one_of((20, 0, 50, 100)), 100),
    )
    closed = generator.day(-2, 10) if generator.chance(60) else None
    return CheckedRun(run, tuple(days), rules, closed)


@for_any(checked_run, examples=200)
def test_native_checks_equal_the_reference(given_run: CheckedRun) -> None:
    assert by_core(given_run) == by_reference(given_run)


def test_generator_reaches_every_check_and_failure() -> None:
    found: Counter[tuple[str, str]] = Counter()
    failed: Counter[str] = Counter()
    for seed in range(150):
        given_run = checked_run(Generator.seeded(seed))
        findings, (results, issues) = by_reference(given_run)
        found.update((one.name, given_run.rules.action(one.name)) for one in findings)
        told = [issue.name for result in results if result.failed for issue in result.issues]
        failed.update(name for name in told if name in {*CHECKS, "fx_missing"})
        found.update((issue.name, "held") for issue in issues)
    by_symbol = [name for name in CHECKS if name != "price_low"]
    actions = {*CHECK_ACTIONS, "held"} - {"off"}
    assert set(found) == {(name, action) for name in by_symbol for action in actions}
    assert set(failed) == {*CHECKS, "fx_missing"}
    assert min(*found.values(), *failed.values()) >= 3, (found, failed)


def findings_of(names: Sequence[str], symbols: Sequence[str], details: Sequence[str]) -> Findings:
    days = build.session_days(range(len(names)))
    return Findings(
        name=Text.of(names),
        symbol=Text.of(symbols),
        first=days,
        last=days,
        since=Days.nulls(len(names)),
        detail=Text.of(details),
    )


def part(findings: Findings, *rows: tuple[int, int, int]) -> HeldFindings:
    columns = zip(*rows, strict=True)
    return HeldFindings.of(findings, *map(build.session_days, columns))


JUMPS = (["price_jump"] * 3, ["A", "B", "B"], ["x", "y", "z"])


@pytest.mark.parametrize("shards", [1, 3], ids=["of one run", "of a shard each"])
def test_holders_of_chunks_are_those_of_the_first_session_that_any_has(shards: int) -> None:
    findings = [findings_of(*JUMPS) for _ in range(shards)]
    one, two, three = (findings[n % shards] for n in range(3))
    parts = [
        part(one, (0, 7, 2), (1, 5, 1)),
        part(two, (0, 6, 3)),
        part(three, (0, 6, 1), (1, 8, 9), (2, 9, 4)),
    ]
    expected = [
        ref.Issue("price_jump", "A", 6, "x; held by 4 portfolios"),
        ref.Issue("price_jump", "B", 5, "y; held by 1 portfolio"),
        ref.Issue("price_jump", "B", 9, "z; held by 4 portfolios"),
    ]
    for order in (parts, parts[::-1], [added_up(parts[:2]), parts[2]]):
        assert [issue for _, issue in build.issues(of_symbols(added_up(order)))] == expected
    assert len(of_symbols(added_up([]))) == 0


def test_findings_of_shards_that_saw_other_closes_are_named_in_order() -> None:
    late = part(findings_of(["price_jump"], ["C"], ["c"]), (0, 7, 1))
    early = part(
        findings_of(["price_frozen", "price_ahead"], ["C", "\u00e9"], ["f", "e"]),
        (0, 8, 2),
        (1, 7, 3),
    )
    found = of_symbols(added_up([late, early]))
    told = [(issue.symbol, issue.name) for _, issue in build.issues(found)]
    assert told == [("C", "price_frozen"), ("C", "price_jump"), ("\u00e9", "price_ahead")]
