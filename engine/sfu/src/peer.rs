//! What crosses between the shards of one engine: messages about rooms that live on several, and their packets.
//!
//! Told: messages of this shard, each for another. Tells: them, in order for each shard, when the floor above has room.
//! A producer has its packets on the shard of its transport; on another one a *mirror* stands in for it, fed by a
//! *link*. A router has one home; where else it has transports, a *branch* stands in for it.
//!
//! Messages name what they are about by id. Ids never come again, so a message that is late finds nothing, and whoever
//! gets one about something unknown says so: both sides agree again, whatever was lost on the way.
//!
//! Limits: packets that wait for one shard by [`Limits::peer_packets`](crate::limits::Limits); the oldest video makes
//! room, audio last, and is counted. Of the rest, what only the latest of counts replaces what waits, and requests are
//! dropped, once [`Limits::peer_messages`](crate::limits::Limits) wait. Left out: memory between threads.

use std::collections::VecDeque;

use arrayvec::ArrayVec;
use sfu_wire::buf::Packet;
use sfu_wire::id::ObjectId;
use sfu_wire::rtcp::SenderReport;
use sfu_wire::scalability::Layers;
use sfu_wire::time::Time;

use crate::command::CloseReason;
use crate::producer::MAX_ENCODINGS;

/// Sequence numbers that one message may ask for.
pub const MAX_ASKED: usize = 64;

/// How a packet differs from what its publisher sent, where layers that nobody wants are left out before it crosses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sifted {
    /// Its sequence number: what is left out has none.
    pub sequence: u16,
    /// The marker bit.
    pub marker: bool,
    /// Pictures left out before it, modulo 2^15: what to take off its picture id.
    pub pictures: u16,
    /// With a dependency descriptor the decode targets that cross, one bit each.
    pub targets: Option<u32>,
    /// There is nothing to forward in it: it came too late to be left out without a number.
    pub blank: bool,
}

/// From one shard to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerMessage {
    /// A mirror stands in for a producer, in a room.
    Join {
        /// Whose packets it wants.
        producer: ObjectId,
        /// The mirror.
        mirror: ObjectId,
        /// The home router.
        room: ObjectId,
    },
    /// A mirror is gone.
    Leave {
        /// Whose packets it had.
        producer: ObjectId,
        /// The mirror.
        mirror: ObjectId,
    },
    /// What the consumers of a mirror want; replaces what they wanted before.
    Want {
        /// Of which producer.
        producer: ObjectId,
        /// The mirror.
        mirror: ObjectId,
        /// Encodings, one bit each.
        encodings: u32,
        /// The highest layers, as [`Event::WantedLayers`](crate::command::Event) has them.
        layers: Option<Layers>,
        /// The highest layers within each of the encodings; more than there are means all.
        within: [Layers; MAX_ENCODINGS],
    },
    /// A consumer of a mirror needs a key frame.
    KeyFrame {
        /// Of which producer.
        producer: ObjectId,
        /// The mirror.
        mirror: ObjectId,
        /// Of which of its encodings.
        encoding: u8,
    },
    /// A mirror misses packets.
    Nack {
        /// Of which producer.
        producer: ObjectId,
        /// The mirror.
        mirror: ObjectId,
        /// Of which of its encodings.
        encoding: u8,
        /// Their sequence numbers.
        sequences: ArrayVec<u16, MAX_ASKED>,
    },
    /// A packet of a producer, as its publisher sent it first; its bytes go beside.
    Packet {
        /// For which mirror.
        mirror: ObjectId,
        /// Of which producer.
        producer: ObjectId,
        /// Of which of its encodings.
        encoding: u8,
        /// What came before of this encoding, if anything, was not sent here up to this packet.
        fresh: bool,
        /// Audio is given up last.
        video: bool,
        /// When it came.
        at: Time,
        /// What is to be changed in it, if layers are left out of its encoding.
        sifted: Option<Sifted>,
    },
    /// A sender report of a publisher.
    Report {
        /// For which mirror.
        mirror: ObjectId,
        /// Of which producer.
        producer: ObjectId,
        /// Of which of its encodings.
        encoding: u8,
        /// When it came.
        at: Time,
        /// The report.
        report: SenderReport,
    },
    /// How a producer is; replaces what was said before.
    State {
        /// For which mirror.
        mirror: ObjectId,
        /// Of which producer.
        producer: ObjectId,
        /// Paused by command.
        paused: bool,
        /// Encodings that packets come for, one bit each.
        active: u32,
        /// How well each encoding arrives.
        scores: ArrayVec<u8, MAX_ENCODINGS>,
        /// The highest layers that there are within each encoding.
        highest: ArrayVec<Layers, MAX_ENCODINGS>,
    },
    /// A producer is gone, or never was in this room.
    Gone {
        /// For which mirror.
        mirror: ObjectId,
        /// Which producer.
        producer: ObjectId,
    },
    /// A router has a branch.
    Attach {
        /// The home router.
        room: ObjectId,
        /// The branch.
        branch: ObjectId,
    },
    /// The home knows a branch.
    Attached {
        /// The branch.
        branch: ObjectId,
        /// The home router.
        room: ObjectId,
    },
    /// A branch is gone.
    Detach {
        /// The home router.
        room: ObjectId,
        /// The branch.
        branch: ObjectId,
    },
    /// A bug was caught in a branch: the room closes.
    RoomFailed {
        /// The home router.
        room: ObjectId,
    },
    /// The home router is gone, or never was.
    RoomGone {
        /// The branch.
        branch: ObjectId,
        /// The home router.
        room: ObjectId,
        /// Why.
        reason: CloseReason,
    },
}

impl PeerMessage {
    /// The shard that it is for.
    pub fn to(&self) -> u8 {
        match self {
            Self::Join { producer, .. }
            | Self::Leave { producer, .. }
            | Self::Want { producer, .. }
            | Self::KeyFrame { producer, .. }
            | Self::Nack { producer, .. } => producer.shard(),
            Self::Packet { mirror, .. }
            | Self::Report { mirror, .. }
            | Self::State { mirror, .. }
            | Self::Gone { mirror, .. } => mirror.shard(),
            Self::Attach { room, .. } | Self::Detach { room, .. } | Self::RoomFailed { room } => room.shard(),
            Self::Attached { branch, .. } | Self::RoomGone { branch, .. } => branch.shard(),
        }
    }

    /// Asks for something that will be asked for again.
    fn is_request(&self) -> bool {
        matches!(self, Self::KeyFrame { .. } | Self::Nack { .. } | Self::Report { .. })
    }

    /// What the other one says is of no use any more.
    fn replaces(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Want { mirror, .. }, Self::Want { mirror: old, .. })
            | (Self::State { mirror, .. }, Self::State { mirror: old, .. }) => mirror == old,
            _ => false,
        }
    }
}

/// A message with the packet that it is about.
#[derive(Debug, Clone)]
pub struct PeerOut {
    /// The message.
    pub message: PeerMessage,
    /// The packet of [`PeerMessage::Packet`].
    pub packet: Option<Packet>,
}

impl PeerOut {
    fn is_video(&self) -> bool {
        matches!(self.message, PeerMessage::Packet { video: true, .. })
    }
}

/// What waits for one shard.
#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<PeerOut>,
    /// Packets in it.
    packets: usize,
}

/// What waits for other shards.
#[derive(Debug)]
pub(crate) struct PeerOutbox {
    /// By shard; as many as were ever written to.
    lanes: Vec<Lane>,
    waiting: usize,
    max_packets: usize,
    max_messages: usize,
    /// Packets that were handed on.
    pub(crate) sent: u64,
    /// Packets that were given up.
    pub(crate) shed: u64,
}

impl PeerOutbox {
    pub(crate) fn new(max_packets: usize, max_messages: usize) -> Self {
        Self { lanes: Vec::new(), waiting: 0, max_packets, max_messages, sent: 0, shed: 0 }
    }

    fn lane(&mut self, to: u8) -> &mut Lane {
        let index = usize::from(to);
        if self.lanes.len() <= index {
            self.lanes.resize_with(index + 1, Lane::default);
        }
        &mut self.lanes[index]
    }

    /// Queues a message.
    pub(crate) fn push(&mut self, message: PeerMessage) {
        let max = self.max_messages;
        let lane = self.lane(message.to());
        if lane.queue.len() >= max {
            if message.is_request() {
                return;
            }
            if let Some(old) = lane.queue.iter_mut().find(|old| message.replaces(&old.message)) {
                old.message = message;
                return;
            }
        }
        lane.queue.push_back(PeerOut { message, packet: None });
        self.waiting += 1;
    }

    /// Queues a packet; `false`: one was given up for it, perhaps this one.
    pub(crate) fn push_packet(&mut self, message: PeerMessage, packet: Packet) -> bool {
        let max = self.max_packets;
        let lane = self.lane(message.to());
        let out = PeerOut { message, packet: Some(packet) };
        let full = lane.packets >= max;
        if full {
            let video = lane.queue.iter().position(PeerOut::is_video);
            // Sound makes room for sound alone.
            let sound = || lane.queue.iter().position(|out| out.packet.is_some()).filter(|_| !out.is_video());
            let oldest = video.or_else(sound);
            if oldest.and_then(|oldest| lane.queue.remove(oldest)).is_none() {
                self.shed += 1;
                return false;
            }
        }
        lane.packets += usize::from(!full);
        lane.queue.push_back(out);
        self.waiting += usize::from(!full);
        self.shed += u64::from(full);
        !full
    }

    /// The next one for a shard.
    pub(crate) fn poll(&mut self, to: u8) -> Option<PeerOut> {
        let lane = self.lanes.get_mut(usize::from(to))?;
        let out = lane.queue.pop_front()?;
        self.waiting -= 1;
        if out.packet.is_some() {
            lane.packets -= 1;
            self.sent += 1;
        }
        Some(out)
    }

    /// Something waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Something waits for this shard.
    pub(crate) fn waits_for(&self, to: u8) -> bool {
        self.lanes.get(usize::from(to)).is_some_and(|lane| !lane.queue.is_empty())
    }

    /// The way to a shard is more than half full.
    pub(crate) fn is_busy(&self, to: u8) -> bool {
        self.lanes.get(usize::from(to)).is_some_and(|lane| lane.packets > self.max_packets / 2)
    }

    /// What waits for a shard that is no more.
    pub(crate) fn clear(&mut self, to: u8) {
        if let Some(lane) = self.lanes.get_mut(usize::from(to)) {
            self.waiting -= lane.queue.len();
            *lane = Lane::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_wire::buf::PacketPool;
    use sfu_wire::id::ObjectKind;

    fn id(shard: u8, n: u32) -> ObjectId {
        ObjectId::new(shard, ObjectKind::Producer, 1, n)
    }

    fn packet(n: u32, video: bool) -> PeerMessage {
        let (mirror, producer) = (id(1, n), id(0, n));
        PeerMessage::Packet { mirror, producer, encoding: 0, fresh: false, video, at: Time::ZERO, sifted: None }
    }

    fn want(n: u32, encodings: u32) -> PeerMessage {
        let within = [Layers::default(); MAX_ENCODINGS];
        PeerMessage::Want { producer: id(1, n), mirror: id(0, n), encodings, layers: None, within }
    }

    fn rest(outbox: &mut PeerOutbox, to: u8) -> Vec<PeerMessage> {
        std::iter::from_fn(|| outbox.poll(to)).map(|out| out.message).collect()
    }

    #[test]
    fn a_full_way_gives_up_the_oldest_video_and_audio_last() {
        let pool = PacketPool::new(8);
        let bytes = pool.take(b"x").expect("small");
        let mut outbox = PeerOutbox::new(3, 8);
        for (n, video) in [(0, false), (1, true), (2, true)] {
            assert!(outbox.push_packet(packet(n, video), bytes.clone()));
        }
        assert!(outbox.is_busy(1) && !outbox.is_busy(0));
        assert!(!outbox.push_packet(packet(3, false), bytes.clone()));
        assert!(!outbox.push_packet(packet(4, false), bytes.clone()));
        assert!(!outbox.push_packet(packet(5, false), bytes.clone()));
        let expected: Vec<_> = [3, 4, 5].map(|n| packet(n, false)).into();
        assert_eq!(rest(&mut outbox, 1), expected);
        assert_eq!((outbox.shed, outbox.sent, outbox.is_empty()), (3, 3, true));
        assert_eq!(bytes.owners(), 1);
    }

    #[test]
    fn sound_makes_no_room_for_pictures() {
        let pool = PacketPool::new(8);
        let bytes = pool.take(b"x").expect("small");
        let mut outbox = PeerOutbox::new(2, 8);
        for n in 0..2 {
            assert!(outbox.push_packet(packet(n, false), bytes.clone()));
        }
        assert!(!outbox.push_packet(packet(2, true), bytes.clone()));
        let expected: Vec<_> = [0, 1].map(|n| packet(n, false)).into();
        assert_eq!(rest(&mut outbox, 1), expected);
        assert_eq!(outbox.shed, 1);
    }

    #[test]
    fn beyond_the_limit_requests_are_dropped_states_replaced_and_all_else_kept() {
        let mut outbox = PeerOutbox::new(3, 2);
        outbox.push(want(0, 1));
        outbox.push(want(1, 1));
        outbox.push(want(0, 2));
        outbox.push(PeerMessage::KeyFrame { producer: id(1, 0), mirror: id(0, 0), encoding: 0 });
        let leave = PeerMessage::Leave { producer: id(1, 0), mirror: id(0, 0) };
        outbox.push(leave.clone());
        assert_eq!(rest(&mut outbox, 1), [want(0, 2), want(1, 1), leave]);
        outbox.push(want(0, 1));
        assert!(outbox.waits_for(1) && !outbox.waits_for(7));
        outbox.clear(1);
        outbox.clear(9);
        assert!(outbox.is_empty() && outbox.poll(1).is_none());
    }
}
