//! Bounds-checked big-endian reading and writing. The only place of this floor that turns an offset
//! into a number, so that no parser needs an index that could panic.

use crate::error::ParseError;

#[inline]
pub(crate) fn u8_at(data: &[u8], at: usize) -> Option<u8> {
    data.get(at).copied()
}

#[inline]
pub(crate) fn array_at<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    let end = at.checked_add(N)?;
    data.get(at..end)?.try_into().ok()
}

#[inline]
pub(crate) fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    array_at(data, at).map(u16::from_be_bytes)
}

#[inline]
pub(crate) fn u24_at(data: &[u8], at: usize) -> Option<u32> {
    array_at(data, at).map(|[a, b, c]: [u8; 3]| u32::from_be_bytes([0, a, b, c]))
}

#[inline]
pub(crate) fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    array_at(data, at).map(u32::from_be_bytes)
}

#[inline]
pub(crate) fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    array_at(data, at).map(u64::from_be_bytes)
}

/// Appends into a borrowed slice and remembers the first overflow, so that builders check once.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    buf: &'a mut [u8],
    at: usize,
    overflow: bool,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, at: 0, overflow: false }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let end = self.at.saturating_add(bytes.len());
        match self.buf.get_mut(self.at..end) {
            Some(slot) if !self.overflow => {
                slot.copy_from_slice(bytes);
                self.at = end;
            }
            _ => self.overflow = true,
        }
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    /// The low 24 bits.
    pub(crate) fn u24(&mut self, value: u32) {
        let [_, a, b, c] = value.to_be_bytes();
        self.bytes(&[a, b, c]);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// Zeros up to the next multiple of four.
    pub(crate) fn pad4(&mut self) {
        while !self.at.is_multiple_of(4) && !self.overflow {
            self.u8(0);
        }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn written(&self) -> &[u8] {
        self.buf.get(..self.at).unwrap_or(&[])
    }

    /// Overwrites two bytes that were written before.
    pub(crate) fn patch_u16(&mut self, at: usize, value: u16) {
        if let Some(slot) = self.buf.get_mut(at..at.saturating_add(2)) {
            slot.copy_from_slice(&value.to_be_bytes());
        }
    }

    pub(crate) fn fail(&mut self) {
        self.overflow = true;
    }

    pub(crate) fn finish(self) -> Result<usize, ParseError> {
        if self.overflow {
            Err(ParseError::new("value or slice too small for the other", self.at))
        } else {
            Ok(self.at)
        }
    }
}
