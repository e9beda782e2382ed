//! Losses on both hops repaired through a shard, storms of requests, and reports that keep sound and
//! picture together.

use std::collections::BTreeMap;
use std::time::Duration;

use sfu_core::command::ConsumerCreated;
use sfu_core::testing::Received;
use sfu_core::testing::world::{OPUS, VP8, VP8_RTX, World, rtp, vp8_frame};
use sfu_wire::id::ObjectId;
use sfu_wire::rtcp::{Nack, Packets, Pli, RtcpPacket, SenderReport};
use sfu_wire::rtp::RtpView;
use sfu_wire::seq::SeqExtender;
use sfu_wire::time::NtpTime;

const SSRC: u32 = 7;
const FRAME: Duration = Duration::from_millis(20);

/// A repeatable coin that falls on loss in one of `one_in` cases.
struct Coin(u64);

impl Coin {
    fn lost(&mut self, one_in: u64) -> bool {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33).is_multiple_of(one_in)
    }
}

/// A publisher of video that answers NACKs by RTX.
struct Publisher {
    member: usize,
    sent: BTreeMap<u16, Vec<u8>>,
    rtx_sequence: u16,
    key_frame_requests: usize,
}

impl Publisher {
    fn frame(&mut self, world: &mut World, sequence: u16, lost: bool) {
        let payload = vp8_frame(self.sent.is_empty(), sequence);
        let packet = rtp(VP8, SSRC, sequence, 1800 * u32::from(sequence), &[], &payload);
        self.sent.insert(sequence, payload);
        if !lost {
            world.send_rtp(self.member, &packet);
        }
    }

    /// Answers what came since; an answer may get lost too.
    fn answer(&mut self, world: &mut World, coin: &mut Coin, one_in: u64) {
        for received in world.received(self.member) {
            let Received::Rtcp(bytes) = received else { continue };
            for packet in Packets::new(&bytes, true).expect("sound") {
                match packet.expect("sound") {
                    RtcpPacket::Nack(nack) => {
                        assert_eq!(nack.media_ssrc, SSRC);
                        for sequence in nack.sequences() {
                            let payload = [&sequence.to_be_bytes()[..], &self.sent[&sequence]].concat();
                            self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
                            let timestamp = 1800 * u32::from(sequence);
                            let packet = rtp(VP8_RTX, SSRC + 1, self.rtx_sequence, timestamp, &[], &payload);
                            if !coin.lost(one_in) {
                                world.send_rtp(self.member, &packet);
                            }
                        }
                    }
                    RtcpPacket::Pli(_) | RtcpPacket::Fir(_) => self.key_frame_requests += 1,
                    _ => {}
                }
            }
        }
    }
}

/// A subscriber that asks for what it misses.
struct Subscriber {
    member: usize,
    consumer: ConsumerCreated,
    numbers: SeqExtender,
    got: BTreeMap<u64, Vec<u8>>,
}

impl Subscriber {
    fn new(world: &mut World, router: ObjectId, producer: ObjectId) -> Self {
        let member = world.join(router);
        Self { member, consumer: world.consume(member, producer), numbers: SeqExtender::new(), got: BTreeMap::new() }
    }

    fn receive(&mut self, world: &mut World, coin: &mut Coin, one_in: u64) {
        for packet in world.rtp(self.member) {
            if coin.lost(one_in) {
                continue;
            }
            let view = RtpView::parse(&packet).expect("RTP");
            let (sequence, payload) = if view.ssrc == self.consumer.ssrc {
                (view.sequence, view.payload())
            } else {
                let (number, payload) = view.payload().split_first_chunk::<2>().expect("an original number");
                (u16::from_be_bytes(*number), payload)
            };
            let position = self.numbers.extend(sequence).expect("a place");
            let before = self.got.insert(position, payload.to_vec());
            assert!(before.is_none_or(|before| before == payload), "one number, one packet");
        }
    }

    /// Numbers between the first and the newest that did not come.
    fn missing(&self) -> Vec<u16> {
        let (Some(first), Some(last)) = (self.got.keys().next(), self.got.keys().last()) else { return Vec::new() };
        (*first..*last).filter(|p| !self.got.contains_key(p)).map(|p| p as u16).collect()
    }

    fn ask(&self, world: &mut World) {
        let missing = self.missing();
        if !missing.is_empty() {
            let mut buf = [0; 1200];
            let len = Nack::write(&mut buf, 9, self.consumer.ssrc, &missing).expect("fits");
            world.send_rtcp(self.member, &buf[..len]);
        }
    }
}

#[test]
fn a_tenth_lost_on_each_hop_is_repaired_in_place_for_everybody() {
    let mut world = World::new(98);
    let router = world.router();
    let alice = world.join(router);
    let producer = world.produce_video(alice, SSRC);
    let mut publisher = Publisher { member: alice, sent: BTreeMap::new(), rtx_sequence: 0, key_frame_requests: 0 };
    let mut subscribers: Vec<_> = (0..3).map(|_| Subscriber::new(&mut world, router, producer)).collect();
    let mut coin = Coin(1);
    for n in 0..500u16 {
        let lost = (1..490).contains(&n) && coin.lost(10);
        publisher.frame(&mut world, 1000 + n, lost);
        world.run(FRAME);
        publisher.answer(&mut world, &mut coin, 10);
        for subscriber in &mut subscribers {
            let safe = n == 0 || n > 490;
            subscriber.receive(&mut world, &mut coin, if safe { u64::MAX } else { 10 });
            subscriber.ask(&mut world);
        }
    }
    for _ in 0..100 {
        world.run(FRAME);
        publisher.answer(&mut world, &mut coin, u64::MAX);
        for subscriber in &mut subscribers {
            subscriber.receive(&mut world, &mut coin, u64::MAX);
            subscriber.ask(&mut world);
        }
    }
    let sent: Vec<_> = publisher.sent.values().collect();
    for subscriber in &subscribers {
        assert_eq!(subscriber.got.values().collect::<Vec<_>>(), sent, "all, in order");
    }
    assert!(publisher.key_frame_requests <= 1, "losses that are repaired need no key frame");
}

#[test]
fn many_subscribers_asking_at_once_cost_the_publisher_one_key_frame() {
    let mut world = World::new(107);
    let router = world.router();
    let alice = world.join(router);
    let producer = world.produce_video(alice, SSRC);
    let mut publisher = Publisher { member: alice, sent: BTreeMap::new(), rtx_sequence: 0, key_frame_requests: 0 };
    let mut subscribers: Vec<_> = (0..30).map(|_| Subscriber::new(&mut world, router, producer)).collect();
    let mut coin = Coin(1);
    for n in 0..20u16 {
        publisher.frame(&mut world, n, false);
        world.run(FRAME);
    }
    publisher.answer(&mut world, &mut coin, u64::MAX);
    publisher.key_frame_requests = 0;
    world.run(Duration::from_secs(1));
    let mut buf = [0; 1200];
    for subscriber in &mut subscribers {
        subscriber.receive(&mut world, &mut coin, u64::MAX);
        assert_eq!(subscriber.got.len(), 20);
        let wanted: Vec<u16> = subscriber.got.keys().map(|p| *p as u16).take(10).collect();
        let len = Nack::write(&mut buf, 9, subscriber.consumer.ssrc, &wanted).expect("fits");
        world.send_rtcp(subscriber.member, &buf[..len]);
        let len = Pli { sender_ssrc: 9, media_ssrc: subscriber.consumer.ssrc }.write(&mut buf).expect("fits");
        world.send_rtcp(subscriber.member, &buf[..len]);
    }
    for subscriber in &mut subscribers {
        assert_eq!(world.rtp(subscriber.member).len(), 10, "each loss is answered from what is kept");
    }
    publisher.answer(&mut world, &mut coin, u64::MAX);
    assert_eq!(publisher.key_frame_requests, 1);
}

/// The newest sender report about each SSRC.
fn sender_reports(world: &mut World, member: usize) -> BTreeMap<u32, SenderReport> {
    let mut reports = BTreeMap::new();
    for received in world.received(member) {
        let Received::Rtcp(bytes) = received else { continue };
        for packet in Packets::new(&bytes, true).expect("sound") {
            if let Ok(RtcpPacket::SenderReport(report, _)) = packet {
                reports.insert(report.ssrc, report);
            }
        }
    }
    reports
}

#[test]
fn sound_and_picture_captured_together_are_reported_as_captured_together() {
    let mut world = World::new(55);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let (audio, video) = (world.produce_audio(alice, 5), world.produce_video(alice, SSRC));
    let (audio_out, video_out) = (world.consume(bob, audio), world.consume(bob, video));
    // The publisher's clock is years behind, its streams start anywhere, and video is sent 150 ms
    // after its capture.
    let begin = world.now;
    let ntp = |world: &World| NtpTime::from_unix_nanos(world.now.as_nanos());
    let audio_at = |ms: u64| 4_000_000_000u32.wrapping_add(48 * ms as u32);
    let video_at = |ms: u64| 123_456u32.wrapping_add(90 * ms as u32);
    let mut buf = [0; 200];
    for n in 0..300u16 {
        let ms = world.now.saturating_since(begin).as_millis() as u64;
        world.send_rtp(alice, &rtp(OPUS, 5, n, audio_at(ms), &[], b"x"));
        let captured = ms.saturating_sub(150);
        world.send_rtp(alice, &rtp(VP8, SSRC, n, video_at(captured), &[], &vp8_frame(n == 0, n)));
        if n % 50 == 10 {
            for (ssrc, rtp_timestamp) in [(5, audio_at(ms)), (SSRC, video_at(ms))] {
                let report = SenderReport { ssrc, ntp: ntp(&world), rtp_timestamp, ..SenderReport::default() };
                let len = report.write(&mut buf, &[]).expect("fits");
                world.send_rtcp(alice, &buf[..len]);
            }
        }
        world.run(FRAME);
    }
    let reports = sender_reports(&mut world, bob);
    let (a, v) = (&reports[&audio_out.ssrc], &reports[&video_out.ssrc]);
    // When, on the receiver's scale, were moments captured that the publisher captured at one time?
    let unix_ms = |report: &SenderReport| report.ntp.to_unix_nanos() as i64 / 1_000_000;
    let audio_ms = unix_ms(a) - i64::from(a.rtp_timestamp.wrapping_sub(audio_at(0)) as i32) / 48;
    let video_ms = unix_ms(v) - i64::from(v.rtp_timestamp.wrapping_sub(video_at(0)) as i32) / 90;
    assert!(audio_ms.abs_diff(video_ms) <= 2, "{audio_ms} {video_ms}");
}
