//! A thousand wraps of every number that a consumer writes, in strides as long as a source's may be.

use std::time::Duration;

use sfu_wire::codec::CodecKind;
use sfu_wire::dependency_descriptor::{DependencyDescriptor, DescriptorRewrite, samples};
use sfu_wire::extension::ExtensionKind;

use super::rig::*;

const WRAPS: u64 = 1_000;
/// Sequence numbers of a packet: less is lost than makes a restart.
const STRIDE: u64 = 2_000;
/// Timestamps of a packet, and the time that they take on a clock of 90 kHz: not so long that they say nothing.
const TICKS: u64 = 1 << 27;
const PERIOD: Duration = Duration::from_nanos(TICKS * 1_000_000_000 / 90_000);

#[test]
fn h27_a_thousand_wraps_of_sequence_timestamp_picture_and_rtx_numbers() {
    let mut rig = Rig::new(CodecKind::Vp8);
    let send = |rig: &mut Rig, n: u64, ticks: u64, key| {
        let input = In { ts: ticks as u32, payload: vp8(n as u16 & 0x7FFF, n as u8, key), ..rig.input(n as u16, key) };
        rig.send(&input)
    };
    // A second stretch, whose numbers are all moved and whose timestamps begin squeezed.
    for (n, ticks) in [(1, 3_000), (2, 6_000)] {
        send(&mut rig, n, ticks, n == 1).unwrap();
    }
    rig.consumer.pause(rig.now);
    let _ = send(&mut rig, 3, 9_000, false);
    rig.consumer.resume(rig.now);
    let first = send(&mut rig, 4, 9_001, true).unwrap();
    let (picture_shift, tl0_shift) = (picture(&first).0.wrapping_sub(4), picture(&first).1.wrapping_sub(4));
    assert_ne!((picture_shift, first.seq().wrapping_sub(4)), (0, 0), "the numbers are moved");
    let mut line = None;
    let mut again = 0;
    for k in 1..=WRAPS * 65_536 / STRIDE {
        rig.now += PERIOD;
        let (n, ticks) = (4 + k * STRIDE, 9_001 + k * TICKS);
        let out = send(&mut rig, n, ticks, false).unwrap();
        assert_eq!(out.seq(), first.seq().wrapping_add((k * STRIDE) as u16), "packet {k}");
        assert_eq!(
            picture(&out),
            ((n as u16).wrapping_add(picture_shift) & 0x7FFF, (n as u8).wrapping_add(tl0_shift)),
            "packet {k}"
        );
        let moved = out.fields.timestamp.wrapping_sub(ticks as u32);
        assert_eq!(*line.get_or_insert(moved), moved, "packet {k}");
        // RTX numbers go on one by one: moved on by hand, but for the resend itself.
        rig.consumer.cold.rtx_sequence = (k * STRIDE) as u16;
        let resent = rig.nack(&[out.seq()]);
        assert_eq!(resent.len(), 1, "packet {k}");
        assert_eq!((resent[0].seq(), resent[0].unwrap()), ((k * STRIDE) as u16, (out.seq(), &out.payload[..])));
        assert_eq!(rig.consumer.cold.rtx_sequence, (k * STRIDE + 1) as u16);
        again += 1;
    }
    assert!(again * STRIDE >= (WRAPS - 1) * 65_536 && again * TICKS >= WRAPS << 32);
}

#[test]
fn h27_a_thousand_wraps_of_frame_numbers() {
    let with = |extensions: &mut sfu_wire::extension::ExtensionIds| {
        assert!(extensions.set(ExtensionKind::DependencyDescriptor, 6));
    };
    let (producer, mut consumer) = (producer_config(CodecKind::Av1), consumer_config(CodecKind::Av1));
    with(&mut consumer.extensions);
    let mut rig = Rig::with(producer, consumer);
    let structure = samples::structure("L1T3").unwrap();
    let descriptor = |n: u64, key: bool| {
        // All frames are of the template that refers to none.
        let [high, low] = (n as u16).to_be_bytes();
        let plain = [0xC0 | structure.offset() & 63, high, low];
        if !key {
            return plain.to_vec();
        }
        let mut buf = [0; 255];
        let rewrite =
            DescriptorRewrite { frame_number: n as u16, active_targets: None, structure: true, template_shift: 0 };
        let parsed = DependencyDescriptor::parse_known(&plain, &structure).unwrap();
        let len = parsed.write(&mut buf, &structure, &rewrite).unwrap();
        buf[..len].to_vec()
    };
    let mut send = |seq: u64, n: u64, key: bool| {
        let value = descriptor(n, key);
        let input = rig.input(seq as u16, key);
        rig.advance(33);
        let out = rig.send(&In { exts: &[(6, &value)], ts: (seq * 2_970) as u32, ..input });
        out.map(|out| {
            let value = &out.extensions.iter().find(|(id, _)| *id == 6).expect("a descriptor").1;
            (out.seq(), u16::from_be_bytes([value[1], value[2]]))
        })
    };
    let first = send(1, 60_000, true).unwrap();
    let mut frames = 0;
    for k in 1..=WRAPS * 65_536 / STRIDE {
        let out = send(1 + k, 60_000 + k * STRIDE, false).unwrap();
        assert_eq!(out.0, first.0.wrapping_add(k as u16));
        assert_eq!(out.1, first.1.wrapping_add((k * STRIDE) as u16), "packet {k}");
        frames += 1;
    }
    assert!(frames * STRIDE >= (WRAPS - 1) * 65_536);
}
