//! From consumable parameters and what a peer can receive to what it gets.
//!
//! Told: consumable parameters and a peer's capabilities. Tells: whether it can consume, the numbers for the shard,
//! and (once the shard has chosen the SSRCs) the parameters for the peer. Payload types and extension ids are the
//! router's. Feedback for bandwidth estimation is transport-cc, else REMB, never both.

use sfu_core::command::{CommandError, ErrorCode};
use sfu_core::config::{CodecConfig, ConsumerConfig, LOWEST_PRIORITY, StreamType};
use sfu_wire::codec::CodecKind;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;

use super::codec::{Codec, codec_kind, feedback_flags, integer, is_auxiliary, is_primary, matches};
use super::producer::{Consumable, common_feedback, extension_ids, wire_kind};
use super::types::*;
use super::validate;

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
    let takes = |uri: &str| {
        capabilities.header_extensions.iter().any(|x| {
            x.uri == uri
                && x.kind == consumable.kind
                && matches!(x.direction, ExtensionDirection::Sendrecv | ExtensionDirection::Recvonly)
        })
    };
    consumable.parameters.header_extensions.iter().filter(|x| takes(&x.uri)).cloned().collect()
}

/// Leaves one kind of bandwidth feedback: the one whose header extension the peer takes.
fn choose_bandwidth_feedback(codecs: &mut [RtpCodecParameters], extensions: &[RtpHeaderExtensionParameters]) {
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

/// Negotiates a consumer. The parameters are complete but for the SSRCs.
pub fn negotiate(consumable: &Consumable, wish: &Wish<'_>) -> Result<(ConsumerConfig, RtpParameters), CommandError> {
    if !can_consume(consumable, wish.capabilities) {
        let text = "the peer knows none of the producer's codecs";
        return Err(CommandError::new(ErrorCode::Unsupported, "rtp_capabilities", text));
    }
    let retransmit = wish.enable_rtx.unwrap_or(consumable.kind == MediaKind::Video);
    let mut codecs = Vec::new();
    for codec in consumable.parameters.codecs.iter().filter(|c| !is_auxiliary(codec_kind(&c.mime_type))) {
        let Some(entry) = entry(wish.capabilities, codec) else { continue };
        let mut feedback = common_feedback(&codec.rtcp_feedback, &entry.rtcp_feedback);
        feedback.retain(|f| retransmit || f.r#type != "nack" || !f.parameter.is_empty());
        codecs.push(RtpCodecParameters { rtcp_feedback: feedback, ..codec.clone() });
        if retransmit && takes_rtx(wish.capabilities, entry.preferred_payload_type) {
            codecs.extend(rtx_for(&consumable.parameters, codec.payload_type).cloned());
        }
    }
    let header_extensions = extensions(consumable, wish.capabilities);
    choose_bandwidth_feedback(&mut codecs, &header_extensions);
    let parameters = RtpParameters {
        mid: Some(wish.mid.to_owned()),
        codecs,
        header_extensions,
        encodings: consumable.parameters.encodings.clone(),
        rtcp: consumable.parameters.rtcp.clone(),
        msid: consumable.parameters.msid.clone(),
    };
    let config = ConsumerConfig {
        producer: wish.producer,
        kind: wire_kind(consumable.kind),
        mid: validate::mid(wish.mid, "mid")?,
        codecs: codec_configs(consumable, &parameters),
        extensions: extension_ids(&parameters.header_extensions),
        cname: parameters.rtcp.cname.clone().unwrap_or_default(),
        reduced_size_rtcp: parameters.rtcp.reduced_size,
        paused: wish.paused,
        stream_type: StreamType::Simple,
        preferred_layers: None,
        priority: LOWEST_PRIORITY,
        ignore_dtx: false,
    };
    Ok((config, parameters))
}

fn rtx_for(parameters: &RtpParameters, apt: u8) -> Option<&RtpCodecParameters> {
    let is_rtx = |c: &&RtpCodecParameters| codec_kind(&c.mime_type) == CodecKind::Rtx;
    parameters.codecs.iter().filter(is_rtx).find(|c| integer(&c.parameters, "apt", -1) == i64::from(apt))
}

fn codec_configs(consumable: &Consumable, parameters: &RtpParameters) -> Vec<CodecConfig> {
    let media = parameters.codecs.iter().filter_map(|c| Some((c, consumable.slot(c.payload_type)?)));
    media
        .map(|(codec, slot)| CodecConfig {
            slot,
            kind: codec_kind(&codec.mime_type),
            payload_type: codec.payload_type,
            rtx_payload_type: rtx_for(parameters, codec.payload_type).map(|c| c.payload_type),
            clock_rate: codec.clock_rate,
            feedback: feedback_flags(&codec.rtcp_feedback),
        })
        .collect()
}

/// Puts the SSRCs that the shard chose into the parameters.
pub fn complete(parameters: &mut RtpParameters, ssrc: u32, rtx_ssrc: Option<u32>) {
    let mut encoding = parameters.encodings.first().cloned().unwrap_or_default();
    encoding.ssrc = Some(ssrc);
    encoding.rtx = rtx_ssrc.map(|ssrc| RtpRtxParameters { ssrc });
    parameters.encodings = vec![encoding];
}
