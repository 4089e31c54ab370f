//! Ascending ids from a time and random bytes.

use crate::ids::Uuid;

/// Bits of the counter: `rand_a` and `rand_b`.
const COUNTER_BITS: u32 = 12 + 62;

/// Version 7 UUIDs that share one millisecond and count up from a random number.
///
/// The counter fills `rand_a` and `rand_b`. Its top bit starts at 0, so that counting does not reach
/// its end. Source: RFC 9562, 5.7 and 6.2, method 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uuid7 {
    unix_ms: u64,
    first: u128,
}

impl Uuid7 {
    /// Returns the ids of the millisecond `unix_ms`; nothing if it has more than 48 bits.
    ///
    /// Of `random`, the last 73 bits are the first count.
    #[must_use]
    pub fn from_random(unix_ms: u64, random: [u8; 16]) -> Option<Self> {
        let first = u128::from_be_bytes(random) & ((1 << (COUNTER_BITS - 1)) - 1);
        (unix_ms >> 48 == 0).then_some(Self { unix_ms, first })
    }

    /// Returns id `index`, greater than all before it.
    #[must_use]
    pub fn nth(self, index: u64) -> Uuid {
        let count = self.first + u128::from(index);
        let (rand_a, rand_b) = (count >> 62, count & ((1 << 62) - 1));
        let id = u128::from(self.unix_ms) << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b;
        id.to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_fills_what_version_and_variant_leave() {
        // RFC 9562, A.6: 017F22E2-79B0-7CC3-98C4-DC0C0C07398F, of rand_a 0xCC3 and rand_b
        // 0x18C4DC0C0C07398F; the counter's top bit, that of rand_a, is cleared: 0x4C3.
        let example = [
            0x017F22E2_79B0_74C3_98C4_DC0C0C07398F,
            0x017F22E2_79B0_74C3_98C4_DC0C0C073990,
        ];
        // rand_b full: the next count is rand_a + 1 with rand_b 0.
        let carried = [
            0x0000_0000_0001_7001_BFFF_FFFF_FFFF_FFFF,
            0x0000_0000_0001_7002_8000_0000_0000_0000,
        ];
        for (unix_ms, rand_a, rand_b, expected) in [
            (0x017F_22E2_79B0, 0xCC3, 0x18C4_DC0C_0C07_398F, example),
            (1, 0x001, (1 << 62) - 1, carried),
        ] {
            let random = u128::to_be_bytes(rand_a << 62 | rand_b);
            let ids = Uuid7::from_random(unix_ms, random).unwrap();
            assert_eq!([0, 1].map(|n| u128::from_be_bytes(ids.nth(n))), expected);
        }
    }

    #[test]
    fn the_largest_seed_and_index_keep_version_and_variant() {
        let ids = Uuid7::from_random((1 << 48) - 1, [0xff; 16]).unwrap();
        let last = ids.nth(u64::MAX);
        assert_eq!((last[6] >> 4, last[8] >> 6), (7, 0b10));
        assert!(last > ids.nth(u64::MAX - 1));
        assert!(ids.nth(u64::MAX - 1) > ids.nth(0));
    }

    #[test]
    fn a_time_of_more_than_48_bits_is_refused() {
        assert_eq!(Uuid7::from_random(1 << 48, [0; 16]), None);
    }
}
