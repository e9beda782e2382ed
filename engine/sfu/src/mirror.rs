//! Mirrors: producers of other shards, as far as something here has their media.
//!
//! Told: commands about producers of other shards, what those shards say and send. Tells: what the consumers here
//! want, and that they are gone. A mirror comes with the first that needs it and goes with the last; everything that
//! consumers, observers and caches do is done with it as with any producer. Losses of consumers here are repaired out of
//! its own history; what is missing there is asked for at its origin.
//! Limits: mirrors count as producers.

use rand_core::RngCore;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;
use sfu_wire::rtcp::SenderReport;
use sfu_wire::rtp::RtpView;
use sfu_wire::scalability::Layers;
use sfu_wire::time::Time;

use crate::command::{BoundSocket, Command, CommandError, ErrorCode, Reply};
use crate::config::ProducerConfig;
use crate::dispatch::dispatch;
use crate::feedback::Feedback;
use crate::peer::{PeerMessage, Sifted};
use crate::producer::{MAX_ENCODINGS, Producer, StreamPart, StreamSlot, Wanted};
use crate::rtp_listener::Route;
use crate::shard::{Held, Shard};
use crate::timers::TimerKind;
use crate::transport::{Kind, Transport, TransportParts};

impl Shard {
    /// Carries out a command about the media of a producer of another shard.
    pub(crate) fn across(
        &mut self,
        now: Time,
        sockets: &[BoundSocket],
        producer: ObjectId,
        source: ProducerConfig,
        mut command: Command,
    ) -> Result<Reply, CommandError> {
        let target = command.object().unwrap_or(producer);
        let router = self.router_of(target).ok_or_else(|| CommandError::not_found("target", target))?;
        let Some(named) = command.source_mut().filter(|named| **named == producer) else {
            let text = "the command is about no media of the producer";
            return Err(CommandError::new(ErrorCode::Unsupported, "producer", text));
        };
        let mirror = self.mirror_of(now, router, producer, source)?;
        *named = mirror;
        let result = dispatch(self, now, sockets, command);
        self.tell_wish(mirror);
        result
    }

    fn mirror_of(
        &mut self,
        now: Time,
        router: ObjectId,
        producer: ObjectId,
        source: ProducerConfig,
    ) -> Result<ObjectId, CommandError> {
        if producer.shard() == self.index {
            return Err(CommandError::not_found("producer", producer));
        }
        if let Some(mirror) = self.span.mirrors.get(&producer) {
            return Ok(*mirror);
        }
        let carrier = self.carrier_of(now, router)?;
        let limit = self.limits.producers;
        let full = || {
            let text = format!("the limit of {limit} producers is reached: close some first");
            CommandError::new(ErrorCode::ResourceExhausted, "producer", text)
        };
        let id = self.producers.next_id().ok_or_else(full)?;
        let it = Producer::mirror(now, id, carrier, producer, source)?;
        let mirror = self.producers.insert(Held::new(it)).ok_or_else(full)?;
        if let Some(carrier) = self.transports.get_mut(carrier) {
            carrier.producers.push(mirror);
        }
        self.span.mirrors.insert(producer, mirror);
        let room = self.room_of(router);
        self.out.peers.push(PeerMessage::Join { producer, mirror, room });
        Ok(mirror)
    }

    fn carrier_of(&mut self, now: Time, router: ObjectId) -> Result<ObjectId, CommandError> {
        let carrier = self.routers.get(router).ok_or_else(|| CommandError::not_found("target", router))?.carrier;
        if let Some(carrier) = carrier {
            return Ok(carrier);
        }
        let (hash_seed, feedback) = (self.rng.next_u64(), Feedback::new(now, self.rng.next_u32().max(1), 0));
        let made = self.transports.insert_with(|id| {
            let parts = TransportParts { id, router, hash_seed, max_learned_ssrcs: 0, feedback };
            Transport::new(parts, Kind::Carrier)
        });
        let limit = self.limits.transports;
        let carrier = made.ok_or_else(|| {
            let text = format!("the limit of {limit} transports is reached: close some first");
            CommandError::new(ErrorCode::ResourceExhausted, "target", text)
        })?;
        self.span.carriers += 1;
        if let Some(router) = self.routers.get_mut(router) {
            router.carrier = Some(carrier);
        }
        Ok(carrier)
    }

    /// Closes what a router's mirrors are on, and them.
    pub(crate) fn close_carrier(&mut self, now: Time, carrier: ObjectId) {
        let Some(transport) = self.transports.remove(carrier) else { return };
        self.span.carriers -= 1;
        for mirror in transport.producers {
            // Each is there: they leave the list when they go.
            let _ = self.close_producer(now, mirror);
        }
    }

    /// After a producer was closed: its mirrors, or, if it was one itself, its origin.
    pub(crate) fn leave_mirrors(&mut self, producer: &Producer) {
        if let Some(origin) = producer.origin() {
            self.span.mirrors.remove(&origin);
            self.out.peers.push(PeerMessage::Leave { producer: origin, mirror: producer.id() });
        }
        for link in &producer.links {
            self.out.peers.push(PeerMessage::Gone { mirror: link.mirror, producer: producer.id() });
        }
    }

    /// The id by which the caller knows a producer.
    pub(crate) fn origin_of(&self, producer: ObjectId) -> ObjectId {
        self.producers.get(producer).and_then(|held| held.it.origin()).unwrap_or(producer)
    }

    /// Tells the origin of a mirror what is wanted of it now, if that has changed; a mirror that nobody needs is closed.
    pub(crate) fn tell_wish(&mut self, id: ObjectId) {
        let Some(held) = self.producers.get(id) else { return };
        let Some(origin) = held.it.origin() else { return };
        if held.it.consumers.is_empty() && !held.watch.is_observed() {
            if let Some(held) = self.producers.remove(id) {
                if let Some(carrier) = self.transports.get_mut(held.it.transport()) {
                    carrier.producers.retain(|p| *p != id);
                }
                self.leave_mirrors(&held.it);
            }
            return;
        }
        let told = self.wanted_of_mirror(id, &held.it, held.watch.is_observed());
        let Some(mirrored) = self.producers.get_mut(id).and_then(|held| held.it.mirrored.as_mut()) else { return };
        if mirrored.told != Some(told) {
            mirrored.told = Some(told);
            let Wanted { encodings, layers, within } = told;
            self.out.peers.push(PeerMessage::Want { producer: origin, mirror: id, encodings, layers, within });
        }
    }

    fn wanted_of_mirror(&self, id: ObjectId, mirror: &Producer, observed: bool) -> Wanted {
        let mut encodings = u32::from(observed);
        let mut within = [Layers::default(); MAX_ENCODINGS];
        let consumers = mirror.consumers.iter().filter_map(|c| self.consumers.get(*c));
        for (consumer, layers) in consumers.filter_map(|c| Some((&c.it, c.it.needed_layers()?))) {
            // Of several encodings none has spatial layers of its own.
            let spatial = if mirror.encoding_count() > 1 { u8::MAX } else { layers.spatial };
            for encoding in (0..mirror.encoding_count()).filter(|e| consumer.follows(id, *e)) {
                encodings |= 1 << encoding;
                if let Some(most) = within.get_mut(usize::from(encoding)) {
                    *most = Layers::new(most.spatial.max(spatial), most.temporal.max(layers.temporal));
                }
            }
        }
        Wanted { encodings, layers: self.wanted_of(id), within }
    }

    /// Sends what a mirror wants to its origin, and sets its timer.
    pub(crate) fn flush_mirror(&mut self, now: Time, id: ObjectId, not_before: Time) {
        let Some(held) = self.producers.get_mut(id) else { return };
        let Some(producer) = held.it.origin() else { return };
        // Ends: what was asked for is asked for again after a while.
        while let Some(wish) = held.it.poll_wish(now) {
            let encoding = wish.encoding;
            if !wish.missing.is_empty() {
                let sequences = wish.missing;
                self.out.peers.push(PeerMessage::Nack { producer, mirror: id, encoding, sequences });
            }
            if wish.key_frame {
                self.out.peers.push(PeerMessage::KeyFrame { producer, mirror: id, encoding });
            }
        }
        let at = held.it.next_timeout().map(|t| t.max(not_before));
        self.timers.arm(&mut held.timer, id, TimerKind::Stream, at);
    }

    /// A packet of a producer of another shard.
    pub(crate) fn take_peer_packet(
        &mut self,
        now: Time,
        mirror: ObjectId,
        (encoding, fresh, sifted): (u8, bool, Option<Sifted>),
        at: Time,
        bytes: &[u8],
    ) -> Result<(), DropReason> {
        let mut view = RtpView::parse(bytes).map_err(|_| DropReason::RtpMalformed)?;
        if let Some(sifted) = sifted {
            (view.sequence, view.marker) = (sifted.sequence, sifted.marker);
        }
        self.work_for_object(mirror);
        self.span.received = self.span.received.saturating_add(1);
        let producer = &mut self.producers.get_mut(mirror).ok_or(DropReason::PeerUnknown)?.it;
        if producer.is_repair(view.payload_type) {
            let route = Route { producer: mirror, encoding: usize::from(encoding), part: StreamPart::Fec };
            return self.forward_repair(now, &route, bytes, &view);
        }
        if fresh {
            producer.begin_anew(encoding);
        }
        if !producer.receives(encoding, view.ssrc) {
            // One that is replaced is nobody's any more: its last packets are refused.
            let _ = producer.bind_ssrc(now, StreamSlot { encoding, part: StreamPart::Media }, view.ssrc);
        }
        producer.note_sifted(encoding, sifted);
        let route = Route { producer: mirror, encoding: usize::from(encoding), part: StreamPart::Media };
        self.forward(now, at.min(now), &route, bytes, &view)
    }

    /// How a producer of another shard is.
    pub(crate) fn take_state(
        &mut self,
        now: Time,
        mirror: ObjectId,
        (paused, active, highest): (bool, u32, &[Layers]),
        scores: &[u8],
    ) {
        self.work_for_object(mirror);
        // It is there, and pausing a producer that is there is no error.
        let _ = self.set_producer_paused(now, mirror, paused);
        let Some(held) = self.producers.get_mut(mirror) else { return };
        let before: Vec<u8> = held.it.scores().collect();
        if let Some(mirrored) = &mut held.it.mirrored {
            mirrored.scores = scores.iter().copied().collect();
        }
        let differs = !held.it.scores().eq(before);
        if held.it.set_active(active, highest) {
            self.choose_again(now, mirror);
        }
        if differs {
            let consumers = self.producers.get(mirror).map(|held| held.it.consumers.clone()).unwrap_or_default();
            consumers.into_iter().for_each(|consumer| self.tell_consumer_score(consumer));
        }
    }

    /// A sender report of a producer of another shard.
    pub(crate) fn take_peer_report(&mut self, at: Time, mirror: ObjectId, encoding: u8, report: &SenderReport) {
        self.work_for_object(mirror);
        let ntp = self.ntp(at);
        if let Some(held) = self.producers.get_mut(mirror) {
            held.it.handle_peer_report(at, ntp, encoding, report);
        }
    }
}
