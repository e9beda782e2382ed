//! The direct path of the two GCM profiles: RTP only, straight on the cipher, byte-equal to libsrtp.
//!
//! What it is: [`Sealing`] and [`Opening`], one cipher context each for all streams of a key, since SRTP's session
//! keys do not depend on the SSRC. They are told checked headers, windows and buffers; they tell whether it
//! worked. The IV is the salt, crossed with SSRC and index (RFC 7714, section 8.1); who calls
//! commits an index at most once, so no nonce comes again. The whole header is associated data (section 9.2).
//! RFCs: 3711 section 4.3 (labels 0 and 2), 7714. It leaves out SRTCP, which is rare: libsrtp has that.

use crate::crypto::aead::{GcmOpener, GcmSealer, IV_LEN, derive};
use crate::keys::{KeyMaterial, SrtpProfile, erase};

/// Labels of the key derivation (RFC 3711, section 4.3.1).
const LABEL_KEY: u8 = 0;
const LABEL_SALT: u8 = 2;

/// Whether a profile has the direct path.
pub(super) fn serves(profile: SrtpProfile) -> bool {
    matches!(profile, SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm)
}

/// The cipher made of the session key, and the session salt.
fn session<C>(
    profile: SrtpProfile,
    key: &KeyMaterial,
    make: impl FnOnce(&[u8]) -> Option<C>,
) -> Option<(C, [u8; IV_LEN])> {
    let (master, salt) = key.as_bytes().split_at_checked(profile.key_len())?;
    let mut session_key = [0u8; 32];
    let mut session_salt = [0u8; IV_LEN];
    let place = session_key.get_mut(..profile.key_len())?;
    let derived = salt.len() == IV_LEN
        && derive(master, salt, LABEL_KEY, place)
        && derive(master, salt, LABEL_SALT, &mut session_salt);
    let cipher = derived.then(|| make(place)).flatten();
    erase(&mut session_key);
    Some((cipher?, session_salt))
}

#[inline]
fn iv(salt: &[u8; IV_LEN], ssrc: u32, index: u64) -> [u8; IV_LEN] {
    let mut iv = *salt;
    let [_, _, index @ ..] = index.to_be_bytes();
    iv[2..].iter_mut().zip(ssrc.to_be_bytes().into_iter().chain(index)).for_each(|(to, from)| *to ^= from);
    iv
}

/// Seals the RTP of all streams of a key.
pub(super) struct Sealing {
    cipher: GcmSealer,
    salt: [u8; IV_LEN],
}

impl Sealing {
    /// `None` if the key does not fit the profile, or without memory.
    pub(super) fn new(profile: SrtpProfile, key: &KeyMaterial) -> Option<Self> {
        session(profile, key, GcmSealer::new).map(|(cipher, salt)| Self { cipher, salt })
    }

    /// See [`GcmSealer::seal`].
    #[inline]
    pub(super) fn seal(
        &mut self,
        nonce: (u32, u64),
        buffer: &mut [u8],
        header: usize,
        head: usize,
        tail: [&[u8]; 2],
    ) -> bool {
        self.cipher.seal(&iv(&self.salt, nonce.0, nonce.1), buffer, header, head, tail)
    }
}

/// Opens the RTP of all streams of a key.
pub(super) struct Opening {
    cipher: GcmOpener,
    salt: [u8; IV_LEN],
}

impl Opening {
    /// `None` if the key does not fit the profile, or without memory.
    pub(super) fn new(profile: SrtpProfile, key: &KeyMaterial) -> Option<Self> {
        session(profile, key, GcmOpener::new).map(|(cipher, salt)| Self { cipher, salt })
    }

    /// See [`GcmOpener::open`].
    #[inline]
    pub(super) fn open(&mut self, nonce: (u32, u64), packet: &mut [u8], header: usize) -> bool {
        self.cipher.open(&iv(&self.salt, nonce.0, nonce.1), packet, header)
    }
}
