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
        let Some(descriptor) = payload.get_mut(..self.len) else {
            return Err(ParseError::new("VP8 payload shorter than its descriptor", payload.len()));
        };
        if let Some(old) = self.picture_id {
            let at = usize::from(self.picture_id_at);
            let [high, low] = picture_id.to_be_bytes();
            if old.long {
                put(descriptor, at, high | 0x80);
                put(descriptor, at + 1, low);
            } else {
                put(descriptor, at, low & 0x7f);
            }
        }
        if self.tl0_picture_index.is_some() {
            put(descriptor, usize::from(self.tl0_at), tl0_picture_index);
        }
        Ok(())
    }
}

#[inline]
fn put(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(slot) = bytes.get_mut(at) {
        *slot = value;
    }
}

/// Does this payload begin a key frame?
#[inline]
pub fn is_key_frame(payload: &[u8]) -> bool {
    Vp8Descriptor::parse(payload).is_ok_and(|descriptor| descriptor.is_key_frame)
}
