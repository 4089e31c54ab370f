//! Decimals as digits and an exponent, the result of divisions to 28 digits and of the shortest
//! text of a float.
#![warn(clippy::arithmetic_side_effects)]

use core::cmp::Ordering;

use crate::fixed::{Sum, Wide};

/// Significant digits of a quotient, those of the default context of Python's `decimal`.
const DIGITS: usize = 28;

/// No rescaling goes further than this many places.
const MOST_PLACES: u32 = 150;

/// The decimal `digits * 10^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Significant {
    /// Signed digits, at most 28.
    pub digits: i128,
    /// Power of ten of the last digit.
    pub exponent: i32,
}

/// Returns `10^exponent`, or nothing beyond 10^150.
pub fn wide_power(exponent: u32) -> Option<Wide> {
    let wide = (exponent <= MOST_PLACES).then(|| Wide::of(10));
    wide?.checked_pow(exponent)
}

fn digit_count(value: Wide) -> Option<u32> {
    u32::try_from(value.digits().len()).ok()
}

impl Significant {
    /// 0.
    pub const ZERO: Self = Self {
        digits: 0,
        exponent: 0,
    };

    /// Returns `numerator / divisor` to 28 significant digits, ties to even; nothing if the divisor
    /// is 0 or a number of more than 120 digits.
    pub fn quotient(numerator: Wide, divisor: Wide) -> Option<Self> {
        if numerator == Wide::ZERO {
            return (divisor != Wide::ZERO).then_some(Self::ZERO);
        }
        let is_negative = (numerator < Wide::ZERO) != (divisor < Wide::ZERO);
        let (numerator, divisor) = (numerator.wrapping_abs(), divisor.wrapping_abs());
        let ahead =
            i64::from(digit_count(numerator)?).checked_sub(i64::from(digit_count(divisor)?))?;
        let places = i32::try_from(i64::try_from(DIGITS).ok()?.checked_sub(ahead)?).ok()?;
        // this many places give 28 or 29 digits; of 29 the last is one too many
        let quotient = |places: i32| {
            let shift = wide_power(places.unsigned_abs())?;
            let (numerator, divisor) = if places < 0 {
                (numerator, divisor.checked_mul(shift)?)
            } else {
                (numerator.checked_mul(shift)?, divisor)
            };
            let floor = numerator.checked_div(divisor)?;
            Some((floor, numerator.rounded_even(divisor)))
        };
        let (floor, rounded) = quotient(places)?;
        let (rounded, places) = if floor >= wide_power(u32::try_from(DIGITS).ok()?)? {
            let fewer = places.checked_sub(1)?;
            (quotient(fewer)?.1, fewer)
        } else {
            (rounded, places)
        };
        let digits = i128::try_from(rounded).ok()?;
        Some(Self {
            digits: if is_negative {
                digits.checked_neg()?
            } else {
                digits
            },
            exponent: places.checked_neg()?,
        })
    }

    /// Returns the shortest decimal that reads back as `value`, the nearest of several, ties to
    /// even, as Python writes it; nothing if it is not finite.
    pub fn shortest(value: f64) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value);
        let (number, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        let decimals = decimals.trim_end_matches('0');
        let exponent: i32 = exponent.parse().ok()?;
        let mut digits = 0i128;
        for byte in whole.bytes().chain(decimals.bytes()) {
            if byte.is_ascii_digit() {
                let digit = byte.checked_sub(b'0')?;
                digits = digits.checked_mul(10)?.checked_add(digit.into())?;
            }
        }
        Some(Self {
            digits: if value.is_sign_negative() {
                digits.checked_neg()?
            } else {
                digits
            },
            exponent: exponent.checked_sub(i32::try_from(decimals.len()).ok()?)?,
        })
    }

    /// Returns the units of `10^-scale` in the value, half away from zero; nothing if they are too
    /// many for any column.
    pub fn half_away(self, scale: u32) -> Option<Wide> {
        let digits = Wide::try_from(self.digits).ok()?;
        let places = self.exponent.checked_add(i32::try_from(scale).ok()?)?;
        let shift = wide_power(places.unsigned_abs());
        match places.cmp(&0) {
            Ordering::Less => Some(shift.map_or(Wide::ZERO, |shift| digits.rounded(shift))),
            Ordering::Equal => Some(digits),
            Ordering::Greater => digits.checked_mul(shift?),
        }
    }

    /// Returns the nearest float, ties to even.
    pub fn nearest(self) -> f64 {
        let Self { digits, exponent } = self;
        format!("{digits}e{exponent}").parse().unwrap_or(f64::NAN)
    }
}
