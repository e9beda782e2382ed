//! Objects come and go: order of commands, cascades, failures, and that nothing is left behind.

use proptest::prelude::*;
use sfu_core::command::{CommandError, ErrorCode};
use sfu_wire::id::ObjectId;

use super::room::*;
use crate::encode;
use crate::ortc::convert;
use crate::schema as fb;
use crate::schema::{ReplyBodyT as Reply, RequestBodyT as Body};

fn replies(messages: &[fb::ContentT]) -> Vec<(u64, fb::Code)> {
    let of = |m: &fb::ContentT| match m {
        fb::ContentT::Reply(r) => Some((r.id, r.code)),
        _ => None,
    };
    messages.iter().filter_map(of).collect()
}

fn closings(messages: &[fb::ContentT]) -> Vec<(u64, fb::CloseReason)> {
    let of = |m: &fb::ContentT| match m {
        fb::ContentT::Event(e) => match &e.body {
            fb::EventBodyT::ObjectClosed(c) => Some((e.source, c.reason)),
            _ => None,
        },
        _ => None,
    };
    messages.iter().filter_map(of).collect()
}

#[test]
fn row_072_the_second_close_and_the_close_below_a_closed_parent_are_not_found() {
    let mut room = Room::new();
    let producer = room.produce(1);
    let consumer = room.consume(producer);
    room.close(room.publishing).expect("a transport can be closed");
    for id in [room.publishing, producer, consumer] {
        assert_eq!(refusal(room.close(id)), (ErrorCode::NotFound, "target".to_owned()));
    }
    room.close(room.router).expect("a router can be closed");
    assert_eq!(code(room.close(room.subscribing)), Some(ErrorCode::NotFound));
    assert_eq!(room.engine.controller.footprint(), 0);
}

#[test]
fn row_072_a_close_while_creations_are_in_flight_answers_all_and_leaves_nothing() {
    let mut room = Room::new();
    let producer = room.produce(1);
    let below = [
        encode::request(1, room.router, Body::CreateWebRtcTransport(Box::new(create_transport()))),
        encode::request(2, room.publishing, Body::Produce(Box::new(produce(&video(2, "2"))))),
        encode::request(3, room.subscribing, Body::Consume(Box::new(consume(producer, &room.capabilities)))),
        encode::request(4, room.router, Body::Close(Box::default())),
        encode::request(5, room.router, Body::CreateWebRtcTransport(Box::new(create_transport()))),
        encode::request(6, room.publishing, Body::Produce(Box::new(produce(&video(3, "3"))))),
        encode::request(7, room.subscribing, Body::Consume(Box::new(consume(producer, &room.capabilities)))),
        encode::request(8, room.router, Body::Close(Box::default())),
    ];
    for bytes in &below {
        room.engine.submit(bytes).expect("all are accepted: nothing has happened yet");
    }
    room.engine.run();
    let messages = room.engine.messages();
    let ok = fb::Code::ok;
    let expected: Vec<_> = (1..=8).map(|id| (id, if id <= 4 { ok } else { fb::Code::not_found })).collect();
    assert_eq!(replies(&messages), expected);
    // Two transports of before and one of request 1, two producers, one consumer.
    assert_eq!(closings(&messages).len(), 6);
    assert_eq!(room.engine.controller.footprint(), 0);
}

#[test]
fn row_079_commands_out_of_order_are_refused_or_idempotent() {
    let mut room = Room::new();
    // Consume before produce: there is no such id.
    let body = Body::Consume(Box::new(consume(room.publishing, &room.capabilities)));
    assert_eq!(refusal(room.call(room.subscribing, body)).1, "producer");
    // Connect twice.
    let fingerprint = fb::DtlsFingerprintT { value: vec!["AB"; 32].join(":"), ..Default::default() };
    let dtls = fb::DtlsParametersT { role: fb::DtlsRole::client, fingerprints: Some(vec![fingerprint]) };
    let connect = fb::ConnectWebRtcTransportT { dtls_parameters: Some(Box::new(dtls)) };
    let first = room.call(room.publishing, Body::ConnectWebRtcTransport(Box::new(connect.clone())));
    assert!(matches!(first, Ok(Reply::Connected(c)) if c.local_role == fb::DtlsRole::server));
    let second = room.call(room.publishing, Body::ConnectWebRtcTransport(Box::new(connect.clone())));
    assert_eq!(code(second), Some(ErrorCode::InvalidState));
    // Restart ICE while connecting: new credentials each time.
    let mut restart = || match room.call(room.publishing, Body::RestartIce(Box::default())) {
        Ok(Reply::IceRestarted(r)) => r.ice_parameters.expect("there are credentials").username_fragment,
        other => panic!("no restart: {other:?}"),
    };
    assert_ne!(restart(), restart());
    // Connect after close.
    room.close(room.publishing).expect("it can be closed");
    let late = room.call(room.publishing, Body::ConnectWebRtcTransport(Box::new(connect)));
    assert_eq!(code(late), Some(ErrorCode::NotFound));
}

#[test]
fn row_079_pausing_and_resuming_very_often_ends_in_the_last_state() {
    let mut room = Room::new();
    let producer = room.produce(1);
    let consumer = room.consume(producer);
    for round in 0..2_000_u64 {
        for (target, offset) in [(producer, 0), (consumer, 1)] {
            let body = if round % 2 == 0 { Body::Pause(Box::default()) } else { Body::Resume(Box::default()) };
            room.engine.submit(&encode::request(round * 2 + offset, target, body)).expect("it is accepted");
        }
    }
    room.engine.run();
    let messages = room.engine.messages();
    assert_eq!(replies(&messages).len(), 4_000);
    assert!(replies(&messages).iter().all(|(_, code)| *code == fb::Code::ok));
    for id in [producer, consumer] {
        let paused = match room.call(id, Body::GetDump(Box::default())) {
            Ok(Reply::ProducerDump(d)) => d.paused,
            Ok(Reply::ConsumerDump(d)) => d.paused,
            other => panic!("no dump: {other:?}"),
        };
        assert!(!paused);
    }
}

#[test]
fn mids_count_up_skip_what_is_taken_and_are_free_again_after_a_refusal() {
    let mut room = Room::new();
    let producer = room.produce(1);
    let mid = |created: fb::ConsumerCreatedT| created.rtp_parameters.and_then(|p| p.mid).expect("a consumer has a MID");
    assert_eq!(room.try_consume(producer).map(mid), Ok("0".to_owned()));
    let mut wanted = consume(producer, &room.capabilities);
    wanted.mid = Some("1".to_owned());
    room.call(room.subscribing, Body::Consume(Box::new(wanted.clone()))).expect("1 is free");
    assert_eq!(room.try_consume(producer).map(mid), Ok("2".to_owned()));
    // A refusal by negotiation gives the MID back.
    wanted.mid = Some("kept".to_owned());
    let mut deaf = wanted.clone();
    deaf.rtp_capabilities = Some(Box::default());
    assert_eq!(code(room.call(room.subscribing, Body::Consume(Box::new(deaf)))), Some(ErrorCode::Unsupported));
    let made = room.call(room.subscribing, Body::Consume(Box::new(wanted.clone())));
    let Ok(Reply::ConsumerCreated(made)) = made else { panic!("the MID was not given back") };
    // And so does a closed consumer.
    room.close(made.id).expect("it can be closed");
    assert_eq!(code(room.call(room.subscribing, Body::Consume(Box::new(wanted)))), None);
}

#[test]
fn a_withdrawn_command_gives_back_what_it_reserved() {
    let mut room = Room::new();
    let producer = room.produce(1);
    let before = room.engine.controller.footprint();
    let request = |body, target, id| crate::decode::Request { id, target, body };
    let consume_body = Body::Consume(Box::new(consume(producer, &room.capabilities)));
    let bodies = [
        (room.subscribing, consume_body),
        (0, create_router(&usual_codecs())),
        (0, Body::GetDump(Box::default())),
        (0, Body::GetStats(Box::default())),
    ];
    for (target, body) in bodies {
        let step = room.engine.controller.accept(request(body, target, 9).into()).expect("it is accepted");
        let crate::controller::Step::Dispatch(commands) = step else { panic!("it needs a shard") };
        room.engine.controller.withdraw(commands[0].1.token);
        assert_eq!(room.engine.controller.footprint(), before);
    }
}

#[test]
fn a_failed_shard_closes_its_objects_answers_what_was_in_flight_and_gets_no_more() {
    let mut room = Room::new();
    let home = ObjectId::from_u64(room.router).shard();
    let producer = room.produce(1);
    room.consume(producer);
    room.engine.submit(&encode::request(1, producer, Body::GetStats(Box::default()))).expect("accepted");
    room.engine.submit(&encode::request(2, 0, Body::GetDump(Box::default()))).expect("accepted");
    room.engine.fail_shard(home);
    let messages = room.engine.messages();
    assert_eq!(replies(&messages), vec![(1, fb::Code::closed)]);
    let closed = closings(&messages);
    assert_eq!(closed.len(), 5, "router, two transports, producer, consumer");
    assert_eq!(closed[0].0, room.router, "the parent is told first");
    assert!(closed.iter().all(|(_, reason)| *reason == fb::CloseReason::shard_failed));
    // The other shard still answers its part; a late reply of the failed one changes nothing.
    room.engine.run();
    assert_eq!(replies(&room.engine.messages()), vec![(2, fb::Code::closed)]);
    for _ in 0..4 {
        let Ok(Reply::Created(router)) = room.call(0, create_router(&usual_codecs())) else { panic!("no router") };
        assert_ne!(ObjectId::from_u64(router.id).shard(), home);
        room.close(router.id).expect("it can be closed");
    }
    let body = Body::CreateRouter(Box::new(fb::CreateRouterT { media_codecs: None, shard: Some(home) }));
    assert_eq!(refusal(room.call(0, body)), (ErrorCode::Closed, "shard".to_owned()));
    assert_eq!(room.engine.controller.footprint(), 0);
}

#[test]
fn all_that_is_in_flight_is_answered_when_the_engine_ends() {
    let mut room = Room::new();
    for id in 0..10 {
        room.engine.submit(&encode::request(id, room.router, Body::GetStats(Box::default()))).expect("accepted");
    }
    room.engine.submit(&encode::request(10, 0, Body::GetStats(Box::default()))).expect("accepted");
    let closed = CommandError::new(ErrorCode::Closed, "", "over");
    let mut ready = std::mem::take(&mut room.engine.ready);
    room.engine.controller.fail_all(&closed, &mut ready);
    room.engine.ready = ready;
    let mut answered = replies(&room.engine.messages());
    answered.sort_unstable_by_key(|(id, _)| *id);
    assert_eq!(answered, (0..=10).map(|id| (id, fb::Code::closed)).collect::<Vec<_>>());
    assert_eq!(room.engine.owed(), 0);
}

#[test]
fn dumps_and_stats_of_every_object_carry_what_the_control_floor_knows() {
    let mut room = Room::new();
    let producer = room.produce(1);
    let consumer = room.consume(producer);
    let dump = |room: &mut Room, id| room.call(id, Body::GetDump(Box::default())).expect("it can be dumped");
    match dump(&mut room, 0) {
        Reply::EngineDump(d) => {
            let shards = d.shards.expect("there are shards");
            assert_eq!(shards.iter().map(|s| (s.index, s.cpu)).collect::<Vec<_>>(), vec![(0, 0), (1, 1)]);
            assert_eq!(d.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
        }
        other => panic!("{other:?}"),
    }
    let router = room.router;
    match dump(&mut room, router) {
        Reply::RouterDump(d) => {
            let capabilities = convert::capabilities_from(*d.rtp_capabilities.expect("they are known"), "");
            assert_eq!(capabilities, Ok(room.capabilities.clone()));
            assert_eq!((d.producers, d.consumers), (Some(vec![producer]), Some(vec![consumer])));
        }
        other => panic!("{other:?}"),
    }
    match dump(&mut room, producer) {
        Reply::ProducerDump(d) => {
            assert!(d.rtp_parameters.is_some() && d.consumable_rtp_parameters.is_some());
            assert_eq!(d.consumers, Some(vec![consumer]));
        }
        other => panic!("{other:?}"),
    }
    match dump(&mut room, consumer) {
        Reply::ConsumerDump(d) => {
            let encodings = d.rtp_parameters.and_then(|p| p.encodings).expect("they are known");
            assert_eq!(encodings[0].ssrc, Some(d.ssrc));
            assert!(
                d.payload_types.is_some_and(|list| !list.is_empty()) && d.trace.is_some_and(|kinds| kinds.is_empty())
            );
            assert!(d.header_extensions.is_some_and(|list| list.iter().all(|e| !e.uri.is_empty() && e.id > 0)));
            assert_eq!((d.pending_producer, d.decision_rows), (0, 0));
        }
        other => panic!("{other:?}"),
    }
    for (transport, received, sent) in [(room.publishing, 1, 0), (room.subscribing, 0, 1)] {
        match dump(&mut room, transport) {
            Reply::WebRtcTransportDump(d) => {
                let streams = d.streams.expect("they are told");
                let ssrcs = streams.received.unwrap_or_default();
                assert!(ssrcs.len() >= received && ssrcs.iter().all(|r| r.producer == producer && r.signalled));
                assert_eq!(streams.lines.expect("lines").len(), received);
                let of_consumer = streams.sent.unwrap_or_default();
                assert!(of_consumer.len() >= sent && of_consumer.iter().all(|s| s.consumer == consumer));
                assert!(streams.tap.is_none() && streams.learned_ssrcs_limit > 0);
            }
            other => panic!("{other:?}"),
        }
    }
    for id in [0, room.router, room.publishing, producer, consumer] {
        match room.call(id, Body::GetStats(Box::default())) {
            Ok(Reply::StatsReport(report)) => assert_eq!(report.target, id),
            other => panic!("{other:?}"),
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Router,
    Transport(usize),
    Produce(usize),
    Consume(usize, usize),
    Close(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        1 => Just(Act::Router),
        3 => any::<usize>().prop_map(Act::Transport),
        4 => any::<usize>().prop_map(Act::Produce),
        6 => any::<(usize, usize)>().prop_map(|(a, b)| Act::Consume(a, b)),
        3 => any::<usize>().prop_map(Act::Close),
    ];
    proptest::collection::vec(act, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// The registry holds what the shards hold, whatever came and went.
    #[test]
    fn the_registry_forgets_exactly_what_is_closed(acts in acts()) {
        let mut room = Room::new();
        let (mut routers, mut transports, mut producers) = (vec![room.router], vec![room.publishing], Vec::new());
        let mut all = vec![room.router, room.publishing, room.subscribing];
        let pick = |list: &[u64], i: usize| list[i % list.len()];
        for (ssrc, act) in acts.into_iter().enumerate() {
            let reply = match act {
                Act::Router => room.call(0, create_router(&usual_codecs())),
                Act::Transport(i) => {
                    let body = Body::CreateWebRtcTransport(Box::new(create_transport()));
                    room.call(pick(&routers, i), body)
                }
                Act::Produce(i) => {
                    let body = Body::Produce(Box::new(produce(&video(1000 + ssrc as u32, &ssrc.to_string()))));
                    room.call(pick(&transports, i), body)
                }
                Act::Consume(_, _) if producers.is_empty() => continue,
                Act::Consume(i, k) => {
                    let body = Body::Consume(Box::new(consume(pick(&producers, k), &room.capabilities)));
                    room.call(pick(&transports, i), body)
                }
                Act::Close(i) => room.close(pick(&all, i)),
            };
            match reply {
                Ok(Reply::Created(b)) => { routers.push(b.id); all.push(b.id); }
                Ok(Reply::WebRtcTransportCreated(b)) => { transports.push(b.id); all.push(b.id); }
                Ok(Reply::ProducerCreated(b)) => { producers.push(b.id); all.push(b.id); }
                Ok(Reply::ConsumerCreated(b)) => all.push(b.id),
                Ok(_) => {}
                Err(e) => prop_assert!(matches!(e.code, ErrorCode::NotFound | ErrorCode::InvalidArgument), "{e}"),
            }
        }
        for id in routers {
            let _ = room.close(id);
        }
        prop_assert_eq!(room.engine.controller.footprint(), 0);
        for id in all {
            prop_assert_eq!(code(room.close(id)), Some(ErrorCode::NotFound));
        }
    }
}
