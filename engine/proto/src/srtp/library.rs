//! Sessions of libsrtp: the only file that names it.
//!
//! What it is: a safe cover. It is told a profile, a key, whose packets, and buffers; it tells lengths, or why not.
//! Headers are checked by its parent before the library sees a byte. Limits: the replay window of its parent.
//! RFCs: 3711, 7714. It leaves out MKI, header extension encryption and null ciphers.

// `srtp_init` is once per process: the `Once` below is the exception to "no shared state on this floor".

use std::ffi::{c_int, c_ulong};
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::Once;

use libsrtp2_sys as ffi;
use sfu_wire::drop_reason::DropReason;

use super::REPLAY_WINDOW;
use crate::keys::{KeyMaterial, SrtpProfile, erase};

/// The library could not be set up: no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SrtpError(u32);

impl fmt::Display for SrtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SRTP library refused a session: status {}", self.0)
    }
}

impl std::error::Error for SrtpError {}

impl SrtpError {
    /// The direct path got no cipher.
    pub(super) const NO_CIPHER: Self = Self(ffi::srtp_err_status_t_srtp_err_status_cipher_fail);
}

/// A session of the library.
pub(super) struct Session {
    handle: NonNull<ffi::srtp_ctx_t>,
    profile: SrtpProfile,
}

/// To which SSRCs a session's first stream applies.
#[derive(Clone, Copy)]
pub(super) enum Streams {
    AnyInbound,
    Outbound(u32),
}

impl Session {
    pub(super) fn new(profile: SrtpProfile, key: &KeyMaterial, streams: Streams) -> Result<Self, SrtpError> {
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
            Some(handle) if status == ffi::srtp_err_status_t_srtp_err_status_ok => Ok(Self { handle, profile }),
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
        let status = unsafe { call(self.handle.as_ptr(), buffer.as_mut_ptr().cast(), &mut length) };
        drop_reason(status)?;
        usize::try_from(length).ok().filter(|length| *length <= buffer.len()).ok_or(DropReason::SrtpOther)
    }

    /// Opens an RTP packet in place; tells its new length.
    pub(super) fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let len = packet.len();
        // SAFETY: unprotecting makes packets shorter.
        unsafe { self.process(ffi::srtp_unprotect, packet, len) }
    }

    /// Opens an RTCP packet in place; tells its new length.
    pub(super) fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let len = packet.len();
        // SAFETY: unprotecting makes packets shorter.
        unsafe { self.process(ffi::srtp_unprotect_rtcp, packet, len) }
            .map_err(|reason| if reason == DropReason::RtpMalformed { DropReason::RtcpMalformed } else { reason })
    }

    /// Closes the RTP packet in the first `len` bytes. Refused without room for the overhead.
    pub(super) fn protect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, DropReason> {
        if len.saturating_add(self.profile.rtp_overhead()) > buffer.len() {
            return Err(DropReason::TooLarge);
        }
        // SAFETY: room for the overhead was checked above; without MKI the library adds no more.
        unsafe { self.process(ffi::srtp_protect, buffer, len) }
    }

    /// Closes the RTCP packet in the first `len` bytes. Refused without room for the overhead.
    pub(super) fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, DropReason> {
        if len.saturating_add(self.profile.rtcp_overhead()) > buffer.len() {
            return Err(DropReason::TooLarge);
        }
        // SAFETY: room for the overhead was checked above; without MKI the library adds no more.
        unsafe { self.process(ffi::srtp_protect_rtcp, buffer, len) }
    }

    /// True if the library keeps a stream for this SSRC.
    #[cfg(test)]
    pub(super) fn knows(&self, ssrc: u32) -> bool {
        let mut roc = 0;
        // SAFETY: the session is live and the pointer valid.
        let status = unsafe { ffi::srtp_get_stream_roc(self.handle.as_ptr(), ssrc, &mut roc) };
        status == ffi::srtp_err_status_t_srtp_err_status_ok
    }

    /// Forgets a stream.
    pub(super) fn remove(&mut self, ssrc: u32) {
        // SAFETY: the session is live; an unknown SSRC is reported, not followed. The library keeps SSRCs
        // in network order and compares them as they are.
        unsafe { ffi::srtp_remove_stream(self.handle.as_ptr(), ssrc.to_be()) };
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the session came from `srtp_create` and nothing uses it after this.
        unsafe { ffi::srtp_dealloc(self.handle.as_ptr()) };
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
