//! What the controller hears of ICE: the latest state and the latest selected tuple, at most ten
//! events in any second for each transport. What changes faster is left out, except the last change,
//! which is told when the rate allows.

use std::time::Duration;

use sfu_wire::net::Tuple;
use sfu_wire::time::Time;

use crate::command::IceState;

/// Events that may follow each other at once. With one more for each [`REFILL`], no second sees more
/// than ten.
const BURST: u32 = 5;
/// Time for one more event.
const REFILL: Duration = Duration::from_millis(200);

/// Something to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IceNews {
    /// The state.
    State(IceState),
    /// The selected tuple.
    Selected(Tuple),
}

/// The rate limit and the values that wait behind it.
#[derive(Debug)]
pub(crate) struct IceEvents {
    told_state: IceState,
    told_tuple: Option<Tuple>,
    state: IceState,
    tuple: Option<Tuple>,
    tokens: u32,
    refilled: Time,
}

impl IceEvents {
    /// Nothing has happened yet.
    pub(crate) fn new(now: Time) -> Self {
        let state = IceState::New;
        Self { told_state: state, told_tuple: None, state, tuple: None, tokens: BURST, refilled: now }
    }

    /// The state changed.
    pub(crate) fn note_state(&mut self, state: IceState) {
        self.state = state;
    }

    /// The selected tuple changed.
    pub(crate) fn note_selected(&mut self, tuple: Tuple) {
        self.tuple = Some(tuple);
    }

    /// The next thing to tell now.
    pub(crate) fn poll(&mut self, now: Time) -> Option<IceNews> {
        if !self.is_pending() {
            return None;
        }
        self.refill(now);
        self.tokens = self.tokens.checked_sub(1)?;
        if self.tuple != self.told_tuple {
            self.told_tuple = self.tuple;
            return self.tuple.map(IceNews::Selected);
        }
        self.told_state = self.state;
        Some(IceNews::State(self.state))
    }

    /// When the next thing may be told.
    pub(crate) fn next_timeout(&self) -> Option<Time> {
        self.is_pending().then(|| if self.tokens > 0 { self.refilled } else { self.refilled + REFILL })
    }

    fn is_pending(&self) -> bool {
        self.tuple != self.told_tuple || self.state != self.told_state
    }

    fn refill(&mut self, now: Time) {
        let periods = now.saturating_since(self.refilled).as_nanos() / REFILL.as_nanos();
        let periods = u32::try_from(periods).unwrap_or(u32::MAX);
        if periods > 0 {
            self.tokens = self.tokens.saturating_add(periods).min(BURST);
            self.refilled += REFILL * periods;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_wire::net::SocketId;

    fn tuple(port: u16) -> Tuple {
        Tuple { socket: SocketId(0), remote: ([192, 0, 2, 1], port).into() }
    }

    #[test]
    fn row_009_flapping_tells_at_most_ten_in_a_second_and_the_last_one_always() {
        let mut events = IceEvents::new(Time::from_nanos(0));
        let mut told: Vec<(u64, IceNews)> = Vec::new();
        for ms in 0..3_000u64 {
            events.note_selected(tuple(1 + (ms % 2) as u16));
            let now = Time::from_micros(ms * 1000);
            told.extend(std::iter::from_fn(|| events.poll(now)).map(|n| (ms, n)));
        }
        events.note_selected(tuple(77));
        let at = events.next_timeout().unwrap();
        told.extend(std::iter::from_fn(|| events.poll(at)).map(|n| (3_000, n)));
        assert_eq!(told.last().unwrap().1, IceNews::Selected(tuple(77)));
        for start in 0..3_000 {
            assert!(told.iter().filter(|(ms, _)| (start..start + 1_000).contains(ms)).count() <= 10);
        }
        assert_eq!(events.next_timeout(), None);
    }

    #[test]
    fn a_connection_is_told_at_once() {
        let mut events = IceEvents::new(Time::from_nanos(0));
        events.note_selected(tuple(1));
        events.note_state(IceState::Connected);
        events.note_state(IceState::Completed);
        let now = Time::from_micros(1);
        assert_eq!(events.poll(now), Some(IceNews::Selected(tuple(1))));
        assert_eq!(events.poll(now), Some(IceNews::State(IceState::Completed)));
        assert_eq!(events.poll(now), None);
    }
}
