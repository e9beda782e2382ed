//! FlexFEC in descriptions: a group of SSRCs (RFC 5956), and a codec beside the media's.

use sfu_core::command::StreamSsrcs;
use sfu_wire::codec::CodecKind;
use sfu_wire::id::{ObjectId, ObjectKind};

use super::*;
use crate::fuzz::{check_answer, description_seeds, local};
use crate::ortc::numbering::Numbering;
use crate::ortc::*;

/// A section of VP8 with RTX and FlexFEC, without its direction and SSRCs.
fn head() -> &'static str {
    let (_, text) = description_seeds().into_iter().find(|(name, _)| *name == "flexfec_publish").expect("a fixture");
    &text[..text.find("a=sendonly").expect("it sends")]
}

fn router(with_flexfec: bool) -> RtpCapabilities {
    let wanted =
        |c: &&RtpCodecCapability| c.mime_type == "video/VP8" || with_flexfec && c.mime_type == "video/flexfec-03";
    let codecs: Vec<_> = capabilities::supported().codecs.iter().filter(wanted).cloned().collect();
    capabilities::router(&codecs).expect("supported codecs")
}

fn sent(lines: &str, router: &RtpCapabilities) -> RtpParameters {
    let offer = Description::parse(&format!("{}a=sendonly\r\n{lines}", head())).expect("it is SDP");
    read(&offer, router, &[]).expect("it is usable").sections[0].rtp_parameters.clone().expect("it sends")
}

fn fec_of(lines: &str) -> Vec<(Option<u32>, Option<u32>, Option<u32>)> {
    let of = |e: &RtpEncodingParameters| (e.ssrc, e.rtx.map(|r| r.ssrc), e.fec.as_ref().and_then(|f| f.ssrc));
    sent(lines, &router(true)).encodings.iter().map(of).collect()
}

#[test]
fn the_group_of_an_offer_names_the_flexfec_stream() {
    let lines = "a=ssrc-group:FID 1 2\r\na=ssrc-group:FEC-FR 1 3\r\na=ssrc:3 cname:x\r\na=ssrc:2 cname:x\r\na=ssrc:1 cname:x\r\n";
    let parameters = sent(lines, &router(true));
    assert_eq!(fec_of(lines), [(Some(1), Some(2), Some(3))], "the repair streams are no media");
    let kinds: Vec<&str> = parameters.codecs.iter().map(|c| c.mime_type.as_str()).collect();
    assert_eq!(kinds, ["video/VP8", "video/rtx", "video/flexfec-03"]);
    // Where the router has it not there is none of it.
    let without = sent(lines, &router(false));
    assert!(without.encodings[0].fec.is_none() && without.codecs.len() == 2);
    // The answer agrees on it.
    let offer = Description::parse(&format!("{}a=sendonly\r\n{lines}", head())).expect("it is SDP");
    let section = AnswerSection { mid: "0".to_owned(), producer: Some(parameters), ..Default::default() };
    let text = answer(&offer, &router(true), &local(), Origin { session: 1, version: 1 }, &[section]).expect("fits");
    check_answer(&offer, &text);
    assert!(text.contains("a=rtpmap:120 flexfec-03/90000\r\na=fmtp:120 repair-window=10000000\r\n"), "{text}");
    // Groups that say nothing of use.
    for lines in [
        "a=ssrc-group:FEC-FR 1\r\na=ssrc:1 cname:x\r\n",
        "a=ssrc-group:FEC-FR 1 1\r\na=ssrc:1 cname:x\r\n",
        "a=ssrc-group:FEC-FR 1 3 4\r\na=ssrc:1 cname:x\r\n",
        "a=ssrc-group:FEC-FR 5 6\r\na=ssrc:1 cname:x\r\n",
        "a=ssrc:1 cname:x\r\n",
    ] {
        let got = fec_of(lines);
        assert!(got.iter().all(|(_, _, fec)| fec.is_none()), "{lines}: {got:?}");
    }
    assert_eq!(fec_of("a=ssrc-group:FID 1 2\r\na=ssrc-group:FEC-FR 1 2\r\na=ssrc:1 cname:x\r\n")[0].2, None);
}

#[test]
fn a_watchers_section_names_the_flexfec_stream_of_its_consumer_by_its_own_numbers() {
    let router = router(true);
    let lines = "a=ssrc-group:FEC-FR 1 3\r\na=ssrc:1 cname:x\r\n";
    let offer = producer::Offer {
        kind: MediaKind::Video,
        parameters: &sent(lines, &router),
        paused: false,
        key_frame_request_delay: std::time::Duration::ZERO,
        opaque_payload: false,
        key_frame_cache: true,
        default_cname: "c".to_owned(),
    };
    let (_, consumable) = producer::negotiate(&router, &offer).expect("negotiates");
    let watch = Description::parse(&format!("{}a=recvonly\r\n", head())).expect("it is SDP");
    let capabilities = read(&watch, &router, &[]).expect("usable").sections[0].rtp_capabilities.clone().expect("takes");
    let wish = consumer::Wish {
        producer: ObjectId::new(0, ObjectKind::Producer, 1, 0),
        capabilities: &capabilities,
        mid: "0",
        paused: false,
        enable_rtx: None,
        share: Default::default(),
        numbering: Numbering::Peer,
    };
    let (config, mut parameters) = consumer::negotiate(&consumable, &wish).expect("both have VP8");
    let flexfec = config.codecs.iter().find(|c| c.kind == CodecKind::FlexFec).expect("both have it");
    assert_eq!(flexfec.payload_type, 120);
    consumer::complete(&mut parameters, &[StreamSsrcs { ssrc: 11, rtx_ssrc: Some(12), fec_ssrc: Some(13) }]);
    let ours = offer::offer(&local(), Origin { session: 1, version: 1 }, &[(MediaKind::Video, parameters.clone())]);
    let section = AnswerSection { mid: "0".to_owned(), consumer: Some(parameters), ..Default::default() };
    let text = answer(&watch, &router, &local(), Origin { session: 1, version: 1 }, &[section]).expect("fits");
    check_answer(&watch, &text);
    for text in [&ours, &text] {
        assert!(text.contains("a=ssrc-group:FID 11 12\r\na=ssrc-group:FEC-FR 11 13\r\n"), "{text}");
        assert!(text.contains("a=ssrc:13 cname:") && text.contains("a=rtpmap:120 flexfec-03/90000\r\n"), "{text}");
        // Read as what a peer would offer, it is the same again.
        let again = Description::parse(&text.replace("a=ice-lite\r\n", "")).expect("we read what we write");
        let again = read(&again, &router, &[]).expect("usable").sections[0].rtp_parameters.clone().expect("it sends");
        let encoding = &again.encodings[0];
        let fec = encoding.fec.clone().expect("it has one");
        assert_eq!((encoding.ssrc, fec.ssrc, fec.mechanism.as_str()), (Some(11), Some(13), FLEXFEC));
    }
}
