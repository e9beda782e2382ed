//! Trace events: what passes a producer or a consumer, told packet by packet to whoever asks for it.
//!
//! Told: which kinds of an object are wanted ([`TraceMask`]), and what passes. Tells: one [`Trace`] for each,
//! behind all other events. They are telemetry: what nobody takes in time is dropped and counted, and so
//! is what comes beyond the queue between two turns. An object that nobody traces costs one branch.
//! Limits: [`Limits::traces`](crate::limits::Limits); the queue takes its memory when the first object is
//! traced. Left out: names and texts.

use std::collections::VecDeque;

use sfu_wire::id::ObjectId;
use sfu_wire::rtcp::{Packets, RtcpPacket, SenderReport};
use sfu_wire::time::Time;

/// A set of kinds that one object is traced for; and, beside them, whether anything else of the shard
/// looks at the packets of the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TraceMask(u8);

impl TraceMask {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Each RTP packet.
    pub const RTP: Self = Self(1);
    /// Each packet that begins a key frame.
    pub const KEY_FRAME: Self = Self(1 << 1);
    /// Generic NACK (RFC 4585).
    pub const NACK: Self = Self(1 << 2);
    /// Picture loss indication (RFC 4585).
    pub const PLI: Self = Self(1 << 3);
    /// Full intra request (RFC 5104).
    pub const FIR: Self = Self(1 << 4);
    /// Sender report (RFC 3550).
    pub const SENDER_REPORT: Self = Self(1 << 5);
    /// What a producer can be traced for.
    pub const OF_PRODUCER: Self = Self(0b11_1111);
    /// What a consumer can be traced for.
    pub const OF_CONSUMER: Self = Self(0b1_1111);
    /// RTCP that asks for something.
    const REQUESTS: Self = Self(0b1_1100);

    /// All kinds with their names.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::RTP, "rtp"),
        (Self::KEY_FRAME, "keyframe"),
        (Self::NACK, "nack"),
        (Self::PLI, "pli"),
        (Self::FIR, "fir"),
        (Self::SENDER_REPORT, "sr"),
    ];

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Any of `other` is in it.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Nothing outside `other` is in it.
    pub const fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Its bits, from [`TraceMask::RTP`] upwards.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From bits; `None` if there are others than those of known kinds.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits & !Self::OF_PRODUCER.0 == 0 { Some(Self(bits)) } else { None }
    }
}

/// What of the shard looks at an object's packets. One byte that the way of a packet tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Watch(u8);

impl Watch {
    const OBSERVED: u8 = 1 << 6;
    const DECISIONS: u8 = 1 << 7;

    /// Anything at all.
    #[inline]
    pub(crate) const fn any(self) -> bool {
        self.0 != 0
    }

    /// The kinds that are traced.
    #[inline]
    pub(crate) const fn traced(self) -> TraceMask {
        TraceMask(self.0 & TraceMask::OF_PRODUCER.0)
    }

    /// Observers listen.
    #[inline]
    pub(crate) const fn is_observed(self) -> bool {
        self.0 & Self::OBSERVED != 0
    }

    /// Decisions are kept.
    #[inline]
    pub(crate) const fn keeps_decisions(self) -> bool {
        self.0 & Self::DECISIONS != 0
    }

    pub(crate) fn set_traced(&mut self, mask: TraceMask) {
        self.0 = self.0 & !TraceMask::OF_PRODUCER.0 | mask.0;
    }

    pub(crate) fn set_observed(&mut self, on: bool) {
        self.0 = if on { self.0 | Self::OBSERVED } else { self.0 & !Self::OBSERVED };
    }

    pub(crate) fn set_decisions(&mut self, on: bool) {
        self.0 = if on { self.0 | Self::DECISIONS } else { self.0 & !Self::DECISIONS };
    }
}

/// Which way it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the peer.
    In,
    /// To the peer.
    Out,
}

/// Header of an RTP packet as it is on the wire of the object's peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpTrace {
    /// SSRC.
    pub ssrc: u32,
    /// Payload type.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// The marker bit.
    pub marker: bool,
    /// A decoder may start here.
    pub key_frame: bool,
    /// A retransmission.
    pub rtx: bool,
    /// Bytes: as decrypted from the peer, as encrypted to it.
    pub bytes: u16,
}

/// What passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traced {
    /// An RTP packet.
    Rtp(RtpTrace),
    /// An RTP packet that begins a key frame.
    KeyFrame(RtpTrace),
    /// A NACK.
    Nack {
        /// The stream that misses packets.
        ssrc: u32,
        /// How many.
        packets: u32,
    },
    /// A picture loss indication.
    Pli {
        /// The stream.
        ssrc: u32,
    },
    /// A full intra request.
    Fir {
        /// The stream.
        ssrc: u32,
    },
    /// A sender report.
    SenderReport(SenderReport),
}

/// One trace event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// Nanoseconds of Unix time.
    pub at_unix_nanos: u64,
    /// Which way it went.
    pub direction: Direction,
    /// What.
    pub what: Traced,
}

/// Trace events on their way out.
#[derive(Debug)]
pub(crate) struct Traces {
    queue: VecDeque<(ObjectId, Trace)>,
    cap: usize,
    epoch_unix_nanos: u64,
    lost: u64,
}

impl Traces {
    /// A queue without memory yet.
    pub(crate) fn new(cap: usize, epoch_unix_nanos: u64) -> Self {
        Self { queue: VecDeque::new(), cap, epoch_unix_nanos, lost: 0 }
    }

    /// Takes the memory: something will be traced.
    pub(crate) fn reserve(&mut self) {
        self.queue.reserve(self.cap.saturating_sub(self.queue.len()));
    }

    /// Something passed an object that is traced for it.
    pub(crate) fn push(&mut self, now: Time, object: ObjectId, direction: Direction, what: Traced) {
        if self.queue.len() >= self.cap {
            self.lost += 1;
            return;
        }
        let at_unix_nanos = self.epoch_unix_nanos.saturating_add(now.as_nanos());
        self.queue.push_back((object, Trace { at_unix_nanos, direction, what }));
    }

    /// An RTP packet passed.
    #[cold]
    pub(crate) fn rtp(&mut self, now: Time, object: ObjectId, mask: TraceMask, direction: Direction, packet: RtpTrace) {
        if mask.has(TraceMask::RTP) {
            self.push(now, object, direction, Traced::Rtp(packet));
        }
        if packet.key_frame && mask.has(TraceMask::KEY_FRAME) {
            self.push(now, object, direction, Traced::KeyFrame(packet));
        }
    }

    /// An RTP packet was sent, if one was.
    pub(crate) fn sent(&mut self, now: Time, object: ObjectId, mask: TraceMask, packet: Option<RtpTrace>) {
        if let Some(packet) = packet {
            self.rtp(now, object, mask, Direction::Out, packet);
        }
    }

    /// What a compound that the object sends asks for.
    pub(crate) fn requests(&mut self, now: Time, object: ObjectId, mask: TraceMask, compound: &[u8]) {
        if !mask.has(TraceMask::REQUESTS) {
            return;
        }
        // What we wrote ourselves can be read.
        for packet in Packets::new(compound, true).into_iter().flatten().flatten() {
            match packet {
                RtcpPacket::Nack(nack) if mask.has(TraceMask::NACK) => {
                    let packets = nack.sequences().count() as u32;
                    self.push(now, object, Direction::Out, Traced::Nack { ssrc: nack.media_ssrc, packets });
                }
                RtcpPacket::Pli(pli) if mask.has(TraceMask::PLI) => {
                    self.push(now, object, Direction::Out, Traced::Pli { ssrc: pli.media_ssrc });
                }
                RtcpPacket::Fir(fir) if mask.has(TraceMask::FIR) => {
                    for entry in fir.entries() {
                        self.push(now, object, Direction::Out, Traced::Fir { ssrc: entry.ssrc });
                    }
                }
                _ => {}
            }
        }
    }

    /// The oldest.
    pub(crate) fn pop(&mut self) -> Option<(ObjectId, Trace)> {
        self.queue.pop_front()
    }

    /// How many found no place since the last call.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_wire::id::ObjectKind;
    use sfu_wire::rtcp::{Nack, Pli};

    fn id() -> ObjectId {
        ObjectId::new(0, ObjectKind::Producer, 1, 1)
    }

    #[test]
    fn the_byte_of_a_watch_holds_three_things_apart() {
        let mut watch = Watch::default();
        watch.set_observed(true);
        watch.set_decisions(true);
        watch.set_traced(TraceMask::NACK.with(TraceMask::SENDER_REPORT));
        assert!(watch.is_observed() && watch.keeps_decisions() && watch.traced().has(TraceMask::NACK));
        watch.set_traced(TraceMask::NONE);
        assert!(watch.is_observed() && watch.keeps_decisions() && watch.traced() == TraceMask::NONE);
        watch.set_observed(false);
        watch.set_decisions(false);
        assert!(!watch.any());
    }

    #[test]
    fn masks_know_their_bits() {
        let all = TraceMask::ALL.iter().fold(TraceMask::NONE, |all, (one, _)| all.with(*one));
        assert_eq!(all, TraceMask::OF_PRODUCER);
        assert_eq!(TraceMask::from_bits(0b100_0000), None);
        assert_eq!(TraceMask::from_bits(all.bits()), Some(all));
        assert!(TraceMask::OF_CONSUMER.is_within(all) && !all.is_within(TraceMask::OF_CONSUMER));
    }

    #[test]
    fn a_full_queue_counts_what_it_drops() {
        let mut traces = Traces::new(2, 1_000);
        traces.reserve();
        for n in 0..5 {
            traces.push(Time::from_nanos(n), id(), Direction::In, Traced::Pli { ssrc: n as u32 });
        }
        let kept: Vec<_> = std::iter::from_fn(|| traces.pop()).map(|(_, t)| t.at_unix_nanos).collect();
        assert_eq!((kept, traces.take_lost(), traces.take_lost()), (vec![1_000, 1_001], 3, 0));
    }

    #[test]
    fn only_what_is_asked_for_is_told_of_a_compound() {
        let mut buf = [0; 100];
        let nack = Nack::write(&mut buf, 1, 2, &[7, 9]).unwrap();
        let pli = Pli { sender_ssrc: 1, media_ssrc: 2 }.write(&mut buf[nack..]).unwrap();
        let compound = &buf[..nack + pli];
        let mut traces = Traces::new(10, 0);
        traces.requests(Time::ZERO, id(), TraceMask::RTP, compound);
        assert!(traces.pop().is_none());
        traces.requests(Time::ZERO, id(), TraceMask::NACK.with(TraceMask::PLI), compound);
        let what: Vec<_> = std::iter::from_fn(|| traces.pop()).map(|(_, t)| t.what).collect();
        assert_eq!(what, [Traced::Nack { ssrc: 2, packets: 2 }, Traced::Pli { ssrc: 2 }]);
    }
}
