//! A call over routers in a row, joined by pipes: what is published in the first is watched in the last.

use std::time::Duration;

use sfu_core::command::{Command, ConsumerCreated, PipeTransportOptions, Reply};
use sfu_core::config::{ConsumerConfig, EncodingConfig, ProducerConfig, StreamType};
use sfu_core::stats::{ConsumerDump, Dump, RtpStreamStats};
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::scalability::Layers;

use crate::layer_call::{CONSUMER_PT, LayerCall, Plan, consumer_config, extensions, stream_type};
use crate::negotiated::video_codec;
use crate::net::LinkConfig;
use crate::world::World;

/// How the routers are joined.
#[derive(Debug, Clone, Copy)]
pub struct Joint {
    /// Routers, at least two.
    pub routers: usize,
    /// The way between two of them, each direction.
    pub link: LinkConfig,
    /// Of all pipes.
    pub options: PipeTransportOptions,
}

/// One hop from router to router.
pub struct Hop {
    /// Indices of its ends in the world.
    pub ends: [usize; 2],
    /// The pipe consumer.
    pub consumer: ObjectId,
    /// SSRCs and all that was said about it.
    pub created: ConsumerCreated,
    /// The producer at the far end.
    pub producer: ObjectId,
}

/// See the module.
pub struct PipeCall {
    /// The call; its router is the first one.
    pub call: LayerCall,
    /// All routers, in order.
    pub routers: Vec<ObjectId>,
    /// From each router to the next.
    pub hops: Vec<Hop>,
}

impl PipeCall {
    /// One publisher in the first router, one watcher of it in the last, connected.
    pub fn new(seed: u64, edge: LinkConfig, plan: Plan, joint: Joint) -> Self {
        let mut world = World::new(seed);
        let routers: Vec<ObjectId> = (0..joint.routers).map(|_| world.router()).collect();
        let call = LayerCall { world, router: routers[0], plan, publishers: Vec::new(), watchers: Vec::new() };
        let mut call = Self { call, routers, hops: Vec::new() };
        call.call.publish(edge);
        for at in 1..joint.routers {
            let pair = [call.routers[at - 1], call.routers[at]];
            let ends = call.call.world.join_routers(pair, joint.link, joint.options);
            let source = call.hops.last().map_or(call.call.publishers[0].producer, |hop| hop.producer);
            call.carry(ends, source, joint.options.rtx);
        }
        call.watch(edge, None);
        call.call.world.connect_all(Duration::from_secs(30));
        call
    }

    /// Pipes a producer from one end to the other.
    ///
    /// # Panics
    /// If the shard refuses.
    pub fn carry(&mut self, ends: [usize; 2], source: ObjectId, rtx: bool) {
        let config = pipe_consumer(&self.call.plan, source, rtx);
        let [here, there] = ends.map(|end| self.call.world.pipes[end].transport);
        let created = match self.call.world.command(Command::Consume { transport: here, config: Box::new(config) }) {
            Ok(Reply::Consumer(created)) => created,
            other => panic!("no consumer: {other:?}"),
        };
        let config = Box::new(pipe_producer(&self.call.plan, &created, rtx));
        let producer = match self.call.world.command(Command::Produce { transport: there, config }) {
            Ok(Reply::Created(id)) => id,
            other => panic!("no producer: {other:?}"),
        };
        self.hops.push(Hop { ends, consumer: created.id, created, producer });
    }

    /// One more watcher in the last router.
    ///
    /// # Panics
    /// Never: there is a hop.
    pub fn watch(&mut self, edge: LinkConfig, preferred: Option<Layers>) -> usize {
        let router = *self.routers.last().expect("routers");
        let producer = self.hops.last().expect("a hop").producer;
        self.call.watch_in(edge, router, producer, preferred)
    }

    /// Packets that each stream of a hop has sent.
    pub fn sent(&mut self, hop: usize) -> Vec<u64> {
        self.streams(hop).iter().map(|stream| stream.packets).collect()
    }

    /// The same of all streams.
    pub fn sent_total(&mut self, hop: usize) -> u64 {
        self.sent(hop).iter().sum()
    }

    /// Counters of the streams of a hop.
    ///
    /// # Panics
    /// If the consumer is gone.
    pub fn streams(&mut self, hop: usize) -> Vec<RtpStreamStats> {
        let object = self.hops[hop].consumer;
        match self.call.world.command(Command::Stats { object }) {
            Ok(Reply::Stats(stats)) => stats.streams.into_iter().filter(|stream| !stream.inbound).collect(),
            other => panic!("no counters: {other:?}"),
        }
    }

    /// State of a pipe consumer.
    ///
    /// # Panics
    /// If it is gone.
    pub fn dump(&mut self, hop: usize) -> ConsumerDump {
        let object = self.hops[hop].consumer;
        match self.call.world.command(Command::Dump { object }) {
            Ok(Reply::Dump(dump)) => match *dump {
                Dump::Consumer(dump) => dump,
                other => panic!("another dump: {other:?}"),
            },
            other => panic!("no dump: {other:?}"),
        }
    }

    /// Streams of a hop that send while `pictures` are published, one bit each.
    pub fn flowing(&mut self, hop: usize, pictures: usize) -> u32 {
        let before = self.sent(hop);
        self.call.send(pictures);
        let after = self.sent(hop);
        let grew = before.iter().zip(&after).enumerate().filter(|(_, (before, after))| after > before);
        grew.fold(0, |all, (index, _)| all | 1 << index)
    }
}

fn pipe_consumer(plan: &Plan, producer: ObjectId, rtx: bool) -> ConsumerConfig {
    let mut config = consumer_config(plan, producer, None);
    config.stream_type = StreamType::Pipe;
    if !rtx {
        config.codecs.iter_mut().for_each(|codec| {
            codec.rtx_payload_type = None;
            codec.feedback.nack = false;
        });
    }
    config
}

fn pipe_producer(plan: &Plan, created: &ConsumerCreated, rtx: bool) -> ProducerConfig {
    let mut codec = video_codec(plan.codec, CONSUMER_PT, true);
    if !rtx {
        codec.rtx_payload_type = None;
        codec.feedback.nack = false;
    }
    let encodings = created.streams.iter().map(|stream| EncodingConfig {
        ssrc: Some(stream.ssrc),
        rtx_ssrc: stream.rtx_ssrc,
        scalability: plan.mode.parse().expect("a mode"),
        ..EncodingConfig::default()
    });
    ProducerConfig {
        kind: MediaKind::Video,
        mid: Mid::new(b"0").ok(),
        codecs: vec![codec],
        encodings: encodings.collect(),
        extensions: extensions(),
        cname: "publisher".to_owned(),
        reduced_size_rtcp: true,
        paused: false,
        key_frame_request_delay: Duration::ZERO,
        stream_type: stream_type(plan),
        opaque_payload: plan.opaque,
        key_frame_cache: plan.cache,
    }
}
