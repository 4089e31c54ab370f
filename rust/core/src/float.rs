//! Exact decimals as floats: for analytics and where a rule says so, never for other money.

/// Powers of ten up to this one are floats exactly.
const MAX_EXACT_POWER: u32 = 22;

/// Turns mantissas of one scale into floats.
#[derive(Debug, Clone, Copy)]
pub struct Floats {
    scale: u32,
    /// `10^scale` if that is a float.
    unit: Option<f64>,
}

impl Floats {
    /// Returns the converter of mantissas of a scale.
    #[must_use]
    pub fn of_scale(scale: u32) -> Self {
        let unit = (scale <= MAX_EXACT_POWER).then(|| parsed("1", &format!("{scale}")));
        Self { scale, unit }
    }

    /// Returns `mantissa * 10^-scale`: the nearest float below 2^53, one of its neighbours at most
    /// from there on.
    #[must_use]
    pub fn of(self, mantissa: i64) -> f64 {
        match self.unit {
            Some(unit) => quotient(mantissa, unit),
            None => self.nearest(&mantissa.to_string()),
        }
    }

    /// As [`Floats::of`], times a factor.
    #[must_use]
    #[expect(
        clippy::float_arithmetic,
        reason = "a product of floats, for analytics"
    )]
    pub fn times(self, mantissa: i64, factor: f64) -> f64 {
        self.of(mantissa) * factor
    }

    /// Returns the float nearest to `mantissa * 10^-scale`, of any size; ties to even.
    #[must_use]
    pub fn nearest_of(self, mantissa: i64) -> f64 {
        match self.unit {
            // the quotient of two floats that are exact is rounded once
            Some(unit) if mantissa.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS => {
                quotient(mantissa, unit)
            }
            Some(_) | None => self.nearest(&mantissa.to_string()),
        }
    }

    /// Returns the float nearest to a mantissa of any width, written in decimal digits.
    #[must_use]
    pub fn nearest(self, digits: &str) -> f64 {
        parsed(digits, &format!("-{}", self.scale))
    }
}

/// Returns the quotient of two integers above 0, each rounded to nearest before and the quotient
/// after.
#[must_use]
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
    reason = "an exact value becomes a float, which is rounded to nearest twice at most"
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
    fn a_mantissa_below_2_to_the_53_gives_the_nearest_float() {
        let cents = Floats::of_scale(2);
        for (mantissa, value) in [
            (0, 0.0),
            (110, 1.1),
            (-110, -1.1),
            (-1, -0.01),
            (1_234_567_890_123_456, 12_345_678_901_234.56),
            (-4_294_967_296, -42_949_672.96),
        ] {
            assert_eq!(bits(cents.of(mantissa)), bits(value), "{mantissa}");
        }
    }

    #[test]
    fn a_larger_one_gives_it_or_a_neighbour() {
        for scale in [0, 1, 4, 8, 18, 22, 23, 36] {
            let floats = Floats::of_scale(scale);
            let mut mantissa = i64::MAX;
            while mantissa > 0 {
                for n in [mantissa, -mantissa] {
                    let nearest = floats.nearest(&n.to_string());
                    let apart = bits(floats.of(n)).abs_diff(bits(nearest));
                    assert!(apart <= 1, "{n} at scale {scale}");
                    assert_eq!(bits(floats.nearest_of(n)), bits(nearest), "{n} at {scale}");
                }
                mantissa = mantissa / 3 * 2;
            }
        }
        // 2^63 - 1 lies between 2^63 - 1024 and 2^63
        assert_eq!(bits(Floats::of_scale(0).of(i64::MAX)), bits(2f64.powi(63)));
        assert_eq!(bits(Floats::of_scale(0).of(i64::MIN)), bits(-2f64.powi(63)));
    }

    #[test]
    fn digits_of_any_number_give_the_nearest_float() {
        let floats = Floats::of_scale(30);
        let value = floats.nearest(&format!("-1000000005{:0>29}", ""));
        assert_eq!(bits(value), bits(-100_000_000.5));
        assert_eq!(bits(floats.of(0)), bits(0.0));
    }
}
