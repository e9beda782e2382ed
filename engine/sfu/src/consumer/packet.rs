//! Writes one packet for one consumer: its own header, the extensions that its peer knows, and what of the
//! payload is its own (picture ids, payload types within RED, an RTX packet's original number). The rest stays in the shared packet,
//! from where it is encrypted straight into the consumer's slot.
//!
//! Room is what the slot has. The bare packet comes first; extensions are added as long as they fit,
//! in order of weight, and the rest is left out and counted. An extension block costs four bytes and
//! is padded to a multiple of four (RFC 8285, section 4). All packets of a stream have the same form of extensions,
//! so that no peer has to have agreed to both (section 4.1.2); in the one-byte form, what does not fit it is left out.

use arrayvec::ArrayVec;
use sfu_proto::rewrite::{PictureId, PictureShift};
use sfu_proto::srtp::Plain;
use sfu_wire::codec::red;
use sfu_wire::extension::{AbsCaptureTime, ExtensionIds, ExtensionKind, abs_send_time_from_nanos};
use sfu_wire::media::Mid;
use sfu_wire::rtp::{FIXED_HEADER_LEN, RtpHeaderFields, fits_one_byte, write_header, write_header_as};
use sfu_wire::time::Time;

use super::forwarding::picture_of;
use super::padding::PADDING_BIT;
use crate::producer::{Ingress, MAX_EXTENSIONS};

/// Bytes of a header without extensions.
pub(super) const FIXED_LEN: usize = FIXED_HEADER_LEN;
/// MID, transport-wide number, send time, and what is passed on.
const MAX_ELEMENTS: usize = MAX_EXTENSIONS + 3;

/// What a packet is made of.
pub(super) struct Parts<'a, 'p> {
    pub(super) fields: RtpHeaderFields,
    pub(super) ingress: &'a Ingress,
    /// The packet as received; `ingress` has offsets into it.
    pub(super) source: &'a [u8],
    pub(super) payload: &'p [u8],
    /// What goes before the payload.
    pub(super) before: Before,
    pub(super) shift: PictureShift,
    /// For RED that is passed on whole: what the peer calls the codec in it.
    pub(super) repeated: Option<u8>,
    /// The dependency descriptor, if it is to be written.
    pub(super) descriptor: Option<&'a [u8]>,
}

/// What goes before a payload.
#[derive(Debug, Clone, Copy)]
pub(super) enum Before {
    Nothing,
    /// Of RTX: the sequence number of the original (RFC 4588, section 4).
    Original(u16),
    /// Of video in RED: the header of its only block, which is its payload type (RFC 2198, section 3).
    Red(u8),
}

impl Before {
    pub(super) const fn len(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Original(_) => 2,
            Self::Red(_) => 1,
        }
    }

    fn write(self, slot: &mut [u8]) -> Option<()> {
        match self {
            Self::Nothing => {}
            Self::Original(number) => slot.get_mut(..2)?.copy_from_slice(&number.to_be_bytes()),
            Self::Red(payload_type) => *slot.first_mut()? = payload_type & 0x7f,
        }
        Some(())
    }
}

/// The extensions that are this side's own.
pub(super) struct OwnExtensions<'a> {
    pub(super) ids: &'a ExtensionIds,
    /// The stream has the two-byte form; see [`is_two_byte`].
    pub(super) two_byte: bool,
    pub(super) mid: &'a [u8],
    /// The transport's next number.
    pub(super) transport_seq: u16,
    pub(super) now: Time,
    /// Those that change on the way are zero: what parity is made of (as browsers do on both sides).
    pub(super) zeroed: bool,
}

/// A stream with these extensions has the two-byte form: of dependency descriptors, those of key frames do not fit the other.
pub(super) fn is_two_byte(ids: &ExtensionIds, mid: &Mid) -> bool {
    ids.get(ExtensionKind::DependencyDescriptor).is_some()
        || ids
            .iter()
            .any(|(kind, id)| !fits_one_byte(id, if kind == ExtensionKind::Mid { mid.as_bytes().len() } else { 1 }))
}

/// Bytes of a payload that may change: the numbers in descriptors of VP8 and VP9 are within the first six. A whole number of
/// cipher blocks, so that what follows is encrypted as fast as it can be.
const OWN_PAYLOAD: usize = 16;

/// What was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written<'a> {
    pub(super) plain: Plain<'a>,
    /// Extensions for which there was no room, or no place in the form.
    pub(super) left_out: u8,
    /// The packet carries the transport-wide number.
    pub(super) numbered: bool,
    /// The numbers as written.
    pub(super) picture: PictureId,
}

/// Writes the packet; `None` if it does not fit even without extensions.
#[inline]
pub(super) fn write<'p>(parts: &Parts<'_, 'p>, own: &OwnExtensions<'_>, slot: &mut [u8]) -> Option<Written<'p>> {
    let before = parts.before.len();
    let body = parts.payload.len() + before;
    let room = slot.len().checked_sub(FIXED_LEN + body)?;
    let transport_seq = if own.zeroed { [0; 2] } else { own.transport_seq.to_be_bytes() };
    let send_time = send_time(own);
    let capture = capture_time(parts).map_or(([0; AbsCaptureTime::MAX_LEN], 0), AbsCaptureTime::to_bytes);
    let mut elements = Elements { list: ArrayVec::new(), left_out: 0, room, two_byte: own.two_byte, used: 0 };
    elements.add(own.ids.get(ExtensionKind::Mid), own.mid);
    let numbered = elements.add(own.ids.get(ExtensionKind::TransportCc), &transport_seq);
    if let Some(value) = &send_time {
        elements.add(own.ids.get(ExtensionKind::AbsSendTime), value);
    }
    if let Some(value) = parts.descriptor {
        elements.add(own.ids.get(ExtensionKind::DependencyDescriptor), value);
    }
    for span in parts.ingress.extensions.iter().filter(|s| s.kind != ExtensionKind::DependencyDescriptor) {
        let range = usize::from(span.start)..usize::from(span.start) + usize::from(span.len);
        let value = match span.kind {
            ExtensionKind::AbsCaptureTime if capture.1 > 0 => capture.0.get(..capture.1),
            ExtensionKind::TransmissionOffset if own.zeroed => Some(&[0; 3][..]),
            _ => parts.source.get(range),
        };
        if let Some(value) = value {
            elements.add(own.ids.get(span.kind), value);
        }
    }
    let mut at = write_header_as(slot, &parts.fields, &elements.list, own.two_byte).ok()?;
    parts.before.write(slot.get_mut(at..)?)?;
    at += before;
    let red = parts.repeated.and_then(|payload_type| Some((payload_type, red::headers_len(parts.payload)?)));
    let own = if before > 0 || changes_picture(parts) { OWN_PAYLOAD - before } else { 0 };
    let own = own.max(red.map_or(0, |(_, headers)| headers.next_multiple_of(OWN_PAYLOAD))).min(parts.payload.len());
    let (head, tail) = parts.payload.split_at(own);
    let payload = slot.get_mut(at..at + own)?;
    payload.copy_from_slice(head);
    if let Some((payload_type, headers)) = red {
        red::set_payload_type(payload.get_mut(..headers)?, payload_type);
    }
    let picture = rewrite_picture(parts, payload);
    Some(Written {
        plain: Plain { written: at + own, tail, padding: 0 },
        left_out: elements.left_out,
        numbered,
        picture,
    })
}

/// Writes the header of a packet that is all this side's own, before a payload of `body` bytes. Tells its length, how many
/// extensions were left out, and whether it carries the transport-wide number.
pub(super) fn write_own(
    fields: &RtpHeaderFields,
    own: &OwnExtensions<'_>,
    body: usize,
    slot: &mut [u8],
) -> Option<(usize, u8, bool)> {
    let room = slot.len().checked_sub(FIXED_LEN + body)?;
    let (transport_seq, send_time) = (own.transport_seq.to_be_bytes(), send_time(own));
    let mut elements = Elements { list: ArrayVec::new(), left_out: 0, room, two_byte: own.two_byte, used: 0 };
    elements.add(own.ids.get(ExtensionKind::Mid), own.mid);
    let numbered = elements.add(own.ids.get(ExtensionKind::TransportCc), &transport_seq);
    if let Some(value) = &send_time {
        elements.add(own.ids.get(ExtensionKind::AbsSendTime), value);
    }
    let len = write_header_as(slot, fields, &elements.list, own.two_byte).ok()?;
    Some((len, elements.left_out, numbered))
}

/// A packet of nothing but one byte of padding.
pub(super) fn write_padding(fields: &RtpHeaderFields, slot: &mut [u8]) -> Option<usize> {
    let at = write_header(slot, fields, &[]).ok()?;
    *slot.first_mut()? |= PADDING_BIT;
    *slot.get_mut(at)? = 1;
    Some(at + 1)
}

#[inline]
fn changes_picture(parts: &Parts<'_, '_>) -> bool {
    has_numbers(parts.ingress) && parts.shift != PictureShift::default()
}

#[inline]
fn has_numbers(ingress: &Ingress) -> bool {
    ingress.numbers.id.is_some() || ingress.numbers.tl0.is_some()
}

#[inline]
fn rewrite_picture(parts: &Parts<'_, '_>, payload: &mut [u8]) -> PictureId {
    if !has_numbers(parts.ingress) {
        return PictureId::default();
    }
    let out = parts.shift.apply(picture_of(parts.ingress));
    if changes_picture(parts) {
        // The descriptor was parsed from these very bytes, so it fits them.
        let numbers = &parts.ingress.numbers;
        let _ = numbers.rewrite(payload, out.picture_id.unwrap_or(0), out.tl0_pic_idx.unwrap_or(0));
    }
    out
}

/// The absolute capture time, if the packet has one, with what has to be added to it to have our
/// clock's time: our sender reports are of our clock, and the peer compares the two.
#[inline]
fn capture_time(parts: &Parts<'_, '_>) -> Option<AbsCaptureTime> {
    let ours = parts.ingress.capture_offset?;
    let span = parts.ingress.extensions.iter().find(|span| span.kind == ExtensionKind::AbsCaptureTime)?;
    let range = usize::from(span.start)..usize::from(span.start) + usize::from(span.len);
    let time = AbsCaptureTime::parse(parts.source.get(range)?)?;
    Some(AbsCaptureTime { clock_offset: Some(time.clock_offset.unwrap_or(0).wrapping_add(ours)), ..time })
}

#[inline]
fn send_time(own: &OwnExtensions<'_>) -> Option<[u8; 3]> {
    own.ids.get(ExtensionKind::AbsSendTime)?;
    Some(if own.zeroed { [0; 3] } else { abs_send_time_from_nanos(own.now.as_nanos()) })
}

/// The extension block as it grows.
struct Elements<'a> {
    list: ArrayVec<(u8, &'a [u8]), MAX_ELEMENTS>,
    left_out: u8,
    /// Bytes that the block may take.
    room: usize,
    two_byte: bool,
    /// Bytes of the values so far.
    used: usize,
}

impl<'a> Elements<'a> {
    /// Adds an element if the peer knows it, the form can have it and there is room; says whether it did.
    #[inline]
    fn add(&mut self, id: Option<u8>, value: &'a [u8]) -> bool {
        let Some(id) = id else { return false };
        let fits = self.two_byte || fits_one_byte(id, value.len());
        let header = 1 + usize::from(self.two_byte);
        let used = self.used + value.len();
        let block = 4 + (used + (self.list.len() + 1) * header).next_multiple_of(4);
        if !fits || block > self.room || self.list.try_push((id, value)).is_err() {
            self.left_out += 1;
            return false;
        }
        self.used = used;
        true
    }
}
