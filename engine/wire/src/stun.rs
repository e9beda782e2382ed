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
use crate::read::{array_at, u8_at, u16_at, u32_at, u64_at};

mod builder;

pub use builder::StunBuilder;

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
        let Some(at) = self.fingerprint_at else {
            return false;
        };
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
        let Some(at) = self.integrity_at else {
            return false;
        };
        let Some(claimed) = array_at::<20>(self.data, at + 4) else {
            return false;
        };
        let length = (at + INTEGRITY_LEN - HEADER_LEN) as u16;
        let parts = [self.data.get(..2), Some(&length.to_be_bytes()[..]), self.data.get(4..at)];
        let [Some(kind), Some(length), Some(rest)] = parts else {
            return false;
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::pretended_hmac;
    use crate::testing::RFC_5769_REQUEST as SAMPLE;

    const ID: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    const KEY: Option<(&[u8], HmacSha1)> = Some((b"password", pretended_hmac));

    fn request(buf: &mut [u8]) -> StunBuilder<'_> {
        StunBuilder::new(buf, Class::Request, BINDING, &ID)
    }

    /// A message with these raw attributes and a right length.
    fn raw(attributes: &[u8]) -> Vec<u8> {
        let mut message = vec![0, 1];
        message.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
        message.extend_from_slice(&COOKIE);
        message.extend_from_slice(&ID);
        message.extend_from_slice(attributes);
        message
    }

    fn what(attributes: &[u8]) -> &'static str {
        StunMessage::parse(&raw(attributes)).map_or_else(|error| error.what, |_| "fine")
    }

    #[test]
    fn the_sample_request_of_rfc_5769_is_read() {
        let message = StunMessage::parse(&SAMPLE).unwrap();
        assert_eq!((message.class(), message.method()), (Class::Request, BINDING));
        assert_eq!(message.username(), Some(&b"evtj:h6vY"[..]));
        assert_eq!((message.priority(), message.ice_controlled()), (Some(0x6e00_01ff), Some(0x932f_f9b1_5126_3b36)));
        assert!(message.has_valid_fingerprint() && message.has_integrity());
        assert_eq!(message.unknown_required().count(), 0);
        // What is covered by the MAC, and with which length.
        fn probe(_: &[u8], parts: &[&[u8]]) -> [u8; 20] {
            let covered = parts.concat();
            assert_eq!((covered.len(), &covered[2..4]), (76, &[0x00, 0x50][..]));
            SAMPLE[80..100].try_into().unwrap()
        }
        assert!(message.check_integrity(b"", probe));
    }

    #[test]
    fn what_is_built_is_read_back() {
        for address in ["192.0.2.1:32853", "[2001:db8:1234:5678:11:2233:4455:6677]:32853", "0.0.0.0:0"] {
            let address = address.parse().unwrap();
            let mut buf = [0; 200];
            let builder = StunBuilder::new(&mut buf, Class::Success, BINDING, &ID).xor_mapped_address(address);
            let len = builder.finish(KEY).unwrap();
            let message = StunMessage::parse(&buf[..len]).unwrap();
            assert_eq!((message.class(), message.xor_mapped_address()), (Class::Success, Some(address)));
            assert!(message.has_valid_fingerprint() && message.check_integrity(b"password", pretended_hmac));
        }
        let mut buf = [0; 200];
        let builder = StunBuilder::new(&mut buf, Class::Error, 0xfff, &ID).error_code(420, "Unknown Attribute");
        let len = builder.unknown_attributes(&[0x77, 0x7fff]).finish(None).unwrap();
        let message = StunMessage::parse(&buf[..len]).unwrap();
        assert_eq!((message.class(), message.method(), message.error_code()), (Class::Error, 0xfff, Some(420)));
        assert_eq!(message.unknown_attributes().collect::<Vec<_>>(), [0x77, 0x7fff]);
        assert!(!message.has_integrity() && !message.check_integrity(b"password", pretended_hmac));
    }

    #[test]
    fn a_slice_that_is_too_small_is_an_error_at_every_length() {
        let build =
            |buf: &mut [u8]| request(buf).username(b"a:b").priority(1).use_candidate().nomination(3).finish(KEY);
        let whole = build(&mut [0; 200]).unwrap();
        for len in 0..whole {
            assert!(build(&mut vec![0; len]).is_err(), "{len}");
        }
        assert_eq!(build(&mut vec![0; whole]), Ok(whole));
        assert!(request(&mut [0; 100]).attribute(1, &[0; 70_000]).finish(None).is_err());
    }

    #[test]
    fn row_002_length_and_cookie_have_to_be_right() {
        let mut buf = [0; 200];
        let len = request(&mut buf).username(b"a:b").finish(KEY).unwrap();
        let good = &buf[..len];
        for cut in 0..good.len() {
            assert!(StunMessage::parse(&good[..cut]).is_err());
        }
        for length in (0..=200).chain([0xfffc, 0xffff]).filter(|length| *length != len - 20) {
            let mut bad = good.to_vec();
            bad[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            assert_eq!(StunMessage::parse(&bad).unwrap_err().what, "STUN length wrong");
        }
        let mut longer = good.to_vec();
        longer.extend_from_slice(&[0; 4]);
        assert!(StunMessage::parse(&longer).is_err());
        let mut cookie = good.to_vec();
        cookie[7] ^= 1;
        assert_eq!(StunMessage::parse(&cookie).unwrap_err().what, "STUN magic cookie wrong");
        let mut kind = good.to_vec();
        kind[0] |= 0x40;
        assert!(StunMessage::parse(&kind).is_err());
    }

    #[test]
    fn row_003_attributes_of_wrong_size_make_no_message() {
        assert_eq!(what(&[0, 6, 0, 5, b'a', b'b', b'c', b'd']), "STUN attribute past the end");
        assert_eq!(what(&[0, 6, 0xff, 0xff, b'a', b'b', b'c', b'd']), "STUN attribute past the end");
        assert_eq!(what(&[0, 6, 0, 3, b'a', b'b', b'c', 0xff]), "fine");
        for (kind, size) in
            [(0x24_u16, 4), (0x8029, 8), (0x802a, 8), (0xc001, 4), (0x30, 4), (8, 20), (0x8028, 4), (0x25, 0)]
        {
            for len in 0..=24 {
                let mut attribute = kind.to_be_bytes().to_vec();
                attribute.extend_from_slice(&[0, len as u8]);
                attribute.resize(4 + usize::next_multiple_of(len, 4), 0);
                assert_eq!(what(&attribute) == "fine", len == size, "{kind:#x} of {len}");
            }
        }
        for len in 0..=24 {
            for family in 0..=3 {
                let mut attribute = vec![0, 0x20, 0, len as u8, 0, family];
                attribute.resize(4 + usize::next_multiple_of(len, 4).max(4), 0);
                attribute.truncate(4 + usize::next_multiple_of(len, 4));
                assert_eq!(what(&attribute) == "fine", matches!((family, len), (1, 8) | (2, 20)), "{family} {len}");
            }
        }
        assert_eq!(what(&[0, 9, 0, 4, 0, 0, 2, 0]), "STUN ERROR-CODE malformed");
        assert_eq!(what(&[0, 9, 0, 4, 0, 0, 4, 100]), "STUN ERROR-CODE malformed");
    }

    #[test]
    fn row_003_a_thousand_tiny_attributes_are_too_many() {
        assert_eq!(what(&[0x80, 0, 0, 0].repeat(MAX_ATTRIBUTES)), "fine");
        assert_eq!(what(&[0x80, 0, 0, 0].repeat(1000)), "too many STUN attributes");
        let error = StunMessage::parse(&raw(&[0x80, 0, 0, 0].repeat(1000))).unwrap_err();
        assert_eq!(error.offset, 20 + 4 * MAX_ATTRIBUTES, "reading stops at the cap");
    }

    #[test]
    fn row_004_what_follows_message_integrity_is_ignored_but_for_fingerprint() {
        let mut buf = [0; 200];
        let builder = request(&mut buf).username(b"a:b").attribute(attribute::MESSAGE_INTEGRITY, &[9; 20]);
        let len = builder.use_candidate().username(b"x:y").priority(7).attribute(0x77, &[]).finish(KEY).unwrap();
        let message = StunMessage::parse(&buf[..len]).unwrap();
        assert_eq!((message.username(), message.priority(), message.use_candidate()), (Some(&b"a:b"[..]), None, false));
        assert_eq!(message.unknown_required().count(), 0);
        assert!(message.has_valid_fingerprint());
        // The second MESSAGE-INTEGRITY, which is right, counts for nothing.
        assert!(!message.check_integrity(b"password", pretended_hmac));
    }

    #[test]
    fn row_004_short_or_wrong_integrity_and_fingerprint_are_refused() {
        assert_eq!(what(&[0, 8, 0, 4, 1, 2, 3, 4]), "STUN MESSAGE-INTEGRITY not 20 bytes");
        assert_eq!(what(&[0x80, 0x28, 0, 0]), "STUN FINGERPRINT not 4 bytes");
        let fingerprint = [0x80, 0x28, 0, 4, 1, 2, 3, 4];
        assert_eq!(what(&fingerprint.repeat(2)), "STUN attribute after FINGERPRINT");
        let with_fingerprint = raw(&fingerprint);
        assert!(!StunMessage::parse(&with_fingerprint).unwrap().has_valid_fingerprint());
        assert!(!StunMessage::parse(&raw(&[])).unwrap().has_valid_fingerprint());
        let mut buf = [0; 200];
        let len = request(&mut buf).username(b"a:b").finish(KEY).unwrap();
        for at in 20..len {
            let mut bad = buf[..len].to_vec();
            bad[at] ^= 1;
            let Ok(message) = StunMessage::parse(&bad) else {
                continue;
            };
            assert!(!message.has_valid_fingerprint());
            // Only the FINGERPRINT itself is not covered.
            assert_eq!(message.check_integrity(b"password", pretended_hmac), at >= len - 8, "{at}");
        }
    }

    #[test]
    fn row_005_a_username_is_at_most_508_bytes_of_anything() {
        for len in [0, 3, 508, 509, 513, 1000] {
            let mut buf = [0; 1100];
            let name = vec![0xff; len];
            let written = request(&mut buf).username(&name).finish(None).unwrap();
            let message = StunMessage::parse(&buf[..written]);
            assert_eq!(message.is_ok(), len <= MAX_USERNAME);
            assert!(message.is_err() || message.unwrap().username() == Some(&name[..]));
        }
    }

    #[test]
    fn row_006_unknown_required_attributes_are_listed_and_optional_ones_are_not() {
        let mut buf = [0; 200];
        let builder = request(&mut buf).attribute(0x0077, b"x").attribute(0x8077, b"y").attribute(0x7fff, b"");
        let len = builder.attribute(0x0003, &[0; 4]).username(b"a:b").finish(KEY).unwrap();
        let message = StunMessage::parse(&buf[..len]).unwrap();
        assert_eq!(message.unknown_required().collect::<Vec<_>>(), [0x77, 0x7fff, 3]);
    }

    #[test]
    fn h17_a_getter_never_reads_what_is_not_there() {
        // XOR-MAPPED-ADDRESS of zero length, once alone and once at the very end.
        assert_eq!(what(&[0, 0x20, 0, 0]), "STUN XOR-MAPPED-ADDRESS malformed");
        assert_eq!(what(&[0, 6, 0, 0, 0, 0x20, 0, 0]), "STUN XOR-MAPPED-ADDRESS malformed");
        assert_eq!(what(&[0, 10, 0, 1, 0, 0, 0, 0]), "STUN UNKNOWN-ATTRIBUTES of odd length");
        assert_eq!(what(&[0, 9, 0, 3, 0, 0, 4, 0]), "STUN ERROR-CODE malformed");
    }

    #[test]
    fn of_two_equal_attributes_the_first_counts() {
        let mut buf = [0; 200];
        let len = request(&mut buf).username(b"a:b").priority(1).username(b"c:d").priority(2).finish(None).unwrap();
        let message = StunMessage::parse(&buf[..len]).unwrap();
        assert_eq!((message.username(), message.priority()), (Some(&b"a:b"[..]), Some(1)));
    }
}
