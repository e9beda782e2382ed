//! What a shard's loop does with the other shards of its engine.
//!
//! Told: what they have written to their rings, datagrams and connections that arrived at them, and which of them have ended.
//! Tells: the core, and them what the core has for them and which peers are its own. Limits per turn: [`PEERS_PER_TURN`] of each,
//! [`DATAGRAMS_PER_TURN`]; the room in their rings.

use std::cell::RefCell;
use std::rc::Rc;

use sfu_core::shared_port::Whose;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::time::Time;

use super::{DATAGRAMS_PER_TURN, ShardLoop, flush};
use crate::core::ShardCore;
use crate::hand_over::next_handed;
use crate::load::Traffic;
use crate::mesh::Port;
use crate::runtime::Shared;
use crate::tcp::TcpIo;

/// Most messages of one other shard between two looks at the sockets.
const PEERS_PER_TURN: usize = 512;

impl<S: ShardCore> ShardLoop<S> {
    /// Feeds what other shards have handed over to the core; says whether more is waiting.
    pub(super) fn take_handed(&mut self, now: Time) -> bool {
        self.take_connections(now);
        if self.handed_at == self.handed.len() {
            self.handed_at = 0;
            self.shared.inboxes[usize::from(self.index)].handed.take(&mut self.handed);
        }
        let mut rest = &mut self.handed[self.handed_at..];
        let mut left = DATAGRAMS_PER_TURN;
        while left > 0
            && let Some(handed) = next_handed(&mut rest)
        {
            left -= 1;
            self.traffic.taken_over += 1;
            let socket = self.ports.iter().find(|(_, port)| port.key() == handed.port).map(|(socket, _)| *socket);
            let whose = socket.map(|socket| {
                let arrival = handed.arrival.min(now);
                self.core.handle_datagram(now, arrival, socket, handed.from, handed.bytes)
            });
            // Given up on the way. It is not handed on: two shards must not play with it.
            if whose != Some(Whose::Ours) {
                self.core.count_drop(DropReason::UnknownTuple, 1);
            }
            if self.core.outbox().is_nearly_full() {
                hand_peers(&mut self.core, &self.port, &self.shared);
                flush(
                    &mut self.core,
                    &mut *self.io,
                    self.tcp.as_deref_mut(),
                    &mut self.runs,
                    &mut self.backlog,
                    &mut self.traffic,
                );
            }
        }
        let unread = rest.len();
        self.handed_at = self.handed.len() - unread;
        left == 0
    }

    /// Takes the connections that other shards have accepted and that name this one. What has come by them is read in
    /// this turn.
    fn take_connections(&mut self, now: Time) {
        for (key, stranger) in self.shared.inboxes[usize::from(self.index)].handed.take_connections() {
            self.traffic.taken_over += 1;
            let socket = self.ports.iter().find(|(_, port)| port.key() == key).map(|(socket, _)| *socket);
            match (socket, &mut self.tcp) {
                (Some(socket), Some(tcp)) => tcp.adopt(now, socket, stranger),
                // This one listens no more; the peer is hung up on.
                _ => self.core.count_drop(DropReason::UnknownTuple, 1),
            }
        }
    }

    /// Tells the other shards which peers are this one's.
    pub(super) fn tell_claims(&mut self) {
        while let Some(claim) = self.core.poll_claim() {
            if let Some((_, port)) = self.ports.iter().find(|(socket, _)| *socket == claim.socket) {
                self.shared.ports.claim(port, claim.remote, self.index, claim.held);
            }
        }
    }

    /// Gives to the core what other shards say and send.
    pub(super) fn take_peers(&mut self, now: Time) {
        if !self.shared.inboxes[usize::from(self.index)].take_peers() {
            return;
        }
        let port = Rc::clone(&self.port);
        let port = &mut *port.borrow_mut();
        self.note_lost(now, port);
        let mut more = false;
        for from in 0..port.shards() {
            let Self { core, io, tcp, runs, backlog, traffic, shared, .. } = self;
            let (rest, wakes) = port.receive(&shared.mesh, from, PEERS_PER_TURN, |message, packet| {
                core.handle_peer(now, from, message, packet);
                if core.outbox().is_nearly_full() {
                    flush(core, &mut **io, tcp.as_deref_mut(), runs, backlog, traffic);
                }
            });
            more |= rest;
            if wakes {
                self.shared.inboxes[usize::from(from)].raise_peers();
            }
        }
        if more {
            self.inbox().raise_peers();
        }
    }

    /// Tells the core which other shards have ended.
    pub(super) fn note_lost(&mut self, now: Time, port: &mut Port) {
        while let Some(shard) = port.lost(&self.shared.mesh) {
            self.core.handle_peer_lost(now, shard);
        }
    }

    /// Hands on what the core has for other shards, as far as there is room.
    pub(super) fn hand_peers(&mut self) {
        hand_peers(&mut self.core, &self.port, &self.shared);
    }
}

/// Hands a connection, which came by the shared port with this key, to the shard that its last packet names. It goes once: one
/// that another shard has accepted stays where it is, as does one that names a shard that is none, and proves nothing by it.
pub(super) fn hand_connection<S: ShardCore>(
    core: &mut S,
    tcp: &mut TcpIo,
    (shared, traffic): (&Shared, &mut Traffic),
    port: Option<u64>,
    shard: u8,
) {
    let way = port.zip(shared.inboxes.get(usize::from(shard)));
    let Some(((port, inbox), stranger)) = way.and_then(|way| Some((way, tcp.give_away()?))) else {
        core.count_drop(DropReason::UnknownTuple, 1);
        return tcp.judge(false);
    };
    if inbox.handed.push_connection(port, stranger) {
        traffic.handed_over += 1;
        inbox.notify();
    } else {
        traffic.hand_overs_lost += 1;
        core.count_drop(DropReason::HandOverFull, 1);
    }
}

/// Hands on what a core has for other shards, as far as there is room.
pub(super) fn hand_peers<S: ShardCore>(core: &mut S, port: &RefCell<Port>, shared: &Shared) {
    if !core.has_peer_output() {
        return;
    }
    let mut port = port.borrow_mut();
    for to in 0..port.shards() {
        if port.send(&shared.mesh, to, || core.poll_peer(to)) > 0 {
            shared.inboxes[usize::from(to)].raise_peers();
        }
    }
}
