//! Rooms on several shards under random commands, traffic, blocked ways and shards that end; what has to hold is checked
//! after each step. The seed is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use sfu_core::command::{Command, Event, Reply};
use sfu_core::limits::Limits;
use sfu_core::observer::ObserverOptions;
use sfu_core::testing::world::{OPUS, VP8, consumer_config, opus, producer_config, rtp, vp8, vp8_frame};
use sfu_sim::span::Cluster;
use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::rtcp::{Pli, ReceiverReport};

const SHARDS: u8 = 3;
const STEPS: usize = 400;

/// What the model knows of an object that lives.
#[derive(Debug, Clone, Copy)]
struct Known {
    parent: Option<ObjectId>,
    /// What a consumer consumes.
    producer: Option<ObjectId>,
    kind: MediaKind,
    paused: bool,
    ssrc: u32,
}

struct Model {
    cluster: Cluster,
    rng: ChaCha8Rng,
    alive: BTreeMap<ObjectId, Known>,
    /// All that ever was.
    ids: BTreeSet<ObjectId>,
    sequence: u16,
    mids: u32,
    /// Something may be on the way, or was lost.
    blocked: bool,
}

fn counters(cluster: &mut Cluster, name: &str) -> u64 {
    let mut sum = 0;
    for shard in 0..SHARDS {
        let Ok(Reply::Stats(stats)) = cluster.command_on(shard, Command::ShardStats) else { panic!("no stats") };
        sum += stats.counters.iter().find(|(n, _)| *n == name).map_or(0, |(_, n)| *n);
    }
    sum
}

impl Model {
    fn new(seed: u64) -> Self {
        let limits = Limits { peer_packets: 32, peer_messages: 32, ..Limits::default() };
        Self {
            cluster: Cluster::new(seed, SHARDS, 8, limits),
            rng: ChaCha8Rng::seed_from_u64(seed),
            alive: BTreeMap::new(),
            ids: BTreeSet::new(),
            sequence: 0,
            mids: 0,
            blocked: false,
        }
    }

    fn pick(&mut self, n: usize) -> usize {
        self.rng.next_u32() as usize % n.max(1)
    }

    fn any(&mut self, kind: ObjectKind) -> Option<ObjectId> {
        let fitting: Vec<ObjectId> = self.alive.keys().copied().filter(|id| id.kind() == Some(kind)).collect();
        let at = self.pick(fitting.len());
        fitting.get(at).copied()
    }

    fn shard(&mut self) -> u8 {
        self.pick(usize::from(SHARDS)) as u8
    }

    fn born(&mut self, id: ObjectId, known: Known) {
        assert!(self.ids.insert(id), "{id:?} was given out before");
        self.alive.insert(id, known);
    }

    fn mid(&mut self) -> Mid {
        self.mids += 1;
        Mid::new(self.mids.to_string().as_bytes()).expect("digits")
    }

    fn router_of(&self, id: ObjectId) -> Option<ObjectId> {
        let mut id = id;
        while let Some(parent) = self.alive.get(&id)?.parent {
            id = parent;
        }
        Some(id)
    }

    fn step(&mut self) {
        let plain = Known { parent: None, producer: None, kind: MediaKind::Audio, paused: false, ssrc: 0 };
        match self.pick(24) {
            0 => {
                let shard = self.shard();
                let id = self.cluster.router(shard);
                self.born(id, plain);
            }
            1..=3 => {
                let Some(router) = self.any(ObjectKind::Router) else { return };
                let shard = self.shard();
                let id = self.cluster.transport(shard, router);
                self.born(id, Known { parent: Some(router), ..plain });
            }
            4..=6 => self.produce(plain),
            7..=10 => self.consume(plain),
            11 => {
                let Some(router) = self.any(ObjectKind::Router) else { return };
                let command = Command::CreateObserver { router, options: ObserverOptions::ACTIVE_SPEAKER };
                match self.cluster.command(command) {
                    Ok(Reply::Created(id)) => self.born(id, Known { parent: Some(router), ..plain }),
                    other => assert!(other.is_err(), "{other:?}"),
                }
            }
            12 => self.observe(),
            13 => {
                let kind = if self.pick(2) == 0 { ObjectKind::Producer } else { ObjectKind::Consumer };
                let Some(object) = self.any(kind) else { return };
                let paused = !self.alive[&object].paused;
                let command = if paused { Command::Pause { object } } else { Command::Resume { object } };
                self.cluster.command(command).expect("it lives");
                self.alive.get_mut(&object).expect("it lives").paused = paused;
            }
            14 => self.switch(),
            15 => {
                let kind = [ObjectKind::Router, ObjectKind::Transport, ObjectKind::Producer, ObjectKind::Consumer];
                let at = self.pick(12).min(3);
                let Some(object) = self.any(kind[at]) else { return };
                self.cluster.command(Command::Close { object }).expect("it lives");
                self.alive.remove(&object);
            }
            16 => {
                let (from, to) = (self.shard(), self.shard());
                if from != to {
                    self.cluster.block(from, to, true);
                    self.blocked = true;
                }
            }
            17 => self.unblock(),
            18 if self.pick(8) == 0 => {
                let shard = self.shard();
                if self.cluster.may_restart(shard) {
                    self.cluster.restart(shard);
                    self.alive.retain(|id, _| id.shard() != shard);
                }
            }
            19 => {
                let Some(consumer) = self.any(ObjectKind::Consumer) else { return };
                let Known { parent, ssrc, .. } = self.alive[&consumer];
                let mut bytes = vec![0; 64];
                let mut len = ReceiverReport { ssrc: 9 }.write(&mut bytes, &[]).expect("room");
                len += Pli { sender_ssrc: 9, media_ssrc: ssrc }.write(&mut bytes[len..]).expect("room");
                self.cluster.give(parent.expect("a transport"), &bytes[..len]);
            }
            _ => self.traffic(),
        }
    }

    fn produce(&mut self, plain: Known) {
        let Some(transport) = self.any(ObjectKind::Transport) else { return };
        let mid = self.mid();
        let ssrc = 10_000 + 2 * self.mids;
        let kind = if self.pick(2) == 0 { MediaKind::Audio } else { MediaKind::Video };
        let codec = if kind == MediaKind::Audio { opus() } else { vp8() };
        let config = producer_config(kind, mid, vec![codec], Some(ssrc), None);
        if let Ok(id) = self.cluster.try_produce(transport, config) {
            self.born(id, Known { parent: Some(transport), kind, ssrc, ..plain });
        }
    }

    /// A transport and a producer of one room; the transport's shard may not know yet that the producer is gone.
    fn consume(&mut self, plain: Known) {
        let (Some(transport), Some(producer)) = (self.any(ObjectKind::Transport), self.any(ObjectKind::Producer))
        else {
            return;
        };
        if self.router_of(transport) != self.router_of(producer) || self.router_of(transport).is_none() {
            return;
        }
        let kind = self.alive[&producer].kind;
        let config = consumer_config(producer, kind, self.mid(), false);
        if let Ok(created) = self.cluster.try_consume(transport, config) {
            let (parent, ssrc) = (Some(transport), created.ssrc);
            self.born(created.id, Known { parent, producer: Some(producer), kind, ssrc, ..plain });
        }
    }

    fn observe(&mut self) {
        let (Some(observer), Some(producer)) = (self.any(ObjectKind::Observer), self.any(ObjectKind::Producer)) else {
            return;
        };
        if self.alive[&producer].kind == MediaKind::Audio && self.router_of(observer) == self.router_of(producer) {
            if self.pick(2) == 0 {
                let _ = self.cluster.observe(observer, producer);
            } else {
                let _ = self.cluster.command(Command::Unobserve { observer, producer });
            }
        }
    }

    fn switch(&mut self) {
        let (Some(consumer), Some(producer)) = (self.any(ObjectKind::Consumer), self.any(ObjectKind::Producer)) else {
            return;
        };
        let known = self.alive[&consumer];
        if self.alive[&producer].kind != MediaKind::Audio
            || known.kind != MediaKind::Audio
            || self.router_of(consumer) != self.router_of(producer)
        {
            return;
        }
        // Audio goes over at the next packet, which the model gives at once.
        let config = consumer_config(producer, MediaKind::Audio, self.mid(), false);
        if self.cluster.switch(consumer, config).is_ok() {
            self.alive.get_mut(&consumer).expect("it lives").producer = None;
        }
    }

    fn packet(&mut self, producer: ObjectId) -> Vec<u8> {
        let Known { kind, ssrc, .. } = self.alive[&producer];
        self.sequence = self.sequence.wrapping_add(1);
        let n = self.sequence;
        let timestamp = u32::from(n) * 960;
        match kind {
            MediaKind::Audio => rtp(OPUS, ssrc, n, timestamp, &[], b"sound"),
            MediaKind::Video => rtp(VP8, ssrc, n, timestamp, &[], &vp8_frame(self.pick(4) == 0, n)),
        }
    }

    fn traffic(&mut self) {
        for _ in 0..self.pick(6) {
            let Some(producer) = self.any(ObjectKind::Producer) else { return };
            let packet = self.packet(producer);
            self.cluster.give(producer, &packet);
        }
        let time = self.pick(200) as u64;
        self.cluster.run(Duration::from_millis(time));
    }

    fn unblock(&mut self) {
        for from in 0..SHARDS {
            for to in (0..SHARDS).filter(|to| *to != from) {
                self.cluster.block(from, to, false);
            }
        }
        self.blocked = false;
    }

    /// Takes what was told: each object once, and only such as lived.
    fn hear(&mut self) {
        for event in std::mem::take(&mut self.cluster.events) {
            match event {
                Event::Closed { object, .. } => {
                    assert!(self.alive.remove(&object).is_some(), "{object:?} closed twice, or never was");
                }
                Event::WantedLayers { producer, .. } | Event::ProducerScore { producer, .. } => {
                    assert!(self.ids.contains(&producer), "{producer:?} is not known to the caller");
                }
                Event::DominantSpeaker { producer, .. } => assert!(self.ids.contains(&producer)),
                Event::RouterFailed { text, .. } => panic!("{text}"),
                _ => {}
            }
        }
    }

    /// Nothing is on the way: all that lives has what it needs, and every shard finds what the model knows.
    fn check(&mut self) {
        let all: Vec<(ObjectId, Known)> = self.alive.iter().map(|(id, known)| (*id, *known)).collect();
        for (id, known) in &all {
            assert!(self.cluster.dump(*id).is_some(), "{id:?} is gone, and nobody said so");
            assert!(known.parent.is_none_or(|parent| self.alive.contains_key(&parent)), "an orphan: {id:?}");
            let source = known.producer.is_none_or(|producer| self.alive.contains_key(&producer));
            assert!(source, "{id:?} consumes nothing");
        }
        let dead: Vec<ObjectId> = self.ids.iter().copied().filter(|id| !self.alive.contains_key(id)).collect();
        for id in dead.iter().rev().take(20) {
            assert!(self.cluster.dump(*id).is_none(), "{id:?} is told to be closed, and lives");
        }
        let mut counts = [0; 4];
        for shard in &self.cluster.shards {
            counts.iter_mut().zip(shard.object_counts()).for_each(|(sum, n)| *sum += n);
        }
        let kinds = [ObjectKind::Router, ObjectKind::Transport, ObjectKind::Producer, ObjectKind::Consumer];
        let known = kinds.map(|kind| all.iter().filter(|(id, _)| id.kind() == Some(kind)).count());
        assert_eq!(counts, known, "routers, transports, producers, consumers");
        self.cluster.check_span();
    }

    /// A packet of each audio producer reaches all who listen, once.
    fn check_media(&mut self) {
        let kind = |known: &Known| known.kind == MediaKind::Audio;
        let producers = self.alive.iter().filter(|(id, known)| id.kind() == Some(ObjectKind::Producer) && kind(known));
        let producers: Vec<(ObjectId, bool)> = producers.map(|(id, known)| (*id, known.paused)).collect();
        for (producer, paused) in producers {
            self.cluster.media.clear();
            let before = self.cluster.crossed;
            let packet = self.packet(producer);
            self.cluster.send(producer, &packet);
            let mut others = BTreeSet::new();
            let consumers: Vec<(ObjectId, Known)> = self.alive.iter().map(|(id, known)| (*id, *known)).collect();
            for (id, known) in consumers.into_iter().filter(|(_, known)| known.producer == Some(producer)) {
                let expected = usize::from(!paused && !known.paused);
                assert_eq!(self.cluster.rtp(id).len(), expected, "{id:?} of {producer:?}");
                if expected == 1 && id.shard() != producer.shard() {
                    others.insert(id.shard());
                }
            }
            // Observers and consumers between two producers may want it too.
            let crossed = self.cluster.crossed - before;
            assert!(crossed >= others.len() && crossed < usize::from(SHARDS), "once for each shard");
        }
    }
}

fn play(seed: u64) -> (u64, usize) {
    let mut model = Model::new(seed);
    for _ in 0..STEPS {
        model.step();
        model.cluster.settle();
        model.hear();
        if !model.blocked {
            model.check();
        }
    }
    model.unblock();
    model.cluster.run(Duration::from_secs(3));
    model.hear();
    model.check();
    model.check_media();
    let crossed = (counters(&mut model.cluster, "peer_packets_sent"), model.cluster.crossed);
    let routers: Vec<ObjectId> =
        model.alive.keys().copied().filter(|id| id.kind() == Some(ObjectKind::Router)).collect();
    for object in routers {
        model.cluster.command(Command::Close { object }).expect("it lives");
        model.alive.remove(&object);
    }
    model.cluster.settle();
    model.hear();
    assert!(model.alive.is_empty(), "{:?}", model.alive);
    model.cluster.check_empty();
    crossed
}

#[test]
fn h26_random_rooms_on_three_shards_stay_sound() {
    let mut crossed = 0;
    for seed in 0..60 {
        println!("seed {seed}");
        crossed += play(seed).1;
    }
    assert!(crossed > 1_000, "the shards talked: {crossed}");
}

#[test]
fn the_same_seed_makes_the_same_history() {
    assert_eq!(play(4_711), play(4_711));
}
