//! Sequence numbers: source positions (unwrapped, never going back over a restart) to the numbers
//! that a receiver sees, and back again for its NACKs.
//!
//! The line of source positions is cut into segments; within one, `out = position + shift`. A packet
//! left out begins a new segment with a shift one smaller, so the receiver sees no gap; a packet lost
//! upstream keeps its number, so the receiver sees the gap and may ask for it when it turns up late.
//! A start over (pause, restart of the source) begins a segment behind a barrier: nothing from before
//! it is let through any more, but what was sent before it is still found for NACKs.

use std::collections::VecDeque;

/// Segments remembered besides the current one; older ones are forgotten, oldest first.
pub const MAX_SEGMENTS: usize = 32;

/// A closed stretch of source positions: `first <= position < end`.
#[derive(Debug, Clone, Copy)]
struct Segment<T> {
    first: u64,
    end: u64,
    shift: u64,
    tag: T,
}

/// The map. `T` is a small value that belongs to a segment: shifts of other numbers.
#[derive(Debug, Clone)]
pub struct SequenceMap<T> {
    /// Position at which the current segment begins.
    first: u64,
    /// `out = position + shift`, wrapping.
    shift: u64,
    /// The next number never used so far.
    next_out: u64,
    /// Highest position seen, sent or left out.
    newest: u64,
    /// Positions below are refused.
    barrier: u64,
    tag: T,
    started: bool,
    older: VecDeque<Segment<T>>,
}

impl<T: Copy + Default> SequenceMap<T> {
    /// A map whose first number will be `first_out`.
    pub fn new(first_out: u16) -> Self {
        Self {
            first: 0,
            shift: 0,
            // One cycle up, so that no subtraction near the start goes below zero.
            next_out: 0x1_0000 + u64::from(first_out),
            newest: 0,
            barrier: 0,
            tag: T::default(),
            started: false,
            older: VecDeque::new(),
        }
    }

    /// Whether anything was ever let through.
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// The number that comes next if nothing is lost.
    pub fn next_number(&self) -> u16 {
        self.next_out as u16
    }

    /// Starts (over) at `position`, which gets the next unused number. `false`, and no change, if
    /// `position` is not newer than all that was seen: such a packet belongs to before the start.
    pub fn start(&mut self, position: u64, tag: T) -> bool {
        if self.started {
            if position <= self.newest {
                return false;
            }
            self.close_segment(self.newest + 1);
        }
        self.first = position;
        self.barrier = position;
        self.shift = self.next_out.wrapping_sub(position);
        self.newest = position;
        self.next_out += 1;
        self.tag = tag;
        self.started = true;
        true
    }

    /// The number for `position` and its segment's tag; `None` if it was left out, lies before the
    /// last start, or is too old to be placed.
    #[inline]
    pub fn map(&mut self, position: u64) -> Option<(u16, T)> {
        if !self.started {
            return None;
        }
        if position < self.first {
            return self.map_late(position);
        }
        let out = position.wrapping_add(self.shift);
        if position > self.newest {
            self.newest = position;
        }
        if out >= self.next_out {
            self.next_out = out + 1;
        }
        Some((out as u16, self.tag))
    }

    #[cold]
    fn map_late(&self, position: u64) -> Option<(u16, T)> {
        if position < self.barrier {
            return None;
        }
        let segment = self.older.iter().rev().find(|s| position >= s.first)?;
        (position < segment.end).then(|| (position.wrapping_add(segment.shift) as u16, segment.tag))
    }

    /// Leaves `position` out so that the receiver sees no gap. `false` if its number is already
    /// taken into account by newer packets: then something has to be sent under it.
    pub fn skip(&mut self, position: u64) -> bool {
        if !self.started || position < self.barrier {
            return true;
        }
        if position <= self.newest {
            return self.map_late_was_skipped(position);
        }
        // What lies between the newest and this one was lost upstream and keeps its numbers.
        if position > self.first {
            self.close_segment(position);
            self.next_out = self.next_out.max(position.wrapping_add(self.shift));
        }
        self.newest = position;
        self.first = position + 1;
        self.shift = self.shift.wrapping_sub(1);
        true
    }

    /// A repeated request to leave out what was left out already is no news.
    fn map_late_was_skipped(&self, position: u64) -> bool {
        position < self.first && self.map_late(position).is_none()
    }

    /// The source position that was sent as `out`, and its segment's tag.
    pub fn locate(&self, out: u16) -> Option<(u64, T)> {
        if !self.started {
            return None;
        }
        let newest_out = self.next_out - 1;
        let back = u64::from((newest_out as u16).wrapping_sub(out));
        if back >= 0x8000 || back > newest_out {
            return None;
        }
        let out = newest_out - back;
        let position = out.wrapping_sub(self.shift);
        if position >= self.first && position <= self.newest {
            return Some((position, self.tag));
        }
        for segment in self.older.iter().rev() {
            let position = out.wrapping_sub(segment.shift);
            if position >= segment.first && position < segment.end {
                return Some((position, segment.tag));
            }
        }
        None
    }

    fn close_segment(&mut self, end: u64) {
        if end <= self.first {
            return;
        }
        if self.older.len() == MAX_SEGMENTS {
            self.older.pop_front();
        }
        self.older.push_back(Segment { first: self.first, end, shift: self.shift, tag: self.tag });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    fn started(first_out: u16, position: u64) -> SequenceMap<u8> {
        let mut map = SequenceMap::new(first_out);
        assert!(map.start(position, 0));
        map
    }

    fn out(map: &mut SequenceMap<u8>, position: u64) -> Option<u16> {
        map.map(position).map(|(out, _)| out)
    }

    #[test]
    fn nothing_is_mapped_before_the_start() {
        let mut map = SequenceMap::<u8>::new(7);
        assert!(!map.is_started());
        assert_eq!(map.map(100), None);
        assert_eq!(map.locate(7), None);
        assert!(map.skip(100));
    }

    #[test]
    fn numbers_follow_the_source_with_gaps_of_the_same_size() {
        let mut map = started(500, 100);
        assert_eq!(out(&mut map, 100), Some(500));
        assert_eq!(out(&mut map, 101), Some(501));
        assert_eq!(out(&mut map, 105), Some(505));
        assert_eq!(out(&mut map, 103), Some(503), "a late packet keeps its place");
    }

    #[test]
    fn a_packet_left_out_leaves_no_gap() {
        let mut map = started(10, 100);
        assert_eq!(out(&mut map, 100), Some(10));
        assert!(map.skip(101));
        assert!(map.skip(102));
        assert_eq!(out(&mut map, 103), Some(11));
        // 104 is lost upstream, 105 left out.
        assert!(map.skip(105));
        assert_eq!(out(&mut map, 106), Some(13));
        assert_eq!(out(&mut map, 104), Some(12), "the lost one still has its number");
        assert_eq!(out(&mut map, 101), None, "what was left out stays left out");
        assert!(map.skip(101), "and may be left out again");
    }

    #[test]
    fn a_late_packet_cannot_be_left_out_silently() {
        let mut map = started(10, 100);
        assert_eq!(out(&mut map, 102), Some(12));
        assert!(!map.skip(101), "its number shows as a gap already");
        assert_eq!(out(&mut map, 101), Some(11));
    }

    #[test]
    fn a_start_over_goes_on_without_gap_and_refuses_the_past() {
        let mut map = started(10, 100);
        assert_eq!(out(&mut map, 103), Some(13));
        assert!(map.start(900, 1));
        assert_eq!(map.map(900), Some((14, 1)));
        assert_eq!(map.map(104), None);
        assert_eq!(map.map(899), None);
        assert!(!map.start(850, 2), "a start in the past is refused");
        assert_eq!(map.locate(13), Some((103, 0)), "NACKs still reach what was sent before");
        assert_eq!(map.locate(14), Some((900, 1)));
        assert_eq!(map.locate(15), None, "not sent yet");
    }

    #[test]
    fn row_025_first_packets_lost_across_the_wrap() {
        let mut map = started(65_534, 65_535);
        assert_eq!(out(&mut map, 65_535), Some(65_534));
        assert_eq!(out(&mut map, 65_540), Some(3));
        assert_eq!(out(&mut map, 65_536), Some(65_535));
        assert_eq!(map.locate(65_535), Some((65_536, 0)));
        assert_eq!(map.locate(3), Some((65_540, 0)));
    }

    #[test]
    fn h27_many_wraps_of_both_sides() {
        for first_out in [0u16, 1, 32_767, 32_768, 65_535] {
            let mut map = started(first_out, 65_536);
            for step in 0..140_000u64 {
                let position = 65_536 + step;
                let expected = first_out.wrapping_add(step as u16);
                assert_eq!(out(&mut map, position), Some(expected));
                assert_eq!(map.locate(expected), Some((position, 0)));
            }
        }
    }

    #[test]
    fn segments_are_bounded() {
        let mut map = started(0, 100);
        for k in 0..1000u64 {
            assert!(out(&mut map, 100 + 2 * k).is_some());
            assert!(map.skip(101 + 2 * k));
        }
        assert!(map.older.len() <= MAX_SEGMENTS);
        assert_eq!(map.map(110), None, "too old to be placed");
        assert_eq!(map.locate(999), Some((100 + 2 * 999, 0)));
        assert_eq!(map.locate(1), None);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Forward,
        Lose(u8),
        Skip,
        Late(u8),
        Restart(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => Just(Step::Forward),
            2 => (1u8..5).prop_map(Step::Lose),
            2 => Just(Step::Skip),
            2 => (1u8..20).prop_map(Step::Late),
            1 => (1u16..5000).prop_map(Step::Restart),
        ]
    }

    proptest! {
        /// Against a model that counts by hand: no number is used for two positions, numbers grow with
        /// positions, and `locate` is the inverse for everything sent recently.
        #[test]
        fn agrees_with_the_model(first_out in any::<u16>(), start in 65_536u64..200_000, steps in prop::collection::vec(step(), 1..200)) {
            let mut map = SequenceMap::<u8>::new(first_out);
            prop_assert!(map.start(start, 0));
            let mut sent: HashMap<u64, u64> = HashMap::new();
            let mut skipped: HashSet<u64> = HashSet::new();
            let mut newest = start;
            let mut next = u64::from(first_out) + 65_536 + 1;
            let mut barrier = start;
            sent.insert(start, next - 1);
            prop_assert_eq!(map.map(start).map(|x| x.0), Some(first_out));
            for step in steps {
                match step {
                    Step::Forward => {
                        newest += 1;
                        prop_assert_eq!(map.map(newest).map(|x| x.0), Some(next as u16));
                        sent.insert(newest, next);
                        next += 1;
                    }
                    Step::Lose(n) => { for _ in 0..n { newest += 1; sent.insert(newest, next); next += 1; }
                        newest += 1;
                        prop_assert_eq!(map.map(newest).map(|x| x.0), Some(next as u16));
                        sent.insert(newest, next); next += 1; }
                    Step::Skip => { newest += 1; prop_assert!(map.skip(newest)); skipped.insert(newest); }
                    Step::Late(n) => {
                        let position = newest.saturating_sub(u64::from(n));
                        let got = map.map(position).map(|x| x.0);
                        if position < barrier || skipped.contains(&position) { prop_assert_eq!(got, None); }
                        else { prop_assert_eq!(got, sent.get(&position).map(|o| *o as u16)); }
                    }
                    Step::Restart(jump) => {
                        newest += u64::from(jump);
                        prop_assert!(map.start(newest, 0));
                        prop_assert_eq!(map.map(newest).map(|x| x.0), Some(next as u16));
                        sent.insert(newest, next);
                        next += 1; barrier = newest;
                    }
                }
                // The newest sent is always found again.
                if let Some(out) = sent.get(&newest) {
                    prop_assert_eq!(map.locate(*out as u16).map(|x| x.0), Some(newest));
                }
                prop_assert!(map.locate(next as u16).is_none());
            }
        }
    }
}
