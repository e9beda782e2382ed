//! SRTP and SRTCP in place.
//!
//! What it is: [`SrtpReceiver`] opens what a peer sends, [`SrtpSender`] closes what we send. They are
//! told buffers; they tell lengths, or why not. Lengths and headers are checked here before a library
//! sees a byte.
//!
//! Limits: [`REPLAY_WINDOW`] packets of replay list; [`MAX_INBOUND_SSRCS`] and [`MAX_OUTBOUND_SSRCS`];
//! 2^48 RTP and 2^31 RTCP packets per key and SSRC (RFC 3711, section 9.2).
//!
//! RFCs: 3711, 7714, 5764 section 4.1.2, 7983. It leaves out: MKI, header extension encryption (6904, 9335),
//! null ciphers.
//!
//! Two paths. RTP of the GCM profiles goes straight to the cipher (`gcm`, `window`), at about two thirds of the
//! cost, and may take its text from elsewhere. All else is libsrtp's (`library`). They behave alike, which a
//! differential test holds: estimate the index, verify the tag, and only then commit (RFC 3711, 3.3); so
//! forged packets leave nothing behind. libsrtp does so with a template from which it clones a stream for a
//! new SSRC. Outbound it gets one session per SSRC, because streams of a session are a linked list.
//! Repeated transmission is off: each protected packet
//! has an index of its own, so that one keystream or nonce never covers two byte strings (RFC 7714, section 8.4),
//! and an SSRC that was removed cannot come back under the same key, since it would begin at index 0 again.

mod gcm;
mod library;
mod window;

use std::collections::{HashMap, HashSet};
use std::fmt;

use foldhash::fast::FixedState;
use sfu_wire::drop_reason::DropReason;

pub use crate::keys::{KeyMaterial, SrtpKeys, SrtpProfile};
pub use library::SrtpError;
use library::{Session, Streams};
use window::Window;

/// Packets that the replay list of a stream reaches back.
pub const REPLAY_WINDOW: usize = 1024;
/// SSRCs that one peer may use at a time; the one silent for longest makes room.
pub const MAX_INBOUND_SSRCS: usize = 256;
/// SSRCs that one sender may use under one key, removed ones included.
pub const MAX_OUTBOUND_SSRCS: usize = 1 << 16;
/// SRTCP packets under one key (RFC 3711, section 9.2).
const MAX_RTCP_INDEX: u64 = (1 << 31) - 1;
/// SRTP packets under one key.
const MAX_RTP_INDEX: u64 = (1 << 48) - 1;

/// Fixed header of RTP.
const RTP_HEADER: usize = 12;
/// First header and sender SSRC of RTCP.
const RTCP_HEADER: usize = 8;

/// Which library does RTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// The cipher itself where a profile has that path.
    Direct,
    /// libsrtp for all.
    Library,
}

/// What was read from an RTP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    ssrc: u32,
    sequence: u16,
    /// Its length, extension included.
    len: usize,
}

/// Checks an RTP header of `packet`, behind which `trailer` bytes must remain.
#[inline]
fn check_rtp(packet: &[u8], trailer: usize) -> Result<Header, DropReason> {
    if packet.len() < RTP_HEADER + trailer {
        return Err(DropReason::SrtpTooShort);
    }
    if packet[0] >> 6 != 2 {
        return Err(DropReason::RtpMalformed);
    }
    let mut len = RTP_HEADER + 4 * usize::from(packet[0] & 0x0f);
    if packet[0] & 0x10 != 0 {
        let words = packet.get(len + 2..len + 4).ok_or(DropReason::RtpMalformed)?;
        len += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    if packet.len() < len + trailer {
        return Err(DropReason::RtpMalformed);
    }
    let ssrc = u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]);
    Ok(Header { ssrc, sequence: u16::from_be_bytes([packet[2], packet[3]]), len })
}

/// Checks the first header of an RTCP packet, behind which `trailer` bytes must remain; tells the SSRC.
fn check_rtcp(packet: &[u8], trailer: usize) -> Result<u32, DropReason> {
    if packet.len() < RTCP_HEADER + trailer {
        return Err(DropReason::SrtpTooShort);
    }
    if packet[0] >> 6 != 2 {
        return Err(DropReason::RtcpMalformed);
    }
    Ok(u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]))
}

/// What is known of an inbound SSRC, from its first verified packet on.
struct Inbound {
    /// When it was used last, in packets of the receiver.
    used: u64,
    /// Indices seen by the direct path.
    window: Window,
}

/// Opens what a peer sends, under one key.
pub struct SrtpReceiver {
    profile: SrtpProfile,
    direct: Option<gcm::Opening>,
    session: Session,
    /// SSRCs that hold state, here and in the library, made only after a tag verified. A peer chooses them, but
    /// only [`MAX_INBOUND_SSRCS`], so that a cheap hash does.
    streams: HashMap<u32, Inbound, FixedState>,
    /// SSRCs that make room for no other.
    pinned: HashSet<u32, FixedState>,
    /// Counts packets, to tell who has been silent for longest.
    clock: u64,
}

impl fmt::Debug for SrtpReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SrtpReceiver({:?}, {} streams)", self.profile, self.streams.len())
    }
}

impl SrtpReceiver {
    /// A receiver for all SSRCs of the peer that has `key`.
    pub fn new(profile: &SrtpProfile, key: &KeyMaterial) -> Result<Self, SrtpError> {
        Self::on(Path::Direct, *profile, key)
    }

    /// As [`SrtpReceiver::new`], all of it by libsrtp: what the direct path is measured against.
    pub fn with_library(profile: &SrtpProfile, key: &KeyMaterial) -> Result<Self, SrtpError> {
        Self::on(Path::Library, *profile, key)
    }

    fn on(path: Path, profile: SrtpProfile, key: &KeyMaterial) -> Result<Self, SrtpError> {
        let session = Session::new(profile, key, Streams::AnyInbound)?;
        let direct = match path {
            Path::Direct if gcm::serves(profile) => Some(gcm::Opening::new(profile, key).ok_or(SrtpError::NO_CIPHER)?),
            _ => None,
        };
        let (streams, pinned) = (HashMap::default(), HashSet::default());
        Ok(Self { profile, direct, session, streams, pinned, clock: 0 })
    }

    /// Verifies and decrypts an RTP packet in place; tells its new length. After an error the content of
    /// the buffer is undefined.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let header = check_rtp(packet, self.profile.rtp_overhead())?;
        let Some(direct) = &mut self.direct else {
            let len = self.session.unprotect_rtp(packet)?;
            self.note(header.ssrc);
            return Ok(len);
        };
        let known = self.streams.get_mut(&header.ssrc);
        let index =
            known.as_ref().map_or(&const { Window::new() }, |stream| &stream.window).estimate(header.sequence)?;
        if !direct.open((header.ssrc, index), packet, header.len) {
            return Err(DropReason::SrtpAuth);
        }
        match known {
            Some(stream) => {
                self.clock += 1;
                stream.used = self.clock;
                stream.window.commit(index);
            }
            None => self.note(header.ssrc).window.commit(index),
        }
        Ok(packet.len() - self.profile.rtp_overhead())
    }

    /// Verifies and decrypts an RTCP packet in place; tells its new length. After an error the content of
    /// the buffer is undefined.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let ssrc = check_rtcp(packet, self.profile.rtcp_overhead())?;
        let len = self.session.unprotect_rtcp(packet)?;
        self.note(ssrc);
        Ok(len)
    }

    /// Keeps the stream of a signalled SSRC from making room for others, from its first packet on. Half of
    /// the table at most can be pinned; what is beyond is treated as the rest.
    pub fn pin_stream(&mut self, ssrc: u32) {
        if self.pinned.len() < MAX_INBOUND_SSRCS / 2 {
            self.pinned.insert(ssrc);
        }
    }

    /// An SSRC is signalled no longer. Its state stays until others need the room.
    pub fn unpin_stream(&mut self, ssrc: u32) {
        self.pinned.remove(&ssrc);
    }

    /// Forgets a stream, its replay list included.
    pub fn remove_stream(&mut self, ssrc: u32) {
        if self.streams.remove(&ssrc).is_some() {
            self.session.remove(ssrc);
        }
    }

    /// How many SSRCs of the peer hold state.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// True if anything is kept of this SSRC, here or in the library.
    #[cfg(test)]
    fn knows(&self, ssrc: u32) -> bool {
        self.streams.contains_key(&ssrc) || self.session.knows(ssrc)
    }

    /// Notes that a packet of `ssrc` verified. A new SSRC beyond the limit replaces the one that has been
    /// silent for longest: only the peer itself can bring that about, so only its own packets could be
    /// replayed then.
    fn note(&mut self, ssrc: u32) -> &mut Inbound {
        self.clock += 1;
        if self.streams.len() >= MAX_INBOUND_SSRCS && !self.streams.contains_key(&ssrc) {
            let unpinned = self.streams.iter().filter(|(s, _)| !self.pinned.contains(s));
            let oldest = unpinned.min_by_key(|(_, stream)| stream.used).map(|(ssrc, _)| *ssrc);
            if let Some(oldest) = oldest {
                self.remove_stream(oldest);
            }
        }
        let stream = self.streams.entry(ssrc).or_insert_with(|| Inbound { used: 0, window: Window::new() });
        stream.used = self.clock;
        stream
    }
}

/// One outbound SSRC.
struct Outbound {
    /// libsrtp's; on the direct path made with the first RTCP packet.
    session: Option<Session>,
    /// Indices used by the direct path.
    window: Window,
    rtp_sent: u64,
    rtcp_sent: u64,
}

/// Most bytes of [`Plain::padding`].
pub const MAX_PADDING: usize = 8;

/// Text that is to be protected: it begins in the buffer, behind its header, may go on elsewhere, and end with padding.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain<'a> {
    /// Bytes in the buffer, header included.
    pub written: usize,
    /// What follows them.
    pub tail: &'a [u8],
    /// Bytes of RTP padding behind that, at most [`MAX_PADDING`]; the header's padding bit has to agree (RFC 3550,
    /// section 5.1).
    pub padding: u8,
}

impl Plain<'_> {
    /// All of it is in the buffer.
    pub const fn whole(len: usize) -> Self {
        Self { written: len, tail: &[], padding: 0 }
    }

    /// Length of all of it.
    pub const fn len(&self) -> usize {
        self.written + self.tail.len() + self.padding_bytes().len()
    }

    /// The padding: zeros, and last its length.
    pub const fn padding_bytes(&self) -> &'static [u8] {
        const ROWS: [[u8; MAX_PADDING]; MAX_PADDING + 1] = {
            let mut rows = [[0; MAX_PADDING]; MAX_PADDING + 1];
            let mut n = 1;
            while n <= MAX_PADDING {
                rows[n][n - 1] = n as u8;
                n += 1;
            }
            rows
        };
        let len = if self.padding as usize > MAX_PADDING { MAX_PADDING } else { self.padding as usize };
        ROWS[len].split_at(len).0
    }

    /// Nothing to send.
    pub const fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Brings the rest into `buffer` too, for who does not encrypt; tells the length. `None` without room.
    pub fn complete(&self, buffer: &mut [u8]) -> Option<usize> {
        let middle = self.written.checked_add(self.tail.len())?;
        buffer.get_mut(self.written..middle)?.copy_from_slice(self.tail);
        let padding = self.padding_bytes();
        let end = middle.checked_add(padding.len())?;
        buffer.get_mut(middle..end)?.copy_from_slice(padding);
        Some(end)
    }
}

/// Closes what we send to a peer, under one key.
pub struct SrtpSender {
    profile: SrtpProfile,
    direct: Option<gcm::Sealing>,
    key: KeyMaterial,
    /// Their SSRCs are our own, so that a cheap hash does.
    streams: HashMap<u32, Outbound, FixedState>,
    /// SSRCs whose index space under this key is spent.
    spent: HashSet<u32, FixedState>,
}

impl fmt::Debug for SrtpSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SrtpSender({:?}, {} streams)", self.profile, self.streams.len())
    }
}

impl SrtpSender {
    /// A sender to the peer that opens with `key`.
    pub fn new(profile: &SrtpProfile, key: &KeyMaterial) -> Result<Self, SrtpError> {
        Self::on(Path::Direct, *profile, key)
    }

    /// As [`SrtpSender::new`], all of it by libsrtp: what the direct path is measured against.
    pub fn with_library(profile: &SrtpProfile, key: &KeyMaterial) -> Result<Self, SrtpError> {
        Self::on(Path::Library, *profile, key)
    }

    fn on(path: Path, profile: SrtpProfile, key: &KeyMaterial) -> Result<Self, SrtpError> {
        // A first session, dropped at once, proves that key and profile are usable.
        Session::new(profile, key, Streams::Outbound(0))?;
        let direct = match path {
            Path::Direct if gcm::serves(profile) => Some(gcm::Sealing::new(profile, key).ok_or(SrtpError::NO_CIPHER)?),
            _ => None,
        };
        let (streams, spent) = (HashMap::default(), HashSet::default());
        Ok(Self { profile, direct, key: key.clone(), streams, spent })
    }

    /// An SSRC that was used and removed: nothing can be sent by it under this key.
    pub fn is_spent(&self, ssrc: u32) -> bool {
        self.spent.contains(&ssrc)
    }

    /// How many SSRCs hold state.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// How many more SSRCs this key has room for.
    pub fn room(&self) -> usize {
        MAX_OUTBOUND_SSRCS.saturating_sub(self.streams.len() + self.spent.len())
    }

    /// Makes room for an SSRC ahead of its first packet, which would do it too. Refused for an SSRC that
    /// has been removed.
    pub fn add_stream(&mut self, ssrc: u32) -> Result<(), DropReason> {
        if !self.streams.contains_key(&ssrc) {
            self.make_stream(ssrc)?;
        }
        Ok(())
    }

    /// Forgets an SSRC, which can never be used under this key again.
    pub fn remove_stream(&mut self, ssrc: u32) {
        if self.streams.remove(&ssrc).is_some() {
            self.spent.insert(ssrc);
        }
    }

    /// Encrypts the RTP packet in the first `len` bytes of `buffer` in place and adds the tag; tells the new
    /// length. A sequence number that has been used is refused, whatever the bytes.
    pub fn protect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, DropReason> {
        self.protect_rtp_from(buffer, Plain::whole(len))
    }

    /// As [`SrtpSender::protect_rtp`], for a packet whose end stands elsewhere: it is encrypted straight into
    /// `buffer`.
    pub fn protect_rtp_from(&mut self, buffer: &mut [u8], plain: Plain<'_>) -> Result<usize, DropReason> {
        let len = plain.len();
        let sealed = len.saturating_add(self.profile.rtp_overhead());
        if sealed > buffer.len() || plain.written > buffer.len() {
            return Err(DropReason::TooLarge);
        }
        let header = check_rtp(&buffer[..plain.written], 0)?;
        if !self.streams.contains_key(&header.ssrc) {
            self.make_stream(header.ssrc)?;
        }
        let stream = self.streams.get_mut(&header.ssrc).ok_or(DropReason::SrtpOther)?;
        if stream.rtp_sent >= MAX_RTP_INDEX {
            return Err(DropReason::SrtpKeyExhausted);
        }
        let Some(direct) = &mut self.direct else {
            plain.complete(buffer).ok_or(DropReason::TooLarge)?;
            let sealed = stream.session.as_mut().ok_or(DropReason::SrtpOther)?.protect_rtp(buffer, len)?;
            stream.rtp_sent += 1;
            return Ok(sealed);
        };
        let index = stream.window.estimate(header.sequence)?;
        // Committed first: whatever happens now, this nonce is spent.
        stream.window.commit(index);
        stream.rtp_sent += 1;
        let (head, tail) = (plain.written - header.len, [plain.tail, plain.padding_bytes()]);
        let done = direct.seal((header.ssrc, index), &mut buffer[..sealed], header.len, head, tail);
        if done { Ok(sealed) } else { Err(DropReason::SrtpOther) }
    }

    /// Encrypts the RTCP packet in the first `len` bytes of `buffer` in place, adds tag and index; tells the
    /// new length.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, DropReason> {
        if len.saturating_add(self.profile.rtcp_overhead()) > buffer.len() {
            return Err(DropReason::TooLarge);
        }
        let ssrc = check_rtcp(&buffer[..len], 0)?;
        if !self.streams.contains_key(&ssrc) {
            self.make_stream(ssrc)?;
        }
        let stream = self.streams.get_mut(&ssrc).ok_or(DropReason::SrtpOther)?;
        if stream.rtcp_sent >= MAX_RTCP_INDEX {
            return Err(DropReason::SrtpKeyExhausted);
        }
        let session = match &mut stream.session {
            Some(session) => session,
            none => none.insert(new_session(self.profile, &self.key, ssrc)?),
        };
        let len = session.protect_rtcp(buffer, len)?;
        stream.rtcp_sent += 1;
        Ok(len)
    }

    /// A stream for an SSRC that has none.
    #[cold]
    fn make_stream(&mut self, ssrc: u32) -> Result<(), DropReason> {
        let used = self.streams.len() + self.spent.len();
        if used >= MAX_OUTBOUND_SSRCS || self.spent.contains(&ssrc) {
            return Err(DropReason::SrtpKeyExhausted);
        }
        let session = match self.direct {
            Some(_) => None,
            None => Some(new_session(self.profile, &self.key, ssrc)?),
        };
        self.streams.insert(ssrc, Outbound { session, window: Window::new(), rtp_sent: 0, rtcp_sent: 0 });
        Ok(())
    }
}

fn new_session(profile: SrtpProfile, key: &KeyMaterial, ssrc: u32) -> Result<Session, DropReason> {
    Session::new(profile, key, Streams::Outbound(ssrc)).map_err(|_| DropReason::SrtpOther)
}

#[cfg(test)]
#[path = "srtp/oracle_tests.rs"]
mod oracle;

#[cfg(test)]
#[path = "srtp/tests.rs"]
mod tests;
