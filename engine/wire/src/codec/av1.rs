//! AV1 payload structure (RTP Payload Format for AV1, version 1.0, section 4).
//!
//! ```text
//!  0 1 2 3 4 5 6 7
//! +-+-+-+-+-+-+-+-+
//! |Z|Y| W |N|-|-|-|   aggregation header
//! +-+-+-+-+-+-+-+-+
//! OBU elements, each after its length in LEB128; with W from 1 to 3 there are W of them, and the
//! last one has no length.
//! ```

use crate::error::ParseError;
use crate::read::u8_at;

/// Longest LEB128 number (AV1, section 4.10.5).
const MAX_LEB128_LEN: usize = 8;

/// A well-formed payload, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Av1Payload<'a> {
    /// Z: the first element continues one of the packet before.
    pub continues: bool,
    /// Y: the last element goes on in the next packet.
    pub goes_on: bool,
    /// W: number of elements, 0 if every element has its length.
    pub element_count: u8,
    /// N: first packet of a coded video sequence.
    pub new_sequence: bool,
    body: &'a [u8],
}

impl<'a> Av1Payload<'a> {
    /// Reads a payload. No elements at all, too few of them, one past the end, a length that does
    /// not end within eight bytes, and a new sequence that continues an element are malformed.
    pub fn parse(payload: &'a [u8]) -> Result<Self, ParseError> {
        let header = u8_at(payload, 0).ok_or(ParseError::new("AV1 payload empty", 0))?;
        let this = Self {
            continues: header & 0x80 != 0,
            goes_on: header & 0x40 != 0,
            element_count: header >> 4 & 3,
            new_sequence: header & 0x08 != 0,
            body: payload.get(1..).unwrap_or(&[]),
        };
        if this.continues && this.new_sequence {
            return Err(ParseError::new("AV1 sequence begins within an element", 0));
        }
        let mut elements = this.elements();
        let mut count = 0;
        while let Some(element) = elements.next_element() {
            element.ok_or(ParseError::new("AV1 element past the end", 1))?;
            count += 1;
        }
        if count == 0 || this.element_count != 0 && count != usize::from(this.element_count) {
            return Err(ParseError::new("AV1 elements missing", payload.len()));
        }
        Ok(this)
    }

    /// The OBU elements; the first and the last may be parts.
    pub fn elements(&self) -> Av1Elements<'a> {
        Av1Elements { rest: self.body, left: (self.element_count != 0).then_some(self.element_count) }
    }
}

/// Iterator over OBU elements.
#[derive(Debug, Clone)]
pub struct Av1Elements<'a> {
    rest: &'a [u8],
    /// Elements to come, if their number was written.
    left: Option<u8>,
}

impl<'a> Av1Elements<'a> {
    /// The next element; `Some(None)` if it is broken.
    fn next_element(&mut self) -> Option<Option<&'a [u8]>> {
        if self.rest.is_empty() {
            return None;
        }
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1)?;
            if *left == 0 {
                return Some(Some(std::mem::take(&mut self.rest)));
            }
        }
        let element = read_leb128(self.rest).and_then(|(len, at)| {
            let len = usize::try_from(len).ok()?;
            self.rest.get(at..)?.split_at_checked(len)
        });
        self.rest = element.map_or(&[], |(_, rest)| rest);
        Some(element.map(|(element, _)| element))
    }
}

impl<'a> Iterator for Av1Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.next_element()?
    }
}

/// A LEB128 number and its length in bytes. Values above 32 bits do not exist (AV1, section 4.10.5).
fn read_leb128(data: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0_u64;
    for index in 0..MAX_LEB128_LEN {
        let byte = u8_at(data, index)?;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return u32::try_from(value).ok().map(|value| (value, index + 1));
        }
    }
    None
}

/// Does this payload begin a coded video sequence?
#[inline]
pub fn is_key_frame(payload: &[u8]) -> bool {
    Av1Payload::parse(payload).is_ok_and(|parsed| parsed.new_sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(payload: &[u8]) -> Option<Vec<usize>> {
        Av1Payload::parse(payload).ok().map(|parsed| parsed.elements().map(<[u8]>::len).collect())
    }

    #[test]
    fn elements_have_lengths_but_for_the_last_of_a_counted_list() {
        assert_eq!(elements(&[0x00, 1, 0xaa, 2, 0xbb, 0xcc]), Some(vec![1, 2]));
        assert_eq!(elements(&[0x10, 0xaa, 0xbb]), Some(vec![2]));
        assert_eq!(elements(&[0x20, 1, 0xaa, 0xbb, 0xcc]), Some(vec![1, 2]));
        assert_eq!(elements(&[0x30, 1, 0xaa, 0, 0xbb]), Some(vec![1, 0, 1]));
        let mut long = vec![0x00, 0x80, 0x01];
        long.extend([0; 128]);
        assert_eq!(elements(&long), Some(vec![128]));
    }

    #[test]
    fn a_new_sequence_is_a_key_frame() {
        assert!(is_key_frame(&[0x18, 0x0a]));
        assert!(!is_key_frame(&[0x10, 0x0a]));
        assert!(!is_key_frame(&[0x98, 0x0a]), "a sequence cannot begin within an element");
    }

    #[test]
    fn row_065_missing_lengths_and_elements_past_the_end_are_malformed() {
        for bad in [
            &[][..],
            &[0x08],
            &[0x18],
            &[0x28, 0],
            &[0x28, 1, 0xaa],
            &[0x38, 1, 0xaa, 5, 0xbb],
            &[0x08, 2, 0xaa],
            &[0x08, 0x80],
            &[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x00],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x00],
        ] {
            assert_eq!(elements(bad), None, "{bad:02x?}");
            assert!(!is_key_frame(bad));
        }
        // Seven bytes that say nothing, and an eighth that ends the number.
        assert_eq!(elements(&[0x00, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 0xaa]), Some(vec![1]));
    }
}
