//! What tests of this floor share.

use crate::error::ParseError;
use crate::rtcp::{
    Bye, Fir, FirEntry, Nack, Pli, ReceiverReport, Remb, ReportBlock, Sdes, SenderReport, TransportCc,
    TransportCcHeader,
};
use crate::rtp::{RtpHeaderFields, write_header};
use crate::stun::{BINDING, Class, HmacSha1, StunBuilder};
use crate::time::NtpTime;

/// A small generator of numbers, so that tests repeat without a dependency.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 16) as usize % bound
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 32) as u8).collect()
    }
}

/// One well-formed packet of each kind, and some that are well-formed by a hair.
pub(crate) fn corpus() -> Vec<Vec<u8>> {
    let mut all: Vec<_> = STUN.iter().chain(RTP).chain(RTCP).map(|write| written(*write)).collect();
    all.push(RFC_5769_REQUEST.to_vec());
    all.extend(RAW.iter().map(|bytes| bytes.to_vec()));
    all
}

type Write = fn(&mut [u8]) -> Result<usize, ParseError>;

fn written(write: Write) -> Vec<u8> {
    let mut buf = vec![0; 1500];
    let len = write(&mut buf).unwrap();
    buf.truncate(len);
    buf
}

const KEY: Option<(&[u8], HmacSha1)> = Some((b"key", crate::fuzz::pretended_hmac));
const ID: [u8; 12] = [7; 12];

const STUN: &[Write] = &[
    |buf| {
        let builder = StunBuilder::new(buf, Class::Request, BINDING, &ID).username(b"ours:theirs");
        builder.priority(1 << 24).ice_controlling(99).use_candidate().nomination(1).finish(KEY)
    },
    |buf| {
        let v4 = "192.0.2.1:4000".parse().unwrap();
        StunBuilder::new(buf, Class::Success, BINDING, &ID).xor_mapped_address(v4).finish(KEY)
    },
    |buf| {
        let v6 = "[2001:db8::1]:4000".parse().unwrap();
        let builder = StunBuilder::new(buf, Class::Error, BINDING, &ID).error_code(487, "Role Conflict");
        builder.xor_mapped_address(v6).unknown_attributes(&[0x77, 0x78]).ice_controlled(3).finish(None)
    },
];

const FIELDS: RtpHeaderFields = RtpHeaderFields { marker: true, payload_type: 96, sequence: 7, timestamp: 8, ssrc: 9 };

const RTP: &[Write] = &[
    |buf| {
        let exts: [(u8, &[u8]); 4] = [(1, b"0"), (2, b"hi"), (5, &[1, 2, 3]), (14, &[0; 16])];
        write_header(buf, &FIELDS, &exts).map(|len| len + 20)
    },
    |buf| write_header(buf, &FIELDS, &[(1, b""), (200, &[3; 40])]).map(|len| len + 5),
    |buf| {
        let len = write_header(buf, &FIELDS, &[])? + 8;
        buf[0] |= 0x20;
        buf[len - 1] = 8;
        Ok(len)
    },
];

const BLOCK: ReportBlock = ReportBlock {
    ssrc: 5,
    fraction_lost: 3,
    cumulative_lost: -2,
    highest_sequence: 1 << 17,
    jitter: 1,
    last_sr: 2,
    delay_since_last_sr: 3,
};

const RTCP: &[Write] = &[
    |buf| {
        let ntp = NtpTime(6 << 33);
        let report = SenderReport { ssrc: 4, ntp, rtp_timestamp: 1, packet_count: 2, octet_count: 3 };
        let len = report.write(buf, &[BLOCK; 3])?;
        let len = len + Sdes::write(&mut buf[len..], &[(4, b"cname"), (5, b"abc")])?;
        Ok(len + Bye::write(&mut buf[len..], &[4, 5], Some(b"gone"))?)
    },
    |buf| {
        let len = ReceiverReport { ssrc: 1 }.write(buf, &[BLOCK])?;
        let len = len + Nack::write(&mut buf[len..], 1, 5, &[65_530, 65_531, 3, 40])?;
        let len = len + Pli { sender_ssrc: 1, media_ssrc: 5 }.write(&mut buf[len..])?;
        let len = len + Fir::write(&mut buf[len..], 1, &[FirEntry { ssrc: 5, sequence: 1 }])?;
        Ok(len + Remb::write(&mut buf[len..], 1, 2_500_000, &[5, 6])?)
    },
    |buf| {
        let header = TransportCcHeader { base_sequence: 65_530, reference_time: -5, ..Default::default() };
        let deltas: Vec<_> = (0..60).map(|i| (i % 7 != 0).then_some(if i % 31 == 1 { -300 } else { i })).collect();
        TransportCc::write(buf, &header, &deltas)
    },
];

/// Extended reports, feedback of RFC 8888, payloads of VP8, VP9, H.264, H.265 and AV1, RED, FEC and
/// the layers allocation.
const RAW: &[&[u8]] = &[
    &[
        0x8b, 205, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xfe, 0, 3, 0x80, 5, 0, 0, 0xff, 0xff, 0, 0, 0, 1, 2, 3, 9, 9,
        9, 9,
    ],
    &[0x80, 207, 0, 8, 0, 0, 0, 1, 4, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 5, 0, 0, 3, 0, 0, 0, 7, 1, 2, 3, 4, 0, 1, 0, 0],
    &[0x80, 207, 0, 6, 0, 0, 0, 1, 6, 0, 0, 0, 4, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 5, 0, 0, 0],
    &[0xef, 0x0f, 0x00, 0x03, 0xef, 0x07, 0x80, 0x02, 0x6f, 0xfc, 1, 2, 0xfc, 3, 0xfc, 4, 5],
    &[0x00, 96, 0, 40, 0, 0, 0, 9, 1, 0, 0, 0, 0, 0, 0, 7, 0xff, 0xfe, 0xc0, 0x03, 1, 2, 3],
    &[0x40, 96, 0, 7, 0, 0, 0, 9, 0, 40, 0, 20, 0x80, 1, 0x80, 0, 0, 1, 9, 9, 9],
    &[0x51, 0x40, 100, 0x96, 0x01, 0x80, 0x08, 1, 63, 0, 179, 15, 4, 255, 2, 207, 30],
    &[0x64, 0x01, 0x42, 0x30, 1, 2, 3, 9],
    &[0x80, 207, 0, 4, 0, 0, 0, 1, 4, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8],
    &[0x90, 0xf0, 0x92, 0x34, 0x56, 0x61, 0x00, 0x9d, 0x01, 0x2a],
    &[0x90, 0xe0, 0x12, 0x34, 0x60, 0x01],
    &[0xfa, 0x81, 0x02, 0x15, 0x03, 0x04, 0x38, 1, 2, 3, 4, 5, 6, 7, 8, 2, 0x04, 0x02, 0x00],
    &[0x8a, 0x11, 0x18, 0, 1, 0, 1, 0x10, 0xff],
    &[0x65, 1, 2, 3],
    &[0x78, 0, 2, 0x67, 1, 0, 1, 0x68],
    &[0x7c, 0x85, 1, 2],
    &[0x60, 0x01, 0, 3, 0x42, 0x01, 9, 0, 2, 0x26, 0x01],
    &[0x62, 0x01, 0x93, 1],
    &[0x18, 0x0a, 0x0b],
    &[0x38, 0x01, 0x0a, 0x02, 1, 2, 0x30],
    &[0x48, 0x02, 0x0a, 0x0b, 0x81, 0x00, 0x30],
];

/// RFC 5769, section 2.1: the sample request, of user "evtj:h6vY".
pub(crate) const RFC_5769_REQUEST: [u8; 108] = [
    0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf,
    0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73, 0x74, 0x20, 0x63, 0x6c, 0x69, 0x65,
    0x6e, 0x74, 0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff, 0x80, 0x29, 0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51,
    0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a, 0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20, 0x20,
    0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf, 0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2,
    0x49, 0xc1, 0xb5, 0x71, 0xa2, 0x80, 0x28, 0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
];

/// A packet with something wrong.
pub(crate) fn mutate(rng: &mut Rng, seed: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=rng.below(4) {
        if bytes.is_empty() {
            return bytes;
        }
        let at = rng.below(bytes.len());
        match rng.below(7) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.below(5)],
            2 => bytes.truncate(at),
            3 => bytes.insert(at, rng.next() as u8),
            4 => drop(bytes.remove(at)),
            5 => bytes.extend_from_within(at..),
            // Near the front are the fields that decide.
            _ => {
                let at = rng.below(bytes.len().min(16));
                bytes[at] = rng.next() as u8;
            }
        }
    }
    bytes
}
