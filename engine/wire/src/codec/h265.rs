//! H.265 payload structures (RFC 7798, section 4.4).
//!
//! ```text
//!              +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! NAL header   |F|   type    |  LayerId  | TID |   TID is never 0
//! FU header    |S|E|   type    |                   third byte of a fragment
//!              +-+-+-+-+-+-+-+-+
//! AP: header, then 16 bits of length and a NAL unit, again and again
//! ```
//!
//! PACI: header, then |A|   cType   |PHSsize|F0..2|Y|, an extension, and a payload of that type
//!
//! DONL fields (sprop-max-don-diff above 0) are not negotiated. Extensions of PACI packets are not read.

use crate::error::ParseError;
use crate::read::{u8_at, u16_at};

/// NAL unit types that matter here (RFC 7798, section 1.1.4, and H.265, table 7-1).
mod nal {
    pub(super) const FIRST_TSA: u8 = 2;
    pub(super) const LAST_STSA: u8 = 5;
    pub(super) const FIRST_IRAP: u8 = 16;
    pub(super) const CRA: u8 = 21;
    pub(super) const VPS: u8 = 32;
    pub(super) const SPS: u8 = 33;
    pub(super) const AP: u8 = 48;
    pub(super) const FU: u8 = 49;
    pub(super) const PACI: u8 = 50;
}

/// A well-formed payload, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum H265Payload<'a> {
    /// One NAL unit of this type, 0 to 47.
    Single(u8),
    /// Several NAL units.
    Aggregate(ApUnits<'a>),
    /// Part of a NAL unit.
    Fragment {
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

/// Type, layer and temporal id.
#[inline]
fn read_header(unit: &[u8]) -> Option<(u8, u8, u8)> {
    let bits = u16_at(unit, 0)?;
    let temporal = (bits & 7) as u8;
    if temporal == 0 {
        return None;
    }
    Some(((bits >> 9) as u8 & 0x3f, (bits >> 3) as u8 & 0x3f, temporal - 1))
}

impl<'a> H265Payload<'a> {
    /// Reads a payload. An aggregate of nothing, with a unit that is too short or past the end, a
    /// rest that is no unit or with an aggregate or fragment inside, and a fragment that is both
    /// first and last, or of an aggregate, are malformed; so is a PACI packet of nothing or of another.
    pub fn parse(payload: &'a [u8]) -> Result<Self, ParseError> {
        let (nal_type, ..) = read_header(payload).ok_or(ParseError::new("H265 NAL header malformed", 0))?;
        Self::parse_as(nal_type, payload, 2)
    }

    /// Reads what stands behind the payload header, from `at` on, as a payload of this type.
    fn parse_as(nal_type: u8, payload: &'a [u8], at: usize) -> Result<Self, ParseError> {
        match nal_type {
            0..=47 => Ok(Self::Single(nal_type)),
            nal::AP => {
                let units = ApUnits { rest: payload.get(at..).unwrap_or(&[]) };
                units.check()?;
                Ok(Self::Aggregate(units))
            }
            nal::FU => {
                let fragment = u8_at(payload, at).ok_or(ParseError::new("H265 fragment too short", at))?;
                let (start, end) = (fragment & 0x80 != 0, fragment & 0x40 != 0);
                let nal_type = fragment & 0x3f;
                if start && end {
                    return Err(ParseError::new("H265 fragment both first and last", at));
                }
                if nal_type >= nal::AP {
                    return Err(ParseError::new("H265 fragment of no NAL unit", at));
                }
                Ok(Self::Fragment { start, end, nal_type })
            }
            nal::PACI => {
                // RFC 7798, section 4.4.4.
                let fields = u16_at(payload, at).ok_or(ParseError::new("H265 PACI too short", at))?;
                let (inner, extension) = ((fields >> 9) as u8 & 0x3f, usize::from(fields >> 4 & 0x1f));
                if inner >= nal::PACI {
                    return Err(ParseError::new("H265 PACI of no NAL unit", at));
                }
                let at = at + 2 + extension;
                if at >= payload.len() {
                    return Err(ParseError::new("H265 PACI past the end", at));
                }
                Self::parse_as(inner, payload, at)
            }
            _ => Ok(Self::Opaque),
        }
    }

    /// Begins, or has, a video or sequence parameter set or a slice of a random access picture.
    pub fn is_key_frame(&self) -> bool {
        match self {
            Self::Single(nal_type) => is_key(*nal_type),
            Self::Aggregate(units) => {
                units.clone().any(|unit| read_header(unit).is_some_and(|(nal_type, ..)| is_key(nal_type)))
            }
            Self::Fragment { start, nal_type, .. } => *start && is_key(*nal_type),
            Self::Opaque => false,
        }
    }
}

/// Temporal id of a payload, 0 to 6.
#[inline]
pub fn temporal_layer(payload: &[u8]) -> Option<u8> {
    read_header(payload).map(|(_, _, temporal)| temporal)
}

/// May one switch up to this packet's temporal layer here? It has a slice of a temporal sub-layer access
/// picture, stepwise or not (H.265, section 7.4.2.2).
#[inline]
pub fn is_switching_point(payload: &[u8]) -> bool {
    let is_point = |nal_type: u8| matches!(nal_type, nal::FIRST_TSA..=nal::LAST_STSA);
    match H265Payload::parse(payload) {
        Ok(H265Payload::Single(nal_type) | H265Payload::Fragment { nal_type, .. }) => is_point(nal_type),
        Ok(H265Payload::Aggregate(units)) => {
            units.clone().any(|unit| read_header(unit).is_some_and(|(nal_type, ..)| is_point(nal_type)))
        }
        Ok(H265Payload::Opaque) | Err(_) => false,
    }
}

#[inline]
const fn is_key(nal_type: u8) -> bool {
    matches!(nal_type, nal::FIRST_IRAP..=nal::CRA | nal::VPS | nal::SPS)
}

/// Iterator over the NAL units of an aggregation packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApUnits<'a> {
    rest: &'a [u8],
}

impl ApUnits<'_> {
    fn check(mut self) -> Result<(), ParseError> {
        if self.rest.is_empty() {
            return Err(ParseError::new("H265 aggregate of nothing", 2));
        }
        let whole = self.rest.len();
        while !self.rest.is_empty() {
            let at = 2 + whole - self.rest.len();
            let unit = self.next().ok_or(ParseError::new("H265 aggregated unit past the end", at))?;
            let (nal_type, ..) = read_header(unit).ok_or(ParseError::new("H265 aggregated unit malformed", at))?;
            if nal_type >= nal::AP {
                return Err(ParseError::new("H265 aggregate within an aggregate", at));
            }
        }
        Ok(())
    }
}

impl<'a> Iterator for ApUnits<'a> {
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
    H265Payload::parse(payload).is_ok_and(|parsed| parsed.is_key_frame())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(nal_type: u8) -> [u8; 2] {
        [nal_type << 1, 1]
    }

    #[test]
    fn key_frames_are_found_in_every_structure() {
        for nal_type in 0..48 {
            let key = matches!(nal_type, 16..=21 | 32 | 33);
            assert_eq!(is_key_frame(&unit(nal_type)), key, "{nal_type}");
            let [a, b] = unit(nal_type);
            assert_eq!(is_key_frame(&[96, 1, 0, 2, 2, 1, 0, 3, a, b, 9]), key);
            assert_eq!(is_key_frame(&[98, 1, 0x80 | nal_type]), key);
            assert!(!is_key_frame(&[98, 1, 0x40 | nal_type]));
        }
        for nal_type in 0..48 {
            let point = matches!(nal_type, 2..=5);
            let [a, b] = unit(nal_type);
            assert_eq!(is_switching_point(&unit(nal_type)), point);
            assert_eq!(is_switching_point(&[98, 1, nal_type]), point);
            assert_eq!(is_switching_point(&[96, 1, 0, 2, 0x40, 1, 0, 3, a, b, 9]), point);
        }
        assert_eq!((temporal_layer(&[0, 7]), temporal_layer(&[0, 1])), (Some(6), Some(0)));
    }

    #[test]
    fn row_064_broken_aggregates_fragments_and_headers_are_malformed() {
        for bad in [
            &[][..],
            &[0x40],
            &[0x40, 0x00],
            &[96, 1],
            &[96, 1, 0],
            &[96, 1, 0, 0],
            &[96, 1, 0, 1, 0x40],
            &[96, 1, 0, 2, 0x40],
            &[96, 1, 0, 2, 0x40, 0x00],
            &[96, 1, 0, 2, 0x40, 0x01, 0],
            &[96, 1, 0, 2, 96, 1],
            &[98, 1],
            &[98, 1, 0xc0],
            &[98, 1, 48],
            &[100, 1, 0x40],
            &[100, 1, 50 << 1, 0, 1],
            &[100, 1, 33 << 1, 0x00],
            &[100, 1, 33 << 1, 0x30, 1, 2, 3],
            &[100, 1, 48 << 1, 0x00, 0, 2, 0x40],
        ] {
            assert!(H265Payload::parse(bad).is_err(), "{bad:02x?}");
            assert!(!is_key_frame(bad));
        }
        assert_eq!(H265Payload::parse(&[102, 1, 0x40]), Ok(H265Payload::Opaque), "a type without a meaning");
    }

    #[test]
    fn row_064_a_paci_packet_is_what_is_inside_it() {
        let paci = |inner: u8, extension: &[u8], rest: &[u8]| {
            let fields = u16::from(inner) << 9 | (extension.len() as u16) << 4;
            [&[100, 1], &fields.to_be_bytes()[..], extension, rest].concat()
        };
        assert!(is_key_frame(&paci(33, &[], &[9])));
        assert!(is_key_frame(&paci(19, &[1, 2, 3], &[9])));
        assert!(!is_key_frame(&paci(1, &[1, 2, 3], &[9])));
        assert!(is_key_frame(&paci(49, &[], &[0x80 | 19, 9])), "a fragment inside");
        assert!(!is_key_frame(&paci(49, &[], &[19, 9])));
        assert!(is_key_frame(&paci(48, &[7; 31], &[0, 2, 0x40, 1, 0, 3, 0x26, 1, 9])), "an aggregate inside");
    }
}
