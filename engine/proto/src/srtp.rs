//! SRTP and SRTCP in place: the only file that names libsrtp.
//!
//! What it is: [`SrtpReceiver`] opens what a peer sends, [`SrtpSender`] closes what we send. They are
//! told buffers; they tell lengths, or why not. Lengths and headers are checked here before the library
//! sees a byte.
//!
//! Limits: [`REPLAY_WINDOW`] packets of replay list; [`MAX_INBOUND_SSRCS`] and [`MAX_OUTBOUND_SSRCS`];
//! 2^48 RTP and 2^31 RTCP packets per key and SSRC (RFC 3711, section 9.2).
//!
//! RFCs: 3711, 7714, 5764 section 4.1.2, 7983. It leaves out: MKI, header extension encryption (6904, 9335),
//! null ciphers.
//!
//! How the library is used. Inbound, one session with a template: the library estimates the index,
//! verifies the tag with the template's keys, and only then clones a stream for a new SSRC (RFC 3711, 3.3:
//! estimate, verify, commit); so forged packets leave nothing behind. Outbound, one session per SSRC,
//! because streams of a session are a linked list. Repeated transmission is off: each protected packet
//! has an index of its own, so that one keystream or nonce never covers two byte strings (RFC 7714, section 8.4),
//! and an SSRC that was removed cannot come back under the same key, since it would begin at index 0 again.

// `srtp_init` is once per process: the `Once` below is the exception to "no shared state on this floor".

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ffi::{c_int, c_ulong};
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::Once;

use libsrtp2_sys as ffi;
use sfu_wire::drop_reason::DropReason;

use crate::keys::erase;
pub use crate::keys::{KeyMaterial, SrtpKeys, SrtpProfile};

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

/// The library could not be set up: no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SrtpError(u32);

impl fmt::Display for SrtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SRTP library refused a session: status {}", self.0)
    }
}

impl std::error::Error for SrtpError {}

/// A session of the library.
struct Session(NonNull<ffi::srtp_ctx_t>);

/// To which SSRCs a session's first stream applies.
#[derive(Clone, Copy)]
enum Streams {
    AnyInbound,
    Outbound(u32),
}

impl Session {
    fn new(profile: SrtpProfile, key: &KeyMaterial, streams: Streams) -> Result<Self, SrtpError> {
        static INIT: Once = Once::new();
        INIT.call_once(|| {
            // SAFETY: called once per process, before any other function of the library. Should it fail,
            // it leaves the library without ciphers, and creating a session is refused below.
            unsafe { ffi::srtp_init() };
        });
        if key.as_bytes().len() != profile.key_len() + profile.salt_len() {
            return Err(SrtpError(ffi::srtp_err_status_t_srtp_err_status_bad_param));
        }
        let mut master = [0u8; KeyMaterial::MAX_LEN];
        master[..key.as_bytes().len()].copy_from_slice(key.as_bytes());
        let mut session = ptr::null_mut();
        let (rtp, rtcp) = crypto_policies(profile);
        let policy = ffi::srtp_policy_t {
            ssrc: match streams {
                Streams::AnyInbound => ffi::srtp_ssrc_t { type_: ffi::srtp_ssrc_type_t_ssrc_any_inbound, value: 0 },
                Streams::Outbound(ssrc) => ffi::srtp_ssrc_t { type_: ffi::srtp_ssrc_type_t_ssrc_specific, value: ssrc },
            },
            rtp,
            rtcp,
            key: master.as_mut_ptr(),
            keys: ptr::null_mut(),
            num_master_keys: 0,
            ekt: ptr::null_mut(),
            window_size: REPLAY_WINDOW as c_ulong,
            allow_repeat_tx: 0,
            enc_xtn_hdr: ptr::null_mut(),
            enc_xtn_hdr_count: 0,
            next: ptr::null_mut(),
        };
        // SAFETY: both pointers are valid for the call; the policy points to a key of the length that its
        // ciphers read (checked above), which the library copies; its other pointers are null, which
        // stands for "none".
        let status = unsafe { ffi::srtp_create(&mut session, &policy) };
        erase(&mut master);
        match NonNull::new(session) {
            Some(session) if status == ffi::srtp_err_status_t_srtp_err_status_ok => Ok(Self(session)),
            _ => Err(SrtpError(status)),
        }
    }

    /// Calls one of the four packet functions, which share a signature.
    ///
    /// # Safety
    /// `call` writes at most `buffer.len()` bytes when told `len`: for the two that unprotect `len` is all of
    /// it, for those that protect there is room for the profile's overhead.
    unsafe fn process(
        &mut self,
        call: unsafe extern "C" fn(ffi::srtp_t, *mut std::ffi::c_void, *mut c_int) -> ffi::srtp_err_status_t,
        buffer: &mut [u8],
        len: usize,
    ) -> Result<usize, DropReason> {
        debug_assert!(len <= buffer.len());
        let mut length = c_int::try_from(len).map_err(|_| DropReason::TooLarge)?;
        // SAFETY: the session is live and ours alone; the buffer is valid for `len` bytes, and for those
        // that the call adds, by this function's contract.
        let status = unsafe { call(self.0.as_ptr(), buffer.as_mut_ptr().cast(), &mut length) };
        drop_reason(status)?;
        usize::try_from(length).ok().filter(|length| *length <= buffer.len()).ok_or(DropReason::SrtpOther)
    }

    fn remove(&mut self, ssrc: u32) {
        // SAFETY: the session is live; an unknown SSRC is reported, not followed. The library keeps SSRCs
        // in network order and compares them as they are.
        unsafe { ffi::srtp_remove_stream(self.0.as_ptr(), ssrc.to_be()) };
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the session came from `srtp_create` and nothing uses it after this.
        unsafe { ffi::srtp_dealloc(self.0.as_ptr()) };
    }
}

/// Cipher and tag of RTP and of RTCP, by the names that the library has for the profiles.
fn crypto_policies(profile: SrtpProfile) -> (ffi::srtp_crypto_policy_t, ffi::srtp_crypto_policy_t) {
    let number = match profile {
        SrtpProfile::AeadAes256Gcm => ffi::srtp_profile_t_srtp_profile_aead_aes_256_gcm,
        SrtpProfile::AeadAes128Gcm => ffi::srtp_profile_t_srtp_profile_aead_aes_128_gcm,
        SrtpProfile::Aes128CmSha1_80 => ffi::srtp_profile_t_srtp_profile_aes128_cm_sha1_80,
        SrtpProfile::Aes128CmSha1_32 => ffi::srtp_profile_t_srtp_profile_aes128_cm_sha1_32,
    };
    let (mut rtp, mut rtcp) = (MaybeUninit::zeroed(), MaybeUninit::zeroed());
    // SAFETY: the functions write a policy through a valid pointer; all-zero bytes are a valid policy too,
    // of integers only, so that the values are initialised whatever the functions do.
    unsafe {
        ffi::srtp_crypto_policy_set_from_profile_for_rtp(rtp.as_mut_ptr(), number);
        ffi::srtp_crypto_policy_set_from_profile_for_rtcp(rtcp.as_mut_ptr(), number);
        (rtp.assume_init(), rtcp.assume_init())
    }
}

/// The library's status as one of our counters.
fn drop_reason(status: ffi::srtp_err_status_t) -> Result<(), DropReason> {
    match status {
        ffi::srtp_err_status_t_srtp_err_status_ok => Ok(()),
        ffi::srtp_err_status_t_srtp_err_status_auth_fail => Err(DropReason::SrtpAuth),
        ffi::srtp_err_status_t_srtp_err_status_replay_fail | ffi::srtp_err_status_t_srtp_err_status_replay_old => {
            Err(DropReason::SrtpReplay)
        }
        ffi::srtp_err_status_t_srtp_err_status_key_expired => Err(DropReason::SrtpKeyExhausted),
        ffi::srtp_err_status_t_srtp_err_status_bad_param | ffi::srtp_err_status_t_srtp_err_status_parse_err => {
            Err(DropReason::RtpMalformed)
        }
        _ => Err(DropReason::SrtpOther),
    }
}

/// Checks an RTP header of `packet`, behind which `trailer` bytes must remain; tells the SSRC.
fn check_rtp(packet: &[u8], trailer: usize) -> Result<u32, DropReason> {
    if packet.len() < RTP_HEADER + trailer {
        return Err(DropReason::SrtpTooShort);
    }
    if packet[0] >> 6 != 2 {
        return Err(DropReason::RtpMalformed);
    }
    let mut header = RTP_HEADER + 4 * usize::from(packet[0] & 0x0f);
    if packet[0] & 0x10 != 0 {
        let length = packet.get(header + 2..header + 4).ok_or(DropReason::RtpMalformed)?;
        header += 4 + 4 * usize::from(u16::from_be_bytes([length[0], length[1]]));
    }
    if packet.len() < header + trailer {
        return Err(DropReason::RtpMalformed);
    }
    Ok(u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]))
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

/// Opens what a peer sends, under one key.
pub struct SrtpReceiver {
    session: Session,
    profile: SrtpProfile,
    /// SSRCs of which the library holds a stream, made only after a tag verified, and when each was used last.
    streams: HashMap<u32, u64>,
    /// SSRCs that make room for no other.
    pinned: HashSet<u32>,
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
        let session = Session::new(*profile, key, Streams::AnyInbound)?;
        Ok(Self { session, profile: *profile, streams: HashMap::new(), pinned: HashSet::new(), clock: 0 })
    }

    /// Verifies and decrypts an RTP packet in place; tells its new length. After an error the content of
    /// the buffer is undefined.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let ssrc = check_rtp(packet, self.profile.rtp_overhead())?;
        let len = packet.len();
        // SAFETY: unprotecting makes packets shorter.
        let len = unsafe { self.session.process(ffi::srtp_unprotect, packet, len) }?;
        self.note(ssrc);
        Ok(len)
    }

    /// Verifies and decrypts an RTCP packet in place; tells its new length. After an error the content of
    /// the buffer is undefined.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let ssrc = check_rtcp(packet, self.profile.rtcp_overhead())?;
        let len = packet.len();
        // SAFETY: unprotecting makes packets shorter.
        let len = unsafe { self.session.process(ffi::srtp_unprotect_rtcp, packet, len) }
            .map_err(|reason| if reason == DropReason::RtpMalformed { DropReason::RtcpMalformed } else { reason })?;
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

    /// True if the library itself keeps a stream for this SSRC.
    #[cfg(test)]
    fn library_knows(&self, ssrc: u32) -> bool {
        let mut roc = 0;
        // SAFETY: the session is live and the pointer valid.
        let status = unsafe { ffi::srtp_get_stream_roc(self.session.0.as_ptr(), ssrc, &mut roc) };
        status == ffi::srtp_err_status_t_srtp_err_status_ok
    }

    /// Notes that a packet of `ssrc` verified. A new SSRC beyond the limit replaces the one that has been
    /// silent for longest: only the peer itself can bring that about, so only its own packets could be
    /// replayed then.
    fn note(&mut self, ssrc: u32) {
        self.clock += 1;
        match self.streams.entry(ssrc) {
            Entry::Occupied(mut known) => {
                known.insert(self.clock);
                return;
            }
            Entry::Vacant(vacant) => vacant.insert(self.clock),
        };
        if self.streams.len() > MAX_INBOUND_SSRCS {
            let oldest = self.streams.iter().filter(|(s, _)| !self.pinned.contains(s)).min_by_key(|(_, used)| **used);
            if let Some(oldest) = oldest.map(|(ssrc, _)| *ssrc) {
                self.remove_stream(oldest);
            }
        }
    }
}

/// One outbound SSRC.
struct Outbound {
    session: Session,
    rtp_sent: u64,
    rtcp_sent: u64,
}

/// Closes what we send to a peer, under one key.
pub struct SrtpSender {
    profile: SrtpProfile,
    key: KeyMaterial,
    streams: HashMap<u32, Outbound>,
    /// SSRCs whose index space under this key is spent.
    spent: HashSet<u32>,
}

impl fmt::Debug for SrtpSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SrtpSender({:?}, {} streams)", self.profile, self.streams.len())
    }
}

impl SrtpSender {
    /// A sender to the peer that opens with `key`.
    pub fn new(profile: &SrtpProfile, key: &KeyMaterial) -> Result<Self, SrtpError> {
        // A first session, dropped at once, proves that key and profile are usable.
        Session::new(*profile, key, Streams::Outbound(0))?;
        Ok(Self { profile: *profile, key: key.clone(), streams: HashMap::new(), spent: HashSet::new() })
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
        self.stream(ssrc).map(|_| ())
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
        if len.saturating_add(self.profile.rtp_overhead()) > buffer.len() {
            return Err(DropReason::TooLarge);
        }
        let ssrc = check_rtp(&buffer[..len], 0)?;
        let stream = self.stream(ssrc)?;
        if stream.rtp_sent >= MAX_RTP_INDEX {
            return Err(DropReason::SrtpKeyExhausted);
        }
        // SAFETY: room for the overhead was checked above; without MKI the library adds no more.
        let len = unsafe { stream.session.process(ffi::srtp_protect, buffer, len) }?;
        stream.rtp_sent += 1;
        Ok(len)
    }

    /// Encrypts the RTCP packet in the first `len` bytes of `buffer` in place, adds tag and index; tells the
    /// new length.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, DropReason> {
        if len.saturating_add(self.profile.rtcp_overhead()) > buffer.len() {
            return Err(DropReason::TooLarge);
        }
        let ssrc = check_rtcp(&buffer[..len], 0)?;
        let stream = self.stream(ssrc)?;
        if stream.rtcp_sent >= MAX_RTCP_INDEX {
            return Err(DropReason::SrtpKeyExhausted);
        }
        // SAFETY: room for the overhead was checked above; without MKI the library adds no more.
        let len = unsafe { stream.session.process(ffi::srtp_protect_rtcp, buffer, len) }?;
        stream.rtcp_sent += 1;
        Ok(len)
    }

    /// The stream of an SSRC, made if it is new.
    fn stream(&mut self, ssrc: u32) -> Result<&mut Outbound, DropReason> {
        let used = self.streams.len() + self.spent.len();
        match self.streams.entry(ssrc) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(vacant) => {
                if used >= MAX_OUTBOUND_SSRCS || self.spent.contains(&ssrc) {
                    return Err(DropReason::SrtpKeyExhausted);
                }
                let session = Session::new(self.profile, &self.key, Streams::Outbound(ssrc))
                    .map_err(|_| DropReason::SrtpOther)?;
                Ok(vacant.insert(Outbound { session, rtp_sent: 0, rtcp_sent: 0 }))
            }
        }
    }
}

#[cfg(test)]
#[path = "srtp_oracle_tests.rs"]
mod oracle;

#[cfg(test)]
#[path = "srtp_tests.rs"]
mod tests;
