//! What each symbol earns and is worth on each session, looked up once for all positions.
#![warn(clippy::arithmetic_side_effects)]

use crate::fixed::power_of_ten;
use crate::float::Floats;
use crate::ids::{Day, SymbolId};
use crate::store::PriceStore;
use crate::text::{Index, Table};

/// How many calendar days before a session its previous close may be (L12).
const PREVIOUS_CLOSE_DAYS: i64 = 10;

/// How old the price of a session is, best first: the order of [`crate::pnl::rows::Row::marks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// A close of the session itself.
    Fresh,
    /// At most `lookback_days` days old.
    Lookback,
    /// Older.
    Stale,
    /// There is none.
    Unpriced,
}

/// One symbol, as positions spell it, on the sessions of a run.
#[derive(Debug, Clone, Default)]
pub struct Quote {
    changes: Vec<i128>,
    most: u128,
    prices: Vec<f64>,
    ages: Vec<Age>,
}

/// The quotes of every symbol of a table.
#[derive(Debug)]
pub struct Quotes {
    quotes: Vec<Quote>,
    scale: u32,
}

impl Quote {
    /// Returns what a unit earns on each session: its close less the previous one, 0 without
    /// either (L10, L12).
    #[must_use]
    pub fn changes(&self) -> &[i128] {
        &self.changes
    }

    /// Returns the largest absolute change.
    #[must_use]
    pub fn most(&self) -> u128 {
        self.most
    }

    /// Returns the price of each session in dollars, 0 without one (L26).
    #[must_use]
    pub fn prices(&self) -> &[f64] {
        &self.prices
    }

    /// Returns how old each of them is.
    #[must_use]
    pub fn ages(&self) -> &[Age] {
        &self.ages
    }
}

impl Quotes {
    /// Returns the quotes of `symbols`, spelt as on positions, on `sessions`, ascending.
    ///
    /// `cached` takes the place of the close of a session under the same spelling (L16).
    #[must_use]
    pub fn of(
        symbols: &Table,
        prices: &PriceStore,
        cached: Option<&PriceStore>,
        sessions: &[i32],
        lookback_days: u32,
    ) -> Self {
        let scale = cached.map_or(0, PriceStore::scale).max(prices.scale());
        let stored = Stored::of(prices, scale);
        let laid = cached.map(|cached| Stored::of(cached, scale));
        let quote = |symbol: &[u8]| {
            let exact = stored.series(symbol);
            let upper = stored.series(&symbol.to_ascii_uppercase());
            let laid = laid.as_ref().map(|laid| laid.series(symbol));
            quoted(sessions, exact, upper, laid, lookback_days)
        };
        Self {
            quotes: symbols.iter().map(quote).collect(),
            scale,
        }
    }

    /// Returns the quote of a symbol by its code.
    #[must_use]
    pub fn get(&self, code: usize) -> Option<&Quote> {
        self.quotes.get(code)
    }

    /// Returns the decimals of changes.
    #[must_use]
    pub fn scale(&self) -> u32 {
        self.scale
    }
}

/// A price store with an index of its symbols, its closes brought to one scale.
struct Stored<'a> {
    store: &'a PriceStore,
    index: Index,
    factor: i128,
    floats: Floats,
}

/// The closes of one symbol, read forward.
struct Series<'a> {
    days: &'a [i32],
    closes: &'a [i64],
    factor: i128,
    floats: Floats,
    /// How many days are not after the day last asked for.
    passed: usize,
}

impl<'a> Stored<'a> {
    fn of(store: &'a PriceStore, scale: u32) -> Self {
        let factor = power_of_ten(scale.saturating_sub(store.scale()));
        Self {
            store,
            index: Index::of(store.symbols()),
            factor: factor
                .and_then(|factor| i128::try_from(factor).ok())
                .unwrap_or(i128::MAX),
            floats: Floats::of_scale(store.scale()),
        }
    }

    fn series(&self, symbol: &[u8]) -> Series<'a> {
        let code = self.index.find(self.store.symbols(), symbol);
        let (days, closes) =
            code.map_or_else(Default::default, |code| self.store.closes(SymbolId(code)));
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
    /// Goes on to `day`, which is not before the last one.
    fn pass(&mut self, day: i32) {
        let rest = self.days.get(self.passed..).unwrap_or_default();
        let more = rest.iter().take_while(|&&d| d <= day).count();
        self.passed = self.passed.saturating_add(more);
    }

    /// Returns the latest row up to the day that is passed, or the one before it.
    fn latest(&self, skipped: usize) -> Option<(i32, i64)> {
        let at = self.passed.checked_sub(skipped)?.checked_sub(1)?;
        Some((*self.days.get(at)?, *self.closes.get(at)?))
    }

    fn on(&self, day: i32) -> Option<i64> {
        self.latest(0)
            .filter(|&(d, _)| d == day)
            .map(|(_, close)| close)
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
    mut laid: Option<Series<'_>>,
    lookback_days: u32,
) -> Quote {
    let mut quote = Quote::default();
    for &day in sessions {
        exact.pass(day);
        upper.pass(day);
        let stored = || exact.on(day).map(|close| exact.scaled(close));
        let current = match &mut laid {
            Some(laid) => {
                laid.pass(day);
                let cached = laid.on(day).map(|close| laid.scaled(close));
                cached.or_else(stored)
            }
            None => stored(),
        };
        let previous = upper.before(day).and_then(|(found, close)| {
            (Day(day).since(Day(found)) <= PREVIOUS_CLOSE_DAYS).then(|| upper.scaled(close))
        });
        let change = match (current, previous) {
            (Some(current), Some(previous)) if current > 0 => current.saturating_sub(previous),
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
                (upper.floats.nearest_of(close), age)
            }
            _ => (0.0, Age::Unpriced),
        };
        quote.prices.push(price);
        quote.ages.push(age);
    }
    quote
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Days, Decimals, Texts};
    use crate::text::Intern;

    /// Closes in cents: symbol, day, mantissa.
    fn store(closes: &[(&str, i32, i64)], scale: u32) -> PriceStore {
        let mut symbols = Intern::default();
        let code = |&(symbol, ..): &(&str, i32, i64)| symbols.code(symbol.as_bytes()).unwrap();
        let codes: Vec<u32> = closes.iter().map(code).collect();
        let days: Vec<i32> = closes.iter().map(|&(_, day, _)| day).collect();
        let values: Vec<i64> = closes.iter().map(|&(.., close)| close).collect();
        let state = vec![0; closes.len()];
        PriceStore::from_columns(
            &Texts::new("symbol", &codes, symbols.table(), &state).unwrap(),
            &Days::new("day", &days, &state).unwrap(),
            &Decimals::new("close", &values, &state, scale).unwrap(),
        )
        .unwrap()
    }

    fn quote(symbol: &str, prices: &PriceStore, cached: Option<&PriceStore>) -> Quote {
        let mut symbols = Intern::default();
        symbols.code(symbol.as_bytes());
        let sessions = [20, 21, 31];
        let mut quotes = Quotes::of(symbols.table(), prices, cached, &sessions, 3);
        assert_eq!(
            quotes.scale(),
            prices.scale().max(cached.map_or(0, PriceStore::scale))
        );
        quotes.quotes.remove(0)
    }

    #[test]
    fn a_unit_earns_what_the_close_of_the_day_is_above_the_previous_one() {
        let prices = store(
            &[
                ("A", 10, 100),
                ("A", 20, 130),
                ("A", 21, 120),
                ("A", 31, 90),
            ],
            2,
        );
        let quote = quote("A", &prices, None);
        // day 20 looks 10 days back, day 31 finds day 21
        assert_eq!(quote.changes(), [30, -10, -30]);
        assert_eq!(quote.most(), 30);
        let prices = store(&[("A", 9, 100), ("A", 20, 130), ("A", 31, 90)], 2);
        assert_eq!(quote_of(&prices).changes(), [0, 0, 0]);
    }

    fn quote_of(prices: &PriceStore) -> Quote {
        quote("A", prices, None)
    }

    #[test]
    fn a_previous_close_counts_whatever_it_is_and_a_current_one_above_0() {
        let prices = store(
            &[("A", 19, -5), ("A", 20, 10), ("A", 21, 0), ("A", 31, 7)],
            2,
        );
        assert_eq!(quote_of(&prices).changes(), [15, 0, 7]);
    }

    #[test]
    fn the_two_closes_treat_letters_differently() {
        let prices = store(
            &[("a", 19, 1), ("A", 19, 10), ("a", 20, 13), ("A", 20, 99)],
            2,
        );
        let quote = quote("a", &prices, None);
        assert_eq!(quote.changes(), [3, 0, 0]);
        assert_eq!(quote.prices(), [0.99, 0.99, 0.99]);
        assert_eq!(quote.ages(), [Age::Fresh, Age::Lookback, Age::Stale]);
    }

    #[test]
    fn a_price_of_0_is_none_whatever_came_before() {
        let prices = store(&[("A", 19, 10), ("A", 20, 0), ("A", 21, -10)], 2);
        let quote = quote_of(&prices);
        assert_eq!(quote.prices(), [0.0, -0.1, -0.1]);
        assert_eq!(quote.ages(), [Age::Unpriced, Age::Fresh, Age::Stale]);
    }

    #[test]
    fn a_cached_price_takes_the_place_of_the_current_close_alone() {
        let prices = store(
            &[("A", 19, 10), ("A", 20, 13), ("A", 21, 14), ("A", 31, 15)],
            2,
        );
        let cached = store(&[("A", 20, 125), ("A", 21, 0)], 3);
        let quote = quote("A", &prices, Some(&cached));
        // 0.125 - 0.10, none, 0.15 - 0.14
        assert_eq!(quote.changes(), [25, 0, 10]);
        assert_eq!(quote.prices(), [0.13, 0.14, 0.15]);
    }
}
