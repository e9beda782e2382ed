//! Second opinions of published parsers on what stands before or beside the media: redundancy and layers allocations by
//! str0m, Opus by mousiki, header extensions of few bits by rtc-rtp. Descriptors of VP8, VP9, H264, H265 and AV1 have theirs in
//! [`crate::oracle_payload_tests`], RTP and RTCP in [`crate::oracle_tests`].
//!
//! No published parser in Rust or Python was found for these, which have a second reading of our own, after the specification:
//! - the dependency descriptor: [`crate::oracle_spec_tests`];
//! - ULPFEC and FlexFEC headers: by hand in `engine/sfu/tests/fec.rs`, parity resolved there.
//!
//! Redundancy and layers allocations keep their own second readings as well: str0m takes allocations that end too early.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mousiki::c_style_api::packet::{
    opus_packet_get_nb_channels, opus_packet_get_nb_samples, opus_packet_get_samples_per_frame,
};
use rtc_rtp::extension::abs_send_time_extension::AbsSendTimeExtension;
use rtc_rtp::extension::transport_cc_extension::TransportCcExtension;
use rtc_rtp::extension::video_orientation_extension::{CameraDirection, VideoOrientationExtension};
use rtc_shared::marshal::Unmarshal;
use str0m::rtp::vla::{Serializer, VideoLayersAllocation};
use str0m::rtp::{ExtensionSerializer, ExtensionValues, RedDecoder};

use crate::codec::opus::{self, OpusToc};
use crate::codec::red::RedPayload;
use crate::extension::{abs_send_time, transport_sequence, video_orientation};
use crate::layers_allocation::LayersAllocation;
use crate::testing::{Rng, corpus, mutate};

const MUTATIONS: usize = 20_000;

/// Calls `judge` with each seed, with mutations of them and of the corpus, and with random bytes.
fn for_each_input(seed: u64, seeds: &[&[u8]], mut judge: impl FnMut(&[u8])) {
    let mut rng = Rng(seed);
    for start in seeds {
        judge(start);
        (0..MUTATIONS).for_each(|_| judge(&mutate(&mut rng, start)));
    }
    for start in corpus() {
        (0..50).for_each(|_| judge(&mutate(&mut rng, &start)));
    }
    for _ in 0..MUTATIONS {
        let len = rng.below(60);
        judge(&rng.bytes(len));
    }
}

#[test]
fn h39_row_032_redundancy_is_read_as_str0m_reads_it() {
    let seeds: [&[u8]; 3] = [
        &[0xef, 0x0f, 0x00, 0x03, 0xef, 0x07, 0x80, 0x02, 0x6f, 0xfc, 0x01, 0x02, 0xfc, 0x03, 0xfc, 0x04],
        &[0xef, 0x0f, 0x00, 0x03, 0x6f, 1, 2, 3, 4],
        &[0x6f, 0xfc, 1, 2],
    ];
    let mut agreed = 0;
    for_each_input(41, &seeds, |bytes| {
        let (ours, theirs) = (RedPayload::parse(bytes), RedDecoder::decode(bytes));
        assert_eq!(ours.is_ok(), theirs.is_ok(), "{bytes:02x?}");
        let (Ok(ours), Ok(mut theirs)) = (ours, theirs) else { return };
        agreed += 1;
        let primary = theirs.pop().expect("a primary block");
        assert_eq!((ours.payload_type, ours.primary), (primary.pt, primary.payload), "{bytes:02x?}");
        assert!(primary.is_primary);
        let read: Vec<_> = ours
            .redundant()
            .map(|block| (block.payload_type, u32::from(block.timestamp_offset), block.data, false))
            .collect();
        let theirs: Vec<_> = theirs.iter().map(|b| (b.pt, b.timestamp_offset, b.payload, b.is_primary)).collect();
        assert_eq!(read, theirs, "{bytes:02x?}");
    });
    assert!(agreed > 10_000, "{agreed}");
}

/// Their reading; a panic is a refusal.
fn their_allocation(bytes: &[u8]) -> Option<VideoLayersAllocation> {
    let mut values = ExtensionValues::default();
    let read = catch_unwind(AssertUnwindSafe(|| Serializer.parse_value(bytes, &mut values))).ok()?;
    values.user_values.get::<VideoLayersAllocation>().filter(|_| read).cloned()
}

/// Stream, spatial layer, kbit/s of each temporal layer, size.
type Layer = (usize, usize, Vec<u64>, Option<(u32, u32, u8)>);

#[test]
fn row_061_layers_allocations_are_read_as_str0m_reads_them() {
    let seeds: [&[u8]; 4] = [
        &[0x51, 0x40, 100, 0x96, 0x01, 0x80, 0x08, 1, 63, 0, 179, 15, 4, 255, 2, 207, 30],
        &[0x07, 0, 10, 20, 30],
        &[0x20, 0x01, 0x30, 0, 1, 2, 3],
        &[0],
    ];
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| {
        // Their sums that overflow are not ours to print.
        if info.location().is_none_or(|at| !at.file().contains("str0m")) {
            eprintln!("{info}");
        }
    }));
    let mut agreed = 0;
    for_each_input(42, &seeds, |bytes| {
        let Ok(ours) = LayersAllocation::parse(bytes) else { return };
        let read: Vec<Layer> = ours
            .layers()
            .iter()
            .map(|layer| {
                let rates = &layer.bitrates[..usize::from(layer.temporal_layers)];
                let rates = rates.iter().map(|rate| rate / 1_000).collect();
                (usize::from(layer.stream), usize::from(layer.spatial), rates, layer.size)
            })
            .collect();
        // A side of 65,536 is too much for their sixteen bits, a rate of 2^54 kbit/s for our bit/s.
        let beyond = |layer: &Layer| {
            layer.3.is_some_and(|(w, h, _)| w.max(h) > 0xffff) || layer.2.iter().any(|kbps| *kbps >= 1 << 54)
        };
        if read.iter().any(beyond) {
            return;
        }
        let theirs = their_allocation(bytes).unwrap_or_else(|| panic!("only we take {bytes:02x?}"));
        agreed += 1;
        assert_eq!(ours.stream, theirs.current_simulcast_stream_index, "{bytes:02x?}");
        // They have no stream at all where nothing is sent.
        assert_eq!(usize::from(ours.stream_count), theirs.simulcast_streams.len().max(1), "{bytes:02x?}");
        let streams = theirs.simulcast_streams.iter().enumerate();
        let layers = streams.flat_map(|(stream, s)| s.spatial_layers.iter().enumerate().map(move |l| (stream, l)));
        let theirs: Vec<Layer> = layers
            .filter(|(_, (_, layer))| !layer.temporal_layers.is_empty())
            .map(|(stream, (spatial, layer))| {
                let rates = layer.temporal_layers.iter().map(|t| t.cumulative_kbps).collect();
                let size = layer.resolution_and_framerate.as_ref();
                let size = size.map(|size| (u32::from(size.width), u32::from(size.height), size.framerate));
                (stream, spatial, rates, size)
            })
            .collect();
        assert_eq!(read, theirs, "{bytes:02x?}");
    });
    std::panic::set_hook(hook);
    assert!(agreed > 5_000, "{agreed}");
}

#[test]
fn row_066_opus_packets_last_as_long_as_mousiki_says() {
    const RATE: u32 = 48_000;
    let last = |samples: usize| Duration::from_micros(samples as u64 * 1_000 / 48);
    let mut agreed = 0;
    let mut judge = |bytes: &[u8]| {
        let theirs = opus_packet_get_nb_samples(bytes, bytes.len(), RATE).ok().filter(|samples| *samples > 0);
        assert_eq!(opus::duration(bytes), theirs.map(last), "{bytes:02x?}");
        let Some(toc) = OpusToc::parse(bytes) else { return };
        assert_eq!(opus_packet_get_nb_channels(bytes).ok(), Some(1 + usize::from(toc.stereo)));
        assert_eq!(opus_packet_get_samples_per_frame(bytes, RATE).ok().map(last), Some(toc.frame_duration()));
        agreed += 1;
    };
    for first in 0..=u8::MAX {
        judge(&[first]);
        (0..=u8::MAX).for_each(|second| judge(&[first, second, 0]));
    }
    for_each_input(43, &[&[0xfc, 1, 2], &[0x7b, 3, 1, 2, 3]], judge);
    assert!(agreed > 60_000, "{agreed}");
}

#[test]
fn orientations_send_times_and_transport_wide_numbers_are_read_as_rtc_rtp_reads_them() {
    for byte in 0..=u8::MAX {
        let theirs = VideoOrientationExtension::unmarshal(&mut &[byte][..]).expect("a byte");
        let ours = video_orientation(&[byte]).expect("a byte");
        assert_eq!((ours.back_camera, ours.flip), (theirs.direction == CameraDirection::Back, theirs.flip));
        assert_eq!(ours.rotation, 90 * theirs.rotation as u16);
    }
    let mut rng = Rng(44);
    for _ in 0..MUTATIONS {
        let value = rng.bytes(3);
        let theirs = AbsSendTimeExtension::unmarshal(&mut &value[..]).expect("three bytes");
        assert_eq!(abs_send_time(&value).map(u64::from), Some(theirs.timestamp));
        let theirs = TransportCcExtension::unmarshal(&mut &value[..2]).expect("two bytes");
        assert_eq!(transport_sequence(&value[..2]), Some(theirs.transport_sequence));
    }
}
