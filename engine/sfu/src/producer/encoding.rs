//! One encoding of a producer: its primary stream, and the RTX and FlexFEC streams that repair it.

use std::time::Duration;

use arrayvec::ArrayVec;
use sfu_proto::history::History;
use sfu_proto::keyframe::KeyFrameThrottle;
use sfu_proto::layers::{PacketLayer, TargetTable};
use sfu_proto::nack::NackGenerator;
use sfu_proto::receive_stream::{ReceiveStream, Received};
use sfu_proto::rewrite::TimestampLine;
use sfu_proto::score::{INACTIVE, INACTIVE_DTX, Score, Totals};
use sfu_proto::source_clock::SourceClockEstimator;
use sfu_wire::codec::CodecKind;
use sfu_wire::codec::picture::PictureNumbers;
use sfu_wire::dependency_descriptor::TemplateStructure;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Rid};
use sfu_wire::rtcp::{Fir, FirEntry, Nack, Pli, SenderReport};
use sfu_wire::rtp::RtpView;
use sfu_wire::scalability::Layers;
use sfu_wire::time::{NtpTime, Time};

use super::cache::KeyFrameRun;
use super::layer_rates::LayerRates;
use super::redundancy::{self, Recovered, RepairCount};
use super::{ExtensionSpan, FORWARDED, Ingress, StreamPart};
use crate::config::{CodecConfig, EncodingConfig, ProducerConfig};
use crate::peer::Sifted;
use crate::stats::RtpStreamStats;

/// Packets asked for in one NACK message; more go into the next one.
const NACK_BATCH: usize = 64;
/// Retransmission history, in packets, bytes and time: 2 s of 16 Mbit/s, and 1 s of audio.
const VIDEO_HISTORY: (usize, usize, Duration) = (2500, 4 << 20, Duration::from_secs(2));
const AUDIO_HISTORY: (usize, usize, Duration) = (2500, 512 << 10, Duration::from_secs(1));
/// An encoding from which nothing comes for this long is not sent any more. Video is sent at least that
/// often by browsers, whatever it shows; sound with discontinuous transmission is not.
const SILENCE: Duration = Duration::from_secs(2);
const DTX_SILENCE: Duration = Duration::from_secs(5);
/// A spatial layer that has not been seen for one to two of these is not sent any more.
const LAYER_PERIOD: Duration = Duration::from_secs(1);
/// A structure that is missing for longer is asked for with a key frame: till then a resend may bring it.
const STRUCTURE_PATIENCE: Duration = Duration::from_millis(300);
/// Late packets of an SSRC that was replaced do not bring it back for this long.
const GRACE: Duration = Duration::from_millis(500);

/// What the publisher is to be told at once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Feedback {
    Nack { ssrc: u32, sequences: ArrayVec<u16, NACK_BATCH> },
    Pli { ssrc: u32 },
    Fir { ssrc: u32, sequence: u8 },
}

impl Feedback {
    pub(super) fn write(&self, buf: &mut [u8], sender: u32) -> Option<usize> {
        match self {
            Self::Nack { ssrc, sequences } => Nack::write(buf, sender, *ssrc, sequences).ok(),
            Self::Pli { ssrc } => Pli { sender_ssrc: sender, media_ssrc: *ssrc }.write(buf).ok(),
            Self::Fir { ssrc, sequence } => {
                Fir::write(buf, sender, &[FirEntry { ssrc: *ssrc, sequence: *sequence }]).ok()
            }
        }
    }
}

/// State of one encoding.
#[derive(Debug)]
pub(super) struct Encoding {
    pub(super) ssrc: Option<u32>,
    pub(super) rtx_ssrc: Option<u32>,
    /// Of its FlexFEC stream.
    pub(super) fec_ssrc: Option<u32>,
    /// The SSRC before the present one, and when it was replaced.
    previous: Option<(u32, Time)>,
    pub(super) stream: ReceiveStream,
    pub(super) clock: SourceClockEstimator,
    pub(super) history: History<Ingress>,
    pub(super) score: Score,
    pub(super) recovered: Recovered,
    /// From the publisher's clock to ours, as absolute capture times have it.
    capture_offset: Option<i64>,
    pub(super) line: TimestampLine,
    nack: NackGenerator,
    keys: KeyFrameThrottle,
    pub(super) run: KeyFrameRun,
    /// The structure that dependency descriptors refer to; none if they were not negotiated.
    pub(super) structure: Option<Box<TemplateStructure>>,
    pub(super) targets: TargetTable,
    layer_rates: LayerRates,
    undecided_since: Option<Time>,
    /// The highest layers: as signalled, as seen in this period, as seen in the one before.
    signalled: Layers,
    seen: Layers,
    seen_before: u8,
    period_began: Time,
    pub(super) layers_changed: bool,
    silence: Duration,
    last_packet: Option<Time>,
    pub(super) newest_timestamp: u32,
    /// The newest sender report of the present source, and when it came.
    pub(super) report: Option<(Time, SenderReport)>,
    epoch: u32,
    /// Of a mirror: how the packet at hand differs from what the publisher sent.
    pub(super) sifted: Option<Sifted>,
    /// Index of the codec seen last.
    codec: usize,
    fir_sequence: u8,
    /// Timestamp of the last key frame, to count frames and not packets.
    key_timestamp: Option<u32>,
    rtx_packets: u64,
    pub(super) fec: RepairCount,
    nack_count: u64,
    nack_packet_count: u64,
    pli_count: u64,
    fir_count: u64,
    key_frame_count: u64,
}

impl Encoding {
    pub(super) fn new(config: &ProducerConfig, encoding: &EncodingConfig) -> Self {
        let (packets, bytes, age) = if config.kind == MediaKind::Video { VIDEO_HISTORY } else { AUDIO_HISTORY };
        let clock_rate = config.codecs.first().map_or(1, |c| c.clock_rate);
        Self {
            ssrc: encoding.ssrc,
            rtx_ssrc: encoding.rtx_ssrc,
            fec_ssrc: encoding.fec_ssrc,
            previous: None,
            stream: ReceiveStream::new(encoding.ssrc.unwrap_or(0), clock_rate),
            clock: SourceClockEstimator::new(),
            history: History::new(packets, bytes, age),
            // One encoding alone may rest; one of several that rests has been switched off.
            score: Score::new((config.encodings.len() > 1).then_some(if encoding.dtx {
                INACTIVE_DTX
            } else {
                INACTIVE
            })),
            recovered: Recovered::new(),
            capture_offset: None,
            line: TimestampLine::new(clock_rate),
            nack: NackGenerator::new(),
            keys: KeyFrameThrottle::new(config.key_frame_request_delay),
            run: KeyFrameRun::default(),
            structure: config.extensions.get(ExtensionKind::DependencyDescriptor).map(|_| Box::default()),
            targets: TargetTable::default(),
            layer_rates: LayerRates::default(),
            undecided_since: None,
            signalled: Layers::new(encoding.scalability.spatial - 1, encoding.scalability.temporal - 1),
            seen: Layers::default(),
            seen_before: 0,
            period_began: Time::ZERO,
            layers_changed: false,
            silence: if encoding.dtx { DTX_SILENCE } else { SILENCE },
            last_packet: None,
            newest_timestamp: 0,
            report: None,
            epoch: 0,
            sifted: None,
            codec: 0,
            fir_sequence: 0,
            key_timestamp: None,
            rtx_packets: 0,
            fec: RepairCount::default(),
            nack_count: 0,
            nack_packet_count: 0,
            pli_count: 0,
            fir_count: 0,
            key_frame_count: 0,
        }
    }

    pub(super) fn receives(&self, ssrc: u32) -> bool {
        self.ssrc == Some(ssrc) || self.rtx_ssrc == Some(ssrc)
    }

    /// The SSRC is of what repairs it.
    pub(super) fn has_beside(&self, ssrc: u32) -> bool {
        self.rtx_ssrc == Some(ssrc) || self.fec_ssrc == Some(ssrc)
    }

    /// Binds an SSRC; returns the one that it replaces.
    pub(super) fn bind(&mut self, now: Time, ssrc: u32, part: StreamPart) -> Option<u32> {
        match part {
            StreamPart::Rtx => return self.rtx_ssrc.replace(ssrc).filter(|old| *old != ssrc),
            StreamPart::Fec => return self.fec_ssrc.replace(ssrc).filter(|old| *old != ssrc),
            StreamPart::Media => {}
        }
        if self.ssrc == Some(ssrc) || self.is_in_grace(now, ssrc) {
            return None;
        }
        let old = self.ssrc.replace(ssrc);
        self.previous = old.map(|old| (old, now));
        self.stream.change_ssrc(ssrc);
        old
    }

    /// The SSRC before the present one goes on: it takes over again, unless it may just be late.
    pub(super) fn take_back(&mut self, now: Time, ssrc: u32) -> bool {
        if self.previous.is_none_or(|(previous, _)| previous != ssrc) || self.is_in_grace(now, ssrc) {
            return false;
        }
        self.bind(now, ssrc, StreamPart::Media);
        true
    }

    fn is_in_grace(&self, now: Time, ssrc: u32) -> bool {
        self.previous.is_some_and(|(previous, at)| previous == ssrc && now.saturating_since(at) < GRACE)
    }

    pub(super) fn handle_rtp(
        &mut self,
        config: &ProducerConfig,
        arrival: Time,
        bytes: &[u8],
        view: &RtpView<'_>,
        index: u8,
    ) -> Result<Ingress, DropReason> {
        let is_rtx = self.ssrc != Some(view.ssrc);
        let payload = view.payload_range();
        let (codec, placed, start) = if is_rtx {
            self.place_rtx(config, bytes, view)?
        } else {
            let codec = find_codec(config, view.payload_type).ok_or(DropReason::RtpPayloadType)?;
            let clock_rate = config.codecs[codec].clock_rate;
            let placed = self.stream.handle_rtp(arrival, view.sequence, view.timestamp, clock_rate, bytes.len())?;
            self.codec = codec;
            (codec, placed, payload.start)
        };
        let codec = &config.codecs[codec];
        self.follow(arrival, placed, codec.feedback.nack);
        let timestamp = self.line.map(arrival, placed.position, view.timestamp, codec.clock_rate);
        if placed.newest {
            self.clock.handle_packet(arrival, timestamp, codec.clock_rate);
        }
        let mut ingress = Ingress {
            position: placed.position,
            epoch: self.epoch,
            timestamp,
            payload_start: u16::try_from(start).map_err(|_| DropReason::TooLarge)?,
            payload_end: u16::try_from(payload.end).map_err(|_| DropReason::TooLarge)?,
            encoding: index,
            slot: codec.slot,
            marker: view.marker,
            key_frame: false,
            blank: None,
            codec: codec.kind,
            primary: None,
            recovered: false,
            capture_offset: self.capture_offset,
            numbers: PictureNumbers::default(),
            pictures_out: 0,
            sifted: false,
            layer: PacketLayer::default(),
            undecided: false,
            has_structure: false,
            is_dtx: false,
            is_opaque: config.opaque_payload,
            extensions: spans(config, view),
        };
        let begins_picture = placed.newest && (placed.restarted || timestamp != self.newest_timestamp);
        redundancy::unwrap_video(config, bytes, &mut ingress);
        self.fec.note(&ingress, bytes.len());
        let sifted = self.sifted.take();
        if sifted.is_some_and(|sifted| sifted.blank) {
            ingress.blank = Some(DropReason::RtpPaddingOnly);
        }
        if ingress.blank.is_none() {
            self.look(&mut ingress, config.opaque_payload, begins_picture, bytes, view);
        }
        if let Some(sifted) = sifted {
            self.apply_sifted(&mut ingress, sifted);
        }
        if ingress.codec == CodecKind::Red && ingress.blank.is_none() && !config.opaque_payload {
            self.open_red(config, arrival, bytes, view.timestamp, &mut ingress);
        }
        if !is_rtx && !ingress.undecided {
            self.layer_rates.add(arrival, &ingress.layer, bytes.len());
        }
        if placed.newest {
            self.last_packet = Some(arrival);
            self.newest_timestamp = timestamp;
            self.note_layers(arrival, &ingress);
        }
        self.note_undecided(arrival, ingress.undecided);
        self.note_key_frame(&ingress, placed.newest);
        Ok(ingress)
    }

    /// What was left out on the way here, as it concerns those who get what is left.
    fn apply_sifted(&mut self, ingress: &mut Ingress, sifted: Sifted) {
        ingress.sifted = true;
        ingress.pictures_out = sifted.pictures;
        if let Some(targets) = sifted.targets {
            self.targets.set_active(targets);
        }
    }

    /// Packets come, or came lately.
    pub(super) fn is_active(&self, now: Time) -> bool {
        self.last_packet.is_some_and(|at| now.saturating_since(at) < self.silence)
    }

    /// The highest layers that there are. Of spatial layers those that are sent now count, once anything is
    /// known: a publisher may leave out the upper ones.
    pub(super) fn highest(&self) -> Layers {
        if self.targets.count() > 0 {
            return self.targets.highest();
        }
        let spatial = match self.last_packet {
            Some(_) => self.seen.spatial.max(self.seen_before),
            None => self.signalled.spatial,
        };
        Layers::new(spatial, self.seen.temporal.max(self.signalled.temporal))
    }

    fn note_layers(&mut self, now: Time, ingress: &Ingress) {
        let before = self.highest();
        if now.saturating_since(self.period_began) >= LAYER_PERIOD {
            self.period_began = now;
            self.seen_before = std::mem::take(&mut self.seen.spatial);
        }
        self.seen.spatial = self.seen.spatial.max(ingress.layer.spatial);
        self.seen.temporal = self.seen.temporal.max(ingress.layer.temporal);
        self.layers_changed |= before != self.highest() || ingress.has_structure;
    }

    /// Packets whose layer cannot be told are of no use to anybody: a key frame helps, if no resend does.
    fn note_undecided(&mut self, now: Time, undecided: bool) {
        if !undecided {
            self.undecided_since = None;
        } else if now.saturating_since(*self.undecided_since.get_or_insert(now)) > STRUCTURE_PATIENCE {
            self.keys.want(now);
        }
    }

    /// Unwraps RTX (RFC 4588, section 4): codec, place of the original, start of its payload.
    fn place_rtx(
        &mut self,
        config: &ProducerConfig,
        bytes: &[u8],
        view: &RtpView<'_>,
    ) -> Result<(usize, Received, usize), DropReason> {
        self.rtx_packets += 1;
        let range = view.payload_range();
        let codec = config.codecs.iter().position(|c| c.rtx_payload_type == Some(view.payload_type));
        let codec = codec.ok_or(DropReason::RtxMalformed)?;
        let Some(&[high, low]) = bytes.get(range.start..range.end).and_then(|payload| payload.first_chunk()) else {
            // Bandwidth probes are RTX packets of nothing but padding.
            return Err(if view.is_padding_only() { DropReason::RtpPaddingOnly } else { DropReason::RtxMalformed });
        };
        let placed = self.stream.handle_repaired(u16::from_be_bytes([high, low]))?;
        Ok((codec, placed, range.start + 2))
    }

    fn follow(&mut self, arrival: Time, placed: Received, nack: bool) {
        if placed.restarted {
            self.epoch = self.epoch.wrapping_add(1);
            self.line.restart();
            self.clock.restart();
            self.nack.restart(placed.position);
            self.key_timestamp = None;
            self.capture_offset = None;
            self.report = None;
            self.run = KeyFrameRun::default();
        } else if nack {
            self.nack.handle_packet(arrival, placed.position);
        }
    }

    /// A missing packet came by another way.
    pub(super) fn nack_found(&mut self, arrival: Time, position: u64) {
        self.nack.handle_packet(arrival, position);
    }

    fn note_key_frame(&mut self, ingress: &Ingress, newest: bool) {
        if !ingress.key_frame || !ingress.codec.is_video() || self.key_timestamp == Some(ingress.timestamp) {
            return;
        }
        self.key_frame_count += 1;
        self.key_timestamp = Some(ingress.timestamp);
        self.keys.handle_key_frame();
        if newest {
            // Where the first packet of a key frame cannot be told from others of it, what is missing right
            // before may be of the key frame.
            let mut first = ingress.position;
            while !is_start_told(ingress) && self.stream.is_missing(first - 1) {
                first -= 1;
            }
            self.nack.forget_before(first);
        }
    }

    pub(super) fn handle_sender_report(&mut self, now: Time, ntp: NtpTime, report: &SenderReport) {
        self.stream.handle_sender_report(now, report);
        self.report = Some((now, *report));
        if self.stream.is_started() {
            let timestamp = self.line.map_report(report.rtp_timestamp);
            self.clock.handle_sender_report(now, report.ntp, timestamp, self.line.clock_rate());
            self.capture_offset = self.clock.clock_offset(now, ntp);
        }
    }

    pub(super) fn handle_bye(&mut self) {
        self.nack.clear();
        self.keys.cancel();
    }

    pub(super) fn handle_pause(&mut self) {
        self.keys.cancel();
    }

    pub(super) fn want_key_frame(&mut self, now: Time) {
        self.keys.want(now);
    }

    /// A report's worth of packets for the score; says whether it changed.
    pub(super) fn update_score(&mut self) -> bool {
        let (expected, received, repaired) = self.stream.totals();
        self.score.handle_report(Totals { expected, received, repaired, repairs: self.rtx_packets })
    }

    /// The next thing to tell the publisher.
    pub(super) fn poll_feedback(&mut self, now: Time, config: &ProducerConfig, video: bool) -> Option<Feedback> {
        let ssrc = self.ssrc?;
        let negotiated = config.codecs.get(self.codec)?.feedback;
        let mut sequences = [0u16; NACK_BATCH];
        let count = self.nack.poll(now, self.stream.round_trip(), &mut sequences);
        if self.nack.take_gave_up() && video {
            self.keys.want(now);
        }
        if count > 0 {
            self.nack_count += 1;
            self.nack_packet_count += count as u64;
            return Some(Feedback::Nack { ssrc, sequences: sequences.iter().copied().take(count).collect() });
        }
        if !self.keys.poll(now) {
            return None;
        }
        if negotiated.pli {
            self.pli_count += 1;
            Some(Feedback::Pli { ssrc })
        } else if negotiated.fir {
            self.fir_count += 1;
            self.fir_sequence = self.fir_sequence.wrapping_add(1);
            Some(Feedback::Fir { ssrc, sequence: self.fir_sequence })
        } else {
            None
        }
    }

    /// What a mirror wants of its origin: missing packets into `sequences`, their number, and whether a key frame.
    pub(super) fn poll_wish(&mut self, now: Time, video: bool, sequences: &mut [u16]) -> (usize, bool) {
        let count = self.nack.poll(now, None, sequences);
        if self.nack.take_gave_up() && video {
            self.keys.want(now);
        }
        let key_frame = self.keys.poll(now);
        self.nack_count += u64::from(count > 0);
        self.nack_packet_count += count as u64;
        self.pli_count += u64::from(key_frame);
        (count, key_frame)
    }

    /// When [`Encoding::poll_wish`] has something to say.
    pub(super) fn next_wish(&self) -> Option<Time> {
        [self.nack.next_timeout(), self.keys.next_timeout()].into_iter().flatten().min()
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        // Before the SSRC is known there is nobody to ask.
        self.ssrc?;
        [self.nack.next_timeout(), self.keys.next_timeout()].into_iter().flatten().min()
    }

    pub(super) fn stats(
        &self,
        now: Time,
        object: ObjectId,
        config: &ProducerConfig,
        rid: Option<Rid>,
    ) -> RtpStreamStats {
        let s = self.stream.stats(now);
        RtpStreamStats {
            object,
            ssrc: self.ssrc.unwrap_or(0),
            rtx_ssrc: self.rtx_ssrc,
            fec_ssrc: self.fec_ssrc,
            rid,
            inbound: true,
            kind: config.kind,
            codec: config.codecs.get(self.codec).map_or(CodecKind::Other, |c| c.kind),
            packets: s.packets,
            bytes: s.bytes,
            bitrate: u32::try_from(s.bitrate).unwrap_or(u32::MAX),
            packets_lost: s.packets_lost,
            fraction_lost: s.fraction_lost,
            jitter: s.jitter,
            packets_discarded: s.packets_discarded,
            packets_retransmitted: self.rtx_packets,
            packets_repaired: s.packets_repaired,
            nack_count: self.nack_count,
            nack_packet_count: self.nack_packet_count,
            pli_count: self.pli_count,
            fir_count: self.fir_count,
            key_frame_count: self.key_frame_count,
            round_trip_time_ms: s.round_trip.map(|rtt| rtt.as_secs_f32() * 1000.0),
            rtx_packets_discarded: s.rtx_packets_discarded,
            fec_packets: self.fec.packets,
            fec_bytes: self.fec.bytes,
            score: self.score.score(),
            bitrate_by_layer: self.layer_rates.stats(now),
        }
    }
}

/// The packet is the first one of its key frame, beyond doubt.
pub(super) fn is_start_told(ingress: &Ingress) -> bool {
    matches!(ingress.codec, CodecKind::Vp8 | CodecKind::Vp9 | CodecKind::Av1) && !ingress.is_opaque
        || ingress.has_structure
}

fn find_codec(config: &ProducerConfig, payload_type: u8) -> Option<usize> {
    config.codecs.iter().position(|c: &CodecConfig| c.payload_type == payload_type)
}

/// Where the header extensions are that are worth passing on.
fn spans(config: &ProducerConfig, view: &RtpView<'_>) -> ArrayVec<ExtensionSpan, { super::MAX_EXTENSIONS }> {
    let mut spans = ArrayVec::new();
    for kind in FORWARDED {
        let range = config.extensions.get(kind).and_then(|id| view.extension_range(id));
        if let Some(range) = range
            && is_sound(kind, config.kind, view.data().get(range.clone()).unwrap_or_default())
            && let (Ok(start), Ok(len)) = (u16::try_from(range.start), u8::try_from(range.len()))
        {
            spans.push(ExtensionSpan { kind, start, len });
        }
    }
    spans
}

/// What cannot be a value of the extension, or has no place in this kind of media, is not passed on.
fn is_sound(kind: ExtensionKind, media: MediaKind, value: &[u8]) -> bool {
    let fits = match kind {
        ExtensionKind::AudioLevel => media == MediaKind::Audio,
        ExtensionKind::VideoOrientation | ExtensionKind::DependencyDescriptor => media == MediaKind::Video,
        _ => true,
    };
    fits && kind.accepts(value)
}
