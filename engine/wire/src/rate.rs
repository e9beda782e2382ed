//! Bit rate over a sliding window.

use crate::time::Time;

const BUCKETS: usize = 20;
const BUCKET_MS: u64 = 50;

/// Bit/s over the last second, in buckets of 50 ms.
#[derive(Debug, Clone)]
pub struct RateMeter {
    bytes: [u64; BUCKETS],
    newest: u64,
}

impl Default for RateMeter {
    fn default() -> Self {
        Self::new()
    }
}

impl RateMeter {
    /// A meter that has seen nothing.
    pub const fn new() -> Self {
        Self { bytes: [0; BUCKETS], newest: 0 }
    }

    /// Counts bytes. Time that goes back counts as now.
    #[inline]
    pub fn add(&mut self, now: Time, bytes: usize) {
        let bucket = now.as_millis() / BUCKET_MS;
        if bucket > self.newest {
            for stale in 1..=(bucket - self.newest).min(BUCKETS as u64) {
                *self.slot(self.newest.wrapping_add(stale)) = 0;
            }
            self.newest = bucket;
        }
        let slot = self.slot(self.newest);
        *slot = slot.saturating_add(bytes as u64);
    }

    /// Bit/s over the second that ends at `now`.
    pub fn bitrate(&self, now: Time) -> u64 {
        let bucket = (now.as_millis() / BUCKET_MS).max(self.newest);
        // Buckets that fell out of the window since the last `add` are the oldest ones.
        let fallen = (bucket - self.newest).min(BUCKETS as u64);
        let live = BUCKETS as u64 - fallen;
        let newest = self.newest;
        let bytes = (0..live).fold(0_u64, |sum, back| {
            let slot = newest.wrapping_sub(back) % BUCKETS as u64;
            sum.saturating_add(self.bytes.get(slot as usize).copied().unwrap_or(0))
        });
        bytes.saturating_mul(8)
    }

    #[inline]
    fn slot(&mut self, bucket: u64) -> &mut u64 {
        &mut self.bytes[(bucket % BUCKETS as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_has_its_rate() {
        let mut meter = RateMeter::new();
        for ms in (0..3_000).step_by(10) {
            meter.add(Time::from_millis(ms), 1_250);
        }
        assert_eq!(meter.bitrate(Time::from_millis(2_999)), 1_000_000);
    }

    #[test]
    fn silence_runs_the_rate_down_to_zero() {
        let mut meter = RateMeter::new();
        for ms in (10_000..11_000).step_by(10) {
            meter.add(Time::from_millis(ms), 1_250);
        }
        let rates: Vec<_> = [10_999, 11_499, 11_949, 12_000, u64::MAX / 1_000_000]
            .map(|ms| meter.bitrate(Time::from_millis(ms)))
            .into();
        assert_eq!(rates[0], 1_000_000);
        assert!(rates.windows(2).all(|pair| pair[1] <= pair[0]));
        assert_eq!(rates[3], 0);
        meter.add(Time::from_millis(60_000), 100);
        assert_eq!(meter.bitrate(Time::from_millis(60_000)), 800);
    }

    #[test]
    fn time_that_stands_still_or_goes_back_loses_nothing() {
        let mut meter = RateMeter::new();
        meter.add(Time::from_millis(5_000), 100);
        meter.add(Time::from_millis(4_000), 100);
        meter.add(Time::ZERO, 100);
        assert_eq!(meter.bitrate(Time::ZERO), 2_400);
        assert_eq!(meter.bitrate(Time::from_millis(5_000)), 2_400);
    }
}
