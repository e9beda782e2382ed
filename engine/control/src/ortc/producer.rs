//! From what a publisher sends to what a router can give on.
//!
//! Told: a router's capabilities and a publisher's parameters. Tells: the numbers for the shard, and the consumable
//! parameters: the same codecs with the router's payload types, feedback and header extensions. RED of audio and FEC are
//! codecs beside the others, with slots of their own.

use std::time::Duration;

use sfu_core::command::{CommandError, ErrorCode};
use sfu_core::config::{CodecConfig, EncodingConfig, ProducerConfig, StreamType};
use sfu_wire::codec::CodecKind;
use sfu_wire::extension::{ExtensionIds, ExtensionKind};
use sfu_wire::media::{self, Rid};
use sfu_wire::scalability::ScalabilityMode;

use super::capabilities::{media_codecs, rtx_payload_type};
use super::codec::{Codec, codec_kind, feedback_flags, integer, is_primary, matches};
use super::convert::{member, path};
use super::types::*;
use super::{layers, red, validate};

/// What consumers of a producer may get.
#[derive(Debug, Clone, PartialEq)]
pub struct Consumable {
    /// Audio or video.
    pub kind: MediaKind,
    /// What its encodings are together.
    pub stream_type: StreamType,
    /// Codecs, header extensions and RTCP as the router gives them on; encodings without SSRC.
    pub parameters: RtpParameters,
    /// Slot of each media codec, by the router's payload type.
    pub slots: Vec<(u8, u8)>,
}

impl Consumable {
    /// The slot of a media codec.
    pub fn slot(&self, payload_type: u8) -> Option<u8> {
        self.slots.iter().find(|(pt, _)| *pt == payload_type).map(|(_, slot)| *slot)
    }
}

/// A publisher's offer, as the caller gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer<'a> {
    /// Audio or video.
    pub kind: MediaKind,
    /// What is sent.
    pub parameters: &'a RtpParameters,
    /// Starts paused.
    pub paused: bool,
    /// Least time between two key-frame requests upstream.
    pub key_frame_request_delay: Duration,
    /// The payload is encrypted from end to end and must not be looked into.
    pub opaque_payload: bool,
    /// Keep the newest key frame and what follows it, for those who come later.
    pub key_frame_cache: bool,
    /// CNAME for a publisher that gives none.
    pub default_cname: String,
}

/// Where the parameters stand in the request.
const FIELD: &str = "rtp_parameters";

pub(crate) fn wire_kind(kind: MediaKind) -> media::MediaKind {
    match kind {
        MediaKind::Audio => media::MediaKind::Audio,
        MediaKind::Video => media::MediaKind::Video,
    }
}

/// Codecs of both sides while they are matched.
#[derive(Default)]
struct Matched {
    /// For the shard.
    configs: Vec<CodecConfig>,
    /// For consumers, in order.
    consumable: Vec<RtpCodecParameters>,
    /// Slot of each of them, by the router's payload type.
    slots: Vec<(u8, u8)>,
    /// The router's payload type for each of the publisher's.
    payload_types: Vec<(u8, u8)>,
}

impl Matched {
    /// Matches the publisher's codecs to the router's.
    fn new(router: &RtpCapabilities, parameters: &RtpParameters, kind: MediaKind) -> Result<Self, CommandError> {
        let mut matched = Self::default();
        for (i, codec) in parameters.codecs.iter().enumerate() {
            if codec_kind(&codec.mime_type) == CodecKind::Rtx {
                continue;
            }
            let (slot, own) = find(router, codec, &member(FIELD, "codecs", i))?;
            matched.configs.push(CodecConfig {
                slot,
                kind: codec_kind(&codec.mime_type),
                payload_type: codec.payload_type,
                rtx_payload_type: rtx_of(parameters, codec.payload_type),
                clock_rate: codec.clock_rate,
                feedback: feedback_flags(&common_feedback(&own.rtcp_feedback, &codec.rtcp_feedback)),
            });
            let Some(payload_type) = own.preferred_payload_type else { continue };
            matched.payload_types.push((codec.payload_type, payload_type));
            // Two payload types of one codec become one for consumers.
            if matched.slots.iter().any(|(known, _)| *known == payload_type) {
                continue;
            }
            matched.slots.push((payload_type, slot));
            matched.consumable.push(consumable_codec(codec, own, payload_type));
            // RTX towards consumers does not depend on RTX from the publisher.
            matched.consumable.extend(repeating(router, codec, payload_type, kind));
        }
        matched.translate_red(parameters);
        Ok(matched)
    }

    /// RED names what it repeats by the router's payload types.
    fn translate_red(&mut self, parameters: &RtpParameters) {
        let is_red = |c: &RtpCodecParameters| c.mime_type.eq_ignore_ascii_case("audio/red");
        let Some(theirs) = parameters.codecs.iter().find(|c| is_red(c)) else { return };
        let Some((primary, count)) = red::primary(theirs, &parameters.codecs) else { return };
        let ours = self.payload_types.iter().find(|(their, _)| *their == primary.payload_type).map(|(_, our)| *our);
        let Some(ours) = ours else { return };
        for codec in self.consumable.iter_mut().filter(|c| is_red(c)) {
            codec.parameters = red::parameters(ours, count);
        }
    }
}

fn repeating(
    router: &RtpCapabilities,
    codec: &RtpCodecParameters,
    apt: u8,
    kind: MediaKind,
) -> Option<RtpCodecParameters> {
    Some(RtpCodecParameters {
        mime_type: format!("{kind}/rtx"),
        payload_type: rtx_payload_type(&router.codecs, apt)?,
        clock_rate: codec.clock_rate,
        channels: None,
        parameters: Parameters::from([("apt".to_owned(), i64::from(apt).into())]),
        rtcp_feedback: Vec::new(),
    })
}

/// Negotiates a producer.
pub fn negotiate(router: &RtpCapabilities, offer: &Offer<'_>) -> Result<(ProducerConfig, Consumable), CommandError> {
    let parameters = offer.parameters;
    validate::stream(parameters, offer.kind, FIELD)?;
    let layering = layers::layering(parameters, offer.kind, FIELD)?;
    let matched = Matched::new(router, parameters, offer.kind)?;
    if !matched.configs.iter().any(|c| is_primary(c.kind)) {
        let text = "only comfort noise or DTMF; give a codec that carries media";
        return Err(CommandError::new(ErrorCode::Unsupported, path(FIELD, "codecs"), text));
    }
    let cname = parameters.rtcp.cname.clone().filter(|c| !c.is_empty()).unwrap_or(offer.default_cname.clone());
    let encodings = parameters.encodings.iter().zip(&layering.modes);
    let config = ProducerConfig {
        kind: wire_kind(offer.kind),
        mid: parameters.mid.as_deref().map(|m| validate::mid(m, &path(FIELD, "mid"))).transpose()?,
        codecs: matched.configs,
        encodings: encodings.map(|(encoding, mode)| encoding_config(encoding, *mode)).collect(),
        extensions: extension_ids(&parameters.header_extensions),
        cname: cname.clone(),
        reduced_size_rtcp: parameters.rtcp.reduced_size,
        paused: offer.paused,
        key_frame_request_delay: offer.key_frame_request_delay,
        stream_type: layering.stream_type,
        opaque_payload: offer.opaque_payload,
        key_frame_cache: offer.key_frame_cache,
    };
    let anonymous = |e: &RtpEncodingParameters| RtpEncodingParameters {
        ssrc: None,
        rtx: None,
        fec: None,
        rid: None,
        codec_payload_type: None,
        ..e.clone()
    };
    let consumable = RtpParameters {
        mid: None,
        codecs: matched.consumable,
        header_extensions: consumable_extensions(router, offer.kind),
        encodings: parameters.encodings.iter().map(anonymous).collect(),
        rtcp: RtcpParameters { cname: Some(cname), reduced_size: true },
        msid: parameters.msid.clone(),
    };
    let stream_type = layering.stream_type;
    Ok((config, Consumable { kind: offer.kind, stream_type, parameters: consumable, slots: matched.slots }))
}

/// The router's codec that a publisher's codec is.
fn find<'r>(
    router: &'r RtpCapabilities,
    codec: &RtpCodecParameters,
    field: &str,
) -> Result<(u8, &'r RtpCodecCapability), CommandError> {
    media_codecs(router).find(|(_, own)| matches(Codec::from(*own), Codec::from(codec), true)).ok_or_else(|| {
        let text = format!("{}/{} with these parameters is no codec of the router", codec.mime_type, codec.clock_rate);
        CommandError::new(ErrorCode::Unsupported, field, text)
    })
}

fn rtx_of(parameters: &RtpParameters, apt: u8) -> Option<u8> {
    let rtx = parameters.codecs.iter().filter(|c| codec_kind(&c.mime_type) == CodecKind::Rtx);
    rtx.into_iter().find(|c| integer(&c.parameters, "apt", -1) == i64::from(apt)).map(|c| c.payload_type)
}

/// Feedback that both sides know.
pub(crate) fn common_feedback(ours: &[RtcpFeedback], theirs: &[RtcpFeedback]) -> Vec<RtcpFeedback> {
    ours.iter().filter(|f| theirs.contains(f)).cloned().collect()
}

fn consumable_codec(codec: &RtpCodecParameters, own: &RtpCodecCapability, payload_type: u8) -> RtpCodecParameters {
    RtpCodecParameters {
        mime_type: own.mime_type.clone(),
        payload_type,
        clock_rate: own.clock_rate,
        channels: own.channels,
        // The bit stream is the publisher's, so its parameters describe it.
        parameters: codec.parameters.clone(),
        rtcp_feedback: own.rtcp_feedback.clone(),
    }
}

fn encoding_config(encoding: &RtpEncodingParameters, scalability: ScalabilityMode) -> EncodingConfig {
    EncodingConfig {
        ssrc: encoding.ssrc,
        rid: encoding.rid.as_ref().and_then(|rid| Rid::new(rid.as_bytes()).ok()),
        rtx_ssrc: encoding.rtx.map(|rtx| rtx.ssrc),
        fec_ssrc: encoding.fec.as_ref().and_then(|fec| fec.ssrc),
        dtx: encoding.dtx,
        scalability,
        max_bitrate: encoding.max_bitrate,
    }
}

/// Extensions that libsfu reads; others are legal and pass unread.
pub(crate) fn extension_ids(extensions: &[RtpHeaderExtensionParameters]) -> ExtensionIds {
    let mut ids = ExtensionIds::default();
    for extension in extensions {
        if let Some(kind) = ExtensionKind::from_uri(&extension.uri) {
            ids.set(kind, extension.id);
        }
    }
    ids
}

/// What the router gives on: whatever it offers in the sending direction.
fn consumable_extensions(router: &RtpCapabilities, kind: MediaKind) -> Vec<RtpHeaderExtensionParameters> {
    let given = |x: &&RtpHeaderExtension| {
        x.kind == kind && matches!(x.direction, ExtensionDirection::Sendrecv | ExtensionDirection::Sendonly)
    };
    let make = |x: &RtpHeaderExtension| RtpHeaderExtensionParameters {
        uri: x.uri.clone(),
        id: x.preferred_id,
        encrypt: false,
        parameters: Parameters::new(),
    };
    router.header_extensions.iter().filter(given).map(make).collect()
}
