//! Datagrams in: which transport, which protocol, which producer.
//!
//! In order: the first byte names the protocol; STUN goes to the transport that has verified the tuple,
//! else to the one that the username names; everything else only to the transport that has verified
//! the tuple (so that a stranger reaches neither the TLS library nor SRTP). RTP is decrypted where it
//! lies, routed, and forwarded. Every refusal is counted, for the shard and for the transport if known.

use sfu_wire::demux::{DatagramKind, classify};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;
use sfu_wire::net::{SocketId, Tuple, canonical_addr, is_unroutable};
use sfu_wire::rtp::RtpView;
use sfu_wire::stun::{BINDING, Class, StunMessage};
use sfu_wire::time::Time;

use sfu_proto::crypto::DtlsRole;

use crate::command::Event;
use crate::producer::{StreamPart, StreamSlot};
use crate::rtp_listener::Route;
use crate::shard::Shard;
use crate::shared_port::Whose;
use crate::transport::Transport;
use crate::watching::header_of;

impl Shard {
    pub(crate) fn take_datagram(
        &mut self,
        now: Time,
        arrival: Time,
        socket: SocketId,
        from: std::net::SocketAddr,
        datagram: &mut [u8],
    ) -> Whose {
        let remote = canonical_addr(from);
        let verdict = if datagram.is_empty() {
            Err((None, DropReason::Empty))
        } else if is_unroutable(remote.ip()) || remote.port() == 0 {
            Err((None, DropReason::UnknownTuple))
        } else {
            let tuple = Tuple { socket, remote };
            match self.whose(&tuple, datagram) {
                Whose::Ours => self.demultiplex(now, arrival, tuple, datagram),
                elsewhere => return elsewhere,
            }
        };
        if let Err((transport, reason)) = verdict {
            self.refuse(transport, reason);
            self.note_refusal(now, transport, reason, datagram);
        }
        Whose::Ours
    }

    /// Keeps a refusal for whoever asks the transport why.
    pub(crate) fn note_refusal(&mut self, now: Time, id: Option<ObjectId>, reason: DropReason, datagram: &[u8]) {
        let Some(id) = id else { return };
        if let Some(transport) = self.transports.get_mut(id).filter(|t| t.decisions.is_on()) {
            transport.decisions.note_drop(now, id, reason, header_of(datagram), 1);
        }
    }

    /// Counts a refusal.
    pub(crate) fn refuse(&mut self, transport: Option<ObjectId>, reason: DropReason) {
        self.refuse_many(transport, reason, 1);
    }

    /// Counts refusals.
    pub(crate) fn refuse_many(&mut self, transport: Option<ObjectId>, reason: DropReason, n: u64) {
        self.out.drops.add_many(reason, n);
        if let Some(transport) = transport.and_then(|t| self.transports.get_mut(t)) {
            transport.drops.add_many(reason, n);
        }
    }

    fn demultiplex(&mut self, now: Time, arrival: Time, tuple: Tuple, datagram: &mut [u8]) -> Verdict {
        let known = self.lookup.by_tuple(&tuple);
        let kind = classify(datagram).ok_or((known, DropReason::UnknownFirstByte))?;
        if kind == DatagramKind::Stun {
            return self.handle_stun(now, known, tuple, datagram);
        }
        let Some(id) = known else { return self.take_newcomer(now, arrival, tuple, kind, datagram) };
        let transport = self.transports.get_mut(id).ok_or((None, DropReason::UnknownTuple))?;
        let router = transport.router;
        if !transport.accepts(&tuple) {
            return Err((Some(id), DropReason::UnknownTuple));
        }
        transport.link.counters.received(now, datagram.len());
        self.work_for(router);
        let verdict = match kind {
            DatagramKind::Dtls => self.handle_dtls(now, id, datagram),
            DatagramKind::Rtp => self.handle_rtp(now, arrival, id, datagram),
            DatagramKind::Rtcp => self.handle_rtcp(now, id, datagram),
            DatagramKind::Stun | DatagramKind::Zrtp | DatagramKind::TurnChannel => Err(DropReason::UnsupportedProtocol),
        };
        verdict.map_err(|reason| (Some(id), reason))
    }

    fn handle_stun(&mut self, now: Time, known: Option<ObjectId>, tuple: Tuple, datagram: &[u8]) -> Verdict {
        let message = StunMessage::parse(datagram).map_err(|_| (known, DropReason::StunMalformed))?;
        if message.class() != Class::Request || message.method() != BINDING {
            return Err((known, DropReason::StunUnexpected));
        }
        let username = message.username().unwrap_or_default();
        let named = known.or_else(|| self.lookup.by_username(username));
        // Before its signature is verified a request touches nothing but credentials, and is counted for nobody.
        // Where nobody has the username, somebody else's agent refuses it, each time the same: a stranger must not
        // learn by time which usernames exist, and what is not in the cache takes longest.
        let found = match named {
            Some(id) => self.transports.get(id),
            None => self.stand_in(username),
        };
        let agent = found.and_then(Transport::webrtc).map_or(&self.nobody, |webrtc| &webrtc.ice);
        let signer = agent.authenticate(&message).map_err(|reason| (known, reason))?;
        let id = named.ok_or((None, DropReason::StunUnauthenticated))?;
        self.work_for_object(id);
        let transport = self.transports.get_mut(id).ok_or((None, DropReason::StunUnauthenticated))?;
        if !transport.listens_on(tuple.socket) {
            return Err((known, DropReason::StunUnauthenticated));
        }
        let had_path = transport.is_connected();
        let Some((webrtc, link)) = transport.webrtc_mut() else { return Err((Some(id), DropReason::StunUnexpected)) };
        let verdict = webrtc.handle_stun(now, tuple, (&message, signer), link, &mut self.lookup, &mut self.out);
        if verdict.is_ok() {
            // What strangers send is nobody's traffic.
            link.counters.received(now, datagram.len());
            if !had_path {
                self.after_transport(now, id, false);
            } else {
                self.arm_transport(id, now);
            }
        }
        verdict.map_err(|reason| (Some(id), reason))
    }

    /// A transport to refuse what is for none: found by way of its own username, like the one that is meant.
    fn stand_in(&self, username: &[u8]) -> Option<&Transport> {
        let sampled = self.transports.sample(self.lookup.number_of(username))?.webrtc()?;
        self.transports.get(self.lookup.by_ufrag(sampled.ufrags.last()?)?)
    }

    /// Forgets a tuple whose connection is gone.
    pub(crate) fn lose_tuple(&mut self, now: Time, tuple: &Tuple) {
        let Some(id) = self.lookup.by_tuple(tuple) else { return };
        self.work_for_object(id);
        let Some(transport) = self.transports.get_mut(id) else { return };
        let had_path = transport.is_connected();
        let Some((webrtc, link)) = transport.webrtc_mut() else { return };
        webrtc.handle_disconnect(now, tuple, link, &mut self.lookup, &mut self.out);
        self.after_transport(now, id, had_path);
    }

    fn handle_dtls(&mut self, now: Time, id: ObjectId, datagram: &[u8]) -> Result<(), DropReason> {
        let may_start = self.handshakes < self.limits.dtls_handshakes;
        let Some(transport) = self.transports.get_mut(id) else { return Err(DropReason::UnknownTuple) };
        let was = (transport.is_handshaking(), transport.is_connected());
        let Some((webrtc, link)) = transport.webrtc_mut() else { return Err(DropReason::UnsupportedProtocol) };
        let verdict = webrtc.handle_dtls(now, &self.dtls, datagram, may_start, link, &mut self.out);
        self.settle(now, id, was);
        verdict
    }

    fn handle_rtp(&mut self, now: Time, arrival: Time, id: ObjectId, datagram: &mut [u8]) -> Result<(), DropReason> {
        let Some(transport) = self.transports.get_mut(id) else { return Err(DropReason::UnknownTuple) };
        let len = transport.link.unprotect_rtp(datagram)?;
        let bytes = datagram.get(..len).ok_or(DropReason::SrtpOther)?;
        self.take_rtp(now, arrival, id, bytes, datagram.len())
    }

    /// Takes an RTP packet whose sender is proven; `wire_len` bytes it had on the wire.
    pub(crate) fn take_rtp(
        &mut self,
        now: Time,
        arrival: Time,
        id: ObjectId,
        bytes: &[u8],
        wire_len: usize,
    ) -> Result<(), DropReason> {
        let Some(transport) = self.transports.get_mut(id) else { return Err(DropReason::UnknownTuple) };
        transport.link.tap_in(now, false, bytes, &mut self.out.taps);
        let view = RtpView::parse(bytes).map_err(|_| DropReason::RtpMalformed)?;
        if transport.feedback.on_packet(arrival, &view, transport.listener.extensions()) {
            transport.arm_feedback(&mut self.timers, now);
        }
        let routed = transport.listener.route(&view)?;
        let counters = &mut transport.link.counters;
        match routed.route.part {
            StreamPart::Rtx => {
                counters.rtx_bytes_received += wire_len as u64;
                counters.rtx_receive_rate.add(now, wire_len);
            }
            StreamPart::Media | StreamPart::Fec => counters.rtp_bytes_received += wire_len as u64,
        }
        if routed.beyond_limit {
            let limit = u32::try_from(transport.listener.max_learned()).unwrap_or(u32::MAX);
            self.out.events.push_back(Event::StreamLimitReached { transport: id, limit });
        }
        if routed.evicted {
            self.refuse(Some(id), DropReason::RtpStreamLimit);
        }
        if routed.learned {
            self.learn(now, id, &view, &routed.route);
        }
        if routed.route.part == StreamPart::Fec {
            return self.forward_repair(now, &routed.route, bytes, &view);
        }
        let verdict = self.forward(now, arrival, &routed.route, bytes, &view);
        if verdict == Err(DropReason::RtpUnroutable) && !routed.learned {
            // A signalled SSRC that others had taken the place of goes on.
            self.learn(now, id, &view, &routed.route);
            return self.forward(now, arrival, &routed.route, bytes, &view);
        }
        verdict
    }

    /// Binds a learned SSRC to its stream, and forgets the one that it replaces.
    fn learn(&mut self, now: Time, id: ObjectId, view: &RtpView<'_>, route: &Route) {
        let slot = StreamSlot { encoding: route.encoding as u8, part: route.part };
        let Some(producer) = self.producers.get_mut(route.producer) else { return };
        let replaced = producer.it.bind_ssrc(now, slot, view.ssrc).filter(|ssrc| *ssrc != view.ssrc);
        if let (Some(ssrc), Some(transport)) = (replaced, self.transports.get_mut(id)) {
            transport.listener.forget(ssrc);
        }
    }

    /// After anything that may have changed a transport's state: starts a handshake that has become
    /// possible, and settles the rest. `had_path`: media went somewhere before that.
    pub(crate) fn after_transport(&mut self, now: Time, id: ObjectId, had_path: bool) {
        let may_start = self.handshakes < self.limits.dtls_handshakes;
        let Some(transport) = self.transports.get_mut(id) else { return };
        let was = (transport.is_handshaking(), had_path);
        if let Some((webrtc, link)) = transport.webrtc_mut()
            && may_start
            && webrtc.wants_client_handshake()
        {
            webrtc.start_dtls(now, &self.dtls, DtlsRole::Client, link, &mut self.out);
        }
        self.settle(now, id, was);
    }

    /// Follows a change of handshake or path: the count of handshakes, the timers, the consumers.
    /// `was`: handshaking, and with a path.
    pub(crate) fn settle(&mut self, now: Time, id: ObjectId, was: (bool, bool)) {
        let Some(transport) = self.transports.get_mut(id) else { return };
        transport.settle_streams();
        let refused = transport.webrtc_mut().map_or(0, |(webrtc, _)| std::mem::take(&mut webrtc.data_refused));
        match (was.0, transport.is_handshaking()) {
            (false, true) => self.handshakes += 1,
            (true, false) => self.handshakes = self.handshakes.saturating_sub(1),
            _ => {}
        }
        let flows = !was.1 && transport.is_connected();
        self.refuse_many(Some(id), DropReason::SctpDisabled, refused);
        self.arm_transport(id, now);
        if flows {
            let (producers, consumers) = transport_streams(self, id);
            for producer in producers {
                self.flush_producer(now, producer);
            }
            for consumer in consumers {
                self.start_anew(now, consumer);
                self.ask_for_start(now, consumer);
                self.arm_stream(consumer, now);
            }
        }
    }
}

fn transport_streams(shard: &Shard, id: ObjectId) -> (Vec<ObjectId>, Vec<ObjectId>) {
    shard.transports.get(id).map(|t| (t.producers.clone(), t.consumers.clone())).unwrap_or_default()
}

/// Refused, by whom (if it got that far) and why.
pub(crate) type Verdict = Result<(), (Option<ObjectId>, DropReason)>;
