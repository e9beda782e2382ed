//! What a consumer's peer asks to be sent again, and the answers as RTX (RFC 4588).

use std::num::NonZeroU8;
use std::time::Duration;

use sfu_proto::rewrite::PictureShift;
use sfu_proto::srtp::Plain;
use sfu_wire::id::ObjectId;
use sfu_wire::rtp::RtpHeaderFields;
use sfu_wire::time::Time;

use super::stretch::{position_of, read_note};
use super::{Consumer, packet};
use crate::producer::Producer;

/// Packets of one NACK that are looked at.
const MAX_NACKED: usize = 512;
/// Resends that may wait to be polled.
const MAX_RESENDS: usize = 256;
/// Assumed until a report told.
const DEFAULT_RTT: Duration = Duration::from_millis(100);

/// A packet to be sent again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resend {
    sequence: u16,
    position: u32,
    note: u16,
    stretch: u8,
}

impl Consumer {
    /// The peer misses packets. Queues the answers, and returns how many requests were refused since
    /// they come too often, ask for nothing that was sent, or RTX was not negotiated.
    pub fn handle_nack(&mut self, now: Time, sequences: impl Iterator<Item = u16>) -> usize {
        let cold = &mut *self.cold;
        cold.nack_count += 1;
        let rtt = self.stream.round_trip().unwrap_or(DEFAULT_RTT);
        let mut refused = 0;
        for (k, sequence) in sequences.enumerate() {
            cold.nack_packet_count += 1;
            let room = k < MAX_NACKED && cold.rtx_ssrc.is_some() && cold.resends.len() < MAX_RESENDS;
            let place = self.sequence.locate(sequence).filter(|_| room && !self.paused);
            match place {
                // By the number and not by the position: encodings have positions of their own.
                Some(origin) if cold.guard.admit(now, u64::from(sequence), rtt) => {
                    let (position, note, stretch) = (origin.position, origin.note, origin.stretch);
                    cold.resends.push_back(Resend { sequence, position, note, stretch });
                }
                _ => refused += 1,
            }
        }
        refused
    }

    /// Answers to NACKs wait to be polled.
    pub fn has_resends(&self) -> bool {
        !self.cold.resends.is_empty()
    }

    /// Writes the next resend into `slot`, as RTX; `None`: nothing (left) to send. Each call takes at
    /// least one off the queue. `producers` finds one by its id: what was sent before a switch is
    /// another's. `transport_seq` as in [`Consumer::forward`].
    pub fn poll_resend<'p>(
        &mut self,
        now: Time,
        producers: impl Fn(ObjectId) -> Option<&'p Producer>,
        slot: &mut [u8],
        transport_seq: &mut u16,
    ) -> Option<Plain<'p>> {
        let ssrc = self.cold.rtx_ssrc?;
        while let Some(resend) = self.cold.resends.pop_front() {
            let own = Some((self.stretch, self.cold.first)).filter(|(s, _)| s.id == resend.stretch);
            let Some((stretch, first)) = own.or_else(|| self.cold.stretches.find(resend.stretch)) else { continue };
            let Some(producer) = producers(stretch.source) else { continue };
            let position = position_of(first, resend.position);
            let Some(entry) = producer.recall(now, stretch.encoding, position) else { continue };
            let mut ingress = entry.meta.clone();
            if ingress.undecided {
                producer.look_again(&mut ingress, &entry.packet);
            }
            let Some((codec, start)) = self.form(&ingress) else { continue };
            let Some(payload_type) = codec.rtx_payload_type.map(NonZeroU8::get) else { continue };
            let range = usize::from(start)..usize::from(ingress.payload_end);
            let (picture_id, marker) = read_note(resend.note);
            let fields = RtpHeaderFields {
                marker,
                payload_type,
                sequence: self.cold.rtx_sequence,
                timestamp: stretch.time.apply(ingress.timestamp),
                ssrc,
            };
            let mut buf = [0; 255];
            let descriptor = self.rewrite_descriptor(&stretch, producer, &ingress, &entry.packet, &mut buf);
            let parts = packet::Parts {
                fields,
                ingress: &ingress,
                source: &entry.packet,
                payload: entry.packet.get(range).unwrap_or_default(),
                before: packet::Before::Original(resend.sequence),
                shift: PictureShift { picture_id, tl0_pic_idx: stretch.pictures.tl0_pic_idx },
                repeated: self.repeated(codec, &ingress),
                descriptor,
            };
            if let Ok(written) = self.write(now, &parts, slot, transport_seq) {
                self.cold.rtx_sequence = self.cold.rtx_sequence.wrapping_add(1);
                self.cold.resent += 1;
                self.cold.resent_bytes += parts.payload.len() as u64 + 2;
                return Some(written.plain);
            }
        }
        None
    }
}
