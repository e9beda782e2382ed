//! H.264 payload structures (RFC 6184, section 5).
//!
//! ```text
//!              +-+-+-+-+-+-+-+-+
//! NAL header   |F|NRI|  type   |
//! FU header    |S|E|R|  type   |   second byte of a fragment
//!              +-+-+-+-+-+-+-+-+
//! STAP-A: header, then 16 bits of length and a NAL unit, again and again
//! ```
//!
//! Interleaved mode (STAP-B, MTAP, FU-B) is not negotiated by anyone and is left opaque.

use crate::error::ParseError;
use crate::read::{u8_at, u16_at};

/// NAL unit types that matter here (RFC 6184, table 1).
mod nal {
    pub(super) const IDR: u8 = 5;
    pub(super) const SPS: u8 = 7;
    pub(super) const STAP_A: u8 = 24;
    pub(super) const FU_A: u8 = 28;
}

/// A well-formed payload, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum H264Payload<'a> {
    /// One NAL unit of this type, 1 to 23.
    Single(u8),
    /// Several NAL units.
    StapA(StapUnits<'a>),
    /// Part of a NAL unit.
    FuA {
        /// Its first part.
        start: bool,
        /// Its last part.
        end: bool,
        /// Its type.
        nal_type: u8,
    },
    /// Something that is forwarded without a look.
    Opaque,
}

impl<'a> H264Payload<'a> {
    /// Reads a payload. An aggregate of nothing, with an empty unit, a unit past the end, a rest that
    /// is no unit or with an aggregate or fragment inside, and a fragment that is both first and
    /// last, or of an aggregate, are malformed.
    pub fn parse(payload: &'a [u8]) -> Result<Self, ParseError> {
        let header = u8_at(payload, 0).ok_or(ParseError::new("H264 payload empty", 0))?;
        match header & 0x1f {
            nal_type @ 1..=23 => Ok(Self::Single(nal_type)),
            nal::STAP_A => {
                let units = StapUnits { rest: payload.get(1..).unwrap_or(&[]) };
                units.check()?;
                Ok(Self::StapA(units))
            }
            nal::FU_A => {
                let fragment = u8_at(payload, 1).ok_or(ParseError::new("H264 fragment too short", 1))?;
                let (start, end) = (fragment & 0x80 != 0, fragment & 0x40 != 0);
                let nal_type = fragment & 0x1f;
                if start && end {
                    return Err(ParseError::new("H264 fragment both first and last", 1));
                }
                if !matches!(nal_type, 1..=23) {
                    return Err(ParseError::new("H264 fragment of no NAL unit", 1));
                }
                Ok(Self::FuA { start, end, nal_type })
            }
            _ => Ok(Self::Opaque),
        }
    }

    /// Begins, or has, a sequence parameter set or a slice of an IDR picture.
    pub fn is_key_frame(&self) -> bool {
        match self {
            Self::Single(nal_type) => is_key(*nal_type),
            Self::StapA(units) => units.clone().any(|unit| u8_at(unit, 0).is_some_and(|header| is_key(header & 0x1f))),
            Self::FuA { start, nal_type, .. } => *start && is_key(*nal_type),
            Self::Opaque => false,
        }
    }
}

#[inline]
const fn is_key(nal_type: u8) -> bool {
    matches!(nal_type, nal::IDR | nal::SPS)
}

/// Iterator over the NAL units of a STAP-A.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StapUnits<'a> {
    rest: &'a [u8],
}

impl StapUnits<'_> {
    fn check(mut self) -> Result<(), ParseError> {
        if self.rest.is_empty() {
            return Err(ParseError::new("H264 aggregate of nothing", 1));
        }
        let whole = self.rest.len();
        while !self.rest.is_empty() {
            let at = 1 + whole - self.rest.len();
            let unit = self.next().ok_or(ParseError::new("H264 aggregated unit past the end", at))?;
            let header = u8_at(unit, 0).ok_or(ParseError::new("H264 aggregated unit empty", at))?;
            if !matches!(header & 0x1f, 1..=23) {
                return Err(ParseError::new("H264 aggregate within an aggregate", at));
            }
        }
        Ok(())
    }
}

impl<'a> Iterator for StapUnits<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let end = 2 + usize::from(u16_at(self.rest, 0)?);
        let unit = self.rest.get(2..end)?;
        self.rest = self.rest.get(end..)?;
        Some(unit)
    }
}

/// Does this payload begin a key frame?
#[inline]
pub fn is_key_frame(payload: &[u8]) -> bool {
    H264Payload::parse(payload).is_ok_and(|parsed| parsed.is_key_frame())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_are_found_in_every_structure() {
        for (payload, key) in [
            (&[0x65, 1][..], true),
            (&[0x67, 1], true),
            (&[0x68, 1], false),
            (&[0x41, 1], false),
            (&[0x78, 0, 1, 0x68, 0, 1, 0x65], true),
            (&[0x78, 0, 1, 0x67, 0, 2, 0x41, 1], true),
            (&[0x78, 0, 1, 0x68, 0, 1, 0x41], false),
            (&[0x7c, 0x85, 1], true),
            (&[0x7c, 0x87, 1], true),
            (&[0x7c, 0x45, 1], false),
            (&[0x7c, 0x05, 1], false),
            (&[0x7c, 0x81, 1], false),
        ] {
            assert_eq!(is_key_frame(payload), key, "{payload:02x?}");
        }
    }

    #[test]
    fn row_064_broken_aggregates_and_fragments_are_malformed() {
        for bad in [
            &[][..],
            &[0x78],
            &[0x78, 0],
            &[0x78, 0, 0],
            &[0x78, 0, 1],
            &[0x78, 0, 2, 0x67],
            &[0x78, 0, 1, 0x67, 0],
            &[0x78, 0, 1, 0x67, 0, 0],
            &[0x78, 0, 1, 0x67, 0xff, 0xff, 1],
            &[0x78, 0, 4, 0x78, 0, 1, 0x67],
            &[0x78, 0, 2, 0x7c, 0x85],
            &[0x78, 0, 1, 0x60],
            &[0x7c],
            &[0x7c, 0xc5],
            &[0x7c, 0x98],
            &[0x7c, 0x80],
        ] {
            assert!(H264Payload::parse(bad).is_err(), "{bad:02x?}");
            assert!(!is_key_frame(bad));
        }
        for opaque in [0, 25, 26, 27, 29, 30, 31] {
            assert_eq!(H264Payload::parse(&[opaque, 5, 7]), Ok(H264Payload::Opaque));
        }
    }
}
