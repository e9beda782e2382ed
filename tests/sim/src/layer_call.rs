//! A call in the world with layers: publishers of them, subscribers that choose, and the pictures between.

use std::time::Duration;

use sfu_core::command::{Command, CommandError, Event, Reply};
use sfu_core::config::{CodecConfig, ConsumerConfig, EncodingConfig, Feedback, ProducerConfig, StreamType};
use sfu_core::testing::{PeerOptions, Received};
use sfu_wire::codec::CodecKind;
use sfu_wire::extension::{ExtensionIds, ExtensionKind};
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::scalability::Layers;

use crate::layered::{DESCRIPTOR_ID, LayeredSink, LayeredSource};
use crate::media::pli_packet;
use crate::negotiated::{video_codec, video_consumer, video_producer};
use crate::net::LinkConfig;
use crate::studio::{AUDIO_RATE, Ear, Studio};
use crate::world::{EPOCH, World};

const FRAME_INTERVAL: Duration = Duration::from_millis(33);
const PUBLISHER_PT: u8 = 96;
pub(crate) const CONSUMER_PT: u8 = 101;
const VOICE_PT: u8 = 111;
const HEARD_PT: u8 = 120;
/// The slot of the codec of sound.
const AUDIO_SLOT: u8 = 1;

/// What is published.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The codec.
    pub codec: CodecKind,
    /// Scalability mode of each encoding.
    pub mode: &'static str,
    /// How many encodings.
    pub encodings: u8,
    /// With the dependency descriptor.
    pub described: bool,
    /// Encrypted from end to end.
    pub opaque: bool,
    /// The producer keeps its newest key frame.
    pub cache: bool,
}

/// A publisher of the call.
pub struct Publisher {
    /// Index in the world.
    pub member: usize,
    /// Its producer.
    pub producer: ObjectId,
    /// Its encoder.
    pub source: LayeredSource,
    /// Encodings that it sends, one bit each.
    pub sends: u8,
    /// Its sound and its reports, if it makes any.
    pub studio: Option<Studio>,
}

/// A subscriber of the call.
pub struct Watcher {
    /// Index in the world.
    pub member: usize,
    /// Its consumer.
    pub consumer: ObjectId,
    /// Its decoder.
    pub sink: LayeredSink,
    /// What it makes of sound and of reports.
    pub ear: Ear,
}

/// A connected call.
pub struct LayerCall {
    /// Where it happens.
    pub world: World,
    /// The router.
    pub router: ObjectId,
    /// What is published.
    pub plan: Plan,
    /// Who publishes.
    pub publishers: Vec<Publisher>,
    /// Who watches.
    pub watchers: Vec<Watcher>,
}

impl LayerCall {
    /// A call of one publisher and one watcher of it, connected.
    pub fn new(seed: u64, link: LinkConfig, plan: Plan) -> Self {
        let mut world = World::new(seed);
        let router = world.router();
        let mut call = Self { world, router, plan, publishers: Vec::new(), watchers: Vec::new() };
        call.publish(link);
        call.watch(link, 0, None);
        call.world.connect_all(Duration::from_secs(30));
        call
    }

    /// One more publisher.
    pub fn publish(&mut self, link: LinkConfig) -> usize {
        let member = self.world.join(self.router, link, PeerOptions::default());
        let (plan, tag) = (self.plan, self.publishers.len() as u8);
        let mut source = LayeredSource::new(plan.codec, plan.mode, plan.encodings, tag, PUBLISHER_PT, plan.described);
        source.opaque = plan.opaque;
        let producer = self.world.produce(member, producer_config(&plan, &source));
        self.publishers.push(Publisher { member, producer, source, sends: u8::MAX, studio: None });
        self.publishers.len() - 1
    }

    /// One more watcher, of a publisher.
    pub fn watch(&mut self, link: LinkConfig, publisher: usize, preferred: Option<Layers>) -> usize {
        self.watch_in(link, self.router, self.publishers[publisher].producer, preferred)
    }

    /// One more watcher, of a producer in a router.
    pub fn watch_in(
        &mut self,
        link: LinkConfig,
        router: ObjectId,
        producer: ObjectId,
        preferred: Option<Layers>,
    ) -> usize {
        let member = self.world.join(router, link, PeerOptions::default());
        let config = consumer_config(&self.plan, producer, preferred);
        let created = self.world.consume(member, config);
        let sink = LayeredSink::new(self.plan.codec, created.ssrc, created.rtx_ssrc, self.plan.opaque);
        self.watchers.push(Watcher { member, consumer: created.id, sink, ear: Ear::default() });
        self.watchers.len() - 1
    }

    /// Lets a publisher speak from now on, and report on all its streams.
    pub fn speak(&mut self, publisher: usize) {
        let member = self.publishers[publisher].member;
        let mut studio = Studio::new(publisher as u8, VOICE_PT);
        let producer = self.world.produce(member, voice_config(studio.ssrc));
        studio.producer = Some(producer);
        self.publishers[publisher].studio = Some(studio);
    }

    /// Lets a watcher hear a publisher.
    ///
    /// # Panics
    /// If that one does not speak.
    pub fn hear(&mut self, watcher: usize, publisher: usize) {
        let config = self.hearing(publisher);
        let created = self.world.consume(self.watchers[watcher].member, config);
        self.watchers[watcher].ear = Ear { ssrc: created.ssrc, consumer: Some(created.id), ..Ear::default() };
    }

    /// Lets a watcher that hears one publisher hear another.
    ///
    /// # Panics
    /// If it hears none.
    pub fn hear_other(&mut self, watcher: usize, publisher: usize) {
        let config = Box::new(self.hearing(publisher));
        let consumer = self.watchers[watcher].ear.consumer.expect("it hears somebody");
        self.command(Command::SwitchProducer { consumer, config });
    }

    fn hearing(&self, publisher: usize) -> ConsumerConfig {
        let studio = self.publishers[publisher].studio.as_ref();
        let producer = studio.and_then(|studio| studio.producer).expect("it speaks");
        ConsumerConfig {
            kind: MediaKind::Audio,
            mid: Mid::new(b"1").expect("a legal MID"),
            codecs: vec![opus(HEARD_PT)],
            stream_type: StreamType::Simple,
            ..consumer_config(&self.plan, producer, None)
        }
    }

    /// What a watcher negotiates for a publisher's stream.
    pub fn consumer_config(&self, publisher: usize, preferred: Option<Layers>) -> ConsumerConfig {
        consumer_config(&self.plan, self.publishers[publisher].producer, preferred)
    }

    /// A command that must succeed.
    ///
    /// # Panics
    /// If it does not.
    pub fn command(&mut self, command: Command) {
        self.try_command(command).expect("the command is right");
    }

    /// A command, perhaps.
    pub fn try_command(&mut self, command: Command) -> Result<Reply, CommandError> {
        let reply = self.world.command(command);
        self.world.flush();
        reply
    }

    /// Sets the layers of a watcher.
    pub fn prefer(&mut self, watcher: usize, layers: Option<Layers>) {
        let consumer = self.watchers[watcher].consumer;
        self.command(Command::SetPreferredLayers { consumer, layers });
    }

    /// Lets a watcher go over to another publisher.
    pub fn switch(&mut self, watcher: usize, publisher: usize) {
        let config = Box::new(self.consumer_config(publisher, None));
        let consumer = self.watchers[watcher].consumer;
        self.command(Command::SwitchProducer { consumer, config });
    }

    /// Sends `pictures` of all encodings of all publishers, with the feedback that goes with them.
    pub fn send(&mut self, pictures: usize) {
        for picture in 0..pictures {
            for watcher in self.watchers.iter_mut().filter(|_| picture % 20 == 19) {
                if watcher.sink.is_stuck() {
                    let pli = pli_packet(1, watcher.sink.ssrc());
                    self.world.members[watcher.member].peer.send_rtcp(&pli);
                }
            }
            for at in 0..self.publishers.len() {
                let now = self.world.now();
                let publisher = &mut self.publishers[at];
                for encoding in (0..self.plan.encodings).filter(|e| publisher.sends >> e & 1 == 1) {
                    for packet in publisher.source.picture(encoding, now) {
                        self.world.members[publisher.member].peer.send_rtp(&packet);
                    }
                }
                if let Some(studio) = &mut publisher.studio {
                    let peer = &mut self.world.members[publisher.member].peer;
                    peer.send_rtp(&studio.speak(now));
                    let streams = publisher.source.encoders.iter().map(|e| (e.ssrc, e.timestamp_at(now)));
                    let streams: Vec<(u32, u32)> = streams.collect();
                    studio.reports(now, &streams).iter().for_each(|report| peer.send_rtcp(report));
                }
            }
            self.world.flush();
            self.pass(FRAME_INTERVAL);
        }
    }

    /// Lets time pass, with feedback.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.world.now() + duration;
        while self.world.now() < end {
            self.world.run_for(Duration::from_millis(11).min(end.saturating_since(self.world.now())));
            for publisher in &mut self.publishers {
                let member = &mut self.world.members[publisher.member];
                for (_, received) in std::mem::take(&mut member.received) {
                    let Received::Rtcp(compound) = received else { continue };
                    for packet in publisher.source.handle_rtcp(&compound) {
                        member.peer.send_rtp(&packet);
                    }
                }
            }
            let now = self.world.now();
            for watcher in &mut self.watchers {
                let member = &mut self.world.members[watcher.member];
                for (_, received) in std::mem::take(&mut member.received) {
                    match received {
                        Received::Rtp(packet) => {
                            watcher.sink.handle_rtp(&packet);
                            watcher.ear.handle_rtp(&packet);
                        }
                        Received::Rtcp(compound) => watcher.ear.handle_rtcp(&compound, EPOCH),
                    }
                }
                if let Some(nack) = watcher.sink.nack(now) {
                    member.peer.send_rtcp(&nack);
                }
            }
            self.world.flush();
        }
    }

    /// The layer changes of a watcher that were told since the last call.
    pub fn layer_events(&mut self, watcher: usize) -> Vec<Option<Layers>> {
        let own = self.watchers[watcher].consumer;
        let events = self.world.events.iter();
        let layers = events.filter_map(|(_, event)| match event {
            Event::LayersChanged { consumer, layers } if *consumer == own => Some(*layers),
            _ => None,
        });
        let layers = layers.collect();
        self.world.events.retain(|(_, e)| !matches!(e, Event::LayersChanged { consumer, .. } if *consumer == own));
        layers
    }

    /// What was told that is wanted of a publisher, since the last call.
    pub fn wanted_events(&mut self, publisher: usize) -> Vec<Option<Layers>> {
        let own = self.publishers[publisher].producer;
        let events = std::mem::take(&mut self.world.events);
        let wanted = events.iter().filter_map(|(_, event)| match event {
            Event::WantedLayers { producer, wanted } if *producer == own => Some(*wanted),
            _ => None,
        });
        wanted.collect()
    }
}

/// The producer of a voice.
fn voice_config(ssrc: u32) -> ProducerConfig {
    let encodings = vec![EncodingConfig { ssrc: Some(ssrc), ..EncodingConfig::default() }];
    ProducerConfig {
        kind: MediaKind::Audio,
        mid: Mid::new(b"1").ok(),
        key_frame_cache: false,
        ..video_producer(opus(VOICE_PT), encodings)
    }
}

fn opus(payload_type: u8) -> CodecConfig {
    CodecConfig {
        slot: AUDIO_SLOT,
        kind: CodecKind::Opus,
        payload_type,
        rtx_payload_type: None,
        clock_rate: AUDIO_RATE,
        feedback: Feedback::default(),
    }
}

pub(crate) fn stream_type(plan: &Plan) -> StreamType {
    match (plan.encodings, plan.mode.starts_with("L1")) {
        (1, true) => StreamType::Simple,
        (1, false) => StreamType::Svc,
        _ => StreamType::Simulcast,
    }
}

/// The producer of a source.
///
/// # Panics
/// If the plan names no mode.
pub fn producer_config(plan: &Plan, source: &LayeredSource) -> ProducerConfig {
    let encodings = source.encoders.iter().map(|e| EncodingConfig {
        ssrc: Some(e.ssrc),
        rtx_ssrc: Some(e.ssrc + 1),
        scalability: plan.mode.parse().expect("a mode"),
        ..EncodingConfig::default()
    });
    ProducerConfig {
        extensions: extensions(),
        stream_type: stream_type(plan),
        opaque_payload: plan.opaque,
        key_frame_cache: plan.cache,
        ..video_producer(video_codec(plan.codec, PUBLISHER_PT, true), encodings.collect())
    }
}

/// A consumer of it, with RTX.
///
/// # Panics
/// Never: the MID is legal.
pub fn consumer_config(plan: &Plan, producer: ObjectId, preferred_layers: Option<Layers>) -> ConsumerConfig {
    ConsumerConfig {
        extensions: extensions(),
        stream_type: stream_type(plan),
        preferred_layers,
        ..video_consumer(producer, video_codec(plan.codec, CONSUMER_PT, true))
    }
}

pub(crate) fn extensions() -> ExtensionIds {
    let mut ids = ExtensionIds::default();
    ids.set(ExtensionKind::DependencyDescriptor, DESCRIPTOR_ID);
    ids
}
