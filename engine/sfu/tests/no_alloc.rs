//! After warm-up the way of a media packet allocates nothing: real SRTP in, one producer, many
//! consumers, real SRTP out.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sfu_core::command::{Command, Event, Reply};
use sfu_core::config::{CodecConfig, ConsumerConfig};
use sfu_core::limits::Limits;
use sfu_core::observer::ObserverOptions;
use sfu_core::shard::{Shard, ShardConfig};
use sfu_core::tap::{TapFormat, TapOptions};
use sfu_core::testing::world::{OPUS, VP8, World, consumer_config, producer_config, rtp, vp8, vp8_frame};
use sfu_core::trace::TraceMask;
use sfu_proto::crypto::Certificate;
use sfu_proto::srtp::SrtpProfile;
use sfu_wire::codec::CodecKind;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::scalability::Layers;
use sfu_wire::time::Time;

/// Counts allocations while it is told to.
struct Counting;

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

fn count() {
    if COUNTING.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed to the system's allocator as it came; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: `pointer` came from `System` with this layout; the caller vouches for `size`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Sends `packets` of audio and video; answers how many datagrams came out, and how often memory was
/// asked for meanwhile.
fn turn(world: &mut World, alice: usize, first: u16, packets: u16) -> (usize, u64) {
    let (now, socket, from) = (world.now, world.members[alice].socket, world.members[alice].peer.addr());
    let mut datagrams = Vec::new();
    for n in first..first + packets {
        let peer = &mut world.members[alice].peer;
        peer.send_rtp(&rtp(OPUS, 5, n, u32::from(n) * 960, &[(3, &[40])], &[1; 100]));
        let mut picture = rtp(VP8, 7, n, u32::from(n) * 3_000, &[], &vp8_frame(n == 0, n));
        // Without the marker it is the first packet of its frame, and padded where that is wanted.
        picture[1] &= if n % 2 == 0 { 0x7f } else { 0xff };
        peer.send_rtp(&picture);
        datagrams.extend(std::iter::from_fn(|| peer.poll_transmit()));
    }
    let mut out = 0;
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    COUNTING.store(true, Ordering::Relaxed);
    for (n, datagram) in datagrams.iter_mut().enumerate() {
        let now = now + Duration::from_millis(10 * n as u64);
        world.shard.handle_datagram(now, now, socket, from, datagram);
        world.shard.handle_timeout(now);
        out += world.shard.outbox().transmits().len();
        world.shard.outbox().clear();
        world.shard.clear_taps();
    }
    COUNTING.store(false, Ordering::Relaxed);
    world.now = now + Duration::from_millis(10 * datagrams.len() as u64);
    (out, ALLOCATIONS.load(Ordering::Relaxed) - before)
}

/// Audio alone, packets so close that the million is sent within the life of a consent.
fn bulk(world: &mut World, alice: usize, first: u16, packets: u16) -> (usize, u64) {
    let (socket, from) = (world.members[alice].socket, world.members[alice].peer.addr());
    let mut datagrams = Vec::new();
    for n in first..first + packets {
        let peer = &mut world.members[alice].peer;
        peer.send_rtp(&rtp(OPUS, 5, n, u32::from(n) * 960, &[], &[1; 100]));
        datagrams.extend(peer.poll_transmit());
    }
    let mut out = 0;
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    COUNTING.store(true, Ordering::Relaxed);
    for datagram in &mut datagrams {
        world.now += Duration::from_micros(500);
        let now = world.now;
        world.shard.handle_datagram(now, now, socket, from, datagram);
        world.shard.handle_timeout(now);
        out += world.shard.outbox().transmits().len();
        world.shard.outbox().clear();
        world.shard.clear_taps();
    }
    COUNTING.store(false, Ordering::Relaxed);
    (out, ALLOCATIONS.load(Ordering::Relaxed) - before)
}

/// A million forwarded packets, reports and timers of all that time included.
#[test]
fn a_million_forwarded_packets_allocate_nothing() {
    const CONSUMERS: usize = 40;
    let _alone = alone();
    let mut world = World::new(62);
    let router = world.router();
    let alice = world.join(router);
    let audio = world.produce_audio(alice, 5);
    for _ in 0..CONSUMERS {
        let member = world.join(router);
        world.consume(member, audio);
    }
    world.settle();
    // Warm-up: the history is full, and every consumer has reported.
    let mut next = 0;
    for _ in 0..8 {
        bulk(&mut world, alice, next, 500);
        next += 500;
    }
    let (mut out, mut allocations) = (0, 0);
    while out < 1_000_000 {
        let (sent, asked) = bulk(&mut world, alice, next, 500);
        assert!(sent >= 500 * CONSUMERS, "{sent} datagrams of 500 packets");
        (out, allocations, next) = (out + sent, allocations + asked, next + 500);
    }
    assert_eq!(allocations, 0, "for {out} datagrams");
}

/// The count is of the whole process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn observers_traces_and_decision_logs_allocate_nothing_for_a_packet() {
    let _alone = alone();
    let mut world = World::new(61);
    let router = world.router();
    let alice = world.join(router);
    let mut config = world.audio_config(alice, 5);
    config.extensions.set(ExtensionKind::AudioLevel, 3);
    let (audio, video) = (world.produce(alice, config), world.produce_video(alice, 7));
    for options in [ObserverOptions::AUDIO_LEVEL, ObserverOptions::ACTIVE_SPEAKER] {
        let observer = world.create(Command::CreateObserver { router, options });
        world.command(Command::Observe { observer, producer: audio }).expect("it can be heard");
    }
    let member = world.join(router);
    let consumers = [audio, video].map(|producer| world.consume(member, producer).id);
    let paused = world.try_consume(member, video, true).expect("a consumer").id;
    for object in [audio, video, consumers[0], consumers[1]] {
        world.command(Command::SetTrace { object, kinds: TraceMask::RTP }).expect("it can be traced");
    }
    for object in [world.members[alice].transport.id, world.members[member].transport.id, paused] {
        world.command(Command::KeepDecisions { object, rows: 64 }).expect("they can be kept");
    }
    world.settle();
    turn(&mut world, alice, 0, 1_000);
    while world.shard.poll_event().is_some() {}
    let (out, allocations) = turn(&mut world, alice, 1_000, 200);
    assert!(out >= 400, "{out} datagrams");
    // What is told at the end of a window is a list of its own: one for each second.
    assert!(allocations <= 4, "{allocations} for {out} datagrams");
    let traced = std::iter::from_fn(|| world.shard.poll_event()).filter(|e| matches!(e, Event::Trace { .. })).count();
    assert!(traced >= 800, "{traced}");
}

#[test]
fn a_media_packet_allocates_nothing_after_warm_up() {
    let _alone = alone();
    let mut world = World::new(60);
    let router = world.router();
    let alice = world.join(router);
    let (audio, video) = (world.produce_audio(alice, 5), world.produce_video(alice, 7));
    for n in 0..20 {
        let member = world.join(router);
        world.consume(member, audio);
        let mid = Mid::new(b"v").expect("legal");
        let config = consumer_config(video, MediaKind::Video, mid, false);
        let config = Box::new(ConsumerConfig { pad_frames: n % 2 == 0, ..config });
        let transport = world.members[member].transport.id;
        world.command(Command::Consume { transport, config }).expect("a consumer");
    }
    world.settle();
    // Warm-up: until the history of retransmissions has been filled and emptied once.
    turn(&mut world, alice, 0, 1_000);
    let (out, allocations) = turn(&mut world, alice, 1_000, 200);
    assert!(out >= 400 * 20, "{out} datagrams");
    assert_eq!(allocations, 0, "for {out} datagrams");
}

/// Five frames and a repair packet over them, again and again, made anew for each consumer.
#[test]
fn flexfec_made_anew_for_each_consumer_allocates_nothing() {
    const FLEXFEC: u8 = 35;
    let _alone = alone();
    let mut world = World::new(64);
    let router = world.router();
    let alice = world.join(router);
    let codec =
        CodecConfig { slot: 9, kind: CodecKind::FlexFec, payload_type: FLEXFEC, rtx_payload_type: None, ..vp8() };
    let mid = Mid::new(b"v").expect("legal");
    let mut config = producer_config(MediaKind::Video, mid, vec![vp8(), codec], Some(7), Some(8));
    config.encodings[0].fec_ssrc = Some(9);
    let producer = world.produce(alice, config.clone());
    for _ in 0..5 {
        let member = world.join(router);
        let plain = consumer_config(producer, MediaKind::Video, mid, false);
        let wanted = Box::new(ConsumerConfig { codecs: config.codecs.clone(), ..plain });
        let transport = world.members[member].transport.id;
        world.command(Command::Consume { transport, config: wanted }).expect("it can be consumed");
    }
    world.settle();
    let round = |world: &mut World, frames: std::ops::Range<u16>| {
        let (socket, from) = (world.members[alice].socket, world.members[alice].peer.addr());
        let mut datagrams = Vec::new();
        for n in frames {
            let peer = &mut world.members[alice].peer;
            peer.send_rtp(&rtp(VP8, 7, n, u32::from(n) * 3_000, &[], &vp8_frame(n == 0, n)));
            if n % 5 == 4 {
                let mut payload = vec![0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7];
                payload.extend((n - 4).to_be_bytes());
                payload.extend([0xfc, 0]);
                payload.resize(100, 0x55);
                peer.send_rtp(&rtp(FLEXFEC, 9, n / 5, 0, &[], &payload));
            }
            datagrams.extend(std::iter::from_fn(|| peer.poll_transmit()));
        }
        let (mut out, before) = (0, ALLOCATIONS.load(Ordering::Relaxed));
        COUNTING.store(true, Ordering::Relaxed);
        for datagram in &mut datagrams {
            world.now += Duration::from_millis(5);
            let now = world.now;
            world.shard.handle_datagram(now, now, socket, from, datagram);
            world.shard.handle_timeout(now);
            out += world.shard.outbox().transmits().len();
            world.shard.outbox().clear();
        }
        COUNTING.store(false, Ordering::Relaxed);
        (out, ALLOCATIONS.load(Ordering::Relaxed) - before)
    };
    round(&mut world, 0..1_000);
    let (out, allocations) = round(&mut world, 1_000..1_200);
    assert!(out >= (200 + 40) * 5, "{out} datagrams");
    assert_eq!(allocations, 0, "for {out} datagrams");
}

/// The room for copies is made when the tap starts.
#[test]
fn a_tap_allocates_nothing_for_a_packet_neither_on_nor_off() {
    let _alone = alone();
    let mut world = World::new(63);
    let router = world.router();
    let alice = world.join(router);
    let (audio, video) = (world.produce_audio(alice, 5), world.produce_video(alice, 7));
    let member = world.join(router);
    world.consume(member, audio);
    world.consume(member, video);
    world.settle();
    turn(&mut world, alice, 0, 1_000);
    let transports = [alice, member].map(|who| world.members[who].transport.id);
    for transport in transports {
        let options = TapOptions {
            name: "a".to_owned(),
            format: TapFormat::Pcapng,
            max_bytes: 1 << 30,
            max_duration: Duration::from_secs(3_600),
            headers_only: false,
        };
        world.command(Command::StartTap { transport, options }).expect("it can be tapped");
    }
    let (on, allocations) = turn(&mut world, alice, 1_000, 200);
    assert_eq!(allocations, 0, "for {on} tapped datagrams");
    for transport in transports {
        world.command(Command::StopTap { transport }).expect("it can be stopped");
    }
    world.events.extend(std::iter::from_fn(|| world.shard.poll_event()));
    let told = world.events.drain(..).filter_map(|event| match event {
        Event::TapClosed { packets, dropped, .. } => Some((packets, dropped)),
        _ => None,
    });
    let told: Vec<_> = told.collect();
    assert!(told.len() == 2 && told.iter().all(|(packets, dropped)| *packets >= 400 && *dropped == 0), "{told:?}");
    let (off, allocations) = turn(&mut world, alice, 1_200, 200);
    assert_eq!((off >= 400, allocations), (true, 0));
}

/// What two shards of one engine have to say to each other; answers how many packets crossed.
fn cross(shards: &mut [Shard; 2], now: Time) -> usize {
    let mut crossed = 0;
    for (from, to) in [(0, 1), (1, 0)] {
        while let Some(out) = shards[from].poll_peer(to as u8) {
            let packet = out.packet.as_deref().unwrap_or_default();
            crossed += usize::from(!packet.is_empty());
            shards[to].handle_peer(now, from as u8, &out.message, packet);
        }
    }
    crossed
}

#[test]
fn packets_that_cross_to_another_shard_allocate_nothing() {
    assert_eq!(cross_without_allocations(vp8_frame, None), (3_000, 4 * 3_000));
}

#[test]
fn layers_that_are_left_out_before_they_cross_allocate_nothing() {
    // Every second picture is of the upper layer.
    assert_eq!(cross_without_allocations(layered_frame, Some(Layers::default())), (1_500, 4 * 1_500));
}

/// A frame of two temporal layers in turns (RFC 7741, section 4.2); those of the upper one refer to the lower one alone.
fn layered_frame(key: bool, n: u16) -> Vec<u8> {
    let plain = vp8_frame(key, n);
    let layer = if n.is_multiple_of(2) { 0 } else { 0x60 };
    [&[0x90, 0xe0, plain[2], plain[3], (n / 2) as u8, layer], &plain[4..]].concat()
}

/// What three thousand frames come to of which viewers on another shard want these layers: packets that crossed, and
/// packets of media that the viewers were sent.
fn cross_without_allocations(frame: fn(bool, u16) -> Vec<u8>, preferred: Option<Layers>) -> (usize, usize) {
    let _alone = alone();
    let certificate = Certificate::generate().expect("a certificate");
    let mut shards = [0_u8, 1].map(|index| {
        let config = ShardConfig {
            index,
            life: 0,
            seed: [index; 32],
            epoch_unix_nanos: 1_800_000_000_000_000_000,
            certificate: certificate.clone(),
            srtp_profiles: SrtpProfile::ALL.to_vec(),
            limits: Limits::default(),
        };
        Shard::new(config).expect("a shard")
    });
    let mut now = Time::from_millis(1_000);
    let mut create = |shard: usize, command| match shards[shard].handle_command(now, &[], command) {
        Ok(Reply::Created(id)) => id,
        Ok(Reply::Consumer(created)) => created.id,
        other => panic!("not made: {other:?}"),
    };
    let router = create(0, Command::CreateRouter);
    let direct = Command::CreateDirectTransport { router, max_incoming_bitrate: 0 };
    let transport = create(0, direct.clone());
    let mid = Mid::new(b"a").expect("legal");
    let source = producer_config(MediaKind::Video, mid, vec![vp8()], Some(7), None);
    let producer = create(0, Command::Produce { transport, config: Box::new(source.clone()) });
    for _ in 0..4 {
        let transport = create(1, Command::InBranch { home: router, command: Box::new(direct.clone()) });
        let mut config = Box::new(consumer_config(producer, MediaKind::Video, mid, false));
        config.preferred_layers = preferred;
        let command = Box::new(Command::Consume { transport, config });
        create(1, Command::Across { producer, source: Box::new(source.clone()), command });
    }
    cross(&mut shards, now);
    let (mut crossed, mut out) = (0, 0);
    for n in 0..6_000_u16 {
        let packet = rtp(VP8, 7, n, u32::from(n) * 3_000, &[], &frame(n == 0, n));
        // The histories are full by then, and everybody has reported.
        COUNTING.store(n >= 3_000, Ordering::Relaxed);
        if n == 3_000 {
            ALLOCATIONS.store(0, Ordering::Relaxed);
            (crossed, out) = (0, 0);
        }
        now += Duration::from_millis(10);
        shards[0].handle_media(now, producer, &packet);
        shards.iter_mut().for_each(|shard| shard.handle_timeout(now));
        crossed += cross(&mut shards, now);
        // Reports come by the same way.
        out += shards[1].media().filter(|packet| packet.bytes[1] & 0x7f < 64 || packet.bytes[1] & 0x7f >= 96).count();
        shards.iter_mut().for_each(Shard::clear_media);
        COUNTING.store(false, Ordering::Relaxed);
        shards.iter_mut().for_each(|shard| while shard.poll_event().is_some() {});
    }
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), 0);
    (crossed, out)
}
