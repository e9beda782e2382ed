//! Session descriptions through the client and a running engine.

use sfu_core::command::ErrorCode;

use super::room::usual_codecs;
use crate::client::{Client, ConsumeOptions, Listen, ListenInfo, ProduceOptions, SdpSection, WebRtcTransportOptions};
use crate::fuzz::{check_answer, description_seeds};
use crate::ortc::numbering::Numbering;
use crate::ortc::{DtlsRole, MediaKind};
use crate::sdp::{Description, Fragment};
use crate::{Engine, EngineOptions};

fn seed(name: &str) -> &'static str {
    description_seeds().into_iter().find(|(n, _)| *n == name).expect("it is one of the fixtures").1
}

#[test]
fn a_publisher_and_a_watcher_are_answered_through_the_client() {
    let options = EngineOptions { shards: 1, unpinned: true, ..EngineOptions::default() };
    let (client, _events) = Client::start(Engine::with_options(&options).expect("an engine starts here"));
    let router = client.create_router(&usual_codecs()).wait().expect("a router");
    let own = WebRtcTransportOptions::new(Listen::Own(vec![ListenInfo::udp("127.0.0.1")]));

    let offer = seed("gstreamer_publish");
    let peer = client.parse_sdp(router.id, offer, &["video/VP8"]).wait().expect("it can be read");
    let publishing = client.create_webrtc_transport(router.id, &own).wait().expect("a transport");
    assert_eq!(client.connect(publishing.id, &peer.dtls_parameters).wait(), Ok(DtlsRole::Server));
    let mut sections = Vec::new();
    for section in &peer.sections {
        let kind = if section.media == "audio" { MediaKind::Audio } else { MediaKind::Video };
        let parameters = section.rtp_parameters.clone().expect("it sends");
        let producer =
            client.produce(publishing.id, &ProduceOptions::new(kind, parameters)).wait().expect("a producer");
        sections.push(SdpSection { mid: section.mid.clone(), producer: Some(producer.id), ..Default::default() });
    }
    let answer = client.create_sdp_answer(publishing.id, offer, &sections, 1).wait().expect("an answer");
    check_answer(&Description::parse(offer).expect("it is SDP"), &answer);
    let candidate = &publishing.ice_candidates[0];
    assert!(answer.contains(&format!(" {} {} typ host", candidate.address, candidate.port)), "{answer}");

    let offer = seed("firefox_watch");
    let peer = client.parse_sdp(router.id, offer, &[]).wait().expect("it can be read");
    let watching = client.create_webrtc_transport(router.id, &own).wait().expect("a transport");
    let video = peer.sections.iter().find(|s| s.media == "video").expect("it watches");
    let options = ConsumeOptions {
        mid: Some(video.mid.clone()),
        numbering: Numbering::Peer,
        ..ConsumeOptions::new(
            sections[0].producer.unwrap_or_default(),
            video.rtp_capabilities.clone().unwrap_or_default(),
        )
    };
    let consumer = client.consume(watching.id, &options).wait().expect("a consumer");
    assert_eq!(consumer.rtp_parameters.codecs[0].payload_type, 120, "Firefox's number for VP8");
    let watched = [
        SdpSection { mid: video.mid.clone(), consumer: Some(consumer.id), ..Default::default() },
        SdpSection { mid: peer.sections[0].mid.clone(), open: true, ..Default::default() },
    ];
    let answer = client.create_sdp_answer(watching.id, offer, &watched, 1).wait().expect("an answer");
    check_answer(&Description::parse(offer).expect("it is SDP"), &answer);
    let ssrc = consumer.rtp_parameters.encodings[0].ssrc.expect("the shard chose it");
    assert!(answer.contains(&format!("a=ssrc:{ssrc} cname:")), "{answer}");

    let offered = client.create_sdp_offer(watching.id, &[consumer.id], 2).wait().expect("an offer");
    assert!(Description::parse(&offered).is_ok_and(|d| d.sections.len() == 1), "{offered}");
    let ice = client.restart_ice(watching.id).wait().expect("new credentials");
    let fragment = client.create_sdp_fragment(watching.id, Some("0")).wait().expect("a fragment");
    let said = client.parse_sdp_fragment(&fragment).wait().expect("we read what we write");
    assert_eq!(said.ice_parameters.map(|said| said.username_fragment), Some(ice.username_fragment));
    assert!(Fragment::parse(&fragment).is_ok_and(|f| f.end_of_candidates));

    let refused = client.parse_sdp(router.id, "hello", &[]).wait().expect_err("no SDP");
    assert_eq!((refused.code, refused.field.as_str()), (ErrorCode::InvalidArgument, "sdp"));
    assert!(refused.text.starts_with("line 1: "), "{refused}");
    client.shutdown();
}
