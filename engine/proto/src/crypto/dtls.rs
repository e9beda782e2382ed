//! DTLS 1.2 for DTLS-SRTP, both roles, in the caller's time.
//!
//! What it is: [`DtlsSession`], one association, over an in-memory pipe that keeps datagram boundaries.
//! What it is told: datagrams of a 5-tuple that ICE has verified (the caller's duty), `now`, and the
//! fingerprints that signalling promised, before or after the handshake. What it tells: datagrams, and
//! [`DtlsEvent`]s; keys are handed out once, after the certificate matched, and never otherwise.
//!
//! Limits: see `budget` for what a handshake may hold; [`HANDSHAKE_TIME`] from its first record to its
//! end; `pipe::MAX_OUTGOING` datagrams and [`MAX_EVENTS`] events wait for the caller. Datagrams are as large as
//! `mtu` allows, and smaller when a flight stays without an answer (RFC 6347, section 4.1.1.1).
//!
//! RFCs: 6347 (DTLS 1.2; 4.2.4 for retransmission), 5764 (use_srtp, exporter), 5705, 7627 (extended master
//! secret, required), 8122 and 8827 section 6.5 (fingerprints), 8842. Renegotiation is refused, tickets and
//! session caches are off. It leaves out: the cookie exchange, since ICE has verified the peer's
//! address; DTLS 1.3, which the library does not have.

mod connected;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use arrayvec::ArrayVec;
use openssl::error::ErrorStack;
use openssl::ssl::{ErrorCode, Ssl, SslRef, SslStream};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::time::Time;

use super::budget::{ALERT, APPLICATION_DATA, HandshakeBudget, RECORD_HEADER, Record};
use super::certificate::{matches_any, reason};
use super::context::{DtlsContext, DtlsError};
use super::ffi;
use super::fingerprint::Fingerprint;
use super::pipe::Pipe;
use super::records::Records;
use crate::keys::{KeyMaterial, SrtpKeys, SrtpProfile, erase};

/// From the first record of a handshake to its end.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(30);
/// The first wait before a flight is sent again; it doubles.
pub const FIRST_RETRANSMIT: Duration = Duration::from_millis(50);
/// A flight that waited for so long without an answer is sent again in datagrams of [`NARROW_MTU`]: its way may lose
/// longer ones without a word (RFC 6347, section 4.1.1.1).
const NARROW_AFTER: Duration = Duration::from_millis(400);
/// What every path carries, as IPv4 has it: 576 bytes less 28 of headers (RFC 1122, section 3.3.2).
const NARROW_MTU: u16 = 548;
/// Events that wait for the caller; application data beyond is dropped.
pub const MAX_EVENTS: usize = 256;

/// Encrypted records held while the ChangeCipherSpec before them is still under way.
const MAX_HELD: usize = 2;
/// The longest record worth holding: a Finished has 40 bytes of content.
const MAX_HELD_LEN: usize = 512;
/// RFC 5764, section 4.2.
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";
/// The library's name of the state in which encrypted records can be read.
const STATE_KEYS_CHANGED: &str = "SSLv3/TLS read change cipher spec";
/// Length of the part of a GCM nonce that each record carries (RFC 5288, section 3).
pub(super) const EXPLICIT_NONCE: usize = 8;
/// Length of the authentication tag of all our cipher suites.
pub(super) const TAG: usize = 16;
/// The most that one record can carry.
pub(super) const MAX_PLAINTEXT: usize = 1 << 14;

/// Which side begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DtlsRole {
    /// We send the ClientHello ("active").
    Client,
    /// We wait for one ("passive").
    Server,
}

/// Where a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DtlsState {
    /// Nothing sent or received.
    New,
    /// Handshake under way.
    Handshaking,
    /// Handshake done, fingerprints not signalled yet: no keys, no data.
    Unverified,
    /// The certificate matched and the keys were handed out.
    Connected,
    /// Failed for good.
    Failed,
    /// Closed by either side.
    Closed,
}

/// What a session tells.
#[derive(Clone, PartialEq, Eq)]
pub enum DtlsEvent {
    /// Handshake done and certificate verified: here are the SRTP keys.
    Connected(SrtpKeys),
    /// The association is lost; the text says why, for people.
    Failed(String),
    /// The peer closed the association.
    Closed,
    /// Data of the peer (SCTP), one record.
    ApplicationData(Vec<u8>),
}

impl fmt::Debug for DtlsEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected(keys) => write!(f, "Connected({keys:?})"),
            Self::Failed(why) => write!(f, "Failed({why})"),
            Self::Closed => f.write_str("Closed"),
            Self::ApplicationData(data) => write!(f, "ApplicationData({} bytes)", data.len()),
        }
    }
}

/// One DTLS association.
pub struct DtlsSession {
    /// `None` once connected, failed or closed: frees the library's memory at once.
    stream: Option<SslStream<Pipe>>,
    /// What goes on with a connection when the library is gone.
    records: Option<Box<Records>>,
    /// The encrypted record that the library was given last: in the end, the peer's Finished.
    proof: Vec<u8>,
    role: DtlsRole,
    state: DtlsState,
    budget: HandshakeBudget,
    held: ArrayVec<Vec<u8>, MAX_HELD>,
    fingerprints: Option<Vec<Fingerprint>>,
    give_up_at: Option<Time>,
    retransmit_at: Option<Time>,
    backoff: Duration,
    events: VecDeque<DtlsEvent>,
    /// Datagrams that outlive the stream, or come after it.
    last_words: VecDeque<Vec<u8>>,
}

impl fmt::Debug for DtlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DtlsSession({:?}, {:?})", self.role, self.state)
    }
}

impl DtlsSession {
    /// A new association. As client its first flight is ready at once.
    pub fn new(context: &DtlsContext, role: DtlsRole, now: Time) -> Result<Self, DtlsError> {
        let mut ssl = Ssl::new(&context.context)?;
        match role {
            DtlsRole::Client => ssl.set_connect_state(),
            DtlsRole::Server => ssl.set_accept_state(),
        }
        ssl.set_mtu(context.mtu)?;
        ffi::stop_wall_clock(&ssl);
        let mut session = Self {
            stream: Some(SslStream::new(ssl, Pipe::default())?),
            records: None,
            proof: Vec::new(),
            role,
            state: DtlsState::New,
            budget: HandshakeBudget::default(),
            held: ArrayVec::new(),
            fingerprints: None,
            give_up_at: None,
            retransmit_at: None,
            backoff: FIRST_RETRANSMIT,
            events: VecDeque::new(),
            last_words: VecDeque::new(),
        };
        if role == DtlsRole::Client {
            session.begin(now);
            session.drive(now);
        }
        Ok(session)
    }

    /// Where the session is.
    pub fn state(&self) -> DtlsState {
        self.state
    }

    /// Our role.
    pub fn role(&self) -> DtlsRole {
        self.role
    }

    /// What signalling says about the peer's certificate: it must match one of these. May come before,
    /// during or after the handshake; once connected or over, it changes nothing (RFC 8842, section 5.5: a new
    /// fingerprint means a new association).
    pub fn set_remote_fingerprints(&mut self, fingerprints: Vec<Fingerprint>) {
        self.fingerprints = Some(fingerprints);
        if self.state == DtlsState::Unverified {
            self.verify();
            self.hand_over();
        }
    }

    /// A datagram from the ICE-verified peer. Refused if no record in it could be used.
    pub fn handle_datagram(&mut self, now: Time, datagram: &[u8]) -> Result<(), DropReason> {
        let mut verdict = Err(DropReason::Dtls);
        let mut rest = datagram;
        while let Some((record, after)) = Record::split_first(rest) {
            rest = after;
            match self.handle_record(now, &record) {
                Ok(()) => verdict = Ok(()),
                Err(refusal) => verdict = verdict.map_err(|_| refusal),
            }
        }
        verdict
    }

    /// One record: through the filter, then to the library.
    fn handle_record(&mut self, now: Time, record: &Record<'_>) -> Result<(), DropReason> {
        match self.state {
            DtlsState::Failed | DtlsState::Closed => return Err(DropReason::Dtls),
            // Plaintext after Finished: stale, or forged. The library would skip it too, but here it is
            // counted, and certain.
            DtlsState::Unverified | DtlsState::Connected if record.epoch != 1 => {
                return Err(DropReason::Dtls);
            }
            DtlsState::Unverified | DtlsState::Connected => {
                return self.feed_encrypted(now, record.bytes);
            }
            DtlsState::New | DtlsState::Handshaking => {}
        }
        self.budget.admit(record)?;
        if self.state == DtlsState::New {
            self.begin(now);
        }
        if record.epoch == 0 {
            self.feed(now, record.bytes);
            self.feed_held(now);
            return Ok(());
        }
        if self.keys_changed() {
            return self.feed_encrypted(now, record.bytes);
        }
        // The library would keep a whole record buffer for each early record, a hundred of them.
        if record.bytes.len() > MAX_HELD_LEN {
            return Err(DropReason::DtlsBudget);
        }
        if !self.held.iter().any(|held| held == record.bytes) {
            self.held.try_push(record.bytes.to_vec()).map_err(|_| DropReason::DtlsBudget)?;
        }
        Ok(())
    }

    /// Records that came before their ChangeCipherSpec, once that has come.
    fn feed_held(&mut self, now: Time) {
        if self.held.is_empty() || !(self.keys_changed() || self.is_past_handshake()) {
            return;
        }
        for record in std::mem::take(&mut self.held) {
            let _ = self.feed_encrypted(now, &record);
        }
    }

    /// Gives an encrypted record to the library, unless it is too short to hold a nonce and a tag: the
    /// library ends the session for such a one, although anybody can forge it (RFC 6347, section 4.1.2.7
    /// wants invalid records ignored).
    fn feed_encrypted(&mut self, now: Time, record: &[u8]) -> Result<(), DropReason> {
        if self.records.is_some() {
            return self.take_record(record);
        }
        let cipher = self.stream.as_ref().and_then(|stream| stream.ssl().current_cipher());
        let implicit_nonce = cipher.is_some_and(|cipher| cipher.name().contains("CHACHA20"));
        let overhead = if implicit_nonce { TAG } else { EXPLICIT_NONCE + TAG };
        if record.len() < RECORD_HEADER + overhead {
            return Err(DropReason::Dtls);
        }
        self.feed(now, record);
        Ok(())
    }

    /// Gives one record to the library and lets it work.
    fn feed(&mut self, now: Time, record: &[u8]) {
        if let Some(stream) = &mut self.stream {
            let pipe = stream.get_mut();
            pipe.incoming.clear();
            pipe.incoming.extend_from_slice(record);
        }
        if self.state == DtlsState::Handshaking && record.len() <= MAX_HELD_LEN {
            self.proof.clear();
            self.proof.extend_from_slice(record);
        }
        self.drive(now);
    }

    /// True while the library waits for the peer's Finished.
    fn keys_changed(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.ssl().state_string_long() == STATE_KEYS_CHANGED)
    }

    fn is_past_handshake(&self) -> bool {
        matches!(self.state, DtlsState::Unverified | DtlsState::Connected)
    }

    fn begin(&mut self, now: Time) {
        self.state = DtlsState::Handshaking;
        self.give_up_at = Some(now + HANDSHAKE_TIME);
    }

    /// Lets the library work until it wants more input.
    fn drive(&mut self, now: Time) {
        forget_errors();
        if self.state == DtlsState::Handshaking {
            let Some(stream) = &mut self.stream else {
                return;
            };
            let result = stream.do_handshake();
            match result {
                Ok(()) => self.finish_handshake(),
                Err(error) if wants_input(error.code()) => self.schedule_retransmission(now),
                Err(error) => self.fail(describe(&error)),
            }
        }
        if self.is_past_handshake() {
            self.read_data();
        }
        self.hand_over();
        // Who waits for the other side would keep 17 KB for its next record.
        if let Some(stream) = &self.stream {
            ffi::release_buffers(stream.ssl());
        }
        forget_errors();
    }

    /// After the library has worked: a flight that was just sent starts its timer, an answered one stops it.
    fn schedule_retransmission(&mut self, now: Time) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let written = std::mem::take(&mut stream.get_mut().written);
        if !ffi::flight_outstanding(stream.ssl()) {
            self.retransmit_at = None;
        } else if written > 0 || self.retransmit_at.is_none() {
            self.backoff = FIRST_RETRANSMIT;
            self.retransmit_at = Some(now + self.backoff);
        }
    }

    /// The library is satisfied; we are not yet.
    fn finish_handshake(&mut self) {
        self.give_up_at = None;
        self.retransmit_at = None;
        let Some(stream) = &self.stream else { return };
        self.state = DtlsState::Unverified;
        if stream.ssl().extms_support() != Some(true) {
            return self.fail("peer lacks the extended master secret (RFC 7627)".to_owned());
        }
        if stream.ssl().selected_srtp_profile().is_none() {
            return self.fail("no common SRTP protection profile".to_owned());
        }
        self.verify();
    }

    /// Compares the peer's certificate with the signalled fingerprints, if these are known by now, and hands
    /// out the keys.
    fn verify(&mut self) {
        let (Some(stream), Some(fingerprints)) = (&self.stream, &self.fingerprints) else {
            return;
        };
        let der = stream.ssl().peer_certificate().and_then(|certificate| certificate.to_der().ok());
        if !der.is_some_and(|der| matches_any(&der, fingerprints)) {
            return self.fail("certificate matches no signalled fingerprint".to_owned());
        }
        match export_keys(stream.ssl(), self.role) {
            Some(keys) => {
                self.state = DtlsState::Connected;
                self.push(DtlsEvent::Connected(keys));
            }
            None => self.fail("key export failed".to_owned()),
        }
        forget_errors();
    }

    /// Reads what the peer sent after the handshake, and notices its end.
    fn read_data(&mut self) {
        let mut buffer = [0u8; MAX_PLAINTEXT];
        let mut doubt: Option<String> = None;
        while let Some(stream) = &mut self.stream {
            match stream.ssl_read(&mut buffer) {
                // Data of a peer that is not identified is not data (RFC 8122, section 6.2).
                Ok(len) if self.state == DtlsState::Connected && len > 0 => {
                    self.push(DtlsEvent::ApplicationData(buffer[..len].to_vec()));
                }
                Ok(_) => {}
                Err(error) if wants_input(error.code()) => return,
                Err(error) if error.code() == ErrorCode::ZERO_RETURN => {
                    self.end(DtlsState::Closed);
                    return self.push(DtlsEvent::Closed);
                }
                // An error that a dropped record left in the queue looks like one that ended the association.
                // Asked once more, only the latter stays (RFC 6347, section 4.1.2.7).
                Err(error) => match doubt.take() {
                    Some(why) => return self.fail(why),
                    None => doubt = Some(describe(&error)),
                },
            }
            forget_errors();
        }
    }

    /// Sends application data as one record. For SCTP, and for tests.
    pub fn send(&mut self, data: &[u8]) -> Result<(), DropReason> {
        if self.records.is_some() {
            return self.send_record(APPLICATION_DATA, data);
        }
        let Some(stream) = self.stream.as_mut().filter(|_| self.state == DtlsState::Connected) else {
            return Err(DropReason::NotConnected);
        };
        forget_errors();
        let result = stream.ssl_write(data);
        forget_errors();
        result.map(|_| ()).map_err(|_| DropReason::Dtls)
    }

    /// When to call [`DtlsSession::handle_timeout`].
    pub fn next_timeout(&self) -> Option<Time> {
        match (self.give_up_at, self.retransmit_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Sends a flight again, or gives the handshake up, if it is time.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.give_up_at.is_some_and(|at| at <= now) {
            return self.fail("handshake did not end in time".to_owned());
        }
        if self.retransmit_at.is_none_or(|at| at > now) {
            return;
        }
        let Some(stream) = &mut self.stream else {
            return;
        };
        if self.backoff >= NARROW_AFTER {
            ffi::narrow(stream.ssl(), NARROW_MTU);
        }
        let sent = ffi::retransmit(stream.ssl());
        stream.get_mut().written = 0;
        forget_errors();
        if !sent {
            return self.fail("flight could not be sent again".to_owned());
        }
        self.backoff = self.backoff.saturating_mul(2);
        self.retransmit_at = Some(now + self.backoff);
    }

    /// Writes one datagram into `buffer`; `None` when there is none. A datagram that does not fit is lost.
    pub fn poll_transmit(&mut self, buffer: &mut [u8]) -> Option<usize> {
        loop {
            let datagram = match self.stream.as_mut().and_then(|stream| stream.get_mut().outgoing.pop_front()) {
                Some(datagram) => datagram,
                None => self.last_words.pop_front()?,
            };
            if let Some(slot) = buffer.get_mut(..datagram.len()) {
                slot.copy_from_slice(&datagram);
                return Some(datagram.len());
            }
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<DtlsEvent> {
        self.events.pop_front()
    }

    /// Ends the association on our side: a close_notify goes out if there is somebody to understand it. No
    /// event follows.
    pub fn close(&mut self, _now: Time) {
        if !matches!(self.state, DtlsState::Failed | DtlsState::Closed) {
            self.end(DtlsState::Closed);
        }
    }

    fn fail(&mut self, why: String) {
        self.end(DtlsState::Failed);
        self.push(DtlsEvent::Failed(why));
    }

    /// Says goodbye where that is possible, frees the library's memory, keeps what is still to be sent.
    fn end(&mut self, state: DtlsState) {
        let established = self.is_past_handshake();
        self.state = state;
        self.give_up_at = None;
        self.retransmit_at = None;
        self.held.clear();
        if let Some(mut stream) = self.stream.take() {
            if established {
                // Whether the goodbye works changes nothing: the session is over.
                let _ = stream.shutdown();
            }
            self.last_words = std::mem::take(&mut stream.get_mut().outgoing);
        }
        if self.records.is_some() {
            // As above.
            let _ = self.send_record(ALERT, &connected::CLOSE_NOTIFY);
            self.records = None;
        }
        forget_errors();
    }

    /// State events always find room: there are at most two of them.
    fn push(&mut self, event: DtlsEvent) {
        let is_data = matches!(event, DtlsEvent::ApplicationData(_));
        if !is_data || self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        }
    }
}

fn wants_input(code: ErrorCode) -> bool {
    code == ErrorCode::WANT_READ || code == ErrorCode::WANT_WRITE
}

/// The first reason in the library's words ("no shared cipher", "ssl/tls alert handshake failure").
fn describe(error: &openssl::ssl::Error) -> String {
    error.ssl_error().map(reason).unwrap_or_else(|| "association broke off".to_owned())
}

/// The library keeps errors in a queue per thread and blames whatever it finds there on the call that it is
/// in. Others leave errors there too: an SRTP packet with a bad tag does. So the queue is emptied before
/// each call, and after.
fn forget_errors() {
    let _ = ErrorStack::get();
}

/// The exporter's bytes are client key, server key, client salt, server salt (RFC 5764, section 4.2).
fn export_keys(ssl: &SslRef, role: DtlsRole) -> Option<SrtpKeys> {
    let profile = SrtpProfile::from_openssl_name(ssl.selected_srtp_profile()?.name())?;
    let (key_len, salt_len) = (profile.key_len(), profile.salt_len());
    let mut bytes = [0u8; 2 * KeyMaterial::MAX_LEN];
    let exported = &mut bytes[..2 * (key_len + salt_len)];
    let done = ssl.export_keying_material(exported, EXPORTER_LABEL, None);
    let (keys, salts) = exported.split_at(2 * key_len);
    let client = KeyMaterial::from_parts(&keys[..key_len], &salts[..salt_len]);
    let server = KeyMaterial::from_parts(&keys[key_len..], &salts[salt_len..]);
    erase(&mut bytes);
    done.ok()?;
    let (local, remote) = match role {
        DtlsRole::Client => (client?, server?),
        DtlsRole::Server => (server?, client?),
    };
    Some(SrtpKeys { profile, local, remote })
}

#[cfg(test)]
#[path = "dtls_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "dtls_refusal_tests.rs"]
mod refusal_tests;

#[cfg(test)]
#[path = "dtls_foreign_tests.rs"]
mod foreign_tests;

#[cfg(test)]
#[path = "dtls_records_tests.rs"]
mod records_tests;
