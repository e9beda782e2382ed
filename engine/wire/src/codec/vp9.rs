//! VP9 payload descriptor (RFC 9628, section 4.2), and the rewrite that a forwarder needs: picture id
//! and TL0PICIDX, where they are. The marker of the highest layer sent is the RTP header's.
//!
//! ```text
//!       0 1 2 3 4 5 6 7
//!      +-+-+-+-+-+-+-+-+
//!      |I|P|L|F|B|E|V|Z|
//! I:   |M| PictureID   |   M=1: 15 bits in two bytes
//! L:   | TID |U| SID |D|
//! F=0: |   TL0PICIDX   |   with L only
//! F=1: | P_DIFF      |N|   with P only, up to three times
//! V:   | N_S |Y|G|-|-|-|   scalability structure:
//!      | width, height |   Y=1: 16 bits each, N_S + 1 times
//!      |      N_G      |   G=1: then N_G times
//!      | TID |U| R |-|-|   and R times P_DIFF in a byte
//!      +-+-+-+-+-+-+-+-+
//! ```

use super::picture::PictureNumbers;
use super::vp8::PictureId;
use crate::error::ParseError;
use crate::read::{u8_at, u16_at};

/// Most spatial layers: three bits of a number.
pub const MAX_SPATIAL_LAYERS: usize = 8;

/// A parsed descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vp9Descriptor {
    /// P: the frame depends on an earlier one.
    pub inter_predicted: bool,
    /// F: flexible mode.
    pub flexible: bool,
    /// B: begins a layer frame.
    pub begins_frame: bool,
    /// E: ends a layer frame.
    pub ends_frame: bool,
    /// Z: no higher spatial layer depends on this one.
    pub not_reference_for_upper: bool,
    /// Picture id, if written.
    pub picture_id: Option<PictureId>,
    /// Layer, if written.
    pub layer: Option<Vp9Layer>,
    /// TL0PICIDX, if written.
    pub tl0_picture_index: Option<u8>,
    /// P_DIFF of flexible mode, 0 for none; up to three.
    pub reference_diffs: [u8; 3],
    /// Scalability structure, if written.
    pub structure: Option<Vp9Structure>,
    /// Bytes of the descriptor: the frame's data follow.
    pub len: usize,
    /// Offset of TL0PICIDX; meaningless without one. A picture id is always at 1.
    tl0_at: u8,
}

/// The layer that a packet belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vp9Layer {
    /// TID.
    pub temporal: u8,
    /// U: one may switch up to this temporal layer here.
    pub switch_up: bool,
    /// SID.
    pub spatial: u8,
    /// D: depends on the spatial layer below, within the picture.
    pub inter_layer: bool,
}

/// What the stream consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vp9Structure {
    /// 1 to 8.
    pub spatial_layers: u8,
    /// Width and height of each layer, if written; zeros beyond the last layer.
    pub resolutions: Option<[(u16, u16); MAX_SPATIAL_LAYERS]>,
    /// Pictures in the group, 0 if the group is not described.
    pub group_len: u8,
}

impl Vp9Descriptor {
    /// Reads a descriptor. Frame data may be absent.
    pub fn parse(payload: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader { payload, at: 0 };
        let flags = reader.u8()?;
        let bit = |mask: u8| flags & mask != 0;
        let (inter_predicted, flexible) = (bit(0x40), bit(0x10));
        let picture_id = if bit(0x80) { Some(reader.picture_id()?) } else { None };
        let mut layer = None;
        let mut tl0_picture_index = None;
        let mut tl0_at = 0;
        if bit(0x20) {
            let byte = reader.u8()?;
            layer = Some(Vp9Layer {
                temporal: byte >> 5,
                switch_up: byte & 0x10 != 0,
                spatial: byte >> 1 & 7,
                inter_layer: byte & 1 != 0,
            });
            if !flexible {
                // Behind one byte of flags, at most two of picture id, and one of layer.
                tl0_at = reader.at as u8;
                tl0_picture_index = Some(reader.u8()?);
            }
        }
        let reference_diffs = if flexible && inter_predicted { reader.reference_diffs()? } else { [0; 3] };
        let structure = if bit(0x02) { Some(reader.structure()?) } else { None };
        Ok(Self {
            inter_predicted,
            flexible,
            begins_frame: bit(0x08),
            ends_frame: bit(0x04),
            not_reference_for_upper: bit(0x01),
            picture_id,
            layer,
            tl0_picture_index,
            reference_diffs,
            structure,
            len: reader.at,
            tl0_at,
        })
    }

    /// Writes new numbers in place, each only where the descriptor has that field; a picture id of
    /// 7 bits stays one of 7 bits. References are distances and stay true. `payload` is the payload
    /// that was parsed, or a copy of it; one that is not long enough is refused and left as it is.
    #[inline]
    pub fn rewrite_picture_id(
        &self,
        payload: &mut [u8],
        picture_id: u16,
        tl0_picture_index: u8,
    ) -> Result<(), ParseError> {
        if payload.len() < self.len {
            return Err(ParseError::new("VP9 payload shorter than its descriptor", payload.len()));
        }
        self.numbers().rewrite(payload, picture_id, tl0_picture_index)
    }

    /// The numbers of the picture.
    #[inline]
    pub fn numbers(&self) -> PictureNumbers {
        PictureNumbers { id: self.picture_id, tl0: self.tl0_picture_index, id_at: 1, tl0_at: self.tl0_at }
    }

    /// Begins a key frame: a frame of the lowest spatial layer that depends on nothing.
    #[inline]
    pub fn is_key_frame(&self) -> bool {
        let lowest = self.layer.is_none_or(|layer| layer.spatial == 0);
        !self.inter_predicted && self.begins_frame && lowest
    }
}

/// Does this payload begin a key frame?
#[inline]
pub fn is_key_frame(payload: &[u8]) -> bool {
    Vp9Descriptor::parse(payload).is_ok_and(|descriptor| descriptor.is_key_frame() && payload.len() > descriptor.len)
}

struct Reader<'a> {
    payload: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    #[inline]
    fn u8(&mut self) -> Result<u8, ParseError> {
        let byte = u8_at(self.payload, self.at).ok_or(self.short())?;
        self.at += 1;
        Ok(byte)
    }

    fn short(&self) -> ParseError {
        ParseError::new("VP9 descriptor too short", self.at)
    }

    fn picture_id(&mut self) -> Result<PictureId, ParseError> {
        let high = self.u8()?;
        let long = high & 0x80 != 0;
        let value = if long { u16::from_be_bytes([high & 0x7f, self.u8()?]) } else { u16::from(high) };
        Ok(PictureId { value, long })
    }

    /// Up to three differences; a fourth and a difference of 0 are malformed.
    fn reference_diffs(&mut self) -> Result<[u8; 3], ParseError> {
        let mut diffs = [0; 3];
        for slot in &mut diffs {
            let byte = self.u8()?;
            *slot = byte >> 1;
            if *slot == 0 {
                return Err(ParseError::new("VP9 reference to itself", self.at - 1));
            }
            if byte & 1 == 0 {
                return Ok(diffs);
            }
        }
        Err(ParseError::new("VP9 references more than three", self.at - 1))
    }

    fn structure(&mut self) -> Result<Vp9Structure, ParseError> {
        let head = self.u8()?;
        let spatial_layers = (head >> 5) + 1;
        let mut resolutions = None;
        if head & 0x10 != 0 {
            let mut sizes = [(0, 0); MAX_SPATIAL_LAYERS];
            for size in sizes.iter_mut().take(usize::from(spatial_layers)) {
                let width = u16_at(self.payload, self.at).ok_or(self.short())?;
                let height = u16_at(self.payload, self.at + 2).ok_or(self.short())?;
                *size = (width, height);
                self.at += 4;
            }
            resolutions = Some(sizes);
        }
        let group_len = if head & 0x08 != 0 { self.u8()? } else { 0 };
        for _ in 0..group_len {
            let references = usize::from(self.u8()? >> 2 & 3);
            for _ in 0..references {
                if self.u8()? == 0 {
                    return Err(ParseError::new("VP9 reference to itself", self.at - 1));
                }
            }
        }
        Ok(Vp9Structure { spatial_layers, resolutions, group_len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_frame_of_a_layered_stream_is_read() {
        let payload = [0xaa, 0x81, 0x02, 0x15, 0x03, 0x38, 0, 1, 0, 2, 0, 3, 0, 4, 2, 0x04, 0x02, 0x20, 0x99];
        let descriptor = Vp9Descriptor::parse(&payload).unwrap();
        assert_eq!(descriptor.picture_id, Some(PictureId { value: 0x102, long: true }));
        let layer = Vp9Layer { temporal: 0, switch_up: true, spatial: 2, inter_layer: true };
        assert_eq!((descriptor.layer, descriptor.tl0_picture_index), (Some(layer), Some(3)));
        let structure = descriptor.structure.unwrap();
        assert_eq!((structure.spatial_layers, structure.group_len), (2, 2));
        assert_eq!(structure.resolutions.unwrap()[..3], [(1, 2), (3, 4), (0, 0)]);
        assert_eq!(descriptor.len, payload.len() - 1);
        assert!(!descriptor.is_key_frame(), "a spatial layer that is not the lowest");
        let mut lowest = payload;
        lowest[3] = 0x10;
        assert!(is_key_frame(&lowest));
        assert!(!is_key_frame(&lowest[..18]), "no data");
        lowest[0] |= 0x40;
        assert!(!is_key_frame(&lowest), "inter-predicted");
    }

    #[test]
    fn row_063_numbers_are_rewritten_where_they_are() {
        for payload in [
            &[0xaa, 0x81, 0x02, 0x15, 0x03, 0x00, 0x99][..],
            &[0xa0, 0x22, 0x15, 0x03, 0x99],
            &[0xb0, 0x81, 0x02, 0x15, 0x99],
            &[0x20, 0x15, 0x03],
            &[0x80, 0x7f],
            &[0x00, 0x99],
        ] {
            let before = Vp9Descriptor::parse(payload).unwrap();
            let mut copy = payload.to_vec();
            before.rewrite_picture_id(&mut copy, 0x3456, 0x78).unwrap();
            let after = Vp9Descriptor::parse(&copy).unwrap();
            let expected = Vp9Descriptor {
                picture_id: before
                    .picture_id
                    .map(|id| PictureId { value: if id.long { 0x3456 } else { 0x56 }, long: id.long }),
                tl0_picture_index: before.tl0_picture_index.map(|_| 0x78),
                ..before
            };
            assert_eq!(after, expected, "{payload:02x?}");
            for len in 0..before.len {
                let mut short = payload[..len].to_vec();
                assert!(before.rewrite_picture_id(&mut short, 1, 1).is_err());
                assert_eq!(short, payload[..len]);
            }
        }
    }

    #[test]
    fn row_063_structures_are_as_long_as_they_say() {
        // Eight layers with sizes, 255 pictures of three references each.
        let mut payload = vec![0x0a, 0xf8];
        payload.extend([0, 1].repeat(16));
        payload.push(255);
        payload.extend([0x0c, 1, 2, 3].repeat(255));
        payload.push(0x55);
        let whole = payload.len() - 1;
        let descriptor = Vp9Descriptor::parse(&payload).unwrap();
        assert_eq!((descriptor.len, descriptor.structure.unwrap().spatial_layers), (whole, 8));
        for len in 0..whole {
            assert!(Vp9Descriptor::parse(&payload[..len]).is_err(), "{len}");
            assert!(!is_key_frame(&payload[..len]));
        }
        payload[36] = 0;
        assert!(Vp9Descriptor::parse(&payload).is_err(), "a reference to itself");
    }

    #[test]
    fn row_063_flexible_mode_has_one_to_three_references() {
        assert_eq!(Vp9Descriptor::parse(&[0x50, 0x02]).unwrap().reference_diffs, [1, 0, 0]);
        assert_eq!(Vp9Descriptor::parse(&[0x50, 0x03, 0x05, 0x06]).unwrap().reference_diffs, [1, 2, 3]);
        assert!(Vp9Descriptor::parse(&[0x50, 0x00]).is_err(), "a reference to itself");
        assert!(Vp9Descriptor::parse(&[0x50, 0x03, 0x03, 0x03, 0x02]).is_err(), "four references");
        assert!(Vp9Descriptor::parse(&[0x50, 0x03, 0x03]).is_err());
        assert_eq!(Vp9Descriptor::parse(&[0x10]).unwrap().len, 1, "flexible and not predicted");
        let flexible = Vp9Descriptor::parse(&[0x30, 0xee]).unwrap();
        assert_eq!((flexible.tl0_picture_index, flexible.len), (None, 2));
        assert_eq!(flexible.layer.map(|layer| (layer.temporal, layer.spatial)), Some((7, 7)));
    }
}
