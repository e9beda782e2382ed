//! Which encoding, which layers and whose stream a consumer is to get, and which it gets.

use sfu_proto::layers::{HIGHEST, choose_encoding};
use sfu_wire::id::ObjectId;
use sfu_wire::scalability::Layers;
use sfu_wire::time::Time;
use smallvec::SmallVec;

use super::padding::FramePadding;
use super::{Codec, Consumer, codecs_of};
use crate::config::ConsumerConfig;
use crate::decision::{LayerCause, LayerDecision};
use crate::producer::Producer;

/// Another producer that is waited for.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) config: ConsumerConfig,
    pub(super) codecs: SmallVec<[Codec; 2]>,
    pub(super) encoding: u8,
}

impl Consumer {
    /// Chooses what to get of a producer that it consumes, or waits for: anew after anything that the
    /// choice depends on. `true`: the encoding that is wanted does not flow.
    pub fn choose(&mut self, now: Time, producer: &Producer, cause: LayerCause) -> bool {
        if self.is_lane() {
            return self.choose_within_lane(now, producer, cause);
        }
        let preferred = self.preferred_layers();
        let simulcast = producer.encoding_count() > 1;
        let spatial = preferred.filter(|_| simulcast).map(|layers| layers.spatial);
        let encoding = choose_encoding(spatial, producer.active_encodings(), producer.encoding_count());
        if let Some(pending) = &mut self.cold.pending
            && pending.config.producer == producer.id()
        {
            pending.encoding = encoding;
            return true;
        }
        if producer.id() != self.stretch.source {
            return false;
        }
        self.cold.simulcast = simulcast;
        self.cold.layered = producer.is_layered();
        let before = (self.target_encoding, self.selector.target());
        self.target_encoding = encoding;
        if !self.sequence.is_started() {
            self.stretch.encoding = encoding;
        }
        let highest = producer.highest(encoding);
        let wanted = preferred.unwrap_or(HIGHEST);
        let spatial = if simulcast { highest.spatial } else { wanted.spatial.min(highest.spatial) };
        self.selector.set_target(Layers::new(spatial, wanted.temporal.min(highest.temporal)));
        if before != (self.target_encoding, self.selector.target()) {
            self.cold.cause = cause;
            self.note_decision(now, cause);
        }
        self.starting || self.target_encoding != self.stretch.encoding
    }

    /// The encoding of a producer that it follows, or waits for, that key frames are wanted of.
    pub fn wanted_encoding(&self, producer: ObjectId) -> u8 {
        match &self.cold.pending {
            Some(pending) if pending.config.producer == producer => pending.encoding,
            _ => self.target_encoding,
        }
    }

    /// A layer within the encoding can only be had with a key frame.
    pub fn wants_key_frame_of_layer(&self) -> bool {
        !self.starting && self.selector.wants_key_frame()
    }

    /// The highest layers that its peer wants; `None`: all there are.
    pub fn preferred_layers(&self) -> Option<Layers> {
        self.cold.config.preferred_layers
    }

    /// Changes the highest layers that its peer wants. Choose anew then.
    pub fn set_preferred_layers(&mut self, layers: Option<Layers>) {
        self.cold.config.preferred_layers = layers;
    }

    /// The layers that it is on its way to.
    pub fn target_layers(&self) -> Option<Layers> {
        let target = self.selector.target();
        let spatial = if self.cold.simulcast { self.target_encoding } else { target.spatial };
        (!self.paused && !self.producer_paused).then_some(Layers::new(spatial, target.temporal))
    }

    /// The layers that it sends; `None`: nothing.
    pub fn current_layers(&self) -> Option<Layers> {
        if self.starting || self.paused || self.producer_paused {
            return None;
        }
        let current = self.selector.current();
        let spatial = if self.cold.simulcast { self.stretch.encoding } else { current.spatial };
        Some(Layers::new(spatial, current.temporal))
    }

    /// The layers that it sends, if that has changed since the last call and its stream has layers.
    pub fn take_layers_changed(&mut self, now: Time) -> Option<Option<Layers>> {
        self.layers_noted = false;
        let current = self.current_layers();
        if !self.cold.layered || current == self.cold.told_layers {
            return None;
        }
        self.cold.told_layers = current;
        self.note_decision(now, self.cold.cause);
        Some(current)
    }

    /// [`Consumer::take_layers_changed`] may have something to tell.
    #[inline]
    pub fn has_layers_noted(&self) -> bool {
        self.layers_noted
    }

    pub(super) fn note_layers(&mut self, cause: LayerCause) {
        self.layers_noted = true;
        self.cold.cause = cause;
    }

    pub(super) fn note_decision(&mut self, now: Time, cause: LayerCause) {
        if !self.cold.decisions.is_on() {
            return;
        }
        let decision = LayerDecision {
            cause,
            preferred: self.preferred_layers(),
            target: self.target_layers(),
            current: self.current_layers(),
            score: self.score(),
            bitrate: 0,
        };
        let id = self.cold.id;
        self.cold.decisions.note_layers(now, id, decision);
    }

    /// Another producer is to be followed as soon as its stream can be begun with; till then the present
    /// one goes on. `config` is what was negotiated for it. `clock` is that of the [line](Consumer::line) that is sent.
    pub fn switch_to(&mut self, config: ConsumerConfig, clock: Option<super::SourceClock>) {
        let codecs = codecs_of(&config);
        self.cold.left_clock = clock.or(self.cold.left_clock);
        self.cold.pending = Some(Box::new(Pending { config, codecs, encoding: 0 }));
    }

    /// The producer that is waited for.
    pub fn pending_source(&self) -> Option<ObjectId> {
        self.cold.pending.as_ref().map(|pending| pending.config.producer)
    }

    /// The producer that is waited for is waited for no more.
    pub fn cancel_switch(&mut self) {
        self.cold.pending = None;
    }

    /// Goes over to the producer that is waited for at once, though nothing of it came: the present one is
    /// gone.
    pub fn force_switch(&mut self) {
        if self.cold.pending.is_some() {
            self.take_pending();
            self.stretch_source_changed();
        }
    }

    /// The producer that was left by a switch, once.
    pub fn take_left(&mut self) -> Option<ObjectId> {
        self.cold.left.take()
    }

    pub(super) fn take_pending(&mut self) {
        let Some(pending) = self.cold.pending.take() else { return };
        self.cold.left = Some(self.stretch.source);
        self.layers_noted = true;
        let Pending { config, codecs, encoding } = *pending;
        self.codecs = codecs;
        self.target_encoding = encoding;
        self.ignore_dtx = config.ignore_dtx;
        self.padding = FramePadding::new(&config);
        self.producer_paused = false;
        let old = &mut self.cold.config;
        old.producer = config.producer;
        old.codecs = config.codecs;
        old.cname = config.cname;
        old.stream_type = config.stream_type;
        old.ignore_dtx = config.ignore_dtx;
        old.pad_frames = config.pad_frames;
    }

    /// What is sent next is of the producer in the configuration.
    fn stretch_source_changed(&mut self) {
        if self.sequence.is_started() {
            self.cold.stretches.push(self.stretch, self.cold.first);
        }
        self.stretch.source = self.cold.config.producer;
        self.stretch.encoding = self.target_encoding;
        self.starting = true;
        self.replay = None;
    }
}
