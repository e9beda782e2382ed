//! From consumable parameters and what a peer can receive to what it gets.
//!
//! Told: consumable parameters and a peer's capabilities. Tells: whether it can consume, the numbers for the shard,
//! and (once the shard has chosen the SSRCs) the parameters for the peer. Payload types and extension ids are the
//! router's, unless the peer's are asked for ([`numbering`]). Feedback for bandwidth estimation is
//! transport-cc, else REMB, never both.

use sfu_core::command::{CommandError, ErrorCode, StreamSsrcs};
use sfu_core::config::{CodecConfig, ConsumerConfig, LOWEST_PRIORITY};
use sfu_wire::codec::CodecKind;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;
use sfu_wire::scalability::Layers;

use super::codec::{Codec, codec_kind, feedback_flags, integer, is_primary, matches};
use super::numbering::{self, Numbering};
use super::producer::{Consumable, common_feedback, extension_ids, wire_kind};
use super::types::*;
use super::{h265, layers, red, validate};

/// How a peer wants to consume.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish<'a> {
    /// The producer.
    pub producer: ObjectId,
    /// What the peer is able to receive.
    pub capabilities: &'a RtpCapabilities,
    /// MID on the consumer's transport.
    pub mid: &'a str,
    /// Starts paused.
    pub paused: bool,
    /// Absent: on for video, off for audio.
    pub enable_rtx: Option<bool>,
    /// How much of the producer it wants.
    pub share: Share,
    /// Whose payload types and extension ids its packets carry.
    pub numbering: Numbering,
}

/// How much of a producer a consumer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The highest layers; `None` is all there are.
    pub preferred_layers: Option<Layers>,
    /// 1 to 255.
    pub priority: u8,
    /// Leaves out Opus packets that say nothing but "silence".
    pub ignore_dtx: bool,
    /// Pads packets so that those of a frame have one size.
    pub pad_frames: bool,
}

impl Default for Share {
    fn default() -> Self {
        Self { preferred_layers: None, priority: LOWEST_PRIORITY, ignore_dtx: false, pad_frames: false }
    }
}

/// The peer's entry for a codec of the producer.
fn entry<'c>(capabilities: &'c RtpCapabilities, codec: &RtpCodecParameters) -> Option<&'c RtpCodecCapability> {
    capabilities.codecs.iter().find(|c| matches(Codec::from(*c), Codec::from(codec), true))
}

/// True if the peer knows a codec of the producer that carries media.
pub fn can_consume(consumable: &Consumable, capabilities: &RtpCapabilities) -> bool {
    let primary = |c: &&RtpCodecParameters| is_primary(codec_kind(&c.mime_type));
    consumable.parameters.codecs.iter().filter(primary).any(|c| entry(capabilities, c).is_some())
}

/// The peer takes RTX for its codec of payload type `apt`.
fn takes_rtx(capabilities: &RtpCapabilities, apt: Option<u8>) -> bool {
    let rtx = capabilities.codecs.iter().filter(|c| codec_kind(&c.mime_type) == CodecKind::Rtx);
    // Without payload types in the capabilities nothing says to which codec an RTX entry belongs.
    rtx.into_iter().any(|c| apt.is_none_or(|apt| integer(&c.parameters, "apt", -1) == i64::from(apt)))
}

fn extensions(consumable: &Consumable, capabilities: &RtpCapabilities) -> Vec<RtpHeaderExtensionParameters> {
    // Clients name an extension once, with either kind, though they take it for both.
    let takes = |uri: &str| {
        capabilities
            .header_extensions
            .iter()
            .any(|x| x.uri == uri && matches!(x.direction, ExtensionDirection::Sendrecv | ExtensionDirection::Recvonly))
    };
    consumable.parameters.header_extensions.iter().filter(|x| takes(&x.uri)).cloned().collect()
}

/// Leaves one kind of bandwidth feedback: the one whose header extension the peer takes.
pub(crate) fn choose_bandwidth_feedback(
    codecs: &mut [RtpCodecParameters],
    extensions: &[RtpHeaderExtensionParameters],
) {
    let has = |kind: ExtensionKind| extensions.iter().any(|x| x.uri == kind.uri());
    let transport_cc = has(ExtensionKind::TransportCc)
        && codecs.iter().any(|c| c.rtcp_feedback.iter().any(|f| f.r#type == "transport-cc"));
    let remb = !transport_cc && has(ExtensionKind::AbsSendTime);
    for codec in codecs {
        codec.rtcp_feedback.retain(|f| match f.r#type.as_str() {
            "transport-cc" => transport_cc,
            "goog-remb" => remb,
            _ => true,
        });
    }
}

/// The producer's codecs that the peer knows, RTX beside them where it is wanted.
fn codecs(consumable: &Consumable, capabilities: &RtpCapabilities, retransmit: bool) -> Vec<RtpCodecParameters> {
    let mut codecs: Vec<RtpCodecParameters> = Vec::new();
    let all = &consumable.parameters.codecs;
    for codec in all.iter().filter(|c| codec_kind(&c.mime_type) != CodecKind::Rtx) {
        let Some(entry) = entry(capabilities, codec) else { continue };
        let mut codec = codec.clone();
        codec.rtcp_feedback = common_feedback(&codec.rtcp_feedback, &entry.rtcp_feedback);
        codec.rtcp_feedback.retain(|f| retransmit || f.r#type != "nack" || !f.parameter.is_empty());
        if codec_kind(&codec.mime_type) == CodecKind::H265 {
            h265::bound_level(&mut codec.parameters, &entry.parameters);
        }
        let payload_type = codec.payload_type;
        codecs.push(codec);
        if retransmit && takes_rtx(capabilities, entry.preferred_payload_type) {
            codecs.extend(rtx_for(all, payload_type).cloned());
        }
    }
    // Without the codec that it repeats RED is of no use.
    let whole = |red: &RtpCodecParameters| {
        !red.mime_type.eq_ignore_ascii_case("audio/red") || red::primary(red, &codecs).is_some()
    };
    let kept: Vec<bool> = codecs.iter().map(whole).collect();
    let mut kept = kept.into_iter();
    codecs.retain(|_| kept.next().unwrap_or(true));
    // Clients take the first codec for the one that carries the media.
    codecs.sort_by_key(|c| c.mime_type.eq_ignore_ascii_case("audio/red"));
    codecs
}

/// Negotiates a consumer. The parameters are complete but for the SSRCs.
pub fn negotiate(consumable: &Consumable, wish: &Wish<'_>) -> Result<(ConsumerConfig, RtpParameters), CommandError> {
    if !can_consume(consumable, wish.capabilities) {
        let text = "the peer knows none of the producer's codecs";
        return Err(CommandError::new(ErrorCode::Unsupported, "rtp_capabilities", text));
    }
    let retransmit = wish.enable_rtx.unwrap_or(consumable.kind == MediaKind::Video);
    let mut codecs = codecs(consumable, wish.capabilities, retransmit);
    let header_extensions = extensions(consumable, wish.capabilities);
    choose_bandwidth_feedback(&mut codecs, &header_extensions);
    let mut parameters = RtpParameters {
        mid: Some(wish.mid.to_owned()),
        codecs,
        header_extensions,
        encodings: vec![layers::consumer_encoding(&consumable.parameters.encodings)],
        rtcp: consumable.parameters.rtcp.clone(),
        msid: consumable.parameters.msid.clone(),
    };
    let mut config = config(consumable, wish.producer, &parameters, wish.paused, wish.share)?;
    if wish.numbering == Numbering::Peer {
        numbering::use_peers(&mut config, &mut parameters, wish.capabilities)?;
    }
    Ok((config, parameters))
}

/// The numbers for the shard behind parameters whose payload types are those of `consumable`.
pub(super) fn config(
    consumable: &Consumable,
    producer: ObjectId,
    parameters: &RtpParameters,
    paused: bool,
    share: Share,
) -> Result<ConsumerConfig, CommandError> {
    Ok(ConsumerConfig {
        producer,
        kind: wire_kind(consumable.kind),
        mid: validate::mid(parameters.mid.as_deref().unwrap_or_default(), "mid")?,
        codecs: codec_configs(&parameters.codecs, |pt| consumable.slot(pt)),
        extensions: extension_ids(&parameters.header_extensions),
        cname: parameters.rtcp.cname.clone().unwrap_or_default(),
        reduced_size_rtcp: parameters.rtcp.reduced_size,
        paused,
        stream_type: consumable.stream_type,
        preferred_layers: share.preferred_layers,
        priority: share.priority,
        ignore_dtx: share.ignore_dtx,
        pad_frames: share.pad_frames,
    })
}

/// The RTX codec of a codec in the same list.
pub(super) fn rtx_for(codecs: &[RtpCodecParameters], apt: u8) -> Option<&RtpCodecParameters> {
    let is_rtx = |c: &&RtpCodecParameters| codec_kind(&c.mime_type) == CodecKind::Rtx;
    codecs.iter().filter(is_rtx).find(|c| integer(&c.parameters, "apt", -1) == i64::from(apt))
}

/// The codecs that have a slot, for the shard.
pub(super) fn codec_configs(codecs: &[RtpCodecParameters], slot: impl Fn(u8) -> Option<u8>) -> Vec<CodecConfig> {
    let media = codecs.iter().filter_map(|c| Some((c, slot(c.payload_type)?)));
    media
        .map(|(codec, slot)| CodecConfig {
            slot,
            kind: codec_kind(&codec.mime_type),
            payload_type: codec.payload_type,
            rtx_payload_type: rtx_for(codecs, codec.payload_type).map(|c| c.payload_type),
            clock_rate: codec.clock_rate,
            feedback: feedback_flags(&codec.rtcp_feedback),
        })
        .collect()
}

/// Puts the SSRCs that the shard chose into the parameters: one stream for each encoding.
pub fn complete(parameters: &mut RtpParameters, streams: &[StreamSsrcs]) {
    for (encoding, stream) in parameters.encodings.iter_mut().zip(streams) {
        encoding.ssrc = Some(stream.ssrc);
        encoding.rtx = stream.rtx_ssrc.map(|ssrc| RtpRtxParameters { ssrc });
        let fec = |ssrc| RtpFecParameters { ssrc: Some(ssrc), mechanism: FLEXFEC.to_owned() };
        encoding.fec = stream.fec_ssrc.map(fec);
    }
}
