//! Direct transports: the application gives packets in and takes packets out.

use std::time::Duration;

use sfu_core::command::{Command, Reply};
use sfu_core::limits::Limits;
use sfu_core::stats::Dump;
use sfu_core::testing::Received;
use sfu_core::testing::world::{OPUS, VP8, World, consumer_config, opus, producer_config, rtp, vp8, vp8_frame};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::rtcp::{Packets, Pli, ReceiverReport, RtcpPacket};
use sfu_wire::rtp::RtpView;

fn direct(world: &mut World, router: ObjectId) -> ObjectId {
    world.create(Command::CreateDirectTransport { router, max_incoming_bitrate: 0 })
}

fn mid(n: u8) -> Mid {
    Mid::new(&[b'a' + n]).expect("legal")
}

fn consume(world: &mut World, transport: ObjectId, producer: ObjectId, kind: MediaKind) -> (ObjectId, u32) {
    let config = Box::new(consumer_config(producer, kind, mid(5), false));
    match world.command(Command::Consume { transport, config }) {
        Ok(Reply::Consumer(created)) => (created.id, created.ssrc),
        other => panic!("expected a consumer, got {other:?}"),
    }
}

fn produce(world: &mut World, transport: ObjectId, kind: MediaKind, n: u8, ssrc: u32) -> ObjectId {
    let codec = if kind == MediaKind::Audio { opus() } else { vp8() };
    let config = Box::new(producer_config(kind, mid(n), vec![codec], Some(ssrc), None));
    world.create(Command::Produce { transport, config })
}

fn media(world: &mut World) -> Vec<(ObjectId, Vec<u8>)> {
    let all = world.shard.media().map(|p| (p.source, p.bytes.to_vec())).collect();
    world.shard.clear_media();
    all
}

#[test]
fn packets_of_the_application_reach_a_browser_and_its_wishes_come_back() {
    let mut world = World::new(90);
    let router = world.router();
    let bob = world.join(router);
    let transport = direct(&mut world, router);
    let (audio, video) = (
        produce(&mut world, transport, MediaKind::Audio, 0, 1111),
        produce(&mut world, transport, MediaKind::Video, 1, 2222),
    );
    world.consume(bob, audio);
    let seen = world.consume(bob, video);
    let asked = media(&mut world);
    let is_pli = |(source, bytes): &(ObjectId, Vec<u8>)| {
        *source == transport
            && Packets::new(bytes, true)
                .is_ok_and(|mut all| all.any(|p| matches!(p, Ok(RtcpPacket::Pli(pli)) if pli.media_ssrc == 2222)))
    };
    assert!(asked.iter().any(is_pli), "the browser wants a key frame");
    for n in 0..10u16 {
        let now = world.now;
        // By producer, and by transport.
        world.shard.handle_media(now, audio, &rtp(OPUS, 1111, n, 960 * u32::from(n), &[], b"voice"));
        world.shard.handle_media(now, transport, &rtp(VP8, 2222, n, 3000 * u32::from(n), &[], &vp8_frame(n == 0, n)));
        world.run(Duration::from_millis(20));
    }
    let got = world.rtp(bob);
    assert_eq!(got.len(), 20);
    let of_video = got.iter().filter(|p| RtpView::parse(p).expect("RTP").ssrc == seen.ssrc).count();
    assert_eq!(of_video, 10);
    assert_eq!(world.stats(transport).expect("stats").transport.expect("of it").packets_received, 20);
}

#[test]
fn packets_of_a_browser_reach_the_application_whole_and_named_by_consumer() {
    let mut world = World::new(91);
    let router = world.router();
    let alice = world.join(router);
    let video = world.produce_video(alice, 2222);
    let transport = direct(&mut world, router);
    let (consumer, ssrc) = consume(&mut world, transport, video, MediaKind::Video);
    let (mut rtp_seen, mut reports) = (0, 0);
    for n in 0..20u16 {
        let frame = vp8_frame(n == 0, n);
        world.send_rtp(alice, &rtp(VP8, 2222, n, 3000 * u32::from(n), &[], &frame));
        world.run(Duration::from_millis(100));
        for (source, bytes) in media(&mut world) {
            if source == consumer {
                let view = RtpView::parse(&bytes).expect("RTP");
                assert_eq!(view.ssrc, ssrc);
                assert_eq!(view.payload()[4..], frame[4..]);
                rtp_seen += 1;
            } else {
                assert_eq!(source, transport);
                assert!(Packets::new(&bytes, true).is_ok());
                reports += 1;
            }
        }
    }
    assert_eq!(rtp_seen, 20);
    assert!(reports > 0, "sender reports");
    // The application asks for a key frame by RTCP.
    world.received(alice);
    let mut pli = [0; 64];
    let mut len = ReceiverReport { ssrc: 9 }.write(&mut pli, &[]).expect("room");
    len += Pli { sender_ssrc: 9, media_ssrc: ssrc }.write(&mut pli[len..]).expect("room");
    let now = world.now;
    world.shard.handle_media(now, transport, &pli[..len]);
    world.settle();
    assert!(world.received(alice).iter().any(|r| matches!(r, Received::Rtcp(_))));
}

#[test]
fn what_the_application_gets_wrong_is_counted_and_harms_nobody() {
    let mut world = World::new(92);
    let router = world.router();
    let bob = world.join(router);
    let transport = direct(&mut world, router);
    let (one, two) = (
        produce(&mut world, transport, MediaKind::Audio, 0, 1),
        produce(&mut world, transport, MediaKind::Audio, 1, 2),
    );
    world.consume(bob, two);
    let now = world.now;
    let mut count = |target: ObjectId, packet: &[u8], reason: DropReason| {
        let before = world.shard.drops().count(reason);
        world.shard.handle_media(now, target, packet);
        assert_eq!(world.shard.drops().count(reason), before + 1, "{reason:?}");
    };
    count(one, &rtp(OPUS, 2, 1, 1, &[], b"x"), DropReason::RtpUnroutable);
    count(transport, &[], DropReason::Empty);
    count(transport, &[0xff; 20], DropReason::UnknownFirstByte);
    count(transport, &[22; 20], DropReason::UnsupportedProtocol);
    count(transport, &[0x80, 111, 0], DropReason::RtpMalformed);
    count(transport, &[0x80, 200, 0, 9], DropReason::RtcpMalformed);
    count(router, &rtp(OPUS, 2, 1, 1, &[], b"x"), DropReason::UnknownTuple);
    let webrtc = world.members[bob].transport.id;
    let before = world.drops(DropReason::UnknownTuple);
    world.shard.handle_media(now, webrtc, &rtp(OPUS, 2, 1, 1, &[], b"x"));
    assert_eq!(world.drops(DropReason::UnknownTuple), before + 1, "a browser's transport takes nothing this way");
    world.settle();
    assert!(world.rtp(bob).is_empty());
    world.close(transport).expect("close");
    let before = world.drops(DropReason::UnknownTuple);
    world.shard.handle_media(now, transport, &rtp(OPUS, 2, 1, 1, &[], b"x"));
    assert_eq!(world.drops(DropReason::UnknownTuple), before + 1);
}

#[test]
fn an_application_that_takes_nothing_costs_no_more_than_the_outbox() {
    let limits = Limits { media_packets: 8, ..Limits::default() };
    let mut world = World::with_limits(93, limits);
    let router = world.router();
    let alice = world.join(router);
    let audio = world.produce_audio(alice, 7);
    let transport = direct(&mut world, router);
    consume(&mut world, transport, audio, MediaKind::Audio);
    for n in 0..20 {
        world.send_rtp(alice, &rtp(OPUS, 7, n, 1, &[], b"x"));
    }
    assert_eq!(media(&mut world).len(), 8);
    assert_eq!(world.drops(DropReason::TransmitFull), 12);
    assert!(matches!(world.dump(transport), Some(Dump::DirectTransport(dump)) if dump.consumers.len() == 1));
}
