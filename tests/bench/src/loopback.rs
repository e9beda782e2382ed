//! End to end over loopback: a real runtime with one shard, a publisher and N subscribers on real sockets.
//!
//! The generator is an open loop with an absolute schedule. What is reported is CPU time of the shard's thread for
//! each packet that it sent, so that a busy machine changes the figure little.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use sfu_core::command::{Command, CommandError, Listen, Reply, WebRtcTransportOptions};
use sfu_core::testing::{Peer, PeerOptions, Received};
use sfu_proto::crypto::Certificate;
use sfu_proto::srtp::SrtpProfile;
use sfu_runtime::{IoBackend, ListenInfo, Output, Runtime, RuntimeOptions, ShardLoad, ShardPlacement, ShardRequest};
use sfu_wire::id::ObjectId;
use sfu_wire::time::Time;

use crate::call;

/// Latencies kept at most; a run beyond it samples what fits.
const MAX_LATENCIES: usize = 1 << 20;
/// Packets before the measurement begins.
const WARM_UP: u64 = 500;

/// One case.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Subscribers.
    pub consumers: usize,
    /// Packets that the publisher sends at each tick.
    pub burst: usize,
    /// Packets that the publisher sends each second.
    pub rate: usize,
    /// Bytes of a plaintext RTP packet.
    pub size: usize,
    /// How long.
    pub duration: Duration,
    /// Which back end the shard uses.
    pub io: IoBackend,
}

/// What a case came to.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// CPU nanoseconds of the shard's thread for each datagram that it sent.
    pub cpu_ns_per_sent: f64,
    /// Datagrams in each message handed to the kernel.
    pub datagrams_per_message: f64,
    /// Share of the shard's core that was used, percent.
    pub utilisation: f64,
    /// Packets that did not reach their subscriber, percent.
    pub loss: f64,
    /// Forwarding delay, median.
    pub p50: Duration,
    /// Forwarding delay, 99th percentile.
    pub p99: Duration,
}

/// A peer with its socket.
struct Client {
    peer: Peer,
    socket: UdpSocket,
    transport: ObjectId,
}

/// The runtime under test and everybody around it.
struct Rig {
    runtime: Runtime,
    epoch: Instant,
    token: u64,
    clients: Vec<Client>,
}

/// Runs one case.
///
/// # Panics
/// If the engine refuses something that it must not refuse.
pub fn run(case: Case) -> Figures {
    let mut rig = Rig::start(case.io);
    let (router, server) = rig.room();
    let publisher = rig.join(router, server);
    let transport = rig.clients_transport(publisher);
    let config = Box::new(call::producer_config());
    let Ok(Reply::Created(producer)) = rig.command(Command::Produce { transport, config }, Vec::new()) else {
        panic!("no producer");
    };
    for _ in 0..case.consumers {
        let client = rig.join(router, server);
        let transport = rig.clients_transport(client);
        let config = Box::new(call::consumer_config(producer));
        rig.command(Command::Consume { transport, config }, Vec::new()).expect("a consumer");
    }
    rig.connect();
    rig.warm_up();
    let figures = rig.measure(case);
    rig.runtime.shutdown(Duration::from_secs(2)).expect("stops");
    figures
}

/// Share of a core, in percent, that a shard with connected but silent transports uses.
///
/// # Panics
/// If the engine refuses something that it must not refuse.
pub fn idle_cpu(transports: usize, duration: Duration) -> f64 {
    let mut rig = Rig::start(IoBackend::Default);
    let (router, server) = rig.room();
    for _ in 0..transports {
        rig.join(router, server);
    }
    rig.connect();
    rig.settle(Duration::from_millis(300));
    let (before, start) = (rig.load().cpu, real_now());
    // Consent checks of the peers have to go on, and nothing else is to happen meanwhile.
    let (_quiet, nobody) = std::sync::mpsc::channel::<()>();
    while real_now().duration_since(start) < duration {
        rig.turn(&mut |_| {});
        let _timeout = nobody.recv_timeout(Duration::from_millis(5));
    }
    let used = rig.load().cpu.saturating_sub(before);
    let share = used.as_secs_f64() / real_now().duration_since(start).as_secs_f64() * 100.0;
    rig.runtime.shutdown(Duration::from_secs(2)).expect("stops");
    share
}

#[expect(clippy::disallowed_methods, reason = "a load generator lives in real time")]
fn real_now() -> Instant {
    Instant::now()
}

impl Rig {
    fn start(io: IoBackend) -> Self {
        let mut options = RuntimeOptions::new(Certificate::generate().expect("a certificate"));
        options.shards = vec![ShardPlacement { cpu: Some(0) }];
        options.srtp_profiles = vec![SrtpProfile::AeadAes128Gcm];
        options.io = io;
        let runtime = Runtime::start(options).expect("starts");
        Self { runtime, epoch: real_now(), token: 0, clients: Vec::new() }
    }

    fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(real_now().duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX))
    }

    fn command(&mut self, command: Command, listen: Vec<ListenInfo>) -> Result<Reply, CommandError> {
        self.token += 1;
        let token = self.token;
        self.runtime.submit(0, ShardRequest { token, listen, command }).expect("accepted");
        let mut outputs = Vec::new();
        loop {
            self.runtime.wait(Some(Duration::from_secs(5)));
            self.runtime.poll(64, &mut outputs);
            for output in outputs.drain(..) {
                match output {
                    Output::Reply { token: t, result } if t == token => return result,
                    Output::ShardFailed { text, .. } => panic!("{text}"),
                    _ => {}
                }
            }
        }
    }

    fn room(&mut self) -> (ObjectId, ObjectId) {
        let listen = vec![ListenInfo::udp(IpAddr::V4(Ipv4Addr::LOCALHOST))];
        let Ok(Reply::Created(server)) = self.command(Command::CreateWebRtcServer, listen) else {
            panic!("no server");
        };
        let Ok(Reply::Created(router)) = self.command(Command::CreateRouter, Vec::new()) else {
            panic!("no router");
        };
        (router, server)
    }

    fn join(&mut self, router: ObjectId, server: ObjectId) -> usize {
        let options = WebRtcTransportOptions { listen: Listen::Server(server), ..WebRtcTransportOptions::default() };
        let reply = self.command(Command::CreateWebRtcTransport { router, options }, Vec::new());
        let Ok(Reply::WebRtcTransport(created)) = reply else { panic!("no transport: {reply:?}") };
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_nonblocking(true).expect("a socket option");
        let addr = socket.local_addr().expect("bound");
        let peer = Peer::new(self.clients.len() as u64, addr, PeerOptions::default());
        let dtls = peer.dtls_parameters();
        self.command(Command::ConnectWebRtcTransport { transport: created.id, dtls }, Vec::new()).expect("connects");
        let now = self.now();
        let candidate = &created.candidates[0];
        let remote = SocketAddr::new(candidate.address.parse().expect("an address"), candidate.port);
        let mut client = Client { peer, socket, transport: created.id };
        client.peer.start(now, remote, created.ice, created.fingerprints);
        self.clients.push(client);
        self.clients.len() - 1
    }

    fn clients_transport(&self, client: usize) -> ObjectId {
        self.clients[client].transport
    }

    /// Runs the handshakes; a few at a time, as a door does.
    fn connect(&mut self) {
        let deadline = real_now() + Duration::from_secs(60);
        while !self.clients.iter().all(|c| c.peer.is_connected()) {
            assert!(real_now() < deadline, "clients do not connect");
            self.turn(&mut |_| {});
        }
    }

    /// Sends until caches, pools and histories are as they stay, then waits until all of it has arrived.
    fn warm_up(&mut self) {
        for sequence in 0..WARM_UP {
            self.clients[0].peer.send_rtp(&call::packet(sequence, 1_200, 0));
            self.settle(Duration::from_millis(2));
        }
        self.settle(Duration::from_millis(300));
    }

    /// Takes what arrives until nothing has for `quiet`.
    fn settle(&mut self, quiet: Duration) {
        let mut last = real_now();
        while real_now().duration_since(last) < quiet {
            let mut heard = false;
            self.turn(&mut |_| heard = true);
            if heard {
                last = real_now();
            }
        }
    }

    /// One look at every socket.
    fn turn(&mut self, on_rtp: &mut dyn FnMut(&[u8])) {
        let now = self.now();
        for client in &mut self.clients {
            client.turn(now, on_rtp);
        }
    }

    fn measure(&mut self, case: Case) -> Figures {
        let before = self.load();
        let start = real_now();
        let interval = Duration::from_secs_f64(case.burst as f64 / case.rate as f64);
        let total = (case.duration.as_secs_f64() * case.rate as f64) as u64;
        let epoch = self.epoch;
        let mut latencies: Vec<u64> = Vec::with_capacity(MAX_LATENCIES);
        let mut received = 0u64;
        let mut on_rtp = |packet: &[u8]| {
            let now = real_now().duration_since(epoch).as_nanos() as u64;
            received += 1;
            if let Some(stamp) = packet.get(12..20).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes)
                && latencies.len() < MAX_LATENCIES
            {
                latencies.push(now.saturating_sub(stamp));
            }
        };
        let mut sequence = WARM_UP;
        let end = WARM_UP + total;
        let mut next = start;
        while sequence < end {
            if real_now() >= next {
                let stamp = next.duration_since(epoch).as_nanos() as u64;
                for _ in 0..case.burst {
                    self.clients[0].peer.send_rtp(&call::packet(sequence, case.size, stamp));
                    sequence += 1;
                }
                next += interval;
            }
            self.turn(&mut on_rtp);
        }
        let elapsed = real_now().duration_since(start);
        let drained = real_now() + Duration::from_millis(300);
        while real_now() < drained {
            self.turn(&mut on_rtp);
        }
        let after = self.load();
        figures(case, total, received, elapsed, (before, after), latencies)
    }

    fn load(&self) -> ShardLoad {
        self.runtime.loads().remove(0)
    }
}

fn figures(
    case: Case,
    published: u64,
    received: u64,
    elapsed: Duration,
    (before, after): (ShardLoad, ShardLoad),
    mut latencies: Vec<u64>,
) -> Figures {
    let cpu = after.cpu.saturating_sub(before.cpu);
    let sent = (after.datagrams_out - before.datagrams_out).max(1) as f64;
    let messages = (after.messages_out - before.messages_out).max(1) as f64;
    let expected = (published * case.consumers as u64).max(1) as f64;
    latencies.sort_unstable();
    let percentile = |p: usize| {
        let index = (latencies.len() * p / 100).min(latencies.len().saturating_sub(1));
        Duration::from_nanos(latencies.get(index).copied().unwrap_or(0))
    };
    Figures {
        cpu_ns_per_sent: cpu.as_nanos() as f64 / sent,
        datagrams_per_message: sent / messages,
        utilisation: cpu.as_secs_f64() / elapsed.as_secs_f64() * 100.0,
        loss: (1.0 - received as f64 / expected) * 100.0,
        p50: percentile(50),
        p99: percentile(99),
    }
}

impl Client {
    fn turn(&mut self, now: Time, on_rtp: &mut dyn FnMut(&[u8])) {
        let mut buf = [0u8; 2048];
        // A full socket must not keep the others from their turn.
        for _ in 0..32 {
            let Ok((len, _)) = self.socket.recv_from(&mut buf) else { break };
            self.peer.handle_datagram(now, &mut buf[..len]);
        }
        while let Some(received) = self.peer.poll_received() {
            if let Received::Rtp(packet) = received {
                on_rtp(&packet);
            }
        }
        if self.peer.next_timeout().is_some_and(|at| at <= now) {
            self.peer.handle_timeout(now);
        }
        while let Some(bytes) = self.peer.poll_transmit() {
            // A full send buffer loses the datagram, as a network does.
            let _lost = self.peer.remote_addr().map(|to| self.socket.send_to(&bytes, to));
        }
    }
}
