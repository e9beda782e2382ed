//! Bodies for payload formats and the layers allocation.

use crate::codec::fec::{Parity, Protection};
use crate::codec::red::{self, RedPayload};
use crate::codec::{CodecKind, av1, h264, h265, opus, vp8, vp9};
use crate::layers_allocation::{LayersAllocation, MAX_LAYERS};

/// VP8: a rewrite changes the two numbers and nothing else.
pub fn vp8(data: &[u8]) {
    assert!(!CodecKind::Vp8.is_key_frame(data) || data.len() >= 2);
    let Ok(descriptor) = vp8::Vp8Descriptor::parse(data) else {
        return;
    };
    assert!((1..=6).contains(&descriptor.len) && descriptor.len <= data.len());
    assert_eq!(descriptor.is_key_frame, vp8::is_key_frame(data));
    for (picture_id, tl0) in [(0, 0), (0x7fff, 0xff), (0x1234, 0x56)] {
        let mut copy = data.to_vec();
        descriptor.rewrite_picture_id(&mut copy, picture_id, tl0).expect("the payload that was parsed");
        let again = vp8::Vp8Descriptor::parse(&copy).expect("a rewrite keeps the structure");
        let mut expected = descriptor;
        if let Some(id) = &mut expected.picture_id {
            id.value = if id.long { picture_id } else { picture_id & 0x7f };
        }
        expected.tl0_picture_index = descriptor.tl0_picture_index.map(|_| tl0);
        assert_eq!(again, expected);
        assert_eq!(copy[descriptor.len..], data[descriptor.len..]);
    }
    // A payload that shrank since it was parsed.
    for len in 0..descriptor.len {
        let mut short = data[..len].to_vec();
        assert!(descriptor.rewrite_picture_id(&mut short, 1, 1).is_err());
        assert_eq!(short, data[..len]);
    }
}

/// VP9: numbers within their bits.
pub fn vp9(data: &[u8]) {
    let key = CodecKind::Vp9.is_key_frame(data);
    let Ok(descriptor) = vp9::Vp9Descriptor::parse(data) else {
        assert!(!key);
        return;
    };
    assert!(descriptor.len <= data.len() && descriptor.len >= 1);
    assert!(!key || descriptor.is_key_frame());
    assert!(descriptor.picture_id.is_none_or(|id| id.value < if id.long { 0x8000 } else { 0x80 }));
    assert!(descriptor.layer.is_none_or(|layer| layer.spatial < 8 && layer.temporal < 8));
    assert!(descriptor.tl0_picture_index.is_none() || !descriptor.flexible);
    assert!(descriptor.structure.is_none_or(|structure| (1..=8).contains(&structure.spatial_layers)));
    let mut copy = data.to_vec();
    descriptor.rewrite_picture_id(&mut copy, 0x1234, 0x56).expect("the payload that was parsed");
    let again = vp9::Vp9Descriptor::parse(&copy).expect("a rewrite keeps the structure");
    assert_eq!((again.len, again.layer, again.structure), (descriptor.len, descriptor.layer, descriptor.structure));
    assert_eq!(again.tl0_picture_index, descriptor.tl0_picture_index.map(|_| 0x56));
    let value = descriptor.picture_id.map(|id| if id.long { 0x1234 } else { 0x34 });
    assert_eq!(again.picture_id.map(|id| id.value), value);
}

/// H.264: the units of an aggregate are all of it.
pub fn h264(data: &[u8]) {
    let key = CodecKind::H264.is_key_frame(data);
    match h264::H264Payload::parse(data) {
        Ok(h264::H264Payload::StapA(units)) => {
            assert_eq!(units.map(|unit| unit.len() + 2).sum::<usize>() + 1, data.len());
        }
        Ok(h264::H264Payload::FuA { start, end, .. }) => assert!(!(start && end)),
        Ok(_) => {}
        Err(_) => assert!(!key),
    }
}

/// H.265: the units of an aggregate are all of it.
pub fn h265(data: &[u8]) {
    let key = CodecKind::H265.is_key_frame(data);
    assert!(h265::temporal_layer(data).is_none_or(|layer| layer < 7));
    match h265::H265Payload::parse(data) {
        Ok(h265::H265Payload::Aggregate(units)) => {
            let len = units.map(|unit| unit.len() + 2).sum::<usize>() + 2;
            assert!(len == data.len() || data[0] >> 1 & 0x3f == 50 && len < data.len());
        }
        Ok(h265::H265Payload::Fragment { start, end, .. }) => assert!(!(start && end)),
        Ok(_) => {}
        Err(_) => assert!(!key),
    }
}

/// AV1: elements lie within the payload.
pub fn av1(data: &[u8]) {
    let key = CodecKind::Av1.is_key_frame(data);
    let Ok(payload) = av1::Av1Payload::parse(data) else {
        assert!(!key);
        return;
    };
    assert_eq!(key, payload.new_sequence);
    assert!(payload.elements().map(<[u8]>::len).sum::<usize>() < data.len());
    let count = payload.elements().count();
    assert!(count >= 1 && (payload.element_count == 0 || count == usize::from(payload.element_count)));
}

/// Opus: durations within bounds.
pub fn opus(data: &[u8]) {
    assert!(CodecKind::Opus.is_key_frame(data));
    assert_eq!(opus::OpusToc::parse(data).is_none(), data.is_empty());
    assert!(opus::duration(data).is_none_or(|duration| (2..=120).contains(&duration.as_millis())));
    let _ = opus::is_dtx(data);
}

/// RED: blocks lie one behind the other, and what is read is written again.
pub fn red(data: &[u8]) {
    let Ok(payload) = RedPayload::parse(data) else {
        return;
    };
    let blocks: Vec<_> = payload.redundant().collect();
    assert!(blocks.len() == payload.redundancy() && blocks.len() <= red::MAX_BLOCKS);
    assert_eq!(&data[payload.primary_range()], payload.primary);
    assert_eq!(payload.primary_range().end, data.len());
    let total = blocks.iter().map(|block| block.data.len() + 4).sum::<usize>() + 1 + payload.primary.len();
    assert_eq!(total, data.len());
    let mut buf = vec![0; data.len()];
    let len = red::write(&mut buf, &blocks, payload.payload_type, payload.primary).expect("room for what was read");
    assert_eq!(&buf[..len], data);
}

/// FEC: the protected packets lie within a mask's reach, and a rewrite changes one number; parity names what was added.
pub fn fec(data: &[u8]) {
    type Read = fn(&[u8]) -> Option<Protection>;
    let forms: [Read; 3] = [
        |bytes| Protection::parse_flexfec(bytes).ok().flatten(),
        |bytes| Protection::parse_ulpfec(bytes).ok(),
        |bytes| Protection::parse_flexfec_rfc(bytes).ok().flatten(),
    ];
    for read in forms {
        let Some(protection) = read(data) else { continue };
        assert!(protection.len <= data.len() && (1..=110).contains(&protection.sequences().count()));
        let last = protection.sequences().last().expect("a mask covers something");
        assert_eq!(last, protection.base_sequence.wrapping_add(protection.span()));
        let mut copy = data.to_vec();
        protection.rewrite_base(&mut copy, 0x1234);
        protection.rewrite_ssrc(&mut copy, 0x5678_9abc);
        let again = read(&copy).expect("a rewrite keeps the structure");
        assert_eq!((again.base_sequence, again.len, again.span()), (0x1234, protection.len, protection.span()));
        assert_eq!(again.ssrc, protection.ssrc.map(|_| 0x5678_9abc));
    }
    parity(data);
}

/// Packets of up to 64 bytes, numbered as they say.
fn parity(data: &[u8]) {
    let mut body = [0x5a; 40];
    let mut parity = Parity::new(&mut body);
    let mut added = Vec::new();
    for packet in data.chunks(64) {
        let (head, tail) = packet.split_at(packet.len().min(12 + usize::from(packet[0] & 31)));
        if parity.add(head, tail) {
            added.push(u16::from_be_bytes([packet[2], packet[3]]));
        }
    }
    let mut out = [0; 80];
    let written = parity.write_ulpfec(&mut out);
    assert_eq!((written, written.is_some()), (parity.ulpfec_len(), !added.is_empty()));
    let Some(len) = written else { return };
    let first = added[0];
    added.sort_unstable_by_key(|sequence| sequence.wrapping_sub(first));
    added.dedup();
    let named: Vec<u16> = Protection::parse_ulpfec(&out[..len]).expect("its own form").sequences().collect();
    assert_eq!(named, added);
    let written = parity.write_flexfec(&mut out, 0x0102_0304);
    assert_eq!(written, parity.flexfec_len().filter(|len| *len <= out.len()));
    let Some(len) = written else { return };
    let read = Protection::parse_flexfec(&out[..len]).expect("its own form").expect("one source");
    assert_eq!((read.ssrc, read.sequences().collect::<Vec<u16>>()), (Some(0x0102_0304), added));
}

/// Layers allocation: sorted layers within the format's bounds.
pub fn layers_allocation(data: &[u8]) {
    let Ok(allocation) = LayersAllocation::parse(data) else {
        return;
    };
    let layers = allocation.layers();
    assert!(layers.len() <= MAX_LAYERS && (1..=4).contains(&allocation.stream_count));
    assert!(layers.is_sorted_by_key(|layer| (layer.stream, layer.spatial)));
    assert!(layers.iter().all(|layer| layer.stream < allocation.stream_count && layer.spatial < 4));
    assert!(layers.iter().all(|layer| (1..=4).contains(&layer.temporal_layers)));
    assert!(layers.iter().all(|layer| layer.size.is_some() == layers[0].size.is_some()));
}
