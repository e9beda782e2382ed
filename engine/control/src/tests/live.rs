//! The engine handle and the client over a running engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use sfu_core::command::ErrorCode;

use super::room::{usual_codecs, video};
use crate::client::{Client, ConsumeOptions, Event, Listen, ListenInfo, ProduceOptions, WebRtcTransportOptions};
use crate::ortc::MediaKind;
use crate::schema as fb;
use crate::{Engine, EngineOptions, decode, encode};

fn engine(command_queue: u32) -> Engine {
    let options = EngineOptions { shards: 1, unpinned: true, command_queue, ..EngineOptions::default() };
    Engine::with_options(&options).expect("an engine starts here")
}

fn own() -> WebRtcTransportOptions {
    WebRtcTransportOptions::new(Listen::Own(vec![ListenInfo::udp("127.0.0.1")]))
}

#[test]
fn a_client_makes_a_room_and_hears_of_what_closes() {
    let (client, events) = Client::start(engine(64));
    let router = client.create_router(&usual_codecs()).wait().expect("a router");
    let publishing = client.create_webrtc_transport(router.id, &own()).wait().expect("a transport");
    let subscribing = client.create_webrtc_transport(router.id, &own()).wait().expect("a transport");
    assert_eq!(publishing.ice_candidates[0].ip, "127.0.0.1");
    assert_ne!(publishing.ice_candidates[0].port, subscribing.ice_candidates[0].port);
    assert!(!publishing.dtls_parameters.fingerprints.is_empty());
    let options = ProduceOptions::new(MediaKind::Video, video(5, "0"));
    let producer = client.produce(publishing.id, &options).wait().expect("a producer");
    assert_eq!(producer.r#type, "simple");
    let capabilities = router.rtp_capabilities.clone();
    assert_eq!(client.can_consume(router.id, producer.id, &capabilities).wait(), Ok(true));
    let options = ConsumeOptions { paused: true, ..ConsumeOptions::new(producer.id, capabilities) };
    let consumer = client.consume(subscribing.id, &options).wait().expect("a consumer");
    assert_eq!(consumer.rtp_parameters.mid.as_deref(), Some("0"));
    client.pause(producer.id).wait().expect("it can be paused");
    client.close(publishing.id).wait().expect("it can be closed");
    let mut seen = Vec::new();
    while let Ok(event) = events.recv_timeout(Duration::from_secs(5)) {
        seen.push(event);
        if seen.iter().filter(|e| matches!(e, Event::Closed { .. })).count() == 2 {
            break;
        }
    }
    assert!(seen.contains(&Event::ProducerPaused { consumer: consumer.id }), "{seen:?}");
    assert!(seen.contains(&Event::Closed { object: producer.id, reason: fb::CloseReason::transport_closed }));
    assert!(seen.iter().any(|e| matches!(e, Event::Closed { object, .. } if *object == consumer.id)), "{seen:?}");
    let error = client.pause(producer.id).wait().expect_err("it is gone");
    assert_eq!((error.code, error.field.as_str()), (ErrorCode::NotFound, "target"));
    assert_eq!(client.request(0, fb::RequestBodyT::NONE).wait().expect_err("no body").code, ErrorCode::Malformed);
    client.shutdown();
    assert_eq!(client.close(router.id).wait().expect_err("it is over").code, ErrorCode::Closed);
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_call_is_a_future_that_wakes_whoever_polled_it() {
    let (client, _events) = Client::start(engine(64));
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    let mut call = std::pin::pin!(client.create_router(&[]));
    let first = call.as_mut().poll(&mut Context::from_waker(&waker));
    if first.is_pending() {
        // The answers of a later call come after that of an earlier one.
        client.stats(0).wait().expect("the engine has statistics");
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(matches!(call.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(Ok(_))));
    }
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            std::thread::spawn(move || (0..50).all(|_| client.stats(0).wait().is_ok()))
        })
        .collect();
    assert!(threads.into_iter().all(|t| t.join().expect("no thread panics")));
}

#[test]
fn row_076_empty_inputs_and_buffers_are_refused_or_harmless() {
    let engine = engine(64);
    assert_eq!(engine.submit(&[]).expect_err("no message").code, ErrorCode::Malformed);
    let idle = engine.poll(&mut []).expect("nothing waits");
    assert_eq!((idle.written, idle.needed), (0, 0));
    let ask = encode::request(1, 0, fb::RequestBodyT::GetSupportedCapabilities(Box::default()));
    engine.submit(&ask).expect("it is accepted");
    assert!(engine.wait(Some(Duration::from_secs(5))));
    let small = engine.poll(&mut []).expect("a message waits");
    assert!(small.written == 0 && small.needed > 0);
    assert_eq!(engine.poll(&mut vec![0; small.needed - 1]), Ok(small));
    assert!(engine.wait(Some(Duration::ZERO)), "it still waits");
    let mut buffer = vec![0; small.needed];
    let fits = engine.poll(&mut buffer).expect("it fits");
    assert_eq!((fits.written, fits.needed), (small.needed, 0));
    assert_eq!(decode::messages(&buffer).filter(Result::is_ok).count(), 1);
}

#[test]
fn row_081_commands_get_busy_while_nobody_polls_and_all_accepted_are_answered() {
    let engine = engine(8);
    let mut accepted = Vec::new();
    for id in 0..2_000 {
        // Every second one needs no shard.
        let body = if id % 2 == 0 {
            fb::RequestBodyT::GetStats(Box::default())
        } else {
            fb::RequestBodyT::GetSupportedCapabilities(Box::default())
        };
        match engine.submit(&encode::request(id, 0, body)) {
            Ok(()) => accepted.push(id),
            Err(error) => assert_eq!(error.code, ErrorCode::Busy),
        }
    }
    assert!(accepted.len() < 1_000, "{} were accepted", accepted.len());
    let mut answered = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    while answered.len() < accepted.len() {
        assert!(engine.wait(Some(Duration::from_secs(5))), "{} of {}", answered.len(), accepted.len());
        let outcome = engine.poll(&mut buffer).expect("it runs");
        for message in decode::messages(&buffer[..outcome.written]) {
            if let Ok(fb::ContentT::Reply(reply)) = message {
                assert_eq!(reply.code, fb::Code::ok);
                answered.push(reply.id);
            }
        }
    }
    answered.sort_unstable();
    assert_eq!(answered, accepted);
    engine.submit(&encode::request(9_999, 0, fb::RequestBodyT::GetStats(Box::default()))).expect("there is room again");
}

#[test]
fn after_shutdown_the_last_answers_can_be_polled_and_then_all_is_closed() {
    let engine = engine(64);
    for id in 0..10 {
        engine.submit(&encode::request(id, 0, fb::RequestBodyT::GetStats(Box::default()))).expect("it runs");
    }
    engine.shutdown(Duration::from_secs(5)).expect("it ends");
    engine.shutdown(Duration::from_secs(5)).expect("twice is no error");
    let mut buffer = vec![0; 1 << 20];
    let mut answers = 0;
    while let Ok(outcome) = engine.poll(&mut buffer) {
        answers += decode::messages(&buffer[..outcome.written]).filter(Result::is_ok).count();
    }
    assert_eq!(answers, 10);
    let error = engine.submit(&encode::request(1, 0, fb::RequestBodyT::GetStats(Box::default())));
    assert_eq!(error.expect_err("it is over").code, ErrorCode::Closed);
}

#[test]
fn the_engine_tells_of_each_shards_thread_and_doors() {
    let options = EngineOptions { shards: 2, unpinned: true, command_queue: 64, ..EngineOptions::default() };
    let (client, _events) = Client::start(Engine::with_options(&options).expect("an engine starts here"));
    let report = client.stats(0).wait().expect("statistics");
    let mut shards = report.shards.expect("each shard");
    shards.sort_by_key(|s| s.index);
    assert_eq!(shards.iter().map(|s| s.index).collect::<Vec<_>>(), [0, 1]);
    for shard in &shards {
        let named = |name: &str| shard.counters.iter().flatten().find(|c| c.name == name).map(|c| c.value);
        assert_eq!((named("mailbox_capacity"), named("mailbox_in_flight")), (Some(64), Some(1)));
        assert!(named("thread_max_rss_kib") > Some(0) && named("turns") > Some(0), "{shard:?}");
    }
    let summed = report.counters.expect("counters");
    assert!(summed.iter().all(|c| !c.name.starts_with("thread_")), "they do not add up");
    assert!(summed.iter().any(|c| c.name == "mailbox_capacity" && c.value == 128));
}
