//! Sequence numbers: source positions (unwrapped, never going back over a restart) to the numbers
//! that a receiver sees, and back again for its NACKs.
//!
//! Within a stretch (one encoding of one source, from a start on) numbers grow with positions. A packet
//! left out gets no number, so the receiver sees no gap; a packet lost upstream gets one, so the
//! receiver sees the gap and may ask for it when it turns up late. Which number was which position's is
//! kept in a ring indexed by number, with a note of the caller's: whatever was left out in between, and
//! however often, a NACK is looked up in one step. A start over (pause, restart of the source, another
//! encoding or source) begins a stretch behind a barrier: nothing from before it is let through any
//! more, but what was sent before it is still found for NACKs.
//! Limits: memory for as many numbers as the ring has, taken by the first start. A packet lost upstream
//! that turns up later than that is not placed.

/// What became of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Fate {
    /// Never given.
    #[default]
    Unused,
    /// Given to a packet that has not come (yet).
    Missing,
    /// The packet was sent under it.
    Sent,
    /// Something else was sent under it, since the packet is not to be forwarded after all.
    Filled,
}

/// A number that was given; its place in the ring tells which.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// The lower half of the position.
    position: u32,
    note: u16,
    stretch: u8,
    fate: Fate,
}

/// Where a number came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The lower half of the position: what it is within its stretch is for who began the stretch.
    pub position: u32,
    /// The note that came with it.
    pub note: u16,
    /// The stretch, as [`SequenceMap::start`] numbered it.
    pub stretch: u8,
}

/// The map. See the module's description.
#[derive(Debug, Clone)]
pub struct SequenceMap {
    /// Indexed by number; allocated by the first start.
    ring: Box<[Slot]>,
    /// Its length then, less one: a power of two less one.
    mask: u64,
    /// The next number never used so far.
    next_out: u64,
    /// `out = position + shift` for what comes next, wrapping.
    shift: u64,
    /// Highest position seen in this stretch, sent or left out.
    newest: u64,
    /// Positions below are refused.
    barrier: u64,
    /// The number of the first position of this stretch.
    barrier_out: u64,
    stretch: u8,
    started: bool,
}

impl SequenceMap {
    /// A map whose first number will be `first_out`, and which remembers the last `numbers` of them
    /// (rounded up to a power of two, at most 32,768).
    pub fn new(first_out: u16, numbers: usize) -> Self {
        // One cycle up, so that no subtraction near the start goes below zero.
        let next_out = 0x1_0000 + u64::from(first_out);
        Self {
            ring: Box::default(),
            mask: numbers.clamp(1, 0x8000).next_power_of_two() as u64 - 1,
            next_out,
            shift: 0,
            newest: 0,
            barrier: 0,
            barrier_out: next_out,
            stretch: 0,
            started: false,
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

    /// The present stretch.
    pub fn stretch(&self) -> u8 {
        self.stretch
    }

    /// `position` is newer than all that was seen in the present stretch: what is not belongs to before
    /// a start over.
    pub fn is_news(&self, position: u64) -> bool {
        !self.started || position > self.newest
    }

    /// Starts (over) at `position`, which gets the next unused number once it is mapped. Positions of
    /// the stretch have nothing to do with those before. Answers the number of the new stretch.
    pub fn start(&mut self, position: u64) -> u8 {
        if self.started {
            self.stretch = self.stretch.wrapping_add(1);
        } else {
            self.ring = vec![Slot::default(); self.mask as usize + 1].into_boxed_slice();
        }
        self.started = true;
        self.barrier = position;
        self.barrier_out = self.next_out;
        self.shift = self.next_out.wrapping_sub(position);
        // Nothing of the stretch was seen yet: the position itself is news.
        self.newest = position.wrapping_sub(1);
        self.stretch
    }

    /// The number for `position` and the note that it has: `note`, if it has none yet. `None`: it was
    /// left out, lies before the last start, or is too old to be placed.
    #[inline]
    pub fn map(&mut self, position: u64, note: u16) -> Option<(u16, u16)> {
        if !self.is_next_or_later(position) {
            return self.map_late(position, note);
        }
        if position != self.newest.wrapping_add(1) {
            self.miss_until(position, note);
        }
        let out = self.next_out;
        *self.slot(out) = Slot { position: position as u32, note, stretch: self.stretch, fate: Fate::Sent };
        self.next_out += 1;
        self.newest = position;
        Some((out as u16, note))
    }

    /// Leaves `position` out so that the receiver sees no gap. `false` if its number is already
    /// taken into account by newer packets: then something has to be sent under it.
    #[inline]
    pub fn skip(&mut self, position: u64, note: u16) -> bool {
        if !self.is_next_or_later(position) {
            let place = self.place(position);
            return place.is_none_or(|out| self.slot(out).fate != Fate::Missing);
        }
        if position != self.newest.wrapping_add(1) {
            self.miss_until(position, note);
        }
        self.newest = position;
        self.shift = self.shift.wrapping_sub(1);
        true
    }

    /// The number of a packet that came too late to be left out, for something else to be sent under
    /// it; once.
    pub fn fill(&mut self, position: u64) -> Option<u16> {
        let out = self.place(position)?;
        let slot = self.slot(out);
        if slot.fate != Fate::Missing {
            return None;
        }
        slot.fate = Fate::Filled;
        Some(out as u16)
    }

    /// As [`SequenceMap::map`], for what is sent once and never again: nothing is found for it.
    pub fn map_once(&mut self, position: u64) -> Option<u16> {
        let (number, _) = self.map(position, 0)?;
        let out = self.place(position)?;
        self.slot(out).fate = Fate::Filled;
        Some(number)
    }

    /// The number under which a position of the present stretch was sent, and its note.
    pub fn number_of(&self, position: u64) -> Option<(u16, u16)> {
        let out = self.place(position)?;
        let slot = self.ring[(out & self.mask) as usize];
        (slot.fate == Fate::Sent).then_some((out as u16, slot.note))
    }

    /// Where what was sent as `out` came from; `None` if nothing was, or not lately.
    pub fn locate(&self, out: u16) -> Option<Origin> {
        let newest_out = self.next_out - 1;
        let back = u64::from((newest_out as u16).wrapping_sub(out));
        if back >= self.ring.len() as u64 {
            return None;
        }
        let slot = self.ring[((newest_out - back) & self.mask) as usize];
        let origin = Origin { position: slot.position, note: slot.note, stretch: slot.stretch };
        (slot.fate == Fate::Sent).then_some(origin)
    }

    #[inline]
    fn is_next_or_later(&self, position: u64) -> bool {
        // A new stretch may begin at position 0: compare as distances.
        self.started && position.wrapping_sub(self.newest.wrapping_add(1)) < 1 << 63
    }

    /// Gives numbers to what was lost between the newest and `position`; all but the last ring's worth
    /// are only counted.
    #[cold]
    fn miss_until(&mut self, position: u64, note: u16) {
        let next = self.newest.wrapping_add(1);
        let missing = position.wrapping_sub(next);
        let told = missing.min(self.ring.len() as u64);
        for back in (1..=told).rev() {
            let missed = position.wrapping_sub(back);
            let out = missed.wrapping_add(self.shift);
            *self.slot(out) = Slot { position: missed as u32, note, stretch: self.stretch, fate: Fate::Missing };
        }
        self.next_out += missing;
    }

    #[cold]
    fn map_late(&mut self, position: u64, note: u16) -> Option<(u16, u16)> {
        let out = self.place(position)?;
        let slot = self.slot(out);
        match slot.fate {
            Fate::Missing => {
                (slot.fate, slot.note) = (Fate::Sent, note);
                Some((out as u16, note))
            }
            Fate::Sent => Some((out as u16, slot.note)),
            Fate::Unused | Fate::Filled => None,
        }
    }

    /// The number that a position of this stretch got, if the ring still has it.
    fn place(&self, position: u64) -> Option<u64> {
        if !self.started || position < self.barrier || self.is_next_or_later(position) {
            return None;
        }
        // What was left out since made the shift smaller, so the number is at least this one; and
        // within a stretch numbers grow with positions.
        let oldest = self.barrier_out.max(self.next_out.saturating_sub(self.ring.len() as u64));
        let mut low = position.wrapping_add(self.shift);
        if low < oldest || low >= self.next_out {
            low = oldest;
        }
        let mut high = self.next_out;
        let newest = self.newest;
        let age = |p: u32| u64::from((newest as u32).wrapping_sub(p));
        while low < high {
            let middle = low + (high - low) / 2;
            let found = self.ring[(middle & self.mask) as usize].position;
            // Compared by age: the lower halves of positions wrap.
            match age(found).cmp(&(newest - position)) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => low = middle + 1,
                std::cmp::Ordering::Less => high = middle,
            }
        }
        None
    }

    #[inline]
    fn slot(&mut self, out: u64) -> &mut Slot {
        let at = (out & self.mask) as usize;
        &mut self.ring[at]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    fn started(first_out: u16, position: u64) -> SequenceMap {
        let mut map = SequenceMap::new(first_out, 1024);
        assert_eq!(map.start(position), 0);
        map
    }

    fn out(map: &mut SequenceMap, position: u64) -> Option<u16> {
        map.map(position, 0).map(|(out, _)| out)
    }

    fn located(map: &SequenceMap, out: u16) -> Option<(u64, u8)> {
        map.locate(out).map(|o| (u64::from(o.position), o.stretch))
    }

    #[test]
    fn nothing_is_mapped_before_the_start() {
        let mut map = SequenceMap::new(7, 64);
        assert!(!map.is_started());
        assert_eq!(map.map(100, 0), None);
        assert_eq!(map.locate(7), None);
        assert!(map.skip(100, 0));
        assert_eq!(map.fill(100), None);
    }

    #[test]
    fn numbers_follow_the_source_with_gaps_of_the_same_size() {
        let mut map = started(500, 100);
        assert_eq!(out(&mut map, 100), Some(500));
        assert_eq!(out(&mut map, 101), Some(501));
        assert_eq!(out(&mut map, 105), Some(505));
        assert_eq!(located(&map, 503), None, "it has not come");
        assert_eq!(map.map(103, 9), Some((503, 9)), "a late packet keeps its place");
        assert_eq!(map.map(103, 8), Some((503, 9)), "and its note");
        assert_eq!(located(&map, 503), Some((103, 0)));
    }

    #[test]
    fn a_packet_left_out_leaves_no_gap() {
        let mut map = started(10, 100);
        assert_eq!(out(&mut map, 100), Some(10));
        assert!(map.skip(101, 0));
        assert!(map.skip(102, 0));
        assert_eq!(out(&mut map, 103), Some(11));
        // 104 is lost upstream, 105 left out.
        assert!(map.skip(105, 0));
        assert_eq!(out(&mut map, 106), Some(13));
        assert_eq!(out(&mut map, 104), Some(12), "the lost one still has its number");
        assert_eq!(out(&mut map, 101), None, "what was left out stays left out");
        assert!(map.skip(101, 0), "and may be left out again");
    }

    #[test]
    fn a_late_packet_cannot_be_left_out_silently() {
        let mut map = started(10, 100);
        assert_eq!(out(&mut map, 102), Some(12));
        assert!(!map.skip(101, 0), "its number shows as a gap already");
        assert_eq!(map.fill(101), Some(11));
        assert_eq!(map.fill(101), None, "once");
        assert!(map.skip(101, 0));
        assert_eq!(located(&map, 11), None, "what was sent under it is not the packet");
        assert_eq!(out(&mut map, 101), None);
    }

    #[test]
    fn a_start_over_goes_on_without_gap_and_refuses_the_past() {
        let mut map = started(10, 100);
        assert_eq!(out(&mut map, 103), Some(13));
        assert!(map.is_news(104) && !map.is_news(103));
        assert_eq!(map.start(900), 1);
        assert_eq!(out(&mut map, 900), Some(14));
        assert_eq!(map.map(104, 0), None);
        assert_eq!(map.map(899, 0), None);
        assert_eq!(located(&map, 13), Some((103, 0)), "NACKs still reach what was sent before");
        assert_eq!(located(&map, 14), Some((900, 1)));
        assert_eq!(map.locate(15), None, "not sent yet");
        // Another encoding counts from somewhere else.
        assert_eq!(map.start(0), 2);
        assert_eq!(out(&mut map, 0), Some(15));
        assert_eq!(out(&mut map, 1), Some(16));
        assert_eq!(located(&map, 15), Some((0, 2)));
    }

    #[test]
    fn row_025_first_packets_lost_across_the_wrap() {
        let mut map = started(65_534, 65_535);
        assert_eq!(out(&mut map, 65_535), Some(65_534));
        assert_eq!(out(&mut map, 65_540), Some(3));
        assert_eq!(out(&mut map, 65_536), Some(65_535));
        assert_eq!(located(&map, 65_535), Some((65_536, 0)));
        assert_eq!(located(&map, 3), Some((65_540, 0)));
    }

    #[test]
    fn h27_a_thousand_wraps_of_both_sides_and_of_the_half_that_is_kept() {
        for first_out in [0u16, 1, 32_767, 32_768, 65_535] {
            let begin = (1u64 << 32) - 70_000;
            let mut map = started(first_out, begin);
            for step in 0..140_000u64 {
                let expected = first_out.wrapping_add(step as u16);
                assert_eq!(out(&mut map, begin + step), Some(expected));
                assert_eq!(map.locate(expected).map(|o| o.position), Some((begin + step) as u32));
                if step > 3 {
                    assert_eq!(out(&mut map, begin + step - 3), Some(expected.wrapping_sub(3)));
                }
            }
        }
        let mut map = started(9, 7);
        for wrap in 0..1_000u64 {
            let position = 7 + wrap * 65_536;
            assert_eq!(out(&mut map, position), Some(9));
        }
    }

    #[test]
    fn nacks_are_answered_over_the_whole_ring_at_any_pattern_of_drops() {
        for pattern in 1..=255u64 {
            let mut map = SequenceMap::new(65_000, 1024);
            map.start(1_000);
            let mut sent = Vec::new();
            for k in 0..12_000u64 {
                if pattern >> (k % 8) & 1 == 1 {
                    sent.push((map.map(1_000 + k, k as u16).unwrap().0, 1_000 + k, k as u16));
                } else {
                    assert!(map.skip(1_000 + k, 0));
                }
            }
            assert!(sent.windows(2).all(|w| w[1].0 == w[0].0.wrapping_add(1)), "{pattern:08b}");
            for (number, position, note) in &sent[sent.len().saturating_sub(1024)..] {
                let origin = Origin { position: *position as u32, note: *note, stretch: 0 };
                assert_eq!(map.locate(*number), Some(origin), "{pattern:08b}");
            }
            if let Some(gone) = sent.len().checked_sub(1025) {
                assert_eq!(map.locate(sent[gone].0), None);
            }
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Forward,
        Lose(u16),
        Skip,
        Late(u16),
        Restart(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => Just(Step::Forward),
            2 => (1u16..5).prop_map(Step::Lose),
            1 => (1u16..300).prop_map(Step::Lose),
            4 => Just(Step::Skip),
            3 => (1u16..40).prop_map(Step::Late),
            1 => any::<u64>().prop_map(|p| Step::Restart(p >> 1)),
        ]
    }

    proptest! {
        /// Against a model that counts by hand: no number is used for two positions, numbers grow with
        /// positions, and `locate` is the inverse for everything sent recently.
        #[test]
        fn agrees_with_the_model(first_out in any::<u16>(), start in any::<u32>(), steps in prop::collection::vec(step(), 1..300)) {
            let mut map = SequenceMap::new(first_out, 128);
            let mut newest = u64::from(start);
            map.start(newest);
            // Numbers of this stretch's positions, and what was sent as what in all of them.
            let mut given: HashMap<u64, u64> = HashMap::new();
            let mut skipped: HashSet<u64> = HashSet::new();
            let mut sent: HashMap<u64, (u32, u8)> = HashMap::new();
            let mut next = u64::from(first_out) + 65_536;
            let mut stretch = 0u8;
            let forward = |map: &mut SequenceMap, position: u64, given: &mut HashMap<u64, u64>, sent: &mut HashMap<u64, (u32, u8)>, next: &mut u64, stretch: u8| {
                prop_assert_eq!(map.map(position, 0).map(|x| x.0), Some(*next as u16));
                given.insert(position, *next);
                sent.insert(*next, (position as u32, stretch));
                *next += 1;
                Ok(())
            };
            forward(&mut map, newest, &mut given, &mut sent, &mut next, stretch)?;
            for step in steps {
                match step {
                    Step::Forward => {
                        newest += 1;
                        forward(&mut map, newest, &mut given, &mut sent, &mut next, stretch)?;
                    }
                    Step::Lose(n) => {
                        for _ in 0..n { newest += 1; given.insert(newest, next); next += 1; }
                        newest += 1;
                        forward(&mut map, newest, &mut given, &mut sent, &mut next, stretch)?;
                    }
                    Step::Skip => { newest += 1; prop_assert!(map.skip(newest, 0)); skipped.insert(newest); }
                    Step::Late(n) => {
                        let Some(position) = newest.checked_sub(u64::from(n)) else { continue };
                        let number = given.get(&position).filter(|o| **o + 128 >= next);
                        let got = map.map(position, 0).map(|x| x.0);
                        prop_assert_eq!(got, number.map(|o| *o as u16));
                        if let Some(number) = number { sent.insert(*number, (position as u32, stretch)); }
                    }
                    Step::Restart(at) => {
                        newest = at;
                        stretch = stretch.wrapping_add(1);
                        prop_assert_eq!(map.start(newest), stretch);
                        given.clear();
                        skipped.clear();
                        forward(&mut map, newest, &mut given, &mut sent, &mut next, stretch)?;
                    }
                }
                for back in 1..=140u64 {
                    let number = next - back;
                    let expected = sent.get(&number).filter(|_| back <= 128).copied();
                    prop_assert_eq!(map.locate(number as u16).map(|o| (o.position, o.stretch)), expected);
                }
                prop_assert!(map.locate(next as u16).is_none());
            }
        }
    }
}
