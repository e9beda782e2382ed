//! Key values that travel between machines: the DTLS handshake makes them, SRTP consumes them.
//!
//! What it is: plain data without behaviour, so that `crypto` and `srtp` need not name each other.
//! What it is told: profile and bytes. What it tells: lengths and names. Limits: a key with its salt
//! is at most [`KeyMaterial::MAX_LEN`] bytes. RFCs: 5764 section 4.1.2 and 7714 section 14.2 (profiles),
//! 3711 section 8.2. It leaves out: derivation of session keys, which the SRTP library does.

use std::fmt;

/// An SRTP protection profile, as negotiated by `use_srtp` (RFC 5764, section 4.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SrtpProfile {
    /// AEAD_AES_256_GCM (RFC 7714).
    AeadAes256Gcm,
    /// AEAD_AES_128_GCM (RFC 7714).
    AeadAes128Gcm,
    /// AES128_CM_HMAC_SHA1_80 (RFC 5764), the one that every WebRTC endpoint has (RFC 8827).
    Aes128CmSha1_80,
    /// AES128_CM_HMAC_SHA1_32 (RFC 5764).
    Aes128CmSha1_32,
}

impl SrtpProfile {
    /// All profiles in our order of preference.
    pub const ALL: [SrtpProfile; 4] = [
        SrtpProfile::AeadAes256Gcm,
        SrtpProfile::AeadAes128Gcm,
        SrtpProfile::Aes128CmSha1_80,
        SrtpProfile::Aes128CmSha1_32,
    ];

    /// The name under which OpenSSL knows the profile.
    pub const fn openssl_name(self) -> &'static str {
        match self {
            SrtpProfile::AeadAes256Gcm => "SRTP_AEAD_AES_256_GCM",
            SrtpProfile::AeadAes128Gcm => "SRTP_AEAD_AES_128_GCM",
            SrtpProfile::Aes128CmSha1_80 => "SRTP_AES128_CM_SHA1_80",
            SrtpProfile::Aes128CmSha1_32 => "SRTP_AES128_CM_SHA1_32",
        }
    }

    /// The name of the crypto suite in SDP (RFC 4568, section 6.2; RFC 7714, section 14.2).
    pub const fn sdes_name(self) -> &'static str {
        match self {
            SrtpProfile::AeadAes256Gcm => "AEAD_AES_256_GCM",
            SrtpProfile::AeadAes128Gcm => "AEAD_AES_128_GCM",
            SrtpProfile::Aes128CmSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            SrtpProfile::Aes128CmSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// The profile of an SDP name.
    pub fn from_sdes_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.sdes_name() == name)
    }

    /// The profile of an OpenSSL name.
    pub fn from_openssl_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.openssl_name() == name)
    }

    /// Length of the master key in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            SrtpProfile::AeadAes256Gcm => 32,
            _ => 16,
        }
    }

    /// Length of the master salt in bytes.
    pub const fn salt_len(self) -> usize {
        match self {
            SrtpProfile::AeadAes256Gcm | SrtpProfile::AeadAes128Gcm => 12,
            SrtpProfile::Aes128CmSha1_80 | SrtpProfile::Aes128CmSha1_32 => 14,
        }
    }

    /// How many bytes protection adds to an RTP packet.
    pub const fn rtp_overhead(self) -> usize {
        match self {
            SrtpProfile::AeadAes256Gcm | SrtpProfile::AeadAes128Gcm => 16,
            SrtpProfile::Aes128CmSha1_80 => 10,
            SrtpProfile::Aes128CmSha1_32 => 4,
        }
    }

    /// How many bytes protection adds to an RTCP packet: tag and index. The tag of SRTCP is 80 bits in
    /// the `_32` profile too (RFC 5764, section 4.1.2).
    pub const fn rtcp_overhead(self) -> usize {
        match self {
            SrtpProfile::AeadAes256Gcm | SrtpProfile::AeadAes128Gcm => 20,
            SrtpProfile::Aes128CmSha1_80 | SrtpProfile::Aes128CmSha1_32 => 14,
        }
    }
}

/// A master key followed by its master salt. Erased when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyMaterial {
    bytes: [u8; KeyMaterial::MAX_LEN],
    len: usize,
}

impl KeyMaterial {
    /// The longest key with salt: 256 bit and 96 bit.
    pub const MAX_LEN: usize = 44;

    /// Key and salt in one slice; `None` if longer than any profile needs.
    pub fn new(key_and_salt: &[u8]) -> Option<Self> {
        Self::from_parts(key_and_salt, &[])
    }

    /// Key and salt apart; `None` if together they are longer than any profile needs.
    pub fn from_parts(key: &[u8], salt: &[u8]) -> Option<Self> {
        let mut material = Self { bytes: [0; Self::MAX_LEN], len: key.len().checked_add(salt.len())? };
        material.bytes.get_mut(..key.len())?.copy_from_slice(key);
        material.bytes.get_mut(key.len()..material.len)?.copy_from_slice(salt);
        Some(material)
    }

    /// Key and salt.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for KeyMaterial {
    fn drop(&mut self) {
        erase(&mut self.bytes);
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyMaterial({} bytes)", self.len)
    }
}

/// Overwrites a secret. `black_box` keeps the writes from being optimised away: the compiler must
/// assume that somebody looks at the zeros.
pub fn erase(secret: &mut [u8]) {
    secret.fill(0);
    std::hint::black_box(secret);
}

/// What a DTLS-SRTP handshake agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrtpKeys {
    /// The profile.
    pub profile: SrtpProfile,
    /// Protects what we send.
    pub local: KeyMaterial,
    /// Opens what the peer sends.
    pub remote: KeyMaterial,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_too_long_is_refused() {
        assert!(KeyMaterial::new(&[7; 44]).is_some());
        assert!(KeyMaterial::new(&[7; 45]).is_none());
        assert!(KeyMaterial::from_parts(&[7; 32], &[1; 13]).is_none());
        assert!(KeyMaterial::from_parts(&[7; 45], &[]).is_none());
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let material = KeyMaterial::new(&[0xab; 30]).expect("short enough");
        let text = format!("{material:?}");
        assert_eq!(text, "KeyMaterial(30 bytes)");
    }

    #[test]
    fn names_go_both_ways() {
        for profile in SrtpProfile::ALL {
            assert_eq!(SrtpProfile::from_openssl_name(profile.openssl_name()), Some(profile));
            assert_eq!(SrtpProfile::from_sdes_name(profile.sdes_name()), Some(profile));
            assert!(profile.key_len() + profile.salt_len() <= KeyMaterial::MAX_LEN);
        }
        assert_eq!(SrtpProfile::from_openssl_name("SRTP_NULL"), None);
    }
}
