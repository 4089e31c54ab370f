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

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(value: f64) -> u64 {
        value.to_bits()
    }

    #[test]
    fn a_mantissa_gives_the_nearest_float() {
        let cents = Floats::of_scale(2);
        for (mantissa, value) in [
            (0i64, 0.0),
            (110, 1.1),
            (-110, -1.1),
            (-1, -0.01),
            (1_234_567_890_123_456, 12_345_678_901_234.56),
            (-4_294_967_296, -42_949_672.96),
        ] {
            assert_eq!(bits(cents.nearest(mantissa)), bits(value), "{mantissa}");
        }
        let whole = Floats::of_scale(0);
        // 2^63 - 1 lies between 2^63 - 1024 and 2^63
        assert_eq!(bits(whole.nearest(i64::MAX)), bits(2f64.powi(63)));
        assert_eq!(bits(whole.nearest(i64::MIN)), bits(-2f64.powi(63)));
        let wide = -1_000_000_005 * 10i128.pow(29);
        let value = Floats::of_scale(30).nearest(wide);
        assert_eq!(bits(value), bits(-100_000_000.5));
    }

    #[test]
    fn so_does_one_of_any_scale_and_size() {
        for scale in [0, 1, 4, 8, 18, 22, 23, 36] {
            let mut mantissa = i64::MAX;
            while mantissa > 0 {
                for n in [mantissa, -mantissa] {
                    let nearest: f64 = format!("{n}e-{scale}").parse().unwrap();
                    let found = Floats::of_scale(scale).nearest(n);
                    assert_eq!(bits(found), bits(nearest), "{n} at scale {scale}");
                }
                mantissa = mantissa / 3 * 2;
            }
        }
    }
}
