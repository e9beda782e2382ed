//! How often a publisher is asked for a key frame.
//!
//! Told: wishes for a key frame (any number, from any number of receivers) and key frames as they
//! come. Tells: ask now. One request is outstanding at a time; an unanswered one is repeated once
//! after a second; two requests are never closer than the configured delay, and never closer than
//! 200 ms. A wish within the delay is kept and fulfilled at its end, unless a key frame came.
//! Limits: constant memory. RFC 4585, section 6.3.1; RFC 5104, section 4.3.1.
//! Left out: the form of the request.

use std::time::Duration;

use sfu_wire::time::Time;

/// An unanswered request is repeated after this, once; then it counts as lost.
pub const RETRY: Duration = Duration::from_secs(1);
/// Least distance of two requests, whatever is configured.
pub const MIN_DISTANCE: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// Wanted, but the last request is too close.
    Waiting,
    /// Asked at `last`.
    Outstanding {
        repeated: bool,
    },
}

/// The throttle of one stream.
#[derive(Debug, Clone)]
pub struct KeyFrameThrottle {
    state: State,
    last: Option<Time>,
    distance: Duration,
    due: Option<Time>,
}

impl KeyFrameThrottle {
    /// Two requests are at least `delay` apart.
    pub fn new(delay: Duration) -> Self {
        Self { state: State::Idle, last: None, distance: delay.max(MIN_DISTANCE), due: None }
    }

    /// Somebody wants a key frame. Ask [`KeyFrameThrottle::poll`] afterwards.
    pub fn want(&mut self, now: Time) {
        if self.state == State::Idle {
            self.state = State::Waiting;
            self.due = Some(self.last.map_or(now, |last| (last + self.distance).max(now)));
        }
    }

    /// A key frame came: whoever wanted one has it.
    pub fn handle_key_frame(&mut self) {
        self.state = State::Idle;
        self.due = None;
    }

    /// The stream stopped (pause, BYE): nothing is outstanding any more.
    pub fn cancel(&mut self) {
        self.handle_key_frame();
    }

    /// `true`: ask now. The caller does.
    pub fn poll(&mut self, now: Time) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        match self.state {
            State::Waiting => self.ask(now, false),
            State::Outstanding { repeated: false } => self.ask(now, true),
            State::Outstanding { repeated: true } | State::Idle => {
                self.handle_key_frame();
                false
            }
        }
    }

    /// When [`KeyFrameThrottle::poll`] has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        self.due
    }

    fn ask(&mut self, now: Time, repeated: bool) -> bool {
        self.state = State::Outstanding { repeated };
        self.last = Some(now);
        self.due = Some(now + RETRY.max(self.distance));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Time {
        Time::from_millis(n)
    }

    fn count(
        throttle: &mut KeyFrameThrottle,
        range: std::ops::Range<u64>,
        mut each: impl FnMut(&mut KeyFrameThrottle, u64),
    ) -> Vec<u64> {
        range
            .filter(|at| {
                each(throttle, *at);
                throttle.poll(ms(*at))
            })
            .collect()
    }

    #[test]
    fn one_wish_is_asked_twice_and_then_dropped() {
        let mut throttle = KeyFrameThrottle::new(Duration::ZERO);
        assert_eq!(count(&mut throttle, 0..5, |_, _| {}), []);
        throttle.want(ms(5));
        assert_eq!(count(&mut throttle, 5..10_000, |_, _| {}), [5, 1005]);
        assert_eq!(throttle.next_timeout(), None);
    }

    #[test]
    fn a_key_frame_answers_all_wishes() {
        let mut throttle = KeyFrameThrottle::new(Duration::ZERO);
        throttle.want(ms(0));
        assert!(throttle.poll(ms(0)));
        throttle.want(ms(10));
        throttle.handle_key_frame();
        assert_eq!(count(&mut throttle, 11..5_000, |_, _| {}), []);
        throttle.want(ms(5_000));
        assert!(throttle.poll(ms(5_000)));
    }

    #[test]
    fn row_041_a_hundred_consumers_with_a_thousand_requests_a_second() {
        for delay in [0u64, 500, 3_000] {
            let mut throttle = KeyFrameThrottle::new(Duration::from_millis(delay));
            let distance = delay.max(200);
            // The publisher answers each request after 30 ms.
            let mut answer = None;
            let mut asked: Vec<u64> = Vec::new();
            for at in 0..10_000 {
                if answer == Some(at) {
                    throttle.handle_key_frame();
                }
                for _ in 0..100 {
                    throttle.want(ms(at));
                    if throttle.poll(ms(at)) {
                        asked.push(at);
                        answer = Some(at + 30);
                    }
                }
            }
            assert!(asked.windows(2).all(|w| w[1] - w[0] >= distance));
            assert!(asked.len() as u64 <= 10_000 / distance + 1);
            assert!(asked.len() > 1, "and yet it goes on");
        }
    }

    #[test]
    fn row_041_a_publisher_that_never_answers_is_asked_once_a_second() {
        let mut throttle = KeyFrameThrottle::new(Duration::ZERO);
        let asked = count(&mut throttle, 0..10_000, |t, at| t.want(ms(at)));
        assert!(asked.len() <= 10, "{asked:?}");
        assert!(asked.windows(2).all(|w| w[1] - w[0] >= 1_000));
    }
}
