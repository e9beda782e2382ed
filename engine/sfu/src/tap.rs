//! Taps: copies of one transport's RTP and RTCP in the clear, both ways, while somebody wants them.
//!
//! Told: packets after they were opened and before they are closed. Tells: copies with time, direction and addresses,
//! until [`Shard::clear_taps`]; how a tap ended. Where nobody taps, a packet tests one pointer of its transport's link.
//! Limits: the sizes and times of [`TapOptions`]; bytes and packets of one turn, beyond which copies are dropped and
//! counted, never media. The room for copies is made by the first tap. Left out: files, which are the runtime's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use sfu_wire::id::ObjectId;
use sfu_wire::net::{SocketId, Tuple};
use sfu_wire::time::Time;

use crate::command::{CommandError, ErrorCode, Event, Reply};
use crate::shard::Shard;
use crate::timers::{Slot, TimerKind};
use crate::trace::Direction;
use crate::transport_streams::TapDump;

/// Bytes that a file has beyond its packets, at most.
pub const FILE_OVERHEAD: u64 = 128;
/// Bytes that a packet has in a file beyond itself, at most.
pub const PACKET_OVERHEAD: u64 = 96;
/// Longest file name.
pub const MAX_NAME: usize = 128;
const BYTES: std::ops::RangeInclusive<u64> = 4_096..=1 << 34;
const LONGEST: Duration = Duration::from_secs(86_400);

/// How the file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TapFormat {
    /// IP packets in pcapng.
    #[default]
    Pcapng,
    /// What rtpdump and rtpplay of the rtptools speak.
    Rtpdump,
}

/// What is tapped, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapOptions {
    /// The file's name: letters, digits, dash, underscore and dot, not at the start.
    pub name: String,
    /// How it is written.
    pub format: TapFormat,
    /// Bytes of the file at most: 4096 to 2^34.
    pub max_bytes: u64,
    /// The tap ends then: 1 ms to a day.
    pub max_duration: Duration,
    /// Without the payload of RTP.
    pub headers_only: bool,
}

impl TapOptions {
    /// Names the first field that is out of its bounds.
    pub fn check(&self) -> Result<(), CommandError> {
        let invalid = |field: &str, text: String| Err(CommandError::new(ErrorCode::InvalidArgument, field, text));
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let name = self.name.as_bytes();
        if name.is_empty() || name.len() > MAX_NAME {
            return invalid("name", format!("it has {} bytes; give 1 to {MAX_NAME}", name.len()));
        }
        if let Some(byte) = name.iter().find(|b| !allowed(**b)) {
            let text = format!("byte {byte:#04x} is not allowed; use letters, digits, dash, underscore and dot");
            return invalid("name", text);
        }
        if name[0] == b'.' || self.name.contains("..") {
            return invalid("name", "it begins with a dot or has two in a row; put something between".to_owned());
        }
        if !BYTES.contains(&self.max_bytes) {
            let text = format!("{} is out of range; give {} to {}", self.max_bytes, BYTES.start(), BYTES.end());
            return invalid("max_bytes", text);
        }
        if self.max_duration.is_zero() || self.max_duration > LONGEST {
            let text = format!("{} is out of range; give 1 to {}", self.max_duration.as_millis(), LONGEST.as_millis());
            return invalid("max_duration_ms", text);
        }
        Ok(())
    }
}

/// Why a tap ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TapEnd {
    /// By command.
    Stopped,
    /// The file is as long as it may be.
    SizeReached,
    /// It has lasted as long as it may.
    TimeReached,
    /// Its transport is gone.
    TransportClosed,
    /// The file cannot be written.
    Failed,
}

/// A copy of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapPacket<'a> {
    /// The transport that is tapped.
    pub transport: ObjectId,
    /// Nanoseconds of Unix time.
    pub at_unix_nanos: u64,
    /// From the peer or to it.
    pub direction: Direction,
    /// RTCP, not RTP.
    pub rtcp: bool,
    /// Our address; unspecified where there is none.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// Bytes of the whole packet.
    pub original: u16,
    /// The packet, or its header alone.
    pub bytes: &'a [u8],
}

/// What is known of a copy besides its bytes.
#[derive(Debug, Clone, Copy)]
struct Entry {
    transport: ObjectId,
    at_unix_nanos: u64,
    direction: Direction,
    rtcp: bool,
    local: SocketAddr,
    remote: SocketAddr,
    original: u16,
    start: u32,
    len: u16,
}

/// The copies of one turn, of all taps of a shard.
#[derive(Debug)]
pub(crate) struct Taps {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    /// Transports whose taps are full.
    full: Vec<ObjectId>,
    max_bytes: usize,
    max_packets: usize,
    epoch_unix_nanos: u64,
}

impl Taps {
    pub(crate) fn new(max_bytes: usize, max_packets: usize, epoch_unix_nanos: u64) -> Self {
        let max_bytes = max_bytes.min(u32::MAX as usize);
        Self { arena: Vec::new(), entries: Vec::new(), full: Vec::new(), max_bytes, max_packets, epoch_unix_nanos }
    }

    fn reserve(&mut self) {
        self.arena.reserve(self.max_bytes.saturating_sub(self.arena.len()));
        self.entries.reserve(self.max_packets.saturating_sub(self.entries.len()));
    }

    fn push(&mut self, entry: Entry, parts: [&[u8]; 3]) -> bool {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if self.entries.len() >= self.max_packets || self.arena.len() + len > self.max_bytes {
            return false;
        }
        let Ok(short) = u16::try_from(len) else { return false };
        self.entries.push(Entry { start: self.arena.len() as u32, len: short, ..entry });
        parts.iter().for_each(|part| self.arena.extend_from_slice(part));
        true
    }
}

/// One tap of one transport.
#[derive(Debug)]
pub(crate) struct Tap {
    transport: ObjectId,
    options: TapOptions,
    /// Our addresses.
    sockets: Vec<(SocketId, SocketAddr)>,
    /// Where the packet came from that a transport without a path has got.
    pub(crate) newcomer: Option<Tuple>,
    pub(crate) timer: Slot,
    packets: u64,
    bytes: u64,
    dropped: u64,
    full: bool,
}

/// Which way a packet goes, and what it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passing {
    pub(crate) now: Time,
    pub(crate) path: Option<Tuple>,
    pub(crate) direction: Direction,
    pub(crate) rtcp: bool,
}

impl Tap {
    /// Takes a copy of a packet, which may lie in pieces.
    #[cold]
    pub(crate) fn take(&mut self, taps: &mut Taps, what: Passing, pieces: [&[u8]; 3]) {
        if self.full {
            return;
        }
        let length = |pieces: [&[u8]; 3]| pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let whole = length(pieces);
        let parts = match rtp_header(pieces[0]) {
            Some(header) if self.options.headers_only && !what.rtcp => [header, &[], &[]],
            _ => pieces,
        };
        let cost = length(parts) as u64 + PACKET_OVERHEAD;
        if self.bytes + cost > self.options.max_bytes {
            self.full = true;
            taps.full.push(self.transport);
            return;
        }
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let local = what.path.and_then(|path| self.sockets.iter().find(|(socket, _)| *socket == path.socket));
        let entry = Entry {
            transport: self.transport,
            at_unix_nanos: taps.epoch_unix_nanos.saturating_add(what.now.as_nanos()),
            direction: what.direction,
            rtcp: what.rtcp,
            local: local.map_or(nowhere, |(_, local)| *local),
            remote: what.path.map_or(nowhere, |path| path.remote),
            original: u16::try_from(whole).unwrap_or(u16::MAX),
            start: 0,
            len: 0,
        };
        if taps.push(entry, parts) {
            self.packets += 1;
            self.bytes += cost;
        } else {
            self.dropped += 1;
        }
    }

    /// How it stands.
    pub(crate) fn dump(&self) -> TapDump {
        TapDump {
            name: self.options.name.clone(),
            format: self.options.format,
            max_bytes: self.options.max_bytes,
            max_duration: self.options.max_duration,
            headers_only: self.options.headers_only,
            packets: self.packets,
            bytes: self.bytes,
            dropped: self.dropped,
        }
    }

    /// What is told at the end.
    pub(crate) fn closed(&self, reason: TapEnd) -> Event {
        Event::TapClosed {
            transport: self.transport,
            reason,
            packets: self.packets,
            bytes: self.bytes,
            dropped: self.dropped,
            text: String::new(),
        }
    }
}

/// The header of an RTP packet with its CSRCs and extensions (RFC 3550, section 5.1); `None` for what is none.
fn rtp_header(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    let mut len = 12 + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let words = packet.get(len + 2..len + 4)?;
        len += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    packet.get(..len)
}

impl Shard {
    pub(crate) fn start_tap(&mut self, now: Time, id: ObjectId, options: TapOptions) -> Result<Reply, CommandError> {
        let transport = self.transports.get_mut(id).ok_or_else(|| CommandError::not_found("target", id))?;
        options.check()?;
        if transport.link.tap.is_some() {
            let text = "the transport is tapped already; stop that tap first";
            return Err(CommandError::new(ErrorCode::AlreadyExists, "target", text));
        }
        let until = now + options.max_duration;
        let sockets = transport.sockets().iter().map(|s| (s.socket, s.local)).collect();
        let mut tap = Tap {
            transport: id,
            options,
            sockets,
            newcomer: None,
            timer: Slot::default(),
            packets: 0,
            bytes: FILE_OVERHEAD,
            dropped: 0,
            full: false,
        };
        self.timers.arm(&mut tap.timer, id, TimerKind::Tap, Some(until));
        transport.link.tap = Some(Box::new(tap));
        self.out.taps.reserve();
        Ok(Reply::Done)
    }

    pub(crate) fn stop_tap(&mut self, id: ObjectId) -> Result<Reply, CommandError> {
        if self.transports.get(id).is_none() {
            return Err(CommandError::not_found("target", id));
        }
        self.end_tap(id, TapEnd::Stopped);
        Ok(Reply::Done)
    }

    /// Ends a transport's tap, if it has one.
    pub(crate) fn end_tap(&mut self, id: ObjectId, reason: TapEnd) {
        let tap = self.transports.get_mut(id).and_then(|transport| transport.link.tap.take());
        self.out.events.extend(tap.map(|tap| tap.closed(reason)));
    }

    /// Ends taps that have become full.
    pub(crate) fn end_full_taps(&mut self) {
        while let Some(id) = self.out.taps.full.pop() {
            // It may have been replaced by a new one meanwhile.
            if self.transports.get(id).and_then(|t| t.link.tap.as_ref()).is_some_and(|tap| tap.full) {
                self.end_tap(id, TapEnd::SizeReached);
            }
        }
    }

    /// Whoever writes a transport's tap cannot go on.
    pub fn handle_tap_failure(&mut self, transport: ObjectId) {
        self.end_tap(transport, TapEnd::Failed);
    }

    /// Copies of tapped packets, in order. Take them before the next event: a tap's end comes after its packets.
    pub fn taps(&self) -> impl Iterator<Item = TapPacket<'_>> {
        let taps = &self.out.taps;
        taps.entries.iter().map(|entry| TapPacket {
            transport: entry.transport,
            at_unix_nanos: entry.at_unix_nanos,
            direction: entry.direction,
            rtcp: entry.rtcp,
            local: entry.local,
            remote: entry.remote,
            original: entry.original,
            bytes: taps.arena.get(entry.start as usize..entry.start as usize + usize::from(entry.len)).unwrap_or(&[]),
        })
    }

    /// There are copies.
    pub fn has_taps(&self) -> bool {
        !self.out.taps.entries.is_empty()
    }

    /// Forgets all copies: they have been handed on.
    pub fn clear_taps(&mut self) {
        self.out.taps.entries.clear();
        self.out.taps.arena.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(name: &str) -> TapOptions {
        TapOptions {
            name: name.to_owned(),
            format: TapFormat::Pcapng,
            max_bytes: 1 << 20,
            max_duration: Duration::from_secs(1),
            headers_only: false,
        }
    }

    #[test]
    fn h37_names_that_could_lead_out_of_the_directory_are_refused() {
        let long = "x".repeat(MAX_NAME + 1);
        for name in ["", ".", "..", ".hidden", "a/b", "../a", "a\\b", "a\0b", "a..b", "a b", "\u{e4}", "a\n", &long] {
            assert_eq!(options(name).check().expect_err(name).field, "name", "{name:?}");
        }
        for name in ["a", "room-7_alice.pcapng", &long[1..]] {
            assert_eq!(options(name).check(), Ok(()), "{name}");
        }
        let wrong = TapOptions { max_bytes: 4_095, ..options("a") };
        assert_eq!(wrong.check().expect_err("too small").field, "max_bytes");
        let wrong = TapOptions { max_duration: Duration::ZERO, ..options("a") };
        assert_eq!(wrong.check().expect_err("too short").field, "max_duration_ms");
    }

    #[test]
    fn a_header_ends_where_its_extensions_end() {
        let mut packet = [0x80u8; 40];
        assert_eq!(rtp_header(&packet).map(<[u8]>::len), Some(12));
        packet[0] = 0x92;
        packet[20..24].copy_from_slice(&[0xbe, 0xde, 0, 2]);
        assert_eq!(rtp_header(&packet).map(<[u8]>::len), Some(12 + 8 + 4 + 8));
        packet[23] = 200;
        assert_eq!(rtp_header(&packet), None);
        assert_eq!(rtp_header(&packet[..21]), None);
    }
}
