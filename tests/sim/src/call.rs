//! A call in the world: one publisher of VP8, some subscribers, and the frames between them.

use std::time::Duration;

use sfu_core::command::Command;
use sfu_core::config::{CodecConfig, ConsumerConfig, EncodingConfig, ProducerConfig};
use sfu_core::testing::{PeerOptions, Received};
use sfu_wire::codec::CodecKind;
use sfu_wire::id::ObjectId;

use crate::media::{Vp8Sink, Vp8Source};
use crate::negotiated::{video_codec, video_consumer, video_producer};
use crate::net::LinkConfig;
use crate::world::World;

const FRAME_INTERVAL: Duration = Duration::from_millis(33);
const PUBLISHER_PT: u8 = 96;
const PUBLISHER_RTX_PT: u8 = 97;
const CONSUMER_PT: u8 = 101;

/// Where the publisher's counters start.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// First sequence number.
    pub sequence: u16,
    /// First timestamp.
    pub timestamp: u32,
}

impl Default for Start {
    fn default() -> Self {
        Self { sequence: 1_000, timestamp: 90_000 }
    }
}

/// A subscriber of the call.
pub struct Subscriber {
    /// Index in the world.
    pub member: usize,
    /// Its consumer.
    pub consumer: ObjectId,
    /// Its decoder.
    pub sink: Vp8Sink,
}

/// A connected call.
pub struct Call {
    /// Where it happens.
    pub world: World,
    /// The router.
    pub router: ObjectId,
    /// The publisher's index in the world.
    pub publisher: usize,
    /// The producer.
    pub producer: ObjectId,
    /// The publisher's encoder.
    pub source: Vp8Source,
    /// Who watches.
    pub subscribers: Vec<Subscriber>,
}

impl Call {
    /// Sets up a call and waits until everybody is connected.
    pub fn new(world: World, link: LinkConfig, subscribers: usize, start: Start) -> Self {
        Self::with_key_frame_delay(world, link, subscribers, start, Duration::ZERO)
    }

    /// The same, with a least time between two key-frame requests.
    pub fn with_key_frame_delay(
        mut world: World,
        link: LinkConfig,
        subscribers: usize,
        start: Start,
        key_frame_request_delay: Duration,
    ) -> Self {
        let router = world.router();
        let publisher = world.join(router, link, PeerOptions::default());
        let source =
            Vp8Source::new(0x1111, PUBLISHER_PT, Some((0x2222, PUBLISHER_RTX_PT)), start.sequence, start.timestamp);
        let config = ProducerConfig { key_frame_request_delay, ..producer_config(&source) };
        let producer = world.produce(publisher, config);
        let mut call = Self { world, router, publisher, producer, source, subscribers: Vec::new() };
        for _ in 0..subscribers {
            call.subscribe(link);
        }
        call.world.connect_all(Duration::from_secs(30));
        call
    }

    /// One more subscriber.
    pub fn subscribe(&mut self, link: LinkConfig) {
        let member = self.world.join(self.router, link, PeerOptions::default());
        let created = self.world.consume(member, consumer_config(self.producer));
        let sink = Vp8Sink::new(created.ssrc, created.rtx_ssrc);
        self.subscribers.push(Subscriber { member, consumer: created.id, sink });
    }

    /// Sends `frames` frames in real (virtual) time, with all the feedback that goes with them.
    pub fn send_frames(&mut self, frames: usize, packets: u16) {
        for _ in 0..frames {
            for packet in self.source.frame(packets, 900) {
                self.world.members[self.publisher].peer.send_rtp(&packet);
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
            self.feed_publisher();
            self.feed_subscribers();
        }
    }

    /// A command that must succeed.
    ///
    /// # Panics
    /// If it does not.
    pub fn command(&mut self, command: Command) {
        self.world.command(command).expect("the command is right");
    }

    fn feed_publisher(&mut self) {
        let member = &mut self.world.members[self.publisher];
        for (_, received) in std::mem::take(&mut member.received) {
            if let Received::Rtcp(compound) = received {
                for packet in self.source.handle_rtcp(&compound) {
                    member.peer.send_rtp(&packet);
                }
            }
        }
    }

    fn feed_subscribers(&mut self) {
        let now = self.world.now();
        for subscriber in &mut self.subscribers {
            let member = &mut self.world.members[subscriber.member];
            for (_, received) in std::mem::take(&mut member.received) {
                if let Received::Rtp(packet) = received {
                    subscriber.sink.handle_rtp(&packet);
                }
            }
            if let Some(nack) = subscriber.sink.nack(now) {
                member.peer.send_rtcp(&nack);
            }
        }
        self.world.flush();
    }
}

/// The producer of a [`Vp8Source`].
pub fn producer_config(source: &Vp8Source) -> ProducerConfig {
    let encoding = EncodingConfig {
        ssrc: Some(source.ssrc),
        rtx_ssrc: source.rtx.map(|(ssrc, _)| ssrc),
        ..EncodingConfig::default()
    };
    let rtx_payload_type = source.rtx.map(|(_, payload_type)| payload_type);
    let codec = CodecConfig { rtx_payload_type, ..video_codec(CodecKind::Vp8, source.payload_type, true) };
    video_producer(codec, vec![encoding])
}

/// A consumer of it, with RTX.
pub fn consumer_config(producer: ObjectId) -> ConsumerConfig {
    video_consumer(producer, video_codec(CodecKind::Vp8, CONSUMER_PT, true))
}
