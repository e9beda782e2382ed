//! Bits, most significant first, as the dependency descriptor and the layers allocation are written.
//! A reader never passes its end, a writer remembers the first overflow.

use crate::error::ParseError;

/// Reads a borrowed slice bit by bit.
#[derive(Debug, Clone)]
pub(crate) struct BitReader<'a> {
    data: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// The next `count` bits, at most 32, as a number.
    #[inline]
    pub(crate) fn bits(&mut self, count: u32) -> Result<u32, ParseError> {
        debug_assert!(count <= 32);
        let end = self.at + count as usize;
        if end > 8 * self.data.len() {
            return Err(ParseError::new("bits past the end", self.data.len()));
        }
        let first = self.at / 8;
        let mut value = 0_u64;
        for byte in self.data.iter().skip(first).take(end.div_ceil(8) - first) {
            value = value << 8 | u64::from(*byte);
        }
        self.at = end;
        let value = value >> (8 * end.div_ceil(8) - end);
        Ok((value & ((1 << count) - 1)) as u32)
    }

    #[inline]
    pub(crate) fn flag(&mut self) -> Result<bool, ParseError> {
        Ok(self.bits(1)? == 1)
    }

    /// `ns(n)`: a number below `n`, which is not 0, in as few bits as that takes (AV1, section 4.10.7).
    #[inline]
    pub(crate) fn below(&mut self, n: u32) -> Result<u32, ParseError> {
        let (width, short) = non_symmetric(n);
        let value = self.bits(width - 1)?;
        if value < short {
            return Ok(value);
        }
        Ok((value << 1) - short + self.bits(1)?)
    }

    /// Offset of the byte that is read next, for errors.
    pub(crate) fn byte(&self) -> usize {
        self.at / 8
    }
}

/// Width of `n` in bits, and how many of the numbers below it take one bit less.
#[inline]
const fn non_symmetric(n: u32) -> (u32, u32) {
    let width = u32::BITS - n.leading_zeros();
    (width, ((1_u64 << width) - n as u64) as u32)
}

/// Writes into a borrowed slice bit by bit.
#[derive(Debug)]
pub(crate) struct BitWriter<'a> {
    buf: &'a mut [u8],
    at: usize,
    overflow: bool,
}

impl<'a> BitWriter<'a> {
    pub(crate) fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, at: 0, overflow: false }
    }

    /// The low `count` bits, at most 32.
    #[inline]
    pub(crate) fn bits(&mut self, value: u32, count: u32) {
        debug_assert!(count <= 32 && (count == 32 || value >> count == 0));
        let mut left = count;
        while left > 0 {
            let Some(byte) = self.buf.get_mut(self.at / 8) else {
                self.overflow = true;
                return;
            };
            let used = (self.at % 8) as u32;
            if used == 0 {
                *byte = 0;
            }
            let take = left.min(8 - used);
            let piece = (u64::from(value) >> (left - take)) as u8 & ((1_u16 << take) - 1) as u8;
            *byte |= piece << (8 - used - take);
            self.at += take as usize;
            left -= take;
        }
    }

    #[inline]
    pub(crate) fn flag(&mut self, value: bool) {
        self.bits(u32::from(value), 1);
    }

    /// As [`BitReader::below`].
    #[inline]
    pub(crate) fn below(&mut self, value: u32, n: u32) {
        let (width, short) = non_symmetric(n);
        if value < short {
            self.bits(value, width - 1);
        } else {
            self.bits(value + short, width);
        }
    }

    /// Bytes written; the last one is filled up with zeros.
    pub(crate) fn finish(self) -> Result<usize, ParseError> {
        if self.overflow {
            return Err(ParseError::new("slice too small for the bits", self.buf.len()));
        }
        Ok(self.at.div_ceil(8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_below_a_bound_take_as_few_bits_as_the_specification_says() {
        // AV1, section 4.10.7: for n = 5 the values are 00, 01, 10, 110 and 111.
        let mut buf = [0xff; 2];
        let mut out = BitWriter::new(&mut buf);
        (0..5).for_each(|value| out.below(value, 5));
        assert_eq!(out.finish(), Ok(2));
        assert_eq!(buf, [0b0001_1011, 0b0111_0000]);
        let mut reader = BitReader::new(&buf);
        assert_eq!((0..5).map(|_| reader.below(5).unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(BitReader::new(&[]).below(1), Ok(0), "one possible number needs no bit");
    }

    #[test]
    fn a_reader_stops_at_its_end() {
        let mut reader = BitReader::new(&[0xa5, 0xf0]);
        assert_eq!((reader.bits(3), reader.bits(9)), (Ok(5), Ok(0b0_0101_1111)));
        assert!(reader.bits(5).is_err());
        assert_eq!(reader.bits(4), Ok(0));
        assert!(reader.flag().is_err());
        assert_eq!(reader.bits(0), Ok(0));
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(parts in proptest::collection::vec((0..=u32::MAX, 1..=32_u32, 1..=100_u32), 0..60)) {
            let mut buf = [0xee; 600];
            let mut out = BitWriter::new(&mut buf);
            for (value, width, bound) in &parts {
                out.bits((u64::from(*value) & ((1 << width) - 1)) as u32, *width);
                out.below(value % bound, *bound);
            }
            let len = out.finish().unwrap();
            let mut reader = BitReader::new(&buf[..len]);
            for (value, width, bound) in &parts {
                assert_eq!(reader.bits(*width), Ok((u64::from(*value) & ((1 << width) - 1)) as u32));
                assert_eq!(reader.below(*bound), Ok(value % bound));
            }
            for short in 0..len {
                let mut out = BitWriter::new(&mut buf[..short]);
                for (value, width, bound) in &parts {
                    out.bits((u64::from(*value) & ((1 << width) - 1)) as u32, *width);
                    out.below(value % bound, *bound);
                }
                assert!(out.finish().is_err());
            }
        }
    }
}
