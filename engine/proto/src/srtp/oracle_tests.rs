//! SRTP as RFC 3711 and RFC 7714 describe it, spelled out over block ciphers: slow, and independent of the library.

use openssl::symm::{Cipher, decrypt_aead, encrypt, encrypt_aead};

use super::*;
use crate::crypto::hmac::hmac_sha1;

/// RFC 3711 and RFC 7714 spelled out over block ciphers, to compare with.
pub(super) struct Oracle {
    pub(super) profile: SrtpProfile,
    pub(super) rtp: Keys,
    pub(super) rtcp: Keys,
}

pub(super) struct Keys {
    pub(super) cipher: Vec<u8>,
    pub(super) auth: Vec<u8>,
    pub(super) salt: Vec<u8>,
}

impl Oracle {
    pub(super) fn new(profile: SrtpProfile, key: &KeyMaterial) -> Self {
        let (master, salt) = key.as_bytes().split_at(profile.key_len());
        let derive = |label: u8, len: usize| {
            let mut iv = [0u8; 16];
            iv[..salt.len()].copy_from_slice(salt);
            iv[7] ^= label;
            encrypt(Self::counter_mode(profile), master, Some(&iv), &vec![0; len]).expect("derivation")
        };
        let keys = |label: u8| Keys {
            cipher: derive(label, profile.key_len()),
            auth: derive(label + 1, 20),
            salt: derive(label + 2, profile.salt_len()),
        };
        Self { profile, rtp: keys(0), rtcp: keys(3) }
    }

    pub(super) fn counter_mode(profile: SrtpProfile) -> Cipher {
        if profile.key_len() == 32 { Cipher::aes_256_ctr() } else { Cipher::aes_128_ctr() }
    }

    pub(super) fn is_aead(&self) -> bool {
        self.profile.salt_len() == 12
    }

    pub(super) fn gcm(&self) -> Cipher {
        if self.profile.key_len() == 32 { Cipher::aes_256_gcm() } else { Cipher::aes_128_gcm() }
    }

    pub(super) fn counter_iv(keys: &Keys, ssrc: u32, index: u64) -> [u8; 16] {
        let mut iv = [0u8; 16];
        iv[..14].copy_from_slice(&keys.salt);
        xor(&mut iv[4..8], &ssrc.to_be_bytes());
        xor(&mut iv[8..14], &index.to_be_bytes()[2..]);
        iv
    }

    pub(super) fn aead_iv(keys: &Keys, ssrc: u32, index: u64) -> [u8; 12] {
        let mut iv: [u8; 12] = keys.salt[..].try_into().expect("12 bytes");
        xor(&mut iv[2..6], &ssrc.to_be_bytes());
        xor(&mut iv[6..], &index.to_be_bytes()[2..]);
        iv
    }

    pub(super) fn protect_rtp(&self, packet: &[u8], index: u64) -> Vec<u8> {
        let header = header_len(packet);
        let ssrc = u32::from_be_bytes(packet[8..12].try_into().expect("4"));
        let (aad, payload) = packet.split_at(header);
        let mut out = aad.to_vec();
        if self.is_aead() {
            let mut tag = [0u8; 16];
            let iv = Self::aead_iv(&self.rtp, ssrc, index);
            out.extend(encrypt_aead(self.gcm(), &self.rtp.cipher, Some(&iv), aad, payload, &mut tag).expect("gcm"));
            out.extend(tag);
        } else {
            let iv = Self::counter_iv(&self.rtp, ssrc, index);
            out.extend(encrypt(Cipher::aes_128_ctr(), &self.rtp.cipher, Some(&iv), payload).expect("ctr"));
            let roc = ((index >> 16) as u32).to_be_bytes();
            let tag = hmac_sha1(&self.rtp.auth, &[&out, &roc]);
            out.extend(&tag[..self.profile.rtp_overhead()]);
        }
        out
    }

    pub(super) fn protect_rtcp(&self, packet: &[u8], index: u32) -> Vec<u8> {
        let ssrc = u32::from_be_bytes(packet[4..8].try_into().expect("4"));
        let (head, body) = packet.split_at(8);
        let trailer = (index | 1 << 31).to_be_bytes();
        let mut out = head.to_vec();
        if self.is_aead() {
            let mut tag = [0u8; 16];
            let iv = Self::aead_iv(&self.rtcp, ssrc, u64::from(index));
            let aad = [head, &trailer].concat();
            out.extend(encrypt_aead(self.gcm(), &self.rtcp.cipher, Some(&iv), &aad, body, &mut tag).expect("gcm"));
            out.extend(tag);
            out.extend(trailer);
        } else {
            let iv = Self::counter_iv(&self.rtcp, ssrc, u64::from(index));
            out.extend(encrypt(Cipher::aes_128_ctr(), &self.rtcp.cipher, Some(&iv), body).expect("ctr"));
            out.extend(trailer);
            let tag = hmac_sha1(&self.rtcp.auth, &[&out]);
            out.extend(&tag[..10]);
        }
        out
    }
}

pub(super) fn xor(into: &mut [u8], with: &[u8]) {
    into.iter_mut().zip(with).for_each(|(a, b)| *a ^= b);
}

pub(super) fn header_len(packet: &[u8]) -> usize {
    let mut len = 12 + 4 * usize::from(packet[0] & 15);
    if packet[0] & 0x10 != 0 {
        len += 4 + 4 * usize::from(u16::from_be_bytes([packet[len + 2], packet[len + 3]]));
    }
    len
}

#[test]
fn our_oracle_opens_what_it_closes() {
    // Guards the oracle's own AEAD use: a tag that is never checked would prove nothing.
    let profile = SrtpProfile::AeadAes256Gcm;
    let oracle = Oracle::new(profile, &KeyMaterial::new(&[9; 44]).expect("length"));
    let packet = [&[0x80u8, 96, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5][..], b"payload"].concat();
    let sent = oracle.protect_rtp(&packet, 9);
    let (head, rest) = sent.split_at(12);
    let (body, tag) = rest.split_at(rest.len() - 16);
    let iv = Oracle::aead_iv(&oracle.rtp, 5, 9);
    let opened = decrypt_aead(oracle.gcm(), &oracle.rtp.cipher, Some(&iv), head, body, tag).expect("gcm");
    assert_eq!(opened, b"payload");
}
