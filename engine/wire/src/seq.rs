//! Arithmetic of numbers that wrap: 16-bit sequence numbers and 32-bit timestamps.

/// Is `a` newer than `b`? For numbers exactly half the space apart the larger one is, so that of two
/// different numbers exactly one is newer.
#[inline]
pub const fn seq_newer(a: u16, b: u16) -> bool {
    let ahead = a.wrapping_sub(b);
    if ahead == 0x8000 { a > b } else { ahead != 0 && ahead < 0x8000 }
}

/// How far `a` is ahead of `b`: negative if it is behind.
#[inline]
pub const fn seq_diff(a: u16, b: u16) -> i16 {
    a.wrapping_sub(b) as i16
}

/// Is `a` newer than `b`? As [`seq_newer`], for timestamps.
#[inline]
pub const fn ts_newer(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    if ahead == 0x8000_0000 { a > b } else { ahead != 0 && ahead < 0x8000_0000 }
}

/// How far `a` is ahead of `b`: negative if it is behind.
#[inline]
pub const fn ts_diff(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

macro_rules! extender {
    ($(#[$doc:meta])* $name:ident, $narrow:ty, $signed:ty, $bits:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $name {
            highest: Option<u64>,
        }

        impl $name {
            /// Knows nothing yet.
            #[inline]
            pub const fn new() -> Self {
                Self { highest: None }
            }

            /// Places `value` in the long space, nearest to the highest one so far, and remembers it
            /// if it is the new highest. `None` only if it would leave the long space.
            #[inline]
            pub fn extend(&mut self, value: $narrow) -> Option<u64> {
                let extended = self.peek(value)?;
                if self.highest.is_none_or(|highest| extended > highest) {
                    self.highest = Some(extended);
                }
                Some(extended)
            }

            /// As `extend`, but remembers nothing: for values that are not verified yet.
            #[inline]
            pub fn peek(&self, value: $narrow) -> Option<u64> {
                match self.highest {
                    None => Some((1 << $bits) + value as u64),
                    Some(highest) => {
                        let ahead = value.wrapping_sub(highest as $narrow) as $signed;
                        highest.checked_add_signed(ahead as i64)
                    }
                }
            }

            /// The highest so far, in the long space.
            #[inline]
            pub const fn highest(&self) -> Option<u64> {
                self.highest
            }

            /// Forgets everything.
            #[inline]
            pub fn reset(&mut self) {
                self.highest = None;
            }
        }
    };
}

extender! {
    /// Turns 16-bit sequence numbers into 64-bit ones. The first one lands in the second cycle, so
    /// that packets older than it still have a positive number.
    SeqExtender, u16, i16, 16
}

extender! {
    /// Turns 32-bit timestamps into 64-bit ones. The first one lands in the second cycle.
    TsExtender, u32, i32, 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_different_numbers_exactly_one_is_newer() {
        for a in (0..=u16::MAX).step_by(17) {
            for b in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, a, a.wrapping_add(0x8000), a.wrapping_add(1)] {
                assert_eq!(seq_newer(a, b) || seq_newer(b, a), a != b);
                assert!(!(seq_newer(a, b) && seq_newer(b, a)));
            }
        }
        assert!(seq_newer(0, 65_535));
        assert!(ts_newer(0, u32::MAX));
        assert_eq!(seq_diff(2, 65_534), 4);
        assert_eq!(seq_diff(65_534, 2), -4);
        assert_eq!(ts_diff(2, u32::MAX), 3);
    }

    #[test]
    fn extension_follows_wraps_in_both_directions() {
        let mut extender = SeqExtender::new();
        assert_eq!(extender.highest(), None);
        assert_eq!(extender.extend(2), Some(65_538));
        assert_eq!(extender.extend(65_535), Some(65_535));
        assert_eq!(extender.highest(), Some(65_538));
        let mut last = 65_538;
        for step in 1..500_000_u64 {
            let value = ((2 + step * 7) & 0xffff) as u16;
            let extended = extender.extend(value).unwrap();
            assert_eq!(extended, last + 7);
            assert_eq!(extender.peek(value.wrapping_sub(100)), Some(extended - 100));
            last = extended;
        }
    }

    #[test]
    fn timestamps_extend_likewise() {
        let mut extender = TsExtender::new();
        assert_eq!(extender.extend(u32::MAX), Some((1 << 33) - 1));
        assert_eq!(extender.extend(5), Some((1 << 33) + 5));
        assert_eq!(extender.extend(u32::MAX - 5), Some((1 << 33) - 6));
        extender.reset();
        assert_eq!(extender.extend(0), Some(1 << 32));
    }
}
