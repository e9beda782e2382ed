//! Redundant audio (RFC 2198) through a shard: whole for those who speak it, plain Opus without the
//! losses for those who do not. And what else belongs to a packet of sound: capture times, levels.

use std::time::Duration;

use sfu_core::command::{Command, Reply};
use sfu_core::config::CodecConfig;
use sfu_core::testing::world::{OPUS, VP8, World, consumer_config, opus, producer_config, rtp, vp8, vp8_frame};
use sfu_wire::codec::CodecKind;
use sfu_wire::codec::red::{self, RedBlock, RedPayload};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::{AbsCaptureTime, AudioLevel, ExtensionIds, ExtensionKind};
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::rtcp::SenderReport;
use sfu_wire::rtp::RtpView;
use sfu_wire::time::NtpTime;

const RED: u8 = 63;
const SSRC: u32 = 5;

fn red_codec() -> CodecConfig {
    CodecConfig { slot: 7, kind: CodecKind::Red, payload_type: RED, ..opus() }
}

fn ids() -> ExtensionIds {
    let mut ids = ExtensionIds::new();
    for (kind, id) in
        [(ExtensionKind::AudioLevel, 3), (ExtensionKind::AbsCaptureTime, 4), (ExtensionKind::VideoOrientation, 5)]
    {
        assert!(ids.set(kind, id));
    }
    ids
}

fn consume(world: &mut World, member: usize, producer: ObjectId, codecs: &[CodecConfig]) -> ObjectId {
    let mid = Mid::new(format!("c{member}").as_bytes()).expect("legal");
    let mut config = consumer_config(producer, MediaKind::Audio, mid, false);
    config.codecs = codecs.to_vec();
    config.extensions = ids();
    let transport = world.members[member].transport.id;
    match world.command(Command::Consume { transport, config: Box::new(config) }) {
        Ok(Reply::Consumer(created)) => created.id,
        other => panic!("{other:?}"),
    }
}

/// A publisher of Opus in RED; a subscriber that speaks RED, and one that does not.
struct Call {
    world: World,
    router: ObjectId,
    alice: usize,
    bob: usize,
    carol: usize,
    producer: ObjectId,
}

impl Call {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let router = world.router();
        let [alice, bob, carol] = [(); 3].map(|()| world.join(router));
        let mut config = producer_config(
            MediaKind::Audio,
            Mid::new(b"a").expect("legal"),
            vec![red_codec(), opus()],
            Some(SSRC),
            None,
        );
        config.extensions = ids();
        let producer = world.produce(alice, config);
        consume(&mut world, bob, producer, &[red_codec(), opus()]);
        consume(&mut world, carol, producer, &[opus()]);
        Self { world, router, alice, bob, carol, producer }
    }

    /// Packet `n` of 20 ms with the `redundancy` packets before it.
    fn send(&mut self, n: u16, redundancy: u16) {
        let payload = red_payload(n, redundancy);
        self.world.send_rtp(self.alice, &rtp(RED, SSRC, n, 960 * u32::from(n), &[], &payload));
        self.world.run(Duration::from_millis(20));
    }

    /// What a member heard: payload type, sequence number, timestamp, payload.
    fn heard(&mut self, member: usize) -> Vec<(u8, u16, u32, Vec<u8>)> {
        let packets = self.world.rtp(member);
        let views = packets.iter().map(|bytes| RtpView::parse(bytes).expect("sound"));
        views.map(|view| (view.payload_type, view.sequence, view.timestamp, view.payload().to_vec())).collect()
    }
}

/// 20 ms of Opus that says its number.
fn frame(n: u16) -> Vec<u8> {
    let [high, low] = n.to_be_bytes();
    vec![0x78, high, low, 0xaa]
}

fn red_payload(n: u16, redundancy: u16) -> Vec<u8> {
    let frames: Vec<_> = (1..=redundancy).rev().map(|back| (back, frame(n.wrapping_sub(back)))).collect();
    let blocks: Vec<_> =
        frames.iter().map(|(back, data)| RedBlock { payload_type: OPUS, timestamp_offset: 960 * back, data }).collect();
    let mut buf = vec![0; 1000];
    let len = red::write(&mut buf, &blocks, OPUS, &frame(n)).expect("it fits");
    buf.truncate(len);
    buf
}

#[test]
fn red_is_passed_on_or_opened_as_each_peer_negotiated() {
    let mut call = Call::new(90);
    for n in 0..50 {
        call.send(n, 2);
    }
    let (bob, carol) = (call.heard(call.bob), call.heard(call.carol));
    assert_eq!((bob.len(), carol.len()), (50, 50));
    for (n, (pt, sequence, timestamp, payload)) in (0..).zip(&bob) {
        assert_eq!((*pt, *timestamp, payload), (RED, 960 * u32::from(n), &red_payload(n, 2)));
        assert_eq!(*sequence, bob[0].1.wrapping_add(n));
    }
    for (n, (pt, sequence, timestamp, payload)) in (0..).zip(&carol) {
        assert_eq!((*pt, *timestamp, payload), (OPUS, 960 * u32::from(n), &frame(n)));
        assert_eq!(*sequence, carol[0].1.wrapping_add(n));
    }
}

#[test]
fn blocks_carry_the_payload_types_that_each_peer_negotiated() {
    let mut call = Call::new(96);
    let dora = call.world.join(call.router);
    let own = CodecConfig { payload_type: 96, ..opus() };
    consume(&mut call.world, dora, call.producer, &[red_codec(), own]);
    for n in 0..10 {
        call.send(n, n % 3);
    }
    let (bob, dora) = (call.heard(call.bob), call.heard(dora));
    assert_eq!((bob.len(), dora.len()), (10, 10));
    for (n, (theirs, hers)) in (0..).zip(bob.iter().zip(&dora)) {
        let read = |payload: &[u8]| {
            let red = RedPayload::parse(payload).expect("sound");
            let blocks: Vec<_> =
                red.redundant().map(|b| (b.payload_type, b.timestamp_offset, b.data.to_vec())).collect();
            (red.payload_type, red.primary.to_vec(), blocks)
        };
        assert_eq!(theirs.3, red_payload(n, n % 3), "as it came");
        let (payload_type, primary, blocks) = read(&hers.3);
        assert_eq!((payload_type, primary), (96, frame(n)));
        let expected = read(&theirs.3).2.into_iter().map(|(_, offset, data)| (96, offset, data));
        assert_eq!(blocks, expected.collect::<Vec<_>>());
    }
}

#[test]
fn losses_are_filled_from_later_packets_for_those_who_cannot_do_it_themselves() {
    let mut call = Call::new(91);
    // Single losses, a double one, and one of three of which the first is beyond repair.
    let lost = [3, 7, 12, 13, 20, 21, 22];
    for n in 0..40 {
        if !lost.contains(&n) {
            call.send(n, 2);
        }
    }
    let (bob, carol) = (call.heard(call.bob), call.heard(call.carol));
    assert_eq!(bob.len(), 40 - lost.len());
    let base = carol[0].1;
    for (pt, sequence, timestamp, payload) in &carol {
        let n = sequence.wrapping_sub(base);
        assert_eq!((*pt, *timestamp, payload), (OPUS, 960 * u32::from(n), &frame(n)), "{n}");
    }
    let numbers: Vec<_> = carol.iter().map(|(_, sequence, ..)| sequence.wrapping_sub(base)).collect();
    assert_eq!(numbers, (0..40).filter(|n| *n != 20).collect::<Vec<_>>(), "in order, each once");
    let stats = call.world.stats(call.producer).expect("stats").streams;
    assert_eq!((stats[0].packets_repaired, stats[0].packets_lost), (6, 7), "reports tell what the path lost");
}

#[test]
fn a_packet_that_was_filled_in_and_comes_late_is_a_duplicate() {
    let mut call = Call::new(92);
    for n in [0, 1, 3] {
        call.send(n, 1);
    }
    call.send(2, 1);
    assert_eq!(call.world.drops(DropReason::RtpDuplicate), 1);
    assert_eq!(call.heard(call.carol).len(), 4);
    assert_eq!(call.heard(call.bob).len(), 3);
}

#[test]
fn silence_between_packets_is_not_taken_for_a_loss() {
    let mut call = Call::new(93);
    call.send(0, 0);
    // 200 ms of nothing, then the packet after: the redundant block is the one that came before.
    let data = frame(0);
    let old = RedBlock { payload_type: OPUS, timestamp_offset: 960 * 10, data: &data };
    let mut buf = [0; 200];
    let len = red::write(&mut buf, &[old], OPUS, &frame(2)).expect("it fits");
    // Packet 1 is lost; the block is ten frames old, so it is not packet 1.
    call.world.send_rtp(call.alice, &rtp(RED, SSRC, 2, 960 * 10, &[], &buf[..len]));
    assert_eq!(call.heard(call.carol).len(), 2);
}

#[test]
fn row_032_broken_red_is_left_out_and_the_rest_goes_on_without_a_gap() {
    let mut call = Call::new(94);
    call.send(0, 1);
    let broken: [&[u8]; 5] =
        [&[], &[0xff; 40], &[0x80 | OPUS, 0, 0, 1, OPUS], &[0x80 | OPUS, 0, 3, 0xff, OPUS, 1], &[0xef]];
    for (n, payload) in (1..).zip(broken) {
        call.world.send_rtp(call.alice, &rtp(RED, SSRC, n, 960 * u32::from(n), &[], payload));
    }
    // RED within RED is not opened, whatever is inside.
    let inner = red_payload(9, 2);
    let nested = [&[RED][..], &inner].concat();
    call.world.send_rtp(call.alice, &rtp(RED, SSRC, 6, 960 * 6, &[], &nested));
    call.send(7, 0);
    let (bob, carol) = (call.heard(call.bob), call.heard(call.carol));
    assert_eq!(carol.iter().map(|heard| heard.3.clone()).collect::<Vec<_>>(), [frame(0), frame(7)]);
    assert_eq!(carol[1].1, carol[0].1.wrapping_add(1));
    assert_eq!(bob.len(), 3, "what is inside is the peer's to judge");
    assert_eq!(call.world.drops(DropReason::RtpPayload), 10, "each for two consumers");
    assert_eq!(call.world.drops(DropReason::ConsumerCodec), 1, "nothing in it that the other peer speaks");
}

#[test]
fn capture_times_are_told_on_the_clock_of_our_reports() {
    let mut call = Call::new(95);
    let capture = NtpTime(0x0123_4567_89ab_cdef);
    let packet = |n: u16, time: AbsCaptureTime| {
        let (bytes, len) = time.to_bytes();
        rtp(RED, SSRC, n, 960 * u32::from(n), &[(4, &bytes[..len])], &red_payload(n, 0))
    };
    let plain = AbsCaptureTime { capture, clock_offset: None };
    let shifted = AbsCaptureTime { capture, clock_offset: Some(-(3 << 32)) };
    let told = |call: &mut Call, n: u16, time: AbsCaptureTime| {
        call.world.send_rtp(call.alice, &packet(n, time));
        let packets = call.world.rtp(call.carol);
        let view = RtpView::parse(packets.last().expect("a packet")).expect("sound");
        AbsCaptureTime::parse(view.extension(4).expect("a capture time")).expect("sound")
    };
    assert_eq!(told(&mut call, 0, plain), plain, "nothing is known of the publisher's clock");
    // The publisher's clock says so now.
    let report =
        SenderReport { ssrc: SSRC, ntp: NtpTime(0x0123_4567_0000_0000), rtp_timestamp: 0, ..SenderReport::default() };
    let mut buf = [0; 100];
    let len = report.write(&mut buf, &[]).expect("fits");
    call.world.send_rtcp(call.alice, &buf[..len]);
    let first = told(&mut call, 1, plain);
    assert_eq!(first.capture, capture);
    let ours = first.clock_offset.expect("it can be told now");
    let second = told(&mut call, 2, shifted);
    assert_eq!(second.clock_offset, Some(ours - (3 << 32)), "the publisher is no source itself");
    // Our reports name the same moment: the publisher's clock plus the offset is the one they are on.
    call.world.run(Duration::from_secs(2));
    call.send(3, 0);
    let moment = NtpTime(report.ntp.0.wrapping_add_signed(ours));
    let now = moment.to_unix_nanos();
    assert!(now > 1_000_000_000_000_000_000, "a wall clock: {now}");
}

#[test]
fn row_061_extensions_that_cannot_be_are_not_passed_on() {
    let mut call = Call::new(96);
    let bad: [(u8, &[u8]); 3] = [(3, &[1, 2, 3]), (4, &[9; 9]), (5, &[1])];
    call.world.send_rtp(call.alice, &rtp(RED, SSRC, 0, 0, &bad, &red_payload(0, 0)));
    let packets = call.world.rtp(call.carol);
    let view = RtpView::parse(&packets[0]).expect("sound");
    assert_eq!(view.extensions().count(), 0, "wrong sizes, and an orientation of sound");
    let level = AudioLevel { voice: true, level: 30 };
    let good: [(u8, &[u8]); 1] = [(3, &[level.to_byte()])];
    call.world.send_rtp(call.alice, &rtp(RED, SSRC, 1, 960, &good, &red_payload(1, 0)));
    let packets = call.world.rtp(call.carol);
    let view = RtpView::parse(&packets[0]).expect("sound");
    assert_eq!(view.extension(3).and_then(AudioLevel::parse), Some(level));
}

#[test]
fn row_033_video_comes_out_of_its_red_and_repair_packets_end_here() {
    const ULPFEC: u8 = 117;
    const FLEXFEC: u8 = 35;
    let mut world = World::new(97);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let protection =
        |slot, kind, payload_type| CodecConfig { slot, kind, payload_type, rtx_payload_type: None, ..vp8() };
    let codecs = vec![
        vp8(),
        protection(11, CodecKind::Red, RED),
        protection(12, CodecKind::UlpFec, ULPFEC),
        protection(13, CodecKind::FlexFec, FLEXFEC),
    ];
    let config = producer_config(MediaKind::Video, Mid::new(b"v").expect("legal"), codecs, Some(7), Some(8));
    let producer = world.produce(alice, config);
    world.consume(bob, producer);
    let wrapped = |payload_type: u8, payload: &[u8]| [&[payload_type], payload].concat();
    let fec = [&[0x40, 96, 0, 2, 0, 0, 0, 9, 0, 40, 0, 20, 0x80, 1, 0x80, 0, 0, 1][..], &[0x55; 40]].concat();
    let recursive = wrapped(RED, &wrapped(ULPFEC, &fec));
    let packets: [(u8, Vec<u8>, bool); 8] = [
        (RED, wrapped(VP8, &vp8_frame(true, 0)), true),
        (RED, wrapped(ULPFEC, &fec), false),
        (RED, wrapped(VP8, &vp8_frame(false, 1)), true),
        (ULPFEC, fec.clone(), false),
        (RED, recursive, false),
        (RED, wrapped(ULPFEC, &[]), false),
        (RED, vec![], false),
        (VP8, vp8_frame(false, 2), true),
    ];
    for (n, (payload_type, payload, _)) in (0..).zip(&packets) {
        world.send_rtp(alice, &rtp(*payload_type, 7, n, 3_000 * u32::from(n), &[], payload));
        // FlexFEC has an SSRC of its own: it neither is media nor takes the place of it.
        let flex = [&[0, 96, 0, 40, 0, 0, 0, 9, 1, 0, 0, 0, 0, 0, 0, 7, 0, 1, 0xc0, 3][..], &[7; 30]].concat();
        world.send_rtp(alice, &rtp(FLEXFEC, 99, 500 + n, 0, &[], &flex));
    }
    let heard = world.rtp(bob);
    let views: Vec<_> = heard.iter().map(|bytes| RtpView::parse(bytes).expect("sound")).collect();
    assert_eq!(views.len(), 3, "{views:?}");
    for (k, view) in (0..).zip(&views) {
        assert_eq!((view.payload_type, view.sequence), (VP8, views[0].sequence.wrapping_add(k)), "without a gap");
        let payload = vp8_frame(k == 0, 0);
        assert_eq!((view.payload().len(), &view.payload()[4..]), (payload.len(), &payload[4..]));
    }
    assert_eq!(world.drops(DropReason::RtpFec), 3);
    assert_eq!((world.drops(DropReason::RtpPayload), world.drops(DropReason::RtpPaddingOnly)), (1, 1));
}
