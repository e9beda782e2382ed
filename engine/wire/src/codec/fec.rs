//! Headers of forward error correction: ULPFEC (RFC 5109, section 7.3), FlexFEC (RFC 8627, section 4.2.2), and FlexFEC in
//! the form of draft 03, which is what browsers send and call `flexfec-03`; and the parity of packets, which both have alike.
//!
//! ```text
//! ULPFEC       |E|L|P|X|  CC   |M| PT recovery |           SN base             |
//!              |                          TS recovery                          |
//!              |        length recovery        |       protection length       |
//!              |  mask, 16 bits (L=0) or 48 (L=1)
//! FlexFEC      |R|F|P|X|  CC   |M| PT recovery |        length recovery        |
//!              |                          TS recovery                          |
//!              |  SSRC count   |                    reserved                   |
//!              |                             SSRC                              |
//!              |           SN base             |K|        mask, 15 bits        |
//!              |K|              mask, 31 more bits                             |  if the first K is 0
//!              |K|              mask, 63 more bits ...                         |  if the second K is 0
//! RFC 8627     |R|F|P|X|  CC   |M| PT recovery |        length recovery        |
//!              |                          TS recovery                          |
//!              |           SN base             |K|        mask, 15 bits        |
//!              |K|              mask, 31 more bits                             |  if the first K is 1
//!              |                mask, 64 more bits ...                         |  if the second K is 1
//! ```
//!
//! A forwarder does not recover anything. It has to know which packets a repair packet is about: their bytes are others
//! for each receiver, and so is their [`Parity`]. Limits: masks of 110 packets, of 48 for what is written. A FlexFEC header
//! with the R bit (a retransmission), with the F bit (rows and columns) or of several sources is left opaque: browsers
//! send none of these. RFC 8627 names the protected streams in the CSRC list of the packet, which is not part of the payload.

use crate::error::ParseError;
use crate::read::{array_at, u8_at, u16_at, u32_at, u64_at};

/// Which packets a repair packet protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protection {
    /// The protected stream, where the header says it.
    pub ssrc: Option<u32>,
    /// Sequence number that the mask counts from.
    pub base_sequence: u16,
    /// Bit k from the top: the packet `base_sequence + k`.
    mask: u128,
    /// Offset of the base sequence number in the payload.
    pub base_at: usize,
    /// Bytes of the header: repair data follow.
    pub len: usize,
}

impl Protection {
    /// Reads a ULPFEC header. A mask that covers nothing and a reserved E bit are malformed.
    pub fn parse_ulpfec(payload: &[u8]) -> Result<Self, ParseError> {
        let short = ParseError::new("ULPFEC header too short", payload.len());
        let first = u8_at(payload, 0).ok_or(short)?;
        if first & 0x80 != 0 {
            return Err(ParseError::new("ULPFEC extension bit reserved", 0));
        }
        let base_sequence = u16_at(payload, 2).ok_or(short)?;
        let (mask, len) = if first & 0x40 == 0 {
            (u128::from(u16_at(payload, 12).ok_or(short)?) << 112, 14)
        } else {
            let [a, b, c, d, e, f] = array_at(payload, 12).ok_or(short)?;
            (u128::from(u64::from_be_bytes([0, 0, a, b, c, d, e, f])) << 80, 18)
        };
        Self { ssrc: None, base_sequence, mask, base_at: 2, len }.checked(payload)
    }

    /// Reads a FlexFEC header. `None`: well-formed as far as that goes, but of a kind
    /// that is left opaque.
    pub fn parse_flexfec(payload: &[u8]) -> Result<Option<Self>, ParseError> {
        let short = ParseError::new("FlexFEC header too short", payload.len());
        let (first, sources) = (u8_at(payload, 0).ok_or(short)?, u8_at(payload, 8).ok_or(short)?);
        if first & 0xc0 != 0 || sources != 1 {
            return if payload.len() < 12 { Err(short) } else { Ok(None) };
        }
        let ssrc = u32_at(payload, 12).ok_or(short)?;
        let base_sequence = u16_at(payload, 16).ok_or(short)?;
        let (mask, len) = flexible_mask(payload, 18).ok_or(short)?;
        Self { ssrc: Some(ssrc), base_sequence, mask, base_at: 16, len }.checked(payload).map(Some)
    }

    /// Reads a FlexFEC header as RFC 8627 has it. `None` as for [`Protection::parse_flexfec`].
    pub fn parse_flexfec_rfc(payload: &[u8]) -> Result<Option<Self>, ParseError> {
        let short = ParseError::new("FlexFEC header too short", payload.len());
        if u8_at(payload, 0).ok_or(short)? & 0xc0 != 0 {
            return if payload.len() < 12 { Err(short) } else { Ok(None) };
        }
        let base_sequence = u16_at(payload, 8).ok_or(short)?;
        let first = u16_at(payload, 10).ok_or(short)?;
        let mut mask = u128::from(first & 0x7fff) << 113;
        let mut len = 12;
        if first & 0x8000 != 0 {
            let second = u32_at(payload, len).ok_or(short)?;
            mask |= u128::from(second & 0x7fff_ffff) << 82;
            len += 4;
            if second & 0x8000_0000 != 0 {
                mask |= u128::from(u64_at(payload, len).ok_or(short)?) << 18;
                len += 8;
            }
        }
        Self { ssrc: None, base_sequence, mask, base_at: 8, len }.checked(payload).map(Some)
    }

    fn checked(self, payload: &[u8]) -> Result<Self, ParseError> {
        if self.mask == 0 {
            return Err(ParseError::new("FEC mask covers nothing", self.base_at));
        }
        if self.len > payload.len() {
            return Err(ParseError::new("FEC header past the end", payload.len()));
        }
        Ok(self)
    }

    /// Sequence numbers of the protected packets, at most 110.
    pub fn sequences(&self) -> impl Iterator<Item = u16> + use<> {
        let (base, mask) = (self.base_sequence, self.mask);
        (0..128_u16).filter(move |bit| mask >> (127 - bit) & 1 == 1).map(move |bit| base.wrapping_add(bit))
    }

    /// How far the last protected packet is from the base.
    pub fn span(&self) -> u16 {
        127 - self.mask.trailing_zeros() as u16
    }

    /// Writes another base sequence number in place. `payload` is the payload that was parsed, or a
    /// copy of it; one that is not long enough is left as it is.
    pub fn rewrite_base(&self, payload: &mut [u8], base_sequence: u16) {
        if let Some(slot) = payload.get_mut(self.base_at..self.base_at + 2) {
            slot.copy_from_slice(&base_sequence.to_be_bytes());
        }
    }

    /// Writes another protected SSRC in place, where the header has one.
    pub fn rewrite_ssrc(&self, payload: &mut [u8], ssrc: u32) {
        if let Some(slot) = payload.get_mut(12..16).filter(|_| self.ssrc.is_some()) {
            slot.copy_from_slice(&ssrc.to_be_bytes());
        }
    }
}

/// The parity of packets, packet by packet: what ULPFEC and FlexFEC protect them with. Numbers grow, and are within 48 of the first.
#[derive(Debug)]
pub struct Parity<'a> {
    /// The first two bytes of the header: P, X, CC, M, PT.
    bits: [u8; 2],
    length: u16,
    timestamp: u32,
    base: Option<u16>,
    mask: u64,
    body: &'a mut [u8],
    len: usize,
}

impl<'a> Parity<'a> {
    /// Of nothing yet; `body` is where the parity of what follows the fixed headers grows.
    pub fn new(body: &'a mut [u8]) -> Self {
        Self { bits: [0; 2], length: 0, timestamp: 0, base: None, mask: 0, body, len: 0 }
    }

    /// Adds a packet, which may lie in two pieces, the fixed header in the first. `false`, and nothing is changed: it
    /// does not fit.
    pub fn add(&mut self, head: &[u8], tail: &[u8]) -> bool {
        let (Some(&[first, second]), Some(sequence), Some(timestamp), Some(rest)) =
            (head.first_chunk(), u16_at(head, 2), u32_at(head, 4), head.get(12..))
        else {
            return false;
        };
        let ahead = sequence.wrapping_sub(self.base.unwrap_or(sequence));
        let len = rest.len() + tail.len();
        if ahead > 47 || len > self.body.len() || len > usize::from(u16::MAX) {
            return false;
        }
        self.base.get_or_insert(sequence);
        self.mask |= 1 << (47 - ahead);
        self.bits = [self.bits[0] ^ first & 0x3f, self.bits[1] ^ second];
        self.length ^= len as u16;
        self.timestamp ^= timestamp;
        if let Some(fresh) = self.body.get_mut(self.len..len) {
            fresh.fill(0);
        }
        self.len = self.len.max(len);
        let bytes = rest.iter().chain(tail);
        self.body.iter_mut().zip(bytes).for_each(|(parity, byte)| *parity ^= byte);
        true
    }

    /// Bytes that [`Parity::write_ulpfec`] needs; `None` without a packet.
    pub fn ulpfec_len(&self) -> Option<usize> {
        self.base?;
        Some(if self.is_long() { 18 } else { 14 } + self.len)
    }

    /// Writes a ULPFEC payload: the header with one level of protection, and the parity. `None` without room, or without a packet.
    pub fn write_ulpfec(&self, out: &mut [u8]) -> Option<usize> {
        let (base, len) = (self.base?, self.ulpfec_len()?);
        let (header, body) = out.get_mut(..len)?.split_at_mut(len - self.len);
        header[0] = self.bits[0] | if self.is_long() { 0x40 } else { 0 };
        header[1] = self.bits[1];
        header[2..4].copy_from_slice(&base.to_be_bytes());
        header[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        header[8..10].copy_from_slice(&self.length.to_be_bytes());
        header[10..12].copy_from_slice(&(self.len as u16).to_be_bytes());
        let mask = (self.mask << 16).to_be_bytes();
        header[12..].iter_mut().zip(mask).for_each(|(out, byte)| *out = byte);
        body.copy_from_slice(self.body.get(..self.len)?);
        Some(len)
    }

    /// Bytes that [`Parity::write_flexfec`] needs; `None` without a packet.
    pub fn flexfec_len(&self) -> Option<usize> {
        self.base?;
        let parts = [18 + 2, 18 + 6, 18 + 14];
        Some(parts.get(self.flexible_parts()).copied()? + self.len)
    }

    /// Writes a FlexFEC payload as draft 03 has it, about packets of one stream: the header, with the mask in as few parts as it
    /// fits, and the parity. `None` without room, or without a packet.
    pub fn write_flexfec(&self, out: &mut [u8], ssrc: u32) -> Option<usize> {
        let (base, len) = (self.base?, self.flexfec_len()?);
        let (header, body) = out.get_mut(..len)?.split_at_mut(len - self.len);
        header[0] = self.bits[0];
        header[1] = self.bits[1];
        header[2..4].copy_from_slice(&self.length.to_be_bytes());
        header[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        header[8..12].copy_from_slice(&[1, 0, 0, 0]);
        header[12..16].copy_from_slice(&ssrc.to_be_bytes());
        header[16..18].copy_from_slice(&base.to_be_bytes());
        // Bit 47 of the mask is the base itself. A K bit of 1 says that the part is the last one.
        let last = self.flexible_parts();
        let first = (self.mask >> 33) as u16 & 0x7fff | u16::from(last == 0) << 15;
        header[18..20].copy_from_slice(&first.to_be_bytes());
        if last > 0 {
            let second = (self.mask >> 2) as u32 & 0x7fff_ffff | u32::from(last == 1) << 31;
            header[20..24].copy_from_slice(&second.to_be_bytes());
        }
        if last > 1 {
            let third = (self.mask & 3) << 61 | 1 << 63;
            header[24..32].copy_from_slice(&third.to_be_bytes());
        }
        body.copy_from_slice(self.body.get(..self.len)?);
        Some(len)
    }

    /// Parts of a FlexFEC mask after the first one.
    fn flexible_parts(&self) -> usize {
        match self.mask {
            mask if mask & ((1 << 33) - 1) == 0 => 0,
            mask if mask & 3 == 0 => 1,
            _ => 2,
        }
    }

    fn is_long(&self) -> bool {
        self.mask & 0xffff_ffff != 0
    }
}

/// Up to three parts of a mask, each behind a K bit that ends it. Returns the mask from the top, and
/// where it ends.
fn flexible_mask(payload: &[u8], at: usize) -> Option<(u128, usize)> {
    let first = u16_at(payload, at)?;
    let mut mask = u128::from(first & 0x7fff) << 113;
    if first & 0x8000 != 0 {
        return Some((mask, at + 2));
    }
    let second = u32_at(payload, at + 2)?;
    mask |= u128::from(second & 0x7fff_ffff) << 82;
    if second & 0x8000_0000 != 0 {
        return Some((mask, at + 6));
    }
    let third = u64_at(payload, at + 6)?;
    mask |= u128::from(third & (u64::MAX >> 1)) << 19;
    // The last K bit has to be 1: there is no fourth part.
    (third >> 63 == 1).then_some((mask, at + 14))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flexfec(base: u16, mask: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x00, 96, 0, 40, 0, 0, 0, 9, 1, 0, 0, 0, 0, 0, 0, 7];
        bytes.extend(base.to_be_bytes());
        bytes.extend_from_slice(mask);
        bytes.extend([0x55; 20]);
        bytes
    }

    fn ulpfec(base: u16, mask: &[u8]) -> Vec<u8> {
        let mut bytes = vec![if mask.len() == 6 { 0x40 } else { 0 }, 96];
        bytes.extend(base.to_be_bytes());
        bytes.extend([0, 0, 0, 9, 0, 40, 0, 20]);
        bytes.extend_from_slice(mask);
        bytes.extend([0x55; 20]);
        bytes
    }

    fn sequences(protection: &Protection) -> Vec<u16> {
        protection.sequences().collect()
    }

    #[test]
    fn masks_of_every_length_name_their_packets() {
        let short = Protection::parse_flexfec(&flexfec(65_534, &[0xc0, 0x03])).unwrap().unwrap();
        assert_eq!((sequences(&short), short.ssrc, short.len), (vec![65_534, 11, 12], Some(7), 20));
        assert_eq!(short.span(), 14);
        let middle = Protection::parse_flexfec(&flexfec(100, &[0x40, 0x00, 0xc0, 0, 0, 1])).unwrap().unwrap();
        assert_eq!((sequences(&middle), middle.len), (vec![100, 115, 145], 24));
        let long = flexfec(100, &[0x40, 0x00, 0x40, 0, 0, 1, 0xc0, 0, 0, 0, 0, 0, 0, 1]);
        let long = Protection::parse_flexfec(&long).unwrap().unwrap();
        assert_eq!((sequences(&long), long.len, long.span()), (vec![100, 115, 145, 146, 208], 32, 108));
        let short = Protection::parse_ulpfec(&ulpfec(5, &[0x80, 0x01])).unwrap();
        assert_eq!((sequences(&short), short.ssrc, short.len), (vec![5, 20], None, 14));
        let long = Protection::parse_ulpfec(&ulpfec(65_530, &[0x80, 0x01, 0x80, 0, 0, 1])).unwrap();
        assert_eq!((sequences(&long), long.len), (vec![65_530, 9, 10, 41], 18));
    }

    #[test]
    fn h39_row_033_masks_of_nothing_and_headers_cut_short_are_malformed() {
        assert!(Protection::parse_flexfec(&flexfec(1, &[0x80, 0])).is_err());
        assert!(Protection::parse_flexfec(&flexfec(1, &[0, 0, 0x80, 0, 0, 0])).is_err());
        assert!(Protection::parse_ulpfec(&ulpfec(1, &[0, 0])).is_err());
        let open = flexfec(1, &[0x40, 0, 0x40, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0]);
        assert!(Protection::parse_flexfec(&open).is_err(), "a mask without an end");
        let mut reserved = ulpfec(1, &[0x80, 0]);
        reserved[0] = 0x80;
        assert!(Protection::parse_ulpfec(&reserved).is_err());
        for whole in [flexfec(1, &[0xc0, 0]), flexfec(1, &[0x40, 0, 0xc0, 0, 0, 0])] {
            for len in 0..whole.len() - 20 {
                assert!(Protection::parse_flexfec(&whole[..len]).is_err(), "{len}");
            }
        }
        for len in 0..14 {
            assert!(Protection::parse_ulpfec(&ulpfec(1, &[0x80, 0])[..len]).is_err());
        }
        for (first, count) in [(0x80, 1), (0x40, 1), (0, 0), (0, 2), (0, 255)] {
            let mut opaque = flexfec(1, &[0xc0, 0]);
            (opaque[0], opaque[8]) = (first, count);
            assert_eq!(Protection::parse_flexfec(&opaque), Ok(None));
        }
    }

    #[test]
    fn h39_row_033_the_form_of_the_rfc_goes_on_where_the_draft_ends() {
        let rfc = |base: u16, mask: &[u8]| {
            let mut bytes = vec![0x00, 96, 0, 40, 0, 0, 0, 9];
            bytes.extend(base.to_be_bytes());
            bytes.extend_from_slice(mask);
            bytes.extend([0x55; 20]);
            bytes
        };
        let of = |bytes: &[u8]| Protection::parse_flexfec_rfc(bytes).unwrap().unwrap();
        let short = of(&rfc(65_534, &[0x40, 0x03]));
        assert_eq!((sequences(&short), short.ssrc, short.len), (vec![65_534, 11, 12], None, 12));
        let middle = of(&rfc(100, &[0xc0, 0x00, 0x40, 0, 0, 1]));
        assert_eq!((sequences(&middle), middle.len), (vec![100, 115, 145], 16));
        let long = of(&rfc(100, &[0xc0, 0x00, 0xc0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 1]));
        assert_eq!((sequences(&long), long.len, long.span()), (vec![100, 115, 145, 146, 209], 24, 109));
        assert!(Protection::parse_flexfec_rfc(&rfc(1, &[0, 0])).is_err());
        let whole = rfc(1, &[0xc0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        for len in 0..whole.len() - 20 {
            assert!(Protection::parse_flexfec_rfc(&whole[..len]).is_err(), "{len}");
        }
        for first in [0x80, 0x40, 0xc0] {
            let mut opaque = rfc(1, &[0x40, 0]);
            opaque[0] = first;
            assert_eq!(Protection::parse_flexfec_rfc(&opaque), Ok(None));
        }
        let mut bytes = rfc(1, &[0x40, 0]);
        of(&bytes.clone()).rewrite_base(&mut bytes, 700);
        assert_eq!(sequences(&of(&bytes)), [700]);
    }

    #[test]
    fn the_parity_of_packets_gives_back_any_one_of_them() {
        let packet = |sequence: u16, len: usize| {
            let mut bytes = vec![0x80, 96 | (sequence as u8 & 1) << 7];
            bytes.extend(sequence.to_be_bytes());
            bytes.extend((u32::from(sequence) * 3_000).to_be_bytes());
            bytes.extend([0, 0, 0, 7]);
            bytes.extend((0..len).map(|k| (k as u16 ^ sequence) as u8));
            bytes
        };
        for (step, count) in [(1, 1), (1, 16), (3, 16), (1, 48)] {
            let packets: Vec<Vec<u8>> =
                (0..count).map(|k| packet(65_530u16.wrapping_add(k * step), 20 + usize::from(k * 7 % 40))).collect();
            let mut body = [0xee; 100];
            let mut parity = Parity::new(&mut body);
            for (k, bytes) in packets.iter().enumerate() {
                let (head, tail) = bytes.split_at(12 + k % 9);
                assert!(parity.add(head, tail));
            }
            assert!(!parity.add(&packet(65_530u16.wrapping_add(48), 1), &[]), "out of reach");
            assert!(!parity.add(&packet(65_530, 101), &[]), "too long");
            assert!(!parity.add(&[0x80; 11], &[]));
            let mut out = [0; 200];
            let len = parity.write_ulpfec(&mut out).unwrap();
            assert_eq!(parity.ulpfec_len(), Some(len));
            assert_eq!(parity.write_ulpfec(&mut out[..len - 1]), None);
            let fec = &out[..len];
            let protection = Protection::parse_ulpfec(fec).unwrap();
            let named: Vec<u16> = packets.iter().map(|p| u16::from_be_bytes([p[2], p[3]])).collect();
            assert_eq!(sequences(&protection), named);
            for (lost, original) in packets.iter().enumerate() {
                let others = || packets.iter().enumerate().filter(move |(k, _)| *k != lost).map(|(_, p)| p);
                let length = others().fold(u16::from_be_bytes([fec[8], fec[9]]), |l, p| l ^ (p.len() - 12) as u16);
                assert_eq!(usize::from(length), original.len() - 12);
                let second = others().fold(fec[1], |bits, p| bits ^ p[1]);
                assert_eq!((second, fec[0] & 0x3f), (original[1], 0));
                for at in 0..usize::from(length) {
                    let byte = others().fold(fec[protection.len + at], |b, p| b ^ p.get(12 + at).copied().unwrap_or(0));
                    assert_eq!(byte, original[12 + at]);
                }
                for at in 4..8 {
                    assert_eq!(others().fold(fec[at], |b, p| b ^ p[at]), original[at]);
                }
            }
        }
        assert_eq!(Parity::new(&mut []).write_ulpfec(&mut [0; 50]), None);
        assert_eq!(Parity::new(&mut []).write_flexfec(&mut [0; 50], 7), None);
    }

    #[test]
    fn flexfec_of_every_mask_length_says_the_same_as_ulpfec() {
        let packet = |sequence: u16| {
            let mut bytes = vec![0x90, 0xe0 ^ sequence as u8];
            bytes.extend(sequence.to_be_bytes());
            bytes.extend([1, 2, 3, sequence as u8, 0, 0, 0, 7]);
            bytes.extend((0..20 + (sequence & 15)).map(|k| (k ^ sequence) as u8));
            bytes
        };
        for (ahead, header) in
            [(&[0][..], 20), (&[0, 14], 20), (&[0, 15], 24), (&[0, 7, 45], 24), (&[0, 46], 32), (&[0, 1, 2, 47], 32)]
        {
            let mut body = [0x77; 100];
            let mut parity = Parity::new(&mut body);
            let named: Vec<u16> = ahead.iter().map(|ahead| 65_530u16.wrapping_add(*ahead)).collect();
            named.iter().for_each(|sequence| assert!(parity.add(&packet(*sequence), &[])));
            let (mut flex, mut ulp) = ([0; 200], [0; 200]);
            let len = parity.write_flexfec(&mut flex, 0x0a0b_0c0d).unwrap();
            assert_eq!(parity.flexfec_len(), Some(len));
            assert_eq!(parity.write_flexfec(&mut [0; 200][..len - 1], 1), None);
            let ulp_len = parity.write_ulpfec(&mut ulp).unwrap();
            let (flex, ulp) = (&flex[..len], &ulp[..ulp_len]);
            let read = Protection::parse_flexfec(flex).unwrap().unwrap();
            assert_eq!((sequences(&read), read.ssrc, read.len), (named, Some(0x0a0b_0c0d), header), "{ahead:?}");
            let other = Protection::parse_ulpfec(ulp).unwrap();
            assert_eq!((&flex[header..], flex[0], flex[1]), (&ulp[other.len..], ulp[0] & 0x3f, ulp[1]));
            assert_eq!((&flex[2..4], &flex[4..8]), (&ulp[8..10], &ulp[4..8]), "length and timestamp");
        }
    }

    #[test]
    fn numbers_are_rewritten_where_they_are() {
        let mut bytes = flexfec(65_534, &[0xc0, 0x03]);
        let protection = Protection::parse_flexfec(&bytes).unwrap().unwrap();
        protection.rewrite_base(&mut bytes, 9);
        protection.rewrite_ssrc(&mut bytes, 0x0a0b_0c0d);
        let again = Protection::parse_flexfec(&bytes).unwrap().unwrap();
        assert_eq!(again, Protection { ssrc: Some(0x0a0b_0c0d), base_sequence: 9, ..protection });
        let mut bytes = ulpfec(65_534, &[0xc0, 0x03]);
        let protection = Protection::parse_ulpfec(&bytes).unwrap();
        protection.rewrite_base(&mut bytes, 9);
        protection.rewrite_ssrc(&mut bytes, 1);
        assert_eq!(Protection::parse_ulpfec(&bytes).unwrap(), Protection { base_sequence: 9, ..protection });
        protection.rewrite_base(&mut [0; 3], 9);
    }
}
