//! Offers of peers as they were seen, read and answered over pure shards.

use sfu_core::command::ErrorCode;

use super::description::Setup;
use super::*;
use crate::fuzz::{check_answer, description_seeds, local};
use crate::offline::Offline;
use crate::ortc::numbering::Numbering;
use crate::ortc::*;
use crate::schema::{self as fb, ReplyBodyT as Reply, RequestBodyT as Body};

fn seed(name: &str) -> &'static str {
    description_seeds().into_iter().find(|(n, _)| *n == name).expect("it is one of the fixtures").1
}

fn codec(kind: MediaKind, mime: &str, parameters: &[(&str, &str)]) -> RtpCodecCapability {
    RtpCodecCapability {
        kind,
        mime_type: mime.to_owned(),
        preferred_payload_type: None,
        clock_rate: if kind == MediaKind::Audio { 48_000 } else { 90_000 },
        channels: (kind == MediaKind::Audio).then_some(2),
        parameters: parameters.iter().map(|(n, v)| ((*n).to_owned(), ParameterValue::from(*v))).collect(),
        rtcp_feedback: Vec::new(),
    }
}

fn codecs() -> Vec<RtpCodecCapability> {
    let h264 = [("packetization-mode", "1"), ("profile-level-id", "42e01f"), ("level-asymmetry-allowed", "1")];
    vec![
        codec(MediaKind::Audio, "audio/opus", &[]),
        codec(MediaKind::Video, "video/VP8", &[]),
        codec(MediaKind::Video, "video/H264", &h264),
        codec(MediaKind::Video, "video/AV1", &[]),
    ]
}

fn capabilities_of_room() -> RtpCapabilities {
    capabilities::router(&codecs()).expect("a router of usual codecs")
}

fn peer(name: &str) -> Peer {
    let offer = Description::parse(seed(name)).unwrap_or_else(|e| panic!("{name}: {e:?}"));
    read(&offer, &capabilities_of_room(), &[]).unwrap_or_else(|e| panic!("{name}: {e:?}"))
}

/// An engine with a router, and what is asked of it.
struct Room {
    engine: Offline,
    router: u64,
}

impl Room {
    fn new() -> Self {
        let mut engine = Offline::new(1);
        let media_codecs = Some(codecs().iter().map(convert::codec_capability_to).collect());
        let body = fb::CreateRouterT { media_codecs, shard: None };
        let Ok(Reply::Created(router)) = engine.call(0, Body::CreateRouter(Box::new(body))) else {
            panic!("a router can be made")
        };
        Self { engine, router: router.id }
    }

    fn transport(&mut self) -> u64 {
        let listen_infos = Some(vec![fb::ListenInfoT { ip: "127.0.0.1".to_owned(), ..Default::default() }]);
        let body = fb::CreateWebRtcTransportT { listen_infos, ..Default::default() };
        match self.engine.call(self.router, Body::CreateWebRtcTransport(Box::new(body))) {
            Ok(Reply::WebRtcTransportCreated(made)) => made.id,
            other => panic!("a transport can be made: {other:?}"),
        }
    }

    fn parse(&mut self, sdp: &str) -> Peer {
        let body = fb::ParseSdpT { sdp: sdp.to_owned(), preferred_codecs: None };
        match self.engine.call(self.router, Body::ParseSdp(Box::new(body))) {
            Ok(Reply::SdpParsed(parsed)) => schema::peer_from(*parsed).expect("we read what we write"),
            other => panic!("it can be read: {other:?}"),
        }
    }

    fn produce(&mut self, transport: u64, kind: MediaKind, parameters: &RtpParameters) -> u64 {
        let body = fb::ProduceT {
            kind: convert::kind_to(kind),
            rtp_parameters: Some(Box::new(convert::parameters_of_stream_to(parameters))),
            ..Default::default()
        };
        match self.engine.call(transport, Body::Produce(Box::new(body))) {
            Ok(Reply::ProducerCreated(made)) => made.id,
            other => panic!("{parameters:?} can be produced: {other:?}"),
        }
    }

    fn consume(
        &mut self,
        transport: u64,
        producer: u64,
        mid: &str,
        capabilities: &RtpCapabilities,
        numbering: Numbering,
    ) -> (u64, RtpParameters) {
        let body = fb::ConsumeT {
            producer,
            rtp_capabilities: Some(Box::new(convert::capabilities_to(capabilities))),
            mid: Some(mid.to_owned()),
            numbering: if numbering == Numbering::Peer { fb::Numbering::peer } else { fb::Numbering::router },
            ..Default::default()
        };
        match self.engine.call(transport, Body::Consume(Box::new(body))) {
            Ok(Reply::ConsumerCreated(made)) => {
                let parameters = *made.rtp_parameters.expect("a consumer has parameters");
                (made.id, convert::parameters_of_stream_from(parameters, "").expect("they are whole"))
            }
            other => panic!("it can be consumed: {other:?}"),
        }
    }

    fn answer(
        &mut self,
        transport: u64,
        offer: &str,
        sections: Vec<fb::SdpAnswerSectionT>,
    ) -> Result<String, (ErrorCode, String)> {
        let body = fb::CreateSdpAnswerT { offer: offer.to_owned(), sections: Some(sections), session_version: 1 };
        match self.engine.call(transport, Body::CreateSdpAnswer(Box::new(body))) {
            Ok(Reply::SdpText(text)) => Ok(text.sdp),
            Ok(other) => panic!("another reply: {other:?}"),
            Err(error) => Err((error.code, error.field)),
        }
    }

    /// Producers of all that a fixture sends in one encoding, and the answer.
    fn publish(&mut self, name: &str) -> (u64, Vec<u64>, Description, String) {
        let offer = seed(name);
        let transport = self.transport();
        let peer = self.parse(offer);
        let mut sections = Vec::new();
        let mut producers = Vec::new();
        for section in &peer.sections {
            let Some(parameters) = &section.rtp_parameters else { continue };
            let kind = if section.media == "audio" { MediaKind::Audio } else { MediaKind::Video };
            let producer = self.produce(transport, kind, parameters);
            producers.push(producer);
            sections.push(fb::SdpAnswerSectionT { mid: section.mid.clone(), producer, ..Default::default() });
        }
        let text = self.answer(transport, offer, sections).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let offer = Description::parse(offer).expect("it was read before");
        check_answer(&offer, &text);
        let answer = Description::parse(&text).expect("we read what we write");
        (transport, producers, answer, text)
    }
}

/// MIME type, payload type, RTX payload type, SSRC, RTX SSRC of each sending section.
type Stream = (String, u8, Option<u8>, Option<u32>, Option<u32>);

fn streams(peer: &Peer) -> Vec<Stream> {
    let one = |p: &RtpParameters| {
        let rtx = p.codecs.get(1).map(|c| c.payload_type);
        let encoding = &p.encodings[0];
        let codec = &p.codecs[0];
        (codec.mime_type.clone(), codec.payload_type, rtx, encoding.ssrc, encoding.rtx.map(|r| r.ssrc))
    };
    peer.sections.iter().filter_map(|s| s.rtp_parameters.as_ref()).map(one).collect()
}

fn stream(mime: &str, pt: u8, rtx: Option<u8>, ssrc: u32, rtx_ssrc: Option<u32>) -> Stream {
    (mime.to_owned(), pt, rtx, Some(ssrc), rtx_ssrc)
}

#[test]
fn offers_of_publishers_are_read_as_what_they_send() {
    let opus = |pt, ssrc| stream("audio/opus", pt, None, ssrc, None);
    for (name, expected) in [
        (
            "firefox_publish",
            vec![opus(109, 1_390_402_041), stream("video/VP8", 120, Some(124), 2_748_190_354, Some(1_930_402_183))],
        ),
        ("obs_publish", vec![opus(111, 3_012_093_848), stream("video/H264", 96, None, 3_012_093_849, None)]),
        (
            "gstreamer_publish",
            vec![
                stream("video/VP8", 96, Some(97), 3_484_078_952, Some(2_098_321_465)),
                stream("audio/OPUS", 98, None, 2_771_940_214, None),
            ],
        ),
        (
            "ffmpeg_publish",
            vec![opus(111, 1_276_347_981), stream("video/H264", 106, Some(105), 2_319_438_726, Some(3_492_105_581))],
        ),
        (
            "pion_publish",
            vec![stream("video/VP8", 96, Some(97), 3_961_285_034, Some(1_122_334_455)), opus(111, 409_213_774)],
        ),
        (
            "aiortc_publish",
            vec![opus(96, 3_405_514_446), stream("video/VP8", 97, Some(98), 1_080_309_665, Some(4_233_041_915))],
        ),
    ] {
        assert_eq!(streams(&peer(name)), expected, "{name}");
    }
    let chromium = peer("chromium_publish");
    assert_eq!(
        chromium.sections.iter().map(|s| s.media.as_str()).collect::<Vec<_>>(),
        ["audio", "video", "application"]
    );
    assert_eq!(streams(&chromium).iter().map(|s| (s.1, s.2)).collect::<Vec<_>>(), [(111, None), (96, Some(97))]);
    assert_eq!(chromium.candidates, 24);
    let data = &chromium.sections[2];
    assert_eq!((data.sctp_port, data.max_message_size), (Some(5000), Some(262_144)));
    assert!(data.problem.as_deref().is_some_and(|p| p.contains("application")), "{:?}", data.problem);
}

#[test]
fn roles_credentials_and_fingerprints_come_from_the_section_else_from_the_session() {
    let role = |name: &str| peer(name).dtls_parameters.role;
    assert_eq!(
        (role("ffmpeg_publish"), role("obs_publish"), role("chromium_publish")),
        (DtlsRole::Server, DtlsRole::Auto, DtlsRole::Auto)
    );
    let obs = peer("obs_publish");
    assert_eq!(obs.ice_parameters.username_fragment, "DwCI");
    assert!(obs.dtls_parameters.fingerprints[0].value.starts_with("BF:E4:A9"));
    // Digests by algorithms that are not used are left out.
    let more = seed("obs_publish").replace("a=fingerprint:", "a=fingerprint:sha-1 AA:BB\na=fingerprint:");
    let peer =
        read(&Description::parse(&more).expect("it is SDP"), &capabilities_of_room(), &[]).expect("it is usable");
    assert_eq!(peer.dtls_parameters, obs.dtls_parameters);
}

#[test]
fn a_preferred_codec_is_taken_before_the_first_one() {
    let offer = Description::parse(seed("firefox_publish")).expect("it is SDP");
    let first = |preferred: &[&str]| {
        let preferred: Vec<String> = preferred.iter().map(|p| (*p).to_owned()).collect();
        let peer = read(&offer, &capabilities_of_room(), &preferred).expect("it is usable");
        streams(&peer)[1].1
    };
    assert_eq!(first(&["video/h264"]), 126, "packetization mode 1 is the room's");
    assert_eq!(first(&["video/H265", "video/VP8"]), 120);
    assert_eq!(first(&[]), 120);
}

#[test]
fn simulcast_becomes_one_encoding_for_each_rid_and_the_answer_takes_them() {
    let peer = peer("chromium_simulcast");
    let parameters = peer.sections[1].rtp_parameters.clone().expect("it sends");
    let rids: Vec<_> = parameters.encodings.iter().map(|e| e.rid.as_deref().unwrap_or_default()).collect();
    assert_eq!(rids, ["l", "m", "h"]);
    assert!(parameters.header_extensions.iter().any(|x| x.uri.ends_with("rtp-stream-id")));
    let offer = Description::parse(seed("chromium_simulcast")).expect("it is SDP");
    let section = AnswerSection { mid: "1".to_owned(), producer: Some(parameters), ..Default::default() };
    let origin = Origin { session: 1, version: 1 };
    let text = answer(&offer, &capabilities_of_room(), &local(), origin, &[section]).expect("it fits");
    check_answer(&offer, &text);
    assert!(text.contains("a=simulcast:recv l;m;h\r\n") && text.contains("a=rid:m recv\r\n"), "{text}");
    // A SIM group of old.
    let group = "v=0\nm=video 9 UDP/TLS/RTP/SAVPF 96\na=mid:0\na=rtcp-mux\na=sendonly\na=ice-ufrag:abcd\n\
        a=ice-pwd:0123456789012345678901\na=fingerprint:sha-256 AA\na=rtpmap:96 VP8/90000\n\
        a=ssrc-group:SIM 1 2\na=ssrc-group:FID 1 11\na=ssrc-group:FID 2 12\na=ssrc:1 cname:x\n";
    let peer =
        read(&Description::parse(group).expect("it is SDP"), &capabilities_of_room(), &[]).expect("it is usable");
    let encodings = &peer.sections[0].rtp_parameters.as_ref().expect("it sends").encodings;
    let ssrcs: Vec<_> = encodings.iter().map(|e| (e.ssrc, e.rtx.map(|r| r.ssrc))).collect();
    assert_eq!(ssrcs, [(Some(1), Some(11)), (Some(2), Some(12))]);
}

#[test]
fn every_publisher_is_answered_within_its_offer() {
    for name in ["aiortc", "chromium", "ffmpeg", "firefox", "gstreamer", "obs", "pion"] {
        let mut room = Room::new();
        let (_, producers, answer, text) = room.publish(&format!("{name}_publish"));
        assert_eq!(producers.len(), 2, "{name}");
        let accepted: Vec<_> = answer.sections.iter().filter(|s| s.port != 0).collect();
        assert_eq!(accepted.len(), 2, "{name}");
        for section in &accepted {
            assert_eq!(section.direction, description::Direction::Recvonly, "{name}");
            let setup = if name == "ffmpeg" { Setup::Active } else { Setup::Passive };
            assert_eq!(section.transport.setup, Some(setup), "{name}");
        }
        assert!(text.contains("a=candidate:") && text.contains(" 127.0.0.1 "), "{name}: {text}");
        assert!(!text.contains("red/48000") && !text.contains("ulpfec"), "{name}: {text}");
        if name == "chromium" {
            let data = &answer.sections[2];
            assert_eq!(
                (data.port, data.mid.as_deref(), data.formats[0].as_str()),
                (0, Some("2"), "webrtc-datachannel")
            );
        }
    }
}

#[test]
fn a_watcher_gets_the_numbers_of_its_own_offer() {
    for name in ["chromium_watch", "firefox_watch", "aiortc_watch", "pion_watch"] {
        let mut room = Room::new();
        let (_, producers, ..) = room.publish("gstreamer_publish");
        let offer = seed(name);
        let peer = room.parse(offer);
        let transport = room.transport();
        let mut sections = Vec::new();
        for section in &peer.sections {
            let producer = producers[usize::from(section.media == "audio")];
            let capabilities = section.rtp_capabilities.as_ref().unwrap_or_else(|| panic!("{name}: {section:?}"));
            let (consumer, parameters) = room.consume(transport, producer, &section.mid, capabilities, Numbering::Peer);
            let entry = capabilities
                .codecs
                .iter()
                .find(|c| c.preferred_payload_type == Some(parameters.codecs[0].payload_type));
            assert!(entry.is_some_and(|c| c.mime_type.eq_ignore_ascii_case(&parameters.codecs[0].mime_type)), "{name}");
            sections.push(fb::SdpAnswerSectionT { mid: section.mid.clone(), consumer, ..Default::default() });
        }
        let text = room.answer(transport, offer, sections).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let offer = Description::parse(offer).expect("it was read before");
        check_answer(&offer, &text);
        let answer = Description::parse(&text).expect("we read what we write");
        let video = answer.sections.iter().find(|s| s.media == "video").expect("it watches");
        assert_eq!(video.codecs[0].name, "VP8", "{name}: the codec of the producer comes first");
        assert!(
            video.codecs.iter().any(|c| c.name == "H264" || c.name == "AV1"),
            "{name}: later producers may use another"
        );
        assert_eq!(video.ssrc_groups.len(), usize::from(name != "none"), "{name}: RTX is told");
        let streams: Vec<_> = answer.sections.iter().filter_map(|s| s.msid.as_deref()?.split_once(' ')).collect();
        assert_eq!(streams[0].0, streams[1].0, "{name}: both are of one publisher");
    }
}

#[test]
fn an_open_section_agrees_on_all_that_a_later_consumer_may_use() {
    let mut room = Room::new();
    let offer = seed("chromium_watch");
    let transport = room.transport();
    let open = |mid: &str| fb::SdpAnswerSectionT { mid: mid.to_owned(), open: true, ..Default::default() };
    let text = room.answer(transport, offer, vec![open("0"), open("1")]).expect("it fits");
    check_answer(&Description::parse(offer).expect("it is SDP"), &text);
    let answer = Description::parse(&text).expect("we read what we write");
    let video = &answer.sections[1];
    assert!(video.ssrcs.is_empty() && video.direction == description::Direction::Sendonly);
    // A publisher comes: its consumer uses nothing but what was agreed on.
    let (_, producers, ..) = room.publish("obs_publish");
    let capabilities = room.parse(offer).sections[1].rtp_capabilities.clone().expect("it watches");
    let (_, parameters) = room.consume(transport, producers[1], "1", &capabilities, Numbering::Peer);
    for codec in &parameters.codecs {
        assert!(video.codecs.iter().any(|c| c.payload_type == codec.payload_type), "{codec:?}");
    }
    for extension in &parameters.header_extensions {
        assert!(video.extensions.iter().any(|x| (x.id, &x.uri) == (extension.id, &extension.uri)), "{extension:?}");
    }
    let bandwidth = |list: &[RtcpFeedback]| list.iter().any(|f| f.r#type == "transport-cc");
    let agreed: Vec<_> = video.feedback.iter().map(|(_, f)| f.clone()).collect();
    assert_eq!(bandwidth(&parameters.codecs[0].rtcp_feedback), bandwidth(&agreed));
}

#[test]
fn an_answer_that_does_not_fit_the_offer_is_refused_by_field() {
    let mut room = Room::new();
    let (publishing, producers, ..) = room.publish("firefox_publish");
    let offer = seed("chromium_watch");
    let transport = room.transport();
    let capabilities = room.parse(offer).sections[1].rtp_capabilities.clone().expect("it watches");
    let (consumer, _) = room.consume(transport, producers[1], "1", &capabilities, Numbering::Router);
    let section =
        |mid: &str, producer, consumer, open| fb::SdpAnswerSectionT { mid: mid.to_owned(), producer, consumer, open };
    for (section, field) in [
        (section("9", 0, 0, true), "sections[0].mid"),
        (section("0", 0, 0, false), "sections[0]"),
        (section("0", producers[0], 0, false), "sections[0].producer"),
        (section("0", 0, consumer, false), "sections[0].consumer"),
        // Payload types of the router, which this offer has otherwise.
        (section("1", 0, consumer, false), "sections[0].consumer"),
    ] {
        assert_eq!(
            room.answer(transport, offer, vec![section]),
            Err((ErrorCode::InvalidArgument, field.to_owned())),
            "{field}"
        );
    }
    let publish = seed("firefox_publish");
    let twice = vec![section("1", producers[1], 0, false), section("1", producers[1], 0, false)];
    assert_eq!(
        room.answer(publishing, publish, twice),
        Err((ErrorCode::InvalidArgument, "sections[1].mid".to_owned()))
    );
    let open = vec![section("1", 0, 0, true)];
    assert_eq!(
        room.answer(publishing, publish, open),
        Err((ErrorCode::InvalidArgument, "sections[0].open".to_owned()))
    );
    let many = vec![section("0", 0, 0, true); 3];
    assert_eq!(room.answer(transport, offer, many), Err((ErrorCode::InvalidArgument, "sections".to_owned())));
}

#[test]
fn an_offer_of_ours_names_each_consumer_and_is_read_back() {
    let mut room = Room::new();
    let (_, producers, ..) = room.publish("firefox_publish");
    let transport = room.transport();
    let router = capabilities_of_room();
    let consumers: Vec<u64> = producers
        .iter()
        .enumerate()
        .map(|(i, p)| room.consume(transport, *p, &i.to_string(), &router, Numbering::Router).0)
        .collect();
    let body = |consumers: Vec<u64>| {
        Body::CreateSdpOffer(Box::new(fb::CreateSdpOfferT { consumers: Some(consumers), session_version: 3 }))
    };
    let Ok(Reply::SdpText(text)) = room.engine.call(transport, body(consumers.clone())) else {
        panic!("it can be offered")
    };
    let offer = Description::parse(&text.sdp).expect("we read what we write");
    assert!(offer.ice_lite && text.sdp.contains(" 3 IN IP4 "));
    assert_eq!(offer.bundle.as_deref(), Some(&["0".to_owned(), "1".to_owned()][..]));
    for section in &offer.sections {
        assert_eq!(
            (section.transport.setup, section.direction),
            (Some(Setup::Actpass), description::Direction::Sendonly)
        );
        assert!(!section.ssrcs.is_empty() && section.msid.is_some());
    }
    for (wrong, field) in
        [(vec![], "consumers"), (vec![consumers[0]; 2], "consumers[1]"), (vec![producers[0]], "consumers[0]")]
    {
        let error = room.engine.call(transport, body(wrong)).expect_err("it is refused");
        assert_eq!((error.code, error.field.as_str()), (ErrorCode::InvalidArgument, field));
    }
    // What a peer answers to it is read like an offer.
    let answered =
        text.sdp.replace("a=sendonly", "a=recvonly").replace("a=ice-lite\r\n", "").replace("actpass", "active");
    let peer = room.parse(&answered);
    assert_eq!(peer.dtls_parameters.role, DtlsRole::Client);
    assert!(peer.sections.iter().all(|s| s.rtp_capabilities.is_some()));
}

#[test]
fn a_fragment_tells_a_restart_from_candidates_and_ours_has_the_new_credentials() {
    let mut room = Room::new();
    let transport = room.transport();
    let ours = |room: &mut Room| {
        let body = fb::CreateSdpFragmentT { mid: Some("0".to_owned()) };
        match room.engine.call(transport, Body::CreateSdpFragment(Box::new(body))) {
            Ok(Reply::SdpText(text)) => Fragment::parse(&text.sdp).expect("we read what we write"),
            other => panic!("it can be said: {other:?}"),
        }
    };
    let before = ours(&mut room);
    let Ok(Reply::IceRestarted(restarted)) = room.engine.call(transport, Body::RestartIce(Box::default())) else {
        panic!("ICE can be restarted")
    };
    let after = ours(&mut room);
    assert_ne!(before.ice_parameters, after.ice_parameters);
    let told = restarted.ice_parameters.expect("there are new ones").username_fragment;
    assert_eq!(after.ice_parameters.map(|ice| ice.username_fragment), Some(told));
    assert!(after.end_of_candidates && after.candidates == 1 && after.mid.as_deref() == Some("0"));

    let parse = |room: &mut Room, text: &str| {
        let body = fb::ParseSdpFragmentT { fragment: text.to_owned() };
        room.engine.call(0, Body::ParseSdpFragment(Box::new(body)))
    };
    let trickle = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n";
    let Ok(Reply::SdpFragmentParsed(read)) = parse(&mut room, trickle) else { panic!("it is a fragment") };
    assert!(read.ice_parameters.is_none() && read.candidates == 1 && read.mid.as_deref() == Some("0"));
    let restart = format!("a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n{trickle}");
    let Ok(Reply::SdpFragmentParsed(read)) = parse(&mut room, &restart) else { panic!("it is a fragment") };
    assert_eq!(read.ice_parameters.map(|ice| ice.username_fragment).as_deref(), Some("EsAw"));
    for wrong in ["", "a=ice-ufrag:EsAw\r\n", "a=mid:\r\n", "nonsense", "a=ice-ufrag:x\r\na=ice-pwd:y\r\n"] {
        let error = parse(&mut room, wrong).expect_err(wrong);
        assert_eq!(error.field, "fragment", "{wrong}");
    }
}

#[test]
fn h40_what_cannot_be_read_names_its_line_and_a_remedy() {
    let obs = seed("obs_publish");
    let cases: [(&str, &str, &str, ErrorCode); 16] = [
        ("v=0", "v=1", "begins with v=0", ErrorCode::InvalidArgument),
        ("a=ice-ufrag:DwCI\n", "", "a=ice-ufrag", ErrorCode::InvalidArgument),
        (
            "a=ice-ufrag:DwCI",
            "a=ice-ufrag:abc",
            "line 9: \"a=ice-ufrag:abc\": give 4 to 256",
            ErrorCode::InvalidArgument,
        ),
        ("a=setup:actpass", "a=setup:holdconn", "give active, passive or actpass", ErrorCode::InvalidArgument),
        ("a=fingerprint:sha-256 ", "a=fingerprint:sha-1 ", "sha-256, sha-384 or sha-512", ErrorCode::InvalidArgument),
        ("a=fingerprint:sha-256 ", "a=fingerprint:", "an algorithm and a digest", ErrorCode::InvalidArgument),
        ("a=group:LS", "a=ice-lite\na=group:LS", "ICE-lite", ErrorCode::Unsupported),
        ("m=audio 9 ", "m=audio nine ", "the port is no number", ErrorCode::InvalidArgument),
        (
            "m=audio 9 UDP/TLS/RTP/SAVPF 111",
            "m=audio 9",
            "media, port, protocol and formats",
            ErrorCode::InvalidArgument,
        ),
        ("a=mid:1", "a=mid:0", "names another section", ErrorCode::InvalidArgument),
        ("a=mid:1", "a=mid:a b", "token", ErrorCode::InvalidArgument),
        ("a=rtpmap:96 H264/90000", "a=rtpmap:96 H264", "name/clock", ErrorCode::InvalidArgument),
        ("a=rtpmap:96 H264/90000", "a=rtpmap:300 H264/90000", "no payload type", ErrorCode::InvalidArgument),
        ("a=ssrc:3012093849 cname", "a=ssrc:x cname", "is no SSRC", ErrorCode::InvalidArgument),
        ("a=rtcp-mux", "a=extmap:15 urn:x\na=rtcp-mux", "1 to 14, or 16 to 255", ErrorCode::InvalidArgument),
        ("a=rtcp-mux", "a=rid:a%b send\na=rtcp-mux", "RFC 8851", ErrorCode::InvalidArgument),
    ];
    let room = capabilities_of_room();
    for (from, to, says, code) in cases {
        let text = obs.replacen(from, to, 1);
        assert_ne!(text, obs, "{from} is in the fixture");
        let result = Description::parse(&text).and_then(|offer| read(&offer, &room, &[]));
        let error = result.expect_err(to).in_field("sdp");
        assert_eq!((error.code, error.field.as_str()), (code, "sdp"), "{to}: {error:?}");
        assert!(error.text.contains(says) && !error.text.contains('\n'), "{to}: {error:?}");
    }
    assert_eq!(Description::parse("v=0\ns=-\n").expect_err("nothing in it").code, ErrorCode::InvalidArgument);
    assert_eq!(Description::parse("").expect_err("nothing at all").code, ErrorCode::InvalidArgument);
}

#[test]
fn a_section_that_cannot_be_served_says_why_and_the_others_go_on() {
    let obs = seed("obs_publish");
    for (from, to, says) in [
        ("m=video 9 UDP/TLS/RTP/SAVPF", "m=video 9 RTP/AVP", "not encrypted"),
        ("m=video 9", "m=video 0", "port 0"),
        ("H264/90000", "H266/90000", "H266"),
        ("profile-level-id=42e01f", "profile-level-id=640032", "H264"),
        ("a=group:BUNDLE 0 1", "a=group:BUNDLE 0", "a=group:BUNDLE"),
    ] {
        let text = obs.replacen(from, to, 1);
        let offer = Description::parse(&text).expect("it is SDP");
        let peer = read(&offer, &capabilities_of_room(), &[]).expect("its audio is usable");
        assert_eq!(peer.sections[0].problem, None, "{to}");
        let problem = peer.sections[1].problem.as_deref().unwrap_or_default();
        assert!(problem.starts_with("line ") && problem.contains(says), "{to}: {problem}");
        assert_eq!(peer.sections[1].rtp_parameters, None, "{to}");
        let section = AnswerSection { mid: "1".to_owned(), open: true, ..Default::default() };
        let origin = Origin { session: 1, version: 1 };
        let refused = answer(&offer, &capabilities_of_room(), &local(), origin, &[section]);
        assert!(refused.is_err(), "{to}");
    }
    let mut sections = obs.split("m=video");
    let without_mux = obs.replace("a=rtcp-mux\n", "");
    let offer = Description::parse(&without_mux).expect("it is SDP");
    let peer = read(&offer, &capabilities_of_room(), &[]).expect("it can be read");
    assert!(peer.sections.iter().all(|s| s.problem.as_deref().is_some_and(|p| p.contains("a=rtcp-mux"))));
    // One section alone needs neither group nor MID.
    let alone = sections.next().expect("the audio part").replace("a=group:BUNDLE 0 1\n", "").replace("a=mid:0\n", "");
    let offer = Description::parse(&alone).expect("it is SDP");
    let peer = read(&offer, &capabilities_of_room(), &[]).expect("it is usable");
    assert_eq!((peer.sections[0].mid.as_str(), peer.sections[0].problem.as_deref()), ("0", None));
    assert_eq!(peer.sections[0].rtp_parameters.as_ref().and_then(|p| p.mid.as_deref()), None);
}
