//! A shard with scripted peers around it in virtual time, joined by a network that neither loses nor
//! delays. For scenarios that want a worse network there is the simulator.
//!
//! Told: what peers and the controller do. Tells: what arrived where. Each transport has a socket of
//! its own; each peer one address.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use sfu_proto::crypto::{Certificate, SrtpProfile};
use sfu_wire::codec::CodecKind;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::{ExtensionIds, ExtensionKind};
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::net::{Protocol, SocketId, Tuple};
use sfu_wire::rtp::{RtpHeaderFields, write_header};
use sfu_wire::time::Time;

use super::{Peer, PeerOptions, Received};
use crate::command::{
    BoundSocket, Command, CommandError, ConsumerCreated, Event, Listen, ReleaseSocket, Reply, WebRtcTransportCreated,
    WebRtcTransportOptions,
};
use crate::config::{
    CodecConfig, ConsumerConfig, EncodingConfig, Feedback, LOWEST_PRIORITY, ProducerConfig, StreamType,
};
use crate::limits::Limits;
use crate::shard::{Shard, ShardConfig};
use crate::stats::{Dump, Stats};

/// Id of the MID extension in all scripts.
pub const MID_ID: u8 = 1;
/// Id of the RID extension in all scripts.
pub const RID_ID: u8 = 2;
/// Payload type of Opus in all scripts.
pub const OPUS: u8 = 100;
/// Payload type of VP8 in all scripts.
pub const VP8: u8 = 101;
/// Payload type of VP8's retransmissions in all scripts.
pub const VP8_RTX: u8 = 102;

/// Exchanges without time passing after which a script is taken to be caught in a loop.
const MAX_ROUNDS: usize = 100_000;

/// A peer and its transport.
pub struct Member {
    /// The peer.
    pub peer: Peer,
    /// What the shard said of its transport.
    pub transport: WebRtcTransportCreated,
    /// The transport's socket.
    pub socket: SocketId,
    next_mid: u32,
}

/// The shard, its peers, and what has come of them.
pub struct World {
    /// The shard.
    pub shard: Shard,
    /// Virtual time.
    pub now: Time,
    /// Peers by the index that [`World::join`] gave.
    pub members: Vec<Member>,
    /// All events so far.
    pub events: Vec<Event>,
    /// All sockets released so far.
    pub releases: Vec<ReleaseSocket>,
    /// All connections that the shard wanted closed so far.
    pub disconnects: Vec<Tuple>,
    /// Datagrams to addresses that no peer has.
    pub strays: Vec<(SocketId, SocketAddr, Vec<u8>)>,
    sockets: HashMap<SocketId, SocketAddr>,
    next_socket: u32,
    seed: u64,
}

impl World {
    /// A shard with default limits.
    pub fn new(seed: u64) -> Self {
        Self::with_limits(seed, Limits::default())
    }

    /// A shard.
    ///
    /// # Panics
    /// If OpenSSL refuses to make a certificate.
    pub fn with_limits(seed: u64, limits: Limits) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config = ShardConfig {
            index: 3,
            life: 0,
            seed: bytes,
            epoch_unix_nanos: 1_800_000_000_000_000_000,
            certificate: Certificate::generate().expect("a certificate"),
            srtp_profiles: SrtpProfile::ALL.to_vec(),
            limits,
        };
        Self {
            shard: Shard::new(config).expect("a shard"),
            now: Time::from_nanos(1_000_000_000),
            members: Vec::new(),
            events: Vec::new(),
            releases: Vec::new(),
            disconnects: Vec::new(),
            strays: Vec::new(),
            sockets: HashMap::new(),
            next_socket: 1,
            seed,
        }
    }

    /// A command without sockets.
    pub fn command(&mut self, command: Command) -> Result<Reply, CommandError> {
        self.shard.handle_command(self.now, &[], command)
    }

    /// A command that must succeed and answers an id.
    ///
    /// # Panics
    /// If it does not.
    pub fn create(&mut self, command: Command) -> ObjectId {
        match self.command(command) {
            Ok(Reply::Created(id)) => id,
            other => panic!("expected an id, got {other:?}"),
        }
    }

    /// A new router.
    pub fn router(&mut self) -> ObjectId {
        self.create(Command::CreateRouter)
    }

    /// A socket as the runtime would bind it.
    pub fn bind(&mut self) -> BoundSocket {
        let socket = SocketId(self.next_socket);
        // A long world uses ports again, long after their sockets are gone.
        let local = SocketAddr::from(([192, 0, 2, 1], 10_000 + (self.next_socket % 50_000) as u16));
        self.next_socket += 1;
        self.sockets.insert(socket, local);
        BoundSocket { socket, protocol: Protocol::Udp, local, announced: None, expose_internal_ip: false }
    }

    /// A listening TCP socket as the runtime would bind it.
    pub fn bind_tcp(&mut self) -> BoundSocket {
        BoundSocket { protocol: Protocol::Tcp, ..self.bind() }
    }

    /// The connection of a member's peer closes.
    pub fn disconnect(&mut self, member: usize) {
        let Member { peer, socket, .. } = &self.members[member];
        self.shard.handle_disconnect(self.now, *socket, peer.addr());
        self.settle();
    }

    /// A transport on a socket of its own.
    ///
    /// # Panics
    /// If the shard refuses.
    pub fn transport(&mut self, router: ObjectId) -> (WebRtcTransportCreated, SocketId) {
        let bound = self.bind();
        let socket = bound.socket;
        (self.transport_on(router, Listen::Own, &[bound]), socket)
    }

    /// A transport that listens where the test says.
    ///
    /// # Panics
    /// If the shard refuses.
    pub fn transport_on(&mut self, router: ObjectId, listen: Listen, bound: &[BoundSocket]) -> WebRtcTransportCreated {
        let options = WebRtcTransportOptions { listen, ..WebRtcTransportOptions::default() };
        let command = Command::CreateWebRtcTransport { router, options };
        match self.shard.handle_command(self.now, bound, command) {
            Ok(Reply::WebRtcTransport(created)) => created,
            other => panic!("expected a transport, got {other:?}"),
        }
    }

    /// A peer with a transport; nothing is signalled or sent yet.
    pub fn add(&mut self, router: ObjectId, options: PeerOptions) -> usize {
        let (transport, socket) = self.transport(router);
        let n = self.members.len();
        let addr = SocketAddr::from(([198, 51, 100, (n / 200) as u8 + 1], 20_000 + (n % 200) as u16));
        self.add_peer(transport, socket, addr, options)
    }

    /// A peer of a transport that exists, at an address of its own.
    pub fn add_peer(
        &mut self,
        transport: WebRtcTransportCreated,
        socket: SocketId,
        addr: SocketAddr,
        options: PeerOptions,
    ) -> usize {
        let n = self.members.len();
        let peer = Peer::new(self.seed.wrapping_add(n as u64 + 1), addr, options);
        self.members.push(Member { peer, transport, socket, next_mid: 0 });
        n
    }

    /// Signals the peer's parameters to the shard.
    pub fn signal(&mut self, member: usize) -> Result<Reply, CommandError> {
        let (transport, dtls) = (self.members[member].transport.id, self.members[member].peer.dtls_parameters());
        self.command(Command::ConnectWebRtcTransport { transport, dtls })
    }

    /// Lets the peer begin.
    pub fn start(&mut self, member: usize) {
        let now = self.now;
        let Member { peer, transport, socket, .. } = &mut self.members[member];
        let local = self.sockets[socket];
        peer.start(now, local, transport.ice.clone(), transport.fingerprints.clone());
    }

    /// A peer that is connected.
    ///
    /// # Panics
    /// If it does not connect.
    pub fn join(&mut self, router: ObjectId) -> usize {
        self.join_with(router, PeerOptions::default())
    }

    /// A peer that is connected.
    ///
    /// # Panics
    /// If it does not connect.
    pub fn join_with(&mut self, router: ObjectId, options: PeerOptions) -> usize {
        let member = self.add(router, options);
        self.connect(member)
    }

    /// Connects a peer that was added.
    ///
    /// # Panics
    /// If it does not connect.
    pub fn connect(&mut self, member: usize) -> usize {
        self.signal(member).expect("connect");
        self.start(member);
        self.run(Duration::from_millis(300));
        let peer = &self.members[member].peer;
        assert!(peer.is_connected(), "not connected: {:?} {:?}", peer.failure(), self.shard.drops());
        member
    }

    /// Audio from a member; the answer is the producer.
    pub fn produce_audio(&mut self, member: usize, ssrc: u32) -> ObjectId {
        let config = self.audio_config(member, ssrc);
        self.produce(member, config)
    }

    /// Video from a member; the answer is the producer.
    pub fn produce_video(&mut self, member: usize, ssrc: u32) -> ObjectId {
        let config = self.video_config(member, ssrc);
        self.produce(member, config)
    }

    /// A producer of any kind.
    pub fn produce(&mut self, member: usize, config: ProducerConfig) -> ObjectId {
        let transport = self.members[member].transport.id;
        self.create(Command::Produce { transport, config: Box::new(config) })
    }

    /// Parameters of an audio producer with the next free MID.
    pub fn audio_config(&mut self, member: usize, ssrc: u32) -> ProducerConfig {
        let mid = self.next_mid(member);
        producer_config(MediaKind::Audio, mid, vec![opus()], Some(ssrc), None)
    }

    /// Parameters of a video producer with the next free MID; its retransmissions have the SSRC after.
    pub fn video_config(&mut self, member: usize, ssrc: u32) -> ProducerConfig {
        let mid = self.next_mid(member);
        producer_config(MediaKind::Video, mid, vec![vp8()], Some(ssrc), Some(ssrc.wrapping_add(1)))
    }

    /// A consumer on a member's transport.
    ///
    /// # Panics
    /// If the shard refuses.
    pub fn consume(&mut self, member: usize, producer: ObjectId) -> ConsumerCreated {
        self.try_consume(member, producer, false).expect("consume")
    }

    /// A consumer on a member's transport, perhaps.
    pub fn try_consume(
        &mut self,
        member: usize,
        producer: ObjectId,
        paused: bool,
    ) -> Result<ConsumerCreated, CommandError> {
        let mid = self.next_mid(member);
        let kind = match self.dump(producer) {
            Some(Dump::Producer(dump)) => dump.kind,
            _ => MediaKind::Audio,
        };
        let config = consumer_config(producer, kind, mid, paused);
        let transport = self.members[member].transport.id;
        match self.command(Command::Consume { transport, config: Box::new(config) })? {
            Reply::Consumer(created) => Ok(created),
            other => panic!("expected a consumer, got {other:?}"),
        }
    }

    /// Closes an object.
    pub fn close(&mut self, object: ObjectId) -> Result<Reply, CommandError> {
        let reply = self.command(Command::Close { object });
        self.settle();
        reply
    }

    /// The state of an object that exists.
    pub fn dump(&mut self, object: ObjectId) -> Option<Dump> {
        match self.command(Command::Dump { object }) {
            Ok(Reply::Dump(dump)) => Some(*dump),
            _ => None,
        }
    }

    /// The counters of an object that exists.
    pub fn stats(&mut self, object: ObjectId) -> Option<Stats> {
        match self.command(Command::Stats { object }) {
            Ok(Reply::Stats(stats)) => Some(*stats),
            _ => None,
        }
    }

    /// How often the shard has refused something for this reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.shard.drops().count(reason)
    }

    /// Protects and sends an RTP packet of a member, and lets it take effect.
    pub fn send_rtp(&mut self, member: usize, packet: &[u8]) {
        self.members[member].peer.send_rtp(packet);
        self.settle();
    }

    /// Protects and sends an RTCP compound of a member, and lets it take effect.
    pub fn send_rtcp(&mut self, member: usize, packet: &[u8]) {
        self.members[member].peer.send_rtcp(packet);
        self.settle();
    }

    /// One datagram from anywhere to any socket.
    pub fn inject_at(&mut self, socket: SocketId, from: SocketAddr, datagram: &[u8]) {
        let mut datagram = datagram.to_vec();
        self.shard.handle_datagram(self.now, self.now, socket, from, &mut datagram);
        self.settle();
    }

    /// What has been sent from one socket to an address that no peer has, since the last call.
    pub fn strays_from(&mut self, socket: SocketId) -> Vec<(SocketAddr, Vec<u8>)> {
        let (own, others) = std::mem::take(&mut self.strays).into_iter().partition(|(s, ..)| *s == socket);
        self.strays = others;
        let own: Vec<_> = own;
        own.into_iter().map(|(_, to, bytes)| (to, bytes)).collect()
    }

    /// One datagram from anywhere to a member's socket.
    pub fn inject(&mut self, member: usize, from: SocketAddr, datagram: &[u8]) {
        let socket = self.members[member].socket;
        let mut datagram = datagram.to_vec();
        self.shard.handle_datagram(self.now, self.now, socket, from, &mut datagram);
        self.settle();
    }

    /// What a member has received since the last call, RTP only.
    pub fn rtp(&mut self, member: usize) -> Vec<Vec<u8>> {
        let all = self.received(member).into_iter();
        all.filter_map(|r| if let Received::Rtp(bytes) = r { Some(bytes) } else { None }).collect()
    }

    /// What a member has received since the last call.
    pub fn received(&mut self, member: usize) -> Vec<Received> {
        let peer = &mut self.members[member].peer;
        std::iter::from_fn(|| peer.poll_received()).collect()
    }

    /// Carries datagrams to and fro until nobody has any; no time passes.
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
            let peers = self.members.iter().filter_map(|m| m.peer.next_timeout());
            let Some(next) = peers.chain(self.shard.next_timeout()).min().filter(|t| *t <= end) else { break };
            rounds = if next > self.now { 0 } else { rounds + 1 };
            assert!(rounds < MAX_ROUNDS, "time stands still");
            self.now = self.now.max(next);
            self.shard.handle_timeout(self.now);
            for member in &mut self.members {
                member.peer.handle_timeout(self.now);
            }
        }
        self.now = end;
        self.settle();
    }

    /// Takes the shard's outputs in the documented order; `true` if anything went anywhere.
    fn exchange(&mut self) -> bool {
        let mut moved = false;
        for n in 0..self.members.len() {
            let Member { peer, socket, .. } = &mut self.members[n];
            let (from, socket) = (peer.addr(), *socket);
            while let Some(mut datagram) = self.members[n].peer.poll_transmit() {
                moved = true;
                self.shard.handle_datagram(self.now, self.now, socket, from, &mut datagram);
                if self.shard.outbox().is_nearly_full() {
                    self.deliver();
                }
            }
        }
        moved |= self.deliver();
        self.events.extend(std::iter::from_fn(|| self.shard.poll_event()));
        self.disconnects.extend(std::iter::from_fn(|| self.shard.poll_disconnect()));
        self.releases.extend(std::iter::from_fn(|| self.shard.poll_release()));
        moved
    }

    fn deliver(&mut self) -> bool {
        let outbox = self.shard.outbox();
        let all: Vec<_> = outbox.transmits().iter().map(|t| (t.socket, t.to, outbox.bytes(t).to_vec())).collect();
        outbox.clear();
        let moved = !all.is_empty();
        for (socket, to, mut bytes) in all {
            match self.members.iter_mut().find(|m| m.peer.addr() == to && m.socket == socket) {
                Some(member) => member.peer.handle_datagram(self.now, &mut bytes),
                None => match self.sockets.iter().find(|(_, addr)| **addr == to).map(|(own, _)| *own) {
                    // From one transport of the shard to another.
                    Some(own) => {
                        let from = self.sockets[&socket];
                        self.shard.handle_datagram(self.now, self.now, own, from, &mut bytes);
                    }
                    None => self.strays.push((socket, to, bytes)),
                },
            }
        }
        moved
    }

    fn next_mid(&mut self, member: usize) -> Mid {
        let next = &mut self.members[member].next_mid;
        *next += 1;
        Mid::new(next.to_string().as_bytes()).expect("digits are legal")
    }
}

/// Opus as the scripts have it.
pub fn opus() -> CodecConfig {
    CodecConfig {
        slot: 0,
        kind: CodecKind::Opus,
        payload_type: OPUS,
        rtx_payload_type: None,
        clock_rate: 48_000,
        feedback: Feedback::default(),
    }
}

/// VP8 with retransmissions as the scripts have it.
pub fn vp8() -> CodecConfig {
    CodecConfig {
        slot: 1,
        kind: CodecKind::Vp8,
        payload_type: VP8,
        rtx_payload_type: Some(VP8_RTX),
        clock_rate: 90_000,
        feedback: Feedback { nack: true, pli: true, fir: true, transport_cc: false, remb: false },
    }
}

/// Parameters of a producer.
pub fn producer_config(
    kind: MediaKind,
    mid: Mid,
    codecs: Vec<CodecConfig>,
    ssrc: Option<u32>,
    rtx_ssrc: Option<u32>,
) -> ProducerConfig {
    ProducerConfig {
        kind,
        mid: Some(mid),
        codecs,
        encodings: vec![EncodingConfig { ssrc, rtx_ssrc, ..EncodingConfig::default() }],
        extensions: extensions(),
        cname: "publisher".to_owned(),
        reduced_size_rtcp: true,
        paused: false,
        key_frame_request_delay: Duration::ZERO,
        stream_type: StreamType::Simple,
        opaque_payload: false,
        key_frame_cache: true,
    }
}

/// Parameters of a consumer.
pub fn consumer_config(producer: ObjectId, kind: MediaKind, mid: Mid, paused: bool) -> ConsumerConfig {
    let codec = if kind == MediaKind::Audio { opus() } else { vp8() };
    ConsumerConfig {
        producer,
        kind,
        mid,
        codecs: vec![codec],
        extensions: extensions(),
        cname: "publisher".to_owned(),
        reduced_size_rtcp: true,
        paused,
        stream_type: StreamType::Simple,
        preferred_layers: None,
        priority: LOWEST_PRIORITY,
        ignore_dtx: false,
        pad_frames: false,
    }
}

fn extensions() -> ExtensionIds {
    let mut ids = ExtensionIds::default();
    ids.set(ExtensionKind::Mid, MID_ID);
    ids.set(ExtensionKind::Rid, RID_ID);
    ids
}

/// An RTP packet.
///
/// # Panics
/// If the script's fields make no packet.
pub fn rtp(
    payload_type: u8,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    exts: &[(u8, &[u8])],
    payload: &[u8],
) -> Vec<u8> {
    let mut buf = vec![0; 256 + payload.len()];
    let fields = RtpHeaderFields { marker: true, payload_type, sequence, timestamp, ssrc };
    let len = write_header(&mut buf, &fields, exts).expect("a header");
    buf.truncate(len);
    buf.extend_from_slice(payload);
    buf
}

/// A VP8 payload: one frame in one packet, with a 15-bit picture id (RFC 7741, section 4.2).
pub fn vp8_frame(key: bool, picture_id: u16) -> Vec<u8> {
    let [high, low] = (picture_id & 0x7fff).to_be_bytes();
    let mut payload = vec![0x90, 0x80, 0x80 | high, low];
    // Frame tag; the lowest bit of its first byte is 0 for key frames. A key frame goes on with the
    // start code and its size, 320 x 240 (RFC 6386, section 9.1).
    payload.extend_from_slice(&[if key { 0x10 } else { 0x11 }, 2, 0]);
    if key {
        payload.extend_from_slice(&[0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00]);
    }
    payload.extend_from_slice(&[0xab; 40]);
    payload
}
