//! Closes that a caller sets, laid over those of a store.

use std::collections::BTreeMap;

use crate::fixed::{State, rescaled};
use crate::frame::index;
use crate::ids::Day;
use crate::store::{DayIndex, PriceStore};
use crate::text::{Intern, Table};

/// A close of its own scale: `mantissa * 10^-scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// Its digits.
    pub mantissa: i64,
    /// Its decimals.
    pub scale: u32,
}

/// Closes by symbol and day; each hides the store's close of its day, and one of 0 says that
/// there is none.
#[derive(Debug, Clone, Default)]
pub struct Laid {
    symbols: Intern,
    closes: Vec<BTreeMap<i32, Close>>,
    scale: u32,
    count: usize,
}

/// The closes of a store with those laid over it, a row each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceColumns {
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

impl Laid {
    /// Lays a close over that of the same symbol and day.
    pub fn set(&mut self, symbol: &[u8], day: Day, close: Close) {
        let Some(code) = self.symbols.code(symbol) else {
            return;
        };
        let at = index(code);
        if self.closes.len() <= at {
            self.closes.resize_with(at.saturating_add(1), BTreeMap::new);
        }
        let Some(closes) = self.closes.get_mut(at) else {
            return;
        };
        self.scale = self.scale.max(close.scale);
        if closes.insert(day.0, close).is_none() {
            self.count = self.count.saturating_add(1);
        }
    }

    /// Returns the number of closes laid.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Returns whether no close is laid.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the decimals that hold every close of `store` and of these.
    #[must_use]
    pub fn scale_over(&self, store: &PriceStore) -> u32 {
        self.scale.max(store.scale())
    }

    /// Returns the close laid on `day`, 0 too.
    #[must_use]
    pub fn on(&self, symbol: &[u8], day: Day) -> Option<Close> {
        self.of(symbol)?.get(&day.0).copied()
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

    /// Returns the latest price of a symbol on a day of `[day - lookback_days, day]`, with its
    /// own day. Source: semantics.md, S2, S4.
    #[must_use]
    pub fn price_as_of(
        &self,
        store: &PriceStore,
        symbol: &[u8],
        day: Day,
        lookback_days: u32,
    ) -> Option<(Close, Day)> {
        let laid = self.of(symbol);
        let (days, closes) = store
            .find(symbol)
            .map(|id| store.closes(id))
            .unwrap_or_default();
        let hidden = |day: i32| laid.is_some_and(|closes| closes.contains_key(&day));
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
        let set = laid.and_then(|closes| {
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

    /// Returns the closes of `store` with these in their place, 0 for none too, ordered by
    /// symbol: whom they are handed to must not ask for such a one elsewhere.
    #[must_use]
    pub fn over(&self, store: &PriceStore) -> PriceColumns {
        let mut symbols = Intern::default();
        for name in store.symbols().iter().chain(self.symbols.table().iter()) {
            symbols.code(name);
        }
        let symbols = symbols.into_table();
        let scale = self.scale_over(store);
        let most = store.len().saturating_add(self.count);
        let mut columns = PriceColumns {
            symbol: Vec::with_capacity(most),
            symbols: Table::default(),
            day: Vec::with_capacity(most),
            close: Vec::with_capacity(most),
            state: Vec::with_capacity(most),
            scale,
        };
        for (code, name) in (0u32..).zip(symbols.iter()) {
            let (days, closes) = store
                .find(name)
                .map(|id| store.closes(id))
                .unwrap_or_default();
            let laid = self.of(name);
            let hidden = |day: i32| laid.is_some_and(|closes| closes.contains_key(&day));
            let stored = days
                .iter()
                .zip(closes)
                .filter(|&(&day, _)| !hidden(day))
                .map(|(&day, &close)| (day, close, store.scale()));
            let set = laid
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

    /// Returns the number of prices of `store` with these in their place.
    #[must_use]
    pub fn prices_over(&self, store: &PriceStore) -> usize {
        let each = || {
            self.symbols.table().iter().zip(&self.closes).flat_map(
                |(symbol, closes): (&[u8], &BTreeMap<i32, Close>)| {
                    closes
                        .iter()
                        .map(move |(&day, close)| (symbol, Day(day), close))
                },
            )
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
        days.extend(self.closes.iter().flat_map(BTreeMap::keys));
        days.sort_unstable();
        days.dedup();
        days.len()
    }

    /// Returns the bytes that the closes take, those of their trees estimated.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.count
            .saturating_mul(size_of::<(i32, Close)>().saturating_mul(2))
            .saturating_add(self.symbols.table().size_bytes())
    }

    fn of(&self, symbol: &[u8]) -> Option<&BTreeMap<i32, Close>> {
        if self.is_empty() {
            return None;
        }
        self.closes.get(index(self.symbols.find(symbol)?))
    }
}

/// Returns the price of a symbol on `day` itself with nothing laid over it, see
/// [`Laid::price_on`].
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
    use crate::frame::{Days, Decimals, Texts};

    const DAY: Day = Day(20_000);

    fn store(rows: &[(&str, i32, i64)]) -> PriceStore {
        let mut intern = Intern::default();
        let codes: Vec<u32> = rows
            .iter()
            .map(|row| intern.code(row.0.as_bytes()).unwrap())
            .collect();
        let days: Vec<i32> = rows.iter().map(|row| row.1).collect();
        let closes: Vec<i64> = rows.iter().map(|row| row.2).collect();
        let state = vec![0; rows.len()];
        PriceStore::from_columns(
            &Texts::new("prices.symbol", &codes, intern.table(), &state).unwrap(),
            &Days::new("prices.day", &days, &state).unwrap(),
            &Decimals::new("prices.close", &closes, &state, 4).unwrap(),
        )
        .unwrap()
    }

    fn close(mantissa: i64, scale: u32) -> Close {
        Close { mantissa, scale }
    }

    fn days_before(days: i32) -> Day {
        Day(DAY.0 - days)
    }

    #[test]
    fn a_close_not_above_zero_is_no_price() {
        let store = store(&[("A", DAY.0, 0), ("B", DAY.0, -1), ("C", DAY.0, 1)]);
        let (laid, days) = (Laid::default(), DayIndex::of(&store));
        let prices =
            [b"A", b"B", b"C", b"D"].map(|symbol| laid.price_on(&store, &days, symbol, DAY));
        assert_eq!(prices, [None, None, Some(close(1, 4)), None]);
    }

    #[test]
    fn lookback_reaches_its_last_day_and_not_one_more() {
        let store = store(&[("A", days_before(10).0, 5)]);
        let laid = Laid::default();
        let found = Some((close(5, 4), days_before(10)));
        assert_eq!(laid.price_as_of(&store, b"A", DAY, 10), found);
        assert_eq!(laid.price_as_of(&store, b"A", DAY, 9), None);
        assert_eq!(laid.price_as_of(&store, b"A", days_before(11), 10), None);
        assert_eq!(laid.price_as_of(&store, b"B", DAY, 10), None);
    }

    #[test]
    fn lookback_skips_what_is_no_price() {
        let store = store(&[
            ("A", days_before(3).0, 7),
            ("A", days_before(2).0, 0),
            ("A", days_before(1).0, -4),
        ]);
        let laid = Laid::default();
        let found = Some((close(7, 4), days_before(3)));
        assert_eq!(laid.price_as_of(&store, b"A", DAY, 10), found);
    }

    #[test]
    fn a_close_laid_hides_the_one_below_it() {
        let store = store(&[("A", days_before(1).0, 7), ("A", DAY.0, 8)]);
        let days = DayIndex::of(&store);
        let mut laid = Laid::default();
        laid.set(b"A", DAY, close(0, 0));
        assert_eq!(laid.price_on(&store, &days, b"A", DAY), None);
        assert_eq!(
            laid.price_as_of(&store, b"A", DAY, 10),
            Some((close(7, 4), days_before(1)))
        );
        laid.set(b"A", DAY, close(125, 1));
        assert_eq!(laid.price_on(&store, &days, b"A", DAY), Some(close(125, 1)));
        assert_eq!(
            laid.price_as_of(&store, b"A", DAY, 10),
            Some((close(125, 1), DAY))
        );
        assert_eq!(laid.len(), 1);
    }

    #[test]
    fn a_symbol_that_the_store_lacks_has_what_is_laid() {
        let store = store(&[]);
        let mut laid = Laid::default();
        laid.set(b"N", days_before(2), close(3, 0));
        assert_eq!(
            laid.price_as_of(&store, b"N", DAY, 2),
            Some((close(3, 0), days_before(2)))
        );
        assert_eq!(laid.price_as_of(&store, b"N", DAY, 1), None);
    }

    #[test]
    fn columns_have_the_larger_scale_and_zeros_that_were_laid() {
        let store = store(&[("A", 1, 10_0000), ("A", 2, 11_0000), ("B", 1, i64::MAX)]);
        let mut laid = Laid::default();
        laid.set(b"A", Day(2), close(0, 0));
        laid.set(b"C", Day(3), close(100_001, 5));
        let columns = laid.over(&store);
        assert_eq!(columns.scale, 5);
        assert_eq!(columns.symbol, [0, 0, 1, 2]);
        assert_eq!(
            columns.symbols.iter().collect::<Vec<_>>(),
            [b"A", b"B", b"C"]
        );
        assert_eq!(columns.day, [1, 2, 1, 3]);
        assert_eq!(columns.close, [1_000_000, 0, 0, 100_001]);
        assert_eq!(columns.state, [0, 0, 3, 0]);
        assert_eq!(laid.prices_over(&store), 3);
        assert_eq!(laid.distinct_days_over(&store), 3);
    }
}
