//! What libsfu supports, and what a router made of some media codecs offers to its clients.
//!
//! Told: media codecs. Tells: capabilities with a payload type for each codec, RTX beside each video codec, and the
//! header extensions. RED for audio and FEC are given on where the router has them and both of its sides know them. Limits: payload types are 7 bits, and 64..=95 would be taken for RTCP (RFC 5761, section 4).

use sfu_core::command::{CommandError, ErrorCode};
use sfu_wire::codec::CodecKind;
use sfu_wire::extension::ExtensionKind;

use super::codec::{Codec, codec_kind, feedback, matches};
use super::convert::{invalid, member, path};
use super::types::*;
use super::{limits, red, validate};

/// Dynamic payload types in the order in which they are given out (RFC 3551, section 3; then the lower range that
/// browsers use once the upper one is full). 127 comes last: browsers' ORTC clients take it for a stream of their own.
fn dynamic_payload_types() -> impl Iterator<Item = u8> {
    (96..=126).chain(35..=63).chain([127])
}

fn audio(name: &str, clock_rate: u32, channels: Option<u8>, payload_type: Option<u8>) -> RtpCodecCapability {
    RtpCodecCapability {
        kind: MediaKind::Audio,
        mime_type: format!("audio/{name}"),
        preferred_payload_type: payload_type,
        clock_rate,
        channels,
        parameters: Parameters::new(),
        // Audio may be repaired and counts for bandwidth estimation like video.
        rtcp_feedback: match codec_kind(&format!("audio/{name}")) {
            CodecKind::Opus | CodecKind::MultiOpus => vec![feedback("nack", ""), feedback("transport-cc", "")],
            _ => vec![feedback("transport-cc", "")],
        },
    }
}

fn multiopus(channels: u8, mapping: &str, streams: i64, coupled: i64) -> RtpCodecCapability {
    let mut codec = audio("multiopus", 48_000, Some(channels), None);
    codec.parameters.insert("channel_mapping".to_owned(), mapping.into());
    codec.parameters.insert("num_streams".to_owned(), streams.into());
    codec.parameters.insert("coupled_streams".to_owned(), coupled.into());
    codec
}

fn video(name: &str, parameters: &[(&str, i64)]) -> RtpCodecCapability {
    RtpCodecCapability {
        kind: MediaKind::Video,
        mime_type: format!("video/{name}"),
        preferred_payload_type: None,
        clock_rate: 90_000,
        channels: None,
        parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect(),
        rtcp_feedback: vec![
            feedback("nack", ""),
            feedback("nack", "pli"),
            feedback("ccm", "fir"),
            feedback("goog-remb", ""),
            feedback("transport-cc", ""),
        ],
    }
}

/// A codec that protects others: it is neither asked for again nor counted.
fn protecting(kind: MediaKind, name: &str, clock_rate: u32, channels: Option<u8>) -> RtpCodecCapability {
    RtpCodecCapability {
        kind,
        mime_type: format!("{kind}/{name}"),
        preferred_payload_type: None,
        clock_rate,
        channels,
        parameters: Parameters::new(),
        rtcp_feedback: vec![feedback("transport-cc", "")],
    }
}

fn supported_codecs() -> Vec<RtpCodecCapability> {
    vec![
        audio("opus", 48_000, Some(2), None),
        multiopus(4, "0,1,2,3", 2, 2),
        multiopus(6, "0,4,1,2,3,5", 4, 2),
        multiopus(8, "0,6,1,2,3,4,5,7", 5, 3),
        audio("PCMU", 8_000, None, Some(0)),
        audio("PCMA", 8_000, None, Some(8)),
        // RFC 3551, section 4.5.2: the clock of G722 is 8000 by an old mistake.
        audio("G722", 8_000, None, Some(9)),
        audio("CN", 32_000, None, None),
        audio("CN", 16_000, None, None),
        audio("CN", 8_000, None, Some(13)),
        audio("telephone-event", 48_000, None, None),
        audio("telephone-event", 32_000, None, None),
        audio("telephone-event", 16_000, None, None),
        audio("telephone-event", 8_000, None, None),
        video("VP8", &[]),
        video("VP9", &[]),
        video("H264", &[("level-asymmetry-allowed", 1), ("packetization-mode", 1)]),
        video("H264", &[("level-asymmetry-allowed", 1), ("packetization-mode", 0)]),
        video("H265", &[]),
        video("AV1", &[]),
        protecting(MediaKind::Audio, "red", 48_000, Some(2)),
        protecting(MediaKind::Video, "red", 90_000, None),
        protecting(MediaKind::Video, "ulpfec", 90_000, None),
        protecting(MediaKind::Video, "flexfec-03", 90_000, None),
    ]
}

/// Extension, its id, its direction for audio and for video (`None`: not for this kind).
type ExtensionRow = (ExtensionKind, u8, Option<ExtensionDirection>, Option<ExtensionDirection>);

/// Ids fit the one-byte form (RFC 8285, section 4.2). What describes one encoding among several is read and not given
/// on.
fn extension_table() -> [ExtensionRow; 12] {
    use ExtensionDirection::{Recvonly, Sendrecv};
    let both = (Some(Sendrecv), Some(Sendrecv));
    let video = (None, Some(Sendrecv));
    let read_video = (None, Some(Recvonly));
    let row = |kind, id, (a, v): (Option<ExtensionDirection>, Option<ExtensionDirection>)| (kind, id, a, v);
    [
        row(ExtensionKind::Mid, 1, both),
        row(ExtensionKind::Rid, 2, read_video),
        row(ExtensionKind::RepairedRid, 3, read_video),
        row(ExtensionKind::AbsSendTime, 4, both),
        row(ExtensionKind::TransportCc, 5, both),
        row(ExtensionKind::AudioLevel, 6, (Some(Sendrecv), None)),
        row(ExtensionKind::DependencyDescriptor, 7, video),
        row(ExtensionKind::VideoLayersAllocation, 8, read_video),
        row(ExtensionKind::VideoOrientation, 9, video),
        row(ExtensionKind::TransmissionOffset, 10, video),
        row(ExtensionKind::AbsCaptureTime, 11, both),
        row(ExtensionKind::PlayoutDelay, 12, video),
    ]
}

fn supported_extensions() -> Vec<RtpHeaderExtension> {
    let mut out = Vec::new();
    for (extension, id, audio, video) in extension_table() {
        for (kind, direction) in [(MediaKind::Audio, audio), (MediaKind::Video, video)] {
            let Some(direction) = direction else { continue };
            let uri = extension.uri().to_owned();
            out.push(RtpHeaderExtension { kind, uri, preferred_id: id, preferred_encrypt: false, direction });
        }
    }
    out
}

/// What libsfu supports.
pub fn supported() -> RtpCapabilities {
    RtpCapabilities { codecs: supported_codecs(), header_extensions: supported_extensions() }
}

/// Payload types of a router under construction.
#[derive(Default)]
struct PayloadTypes {
    used: Vec<u8>,
}

impl PayloadTypes {
    fn claim(&mut self, payload_type: u8, field: &str) -> Result<(), CommandError> {
        if self.used.contains(&payload_type) {
            let text = format!("payload type {payload_type} is taken by another codec; give another or none");
            return Err(CommandError::new(ErrorCode::AlreadyExists, field, text));
        }
        self.used.push(payload_type);
        Ok(())
    }

    /// A free one; those that `earlier` capabilities mean something else by come last, since a peer may still use them.
    fn next(&mut self, earlier: &RtpCapabilities, field: &str) -> Result<u8, CommandError> {
        let known = |pt: &u8| earlier.codecs.iter().any(|c| c.preferred_payload_type == Some(*pt));
        let free = || dynamic_payload_types().filter(|pt| !self.used.contains(pt));
        let chosen = free().find(|pt| !known(pt)).or_else(|| free().next()).ok_or_else(|| {
            CommandError::new(ErrorCode::ResourceExhausted, field, "no payload type is left; give fewer codecs")
        })?;
        self.used.push(chosen);
        Ok(chosen)
    }

    /// Takes one if it is free.
    fn take(&mut self, payload_type: Option<u8>) -> Option<u8> {
        payload_type.filter(|pt| self.claim(*pt, "").is_ok())
    }
}

/// Capabilities of a router made of these media codecs; errors are named below `media_codecs`.
pub fn router(media_codecs: &[RtpCodecCapability]) -> Result<RtpCapabilities, CommandError> {
    updated(media_codecs, &RtpCapabilities::default())
}

/// As [`router`]; codecs that the router had `earlier` keep their payload types as far as nobody prefers others.
pub fn updated(
    media_codecs: &[RtpCodecCapability],
    earlier: &RtpCapabilities,
) -> Result<RtpCapabilities, CommandError> {
    let mut payload_types = PayloadTypes::default();
    let mut chosen = choose(media_codecs, &mut payload_types)?;
    // What stays keeps its numbers, wherever it stands in the list.
    let mut rtx: Vec<Option<u8>> = Vec::with_capacity(chosen.len());
    for (codec, given) in chosen.iter_mut().zip(media_codecs) {
        let known = earlier.codecs.iter().find(|c| matches(Codec::from(*c), Codec::from(&*codec), true));
        let known = known.and_then(|c| c.preferred_payload_type);
        if given.preferred_payload_type.is_none() {
            let kept = payload_types.take(known);
            // A static payload type of the supported list is used while it is free.
            codec.preferred_payload_type = kept.or_else(|| payload_types.take(codec.preferred_payload_type));
        }
        let kept = known.filter(|_| is_repeated(codec)).and_then(|apt| rtx_payload_type(&earlier.codecs, apt));
        rtx.push(payload_types.take(kept));
    }
    let mut codecs = Vec::new();
    for (i, (mut codec, rtx)) in chosen.into_iter().zip(rtx).enumerate() {
        let field = member("", FIELD, i);
        let payload_type = match codec.preferred_payload_type {
            Some(payload_type) => payload_type,
            None => payload_types.next(earlier, &field)?,
        };
        codec.preferred_payload_type = Some(payload_type);
        let repeats = is_repeated(&codec).then(|| {
            let own = rtx.map_or_else(|| payload_types.next(earlier, &field), Ok)?;
            Ok(rtx_of(payload_type, codec.clock_rate, own))
        });
        codecs.push(codec);
        codecs.extend(repeats.transpose()?);
    }
    name_repeated(&mut codecs)?;
    let kinds: Vec<MediaKind> = codecs.iter().map(|c| c.kind).collect();
    let mut header_extensions = supported_extensions();
    header_extensions.retain(|x| kinds.contains(&x.kind));
    Ok(RtpCapabilities { codecs, header_extensions })
}

/// The supported codecs that these are; payload types that the caller prefers are claimed.
fn choose(
    media_codecs: &[RtpCodecCapability],
    payload_types: &mut PayloadTypes,
) -> Result<Vec<RtpCodecCapability>, CommandError> {
    if media_codecs.len() > limits::ROUTER_CODECS {
        let text = format!("{} codecs; give at most {}", media_codecs.len(), limits::ROUTER_CODECS);
        return Err(invalid(FIELD, text));
    }
    let supported = supported_codecs();
    let mut chosen: Vec<RtpCodecCapability> = Vec::new();
    for (i, codec) in media_codecs.iter().enumerate() {
        let field = member("", FIELD, i);
        let merged = merge(codec, &supported, &field)?;
        if chosen.iter().any(|c| matches(Codec::from(c), Codec::from(&merged), true)) {
            let text = format!("{} with these parameters is in the list already; give it once", codec.mime_type);
            return Err(CommandError::new(ErrorCode::AlreadyExists, field, text));
        }
        if let Some(wanted) = codec.preferred_payload_type {
            payload_types.claim(wanted, &path(&field, "preferred_payload_type"))?;
        }
        chosen.push(merged);
    }
    Ok(chosen)
}

/// Video is sent again by RTX; what protects it is not.
fn is_repeated(codec: &RtpCodecCapability) -> bool {
    let kind = codec_kind(&codec.mime_type);
    codec.kind == MediaKind::Video && !matches!(kind, CodecKind::UlpFec | CodecKind::FlexFec)
}

/// Tells RED of audio which payload type it repeats.
fn name_repeated(codecs: &mut [RtpCodecCapability]) -> Result<(), CommandError> {
    let is_opus = |c: &&RtpCodecCapability| codec_kind(&c.mime_type) == CodecKind::Opus;
    let opus = codecs.iter().find(is_opus).and_then(|c| c.preferred_payload_type);
    let is_red = |c: &&mut RtpCodecCapability| c.kind == MediaKind::Audio && codec_kind(&c.mime_type) == CodecKind::Red;
    for red in codecs.iter_mut().filter(is_red) {
        let Some(opus) = opus else {
            let text = "audio/red repeats opus, which is not in the list; add audio/opus or leave it out";
            return Err(CommandError::new(ErrorCode::Unsupported, FIELD, text));
        };
        red.parameters = red::parameters(opus, 2);
    }
    Ok(())
}

/// Where media codecs stand in the request.
const FIELD: &str = "media_codecs";

fn rtx_of(apt: u8, clock_rate: u32, payload_type: u8) -> RtpCodecCapability {
    RtpCodecCapability {
        kind: MediaKind::Video,
        mime_type: "video/rtx".to_owned(),
        preferred_payload_type: Some(payload_type),
        clock_rate,
        channels: None,
        parameters: Parameters::from([("apt".to_owned(), i64::from(apt).into())]),
        rtcp_feedback: Vec::new(),
    }
}

/// The caller's codec on top of the supported one that it is.
fn merge(
    codec: &RtpCodecCapability,
    supported: &[RtpCodecCapability],
    field: &str,
) -> Result<RtpCodecCapability, CommandError> {
    validate::codec_capability(codec, field)?;
    let unsupported = |name: &str, text: String| CommandError::new(ErrorCode::Unsupported, path(field, name), text);
    if codec_kind(&codec.mime_type) == CodecKind::Rtx {
        let text = format!("{} goes along with other codecs by itself; leave it out", codec.mime_type);
        return Err(unsupported("mime_type", text));
    }
    let same_mime = |c: &&RtpCodecCapability| c.mime_type.eq_ignore_ascii_case(&codec.mime_type);
    let Some(same) = supported.iter().find(same_mime) else {
        return Err(unsupported("mime_type", format!("{} is no codec of libsfu", codec.mime_type)));
    };
    if !supported.iter().any(|c| same_mime(&c) && c.clock_rate == codec.clock_rate) {
        let text = format!("{} has no clock of {} Hz; give {}", codec.mime_type, codec.clock_rate, same.clock_rate);
        return Err(unsupported("clock_rate", text));
    }
    let Some(base) = supported.iter().find(|c| matches(Codec::from(*c), Codec::from(codec), false)) else {
        let text = format!("{} is not served with these channels or parameters", codec.mime_type);
        return Err(unsupported(if codec.kind == MediaKind::Audio { "channels" } else { "parameters" }, text));
    };
    let mut merged = base.clone();
    merged.preferred_payload_type = codec.preferred_payload_type.or(base.preferred_payload_type);
    merged.parameters.extend(codec.parameters.clone());
    Ok(merged)
}

/// The media codecs of a router in order: their index is the slot by which a shard knows them.
pub(crate) fn media_codecs(router: &RtpCapabilities) -> impl Iterator<Item = (u8, &RtpCodecCapability)> {
    let media = router.codecs.iter().filter(|c| codec_kind(&c.mime_type) != CodecKind::Rtx);
    // At most ROUTER_CODECS, far below 256.
    media.enumerate().map(|(slot, codec)| (slot as u8, codec))
}

/// Payload type of the RTX codec beside the codec of payload type `apt`.
pub(crate) fn rtx_payload_type(codecs: &[RtpCodecCapability], apt: u8) -> Option<u8> {
    codecs
        .iter()
        .filter(|c| codec_kind(&c.mime_type) == CodecKind::Rtx)
        .find(|c| super::codec::integer(&c.parameters, "apt", -1) == i64::from(apt))
        .and_then(|c| c.preferred_payload_type)
}
