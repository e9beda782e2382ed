//! A WebRTC transport: ICE-lite, DTLS and SRTP of one peer connection, wired together.
//!
//! Told: STUN, DTLS and SRTP datagrams of its tuples, the peer's DTLS parameters, plaintext to send.
//! Tells: decrypted packets, its datagrams into the outbox, its state changes as events. Media goes to
//! [`WebRtcTransport::path`], which exists only while DTLS is connected and consent is fresh
//! (RFC 7675, section 5.1); so nothing is sent before consent or after it.
//!
//! ```text
//!            connect() or ClientHello                keys
//!   New ------------------------------> Connecting ------> Connected
//!                                           |                  | close_notify
//!                                           v                  v
//!                                         Failed            Closed
//! ```
//!
//! Limits: tuples by the ICE agent, streams by [`RtpListener`], handshakes by the shard. Left out: TCP
//! candidates, several components; the choice of packets, which is the producers' and consumers'.

use std::collections::HashMap;

use arrayvec::ArrayVec;
use foldhash::fast::FixedState;
use sfu_proto::crypto::{DtlsContext, DtlsEvent, DtlsRole, DtlsSession, DtlsState as SessionState, SrtpKeys};
use sfu_proto::ice::{IceAgent, IceEvent, MAX_REPLY};
use sfu_proto::srtp::{Plain, SrtpProfile, SrtpReceiver, SrtpSender};
use sfu_wire::drop_reason::{DropCounters, DropReason};
use sfu_wire::id::ObjectId;
use sfu_wire::net::{SocketId, Tuple};
use sfu_wire::rate::RateMeter;
use sfu_wire::stun::StunMessage;
use sfu_wire::time::Time;

use crate::command::{BoundSocket, DtlsState, Event, IceCandidate, IceParameters, IceState, RemoteDtls};
use crate::feedback::Feedback;
use crate::ice_events::{IceEvents, IceNews};
use crate::lookup::{Lookup, Ufrag};
use crate::rtp_listener::RtpListener;
use crate::shard::Out;
use crate::stats::{TransportStats, TupleAddrs};
use crate::timers::{Slot, TimerKind, Timers};

/// Room for one DTLS datagram.
const DTLS_DATAGRAM_BYTES: usize = 1_432;

/// Flights have few datagrams; what does not fit is sent again by the timer.
const MAX_DTLS_DATAGRAMS_PER_TURN: usize = 64;

/// Counters of a transport.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) packets_received: u64,
    pub(crate) packets_sent: u64,
    pub(crate) rtp_bytes_received: u64,
    pub(crate) rtp_bytes_sent: u64,
    pub(crate) rtx_bytes_received: u64,
    pub(crate) rtx_bytes_sent: u64,
    pub(crate) receive_rate: RateMeter,
    pub(crate) send_rate: RateMeter,
}

/// What kind of RTP is sent, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RtpKind {
    /// Media as it comes.
    Media,
    /// A retransmission.
    Rtx,
}

/// Timers of a transport.
#[derive(Debug, Default)]
pub(crate) struct TransportTimers {
    pub(crate) ice: Slot,
    pub(crate) dtls: Slot,
    pub(crate) feedback: Slot,
}

/// What a transport is made of.
pub(crate) struct TransportParts {
    pub(crate) id: ObjectId,
    pub(crate) router: ObjectId,
    pub(crate) server: Option<ObjectId>,
    pub(crate) sockets: Vec<BoundSocket>,
    pub(crate) candidates: Vec<IceCandidate>,
    pub(crate) ice: IceAgent,
    pub(crate) ufrag: Ufrag,
    pub(crate) hash_seed: u64,
    pub(crate) max_learned_ssrcs: usize,
    pub(crate) feedback: Feedback,
}

/// One peer connection.
#[derive(Debug)]
pub struct WebRtcTransport {
    pub(crate) id: ObjectId,
    pub(crate) router: ObjectId,
    pub(crate) server: Option<ObjectId>,
    pub(crate) sockets: Vec<BoundSocket>,
    pub(crate) candidates: Vec<IceCandidate>,
    pub(crate) ice: IceAgent,
    /// Fragments that lead here; the last one is current.
    pub(crate) ufrags: ArrayVec<Ufrag, 2>,
    ice_events: IceEvents,
    pub(crate) remote: Option<RemoteDtls>,
    dtls: Option<DtlsSession>,
    pub(crate) role: Option<DtlsRole>,
    pub(crate) dtls_state: DtlsState,
    pub(crate) profile: Option<SrtpProfile>,
    pub(crate) receiver: Option<SrtpReceiver>,
    pub(crate) sender: Option<SrtpSender>,
    /// Where media goes; `None`: nowhere.
    path: Option<Tuple>,
    pub(crate) listener: RtpListener,
    pub(crate) producers: Vec<ObjectId>,
    pub(crate) consumers: Vec<ObjectId>,
    /// Consumers by the SSRCs that they send.
    pub(crate) by_ssrc: HashMap<u32, ObjectId, FixedState>,
    pub(crate) feedback: Feedback,
    /// RTCP without a leading report was negotiated by one of the streams (RFC 5506).
    pub(crate) reduced_size_rtcp: bool,
    pub(crate) next_transport_seq: u16,
    pub(crate) counters: Counters,
    pub(crate) drops: DropCounters,
    pub(crate) timers: TransportTimers,
}

impl WebRtcTransport {
    /// Makes a transport that nobody has reached yet.
    pub(crate) fn new(now: Time, parts: TransportParts) -> Self {
        let mut ufrags = ArrayVec::new();
        ufrags.push(parts.ufrag);
        Self {
            id: parts.id,
            router: parts.router,
            server: parts.server,
            sockets: parts.sockets,
            candidates: parts.candidates,
            ice: parts.ice,
            ufrags,
            ice_events: IceEvents::new(now),
            remote: None,
            dtls: None,
            role: None,
            dtls_state: DtlsState::New,
            profile: None,
            receiver: None,
            sender: None,
            path: None,
            listener: RtpListener::new(parts.hash_seed, parts.max_learned_ssrcs),
            producers: Vec::new(),
            consumers: Vec::new(),
            by_ssrc: HashMap::with_hasher(FixedState::with_seed(parts.hash_seed)),
            feedback: parts.feedback,
            reduced_size_rtcp: false,
            next_transport_seq: 0,
            counters: Counters::default(),
            drops: DropCounters::default(),
            timers: TransportTimers::default(),
        }
    }

    /// A datagram came for us.
    pub(crate) fn count_received(&mut self, now: Time, len: usize) {
        self.counters.packets_received += 1;
        self.counters.bytes_received += len as u64;
        self.counters.receive_rate.add(now, len);
    }

    /// Answers a Binding request.
    pub(crate) fn handle_stun(
        &mut self,
        now: Time,
        tuple: Tuple,
        message: &StunMessage<'_>,
        lookup: &mut Lookup,
        out: &mut Out,
    ) -> Result<(), DropReason> {
        let mut verdict = Ok(());
        let (ice, counters) = (&mut self.ice, &mut self.counters);
        out.outbox.push_with(tuple.socket, tuple.remote, MAX_REPLY, |reply| {
            let input = ice.handle_binding(now, tuple, message, reply);
            verdict = input.verdict;
            (input.reply_len > 0).then_some(input.reply_len).inspect(|len| counters.sent(now, *len))
        })?;
        if self.ice.is_valid(&tuple) {
            lookup.claim_tuple(tuple, self.id);
        }
        self.after_ice(now, lookup, out);
        verdict
    }

    /// Consent may have run out, or an event may be told now.
    pub(crate) fn handle_ice_timeout(&mut self, now: Time, lookup: &mut Lookup, out: &mut Out) {
        self.ice.handle_timeout(now);
        self.after_ice(now, lookup, out);
    }

    /// New credentials beside the old ones, which hold until the new ones are used.
    pub(crate) fn restart_ice(&mut self, ufrag: Ufrag, lookup: &mut Lookup) {
        if self.ufrags.is_full() {
            // As the agent has it: those that are in use stay, and those between nobody has used.
            lookup.release_ufrag(&self.ufrags.remove(1));
        }
        self.ufrags.push(ufrag);
        lookup.claim_ufrag(ufrag, self.id);
    }

    /// Takes a DTLS datagram of a verified tuple. The first ClientHello starts a session as server.
    pub(crate) fn handle_dtls(
        &mut self,
        now: Time,
        context: &DtlsContext,
        datagram: &[u8],
        may_start: bool,
        out: &mut Out,
    ) -> Result<(), DropReason> {
        if self.dtls.is_none() {
            let as_server = self.dtls_state == DtlsState::New && self.role != Some(DtlsRole::Client);
            if !as_server || !is_client_hello(datagram) {
                return Err(DropReason::Dtls);
            }
            if !may_start {
                return Err(DropReason::DtlsBudget);
            }
            self.start_dtls(now, context, DtlsRole::Server, out);
        } else if !may_start && self.dtls_session_state() == Some(SessionState::New) {
            // A hello that the session refused began no handshake; this one may.
            return Err(DropReason::DtlsBudget);
        }
        let verdict = match &mut self.dtls {
            Some(session) => session.handle_datagram(now, datagram),
            None => Err(DropReason::Dtls),
        };
        self.after_dtls(now, out);
        verdict
    }

    /// The handshake's timer is due.
    pub(crate) fn handle_dtls_timeout(&mut self, now: Time, out: &mut Out) {
        if let Some(session) = &mut self.dtls {
            session.handle_timeout(now);
        }
        self.after_dtls(now, out);
    }

    /// The peer's parameters are known. Answers our role.
    pub(crate) fn connect(&mut self, now: Time, remote: RemoteDtls, out: &mut Out) -> DtlsRole {
        // "auto" means that the peer is the client (RFC 8842, section 5.3: the answerer should be
        // active, and we never answer as client unless the peer insists on being server).
        let role = if remote.role == Some(DtlsRole::Server) { DtlsRole::Client } else { DtlsRole::Server };
        if self.role.is_some_and(|r| r != role) && self.dtls_state == DtlsState::Connecting {
            // The peer said hello although it is signalled as server: what counts is signalled.
            self.dtls = None;
            self.dtls_state = DtlsState::New;
        }
        self.role = Some(role);
        if let Some(session) = &mut self.dtls {
            session.set_remote_fingerprints(remote.fingerprints.clone());
        }
        self.remote = Some(remote);
        self.after_dtls(now, out);
        role
    }

    /// Whether a handshake as client is to be started.
    pub(crate) fn wants_client_handshake(&self) -> bool {
        self.dtls_state == DtlsState::New
            && self.dtls.is_none()
            && self.remote.is_some()
            && self.role == Some(DtlsRole::Client)
            && self.has_consent()
    }

    /// Starts a handshake.
    pub(crate) fn start_dtls(&mut self, now: Time, context: &DtlsContext, role: DtlsRole, out: &mut Out) {
        let Ok(mut session) = DtlsSession::new(context, role, now) else {
            self.set_dtls_state(DtlsState::Failed, "the TLS library refused a new session".into(), out);
            return;
        };
        if let Some(remote) = &self.remote {
            session.set_remote_fingerprints(remote.fingerprints.clone());
        }
        self.dtls = Some(session);
        self.role = Some(role);
        self.set_dtls_state(DtlsState::Connecting, String::new(), out);
        self.after_dtls(now, out);
    }

    /// A handshake is under way. One that is over and waits for the signalled fingerprint is not: its
    /// peer has proven nothing yet, but it costs no more work, and may wait for as long as it likes.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.dtls_session_state() == Some(SessionState::Handshaking)
    }

    fn dtls_session_state(&self) -> Option<SessionState> {
        self.dtls.as_ref().map(DtlsSession::state)
    }

    /// Says good-bye to the peer. The transport is of no use afterwards.
    pub(crate) fn close(&mut self, now: Time, out: &mut Out) {
        if let Some(session) = &mut self.dtls {
            session.close(now);
        }
        self.transmit_dtls(now, out);
        self.dtls = None;
        self.forget_keys();
    }

    /// Decrypts an RTP packet in place; answers its length. State of SSRCs that lead nowhere is kept as
    /// long as the receiver has room: a stream may be signalled late, or again, and must then be known
    /// by its rollover counter.
    pub(crate) fn unprotect_rtp(&mut self, datagram: &mut [u8]) -> Result<usize, DropReason> {
        self.receiver.as_mut().ok_or(DropReason::SrtpNotReady)?.unprotect_rtp(datagram)
    }

    /// Decrypts an RTCP packet in place; answers its length.
    pub(crate) fn unprotect_rtcp(&mut self, datagram: &mut [u8]) -> Result<usize, DropReason> {
        self.receiver.as_mut().ok_or(DropReason::SrtpNotReady)?.unprotect_rtcp(datagram)
    }

    /// Sends one RTP packet: `write` gives the plaintext, or its beginning and where the rest is.
    pub(crate) fn send_rtp<'p>(
        &mut self,
        now: Time,
        kind: RtpKind,
        max_len: usize,
        out: &mut Out,
        write: impl FnOnce(&mut [u8]) -> Result<Plain<'p>, DropReason>,
    ) -> Result<(), DropReason> {
        let (Some(path), Some(sender), Some(profile)) = (self.path, &mut self.sender, self.profile) else {
            return Err(DropReason::NotConnected);
        };
        let len = out.outbox.try_push_with(path.socket, path.remote, max_len, |slot| {
            let room = slot.len().saturating_sub(profile.rtp_overhead());
            let plain = write(slot.get_mut(..room).unwrap_or_default())?;
            if plain.is_empty() { Ok(0) } else { sender.protect_rtp_from(slot, plain) }
        })?;
        if len == 0 {
            return Ok(());
        }
        self.counters.sent(now, len);
        match kind {
            RtpKind::Media => self.counters.rtp_bytes_sent += len as u64,
            RtpKind::Rtx => self.counters.rtx_bytes_sent += len as u64,
        }
        Ok(())
    }

    /// Sends one RTCP compound.
    pub(crate) fn send_rtcp(&mut self, now: Time, out: &mut Out, plain: &[u8]) -> Result<(), DropReason> {
        let (Some(path), Some(sender), Some(profile)) = (self.path, &mut self.sender, self.profile) else {
            return Err(DropReason::NotConnected);
        };
        let room = plain.len() + profile.rtcp_overhead();
        let len = out.outbox.try_push_with(path.socket, path.remote, room, |slot| {
            slot[..plain.len()].copy_from_slice(plain);
            sender.protect_rtcp(slot, plain.len())
        })?;
        self.counters.sent(now, len);
        Ok(())
    }

    /// Sets the timers to what the parts want. `not_before` keeps a part that wants the past from
    /// turning the loop for ever.
    pub(crate) fn arm(&mut self, timers: &mut Timers, not_before: Time) {
        let late = |at: Option<Time>| at.map(|t| t.max(not_before));
        let ice = [self.ice.next_timeout(), self.ice_events.next_timeout()].into_iter().flatten().min();
        timers.arm(&mut self.timers.ice, self.id, TimerKind::Ice, late(ice));
        let dtls = self.dtls.as_ref().and_then(DtlsSession::next_timeout);
        timers.arm(&mut self.timers.dtls, self.id, TimerKind::Dtls, late(dtls));
        self.arm_feedback(timers, not_before);
    }

    /// Sets the timer of transport-wide feedback alone.
    pub(crate) fn arm_feedback(&mut self, timers: &mut Timers, not_before: Time) {
        let at = if self.path.is_some() { self.feedback.next_timeout() } else { None };
        timers.arm(&mut self.timers.feedback, self.id, TimerKind::Feedback, at.map(|t| t.max(not_before)));
    }

    /// Where media goes, if anywhere.
    pub fn path(&self) -> Option<Tuple> {
        self.path
    }

    /// ICE state.
    pub fn ice_state(&self) -> IceState {
        state_of(&self.ice)
    }

    /// Our ICE credentials.
    pub(crate) fn ice_parameters(&self) -> IceParameters {
        let local = self.ice.local();
        IceParameters { username_fragment: local.username_fragment.clone(), password: local.password.clone() }
    }

    /// Whether datagrams of this socket may be for us.
    pub(crate) fn listens_on(&self, socket: SocketId) -> bool {
        self.sockets.iter().any(|s| s.socket == socket)
    }

    /// A tuple with our address in full.
    pub(crate) fn addrs(&self, tuple: &Tuple) -> Option<TupleAddrs> {
        let local = self.sockets.iter().find(|s| s.socket == tuple.socket)?.local;
        Some(TupleAddrs { local, remote: tuple.remote })
    }

    /// Counters.
    pub(crate) fn stats(&self, now: Time) -> TransportStats {
        let c = &self.counters;
        let rate = |meter: &RateMeter| u32::try_from(meter.bitrate(now)).unwrap_or(u32::MAX);
        TransportStats {
            bytes_received: c.bytes_received,
            bytes_sent: c.bytes_sent,
            packets_received: c.packets_received,
            packets_sent: c.packets_sent,
            receive_bitrate: rate(&c.receive_rate),
            send_bitrate: rate(&c.send_rate),
            rtp_bytes_received: c.rtp_bytes_received,
            rtp_bytes_sent: c.rtp_bytes_sent,
            rtx_bytes_received: c.rtx_bytes_received,
            rtx_bytes_sent: c.rtx_bytes_sent,
            ice_state: self.ice_state(),
            dtls_state: self.dtls_state,
            selected_tuple: self.ice.selected().and_then(|t| self.addrs(&t)),
        }
    }

    /// Follows what the agent says: tables, path, events.
    fn after_ice(&mut self, now: Time, lookup: &mut Lookup, out: &mut Out) {
        while let Some(event) = self.ice.poll_event() {
            match event {
                IceEvent::State(_) => {}
                IceEvent::Selected(tuple) => self.ice_events.note_selected(tuple),
                IceEvent::TupleRemoved(tuple) => lookup.release_tuple(&tuple, self.id),
            }
        }
        self.ice_events.note_state(self.ice_state());
        if self.ice.previous().is_none() && self.ufrags.len() > 1 {
            lookup.release_ufrag(&self.ufrags.remove(0));
        }
        self.refresh_path();
        while let Some(news) = self.ice_events.poll(now) {
            let transport = self.id;
            match news {
                IceNews::State(state) => out.events.push_back(Event::IceState { transport, state }),
                IceNews::Selected(tuple) => {
                    if let Some(addrs) = self.addrs(&tuple) {
                        out.events.push_back(Event::IceSelectedTuple { transport, local: addrs.local, tuple });
                    }
                }
            }
        }
    }

    /// Sends what the session wants sent and follows its events.
    fn after_dtls(&mut self, now: Time, out: &mut Out) {
        self.transmit_dtls(now, out);
        while let Some(event) = self.dtls.as_mut().and_then(DtlsSession::poll_event) {
            match event {
                DtlsEvent::Connected(keys) => self.set_keys(keys, out),
                DtlsEvent::Failed(text) => {
                    self.forget_keys();
                    self.set_dtls_state(DtlsState::Failed, text, out);
                }
                DtlsEvent::Closed => {
                    self.forget_keys();
                    self.set_dtls_state(DtlsState::Closed, String::new(), out);
                }
                DtlsEvent::ApplicationData(_) => self.refuse(DropReason::SctpDisabled, out),
            }
        }
        self.transmit_dtls(now, out);
        if matches!(self.dtls_state, DtlsState::Failed | DtlsState::Closed) {
            self.dtls = None;
        }
        self.refresh_path();
    }

    fn transmit_dtls(&mut self, now: Time, out: &mut Out) {
        let Some(session) = &mut self.dtls else { return };
        let consent = matches!(state_of(&self.ice), IceState::Connected | IceState::Completed);
        let Some(to) = self.ice.selected().filter(|_| consent) else { return };
        for _ in 0..MAX_DTLS_DATAGRAMS_PER_TURN {
            let mut sent = 0;
            let pushed = out.outbox.push_with(to.socket, to.remote, DTLS_DATAGRAM_BYTES, |slot| {
                sent = session.poll_transmit(slot)?;
                Some(sent)
            });
            match pushed {
                Ok(()) if sent > 0 => self.counters.sent(now, sent),
                Ok(()) => return,
                Err(reason) => {
                    out.drops.add(reason);
                    return;
                }
            }
        }
    }

    fn set_keys(&mut self, keys: SrtpKeys, out: &mut Out) {
        let receiver = SrtpReceiver::new(&keys.profile, &keys.remote);
        let sender = SrtpSender::new(&keys.profile, &keys.local);
        let (Ok(receiver), Ok(sender)) = (receiver, sender) else {
            self.set_dtls_state(DtlsState::Failed, "the SRTP library refused the keys".into(), out);
            return;
        };
        self.profile = Some(keys.profile);
        self.receiver = Some(receiver);
        self.sender = Some(sender);
        self.register_streams();
        self.set_dtls_state(DtlsState::Connected, String::new(), out);
    }

    fn forget_keys(&mut self) {
        self.receiver = None;
        self.sender = None;
        self.path = None;
    }

    fn set_dtls_state(&mut self, state: DtlsState, reason: String, out: &mut Out) {
        if self.dtls_state != state {
            self.dtls_state = state;
            out.events.push_back(Event::DtlsState { transport: self.id, state, reason });
        }
    }

    fn refuse(&mut self, reason: DropReason, out: &mut Out) {
        self.drops.add(reason);
        out.drops.add(reason);
    }

    fn refresh_path(&mut self) {
        let ready = self.dtls_state == DtlsState::Connected && self.has_consent();
        self.path = if ready { self.ice.selected() } else { None };
    }

    fn has_consent(&self) -> bool {
        matches!(self.ice_state(), IceState::Connected | IceState::Completed) && self.ice.selected().is_some()
    }
}

impl Counters {
    fn sent(&mut self, now: Time, len: usize) {
        if len > 0 {
            self.packets_sent += 1;
            self.bytes_sent += len as u64;
            self.send_rate.add(now, len);
        }
    }
}

/// A DTLS record of type handshake whose first message is a ClientHello (RFC 6347, sections 4.1 and
/// 4.2.2: content type 22; message type 1 after the 13 bytes of the record header).
fn is_client_hello(datagram: &[u8]) -> bool {
    datagram.first() == Some(&22) && datagram.get(13) == Some(&1)
}

fn state_of(ice: &IceAgent) -> IceState {
    match ice.state() {
        sfu_proto::ice::IceState::New => IceState::New,
        sfu_proto::ice::IceState::Connected => IceState::Connected,
        sfu_proto::ice::IceState::Completed => IceState::Completed,
        sfu_proto::ice::IceState::Disconnected => IceState::Disconnected,
    }
}
