//! The two widths in which a portfolio is summed: 128 bits for almost all, [`Wide`] for the rest.

use crate::fixed::{Sum, Wide};

/// A [`Sum`] that also adds up values of any number of decimals.
pub trait Ledger: Sum {
    /// Decimals to which values of positions are added up.
    ///
    /// The shortest text of a float of at least 10^-8 has no more than 24; beyond that, and beyond
    /// 1.7 * 10^14 dollars, the wider one is needed. No value that 64-bit mantissas make has more
    /// than 60 decimals.
    const VALUE_SCALE: i32;
    /// Returns an integer of 128 bits.
    fn of_signed(value: i128) -> Self;
    /// Returns the value as 128 bits, if they hold it.
    fn signed(self) -> Option<i128>;
    /// Returns the value as the widest one.
    fn wide(self) -> Wide;
    /// Returns `10^exponent`, if there is room for it.
    fn power_of_ten(exponent: u32) -> Option<Self>;
    /// Returns `self * other`, if there is room for it.
    fn try_times(self, other: Self) -> Option<Self>;
    /// Returns `self + other`, if there is room for it.
    fn try_plus(self, other: Self) -> Option<Self>;
    /// Returns `self - other`, if there is room for it.
    fn try_minus(self, other: Self) -> Option<Self>;
}

macro_rules! checked {
    () => {
        fn power_of_ten(exponent: u32) -> Option<Self> {
            Self::of(10).checked_pow(exponent)
        }
        fn try_times(self, other: Self) -> Option<Self> {
            self.checked_mul(other)
        }
        fn try_plus(self, other: Self) -> Option<Self> {
            self.checked_add(other)
        }
        fn try_minus(self, other: Self) -> Option<Self> {
            self.checked_sub(other)
        }
    };
}

impl Ledger for i128 {
    const VALUE_SCALE: i32 = 24;
    fn of_signed(value: i128) -> Self {
        value
    }
    fn signed(self) -> Option<i128> {
        Some(self)
    }
    fn wide(self) -> Wide {
        Wide::of_signed(self)
    }
    checked!();
}

impl Ledger for Wide {
    const VALUE_SCALE: i32 = 60;
    fn of_signed(value: i128) -> Self {
        Self::try_from(value).unwrap_or(Self::MAX)
    }
    fn signed(self) -> Option<i128> {
        i128::try_from(self).ok()
    }
    fn wide(self) -> Wide {
        self
    }
    checked!();
}
