//! What a second shard brings on one port, and what many transports cost.
//!
//! `cargo run --release -p sfu-bench --bin shards`: engines of one and of two shards forward as much as they can, in turns,
//! from rooms of 50 viewers (`rooms`); and ten thousand transports stand on one port, connected and silent (`many`, and a
//! number for another number of them). Figures are of the shards' CPU time where a busy machine would spoil others.
//! Shards run on cores 0 and 1; who loads them takes a few percent of those.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
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
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(1_000);
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

    /// A client that has been signalled.
    fn client(&mut self, router: ObjectId, seed: u64) -> Client {
        let shard = router.shard();
        let options = WebRtcTransportOptions {
            listen: Listen::Server(self.servers[usize::from(shard)]),
            ice_consent_timeout: None,
            ..WebRtcTransportOptions::default()
        };
        let reply = self.command(shard, Command::CreateWebRtcTransport { router, options }, Vec::new());
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
    /// Share of their cores that the shards used, percent.
    used: f64,
    /// Share of datagrams that arrived at another shard than their own, percent.
    foreign: f64,
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
                    let config = Box::new(call::consumer_config(producer, 0));
                    house.command(shard as u8, Command::Consume { transport: viewer.transport, config }, Vec::new());
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
        let (after, elapsed) = (self.house.loads(), self.house.clock.now() - began);
        let sum = |of: fn(&ShardLoad) -> u64| -> u64 {
            after.iter().zip(&before).map(|(after, before)| of(after) - of(before)).sum()
        };
        let out = sum(|load| load.datagrams_out) as f64;
        let cpu = sum(|load| load.cpu.as_nanos() as u64) as f64;
        let foreign = sum(|load| load.handed_over) as f64 / sum(|load| load.datagrams_in).max(1) as f64 * 100.0;
        Figures {
            rate: out / elapsed.as_secs_f64(),
            ns_out: cpu / out.max(1.0),
            used: cpu / elapsed.as_nanos() as f64 / after.len() as f64 * 100.0,
            foreign,
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn rooms() {
    let mut subjects = [Subject::new(1), Subject::new(2)];
    let mut rounds: [Vec<Figures>; 2] = Default::default();
    // The first round warms, and counts for nothing.
    for n in 0..=ROUNDS {
        for (subject, figures) in subjects.iter_mut().zip(&mut rounds) {
            let figure = subject.round();
            if n > 0 {
                figures.push(figure);
            }
        }
    }
    println!(
        "rooms of {VIEWERS} viewers, {ROOMS_PER_SHARD} on each shard, 1100 bytes, as fast as they can be forwarded"
    );
    println!("shards  packets/s out  ns/out  cores used  arrived elsewhere");
    let of = |shards: usize, of: fn(&Figures) -> f64| median(rounds[shards].iter().map(of).collect());
    for (index, name) in ["1", "2"].into_iter().enumerate() {
        let (rate, ns, foreign) = (of(index, |f| f.rate), of(index, |f| f.ns_out), of(index, |f| f.foreign));
        let used = of(index, |f| f.used);
        println!("{name:>6}  {rate:>13.0}  {ns:>6.0}  {used:>8.0} %  {foreign:>15.3} %");
    }
    let rate = of(1, |f| f.rate) / of(0, |f| f.rate);
    let cost = of(1, |f| f.ns_out) / of(0, |f| f.ns_out);
    println!("two shards forward {rate:.2} times what one does; a packet costs {cost:.2} times as much");
    println!("with whole cores to themselves that would be {:.2} times\n", 2.0 / cost);
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
