//! Writes the committed seed corpus: valid inputs of every fuzz target, so that a fuzzer begins behind the first checks.
//! Run from the root: `cargo run --manifest-path tests/fuzz/Cargo.toml --example seeds -- tests/fuzz/corpus`

use std::path::{Path, PathBuf};

use sfu_control::schema as fb;
use sfu_control::{EngineOptions, encode};
use sfu_proto::crypto::{Certificate, DtlsContext, DtlsRole, DtlsSession, hmac::hmac_sha1};
use sfu_proto::srtp::SrtpProfile;
use sfu_wire::dependency_descriptor::{DependencyDescriptor, DescriptorRewrite, samples};
use sfu_wire::rtcp::transport_cc::TransportCcHeader;
use sfu_wire::rtcp::{
    Bye, DlrrBlock, Fir, FirEntry, Nack, Pli, ReceiverReport, Remb, ReportBlock, Sdes, SenderReport, TransportCc, Xr,
};
use sfu_wire::rtp::{RtpHeaderFields, write_header};
use sfu_wire::stun::{Class, StunBuilder};
use sfu_wire::time::{NtpTime, Time};

fn main() {
    let root = PathBuf::from(std::env::args().nth(1).expect("give the corpus folder"));
    stun(&root);
    rtp(&root);
    rtcp(&root);
    descriptors(&root);
    payloads(&root);
    machines(&root);
    scripts(&root);
    messages(&root);
}

fn write(root: &Path, target: &str, name: &str, bytes: &[u8]) {
    let folder = root.join(target);
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    std::fs::write(folder.join(name), bytes).expect("the seed can be written");
}

/// Each with two bytes of length before it, as the targets of `proto` read them.
fn pieces<T: AsRef<[u8]>>(pieces: &[T]) -> Vec<u8> {
    let with_length = |piece: &T| [&(piece.as_ref().len() as u16).to_be_bytes(), piece.as_ref()].concat();
    pieces.iter().flat_map(with_length).collect()
}

fn binding(key: &str, user: &str, nominate: bool) -> Vec<u8> {
    let mut buf = [0; 512];
    let mut builder = StunBuilder::new(&mut buf, Class::Request, 1, b"transaction1")
        .username(user.as_bytes())
        .priority(0x6e7f_1eff)
        .ice_controlling(7);
    if nominate {
        builder = builder.use_candidate();
    }
    let len = builder.finish(Some((key.as_bytes(), hmac_sha1))).expect("it fits");
    buf[..len].to_vec()
}

fn stun(root: &Path) {
    let request = binding("password", "user:peer", true);
    write(root, "wire_stun", "request", &request);
    write(root, "wire_demux", "stun", &request);
    let mut buf = [0; 512];
    let len = StunBuilder::new(&mut buf, Class::Success, 1, b"transaction2")
        .xor_mapped_address("[2001:db8::1]:3478".parse().expect("an address"))
        .finish(Some((b"password", hmac_sha1)))
        .expect("it fits");
    write(root, "wire_stun", "success", &buf[..len]);
    let len = StunBuilder::new(&mut buf, Class::Error, 1, b"transaction3")
        .error_code(420, "Unknown Attribute")
        .unknown_attributes(&[1, 2, 3])
        .finish(None)
        .expect("it fits");
    write(root, "wire_stun", "error", &buf[..len]);
    let checks = [request, binding("password", "user:peer", false), binding("wrong", "user:peer", true)];
    write(root, "proto_ice", "checks", &pieces(&checks));
    let stream = pieces(&checks);
    write(root, "proto_framing", "checks", &[&[0, 1, 40, 200][..], &stream].concat());
    write(root, "proto_framing", "too_long", &[&[5; 4][..], &stream, &[0xff; 9]].concat());
}

fn rtp_packet(payload_type: u8, exts: &[(u8, &[u8])], payload: &[u8]) -> Vec<u8> {
    let fields = RtpHeaderFields { marker: true, payload_type, sequence: 65_535, timestamp: 1_000, ssrc: 0x1234_5678 };
    let mut buf = [0; 1500];
    let len = write_header(&mut buf, &fields, exts).expect("it fits");
    [&buf[..len], payload].concat()
}

fn rtp(root: &Path) {
    let plain = rtp_packet(111, &[], b"opus");
    let short = rtp_packet(96, &[(1, b"0"), (2, b"hi"), (3, &[1, 2, 3]), (5, &[0, 9])], b"video");
    let long = rtp_packet(96, &[(20, b"a value of more than sixteen bytes"), (1, b"0")], b"video");
    for (name, packet) in [("plain", &plain), ("one_byte", &short), ("two_byte", &long)] {
        write(root, "wire_rtp", name, packet);
    }
    write(root, "wire_demux", "rtp", &plain);
    write(root, "wire_extensions", "one_byte", &[&[0], &short[16..16 + 16]].concat());
    write(root, "wire_extensions", "two_byte", &[&[2], &long[16..16 + 40]].concat());
    write(root, "proto_srtp", "packets", &pieces(&[plain, short, long, reports()]));
}

fn reports() -> Vec<u8> {
    let mut buf = [0; 1500];
    let block = ReportBlock {
        ssrc: 7,
        fraction_lost: 3,
        cumulative_lost: -2,
        highest_sequence: 0x0001_0002,
        jitter: 40,
        last_sr: 5,
        delay_since_last_sr: 6,
    };
    let ntp = NtpTime::from_unix_nanos(1_700_000_000_000_000_000);
    let report = SenderReport { ssrc: 9, ntp, rtp_timestamp: 1, packet_count: 2, octet_count: 3 };
    let len = report.write(&mut buf, &[block]).expect("it fits");
    let more = Sdes::write(&mut buf[len..], &[(9, b"cname")]).expect("it fits");
    buf[..len + more].to_vec()
}

fn rtcp(root: &Path) {
    let mut buf = [0; 1500];
    let mut one = |name: &str, len: Result<usize, _>, buf: &[u8]| {
        let len = len.unwrap_or_else(|_: sfu_wire::error::ParseError| panic!("{name} fits"));
        write(root, "wire_rtcp", name, &buf[..len]);
    };
    write(root, "wire_rtcp", "sender_report_and_sdes", &reports());
    write(root, "wire_demux", "rtcp", &reports());
    let len = ReceiverReport { ssrc: 1 }.write(&mut buf, &[]);
    one("receiver_report", len, &buf);
    let len = Nack::write(&mut buf, 1, 2, &[65_535, 0, 1, 40]);
    one("nack", len, &buf);
    let len = Pli { sender_ssrc: 1, media_ssrc: 2 }.write(&mut buf);
    one("pli", len, &buf);
    let len = Fir::write(&mut buf, 1, &[FirEntry { ssrc: 2, sequence: 3 }]);
    one("fir", len, &buf);
    let len = Remb::write(&mut buf, 1, 1_500_000, &[2, 3]);
    one("remb", len, &buf);
    let len = Bye::write(&mut buf, &[1, 2], Some(b"gone"));
    one("bye", len, &buf);
    let header = TransportCcHeader {
        sender_ssrc: 1,
        media_ssrc: 2,
        base_sequence: 65_530,
        reference_time: 9,
        feedback_count: 1,
    };
    let deltas: Vec<Option<i16>> = (0..40).map(|i| (i % 5 != 0).then_some(i * 7 - 20)).collect();
    let len = TransportCc::write(&mut buf, &header, &deltas);
    one("transport_cc", len, &buf);
    let answer = DlrrBlock { ssrc: 3, last_rr: 0x1234_5678, delay_since_last_rr: 0x1_0000 };
    let len = Xr::write(&mut buf, 1, Some(NtpTime(1 << 63)), &[answer]);
    one("extended_report", len, &buf);
    let congestion =
        [0x8b, 205, 0, 6, 0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xfe, 0, 3, 0x80, 5, 0, 0, 0xff, 0xff, 0, 0, 0, 1, 2, 3];
    write(root, "wire_rtcp", "congestion", &congestion);
}

/// A key frame and the frames after it, each descriptor after its length.
fn descriptors(root: &Path) {
    for mode in ["L1T3", "L3T3", "L3T3_KEY"] {
        let mut structure = samples::structure(mode).expect("a mode that has a sample");
        let mut all = Vec::new();
        for template in [1, 0, 4] {
            let mut buf = [0; 255];
            let short = [0xc0 | structure.offset().wrapping_add(template) & 0x3f, 0, template];
            let descriptor = DependencyDescriptor::parse(&short, &mut structure).expect("a known template");
            let rewrite = DescriptorRewrite {
                frame_number: u16::from(template),
                active_targets: (template == 4).then_some(3),
                structure: template == 1,
                template_shift: 0,
            };
            let len = descriptor.write(&mut buf, &structure, &rewrite).expect("it fits");
            all.push(len as u8);
            all.extend_from_slice(&buf[..len]);
        }
        write(root, "wire_dependency_descriptor", &mode.to_lowercase(), &all);
    }
}

/// By hand from the payload formats: RFC 7741, RFC 9628, RFC 6184, RFC 7798, the AV1 RTP specification, RFC 6716.
fn payloads(root: &Path) {
    let seeds: [(&str, &str, &[u8]); 21] = [
        (
            "wire_vp8",
            "key_frame",
            &[0x90, 0xe0, 0x81, 0x23, 0x07, 0x20, 0x50, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02],
        ),
        ("wire_vp8", "delta_frame", &[0x80, 0x80, 0x05, 0x51, 0x02, 0x00]),
        ("wire_vp9", "key_frame", &[0x8a, 0x80, 0x01, 0x18, 0x02, 0x80, 0x01, 0x68, 0x82, 0x49, 0x83, 0x42]),
        ("wire_vp9", "flexible", &[0xf8, 0x81, 0x02, 0x22, 0x03, 0x02, 0x86]),
        ("wire_h264", "sps", &[0x67, 0x42, 0xc0, 0x1f, 0xda]),
        ("wire_h264", "stap_a", &[0x78, 0x00, 0x02, 0x67, 0x42, 0x00, 0x03, 0x68, 0xce, 0x3c]),
        ("wire_h264", "fu_a", &[0x7c, 0x85, 0x88, 0x84]),
        ("wire_h265", "vps", &[0x40, 0x01, 0x0c, 0x01]),
        ("wire_h265", "aggregate", &[0x60, 0x01, 0x00, 0x02, 0x40, 0x01, 0x00, 0x03, 0x42, 0x01, 0x01]),
        ("wire_h265", "fragment", &[0x62, 0x01, 0x93, 0xaf]),
        ("wire_av1", "new_sequence", &[0x18, 0x0a, 0x0b, 0x00, 0x00]),
        ("wire_av1", "two_elements", &[0x28, 0x02, 0x0a, 0x00, 0x32, 0x01]),
        ("wire_opus", "stereo", &[0xfc, 0x7f, 0x80]),
        ("wire_h265", "paci", &[0x64, 0x01, 0x42, 0x30, 0x01, 0x02, 0x03, 0x09]),
        (
            "wire_red",
            "two_redundant",
            &[0xef, 0x0f, 0x00, 0x03, 0xef, 0x07, 0x80, 0x02, 0x6f, 0xfc, 0x01, 0x02, 0xfc, 0x03, 0xfc, 0x04],
        ),
        ("wire_fec", "flexible", &[0, 96, 0, 40, 0, 0, 0, 9, 1, 0, 0, 0, 0, 0, 0, 7, 0xff, 0xfe, 0xc0, 0x03, 1, 2, 3]),
        ("wire_fec", "flexible_long", &FLEXFEC_LONG),
        (
            "wire_fec",
            "standard",
            &[0, 96, 0, 40, 0, 0, 0, 9, 0xff, 0xfe, 0xc0, 3, 0xc0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 1, 9],
        ),
        ("wire_fec", "uneven", &[0x40, 96, 0, 7, 0, 0, 0, 9, 0, 40, 0, 20, 0x80, 1, 0x80, 0, 0, 1, 9, 9, 9]),
        (
            "wire_layers_allocation",
            "two_streams",
            &[0x51, 0x40, 100, 0x96, 0x01, 0x80, 0x08, 1, 63, 0, 179, 15, 4, 255, 2, 207, 30],
        ),
        ("wire_layers_allocation", "svc", &[0x07, 0, 10, 20, 30]),
    ];
    for (target, name, bytes) in seeds {
        write(root, target, name, bytes);
    }
}

/// A FlexFEC header whose mask has all three parts, and two packets' worth of parity input behind it.
const FLEXFEC_LONG: [u8; 64] = {
    let mut bytes = [0; 64];
    bytes[1] = 96;
    bytes[8] = 1;
    bytes[15] = 7;
    bytes[18] = 0x40;
    bytes[20] = 0x40;
    bytes[24] = 0xc0;
    bytes
};

fn machines(root: &Path) {
    let certificate = Certificate::generate().expect("a certificate");
    let context = DtlsContext::new(&certificate, &SrtpProfile::ALL, 1200).expect("a context");
    let mut client = DtlsSession::new(&context, DtlsRole::Client, Time::from_millis(1)).expect("a session");
    let mut buffer = [0; 1500];
    let mut flight = Vec::new();
    while let Some(len) = client.poll_transmit(&mut buffer) {
        flight.push(buffer[..len].to_vec());
    }
    write(root, "wire_demux", "dtls", &flight[0]);
    write(root, "proto_dtls", "client_hello", &pieces(&flight));
    // Behind the keys: data, a Finished once more, a wish to negotiate anew, a warning; a forged record; close_notify.
    let forged = [&[0x80, 21, 0xfe, 0xfd, 0, 1][..], &[0, 0, 0, 0, 0, 9, 0, 26], &[0; 26]].concat();
    let records: [&[u8]; 6] = [b"\x03data", &[2, 20, 0, 0, 12], &[2, 1, 0, 0, 0], &[1, 1, 90], &forged, &[1, 1, 0]];
    write(root, "proto_dtls", "connected", &pieces(&records));
}

/// Scripts are any bytes; these three differ in how often operations repeat.
fn scripts(root: &Path) {
    let rising: Vec<u8> = (0..=255).collect();
    let mixed: Vec<u8> = (0..512u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let steady: Vec<u8> = (0..384).map(|i| [0, 1, 0, (i / 3) as u8, 2, 3][i % 6]).collect();
    let targets = [
        "proto_history",
        "proto_rewrite",
        "proto_layers",
        "core_layers",
        "proto_nack",
        "proto_score",
        "proto_tcc",
        "proto_speakers",
        "proto_framing",
        "core_datagrams",
        "core_commands",
        "core_pipeline",
        "control_session",
    ];
    for target in targets {
        for (name, bytes) in [("rising", &rising), ("mixed", &mixed), ("steady", &steady)] {
            write(root, target, name, bytes);
        }
    }
}

/// A table of the object API with some fields set; the rest are the schema's defaults.
fn table<T: Default>(set: impl FnOnce(&mut T)) -> T {
    let mut table = T::default();
    set(&mut table);
    table
}

fn messages(root: &Path) {
    let codec: fb::RtpCodecCapabilityT = table(|t: &mut fb::RtpCodecCapabilityT| {
        t.mime_type = "video/VP8".to_owned();
        t.clock_rate = 90_000;
    });
    let listen = table(|t: &mut fb::ListenInfoT| t.ip = "127.0.0.1".to_owned());
    let encoding = table(|t: &mut fb::RtpEncodingParametersT| t.ssrc = Some(1));
    let parameters = table(|t: &mut fb::RtpParametersT| {
        t.mid = Some("0".to_owned());
        t.encodings = Some(vec![encoding]);
    });
    let router = table(|t: &mut fb::CreateRouterT| {
        t.media_codecs = Some(vec![codec]);
        t.shard = Some(1);
    });
    let transport = table(|t: &mut fb::CreateWebRtcTransportT| t.listen_infos = Some(vec![listen]));
    let produce = table(|t: &mut fb::ProduceT| t.rtp_parameters = Some(Box::new(parameters)));
    let consume = table(|t: &mut fb::ConsumeT| t.producer = 9);
    let bodies = [
        ("get_dump", fb::RequestBodyT::GetDump(Box::default())),
        ("get_stats", fb::RequestBodyT::GetStats(Box::default())),
        ("close", fb::RequestBodyT::Close(Box::default())),
        ("create_router", fb::RequestBodyT::CreateRouter(Box::new(router))),
        ("create_webrtc_transport", fb::RequestBodyT::CreateWebRtcTransport(Box::new(transport))),
        ("produce", fb::RequestBodyT::Produce(Box::new(produce))),
        ("consume", fb::RequestBodyT::Consume(Box::new(consume))),
    ];
    for (name, body) in bodies {
        write(root, "control_message", name, &encode::request(1, 0x0001_0000_0100_0000, body));
    }
    write(root, "control_message", "engine_options", &EngineOptions::default().encode());
    write(root, "control_session", "consumer", &sfu_control::fuzz::session_seed());
    for (name, offer) in sfu_control::fuzz::description_seeds() {
        write(root, "control_sdp", name, offer.as_bytes());
    }
}
