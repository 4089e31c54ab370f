//! Closes set by a caller, which replace those of a store.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::fixed::{State, rescaled};
use crate::ids::Day;
use crate::store::{DayIndex, PriceStore};
use crate::text::{Intern, Table};

/// A close with a scale of its own: `mantissa * 10^-scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// Its digits.
    pub mantissa: i64,
    /// Its decimals.
    pub scale: u32,
}

/// Closes by symbol and day; each hides the store's close of its day, and one of 0 says that there
/// is none.
#[derive(Debug, Clone, Default)]
pub struct PriceOverrides {
    closes: HashMap<Vec<u8>, BTreeMap<i32, Close>>,
    scale: u32,
}

/// The closes of a store with the overrides applied, a row each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceRows {
    /// Symbol of each row, a code of `symbols`.
    pub symbol: Vec<u32>,
    /// The symbols as stored.
    pub symbols: Table,
    /// Day of each row.
    pub day: Vec<i32>,
    /// Close of each row, in `scale`.
    pub close: Vec<i64>,
    /// Why a row has no close: 64 bits do not hold it in `scale`.
    pub state: Vec<u8>,
    /// Decimals of the closes.
    pub scale: u32,
}

impl PriceOverrides {
    /// Sets the close of a symbol and day.
    pub fn set(&mut self, symbol: &[u8], day: Day, close: Close) {
        self.scale = self.scale.max(close.scale);
        let closes = self.closes.entry_ref(symbol).or_default();
        closes.insert(day.0, close);
    }

    /// Returns the number of closes set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.closes.values().map(BTreeMap::len).sum()
    }

    /// Returns whether no close is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.closes.is_empty()
    }

    /// Returns the largest number of decimals of the closes of `store` and of these.
    #[must_use]
    pub fn scale_over(&self, store: &PriceStore) -> u32 {
        self.scale.max(store.scale())
    }

    /// Returns the close set on `day`, 0 too.
    #[must_use]
    pub fn on(&self, symbol: &[u8], day: Day) -> Option<Close> {
        self.closes.get(symbol)?.get(&day.0).copied()
    }

    /// Returns the price of a symbol on `day` itself, a close above 0; `days` is the index of
    /// `store`. Source: semantics.md, S2.
    #[must_use]
    pub fn price_on(
        &self,
        store: &PriceStore,
        days: &DayIndex,
        symbol: &[u8],
        day: Day,
    ) -> Option<Close> {
        if let Some(close) = self.on(symbol, day) {
            return (close.mantissa > 0).then_some(close);
        }
        price_on(store, days, symbol, day)
    }

    /// Returns the latest price of a symbol on a day of `[day - lookback_days, day]`, with its own
    /// day. Source: semantics.md, S2, S4.
    #[must_use]
    pub fn price_as_of(
        &self,
        store: &PriceStore,
        symbol: &[u8],
        day: Day,
        lookback_days: u32,
    ) -> Option<(Close, Day)> {
        let own = self.closes.get(symbol);
        let (days, closes) = store.closes_of(symbol);
        let hidden = |day: i32| own.is_some_and(|closes| closes.contains_key(&day));
        let reaches = |found: i32| day.since(Day(found)) <= i64::from(lookback_days);
        let last = days.partition_point(|&d| d <= day.0);
        let stored = days
            .iter()
            .zip(closes)
            .take(last)
            .rev()
            .take_while(|&(&found, _)| reaches(found))
            .find(|&(&found, &close)| close > 0 && !hidden(found))
            .map(|(&found, &mantissa)| (found, mantissa, store.scale()));
        let set = own.and_then(|closes| {
            closes
                .range(..=day.0)
                .rev()
                .take_while(|&(&found, _)| reaches(found))
                .find(|&(_, close)| close.mantissa > 0)
                .map(|(&found, close)| (found, close.mantissa, close.scale))
        });
        let (found, mantissa, scale) = stored.max(set)?;
        Some((Close { mantissa, scale }, Day(found)))
    }

    /// Returns the closes of `store` with the overrides applied, ordered by symbol; a close of 0 is
    /// kept, so that the reader does not look for one elsewhere.
    #[must_use]
    pub fn over(&self, store: &PriceStore) -> PriceRows {
        let mut symbols = Intern::default();
        let mut names: Vec<&[u8]> = self.closes.keys().map(Vec::as_slice).collect();
        names.sort_unstable();
        for name in store.symbols().iter().chain(names) {
            symbols.code(name);
        }
        let symbols = symbols.into_table();
        let scale = self.scale_over(store);
        let most = store.len().saturating_add(self.len());
        let mut columns = PriceRows {
            symbol: Vec::with_capacity(most),
            symbols: Table::default(),
            day: Vec::with_capacity(most),
            close: Vec::with_capacity(most),
            state: Vec::with_capacity(most),
            scale,
        };
        for (code, name) in (0u32..).zip(symbols.iter()) {
            let (days, closes) = store.closes_of(name);
            let own = self.closes.get(name);
            let hidden = |day: i32| own.is_some_and(|closes| closes.contains_key(&day));
            let stored = days
                .iter()
                .zip(closes)
                .filter(|&(&day, _)| !hidden(day))
                .map(|(&day, &close)| (day, close, store.scale()));
            let set = own
                .into_iter()
                .flatten()
                .map(|(&day, close)| (day, close.mantissa, close.scale));
            for (day, mantissa, own) in stored.chain(set) {
                let close = rescaled(mantissa, own, scale);
                columns.symbol.push(code);
                columns.day.push(day);
                columns.close.push(close.unwrap_or_default());
                let state = close.map_or(State::NotRepresentable, |_| State::Value);
                columns.state.push(state.byte());
            }
        }
        columns.symbols = symbols;
        columns
    }

    /// Returns the number of prices of `store` with the overrides applied.
    #[must_use]
    pub fn prices_over(&self, store: &PriceStore) -> usize {
        let each = || {
            let rows = |(symbol, closes)| {
                let closes: &BTreeMap<i32, Close> = closes;
                closes
                    .iter()
                    .map(move |(&day, close)| (symbol, Day(day), close))
            };
            self.closes.iter().flat_map(rows)
        };
        let hidden = each().filter(|&(symbol, day, _)| {
            let close = store.find(symbol).and_then(|id| store.on(id, day));
            close.is_some_and(|close| close > 0)
        });
        let set = each().filter(|(_, _, close)| close.mantissa > 0);
        store
            .prices()
            .saturating_sub(hidden.count())
            .saturating_add(set.count())
    }

    /// Returns the number of distinct days of closes of `store` and of these.
    #[must_use]
    pub fn distinct_days_over(&self, store: &PriceStore) -> usize {
        let mut days = store.distinct_days();
        days.extend(self.closes.values().flat_map(BTreeMap::keys));
        days.sort_unstable();
        days.dedup();
        days.len()
    }

    /// Returns the bytes that the closes take, those of their trees estimated.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let symbols = self.closes.keys().map(Vec::len).sum();
        self.len()
            .saturating_mul(size_of::<(i32, Close)>().saturating_mul(2))
            .saturating_add(symbols)
    }
}

/// Returns the price of a symbol on `day` itself without overrides, see
/// [`PriceOverrides::price_on`].
#[must_use]
pub fn price_on(store: &PriceStore, days: &DayIndex, symbol: &[u8], day: Day) -> Option<Close> {
    let mantissa = days.on(store, store.find(symbol)?, day)?;
    (mantissa > 0).then_some(Close {
        mantissa,
        scale: store.scale(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn close(mantissa: i64, scale: u32) -> Close {
        Close { mantissa, scale }
    }

    #[test]
    fn columns_have_the_larger_scale_and_zeros_that_were_set() {
        let closes = [("A", 1, 10_0000), ("A", 2, 11_0000), ("B", 1, i64::MAX)];
        let store = samples::prices(&closes, 4);
        let mut overrides = PriceOverrides::default();
        overrides.set(b"A", Day(2), close(0, 0));
        overrides.set(b"C", Day(3), close(100_001, 5));
        let columns = overrides.over(&store);
        assert_eq!(columns.scale, 5);
        assert_eq!(columns.symbol, [0, 0, 1, 2]);
        assert!(columns.symbols.iter().eq([b"A", b"B", b"C"]));
        assert_eq!(columns.day, [1, 2, 1, 3]);
        assert_eq!(columns.close, [1_000_000, 0, 0, 100_001]);
        assert_eq!(columns.state, [0, 0, 3, 0]);
        assert_eq!(overrides.prices_over(&store), 3);
        assert_eq!(overrides.distinct_days_over(&store), 3);
    }
}
