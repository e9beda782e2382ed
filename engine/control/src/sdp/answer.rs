//! The answer to a peer's offer (RFC 3264, RFC 8829 section 5.3).
//!
//! Told: the offer, our side of the transport, and what each section became: a producer, a consumer, both, or a place
//! for a later consumer. Tells: the answer's text, or the field that does not fit the offer. It uses no payload type and
//! no extension id that the offer does not have, keeps the offer's sections and MIDs, rejects what it was not told of
//! (port 0), and takes the DTLS role that is left: server, unless the peer wants to be that itself.

use sfu_core::command::CommandError;
use sfu_wire::codec::CodecKind;

use super::description::{Description, Direction, Section, Setup};
use super::peer::{common_codecs, mid_of, received, usable};
use super::writer::{Local, MediaText, Sent, Text};
use crate::ortc::codec::{codec_kind, integer};
use crate::ortc::consumer::choose_bandwidth_feedback;
use crate::ortc::convert::{invalid, member, path, shown};
use crate::ortc::producer::common_feedback;
use crate::ortc::*;

/// What a section of the offer became.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AnswerSection {
    /// MID of the section, as it was told.
    pub mid: String,
    /// What the peer sends in it, as it was produced.
    pub producer: Option<RtpParameters>,
    /// What the peer receives in it, with the numbers of the peer.
    pub consumer: Option<RtpParameters>,
    /// A consumer may come later: all that the peer can receive is agreed on.
    pub open: bool,
}

impl AnswerSection {
    fn sends(&self) -> bool {
        self.open || self.consumer.is_some()
    }
}

/// What numbers a description: `o=` line (RFC 8866, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The same for all descriptions of a transport.
    pub session: u64,
    /// One more for each.
    pub version: u32,
}

type Answered<T> = Result<T, CommandError>;

const SECTIONS: &str = "sections";

/// Writes the answer.
pub fn answer(
    offer: &Description,
    router: &RtpCapabilities,
    local: &Local,
    origin: Origin,
    sections: &[AnswerSection],
) -> Answered<String> {
    let known: Vec<String> = offer.sections.iter().map(|s| mid_of(offer, s)).collect();
    for (i, section) in sections.iter().enumerate() {
        let field = path(&member("", SECTIONS, i), "mid");
        if !known.contains(&section.mid) {
            let text = format!("{} is no section of the offer; it has {}", shown(&section.mid), known.join(", "));
            return Err(invalid(field, text));
        }
        if sections[..i].iter().any(|s| s.mid == section.mid) {
            return Err(invalid(field, format!("{} is given twice", shown(&section.mid))));
        }
    }
    let told = |mid: &String| sections.iter().enumerate().find(|(_, s)| s.mid == *mid);
    let accepted: Vec<&str> = known.iter().filter(|mid| told(mid).is_some()).map(String::as_str).collect();
    // The answer has a group if the offer has one, and names in it what has a name.
    let grouped = offer.sections.iter().filter(|_| offer.bundle.is_some()).filter_map(|s| s.mid.as_deref());
    let bundle: Vec<&str> = grouped.filter(|mid| accepted.contains(mid)).collect();
    let mut text = Text::default();
    text.session(origin.session, origin.version, &bundle, offer.extmap_allow_mixed);
    for (index, (section, mid)) in offer.sections.iter().zip(&known).enumerate() {
        match told(mid) {
            None => reject(&mut text, section, local, setup(offer, section)),
            Some((i, told)) => {
                let field = member("", SECTIONS, i);
                let kind = usable(offer, section, index).map_err(|why| invalid(path(&field, "mid"), why))?;
                let mut media = media(section, kind, router, told, &field)?;
                media.local = local;
                media.candidates = &local.candidates;
                media.first = accepted.first() == Some(&mid.as_str());
                media.setup = setup(offer, section);
                text.media(&media);
            }
        }
    }
    Ok(text.finish())
}

/// The role that the offer leaves us: server, if there is a choice.
fn setup(offer: &Description, section: &Section) -> &'static str {
    match section.transport.setup.or(offer.transport.setup) {
        Some(Setup::Passive) => "active",
        Some(Setup::Active | Setup::Actpass) | None => "passive",
    }
}

/// RFC 3264, section 6: port 0, and some format. A BUNDLE group does not have it. What is said of the transport has no
/// weight there, but GStreamer 1.22 takes no description without it.
fn reject(text: &mut Text, section: &Section, local: &Local, setup: &str) {
    let Section { media, protocol, formats, .. } = section;
    let format = formats.first().map_or("0", String::as_str);
    text.line(format_args!("m={media} 0 {protocol} {format}"));
    text.line(format_args!("c=IN IP4 0.0.0.0"));
    if let Some(mid) = &section.mid {
        text.line(format_args!("a=mid:{mid}"));
    }
    text.line(format_args!("a=inactive"));
    text.transport(local, setup);
}

/// An accepted section without its transport.
fn media<'a>(
    section: &'a Section,
    kind: MediaKind,
    router: &RtpCapabilities,
    told: &'a AnswerSection,
    field: &str,
) -> Answered<MediaText<'a>> {
    let direction = direction(section, told, field)?;
    let mut codecs: Vec<RtpCodecParameters> = Vec::new();
    for (name, parameters) in [("producer", &told.producer), ("consumer", &told.consumer)] {
        for codec in parameters.iter().flat_map(|p| &p.codecs) {
            let codec = offered(section, kind, codec, &path(field, name))?;
            if !codecs.iter().any(|c| c.payload_type == codec.payload_type) {
                codecs.push(codec);
            }
        }
    }
    let mut extensions = Vec::new();
    extensions_of(told.producer.as_ref(), section, Direction::Recvonly, &mut extensions);
    extensions_of(told.consumer.as_ref(), section, Direction::Sendonly, &mut extensions);
    if told.sends() || direction == Direction::Inactive {
        open_codecs(section, kind, router, &mut codecs);
        if told.consumer.is_none() {
            let capabilities = received(section, kind, router);
            let all = capabilities.header_extensions.into_iter().map(|x| RtpHeaderExtensionParameters {
                uri: x.uri,
                id: x.preferred_id,
                encrypt: false,
                parameters: Parameters::new(),
            });
            let all = RtpParameters { header_extensions: all.collect(), ..RtpParameters::default() };
            extensions_of(Some(&all), section, Direction::Sendonly, &mut extensions);
        }
    }
    if told.consumer.is_none() && told.sends() {
        let plain: Vec<_> = extensions.iter().map(|(x, _)| x.clone()).collect();
        choose_bandwidth_feedback(&mut codecs, &plain);
    }
    if direction != Direction::Sendrecv {
        extensions.iter_mut().for_each(|(_, direction)| *direction = None);
    }
    let rids = told.producer.iter().flat_map(|p| &p.encodings).filter_map(|e| e.rid.clone());
    Ok(MediaText {
        kind,
        protocol: &section.protocol,
        mid: section.mid.as_deref(),
        direction,
        local: &NOWHERE,
        candidates: &[],
        setup: "passive",
        first: false,
        reduced_size: section.rtcp_rsize,
        codecs,
        extensions,
        received_rids: rids.collect(),
        sent: match &told.consumer {
            Some(parameters) => Some(Sent::of(parameters, &told.mid)),
            None => told.open.then(|| Sent::later(&told.mid)),
        },
    })
}

/// Filled in by the caller.
static NOWHERE: Local = Local {
    ice: IceParameters { username_fragment: String::new(), password: String::new(), ice_lite: true },
    candidates: Vec::new(),
    dtls: DtlsParameters { role: DtlsRole::Auto, fingerprints: Vec::new() },
};

/// What was made of a section must lie within what it offers.
fn direction(section: &Section, told: &AnswerSection, field: &str) -> Answered<Direction> {
    let (sends, receives) = match section.direction {
        Direction::Sendrecv => (true, true),
        Direction::Sendonly => (true, false),
        Direction::Recvonly => (false, true),
        Direction::Inactive => (false, false),
    };
    let offered = super::writer::direction_name(section.direction);
    if told.producer.is_some() && !sends {
        return Err(invalid(path(field, "producer"), format!("the peer does not send here (a={offered})")));
    }
    if told.sends() && !receives {
        let name = if told.open { "open" } else { "consumer" };
        return Err(invalid(path(field, name), format!("the peer does not receive here (a={offered})")));
    }
    if told.producer.is_none() && !told.sends() && section.direction != Direction::Inactive {
        let text = "nothing is made of it; give a producer, a consumer or open, or leave it out to reject it";
        return Err(invalid(field, text));
    }
    Ok(match (told.producer.is_some(), told.sends()) {
        (true, true) => Direction::Sendrecv,
        (true, false) => Direction::Recvonly,
        (false, true) => Direction::Sendonly,
        (false, false) => Direction::Inactive,
    })
}

/// A codec with the parameters of the offer, or why it is none of the offer's.
fn offered(
    section: &Section,
    kind: MediaKind,
    codec: &RtpCodecParameters,
    field: &str,
) -> Answered<RtpCodecParameters> {
    let number = codec.payload_type;
    let format = section.codecs.iter().find(|f| f.payload_type == number);
    let mime = |name: &str| format!("{kind}/{name}");
    let Some(format) = format.filter(|f| mime(&f.name).eq_ignore_ascii_case(&codec.mime_type)) else {
        let text = format!(
            "payload type {number} is {} with it and not in the offer; consume with the numbering of the peer",
            codec.mime_type
        );
        return Err(invalid(field, text));
    };
    let mut parameters = section.parameters.get(&number).cloned().unwrap_or_default();
    // Parameter sets of the publisher (RFC 6184, RFC 7798) spare a watcher the wait for those in the stream.
    let sprops = codec.parameters.iter().filter(|(name, _)| name.starts_with("sprop-") && is_video_h26x(codec));
    parameters.extend(sprops.map(|(name, value)| (name.clone(), value.clone())));
    let theirs: Vec<RtcpFeedback> = section
        .feedback
        .iter()
        .filter(|(pt, _)| pt.is_none_or(|pt| pt == number))
        .map(|(_, feedback)| feedback.clone())
        .collect();
    Ok(RtpCodecParameters {
        mime_type: mime(&format.name),
        payload_type: number,
        clock_rate: format.clock_rate,
        channels: format.channels,
        parameters,
        rtcp_feedback: common_feedback(&codec.rtcp_feedback, &theirs),
    })
}

fn is_video_h26x(codec: &RtpCodecParameters) -> bool {
    matches!(codec_kind(&codec.mime_type), CodecKind::H264 | CodecKind::H265)
}

/// Adds what else the peer can receive, so that a later producer of another codec fits the section.
fn open_codecs(section: &Section, kind: MediaKind, router: &RtpCapabilities, codecs: &mut Vec<RtpCodecParameters>) {
    // Whoever does not repair or report in the agreed stream does not do so in later ones.
    let bandwidth: Vec<String> = codecs
        .iter()
        .filter(|c| codec_kind(&c.mime_type) != CodecKind::Rtx)
        .take(1)
        .flat_map(|c| c.rtcp_feedback.iter().map(|f| f.r#type.clone()))
        .collect();
    for (codec, own) in common_codecs(section, kind, router) {
        let number = codec.preferred_payload_type.unwrap_or_default();
        if codecs.iter().any(|c| c.payload_type == number) {
            continue;
        }
        // RTX without its codec has no meaning.
        let apt = integer(&codec.parameters, "apt", -1);
        if own.is_none() && !codecs.iter().any(|c| i64::from(c.payload_type) == apt) {
            continue;
        }
        let mut rtcp_feedback = codec.rtcp_feedback;
        if !bandwidth.is_empty() {
            rtcp_feedback.retain(|f| !is_bandwidth(f) || bandwidth.contains(&f.r#type));
        }
        codecs.push(RtpCodecParameters {
            mime_type: codec.mime_type,
            payload_type: number,
            clock_rate: codec.clock_rate,
            channels: codec.channels,
            parameters: codec.parameters,
            rtcp_feedback,
        });
    }
}

fn is_bandwidth(feedback: &RtcpFeedback) -> bool {
    matches!(feedback.r#type.as_str(), "transport-cc" | "goog-remb")
}

/// Adds the extensions in use that the offer has under the same id; one that is used both ways has no direction.
fn extensions_of(
    parameters: Option<&RtpParameters>,
    section: &Section,
    direction: Direction,
    out: &mut Vec<(RtpHeaderExtensionParameters, Option<Direction>)>,
) {
    for extension in parameters.iter().flat_map(|p| &p.header_extensions) {
        if !section.extensions.iter().any(|x| x.id == extension.id && x.uri == extension.uri) {
            continue;
        }
        match out.iter_mut().find(|(known, _)| known.id == extension.id) {
            Some((_, both)) => *both = None,
            None => out.push((extension.clone(), Some(direction))),
        }
    }
}
