//! Plain transports: RTP and RTCP without ICE and DTLS, in both directions, with strangers around.

use std::net::SocketAddr;
use std::time::Duration;

use sfu_core::command::{
    BoundSocket, Command, CommandError, ErrorCode, Event, PlainRemote, PlainTransportCreated, PlainTransportOptions,
    Reply, SrtpParameters,
};
use sfu_core::stats::Dump;
use sfu_core::testing::world::{OPUS, VP8, World, consumer_config, opus, producer_config, rtp, vp8, vp8_frame};
use sfu_proto::keys::{KeyMaterial, SrtpProfile};
use sfu_proto::srtp::{SrtpReceiver, SrtpSender};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::net::SocketId;
use sfu_wire::rtcp::{Packets, Pli, ReceiverReport, RtcpPacket};
use sfu_wire::rtp::RtpView;

const OPTIONS: PlainTransportOptions =
    PlainTransportOptions { rtcp_mux: true, comedia: false, srtp: None, max_incoming_bitrate: 0 };

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// The publisher's host in all scripts.
fn publisher() -> SocketAddr {
    addr("203.0.113.5:40000")
}

struct Plain {
    id: ObjectId,
    sockets: Vec<SocketId>,
    created: PlainTransportCreated,
}

fn plain(world: &mut World, router: ObjectId, options: PlainTransportOptions) -> Plain {
    let bound: Vec<BoundSocket> = (0..if options.rtcp_mux { 1 } else { 2 }).map(|_| world.bind()).collect();
    let command = Command::CreatePlainTransport { router, options };
    match world.shard.handle_command(world.now, &bound, command) {
        Ok(Reply::PlainTransport(created)) => {
            Plain { id: created.id, sockets: bound.iter().map(|b| b.socket).collect(), created }
        }
        other => panic!("expected a plain transport, got {other:?}"),
    }
}

fn connect(world: &mut World, transport: ObjectId, remote: PlainRemote) -> Result<Reply, CommandError> {
    let reply = world.command(Command::ConnectPlainTransport { transport, remote: Box::new(remote) });
    world.settle();
    reply
}

fn at(remote: SocketAddr) -> PlainRemote {
    PlainRemote { ip: Some(remote.ip()), port: Some(remote.port()), ..PlainRemote::default() }
}

fn mid(n: u8) -> Mid {
    Mid::new(&[b'a' + n]).expect("legal")
}

fn produce(world: &mut World, transport: ObjectId, kind: MediaKind, ssrc: u32) -> ObjectId {
    let codec = if kind == MediaKind::Audio { opus() } else { vp8() };
    let config = Box::new(producer_config(kind, mid(kind as u8), vec![codec], Some(ssrc), None));
    world.create(Command::Produce { transport, config })
}

fn consume(world: &mut World, transport: ObjectId, producer: ObjectId, kind: MediaKind) -> u32 {
    let config = Box::new(consumer_config(producer, kind, mid(5), false));
    match world.command(Command::Consume { transport, config }) {
        Ok(Reply::Consumer(created)) => created.ssrc,
        other => panic!("expected a consumer, got {other:?}"),
    }
}

fn opus_packet(n: u16) -> Vec<u8> {
    rtp(OPUS, 1111, n, 960 * u32::from(n), &[], &[n as u8; 60])
}

fn is_rtcp(bytes: &[u8]) -> bool {
    (192..=223).contains(&bytes[1])
}

#[test]
fn media_of_a_fixed_peer_reaches_a_browser_and_strangers_reach_nobody() {
    let mut world = World::new(70);
    let router = world.router();
    let bob = world.join(router);
    let up = plain(&mut world, router, OPTIONS);
    connect(&mut world, up.id, at(publisher())).expect("connect");
    let audio = produce(&mut world, up.id, MediaKind::Audio, 1111);
    world.consume(bob, audio);
    for n in 0..20 {
        world.inject_at(up.sockets[0], publisher(), &opus_packet(n));
        for stranger in ["203.0.113.5:40001", "203.0.113.6:40000"] {
            world.inject_at(up.sockets[0], addr(stranger), &opus_packet(n + 1000));
        }
    }
    assert_eq!(world.rtp(bob).len(), 20);
    assert_eq!(world.drops(DropReason::UnknownTuple), 40);
    let stats = world.stats(up.id).expect("stats");
    assert_eq!(stats.drops.count(DropReason::UnknownTuple), 40);
    assert_eq!(stats.transport.expect("of a transport").packets_received, 20);
    assert!(world.strays.iter().all(|(_, to, _)| *to == publisher()), "nothing goes to a stranger");
}

#[test]
fn media_of_a_browser_leaves_in_the_clear_with_rtcp_on_its_own_port() {
    let mut world = World::new(71);
    let router = world.router();
    let alice = world.join(router);
    let video = world.produce_video(alice, 2222);
    let down = plain(&mut world, router, PlainTransportOptions { rtcp_mux: false, ..OPTIONS });
    assert!(down.created.rtcp.is_some());
    let ssrc = consume(&mut world, down.id, video, MediaKind::Video);
    let mut remote = at(publisher());
    remote.rtcp_port = Some(40_007);
    connect(&mut world, down.id, remote).expect("connect");
    for n in 0..30 {
        world.send_rtp(alice, &rtp(VP8, 2222, n, 3000 * u32::from(n), &[], &vp8_frame(n == 0, n)));
        world.run(Duration::from_millis(100));
    }
    let media = world.strays_from(down.sockets[0]);
    assert_eq!(media.len(), 30);
    for (to, bytes) in &media {
        assert_eq!(*to, publisher());
        let view = RtpView::parse(bytes).expect("RTP in the clear");
        assert_eq!((view.ssrc, view.payload_type), (ssrc, VP8));
    }
    let reports = world.strays_from(down.sockets[1]);
    assert!(!reports.is_empty());
    for (to, bytes) in &reports {
        assert_eq!(*to, addr("203.0.113.5:40007"));
        assert!(is_rtcp(bytes));
    }
    // The receiver's wish for a key frame comes by RTCP's port and reaches the browser.
    world.received(alice);
    let mut pli = [0; 64];
    let mut len = ReceiverReport { ssrc: 9 }.write(&mut pli, &[]).expect("room");
    len += Pli { sender_ssrc: 9, media_ssrc: ssrc }.write(&mut pli[len..]).expect("room");
    world.inject_at(down.sockets[1], addr("203.0.113.5:40007"), &pli[..len]);
    let asked = world.received(alice).iter().any(|r| match r {
        sfu_core::testing::Received::Rtcp(bytes) => Packets::new(bytes, true)
            .expect("sound")
            .any(|p| matches!(p, Ok(RtcpPacket::Pli(pli)) if pli.media_ssrc == 2222)),
        sfu_core::testing::Received::Rtp(_) => false,
    });
    assert!(asked, "the browser is asked for a key frame");
}

#[test]
fn h03_comedia_latches_once_onto_media_that_a_producer_takes() {
    let mut world = World::new(72);
    let router = world.router();
    let alice = world.join(router);
    let bob = world.join(router);
    let talk = world.produce_audio(alice, 7);
    let both = plain(&mut world, router, PlainTransportOptions { comedia: true, ..OPTIONS });
    let audio = produce(&mut world, both.id, MediaKind::Audio, 1111);
    consume(&mut world, both.id, talk, MediaKind::Audio);
    world.consume(bob, audio);
    let stranger = addr("203.0.113.99:40000");
    // Before the peer: media that belongs to nobody, RTCP, noise.
    world.inject_at(both.sockets[0], stranger, &rtp(77, 5, 1, 1, &[], b"bleed"));
    let mut report = [0; 8];
    let len = ReceiverReport { ssrc: 1111 }.write(&mut report, &[]).expect("room");
    world.inject_at(both.sockets[0], stranger, &report[..len]);
    for noise in [&[0x80, 111][..], &[0x16, 1, 2], &[0, 1, 0, 0], &[0xff; 40], &[]] {
        world.inject_at(both.sockets[0], stranger, noise);
    }
    world.send_rtp(alice, &rtp(OPUS, 7, 1, 1, &[], b"hello"));
    assert!(world.strays.is_empty(), "0 packets out to a stranger");
    // The peer.
    world.inject_at(both.sockets[0], publisher(), &opus_packet(1));
    let told: Vec<_> = world.events.iter().filter(|e| matches!(e, Event::TransportTuple { .. })).cloned().collect();
    assert_eq!(told.len(), 1);
    assert!(matches!(&told[0], Event::TransportTuple { tuple, rtcp: false, .. } if tuple.remote == publisher()));
    // After it: the stranger knows everything, and comes too late.
    world.inject_at(both.sockets[0], stranger, &opus_packet(2));
    world.inject_at(both.sockets[0], publisher(), &opus_packet(2));
    world.send_rtp(alice, &rtp(OPUS, 7, 2, 961, &[], b"hello"));
    assert_eq!(world.rtp(bob).len(), 2, "0 packets of a stranger are forwarded");
    let out = world.strays_from(both.sockets[0]);
    assert!(!out.is_empty() && out.iter().all(|(to, _)| *to == publisher()));
}

#[test]
fn h03_rtcp_without_keys_latches_only_to_the_host_that_rtp_comes_from() {
    let mut world = World::new(73);
    let router = world.router();
    let up = plain(&mut world, router, PlainTransportOptions { comedia: true, rtcp_mux: false, ..OPTIONS });
    produce(&mut world, up.id, MediaKind::Audio, 1111);
    let mut report = [0; 8];
    let len = ReceiverReport { ssrc: 1111 }.write(&mut report, &[]).expect("room");
    let rtcp_of_publisher = addr("203.0.113.5:40001");
    world.inject_at(up.sockets[1], rtcp_of_publisher, &report[..len]);
    world.inject_at(up.sockets[0], publisher(), &opus_packet(1));
    world.inject_at(up.sockets[1], addr("203.0.113.99:40001"), &report[..len]);
    let dump = |world: &mut World| match world.dump(up.id) {
        Some(Dump::PlainTransport(dump)) => dump,
        other => panic!("expected a plain transport, got {other:?}"),
    };
    assert_eq!(dump(&mut world).rtcp_tuple, None);
    world.inject_at(up.sockets[1], rtcp_of_publisher, &report[..len]);
    assert_eq!(dump(&mut world).rtcp_tuple.map(|t| t.remote), Some(rtcp_of_publisher));
    assert_eq!(dump(&mut world).tuple.map(|t| t.remote), Some(publisher()));
}

fn key_of(profile: SrtpProfile, byte: u8) -> SrtpParameters {
    let key = vec![byte; profile.key_len() + profile.salt_len()];
    SrtpParameters { profile, key: KeyMaterial::new(&key).expect("short enough") }
}

#[test]
fn h03_comedia_with_srtp_latches_only_after_a_valid_tag_in_every_suite() {
    for (n, profile) in SrtpProfile::ALL.into_iter().enumerate() {
        let mut world = World::new(80 + n as u64);
        let router = world.router();
        let alice = world.join(router);
        let bob = world.join(router);
        let talk = world.produce_audio(alice, 7);
        let options = PlainTransportOptions { comedia: true, srtp: Some(profile), ..OPTIONS };
        let both = plain(&mut world, router, options);
        let ours = both.created.srtp.clone().expect("a key of our own");
        let theirs = key_of(profile, 0x5a);
        let remote = PlainRemote { srtp: Some(theirs.clone()), ..PlainRemote::default() };
        connect(&mut world, both.id, remote).expect("the peer's key");
        let audio = produce(&mut world, both.id, MediaKind::Audio, 1111);
        let ssrc = consume(&mut world, both.id, talk, MediaKind::Audio);
        world.consume(bob, audio);
        let mut wrong = SrtpSender::new(&profile, &key_of(profile, 0x11).key).expect("a sender");
        let mut right = SrtpSender::new(&theirs.profile, &theirs.key).expect("a sender");
        let protect = |sender: &mut SrtpSender, n: u16| {
            let mut packet = opus_packet(n);
            let len = packet.len();
            packet.resize(len + 32, 0);
            let len = sender.protect_rtp(&mut packet, len).expect("protects");
            packet.truncate(len);
            packet
        };
        let stranger = addr("203.0.113.99:40000");
        world.inject_at(both.sockets[0], stranger, &protect(&mut wrong, 1));
        world.inject_at(both.sockets[0], stranger, &opus_packet(1));
        world.send_rtp(alice, &rtp(OPUS, 7, 1, 1, &[], b"hello"));
        assert!(world.strays.is_empty() && world.rtp(bob).is_empty());
        assert_eq!(world.drops(DropReason::SrtpAuth), 2);
        world.inject_at(both.sockets[0], publisher(), &protect(&mut right, 1));
        assert_eq!(world.rtp(bob).len(), 1);
        world.inject_at(both.sockets[0], stranger, &protect(&mut right, 2));
        assert_eq!(world.rtp(bob).len(), 0, "a replay from elsewhere is a stranger's");
        world.send_rtp(alice, &rtp(OPUS, 7, 2, 961, &[], b"hello"));
        let mut receiver = SrtpReceiver::new(&ours.profile, &ours.key).expect("a receiver");
        let mut media = 0;
        for (to, mut bytes) in world.strays_from(both.sockets[0]) {
            assert_eq!(to, publisher());
            if is_rtcp(&bytes) {
                receiver.unprotect_rtcp(&mut bytes).expect("our key opens it");
                continue;
            }
            let len = receiver.unprotect_rtp(&mut bytes).expect("our key opens it");
            let view = RtpView::parse(&bytes[..len]).expect("RTP");
            assert_eq!((view.ssrc, view.payload()), (ssrc, &b"hello"[..]));
            media += 1;
        }
        assert_eq!(media, 1);
    }
}

#[test]
fn h29_a_plain_transport_refuses_addresses_that_are_nobodys_and_says_which_field() {
    let mut world = World::new(74);
    let router = world.router();
    let fixed = plain(&mut world, router, OPTIONS);
    let own = match world.dump(fixed.id) {
        Some(Dump::PlainTransport(dump)) => dump.local_addresses[0],
        other => panic!("{other:?}"),
    };
    let field = |verdict: Result<Reply, CommandError>| verdict.expect_err("refused").field;
    let refused =
        ["0.0.0.0:9", "224.1.1.1:9", "255.255.255.255:9", "169.254.1.1:9", "[ff02::1]:9", "[::ffff:224.1.1.1]:9"];
    for bad in refused.into_iter().map(addr).chain([own]) {
        assert_eq!(field(connect(&mut world, fixed.id, at(bad))), "ip", "{bad}");
    }
    let mut no_port = at(publisher());
    no_port.port = None;
    assert_eq!(field(connect(&mut world, fixed.id, no_port)), "port");
    assert_eq!(field(connect(&mut world, fixed.id, at(addr("203.0.113.5:0")))), "port");
    let mut two = at(publisher());
    two.rtcp_port = Some(9);
    assert_eq!(field(connect(&mut world, fixed.id, two)), "rtcpPort");
    let mut keyed = at(publisher());
    keyed.srtp = Some(key_of(SrtpProfile::AeadAes128Gcm, 1));
    assert_eq!(field(connect(&mut world, fixed.id, keyed)), "srtpParameters");
    // Nothing of that has left a trace; a sound address serves, once.
    connect(&mut world, fixed.id, at(publisher())).expect("connect");
    assert_eq!(connect(&mut world, fixed.id, at(publisher())).expect_err("twice").code, ErrorCode::InvalidState);

    let comedia = plain(&mut world, router, PlainTransportOptions { comedia: true, ..OPTIONS });
    assert_eq!(field(connect(&mut world, comedia.id, at(publisher()))), "ip");
    let srtp = PlainTransportOptions { srtp: Some(SrtpProfile::Aes128CmSha1_80), ..OPTIONS };
    let keyed = plain(&mut world, router, srtp);
    assert_eq!(field(connect(&mut world, keyed.id, at(publisher()))), "srtpParameters");
    let mut short = at(publisher());
    short.srtp = Some(SrtpParameters {
        profile: SrtpProfile::Aes128CmSha1_80,
        key: KeyMaterial::new(&[7; 29]).expect("short enough"),
    });
    assert_eq!(field(connect(&mut world, keyed.id, short)), "srtpParameters.keyBase64");
    let mut mirrored = at(publisher());
    mirrored.srtp = keyed.created.srtp.clone();
    assert_eq!(field(connect(&mut world, keyed.id, mirrored)), "srtpParameters");
}

#[test]
fn h26_a_plain_transport_closes_with_its_streams_and_gives_its_sockets_back() {
    let mut world = World::new(75);
    let router = world.router();
    let bob = world.join(router);
    let up = plain(&mut world, router, PlainTransportOptions { rtcp_mux: false, ..OPTIONS });
    let mut remote = at(publisher());
    remote.rtcp_port = Some(40_001);
    connect(&mut world, up.id, remote).expect("connect");
    let audio = produce(&mut world, up.id, MediaKind::Audio, 1111);
    let consumer = world.consume(bob, audio).id;
    world.inject_at(up.sockets[0], publisher(), &opus_packet(1));
    world.close(up.id).expect("close");
    for gone in [audio, consumer] {
        assert!(world.events.iter().any(|e| matches!(e, Event::Closed { object, .. } if *object == gone)));
    }
    let released: Vec<SocketId> = world.releases.iter().map(|r| r.0).collect();
    assert_eq!(released, up.sockets);
    let before = world.drops(DropReason::UnknownTuple);
    world.inject_at(up.sockets[0], publisher(), &opus_packet(2));
    assert_eq!(world.drops(DropReason::UnknownTuple), before + 1);
    // A new transport on the same socket numbers starts from nothing.
    assert!(matches!(world.close(up.id), Err(e) if e.code == ErrorCode::NotFound));
}
