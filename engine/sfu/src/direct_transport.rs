//! A direct transport: the application itself is the peer, and packets pass through its hands instead of
//! a network.
//!
//! Told: plaintext RTP and RTCP of the application, by transport or by producer. Tells: what consumers send, and
//! RTCP for the application, through the [`MediaOutbox`](crate::media_outbox::MediaOutbox). Packets are parsed and routed
//! as those of any peer; refusals are counted. There are no sockets, no keys, no path. RFC 3550, RFC 5761.
//! Left out: waiting: a full outbox drops and counts.

use sfu_wire::demux::{DatagramKind, classify};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::time::Time;

use crate::command::{CommandError, Reply};
use crate::ingress::Verdict;
use crate::shard::Shard;
use crate::transport::Kind;

/// A packet for the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaPacket<'a> {
    /// The consumer of RTP; the transport of RTCP.
    pub source: ObjectId,
    /// RTP or RTCP, plaintext.
    pub bytes: &'a [u8],
}

impl Shard {
    pub(crate) fn create_direct_transport(
        &mut self,
        now: Time,
        router: ObjectId,
        max_incoming_bitrate: u32,
    ) -> Result<Reply, CommandError> {
        let id = self.add_transport(now, router, max_incoming_bitrate, |_| Kind::Direct)?;
        if let Some(transport) = self.transports.get_mut(id) {
            transport.link.set_direct(id);
        }
        self.arm_transport(id, now);
        Ok(Reply::Created(id))
    }

    /// Takes one packet of the application; RTP is told from RTCP by its second byte (RFC 5761). `target` is
    /// a direct transport, or a producer on one, which then must be the one that the packet is for. What is
    /// refused is counted.
    pub fn handle_media(&mut self, now: Time, target: ObjectId, packet: &[u8]) {
        // What the panic of a room said is told by its event.
        let _ = self.contained(now, |shard| {
            if let Err((transport, reason)) = shard.take_media(now, target, packet) {
                shard.refuse(transport, reason);
            }
        });
    }

    fn take_media(&mut self, now: Time, target: ObjectId, packet: &[u8]) -> Verdict {
        self.work_for_object(target);
        let producer = self.producers.get(target).map(|held| held.it.transport());
        let id = producer.unwrap_or(target);
        let unknown = (None, DropReason::UnknownTuple);
        let transport = self.transports.get_mut(id).filter(|t| matches!(t.kind, Kind::Direct)).ok_or(unknown)?;
        transport.link.counters.received(now, packet.len());
        let refused = |reason| (Some(id), reason);
        match classify(packet) {
            Some(DatagramKind::Rtp) => {
                let foreign = packet.get(8..12).and_then(|ssrc| ssrc.try_into().ok()).is_some_and(|ssrc| {
                    let route = transport.listener.by_ssrc(u32::from_be_bytes(ssrc));
                    target.kind() == Some(ObjectKind::Producer) && route.is_some_and(|r| r.producer != target)
                });
                if foreign {
                    return Err(refused(DropReason::RtpUnroutable));
                }
                self.take_rtp(now, now, id, packet, packet.len()).map_err(refused)
            }
            Some(DatagramKind::Rtcp) => self.take_rtcp_compound(now, id, packet).map_err(refused),
            Some(_) => Err(refused(DropReason::UnsupportedProtocol)),
            None if packet.is_empty() => Err(refused(DropReason::Empty)),
            None => Err(refused(DropReason::UnknownFirstByte)),
        }
    }

    /// Packets for the application, in order.
    pub fn media(&self) -> impl Iterator<Item = MediaPacket<'_>> {
        self.out.media.entries().iter().map(|entry| {
            let bytes = self.out.media.bytes(entry);
            let ssrc = bytes.get(8..12).and_then(|ssrc| ssrc.try_into().ok()).map(u32::from_be_bytes);
            let transport = self.transports.get(entry.transport).filter(|_| !entry.rtcp);
            let consumer = transport.and_then(|t| t.by_ssrc.get(&ssrc?).copied());
            MediaPacket { source: consumer.unwrap_or(entry.transport), bytes }
        })
    }

    /// There are packets for the application.
    pub fn has_media(&self) -> bool {
        !self.out.media.entries().is_empty()
    }

    /// The packets of [`Shard::media`] have been handed on.
    pub fn clear_media(&mut self) {
        self.out.media.clear();
    }
}
