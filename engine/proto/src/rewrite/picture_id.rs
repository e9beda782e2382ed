//! VP8 picture ids and TL0PICIDX (RFC 7741, section 4.2), continuous for a receiver over pauses and
//! restarts of the source. A shift belongs to one stretch of the stream; whoever maps a packet again
//! later (a resend) maps it with the shift of its stretch.

/// Both numbers as a packet carries them; absent fields are absent on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PictureId {
    /// Picture id, 7 or 15 bits.
    pub picture_id: Option<u16>,
    /// The picture id is written in 15 bits.
    pub wide: bool,
    /// TL0PICIDX.
    pub tl0_pic_idx: Option<u8>,
}

/// What to add within one stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PictureShift {
    /// Added to picture ids, modulo 2^15.
    pub picture_id: u16,
    /// Added to TL0PICIDX, modulo 2^8.
    pub tl0_pic_idx: u8,
}

impl PictureShift {
    /// The numbers to write.
    #[inline]
    pub fn apply(self, from: PictureId) -> PictureId {
        let mask = if from.wide { 0x7FFF } else { 0x7F };
        PictureId {
            picture_id: from.picture_id.map(|id| id.wrapping_add(self.picture_id) & mask),
            wide: from.wide,
            tl0_pic_idx: from.tl0_pic_idx.map(|t| t.wrapping_add(self.tl0_pic_idx)),
        }
    }
}

/// Remembers the newest numbers written, to go on from them.
#[derive(Debug, Clone, Copy, Default)]
pub struct PictureIdMap {
    newest: u16,
    newest_tl0: u8,
    started: bool,
}

impl PictureIdMap {
    /// The shift for a stretch that begins with `from`: it goes on right after the newest numbers.
    pub fn start(&mut self, from: PictureId) -> PictureShift {
        if !self.started {
            return PictureShift::default();
        }
        PictureShift {
            picture_id: from.picture_id.map_or(0, |id| (self.newest.wrapping_add(1)).wrapping_sub(id) & 0x7FFF),
            tl0_pic_idx: from.tl0_pic_idx.map_or(0, |t| self.newest_tl0.wrapping_add(1).wrapping_sub(t)),
        }
    }

    /// Notes what was written. Narrow ids are taken as the closest wide ones.
    #[inline]
    pub fn written(&mut self, out: PictureId) {
        if let Some(id) = out.picture_id {
            let id = if out.wide || !self.started { id } else { self.widen(id) };
            if !self.started || (id.wrapping_sub(self.newest) & 0x7FFF) < 0x4000 {
                self.newest = id & 0x7FFF;
            }
        }
        if let Some(tl0) = out.tl0_pic_idx
            && (!self.started || tl0.wrapping_sub(self.newest_tl0) < 0x80)
        {
            self.newest_tl0 = tl0;
        }
        self.started = true;
    }

    fn widen(&self, id: u16) -> u16 {
        let step = id.wrapping_sub(self.newest) & 0x7F;
        if step < 0x40 {
            self.newest.wrapping_add(step) & 0x7FFF
        } else {
            self.newest.wrapping_sub(0x80 - step) & 0x7FFF
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wide(id: u16, tl0: u8) -> PictureId {
        PictureId { picture_id: Some(id), wide: true, tl0_pic_idx: Some(tl0) }
    }

    fn send(map: &mut PictureIdMap, shift: PictureShift, from: PictureId) -> PictureId {
        let out = shift.apply(from);
        map.written(out);
        out
    }

    #[test]
    fn the_first_stretch_is_unchanged_and_the_next_goes_on() {
        let mut map = PictureIdMap::default();
        let shift = map.start(wide(32_766, 254));
        for k in 0..4u16 {
            let out = send(&mut map, shift, wide((32_766 + k) & 0x7FFF, 254u8.wrapping_add(k as u8)));
            assert_eq!(out, wide((32_766 + k) & 0x7FFF, 254u8.wrapping_add(k as u8)));
        }
        let shift = map.start(wide(9_000, 77));
        assert_eq!(send(&mut map, shift, wide(9_000, 77)), wide(2, 2));
        assert_eq!(send(&mut map, shift, wide(9_001, 77)), wide(3, 2));
    }

    #[test]
    fn a_late_packet_does_not_move_the_newest_back() {
        let mut map = PictureIdMap::default();
        let shift = map.start(wide(100, 10));
        send(&mut map, shift, wide(105, 12));
        send(&mut map, shift, wide(101, 10));
        let shift = map.start(wide(0, 0));
        assert_eq!(shift.apply(wide(0, 0)), wide(106, 13));
    }

    #[test]
    fn narrow_ids_stay_narrow_and_continuous() {
        let narrow = |id: u16| PictureId { picture_id: Some(id), wide: false, tl0_pic_idx: None };
        let mut map = PictureIdMap::default();
        let shift = map.start(narrow(126));
        for id in [126, 127, 0, 1] {
            assert_eq!(send(&mut map, shift, narrow(id)), narrow(id));
        }
        let shift = map.start(narrow(50));
        assert_eq!(send(&mut map, shift, narrow(50)), narrow(2));
        // A switch to wide ids at a start goes on after the widened narrow ones.
        let shift = map.start(wide(7, 0));
        assert_eq!(shift.apply(wide(7, 0)).picture_id, Some((126 + 5) & 0x7FFF));
    }

    #[test]
    fn absent_fields_stay_absent() {
        let mut map = PictureIdMap::default();
        let none = PictureId::default();
        let shift = map.start(none);
        assert_eq!(send(&mut map, shift, none), none);
        let shift = map.start(none);
        assert_eq!(shift, PictureShift::default());
    }

    proptest! {
        #[test]
        fn every_stretch_begins_one_after_the_newest(starts in prop::collection::vec((0u16..0x8000, any::<u8>(), 1u16..200), 1..20)) {
            let mut map = PictureIdMap::default();
            let mut newest: Option<(u16, u8)> = None;
            for (id, tl0, len) in starts {
                let shift = map.start(wide(id, tl0));
                for k in 0..len {
                    let out = send(&mut map, shift, wide((id + k) & 0x7FFF, tl0.wrapping_add((k / 4) as u8)));
                    let got = (out.picture_id.unwrap(), out.tl0_pic_idx.unwrap());
                    if k == 0 && let Some((pid, t)) = newest {
                        prop_assert_eq!(got, ((pid + 1) & 0x7FFF, t.wrapping_add(1)));
                    }
                    newest = Some(got);
                }
            }
        }
    }
}
