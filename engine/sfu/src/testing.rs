//! A scripted WebRTC peer for tests, simulations and load generators: the client's side of ICE, DTLS and
//! SRTP, as pure as the shard it talks to.
//!
//! Told: the shard's parameters, datagrams and time. Tells: datagrams, and the plaintext that it received.
//! Limits: one remote address, full ICE agent reduced to checks with USE-CANDIDATE (RFC 8445, section 8.1.1
//! for aggressive nominators). Left out: SDP, codecs, congestion control.

pub mod world;

pub use crate::branch::SpanView;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use sfu_proto::crypto::{Certificate, DtlsContext, DtlsEvent, DtlsRole, DtlsSession, Fingerprint, hmac};
use sfu_proto::keys::KeyMaterial;
use sfu_proto::srtp::{SrtpProfile, SrtpReceiver, SrtpSender};
use sfu_wire::demux::{DatagramKind, classify};
use sfu_wire::stun::{Class, StunBuilder, StunMessage};
use sfu_wire::time::Time;

use crate::command::{IceParameters, RemoteDtls};

/// Interval of checks until the first answer, and after it (RFC 7675 asks for 4 to 6 s; faster is allowed
/// in tests that shorten the consent time).
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
const CONSENT_INTERVAL: Duration = Duration::from_millis(2500);
const BINDING: u16 = 1;

/// How a peer behaves.
#[derive(Debug, Clone)]
pub struct PeerOptions {
    /// Profiles to offer.
    pub profiles: Vec<SrtpProfile>,
    /// The DTLS role that the peer takes.
    pub role: DtlsRole,
    /// Largest handshake datagram.
    pub mtu: usize,
}

impl Default for PeerOptions {
    fn default() -> Self {
        Self { profiles: SrtpProfile::ALL.to_vec(), role: DtlsRole::Client, mtu: 1200 }
    }
}

/// Plaintext that a peer received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// An RTP packet.
    Rtp(Vec<u8>),
    /// An RTCP compound.
    Rtcp(Vec<u8>),
}

/// The shard's side, once known.
struct Remote {
    addr: SocketAddr,
    ice: IceParameters,
}

/// A scripted peer.
pub struct Peer {
    addr: SocketAddr,
    options: PeerOptions,
    rng: ChaCha8Rng,
    certificate: Certificate,
    context: DtlsContext,
    remote: Option<Remote>,
    remote_fingerprints: Vec<Fingerprint>,
    ufrag: String,
    dtls: Option<DtlsSession>,
    sender: Option<SrtpSender>,
    sender_key: Option<(SrtpProfile, KeyMaterial)>,
    receiver: Option<SrtpReceiver>,
    next_check: Option<Time>,
    answered: bool,
    failure: Option<String>,
    outgoing: VecDeque<Vec<u8>>,
    received: VecDeque<Received>,
    last_error: Option<u16>,
}

impl Peer {
    /// A peer at `addr` with its own certificate.
    ///
    /// # Panics
    /// If OpenSSL refuses to make a certificate: the machine is broken.
    pub fn new(seed: u64, addr: SocketAddr, options: PeerOptions) -> Self {
        let certificate = Certificate::generate().expect("a certificate");
        let context = DtlsContext::new(&certificate, &options.profiles, options.mtu).expect("a DTLS context");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let ufrag = format!("{:08x}", rng.next_u32());
        Self {
            addr,
            options,
            rng,
            certificate,
            context,
            remote: None,
            remote_fingerprints: Vec::new(),
            ufrag,
            dtls: None,
            sender: None,
            sender_key: None,
            receiver: None,
            next_check: None,
            answered: false,
            failure: None,
            outgoing: VecDeque::new(),
            received: VecDeque::new(),
            last_error: None,
        }
    }

    /// What to signal to the shard.
    pub fn dtls_parameters(&self) -> RemoteDtls {
        RemoteDtls { role: Some(self.options.role), fingerprints: self.certificate.fingerprints() }
    }

    /// Begins checks towards the shard's candidate; DTLS follows the first answer.
    pub fn start(&mut self, now: Time, addr: SocketAddr, ice: IceParameters, fingerprints: Vec<Fingerprint>) {
        self.remote = Some(Remote { addr, ice });
        self.remote_fingerprints = fingerprints;
        self.next_check = Some(now);
    }

    /// Goes on with new ICE credentials of the shard (ICE restart); DTLS and SRTP stay.
    pub fn set_remote_ice(&mut self, now: Time, ice: IceParameters) {
        if let Some(remote) = &mut self.remote {
            remote.ice = ice;
            self.ufrag = format!("{:08x}", self.rng.next_u32());
            self.answered = false;
            self.next_check = Some(now);
        }
    }

    /// Stops checks, as a peer does that has vanished.
    pub fn stop_checks(&mut self) {
        self.next_check = None;
    }

    /// From now on the peer sends from another address (NAT rebinding).
    pub fn set_addr(&mut self, addr: SocketAddr) {
        self.addr = addr;
    }

    /// Takes one datagram from the shard.
    pub fn handle_datagram(&mut self, now: Time, datagram: &mut [u8]) {
        match classify(datagram) {
            Some(DatagramKind::Stun) => self.handle_stun(now, datagram),
            Some(DatagramKind::Dtls) => self.handle_dtls(now, datagram),
            Some(DatagramKind::Rtp) => {
                if let Some(Ok(len)) = self.receiver.as_mut().map(|r| r.unprotect_rtp(datagram)) {
                    self.received.push_back(Received::Rtp(datagram[..len].to_vec()));
                }
            }
            Some(DatagramKind::Rtcp) => {
                if let Some(Ok(len)) = self.receiver.as_mut().map(|r| r.unprotect_rtcp(datagram)) {
                    self.received.push_back(Received::Rtcp(datagram[..len].to_vec()));
                }
            }
            _ => {}
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.next_check.is_some_and(|at| at <= now) {
            let check = self.binding_request(true);
            self.outgoing.push_back(check);
            self.next_check = Some(now + if self.answered { CONSENT_INTERVAL } else { CHECK_INTERVAL });
        }
        if let Some(dtls) = &mut self.dtls
            && dtls.next_timeout().is_some_and(|at| at <= now)
        {
            dtls.handle_timeout(now);
        }
        self.drain_dtls();
    }

    /// When [`Peer::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Time> {
        let dtls = self.dtls.as_ref().and_then(DtlsSession::next_timeout);
        [self.next_check, dtls].into_iter().flatten().min()
    }

    /// The next datagram for the shard.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }

    /// The next plaintext that arrived.
    pub fn poll_received(&mut self) -> Option<Received> {
        self.received.pop_front()
    }

    /// Protects and queues an RTP packet.
    ///
    /// # Panics
    /// If the peer is not connected, or the packet is no RTP: the script is wrong.
    pub fn send_rtp(&mut self, packet: &[u8]) {
        let mut buf = packet.to_vec();
        buf.resize(packet.len() + 64, 0);
        let sender = self.sender.as_mut().expect("connected");
        let len = sender.protect_rtp(&mut buf, packet.len()).expect("an RTP packet");
        buf.truncate(len);
        self.outgoing.push_back(buf);
    }

    /// Protects and queues an RTCP compound.
    ///
    /// # Panics
    /// If the peer is not connected, or the compound is no RTCP: the script is wrong.
    pub fn send_rtcp(&mut self, packet: &[u8]) {
        let mut buf = packet.to_vec();
        buf.resize(packet.len() + 64, 0);
        let sender = self.sender.as_mut().expect("connected");
        let len = sender.protect_rtcp(&mut buf, packet.len()).expect("an RTCP compound");
        buf.truncate(len);
        self.outgoing.push_back(buf);
    }

    /// As [`Peer::send_rtp`]; `false` if the peer cannot protect it.
    pub fn try_send_rtp(&mut self, packet: &[u8]) -> bool {
        let mut buf = [packet, &[0; 64]].concat();
        let len = self.sender.as_mut().and_then(|s| s.protect_rtp(&mut buf, packet.len()).ok());
        self.queue(buf, len)
    }

    /// As [`Peer::send_rtcp`]; `false` if the peer cannot protect it.
    pub fn try_send_rtcp(&mut self, packet: &[u8]) -> bool {
        let mut buf = [packet, &[0; 64]].concat();
        let len = self.sender.as_mut().and_then(|s| s.protect_rtcp(&mut buf, packet.len()).ok());
        self.queue(buf, len)
    }

    /// Begins to protect anew, with the same keys and no memory of SSRCs and numbers: an attacker has no duties.
    ///
    /// # Panics
    /// If the peer is not connected: the script is wrong.
    pub fn forget_sent(&mut self) {
        let (profile, key) = self.sender_key.as_ref().expect("connected");
        self.sender = Some(SrtpSender::new(profile, key).expect("SRTP keys"));
    }

    /// Queues bytes as they are.
    pub fn send_raw(&mut self, bytes: Vec<u8>) {
        self.outgoing.push_back(bytes);
    }

    /// A signed Binding request, as [`Peer::handle_timeout`] sends them.
    ///
    /// # Panics
    /// Before [`Peer::start`].
    pub fn binding_request(&mut self, use_candidate: bool) -> Vec<u8> {
        let remote = self.remote.as_ref().expect("started");
        let username = format!("{}:{}", remote.ice.username_fragment, self.ufrag);
        let mut txid = [0u8; 12];
        self.rng.fill_bytes(&mut txid);
        let mut buf = vec![0u8; 512];
        let mut builder = StunBuilder::new(&mut buf, Class::Request, BINDING, &txid)
            .username(username.as_bytes())
            .ice_controlling(1)
            .priority(1_853_824_767);
        if use_candidate {
            builder = builder.use_candidate();
        }
        let key = remote.ice.password.as_bytes();
        let len = builder.finish(Some((key, hmac::hmac_sha1))).expect("fits into 512 bytes");
        buf.truncate(len);
        buf
    }

    /// SRTP keys are in place.
    pub fn is_connected(&self) -> bool {
        self.sender.is_some()
    }

    /// A Binding request was answered.
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// Why DTLS failed or closed, if it did.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The last STUN error that came back.
    pub fn last_stun_error(&self) -> Option<u16> {
        self.last_error
    }

    /// Where the peer sends from.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where the peer sends to.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.remote.as_ref().map(|r| r.addr)
    }

    /// Ends DTLS with close_notify.
    pub fn close(&mut self, now: Time) {
        if let Some(dtls) = &mut self.dtls {
            dtls.close(now);
        }
        self.drain_dtls();
    }

    fn queue(&mut self, mut buf: Vec<u8>, len: Option<usize>) -> bool {
        buf.truncate(len.unwrap_or(0));
        let sent = !buf.is_empty();
        if sent {
            self.outgoing.push_back(buf);
        }
        sent
    }

    fn handle_stun(&mut self, now: Time, datagram: &[u8]) {
        let Ok(message) = StunMessage::parse(datagram) else { return };
        match message.class() {
            Class::Success => {
                let Some(remote) = &self.remote else { return };
                if !message.check_integrity(remote.ice.password.as_bytes(), hmac::hmac_sha1) {
                    return;
                }
                self.answered = true;
                if self.dtls.is_none() {
                    self.start_dtls(now);
                }
            }
            Class::Error => self.last_error = message.error_code(),
            Class::Request | Class::Indication => {}
        }
    }

    fn start_dtls(&mut self, now: Time) {
        let mut session = DtlsSession::new(&self.context, self.options.role, now).expect("a DTLS session");
        session.set_remote_fingerprints(self.remote_fingerprints.clone());
        self.dtls = Some(session);
        self.drain_dtls();
    }

    fn handle_dtls(&mut self, now: Time, datagram: &[u8]) {
        // A server's flight may overtake the answer to the check.
        if self.dtls.is_none() && self.remote.is_some() {
            self.start_dtls(now);
        }
        if let Some(dtls) = &mut self.dtls
            && let Err(reason) = dtls.handle_datagram(now, datagram)
        {
            self.failure.get_or_insert_with(|| reason.name().to_owned());
        }
        self.drain_dtls();
    }

    fn drain_dtls(&mut self) {
        let Some(dtls) = &mut self.dtls else { return };
        let mut buf = [0u8; 2048];
        while let Some(len) = dtls.poll_transmit(&mut buf) {
            self.outgoing.push_back(buf[..len].to_vec());
        }
        while let Some(event) = dtls.poll_event() {
            match event {
                DtlsEvent::Connected(keys) => {
                    self.sender_key = Some((keys.profile, keys.local.clone()));
                    self.sender = Some(SrtpSender::new(&keys.profile, &keys.local).expect("SRTP keys"));
                    self.receiver = Some(SrtpReceiver::new(&keys.profile, &keys.remote).expect("SRTP keys"));
                    self.failure = None;
                }
                DtlsEvent::Failed(reason) => self.failure = Some(reason),
                DtlsEvent::Closed => self.failure = Some("closed".to_owned()),
                DtlsEvent::ApplicationData(_) => {}
            }
        }
    }
}
