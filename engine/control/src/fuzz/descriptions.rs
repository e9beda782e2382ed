//! Any text as an offer or a fragment: it is read or refused, and what is answered keeps to what was offered.

use std::sync::OnceLock;

use crate::ortc::capabilities;
use crate::ortc::types::*;
use crate::sdp::description::Direction;
use crate::sdp::{self, AnswerSection, Description, Fragment, Local, Origin, Peer};

/// A router of all codecs that fit one.
fn router() -> &'static RtpCapabilities {
    static ROUTER: OnceLock<RtpCapabilities> = OnceLock::new();
    ROUTER.get_or_init(|| {
        let mut codecs = capabilities::supported().codecs;
        codecs.truncate(28);
        capabilities::router(&codecs).expect("what is supported makes a router")
    })
}

/// Our side of no transport.
pub(crate) fn local() -> Local {
    Local {
        ice: IceParameters { username_fragment: "ufrag".into(), password: "p".repeat(24), ice_lite: true },
        candidates: vec![IceCandidate {
            foundation: "f".into(),
            priority: 1,
            ip: "127.0.0.1".into(),
            address: "127.0.0.1".into(),
            protocol: Protocol::Udp,
            port: 40_000,
            r#type: "host".into(),
            tcp_type: None,
        }],
        dtls: DtlsParameters {
            role: DtlsRole::Auto,
            fingerprints: vec![DtlsFingerprint { algorithm: "sha-256".into(), value: ["AB"; 32].join(":") }],
        },
    }
}

/// Any bytes as a description and as a fragment.
pub fn description(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(fragment) = Fragment::parse(&text) {
        let said = sdp::fragment(&local(), fragment.mid.as_deref());
        let again = Fragment::parse(&said).expect("we read what we write");
        assert_eq!((again.mid, again.candidates, again.end_of_candidates), (fragment.mid, 1, true));
    }
    let Ok(offer) = Description::parse(&text) else { return };
    let Ok(peer) = sdp::read(&offer, router(), &[]) else { return };
    let origin = Origin { session: u64::MAX, version: 1 };
    let sections: Vec<AnswerSection> = answerable(&peer);
    match sdp::answer(&offer, router(), &local(), origin, &sections) {
        Ok(answer) => check_answer(&offer, &answer),
        Err(error) => panic!("an answer to what was read is possible: {error:?}\n{text}"),
    }
}

/// All sections that can be used, taken up as far as they go.
fn answerable(peer: &Peer) -> Vec<AnswerSection> {
    let usable = peer.sections.iter().filter(|s| s.problem.is_none() && s.direction != Direction::Inactive);
    let mut sections: Vec<AnswerSection> = Vec::new();
    for section in usable {
        // A number that stands for a MID may be another section's MID.
        if !sections.iter().any(|s| s.mid == section.mid) {
            sections.push(AnswerSection {
                mid: section.mid.clone(),
                producer: section.rtp_parameters.clone(),
                consumer: None,
                open: section.rtp_capabilities.is_some(),
            });
        }
    }
    sections
}

/// What holds of every answer, whatever the offer (RFC 3264, section 6; RFC 8829, section 5.3).
pub(crate) fn check_answer(offer: &Description, text: &str) {
    assert!(text.ends_with("\r\n") && text.lines().all(|l| !l.is_empty() && l.len() <= sdp::limits::LINE), "{text}");
    let answer = Description::parse(text).expect("we read what we write");
    assert!(answer.ice_lite);
    assert_eq!(answer.sections.len(), offer.sections.len(), "{text}");
    let mut bundle = Vec::new();
    let mut candidates = 0;
    for (theirs, ours) in offer.sections.iter().zip(&answer.sections) {
        assert_eq!((&theirs.media, &theirs.protocol, &theirs.mid), (&ours.media, &ours.protocol, &ours.mid), "{text}");
        assert!(ours.formats.iter().all(|f| theirs.formats.contains(f)), "only what was offered: {text}");
        if ours.port == 0 {
            assert_eq!(ours.direction, Direction::Inactive);
            continue;
        }
        bundle.extend(ours.mid.clone());
        candidates += ours.transport.candidates;
        for codec in &ours.codecs {
            let same = theirs.codecs.iter().find(|c| c.payload_type == codec.payload_type);
            let same = same.is_some_and(|c| (&c.name, c.clock_rate) == (&codec.name, codec.clock_rate));
            assert!(same, "{codec:?} is not what the offer calls it: {text}");
        }
        for extension in &ours.extensions {
            let offered = theirs.extensions.iter().any(|x| (x.id, &x.uri) == (extension.id, &extension.uri));
            assert!(offered, "{extension:?} was not offered: {text}");
        }
        for (payload_type, feedback) in &ours.feedback {
            let offered = theirs.feedback.iter().any(|(pt, f)| (pt.is_none() || pt == payload_type) && f == feedback);
            assert!(offered, "{feedback:?} was not offered: {text}");
        }
        let (send, receive) = match theirs.direction {
            Direction::Sendrecv => (true, true),
            Direction::Sendonly => (true, false),
            Direction::Recvonly => (false, true),
            Direction::Inactive => (false, false),
        };
        assert!(send || !matches!(ours.direction, Direction::Sendrecv | Direction::Recvonly), "{text}");
        assert!(receive || !matches!(ours.direction, Direction::Sendrecv | Direction::Sendonly), "{text}");
        let theirs_setup = theirs.transport.setup.or(offer.transport.setup);
        let ours_setup = ours.transport.setup.expect("an answer says its role");
        assert_ne!(ours_setup, sdp::description::Setup::Actpass);
        assert!(theirs_setup != Some(ours_setup), "one is client, one is server: {text}");
        assert!(ours.rtcp_mux && ours.transport.ufrag.is_some() && ours.transport.fingerprints.len() == 1);
    }
    let accepted = answer.sections.iter().any(|s| s.port != 0);
    assert_eq!(candidates > 0, accepted, "candidates stand once: {text}");
    if offer.bundle.is_some() {
        assert_eq!(answer.bundle.unwrap_or_default(), bundle, "{text}");
    }
}

/// Offers of peers as they were seen, and one with FlexFEC, which browsers offer by experiment only; to begin with.
pub fn description_seeds() -> Vec<(&'static str, &'static str)> {
    vec![
        ("aiortc_publish", include_str!("../sdp/fixtures/aiortc_publish.sdp")),
        ("aiortc_watch", include_str!("../sdp/fixtures/aiortc_watch.sdp")),
        ("chromium_publish", include_str!("../sdp/fixtures/chromium_publish.sdp")),
        ("chromium_simulcast", include_str!("../sdp/fixtures/chromium_simulcast.sdp")),
        ("chromium_watch", include_str!("../sdp/fixtures/chromium_watch.sdp")),
        ("ffmpeg_publish", include_str!("../sdp/fixtures/ffmpeg_publish.sdp")),
        ("firefox_publish", include_str!("../sdp/fixtures/firefox_publish.sdp")),
        ("firefox_watch", include_str!("../sdp/fixtures/firefox_watch.sdp")),
        ("flexfec_publish", include_str!("../sdp/fixtures/flexfec_publish.sdp")),
        ("gstreamer_publish", include_str!("../sdp/fixtures/gstreamer_publish.sdp")),
        ("obs_publish", include_str!("../sdp/fixtures/obs_publish.sdp")),
        ("pion_publish", include_str!("../sdp/fixtures/pion_publish.sdp")),
        ("pion_watch", include_str!("../sdp/fixtures/pion_watch.sdp")),
    ]
}
