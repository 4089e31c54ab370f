//! Exact decimals: 64-bit mantissas with a scale, sums of 128 bits, and the one rounding.
//!
//! | name        | what it is                                                        |
//! |-------------|-------------------------------------------------------------------|
//! | [`State`]   | why a value has no mantissa                                       |
//! | [`rescaled`]| a mantissa at another scale, if that is exact and fits            |
//! | [`half_away`]| a quotient, ties away from zero, as PostgreSQL rounds `numeric`  |
#![warn(clippy::arithmetic_side_effects)]

/// The largest scale whose unit, `10^scale`, fits 64 bits.
pub const MAX_SCALE: u32 = 18;

/// Scale of money: cents.
pub const CENTS: u32 = 2;

/// Why a value has no mantissa, as it travels beside a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// The mantissa is the value.
    Value = 0,
    /// NULL.
    Null = 1,
    /// NaN, an infinity, or an infinite date.
    NonFinite = 2,
    /// More decimals than the column's scale, or too large for 64 bits.
    NotRepresentable = 3,
}

impl State {
    /// Returns the byte that a column of states holds.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Value => 0,
            Self::Null => 1,
            Self::NonFinite => 2,
            Self::NotRepresentable => 3,
        }
    }

    /// Returns the state of a byte, or nothing beyond 3.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Value),
            1 => Some(Self::Null),
            2 => Some(Self::NonFinite),
            3 => Some(Self::NotRepresentable),
            _ => None,
        }
    }
}
