//! Layers and sources of consumers: what commands do about them, and what follows from them for producers.

use arrayvec::ArrayVec;
use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::media::MediaKind;
use sfu_wire::scalability::Layers;
use sfu_wire::time::Time;

use crate::command::{CommandError, ErrorCode, Event, Reply};
use crate::commands::{check_cname, check_codecs, wrong_kind};
use crate::config::{CodecConfig, ConsumerConfig, LOWEST_PRIORITY};
use crate::consumer::Consumer;
use crate::decision::LayerCause;
use crate::shard::Shard;
use crate::transport::Transport;

/// Sources that are to be told what is wanted of them, each once.
type Sources = ArrayVec<ObjectId, 8>;

impl Shard {
    pub(crate) fn set_preferred_layers(
        &mut self,
        now: Time,
        id: ObjectId,
        layers: Option<Layers>,
    ) -> Result<Reply, CommandError> {
        let producer = self.named_consumer(id)?.producer();
        // Of what comes by a pipe there may be more than comes: the other end sends what is wanted.
        let asks = self.producers.get(producer).is_some_and(|held| held.it.has_wishes());
        let clamped = layers.map(|layers| if asks { layers } else { self.clamp_layers(producer, layers) });
        for lane in self.lanes(id) {
            if let Some(held) = self.consumers.get_mut(lane) {
                held.it.set_preferred_layers(clamped);
            }
            self.choose(now, lane, LayerCause::Preferred);
        }
        self.tell_wanted(now, producer);
        if let Some(pending) = self.consumers.get(id).and_then(|c| c.it.pending_source()) {
            self.tell_wanted(now, pending);
        }
        Ok(Reply::Done)
    }

    pub(crate) fn set_priority(&mut self, id: ObjectId, priority: u8) -> Result<Reply, CommandError> {
        if priority < LOWEST_PRIORITY {
            let text = format!("{priority} is no priority: give 1 (the least) to 255");
            return Err(CommandError::new(ErrorCode::InvalidArgument, "priority", text));
        }
        self.named_consumer(id)?.set_priority(priority);
        Ok(Reply::Done)
    }

    pub(crate) fn switch_producer(
        &mut self,
        now: Time,
        id: ObjectId,
        config: ConsumerConfig,
    ) -> Result<Reply, CommandError> {
        let consumer = self.named_consumer(id)?;
        let old = consumer.producer();
        if consumer.is_lane() {
            let text = "a pipe consumer carries all streams of its producer: close it and pipe the other one";
            return Err(CommandError::new(ErrorCode::Unsupported, "target", text));
        }
        self.check_switch(id, &config)?;
        let new = config.producer;
        let again = self.named_consumer(id)?.pending_source() == Some(new);
        // A mirror that its last consumer leaves is gone: who stays does not leave.
        if !again {
            self.cancel_switch(now, id);
        }
        if new == old {
            return Ok(Reply::Done);
        }
        let paused = self.producers.get(new).is_some_and(|p| p.it.is_paused());
        if let Some(held) = self.producers.get_mut(new).filter(|_| !again) {
            held.it.consumers.push(id);
        }
        let line = self.named_consumer(id)?.line();
        let clock = line.and_then(|(source, encoding)| self.producers.get(source)?.it.source_clock(encoding));
        self.named_consumer(id)?.switch_to(config, clock);
        if !paused {
            self.choose(now, id, LayerCause::Source);
        }
        self.tell_wanted(now, new);
        Ok(Reply::Done)
    }

    fn check_switch(&self, id: ObjectId, config: &ConsumerConfig) -> Result<(), CommandError> {
        let invalid = |field: &str, text: String| Err(CommandError::new(ErrorCode::InvalidArgument, field, text));
        let missing = || CommandError::not_found("producer", config.producer);
        let producer = &self.producers.get(config.producer).ok_or_else(missing)?.it;
        let held = self.consumers.get(id).ok_or_else(|| CommandError::not_found("target", id))?;
        let router = |transport| self.transports.get(transport).map(|t| t.router);
        if router(producer.transport()) != router(held.it.transport()) {
            return invalid("producer", "the producer is in another router; pipe it into this one first".into());
        }
        if producer.kind() != held.it.config().kind || config.kind != producer.kind() {
            return invalid("kind", "a consumer keeps its kind: switch to a producer of the same one".into());
        }
        check_codecs(&config.codecs, self.limits.codecs_per_stream)?;
        check_cname(&config.cname, self.limits.cname_bytes)?;
        let common = |c: &&CodecConfig| producer.config().codecs.iter().any(|p| p.slot == c.slot);
        if !config.codecs.iter().any(|c| common(&c)) {
            let text = "none of them is a codec of the producer";
            return Err(CommandError::new(ErrorCode::Unsupported, "codecs", text));
        }
        // One line of timestamps has one clock.
        let rate = held.it.config().codecs.first().map_or(0, |c| c.clock_rate);
        let other = config.codecs.iter().enumerate().filter(|(_, c)| common(c)).find(|(_, c)| c.clock_rate != rate);
        if let Some((at, codec)) = other {
            let text =
                format!("{} Hz, and the consumer's stream has a clock of {rate} Hz: consume anew", codec.clock_rate);
            return invalid(&format!("codecs[{at}].clockRate"), text);
        }
        Ok(())
    }

    /// A consumer waits for another producer no more.
    pub(crate) fn cancel_switch(&mut self, now: Time, id: ObjectId) {
        let Some(held) = self.consumers.get_mut(id) else { return };
        let Some(pending) = held.it.pending_source() else { return };
        held.it.cancel_switch();
        self.leave_producer(now, id, pending);
    }

    /// Takes a consumer off a producer's list.
    fn leave_producer(&mut self, now: Time, consumer: ObjectId, producer: ObjectId) {
        if let Some(held) = self.producers.get_mut(producer) {
            held.it.consumers.retain(|c| *c != consumer);
        }
        self.tell_wanted(now, producer);
    }

    /// Lets a consumer choose what to get, and gets it started: from what is kept, else with a key frame.
    pub(crate) fn choose(&mut self, now: Time, id: ObjectId, cause: LayerCause) {
        let mut sources = Sources::new();
        self.choose_untold(now, id, cause, &mut sources);
        self.tell_all(now, &sources);
    }

    /// The same, without telling the sources what is wanted of them now: who asks many consumers tells each source once.
    fn choose_untold(&mut self, now: Time, id: ObjectId, cause: LayerCause, told_later: &mut Sources) {
        let Some(held) = self.consumers.get_mut(id) else { return };
        let sources = [Some(held.it.producer()), held.it.pending_source()];
        for source in sources.into_iter().flatten() {
            let Some(held) = self.consumers.get_mut(id) else { return };
            let Some(producer) = self.producers.get(source) else { continue };
            let waits = held.it.choose(now, &producer.it, cause);
            if waits && self.may_flow(id) {
                self.start_encoding(now, id, source);
            }
        }
        self.settle_untold(now, id, told_later);
    }

    /// All consumers of a producer choose again: what they choose from has changed.
    pub(crate) fn choose_again(&mut self, now: Time, producer: ObjectId) {
        let mut sources = Sources::new();
        let count = self.producers.get(producer).map_or(0, |p| p.it.consumers.len());
        for at in 0..count {
            let consumer = self.producers.get(producer).and_then(|p| p.it.consumers.get(at)).copied();
            if let Some(consumer) = consumer {
                self.choose_untold(now, consumer, LayerCause::Active, &mut sources);
            }
        }
        self.note_source(now, producer, &mut sources);
        self.tell_all(now, &sources);
    }

    /// Starts a consumer with the encoding that it waits for.
    fn start_encoding(&mut self, now: Time, id: ObjectId, source: ObjectId) {
        let Some(held) = self.consumers.get_mut(id) else { return };
        let video = held.it.config().kind == MediaKind::Video;
        let encoding = held.it.wanted_encoding(source);
        let Some(producer) = self.producers.get(source) else { return };
        if !video || producer.it.is_paused() {
            return;
        }
        match producer.it.cached_start(now, encoding) {
            Some(position) => {
                held.it.start_from(source, encoding, position);
                self.replay(now, id);
            }
            None => self.want_key_frame(now, source, encoding),
        }
    }

    /// Sees to it that a consumer that does not flow yet finds what it can begin with once it does: what is kept
    /// may do already. Otherwise the key frame is on its way while the peer still connects.
    pub(crate) fn provide_start(&mut self, now: Time, id: ObjectId, source: ObjectId) {
        let Some(held) = self.consumers.get(id) else { return };
        let encoding = held.it.wanted_encoding(source);
        if self.producers.get(source).is_some_and(|producer| producer.it.cached_start(now, encoding).is_none()) {
            self.want_key_frame(now, source, encoding);
        }
    }

    /// The consumer's peer is within reach, and nobody has paused it.
    pub(crate) fn may_flow(&self, id: ObjectId) -> bool {
        let Some(held) = self.consumers.get(id) else { return false };
        let has_path = self.transports.get(held.it.transport()).is_some_and(Transport::is_connected);
        has_path && !held.it.is_paused()
    }

    /// Follows up what has changed about a consumer.
    pub(crate) fn settle_consumer(&mut self, now: Time, id: ObjectId) {
        let mut sources = Sources::new();
        self.settle_untold(now, id, &mut sources);
        self.tell_all(now, &sources);
    }

    /// Follows up what forwarding has changed: other layers flow, another source flows, packets came
    /// before the one that they could be sent after.
    pub(crate) fn settle_news(&mut self, now: Time) {
        if self.news.is_empty() {
            return;
        }
        let mut sources = Sources::new();
        let mut news = std::mem::take(&mut self.news);
        for consumer in news.drain(..) {
            self.settle_untold(now, consumer, &mut sources);
        }
        self.news = news;
        self.tell_all(now, &sources);
    }

    /// Tells sources what is wanted of them, where that has changed: it takes a look at all of their consumers.
    fn tell_all(&mut self, now: Time, sources: &Sources) {
        for source in sources {
            self.tell_wishes(now, *source);
            if !self.span.mirrors.is_empty() {
                self.tell_wish(*source);
            }
        }
    }

    /// A source is to be told; at once, where many are.
    fn note_source(&mut self, now: Time, source: ObjectId, sources: &mut Sources) {
        if sources.contains(&source) {
            return;
        }
        if sources.is_full() {
            let before = std::mem::take(sources);
            self.tell_all(now, &before);
        }
        sources.push(source);
    }

    fn settle_untold(&mut self, now: Time, id: ObjectId, told_later: &mut Sources) {
        let Some(held) = self.consumers.get_mut(id) else { return };
        if let Some(left) = held.it.take_left() {
            let source = held.it.producer();
            let paused = self.producers.get(source).is_some_and(|p| p.it.is_paused());
            held.it.set_producer_paused(now, paused);
            if let Some(producer) = self.producers.get(source) {
                held.it.choose(now, &producer.it, LayerCause::Source);
            }
            self.leave_producer(now, id, left);
        }
        let Some(held) = self.consumers.get_mut(id) else { return };
        if let Some(layers) = held.it.take_layers_changed(now) {
            self.out.events.push_back(Event::LayersChanged { consumer: id, layers });
        }
        let source = held.it.producer();
        if held.it.has_replay_at_hand() {
            self.replay(now, id);
        }
        let pending = self.consumers.get(id).and_then(|held| held.it.pending_source());
        self.note_source(now, source, told_later);
        if let Some(pending) = pending {
            self.note_source(now, pending, told_later);
        }
    }

    /// Tells which layers of a producer are wanted, if that has changed.
    pub(crate) fn tell_wanted(&mut self, now: Time, id: ObjectId) {
        if self.producers.get(id).is_none_or(|held| held.it.mirrored.is_some()) {
            return self.tell_wish(id);
        }
        let wanted = self.wanted_of(id);
        let Some(held) = self.producers.get_mut(id) else { return };
        if held.it.wanted != wanted {
            held.it.wanted = wanted;
            self.out.events.push_back(Event::WantedLayers { producer: id, wanted });
        }
        self.tell_wishes(now, id);
    }

    /// The highest layers that are wanted of a producer, here and elsewhere.
    pub(crate) fn wanted_of(&self, id: ObjectId) -> Option<Layers> {
        let held = self.producers.get(id)?;
        let mut wanted: Option<Layers> = None;
        for layers in held.it.links.iter().filter_map(|link| link.layers) {
            let (so_far, layers) = (wanted.unwrap_or_default(), self.clamp_layers(id, layers));
            wanted = Some(Layers::new(so_far.spatial.max(layers.spatial), so_far.temporal.max(layers.temporal)));
        }
        for consumer in held.it.consumers.iter().filter_map(|c| self.consumers.get(*c)) {
            let Some(layers) = consumer.it.wanted_layers() else { continue };
            let layers = self.clamp_layers(id, layers);
            let so_far = wanted.unwrap_or_default();
            wanted = Some(Layers::new(so_far.spatial.max(layers.spatial), so_far.temporal.max(layers.temporal)));
        }
        wanted
    }

    /// What there is of these layers: as signalled, and as seen if that is more.
    fn clamp_layers(&self, producer: ObjectId, layers: Layers) -> Layers {
        let Some(held) = self.producers.get(producer) else { return layers };
        let count = held.it.encoding_count();
        let simulcast = count > 1;
        let encoding = if simulcast { layers.spatial.min(count - 1) } else { 0 };
        let (mode, seen) = (held.it.mode(encoding), held.it.highest(encoding));
        let spatial = if simulcast { encoding } else { layers.spatial.min(seen.spatial.max(mode.spatial - 1)) };
        Layers::new(spatial, layers.temporal.min(seen.temporal.max(mode.temporal - 1)))
    }

    fn named_consumer(&mut self, id: ObjectId) -> Result<&mut Consumer, CommandError> {
        if id.kind() != Some(ObjectKind::Consumer) {
            return Err(wrong_kind(id, "a consumer"));
        }
        let held = self.consumers.get_mut(id).ok_or_else(|| CommandError::not_found("target", id))?;
        Ok(&mut held.it)
    }
}
