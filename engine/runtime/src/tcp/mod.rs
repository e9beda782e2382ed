//! TCP connections of one shard (ICE over TCP, RFC 6544): listening sockets, and what comes and goes by them.
//!
//! Told: listening sockets, runs to send, connections to close, the time. Tells: whole packets in place in its own
//! buffer, which connections have closed, what was lost and why. To the shard a connection is a tuple: the listening
//! socket and the peer's address. Frames are `sfu_proto::framing`'s.
//!
//! It waits in an epoll of its own, which the media sockets' back ends watch like a socket, so that a shard without
//! TCP pays nothing. Nothing here blocks: what the kernel does not take waits in a bounded queue, and the connection is
//! watched for room only while something waits.
//!
//! A stranger costs little: until a connection has brought a signed Binding request it may say nothing but STUN, in
//! short frames, few of them, and not for long. One that came by a port of all shards may turn out to be another shard's by
//! what it says: it is given away, and adopted there with the rest of its time. Limits: [`TcpLimits`], which are this
//! shard's alone; a turn takes at most [`EVENTS`] events and one
//! read of [`READ`] bytes from each connection. A shard that has no descriptor left stops accepting for [`PAUSE`].
//! Known limit: two connections from one address and port to two of our addresses behind one wildcard socket look the
//! same; the second is refused.

mod admission;
mod connection;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use sfu_core::limits::TcpLimits;
use sfu_core::outbox::Outbox;
use sfu_wire::demux::{DatagramKind, classify};
use sfu_wire::drop_reason::{DropCounters, DropReason};
use sfu_wire::net::{SocketId, Tuple, canonical_addr};
use sfu_wire::time::Time;

use crate::media_io::Sent;
use crate::media_io::runs::{Run, Runs};
use crate::sys;
use admission::Admission;
use connection::{Connection, Read};

/// Events taken in one turn; what does not fit is still there in the next.
const EVENTS: usize = 64;
/// Bytes read from one connection in one turn.
const READ: usize = 16 << 10;
/// Connections accepted by one listener in one turn.
const ACCEPTS: usize = 64;
/// How long a listener rests when there is no descriptor, or no memory, for another connection.
const PAUSE: Duration = Duration::from_millis(100);
/// How often connections are looked at for silence.
const SWEEP: Duration = Duration::from_secs(5);
/// Marks listeners among the events; connections have an index and a generation of 31 bits.
const LISTENER: u64 = 1 << 63;

/// A packet that came by a connection.
#[derive(Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) tuple: Tuple,
    /// The connection was known to be a peer's already; else tell [`TcpIo::judge`] whether it is now.
    pub(crate) verified: bool,
    pub(crate) bytes: &'a mut [u8],
}

/// A connection that belongs to another shard, with what was read from it and not looked at.
#[derive(Debug)]
pub(crate) struct Stranger {
    pub(crate) fd: OwnedFd,
    /// Canonical.
    pub(crate) remote: SocketAddr,
    /// Whole frames and the beginning of one.
    pub(crate) bytes: Vec<u8>,
    /// Until then it has to have proven itself.
    pub(crate) until: Time,
    /// Packets that it has brought and that proved nothing.
    pub(crate) refused: usize,
}

#[derive(Debug)]
struct Listener {
    fd: OwnedFd,
    connections: HashSet<u32, foldhash::fast::RandomState>,
    /// It accepts nothing until then.
    paused_until: Option<Time>,
}

/// What was read last, as far as it has not been given out.
#[derive(Debug, Clone, Copy)]
struct Reading {
    index: u32,
    generation: u32,
    /// Where the frame begins that was given out last.
    last: usize,
    at: usize,
    end: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct TcpIo {
    epoll: OwnedFd,
    limits: TcpLimits,
    now: Time,
    listeners: HashMap<SocketId, Listener, foldhash::fast::RandomState>,
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    by_tuple: HashMap<Tuple, u32, foldhash::fast::RandomState>,
    admission: Admission,
    generation: u32,
    /// Connections in the order in which they were accepted, with the time until which they have to be verified. Some
    /// are verified, or gone.
    on_trial: VecDeque<(Time, u32, u32)>,
    /// Listeners that rest, in the order in which they began. Some are gone.
    paused: VecDeque<(Time, SocketId)>,
    events: Vec<libc::epoll_event>,
    readable: VecDeque<u32>,
    room: Box<[u8]>,
    reading: Option<Reading>,
    closed: VecDeque<Tuple>,
    losses: DropCounters,
    /// Bytes that wait, all connections together.
    pending: usize,
    next_sweep: Option<Time>,
    accepted: u64,
    given_away: u64,
    adopted: u64,
}

impl TcpIo {
    pub(crate) fn new(limits: TcpLimits) -> io::Result<Self> {
        let room = READ + limits.frame_bytes + sfu_proto::framing::FRAME_HEADER;
        Ok(Self {
            epoll: sys::epoll()?,
            limits,
            now: Time::ZERO,
            listeners: HashMap::default(),
            connections: Vec::new(),
            free: Vec::new(),
            by_tuple: HashMap::default(),
            admission: Admission::new(limits),
            generation: 0,
            on_trial: VecDeque::new(),
            paused: VecDeque::new(),
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS],
            readable: VecDeque::with_capacity(EVENTS),
            room: vec![0; room].into_boxed_slice(),
            reading: None,
            closed: VecDeque::new(),
            losses: DropCounters::default(),
            pending: 0,
            next_sweep: None,
            accepted: 0,
            given_away: 0,
            adopted: 0,
        })
    }

    /// Readable while there is something to do.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Takes a listening, non-blocking socket.
    pub(crate) fn add_listener(&mut self, id: SocketId, fd: OwnedFd) -> io::Result<()> {
        let token = LISTENER | u64::from(id.0);
        sys::epoll_control(self.epoll.as_fd(), libc::EPOLL_CTL_ADD, fd.as_fd(), libc::EPOLLIN, token)?;
        self.listeners.insert(id, Listener { fd, connections: HashSet::default(), paused_until: None });
        Ok(())
    }

    /// Closes a listener and its connections. Unknown ids are ignored.
    pub(crate) fn remove_listener(&mut self, id: SocketId) {
        let Some(listener) = self.listeners.remove(&id) else { return };
        listener.connections.into_iter().for_each(|index| self.close(index, None));
    }

    /// Begins a turn: accepts, sends what can be sent now, notes what can be read, and serves what is due. `ready` says
    /// whether [`fd`](Self::fd) was seen to be readable.
    pub(crate) fn begin(&mut self, now: Time, ready: bool) {
        self.now = self.now.max(now);
        if ready {
            let count = sys::epoll_poll(self.epoll.as_fd(), &mut self.events);
            for at in 0..count {
                let (flags, token) = (self.events[at].events as i32, self.events[at].u64);
                if token & LISTENER != 0 {
                    self.accept(SocketId(token as u32));
                } else {
                    self.connection_event(token as u32, (token >> 32) as u32, flags);
                }
            }
        }
        if self.next_timeout().is_some_and(|at| at <= self.now) {
            self.handle_timeout();
        }
    }

    fn connection_event(&mut self, index: u32, generation: u32, flags: i32) {
        let Some(connection) = self.connection(index).filter(|c| c.generation == generation) else { return };
        if flags & libc::EPOLLOUT != 0 && connection.is_waiting() {
            self.resume_sending(index);
        }
        if flags & !libc::EPOLLOUT != 0 {
            self.readable.push_back(index);
        }
    }

    /// The next packet of this turn.
    pub(crate) fn next_packet(&mut self) -> Option<Packet<'_>> {
        loop {
            let Reading { index, generation, mut at, end, .. } = self.reading.or_else(|| self.read_next())?;
            self.reading = None;
            let Some(connection) = self.connections.get_mut(index as usize).and_then(Option::as_mut) else { continue };
            if connection.generation != generation {
                continue;
            }
            let found = connection.next_packet(&self.room[..end], &mut at, &self.limits);
            let Ok(found) = found else {
                self.close(index, Some(DropReason::TcpFrame));
                continue;
            };
            let Some(packet) = found else { continue };
            let (tuple, verified) = (connection.tuple, connection.verified);
            if !verified && classify(&self.room[packet.clone()]) != Some(DatagramKind::Stun) {
                self.close(index, Some(DropReason::TcpUnverified));
                continue;
            }
            let last = packet.start - sfu_proto::framing::FRAME_HEADER;
            self.reading = Some(Reading { index, generation, last, at, end });
            return Some(Packet { tuple, verified, bytes: &mut self.room[packet] });
        }
    }

    /// What the shard made of the last packet of a connection that was not verified: whether it is now.
    pub(crate) fn judge(&mut self, verified: bool) {
        let Some(Reading { index, generation, .. }) = self.reading else { return };
        let Some(connection) = self.connections.get_mut(index as usize).and_then(Option::as_mut) else { return };
        if connection.generation != generation || connection.verified {
            return;
        }
        if verified {
            connection.verified = true;
            self.admission.verified(connection.tuple.remote.ip());
        } else if connection.refuse() > self.limits.unverified_packets {
            self.close(index, Some(DropReason::TcpUnverified));
        }
    }

    /// The last packet, of a connection that is not verified, is another shard's: takes the connection out with that packet
    /// and all that came behind it. `None`: it is here to stay.
    pub(crate) fn give_away(&mut self) -> Option<Stranger> {
        let Reading { index, generation, last, end, .. } = self.reading?;
        let connection = self.connection(index).filter(|c| c.generation == generation && !c.verified && !c.adopted)?;
        // Its descriptor lives on: what an epoll watches is not the descriptor but what is behind it.
        sys::epoll_control(self.epoll.as_fd(), libc::EPOLL_CTL_DEL, connection.fd.as_fd(), 0, 0).ok()?;
        let Connection { fd, tuple, until, refused, .. } = self.take(index)?;
        self.reading = None;
        self.given_away += 1;
        let bytes = self.room[last..end].to_vec();
        Some(Stranger { fd, remote: tuple.remote, bytes, until, refused })
    }

    /// Takes a connection that another shard has given away, as if it had come by this listener.
    pub(crate) fn adopt(&mut self, now: Time, id: SocketId, stranger: Stranger) {
        self.now = self.now.max(now);
        let Stranger { fd, remote, bytes, until, refused } = stranger;
        if let Some(connection) = self.welcome(id, fd, remote, until) {
            connection.adopt(&bytes, refused);
            let index = self.by_tuple.get(&Tuple { socket: id, remote }).copied();
            self.readable.extend(index);
            self.adopted += 1;
        }
    }

    /// Reads from the next connection that has something.
    fn read_next(&mut self) -> Option<Reading> {
        while let Some(index) = self.readable.pop_front() {
            let Some(connection) = self.connections.get_mut(index as usize).and_then(Option::as_mut) else { continue };
            match connection.read(&mut self.room, READ, self.now) {
                Read::Some(end) => {
                    return Some(Reading { index, generation: connection.generation, last: 0, at: 0, end });
                }
                Read::Nothing => {}
                Read::End => self.close(index, None),
            }
        }
        None
    }

    /// The next connection that closed; the shard had verified it.
    pub(crate) fn poll_closed(&mut self) -> Option<Tuple> {
        self.closed.pop_front()
    }

    /// What was refused or lost since the last call.
    pub(crate) fn take_losses(&mut self) -> Option<DropCounters> {
        (self.losses.total() > 0).then(|| std::mem::take(&mut self.losses))
    }

    /// Sends the runs of `runs` that go by connections. What waits, or is lost, is nobody's concern here: it is counted
    /// by [`take_losses`](Self::take_losses).
    pub(crate) fn send_runs(&mut self, outbox: &Outbox, runs: &Runs) -> Sent {
        let mut sent = Sent::default();
        let mut rest = runs.by_connection();
        while let Some(first) = rest.first() {
            let same = rest.iter().take_while(|run| (run.socket, run.to) == (first.socket, first.to)).count();
            let (batch, later) = rest.split_at(same);
            self.send_batch(outbox, runs, batch, &mut sent);
            rest = later;
        }
        sent
    }

    /// Sends what goes by one connection.
    fn send_batch(&mut self, outbox: &Outbox, runs: &Runs, batch: &[Run], sent: &mut Sent) {
        let tuple = Tuple { socket: batch[0].socket, remote: batch[0].to };
        let count = batch.iter().map(|run| u64::from(run.count)).sum::<u64>();
        let known = self.by_tuple.get(&tuple).copied();
        let found = known.and_then(|index| Some((index, self.connections.get_mut(index as usize)?.as_mut()?)));
        let Some((index, connection)) = found else {
            self.losses.add_many(DropReason::TcpClosed, count);
            return;
        };
        let before = connection.waiting();
        let room = self.limits.room(self.pending);
        let outcome = connection.send(batch.iter().flat_map(|run| runs.segments(run, outbox)), room, self.now);
        self.pending = self.pending + connection.waiting() - before;
        let Ok(outcome) = outcome else {
            self.losses.add_many(DropReason::TcpClosed, count);
            self.close(index, None);
            return;
        };
        sent.messages += outcome.messages;
        sent.datagrams += count.saturating_sub(outcome.lost);
        self.losses.add_many(DropReason::TcpBufferFull, outcome.lost);
        self.watch(index);
    }

    fn resume_sending(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize).and_then(Option::as_mut) else { return };
        let before = connection.waiting();
        let outcome = connection.resume(self.now);
        self.pending = self.pending + connection.waiting() - before;
        match outcome {
            Ok(()) => self.watch(index),
            Err(_) => self.close(index, None),
        }
    }

    /// Watches a connection for room while something waits, and not otherwise.
    fn watch(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize).and_then(Option::as_mut) else { return };
        let Some(flags) = connection.changed_interest() else { return };
        let token = u64::from(connection.generation) << 32 | u64::from(index);
        if sys::epoll_control(self.epoll.as_fd(), libc::EPOLL_CTL_MOD, connection.fd.as_fd(), flags, token).is_err() {
            // What waits would wait for ever.
            self.close(index, None);
        }
    }

    /// The shard wants this connection closed. What waits is tried once more: there may be a farewell.
    pub(crate) fn disconnect(&mut self, tuple: &Tuple) {
        let Some(index) = self.by_tuple.get(tuple).copied() else { return };
        if let Some(connection) = self.connections.get_mut(index as usize).and_then(Option::as_mut) {
            let before = connection.waiting();
            let _ = connection.resume(self.now);
            self.pending = self.pending + connection.waiting() - before;
            // It knows already.
            if std::mem::take(&mut connection.verified) {
                self.admission.disowned(tuple.remote.ip());
            }
        }
        self.close(index, None);
    }

    fn accept(&mut self, id: SocketId) {
        for _ in 0..ACCEPTS {
            let Some(listener) = self.listeners.get_mut(&id) else { return };
            match sys::accept(listener.fd.as_fd()) {
                Ok((fd, from)) => {
                    let until = self.now + self.limits.half_open_time;
                    if self.welcome(id, fd, canonical_addr(from), until).is_some() {
                        self.accepted += 1;
                    }
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        self.losses.add(DropReason::TcpLimit);
                        return self.pause(id);
                    }
                    Some(libc::EAGAIN) => return,
                    // The error is that of a connection that died in the queue (accept(2)).
                    _ => {}
                },
            }
        }
    }

    fn pause(&mut self, id: SocketId) {
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        let token = LISTENER | u64::from(id.0);
        // Without interest, but still there: what fails here only makes the next turn come sooner.
        let _ = sys::epoll_control(self.epoll.as_fd(), libc::EPOLL_CTL_MOD, listener.fd.as_fd(), 0, token);
        let until = self.now + PAUSE;
        listener.paused_until = Some(until);
        self.paused.push_back((until, id));
    }

    /// A new connection: it is kept if the caps allow.
    fn welcome(&mut self, id: SocketId, fd: OwnedFd, remote: SocketAddr, until: Time) -> Option<&mut Connection> {
        let tuple = Tuple { socket: id, remote };
        let at_listener = self.listeners.get(&id)?.connections.len();
        let admitted = self.admission.admits(remote.ip(), at_listener) && !self.by_tuple.contains_key(&tuple);
        if !admitted {
            self.losses.add(DropReason::TcpLimit);
            return None;
        }
        if self.admission.is_crowded() {
            self.evict_oldest();
        }
        let index = self.free.pop().unwrap_or(self.connections.len() as u32);
        self.generation = self.generation.wrapping_add(1) & 0x7fff_ffff;
        let generation = self.generation;
        let token = u64::from(generation) << 32 | u64::from(index);
        if sys::epoll_control(self.epoll.as_fd(), libc::EPOLL_CTL_ADD, fd.as_fd(), connection::READABLE, token).is_err()
        {
            self.free.push(index);
            self.losses.add(DropReason::TcpLimit);
            return None;
        }
        if self.connections.len() <= index as usize {
            self.connections.resize_with(index as usize + 1, || None);
        }
        self.by_tuple.insert(tuple, index);
        self.admission.admit(remote.ip());
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.connections.insert(index);
        }
        if self.on_trial.len() >= 2 * self.limits.half_open {
            let connections = &self.connections;
            self.on_trial.retain(|(_, index, generation)| is_on_trial(connections, *index, *generation));
        }
        // One that was adopted has less time left than the last one that came.
        let at = self.on_trial.partition_point(|(other, ..)| *other <= until);
        self.on_trial.insert(at, (until, index, generation));
        self.next_sweep.get_or_insert(self.now + SWEEP);
        let place = self.connections.get_mut(index as usize)?;
        Some(place.insert(Connection::new(tuple, fd, generation, (self.now, until))))
    }

    /// Whoever means it says so at once; of those who have not, the oldest gives way. To refuse the newcomer instead
    /// would let a few idlers keep everybody out.
    fn evict_oldest(&mut self) {
        while let Some((_, index, generation)) = self.on_trial.pop_front() {
            if is_on_trial(&self.connections, index, generation) {
                return self.close(index, Some(DropReason::TcpLimit));
            }
        }
    }

    /// Ends a connection, for a reason that is counted or because the peer did.
    fn close(&mut self, index: u32, reason: Option<DropReason>) {
        let Some(connection) = self.take(index) else { return };
        if let Some(reason) = reason {
            self.losses.add(reason);
        }
        if connection.verified {
            self.closed.push_back(connection.tuple);
        }
    }

    /// Takes a connection out of all tables.
    fn take(&mut self, index: u32) -> Option<Connection> {
        let connection = self.connections.get_mut(index as usize).and_then(Option::take)?;
        self.free.push(index);
        let tuple = connection.tuple;
        self.by_tuple.remove(&tuple);
        self.pending -= connection.waiting();
        self.admission.gone(tuple.remote.ip(), connection.verified);
        if let Some(listener) = self.listeners.get_mut(&tuple.socket) {
            listener.connections.remove(&index);
        }
        if self.by_tuple.is_empty() {
            self.next_sweep = None;
        }
        Some(connection)
    }

    /// Something is to be told before the next sleep.
    pub(crate) fn has_work(&self) -> bool {
        !self.closed.is_empty() || !self.readable.is_empty()
    }

    /// When [`begin`](Self::begin) is due at the latest.
    pub(crate) fn next_timeout(&self) -> Option<Time> {
        let trial = self.on_trial.front().map(|(until, ..)| *until);
        let pause = self.paused.front().map(|(until, _)| *until);
        pause.into_iter().chain(trial).chain(self.next_sweep).min()
    }

    fn handle_timeout(&mut self) {
        while self.on_trial.front().is_some_and(|(until, ..)| *until <= self.now) {
            let Some((_, index, generation)) = self.on_trial.pop_front() else { break };
            if is_on_trial(&self.connections, index, generation) {
                self.close(index, Some(DropReason::TcpUnverified));
            }
        }
        while self.paused.front().is_some_and(|(until, _)| *until <= self.now) {
            let Some((until, id)) = self.paused.pop_front() else { break };
            let Some(listener) = self.listeners.get_mut(&id) else { continue };
            // A listener that came later may bear the same number.
            if listener.paused_until.take_if(|own| *own == until).is_some() {
                let token = LISTENER | u64::from(id.0);
                let (epoll, fd) = (self.epoll.as_fd(), listener.fd.as_fd());
                if sys::epoll_control(epoll, libc::EPOLL_CTL_MOD, fd, libc::EPOLLIN, token).is_err() {
                    self.pause(id);
                }
            }
        }
        if self.next_sweep.is_some_and(|at| at <= self.now) {
            self.next_sweep = Some(self.now + SWEEP);
            self.sweep();
        }
    }

    /// Closes connections that are dead without having said so.
    fn sweep(&mut self) {
        for index in 0..self.connections.len() as u32 {
            if self.connection(index).is_some_and(|c| c.is_dead(self.now, &self.limits)) {
                self.close(index, Some(DropReason::TcpIdle));
            }
        }
    }

    /// Counters for whoever asks the shard.
    pub(crate) fn counters(&self) -> [(&'static str, u64); 7] {
        [
            ("tcp_listeners", self.listeners.len() as u64),
            ("tcp_connections", self.by_tuple.len() as u64),
            ("tcp_half_open", self.admission.half_open() as u64),
            ("tcp_accepted", self.accepted),
            ("tcp_handed_over", self.given_away),
            ("tcp_taken_over", self.adopted),
            ("tcp_bytes_waiting", self.pending as u64),
        ]
    }

    fn connection(&self, index: u32) -> Option<&Connection> {
        self.connections.get(index as usize)?.as_ref()
    }
}

/// The connection is there and not verified yet.
fn is_on_trial(connections: &[Option<Connection>], index: u32, generation: u32) -> bool {
    let connection = connections.get(index as usize).and_then(Option::as_ref);
    connection.is_some_and(|c| c.generation == generation && !c.verified)
}
