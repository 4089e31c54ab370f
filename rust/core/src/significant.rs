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

#[cfg(test)]
mod tests {
    use super::*;

    fn significant(digits: i128, exponent: i32) -> Significant {
        Significant { digits, exponent }
    }

    #[test]
    fn a_tie_in_the_29th_digit_goes_to_even() {
        // (2 * 10^28 + 1) / 2 = 10^28 + 0.5 and (2 * 10^28 + 3) / 2 = 10^28 + 1.5, of 29 digits
        // before the tie; one less keeps 28: 10^27 + 0.5 and 10^27 + 1.5
        let ten = |power: u32| wide_power(power).unwrap();
        let odd = |n: i64| ten(27).times(Wide::of(2)).plus(Wide::of(n));
        let found = |n| Significant::quotient(odd(n), Wide::of(2)).unwrap();
        assert_eq!(found(1).half_away(0), Some(ten(27)));
        assert_eq!(found(3).half_away(0), Some(ten(27).plus(Wide::of(2))));
    }

    #[test]
    fn the_shortest_text_of_a_float_is_taken_apart() {
        for (value, digits, exponent) in [
            (0.1, 1, -1),
            (-0.3, -3, -1),
            (0.1 + 0.2, 30_000_000_000_000_004, -17),
            (1e23, 1, 23),
            (123.0, 123, 0),
            (5e-324, 5, -324),
            (f64::MAX, 17_976_931_348_623_157, 292),
            (-0.0, 0, 0),
            (0.25, 25, -2),
        ] {
            let found = Significant::shortest(value).unwrap();
            assert_eq!(found, significant(digits, exponent), "{value}");
            assert_eq!(found.nearest().to_bits() << 1, value.to_bits() << 1);
        }
        assert_eq!(Significant::shortest(f64::NAN), None);
        assert_eq!(Significant::shortest(f64::NEG_INFINITY), None);
    }

    #[test]
    fn of_two_texts_as_near_the_even_one_is_taken() {
        for (value, digits, exponent) in [
            ("2212830993522663.25", 22_128_309_935_226_632, -1),
            ("-2212830993522664.25", -22_128_309_935_226_642, -1),
            ("2212830993522663.75", 22_128_309_935_226_638, -1),
            ("600000000000000.25", 6_000_000_000_000_002, -1),
            ("200000000000000.125", 20_000_000_000_000_012, -2),
            ("200000000000000.375", 20_000_000_000_000_038, -2),
            ("12000000000000.0625", 12_000_000_000_000_062, -3),
            ("12000000000000.1875", 12_000_000_000_000_188, -3),
        ] {
            let found = Significant::shortest(value.parse().unwrap()).unwrap();
            assert_eq!(found, significant(digits, exponent), "{value}");
        }
    }
}
