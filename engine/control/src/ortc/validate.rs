//! Checks of the dictionaries: each refusal names the field in the caller's words (the schema's names), the value and
//! the remedy. Whatever passes can be negotiated without further doubt about ranges.
//!
//! RFC 3551 (payload types), 5761 section 4 (which of them collide with RTCP), 8285 (extension ids), 4588 (RTX).

use sfu_core::command::{CommandError, ErrorCode};
use sfu_wire::codec::CodecKind;
use sfu_wire::media::{Mid, Rid};

use super::codec::{codec_kind, integer, is_auxiliary, split_mime, text};
use super::convert::{invalid, member, path, shown};
use super::types::*;
use super::{h264, h265, limits, red};

type Checked = Result<(), CommandError>;

fn duplicate(field: impl Into<String>, text: impl Into<String>) -> CommandError {
    CommandError::new(ErrorCode::AlreadyExists, field, text)
}

fn at_most(count: usize, limit: usize, parent: &str, name: &str) -> Checked {
    if count > limit {
        return Err(invalid(path(parent, name), format!("{count} entries; give at most {limit}")));
    }
    Ok(())
}

fn bounded(value: &str, limit: usize, parent: &str, name: &str) -> Checked {
    if value.len() > limit {
        return Err(invalid(path(parent, name), format!("{} bytes; give at most {limit}", value.len())));
    }
    if value.chars().any(char::is_control) {
        return Err(invalid(path(parent, name), format!("{} has control characters", shown(value))));
    }
    Ok(())
}

fn payload_type(value: u8, parent: &str, name: &str) -> Checked {
    match value {
        0..=63 | 96..=127 => Ok(()),
        64..=95 => {
            let text = format!("{value} would be taken for RTCP (RFC 5761); give 0 to 63 or 96 to 127");
            Err(invalid(path(parent, name), text))
        }
        _ => Err(invalid(path(parent, name), format!("{value} is no payload type; give 0 to 63 or 96 to 127"))),
    }
}

fn mime(value: &str, kind: Option<MediaKind>, parent: &str) -> Checked {
    bounded(value, limits::NAME, parent, "mime_type")?;
    let field = || path(parent, "mime_type");
    let Some((found, _)) = split_mime(value) else {
        return Err(invalid(field(), format!("{} is no MIME type; give one such as video/VP8", shown(value))));
    };
    match kind {
        Some(kind) if kind != found => Err(invalid(field(), format!("{} is no {kind} codec", shown(value)))),
        _ => Ok(()),
    }
}

fn parameters(items: &Parameters, parent: &str) -> Checked {
    at_most(items.len(), limits::PARAMETERS, parent, "parameters")?;
    for (name, value) in items {
        let field = format!("{}.{}", path(parent, "parameters"), name.chars().take(limits::NAME).collect::<String>());
        if name.len() > limits::NAME || name.chars().any(char::is_control) {
            let text = format!("a name of {} bytes; give at most {} legible ones", name.len(), limits::NAME);
            return Err(invalid(field, text));
        }
        match value {
            ParameterValue::Number(n) if !n.is_finite() => {
                return Err(invalid(field, format!("{n} is no number that fits an fmtp line")));
            }
            ParameterValue::Number(_) => {}
            ParameterValue::Text(text) => bounded(text, limits::TEXT, &field, "text")?,
        }
    }
    Ok(())
}

fn feedback(items: &[RtcpFeedback], parent: &str) -> Checked {
    at_most(items.len(), limits::FEEDBACK, parent, "rtcp_feedback")?;
    for (i, item) in items.iter().enumerate() {
        let field = member(parent, "rtcp_feedback", i);
        if item.r#type.is_empty() {
            return Err(invalid(path(&field, "type"), "is empty; give one such as nack"));
        }
        bounded(&item.r#type, limits::NAME, &field, "type")?;
        bounded(&item.parameter, limits::NAME, &field, "parameter")?;
    }
    Ok(())
}

/// What codecs of capabilities and of parameters have in common.
fn codec(codec: super::codec::Codec<'_>, list: &[RtcpFeedback], kind: Option<MediaKind>, field: &str) -> Checked {
    mime(codec.mime_type, kind, field)?;
    if codec.clock_rate == 0 {
        return Err(invalid(path(field, "clock_rate"), "is 0; give the RTP clock in Hz"));
    }
    if codec.channels == 0 {
        return Err(invalid(path(field, "channels"), "is 0; give at least 1 or leave it out"));
    }
    parameters(codec.parameters, field)?;
    if codec_kind(codec.mime_type) == CodecKind::H264 {
        let id = text(codec.parameters, "profile-level-id", h264::DEFAULT);
        if h264::profile(&id).is_none() {
            let text = format!("{} is no profile-level-id; give six hexadecimal digits", shown(&id));
            return Err(invalid(path(field, "parameters.profile-level-id"), text));
        }
    }
    if codec_kind(codec.mime_type) == CodecKind::H265
        && let Some((name, may_be)) = h265::fault(codec.parameters)
    {
        let text = format!("{} is no {name}; give {may_be}", shown(&text(codec.parameters, name, "")));
        return Err(invalid(path(field, &format!("parameters.{name}")), text));
    }
    feedback(list, field)
}

/// One codec of capabilities.
pub fn codec_capability(item: &RtpCodecCapability, field: &str) -> Checked {
    codec(item.into(), &item.rtcp_feedback, Some(item.kind), field)?;
    item.preferred_payload_type.map_or(Ok(()), |pt| payload_type(pt, field, "preferred_payload_type"))
}

fn extension_uri(uri: &str, field: &str) -> Checked {
    if uri.is_empty() {
        return Err(invalid(path(field, "uri"), "is empty"));
    }
    bounded(uri, limits::TEXT, field, "uri")
}

/// Ids of one- and two-byte header extensions: 15 ends parsing in the one-byte form (RFC 8285, section 4.2).
fn extension_id(id: u8, field: &str, name: &str) -> Checked {
    match id {
        0 => Err(invalid(path(field, name), "0 is padding; give 1 to 14, or 16 to 255")),
        15 => Err(invalid(path(field, name), "15 is reserved; give 1 to 14, or 16 to 255")),
        _ => Ok(()),
    }
}

/// Capabilities of an endpoint.
pub fn capabilities(item: &RtpCapabilities, field: &str) -> Checked {
    at_most(item.codecs.len(), limits::CODECS, field, "codecs")?;
    at_most(item.header_extensions.len(), limits::HEADER_EXTENSIONS, field, "header_extensions")?;
    for (i, codec) in item.codecs.iter().enumerate() {
        let field = member(field, "codecs", i);
        codec_capability(codec, &field)?;
        if codec.preferred_payload_type.is_none() {
            let text = "is missing; give the payload type that the endpoint uses for it";
            return Err(invalid(path(&field, "preferred_payload_type"), text));
        }
    }
    for (i, extension) in item.header_extensions.iter().enumerate() {
        let field = member(field, "header_extensions", i);
        extension_uri(&extension.uri, &field)?;
        extension_id(extension.preferred_id, &field, "preferred_id")?;
    }
    Ok(())
}

fn stream_codecs(items: &[RtpCodecParameters], kind: MediaKind, parent: &str) -> Checked {
    at_most(items.len(), limits::CODECS, parent, "codecs")?;
    let is_media = |c: &RtpCodecParameters| !is_auxiliary(codec_kind(&c.mime_type));
    if !items.iter().any(is_media) {
        return Err(invalid(path(parent, "codecs"), "no media codec in it; give at least one"));
    }
    for (i, item) in items.iter().enumerate() {
        let field = member(parent, "codecs", i);
        codec(item.into(), &item.rtcp_feedback, Some(kind), &field)?;
        payload_type(item.payload_type, &field, "payload_type")?;
        if items[..i].iter().any(|c| c.payload_type == item.payload_type) {
            let text = format!("{} is used by another codec of the list", item.payload_type);
            return Err(duplicate(path(&field, "payload_type"), text));
        }
        if codec_kind(&item.mime_type) == CodecKind::Rtx {
            let apt = integer(&item.parameters, "apt", -1);
            let is_rtx = |c: &RtpCodecParameters| codec_kind(&c.mime_type) == CodecKind::Rtx;
            if !items.iter().any(|c| !is_rtx(c) && i64::from(c.payload_type) == apt) {
                let text = format!("{apt} is the payload type of no media codec in the list (RFC 4588)");
                return Err(invalid(path(&field, "parameters.apt"), text));
            }
        }
        if kind == MediaKind::Audio
            && codec_kind(&item.mime_type) == CodecKind::Red
            && red::primary(item, items).is_none()
        {
            let text = "is no list of one opus payload type of the codecs, such as 111/111 (RFC 2198)";
            return Err(invalid(path(&field, "parameters"), text));
        }
    }
    Ok(())
}

fn encodings(item: &RtpParameters, parent: &str) -> Checked {
    at_most(item.encodings.len(), limits::ENCODINGS, parent, "encodings")?;
    if item.encodings.is_empty() {
        return Err(invalid(path(parent, "encodings"), "is empty; give one encoding"));
    }
    let mut seen: Vec<u32> = Vec::new();
    let mut claim = |ssrc: Option<u32>, field: String| match ssrc {
        Some(ssrc) if seen.contains(&ssrc) => Err(duplicate(field, format!("{ssrc} is given twice; SSRCs are unique"))),
        Some(ssrc) => {
            seen.push(ssrc);
            Ok(())
        }
        None => Ok(()),
    };
    let mut rids: Vec<&str> = Vec::new();
    for (i, encoding) in item.encodings.iter().enumerate() {
        let field = member(parent, "encodings", i);
        claim(encoding.ssrc, path(&field, "ssrc"))?;
        claim(encoding.rtx.map(|rtx| rtx.ssrc), path(&field, "rtx.ssrc"))?;
        if let Some(fec) = &encoding.fec {
            self::fec(fec, &item.codecs, &path(&field, "fec"))?;
            claim(fec.ssrc, path(&field, "fec.ssrc"))?;
        }
        if let Some(rid) = &encoding.rid {
            if Rid::new(rid.as_bytes()).is_err() {
                let text = format!("{} is no RID; give 1 to 32 letters and digits (RFC 8851)", shown(rid));
                return Err(invalid(path(&field, "rid"), text));
            }
            if rids.contains(&rid.as_str()) {
                return Err(duplicate(path(&field, "rid"), format!("{} is given twice", shown(rid))));
            }
            rids.push(rid);
        }
        if let Some(pt) = encoding.codec_payload_type
            && !item.codecs.iter().any(|c| c.payload_type == pt && !is_auxiliary(codec_kind(&c.mime_type)))
        {
            let text = format!("{pt} is the payload type of no media codec in the list");
            return Err(invalid(path(&field, "codec_payload_type"), text));
        }
        if let Some(mode) = &encoding.scalability_mode {
            bounded(mode, limits::NAME, &field, "scalability_mode")?;
        }
    }
    Ok(())
}

fn fec(item: &RtpFecParameters, codecs: &[RtpCodecParameters], field: &str) -> Checked {
    if item.mechanism != FLEXFEC {
        let text = format!(
            "{} has no stream of its own here; give {FLEXFEC}, or leave fec out where the codecs say it all",
            shown(&item.mechanism)
        );
        return Err(CommandError::new(ErrorCode::Unsupported, path(field, "mechanism"), text));
    }
    if !codecs.iter().any(|c| codec_kind(&c.mime_type) == CodecKind::FlexFec) {
        let text = "no flexfec-03 among the codecs; add it, or leave fec out";
        return Err(invalid(path(field, "mechanism"), text));
    }
    Ok(())
}

fn stream_extensions(items: &[RtpHeaderExtensionParameters], parent: &str) -> Checked {
    at_most(items.len(), limits::HEADER_EXTENSIONS, parent, "header_extensions")?;
    for (i, item) in items.iter().enumerate() {
        let field = member(parent, "header_extensions", i);
        extension_uri(&item.uri, &field)?;
        extension_id(item.id, &field, "id")?;
        parameters(&item.parameters, &field)?;
        if item.encrypt {
            let text = "encrypted header extensions (RFC 6904) are not served; give false";
            return Err(CommandError::new(ErrorCode::Unsupported, path(&field, "encrypt"), text));
        }
        for earlier in &items[..i] {
            if earlier.id == item.id {
                return Err(duplicate(path(&field, "id"), format!("{} is used by another extension", item.id)));
            }
            if earlier.uri == item.uri {
                return Err(duplicate(path(&field, "uri"), format!("{} is given twice", shown(&item.uri))));
            }
        }
    }
    Ok(())
}

/// A MID by itself.
pub fn mid(value: &str, field: &str) -> Result<Mid, CommandError> {
    Mid::new(value.as_bytes()).map_err(|_| {
        invalid(field, format!("{} is no MID; give 1 to 32 characters of a token (RFC 8843)", shown(value)))
    })
}

/// Parameters of a publisher.
pub fn stream(item: &RtpParameters, kind: MediaKind, field: &str) -> Checked {
    if let Some(value) = &item.mid {
        mid(value, &path(field, "mid"))?;
    }
    stream_codecs(&item.codecs, kind, field)?;
    stream_extensions(&item.header_extensions, field)?;
    encodings(item, field)?;
    if let Some(cname) = &item.rtcp.cname {
        bounded(cname, limits::CNAME, field, "rtcp.cname")?;
    }
    item.msid.as_ref().map_or(Ok(()), |msid| bounded(msid, limits::MSID, field, "msid"))
}
