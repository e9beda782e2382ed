//! One RTP stream as it is received: order, loss, jitter, and the report block about it.
//!
//! Told: sequence number, timestamp and size of each packet whose tag was verified, repaired packets,
//! sender reports, answers to our reference times. Tells: the packet's position (unwrapped sequence
//! number), report blocks, the round trip, counters.
//! Positions never go back: when the source starts its numbers anew, they go on one cycle further up.
//! Limits: constant memory; duplicates are known within 1,024 packets.
//! RFC 3550, sections 6.4.1, A.1, A.3, A.8; RFC 3611, section 4.5. Left out: asking for what is missing ([`crate::nack`]).

use std::time::Duration;

use sfu_wire::drop_reason::DropReason;
use sfu_wire::rate::RateMeter;
use sfu_wire::rtcp::{DlrrBlock, ReportBlock, SenderReport};
use sfu_wire::time::{NtpTime, Time, duration_to_short_ntp, round_trip};

/// A step forward by more than this is a restart (RFC 3550, A.1).
pub const MAX_DROPOUT: u16 = 3000;
/// Duplicates are recognised, and late packets taken, within this many packets.
pub const WINDOW: u16 = 1024;
/// A repaired packet may be newer than the newest received by this much: the end of a burst was lost.
const MAX_REPAIR_AHEAD: u16 = 1000;
const WORDS: usize = WINDOW as usize / 64;

/// Where a packet belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Unwrapped sequence number; its low 16 bits are the sequence number.
    pub position: u64,
    /// It is the newest so far.
    pub newest: bool,
    /// The source started over with this packet.
    pub restarted: bool,
}

/// Counters of a received stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiveStats {
    /// Packets taken, repaired ones not counted.
    pub packets: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Bit/s over the last second.
    pub bitrate: u64,
    /// RFC 3550, A.3.
    pub packets_lost: i64,
    /// Of the last report interval, in 1/256.
    pub fraction_lost: u8,
    /// Timestamp units.
    pub jitter: u32,
    /// Duplicates and packets too old.
    pub packets_discarded: u64,
    /// Losses repaired, by retransmission or redundancy.
    pub packets_repaired: u64,
    /// Retransmissions of packets that were there already, or too old.
    pub rtx_packets_discarded: u64,
    /// Smoothed, once the sender answered a reference time.
    pub round_trip: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct LastReport {
    middle: u32,
    at: Time,
}

/// The state of one stream.
#[derive(Debug)]
pub struct ReceiveStream {
    ssrc: u32,
    clock_rate: u32,
    started: bool,
    highest: u64,
    /// Bit k: the packet at `highest - k` was taken.
    window: [u64; WORDS],
    /// First position since the start or restart, and its cycle: reports count from there.
    base: u64,
    base_cycle: u64,
    /// Packets since `base`.
    received: u64,
    expected_prior: u64,
    received_prior: u64,
    /// Losses before the last restart.
    lost_before: i64,
    fraction_lost: u8,
    /// Sequence number that would prove a jump back.
    probation: Option<u16>,
    /// Sixteenths of a timestamp unit.
    jitter: u32,
    transit: Option<(u32, u32)>,
    last_report: Option<LastReport>,
    packets: u64,
    bytes: u64,
    discarded: u64,
    repaired: u64,
    rtx_discarded: u64,
    round_trip: Option<Duration>,
    rate: RateMeter,
}

impl ReceiveStream {
    /// A stream of which nothing was received.
    pub fn new(ssrc: u32, clock_rate: u32) -> Self {
        Self {
            ssrc,
            clock_rate: clock_rate.max(1),
            started: false,
            highest: 0,
            window: [0; WORDS],
            base: 0,
            base_cycle: 0,
            received: 0,
            expected_prior: 0,
            received_prior: 0,
            lost_before: 0,
            fraction_lost: 0,
            probation: None,
            jitter: 0,
            transit: None,
            last_report: None,
            packets: 0,
            bytes: 0,
            discarded: 0,
            repaired: 0,
            rtx_discarded: 0,
            round_trip: None,
            rate: RateMeter::new(),
        }
    }

    /// The source's SSRC.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Whether anything was received.
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// The source goes on under another SSRC, with sequence numbers that have nothing to do with the
    /// ones so far; positions still never go back. Counters go on.
    pub fn change_ssrc(&mut self, ssrc: u32) {
        self.ssrc = ssrc;
        self.last_report = None;
        self.probation = None;
        if self.started {
            self.started = false;
            self.lost_before += self.lost();
        }
    }

    /// A packet came at `arrival`. `clock_rate` is that of its payload type.
    pub fn handle_rtp(
        &mut self,
        arrival: Time,
        sequence: u16,
        timestamp: u32,
        clock_rate: u32,
        len: usize,
    ) -> Result<Received, DropReason> {
        let placed = match self.place(sequence) {
            Ok(placed) => placed,
            Err(reason) => {
                self.discarded += 1;
                return Err(reason);
            }
        };
        self.received += 1;
        self.packets += 1;
        self.bytes += len as u64;
        self.rate.add(arrival, len);
        if placed.restarted || clock_rate != self.clock_rate {
            self.clock_rate = clock_rate.max(1);
            self.transit = None;
        }
        if placed.newest {
            self.update_jitter(arrival, timestamp);
        }
        Ok(placed)
    }

    /// A retransmission brought the packet with this sequence number. It does not count as received:
    /// reports tell what the path lost.
    pub fn handle_repaired(&mut self, sequence: u16) -> Result<Received, DropReason> {
        let ahead = sequence.wrapping_sub(self.highest as u16);
        if !self.started
            || (ahead < 0x8000 && ahead > MAX_REPAIR_AHEAD)
            || (ahead >= 0x8000 && ahead.wrapping_neg() >= WINDOW)
        {
            self.rtx_discarded += 1;
            return Err(if self.started { DropReason::RtpTooOld } else { DropReason::RtxMalformed });
        }
        let placed = self.place(sequence).inspect_err(|_| self.rtx_discarded += 1)?;
        self.repaired += 1;
        Ok(placed)
    }

    /// Is the packet at this position missing, though newer ones came? A position that is too old to
    /// know is not.
    pub fn is_missing(&self, position: u64) -> bool {
        let Some(behind) = self.highest.checked_sub(position).filter(|b| self.started && *b < u64::from(WINDOW)) else {
            return false;
        };
        position >= self.base && self.window[(behind / 64) as usize] & (1 << (behind % 64)) == 0
    }

    /// The sender answers a reference time of ours; `ntp_now` is our clock, as our reference times
    /// say it.
    pub fn handle_dlrr(&mut self, ntp_now: NtpTime, block: &DlrrBlock) {
        let Some(sample) = round_trip(ntp_now, block.last_rr, block.delay_since_last_rr) else { return };
        self.round_trip = Some(self.round_trip.map_or(sample, |old| (old * 7 + sample) / 8));
    }

    /// Smoothed round trip, once an answer allowed to tell.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Packets expected, received and repaired since the start, restarts included: what a score is
    /// made of.
    pub fn totals(&self) -> (u64, u64, u64) {
        let lost = self.total_lost().max(0) as u64;
        (self.packets + lost, self.packets, self.repaired)
    }

    /// A sender report about this stream came.
    pub fn handle_sender_report(&mut self, now: Time, report: &SenderReport) {
        self.last_report = Some(LastReport { middle: report.ntp.middle(), at: now });
    }

    /// The report block for now; begins a new interval.
    pub fn report_block(&mut self, now: Time) -> Option<ReportBlock> {
        if !self.started {
            return None;
        }
        let expected = self.expected();
        let expected_interval = expected.saturating_sub(self.expected_prior);
        let received_interval = self.received.saturating_sub(self.received_prior);
        self.expected_prior = expected;
        self.received_prior = self.received;
        let lost_interval = expected_interval.saturating_sub(received_interval);
        self.fraction_lost = (lost_interval * 256).checked_div(expected_interval).unwrap_or(0).min(255) as u8;
        let cycles = (self.highest >> 16).saturating_sub(self.base_cycle);
        let (last_sr, delay) =
            self.last_report.map_or((0, 0), |r| (r.middle, duration_to_short_ntp(now.saturating_since(r.at))));
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: self.fraction_lost,
            // 24 bits, signed.
            cumulative_lost: self.total_lost().clamp(-0x80_0000, 0x7F_FFFF) as i32,
            highest_sequence: ((cycles << 16) as u32) | (self.highest as u32 & 0xFFFF),
            jitter: self.jitter >> 4,
            last_sr,
            delay_since_last_sr: delay,
        })
    }

    /// Counters.
    pub fn stats(&self, now: Time) -> ReceiveStats {
        ReceiveStats {
            packets: self.packets,
            bytes: self.bytes,
            bitrate: self.rate.bitrate(now),
            packets_lost: self.total_lost(),
            fraction_lost: self.fraction_lost,
            jitter: self.jitter >> 4,
            packets_discarded: self.discarded,
            packets_repaired: self.repaired,
            rtx_packets_discarded: self.rtx_discarded,
            round_trip: self.round_trip,
        }
    }

    fn expected(&self) -> u64 {
        if self.started { self.highest + 1 - self.base } else { 0 }
    }

    fn lost(&self) -> i64 {
        (self.highest + 1 - self.base) as i64 - self.received as i64
    }

    fn total_lost(&self) -> i64 {
        self.lost_before + if self.started { self.lost() } else { 0 }
    }

    fn place(&mut self, sequence: u16) -> Result<Received, DropReason> {
        if !self.started {
            let restarted = self.highest != 0;
            return Ok(self.restart_at(sequence, restarted));
        }
        let ahead = sequence.wrapping_sub(self.highest as u16);
        if ahead != 0 && ahead <= MAX_DROPOUT {
            self.probation = None;
            self.shift_window(ahead);
            self.highest += u64::from(ahead);
            self.window[0] |= 1;
            return Ok(Received { position: self.highest, newest: true, restarted: false });
        }
        let behind = ahead.wrapping_neg();
        if behind < WINDOW {
            return self.place_late(behind);
        }
        if ahead < 0x8000 {
            // The tag was verified and replays are refused below, so a jump ahead is the sender's own.
            return Ok(self.restart_at(sequence, true));
        }
        // A jump back looks like a very late packet until the next one follows it.
        if self.probation == Some(sequence) {
            return Ok(self.restart_at(sequence, true));
        }
        self.probation = Some(sequence.wrapping_add(1));
        Err(DropReason::RtpTooOld)
    }

    fn place_late(&mut self, behind: u16) -> Result<Received, DropReason> {
        let (word, bit) = (usize::from(behind / 64), behind % 64);
        let position = self.highest - u64::from(behind);
        if self.window[word] & (1 << bit) != 0 {
            return Err(DropReason::RtpDuplicate);
        }
        self.window[word] |= 1 << bit;
        self.base = self.base.min(position);
        Ok(Received { position, newest: false, restarted: false })
    }

    fn restart_at(&mut self, sequence: u16, restarted: bool) -> Received {
        if self.started {
            self.lost_before += self.lost();
        }
        // One cycle clear of everything before, so that late packets cannot be taken for new ones.
        let cycle = if self.highest == 0 { 1 } else { (self.highest >> 16) + 2 };
        self.highest = (cycle << 16) | u64::from(sequence);
        self.base = self.highest;
        self.base_cycle = cycle;
        self.received = 0;
        self.expected_prior = 0;
        self.received_prior = 0;
        self.probation = None;
        self.window = [0; WORDS];
        self.window[0] = 1;
        self.started = true;
        Received { position: self.highest, newest: true, restarted }
    }

    fn shift_window(&mut self, by: u16) {
        let (words, bits) = (usize::from(by / 64), u32::from(by % 64));
        for word in (0..WORDS).rev() {
            let low = word.checked_sub(words).map_or(0, |w| self.window[w]);
            let lower = word.checked_sub(words + 1).map_or(0, |w| self.window[w]);
            self.window[word] = if bits == 0 { low } else { (low << bits) | (lower >> (64 - bits)) };
        }
    }

    fn update_jitter(&mut self, arrival: Time, timestamp: u32) {
        let ticks = (u128::from(arrival.as_nanos()) * u128::from(self.clock_rate) / 1_000_000_000) as u32;
        let transit = ticks.wrapping_sub(timestamp);
        if let Some((last, last_timestamp)) = self.transit {
            // Packets of one frame leave together; only the first tells about the path.
            if last_timestamp == timestamp {
                return;
            }
            let difference = (transit.wrapping_sub(last) as i32).unsigned_abs();
            // A step of the source's clock is no jitter of the path.
            if Duration::from_secs(10).as_secs() * u64::from(self.clock_rate) > u64::from(difference) {
                self.jitter = self.jitter.saturating_add(difference).saturating_sub(self.jitter.saturating_add(8) >> 4);
            }
        }
        self.transit = Some((transit, timestamp));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sfu_wire::time::NtpTime;

    use super::*;

    fn stream() -> ReceiveStream {
        ReceiveStream::new(1, 90_000)
    }

    fn put(s: &mut ReceiveStream, at_ms: u64, sequence: u16) -> Result<Received, DropReason> {
        s.handle_rtp(Time::from_millis(at_ms), sequence, (at_ms * 90) as u32, 90_000, 1000)
    }

    fn position(s: &mut ReceiveStream, sequence: u16) -> Option<u64> {
        put(s, 0, sequence).ok().map(|r| r.position)
    }

    #[test]
    fn row_024_duplicates_are_refused_within_the_window() {
        let mut s = stream();
        for k in 0..3000u16 {
            assert!(put(&mut s, 0, k).is_ok());
        }
        for k in 3000 - WINDOW..3000 {
            assert_eq!(put(&mut s, 0, k), Err(DropReason::RtpDuplicate));
        }
        assert_eq!(s.stats(Time::ZERO).packets, 3000);
        assert_eq!(s.stats(Time::ZERO).packets_discarded, u64::from(WINDOW));
    }

    #[test]
    fn row_025_a_start_at_the_wrap_with_the_first_packets_lost() {
        let mut s = stream();
        let first = position(&mut s, 65_535).unwrap();
        assert_eq!(position(&mut s, 4), Some(first + 5));
        assert_eq!(position(&mut s, 0), Some(first + 1));
        assert_eq!(position(&mut s, 65_534), Some(first - 1), "older than the first");
    }

    #[test]
    fn row_025_gaps_around_half_the_range_restart_without_going_back() {
        for gap in [u16::MAX / 2, 0x8000, 0x8001, 20_000, 3001, 65_535 - WINDOW] {
            let mut s = stream();
            for k in 0..10 {
                put(&mut s, 0, 100 + k).unwrap();
            }
            let before = position(&mut s, 110).unwrap();
            let mut restarted = 0;
            let mut last = before;
            for k in 0..10u16 {
                if let Ok(r) = put(&mut s, 0, 110u16.wrapping_add(gap).wrapping_add(k)) {
                    assert!(r.position > last && r.position as u16 == 110u16.wrapping_add(gap).wrapping_add(k));
                    last = r.position;
                    restarted += usize::from(r.restarted);
                }
            }
            assert_eq!(restarted, 1, "gap {gap}");
            assert!(s.stats(Time::ZERO).packets >= 20, "at most one packet is lost to doubt");
        }
    }

    #[test]
    fn row_026_a_jump_back_of_20000_goes_on_after_one_packet() {
        let mut s = stream();
        put(&mut s, 0, 40_000).unwrap();
        assert_eq!(put(&mut s, 1, 20_000), Err(DropReason::RtpTooOld));
        assert!(put(&mut s, 2, 40_001).is_ok(), "a stray packet changes nothing");
        assert_eq!(put(&mut s, 3, 20_005), Err(DropReason::RtpTooOld));
        assert!(put(&mut s, 4, 20_006).unwrap().restarted);
        assert!(!put(&mut s, 5, 20_007).unwrap().restarted);
    }

    #[test]
    fn another_ssrc_is_a_restart_and_counters_go_on() {
        let mut s = stream();
        put(&mut s, 0, 10).unwrap();
        let last = put(&mut s, 0, 13).unwrap().position;
        s.change_ssrc(2);
        assert_eq!(s.report_block(Time::ZERO), None, "nothing is known of it");
        let r = put(&mut s, 0, 13).unwrap();
        assert!(r.restarted && r.position > last);
        assert_eq!(s.stats(Time::ZERO).packets_lost, 2);
        assert_eq!(s.report_block(Time::ZERO).unwrap().ssrc, 2);
    }

    #[test]
    fn row_031_repairs_need_an_original_nearby() {
        let mut s = stream();
        assert_eq!(s.handle_repaired(5), Err(DropReason::RtxMalformed), "before its primary");
        put(&mut s, 0, 100).unwrap();
        put(&mut s, 0, 103).unwrap();
        assert_eq!(s.handle_repaired(100), Err(DropReason::RtpDuplicate));
        assert!(!s.handle_repaired(101).unwrap().newest);
        assert_eq!(s.handle_repaired(101), Err(DropReason::RtpDuplicate));
        assert_eq!(put(&mut s, 0, 101), Err(DropReason::RtpDuplicate));
        assert_eq!(s.handle_repaired(20_000), Err(DropReason::RtpTooOld), "never sent");
        assert_eq!(s.handle_repaired(60_000), Err(DropReason::RtpTooOld));
        assert!(s.handle_repaired(104).unwrap().newest, "the end of a burst was lost");
        let stats = s.stats(Time::ZERO);
        assert_eq!((stats.packets_repaired, stats.rtx_packets_discarded, stats.packets_discarded), (2, 5, 1));
    }

    #[test]
    fn reports_follow_rfc_3550() {
        let mut s = stream();
        assert_eq!(s.report_block(Time::ZERO), None);
        for k in (0..100u16).filter(|k| k % 10 != 3) {
            put(&mut s, 0, 65_500u16.wrapping_add(k)).unwrap();
        }
        let sr = SenderReport {
            ssrc: 1,
            ntp: NtpTime(0x1122_3344_5566_7788),
            rtp_timestamp: 0,
            packet_count: 0,
            octet_count: 0,
        };
        s.handle_sender_report(Time::from_millis(500), &sr);
        let block = s.report_block(Time::from_millis(1_000)).unwrap();
        assert_eq!(block.fraction_lost, 25);
        assert_eq!(block.cumulative_lost, 10);
        assert_eq!(block.highest_sequence, (1 << 16) | 63);
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0x3344_5566, 0x8000));
        assert_eq!(s.report_block(Time::from_millis(2_000)).unwrap().fraction_lost, 0, "a new interval");
    }

    #[test]
    fn missing_is_what_was_passed_over_and_not_yet_repaired() {
        let mut s = stream();
        assert!(!s.is_missing(0x1_0000));
        let first = put(&mut s, 0, 100).unwrap().position;
        put(&mut s, 0, 104).unwrap();
        let missing = |s: &ReceiveStream| (0..6).filter(|k| s.is_missing(first + k)).collect::<Vec<_>>();
        assert_eq!(missing(&s), [1, 2, 3]);
        s.handle_repaired(102).unwrap();
        assert_eq!(missing(&s), [1, 3]);
        assert!(!s.is_missing(first - 1), "before the first one");
        for k in 0..WINDOW {
            put(&mut s, 0, 105 + k).unwrap();
        }
        assert_eq!(missing(&s), [], "too long ago");
        assert_eq!(s.totals(), (u64::from(WINDOW) + 5, u64::from(WINDOW) + 2, 1));
    }

    #[test]
    fn the_round_trip_is_that_of_the_answers() {
        let mut s = stream();
        let ntp = |middle: u32| NtpTime(u64::from(middle) << 16);
        s.handle_dlrr(ntp(0x5_0000), &DlrrBlock::default());
        assert_eq!(s.round_trip(), None, "no reference time arrived there");
        s.handle_dlrr(ntp(0x5_0000), &DlrrBlock { ssrc: 1, last_rr: 0x4_0000, delay_since_last_rr: 0xc000 });
        assert_eq!(s.round_trip(), Some(Duration::from_millis(250)));
        s.handle_dlrr(ntp(0x5_0000), &DlrrBlock { ssrc: 1, last_rr: 0x5_0000, delay_since_last_rr: 0 });
        assert_eq!(s.stats(Time::ZERO).round_trip, Some(Duration::from_micros(218_750)));
        s.handle_dlrr(ntp(0x5_0000), &DlrrBlock { ssrc: 1, last_rr: 0x6_0000, delay_since_last_rr: u32::MAX / 2 });
        assert_eq!(s.round_trip(), Some(Duration::from_micros(218_750)), "impossible");
    }

    #[test]
    fn jitter_is_that_of_the_path() {
        let mut s = stream();
        for k in 0..500u16 {
            // Ten packets a second; each other one 5 ms late: a difference of 450 ticks each time.
            let late = u64::from(k % 2) * 5;
            s.handle_rtp(Time::from_millis(u64::from(k) * 100 + late), k, u32::from(k) * 9_000, 90_000, 100).unwrap();
        }
        let jitter = s.stats(Time::ZERO).jitter;
        assert!((440..=450).contains(&jitter), "{jitter}");
    }

    #[test]
    fn h27_a_million_packets_from_the_wrap_on() {
        let mut s = stream();
        let mut last = None;
        for k in 0..1_000_000u32 {
            let r = s
                .handle_rtp(Time::MAX, (65_530 + k) as u16, (u32::MAX - 5).wrapping_add(k), 90_000, 10)
                .unwrap_or_else(|e| panic!("{e:?}"));
            assert!(last.is_none_or(|l| r.position == l + 1));
            last = Some(r.position);
        }
        assert_eq!(s.stats(Time::MAX).packets_lost, 0);
    }

    proptest! {
        /// No position is given out twice, and its low bits are the sequence number.
        #[test]
        fn positions_are_unique(sequences in prop::collection::vec(prop_oneof![any::<u16>(), 0u16..2000, 65_000u16..], 1..400)) {
            let mut s = stream();
            let mut seen = std::collections::HashSet::new();
            for (k, sequence) in sequences.into_iter().enumerate() {
                let got = if k % 5 == 4 { s.handle_repaired(sequence) } else { put(&mut s, k as u64, sequence) };
                if let Ok(r) = got {
                    prop_assert_eq!(r.position as u16, sequence);
                    prop_assert!(seen.insert(r.position));
                }
                let _ = s.report_block(Time::ZERO);
            }
        }
    }
}
