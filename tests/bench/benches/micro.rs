//! Parse, protect and unprotect, and the fan-out of one packet through the pure shard.

use std::cell::Cell;
use std::collections::VecDeque;
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sfu_bench::call;
use sfu_core::command::{BoundSocket, Command, Listen, Reply, WebRtcTransportOptions};
use sfu_core::limits::Limits;
use sfu_core::shard::{Shard, ShardConfig};
use sfu_core::testing::{Peer, PeerOptions};
use sfu_proto::crypto::Certificate;
use sfu_proto::keys::KeyMaterial;
use sfu_proto::srtp::{SrtpProfile, SrtpReceiver, SrtpSender};
use sfu_sim::layer_call::{Plan, consumer_config, producer_config};
use sfu_sim::layered::LayeredSource;
use sfu_wire::codec::CodecKind;
use sfu_wire::id::ObjectId;
use sfu_wire::net::{Protocol, SocketId};
use sfu_wire::rtp::RtpView;
use sfu_wire::stun::StunMessage;
use sfu_wire::time::Time;

const SOCKET: SocketId = SocketId(1);
/// SSRCs in rotation, so that keys leave the cache as they do in life.
const KEYS: usize = 500;

fn parse(c: &mut Criterion) {
    let rtp = call::packet(0, 1, 1_200, 0);
    c.bench_function("parse/rtp", |b| b.iter(|| RtpView::parse(black_box(&rtp)).map(|v| v.sequence)));
    let binding = {
        let (_, mut peer) = transport(&mut shard());
        peer.binding_request(true)
    };
    c.bench_function("parse/stun", |b| b.iter(|| StunMessage::parse(black_box(&binding)).map(|m| m.priority())));
}

fn protect(c: &mut Criterion) {
    for profile in SrtpProfile::ALL {
        let keys: Vec<KeyMaterial> = (0..KEYS).map(|i| key(profile, i as u8)).collect();
        let mut senders: Vec<_> = keys.iter().map(|k| SrtpSender::new(&profile, k).expect("keys")).collect();
        let mut sequence = 0u64;
        c.bench_function(&format!("protect/{profile:?}/1200"), |b| {
            b.iter_batched_ref(
                || {
                    sequence += 1;
                    let mut buf = call::packet(0, sequence / KEYS as u64, 1_200, 0);
                    buf.resize(1_300, 0);
                    (buf, (sequence % KEYS as u64) as usize)
                },
                |(buf, i)| senders[*i].protect_rtp(buf, 1_200),
                BatchSize::SmallInput,
            );
        });
        let mut sender = SrtpSender::new(&profile, &keys[0]).expect("keys");
        let mut receiver = SrtpReceiver::new(&profile, &keys[0]).expect("keys");
        let mut sequence = 0u64;
        c.bench_function(&format!("unprotect/{profile:?}/1200"), |b| {
            b.iter_batched_ref(
                || {
                    sequence += 1;
                    let mut buf = call::packet(0, sequence, 1_200, 0);
                    buf.resize(1_300, 0);
                    let len = sender.protect_rtp(&mut buf, 1_200).expect("protects");
                    buf.truncate(len);
                    buf
                },
                |buf| receiver.unprotect_rtp(buf).expect("unprotects"),
                BatchSize::PerIteration,
            );
        });
    }
}

fn key(profile: SrtpProfile, fill: u8) -> KeyMaterial {
    KeyMaterial::new(&vec![fill; profile.key_len() + profile.salt_len()]).expect("the profile's length")
}

fn shard() -> (Shard, ObjectId, ObjectId) {
    let mut shard = Shard::new(ShardConfig {
        index: 0,
        life: 0,
        seed: [7; 32],
        epoch_unix_nanos: 1_700_000_000_000_000_000,
        certificate: Certificate::generate().expect("a certificate"),
        srtp_profiles: vec![SrtpProfile::AeadAes128Gcm],
        limits: Limits::default(),
    })
    .expect("a shard");
    let local = SocketAddr::from(([198, 51, 100, 1], 4_444));
    let bound =
        [BoundSocket { socket: SOCKET, protocol: Protocol::Udp, local, announced: None, expose_internal_ip: false }];
    let Ok(Reply::Created(server)) = shard.handle_command(START, &bound, Command::CreateWebRtcServer) else {
        panic!("no server");
    };
    let Ok(Reply::Created(router)) = shard.handle_command(START, &[], Command::CreateRouter) else {
        panic!("no router");
    };
    (shard, router, server)
}

const START: Time = Time::from_nanos(1_000_000_000);

fn transport((shard, router, server): &mut (Shard, ObjectId, ObjectId)) -> (ObjectId, Peer) {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(1);
    let port = 10_000 + NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let options = WebRtcTransportOptions { listen: Listen::Server(*server), ..WebRtcTransportOptions::default() };
    let create = Command::CreateWebRtcTransport { router: *router, options };
    let Ok(Reply::WebRtcTransport(created)) = shard.handle_command(START, &[], create) else {
        panic!("no transport");
    };
    let mut peer = Peer::new(u64::from(port), SocketAddr::from(([192, 0, 2, 1], port)), PeerOptions::default());
    let connect = Command::ConnectWebRtcTransport { transport: created.id, dtls: peer.dtls_parameters() };
    shard.handle_command(START, &[], connect).expect("connects");
    peer.start(START, SocketAddr::from(([198, 51, 100, 1], 4_444)), created.ice, created.fingerprints);
    (created.id, peer)
}

/// Hands datagrams back and forth until both sides are silent; returns the time.
fn settle(shard: &mut Shard, peers: &mut [Peer], mut now: Time) -> Time {
    for _ in 0..200 {
        now += Duration::from_millis(5);
        shard.handle_timeout(now);
        for peer in peers.iter_mut() {
            peer.handle_timeout(now);
            while let Some(mut bytes) = peer.poll_transmit() {
                shard.handle_datagram(now, now, SOCKET, peer.addr(), &mut bytes);
            }
            let outbox = shard.outbox();
            let sent: Vec<_> = outbox.transmits().iter().map(|t| (t.to, outbox.bytes(t).to_vec())).collect();
            outbox.clear();
            for (to, mut bytes) in sent {
                if to == peer.addr() {
                    peer.handle_datagram(now, &mut bytes);
                }
            }
        }
        while shard.poll_event().is_some() {}
        if peers.iter().all(Peer::is_connected) {
            break;
        }
    }
    assert!(peers.iter().all(Peer::is_connected), "not connected");
    now
}

fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("fan-out");
    for consumers in [10usize, 100, 500] {
        let mut world = shard();
        let (publisher, peer) = transport(&mut world);
        let mut peers = vec![peer];
        let produce = Command::Produce { transport: publisher, config: Box::new(call::producer_config(0)) };
        let Ok(Reply::Created(producer)) = world.0.handle_command(START, &[], produce) else { panic!("no producer") };
        for _ in 0..consumers {
            let (id, peer) = transport(&mut world);
            let config = Box::new(call::consumer_config(producer, 0));
            world.0.handle_command(START, &[], Command::Consume { transport: id, config }).expect("a consumer");
            peers.push(peer);
        }
        let (mut shard, ..) = world;
        let now = Cell::new(settle(&mut shard, &mut peers, START));
        let from = peers[0].addr();
        let mut sequence = 0u64;
        group.throughput(Throughput::Elements(consumers as u64));
        group.bench_function(format!("{consumers}"), |b| {
            b.iter_batched_ref(
                || {
                    sequence += 1;
                    now.set(now.get() + Duration::from_micros(10));
                    peers[0].send_rtp(&call::packet(0, sequence, 1_200, 0));
                    peers[0].poll_transmit().expect("a packet")
                },
                |bytes| {
                    shard.handle_datagram(now.get(), now.get(), SOCKET, from, bytes);
                    let sent = shard.outbox().transmits().len();
                    shard.outbox().clear();
                    assert!(sent >= consumers, "{sent} of {consumers}");
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// Fan-out of layers: one packet at a time as a publisher of three encodings, or of nine layers in one, sends them.
/// Consumers get the highest encoding, or the highest spatial layer; what it costs to leave the rest out is in it.
fn fan_out_layers(c: &mut Criterion) {
    let mut group = c.benchmark_group("fan-out-layers");
    let plan = Plan { codec: CodecKind::Vp8, mode: "L1T3", encodings: 3, described: false, opaque: false, cache: true };
    let plans = [
        ("single", Plan { encodings: 1, mode: "L1T1", ..plan }),
        ("simulcast-vp8", plan),
        ("svc-vp9", Plan { codec: CodecKind::Vp9, mode: "L3T3", encodings: 1, ..plan }),
        ("k-svc-av1", Plan { codec: CodecKind::Av1, mode: "L3T3_KEY", encodings: 1, described: true, ..plan }),
    ];
    for (name, plan) in plans {
        const CONSUMERS: usize = 100;
        let mut source = LayeredSource::new(plan.codec, plan.mode, plan.encodings, 0, 96, plan.described);
        source.fill = 1_100;
        let mut world = shard();
        let (publisher, peer) = transport(&mut world);
        let mut peers = vec![peer];
        let config = Box::new(producer_config(&plan, &source));
        let produce = Command::Produce { transport: publisher, config };
        let Ok(Reply::Created(producer)) = world.0.handle_command(START, &[], produce) else { panic!("no producer") };
        for _ in 0..CONSUMERS {
            let (id, peer) = transport(&mut world);
            let config = Box::new(consumer_config(&plan, producer, None));
            world.0.handle_command(START, &[], Command::Consume { transport: id, config }).expect("a consumer");
            peers.push(peer);
        }
        let (mut shard, ..) = world;
        let now = Cell::new(settle(&mut shard, &mut peers, START));
        let from = peers[0].addr();
        let mut waiting = VecDeque::new();
        let mut sent = 0;
        group.throughput(Throughput::Elements(CONSUMERS as u64));
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || {
                    if waiting.is_empty() {
                        now.set(now.get() + Duration::from_millis(33));
                        waiting.extend((0..plan.encodings).flat_map(|e| source.picture(e, now.get())));
                    }
                    peers[0].send_rtp(&waiting.pop_front().expect("a packet"));
                    peers[0].poll_transmit().expect("a packet")
                },
                |bytes| {
                    shard.handle_datagram(now.get(), now.get(), SOCKET, from, bytes);
                    sent += shard.outbox().transmits().len();
                    shard.outbox().clear();
                    while shard.poll_event().is_some() {}
                },
                BatchSize::PerIteration,
            );
        });
        assert!(sent >= CONSUMERS, "{name}: {sent} packets");
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    targets = parse, protect, fan_out, fan_out_layers
}
criterion_main!(benches);
