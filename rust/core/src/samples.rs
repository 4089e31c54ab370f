//! Stores of a few rows, for tests.

use core::sync::atomic::AtomicBool;

use crate::frame::{Days, Decimals, Texts};
use crate::store::{PriceColumns, PriceStore};
use crate::text::Intern;

/// Closes of a scale: symbol as stored, day, mantissa.
pub(crate) fn prices(closes: &[(&str, i32, i64)], scale: u32) -> PriceStore {
    let mut symbols = Intern::default();
    let code = |&(symbol, ..): &(&str, i32, i64)| symbols.code(symbol.as_bytes()).unwrap();
    let codes: Vec<u32> = closes.iter().map(code).collect();
    let days: Vec<i32> = closes.iter().map(|&(_, day, _)| day).collect();
    let values: Vec<i64> = closes.iter().map(|&(.., close)| close).collect();
    let state = vec![0; closes.len()];
    let columns = PriceColumns {
        symbol: Texts::new("prices.symbol", &codes, symbols.table(), &state).unwrap(),
        day: Days::new("prices.day", &days, &state).unwrap(),
        close: Decimals::new("prices.close", &values, &state, scale).unwrap(),
    };
    PriceStore::from_columns(&columns, &AtomicBool::new(false)).unwrap()
}
