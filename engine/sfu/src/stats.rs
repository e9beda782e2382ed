//! State and counters as plain structs. They mirror the tables of `include/libsfu.fbs`; what only the
//! control floor knows (readable RTP parameters, MIME types, the core of a shard) is left out here
//! and added there.

use std::net::SocketAddr;

use sfu_proto::crypto::{DtlsRole, Fingerprint};
use sfu_wire::codec::CodecKind;
use sfu_wire::drop_reason::DropCounters;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Rid};
use sfu_wire::net::{Protocol, SocketId};
use sfu_wire::scalability::Layers;

use crate::command::{DtlsState, IceCandidate, IceParameters, IceState};
use crate::config::StreamType;
use crate::observer::ObserverOptions;
use crate::trace::TraceMask;
use crate::transport_streams::TransportStreams;

/// A 5-tuple in full: our address is known besides the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TupleAddrs {
    /// UDP or TCP.
    pub protocol: Protocol,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
}

/// The state of one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Dump {
    /// The shard.
    Shard(ShardDump),
    /// A WebRTC server.
    WebRtcServer(WebRtcServerDump),
    /// A router.
    Router(RouterDump),
    /// A WebRTC transport.
    WebRtcTransport(WebRtcTransportDump),
    /// A plain transport.
    PlainTransport(PlainTransportDump),
    /// A pipe transport.
    PipeTransport(PipeTransportDump),
    /// A direct transport.
    DirectTransport(DirectTransportDump),
    /// A producer.
    Producer(ProducerDump),
    /// A consumer.
    Consumer(ConsumerDump),
    /// An observer.
    Observer(ObserverDump),
}

/// State of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardDump {
    /// Its number.
    pub index: u8,
    /// Its routers.
    pub routers: Vec<ObjectId>,
    /// Its WebRTC servers.
    pub webrtc_servers: Vec<ObjectId>,
    /// Sockets in use.
    pub sockets: u32,
}

/// State of a WebRTC server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebRtcServerDump {
    /// Its id.
    pub id: ObjectId,
    /// The sockets that it owns.
    pub sockets: Vec<SocketId>,
    /// Their addresses, in the same order.
    pub local_addresses: Vec<(Protocol, SocketAddr)>,
    /// Transports that use it.
    pub transports: Vec<ObjectId>,
    /// The username fragments that lead to each.
    pub username_fragments: Vec<(String, ObjectId)>,
}

/// State of a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterDump {
    /// Its id.
    pub id: ObjectId,
    /// Its transports.
    pub transports: Vec<ObjectId>,
    /// Producers on its transports.
    pub producers: Vec<ObjectId>,
    /// Consumers on its transports.
    pub consumers: Vec<ObjectId>,
    /// Its observers.
    pub observers: Vec<ObjectId>,
    /// Who consumes whom: a producer and its consumers, for each producer that has any.
    pub consumers_of: Vec<(ObjectId, Vec<ObjectId>)>,
    /// Who hears whom: a producer and its observers, for each producer that has any.
    pub observers_of: Vec<(ObjectId, Vec<ObjectId>)>,
}

/// State of an observer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObserverDump {
    /// Its id.
    pub id: ObjectId,
    /// Its router.
    pub router: ObjectId,
    /// As made.
    pub options: ObserverOptions,
    /// Paused by command.
    pub paused: bool,
    /// What it hears, in order of addition.
    pub producers: Vec<ObjectId>,
    /// The dominant speaker, if it looks for one and there is one.
    pub dominant: Option<ObjectId>,
}

/// State of a WebRTC transport.
#[derive(Debug, Clone, PartialEq)]
pub struct WebRtcTransportDump {
    /// Its id.
    pub id: ObjectId,
    /// Its router.
    pub router: ObjectId,
    /// The server whose sockets it uses, if any.
    pub webrtc_server: Option<ObjectId>,
    /// ICE state.
    pub ice_state: IceState,
    /// Our ICE credentials.
    pub ice_parameters: IceParameters,
    /// Our candidates.
    pub ice_candidates: Vec<IceCandidate>,
    /// Where media goes.
    pub selected_tuple: Option<TupleAddrs>,
    /// All verified tuples.
    pub tuples: Vec<TupleAddrs>,
    /// DTLS state.
    pub dtls_state: DtlsState,
    /// Our DTLS role, once known.
    pub dtls_local_role: Option<DtlsRole>,
    /// Fingerprints of our certificate.
    pub fingerprints: Vec<Fingerprint>,
    /// The SRTP profile in use.
    pub srtp_profile: Option<&'static str>,
    /// Producers on it.
    pub producers: Vec<ObjectId>,
    /// Consumers on it.
    pub consumers: Vec<ObjectId>,
    /// Its streams.
    pub streams: TransportStreams,
}

/// State of a plain transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainTransportDump {
    /// Its id.
    pub id: ObjectId,
    /// Its router.
    pub router: ObjectId,
    /// RTP and RTCP share a port.
    pub rtcp_mux: bool,
    /// The peer's first packet tells where it is.
    pub comedia: bool,
    /// Where it listens: RTP's address, and RTCP's if that is another.
    pub local_addresses: Vec<SocketAddr>,
    /// Where RTP goes.
    pub tuple: Option<TupleAddrs>,
    /// Where RTCP goes, if elsewhere.
    pub rtcp_tuple: Option<TupleAddrs>,
    /// The SRTP profile of what is sent.
    pub srtp_profile: Option<&'static str>,
    /// Producers on it.
    pub producers: Vec<ObjectId>,
    /// Consumers on it.
    pub consumers: Vec<ObjectId>,
    /// Its streams.
    pub streams: TransportStreams,
}

/// State of a pipe transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipeTransportDump {
    /// Its id.
    pub id: ObjectId,
    /// Its router.
    pub router: ObjectId,
    /// Where it listens.
    pub local_address: SocketAddr,
    /// Where it sends.
    pub tuple: Option<TupleAddrs>,
    /// Consumers have RTX streams.
    pub rtx: bool,
    /// It uses SRTP.
    pub srtp: bool,
    /// Only what the far router wants passes.
    pub only_wanted: bool,
    /// Nothing has come for long.
    pub silent: bool,
    /// Producers on it.
    pub producers: Vec<ObjectId>,
    /// Consumers on it.
    pub consumers: Vec<ObjectId>,
    /// Its streams.
    pub streams: TransportStreams,
}

/// State of a direct transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectTransportDump {
    /// Its id.
    pub id: ObjectId,
    /// Its router.
    pub router: ObjectId,
    /// Producers on it.
    pub producers: Vec<ObjectId>,
    /// Consumers on it.
    pub consumers: Vec<ObjectId>,
    /// Its streams.
    pub streams: TransportStreams,
}

/// State of a producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerDump {
    /// Its id.
    pub id: ObjectId,
    /// Its transport.
    pub transport: ObjectId,
    /// Audio or video.
    pub kind: MediaKind,
    /// Paused by command.
    pub paused: bool,
    /// SSRCs that it receives, signalled and learned.
    pub ssrcs: Vec<u32>,
    /// Its consumers.
    pub consumers: Vec<ObjectId>,
    /// How its layers come.
    pub stream_type: StreamType,
    /// Its encodings' scores.
    pub scores: Vec<EncodingScore>,
    /// The highest layers that any consumer wants; `None`: nobody watches.
    pub wanted_layers: Option<Layers>,
    /// What of it is told as trace events.
    pub trace: TraceMask,
    /// Observers hear it.
    pub observed: bool,
    /// The payload is encrypted from end to end and never looked into.
    pub opaque_payload: bool,
}

/// State of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerDump {
    /// Its id.
    pub id: ObjectId,
    /// Its transport.
    pub transport: ObjectId,
    /// Its producer.
    pub producer: ObjectId,
    /// Audio or video.
    pub kind: MediaKind,
    /// Paused by command.
    pub paused: bool,
    /// Its producer is paused.
    pub producer_paused: bool,
    /// SSRC that it sends.
    pub ssrc: u32,
    /// SSRC of its RTX stream.
    pub rtx_ssrc: Option<u32>,
    /// SSRC of its FlexFEC stream.
    pub fec_ssrc: Option<u32>,
    /// How its layers come.
    pub stream_type: StreamType,
    /// Its weight in the sharing of bandwidth.
    pub priority: u8,
    /// The highest layers that its peer wants; `None`: all there are.
    pub preferred_layers: Option<Layers>,
    /// The layers that it is on its way to.
    pub target_layers: Option<Layers>,
    /// The layers that it sends; `None`: nothing.
    pub current_layers: Option<Layers>,
    /// The producer that it goes over to as soon as that one's stream can be begun with.
    pub pending_producer: Option<ObjectId>,
    /// The payload types that it sends, each with that of its RTX.
    pub payload_types: Vec<(u8, Option<u8>)>,
    /// What its peer calls the header extensions that it is sent.
    pub extensions: Vec<(ExtensionKind, u8)>,
    /// What of it is told as trace events.
    pub trace: TraceMask,
    /// So many decisions about it are kept; 0 is none.
    pub decision_rows: usize,
    /// Header extensions left out for want of room.
    pub extensions_left_out: u64,
    /// Of a pipe: its streams, one for each encoding of the producer, in order.
    pub lanes: Vec<LaneDump>,
}

/// One stream of a pipe consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneDump {
    /// SSRC that it sends.
    pub ssrc: u32,
    /// SSRC of its RTX stream.
    pub rtx_ssrc: Option<u32>,
    /// SSRC of its FlexFEC stream.
    pub fec_ssrc: Option<u32>,
    /// The far router wants it, and the consumer's preferred layers include it.
    pub wanted: bool,
    /// The layers within the encoding that it sends; `None`: nothing.
    pub current_layers: Option<Layers>,
}

/// Counters of what was asked for and of what is below it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stats {
    /// Unix time, milliseconds.
    pub timestamp_ms: u64,
    /// Of a transport.
    pub transport: Option<TransportStats>,
    /// RTP streams.
    pub streams: Vec<RtpStreamStats>,
    /// Refusals of network input.
    pub drops: DropCounters,
    /// Other named counters.
    pub counters: Vec<(&'static str, u64)>,
}

/// Counters of a transport. Bitrates in bit/s over the last second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TransportStats {
    /// All datagrams, as they came.
    pub bytes_received: u64,
    /// All datagrams, as they went.
    pub bytes_sent: u64,
    /// Datagrams received.
    pub packets_received: u64,
    /// Datagrams sent.
    pub packets_sent: u64,
    /// Of all datagrams.
    pub receive_bitrate: u32,
    /// Of all datagrams.
    pub send_bitrate: u32,
    /// RTP other than RTX, protected.
    pub rtp_bytes_received: u64,
    /// RTP other than RTX, protected.
    pub rtp_bytes_sent: u64,
    /// RTX, protected.
    pub rtx_bytes_received: u64,
    /// RTX, protected.
    pub rtx_bytes_sent: u64,
    /// Of the RTP streams without RTX, as decrypted.
    pub rtp_receive_bitrate: u32,
    /// Of the RTP streams without RTX, before encryption.
    pub rtp_send_bitrate: u32,
    /// Of RTX.
    pub rtx_receive_bitrate: u32,
    /// Of RTX.
    pub rtx_send_bitrate: u32,
    /// Lost of what the peer sent us lately: the fractions of its streams, weighed by bitrate, 0 to 1.
    /// `None` if nothing flows.
    pub rtp_loss_received: Option<f32>,
    /// Lost of what we sent lately, as the peer reports it; likewise.
    pub rtp_loss_sent: Option<f32>,
    /// What the peer is told to stay below; 0 is no bound.
    pub max_incoming_bitrate: u32,
    /// ICE state.
    pub ice_state: IceState,
    /// DTLS state.
    pub dtls_state: DtlsState,
    /// Where media goes.
    pub selected_tuple: Option<TupleAddrs>,
}

/// Counters of one RTP stream.
#[derive(Debug, Clone, PartialEq)]
pub struct RtpStreamStats {
    /// The producer or consumer.
    pub object: ObjectId,
    /// SSRC.
    pub ssrc: u32,
    /// SSRC of its RTX stream.
    pub rtx_ssrc: Option<u32>,
    /// SSRC of its FlexFEC stream.
    pub fec_ssrc: Option<u32>,
    /// RID, if signalled.
    pub rid: Option<Rid>,
    /// Received by us.
    pub inbound: bool,
    /// Audio or video.
    pub kind: MediaKind,
    /// The codec seen last.
    pub codec: CodecKind,
    /// Packets without retransmissions.
    pub packets: u64,
    /// Bytes without retransmissions.
    pub bytes: u64,
    /// Bit/s over the last second.
    pub bitrate: u32,
    /// RFC 3550, appendix A.3; negative with duplicates.
    pub packets_lost: i64,
    /// Of the last interval, in 1/256.
    pub fraction_lost: u8,
    /// In RTP clock units.
    pub jitter: u32,
    /// Too late, duplicate, or of no use.
    pub packets_discarded: u64,
    /// Sent again, or received as RTX.
    pub packets_retransmitted: u64,
    /// Losses that a retransmission repaired.
    pub packets_repaired: u64,
    /// NACK messages.
    pub nack_count: u64,
    /// Packets that they asked for.
    pub nack_packet_count: u64,
    /// PLI messages.
    pub pli_count: u64,
    /// FIR messages.
    pub fir_count: u64,
    /// Key frames.
    pub key_frame_count: u64,
    /// Milliseconds, where known.
    pub round_trip_time_ms: Option<f32>,
    /// Retransmissions of packets that were there already, or too old.
    pub rtx_packets_discarded: u64,
    /// Repair packets, received or sent: of the FlexFEC stream, and ULPFEC in the stream itself.
    pub fec_packets: u64,
    /// Their bytes, as decrypted or before encryption.
    pub fec_bytes: u64,
    /// How well it gets through, 0 to 10.
    pub score: u8,
    /// Of a receive stream with layers: each seen, the lowest first.
    pub bitrate_by_layer: Vec<LayerBitrate>,
}

/// What one layer of an encoding takes, without those below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerBitrate {
    /// The layer.
    pub layers: Layers,
    /// Bit/s over the last second.
    pub bitrate: u32,
}

/// How well an encoding of a producer arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodingScore {
    /// Its index.
    pub encoding: u8,
    /// Its SSRC.
    pub ssrc: u32,
    /// Its RID, if signalled.
    pub rid: Option<Rid>,
    /// From 0 (nothing arrives) to 10.
    pub score: u8,
}
