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
