//! Layers, scores and codecs of a room through the whole command path, and what the engine says of them.

use sfu_core::command::{EncodingScore, ErrorCode, Event};
use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::media::Rid;
use sfu_wire::scalability::Layers;

use super::room::{Room, codec, consume, produce, refusal, usual_codecs, video};
use crate::ortc::{self, MediaKind, RtpParameters, convert};
use crate::schema as fb;
use crate::schema::{EventBodyT, ReplyBodyT as Reply, RequestBodyT as Body};
use crate::{decode, encode};

/// Three encodings known by SSRC.
fn simulcast(first: u32) -> RtpParameters {
    let mut parameters = video(first, &first.to_string());
    parameters.encodings = (first..first + 3)
        .map(|ssrc| ortc::RtpEncodingParameters {
            ssrc: Some(ssrc),
            scalability_mode: Some("L1T3".to_owned()),
            ..Default::default()
        })
        .collect();
    parameters
}

#[test]
fn types_and_layers_are_told_to_both_sides() {
    let mut room = Room::new();
    let made = room.call(room.publishing, Body::Produce(Box::new(produce(&simulcast(10)))));
    let Ok(Reply::ProducerCreated(producer)) = made else { panic!("no producer: {made:?}") };
    assert_eq!(producer.type_, fb::ProducerType::simulcast);
    let wish = fb::ConsumeT { priority: 200, ..consume(producer.id, &room.capabilities) };
    let made = room.call(room.subscribing, Body::Consume(Box::new(wish)));
    let Ok(Reply::ConsumerCreated(consumer)) = made else { panic!("no consumer: {made:?}") };
    assert_eq!((consumer.type_, consumer.kind), (fb::ProducerType::simulcast, fb::MediaKind::video));
    let encodings = consumer.rtp_parameters.and_then(|p| p.encodings).unwrap_or_default();
    assert_eq!(encodings.len(), 1);
    assert_eq!(encodings[0].scalability_mode.as_deref(), Some("L3T3"));
    let dump = room.call(consumer.id, Body::GetDump(Box::default()));
    let Ok(Reply::ConsumerDump(dump)) = dump else { panic!("no dump: {dump:?}") };
    assert_eq!((dump.type_, dump.priority), (fb::ProducerType::simulcast, 200));
    let dump = room.call(producer.id, Body::GetDump(Box::default()));
    let Ok(Reply::ProducerDump(dump)) = dump else { panic!("no dump: {dump:?}") };
    assert_eq!(
        (dump.type_, dump.rtp_parameters.and_then(|p| p.encodings).map(|e| e.len())),
        (fb::ProducerType::simulcast, Some(3))
    );
}

#[test]
fn row_078_priorities_of_zero_are_refused_by_the_field_and_others_are_taken() {
    let mut room = Room::new();
    let producer = room.produce(1);
    let consumer = room.consume(producer);
    let mut set = |target, priority| room.call(target, Body::SetPriority(Box::new(fb::SetPriorityT { priority })));
    assert_eq!(refusal(set(consumer, 0)), (ErrorCode::InvalidArgument, "priority".to_owned()));
    assert_eq!(refusal(set(producer, 1)), (ErrorCode::InvalidArgument, "target".to_owned()));
    for priority in [1, 255] {
        assert!(matches!(set(consumer, priority), Ok(Reply::Done(_))));
    }
}

#[test]
fn a_switch_to_what_the_peer_cannot_follow_is_refused_by_the_field() {
    let mut room = Room::new();
    let producer = room.produce(1);
    let consumer = room.consume(producer);
    let switch = |room: &mut Room, target, producer| {
        refusal(room.call(target, Body::SwitchProducer(Box::new(fb::SwitchProducerT { producer }))))
    };
    assert_eq!(switch(&mut room, producer, producer), (ErrorCode::InvalidArgument, "target".to_owned()));
    assert_eq!(switch(&mut room, consumer, 0), (ErrorCode::NotFound, "producer".to_owned()));
    assert_eq!(switch(&mut room, consumer, consumer), (ErrorCode::InvalidArgument, "producer".to_owned()));
    let mut sound = video(7, "sound");
    sound.codecs[0].mime_type = "audio/opus".to_owned();
    (sound.codecs[0].clock_rate, sound.codecs[0].channels) = (48_000, Some(2));
    let body = fb::ProduceT { kind: fb::MediaKind::audio, ..produce(&sound) };
    let made = room.call(room.publishing, Body::Produce(Box::new(body)));
    let Ok(Reply::ProducerCreated(audio)) = made else { panic!("no producer: {made:?}") };
    assert_eq!(switch(&mut room, consumer, audio.id), (ErrorCode::InvalidArgument, "producer".to_owned()));
}

#[test]
fn a_router_given_other_codecs_serves_them_and_keeps_what_is_produced() {
    let mut room = Room::new();
    let producer = room.produce(1);
    let mut codecs = usual_codecs();
    codecs[1] = codec(MediaKind::Video, "video/AV1", 90_000, None);
    let update = |codecs: &[ortc::RtpCodecCapability]| {
        let media_codecs = Some(codecs.iter().map(convert::codec_capability_to).collect());
        Body::UpdateMediaCodecs(Box::new(fb::UpdateMediaCodecsT { media_codecs }))
    };
    let reply = room.call(room.router, update(&codecs));
    let Ok(Reply::RouterCapabilities(told)) = reply else { panic!("no capabilities: {reply:?}") };
    let asked = room.call(room.router, Body::GetRouterCapabilities(Box::default()));
    assert_eq!(asked, Ok(Reply::RouterCapabilities(told.clone())));
    // What was consumable stays so for those who know it.
    room.consume(producer);
    let refused = refusal(room.call(room.publishing, Body::Produce(Box::new(produce(&video(2, "2"))))));
    assert_eq!(refused, (ErrorCode::Unsupported, "rtp_parameters.codecs[0]".to_owned()));
    let mut av1 = video(3, "3");
    av1.codecs[0].mime_type = "video/AV1".to_owned();
    assert!(room.call(room.publishing, Body::Produce(Box::new(produce(&av1)))).is_ok());
    codecs[1].mime_type = "video/theora".to_owned();
    let refused = refusal(room.call(room.router, update(&codecs)));
    assert_eq!(refused, (ErrorCode::Unsupported, "media_codecs[1].mime_type".to_owned()));
    assert_eq!(
        room.call(room.router, Body::GetRouterCapabilities(Box::default())),
        Ok(Reply::RouterCapabilities(told))
    );
}

#[test]
fn a_consumer_follows_another_producer_and_stays_with_the_first_if_that_one_goes() {
    let mut room = Room::new();
    let (first, second) = (room.produce(1), room.produce(2));
    let before = room.try_consume(first).expect("it can be consumed");
    let consumer = before.id;
    let layers = Some(Box::new(fb::LayersT { spatial: 1, temporal: None }));
    let set = room.call(consumer, Body::SetPreferredLayers(Box::new(fb::SetPreferredLayersT { layers })));
    assert!(matches!(set, Ok(Reply::Done(_))), "{set:?}");
    let switched = room.call(consumer, Body::SwitchProducer(Box::new(fb::SwitchProducerT { producer: second })));
    let Ok(Reply::ProducerSwitched(switched)) = switched else { panic!("no switch: {switched:?}") };
    assert_eq!(switched.rtp_parameters, before.rtp_parameters, "the peer need not be told");
    // No packet has come, so it still is with the first one: the other may go without it.
    room.close(second).expect("a producer can be closed");
    assert!(room.call(consumer, Body::GetDump(Box::default())).is_ok());
    room.close(first).expect("a producer can be closed");
    assert_eq!(refusal(room.call(consumer, Body::GetDump(Box::default()))), (ErrorCode::NotFound, "target".to_owned()));
}

/// What a caller polls of an event.
fn said(event: Event) -> (u64, EventBodyT) {
    let bytes = encode::shard_event(event);
    let mut messages: Vec<_> = decode::messages(&bytes).collect();
    match messages.remove(0).expect("we encode what we can decode") {
        fb::ContentT::Event(event) => (event.source, event.body),
        other => panic!("no event: {other:?}"),
    }
}

#[test]
fn each_event_about_layers_and_quality_says_all_it_knows() {
    let producer = ObjectId::new(1, ObjectKind::Producer, 0, 3);
    let consumer = ObjectId::new(1, ObjectKind::Consumer, 0, 4);
    let layers = |spatial, temporal| Some(Box::new(fb::LayersT { spatial, temporal: Some(temporal) }));
    let of_producer = |body| (producer.to_u64(), body);
    let of_consumer = |body| (consumer.to_u64(), body);
    for (now, then) in [(Some(Layers::new(2, 1)), layers(2, 1)), (None, None)] {
        let body = EventBodyT::LayersChanged(Box::new(fb::LayersChangedT { layers: then.clone() }));
        assert_eq!(said(Event::LayersChanged { consumer, layers: now }), of_consumer(body));
        let body = EventBodyT::WantedLayers(Box::new(fb::WantedLayersT { layers: then }));
        assert_eq!(said(Event::WantedLayers { producer, wanted: now }), of_producer(body));
    }
    let rid = Rid::new(b"r1").expect("a RID");
    let scores = vec![EncodingScore { encoding: 1, ssrc: 9, rid: Some(rid), score: 7 }];
    let one = fb::EncodingScoreT { encoding: 1, ssrc: 9, rid: Some("r1".to_owned()), score: 7 };
    let body = EventBodyT::ProducerScore(Box::new(fb::ProducerScoreT { scores: Some(vec![one]) }));
    assert_eq!(said(Event::ProducerScore { producer, scores }), of_producer(body));
    let (score, producer_score, producer_scores) = (9, 8, vec![10, 0]);
    let body = fb::ConsumerScoreT { score, producer_score, producer_scores: Some(producer_scores.clone()) };
    let event = Event::ConsumerScore { consumer, score, producer_score, producer_scores };
    assert_eq!(said(event), of_consumer(EventBodyT::ConsumerScore(Box::new(body))));
    let body = fb::VideoOrientationChangedT { camera: true, flip: false, rotation: 270 };
    let event = Event::VideoOrientation { producer, camera: true, flip: false, rotation: 270 };
    assert_eq!(said(event), of_producer(EventBodyT::VideoOrientationChanged(Box::new(body))));
}
