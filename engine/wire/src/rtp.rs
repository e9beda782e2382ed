//! RTP packets (RFC 3550, section 5.1; header extensions, RFC 8285): a view that borrows, setters in
//! place, and a header writer.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |V=2|P|X|  CC   |M|     PT      |       sequence number         |
//! |                           timestamp                           |
//! |                             SSRC                              |
//! |                     CSRC, CC times                            |
//! |    extension profile (X=1)    |   length in 32-bit words      |
//! |                      extension elements                       |
//! |        payload ...            |      padding (P=1)      count |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! A packet whose structure is broken is refused. An extension element that is broken ends the list
//! of elements, and the packet is still good: that is what RFC 8285 asks for.

use std::ops::Range;

use crate::error::ParseError;
use crate::read::{Cursor, u8_at, u16_at, u32_at};

/// Bytes of a header without CSRCs and extensions.
pub const FIXED_HEADER_LEN: usize = 12;

/// Extension profile of the one-byte form (RFC 8285, section 4.2).
const ONE_BYTE_PROFILE: u16 = 0xbede;
/// Extension profile of the two-byte form, without its four application bits (section 4.3).
const TWO_BYTE_PROFILE: u16 = 0x1000;

/// Where the extension elements are, and in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Elements {
    start: usize,
    end: usize,
    form: Form,
}

/// Form of the extension elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// None, or of a profile that is not RFC 8285's.
    Opaque,
    OneByte,
    TwoByte,
}

/// A well-formed RTP packet, borrowed.
#[derive(Clone, Copy)]
pub struct RtpView<'a> {
    /// The marker bit.
    pub marker: bool,
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Number of contributing sources.
    pub csrc_count: u8,
    /// Offset of the payload.
    pub header_len: usize,
    /// Bytes of padding at the end, its count included.
    pub padding_len: usize,
    elements: Elements,
    data: &'a [u8],
}

impl<'a> RtpView<'a> {
    /// Checks a packet's structure. Padding must leave the header whole (RFC 3550, section 5.1, and
    /// appendix A.1); a payload of nothing but padding is legal.
    #[inline]
    pub fn parse(data: &'a [u8]) -> Result<Self, ParseError> {
        let short = ParseError::new("RTP header too short", data.len());
        let &[first, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3] = data.first_chunk().ok_or(short)?;
        if first >> 6 != 2 {
            return Err(ParseError::new("RTP version not 2", 0));
        }
        let csrc_count = first & 0x0f;
        let mut header_len = FIXED_HEADER_LEN + 4 * usize::from(csrc_count);
        let mut elements = Elements { start: header_len, end: header_len, form: Form::Opaque };
        if first & 0x10 != 0 {
            let profile = u16_at(data, header_len).ok_or(short)?;
            let words = u16_at(data, header_len + 2).ok_or(short)?;
            elements.start = header_len + 4;
            elements.end = elements.start + 4 * usize::from(words);
            elements.form = match profile {
                ONE_BYTE_PROFILE => Form::OneByte,
                _ if profile & 0xfff0 == TWO_BYTE_PROFILE => Form::TwoByte,
                _ => Form::Opaque,
            };
            header_len = elements.end;
        }
        let Some(body_len) = data.len().checked_sub(header_len) else {
            return Err(ParseError::new("RTP header past the end", data.len()));
        };
        let mut padding_len = 0;
        if first & 0x20 != 0 {
            padding_len = usize::from(data.last().copied().unwrap_or(0));
            if padding_len == 0 || padding_len > body_len {
                return Err(ParseError::new("RTP padding count out of range", data.len() - 1));
            }
        }
        Ok(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([i0, i1, i2, i3]),
            csrc_count,
            header_len,
            padding_len,
            elements,
            data,
        })
    }

    /// Where the payload is; padding is no part of it.
    #[inline]
    pub fn payload_range(&self) -> Range<usize> {
        self.header_len..self.data.len() - self.padding_len
    }

    /// The payload, without padding.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.data.get(self.payload_range()).unwrap_or(&[])
    }

    /// The whole packet.
    #[inline]
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Is there nothing but padding after the header?
    #[inline]
    pub fn is_padding_only(&self) -> bool {
        self.padding_len > 0 && self.payload_range().is_empty()
    }

    /// The header without its payload type, sequence number and sources: what a rewriter starts from.
    #[inline]
    pub fn fields(&self) -> RtpHeaderFields {
        RtpHeaderFields {
            marker: self.marker,
            payload_type: self.payload_type,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        }
    }

    /// Contributing sources.
    pub fn csrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        let data = self.data;
        (0..usize::from(self.csrc_count)).filter_map(move |i| u32_at(data, FIXED_HEADER_LEN + 4 * i))
    }

    /// Extension elements, id and value, in the order of the packet.
    #[inline]
    pub fn extensions(&self) -> ExtensionIter<'a> {
        ExtensionIter { data: self.data, at: self.elements.start, end: self.elements.end, form: self.elements.form }
    }

    /// Value of the first extension element with this id.
    #[inline]
    pub fn extension(&self, id: u8) -> Option<&'a [u8]> {
        self.extensions().find(|(other, _)| *other == id).map(|(_, value)| value)
    }

    /// Where that value is, for changing it in place.
    #[inline]
    pub fn extension_range(&self, id: u8) -> Option<Range<usize>> {
        let mut iter = self.extensions();
        while let Some((other, range)) = iter.next_range() {
            if other == id {
                return Some(range);
            }
        }
        None
    }
}

impl std::fmt::Debug for RtpView<'_> {
    /// Header only: payload is other people's media.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RtpView")
            .field("marker", &self.marker)
            .field("payload_type", &self.payload_type)
            .field("sequence", &self.sequence)
            .field("timestamp", &self.timestamp)
            .field("ssrc", &self.ssrc)
            .field("payload", &self.payload_range())
            .field("padding_len", &self.padding_len)
            .finish_non_exhaustive()
    }
}

/// Iterator over extension elements. Ends at the first broken one.
#[derive(Debug, Clone)]
pub struct ExtensionIter<'a> {
    data: &'a [u8],
    at: usize,
    end: usize,
    form: Form,
}

impl ExtensionIter<'_> {
    #[inline]
    fn next_range(&mut self) -> Option<(u8, Range<usize>)> {
        let (id, len, header) = loop {
            if self.at >= self.end {
                return None;
            }
            let byte = u8_at(self.data, self.at)?;
            match self.form {
                Form::Opaque => return None,
                // A zero byte is padding in both forms, and may stand between elements.
                _ if byte == 0 => self.at += 1,
                Form::OneByte => break (byte >> 4, usize::from(byte & 0x0f) + 1, 1),
                Form::TwoByte => {
                    let len = if self.at + 1 < self.end { u8_at(self.data, self.at + 1) } else { None };
                    break (byte, usize::from(len.unwrap_or(u8::MAX)), 2);
                }
            }
        };
        let start = self.at + header;
        let end = start + len;
        // Number 15 ends the list of the one-byte form, and number 0 with a length is no element
        // (section 4.2); what runs past the block is broken.
        let reserved = self.form == Form::OneByte && (id == 15 || id == 0);
        if reserved || end > self.end {
            self.at = self.end;
            return None;
        }
        self.at = end;
        Some((id, start..end))
    }
}

impl<'a> Iterator for ExtensionIter<'a> {
    type Item = (u8, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (id, range) = self.next_range()?;
        Some((id, self.data.get(range)?))
    }
}

/// Overwrites bytes of a header; a packet too short for them stays as it is.
#[inline]
fn put<const N: usize>(packet: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(slot) = packet.get_mut(at..at + N) {
        slot.copy_from_slice(&value);
    }
}

/// Sets the sequence number in place.
#[inline]
pub fn set_sequence(packet: &mut [u8], sequence: u16) {
    put(packet, 2, sequence.to_be_bytes());
}

/// Sets the timestamp in place.
#[inline]
pub fn set_timestamp(packet: &mut [u8], timestamp: u32) {
    put(packet, 4, timestamp.to_be_bytes());
}

/// Sets the SSRC in place.
#[inline]
pub fn set_ssrc(packet: &mut [u8], ssrc: u32) {
    put(packet, 8, ssrc.to_be_bytes());
}

/// Sets the payload type in place, and keeps the marker.
#[inline]
pub fn set_payload_type(packet: &mut [u8], payload_type: u8) {
    if let Some(byte) = packet.get_mut(1) {
        *byte = *byte & 0x80 | payload_type & 0x7f;
    }
}

/// Sets the marker in place, and keeps the payload type.
#[inline]
pub fn set_marker(packet: &mut [u8], marker: bool) {
    if let Some(byte) = packet.get_mut(1) {
        *byte = *byte & 0x7f | u8::from(marker) << 7;
    }
}

/// The fields of a header that a writer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RtpHeaderFields {
    /// The marker bit.
    pub marker: bool,
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

/// Writes a header without CSRCs and padding, and returns its length. The one-byte form is taken if
/// all elements fit it: id 1 to 14, 1 to 16 bytes. An id of 0 is refused in both forms.
#[inline]
pub fn write_header(buf: &mut [u8], fields: &RtpHeaderFields, exts: &[(u8, &[u8])]) -> Result<usize, ParseError> {
    write_header_as(buf, fields, exts, !exts.iter().all(|(id, value)| fits_one_byte(*id, value.len())))
}

/// An element of this id and length can be written in the one-byte form (RFC 8285, section 4.2).
#[inline]
pub const fn fits_one_byte(id: u8, len: usize) -> bool {
    matches!(id, 1..=14) && matches!(len, 1..=16)
}

/// [`write_header`] in the form that the stream has: one with both needs the peer's consent (RFC 8285,
/// section 4.1.2). What does not fit the form is refused.
#[inline]
pub fn write_header_as(
    buf: &mut [u8],
    fields: &RtpHeaderFields,
    exts: &[(u8, &[u8])],
    two_byte: bool,
) -> Result<usize, ParseError> {
    let mut out = Cursor::new(buf);
    out.u8(0x80 | u8::from(!exts.is_empty()) << 4);
    out.u8(u8::from(fields.marker) << 7 | fields.payload_type & 0x7f);
    out.u16(fields.sequence);
    out.u32(fields.timestamp);
    out.u32(fields.ssrc);
    if exts.is_empty() {
        return out.finish();
    }
    out.u16(if two_byte { TWO_BYTE_PROFILE } else { ONE_BYTE_PROFILE });
    out.u16(0);
    let start = out.at();
    for (id, value) in exts {
        let Some(len) = u8::try_from(value.len())
            .ok()
            .filter(|_| if two_byte { *id != 0 } else { fits_one_byte(*id, value.len()) })
        else {
            return Err(ParseError::new("header extension element not writable", out.at()));
        };
        if two_byte {
            out.u8(*id);
            out.u8(len);
        } else {
            out.u8(id << 4 | (len - 1));
        }
        out.bytes(value);
    }
    out.pad4();
    let Ok(words) = u16::try_from((out.at() - start) / 4) else {
        return Err(ParseError::new("header extension block too long", out.at()));
    };
    out.patch_u16(start.saturating_sub(2), words);
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: RtpHeaderFields =
        RtpHeaderFields { marker: true, payload_type: 111, sequence: 65_535, timestamp: 7, ssrc: 0xdead_beef };

    fn packet(exts: &[(u8, &[u8])], payload: &[u8]) -> Vec<u8> {
        let mut buf = vec![0; 1500];
        let len = write_header(&mut buf, &FIELDS, exts).unwrap();
        buf.truncate(len);
        buf.extend_from_slice(payload);
        buf
    }

    /// A packet with a raw extension block.
    fn with_block(profile: u16, block: &[u8]) -> Vec<u8> {
        let mut packet = packet(&[], &[]);
        packet[0] |= 0x10;
        packet.extend_from_slice(&profile.to_be_bytes());
        packet.extend_from_slice(&((block.len() / 4) as u16).to_be_bytes());
        packet.extend_from_slice(block);
        packet.extend_from_slice(b"payload");
        packet
    }

    fn elements(profile: u16, block: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let packet = with_block(profile, block);
        let view = RtpView::parse(&packet).unwrap();
        assert_eq!(view.payload(), b"payload");
        view.extensions().map(|(id, value)| (id, value.to_vec())).collect()
    }

    #[test]
    fn what_is_written_is_read_back_in_the_smaller_form_that_fits() {
        let exts: [(u8, &[u8]); 3] = [(1, b"0"), (14, &[5; 16]), (3, &[1, 2, 3])];
        let bytes = packet(&exts, b"hello");
        let view = RtpView::parse(&bytes).unwrap();
        assert_eq!((view.fields(), view.payload(), view.header_len), (FIELDS, &b"hello"[..], 12 + 4 + 24));
        assert!(view.extensions().eq(exts));
        assert_eq!(bytes[12..14], [0xbe, 0xde]);
        for two_byte in [[(15, &[1][..])], [(16, &[1])], [(1, &[])], [(1, &[0; 17])], [(255, &[9; 255])]] {
            let bytes = packet(&two_byte, b"hello");
            assert_eq!(bytes[12..14], [0x10, 0x00]);
            let view = RtpView::parse(&bytes).unwrap();
            assert!(view.extensions().eq(two_byte));
            assert_eq!(view.payload(), b"hello");
        }
        assert!(write_header(&mut [0; 600], &FIELDS, &[(0, b"x")]).is_err());
        assert!(write_header(&mut [0; 600], &FIELDS, &[(1, &[0; 256])]).is_err());
        for len in 0..bytes.len() - 5 {
            assert!(write_header(&mut vec![0; len], &FIELDS, &exts).is_err());
        }
    }

    #[test]
    fn h15_every_length_from_0_to_64_is_read_or_refused() {
        for first in 0..=255_u8 {
            for len in 0..=64 {
                for fill in [0, 1, 4, 0x7f, 0xff] {
                    let mut bytes = vec![fill; len];
                    if let Some(byte) = bytes.first_mut() {
                        *byte = first;
                    }
                    let Ok(view) = RtpView::parse(&bytes) else {
                        continue;
                    };
                    assert!(len >= 12 && first >> 6 == 2);
                    assert!(view.header_len + view.padding_len <= len);
                }
            }
        }
        // CC=15 in twelve bytes, X=1 whose length runs past the end, other versions.
        assert!(RtpView::parse(&[0x8f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(RtpView::parse(&[0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xbe, 0xde, 0, 1]).is_err());
        assert!(RtpView::parse(&[0x40; 12]).is_err());
        assert!(RtpView::parse(&[0x80; 12]).is_ok());
    }

    #[test]
    fn row_030_padding_only_is_legal_and_padding_past_the_payload_is_not() {
        for (payload_len, pad, good) in [
            (10, 0, false),
            (10, 1, true),
            (10, 10, true),
            (10, 11, false),
            (10, 255, false),
            (255, 255, true),
            (0, 0, false),
        ] {
            let mut bytes = packet(&[(1, b"0")], &vec![0; payload_len]);
            bytes[0] |= 0x20;
            if payload_len > 0 {
                *bytes.last_mut().unwrap() = pad;
            }
            let view = RtpView::parse(&bytes);
            assert_eq!(view.is_ok(), good, "{payload_len} {pad}");
            if let Ok(view) = view {
                assert_eq!(view.payload().len(), payload_len - usize::from(pad));
                assert_eq!(view.is_padding_only(), payload_len == usize::from(pad));
            }
        }
    }

    #[test]
    fn h13_every_padding_count_against_every_payload_length() {
        for payload_len in 0..=300 {
            let mut bytes = packet(&[], &vec![0; payload_len]);
            bytes[0] |= 0x20;
            for pad in 0..=255_u8 {
                if payload_len > 0 {
                    *bytes.last_mut().unwrap() = pad;
                }
                let good = payload_len > 0 && pad > 0 && usize::from(pad) <= payload_len;
                let view = RtpView::parse(&bytes);
                assert_eq!(view.is_ok(), good);
                assert!(view.is_err() || view.unwrap().payload_range() == (12..12 + payload_len - usize::from(pad)));
            }
        }
    }

    #[test]
    fn row_058_number_0_is_padding_and_number_15_ends_the_one_byte_form() {
        let a = || (1, vec![0xaa]);
        let b = || (2, vec![0xbb]);
        assert_eq!(elements(0xbede, &[0x10, 0xaa, 0, 0, 0x20, 0xbb, 0, 0]), [a(), b()]);
        assert_eq!(elements(0xbede, &[0x10, 0xaa, 0xf0, 0, 0x20, 0xbb, 0, 0]), [a()]);
        assert_eq!(elements(0xbede, &[0x10, 0xaa, 0x03, 0, 0x20, 0xbb, 0, 0]), [a()], "id 0 with a length");
        assert_eq!(elements(0x1000, &[1, 1, 0xaa, 0, 2, 1, 0xbb, 0]), [a(), b()]);
        assert_eq!(elements(0x100f, &[1, 1, 0xaa, 2, 1, 0xbb, 0, 0]), [a(), b()], "application bits");
        assert_eq!(elements(0x1000, &[15, 1, 0xaa, 3, 0, 0, 0, 0]), [(15, vec![0xaa]), (3, vec![])]);
    }

    #[test]
    fn row_058_an_element_past_the_end_of_its_block_is_none() {
        assert_eq!(elements(0xbede, &[0x10, 0xaa, 0x21, 0xbb]), [(1, vec![0xaa])]);
        assert_eq!(elements(0xbede, &[0x1f, 0xaa, 0xbb, 0xcc]), []);
        assert_eq!(elements(0x1000, &[1, 1, 0xaa, 2]), [(1, vec![0xaa])], "no room for a length");
        assert_eq!(elements(0x1000, &[1, 3, 0xaa, 2]), []);
        assert_eq!(elements(0x1010, &[1, 1, 0xaa, 0]), [], "a profile of somebody else");
        assert_eq!(elements(0xbede, &[]), []);
    }

    #[test]
    fn row_034_h19_growing_past_the_slot_is_refused_and_never_written() {
        let all: Vec<(u8, &[u8])> = (1..=14).map(|id| (id, &[0x55_u8; 16][..])).collect();
        for payload_len in 1_150..=1_500 {
            for count in 0..=all.len() {
                let mut slot = vec![0xee; 1_500];
                let exts = &all[..count];
                let header = write_header(&mut slot[..1_400], &FIELDS, exts).unwrap();
                assert!(slot[header..].iter().all(|byte| *byte == 0xee));
                let fits = header + payload_len <= 1_400;
                let room = 1_400_usize.saturating_sub(payload_len);
                assert_eq!(write_header(&mut slot[..room], &FIELDS, exts).is_ok(), fits);
            }
        }
        // A block of more words than its length can say.
        let many: Vec<(u8, &[u8])> = vec![(200, &[0; 255]); 1_100];
        assert!(write_header(&mut vec![0; 300_000], &FIELDS, &many).is_err());
    }

    #[test]
    fn setters_change_their_field_only_and_short_packets_not_at_all() {
        let mut bytes = packet(&[], b"x");
        set_marker(&mut bytes, false);
        set_payload_type(&mut bytes, 0xe0);
        set_sequence(&mut bytes, 1);
        set_timestamp(&mut bytes, 2);
        set_ssrc(&mut bytes, 3);
        let expected = RtpHeaderFields { marker: false, payload_type: 0x60, sequence: 1, timestamp: 2, ssrc: 3 };
        assert_eq!(RtpView::parse(&bytes).unwrap().fields(), expected);
        set_marker(&mut bytes, true);
        assert_eq!(bytes[1], 0xe0);
        let mut short = [0x80];
        set_marker(&mut short, true);
        set_ssrc(&mut short, 3);
        assert_eq!(short, [0x80]);
    }

    #[test]
    fn a_value_can_be_changed_where_it_is() {
        let mut bytes = packet(&[(1, b"0"), (5, &[0, 0])], b"x");
        let at = RtpView::parse(&bytes).unwrap().extension_range(5).unwrap();
        bytes[at].copy_from_slice(&[7, 8]);
        let view = RtpView::parse(&bytes).unwrap();
        assert_eq!(
            (view.extension(5), view.extension(1), view.extension(9)),
            (Some(&[7, 8][..]), Some(&b"0"[..]), None)
        );
    }

    #[test]
    fn contributing_sources_are_skipped_and_listed() {
        let mut bytes = packet(&[], b"\0\0\0\x01\0\0\0\x02rest");
        bytes[0] |= 2;
        let view = RtpView::parse(&bytes).unwrap();
        assert_eq!((view.csrcs().collect::<Vec<_>>(), view.payload()), (vec![1, 2], &b"rest"[..]));
    }

    proptest::proptest! {
        #[test]
        fn any_header_and_any_elements_round_trip(
            marker: bool,
            payload_type in 0..128_u8,
            sequence: u16,
            timestamp: u32,
            ssrc: u32,
            exts in proptest::collection::vec((1..=255_u8, proptest::collection::vec(0..=255_u8, 0..=255)), 0..10),
            payload in proptest::collection::vec(0..=255_u8, 0..40),
        ) {
            let fields = RtpHeaderFields { marker, payload_type, sequence, timestamp, ssrc };
            let exts: Vec<_> = exts.iter().map(|(id, value)| (*id, &value[..])).collect();
            let mut bytes = vec![0; 4_000];
            let len = write_header(&mut bytes, &fields, &exts).unwrap();
            bytes.truncate(len);
            bytes.extend_from_slice(&payload);
            let view = RtpView::parse(&bytes).unwrap();
            assert_eq!((view.fields(), view.payload()), (fields, &payload[..]));
            assert!(view.extensions().eq(exts));
        }
    }
}
