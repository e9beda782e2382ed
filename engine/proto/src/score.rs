//! How well a stream gets through, 0 (not at all) to 10.
//!
//! Told: at each report how many packets were expected, received and repaired, and what the repairs
//! cost; packets as they come, if silence counts. Tells: the score, and when to look for silence.
//! A report's share of packets delivered, to the fourth power, is its sample; a loss that was repaired
//! counts in part, the less the more repairs there were. The score is the mean of the last 24 samples,
//! the newest weighing the most. Where silence counts, 1.5 s of it (5 s with discontinuous
//! transmission) is a score of 0, and the first packet after it begins at 10 again.
//! Limits: constant memory. Left out: what follows from a score.

use std::time::Duration;

use sfu_wire::time::Time;

/// The best score, which every stream begins with.
pub const BEST: u8 = 10;
/// Samples that count.
const HISTORY: usize = 24;
/// Silence after which a stream is inactive.
pub const INACTIVE: Duration = Duration::from_millis(1500);
/// The same with discontinuous transmission.
pub const INACTIVE_DTX: Duration = Duration::from_secs(5);

/// Totals since the start of the stream, as counters of it say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Packets that should have come.
    pub expected: u64,
    /// Packets that came by themselves.
    pub received: u64,
    /// Losses that were repaired.
    pub repaired: u64,
    /// Packets spent on repairs, useful or not.
    pub repairs: u64,
}

/// The score of one stream.
#[derive(Debug, Clone)]
pub struct Score {
    score: u8,
    samples: [u8; HISTORY],
    count: usize,
    next: usize,
    last: Totals,
    /// Allowed silence; `None` if silence does not count.
    patience: Option<Duration>,
    /// When silence is looked for; `None` while there is nothing to wait for.
    silent_at: Option<Time>,
    active: bool,
}

impl Score {
    /// A stream of which nothing was heard, and whose silence does not count until then.
    /// `patience` is [`INACTIVE`] or [`INACTIVE_DTX`], or `None` if silence never counts.
    pub fn new(patience: Option<Duration>) -> Self {
        Self {
            score: BEST,
            samples: [0; HISTORY],
            count: 0,
            next: 0,
            last: Totals::default(),
            patience,
            silent_at: None,
            active: true,
        }
    }

    /// A packet came. `true`: the score is another now, since silence ended.
    #[inline]
    pub fn handle_packet(&mut self, now: Time) -> bool {
        let Some(patience) = self.patience else { return false };
        if self.silent_at.is_none() {
            return self.begin(now, patience);
        }
        self.silent_at = Some(now + patience);
        false
    }

    #[cold]
    fn begin(&mut self, now: Time, patience: Duration) -> bool {
        self.silent_at = Some(now + patience);
        if std::mem::replace(&mut self.active, true) {
            return false;
        }
        self.count = 0;
        self.next = 0;
        self.set(BEST)
    }

    /// A report's worth of packets. `true`: the score is another now.
    pub fn handle_report(&mut self, totals: Totals) -> bool {
        let since = |new: u64, old: u64| new.saturating_sub(old);
        let part = Totals {
            expected: since(totals.expected, self.last.expected),
            received: since(totals.received, self.last.received),
            repaired: since(totals.repaired, self.last.repaired),
            repairs: since(totals.repairs, self.last.repairs),
        };
        self.last = totals;
        if part.expected == 0 || !self.active {
            return false;
        }
        self.samples[self.next] = sample(&part);
        self.next = (self.next + 1) % HISTORY;
        self.count = (self.count + 1).min(HISTORY);
        let (mut sum, mut weights) = (0, 0);
        for age in 0..self.count {
            let weight = (self.count - age) as u32;
            sum += weight * u32::from(self.samples[(self.next + HISTORY - 1 - age) % HISTORY]);
            weights += weight;
        }
        self.set(((sum + weights / 2) / weights) as u8)
    }

    /// Looks for silence. `true`: the score is another now.
    pub fn handle_timeout(&mut self, now: Time) -> bool {
        if self.silent_at.is_none_or(|at| now < at) {
            return false;
        }
        self.silent_at = None;
        self.active = false;
        self.set(0)
    }

    /// The stream goes on after a pause, in which its silence did not count.
    pub fn resume(&mut self, now: Time) {
        self.silent_at = self.silent_at.and(self.patience).map(|patience| now + patience);
    }

    /// When [`Score::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        self.silent_at
    }

    /// The score.
    #[inline]
    pub fn score(&self) -> u8 {
        self.score
    }

    /// Packets come, or their silence does not count.
    pub fn is_active(&self) -> bool {
        self.active
    }

    fn set(&mut self, score: u8) -> bool {
        std::mem::replace(&mut self.score, score) != score
    }
}

/// 0 to 10 for one report.
fn sample(part: &Totals) -> u8 {
    let expected = part.expected as f64;
    let lost = part.expected.saturating_sub(part.received) as f64;
    let repaired = (part.repaired as f64).min(lost);
    // Half of the packets repaired is worth a fifth of a delivery each; few are worth nearly one.
    let worth = (1.0 + repaired / expected).powi(-4);
    let cost = if part.repairs > part.repaired { part.repaired as f64 / part.repairs as f64 } else { 1.0 };
    let delivered = (expected - lost + repaired * worth * cost) / expected;
    (delivered.clamp(0.0, 1.0).powi(4) * f64::from(BEST)).round() as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(n: u64) -> Time {
        Time::from_millis(n)
    }

    /// Reports of a hundred packets each, of which some are lost and some of these repaired.
    fn after(reports: &[(u64, u64, u64)]) -> u8 {
        let mut score = Score::new(None);
        let mut totals = Totals::default();
        for (lost, repaired, repairs) in reports {
            totals.expected += 100;
            totals.received += 100 - lost;
            totals.repaired += repaired;
            totals.repairs += repairs;
            score.handle_report(totals);
        }
        score.score()
    }

    #[test]
    fn a_stream_without_loss_is_the_best_and_one_without_packets_the_worst() {
        assert_eq!(Score::new(None).score(), BEST);
        assert_eq!(after(&[(0, 0, 0); 30]), 10);
        assert_eq!(after(&[(100, 0, 0); 30]), 0);
        assert_eq!(after(&[(10, 0, 0); 30]), 7);
        assert_eq!(after(&[(50, 0, 0); 30]), 1);
    }

    #[test]
    fn repairs_count_the_more_the_fewer_and_the_cheaper_they_are() {
        assert_eq!(after(&[(5, 5, 5); 30]), 10);
        assert!(after(&[(30, 30, 30); 30]) > after(&[(30, 0, 0); 30]));
        assert!(after(&[(30, 30, 30); 30]) < 10);
        assert!(after(&[(30, 30, 90); 30]) < after(&[(30, 30, 30); 30]));
    }

    #[test]
    fn the_newest_reports_weigh_the_most_and_old_ones_nothing() {
        let mut good_then_bad = vec![(0, 0, 0); 24];
        good_then_bad.extend([(100, 0, 0); 12]);
        let mut bad_then_good = vec![(100, 0, 0); 24];
        bad_then_good.extend([(0, 0, 0); 12]);
        assert!(after(&good_then_bad) < after(&bad_then_good));
        bad_then_good.extend([(0, 0, 0); 12]);
        assert_eq!(after(&bad_then_good), 10);
    }

    #[test]
    fn a_report_about_nothing_changes_nothing() {
        let mut score = Score::new(None);
        assert!(!score.handle_report(Totals::default()));
        assert!(score.handle_report(Totals { expected: 10, received: 5, ..Totals::default() }));
        assert!(!score.handle_report(Totals { expected: 10, received: 5, ..Totals::default() }));
        assert!(!score.handle_report(Totals { expected: 3, ..Totals::default() }), "counters that go back");
    }

    #[test]
    fn silence_is_a_score_of_nothing_until_the_next_packet() {
        for (patience, dtx) in [(INACTIVE, false), (INACTIVE_DTX, true)] {
            let mut score = Score::new(Some(patience));
            assert_eq!(score.next_timeout(), None, "before the first packet there is no silence");
            assert!(!score.handle_packet(ms(0)));
            assert!(!score.handle_packet(ms(100)));
            assert!(!score.handle_timeout(ms(1_599)));
            assert_eq!(score.handle_timeout(ms(1_600)), !dtx);
            assert!(!dtx || score.handle_timeout(ms(5_100)));
            assert_eq!((score.score(), score.is_active(), score.next_timeout()), (0, false, None));
            assert!(!score.handle_report(Totals { expected: 10, ..Totals::default() }));
            assert!(score.handle_packet(ms(9_000)), "it is back");
            assert_eq!((score.score(), score.is_active()), (BEST, true));
        }
        let mut paused = Score::new(Some(INACTIVE));
        paused.resume(ms(0));
        assert_eq!(paused.next_timeout(), None, "nothing was heard of it");
        paused.handle_packet(ms(0));
        paused.resume(ms(60_000));
        assert!(!paused.handle_timeout(ms(61_000)) && paused.handle_timeout(ms(61_500)));
        let mut single = Score::new(None);
        assert!(!single.handle_packet(ms(0)) && !single.handle_timeout(ms(1_000_000)));
        assert_eq!(single.score(), BEST);
    }

    proptest! {
        #[test]
        fn any_counters_make_a_score(reports in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()), 0..60)) {
            let mut score = Score::new(None);
            for (expected, received, repaired, repairs) in reports {
                let before = score.score();
                let changed = score.handle_report(Totals { expected, received, repaired, repairs });
                prop_assert!(score.score() <= BEST && changed == (before != score.score()));
            }
        }
    }
}
