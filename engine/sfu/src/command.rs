//! What a controller asks of a shard, and what it is told back. Plain values: decoding, negotiation
//! and identifiers of requests belong to the floors above.

use std::net::SocketAddr;

use sfu_proto::crypto::{DtlsRole, Fingerprint};
use sfu_wire::id::ObjectId;
use sfu_wire::net::{Protocol, SocketId, Tuple};
use sfu_wire::scalability::Layers;

pub use crate::command_error::{CommandError, ErrorCode};
use crate::config::{ConsumerConfig, ProducerConfig};
use crate::decision::Decision;
pub use crate::listening::{BoundSocket, Listen, WebRtcTransportOptions};
use crate::observer::{ObserverOptions, ProducerVolume};
pub use crate::signalled::{
    LocalAddress, PipeRemote, PipeTransportCreated, PipeTransportOptions, PlainRemote, PlainTransportCreated,
    PlainTransportOptions, SrtpParameters, StreamSsrcs,
};
pub use crate::stats::EncodingScore;
use crate::stats::{Dump, Stats};
use crate::tap::{TapEnd, TapOptions};
use crate::trace::{Trace, TraceMask};

/// The peer's side of DTLS, as signalled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteDtls {
    /// The role that the *peer* takes; `None` is "auto" (peer is client).
    pub role: Option<DtlsRole>,
    /// At least one; the certificate must match one of them.
    pub fingerprints: Vec<Fingerprint>,
}

/// A command to one shard.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Makes a router. Reply: [`Reply::Created`].
    CreateRouter,
    /// Makes a WebRTC server on the sockets bound for this command. Reply: [`Reply::Created`].
    CreateWebRtcServer,
    /// Makes a WebRTC transport in a router. Reply: [`Reply::WebRtcTransport`].
    CreateWebRtcTransport {
        /// The router.
        router: ObjectId,
        /// How.
        options: WebRtcTransportOptions,
    },
    /// Gives the peer's DTLS parameters, once. Reply: [`Reply::Connected`].
    ConnectWebRtcTransport {
        /// The transport.
        transport: ObjectId,
        /// The peer's parameters.
        dtls: RemoteDtls,
    },
    /// New ICE credentials; the old ones hold until the new ones are used. Reply:
    /// [`Reply::IceParameters`].
    RestartIce {
        /// The transport.
        transport: ObjectId,
    },
    /// Changes the bound of what the peer is told to send, by REMB where that was negotiated. Reply:
    /// [`Reply::Done`].
    SetMaxIncomingBitrate {
        /// The transport.
        transport: ObjectId,
        /// Bit/s; 0 is no bound.
        bitrate: u32,
    },
    /// Makes a plain transport in a router, on the sockets bound for this command. Reply:
    /// [`Reply::PlainTransport`].
    CreatePlainTransport {
        /// The router.
        router: ObjectId,
        /// How.
        options: PlainTransportOptions,
    },
    /// Tells a plain transport where its peer is and its key, once. Reply: [`Reply::Done`].
    ConnectPlainTransport {
        /// The transport.
        transport: ObjectId,
        /// The peer.
        remote: Box<PlainRemote>,
    },
    /// Makes a pipe transport in a router, on the socket bound for this command. Reply:
    /// [`Reply::PipeTransport`].
    CreatePipeTransport {
        /// The router.
        router: ObjectId,
        /// How.
        options: PipeTransportOptions,
    },
    /// Tells a pipe transport where its other end is and its key, once. Reply: [`Reply::Done`].
    ConnectPipeTransport {
        /// The transport.
        transport: ObjectId,
        /// The other end.
        remote: Box<PipeRemote>,
    },
    /// Makes a direct transport in a router. Reply: [`Reply::Created`].
    CreateDirectTransport {
        /// The router.
        router: ObjectId,
        /// Upper bound of what the application is told to send, bit/s; 0 is no bound.
        max_incoming_bitrate: u32,
    },
    /// Makes a producer on a transport. Reply: [`Reply::Created`].
    Produce {
        /// The transport.
        transport: ObjectId,
        /// The negotiated streams.
        config: Box<ProducerConfig>,
    },
    /// Makes a consumer on a transport of the producer's router. Reply: [`Reply::Consumer`].
    Consume {
        /// The transport.
        transport: ObjectId,
        /// The negotiated stream.
        config: Box<ConsumerConfig>,
    },
    /// Carries out a command that makes a transport in a router of another shard: in the branch of it that is here, made
    /// if need be. Reply: the command's.
    InBranch {
        /// The router.
        home: ObjectId,
        /// The command.
        command: Box<Command>,
    },
    /// Carries out a command that lets something here have the media of a producer of another shard: a consumer, or an
    /// observer. Reply: the command's.
    Across {
        /// The producer.
        producer: ObjectId,
        /// Its streams, as it was made with.
        source: Box<ProducerConfig>,
        /// The command.
        command: Box<Command>,
    },
    /// Pauses a producer, a consumer or an observer; pausing twice is no error. Reply:
    /// [`Reply::Done`].
    Pause {
        /// The producer, consumer or observer.
        object: ObjectId,
    },
    /// Resumes a producer, a consumer or an observer; resuming twice is no error. Reply:
    /// [`Reply::Done`].
    Resume {
        /// The producer, consumer or observer.
        object: ObjectId,
    },
    /// Asks for a key frame (throttled). For a consumer that does not flow yet (paused, or its peer not connected)
    /// only if none is kept that it could begin with. Reply: [`Reply::Done`].
    RequestKeyFrame {
        /// The consumer.
        consumer: ObjectId,
    },
    /// Sets the highest layers that a consumer is to get, clamped to those that exist. Reply:
    /// [`Reply::Done`].
    SetPreferredLayers {
        /// The consumer.
        consumer: ObjectId,
        /// `None`: all there are.
        layers: Option<Layers>,
    },
    /// Sets a consumer's weight in the sharing of bandwidth. Reply: [`Reply::Done`].
    SetPriority {
        /// The consumer.
        consumer: ObjectId,
        /// 1 to 255; 1 is the default and the least.
        priority: u8,
    },
    /// Lets a consumer follow another producer of the same router and kind, without a seam for its
    /// peer. Reply: [`Reply::Done`].
    SwitchProducer {
        /// The consumer.
        consumer: ObjectId,
        /// As negotiated for the new producer, with codecs that the consumer's peer knows. SSRCs,
        /// MID, extension ids and the sequence space stay as they are.
        config: Box<ConsumerConfig>,
    },
    /// Makes an observer in a router. Reply: [`Reply::Created`].
    CreateObserver {
        /// The router.
        router: ObjectId,
        /// What it is to find out.
        options: ObserverOptions,
    },
    /// Lets an observer hear an audio producer of its router; twice is once. Reply: [`Reply::Done`].
    Observe {
        /// The observer.
        observer: ObjectId,
        /// The producer.
        producer: ObjectId,
    },
    /// Lets an observer hear a producer no longer; one that it does not hear is no error. Reply:
    /// [`Reply::Done`].
    Unobserve {
        /// The observer.
        observer: ObjectId,
        /// The producer.
        producer: ObjectId,
    },
    /// Chooses what of a producer or consumer is told as [`Event::Trace`]; replaces the choice before.
    /// Reply: [`Reply::Done`].
    SetTrace {
        /// The producer or consumer.
        object: ObjectId,
        /// What; nothing switches it off.
        kinds: TraceMask,
    },
    /// Keeps the latest decisions about the media of a transport or a consumer; forgets those that were
    /// kept before. Reply: [`Reply::Done`].
    KeepDecisions {
        /// The transport or consumer.
        object: ObjectId,
        /// So many; 0 switches it off.
        rows: u32,
    },
    /// What [`Command::KeepDecisions`] has kept. Reply: [`Reply::Decisions`].
    DumpDecisions {
        /// The transport or consumer.
        object: ObjectId,
    },
    /// Copies a transport's RTP and RTCP from now on ([`Shard::taps`](crate::shard::Shard::taps)). Reply:
    /// [`Reply::Done`].
    StartTap {
        /// The transport.
        transport: ObjectId,
        /// What, and for how long.
        options: TapOptions,
    },
    /// Ends that; what is not tapped is no error. Reply: [`Reply::Done`].
    StopTap {
        /// The transport.
        transport: ObjectId,
    },
    /// Closes any object with all that is below it. Reply: [`Reply::Done`].
    Close {
        /// The object.
        object: ObjectId,
    },
    /// The state of an object, for people and tests. Reply: [`Reply::Dump`].
    Dump {
        /// The object.
        object: ObjectId,
    },
    /// The counters of an object. Reply: [`Reply::Stats`].
    Stats {
        /// The object.
        object: ObjectId,
    },
    /// The counters of an object without those of its streams: cheap, however many there are. Reply:
    /// [`Reply::Stats`].
    Summary {
        /// The object.
        object: ObjectId,
    },
    /// State of the shard itself. Reply: [`Reply::Dump`].
    DumpShard,
    /// Counters of the shard itself. Reply: [`Reply::Stats`].
    ShardStats,
}

/// ICE credentials of our side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceParameters {
    /// At least 24 bits of randomness (RFC 8445, section 5.3).
    pub username_fragment: String,
    /// At least 128 bits of randomness.
    pub password: String,
}

/// A host candidate of our side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceCandidate {
    /// RFC 8445, section 5.1.1.3.
    pub foundation: String,
    /// RFC 8445, section 5.1.2.
    pub priority: u32,
    /// An address or a host name.
    pub address: String,
    /// The port.
    pub port: u16,
    /// UDP, or TCP that waits for the peer to connect ("passive", RFC 6544).
    pub protocol: Protocol,
}

/// The answer to [`Command::CreateWebRtcTransport`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebRtcTransportCreated {
    /// The new transport.
    pub id: ObjectId,
    /// Our ICE credentials.
    pub ice: IceParameters,
    /// Our candidates, in order of priority.
    pub candidates: Vec<IceCandidate>,
    /// Fingerprints of our certificate.
    pub fingerprints: Vec<Fingerprint>,
}

/// The answer to [`Command::Consume`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerCreated {
    /// The new consumer.
    pub id: ObjectId,
    /// SSRC of the stream that it sends, unique on its transport.
    pub ssrc: u32,
    /// SSRC of its RTX stream, where RTX was negotiated.
    pub rtx_ssrc: Option<u32>,
    /// All streams that it sends: one, or of a pipe one for each encoding of the producer, in order.
    pub streams: Vec<StreamSsrcs>,
    /// The producer is paused right now.
    pub producer_paused: bool,
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Done; nothing more to say.
    Done,
    /// The new object.
    Created(ObjectId),
    /// A WebRTC transport.
    WebRtcTransport(WebRtcTransportCreated),
    /// A plain transport.
    PlainTransport(PlainTransportCreated),
    /// A pipe transport.
    PipeTransport(PipeTransportCreated),
    /// The DTLS role that our side took.
    Connected(DtlsRole),
    /// New ICE credentials.
    IceParameters(IceParameters),
    /// A consumer.
    Consumer(ConsumerCreated),
    /// State.
    Dump(Box<Dump>),
    /// Counters.
    Stats(Box<Stats>),
    /// Decisions, the oldest first, each with its moment in nanoseconds of Unix time.
    Decisions {
        /// So many are kept at most; 0: none, it is off.
        capacity: usize,
        /// The decisions.
        rows: Vec<(u64, Decision)>,
    },
}

/// ICE state of a lite agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IceState {
    /// No valid check yet.
    New,
    /// A valid check arrived.
    Connected,
    /// A pair was nominated.
    Completed,
    /// Consent ran out.
    Disconnected,
}

/// DTLS state of a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DtlsState {
    /// Nothing sent or received.
    New,
    /// Handshake under way.
    Connecting,
    /// Done, and the certificate matched.
    Connected,
    /// Failed for good.
    Failed,
    /// Closed by either side.
    Closed,
}

/// Why an object was closed by the engine and not by a command that named it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Its router closed.
    RouterClosed,
    /// Its transport closed.
    TransportClosed,
    /// Its producer closed.
    ProducerClosed,
    /// Its WebRTC server closed.
    ServerClosed,
    /// A bug was caught inside its router.
    Panic,
    /// The shard of its router ended by a bug.
    ShardFailed,
}

/// What happens without being asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An object was closed as a consequence of something else.
    Closed {
        /// What was closed.
        object: ObjectId,
        /// Why.
        reason: CloseReason,
    },
    /// A bug was caught at work for a router, which is closed with all that was in it.
    RouterFailed {
        /// The router.
        router: ObjectId,
        /// What the panic said.
        text: String,
    },
    /// A transport's ICE state changed.
    IceState {
        /// The transport.
        transport: ObjectId,
        /// The new state.
        state: IceState,
    },
    /// A transport's selected tuple changed.
    IceSelectedTuple {
        /// The transport.
        transport: ObjectId,
        /// Our address of the tuple.
        local: SocketAddr,
        /// The tuple.
        tuple: Tuple,
        /// UDP or TCP.
        protocol: Protocol,
    },
    /// A transport's DTLS state changed.
    DtlsState {
        /// The transport.
        transport: ObjectId,
        /// The new state.
        state: DtlsState,
        /// Why it failed; empty otherwise.
        reason: String,
    },
    /// A plain transport learned its peer's address (comedia).
    TransportTuple {
        /// The transport.
        transport: ObjectId,
        /// Our address of the tuple.
        local: SocketAddr,
        /// The tuple.
        tuple: Tuple,
        /// RTCP's own address, where it has one.
        rtcp: bool,
    },
    /// A transport's peer has brought more SSRCs that were not signalled than are kept; told once for a transport.
    /// Media goes on: a newer SSRC takes the place of an older one.
    StreamLimitReached {
        /// The transport.
        transport: ObjectId,
        /// How many are kept.
        limit: u32,
    },
    /// The other end of a pipe has been silent for ten seconds, or is heard again.
    PipeSilent {
        /// The transport.
        transport: ObjectId,
        /// It is silent.
        silent: bool,
    },
    /// The producer of a consumer was paused.
    ProducerPaused {
        /// The consumer.
        consumer: ObjectId,
    },
    /// The producer of a consumer was resumed.
    ProducerResumed {
        /// The consumer.
        consumer: ObjectId,
    },
    /// A consumer sends other layers than before.
    LayersChanged {
        /// The consumer.
        consumer: ObjectId,
        /// The layers that it sends now; `None`: nothing.
        layers: Option<Layers>,
    },
    /// The quality of a producer's streams changed.
    ProducerScore {
        /// The producer.
        producer: ObjectId,
        /// One for each encoding that has an SSRC.
        scores: Vec<EncodingScore>,
    },
    /// The quality of a consumer's stream changed. All from 0 (nothing arrives) to 10.
    ConsumerScore {
        /// The consumer.
        consumer: ObjectId,
        /// Of the stream to the peer.
        score: u8,
        /// Of the encoding that it gets.
        producer_score: u8,
        /// Of all encodings of the producer, in order.
        producer_scores: Vec<u8>,
    },
    /// The highest layers that any consumer of a producer now wants.
    WantedLayers {
        /// The producer.
        producer: ObjectId,
        /// `None`: nobody watches.
        wanted: Option<Layers>,
    },
    /// The camera of a producer was turned (3GPP TS 26.114, section 7.4.5).
    VideoOrientation {
        /// The producer.
        producer: ObjectId,
        /// The picture comes from the camera at the back.
        camera: bool,
        /// It is mirrored.
        flip: bool,
        /// Degrees that the receiver has to turn it clockwise: 0, 90, 180 or 270.
        rotation: u16,
    },
    /// Who is loud, at the end of an observer's window.
    Volumes {
        /// The observer.
        observer: ObjectId,
        /// The loudest first.
        volumes: Vec<ProducerVolume>,
    },
    /// Nobody that an observer hears is loud any more.
    Silence {
        /// The observer.
        observer: ObjectId,
    },
    /// Another producer is the dominant speaker.
    DominantSpeaker {
        /// The observer.
        observer: ObjectId,
        /// The producer.
        producer: ObjectId,
    },
    /// Something passed a producer or consumer that is traced for it. Telemetry: it may be dropped.
    Trace {
        /// The producer or consumer.
        object: ObjectId,
        /// What.
        trace: Trace,
    },
    /// A tap has ended.
    TapClosed {
        /// The transport.
        transport: ObjectId,
        /// Why.
        reason: TapEnd,
        /// Packets that were copied.
        packets: u64,
        /// Bytes of the file.
        bytes: u64,
        /// Packets that came faster than copies were taken.
        dropped: u64,
        /// What went wrong with the file.
        text: String,
    },
    /// So many trace events were dropped, since they came faster than they were taken.
    TelemetryLost {
        /// How many.
        count: u64,
    },
}

/// A socket that nothing uses any more: the runtime closes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseSocket(pub SocketId);
