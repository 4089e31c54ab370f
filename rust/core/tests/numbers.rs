//! Mantissas, their text, decimals of 28 digits, and the nearest floats.

use batchcore_core::fixed::{
    MAX_SCALE, Sum, TEXT_BYTES, Wide, Width, decimal_text, half_away, rescaled, text_in,
};
use batchcore_core::float::Floats;
use batchcore_core::significant::{Significant, wide_power};

#[test]
fn ties_go_away_from_zero() {
    assert_eq!(
        [5, 15, -5, -15, 4, -4].map(|n| half_away(n, 10)),
        [1, 2, -1, -2, 0, 0].map(Some)
    );
    assert_eq!(half_away(i128::MAX, 2), Some(i128::MAX / 2 + 1));
    assert_eq!(half_away(1, 0), None);
    assert_eq!(half_away(2, 3), Some(1));
    assert_eq!(half_away(1, 3), Some(0));
}

#[test]
fn rescaling_is_exact_or_nothing() {
    for (mantissa, from, to, found) in [
        (15, 1, 3, Some(1500)),
        (1500, 3, 1, Some(15)),
        (1501, 3, 1, None),
        (i64::MAX, 0, 1, None),
        (i64::MIN, 0, 0, Some(i64::MIN)),
        (0, 18, 0, Some(0)),
    ] {
        assert_eq!(rescaled(mantissa, from, to), found);
    }
}

#[test]
fn text_has_the_point_where_the_scale_says() {
    assert_eq!(decimal_text("5", 2), "0.05");
    assert_eq!(decimal_text("-12345", 2), "-123.45");
    assert_eq!(decimal_text("7", 0), "7");
    assert_eq!(decimal_text("-100000000", 6), "-100.000000");
}

#[test]
fn text_in_a_buffer_is_the_same() {
    let ends = [i64::MIN, -100, -1, 0, 1, 9, 10, 12345, i64::MAX];
    let scales = |mantissa| (0..=MAX_SCALE).map(move |scale| (mantissa, scale));
    for (mantissa, scale) in ends.into_iter().flat_map(scales) {
        let expected = decimal_text(&mantissa.to_string(), usize::try_from(scale).unwrap());
        assert_eq!(text_in(&mut [0; TEXT_BYTES], mantissa, scale), expected);
    }
}

#[test]
fn the_width_follows_the_bound() {
    assert_eq!(Width::of(0), Width::Narrow);
    assert_eq!(Width::of(1 << 60), Width::Double);
    assert_eq!(Width::of(1 << 124), Width::Wide);
    assert_eq!(Width::of(u128::MAX), Width::Wide);
}

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
