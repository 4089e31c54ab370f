//! Integers that must not be mixed up: days, symbols, portfolios.

use core::fmt;

/// Days since 1970-01-01; PostgreSQL's epoch, 2000-01-01, is day 10957.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

impl Day {
    /// Day of PostgreSQL's epoch, 2000-01-01.
    pub const POSTGRES_EPOCH: i32 = 10957;

    /// Returns the whole days from `earlier` to `self`; negative if `earlier` is later.
    pub fn since(self, earlier: Self) -> i64 {
        i64::from(self.0) - i64::from(earlier.0)
    }
}

/// The ISO date, of the proleptic Gregorian calendar.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // years begin in March, so that a leap day ends one; 146097 days are 400 of them
        let day = i64::from(self.0).saturating_add(719_468);
        let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
        let leap_days = of_era / 1460 - of_era / 36_524 + of_era / 146_096;
        let year = (of_era - leap_days) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let march_based = (5 * of_year + 2) / 153;
        let of_month = of_year - (153 * march_based + 2) / 5 + 1;
        let (month, later) = if march_based < 10 {
            (march_based + 3, 0)
        } else {
            (march_based - 9, 1)
        };
        let year = year + era * 400 + later;
        write!(f, "{year:04}-{month:02}-{of_month:02}")
    }
}

/// Row of a symbol in the table it was interned in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SymbolId(pub u32);

/// Row of a portfolio in the frame that selects the portfolios of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortfolioId(pub u32);

impl PortfolioId {
    /// Returns the id of the portfolio in a row of the frame.
    pub fn of_row(row: usize) -> Self {
        Self(u32::try_from(row).unwrap_or(u32::MAX))
    }
}

/// The 16 bytes of a `uuid`.
pub type Uuid = [u8; 16];
