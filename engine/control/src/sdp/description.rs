//! Lines to typed sections: the attributes that a WebRTC peer's description has (RFC 8829, section 5) and that libsfu
//! has a use for.
//!
//! Told: lines. Tells: a [`Description`] or the line that is wrong. Unknown attributes are ignored, as RFC 8866 wants.
//! Candidates are counted, not read: an ICE-lite agent learns addresses from checks. Leaves out: whether a codec or an
//! extension is known.

use std::collections::BTreeMap;

use sfu_wire::media::{Mid, Rid};

use super::limits;
use super::lines::{Line, Lines, SdpError, split};
use crate::ortc::convert::shown;
use crate::ortc::{DtlsFingerprint, ExtensionDirection, ParameterValue, Parameters, RtcpFeedback};

type Parsed<T> = Result<T, SdpError>;

/// Direction of a section, as its writer sees it.
pub use crate::ortc::ExtensionDirection as Direction;

/// DTLS role of a writer (RFC 8842, section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// Client.
    Active,
    /// Server.
    Passive,
    /// Either.
    Actpass,
}

/// What stands on session level or in a section, the section's winning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransportPart {
    /// `a=ice-ufrag`.
    pub ufrag: Option<String>,
    /// `a=ice-pwd`.
    pub password: Option<String>,
    /// `a=fingerprint`, each.
    pub fingerprints: Vec<DtlsFingerprint>,
    /// `a=setup`.
    pub setup: Option<Setup>,
    /// `a=candidate` lines.
    pub candidates: u32,
    /// `a=end-of-candidates`.
    pub end_of_candidates: bool,
}

/// `a=rtpmap`, or what a static payload type means (RFC 3551, section 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// Payload type.
    pub payload_type: u8,
    /// Encoding name.
    pub name: String,
    /// Hz.
    pub clock_rate: u32,
    /// Audio channels.
    pub channels: Option<u8>,
}

/// `a=extmap` (RFC 8285, section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extmap {
    /// Id.
    pub id: u8,
    /// Direction.
    pub direction: ExtensionDirection,
    /// What it is.
    pub uri: String,
}

/// One media section.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Line of `m=`.
    pub line: u32,
    /// `audio`, `video`, `application`, or something else.
    pub media: String,
    /// 0: the section is rejected or asked to be.
    pub port: u16,
    /// Such as `UDP/TLS/RTP/SAVPF`.
    pub protocol: String,
    /// Formats of the media line, in order.
    pub formats: Vec<String>,
    /// `a=mid`.
    pub mid: Option<String>,
    /// Direction.
    pub direction: Direction,
    /// `a=rtcp-mux`.
    pub rtcp_mux: bool,
    /// `a=rtcp-rsize`.
    pub rtcp_rsize: bool,
    /// `a=bundle-only`.
    pub bundle_only: bool,
    /// ICE and DTLS.
    pub transport: TransportPart,
    /// Formats with a meaning, in the order of the media line.
    pub codecs: Vec<Format>,
    /// `a=fmtp` by payload type.
    pub parameters: BTreeMap<u8, Parameters>,
    /// `a=rtcp-fb`; without payload type it is for all.
    pub feedback: Vec<(Option<u8>, RtcpFeedback)>,
    /// `a=extmap`, those of the session included.
    pub extensions: Vec<Extmap>,
    /// SSRCs in the order of their first line.
    pub ssrcs: Vec<u32>,
    /// First `cname` of any SSRC.
    pub cname: Option<String>,
    /// `a=msid`, or that of an SSRC: stream and track.
    pub msid: Option<String>,
    /// `a=ssrc-group`: semantics and members.
    pub ssrc_groups: Vec<(String, Vec<u32>)>,
    /// RIDs that the writer sends, with their `max-br` (bit/s).
    pub sent_rids: Vec<(String, Option<u32>)>,
    /// RIDs of `a=simulcast:send`, one of each list of alternatives.
    pub simulcast: Vec<String>,
    /// `a=sctp-port`.
    pub sctp_port: Option<u16>,
    /// `a=max-message-size`, bytes.
    pub max_message_size: Option<u64>,
}

/// A whole description.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The writer is an ICE-lite agent.
    pub ice_lite: bool,
    /// MIDs of the first BUNDLE group.
    pub bundle: Option<Vec<String>>,
    /// `a=extmap-allow-mixed`.
    pub extmap_allow_mixed: bool,
    /// ICE and DTLS of the session.
    pub transport: TransportPart,
    /// Media sections.
    pub sections: Vec<Section>,
}

impl Description {
    /// Reads a description.
    pub fn parse(text: &str) -> Parsed<Self> {
        let lines = split(text)?;
        if lines.session.first().is_none_or(|l| (l.letter, l.value) != (b'v', "0")) {
            let line = lines.session.first().map_or(1, |l| l.number);
            return Err(SdpError::invalid(line, "a session description begins with v=0"));
        }
        if lines.sections.is_empty() {
            return Err(SdpError::invalid(None, "no media section; give at least one m= line"));
        }
        Self::from_lines(&lines)
    }

    fn from_lines(lines: &Lines<'_>) -> Parsed<Self> {
        let mut out = Self {
            ice_lite: false,
            bundle: None,
            extmap_allow_mixed: false,
            transport: TransportPart::default(),
            sections: Vec::new(),
        };
        let mut direction = Direction::Sendrecv;
        let mut extensions = Vec::new();
        for line in &lines.session {
            let Some((name, value)) = line.attribute() else { continue };
            if transport_attribute(&mut out.transport, line, name, value)? {
                continue;
            }
            match name {
                "ice-lite" => out.ice_lite = true,
                "extmap-allow-mixed" => out.extmap_allow_mixed = true,
                "extmap" => extensions.push(extmap(line, value)?),
                "group" => {
                    let mut words = value.split_ascii_whitespace();
                    if words.next() == Some("BUNDLE") && out.bundle.is_none() {
                        out.bundle = Some(words.map(str::to_owned).collect());
                    }
                }
                _ => direction = direction_of(name).unwrap_or(direction),
            }
        }
        for lines in &lines.sections {
            let mut section = section(lines, direction)?;
            section.extensions.extend(extensions.iter().cloned());
            if let Some(mid) = &section.mid
                && out.sections.iter().any(|s| s.mid.as_ref() == Some(mid))
            {
                let text = format!("a=mid:{mid} names another section already; give each its own");
                return Err(SdpError::invalid(section.line, text));
            }
            out.sections.push(section);
        }
        Ok(out)
    }
}

fn direction_of(name: &str) -> Option<Direction> {
    Some(match name {
        "sendrecv" => Direction::Sendrecv,
        "sendonly" => Direction::Sendonly,
        "recvonly" => Direction::Recvonly,
        "inactive" => Direction::Inactive,
        _ => return None,
    })
}

/// Characters of RFC 8839, section 5.4; some peers go beyond, so only what could break a line is refused.
fn ice_text(line: &Line<'_>, value: &str, least: usize) -> Parsed<String> {
    let legible = value.bytes().all(|b| b.is_ascii_graphic());
    if !legible || value.len() < least || value.len() > 256 {
        return Err(line.wrong(format_args!("give {least} to 256 legible characters (RFC 8839)")));
    }
    Ok(value.to_owned())
}

/// Takes an attribute of [`TransportPart`]; false if it is none.
pub(super) fn transport_attribute(part: &mut TransportPart, line: &Line<'_>, name: &str, value: &str) -> Parsed<bool> {
    match name {
        "ice-ufrag" => part.ufrag = Some(ice_text(line, value, 4)?),
        "ice-pwd" => part.password = Some(ice_text(line, value, 22)?),
        "fingerprint" => {
            let Some((algorithm, digest)) = value.split_once(' ') else {
                return Err(line.wrong("give an algorithm and a digest (RFC 8122)"));
            };
            if part.fingerprints.len() >= crate::ortc::limits::FINGERPRINTS {
                return Err(line.wrong(format_args!("more than {}", crate::ortc::limits::FINGERPRINTS)));
            }
            let algorithm = algorithm.to_ascii_lowercase();
            part.fingerprints.push(DtlsFingerprint { algorithm, value: digest.trim().to_ascii_uppercase() });
        }
        "setup" => {
            part.setup = Some(match value {
                "active" => Setup::Active,
                "passive" => Setup::Passive,
                "actpass" => Setup::Actpass,
                _ => return Err(line.wrong("give active, passive or actpass (RFC 8842)")),
            });
        }
        "candidate" => part.candidates += 1,
        "end-of-candidates" => part.end_of_candidates = true,
        _ => return Ok(false),
    }
    Ok(true)
}

fn section(lines: &[Line<'_>], direction: Direction) -> Parsed<Section> {
    let mut lines = lines.iter();
    // The splitter begins each part with its media line.
    let Some(first) = lines.next() else {
        return Err(SdpError::invalid(None, "an empty media section"));
    };
    let mut section = media_line(first, direction)?;
    let mut maps = BTreeMap::new();
    for line in lines {
        let Some((name, value)) = line.attribute() else { continue };
        if transport_attribute(&mut section.transport, line, name, value)? {
            continue;
        }
        match name {
            "rtpmap" => {
                let format = rtpmap(line, value)?;
                maps.entry(format.payload_type).or_insert(format);
            }
            _ => section_attribute(&mut section, line, name, value)?,
        }
    }
    for format in &section.formats {
        let Ok(payload_type) = format.parse::<u8>() else { continue };
        if section.codecs.iter().any(|c| c.payload_type == payload_type) {
            continue;
        }
        section.codecs.extend(maps.remove(&payload_type).or_else(|| static_format(payload_type)));
    }
    Ok(section)
}

fn media_line(line: &Line<'_>, direction: Direction) -> Parsed<Section> {
    let mut words = line.value.split_ascii_whitespace();
    let (Some(media), Some(port), Some(protocol)) = (words.next(), words.next(), words.next()) else {
        return Err(line.wrong("give media, port, protocol and formats (RFC 8866, section 5.14)"));
    };
    let port = port.split_once('/').map_or(port, |(port, _)| port);
    let Ok(port) = port.parse() else { return Err(line.wrong("the port is no number of 0 to 65535")) };
    let formats: Vec<String> = words.take(limits::FORMATS + 1).map(str::to_owned).collect();
    if formats.is_empty() || formats.len() > limits::FORMATS {
        return Err(line.wrong(format_args!("give 1 to {} formats", limits::FORMATS)));
    }
    Ok(Section {
        line: line.number,
        media: media.to_owned(),
        port,
        protocol: protocol.to_owned(),
        formats,
        mid: None,
        direction,
        rtcp_mux: false,
        rtcp_rsize: false,
        bundle_only: false,
        transport: TransportPart::default(),
        codecs: Vec::new(),
        parameters: BTreeMap::new(),
        feedback: Vec::new(),
        extensions: Vec::new(),
        ssrcs: Vec::new(),
        cname: None,
        msid: None,
        ssrc_groups: Vec::new(),
        sent_rids: Vec::new(),
        simulcast: Vec::new(),
        sctp_port: None,
        max_message_size: None,
    })
}

fn section_attribute(section: &mut Section, line: &Line<'_>, name: &str, value: &str) -> Parsed<()> {
    match name {
        "mid" => {
            if Mid::new(value.as_bytes()).is_err() {
                return Err(line.wrong("give 1 to 32 characters of a token (RFC 9143)"));
            }
            section.mid = Some(value.to_owned());
        }
        "rtcp-mux" => section.rtcp_mux = true,
        "rtcp-rsize" => section.rtcp_rsize = true,
        "bundle-only" => section.bundle_only = true,
        "fmtp" => {
            let Some((payload_type, text)) = value.split_once(' ') else { return Ok(()) };
            let payload_type = payload_type_of(line, payload_type)?;
            section.parameters.insert(payload_type, format_parameters(line, text)?);
        }
        "rtcp-fb" => section.feedback.extend(rtcp_feedback(line, value)?),
        "extmap" => section.extensions.push(extmap(line, value)?),
        "ssrc" => ssrc(section, line, value)?,
        "ssrc-group" => section.ssrc_groups.push(ssrc_group(line, value)?),
        "msid" => section.msid = Some(bounded(line, value, crate::ortc::limits::MSID)?),
        "rid" => rid(section, line, value)?,
        "simulcast" => simulcast(section, line, value)?,
        "sctp-port" => match value.parse() {
            Ok(port) => section.sctp_port = Some(port),
            Err(_) => return Err(line.wrong("give a port")),
        },
        "max-message-size" => match value.parse() {
            Ok(size) => section.max_message_size = Some(size),
            Err(_) => return Err(line.wrong("give a number of bytes")),
        },
        _ => section.direction = direction_of(name).unwrap_or(section.direction),
    }
    Ok(())
}

fn bounded(line: &Line<'_>, value: &str, most: usize) -> Parsed<String> {
    if value.is_empty() || value.len() > most {
        return Err(line.wrong(format_args!("give 1 to {most} bytes")));
    }
    Ok(value.to_owned())
}

fn payload_type_of(line: &Line<'_>, text: &str) -> Parsed<u8> {
    match text.parse() {
        Ok(payload_type @ 0..=127) => Ok(payload_type),
        _ => Err(line.wrong(format_args!("{} is no payload type; give 0 to 127", shown(text)))),
    }
}

fn rtpmap(line: &Line<'_>, value: &str) -> Parsed<Format> {
    let usage = || line.wrong("give payload type, name/clock and, for audio, /channels");
    let (payload_type, encoding) = value.split_once(' ').ok_or_else(usage)?;
    let mut parts = encoding.trim().split('/');
    let (Some(name), Some(clock)) = (parts.next(), parts.next()) else { return Err(usage()) };
    let channels = match parts.next() {
        None => None,
        Some(channels) => Some(channels.parse().map_err(|_| usage())?),
    };
    let legal = !name.is_empty()
        && name.len() <= crate::ortc::limits::NAME - "audio/".len()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    let clock_rate = clock.parse().ok().filter(|clock| *clock > 0);
    match (legal, clock_rate) {
        (true, Some(clock_rate)) => {
            let payload_type = payload_type_of(line, payload_type)?;
            Ok(Format { payload_type, name: name.to_owned(), clock_rate, channels })
        }
        _ => Err(usage()),
    }
}

fn static_format(payload_type: u8) -> Option<Format> {
    let name = match payload_type {
        0 => "PCMU",
        8 => "PCMA",
        9 => "G722",
        13 => "CN",
        _ => return None,
    };
    Some(Format { payload_type, name: name.to_owned(), clock_rate: 8000, channels: None })
}

fn format_parameters(line: &Line<'_>, text: &str) -> Parsed<Parameters> {
    let mut out = Parameters::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').map_or((part, ""), |(name, value)| (name.trim(), value.trim()));
        if name.is_empty() || name.len() > crate::ortc::limits::NAME || value.len() > crate::ortc::limits::TEXT {
            return Err(line.wrong("a parameter without a name, or longer than any in use"));
        }
        // Only what is written back as it came is a number: 0042 and +1 stay text.
        let value = match value.parse::<i64>() {
            Ok(number) if number.to_string() == value => ParameterValue::from(number),
            _ => ParameterValue::from(value),
        };
        out.insert(name.to_owned(), value);
        if out.len() > crate::ortc::limits::PARAMETERS {
            return Err(line.wrong(format_args!("more than {} parameters", crate::ortc::limits::PARAMETERS)));
        }
    }
    Ok(out)
}

fn rtcp_feedback(line: &Line<'_>, value: &str) -> Parsed<Option<(Option<u8>, RtcpFeedback)>> {
    let mut words = value.split_ascii_whitespace();
    let (Some(payload_type), Some(kind)) = (words.next(), words.next()) else { return Ok(None) };
    let payload_type = match payload_type {
        "*" => None,
        number => Some(payload_type_of(line, number)?),
    };
    let parameter = words.collect::<Vec<_>>().join(" ");
    if kind.len() > crate::ortc::limits::NAME || parameter.len() > crate::ortc::limits::NAME {
        return Err(line.wrong("longer than any feedback in use"));
    }
    Ok(Some((payload_type, RtcpFeedback { r#type: kind.to_owned(), parameter })))
}

fn extmap(line: &Line<'_>, value: &str) -> Parsed<Extmap> {
    let mut words = value.split_ascii_whitespace();
    let (Some(id), Some(uri)) = (words.next(), words.next()) else {
        return Err(line.wrong("give id and URI (RFC 8285)"));
    };
    let (id, direction) = id.split_once('/').map_or((id, None), |(id, direction)| (id, Some(direction)));
    let direction = match direction {
        None => ExtensionDirection::Sendrecv,
        Some(name) => direction_of(name).ok_or_else(|| line.wrong("give sendrecv, sendonly, recvonly or inactive"))?,
    };
    match id.parse() {
        Ok(id @ (1..=14 | 16..=255)) => Ok(Extmap { id, direction, uri: uri.to_owned() }),
        _ => Err(line.wrong("give an id of 1 to 14, or 16 to 255")),
    }
}

fn number_of_ssrc(line: &Line<'_>, text: &str) -> Parsed<u32> {
    text.parse().map_err(|_| line.wrong(format_args!("{} is no SSRC", shown(text))))
}

fn ssrc(section: &mut Section, line: &Line<'_>, value: &str) -> Parsed<()> {
    let (number, attribute) = value.split_once(' ').unwrap_or((value, ""));
    let number = number_of_ssrc(line, number)?;
    if !section.ssrcs.contains(&number) {
        if section.ssrcs.len() >= limits::SSRCS {
            return Err(line.wrong(format_args!("more than {} SSRCs in one section", limits::SSRCS)));
        }
        section.ssrcs.push(number);
    }
    match attribute.split_once(':') {
        Some(("cname", cname)) if section.cname.is_none() => {
            section.cname = Some(bounded(line, cname, crate::ortc::limits::CNAME)?);
        }
        Some(("msid", msid)) if section.msid.is_none() => {
            section.msid = Some(bounded(line, msid, crate::ortc::limits::MSID)?);
        }
        _ => {}
    }
    Ok(())
}

fn ssrc_group(line: &Line<'_>, value: &str) -> Parsed<(String, Vec<u32>)> {
    let mut words = value.split_ascii_whitespace();
    let semantics = words.next().unwrap_or_default().to_owned();
    let members = words.take(limits::SSRCS + 1).map(|word| number_of_ssrc(line, word)).collect::<Parsed<Vec<_>>>()?;
    if members.len() > limits::SSRCS {
        return Err(line.wrong(format_args!("more than {} SSRCs in one group", limits::SSRCS)));
    }
    Ok((semantics, members))
}

fn rid(section: &mut Section, line: &Line<'_>, value: &str) -> Parsed<()> {
    let mut words = value.split_ascii_whitespace();
    let (Some(id), Some(direction)) = (words.next(), words.next()) else {
        return Err(line.wrong("give a name and send or recv (RFC 8851)"));
    };
    if Rid::new(id.as_bytes()).is_err() {
        return Err(line.wrong("give a name of 1 to 32 letters, digits, - and _ (RFC 8851)"));
    }
    if direction == "send" && !section.sent_rids.iter().any(|(known, _)| known == id) {
        if section.sent_rids.len() >= crate::ortc::limits::ENCODINGS {
            return Err(line.wrong(format_args!("more than {} of them", crate::ortc::limits::ENCODINGS)));
        }
        let restrictions = words.next().unwrap_or_default();
        let max_bitrate = restrictions.split(';').find_map(|r| r.strip_prefix("max-br=")?.parse().ok());
        section.sent_rids.push((id.to_owned(), max_bitrate));
    }
    Ok(())
}

fn simulcast(section: &mut Section, line: &Line<'_>, value: &str) -> Parsed<()> {
    let mut words = value.split_ascii_whitespace();
    while let Some(direction) = words.next() {
        let list = words.next().ok_or_else(|| line.wrong("give send or recv and a list (RFC 8853)"))?;
        if direction != "send" {
            continue;
        }
        for alternatives in list.split(';') {
            // The first of alternatives is the preferred one; ~ says that it starts paused.
            let first = alternatives.split(',').next().unwrap_or_default().trim_start_matches('~');
            if Rid::new(first.as_bytes()).is_err() {
                return Err(line.wrong(format_args!("{} is no RID", shown(first))));
            }
            if section.simulcast.len() >= crate::ortc::limits::ENCODINGS {
                return Err(line.wrong(format_args!("more than {} streams", crate::ortc::limits::ENCODINGS)));
            }
            if !section.simulcast.iter().any(|known| known == first) {
                section.simulcast.push(first.to_owned());
            }
        }
    }
    Ok(())
}
