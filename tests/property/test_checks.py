"""The native checks of prices against the reference: the same on any input."""

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from batchcore import reference as ref
from batchcore.config import CHECK_ACTIONS, CHECKS
from batchcore.frames import Days, Findings, HeldFindings, Text
from batchcore.reference import checks
from batchcore.run.price_checks import of_symbols
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


def test_holders_of_chunks_are_those_of_the_first_session_that_any_has() -> None:
    days = build.session_days(range(3))
    findings = Findings(
        name=Text.of(["price_jump"] * 3),
        symbol=Text.of(["A", "B", "B"]),
        first=days,
        last=days,
        since=Days.nulls(3),
        detail=Text.of(["x", "y", "z"]),
    )

    def part(*rows: tuple[int, int, int]) -> HeldFindings:
        columns = zip(*rows, strict=True)
        return HeldFindings.of(findings, *map(build.session_days, columns))

    parts = [part((0, 7, 2), (1, 5, 1)), part((0, 6, 3)), part((0, 6, 1), (1, 8, 9), (2, 9, 4))]
    assert [issue for _, issue in build.issues(of_symbols(parts))] == [
        ref.Issue("price_jump", "A", 6, "x; held by 4 portfolios"),
        ref.Issue("price_jump", "B", 5, "y; held by 1 portfolio"),
        ref.Issue("price_jump", "B", 9, "z; held by 4 portfolios"),
    ]
