//! A WebRTC transport: ICE-lite, DTLS and SRTP of one peer connection, wired together.
//!
//! Told: STUN and DTLS datagrams of its tuples, the peer's DTLS parameters. Tells: its datagrams into the
//! outbox, keys and path to its `Link`, its state changes as events. The link has a path only while
//! DTLS is connected and consent is fresh (RFC 7675, section 5.1); so nothing is sent before consent or
//! after it.
//!
//! ```text
//!            connect() or ClientHello                keys
//!   New ------------------------------> Connecting ------> Connected
//!                                           |                  | close_notify
//!                                           v                  v
//!                                         Failed            Closed
//! ```
//!
//! Limits: tuples by the ICE agent, handshakes by the shard. Left out: several components; media, which is
//! [`crate::transport`]'s; TCP connections, which the runtime has: a tuple of a listening socket is one.

use arrayvec::ArrayVec;
use sfu_proto::crypto::{DtlsContext, DtlsEvent, DtlsRole, DtlsSession, DtlsState as SessionState, SrtpKeys};
use sfu_proto::ice::{IceAgent, IceEvent, MAX_REPLY, Signer};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;
use sfu_wire::net::{Protocol, Tuple};
use sfu_wire::stun::StunMessage;
use sfu_wire::time::Time;

use crate::command::{
    BoundSocket, DtlsState, Event, IceCandidate, IceParameters, IceState, RemoteDtls, SrtpParameters,
};
use crate::ice_events::{IceEvents, IceNews};
use crate::link::Link;
use crate::lookup::{Lookup, Ufrag};
use crate::shard::Out;
use crate::stats::TupleAddrs;
use crate::timers::{Slot, TimerKind, Timers};

/// Room for one DTLS datagram.
const DTLS_DATAGRAM_BYTES: usize = 1_432;

/// Flights have few datagrams; what does not fit is sent again by the timer.
const MAX_DTLS_DATAGRAMS_PER_TURN: usize = 64;

/// What a WebRTC transport is made of.
pub(crate) struct WebRtcParts {
    pub(crate) id: ObjectId,
    pub(crate) server: Option<ObjectId>,
    pub(crate) sockets: Vec<BoundSocket>,
    pub(crate) candidates: Vec<IceCandidate>,
    pub(crate) ice: IceAgent,
    pub(crate) ufrag: Ufrag,
}

/// One peer connection.
#[derive(Debug)]
pub struct WebRtcTransport {
    id: ObjectId,
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
    /// Messages for data channels that were refused and not yet counted.
    pub(crate) data_refused: u64,
    pub(crate) ice_timer: Slot,
    pub(crate) dtls_timer: Slot,
}

impl WebRtcTransport {
    /// Makes a transport that nobody has reached yet.
    pub(crate) fn new(now: Time, parts: WebRtcParts) -> Self {
        let mut ufrags = ArrayVec::new();
        ufrags.push(parts.ufrag);
        Self {
            id: parts.id,
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
            data_refused: 0,
            ice_timer: Slot::default(),
            dtls_timer: Slot::default(),
        }
    }

    /// Answers a Binding request, which `signer` has signed.
    pub(crate) fn handle_stun(
        &mut self,
        now: Time,
        tuple: Tuple,
        (message, signer): (&StunMessage<'_>, Signer),
        link: &mut Link,
        lookup: &mut Lookup,
        out: &mut Out,
    ) -> Result<(), DropReason> {
        let mut verdict = Ok(());
        let (ice, counters) = (&mut self.ice, &mut link.counters);
        out.outbox.push_with(tuple.socket, tuple.remote, MAX_REPLY, |reply| {
            let input = ice.handle_signed(now, tuple, message, signer, reply);
            verdict = input.verdict;
            (input.reply_len > 0).then_some(input.reply_len).inspect(|len| counters.sent(now, *len))
        })?;
        if self.ice.is_valid(&tuple) {
            lookup.claim_tuple(tuple, self.id);
        }
        self.after_ice(now, link, lookup, out);
        verdict
    }

    /// Consent may have run out, or an event may be told now.
    pub(crate) fn handle_ice_timeout(&mut self, now: Time, link: &mut Link, lookup: &mut Lookup, out: &mut Out) {
        self.ice.handle_timeout(now);
        self.after_ice(now, link, lookup, out);
    }

    /// The connection of a tuple is gone.
    pub(crate) fn handle_disconnect(
        &mut self,
        now: Time,
        tuple: &Tuple,
        link: &mut Link,
        lookup: &mut Lookup,
        out: &mut Out,
    ) {
        // It is closed already: nobody has to be told.
        lookup.release_tuple(tuple, self.id);
        self.ice.remove_tuple(tuple);
        self.after_ice(now, link, lookup, out);
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
        link: &mut Link,
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
            self.start_dtls(now, context, DtlsRole::Server, link, out);
        } else if !may_start && self.dtls_session_state() == Some(SessionState::New) {
            // A hello that the session refused began no handshake; this one may.
            return Err(DropReason::DtlsBudget);
        }
        let verdict = match &mut self.dtls {
            Some(session) => session.handle_datagram(now, datagram),
            None => Err(DropReason::Dtls),
        };
        self.after_dtls(now, link, out);
        verdict
    }

    /// The handshake's timer is due.
    pub(crate) fn handle_dtls_timeout(&mut self, now: Time, link: &mut Link, out: &mut Out) {
        if let Some(session) = &mut self.dtls {
            session.handle_timeout(now);
        }
        self.after_dtls(now, link, out);
    }

    /// The peer's parameters are known. Answers our role.
    pub(crate) fn connect(&mut self, now: Time, remote: RemoteDtls, link: &mut Link, out: &mut Out) -> DtlsRole {
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
        self.after_dtls(now, link, out);
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
    pub(crate) fn start_dtls(
        &mut self,
        now: Time,
        context: &DtlsContext,
        role: DtlsRole,
        link: &mut Link,
        out: &mut Out,
    ) {
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
        self.after_dtls(now, link, out);
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
    pub(crate) fn close(&mut self, now: Time, link: &mut Link, out: &mut Out) {
        if let Some(session) = &mut self.dtls {
            session.close(now);
        }
        self.transmit_dtls(now, link, out);
        self.dtls = None;
        link.disconnect();
    }

    /// Gives back what leads here.
    pub(crate) fn release(&self, lookup: &mut Lookup, out: &mut Out) {
        for tuple in self.ice.tuples() {
            self.release_tuple(&tuple, lookup, out);
        }
        for ufrag in &self.ufrags {
            lookup.release_ufrag(ufrag);
        }
    }

    /// Sets the timers to what the parts want. `not_before` keeps a part that wants the past from
    /// turning the loop for ever.
    pub(crate) fn arm(&mut self, timers: &mut Timers, not_before: Time) {
        let late = |at: Option<Time>| at.map(|t| t.max(not_before));
        let ice = [self.ice.next_timeout(), self.ice_events.next_timeout()].into_iter().flatten().min();
        timers.arm(&mut self.ice_timer, self.id, TimerKind::Ice, late(ice));
        let dtls = self.dtls.as_ref().and_then(DtlsSession::next_timeout);
        timers.arm(&mut self.dtls_timer, self.id, TimerKind::Dtls, late(dtls));
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

    /// A tuple with our address in full.
    pub(crate) fn addrs(&self, tuple: &Tuple) -> Option<TupleAddrs> {
        let socket = self.socket(tuple)?;
        Some(TupleAddrs { protocol: socket.protocol, local: socket.local, remote: tuple.remote })
    }

    fn socket(&self, tuple: &Tuple) -> Option<&BoundSocket> {
        self.sockets.iter().find(|s| s.socket == tuple.socket)
    }

    /// A tuple leads here no more. A connection that is a tuple of nobody is of no use, and costs its peer nothing
    /// to keep: it is closed.
    fn release_tuple(&self, tuple: &Tuple, lookup: &mut Lookup, out: &mut Out) {
        let is_tcp = self.socket(tuple).is_some_and(|s| s.protocol == Protocol::Tcp);
        if lookup.release_tuple(tuple, self.id) && is_tcp {
            out.disconnects.push_back(*tuple);
        }
    }

    /// Follows what the agent says: tables, path, events.
    fn after_ice(&mut self, now: Time, link: &mut Link, lookup: &mut Lookup, out: &mut Out) {
        while let Some(event) = self.ice.poll_event() {
            match event {
                IceEvent::State(_) => {}
                IceEvent::Selected(tuple) => self.ice_events.note_selected(tuple),
                IceEvent::TupleRemoved(tuple) => self.release_tuple(&tuple, lookup, out),
            }
        }
        self.ice_events.note_state(self.ice_state());
        if self.ice.previous().is_none() && self.ufrags.len() > 1 {
            lookup.release_ufrag(&self.ufrags.remove(0));
        }
        self.refresh_path(link);
        while let Some(news) = self.ice_events.poll(now) {
            let transport = self.id;
            match news {
                IceNews::State(state) => out.events.push_back(Event::IceState { transport, state }),
                IceNews::Selected(tuple) => {
                    if let Some(TupleAddrs { protocol, local, .. }) = self.addrs(&tuple) {
                        out.events.push_back(Event::IceSelectedTuple { transport, local, tuple, protocol });
                    }
                }
            }
        }
    }

    /// Sends what the session wants sent and follows its events.
    fn after_dtls(&mut self, now: Time, link: &mut Link, out: &mut Out) {
        self.transmit_dtls(now, link, out);
        while let Some(event) = self.dtls.as_mut().and_then(DtlsSession::poll_event) {
            match event {
                DtlsEvent::Connected(keys) => match link.set_sessions(&theirs(&keys), &ours(&keys)) {
                    Ok(()) => self.set_dtls_state(DtlsState::Connected, String::new(), out),
                    Err(error) => self.set_dtls_state(DtlsState::Failed, error.to_string(), out),
                },
                DtlsEvent::Failed(text) => {
                    link.disconnect();
                    self.set_dtls_state(DtlsState::Failed, text, out);
                }
                DtlsEvent::Closed => {
                    link.disconnect();
                    self.set_dtls_state(DtlsState::Closed, String::new(), out);
                }
                DtlsEvent::ApplicationData(_) => self.data_refused += 1,
            }
        }
        self.transmit_dtls(now, link, out);
        if matches!(self.dtls_state, DtlsState::Failed | DtlsState::Closed) {
            self.dtls = None;
        }
        self.refresh_path(link);
    }

    fn transmit_dtls(&mut self, now: Time, link: &mut Link, out: &mut Out) {
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
                Ok(()) if sent > 0 => link.counters.sent(now, sent),
                Ok(()) => return,
                Err(reason) => {
                    out.drops.add(reason);
                    return;
                }
            }
        }
    }

    fn set_dtls_state(&mut self, state: DtlsState, reason: String, out: &mut Out) {
        if self.dtls_state != state {
            self.dtls_state = state;
            out.events.push_back(Event::DtlsState { transport: self.id, state, reason });
        }
    }

    fn refresh_path(&self, link: &mut Link) {
        let ready = self.dtls_state == DtlsState::Connected && self.has_consent();
        let path = self.ice.selected().filter(|_| ready);
        link.set_path(path, path);
    }

    fn has_consent(&self) -> bool {
        matches!(self.ice_state(), IceState::Connected | IceState::Completed) && self.ice.selected().is_some()
    }
}

/// A DTLS record of type handshake whose first message is a ClientHello (RFC 6347, sections 4.1 and
/// 4.2.2: content type 22; message type 1 after the 13 bytes of the record header).
fn is_client_hello(datagram: &[u8]) -> bool {
    datagram.first() == Some(&22) && datagram.get(13) == Some(&1)
}

fn theirs(keys: &SrtpKeys) -> SrtpParameters {
    SrtpParameters { profile: keys.profile, key: keys.remote.clone() }
}

fn ours(keys: &SrtpKeys) -> SrtpParameters {
    SrtpParameters { profile: keys.profile, key: keys.local.clone() }
}

fn state_of(ice: &IceAgent) -> IceState {
    match ice.state() {
        sfu_proto::ice::IceState::New => IceState::New,
        sfu_proto::ice::IceState::Connected => IceState::Connected,
        sfu_proto::ice::IceState::Completed => IceState::Completed,
        sfu_proto::ice::IceState::Disconnected => IceState::Disconnected,
    }
}
