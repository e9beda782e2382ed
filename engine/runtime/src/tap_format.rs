//! The two formats of taps.
//!
//! pcapng (draft-ietf-opsawg-pcapng): one section, one interface of raw IP (LINKTYPE_RAW) with times in nanoseconds, one
//! enhanced packet block with its direction for each packet. IP and UDP headers are made up from the addresses, so that
//! readers decode what is inside; where one address is IPv6 both are written as IPv6. UDP checksums are left out (0).
//!
//! rtpdump (rtptools): a line of text with the peer's address, a header with the time of the first packet, then records
//! of length, length of the RTP packet (0 for RTCP) and milliseconds since the first packet. Directions are not in it.

use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use sfu_core::tap::TapPacket;
use sfu_core::trace::Direction;

const LINKTYPE_RAW: u16 = 101;
const UDP: u8 = 17;
const TTL: u8 = 64;

/// The blocks before all packets.
pub(crate) fn pcapng_header() -> Vec<u8> {
    let mut out = Vec::new();
    block(&mut out, 0x0a0d_0d0a, |out| {
        out.extend(0x1a2b_3c4d_u32.to_le_bytes());
        out.extend([1, 0, 0, 0]);
        out.extend(u64::MAX.to_le_bytes());
    });
    block(&mut out, 1, |out| {
        out.extend(LINKTYPE_RAW.to_le_bytes());
        out.extend([0; 6]);
        // if_tsresol: 10^-9 s.
        out.extend([9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    });
    out
}

/// One packet.
pub(crate) fn pcapng_packet(out: &mut Vec<u8>, packet: &TapPacket<'_>) {
    let at = packet.at_unix_nanos;
    let headers = ip_udp(packet);
    let captured = (headers.len() + packet.bytes.len()) as u32;
    block(out, 6, |out| {
        for word in [0, (at >> 32) as u32, at as u32, captured, headers.len() as u32 + u32::from(packet.original)] {
            out.extend(word.to_le_bytes());
        }
        out.extend(&headers);
        out.extend(packet.bytes);
        out.extend(std::iter::repeat_n(0, captured.next_multiple_of(4) as usize - captured as usize));
        // epb_flags: inbound or outbound.
        let direction = if packet.direction == Direction::In { 1 } else { 2 };
        out.extend([2, 0, 4, 0, direction, 0, 0, 0, 0, 0, 0, 0]);
    });
}

/// A block with its lengths around it.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    let len = (out.len() + 4 - start) as u32;
    out[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
    out.extend(len.to_le_bytes());
}

/// IP and UDP headers of the whole packet (RFC 791, RFC 8200, RFC 768).
fn ip_udp(packet: &TapPacket<'_>) -> Vec<u8> {
    let (from, to) = match packet.direction {
        Direction::In => (packet.remote, packet.local),
        Direction::Out => (packet.local, packet.remote),
    };
    let udp_len = packet.original.saturating_add(8);
    let mut out = Vec::with_capacity(48);
    match (from.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            out.extend([0x45, 0]);
            out.extend(udp_len.saturating_add(20).to_be_bytes());
            out.extend([0, 0, 0x40, 0, TTL, UDP, 0, 0]);
            out.extend(source.octets());
            out.extend(destination.octets());
            let words = out.chunks_exact(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
            let sum: u32 = words.sum();
            let folded = (sum & 0xffff) + (sum >> 16);
            let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
            out[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        (source, destination) => {
            out.extend([0x60, 0, 0, 0]);
            out.extend(udp_len.to_be_bytes());
            out.extend([UDP, TTL]);
            out.extend(as_v6(source).octets());
            out.extend(as_v6(destination).octets());
        }
    }
    out.extend(from.port().to_be_bytes());
    out.extend(to.port().to_be_bytes());
    out.extend(udp_len.to_be_bytes());
    out.extend([0, 0]);
    out
}

fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// What an rtpdump begins with.
pub(crate) fn rtpdump_header(out: &mut Vec<u8>, remote: SocketAddr, start_unix_nanos: u64) {
    // Writing to memory does not fail.
    let _ = writeln!(out, "#!rtpplay1.0 {}/{}", remote.ip(), remote.port());
    let micros = start_unix_nanos / 1_000;
    out.extend(((micros / 1_000_000) as u32).to_be_bytes());
    out.extend(((micros % 1_000_000) as u32).to_be_bytes());
    let source = if let IpAddr::V4(ip) = remote.ip() { ip.octets() } else { [0; 4] };
    out.extend(source);
    out.extend(remote.port().to_be_bytes());
    out.extend([0; 2]);
}

/// One record.
pub(crate) fn rtpdump_packet(out: &mut Vec<u8>, start_unix_nanos: u64, packet: &TapPacket<'_>) {
    let len = (packet.bytes.len() as u16).saturating_add(8);
    let offset = packet.at_unix_nanos.saturating_sub(start_unix_nanos) / 1_000_000;
    out.extend(len.to_be_bytes());
    out.extend(if packet.rtcp { 0 } else { packet.original }.to_be_bytes());
    out.extend((offset as u32).to_be_bytes());
    out.extend(packet.bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_core::tap::{FILE_OVERHEAD, PACKET_OVERHEAD};
    use sfu_wire::id::ObjectId;

    fn packet<'a>(local: &str, remote: &str, bytes: &'a [u8]) -> TapPacket<'a> {
        TapPacket {
            transport: ObjectId::from_u64(1),
            at_unix_nanos: 5_000_001_000,
            direction: Direction::In,
            rtcp: false,
            local: local.parse().expect("an address"),
            remote: remote.parse().expect("an address"),
            original: bytes.len() as u16,
            bytes,
        }
    }

    #[test]
    fn blocks_have_their_lengths_at_both_ends_and_are_within_what_is_counted() {
        assert!(pcapng_header().len() as u64 <= FILE_OVERHEAD);
        for (local, remote) in [("10.0.0.1:5000", "192.0.2.7:6000"), ("[::1]:5000", "192.0.2.7:6000")] {
            for len in 0..9usize {
                let mut out = Vec::new();
                pcapng_packet(&mut out, &packet(local, remote, &vec![7; len]));
                let total = u32::from_le_bytes(out[4..8].try_into().expect("four"));
                assert_eq!((total as usize, out.len() % 4), (out.len(), 0));
                assert_eq!(out[4..8], out[out.len() - 4..]);
                assert!(out.len() as u64 <= len as u64 + PACKET_OVERHEAD, "{len}");
            }
        }
    }

    #[test]
    fn an_ip_header_adds_up_and_names_who_sent() {
        let headers = ip_udp(&packet("10.0.0.1:5000", "192.0.2.7:6000", &[1; 12]));
        let sum: u32 = headers[..20].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        assert_eq!(headers[12..20], [192, 0, 2, 7, 10, 0, 0, 1]);
        assert_eq!(headers[20..], [0x17, 0x70, 0x13, 0x88, 0, 20, 0, 0]);
    }

    #[test]
    fn an_rtpdump_has_its_line_its_time_and_its_records() {
        let (mut out, rtp) = (Vec::new(), packet("10.0.0.1:5000", "192.0.2.7:6000", &[1; 12]));
        rtpdump_header(&mut out, rtp.remote, 5_000_001_000);
        rtpdump_packet(&mut out, 5_000_001_000, &TapPacket { at_unix_nanos: 5_020_001_000, ..rtp });
        let (line, rest) = out.split_at(28);
        assert_eq!(line, b"#!rtpplay1.0 192.0.2.7/6000\n");
        assert_eq!(rest[..16], [0, 0, 0, 5, 0, 0, 0, 1, 192, 0, 2, 7, 0x17, 0x70, 0, 0]);
        assert_eq!(rest[16..24], [0, 20, 0, 12, 0, 0, 0, 20]);
        assert_eq!(rest[24..], [1; 12]);
    }
}
