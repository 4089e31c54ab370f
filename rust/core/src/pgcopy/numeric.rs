//! NUMERIC on the wire, from and to a mantissa with a scale; exact both ways.
//!
//! Four 16-bit words (count of digits, weight of the first, sign, decimals shown), then the digits
//! in base 10000: digit `i` is worth `digit * 10000^(weight - i)`. Source: PostgreSQL,
//! src/backend/utils/adt/numeric.c, `numeric_send` and `numeric_recv`.

use thiserror::Error;

use crate::fixed::State;

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const POSITIVE_INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

/// The most decimals that a NUMERIC can show: the wire has 14 bits for them.
const MAX_SHOWN: u16 = 0x3FFF;

/// Bytes before the digits.
pub(super) const HEADER_BYTES: usize = 8;

/// Bytes of a NUMERIC with the largest number of digits.
pub(super) const MAX_BYTES: usize = HEADER_BYTES + 2 * 0xFFFF;

const POWERS_OF_TEN: [u64; 20] = {
    let mut powers = [1; 20];
    let mut rest: &mut [u64] = &mut powers;
    let mut power: u64 = 1;
    while let [first, tail @ ..] = rest {
        *first = power;
        power = power.saturating_mul(10);
        rest = tail;
    }
    powers
};

/// A value, or the state of a field that has none.
pub type Cell<T> = Result<T, State>;

/// Bytes that are not a NUMERIC, by what they lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected a numeric with {0}")]
pub struct Malformed(&'static str);

/// Returns a NUMERIC as a mantissa in units of `10^-scale`, exact for any count of digits and
/// weight.
///
/// Values without a mantissa: [`State::NonFinite`] for NaN and the infinities,
/// [`State::NotRepresentable`] for a value that `scale` decimals or 64 bits do not hold. Decimals
/// beyond the scale are allowed if they are 0. There is no negative zero.
///
/// # Errors
///
/// [`Malformed`] for bytes that no server sends.
pub fn try_from_numeric(bytes: &[u8], scale: u32) -> Result<Cell<i64>, Malformed> {
    let Some((header, digits)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(Malformed("8 bytes before its digits"));
    };
    let &[n0, n1, w0, w1, s0, s1, d0, d1] = header;
    let announced = u16::from_be_bytes([n0, n1]);
    if digits.len() != usize::from(announced) * 2 {
        return Err(Malformed("as many digits as it announces"));
    }
    let shown = u16::from_be_bytes([d0, d1]);
    if shown > MAX_SHOWN {
        return Err(Malformed("at most 16383 decimals"));
    }
    let weight = i16::from_be_bytes([w0, w1]);
    let magnitude = magnitude(digits, i64::from(weight) * 4 + i64::from(scale))?;
    let mantissa = match u16::from_be_bytes([s0, s1]) {
        POSITIVE => magnitude.and_then(|m| i64::try_from(m).ok()),
        NEGATIVE => magnitude.and_then(|m| 0_i64.checked_sub_unsigned(m)),
        NAN | POSITIVE_INFINITY | NEGATIVE_INFINITY => return Ok(Err(State::NonFinite)),
        _ => return Err(Malformed("a sign")),
    };
    Ok(mantissa.ok_or(State::NotRepresentable))
}

/// Returns the sum of the digits, the first in units of `10^exponent` and each next of 10^-4 of
/// that; nothing if it is no integer of 64 bits.
fn magnitude(digits: &[u8], mut exponent: i64) -> Result<Option<u64>, Malformed> {
    let mut sum = Some(0_u64);
    for &digit in digits.as_chunks::<2>().0 {
        let digit = u16::from_be_bytes(digit);
        if digit > 9999 {
            return Err(Malformed("digits up to 9999"));
        }
        let (factor, unit) = match exponent {
            0.. => (10_000, 1),
            -1 => (1_000, 10),
            -2 => (100, 100),
            -3 => (10, 1_000),
            _ => (1, 10_000),
        };
        sum = sum
            .filter(|_| digit % unit == 0)
            .and_then(|s| s.checked_mul(factor)?.checked_add(u64::from(digit / unit)));
        exponent -= 4;
    }
    // `exponent` is that of the digit after the last one.
    let power = match usize::try_from(exponent.saturating_add(4)) {
        Ok(zeros) => POWERS_OF_TEN.get(zeros),
        Err(_) => Some(&1),
    };
    Ok(match (sum, power) {
        (Some(0), _) => Some(0),
        (Some(sum), Some(&power)) => sum.checked_mul(power),
        _ => None,
    })
}

/// Writes mantissas of one scale as the server itself does: without zero digits at either end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer {
    shown: u16,
    /// Weight of the digit that the last decimal is in.
    lowest: i16,
}

impl Writer {
    /// Returns the writer for mantissas in units of `10^-scale`; nothing beyond 16383.
    pub(super) fn from_scale(scale: u32) -> Option<Self> {
        let shown = u16::try_from(scale)
            .ok()
            .filter(|&shown| shown <= MAX_SHOWN)?;
        let decimals = i16::try_from(shown.div_ceil(4)).ok()?;
        Some(Self {
            shown,
            lowest: -decimals,
        })
    }

    /// Appends the field, its length included.
    pub(super) fn write(self, mantissa: i64, out: &mut Vec<u8>) {
        let magnitude = mantissa.unsigned_abs();
        // Decimals fill a digit from its left: the last digit of 0.5 is 5000. The divisors are
        // literals, so that each becomes a multiplication.
        let (mut digit, mut rest) = match self.shown % 4 {
            0 => (magnitude % 10_000, magnitude / 10_000),
            1 => (magnitude % 10 * 1_000, magnitude / 10),
            2 => (magnitude % 100 * 100, magnitude / 100),
            _ => (magnitude % 1_000 * 10, magnitude / 1_000),
        };
        let mut weight = self.lowest;
        while digit == 0 && rest != 0 {
            (digit, rest) = (rest % 10_000, rest / 10_000);
            weight += 1;
        }
        // A mantissa has 20 decimal digits at most, 6 in base 10000: the eight places suffice.
        let mut digits = 0_u128;
        let mut count = 0_u16;
        loop {
            digits = digits >> 16 | u128::from(digit) << 112;
            count += 1;
            if rest == 0 {
                break;
            }
            (digit, rest) = (rest % 10_000, rest / 10_000);
            weight += 1;
        }
        if magnitude == 0 {
            (count, weight) = (0, 0);
        }
        let sign = if mantissa < 0 { NEGATIVE } else { POSITIVE };
        let header = u128::from(8 + 2 * u32::from(count)) << 64
            | u128::from(count) << 48
            | u128::from(weight.cast_unsigned()) << 32
            | u128::from(sign) << 16
            | u128::from(self.shown);
        let [_, _, _, _, header @ ..] = header.to_be_bytes();
        out.extend_from_slice(&header);
        // All places, then back: a copy of known size is faster than one that is not.
        let end = out.len() + usize::from(count) * 2;
        out.extend_from_slice(&digits.to_be_bytes());
        out.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(weight: i16, sign: u16, shown: u16, digits: &[u16]) -> Vec<u8> {
        let count = u16::try_from(digits.len()).unwrap();
        let header = [count, weight.cast_unsigned(), sign, shown];
        header
            .iter()
            .chain(digits)
            .flat_map(|word| word.to_be_bytes())
            .collect()
    }

    #[test]
    fn bytes_that_no_server_sends_are_refused() {
        let longer = [wire(0, POSITIVE, 0, &[1]), vec![0]].concat();
        for (value, lacks) in [
            (vec![0; 7], "8 bytes before its digits"),
            (longer, "as many digits as it announces"),
            (wire(0, 0x8000, 0, &[]), "a sign"),
            (wire(0, POSITIVE, 16384, &[]), "at most 16383 decimals"),
            // found where the value is already known not to fit, too
            (wire(100, POSITIVE, 0, &[9999, 10000]), "digits up to 9999"),
        ] {
            assert_eq!(try_from_numeric(&value, 4), Err(Malformed(lacks)));
        }
    }

    #[test]
    fn a_scale_beyond_the_wire_has_no_writer() {
        assert!(Writer::from_scale(16383).is_some());
        assert!(Writer::from_scale(16384).is_none());
    }
}
