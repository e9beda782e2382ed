//! A pipe transport: all encodings of producers from one router to another, on this host or a far one.
//!
//! Told: where the other pipe is and its SRTP key, once. Tells: path and keys to its `Link`, a keep-alive in
//! each [`KEEP_ALIVE`], and as an event when nothing has come for [`SILENCE`], and when it comes again. There is no
//! ICE: the two controllers know each other. The keep-alive is an empty receiver report: it keeps middleboxes
//! open and shows each end that the other lives. RFC 3550, RFC 5761 (RTP and RTCP share the port), RFC 7714
//! (AEAD_AES_256_GCM is the one suite). Left out: discovery; re-keying; what passes, which is the consumers' affair.

use std::net::SocketAddr;
use std::time::Duration;

use sfu_wire::id::ObjectId;
use sfu_wire::net::{Protocol, Tuple};
use sfu_wire::rtcp::ReceiverReport;
use sfu_wire::time::Time;

use crate::command::{BoundSocket, Event, PipeTransportOptions, SrtpParameters};
use crate::link::Link;
use crate::lookup::Lookup;
use crate::shard::Out;
use crate::stats::TupleAddrs;
use crate::timers::{Slot, TimerKind, Timers};

/// Distance of keep-alives.
pub const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// The other end is told to be silent after this.
pub const SILENCE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct PipeTransport {
    id: ObjectId,
    pub(crate) socket: BoundSocket,
    /// Our half of SRTP, if it is to be used.
    pub(crate) local_key: Option<SrtpParameters>,
    /// Retransmissions pass.
    pub(crate) rtx: bool,
    /// Only what the far router wants passes.
    pub(crate) only_wanted: bool,
    remote: Option<SocketAddr>,
    pub(crate) timer: Slot,
    next_keep_alive: Time,
    /// Datagrams received when the last one was noticed, and when that was.
    heard: (u64, Time),
    silent: bool,
}

impl PipeTransport {
    /// A pipe whose other end is not known.
    pub(crate) fn new(
        now: Time,
        id: ObjectId,
        socket: BoundSocket,
        key: Option<SrtpParameters>,
        options: PipeTransportOptions,
    ) -> Self {
        Self {
            id,
            socket,
            local_key: key,
            rtx: options.rtx,
            only_wanted: options.only_wanted,
            remote: None,
            timer: Slot::default(),
            next_keep_alive: now,
            heard: (0, now),
            silent: false,
        }
    }

    /// The other end, if known.
    pub(crate) fn tuple(&self) -> Option<Tuple> {
        Some(Tuple { socket: self.socket.socket, remote: self.remote? })
    }

    /// The same with our address in full.
    pub(crate) fn addrs(&self) -> Option<TupleAddrs> {
        Some(TupleAddrs { protocol: Protocol::Udp, local: self.socket.local, remote: self.remote? })
    }

    /// Nothing has come from the other end for [`SILENCE`].
    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    /// The other end is there.
    pub(crate) fn set_remote(&mut self, now: Time, remote: SocketAddr, link: &mut Link, lookup: &mut Lookup) {
        self.remote = Some(remote);
        self.heard.1 = now;
        self.next_keep_alive = now;
        if let Some(tuple) = self.tuple() {
            lookup.claim_tuple(tuple, self.id);
        }
        link.set_path(self.tuple(), self.tuple());
    }

    /// Sends what keeps the path open, and looks whether the other end does. `ssrc` speaks for the transport.
    pub(crate) fn handle_timeout(&mut self, now: Time, ssrc: u32, link: &mut Link, out: &mut Out) {
        if now < self.next_keep_alive {
            return;
        }
        // Who was away itself has not heard the other end, and must not take that for its silence.
        let away = now.saturating_since(self.next_keep_alive) >= KEEP_ALIVE;
        self.next_keep_alive = now + KEEP_ALIVE;
        let mut report = [0; 8];
        if let Ok(len) = (ReceiverReport { ssrc }).write(&mut report, &[])
            && let Err(reason) = link.send_rtcp(now, out, &report[..len])
        {
            out.drops.add(reason);
        }
        let received = link.counters.packets_received;
        if received != self.heard.0 || away {
            self.heard = (received, now);
        }
        let silent = now.saturating_since(self.heard.1) >= SILENCE;
        if silent != self.silent {
            self.silent = silent;
            out.events.push_back(Event::PipeSilent { transport: self.id, silent });
        }
    }

    /// Sets the timer.
    pub(crate) fn arm(&mut self, timers: &mut Timers, not_before: Time) {
        let at = self.remote.map(|_| self.next_keep_alive.max(not_before));
        timers.arm(&mut self.timer, self.id, TimerKind::KeepAlive, at);
    }

    /// Gives back what leads here.
    pub(crate) fn release(&self, lookup: &mut Lookup) {
        if let Some(tuple) = self.tuple() {
            lookup.release_tuple(&tuple, self.id);
        }
        lookup.release_socket(self.socket.socket);
    }
}
