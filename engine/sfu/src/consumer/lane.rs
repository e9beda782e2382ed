//! A lane: one of the streams of a pipe consumer, which sends each encoding of its producer by itself.
//!
//! To whoever controls, a pipe consumer is one object; here it is one consumer for each encoding, all of them under the
//! id of the first. A lane never leaves its encoding. Told: what the far router wants of it (it may be asked to wait for
//! that), and the highest layers that the controller lets pass. Tells: whether its stream flows. Those encodings and
//! layers pass that both allow; within an encoding all below the highest, since the far router chooses among them. Left
//! out: who is told of the lanes ([`Shard`](crate::shard::Shard)).

use sfu_wire::id::ObjectId;
use sfu_wire::scalability::Layers;
use sfu_wire::time::Time;

use super::Consumer;
use crate::decision::LayerCause;
use crate::producer::Producer;

/// All layers that there may be.
pub(crate) const ALL_LAYERS: Layers = Layers::new(u8::MAX, u8::MAX);

/// See the module.
#[derive(Debug)]
pub(super) struct Lane {
    encoding: u8,
    /// The producer has several.
    many: bool,
    /// What the far router wants of it.
    wish: Option<Layers>,
    /// Of the first lane: the others' places in the table of consumers.
    others: Vec<ObjectId>,
}

impl Consumer {
    /// Makes it the lane of an encoding. Before the far router has said what it wants of it, `wish` holds.
    pub(crate) fn set_lane(&mut self, encoding: u8, wish: Option<Layers>) {
        self.target_encoding = encoding;
        self.stretch.encoding = encoding;
        self.paused |= wish.is_none();
        self.cold.lane = Some(Box::new(Lane { encoding, many: false, wish, others: Vec::new() }));
    }

    /// It is one stream of a pipe.
    pub fn is_lane(&self) -> bool {
        self.cold.lane.is_some()
    }

    /// It is a stream of a pipe under the id of the first one: nobody is told of it by itself.
    pub(crate) fn is_hidden(&self) -> bool {
        self.cold.lane.as_ref().is_some_and(|lane| lane.encoding > 0)
    }

    /// Of the first lane: another one.
    pub(crate) fn add_lane(&mut self, other: ObjectId) {
        if let Some(lane) = &mut self.cold.lane {
            lane.others.push(other);
        }
    }

    /// Of the first lane: the others' places in the table of consumers.
    pub(crate) fn other_lanes(&self) -> &[ObjectId] {
        self.cold.lane.as_ref().map_or(&[], |lane| &lane.others)
    }

    /// The far router says what it wants of this lane. `true`: that is news; choose anew.
    pub(crate) fn set_wish(&mut self, wish: Option<Layers>) -> bool {
        let Some(lane) = &mut self.cold.lane else { return false };
        std::mem::replace(&mut lane.wish, wish) != wish
    }

    /// The layers that whoever it sends to wants of its producer, as far as is known; `None`: nothing.
    pub(crate) fn wanted_layers(&self) -> Option<Layers> {
        if self.paused {
            return None;
        }
        let preferred = self.preferred_layers().unwrap_or(ALL_LAYERS);
        let Some(lane) = &self.cold.lane else { return Some(preferred) };
        let wish = lane.wish?;
        let spatial = if lane.many { lane.encoding } else { preferred.spatial.min(wish.spatial) };
        Some(Layers::new(spatial, preferred.temporal.min(wish.temporal)))
    }

    /// The same and what flows to it now: what is above can be left where the stream allows it, and not before.
    pub(crate) fn needed_layers(&self) -> Option<Layers> {
        let wanted = self.wanted_layers()?;
        let flowing = if self.starting { Layers::default() } else { self.selector.current() };
        Some(Layers::new(wanted.spatial.max(flowing.spatial), wanted.temporal.max(flowing.temporal)))
    }

    /// The far router does not want its stream, or the controller lets only lower encodings pass.
    pub(super) fn is_unwanted_lane(&self) -> bool {
        let Some(lane) = &self.cold.lane else { return false };
        let highest = self.preferred_layers().map_or(u8::MAX, |layers| layers.spatial);
        lane.wish.is_none() || lane.many && lane.encoding > highest
    }

    /// As [`Consumer::choose`], where there is no choice but of layers within the encoding.
    pub(super) fn choose_within_lane(&mut self, now: Time, producer: &Producer, cause: LayerCause) -> bool {
        let preferred = self.preferred_layers().unwrap_or(ALL_LAYERS);
        let Some(lane) = &mut self.cold.lane else { return false };
        lane.many = producer.encoding_count() > 1;
        let (many, encoding, wish) = (lane.many, lane.encoding, lane.wish.unwrap_or_default());
        let unwanted = self.is_unwanted_lane();
        let was_paused = self.paused;
        self.paused = unwanted || self.cold.paused_by_command;
        if self.paused && !was_paused {
            self.stop();
        }
        let highest = producer.highest(encoding);
        // Of several encodings none has spatial layers that are chosen from.
        let spatial = if many { highest.spatial } else { preferred.spatial.min(wish.spatial).min(highest.spatial) };
        let temporal = preferred.temporal.min(wish.temporal);
        self.selector.set_below(true);
        let before = self.selector.target();
        self.selector.set_target(Layers::new(spatial, temporal.min(highest.temporal)));
        if was_paused != self.paused || before != self.selector.target() {
            self.note_decision(now, cause);
        }
        self.starting
    }
}
