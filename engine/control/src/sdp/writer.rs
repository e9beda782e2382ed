//! Typed values to text: the lines that answers, offers and fragments have in common (RFC 8866, 8839, 8842, 8285).
//!
//! Told: values that were checked on their way in, so that none holds a line break. Tells: text with CRLF.

use std::fmt::Write;
use std::net::IpAddr;

use crate::ortc::*;

/// Our side of a transport, and what numbers its descriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// ICE credentials.
    pub ice: IceParameters,
    /// Candidates.
    pub candidates: Vec<IceCandidate>,
    /// Fingerprints.
    pub dtls: DtlsParameters,
}

/// Text under construction.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    pub(super) fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.0.write_fmt(line);
        self.0.push_str("\r\n");
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    /// Everything before the first media section.
    pub(super) fn session(&mut self, id: u64, version: u32, bundle: &[&str], allow_mixed: bool) {
        self.line(format_args!("v=0"));
        // RFC 8829, section 5.2.1: a number below 2^63 and an address that says nothing.
        self.line(format_args!("o=- {} {version} IN IP4 127.0.0.1", id & (u64::MAX >> 1)));
        self.line(format_args!("s=-"));
        self.line(format_args!("t=0 0"));
        if !bundle.is_empty() {
            self.line(format_args!("a=group:BUNDLE {}", bundle.join(" ")));
        }
        self.line(format_args!("a=ice-lite"));
        if allow_mixed {
            self.line(format_args!("a=extmap-allow-mixed"));
        }
    }

    /// ICE credentials, fingerprint and role. One digest: some peers read no more, or the last one only.
    pub(super) fn transport(&mut self, local: &Local, setup: &str) {
        self.ice(&local.ice);
        let usual = local.dtls.fingerprints.iter().find(|f| f.algorithm == "sha-256");
        if let Some(fingerprint) = usual.or(local.dtls.fingerprints.first()) {
            self.line(format_args!("a=fingerprint:{} {}", fingerprint.algorithm, fingerprint.value));
        }
        self.line(format_args!("a=setup:{setup}"));
    }

    pub(super) fn ice(&mut self, ice: &IceParameters) {
        self.line(format_args!("a=ice-ufrag:{}", ice.username_fragment));
        self.line(format_args!("a=ice-pwd:{}", ice.password));
    }

    /// All candidates: there will be no more.
    pub(super) fn candidates(&mut self, candidates: &[IceCandidate]) {
        for c in candidates {
            let (protocol, tcp) = match c.protocol {
                Protocol::Udp => ("udp", ""),
                Protocol::Tcp => ("tcp", " tcptype passive"),
            };
            let IceCandidate { foundation, priority, address, port, r#type, .. } = c;
            self.line(format_args!(
                "a=candidate:{foundation} 1 {protocol} {priority} {address} {port} typ {type}{tcp}"
            ));
        }
        self.line(format_args!("a=end-of-candidates"));
    }

    pub(super) fn media(&mut self, section: &MediaText<'_>) {
        let numbers: Vec<String> = section.codecs.iter().map(|c| c.payload_type.to_string()).collect();
        let (port, connection) = default_destination(section.candidates);
        self.line(format_args!("m={} {port} {} {}", section.kind, section.protocol, numbers.join(" ")));
        self.line(format_args!("c=IN {connection}"));
        if let Some(mid) = section.mid {
            self.line(format_args!("a=mid:{mid}"));
        }
        self.line(format_args!("a={}", direction_name(section.direction)));
        self.transport(section.local, section.setup);
        if section.first {
            self.candidates(section.candidates);
        }
        self.line(format_args!("a=rtcp-mux"));
        if section.reduced_size {
            self.line(format_args!("a=rtcp-rsize"));
        }
        for (extension, direction) in &section.extensions {
            let RtpHeaderExtensionParameters { id, uri, .. } = extension;
            match direction {
                None => self.line(format_args!("a=extmap:{id} {uri}")),
                Some(direction) => self.line(format_args!("a=extmap:{id}/{} {uri}", direction_name(*direction))),
            }
        }
        section.codecs.iter().for_each(|codec| self.codec(codec));
        if !section.received_rids.is_empty() {
            for rid in &section.received_rids {
                self.line(format_args!("a=rid:{rid} recv"));
            }
            self.line(format_args!("a=simulcast:recv {}", section.received_rids.join(";")));
        }
        if let Some(sent) = &section.sent {
            self.sent(sent);
        }
    }

    fn codec(&mut self, codec: &RtpCodecParameters) {
        let name = codec.mime_type.split_once('/').map_or(codec.mime_type.as_str(), |(_, name)| name);
        let number = codec.payload_type;
        match codec.channels {
            Some(channels) if channels > 1 => {
                self.line(format_args!("a=rtpmap:{number} {name}/{}/{channels}", codec.clock_rate));
            }
            _ => self.line(format_args!("a=rtpmap:{number} {name}/{}", codec.clock_rate)),
        }
        let parameters: Vec<String> = codec.parameters.iter().map(|(name, value)| parameter(name, value)).collect();
        if !parameters.is_empty() {
            self.line(format_args!("a=fmtp:{number} {}", parameters.join(";")));
        }
        for RtcpFeedback { r#type, parameter } in &codec.rtcp_feedback {
            match parameter.as_str() {
                "" => self.line(format_args!("a=rtcp-fb:{number} {type}")),
                parameter => self.line(format_args!("a=rtcp-fb:{number} {type} {parameter}")),
            }
        }
    }

    fn sent(&mut self, sent: &Sent) {
        self.line(format_args!("a=msid:{}", sent.msid));
        let Some(ssrc) = sent.ssrc else { return };
        if let Some(rtx) = sent.rtx {
            self.line(format_args!("a=ssrc-group:FID {ssrc} {rtx}"));
        }
        if let Some(fec) = sent.fec {
            self.line(format_args!("a=ssrc-group:FEC-FR {ssrc} {fec}"));
        }
        for ssrc in [Some(ssrc), sent.rtx, sent.fec].into_iter().flatten() {
            self.line(format_args!("a=ssrc:{ssrc} cname:{}", sent.cname));
            // Peers that read msid only here exist.
            self.line(format_args!("a=ssrc:{ssrc} msid:{}", sent.msid));
        }
    }
}

/// One accepted media section.
#[derive(Debug)]
pub(super) struct MediaText<'a> {
    pub(super) kind: MediaKind,
    pub(super) protocol: &'a str,
    pub(super) mid: Option<&'a str>,
    pub(super) direction: ExtensionDirection,
    pub(super) local: &'a Local,
    pub(super) candidates: &'a [IceCandidate],
    pub(super) setup: &'a str,
    /// Candidates stand in the first section only (RFC 8843, section 7.4).
    pub(super) first: bool,
    pub(super) reduced_size: bool,
    pub(super) codecs: Vec<RtpCodecParameters>,
    pub(super) extensions: Vec<(RtpHeaderExtensionParameters, Option<ExtensionDirection>)>,
    pub(super) received_rids: Vec<String>,
    pub(super) sent: Option<Sent>,
}

/// The stream that we send.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// Absent: it comes later, and is told by its MID.
    pub(super) ssrc: Option<u32>,
    pub(super) rtx: Option<u32>,
    /// Of its FlexFEC stream.
    pub(super) fec: Option<u32>,
    pub(super) cname: String,
    pub(super) msid: String,
}

impl Sent {
    /// The stream of a consumer. Sections of one publisher share their stream, so that they are played in sync.
    pub(super) fn of(parameters: &RtpParameters, mid: &str) -> Self {
        let encoding = parameters.encodings.first();
        let cname = parameters.rtcp.cname.clone().unwrap_or_else(|| "-".to_owned());
        let msid = match parameters.msid.as_deref().map(str::trim).filter(|msid| !msid.is_empty() && *msid != "-") {
            Some(msid) if msid.contains(' ') => msid.to_owned(),
            Some(stream) => format!("{stream} {mid}"),
            None => format!("{} {mid}", token(&cname)),
        };
        Self {
            ssrc: encoding.and_then(|e| e.ssrc),
            rtx: encoding.and_then(|e| e.rtx).map(|rtx| rtx.ssrc),
            fec: encoding.and_then(|e| e.fec.as_ref()?.ssrc),
            cname,
            msid,
        }
    }

    /// A stream that a later consumer on this MID will be.
    pub(super) fn later(mid: &str) -> Self {
        Self { ssrc: None, rtx: None, fec: None, cname: String::new(), msid: format!("later-{mid} {mid}") }
    }
}

/// A CNAME as the name of a stream: 64 characters of a token (RFC 8830, section 2).
fn token(cname: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || "-_.+".contains(c) { c } else { '_' };
    let name: String = cname.chars().take(64).map(legal).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

fn parameter(name: &str, value: &ParameterValue) -> String {
    match value {
        ParameterValue::Text(text) if text.is_empty() => name.to_owned(),
        value => format!("{name}={}", value.to_text()),
    }
}

pub(super) fn direction_name(direction: ExtensionDirection) -> &'static str {
    match direction {
        ExtensionDirection::Sendrecv => "sendrecv",
        ExtensionDirection::Sendonly => "sendonly",
        ExtensionDirection::Recvonly => "recvonly",
        ExtensionDirection::Inactive => "inactive",
    }
}

/// Port and connection line: the first UDP candidate, if it is an address (RFC 8839, section 4.2.2); else what says
/// that candidates are to be used.
fn default_destination(candidates: &[IceCandidate]) -> (u16, String) {
    let udp = candidates.iter().filter(|c| c.protocol == Protocol::Udp);
    match udp.into_iter().find_map(|c| Some((c.port, c.address.parse::<IpAddr>().ok()?))) {
        Some((port, IpAddr::V4(ip))) => (port, format!("IP4 {ip}")),
        Some((port, IpAddr::V6(ip))) => (port, format!("IP6 {ip}")),
        None => (9, "IP4 0.0.0.0".to_owned()),
    }
}
