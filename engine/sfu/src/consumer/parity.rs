//! Repair packets (ULPFEC, RFC 5109; FlexFEC, draft 03) as a consumer's peer gets them.
//!
//! What a publisher's repair packet protects are the publisher's bytes: its payload types, numbers, timestamps and header
//! extensions. The peer gets others. So a repair packet is made anew, over the same packets as this peer was sent them;
//! the publisher decides what is protected, and when. Layers that the peer is not sent are not in it. Header extensions that
//! change on the way (send time, transport-wide number, transmission offset) count as zero, as browsers have it on both sides.
//! A peer that speaks RED (RFC 2198) as well gets its video in it, where browsers look for what parity can repair: ULPFEC is about
//! what is in the RED, FlexFEC about the packet as it is.
//!
//! ULPFEC is a packet of the stream itself. FlexFEC is a stream beside it, with an SSRC, sequence numbers and timestamps (of our
//! clock) of its own; what was lost on the way here is not in it.
//!
//! Left out, so that the repair packet is counted and not sent: of ULPFEC, where a packet of it was lost on the way here, or is not kept any more; where
//! dependency descriptors are rewritten; where it would be too long; where it names packets that are too far apart to be named by
//! one of ours (48); where the publisher's own is shorter than what it says it protects, since a few bytes from there must not become a
//! whole packet to everybody. It is sent once: a NACK for it is not answered.

use std::num::NonZeroU8;

use sfu_proto::rewrite::PictureShift;
use sfu_proto::srtp::Plain;
use sfu_wire::buf::Packet;
use sfu_wire::codec::CodecKind;
use sfu_wire::codec::fec::{Parity, Protection};
use sfu_wire::extension::ExtensionKind;
use sfu_wire::rtp::RtpHeaderFields;
use sfu_wire::time::Time;

use super::stretch::read_note;
use super::{Codec, Consumer, FecStream, packet};
use crate::config::ConsumerConfig;
use crate::producer::{Ingress, Producer, Repair, descriptor_of};

/// The longest packet that is protected, header included.
const LONGEST: usize = 2_048;
/// So many bytes of a protected packet may be missing in its parity: what was added to it on its way here.
const SLACK: usize = 64;

/// Payload type of RED of a peer that gets its video in it: one that is able to make use of that.
pub(super) fn red_of(config: &ConsumerConfig) -> Option<NonZeroU8> {
    let of = |kind: CodecKind| config.codecs.iter().find(|c| c.kind == kind).map(|c| c.payload_type);
    of(CodecKind::UlpFec).and(of(CodecKind::Red)).and_then(NonZeroU8::new)
}

impl Codec {
    /// What goes before the payload of a packet of this codec.
    #[inline]
    pub(super) fn before(self) -> packet::Before {
        self.red.map_or(packet::Before::Nothing, |_| packet::Before::Red(self.payload_type))
    }
}

impl Consumer {
    /// Writes a repair packet over what this consumer's peer was sent of the packets that `ingress` protects. `None`, and
    /// nothing has changed: it is none, the peer does not know them, or it cannot be made.
    #[cold]
    pub(super) fn forward_repair(
        &mut self,
        now: Time,
        producer: &Producer,
        ingress: &Ingress,
        shared: &Packet,
        slot: &mut [u8],
        transport_seq: &mut u16,
    ) -> Option<Plain<'static>> {
        if ingress.codec != CodecKind::UlpFec {
            return None;
        }
        let own = self.codecs.iter().find(|c| c.slot == ingress.slot)?.payload_type;
        let range = usize::from(ingress.payload_start)..usize::from(ingress.payload_end);
        let own_len = range.len();
        let protection = Protection::parse_ulpfec(shared.get(range)?).ok()?;
        let position_of = |sequence: u16| {
            let away = i64::from(sequence.wrapping_sub(ingress.position as u16) as i16);
            ingress.position.checked_add_signed(away)
        };
        for sequence in protection.sequences() {
            let entry = producer.recall(now, ingress.encoding, position_of(sequence)?)?;
            if entry.packet.len() > own_len + SLACK {
                return None;
            }
        }
        let mut body = [0; LONGEST];
        let mut parity = Parity::new(&mut body);
        let room = slot.len();
        for sequence in protection.sequences() {
            self.protect(now, producer, (ingress.encoding, position_of(sequence)?), (false, room), &mut parity)?;
        }
        let red = self.codecs.iter().find_map(|c| c.red);
        let before = usize::from(red.is_some());
        let len = before + parity.ulpfec_len()?;
        if packet::FIXED_LEN + len > slot.len() {
            return None;
        }
        let sequence = self.sequence.map_once(ingress.position)?;
        let timestamp = self.stretch.time.apply(ingress.timestamp);
        let payload_type = red.map_or(own, NonZeroU8::get);
        let fields = RtpHeaderFields { marker: ingress.marker, payload_type, sequence, timestamp, ssrc: self.ssrc };
        let parts = packet::Parts {
            fields,
            ingress,
            source: shared,
            payload: &[],
            before: packet::Before::Nothing,
            shift: PictureShift::default(),
            repeated: None,
            descriptor: None,
        };
        let (header, _) = slot.split_at_mut_checked(room - len)?;
        let mut at = self.write(now, &parts, header, transport_seq).ok()?.plain.written;
        if before > 0 {
            *slot.get_mut(at)? = own & 0x7f;
            at += 1;
        }
        at += parity.write_ulpfec(slot.get_mut(at..)?)?;
        self.note_sent(now, timestamp, len);
        self.note_repair(len);
        Some(Plain::whole(at))
    }

    /// Writes a FlexFEC packet over what this consumer's peer was sent of the packets that `repair` names. `None`, and nothing
    /// has changed: it was sent none of them, has no FlexFEC stream, or it cannot be made. `transport_seq` as in [`Consumer::forward`].
    #[cold]
    pub fn forward_flexfec(
        &mut self,
        now: Time,
        producer: &Producer,
        repair: &Repair,
        slot: &mut [u8],
        transport_seq: &mut u16,
    ) -> Option<Plain<'static>> {
        let flows = self.stretch.source == producer.id() && self.stretch.encoding == repair.encoding;
        let stream = self.cold.fec?;
        if !flows || self.starting || self.paused || self.producer_paused || self.replay.is_some() {
            return None;
        }
        let codec = self.cold.config.codecs.iter().find(|c| c.kind == CodecKind::FlexFec)?;
        let (payload_type, clock_rate) = (codec.payload_type, codec.clock_rate);
        let mut body = [0; LONGEST];
        let mut parity = Parity::new(&mut body);
        for position in repair.positions() {
            let Some(entry) = producer.recall(now, repair.encoding, position) else { continue };
            if entry.packet.len() > repair.len + SLACK {
                return None;
            }
            self.protect(now, producer, (repair.encoding, position), (true, slot.len()), &mut parity)?;
        }
        let len = parity.flexfec_len()?;
        let ticks = (u128::from(now.as_nanos()) * u128::from(clock_rate) / 1_000_000_000) as u32;
        let FecStream { ssrc, sequence, offset } = stream;
        let fields =
            RtpHeaderFields { marker: false, payload_type, sequence, timestamp: ticks.wrapping_add(offset), ssrc };
        let own = packet::OwnExtensions {
            ids: &self.extensions,
            two_byte: self.two_byte,
            mid: self.mid.as_bytes(),
            transport_seq: *transport_seq,
            now,
            zeroed: false,
        };
        let (start, left_out, numbered) = packet::write_own(&fields, &own, len, slot)?;
        let at = start + parity.write_flexfec(slot.get_mut(start..)?, self.ssrc)?;
        *transport_seq = transport_seq.wrapping_add(u16::from(numbered));
        self.cold.extensions_left_out += u64::from(left_out);
        self.cold.fec = Some(FecStream { sequence: sequence.wrapping_add(1), ..stream });
        self.note_repair(len);
        Some(Plain::whole(at))
    }

    fn note_repair(&mut self, len: usize) {
        self.cold.repairs.0 += 1;
        self.cold.repairs.1 += len as u64;
    }

    /// Adds a packet to the parity as it was sent, in its RED if `whole`; one that was left out is not in it. `None`: it cannot be told.
    fn protect(
        &self,
        now: Time,
        producer: &Producer,
        (encoding, position): (u8, u64),
        (whole, room): (bool, usize),
        parity: &mut Parity<'_>,
    ) -> Option<()> {
        let entry = producer.recall(now, encoding, position)?;
        let Some((sequence, note)) = self.sequence.number_of(position) else { return Some(()) };
        let ingress = &entry.meta;
        let rewritten = self.extensions.get(ExtensionKind::DependencyDescriptor).is_some()
            && descriptor_of(ingress, &entry.packet).is_some();
        if ingress.undecided || rewritten {
            return None;
        }
        let (codec, start) = self.form(ingress)?;
        let (picture_id, marker) = read_note(note);
        let fields = RtpHeaderFields {
            marker,
            payload_type: codec.red.filter(|_| whole).map_or(codec.payload_type, NonZeroU8::get),
            sequence,
            timestamp: self.stretch.time.apply(ingress.timestamp),
            ssrc: self.ssrc,
        };
        let parts = packet::Parts {
            fields,
            ingress,
            source: &entry.packet,
            payload: entry.packet.get(usize::from(start)..usize::from(ingress.payload_end))?,
            before: if whole { codec.before() } else { packet::Before::Nothing },
            shift: PictureShift { picture_id, tl0_pic_idx: self.stretch.pictures.tl0_pic_idx },
            repeated: None,
            descriptor: None,
        };
        let own = packet::OwnExtensions {
            ids: &self.extensions,
            two_byte: self.two_byte,
            mid: self.mid.as_bytes(),
            transport_seq: 0,
            now,
            zeroed: true,
        };
        let mut head = [0; LONGEST];
        // As much room as it had, so that the same extensions were left out.
        let red = if whole { 0 } else { codec.before().len() };
        let room = room.saturating_sub(red).min(LONGEST);
        let written = packet::write(&parts, &own, head.get_mut(..room)?)?;
        parity.add(head.get(..written.plain.written)?, written.plain.tail).then_some(())
    }
}
