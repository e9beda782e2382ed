//! An offer of ours, for peers that expect one (RFC 3264; RFC 8829, section 5.2).
//!
//! Told: our side of the transport and the consumers to offer. Tells: the text, one section that sends for each of them,
//! with the router's numbers. The peer's answer is read like an offer; what it rejects is for the caller to close.

use super::answer::Origin;
use super::description::Direction;
use super::writer::{Local, MediaText, Sent, Text};
use crate::ortc::*;

/// Writes the offer.
pub fn offer(local: &Local, origin: Origin, consumers: &[(MediaKind, RtpParameters)]) -> String {
    let mids: Vec<&str> = consumers.iter().map(|(_, p)| p.mid.as_deref().unwrap_or_default()).collect();
    let mut text = Text::default();
    text.session(origin.session, origin.version, &mids, true);
    for (index, (kind, parameters)) in consumers.iter().enumerate() {
        text.media(&MediaText {
            kind: *kind,
            protocol: "UDP/TLS/RTP/SAVPF",
            mid: parameters.mid.as_deref(),
            direction: Direction::Sendonly,
            local,
            candidates: &local.candidates,
            setup: "actpass",
            first: index == 0,
            reduced_size: parameters.rtcp.reduced_size,
            codecs: parameters.codecs.clone(),
            extensions: parameters.header_extensions.iter().map(|x| (x.clone(), None)).collect(),
            received_rids: Vec::new(),
            sent: Some(Sent::of(parameters, mids[index])),
        });
    }
    text.finish()
}
