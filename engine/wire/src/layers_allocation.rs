//! Video layers allocation, a header extension of WebRTC: what a publisher sends of each layer, and with
//! how much.
//!
//! ```text
//!  0 1 2 3 4 5 6 7
//! +-+-+-+-+-+-+-+-+
//! |RID| NS| sl_bm |   stream of this packet, streams less one, spatial layers of every stream
//! |sl0_bm |sl1_bm |   with sl_bm = 0: spatial layers of each stream, up to four of them
//! |#tl|#tl|#tl|#tl|   temporal layers less one, of each spatial layer, padded to a byte
//! | bitrate, kbit/s, LEB128, of each temporal layer with those below it ...
//! | width less one, height less one, 16 bits each, frames per second, 8 bits: of each spatial
//! |   layer; may be absent
//! +-+-+-+-+-+-+-+-+
//! ```
//!
//! Limits: four streams of four spatial layers of four temporal ones, by the format itself.

use crate::error::ParseError;
use crate::read::{u8_at, u16_at};

/// Most streams, and most spatial layers of one.
const FOUR: usize = 4;
/// Most spatial layers, all streams together.
pub const MAX_LAYERS: usize = FOUR * FOUR;

/// One spatial layer of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LayerAllocation {
    /// Index of the stream, 0 to 3.
    pub stream: u8,
    /// Spatial layer within it, 0 to 3.
    pub spatial: u8,
    /// Temporal layers, 1 to 4.
    pub temporal_layers: u8,
    /// Bit/s of each temporal layer with those below it; 0 beyond the last one.
    pub bitrates: [u64; FOUR],
    /// Width, height and frames per second, if written.
    pub size: Option<(u32, u32, u8)>,
}

/// A parsed allocation. Without layers, nothing is sent at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayersAllocation {
    /// Index of the stream that the packet belongs to.
    pub stream: u8,
    /// Streams, 1 to 4.
    pub stream_count: u8,
    layers: [LayerAllocation; MAX_LAYERS],
    len: u8,
}

impl LayersAllocation {
    /// Reads the value of the extension. What is left over at its end, of a later version, is not
    /// looked at.
    pub fn parse(value: &[u8]) -> Result<Self, ParseError> {
        let short = || ParseError::new("layers allocation too short", value.len());
        let first = u8_at(value, 0).ok_or(short())?;
        let mut this = Self {
            stream: first >> 6,
            stream_count: (first >> 4 & 3) + 1,
            layers: [LayerAllocation::default(); MAX_LAYERS],
            len: 0,
        };
        if value.len() == 1 && first == 0 {
            return Ok(this);
        }
        if this.stream >= this.stream_count {
            return Err(ParseError::new("layers allocation of a stream that it does not have", 0));
        }
        let mut at = 1;
        let mut masks = [first & 15; FOUR];
        if first & 15 == 0 {
            for (index, mask) in masks.iter_mut().enumerate().take(usize::from(this.stream_count)) {
                let byte = u8_at(value, at + index / 2).ok_or(short())?;
                *mask = if index % 2 == 0 { byte >> 4 } else { byte & 15 };
            }
            at += usize::from(this.stream_count).div_ceil(2);
        }
        for (stream, mask) in masks.iter().enumerate().take(usize::from(this.stream_count)) {
            for spatial in (0..4_u8).filter(|spatial| mask >> spatial & 1 == 1) {
                if let Some(layer) = this.layers.get_mut(usize::from(this.len)) {
                    (layer.stream, layer.spatial) = (stream as u8, spatial);
                    this.len += 1;
                }
            }
        }
        at = this.read_temporal(value, at).ok_or(short())?;
        this.read_sizes(value, at)?;
        Ok(this)
    }

    /// Counts of temporal layers, then their bitrates; returns where those end.
    fn read_temporal(&mut self, value: &[u8], mut at: usize) -> Option<usize> {
        let layers = self.layers.get_mut(..usize::from(self.len))?;
        for (index, layer) in layers.iter_mut().enumerate() {
            layer.temporal_layers = (u8_at(value, at + index / 4)? >> (6 - 2 * (index % 4)) & 3) + 1;
        }
        at += layers.len().div_ceil(4);
        for layer in layers {
            for bitrate in layer.bitrates.iter_mut().take(usize::from(layer.temporal_layers)) {
                let (kilobits, len) = read_leb128(value.get(at..)?)?;
                *bitrate = kilobits.saturating_mul(1000);
                at += len;
            }
        }
        Some(at)
    }

    fn read_sizes(&mut self, value: &[u8], mut at: usize) -> Result<(), ParseError> {
        if value.len() <= at {
            return Ok(());
        }
        let short = ParseError::new("layers allocation with a size cut short", value.len());
        for layer in self.layers.iter_mut().take(usize::from(self.len)) {
            let width = u32::from(u16_at(value, at).ok_or(short)?) + 1;
            let height = u32::from(u16_at(value, at + 2).ok_or(short)?) + 1;
            layer.size = Some((width, height, u8_at(value, at + 4).ok_or(short)?));
            at += 5;
        }
        Ok(())
    }

    /// The layers, sorted by stream and spatial layer.
    pub fn layers(&self) -> &[LayerAllocation] {
        self.layers.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

/// A LEB128 number of at most eight bytes, and how many it takes.
fn read_leb128(data: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for index in 0..8 {
        let byte = u8_at(data, index)?;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_of_simulcast_and_of_svc_are_read() {
        // Two streams of one spatial layer each, two and one temporal layers, with sizes.
        let value = [0x51, 0b0100_0000, 100, 0x96, 0x01, 0x80, 0x08, 1, 63, 0, 179, 15, 4, 255, 2, 207, 30];
        let allocation = LayersAllocation::parse(&value).unwrap();
        assert_eq!((allocation.stream, allocation.stream_count), (1, 2));
        let [low, high] = allocation.layers() else { panic!("{allocation:?}") };
        assert_eq!((low.stream, low.spatial, low.temporal_layers), (0, 0, 2));
        assert_eq!((low.bitrates, low.size), ([100_000, 150_000, 0, 0], Some((320, 180, 15))));
        assert_eq!((high.bitrates, high.size), ([1_024_000, 0, 0, 0], Some((1280, 720, 30))));
        // Three spatial layers of one stream, without sizes.
        let svc = LayersAllocation::parse(&[0x07, 0, 10, 20, 30]).unwrap();
        assert_eq!(svc.layers().iter().map(|layer| layer.spatial).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(svc.layers().iter().all(|layer| layer.size.is_none()));
        // Streams that differ: the first is off, the third has two layers.
        let mixed = LayersAllocation::parse(&[0x20, 0x01, 0x30, 0, 1, 2, 3]).unwrap();
        let found: Vec<_> = mixed.layers().iter().map(|layer| (layer.stream, layer.spatial)).collect();
        assert_eq!(found, [(1, 0), (2, 0), (2, 1)]);
        assert_eq!(LayersAllocation::parse(&[0]).unwrap().layers(), []);
    }

    #[test]
    fn row_061_allocations_that_are_cut_short_or_too_long_are_ignored() {
        let whole = [0x51, 0b0100_0000, 100, 0x96, 0x01, 0x80, 0x08, 1, 63, 0, 179, 15, 4, 255, 2, 207, 30];
        for len in (0..whole.len()).filter(|len| *len != 7) {
            assert!(LayersAllocation::parse(&whole[..len]).is_err(), "{len}");
        }
        assert!(LayersAllocation::parse(&[0xc1, 0, 1]).is_err(), "a stream that is not there");
        assert!(LayersAllocation::parse(&[0x01, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0]).is_err());
        for fill in 0..=255 {
            let _ = LayersAllocation::parse(&[fill; 255]);
        }
    }
}
