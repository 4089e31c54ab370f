//! One portfolio rolled forward, day by day (L3 to L31).
#![warn(clippy::arithmetic_side_effects)]

use crate::fixed::{CENTS, State, Sum, Wide, decimal_text};
use crate::frame::index;
use crate::ids::{Day, PortfolioId};
use crate::pnl::columns::Row;
use crate::pnl::issue::{Issue, IssueKind};
use crate::pnl::legacy::current::CurrentDay;
use crate::pnl::legacy::holding::{Class, Fault, Holding};
use crate::pnl::legacy::quotes::{Age, Quote, Quotes};
use crate::pnl::legacy::row::LegacyRow;
use crate::pnl::report::Miss;
use crate::pnl::value::{RETURN_LIMIT, RETURN_UNIT, Valuer, fitting};
use crate::significant::Significant;
use crate::store::{Amount, Snapshot};

/// A return below this many units is rounded as its 28 digits are, unless it lies within 10^-15
/// units of a tie: the 28th digit is worth less than 10^-18 units.
const PLAIN_RETURN: i128 = 1_000_000_000;
const NEAR_A_TIE: i128 = 1_000_000_000_000_000;

/// The most that a column of a portfolio holds: cents below 2^63.
const MOST_CENTS: u128 = 1 << 63;

/// The inputs of one portfolio.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portfolio<'a> {
    pub(super) id: PortfolioId,
    /// Its positions, in the order in which floats are added up.
    pub(super) holdings: &'a [Holding],
    /// Date and amount of its events, ascending (L17).
    pub(super) events: &'a [(Day, i64)],
    /// Date and signed amount of its flows, ascending (L18).
    pub(super) flows: &'a [(Day, i128)],
    /// Snapshots stored before the run, ascending.
    pub(super) snapshots: &'a [Snapshot],
    /// `portfolios.equity_balance` before the run.
    pub(super) balance: Amount,
    /// Sessions that it runs over.
    pub(super) sessions: &'a [i32],
    /// Index of the first of them among those of `quotes`.
    pub(super) from: usize,
    /// Quotes of all symbols on all sessions of the run.
    pub(super) quotes: &'a Quotes,
    /// Values positions.
    pub(super) valuer: &'a Valuer,
    /// The first current day, and its inputs; nothing if no session is current.
    pub(super) current: Option<(Day, &'a CurrentDay<'a>)>,
    /// A value that no rule can read: there are no rows, and each day without a complete snapshot
    /// fails.
    pub(super) fault: Option<&'a Fault>,
}

/// The result of one portfolio.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Outcome {
    /// The rows written, ascending by day.
    pub(super) rows: Vec<(Row, LegacyRow)>,
    /// Why days have no row (L4), ascending by day.
    pub(super) failures: Vec<Issue>,
    /// Active positions that had no price, or a stale one, in `rows`.
    pub(super) misses: Vec<Miss>,
}

/// Sums of one portfolio, a value for each session.
#[derive(Debug, Default)]
pub struct Sums<T> {
    /// Earned, in the common scale (L15).
    unrealized: Vec<T>,
    /// Values above and below 0 (L29), to [`Sum::VALUE_SCALE`] decimals.
    long: Vec<T>,
    short: Vec<T>,
    counts: Vec<Counts>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    long: i32,
    short: i32,
    marks: [i32; 4],
}

/// Sums of values in cents (L29).
struct Exposures<T> {
    long: T,
    short: T,
    gross: T,
    net: T,
}

impl Portfolio<'_> {
    /// Returns the index of the first session on which a position counts, and the index after the
    /// last on which it is active (L8, L24).
    fn span(&self, holding: &Holding) -> (usize, usize) {
        let Some(entry) = holding.entry else {
            return (self.sessions.len(), 0);
        };
        let before = |day: Day| self.sessions.partition_point(|&session| session < day.0);
        (
            before(entry),
            holding.exit.map_or(self.sessions.len(), before),
        )
    }

    fn quote(&self, holding: &Holding) -> Option<&Quote> {
        self.quotes.get(index(holding.symbol))
    }

    /// Returns an upper bound of the sum of all terms of a day, saturated.
    pub(super) fn bound(&self) -> u128 {
        let earned = self.holdings.iter().map(|holding| {
            let quote = self.quote(holding);
            quote.map_or(0, |quote| {
                self.valuer.most_change(holding.size(), quote.most)
            })
        });
        let events = self.events.iter();
        let events = events.map(|&(_, amount)| self.valuer.realized(Wide::of(amount)));
        let flows = self.flows.iter();
        let flows = flows.map(|&(_, amount)| self.valuer.flow(Wide::of_signed(amount)));
        let most = |amount: Wide| u128::try_from(amount.wrapping_abs()).unwrap_or(u128::MAX);
        // the equity and cumulative columns before the run, and long and short values
        let stored = MOST_CENTS
            .saturating_mul(self.valuer.cent_bound())
            .saturating_mul(4);
        earned
            .chain(events.chain(flows).map(most))
            .fold(stored, u128::saturating_add)
    }
}

/// Returns the rows of a portfolio, or nothing if they need wider sums.
pub(super) fn rolled<T: Sum>(portfolio: &Portfolio<'_>, sums: &mut Sums<T>) -> Option<Outcome> {
    let mut outcome = Outcome::default();
    let mut written = vec![false; portfolio.sessions.len()];
    if portfolio.fault.is_none() {
        sums.add_up(portfolio)?;
        outcome.rows.reserve_exact(portfolio.sessions.len());
    }
    let mut latest: Option<Snapshot> = None;
    let mut balance = portfolio.balance;
    for (session, &day) in portfolio.sessions.iter().enumerate() {
        let day = Day(day);
        let at = portfolio.snapshots.partition_point(|row| row.day < day);
        let same_day = portfolio.snapshots.get(at).filter(|row| row.day == day);
        if same_day.is_some_and(|row| row.is_complete) {
            continue;
        }
        let mut fail = |kind, detail, symbol| {
            let issue = Issue::of(kind, portfolio.id, detail);
            outcome.failures.push(issue.of_symbol(symbol).on(day));
        };
        if let Some(fault) = portfolio.fault {
            fail(fault.kind(), fault.column.to_owned(), fault.symbol());
            continue;
        }
        let stored = at.checked_sub(1).and_then(|at| portfolio.snapshots.get(at));
        let previous = match (stored, &latest) {
            (Some(stored), Some(latest)) if stored.day > latest.day => Some(stored),
            (stored, None) => stored,
            (_, Some(latest)) => Some(latest),
        };
        match sums.row(portfolio, session, day, previous, balance)? {
            Ok((row, own)) => {
                balance = Ok(row.equity_balance);
                latest = Some(snapshot_of(&row));
                outcome.rows.push((row, own));
                if let Some(written) = written.get_mut(session) {
                    *written = true;
                }
            }
            Err((kind, detail)) => fail(kind, detail, None),
        }
    }
    outcome.misses = misses(portfolio, &written);
    Some(outcome)
}

/// Returns the snapshot on which the next day builds.
fn snapshot_of(row: &Row) -> Snapshot {
    Snapshot {
        day: Day(row.day),
        equity: Ok(row.equity_balance),
        cumulative_pnl: Ok(row.cumulative_pnl),
        cumulative_realized: Ok(row.cumulative_realized_pnl),
        cumulative_flow: Ok(row.cumulative_capital_flow),
        is_complete: true,
    }
}

/// Returns the active positions without a price, or with a stale one, on the sessions written.
fn misses(portfolio: &Portfolio<'_>, written: &[bool]) -> Vec<Miss> {
    let mut misses = Vec::new();
    let public = |holding: &&Holding| holding.class != Class::Private;
    for holding in portfolio.holdings.iter().filter(public) {
        let (from, to) = portfolio.span(holding);
        let Some(quote) = portfolio.quote(holding) else {
            continue;
        };
        let ages = quote.ages.get(portfolio.from..).unwrap_or_default();
        for (age, unpriced) in [(Age::Stale, false), (Age::Unpriced, true)] {
            let days = (0..to)
                .zip(ages.iter().zip(written).zip(portfolio.sessions))
                .skip(from)
                .filter(|&(_, ((&found, &written), _))| found == age && written)
                .map(|(_, (_, &day))| Day(day));
            let (mut lot_sessions, mut first, mut last) = (0u64, None, None);
            for day in days {
                lot_sessions = lot_sessions.saturating_add(1);
                first = first.or(Some(day));
                last = Some(day);
            }
            if let (Some(first), Some(last)) = (first, last) {
                misses.push(Miss {
                    symbol: holding.symbol,
                    unpriced,
                    lot_sessions,
                    first,
                    last,
                });
            }
        }
    }
    misses
}

/// Returns the units of a value, or nothing if they need a wider sum.
fn units_of<T: Sum>(value: f64) -> Option<T> {
    let text = Significant::shortest(value)?;
    let places = text.exponent.checked_add(T::VALUE_SCALE)?;
    let shift = T::power_of_ten(u32::try_from(places).ok()?)?;
    T::of_signed(text.digits).try_times(shift)
}

impl<T: Sum> Sums<T> {
    fn reset(&mut self, sessions: usize) {
        for buffer in [&mut self.unrealized, &mut self.long, &mut self.short] {
            buffer.clear();
            buffer.resize(sessions, T::ZERO);
        }
        self.counts.clear();
        self.counts.resize(sessions, Counts::default());
    }

    /// Adds up what positions earn and are worth on each session.
    fn add_up(&mut self, portfolio: &Portfolio<'_>) -> Option<()> {
        self.reset(portfolio.sessions.len());
        for holding in portfolio.holdings {
            let (from, to) = portfolio.span(holding);
            let Some(quote) = portfolio.quote(holding) else {
                continue;
            };
            let first = portfolio.from.saturating_add(from);
            if holding.earns() {
                let changes = quote.changes.get(first..).unwrap_or_default();
                let units: T = portfolio.valuer.close_units(holding.size());
                let sums = self.unrealized.get_mut(from..).unwrap_or_default();
                for (sum, &change) in sums.iter_mut().zip(changes) {
                    *sum = sum.plus(T::of_signed(change).times(units));
                }
            }
            let prices = quote.prices.get(first..).unwrap_or_default();
            let ages = quote.ages.get(first..).unwrap_or_default();
            let active = from..to.max(from);
            let sums = self
                .long
                .get_mut(active.clone())
                .unwrap_or_default()
                .iter_mut()
                .zip(self.short.get_mut(active.clone()).unwrap_or_default())
                .zip(self.counts.get_mut(active).unwrap_or_default());
            for (((long, short), counts), (&price, &age)) in sums.zip(prices.iter().zip(ages)) {
                counts.add(holding, age);
                let price = if age == Age::Unpriced {
                    holding.fallback
                } else {
                    price
                };
                let value = holding.size().dollars(holding.shares, price);
                if value > 0.0 {
                    *long = long.try_plus(units_of(value)?)?;
                } else if value < 0.0 {
                    *short = short.try_plus(units_of(value)?)?;
                }
            }
        }
        Some(())
    }

    fn exposures(&self, session: usize) -> Option<Exposures<T>> {
        let (long, short) = (*self.long.get(session)?, *self.short.get(session)?);
        let places = u32::try_from(T::VALUE_SCALE).ok()?.checked_sub(CENTS)?;
        let cent = T::power_of_ten(places)?;
        // rounding doubles its argument
        let cents = |sum: T| Some(sum.try_plus(sum)?).map(|_| sum.rounded_even(cent));
        Some(Exposures {
            long: cents(long)?,
            short: cents(short)?,
            gross: cents(long.try_minus(short)?)?,
            net: cents(long.try_plus(short)?)?,
        })
    }

    /// Returns the row of a session, or why there is none (L4); nothing if it needs a wider sum.
    fn row(
        &self,
        portfolio: &Portfolio<'_>,
        session: usize,
        day: Day,
        previous: Option<&Snapshot>,
        balance: Amount,
    ) -> Option<Result<(Row, LegacyRow), (IssueKind, String)>> {
        let exposures = self.exposures(session)?;
        let counts = self.counts.get(session).copied()?;
        let valuer = portfolio.valuer;
        let before = match previous_equity(previous, balance) {
            Ok(before) => before,
            Err(failure) => return Some(Err(failure)),
        };
        let realized = on_day(portfolio.events, day).map(|&(_, amount)| T::of(amount));
        let flow = on_day(portfolio.flows, day).map(|&(_, amount)| T::of_signed(amount));
        let cent = valuer.cent();
        let amounts = Amounts {
            before: T::of(before).times(cent),
            unrealized: match previous {
                Some(_) => self.unrealized.get(session).copied()?,
                None => T::ZERO,
            },
            realized: valuer.realized(realized.fold(T::ZERO, T::plus)),
            flow: valuer.flow(flow.fold(T::ZERO, T::plus)),
            cent,
        };
        let stored = amounts.stored(day, previous, &exposures, counts);
        Some(stored.and_then(|(row, own)| {
            let Some((today, current)) = portfolio.current else {
                return Ok((row, own));
            };
            if !own.is_active || day < today {
                return Ok((row, own));
            }
            let equity = amounts.equity().wide();
            let misfit = |detail| (IssueKind::OutOfRange, detail);
            let beta = current.beta(portfolio.holdings, equity).map_err(misfit)?;
            let weights = current
                .weights(portfolio.holdings, equity)
                .map_err(misfit)?;
            let weights = weights.map(Box::new);
            let own = LegacyRow {
                beta,
                weights,
                ..own
            };
            Ok((row, own))
        }))
    }
}

/// Returns the rows of one day.
fn on_day<T>(rows: &[(Day, T)], day: Day) -> impl Iterator<Item = &(Day, T)> {
    let from = rows.partition_point(|&(d, _)| d < day);
    let rest = rows.get(from..).unwrap_or_default();
    rest.iter().take_while(move |&&(d, _)| d == day)
}

impl Counts {
    fn add(&mut self, holding: &Holding, age: Age) {
        let side = if holding.quantity > 0 {
            &mut self.long
        } else {
            &mut self.short
        };
        *side = side.saturating_add(1);
        if holding.class == Class::Private {
            return;
        }
        let [fresh, lookback, stale, unpriced] = &mut self.marks;
        let mark = match age {
            Age::Fresh => fresh,
            Age::Lookback => lookback,
            Age::Stale => stale,
            Age::Unpriced => unpriced,
        };
        *mark = mark.saturating_add(1);
    }
}

/// Returns a stored amount in cents, 0 for NULL, or why there is none.
fn readable(column: &str, amount: Amount) -> Result<i64, (IssueKind, String)> {
    match amount {
        Ok(cents) => Ok(cents),
        Err(State::Null | State::Value) => Ok(0),
        Err(state) => Err((IssueKind::of_state(state), column.to_owned())),
    }
}

/// Returns the equity before a day in cents (L6).
fn previous_equity(
    previous: Option<&Snapshot>,
    balance: Amount,
) -> Result<i64, (IssueKind, String)> {
    let column = "equity_balance";
    let before = previous.map_or(Ok(0), |row| readable(column, row.equity))?;
    if before == 0 {
        readable(column, balance)
    } else {
        Ok(before)
    }
}

/// Unrounded amounts of a day, in the common scale.
struct Amounts<T> {
    before: T,
    unrealized: T,
    realized: T,
    flow: T,
    cent: T,
}

impl<T: Sum> Amounts<T> {
    fn pnl(&self) -> T {
        self.unrealized.plus(self.realized)
    }

    fn equity(&self) -> T {
        self.before.plus(self.pnl()).plus(self.flow)
    }

    fn money(&self, column: &str, amount: T) -> Result<i64, (IssueKind, String)> {
        fits(column, amount.rounded(self.cent))
    }

    /// Returns the sum of the column of P and the amount of the day (L21).
    fn cumulative(
        &self,
        column: &str,
        before: Option<Amount>,
        amount: T,
    ) -> Result<i64, (IssueKind, String)> {
        let before = before.map_or(Ok(0), |before| readable(column, before))?;
        self.money(column, T::of(before).times(self.cent).plus(amount))
    }

    /// Returns the columns of a day, checked in the order of docs/legacy.md (L19 to L31).
    fn stored(
        &self,
        day: Day,
        previous: Option<&Snapshot>,
        exposures: &Exposures<T>,
        counts: Counts,
    ) -> Result<(Row, LegacyRow), (IssueKind, String)> {
        let (pnl, equity) = (self.pnl(), self.equity());
        let is_active = counts.long.saturating_add(counts.short) > 0;
        let of = |column: fn(&Snapshot) -> Amount| previous.map(column);
        let equity_balance = self.money("equity_balance", equity)?;
        let daily_pnl = self.money("daily_pnl", pnl)?;
        let daily_realized_pnl = self.money("daily_realized_pnl", self.realized)?;
        let daily_capital_flow = self.money("daily_capital_flow", self.flow)?;
        let daily_return =
            daily_return(pnl, self.before).map_err(|detail| (IssueKind::OutOfRange, detail))?;
        let cumulative_pnl = self.cumulative("cumulative_pnl", of(|p| p.cumulative_pnl), pnl)?;
        let cumulative_realized_pnl = self.cumulative(
            "cumulative_realized_pnl",
            of(|p| p.cumulative_realized),
            self.realized,
        )?;
        let cumulative_capital_flow = self.cumulative(
            "cumulative_capital_flow",
            of(|p| p.cumulative_flow),
            self.flow,
        )?;
        let positions = exposures.long.plus(exposures.short).times(self.cent);
        let cash = equity.minus(positions);
        let cash = if is_active && cash > T::ZERO {
            cash
        } else {
            T::ZERO
        };
        let cash_value = self.money("cash_value", cash)?;
        let row = Row {
            day: day.0,
            equity_balance,
            daily_pnl,
            daily_realized_pnl,
            daily_capital_flow,
            daily_return,
            cumulative_pnl,
            cumulative_realized_pnl,
            cumulative_capital_flow,
            unrealized_pnl_state: State::Null.byte(),
            long_value: fits("long_value", exposures.long)?,
            short_value: fits("short_value", exposures.short)?,
            gross_exposure: fits("gross_exposure", exposures.gross)?,
            net_exposure: fits("net_exposure", exposures.net)?,
            cash_value,
            num_positions: counts.long.saturating_add(counts.short),
            num_long_positions: counts.long,
            num_short_positions: counts.short,
            marks: counts.marks,
            ..Row::default()
        };
        let own = LegacyRow {
            total_value: if is_active { equity_balance } else { 0 },
            is_active,
            ..LegacyRow::default()
        };
        Ok((row, own))
    }
}

fn fits<T: Sum>(column: &str, cents: T) -> Result<i64, (IssueKind, String)> {
    fitting(column, cents).map_err(|detail| (IssueKind::OutOfRange, detail))
}

/// Returns `pnl / before` to 28 digits in units of 10^-6, half away; 0 unless `before` is above 0
/// (L22).
fn daily_return<T: Sum>(pnl: T, before: T) -> Result<i64, String> {
    if before <= T::ZERO {
        return Ok(0);
    }
    let plain = pnl.signed().zip(before.signed());
    if let Some(units) = plain.and_then(|(pnl, before)| plain_return(pnl, before))
        && units.saturating_abs() < RETURN_LIMIT.into()
    {
        return Ok(i64::try_from(units).unwrap_or_default());
    }
    let rounded = rounded_return(pnl.wide(), before.wide());
    match rounded.map(|units| (units.narrow(), units)) {
        Some((Some(units), _)) if i128::from(units).saturating_abs() < RETURN_LIMIT.into() => {
            Ok(units)
        }
        Some((_, units)) => Err(format!(
            "daily_return = {}",
            decimal_text(&units.digits(), 6)
        )),
        None => Err("daily_return = NaN".to_owned()),
    }
}

/// Returns a quotient to 28 digits in units of 10^-6, half away.
fn rounded_return(pnl: Wide, before: Wide) -> Option<Wide> {
    Significant::quotient(pnl, before)?.half_away(6)
}

/// Returns the units of a quotient that rounds the same as its 28 digits; nothing if that is not
/// certain.
fn plain_return(pnl: i128, before: i128) -> Option<i128> {
    let numerator = pnl.checked_mul(RETURN_UNIT.into())?;
    let (floor, rest) = (
        numerator.checked_div(before)?,
        numerator.checked_rem(before)?.checked_abs()?,
    );
    let over = rest.checked_mul(2)?.checked_sub(before)?;
    let is_near = over != 0 && over.checked_abs()? <= before.checked_div(NEAR_A_TIE)?;
    if is_near || floor.checked_abs()? >= PLAIN_RETURN {
        return None;
    }
    if over < 0 {
        Some(floor)
    } else {
        floor.checked_add(numerator.signum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_return_that_28_digits_take_for_a_tie_is_rounded_as_one() {
        // 0.0000005 - 10^-35 is 0.0000005 to 28 digits, which rounds away from 0
        let before = 10_i128.pow(35);
        let pnl = 5 * 10_i128.pow(28) - 1;
        let slow = |pnl: i128| daily_return(Wide::of_signed(pnl), Wide::of_signed(before));
        assert_eq!(plain_return(pnl, before), None);
        assert_eq!(slow(pnl), Ok(1));
        assert_eq!(slow(-pnl), Ok(-1));
        // 0.0000005 - 10^-20 is less than a tie
        assert_eq!(slow(pnl - 10_i128.pow(15)), Ok(0));
        // the same in 128 bits
        assert_eq!(daily_return(pnl, before), Ok(1));
    }

    #[test]
    fn a_return_needs_an_equity_above_0() {
        for (before, found) in [(0, 0), (-10, 0), (10, 500_000)] {
            assert_eq!(daily_return(5_i128, before.into()), Ok(found));
            assert_eq!(daily_return(Wide::of(5), Wide::of(before)), Ok(found));
        }
    }

    #[test]
    fn a_return_of_100_does_not_fit() {
        assert_eq!(daily_return(99_999_999_i128, 1_000_000), Ok(99_999_999));
        let beyond = Err("daily_return = -100.000000".to_owned());
        assert_eq!(daily_return(-100_i128, 1), beyond);
        assert_eq!(daily_return(Wide::of(-100), Wide::of(1)), beyond);
    }

    #[test]
    fn a_value_needs_a_wider_sum_beyond_24_decimals_or_its_digits() {
        assert_eq!(units_of::<i128>(1.5), Some(15 * 10_i128.pow(23)));
        assert_eq!(units_of::<i128>(-1e-24), Some(-1));
        assert_eq!(units_of::<i128>(1e-25), None);
        assert_eq!(units_of::<i128>(1e15), None);
        assert!(units_of::<Wide>(1e-25).is_some());
        assert!(units_of::<Wide>(8.5e39).is_some());
        assert_eq!(units_of::<Wide>(f64::INFINITY), None);
    }

    #[test]
    fn rows_of_a_day_are_found_among_others() {
        let rows = [(Day(1), 'a'), (Day(3), 'b'), (Day(3), 'c'), (Day(4), 'd')];
        let found = |day| on_day(&rows, Day(day)).map(|row| row.1).collect::<String>();
        assert_eq!([1, 2, 3, 5].map(found), ["a", "", "bc", ""]);
    }

    #[test]
    fn the_column_of_the_portfolio_counts_where_the_snapshot_has_nothing() {
        let snapshot = |equity| Snapshot {
            day: Day(1),
            equity,
            cumulative_pnl: Ok(0),
            cumulative_realized: Ok(0),
            cumulative_flow: Ok(0),
            is_complete: false,
        };
        let before = |equity, balance| previous_equity(Some(&snapshot(equity)), balance);
        let unreadable = Err((IssueKind::NonFinite, "equity_balance".to_owned()));
        assert_eq!(before(Ok(5), Err(State::NonFinite)), Ok(5));
        assert_eq!(before(Ok(0), Ok(7)), Ok(7));
        assert_eq!(before(Err(State::Null), Ok(7)), Ok(7));
        assert_eq!(before(Err(State::NonFinite), Ok(7)), unreadable);
        assert_eq!(previous_equity(None, Err(State::Null)), Ok(0));
        assert_eq!(previous_equity(None, Err(State::NonFinite)), unreadable);
    }
}

#[cfg(test)]
mod properties {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::float::Floats;
    use crate::pnl::value::Scales;
    use crate::samples;
    use crate::text::Intern;

    const SESSIONS: [i32; 4] = [5, 6, 7, 8];

    /// Quotes of one symbol in cents.
    fn quotes(closes: &[(i32, i64)]) -> Quotes {
        let closes: Vec<_> = closes
            .iter()
            .map(|&(day, close)| ("AAA", day, close))
            .collect();
        let mut symbols = Intern::default();
        symbols.code(b"AAA");
        let prices = samples::prices(&closes, 2);
        Quotes::of(symbols.table(), &prices, None, &SESSIONS, 10)
    }

    fn holding((quantity, entry, held): (i64, i32, i32)) -> Holding {
        Holding {
            position: 0,
            symbol: 0,
            quantity,
            multiplier: if quantity % 3 == 0 { 100 } else { 1 },
            entry: Some(Day(entry)),
            exit: (held < 4).then(|| Day(entry.saturating_add(held))),
            class: if quantity % 5 == 0 {
                Class::Private
            } else {
                Class::Public
            },
            is_stock: true,
            shares: Floats::of_scale(4).nearest(quantity),
            fallback: 1.25,
        }
    }

    proptest! {
        #[test]
        fn every_width_gives_the_same_rows(
            closes in btree_map(0..9i32, -999..=99_999i64, 0..9),
            holdings in vec((-99_999..=99_999i64, 3..=8i32, 0..=4i32), 0..6),
            events in vec((4..=9i32, -999..=999i64), 0..3),
            equity in -999_999..=999_999i64,
            before in proptest::option::of(1..=4i32),
        ) {
            let closes: Vec<_> = closes.into_iter().collect();
            let holdings: Vec<_> = holdings.into_iter().map(holding).collect();
            let mut events: Vec<_> = events.iter().map(|&(day, cents)| (Day(day), cents)).collect();
            events.sort_unstable();
            let flows: Vec<_> = events.iter().map(|&(day, c)| (day, i128::from(c).saturating_neg())).collect();
            let snapshot = before.map(|day| Snapshot {
                day: Day(day),
                equity: Ok(equity),
                cumulative_pnl: Ok(7),
                cumulative_realized: Err(State::Null),
                cumulative_flow: Ok(-9),
                is_complete: true,
            });
            let quotes = quotes(&closes);
            let scales = Scales { close: 2, quantity: 4, realized: 2, flow: 2, ..Scales::default() };
            let portfolio = Portfolio {
                id: PortfolioId(0),
                holdings: &holdings,
                events: &events,
                flows: &flows,
                snapshots: snapshot.as_slice(),
                balance: Ok(equity),
                sessions: &SESSIONS,
                from: 0,
                quotes: &quotes,
                valuer: &Valuer::of(&scales),
                current: None,
                fault: None,
            };
            let narrow = rolled(&portfolio, &mut Sums::<i128>::default()).unwrap();
            let wide = rolled(&portfolio, &mut Sums::<Wide>::default()).unwrap();
            prop_assert_eq!(&narrow, &wide);
            let days = narrow.rows.len().saturating_add(narrow.failures.len());
            prop_assert_eq!(days, 4);
        }

        #[test]
        fn a_plain_return_is_that_of_28_digits(
            pnl in -1_000_000_000_000_000_000..=1_000_000_000_000_000_000i128,
            before in 1..=1_000_000_000_000_000_000_000_000i128,
            divisor in 1..=100_000_000_000_000_000i128,
        ) {
            let before = before.checked_div(divisor).unwrap().max(1);
            if let Some(units) = plain_return(pnl, before) {
                let exact = rounded_return(Wide::of_signed(pnl), Wide::of_signed(before));
                prop_assert_eq!(exact, Some(Wide::of_signed(units)));
            }
        }
    }
}
