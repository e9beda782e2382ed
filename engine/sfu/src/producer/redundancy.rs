//! Redundancy (RFC 2198) as it is received: of audio the primary block, for consumers that do not speak
//! RED, and packets that were lost but are redundant blocks of a later one; of video what browsers put
//! into RED to send it beside ULPFEC. And the repair packets of a FlexFEC stream: they are counted, and say which packets
//! consumers that speak FlexFEC are to get a repair packet of their own over. None of them repairs what is lost on the way here:
//! that is asked for again.
//!
//! A block has no sequence number. The block before the primary one is taken for the packet before
//! it, and so on, as long as each begins where, by its own length, the next one does: a sender that
//! leaves packets out (silence, a packet too long to repeat) is not misread. Limits: eight packets of one; no
//! block is opened as RED again; on average a packet is protected eight times.

use arrayvec::ArrayVec;
use sfu_wire::codec::fec::Protection;
use sfu_wire::codec::red::{RedBlock, RedPayload};
use sfu_wire::codec::{CodecKind, opus};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::media::MediaKind;
use sfu_wire::rtp::RtpView;
use sfu_wire::time::Time;

use super::encoding::Encoding;
use super::{Ingress, PrimaryBlock, Producer};
use crate::config::{CodecConfig, ProducerConfig};

/// Packets recovered by one.
pub type Recovered = ArrayVec<Ingress, MAX_RECOVERED>;

/// Most packets recovered by one: browsers repeat one or two, nine at the most.
const MAX_RECOVERED: usize = 8;

/// So many times a packet may be protected by FlexFEC, on average: making parity for every consumer costs, and a publisher
/// must not be able to have more of it made than its media is worth. Browsers stay below half of that.
const PROTECTED_EACH: u16 = 8;
/// What is saved up of that: for as many packets as one repair packet is about.
const MOST_SAVED: u16 = PROTECTED_EACH * 110;

/// Repair packets of an encoding, of both kinds.
#[derive(Debug, Default)]
pub(super) struct RepairCount {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// Packets that FlexFEC may still protect.
    credit: u16,
}

impl RepairCount {
    #[inline]
    pub(super) fn note(&mut self, ingress: &Ingress, len: usize) {
        if ingress.blank == Some(DropReason::RtpFec) {
            self.add(len);
        } else {
            self.credit = MOST_SAVED.min(self.credit + PROTECTED_EACH);
        }
    }

    fn add(&mut self, len: usize) {
        self.packets += 1;
        self.bytes += len as u64;
    }
}

/// What a FlexFEC packet of a publisher says: which packets of an encoding are to be protected, now.
#[derive(Debug, Clone, Copy)]
pub struct Repair {
    /// Index of the encoding.
    pub encoding: u8,
    /// Bytes of its payload.
    pub len: usize,
    protection: Protection,
    newest: u64,
}

impl Repair {
    /// Positions of the packets, at most 109, in their order.
    pub fn positions(&self) -> impl Iterator<Item = u64> + use<> {
        let newest = self.newest;
        let away = move |sequence: u16| i64::from(sequence.wrapping_sub(newest as u16) as i16);
        self.protection.sequences().filter_map(move |sequence| newest.checked_add_signed(away(sequence)))
    }
}

impl Producer {
    /// Takes a decrypted packet of an encoding's FlexFEC stream. `view` is its parse.
    pub fn handle_repair(&mut self, encoding: u8, bytes: &[u8], view: &RtpView<'_>) -> Result<Repair, DropReason> {
        let state = self.encodings.get_mut(usize::from(encoding)).ok_or(DropReason::RtpUnroutable)?;
        state.fec.add(bytes.len());
        let payload = view.payload();
        let known =
            Protection::parse_flexfec(payload).ok().flatten().filter(|p| p.ssrc.is_some() && p.ssrc == state.ssrc);
        let (protection, newest) = known.zip(state.history.newest()).ok_or(DropReason::RtpFec)?;
        if self.paused {
            return Err(DropReason::ProducerPaused);
        }
        let cost = protection.sequences().count() as u16;
        state.fec.credit = state.fec.credit.checked_sub(cost).ok_or(DropReason::RtpFec)?;
        Ok(Repair { encoding, len: payload.len(), protection, newest })
    }

    /// Packets of this payload type are of a FlexFEC stream.
    pub(crate) fn is_repair(&self, payload_type: u8) -> bool {
        self.config.codecs.iter().any(|c| c.kind == CodecKind::FlexFec && c.payload_type == payload_type)
    }
}

impl Encoding {
    /// Opens a RED packet that was placed: its primary block, and of its redundant ones those that are
    /// missing. One whose blocks are not there is blank.
    pub(super) fn open_red(
        &mut self,
        config: &ProducerConfig,
        arrival: Time,
        bytes: &[u8],
        timestamp: u32,
        ingress: &mut Ingress,
    ) {
        self.recovered.clear();
        let (start, end) = (usize::from(ingress.payload_start), usize::from(ingress.payload_end));
        let payload = bytes.get(start..end).unwrap_or_default();
        let Ok(red) = RedPayload::parse(payload) else {
            ingress.blank = Some(DropReason::RtpPayload);
            return;
        };
        if let Some(codec) = plain_codec(config, red.payload_type) {
            ingress.primary =
                Some(PrimaryBlock { slot: codec.slot, start: (start + red.primary_range().start) as u16 });
            ingress.is_dtx = codec.kind == CodecKind::Opus && opus::is_dtx(red.primary);
        }
        let mut block_end = start + red.primary_range().start;
        let mut next_offset = 0;
        for (distance, block) in (1..).zip(red.redundant().rev()).take(MAX_RECOVERED) {
            let range = block_end - block.data.len()..block_end;
            block_end = range.start;
            let Some(codec) = plain_codec(config, block.payload_type) else { return };
            if !reaches(&block, next_offset, codec) {
                return;
            }
            next_offset = u32::from(block.timestamp_offset);
            let position = ingress.position - distance;
            if !self.stream.is_missing(position) || self.stream.handle_repaired(position as u16).is_err() {
                continue;
            }
            self.nack_found(arrival, position);
            let block_timestamp = timestamp.wrapping_sub(next_offset);
            self.recovered.insert(
                0,
                Ingress {
                    position,
                    timestamp: self.line.map(arrival, position, block_timestamp, codec.clock_rate),
                    payload_start: range.start as u16,
                    payload_end: range.end as u16,
                    slot: codec.slot,
                    marker: false,
                    codec: codec.kind,
                    primary: None,
                    recovered: true,
                    is_dtx: codec.kind == CodecKind::Opus && opus::is_dtx(block.data),
                    extensions: ArrayVec::new(),
                    ..ingress.clone()
                },
            );
        }
    }
}

/// Takes video out of its RED, and notes what repairs packets of this hop: it is no media. A repair packet is about the publisher's
/// bytes, with its numbers and header extensions; consumers that know ULPFEC make one of their own of it, the others leave it out.
pub(super) fn unwrap_video(config: &ProducerConfig, bytes: &[u8], ingress: &mut Ingress) {
    if config.kind != MediaKind::Video {
        return;
    }
    if matches!(ingress.codec, CodecKind::UlpFec | CodecKind::FlexFec) {
        ingress.blank = Some(DropReason::RtpFec);
    } else if ingress.codec == CodecKind::Red && !config.opaque_payload {
        let (start, end) = (usize::from(ingress.payload_start), usize::from(ingress.payload_end));
        let Ok(red) = RedPayload::parse(bytes.get(start..end).unwrap_or_default()) else {
            // A probe is nothing but padding; anything else is broken.
            ingress.blank = Some(if start == end { DropReason::RtpPaddingOnly } else { DropReason::RtpPayload });
            return;
        };
        match plain_codec(config, red.payload_type) {
            Some(codec) if codec.kind.is_video() => {
                (ingress.slot, ingress.codec) = (codec.slot, codec.kind);
                ingress.payload_start = (start + red.primary_range().start) as u16;
            }
            Some(codec) if codec.kind.is_repair() => {
                (ingress.slot, ingress.codec) = (codec.slot, codec.kind);
                ingress.payload_start = (start + red.primary_range().start) as u16;
                ingress.blank = Some(DropReason::RtpFec);
            }
            _ => ingress.blank = Some(DropReason::RtpPayload),
        }
    }
}

/// Does the block end where the next one begins? Only Opus tells how long it lasts.
fn reaches(block: &RedBlock<'_>, next_offset: u32, codec: &CodecConfig) -> bool {
    let lasts = match codec.kind {
        CodecKind::Opus => opus::duration(block.data),
        _ => None,
    };
    let ticks = lasts.map(|lasts| (lasts.as_micros() * u128::from(codec.clock_rate) / 1_000_000) as u32);
    ticks.is_some_and(|ticks| next_offset + ticks == u32::from(block.timestamp_offset))
}

/// The codec of a block, which is not RED again.
fn plain_codec(config: &ProducerConfig, payload_type: u8) -> Option<&CodecConfig> {
    config.codecs.iter().find(|c| c.payload_type == payload_type && c.kind != CodecKind::Red)
}
