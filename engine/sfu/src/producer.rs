//! Producer: one media source of a publisher.
//!
//! Told: decrypted RTP of its SSRCs, sender reports, BYE, wishes for key frames, pause and resume.
//! Tells: what there is to forward ([`Ingress`], offsets into the very packet that was received), and
//! the RTCP that its publisher is to get (reports, NACK, PLI or FIR), and how well its streams arrive.
//! Encodings are received, repaired and kept each for itself. The newest key frame of an encoding and what
//! follows it can be started from, as long as nothing of it is missing.
//! Limits: encodings and codecs as configured; one bounded history each; at most 1,000 missing packets.
//! RFC 3550 (sections 6.4, A.1, A.3, A.8), RFC 3611 (RRT, DLRR), RFC 4585 (NACK, PLI), RFC 4588 (RTX),
//! RFC 5104 (FIR).
//! Left out: the choice of layers, which is each consumer's.

mod across;
mod cache;
mod encoding;
mod layer_rates;
mod look;
mod redundancy;
mod sieve;
#[cfg(test)]
mod tests;
mod wishes;

use std::time::Duration;

use arrayvec::ArrayVec;
use sfu_proto::history::Entry;
use sfu_proto::layers::{PacketLayer, TargetTable};
use sfu_proto::rtcp_schedule::{RtcpSchedule, scatter};
use sfu_proto::source_clock::SourceClock;
use sfu_wire::buf::Packet;
use sfu_wire::codec::CodecKind;
use sfu_wire::codec::picture::PictureNumbers;
use sfu_wire::dependency_descriptor::TemplateStructure;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;
use sfu_wire::media::MediaKind;
use sfu_wire::rtcp::{DlrrBlock, ReceiverReport, ReportBlock, Sdes, SenderReport, Xr};
use sfu_wire::rtp::RtpView;
use sfu_wire::scalability::{Layers, ScalabilityMode};
use sfu_wire::time::{NtpTime, Time};

use crate::command::{CommandError, EncodingScore, ErrorCode, Event};
use crate::config::{ProducerConfig, StreamType};
use crate::stats::RtpStreamStats;
pub(crate) use across::{Mirrored, PeerLink, Wanted};
use encoding::{Encoding, is_start_told};
pub(crate) use look::descriptor_of;
pub use redundancy::{Recovered, Repair};
pub(crate) use wishes::WishList;
use wishes::Wishes;

/// Mean distance of two receiver reports.
const REPORT_PERIOD: Duration = Duration::from_secs(1);
/// Encodings of one producer; all of them fit one report, which takes 31.
pub const MAX_ENCODINGS: usize = 16;
/// Header extensions of one packet that are worth passing on: all that exist.
pub const MAX_EXTENSIONS: usize = FORWARDED.len();

/// Header extensions that belong to the media and are passed on as they are. The others belong to a
/// transport (MID, RIDs, send time, transport-wide number) or describe all layers of the publisher.
pub const FORWARDED: [ExtensionKind; 6] = [
    ExtensionKind::AudioLevel,
    ExtensionKind::DependencyDescriptor,
    ExtensionKind::VideoOrientation,
    ExtensionKind::TransmissionOffset,
    ExtensionKind::AbsCaptureTime,
    ExtensionKind::PlayoutDelay,
];

/// Which of an encoding's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamPart {
    /// The encoding itself.
    Media,
    /// What is sent again of it (RFC 4588).
    Rtx,
    /// What repairs it (FlexFEC).
    Fec,
}

/// Which stream of a producer an SSRC belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSlot {
    /// Index of the encoding.
    pub encoding: u8,
    /// Which of its streams.
    pub part: StreamPart,
}

/// A header extension within a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtensionSpan {
    /// What it is.
    pub kind: ExtensionKind,
    /// Offset of its value.
    pub start: u16,
    /// Bytes of its value.
    pub len: u8,
}

/// The primary block of a RED packet (RFC 2198), for consumers that do not speak RED: it ends where the
/// payload ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrimaryBlock {
    /// Slot of its codec.
    pub slot: u8,
    /// Offset of its beginning.
    pub start: u16,
}

/// What a consumer has to know of a received packet: plain numbers, and offsets into its bytes. RTX is
/// already unwrapped (the payload begins after the original sequence number), padding is cut off, and
/// position and timestamp are continuous over restarts of the source.
#[derive(Debug, Clone)]
pub struct Ingress {
    /// Unwrapped sequence number of the original stream; never goes back over a restart.
    pub position: u64,
    /// Grows with each restart of the source: a new stretch of the stream.
    pub epoch: u32,
    /// Steady timestamp.
    pub timestamp: u32,
    /// Offset of the payload.
    pub payload_start: u16,
    /// Offset of its end.
    pub payload_end: u16,
    /// Index of the encoding.
    pub encoding: u8,
    /// Slot of the router codec.
    pub slot: u8,
    /// The marker bit.
    pub marker: bool,
    /// A decoder may start here.
    pub key_frame: bool,
    /// There is nothing to forward in it, and why; its sequence number is to be left out.
    pub blank: Option<DropReason>,
    /// The codec.
    pub codec: CodecKind,
    /// What is in it, for RED.
    pub primary: Option<PrimaryBlock>,
    /// It was lost and is a redundant block of a later packet: whoever speaks RED has it already.
    pub recovered: bool,
    /// What is added to an absolute capture time to make it one of our clock's, 32.32 bits of seconds.
    pub capture_offset: Option<i64>,
    /// Numbers of the picture that its payload descriptor has.
    pub numbers: PictureNumbers,
    /// Pictures left out on its way from another shard, modulo 2^15: what to take off its picture id.
    pub pictures_out: u16,
    /// Layers may have been left out on its way from another shard: its dependency descriptor may tell of more.
    pub sifted: bool,
    /// The layer that it belongs to.
    pub layer: PacketLayer,
    /// Its layer cannot be told (yet): the structure that its dependency descriptor refers to is missing.
    pub undecided: bool,
    /// Its dependency descriptor carries a structure.
    pub has_structure: bool,
    /// The payload is encrypted from end to end.
    pub is_opaque: bool,
    /// Discontinuous transmission: it says that nothing is said.
    pub is_dtx: bool,
    /// Header extensions to pass on.
    pub extensions: ArrayVec<ExtensionSpan, MAX_EXTENSIONS>,
}

/// A producer. See the module's description.
#[derive(Debug)]
pub struct Producer {
    id: ObjectId,
    transport: ObjectId,
    config: ProducerConfig,
    paused: bool,
    /// Those who consume it, in order of creation; kept by the router.
    pub consumers: Vec<ObjectId>,
    encodings: Vec<Encoding>,
    /// Our SSRC in RTCP towards the publisher.
    rtcp_ssrc: u32,
    /// Our CNAME towards the publisher: the same for all producers of a transport.
    name: [u8; 16],
    schedule: RtcpSchedule,
    /// A score changed since it was told.
    scores_changed: bool,
    /// Encodings that packets come for, one bit each.
    active: u32,
    /// What consumers choose from has changed.
    choice_changed: bool,
    /// The highest layers that a consumer wants; kept by the router.
    pub(crate) wanted: Option<Layers>,
    /// Mirrors on other shards; kept by the router.
    pub(crate) links: Vec<PeerLink>,
    /// It stands in for a producer of another shard.
    pub(crate) mirrored: Option<Box<Mirrored>>,
    /// The last video orientation, and whether it was told.
    orientation: Option<u8>,
    orientation_changed: bool,
    /// What is wanted of a stream that comes by a pipe, if the other end asks for that.
    wishes: Option<Box<Wishes>>,
}

impl Producer {
    /// A producer; nothing is received yet.
    pub fn new(now: Time, id: ObjectId, transport: ObjectId, config: ProducerConfig) -> Result<Self, CommandError> {
        let invalid = |field: &str, text: &str| Err(CommandError::new(ErrorCode::InvalidArgument, field, text));
        if config.codecs.is_empty() {
            return invalid("codecs", "at least one codec is needed");
        }
        if config.encodings.is_empty() || config.encodings.len() > MAX_ENCODINGS {
            return invalid("encodings", "between 1 and 16 encodings are needed");
        }
        let encodings = config.encodings.iter().map(|e| Encoding::new(&config, e)).collect();
        // Scattered: ids of one shard differ in few bits, and none of ours belongs on the wire.
        let seed = scatter(id.to_u64());
        Ok(Self {
            id,
            transport,
            paused: config.paused,
            consumers: Vec::new(),
            encodings,
            rtcp_ssrc: (seed as u32) | 1,
            name: hex(scatter(transport.to_u64())),
            schedule: RtcpSchedule::new(now, REPORT_PERIOD, seed),
            scores_changed: false,
            active: 0,
            choice_changed: false,
            wanted: None,
            links: Vec::new(),
            mirrored: None,
            orientation: None,
            orientation_changed: false,
            wishes: None,
            config,
        })
    }

    /// Its id.
    pub fn id(&self) -> ObjectId {
        self.id
    }

    /// The transport that it receives on.
    pub fn transport(&self) -> ObjectId {
        self.transport
    }

    /// Audio or video.
    pub fn kind(&self) -> MediaKind {
        self.config.kind
    }

    /// The SSRC of the reports to its publisher.
    pub fn rtcp_ssrc(&self) -> u32 {
        self.rtcp_ssrc
    }

    /// What was negotiated.
    pub fn config(&self) -> &ProducerConfig {
        &self.config
    }

    /// Paused by command.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// SSRCs known now, signalled or learned.
    pub fn ssrcs(&self) -> impl Iterator<Item = (u32, StreamSlot)> + '_ {
        self.encodings.iter().enumerate().flat_map(|(index, e)| {
            let parts = [(e.ssrc, StreamPart::Media), (e.rtx_ssrc, StreamPart::Rtx), (e.fec_ssrc, StreamPart::Fec)];
            let known = move |(ssrc, part): (Option<u32>, _)| Some((ssrc?, StreamSlot { encoding: index as u8, part }));
            parts.into_iter().filter_map(known)
        })
    }

    /// Binds an SSRC, learned from an authenticated packet, to a stream. Returns the SSRC that it
    /// replaces. The packet itself decides about a restart, in [`Producer::handle_rtp`].
    pub fn bind_ssrc(&mut self, now: Time, slot: StreamSlot, ssrc: u32) -> Option<u32> {
        self.encodings.get_mut(usize::from(slot.encoding))?.bind(now, ssrc, slot.part)
    }

    /// Takes a decrypted packet: `bytes`, and `view` its parse.
    ///
    /// What comes of it is shared by the caller: `pool.take(bytes)`, [`Producer::keep`] for resends,
    /// then [`crate::consumer::Consumer::forward`] for each consumer.
    pub fn handle_rtp(
        &mut self,
        now: Time,
        arrival: Time,
        bytes: &[u8],
        view: &RtpView<'_>,
    ) -> Result<Ingress, DropReason> {
        let index = self.find(now, view.ssrc).ok_or(DropReason::RtpUnroutable)?;
        let encoding = &mut self.encodings[usize::from(index)];
        let ingress = encoding.handle_rtp(&self.config, arrival, bytes, view, index)?;
        self.scores_changed |= !self.paused && encoding.score.handle_packet(now);
        self.note_choice(now, index);
        self.note_orientation(&ingress, bytes);
        if self.paused { Err(DropReason::ProducerPaused) } else { Ok(ingress) }
    }

    /// Packets that were lost and came as redundant blocks of the last one that was taken, oldest
    /// first: to be forwarded before it, out of the same bytes.
    pub fn take_recovered(&mut self, encoding: u8) -> Recovered {
        self.encodings.get_mut(usize::from(encoding)).map_or(Recovered::new(), |e| std::mem::take(&mut e.recovered))
    }

    /// Keeps a packet, so that consumers can answer NACKs from it.
    pub fn keep(&mut self, now: Time, ingress: &Ingress, packet: Packet) {
        if let Some(encoding) = self.encodings.get_mut(usize::from(ingress.encoding)) {
            encoding.history.insert(ingress.position, now, packet, ingress.clone());
            if self.config.key_frame_cache && self.config.kind == MediaKind::Video {
                encoding.run.note(now, ingress, &encoding.history);
            }
        }
    }

    /// Packets are worth keeping: somebody consumes them, or may start from them.
    pub fn keeps_packets(&self) -> bool {
        !self.consumers.is_empty()
            || !self.links.is_empty()
            || self.config.key_frame_cache && self.config.kind == MediaKind::Video
    }

    /// Where a decoder may start with what is kept already: the first position of the newest key frame,
    /// if it and all that came after it is here, recent and not too much.
    pub fn cached_start(&self, now: Time, encoding: u8) -> Option<u64> {
        let encoding = self.encodings.get(usize::from(encoding))?;
        let first = encoding.run.start(now, &encoding.history)?;
        let is_whole = encoding.history.lookup(now, first).is_some_and(|entry| !self.may_miss_start(&entry.meta));
        (is_whole && !self.paused).then_some(first)
    }

    /// The packet is of a key frame, but perhaps not its first one, since the one before it is missing: a
    /// resend may bring it.
    pub(crate) fn may_miss_start(&self, ingress: &Ingress) -> bool {
        let encoding = self.encodings.get(usize::from(ingress.encoding));
        !is_start_told(ingress) && encoding.is_some_and(|e| e.stream.is_missing(ingress.position - 1))
    }

    /// The highest position kept of an encoding.
    pub fn newest(&self, encoding: u8) -> Option<u64> {
        self.encodings.get(usize::from(encoding))?.history.newest()
    }

    /// How far an encoding has come since the packet with this (steady) timestamp, in ticks.
    pub(crate) fn ticks_since(&self, encoding: u8, timestamp: u32) -> u32 {
        let newest = self.encodings.get(usize::from(encoding)).map_or(timestamp, |e| e.newest_timestamp);
        u32::try_from(newest.wrapping_sub(timestamp) as i32).unwrap_or(0)
    }

    /// Looks again at a packet that could not be read for want of a structure.
    pub(crate) fn look_again(&self, ingress: &mut Ingress, bytes: &[u8]) {
        if let Some(encoding) = self.encodings.get(usize::from(ingress.encoding)) {
            encoding.look_again(ingress, bytes);
        }
    }

    /// How many encodings there are.
    pub fn encoding_count(&self) -> u8 {
        self.encodings.len() as u8
    }

    /// The encodings that packets come for, one bit each.
    pub fn active_encodings(&self) -> u32 {
        self.active
    }

    /// The highest layers within an encoding, as far as is known: as signalled, and as seen.
    pub fn highest(&self, encoding: u8) -> Layers {
        if let Some(told) = self.mirrored.as_ref().and_then(|m| m.highest.get(usize::from(encoding))) {
            // Here only those are seen that somebody here wants.
            return *told;
        }
        self.encodings.get(usize::from(encoding)).map_or(Layers::default(), Encoding::highest)
    }

    /// The scalability mode of an encoding.
    pub fn mode(&self, encoding: u8) -> ScalabilityMode {
        self.config.encodings.get(usize::from(encoding)).map(|e| e.scalability).unwrap_or_default()
    }

    /// It has layers that consumers may choose from.
    pub fn is_layered(&self) -> bool {
        let signalled = self.encodings.len() > 1 || self.config.stream_type != StreamType::Simple;
        signalled || (0..self.encoding_count()).any(|encoding| self.highest(encoding) != Layers::default())
    }

    /// The decode targets of an encoding.
    pub(crate) fn targets(&self, encoding: u8) -> &TargetTable {
        self.encodings.get(usize::from(encoding)).map_or(&NO_TARGETS, |e| &e.targets)
    }

    /// The structure that an encoding's dependency descriptors refer to.
    pub(crate) fn structure(&self, encoding: u8) -> Option<&TemplateStructure> {
        self.encodings.get(usize::from(encoding))?.structure.as_deref()
    }

    /// Whether what consumers choose from has changed since the last call.
    pub(crate) fn take_choice_changed(&mut self) -> bool {
        std::mem::take(&mut self.choice_changed)
    }

    /// The video orientation, if it has changed since the last call.
    pub(crate) fn take_orientation(&mut self) -> Option<Event> {
        if !std::mem::take(&mut self.orientation_changed) {
            return None;
        }
        let byte = self.orientation?;
        let rotation = 90 * u16::from(byte & 3);
        Some(Event::VideoOrientation { producer: self.id, camera: byte & 8 != 0, flip: byte & 4 != 0, rotation })
    }

    fn note_choice(&mut self, now: Time, index: u8) {
        self.choice_changed |= std::mem::take(&mut self.encodings[usize::from(index)].layers_changed);
        if self.mirrored.is_some() {
            // Its origin tells which are active: what nobody here wants does not come here.
        } else if self.encodings.len() > 1 {
            let active = self.encodings.iter().enumerate().filter(|(_, e)| e.is_active(now));
            let active = active.fold(0, |all, (index, _)| all | 1 << index);
            self.choice_changed |= active != self.active;
            self.active = active;
        } else {
            self.active = 1;
        }
    }

    fn note_orientation(&mut self, ingress: &Ingress, bytes: &[u8]) {
        let Some(span) = ingress.extensions.iter().find(|s| s.kind == ExtensionKind::VideoOrientation) else { return };
        let byte = bytes.get(usize::from(span.start)).map(|byte| byte & 0x0f);
        if byte.is_some() && byte != self.orientation {
            self.orientation = byte;
            self.orientation_changed = true;
        }
    }

    /// A packet that was kept, by encoding and position.
    pub fn recall(&self, now: Time, encoding: u8, position: u64) -> Option<&Entry<Ingress>> {
        self.encodings.get(usize::from(encoding))?.history.lookup(now, position)
    }

    /// A sender report of the publisher. `ntp` is our wall clock. `false`: the SSRC is not of this
    /// producer.
    pub fn handle_sender_report(&mut self, now: Time, ntp: NtpTime, report: &SenderReport) -> bool {
        let Some(encoding) = self.encodings.iter_mut().find(|e| e.ssrc == Some(report.ssrc)) else {
            return self.encodings.iter().any(|e| e.has_beside(report.ssrc));
        };
        encoding.handle_sender_report(now, ntp, report);
        true
    }

    /// The publisher answers a reference time of ours. `ntp` is our wall clock. `false`: the answer is
    /// not to this producer.
    pub fn handle_dlrr(&mut self, ntp: NtpTime, block: &DlrrBlock) -> bool {
        if block.ssrc != self.rtcp_ssrc {
            return false;
        }
        self.encodings.iter_mut().for_each(|e| e.stream.handle_dlrr(ntp, block));
        true
    }

    /// The publisher ends a stream. `false`: the SSRC is not of this producer. Should it go on after
    /// all, it is taken up again.
    pub fn handle_bye(&mut self, _now: Time, ssrc: u32) -> bool {
        let Some(encoding) = self.encodings.iter_mut().find(|e| e.ssrc == Some(ssrc)) else {
            return self.encodings.iter().any(|e| e.has_beside(ssrc));
        };
        encoding.handle_bye();
        true
    }

    /// Somebody needs a key frame of an encoding. Throttled: to be called as often as anybody likes.
    pub fn request_key_frame(&mut self, now: Time, encoding: u8) {
        if self.paused || self.config.kind != MediaKind::Video {
            return;
        }
        if let Some(encoding) = self.encodings.get_mut(usize::from(encoding)) {
            encoding.want_key_frame(now);
        }
    }

    /// Stops forwarding. What arrives is still counted and reported on.
    pub fn pause(&mut self, _now: Time) {
        self.paused = true;
        self.encodings.iter_mut().for_each(Encoding::handle_pause);
    }

    /// Goes on forwarding; consumers of video wait for a key frame, which is asked for by them.
    pub fn resume(&mut self, now: Time) {
        self.paused = false;
        self.encodings.iter_mut().for_each(|e| e.score.resume(now));
    }

    /// One RTCP compound for the publisher. Call until there is none, after packets, wishes and
    /// timeouts. `ntp` is our wall clock.
    pub fn poll_rtcp(&mut self, now: Time, ntp: NtpTime, buf: &mut [u8]) -> Option<usize> {
        if !self.paused {
            // A paused publisher is silent by right.
            self.scores_changed |=
                self.encodings.iter_mut().fold(false, |changed, e| e.score.handle_timeout(now) | changed);
        }
        if self.is_started() && self.schedule.poll(now) {
            self.scores_changed |= self.encodings.iter_mut().fold(false, |changed, e| e.update_score() | changed);
            let blocks = self.encodings.iter_mut().filter_map(|e| e.stream.report_block(now));
            let blocks: ArrayVec<ReportBlock, MAX_ENCODINGS> = blocks.take(MAX_ENCODINGS).collect();
            let len = self.write_head(buf, &blocks)?;
            // Our clock, so that the publisher's answer shows the round trip (RFC 3611, section 4.4).
            return Some(len + Xr::write(buf.get_mut(len..)?, self.rtcp_ssrc, Some(ntp), &[]).ok()?);
        }
        let video = self.config.kind == MediaKind::Video;
        let feedback = self.encodings.iter_mut().find_map(|e| e.poll_feedback(now, &self.config, video));
        if feedback.is_none() && !self.wishes.as_mut().is_some_and(|wishes| wishes.poll(now)) {
            return None;
        }
        let head = if self.config.reduced_size_rtcp { 0 } else { self.write_head(buf, &[])? };
        let rest = buf.get_mut(head..)?;
        let len = match feedback {
            Some(feedback) => feedback.write(rest, self.rtcp_ssrc)?,
            None => self.write_wishes(rest)?,
        };
        Some(head + len)
    }

    /// When [`Producer::poll_rtcp`] has something to say.
    pub fn next_timeout(&self) -> Option<Time> {
        if self.mirrored.is_some() {
            return self.encodings.iter().filter_map(Encoding::next_wish).min();
        }
        let feedback = self.encodings.iter().filter_map(Encoding::next_timeout).min();
        let report = self.is_started().then(|| self.schedule.next_timeout());
        let silence = self.encodings.iter().filter_map(|e| e.score.next_timeout()).min().filter(|_| !self.paused);
        let wishes = self.wishes.as_ref().map(|wishes| wishes.next_timeout());
        [feedback, report, silence, wishes].into_iter().flatten().min()
    }

    /// Whether a score changed since the last call.
    pub fn take_score_change(&mut self) -> bool {
        std::mem::take(&mut self.scores_changed)
    }

    /// How well each encoding arrives, 0 to 10, in order.
    pub fn scores(&self) -> impl Iterator<Item = u8> + '_ {
        let told = self.mirrored.as_deref().map_or(&[][..], |m| &m.scores);
        self.encodings.iter().enumerate().map(|(i, e)| told.get(i).copied().unwrap_or_else(|| e.score.score()))
    }

    /// The same, with the SSRCs of those encodings that have one.
    pub fn encoding_scores(&self) -> Vec<EncodingScore> {
        let streams = self.encodings.iter().zip(&self.config.encodings).enumerate();
        streams
            .filter_map(|(index, (e, config))| {
                Some(EncodingScore { encoding: index as u8, ssrc: e.ssrc?, rid: config.rid, score: e.score.score() })
            })
            .collect()
    }

    /// The line between an encoding's (steady) timestamps and our clock, for reports to consumers.
    pub fn source_clock(&self, encoding: u8) -> Option<SourceClock> {
        self.encodings.get(usize::from(encoding))?.clock.line()
    }

    /// The clock rate of a codec.
    pub(crate) fn clock_rate(&self, slot: u8) -> u32 {
        self.config.codecs.iter().find(|c| c.slot == slot).or(self.config.codecs.first()).map_or(1, |c| c.clock_rate)
    }

    /// Counters, one entry per encoding.
    pub fn stats(&self, now: Time) -> Vec<RtpStreamStats> {
        let streams = self.encodings.iter().zip(&self.config.encodings);
        streams.map(|(e, c)| e.stats(now, self.id, &self.config, c.rid)).collect()
    }

    /// The encoding that receives on this SSRC. One that was replaced is ignored for a while, since
    /// its last packets may be late, and then takes over again.
    fn find(&mut self, now: Time, ssrc: u32) -> Option<u8> {
        let index = self
            .encodings
            .iter()
            .position(|e| e.receives(ssrc))
            .or_else(|| self.encodings.iter_mut().position(|e| e.take_back(now, ssrc)))?;
        Some(index as u8)
    }

    fn is_started(&self) -> bool {
        self.encodings.iter().any(|e| e.stream.is_started())
    }

    /// A report and our name: what a compound has to begin with (RFC 3550, section 6.1).
    fn write_head(&self, buf: &mut [u8], blocks: &[ReportBlock]) -> Option<usize> {
        let report = ReceiverReport { ssrc: self.rtcp_ssrc };
        let len = report.write(buf, blocks).ok()?;
        let name = Sdes::write(buf.get_mut(len..)?, &[(self.rtcp_ssrc, &self.name)]).ok()?;
        Some(len + name)
    }
}

static NO_TARGETS: TargetTable = TargetTable::EMPTY;

fn hex(value: u64) -> [u8; 16] {
    std::array::from_fn(|i| b"0123456789abcdef"[(value >> (60 - 4 * i)) as usize & 15])
}
