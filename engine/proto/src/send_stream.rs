//! One RTP stream as it is sent: counters, what its sender report says, and what its receiver reports.
//!
//! Told: packets sent, report blocks of the receiver. Tells: the numbers of a sender report, round
//! trip, loss as reported. Limits: constant memory; a round trip that cannot be is not believed.
//! RFC 3550, sections 6.4.1 and 6.4.2. Left out: the media ([`crate::history`]) and when to report
//! ([`crate::rtcp_schedule`]).

use std::time::Duration;

use sfu_wire::rtcp::ReportBlock;
use sfu_wire::time::{NtpTime, Time, round_trip};

const RATE_WINDOW: Duration = Duration::from_secs(1);

/// Counters of a sent stream.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SendStats {
    /// Packets sent, resends not counted.
    pub packets: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Bit/s over about the last second.
    pub bitrate: u64,
    /// As the receiver reports.
    pub packets_lost: i64,
    /// As the receiver reports, in 1/256.
    pub fraction_lost: u8,
    /// As the receiver reports, in timestamp units.
    pub jitter: u32,
    /// Smoothed.
    pub round_trip: Option<Duration>,
}

/// What the receiver said last: apart, since only reports touch it.
#[derive(Debug, Clone, Copy, Default)]
struct Remote {
    packets_lost: i64,
    fraction_lost: u8,
    jitter: u32,
    round_trip: Option<Duration>,
}

/// The state of one stream. What each packet touches comes first.
#[derive(Debug, Default)]
pub struct SendStream {
    packets: u64,
    bytes: u64,
    window_began: Time,
    window_bytes: u64,
    bitrate: u64,
    remote: Box<Remote>,
}

impl SendStream {
    /// A stream of which nothing was sent.
    pub fn new() -> Self {
        Self::default()
    }

    /// A packet of `payload_len` bytes of payload was sent.
    #[inline]
    pub fn handle_sent(&mut self, now: Time, payload_len: usize) {
        self.packets += 1;
        self.bytes += payload_len as u64;
        self.window_bytes += payload_len as u64;
        let elapsed = now.saturating_since(self.window_began);
        if elapsed >= RATE_WINDOW {
            self.bitrate = (u128::from(self.window_bytes) * 8_000_000_000 / elapsed.as_nanos().max(1)) as u64;
            self.window_began = now;
            self.window_bytes = 0;
        }
    }

    /// Packets sent.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Payload bytes sent.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The receiver reports on the stream; `ntp_now` is our clock, as our sender reports say it.
    pub fn handle_report_block(&mut self, ntp_now: NtpTime, block: &ReportBlock) {
        self.remote.packets_lost = i64::from(block.cumulative_lost);
        self.remote.fraction_lost = block.fraction_lost;
        self.remote.jitter = block.jitter;
        let Some(sample) = round_trip(ntp_now, block.last_sr, block.delay_since_last_sr) else { return };
        self.remote.round_trip = Some(self.remote.round_trip.map_or(sample, |old| (old * 7 + sample) / 8));
    }

    /// Smoothed round trip, once a report allowed to tell.
    pub fn round_trip(&self) -> Option<Duration> {
        self.remote.round_trip
    }

    /// Counters.
    pub fn stats(&self, now: Time) -> SendStats {
        let elapsed = now.saturating_since(self.window_began);
        let bitrate = if elapsed > RATE_WINDOW * 2 {
            (u128::from(self.window_bytes) * 8_000_000_000 / elapsed.as_nanos()) as u64
        } else {
            self.bitrate
        };
        SendStats {
            packets: self.packets,
            bytes: self.bytes,
            bitrate,
            packets_lost: self.remote.packets_lost,
            fraction_lost: self.remote.fraction_lost,
            jitter: self.remote.jitter,
            round_trip: self.remote.round_trip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(last_sr: u32, delay: u32) -> ReportBlock {
        ReportBlock {
            ssrc: 1,
            fraction_lost: 3,
            cumulative_lost: -2,
            highest_sequence: 0,
            jitter: 9,
            last_sr,
            delay_since_last_sr: delay,
        }
    }

    fn ntp(middle: u32) -> NtpTime {
        NtpTime(u64::from(middle) << 16)
    }

    #[test]
    fn the_round_trip_is_measured_and_smoothed() {
        let mut s = SendStream::new();
        s.handle_report_block(ntp(0x1_0000 + 6_553 + 0x8000), &block(0x1_0000, 0x8000));
        let rtt = s.round_trip().unwrap();
        assert!((99..101).contains(&rtt.as_millis()), "{rtt:?}");
        s.handle_report_block(ntp(0x1_0000), &block(0x1_0000, 0));
        assert!(s.round_trip().unwrap() < rtt);
        let stats = s.stats(Time::ZERO);
        assert_eq!((stats.packets_lost, stats.fraction_lost, stats.jitter), (-2, 3, 9));
    }

    #[test]
    fn row_038_impossible_round_trips_are_not_believed() {
        // (now, LSR, DLSR): negative, half a day, no report, all ones.
        for (now, lsr, dlsr) in [
            (100, 200, 0),
            (0, 1, 0x1_0000),
            (u32::MAX / 2, 1, 0),
            (1000, 0, 0),
            (5, u32::MAX, u32::MAX / 2),
            (0, 0x8000_0000, 0),
        ] {
            let mut s = SendStream::new();
            s.handle_report_block(ntp(now), &block(lsr, dlsr));
            assert!(s.round_trip().is_none_or(|rtt| rtt <= sfu_wire::time::MAX_ROUND_TRIP), "{now} {lsr} {dlsr}");
        }
    }

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let mut s = SendStream::new();
        for k in 0..300u64 {
            s.handle_sent(Time::from_millis(k * 10), 1_250);
        }
        let rate = s.stats(Time::from_millis(3_000)).bitrate;
        assert!((990_000..1_020_000).contains(&rate), "{rate}");
        assert!(s.stats(Time::from_millis(100_000)).bitrate < 20_000);
    }
}
