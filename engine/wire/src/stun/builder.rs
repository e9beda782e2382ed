//! Writes STUN messages: into a caller's slice, attribute by attribute.

use std::net::{IpAddr, SocketAddr};

use super::{
    COOKIE, Class, FINGERPRINT_LEN, FINGERPRINT_XOR, HEADER_LEN, HmacSha1, INTEGRITY_LEN, MAX_ATTRIBUTES, attribute,
    crc32, xor_mask,
};
use crate::error::ParseError;
use crate::read::Cursor;

/// Writes a message into a slice, attribute by attribute. A slice that is too small shows at
/// [`StunBuilder::finish`].
#[derive(Debug)]
#[must_use = "a message is complete after finish()"]
pub struct StunBuilder<'a> {
    out: Cursor<'a>,
    transaction_id: [u8; 12],
}

impl<'a> StunBuilder<'a> {
    /// Begins a message. Only the low 12 bits of `method` count.
    pub fn new(buf: &'a mut [u8], class: Class, method: u16, transaction_id: &[u8; 12]) -> Self {
        let bits = match class {
            Class::Request => 0,
            Class::Indication => 0x0010,
            Class::Success => 0x0100,
            Class::Error => 0x0110,
        };
        let mut out = Cursor::new(buf);
        out.u16(method & 0x000f | (method & 0x0070) << 1 | (method & 0x0f80) << 2 | bits);
        out.u16(0);
        out.bytes(&COOKIE);
        out.bytes(transaction_id);
        Self { out, transaction_id: *transaction_id }
    }

    /// Any attribute.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        match u16::try_from(value.len()) {
            Ok(len) => {
                self.out.u16(kind);
                self.out.u16(len);
                self.out.bytes(value);
                self.out.pad4();
            }
            Err(_) => self.out.fail(),
        }
        self
    }

    /// XOR-MAPPED-ADDRESS.
    pub fn xor_mapped_address(self, addr: SocketAddr) -> Self {
        let mask = xor_mask(&self.transaction_id);
        let [p0, p1] = (addr.port() ^ (mask >> 112) as u16).to_be_bytes();
        let mut value = [0; 20];
        let len = match addr.ip() {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = (ip.to_bits() ^ (mask >> 96) as u32).to_be_bytes();
                value[..8].copy_from_slice(&[0, 1, p0, p1, a, b, c, d]);
                8
            }
            IpAddr::V6(ip) => {
                value[..4].copy_from_slice(&[0, 2, p0, p1]);
                value[4..].copy_from_slice(&(ip.to_bits() ^ mask).to_be_bytes());
                20
            }
        };
        self.attribute(attribute::XOR_MAPPED_ADDRESS, &value[..len])
    }

    /// ERROR-CODE with a reason of at most 64 bytes; the rest is cut off at a character.
    pub fn error_code(self, code: u16, reason: &str) -> Self {
        let mut value = [0; 4 + 64];
        value[2] = (code / 100) as u8 & 0x07;
        value[3] = (code % 100) as u8;
        let len = reason.floor_char_boundary(64);
        value[4..4 + len].copy_from_slice(reason.as_bytes().get(..len).unwrap_or(&[]));
        self.attribute(attribute::ERROR_CODE, &value[..4 + len])
    }

    /// UNKNOWN-ATTRIBUTES, of at most [`MAX_ATTRIBUTES`] types.
    pub fn unknown_attributes(self, kinds: &[u16]) -> Self {
        let mut value = [0; 2 * MAX_ATTRIBUTES];
        for (slot, kind) in value.chunks_exact_mut(2).zip(kinds) {
            slot.copy_from_slice(&kind.to_be_bytes());
        }
        let len = 2 * kinds.len().min(MAX_ATTRIBUTES);
        self.attribute(attribute::UNKNOWN_ATTRIBUTES, &value[..len])
    }

    /// USERNAME.
    pub fn username(self, name: &[u8]) -> Self {
        self.attribute(attribute::USERNAME, name)
    }

    /// PRIORITY.
    pub fn priority(self, priority: u32) -> Self {
        self.attribute(attribute::PRIORITY, &priority.to_be_bytes())
    }

    /// USE-CANDIDATE.
    pub fn use_candidate(self) -> Self {
        self.attribute(attribute::USE_CANDIDATE, &[])
    }

    /// NOMINATION, as libwebrtc numbers it.
    pub fn nomination(self, value: u32) -> Self {
        self.attribute(attribute::NOMINATION, &value.to_be_bytes())
    }

    /// ICE-CONTROLLING.
    pub fn ice_controlling(self, tie_breaker: u64) -> Self {
        self.attribute(attribute::ICE_CONTROLLING, &tie_breaker.to_be_bytes())
    }

    /// ICE-CONTROLLED.
    pub fn ice_controlled(self, tie_breaker: u64) -> Self {
        self.attribute(attribute::ICE_CONTROLLED, &tie_breaker.to_be_bytes())
    }

    /// Adds MESSAGE-INTEGRITY, if there is a key, and FINGERPRINT; returns the message's length.
    pub fn finish(mut self, integrity: Option<(&[u8], HmacSha1)>) -> Result<usize, ParseError> {
        if let Some((key, hmac)) = integrity {
            self.set_length(INTEGRITY_LEN);
            let mac = hmac(key, &[self.out.written()]);
            self = self.attribute(attribute::MESSAGE_INTEGRITY, &mac);
        }
        self.set_length(FINGERPRINT_LEN);
        let crc = crc32(self.out.written()) ^ FINGERPRINT_XOR;
        self = self.attribute(attribute::FINGERPRINT, &crc.to_be_bytes());
        self.out.finish()
    }

    /// Sets the header's length as if an attribute of `next` bytes were already there.
    fn set_length(&mut self, next: usize) {
        let length = (self.out.at() + next).saturating_sub(HEADER_LEN);
        match u16::try_from(length) {
            Ok(length) => self.out.patch_u16(2, length),
            Err(_) => self.out.fail(),
        }
    }
}
