//! When a source captured what it sends, on our clock, so that reports about a forwarded stream let
//! its receiver play several streams of one publisher in step.
//!
//! Told: the publisher's sender reports, and before the first of these the arrival of packets. Tells:
//! a point of the line between the source's timestamps and our time.
//! A sender report names a moment on the publisher's clock. The least difference between its arrival
//! here and that moment, over the last reports, is the difference of the two clocks and the shortest
//! way there was: it is nearly the same for all streams of a publisher, which is what matters.
//! Limits: constant memory. RFC 3550, section 6.4.1. Left out: making timestamps steady
//! ([`crate::rewrite::TimestampLine`] comes before this).

use sfu_wire::time::{NtpTime, Time};

/// Reports over which the least difference counts.
const REPORTS: usize = 8;
/// A difference that moves by more is a step of the publisher's clock, nanoseconds.
const STEP: i64 = 1_000_000_000;
/// Packets later than the line by more mean that the source's timestamps stood still, nanoseconds.
const LATE: i64 = 2_000_000_000;

/// One point of the line, and its slope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceClock {
    /// At this time on our clock
    pub at: Time,
    /// the source captured what carries this timestamp.
    pub timestamp: u32,
    /// Ticks per second.
    pub clock_rate: u32,
}

impl SourceClock {
    /// The timestamp of what is captured at `now`.
    pub fn timestamp_at(&self, now: Time) -> u32 {
        let ahead = i128::from(now.as_nanos()) - i128::from(self.at.as_nanos());
        let ticks = ahead * i128::from(self.clock_rate) / 1_000_000_000;
        self.timestamp.wrapping_add(ticks as u32)
    }

    /// When what carries `timestamp` was captured, nanoseconds since the epoch.
    fn captured_at(&self, timestamp: u32) -> i64 {
        let ticks = i64::from(timestamp.wrapping_sub(self.timestamp) as i32);
        (self.at.as_nanos() as i64)
            .wrapping_add((i128::from(ticks) * 1_000_000_000 / i128::from(self.clock_rate.max(1))) as i64)
    }
}

/// Finds the line of one source.
#[derive(Debug, Clone, Default)]
pub struct SourceClockEstimator {
    line: Option<SourceClock>,
    reported: bool,
    /// Differences of the clocks as reports showed them, nanoseconds.
    differences: [i64; REPORTS],
    count: usize,
    next: usize,
}

impl SourceClockEstimator {
    /// Knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The source started over.
    pub fn restart(&mut self) {
        *self = Self::default();
    }

    /// A packet with the (steady) timestamp arrived. Does nothing once a report came.
    #[inline]
    pub fn handle_packet(&mut self, arrival: Time, timestamp: u32, clock_rate: u32) {
        if self.reported {
            return;
        }
        // The earliest arrival there was, relative to its timestamp, is the closest to capture.
        let better = self.line.is_none_or(|line| {
            let late = (arrival.as_nanos() as i64).wrapping_sub(line.captured_at(timestamp));
            line.clock_rate != clock_rate || !(0..LATE).contains(&late)
        });
        if better {
            self.line = Some(SourceClock { at: arrival, timestamp, clock_rate });
        }
    }

    /// The publisher reports: at `ntp` on its clock its (steady) timestamp was `timestamp`.
    pub fn handle_sender_report(&mut self, arrival: Time, ntp: NtpTime, timestamp: u32, clock_rate: u32) {
        if ntp.0 == 0 {
            // "Not known" (RFC 3550, section 6.4.1).
            return;
        }
        let sent = ((u128::from(ntp.0) * 1_000_000_000) >> 32) as i64;
        let difference = (arrival.as_nanos() as i64).wrapping_sub(sent);
        if self.count > 0 && difference.wrapping_sub(self.least()).unsigned_abs() > STEP as u64 {
            self.count = 0;
            self.next = 0;
        }
        self.differences[self.next] = difference;
        self.next = (self.next + 1) % REPORTS;
        self.count = (self.count + 1).min(REPORTS);
        let at = sent.wrapping_add(self.least());
        self.line = Some(SourceClock { at: Time::from_nanos(at.max(0) as u64), timestamp, clock_rate });
        self.reported = true;
    }

    /// The line, once something is known.
    pub fn line(&self) -> Option<SourceClock> {
        self.line
    }

    /// What is added to a moment of the publisher's clock to have ours, in 2^-32 seconds and modulo 2^64,
    /// as NTP times count: at `now` ours says `ntp`. `None` before a report came.
    pub fn clock_offset(&self, now: Time, ntp: NtpTime) -> Option<i64> {
        if !self.reported {
            return None;
        }
        // Our clock less our time, and then the publisher's: both in seconds since 1900.
        let ours = ((i128::from(ntp.0) * 1_000_000_000) >> 32) - i128::from(now.as_nanos());
        let nanos = ours + i128::from(self.least());
        Some(((nanos << 32) / 1_000_000_000) as i64)
    }

    fn least(&self) -> i64 {
        self.differences[..self.count].iter().copied().min().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Time {
        Time::from_millis(n)
    }

    /// A publisher whose clock is ahead by `offset_ms`; capture to arrival takes `delay_ms`.
    fn report(
        e: &mut SourceClockEstimator,
        captured_ms: u64,
        delay_ms: u64,
        offset_ms: u64,
        timestamp: u32,
        rate: u32,
    ) {
        let ntp = NtpTime::from_unix_nanos((captured_ms + offset_ms) * 1_000_000);
        e.handle_sender_report(ms(captured_ms + delay_ms), ntp, timestamp, rate);
    }

    #[test]
    fn two_streams_of_a_publisher_stay_in_step_whatever_their_reports_delay() {
        let mut audio = SourceClockEstimator::new();
        let mut video = SourceClockEstimator::new();
        let delays = [30u64, 180, 25, 60, 90, 20, 44, 300];
        for (k, delay) in delays.iter().enumerate() {
            let at = 10_000 + k as u64 * 1000;
            report(&mut audio, at, *delay, 77_000_000, 48 * at as u32, 48_000);
            report(&mut video, at, delays[delays.len() - 1 - k], 77_000_000, (90 * at) as u32, 90_000);
        }
        let now = ms(20_000);
        let audio_at = audio.line().unwrap().timestamp_at(now) / 48;
        let video_at = video.line().unwrap().timestamp_at(now) / 90;
        assert!(audio_at.abs_diff(video_at) <= 1, "{audio_at} {video_at}");
        assert!(audio_at.abs_diff(20_000 - 20) <= 1, "late by the shortest way only");
    }

    #[test]
    fn before_the_first_report_the_earliest_arrival_counts() {
        let mut e = SourceClockEstimator::new();
        assert_eq!(e.line(), None);
        for (arrival, timestamp) in [(1_050u64, 90_000u32), (1_083, 93_000), (1_070, 94_500), (1_150, 99_000)] {
            e.handle_packet(ms(arrival), timestamp, 90_000);
        }
        // 94,500 came 20 ms after 90,000 although captured 50 ms later.
        assert_eq!(e.line().unwrap().timestamp_at(ms(1_070)), 94_500);
    }

    #[test]
    fn a_step_of_the_publishers_clock_is_followed_at_once() {
        let mut e = SourceClockEstimator::new();
        report(&mut e, 10_000, 20, 500_000, 900_000, 90_000);
        report(&mut e, 11_000, 20, 4_000_000, 990_000, 90_000);
        assert_eq!(e.line().unwrap().timestamp_at(ms(11_020)), 990_000);
    }

    #[test]
    fn moments_of_the_publishers_clock_are_moments_of_ours() {
        let mut e = SourceClockEstimator::new();
        let epoch = 1_700_000_000_000_000_000;
        let ours = |at: u64| NtpTime::from_unix_nanos(epoch + at * 1_000_000);
        assert_eq!(e.clock_offset(ms(10_000), ours(10_000)), None);
        // The publisher's clock is five seconds behind ours, and its reports take 20 ms at least.
        for (captured, delay) in [(10_000, 120), (11_000, 20), (12_000, 300)] {
            let ntp = ours(captured - 5_000);
            e.handle_sender_report(ms(captured + delay), ntp, 0, 90_000);
        }
        let offset = e.clock_offset(ms(13_000), ours(13_000)).unwrap();
        let captured = NtpTime(ours(12_500 - 5_000).0.wrapping_add_signed(offset)).to_unix_nanos();
        assert!(captured.abs_diff(epoch + 12_520_000_000) < 100_000, "{captured}");
        // A clock that counts from its start is mapped as well.
        let mut e = SourceClockEstimator::new();
        e.handle_sender_report(ms(10_000), NtpTime(7 << 32), 0, 90_000);
        let offset = e.clock_offset(ms(10_000), ours(10_000)).unwrap();
        let captured = NtpTime((7u64 << 32).wrapping_add_signed(offset)).to_unix_nanos();
        assert!(captured.abs_diff(epoch + 10_000_000_000) < 100_000, "{captured}");
    }

    #[test]
    fn an_unknown_or_absurd_clock_does_no_harm() {
        let mut e = SourceClockEstimator::new();
        e.handle_packet(ms(100), 5, 90_000);
        let line = e.line();
        e.handle_sender_report(ms(200), NtpTime(0), 9, 90_000);
        assert_eq!(e.line(), line);
        for ntp in [1, u64::MAX, 1 << 63] {
            e.handle_sender_report(ms(200), NtpTime(ntp), 9, 90_000);
            assert_eq!(e.line().unwrap().timestamp_at(ms(200)), 9);
        }
        e.handle_sender_report(Time::MAX, NtpTime(77), u32::MAX, u32::MAX);
        let _ = e.line().unwrap().timestamp_at(Time::ZERO);
    }
}
