//! Fragments of trickle ICE (RFC 8840, section 9), as WHIP carries them (RFC 9725, section 4.3).
//!
//! Told: a peer's fragment, or our side of a transport. Tells: the peer's new credentials, if it restarts ICE, and what
//! else was in it; or the text with ours. Candidates are counted, not read: an ICE-lite agent has no use for them.

use super::description::{TransportPart, transport_attribute};
use super::lines::{SdpError, split};
use super::writer::{Local, Text};
use crate::ortc::IceParameters;

/// What a peer's fragment says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fragment {
    /// Credentials, where it has them.
    pub ice_parameters: Option<IceParameters>,
    /// MID of its first section.
    pub mid: Option<String>,
    /// Candidate lines.
    pub candidates: u32,
    /// There will be no more of them.
    pub end_of_candidates: bool,
}

impl Fragment {
    /// Reads a fragment.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        let lines = split(text)?;
        let mut part = TransportPart::default();
        let mut mid = None;
        let all = lines.session.iter().chain(lines.sections.iter().flatten());
        for line in all {
            let Some((name, value)) = line.attribute() else { continue };
            if name == "mid" && mid.is_none() {
                if sfu_wire::media::Mid::new(value.as_bytes()).is_err() {
                    return Err(line.wrong("give 1 to 32 characters of a token (RFC 9143)"));
                }
                mid = Some(value.to_owned());
            }
            // Credentials of the first section are those of its bundle.
            let mut one = TransportPart::default();
            if transport_attribute(&mut one, line, name, value)? {
                part.ufrag = part.ufrag.or(one.ufrag);
                part.password = part.password.or(one.password);
                part.candidates += one.candidates;
                part.end_of_candidates |= one.end_of_candidates;
            }
        }
        let ice_parameters = match (part.ufrag, part.password) {
            (Some(username_fragment), Some(password)) => {
                Some(IceParameters { username_fragment, password, ice_lite: false })
            }
            (None, None) => None,
            (Some(_), None) => return Err(SdpError::invalid(None, "a=ice-ufrag without a=ice-pwd; give both")),
            (None, Some(_)) => return Err(SdpError::invalid(None, "a=ice-pwd without a=ice-ufrag; give both")),
        };
        let (candidates, end_of_candidates) = (part.candidates, part.end_of_candidates);
        if ice_parameters.is_none() && candidates == 0 && !end_of_candidates {
            let text = "neither candidates nor credentials in it; give a=candidate or a=ice-ufrag and a=ice-pwd";
            return Err(SdpError::invalid(None, text));
        }
        Ok(Self { ice_parameters, mid, candidates, end_of_candidates })
    }
}

/// Our credentials and candidates. The media line is a stand-in, which RFC 8840 wants before a MID.
pub fn fragment(local: &Local, mid: Option<&str>) -> String {
    let mut text = Text::default();
    text.line(format_args!("a=ice-lite"));
    if let Some(mid) = mid {
        text.line(format_args!("m=audio 9 UDP/TLS/RTP/SAVPF 0"));
        text.line(format_args!("a=mid:{mid}"));
    }
    text.ice(&local.ice);
    text.candidates(&local.candidates);
    text.finish()
}
