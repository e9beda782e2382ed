//! When the next regular RTCP report is due: a period times a random factor between 0.5 and 1.5, so
//! that reports of many streams do not march in step (RFC 3550, section 6.3.1).
//!
//! Told: a seed, the time. Tells: due or not. Limits: constant memory. The factor is no secret, so a
//! small generator of its own is good enough and keeps runs repeatable.

use std::time::Duration;

use sfu_wire::time::Time;

/// The schedule of one stream.
#[derive(Debug, Clone)]
pub struct RtcpSchedule {
    state: u64,
    period: Duration,
    due: Time,
}

impl RtcpSchedule {
    /// A schedule of which the first report is due within half a period.
    pub fn new(now: Time, period: Duration, seed: u64) -> Self {
        let mut this = Self { state: seed, period, due: now };
        this.due = now + period.mul_f64(this.random() * 0.5);
        this
    }

    /// `true` once when a report is due; then the next one is scheduled.
    pub fn poll(&mut self, now: Time) -> bool {
        if now < self.due {
            return false;
        }
        let factor = 0.5 + self.random();
        self.due = now + self.period.mul_f64(factor);
        true
    }

    /// When the next report is due.
    pub fn next_timeout(&self) -> Time {
        self.due
    }

    /// A number in 0..1.
    fn random(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        (scatter(self.state) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Turns numbers that differ little into numbers that differ much, one to one (the last step of
/// SplitMix64). No secret, and no randomness of its own.
pub const fn scatter(value: u64) -> u64 {
    let mut z = value;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_half_to_one_and_a_half_periods_apart() {
        let period = Duration::from_secs(1);
        let mut schedule = RtcpSchedule::new(Time::ZERO, period, 7);
        let mut last: Option<Time> = None;
        let mut distances = Vec::new();
        for ms in 0..200_000u64 {
            let now = Time::from_millis(ms);
            if schedule.poll(now) {
                if let Some(last) = last {
                    distances.push(now.saturating_since(last));
                } else {
                    assert!(ms <= 500);
                }
                last = Some(now);
            }
        }
        assert!(distances.iter().all(|d| (499..=1501).contains(&d.as_millis())));
        assert!((180..=220).contains(&distances.len()), "one a second on average");
        assert!(distances.iter().any(|d| d.as_millis() < 700) && distances.iter().any(|d| d.as_millis() > 1300));
    }

    #[test]
    fn seeds_differ_and_a_seed_repeats() {
        let due = |seed| RtcpSchedule::new(Time::ZERO, Duration::from_secs(1), seed).next_timeout();
        assert_eq!(due(1), due(1));
        assert_ne!(due(1), due(2));
    }

    #[test]
    fn h27_a_clock_at_its_end_does_not_overflow() {
        let mut schedule = RtcpSchedule::new(Time::MAX, Duration::from_secs(1), 1);
        assert!(schedule.poll(Time::MAX));
    }
}
