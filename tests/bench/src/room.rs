//! libsfu as it is: a runtime with one shard, a publisher and viewers that came by ICE and DTLS.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use sfu_core::command::{Command, CommandError, Listen, Reply, WebRtcTransportCreated, WebRtcTransportOptions};
use sfu_core::testing::{Peer, PeerOptions};
use sfu_proto::crypto::Certificate;
use sfu_proto::srtp::SrtpProfile;
use sfu_runtime::{IoBackend, ListenInfo, Output, Runtime, RuntimeOptions, ShardPlacement, ShardRequest};
use sfu_wire::id::ObjectId;

use crate::call;
use crate::clock::Clock;
use crate::subject::{Subject, Totals};
use crate::viewers::{Ear, Viewers, publisher_socket};

/// Handshakes are over by then, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);
/// Handshakes that run side by side.
const AT_ONCE: usize = 64;

/// What a room is made for.
#[derive(Debug, Clone, Copy)]
pub struct RoomOptions {
    /// Which back end the shard uses.
    pub io: IoBackend,
    /// Streams that are published, each to all viewers.
    pub streams: u32,
    /// The shard's core.
    pub cpu: usize,
    /// Whether peers must prove that they are still there.
    pub consent: bool,
    /// Streams are pictures, and packets are padded so that those of one have one size.
    pub padded: bool,
}

/// See the module.
pub struct Room {
    runtime: Runtime,
    name: &'static str,
    clock: Clock,
    publisher: Peer,
    socket: UdpSocket,
    viewers: Viewers,
}

impl Room {
    /// Starts the engine and lets everybody join. `server` is where viewers are served.
    ///
    /// # Panics
    /// If the engine refuses something that it must not refuse.
    pub fn start(viewers: Viewers, server: IpAddr, options: RoomOptions) -> Box<Self> {
        let clock = Clock::new();
        let mut runtime_options = RuntimeOptions::new(Certificate::generate().expect("a certificate"));
        runtime_options.shards = vec![ShardPlacement { cpu: Some(options.cpu) }];
        runtime_options.srtp_profiles = vec![SrtpProfile::AeadAes128Gcm];
        runtime_options.io = options.io;
        let mut link = Link { runtime: Runtime::start(runtime_options).expect("starts"), token: 0, clock };
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (near, far) = (link.server(local), link.server(server));
        let router = link.created(Command::CreateRouter);
        let consent = options.consent.then_some(Duration::from_secs(30));
        let (publishing, mut publisher, socket) = link.publisher(router, near, consent);
        let produce = |link: &mut Link, stream| {
            let of = if options.padded { call::video_producer_config } else { call::producer_config };
            let config = Box::new(of(stream));
            link.created(Command::Produce { transport: publishing, config })
        };
        let producers: Vec<ObjectId> = (0..options.streams).map(|stream| produce(&mut link, stream)).collect();
        let name = match (options.padded, options.io) {
            (true, _) => "libsfu padded",
            (false, IoBackend::IoUring) => "libsfu io_uring",
            (false, IoBackend::Default | IoBackend::Mmsg) => "libsfu mmsg",
        };
        connect_publisher(&mut publisher, &socket, clock);
        let viewers = link.everybody((router, far), (consent, options.padded), viewers, &producers);
        Box::new(Self { runtime: link.runtime, name, clock, publisher, socket, viewers })
    }

    /// Share of a core, in percent, that the shard uses while everybody is silent.
    pub fn idle(&mut self, duration: Duration) -> f64 {
        let clock = self.clock;
        let quiet = Duration::from_millis(20);
        let settle = clock.now() + Duration::from_millis(300);
        let until = |room: &mut Self, end: Duration| {
            while clock.now() < end {
                room.viewers.drive(clock.time());
                room.viewers.look(&|| clock.time(), quiet, &mut |_| {});
            }
        };
        until(self, settle);
        let (before, began) = (self.totals().cpu, clock.now());
        until(self, began + duration);
        let used = self.totals().cpu.saturating_sub(before);
        used.as_secs_f64() / (clock.now() - began).as_secs_f64() * 100.0
    }
}

/// The engine while the room fills.
struct Link {
    runtime: Runtime,
    token: u64,
    clock: Clock,
}

impl Link {
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

    fn created(&mut self, command: Command) -> ObjectId {
        match self.command(command, Vec::new()) {
            Ok(Reply::Created(id)) => id,
            other => panic!("refused: {other:?}"),
        }
    }

    fn server(&mut self, at: IpAddr) -> ObjectId {
        let mut listen = ListenInfo::udp(at);
        (listen.send_buffer, listen.recv_buffer) = (4 << 20, 4 << 20);
        match self.command(Command::CreateWebRtcServer, vec![listen]) {
            Ok(Reply::Created(id)) => id,
            other => panic!("no server at {at}: {other:?}"),
        }
    }

    fn transport(&mut self, router: ObjectId, server: ObjectId, consent: Option<Duration>) -> WebRtcTransportCreated {
        let options = WebRtcTransportOptions {
            listen: Listen::Server(server),
            ice_consent_timeout: consent,
            ..WebRtcTransportOptions::default()
        };
        match self.command(Command::CreateWebRtcTransport { router, options }, Vec::new()) {
            Ok(Reply::WebRtcTransport(created)) => created,
            other => panic!("no transport: {other:?}"),
        }
    }

    /// A peer at `addr` that has been signalled and may start.
    fn peer(&mut self, seed: u64, addr: SocketAddr, created: WebRtcTransportCreated) -> (Peer, SocketAddr) {
        let mut peer = Peer::new(seed, addr, PeerOptions::default());
        let connect = Command::ConnectWebRtcTransport { transport: created.id, dtls: peer.dtls_parameters() };
        self.command(connect, Vec::new()).expect("connects");
        let candidate = &created.candidates[0];
        let remote = SocketAddr::new(candidate.address.parse().expect("an address"), candidate.port);
        peer.start(self.clock.time(), remote, created.ice, created.fingerprints);
        (peer, remote)
    }

    fn publisher(
        &mut self,
        router: ObjectId,
        server: ObjectId,
        consent: Option<Duration>,
    ) -> (ObjectId, Peer, UdpSocket) {
        let created = self.transport(router, server, consent);
        let candidate = &created.candidates[0];
        let remote = SocketAddr::new(candidate.address.parse().expect("an address"), candidate.port);
        let socket = publisher_socket(remote);
        let id = created.id;
        let (peer, _) = self.peer(0, socket.local_addr().expect("bound"), created);
        (id, peer, socket)
    }

    /// All viewers, a few at a time, as a door does.
    fn everybody(
        &mut self,
        (router, server): (ObjectId, ObjectId),
        (consent, padded): (Option<Duration>, bool),
        mut viewers: Viewers,
        producers: &[ObjectId],
    ) -> Viewers {
        let (mut ears, mut remote) = (Vec::new(), None);
        for (seed, addr) in (1..).zip(viewers.addrs().to_vec()) {
            let created = self.transport(router, server, consent);
            for (stream, producer) in (0..).zip(producers) {
                let of = if padded { call::padded_consumer_config } else { call::consumer_config };
                let config = Box::new(of(*producer, stream));
                self.created_consumer(created.id, config);
            }
            let (peer, to) = self.peer(seed, addr, created);
            ears.push(Ear::Peer(Box::new(peer)));
            remote = Some(to);
        }
        viewers.listen(ears, remote);
        let clock = self.clock;
        let deadline = clock.now() + PATIENCE;
        while !viewers.are_connected() {
            assert!(clock.now() < deadline, "viewers do not connect");
            viewers.drive_some(clock.time(), AT_ONCE);
            viewers.look(&|| clock.time(), Duration::from_millis(1), &mut |_| {});
        }
        viewers
    }

    fn created_consumer(&mut self, transport: ObjectId, config: Box<sfu_core::config::ConsumerConfig>) {
        self.command(Command::Consume { transport, config }, Vec::new()).expect("a consumer");
    }
}

fn connect_publisher(peer: &mut Peer, socket: &UdpSocket, clock: Clock) {
    let deadline = clock.now() + PATIENCE;
    let mut buf = [0u8; 2_048];
    while !peer.is_connected() {
        assert!(clock.now() < deadline, "the publisher does not connect");
        peer.handle_timeout(clock.time());
        while let Ok(len) = socket.recv(&mut buf) {
            peer.handle_datagram(clock.time(), &mut buf[..len]);
        }
        while let Some(datagram) = peer.poll_transmit() {
            // What is lost here is sent again by the peer's timers.
            drop(socket.send(&datagram));
        }
    }
    peer.stop_checks();
}

impl Subject for Room {
    fn name(&self) -> &'static str {
        self.name
    }

    fn seal(&mut self, packet: &[u8]) -> Vec<u8> {
        self.publisher.send_rtp(packet);
        self.publisher.poll_transmit().expect("a packet")
    }

    fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    fn totals(&self) -> Totals {
        let load = self.runtime.loads().remove(0);
        Totals {
            cpu: load.cpu,
            datagrams_in: load.datagrams_in,
            datagrams_out: load.datagrams_out,
            messages_out: load.messages_out,
        }
    }

    fn viewers(&mut self) -> &mut Viewers {
        &mut self.viewers
    }

    fn close(self: Box<Self>) {
        self.runtime.shutdown(Duration::from_secs(2)).expect("stops");
    }
}
