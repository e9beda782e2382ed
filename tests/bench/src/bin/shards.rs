//! What a second shard brings on one port, and what many transports cost.
//!
//! `cargo run --release -p sfu-bench --bin shards`: engines of one and of two shards forward as much as they can, in turns,
//! from rooms of 50 viewers (`rooms`), and from one room of 500, which the two shards share (`large`); and ten thousand
//! transports stand on one port, connected and silent (`many`, and a number for another number of them).
//!
//! Shards run on cores 0 and 1; who loads them takes a few percent of those. So the wall clock tells what this machine
//! did, and the shards' CPU time what they can: a shard forwards in a second of its own CPU what it would forward in a
//! second on a core of its own. A room that shards share goes on as fast as the busiest of them.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use sfu_bench::call;
use sfu_bench::clock::Clock;
use sfu_bench::sys;
use sfu_core::command::{Command, Listen, Reply, WebRtcTransportCreated, WebRtcTransportOptions};
use sfu_core::testing::{Peer, PeerOptions};
use sfu_proto::crypto::Certificate;
use sfu_proto::srtp::SrtpProfile;
use sfu_runtime::{ListenInfo, Output, Runtime, RuntimeOptions, ShardLoad, ShardPlacement, ShardRequest};
use sfu_wire::id::ObjectId;

const ROOMS_PER_SHARD: usize = 2;
const VIEWERS: usize = 50;
/// Packets of a publisher that may be on their way through a shard.
const WINDOW: u64 = 128;
/// Nothing has come out for so long: it is lost.
const STALLED: Duration = Duration::from_millis(100);
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(1_000);
/// Viewers of the one large room.
const CROWD: usize = 500;
/// Packets of its publisher that may be on their way: one that is being forwarded, and the next. With more, a turn would
/// bring several packets for the same viewers, and runs of them are cheaper: how long runs are is not what is compared.
const CROWD_WINDOW: u64 = 2;
/// Bytes that a viewer of it has room for: nobody reads, and what has come is to be thrown away cheaply.
const CROWD_BUFFER: i32 = 4_096;
/// Handshakes are over by then, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(300);
const AT_ONCE: usize = 64;
const MANY: usize = 10_000;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| words.is_empty() || words.iter().any(|w| w == word);
    sys::raise_file_limit();
    if has("rooms") {
        rooms();
    }
    if has("large") {
        large();
    }
    if has("many") {
        many(words.iter().find_map(|word| word.parse().ok()).unwrap_or(MANY));
    }
}

/// An engine, with a server and as many routers as wanted on each shard.
struct House {
    runtime: Runtime,
    token: u64,
    servers: Vec<ObjectId>,
    clock: Clock,
}

/// A peer that has joined.
struct Client {
    peer: Peer,
    socket: UdpSocket,
    transport: ObjectId,
}

impl House {
    fn new(shards: usize) -> Self {
        let mut options = RuntimeOptions::new(Certificate::generate().expect("a certificate"));
        options.shards = (0..shards).map(|cpu| ShardPlacement { cpu: Some(cpu) }).collect();
        options.srtp_profiles = vec![SrtpProfile::AeadAes128Gcm];
        let runtime = Runtime::start(options).expect("starts");
        let mut this = Self { runtime, token: 0, servers: Vec::new(), clock: Clock::new() };
        for shard in 0..shards as u8 {
            let shared = (shards > 1).then_some(1);
            let info = ListenInfo { shared, ..ListenInfo::udp(Ipv4Addr::LOCALHOST.into()) };
            let server = this.command(shard, Command::CreateWebRtcServer, vec![info]);
            this.servers.push(created(&server));
        }
        this
    }

    fn command(&mut self, shard: u8, command: Command, listen: Vec<ListenInfo>) -> Reply {
        self.token += 1;
        let token = self.token;
        self.runtime.submit(shard, ShardRequest { token, listen, command }).expect("accepted");
        let mut outputs = Vec::new();
        loop {
            self.runtime.wait(Some(Duration::from_secs(5)));
            self.runtime.poll(64, &mut outputs);
            for output in outputs.drain(..) {
                match output {
                    Output::Reply { token: t, result } if t == token => return result.expect("it can be done"),
                    Output::ShardFailed { text, .. } => panic!("{text}"),
                    _ => {}
                }
            }
        }
    }

    fn router(&mut self, shard: u8) -> ObjectId {
        created(&self.command(shard, Command::CreateRouter, Vec::new()))
    }

    /// A client that has been signalled, on the shard of its router.
    fn client(&mut self, router: ObjectId, seed: u64) -> Client {
        self.client_on(router.shard(), router, seed)
    }

    /// A client on any shard.
    fn client_on(&mut self, shard: u8, router: ObjectId, seed: u64) -> Client {
        let options = WebRtcTransportOptions {
            listen: Listen::Server(self.servers[usize::from(shard)]),
            ice_consent_timeout: None,
            ..WebRtcTransportOptions::default()
        };
        let mut create = Command::CreateWebRtcTransport { router, options };
        if shard != router.shard() {
            create = Command::InBranch { home: router, command: Box::new(create) };
        }
        let reply = self.command(shard, create, Vec::new());
        let Reply::WebRtcTransport(WebRtcTransportCreated { id, ice, candidates, fingerprints }) = reply else {
            panic!("no transport: {reply:?}")
        };
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        socket.set_nonblocking(true).expect("a socket");
        let mut peer = Peer::new(seed, socket.local_addr().expect("bound"), PeerOptions::default());
        let dtls = peer.dtls_parameters();
        self.command(shard, Command::ConnectWebRtcTransport { transport: id, dtls }, Vec::new());
        let to = SocketAddr::new(candidates[0].address.parse().expect("an address"), candidates[0].port);
        socket.connect(to).expect("it is local");
        peer.start(self.clock.time(), to, ice, fingerprints);
        Client { peer, socket, transport: id }
    }

    /// Lets a client consume a producer, which may be on another shard.
    fn consume(&mut self, client: &Client, producer: ObjectId) {
        let (shard, transport) = (client.transport.shard(), client.transport);
        let mut consume = Command::Consume { transport, config: Box::new(call::consumer_config(producer, 0)) };
        if shard != producer.shard() {
            let source = Box::new(call::producer_config(0));
            consume = Command::Across { producer, source, command: Box::new(consume) };
        }
        self.command(shard, consume, Vec::new());
    }

    /// Packets that have gone from shard to shard so far.
    fn crossed(&mut self) -> u64 {
        let shards = self.loads().len() as u8;
        let sent = (0..shards).map(|shard| match self.command(shard, Command::ShardStats, Vec::new()) {
            Reply::Stats(stats) => {
                stats.counters.iter().find(|(name, _)| *name == "peer_packets_sent").map_or(0, |c| c.1)
            }
            other => panic!("no statistics: {other:?}"),
        });
        sent.sum()
    }

    /// Brings handshakes to their end.
    fn connect(&self, clients: &mut [Client]) {
        let deadline = self.clock.now() + PATIENCE;
        while clients.iter().any(|client| !client.peer.is_connected()) {
            assert!(self.clock.now() < deadline, "clients do not connect");
            for client in clients.iter_mut() {
                client.turn(self.clock);
            }
        }
        for client in clients {
            client.peer.stop_checks();
            client.turn(self.clock);
        }
    }

    /// Lets the shards work, or rest.
    fn pass(&self, span: Duration) {
        let end = self.clock.now() + span;
        while let Some(left) = end.checked_sub(self.clock.now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
    }

    fn loads(&self) -> Vec<ShardLoad> {
        self.runtime.loads()
    }
}

impl Client {
    fn turn(&mut self, clock: Clock) {
        self.peer.handle_timeout(clock.time());
        let mut buf = [0; 2_048];
        while let Ok(len) = self.socket.recv(&mut buf) {
            self.peer.handle_datagram(clock.time(), &mut buf[..len]);
        }
        while let Some(datagram) = self.peer.poll_transmit() {
            // What is lost here is sent again by the peer's timers.
            drop(self.socket.send(&datagram));
        }
    }
}

fn created(reply: &Reply) -> ObjectId {
    let Reply::Created(id) = reply else { panic!("{reply:?}") };
    *id
}

/// A publisher whose room is full.
struct Publisher {
    client: Client,
    shard: usize,
    sent: u64,
}

/// An engine with full rooms.
struct Subject {
    house: House,
    publishers: Vec<Publisher>,
    _viewers: Vec<Client>,
}

/// What a round came to.
#[derive(Clone, Copy, Default)]
struct Figures {
    /// Datagrams sent each second, all shards together.
    rate: f64,
    /// CPU nanoseconds for each.
    ns_out: f64,
    /// Datagrams sent in each second of a shard's own CPU time, as a mean over shards.
    per_cpu: f64,
    /// Datagrams that all shards would send in a second on cores of their own, until the busiest has no time left.
    capacity: f64,
    /// Share of their cores that the shards used, percent.
    used: f64,
    /// Share of datagrams that arrived at another shard than their own, percent.
    foreign: f64,
    /// Packets that went from shard to shard for each that came.
    crossed: f64,
}

impl Figures {
    fn new(before: &[ShardLoad], after: &[ShardLoad], elapsed: Duration) -> Self {
        let sum = |of: fn(&ShardLoad) -> u64| -> f64 {
            after.iter().zip(before).map(|(after, before)| of(after) - of(before)).sum::<u64>() as f64
        };
        let out = sum(|load| load.datagrams_out).max(1.0);
        let cpu = sum(|load| load.cpu.as_nanos() as u64).max(1.0);
        let used = after.iter().zip(before).map(|(after, before)| after.cpu.saturating_sub(before.cpu));
        let busiest = used.max().unwrap_or_default().as_secs_f64();
        Self {
            rate: out / elapsed.as_secs_f64(),
            ns_out: cpu / out,
            per_cpu: out / cpu * 1e9,
            capacity: out / busiest.max(f64::EPSILON),
            used: cpu / elapsed.as_nanos() as f64 / after.len() as f64 * 100.0,
            foreign: sum(|load| load.handed_over) / sum(|load| load.datagrams_in).max(1.0) * 100.0,
            crossed: 0.0,
        }
    }
}

impl Subject {
    fn new(shards: usize) -> Self {
        let mut house = House::new(shards);
        let (mut publishers, mut viewers) = (Vec::new(), Vec::new());
        for room in 0..shards * ROOMS_PER_SHARD {
            let shard = room % shards;
            let router = house.router(shard as u8);
            let mut client = house.client(router, room as u64 + 1);
            let config = Box::new(call::producer_config(0));
            let produce = Command::Produce { transport: client.transport, config };
            let producer = created(&house.command(shard as u8, produce, Vec::new()));
            house.connect(std::slice::from_mut(&mut client));
            let mut watching: Vec<Client> = (0..VIEWERS)
                .map(|n| {
                    let viewer = house.client(router, (room * VIEWERS + n + 1_000) as u64);
                    house.consume(&viewer, producer);
                    viewer
                })
                .collect();
            house.connect(&mut watching);
            publishers.push(Publisher { client, shard, sent: 0 });
            viewers.extend(watching);
        }
        Self { house, publishers, _viewers: viewers }
    }

    /// Forwards as much as it can.
    fn round(&mut self) -> Figures {
        let (before, began) = (self.house.loads(), self.house.clock.now());
        let sent: Vec<u64> = self.publishers.iter().map(|publisher| publisher.sent).collect();
        while self.house.clock.now() - began < ROUND {
            let loads = self.house.loads();
            let now = self.house.clock.now().as_nanos() as u64;
            for shard in 0..loads.len() {
                // What the shard's rooms have been given, less what has come out of them.
                let of_shard = |publisher: &&mut Publisher| publisher.shard == shard;
                let given: u64 =
                    self.publishers.iter().zip(&sent).filter(|(p, _)| p.shard == shard).map(|(p, s)| p.sent - s).sum();
                let out = (loads[shard].datagrams_out - before[shard].datagrams_out) / VIEWERS as u64;
                let room = (WINDOW * ROOMS_PER_SHARD as u64).saturating_sub(given.saturating_sub(out));
                for publisher in self.publishers.iter_mut().filter(of_shard) {
                    for _ in 0..room / ROOMS_PER_SHARD as u64 {
                        publisher.sent += 1;
                        publisher.client.peer.send_rtp(&call::packet(0, publisher.sent, 1_100, now));
                        let packet = publisher.client.peer.poll_transmit().expect("a packet");
                        drop(publisher.client.socket.send(&packet));
                    }
                }
            }
            self.house.pass(Duration::from_micros(500));
        }
        Figures::new(&before, &self.house.loads(), self.house.clock.now() - began)
    }
}

/// An engine with one room, whose viewers are spread evenly over its shards.
struct Crowd {
    house: House,
    publisher: Client,
    sent: u64,
    _sockets: Vec<UdpSocket>,
}

impl Crowd {
    fn new(shards: usize) -> Self {
        let mut house = House::new(shards);
        let router = house.router(0);
        let mut publisher = house.client(router, 1);
        let produce = Command::Produce { transport: publisher.transport, config: Box::new(call::producer_config(0)) };
        let producer = created(&house.command(0, produce, Vec::new()));
        house.connect(std::slice::from_mut(&mut publisher));
        let mut sockets: Vec<UdpSocket> = Vec::new();
        while sockets.len() < CROWD {
            let first = sockets.len();
            let mut clients: Vec<Client> = (first..(first + AT_ONCE).min(CROWD))
                .map(|n| {
                    let viewer = house.client_on((n % shards) as u8, router, n as u64 + 1_000);
                    house.consume(&viewer, producer);
                    viewer
                })
                .collect();
            house.connect(&mut clients);
            for client in clients {
                sys::set_buffers(client.socket.as_fd(), CROWD_BUFFER);
                sockets.push(client.socket);
            }
        }
        Self { house, publisher, sent: 0, _sockets: sockets }
    }

    /// Forwards as much as it can.
    fn round(&mut self) -> Figures {
        let (crossed, first) = (self.house.crossed(), self.sent);
        let (before, began) = (self.house.loads(), self.house.clock.now());
        let each = (CROWD / before.len()) as u64;
        let (mut behind, mut moved, mut lost) = (0, began, 0);
        while self.house.clock.now() - began < ROUND {
            let now = self.house.clock.now();
            // As far as the shard that is behind the others.
            let loads = self.house.loads();
            let done = loads.iter().zip(&before).map(|(l, b)| (l.datagrams_out - b.datagrams_out) / each).min();
            let done = done.unwrap_or_default();
            let mut under_way = (self.sent - first).saturating_sub(done + lost);
            if done > behind {
                (behind, moved) = (done, now);
            } else if now - moved > STALLED {
                lost += std::mem::take(&mut under_way);
                moved = now;
            }
            for _ in under_way..CROWD_WINDOW {
                self.sent += 1;
                self.publisher.peer.send_rtp(&call::packet(0, self.sent, 1_100, now.as_nanos() as u64));
                let packet = self.publisher.peer.poll_transmit().expect("a packet");
                drop(self.publisher.socket.send(&packet));
            }
            self.house.pass(Duration::from_micros(100));
        }
        let (after, elapsed) = (self.house.loads(), self.house.clock.now() - began);
        let crossed = self.house.crossed() - crossed;
        let given = (self.sent - first).max(1);
        Figures { crossed: crossed as f64 / given as f64, ..Figures::new(&before, &after, elapsed) }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Lets both subjects do rounds in turns. The first one of each warms, and counts for nothing.
fn in_turns<S>(subjects: &mut [S; 2], round: fn(&mut S) -> Figures) -> [Vec<Figures>; 2] {
    let mut rounds: [Vec<Figures>; 2] = Default::default();
    for n in 0..=ROUNDS {
        for (subject, figures) in subjects.iter_mut().zip(&mut rounds) {
            let figure = round(subject);
            if n > 0 {
                figures.push(figure);
            }
        }
    }
    rounds
}

/// Prints medians, and how two shards compare with one.
fn tell(rounds: &[Vec<Figures>; 2]) {
    let of = |shards: usize, of: fn(&Figures) -> f64| median(rounds[shards].iter().map(of).collect());
    println!("shards  packets/s out  ns/out  per shard CPU second  capacity/s  cores used  arrived elsewhere  crossed");
    for (index, name) in ["1", "2"].into_iter().enumerate() {
        let (rate, ns, per_cpu, capacity) =
            (of(index, |f| f.rate), of(index, |f| f.ns_out), of(index, |f| f.per_cpu), of(index, |f| f.capacity));
        let (used, foreign, crossed) = (of(index, |f| f.used), of(index, |f| f.foreign), of(index, |f| f.crossed));
        println!(
            "{name:>6}  {rate:>13.0}  {ns:>6.0}  {per_cpu:>20.0}  {capacity:>10.0}  {used:>8.0} %  {foreign:>15.3} %  {crossed:>7.2}"
        );
    }
    let ratio = |figure: fn(&Figures) -> f64| of(1, figure) / of(0, figure);
    let (cost, rate) = (ratio(|f| f.ns_out), ratio(|f| f.rate));
    let (mean, capacity) = (2.0 * ratio(|f| f.per_cpu), ratio(|f| f.capacity));
    println!("a packet costs two shards {cost:.2} times as much CPU as one");
    println!(
        "two shards forward {mean:.2} times what one does in a second of CPU of each, {capacity:.2} until the busier one is full"
    );
    println!("by the wall clock, on cores that they share with the load, {rate:.2} times\n");
}

fn rooms() {
    let mut subjects = [Subject::new(1), Subject::new(2)];
    println!(
        "rooms of {VIEWERS} viewers, {ROOMS_PER_SHARD} on each shard, 1100 bytes, as fast as they can be forwarded"
    );
    tell(&in_turns(&mut subjects, Subject::round));
}

fn large() {
    let mut subjects = [Crowd::new(1), Crowd::new(2)];
    println!("one room of {CROWD} viewers, on one shard and on two, 1100 bytes, as fast as they can be forwarded");
    tell(&in_turns(&mut subjects, Crowd::round));
}

fn many(wanted: usize) {
    let mut house = House::new(2);
    let routers: Vec<ObjectId> = (0..2).map(|shard| house.router(shard)).collect();
    sys::trim_heap();
    let before = sys::resident_bytes();
    let began = house.clock.now();
    let mut sockets: Vec<UdpSocket> = Vec::new();
    while sockets.len() < wanted {
        let count = AT_ONCE.min(wanted - sockets.len());
        let seed = sockets.len() as u64;
        let mut clients: Vec<Client> = (0..count).map(|n| house.client(routers[n % 2], seed + n as u64 + 1)).collect();
        house.connect(&mut clients);
        // Only the engine's side stays.
        sockets.extend(clients.into_iter().map(|client| client.socket));
    }
    let joined = house.clock.now() - began;
    sys::trim_heap();
    let each = sys::resident_bytes().saturating_sub(before) as f64 / wanted as f64 / 1024.0;
    let settle = Duration::from_secs(2);
    house.pass(settle);
    let (quiet, since) = (house.loads(), house.clock.now());
    house.pass(Duration::from_secs(10));
    let elapsed = (house.clock.now() - since).as_secs_f64();
    let idle: Vec<f64> = house
        .loads()
        .iter()
        .zip(&quiet)
        .map(|(after, before)| (after.cpu.saturating_sub(before.cpu)).as_secs_f64() / elapsed * 100.0)
        .collect();
    let before = house.loads();
    for _ in 0..5 {
        for socket in &sockets {
            // It is refused by its tag, after it has come to whom it is for.
            drop(socket.send(&[0x80; 100]));
        }
    }
    // Full buffers lose some; what has come by then is what there is.
    let deadline = house.clock.now() + Duration::from_secs(5);
    let mut after = house.loads();
    let arrived = |after: &[ShardLoad]| -> u64 {
        after.iter().zip(&before).map(|(after, before)| after.datagrams_in - before.datagrams_in).sum()
    };
    while arrived(&after) < 5 * sockets.len() as u64 && house.clock.now() < deadline {
        house.pass(Duration::from_millis(10));
        after = house.loads();
    }
    let sum = |of: fn(&ShardLoad) -> u64| -> u64 { after.iter().zip(&before).map(|(a, b)| of(a) - of(b)).sum() };
    let (foreign, all) = (sum(|load| load.handed_over), sum(|load| load.datagrams_in));
    println!("{wanted} connected transports on one port of two shards, joined in {:.1} s", joined.as_secs_f64());
    println!("memory: {each:.1} KiB for each (without the kernel's sockets, of which there are two)");
    println!("idle: {:.2} % and {:.2} % of a core", idle[0], idle[1]);
    println!("of {all} packets, one after the other from each, {foreign} arrived elsewhere");
}
