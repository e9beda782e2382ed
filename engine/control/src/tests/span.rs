//! Rooms on several shards, as a caller sees them: one router, one id.

use sfu_core::command::ErrorCode;
use sfu_wire::id::ObjectId;

use super::room::{Room, consume, create_router, create_transport, produce, refusal, usual_codecs, video};
use crate::controller::TOGETHER;
use crate::encode;
use crate::ortc::{self, MediaKind, convert};
use crate::schema as fb;
use crate::schema::{ReplyBodyT as Reply, RequestBodyT as Body};

fn shard_of(id: u64) -> u8 {
    ObjectId::from_u64(id).shard()
}

impl Room {
    fn transport_on(&mut self, shard: u8) -> u64 {
        let body = fb::CreateWebRtcTransportT { shard: Some(shard), ..create_transport() };
        match self.call(self.router, Body::CreateWebRtcTransport(Box::new(body))) {
            Ok(Reply::WebRtcTransportCreated(created)) => {
                assert_eq!(shard_of(created.id), shard);
                created.id
            }
            other => panic!("no transport: {other:?}"),
        }
    }

    fn direct_on(&mut self, shard: Option<u8>) -> u64 {
        let body = fb::CreateDirectTransportT { shard, ..Default::default() };
        match self.call(self.router, Body::CreateDirectTransport(Box::new(body))) {
            Ok(Reply::Created(created)) => created.id,
            other => panic!("no transport: {other:?}"),
        }
    }

    fn consume_on(&mut self, transport: u64, producer: u64) -> u64 {
        let body = Body::Consume(Box::new(consume(producer, &self.capabilities)));
        match self.call(transport, body) {
            Ok(Reply::ConsumerCreated(created)) => created.id,
            other => panic!("no consumer: {other:?}"),
        }
    }

    fn pipe_on(&mut self, shard: u8) -> u64 {
        let listen_info = Some(Box::new(fb::ListenInfoT { ip: "127.0.0.1".to_owned(), ..Default::default() }));
        let body = fb::CreatePipeTransportT { listen_info, shard: Some(shard), ..Default::default() };
        match self.call(self.router, Body::CreatePipeTransport(Box::new(body))) {
            Ok(Reply::PipeTransportCreated(created)) => created.id,
            other => panic!("no transport: {other:?}"),
        }
    }

    /// What was told to be closed since the last call.
    fn closed(&mut self) -> Vec<(u64, fb::CloseReason)> {
        let told = |content| match content {
            fb::ContentT::Event(event) => match event.body {
                fb::EventBodyT::ObjectClosed(closed) => Some((event.source, closed.reason)),
                _ => None,
            },
            _ => None,
        };
        self.engine.messages().into_iter().filter_map(told).collect()
    }

    /// A request whose events are kept.
    fn tell(&mut self, target: u64, body: Body) {
        self.engine.submit(&encode::request(7, target, body)).expect("accepted");
        self.engine.run();
    }

    fn away(&self) -> u8 {
        1 - shard_of(self.router)
    }
}

fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort_unstable();
    all
}

#[test]
fn a_pipe_on_another_shard_carries_producers_of_the_whole_room() {
    let mut room = Room::new();
    let pipe = room.pipe_on(room.away());
    let producer = room.produce(1);
    let consumer = room.consume_on(pipe, producer);
    assert_eq!(shard_of(consumer), room.away());
    match room.call(consumer, Body::GetDump(Box::default())) {
        Ok(Reply::ConsumerDump(dump)) => assert_eq!(dump.producer, producer),
        other => panic!("no dump: {other:?}"),
    }
}

#[test]
fn a_caller_sees_one_router_wherever_its_transports_are() {
    let mut room = Room::new();
    let far = room.transport_on(room.away());
    let (near, producer) = (room.publishing, room.produce(1));
    let body = Body::Produce(Box::new(produce(&video(9, "x"))));
    let Ok(Reply::ProducerCreated(distant)) = room.call(far, body) else { panic!("no producer") };
    let (here, there) = (room.consume(distant.id), room.consume_on(far, producer));
    assert_eq!((shard_of(here), shard_of(there)), (shard_of(room.router), room.away()));

    let Ok(Reply::RouterDump(dump)) = room.call(room.router, Body::GetDump(Box::default())) else { panic!("no dump") };
    assert_eq!(sorted(dump.transports.unwrap()), sorted(vec![near, room.subscribing, far]));
    assert_eq!(sorted(dump.producers.unwrap()), sorted(vec![producer, distant.id]));
    assert_eq!(sorted(dump.consumers.unwrap()), sorted(vec![here, there]));
    let links: Vec<_> = dump.consumers_of.unwrap().into_iter().map(|l| (l.id, l.linked.unwrap())).collect();
    assert_eq!(sorted(links), sorted(vec![(producer, vec![there]), (distant.id, vec![here])]));

    let Ok(Reply::WebRtcTransportDump(dump)) = room.call(far, Body::GetDump(Box::default())) else { panic!("none") };
    assert_eq!(dump.router, room.router);
    let Ok(Reply::ConsumerDump(dump)) = room.call(there, Body::GetDump(Box::default())) else { panic!("none") };
    assert_eq!(dump.producer, producer);
    let Ok(Reply::ProducerDump(dump)) = room.call(producer, Body::GetDump(Box::default())) else { panic!("none") };
    assert_eq!(dump.consumers.unwrap(), [there]);

    for summary in [false, true] {
        let body = Body::GetStats(Box::new(fb::GetStatsT { summary }));
        let Ok(Reply::StatsReport(report)) = room.call(room.router, body) else { panic!("no stats") };
        assert_eq!(report.target, room.router);
        let transports = report.counters.unwrap().into_iter().find(|c| c.name == "transports").expect("counted");
        assert_eq!(transports.value, 3, "of both shards");
        assert_eq!(report.streams.unwrap().len(), if summary { 0 } else { 4 });
    }

    room.tell(room.router, Body::Close(Box::default()));
    let told = room.closed();
    let gone = sorted(told.iter().map(|(object, _)| *object).collect());
    assert_eq!(gone, sorted(vec![near, room.subscribing, far, producer, distant.id, here, there]), "each once");
    assert_eq!(room.engine.controller.footprint(), 0);
    room.engine.check_empty();
}

#[test]
fn a_room_stays_together_until_it_is_large_and_goes_then_where_most_room_is() {
    let mut room = Room::new();
    let home = shard_of(room.router);
    for _ in 2..TOGETHER {
        let transport = room.direct_on(None);
        assert_eq!(shard_of(transport), home);
    }
    // All at once: what is under way counts.
    for id in 0..TOGETHER as u64 {
        let body = Body::CreateDirectTransport(Box::default());
        room.engine.submit(&encode::request(id, room.router, body)).expect("accepted");
    }
    room.engine.run();
    let mut counts = [0; 2];
    for content in room.engine.messages() {
        if let fb::ContentT::Reply(reply) = content
            && let Reply::Created(created) = reply.body
        {
            counts[usize::from(shard_of(created.id))] += 1;
        }
    }
    assert!(counts[usize::from(1 - home)] >= TOGETHER - 2, "{counts:?}");
    let other = room.direct_on(Some(home));
    assert_eq!(shard_of(other), home, "where the caller wants it");
    let body = fb::CreateDirectTransportT { shard: Some(9), ..Default::default() };
    let refused = refusal(room.call(room.router, Body::CreateDirectTransport(Box::new(body))));
    assert_eq!(refused, (ErrorCode::InvalidArgument, "shard".to_owned()));
    room.close(room.router).expect("closes");
    assert_eq!(room.engine.controller.footprint(), 0);
    room.engine.check_empty();
}

#[test]
fn b10_of_a_room_on_two_shards_what_the_failed_one_had_is_told_by_the_engine_and_the_rest_by_its_shard() {
    // The branch's shard fails.
    let mut room = Room::new();
    let far = room.transport_on(room.away());
    let producer = room.produce(1);
    let there = room.consume_on(far, producer);
    let here = room.consume(producer);
    room.engine.fail_shard(room.away());
    let failed = |id| (id, fb::CloseReason::shard_failed);
    assert_eq!(
        sorted(room.closed().into_iter().map(|(o, r)| (o, r.0)).collect()),
        sorted(vec![(far, failed(far).1.0), (there, failed(there).1.0)])
    );
    assert!(room.call(here, Body::GetDump(Box::default())).is_ok());
    room.close(room.router).expect("closes");
    assert_eq!(room.engine.controller.footprint(), 0);

    // The home's shard fails.
    let mut room = Room::new();
    let far = room.transport_on(room.away());
    let producer = room.produce(1);
    let there = room.consume_on(far, producer);
    room.engine.fail_shard(shard_of(room.router));
    let told = room.closed();
    for object in [room.router, room.publishing, room.subscribing, producer, far] {
        assert_eq!(told.iter().filter(|told| **told == failed(object)).count(), 1, "{told:?}");
    }
    assert_eq!(told.iter().filter(|(object, _)| *object == there).count(), 1, "{told:?}");
    assert_eq!(told.len(), 6);
    assert_eq!(room.engine.controller.footprint(), 0);
}

#[test]
fn sources_and_observers_reach_across_shards() {
    let mut room = Room::new();
    let far = room.transport_on(room.away());
    let producer = room.produce(1);
    let body = Body::Produce(Box::new(produce(&video(9, "x"))));
    let Ok(Reply::ProducerCreated(distant)) = room.call(far, body) else { panic!("no producer") };
    let consumer = room.consume(producer);
    for source in [distant.id, producer, distant.id] {
        let body = Body::SwitchProducer(Box::new(fb::SwitchProducerT { producer: source }));
        assert!(matches!(room.call(consumer, body), Ok(Reply::ProducerSwitched(_))));
    }
    let audio = ortc::RtpParameters {
        mid: Some("a".to_owned()),
        codecs: vec![ortc::RtpCodecParameters {
            mime_type: "audio/opus".to_owned(),
            payload_type: 111,
            clock_rate: 48_000,
            channels: Some(2),
            parameters: ortc::Parameters::new(),
            rtcp_feedback: Vec::new(),
        }],
        encodings: vec![ortc::RtpEncodingParameters { ssrc: Some(55), ..Default::default() }],
        ..Default::default()
    };
    let body = fb::ProduceT { kind: convert::kind_to(MediaKind::Audio), ..produce(&audio) };
    let Ok(Reply::ProducerCreated(voice)) = room.call(far, Body::Produce(Box::new(body))) else { panic!("none") };
    let body = Body::CreateActiveSpeakerObserver(Box::default());
    let Ok(Reply::Created(observer)) = room.call(room.router, body) else { panic!("no observer") };
    let observe = |producer| Body::Observe(Box::new(fb::ObserveT { producer }));
    assert!(room.call(observer.id, observe(voice.id)).is_ok());
    assert_eq!(refusal(room.call(observer.id, observe(distant.id))).1, "producer", "it is video");
    let Ok(Reply::ObserverDump(dump)) = room.call(observer.id, Body::GetDump(Box::default())) else { panic!("none") };
    assert_eq!(dump.producers.unwrap(), [voice.id]);
    // A producer of another room is none of this one, on whichever shard it is.
    let Ok(Reply::Created(other)) = room.call(0, create_router(&usual_codecs())) else { panic!("no router") };
    let body = fb::CreateDirectTransportT { shard: Some(room.away()), ..Default::default() };
    let made = room.call(other.id, Body::CreateDirectTransport(Box::new(body)));
    let Ok(Reply::Created(stranger)) = made else { panic!("no transport") };
    let body = fb::ProduceT { kind: convert::kind_to(MediaKind::Audio), ..produce(&audio) };
    let Ok(Reply::ProducerCreated(foreign)) = room.call(stranger.id, Body::Produce(Box::new(body))) else { panic!() };
    assert_eq!(refusal(room.call(observer.id, observe(foreign.id))).1, "producer");
    let body = Body::Unobserve(Box::new(fb::UnobserveT { producer: voice.id }));
    assert!(room.call(observer.id, body).is_ok());
    for router in [room.router, other.id] {
        room.close(router).expect("closes");
    }
    assert_eq!(room.engine.controller.footprint(), 0);
    room.engine.check_empty();
}
