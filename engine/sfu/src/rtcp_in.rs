//! RTCP in: each block goes to the stream that it is about; what a peer may ask for is bounded per
//! datagram here, and over time by the stream (RFC 3550, RFC 3611, RFC 4585, RFC 5104, RFC 5506).
//!
//! A block about an SSRC that is not of this transport has no effect. A BYE counts only for an SSRC
//! that the peer sends. What is broken inside a sound compound costs only itself.

use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;
use sfu_wire::rtcp::{Bye, Fir, Nack, Packets, ReportBlocks, RtcpPacket, SenderReport, Xr};
use sfu_wire::time::Time;

use crate::consumer::KeyFrameRequest;
use crate::shard::Shard;
use crate::trace::{Direction, TraceMask, Traced};

/// What one datagram may still ask for.
struct Budget {
    nacks: usize,
    key_frames: usize,
}

impl Shard {
    pub(crate) fn handle_rtcp(&mut self, now: Time, id: ObjectId, datagram: &mut [u8]) -> Result<(), DropReason> {
        let Some(transport) = self.transports.get_mut(id) else { return Err(DropReason::UnknownTuple) };
        let len = transport.link.unprotect_rtcp(datagram)?;
        let bytes = datagram.get(..len).ok_or(DropReason::SrtpOther)?;
        self.take_rtcp_compound(now, id, bytes)
    }

    /// Takes an RTCP compound whose sender is proven.
    pub(crate) fn take_rtcp_compound(&mut self, now: Time, id: ObjectId, bytes: &[u8]) -> Result<(), DropReason> {
        let Some(transport) = self.transports.get_mut(id) else { return Err(DropReason::UnknownTuple) };
        transport.link.tap_in(now, true, bytes, &mut self.out.taps);
        let packets = Packets::new(bytes, transport.reduced_size_rtcp).map_err(|_| DropReason::RtcpMalformed)?;
        let limits = self.limits;
        let mut budget =
            Budget { nacks: limits.nacks_per_datagram, key_frames: limits.key_frame_requests_per_datagram };
        for packet in packets {
            let verdict = match packet {
                Ok(packet) => self.take_rtcp(now, id, packet, &mut budget),
                Err(_) => Err(DropReason::RtcpMalformed),
            };
            if let Err(reason) = verdict {
                self.refuse(Some(id), reason);
                self.note_refusal(now, Some(id), reason, &[]);
            }
        }
        Ok(())
    }

    fn take_rtcp(
        &mut self,
        now: Time,
        id: ObjectId,
        packet: RtcpPacket<'_>,
        budget: &mut Budget,
    ) -> Result<(), DropReason> {
        match packet {
            RtcpPacket::SenderReport(report, blocks) => {
                self.take_blocks(now, id, blocks);
                self.take_sender_report(now, id, &report)
            }
            RtcpPacket::ReceiverReport(_, blocks) => {
                self.take_blocks(now, id, blocks);
                Ok(())
            }
            RtcpPacket::Nack(nack) => self.take_nack(now, id, &nack, budget),
            RtcpPacket::Pli(pli) => {
                budget.take_key_frame()?;
                self.take_key_frame_request(now, id, pli.media_ssrc, KeyFrameRequest::Pli)
            }
            RtcpPacket::Fir(fir) => self.take_fir(now, id, &fir, budget),
            RtcpPacket::Bye(bye) => self.take_bye(now, id, &bye),
            RtcpPacket::Remb(remb) => {
                let Some(transport) = self.transports.get_mut(id) else { return Ok(()) };
                transport.feedback.note_remb(remb.bitrate);
                Ok(())
            }
            RtcpPacket::TransportCc(_) => {
                let Some(transport) = self.transports.get_mut(id) else { return Ok(()) };
                transport.feedback.note_transport_cc();
                Ok(())
            }
            RtcpPacket::Xr(xr) => self.take_extended_report(now, id, &xr),
            RtcpPacket::Wanted(wanted) => self.take_wishes(now, id, &wanted),
            // Names say nothing that we act upon.
            RtcpPacket::Sdes(_) => Ok(()),
            // RFC 8888 is read, and nobody negotiates it: our feedback is transport-cc.
            RtcpPacket::Congestion(_) | RtcpPacket::Unknown { .. } => Err(DropReason::RtcpUnsupported),
        }
    }

    fn take_sender_report(&mut self, now: Time, id: ObjectId, report: &SenderReport) -> Result<(), DropReason> {
        let (ntp, producer) = (self.ntp(now), self.receiving(id, report.ssrc)?);
        if let Some(watch) = self.producers.get(producer).map(|p| p.watch)
            && watch.traced().has(TraceMask::SENDER_REPORT)
        {
            self.out.traces.push(now, producer, Direction::In, Traced::SenderReport(*report));
        }
        match self.producers.get_mut(producer).map(|p| p.it.handle_sender_report(now, ntp, report)) {
            Some(true) => {
                self.cross_report(now, producer, report);
                Ok(())
            }
            _ => Err(DropReason::RtcpUnknownSsrc),
        }
    }

    fn take_blocks(&mut self, now: Time, id: ObjectId, blocks: ReportBlocks<'_>) {
        let ntp = self.ntp(now);
        for block in blocks {
            match self.sending(id, block.ssrc).map(|c| self.consumers.get_mut(c)) {
                Ok(Some(consumer)) => {
                    let (consumer, changed) = (consumer.it.id(), consumer.it.handle_report_block(now, ntp, &block));
                    if changed {
                        self.tell_consumer_score(consumer);
                    }
                }
                _ => self.refuse(Some(id), DropReason::RtcpUnknownSsrc),
            }
        }
    }

    /// Reference times are answered with our next sender reports; answers to ours show the round trip
    /// to a publisher (RFC 3611, sections 4.4 and 4.5). An answer to nobody of this transport is
    /// refused.
    fn take_extended_report(&mut self, now: Time, id: ObjectId, xr: &Xr<'_>) -> Result<(), DropReason> {
        let ntp = self.ntp(now);
        let Some(transport) = self.transports.get_mut(id) else { return Ok(()) };
        if let Some(reference) = xr.reference_time() {
            transport.feedback.note_reference_time(now, xr.ssrc, reference);
        }
        // Producers of a transport and answers in a datagram are both few, and capped.
        for block in xr.dlrr() {
            let mut producers = transport.producers.iter();
            let known = producers.any(|p| self.producers.get_mut(*p).is_some_and(|p| p.it.handle_dlrr(ntp, &block)));
            if !known {
                return Err(DropReason::RtcpUnknownSsrc);
            }
        }
        Ok(())
    }

    fn take_nack(&mut self, now: Time, id: ObjectId, nack: &Nack<'_>, budget: &mut Budget) -> Result<(), DropReason> {
        let consumer = self.sending(id, nack.media_ssrc)?;
        let Some(held) = self.consumers.get_mut(consumer) else { return Err(DropReason::RtcpUnknownSsrc) };
        if held.it.ssrc() != nack.media_ssrc {
            // Retransmissions are not retransmitted (RFC 4588, section 6.3).
            return Err(DropReason::RtcpUnsupported);
        }
        let asked = nack.sequences().count();
        if held.watch.traced().has(TraceMask::NACK) {
            let what = Traced::Nack { ssrc: nack.media_ssrc, packets: asked as u32 };
            self.out.traces.push(now, held.it.id(), Direction::In, what);
        }
        let allowed = asked.min(budget.nacks);
        budget.nacks -= allowed;
        let refused = held.it.handle_nack(now, nack.sequences().take(allowed)) + (asked - allowed);
        self.refuse_many(Some(id), DropReason::RtcpRateLimited, refused as u64);
        self.resend(now, consumer);
        Ok(())
    }

    fn take_fir(&mut self, now: Time, id: ObjectId, fir: &Fir<'_>, budget: &mut Budget) -> Result<(), DropReason> {
        for entry in fir.entries() {
            budget.take_key_frame()?;
            let request = KeyFrameRequest::Fir { sequence: entry.sequence };
            if let Err(reason) = self.take_key_frame_request(now, id, entry.ssrc, request) {
                self.refuse(Some(id), reason);
            }
        }
        Ok(())
    }

    fn take_key_frame_request(
        &mut self,
        now: Time,
        id: ObjectId,
        ssrc: u32,
        request: KeyFrameRequest,
    ) -> Result<(), DropReason> {
        let consumer = self.sending(id, ssrc)?;
        let Some(held) = self.consumers.get_mut(consumer) else { return Err(DropReason::RtcpUnknownSsrc) };
        if held.watch.any() {
            let (kind, what) = match request {
                KeyFrameRequest::Pli => (TraceMask::PLI, Traced::Pli { ssrc }),
                KeyFrameRequest::Fir { .. } => (TraceMask::FIR, Traced::Fir { ssrc }),
            };
            if held.watch.traced().has(kind) {
                self.out.traces.push(now, held.it.id(), Direction::In, what);
            }
        }
        if !held.it.handle_key_frame_request(now, request) {
            return Err(DropReason::RtcpRateLimited);
        }
        let (producer, encoding) = (held.it.producer(), held.it.encoding());
        self.want_key_frame(now, producer, encoding);
        Ok(())
    }

    fn take_bye(&mut self, now: Time, id: ObjectId, bye: &Bye<'_>) -> Result<(), DropReason> {
        for ssrc in bye.ssrcs() {
            let known = self.receiving(id, ssrc).map(|p| self.producers.get_mut(p));
            let ours = known.ok().flatten().is_some_and(|p| p.it.handle_bye(now, ssrc));
            if !ours {
                self.refuse(Some(id), DropReason::RtcpUnknownSsrc);
            }
        }
        Ok(())
    }

    /// The producer that receives this SSRC on this transport.
    fn receiving(&self, id: ObjectId, ssrc: u32) -> Result<ObjectId, DropReason> {
        let route = self.transports.get(id).and_then(|t| t.listener.by_ssrc(ssrc));
        route.map(|r| r.producer).ok_or(DropReason::RtcpUnknownSsrc)
    }

    /// The consumer that sends this SSRC on this transport.
    fn sending(&self, id: ObjectId, ssrc: u32) -> Result<ObjectId, DropReason> {
        let consumer = self.transports.get(id).and_then(|t| t.by_ssrc.get(&ssrc));
        consumer.copied().ok_or(DropReason::RtcpUnknownSsrc)
    }
}

impl Budget {
    fn take_key_frame(&mut self) -> Result<(), DropReason> {
        self.key_frames = self.key_frames.checked_sub(1).ok_or(DropReason::RtcpRateLimited)?;
        Ok(())
    }
}
