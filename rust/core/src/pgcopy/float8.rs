//! `double precision` on the wire, rounded to a mantissa with a scale; integers do all of it.
//!
//! A double is `magnitude * 2^exponent`, so its value in units of `10^-scale` is a fraction whose
//! divisor is a power of two: exact until the one rounding, half away from zero.

use super::numeric::Cell;
use crate::fixed::{MAX_SCALE, State, power_of_ten};

const MANTISSA_BITS: u32 = 52;
const EXPONENT_BITS: u64 = 0x7FF;

/// Bias of exponents, plus the bits after the point of the mantissa.
const BIAS: i32 = 1075;

/// Bits of the largest product of a magnitude and `10^MAX_SCALE`.
const PRODUCT_BITS: u32 = 53 + 60;

/// Powers of two that a magnitude can be multiplied by and still fit 64 bits.
const SPARE_BITS: u32 = 64 - 53;

/// A double as a mantissa, and whether decimals were cut that it did represent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rounded {
    /// In units of `10^-scale`.
    pub mantissa: i64,
    /// Whether the double is further from the mantissa than half the step to the next one: it has
    /// decimals beyond the scale, not only the noise of a decimal that no double holds.
    pub lost: bool,
}

/// Returns a double as a mantissa in units of `10^-scale`, its exact value rounded half away from
/// zero.
///
/// There is no negative zero. Source: schema.md, "Doubles".
///
/// # Errors
///
/// [`State::NonFinite`] for NaN and the infinities, [`State::NotRepresentable`] where 64 bits do
/// not hold it, or beyond [`MAX_SCALE`].
pub fn try_from_float8(bytes: [u8; 8], scale: u32) -> Cell<Rounded> {
    let bits = u64::from_be_bytes(bytes);
    let (is_negative, biased) = (bits >> 63 == 1, bits >> MANTISSA_BITS & EXPONENT_BITS);
    let fraction = bits & ((1 << MANTISSA_BITS) - 1);
    if biased == EXPONENT_BITS {
        return Err(State::NonFinite);
    }
    let (magnitude, biased) = match biased {
        0 => (fraction, 1),
        biased => (fraction | 1 << MANTISSA_BITS, biased),
    };
    let exponent = i32::try_from(biased).unwrap_or(i32::MAX) - BIAS;
    let unit = power_of_ten(scale).filter(|_| scale <= MAX_SCALE);
    let (units, lost) = unit
        .and_then(|unit| in_units(magnitude, exponent, unit))
        .ok_or(State::NotRepresentable)?;
    let mantissa = if is_negative {
        0_i64.checked_sub_unsigned(units)
    } else {
        i64::try_from(units).ok()
    };
    match mantissa {
        Some(mantissa) => Ok(Rounded { mantissa, lost }),
        None => Err(State::NotRepresentable),
    }
}

/// Returns `magnitude * 2^exponent * unit` rounded half up, and whether more than noise was cut;
/// nothing if 64 bits do not hold it.
fn in_units(magnitude: u64, exponent: i32, unit: u128) -> Option<(u64, bool)> {
    if magnitude == 0 {
        return Some((0, false));
    }
    let shift = exponent.unsigned_abs();
    if exponent >= 0 {
        // More than the spare bits are beyond 64 at any scale, as the leading bit is set here.
        let whole = magnitude.checked_mul(1 << Some(shift).filter(|&bits| bits <= SPARE_BITS)?)?;
        let units = u128::from(whole).checked_mul(unit)?;
        return Some((u64::try_from(units).ok()?, false));
    }
    if shift > PRODUCT_BITS {
        return Some((0, true));
    }
    let product = u128::from(magnitude).checked_mul(unit)?;
    let (floor, rest) = (product >> shift, product & ((1 << shift) - 1));
    let to_next = (1 << shift) - rest;
    let (units, distance) = if rest < to_next {
        (floor, rest)
    } else {
        (floor + 1, to_next)
    };
    // Half the way to the next double is `unit / 2` in these terms.
    Some((u64::try_from(units).ok()?, distance > unit / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: f64, scale: u32) -> Cell<(i64, bool)> {
        try_from_float8(value.to_be_bytes(), scale).map(|read| (read.mantissa, read.lost))
    }

    #[test]
    fn a_double_is_rounded_and_what_is_cut_is_told() {
        const NOT: Cell<(i64, bool)> = Err(State::NotRepresentable);
        let end = 9_223_372_036_854_775_808.0; // 2^63
        for (value, scale, found) in [
            // decimals that were stored come back
            (187.42, 4, Ok((1_874_200, false))),
            (-0.1, 4, Ok((-1_000, false))),
            (0.3, 18, Ok((299_999_999_999_999_989, false))),
            (123_456_789.123_4, 4, Ok((1_234_567_891_234, false))),
            (4e9, 0, Ok((4_000_000_000, false))),
            // ties go away from zero: 0.03125 is 2^-5
            (0.031_25, 4, Ok((313, true))),
            (-0.031_25, 4, Ok((-313, true))),
            (0.5, 0, Ok((1, true))),
            (2.5, 0, Ok((3, true))),
            // 2.675 is stored as 2.67499999999999982236431605997495353221893310546875
            (2.675, 2, Ok((267, true))),
            (0.125, 3, Ok((125, false))),
            // what is cut
            (10.000_04, 4, Ok((100_000, true))),
            (10.000_06, 4, Ok((100_001, true))),
            (1e-20, 4, Ok((0, true))),
            (f64::MIN_POSITIVE / 2.0, 18, Ok((0, true))),
            (-1e-300, 4, Ok((0, true))),
            // zero has no sign
            (0.0, 4, Ok((0, false))),
            (-0.0, 4, Ok((0, false))),
            (f64::NAN, 4, Err(State::NonFinite)),
            (f64::INFINITY, 4, Err(State::NonFinite)),
            (f64::NEG_INFINITY, 4, Err(State::NonFinite)),
            // the ends of 64 bits; the double before 2^63 is 2^63 - 2^10
            (-end, 0, Ok((i64::MIN, false))),
            (end, 0, NOT),
            (end.next_down(), 0, Ok((i64::MAX - 1_023, false))),
            ((-end).next_down(), 0, NOT),
            (f64::MAX, 0, NOT),
            (9.3, 18, NOT),
            (1.0, MAX_SCALE + 1, NOT),
        ] {
            assert_eq!(read(value, scale), found, "{value} at {scale}");
        }
    }

    #[test]
    fn every_decimal_of_15_digits_comes_back() {
        // each is the double nearest to it, and no other decimal of the scale is nearer
        let mut mantissa: i64 = 1;
        while mantissa < 1_000_000_000_000_000 {
            for scale in 0..=15 {
                let text = crate::fixed::decimal_text(&mantissa.to_string(), scale);
                let value: f64 = text.parse().unwrap();
                let scale = u32::try_from(scale).unwrap();
                assert_eq!(read(value, scale), Ok((mantissa, false)), "{text}");
                assert_eq!(read(-value, scale), Ok((-mantissa, false)), "-{text}");
            }
            mantissa = mantissa * 7 / 5 + 1;
        }
    }
}
