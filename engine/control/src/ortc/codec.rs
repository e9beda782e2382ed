//! Which codecs are the same: by name, clock, channels, and those parameters that change the bit stream.
//!
//! Told: codecs of capabilities or parameters. Tells: what they are and whether they match. Opus is one codec
//! whatever its fmtp line says; H264 is told apart by profile and packetization mode (RFC 6184), H265 by profile,
//! tier and transmission mode (RFC 7798), VP9 and AV1 by profile, multiopus by its streams. What RED repeats is
//! looked at elsewhere ([`red`](super::red)).

use sfu_wire::codec::CodecKind;

use super::types::{MediaKind, Parameters, RtcpFeedback, RtpCodecCapability, RtpCodecParameters};
use super::{h264, h265};

/// The part that codecs of capabilities and of parameters have in common.
#[derive(Debug, Clone, Copy)]
pub struct Codec<'a> {
    /// Such as `video/VP8`.
    pub mime_type: &'a str,
    /// RTP clock, Hz.
    pub clock_rate: u32,
    /// Channels; absent is one.
    pub channels: u8,
    /// fmtp.
    pub parameters: &'a Parameters,
}

impl<'a> From<&'a RtpCodecCapability> for Codec<'a> {
    fn from(c: &'a RtpCodecCapability) -> Self {
        let channels = c.channels.unwrap_or(1);
        Self { mime_type: &c.mime_type, clock_rate: c.clock_rate, channels, parameters: &c.parameters }
    }
}

impl<'a> From<&'a RtpCodecParameters> for Codec<'a> {
    fn from(c: &'a RtpCodecParameters) -> Self {
        let channels = c.channels.unwrap_or(1);
        Self { mime_type: &c.mime_type, clock_rate: c.clock_rate, channels, parameters: &c.parameters }
    }
}

/// Kind of media and codec name of a MIME type.
pub fn split_mime(mime: &str) -> Option<(MediaKind, &str)> {
    let (kind, name) = mime.split_once('/')?;
    let kind = match kind {
        k if k.eq_ignore_ascii_case("audio") => MediaKind::Audio,
        k if k.eq_ignore_ascii_case("video") => MediaKind::Video,
        _ => return None,
    };
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
    (!name.is_empty() && name.bytes().all(legal)).then_some((kind, name))
}

/// The codec that a MIME type names.
pub fn codec_kind(mime: &str) -> CodecKind {
    let Some((kind, name)) = split_mime(mime) else { return CodecKind::Other };
    let name = name.to_ascii_lowercase();
    match (kind, name.as_str()) {
        (_, "rtx") => CodecKind::Rtx,
        (_, "red") => CodecKind::Red,
        (_, "ulpfec") => CodecKind::UlpFec,
        (_, "flexfec" | "flexfec-03") => CodecKind::FlexFec,
        (MediaKind::Audio, "opus") => CodecKind::Opus,
        (MediaKind::Audio, "multiopus") => CodecKind::MultiOpus,
        (MediaKind::Audio, "pcmu") => CodecKind::Pcmu,
        (MediaKind::Audio, "pcma") => CodecKind::Pcma,
        (MediaKind::Audio, "g722") => CodecKind::G722,
        (MediaKind::Audio, "telephone-event") => CodecKind::TelephoneEvent,
        (MediaKind::Audio, "cn") => CodecKind::ComfortNoise,
        (MediaKind::Video, "vp8") => CodecKind::Vp8,
        (MediaKind::Video, "vp9") => CodecKind::Vp9,
        (MediaKind::Video, "h264") => CodecKind::H264,
        (MediaKind::Video, "h265") => CodecKind::H265,
        (MediaKind::Video, "av1") => CodecKind::Av1,
        _ => CodecKind::Other,
    }
}

/// A codec that only goes along with another one: never the reason to have a stream.
pub fn is_auxiliary(kind: CodecKind) -> bool {
    matches!(kind, CodecKind::Rtx | CodecKind::Red | CodecKind::UlpFec | CodecKind::FlexFec)
}

/// True for codecs that carry a stream on their own; comfort noise and DTMF do not.
pub fn is_primary(kind: CodecKind) -> bool {
    !is_auxiliary(kind) && !matches!(kind, CodecKind::ComfortNoise | CodecKind::TelephoneEvent | CodecKind::Other)
}

/// A parameter as a whole number.
pub fn integer(parameters: &Parameters, name: &str, absent: i64) -> i64 {
    parameters.get(name).and_then(|v| v.as_integer()).unwrap_or(absent)
}

/// A parameter as text.
pub fn text(parameters: &Parameters, name: &str, absent: &str) -> String {
    parameters.get(name).map_or_else(|| absent.to_owned(), |v| v.to_text())
}

/// Same name, clock and channels.
pub fn same_name(a: &Codec<'_>, b: &Codec<'_>) -> bool {
    a.mime_type.eq_ignore_ascii_case(b.mime_type) && a.clock_rate == b.clock_rate && a.channels == b.channels
}

/// Do the two name the same bit stream? `whole` also compares profiles; without it only what tells the entries of
/// the supported list apart.
pub fn matches(a: Codec<'_>, b: Codec<'_>, whole: bool) -> bool {
    if !same_name(&a, &b) {
        return false;
    }
    let same = |name: &str, absent: i64| integer(a.parameters, name, absent) == integer(b.parameters, name, absent);
    match codec_kind(a.mime_type) {
        CodecKind::H264 => same("packetization-mode", 0) && (!whole || same_h264_profile(a.parameters, b.parameters)),
        CodecKind::H265 => !whole || h265::same(a.parameters, b.parameters),
        CodecKind::Vp9 => !whole || same("profile-id", 0),
        CodecKind::Av1 => !whole || same("profile", 0),
        CodecKind::MultiOpus => same("num_streams", 0) && same("coupled_streams", 0),
        CodecKind::Rtx => !whole || same("apt", -1),
        _ => true,
    }
}

fn same_h264_profile(a: &Parameters, b: &Parameters) -> bool {
    let profile = |p: &Parameters| h264::profile(&text(p, "profile-level-id", h264::DEFAULT));
    matches!((profile(a), profile(b)), (Some(x), Some(y)) if x == y)
}

/// One kind of feedback.
pub(crate) fn feedback(kind: &str, parameter: &str) -> RtcpFeedback {
    RtcpFeedback { r#type: kind.to_owned(), parameter: parameter.to_owned() }
}

/// What a shard needs of a codec's feedback.
pub(crate) fn feedback_flags(list: &[RtcpFeedback]) -> sfu_core::config::Feedback {
    let has = |kind: &str, parameter: &str| list.iter().any(|f| f.r#type == kind && f.parameter == parameter);
    sfu_core::config::Feedback {
        nack: has("nack", ""),
        pli: has("nack", "pli"),
        fir: has("ccm", "fir"),
        transport_cc: has("transport-cc", ""),
        remb: has("goog-remb", ""),
    }
}
