//! How often a receiver may have packets sent again.
//!
//! Told: which packet a receiver asks for, when, and the round trip. Tells: yes or no. A packet is not
//! sent twice within one round trip (the first answer is still on its way), nor more than ten times;
//! all answers together are bounded per round trip, so that requests cannot be turned into a flood.
//! Limits: constant memory. RFC 4585, section 3.5; RFC 4588, section 6.3.
//! Left out: the packets ([`crate::history`]).

use std::time::Duration;

use sfu_wire::time::Time;

/// Answers within one window, the longer of the round trip and [`MIN_WINDOW`].
pub const MAX_PER_WINDOW: u32 = 256;
/// Least length of the window.
pub const MIN_WINDOW: Duration = Duration::from_millis(100);
/// Times that one packet may be sent again.
pub const MAX_PER_PACKET: u8 = 10;
/// Least time between two answers for one packet, where the round trip is unknown or tiny.
const MIN_REPEAT: Duration = Duration::from_millis(10);
/// A report may claim any round trip; beyond this it is not believed here.
const MAX_RTT: Duration = Duration::from_secs(2);
const SLOTS: usize = 256;

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    position: u64,
    at: Time,
    times: u8,
}

/// The guard of one receiver.
#[derive(Debug, Default)]
pub struct ResendGuard {
    /// Indexed by position; allocated by the first request.
    slots: Box<[Slot]>,
    window_began: Time,
    in_window: u32,
}

impl ResendGuard {
    /// A guard that has seen no request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the packet at `position` may be sent again now; if so, it counts as sent.
    pub fn admit(&mut self, now: Time, position: u64, rtt: Duration) -> bool {
        let rtt = rtt.min(MAX_RTT);
        if now.saturating_since(self.window_began) >= rtt.max(MIN_WINDOW) || self.slots.is_empty() {
            self.window_began = now;
            self.in_window = 0;
        }
        if self.in_window >= MAX_PER_WINDOW {
            return false;
        }
        if self.slots.is_empty() {
            self.slots = vec![Slot::default(); SLOTS].into_boxed_slice();
        }
        let slot = &mut self.slots[(position % SLOTS as u64) as usize];
        if slot.times == 0 || slot.position != position {
            *slot = Slot { position, at: now, times: 0 };
        } else if slot.times >= MAX_PER_PACKET || now.saturating_since(slot.at) < rtt.max(MIN_REPEAT) {
            return false;
        }
        slot.at = now;
        slot.times += 1;
        self.in_window += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    fn ms(n: u64) -> Time {
        Time::from_millis(n)
    }

    #[test]
    fn row_040_the_same_packet_asked_for_a_thousand_times() {
        let mut guard = ResendGuard::new();
        assert_eq!((0..1000).filter(|_| guard.admit(ms(0), 7, RTT)).count(), 1);
        assert!(!guard.admit(ms(49), 7, RTT));
        assert!(guard.admit(ms(50), 7, RTT), "a round trip later the answer may have been lost");
        let rest = (0..1000).filter(|k| guard.admit(ms(100 + 50 * k), 7, RTT)).count();
        assert_eq!(rest, usize::from(MAX_PER_PACKET) - 2);
    }

    #[test]
    fn row_040_ten_thousand_packets_at_once_are_capped_per_round_trip() {
        let mut guard = ResendGuard::new();
        let admitted = (0..10_000u64).filter(|p| guard.admit(ms(0), *p, RTT)).count();
        assert_eq!(admitted, MAX_PER_WINDOW as usize);
        assert_eq!((0..10_000u64).filter(|p| guard.admit(ms(99), *p, RTT)).count(), 0);
        assert!(guard.admit(ms(100), 20_000, RTT), "the next window");
    }

    #[test]
    fn a_claimed_round_trip_of_an_hour_does_not_stop_answers_for_an_hour() {
        let mut guard = ResendGuard::new();
        let hour = Duration::from_secs(3600);
        assert!(guard.admit(ms(0), 7, hour));
        assert!(guard.admit(ms(2_000), 7, hour));
    }

    #[test]
    fn h27_a_clock_that_stands_still_admits_each_packet_once() {
        let mut guard = ResendGuard::new();
        assert!(guard.admit(Time::ZERO, 0, Duration::ZERO));
        assert!(!guard.admit(Time::ZERO, 0, Duration::ZERO));
        assert!(guard.admit(Time::ZERO, 1, Duration::ZERO));
    }
}
