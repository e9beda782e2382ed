//! Negotiated media, as a shard needs it: numbers only. The floor above makes these from RTP
//! parameters (ORTC) and keeps the readable form.

use std::time::Duration;

use sfu_wire::codec::CodecKind;
use sfu_wire::extension::ExtensionIds;
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid, Rid};
use sfu_wire::scalability::{Layers, ScalabilityMode};

/// How the layers of a stream come: which of its numbers mean what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum StreamType {
    /// One encoding; it may have temporal layers.
    #[default]
    Simple,
    /// Several encodings, of which a consumer gets one at a time.
    Simulcast,
    /// One encoding with spatial layers in it.
    Svc,
    /// All encodings as they are, to another router.
    Pipe,
}

/// RTCP feedback that was negotiated for a codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Feedback {
    /// Generic NACK (RFC 4585).
    pub nack: bool,
    /// Picture loss indication (RFC 4585).
    pub pli: bool,
    /// Full intra request (RFC 5104).
    pub fir: bool,
    /// transport-cc feedback.
    pub transport_cc: bool,
    /// Receiver estimated maximum bitrate.
    pub remb: bool,
}

/// One codec of a producer or consumer. Codecs of the two sides meet by `slot`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecConfig {
    /// Index of the router codec that this is: equal for producer and consumer.
    pub slot: u8,
    /// What the payload is.
    pub kind: CodecKind,
    /// Payload type on this side's wire.
    pub payload_type: u8,
    /// Payload type of the RTX stream (RFC 4588), if negotiated.
    pub rtx_payload_type: Option<u8>,
    /// RTP clock, Hz.
    pub clock_rate: u32,
    /// Negotiated feedback.
    pub feedback: Feedback,
}

/// One encoding of a producer: known by SSRC, or found by MID and RID.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EncodingConfig {
    /// SSRC, if signalled.
    pub ssrc: Option<u32>,
    /// RID (RFC 8851), if signalled.
    pub rid: Option<Rid>,
    /// SSRC of the RTX stream, if signalled.
    pub rtx_ssrc: Option<u32>,
    /// SSRC of the FlexFEC stream, if signalled.
    pub fec_ssrc: Option<u32>,
    /// Discontinuous transmission is on.
    pub dtx: bool,
    /// The layers that it has.
    pub scalability: ScalabilityMode,
    /// Bit/s that it needs at most, if signalled.
    pub max_bitrate: Option<u32>,
}

/// A producer's side of the negotiation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerConfig {
    /// Audio or video.
    pub kind: MediaKind,
    /// MID, if signalled.
    pub mid: Option<Mid>,
    /// At least one.
    pub codecs: Vec<CodecConfig>,
    /// At least one.
    pub encodings: Vec<EncodingConfig>,
    /// Ids of the header extensions as the publisher writes them.
    pub extensions: ExtensionIds,
    /// Canonical name of the publisher (RFC 3550, section 6.5.1); given on to consumers.
    pub cname: String,
    /// Reduced-size RTCP was negotiated (RFC 5506).
    pub reduced_size_rtcp: bool,
    /// Starts paused.
    pub paused: bool,
    /// Least time between two key-frame requests upstream; zero is the built-in throttle alone.
    pub key_frame_request_delay: Duration,
    /// How its layers come.
    pub stream_type: StreamType,
    /// The payload is encrypted from end to end: it is never looked into. Key frames and layers are
    /// told by header extensions alone.
    pub opaque_payload: bool,
    /// The newest key frame and what follows it are kept, so that consumers can start from them.
    pub key_frame_cache: bool,
}

/// A consumer's side of the negotiation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// What it consumes.
    pub producer: ObjectId,
    /// Audio or video.
    pub kind: MediaKind,
    /// MID of the stream on the consumer's transport; unique there.
    pub mid: Mid,
    /// At least one. A codec with `rtx_payload_type` makes the consumer have an RTX stream, FlexFEC
    /// among them a FlexFEC stream.
    pub codecs: Vec<CodecConfig>,
    /// Ids of the header extensions as the consumer's peer expects them.
    pub extensions: ExtensionIds,
    /// CNAME for SDES.
    pub cname: String,
    /// Reduced-size RTCP was negotiated (RFC 5506).
    pub reduced_size_rtcp: bool,
    /// Starts paused.
    pub paused: bool,
    /// How the producer's layers come.
    pub stream_type: StreamType,
    /// The highest layers that the peer wants; `None` is all there are.
    pub preferred_layers: Option<Layers>,
    /// Weight in the sharing of bandwidth, 1 to 255; 1 is the least.
    pub priority: u8,
    /// Leaves out Opus packets that say nothing but "silence".
    pub ignore_dtx: bool,
    /// Pads video packets by a few bytes of RTP padding (RFC 3550, section 5.1), so that the packets of a frame have one size
    /// and leave in one message to the kernel. For peers that take padding.
    pub pad_frames: bool,
}

/// The least [`ConsumerConfig::priority`], and the default.
pub const LOWEST_PRIORITY: u8 = 1;
