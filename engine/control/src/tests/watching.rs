//! Observers, traces and decision logs through the control floor.

use sfu_core::command::{ErrorCode, Event};
use sfu_core::trace::{Direction, Trace, Traced};
use sfu_wire::id::ObjectId;

use super::room::*;
use crate::schema as fb;
use crate::schema::{ReplyBodyT as Reply, RequestBodyT as Body};
use crate::{decode, encode};

fn observer(room: &mut Room) -> u64 {
    let body = Body::CreateAudioLevelObserver(Box::default());
    match room.call(room.router, body) {
        Ok(Reply::Created(created)) => created.id,
        other => panic!("expected an id, got {other:?}"),
    }
}

fn observe(producer: u64) -> Body {
    Body::Observe(Box::new(fb::ObserveT { producer }))
}

fn kinds(kinds: &[u8]) -> Body {
    let kinds = kinds.iter().map(|k| fb::TraceKind(*k)).collect();
    Body::SetTrace(Box::new(fb::SetTraceT { kinds: Some(kinds) }))
}

#[test]
fn an_observer_lives_from_its_reply_to_its_routers_closing() {
    let mut room = Room::new();
    let id = observer(&mut room);
    let speaker = room.call(room.router, Body::CreateActiveSpeakerObserver(Box::default()));
    assert!(matches!(speaker, Ok(Reply::Created(_))));
    room.call(id, Body::Pause(Box::default())).expect("it can be paused");
    let Ok(Reply::ObserverDump(dump)) = room.call(id, Body::GetDump(Box::default())) else { panic!("no dump") };
    let facts = (dump.id, dump.router, dump.type_, dump.paused, dump.max_entries, dump.threshold, dump.interval_ms);
    assert_eq!(facts, (id, room.router, fb::ObserverType::audio_level, true, 1, -80, 1_000));
    let Ok(Reply::RouterDump(dump)) = room.call(room.router, Body::GetDump(Box::default())) else { panic!("no dump") };
    assert_eq!(dump.observers.map(|all| all.len()), Some(2));
    room.close(room.router).expect("it can be closed");
    assert_eq!(refusal(room.call(id, Body::Resume(Box::default()))).0, ErrorCode::NotFound);
    assert_eq!(room.engine.controller.footprint(), 0);
}

#[test]
fn row_078_observers_and_traces_with_bad_values_name_the_field() {
    let mut room = Room::new();
    let (id, video) = (observer(&mut room), room.produce(1));
    let consumer = room.consume(video);
    let levels = |max_entries, threshold, interval_ms| {
        Body::CreateAudioLevelObserver(Box::new(fb::CreateAudioLevelObserverT { max_entries, threshold, interval_ms }))
    };
    let speaker = Body::CreateActiveSpeakerObserver(Box::new(fb::CreateActiveSpeakerObserverT { interval_ms: 99 }));
    let rows = Body::KeepDecisions(Box::new(fb::KeepDecisionsT { rows: 1_000_000 }));
    let (router, closed) = (room.router, ObjectId::from_u64(video + 7).to_u64());
    let cases = [
        (router, levels(0, -80, 1_000), ErrorCode::InvalidArgument, "max_entries"),
        (router, levels(1, 1, 1_000), ErrorCode::InvalidArgument, "threshold"),
        (router, levels(1, -128, 1_000), ErrorCode::InvalidArgument, "threshold"),
        (router, levels(1, -80, 0), ErrorCode::InvalidArgument, "interval_ms"),
        (router, levels(1, -80, u32::MAX), ErrorCode::InvalidArgument, "interval_ms"),
        (router, speaker, ErrorCode::InvalidArgument, "interval_ms"),
        (id, observe(video), ErrorCode::InvalidArgument, "producer"),
        (id, observe(closed), ErrorCode::NotFound, "producer"),
        (id, observe(router), ErrorCode::InvalidArgument, "producer"),
        (router, observe(video), ErrorCode::InvalidArgument, "target"),
        (video, kinds(&[0, 6]), ErrorCode::InvalidArgument, "kinds[1]"),
        (video, kinds(&[0; 7]), ErrorCode::InvalidArgument, "kinds"),
        (consumer, kinds(&[5]), ErrorCode::InvalidArgument, "kinds"),
        (router, kinds(&[0]), ErrorCode::InvalidArgument, "target"),
        (consumer, rows, ErrorCode::InvalidArgument, "rows"),
        (video, Body::GetDecisions(Box::default()), ErrorCode::InvalidArgument, "target"),
    ];
    for (target, body, code, field) in cases {
        let name = body.request_body_type();
        assert_eq!(refusal(room.call(target, body)), (code, field.to_owned()), "{name:?}");
    }
    for target in [video, consumer] {
        room.call(target, kinds(&[0, 1, 2, 3, 4])).expect("it can be traced");
    }
}

#[test]
fn decisions_are_off_until_they_are_asked_for() {
    let mut room = Room::new();
    let keep = |rows| Body::KeepDecisions(Box::new(fb::KeepDecisionsT { rows }));
    for rows in [0, 16] {
        room.call(room.subscribing, keep(rows)).expect("they can be kept");
        let Ok(Reply::Decisions(kept)) = room.call(room.subscribing, Body::GetDecisions(Box::default())) else {
            panic!("no decisions")
        };
        assert_eq!((kept.capacity, kept.rows), (rows, Some(Vec::new())));
    }
}

#[test]
fn what_observers_and_traces_tell_becomes_events_of_their_objects() {
    let (observer, producer) = (ObjectId::from_u64(7), ObjectId::from_u64(9));
    let trace = Trace { at_unix_nanos: 5, direction: Direction::In, what: Traced::Nack { ssrc: 3, packets: 2 } };
    let told = [
        Event::Volumes { observer, volumes: vec![sfu_core::observer::ProducerVolume { source: producer, dbov: -30 }] },
        Event::Silence { observer },
        Event::DominantSpeaker { observer, producer },
        Event::Trace { object: producer, trace },
    ];
    let bytes: Vec<u8> = told.into_iter().flat_map(encode::shard_event).collect();
    let events: Vec<fb::EventT> = decode::messages(&bytes)
        .map(|message| match message {
            Ok(fb::ContentT::Event(event)) => *event,
            other => panic!("expected an event, got {other:?}"),
        })
        .collect();
    assert_eq!(events.iter().map(|e| e.source).collect::<Vec<_>>(), [7, 7, 7, 9]);
    let fb::EventBodyT::AudioVolumes(volumes) = &events[0].body else { panic!("{events:?}") };
    assert_eq!(volumes.volumes, Some(vec![fb::AudioVolumeT { producer: 9, volume: -30 }]));
    assert!(matches!(events[1].body, fb::EventBodyT::AudioSilence(_)));
    assert!(matches!(&events[2].body, fb::EventBodyT::DominantSpeakerChanged(e) if e.producer == 9));
    let fb::EventBodyT::TraceEvent(trace) = &events[3].body else { panic!("{events:?}") };
    assert_eq!((trace.kind, trace.ssrc, trace.packets, trace.at_unix_ns), (fb::TraceKind::nack, 3, 2, 5));
}
