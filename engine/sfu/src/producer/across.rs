//! A producer that is consumed on other shards too: what its links and its mirrors keep.
//!
//! A link hands a mirror the packets of the encodings and layers that are wanted there, in the form in which the publisher
//! sent them first: a retransmission is put back into its stream. FlexFEC packets go beside them, but for streams with
//! layers, which are numbered anew on the way. A mirror is a producer like any other, but for where
//! its packets come from and its wishes go to, and for what only the origin can know: pause, scores, what is active.
//! Limits: one link for each shard; encodings by the producer.

use arrayvec::ArrayVec;
use sfu_proto::layers::{Scheme, TargetTable, choose_encoding};
use sfu_wire::buf::{Packet, PacketPool};
use sfu_wire::id::ObjectId;
use sfu_wire::media::MediaKind;
use sfu_wire::rtcp::SenderReport;
use sfu_wire::rtp::{RtpView, set_payload_type, set_sequence, set_ssrc};
use sfu_wire::scalability::{Layers, ScalabilityMode};
use sfu_wire::time::{NtpTime, Time};

use super::sieve::Sieve;
use super::{Ingress, MAX_ENCODINGS, Producer, WishList};
use crate::command::CommandError;
use crate::config::ProducerConfig;
use crate::peer::{MAX_ASKED, PeerMessage, PeerOutbox, Sifted};

/// What crossing has come to.
#[derive(Debug, Default)]
pub(crate) struct Crossed {
    /// Packets that were given up for it.
    pub(crate) shed: u64,
    /// A layer that is wanted somewhere can only be had with a key frame.
    pub(crate) wants_key_frame: bool,
}

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
    /// And within each encoding.
    pub(crate) within: [Layers; MAX_ENCODINGS],
    /// By encoding, once a packet of a layer has come.
    sieves: [Option<Box<Sieve>>; MAX_ENCODINGS],
    /// Packets that went there.
    pub(crate) packets: u64,
}

impl PeerLink {
    pub(crate) fn new(mirror: ObjectId) -> Self {
        let within = [Layers::default(); MAX_ENCODINGS];
        Self { mirror, encodings: 0, fresh: 0, layers: None, within, sieves: Default::default(), packets: 0 }
    }

    fn wants_key_frame(&self, encoding: u8) -> bool {
        self.sieves.get(usize::from(encoding)).and_then(Option::as_ref).is_some_and(|sieve| sieve.wants_key_frame())
    }

    /// Whether a packet goes there, and how; it may be the first of its encoding there, or go there `again`.
    fn sift(
        &mut self,
        ingress: &Ingress,
        again: bool,
        (mode, highest, table): (ScalabilityMode, impl FnOnce() -> Layers, &TargetTable),
    ) -> Passage {
        let index = usize::from(ingress.encoding) % MAX_ENCODINGS;
        let fresh = self.fresh & 1 << index != 0;
        let Some(sieve) = &mut self.sieves[index] else {
            if ingress.layer.scheme == Scheme::None || !(fresh || ingress.key_frame) {
                return Passage::Whole { fresh };
            }
            let mut sieve = Sieve::new(ingress, mode, aim(self.within[index], highest()));
            let sifted = sieve.pass(ingress, table);
            self.sieves[index] = Some(Box::new(sieve));
            return sifted.map_or(Passage::None, |sifted| Passage::Sifted { fresh, sifted });
        };
        if !fresh
            && again
            && let Some(sifted) = sieve.pass_again(ingress, table)
        {
            return Passage::Sifted { fresh, sifted };
        }
        let fresh = fresh || sieve.is_restarted(ingress);
        if fresh {
            // It stays so until something has gone there.
            self.fresh |= 1 << index;
            sieve.begin(ingress, mode);
        }
        let sifted = sieve.pass(ingress, table);
        sifted.map_or(Passage::None, |sifted| Passage::Sifted { fresh, sifted })
    }
}

/// How a packet goes to a mirror.
enum Passage {
    None,
    Whole { fresh: bool },
    Sifted { fresh: bool, sifted: Sifted },
}

/// What to aim at: spatial layers that there are not would be waited for.
fn aim(within: Layers, highest: Layers) -> Layers {
    Layers::new(within.spatial.min(highest.spatial), within.temporal)
}

/// What is wanted of a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Encodings, one bit each.
    pub(crate) encodings: u32,
    /// The highest layers, of all encodings together,
    pub(crate) layers: Option<Layers>,
    /// and within each.
    pub(crate) within: [Layers; MAX_ENCODINGS],
}

/// What a mirror knows of the producer that it stands in for.
#[derive(Debug)]
pub(crate) struct Mirrored {
    /// The producer.
    pub(crate) origin: ObjectId,
    /// How well its encodings arrive; none before it has told.
    pub(crate) scores: ArrayVec<u8, MAX_ENCODINGS>,
    /// What it was last told to be wanted.
    pub(crate) told: Option<Wanted>,
    /// The highest layers that there are; none before it has told.
    pub(crate) highest: ArrayVec<Layers, MAX_ENCODINGS>,
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
        mirror.mirrored =
            Some(Box::new(Mirrored { origin, scores: ArrayVec::new(), told: None, highest: ArrayVec::new() }));
        Ok(mirror)
    }

    /// The producer that it stands in for, if it is a mirror.
    #[inline]
    pub(crate) fn origin(&self) -> Option<ObjectId> {
        self.mirrored.as_ref().map(|mirrored| mirrored.origin)
    }

    /// Sends a packet that is kept to all who want it, or to one mirror alone, which may have had it already.
    pub(crate) fn cross(
        &mut self,
        now: Time,
        (ingress, packet): (&Ingress, &Packet),
        only: Option<ObjectId>,
        pool: &PacketPool,
        peers: &mut PeerOutbox,
    ) -> Crossed {
        let mut crossed = Crossed::default();
        let bit = 1_u32 << ingress.encoding;
        let is_meant = |link: &PeerLink| link.encodings & bit != 0 && only.is_none_or(|only| only == link.mirror);
        if ingress.recovered || !self.links.iter().any(is_meant) {
            // A packet out of redundant blocks is found again by whoever gets the packet that has them.
            return crossed;
        }
        let Some(packet) = self.original(ingress, packet, pool) else { return crossed };
        let (producer, encoding, mode) = (self.id, ingress.encoding, self.mode(ingress.encoding));
        let video = self.config.kind == MediaKind::Video;
        let Some(source) = self.encodings.get(usize::from(encoding)) else { return crossed };
        for link in self.links.iter_mut().filter(|link| is_meant(link)) {
            let passage = link.sift(ingress, only.is_some(), (mode, || source.highest(), &source.targets));
            crossed.wants_key_frame |= link.wants_key_frame(encoding);
            let (fresh, sifted) = match passage {
                Passage::None => continue,
                Passage::Whole { fresh } => (fresh, None),
                Passage::Sifted { fresh, sifted } => (fresh, Some(sifted)),
            };
            let mirror = link.mirror;
            link.fresh &= !bit;
            link.packets += 1;
            let message = PeerMessage::Packet { mirror, producer, encoding, fresh, video, at: now, sifted };
            crossed.shed += u64::from(!peers.push_packet(message, packet.clone()));
            if let (true, Some((at, report))) = (fresh, source.report) {
                peers.push(PeerMessage::Report { mirror, producer, encoding, at, report });
            }
        }
        crossed
    }

    /// The layers that go to mirrors are chosen again: those that there are have changed, or those that are wanted.
    pub(crate) fn aim_links(&mut self) {
        let highest: ArrayVec<Layers, MAX_ENCODINGS> = self.highest_of_all();
        for link in &mut self.links {
            for ((sieve, within), highest) in link.sieves.iter_mut().zip(link.within).zip(&highest) {
                if let Some(sieve) = sieve {
                    sieve.set_target(aim(within, *highest));
                }
            }
        }
    }

    /// The highest layers within each encoding.
    pub(crate) fn highest_of_all(&self) -> ArrayVec<Layers, MAX_ENCODINGS> {
        (0..self.encoding_count()).map(|encoding| self.highest(encoding)).take(MAX_ENCODINGS).collect()
    }

    /// Sends a packet of an encoding's FlexFEC stream to all mirrors that get the encoding.
    pub(crate) fn cross_repair(&self, now: Time, encoding: u8, packet: &Packet, peers: &mut PeerOutbox) -> u64 {
        let bit = 1_u32 << encoding;
        let mut shed = 0;
        let index = usize::from(encoding) % MAX_ENCODINGS;
        let gets =
            |link: &&PeerLink| link.encodings & bit != 0 && link.fresh & bit == 0 && link.sieves[index].is_none();
        for link in self.links.iter().filter(gets) {
            let (mirror, producer) = (link.mirror, self.id);
            let message =
                PeerMessage::Packet { mirror, producer, encoding, fresh: false, video: true, at: now, sifted: None };
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
            shed += self.cross(now, (&meta, &packet), Some(mirror), pool, peers).shed;
        }
        shed
    }

    /// The positions of sequence numbers near the newest packet, as a mirror knows them.
    pub(crate) fn positions(&self, mirror: ObjectId, encoding: u8, sequences: &[u16]) -> ArrayVec<u64, MAX_ASKED> {
        let Some(newest) = self.newest(encoding) else { return ArrayVec::new() };
        let link = self.links.iter().find(|link| link.mirror == mirror);
        let sieve = link.and_then(|link| link.sieves.get(usize::from(encoding))?.as_deref());
        let position = |sequence: &u16| match sieve {
            Some(sieve) => sieve.locate(*sequence, newest),
            None => newest.checked_sub(u64::from((newest as u16).wrapping_sub(*sequence))),
        };
        sequences.iter().filter_map(position).take(MAX_ASKED).collect()
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
            let wanted = link.encodings | 1 << best;
            let wishes = list.iter_mut().zip(link.within).enumerate().filter(|(e, _)| wanted & 1 << e != 0);
            for (encoding, (wish, within)) in wishes {
                // Within one of several encodings there are no spatial layers.
                let goes_there = link.encodings & 1 << encoding != 0;
                let within = if goes_there { within } else { Layers::new(u8::MAX, layers.temporal) };
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

    /// Its origin tells which encodings are active, and the highest layers within each; `true`: others than before.
    pub(crate) fn set_active(&mut self, active: u32, highest: &[Layers]) -> bool {
        let before = std::mem::replace(&mut self.active, active);
        let Some(mirrored) = &mut self.mirrored else { return before != active };
        let same = before == active && mirrored.highest.as_slice() == highest;
        mirrored.highest = highest.iter().copied().take(MAX_ENCODINGS).collect();
        !same
    }

    /// The next packet of an encoding comes as its origin has made it.
    pub(crate) fn note_sifted(&mut self, encoding: u8, sifted: Option<Sifted>) {
        if let Some(encoding) = self.encodings.get_mut(usize::from(encoding)) {
            encoding.sifted = sifted;
        }
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
