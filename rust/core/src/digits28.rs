//! Arithmetic in 28 significant digits, ties to even, as in the default context of Python's
//! `decimal`, a thousand times as fast.
#![warn(clippy::arithmetic_side_effects)]

use core::cmp::Ordering;
use core::num::NonZero;

/// Decimals after the point of a value that leaves as an integer.
pub const SCALE: u32 = 28;

/// Digits of a value that is not 0.
const DIGITS: u32 = 28;

/// `10^14`: a value has two digits of this base.
const HALF: u128 = power(14);
const LEAST: u128 = power(27);
const MOST: u128 = power(28);

/// Places by which a remainder of 63 bits can be shifted within 128.
const STEP: u32 = 19;

/// Places by which 28 digits can be shifted within 38.
const ROOM: u32 = 10;

/// Returns `(value / unit, value % unit)`.
fn divided(value: u128, unit: u128) -> (u128, u128) {
    let quotient = value.checked_div(unit).unwrap_or_default();
    (quotient, value.wrapping_sub(quotient.wrapping_mul(unit)))
}

const fn power(exponent: u32) -> u128 {
    10u128.pow(exponent)
}

/// Returns `10^exponent`, the largest one that fits where it does not.
fn power_of_ten(exponent: u32) -> u128 {
    10u128.checked_pow(exponent).unwrap_or(power(38))
}

/// The remainder, as a part of a unit in the last place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Nothing,
    Less,
    Half,
    More,
}

impl Rest {
    /// Returns `rest` as a part of `unit`, for `rest < unit < 2^127`.
    fn of(rest: u128, unit: u128) -> Self {
        if rest == 0 {
            return Self::Nothing;
        }
        match rest.cmp(&unit.wrapping_sub(rest)) {
            Ordering::Less => Self::Less,
            Ordering::Equal => Self::Half,
            Ordering::Greater => Self::More,
        }
    }

    /// Returns the difference to a whole unit.
    fn complement(self) -> Self {
        match self {
            Self::Less => Self::More,
            Self::More => Self::Less,
            Self::Nothing | Self::Half => self,
        }
    }
}

/// A decimal of 28 significant digits, `digits * 10^-places` with a sign; 0 has the digits 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digits28 {
    is_negative: bool,
    /// 0, or `10^27` to `10^28 - 1`.
    digits: u128,
    places: i32,
}

impl Digits28 {
    /// 0.
    pub const ZERO: Self = Self {
        is_negative: false,
        digits: 0,
        places: 0,
    };

    /// 1.
    pub const ONE: Self = Self {
        is_negative: false,
        digits: LEAST,
        places: 27,
    };

    /// Returns `numerator / divisor`.
    pub fn quotient(numerator: i64, divisor: NonZero<u64>) -> Self {
        let size = numerator.unsigned_abs();
        let Some(length) = size.checked_ilog10() else {
            return Self::ZERO;
        };
        let by: NonZero<u128> = divisor.into();
        // so many places, 10 to 46, give 28 or 29 digits
        let places = DIGITS.wrapping_add(divisor.ilog10()).saturating_sub(length);
        let (whole, rest) = (size / divisor, size % divisor);
        let (mut digits, mut rest) = (u128::from(whole), u128::from(rest));
        let mut left = places;
        while left > 0 {
            let step = left.min(STEP);
            let shift = power_of_ten(step);
            let shifted = rest.wrapping_mul(shift);
            let more = shifted / by;
            digits = digits.wrapping_mul(shift).wrapping_add(more);
            rest = shifted.wrapping_sub(more.wrapping_mul(by.get()));
            left = left.wrapping_sub(step);
        }
        let rest = Rest::of(rest, by.get());
        Self::rounded(numerator < 0, digits, places.cast_signed(), rest)
    }

    /// Returns `self + 1`.
    pub fn plus_one(self) -> Self {
        let Self {
            is_negative,
            digits,
            places,
        } = self;
        if digits == 0 {
            return Self::ONE;
        }
        let Ok(places) = u32::try_from(places) else {
            return self; // of more than 28 digits before the point: 1 is lost
        };
        let Some(beyond) = places.checked_sub(DIGITS).filter(|&beyond| beyond > 0) else {
            let one = power_of_ten(places);
            let (sum, is_negative) = if !is_negative {
                (one.wrapping_add(digits), false)
            } else if digits > one {
                (digits.wrapping_sub(one), true)
            } else {
                (one.wrapping_sub(digits), false)
            };
            return Self::exact(is_negative, sum, places.cast_signed());
        };
        // digits after the 28th decimal are part of the remainder
        let (whole, rest) = if beyond > DIGITS {
            (0, Rest::Less)
        } else {
            let unit = power_of_ten(beyond);
            let (whole, rest) = divided(digits, unit);
            (whole, Rest::of(rest, unit))
        };
        let (sum, rest) = match (is_negative, rest) {
            (false, _) => (MOST.wrapping_add(whole), rest),
            (true, Rest::Nothing) => (MOST.wrapping_sub(whole), rest),
            (true, _) => {
                let floor = MOST.wrapping_sub(whole).wrapping_sub(1);
                (floor, rest.complement())
            }
        };
        Self::rounded(false, sum, DIGITS.cast_signed(), rest)
    }

    /// Returns `self - 1`.
    pub fn minus_one(self) -> Self {
        self.negated().plus_one().negated()
    }

    /// Returns `-self`.
    pub fn negated(self) -> Self {
        Self {
            is_negative: !self.is_negative && self.digits > 0,
            ..self
        }
    }

    /// Returns `self * other`.
    pub fn times(self, other: Self) -> Self {
        if self.digits == 0 || other.digits == 0 {
            return Self::ZERO;
        }
        let (high, low) = product(self.digits, other.digits);
        let places = self.places.wrapping_add(other.places);
        let is_negative = self.is_negative != other.is_negative;
        if high >= LEAST {
            let rest = Rest::of(low, MOST);
            return Self::rounded(is_negative, high, places.wrapping_sub(28), rest);
        }
        let (next, low) = divided(low, LEAST);
        let rest = Rest::of(low, LEAST);
        let digits = high.wrapping_mul(10).wrapping_add(next);
        Self::rounded(is_negative, digits, places.wrapping_sub(27), rest)
    }

    /// Returns `self / other`; nothing if `other` is 0.
    pub fn over(self, other: Self) -> Option<Self> {
        if other.digits == 0 {
            return None;
        }
        if self.digits == 0 {
            return Some(Self::ZERO);
        }
        let (mut digits, mut rest) = if self.digits < other.digits {
            (0, self.digits)
        } else {
            (1, self.digits.wrapping_sub(other.digits))
        };
        // 28 digits after the first, which may be 0
        for step in [ROOM, ROOM, 8] {
            let shift = power_of_ten(step);
            let shifted = rest.wrapping_mul(shift);
            let (more, left) = divided(shifted, other.digits);
            rest = left;
            digits = u128::wrapping_mul(digits, shift).wrapping_add(more);
        }
        let is_negative = self.is_negative != other.is_negative;
        let places = self.places.wrapping_sub(other.places).wrapping_add(28);
        let rest = Rest::of(rest, other.digits);
        Some(Self::rounded(is_negative, digits, places, rest))
    }

    /// Returns the units of `10^-28` in the value, ties to even; nothing beyond 38 digits.
    pub fn units(self) -> Option<i128> {
        let more = i64::from(SCALE).wrapping_sub(self.places.into());
        let size = if self.digits == 0 {
            0
        } else if let Ok(more) = u32::try_from(more) {
            if more > ROOM {
                return None;
            }
            self.digits.wrapping_mul(power_of_ten(more))
        } else {
            let beyond = u32::try_from(more.unsigned_abs()).ok()?;
            if beyond > DIGITS {
                0
            } else {
                let unit = power_of_ten(beyond);
                let (whole, rest) = divided(self.digits, unit);
                whole.wrapping_add(up(whole, Rest::of(rest, unit)))
            }
        };
        let size = i128::try_from(size).ok()?;
        let sign = if self.is_negative { -1 } else { 1 };
        Some(size.wrapping_mul(sign))
    }

    /// Returns whether the value is above 0.
    pub fn is_positive(self) -> bool {
        self.digits > 0 && !self.is_negative
    }

    /// Compares two values.
    pub fn compare(self, other: Self) -> Ordering {
        let size = |value: Self| (value.places.wrapping_neg(), value.digits);
        self.compare_signed(other, || size(self).cmp(&size(other)))
    }

    /// Compares `self / of` with `other / of_other`, exactly, where what divides is above 0.
    pub fn compare_ratios(self, of: Self, other: Self, of_other: Self) -> Ordering {
        self.compare_signed(other, || {
            product_size(self, of_other).cmp(&product_size(other, of))
        })
    }

    /// Compares by sign, and by size where both have the same.
    fn compare_signed(self, other: Self, sizes: impl FnOnce() -> Ordering) -> Ordering {
        let signs = self.sign().cmp(&other.sign());
        if signs != Ordering::Equal || self.digits == 0 {
            signs
        } else if self.is_negative {
            sizes().reverse()
        } else {
            sizes()
        }
    }

    fn sign(self) -> i8 {
        match (self.digits, self.is_negative) {
            (0, _) => 0,
            (_, true) => -1,
            (_, false) => 1,
        }
    }

    /// Returns a value of up to 29 digits; up to 28 it is exact.
    fn exact(is_negative: bool, digits: u128, places: i32) -> Self {
        let Some(length) = digits.checked_ilog10() else {
            return Self::ZERO;
        };
        let lacking = (DIGITS - 1).saturating_sub(length);
        let digits = digits.wrapping_mul(power_of_ten(lacking));
        let places = places.wrapping_add(lacking.cast_signed());
        Self::rounded(is_negative, digits, places, Rest::Nothing)
    }

    /// Returns a value of 28 or 29 digits, with its remainder, rounded to 28.
    fn rounded(is_negative: bool, digits: u128, places: i32, rest: Rest) -> Self {
        let (mut digits, mut places, mut rest) = (digits, places, rest);
        if digits >= MOST {
            let fewer = digits / 10;
            rest = match (digits.wrapping_sub(fewer.wrapping_mul(10)), rest) {
                (0, Rest::Nothing) => Rest::Nothing,
                (5, Rest::Nothing) => Rest::Half,
                (0..5, _) => Rest::Less,
                _ => Rest::More,
            };
            (digits, places) = (fewer, places.wrapping_sub(1));
        }
        digits = digits.wrapping_add(up(digits, rest));
        if digits == MOST {
            (digits, places) = (LEAST, places.wrapping_sub(1));
        }
        Self {
            is_negative,
            digits,
            places,
        }
    }
}

/// Returns 1 where a value is rounded up.
fn up(digits: u128, rest: Rest) -> u128 {
    match rest {
        Rest::Nothing | Rest::Less => 0,
        Rest::Half => digits & 1,
        Rest::More => 1,
    }
}

/// Returns `(high, low)` of `a * b = high * 10^28 + low`, for two values of 28 digits at most.
fn product(a: u128, b: u128) -> (u128, u128) {
    let ((a1, a0), (b1, b0)) = (divided(a, HALF), divided(b, HALF));
    let (carry, lowest) = divided(a0.wrapping_mul(b0), HALF);
    let middle = a1
        .wrapping_mul(b0)
        .wrapping_add(a0.wrapping_mul(b1))
        .wrapping_add(carry);
    let (carry, middle) = divided(middle, HALF);
    let high = a1.wrapping_mul(b1).wrapping_add(carry);
    (high, middle.wrapping_mul(HALF).wrapping_add(lowest))
}

/// Returns the size of a product of two values that are not 0, exactly: places before the first
/// digit, counted from the point, 28 digits, and the 28 digits after them.
fn product_size(a: Digits28, b: Digits28) -> (i32, u128, u128) {
    let (high, low) = product(a.digits, b.digits);
    let magnitude = a.places.wrapping_add(b.places).wrapping_neg();
    if high >= LEAST {
        return (magnitude, high, low);
    }
    let (next, rest) = divided(low, LEAST);
    let high = high.wrapping_mul(10).wrapping_add(next);
    (magnitude.wrapping_sub(1), high, rest.wrapping_mul(10))
}
