//! One client: a WebRTC stack that nobody here wrote (str0m), a socket of its own, and a role that speaks and listens.
//!
//! Limits: [`BATCH`] datagrams between two looks at the clock. Media that the socket does not take at once is dropped and
//! counted, as a congested machine would.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::change::SdpAnswer;
use str0m::media::Mid;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::meter::{Meter, now};

/// Datagrams that are taken from the socket at once.
const BATCH: usize = 64;
/// Longest time from the answer to the end of the DTLS handshake.
const CONNECT: Duration = Duration::from_secs(15);

/// What a client does with its connection.
pub(super) trait Role {
    /// Something came in.
    fn handle_event(&mut self, event: Event);
    /// When it wants to send next.
    fn next_due(&self) -> Option<Instant>;
    /// Sends what is due.
    fn handle_due(&mut self, rtc: &mut Rtc, now: Instant);
}

/// A section of the offer.
pub(super) type Sections = Vec<Mid>;

/// A client.
pub(super) struct Peer {
    rtc: Rtc,
    socket: UdpSocket,
    local: SocketAddr,
    /// Chance of 1 that a media packet is lost.
    loss: f64,
    connected: bool,
    meter: Arc<Meter>,
}

/// An offer that waits for its answer.
pub(super) struct Offered {
    pub(super) offer: String,
    pub(super) sections: Sections,
    pending: str0m::change::SdpPendingOffer,
}

impl Peer {
    /// Binds a socket and makes an offer of what `sections` adds.
    pub(super) async fn offer(
        bind: IpAddr,
        loss: f64,
        meter: Arc<Meter>,
        sections: impl FnOnce(&mut str0m::change::SdpApi<'_>) -> Sections,
    ) -> Result<(Self, Offered), String> {
        let socket = UdpSocket::bind((bind, 0)).await.map_err(|error| format!("no socket on {bind}: {error}"))?;
        let local = socket.local_addr().map_err(|error| error.to_string())?;
        let config = RtcConfig::new().clear_codecs().enable_opus(true, false).enable_vp8(true).set_rtp_mode(true);
        let mut rtc = config.build(now());
        let candidate = Candidate::host(local, "udp").map_err(|error| format!("{local}: {error}"))?;
        rtc.add_local_candidate(candidate);
        let mut api = rtc.sdp_api();
        let sections = sections(&mut api);
        let (offer, pending) = api.apply().ok_or("the offer is empty")?;
        let offered = Offered { offer: offer.to_sdp_string(), sections, pending };
        Ok((Self { rtc, socket, local, loss, connected: false, meter }, offered))
    }

    /// Takes the server's answer.
    pub(super) fn accept(&mut self, offered: Offered, answer: &str) -> Result<(), String> {
        let answer =
            SdpAnswer::from_sdp_string(answer).map_err(|error| format!("the answer cannot be read: {error}"))?;
        self.rtc.sdp_api().accept_answer(offered.pending, answer).map_err(|error| format!("the answer: {error}"))
    }

    pub(super) fn rtc(&self) -> &Rtc {
        &self.rtc
    }

    /// Runs until told to stop; `connected` hears of the end of the handshake.
    pub(super) async fn run(
        &mut self,
        role: &mut impl Role,
        mut stop: watch::Receiver<bool>,
        connected: impl FnOnce(),
    ) -> Result<(), String> {
        let patience = now() + CONNECT;
        let mut tell = Some(connected);
        let mut buffer = vec![0; 2_048];
        loop {
            let wake = self.drain(role)?;
            if self.connected
                && let Some(tell) = tell.take()
            {
                tell();
            }
            if !self.connected && now() > patience {
                return Err(format!("{}: not connected in {} s", self.local, CONNECT.as_secs()));
            }
            let due = role.next_due().filter(|_| self.connected).map_or(wake, |at| at.min(wake));
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                ready = self.socket.readable() => {
                    ready.map_err(|error| format!("{}: {error}", self.local))?;
                    self.receive(role, &mut buffer)?;
                }
                () = tokio::time::sleep_until(due.into()) => {}
            }
            let now = now();
            if self.connected && role.next_due().is_some_and(|at| at <= now) {
                role.handle_due(&mut self.rtc, now);
            }
            self.rtc.handle_input(Input::Timeout(now)).map_err(|error| self.failed(&error))?;
        }
    }

    fn failed(&self, error: &str0m::RtcError) -> String {
        format!("{}: {error}", self.local)
    }

    fn receive(&mut self, role: &mut impl Role, buffer: &mut [u8]) -> Result<(), String> {
        for _ in 0..BATCH {
            // An error of the socket is of an earlier datagram (a port that is closed); the connection's own clock judges.
            let Ok((length, source)) = self.socket.try_recv_from(buffer) else { return Ok(()) };
            let bytes = &buffer[..length];
            if self.is_lost(bytes) {
                continue;
            }
            let Ok(contents) = bytes.try_into() else { continue };
            let receive = Receive { proto: Protocol::Udp, source, destination: self.local, contents };
            self.rtc.handle_input(Input::Receive(now(), receive)).map_err(|error| self.failed(&error))?;
            self.drain(role)?;
        }
        Ok(())
    }

    /// Sends and tells everything; returns when the stack wants to be called again.
    fn drain(&mut self, role: &mut impl Role) -> Result<Instant, String> {
        loop {
            match self.rtc.poll_output().map_err(|error| self.failed(&error))? {
                Output::Timeout(at) => return Ok(at),
                Output::Transmit(transmit) => {
                    if !self.is_lost(&transmit.contents)
                        && self.socket.try_send_to(&transmit.contents, transmit.destination).is_err()
                    {
                        self.meter.count_unsent();
                    }
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::Closed) => {
                    return Err(format!("{}: the server closed the connection", self.local));
                }
                Output::Event(event) => role.handle_event(event),
            }
        }
    }

    /// Decides the fate of a media packet (RFC 7983: 128 to 191).
    fn is_lost(&self, bytes: &[u8]) -> bool {
        self.loss > 0.0 && matches!(bytes.first(), Some(128..=191)) && fastrand::f64() < self.loss
    }
}
