//! What passes a pipe: the lanes of its consumers, and the wishes that come back for them.
//!
//! A pipe consumer is one lane for each encoding of its producer; commands that name it are carried out for all of them.
//! Where the transport was made for it, the far router says what it wants of each lane, over RTCP like all feedback, so that
//! a chain of routers works without a controller between them: its own wishes come from those who consume there. What
//! is wanted of an encoding that does not flow cannot be told from what flows, so each consumer asks for what it would
//! like best beside what it has. Limits: those of consumers; streams of one RTCP packet.

use sfu_proto::layers::choose_encoding;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::rtcp::WantedStreams;
use sfu_wire::scalability::Layers;
use sfu_wire::time::Time;

use crate::config::{ConsumerConfig, StreamType};
use crate::consumer::{ALL_LAYERS, Consumer};
use crate::decision::LayerCause;
use crate::producer::{MAX_ENCODINGS, Producer, WishList};
use crate::shard::Shard;
use crate::stats::LaneDump;
use crate::transport::Transport;

impl Shard {
    /// How many streams a consumer is to have.
    pub(crate) fn lane_count(&self, config: &ConsumerConfig) -> u8 {
        let is_pipe = config.stream_type == StreamType::Pipe;
        let producer = self.producers.get(config.producer).filter(|_| is_pipe);
        producer.map_or(1, |held| held.it.encoding_count())
    }

    /// What is wanted of a new lane of a transport, before the far router has said anything.
    pub(crate) fn first_wish(&self, transport: ObjectId) -> Option<Layers> {
        let demanding = self.transports.get(transport).is_some_and(Transport::is_demanding);
        (!demanding).then_some(ALL_LAYERS)
    }

    /// The places of a consumer's streams in the table: itself, and of a pipe consumer the other lanes. Of other objects
    /// none.
    pub(crate) fn lanes(&self, id: ObjectId) -> Vec<ObjectId> {
        if id.kind() != Some(ObjectKind::Consumer) {
            return Vec::new();
        }
        let others = self.consumers.get(id).map_or(&[][..], |held| held.it.other_lanes());
        std::iter::once(id).chain(others.iter().copied()).collect()
    }

    /// Consumers as others know them.
    pub(crate) fn shown(&self, consumers: &[ObjectId]) -> Vec<ObjectId> {
        let is_shown = |id: &&ObjectId| self.consumers.get(**id).is_none_or(|held| !held.it.is_hidden());
        consumers.iter().filter(is_shown).copied().collect()
    }

    /// The streams of a pipe consumer; none of others.
    pub(crate) fn dump_lanes(&self, id: ObjectId) -> Vec<LaneDump> {
        let lanes = self.lanes(id);
        let lanes = lanes.iter().filter_map(|lane| self.consumers.get(*lane)).filter(|held| held.it.is_lane());
        let dump = |lane: &Consumer| LaneDump {
            ssrc: lane.ssrc(),
            rtx_ssrc: lane.rtx_ssrc(),
            fec_ssrc: lane.ssrcs().fec_ssrc,
            wanted: !lane.is_paused() || lane.is_paused_by_command(),
            current_layers: lane.current_layers(),
        };
        lanes.map(|held| dump(&held.it)).collect()
    }

    /// Finds out what is wanted of a producer whose other end asks for that, and tells it if it is news.
    #[inline]
    pub(crate) fn tell_wishes(&mut self, now: Time, id: ObjectId) {
        if self.producers.get(id).is_some_and(|held| held.it.has_wishes()) {
            self.gather_wishes(now, id);
        }
    }

    #[cold]
    fn gather_wishes(&mut self, now: Time, id: ObjectId) {
        let Some(held) = self.producers.get(id) else { return };
        let mut list = [None; MAX_ENCODINGS];
        if !held.it.is_paused() {
            let consumers = held.it.consumers.iter().filter_map(|c| self.consumers.get(*c));
            consumers.for_each(|consumer| add_wishes(&held.it, &consumer.it, &mut list));
            held.it.add_link_wishes(&mut list);
        }
        let Some(held) = self.producers.get_mut(id) else { return };
        if held.it.set_wishes(now, list) {
            self.flush_producer(now, id);
        }
    }

    /// The far router says what it wants.
    pub(crate) fn take_wishes(
        &mut self,
        now: Time,
        id: ObjectId,
        wanted: &WantedStreams<'_>,
    ) -> Result<(), DropReason> {
        if !self.transports.get(id).is_some_and(Transport::is_demanding) {
            return Err(DropReason::RtcpUnsupported);
        }
        let mut verdict = Ok(());
        for stream in wanted.streams() {
            let lane = self.transports.get(id).and_then(|t| t.by_ssrc.get(&stream.ssrc)).copied();
            let Some(held) = lane.and_then(|lane| self.consumers.get_mut(lane)) else {
                verdict = Err(DropReason::RtcpUnknownSsrc);
                continue;
            };
            let producer = held.it.producer();
            if held.it.set_wish(stream.layers)
                && let Some(lane) = lane
            {
                self.choose(now, lane, LayerCause::Preferred);
                self.tell_wanted(now, producer);
                self.arm_stream(lane, now);
            }
        }
        verdict
    }
}

/// Adds what a consumer wants of the encodings of its producer.
fn add_wishes(producer: &Producer, consumer: &Consumer, list: &mut WishList) {
    let Some((layers, needed)) = consumer.wanted_layers().zip(consumer.needed_layers()) else { return };
    let count = producer.encoding_count();
    let id = producer.id();
    let mut add = |encoding: u8, layers: Layers| {
        let Some(wish) = list.get_mut(usize::from(encoding)) else { return };
        let most = wish.unwrap_or_default();
        *wish = Some(Layers::new(most.spatial.max(layers.spatial), most.temporal.max(layers.temporal)));
    };
    // Within one of several encodings there are no spatial layers.
    let within = if count > 1 { Layers::new(u8::MAX, needed.temporal) } else { needed };
    if consumer.is_lane() {
        return add(consumer.encoding(), within);
    }
    let best = choose_encoding(Some(layers.spatial).filter(|_| count > 1), u32::MAX, count);
    add(best, within);
    add(consumer.wanted_encoding(id), within);
    if consumer.producer() == id && !consumer.awaits_key_frame() {
        add(consumer.encoding(), within);
    }
}
