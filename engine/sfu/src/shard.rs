//! The shard: all state of one core, and the waist between it and whatever carries its datagrams.
//!
//! Told: datagrams, commands, time. Tells: datagrams, events, sockets to close, the next deadline.
//! Limits: [`Limits`], one table. Left out: sockets, clocks, threads, logs.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use foldhash::fast::FixedState;
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};
use sfu_proto::crypto::{Certificate, DtlsContext, Fingerprint, SrtpProfile};
use sfu_proto::ice::{IceAgent, IceConfig, IceCredentials};
use sfu_wire::buf::PacketPool;
use sfu_wire::drop_reason::{DropCounters, DropReason};
use sfu_wire::id::{IdTable, ObjectId, ObjectKind};
use sfu_wire::net::{SocketId, Tuple};
use sfu_wire::time::{NtpTime, Time};

use crate::branch::Span;
use crate::command::{BoundSocket, Command, CommandError, ErrorCode, Event, ReleaseSocket, Reply};
use crate::consumer::Consumer;
use crate::dispatch;
use crate::limits::Limits;
use crate::lookup::{Lookup, Ufrag};
use crate::media_outbox::MediaOutbox;
use crate::observer::Observer;
use crate::outbox::Outbox;
use crate::peer::{PeerMessage, PeerOut, PeerOutbox};
use crate::producer::Producer;
use crate::router::Router;
use crate::shared_port::{Whose, tag};
use crate::tap::Taps;
use crate::timers::{Slot, Timers};
use crate::trace::{Traces, Watch};
use crate::transport::Transport;
use crate::webrtc_server::WebRtcServer;

/// Size of DTLS datagrams: what every path carries (RFC 8261, section 5: 1280 for IPv6, less headers).
const DTLS_MTU: usize = 1_200;

/// A shard can be made anew so often, the first time included: each life has its own range of ids.
pub const MAX_LIVES: u8 = 16;

/// What a shard is made of.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// Its number: the first byte of the ids that it makes.
    pub index: u8,
    /// How often this shard has been made anew after a panic, less than [`MAX_LIVES`]: its ids are none that it gave
    /// out in an earlier life.
    pub life: u8,
    /// Everything random comes from this: same seed and input, same output (apart from DTLS, whose
    /// randomness is OpenSSL's).
    pub seed: [u8; 32],
    /// The wall clock at [`Time`] zero, nanoseconds of Unix time.
    pub epoch_unix_nanos: u64,
    /// Our DTLS identity.
    pub certificate: Certificate,
    /// SRTP profiles, the most preferred first.
    pub srtp_profiles: Vec<SrtpProfile>,
    /// All caps.
    pub limits: Limits,
}

/// All state of one core.
///
/// There are four kinds of methods:
/// 1. **Input**: [`Shard::handle_datagram`], [`Shard::handle_media`], [`Shard::handle_peer`], [`Shard::handle_peer_lost`],
///    [`Shard::handle_command`], [`Shard::handle_timeout`], [`Shard::handle_disconnect`], [`Shard::handle_shutdown`],
///    [`Shard::count_drop`]. They change state and fill the outputs; none of them blocks or fails half-way.
/// 2. **Output**: [`Shard::outbox`], [`Shard::media`], [`Shard::taps`], [`Shard::poll_peer`], [`Shard::poll_event`],
///    [`Shard::poll_disconnect`], [`Shard::poll_release`]. They hand out what input has produced.
/// 3. **Deadline**: [`Shard::next_timeout`].
/// 4. **Inspection**: commands again (`Dump`, `Stats`), so that looking costs the same queue as acting.
///
/// Polling order. After any number of inputs, and always before waiting: send and clear the outbox,
/// take events until `None`, then close connections and release sockets until `None` (either may have a farewell in
/// the outbox, so they are closed last), then ask for the deadline. When [`Outbox::is_nearly_full`], send
/// before the next input; a full outbox drops and counts.
///
/// Time contract. `now` never goes back from one call to the next; the shard copes with a clock that
/// stands still or leaps forward. [`Shard::handle_timeout`] may be called early or late: early does
/// nothing, late does everything that is due, once. `arrival` is when the datagram arrived, at most
/// `now`; it serves jitter and transport-wide feedback only.
#[derive(Debug)]
pub struct Shard {
    pub(crate) index: u8,
    pub(crate) epoch_unix_nanos: u64,
    pub(crate) limits: Limits,
    pub(crate) rng: ChaCha12Rng,
    pub(crate) dtls: DtlsContext,
    pub(crate) fingerprints: Vec<Fingerprint>,
    pub(crate) routers: IdTable<Router>,
    pub(crate) servers: IdTable<WebRtcServer>,
    pub(crate) transports: IdTable<Transport>,
    pub(crate) producers: IdTable<Held<Producer>>,
    pub(crate) consumers: IdTable<Held<Consumer>>,
    pub(crate) observers: IdTable<Observer>,
    /// Observers by the producers that they hear.
    pub(crate) observed: HashMap<ObjectId, Vec<ObjectId>, FixedState>,
    pub(crate) lookup: Lookup,
    /// Refuses Binding requests where there is no other agent to do it; nobody can sign for it.
    pub(crate) nobody: IceAgent,
    pub(crate) timers: Timers,
    pub(crate) pool: PacketPool,
    pub(crate) out: Out,
    /// What belongs to rooms and producers of other shards.
    pub(crate) span: Span,
    pub(crate) releases: VecDeque<ReleaseSocket>,
    /// DTLS handshakes under way.
    pub(crate) handshakes: usize,
    pub(crate) datagrams: u64,
    /// Producers and consumers whose timer is due, by transport; empty between calls.
    pub(crate) due: Vec<(ObjectId, ObjectId)>,
    /// Consumers for which forwarding has changed something; empty between calls.
    pub(crate) news: Vec<ObjectId>,
    /// The router that the step at hand works for: a panic is its.
    pub(crate) at_work: Option<ObjectId>,
    /// The router whose steps panic, for tests.
    #[cfg(any(test, feature = "testing"))]
    pub planted: Option<ObjectId>,
    /// Where RTCP is put together; of no meaning between calls.
    pub(crate) rtcp: Box<[u8]>,
}

/// A producer or consumer with its timer, and who looks at it.
#[derive(Debug)]
pub(crate) struct Held<T> {
    pub(crate) it: T,
    pub(crate) timer: Slot,
    pub(crate) watch: Watch,
}

impl<T> Held<T> {
    pub(crate) fn new(it: T) -> Self {
        Self { it, timer: Slot::default(), watch: Watch::default() }
    }
}

/// What a turn produces, handed down to those who produce it.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) outbox: Outbox,
    /// What direct transports send.
    pub(crate) media: MediaOutbox,
    pub(crate) events: VecDeque<Event>,
    pub(crate) drops: DropCounters,
    pub(crate) traces: Traces,
    pub(crate) taps: Taps,
    /// TCP connections that are of no use any more.
    pub(crate) disconnects: VecDeque<Tuple>,
    /// What goes to other shards.
    pub(crate) peers: PeerOutbox,
}

impl Shard {
    /// Makes an empty shard.
    pub fn new(config: ShardConfig) -> Result<Self, CommandError> {
        let internal = |e: String| CommandError::new(ErrorCode::InvalidArgument, "certificate", e);
        let dtls = DtlsContext::new(&config.certificate, &config.srtp_profiles, DTLS_MTU)
            .map_err(|e| internal(format!("DTLS cannot use it: {e}")))?;
        let mut rng = ChaCha12Rng::from_seed(config.seed);
        let limits = config.limits;
        let table = Tables { shard: config.index, life: config.life.min(MAX_LIVES - 1) };
        Ok(Self {
            index: config.index,
            epoch_unix_nanos: config.epoch_unix_nanos,
            dtls,
            fingerprints: config.certificate.fingerprints(),
            routers: table.of(ObjectKind::Router, limits.routers),
            servers: table.of(ObjectKind::WebRtcServer, limits.webrtc_servers),
            transports: table.of(ObjectKind::Transport, limits.transports),
            producers: table.of(ObjectKind::Producer, limits.producers),
            consumers: table.of(ObjectKind::Consumer, limits.consumers),
            observers: table.of(ObjectKind::Observer, limits.observers),
            // Keys are ids of our own making.
            observed: HashMap::with_hasher(FixedState::default()),
            lookup: Lookup::new(rng.next_u64()),
            nobody: IceAgent::new(Time::ZERO, IceCredentials::generate(&mut rng), IceConfig::default()),
            timers: Timers::with_capacity(1_024),
            pool: PacketPool::new(limits.idle_packets),
            out: Out {
                outbox: Outbox::new(limits.outbox_bytes, limits.outbox_datagrams),
                media: MediaOutbox::new(limits.media_bytes, limits.media_packets),
                events: VecDeque::new(),
                drops: DropCounters::default(),
                traces: Traces::new(limits.traces, config.epoch_unix_nanos),
                taps: Taps::new(limits.tap_bytes, limits.tap_packets, config.epoch_unix_nanos),
                disconnects: VecDeque::new(),
                peers: PeerOutbox::new(limits.peer_packets, limits.peer_messages),
            },
            span: Span::default(),
            releases: VecDeque::new(),
            handshakes: 0,
            datagrams: 0,
            due: Vec::new(),
            at_work: None,
            #[cfg(any(test, feature = "testing"))]
            planted: None,
            news: Vec::new(),
            rtcp: vec![0; DTLS_MTU].into_boxed_slice(),
            rng,
            limits,
        })
    }

    /// Takes one datagram from the network; it is decrypted in place. What is refused is counted. What came by a
    /// port that other shards share may be one of theirs: then it is left as it is, and told whose.
    pub fn handle_datagram(
        &mut self,
        now: Time,
        arrival: Time,
        socket: SocketId,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Whose {
        // What the panic of a room said is told by its event.
        let whose = self.contained(now, |shard| shard.take_datagram(now, arrival, socket, from, datagram));
        let whose = whose.unwrap_or(Whose::Ours);
        // The others are counted where they belong.
        self.datagrams = self.datagrams.saturating_add(u64::from(whose == Whose::Ours));
        whose
    }

    /// Takes a message of another shard, and the bytes of its packet, if it has one. What is about something that is no
    /// more is answered so, or counted.
    pub fn handle_peer(&mut self, now: Time, from: u8, message: &PeerMessage, packet: &[u8]) {
        // What the panic of a room said is told by its event.
        let _ = self.contained(now, |shard| shard.take_peer(now, from, message, packet));
    }

    /// Carries out one command. `sockets` are those that the runtime has bound for it; they are the
    /// shard's from then on if the answer is `Ok`, and untouched otherwise. An error changes nothing.
    pub fn handle_command(
        &mut self,
        now: Time,
        sockets: &[BoundSocket],
        command: Command,
    ) -> Result<Reply, CommandError> {
        self.contained(now, |shard| dispatch::dispatch(shard, now, sockets, command)).unwrap_or_else(|text| {
            let text = format!("a bug closed the router that this is about: {text}");
            Err(CommandError::new(ErrorCode::Internal, "", text))
        })
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        // Each round but the last closes a router, so this ends.
        while self.contained(now, |shard| shard.run_timers(now)).is_err() {}
    }

    /// A TCP connection is closed, by whomever. If it was a transport's, its tuple goes; if that was the last one, the
    /// transport is disconnected.
    pub fn handle_disconnect(&mut self, now: Time, socket: SocketId, from: SocketAddr) {
        let _ = self.contained(now, |shard| shard.lose_tuple(now, &Tuple::new(socket, from)));
    }

    /// The end: closes transports, so that each peer is told (RTCP BYE of what it was sent, DTLS
    /// close_notify) and need not wait for its consent to run out. Stops when the outbox is nearly full:
    /// `true` means send it and call again. Nobody is left to hear events, so there are none.
    pub fn handle_shutdown(&mut self, now: Time) -> bool {
        self.close_all(now)
    }

    /// The runtime refused or lost `n` datagrams.
    pub fn count_drop(&mut self, reason: DropReason, n: u64) {
        self.out.drops.add_many(reason, n);
    }

    /// The transmit arena.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.out.outbox
    }

    /// The next event, in the order in which they happened; trace events come behind all others.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.end_full_taps();
        if let Some(event) = self.out.events.pop_front() {
            return Some(event);
        }
        if let Some((object, trace)) = self.out.traces.pop() {
            return Some(Event::Trace { object, trace });
        }
        match self.out.traces.take_lost() {
            0 => None,
            count => Some(Event::TelemetryLost { count }),
        }
    }

    /// The next TCP connection to close; what the outbox holds for it goes first.
    pub fn poll_disconnect(&mut self) -> Option<Tuple> {
        self.out.disconnects.pop_front()
    }

    /// Whether a transport has verified these two addresses: for connections that have to show by when they are worth
    /// their keep.
    pub fn is_verified(&self, socket: SocketId, from: SocketAddr) -> bool {
        let tuple = Tuple::new(socket, from);
        let transport = self.lookup.by_tuple(&tuple).and_then(|id| self.transports.get(id));
        transport.is_some_and(|t| t.accepts(&tuple))
    }

    /// Something is to go to other shards.
    #[inline]
    pub fn has_peer_output(&self) -> bool {
        !self.out.peers.is_empty()
    }

    /// Something is to go to this shard.
    pub fn has_output_for(&self, shard: u8) -> bool {
        self.out.peers.waits_for(shard)
    }

    /// The next message for another shard, in order: take it when there is room for it there. What waits here
    /// is bounded, and sheds the oldest video first.
    pub fn poll_peer(&mut self, shard: u8) -> Option<PeerOut> {
        self.out.peers.poll(shard)
    }

    /// The next socket to close.
    pub fn poll_release(&mut self) -> Option<ReleaseSocket> {
        self.releases.pop_front()
    }

    /// When to call [`Shard::handle_timeout`] at the latest.
    pub fn next_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    /// How many routers, transports, producers and consumers there are; what stands in for those of other shards
    /// is not counted.
    pub fn object_counts(&self) -> [usize; 4] {
        let Span { branches, mirrors, carriers, .. } = &self.span;
        let routers = self.routers.len() - branches.len();
        [routers, self.transports.len() - carriers, self.producers.len() - mirrors.len(), self.consumers.len()]
    }

    /// Refusals of network input by reason.
    pub fn drops(&self) -> &DropCounters {
        &self.out.drops
    }

    /// The wall clock at `now`.
    pub(crate) fn ntp(&self, now: Time) -> NtpTime {
        NtpTime::from_unix_nanos(self.epoch_unix_nanos.saturating_add(now.as_nanos()))
    }

    /// Credentials whose username fragment no transport of this shard has, and which names this shard.
    pub(crate) fn draw_credentials(&mut self) -> (IceCredentials, Ufrag) {
        loop {
            let mut credentials = IceCredentials::generate(&mut self.rng);
            let Ok(mut ufrag) = Ufrag::try_from(credentials.username_fragment.as_bytes()) else { continue };
            tag(self.index, &mut ufrag);
            if !self.lookup.has_ufrag(&ufrag) {
                credentials.username_fragment = ufrag.iter().copied().map(char::from).collect();
                return (credentials, ufrag);
            }
        }
    }
}

/// Makes the tables of one life.
struct Tables {
    shard: u8,
    life: u8,
}

impl Tables {
    fn of<T>(&self, kind: ObjectKind, cap: usize) -> IdTable<T> {
        IdTable::in_part(self.shard, kind, cap, self.life, MAX_LIVES)
    }
}
