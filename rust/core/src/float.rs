//! Exact decimals as floats: for analytics and where a rule says so, never for other money.

use crate::fixed::Sum;

/// Powers of ten up to this one are floats exactly.
const MAX_EXACT_POWER: u32 = 22;

/// Integers up to this one are floats exactly.
const MAX_EXACT: u64 = 1 << f64::MANTISSA_DIGITS;

/// Turns mantissas of one scale into floats.
#[derive(Debug, Clone, Copy)]
pub struct Floats {
    scale: u32,
    /// `10^scale` if that is a float.
    unit: Option<f64>,
}

impl Floats {
    /// Returns the converter of mantissas of a scale.
    pub fn of_scale(scale: u32) -> Self {
        let unit = (scale <= MAX_EXACT_POWER).then(|| parsed("1", &format!("{scale}")));
        Self { scale, unit }
    }

    /// Returns the float nearest to `mantissa * 10^-scale`, of any size; ties to even.
    pub fn nearest<T: Sum>(self, mantissa: T) -> f64 {
        let narrow = mantissa.narrow().zip(self.unit);
        match narrow.filter(|&(mantissa, _)| mantissa.unsigned_abs() <= MAX_EXACT) {
            // the quotient of two floats that are exact is rounded once
            Some((mantissa, unit)) => quotient(mantissa, unit),
            None => parsed(&mantissa.digits(), &format!("-{}", self.scale)),
        }
    }

    /// As [`Floats::nearest`], times a factor.
    #[expect(
        clippy::float_arithmetic,
        reason = "a product of floats, for analytics"
    )]
    pub fn times(self, mantissa: i64, factor: f64) -> f64 {
        self.nearest(mantissa) * factor
    }
}

/// Returns the quotient of two integers above 0, each rounded to nearest before and the quotient
/// after.
#[expect(clippy::float_arithmetic, reason = "a factor of floats, for analytics")]
pub fn ratio(numerator: u128, divisor: u128) -> f64 {
    parsed(&numerator.to_string(), "0") / parsed(&divisor.to_string(), "0")
}

fn parsed(digits: &str, exponent: &str) -> f64 {
    let text = format!("{digits}e{exponent}");
    text.parse().unwrap_or(f64::NAN)
}

#[expect(
    clippy::float_arithmetic,
    reason = "the quotient of two exact floats, for analytics and where a rule says so"
)]
fn quotient(mantissa: i64, unit: f64) -> f64 {
    const HIGH: f64 = 4_294_967_296.0;
    let low = u32::try_from(mantissa & 0xffff_ffff).unwrap_or(0);
    let high = i32::try_from(mantissa >> 32).unwrap_or(0);
    (f64::from(high) * HIGH + f64::from(low)) / unit
}
