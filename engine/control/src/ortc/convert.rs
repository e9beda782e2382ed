//! Between the serde types and the object API of the schema. Towards the schema nothing can fail; from it, numbers
//! outside their enum and parameters that are both text and number are refused, with the field named.

use sfu_core::command::{CommandError, ErrorCode};
use sfu_wire::scalability::{Layers, MAX_SPATIAL, MAX_TEMPORAL};

use super::types::*;
use crate::schema as fb;

/// Refusal of one field.
pub(crate) fn invalid(field: impl Into<String>, text: impl Into<String>) -> CommandError {
    CommandError::new(ErrorCode::InvalidArgument, field, text)
}

/// A caller's text in quotes for a message, escaped and cut: an error must not repeat a megabyte.
pub(crate) fn shown(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut escaped: String = text.chars().take(SHOWN).flat_map(char::escape_debug).take(SHOWN + 1).collect();
    if escaped.chars().count() > SHOWN || text.chars().nth(SHOWN).is_some() {
        escaped.pop();
        escaped.push_str("...");
    }
    format!("\"{escaped}\"")
}

/// A path below `parent`.
pub(crate) fn path(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// A list's member below `parent`.
pub(crate) fn member(parent: &str, name: &str, index: usize) -> String {
    format!("{}[{index}]", path(parent, name))
}

type Converted<T> = Result<T, CommandError>;

/// Each member of an optional list through `f`, told its path.
fn list<T, U>(
    items: Option<Vec<T>>,
    parent: &str,
    name: &str,
    f: impl Fn(T, &str) -> Converted<U>,
) -> Converted<Vec<U>> {
    items.unwrap_or_default().into_iter().enumerate().map(|(i, item)| f(item, &member(parent, name, i))).collect()
}

/// Audio or video, from the schema.
pub fn kind_from(kind: fb::MediaKind, field: &str) -> Converted<MediaKind> {
    match kind {
        fb::MediaKind::audio => Ok(MediaKind::Audio),
        fb::MediaKind::video => Ok(MediaKind::Video),
        other => Err(invalid(field, format!("{} is no media kind; use 0 (audio) or 1 (video)", other.0))),
    }
}

/// Audio or video, to the schema.
pub fn kind_to(kind: MediaKind) -> fb::MediaKind {
    match kind {
        MediaKind::Audio => fb::MediaKind::audio,
        MediaKind::Video => fb::MediaKind::video,
    }
}

fn parameters_from(items: Option<Vec<fb::ParameterT>>, parent: &str) -> Converted<Parameters> {
    let mut out = Parameters::new();
    for (i, item) in items.unwrap_or_default().into_iter().enumerate() {
        let at = || member(parent, "parameters", i);
        let value = match (item.text, item.number) {
            (Some(_), Some(_)) => return Err(invalid(at(), "has both text and number; give one of them")),
            (text, None) => ParameterValue::Text(text.unwrap_or_default()),
            (None, Some(number)) => ParameterValue::Number(number),
        };
        if out.insert(item.name, value).is_some() {
            return Err(invalid(path(&at(), "name"), "is given twice in the list"));
        }
    }
    Ok(out)
}

fn parameters_to(items: &Parameters) -> Option<Vec<fb::ParameterT>> {
    let make = |(name, value): (&String, &ParameterValue)| match value {
        ParameterValue::Number(n) => fb::ParameterT { name: name.clone(), text: None, number: Some(*n) },
        ParameterValue::Text(t) => fb::ParameterT { name: name.clone(), text: Some(t.clone()), number: None },
    };
    Some(items.iter().map(make).collect())
}

fn feedback_from(items: Option<Vec<fb::RtcpFeedbackT>>) -> Vec<RtcpFeedback> {
    let make = |f: fb::RtcpFeedbackT| RtcpFeedback { r#type: f.type_, parameter: f.parameter.unwrap_or_default() };
    items.unwrap_or_default().into_iter().map(make).collect()
}

fn feedback_to(items: &[RtcpFeedback]) -> Option<Vec<fb::RtcpFeedbackT>> {
    let make = |f: &RtcpFeedback| fb::RtcpFeedbackT {
        type_: f.r#type.clone(),
        parameter: (!f.parameter.is_empty()).then(|| f.parameter.clone()),
    };
    Some(items.iter().map(make).collect())
}

/// One codec capability from the schema; `field` is its path.
pub fn codec_capability_from(item: fb::RtpCodecCapabilityT, field: &str) -> Converted<RtpCodecCapability> {
    Ok(RtpCodecCapability {
        kind: kind_from(item.kind, &path(field, "kind"))?,
        mime_type: item.mime_type,
        preferred_payload_type: item.preferred_payload_type,
        clock_rate: item.clock_rate,
        channels: item.channels,
        parameters: parameters_from(item.parameters, field)?,
        rtcp_feedback: feedback_from(item.rtcp_feedback),
    })
}

/// One codec capability to the schema.
pub fn codec_capability_to(item: &RtpCodecCapability) -> fb::RtpCodecCapabilityT {
    fb::RtpCodecCapabilityT {
        kind: kind_to(item.kind),
        mime_type: item.mime_type.clone(),
        preferred_payload_type: item.preferred_payload_type,
        clock_rate: item.clock_rate,
        channels: item.channels,
        parameters: parameters_to(&item.parameters),
        rtcp_feedback: feedback_to(&item.rtcp_feedback),
    }
}

/// A list of codec capabilities from the schema; `field` is the list's path.
pub fn codec_capabilities_from(
    items: Option<Vec<fb::RtpCodecCapabilityT>>,
    field: &str,
) -> Converted<Vec<RtpCodecCapability>> {
    list(items, "", field, codec_capability_from)
}

fn direction_from(direction: fb::ExtensionDirection, field: &str) -> Converted<ExtensionDirection> {
    Ok(match direction {
        fb::ExtensionDirection::sendrecv => ExtensionDirection::Sendrecv,
        fb::ExtensionDirection::sendonly => ExtensionDirection::Sendonly,
        fb::ExtensionDirection::recvonly => ExtensionDirection::Recvonly,
        fb::ExtensionDirection::inactive => ExtensionDirection::Inactive,
        other => return Err(invalid(field, format!("{} is no direction; use 0 to 3", other.0))),
    })
}

fn direction_to(direction: ExtensionDirection) -> fb::ExtensionDirection {
    match direction {
        ExtensionDirection::Sendrecv => fb::ExtensionDirection::sendrecv,
        ExtensionDirection::Sendonly => fb::ExtensionDirection::sendonly,
        ExtensionDirection::Recvonly => fb::ExtensionDirection::recvonly,
        ExtensionDirection::Inactive => fb::ExtensionDirection::inactive,
    }
}

/// Capabilities from the schema; `field` is their path.
pub fn capabilities_from(item: fb::RtpCapabilitiesT, field: &str) -> Converted<RtpCapabilities> {
    Ok(RtpCapabilities {
        codecs: list(item.codecs, field, "codecs", codec_capability_from)?,
        header_extensions: list(item.header_extensions, field, "header_extensions", |x, at| {
            Ok(RtpHeaderExtension {
                kind: kind_from(x.kind, &path(at, "kind"))?,
                uri: x.uri,
                preferred_id: x.preferred_id,
                preferred_encrypt: x.preferred_encrypt,
                direction: direction_from(x.direction, &path(at, "direction"))?,
            })
        })?,
    })
}

/// Capabilities to the schema.
pub fn capabilities_to(item: &RtpCapabilities) -> fb::RtpCapabilitiesT {
    let extension = |x: &RtpHeaderExtension| fb::RtpHeaderExtensionT {
        kind: kind_to(x.kind),
        uri: x.uri.clone(),
        preferred_id: x.preferred_id,
        preferred_encrypt: x.preferred_encrypt,
        direction: direction_to(x.direction),
    };
    fb::RtpCapabilitiesT {
        codecs: Some(item.codecs.iter().map(codec_capability_to).collect()),
        header_extensions: Some(item.header_extensions.iter().map(extension).collect()),
    }
}

/// RTP parameters from the schema; `field` is their path.
pub fn parameters_of_stream_from(item: fb::RtpParametersT, field: &str) -> Converted<RtpParameters> {
    Ok(RtpParameters {
        mid: item.mid,
        codecs: list(item.codecs, field, "codecs", |c, at| {
            Ok(RtpCodecParameters {
                mime_type: c.mime_type,
                payload_type: c.payload_type,
                clock_rate: c.clock_rate,
                channels: c.channels,
                parameters: parameters_from(c.parameters, at)?,
                rtcp_feedback: feedback_from(c.rtcp_feedback),
            })
        })?,
        header_extensions: list(item.header_extensions, field, "header_extensions", |x, at| {
            let parameters = parameters_from(x.parameters, at)?;
            Ok(RtpHeaderExtensionParameters { uri: x.uri, id: x.id, encrypt: x.encrypt, parameters })
        })?,
        encodings: list(item.encodings, field, "encodings", |e, _| {
            Ok(RtpEncodingParameters {
                ssrc: e.ssrc,
                rid: e.rid,
                codec_payload_type: e.codec_payload_type,
                rtx: e.rtx.map(|rtx| RtpRtxParameters { ssrc: rtx.ssrc }),
                dtx: e.dtx,
                scalability_mode: e.scalability_mode,
                max_bitrate: e.max_bitrate,
                fec: e.fec.map(|fec| RtpFecParameters { ssrc: fec.ssrc, mechanism: fec.mechanism }),
            })
        })?,
        rtcp: item
            .rtcp
            .map_or_else(RtcpParameters::default, |r| RtcpParameters { cname: r.cname, reduced_size: r.reduced_size }),
        msid: item.msid,
    })
}

/// RTP parameters to the schema.
pub fn parameters_of_stream_to(item: &RtpParameters) -> fb::RtpParametersT {
    let codec = |c: &RtpCodecParameters| fb::RtpCodecParametersT {
        mime_type: c.mime_type.clone(),
        payload_type: c.payload_type,
        clock_rate: c.clock_rate,
        channels: c.channels,
        parameters: parameters_to(&c.parameters),
        rtcp_feedback: feedback_to(&c.rtcp_feedback),
    };
    let extension = |x: &RtpHeaderExtensionParameters| fb::RtpHeaderExtensionParametersT {
        uri: x.uri.clone(),
        id: x.id,
        encrypt: x.encrypt,
        parameters: parameters_to(&x.parameters),
    };
    let encoding = |e: &RtpEncodingParameters| fb::RtpEncodingParametersT {
        ssrc: e.ssrc,
        rid: e.rid.clone(),
        codec_payload_type: e.codec_payload_type,
        rtx: e.rtx.map(|rtx| Box::new(fb::RtpRtxParametersT { ssrc: rtx.ssrc })),
        dtx: e.dtx,
        scalability_mode: e.scalability_mode.clone(),
        max_bitrate: e.max_bitrate,
        fec: e
            .fec
            .as_ref()
            .map(|fec| Box::new(fb::RtpFecParametersT { ssrc: fec.ssrc, mechanism: fec.mechanism.clone() })),
    };
    fb::RtpParametersT {
        mid: item.mid.clone(),
        codecs: Some(item.codecs.iter().map(codec).collect()),
        header_extensions: Some(item.header_extensions.iter().map(extension).collect()),
        encodings: Some(item.encodings.iter().map(encoding).collect()),
        rtcp: Some(Box::new(fb::RtcpParametersT {
            cname: item.rtcp.cname.clone(),
            reduced_size: item.rtcp.reduced_size,
        })),
        msid: item.msid.clone(),
    }
}

/// Layers from the schema; what is above the most there can be is the most.
pub fn layers_from(item: &fb::LayersT) -> Layers {
    let temporal = item.temporal.unwrap_or(u8::MAX);
    Layers::new(item.spatial.min(MAX_SPATIAL - 1), temporal.min(MAX_TEMPORAL - 1))
}

/// Layers to the schema.
pub fn layers_to(layers: Option<Layers>) -> Option<Box<fb::LayersT>> {
    layers.map(|l| Box::new(fb::LayersT { spatial: l.spatial, temporal: Some(l.temporal) }))
}

/// ICE credentials from the schema.
pub fn ice_parameters_from(item: fb::IceParametersT) -> IceParameters {
    IceParameters { username_fragment: item.username_fragment, password: item.password, ice_lite: item.ice_lite }
}

/// A candidate from the schema.
pub fn ice_candidate_from(item: fb::IceCandidateT) -> IceCandidate {
    IceCandidate {
        foundation: item.foundation,
        priority: item.priority,
        ip: item.address.clone(),
        address: item.address,
        protocol: if item.protocol == fb::Protocol::tcp { Protocol::Tcp } else { Protocol::Udp },
        port: item.port,
        r#type: "host".to_owned(),
        tcp_type: item.tcp_type.map(|_| TcpType::Passive),
    }
}

/// DTLS role from the schema.
pub fn dtls_role_from(role: fb::DtlsRole, field: &str) -> Converted<DtlsRole> {
    Ok(match role {
        fb::DtlsRole::auto => DtlsRole::Auto,
        fb::DtlsRole::client => DtlsRole::Client,
        fb::DtlsRole::server => DtlsRole::Server,
        other => return Err(invalid(field, format!("{} is no DTLS role; use 0 to 2", other.0))),
    })
}

/// DTLS role to the schema.
pub fn dtls_role_to(role: DtlsRole) -> fb::DtlsRole {
    match role {
        DtlsRole::Auto => fb::DtlsRole::auto,
        DtlsRole::Client => fb::DtlsRole::client,
        DtlsRole::Server => fb::DtlsRole::server,
    }
}

/// DTLS parameters from the schema; `field` is their path.
pub fn dtls_parameters_from(item: fb::DtlsParametersT, field: &str) -> Converted<DtlsParameters> {
    Ok(DtlsParameters {
        role: dtls_role_from(item.role, &path(field, "role"))?,
        fingerprints: list(item.fingerprints, field, "fingerprints", |f, at| {
            let algorithm = match f.algorithm {
                fb::FingerprintAlgorithm::sha256 => "sha-256",
                fb::FingerprintAlgorithm::sha384 => "sha-384",
                fb::FingerprintAlgorithm::sha512 => "sha-512",
                other => {
                    return Err(invalid(path(at, "algorithm"), format!("{} is no algorithm; use 0 to 2", other.0)));
                }
            };
            Ok(DtlsFingerprint { algorithm: algorithm.to_owned(), value: f.value })
        })?,
    })
}

/// DTLS parameters to the schema. Digests by algorithms that libsfu does not use are left out, as clients offer
/// several and one match is enough; it is an error if none remains.
pub fn dtls_parameters_to(item: &DtlsParameters) -> Converted<fb::DtlsParametersT> {
    let known = |f: &DtlsFingerprint| {
        let algorithm = match f.algorithm.to_ascii_lowercase().as_str() {
            "sha-256" => fb::FingerprintAlgorithm::sha256,
            "sha-384" => fb::FingerprintAlgorithm::sha384,
            "sha-512" => fb::FingerprintAlgorithm::sha512,
            _ => return None,
        };
        Some(fb::DtlsFingerprintT { algorithm, value: f.value.clone() })
    };
    let fingerprints: Vec<_> = item.fingerprints.iter().filter_map(known).collect();
    if fingerprints.is_empty() && !item.fingerprints.is_empty() {
        let text = "none of the algorithms is usable; give sha-256, sha-384 or sha-512";
        return Err(invalid("dtls_parameters.fingerprints", text));
    }
    Ok(fb::DtlsParametersT { role: dtls_role_to(item.role), fingerprints: Some(fingerprints) })
}
