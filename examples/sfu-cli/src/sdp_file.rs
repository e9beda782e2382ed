//! Session descriptions of plain RTP, as ffmpeg, VLC and GStreamer read them from a file (RFC 8866, RFC 4568).
//!
//! Told: what is sent where. Tells: the text. Left out: everything that needs an answer.

use std::fmt::Write;
use std::net::IpAddr;

use sfu_control::client::SrtpParameters;
use sfu_control::ortc::{MediaKind, ParameterValue, RtpParameters};

/// One stream that goes to a port of its own.
pub(crate) struct Stream<'a> {
    pub(crate) kind: MediaKind,
    pub(crate) parameters: &'a RtpParameters,
    /// Where the reader listens.
    pub(crate) ip: String,
    pub(crate) port: u16,
    pub(crate) rtcp_port: Option<u16>,
    /// Our key: it opens what is sent.
    pub(crate) srtp: Option<&'a SrtpParameters>,
}

/// Writes the description; `None` if there is nothing to describe.
pub(crate) fn write(name: &str, streams: &[Stream<'_>]) -> Option<String> {
    let first = streams.first()?;
    let mut text = format!("v=0\r\no=- 0 0 IN {0}\r\ns={name}\r\nc=IN {0}\r\nt=0 0\r\n", address(&first.ip));
    streams.iter().for_each(|stream| section(&mut text, stream));
    Some(text)
}

fn address(ip: &str) -> String {
    let family = if ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) { "IP6" } else { "IP4" };
    format!("{family} {ip}")
}

fn section(text: &mut String, stream: &Stream<'_>) {
    let Some(codec) = stream.parameters.codecs.iter().find(|c| !c.mime_type.to_ascii_lowercase().ends_with("/rtx"))
    else {
        return;
    };
    let profile = if stream.srtp.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
    let (kind, pt) = (if stream.kind == MediaKind::Audio { "audio" } else { "video" }, codec.payload_type);
    let encoding = codec.mime_type.split_once('/').map_or("", |(_, name)| name);
    // Writing to a String cannot fail.
    let mut line = |args: std::fmt::Arguments<'_>| {
        let _ = text.write_fmt(args);
        text.push_str("\r\n");
    };
    line(format_args!("m={kind} {} {profile} {pt}", stream.port));
    line(format_args!("c=IN {}", address(&stream.ip)));
    match stream.rtcp_port {
        Some(port) => line(format_args!("a=rtcp:{port}")),
        None => line(format_args!("a=rtcp-mux")),
    }
    match codec.channels.filter(|channels| *channels > 1) {
        Some(channels) => line(format_args!("a=rtpmap:{pt} {encoding}/{}/{channels}", codec.clock_rate)),
        None => line(format_args!("a=rtpmap:{pt} {encoding}/{}", codec.clock_rate)),
    }
    let parameters: Vec<String> =
        codec.parameters.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect();
    if !parameters.is_empty() {
        line(format_args!("a=fmtp:{pt} {}", parameters.join(";")));
    }
    if let Some(srtp) = stream.srtp {
        line(format_args!("a=crypto:1 {} inline:{}", srtp.crypto_suite, srtp.key_base64));
    }
    line(format_args!("a=sendonly"));
}

fn shown(value: &ParameterValue) -> String {
    match value {
        ParameterValue::Text(text) => text.clone(),
        ParameterValue::Number(number) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_control::ortc::RtpCodecParameters;

    #[test]
    fn a_description_names_port_codec_and_key_and_leaves_retransmissions_out() {
        let codec = |mime: &str, payload_type| RtpCodecParameters {
            mime_type: mime.to_owned(),
            payload_type,
            clock_rate: 48_000,
            channels: Some(2),
            parameters: sfu_control::ortc::Parameters::new(),
            rtcp_feedback: Vec::new(),
        };
        let parameters =
            RtpParameters { codecs: vec![codec("audio/rtx", 99), codec("audio/opus", 100)], ..Default::default() };
        let srtp = SrtpParameters { crypto_suite: "AEAD_AES_256_GCM".to_owned(), key_base64: "AAAA".to_owned() };
        let stream = Stream {
            kind: MediaKind::Audio,
            parameters: &parameters,
            ip: "::1".to_owned(),
            port: 5004,
            rtcp_port: Some(5005),
            srtp: Some(&srtp),
        };
        let text = write("recorder", &[stream]).unwrap();
        for line in [
            "m=audio 5004 RTP/SAVP 100",
            "c=IN IP6 ::1",
            "a=rtpmap:100 opus/48000/2",
            "a=rtcp:5005",
            "a=crypto:1 AEAD_AES_256_GCM inline:AAAA",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert!(!text.contains("99"));
        assert_eq!(write("nothing", &[]), None);
    }
}
