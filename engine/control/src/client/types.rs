//! What the client is told and tells.

use std::fmt;
use std::time::Duration;

use sfu_core::command::{CommandError, ErrorCode};

use crate::ortc::numbering::Numbering;
use crate::ortc::{DtlsParameters, IceCandidate, IceParameters, MediaKind, Protocol, RtpCapabilities, RtpParameters};
use crate::schema as fb;

pub use sfu_wire::scalability::{Layers, ScalabilityMode};

/// Id of a router, server, transport, producer or consumer, as on the wire. 0 is the engine.
pub type Id = u64;

/// A refused or failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientError {
    /// The kind of mistake.
    pub code: ErrorCode,
    /// The offending field; empty if none.
    pub field: String,
    /// One sentence with the value and the remedy.
    pub text: String,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            write!(f, "{:?}: {}", self.code, self.text)
        } else {
            write!(f, "{:?}: {}: {}", self.code, self.field, self.text)
        }
    }
}

impl std::error::Error for ClientError {}

impl From<CommandError> for ClientError {
    fn from(error: CommandError) -> Self {
        Self { code: error.code, field: error.field, text: error.text }
    }
}

/// What happens in the engine without being asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An object was closed as a consequence of something else.
    Closed {
        /// What was closed.
        object: Id,
        /// Why.
        reason: fb::CloseReason,
    },
    /// ICE state of a transport.
    IceState {
        /// The transport.
        transport: Id,
        /// The new state.
        state: fb::IceState,
    },
    /// Selected tuple of a transport.
    IceSelectedTuple {
        /// The transport.
        transport: Id,
        /// The tuple.
        tuple: fb::TransportTupleT,
    },
    /// DTLS state of a transport.
    DtlsState {
        /// The transport.
        transport: Id,
        /// The new state.
        state: fb::DtlsState,
        /// Why it failed; empty otherwise.
        reason: String,
    },
    /// The producer of a consumer was paused.
    ProducerPaused {
        /// The consumer.
        consumer: Id,
    },
    /// The producer of a consumer was resumed.
    ProducerResumed {
        /// The consumer.
        consumer: Id,
    },
    /// A consumer sends other layers than before.
    LayersChanged {
        /// The consumer.
        consumer: Id,
        /// What it sends now; `None`: nothing.
        layers: Option<Layers>,
    },
    /// The quality of a producer's streams changed.
    ProducerScore {
        /// The producer.
        producer: Id,
        /// One for each encoding that has an SSRC.
        scores: Vec<fb::EncodingScoreT>,
    },
    /// The quality of a consumer's stream changed. All from 0 (nothing arrives) to 10.
    ConsumerScore {
        /// The consumer.
        consumer: Id,
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
        producer: Id,
        /// `None`: nobody watches.
        layers: Option<Layers>,
    },
    /// The camera of a producer was turned.
    VideoOrientation {
        /// The producer.
        producer: Id,
        /// The picture comes from the camera at the back.
        camera: bool,
        /// It is mirrored.
        flip: bool,
        /// Degrees that a receiver turns it clockwise.
        rotation: u16,
    },
    /// Who is loud, the loudest first.
    Volumes {
        /// The observer.
        observer: Id,
        /// Producers, each with its level: -127 to 0, dBov.
        volumes: Vec<(Id, i8)>,
    },
    /// Nobody is loud any more.
    Silence {
        /// The observer.
        observer: Id,
    },
    /// Another producer is the dominant speaker.
    DominantSpeaker {
        /// The observer.
        observer: Id,
        /// The producer.
        producer: Id,
    },
    /// Something passed a traced producer or consumer.
    Trace {
        /// The producer or consumer.
        object: Id,
        /// What.
        trace: Box<fb::TraceEventT>,
    },
    /// A plain transport learned its peer's address.
    TransportTuple {
        /// The transport.
        transport: Id,
        /// The tuple.
        tuple: fb::TransportTupleT,
        /// That of RTCP alone.
        rtcp: bool,
    },
    /// The other end of a pipe fell silent, or is heard again.
    PipeSilence {
        /// The transport.
        transport: Id,
        /// It is silent.
        silent: bool,
    },
    /// A transport's peer has brought more SSRCs that were not signalled than are kept; told once for a transport.
    StreamLimitReached {
        /// The transport.
        transport: Id,
        /// How many are kept.
        limit: u32,
    },
    /// A transport's tap has ended.
    TapClosed {
        /// The transport.
        transport: Id,
        /// How, and what is in the file.
        closed: Box<fb::TapClosedT>,
    },
    /// The engine drains, and its last router is gone.
    EngineDrained,
    /// Telemetry events were dropped.
    EventsLost {
        /// How many.
        count: u64,
    },
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListenInfo {
    /// Protocol.
    pub protocol: Protocol,
    /// Local address.
    pub ip: String,
    /// Address or host name for candidates.
    pub announced_address: Option<String>,
    /// Also offer the local address.
    pub expose_internal_ip: bool,
    /// 0 takes any free port, or one of `port_range`.
    pub port: u16,
    /// First and last port.
    pub port_range: Option<(u16, u16)>,
    /// Keep an IPv6 socket from taking IPv4.
    pub ipv6_only: bool,
    /// Bytes; 0 is the default.
    pub send_buffer_size: u32,
    /// Bytes; 0 is the default.
    pub recv_buffer_size: u32,
    /// Share the UDP port with others that ask for the same.
    pub udp_reuse_port: bool,
}

impl ListenInfo {
    /// UDP on `ip` with any free port.
    pub fn udp(ip: impl Into<String>) -> Self {
        Self { ip: ip.into(), ..Self::default() }
    }

    /// TCP on `ip` with any free port.
    pub fn tcp(ip: impl Into<String>) -> Self {
        Self { protocol: Protocol::Tcp, ..Self::udp(ip) }
    }

    pub(super) fn to_schema(&self) -> fb::ListenInfoT {
        fb::ListenInfoT {
            protocol: if self.protocol == Protocol::Tcp { fb::Protocol::tcp } else { fb::Protocol::udp },
            ip: self.ip.clone(),
            announced_address: self.announced_address.clone(),
            expose_internal_ip: self.expose_internal_ip,
            port: self.port,
            port_range: self.port_range.map(|(min, max)| Box::new(fb::PortRangeT { min, max })),
            ipv6_only: self.ipv6_only,
            send_buffer_size: self.send_buffer_size,
            recv_buffer_size: self.recv_buffer_size,
            udp_reuse_port: self.udp_reuse_port,
        }
    }
}

/// Where a WebRTC transport listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// On sockets of its own.
    Own(Vec<ListenInfo>),
    /// On a WebRTC server. Of one shard: the transport is on it too. Of all shards: it may be on any.
    Server(Id),
}

/// Options of a WebRTC transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebRtcTransportOptions {
    /// Where it listens.
    pub listen: Listen,
    /// `None` switches the consent check off.
    pub ice_consent_timeout: Option<Duration>,
    /// Bit/s; 0 is no bound.
    pub max_incoming_bitrate: u32,
    /// It may be reached by UDP.
    pub enable_udp: bool,
    /// It may be reached by TCP.
    pub enable_tcp: bool,
    /// Whose candidates come first; without one, UDP's do.
    pub prefer: Option<Protocol>,
    /// Where it is placed; absent: the engine chooses.
    pub shard: Option<u8>,
}

impl WebRtcTransportOptions {
    /// The defaults, listening at `listen`.
    pub fn new(listen: Listen) -> Self {
        Self {
            listen,
            ice_consent_timeout: Some(Duration::from_secs(30)),
            max_incoming_bitrate: 0,
            enable_udp: true,
            enable_tcp: true,
            prefer: None,
            shard: None,
        }
    }
}

/// Options of an audio level observer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioLevelObserverOptions {
    /// So many producers are told at most.
    pub max_entries: u16,
    /// Producers below it are not told, dBov.
    pub threshold: i8,
    /// Length of a window.
    pub interval: Duration,
}

impl Default for AudioLevelObserverOptions {
    fn default() -> Self {
        Self { max_entries: 1, threshold: -80, interval: Duration::from_secs(1) }
    }
}

/// Options of a producer.
#[derive(Debug, Clone, PartialEq)]
pub struct ProduceOptions {
    /// Audio or video.
    pub kind: MediaKind,
    /// What is sent.
    pub rtp_parameters: RtpParameters,
    /// Start paused.
    pub paused: bool,
    /// Least time between two key-frame requests upstream.
    pub key_frame_request_delay: Duration,
    /// The payload is encrypted from end to end and must not be looked into.
    pub opaque_payload: bool,
    /// Keep the newest key frame and what follows it, for those who come later.
    pub key_frame_cache: bool,
}

impl ProduceOptions {
    /// The defaults.
    pub fn new(kind: MediaKind, rtp_parameters: RtpParameters) -> Self {
        let key_frame_request_delay = Duration::ZERO;
        Self {
            kind,
            rtp_parameters,
            paused: false,
            key_frame_request_delay,
            opaque_payload: false,
            key_frame_cache: true,
        }
    }
}

/// Options of a consumer.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsumeOptions {
    /// What to consume.
    pub producer: Id,
    /// What the peer is able to receive.
    pub rtp_capabilities: RtpCapabilities,
    /// Start paused.
    pub paused: bool,
    /// MID; absent is the next free number.
    pub mid: Option<String>,
    /// Absent: on for video, off for audio.
    pub enable_rtx: Option<bool>,
    /// The highest layers; `None` is all there are.
    pub preferred_layers: Option<Layers>,
    /// Weight in the sharing of bandwidth, 1 (the least) to 255.
    pub priority: u8,
    /// Leave out Opus packets that say nothing but "silence".
    pub ignore_dtx: bool,
    /// Whose payload types and extension ids the packets carry.
    pub numbering: Numbering,
    /// Pad video packets by a few bytes, so that those of a frame have one size and leave in one message to the kernel.
    pub pad_frames: bool,
}

impl ConsumeOptions {
    /// The defaults.
    pub fn new(producer: Id, rtp_capabilities: RtpCapabilities) -> Self {
        Self {
            producer,
            rtp_capabilities,
            paused: false,
            mid: None,
            enable_rtx: None,
            preferred_layers: None,
            priority: 1,
            ignore_dtx: false,
            numbering: Numbering::Router,
            pad_frames: false,
        }
    }
}

/// What a section of a peer's offer became.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SdpSection {
    /// Its MID.
    pub mid: String,
    /// What the peer sends in it.
    pub producer: Option<Id>,
    /// What the peer receives in it, made with this MID and the numbering of the peer.
    pub consumer: Option<Id>,
    /// A consumer with this MID may come later.
    pub open: bool,
}

/// A new router.
#[derive(Debug, Clone, PartialEq)]
pub struct Router {
    /// Its id.
    pub id: Id,
    /// What clients load.
    pub rtp_capabilities: RtpCapabilities,
}

/// A new WebRTC transport.
#[derive(Debug, Clone, PartialEq)]
pub struct WebRtcTransport {
    /// Its id.
    pub id: Id,
    /// Credentials.
    pub ice_parameters: IceParameters,
    /// Candidates.
    pub ice_candidates: Vec<IceCandidate>,
    /// Fingerprints and role `auto`.
    pub dtls_parameters: DtlsParameters,
}

/// A new producer.
#[derive(Debug, Clone, PartialEq)]
pub struct Producer {
    /// Its id.
    pub id: Id,
    /// `simple`, `simulcast` or `svc`.
    pub r#type: &'static str,
}

/// A new consumer.
#[derive(Debug, Clone, PartialEq)]
pub struct Consumer {
    /// Its id.
    pub id: Id,
    /// Audio or video.
    pub kind: MediaKind,
    /// What the peer is to receive.
    pub rtp_parameters: RtpParameters,
    /// `simple`, `simulcast`, `svc` or `pipe`.
    pub r#type: &'static str,
    /// The producer is paused right now.
    pub producer_paused: bool,
}

/// A consumer that follows another producer now.
#[derive(Debug, Clone, PartialEq)]
pub struct Switched {
    /// Type of the new producer.
    pub r#type: &'static str,
    /// What the peer has, with the new producer's layers.
    pub rtp_parameters: RtpParameters,
}
