//! Stretches: what a consumer's stream is made of. Each is a run of one encoding of one producer, with the
//! shifts that join it to the one before.

use arrayvec::ArrayVec;
use sfu_proto::rewrite::{PictureShift, TimestampShift};
use sfu_wire::id::ObjectId;

/// Stretches before the present one that NACKs may still ask for.
const REMEMBERED: usize = 7;

/// One stretch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    /// Its number, as the sequence map counts.
    pub(super) id: u8,
    pub(super) encoding: u8,
    /// Added to frame numbers of dependency descriptors.
    pub(super) frame_shift: u16,
    /// Added to picture ids before what was left out is taken off, and to TL0PICIDX.
    pub(super) pictures: PictureShift,
    pub(super) source: ObjectId,
    pub(super) time: TimestampShift,
}

impl Stretch {
    /// Nothing of this encoding was sent yet.
    pub(super) fn new(source: ObjectId, encoding: u8) -> Self {
        Self { id: 0, encoding, frame_shift: 0, pictures: PictureShift::default(), source, time: TimestampShift::NONE }
    }
}

/// The position of a stretch that begins at `first` whose lower half is this.
pub(super) fn position_of(first: u64, lower: u32) -> u64 {
    // What was sent of a stretch lies behind its first position.
    first.wrapping_add(u64::from(lower.wrapping_sub(first as u32)))
}

/// The stretches before the present one, and their first positions.
#[derive(Debug, Default)]
pub(super) struct Stretches(ArrayVec<(Stretch, u64), REMEMBERED>);

impl Stretches {
    pub(super) fn push(&mut self, stretch: Stretch, first: u64) {
        if self.0.is_full() {
            self.0.remove(0);
        }
        self.0.push((stretch, first));
    }

    pub(super) fn find(&self, id: u8) -> Option<(Stretch, u64)> {
        self.0.iter().rev().find(|(stretch, _)| stretch.id == id).copied()
    }
}

/// Bits of a note that are the shift of the picture id; the highest one says that the marker was set.
const SHIFT_BITS: u16 = 0x7fff;

/// What a sequence number's note says: the shift of the picture id, and whether the marker was set.
pub(super) const fn note(picture_shift: u16, marker: bool) -> u16 {
    picture_shift & SHIFT_BITS | if marker { !SHIFT_BITS } else { 0 }
}

/// The two of a note.
pub(super) const fn read_note(note: u16) -> (u16, bool) {
    (note & SHIFT_BITS, note & !SHIFT_BITS != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_wire::id::ObjectKind;

    #[test]
    fn positions_are_found_from_their_lower_halves_over_the_wrap() {
        let first = (7 << 32) - 5;
        for step in [0u64, 4, 5, 6, 100_000] {
            let position = first + step;
            assert_eq!(position_of(first, position as u32), position);
        }
    }

    #[test]
    fn the_oldest_stretch_makes_room() {
        let source = ObjectId::new(0, ObjectKind::Producer, 1, 1);
        let mut all = Stretches::default();
        for id in 0..20 {
            all.push(Stretch { id, ..Stretch::new(source, 0) }, u64::from(id));
        }
        assert!(all.find(12).is_none() && all.find(13).is_some() && all.find(19).is_some());
    }

    #[test]
    fn notes_come_back() {
        for shift in [0, 1, 0x7fff] {
            for marker in [false, true] {
                assert_eq!(read_note(note(shift, marker)), (shift, marker));
            }
        }
    }
}
