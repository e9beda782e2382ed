//! WebRTC servers of all shards: one object, made on all shards or on none, there again when a shard is made anew.

use sfu_core::command::ErrorCode;
use sfu_wire::id::ObjectId;

use super::room::{create_router, listen, refusal, usual_codecs};
use crate::encode;
use crate::offline::Offline;
use crate::schema as fb;
use crate::schema::{ReplyBodyT as Reply, RequestBodyT as Body};

fn created(engine: &mut Offline, body: Body) -> u64 {
    match engine.call(0, body) {
        Ok(Reply::Created(created)) => created.id,
        other => panic!("not created: {other:?}"),
    }
}

fn server(engine: &mut Offline) -> u64 {
    created(engine, Body::CreateWebRtcServer(Box::new(fb::CreateWebRtcServerT { listen_infos: listen(), shard: None })))
}

fn router(engine: &mut Offline, shard: u8) -> u64 {
    let Body::CreateRouter(mut body) = create_router(&usual_codecs()) else { panic!() };
    body.shard = Some(shard);
    created(engine, Body::CreateRouter(body))
}

fn on(server: u64) -> Body {
    Body::CreateWebRtcTransport(Box::new(fb::CreateWebRtcTransportT { webrtc_server: server, ..Default::default() }))
}

fn transport(engine: &mut Offline, router: u64, server: u64) -> Box<fb::WebRtcTransportCreatedT> {
    match engine.call(router, on(server)) {
        Ok(Reply::WebRtcTransportCreated(created)) => created,
        other => panic!("no transport: {other:?}"),
    }
}

fn dump(engine: &mut Offline, server: u64) -> Box<fb::WebRtcServerDumpT> {
    match engine.call(server, Body::GetDump(Box::default())) {
        Ok(Reply::WebRtcServerDump(dump)) => dump,
        other => panic!("no dump: {other:?}"),
    }
}

#[test]
fn one_server_serves_routers_of_all_shards_under_one_id_and_on_one_port() {
    let mut engine = Offline::new(3);
    let server = server(&mut engine);
    let mut transports = Vec::new();
    let mut ports = Vec::new();
    for shard in 0..3 {
        let router = router(&mut engine, shard);
        let made = transport(&mut engine, router, server);
        assert_eq!(ObjectId::from_u64(made.id).shard(), shard);
        let dump = match engine.call(made.id, Body::GetDump(Box::default())) {
            Ok(Reply::WebRtcTransportDump(dump)) => dump,
            other => panic!("no dump: {other:?}"),
        };
        assert_eq!(dump.webrtc_server, server, "the id that the caller knows");
        let local = made.ice_parameters.expect("parameters").username_fragment;
        assert_eq!(sfu_core::shared_port::shard_of_username(format!("{local}:x").as_bytes()), Some(shard));
        transports.push(made.id);
        ports.extend(made.ice_candidates.expect("candidates").iter().map(|candidate| candidate.port));
    }
    assert_eq!(ports.len(), 3);
    assert!(ports.iter().all(|port| *port == ports[0]));
    let all = dump(&mut engine, server);
    assert_eq!((all.id, all.transports.clone()), (server, Some(transports.clone())));
    assert_eq!(all.local_addresses.map(|addresses| addresses.len()), Some(1));
    match engine.call(server, Body::GetStats(Box::default())) {
        Ok(Reply::StatsReport(report)) => {
            let counters = report.counters.unwrap_or_default();
            assert!(counters.iter().any(|counter| counter.name == "transports" && counter.value == 3), "{counters:?}");
        }
        other => panic!("no statistics: {other:?}"),
    }
    match engine.call(0, Body::GetDump(Box::default())) {
        Ok(Reply::EngineDump(dump)) => {
            let servers = |shard: fb::ShardDumpT| shard.webrtc_servers.unwrap_or_default();
            let servers: Vec<u64> = dump.shards.unwrap_or_default().into_iter().flat_map(servers).collect();
            assert_eq!(servers, [server; 3]);
        }
        other => panic!("no dump: {other:?}"),
    }
    let close = encode::request(1, server, Body::Close(Box::default()));
    engine.submit(&close).expect("accepted");
    engine.run();
    let messages = engine.messages();
    let replies = messages.iter().filter(|m| matches!(m, fb::ContentT::Reply(_))).count();
    assert_eq!((replies, messages.len()), (1, 4), "one reply, and an event for each transport");
    assert_eq!(refusal(engine.call(server, Body::GetDump(Box::default()))).0, ErrorCode::NotFound);
}

#[test]
fn a_server_that_one_shard_cannot_make_is_on_none() {
    let mut engine = Offline::new(2);
    let empty = engine.controller.footprint();
    // Shard 1 is full.
    let on_one = |listen_infos| fb::CreateWebRtcServerT { listen_infos, shard: Some(1) };
    let mut full = Vec::new();
    while let Ok(Reply::Created(server)) = engine.call(0, Body::CreateWebRtcServer(Box::new(on_one(listen())))) {
        full.push(server.id);
    }
    let everywhere = fb::CreateWebRtcServerT { listen_infos: listen(), shard: None };
    let refused = refusal(engine.call(0, Body::CreateWebRtcServer(Box::new(everywhere))));
    assert_eq!(refused.0, ErrorCode::ResourceExhausted);
    match engine.call(0, Body::GetDump(Box::default())) {
        Ok(Reply::EngineDump(dump)) => {
            let shards = dump.shards.unwrap_or_default();
            assert!(shards[0].webrtc_servers.as_ref().is_none_or(Vec::is_empty), "what shard 0 made is closed");
        }
        other => panic!("no dump: {other:?}"),
    }
    for server in full {
        engine.call(server, Body::Close(Box::default())).expect("it can be closed");
    }
    assert_eq!(engine.controller.footprint(), empty, "nothing is remembered");
    server(&mut engine);
}

#[test]
fn row_112_a_shard_that_is_made_anew_has_its_part_again_and_until_then_says_so() {
    let mut engine = Offline::new(2);
    let server = server(&mut engine);
    assert_eq!(ObjectId::from_u64(server).shard(), 0, "known by its part on the shard that will fail");
    let (first, second) = (router(&mut engine, 0), router(&mut engine, 1));
    transport(&mut engine, first, server);
    let stays = transport(&mut engine, second, server).id;
    for _ in 0..3 {
        engine.restart_shard(0);
        let closed = engine.messages();
        assert!(!closed.is_empty(), "what was on the shard is told of");
        // A router may be there before the server's part is.
        let Body::CreateRouter(mut body) = create_router(&usual_codecs()) else { panic!() };
        body.shard = Some(0);
        engine.submit(&encode::request(7, 0, Body::CreateRouter(body))).expect("accepted");
        engine.run();
        let reply = engine.messages().into_iter().find_map(|m| match m {
            fb::ContentT::Reply(reply) => Some(reply.body),
            _ => None,
        });
        let Some(Reply::Created(router)) = reply else { panic!("{reply:?}") };
        transport(&mut engine, router.id, server);
        let transports = dump(&mut engine, server).transports.unwrap_or_default();
        assert_eq!(transports.len(), 2);
        assert!(transports.contains(&stays));
    }
    engine.restart_shard(0);
    drop(engine.messages());
    engine.fail_shard(1);
    let closed = engine.messages().len();
    assert_eq!(closed, 2, "the router of shard 1 and its transport; the server goes on");
    engine.run();
    let left = router(&mut engine, 0);
    transport(&mut engine, left, server);
    engine.fail_shard(0);
    let closed = engine.messages().len();
    assert_eq!(closed, 3, "with the last shard the server goes too");
    assert_eq!(engine.controller.footprint(), 0);
}

#[test]
fn a_server_asked_for_while_its_shard_is_being_made_anew_is_busy() {
    let mut engine = Offline::new(2);
    let server = server(&mut engine);
    let router = router(&mut engine, 0);
    // The shard has failed, and its part is not yet there: a router cannot be either, but one of another shard's life
    // must not be mistaken for it.
    engine.restart_shard(0);
    drop(engine.messages());
    assert_eq!(refusal(engine.call(router, on(server))).0, ErrorCode::NotFound);
    let alone = fb::CreateWebRtcServerT { listen_infos: listen(), shard: Some(1) };
    let alone = created(&mut engine, Body::CreateWebRtcServer(Box::new(alone)));
    let home = self::router(&mut engine, 0);
    assert_eq!(ObjectId::from_u64(transport(&mut engine, home, alone).id).shard(), 1, "where its server is");
    assert!(engine.call(home, on(server)).is_ok());
}

#[test]
fn row_112_a_shard_that_cannot_listen_again_attracts_no_rooms_says_why_and_is_tried_again() {
    let mut engine = Offline::new(2);
    let server = server(&mut engine);
    let busy = router(&mut engine, 1);
    transport(&mut engine, busy, server);
    engine.deaf = Some(0);
    engine.restart_shard(0);
    engine.run();
    drop(engine.messages());
    // It is the emptier one, but rooms there could not be joined.
    let placed = |engine: &mut Offline| ObjectId::from_u64(created(engine, create_router(&usual_codecs())));
    assert_eq!(placed(&mut engine).shard(), 1);
    // A room that is there all the same gets its transports where the server listens.
    let home = router(&mut engine, 0);
    assert_eq!(ObjectId::from_u64(transport(&mut engine, home, server).id).shard(), 1);
    let wanted = |shard| {
        let shard = Some(shard);
        Body::CreateWebRtcTransport(Box::new(fb::CreateWebRtcTransportT {
            webrtc_server: server,
            shard,
            ..Default::default()
        }))
    };
    for _ in 0..3 {
        let error = engine.call(home, wanted(0)).unwrap_err();
        assert_eq!((error.code, &error.field[..]), (ErrorCode::Busy, "webrtc_server"));
        assert!(error.text.contains("127.0.0.1:40000") && error.text.contains("taken"), "{}", error.text);
    }
    // The port is free again: whoever asks finds it tried, and then it is there.
    engine.deaf = None;
    assert_eq!(refusal(engine.call(home, wanted(0))).0, ErrorCode::Busy);
    assert!(engine.call(home, wanted(0)).is_ok());
    assert_eq!(ObjectId::from_u64(transport(&mut engine, home, server).id).shard(), 0);
    assert_eq!(placed(&mut engine).shard(), 0);
    for object in [busy, home, server] {
        engine.call(object, Body::Close(Box::default())).expect("it is there");
    }
    engine.run();
    assert_eq!(dumped_servers(&mut engine), 0, "each shard had one part, and has none");
}

/// Parts of servers on all shards.
fn dumped_servers(engine: &mut Offline) -> usize {
    match engine.call(0, Body::GetDump(Box::default())) {
        Ok(Reply::EngineDump(dump)) => {
            dump.shards.into_iter().flatten().map(|shard| shard.webrtc_servers.map_or(0, |servers| servers.len())).sum()
        }
        other => panic!("no dump: {other:?}"),
    }
}

#[test]
fn a_transport_on_a_server_of_all_shards_is_where_the_caller_wants_it_whichever_the_router_is_on() {
    let mut engine = Offline::new(3);
    let server = server(&mut engine);
    let router = router(&mut engine, 0);
    let wanted = |webrtc_server, shard| {
        let shard = Some(shard);
        Body::CreateWebRtcTransport(Box::new(fb::CreateWebRtcTransportT { webrtc_server, shard, ..Default::default() }))
    };
    for shard in [2, 0, 1] {
        let made = match engine.call(router, wanted(server, shard)) {
            Ok(Reply::WebRtcTransportCreated(made)) => made,
            other => panic!("no transport: {other:?}"),
        };
        assert_eq!(ObjectId::from_u64(made.id).shard(), shard);
        let local = made.ice_parameters.expect("parameters").username_fragment;
        assert_eq!(sfu_core::shared_port::shard_of_username(format!("{local}:x").as_bytes()), Some(shard));
        match engine.call(made.id, Body::GetDump(Box::default())) {
            Ok(Reply::WebRtcTransportDump(dump)) => assert_eq!((dump.webrtc_server, dump.router), (server, router)),
            other => panic!("no dump: {other:?}"),
        }
    }
    assert_eq!(refusal(engine.call(router, wanted(server, 3))).1, "shard");
    let alone = fb::CreateWebRtcServerT { listen_infos: listen(), shard: Some(1) };
    let alone = created(&mut engine, Body::CreateWebRtcServer(Box::new(alone)));
    assert_eq!(refusal(engine.call(router, wanted(alone, 2))), (ErrorCode::InvalidArgument, "shard".to_owned()));
    engine.call(router, Body::Close(Box::default())).expect("it is there");
    engine.call(server, Body::Close(Box::default())).expect("it is there");
    engine.call(alone, Body::Close(Box::default())).expect("it is there");
    engine.run();
    assert_eq!(engine.controller.footprint(), 0);
    engine.check_empty();
}
