//! Producers piped from router to router, over running engines.

use sfu_core::command::ErrorCode;

use super::room::{usual_codecs, video};
use crate::client::{
    Client, ClientError, Id, Listen, ListenInfo, PipeToRouter, PipeTransportOptions, Piped, ProduceOptions,
    WebRtcTransportOptions,
};
use crate::ortc::{MediaKind, RtpEncodingParameters, RtpParameters};
use crate::schema as fb;
use crate::{Engine, EngineOptions};

/// Everything here takes milliseconds; this is for machines that do something else besides.
const LOOKS: u32 = 200_000;

fn engine() -> Client {
    let options = EngineOptions { shards: 1, unpinned: true, ..EngineOptions::default() };
    Client::start(Engine::with_options(&options).expect("an engine starts here")).0
}

fn router(client: &Client) -> Id {
    client.create_router(&usual_codecs()).wait().expect("a router").id
}

fn simulcast() -> RtpParameters {
    let encoding = |ssrc| RtpEncodingParameters { ssrc: Some(ssrc), ..RtpEncodingParameters::default() };
    RtpParameters { encodings: [5, 6, 7].map(encoding).to_vec(), ..video(5, "0") }
}

/// A producer of three encodings in a router.
fn produce(client: &Client, router: Id) -> Id {
    let listen = Listen::Own(vec![ListenInfo::udp("127.0.0.1")]);
    let transport = client.create_webrtc_transport(router, &WebRtcTransportOptions::new(listen)).wait();
    let options = ProduceOptions { opaque_payload: true, ..ProduceOptions::new(MediaKind::Video, simulcast()) };
    client.produce(transport.expect("a transport").id, &options).wait().expect("a producer").id
}

fn pipe(client: &Client, producer: Id, from: Id, to: Id) -> Result<Piped, ClientError> {
    client.pipe_to_router(&PipeToRouter::new(producer, from, to))
}

fn dump(client: &Client, producer: Id) -> Option<fb::ProducerDumpT> {
    match client.dump(producer).wait() {
        Ok(fb::ReplyBodyT::ProducerDump(dump)) => Some(*dump),
        Ok(other) => panic!("another dump: {other:?}"),
        Err(error) => {
            assert_eq!(error.code, ErrorCode::NotFound);
            None
        }
    }
}

/// Looks until it is so: what follows an event follows it in time.
fn until(what: &str, mut look: impl FnMut() -> bool) {
    let seen = (0..LOOKS).any(|_| {
        std::thread::yield_now();
        look()
    });
    assert!(seen, "{what}");
}

fn transports(client: &Client, router: Id) -> usize {
    match client.dump(router).wait() {
        Ok(fb::ReplyBodyT::RouterDump(dump)) => dump.transports.unwrap_or_default().len(),
        other => panic!("no dump: {other:?}"),
    }
}

#[test]
fn a_producer_is_piped_once_however_often_and_by_whomever_it_is_asked_for() {
    let client = engine();
    let (here, there) = (router(&client), router(&client));
    let (first, second) = (produce(&client, here), produce(&client, here));
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let client = client.clone();
            let producer = if n % 2 == 0 { first } else { second };
            std::thread::spawn(move || pipe(&client, producer, here, there))
        })
        .collect();
    let piped: Vec<Piped> = threads.into_iter().map(|t| t.join().expect("no panic").expect("piped")).collect();
    assert!(piped.iter().all(|one| *one == piped[usize::from(one.origin == second)]), "{piped:?}");
    assert_ne!(piped[0].producer, piped[1].producer);
    assert_eq!((transports(&client, here), transports(&client, there)), (3, 1), "one pair for both");
    let copy = dump(&client, piped[0].producer).expect("it lives");
    assert_eq!((copy.type_, copy.opaque_payload), (fb::ProducerType::simulcast, true));
    let encodings = copy.rtp_parameters.and_then(|p| p.encodings).expect("encodings");
    let ssrcs: Vec<_> = encodings.iter().filter_map(|encoding| encoding.ssrc).collect();
    match client.dump(piped[0].consumer).wait() {
        Ok(fb::ReplyBodyT::ConsumerDump(dump)) => {
            let lanes = dump.lanes.expect("a pipe consumer has lanes");
            assert_eq!((dump.type_, lanes.iter().map(|l| l.ssrc).collect()), (fb::ProducerType::pipe, ssrcs));
        }
        other => panic!("{other:?}"),
    }
    // The other way the same transports serve.
    let back = produce(&client, there);
    pipe(&client, back, there, here).expect("piped");
    assert_eq!((transports(&client, here), transports(&client, there)), (3, 2));
}

#[test]
fn pausing_resuming_and_closing_follow_the_origin() {
    let client = engine();
    let (here, there) = (router(&client), router(&client));
    let producer = produce(&client, here);
    client.pause(producer).wait().expect("paused");
    let piped = pipe(&client, producer, here, there).expect("piped");
    let paused = |client: &Client| dump(client, piped.producer).is_some_and(|dump| dump.paused);
    assert!(paused(&client), "as the origin was");
    for _ in 0..20 {
        client.resume(producer).wait().expect("resumed");
        client.pause(producer).wait().expect("paused");
    }
    client.resume(producer).wait().expect("resumed");
    until("it goes on with the origin", || !paused(&client));
    client.close(producer).wait().expect("closed");
    until("it closes with the origin", || dump(&client, piped.producer).is_none());
    let error = pipe(&client, producer, here, there).expect_err("it is gone");
    assert_eq!(error.code, ErrorCode::NotFound);
    // Closing what stands for it stops its being carried, and it can be carried again.
    let producer = produce(&client, here);
    let piped = pipe(&client, producer, here, there).expect("piped");
    client.close(piped.producer).wait().expect("closed");
    until("nothing is carried", || client.dump(piped.consumer).wait().is_err());
    let again = pipe(&client, producer, here, there).expect("piped again");
    assert_ne!(again.producer, piped.producer);
    client.close(here).wait().expect("closed");
    until("all of it goes with a router", || {
        dump(&client, again.producer).is_none() && transports(&client, there) == 0 && client.mirrored() == 0
    });
}

#[test]
fn two_engines_of_a_process_are_joined_and_either_may_end() {
    let (near, far) = (engine(), engine());
    let (here, there) = (router(&near), router(&far));
    let producer = produce(&near, here);
    let mut wanted = PipeToRouter::new(producer, here, there);
    wanted.engine = Some(far.clone());
    let loopback = PipeTransportOptions::new(ListenInfo::udp("127.0.0.1"));
    wanted.transports = PipeTransportOptions { rtx: true, srtp: true, only_wanted: true, ..loopback };
    let piped = near.pipe_to_router(&wanted).expect("piped");
    assert!(dump(&far, piped.producer).is_some());
    near.pause(producer).wait().expect("paused");
    until("the other engine's follows", || dump(&far, piped.producer).is_some_and(|dump| dump.paused));
    let pipes = |client: &Client, router| transports(client, router);
    assert_eq!((pipes(&near, here), pipes(&far, there)), (2, 1));
    far.close(there).wait().expect("closed");
    until("the near end of the pipe closes", || pipes(&near, here) == 1);
    assert!(dump(&near, producer).is_some(), "the origin lives");
    let other = router(&far);
    wanted.to = other;
    let piped = near.pipe_to_router(&wanted).expect("piped to another router");
    far.shutdown();
    near.close(producer).wait().expect("what is left can be closed");
    until("it is forgotten", || near.mirrored() <= 2);
    assert_eq!(near.dump(piped.consumer).wait().expect_err("gone").code, ErrorCode::NotFound);
}

#[test]
fn row_080_what_comes_from_a_router_is_not_piped_back_to_it() {
    let client = engine();
    let routers = [router(&client), router(&client), router(&client)];
    let producer = produce(&client, routers[0]);
    let own = pipe(&client, producer, routers[0], routers[0]).expect_err("its own router");
    assert_eq!((own.code, own.field.as_str()), (ErrorCode::InvalidArgument, "to"));
    let second = pipe(&client, producer, routers[0], routers[1]).expect("piped");
    let third = pipe(&client, second.producer, routers[1], routers[2]).expect("piped on");
    for (stands, at, to) in [(second.producer, 1, 0), (third.producer, 2, 0), (third.producer, 2, 1)] {
        let error = pipe(&client, stands, routers[at], routers[to]).expect_err("it comes from there");
        assert_eq!((error.code, error.field.as_str()), (ErrorCode::InvalidArgument, "producer"));
    }
    let wrong = pipe(&client, producer, routers[1], routers[2]).expect_err("another router's producer");
    assert_eq!((wrong.code, wrong.field.as_str()), (ErrorCode::InvalidArgument, "producer"));
    let consume = client.consume_by_pipe(producer, producer).wait().expect_err("no transport");
    assert_eq!(consume.field, "target");
}
