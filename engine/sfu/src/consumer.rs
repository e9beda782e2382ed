//! Consumer: one media stream towards a subscriber.
//!
//! Told: what its producer received ([`Ingress`]), and its peer's RTCP (NACK, reports, PLI, FIR).
//! Tells: packets to send, rewritten into the caller's slot; resends as RTX; sender reports.
//! A video consumer begins with a key frame: at its start, after a pause, after a restart of the
//! source. Sequence numbers, picture ids and timestamps go on without a gap over all of these; what
//! was lost on the way here is a gap of the same size there, so that the peer may ask for it.
//! A NACK is answered by RTX only. Without RTX there is no answer, on purpose: a repeated packet
//! would have to be the same bytes to the last bit, since AEAD must not see two different packets
//! under one index, and libsrtp refuses the repetition.
//! Limits: 512 packets per NACK, 256 resends waiting; see [`sfu_proto::resend`] for their rate.
//! RFC 3550, RFC 4585, RFC 4588, RFC 5104, RFC 7741, RFC 8285, RFC 9143.
//! Left out: layers (only the first encoding is followed), pacing.

#[cfg(test)]
mod hostile_tests;
mod packet;
mod quality;
mod red;
#[cfg(test)]
pub(crate) mod rig;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use arrayvec::ArrayVec;
use sfu_proto::resend::ResendGuard;
use sfu_proto::rewrite::{PictureId, PictureIdMap, PictureShift, SequenceMap};
use sfu_proto::rtcp_schedule::{RtcpSchedule, scatter};
use sfu_proto::score::Score;
use sfu_proto::send_stream::SendStream;
use sfu_proto::srtp::Plain;
use sfu_wire::buf::Packet;
use sfu_wire::codec::CodecKind;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::ExtensionIds;
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::rtcp::{Bye, ReceiverReport, Sdes, SenderReport};
use sfu_wire::rtp::RtpHeaderFields;
use sfu_wire::time::{NtpTime, Time};
use smallvec::SmallVec;

use crate::config::ConsumerConfig;
use crate::decision::DecisionLog;
use crate::producer::{Ingress, Producer};
use crate::stats::RtpStreamStats;
pub use sfu_proto::source_clock::SourceClock;

/// Mean distance of two sender reports.
const REPORT_PERIOD: Duration = Duration::from_secs(1);
/// Packets of one NACK that are looked at.
const MAX_NACKED: usize = 512;
/// Resends that may wait to be polled.
const MAX_RESENDS: usize = 256;
/// A peer may ask for a key frame this often.
const KEY_FRAME_DISTANCE: Duration = Duration::from_millis(200);
/// The highest number that a stream begins with. Its receiver takes the first packet that it sees to be of
/// SRTP's rollover 0, so the first wrap has to be far from the start (RFC 3711, section 3.3.1).
const MAX_FIRST: u16 = 0x7fff;
/// Assumed until a report told.
const DEFAULT_RTT: Duration = Duration::from_millis(100);

/// What a peer asks a key frame with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFrameRequest {
    /// Picture loss indication.
    Pli,
    /// Full intra request; one with the same number is the same request.
    Fir {
        /// Its number.
        sequence: u8,
    },
}

/// How one router codec looks on this side.
#[derive(Debug, Clone, Copy)]
struct Codec {
    slot: u8,
    payload_type: u8,
    rtx_payload_type: Option<u8>,
}

/// A packet to be sent again.
#[derive(Debug, Clone, Copy)]
struct Resend {
    position: u64,
    sequence: u16,
    shift: PictureShift,
}

/// A consumer. What every packet touches is in the struct itself; the rest is in a box, so that a
/// wide fan-out stays in the cache.
#[derive(Debug)]
pub struct Consumer {
    sequence: SequenceMap<PictureShift>,
    stream: SendStream,
    ssrc: u32,
    epoch: u32,
    /// Timestamp of the packet sent last.
    timestamp: u32,
    pictures: PictureIdMap,
    extensions: ExtensionIds,
    mid: Mid,
    paused: bool,
    producer_paused: bool,
    /// The next packet begins a new stretch.
    starting: bool,
    video: bool,
    codecs: SmallVec<[Codec; 2]>,
    cold: Box<Cold>,
}

/// What only reports, resends and commands touch.
#[derive(Debug)]
struct Cold {
    id: ObjectId,
    transport: ObjectId,
    config: ConsumerConfig,
    rtx_ssrc: Option<u32>,
    rtx_sequence: u16,
    resends: VecDeque<Resend>,
    guard: ResendGuard,
    schedule: RtcpSchedule,
    /// Packets sent at the last report: a silent stream is not reported on.
    reported_packets: u64,
    last_request: Option<Time>,
    last_fir: Option<u8>,
    codec: CodecKind,
    resent: u64,
    resent_bytes: u64,
    nack_count: u64,
    nack_packet_count: u64,
    pli_count: u64,
    fir_count: u64,
    key_frame_count: u64,
    key_timestamp: Option<u32>,
    extensions_left_out: u64,
    discarded: u64,
    /// From what the peer reports.
    score: Score,
    /// Why layers were chosen and packets left out, while somebody asks.
    decisions: DecisionLog,
}

impl Consumer {
    /// A consumer that has sent nothing. SSRCs are unique on its transport.
    pub fn new(
        now: Time,
        id: ObjectId,
        transport: ObjectId,
        config: ConsumerConfig,
        ssrc: u32,
        rtx_ssrc: Option<u32>,
    ) -> Self {
        // SSRCs are drawn at random, so numbers scattered from them are as hard to guess.
        let seed = scatter(u64::from(ssrc) << 32 | u64::from(rtx_ssrc.unwrap_or(0)));
        let codecs = config.codecs.iter().map(|c| Codec {
            slot: c.slot,
            payload_type: c.payload_type,
            rtx_payload_type: c.rtx_payload_type,
        });
        Self {
            sequence: SequenceMap::new(seed as u16 & MAX_FIRST),
            stream: SendStream::new(),
            ssrc,
            epoch: 0,
            timestamp: 0,
            pictures: PictureIdMap::default(),
            extensions: config.extensions,
            mid: config.mid,
            paused: config.paused,
            producer_paused: false,
            starting: true,
            video: config.kind == MediaKind::Video,
            codecs: codecs.collect(),
            cold: Box::new(Cold {
                id,
                transport,
                rtx_ssrc,
                rtx_sequence: (seed >> 16) as u16 & MAX_FIRST,
                resends: VecDeque::new(),
                guard: ResendGuard::new(),
                schedule: RtcpSchedule::new(now, REPORT_PERIOD, seed),
                reported_packets: 0,
                last_request: None,
                last_fir: None,
                codec: config.codecs.first().map_or(CodecKind::Other, |c| c.kind),
                resent: 0,
                resent_bytes: 0,
                nack_count: 0,
                nack_packet_count: 0,
                pli_count: 0,
                fir_count: 0,
                key_frame_count: 0,
                key_timestamp: None,
                extensions_left_out: 0,
                discarded: 0,
                score: Score::new(None),
                decisions: DecisionLog::default(),
                config,
            }),
        }
    }

    /// Its id.
    pub fn id(&self) -> ObjectId {
        self.cold.id
    }

    /// The transport that it sends on.
    pub fn transport(&self) -> ObjectId {
        self.cold.transport
    }

    /// What it consumes.
    pub fn producer(&self) -> ObjectId {
        self.cold.config.producer
    }

    /// SSRC of the stream.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// SSRC of the RTX stream, if negotiated.
    pub fn rtx_ssrc(&self) -> Option<u32> {
        self.cold.rtx_ssrc
    }

    /// What was negotiated.
    pub fn config(&self) -> &ConsumerConfig {
        &self.cold.config
    }

    /// Paused by command.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Its weight in the sharing of bandwidth.
    pub fn priority(&self) -> u8 {
        self.cold.config.priority
    }

    /// Changes its weight in the sharing of bandwidth.
    pub fn set_priority(&mut self, priority: u8) {
        self.cold.config.priority = priority;
    }

    /// Its producer is paused.
    pub fn producer_paused(&self) -> bool {
        self.producer_paused
    }

    /// Why its layers were chosen and packets not sent.
    pub fn decisions(&self) -> &DecisionLog {
        &self.cold.decisions
    }

    /// The same, to switch on and to write.
    pub fn decisions_mut(&mut self) -> &mut DecisionLog {
        &mut self.cold.decisions
    }

    /// Video that can only go on with a key frame.
    pub fn awaits_key_frame(&self) -> bool {
        self.video && self.starting
    }

    /// Stops sending.
    pub fn pause(&mut self, _now: Time) {
        self.paused = true;
        self.stop();
    }

    /// Goes on sending. If it then awaits a key frame, ask the producer for one.
    pub fn resume(&mut self, _now: Time) {
        self.paused = false;
    }

    /// The producer was paused or resumed.
    pub fn set_producer_paused(&mut self, _now: Time, paused: bool) {
        self.producer_paused = paused;
        if paused {
            self.stop();
        }
    }

    /// What comes next has nothing to do with what came before. A restart of the source is noticed
    /// without this, by [`Ingress::epoch`].
    pub fn source_restarted(&mut self) {
        self.starting = true;
    }

    fn stop(&mut self) {
        self.starting = true;
        self.cold.resends.clear();
    }

    /// Writes the packet as this consumer's peer is to get it: what is its own into `slot`, the rest of the
    /// payload is told and left in `shared`. `slot` is as long as the packet may be; header extensions that do not fit are left out. Call
    /// only when the packet can be sent. On [`DropReason::AwaitingKeyFrame`], ask the producer for
    /// a key frame. `transport_seq` is the transport's next number, and moves on if the packet carries
    /// it: one that no packet carries would look like a loss to the peer.
    pub fn forward<'p>(
        &mut self,
        now: Time,
        ingress: &Ingress,
        shared: &'p Packet,
        slot: &mut [u8],
        transport_seq: &mut u16,
    ) -> Result<Plain<'p>, DropReason> {
        if self.paused || self.producer_paused {
            return Err(DropReason::ConsumerPaused);
        }
        let Some((codec, start)) = self.form(ingress).filter(|_| ingress.encoding == 0) else {
            return self.leave_out(ingress, slot, DropReason::ConsumerCodec);
        };
        let payload_type = codec.payload_type;
        if self.starting || self.epoch != ingress.epoch {
            self.start(ingress)?;
        }
        if let Some(reason) = ingress.blank {
            return self.leave_out(ingress, slot, reason);
        }
        let payload = shared.get(usize::from(start)..usize::from(ingress.payload_end)).unwrap_or_default();
        if packet::FIXED_LEN + payload.len() > slot.len() {
            return self.leave_out(ingress, slot, DropReason::TooLarge);
        }
        let (sequence, shift) = self.sequence.map(ingress.position).ok_or(DropReason::RtpTooOld)?;
        let fields = RtpHeaderFields {
            marker: ingress.marker,
            payload_type,
            sequence,
            timestamp: ingress.timestamp,
            ssrc: self.ssrc,
        };
        let parts = packet::Parts { fields, ingress, source: shared, payload, original: None, shift };
        let written = self.write(now, &parts, slot, transport_seq)?;
        self.pictures.written(written.picture);
        self.timestamp = ingress.timestamp;
        self.stream.handle_sent(now, payload.len());
        if ingress.key_frame && self.video {
            self.note_key_frame(ingress);
        }
        Ok(written.plain)
    }

    /// Begins a new stretch, with a key frame if it is video.
    #[cold]
    fn start(&mut self, ingress: &Ingress) -> Result<(), DropReason> {
        // Late packets of a stretch that is over do not begin it again.
        self.starting = true;
        if let Some(reason) = ingress.blank {
            return Err(reason);
        }
        if self.video && !ingress.key_frame {
            return Err(DropReason::AwaitingKeyFrame);
        }
        let shift = self.pictures.start(picture_of(ingress));
        if !self.sequence.start(ingress.position, shift) {
            return Err(DropReason::RtpTooOld);
        }
        self.epoch = ingress.epoch;
        self.starting = false;
        self.cold.codec = ingress.codec;
        Ok(())
    }

    /// Leaves a packet out without a gap. Where its number was passed already, a packet of nothing
    /// but padding goes out under it: else the peer would ask for it in vain.
    #[cold]
    fn leave_out(
        &mut self,
        ingress: &Ingress,
        slot: &mut [u8],
        reason: DropReason,
    ) -> Result<Plain<'static>, DropReason> {
        self.cold.discarded += 1;
        let same_stretch = !self.starting && self.epoch == ingress.epoch && ingress.encoding == 0;
        if !same_stretch || self.sequence.skip(ingress.position) {
            return Err(reason);
        }
        let Some((sequence, _)) = self.sequence.map(ingress.position) else { return Err(reason) };
        let payload_type = self.codecs.first().map(|c| c.payload_type).ok_or(reason)?;
        let fields =
            RtpHeaderFields { marker: false, payload_type, sequence, timestamp: self.timestamp, ssrc: self.ssrc };
        packet::write_padding(&fields, slot).map(Plain::whole).ok_or(reason)
    }

    fn write<'p>(
        &mut self,
        now: Time,
        parts: &packet::Parts<'_, 'p>,
        slot: &mut [u8],
        transport_seq: &mut u16,
    ) -> Result<packet::Written<'p>, DropReason> {
        let own = packet::OwnExtensions {
            ids: &self.extensions,
            mid: self.mid.as_str().as_bytes(),
            transport_seq: *transport_seq,
            now,
        };
        let written = packet::write(parts, &own, slot).ok_or(DropReason::TooLarge)?;
        *transport_seq = transport_seq.wrapping_add(u16::from(written.numbered));
        if written.left_out > 0 {
            self.cold.extensions_left_out += u64::from(written.left_out);
        }
        Ok(written)
    }

    fn note_key_frame(&mut self, ingress: &Ingress) {
        if self.cold.key_timestamp != Some(ingress.timestamp) {
            self.cold.key_timestamp = Some(ingress.timestamp);
            self.cold.key_frame_count += 1;
        }
    }

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
                Some((position, shift)) if cold.guard.admit(now, position, rtt) => {
                    cold.resends.push_back(Resend { position, sequence, shift });
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
    /// least one off the queue. `transport_seq` as in [`Consumer::forward`].
    pub fn poll_resend<'p>(
        &mut self,
        now: Time,
        producer: &'p Producer,
        slot: &mut [u8],
        transport_seq: &mut u16,
    ) -> Option<Plain<'p>> {
        let ssrc = self.cold.rtx_ssrc?;
        while let Some(resend) = self.cold.resends.pop_front() {
            let Some(entry) = producer.recall(now, 0, resend.position) else { continue };
            let ingress = &entry.meta;
            let Some((codec, start)) = self.form(ingress) else { continue };
            let Some(payload_type) = codec.rtx_payload_type else { continue };
            let range = usize::from(start)..usize::from(ingress.payload_end);
            let fields = RtpHeaderFields {
                marker: ingress.marker,
                payload_type,
                sequence: self.cold.rtx_sequence,
                timestamp: ingress.timestamp,
                ssrc,
            };
            let parts = packet::Parts {
                fields,
                ingress,
                source: &entry.packet,
                payload: entry.packet.get(range).unwrap_or_default(),
                original: Some(resend.sequence),
                shift: resend.shift,
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

    /// The peer asks for a key frame. `true`: pass the wish on. `false`: it asks too often, or
    /// repeats itself.
    pub fn handle_key_frame_request(&mut self, now: Time, request: KeyFrameRequest) -> bool {
        let cold = &mut *self.cold;
        match request {
            KeyFrameRequest::Pli => cold.pli_count += 1,
            KeyFrameRequest::Fir { sequence } => {
                cold.fir_count += 1;
                if cold.last_fir.replace(sequence) == Some(sequence) {
                    return false;
                }
            }
        }
        let often = cold.last_request.is_some_and(|last| now.saturating_since(last) < KEY_FRAME_DISTANCE);
        if often || !self.video || self.paused || self.producer_paused {
            return false;
        }
        cold.last_request = Some(now);
        true
    }

    /// A sender report with our name, when it is due. `ntp` is our wall clock, `clock` the
    /// producer's [`Producer::source_clock`].
    pub fn poll_rtcp(&mut self, now: Time, ntp: NtpTime, clock: Option<SourceClock>, buf: &mut [u8]) -> Option<usize> {
        if !self.cold.schedule.poll(now) || self.stream.packets() == self.cold.reported_packets {
            return None;
        }
        self.cold.reported_packets = self.stream.packets();
        let report = SenderReport {
            ssrc: self.ssrc,
            ntp,
            rtp_timestamp: clock.map_or(self.timestamp, |c| c.timestamp_at(now)),
            packet_count: self.stream.packets() as u32,
            octet_count: self.stream.bytes() as u32,
        };
        let len = report.write(buf, &[]).ok()?;
        self.write_name(buf, len)
    }

    /// A goodbye for the streams of this consumer, for when it closes; `None` if none began.
    pub fn write_bye(&self, buf: &mut [u8]) -> Option<usize> {
        if self.stream.packets() == 0 {
            return None;
        }
        let len = ReceiverReport { ssrc: self.ssrc }.write(buf, &[]).ok()?;
        let len = self.write_name(buf, len)?;
        let ssrcs: ArrayVec<u32, 2> = [Some(self.ssrc), self.cold.rtx_ssrc].into_iter().flatten().collect();
        Some(len + Bye::write(buf.get_mut(len..)?, &ssrcs, None).ok()?)
    }

    fn write_name(&self, buf: &mut [u8], len: usize) -> Option<usize> {
        let name = self.cold.config.cname.as_bytes();
        Some(len + Sdes::write(buf.get_mut(len..)?, &[(self.ssrc, name)]).ok()?)
    }

    /// When [`Consumer::poll_rtcp`] may have something to say.
    pub fn next_timeout(&self) -> Option<Time> {
        Some(self.cold.schedule.next_timeout())
    }

    /// Counters.
    pub fn stats(&self, now: Time) -> RtpStreamStats {
        let (s, cold) = (self.stream.stats(now), &self.cold);
        RtpStreamStats {
            object: cold.id,
            ssrc: self.ssrc,
            rtx_ssrc: cold.rtx_ssrc,
            rid: None,
            inbound: false,
            kind: cold.config.kind,
            codec: cold.codec,
            packets: s.packets,
            bytes: s.bytes,
            bitrate: u32::try_from(s.bitrate).unwrap_or(u32::MAX),
            packets_lost: s.packets_lost,
            fraction_lost: s.fraction_lost,
            jitter: s.jitter,
            packets_discarded: cold.discarded,
            packets_retransmitted: cold.resent,
            packets_repaired: 0,
            nack_count: cold.nack_count,
            nack_packet_count: cold.nack_packet_count,
            pli_count: cold.pli_count,
            fir_count: cold.fir_count,
            key_frame_count: cold.key_frame_count,
            round_trip_time_ms: s.round_trip.map(|rtt| rtt.as_secs_f32() * 1000.0),
            rtx_packets_discarded: 0,
            score: cold.score.score(),
        }
    }

    /// Header extensions left out since a packet had no room for them.
    pub fn extensions_left_out(&self) -> u64 {
        self.cold.extensions_left_out
    }
}

fn picture_of(ingress: &Ingress) -> PictureId {
    ingress.vp8.map_or(PictureId::default(), |d| PictureId {
        picture_id: d.picture_id.map(|id| id.value),
        wide: d.picture_id.is_some_and(|id| id.long),
        tl0_pic_idx: d.tl0_picture_index,
    })
}
