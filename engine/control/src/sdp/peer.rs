//! From a peer's description to the ORTC dictionaries that `Produce`, `Consume` and `ConnectWebRtcTransport` take.
//!
//! Told: a [`Description`] and the router's capabilities. Tells: a [`Peer`]: ICE and DTLS parameters, and for each section
//! what the peer sends, what it is able to receive, and why it can only be rejected where that is so. All is cut to what
//! the router knows, so that what is told can be given to `Produce` and `Consume` as it is. RFC 8829 section 5, RFC 8842,
//! RFC 8843 (bundling), RFC 8853 (simulcast), RFC 5576 and RFC 5956 (SSRC groups).
//!
//! A section that sends is told with one media codec, its RTX, and FlexFEC: with several a publisher could change to one that
//! some of its watchers do not have. It is the first in the order of preference that is handed in, else of the offer.

use sfu_wire::codec::CodecKind;

use super::description::{Description, Direction, Extmap, Format, Section, Setup, TransportPart};
use super::lines::SdpError;
use crate::ortc::capabilities::media_codecs;
use crate::ortc::codec::{Codec, codec_kind, integer, is_auxiliary, is_primary, matches};
use crate::ortc::producer::common_feedback;
use crate::ortc::*;

/// What a description says of its writer.
#[derive(Debug, Clone, PartialEq)]
pub struct Peer {
    /// Its ICE credentials.
    pub ice_parameters: IceParameters,
    /// Its fingerprints, and the role it leaves for itself: `auto` for actpass.
    pub dtls_parameters: DtlsParameters,
    /// Candidate lines, which were not read.
    pub candidates: u32,
    /// Its sections, in order.
    pub sections: Vec<PeerSection>,
}

/// One section of a peer.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerSection {
    /// MID; 0 for an only section without one, empty for one without among several.
    pub mid: String,
    /// `audio`, `video`, `application`, or something else.
    pub media: String,
    /// As the peer sees it.
    pub direction: Direction,
    /// Why the section can only be rejected; absent: it can be used.
    pub problem: Option<String>,
    /// What the peer sends; absent if it does not, or cannot.
    pub rtp_parameters: Option<RtpParameters>,
    /// What the peer is able to receive, with its own payload types and extension ids; absent if it does not.
    pub rtp_capabilities: Option<RtpCapabilities>,
    /// Of a data channel section.
    pub sctp_port: Option<u16>,
    /// Bytes; of a data channel section.
    pub max_message_size: Option<u64>,
}

/// Audio or video; nothing else carries RTP here.
pub(super) fn kind_of(section: &Section) -> Option<MediaKind> {
    match section.media.as_str() {
        "audio" => Some(MediaKind::Audio),
        "video" => Some(MediaKind::Video),
        _ => None,
    }
}

/// MID of a section. The only section needs none and is called 0; one without MID among several cannot be served.
pub(super) fn mid_of(description: &Description, section: &Section) -> String {
    let alone = if description.sections.len() == 1 { "0" } else { "" };
    section.mid.clone().unwrap_or_else(|| alone.to_owned())
}

/// Reads an offer or an answer for a router.
pub fn read(description: &Description, router: &RtpCapabilities, preferred: &[String]) -> Result<Peer, SdpError> {
    if description.ice_lite {
        let text = "a=ice-lite: libsfu is an ICE-lite agent as well, and one side must check; use a full agent";
        return Err(SdpError::unsupported(None, text));
    }
    let sections = description.sections.iter().enumerate();
    let sections = sections.map(|(i, section)| read_section(description, section, i, router, preferred)).collect();
    let transport = transport(description)?;
    let candidates = description.sections.iter().map(|s| s.transport.candidates).sum::<u32>();
    Ok(Peer {
        ice_parameters: IceParameters {
            username_fragment: transport.ufrag.unwrap_or_default(),
            password: transport.password.unwrap_or_default(),
            ice_lite: false,
        },
        dtls_parameters: DtlsParameters {
            role: match transport.setup {
                Some(Setup::Active) => DtlsRole::Client,
                Some(Setup::Passive) => DtlsRole::Server,
                Some(Setup::Actpass) | None => DtlsRole::Auto,
            },
            fingerprints: transport.fingerprints,
        },
        candidates: candidates + description.transport.candidates,
        sections,
    })
}

/// Sections of one BUNDLE group share the transport of the first one that is not rejected (RFC 8843, section 7).
fn transport(description: &Description) -> Result<TransportPart, SdpError> {
    let session = &description.transport;
    let living = |s: &&Section| s.port != 0 || s.bundle_only;
    let tagged = description
        .bundle
        .iter()
        .flatten()
        .find_map(|mid| description.sections.iter().filter(living).find(|s| s.mid.as_ref() == Some(mid)));
    let section = tagged.or_else(|| description.sections.iter().find(living));
    let Some(section) = section else {
        return Err(SdpError::unsupported(None, "every section is rejected (port 0)"));
    };
    let own = &section.transport;
    let ufrag = own.ufrag.clone().or_else(|| session.ufrag.clone());
    let password = own.password.clone().or_else(|| session.password.clone());
    if ufrag.is_none() || password.is_none() {
        let text = "no a=ice-ufrag and a=ice-pwd for this section; libsfu needs ICE (RFC 8839)";
        return Err(SdpError::invalid(section.line, text));
    }
    let fingerprints = if own.fingerprints.is_empty() { &session.fingerprints } else { &own.fingerprints };
    let usable = |f: &&DtlsFingerprint| matches!(f.algorithm.as_str(), "sha-256" | "sha-384" | "sha-512");
    let usable: Vec<DtlsFingerprint> = fingerprints.iter().filter(usable).cloned().collect();
    if usable.is_empty() {
        let text = "no usable a=fingerprint for this section; give one by sha-256, sha-384 or sha-512 (RFC 8122)";
        return Err(SdpError::invalid(section.line, text));
    }
    Ok(TransportPart {
        ufrag,
        password,
        fingerprints: usable,
        setup: own.setup.or(session.setup),
        candidates: 0,
        end_of_candidates: false,
    })
}

fn read_section(
    description: &Description,
    section: &Section,
    index: usize,
    router: &RtpCapabilities,
    preferred: &[String],
) -> PeerSection {
    let mut out = PeerSection {
        mid: mid_of(description, section),
        media: section.media.clone(),
        direction: section.direction,
        problem: None,
        rtp_parameters: None,
        rtp_capabilities: None,
        sctp_port: section.sctp_port,
        max_message_size: section.max_message_size,
    };
    match usable(description, section, index) {
        Ok(kind) => {
            if matches!(section.direction, Direction::Sendrecv | Direction::Sendonly) {
                match sent(section, &out.mid, kind, router, preferred) {
                    Some(parameters) => out.rtp_parameters = Some(parameters),
                    None => out.problem = Some(no_codec(section, router, kind)),
                }
            }
            if matches!(section.direction, Direction::Sendrecv | Direction::Recvonly) {
                let capabilities = received(section, kind, router);
                let primary = capabilities.codecs.iter().any(|c| is_primary(codec_kind(&c.mime_type)));
                if primary {
                    out.rtp_capabilities = Some(capabilities);
                } else {
                    out.problem = Some(no_codec(section, router, kind));
                }
            }
        }
        Err(problem) => out.problem = Some(problem),
    }
    out
}

/// The kind of a section that can be served, or why it cannot.
pub(super) fn usable(description: &Description, section: &Section, index: usize) -> Result<MediaKind, String> {
    let line = section.line;
    let Some(kind) = kind_of(section) else {
        let media = convert::shown(&section.media);
        return Err(format!("line {line}: {media} is not served; give audio or video"));
    };
    if section.port == 0 && !section.bundle_only {
        return Err(format!("line {line}: the peer itself rejects it (port 0)"));
    }
    // The transport part of the name is of no weight: peers differ in it, and all mean DTLS-SRTP with feedback.
    if !section.protocol.contains("SAVP") {
        let protocol = convert::shown(&section.protocol);
        return Err(format!("line {line}: {protocol} is not encrypted; give UDP/TLS/RTP/SAVPF"));
    }
    if !section.rtcp_mux {
        return Err(format!("line {line}: a=rtcp-mux is missing in this section; libsfu has one port (RFC 8834)"));
    }
    let bundled = match (&description.bundle, &section.mid) {
        (Some(group), Some(mid)) => group.contains(mid),
        // A single section needs no group.
        _ => index == 0 && description.sections.len() == 1,
    };
    if !bundled {
        return Err(format!("line {line}: it is in no a=group:BUNDLE; libsfu has one transport for all sections"));
    }
    Ok(kind)
}

fn no_codec(section: &Section, router: &RtpCapabilities, kind: MediaKind) -> String {
    let known: Vec<&str> =
        media_codecs(router).filter(|(_, c)| c.kind == kind).map(|(_, c)| c.mime_type.as_str()).collect();
    let offered: Vec<&str> = section.codecs.iter().map(|c| c.name.as_str()).take(16).collect();
    format!(
        "line {}: none of its codecs ({}) is one of the router's ({})",
        section.line,
        offered.join(", "),
        known.join(", ")
    )
}

/// The section's codec as a capability, feedback as offered.
fn capability(section: &Section, kind: MediaKind, format: &Format) -> RtpCodecCapability {
    let feedback = section.feedback.iter().filter(|(pt, _)| pt.is_none_or(|pt| pt == format.payload_type));
    let mut rtcp_feedback: Vec<RtcpFeedback> = Vec::new();
    for (_, one) in feedback {
        if rtcp_feedback.len() < limits::FEEDBACK && !rtcp_feedback.contains(one) {
            rtcp_feedback.push(one.clone());
        }
    }
    RtpCodecCapability {
        kind,
        mime_type: format!("{kind}/{}", format.name),
        preferred_payload_type: Some(format.payload_type),
        clock_rate: format.clock_rate,
        channels: format.channels.filter(|_| kind == MediaKind::Audio),
        parameters: section.parameters.get(&format.payload_type).cloned().unwrap_or_default(),
        rtcp_feedback,
    }
}

/// The section's codecs that the router has, in the order of the section, with the router's entry for each. RTX
/// follows its codec, FlexFEC stands for itself; what else only goes along is left out.
pub(super) fn common_codecs<'r>(
    section: &Section,
    kind: MediaKind,
    router: &'r RtpCapabilities,
) -> Vec<(RtpCodecCapability, Option<&'r RtpCodecCapability>)> {
    let all: Vec<_> = section.codecs.iter().map(|format| capability(section, kind, format)).collect();
    // RFC 5761, section 4: these would be taken for RTCP.
    let legal = |c: &&RtpCodecCapability| !matches!(c.preferred_payload_type, Some(64..=95));
    let rtx: Vec<(i64, &RtpCodecCapability)> = all
        .iter()
        .filter(legal)
        .filter(|c| codec_kind(&c.mime_type) == CodecKind::Rtx)
        .map(|c| (integer(&c.parameters, "apt", -1), c))
        .collect();
    let mut out = Vec::new();
    for codec in all.iter().filter(legal) {
        let of = codec_kind(&codec.mime_type);
        if is_auxiliary(of) && of != CodecKind::FlexFec {
            continue;
        }
        let own = media_codecs(router).find(|(_, own)| matches(Codec::from(*own), Codec::from(codec), true));
        let Some((_, own)) = own else { continue };
        let apt = codec.preferred_payload_type.map_or(-1, i64::from);
        let mut codec = codec.clone();
        codec.rtcp_feedback = common_feedback(&own.rtcp_feedback, &codec.rtcp_feedback);
        out.push((codec, Some(own)));
        out.extend(rtx.iter().find(|(of, _)| *of == apt).map(|(_, rtx)| ((*rtx).clone(), None)));
    }
    out
}

/// Extensions of the section that the router has in the given direction of ours.
fn common_extensions<'s>(
    section: &'s Section,
    kind: MediaKind,
    router: &'s RtpCapabilities,
    ours: [ExtensionDirection; 2],
) -> impl Iterator<Item = &'s Extmap> {
    let known = move |x: &&Extmap| {
        router.header_extensions.iter().any(|own| own.kind == kind && own.uri == x.uri && ours.contains(&own.direction))
    };
    let mut seen: Vec<&str> = Vec::new();
    let mut ids: Vec<u8> = Vec::new();
    section.extensions.iter().filter(known).filter(move |x| {
        let first = !seen.contains(&x.uri.as_str()) && !ids.contains(&x.id);
        seen.push(&x.uri);
        ids.push(x.id);
        first
    })
}

/// What a sending section sends.
fn sent(
    section: &Section,
    mid: &str,
    kind: MediaKind,
    router: &RtpCapabilities,
    preferred: &[String],
) -> Option<RtpParameters> {
    use ExtensionDirection::{Recvonly, Sendonly, Sendrecv};
    let common = common_codecs(section, kind, router);
    let primary = |(codec, own): &&(RtpCodecCapability, Option<&RtpCodecCapability>)| {
        own.is_some() && is_primary(codec_kind(&codec.mime_type))
    };
    let wanted = preferred
        .iter()
        .find_map(|mime| common.iter().filter(primary).find(|(codec, _)| codec.mime_type.eq_ignore_ascii_case(mime)));
    let (media, _) = wanted.or_else(|| common.iter().find(primary))?;
    let apt = media.preferred_payload_type.map_or(-1, i64::from);
    let chosen = common.iter().map(|(codec, _)| codec).filter(|codec| {
        codec.preferred_payload_type == media.preferred_payload_type
            || codec_kind(&codec.mime_type) == CodecKind::FlexFec
            || (codec_kind(&codec.mime_type) == CodecKind::Rtx && integer(&codec.parameters, "apt", -1) == apt)
    });
    let codecs = chosen.map(|codec| RtpCodecParameters {
        mime_type: codec.mime_type.clone(),
        payload_type: codec.preferred_payload_type.unwrap_or_default(),
        clock_rate: codec.clock_rate,
        channels: codec.channels,
        parameters: codec.parameters.clone(),
        rtcp_feedback: codec.rtcp_feedback.clone(),
    });
    let codecs: Vec<_> = codecs.collect();
    let flexfec = codecs.iter().any(|c| codec_kind(&c.mime_type) == CodecKind::FlexFec);
    let sent = |x: &&Extmap| matches!(x.direction, Sendrecv | Sendonly);
    let extensions = common_extensions(section, kind, router, [Sendrecv, Recvonly]).filter(sent);
    Some(RtpParameters {
        mid: section.mid.as_ref().map(|_| mid.to_owned()),
        codecs,
        header_extensions: extensions
            .map(|x| RtpHeaderExtensionParameters {
                uri: x.uri.clone(),
                id: x.id,
                encrypt: false,
                parameters: Parameters::new(),
            })
            .collect(),
        encodings: encodings(section, flexfec),
        rtcp: RtcpParameters { cname: section.cname.clone(), reduced_size: section.rtcp_rsize },
        msid: section.msid.clone().filter(|msid| msid != "-"),
    })
}

/// One for each RID of `a=simulcast:send`, else for each SSRC of a SIM group, else for the first SSRC; RTX by FID, FlexFEC by FEC-FR
/// where it is among the codecs.
fn encodings(section: &Section, flexfec: bool) -> Vec<RtpEncodingParameters> {
    let known = |rid: &&String| section.sent_rids.iter().any(|(id, _)| id == *rid);
    let rids: Vec<&String> = section.simulcast.iter().filter(known).collect();
    if !rids.is_empty() {
        let max = |rid: &str| section.sent_rids.iter().find(|(id, _)| id == rid).and_then(|(_, max)| *max);
        let one = |rid: &String| RtpEncodingParameters {
            rid: Some(rid.clone()),
            max_bitrate: max(rid),
            ..RtpEncodingParameters::default()
        };
        return rids.into_iter().map(one).collect();
    }
    let group = |semantics: &'static str| section.ssrc_groups.iter().filter(move |(name, _)| name == semantics);
    let rtx = |ssrc: u32| {
        group("FID").find_map(|(_, members)| match members[..] {
            [primary, rtx] if primary == ssrc && rtx != ssrc => Some(RtpRtxParameters { ssrc: rtx }),
            _ => None,
        })
    };
    let fec = |ssrc: u32| {
        let of = |members: &[u32]| members.first() == Some(&ssrc) && members.len() == 2;
        let (_, members) = group("FEC-FR").find(|(_, members)| of(members)).filter(|_| flexfec)?;
        let own = members.get(1).copied().filter(|own| *own != ssrc && rtx(ssrc).is_none_or(|rtx| rtx.ssrc != *own));
        own.map(|own| RtpFecParameters { ssrc: Some(own), mechanism: FLEXFEC.to_owned() })
    };
    let repairs = |ssrc: u32| group("FID").chain(group("FEC-FR")).any(|(_, members)| members.get(1) == Some(&ssrc));
    let mut ssrcs: Vec<u32> = Vec::new();
    match group("SIM").next() {
        Some((_, members)) => {
            members.iter().take(limits::ENCODINGS).for_each(|ssrc| {
                if !ssrcs.contains(ssrc) {
                    ssrcs.push(*ssrc);
                }
            });
        }
        None => ssrcs.extend(section.ssrcs.iter().find(|ssrc| !repairs(**ssrc))),
    }
    if ssrcs.is_empty() {
        return vec![RtpEncodingParameters::default()];
    }
    let one =
        |ssrc: u32| RtpEncodingParameters { ssrc: Some(ssrc), rtx: rtx(ssrc), fec: fec(ssrc), ..Default::default() };
    ssrcs.into_iter().map(one).collect()
}

/// What a receiving section is able to receive.
pub(super) fn received(section: &Section, kind: MediaKind, router: &RtpCapabilities) -> RtpCapabilities {
    use ExtensionDirection::{Recvonly, Sendonly, Sendrecv};
    let codecs = common_codecs(section, kind, router).into_iter().map(|(codec, _)| codec).collect();
    let taken = |x: &&Extmap| matches!(x.direction, Sendrecv | Recvonly);
    let extensions = common_extensions(section, kind, router, [Sendrecv, Sendonly]).filter(taken);
    let header_extensions = extensions
        .map(|x| RtpHeaderExtension {
            kind,
            uri: x.uri.clone(),
            preferred_id: x.id,
            preferred_encrypt: false,
            direction: x.direction,
        })
        .collect();
    RtpCapabilities { codecs, header_extensions }
}
