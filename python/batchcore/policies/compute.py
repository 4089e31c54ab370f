"""The figures of policies from frames, without a database."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchcore import policies
from batchcore.frames import Inputs, Issues, Rows
from batchcore.late_imports import check_choice
from batchcore.native import Book, build_market, build_rates, roll_forward

if TYPE_CHECKING:
    import datetime as dt

    from batchcore.frames import Int32


def compute(
    inputs: Inputs,
    sessions: Int32,
    *,
    policy: str = "rollforward",
    lookback_days: int = 10,
    today: dt.date | None = None,
    threads: int | None = None,
    fx_lookback_days: int = 5,
    fx_pivot: str = "USD",
) -> Rows:
    """Return a row for each portfolio of ``inputs.opening`` and each of its sessions.

    A pure function of arrays, with the same result to the last digit for any order of rows, any
    number of threads, and one session at a time or all at once.

    Args:
        inputs: Frames of columns; `inputs.prices` may hold more symbols and days than needed.
        sessions: (s,) int32 days since 1970-01-01, ascending.
        policy: The rules of the figures: `rollforward`, docs/semantics.md, or `legacy`,
            docs/legacy.md.
        lookback_days: Calendar days that a close may be old without being stale (S4).
        today: The current date, needed by `legacy` (L32 to L34); `rollforward` has no rule that
            reads it.
        threads: Number of threads; None uses as many as there are cores.
        fx_lookback_days: Calendar days that a rate may be old (C6).
        fx_pivot: The common currency of pairs without a rate of their own (C6).

    Raises:
        ConfigError: an unknown policy, an invalid lookback or number of threads, or `legacy`
            without `today`.
        InputError: a column of the wrong dtype, shape or length, or rows that contradict each
            other; it names column and row.

    Source:
        docs/semantics.md, S3 to S10, C6, C7; docs/legacy.md, L3 to L34.
    """
    hosts = {name: make for name in policies.names() if (make := policies.entry(name).host)}
    check_choice("policy", policy, tuple(hosts))
    host = hosts[policy](inputs, today)
    splits = inputs.splits if host is None else None
    market = build_market(inputs.prices, sessions, lookback_days=lookback_days, splits=splits)
    rates, noticed = None, [market.issues()]
    if inputs.rates is not None and host is None:
        rates = build_rates(
            inputs.rates,
            inputs.positions.currency,
            inputs.opening.currency,
            sessions,
            lookback_days=fx_lookback_days,
            pivot=fx_pivot,
        )
        noticed.append(Issues.of_parts(rates.issues()))
    rows = roll_forward(
        market,
        Book.of(inputs, rates),
        previous=inputs.previous,
        opening=inputs.opening,
        rules=policies.entry(policy).rules,
        threads=threads,
        host=host,
    )
    if host is not None:
        return rows
    return replace(rows, issues=Issues.concat([*noticed, rows.issues]))
