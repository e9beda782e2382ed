//! The numbers of a picture that VP8 (RFC 7741, section 4.2) and VP9 (RFC 9628, section 4.2) write into
//! their payload descriptors, where they are, and the one rewrite of a payload that a forwarder needs.

use super::vp8::PictureId;
use crate::error::ParseError;

/// Picture id and TL0PICIDX of a descriptor, each only if written, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PictureNumbers {
    /// Picture id.
    pub id: Option<PictureId>,
    /// TL0PICIDX.
    pub tl0: Option<u8>,
    /// Offset of the picture id; meaningless without one.
    pub(super) id_at: u8,
    /// Offset of TL0PICIDX; meaningless without one.
    pub(super) tl0_at: u8,
}

impl PictureNumbers {
    /// Writes new numbers in place, each only where there is that field; a picture id of 7 bits stays
    /// one of 7 bits. `payload` is the payload that was parsed, or a copy of it; one that is not long
    /// enough is refused and left as it is.
    #[inline]
    pub fn rewrite(&self, payload: &mut [u8], picture_id: u16, tl0_picture_index: u8) -> Result<(), ParseError> {
        if payload.len() < self.end() {
            return Err(ParseError::new("payload shorter than its descriptor", payload.len()));
        }
        if let Some(old) = self.id {
            let at = usize::from(self.id_at);
            let [high, low] = picture_id.to_be_bytes();
            if old.long {
                put(payload, at, high | 0x80);
                put(payload, at + 1, low);
            } else {
                put(payload, at, low & 0x7f);
            }
        }
        if self.tl0.is_some() {
            put(payload, usize::from(self.tl0_at), tl0_picture_index);
        }
        Ok(())
    }

    /// Bytes that there must be.
    fn end(&self) -> usize {
        let id = self.id.map_or(0, |id| usize::from(self.id_at) + if id.long { 2 } else { 1 });
        let tl0 = self.tl0.map_or(0, |_| usize::from(self.tl0_at) + 1);
        id.max(tl0)
    }
}

#[inline]
fn put(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(slot) = bytes.get_mut(at) {
        *slot = value;
    }
}

#[cfg(test)]
mod tests {
    use crate::codec::vp8::Vp8Descriptor;
    use crate::codec::vp9::Vp9Descriptor;

    #[test]
    fn h14_a_rewrite_checks_the_length_itself() {
        let vp8 = Vp8Descriptor::parse(&[0x90, 0xf0, 0x92, 0x34, 0x56, 0xa7, 0, 1]).unwrap().numbers();
        let vp9 = Vp9Descriptor::parse(&[0xa8, 0x81, 0x02, 0x15, 0x03, 9]).unwrap().numbers();
        for (numbers, end) in [(vp8, 5), (vp9, 5)] {
            for len in 0..=16 {
                let mut payload = vec![0xee; len];
                let verdict = numbers.rewrite(&mut payload, 0x7abc, 0x12);
                assert_eq!(verdict.is_ok(), len >= end, "{len}");
                assert!(verdict.is_ok() || payload.iter().all(|b| *b == 0xee));
                assert!(payload.iter().skip(end).all(|b| *b == 0xee));
            }
        }
    }

    #[test]
    fn vp9_numbers_are_rewritten_where_they_are() {
        for (payload, expected) in [
            (&[0xa8, 0x81, 0x02, 0x15, 0x03, 9][..], &[0xa8, 0xff, 0xfe, 0x15, 0x77, 9][..]),
            (&[0xa8, 0x05, 0x15, 0x03, 9], &[0xa8, 0x7e, 0x15, 0x77, 9]),
            (&[0x28, 0x15, 0x03, 9], &[0x28, 0x15, 0x77, 9]),
            // Flexible mode has no TL0PICIDX.
            (&[0xb8, 0x81, 0x02, 0x15, 9], &[0xb8, 0xff, 0xfe, 0x15, 9]),
            (&[0x08, 9], &[0x08, 9]),
        ] {
            let mut payload = payload.to_vec();
            let numbers = Vp9Descriptor::parse(&payload).unwrap().numbers();
            numbers.rewrite(&mut payload, 0x7ffe, 0x77).unwrap();
            assert_eq!(payload, expected);
        }
    }
}
