//! Negotiated media, as a shard needs it: numbers only. The floor above makes these from RTP
//! parameters (ORTC) and keeps the readable form.

use std::time::Duration;

use sfu_wire::codec::CodecKind;
use sfu_wire::extension::ExtensionIds;
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid, Rid};

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
    /// Discontinuous transmission is on.
    pub dtx: bool,
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
    /// At least one. A codec with `rtx_payload_type` makes the consumer have an RTX stream.
    pub codecs: Vec<CodecConfig>,
    /// Ids of the header extensions as the consumer's peer expects them.
    pub extensions: ExtensionIds,
    /// CNAME for SDES.
    pub cname: String,
    /// Reduced-size RTCP was negotiated (RFC 5506).
    pub reduced_size_rtcp: bool,
    /// Starts paused.
    pub paused: bool,
}
