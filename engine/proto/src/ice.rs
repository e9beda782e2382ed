//! ICE lite: answers connectivity checks, keeps the valid tuples and the selected one.
//!
//! What it is: [`IceAgent`], the controlled, lite agent of one transport. What it is told: Binding requests
//! with the tuple they came by, TCP connections that closed, and `now`. What it tells: replies, [`IceEvent`]s, the selected tuple.
//!
//! Limits: [`MAX_TUPLES`] tuples; a tuple exists only after a signed request; no reply to anything unsigned,
//! and never one larger than its request (no amplification).
//!
//! RFCs: 8445 (section 2.5 lite, 7.3 server procedures, 9 restart), 8489 (STUN), 7675 (consent),
//! draft-thatcher-ice-renomination (nomination values). It leaves out: candidates of either side, checks of our
//! own, TURN; frames and connections of TCP (a connection is a tuple like any other here).
//!
//! Consent: a lite agent sends no checks, so the peer's own signed checks stand for its consent. A tuple
//! without one for `consent_timeout` is dropped, and when none is left the agent is disconnected. The same
//! credentials never revive a tuple that expired while it was selected (RFC 7675, section 5.1).

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use arrayvec::ArrayVec;
use rand_core::RngCore;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::net::Tuple;
use sfu_wire::stun::{BINDING, Class, StunBuilder, StunMessage};
use sfu_wire::time::Time;

use crate::crypto::hmac::hmac_sha1;

/// Tuples that a transport keeps at a time.
pub const MAX_TUPLES: usize = 8;
/// When the table is full, a tuple that has been silent for this long makes room for a new one.
pub const STALE_TUPLE: Duration = Duration::from_secs(5);
/// A timeout served this late was slept through by us (a suspended machine, a stopped process): what the peer
/// sent meanwhile is lost or still to come.
pub const STALL: Duration = Duration::from_secs(2);
/// After a stall, tuples that would be due get this long for one more check (RFC 7675, section 5.1: peers send
/// one each 4 to 6 s), or the consent timeout if that is shorter.
pub const STALL_GRACE: Duration = Duration::from_secs(10);
/// Expired tuples that are remembered, so that the same credentials do not revive them.
pub const MAX_EXPIRED: usize = 32;
/// Room that a reply needs at most.
pub const MAX_REPLY: usize = 128;
/// Unknown attributes that a 420 lists.
const MAX_UNKNOWN: usize = 8;

/// Length of a generated user name fragment: 96 bit (RFC 8445, section 5.3 asks for 24).
const UFRAG_LEN: usize = 16;
/// Length of a generated password: 192 bit (128 are asked for).
const PASSWORD_LEN: usize = 32;
/// ice-char of RFC 8839: 64 of them, six bits each.
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// User name fragment and password of our side.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// What the peer puts before the colon of USERNAME.
    pub username_fragment: String,
    /// The key of MESSAGE-INTEGRITY.
    pub password: String,
}

impl IceCredentials {
    /// Credentials from outside.
    pub fn new(username_fragment: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username_fragment: username_fragment.into(), password: password.into() }
    }

    /// New credentials from a cryptographic generator.
    pub fn generate(random: &mut impl RngCore) -> Self {
        let mut text = |len: usize| {
            let mut bytes = vec![0u8; len];
            random.fill_bytes(&mut bytes);
            bytes.iter().map(|byte| char::from(ICE_CHARS[usize::from(byte & 63)])).collect::<String>()
        };
        Self { username_fragment: text(UFRAG_LEN), password: text(PASSWORD_LEN) }
    }
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IceCredentials({})", self.username_fragment)
    }
}

/// Options of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IceConfig {
    /// Time without a signed request after which a tuple is dropped; `None` never drops one.
    pub consent_timeout: Option<Duration>,
}

impl Default for IceConfig {
    fn default() -> Self {
        Self { consent_timeout: Some(Duration::from_secs(30)) }
    }
}

/// State of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IceState {
    /// No valid check yet.
    New,
    /// A valid check arrived.
    Connected,
    /// A pair was nominated.
    Completed,
    /// Consent ran out.
    Disconnected,
}

/// What the agent tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IceEvent {
    /// The state changed.
    State(IceState),
    /// Send to this tuple from now on.
    Selected(Tuple),
    /// This tuple is not valid any more.
    TupleRemoved(Tuple),
}

/// Which credentials a request was signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// The current ones.
    Local,
    /// Those before the last restart.
    Previous,
}

/// What became of a Binding request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IceInput {
    /// Length of the reply in the caller's buffer, zero for none.
    pub reply_len: usize,
    /// Why the request changed nothing, if so. A refused request may have a reply (420, 487).
    pub verdict: Result<(), DropReason>,
}

impl IceInput {
    fn silent(reason: DropReason) -> Self {
        Self { reply_len: 0, verdict: Err(reason) }
    }
}

/// A tuple by which a signed request came.
#[derive(Debug, Clone, Copy)]
struct Valid {
    tuple: Tuple,
    last_heard: Time,
    /// When its consent runs out; far off if it never does.
    expires: Time,
    /// Its consent was prolonged since it was last heard of. That happens once.
    prolonged: bool,
}

/// The agent of one transport.
#[derive(Debug)]
pub struct IceAgent {
    local: IceCredentials,
    previous: Option<IceCredentials>,
    config: IceConfig,
    state: IceState,
    tuples: ArrayVec<Valid, MAX_TUPLES>,
    selected: Option<Tuple>,
    /// A nomination has chosen `selected`, not merely the order of arrival.
    nominated: bool,
    highest_nomination: Option<u32>,
    expired: ArrayVec<Tuple, MAX_EXPIRED>,
    events: VecDeque<IceEvent>,
}

impl IceAgent {
    /// A new agent without tuples.
    pub fn new(_now: Time, local: IceCredentials, config: IceConfig) -> Self {
        Self {
            local,
            previous: None,
            config,
            state: IceState::New,
            tuples: ArrayVec::new(),
            selected: None,
            nominated: false,
            highest_nomination: None,
            expired: ArrayVec::new(),
            events: VecDeque::new(),
        }
    }

    /// The current credentials.
    pub fn local(&self) -> &IceCredentials {
        &self.local
    }

    /// The credentials before the last restart, while they still hold.
    pub fn previous(&self) -> Option<&IceCredentials> {
        self.previous.as_ref()
    }

    /// The state.
    pub fn state(&self) -> IceState {
        self.state
    }

    /// Where to send.
    pub fn selected(&self) -> Option<Tuple> {
        self.selected
    }

    /// All valid tuples.
    pub fn tuples(&self) -> impl Iterator<Item = Tuple> + '_ {
        self.tuples.iter().map(|valid| valid.tuple)
    }

    /// True for a tuple that a signed request has validated.
    pub fn is_valid(&self, tuple: &Tuple) -> bool {
        self.tuples.iter().any(|valid| valid.tuple == *tuple)
    }

    /// True if the first half of USERNAME is ours, now or before the last restart.
    pub fn knows_username(&self, username: &[u8]) -> bool {
        self.signer_of(username).is_some()
    }

    /// New credentials (RFC 8445, section 9). The old ones hold until a request comes with the new ones;
    /// meanwhile data goes on over the old pair.
    pub fn restart(&mut self, credentials: IceCredentials) {
        let old = std::mem::replace(&mut self.local, credentials);
        // Of two restarts in a row nobody has used the middle credentials: those that are in use stay.
        if self.previous.is_none() {
            self.previous = Some(old);
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<IceEvent> {
        self.events.pop_front()
    }

    /// When to call [`IceAgent::handle_timeout`].
    pub fn next_timeout(&self) -> Option<Time> {
        self.config.consent_timeout?;
        self.tuples.iter().map(|valid| valid.expires).min()
    }

    /// Drops tuples whose consent has run out. When the call comes much too late, it was us who were away:
    /// the peers get a little longer, once, instead of all being lost at a stroke.
    pub fn handle_timeout(&mut self, now: Time) {
        let Some(timeout) = self.config.consent_timeout else {
            return;
        };
        if self.next_timeout().is_some_and(|due| now.saturating_since(due) >= STALL) {
            let end = now + STALL_GRACE.min(timeout);
            for valid in self.tuples.iter_mut().filter(|valid| valid.expires < end && !valid.prolonged) {
                (valid.expires, valid.prolonged) = (end, true);
            }
        }
        while let Some(at) = self.tuples.iter().position(|valid| valid.expires <= now) {
            let tuple = self.tuples.remove(at).tuple;
            // Consent is about the pair that data goes over. A backup pair that the peer checks less often than we
            // wait may come back; media was never sent there.
            if self.selected == Some(tuple) {
                // When this list is full, `is_dead` refuses everything that the same credentials sign.
                let _ = self.expired.try_push(tuple);
            }
            self.removed(tuple);
        }
    }

    /// The connection that a tuple stands for is closed (TCP): nothing goes there any more. Its consent had not run
    /// out, so a new connection may be checked with the same credentials.
    pub fn remove_tuple(&mut self, tuple: &Tuple) {
        if let Some(at) = self.tuples.iter().position(|valid| valid.tuple == *tuple) {
            self.tuples.remove(at);
            self.removed(*tuple);
        }
    }

    /// Checks who signed a Binding request, and touches nothing. What is refused here has told its sender
    /// nothing: an unknown user costs one HMAC like a known one, and both get silence. Whoever looks agents up
    /// by user name and finds none asks any other agent, so that not even the way here is shorter.
    pub fn authenticate(&self, msg: &StunMessage<'_>) -> Result<Signer, DropReason> {
        if msg.class() != Class::Request || msg.method() != BINDING {
            return Err(DropReason::StunUnexpected);
        }
        if !msg.has_valid_fingerprint() {
            return Err(DropReason::StunFingerprint);
        }
        let signer = msg.username().and_then(|name| self.signer_of(name));
        let credentials = signer.and_then(|signer| self.credentials_of(signer)).unwrap_or(&self.local);
        let signed = msg.check_integrity(credentials.password.as_bytes(), hmac_sha1);
        signer.filter(|_| signed).ok_or(DropReason::StunUnauthenticated)
    }

    /// A Binding request that came by `tuple`. A reply, if any, is written into `reply`.
    pub fn handle_binding(&mut self, now: Time, tuple: Tuple, msg: &StunMessage<'_>, reply: &mut [u8]) -> IceInput {
        match self.authenticate(msg) {
            Ok(signer) => self.handle_signed(now, tuple, msg, signer, reply),
            Err(reason) => IceInput::silent(reason),
        }
    }

    /// As [`handle_binding`](Self::handle_binding), of a request that
    /// [`authenticate`](Self::authenticate) has just said this of.
    pub fn handle_signed(
        &mut self,
        now: Time,
        tuple: Tuple,
        msg: &StunMessage<'_>,
        signer: Signer,
        reply: &mut [u8],
    ) -> IceInput {
        let Some(credentials) = self.credentials_of(signer).cloned() else {
            return IceInput::silent(DropReason::StunUnauthenticated);
        };
        // The timers may be late: expiry comes first.
        self.handle_timeout(now);
        let answer = Answer { msg, password: credentials.password.as_bytes(), reply };
        let unknown: ArrayVec<u16, MAX_UNKNOWN> = msg.unknown_required().take(MAX_UNKNOWN).collect();
        if !unknown.is_empty() {
            return answer.refuse(420, &unknown);
        }
        // We are lite, so never controlling: the other side has to be (RFC 8445, sections 6.1.1 and 7.3.1.1).
        if msg.ice_controlled().is_some() {
            return answer.refuse(487, &[]);
        }
        if signer == Signer::Local {
            self.commit_restart();
        }
        if self.is_dead(&tuple) {
            return IceInput::silent(DropReason::StunUnauthenticated);
        }
        if !self.admit(now, tuple) {
            return IceInput::silent(DropReason::IceTupleLimit);
        }
        self.nominate(tuple, msg);
        answer.succeed(tuple.remote)
    }

    /// Whose user name fragment stands before the colon.
    fn signer_of(&self, username: &[u8]) -> Option<Signer> {
        let colon = username.iter().position(|byte| *byte == b':')?;
        let ours = &username[..colon];
        if self.local.username_fragment.as_bytes() == ours {
            return Some(Signer::Local);
        }
        let previous = self.previous.as_ref()?;
        (previous.username_fragment.as_bytes() == ours).then_some(Signer::Previous)
    }

    fn credentials_of(&self, signer: Signer) -> Option<&IceCredentials> {
        match signer {
            Signer::Local => Some(&self.local),
            Signer::Previous => self.previous.as_ref(),
        }
    }

    /// The peer uses the new credentials: the old ones are dead, nominations begin anew.
    fn commit_restart(&mut self) {
        if self.previous.take().is_some() {
            self.highest_nomination = None;
            self.expired.clear();
        }
    }

    /// True for a tuple that has expired under the credentials in use.
    fn is_dead(&self, tuple: &Tuple) -> bool {
        !self.is_valid(tuple) && (self.expired.is_full() || self.expired.contains(tuple))
    }

    /// Notes that a signed request came by `tuple`; false if there is no room for it.
    fn admit(&mut self, now: Time, tuple: Tuple) -> bool {
        let expires = self.config.consent_timeout.map_or(Time::MAX, |timeout| now + timeout);
        if let Some(valid) = self.tuples.iter_mut().find(|valid| valid.tuple == tuple) {
            valid.last_heard = valid.last_heard.max(now);
            valid.expires = valid.expires.max(expires);
            valid.prolonged = false;
        } else {
            if self.tuples.is_full() && !self.make_room(now) {
                return false;
            }
            self.tuples.push(Valid { tuple, last_heard: now, expires, prolonged: false });
        }
        if self.selected.is_none() {
            self.select(tuple);
        }
        if matches!(self.state, IceState::New | IceState::Disconnected) {
            self.set_state(IceState::Connected);
        }
        true
    }

    /// Drops the tuple that has been silent for longest, if for long enough. The selected one stays.
    fn make_room(&mut self, now: Time) -> bool {
        let oldest = (0..self.tuples.len())
            .filter(|at| Some(self.tuples[*at].tuple) != self.selected)
            .min_by_key(|at| self.tuples[*at].last_heard);
        match oldest {
            Some(at) if now.saturating_since(self.tuples[at].last_heard) >= STALE_TUPLE => {
                let tuple = self.tuples.remove(at).tuple;
                self.removed(tuple);
                true
            }
            _ => false,
        }
    }

    /// The last valid nomination wins. With values, a lower one is an older one that was overtaken on its
    /// way, and an equal one for another tuple is none of the two.
    fn nominate(&mut self, tuple: Tuple, msg: &StunMessage<'_>) {
        match (msg.nomination(), self.highest_nomination) {
            (Some(value), Some(highest)) if value < highest => return,
            (Some(value), Some(highest)) if value == highest && self.selected != Some(tuple) => {
                return;
            }
            (Some(value), _) => self.highest_nomination = Some(value),
            (None, _) if !msg.use_candidate() => return,
            (None, _) => {}
        }
        self.nominated = true;
        self.select(tuple);
        self.set_state(IceState::Completed);
    }

    fn select(&mut self, tuple: Tuple) {
        if self.selected != Some(tuple) {
            self.selected = Some(tuple);
            // Only the latest choice matters to a caller who has not looked yet.
            self.events.retain(|event| !matches!(event, IceEvent::Selected(_)));
            self.events.push_back(IceEvent::Selected(tuple));
        }
    }

    fn set_state(&mut self, state: IceState) {
        if self.state != state {
            self.state = state;
            self.events.push_back(IceEvent::State(state));
        }
    }

    /// A tuple has left the table: another takes its place if it was selected.
    fn removed(&mut self, tuple: Tuple) {
        self.events.retain(|event| *event != IceEvent::Selected(tuple));
        self.events.push_back(IceEvent::TupleRemoved(tuple));
        if self.selected != Some(tuple) {
            return;
        }
        self.selected = None;
        self.nominated = false;
        match self.tuples.iter().max_by_key(|valid| valid.last_heard).map(|valid| valid.tuple) {
            Some(next) => self.select(next),
            None => {
                self.highest_nomination = None;
                self.set_state(IceState::Disconnected);
            }
        }
    }
}

/// A reply in the making, signed with the password that the request was signed with.
struct Answer<'a> {
    msg: &'a StunMessage<'a>,
    password: &'a [u8],
    reply: &'a mut [u8],
}

impl Answer<'_> {
    fn succeed(self, remote: SocketAddr) -> IceInput {
        let limit = self.msg.data().len();
        let builder = StunBuilder::new(self.reply, Class::Success, BINDING, self.msg.transaction_id());
        let length = builder.xor_mapped_address(remote).finish(Some((self.password, hmac_sha1)));
        IceInput { reply_len: length.ok().filter(|length| *length <= limit).unwrap_or(0), verdict: Ok(()) }
    }

    /// An error response. The reason phrase stays empty: it would only make the reply larger.
    fn refuse(self, code: u16, unknown: &[u16]) -> IceInput {
        let limit = self.msg.data().len();
        let mut builder =
            StunBuilder::new(self.reply, Class::Error, BINDING, self.msg.transaction_id()).error_code(code, "");
        if !unknown.is_empty() {
            builder = builder.unknown_attributes(unknown);
        }
        let length = builder.finish(Some((self.password, hmac_sha1)));
        IceInput {
            reply_len: length.ok().filter(|length| *length <= limit).unwrap_or(0),
            verdict: Err(DropReason::StunUnexpected),
        }
    }
}

#[cfg(test)]
#[path = "ice_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "ice_life_tests.rs"]
mod life_tests;
