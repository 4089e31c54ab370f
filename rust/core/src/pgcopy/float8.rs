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
