//! What the whole load has seen, counted by all clients, read by whoever reports.
//!
//! Latencies are from the instant a publisher made a packet to the instant a viewer had it decrypted, both by one clock.
//! Limits: latencies above a minute count as a minute.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Microseconds in a minute.
const LONGEST: u64 = 60_000_000;

/// The clock of this program; the engine under test has its own.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A histogram of microseconds.
pub(super) fn histogram() -> Histogram<u32> {
    // Constant bounds that the library takes; `new_with_bounds` fails only for others.
    Histogram::new_with_bounds(1, LONGEST, 2).unwrap_or_else(|error| unreachable!("bounds of a histogram: {error}"))
}

/// Duration as microseconds that a histogram takes.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(LONGEST).clamp(1, LONGEST)
}

/// Counts of what viewers received since the start, or in a span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// Numbers that never came.
    pub(super) lost: u64,
    /// Came after later ones: sent again, or overtaken.
    pub(super) late: u64,
}

impl Received {
    /// What came after `before`. A number that was missing then may have come since.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            packets: self.packets - before.packets,
            bytes: self.bytes - before.bytes,
            lost: self.lost.saturating_sub(before.lost),
            late: self.late - before.late,
        }
    }

    pub(super) fn loss_percent(self) -> f64 {
        let expected = self.packets + self.lost;
        if expected == 0 { 0.0 } else { 100.0 * self.lost as f64 / expected as f64 }
    }
}

/// One viewer's tally, flushed into the meter as it grows.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) received: Received,
    pub(super) latency: Histogram<u32>,
    pub(super) jitter_micros: f64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { received: Received::default(), latency: histogram(), jitter_micros: 0.0 }
    }
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Meter {
    start: Instant,
    sent_packets: AtomicU64,
    sent_bytes: AtomicU64,
    unsent: AtomicU64,
    pub(super) publishers: AtomicUsize,
    pub(super) viewers: AtomicUsize,
    late: Mutex<Histogram<u32>>,
    joins: Mutex<Histogram<u32>>,
    first_packets: Mutex<Histogram<u32>>,
    failures: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Holders only add numbers.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            start: now(),
            sent_packets: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            publishers: AtomicUsize::new(0),
            viewers: AtomicUsize::new(0),
            late: Mutex::new(histogram()),
            joins: Mutex::new(histogram()),
            first_packets: Mutex::new(histogram()),
            failures: Mutex::new(Vec::new()),
        }
    }

    /// Zero of the clock in payloads.
    pub(super) fn start(&self) -> Instant {
        self.start
    }

    pub(super) fn count_sent(&self, bytes: usize) {
        self.sent_packets.fetch_add(1, Relaxed);
        self.sent_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn count_unsent(&self) {
        self.unsent.fetch_add(1, Relaxed);
    }

    /// Packets made and their payloads' bytes.
    pub(super) fn sent(&self) -> (u64, u64) {
        (self.sent_packets.load(Relaxed), self.sent_bytes.load(Relaxed))
    }

    pub(super) fn unsent(&self) -> u64 {
        self.unsent.load(Relaxed)
    }

    /// A publisher was so late with a packet: the load tester itself has too much to do.
    pub(super) fn count_late(&self, by: Duration) {
        lock(&self.late).saturating_record(micros(by));
    }

    pub(super) fn count_join(&self, took: Duration) {
        lock(&self.joins).saturating_record(micros(took));
    }

    /// A viewer has had its first video packet so long after it asked to watch.
    pub(super) fn count_first_packet(&self, took: Duration) {
        lock(&self.first_packets).saturating_record(micros(took));
    }

    pub(super) fn fail(&self, what: String) {
        lock(&self.failures).push(what);
    }

    pub(super) fn late(&self) -> Histogram<u32> {
        lock(&self.late).clone()
    }

    pub(super) fn joins(&self) -> Histogram<u32> {
        lock(&self.joins).clone()
    }

    pub(super) fn first_packets(&self) -> Histogram<u32> {
        lock(&self.first_packets).clone()
    }

    pub(super) fn failures(&self) -> Vec<String> {
        lock(&self.failures).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_came_later_is_not_lost_any_more() {
        let before = Received { packets: 10, bytes: 100, lost: 3, late: 0 };
        let after = Received { packets: 25, bytes: 250, lost: 1, late: 2 };
        assert_eq!(after.since(before), Received { packets: 15, bytes: 150, lost: 0, late: 2 });
        assert!((before.loss_percent() - 300.0 / 13.0).abs() < 1e-9);
        assert_eq!(Received::default().loss_percent(), 0.0);
    }

    #[test]
    fn durations_stay_within_the_histogram() {
        let mut all = histogram();
        for duration in [Duration::ZERO, Duration::from_millis(3), Duration::MAX] {
            all.record(micros(duration)).expect("it is within the bounds");
        }
        assert_eq!(all.len(), 3);
    }
}
