//! A room on two shards of a running engine: real threads, rings and wake-ups.

mod support;

use std::net::SocketAddr;

use sfu_core::command::{BoundSocket, CloseReason, Command, CommandError, Event, ReleaseSocket, Reply};
use sfu_core::config::ProducerConfig;
use sfu_core::limits::Limits;
use sfu_core::outbox::Outbox;
use sfu_core::peer::{PeerMessage, PeerOut};
use sfu_core::shard::{Shard, ShardConfig};
use sfu_core::shared_port::Whose;
use sfu_core::testing::world::{OPUS, consumer_config, opus, producer_config, rtp};
use sfu_proto::srtp::SrtpProfile;
use sfu_runtime::{Counts, IoBackend, Output, Runtime, ShardCore, records};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::net::SocketId;
use sfu_wire::rtp::RtpView;
use sfu_wire::time::Time;
use support::{BACKENDS, LONG, certificate, options, outputs, request};

const SSRC: u32 = 77;

/// A shard that a question about itself ends.
struct Fragile(Shard);

impl ShardCore for Fragile {
    fn handle_datagram(
        &mut self,
        now: Time,
        arrival: Time,
        socket: SocketId,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Whose {
        self.0.handle_datagram(now, arrival, socket, from, datagram)
    }

    fn handle_media(&mut self, now: Time, target: ObjectId, packet: &[u8]) {
        self.0.handle_media(now, target, packet);
    }

    fn has_media(&self) -> bool {
        self.0.has_media()
    }

    fn take_media(&mut self, take: &mut dyn FnMut(ObjectId, &[u8])) {
        ShardCore::take_media(&mut self.0, take);
    }

    fn handle_peer(&mut self, now: Time, from: u8, message: &PeerMessage, packet: &[u8]) {
        self.0.handle_peer(now, from, message, packet);
    }

    fn handle_peer_lost(&mut self, now: Time, shard: u8) {
        self.0.handle_peer_lost(now, shard);
    }

    fn has_peer_output(&self) -> bool {
        self.0.has_peer_output()
    }

    fn poll_peer(&mut self, to: u8) -> Option<PeerOut> {
        self.0.poll_peer(to)
    }

    fn handle_command(&mut self, now: Time, sockets: &[BoundSocket], command: Command) -> Result<Reply, CommandError> {
        assert!(command != Command::DumpShard, "planted");
        self.0.handle_command(now, sockets, command)
    }

    fn handle_timeout(&mut self, now: Time) {
        self.0.handle_timeout(now);
    }

    fn next_timeout(&self) -> Option<Time> {
        self.0.next_timeout()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.0.poll_event()
    }

    fn poll_release(&mut self) -> Option<ReleaseSocket> {
        self.0.poll_release()
    }

    fn outbox(&mut self) -> &mut Outbox {
        self.0.outbox()
    }

    fn count_drop(&mut self, reason: DropReason, n: u64) {
        self.0.count_drop(reason, n);
    }

    fn counts(&self) -> Counts {
        Counts::default()
    }
}

fn start(io: IoBackend) -> Runtime {
    let make = |seed: sfu_runtime::ShardSeed| {
        let config = ShardConfig {
            index: seed.index,
            life: seed.life,
            seed: seed.seed,
            epoch_unix_nanos: seed.epoch_unix_nanos,
            certificate: certificate(),
            srtp_profiles: SrtpProfile::ALL.to_vec(),
            limits: Limits::default(),
        };
        Shard::new(config).map(Fragile)
    };
    Runtime::start_with(&options(2, io), make).unwrap()
}

/// Submits and waits for the answer; events go to `events`.
fn ask(runtime: &Runtime, shard: u8, command: Command, events: &mut Vec<Output>) -> Result<Reply, CommandError> {
    runtime.submit(shard, request(1, command)).unwrap();
    let mut answer = None;
    while answer.is_none() {
        for output in outputs(runtime) {
            match output {
                Output::Reply { result, .. } => answer = Some(result),
                other => events.push(other),
            }
        }
    }
    answer.unwrap()
}

fn create(runtime: &Runtime, shard: u8, command: Command) -> ObjectId {
    match ask(runtime, shard, command, &mut Vec::new()) {
        Ok(Reply::Created(id)) => id,
        other => panic!("{other:?}"),
    }
}

fn transport(runtime: &Runtime, shard: u8, router: ObjectId) -> ObjectId {
    let command = Command::CreateDirectTransport { router, max_incoming_bitrate: 0 };
    match shard == router.shard() {
        true => create(runtime, shard, command),
        false => create(runtime, shard, Command::InBranch { home: router, command: Box::new(command) }),
    }
}

fn mid() -> Mid {
    Mid::new(b"a").unwrap()
}

fn source() -> ProducerConfig {
    producer_config(MediaKind::Audio, mid(), vec![opus()], Some(SSRC), None)
}

/// A publisher on shard 0 and, on shard 1, a transport and what it consumes.
struct Room {
    router: ObjectId,
    producer: ObjectId,
    to: ObjectId,
    consumer: ObjectId,
}

fn room(runtime: &Runtime) -> Room {
    let router = create(runtime, 0, Command::CreateRouter);
    let from = transport(runtime, 0, router);
    let producer = create(runtime, 0, Command::Produce { transport: from, config: Box::new(source()) });
    let to = transport(runtime, 1, router);
    let config = Box::new(consumer_config(producer, MediaKind::Audio, mid(), false));
    let command = Box::new(Command::Consume { transport: to, config });
    let command = Command::Across { producer, source: Box::new(source()), command };
    match ask(runtime, 1, command, &mut Vec::new()) {
        Ok(Reply::Consumer(created)) => Room { router, producer, to, consumer: created.id },
        other => panic!("{other:?}"),
    }
}

fn record(target: ObjectId, packet: &[u8]) -> Vec<u8> {
    let mut record = target.to_u64().to_le_bytes().to_vec();
    record.extend((packet.len() as u32).to_le_bytes());
    record.extend(packet);
    record
}

fn voice(n: u16) -> Vec<u8> {
    rtp(OPUS, SSRC, n, 960 * u32::from(n), &[], &n.to_be_bytes())
}

/// Waits for packets of a consumer, until there is one with this payload.
fn heard(runtime: &Runtime, consumer: ObjectId, last: u16) -> Vec<u16> {
    let mut all = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    while all.last() != Some(&last) {
        assert!(runtime.wait_media(Some(LONG)), "{} of {last} came", all.len());
        let (written, _) = runtime.poll_media(&mut buffer);
        for (source, packet) in records(&buffer[..written]).flatten().filter(|(source, _)| *source == consumer) {
            assert_eq!(source, consumer);
            let payload = RtpView::parse(packet).unwrap().payload().try_into().unwrap();
            all.push(u16::from_be_bytes(payload));
        }
    }
    all
}

#[test]
fn each_packet_wakes_the_other_shard_and_a_burst_arrives_whole() {
    for io in BACKENDS {
        let runtime = start(io);
        let Room { producer, consumer, .. } = room(&runtime);
        // The wish for it has to arrive first; what comes before that is for nobody.
        let mut next = 0;
        let mut first = Vec::new();
        while first.is_empty() {
            runtime.send_media(&record(producer, &voice(next))).1.unwrap();
            next += 1;
            let mut buffer = vec![0; 1 << 16];
            let (written, _) = runtime.poll_media(&mut buffer);
            first.extend(records(&buffer[..written]).flatten().map(|(source, _)| source));
            std::thread::yield_now();
        }
        runtime.send_media(&record(producer, &voice(next))).1.unwrap();
        heard(&runtime, consumer, next);
        // One at a time: both shards sleep in between.
        for n in next + 1..next + 501 {
            runtime.send_media(&record(producer, &voice(n))).1.unwrap();
            assert_eq!(heard(&runtime, consumer, n), [n]);
        }
        let burst: Vec<u16> = (next + 501..next + 1_501).collect();
        let batch: Vec<u8> = burst.iter().flat_map(|n| record(producer, &voice(*n))).collect();
        runtime.send_media(&batch).1.unwrap();
        assert_eq!(heard(&runtime, consumer, next + 1_500), burst);
        runtime.shutdown(LONG).unwrap();
    }
}

#[test]
fn b10_a_shard_that_ends_takes_its_part_along_and_the_other_tells_what_it_closes() {
    let runtime = start(IoBackend::Mmsg);
    let Room { router, to, consumer, .. } = room(&runtime);
    let mut events = Vec::new();
    let closed = |object, reason| Output::Event(Event::Closed { object, reason });
    // The one with the home and the producer.
    assert!(ask(&runtime, 0, Command::DumpShard, &mut events).is_err());
    let last = closed(to, CloseReason::ShardFailed);
    let failed = |e: &Output| matches!(e, Output::ShardFailed { shard: 0, restarts: true, .. });
    // In any order: two shards tell them.
    while !events.contains(&last) || !events.iter().any(failed) {
        events.extend(outputs(&runtime));
    }
    assert!(events.contains(&closed(consumer, CloseReason::TransportClosed)));
    assert!(ask(&runtime, 0, Command::Dump { object: router }, &mut events).is_err(), "it went");
    // Both go on, together.
    let Room { producer, consumer, to, .. } = room(&runtime);
    events.clear();
    assert!(ask(&runtime, 1, Command::DumpShard, &mut events).is_err());
    assert!(ask(&runtime, 1, Command::Dump { object: to }, &mut events).is_err(), "it went");
    assert!(ask(&runtime, 1, Command::Dump { object: consumer }, &mut events).is_err(), "it went");
    assert!(ask(&runtime, 0, Command::Dump { object: producer }, &mut events).is_ok(), "it stays");
    runtime.shutdown(LONG).unwrap();
}
