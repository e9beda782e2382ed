//! Which layers a publisher's encodings have, and what a consumer of them is told.
//!
//! Several encodings are simulcast, of any video codec: each a stream of its own, with temporal layers at most. One
//! encoding with spatial layers is SVC (VP9, AV1), be they dependent (`L`) or not (`S`). Modes are those of W3C
//! webrtc-svc. To a consumer all encodings are one, in which spatial layers stand for encodings.

use sfu_core::command::{CommandError, ErrorCode};
use sfu_core::config::StreamType;
use sfu_wire::codec::CodecKind;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::scalability::ScalabilityMode;

use super::codec::{codec_kind, is_primary};
use super::convert::{invalid, member, path, shown};
use super::types::*;

/// Modes of the encodings, in order, and what they are together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layering {
    /// What the encodings are together.
    pub stream_type: StreamType,
    /// One for each encoding.
    pub modes: Vec<ScalabilityMode>,
}

/// Codecs of which one encoding may have spatial layers.
fn has_spatial_layers(codec: CodecKind) -> bool {
    matches!(codec, CodecKind::Vp9 | CodecKind::Av1)
}

/// The codec that an encoding names, or the stream's first.
fn codec_of<'p>(parameters: &'p RtpParameters, encoding: &RtpEncodingParameters) -> Option<&'p RtpCodecParameters> {
    let named = |c: &&RtpCodecParameters| Some(c.payload_type) == encoding.codec_payload_type;
    let codecs = &parameters.codecs;
    codecs.iter().find(named).or_else(|| codecs.iter().find(|c| is_primary(codec_kind(&c.mime_type))))
}

/// Reads the layers of a publisher's parameters that passed validation; `field` is their path.
pub fn layering(parameters: &RtpParameters, kind: MediaKind, field: &str) -> Result<Layering, CommandError> {
    let count = parameters.encodings.len();
    if kind == MediaKind::Audio && count > 1 {
        let text = format!("{count} encodings of audio; give one");
        return Err(CommandError::new(ErrorCode::Unsupported, path(field, "encodings"), text));
    }
    let mut modes = Vec::with_capacity(count);
    for (i, encoding) in parameters.encodings.iter().enumerate() {
        let at = member(field, "encodings", i);
        let mode = mode(parameters, encoding, kind, count, &path(&at, "scalability_mode"))?;
        modes.push(mode);
        if count > 1 {
            told_apart(parameters, encoding, &at)?;
        }
    }
    let layered = |m: &ScalabilityMode| m.spatial > 1 || m.temporal > 1;
    let stream_type = match modes.as_slice() {
        [mode] if layered(mode) => StreamType::Svc,
        [_] => StreamType::Simple,
        _ => StreamType::Simulcast,
    };
    Ok(Layering { stream_type, modes })
}

fn mode(
    parameters: &RtpParameters,
    encoding: &RtpEncodingParameters,
    kind: MediaKind,
    count: usize,
    field: &str,
) -> Result<ScalabilityMode, CommandError> {
    let Some(text) = &encoding.scalability_mode else { return Ok(ScalabilityMode::default()) };
    let mode: ScalabilityMode = text.parse().map_err(|error| {
        invalid(field, format!("{} is no scalability mode ({error}); give one such as L3T3_KEY", shown(text)))
    })?;
    let codec = codec_of(parameters, encoding).map_or(CodecKind::Other, |c| codec_kind(&c.mime_type));
    if kind == MediaKind::Audio && (mode.spatial > 1 || mode.temporal > 1) {
        return Err(invalid(field, format!("{mode} for audio; give L1T1 or nothing")));
    }
    if mode.spatial > 1 && count > 1 {
        let text = format!("{mode} in one of {count} encodings; give L1T{} to each, or one encoding", mode.temporal);
        return Err(invalid(field, text));
    }
    if mode.spatial > 1 && !has_spatial_layers(codec) {
        let text = format!("{mode}: {} has no spatial layers; give L1T{}", codec.subtype(), mode.temporal);
        return Err(CommandError::new(ErrorCode::Unsupported, field, text));
    }
    Ok(mode)
}

/// One of several encodings must be known by its SSRC, or by a RID that its packets carry; all must be of one codec.
fn told_apart(parameters: &RtpParameters, encoding: &RtpEncodingParameters, field: &str) -> Result<(), CommandError> {
    if encoding.ssrc.is_none() && encoding.rid.is_none() {
        return Err(invalid(field, "has neither ssrc nor rid, by which several encodings are told apart"));
    }
    let has_rid = parameters.header_extensions.iter().any(|x| x.uri == ExtensionKind::Rid.uri());
    if encoding.ssrc.is_none() && !has_rid {
        let text =
            format!("is known by RID alone, but {} is not among the header extensions", ExtensionKind::Rid.uri());
        return Err(invalid(path(field, "rid"), text));
    }
    let first = parameters.encodings.first().and_then(|e| codec_of(parameters, e));
    if codec_of(parameters, encoding).map(|c| c.payload_type) != first.map(|c| c.payload_type) {
        let text = "names another codec than the first encoding; give all the same";
        let field = path(field, "codec_payload_type");
        return Err(CommandError::new(ErrorCode::Unsupported, field, text));
    }
    Ok(())
}

/// The one encoding that a consumer gets, still without SSRC.
pub fn consumer_encoding(encodings: &[RtpEncodingParameters]) -> RtpEncodingParameters {
    let first = encodings.first();
    let modes = || encodings.iter().filter_map(|e| e.scalability_mode.as_deref()?.parse::<ScalabilityMode>().ok());
    let scalability_mode = if encodings.len() > 1 {
        let temporal = modes().map(|m| m.temporal).max().unwrap_or(1);
        Some(format!("L{}T{temporal}", encodings.len()))
    } else {
        modes().next().map(|m| m.to_string())
    };
    RtpEncodingParameters {
        scalability_mode,
        max_bitrate: encodings.iter().filter_map(|e| e.max_bitrate).max(),
        dtx: first.is_some_and(|e| e.dtx),
        ..RtpEncodingParameters::default()
    }
}

/// The name of a type towards clients.
pub fn type_name(stream_type: StreamType) -> crate::schema::ProducerType {
    match stream_type {
        StreamType::Simple => crate::schema::ProducerType::simple,
        StreamType::Simulcast => crate::schema::ProducerType::simulcast,
        StreamType::Svc => crate::schema::ProducerType::svc,
        StreamType::Pipe => crate::schema::ProducerType::pipe,
    }
}
