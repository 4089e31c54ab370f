//! Change and price of each symbol on each session, looked up once for all positions.
#![warn(clippy::arithmetic_side_effects)]

use crate::fixed::Sum;
use crate::float::Floats;
use crate::ids::Day;
use crate::store::PriceStore;
use crate::store::price::as_of;
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
            let upper = symbol.to_ascii_uppercase();
            let mut quote = Quote::default();
            for &day in sessions {
                let on = |stored: &Stored<'_>| stored.on(symbol, Day(day));
                let current = cached.as_ref().and_then(on).or_else(|| on(&stored));
                quote.push(current, &stored, &upper, Day(day), lookback_days);
            }
            quote
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

impl<'a> Stored<'a> {
    fn of(store: &'a PriceStore, scale: u32) -> Self {
        let more = scale.saturating_sub(store.scale());
        Self {
            store,
            factor: <i128 as Sum>::power_of_ten(more).unwrap_or(i128::MAX),
            floats: Floats::of_scale(store.scale()),
        }
    }

    fn as_of(&self, symbol: &[u8], day: Day) -> Option<(i64, Day)> {
        let (days, closes) = self.store.closes_of(symbol);
        as_of(days, closes, day)
    }

    /// Returns the close of a day in the common scale.
    fn on(&self, symbol: &[u8], day: Day) -> Option<i128> {
        let (close, found) = self.as_of(symbol, day)?;
        (found == day).then(|| self.scaled(close))
    }

    /// Returns a close in the common scale: no product of 19 digits and 10^18 overflows.
    fn scaled(&self, close: i64) -> i128 {
        i128::from(close).saturating_mul(self.factor)
    }
}

impl Quote {
    /// Appends a session with its close, if there is one, and the closes under the upper-case
    /// spelling.
    fn push(
        &mut self,
        close: Option<i128>,
        stored: &Stored<'_>,
        upper: &[u8],
        day: Day,
        lookback_days: u32,
    ) {
        let previous = stored.as_of(upper, Day(day.0.saturating_sub(1)));
        let previous = previous.filter(|&(_, found)| day.since(found) <= PREVIOUS_CLOSE_DAYS);
        let change = match (close, previous) {
            (Some(close @ 1..), Some((previous, _))) => {
                close.saturating_sub(stored.scaled(previous))
            }
            _ => 0,
        };
        self.most = self.most.max(change.unsigned_abs());
        self.changes.push(change);
        let priced = stored.as_of(upper, day).filter(|&(close, _)| close != 0);
        let (price, age) = priced.map_or((0.0, Age::Unpriced), |(close, found)| {
            let age = match day.since(found) {
                0 => Age::Fresh,
                days if days <= i64::from(lookback_days) => Age::Lookback,
                _ => Age::Stale,
            };
            (stored.floats.nearest(close), age)
        });
        self.prices.push(price);
        self.ages.push(age);
    }
}
