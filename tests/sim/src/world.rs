//! The world: who exists, what is in flight, what time it is.
//!
//! Told: a script (calls between steps). Tells: received media, events, a trace hash. Limits: a step budget per
//! instant, so that a loop that takes no time is found instead of running for ever.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use sfu_core::command::{
    BoundSocket, Command, CommandError, ConsumerCreated, Event, PipeRemote, PipeTransportCreated, PipeTransportOptions,
    Reply, SrtpParameters, WebRtcTransportCreated, WebRtcTransportOptions,
};
use sfu_core::config::{ConsumerConfig, ProducerConfig};
use sfu_core::limits::Limits;
use sfu_core::shard::{Shard, ShardConfig};
use sfu_core::testing::{Peer, PeerOptions, Received};
use sfu_proto::crypto::Certificate;
use sfu_proto::srtp::SrtpProfile;
use sfu_wire::id::ObjectId;
use sfu_wire::net::{Protocol, SocketId};
use sfu_wire::time::Time;

use crate::net::{Link, LinkConfig};

/// Steps that may happen without time going on before the world calls it a livelock.
const STEPS_PER_INSTANT: u32 = 100_000;

/// Unix time of the world's zero, nanoseconds.
pub const EPOCH: u64 = 1_700_000_000_000_000_000;

/// Where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum To {
    /// To the shard's socket, from an address.
    Shard(SocketId, SocketAddr),
    /// To the peer with this index.
    Peer(usize),
}

/// A datagram under way. Ordered by arrival, then by when it was sent.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    at: Time,
    number: u64,
    to: To,
    bytes: Vec<u8>,
}

/// A peer with its two directions and its transport.
pub struct Member {
    /// The peer.
    pub peer: Peer,
    /// From the peer to the shard.
    pub up: Link,
    /// From the shard to the peer.
    pub down: Link,
    /// Its transport on the shard.
    pub transport: ObjectId,
    /// What arrived and was not yet taken, with its time.
    pub received: Vec<(Time, Received)>,
    socket: SocketId,
}

/// One end of a pipe between two routers.
pub struct PipeEnd {
    /// The transport.
    pub transport: ObjectId,
    /// What the shard said about it.
    pub created: PipeTransportCreated,
    /// From the other end to this one.
    pub link: Link,
    socket: SocketId,
}

/// A shard, its peers and the network between them.
pub struct World {
    /// The shard under test.
    pub shard: Shard,
    /// The peers.
    pub members: Vec<Member>,
    /// Ends of pipes.
    pub pipes: Vec<PipeEnd>,
    /// Events that the shard told and nobody took yet.
    pub events: Vec<(Time, Event)>,
    /// Copies of all datagrams that the shard sends to members, by member, while this is there.
    pub tap: Option<Vec<(usize, Vec<u8>)>>,
    now: Time,
    seed: u64,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    sent: u64,
    sockets: u32,
    steps: u32,
    trace: DefaultHasher,
}

impl World {
    /// An empty world.
    ///
    /// # Panics
    /// If a certificate cannot be made.
    pub fn new(seed: u64) -> Self {
        Self::with_profiles(seed, SrtpProfile::ALL.to_vec())
    }

    /// An empty world whose shard offers these SRTP profiles.
    ///
    /// # Panics
    /// If a certificate cannot be made.
    pub fn with_profiles(seed: u64, srtp_profiles: Vec<SrtpProfile>) -> Self {
        let mut shard_seed = [0; 32];
        shard_seed[..8].copy_from_slice(&seed.to_le_bytes());
        let shard = Shard::new(ShardConfig {
            index: 0,
            life: 0,
            seed: shard_seed,
            epoch_unix_nanos: EPOCH,
            certificate: Certificate::generate().expect("a certificate"),
            srtp_profiles,
            limits: Limits::default(),
        })
        .expect("a shard");
        Self {
            shard,
            members: Vec::new(),
            pipes: Vec::new(),
            events: Vec::new(),
            tap: None,
            now: Time::from_micros(1_000_000),
            seed,
            in_flight: BinaryHeap::new(),
            sent: 0,
            sockets: 0,
            steps: 0,
            trace: DefaultHasher::new(),
        }
    }

    /// The time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// A number that is the same for the same history: decrypted media, events, times.
    pub fn trace_hash(&self) -> u64 {
        self.trace.finish()
    }

    /// Gives the shard a command.
    ///
    /// # Errors
    /// What the shard says.
    pub fn command(&mut self, command: Command) -> Result<Reply, CommandError> {
        let reply = self.shard.handle_command(self.now, &[], command);
        self.drain_shard();
        reply
    }

    /// Makes a router.
    ///
    /// # Panics
    /// If the shard refuses.
    pub fn router(&mut self) -> ObjectId {
        match self.command(Command::CreateRouter) {
            Ok(Reply::Created(id)) => id,
            other => panic!("no router: {other:?}"),
        }
    }

    /// Makes a peer with a transport of its own in `router` and starts its checks; returns its index.
    ///
    /// # Panics
    /// If the shard refuses.
    pub fn join(&mut self, router: ObjectId, link: LinkConfig, options: PeerOptions) -> usize {
        let index = self.members.len();
        let addr = peer_addr(index);
        let socket = SocketId(self.sockets);
        self.sockets += 1;
        let local = shard_addr(socket);
        let bound = BoundSocket { socket, protocol: Protocol::Udp, local, announced: None, expose_internal_ip: false };
        let create = Command::CreateWebRtcTransport { router, options: WebRtcTransportOptions::default() };
        let created = match self.shard.handle_command(self.now, &[bound], create) {
            Ok(Reply::WebRtcTransport(created)) => created,
            other => panic!("no transport: {other:?}"),
        };
        let peer = Peer::new(self.seed ^ (index as u64 + 1), addr, options);
        let connect = Command::ConnectWebRtcTransport { transport: created.id, dtls: peer.dtls_parameters() };
        self.command(connect).expect("connects");
        self.admit(peer, socket, local, &created, link);
        index
    }

    /// Makes an end of a pipe in `router`; returns its index.
    ///
    /// # Panics
    /// If the shard refuses.
    pub fn pipe_end(&mut self, router: ObjectId, link: LinkConfig, options: PipeTransportOptions) -> usize {
        let socket = SocketId(self.sockets);
        self.sockets += 1;
        let local = shard_addr(socket);
        let bound = BoundSocket { socket, protocol: Protocol::Udp, local, announced: None, expose_internal_ip: false };
        let create = Command::CreatePipeTransport { router, options };
        let created = match self.shard.handle_command(self.now, &[bound], create) {
            Ok(Reply::PipeTransport(created)) => created,
            other => panic!("no pipe: {other:?}"),
        };
        let link = Link::new(link, self.seed.wrapping_mul(37).wrapping_add(self.pipes.len() as u64));
        self.pipes.push(PipeEnd { transport: created.id, created, link, socket });
        self.pipes.len() - 1
    }

    /// Tells an end of a pipe where the other one is, and its key.
    ///
    /// # Panics
    /// If the shard refuses.
    pub fn connect_pipe(&mut self, end: usize, other: usize, srtp: Option<SrtpParameters>) {
        let to = self.pipes[other].created.local.1;
        let remote = Box::new(PipeRemote { ip: to.ip(), port: to.port(), srtp });
        let transport = self.pipes[end].transport;
        self.command(Command::ConnectPipeTransport { transport, remote }).expect("connects");
    }

    /// Joins two routers by a pipe; returns its ends.
    ///
    /// # Panics
    /// If the shard refuses.
    pub fn join_routers(
        &mut self,
        routers: [ObjectId; 2],
        link: LinkConfig,
        options: PipeTransportOptions,
    ) -> [usize; 2] {
        let ends = routers.map(|router| self.pipe_end(router, link, options));
        for (end, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            let srtp = self.pipes[other].created.srtp.clone();
            self.connect_pipe(end, other, srtp);
        }
        ends
    }

    fn admit(
        &mut self,
        mut peer: Peer,
        socket: SocketId,
        local: SocketAddr,
        created: &WebRtcTransportCreated,
        link: LinkConfig,
    ) {
        peer.start(self.now, local, created.ice.clone(), created.fingerprints.clone());
        let luck = self.seed.wrapping_mul(31).wrapping_add(self.members.len() as u64 * 2);
        self.members.push(Member {
            peer,
            up: Link::new(link, luck),
            down: Link::new(link, luck + 1),
            transport: created.id,
            received: Vec::new(),
            socket,
        });
    }

    /// Makes a producer on a member's transport.
    ///
    /// # Panics
    /// If the shard refuses.
    pub fn produce(&mut self, member: usize, config: ProducerConfig) -> ObjectId {
        let transport = self.members[member].transport;
        match self.command(Command::Produce { transport, config: Box::new(config) }) {
            Ok(Reply::Created(id)) => id,
            other => panic!("no producer: {other:?}"),
        }
    }

    /// Makes a consumer on a member's transport.
    ///
    /// # Panics
    /// If the shard refuses.
    pub fn consume(&mut self, member: usize, config: ConsumerConfig) -> ConsumerCreated {
        let transport = self.members[member].transport;
        match self.command(Command::Consume { transport, config: Box::new(config) }) {
            Ok(Reply::Consumer(created)) => created,
            other => panic!("no consumer: {other:?}"),
        }
    }

    /// Runs until every member is connected.
    ///
    /// # Panics
    /// If that takes longer than `limit`.
    pub fn connect_all(&mut self, limit: Duration) {
        let deadline = self.now + limit;
        while !self.members.iter().all(|m| m.peer.is_connected()) {
            assert!(self.now < deadline, "seed {}: not connected within {limit:?}", self.seed);
            self.run_for(Duration::from_millis(10));
        }
    }

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.drain_all();
        while let Some(next) = self.next_event().filter(|at| *at <= end) {
            self.advance(next);
            self.deliver_due();
            self.fire_timeouts();
            self.drain_all();
        }
        self.advance(end);
    }

    /// Sends what a peer has queued, and what the shard has to say to it, without time passing.
    pub fn flush(&mut self) {
        self.drain_all();
    }

    /// A datagram from a stranger.
    pub fn inject(&mut self, member: usize, from: SocketAddr, mut bytes: Vec<u8>) {
        let socket = self.members[member].socket;
        self.shard.handle_datagram(self.now, self.now, socket, from, &mut bytes);
        self.drain_shard();
    }

    fn next_event(&self) -> Option<Time> {
        let flight = self.in_flight.peek().map(|Reverse(f)| f.at);
        let peers = self.members.iter().filter_map(|m| m.peer.next_timeout()).min();
        [flight, peers, self.shard.next_timeout()].into_iter().flatten().min()
    }

    fn advance(&mut self, to: Time) {
        if to > self.now {
            self.now = to;
            self.steps = 0;
        }
        self.steps += 1;
        assert!(self.steps < STEPS_PER_INSTANT, "seed {}: livelock at {:?}", self.seed, self.now);
    }

    fn deliver_due(&mut self) {
        while self.in_flight.peek().is_some_and(|Reverse(f)| f.at <= self.now) {
            let Some(Reverse(mut packet)) = self.in_flight.pop() else { break };
            match packet.to {
                To::Shard(socket, from) => {
                    self.shard.handle_datagram(self.now, self.now, socket, from, &mut packet.bytes);
                    self.drain_shard();
                }
                To::Peer(index) => self.deliver_to_peer(index, &mut packet.bytes),
            }
        }
    }

    fn deliver_to_peer(&mut self, index: usize, bytes: &mut [u8]) {
        let member = &mut self.members[index];
        member.peer.handle_datagram(self.now, bytes);
        while let Some(received) = member.peer.poll_received() {
            let (kind, plain) = match &received {
                Received::Rtp(plain) => (0u8, plain),
                Received::Rtcp(plain) => (1u8, plain),
            };
            (self.now.as_nanos(), index, kind, plain).hash(&mut self.trace);
            member.received.push((self.now, received));
        }
    }

    fn fire_timeouts(&mut self) {
        if self.shard.next_timeout().is_some_and(|at| at <= self.now) {
            self.shard.handle_timeout(self.now);
        }
        for member in &mut self.members {
            if member.peer.next_timeout().is_some_and(|at| at <= self.now) {
                member.peer.handle_timeout(self.now);
            }
        }
    }

    fn drain_all(&mut self) {
        self.drain_shard();
        for index in 0..self.members.len() {
            while let Some(bytes) = self.members[index].peer.poll_transmit() {
                let member = &mut self.members[index];
                let to = To::Shard(member.socket, member.peer.addr());
                let arrivals = member.up.send(self.now, bytes.len());
                self.launch(arrivals, to, &bytes);
            }
        }
    }

    fn drain_shard(&mut self) {
        let mut sent = Vec::new();
        let outbox = self.shard.outbox();
        for transmit in outbox.transmits() {
            sent.push((transmit.socket, transmit.to, outbox.bytes(transmit).to_vec()));
        }
        outbox.clear();
        for (from, to, bytes) in sent {
            if let Some(end) = self.pipes.iter_mut().find(|end| shard_addr(end.socket) == to) {
                let arrivals = end.link.send(self.now, bytes.len());
                let to = To::Shard(end.socket, shard_addr(from));
                self.launch(arrivals, to, &bytes);
                continue;
            }
            // A datagram to an address that nobody has is gone, as in life.
            if let Some(index) = self.members.iter().position(|m| m.peer.addr() == to) {
                if let Some(tap) = &mut self.tap {
                    tap.push((index, bytes.clone()));
                }
                let arrivals = self.members[index].down.send(self.now, bytes.len());
                self.launch(arrivals, To::Peer(index), &bytes);
            }
        }
        while let Some(event) = self.shard.poll_event() {
            (self.now.as_nanos(), format!("{event:?}")).hash(&mut self.trace);
            self.events.push((self.now, event));
        }
        while self.shard.poll_release().is_some() {}
    }

    fn launch(&mut self, arrivals: [Option<Time>; 2], to: To, bytes: &[u8]) {
        for at in arrivals.into_iter().flatten() {
            self.sent += 1;
            self.in_flight.push(Reverse(InFlight { at, number: self.sent, to, bytes: bytes.to_vec() }));
        }
    }
}

/// The address of the peer with this index (RFC 5737 documentation space).
pub fn peer_addr(index: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 10_000 + index as u16))
}

fn shard_addr(socket: SocketId) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 1], 20_000 + socket.0 as u16))
}
