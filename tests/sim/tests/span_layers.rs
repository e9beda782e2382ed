//! Layers of a room on several shards: those that somebody there wants cross, those above do not, and nobody misses them.

use std::time::Duration;

use sfu_core::command::Command;
use sfu_core::limits::Limits;
use sfu_core::peer::PeerMessage;
use sfu_sim::layer_call::{Plan, consumer_config, producer_config};
use sfu_sim::layered::{Decoded, LayeredSink, LayeredSource, Report};
use sfu_sim::media::pli_packet;
use sfu_sim::span::Cluster;
use sfu_wire::codec::CodecKind;
use sfu_wire::id::ObjectId;
use sfu_wire::scalability::Layers;

const PUBLISHER_PT: u8 = 96;
const PACKETS: usize = 2;
const LOWEST: Layers = Layers::new(0, 0);

const VP8: Plan =
    Plan { codec: CodecKind::Vp8, mode: "L1T3", encodings: 1, described: false, opaque: false, cache: true };

/// Temporal and spatial layers of every codec that has them, told by payload and by dependency descriptor.
fn plans() -> Vec<Plan> {
    let svc = |codec, mode, described| Plan { codec, mode, described, ..VP8 };
    vec![
        VP8,
        Plan { encodings: 3, ..VP8 },
        Plan { cache: false, ..VP8 },
        svc(CodecKind::Vp9, "L1T3", false),
        svc(CodecKind::Vp9, "L3T3", false),
        svc(CodecKind::Vp9, "L3T3_KEY", false),
        svc(CodecKind::H265, "L1T3", false),
        svc(CodecKind::H264, "L1T3", true),
        svc(CodecKind::Av1, "L1T3", true),
        svc(CodecKind::Av1, "L3T3", true),
        svc(CodecKind::Av1, "L3T3_KEY", true),
        Plan { opaque: true, ..svc(CodecKind::Av1, "L3T3_KEY", true) },
    ]
}

fn spatial_layers(plan: &Plan) -> usize {
    usize::from(plan.mode.as_bytes()[1] - b'0')
}

fn highest(plan: &Plan) -> Layers {
    let spatial = if plan.encodings > 1 { plan.encodings } else { spatial_layers(plan) as u8 } - 1;
    Layers::new(spatial, 2)
}

/// Somebody who watches.
struct Watcher {
    transport: ObjectId,
    consumer: ObjectId,
    sink: LayeredSink,
}

/// A publisher on shard 0, and who watches it.
struct Stage {
    cluster: Cluster,
    plan: Plan,
    router: ObjectId,
    from: ObjectId,
    producer: ObjectId,
    source: LayeredSource,
    watchers: Vec<Watcher>,
    /// One of so many packets of the publisher is lost; 0 is none.
    loss: u32,
    luck: u32,
}

impl Stage {
    fn new(plan: Plan, limits: Limits) -> Self {
        let mut cluster = Cluster::new(5, 3, 64, limits);
        let router = cluster.router(0);
        let from = cluster.transport(0, router);
        let mut source = LayeredSource::new(plan.codec, plan.mode, plan.encodings, 0, PUBLISHER_PT, plan.described);
        source.opaque = plan.opaque;
        source.packets = PACKETS as u8;
        let producer = cluster.produce(from, producer_config(&plan, &source));
        Self { cluster, plan, router, from, producer, source, watchers: Vec::new(), loss: 0, luck: 1 }
    }

    fn watch(&mut self, shard: u8, preferred: Option<Layers>) -> usize {
        let transport = self.cluster.transport(shard, self.router);
        let created = self.cluster.consume(transport, consumer_config(&self.plan, self.producer, preferred));
        let sink = LayeredSink::new(self.plan.codec, created.ssrc, created.rtx_ssrc, self.plan.opaque);
        self.watchers.push(Watcher { transport, consumer: created.id, sink });
        self.cluster.settle();
        self.watchers.len() - 1
    }

    fn prefer(&mut self, watcher: usize, layers: Layers) {
        let consumer = self.watchers[watcher].consumer;
        self.cluster.command(Command::SetPreferredLayers { consumer, layers: Some(layers) }).expect("sets");
        self.cluster.settle();
    }

    fn is_lucky(&mut self) -> bool {
        self.luck = self.luck.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.loss == 0 || !(self.luck >> 8).is_multiple_of(self.loss)
    }

    /// So many pictures, with the feedback that goes with them. Answers how many packets crossed for it.
    fn send(&mut self, pictures: usize) -> usize {
        let before = self.cluster.crossed;
        for _ in 0..pictures {
            for encoding in 0..self.plan.encodings {
                for packet in self.source.picture(encoding, self.cluster.now) {
                    if self.is_lucky() {
                        self.cluster.give(self.producer, &packet);
                    }
                }
            }
            self.pass(Duration::from_millis(33));
        }
        self.cluster.crossed - before
    }

    fn pass(&mut self, duration: Duration) {
        for _ in 0..3 {
            self.cluster.run(duration / 3);
            for compound in self.cluster.rtp(self.from) {
                for packet in self.source.handle_rtcp(&compound) {
                    self.cluster.give(self.producer, &packet);
                }
            }
            for watcher in &mut self.watchers {
                for packet in self.cluster.rtp(watcher.consumer) {
                    watcher.sink.handle_rtp(&packet);
                }
                if let Some(nack) = watcher.sink.nack(self.cluster.now) {
                    self.cluster.give(watcher.transport, &nack);
                }
            }
        }
        self.cluster.settle();
    }

    /// The highest layers that a watcher got of the last pictures.
    fn reached(&self, watcher: usize) -> Layers {
        let report = self.watchers[watcher].sink.decode();
        let end = report.decoded.last().expect("something came").timestamp;
        let last = report.decoded.iter().filter(|f| end.wrapping_sub(f.timestamp) < 12 * 2_970);
        let layers = |f: &Decoded| (if self.plan.encodings > 1 { f.encoding } else { f.spatial }, f.temporal);
        let (spatial, temporal): (Vec<u8>, Vec<u8>) = last.map(layers).unzip();
        Layers::new(spatial.into_iter().max().unwrap_or(0), temporal.into_iter().max().unwrap_or(0))
    }

    /// All that came can be decoded, and nothing is missed.
    fn check(&self, what: &str) {
        for (at, watcher) in self.watchers.iter().enumerate() {
            let Report { undecodable, partial, missing, .. } = watcher.sink.decode();
            assert_eq!((undecodable, partial, missing), (0, 0, 0), "{what}: watcher {at}");
        }
    }

    fn asked_again(&self) -> usize {
        self.cluster.messages.iter().filter(|message| matches!(message, PeerMessage::Nack { .. })).count()
    }
}

#[test]
fn only_the_layers_that_somebody_there_wants_cross() {
    for plan in plans() {
        let what = format!("{plan:?}");
        let mut stage = Stage::new(plan, Limits::default());
        let near = stage.watch(0, None);
        let (low, other) = (stage.watch(1, Some(LOWEST)), stage.watch(1, Some(LOWEST)));
        stage.send(60);
        // Every fourth picture, and of each its lowest frame.
        let crossed = stage.send(60);
        assert_eq!(crossed, 15 * PACKETS, "{what}: the lowest layer alone");
        assert_eq!((stage.reached(near), stage.reached(low)), (highest(&plan), LOWEST), "{what}");

        // One wants more: as soon as the stream allows it, which may take a key frame.
        stage.prefer(other, highest(&plan));
        stage.send(20);
        assert_eq!(stage.reached(other), highest(&plan), "{what}");
        let layers = if plan.encodings > 1 { 1 } else { spatial_layers(&plan) };
        // Of several encodings the lowest goes on for the other one.
        let base = if plan.encodings > 1 { 10 * PACKETS } else { 0 };
        assert_eq!(stage.send(40), 40 * layers * PACKETS + base, "{what}: all that the highest needs");
        assert_eq!((stage.reached(low), stage.reached(other)), (LOWEST, highest(&plan)), "{what}");

        // And less again.
        stage.prefer(other, LOWEST);
        stage.send(20);
        assert_eq!(stage.send(40), 10 * PACKETS, "{what}: the lowest layer alone again");
        assert_eq!(stage.reached(other), LOWEST, "{what}");
        stage.check(&what);
        assert_eq!(stage.asked_again(), 0, "{what}: nobody misses what was left out on purpose");
        stage.cluster.check_span();
    }
}

#[test]
fn what_the_publisher_or_the_way_loses_is_repaired_though_layers_are_left_out() {
    for plan in plans() {
        let what = format!("{plan:?}");
        let mut stage = Stage::new(plan, Limits { peer_packets: 8, ..Limits::default() });
        // Which encodings there are is known by then.
        stage.send(5);
        let low = stage.watch(1, Some(LOWEST));
        let middle = stage.watch(2, Some(Layers::new(highest(&plan).spatial, 0)));
        stage.send(30);
        // Of all layers, so that some of what comes late is not wanted there.
        stage.loss = 15;
        stage.send(200);
        stage.loss = 0;
        stage.send(20);
        // Nothing passes, and more waits than may wait.
        stage.cluster.block(0, 1, true);
        stage.send(30);
        stage.cluster.block(0, 1, false);
        stage.send(90);
        stage.pass(Duration::from_millis(600));
        assert_eq!((stage.reached(low), stage.reached(middle).temporal), (LOWEST, 0), "{what}");
        for watcher in [low, middle] {
            let Report { missing, decoded, undecodable, .. } = stage.watchers[watcher].sink.decode();
            let key = decoded.iter().filter(|f| f.key).count();
            assert!(
                missing <= 40 && undecodable <= 12,
                "{what}: {watcher} misses {missing}, {undecodable}; {key} keys"
            );
        }
        let recent = stage.watchers[low].sink.decode().decoded.last().map(|f| f.picture);
        assert!(recent.is_some_and(|picture| picture + 4 > 370), "{what}: {recent:?} goes on");
    }
}

#[test]
fn wishes_that_change_at_random_leave_nothing_that_cannot_be_decoded() {
    for plan in plans() {
        for seed in 0..2_u32 {
            let what = format!("{plan:?} {seed}");
            let mut stage = Stage::new(plan, Limits::default());
            stage.luck = seed.wrapping_mul(77_777) + 1;
            stage.send(5);
            for shard in [0, 1, 1, 2] {
                stage.watch(shard, None);
            }
            for _ in 0..24 {
                stage.is_lucky();
                let luck = stage.luck >> 8;
                let top = highest(&plan);
                let layers = Layers::new((luck >> 4) as u8 % (top.spatial + 1), (luck >> 8) as u8 % 3);
                match luck % 8 {
                    // What looks like loss, as every fourth does, is no restart.
                    0 => stage.source.jump(luck & 0xff | 1),
                    1 if stage.watchers.len() < 7 => {
                        let shard = (luck >> 12) as u8 % 3;
                        stage.watch(shard, Some(layers));
                    }
                    _ => {
                        let watcher = (luck >> 12) as usize % stage.watchers.len();
                        stage.prefer(watcher, layers);
                    }
                }
                stage.send(1 + (luck >> 16) as usize % 12);
            }
            for at in 0..stage.watchers.len() {
                let pli = pli_packet(1, stage.watchers[at].sink.ssrc());
                stage.cluster.give(stage.watchers[at].transport, &pli);
                stage.prefer(at, highest(&plan));
            }
            stage.send(40);
            for at in 0..stage.watchers.len() {
                assert_eq!(stage.reached(at), highest(&plan), "{what}: watcher {at}");
            }
            stage.check(&what);
            stage.cluster.check_span();
        }
    }
}

#[test]
fn a_publisher_that_starts_anew_is_followed_though_layers_are_left_out() {
    for plan in plans() {
        for seed in [1, 6] {
            let what = format!("{plan:?} {seed}");
            let mut stage = Stage::new(plan, Limits::default());
            stage.send(5);
            let (low, top) = (stage.watch(1, Some(LOWEST)), stage.watch(2, None));
            stage.send(35);
            stage.source.jump(seed);
            stage.send(60);
            assert_eq!((stage.reached(low), stage.reached(top)), (LOWEST, highest(&plan)), "{what}");
            for watcher in [low, top] {
                let Report { undecodable, missing, decoded, .. } = stage.watchers[watcher].sink.decode();
                assert_eq!((undecodable, missing), (0, 0), "{what}");
                assert!(decoded.last().is_some_and(|f| f.picture + 4 > 100), "{what}");
            }
        }
    }
}
