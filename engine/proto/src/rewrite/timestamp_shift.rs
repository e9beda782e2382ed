//! Timestamps of one encoding on the line that a receiver has seen so far. Encodings of a source, and
//! sources, have timestamps of their own; a receiver that is switched between them must see time go on,
//! never back.
//!
//! A shift belongs to one stretch of the stream. Where the stretch begins in the past of what was sent
//! already (frames of the same moment in another size, or a key frame that was kept for a while), its
//! first part is squeezed: it begins right after what was sent last, goes slower, and joins the true
//! line at its end. The mapping is a function of the timestamp alone, so a resend has the same one, until
//! [`TimestampShift::settle`] finds the squeezed part long gone: a cycle later its timestamps come again, and are others.

/// So many ticks after the squeezed part nothing of it comes any more, resent or late: 3 minutes of 90 kHz.
const SETTLED: u32 = 1 << 24;

/// How the timestamps of a stretch are mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimestampShift {
    /// Added to timestamps, wrapping.
    shift: u32,
    /// The squeezed part: this many ticks of the source from `from` on
    span: u32,
    from: u32,
    /// take this many ticks from `to` on.
    len: u32,
    to: u32,
}

impl TimestampShift {
    /// Everything passes as it is.
    pub const NONE: Self = Self { shift: 0, span: 0, from: 0, len: 0, to: 0 };

    /// Adds `shift`, wrapping.
    pub const fn new(shift: u32) -> Self {
        Self { shift, ..Self::NONE }
    }

    /// The shift of a stretch that begins with timestamp `first`, on a clock of `clock_rate`, when the
    /// last one sent was `last_out`. `shift` puts `first` on the true line; `backlog` is how far the
    /// source is ahead of `first` already, in ticks.
    pub fn after(last_out: u32, first: u32, shift: u32, backlog: u32, clock_rate: u32) -> Self {
        // A millisecond: what is told apart as another picture.
        let step = (clock_rate / 1_000).max(1);
        let behind = last_out.wrapping_add(step).wrapping_sub(first.wrapping_add(shift)) as i32;
        let Ok(deficit) = u32::try_from(behind) else { return Self::new(shift) };
        if deficit == 0 {
            return Self::new(shift);
        }
        // Joins the line a tenth of a second after the backlog, and never goes slower than a quarter
        // beyond it.
        let rest = deficit.saturating_sub(backlog);
        let span = backlog.saturating_add((clock_rate / 10).max(rest.saturating_mul(4)).max(1));
        let len = span.saturating_sub(deficit).max(1);
        Self { shift, span, from: first, len, to: first.wrapping_add(shift).wrapping_add(deficit) }
    }

    /// The timestamp to write.
    #[inline]
    pub fn apply(&self, timestamp: u32) -> u32 {
        if self.span != 0 {
            let ahead = timestamp.wrapping_sub(self.from);
            if ahead < self.span {
                let squeezed = u64::from(ahead) * u64::from(self.len) / u64::from(self.span);
                return self.to.wrapping_add(squeezed as u32);
            }
        }
        timestamp.wrapping_add(self.shift)
    }

    /// Told the source's newest timestamp: forgets the squeezed part when it is long gone.
    #[inline]
    pub fn settle(&mut self, newest: u32) {
        if self.span != 0 && (self.span.saturating_add(SETTLED)..1 << 31).contains(&newest.wrapping_sub(self.from)) {
            *self = Self::new(self.shift);
        }
    }

    /// What is added on the true line.
    pub const fn shift(&self) -> u32 {
        self.shift
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_ahead_passes_on_the_line() {
        let shift = TimestampShift::after(1_000, 500, 3_600, 0, 90_000);
        assert_eq!((shift.apply(500), shift.apply(3_500)), (4_100, 7_100));
        assert_eq!(TimestampShift::NONE.apply(u32::MAX), u32::MAX);
    }

    #[test]
    fn the_same_moment_in_another_size_comes_a_millisecond_later_and_joins_the_line() {
        let shift = TimestampShift::after(10_000, 7_000, 3_000, 0, 90_000);
        assert_eq!(shift.apply(7_000), 10_090);
        let next = shift.apply(10_000);
        assert!((12_900..13_090).contains(&next), "{next}");
        assert_eq!(shift.apply(7_000 + 9_000), 19_000, "a tenth of a second on");
    }

    #[test]
    fn a_run_of_a_second_is_squeezed_into_what_is_left() {
        let (last, first, backlog) = (500_000u32, 100_000u32, 90_000);
        // On the line the run's end is what was sent last.
        let shift = last.wrapping_sub(first + backlog);
        let map = TimestampShift::after(last, first, shift, backlog, 90_000);
        let mut before = last;
        for frame in 0..60 {
            let out = map.apply(first + frame * 3_000);
            assert!(out.wrapping_sub(before) as i32 > 0, "{frame}");
            before = out;
        }
        assert_eq!(before, first.wrapping_add(59 * 3_000).wrapping_add(shift));
    }

    #[test]
    fn h27_a_thousand_wraps_after_a_squeezed_beginning_stay_on_the_line() {
        let (first, shift) = (7_000u32, 3_000);
        let mut map = TimestampShift::after(40_000, first, shift, 0, 90_000);
        assert_ne!(map.apply(first), first + shift, "it is squeezed");
        map.settle(first.wrapping_sub(90_000));
        assert_ne!(map.apply(first), first + shift, "a late one does not end it");
        let last = map.span + SETTLED - 1;
        map.settle(first + last);
        assert_ne!(map.apply(first), first + shift, "it may still be resent");
        // Ten minutes a step, and all of the squeezed part once in each cycle.
        let mut at = u64::from(first);
        for wrap in 1..=1_000u64 {
            while at < wrap << 32 {
                at += 54_000_000;
                map.settle(at as u32);
                assert_eq!(map.apply(at as u32), (at as u32).wrapping_add(shift));
            }
            for again in (first..first + 200_000).step_by(3_000) {
                assert_eq!(map.apply(again), again + shift, "in cycle {wrap}");
            }
        }
    }

    proptest! {
        /// Whatever is asked for, frames of a 300 Hz source never go back, and join the line at last.
        #[test]
        fn never_goes_back(last in any::<u32>(), first in any::<u32>(), behind in -200_000i32..400_000, backlog in 0u32..200_000) {
            let shift = last.wrapping_sub(first).wrapping_sub(behind as u32);
            let map = TimestampShift::after(last, first, shift, backlog, 90_000);
            let mut before = last;
            let end = backlog + 2_000_000;
            for at in (0..end).step_by(3_000) {
                let out = map.apply(first.wrapping_add(at));
                prop_assert!(out.wrapping_sub(before) as i32 >= 0, "at {at}: {}", out.wrapping_sub(before) as i32);
                before = out;
            }
            prop_assert_eq!(before, first.wrapping_add((end - 1) / 3_000 * 3_000).wrapping_add(shift));
        }
    }
}
