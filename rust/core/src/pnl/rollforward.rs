//! The `rollforward` policy: one portfolio, from where it stood to the last session (S4 to S10).
//!
//! For each public lot the inner loop is one gather and one multiply-add a session: marks are
//! shared by all portfolios. What is constant between the days on which something happens to a lot
//! (entry values, PRIVATE values, counts) is kept as changes, so that all other columns are filled
//! stretch by stretch, without a branch. `long` and `short` sum values by the sign of the quantity,
//! as every mark is above 0; `U = long + short - entry values`.
#![warn(clippy::arithmetic_side_effects)]

use core::ops::Range;

use crate::fixed::{CENTS, State, Sum, Wide, Width, decimal_text, half_away};
use crate::ids::Day;
use crate::pnl::columns::Room;
use crate::pnl::issue::IssueKind;
use crate::pnl::lot::{Class, Closing, Lot};
use crate::pnl::marks::Aged;
use crate::pnl::rows::Miss;
use crate::pnl::value::{MONEY_LIMIT, Units, amount, bound, earned_at, fitting, mark};
use crate::store::Amount;

/// `daily_return` is numeric(8, 6): values below it fit (S10, L4).
pub(super) const RETURN_LIMIT: u32 = 100_000_000;
/// Units of `daily_return`.
pub(super) const RETURN_UNIT: u32 = 1_000_000;

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
pub struct Portfolio<'a, 'm> {
    /// Its lots.
    pub lots: &'a [Lot<'m>],
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
    /// Rows: one for each session, up to a failure.
    pub written: usize,
    /// The failure: session, column and value.
    pub failure: Option<(Day, String)>,
    /// Ends that counted: issue, lot and session.
    pub closings: Vec<(IssueKind, usize, Day)>,
    /// Returns out of range: session and value.
    pub returns: Vec<(Day, String)>,
    /// Lots that were not priced or whose price was stale.
    pub misses: Vec<Miss>,
    /// Closes of symbols held that are no valid ones (S2): code of the symbol, session and close;
    /// sorted, each once.
    pub refused: Vec<(u32, Day, Option<i64>)>,
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

/// Fills `room`, a row for each session, and returns what came of the portfolio; `scratch` is
/// reused from one to the next.
///
/// What is noticed on the way ends where the rows do: a portfolio that fails is rolled again, over
/// the sessions before that (S10).
#[must_use]
pub fn roll_forward<'m>(
    portfolio: &Portfolio<'_, 'm>,
    scratch: &mut Scratch<'m>,
    room: &mut Room<'_>,
) -> Outcome {
    let outcome = rolled_at_width(portfolio, scratch, room);
    if outcome.failure.is_none() {
        return outcome;
    }
    let written = Portfolio {
        to: portfolio.from.saturating_add(outcome.written),
        ..*portfolio
    };
    let mut room = room.stretch(0, outcome.written);
    Outcome {
        failure: outcome.failure,
        ..rolled_at_width(&written, scratch, &mut room)
    }
}

fn rolled_at_width<'m>(
    portfolio: &Portfolio<'_, 'm>,
    scratch: &mut Scratch<'m>,
    room: &mut Room<'_>,
) -> Outcome {
    let bound = bound(portfolio.lots, portfolio.units);
    match Width::of(bound) {
        Width::Narrow => rolled(portfolio, bound, &mut scratch.narrow, room),
        Width::Double => rolled(portfolio, bound, &mut scratch.double, room),
        Width::Wide => rolled(portfolio, bound, &mut scratch.wide, room),
    }
}

/// Buffers of one thread.
#[derive(Debug, Default)]
pub struct Scratch<'a> {
    narrow: Sums<'a, i64>,
    double: Sums<'a, i128>,
    wide: Sums<'a, Wide>,
}

/// Sums of one portfolio.
#[derive(Debug, Default)]
struct Sums<'a, T> {
    /// Values of priced lots by session, by sign; all lots, in cents, once they are rounded.
    long: Vec<T>,
    short: Vec<T>,
    /// Lots still to be added to them.
    held_long: Vec<Held<'a>>,
    held_short: Vec<Held<'a>>,
    /// `r2(U)` by session.
    unrealized: Vec<T>,
    /// What is constant, on the first session.
    opening: Constants<T>,
    /// Sessions on which that changes, and by how much.
    changes: Vec<(usize, Constants<T>)>,
    /// What ends realize, by the session that counts it.
    realized: Vec<(usize, T)>,
    /// Lots and sessions whose mark is not fresh.
    aged: Vec<Aged>,
}

/// What does not change between the days on which something happens to a lot.
#[derive(Debug, Default, Clone, Copy)]
struct Constants<T> {
    /// Values of lots that have no marks, by sign.
    long: T,
    short: T,
    /// Entry values of priced lots.
    entry: T,
    /// Lots held, by sign.
    num_long: i32,
    num_short: i32,
    /// Public lots held, and those of them without a mark.
    public: i32,
    unpriced: i32,
}

/// Counts of a session.
struct Counted {
    num_positions: i32,
    num_long: i32,
    num_short: i32,
    marks: [i32; 4],
}

impl<T: Sum> Constants<T> {
    const NONE: Self = Self {
        long: T::ZERO,
        short: T::ZERO,
        entry: T::ZERO,
        num_long: 0,
        num_short: 0,
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

    /// Returns the counts of a session whose marks are all fresh.
    fn counted(&self) -> Counted {
        let unpriced = self.unpriced;
        let fresh = self.public.wrapping_sub(unpriced);
        let (lookback, stale) = (0, 0);
        Counted {
            num_positions: self.num_long.wrapping_add(self.num_short),
            num_long: self.num_long,
            num_short: self.num_short,
            marks: [fresh, lookback, stale, unpriced],
        }
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            long: self.long.plus(other.long),
            short: self.short.plus(other.short),
            entry: self.entry.plus(other.entry),
            num_long: self.num_long.wrapping_add(other.num_long),
            num_short: self.num_short.wrapping_add(other.num_short),
            public: self.public.wrapping_add(other.public),
            unpriced: self.unpriced.wrapping_add(other.unpriced),
        }
    }

    fn negated(&self) -> Self {
        Self {
            long: T::ZERO.minus(self.long),
            short: T::ZERO.minus(self.short),
            entry: T::ZERO.minus(self.entry),
            num_long: self.num_long.wrapping_neg(),
            num_short: self.num_short.wrapping_neg(),
            public: self.public.wrapping_neg(),
            unpriced: self.unpriced.wrapping_neg(),
        }
    }
}

impl<T: Sum> Sums<'_, T> {
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

    /// Adds what is constant on the sessions of `range`.
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

/// Adds marks of some sessions times `units` to their sums.
fn add_values<T: Sum>(sums: &mut [T], closes: &[i64], units: T) {
    for (sum, &close) in sums.iter_mut().zip(closes) {
        *sum = sum.plus(T::of(close).times(units));
    }
}

/// The marks of a lot held on every session, and the absolute value of its units: products of 32
/// bits are formed two at a time, those of 64 are not.
#[derive(Debug, Clone, Copy)]
struct Held<'a> {
    closes: &'a [u32],
    units: u32,
}

impl Held<'_> {
    fn value(self, close: u32) -> u64 {
        u64::from(close).wrapping_mul(u64::from(self.units))
    }
}

/// Adds the values of lots to the sums of their sessions: four at a time, so that their marks are
/// fetched side by side.
fn add_held<T: Sum>(sums: &mut [T], lots: &[Held<'_>], sign: impl Fn(T) -> T) {
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
    let quantity = T::of(lot.quantity);
    let entry = amount(lot.entry_price, quantity, portfolio.units.entry(lot));
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
    let units = quantity.times(T::of_factor(portfolio.units.close(lot)));
    let is_short = lot.quantity < 0;
    let small = marks.small(sessions.clone()).zip(units.small());
    if let Some((closes, units)) = small.filter(|(closes, _)| closes.len() == sums.long.len()) {
        let lots = if is_short {
            &mut sums.held_short
        } else {
            &mut sums.held_long
        };
        lots.push(Held { closes, units });
    } else {
        let values = if is_short {
            &mut sums.short
        } else {
            &mut sums.long
        };
        let values = values.get_mut(priced..to).unwrap_or_default();
        let closes = marks.mark().get(sessions.clone()).unwrap_or_default();
        add_values(values, closes, units);
    }
    let mut stale: Option<(usize, usize, u64)> = None;
    for aged in marks.aged(sessions.start, sessions.end) {
        let session = aged.session.saturating_sub(offset);
        sums.aged.push(Aged { session, ..*aged });
        if aged.stale {
            let (first, _, held) = stale.unwrap_or((session, session, 0));
            stale = Some((first, session, held.saturating_add(1)));
        }
    }
    if let Some((first, last, held)) = stale {
        missed(false, first, last, held);
    }
}

/// `bound` is what the sums of the portfolio do not exceed.
fn rolled<'m, T: Sum>(
    portfolio: &Portfolio<'_, 'm>,
    bound: u128,
    sums: &mut Sums<'m, T>,
    room: &mut Room<'_>,
) -> Outcome {
    let sessions = portfolio
        .sessions
        .get(portfolio.from..portfolio.to)
        .unwrap_or_default();
    let mut outcome = Outcome::default();
    sums.reset(sessions.len());
    let day_at = |session: usize| Day(sessions.get(session).copied().unwrap_or(i32::MAX));
    let mut before = T::ZERO;

    for (at, (lot, &symbol)) in portfolio.lots.iter().zip(portfolio.symbols).enumerate() {
        // the session that counts the end in its P&L is the one behind the last on which it is held
        let held = lot.held(sessions);
        let to = held.end;
        if !held.is_empty() {
            let is_short = lot.quantity < 0;
            let counted = Constants {
                num_long: i32::from(!is_short),
                num_short: i32::from(is_short),
                ..Constants::NONE
            };
            let value = match lot.class {
                Class::Public => None,
                Class::PrivateAt(value) => {
                    let factor = T::of_factor(portfolio.units.market_value());
                    Some(T::of(value).times(factor))
                }
                Class::PrivateAtEntry => {
                    let factor = portfolio.units.entry(lot);
                    Some(amount(lot.entry_price, T::of(lot.quantity), factor))
                }
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
                before = before.plus(earned(lot, previous, portfolio.units));
            }
            close(lot, at, to, sums, portfolio, day_at(to), &mut outcome);
        }
    }
    outcome.refused.sort_unstable();
    outcome.refused.dedup();
    for (place, &day) in room.day.iter_mut().zip(sessions) {
        *place = day;
    }
    add_held(&mut sums.long, &sums.held_long, |value| value);
    add_held(&mut sums.short, &sums.held_short, |value: T| {
        T::ZERO.minus(value)
    });
    fill_values(portfolio.units, sums, room);
    fill_marks(&sums.aged, room);
    let before = before.divided(T::divisor(portfolio.units.cent()));
    fill_changes(portfolio, sessions, before, sums, room);
    fill_chain(portfolio, room);
    if !is_small(portfolio, bound)
        && let Some((session, detail)) = misfit(portfolio, sessions, before, sums, room)
    {
        outcome.written = session;
        outcome.failure = Some((day_at(session), detail));
        return outcome;
    }
    outcome.written = sessions.len();
    fill_returns(&portfolio.start, sessions, room, &mut outcome.returns);
    outcome
}

/// Adds what the end of a lot realizes to the session that counts it, if there is one.
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
    if session >= portfolio.to.saturating_sub(portfolio.from) {
        return;
    }
    let realized = realized(lot, end, portfolio.units);
    sums.realized.push((session, realized));
    match lot.closing {
        Closing::Expiry => outcome.closings.push((IssueKind::Expired, at, day)),
        Closing::Unpriced => outcome.closings.push((IssueKind::ExitUnpriced, at, day)),
        Closing::Given(_) | Closing::Price(_) => {}
    }
}

/// Fills the columns of values and counts, and leaves the values in cents in `sums`: stretch by
/// stretch of sessions between which nothing but marks changes.
fn fill_values<T: Sum>(units: &Units, sums: &mut Sums<'_, T>, room: &mut Room<'_>) {
    let Sums {
        long,
        short,
        unrealized,
        opening,
        changes,
        ..
    } = sums;
    let cent = T::divisor(units.cent());
    let sessions = room.len();
    let mut fill = |sessions: Range<usize>, held: &Constants<T>| {
        let long = part(long, &sessions);
        let short = part(short, &sessions);
        let values = long.iter().zip(&*short);
        for (unrealized, (long, short)) in part(unrealized, &sessions).iter_mut().zip(values) {
            *unrealized = long.plus(*short).minus(held.entry).divided(cent);
        }
        for (cents, long) in part(room.long, &sessions).iter_mut().zip(long) {
            *long = long.plus(held.long).divided(cent);
            *cents = long.clamped();
        }
        for (cents, short) in part(room.short, &sessions).iter_mut().zip(short) {
            *short = short.plus(held.short).divided(cent);
            *cents = short.clamped();
        }
        let counted = held.counted();
        part(room.num_long, &sessions).fill(counted.num_long);
        part(room.num_short, &sessions).fill(counted.num_short);
        part(room.num_positions, &sessions).fill(counted.num_positions);
        part(room.marks, &sessions).fill(counted.marks);
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

/// Counts marks that are not fresh as what they are.
fn fill_marks(aged: &[Aged], room: &mut Room<'_>) {
    for aged in aged {
        if let Some([fresh, lookback, stale, _]) = room.marks.get_mut(aged.session) {
            let counted = if aged.stale { stale } else { lookback };
            *counted = counted.wrapping_add(1);
            *fresh = fresh.wrapping_sub(1);
        }
    }
}

/// Fills the columns of what changes from session to session (S6, S7); `before` is `r2(U(s))` of
/// the first.
fn fill_changes<T: Sum>(
    portfolio: &Portfolio<'_, '_>,
    sessions: &[i32],
    before: T,
    sums: &mut Sums<'_, T>,
    room: &mut Room<'_>,
) {
    let Sums {
        unrealized,
        realized,
        ..
    } = sums;
    let states = room.unrealized_state.iter_mut();
    for ((cents, state), value) in room.unrealized.iter_mut().zip(states).zip(&*unrealized) {
        (*cents, *state) = match value.narrow() {
            Some(cents) => (cents, State::Value.byte()),
            None => (0, State::NotRepresentable.byte()),
        };
    }
    let mut last = match portfolio.start.previous {
        Some(_) => before,
        None => unrealized.first().copied().unwrap_or(T::ZERO),
    };
    for (pnl, value) in room.daily_pnl.iter_mut().zip(&*unrealized) {
        *pnl = value.minus(last).clamped();
        last = *value;
    }
    room.daily_realized.fill(0);
    let cent = T::divisor(portfolio.units.cent());
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
        set(room.daily_realized, session, rounded.clamped());
        set(room.daily_pnl, session, pnl.clamped());
    }
    room.daily_flow.fill(0);
    for &(day, _) in portfolio.flows {
        let session = sessions.partition_point(|&session| session < day.0);
        set(
            room.daily_flow,
            session,
            clamped(flow_at(portfolio, sessions, session)),
        );
    }
}

/// Returns `r2(U(t)) - r2(U(s)) + r2(R(s, t))` of a session (S6).
fn pnl_at<T: Sum>(session: usize, before: T, unrealized: &[T], realized: T) -> T {
    let at = |session: usize| unrealized.get(session).copied().unwrap_or(T::ZERO);
    let before = session.checked_sub(1).map_or(before, at);
    at(session).minus(before).plus(realized)
}

/// Returns the flows that count on a session (S5, S7), in cents.
fn flow_at(portfolio: &Portfolio<'_, '_>, sessions: &[i32], session: usize) -> i128 {
    let Some(&day) = sessions.get(session) else {
        return 0;
    };
    let last = session.checked_sub(1).and_then(|last| sessions.get(last));
    let last = last.copied().or(portfolio.start.previous.map(|day| day.0));
    let first = last.map_or(day, |last| last.saturating_add(1));
    let scale = portfolio.units.flow_scale();
    flow_between(portfolio.flows, Day(first), Day(day), scale)
}

fn set<T>(column: &mut [T], at: usize, value: T) {
    if let Some(place) = column.get_mut(at) {
        *place = value;
    }
}

/// Returns the value, or the nearest that 64 bits hold.
fn clamped(value: i128) -> i64 {
    let beyond = if value < 0 { i64::MIN } else { i64::MAX };
    i64::try_from(value).unwrap_or(beyond)
}

/// Fills the columns that follow from those before: cumulative sums, equity (S8) and exposures
/// (S9).
///
/// Nothing is checked here. A value beyond 64 bits has been clamped to them and so does not fit its
/// column (S10); what follows from it on its session and later is not used.
fn fill_chain(portfolio: &Portfolio<'_, '_>, room: &mut Room<'_>) {
    let start = &portfolio.start;
    for (column, daily, start) in [
        (
            &mut *room.cumulative_pnl,
            &*room.daily_pnl,
            start.cumulative_pnl,
        ),
        (
            &mut *room.cumulative_realized,
            &*room.daily_realized,
            start.cumulative_realized,
        ),
        (
            &mut *room.cumulative_flow,
            &*room.daily_flow,
            start.cumulative_flow,
        ),
    ] {
        let mut sum = start;
        for (cumulative, daily) in column.iter_mut().zip(daily) {
            sum = sum.wrapping_add(*daily);
            *cumulative = sum;
        }
    }
    let mut sum = clamped(start.equity);
    let daily = room.daily_pnl.iter().zip(&*room.daily_flow);
    for (equity, (pnl, flow)) in room.equity.iter_mut().zip(daily) {
        sum = sum.wrapping_add(*pnl).wrapping_add(*flow);
        *equity = sum;
    }
    let values = room.long.iter().zip(&*room.short).zip(&*room.equity);
    let exposures = room
        .gross
        .iter_mut()
        .zip(&mut *room.net)
        .zip(&mut *room.cash);
    for (((gross, net), cash), ((long, short), equity)) in exposures.zip(values) {
        *gross = long.wrapping_sub(*short);
        *net = long.wrapping_add(*short);
        *cash = equity.wrapping_sub(*net);
    }
}

/// Returns whether no amount of a portfolio whose sums do not exceed `bound` can be too large for
/// its column (S10), so that none has to be looked at.
fn is_small(portfolio: &Portfolio<'_, '_>, bound: u128) -> bool {
    if Width::of(bound) == Width::Wide {
        return false;
    }
    let start = &portfolio.start;
    // each rounding adds half a cent
    let roundings = portfolio.sessions.len().saturating_mul(4);
    let sums = bound.checked_div(portfolio.units.cent()).unwrap_or(bound);
    let starts = [
        start.equity.unsigned_abs(),
        start.cumulative_pnl.unsigned_abs().into(),
        start.cumulative_realized.unsigned_abs().into(),
        start.cumulative_flow.unsigned_abs().into(),
    ];
    let flows = portfolio
        .flows
        .iter()
        .map(|(_, amount)| amount.unsigned_abs());
    // of scale 0 or more, so at most 100 cents each
    let flows = flows.fold(0u128, u128::saturating_add).saturating_mul(100);
    starts
        .into_iter()
        .fold(flows, u128::saturating_add)
        .saturating_add(sums.saturating_mul(8))
        .saturating_add(u128::try_from(roundings).unwrap_or(u128::MAX))
        < u128::from(MONEY_LIMIT)
}

/// Returns the first session with an amount that does not fit, with column and value (S10).
fn misfit<T: Sum>(
    portfolio: &Portfolio<'_, '_>,
    sessions: &[i32],
    before: T,
    sums: &Sums<'_, T>,
    room: &Room<'_>,
) -> Option<(usize, String)> {
    (0..sessions.len()).find_map(|session| {
        let judged = judge(portfolio, sessions, session, before, sums, room);
        judged.err().map(|detail| (session, detail))
    })
}

/// Returns the first amount of a session that does not fit its column, in the order of
/// docs/semantics.md (S10); those of the session before have to fit.
fn judge<T: Sum>(
    portfolio: &Portfolio<'_, '_>,
    sessions: &[i32],
    session: usize,
    before: T,
    sums: &Sums<'_, T>,
    room: &Room<'_>,
) -> Result<(), String> {
    let start = &portfolio.start;
    let at = |values: &[T]| values.get(session).copied().unwrap_or(T::ZERO);
    let ends = sums
        .realized
        .iter()
        .find(|(counted, _)| *counted == session);
    let realized = ends.map_or(T::ZERO, |&(_, rounded)| rounded);
    let pnl = if session == 0 && start.previous.is_none() {
        T::ZERO
    } else {
        pnl_at(session, before, &sums.unrealized, realized)
    };
    let flow = flow_at(portfolio, sessions, session);
    let last = |column: &[i64], start: i128| {
        let last = session.checked_sub(1).and_then(|last| column.get(last));
        last.map_or(start, |&last| i128::from(last))
    };
    let realized = i128::from(fitting("daily_realized_pnl", realized)?);
    let pnl = i128::from(fitting("daily_pnl", pnl)?);
    let daily_flow = i128::from(fitting("daily_capital_flow", flow)?);
    let equity = last(room.equity, start.equity)
        .saturating_add(pnl)
        .saturating_add(flow);
    let equity = i128::from(fitting("equity_balance", equity)?);
    let sum = |column: &[i64], start: i64, daily: i128| {
        last(column, i128::from(start)).saturating_add(daily)
    };
    fitting(
        "cumulative_pnl",
        sum(room.cumulative_pnl, start.cumulative_pnl, pnl),
    )?;
    fitting(
        "cumulative_realized_pnl",
        sum(
            room.cumulative_realized,
            start.cumulative_realized,
            realized,
        ),
    )?;
    fitting(
        "cumulative_capital_flow",
        sum(room.cumulative_flow, start.cumulative_flow, daily_flow),
    )?;
    let long = i128::from(fitting("long_value", at(&sums.long))?);
    let short = i128::from(fitting("short_value", at(&sums.short))?);
    fitting("gross_exposure", long.saturating_sub(short))?;
    let net = long.saturating_add(short);
    fitting("net_exposure", net)?;
    fitting("cash_value", equity.saturating_sub(net))?;
    Ok(())
}

/// Fills the returns (S8) and adds those out of range to `out_of_range`.
fn fill_returns(
    start: &Start,
    sessions: &[i32],
    room: &mut Room<'_>,
    out_of_range: &mut Vec<(Day, String)>,
) {
    room.daily_return_state.fill(State::Value.byte());
    let mut before = clamped(start.equity);
    let rows = room.daily_pnl.iter().zip(&*room.equity).enumerate();
    for ((at, (&pnl, &equity)), place) in rows.zip(&mut *room.daily_return) {
        *place = daily_return(pnl, before).unwrap_or_else(|text| {
            let day = sessions.get(at).copied().unwrap_or(i32::MAX);
            out_of_range.push((Day(day), text));
            set(room.daily_return_state, at, State::Null.byte());
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
mod tests {
    use super::*;
    use crate::frame::{Days, Decimals, Texts};
    use crate::pnl::columns::Columns;
    use crate::pnl::marks::{Marks, SymbolMarks};
    use crate::pnl::rows::Row;
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

    /// What came of a portfolio, and its rows.
    pub(super) struct Rolled {
        pub(super) rows: Vec<Row>,
        pub(super) failure: Option<(Day, String)>,
        pub(super) closings: Vec<(IssueKind, usize, Day)>,
        pub(super) returns: Vec<(Day, String)>,
        pub(super) misses: Vec<Miss>,
    }

    fn with_portfolio(
        start: Start,
        lots: &[Lot<'_>],
        flows: &[(Day, i128)],
        roll: impl FnOnce(&Portfolio<'_, '_>, &mut Room<'_>) -> Outcome,
    ) -> Rolled {
        let units = Units::of(&SCALES);
        let symbols = vec![0; lots.len()];
        let mut columns = Columns::zeroed(SESSIONS.len());
        let outcome = roll(
            &Portfolio {
                lots,
                symbols: &symbols,
                flows,
                start,
                sessions: &SESSIONS,
                from: 0,
                to: SESSIONS.len(),
                units: &units,
            },
            &mut columns.room(),
        );
        let room = columns.room();
        Rolled {
            rows: (0..outcome.written).map(|at| row(&room, at)).collect(),
            failure: outcome.failure,
            closings: outcome.closings,
            returns: outcome.returns,
            misses: outcome.misses,
        }
    }

    fn row(room: &Room<'_>, at: usize) -> Row {
        let given = |state: u8| State::from_byte(state).filter(|&state| state != State::Value);
        Row {
            day: Day(room.day[at]),
            equity: room.equity[at],
            daily_pnl: room.daily_pnl[at],
            daily_realized: room.daily_realized[at],
            daily_flow: room.daily_flow[at],
            daily_return: (room.daily_return_state[at] == 0).then_some(room.daily_return[at]),
            cumulative_pnl: room.cumulative_pnl[at],
            cumulative_realized: room.cumulative_realized[at],
            cumulative_flow: room.cumulative_flow[at],
            unrealized: given(room.unrealized_state[at]).map_or(Ok(room.unrealized[at]), Err),
            long: room.long[at],
            short: room.short[at],
            gross: room.gross[at],
            net: room.net[at],
            cash: room.cash[at],
            num_positions: room.num_positions[at],
            num_long: room.num_long[at],
            num_short: room.num_short[at],
            marks: room.marks[at],
        }
    }

    pub(super) fn rolled_by<T: Sum + Default>(start: Start, lots: &[Lot<'_>]) -> Rolled {
        with_portfolio(start, lots, &[], |portfolio, room| {
            rolled(portfolio, u128::MAX, &mut Sums::<'_, T>::default(), room)
        })
    }

    fn forward(start: Start, lots: &[Lot<'_>], flows: &[(Day, i128)]) -> Rolled {
        with_portfolio(start, lots, flows, |portfolio, room| {
            roll_forward(portfolio, &mut Scratch::default(), room)
        })
    }

    fn column<T>(outcome: &Rolled, of: impl Fn(&Row) -> T) -> Vec<T> {
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
    use crate::pnl::rows::Row;

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
