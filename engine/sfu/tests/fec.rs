//! Repair packets through the shard: what a consumer's peer gets protects what it got. Parity is made and resolved here
//! once more, by hand.

use std::time::Duration;

use sfu_core::command::{Command, Reply};
use sfu_core::config::{CodecConfig, ConsumerConfig};
use sfu_core::stats::Dump;
use sfu_core::testing::world::{VP8, World, consumer_config, producer_config, rtp, vp8};
use sfu_wire::codec::CodecKind;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::rtcp::Nack;
use sfu_wire::rtp::RtpView;
use sfu_wire::scalability::Layers;

const RED: u8 = 116;
const ULPFEC: u8 = 117;
const FLEXFEC: u8 = 35;
const SSRC: u32 = 7;
const FEC_SSRC: u32 = 9;
const SEND_TIME: u8 = 4;
const WIDE: u8 = 5;

struct Stage {
    world: World,
    router: ObjectId,
    alice: usize,
    bob: usize,
    producer: ObjectId,
    consumer: ObjectId,
    /// Of Bob's FlexFEC stream.
    fec_ssrc: u32,
    /// Numbers and times of its packets so far.
    told: Vec<(u16, u32)>,
    sent: u16,
}

/// Alice publishes VP8 in RED with ULPFEC and FlexFEC, or with the two alone; Bob knows all of it.
fn stage(red: bool) -> Stage {
    let mut world = World::new(98);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let codec = |slot, kind, payload_type| CodecConfig { slot, kind, payload_type, rtx_payload_type: None, ..vp8() };
    let mut codecs = vec![vp8(), codec(12, CodecKind::UlpFec, ULPFEC), codec(13, CodecKind::FlexFec, FLEXFEC)];
    if red {
        codecs.push(codec(11, CodecKind::Red, RED));
    }
    let mut config = producer_config(MediaKind::Video, Mid::new(b"v").expect("legal"), codecs, Some(SSRC), Some(8));
    config.encodings[0].fec_ssrc = Some(FEC_SSRC);
    let producer = world.produce(alice, config.clone());
    let mid = Mid::new(b"0").expect("legal");
    let mut config =
        ConsumerConfig { codecs: config.codecs, ..consumer_config(producer, MediaKind::Video, mid, false) };
    for codec in &mut config.codecs {
        // Its peer has other payload types.
        codec.payload_type += 5;
    }
    config.extensions.set(ExtensionKind::AbsSendTime, SEND_TIME);
    config.extensions.set(ExtensionKind::TransportCc, WIDE);
    let transport = world.members[bob].transport.id;
    let created = match world.command(Command::Consume { transport, config: Box::new(config) }) {
        Ok(Reply::Consumer(created)) => created,
        other => panic!("no consumer: {other:?}"),
    };
    let fec_ssrc = created.streams[0].fec_ssrc.expect("both know FlexFEC");
    Stage { world, router, alice, bob, producer, consumer: created.id, fec_ssrc, told: Vec::new(), sent: 500 }
}

/// A VP8 frame of one packet with a picture id of 15 bits, TL0PICIDX and a temporal layer.
fn frame(key: bool, picture: u16, temporal: u8, len: usize) -> Vec<u8> {
    let [high, low] = (picture | 0x8000).to_be_bytes();
    let mut payload = vec![0x90, 0xe0, high, low, picture as u8, temporal << 6, u8::from(!key)];
    payload.extend((0..len).map(|k| ((k as u16 * 7) ^ picture) as u8));
    payload
}

/// What parity has of a packet: P, X, CC; M, PT; timestamp; and what follows the fixed header.
fn parts(packet: &[u8]) -> ([u8; 2], [u8; 4], Vec<u8>) {
    ([packet[0] & 0x3f, packet[1]], packet[4..8].try_into().expect("four"), packet[12..].to_vec())
}

/// A ULPFEC payload over these packets (RFC 5109, section 7.3), masks of 48.
fn ulpfec(packets: &[Vec<u8>]) -> Vec<u8> {
    let base = u16::from_be_bytes([packets[0][2], packets[0][3]]);
    let (mut bits, mut time, mut length, mut mask, mut body) = ([0u8; 2], [0u8; 4], 0u16, 0u64, Vec::new());
    for packet in packets {
        let (b, t, rest) = parts(packet);
        (bits[0], bits[1]) = (bits[0] ^ b[0], bits[1] ^ b[1]);
        time.iter_mut().zip(t).for_each(|(a, b)| *a ^= b);
        length ^= rest.len() as u16;
        mask |= 1 << (47 - u16::from_be_bytes([packet[2], packet[3]]).wrapping_sub(base));
        body.resize(rest.len().max(body.len()), 0);
        body.iter_mut().zip(rest).for_each(|(a, b)| *a ^= b);
    }
    let mut out = vec![0x40 | bits[0], bits[1]];
    out.extend(base.to_be_bytes());
    out.extend(time);
    out.extend(length.to_be_bytes());
    out.extend((body.len() as u16).to_be_bytes());
    out.extend(&mask.to_be_bytes()[2..]);
    out.extend(body);
    out
}

/// The same as FlexFEC of draft 03 (section 4.2): another header, and a mask of 15, 46 or 109 packets.
fn flexfec(packets: &[Vec<u8>], ssrc: u32) -> Vec<u8> {
    let ulp = ulpfec(packets);
    let (base, mask) = (&ulp[2..4], u64::from_be_bytes([0, 0, ulp[12], ulp[13], ulp[14], ulp[15], ulp[16], ulp[17]]));
    let mut out = vec![ulp[0] & 0x3f, ulp[1]];
    out.extend([&ulp[8..10], &ulp[4..8], &[1, 0, 0, 0], &ssrc.to_be_bytes(), base].concat());
    out.extend((0x8000 | (mask >> 33) as u16).to_be_bytes());
    assert_eq!(mask & ((1 << 33) - 1), 0, "fifteen are enough here");
    out.extend(&ulp[18..]);
    out
}

/// What a repair payload says: the packets, where its parity of bytes begins, timestamp and length.
fn read(fec: &[u8], flex: bool, ssrc: u32) -> (Vec<u16>, usize, [u8; 4], u16) {
    let bits = |bytes: &[u8], skip: usize| -> Vec<bool> {
        (skip..8 * bytes.len()).map(|k| bytes[k / 8] >> (7 - k % 8) & 1 == 1).collect()
    };
    let (base, mask, header) = if flex {
        assert_eq!((&fec[8..12], &fec[12..16]), (&[1, 0, 0, 0][..], &ssrc.to_be_bytes()[..]));
        let mut mask = bits(&fec[18..20], 1);
        let mut at = 20;
        for len in [4, 8] {
            // The last part begins with a bit of 1.
            if fec[[18, 20][len / 8]] & 0x80 != 0 {
                break;
            }
            mask.extend(bits(&fec[at..at + len], 1));
            at += len;
        }
        ([fec[16], fec[17]], mask, at)
    } else {
        let header = if fec[0] & 0x40 != 0 { 18 } else { 14 };
        ([fec[2], fec[3]], bits(&fec[12..header], 0), header)
    };
    let base = u16::from_be_bytes(base);
    let named = (0..).zip(mask).filter(|(_, set)| *set).map(|(k, _)| base.wrapping_add(k)).collect();
    let length = if flex { [fec[2], fec[3]] } else { [fec[8], fec[9]] };
    (named, header, fec[4..8].try_into().expect("four"), u16::from_be_bytes(length))
}

/// The packet that a repair payload gives back, if all but one that it names are in `got`.
fn recover(fec: &[u8], flex: bool, got: &[Vec<u8>], ssrc: u32) -> Option<Vec<u8>> {
    let (named, header, mut time, mut length) = read(fec, flex, ssrc);
    let sequence = |packet: &Vec<u8>| u16::from_be_bytes([packet[2], packet[3]]);
    let lost: Vec<u16> = named.iter().copied().filter(|n| !got.iter().any(|p| sequence(p) == *n)).collect();
    let [lost] = lost[..] else { return None };
    let mut bits = [fec[0] & 0x3f, fec[1]];
    let mut body = fec[header..].to_vec();
    for packet in got.iter().filter(|p| named.contains(&sequence(p))) {
        let (b, t, rest) = parts(packet);
        (bits[0], bits[1]) = (bits[0] ^ b[0], bits[1] ^ b[1]);
        time.iter_mut().zip(t).for_each(|(a, b)| *a ^= b);
        length ^= rest.len() as u16;
        body.iter_mut().zip(rest).for_each(|(a, b)| *a ^= b);
    }
    assert!(usize::from(length) <= body.len(), "a length of {length} recovered");
    let mut out = vec![0x80 | bits[0], bits[1]];
    out.extend(lost.to_be_bytes());
    out.extend(time);
    out.extend(ssrc.to_be_bytes());
    out.extend(&body[..usize::from(length)]);
    Some(out)
}

/// As receivers take packets for repair: out of RED for ULPFEC, and what changes on the way zeroed.
fn as_protected(packet: &[u8], flex: bool) -> Vec<u8> {
    let view = RtpView::parse(packet).expect("valid RTP");
    let mut out = packet.to_vec();
    for id in [SEND_TIME, WIDE] {
        if let Some(range) = view.extension_range(id) {
            out[range].fill(0);
        }
    }
    if view.payload_type == RED + 5 && !flex {
        let at = view.payload_range().start;
        out[1] = out[1] & 0x80 | packet[at];
        out.remove(at);
    }
    out
}

impl Stage {
    /// Sends packets of one picture each and a repair packet over them; answers what Bob got, media and repair payloads.
    fn send(&mut self, red: bool, first: u16, pictures: &[(u16, u8, usize)]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let (media, _) = self.publish(red, first, pictures, &[]);
        let time = 3_000 * u32::from(pictures[pictures.len() - 1].0);
        self.repair(red, first.wrapping_add(pictures.len() as u16), time, &ulpfec(&media));
        self.take()
    }

    /// The same with FlexFEC, which is about the packets as they are sent. Those of `lost` do not arrive.
    fn send_flex(
        &mut self,
        red: bool,
        first: u16,
        pictures: &[(u16, u8, usize)],
        lost: &[u16],
    ) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let (_, sent) = self.publish(red, first, pictures, lost);
        self.repair_flex(&flexfec(&sent, SSRC));
        self.take_flex()
    }

    /// Sends packets of one picture each, but for those that get lost; answers all of them, out of RED and as they are sent.
    fn publish(
        &mut self,
        red: bool,
        first: u16,
        pictures: &[(u16, u8, usize)],
        lost: &[u16],
    ) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let plain = |n: u16, picture: &(u16, u8, usize)| {
            let payload = frame(picture.0 == 0, picture.0, picture.1, picture.2);
            rtp(VP8, SSRC, n, 3_000 * u32::from(picture.0), &[], &payload)
        };
        let media: Vec<Vec<u8>> =
            (0..).zip(pictures).map(|(k, picture)| plain(first.wrapping_add(k), picture)).collect();
        let wrap = |packet: &Vec<u8>| match red {
            true => {
                let mut out = packet.clone();
                out[1] = packet[1] & 0x80 | RED;
                out.insert(12, VP8);
                out
            }
            false => packet.clone(),
        };
        let sent: Vec<Vec<u8>> = media.iter().map(wrap).collect();
        let arrive = sent.iter().filter(|packet| !lost.contains(&u16::from_be_bytes([packet[2], packet[3]])));
        arrive.for_each(|packet| self.world.send_rtp(self.alice, packet));
        (media, sent)
    }

    fn repair_flex(&mut self, payload: &[u8]) {
        self.sent = self.sent.wrapping_add(1);
        self.world.send_rtp(self.alice, &rtp(FLEXFEC, FEC_SSRC, self.sent, 77, &[], payload));
    }

    /// What Bob got of both streams; FlexFEC has numbers and times of its own.
    fn take_flex(&mut self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let (mut media, mut repairs) = (Vec::new(), Vec::new());
        for packet in self.world.rtp(self.bob) {
            let view = RtpView::parse(&packet).expect("valid RTP");
            assert!(view.extension(WIDE).is_some() && view.extension(SEND_TIME).is_some());
            if view.ssrc == self.fec_ssrc {
                assert_eq!((view.payload_type, view.marker), (FLEXFEC + 5, false));
                self.told.push((view.sequence, view.timestamp));
                repairs.push(view.payload().to_vec());
            } else {
                media.push(as_protected(&packet, true));
            }
        }
        (media, repairs)
    }

    fn repair(&mut self, red: bool, sequence: u16, time: u32, payload: &[u8]) {
        let payload = if red { [&[ULPFEC], payload].concat() } else { payload.to_vec() };
        self.world.send_rtp(self.alice, &rtp(if red { RED } else { ULPFEC }, SSRC, sequence, time, &[], &payload));
    }

    fn take(&mut self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let (mut media, mut repairs) = (Vec::new(), Vec::new());
        for packet in self.world.rtp(self.bob) {
            let view = RtpView::parse(&packet).expect("valid RTP");
            let payload = view.payload();
            match view.payload_type {
                pt if pt == ULPFEC + 5 => repairs.push(payload.to_vec()),
                pt if pt == RED + 5 && payload[0] == ULPFEC + 5 => repairs.push(payload[1..].to_vec()),
                _ => media.push(as_protected(&packet, false)),
            }
        }
        (media, repairs)
    }
}

/// Each packet, lost alone, comes back as it was.
fn each_comes_back(media: &[Vec<u8>], repairs: &[Vec<u8>], count: usize, what: &str) {
    all_come_back(media, repairs, false, count, what);
}

fn all_come_back(media: &[Vec<u8>], repairs: &[Vec<u8>], flex: bool, count: usize, what: &str) {
    let [repair] = repairs else { panic!("{what}: {} repair packets", repairs.len()) };
    assert_eq!(media.len(), count, "{what}");
    for lost in 0..media.len() {
        let mut got = media.to_vec();
        let original = got.remove(lost);
        let ssrc = u32::from_be_bytes(original[8..12].try_into().expect("four"));
        assert_eq!(recover(repair, flex, &got, ssrc), Some(original), "{what}: {lost}");
    }
}

#[test]
fn a_lost_packet_is_recovered_from_what_the_consumer_was_sent() {
    for red in [true, false] {
        let mut s = stage(red);
        let what = if red { "in RED" } else { "alone" };
        let (media, repairs) = s.send(red, 65_530, &[(0, 0, 40), (1, 0, 500), (2, 0, 0), (3, 0, 77)]);
        each_comes_back(&media, &repairs, 4, what);
        let wrapped = media.iter().all(|p| RtpView::parse(p).expect("valid RTP").payload_type == VP8 + 5);
        assert!(wrapped, "{what}");
        // Numbers go on over the repair packet, without a gap.
        let (next, repairs) = s.send(red, 65_535, &[(4, 0, 60), (5, 0, 61)]);
        each_comes_back(&next, &repairs, 2, what);
        let sequence = |packet: &[u8]| u16::from_be_bytes([packet[2], packet[3]]);
        assert_eq!(sequence(&next[0]), sequence(&media[3]).wrapping_add(2), "{what}");
        // After a pause timestamps and picture ids are others than the publisher's.
        s.world.command(Command::Pause { object: s.consumer }).expect("it can be paused");
        s.send(red, 2, &[(6, 0, 60)]);
        s.world.command(Command::Resume { object: s.consumer }).expect("it can be resumed");
        // What is kept is sent first, with its repair packets.
        s.world.run(Duration::from_millis(500));
        s.world.rtp(s.bob);
        let (media, repairs) = s.send(red, 4, &[(0, 0, 100), (1, 0, 90), (2, 0, 80)]);
        each_comes_back(&media, &repairs, 3, what);
    }
}

#[test]
fn layers_that_are_left_out_are_not_in_the_repair_packet() {
    let mut s = stage(true);
    s.world
        .command(Command::SetPreferredLayers { consumer: s.consumer, layers: Some(Layers::new(0, 0)) })
        .expect("set");
    let pictures =
        [(0, 0, 40), (1, 2, 50), (2, 1, 60), (3, 2, 70), (4, 0, 80), (5, 2, 90), (6, 1, 20), (7, 2, 5), (8, 0, 66)];
    let (media, repairs) = s.send(true, 100, &pictures);
    each_comes_back(&media, &repairs, 3, "the base layer");
    // One that protects nothing of what is sent is left out.
    let (media, repairs) = s.send(true, 110, &[(9, 2, 10), (10, 1, 10)]);
    assert_eq!((media.len(), repairs.len()), (0, 0));
    let (next, repairs) = s.send(true, 113, &[(11, 0, 10)]);
    each_comes_back(&next, &repairs, 1, "alone in its repair packet");
}

#[test]
fn row_033_a_repair_packet_over_what_was_lost_here_is_left_out_without_a_gap() {
    let mut s = stage(true);
    let (before, repairs) = s.send(true, 10, &[(0, 0, 40), (1, 0, 40)]);
    each_comes_back(&before, &repairs, 2, "before");
    let drops = s.world.drops(DropReason::RtpFec);
    // It names a packet that never came, others that are long gone, and nothing.
    for (n, base, mask) in [(13, 13, 0xc0), (14, 10_000, 0x80), (15, 10, 0)] {
        let mut fec = vec![0x00, 96];
        fec.extend(u16::to_be_bytes(base));
        fec.extend([0, 0, 0, 9, 0, 40, 0, 20, mask, 0]);
        fec.extend([0x55; 40]);
        s.repair(true, n, 3_000, &fec);
    }
    assert_eq!(s.world.drops(DropReason::RtpFec), drops + 3);
    assert_eq!(s.take().1.len(), 0);
    let (after, repairs) = s.send(true, 16, &[(2, 0, 40), (3, 0, 40)]);
    each_comes_back(&after, &repairs, 2, "after");
    let number = |packet: &[u8]| u16::from_be_bytes([packet[2], packet[3]]);
    assert_eq!(number(&after[0]), number(&before[1]).wrapping_add(2), "one number for the first repair packet");
}

#[test]
fn a_lost_packet_is_recovered_from_the_flexfec_stream_of_its_consumer() {
    for red in [true, false] {
        let mut s = stage(red);
        let what = if red { "in RED" } else { "alone" };
        let (media, repairs) = s.send_flex(red, 65_530, &[(0, 0, 40), (1, 0, 500), (2, 0, 0), (3, 0, 77)], &[]);
        all_come_back(&media, &repairs, true, 4, what);
        let expected = if red { RED } else { VP8 } + 5;
        assert!(media.iter().all(|p| RtpView::parse(p).expect("valid RTP").payload_type == expected), "{what}");
        s.world.run(Duration::from_millis(100));
        // The stream itself has no gap for it, and it has none of its own.
        let (next, repairs) = s.send_flex(red, 65_534, &[(4, 0, 60), (5, 0, 61)], &[]);
        all_come_back(&next, &repairs, true, 2, what);
        let sequence = |packet: &[u8]| u16::from_be_bytes([packet[2], packet[3]]);
        assert_eq!(sequence(&next[0]), sequence(&media[3]).wrapping_add(1), "{what}");
        let [first, second] = s.told[..] else { panic!("{what}: {:?}", s.told) };
        assert_eq!(second.0, first.0.wrapping_add(1), "{what}");
        let ticks = second.1.wrapping_sub(first.1);
        assert!((9_000..9_900).contains(&ticks), "{what}: {ticks} ticks in a tenth of a second");
        // After a pause timestamps and picture ids are others than the publisher's.
        s.world.command(Command::Pause { object: s.consumer }).expect("it can be paused");
        assert_eq!(s.send_flex(red, 0, &[(6, 0, 60)], &[]), (vec![], vec![]), "{what}");
        s.world.command(Command::Resume { object: s.consumer }).expect("it can be resumed");
        s.world.run(Duration::from_millis(500));
        s.world.rtp(s.bob);
        let (media, repairs) = s.send_flex(red, 1, &[(0, 0, 100), (1, 0, 90), (2, 0, 80)], &[]);
        all_come_back(&media, &repairs, true, 3, what);
    }
}

#[test]
fn flexfec_protects_what_the_peer_was_sent_and_nothing_else() {
    let mut s = stage(false);
    let layers = Some(Layers::new(0, 0));
    s.world.command(Command::SetPreferredLayers { consumer: s.consumer, layers }).expect("set");
    let pictures = [(0, 0, 40), (1, 2, 50), (2, 1, 60), (3, 2, 70), (4, 0, 80), (5, 2, 90), (6, 1, 20), (8, 0, 66)];
    let (media, repairs) = s.send_flex(false, 100, &pictures, &[]);
    all_come_back(&media, &repairs, true, 3, "the base layer");
    let (media, repairs) = s.send_flex(false, 110, &[(9, 2, 10), (10, 1, 10)], &[]);
    assert_eq!((media.len(), repairs.len()), (0, 0), "nothing of it is sent");
    // What was lost on the way here has a gap there too, and is not in it.
    let (media, repairs) = s.send_flex(false, 112, &[(11, 0, 30), (12, 0, 31), (13, 0, 32)], &[113]);
    all_come_back(&media, &repairs, true, 2, "the one in the middle was lost");
    let Some(Dump::Consumer(dump)) = s.world.dump(s.consumer) else { panic!("no dump") };
    assert_eq!(dump.fec_ssrc, Some(s.fec_ssrc));
    let (producer, consumer) = (s.producer, s.consumer);
    let mut of = |object| s.world.stats(object).expect("it lives").streams[0].clone();
    let out = of(consumer);
    assert_eq!((out.fec_ssrc, out.fec_packets, out.packets), (Some(s.fec_ssrc), 2, 5));
    let received = of(producer);
    assert_eq!((received.fec_ssrc, received.fec_packets, received.packets), (Some(FEC_SSRC), 3, 12));
    assert!(out.fec_bytes > 0 && received.fec_bytes > out.fec_bytes);
    let (from, to) = [s.alice, s.bob].map(|member| s.world.members[member].transport.id).into();
    let mut streams = |id| match s.world.dump(id) {
        Some(Dump::WebRtcTransport(dump)) => dump.streams,
        other => panic!("no dump: {other:?}"),
    };
    assert!(streams(from).received.iter().any(|r| r.ssrc == FEC_SSRC && r.fec && !r.rtx && r.signalled));
    assert!(streams(to).sent.iter().any(|sent| sent.ssrc == s.fec_ssrc && sent.fec && !sent.rtx));
    // A NACK for it is not answered, and the goodbye names it.
    let mut nack = [0; 64];
    let len = Nack::write(&mut nack, 1, s.fec_ssrc, &[s.told[0].0]).expect("fits");
    s.world.send_rtcp(s.bob, &nack[..len]);
    assert!(s.world.rtp(s.bob).is_empty());
}

#[test]
fn a_peer_without_flexfec_gets_none_and_has_no_stream_for_it() {
    let mut s = stage(false);
    let carol = s.world.join(s.router);
    let plain = s.world.consume(carol, s.producer);
    assert_eq!(plain.streams[0].fec_ssrc, None);
    let (media, repairs) = s.send_flex(false, 10, &[(0, 0, 40), (1, 0, 40)], &[]);
    all_come_back(&media, &repairs, true, 2, "Bob");
    let heard = s.world.rtp(carol);
    assert!(heard.len() == 2 && heard.iter().all(|p| RtpView::parse(p).expect("valid RTP").payload_type == VP8));
}

#[test]
fn row_033_flexfec_that_says_nothing_of_use_ends_here_and_what_it_makes_is_bounded() {
    let mut s = stage(false);
    let (_, sent) = s.publish(false, 10, &[(0, 0, 40), (1, 0, 40)], &[]);
    s.take_flex();
    let good = flexfec(&sent, SSRC);
    let drops = s.world.drops(DropReason::RtpFec);
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        bad
    };
    // Cut short, of several sources, of rows and columns, of nobody, about nothing, about what never came, and one that is
    // shorter than what it says it protects.
    let bad = [
        good[..19].to_vec(),
        with(8, &[2]),
        with(0, &[0x40]),
        with(12, &[9]),
        with(18, &[0x80, 0]),
        with(16, &[40, 0]),
        good[..21].to_vec(),
    ];
    for payload in &bad {
        s.repair_flex(payload);
    }
    assert_eq!(s.world.drops(DropReason::RtpFec), drops + 7 - 1, "the last one is long enough for so small a packet");
    let (media, repairs) = s.take_flex();
    assert_eq!((media.len(), repairs.len()), (0, 1));
    // Two packets of media are worth sixteen of parity, of which two pairs are spent.
    for _ in 0..50 {
        s.repair_flex(&good);
    }
    assert_eq!(s.take_flex().1.len(), 6);
    let (media, repairs) = s.send_flex(false, 12, &[(2, 0, 40), (3, 0, 40)], &[]);
    all_come_back(&media, &repairs, true, 2, "after that");
}
