//! Several shards in one thread, as one engine: what goes from one to another passes a way with a few slots, which a
//! script may block, and commands go where the control floor sends them.
//!
//! Peers are applications on direct transports, so that there is no network in between: told are plaintext packets,
//! told back is what each consumer sends and each publisher is asked. Nothing is delivered before [`Cluster::settle`].
//! Limits: a bound on rounds without time going on.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use sfu_core::command::{Command, CommandError, ConsumerCreated, Event, Reply};
use sfu_core::config::{ConsumerConfig, ProducerConfig};
use sfu_core::limits::Limits;
use sfu_core::peer::PeerMessage;
use sfu_core::shard::{Shard, ShardConfig};
use sfu_core::stats::Dump;
use sfu_core::testing::SpanView;
use sfu_proto::crypto::Certificate;
use sfu_proto::srtp::SrtpProfile;
use sfu_wire::id::ObjectId;
use sfu_wire::time::Time;

/// Rounds that may happen without time going on.
const MAX_ROUNDS: usize = 10_000;

/// From one shard to another.
#[derive(Debug, Default)]
struct Way {
    slots: VecDeque<(PeerMessage, Vec<u8>)>,
    blocked: bool,
}

/// Shards of one engine.
pub struct Cluster {
    /// By index.
    pub shards: Vec<Shard>,
    /// The time.
    pub now: Time,
    /// What the shards told and nobody took yet, in order for each shard.
    pub events: Vec<Event>,
    /// RTP by consumer and RTCP by transport, not yet taken.
    pub media: Vec<(ObjectId, Vec<u8>)>,
    /// Messages that were delivered, packets among them counted in [`Cluster::crossed`].
    pub messages: Vec<PeerMessage>,
    /// Packets that were delivered from one shard to another.
    pub crossed: usize,
    ways: BTreeMap<(u8, u8), Way>,
    capacity: usize,
    sources: HashMap<ObjectId, ProducerConfig>,
    lives: Vec<u8>,
    certificate: Certificate,
    limits: Limits,
    seed: u64,
}

impl Cluster {
    /// So many shards, with so many slots from each to each.
    ///
    /// # Panics
    /// If a certificate cannot be made.
    pub fn new(seed: u64, shards: u8, capacity: usize, limits: Limits) -> Self {
        let mut cluster = Self {
            shards: Vec::new(),
            now: Time::from_millis(1_000),
            events: Vec::new(),
            media: Vec::new(),
            messages: Vec::new(),
            crossed: 0,
            ways: BTreeMap::new(),
            capacity,
            sources: HashMap::new(),
            lives: vec![0; usize::from(shards)],
            certificate: Certificate::generate().expect("a certificate"),
            limits,
            seed,
        };
        cluster.shards = (0..shards).map(|index| cluster.make(index, 0)).collect();
        cluster
    }

    fn make(&self, index: u8, life: u8) -> Shard {
        let mut seed = [index; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8] = life;
        let config = ShardConfig {
            index,
            life,
            seed,
            epoch_unix_nanos: 1_700_000_000_000_000_000,
            certificate: self.certificate.clone(),
            srtp_profiles: SrtpProfile::ALL.to_vec(),
            limits: self.limits,
        };
        Shard::new(config).expect("a shard")
    }

    /// Gives a shard a command, without sockets.
    ///
    /// # Errors
    /// What the shard says.
    pub fn command_on(&mut self, shard: u8, command: Command) -> Result<Reply, CommandError> {
        let now = self.now;
        self.shards[usize::from(shard)].handle_command(now, &[], command)
    }

    /// Gives a command to the shard of the object that it is about.
    ///
    /// # Errors
    /// What the shard says.
    pub fn command(&mut self, command: Command) -> Result<Reply, CommandError> {
        let shard = command.object().expect("about an object").shard();
        self.command_on(shard, command)
    }

    /// Makes a router.
    ///
    /// # Panics
    /// If the shard refuses.
    pub fn router(&mut self, home: u8) -> ObjectId {
        created(self.command_on(home, Command::CreateRouter))
    }

    /// Makes a direct transport of a router on a shard.
    ///
    /// # Errors
    /// What the shard says.
    pub fn try_transport(&mut self, shard: u8, router: ObjectId) -> Result<Reply, CommandError> {
        let command = Command::CreateDirectTransport { router, max_incoming_bitrate: 0 };
        if shard == router.shard() {
            return self.command_on(shard, command);
        }
        self.command_on(shard, Command::InBranch { home: router, command: Box::new(command) })
    }

    /// Makes a direct transport of a router on a shard.
    ///
    /// # Panics
    /// If the shard refuses.
    pub fn transport(&mut self, shard: u8, router: ObjectId) -> ObjectId {
        created(self.try_transport(shard, router))
    }

    /// Makes a producer.
    ///
    /// # Errors
    /// What the shard says.
    pub fn try_produce(&mut self, transport: ObjectId, config: ProducerConfig) -> Result<ObjectId, CommandError> {
        let reply = self.command(Command::Produce { transport, config: Box::new(config.clone()) })?;
        let id = created(Ok(reply));
        self.sources.insert(id, config);
        Ok(id)
    }

    /// Makes a producer.
    ///
    /// # Panics
    /// If the shard refuses.
    pub fn produce(&mut self, transport: ObjectId, config: ProducerConfig) -> ObjectId {
        self.try_produce(transport, config).expect("produces")
    }

    /// As the control floor would send it: by way of a mirror if the producer is on another shard.
    fn across(&self, shard: u8, producer: ObjectId, command: Command) -> Command {
        match self.sources.get(&producer) {
            Some(source) if producer.shard() != shard => {
                Command::Across { producer, source: Box::new(source.clone()), command: Box::new(command) }
            }
            _ => command,
        }
    }

    /// Makes a consumer.
    ///
    /// # Errors
    /// What the shard says.
    pub fn try_consume(
        &mut self,
        transport: ObjectId,
        config: ConsumerConfig,
    ) -> Result<ConsumerCreated, CommandError> {
        let producer = config.producer;
        let command = Command::Consume { transport, config: Box::new(config) };
        match self.command(self.across(transport.shard(), producer, command))? {
            Reply::Consumer(created) => Ok(created),
            other => panic!("no consumer: {other:?}"),
        }
    }

    /// Makes a consumer.
    ///
    /// # Panics
    /// If the shard refuses.
    pub fn consume(&mut self, transport: ObjectId, config: ConsumerConfig) -> ConsumerCreated {
        self.try_consume(transport, config).expect("consumes")
    }

    /// Lets a consumer follow another producer.
    ///
    /// # Errors
    /// What the shard says.
    pub fn switch(&mut self, consumer: ObjectId, config: ConsumerConfig) -> Result<Reply, CommandError> {
        let producer = config.producer;
        let command = Command::SwitchProducer { consumer, config: Box::new(config) };
        self.command(self.across(consumer.shard(), producer, command))
    }

    /// Lets an observer hear a producer.
    ///
    /// # Errors
    /// What the shard says.
    pub fn observe(&mut self, observer: ObjectId, producer: ObjectId) -> Result<Reply, CommandError> {
        let command = Command::Observe { observer, producer };
        self.command(self.across(observer.shard(), producer, command))
    }

    /// The state of an object, if it lives.
    pub fn dump(&mut self, object: ObjectId) -> Option<Dump> {
        match self.command(Command::Dump { object }) {
            Ok(Reply::Dump(dump)) => Some(*dump),
            _ => None,
        }
    }

    /// A packet of an application, by transport or producer; nothing is delivered yet.
    pub fn give(&mut self, target: ObjectId, packet: &[u8]) {
        let now = self.now;
        self.shards[usize::from(target.shard())].handle_media(now, target, packet);
    }

    /// The same, and delivers what comes of it.
    pub fn send(&mut self, target: ObjectId, packet: &[u8]) {
        self.give(target, packet);
        self.settle();
    }

    /// Lets nothing pass from one shard to another, or lets it pass again.
    pub fn block(&mut self, from: u8, to: u8, blocked: bool) {
        self.ways.entry((from, to)).or_default().blocked = blocked;
    }

    /// A shard ends and is made anew. What was on the way from it still arrives; what waits for it, the new one gets.
    pub fn restart(&mut self, index: u8) {
        self.lives[usize::from(index)] += 1;
        self.shards[usize::from(index)] = self.make(index, self.lives[usize::from(index)]);
        let now = self.now;
        for shard in self.shards.iter_mut().enumerate().filter(|(i, _)| *i != usize::from(index)) {
            shard.1.handle_peer_lost(now, index);
        }
    }

    /// How often a shard may be restarted.
    pub fn may_restart(&self, index: u8) -> bool {
        self.lives[usize::from(index)] + 1 < sfu_core::shard::MAX_LIVES
    }

    /// RTP that a consumer has sent since the last call.
    pub fn rtp(&mut self, consumer: ObjectId) -> Vec<Vec<u8>> {
        let (own, others) = std::mem::take(&mut self.media).into_iter().partition(|(source, _)| *source == consumer);
        self.media = others;
        let own: Vec<(ObjectId, Vec<u8>)> = own;
        own.into_iter().map(|(_, bytes)| bytes).collect()
    }

    /// Delivers until nothing is on the way but what is blocked; no time passes.
    ///
    /// # Panics
    /// If that does not end.
    pub fn settle(&mut self) {
        for _ in 0..MAX_ROUNDS {
            if !self.exchange() {
                return;
            }
        }
        panic!("the exchange does not end");
    }

    /// Lets time pass, with everything that is due in it.
    ///
    /// # Panics
    /// If time stands still.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut rounds = 0;
        loop {
            self.settle();
            let next = self.shards.iter().filter_map(Shard::next_timeout).min().filter(|t| *t <= end);
            let Some(next) = next else { break };
            rounds = if next > self.now { 0 } else { rounds + 1 };
            assert!(rounds < MAX_ROUNDS, "time stands still");
            self.now = self.now.max(next);
            let now = self.now;
            self.shards.iter_mut().for_each(|shard| shard.handle_timeout(now));
        }
        self.now = end;
        self.settle();
    }

    fn exchange(&mut self) -> bool {
        let mut moved = false;
        for shard in &mut self.shards {
            self.events.extend(std::iter::from_fn(|| shard.poll_event()));
            moved |= shard.has_media();
            self.media.extend(shard.media().map(|packet| (packet.source, packet.bytes.to_vec())));
            shard.clear_media();
        }
        let all: Vec<u8> = (0..self.shards.len()).map(|i| i as u8).collect();
        for (from, to) in all.iter().flat_map(|from| all.iter().map(move |to| (*from, *to))) {
            let way = self.ways.entry((from, to)).or_default();
            while way.slots.len() < self.capacity
                && let Some(out) = self.shards[usize::from(from)].poll_peer(to)
            {
                assert_ne!(from, to, "a shard writes to itself: {:?}", out.message);
                let bytes = out.packet.map(|packet| packet.to_vec()).unwrap_or_default();
                way.slots.push_back((out.message, bytes));
            }
            if way.blocked {
                continue;
            }
            for (message, bytes) in std::mem::take(&mut way.slots) {
                moved = true;
                match message {
                    PeerMessage::Packet { .. } => self.crossed += 1,
                    _ => self.messages.push(message.clone()),
                }
                self.shards[usize::from(to)].handle_peer(self.now, from, &message, &bytes);
            }
        }
        moved
    }

    /// What shards believe of each other is true, once everything has arrived.
    ///
    /// # Panics
    /// If it is not.
    pub fn check_span(&self) {
        let views: Vec<SpanView> = self.shards.iter().map(Shard::span_view).collect();
        let all = |of: fn(&SpanView) -> Vec<(ObjectId, ObjectId, u32)>| -> BTreeSet<_> {
            views.iter().flat_map(of).collect()
        };
        assert_eq!(all(|v| v.mirrors.clone()), all(|v| v.links.clone()), "mirrors and links");
        let pairs =
            |of: fn(&SpanView) -> Vec<(ObjectId, ObjectId)>| -> BTreeSet<_> { views.iter().flat_map(of).collect() };
        assert_eq!(pairs(|v| v.branches.clone()), pairs(|v| v.attached.clone()), "branches and homes");
    }

    /// No shard has anything of another any more.
    ///
    /// # Panics
    /// If one has.
    pub fn check_empty(&self) {
        for shard in &self.shards {
            assert_eq!(shard.span_view(), SpanView::default());
            assert_eq!(shard.object_counts(), [0; 4]);
            assert!(!shard.has_peer_output());
        }
    }
}

fn created(reply: Result<Reply, CommandError>) -> ObjectId {
    match reply {
        Ok(Reply::Created(id)) => id,
        other => panic!("expected an id, got {other:?}"),
    }
}
