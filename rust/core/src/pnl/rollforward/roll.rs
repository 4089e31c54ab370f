//! The rows of one portfolio, session by session (S6 to S10).
//!
//! Each lot adds its value to the sums of the sessions on which it is held: a multiplication and
//! two additions a session, as marks are shared by all portfolios. The columns follow from the sums.
#![warn(clippy::arithmetic_side_effects)]

use core::ops::Range;

use super::{Start, flow_between};
use crate::fixed::{State, Sum, Wide, decimal_text, half_away};
use crate::ids::Day;
use crate::pnl::columns::ColumnSlices;
use crate::pnl::issue::IssueKind;
use crate::pnl::lot::{Class, Closing, Lot};
use crate::pnl::report::Miss;
use crate::pnl::value::{MONEY_LIMIT, RETURN_LIMIT, RETURN_UNIT, Valuer, fitting};
use crate::store::rates::Rate;

/// The inputs of one portfolio.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portfolio<'a, 'm> {
    pub(super) lots: &'a [Lot<'m>],
    /// Symbol code of each lot's position.
    pub(super) symbols: &'a [u32],
    /// Date and signed amount of its flows, ascending.
    pub(super) flows: &'a [(Day, i128)],
    pub(super) start: Start,
    /// Sessions that it runs over.
    pub(super) sessions: &'a [i32],
    /// Index of the first of them among those of the marks.
    pub(super) from: usize,
    pub(super) valuer: &'a Valuer,
    /// Days that a mark may be old without being stale.
    pub(super) lookback_days: u32,
}

impl<'a> Portfolio<'a, '_> {
    /// Returns the portfolio over its first `to` sessions.
    fn until(&self, to: usize) -> Self {
        let sessions: &'a [i32] = self.sessions;
        Self {
            sessions: sessions.get(..to).unwrap_or(sessions),
            ..*self
        }
    }

    /// Returns the day of a session, the last of all days beyond the last session.
    fn day(&self, session: usize) -> Day {
        Day(self.sessions.get(session).copied().unwrap_or(i32::MAX))
    }
}

/// The result of one portfolio, apart from its columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Outcome {
    /// Rows: one for each session, up to a failure.
    pub(super) written: usize,
    /// The failure: issue, session, and column and value or the rate that is missing.
    pub(super) failure: Option<(IssueKind, Day, String)>,
    /// The first session that needs a missing rate, and of these the first by pair and date (C7).
    lacking: Option<(usize, String, Day)>,
    /// Ends of lots that were counted: issue, lot and session.
    pub(super) closings: Vec<(IssueKind, usize, Day)>,
    /// Returns out of range: session and value.
    pub(super) returns: Vec<(Day, String)>,
    /// Lots without a price, or with a stale one.
    pub(super) misses: Vec<Miss>,
    /// Invalid closes of symbols held (S2): code of the symbol, session and close; sorted, each
    /// once.
    pub(super) refused: Vec<(u32, Day, Option<i64>)>,
}

impl Outcome {
    /// Notes that a session needs the rate of a lot's currency on a day.
    fn needs(&mut self, session: usize, lot: &Lot<'_>, day: Day) {
        if let Some(pair) = lot.rates.filter(|pair| pair.at(day).is_none()) {
            let lacking = (session, pair.name().to_owned(), day);
            let first = self.lacking.take().unwrap_or_else(|| lacking.clone());
            self.lacking = Some(first.min(lacking));
        }
    }
}

/// Fills `columns`, a row for each session, and returns the rest of the result: that of the
/// sessions before a failure, if there is one.
pub(super) fn roll_forward<T: Sum>(
    portfolio: &Portfolio<'_, '_>,
    sums: &mut Sums<T>,
    columns: &mut ColumnSlices<'_>,
) -> Outcome {
    let outcome = rolled(portfolio, sums, columns);
    if outcome.failure.is_none() {
        return outcome;
    }
    let to = outcome.written;
    Outcome {
        failure: outcome.failure,
        ..rolled(&portfolio.until(to), sums, &mut columns.rows(0, to))
    }
}

/// Sums of one portfolio, a value for each session.
#[derive(Debug, Default)]
pub struct Sums<T> {
    /// Values of all lots, by sign.
    long: Vec<T>,
    short: Vec<T>,
    /// `U`.
    unrealized: Vec<T>,
    /// `R`.
    realized: Vec<T>,
}

impl<T: Sum> Sums<T> {
    fn reset(&mut self, sessions: usize) {
        for sums in [
            &mut self.long,
            &mut self.short,
            &mut self.unrealized,
            &mut self.realized,
        ] {
            sums.clear();
            sums.resize(sessions, T::ZERO);
        }
    }

    /// Returns the sums of values of a sign on some sessions.
    fn of_sign(&mut self, is_negative: bool, sessions: &Range<usize>) -> &mut [T] {
        let sums = if is_negative {
            &mut self.short
        } else {
            &mut self.long
        };
        part(sums, sessions)
    }

    /// Adds a value to each of some sessions.
    fn hold(&mut self, value: T, sessions: &Range<usize>) {
        for sum in self.of_sign(value < T::ZERO, sessions) {
            *sum = sum.plus(value);
        }
    }

    /// Rounds all sums to cents.
    fn round(&mut self, cent: T) {
        let sums = self.long.iter_mut().chain(&mut self.short);
        let sums = sums.chain(&mut self.unrealized).chain(&mut self.realized);
        sums.for_each(|sum| *sum = sum.rounded(cent));
    }
}

/// Counts a lot and adds its values on the sessions `held`.
fn hold<T: Sum>(
    lot: &Lot<'_>,
    symbol: u32,
    portfolio: &Portfolio<'_, '_>,
    held: &Range<usize>,
    sums: &mut Sums<T>,
    columns: &mut ColumnSlices<'_>,
    outcome: &mut Outcome,
) {
    if held.is_empty() {
        return;
    }
    let counts = if lot.quantity < 0 {
        &mut *columns.num_short_positions
    } else {
        &mut *columns.num_long_positions
    };
    for count in part(counts, held) {
        *count = count.wrapping_add(1);
    }
    match lot.class {
        Class::PrivateAt(value) => return sums.hold(portfolio.valuer.market_value(value), held),
        Class::PrivateAtEntry => sums.hold(portfolio.valuer.entry_value(lot), held),
        Class::Public => hold_public(lot, symbol, portfolio, held, sums, columns.marks, outcome),
    }
    outcome.needs(held.start, lot, lot.start);
}

/// Adds the values of a public lot on the sessions `held`, counts its marks, and reports those that
/// are missing, stale or refused.
fn hold_public<T: Sum>(
    lot: &Lot<'_>,
    symbol: u32,
    portfolio: &Portfolio<'_, '_>,
    held: &Range<usize>,
    sums: &mut Sums<T>,
    counts: &mut [[i32; 4]],
    outcome: &mut Outcome,
) {
    let valuer = portfolio.valuer;
    let entry = valuer.entry_value(lot);
    let offset = portfolio.from;
    let mut missed = |unpriced, missed: Range<usize>, count| {
        outcome.misses.push(Miss {
            symbol,
            unpriced,
            lot_sessions: u64::try_from(count).unwrap_or(u64::MAX),
            first: portfolio.day(missed.start),
            last: portfolio.day(missed.end.saturating_sub(1)),
        });
    };
    let (from, to) = (
        held.start.saturating_add(offset),
        held.end.saturating_add(offset),
    );
    for refused in lot.marks.map_or(&[][..], |marks| marks.refused(from, to)) {
        let day = portfolio.day(refused.session.saturating_sub(offset));
        outcome.refused.push((symbol, day, refused.close));
    }
    let priced = lot.marks.map_or(held.end, |marks| {
        let first = marks.first_priced_since(lot.start, from);
        first.saturating_sub(offset).min(held.end)
    });
    let unpriced = held.start..priced;
    if !unpriced.is_empty() {
        sums.hold(entry, &unpriced);
        for [.., count] in part(counts, &unpriced) {
            *count = count.wrapping_add(1);
        }
        missed(true, unpriced.clone(), unpriced.len());
    }
    let priced = priced..held.end;
    let Some(marks) = lot.marks.filter(|_| !priced.is_empty()) else {
        return;
    };
    let of_run = priced.start.saturating_add(offset)..priced.end.saturating_add(offset);
    for (range, size) in lot.ranges(of_run.clone()) {
        let own = range.start.saturating_sub(offset)..range.end.saturating_sub(offset);
        let marks = marks.marks().get(range.clone()).unwrap_or_default();
        let unrealized = part(&mut sums.unrealized, &own).iter_mut();
        let side = if lot.quantity < 0 {
            &mut sums.short
        } else {
            &mut sums.long
        };
        let cells = part(side, &own).iter_mut().zip(unrealized).zip(marks);
        let add = |((sum, unrealized), value): ((&mut T, &mut T), T)| {
            *sum = sum.plus(value);
            *unrealized = unrealized.plus(value).minus(entry);
        };
        if let Some(pair) = lot.rates {
            let units: T = valuer.foreign_units(size);
            let rates = pair.row().get(range).unwrap_or_default();
            for ((cell, &(close, _)), rate) in cells.zip(rates) {
                let rate: T = rate.map_or(T::ZERO, Rate::at_scale);
                add((cell, T::of(close).times(rate).times(units)));
            }
        } else {
            let units: T = valuer.close_units(size);
            for (cell, &(close, _)) in cells {
                add((cell, T::of(close).times(units)));
            }
        }
    }
    let days = portfolio.sessions.get(priced.clone()).unwrap_or_default();
    let marks = marks.marks().get(of_run.clone()).unwrap_or_default();
    let ages = days
        .iter()
        .zip(marks)
        .map(|(&day, &(_, found))| Day(day).since(found));
    let mut found_stale: Option<(Range<usize>, usize)> = None;
    for ((session, age), count) in priced.clone().zip(ages).zip(part(counts, &priced)) {
        let [fresh, lookback, stale, _unpriced] = count;
        let count = if age == 0 {
            fresh
        } else if age <= i64::from(portfolio.lookback_days) {
            lookback
        } else {
            let (sessions, held) = found_stale.unwrap_or((session..session, 0));
            let sessions = sessions.start..session.saturating_add(1);
            found_stale = Some((sessions, held.saturating_add(1)));
            stale
        };
        *count = count.wrapping_add(1);
    }
    if let Some((sessions, held)) = found_stale {
        missed(false, sessions, held);
    }
    let gap = lot
        .rates
        .and_then(|pair| pair.first_gap(of_run.start, of_run.end));
    if let Some(gap) = gap.map(|gap| gap.saturating_sub(offset)) {
        outcome.needs(gap, lot, portfolio.day(gap));
    }
}

fn rolled<T: Sum>(
    portfolio: &Portfolio<'_, '_>,
    sums: &mut Sums<T>,
    columns: &mut ColumnSlices<'_>,
) -> Outcome {
    let Portfolio {
        sessions, valuer, ..
    } = *portfolio;
    let mut outcome = Outcome::default();
    sums.reset(sessions.len());
    columns.num_long_positions.fill(0);
    columns.num_short_positions.fill(0);
    columns.marks.fill([0; 4]);
    let mut before = T::ZERO;

    for (at, (lot, &symbol)) in portfolio.lots.iter().zip(portfolio.symbols).enumerate() {
        let held = lot.held(sessions);
        hold(lot, symbol, portfolio, &held, sums, columns, &mut outcome);
        match portfolio.start.previous {
            None if held.end == 0 => continue,
            Some(previous) if lot.end.is_some_and(|end| end <= previous) => continue,
            Some(previous) if lot.class == Class::Public => {
                if let Some(mark) = lot.mark(previous) {
                    before = before.plus(valuer.earned_at_close(lot, mark, previous));
                    outcome.needs(0, lot, previous);
                    outcome.needs(0, lot, lot.start);
                }
            }
            _ => {}
        }
        // the end counts in the P&L of the session after the last on which the lot is held
        let session = held.end;
        let day = portfolio.day(session);
        if let Some(realized) = sums.realized.get_mut(session)
            && let Some(end) = lot.end.filter(|&end| end <= day)
        {
            *realized = realized.plus(valuer.realized_at(lot, end));
            if lot.converts_at_end(end) {
                outcome.needs(session, lot, end);
                outcome.needs(session, lot, lot.start);
            }
            match lot.closing {
                Closing::Expiry => outcome.closings.push((IssueKind::Expired, at, day)),
                Closing::Unpriced => outcome.closings.push((IssueKind::ExitUnpriced, at, day)),
                Closing::Given(_) | Closing::Price(_) => {}
            }
        }
    }
    outcome.refused.sort_unstable();
    outcome.refused.dedup();
    let cent = valuer.cent();
    sums.round(cent);
    let before = before.rounded(cent);
    fill_days(portfolio, before, sums, columns);
    fill_chain(portfolio, columns);
    let misfit = (!fit(columns)).then(|| misfit(portfolio, before, sums, columns));
    let lacking = outcome.lacking.take();
    let lacking = lacking.filter(|&(session, ..)| session < sessions.len());
    let lacking = lacking.map(|(session, pair, day)| {
        let is_of_day = portfolio.day(session) == day;
        let rate = if is_of_day {
            pair
        } else {
            format!("{pair} on {day}")
        };
        (session, IssueKind::FxMissing, rate)
    });
    // a session without a rate has no amounts
    let first = lacking.into_iter().chain(misfit.flatten());
    if let Some((session, kind, detail)) = first.min_by_key(|&(session, ..)| session) {
        outcome.written = session;
        outcome.failure = Some((kind, portfolio.day(session), detail));
        return outcome;
    }
    outcome.written = sessions.len();
    fill_returns(portfolio, columns, &mut outcome.returns);
    outcome
}

fn part<'a, T>(column: &'a mut [T], sessions: &Range<usize>) -> &'a mut [T] {
    column.get_mut(sessions.clone()).unwrap_or_default()
}

/// Fills the columns of counts, values and changes (S6, S7, S9); `before` is `r2(U(s))` of the
/// first session.
fn fill_days<T: Sum>(
    portfolio: &Portfolio<'_, '_>,
    before: T,
    sums: &Sums<T>,
    columns: &mut ColumnSlices<'_>,
) {
    let numbers = columns.num_long_positions.iter();
    let numbers = numbers.zip(&*columns.num_short_positions);
    for (number, (long, short)) in columns.num_positions.iter_mut().zip(numbers) {
        *number = long.wrapping_add(*short);
    }
    for (column, sums) in [
        (&mut *columns.long_value, &sums.long),
        (&mut *columns.short_value, &sums.short),
        (&mut *columns.daily_realized_pnl, &sums.realized),
    ] {
        for (cents, sum) in column.iter_mut().zip(sums) {
            *cents = sum.clamped();
        }
    }
    let states = columns.unrealized_pnl_state.iter_mut();
    let cells = columns.unrealized_pnl.iter_mut().zip(states);
    for ((cents, state), value) in cells.zip(&sums.unrealized) {
        (*cents, *state) = match value.narrow() {
            Some(cents) => (cents, State::Value.byte()),
            None => (0, State::NotRepresentable.byte()),
        };
    }
    for (session, pnl) in columns.daily_pnl.iter_mut().enumerate() {
        *pnl = pnl_at(portfolio, session, before, sums).clamped();
    }
    columns.daily_capital_flow.fill(0);
    let mut last = None;
    for &(day, _) in portfolio.flows {
        let session = portfolio
            .sessions
            .partition_point(|&session| session < day.0);
        if last.replace(session) != Some(session)
            && let Some(place) = columns.daily_capital_flow.get_mut(session)
        {
            *place = flow_at(portfolio, session).clamped();
        }
    }
}

/// Returns `r2(U(t)) - r2(U(s)) + r2(R(s, t))` of a session (S6), 0 on the first of all.
fn pnl_at<T: Sum>(portfolio: &Portfolio<'_, '_>, session: usize, before: T, sums: &Sums<T>) -> T {
    let at = |sums: &[T], session: usize| sums.get(session).copied().unwrap_or(T::ZERO);
    let before = match session.checked_sub(1) {
        Some(last) => at(&sums.unrealized, last),
        None if portfolio.start.previous.is_none() => return T::ZERO,
        None => before,
    };
    let unrealized = at(&sums.unrealized, session).minus(before);
    unrealized.plus(at(&sums.realized, session))
}

/// Returns the sum of the flows that count on a session (S5, S7), in cents.
fn flow_at(portfolio: &Portfolio<'_, '_>, session: usize) -> i128 {
    let sessions = portfolio.sessions;
    let Some(&day) = sessions.get(session) else {
        return 0;
    };
    let last = session.checked_sub(1).and_then(|last| sessions.get(last));
    let last = last.copied().or(portfolio.start.previous.map(|day| day.0));
    let first = last.map_or(day, |last| last.saturating_add(1));
    let scale = portfolio.valuer.flow_scale();
    flow_between(portfolio.flows, Day(first), Day(day), scale)
}

/// Fills the columns derived from the daily ones: cumulative sums, equity (S8) and exposures (S9).
///
/// Nothing is checked here. A value beyond 64 bits has been clamped to them and so does not fit its
/// column (S10); what follows from it on its session and later is not used.
fn fill_chain(portfolio: &Portfolio<'_, '_>, columns: &mut ColumnSlices<'_>) {
    let start = &portfolio.start;
    for (column, daily, start) in [
        (
            &mut *columns.cumulative_pnl,
            &*columns.daily_pnl,
            start.cumulative_pnl,
        ),
        (
            &mut *columns.cumulative_realized_pnl,
            &*columns.daily_realized_pnl,
            start.cumulative_realized,
        ),
        (
            &mut *columns.cumulative_capital_flow,
            &*columns.daily_capital_flow,
            start.cumulative_flow,
        ),
    ] {
        let mut sum = start;
        for (cumulative, daily) in column.iter_mut().zip(daily) {
            sum = sum.wrapping_add(*daily);
            *cumulative = sum;
        }
    }
    let mut sum = start.equity.clamped();
    let daily = columns.daily_pnl.iter().zip(&*columns.daily_capital_flow);
    for (equity, (pnl, flow)) in columns.equity_balance.iter_mut().zip(daily) {
        sum = sum.wrapping_add(*pnl).wrapping_add(*flow);
        *equity = sum;
    }
    let values = columns
        .long_value
        .iter()
        .zip(&*columns.short_value)
        .zip(&*columns.equity_balance);
    let exposures = columns.gross_exposure.iter_mut();
    let exposures = exposures
        .zip(&mut *columns.net_exposure)
        .zip(&mut *columns.cash_value);
    for (((gross, net), cash), ((long, short), equity)) in exposures.zip(values) {
        *gross = long.wrapping_sub(*short);
        *net = long.wrapping_add(*short);
        *cash = equity.wrapping_sub(*net);
    }
}

/// Returns whether every amount fits its column (S10).
fn fit(columns: &ColumnSlices<'_>) -> bool {
    let columns: [&[i64]; 12] = [
        columns.daily_realized_pnl,
        columns.daily_pnl,
        columns.daily_capital_flow,
        columns.equity_balance,
        columns.cumulative_pnl,
        columns.cumulative_realized_pnl,
        columns.cumulative_capital_flow,
        columns.long_value,
        columns.short_value,
        columns.gross_exposure,
        columns.net_exposure,
        columns.cash_value,
    ];
    let mut amounts = columns.into_iter().flatten();
    amounts.all(|cents| cents.unsigned_abs() < MONEY_LIMIT)
}

/// Returns the first session with an amount that does not fit, with the first such column and its
/// value (S10).
fn misfit<T: Sum>(
    portfolio: &Portfolio<'_, '_>,
    before: T,
    sums: &Sums<T>,
    columns: &ColumnSlices<'_>,
) -> Option<(usize, IssueKind, String)> {
    (0..portfolio.sessions.len()).find_map(|session| {
        let amounts = exact_amounts(portfolio, session, before, sums, columns);
        let misfit = |(column, amount)| fitting(column, amount).err();
        Some((
            session,
            IssueKind::OutOfRange,
            amounts.into_iter().find_map(misfit)?,
        ))
    })
}

/// Returns the amounts of a session in the order in which S10 judges them, however large; those of
/// the session before have to fit.
fn exact_amounts<T: Sum>(
    portfolio: &Portfolio<'_, '_>,
    session: usize,
    before: T,
    sums: &Sums<T>,
    columns: &ColumnSlices<'_>,
) -> [(&'static str, Wide); 12] {
    let start = &portfolio.start;
    let at = |values: &[T]| values.get(session).copied().unwrap_or(T::ZERO);
    let realized = at(&sums.realized).wide();
    let pnl = pnl_at(portfolio, session, before, sums).wide();
    let flow = Wide::of_signed(flow_at(portfolio, session));
    let after = |column: &[i64], start: i128, daily: Wide| {
        let last = session.checked_sub(1).and_then(|last| column.get(last));
        Wide::of_signed(last.map_or(start, |&last| last.into())).plus(daily)
    };
    let equity = after(columns.equity_balance, start.equity, pnl.plus(flow));
    let cumulative = |column, start: i64, daily| after(column, start.into(), daily);
    let (long, short) = (at(&sums.long).wide(), at(&sums.short).wide());
    let net = long.plus(short);
    [
        ("daily_realized_pnl", realized),
        ("daily_pnl", pnl),
        ("daily_capital_flow", flow),
        ("equity_balance", equity),
        (
            "cumulative_pnl",
            cumulative(columns.cumulative_pnl, start.cumulative_pnl, pnl),
        ),
        (
            "cumulative_realized_pnl",
            cumulative(
                columns.cumulative_realized_pnl,
                start.cumulative_realized,
                realized,
            ),
        ),
        (
            "cumulative_capital_flow",
            cumulative(columns.cumulative_capital_flow, start.cumulative_flow, flow),
        ),
        ("long_value", long),
        ("short_value", short),
        ("gross_exposure", long.minus(short)),
        ("net_exposure", net),
        ("cash_value", equity.minus(net)),
    ]
}

/// Fills the returns (S8) and adds those out of range to `out_of_range`.
fn fill_returns(
    portfolio: &Portfolio<'_, '_>,
    columns: &mut ColumnSlices<'_>,
    out_of_range: &mut Vec<(Day, String)>,
) {
    let mut before = portfolio.start.equity.clamped();
    let rows = portfolio.sessions.iter().zip(&*columns.daily_pnl);
    let rows = rows.zip(&*columns.equity_balance);
    let states = columns.daily_return_state.iter_mut();
    let cells = columns.daily_return.iter_mut().zip(states);
    for (((&day, &pnl), &equity), (place, state)) in rows.zip(cells) {
        (*place, *state) = match daily_return(pnl, before) {
            Ok(value) => (value, State::Value.byte()),
            Err(text) => {
                out_of_range.push((Day(day), text));
                (0, State::Null.byte())
            }
        };
        before = equity;
    }
}

/// Returns `r6(pnl / equity)` in millionths, 0 unless the equity is above 0 (S8), or the value if
/// it is out of range (S10).
fn daily_return(pnl: i64, equity: i64) -> Result<i64, String> {
    if equity <= 0 {
        return Ok(0);
    }
    let numerator = i128::from(pnl).saturating_mul(i128::from(RETURN_UNIT));
    let quotient = half_away(numerator, i128::from(equity)).unwrap_or(0);
    match i64::try_from(quotient) {
        Ok(quotient) if quotient.unsigned_abs() < RETURN_LIMIT.into() => Ok(quotient),
        _ => Err(decimal_text(&quotient.to_string(), 6)),
    }
}
