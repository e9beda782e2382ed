//! Wrong targets, ids and values: each refusal has its code and names its field.

use sfu_core::command::{CommandError, ErrorCode};
use sfu_wire::id::{ObjectId, ObjectKind};

use super::room::*;
use crate::encode;
use crate::ortc::{self, MediaKind, ParameterValue, RtpParameters, convert};
use crate::schema as fb;
use crate::schema::{ReplyBodyT as Reply, RequestBodyT as Body};

fn close() -> Body {
    Body::Close(Box::default())
}

#[test]
fn row_069_a_method_for_another_kind_of_object_is_refused_by_its_target() {
    let mut room = Room::new();
    let producer = room.produce(1);
    let consumer = room.consume(producer);
    let transport = room.publishing;
    let router = room.router;
    let cases: Vec<(u64, Body)> = vec![
        (transport, Body::CreateWebRtcTransport(Box::new(create_transport()))),
        (router, Body::Produce(Box::new(produce(&video(2, "2"))))),
        (producer, Body::Consume(Box::new(consume(producer, &room.capabilities)))),
        (consumer, Body::RestartIce(Box::default())),
        (producer, Body::RequestKeyFrame(Box::default())),
        (router, Body::Pause(Box::default())),
        (transport, Body::Resume(Box::default())),
        (router, Body::SetMaxIncomingBitrate(Box::default())),
        (transport, Body::GetRouterCapabilities(Box::default())),
        (router, Body::ConnectWebRtcTransport(Box::default())),
        (router, create_router(&usual_codecs())),
        (router, Body::GetSupportedCapabilities(Box::default())),
        (router, Body::CreateWebRtcServer(Box::default())),
    ];
    for (target, body) in cases {
        let name = body.request_body_type();
        assert_eq!(refusal(room.call(target, body)), (ErrorCode::InvalidArgument, "target".to_owned()), "{name:?}");
    }
}

#[test]
fn row_069_unknown_enum_values_are_refused_by_their_field() {
    let mut room = Room::new();
    let bad_kind = fb::ProduceT { kind: fb::MediaKind(9), ..produce(&video(1, "0")) };
    assert_eq!(refusal(room.call(room.publishing, Body::Produce(Box::new(bad_kind)))).1, "kind");
    let bad = fb::ListenInfoT { protocol: fb::Protocol(7), ..listen().unwrap().remove(0) };
    let body = fb::CreateWebRtcTransportT { listen_infos: Some(vec![bad]), ..Default::default() };
    let refused = refusal(room.call(room.router, Body::CreateWebRtcTransport(Box::new(body))));
    assert_eq!(refused, (ErrorCode::InvalidArgument, "listen_infos[0].protocol".to_owned()));
    let dtls = fb::DtlsParametersT { role: fb::DtlsRole(4), fingerprints: None };
    let body = fb::ConnectWebRtcTransportT { dtls_parameters: Some(Box::new(dtls)) };
    let refused = refusal(room.call(room.publishing, Body::ConnectWebRtcTransport(Box::new(body))));
    assert_eq!(refused.1, "dtls_parameters.role");
}

#[test]
fn row_070_ids_of_nothing_are_not_found_and_those_of_the_closed_look_the_same() {
    let mut room = Room::new();
    let producer = room.produce(1);
    room.close(producer).expect("a producer can be closed");
    let foreign = ObjectId::new(9, ObjectKind::Producer, 1, 1).to_u64();
    let other_shard = ObjectId::new(1, ObjectKind::Producer, 0, 0).to_u64();
    let unknown_kind = 0x00ff_0000_0000_0001;
    let mut answers = Vec::new();
    for id in [0, 1, u64::MAX, foreign, other_shard, unknown_kind, producer] {
        answers.push(refusal(room.call(id, Body::Pause(Box::default()))));
        answers.push(refusal(room.call(id, close())));
        let body = Body::Consume(Box::new(consume(id, &room.capabilities)));
        let (code, field) = refusal(room.call(room.subscribing, body));
        assert_eq!((code, field.as_str()), (ErrorCode::NotFound, "producer"));
    }
    assert!(answers.iter().all(|a| *a == (ErrorCode::NotFound, "target".to_owned())), "{answers:?}");
}

#[test]
fn row_071_a_request_id_in_flight_is_refused_and_the_first_is_unaffected() {
    let mut room = Room::new();
    let bytes = encode::request(5, room.publishing, Body::GetStats(Box::default()));
    room.engine.submit(&bytes).expect("the first is accepted");
    let error = room.engine.submit(&bytes).expect_err("the second is not");
    assert_eq!((error.code, error.field.as_str()), (ErrorCode::AlreadyExists, "id"));
    let other = encode::request(5, room.router, close());
    assert!(room.engine.submit(&other).is_err());
    room.engine.run();
    let messages = room.engine.messages();
    assert_eq!(messages.len(), 1, "answered once");
    assert!(matches!(&messages[0], fb::ContentT::Reply(r) if r.id == 5 && r.code == fb::Code::ok));
    // Once it is answered its id is free, and the router was not closed.
    room.engine.submit(&bytes).expect("the id is free again");
    room.engine.run();
    assert_eq!(room.engine.messages().len(), 1);
}

#[test]
fn row_071_ssrcs_and_mids_in_use_are_refused_and_their_owner_is_unaffected() {
    let mut room = Room::new();
    let first = room.produce(77);
    let again = room.call(room.publishing, Body::Produce(Box::new(produce(&video(77, "x")))));
    assert_eq!(code(again), Some(ErrorCode::AlreadyExists));
    let mut wanted = consume(first, &room.capabilities);
    wanted.mid = Some("camera".to_owned());
    room.call(room.subscribing, Body::Consume(Box::new(wanted.clone()))).expect("the MID is free");
    let refused = refusal(room.call(room.subscribing, Body::Consume(Box::new(wanted))));
    assert_eq!(refused, (ErrorCode::AlreadyExists, "mid".to_owned()));
    room.consume(first);
}

fn router_field(room: &mut Room, change: impl FnOnce(&mut ortc::RtpCodecCapability)) -> (ErrorCode, String) {
    let mut codecs = usual_codecs();
    change(&mut codecs[1]);
    refusal(room.call(0, create_router(&codecs)))
}

#[test]
fn row_078_router_codecs_with_numbers_out_of_range_name_the_field() {
    let mut room = Room::new();
    let at = |name: &str| format!("media_codecs[1].{name}");
    assert_eq!(router_field(&mut room, |c| c.clock_rate = 0).1, at("clock_rate"));
    assert_eq!(router_field(&mut room, |c| c.channels = Some(0)).1, at("channels"));
    for pt in [64, 72, 95, 128, 255] {
        assert_eq!(router_field(&mut room, |c| c.preferred_payload_type = Some(pt)).1, at("preferred_payload_type"));
    }
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let refused = router_field(&mut room, |c| {
            c.parameters.insert("x".to_owned(), ParameterValue::Number(number));
        });
        assert_eq!(refused, (ErrorCode::InvalidArgument, at("parameters.x")));
    }
    // Minus zero and the like are numbers.
    let mut codecs = usual_codecs();
    codecs[1].parameters.insert("x".to_owned(), ParameterValue::Number(-0.0));
    assert_eq!(code(room.call(0, create_router(&codecs))), None);
    let many = vec![usual_codecs().remove(1); 4096];
    assert_eq!(refusal(room.call(0, create_router(&many))).1, "media_codecs");
    assert_eq!(code(room.call(0, create_router(&[]))), None, "a router for data alone is legal");
}

fn stream_field(room: &mut Room, change: impl FnOnce(&mut RtpParameters)) -> (ErrorCode, String) {
    let mut parameters = video(4321, "m");
    change(&mut parameters);
    refusal(room.call(room.publishing, Body::Produce(Box::new(produce(&parameters)))))
}

#[test]
fn row_078_streams_with_values_out_of_range_name_the_field() {
    use ErrorCode::{AlreadyExists, InvalidArgument, Unsupported};
    let room = &mut Room::new();
    let rtx = |ssrc| Some(ortc::RtpRtxParameters { ssrc });
    let mode = |name: &str| Some(name.to_owned());
    let with_rid = |rid: &str| ortc::RtpEncodingParameters { rid: Some(rid.to_owned()), ..Default::default() };
    type Change = Box<dyn FnOnce(&mut RtpParameters)>;
    let cases: Vec<(ErrorCode, &str, Change)> = vec![
        (InvalidArgument, "codecs", Box::new(|p| p.codecs.clear())),
        (InvalidArgument, "codecs", Box::new(|p| p.codecs = vec![p.codecs[0].clone(); 4096])),
        (InvalidArgument, "codecs[0].payload_type", Box::new(|p| p.codecs[0].payload_type = 128)),
        (InvalidArgument, "codecs[0].clock_rate", Box::new(|p| p.codecs[0].clock_rate = 0)),
        (InvalidArgument, "codecs[0].mime_type", Box::new(|p| p.codecs[0].mime_type = "VP8".into())),
        (InvalidArgument, "codecs[0].mime_type", Box::new(|p| p.codecs[0].mime_type = "audio/opus".into())),
        (InvalidArgument, "codecs[0].mime_type", Box::new(|p| p.codecs[0].mime_type = "v".repeat(1 << 16))),
        (AlreadyExists, "codecs[1].payload_type", Box::new(|p| p.codecs.push(p.codecs[0].clone()))),
        (Unsupported, "codecs[0]", Box::new(|p| p.codecs[0].mime_type = "video/AV1".into())),
        (InvalidArgument, "encodings", Box::new(|p| p.encodings.clear())),
        (InvalidArgument, "encodings", Box::new(|p| p.encodings = vec![Default::default(); 4096])),
        (InvalidArgument, "encodings", Box::new(|p| p.encodings = vec![Default::default(); 9])),
        (InvalidArgument, "encodings[1]", Box::new(|p| p.encodings.push(Default::default()))),
        (InvalidArgument, "encodings[1].rid", Box::new(move |p| p.encodings.push(with_rid("h")))),
        (
            InvalidArgument,
            "encodings[0].scalability_mode",
            Box::new(move |p| p.encodings[0].scalability_mode = mode("L9T9")),
        ),
        (
            Unsupported,
            "encodings[0].scalability_mode",
            Box::new(move |p| p.encodings[0].scalability_mode = mode("L3T1")),
        ),
        (AlreadyExists, "encodings[0].rtx.ssrc", Box::new(move |p| p.encodings[0].rtx = rtx(4321))),
        (AlreadyExists, "encodings[1].ssrc", Box::new(|p| p.encodings.push(p.encodings[0].clone()))),
        (InvalidArgument, "encodings[0].rid", Box::new(|p| p.encodings[0].rid = Some(String::new()))),
        (
            InvalidArgument,
            "encodings[0].rid",
            Box::new(|p| p.encodings[0].rid = Some("r".repeat(1 << 20)[..33].into())),
        ),
        (InvalidArgument, "encodings[0].codec_payload_type", Box::new(|p| p.encodings[0].codec_payload_type = Some(3))),
        (InvalidArgument, "mid", Box::new(|p| p.mid = Some("a b".into()))),
        (InvalidArgument, "rtcp.cname", Box::new(|p| p.rtcp.cname = Some("c".repeat(256)))),
        (InvalidArgument, "msid", Box::new(|p| p.msid = Some("c".repeat(257)))),
    ];
    for (code, field, change) in cases {
        assert_eq!(stream_field(room, change), (code, format!("rtp_parameters.{field}")));
    }
    room.produce(4321);
}

#[test]
fn row_078_header_extensions_with_bad_ids_or_names_name_the_field() {
    use ErrorCode::{AlreadyExists, InvalidArgument, Unsupported};
    let room = &mut Room::new();
    type Extension = (u8, &'static str, bool);
    let cases: [(ErrorCode, &str, &[Extension]); 6] = [
        (InvalidArgument, "[0].id", &[(0, "x", false)]),
        (InvalidArgument, "[0].id", &[(15, "x", false)]),
        (InvalidArgument, "[0].uri", &[(1, "", false)]),
        (Unsupported, "[0].encrypt", &[(1, "x", true)]),
        (AlreadyExists, "[1].id", &[(1, "x", false), (1, "y", false)]),
        (AlreadyExists, "[1].uri", &[(1, "x", false), (2, "x", false)]),
    ];
    for (code, field, extensions) in cases {
        let make = |(id, uri, encrypt): &Extension| ortc::RtpHeaderExtensionParameters {
            uri: (*uri).to_owned(),
            id: *id,
            encrypt: *encrypt,
            parameters: ortc::Parameters::new(),
        };
        let refused = stream_field(room, |p| p.header_extensions = extensions.iter().map(make).collect());
        assert_eq!(refused, (code, format!("rtp_parameters.header_extensions{field}")));
    }
}

fn listen_field(room: &mut Room, change: impl FnOnce(&mut fb::ListenInfoT)) -> (ErrorCode, String) {
    let mut infos = listen().unwrap();
    change(&mut infos[0]);
    let body = fb::CreateWebRtcTransportT { listen_infos: Some(infos), ..Default::default() };
    refusal(room.call(room.router, Body::CreateWebRtcTransport(Box::new(body))))
}

#[test]
fn row_078_listen_infos_with_bad_values_name_the_field() {
    let room = &mut Room::new();
    let range = |min, max| Some(Box::new(fb::PortRangeT { min, max }));
    let at = |name: &str| (ErrorCode::InvalidArgument, format!("listen_infos[0].{name}"));
    for ip in ["", "localhost", "1.2.3", "224.0.0.1", "ff02::1"] {
        assert_eq!(listen_field(room, |i| i.ip = ip.to_owned()), at("ip"), "{ip}");
    }
    for ip in ["0.0.0.0", "::"] {
        assert_eq!(listen_field(room, |i| i.ip = ip.to_owned()), at("announced_address"));
    }
    for name in ["", "a b", "a..b", "0.0.0.0", &"x".repeat(300)] {
        assert_eq!(listen_field(room, |i| i.announced_address = Some(name.to_owned())), at("announced_address"));
    }
    assert_eq!(listen_field(room, |i| i.port_range = range(0, 5)), at("port_range"));
    assert_eq!(listen_field(room, |i| i.port_range = range(6, 5)), at("port_range"));
    let both =
        |i: &mut fb::ListenInfoT| (i.port, i.port_range) = (1, Some(Box::new(fb::PortRangeT { min: 1, max: 2 })));
    assert_eq!(listen_field(room, both), at("port_range"));
    assert_eq!(listen_field(room, |i| i.ipv6_only = true), at("ipv6_only"));
    assert_eq!(listen_field(room, |i| i.send_buffer_size = u32::MAX), at("send_buffer_size"));
    assert_eq!(listen_field(room, |i| i.protocol = fb::Protocol(2)), at("protocol"));
    let shared_tcp = |i: &mut fb::ListenInfoT| (i.protocol, i.udp_reuse_port) = (fb::Protocol::tcp, true);
    assert_eq!(listen_field(room, shared_tcp), at("udp_reuse_port"));
    let exposed = |i: &mut fb::ListenInfoT| {
        (i.ip, i.announced_address, i.expose_internal_ip) = ("::".to_owned(), Some("sfu.example.org".to_owned()), true);
    };
    assert_eq!(listen_field(room, exposed), at("expose_internal_ip"));
    // In IPv6's clothes it is still an IPv4 address.
    let mapped = |i: &mut fb::ListenInfoT| (i.ip, i.ipv6_only) = ("::ffff:127.0.0.1".to_owned(), true);
    assert_eq!(listen_field(room, mapped), at("ipv6_only"));
    for infos in [Vec::new(), vec![listen().unwrap().remove(0); 4096]] {
        let body = fb::CreateWebRtcTransportT { listen_infos: Some(infos), ..Default::default() };
        let refused = refusal(room.call(room.router, Body::CreateWebRtcTransport(Box::new(body))));
        assert_eq!(refused, (ErrorCode::InvalidArgument, "listen_infos".to_owned()));
    }
}

/// A listen info of the local host.
fn local(protocol: fb::Protocol) -> fb::ListenInfoT {
    fb::ListenInfoT { protocol, ..listen().unwrap().remove(0) }
}

#[test]
fn candidates_are_of_the_protocols_that_are_enabled_in_the_order_that_is_preferred() {
    let room = &mut Room::new();
    let both = Some(vec![local(fb::Protocol::tcp), local(fb::Protocol::udp)]);
    let body = fb::CreateWebRtcServerT { listen_infos: both.clone(), shard: Some(0) };
    let server = match room.call(0, Body::CreateWebRtcServer(Box::new(body))) {
        Ok(fb::ReplyBodyT::Created(created)) => created.id,
        other => panic!("{other:?}"),
    };
    let mut offered = |body: fb::CreateWebRtcTransportT| {
        let reply = room.call(room.router, Body::CreateWebRtcTransport(Box::new(body)))?;
        let fb::ReplyBodyT::WebRtcTransportCreated(created) = reply else { panic!("{reply:?}") };
        let candidates = created.ice_candidates.unwrap();
        for candidate in &candidates {
            let passive = (candidate.protocol == fb::Protocol::tcp).then_some(fb::IceTcpType::passive);
            assert_eq!(candidate.tcp_type, passive);
        }
        Ok::<_, CommandError>(candidates.iter().map(|c| c.protocol).collect::<Vec<_>>())
    };
    let on_server = || fb::CreateWebRtcTransportT { webrtc_server: server, ..Default::default() };
    let (udp, tcp) = (fb::Protocol::udp, fb::Protocol::tcp);
    assert_eq!(offered(on_server()), Ok(vec![udp, tcp]));
    assert_eq!(offered(fb::CreateWebRtcTransportT { prefer_udp: true, ..on_server() }), Ok(vec![udp, tcp]));
    assert_eq!(offered(fb::CreateWebRtcTransportT { prefer_tcp: true, ..on_server() }), Ok(vec![tcp, udp]));
    assert_eq!(offered(fb::CreateWebRtcTransportT { enable_udp: false, ..on_server() }), Ok(vec![tcp]));
    assert_eq!(offered(fb::CreateWebRtcTransportT { enable_tcp: false, ..on_server() }), Ok(vec![udp]));
    let own = || fb::CreateWebRtcTransportT { listen_infos: both.clone(), ..Default::default() };
    assert_eq!(offered(own()), Ok(vec![udp, tcp]));
    let mut field = |body| offered(body).map_err(|error| (error.code, error.field)).unwrap_err();
    let at = |name: &str| (ErrorCode::InvalidArgument, name.to_owned());
    let neither = fb::CreateWebRtcTransportT { enable_udp: false, enable_tcp: false, ..on_server() };
    assert_eq!(field(neither), at("enable_udp"));
    assert_eq!(field(fb::CreateWebRtcTransportT { prefer_udp: true, prefer_tcp: true, ..own() }), at("prefer_udp"));
    assert_eq!(field(fb::CreateWebRtcTransportT { enable_tcp: false, ..own() }), at("listen_infos[0].protocol"));
    assert_eq!(field(fb::CreateWebRtcTransportT { enable_udp: false, ..own() }), at("listen_infos[1].protocol"));
    let only = fb::CreateWebRtcServerT { listen_infos: Some(vec![local(udp)]), shard: Some(0) };
    let only = match room.call(0, Body::CreateWebRtcServer(Box::new(only))) {
        Ok(fb::ReplyBodyT::Created(created)) => created.id,
        other => panic!("{other:?}"),
    };
    let body = fb::CreateWebRtcTransportT { webrtc_server: only, enable_udp: false, ..Default::default() };
    let refused = refusal(room.call(room.router, Body::CreateWebRtcTransport(Box::new(body))));
    assert_eq!(refused, at("enable_udp"));
    let dump = room.call(server, Body::GetDump(Box::default())).unwrap();
    let fb::ReplyBodyT::WebRtcServerDump(dump) = dump else { panic!("{dump:?}") };
    assert_eq!((dump.local_addresses.unwrap().len(), dump.tcp_local_addresses.unwrap().len()), (1, 1));
}

#[test]
fn row_078_other_numbers_out_of_range_name_the_field() {
    let mut room = Room::new();
    let body = fb::CreateWebRtcTransportT { ice_consent_timeout_ms: 60_001, ..create_transport() };
    let refused = refusal(room.call(room.router, Body::CreateWebRtcTransport(Box::new(body))));
    assert_eq!(refused.1, "ice_consent_timeout_ms");
    let body = fb::ProduceT { key_frame_request_delay_ms: u32::MAX, ..produce(&video(1, "0")) };
    let refused = refusal(room.call(room.publishing, Body::Produce(Box::new(body))));
    assert_eq!(refused.1, "key_frame_request_delay_ms");
    let body = Body::CreateRouter(Box::new(fb::CreateRouterT { media_codecs: None, shard: Some(2) }));
    assert_eq!(refusal(room.call(0, body)), (ErrorCode::InvalidArgument, "shard".to_owned()));
    let producer = room.produce(1);
    let body = fb::ConsumeT { priority: 0, ..consume(producer, &room.capabilities) };
    assert_eq!(refusal(room.call(room.subscribing, Body::Consume(Box::new(body)))).1, "priority");
    let mut nameless = consume(producer, &room.capabilities);
    nameless.rtp_capabilities.as_mut().unwrap().codecs.as_mut().unwrap()[1].preferred_payload_type = None;
    let refused = refusal(room.call(room.subscribing, Body::Consume(Box::new(nameless))));
    assert_eq!(refused.1, "rtp_capabilities.codecs[1].preferred_payload_type");
    for bitrate in [0, 1, u32::MAX] {
        let body = Body::SetMaxIncomingBitrate(Box::new(fb::SetMaxIncomingBitrateT { bitrate }));
        assert_eq!(code(room.call(room.publishing, body)), None, "{bitrate}");
    }
}

#[test]
fn row_078_fingerprints_of_wrong_length_or_alphabet_name_the_field() {
    let mut room = Room::new();
    let good = vec!["AB"; 32].join(":");
    let mut connect = |fingerprints: Option<Vec<&str>>| {
        let make = |value: &str| fb::DtlsFingerprintT { value: value.to_owned(), ..Default::default() };
        let fingerprints = fingerprints.map(|f| f.into_iter().map(make).collect());
        let dtls = fb::DtlsParametersT { role: fb::DtlsRole::auto, fingerprints };
        let body = fb::ConnectWebRtcTransportT { dtls_parameters: Some(Box::new(dtls)) };
        room.call(room.publishing, Body::ConnectWebRtcTransport(Box::new(body)))
    };
    for list in [None, Some(vec![]), Some(vec![good.as_str(); 17])] {
        assert_eq!(refusal(connect(list)).1, "dtls_parameters.fingerprints");
    }
    for value in ["", "AB", "zz", &vec!["AB"; 33].join(":"), &"A".repeat(64), &vec!["AB"; 20].join(":")] {
        let refused = refusal(connect(Some(vec![&good, value])));
        assert_eq!(refused, (ErrorCode::InvalidArgument, "dtls_parameters.fingerprints[1].value".to_owned()));
    }
    assert_eq!(code(connect(Some(vec![&good]))), None);
}

#[test]
fn transports_of_a_server_are_on_its_shard_whichever_the_router_is_on() {
    let mut room = Room::new();
    let mut server = |shard| {
        let body = fb::CreateWebRtcServerT { listen_infos: listen(), shard: Some(shard) };
        match room.call(0, Body::CreateWebRtcServer(Box::new(body))) {
            Ok(Reply::Created(created)) => created.id,
            other => panic!("no server: {other:?}"),
        }
    };
    let (zero, one) = (server(0), server(1));
    let home = ObjectId::from_u64(room.router).shard();
    let (near, far) = if home == 0 { (zero, one) } else { (one, zero) };
    let on = |webrtc_server| fb::CreateWebRtcTransportT { webrtc_server, ..Default::default() };
    for server in [near, far] {
        let made = room.call(room.router, Body::CreateWebRtcTransport(Box::new(on(server))));
        let Ok(Reply::WebRtcTransportCreated(created)) = made else { panic!("no transport: {made:?}") };
        assert_eq!(ObjectId::from_u64(created.id).shard(), ObjectId::from_u64(server).shard());
    }
    let elsewhere = fb::CreateWebRtcTransportT { shard: Some(home), ..on(far) };
    let refused = refusal(room.call(room.router, Body::CreateWebRtcTransport(Box::new(elsewhere))));
    assert_eq!(refused, (ErrorCode::InvalidArgument, "shard".to_owned()));
    let both = fb::CreateWebRtcTransportT { listen_infos: listen(), ..on(near) };
    assert_eq!(refusal(room.call(room.router, Body::CreateWebRtcTransport(Box::new(both)))).1, "webrtc_server");
    let refused = refusal(room.call(room.router, Body::CreateWebRtcTransport(Box::new(on(room.publishing)))));
    assert_eq!(refused.1, "webrtc_server");
}

#[test]
fn a_producer_of_another_router_cannot_be_consumed() {
    let mut room = Room::new();
    let producer = room.produce(1);
    let Ok(Reply::Created(other)) = room.call(0, create_router(&usual_codecs())) else { panic!("no router") };
    let made = room.call(other.id, Body::CreateWebRtcTransport(Box::new(create_transport())));
    let Ok(Reply::WebRtcTransportCreated(transport)) = made else { panic!("no transport") };
    let body = consume(producer, &room.capabilities);
    let refused = refusal(room.call(transport.id, Body::Consume(Box::new(body.clone()))));
    assert_eq!(refused, (ErrorCode::InvalidArgument, "producer".to_owned()));
    let ask = fb::CanConsumeT { producer, rtp_capabilities: body.rtp_capabilities };
    assert_eq!(refusal(room.call(other.id, Body::CanConsume(Box::new(ask)))).1, "producer");
}

#[test]
fn capabilities_are_told_of_the_library_and_of_each_router() {
    let mut room = Room::new();
    let read = |reply: Result<Reply, _>| match reply {
        Ok(Reply::RouterCapabilities(r)) => convert::capabilities_from(*r.rtp_capabilities.unwrap(), "").unwrap(),
        other => panic!("no capabilities: {other:?}"),
    };
    let supported = read(room.call(0, Body::GetSupportedCapabilities(Box::default())));
    assert_eq!(supported, ortc::capabilities::supported());
    let own = read(room.call(room.router, Body::GetRouterCapabilities(Box::default())));
    assert_eq!(own, room.capabilities);
    let kinds = |k| own.codecs.iter().filter(|c| c.kind == k).count();
    assert_eq!((kinds(MediaKind::Audio), kinds(MediaKind::Video)), (1, 2));
}
