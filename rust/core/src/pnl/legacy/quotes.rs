//! Change and price of each symbol on each session, looked up once for all positions.
#![warn(clippy::arithmetic_side_effects)]

use crate::fixed::Sum;
use crate::float::Floats;
use crate::ids::Day;
use crate::store::PriceStore;
use crate::text::Table;

/// How many calendar days before a session its previous close may be (L12).
pub(crate) const PREVIOUS_CLOSE_DAYS: i64 = 10;

/// How old the price of a session is, best first: the order of [`crate::pnl::columns::Row::marks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    /// A close of the session itself.
    Fresh,
    /// At most `lookback_days` days old.
    Lookback,
    /// Older.
    Stale,
    /// There is none.
    Unpriced,
}

/// One symbol, as positions spell it: a value for each session of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Quote {
    /// Change of a unit: the close less the previous one, 0 without either (L10, L12).
    pub(crate) changes: Vec<i128>,
    /// The largest absolute change.
    pub(crate) most: u128,
    /// The price in dollars, 0 without one (L26).
    pub(crate) prices: Vec<f64>,
    /// Age of each price.
    pub(crate) ages: Vec<Age>,
}

/// The quotes of every symbol of a table.
#[derive(Debug)]
pub(crate) struct Quotes {
    quotes: Vec<Quote>,
    scale: u32,
}

impl Quotes {
    /// Returns the quotes of `symbols`, spelt as on positions, on `sessions`, ascending.
    ///
    /// `cached` prices replace the close of a session under the same spelling (L16).
    pub(crate) fn of(
        symbols: &Table,
        prices: &PriceStore,
        cached: Option<&PriceStore>,
        sessions: &[i32],
        lookback_days: u32,
    ) -> Self {
        let scale = cached.map_or(0, PriceStore::scale).max(prices.scale());
        let stored = Stored::of(prices, scale);
        let cached = cached.map(|cached| Stored::of(cached, scale));
        let quote = |symbol: &[u8]| {
            let exact = stored.series(symbol);
            let upper = stored.series(&symbol.to_ascii_uppercase());
            let cached = cached.as_ref().map(|cached| cached.series(symbol));
            quoted(sessions, exact, upper, cached, lookback_days)
        };
        Self {
            quotes: symbols.iter().map(quote).collect(),
            scale,
        }
    }

    /// Returns the quote of a symbol by its code.
    pub(crate) fn get(&self, code: usize) -> Option<&Quote> {
        self.quotes.get(code)
    }

    /// Returns the decimals of changes.
    pub(crate) fn scale(&self) -> u32 {
        self.scale
    }
}

/// A price store whose closes are converted to one scale.
struct Stored<'a> {
    store: &'a PriceStore,
    factor: i128,
    floats: Floats,
}

/// The closes of one symbol, read forward.
struct Series<'a> {
    days: &'a [i32],
    closes: &'a [i64],
    factor: i128,
    floats: Floats,
    /// Number of days up to the one last asked for.
    passed: usize,
}

impl<'a> Stored<'a> {
    fn of(store: &'a PriceStore, scale: u32) -> Self {
        let more = scale.saturating_sub(store.scale());
        Self {
            store,
            factor: <i128 as Sum>::power_of_ten(more).unwrap_or(i128::MAX),
            floats: Floats::of_scale(store.scale()),
        }
    }

    fn series(&self, symbol: &[u8]) -> Series<'a> {
        let (days, closes) = self.store.closes_of(symbol);
        Series {
            days,
            closes,
            factor: self.factor,
            floats: self.floats,
            passed: 0,
        }
    }
}

impl Series<'_> {
    /// Advances to `day`, which is not before the last one.
    fn pass(&mut self, day: i32) {
        let rest = self.days.get(self.passed..).unwrap_or_default();
        let more = rest.iter().take_while(|&&d| d <= day).count();
        self.passed = self.passed.saturating_add(more);
    }

    /// Returns the latest row up to the day reached, or the one before it.
    fn latest(&self, skipped: usize) -> Option<(i32, i64)> {
        let at = self.passed.checked_sub(skipped)?.checked_sub(1)?;
        Some((*self.days.get(at)?, *self.closes.get(at)?))
    }

    fn on(&self, day: i32) -> Option<i64> {
        let (found, close) = self.latest(0)?;
        (found == day).then_some(close)
    }

    fn before(&self, day: i32) -> Option<(i32, i64)> {
        self.latest(usize::from(self.on(day).is_some()))
    }

    /// Returns a close in the common scale: no product of 19 digits and 10^18 overflows.
    fn scaled(&self, close: i64) -> i128 {
        i128::from(close).saturating_mul(self.factor)
    }
}

fn quoted(
    sessions: &[i32],
    mut exact: Series<'_>,
    mut upper: Series<'_>,
    mut cached: Option<Series<'_>>,
    lookback_days: u32,
) -> Quote {
    let mut quote = Quote::default();
    for &day in sessions {
        exact.pass(day);
        upper.pass(day);
        if let Some(cached) = &mut cached {
            cached.pass(day);
        }
        let close = |series: &Series<'_>| series.on(day).map(|close| series.scaled(close));
        let current = cached.as_ref().and_then(close).or_else(|| close(&exact));
        let recent = |found| Day(day).since(Day(found)) <= PREVIOUS_CLOSE_DAYS;
        let previous = upper.before(day).filter(|&(found, _)| recent(found));
        let change = match (current, previous) {
            (Some(current @ 1..), Some((_, previous))) => {
                current.saturating_sub(upper.scaled(previous))
            }
            _ => 0,
        };
        quote.most = quote.most.max(change.unsigned_abs());
        quote.changes.push(change);
        let (price, age) = match upper.latest(0) {
            Some((found, close)) if close != 0 => {
                let age = match Day(day).since(Day(found)) {
                    0 => Age::Fresh,
                    days if days <= i64::from(lookback_days) => Age::Lookback,
                    _ => Age::Stale,
                };
                (upper.floats.nearest(close), age)
            }
            _ => (0.0, Age::Unpriced),
        };
        quote.prices.push(price);
        quote.ages.push(age);
    }
    quote
}
