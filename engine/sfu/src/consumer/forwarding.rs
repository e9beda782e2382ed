//! A packet on its way through a consumer: whether it is sent, as what, and where a stretch begins.

use std::num::NonZeroU8;

use sfu_proto::layers::Scheme;
use sfu_proto::rewrite::{PictureId, PictureShift, TimestampShift};
use sfu_proto::srtp::Plain;
use sfu_wire::buf::Packet;
use sfu_wire::dependency_descriptor::{DependencyDescriptor, DescriptorRewrite, MANDATORY_LEN, TemplateStructure};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;
use sfu_wire::rtp::RtpHeaderFields;
use sfu_wire::time::Time;

use super::padding::PADDING_BIT;
use super::red::form_in;
use super::stretch::{Stretch, note};
use super::{Consumer, packet};
use crate::decision::LayerCause;
use crate::producer::{Ingress, Producer, descriptor_of};

/// Longest value of a header extension.
const MAX_DESCRIPTOR: usize = 255;

/// What a layer's verdict makes of a packet.
struct Chosen {
    marker: bool,
    shift: PictureShift,
}

impl Consumer {
    /// Packets of this encoding are of interest: it flows, or is waited for.
    #[inline]
    pub fn follows(&self, producer: ObjectId, encoding: u8) -> bool {
        if producer == self.stretch.source && (encoding == self.stretch.encoding || encoding == self.target_encoding) {
            return true;
        }
        self.cold.pending.as_ref().is_some_and(|p| p.config.producer == producer && p.encoding == encoding)
    }

    /// Writes the packet as this consumer's peer is to get it: what is its own into `slot`, the rest of
    /// the payload is told and left in `shared`. `slot` is as long as the packet may be; header extensions
    /// that do not fit are left out. Nothing is written for a packet of a layer that is not wanted. Call
    /// only when the packet can be sent, and only for what it [follows](Consumer::follows). On
    /// [`DropReason::AwaitingKeyFrame`], ask the producer for a key frame of the packet's encoding.
    /// `transport_seq` is the transport's next number, and moves on if the packet carries it: one that
    /// no packet carries would look like a loss to the peer.
    pub fn forward<'p>(
        &mut self,
        now: Time,
        producer: &Producer,
        ingress: &Ingress,
        shared: &'p Packet,
        slot: &mut [u8],
        transport_seq: &mut u16,
    ) -> Result<Plain<'p>, DropReason> {
        let is_source = producer.id() == self.stretch.source;
        if self.paused || is_source && self.producer_paused {
            return Err(DropReason::ConsumerPaused);
        }
        let flows = is_source && ingress.encoding == self.stretch.encoding;
        let begins = !flows || self.starting || self.epoch != ingress.epoch;
        if begins && !self.begin(now, producer, ingress, flows)? {
            return Ok(Plain::default());
        }
        if let Some(reason) = ingress.blank {
            return match self.forward_repair(now, producer, ingress, shared, slot, transport_seq) {
                Some(written) => Ok(written),
                None => self.leave_out(ingress, slot, reason),
            };
        }
        let Some((codec, start)) = self.form(ingress) else {
            return self.leave_out(ingress, slot, DropReason::ConsumerCodec);
        };
        let payload_type = codec.payload_type;
        if self.ignore_dtx && ingress.is_dtx {
            return Ok(self.leave_out(ingress, slot, DropReason::ConsumerPaused).unwrap_or_default());
        }
        let payload = shared.get(usize::from(start)..usize::from(ingress.payload_end)).unwrap_or_default();
        let before = codec.before();
        if packet::FIXED_LEN + before.len() + payload.len() > slot.len() {
            return self.leave_out(ingress, slot, DropReason::TooLarge);
        }
        let Some(chosen) = self.choose_packet(producer, ingress) else {
            let padding =
                if ingress.undecided { None } else { self.leave_out(ingress, slot, DropReason::TooLarge).ok() };
            return Ok(padding.unwrap_or_default());
        };
        let noted = note(chosen.shift.picture_id, chosen.marker);
        let (sequence, _) = self.sequence.map(ingress.position, noted).ok_or(DropReason::RtpTooOld)?;
        self.stretch.time.settle(ingress.timestamp);
        let timestamp = self.stretch.time.apply(ingress.timestamp);
        let marker = chosen.marker;
        let payload_type = codec.red.map_or(payload_type, NonZeroU8::get);
        let fields = RtpHeaderFields { marker, payload_type, sequence, timestamp, ssrc: self.ssrc };
        let mut buf;
        let mut descriptor = None;
        if self.extensions.get(ExtensionKind::DependencyDescriptor).is_some() {
            buf = [0; MAX_DESCRIPTOR];
            let stretch = self.stretch;
            descriptor = self.rewrite_descriptor(&stretch, producer, ingress, shared, &mut buf);
        }
        let repeated = self.repeated(codec, ingress);
        let shift = chosen.shift;
        let parts = packet::Parts { fields, ingress, source: shared, payload, before, shift, repeated, descriptor };
        let written = self.write(now, &parts, slot, transport_seq)?;
        self.pictures.written(written.picture);
        let goes_on = timestamp == self.timestamp;
        self.note_sent(now, timestamp, payload.len());
        if ingress.key_frame && self.video {
            self.note_key_frame(timestamp);
        }
        if ingress.has_structure && std::mem::take(&mut self.stalled) {
            // What came meanwhile can be read now.
            self.start_from(producer.id(), ingress.encoding, ingress.position + 1);
        }
        let mut plain = written.plain;
        plain.padding = self.padding.next(goes_on, marker, plain.len(), slot.len());
        if let Some(first) = slot.first_mut().filter(|_| plain.padding > 0) {
            *first |= PADDING_BIT;
        }
        Ok(plain)
    }

    /// What its layer makes of a packet; `None`: it is left out.
    #[inline]
    fn choose_packet(&mut self, producer: &Producer, ingress: &Ingress) -> Option<Chosen> {
        let mut shift = self.stretch.pictures;
        shift.picture_id = shift.picture_id.wrapping_sub(ingress.pictures_out) & 0x7fff;
        if ingress.undecided {
            self.stalled = true;
            return None;
        }
        if ingress.layer.scheme == Scheme::None {
            return Some(Chosen { marker: ingress.marker, shift });
        }
        let before = self.selector.current();
        let targets = producer.targets(ingress.encoding);
        let verdict = self.selector.select(&ingress.layer, ingress.timestamp, targets);
        if before != self.selector.current() {
            self.note_layers(LayerCause::SwitchPoint);
        }
        if !verdict.forward {
            return None;
        }
        shift.picture_id = shift.picture_id.wrapping_sub(verdict.dropped) & 0x7fff;
        Some(Chosen { marker: ingress.marker || verdict.marker, shift })
    }

    /// Begins a new stretch, with a key frame if it is video. `flows`: it is of the encoding that flowed.
    /// `false`: not yet, but there is nothing to ask for.
    #[cold]
    fn begin(&mut self, now: Time, producer: &Producer, ingress: &Ingress, flows: bool) -> Result<bool, DropReason> {
        if flows {
            // Late packets of a stretch that is over do not begin it again.
            self.starting = true;
        }
        let is_pending = self.cold.pending.as_ref().is_some_and(|p| p.config.producer == producer.id());
        let codecs = match &self.cold.pending {
            Some(pending) if is_pending => &pending.codecs,
            _ => &self.codecs,
        };
        if form_in(codecs, ingress).is_none() {
            return Err(DropReason::ConsumerCodec);
        }
        if let Some(reason) = ingress.blank {
            return Err(reason);
        }
        if self.video && (!ingress.key_frame || ingress.undecided) {
            // It may be what kept the key frame after it from being begun with.
            let next = producer.recall(now, ingress.encoding, ingress.position + 1);
            if next.is_none_or(|next| !next.meta.key_frame || next.meta.timestamp == ingress.timestamp) {
                return Err(DropReason::AwaitingKeyFrame);
            }
            self.start_from(producer.id(), ingress.encoding, ingress.position + 1);
            return Ok(false);
        }
        if self.video && self.replay.is_none() && producer.may_miss_start(ingress) {
            return Ok(false);
        }
        if flows && self.replay.is_none() && !self.sequence.is_news(ingress.position) {
            return Err(DropReason::RtpTooOld);
        }
        if is_pending {
            self.take_pending();
        }
        self.start(now, producer, ingress);
        Ok(true)
    }

    fn start(&mut self, now: Time, producer: &Producer, ingress: &Ingress) {
        let time = self.time_of(now, producer, ingress);
        let sent = self.sequence.is_started();
        let id = self.sequence.start(ingress.position);
        if sent && self.cold.stretches.find(self.stretch.id).is_none() {
            self.cold.stretches.push(self.stretch, self.cold.first);
        }
        self.cold.line = Some((producer.id(), ingress.encoding));
        // A switch that is still waited for will go on from here.
        self.cold.left_clock = producer.source_clock(ingress.encoding);
        let frame = if self.cold.framed { self.frame.wrapping_add(1) } else { ingress.layer.frame };
        let frame_shift = frame.wrapping_sub(ingress.layer.frame);
        let mut pictures = self.pictures.start(picture_of(ingress));
        if sent {
            // What was left out on the way here is taken off again by each packet.
            pictures.picture_id = pictures.picture_id.wrapping_add(ingress.pictures_out) & 0x7fff;
        }
        let (source, encoding) = (producer.id(), ingress.encoding);
        self.stretch = Stretch { id, encoding, frame_shift, pictures, source, time };
        self.cold.first = ingress.position;
        self.selector.start(producer.mode(encoding));
        self.epoch = ingress.epoch;
        self.starting = false;
        self.stalled = false;
        self.cold.codec = ingress.codec;
        self.note_layers(LayerCause::SwitchPoint);
        // Packets of the key frame may have come before its first one.
        if self.replay.is_none() && producer.newest(encoding).is_some_and(|newest| newest > ingress.position) {
            self.start_from(producer.id(), encoding, ingress.position + 1);
        }
    }

    /// How timestamps of the stretch that begins with this packet go on from what was sent.
    fn time_of(&self, now: Time, producer: &Producer, ingress: &Ingress) -> TimestampShift {
        if !self.sequence.is_started() {
            return TimestampShift::NONE;
        }
        let rate = producer.clock_rate(ingress.slot);
        let backlog = producer.ticks_since(ingress.encoding, ingress.timestamp);
        let mut shift = self.stretch.time.shift();
        let line = self.cold.line;
        if line != Some((producer.id(), ingress.encoding)) {
            let old_clock = match line {
                Some((source, encoding)) if source == producer.id() => producer.source_clock(encoding),
                _ => self.cold.left_clock,
            };
            let line = old_clock.zip(producer.source_clock(ingress.encoding));
            let ticks = |ns: u64| (u128::from(ns) * u128::from(rate) / 1_000_000_000) as u32;
            let elapsed = ticks(now.as_nanos().saturating_sub(self.sent_at.as_nanos()));
            let by_arrival = self.timestamp.wrapping_add(elapsed).wrapping_sub(ingress.timestamp.wrapping_add(backlog));
            shift = match line {
                Some((old, new)) => old.timestamp_at(now).wrapping_add(shift).wrapping_sub(new.timestamp_at(now)),
                None => by_arrival,
            };
            // Clocks that are off by more than a second from what arrives are not believed.
            let off = i64::from(shift.wrapping_sub(by_arrival) as i32);
            if off.unsigned_abs() > u64::from(rate) {
                shift = by_arrival;
            }
        }
        TimestampShift::after(self.timestamp, ingress.timestamp, shift, backlog, rate)
    }

    /// Leaves a packet out without a gap. Where its number was passed already, a packet of nothing
    /// but padding goes out under it: else the peer would ask for it in vain.
    #[cold]
    pub(super) fn leave_out(
        &mut self,
        ingress: &Ingress,
        slot: &mut [u8],
        reason: DropReason,
    ) -> Result<Plain<'static>, DropReason> {
        let same_stretch = !self.starting && self.epoch == ingress.epoch && ingress.encoding == self.stretch.encoding;
        if !same_stretch || self.sequence.skip(ingress.position, 0) {
            return Err(reason);
        }
        let Some(sequence) = self.sequence.fill(ingress.position) else { return Err(reason) };
        let payload_type = self.codecs.first().map(|c| c.payload_type).ok_or(reason)?;
        let fields =
            RtpHeaderFields { marker: false, payload_type, sequence, timestamp: self.timestamp, ssrc: self.ssrc };
        packet::write_padding(&fields, slot).map(Plain::whole).ok_or(reason)
    }

    pub(super) fn write<'p>(
        &mut self,
        now: Time,
        parts: &packet::Parts<'_, 'p>,
        slot: &mut [u8],
        transport_seq: &mut u16,
    ) -> Result<packet::Written<'p>, DropReason> {
        let own = packet::OwnExtensions {
            ids: &self.extensions,
            two_byte: self.two_byte,
            mid: self.mid.as_bytes(),
            transport_seq: *transport_seq,
            now,
            zeroed: false,
        };
        let written = packet::write(parts, &own, slot).ok_or(DropReason::TooLarge)?;
        *transport_seq = transport_seq.wrapping_add(u16::from(written.numbered));
        if written.left_out > 0 {
            self.cold.extensions_left_out += u64::from(written.left_out);
        }
        Ok(written)
    }

    /// The dependency descriptor as this consumer's peer is to get it: frames numbered on from those before,
    /// and active decode targets that are really sent. `None`: there is none, or the peer did not ask for it.
    pub(super) fn rewrite_descriptor<'b>(
        &mut self,
        stretch: &Stretch,
        producer: &Producer,
        ingress: &Ingress,
        bytes: &[u8],
        buf: &'b mut [u8; MAX_DESCRIPTOR],
    ) -> Option<&'b [u8]> {
        self.extensions.get(ExtensionKind::DependencyDescriptor)?;
        let value = descriptor_of(ingress, bytes).filter(|value| value.len() >= MANDATORY_LEN)?;
        let number = u16::from_be_bytes([value[1], value[2]]).wrapping_add(stretch.frame_shift);
        if !self.cold.framed || number.wrapping_sub(self.frame) < 1 << 15 {
            self.frame = number;
            self.cold.framed = true;
        }
        let targets = producer.targets(ingress.encoding);
        let (active, changed) = self.selector.active_targets(targets, ingress.layer.frame);
        let says = ingress.has_structure || value.get(MANDATORY_LEN).is_some_and(|flags| flags & 0x40 != 0);
        let is_present = ingress.layer.scheme == Scheme::Targets && stretch.id == self.stretch.id;
        if is_present && (changed || says && (ingress.sifted || active != targets.active())) {
            let mut own = None;
            let structure = if ingress.has_structure {
                let mut read = TemplateStructure::default();
                DependencyDescriptor::parse(value, &mut read).ok()?;
                own.insert(read)
            } else {
                producer.structure(ingress.encoding)?
            };
            let descriptor = DependencyDescriptor::parse_known(value, structure).ok()?;
            let rewrite = DescriptorRewrite {
                frame_number: number,
                active_targets: Some(active),
                structure: ingress.has_structure,
                template_shift: 0,
            };
            let len = descriptor.write(buf, structure, &rewrite).ok()?;
            return buf.get(..len);
        }
        let copy = buf.get_mut(..value.len())?;
        copy.copy_from_slice(value);
        copy[1..MANDATORY_LEN].copy_from_slice(&number.to_be_bytes());
        Some(copy)
    }

    pub(super) fn note_sent(&mut self, now: Time, timestamp: u32, len: usize) {
        if timestamp.wrapping_sub(self.timestamp) < 1 << 31 || self.stream.packets() == 0 {
            self.timestamp = timestamp;
        }
        self.stream.handle_sent(now, len);
        self.sent_at = now;
    }

    fn note_key_frame(&mut self, timestamp: u32) {
        if self.cold.key_timestamp != Some(timestamp) {
            self.cold.key_timestamp = Some(timestamp);
            self.cold.key_frame_count += 1;
        }
    }
}

/// The numbers of a packet's picture.
pub(super) fn picture_of(ingress: &Ingress) -> PictureId {
    PictureId {
        picture_id: ingress.numbers.id.map(|id| id.value),
        wide: ingress.numbers.id.is_some_and(|id| id.long),
        tl0_pic_idx: ingress.numbers.tl0,
    }
}
