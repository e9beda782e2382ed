//! Which packets of a received stream are missing, and when to ask for them again.
//!
//! Told: positions (unwrapped sequence numbers) as packets come, a round trip. Tells: sequence numbers
//! to ask for now, and that a key frame is needed since something was given up.
//! A gap is first asked for after 10 ms, since packets may merely be out of order, then once per
//! round trip, ten times in all. Limits: 1,000 missing packets; a gap that does not fit is given up
//! as a whole. RFC 4585, section 6.2.1. Left out: answering (the history, the resend guard).

use std::collections::VecDeque;
use std::time::Duration;

use sfu_wire::time::Time;

/// Missing packets known at a time.
pub const MAX_MISSING: usize = 1000;
/// Requests for one packet.
pub const MAX_TRIES: u8 = 10;
/// Time for a packet out of order to turn up.
pub const HOLD: Duration = Duration::from_millis(10);
/// Least time between two requests for one packet.
pub const MIN_INTERVAL: Duration = Duration::from_millis(40);
/// Assumed until a round trip was measured, and never waited longer than the second.
const DEFAULT_RTT: Duration = Duration::from_millis(100);
const MAX_RTT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
struct Missing {
    position: u64,
    due: Time,
    tries: u8,
}

/// The register of one stream.
#[derive(Debug, Default)]
pub struct NackGenerator {
    /// Sorted by position.
    missing: VecDeque<Missing>,
    newest: Option<u64>,
    /// Earliest `due`, or earlier.
    next_due: Option<Time>,
    gave_up: bool,
}

impl NackGenerator {
    /// A register that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A packet came. `true` if it had been missing.
    pub fn handle_packet(&mut self, now: Time, position: u64) -> bool {
        let Some(newest) = self.newest else {
            self.newest = Some(position);
            return false;
        };
        if position <= newest {
            return self.found(position);
        }
        self.newest = Some(position);
        let gap = position - newest - 1;
        if gap > 0 {
            self.add_gap(now, newest + 1, gap);
        }
        false
    }

    /// The source started over at `position`: nothing before it is wanted any more.
    pub fn restart(&mut self, position: u64) {
        self.clear();
        self.newest = Some(position);
    }

    /// The stream ended: nothing is wanted any more.
    pub fn clear(&mut self) {
        self.missing.clear();
        self.next_due = None;
    }

    /// All that is missing before `position` (a key frame) is not wanted any more.
    pub fn forget_before(&mut self, position: u64) {
        while self.missing.front().is_some_and(|m| m.position < position) {
            self.missing.pop_front();
        }
    }

    /// Writes sequence numbers to ask for now into `out`, oldest first; returns how many. Call again
    /// while it fills `out`.
    pub fn poll(&mut self, now: Time, rtt: Option<Duration>, out: &mut [u16]) -> usize {
        if self.next_due.is_none_or(|due| now < due) {
            return 0;
        }
        let interval = rtt.unwrap_or(DEFAULT_RTT).clamp(MIN_INTERVAL, MAX_RTT);
        let mut count = 0;
        let mut earliest: Option<Time> = None;
        let mut gave_up = false;
        self.missing.retain_mut(|m| {
            if now >= m.due && count < out.len() {
                if m.tries >= MAX_TRIES {
                    gave_up = true;
                    return false;
                }
                out[count] = m.position as u16;
                count += 1;
                m.tries += 1;
                m.due = now + interval;
            }
            earliest = Some(earliest.map_or(m.due, |e| e.min(m.due)));
            true
        });
        self.next_due = earliest;
        self.gave_up |= gave_up;
        count
    }

    /// When [`NackGenerator::poll`] has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        self.next_due
    }

    /// Whether packets were given up since the last call: what depends on them needs a key frame.
    pub fn take_gave_up(&mut self) -> bool {
        std::mem::take(&mut self.gave_up)
    }

    /// Packets missing now.
    pub fn len(&self) -> usize {
        self.missing.len()
    }

    /// Nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty()
    }

    fn found(&mut self, position: u64) -> bool {
        let Ok(index) = self.missing.binary_search_by_key(&position, |m| m.position) else {
            return false;
        };
        self.missing.remove(index);
        if self.missing.is_empty() {
            self.next_due = None;
        }
        true
    }

    fn add_gap(&mut self, now: Time, first: u64, gap: u64) {
        let room = (MAX_MISSING - self.missing.len()) as u64;
        if gap > room {
            self.missing.clear();
            self.next_due = None;
            self.gave_up = true;
            if gap > MAX_MISSING as u64 {
                return;
            }
        }
        let due = now + HOLD;
        self.missing.extend((first..first + gap).map(|position| Missing { position, due, tries: 0 }));
        self.next_due = Some(self.next_due.map_or(due, |d| d.min(due)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(n: u64) -> Time {
        Time::from_millis(n)
    }

    fn poll(nack: &mut NackGenerator, at: u64) -> Vec<u16> {
        let mut out = [0u16; 64];
        let n = nack.poll(ms(at), Some(Duration::from_millis(50)), &mut out);
        out[..n].to_vec()
    }

    #[test]
    fn a_gap_is_asked_for_after_the_hold_and_then_once_per_round_trip() {
        let mut nack = NackGenerator::new();
        nack.handle_packet(ms(0), 100);
        nack.handle_packet(ms(1), 103);
        assert_eq!(nack.next_timeout(), Some(ms(11)));
        assert_eq!(poll(&mut nack, 10), []);
        assert_eq!(poll(&mut nack, 11), [101, 102]);
        assert_eq!(poll(&mut nack, 60), []);
        assert!(nack.handle_packet(ms(60), 102));
        assert_eq!(poll(&mut nack, 61), [101]);
        assert!(nack.handle_packet(ms(62), 101));
        assert!(nack.is_empty());
        assert_eq!(nack.next_timeout(), None);
    }

    #[test]
    fn reordering_within_the_hold_asks_for_nothing() {
        let mut nack = NackGenerator::new();
        for (at, position) in [(0, 100), (1, 102), (2, 101), (3, 104), (9, 103)] {
            nack.handle_packet(ms(at), position);
        }
        assert_eq!(poll(&mut nack, 1000), []);
        assert!(!nack.take_gave_up());
    }

    #[test]
    fn a_packet_that_never_comes_is_given_up_after_ten_tries() {
        let mut nack = NackGenerator::new();
        nack.handle_packet(ms(0), 100);
        nack.handle_packet(ms(0), 102);
        let asked: usize = (0..200).map(|k| poll(&mut nack, k * 10).len()).sum();
        assert_eq!(asked, usize::from(MAX_TRIES));
        assert!(nack.take_gave_up());
        assert!(!nack.take_gave_up(), "told once");
        assert_eq!(nack.next_timeout(), None);
    }

    #[test]
    fn a_gap_beyond_the_limit_is_given_up_at_once() {
        let mut nack = NackGenerator::new();
        nack.handle_packet(ms(0), 100);
        nack.handle_packet(ms(0), 100 + 2000);
        assert!(nack.is_empty() && nack.take_gave_up());
        // Many small gaps reach the limit too.
        for k in 0..2000 {
            nack.handle_packet(ms(1), 3000 + 2 * k);
            assert!(nack.len() <= MAX_MISSING);
        }
        assert!(nack.take_gave_up());
    }

    #[test]
    fn h27_wraps_are_asked_for_by_their_low_bits() {
        let mut nack = NackGenerator::new();
        nack.handle_packet(ms(0), 0x1_FFFE);
        nack.handle_packet(ms(0), 0x2_0002);
        assert_eq!(poll(&mut nack, 10), [0xFFFF, 0, 1]);
    }

    #[test]
    fn a_key_frame_and_a_restart_make_older_gaps_moot() {
        let mut nack = NackGenerator::new();
        nack.handle_packet(ms(0), 100);
        nack.handle_packet(ms(0), 103);
        nack.handle_packet(ms(0), 105);
        nack.forget_before(103);
        assert_eq!(poll(&mut nack, 10), [104]);
        nack.restart(900);
        assert!(nack.is_empty());
        nack.handle_packet(ms(0), 901);
        assert!(nack.is_empty());
    }

    proptest! {
        /// Asked for is only what is missing; what came is never asked for again.
        #[test]
        fn asks_only_for_what_is_missing(arrivals in prop::collection::vec((65_500u64..66_500, 0u64..30), 1..300)) {
            let mut nack = NackGenerator::new();
            let mut seen = std::collections::BTreeSet::new();
            let mut now = 0;
            for (position, step) in arrivals {
                now += step;
                nack.handle_packet(ms(now), position);
                seen.insert(position);
                let (first, last) = (*seen.first().unwrap(), *seen.last().unwrap());
                for seq in poll(&mut nack, now) {
                    prop_assert!(!seen.iter().any(|p| *p as u16 == seq));
                    prop_assert!((first..=last).any(|p| p as u16 == seq));
                }
                prop_assert!(nack.len() <= MAX_MISSING);
            }
        }
    }
}
