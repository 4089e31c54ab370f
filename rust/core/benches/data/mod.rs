//! Made-up closes, the same in every run.

use std::sync::atomic::AtomicBool;

use batchcore_core::frame::{Days, Decimals, Texts};
use batchcore_core::store::{PriceColumns, PriceStore};
use batchcore_core::text::{Intern, Table};

/// Decimals of closes and quantities.
pub(crate) const SCALE: u32 = 4;

/// 2025-01-01.
pub(crate) const FIRST_DAY: i32 = 20_089;

/// Numbers that look random: a linear congruential generator.
#[derive(Debug, Default)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// A close of every symbol on every day, by day.
pub(crate) struct Closes {
    pub(crate) table: Table,
    pub(crate) codes: Vec<u32>,
    pub(crate) days: Vec<i32>,
    pub(crate) values: Vec<i64>,
    state: Vec<u8>,
}

impl Closes {
    pub(crate) fn of(symbols: u32, days: i32) -> Self {
        let mut intern = Intern::default();
        for number in 0..symbols {
            intern.code(format!("S{number:05}").as_bytes()).unwrap();
        }
        let mut numbers = Numbers::default();
        let every =
            || (FIRST_DAY..FIRST_DAY + days).flat_map(|day| (0..symbols).map(move |s| (s, day)));
        let values: Vec<i64> = every()
            .map(|_| i64::from(numbers.below(500_0000)) + 1_0000)
            .collect();
        Self {
            table: intern.into_table(),
            codes: every().map(|(symbol, _)| symbol).collect(),
            days: every().map(|(_, day)| day).collect(),
            state: vec![0; values.len()],
            values,
        }
    }

    pub(crate) fn columns(&self) -> PriceColumns<'_> {
        PriceColumns {
            symbol: Texts::new("symbol", &self.codes, &self.table, &self.state).unwrap(),
            day: Days::new("day", &self.days, &self.state).unwrap(),
            close: Decimals::new("close", &self.values, &self.state, SCALE).unwrap(),
        }
    }

    pub(crate) fn store(columns: &PriceColumns<'_>) -> PriceStore {
        PriceStore::from_columns(columns, &AtomicBool::new(false)).unwrap()
    }
}
