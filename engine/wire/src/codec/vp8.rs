//! VP8 payload descriptor (RFC 7741, section 4.2), and the one rewrite that a forwarder needs.
//!
//! ```text
//!      0 1 2 3 4 5 6 7
//!     +-+-+-+-+-+-+-+-+
//!     |X|R|N|S|R| PID |
//! X:  |I|L|T|K| RSV   |
//! I:  |M| PictureID   |   M=1: 15 bits in two bytes
//! L:  |   TL0PICIDX   |
//! T/K:|TID|Y| KEYIDX  |
//!     +-+-+-+-+-+-+-+-+
//! ```

use super::picture::PictureNumbers;
use crate::error::ParseError;
use crate::read::u8_at;

/// A picture id, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureId {
    /// 7 or 15 bits.
    pub value: u16,
    /// Written in 15 bits.
    pub long: bool,
}

/// A parsed descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vp8Descriptor {
    /// N: no other frame depends on this one.
    pub non_reference: bool,
    /// S: begins a partition.
    pub start_of_partition: bool,
    /// PID: which partition.
    pub partition: u8,
    /// Picture id, if written.
    pub picture_id: Option<PictureId>,
    /// TL0PICIDX, if written.
    pub tl0_picture_index: Option<u8>,
    /// TID, if written.
    pub temporal_layer: Option<u8>,
    /// Y: depends on the base layer only.
    pub layer_sync: bool,
    /// KEYIDX, if written.
    pub key_index: Option<u8>,
    /// Begins a key frame: first partition of a frame whose P bit is 0.
    pub is_key_frame: bool,
    /// Bytes of the descriptor: the frame's data follow.
    pub len: usize,
    /// Offset of the picture id; meaningless without one.
    picture_id_at: u8,
    /// Offset of TL0PICIDX; meaningless without one.
    tl0_at: u8,
}

impl Vp8Descriptor {
    /// Reads a descriptor. Frame data may be absent.
    #[inline]
    pub fn parse(payload: &[u8]) -> Result<Self, ParseError> {
        let short = ParseError::new("VP8 descriptor too short", payload.len());
        let first = u8_at(payload, 0).ok_or(short)?;
        let mut this = Self {
            non_reference: first & 0x20 != 0,
            start_of_partition: first & 0x10 != 0,
            partition: first & 0x07,
            picture_id: None,
            tl0_picture_index: None,
            temporal_layer: None,
            layer_sync: false,
            key_index: None,
            is_key_frame: false,
            len: 1,
            picture_id_at: 0,
            tl0_at: 0,
        };
        if first & 0x80 != 0 {
            let flags = u8_at(payload, 1).ok_or(short)?;
            let mut at = 2;
            if flags & 0x80 != 0 {
                let high = u8_at(payload, at).ok_or(short)?;
                this.picture_id_at = at as u8;
                let long = high & 0x80 != 0;
                let value = if long {
                    at += 1;
                    u16::from_be_bytes([high & 0x7f, u8_at(payload, at).ok_or(short)?])
                } else {
                    u16::from(high)
                };
                at += 1;
                this.picture_id = Some(PictureId { value, long });
            }
            if flags & 0x40 != 0 {
                this.tl0_at = at as u8;
                this.tl0_picture_index = Some(u8_at(payload, at).ok_or(short)?);
                at += 1;
            }
            if flags & 0x30 != 0 {
                let byte = u8_at(payload, at).ok_or(short)?;
                if flags & 0x20 != 0 {
                    this.temporal_layer = Some(byte >> 6);
                    this.layer_sync = byte & 0x20 != 0;
                }
                if flags & 0x10 != 0 {
                    this.key_index = Some(byte & 0x1f);
                }
                at += 1;
            }
            this.len = at;
        }
        // The frame's first byte ends with the inverse key-frame bit (RFC 7741, section 4.3).
        let inter = u8_at(payload, this.len).is_none_or(|byte| byte & 1 != 0);
        this.is_key_frame = this.start_of_partition && this.partition == 0 && !inter;
        Ok(this)
    }

    /// Writes new numbers in place, each only where the descriptor has that field; a picture id of
    /// 7 bits stays one of 7 bits. `payload` is the payload that was parsed, or a copy of it; one
    /// that is not long enough is refused and left as it is.
    #[inline]
    pub fn rewrite_picture_id(
        &self,
        payload: &mut [u8],
        picture_id: u16,
        tl0_picture_index: u8,
    ) -> Result<(), ParseError> {
        if payload.len() < self.len {
            return Err(ParseError::new("VP8 payload shorter than its descriptor", payload.len()));
        }
        self.numbers().rewrite(payload, picture_id, tl0_picture_index)
    }

    /// The numbers of the picture.
    #[inline]
    pub fn numbers(&self) -> PictureNumbers {
        PictureNumbers {
            id: self.picture_id,
            tl0: self.tl0_picture_index,
            id_at: self.picture_id_at,
            tl0_at: self.tl0_at,
        }
    }
}

/// Does this payload begin a key frame?
#[inline]
pub fn is_key_frame(payload: &[u8]) -> bool {
    Vp8Descriptor::parse(payload).is_ok_and(|descriptor| descriptor.is_key_frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fields_are_read_and_rewritten_where_they_are() {
        let mut payload = [0x90, 0xf0, 0x92, 0x34, 0x56, 0xa7, 0x00, 0x01];
        let descriptor = Vp8Descriptor::parse(&payload).unwrap();
        assert_eq!(descriptor.picture_id, Some(PictureId { value: 0x1234, long: true }));
        assert_eq!((descriptor.tl0_picture_index, descriptor.temporal_layer), (Some(0x56), Some(2)));
        assert_eq!((descriptor.layer_sync, descriptor.key_index, descriptor.len), (true, Some(7), 6));
        assert!(descriptor.is_key_frame);
        descriptor.rewrite_picture_id(&mut payload, 0x7fff, 0).unwrap();
        assert_eq!(payload, [0x90, 0xf0, 0xff, 0xff, 0x00, 0xa7, 0x00, 0x01]);
    }

    #[test]
    fn a_key_frame_begins_with_the_first_partition_of_a_frame_without_the_inter_bit() {
        assert!(is_key_frame(&[0x10, 0x00]));
        assert!(!is_key_frame(&[0x10, 0x01]), "inter frame");
        assert!(!is_key_frame(&[0x00, 0x00]), "not the start of a partition");
        assert!(!is_key_frame(&[0x11, 0x00]), "second partition");
        assert!(!is_key_frame(&[0x10]), "no data");
    }

    #[test]
    fn row_062_short_descriptors_and_odd_flags() {
        for flags in 0..=255_u8 {
            let payload = [0x90, flags, 0x81, 2, 3, 4, 0];
            let fields = [flags & 0x80 != 0, flags & 0x80 != 0, flags & 0x40 != 0, flags & 0x30 != 0];
            let expected = 2 + fields.iter().filter(|field| **field).count();
            let descriptor = Vp8Descriptor::parse(&payload).unwrap();
            assert_eq!(descriptor.len, expected, "{flags:#x}");
            for len in 0..payload.len() {
                assert_eq!(Vp8Descriptor::parse(&payload[..len]).is_ok(), len >= expected, "{flags:#x} {len}");
            }
            // T without K and K without T share one byte.
            assert_eq!(descriptor.temporal_layer.is_some(), flags & 0x20 != 0);
            assert_eq!(descriptor.key_index.is_some(), flags & 0x10 != 0);
        }
    }

    #[test]
    fn row_062_a_picture_id_of_seven_bits_stays_one() {
        let mut payload = [0x90, 0x80, 0x7f, 0x00];
        let descriptor = Vp8Descriptor::parse(&payload).unwrap();
        assert_eq!(descriptor.picture_id, Some(PictureId { value: 0x7f, long: false }));
        descriptor.rewrite_picture_id(&mut payload, 0x1ff, 9).unwrap();
        assert_eq!(payload, [0x90, 0x80, 0x7f, 0x00]);
        descriptor.rewrite_picture_id(&mut payload, 0x180, 9).unwrap();
        assert_eq!(payload, [0x90, 0x80, 0x00, 0x00]);
    }

    #[test]
    fn h14_a_rewrite_checks_the_length_itself() {
        let payload = [0x90, 0xf0, 0x92, 0x34, 0x56, 0xa7, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        let longest = Vp8Descriptor::parse(&payload).unwrap();
        for first in [0x00, 0x10, 0x80, 0x90] {
            for flags in 0..=255_u8 {
                for len in 0..=16 {
                    let mut bytes = payload[..len].to_vec();
                    for (slot, value) in bytes.iter_mut().zip([first, flags]) {
                        *slot = value;
                    }
                    crate::fuzz::vp8(&bytes);
                    let before = bytes.clone();
                    // A descriptor of another packet: refused, or within the six bytes that it names.
                    match longest.rewrite_picture_id(&mut bytes, 1, 2) {
                        Ok(()) => assert!(len >= 6 && bytes[6..] == before[6..]),
                        Err(_) => assert!(len < 6 && bytes == before),
                    }
                }
            }
        }
    }
}
