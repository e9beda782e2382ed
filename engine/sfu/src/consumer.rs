//! Consumer: one media stream towards a subscriber.
//!
//! Told: what its producer received ([`Ingress`](crate::producer::Ingress)), and its peer's RTCP (NACK, reports, PLI, FIR).
//! Tells: packets to send, rewritten into the caller's slot; resends as RTX; repair packets of its own; sender reports.
//! A video consumer begins with a key frame: at its start, after a pause, after a restart of the
//! source, and where it goes over to another encoding or another producer, which it does at that one's
//! key frame and not before. Sequence numbers, picture ids, frame numbers and timestamps go on without a
//! gap over all of these and over layers that are left out; what was lost on the way here is a gap of the
//! same size there, so that the peer may ask for it.
//! A NACK is answered by RTX only. Without RTX there is no answer, on purpose: a repeated packet
//! would have to be the same bytes to the last bit, since AEAD must not see two different packets
//! under one index, and libsrtp refuses the repetition.
//! Limits: 512 packets per NACK, 256 resends waiting; see [`sfu_proto::resend`] for their rate.
//! RFC 3550, RFC 4585, RFC 4588, RFC 5104, RFC 7741, RFC 8285, RFC 9143.
//! Left out: pacing, and how much the way to the peer can carry.

mod choice;
mod forwarding;
#[cfg(test)]
mod hostile_tests;
mod lane;
mod packet;
mod padding;
mod parity;
mod quality;
mod red;
mod resends;
#[cfg(test)]
pub(crate) mod rig;
mod stretch;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wrap_tests;

use std::collections::VecDeque;
use std::num::{NonZeroU8, NonZeroU64};
use std::time::Duration;

use arrayvec::ArrayVec;
use sfu_proto::layers::Selector;
use sfu_proto::resend::ResendGuard;
use sfu_proto::rewrite::{PictureIdMap, SequenceMap};
use sfu_proto::rtcp_schedule::{RtcpSchedule, scatter};
use sfu_proto::score::Score;
use sfu_proto::send_stream::SendStream;
use sfu_wire::codec::CodecKind;
use sfu_wire::extension::ExtensionIds;
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::rtcp::{Bye, ReceiverReport, Sdes, SenderReport};
use sfu_wire::scalability::Layers;
use sfu_wire::time::{NtpTime, Time};
use smallvec::SmallVec;

use crate::config::{CodecConfig, ConsumerConfig};
use crate::decision::{DecisionLog, LayerCause};
use crate::signalled::StreamSsrcs;
use crate::stats::RtpStreamStats;
use choice::Pending;
pub(crate) use lane::ALL_LAYERS;
use lane::Lane;
use padding::FramePadding;
use resends::Resend;
pub use sfu_proto::source_clock::SourceClock;
use stretch::{Stretch, Stretches};

/// Mean distance of two sender reports.
const REPORT_PERIOD: Duration = Duration::from_secs(1);
/// A peer may ask for a key frame this often.
const KEY_FRAME_DISTANCE: Duration = Duration::from_millis(200);
/// The highest number that a stream begins with. Its receiver takes the first packet that it sees to be of
/// SRTP's rollover 0, so the first wrap has to be far from the start (RFC 3711, section 3.3.1).
const MAX_FIRST: u16 = 0x7fff;
/// Numbers that NACKs may ask for: as many as packets are kept to answer from.
const VIDEO_NUMBERS: usize = 4096;
const AUDIO_NUMBERS: usize = 256;

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
    rtx_payload_type: Option<NonZeroU8>,
    /// Payload type of RED, if the peer gets this codec in it.
    red: Option<NonZeroU8>,
}

/// A consumer. What every packet touches is in the struct itself; the rest is in a box, so that a
/// wide fan-out stays in the cache.
#[derive(Debug)]
pub struct Consumer {
    transport: ObjectId,
    sequence: SequenceMap,
    stretch: Stretch,
    selector: Box<Selector>,
    stream: SendStream,
    ssrc: u32,
    epoch: u32,
    /// Timestamp of the packet sent last.
    timestamp: u32,
    pictures: PictureIdMap,
    /// Newest frame number written in a dependency descriptor.
    frame: u16,
    /// The encoding that is wanted; if it does not flow, it is waited for.
    target_encoding: u8,
    extensions: ExtensionIds,
    /// Header extensions have the two-byte form.
    two_byte: bool,
    mid: Mid,
    /// By command, or since nobody wants its stream of a pipe.
    paused: bool,
    producer_paused: bool,
    /// The next packet begins a new stretch.
    starting: bool,
    /// Packets came whose layers cannot be told before a structure comes.
    stalled: bool,
    /// Layers may have something to tell.
    layers_noted: bool,
    ignore_dtx: bool,
    video: bool,
    padding: FramePadding,
    /// Packets from this position on are taken from what the producer keeps.
    replay: Option<NonZeroU64>,
    /// When a packet was sent last.
    sent_at: Time,
    codecs: SmallVec<[Codec; 2]>,
    cold: Box<Cold>,
}

/// Its FlexFEC stream.
#[derive(Debug, Clone, Copy)]
struct FecStream {
    ssrc: u32,
    sequence: u16,
    /// Added to our clock: timestamps of RTP begin anywhere (RFC 3550, section 5.1).
    offset: u32,
}

/// What only reports, resends and commands touch.
#[derive(Debug)]
struct Cold {
    id: ObjectId,
    config: ConsumerConfig,
    rtx_ssrc: Option<u32>,
    rtx_sequence: u16,
    fec: Option<FecStream>,
    /// Repair packets sent, and their bytes.
    repairs: (u64, u64),
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
    stretches: Stretches,
    /// The encoding whose timestamps the present shift is for.
    line: Option<(ObjectId, u8)>,
    /// The line of the producer that is being left.
    left_clock: Option<SourceClock>,
    /// First position of the present stretch.
    first: u64,
    /// A frame number was written.
    framed: bool,
    pending: Option<Box<Pending>>,
    left: Option<ObjectId>,
    simulcast: bool,
    layered: bool,
    told_layers: Option<Layers>,
    cause: LayerCause,
    replay_due: Option<Time>,
    replay_from: (ObjectId, u8),
    paused_by_command: bool,
    /// Of a pipe: which of its streams this is.
    lane: Option<Box<Lane>>,
}

impl Consumer {
    /// A consumer that has sent nothing. SSRCs are unique on its transport.
    pub fn new(now: Time, id: ObjectId, transport: ObjectId, config: ConsumerConfig, ssrcs: StreamSsrcs) -> Self {
        let seed = seed_of(ssrcs);
        let video = config.kind == MediaKind::Video;
        let numbers = if video { VIDEO_NUMBERS } else { AUDIO_NUMBERS };
        Self {
            transport,
            sequence: SequenceMap::new(seed as u16 & MAX_FIRST, numbers),
            stretch: Stretch::new(config.producer, 0),
            selector: Box::default(),
            stream: SendStream::new(),
            ssrc: ssrcs.ssrc,
            epoch: 0,
            timestamp: 0,
            pictures: PictureIdMap::default(),
            frame: 0,
            target_encoding: 0,
            two_byte: packet::is_two_byte(&config.extensions, &config.mid),
            extensions: config.extensions,
            mid: config.mid,
            paused: config.paused,
            producer_paused: false,
            starting: true,
            stalled: false,
            layers_noted: false,
            ignore_dtx: config.ignore_dtx,
            video,
            padding: FramePadding::new(&config),
            replay: None,
            sent_at: now,
            codecs: codecs_of(&config),
            cold: Box::new(Cold::new(now, id, config, ssrcs)),
        }
    }

    /// Its id towards others. All streams of a pipe consumer have that of the first one.
    pub fn id(&self) -> ObjectId {
        self.cold.id
    }

    /// The transport that it sends on.
    pub fn transport(&self) -> ObjectId {
        self.transport
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

    /// SSRCs of all that it sends.
    pub fn ssrcs(&self) -> StreamSsrcs {
        let Cold { rtx_ssrc, fec, .. } = *self.cold;
        StreamSsrcs { ssrc: self.ssrc, rtx_ssrc, fec_ssrc: fec.map(|fec| fec.ssrc) }
    }

    /// What was negotiated.
    pub fn config(&self) -> &ConsumerConfig {
        &self.cold.config
    }

    /// Paused, by command or since nobody wants its stream of a pipe.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Paused by command.
    pub fn is_paused_by_command(&self) -> bool {
        self.cold.paused_by_command
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

    /// It sends video.
    #[inline]
    pub fn is_video(&self) -> bool {
        self.video
    }

    /// Video that can only go on with a key frame.
    pub fn awaits_key_frame(&self) -> bool {
        self.video && self.starting
    }

    /// Stops sending.
    pub fn pause(&mut self, _now: Time) {
        self.cold.paused_by_command = true;
        self.paused = true;
        self.stop();
    }

    /// Goes on sending. If it then awaits a key frame, ask the producer for one.
    pub fn resume(&mut self, _now: Time) {
        self.cold.paused_by_command = false;
        self.paused = self.is_unwanted_lane();
    }

    /// The producer was paused or resumed.
    pub fn set_producer_paused(&mut self, _now: Time, paused: bool) {
        self.producer_paused = paused;
        if paused {
            self.stop();
        }
    }

    /// What comes next has nothing to do with what came before. A restart of the source is noticed
    /// without this, by [`Ingress::epoch`](crate::producer::Ingress::epoch).
    pub fn source_restarted(&mut self) {
        self.starting = true;
    }

    fn stop(&mut self) {
        self.starting = true;
        self.replay = None;
        self.cold.replay_due = None;
        self.cold.resends.clear();
        self.note_layers(LayerCause::Paused);
    }

    /// Begins with what a producer that it [follows](Consumer::follows) keeps of an encoding, from this
    /// position on; that has to be a key frame.
    pub fn start_from(&mut self, producer: ObjectId, encoding: u8, position: u64) {
        // Positions begin at a whole cycle of sequence numbers.
        self.replay = NonZeroU64::new(position);
        self.cold.replay_from = (producer, encoding);
    }

    /// Whose packets of which encoding it is sent so.
    pub fn replay_source(&self) -> (ObjectId, u8) {
        self.cold.replay_from
    }

    /// A packet of this encoding will come to it by replay.
    #[inline]
    pub fn is_replaying(&self, producer: ObjectId, encoding: u8, position: u64) -> bool {
        self.replay.is_some_and(|from| position >= from.get() && self.cold.replay_from == (producer, encoding))
    }

    /// There is something to follow up: other layers, another source, something to replay.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.layers_noted || self.has_replay_at_hand()
    }

    /// There is something to replay, and no timer runs for it.
    #[inline]
    pub fn has_replay_at_hand(&self) -> bool {
        self.replay.is_some() && self.cold.replay_due.is_none()
    }

    /// The position from which on it is sent what its producer keeps, as long as it has not caught up.
    #[inline]
    pub fn replay_position(&self) -> Option<u64> {
        self.replay.map(NonZeroU64::get)
    }

    /// The packet before `position` was sent; the rest waits until `due`. Without a position it has
    /// caught up.
    pub fn set_replay(&mut self, position: Option<u64>, due: Option<Time>) {
        self.replay = position.and_then(NonZeroU64::new);
        self.cold.replay_due = due;
    }

    /// The encoding that flows, or flowed last.
    pub fn encoding(&self) -> u8 {
        self.stretch.encoding
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

    /// Whose timestamps are sent, and of which encoding: what a switch has chosen but nothing has come of yet is
    /// not reported on.
    pub fn line(&self) -> Option<(ObjectId, u8)> {
        self.cold.line
    }

    /// A sender report with our name, when it is due. `ntp` is our wall clock, `clock` that of the
    /// [line](Consumer::line) that is sent; without one, the last one known of a source that is gone.
    pub fn poll_rtcp(&mut self, now: Time, ntp: NtpTime, clock: Option<SourceClock>, buf: &mut [u8]) -> Option<usize> {
        if !self.cold.schedule.poll(now) || self.stream.packets() == self.cold.reported_packets {
            return None;
        }
        self.cold.reported_packets = self.stream.packets();
        let shift = self.stretch.time.shift();
        let clock = clock.or(self.cold.left_clock);
        let report = SenderReport {
            ssrc: self.ssrc,
            ntp,
            rtp_timestamp: clock.map_or(self.timestamp, |c| c.timestamp_at(now).wrapping_add(shift)),
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
        let ssrcs: ArrayVec<u32, 3> = self.ssrcs().all().collect();
        Some(len + Bye::write(buf.get_mut(len..)?, &ssrcs, None).ok()?)
    }

    fn write_name(&self, buf: &mut [u8], len: usize) -> Option<usize> {
        let name = self.cold.config.cname.as_bytes();
        Some(len + Sdes::write(buf.get_mut(len..)?, &[(self.ssrc, name)]).ok()?)
    }

    /// When [`Consumer::poll_rtcp`] may have something to say.
    pub fn next_timeout(&self) -> Option<Time> {
        let report = self.cold.schedule.next_timeout();
        Some(self.cold.replay_due.map_or(report, |due| due.min(report)))
    }

    /// Counters.
    pub fn stats(&self, now: Time) -> RtpStreamStats {
        let (s, cold) = (self.stream.stats(now), &self.cold);
        RtpStreamStats {
            object: cold.id,
            ssrc: self.ssrc,
            rtx_ssrc: cold.rtx_ssrc,
            fec_ssrc: cold.fec.map(|fec| fec.ssrc),
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
            fec_packets: cold.repairs.0,
            fec_bytes: cold.repairs.1,
            score: cold.score.score(),
            bitrate_by_layer: Vec::new(),
        }
    }

    /// Header extensions left out since a packet had no room for them, or its form no place.
    pub fn extensions_left_out(&self) -> u64 {
        self.cold.extensions_left_out
    }
}

impl Cold {
    fn new(now: Time, id: ObjectId, config: ConsumerConfig, ssrcs: StreamSsrcs) -> Self {
        let seed = seed_of(ssrcs);
        Self {
            id,
            rtx_ssrc: ssrcs.rtx_ssrc,
            rtx_sequence: (seed >> 16) as u16 & MAX_FIRST,
            fec: ssrcs.fec_ssrc.map(|ssrc| FecStream::new(ssrc, seed)),
            repairs: (0, 0),
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
            stretches: Stretches::default(),
            line: None,
            left_clock: None,
            first: 0,
            framed: false,
            pending: None,
            left: None,
            simulcast: false,
            layered: false,
            told_layers: None,
            cause: LayerCause::Start,
            replay_due: None,
            replay_from: (config.producer, 0),
            paused_by_command: config.paused,
            lane: None,
            config,
        }
    }
}

impl FecStream {
    fn new(ssrc: u32, seed: u64) -> Self {
        let seed = scatter(seed ^ u64::from(ssrc));
        Self { ssrc, sequence: seed as u16 & MAX_FIRST, offset: (seed >> 32) as u32 }
    }
}

/// SSRCs are drawn at random, so numbers scattered from them are as hard to guess.
fn seed_of(ssrcs: StreamSsrcs) -> u64 {
    scatter(u64::from(ssrcs.ssrc) << 32 | u64::from(ssrcs.rtx_ssrc.unwrap_or(0)))
}

fn codecs_of(config: &ConsumerConfig) -> SmallVec<[Codec; 2]> {
    let red = parity::red_of(config);
    let codec = |c: &CodecConfig| Codec {
        slot: c.slot,
        payload_type: c.payload_type,
        rtx_payload_type: c.rtx_payload_type.and_then(NonZeroU8::new),
        red: red.filter(|_| c.kind.is_video()),
    };
    config.codecs.iter().map(codec).collect()
}
