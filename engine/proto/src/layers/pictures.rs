//! Layers told by payload descriptors: pictures, known by their timestamps, and what was decided on each.

use sfu_wire::scalability::Layers;

use super::{PacketLayer, Scheme, Selector, Verdict};

/// Pictures whose verdicts are remembered: a second of 30 per second, for what is repaired late.
const REMEMBERED: usize = 32;

/// What was decided on a picture.
#[derive(Debug, Clone, Copy, Default)]
struct Picture {
    timestamp: u32,
    /// Pictures left out before this one.
    dropped: u16,
    /// Highest spatial layer that is forwarded.
    top: u8,
    forward: bool,
    /// Of a key frame: layers are added as they come.
    key: bool,
    /// Its marker was set: nothing is added to it any more.
    closed: bool,
}

/// The latest pictures.
#[derive(Debug, Clone, Default)]
pub(super) struct Pictures {
    ring: [Picture; REMEMBERED],
    /// How many there were; the newest is at `count - 1`.
    count: u64,
    /// One may switch up to any temporal layer at the next picture (VP9).
    unlocked: bool,
}

/// Where a picture is in the order of pictures.
enum Place {
    /// It was decided on.
    Known(usize),
    /// Newer than all.
    New,
    /// Older than the newest; the one before it was this.
    Late(usize),
    /// Older than all that is remembered.
    Gone,
}

impl Pictures {
    fn at(&self, back: u64) -> Option<usize> {
        let index = self.count.checked_sub(back + 1)?;
        Some((index % REMEMBERED as u64) as usize)
    }

    #[inline]
    fn find(&self, timestamp: u32) -> Place {
        let Some(newest) = self.at(0) else { return Place::New };
        if self.ring[newest].timestamp == timestamp {
            return Place::Known(newest);
        }
        if timestamp.wrapping_sub(self.ring[newest].timestamp) < 1 << 31 {
            return Place::New;
        }
        self.find_older(timestamp)
    }

    #[cold]
    fn find_older(&self, timestamp: u32) -> Place {
        let mut before = None;
        for back in 0..REMEMBERED as u64 {
            let Some(at) = self.at(back) else { break };
            let step = timestamp.wrapping_sub(self.ring[at].timestamp);
            if step == 0 {
                return Place::Known(at);
            }
            // Late ones are noted where they came, so the closest before has to be looked for.
            let closer = |b: &usize| step < timestamp.wrapping_sub(self.ring[*b].timestamp);
            if step < 1 << 31 && before.as_ref().is_none_or(closer) {
                before = Some(at);
            }
        }
        before.map_or(Place::Gone, Place::Late)
    }

    fn is_newest(&self, at: usize) -> bool {
        self.at(0) == Some(at)
    }

    fn push(&mut self, picture: Picture) -> usize {
        let at = (self.count % REMEMBERED as u64) as usize;
        self.ring[at] = picture;
        self.count += 1;
        at
    }

    /// Notes a late picture without making it the newest: it takes the place of the oldest one.
    fn insert_late(&mut self, picture: Picture) -> usize {
        let Some(newest) = self.at(0) else { return self.push(picture) };
        let moved = self.ring[newest];
        self.ring[newest] = picture;
        self.push(moved);
        newest
    }

    fn dropped_after(&self, at: usize) -> u16 {
        let picture = &self.ring[at];
        picture.dropped.wrapping_add(u16::from(!picture.forward))
    }

    fn next_dropped(&self) -> u16 {
        self.at(0).map_or(0, |newest| self.dropped_after(newest))
    }
}

impl Selector {
    /// Temporal layers only: VP8 and H.265.
    pub(super) fn select_temporal(&mut self, layer: &PacketLayer, timestamp: u32) -> Verdict {
        let at = match self.pictures.find(timestamp) {
            Place::Known(at) => at,
            Place::New => {
                self.current.temporal = self.current.temporal.min(self.target.temporal);
                // One layer at a time: a sync picture depends on the base layer only, but those that
                // follow it in its layer may depend on all below.
                let next = layer.switch_up && layer.temporal == self.current.temporal + 1;
                if next && layer.temporal <= self.target.temporal {
                    self.current.temporal = layer.temporal;
                }
                self.note_new(layer, timestamp, 0)
            }
            Place::Late(before) => self.note_late(layer, timestamp, before),
            // What is never left out needs no memory, and H.265 no numbers.
            Place::Gone if layer.scheme == Scheme::H265 && layer.temporal == 0 => return PASS,
            Place::Gone => return LEAVE_OUT,
        };
        if layer.key && self.pictures.is_newest(at) {
            self.current.temporal = self.target.temporal;
        }
        let picture = &self.pictures.ring[at];
        let dropped = if layer.scheme == Scheme::Vp8 { picture.dropped } else { 0 };
        Verdict { forward: picture.forward, marker: false, dropped }
    }

    /// Spatial and temporal layers: VP9.
    pub(super) fn select_spatial(&mut self, layer: &PacketLayer, timestamp: u32) -> Verdict {
        let at = match self.pictures.find(timestamp) {
            Place::Known(at) => at,
            Place::New => {
                self.begin_picture(layer);
                let top = if layer.key && !self.is_apart() { 0 } else { self.current.spatial };
                let at = self.note_new(layer, timestamp, top);
                self.pictures.unlocked = layer.switch_up && self.pictures.ring[at].forward;
                at
            }
            Place::Late(before) => self.note_late(layer, timestamp, before),
            Place::Gone => return LEAVE_OUT,
        };
        if layer.key && !self.pictures.ring[at].key && self.pictures.is_newest(at) {
            // Its first packet came after others of it.
            self.pictures.ring[at].key = true;
            self.current.temporal = self.target.temporal;
        }
        if layer.spatial > self.pictures.ring[at].top {
            self.add_layer(layer, at);
        }
        let newest = self.pictures.is_newest(at);
        let (key_mode, apart, target) = (self.mode.key, self.is_apart(), self.target.spatial);
        let picture = &mut self.pictures.ring[at];
        let wanted = match () {
            () if !self.below && (apart || key_mode && !picture.key) => layer.spatial == picture.top,
            () => layer.spatial <= picture.top,
        };
        let forward = picture.forward && wanted;
        // While a key frame's layers are still being added, only the highest wanted one can be the last.
        let last = if picture.key && !apart { target } else { picture.top };
        let marker = forward && layer.ends_frame && layer.spatial == last;
        picture.closed |= marker;
        if newest {
            self.wants_key_frame = self.current.spatial != self.target.spatial && !picture.key;
        }
        Verdict { forward, marker, dropped: 0 }
    }

    /// S modes: spatial layers that have nothing to do with each other.
    fn is_apart(&self) -> bool {
        self.mode.simulcast > 1
    }

    fn begin_picture(&mut self, layer: &PacketLayer) {
        let (target, current) = (self.target, &mut self.current);
        current.temporal = current.temporal.min(target.temporal);
        if layer.key {
            let lowest = if self.mode.simulcast > 1 { target.spatial } else { 0 };
            *current = Layers::new(lowest, target.temporal);
            return;
        }
        if self.pictures.unlocked {
            current.temporal = target.temporal;
        }
        // Where lower layers were left out, they cannot be gone on with.
        if self.below || !self.mode.key && self.mode.simulcast <= 1 {
            current.spatial = current.spatial.min(target.spatial);
        }
    }

    /// A frame of a layer above those that flow: from here on it may flow too, if it needs nothing that was
    /// left out.
    fn add_layer(&mut self, layer: &PacketLayer, at: usize) {
        let newest = self.pictures.is_newest(at);
        let (key_mode, apart) = (self.mode.key, self.is_apart());
        let picture = &mut self.pictures.ring[at];
        let below = layer.spatial == picture.top + 1 && (picture.key || !key_mode);
        let decodable = !layer.inter && (below || !layer.inter_layer);
        if apart || picture.closed || !picture.forward || !decodable || layer.spatial > self.target.spatial {
            return;
        }
        picture.top = layer.spatial;
        if newest {
            self.current.spatial = layer.spatial;
        }
    }

    fn note_new(&mut self, layer: &PacketLayer, timestamp: u32, top: u8) -> usize {
        let forward = layer.key || layer.temporal <= self.current.temporal;
        let dropped = self.pictures.next_dropped();
        self.pictures.push(Picture { timestamp, dropped, top, forward, key: layer.key, closed: false })
    }

    /// A picture all of whose packets came late: as the layers are now, numbered as those around it.
    fn note_late(&mut self, layer: &PacketLayer, timestamp: u32, before: usize) -> usize {
        let dropped = self.pictures.dropped_after(before);
        let forward = layer.temporal <= self.current.temporal;
        let picture = Picture { timestamp, dropped, top: self.current.spatial, forward, key: layer.key, closed: false };
        self.pictures.insert_late(picture)
    }
}

const PASS: Verdict = Verdict { forward: true, marker: false, dropped: 0 };
const LEAVE_OUT: Verdict = Verdict { forward: false, marker: false, dropped: 0 };
