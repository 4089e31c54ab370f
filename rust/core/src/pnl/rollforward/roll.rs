//! The rows of one portfolio, session by session (S6 to S10).
//!
//! For each public lot the inner loop is one gather and one multiply-add a session: marks are
//! shared by all portfolios. What is constant between the days on which something happens to a lot
//! (entry values, PRIVATE values, counts) is kept as changes, so that all other columns are filled
//! stretch by stretch, without a branch. `long` and `short` sum values by the sign of the quantity,
//! as every mark is above 0; `U = long + short - entry values`.
#![warn(clippy::arithmetic_side_effects)]

use core::ops::Range;

use super::missing::first_missing;
use super::{Start, flow_between};
use crate::fixed::{State, Sum, Wide, Width, decimal_text, half_away};
use crate::ids::Day;
use crate::pnl::columns::ColumnSlices;
use crate::pnl::issue::IssueKind;
use crate::pnl::lot::{Class, Closing, Lot};
use crate::pnl::marks::{AgedMark, SymbolMarks};
use crate::pnl::report::Miss;
use crate::pnl::value::{MONEY_LIMIT, RETURN_LIMIT, RETURN_UNIT, Valuer, fitting};
use crate::store::rates::{Pair, Rate};

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
    /// Whether some lot is in another currency.
    pub(super) converts: bool,
    /// Upper bound of the absolute values of its sums.
    pub(super) bound: u128,
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
}

/// The result of one portfolio, apart from its columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Outcome {
    /// Rows: one for each session, up to a failure.
    pub(super) written: usize,
    /// The failure: issue, session, and column and value or the rate that is missing.
    pub(super) failure: Option<(IssueKind, Day, String)>,
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

/// Fills `columns`, a row for each session, and returns the rest of the result.
pub(super) fn roll_forward<'m, T: Sum>(
    portfolio: &Portfolio<'_, 'm>,
    sums: &mut Sums<'m, T>,
    columns: &mut ColumnSlices<'_>,
) -> Outcome {
    let missing = portfolio
        .converts
        .then(|| first_missing(portfolio))
        .flatten();
    let priced = missing.as_ref().map(|missing| missing.session);
    let outcome = match priced {
        None => rolled(portfolio, sums, columns),
        Some(to) => rolled(&portfolio.until(to), sums, &mut columns.rows(0, to)),
    };
    let failure = outcome.failure.clone().or_else(|| {
        let missing = missing?;
        let day = portfolio.sessions.get(missing.session).copied()?;
        Some((IssueKind::FxMissing, Day(day), missing.rate))
    });
    if outcome.failure.is_none() {
        return Outcome { failure, ..outcome };
    }
    let to = outcome.written;
    Outcome {
        failure,
        ..rolled(&portfolio.until(to), sums, &mut columns.rows(0, to))
    }
}

/// Sums of one portfolio.
#[derive(Debug, Default)]
pub struct Sums<'a, T> {
    /// Values of priced lots by session, by sign; all lots, in cents, once they are rounded.
    long: Vec<T>,
    short: Vec<T>,
    /// Lots still to be added to them.
    held_long: Vec<LotCloses<'a>>,
    held_short: Vec<LotCloses<'a>>,
    /// `r2(U)` by session.
    unrealized: Vec<T>,
    /// Constants of the first session.
    opening: Constants<T>,
    /// Sessions on which the constants change, and by how much.
    changes: Vec<(usize, Constants<T>)>,
    /// Realized amounts of ends, by the session in which they count.
    realized: Vec<(usize, T)>,
    /// Lots and sessions whose mark is not fresh.
    aged: Vec<AgedMark>,
}

/// Sums that change only on the days on which something happens to a lot.
#[derive(Debug, Default, Clone, Copy)]
struct Constants<T> {
    /// Values of lots that have no marks, by sign.
    long: T,
    short: T,
    /// Entry values of priced lots.
    entry: T,
    /// Lots held, by sign.
    num_long_positions: i32,
    num_short_positions: i32,
    /// Public lots held, and those of them without a mark.
    public: i32,
    unpriced: i32,
}

impl<T: Sum> Constants<T> {
    const NONE: Self = Self {
        long: T::ZERO,
        short: T::ZERO,
        entry: T::ZERO,
        num_long_positions: 0,
        num_short_positions: 0,
        public: 0,
        unpriced: 0,
    };

    fn value(value: T) -> Self {
        let (long, short) = if value < T::ZERO {
            (T::ZERO, value)
        } else {
            (value, T::ZERO)
        };
        Self {
            long,
            short,
            ..Self::NONE
        }
    }

    /// Returns the counts of a session on which no mark is from lookback or stale.
    fn marks(&self) -> [i32; 4] {
        let unpriced = self.unpriced;
        let fresh = self.public.wrapping_sub(unpriced);
        let (lookback, stale) = (0, 0);
        [fresh, lookback, stale, unpriced]
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            long: self.long.plus(other.long),
            short: self.short.plus(other.short),
            entry: self.entry.plus(other.entry),
            num_long_positions: self
                .num_long_positions
                .wrapping_add(other.num_long_positions),
            num_short_positions: self
                .num_short_positions
                .wrapping_add(other.num_short_positions),
            public: self.public.wrapping_add(other.public),
            unpriced: self.unpriced.wrapping_add(other.unpriced),
        }
    }

    fn negated(&self) -> Self {
        let [long, short, entry] = [self.long, self.short, self.entry].map(|v| T::ZERO.minus(v));
        Self {
            long,
            short,
            entry,
            num_long_positions: self.num_long_positions.wrapping_neg(),
            num_short_positions: self.num_short_positions.wrapping_neg(),
            public: self.public.wrapping_neg(),
            unpriced: self.unpriced.wrapping_neg(),
        }
    }
}

impl<'a, T: Sum> Sums<'a, T> {
    fn reset(&mut self, sessions: usize) {
        for buffer in [&mut self.long, &mut self.short] {
            buffer.clear();
            buffer.resize(sessions, T::ZERO);
        }
        self.unrealized.resize(sessions, T::ZERO);
        self.held_long.clear();
        self.held_short.clear();
        self.opening = Constants::NONE;
        self.changes.clear();
        self.realized.clear();
        self.aged.clear();
    }

    /// Adds the marks of a lot times `units` on a range of sessions, the first of which is `offset`
    /// among those of the marks.
    fn add(
        &mut self,
        lot: &Lot<'a>,
        marks: &'a SymbolMarks,
        units: T,
        range: &Range<usize>,
        offset: usize,
    ) {
        let is_short = lot.quantity < 0;
        let small = marks.small(range.clone()).zip(units.small());
        if let Some((closes, units)) = small.filter(|(closes, _)| closes.len() == self.long.len()) {
            let lots = if is_short {
                &mut self.held_short
            } else {
                &mut self.held_long
            };
            return lots.push(LotCloses { closes, units });
        }
        let closes = marks.mark().get(range.clone()).unwrap_or_default();
        add_values(self.values_of(lot, range, offset), closes, units);
    }

    /// Adds the marks of a lot in another currency, at the rate of each session (C6).
    fn add_converted(
        &mut self,
        lot: &Lot<'a>,
        marks: &SymbolMarks,
        pair: &Pair,
        units: T,
        range: &Range<usize>,
        offset: usize,
    ) {
        let closes = marks.mark().get(range.clone()).unwrap_or_default();
        let rates = pair.row().get(range.clone()).unwrap_or_default();
        let values = self.values_of(lot, range, offset);
        for ((sum, &close), rate) in values.iter_mut().zip(closes).zip(rates) {
            let rate: T = rate.map_or(T::ZERO, Rate::at_scale);
            *sum = sum.plus(T::of(close).times(rate).times(units));
        }
    }

    /// Returns the sums to which a lot adds its values, for a range of sessions of the marks.
    fn values_of(&mut self, lot: &Lot<'_>, range: &Range<usize>, offset: usize) -> &mut [T] {
        let values = if lot.quantity < 0 {
            &mut self.short
        } else {
            &mut self.long
        };
        let own = range.start.saturating_sub(offset)..range.end.saturating_sub(offset);
        part(values, &own)
    }

    /// Adds constants on the sessions of `range`.
    fn hold(&mut self, constants: &Constants<T>, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        if range.start == 0 {
            self.opening = self.opening.plus(constants);
        } else {
            self.changes.push((range.start, *constants));
        }
        if range.end < self.long.len() {
            self.changes.push((range.end, constants.negated()));
        }
    }
}

/// Adds marks of some sessions times `units` to their sums.
fn add_values<T: Sum>(sums: &mut [T], closes: &[i64], units: T) {
    for (sum, &close) in sums.iter_mut().zip(closes) {
        *sum = sum.plus(T::of(close).times(units));
    }
}

/// The marks of a lot held on every session, and the absolute value of its units: products of 32
/// bits are formed two at a time, those of 64 are not.
#[derive(Debug, Clone, Copy)]
struct LotCloses<'a> {
    closes: &'a [u32],
    units: u32,
}

impl LotCloses<'_> {
    fn value(self, close: u32) -> u64 {
        u64::from(close).wrapping_mul(u64::from(self.units))
    }
}

/// Adds the values of lots to the sums of their sessions: four at a time, so that their marks are
/// fetched side by side.
fn add_held<T: Sum>(sums: &mut [T], lots: &[LotCloses<'_>], sign: impl Fn(T) -> T) {
    let (fours, rest) = lots.as_chunks::<4>();
    for [a, b, c, d] in fours {
        let closes = a
            .closes
            .iter()
            .zip(b.closes)
            .zip(c.closes.iter().zip(d.closes));
        for (sum, ((&at_a, &at_b), (&at_c, &at_d))) in sums.iter_mut().zip(closes) {
            let value = (a.value(at_a).wrapping_add(b.value(at_b)))
                .wrapping_add(c.value(at_c).wrapping_add(d.value(at_d)));
            *sum = sum.plus(sign(T::of(value.cast_signed())));
        }
    }
    for lot in rest {
        for (sum, &close) in sums.iter_mut().zip(lot.closes) {
            *sum = sum.plus(sign(T::of(lot.value(close).cast_signed())));
        }
    }
}

/// Adds the values of a public lot held over `held`, which counts in `constants`, and its marks.
fn hold_public<'m, T: Sum>(
    lot: &Lot<'m>,
    portfolio: &Portfolio<'_, 'm>,
    held: Range<usize>,
    constants: Constants<T>,
    sums: &mut Sums<'m, T>,
    mut missed: impl FnMut(bool, usize, usize, u64),
) {
    let entry = portfolio.valuer.entry_value(lot);
    let constants = Constants {
        public: 1,
        ..constants
    };
    let offset = portfolio.from;
    let (from, to) = (held.start, held.end);
    let priced = lot.marks.map_or(to, |marks| {
        let first = from.saturating_add(offset);
        if marks.is_fresh_before(first.saturating_add(1)) {
            return from;
        }
        let first = marks.first_priced_since(lot.start, first);
        first.saturating_sub(offset).min(to)
    });
    if from < priced {
        let unpriced = Constants {
            unpriced: 1,
            ..constants.plus(&Constants::value(entry))
        };
        sums.hold(&unpriced, from..priced);
        let sessions = u64::try_from(priced.saturating_sub(from)).unwrap_or(u64::MAX);
        missed(true, from, priced.saturating_sub(1), sessions);
    }
    let Some(marks) = lot.marks.filter(|_| priced < to) else {
        return;
    };
    sums.hold(&Constants { entry, ..constants }, priced..to);
    let sessions = priced.saturating_add(offset)..to.saturating_add(offset);
    for (range, size) in lot.ranges(sessions.clone()) {
        if let Some(pair) = lot.rates {
            let units = portfolio.valuer.foreign_units(size);
            sums.add_converted(lot, marks, pair, units, &range, offset);
        } else {
            let units = portfolio.valuer.close_units(size);
            sums.add(lot, marks, units, &range, offset);
        }
    }
    hold_aged(marks, sessions, offset, sums, missed);
}

/// Adds the marks of `sessions`, of all from `offset` on, that are not fresh.
fn hold_aged<T: Sum>(
    marks: &SymbolMarks,
    sessions: Range<usize>,
    offset: usize,
    sums: &mut Sums<'_, T>,
    mut missed: impl FnMut(bool, usize, usize, u64),
) {
    let mut stale: Option<(usize, usize, u64)> = None;
    for aged in marks.aged(sessions.start, sessions.end) {
        let session = aged.session.saturating_sub(offset);
        sums.aged.push(AgedMark { session, ..*aged });
        if aged.stale {
            let (first, _, held) = stale.unwrap_or((session, session, 0));
            stale = Some((first, session, held.saturating_add(1)));
        }
    }
    if let Some((first, last, held)) = stale {
        missed(false, first, last, held);
    }
}

fn rolled<'m, T: Sum>(
    portfolio: &Portfolio<'_, 'm>,
    sums: &mut Sums<'m, T>,
    columns: &mut ColumnSlices<'_>,
) -> Outcome {
    let Portfolio {
        sessions, valuer, ..
    } = *portfolio;
    let mut outcome = Outcome::default();
    sums.reset(sessions.len());
    let day_at = |session: usize| Day(sessions.get(session).copied().unwrap_or(i32::MAX));
    let mut before = T::ZERO;

    for (at, (lot, &symbol)) in portfolio.lots.iter().zip(portfolio.symbols).enumerate() {
        // the end counts in the P&L of the session after the last on which the lot is held
        let held = lot.held(sessions);
        let to = held.end;
        if !held.is_empty() {
            let is_short = lot.quantity < 0;
            let counted = Constants {
                num_long_positions: i32::from(!is_short),
                num_short_positions: i32::from(is_short),
                ..Constants::NONE
            };
            let value = match lot.class {
                Class::Public => None,
                Class::PrivateAt(value) => Some(valuer.market_value(value)),
                Class::PrivateAtEntry => Some(valuer.entry_value(lot)),
            };
            if let Some(value) = value {
                sums.hold(&counted.plus(&Constants::value(value)), held);
            } else {
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
                let (from, to) = (held.start, held.end);
                hold_public(lot, portfolio, held, counted, sums, missed);
                let offset = portfolio.from;
                let refused = lot.marks.map(|marks| {
                    marks.refused(from.saturating_add(offset), to.saturating_add(offset))
                });
                for refused in refused.unwrap_or_default() {
                    let day = day_at(refused.session.saturating_sub(offset));
                    outcome.refused.push((symbol, day, refused.close));
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
                before = before.plus(valuer.earned(lot, previous));
            }
            close(lot, at, to, sums, portfolio, day_at(to), &mut outcome);
        }
    }
    outcome.refused.sort_unstable();
    outcome.refused.dedup();
    add_held(&mut sums.long, &sums.held_long, |value| value);
    add_held(&mut sums.short, &sums.held_short, |value: T| {
        T::ZERO.minus(value)
    });
    let cent = T::divisor(valuer.cent());
    fill_values(cent, sums, columns);
    fill_marks(&sums.aged, columns);
    let before = before.divided(cent);
    fill_changes(portfolio, before, sums, columns);
    fill_chain(portfolio, columns);
    if !is_small(portfolio)
        && let Some((session, detail)) = misfit(portfolio, before, sums, columns)
    {
        outcome.written = session;
        outcome.failure = Some((IssueKind::OutOfRange, day_at(session), detail));
        return outcome;
    }
    outcome.written = sessions.len();
    fill_returns(portfolio, columns, &mut outcome.returns);
    outcome
}

/// Adds the amount that the end of a lot realizes to the session in which it counts, if there is
/// one.
fn close<T: Sum>(
    lot: &Lot<'_>,
    at: usize,
    session: usize,
    sums: &mut Sums<'_, T>,
    portfolio: &Portfolio<'_, '_>,
    day: Day,
    outcome: &mut Outcome,
) {
    let Some(end) = lot.end.filter(|&end| end <= day) else {
        return;
    };
    if session >= portfolio.sessions.len() {
        return;
    }
    let realized = portfolio.valuer.realized_at(lot, end);
    sums.realized.push((session, realized));
    match lot.closing {
        Closing::Expiry => outcome.closings.push((IssueKind::Expired, at, day)),
        Closing::Unpriced => outcome.closings.push((IssueKind::ExitUnpriced, at, day)),
        Closing::Given(_) | Closing::Price(_) => {}
    }
}

/// Fills the columns of values and counts, and leaves the values in cents in `sums`: stretch by
/// stretch of sessions between which nothing but marks changes.
fn fill_values<T: Sum>(cent: T::Divisor, sums: &mut Sums<'_, T>, columns: &mut ColumnSlices<'_>) {
    let Sums {
        long,
        short,
        unrealized,
        opening,
        changes,
        ..
    } = sums;
    let sessions = columns.len();
    let mut fill = |sessions: Range<usize>, held: &Constants<T>| {
        let long = part(long, &sessions);
        let short = part(short, &sessions);
        let values = long.iter().zip(&*short);
        for (unrealized, (long, short)) in part(unrealized, &sessions).iter_mut().zip(values) {
            *unrealized = long.plus(*short).minus(held.entry).divided(cent);
        }
        for (cents, long) in part(columns.long_value, &sessions).iter_mut().zip(long) {
            *long = long.plus(held.long).divided(cent);
            *cents = long.clamped();
        }
        for (cents, short) in part(columns.short_value, &sessions).iter_mut().zip(short) {
            *short = short.plus(held.short).divided(cent);
            *cents = short.clamped();
        }
        let num_positions = held
            .num_long_positions
            .wrapping_add(held.num_short_positions);
        part(columns.num_long_positions, &sessions).fill(held.num_long_positions);
        part(columns.num_short_positions, &sessions).fill(held.num_short_positions);
        part(columns.num_positions, &sessions).fill(num_positions);
        part(columns.marks, &sessions).fill(held.marks());
    };
    changes.sort_unstable_by_key(|&(session, _)| session);
    let mut held = *opening;
    let mut from = 0usize;
    for (session, change) in &*changes {
        if from < *session {
            fill(from..*session, &held);
            from = *session;
        }
        held = held.plus(change);
    }
    fill(from..sessions, &held);
}

fn part<'a, T>(column: &'a mut [T], sessions: &Range<usize>) -> &'a mut [T] {
    column.get_mut(sessions.clone()).unwrap_or_default()
}

/// Counts the marks that are not fresh as lookback or stale.
fn fill_marks(aged: &[AgedMark], columns: &mut ColumnSlices<'_>) {
    for aged in aged {
        if let Some([fresh, lookback, stale, _]) = columns.marks.get_mut(aged.session) {
            let counted = if aged.stale { stale } else { lookback };
            *counted = counted.wrapping_add(1);
            *fresh = fresh.wrapping_sub(1);
        }
    }
}

/// Fills the daily columns (S6, S7); `before` is `r2(U(s))` of the first session.
fn fill_changes<T: Sum>(
    portfolio: &Portfolio<'_, '_>,
    before: T,
    sums: &mut Sums<'_, T>,
    columns: &mut ColumnSlices<'_>,
) {
    let Sums {
        unrealized,
        realized,
        ..
    } = sums;
    let states = columns.unrealized_pnl_state.iter_mut();
    for ((cents, state), value) in columns
        .unrealized_pnl
        .iter_mut()
        .zip(states)
        .zip(&*unrealized)
    {
        (*cents, *state) = match value.narrow() {
            Some(cents) => (cents, State::Value.byte()),
            None => (0, State::NotRepresentable.byte()),
        };
    }
    let mut last = match portfolio.start.previous {
        Some(_) => before,
        None => unrealized.first().copied().unwrap_or(T::ZERO),
    };
    for (pnl, value) in columns.daily_pnl.iter_mut().zip(&*unrealized) {
        *pnl = value.minus(last).clamped();
        last = *value;
    }
    columns.daily_realized_pnl.fill(0);
    let cent = T::divisor(portfolio.valuer.cent());
    realized.sort_unstable_by_key(|&(session, _)| session);
    for ends in realized.chunk_by_mut(|(a, _), (b, _)| a == b) {
        let sum = ends
            .iter()
            .fold(T::ZERO, |sum, (_, value)| sum.plus(*value));
        let rounded = sum.divided(cent);
        for (_, value) in &mut *ends {
            *value = rounded;
        }
        let Some(&(session, rounded)) = ends.first() else {
            continue;
        };
        let pnl = pnl_at(session, before, unrealized, rounded);
        set(columns.daily_realized_pnl, session, rounded.clamped());
        set(columns.daily_pnl, session, pnl.clamped());
    }
    columns.daily_capital_flow.fill(0);
    let mut last = None;
    for &(day, _) in portfolio.flows {
        let session = portfolio
            .sessions
            .partition_point(|&session| session < day.0);
        if last.replace(session) != Some(session) {
            let flow = flow_at(portfolio, session);
            set(columns.daily_capital_flow, session, flow.clamped());
        }
    }
}

/// Returns `r2(U(t)) - r2(U(s)) + r2(R(s, t))` of a session (S6).
fn pnl_at<T: Sum>(session: usize, before: T, unrealized: &[T], realized: T) -> T {
    let at = |session: usize| unrealized.get(session).copied().unwrap_or(T::ZERO);
    let before = session.checked_sub(1).map_or(before, at);
    at(session).minus(before).plus(realized)
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

fn set<T>(column: &mut [T], at: usize, value: T) {
    if let Some(place) = column.get_mut(at) {
        *place = value;
    }
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

/// Returns whether no amount of a portfolio can be too large for its column (S10), so that none
/// needs a check.
fn is_small(portfolio: &Portfolio<'_, '_>) -> bool {
    let Portfolio {
        start,
        bound,
        valuer,
        ..
    } = portfolio;
    if Width::of(*bound) == Width::Wide {
        return false;
    }
    // each rounding adds half a cent
    let roundings = portfolio.sessions.len().saturating_mul(4);
    let sums = bound.checked_div(valuer.cent_bound()).unwrap_or(*bound);
    let flows = portfolio
        .flows
        .iter()
        .map(|(_, amount)| amount.unsigned_abs());
    // of scale 0 or more, so at most 100 cents each
    let flows = flows.fold(0u128, u128::saturating_add).saturating_mul(100);
    [
        start.equity.unsigned_abs(),
        start.cumulative_pnl.unsigned_abs().into(),
        start.cumulative_realized.unsigned_abs().into(),
        start.cumulative_flow.unsigned_abs().into(),
        sums.saturating_mul(8),
        u128::try_from(roundings).unwrap_or(u128::MAX),
    ]
    .into_iter()
    .fold(flows, u128::saturating_add)
        < u128::from(MONEY_LIMIT)
}

/// Returns the first session with an amount that does not fit, with the first such column and its
/// value (S10).
fn misfit<T: Sum>(
    portfolio: &Portfolio<'_, '_>,
    before: T,
    sums: &Sums<'_, T>,
    columns: &ColumnSlices<'_>,
) -> Option<(usize, String)> {
    (0..portfolio.sessions.len()).find_map(|session| {
        let amounts = exact_amounts(portfolio, session, before, sums, columns);
        let misfit = |(column, amount)| fitting(column, amount).err();
        Some((session, amounts.into_iter().find_map(misfit)?))
    })
}

/// Returns the amounts of a session in the order in which S10 judges them, however large; those of
/// the session before have to fit.
fn exact_amounts<T: Sum>(
    portfolio: &Portfolio<'_, '_>,
    session: usize,
    before: T,
    sums: &Sums<'_, T>,
    columns: &ColumnSlices<'_>,
) -> [(&'static str, Wide); 12] {
    let start = &portfolio.start;
    let at = |values: &[T]| values.get(session).copied().unwrap_or(T::ZERO);
    let mut ends = sums.realized.iter();
    let ends = ends.find(|(counted, _)| *counted == session);
    let realized = ends.map_or(T::ZERO, |&(_, rounded)| rounded);
    let pnl = if session == 0 && start.previous.is_none() {
        T::ZERO
    } else {
        pnl_at(session, before, &sums.unrealized, realized)
    };
    let (realized, pnl) = (realized.wide(), pnl.wide());
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
    columns.daily_return_state.fill(State::Value.byte());
    let mut before = portfolio.start.equity.clamped();
    let rows = columns
        .daily_pnl
        .iter()
        .zip(&*columns.equity_balance)
        .enumerate();
    for ((at, (&pnl, &equity)), place) in rows.zip(&mut *columns.daily_return) {
        *place = daily_return(pnl, before).unwrap_or_else(|text| {
            let day = portfolio.sessions.get(at).copied().unwrap_or(i32::MAX);
            out_of_range.push((Day(day), text));
            set(columns.daily_return_state, at, State::Null.byte());
            0
        });
        before = equity;
    }
}

/// Returns `r6(pnl / equity)` in millionths, 0 unless the equity is above 0 (S8), or the value if
/// it is out of range (S10).
fn daily_return(pnl: i64, equity: i64) -> Result<i64, String> {
    if equity <= 0 {
        return Ok(0);
    }
    let equity = equity.unsigned_abs();
    // half of the divisor is added before the division, which rounds half away from zero
    let narrow = pnl
        .unsigned_abs()
        .checked_mul(RETURN_UNIT.into())
        .and_then(|numerator| numerator.checked_add(equity >> 1))
        .and_then(|numerator| numerator.checked_div(equity))
        .and_then(|quotient| i64::try_from(quotient).ok())
        .filter(|&quotient| quotient < RETURN_LIMIT.into());
    if let Some(quotient) = narrow {
        return Ok(if pnl < 0 {
            quotient.wrapping_neg()
        } else {
            quotient
        });
    }
    wide_return(pnl, equity)
}

#[cold]
fn wide_return(pnl: i64, equity: u64) -> Result<i64, String> {
    let numerator = i128::from(pnl).saturating_mul(i128::from(RETURN_UNIT));
    let quotient = half_away(numerator, i128::from(equity)).unwrap_or(0);
    match i64::try_from(quotient) {
        Ok(quotient) if quotient.unsigned_abs() < RETURN_LIMIT.into() => Ok(quotient),
        _ => Err(decimal_text(&quotient.to_string(), 6)),
    }
}

#[cfg(test)]
mod properties {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::pnl::columns::{Columns, Row};
    use crate::pnl::marks::Marks;
    use crate::pnl::value::Scales;
    use crate::samples;

    /// Prices and amounts in cents, quantities whole.
    const SCALES: Scales = Scales {
        close: 2,
        entry: 2,
        exit: 2,
        quantity: 0,
        event_quantity: 0,
        restates: false,
        realized: 2,
        market_value: 2,
        flow: 2,
    };

    const SESSIONS: [i32; 4] = [5, 6, 7, 8];

    /// Closes of one symbol: 10.00 on day 5, 11.00 on 6 and 12.00 on 8.
    fn marks(lookback_days: u32) -> Marks {
        let closes = [("AAA", 5, 1000), ("AAA", 6, 1100), ("AAA", 8, 1200)];
        Marks::from_prices(&samples::prices(&closes, 2), &SESSIONS, lookback_days).unwrap()
    }

    fn symbol(marks: &Marks) -> &SymbolMarks {
        marks.find(b"AAA").unwrap()
    }

    /// 3 shares bought at 10.00 on day 5.
    fn lot(marks: &SymbolMarks) -> Lot<'_> {
        Lot {
            position: 0,
            marks: Some(marks),
            rates: None,
            quantity: 3,
            of_event: false,
            multiplier: 1,
            entry_price: 1000,
            start: Day(5),
            end: None,
            closing: Closing::Unpriced,
            class: Class::Public,
            split: None,
        }
    }

    fn opening(equity: i64) -> Start {
        Start {
            equity: i128::from(equity),
            ..Start::default()
        }
    }

    /// The rows of a portfolio, and the rest of its result.
    #[derive(Debug, PartialEq)]
    struct Rolled {
        rows: Vec<Row>,
        outcome: Outcome,
    }

    fn rolled_by<T: Sum>(start: Start, lots: &[Lot<'_>]) -> Rolled {
        let mut columns = Columns::zeroed(SESSIONS.len());
        let mut slices = columns.slices();
        let portfolio = Portfolio {
            lots,
            symbols: &vec![0; lots.len()],
            flows: &[],
            start,
            sessions: &SESSIONS,
            from: 0,
            valuer: &Valuer::of(&SCALES),
            converts: false,
            bound: u128::MAX,
        };
        let outcome = roll_forward(&portfolio, &mut Sums::<T>::default(), &mut slices);
        let rows = (0..outcome.written)
            .filter_map(|at| slices.row(at))
            .collect();
        Rolled { rows, outcome }
    }

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
                prop_assert_eq!(&narrow, &wider);
            }
            prop_assert_eq!(narrow.rows.len(), 4);
        }

        #[test]
        fn daily_profits_add_up_to_the_change_of_the_equity(lots in vec(parts(), 0..6)) {
            let marks = marks(1);
            let lots: Vec<_> = lots.iter().map(|p| made(p, lot(symbol(&marks)))).collect();
            let rows = rolled_by::<i64>(opening(0), &lots).rows;
            let total: i64 = rows.iter().map(|row| row.daily_pnl).sum();
            let realized: i64 = rows.iter().map(|row| row.daily_realized_pnl).sum();
            let (first, last) = (&rows[0], &rows[3]);
            prop_assert_eq!(total, last.equity_balance);
            let change = last.unrealized_pnl.checked_sub(first.unrealized_pnl);
            prop_assert_eq!(total.checked_sub(realized), change);
        }
    }
}
