//! Commands in wrong and in any order: the tree of objects stays sound.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use sfu_core::command::{
    CloseReason, Command, CommandError, ErrorCode, Event, Listen, RemoteDtls, Reply, WebRtcTransportOptions,
};
use sfu_core::limits::Limits;
use sfu_core::testing::world::{OPUS, World, consumer_config, producer_config, rtp, vp8};
use sfu_core::testing::{PeerOptions, Received};
use sfu_proto::crypto::DtlsRole;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::rtcp::{Packets, RtcpPacket};

fn code<T: std::fmt::Debug>(result: Result<T, CommandError>) -> ErrorCode {
    result.expect_err("refused").code
}

fn counter(world: &mut World, name: &str) -> u64 {
    let Ok(Reply::Stats(stats)) = world.command(Command::ShardStats) else { panic!("stats") };
    stats.counters.iter().find(|(n, _)| *n == name).map(|(_, v)| *v).expect("a known counter")
}

fn assert_empty(world: &mut World) {
    for name in [
        "routers",
        "webrtc_servers",
        "transports",
        "producers",
        "consumers",
        "tuples",
        "username_fragments",
        "dtls_handshakes",
    ] {
        assert_eq!(counter(world, name), 0, "{name}");
    }
}

fn commands_on(object: ObjectId) -> Vec<Command> {
    let dtls = RemoteDtls { role: None, fingerprints: Vec::new() };
    let mid = Mid::new(b"x").expect("legal");
    let producer = Box::new(producer_config(MediaKind::Video, mid, vec![vp8()], Some(1), Some(2)));
    let consumer = Box::new(consumer_config(object, MediaKind::Video, mid, false));
    vec![
        Command::CreateWebRtcTransport { router: object, options: WebRtcTransportOptions::default() },
        Command::ConnectWebRtcTransport { transport: object, dtls },
        Command::RestartIce { transport: object },
        Command::SetMaxIncomingBitrate { transport: object, bitrate: 1 },
        Command::Produce { transport: object, config: producer },
        Command::Consume { transport: object, config: consumer },
        Command::Pause { object },
        Command::Resume { object },
        Command::RequestKeyFrame { consumer: object },
        Command::Close { object },
        Command::Dump { object },
        Command::Stats { object },
    ]
}

#[test]
fn row_070_ids_that_name_nothing_are_not_found_whatever_is_asked_of_them() {
    let mut world = World::new(40);
    let router = world.router();
    let other = World::new(41).router();
    let live = world.router();
    world.close(router).expect("close");
    assert_eq!(other.shard(), live.shard());
    let mut ids = vec![router, ObjectId::from_u64(0), ObjectId::from_u64(u64::MAX)];
    for kind in ObjectKind::ALL {
        ids.push(ObjectId::new(3, kind, 1, 77));
        ids.push(ObjectId::new(3, kind, 0, 0));
        ids.push(ObjectId::new(9, kind, 1, 0));
    }
    let before = counter(&mut world, "routers");
    for id in ids {
        for command in commands_on(id) {
            let text = format!("{command:?}");
            assert_eq!(code(world.command(command)), ErrorCode::NotFound, "{text}");
        }
    }
    assert_eq!(counter(&mut world, "routers"), before);
    assert!(world.events.is_empty());
}

#[test]
fn row_069_a_method_of_another_kind_of_object_is_not_found() {
    let mut world = World::new(42);
    let router = world.router();
    for command in commands_on(router) {
        let fits = matches!(
            command,
            Command::CreateWebRtcTransport { .. }
                | Command::Close { .. }
                | Command::Dump { .. }
                | Command::Stats { .. }
        );
        if !fits {
            assert_eq!(code(world.command(command)), ErrorCode::NotFound);
        }
    }
}

#[test]
fn row_072_the_second_close_is_not_found_and_parents_close_their_children_once() {
    let mut world = World::new(43);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let producer = world.produce_audio(alice, 5);
    let consumer = world.consume(bob, producer).id;
    let (up, down) = (world.members[alice].transport.id, world.members[bob].transport.id);
    world.close(consumer).expect("close");
    assert_eq!(code(world.close(consumer)), ErrorCode::NotFound);
    let again = world.consume(bob, producer).id;
    assert_ne!(again, consumer, "an id is never used twice");
    world.events.clear();
    world.close(router).expect("close");
    for id in [router, up, down, producer, again, consumer] {
        assert_eq!(code(world.close(id)), ErrorCode::NotFound);
    }
    let closed: Vec<(ObjectId, CloseReason)> = world
        .events
        .iter()
        .filter_map(|e| if let Event::Closed { object, reason } = e { Some((*object, *reason)) } else { None })
        .collect();
    let expected = [
        (again, CloseReason::ProducerClosed),
        (producer, CloseReason::TransportClosed),
        (up, CloseReason::RouterClosed),
        (down, CloseReason::RouterClosed),
    ];
    assert_eq!(closed, expected);
    assert_eq!(world.releases.len(), 2);
    assert_empty(&mut world);
}

#[test]
fn closing_a_producer_closes_its_consumers_elsewhere_and_nothing_else() {
    let mut world = World::new(44);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let (first, second) = (world.produce_audio(alice, 5), world.produce_audio(alice, 6));
    let (gone, stays) = (world.consume(bob, first).id, world.consume(bob, second).id);
    world.settle();
    world.events.clear();
    world.close(first).expect("close");
    assert_eq!(world.events, [Event::Closed { object: gone, reason: CloseReason::ProducerClosed }]);
    assert!(world.dump(stays).is_some());
    world.rtp(bob);
    world.send_rtp(alice, &rtp(OPUS, 5, 1, 0, &[], b"x"));
    world.send_rtp(alice, &rtp(OPUS, 6, 1, 0, &[], b"x"));
    assert_eq!(world.rtp(bob).len(), 1);
    world.produce_audio(alice, 5);
}

#[test]
fn h32_streams_that_come_and_go_on_one_transport_leave_no_cipher_state_behind() {
    let mut world = World::new(55);
    let router = world.router();
    let alice = world.join(router);
    let id = world.members[alice].transport.id;
    let streams = |world: &mut World| {
        let stats = world.stats(id).expect("stats");
        stats.counters.iter().find(|(name, _)| *name == "outbound_ssrcs").expect("the counter").1
    };
    let before = streams(&mut world);
    for n in 0..50u32 {
        let producer = world.produce_audio(alice, 1_000 + n);
        world.send_rtp(alice, &rtp(OPUS, 1_000 + n, 1, 0, &[], b"x"));
        // Time for reports to the publisher.
        world.run(Duration::from_secs(2));
        assert_eq!(streams(&mut world), before + 1, "its reports have an SSRC of their own");
        world.close(producer).expect("close");
        assert_eq!(streams(&mut world), before);
    }
}

#[test]
fn a_server_shares_its_sockets_and_takes_its_transports_along() {
    let mut world = World::new(45);
    let router = world.router();
    let bound = world.bind();
    let now = world.now;
    let server = match world.shard.handle_command(now, &[bound], Command::CreateWebRtcServer) {
        Ok(Reply::Created(id)) => id,
        other => panic!("{other:?}"),
    };
    let options = WebRtcTransportOptions { listen: Listen::Server(server), ..WebRtcTransportOptions::default() };
    let mut transports = Vec::new();
    for _ in 0..3 {
        match world.command(Command::CreateWebRtcTransport { router, options: options.clone() }) {
            Ok(Reply::WebRtcTransport(created)) => transports.push(created.id),
            other => panic!("{other:?}"),
        }
    }
    world.close(transports[0]).expect("close");
    assert!(world.releases.is_empty(), "the server owns the socket");
    world.close(server).expect("close");
    let reason = CloseReason::ServerClosed;
    assert_eq!(
        world.events,
        [Event::Closed { object: transports[1], reason }, Event::Closed { object: transports[2], reason },]
    );
    assert_eq!(world.releases.len(), 1);
    world.close(router).expect("close");
    assert_empty(&mut world);
}

#[test]
fn row_027_an_ssrc_or_mid_in_use_is_refused_by_the_name_of_its_field() {
    let mut world = World::new(46);
    let router = world.router();
    let alice = world.add(router, PeerOptions::default());
    world.produce_video(alice, 2222);
    let transport = world.members[alice].transport.id;
    let try_with = |world: &mut World, ssrc: u32, rtx: u32| {
        let mut config = world.video_config(alice, ssrc);
        config.encodings[0].rtx_ssrc = Some(rtx);
        world.command(Command::Produce { transport, config: Box::new(config) })
    };
    for (ssrc, rtx, field) in [
        (2222, 1, "encodings[0].ssrc"),
        (2223, 1, "encodings[0].ssrc"),
        (1, 2222, "encodings[0].rtx.ssrc"),
        (7, 7, "encodings[0].rtx.ssrc"),
    ] {
        let error = try_with(&mut world, ssrc, rtx).expect_err("collides");
        assert_eq!((error.code, error.field.as_str()), (ErrorCode::AlreadyExists, field));
    }
    try_with(&mut world, 3000, 3001).expect("free");
    let mut same_mid = world.video_config(alice, 4000);
    same_mid.mid = Some(Mid::new(b"1").expect("legal"));
    let error = world.command(Command::Produce { transport, config: Box::new(same_mid) }).expect_err("collides");
    assert_eq!((error.code, error.field.as_str()), (ErrorCode::AlreadyExists, "mid"));
    assert_eq!(counter(&mut world, "producers"), 2);
}

#[test]
fn row_079_orders_that_nobody_planned_are_refused_or_work() {
    let mut world = World::new(47);
    let router = world.router();
    let (alice, bob) = (world.add(router, PeerOptions::default()), world.join(router));
    let transport = world.members[alice].transport.id;
    // Restarts before, while and after connecting.
    for _ in 0..3 {
        let Ok(Reply::IceParameters(ice)) = world.command(Command::RestartIce { transport }) else { panic!("restart") };
        world.members[alice].transport.ice = ice;
    }
    world.start(alice);
    world.run(Duration::from_millis(100));
    let Ok(Reply::IceParameters(ice)) = world.command(Command::RestartIce { transport }) else { panic!("restart") };
    let now = world.now;
    world.members[alice].peer.set_remote_ice(now, ice);
    world.signal(alice).expect("connect after the handshake has begun");
    assert_eq!(code(world.signal(alice)), ErrorCode::InvalidState);
    world.run(Duration::from_millis(500));
    assert!(world.members[alice].peer.is_connected());
    let producer = world.produce_audio(alice, 5);
    let consumer = world.consume(bob, producer).id;
    for n in 0..100_000u32 {
        let object = if n % 3 == 0 { producer } else { consumer };
        let command = if n % 2 == 0 { Command::Pause { object } } else { Command::Resume { object } };
        world.command(command).expect("idempotent");
        while world.shard.poll_event().is_some() {}
    }
    for object in [producer, consumer] {
        world.command(Command::Resume { object }).expect("resume");
    }
    world.send_rtp(alice, &rtp(OPUS, 5, 1, 0, &[], b"x"));
    assert_eq!(world.rtp(bob).len(), 1, "the last one wins");
    world.close(transport).expect("close");
    assert_eq!(code(world.signal(alice)), ErrorCode::NotFound);
}

#[test]
fn row_078_numbers_out_of_range_name_their_field() {
    let mut world = World::new(48);
    let router = world.router();
    let alice = world.add(router, PeerOptions::default());
    let transport = world.members[alice].transport.id;
    let refused = |world: &mut World, change: &dyn Fn(&mut sfu_core::config::ProducerConfig)| {
        let mut config = world.video_config(alice, 1);
        change(&mut config);
        let error = world.command(Command::Produce { transport, config: Box::new(config) }).expect_err("refused");
        assert_eq!(error.code, ErrorCode::InvalidArgument);
        error.field
    };
    assert_eq!(refused(&mut world, &|c| c.codecs.clear()), "codecs");
    assert_eq!(refused(&mut world, &|c| c.codecs = vec![vp8(); 4_096]), "codecs");
    assert_eq!(refused(&mut world, &|c| c.encodings.clear()), "encodings");
    assert_eq!(refused(&mut world, &|c| c.encodings = vec![c.encodings[0].clone(); 4_096]), "encodings");
    assert_eq!(refused(&mut world, &|c| c.codecs[0].payload_type = 128), "codecs[0].payloadType");
    assert_eq!(refused(&mut world, &|c| c.codecs[0].payload_type = 72), "codecs[0].payloadType");
    assert_eq!(refused(&mut world, &|c| c.codecs[0].clock_rate = 0), "codecs[0].clockRate");
    assert_eq!(refused(&mut world, &|c| c.cname = "x".repeat(256)), "rtcp.cname");
    for millis in [0, 60_001, u64::MAX] {
        let options = WebRtcTransportOptions {
            ice_consent_timeout: Some(Duration::from_millis(millis)),
            ..WebRtcTransportOptions::default()
        };
        let bound = [world.bind()];
        let now = world.now;
        let command = Command::CreateWebRtcTransport { router, options };
        let error = world.shard.handle_command(now, &bound, command).expect_err("refused");
        assert_eq!((error.code, error.field.as_str()), (ErrorCode::InvalidArgument, "iceConsentTimeoutMs"));
    }
    assert_eq!(counter(&mut world, "producers"), 0);
    assert_eq!(counter(&mut world, "transports"), 1);
}

#[test]
fn a_full_table_refuses_the_newcomer_and_takes_one_again_after_a_close() {
    let limits = Limits { routers: 2, transports: 1, producers: 1, consumers: 1, ..Limits::default() };
    let mut world = World::with_limits(49, limits);
    let routers = [world.router(), world.router()];
    assert_eq!(code(world.command(Command::CreateRouter)), ErrorCode::ResourceExhausted);
    let alice = world.add(routers[0], PeerOptions::default());
    let bound = [world.bind()];
    let now = world.now;
    let command = Command::CreateWebRtcTransport { router: routers[0], options: WebRtcTransportOptions::default() };
    assert_eq!(code(world.shard.handle_command(now, &bound, command)), ErrorCode::ResourceExhausted);
    let producer = world.produce_audio(alice, 5);
    let config = Box::new(world.audio_config(alice, 6));
    let transport = world.members[alice].transport.id;
    assert_eq!(code(world.command(Command::Produce { transport, config })), ErrorCode::ResourceExhausted);
    world.consume(alice, producer);
    assert_eq!(code(world.try_consume(alice, producer, false)), ErrorCode::ResourceExhausted);
    world.close(producer).expect("close");
    world.produce_audio(alice, 6);
    world.close(routers[1]).expect("close");
    world.router();
}

/// A tree under construction, and what has become of each object.
struct Tree {
    world: World,
    rng: ChaCha8Rng,
    live: Vec<ObjectId>,
    ended: HashMap<ObjectId, usize>,
    sockets: usize,
    mids: u32,
}

impl Tree {
    fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { world, rng, live: Vec::new(), ended: HashMap::new(), sockets: 0, mids: 0 }
    }

    fn pick(&mut self, kind: ObjectKind) -> Option<ObjectId> {
        let all: Vec<ObjectId> = self.live.iter().copied().filter(|id| id.kind() == Some(kind)).collect();
        (!all.is_empty()).then(|| all[self.rng.next_u32() as usize % all.len()])
    }

    fn mid(&mut self) -> Mid {
        self.mids += 1;
        Mid::new(self.mids.to_string().as_bytes()).expect("legal")
    }

    fn grow(&mut self) {
        let now = self.world.now;
        let reply = match self.rng.next_u32() % 8 {
            0 => self.world.command(Command::CreateRouter),
            1 => {
                let bound = [self.world.bind()];
                self.sockets += 1;
                self.world.shard.handle_command(now, &bound, Command::CreateWebRtcServer)
            }
            2 | 3 => {
                let Some(router) = self.pick(ObjectKind::Router) else { return };
                let server = self.pick(ObjectKind::WebRtcServer).filter(|_| self.rng.next_u32().is_multiple_of(2));
                let (listen, bound) = match server {
                    Some(server) => (Listen::Server(server), vec![]),
                    None => (Listen::Own, vec![self.world.bind()]),
                };
                self.sockets += bound.len();
                let options = WebRtcTransportOptions { listen, ..WebRtcTransportOptions::default() };
                self.world.shard.handle_command(now, &bound, Command::CreateWebRtcTransport { router, options })
            }
            4 | 5 => {
                let Some(transport) = self.pick(ObjectKind::Transport) else { return };
                let (mid, ssrc) = (self.mid(), self.rng.next_u32());
                let config = producer_config(MediaKind::Video, mid, vec![vp8()], Some(ssrc), None);
                self.world.command(Command::Produce { transport, config: Box::new(config) })
            }
            _ => {
                let (Some(transport), Some(producer)) =
                    (self.pick(ObjectKind::Transport), self.pick(ObjectKind::Producer))
                else {
                    return;
                };
                let config = consumer_config(producer, MediaKind::Video, self.mid(), false);
                self.world.command(Command::Consume { transport, config: Box::new(config) })
            }
        };
        match reply {
            Ok(Reply::Created(id)) => self.live.push(id),
            Ok(Reply::WebRtcTransport(created)) => self.live.push(created.id),
            Ok(Reply::Consumer(created)) => self.live.push(created.id),
            Ok(other) => panic!("{other:?}"),
            // The producer is in another router.
            Err(error) => assert_eq!(error.code, ErrorCode::InvalidArgument),
        }
    }

    fn close_one(&mut self) {
        if self.live.is_empty() {
            return;
        }
        let at = self.rng.next_u32() as usize % self.live.len();
        let id = self.live[at];
        self.world.close(id).expect("it is live");
        self.end(id);
        for event in std::mem::take(&mut self.world.events) {
            if let Event::Closed { object, .. } = event {
                self.end(object);
            }
        }
        assert_eq!(code(self.world.close(id)), ErrorCode::NotFound);
    }

    fn end(&mut self, id: ObjectId) {
        self.live.retain(|l| *l != id);
        *self.ended.entry(id).or_default() += 1;
    }

    fn finish(mut self) {
        while !self.live.is_empty() {
            self.close_one();
        }
        assert!(self.ended.values().all(|n| *n == 1), "each object ends once");
        assert_eq!(self.world.releases.len(), self.sockets, "each socket is released once");
        assert_empty(&mut self.world);
        self.world.run(Duration::from_secs(120));
        assert_eq!(self.world.shard.next_timeout(), None, "no timer outlives its object");
    }
}

/// Full: 100,000 orders (`make attack`).
#[test]
fn h26_any_order_of_closing_at_any_step_of_building_leaves_nothing_behind() {
    // One shard sees them all, so that slots are used again and again.
    let orders = match std::env::var("SFU_SCALE").as_deref() {
        Ok("full") => 100_000,
        Ok(other) => panic!("SFU_SCALE is {other:?}: leave it out, or give \"full\""),
        Err(_) => 10_000,
    };
    let mut tree = Tree::new(50);
    for _ in 0..orders {
        for _ in 0..tree.rng.next_u32() % 12 {
            tree.grow();
        }
        for _ in 0..tree.rng.next_u32() % 6 {
            tree.close_one();
        }
        if tree.rng.next_u32().is_multiple_of(16) {
            while !tree.live.is_empty() {
                tree.close_one();
            }
            assert_empty(&mut tree.world);
        }
    }
    tree.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn h26_a_call_closed_in_any_order_while_media_flows(order in Just((0..9usize).collect::<Vec<_>>()).prop_shuffle(), seed in 0..1000u64) {
        let mut world = World::new(seed);
        let router = world.router();
        let (alice, bob) = (world.join(router), world.join_with(router, PeerOptions { role: DtlsRole::Server, ..PeerOptions::default() }));
        let carol = world.add(router, PeerOptions::default());
        world.start(carol);
        world.settle();
        let (audio, video) = (world.produce_audio(alice, 5), world.produce_video(alice, 7));
        let consumers = [world.consume(bob, audio).id, world.consume(bob, video).id, world.consume(carol, audio).id];
        let ids = [
            world.members[alice].transport.id, world.members[bob].transport.id, world.members[carol].transport.id,
            audio, video, consumers[0], consumers[1], consumers[2], router,
        ];
        for (n, at) in order.into_iter().enumerate() {
            world.send_rtp(alice, &rtp(OPUS, 5, n as u16, 0, &[], b"x"));
            world.run(Duration::from_millis(30));
            let known = world.dump(ids[at]).is_some();
            prop_assert_eq!(world.close(ids[at]).is_ok(), known);
        }
        assert_empty(&mut world);
        world.run(Duration::from_secs(120));
        prop_assert_eq!(world.shard.next_timeout(), None);
        prop_assert_eq!(world.releases.len(), 3);
    }
}

#[test]
fn row_077_at_the_end_every_peer_is_told_even_if_that_takes_several_outboxes() {
    const PEERS: usize = 20;
    // A quarter of it holds three farewells or so.
    let limits = Limits { outbox_datagrams: 16, ..Limits::default() };
    let mut world = World::with_limits(60, limits);
    let routers = [world.router(), world.router()];
    let members: Vec<usize> = (0..PEERS).map(|n| world.join(routers[n % 2])).collect();
    let producer = world.produce_audio(members[0], 5);
    let heard: Vec<u32> = (1..PEERS / 2).map(|n| world.consume(members[2 * n], producer).ssrc).collect();
    for n in 0..5 {
        world.send_rtp(members[0], &rtp(OPUS, 5, n, 960 * u32::from(n), &[], b"x"));
    }
    members.iter().for_each(|m| drop(world.received(*m)));
    let handshaking = world.add(routers[0], PeerOptions::default());
    world.start(handshaking);
    let (now, events) = (world.now, world.events.len());
    let mut rounds = 1;
    while world.shard.handle_shutdown(now) {
        world.settle();
        rounds += 1;
        assert!(rounds <= PEERS, "each round tells somebody");
    }
    world.settle();
    assert!(rounds > 2, "{rounds}");
    let mut left = Vec::new();
    for member in &members {
        assert_eq!(world.members[*member].peer.failure(), Some("closed"), "member {member}");
        for received in world.received(*member) {
            let Received::Rtcp(bytes) = received else { panic!("media at the end") };
            for packet in Packets::new(&bytes, true).expect("sound").flatten() {
                if let RtcpPacket::Bye(bye) = packet {
                    left.extend(bye.ssrcs());
                }
            }
        }
    }
    left.sort_unstable();
    let mut all = heard;
    all.sort_unstable();
    assert_eq!(left, all, "each stream that ran has said bye, once");
    assert_eq!(world.events.len(), events, "nobody is there to hear of it");
    assert_eq!(world.drops(DropReason::TransmitFull), 0);
    assert!(!world.shard.handle_shutdown(now), "again is nothing");
    assert_eq!(counter(&mut world, "transports"), 0);
}
