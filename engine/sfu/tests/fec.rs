//! Repair packets through the shard: what a consumer's peer gets protects what it got. Parity is made and resolved here
//! once more, by hand.

use std::time::Duration;

use sfu_core::command::{Command, Reply};
use sfu_core::config::{CodecConfig, ConsumerConfig};
use sfu_core::testing::world::{VP8, World, consumer_config, producer_config, rtp, vp8};
use sfu_wire::codec::CodecKind;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::rtp::RtpView;
use sfu_wire::scalability::Layers;

const RED: u8 = 116;
const ULPFEC: u8 = 117;
const SSRC: u32 = 7;
const SEND_TIME: u8 = 4;
const WIDE: u8 = 5;

struct Stage {
    world: World,
    alice: usize,
    bob: usize,
    consumer: ObjectId,
}

/// Alice publishes VP8 in RED with ULPFEC, or with ULPFEC alone; Bob knows both.
fn stage(red: bool) -> Stage {
    let mut world = World::new(98);
    let router = world.router();
    let (alice, bob) = (world.join(router), world.join(router));
    let codec = |slot, kind, payload_type| CodecConfig { slot, kind, payload_type, rtx_payload_type: None, ..vp8() };
    let mut codecs = vec![vp8(), codec(12, CodecKind::UlpFec, ULPFEC)];
    if red {
        codecs.push(codec(11, CodecKind::Red, RED));
    }
    let config = producer_config(MediaKind::Video, Mid::new(b"v").expect("legal"), codecs, Some(SSRC), Some(8));
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
    let consumer = match world.command(Command::Consume { transport, config: Box::new(config) }) {
        Ok(Reply::Consumer(created)) => created.id,
        other => panic!("no consumer: {other:?}"),
    };
    Stage { world, alice, bob, consumer }
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

/// The packet that a repair payload gives back, if all but one that it names are in `got`.
fn recover(fec: &[u8], got: &[Vec<u8>], ssrc: u32) -> Option<Vec<u8>> {
    let long = fec[0] & 0x40 != 0;
    let header = if long { 18 } else { 14 };
    let base = u16::from_be_bytes([fec[2], fec[3]]);
    let named = (0..if long { 48 } else { 16 }).filter(|k| fec[12 + k / 8] >> (7 - k % 8) & 1 == 1);
    let named: Vec<u16> = named.map(|k| base.wrapping_add(k as u16)).collect();
    let sequence = |packet: &Vec<u8>| u16::from_be_bytes([packet[2], packet[3]]);
    let lost: Vec<u16> = named.iter().copied().filter(|n| !got.iter().any(|p| sequence(p) == *n)).collect();
    let [lost] = lost[..] else { return None };
    let mut bits = [fec[0] & 0x3f, fec[1]];
    let mut time: [u8; 4] = fec[4..8].try_into().expect("four");
    let mut length = u16::from_be_bytes([fec[8], fec[9]]);
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

/// As receivers take packets for repair: out of RED, and what changes on the way zeroed.
fn as_protected(packet: &[u8]) -> Vec<u8> {
    let view = RtpView::parse(packet).expect("valid RTP");
    let mut out = packet.to_vec();
    for id in [SEND_TIME, WIDE] {
        if let Some(range) = view.extension_range(id) {
            out[range].fill(0);
        }
    }
    if view.payload_type == RED + 5 {
        let at = view.payload_range().start;
        out[1] = out[1] & 0x80 | packet[at];
        out.remove(at);
    }
    out
}

impl Stage {
    /// Sends packets of one picture each and a repair packet over them; answers what Bob got, media and repair payloads.
    fn send(&mut self, red: bool, first: u16, pictures: &[(u16, u8, usize)]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
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
        for packet in &media {
            self.world.send_rtp(self.alice, &wrap(packet));
        }
        let time = 3_000 * u32::from(pictures[pictures.len() - 1].0);
        self.repair(red, first.wrapping_add(pictures.len() as u16), time, &ulpfec(&media));
        self.take()
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
                _ => media.push(as_protected(&packet)),
            }
        }
        (media, repairs)
    }
}

/// Each packet, lost alone, comes back as it was.
fn each_comes_back(media: &[Vec<u8>], repairs: &[Vec<u8>], count: usize, what: &str) {
    let [repair] = repairs else { panic!("{what}: {} repair packets", repairs.len()) };
    assert_eq!(media.len(), count, "{what}");
    for lost in 0..media.len() {
        let mut got = media.to_vec();
        let original = got.remove(lost);
        let ssrc = u32::from_be_bytes(original[8..12].try_into().expect("four"));
        assert_eq!(recover(repair, &got, ssrc), Some(original), "{what}: {lost}");
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
