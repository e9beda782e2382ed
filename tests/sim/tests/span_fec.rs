//! FlexFEC of a publisher on one shard for a viewer on another.

use std::time::Duration;

use sfu_core::config::CodecConfig;
use sfu_core::limits::Limits;
use sfu_core::testing::world::{VP8, consumer_config, producer_config, rtp, vp8, vp8_frame};
use sfu_sim::span::Cluster;
use sfu_wire::codec::CodecKind;
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::rtp::RtpView;

const VIDEO_SSRC: u32 = 2_222;
const FLEXFEC: u8 = 35;

/// FlexFEC (draft 03) over two packets that follow each other: parity is no affair of a shard's, so any will do.
fn flexfec(ssrc: u32, base: u16) -> Vec<u8> {
    let mut payload = vec![0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    payload.extend(ssrc.to_be_bytes());
    payload.extend(base.to_be_bytes());
    payload.extend([0xe0, 0]);
    payload.extend([0x55; 60]);
    payload
}

#[test]
fn flexfec_crosses_and_is_made_of_what_the_viewer_there_was_sent() {
    let mut cluster = Cluster::new(7, 2, 64, Limits::default());
    let router = cluster.router(0);
    let (from, to) = (cluster.transport(0, router), cluster.transport(1, router));
    let codec =
        CodecConfig { slot: 9, kind: CodecKind::FlexFec, payload_type: FLEXFEC, rtx_payload_type: None, ..vp8() };
    let mid = Mid::new(b"v").expect("legal");
    let mut config = producer_config(MediaKind::Video, mid, vec![vp8()], Some(VIDEO_SSRC), Some(VIDEO_SSRC + 1));
    config.codecs.push(codec.clone());
    config.encodings[0].fec_ssrc = Some(VIDEO_SSRC + 2);
    let producer = cluster.produce(from, config);
    let mut viewer = consumer_config(producer, MediaKind::Video, mid, false);
    viewer.codecs.push(codec);
    let created = cluster.consume(to, viewer);
    let fec_ssrc = created.streams[0].fec_ssrc.expect("both have it");
    cluster.settle();
    cluster.crossed = 0;
    for n in 0..2 {
        cluster.send(from, &rtp(VP8, VIDEO_SSRC, n, 3_000 * u32::from(n), &[], &vp8_frame(n == 0, n)));
    }
    cluster.send(from, &rtp(FLEXFEC, VIDEO_SSRC + 2, 700, 5, &[], &flexfec(VIDEO_SSRC, 0)));
    cluster.run(Duration::from_millis(20));
    assert_eq!(cluster.crossed, 3);
    let got = cluster.rtp(created.id);
    let views: Vec<_> = got.iter().map(|packet| RtpView::parse(packet).expect("RTP")).collect();
    let [first, second, repair] = &views[..] else { panic!("{views:?}") };
    assert_eq!((first.ssrc, second.ssrc, repair.ssrc), (created.ssrc, created.ssrc, fec_ssrc));
    assert_eq!(repair.payload_type, FLEXFEC);
    let payload = repair.payload();
    assert_eq!(
        (&payload[12..16], &payload[16..18]),
        (&created.ssrc.to_be_bytes()[..], &first.sequence.to_be_bytes()[..])
    );
    assert_eq!(&payload[18..20], [0xe0, 0], "two packets, one part");
    let parity: Vec<u8> = got[0][12..].iter().zip(&got[1][12..]).map(|(a, b)| a ^ b).collect();
    assert_eq!(&payload[20..20 + parity.len()], parity);
    let longest = got[0].len().max(got[1].len()) - 12;
    assert_eq!(payload.len(), 20 + longest);
    cluster.check_span();
}
