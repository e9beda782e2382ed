//! STUN messages (RFC 8489) with the attributes of ICE (RFC 8445, section 16).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |0 0|     message type          |  length without this header   |
//! |                   magic cookie 0x2112a442                     |
//! |                    transaction id, 96 bits                    |
//! |      attribute type           |  length without padding       |
//! |      value, padded to 32 bits ...                             |
//! ```
//!
//! All attributes are read in one pass, at the door: a message whose known attributes have wrong
//! sizes does not exist. Limits: [`MAX_ATTRIBUTES`] attributes, a USERNAME of [`MAX_USERNAME`]
//! bytes. Left out on purpose: TURN, RFC 3489 messages without cookie, MESSAGE-INTEGRITY-SHA256
//! (ICE does not use it), long-term credentials. Whether a MAC is right is for
//! [`StunMessage::check_integrity`] to say, with a hash that the caller brings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use crate::error::ParseError;
use crate::read::{Cursor, array_at, u8_at, u16_at, u32_at, u64_at};

/// HMAC-SHA1 over the concatenation of `parts`.
pub type HmacSha1 = fn(key: &[u8], parts: &[&[u8]]) -> [u8; 20];

/// The method of all ICE checks.
pub const BINDING: u16 = 1;
/// Most attributes that a message may have; those that browsers send have about ten.
pub const MAX_ATTRIBUTES: usize = 32;
/// Longest USERNAME (RFC 8489, section 14.3: fewer than 509 bytes).
pub const MAX_USERNAME: usize = 508;

const HEADER_LEN: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const FINGERPRINT_XOR: u32 = 0x5354_554e;
/// Bytes of a MESSAGE-INTEGRITY and of a FINGERPRINT attribute.
const INTEGRITY_LEN: usize = 24;
const FINGERPRINT_LEN: usize = 8;

mod attribute {
    pub(super) const MAPPED_ADDRESS: u16 = 0x0001;
    pub(super) const USERNAME: u16 = 0x0006;
    pub(super) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(super) const ERROR_CODE: u16 = 0x0009;
    pub(super) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub(super) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(super) const PRIORITY: u16 = 0x0024;
    pub(super) const USE_CANDIDATE: u16 = 0x0025;
    /// Draft "ICE renomination", in the comprehension-required range.
    pub(super) const NOMINATION_DRAFT: u16 = 0x0030;
    pub(super) const FINGERPRINT: u16 = 0x8028;
    pub(super) const ICE_CONTROLLED: u16 = 0x8029;
    pub(super) const ICE_CONTROLLING: u16 = 0x802a;
    /// The same draft, as libwebrtc numbers it.
    pub(super) const NOMINATION: u16 = 0xc001;
}

/// The class of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Wants a response.
    Request,
    /// Wants none.
    Indication,
    /// A response that says yes.
    Success,
    /// A response that says no.
    Error,
}

/// A well-formed message, borrowed.
#[derive(Clone, Copy)]
pub struct StunMessage<'a> {
    data: &'a [u8],
    class: Class,
    method: u16,
    transaction_id: &'a [u8; 12],
    username: Option<&'a [u8]>,
    priority: Option<u32>,
    use_candidate: bool,
    nomination: Option<u32>,
    ice_controlling: Option<u64>,
    ice_controlled: Option<u64>,
    error_code: Option<u16>,
    unknown_attributes: &'a [u8],
    xor_mapped_address: Option<SocketAddr>,
    /// Offset of the MESSAGE-INTEGRITY attribute.
    integrity_at: Option<usize>,
    /// Offset of the FINGERPRINT attribute.
    fingerprint_at: Option<usize>,
}

impl<'a> StunMessage<'a> {
    /// Reads a message that fills the datagram. Of an attribute that comes twice the first counts.
    /// What follows MESSAGE-INTEGRITY is not protected by it and is ignored, but for FINGERPRINT
    /// (RFC 8489, section 14.5), which is the last attribute (section 14.7).
    pub fn parse(data: &'a [u8]) -> Result<Self, ParseError> {
        let mut this = Self::parse_header(data)?;
        let mut attributes = Attributes::new(data);
        let mut count = 0;
        while let Some((kind, value)) = attributes.next_attribute()? {
            let at = value.start - 4;
            count += 1;
            if count > MAX_ATTRIBUTES {
                return Err(ParseError::new("too many STUN attributes", at));
            }
            if this.fingerprint_at.is_some() {
                return Err(ParseError::new("STUN attribute after FINGERPRINT", at));
            }
            if this.integrity_at.is_none() || kind == attribute::FINGERPRINT {
                this.read_attribute(kind, data.get(value).unwrap_or(&[]), at)?;
            }
        }
        Ok(this)
    }

    fn parse_header(data: &'a [u8]) -> Result<Self, ParseError> {
        let short = ParseError::new("STUN header too short", data.len());
        let kind = u16_at(data, 0).ok_or(short)?;
        let length = usize::from(u16_at(data, 2).ok_or(short)?);
        let cookie: [u8; 4] = array_at(data, 4).ok_or(short)?;
        let transaction_id = data.get(8..HEADER_LEN).and_then(|id| id.try_into().ok()).ok_or(short)?;
        if kind & 0xc000 != 0 {
            return Err(ParseError::new("not a STUN message type", 0));
        }
        if cookie != COOKIE {
            return Err(ParseError::new("STUN magic cookie wrong", 4));
        }
        if length % 4 != 0 || length != data.len() - HEADER_LEN {
            return Err(ParseError::new("STUN length wrong", 2));
        }
        let class = match (kind & 0x0100 != 0, kind & 0x0010 != 0) {
            (false, false) => Class::Request,
            (false, true) => Class::Indication,
            (true, false) => Class::Success,
            (true, true) => Class::Error,
        };
        Ok(Self {
            data,
            class,
            method: kind & 0x000f | (kind & 0x00e0) >> 1 | (kind & 0x3e00) >> 2,
            transaction_id,
            username: None,
            priority: None,
            use_candidate: false,
            nomination: None,
            ice_controlling: None,
            ice_controlled: None,
            error_code: None,
            unknown_attributes: &[],
            xor_mapped_address: None,
            integrity_at: None,
            fingerprint_at: None,
        })
    }

    fn read_attribute(&mut self, kind: u16, value: &'a [u8], at: usize) -> Result<(), ParseError> {
        let wrong = |what| ParseError::new(what, at);
        match kind {
            attribute::USERNAME => {
                if value.len() > MAX_USERNAME {
                    return Err(wrong("STUN USERNAME too long"));
                }
                self.username.get_or_insert(value);
            }
            attribute::PRIORITY => {
                self.priority.get_or_insert(exact_u32(value).ok_or(wrong("STUN PRIORITY not 4 bytes"))?);
            }
            attribute::USE_CANDIDATE => {
                if !value.is_empty() {
                    return Err(wrong("STUN USE-CANDIDATE not empty"));
                }
                self.use_candidate = true;
            }
            attribute::NOMINATION | attribute::NOMINATION_DRAFT => {
                self.nomination.get_or_insert(exact_u32(value).ok_or(wrong("STUN NOMINATION not 4 bytes"))?);
            }
            attribute::ICE_CONTROLLING => {
                self.ice_controlling.get_or_insert(exact_u64(value).ok_or(wrong("STUN ICE-CONTROLLING not 8 bytes"))?);
            }
            attribute::ICE_CONTROLLED => {
                self.ice_controlled.get_or_insert(exact_u64(value).ok_or(wrong("STUN ICE-CONTROLLED not 8 bytes"))?);
            }
            attribute::ERROR_CODE => {
                self.error_code.get_or_insert(read_error_code(value).ok_or(wrong("STUN ERROR-CODE malformed"))?);
            }
            attribute::UNKNOWN_ATTRIBUTES => {
                if !value.len().is_multiple_of(2) {
                    return Err(wrong("STUN UNKNOWN-ATTRIBUTES of odd length"));
                }
                if self.unknown_attributes.is_empty() {
                    self.unknown_attributes = value;
                }
            }
            attribute::XOR_MAPPED_ADDRESS => {
                let address = read_xor_address(value, self.transaction_id);
                self.xor_mapped_address.get_or_insert(address.ok_or(wrong("STUN XOR-MAPPED-ADDRESS malformed"))?);
            }
            attribute::MESSAGE_INTEGRITY => {
                if value.len() != INTEGRITY_LEN - 4 {
                    return Err(wrong("STUN MESSAGE-INTEGRITY not 20 bytes"));
                }
                self.integrity_at = Some(at);
            }
            attribute::FINGERPRINT => {
                if value.len() != FINGERPRINT_LEN - 4 {
                    return Err(wrong("STUN FINGERPRINT not 4 bytes"));
                }
                self.fingerprint_at = Some(at);
            }
            _ => {}
        }
        Ok(())
    }

    /// The class.
    #[inline]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The method; [`BINDING`] is the one of ICE.
    #[inline]
    pub fn method(&self) -> u16 {
        self.method
    }

    /// The transaction id.
    #[inline]
    pub fn transaction_id(&self) -> &'a [u8; 12] {
        self.transaction_id
    }

    /// USERNAME, at most [`MAX_USERNAME`] bytes of anything.
    #[inline]
    pub fn username(&self) -> Option<&'a [u8]> {
        self.username
    }

    /// PRIORITY.
    #[inline]
    pub fn priority(&self) -> Option<u32> {
        self.priority
    }

    /// Is USE-CANDIDATE there?
    #[inline]
    pub fn use_candidate(&self) -> bool {
        self.use_candidate
    }

    /// Value of the NOMINATION attribute, in either of the numbers that clients use for it.
    #[inline]
    pub fn nomination(&self) -> Option<u32> {
        self.nomination
    }

    /// Tie-breaker of a peer that claims the controlling role.
    #[inline]
    pub fn ice_controlling(&self) -> Option<u64> {
        self.ice_controlling
    }

    /// Tie-breaker of a peer that claims the controlled role.
    #[inline]
    pub fn ice_controlled(&self) -> Option<u64> {
        self.ice_controlled
    }

    /// ERROR-CODE, 300 to 699.
    #[inline]
    pub fn error_code(&self) -> Option<u16> {
        self.error_code
    }

    /// XOR-MAPPED-ADDRESS, decoded.
    #[inline]
    pub fn xor_mapped_address(&self) -> Option<SocketAddr> {
        self.xor_mapped_address
    }

    /// Types listed in UNKNOWN-ATTRIBUTES.
    pub fn unknown_attributes(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.unknown_attributes.chunks_exact(2).filter_map(|pair| u16_at(pair, 0))
    }

    /// Is MESSAGE-INTEGRITY there? Whether it is right is another question.
    #[inline]
    pub fn has_integrity(&self) -> bool {
        self.integrity_at.is_some()
    }

    /// Is FINGERPRINT there, and right?
    pub fn has_valid_fingerprint(&self) -> bool {
        let Some(at) = self.fingerprint_at else { return false };
        let covered = self.data.get(..at).unwrap_or(&[]);
        u32_at(self.data, at + 4) == Some(crc32(covered) ^ FINGERPRINT_XOR)
    }

    /// Attributes of the comprehension-required range (below 0x8000) that libsfu does not know, in
    /// the order of the message, up to MESSAGE-INTEGRITY.
    pub fn unknown_required(&self) -> impl Iterator<Item = u16> + use<'a> {
        let end = self.integrity_at.unwrap_or(self.data.len());
        let mut attributes = Attributes { data: self.data.get(..end).unwrap_or(&[]), at: HEADER_LEN };
        std::iter::from_fn(move || attributes.next_attribute().ok().flatten())
            .map(|(kind, _)| kind)
            .filter(|kind| *kind < 0x8000 && !is_known_required(*kind))
    }

    /// Is MESSAGE-INTEGRITY there, and made with `key`? Compares in constant time. The MAC covers
    /// the message up to that attribute, with the header's length as if it were the last one
    /// (RFC 8489, section 14.5).
    pub fn check_integrity(&self, key: &[u8], hmac: HmacSha1) -> bool {
        let Some(at) = self.integrity_at else { return false };
        let Some(claimed) = array_at::<20>(self.data, at + 4) else { return false };
        let length = (at + INTEGRITY_LEN - HEADER_LEN) as u16;
        let parts = [self.data.get(..2), Some(&length.to_be_bytes()[..]), self.data.get(4..at)];
        let [Some(kind), Some(length), Some(rest)] = parts else { return false };
        equal_in_constant_time(&hmac(key, &[kind, length, rest]), &claimed)
    }

    /// Bytes of the whole message.
    #[inline]
    pub fn data(&self) -> &'a [u8] {
        self.data
    }
}

impl std::fmt::Debug for StunMessage<'_> {
    /// What a trace needs; neither names nor MACs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StunMessage")
            .field("class", &self.class)
            .field("method", &self.method)
            .field("len", &self.data.len())
            .field("use_candidate", &self.use_candidate)
            .field("error_code", &self.error_code)
            .finish_non_exhaustive()
    }
}

/// Walks the attributes. Each step consumes at least four bytes.
struct Attributes<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Attributes<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self { data, at: HEADER_LEN }
    }

    /// Type, and where the value is; its padding lies within the message too.
    fn next_attribute(&mut self) -> Result<Option<(u16, Range<usize>)>, ParseError> {
        if self.at >= self.data.len() {
            return Ok(None);
        }
        let past = ParseError::new("STUN attribute past the end", self.at);
        let kind = u16_at(self.data, self.at).ok_or(past)?;
        let len = usize::from(u16_at(self.data, self.at + 2).ok_or(past)?);
        let start = self.at + 4;
        let next = start + len.next_multiple_of(4);
        if next > self.data.len() {
            return Err(past);
        }
        self.at = next;
        Ok(Some((kind, start..start + len)))
    }
}

const fn is_known_required(kind: u16) -> bool {
    /// REALM and NONCE, which a peer may send without need.
    const REALM: u16 = 0x0014;
    const NONCE: u16 = 0x0015;
    matches!(
        kind,
        attribute::MAPPED_ADDRESS
            | attribute::USERNAME
            | attribute::MESSAGE_INTEGRITY
            | attribute::ERROR_CODE
            | attribute::UNKNOWN_ATTRIBUTES
            | attribute::XOR_MAPPED_ADDRESS
            | attribute::PRIORITY
            | attribute::USE_CANDIDATE
            | attribute::NOMINATION_DRAFT
            | REALM
            | NONCE
    )
}

fn exact_u32(value: &[u8]) -> Option<u32> {
    if value.len() == 4 { u32_at(value, 0) } else { None }
}

fn exact_u64(value: &[u8]) -> Option<u64> {
    if value.len() == 8 { u64_at(value, 0) } else { None }
}

fn read_error_code(value: &[u8]) -> Option<u16> {
    let class = u8_at(value, 2)? & 0x07;
    let number = u8_at(value, 3)?;
    if (3..=6).contains(&class) && number < 100 { Some(u16::from(class) * 100 + u16::from(number)) } else { None }
}

/// The mask of an address: cookie and transaction id (RFC 8489, section 14.2).
fn xor_mask(transaction_id: &[u8; 12]) -> u128 {
    let mut mask = [0; 16];
    let (cookie, id) = mask.split_at_mut(4);
    cookie.copy_from_slice(&COOKIE);
    id.copy_from_slice(transaction_id);
    u128::from_be_bytes(mask)
}

fn read_xor_address(value: &[u8], transaction_id: &[u8; 12]) -> Option<SocketAddr> {
    let mask = xor_mask(transaction_id);
    let port = u16_at(value, 2)? ^ (mask >> 112) as u16;
    let ip = match (u8_at(value, 1)?, value.len()) {
        (1, 8) => IpAddr::V4(Ipv4Addr::from_bits(u32_at(value, 4)? ^ (mask >> 96) as u32)),
        (2, 20) => IpAddr::V6(Ipv6Addr::from_bits(u128::from_be_bytes(array_at(value, 4)?) ^ mask)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Tells whether two MACs are equal, in a time that does not depend on where they differ.
fn equal_in_constant_time(a: &[u8; 20], b: &[u8; 20]) -> bool {
    let difference = a.iter().zip(b).fold(0, |sum, (x, y)| sum | (x ^ y));
    std::hint::black_box(difference) == 0
}

/// CRC-32 of ISO 3309, as FINGERPRINT wants it (RFC 8489, section 14.7).
fn crc32(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = crc32_table();
    !data.iter().fold(!0, |crc, byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)])
}

const fn crc32_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xedb8_8320 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

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
