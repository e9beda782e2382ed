//! Transport-wide congestion control, receiving side: when each packet of a transport arrived, told
//! to its sender every 100 ms.
//!
//! Told: transport-wide sequence numbers with arrival times. Tells: feedback packets.
//! Arrivals are kept for half a second after they were told, so that a late packet can be told too:
//! the feedback then begins at the late one again, and says the same of the others as before.
//! Limits: numbers within 2,048 of each other; what is further apart starts the record anew.
//! draft-holmer-rmcat-transport-wide-cc-extensions-01, section 3.1. Left out: what to make of it.

use std::time::Duration;

use sfu_wire::rtcp::{TransportCc, TransportCcHeader};
use sfu_wire::time::Time;

/// Distance of two feedbacks.
pub const INTERVAL: Duration = Duration::from_millis(100);
/// Told arrivals are kept this long, for the sake of late packets.
const KEEP: Duration = Duration::from_millis(500);
/// Numbers under watch.
const WINDOW: u64 = 2048;
/// Arrival times may go back by this, in deltas: ten seconds.
const SLACK: u64 = 40_000;
/// Packets spoken of in one feedback: even with two bytes of delta and the worst of chunks each, it
/// stays below 1,200 bytes.
const MAX_STATUS: usize = 400;
/// Unit of deltas, nanoseconds.
const DELTA: u64 = 250_000;
/// Unit of the reference time, in deltas.
const REFERENCE: u64 = 256;

/// Arrivals of one transport.
#[derive(Debug)]
pub struct TransportCcReceiver {
    /// Arrival in deltas since `began`, plus one; 0 is not arrived. Allocated by the first packet.
    arrivals: Box<[u32]>,
    /// In deltas since the epoch: as early as any arrival under watch may be.
    began: u64,
    started: bool,
    /// Highest number, unwrapped.
    highest: u64,
    /// First number to tell next.
    next: u64,
    /// Numbers below are not known any more.
    oldest: u64,
    due: Option<Time>,
    count: u8,
    /// Of the feedback being written.
    deltas: Vec<Option<i16>>,
}

impl Default for TransportCcReceiver {
    fn default() -> Self {
        Self::new()
    }
}

impl TransportCcReceiver {
    /// A record of nothing.
    pub fn new() -> Self {
        Self {
            arrivals: Box::default(),
            began: 0,
            started: false,
            highest: 0,
            next: 0,
            oldest: 0,
            due: None,
            count: 0,
            deltas: Vec::new(),
        }
    }

    /// A packet with this transport-wide number arrived. `true` if a feedback has become due because
    /// of it: ask [`TransportCcReceiver::next_timeout`].
    pub fn on_packet(&mut self, arrival: Time, sequence: u16) -> bool {
        let ticks = arrival.as_nanos() / DELTA;
        // The second case comes once in twelve days.
        if !self.started || !(self.began..self.began + u64::from(u32::MAX)).contains(&ticks) {
            self.start(ticks, sequence);
        }
        let step = i64::from(sequence.wrapping_sub(self.highest as u16) as i16);
        let position = self.highest.saturating_add_signed(step);
        if step.unsigned_abs() >= WINDOW {
            self.start(ticks, sequence);
            return self.record(arrival, self.highest);
        }
        if position > self.highest {
            for p in self.highest + 1..=position {
                *self.slot(p) = 0;
            }
            self.highest = position;
            self.oldest = self.oldest.max((position + 1).saturating_sub(WINDOW));
            self.next = self.next.max(self.oldest);
        }
        if position < self.oldest {
            return false;
        }
        self.record(arrival, position)
    }

    /// Writes the next feedback into `buf`; call again until there is none.
    pub fn poll(&mut self, now: Time, sender_ssrc: u32, media_ssrc: u32, buf: &mut [u8]) -> Option<usize> {
        if self.due.is_none_or(|due| now < due) {
            return None;
        }
        let first = (self.next..=self.highest).find(|p| self.arrival(*p).is_some());
        let Some(first) = first else {
            self.due = None;
            return None;
        };
        // A loss before the first arrival is told as well, if something was told before it.
        let base = self.next.max(first.saturating_sub(MAX_STATUS as u64 / 2));
        let reference = self.arrival(first)? / REFERENCE;
        let mut at = reference * REFERENCE;
        self.deltas.clear();
        let mut position = base;
        while position <= self.highest && self.deltas.len() < MAX_STATUS {
            let Some(arrival) = self.arrival(position) else {
                self.deltas.push(None);
                position += 1;
                continue;
            };
            // What is too far from the one before begins a feedback of its own.
            let Ok(delta) = i16::try_from(arrival as i64 - at as i64) else { break };
            self.deltas.push(Some(delta));
            at = arrival;
            position += 1;
        }
        // Losses at the end are told by the next feedback, which knows more.
        while self.deltas.last() == Some(&None) && position <= self.highest {
            self.deltas.pop();
            position -= 1;
        }
        let header = TransportCcHeader {
            sender_ssrc,
            media_ssrc,
            base_sequence: base as u16,
            reference_time: (reference & 0xFF_FFFF) as i32,
            feedback_count: self.count,
        };
        let len = TransportCc::write(buf, &header, &self.deltas).ok();
        self.count = self.count.wrapping_add(1);
        self.next = position.max(first + 1);
        self.forget(now);
        if self.next > self.highest {
            self.due = None;
        }
        len
    }

    /// When the next feedback is due.
    pub fn next_timeout(&self) -> Option<Time> {
        self.due
    }

    fn start(&mut self, ticks: u64, sequence: u16) {
        if self.arrivals.is_empty() {
            self.arrivals = vec![0; WINDOW as usize].into_boxed_slice();
            self.deltas.reserve_exact(MAX_STATUS);
        }
        self.arrivals.fill(0);
        self.began = ticks.saturating_sub(SLACK);
        self.started = true;
        // High enough for late packets to stay positive.
        self.highest = 0x1_0000 + u64::from(sequence);
        self.next = self.highest;
        self.oldest = self.highest - (WINDOW - 1);
    }

    fn record(&mut self, arrival: Time, position: u64) -> bool {
        if self.arrival(position).is_some() {
            return false;
        }
        let ticks = (arrival.as_nanos() / DELTA).saturating_sub(self.began);
        *self.slot(position) = (ticks as u32).saturating_add(1);
        self.next = self.next.min(position);
        if self.due.is_some() {
            return false;
        }
        self.due = Some(arrival + INTERVAL);
        true
    }

    /// Lets go of what was told long ago.
    fn forget(&mut self, now: Time) {
        let limit = (now - KEEP).as_nanos() / DELTA;
        while self.oldest < self.next && self.arrival(self.oldest).is_none_or(|a| a < limit) {
            // Not arrived: as old as its neighbours; it stays only if one of them is young.
            if self.arrival(self.oldest).is_none() && self.next - self.oldest < WINDOW / 4 {
                break;
            }
            self.oldest += 1;
        }
    }

    fn arrival(&self, position: u64) -> Option<u64> {
        let value = *self.arrivals.get((position % WINDOW) as usize)?;
        value.checked_sub(1).map(|ticks| self.began + u64::from(ticks))
    }

    fn slot(&mut self, position: u64) -> &mut u32 {
        &mut self.arrivals[(position % WINDOW) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn drain(r: &mut TransportCcReceiver, now: Time) -> Vec<(u16, Option<u64>)> {
        let mut out = Vec::new();
        let mut buf = [0u8; 1200];
        let mut rounds = 0;
        while let Some(len) = r.poll(now, 1, 2, &mut buf) {
            let packet = TransportCc::parse(&buf[..len]).unwrap();
            let mut at = i64::from(packet.header.reference_time) * 256;
            for (sequence, delta) in packet.arrivals() {
                out.push((
                    sequence,
                    delta.map(|d| {
                        at += i64::from(d);
                        at as u64
                    }),
                ));
            }
            rounds += 1;
            assert!(rounds < 5000, "must end");
        }
        out
    }

    fn us(n: u64) -> Time {
        Time::from_micros(n)
    }

    #[test]
    fn arrivals_are_told_in_units_of_250_us_with_losses_between() {
        let mut r = TransportCcReceiver::new();
        assert!(r.on_packet(us(1_000_000), 65_534));
        assert!(!r.on_packet(us(1_000_500), 65_535));
        assert!(!r.on_packet(us(1_020_000), 2));
        assert_eq!(r.next_timeout(), Some(us(1_100_000)));
        assert_eq!(drain(&mut r, us(1_099_999)), []);
        let got = drain(&mut r, us(1_100_000));
        assert_eq!(got, [(65_534, Some(4000)), (65_535, Some(4002)), (0, None), (1, None), (2, Some(4080))]);
        assert_eq!(r.next_timeout(), None, "silent while nothing arrives");
    }

    #[test]
    fn a_late_packet_is_told_with_its_neighbours_unchanged() {
        let mut r = TransportCcReceiver::new();
        for (at, sequence) in [(0, 10), (1_000, 12)] {
            r.on_packet(us(1_000_000 + at), sequence);
        }
        drain(&mut r, us(1_200_000));
        assert!(r.on_packet(us(1_250_000), 11));
        assert_eq!(drain(&mut r, us(1_400_000)), [(11, Some(5000)), (12, Some(4004))]);
    }

    #[test]
    fn h27_a_thousand_wraps_of_the_transport_wide_number() {
        let mut receiver = TransportCcReceiver::new();
        let (mut number, mut told) = (0u64, 0);
        while number < 1_000 << 16 {
            // What is lost between is as long as it may be without being taken for a restart.
            let now = us(1_000_000 + number * 1_000);
            receiver.on_packet(now, number as u16);
            receiver.on_packet(now, (number + 1) as u16);
            let at = now + Duration::from_secs(1);
            let arrived: Vec<u16> =
                drain(&mut receiver, at).into_iter().filter(|(_, at)| at.is_some()).map(|(n, _)| n).collect();
            assert_eq!(arrived, [number as u16, (number + 1) as u16], "at {number}");
            told += arrived.len();
            number += 1_999;
        }
        assert!(told > 65_000, "{told}");
    }

    #[test]
    fn a_long_silence_begins_a_new_reference_time() {
        let mut r = TransportCcReceiver::new();
        r.on_packet(us(1_000_000), 1);
        r.on_packet(us(60_000_000), 2);
        assert_eq!(drain(&mut r, us(60_100_000)), [(1, Some(4000)), (2, Some(240_000))]);
    }

    #[test]
    fn a_jump_of_the_numbers_starts_anew() {
        let mut r = TransportCcReceiver::new();
        r.on_packet(us(1_000_000), 1);
        r.on_packet(us(1_001_000), 30_000);
        let got = drain(&mut r, us(1_200_000));
        assert_eq!(got, [(30_000, Some(4004))]);
    }

    #[test]
    fn h27_a_clock_that_stands_still_ends_each_round() {
        let mut r = TransportCcReceiver::new();
        for k in 0..10_000u32 {
            r.on_packet(Time::ZERO, (k * 3) as u16);
            drain(&mut r, Time::ZERO + INTERVAL);
        }
        r.on_packet(Time::MAX, 77);
        drain(&mut r, Time::MAX);
    }

    proptest! {
        /// Everything told is what arrived; everything that arrived close to the newest is told.
        #[test]
        fn tells_what_arrived(ops in prop::collection::vec((0u64..40_000, -20i32..30), 1..400)) {
            let mut r = TransportCcReceiver::new();
            let mut model: BTreeMap<u16, u64> = BTreeMap::new();
            let mut told: BTreeMap<u16, u64> = BTreeMap::new();
            let (mut now, mut sequence) = (10_000_000u64, 30_000i32);
            for (step, move_by) in ops {
                now += step;
                sequence += move_by;
                r.on_packet(us(now), sequence as u16);
                model.entry(sequence as u16).or_insert(now / 250);
                for (s, at) in drain(&mut r, us(now)) {
                    if let Some(at) = at { prop_assert_eq!(model.get(&s), Some(&at)); told.insert(s, at); }
                }
            }
            for (s, at) in drain(&mut r, us(now + 200_000)) {
                if let Some(at) = at { prop_assert_eq!(model.get(&s), Some(&at)); told.insert(s, at); }
            }
            prop_assert_eq!(told.len(), model.len());
        }
    }
}
