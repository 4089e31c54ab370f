"""Runs whose closes are checked, by the reference and by the core."""

from dataclasses import dataclass

from batchcore import native
from batchcore import reference as ref
from batchcore.config import Settings
from batchcore.reference import checks
from batchcore.run.issues import added_up, of_symbols
from batchcore.words import counted
from support import build
from support.cases import Run
from support.sides import frames, native_market, native_rates, rates_of

Told = tuple[list[ref.Result], list[ref.Issue]]


@dataclass(frozen=True)
class CheckedRun:
    """A run with what its closes are checked by.

    Closes are expected of `days`, sessions before the run too; the last one closed is `closed`.
    """

    run: Run
    days: tuple[int, ...]
    rules: checks.Rules
    closed: int | None


def by_reference(given_run: CheckedRun) -> tuple[list[checks.Finding], Told]:
    run, rules = given_run.run, given_run.rules
    market = run.market()
    found = checks.findings(
        market, given_run.days, run.days, rules, closed=given_run.closed, scales=run.scales
    )
    told = [
        checks.roll_forward_checked(
            portfolio,
            market,
            run.days,
            found,
            rules,
            expected=given_run.days,
            lookback_days=run.lookback_days,
            scales=run.scales,
            rates=rates_of(run),
        )
        for portfolio in run.portfolios
    ]
    issues = []
    for finding in found:
        days = [day for one in told for met, day in one.met if met == finding]
        if days:
            count = counted(days.count(min(days)), "portfolio")
            detail = f"{finding.detail}; held by {count}"
            issues.append(ref.Issue(finding.name, finding.symbol, min(days), detail))
    return list(found), ([build.in_64_bits(one.result) for one in told], issues)


def by_core(given_run: CheckedRun) -> tuple[list[checks.Finding], Told]:
    run, rules = given_run.run, given_run.rules
    inputs = frames(run)
    market = native_market(inputs, run)
    own = Settings(
        checks=dict(rules.checks),
        max_move=float(rules.max_move),
        frozen_sessions=rules.frozen_sessions,
        max_missing=float(rules.max_missing),
    )
    found = native.build_checks(
        market, build.session_days(given_run.days), own, closed=given_run.closed
    )
    rates = native_rates(inputs, run, run.days)
    rows = native.roll_forward(
        market,
        native.Book.of(inputs, rates),
        previous=inputs.previous,
        opening=inputs.opening,
        threads=1,
        checks=found,
    )
    columns = found.findings
    listed = zip(
        columns.name.texts(),
        columns.symbol.texts(),
        columns.first.tolist(),
        columns.last.tolist(),
        build.cells(columns.since),
        columns.detail.texts(),
        strict=True,
    )
    issues = [issue for _, issue in build.issues(of_symbols(added_up([rows.held])))]
    return [checks.Finding(*one) for one in listed], (build.results(rows), issues)
