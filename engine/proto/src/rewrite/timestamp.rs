//! Timestamps of one source made into one steady line: jumps, restarts and changes of the clock rate
//! are taken out, so that receivers see time go on as it really did.
//!
//! What the source says is passed on as it is as long as it can be true. Small steps back are: frames
//! may be sent in decoding order. A step back of more than a second, or one forward of ten seconds
//! more than has passed, is a restart of the source's clock: the line is anchored again at the last
//! timestamp plus the time that has passed.

use std::time::Duration;

use sfu_wire::time::Time;

/// A step back by more than this is a jump.
const MAX_BACK: Duration = Duration::from_secs(1);
/// A step forward may be ahead of the clock by this much.
const MAX_AHEAD: Duration = Duration::from_secs(10);
/// Beyond this silence a 32-bit difference says nothing.
const MAX_SILENCE: Duration = Duration::from_secs(3600);

/// The line of one source.
#[derive(Debug, Clone)]
pub struct TimestampLine {
    clock_rate: u32,
    shift: u32,
    /// Shift of positions before `broken_at`.
    previous_shift: u32,
    broken_at: u64,
    newest: u64,
    newest_in: u32,
    newest_at: Time,
    started: bool,
    restart: bool,
}

/// Ticks of a clock in `elapsed`, wrapping as RTP timestamps do.
fn ticks(elapsed: Duration, clock_rate: u32) -> u32 {
    (elapsed.as_nanos().wrapping_mul(u128::from(clock_rate)) / 1_000_000_000) as u32
}

impl TimestampLine {
    /// A line that begins with the first timestamp as it comes.
    pub fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate,
            shift: 0,
            previous_shift: 0,
            broken_at: 0,
            newest: 0,
            newest_in: 0,
            newest_at: Time::from_nanos(0),
            started: false,
            restart: false,
        }
    }

    /// The source started over: its next timestamps have nothing to do with the last ones.
    pub fn restart(&mut self) {
        self.restart = self.started;
    }

    /// The clock rate in use.
    pub fn clock_rate(&self) -> u32 {
        self.clock_rate
    }

    /// The steady timestamp for a packet at `position` (unwrapped sequence number) that carries
    /// `timestamp` on a clock of `clock_rate` and arrived at `at`.
    pub fn map(&mut self, at: Time, position: u64, timestamp: u32, clock_rate: u32) -> u32 {
        if !self.started {
            self.started = true;
            self.clock_rate = clock_rate;
            self.advance(at, position, timestamp);
            return timestamp;
        }
        if position < self.broken_at {
            return timestamp.wrapping_add(self.previous_shift);
        }
        if position <= self.newest {
            return timestamp.wrapping_add(self.shift);
        }
        if self.is_jump(at, timestamp, clock_rate) {
            self.anchor(at, position, timestamp, clock_rate);
        }
        self.advance(at, position, timestamp);
        timestamp.wrapping_add(self.shift)
    }

    /// The steady timestamp for one in a report of the source, on its current clock.
    pub fn map_report(&self, timestamp: u32) -> u32 {
        timestamp.wrapping_add(self.shift)
    }

    fn is_jump(&self, at: Time, timestamp: u32, clock_rate: u32) -> bool {
        let elapsed = at.saturating_since(self.newest_at);
        if self.restart || clock_rate != self.clock_rate || elapsed > MAX_SILENCE {
            return true;
        }
        let step = i64::from(timestamp.wrapping_sub(self.newest_in) as i32);
        let most = i64::from(ticks(elapsed + MAX_AHEAD, clock_rate));
        step < -i64::from(ticks(MAX_BACK, clock_rate)) || step > most
    }

    /// Lets the line go on from the last timestamp by the time that has passed, at least one tick.
    fn anchor(&mut self, at: Time, position: u64, timestamp: u32, clock_rate: u32) {
        let elapsed = ticks(at.saturating_since(self.newest_at), clock_rate).max(1);
        let out = self.newest_in.wrapping_add(self.shift).wrapping_add(elapsed);
        self.previous_shift = self.shift;
        self.broken_at = position;
        self.shift = out.wrapping_sub(timestamp);
        self.clock_rate = clock_rate;
        self.restart = false;
    }

    fn advance(&mut self, at: Time, position: u64, timestamp: u32) {
        self.newest = position;
        self.newest_in = timestamp;
        self.newest_at = at;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(n: u64) -> Time {
        Time::from_nanos(n * 1_000_000)
    }

    #[test]
    fn row_029_wraps_pass_unchanged() {
        let mut line = TimestampLine::new(90_000);
        let start = u32::MAX - 4_500;
        for k in 0..100u32 {
            let ts = start.wrapping_add(k * 3_000);
            assert_eq!(line.map(ms(u64::from(k) * 33), 65_536 + u64::from(k), ts, 90_000), ts);
        }
    }

    #[test]
    fn row_029_a_jump_of_half_the_range_is_taken_out() {
        for jump in [1u32 << 31, (1 << 31) - 1, (1 << 31) + 1, 0x4000_0000, 0u32.wrapping_sub(200_000)] {
            let mut line = TimestampLine::new(90_000);
            assert_eq!(line.map(ms(0), 10, 1_000, 90_000), 1_000);
            let out = line.map(ms(33), 11, 1_000u32.wrapping_add(jump), 90_000);
            assert_eq!(out, 1_000 + 2_970, "time went on by 33 ms");
            let out = line.map(ms(66), 12, 1_000u32.wrapping_add(jump).wrapping_add(3_000), 90_000);
            assert_eq!(out, 1_000 + 2_970 + 3_000, "and the line keeps the new shift");
            assert_eq!(line.map(ms(67), 9, 500, 90_000), 500, "late packets keep the old one");
        }
    }

    #[test]
    fn row_029_standing_still_and_decoding_order_pass() {
        let mut line = TimestampLine::new(90_000);
        line.map(ms(0), 10, 90_000, 90_000);
        assert_eq!(line.map(ms(1), 11, 90_000, 90_000), 90_000);
        assert_eq!(line.map(ms(2), 12, 99_000, 90_000), 99_000);
        assert_eq!(line.map(ms(3), 13, 93_000, 90_000), 93_000, "B frames go back a little");
    }

    #[test]
    fn row_029_another_clock_rate_goes_on_in_its_own_ticks() {
        let mut line = TimestampLine::new(48_000);
        assert_eq!(line.map(ms(0), 10, 48_000, 48_000), 48_000);
        let out = line.map(ms(20), 11, 7, 8_000);
        assert_eq!(out, 48_000 + 160);
        assert_eq!(line.map(ms(40), 12, 7 + 160, 8_000), out + 160);
    }

    #[test]
    fn a_restart_goes_on_by_the_time_that_passed() {
        let mut line = TimestampLine::new(48_000);
        line.restart();
        assert_eq!(line.map(ms(0), 10, 100, 48_000), 100, "nothing to go on from");
        line.restart();
        assert_eq!(line.map(ms(1_000), 20, 5_000_000, 48_000), 48_100);
        assert_eq!(line.map(ms(1_020), 21, 5_000_960, 48_000), 49_060);
        assert_eq!(line.map_report(5_000_960), 49_060);
    }

    #[test]
    fn h27_a_clock_that_stands_still_keeps_the_line_moving() {
        let mut line = TimestampLine::new(90_000);
        line.map(ms(5), 10, 100, 90_000);
        line.restart();
        assert_eq!(line.map(ms(5), 11, 0xF000_0000, 90_000), 101);
        line.restart();
        assert_eq!(line.map(ms(0), 12, 77, 90_000), 102, "nor does one that goes back");
    }

    proptest! {
        /// Whatever the source says, the line never goes back by more than frames may be reordered.
        #[test]
        fn never_goes_back_far(inputs in prop::collection::vec((0u64..500, any::<u32>(), any::<bool>()), 1..100)) {
            let mut line = TimestampLine::new(90_000);
            let mut now = 0;
            let mut last: Option<u32> = None;
            for (k, (step, ts, restart)) in inputs.into_iter().enumerate() {
                now += step;
                if restart { line.restart(); }
                let out = line.map(ms(now), 65_536 + k as u64, ts, 90_000);
                if let Some(last) = last {
                    let moved = out.wrapping_sub(last) as i32;
                    prop_assert!(moved >= -90_000, "moved {moved}");
                    prop_assert!(i64::from(moved) <= 90 * (step as i64 + 10_000));
                }
                last = Some(out);
            }
        }
    }
}
