//! Exact decimals: 64-bit mantissas with a scale, sums of 128 bits, and the one rounding.
//!
//! | name        | what it is                                                        |
//! |-------------|-------------------------------------------------------------------|
//! | [`State`]   | why a value has no mantissa                                       |
//! | [`rescaled`]| a mantissa at another scale, if that is exact and fits            |
//! | [`half_away`]| a quotient, ties away from zero, as PostgreSQL rounds `numeric`  |
#![warn(clippy::arithmetic_side_effects)]

use core::cmp::Ordering;

/// The largest scale whose unit, `10^scale`, fits 64 bits.
pub const MAX_SCALE: u32 = 18;

/// Scale of money: cents.
pub const CENTS: u32 = 2;

/// Why a value has no mantissa: the byte that accompanies each row of a column.
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
    /// Returns the byte of a column of states.
    pub fn byte(self) -> u8 {
        match self {
            Self::Value => 0,
            Self::Null => 1,
            Self::NonFinite => 2,
            Self::NotRepresentable => 3,
        }
    }

    /// Returns the state of a byte, or nothing beyond 3.
    pub fn from_byte(byte: u8) -> Option<Self> {
        use State::{NonFinite, NotRepresentable, Null, Value};
        let all = [Value, Null, NonFinite, NotRepresentable];
        all.get(usize::from(byte)).copied()
    }
}

/// Sums that no input can overflow: 2^32 products of two 64-bit mantissas, a multiplier and a
/// rescaling by 10^36 stay below 2^286.
pub type Wide = bnum::types::I512;

/// Returns `10^exponent`, or nothing beyond 10^38.
pub fn power_of_ten(exponent: u32) -> Option<u128> {
    10u128.checked_pow(exponent)
}

/// Returns the mantissa of the same value at scale `to`, or nothing if decimals would be lost or it
/// does not fit 64 bits.
pub fn rescaled(mantissa: i64, from: u32, to: u32) -> Option<i64> {
    if let Some(more) = to.checked_sub(from) {
        return mantissa.checked_mul(10i64.checked_pow(more)?);
    }
    let factor = 10i64.checked_pow(from.checked_sub(to)?)?;
    let (quotient, rest) = (mantissa.checked_div(factor)?, mantissa.checked_rem(factor)?);
    (rest == 0).then_some(quotient)
}

/// Returns `numerator / divisor` rounded half away from zero; nothing if the divisor is not above
/// 0. Source: semantics.md, `r2` and `r6`.
pub fn half_away(numerator: i128, divisor: i128) -> Option<i128> {
    if divisor <= 0 {
        return None;
    }
    // a division of 64 bits takes a fraction of the time of one of 128
    if let (Ok(numerator), Ok(divisor)) = (i64::try_from(numerator), i64::try_from(divisor)) {
        return Some(i128::from(numerator.rounded(divisor)));
    }
    Some(numerator.rounded(divisor))
}

/// An integer wide enough for the sums of one portfolio.
///
/// The inputs of a portfolio prove which one it needs before it is summed ([`Width::of`]), so that
/// no operation here has to check: `i64` for almost all, `i128` and [`Wide`] for the rest.
pub trait Sum: Copy + Default + PartialOrd {
    /// 0.
    const ZERO: Self;
    /// Decimals to which values of positions are added up (L29).
    ///
    /// The shortest text of a float of at least 10^-8 has no more than 24; beyond that, and beyond
    /// 1.7 * 10^14 dollars, [`Wide`] is needed. No value that 64-bit mantissas make has more than
    /// 60 decimals.
    const VALUE_SCALE: i32;
    /// Returns the value, clamped to 64 bits.
    fn clamped(self) -> i64;
    /// Returns an integer of 64 bits.
    fn of(value: i64) -> Self;
    /// Returns an integer of 128 bits.
    fn of_signed(value: i128) -> Self;
    /// Returns a factor to a common scale.
    fn of_factor(value: u128) -> Self {
        Self::of_signed(i128::try_from(value).unwrap_or(i128::MAX))
    }
    /// Returns `self + other`.
    fn plus(self, other: Self) -> Self;
    /// Returns `self - other`.
    fn minus(self, other: Self) -> Self;
    /// Returns `self * other`.
    fn times(self, other: Self) -> Self;
    /// Returns `self / divisor` rounded half away from zero, for a divisor above 0.
    fn rounded(self, divisor: Self) -> Self;
    /// Returns `self / divisor` rounded to nearest, ties to even, for a divisor above 0.
    fn rounded_even(self, divisor: Self) -> Self;
    /// Returns the value if it fits 64 bits.
    fn narrow(self) -> Option<i64>;
    /// Returns the value if it fits 128 bits.
    fn signed(self) -> Option<i128>;
    /// Returns the value as the widest integer.
    fn wide(self) -> Wide;
    /// Returns `10^exponent`, if it fits.
    fn power_of_ten(exponent: u32) -> Option<Self>;
    /// Returns `self * other`, if it fits.
    fn try_times(self, other: Self) -> Option<Self>;
    /// Returns `self + other`, if it fits.
    fn try_plus(self, other: Self) -> Option<Self>;
    /// Returns `self - other`, if it fits.
    fn try_minus(self, other: Self) -> Option<Self>;
    /// Returns the digits, with a sign if negative.
    fn digits(self) -> String;
}

macro_rules! sum {
    ($type:ident, $zero:expr, $value_scale:literal, $of:expr, $of_signed:expr, $clamped:expr) => {
        impl Sum for $type {
            const ZERO: Self = $zero;
            const VALUE_SCALE: i32 = $value_scale;
            fn clamped(self) -> i64 {
                $clamped(self)
            }
            fn of(value: i64) -> Self {
                $of(value)
            }
            fn of_signed(value: i128) -> Self {
                $of_signed(value)
            }
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            fn times(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            fn rounded(self, divisor: Self) -> Self {
                let quotient = self.checked_div(divisor).unwrap_or(<Self as Sum>::ZERO);
                let rest = self.wrapping_sub(quotient.wrapping_mul(divisor));
                let rest = rest.wrapping_abs();
                if rest < divisor.wrapping_sub(rest) {
                    quotient
                } else {
                    quotient.wrapping_add(self.signum())
                }
            }
            fn rounded_even(self, divisor: Self) -> Self {
                let quotient = self.checked_div(divisor).unwrap_or(<Self as Sum>::ZERO);
                let rest = self.wrapping_sub(quotient.wrapping_mul(divisor));
                let rest = rest.wrapping_abs();
                let is_even = quotient.trailing_zeros() > 0;
                match rest.cmp(&divisor.wrapping_sub(rest)) {
                    Ordering::Less => quotient,
                    Ordering::Equal if is_even => quotient,
                    Ordering::Equal | Ordering::Greater => quotient.wrapping_add(self.signum()),
                }
            }
            fn narrow(self) -> Option<i64> {
                i64::try_from(self).ok()
            }
            fn signed(self) -> Option<i128> {
                i128::try_from(self).ok()
            }
            fn wide(self) -> Wide {
                Wide::try_from(self).unwrap_or(Wide::MAX)
            }
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
            fn digits(self) -> String {
                self.to_string()
            }
        }
    };
}

sum!(
    i64,
    0,
    24,
    core::convert::identity,
    |value| i64::try_from(value).unwrap_or(i64::MAX),
    core::convert::identity
);
sum!(i128, 0, 24, i128::from, core::convert::identity, nearest);
sum!(
    Wide,
    bnum::n!(0),
    60,
    |value| Wide::try_from(value).unwrap_or(Wide::MAX),
    |value| Wide::try_from(value).unwrap_or(Wide::MAX),
    nearest
);

/// Returns the value, clamped to 64 bits.
fn nearest<T: Sum>(value: T) -> i64 {
    let beyond = if value < T::ZERO { i64::MIN } else { i64::MAX };
    value.narrow().unwrap_or(beyond)
}

/// The narrowest [`Sum`] that holds every partial sum of a portfolio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// `i64`.
    Narrow,
    /// `i128`.
    Double,
    /// [`Wide`].
    Wide,
}

impl Width {
    /// Returns the width for terms whose absolute values add up to at most `bound`, a saturated
    /// sum. Three bits are left for differences of sums and for the doubling in [`Sum::rounded`].
    pub fn of(bound: u128) -> Self {
        if bound < 1 << 60 {
            Self::Narrow
        } else if bound < 1 << 124 {
            Self::Double
        } else {
            Self::Wide
        }
    }
}

/// Bytes that the text of any 64-bit mantissa fits.
pub const TEXT_BYTES: usize = 24;

/// Returns `mantissa` as decimal text with `scale` digits after the point, up to [`MAX_SCALE`],
/// written to the end of `buffer`.
pub fn text_in(buffer: &mut [u8; TEXT_BYTES], mantissa: i64, scale: u32) -> &str {
    let mut length = 0usize;
    let mut places = buffer.iter_mut().rev();
    let mut put = |byte: u8| {
        if let Some(place) = places.next() {
            *place = byte;
            length = length.saturating_add(1);
        }
    };
    let mut rest = mantissa.unsigned_abs();
    let mut digits = 0u32;
    while rest > 0 || digits <= scale {
        if scale > 0 && digits == scale {
            put(b'.');
        }
        put(b'0'.saturating_add(u8::try_from(rest % 10).unwrap_or_default()));
        rest /= 10;
        digits = digits.saturating_add(1);
    }
    if mantissa < 0 {
        put(b'-');
    }
    let text = buffer.get(TEXT_BYTES.saturating_sub(length)..);
    core::str::from_utf8(text.unwrap_or_default()).unwrap_or_default()
}

/// Returns `mantissa` of `scale` as decimal text without trailing zeros.
pub fn short_text(mantissa: i64, scale: u32) -> String {
    let mut buffer = [0; TEXT_BYTES];
    let text = text_in(&mut buffer, mantissa, scale);
    let decimals = text.contains('.');
    let short = text.trim_end_matches(|digit| decimals && digit == '0');
    short.trim_end_matches('.').to_owned()
}

/// Returns `mantissa` as decimal text with `scale` digits after the point.
pub fn decimal_text(mantissa: &str, scale: usize) -> String {
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", mantissa),
    };
    let padded = format!("{digits:0>width$}", width = scale.saturating_add(1));
    let (whole, decimals) = padded.split_at(padded.len().saturating_sub(scale));
    if scale == 0 {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{decimals}")
    }
}
