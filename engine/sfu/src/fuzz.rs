//! Bodies of the fuzz targets of this floor: bytes become a list of operations on a shard, and
//! invariants are checked after each. They compile with the crate, so that changes cannot leave them
//! behind.
//!
//! Limits: [`MAX_STEPS`] operations for each input; what an operation takes from the input it consumes.

mod layers;
mod pipeline;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use sfu_proto::crypto::hmac::hmac_sha1;
use sfu_proto::crypto::{DtlsRole, Fingerprint, FingerprintAlgorithm};
use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::scalability::Layers;
use sfu_wire::stun::{BINDING, Class, StunBuilder};

use crate::command::{Command, ErrorCode, Event, Listen, RemoteDtls, Reply, WebRtcTransportOptions};
use crate::config::{ConsumerConfig, ProducerConfig};
use crate::limits::Limits;
use crate::lookup::UFRAG_LEN;
use crate::observer::ObserverOptions;
use crate::shared_port::{shard_of_check, shard_of_username, tag};
use crate::stats::Dump;
use crate::tap::{TapFormat, TapOptions};
use crate::testing::world::{OPUS, VP8, World, consumer_config, opus, producer_config, rtp, vp8, vp8_frame};
use crate::trace::TraceMask;

pub use layers::layers;
pub use pipeline::pipeline;

/// Operations for one input.
pub const MAX_STEPS: usize = 256;

/// Reads choices from the input; when it is used up, everything is zero.
struct Choices<'a> {
    rest: &'a [u8],
}

impl<'a> Choices<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn number(&mut self) -> u32 {
        u32::from(self.word()) << 16 | u32::from(self.word())
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.word() & 0x07ff).min(self.rest.len());
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        taken
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Datagrams from strangers, from a peer as they are, and from a peer under its SRTP keys, into a call
/// of two, and first packets that name shards. The call must survive all of them, and nothing may go to a stranger.
///
/// # Panics
/// If an invariant is broken.
pub fn datagrams(data: &[u8]) {
    let mut world = World::new(1);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let (audio, video) = (world.produce_audio(alice, 5), world.produce_video(alice, 7));
    world.consume(bob, audio);
    world.consume(bob, video);
    let mut choices = Choices { rest: data };
    for _ in 0..MAX_STEPS {
        if choices.is_empty() {
            break;
        }
        let member = if choices.byte() & 1 == 0 { alice } else { bob };
        let own = world.members[member].peer.addr();
        match choices.byte() % 7 {
            0 => world.inject(member, SocketAddr::from(([203, 0, 113, 1], choices.word() | 1)), choices.bytes()),
            1 => world.inject(member, own, choices.bytes()),
            2 => protect(&mut world, member, choices.bytes(), true),
            3 => protect(&mut world, member, choices.bytes(), false),
            4 => mutate(&mut world, member, &mut choices),
            5 => first_packet(&mut choices),
            _ => world.run(Duration::from_millis(u64::from(choices.word() % 3_000))),
        }
        world.received(alice);
        world.received(bob);
        assert!(world.strays.is_empty(), "a stranger got an answer");
        assert!(!world.events.iter().any(|e| matches!(e, Event::Closed { .. })), "something closed");
        world.events.clear();
    }
    let id = world.members[alice].transport.id;
    let Some(Dump::WebRtcTransport(dump)) = world.dump(id) else { panic!("the transport is gone") };
    assert!(dump.tuples.len() <= 8 && dump.streams.learned.0 <= Limits::default().learned_ssrcs_per_transport);
}

/// What the peer's own SRTP refuses to protect is not sent.
fn protect(world: &mut World, member: usize, plain: &[u8], is_rtp: bool) {
    let peer = &mut world.members[member].peer;
    let sent = if is_rtp { peer.try_send_rtp(plain) } else { peer.try_send_rtcp(plain) };
    if sent {
        world.settle();
    }
}

/// A good packet, a good check or a frame with some bytes changed before protection.
fn mutate(world: &mut World, member: usize, choices: &mut Choices<'_>) {
    let sequence = choices.word();
    let mut bytes = match choices.byte() % 4 {
        0 => rtp(OPUS, 5, sequence, choices.number(), &[(1, b"1")], choices.bytes()),
        1 => rtp(VP8, 7, sequence, choices.number(), &[(1, b"2")], &vp8_frame(choices.byte() & 1 == 0, sequence)),
        2 => rtp(VP8 + 1, 8, sequence, choices.number(), &[(1, b"2")], choices.bytes()),
        _ => world.members[member].peer.binding_request(choices.byte() & 1 == 0),
    };
    let is_stun = bytes.first().is_some_and(|b| *b < 4);
    for _ in 0..choices.byte() % 4 {
        let at = usize::from(choices.word()) % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= choices.byte();
        }
    }
    if is_stun {
        let own = world.members[member].peer.addr();
        world.inject(member, own, &bytes);
    } else {
        protect(world, member, &bytes, true);
    }
}

/// A first packet of a peer that nobody knows, by a port of all shards: a shard is read out of it only if it is a signed check with
/// that shard's tag, and out of one that was changed on its way never another.
fn first_packet(choices: &mut Choices<'_>) {
    let (shard, form) = (choices.byte(), choices.byte());
    let mut ufrag = [b'+'; UFRAG_LEN];
    tag(shard, &mut ufrag);
    let given = choices.bytes();
    let named = [&ufrag[..UFRAG_LEN - usize::from(form >> 6)], b":", given].concat();
    let username = if form & 1 == 0 { &named[..] } else { given };
    // RFC 8489, section 14.3.
    let username = &username[..username.len().min(508)];
    let class = if form & 2 == 0 { Class::Request } else { Class::Indication };
    let signed = form & 4 == 0;
    let mut room = [0; 4096];
    let builder = StunBuilder::new(&mut room, class, BINDING, &[7; 12]).username(username);
    let len = builder.finish(signed.then_some((b"key", hmac_sha1))).expect("there is room");
    let mut bytes = room[..len].to_vec();
    let wanted = shard_of_username(username).filter(|_| signed && class == Class::Request);
    assert_eq!(shard_of_check(&bytes), wanted, "{username:?}");
    let at = usize::from(choices.word()) % len;
    bytes[at] ^= choices.byte();
    bytes.truncate(len - usize::from(form >> 3 & 3));
    let told = shard_of_check(&bytes);
    assert!(told.is_none() || told == wanted, "one byte made shard {told:?} of {wanted:?}");
    // And out of anything at all.
    if let Some(told) = shard_of_username(choices.bytes()).or(shard_of_check(choices.bytes())) {
        assert!(usize::from(told) < 256);
    }
}

/// Commands in any order, with ids and numbers of any kind. Whatever comes of them, the tree is sound:
/// every child's parent exists and knows it, and what was closed is not found.
///
/// # Panics
/// If an invariant is broken.
pub fn commands(data: &[u8]) {
    run_commands(data);
}

/// Answers the ids that were given out.
fn run_commands(data: &[u8]) -> Vec<ObjectId> {
    let limits = Limits {
        routers: 4,
        webrtc_servers: 2,
        transports: 8,
        producers: 16,
        consumers: 32,
        observers: 8,
        producers_per_observer: 2,
        traces: 16,
        consumers_per_transport: 8,
        producers_per_transport: 4,
        outbox_bytes: 1 << 16,
        outbox_datagrams: 64,
        ..Limits::default()
    };
    let mut world = World::with_limits(2, limits);
    let mut ids: Vec<ObjectId> = Vec::new();
    let mut closed: BTreeSet<ObjectId> = BTreeSet::new();
    let mut choices = Choices { rest: data };
    for _ in 0..MAX_STEPS {
        if choices.is_empty() {
            break;
        }
        step(&mut world, &mut choices, &mut ids, &mut closed);
        check_tree(&mut world, &ids, &closed);
    }
    // Half of them end as engines do, by telling everybody.
    if data.len() % 2 == 1 {
        let mut rounds = 0;
        while world.shard.handle_shutdown(world.now) {
            world.settle();
            rounds += 1;
            assert!(rounds <= MAX_STEPS, "the farewell does not end");
        }
        assert_eq!(world.shard.object_counts()[1..], [0; 3], "something outlived the farewell");
    }
    let routers: Vec<ObjectId> = ids.iter().copied().filter(|id| id.kind() == Some(ObjectKind::Router)).collect();
    for router in routers {
        let _ = world.close(router);
    }
    for id in ids.iter().filter(|id| !matches!(id.kind(), Some(ObjectKind::WebRtcServer))) {
        assert!(world.dump(*id).is_none(), "{id:?} outlived its router");
    }
    ids
}

fn step(world: &mut World, choices: &mut Choices<'_>, ids: &mut Vec<ObjectId>, closed: &mut BTreeSet<ObjectId>) {
    let now = world.now;
    let command = any_command(world, choices, ids);
    let named = if let Command::Close { object } = &command { Some(*object) } else { None };
    let own = matches!(&command, Command::CreateWebRtcServer)
        || matches!(&command, Command::CreateWebRtcTransport { options, .. } if options.listen == Listen::Own);
    let bound = match choices.byte() {
        255 => vec![],
        0..64 if own => vec![world.bind_tcp()],
        _ if own => vec![world.bind()],
        _ => vec![],
    };
    match world.shard.handle_command(now, &bound, command) {
        Ok(Reply::Created(id)) => ids.push(id),
        Ok(Reply::WebRtcTransport(created)) => ids.push(created.id),
        Ok(Reply::Consumer(created)) => {
            assert!(created.ssrc != 0 && created.rtx_ssrc != Some(created.ssrc));
            ids.push(created.id);
        }
        Ok(_) => closed.extend(named),
        Err(error) => {
            assert!(!error.text.is_empty() && error.code != ErrorCode::Internal, "{error}");
        }
    }
    if choices.byte() & 7 == 0 {
        world.run(Duration::from_millis(u64::from(choices.word())));
    }
    world.settle();
    for event in std::mem::take(&mut world.events) {
        if let Event::Closed { object, .. } = event {
            assert!(closed.insert(object), "{object:?} closed twice");
        }
    }
}

/// Mostly an id of the kind that was given out once, sometimes any id, seldom any number.
fn id_of(kind: ObjectKind, choices: &mut Choices<'_>, ids: &[ObjectId]) -> ObjectId {
    let at = usize::from(choices.byte());
    if at == 255 {
        return ObjectId::from_u64(u64::from(choices.number()) << 32 | u64::from(choices.number()));
    }
    let fitting = ids.iter().filter(|id| id.kind() == Some(kind) || at == 254);
    // The newest ones first: what is old has often been closed.
    let count = fitting.clone().count().max(1);
    fitting.rev().nth(at % count).copied().unwrap_or(ObjectId::from_u64(0))
}

/// Options of a WebRTC transport, perhaps on a server.
fn any_transport(choices: &mut Choices<'_>, server: ObjectId) -> WebRtcTransportOptions {
    let by_server = choices.byte() & 3 == 0;
    let timeout = Duration::from_millis(u64::from(choices.word()));
    WebRtcTransportOptions {
        listen: if by_server { Listen::Server(server) } else { Listen::Own },
        ice_consent_timeout: (choices.byte() & 1 == 0).then_some(timeout),
        max_incoming_bitrate: choices.number(),
        enable_udp: choices.byte() & 7 != 0,
        enable_tcp: choices.byte() & 7 != 0,
        prefer_tcp: choices.byte() & 1 == 0,
    }
}

fn any_command(world: &mut World, choices: &mut Choices<'_>, ids: &[ObjectId]) -> Command {
    let method = choices.byte() % 32;
    let kind = match method {
        2 | 3 | 18 => ObjectKind::Router,
        4..=11 | 29 | 30 => ObjectKind::Transport,
        19..=21 => ObjectKind::Observer,
        _ => ObjectKind::ALL[usize::from(choices.byte()) % ObjectKind::ALL.len()],
    };
    let object = id_of(kind, choices, ids);
    match method {
        0 => Command::CreateRouter,
        1 => Command::CreateWebRtcServer,
        2 | 3 => {
            let server = id_of(ObjectKind::WebRtcServer, choices, ids);
            Command::CreateWebRtcTransport { router: object, options: any_transport(choices, server) }
        }
        4 => {
            let role = [None, Some(DtlsRole::Client), Some(DtlsRole::Server)][usize::from(choices.byte() % 3)];
            let one = Fingerprint { algorithm: FingerprintAlgorithm::Sha256, value: vec![7; 32] };
            let fingerprints = vec![one; usize::from(choices.byte() % 20)];
            Command::ConnectWebRtcTransport { transport: object, dtls: RemoteDtls { role, fingerprints } }
        }
        5 => Command::RestartIce { transport: object },
        6 => Command::SetMaxIncomingBitrate { transport: object, bitrate: choices.number() },
        7 | 8 => Command::Produce { transport: object, config: Box::new(any_producer(choices)) },
        9..=11 => {
            let producer = id_of(ObjectKind::Producer, choices, ids);
            let config = any_consumer(world, choices, producer);
            Command::Consume { transport: object, config: Box::new(config) }
        }
        12 => Command::Pause { object },
        13 => Command::Resume { object },
        14 => Command::RequestKeyFrame { consumer: object },
        15..=17 => any_look(choices, object),
        18 => Command::CreateObserver { router: object, options: any_observer(choices) },
        19 | 20 => Command::Observe { observer: object, producer: id_of(ObjectKind::Producer, choices, ids) },
        21 => Command::Unobserve { observer: object, producer: id_of(ObjectKind::Producer, choices, ids) },
        22 => Command::SetTrace { object, kinds: TraceMask::from_bits(choices.byte() & 63).unwrap_or_default() },
        23 => Command::KeepDecisions { object, rows: choices.number() & 0xfff },
        24 => Command::DumpDecisions { object },
        25 => {
            let layers = (choices.byte() & 3 != 0).then(|| Layers::new(choices.byte(), choices.byte()));
            Command::SetPreferredLayers { consumer: object, layers }
        }
        26 => Command::SetPriority { consumer: object, priority: choices.byte() },
        27 | 28 => {
            let producer = id_of(ObjectKind::Producer, choices, ids);
            let consumer = id_of(ObjectKind::Consumer, choices, ids);
            let config = any_consumer(world, choices, producer);
            Command::SwitchProducer { consumer, config: Box::new(config) }
        }
        29 => {
            let options = TapOptions {
                name: "a".repeat(usize::from(choices.byte() % 3)),
                format: TapFormat::Pcapng,
                max_bytes: 4_000 + u64::from(choices.word()),
                max_duration: Duration::from_millis(u64::from(choices.word())),
                headers_only: choices.byte() & 1 == 0,
            };
            Command::StartTap { transport: object, options }
        }
        30 => Command::StopTap { transport: object },
        _ => Command::Close { object },
    }
}

fn any_look(choices: &mut Choices<'_>, object: ObjectId) -> Command {
    match choices.byte() % 3 {
        0 => Command::Stats { object },
        1 => Command::Summary { object },
        _ => Command::Dump { object },
    }
}

/// Mostly in range.
fn any_observer(choices: &mut Choices<'_>) -> ObserverOptions {
    let interval = Duration::from_millis(u64::from(choices.word() & 0x3fff));
    if choices.byte() & 1 == 0 {
        return ObserverOptions::ActiveSpeaker { interval };
    }
    ObserverOptions::AudioLevel { max_entries: u16::from(choices.byte()), threshold: choices.byte() as i8, interval }
}

fn any_mid(choices: &mut Choices<'_>) -> Mid {
    let byte = [b'a' + choices.byte() % 26];
    Mid::new(&byte).expect("letters are legal")
}

fn any_kind(choices: &mut Choices<'_>) -> MediaKind {
    if choices.byte() & 1 == 0 { MediaKind::Audio } else { MediaKind::Video }
}

fn any_producer(choices: &mut Choices<'_>) -> ProducerConfig {
    let kind = any_kind(choices);
    let codec = if kind == MediaKind::Audio { opus() } else { vp8() };
    let some = |flag: u8, value: u32| (flag & 1 == 0).then_some(value);
    let ssrc = some(choices.byte(), u32::from(choices.byte()));
    let rtx = some(choices.byte(), u32::from(choices.byte()));
    let mut config = producer_config(kind, any_mid(choices), vec![codec], ssrc, rtx);
    if choices.byte() & 15 == 15 {
        config.codecs[0].payload_type = choices.byte();
        config.codecs[0].clock_rate = choices.number();
    }
    for _ in 0..choices.byte() % 4 {
        config.encodings.push(config.encodings[0].clone());
    }
    config.paused = choices.byte() & 1 == 1;
    config
}

/// Mostly what fits the producer.
fn any_consumer(world: &mut World, choices: &mut Choices<'_>, producer: ObjectId) -> ConsumerConfig {
    let kind = match world.dump(producer) {
        Some(Dump::Producer(dump)) if choices.byte() & 15 != 15 => dump.kind,
        _ => any_kind(choices),
    };
    let mut config = consumer_config(producer, kind, any_mid(choices), choices.byte() & 1 == 1);
    if choices.byte() & 15 == 15 {
        config.codecs[0].slot = choices.byte();
    }
    config
}

/// Parents and children know each other, and the dead are not found.
fn check_tree(world: &mut World, ids: &[ObjectId], closed: &BTreeSet<ObjectId>) {
    for id in ids {
        let dump = world.dump(*id);
        assert_eq!(dump.is_none(), closed.contains(id), "{id:?}");
        match dump {
            Some(Dump::WebRtcTransport(transport)) => {
                let Some(Dump::Router(router)) = world.dump(transport.router) else { panic!("an orphan") };
                assert!(router.transports.contains(id));
            }
            Some(Dump::Producer(producer)) => {
                let Some(Dump::WebRtcTransport(parent)) = world.dump(producer.transport) else { panic!("an orphan") };
                assert!(parent.producers.contains(id));
                for consumer in producer.consumers {
                    assert!(world.dump(consumer).is_some(), "a dead consumer is kept");
                }
            }
            Some(Dump::Consumer(consumer)) => {
                let Some(Dump::WebRtcTransport(parent)) = world.dump(consumer.transport) else { panic!("an orphan") };
                assert!(parent.consumers.contains(id));
                let Some(Dump::Producer(producer)) = world.dump(consumer.producer) else { panic!("an orphan") };
                assert!(producer.consumers.contains(id));
            }
            Some(Dump::Observer(observer)) => {
                let Some(Dump::Router(parent)) = world.dump(observer.router) else { panic!("an orphan") };
                assert!(parent.observers.contains(id));
                for producer in observer.producers {
                    let Some(Dump::Producer(heard)) = world.dump(producer) else { panic!("a dead producer is heard") };
                    assert_eq!(heard.kind, MediaKind::Audio);
                    assert!(parent.observers_of.iter().any(|(p, all)| *p == producer && all.contains(id)));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_core::{RngCore, SeedableRng};

    fn inputs(n: u64, len: usize) -> impl Iterator<Item = Vec<u8>> {
        (0..n).map(move |seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut data = vec![0; rng.next_u32() as usize % len];
            rng.fill_bytes(&mut data);
            // Lengths come as words: small first bytes make more operations of the same bytes.
            data.iter_mut().for_each(|b| {
                if *b & 32 == 0 {
                    *b &= 7
                }
            });
            data
        })
    }

    #[test]
    fn random_commands_make_objects_of_each_kind() {
        let made: BTreeSet<u8> =
            inputs(100, 3_000).flat_map(|d| run_commands(&d)).filter_map(|id| id.kind()).map(|k| k as u8).collect();
        assert_eq!(made.len(), ObjectKind::ALL.len());
    }

    #[test]
    fn h26_random_commands_keep_the_tree_sound() {
        inputs(120, 3_000).for_each(|data| commands(&data));
    }

    #[test]
    fn random_datagrams_leave_a_call_alive() {
        inputs(60, 4_000).for_each(|data| datagrams(&data));
    }

    #[test]
    fn h39_rows_030_to_033_random_redundancy_goes_through_the_whole_way_of_a_packet() {
        let forwarded: usize = inputs(40, 6_000).map(|data| pipeline::run(&data)).sum();
        assert!(forwarded > 1_000, "{forwarded} packets came out");
    }
}
