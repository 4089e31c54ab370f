//! The `rollforward` policy: one portfolio, from where it stood to the last session (S4 to S10).
//!
//! For each public lot the inner loop is one gather and one multiply-add a session: marks are
//! shared by all portfolios, and what is constant over sessions (entry values, PRIVATE values,
//! counts) is added as differences at its first and last session. `long` and `short` sum values by
//! the sign of the quantity, as every mark is above 0; `U = long + short - entry values`.
#![warn(clippy::arithmetic_side_effects)]

use core::ops::Range;

use crate::fixed::{CENTS, State, Sum, Wide, Width, decimal_text, half_away};
use crate::ids::Day;
use crate::pnl::issue::IssueKind;
use crate::pnl::lot::{Class, Closing, Lot};
use crate::pnl::rows::{Miss, Row};
use crate::pnl::value::{Units, amount, bound, earned_at, fitting, mark};
use crate::store::Amount;

/// `daily_return` is numeric(8, 6): values below it fit (S10, L4).
pub(super) const RETURN_LIMIT: i128 = 100_000_000;
/// Units of `daily_return`.
pub(super) const RETURN_UNIT: i128 = 1_000_000;

/// Where a portfolio stands before its first session (S5).
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// Date of its latest complete snapshot; nothing if the first session is the baseline.
    pub previous: Option<Day>,
    /// Its equity, or the opening equity; wider than the column until it has been judged.
    pub equity: i128,
    /// Its cumulative P&L.
    pub cumulative_pnl: i64,
    /// Its cumulative realized P&L.
    pub cumulative_realized: i64,
    /// Its cumulative capital flow.
    pub cumulative_flow: i64,
}

/// What is needed of one portfolio.
#[derive(Debug, Clone, Copy)]
pub struct Portfolio<'a> {
    /// Its lots.
    pub lots: &'a [Lot<'a>],
    /// Code of the symbol of each lot's position.
    pub symbols: &'a [u32],
    /// Date and signed amount of its flows.
    pub flows: &'a [(Day, i128)],
    /// Where it stands.
    pub start: Start,
    /// Sessions of the run.
    pub sessions: &'a [i32],
    /// The first of them that it runs over, as an index.
    pub from: usize,
    /// Behind the last.
    pub to: usize,
    /// Factors.
    pub units: &'a Units,
}

/// What one portfolio came to.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// A row for each session, up to a failure.
    pub rows: Vec<Row>,
    /// The failure: session, column and value.
    pub failure: Option<(Day, String)>,
    /// Ends that counted: issue, lot and session.
    pub closings: Vec<(IssueKind, usize, Day)>,
    /// Returns out of range: session and value.
    pub returns: Vec<(Day, String)>,
    /// Lots that were not priced or whose price was stale.
    pub misses: Vec<Miss>,
}

/// Returns the equity of the opening (S5) from the earliest complete snapshot on or after the
/// baseline: `equity - daily_pnl - daily_capital_flow - flows before it`, in cents.
///
/// # Errors
///
/// Column and state of an amount that is not finite or not representable.
pub fn opening_equity(
    equity: Amount,
    pnl: Amount,
    flow: Amount,
    flows_before: i128,
) -> Result<i128, (&'static str, State)> {
    let amount = |column, amount: Amount| match amount {
        Ok(cents) => Ok(i128::from(cents)),
        Err(State::Null | State::Value) => Ok(0),
        Err(state) => Err((column, state)),
    };
    let amounts = [
        amount("equity_balance", equity),
        amount("daily_pnl", pnl),
        amount("daily_capital_flow", flow),
    ];
    let failed = |wanted| {
        amounts
            .iter()
            .find_map(move |a| a.err().filter(|&(_, s)| s == wanted))
    };
    if let Some(error) = failed(State::NonFinite).or_else(|| failed(State::NotRepresentable)) {
        return Err(error);
    }
    let [equity, pnl, flow] = amounts.map(|amount| amount.unwrap_or(0));
    Ok(equity
        .saturating_sub(pnl)
        .saturating_sub(flow)
        .saturating_sub(flows_before))
}

/// Returns the sum of the flows dated in `[first, last]`, rounded to cents (S7).
#[must_use]
pub fn flow_between(flows: &[(Day, i128)], first: Day, last: Day, scale: u32) -> i128 {
    let dated = flows
        .iter()
        .filter(|&&(day, _)| first <= day && day <= last);
    let sum: i128 = dated.fold(0, |sum, &(_, amount)| sum.saturating_add(amount));
    if sum == 0 {
        return 0;
    }
    if let Some(more) = CENTS.checked_sub(scale) {
        return sum.saturating_mul(10i128.saturating_pow(more));
    }
    half_away(sum, 10i128.saturating_pow(scale.saturating_sub(CENTS))).unwrap_or(sum)
}

/// Returns the rows of a portfolio; `scratch` is reused from one to the next.
///
/// What is noticed on the way ends where the rows do: a portfolio that fails is rolled again, over
/// the sessions before that (S10).
#[must_use]
pub fn roll_forward(portfolio: &Portfolio<'_>, scratch: &mut Scratch) -> Outcome {
    let outcome = rolled_at_width(portfolio, scratch);
    if outcome.failure.is_none() {
        return outcome;
    }
    let written = Portfolio {
        to: portfolio.from.saturating_add(outcome.rows.len()),
        ..*portfolio
    };
    Outcome {
        failure: outcome.failure,
        ..rolled_at_width(&written, scratch)
    }
}

fn rolled_at_width(portfolio: &Portfolio<'_>, scratch: &mut Scratch) -> Outcome {
    match Width::of(bound(portfolio.lots, portfolio.units)) {
        Width::Narrow => rolled(portfolio, &mut scratch.narrow, &mut scratch.counts),
        Width::Double => rolled(portfolio, &mut scratch.double, &mut scratch.counts),
        Width::Wide => rolled(portfolio, &mut scratch.wide, &mut scratch.counts),
    }
}

/// Buffers of one thread.
#[derive(Debug, Default)]
pub struct Scratch {
    narrow: Sums<i64>,
    double: Sums<i128>,
    wide: Sums<Wide>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Sums<T> {
    /// Values of priced lots, by sign.
    long: Vec<T>,
    short: Vec<T>,
    /// Differences of constant values, by sign.
    constant_long: Vec<T>,
    constant_short: Vec<T>,
    /// Differences of the entry values of priced lots.
    entry: Vec<T>,
    realized: Vec<T>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Differences of lots held.
    long: Vec<i32>,
    short: Vec<i32>,
    public: Vec<i32>,
    unpriced: Vec<i32>,
    lookback: Vec<i32>,
    stale: Vec<i32>,
}

fn zeroed<T: Copy>(buffer: &mut Vec<T>, length: usize, zero: T) {
    buffer.clear();
    buffer.resize(length, zero);
}

impl<T: Sum> Sums<T> {
    fn reset(&mut self, sessions: usize) {
        for buffer in [
            &mut self.long,
            &mut self.short,
            &mut self.constant_long,
            &mut self.constant_short,
            &mut self.entry,
            &mut self.realized,
        ] {
            zeroed(buffer, sessions.saturating_add(1), T::ZERO);
        }
    }

    fn hold(&mut self, value: T, from: usize, to: usize) {
        let buffer = if value < T::ZERO {
            &mut self.constant_short
        } else {
            &mut self.constant_long
        };
        between(buffer, value, from, to);
    }
}

impl Counts {
    fn reset(&mut self, sessions: usize) {
        for buffer in [
            &mut self.long,
            &mut self.short,
            &mut self.public,
            &mut self.unpriced,
            &mut self.lookback,
            &mut self.stale,
        ] {
            zeroed(buffer, sessions.saturating_add(1), 0);
        }
    }
}

/// Adds `value` to the sessions of `from..to`, as differences.
fn between<T: Sum>(differences: &mut [T], value: T, from: usize, to: usize) {
    if let Some(first) = differences.get_mut(from) {
        *first = first.plus(value);
    }
    if let Some(behind) = differences.get_mut(to) {
        *behind = behind.minus(value);
    }
}

fn count_between(differences: &mut [i32], from: usize, to: usize) {
    if let Some(first) = differences.get_mut(from) {
        *first = first.saturating_add(1);
    }
    if let Some(behind) = differences.get_mut(to) {
        *behind = behind.saturating_sub(1);
    }
}

/// Returns what a public lot has earned by `day` at its mark (S6).
fn earned<T: Sum>(lot: &Lot<'_>, day: Day, units: &Units) -> T {
    mark(lot, day).map_or(T::ZERO, |close| {
        earned_at(lot, close, units.close(lot), units)
    })
}

fn realized<T: Sum>(lot: &Lot<'_>, end: Day, units: &Units) -> T {
    match lot.closing {
        Closing::Given(realized) => T::of(realized).times(T::of_factor(units.realized())),
        Closing::Price(price) => earned_at(lot, price, units.exit(lot), units),
        Closing::Unpriced | Closing::Expiry if lot.class == Class::Public => {
            earned(lot, end, units)
        }
        Closing::Unpriced | Closing::Expiry => T::ZERO,
    }
}

/// Adds the values of a public lot held over `from..to`, and counts its marks.
fn hold_public<T: Sum>(
    lot: &Lot<'_>,
    portfolio: &Portfolio<'_>,
    (from, to): (usize, usize),
    sums: &mut Sums<T>,
    counts: &mut Counts,
    mut missed: impl FnMut(bool, usize, usize, u64),
) {
    let quantity = T::of(lot.quantity);
    let entry = amount(lot.entry_price, quantity, portfolio.units.entry(lot));
    count_between(&mut counts.public, from, to);
    let offset = portfolio.from;
    let priced = lot.marks.map_or(to, |marks| {
        let first = marks.first_priced_since(lot.start, from.saturating_add(offset));
        first.saturating_sub(offset).min(to)
    });
    if from < priced {
        sums.hold(entry, from, priced);
        count_between(&mut counts.unpriced, from, priced);
        let held = u64::try_from(priced.saturating_sub(from)).unwrap_or(u64::MAX);
        missed(true, from, priced.saturating_sub(1), held);
    }
    let Some(marks) = lot.marks.filter(|_| priced < to) else {
        return;
    };
    between(&mut sums.entry, entry, priced, to);
    let row = marks
        .mark()
        .get(priced.saturating_add(offset)..to.saturating_add(offset));
    let buffer = if lot.quantity < 0 {
        &mut sums.short
    } else {
        &mut sums.long
    };
    let units = quantity.times(T::of_factor(portfolio.units.close(lot)));
    for (sum, &close) in buffer
        .get_mut(priced..to)
        .unwrap_or_default()
        .iter_mut()
        .zip(row.unwrap_or_default())
    {
        *sum = sum.plus(T::of(close).times(units));
    }
    let mut stale: Option<(usize, usize, u64)> = None;
    for aged in marks.aged(priced.saturating_add(offset), to.saturating_add(offset)) {
        let session = aged.session.saturating_sub(offset);
        let buffer = if aged.stale {
            &mut counts.stale
        } else {
            &mut counts.lookback
        };
        if let Some(count) = buffer.get_mut(session) {
            *count = count.saturating_add(1);
        }
        if aged.stale {
            let (first, _, held) = stale.unwrap_or((session, session, 0));
            stale = Some((first, session, held.saturating_add(1)));
        }
    }
    if let Some((first, last, held)) = stale {
        missed(false, first, last, held);
    }
}

fn rolled<T: Sum>(portfolio: &Portfolio<'_>, sums: &mut Sums<T>, counts: &mut Counts) -> Outcome {
    let sessions = portfolio
        .sessions
        .get(portfolio.from..portfolio.to)
        .unwrap_or_default();
    let mut outcome = Outcome {
        rows: Vec::with_capacity(sessions.len()),
        ..Outcome::default()
    };
    sums.reset(sessions.len());
    counts.reset(sessions.len());
    let day_at = |session: usize| Day(sessions.get(session).copied().unwrap_or(i32::MAX));
    let mut before = T::ZERO;

    for (at, (lot, &symbol)) in portfolio.lots.iter().zip(portfolio.symbols).enumerate() {
        // the session that counts the end in its P&L is the one behind the last on which it is held
        let Range {
            start: from,
            end: to,
        } = lot.held(sessions);
        if from < to {
            let count = if lot.quantity < 0 {
                &mut counts.short
            } else {
                &mut counts.long
            };
            count_between(count, from, to);
            match lot.class {
                Class::Public => {
                    let missed = |unpriced, first, last, lot_sessions| {
                        let (first, last) = (day_at(first), day_at(last));
                        outcome.misses.push(Miss {
                            symbol,
                            unpriced,
                            lot_sessions,
                            first,
                            last,
                        });
                    };
                    hold_public(lot, portfolio, (from, to), sums, counts, missed);
                }
                Class::PrivateAt(value) => {
                    let factor = T::of_factor(portfolio.units.market_value());
                    sums.hold(T::of(value).times(factor), from, to);
                }
                Class::PrivateAtEntry => {
                    let factor = portfolio.units.entry(lot);
                    sums.hold(
                        amount(lot.entry_price, T::of(lot.quantity), factor),
                        from,
                        to,
                    );
                }
            }
        }
        let Some(previous) = portfolio.start.previous else {
            if to > 0 {
                close(lot, at, to, sums, portfolio, day_at(to), &mut outcome);
            }
            continue;
        };
        if lot.end.is_none_or(|end| end > previous) {
            if lot.start <= previous && lot.class == Class::Public {
                before = before.plus(earned(lot, previous, portfolio.units));
            }
            close(lot, at, to, sums, portfolio, day_at(to), &mut outcome);
        }
    }
    finish(portfolio, sessions, before, sums, counts, &mut outcome);
    outcome
}

/// Adds what the end of a lot realizes to the session that counts it, if there is one.
fn close<T: Sum>(
    lot: &Lot<'_>,
    at: usize,
    session: usize,
    sums: &mut Sums<T>,
    portfolio: &Portfolio<'_>,
    day: Day,
    outcome: &mut Outcome,
) {
    let Some(end) = lot.end.filter(|&end| end <= day) else {
        return;
    };
    let sessions = portfolio.to.saturating_sub(portfolio.from);
    let Some(sum) = sums
        .realized
        .get_mut(session)
        .filter(|_| session < sessions)
    else {
        return;
    };
    *sum = sum.plus(realized(lot, end, portfolio.units));
    match lot.closing {
        Closing::Expiry => outcome.closings.push((IssueKind::Expired, at, day)),
        Closing::Unpriced => outcome.closings.push((IssueKind::ExitUnpriced, at, day)),
        Closing::Given(_) | Closing::Price(_) => {}
    }
}

fn finish<T: Sum>(
    portfolio: &Portfolio<'_>,
    sessions: &[i32],
    before: T,
    sums: &Sums<T>,
    counts: &Counts,
    outcome: &mut Outcome,
) {
    let cent = T::of_factor(portfolio.units.cent());
    let mut state = portfolio.start;
    let mut unrealized_before = before.rounded(cent);
    let mut held = Held::default();
    for (session, &day) in sessions.iter().enumerate() {
        let day = Day(day);
        let values = Values::at(session, sums, &mut held, cent);
        let counted = held.count(session, counts);
        let result = next_row(&state, day, &values, unrealized_before, counted, portfolio);
        match result {
            Ok((row, out_of_range)) => {
                if let Some(value) = out_of_range {
                    outcome.returns.push((day, value));
                }
                state = Start {
                    previous: Some(day),
                    equity: i128::from(row.equity),
                    cumulative_pnl: row.cumulative_pnl,
                    cumulative_realized: row.cumulative_realized,
                    cumulative_flow: row.cumulative_flow,
                };
                outcome.rows.push(row);
            }
            Err(detail) => {
                outcome.failure = Some((day, detail));
                break;
            }
        }
        unrealized_before = values.unrealized;
    }
}

/// Rounded sums of one session.
struct Values<T> {
    unrealized: T,
    realized: T,
    long: T,
    short: T,
}

/// Running sums of the differences.
#[derive(Debug)]
struct Held<T> {
    long: T,
    short: T,
    entry: T,
    counts: [i32; 4],
}

impl<T: Sum> Default for Held<T> {
    fn default() -> Self {
        Self {
            long: T::ZERO,
            short: T::ZERO,
            entry: T::ZERO,
            counts: [0; 4],
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Counted {
    long: i32,
    short: i32,
    marks: [i32; 4],
}

impl<T: Sum> Held<T> {
    fn count(&mut self, session: usize, counts: &Counts) -> Counted {
        let at = |buffer: &[i32]| buffer.get(session).copied().unwrap_or(0);
        let [long, short, public, unpriced] = &mut self.counts;
        *long = long.saturating_add(at(&counts.long));
        *short = short.saturating_add(at(&counts.short));
        *public = public.saturating_add(at(&counts.public));
        *unpriced = unpriced.saturating_add(at(&counts.unpriced));
        let (lookback, stale) = (at(&counts.lookback), at(&counts.stale));
        let fresh = public
            .saturating_sub(*unpriced)
            .saturating_sub(lookback)
            .saturating_sub(stale);
        Counted {
            long: *long,
            short: *short,
            marks: [fresh, lookback, stale, *unpriced],
        }
    }
}

impl<T: Sum> Values<T> {
    fn at(session: usize, sums: &Sums<T>, held: &mut Held<T>, cent: T) -> Self {
        let at = |buffer: &[T]| buffer.get(session).copied().unwrap_or(T::ZERO);
        held.long = held.long.plus(at(&sums.constant_long));
        held.short = held.short.plus(at(&sums.constant_short));
        held.entry = held.entry.plus(at(&sums.entry));
        let (long, short) = (at(&sums.long), at(&sums.short));
        Self {
            unrealized: long.plus(short).minus(held.entry).rounded(cent),
            realized: at(&sums.realized).rounded(cent),
            long: long.plus(held.long).rounded(cent),
            short: short.plus(held.short).rounded(cent),
        }
    }
}

/// Returns the row of a session and its return if that is out of range, or the column and value
/// that do not fit, judged in the order of docs/semantics.md (S10).
fn next_row<T: Sum>(
    state: &Start,
    day: Day,
    values: &Values<T>,
    unrealized_before: T,
    counted: Counted,
    portfolio: &Portfolio<'_>,
) -> Result<(Row, Option<String>), String> {
    let scale = portfolio.units.flow_scale();
    let (realized, pnl, flow) = match state.previous {
        None => (
            T::ZERO,
            T::ZERO,
            flow_between(portfolio.flows, day, day, scale),
        ),
        Some(previous) => {
            let since = Day(previous.0.saturating_add(1));
            let pnl = values
                .unrealized
                .minus(unrealized_before)
                .plus(values.realized);
            (
                values.realized,
                pnl,
                flow_between(portfolio.flows, since, day, scale),
            )
        }
    };
    let daily_realized = fitting("daily_realized_pnl", realized)?;
    let daily_pnl = fitting("daily_pnl", pnl)?;
    let daily_flow = fitting("daily_capital_flow", flow)?;
    let equity = state
        .equity
        .saturating_add(i128::from(daily_pnl))
        .saturating_add(flow);
    let equity = fitting("equity_balance", equity)?;
    let sum = |a: i64, b: i64| i128::from(a).saturating_add(i128::from(b));
    let cumulative_pnl = fitting("cumulative_pnl", sum(state.cumulative_pnl, daily_pnl))?;
    let cumulative_realized = fitting(
        "cumulative_realized_pnl",
        sum(state.cumulative_realized, daily_realized),
    )?;
    let cumulative_flow = fitting(
        "cumulative_capital_flow",
        sum(state.cumulative_flow, daily_flow),
    )?;
    let long = fitting("long_value", values.long)?;
    let short = fitting("short_value", values.short)?;
    let gross = fitting(
        "gross_exposure",
        i128::from(long).saturating_sub(i128::from(short)),
    )?;
    let net = fitting("net_exposure", sum(long, short))?;
    let cash = fitting(
        "cash_value",
        i128::from(equity).saturating_sub(i128::from(net)),
    )?;

    let numerator = i128::from(daily_pnl).saturating_mul(RETURN_UNIT);
    let daily_return = half_away(numerator, state.equity).unwrap_or(0);
    let too_large = daily_return.saturating_abs() >= RETURN_LIMIT;
    let out_of_range = too_large.then(|| decimal_text(&daily_return.to_string(), 6));
    let row = Row {
        day,
        equity,
        daily_pnl,
        daily_realized,
        daily_flow,
        daily_return: i64::try_from(daily_return).ok().filter(|_| !too_large),
        cumulative_pnl,
        cumulative_realized,
        cumulative_flow,
        unrealized: values.unrealized.narrow().ok_or(State::NotRepresentable),
        long,
        short,
        gross,
        net,
        cash,
        num_positions: counted.long.saturating_add(counted.short),
        num_long: counted.long,
        num_short: counted.short,
        marks: counted.marks,
    };
    Ok((row, out_of_range))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Days, Decimals, Texts};
    use crate::pnl::marks::{Marks, SymbolMarks};
    use crate::pnl::value::{MONEY_LIMIT, Scales};
    use crate::store::PriceStore;
    use crate::text::Intern;

    /// Prices and amounts in cents, quantities whole.
    const SCALES: Scales = Scales {
        close: 2,
        entry: 2,
        exit: 2,
        quantity: 0,
        event_quantity: 0,
        realized: 2,
        market_value: 2,
        flow: 2,
    };

    const SESSIONS: [i32; 4] = [5, 6, 7, 8];

    /// Closes of one symbol: 10.00 on day 5, 11.00 on 6 and 12.00 on 8.
    pub(super) fn marks(lookback_days: u32) -> Marks {
        let mut symbols = Intern::default();
        let code = symbols.code(b"AAA").unwrap();
        let prices = PriceStore::from_columns(
            &Texts::new("prices.symbol", &[code; 3], symbols.table(), &[0; 3]).unwrap(),
            &Days::new("prices.day", &[5, 6, 8], &[0; 3]).unwrap(),
            &Decimals::new("prices.close", &[1000, 1100, 1200], &[0; 3], 2).unwrap(),
        )
        .unwrap();
        Marks::from_prices(&prices, &SESSIONS, lookback_days).unwrap()
    }

    pub(super) fn symbol(marks: &Marks) -> &SymbolMarks {
        marks.find(b"AAA").unwrap()
    }

    /// 3 shares bought at 10.00 on day 5.
    pub(super) fn lot(marks: &SymbolMarks) -> Lot<'_> {
        Lot {
            position: 0,
            marks: Some(marks),
            quantity: 3,
            of_event: false,
            multiplier: 1,
            entry_price: 1000,
            start: Day(5),
            end: None,
            closing: Closing::Unpriced,
            class: Class::Public,
        }
    }

    pub(super) fn opening(equity: i64) -> Start {
        Start {
            previous: None,
            equity: i128::from(equity),
            cumulative_pnl: 0,
            cumulative_realized: 0,
            cumulative_flow: 0,
        }
    }

    fn with_portfolio(
        start: Start,
        lots: &[Lot<'_>],
        flows: &[(Day, i128)],
        roll: impl FnOnce(&Portfolio<'_>) -> Outcome,
    ) -> Outcome {
        let units = Units::of(&SCALES);
        let symbols = vec![0; lots.len()];
        roll(&Portfolio {
            lots,
            symbols: &symbols,
            flows,
            start,
            sessions: &SESSIONS,
            from: 0,
            to: SESSIONS.len(),
            units: &units,
        })
    }

    pub(super) fn rolled_by<T: Sum>(start: Start, lots: &[Lot<'_>]) -> Outcome {
        with_portfolio(start, lots, &[], |portfolio| {
            let mut sums = Sums::<T> {
                long: Vec::new(),
                short: Vec::new(),
                constant_long: Vec::new(),
                constant_short: Vec::new(),
                entry: Vec::new(),
                realized: Vec::new(),
            };
            rolled(portfolio, &mut sums, &mut Counts::default())
        })
    }

    fn forward(start: Start, lots: &[Lot<'_>], flows: &[(Day, i128)]) -> Outcome {
        with_portfolio(start, lots, flows, |portfolio| {
            roll_forward(portfolio, &mut Scratch::default())
        })
    }

    fn column<T>(outcome: &Outcome, of: impl Fn(&Row) -> T) -> Vec<T> {
        outcome.rows.iter().map(of).collect()
    }

    #[test]
    fn profit_is_the_change_of_what_lots_have_earned() {
        // U = 3 * (mark - 10.00): 0, 3.00, 3.00 (the close of day 6), 6.00
        let marks = marks(10);
        let outcome = forward(opening(10_000), &[lot(symbol(&marks))], &[]);
        assert_eq!(column(&outcome, |row| row.daily_pnl), [0, 300, 0, 300]);
        assert_eq!(
            column(&outcome, |row| row.equity),
            [10_000, 10_300, 10_300, 10_600]
        );
        assert_eq!(column(&outcome, |row| row.long), [3000, 3300, 3300, 3600]);
        assert_eq!(column(&outcome, |row| row.cash), [7000, 7000, 7000, 7000]);
        // 3.00 / 100.00, 3.00 / 103.00 = 0.0291262...
        let returns = [Some(0), Some(30_000), Some(0), Some(29_126)];
        assert_eq!(column(&outcome, |row| row.daily_return), returns);
        let marked = [[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]];
        assert_eq!(column(&outcome, |row| row.marks), marked);
    }

    #[test]
    fn a_short_option_earns_on_the_way_down_a_hundredfold() {
        let marks = marks(10);
        let option = Lot {
            quantity: -1,
            multiplier: 100,
            ..lot(symbol(&marks))
        };
        let outcome = forward(opening(0), &[option], &[]);
        assert_eq!(
            column(&outcome, |row| row.daily_pnl),
            [0, -10_000, 0, -10_000]
        );
        assert_eq!(
            column(&outcome, |row| row.short),
            [-100_000, -110_000, -110_000, -120_000]
        );
    }

    #[test]
    fn what_is_realized_counts_on_the_session_that_sees_the_end() {
        // sold at 10.50 on day 7: R = 3 * 0.50, U falls from 3.00 to 0
        let marks = marks(10);
        let sold = Lot {
            end: Some(Day(7)),
            closing: Closing::Price(1050),
            ..lot(symbol(&marks))
        };
        let outcome = forward(opening(10_000), &[sold], &[]);
        assert_eq!(column(&outcome, |row| row.daily_realized), [0, 0, 150, 0]);
        assert_eq!(column(&outcome, |row| row.daily_pnl), [0, 300, -150, 0]);
        assert_eq!(column(&outcome, |row| row.num_long), [1, 1, 0, 0]);
    }

    #[test]
    fn an_end_without_price_is_closed_at_the_mark_and_noted() {
        let marks = marks(10);
        let end = Some(Day(7));
        let lots = [Closing::Unpriced, Closing::Expiry, Closing::Given(-20)].map(|closing| Lot {
            end,
            closing,
            ..lot(symbol(&marks))
        });
        let outcome = forward(opening(10_000), &lots, &[]);
        // twice 3 * (11.00 - 10.00), and -0.20
        assert_eq!(column(&outcome, |row| row.daily_realized), [0, 0, 580, 0]);
        let noted = [
            (IssueKind::ExitUnpriced, 0, Day(7)),
            (IssueKind::Expired, 1, Day(7)),
        ];
        assert_eq!(outcome.closings, noted);
    }

    #[test]
    fn a_lot_has_no_mark_from_before_it_was_bought() {
        // bought at 11.50 on day 7: no close since until day 8, 3 * 0.50
        let marks = marks(10);
        let late = Lot {
            start: Day(7),
            entry_price: 1150,
            ..lot(symbol(&marks))
        };
        let outcome = forward(opening(10_000), &[late], &[]);
        assert_eq!(column(&outcome, |row| row.daily_pnl), [0, 0, 0, 150]);
        assert_eq!(column(&outcome, |row| row.long), [0, 0, 3450, 3600]);
        assert_eq!(outcome.rows[2].marks, [0, 0, 0, 1]);
        let (first, last) = (Day(7), Day(7));
        let miss = Miss {
            symbol: 0,
            unpriced: true,
            lot_sessions: 1,
            first,
            last,
        };
        assert_eq!(outcome.misses, [miss]);
    }

    #[test]
    fn a_close_older_than_the_lookback_is_used_and_missed() {
        let marks = marks(0);
        let outcome = forward(opening(10_000), &[lot(symbol(&marks))], &[]);
        assert_eq!(outcome.rows[2].marks, [0, 0, 1, 0]);
        assert_eq!(outcome.rows[2].long, 3300);
        assert!(!outcome.misses[0].unpriced);
    }

    #[test]
    fn a_private_lot_has_a_constant_value_and_earns_nothing_until_sold() {
        let marks = marks(10);
        let private = Lot {
            class: Class::PrivateAt(-700),
            ..lot(symbol(&marks))
        };
        let at_entry = Lot {
            class: Class::PrivateAtEntry,
            ..lot(symbol(&marks))
        };
        let outcome = forward(opening(0), &[private, at_entry], &[]);
        assert_eq!(column(&outcome, |row| row.daily_pnl), [0; 4]);
        assert_eq!(
            column(&outcome, |row| (row.long, row.short)),
            [(3000, -700); 4]
        );
        assert_eq!(column(&outcome, |row| row.marks), [[0; 4]; 4]);
    }

    #[test]
    fn after_a_snapshot_the_first_session_counts_all_since() {
        let marks = marks(10);
        let start = Start {
            previous: Some(Day(4)),
            equity: 1000,
            cumulative_pnl: 7,
            cumulative_realized: 8,
            cumulative_flow: 9,
        };
        let cheap = Lot {
            entry_price: 900,
            ..lot(symbol(&marks))
        };
        let outcome = forward(start, &[cheap], &[(Day(4), 1), (Day(5), 500), (Day(9), 1)]);
        // bought at 9.00 on day 5 and marked at 10.00: 3.00; of the flows that of day 5 counts
        assert_eq!(column(&outcome, |row| row.daily_pnl), [300, 300, 0, 300]);
        assert_eq!(column(&outcome, |row| row.daily_flow), [500, 0, 0, 0]);
        assert_eq!(outcome.rows[0].equity, 1800);
        assert_eq!(outcome.rows[3].cumulative_pnl, 907);
        assert_eq!(outcome.rows[3].cumulative_flow, 509);
    }

    #[test]
    fn a_value_that_does_not_fit_ends_the_rows() {
        let marks = marks(0);
        let limit = i128::from(MONEY_LIMIT);
        let outcome = forward(opening(0), &[lot(symbol(&marks))], &[(Day(8), limit)]);
        assert_eq!(outcome.rows.len(), 3);
        let value = "daily_capital_flow = 100000000000000.00".to_owned();
        assert_eq!(outcome.failure, Some((Day(8), value)));
    }

    #[test]
    fn what_is_noticed_ends_with_the_rows() {
        let marks = marks(0);
        let end = Some(Day(7));
        let sold = Lot {
            end,
            ..lot(symbol(&marks))
        };
        let limit = i128::from(MONEY_LIMIT);
        let lots = [lot(symbol(&marks)), sold];
        let outcome = forward(opening(0), &lots, &[(Day(7), limit)]);
        assert_eq!(outcome.rows.len(), 2);
        assert_eq!((outcome.closings, outcome.misses), (vec![], vec![]));
    }

    #[test]
    fn a_return_of_100_or_more_is_none_and_noted() {
        let marks = marks(10);
        let outcome = forward(opening(3), &[lot(symbol(&marks))], &[]);
        // 3.00 / 0.03 = 100
        assert_eq!(outcome.rows[1].daily_return, None);
        assert_eq!(outcome.returns, [(Day(6), "100.000000".to_owned())]);
    }

    #[test]
    fn an_opening_equity_is_taken_back_from_the_earliest_snapshot() {
        assert_eq!(opening_equity(Ok(1000), Ok(200), Ok(-50), 30), Ok(820));
        let null = Err(State::Null);
        assert_eq!(opening_equity(null, null, null, 0), Ok(0));
        // not finite comes before not representable, whatever the column
        assert_eq!(
            opening_equity(
                Err(State::NotRepresentable),
                Ok(1),
                Err(State::NonFinite),
                0
            ),
            Err(("daily_capital_flow", State::NonFinite))
        );
    }

    #[test]
    fn flows_are_added_up_before_they_are_rounded() {
        let flows = [(Day(5), 4), (Day(6), 4), (Day(7), 100)];
        // 0.004 + 0.004 = 0.008 is a cent
        assert_eq!(flow_between(&flows, Day(5), Day(6), 3), 1);
        assert_eq!(flow_between(&flows, Day(5), Day(6), 0), 800);
        assert_eq!(flow_between(&flows, Day(8), Day(9), 2), 0);
    }
}

#[cfg(test)]
mod properties {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::tests::{lot, marks, opening, rolled_by, symbol};
    use super::*;

    /// Quantity, entry price, start, days held, kind of end, amount.
    type Parts = (i64, i64, i32, i32, u8, i64);

    fn parts() -> impl Strategy<Value = Parts> {
        (
            -9999..=9999i64,
            0..=99_999i64,
            3..=8,
            0..=6,
            0..=5u8,
            -99_999..=99_999i64,
        )
    }

    fn made<'a>(parts: &Parts, like: Lot<'a>) -> Lot<'a> {
        let &(quantity, entry_price, start, held, end, amount) = parts;
        let closing = match end {
            0 => Closing::Given(amount),
            1 => Closing::Price(amount.saturating_abs()),
            2 => Closing::Expiry,
            _ => Closing::Unpriced,
        };
        let class = match amount % 4 {
            1 => Class::PrivateAt(amount),
            2 => Class::PrivateAtEntry,
            _ => Class::Public,
        };
        let end = (end < 4).then_some(Day(start.saturating_add(held)));
        let start = Day(start);
        Lot {
            quantity,
            entry_price,
            start,
            end,
            closing,
            class,
            ..like
        }
    }

    proptest! {
        #[test]
        fn every_width_gives_the_same_rows(
            lots in vec(parts(), 0..6),
            previous in proptest::option::of(1..=4i32),
            equity in -999_999..=999_999i64,
        ) {
            let marks = marks(1);
            let lots: Vec<_> = lots.iter().map(|p| made(p, lot(symbol(&marks)))).collect();
            let start = Start { previous: previous.map(Day), ..opening(equity) };
            let narrow = rolled_by::<i64>(start, &lots);
            for wider in [rolled_by::<i128>(start, &lots), rolled_by::<Wide>(start, &lots)] {
                prop_assert_eq!(&narrow.rows, &wider.rows);
                prop_assert_eq!(&narrow.failure, &wider.failure);
                prop_assert_eq!(&narrow.closings, &wider.closings);
                prop_assert_eq!(&narrow.misses, &wider.misses);
            }
            prop_assert_eq!(narrow.rows.len(), 4);
        }

        #[test]
        fn daily_profits_add_up_to_the_change_of_the_equity(lots in vec(parts(), 0..6)) {
            let marks = marks(1);
            let lots: Vec<_> = lots.iter().map(|p| made(p, lot(symbol(&marks)))).collect();
            let rows = rolled_by::<i64>(opening(0), &lots).rows;
            let total: i64 = rows.iter().map(|row| row.daily_pnl).sum();
            let realized: i64 = rows.iter().map(|row| row.daily_realized).sum();
            let unrealized = |row: &Row| row.unrealized.unwrap();
            let (first, last) = (&rows[0], &rows[3]);
            prop_assert_eq!(total, last.equity);
            let change = unrealized(last).checked_sub(unrealized(first));
            prop_assert_eq!(total.checked_sub(realized), change);
        }
    }
}
