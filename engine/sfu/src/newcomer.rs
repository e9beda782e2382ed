//! First packets of peers whose address nobody has signalled: a plain transport with comedia learns
//! where its peer is from them, once.
//!
//! Told: datagrams of sockets that belong to one transport, from addresses that nobody knows. Tells: the
//! address to the transport, or a counted refusal. What proves a peer: with SRTP, a tag that verifies;
//! without, RTP that one of the transport's producers takes, and for RTCP's own address RTP's host. Left out:
//! learning twice: a peer that moves needs a new transport.

use sfu_wire::demux::DatagramKind;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;
use sfu_wire::net::Tuple;
use sfu_wire::rtcp::Packets;
use sfu_wire::time::Time;

use crate::ingress::Verdict;
use crate::shard::Shard;
use crate::transport::Kind;

impl Shard {
    /// Takes a datagram from an address that no transport knows.
    pub(crate) fn take_newcomer(
        &mut self,
        now: Time,
        arrival: Time,
        tuple: Tuple,
        kind: DatagramKind,
        datagram: &mut [u8],
    ) -> Verdict {
        let id = self.lookup.by_socket(tuple.socket).ok_or((None, DropReason::UnknownTuple))?;
        let rtcp = kind == DatagramKind::Rtcp;
        let may_latch = matches!(kind, DatagramKind::Rtp | DatagramKind::Rtcp)
            && self
                .transports
                .get(id)
                .is_some_and(|t| matches!(&t.kind, Kind::Plain(plain) if plain.may_latch(rtcp, tuple.socket)));
        if !may_latch {
            return Err((Some(id), DropReason::UnknownTuple));
        }
        self.work_for_object(id);
        let verdict = match kind {
            DatagramKind::Rtcp => self.take_first_rtcp(now, id, tuple, datagram),
            _ => self.take_first_rtp(now, arrival, id, tuple, datagram),
        };
        verdict.map_err(|reason| (Some(id), reason))
    }

    fn take_first_rtp(
        &mut self,
        now: Time,
        arrival: Time,
        id: ObjectId,
        tuple: Tuple,
        datagram: &mut [u8],
    ) -> Result<(), DropReason> {
        let (len, proven) = self.open_first(id, false, tuple, datagram)?;
        if proven {
            self.latch(now, id, false, tuple.remote);
            self.count_received(now, id, datagram.len());
        }
        let plain = datagram.get(..len).ok_or(DropReason::SrtpOther)?;
        let verdict = self.take_rtp(now, arrival, id, plain, datagram.len());
        if !proven && verdict.is_ok() {
            self.latch(now, id, false, tuple.remote);
            self.count_received(now, id, datagram.len());
        }
        verdict
    }

    fn take_first_rtcp(
        &mut self,
        now: Time,
        id: ObjectId,
        tuple: Tuple,
        datagram: &mut [u8],
    ) -> Result<(), DropReason> {
        let (len, proven) = self.open_first(id, true, tuple, datagram)?;
        let plain = datagram.get(..len).ok_or(DropReason::SrtpOther)?;
        let transport = self.transports.get(id).ok_or(DropReason::UnknownTuple)?;
        let trusted = matches!(&transport.kind, Kind::Plain(p) if p.trusts_rtcp_from(tuple.remote));
        let sound = Packets::new(plain, transport.reduced_size_rtcp).is_ok();
        if !sound || !(proven || trusted) {
            return Err(if sound { DropReason::UnknownTuple } else { DropReason::RtcpMalformed });
        }
        self.latch(now, id, true, tuple.remote);
        self.count_received(now, id, datagram.len());
        self.take_rtcp_compound(now, id, plain)
    }

    /// Opens a first packet: its length, and whether a tag has proven the sender.
    fn open_first(
        &mut self,
        id: ObjectId,
        rtcp: bool,
        tuple: Tuple,
        datagram: &mut [u8],
    ) -> Result<(usize, bool), DropReason> {
        let link = &mut self.transports.get_mut(id).ok_or(DropReason::UnknownTuple)?.link;
        link.note_newcomer(tuple);
        let len = if rtcp { link.unprotect_rtcp(datagram) } else { link.unprotect_rtp(datagram) }?;
        Ok((len, link.srtp().is_some()))
    }

    fn count_received(&mut self, now: Time, id: ObjectId, len: usize) {
        if let Some(transport) = self.transports.get_mut(id) {
            transport.link.counters.received(now, len);
        }
    }
}
