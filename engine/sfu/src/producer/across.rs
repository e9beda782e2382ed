//! A producer that is consumed on other shards too: what its links and its mirrors keep.
//!
//! A link hands a mirror the packets of the encodings that are wanted there, in the form in which the publisher sent
//! them first: a retransmission is put back into its stream. FlexFEC packets go beside them. A mirror is a producer like any other, but for where
//! its packets come from and its wishes go to, and for what only the origin can know: pause, scores, what is active.
//! Limits: one link for each shard; encodings by the producer.

use arrayvec::ArrayVec;
use sfu_proto::layers::choose_encoding;
use sfu_wire::buf::{Packet, PacketPool};
use sfu_wire::id::ObjectId;
use sfu_wire::media::MediaKind;
use sfu_wire::rtcp::SenderReport;
use sfu_wire::rtp::{RtpView, set_payload_type, set_sequence, set_ssrc};
use sfu_wire::scalability::Layers;
use sfu_wire::time::{NtpTime, Time};

use super::{Ingress, MAX_ENCODINGS, Producer, WishList};
use crate::command::CommandError;
use crate::config::ProducerConfig;
use crate::peer::{MAX_ASKED, PeerMessage, PeerOutbox};

/// The way of a producer's packets to one mirror.
#[derive(Debug)]
pub(crate) struct PeerLink {
    pub(crate) mirror: ObjectId,
    /// Encodings that are wanted there, one bit each.
    pub(crate) encodings: u32,
    /// Those of them of which nothing has gone there since they were not wanted.
    pub(crate) fresh: u32,
    /// The highest layers that are wanted there.
    pub(crate) layers: Option<Layers>,
    /// Packets that went there.
    pub(crate) packets: u64,
}

impl PeerLink {
    pub(crate) fn new(mirror: ObjectId) -> Self {
        Self { mirror, encodings: 0, fresh: 0, layers: None, packets: 0 }
    }
}

/// What a mirror knows of the producer that it stands in for.
#[derive(Debug)]
pub(crate) struct Mirrored {
    /// The producer.
    pub(crate) origin: ObjectId,
    /// How well its encodings arrive; none before it has told.
    pub(crate) scores: ArrayVec<u8, MAX_ENCODINGS>,
    /// What it was last told to be wanted.
    pub(crate) told: Option<(u32, Option<Layers>)>,
}

/// What a mirror asks its origin for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) encoding: u8,
    pub(crate) missing: ArrayVec<u16, MAX_ASKED>,
    pub(crate) key_frame: bool,
}

impl Producer {
    /// A stand-in for a producer of another shard.
    pub(crate) fn mirror(
        now: Time,
        id: ObjectId,
        transport: ObjectId,
        origin: ObjectId,
        config: ProducerConfig,
    ) -> Result<Self, CommandError> {
        let mut mirror = Self::new(now, id, transport, ProducerConfig { paused: false, ..config })?;
        mirror.mirrored = Some(Box::new(Mirrored { origin, scores: ArrayVec::new(), told: None }));
        Ok(mirror)
    }

    /// The producer that it stands in for, if it is a mirror.
    #[inline]
    pub(crate) fn origin(&self) -> Option<ObjectId> {
        self.mirrored.as_ref().map(|mirrored| mirrored.origin)
    }

    /// Sends a packet that is kept to all who want it, or to one mirror alone; answers how many were given up for it.
    pub(crate) fn cross(
        &mut self,
        now: Time,
        (ingress, packet): (&Ingress, &Packet),
        only: Option<ObjectId>,
        pool: &PacketPool,
        peers: &mut PeerOutbox,
    ) -> u64 {
        let bit = 1_u32 << ingress.encoding;
        let is_meant = |link: &PeerLink| link.encodings & bit != 0 && only.is_none_or(|only| only == link.mirror);
        if ingress.recovered || !self.links.iter().any(is_meant) {
            // A packet out of redundant blocks is found again by whoever gets the packet that has them.
            return 0;
        }
        let Some(packet) = self.original(ingress, packet, pool) else { return 0 };
        let report = self.encodings.get(usize::from(ingress.encoding)).and_then(|e| e.report);
        let (producer, encoding) = (self.id, ingress.encoding);
        let video = self.config.kind == MediaKind::Video;
        let mut shed = 0;
        for link in self.links.iter_mut().filter(|link| is_meant(link)) {
            let (mirror, fresh) = (link.mirror, link.fresh & bit != 0);
            link.fresh &= !bit;
            link.packets += 1;
            let message = PeerMessage::Packet { mirror, producer, encoding, fresh, video, at: now };
            shed += u64::from(!peers.push_packet(message, packet.clone()));
            if let (true, Some((at, report))) = (fresh, report) {
                peers.push(PeerMessage::Report { mirror, producer, encoding, at, report });
            }
        }
        shed
    }

    /// Sends a packet of an encoding's FlexFEC stream to all mirrors that get the encoding.
    pub(crate) fn cross_repair(&self, now: Time, encoding: u8, packet: &Packet, peers: &mut PeerOutbox) -> u64 {
        let bit = 1_u32 << encoding;
        let mut shed = 0;
        for link in self.links.iter().filter(|link| link.encodings & bit != 0 && link.fresh & bit == 0) {
            let (mirror, producer) = (link.mirror, self.id);
            let message = PeerMessage::Packet { mirror, producer, encoding, fresh: false, video: true, at: now };
            shed += u64::from(!peers.push_packet(message, packet.clone()));
        }
        shed
    }

    /// Sends one mirror packets that are kept.
    pub(crate) fn cross_again(
        &mut self,
        now: Time,
        mirror: ObjectId,
        (encoding, positions): (u8, impl Iterator<Item = u64>),
        pool: &PacketPool,
        peers: &mut PeerOutbox,
    ) -> u64 {
        let mut shed = 0;
        for position in positions {
            let entry = self.recall(now, encoding, position);
            let Some((meta, packet)) = entry.map(|e| (e.meta.clone(), e.packet.clone())) else { continue };
            shed += self.cross(now, (&meta, &packet), Some(mirror), pool, peers);
        }
        shed
    }

    /// The positions of sequence numbers near the newest packet.
    pub(crate) fn positions(&self, encoding: u8, sequences: &[u16]) -> ArrayVec<u64, MAX_ASKED> {
        let Some(newest) = self.newest(encoding) else { return ArrayVec::new() };
        let behind = |sequence: &u16| u64::from((newest as u16).wrapping_sub(*sequence));
        sequences.iter().filter_map(|sequence| newest.checked_sub(behind(sequence))).take(MAX_ASKED).collect()
    }

    /// A packet as its publisher sent it first; `None` if that cannot be told any more.
    fn original(&self, ingress: &Ingress, packet: &Packet, pool: &PacketPool) -> Option<Packet> {
        let encoding = self.encodings.get(usize::from(ingress.encoding))?;
        let view = RtpView::parse(packet).ok()?;
        if encoding.ssrc == Some(view.ssrc) {
            return Some(packet.clone());
        }
        let codec = self.config.codecs.iter().find(|c| c.rtx_payload_type == Some(view.payload_type))?;
        let ssrc = encoding.ssrc?;
        let (head, tail) = (packet.get(..view.header_len)?, packet.get(view.header_len + 2..)?);
        pool.take_with(|slot| {
            let len = head.len() + tail.len();
            let slot = slot.get_mut(..len)?;
            slot.get_mut(..head.len())?.copy_from_slice(head);
            slot.get_mut(head.len()..)?.copy_from_slice(tail);
            set_payload_type(slot, codec.payload_type);
            set_sequence(slot, ingress.position as u16);
            set_ssrc(slot, ssrc);
            Some(len)
        })
    }

    /// What comes next of an encoding has a gap before it that nobody is to fill.
    pub(crate) fn begin_anew(&mut self, encoding: u8) {
        if let Some(encoding) = self.encodings.get_mut(usize::from(encoding)).filter(|e| e.stream.is_started()) {
            encoding.stream.change_ssrc(encoding.stream.ssrc());
        }
    }

    /// Adds what the mirrors want to what is wanted of a producer that comes by a pipe: the encodings that go there, and
    /// the best one of the layers that are wanted there.
    pub(crate) fn add_link_wishes(&self, list: &mut WishList) {
        let count = self.encoding_count();
        for (link, layers) in self.links.iter().filter_map(|link| Some((link, link.layers?))) {
            let best = choose_encoding(Some(layers.spatial).filter(|_| count > 1), u32::MAX, count);
            // Within one of several encodings there are no spatial layers.
            let within = if count > 1 { Layers::new(u8::MAX, layers.temporal) } else { layers };
            let wanted = link.encodings | 1 << best;
            let wishes = list.iter_mut().enumerate().filter(|(encoding, _)| wanted & 1 << encoding != 0);
            for (_, wish) in wishes {
                let most = wish.unwrap_or_default();
                *wish = Some(Layers::new(most.spatial.max(within.spatial), most.temporal.max(within.temporal)));
            }
        }
    }

    /// The encoding's stream has this SSRC.
    pub(crate) fn receives(&self, encoding: u8, ssrc: u32) -> bool {
        self.encodings.get(usize::from(encoding)).is_some_and(|e| e.ssrc == Some(ssrc))
    }

    /// A sender report that its origin got at `at`; `ntp` is our wall clock then.
    pub(crate) fn handle_peer_report(&mut self, at: Time, ntp: NtpTime, encoding: u8, report: &SenderReport) {
        let encoding = self.encodings.get_mut(usize::from(encoding)).filter(|e| e.ssrc == Some(report.ssrc));
        if let Some(encoding) = encoding {
            encoding.handle_sender_report(at, ntp, report);
        }
    }

    /// Its origin tells which encodings are active; `true`: others than before.
    pub(crate) fn set_active(&mut self, active: u32) -> bool {
        std::mem::replace(&mut self.active, active) != active
    }

    /// The next thing that a mirror asks its origin for.
    pub(crate) fn poll_wish(&mut self, now: Time) -> Option<Wish> {
        let video = self.config.kind == MediaKind::Video && !self.paused;
        self.encodings.iter_mut().enumerate().find_map(|(index, e)| {
            let mut missing = [0; MAX_ASKED];
            let (count, key_frame) = e.poll_wish(now, video, &mut missing);
            let missing = missing.iter().copied().take(count).collect();
            (count > 0 || key_frame).then_some(Wish { encoding: index as u8, missing, key_frame })
        })
    }
}
