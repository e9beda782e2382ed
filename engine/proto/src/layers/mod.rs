//! Which packets of an encoding a receiver gets, and when it may be moved to other layers.
//!
//! Told: the layer of each packet ([`PacketLayer`], made once per packet from the payload descriptor or
//! the dependency descriptor) and the layers wanted. Tells: forward or drop, whether a marker has to be
//! set since what follows in the picture is dropped, and the layers that flow now.
//!
//! Up-switches happen only where the stream allows it: at key frames; for VP8 and H.265 one temporal
//! layer at a time at a layer sync picture; for VP9 after a picture that says so (U), and one spatial layer
//! at a time at a frame that depends on nothing earlier; with a dependency descriptor at a frame that is
//! a switch for the wanted decode target and refers to nothing that was left out. Down-switches of
//! temporal layers, and of spatial layers that contain the lower ones, happen at the next picture. Where
//! spatial layers do not (K-SVC and S modes) a key frame is needed in both directions. A picture whose start
//! was left out stays left out, and the other way round: the verdict on a picture is remembered.
//! Limits: constant memory; pictures older than the last 32, and frames older than the last 128 by number,
//! are not placed any more. RFC 7741, RFC 9628, RFC 7798; AV1 RTP specification, appendix A.
//! Left out: rewriting of numbers, and asking for key frames.

mod encodings;
mod pictures;
mod targets;

pub use encodings::choose_encoding;
pub use targets::{TargetTable, Targets};

use sfu_wire::codec::h265;
use sfu_wire::codec::vp8::Vp8Descriptor;
use sfu_wire::codec::vp9::Vp9Descriptor;
use sfu_wire::dependency_descriptor::DependencyDescriptor;
use sfu_wire::scalability::{Layers, MAX_SPATIAL, MAX_TEMPORAL, ScalabilityMode};

use pictures::Pictures;

/// All layers that there may be.
pub const HIGHEST: Layers = Layers::new(MAX_SPATIAL - 1, MAX_TEMPORAL - 1);

/// How the layers of a packet are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// Not at all: everything is one layer.
    #[default]
    None,
    /// VP8 payload descriptor.
    Vp8,
    /// VP9 payload descriptor.
    Vp9,
    /// H.265 NAL unit header.
    H265,
    /// Dependency descriptor.
    Targets,
}

/// The layer that a packet belongs to, whatever the codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PacketLayer {
    /// How it was told.
    pub scheme: Scheme,
    /// Spatial layer within the encoding.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// Of a key frame, as far as this packet tells: a decoder may start with the picture.
    pub key: bool,
    /// The frame refers to earlier pictures.
    pub inter: bool,
    /// The frame refers to the spatial layer below within the picture.
    pub inter_layer: bool,
    /// One may switch up here; what that means is the scheme's.
    pub switch_up: bool,
    /// Last packet of the frame of this layer.
    pub ends_frame: bool,
    /// Frame number of a dependency descriptor,
    pub frame: u16,
    /// which [`TargetTable`] it is read with,
    pub generation: u8,
    /// the decode targets that the frame is part of,
    pub present: u32,
    /// those that can be decoded from here on,
    pub switch: u32,
    /// and the frames that it refers to: bit k is frame number less (k + 1).
    pub references: u64,
    /// It refers to one farther back than those.
    pub refers_far: bool,
}

impl PacketLayer {
    /// Of a VP8 packet.
    pub fn of_vp8(descriptor: &Vp8Descriptor) -> Self {
        Self {
            // Without a temporal id there is nothing to choose.
            scheme: if descriptor.temporal_layer.is_some() { Scheme::Vp8 } else { Scheme::None },
            temporal: descriptor.temporal_layer.unwrap_or(0),
            key: descriptor.is_key_frame,
            inter: !descriptor.is_key_frame,
            switch_up: descriptor.layer_sync,
            ..Self::default()
        }
    }

    /// Of a VP9 packet.
    pub fn of_vp9(descriptor: &Vp9Descriptor) -> Self {
        let layer = descriptor.layer;
        Self {
            scheme: if layer.is_some() { Scheme::Vp9 } else { Scheme::None },
            spatial: layer.map_or(0, |l| l.spatial),
            temporal: layer.map_or(0, |l| l.temporal),
            key: !descriptor.inter_predicted && layer.is_none_or(|l| l.spatial == 0),
            inter: descriptor.inter_predicted,
            inter_layer: layer.is_some_and(|l| l.inter_layer),
            switch_up: layer.is_some_and(|l| l.switch_up),
            ends_frame: descriptor.ends_frame,
            ..Self::default()
        }
    }

    /// Of an H.265 packet.
    pub fn of_h265(payload: &[u8], key: bool) -> Self {
        Self {
            scheme: Scheme::H265,
            temporal: h265::temporal_layer(payload).unwrap_or(0),
            key,
            inter: !key,
            switch_up: h265::is_switching_point(payload),
            ..Self::default()
        }
    }

    /// Of a packet with a dependency descriptor, read with the structure of this generation.
    pub fn of_descriptor(descriptor: &DependencyDescriptor, generation: u8) -> Self {
        let mut references = 0;
        let mut refers_far = false;
        for diff in descriptor.frame_diffs.as_slice() {
            match diff.checked_sub(1) {
                Some(bit @ 0..64) => references |= 1 << bit,
                _ => refers_far = true,
            }
        }
        let inter = !descriptor.frame_diffs.as_slice().is_empty();
        Self {
            scheme: Scheme::Targets,
            spatial: descriptor.spatial,
            temporal: descriptor.temporal,
            key: descriptor.is_key_frame(),
            inter,
            ends_frame: descriptor.end_of_frame,
            frame: descriptor.frame_number,
            generation,
            present: descriptor.indications.present(),
            switch: targets::switches(descriptor),
            references,
            refers_far,
            ..Self::default()
        }
    }
}

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Forward it; else leave it out.
    pub forward: bool,
    /// It ends the picture as forwarded: set the marker.
    pub marker: bool,
    /// VP8 pictures left out before this one since the stretch began, modulo 2^16: what to take off
    /// its picture id.
    pub dropped: u16,
}

/// The selector of one receiver within one encoding.
#[derive(Debug, Clone)]
pub struct Selector {
    mode: ScalabilityMode,
    target: Layers,
    current: Layers,
    /// Waits for a key frame to get to its target.
    wants_key_frame: bool,
    pictures: Pictures,
    targets: Targets,
    /// The picture that got its marker last, with a dependency descriptor.
    closed: Option<u32>,
    /// The timestamp of the newest picture, with a dependency descriptor.
    newest: Option<u32>,
    /// Lower layers pass with those that are wanted.
    below: bool,
}

impl Selector {
    /// A selector that aims at all layers.
    pub fn new() -> Self {
        Self {
            mode: ScalabilityMode::default(),
            target: HIGHEST,
            current: Layers::default(),
            wants_key_frame: false,
            pictures: Pictures::default(),
            targets: Targets::default(),
            closed: None,
            newest: None,
            below: false,
        }
    }

    /// Whether all layers up to those that are wanted pass, also where they do not depend on each other: for a receiver that
    /// chooses among them itself, each of its own receivers something else.
    pub fn set_below(&mut self, below: bool) {
        self.below = below;
    }

    /// The highest layers wanted from now on; more than there is means all.
    pub fn set_target(&mut self, target: Layers) {
        self.target = Layers::new(target.spatial.min(HIGHEST.spatial), target.temporal.min(HIGHEST.temporal));
    }

    /// The highest layers wanted.
    pub fn target(&self) -> Layers {
        self.target
    }

    /// The layers that flow.
    pub fn current(&self) -> Layers {
        self.current
    }

    /// It can only get to its target at a key frame.
    pub fn wants_key_frame(&self) -> bool {
        self.wants_key_frame
    }

    /// The stream begins (again), of this mode, with a key frame that comes next.
    pub fn start(&mut self, mode: ScalabilityMode) {
        self.mode = mode;
        self.current = Layers::default();
        self.wants_key_frame = false;
        self.pictures = Pictures::default();
        self.targets = Targets::default();
        self.closed = None;
        self.newest = None;
    }

    /// What to do with a packet of the picture with this timestamp. `table` is that of its generation,
    /// if it has a dependency descriptor.
    pub fn select(&mut self, layer: &PacketLayer, timestamp: u32, table: &TargetTable) -> Verdict {
        match layer.scheme {
            Scheme::None => Verdict { forward: true, marker: false, dropped: 0 },
            Scheme::Vp8 | Scheme::H265 => self.select_temporal(layer, timestamp),
            Scheme::Vp9 => self.select_spatial(layer, timestamp),
            Scheme::Targets => self.select_target(layer, timestamp, table),
        }
    }

    /// With a dependency descriptor: the decode targets that this receiver can decode, one bit each, and
    /// whether the frame `frame` is where that changed.
    pub fn active_targets(&self, table: &TargetTable, frame: u16) -> (u32, bool) {
        self.targets.active(table, frame)
    }

    fn select_target(&mut self, layer: &PacketLayer, timestamp: u32, table: &TargetTable) -> Verdict {
        let is_open = self.closed != Some(timestamp);
        let forward = if self.below {
            // Layers end with a picture, so that the ones below have its marker.
            let begins = self.newest != Some(timestamp);
            self.newest = Some(timestamp);
            self.targets.select_below(layer, table, self.target, (begins, is_open))
        } else {
            self.targets.select(layer, table, self.target, is_open)
        };
        let state = &self.targets;
        self.current = state.layers(table);
        self.wants_key_frame = state.wants_key_frame(table);
        let marker = forward && layer.ends_frame && layer.spatial >= self.current.spatial;
        if marker {
            self.closed = Some(timestamp);
        }
        Verdict { forward, marker, dropped: 0 }
    }
}

impl Default for Selector {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
