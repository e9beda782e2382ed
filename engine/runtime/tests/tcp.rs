//! A whole engine by TCP alone: scripted peers check, shake hands and send media in frames (RFC 6544, RFC 4571).

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use sfu_core::command::{
    Command, CommandError, ConsumerCreated, ErrorCode, Event, IceState, Listen, Reply, WebRtcTransportCreated,
    WebRtcTransportOptions,
};
use sfu_core::testing::world::{OPUS, consumer_config, opus, producer_config, rtp};
use sfu_runtime::{IoBackend, ListenInfo, Output, Runtime, ShardRequest};
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};
use support::by_tcp::ByTcp;
use support::{BACKENDS, LONG, options, outputs};

/// An engine, and what it said.
struct Engine {
    runtime: Runtime,
    events: Vec<Event>,
}

impl Engine {
    fn start(backend: IoBackend) -> Self {
        Self { runtime: Runtime::start(options(1, backend)).unwrap(), events: Vec::new() }
    }

    fn call(&mut self, listen: Vec<ListenInfo>, command: Command) -> Result<Reply, CommandError> {
        self.runtime.submit(0, ShardRequest { token: 9, listen, command }).unwrap();
        loop {
            let mut found = None;
            for output in outputs(&self.runtime) {
                match output {
                    Output::Reply { result, .. } => found = Some(result),
                    Output::Event(event) => self.events.push(event),
                    other => panic!("{other:?}"),
                }
            }
            if let Some(result) = found {
                return result;
            }
        }
    }

    fn create(&mut self, command: Command) -> ObjectId {
        match self.call(Vec::new(), command) {
            Ok(Reply::Created(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    fn transport(&mut self, router: ObjectId, listen: ListenInfo) -> WebRtcTransportCreated {
        let options = WebRtcTransportOptions { listen: Listen::Own, ..WebRtcTransportOptions::default() };
        match self.call(vec![listen], Command::CreateWebRtcTransport { router, options }) {
            Ok(Reply::WebRtcTransport(created)) => created,
            other => panic!("{other:?}"),
        }
    }

    fn counter(&mut self, name: &str) -> u64 {
        let Ok(Reply::Stats(stats)) = self.call(Vec::new(), Command::ShardStats) else { panic!("no statistics") };
        stats.counters.iter().find(|(n, _)| *n == name).map_or(0, |(_, value)| *value)
    }

    /// Waits for an event.
    fn hears(&mut self, wanted: &Event) {
        while !self.events.contains(wanted) {
            for output in outputs(&self.runtime) {
                if let Output::Event(event) = output {
                    self.events.push(event);
                }
            }
        }
    }
}

fn join(engine: &mut Engine, router: ObjectId, seed: u64, ip: &str) -> ByTcp {
    let created = engine.transport(router, ListenInfo::tcp(ip.parse().unwrap()));
    let transport = created.id;
    let mut joined = ByTcp::start(created, seed, |dtls| {
        engine.call(Vec::new(), Command::ConnectWebRtcTransport { transport, dtls }).unwrap();
    });
    joined.until("connected", |joined| joined.peer.is_connected());
    joined
}

fn publish(engine: &mut Engine, on: &ByTcp, ssrc: u32) -> ObjectId {
    let config = producer_config(MediaKind::Audio, Mid::new(b"0").unwrap(), vec![opus()], Some(ssrc), None);
    engine.create(Command::Produce { transport: on.transport, config: Box::new(config) })
}

fn watch(engine: &mut Engine, on: &ByTcp, producer: ObjectId) -> ConsumerCreated {
    let config = consumer_config(producer, MediaKind::Audio, Mid::new(b"1").unwrap(), false);
    match engine.call(Vec::new(), Command::Consume { transport: on.transport, config: Box::new(config) }) {
        Ok(Reply::Consumer(created)) => created,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_by_tcp_alone_through_both_back_ends_and_families() {
    for backend in BACKENDS {
        for ip in ["127.0.0.1", "::1"] {
            if TcpStream::connect((ip, 9)).is_err_and(|e| e.kind() == ErrorKind::AddrNotAvailable) {
                // A host without IPv6 has nothing to show here.
                continue;
            }
            let mut engine = Engine::start(backend);
            let router = engine.create(Command::CreateRouter);
            let mut ada = join(&mut engine, router, 1, ip);
            let mut grace = join(&mut engine, router, 2, ip);
            let producer = publish(&mut engine, &ada, 77);
            watch(&mut engine, &grace, producer);
            for number in 1..=50 {
                ada.peer.send_rtp(&rtp(OPUS, 77, number, u32::from(number) * 960, &[(1, b"0")], &[7; 100]));
            }
            ada.step();
            grace.until("all fifty", |grace| grace.packets.len() == 50);
            assert_eq!((engine.counter("tcp_connections"), engine.counter("tcp_half_open")), (2, 0));

            // Who hangs up is gone at once; who stays is told when all of it ends.
            let transport = ada.transport;
            drop(ada);
            engine.hears(&Event::IceState { transport, state: IceState::Disconnected });
            assert_eq!(engine.counter("tcp_connections"), 1);
            engine.runtime.shutdown(LONG).unwrap();
            grace.until("the end", |grace| grace.ended);
        }
    }
}

#[test]
fn closing_a_transport_hangs_up_and_frees_its_port() {
    for backend in BACKENDS {
        let mut engine = Engine::start(backend);
        let router = engine.create(Command::CreateRouter);
        let mut ada = join(&mut engine, router, 3, "127.0.0.1");
        let port = ada.stream.peer_addr().unwrap().port();
        let again = || ListenInfo { port, ..ListenInfo::tcp([127, 0, 0, 1].into()) };
        let error = engine.call(vec![again()], Command::CreateWebRtcServer).unwrap_err();
        assert_eq!(error.code, ErrorCode::AddressUnavailable);
        engine.call(Vec::new(), Command::Close { object: ada.transport }).unwrap();
        ada.until("hung up", |ada| ada.ended);
        // The socket closes in the turn of the reply; what comes later finds it closed, though its connections fade.
        assert_eq!(engine.counter("tcp_listeners"), 0);
        engine.call(vec![again()], Command::CreateWebRtcServer).unwrap();
    }
}

#[test]
fn row_012_an_engine_full_of_strangers_takes_a_peer_and_lets_the_strangers_go() {
    let mut options = options(1, IoBackend::Default);
    (options.tcp.half_open, options.tcp.half_open_time) = (16, Duration::from_millis(300));
    let mut engine = Engine { runtime: Runtime::start(options).unwrap(), events: Vec::new() };
    let router = engine.create(Command::CreateRouter);
    let mut ada = join(&mut engine, router, 4, "127.0.0.1");
    let at = ada.stream.peer_addr().unwrap();
    let mut strangers: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(at).unwrap()).collect();
    strangers.iter_mut().step_by(2).for_each(|s| s.write_all(&[0, 100, 0, 1]).unwrap());
    let producer = publish(&mut engine, &ada, 5);
    let mut grace = join(&mut engine, router, 5, "127.0.0.1");
    watch(&mut engine, &grace, producer);
    ada.peer.send_rtp(&rtp(OPUS, 5, 1, 960, &[(1, b"0")], &[7; 100]));
    ada.step();
    grace.until("media", |grace| grace.packets.len() == 1);
    assert!(engine.counter("tcp_half_open") <= 16);
    // All of them are hung up on, without their doing anything.
    for stranger in &mut strangers {
        stranger.set_read_timeout(Some(LONG)).unwrap();
        assert_eq!(stranger.read(&mut [0; 1]).unwrap_or(0), 0);
    }
    assert_eq!((engine.counter("tcp_half_open"), engine.counter("tcp_connections")), (0, 2));
}
