//! Plain, pipe and direct transports, and draining, by request.

use sfu_core::command::ErrorCode;

use sfu_core::command::Event;
use sfu_runtime::Output;
use sfu_wire::id::ObjectId;

use super::room::{Room, create_router, refusal, usual_codecs};
use crate::schema as fb;
use fb::RequestBodyT as Body;

fn listen() -> Option<Box<fb::ListenInfoT>> {
    Some(Box::new(fb::ListenInfoT { ip: "127.0.0.1".to_owned(), ..fb::ListenInfoT::default() }))
}

fn plain(room: &mut Room, body: fb::CreatePlainTransportT) -> fb::PlainTransportCreatedT {
    match room.call(room.router, Body::CreatePlainTransport(Box::new(body))) {
        Ok(fb::ReplyBodyT::PlainTransportCreated(created)) => *created,
        other => panic!("expected a plain transport, got {other:?}"),
    }
}

fn srtp(suite: fb::SrtpProfile, key_base64: &str) -> Option<Box<fb::SrtpParametersT>> {
    Some(Box::new(fb::SrtpParametersT { crypto_suite: suite, key_base64: key_base64.to_owned() }))
}

#[test]
fn a_plain_transport_tells_where_it_listens_and_its_key_and_takes_the_peers() {
    let mut room = Room::new();
    let body = fb::CreatePlainTransportT {
        listen_info: listen(),
        rtcp_mux: false,
        enable_srtp: true,
        srtp_crypto_suite: fb::SrtpProfile::aead_aes_128_gcm,
        ..fb::CreatePlainTransportT::default()
    };
    let created = plain(&mut room, body);
    assert_eq!(created.address, "127.0.0.1");
    assert!(created.port > 0 && created.rtcp_port.is_some_and(|port| port != created.port));
    let ours = created.srtp_parameters.expect("a key");
    assert_eq!(ours.crypto_suite, fb::SrtpProfile::aead_aes_128_gcm);
    // 16 bytes of key and 12 of salt.
    assert_eq!(ours.key_base64.len(), 40);
    let connect = |key: Option<Box<fb::SrtpParametersT>>| {
        Body::ConnectPlainTransport(Box::new(fb::ConnectPlainTransportT {
            ip: Some("127.0.0.2".to_owned()),
            port: Some(4000),
            rtcp_port: Some(4001),
            srtp_parameters: key,
        }))
    };
    let suite = fb::SrtpProfile::aes128_cm_hmac_sha1_80;
    for (key, field) in [
        (srtp(suite, "no base64!"), "srtp_parameters.key_base64"),
        (srtp(suite, "AAAA"), "srtp_parameters.key_base64"),
        (srtp(fb::SrtpProfile(77), "AAAA"), "srtp_parameters.crypto_suite"),
    ] {
        let (code, at) = refusal(room.call(created.id, connect(key)));
        assert_eq!((code, at.as_str()), (ErrorCode::InvalidArgument, field));
    }
    let key = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
    assert!(matches!(room.call(created.id, connect(srtp(suite, key))), Ok(fb::ReplyBodyT::Done(_))));
    match room.call(created.id, Body::GetDump(Box::default())) {
        Ok(fb::ReplyBodyT::PlainTransportDump(dump)) => {
            assert_eq!(dump.tuple.expect("connected").remote_port, 4000);
            assert_eq!(dump.rtcp_tuple.expect("connected").remote_port, 4001);
            assert_eq!(dump.srtp_profile.as_deref(), Some("AEAD_AES_128_GCM"));
        }
        other => panic!("expected a dump, got {other:?}"),
    }
}

#[test]
fn what_does_not_fit_a_plain_or_pipe_transport_is_refused_by_field() {
    let mut room = Room::new();
    let mut field = |body: Body| refusal(room.call(room.router, body)).1;
    let missing = fb::CreatePlainTransportT::default();
    assert_eq!(field(Body::CreatePlainTransport(Box::new(missing))), "listen_info");
    let muxed = fb::CreatePlainTransportT {
        listen_info: listen(),
        rtcp_listen_info: listen(),
        rtcp_mux: true,
        ..fb::CreatePlainTransportT::default()
    };
    assert_eq!(field(Body::CreatePlainTransport(Box::new(muxed))), "rtcp_listen_info");
    assert_eq!(field(Body::CreatePipeTransport(Box::default())), "listen_info");
    let made = room.call(room.router, Body::CreateDirectTransport(Box::default()));
    let Ok(fb::ReplyBodyT::Created(direct)) = made else { panic!("{made:?}") };
    let (code, _) = refusal(room.call(direct.id, Body::ConnectPlainTransport(Box::default())));
    assert_eq!(code, ErrorCode::NotFound, "a direct transport is no plain one");
}

#[test]
fn an_engine_that_drains_takes_no_new_router_tells_what_is_left_and_when_it_is_empty() {
    let mut room = Room::new();
    let drain = |room: &mut Room| match room.call(0, Body::Drain(Box::default())) {
        Ok(fb::ReplyBodyT::Draining(left)) => (left.routers, left.transports),
        other => panic!("{other:?}"),
    };
    let (routers, transports) = drain(&mut room);
    assert_eq!(routers, 1);
    assert!(transports >= 2);
    let (code, _) = refusal(room.call(0, Body::CreateRouter(Box::default())));
    assert_eq!(code, ErrorCode::Closed);
    // Rooms that are there go on in full.
    plain(&mut room, fb::CreatePlainTransportT { listen_info: listen(), ..fb::CreatePlainTransportT::default() });
    assert!(room.engine.controller.poll_drained().is_none());
    room.call(room.router, Body::Close(Box::default())).expect("close");
    assert!(room.engine.controller.poll_drained().is_some(), "told when the last router is gone");
    assert!(room.engine.controller.poll_drained().is_none(), "and once only");
    assert_eq!(drain(&mut room), (0, 0));
}

fn closings(room: &mut Room) -> Vec<(u64, fb::CloseReason, Option<String>)> {
    let messages: Vec<Vec<u8>> = room.engine.ready.drain(..).collect();
    let events = messages.iter().flat_map(|m| crate::decode::messages(m)).filter_map(|message| match message {
        Ok(fb::ContentT::Event(event)) => match event.body {
            fb::EventBodyT::ObjectClosed(closed) => Some((event.source, closed.reason, closed.text)),
            _ => None,
        },
        _ => None,
    });
    events.collect()
}

#[test]
fn row_112_a_shard_that_is_made_anew_is_told_object_by_object_and_serves_on() {
    let mut room = Room::new();
    let shard = ObjectId::from_u64(room.router).shard();
    let failed = Output::ShardFailed { shard, restarts: true, text: "a bug".to_owned() };
    room.engine.controller.output(failed, &mut room.engine.ready);
    let mut told = closings(&mut room);
    told.sort_by_key(|(id, ..)| *id);
    let mut gone = vec![room.router, room.publishing, room.subscribing];
    gone.sort_unstable();
    assert_eq!(told.iter().map(|(id, ..)| *id).collect::<Vec<_>>(), gone);
    assert!(
        told.iter()
            .all(|(_, reason, text)| { *reason == fb::CloseReason::shard_failed && text.as_deref() == Some("a bug") })
    );
    assert_eq!(room.engine.controller.footprint(), 0);
    let body = match create_router(&usual_codecs()) {
        Body::CreateRouter(body) => Body::CreateRouter(Box::new(fb::CreateRouterT { shard: Some(shard), ..*body })),
        other => other,
    };
    room.call(0, body).expect("the shard takes new routers");
}

#[test]
fn row_112_a_bug_in_a_room_is_told_with_what_it_said() {
    let mut room = Room::new();
    let router = ObjectId::from_u64(room.router);
    let failed = Output::Event(Event::RouterFailed { router, text: "index out of bounds".to_owned() });
    room.engine.controller.output(failed, &mut room.engine.ready);
    let told = closings(&mut room);
    assert_eq!(told, [(room.router, fb::CloseReason::panic, Some("index out of bounds".to_owned()))]);
    assert_eq!(refusal(room.call(room.router, Body::GetDump(Box::default()))).0, ErrorCode::NotFound);
}
