//! Integers that must not be mixed up: days, symbols, portfolios.

/// Days since 1970-01-01; PostgreSQL's epoch, 2000-01-01, is day 10957.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

impl Day {
    /// Day of PostgreSQL's epoch, 2000-01-01.
    pub const POSTGRES_EPOCH: i32 = 10957;

    /// Returns the whole days from `earlier` to `self`; negative if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        i64::from(self.0) - i64::from(earlier.0)
    }
}

/// Returns a day as its ISO date.
///
/// Source: Hinnant, `chrono`-Compatible Low-Level Date Algorithms (2013), `civil_from_days`.
#[must_use]
pub fn iso_date(day: Day) -> String {
    let days = i64::from(day.0) + 719_468; // since 0000-03-01
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 {
        (year + era * 400, month + 3)
    } else {
        (year + era * 400 + 1, month - 9)
    };
    format!("{year:04}-{month:02}-{date:02}")
}

/// Row of a symbol in the table it was interned in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SymbolId(pub u32);

/// Row of a portfolio in the frame that selects the portfolios of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortfolioId(pub u32);

impl PortfolioId {
    /// Returns the id of the portfolio in a row of the frame.
    #[must_use]
    pub fn of_row(row: usize) -> Self {
        Self(u32::try_from(row).unwrap_or(u32::MAX))
    }
}

/// The 16 bytes of a `uuid`.
pub type Uuid = [u8; 16];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates_of_the_calendar() {
        for (day, date) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_453, "2025-12-31"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(iso_date(Day(day)), date);
        }
    }
}
