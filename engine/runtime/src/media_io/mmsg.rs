//! The back end on epoll, recvmmsg and sendmmsg.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use sfu_core::outbox::Outbox;
use sfu_wire::net::{SocketId, canonical_addr};

use super::messages::{Outgoing, RECEIVE_CONTROL, Received, parse_control};
use super::runs::{Routes, Run, Runs};
use super::verdict::{Call, Faults, Verdict, judge};
use super::{BATCH, Datagram, MESSAGE_ROOM, MediaIo, Sent, Woken};
use crate::backlog::Held;
use crate::sys::{self, SockAddr};

/// Marks the mailbox among the events of epoll; socket ids have 32 bits.
const WAKE: u64 = u64::MAX;
/// Marks a ring of glommio's.
const RING: u64 = u64::MAX - 1;
/// Marks what TCP connections wait in.
const TCP: u64 = u64::MAX - 2;
/// Events taken per sleep; what does not fit is still there the next time.
const EVENTS: usize = 256;
/// How long a flush may wait, once, for room in a socket's buffer.
const PATIENCE: Duration = Duration::from_millis(1);

/// Aligned as the kernel wants control data.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; RECEIVE_CONTROL]);

struct Socket {
    fd: OwnedFd,
    ipv6: bool,
    /// It stands in the queue of ready sockets.
    ready: bool,
}

/// Messages on their way in. The vectors never grow, so pointers between them hold.
struct Incoming {
    room: Box<[u8]>,
    names: Vec<SockAddr>,
    controls: Vec<Control>,
    pieces: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    owners: [SocketId; BATCH],
    /// How many messages are in.
    filled: usize,
    /// The message that is being taken apart.
    at: usize,
    /// Where its next datagram begins.
    offset: usize,
    /// What its control data says.
    current: Option<(SocketAddr, Received)>,
}

// The pointers in `pieces` and `headers` point into the other fields, which live on the heap and
// are never reallocated.
impl Incoming {
    fn new() -> Self {
        let mut room = vec![0u8; BATCH * MESSAGE_ROOM].into_boxed_slice();
        let mut names = vec![SockAddr::empty(); BATCH];
        let mut controls = vec![Control([0; RECEIVE_CONTROL]); BATCH];
        let mut pieces: Vec<libc::iovec> = room
            .chunks_exact_mut(MESSAGE_ROOM)
            .map(|chunk| libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: MESSAGE_ROOM })
            .collect();
        let headers = (0..BATCH)
            .map(|i| {
                // SAFETY: zeros are a valid msghdr.
                let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
                header.msg_name = (&raw mut names[i].storage).cast();
                header.msg_control = controls[i].0.as_mut_ptr().cast();
                header.msg_iov = &raw mut pieces[i];
                header.msg_iovlen = 1;
                libc::mmsghdr { msg_hdr: header, msg_len: 0 }
            })
            .collect();
        Self {
            room,
            names,
            controls,
            pieces,
            headers,
            owners: [SocketId(0); BATCH],
            filled: 0,
            at: 0,
            offset: 0,
            current: None,
        }
    }

    /// Messages that have not been taken apart.
    fn left(&self) -> usize {
        self.filled - self.at
    }

    fn reset(&mut self) {
        (self.filled, self.at, self.offset, self.current) = (0, 0, 0, None);
    }

    /// One recvmmsg into what is free.
    fn receive(&mut self, id: SocketId, fd: BorrowedFd<'_>) -> io::Result<usize> {
        let free = &mut self.headers[self.filled..];
        for header in free.iter_mut() {
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = RECEIVE_CONTROL;
            header.msg_hdr.msg_flags = 0;
        }
        debug_assert_eq!(self.pieces.len(), BATCH);
        // SAFETY: each header points at a name, a control buffer and one piece of `room`, all owned
        // by `self`, of the sizes said, and borrowed mutably through `self` during the call.
        let n = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                free.as_mut_ptr(),
                free.len() as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if n < 0 {
            return Err(io::Error::last_os_error());
        }
        let n = n as usize;
        self.owners[self.filled..self.filled + n].fill(id);
        self.filled += n;
        Ok(n)
    }

    fn next(&mut self) -> Option<Datagram<'_>> {
        while self.at < self.filled {
            let len = (self.headers[self.at].msg_len as usize).min(MESSAGE_ROOM);
            let Some((from, received)) = self.current.or_else(|| self.open()) else {
                self.at += 1;
                continue;
            };
            let start = self.offset;
            let segment = if received.segment == 0 { len } else { received.segment };
            let end = (start + segment).min(len);
            let slot = self.at;
            if end == len {
                (self.at, self.offset, self.current) = (self.at + 1, 0, None);
            } else {
                self.offset = end;
            }
            let bytes = &mut self.room[slot * MESSAGE_ROOM + start..slot * MESSAGE_ROOM + end];
            return Some(Datagram { socket: self.owners[slot], from, stamp: received.stamp, bytes });
        }
        None
    }

    /// Reads name and control data of the message at hand.
    fn open(&mut self) -> Option<(SocketAddr, Received)> {
        let from = canonical_addr(self.names[self.at].addr()?);
        let len = self.headers[self.at].msg_hdr.msg_controllen.min(RECEIVE_CONTROL);
        let received = parse_control(&self.controls[self.at].0[..len]);
        self.current = Some((from, received));
        self.current
    }
}

/// See the module.
pub(super) struct Mmsg {
    epoll: OwnedFd,
    rings: Vec<RawFd>,
    watching: bool,
    sockets: HashMap<SocketId, Socket, foldhash::fast::RandomState>,
    ready: VecDeque<SocketId>,
    events: Vec<libc::epoll_event>,
    incoming: Incoming,
    outgoing: Outgoing,
    routes: Routes,
    faults: Faults,
}

impl Mmsg {
    pub(super) fn new(wake: BorrowedFd<'_>, rings: &[RawFd]) -> io::Result<Self> {
        let io = Self {
            epoll: sys::epoll()?,
            rings: rings.to_vec(),
            watching: false,
            sockets: HashMap::default(),
            ready: VecDeque::new(),
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS],
            incoming: Incoming::new(),
            outgoing: Outgoing::new(),
            routes: Routes::default(),
            faults: Faults::default(),
        };
        io.control(libc::EPOLL_CTL_ADD, wake.as_raw_fd(), WAKE)?;
        Ok(io)
    }

    fn control(&self, operation: i32, fd: RawFd, data: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: data };
        // SAFETY: `event` is a valid place.
        let failed = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &raw mut event) };
        if failed < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// epoll_pwait2: nanoseconds, where epoll_wait has milliseconds. In every kernel that
    /// preflight lets pass (5.11).
    fn wait(&mut self, timeout: Option<Duration>) -> usize {
        let spec = timeout.map(sys::timespec);
        let spec_ptr = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `events` has room for as many events as are asked for; the timeout is valid or
        // null; there is no signal mask.
        let n = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len() as libc::c_int,
                spec_ptr,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        usize::try_from(n).unwrap_or(0).min(self.events.len())
    }

    /// Sends runs of one socket.
    fn send_batch(&mut self, outbox: &Outbox, runs: &Runs, batch: &[Run], patient: &mut bool, held: &mut Held) -> Sent {
        let mut sent = Sent::default();
        let Some(socket) = self.sockets.get(&batch[0].socket) else {
            sent.failed = batch.iter().map(|run| u64::from(run.count)).sum();
            return sent;
        };
        self.outgoing.clear();
        for run in batch {
            self.outgoing.push(run, socket.ipv6, runs, outbox);
        }
        let mut done = 0;
        let mut repeated = usize::MAX;
        while done < batch.len() {
            let run = &batch[done];
            let result = match self.faults.inject(Call::Send(run.count)) {
                Some(errno) => Err(errno),
                None => send_messages(socket.fd.as_fd(), &mut self.outgoing.headers()[done..]),
            };
            let errno = match result {
                Ok(taken) => {
                    let taken = &batch[done..done + taken];
                    sent.messages += taken.len() as u64;
                    sent.datagrams += taken.iter().map(|run| u64::from(run.count)).sum::<u64>();
                    done += taken.len();
                    continue;
                }
                Err(errno) => errno,
            };
            match judge(errno, run.count) {
                Verdict::Again => {}
                Verdict::AgainOnce if repeated != done => repeated = done,
                Verdict::Wait if std::mem::take(patient) => {
                    sys::poll_out(socket.fd.as_fd(), PATIENCE);
                }
                Verdict::Wait => {
                    held.stuff(run.socket);
                    held.hold(batch[done..].iter().flat_map(|run| runs.indices(run)));
                    return sent;
                }
                Verdict::Singly { remember } => {
                    if remember {
                        self.routes.refuse_runs(run.socket, run.to.ip());
                    }
                    send_singly(socket, run, runs, outbox, &mut self.faults, &mut sent);
                    done += 1;
                }
                Verdict::AgainOnce | Verdict::Drop => {
                    sent.failed += u64::from(run.count);
                    done += 1;
                }
            }
        }
        sent
    }
}

/// One sendmmsg: how many were taken (at least one), or the errno of the first.
fn send_messages(fd: BorrowedFd<'_>, headers: &mut [libc::mmsghdr]) -> Result<usize, i32> {
    // SAFETY: the headers point into an `Outgoing` and an `Outbox` that the caller has borrowed and
    // not changed since they were made.
    let n = unsafe { libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, libc::MSG_DONTWAIT) };
    match usize::try_from(n) {
        Ok(n) if n > 0 => Ok(n),
        Ok(_) => Err(libc::EAGAIN),
        Err(_) => Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)),
    }
}

/// Sends the datagrams of a refused run one by one. Rare, so it may allocate.
fn send_singly(socket: &Socket, run: &Run, runs: &Runs, outbox: &Outbox, faults: &mut Faults, sent: &mut Sent) {
    let mut message = Outgoing::new();
    for bytes in runs.segments(run, outbox) {
        message.clear();
        message.push_single(run.to, socket.ipv6, bytes);
        let result = match faults.inject(Call::Send(1)) {
            Some(errno) => Err(errno),
            None => send_messages(socket.fd.as_fd(), message.headers()),
        };
        match result {
            Ok(_) => {
                sent.datagrams += 1;
                sent.messages += 1;
            }
            Err(_) => sent.failed += 1,
        }
    }
}

impl MediaIo for Mmsg {
    fn add_socket(&mut self, id: SocketId, local: SocketAddr, fd: OwnedFd) -> io::Result<()> {
        receive_options(fd.as_fd());
        self.control(libc::EPOLL_CTL_ADD, fd.as_raw_fd(), u64::from(id.0))?;
        self.sockets.insert(id, Socket { fd, ipv6: local.is_ipv6(), ready: false });
        Ok(())
    }

    fn remove_socket(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.remove(&id) {
            let _ = self.control(libc::EPOLL_CTL_DEL, socket.fd.as_raw_fd(), 0);
            self.routes.forget(id);
            self.ready.retain(|ready| *ready != id);
        }
    }

    fn recv_batch(&mut self) -> usize {
        if self.incoming.left() > 0 {
            return self.incoming.left();
        }
        self.incoming.reset();
        // Each socket is asked at most once per batch: one that fails or is busy waits its turn.
        for _ in 0..self.ready.len() {
            if self.incoming.filled == BATCH {
                break;
            }
            let Some(id) = self.ready.pop_front() else { break };
            let Some(socket) = self.sockets.get_mut(&id) else { continue };
            let wanted = BATCH - self.incoming.filled;
            let result = match self.faults.inject(Call::Receive) {
                Some(errno) => Err(io::Error::from_raw_os_error(errno)),
                None => self.incoming.receive(id, socket.fd.as_fd()),
            };
            // A full take or an interrupted one says nothing about what is left. Any other error is
            // cleared by having been told; epoll speaks up again if there is more.
            let again = match result {
                Ok(n) => n == wanted,
                Err(error) => error.kind() == io::ErrorKind::Interrupted,
            };
            socket.ready = again;
            if again {
                self.ready.push_back(id);
            }
        }
        self.incoming.filled
    }

    fn next_datagram(&mut self) -> Option<Datagram<'_>> {
        self.incoming.next()
    }

    fn routes(&self) -> &Routes {
        &self.routes
    }

    fn send_runs(&mut self, outbox: &Outbox, runs: &Runs, held: &mut Held) -> Sent {
        let mut total = Sent::default();
        let mut patient = true;
        let mut rest = runs.runs();
        while let Some(first) = rest.first() {
            let same = rest.iter().take(BATCH).take_while(|run| run.socket == first.socket).count();
            let (batch, later) = rest.split_at(same);
            rest = later;
            if held.is_stuffed(first.socket) {
                held.hold(batch.iter().flat_map(|run| runs.indices(run)));
                continue;
            }
            let sent = self.send_batch(outbox, runs, batch, &mut patient, held);
            total.datagrams += sent.datagrams;
            total.messages += sent.messages;
            total.failed += sent.failed;
        }
        total
    }

    fn has_backlog(&self) -> bool {
        !self.ready.is_empty() || self.incoming.left() > 0
    }

    fn watch_rings(&mut self, on: bool) {
        if self.watching != on {
            self.watching = on;
            let operation = if on { libc::EPOLL_CTL_ADD } else { libc::EPOLL_CTL_DEL };
            for ring in &self.rings {
                // Without the watch there is still the tick.
                let _ = self.control(operation, *ring, RING);
            }
        }
    }

    fn watch_tcp(&mut self, epoll: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, epoll.as_raw_fd(), TCP)
    }

    fn park(&mut self, timeout: Option<Duration>) -> Woken {
        let mut woken = Woken::default();
        for index in 0..self.wait(timeout) {
            let data = self.events[index].u64;
            match data {
                WAKE => woken.by_mailbox = true,
                RING => woken.by_ring = true,
                TCP => woken.by_tcp = true,
                id => {
                    let id = SocketId(id as u32);
                    if let Some(socket) = self.sockets.get_mut(&id)
                        && !socket.ready
                    {
                        socket.ready = true;
                        self.ready.push_back(id);
                    }
                }
            }
        }
        woken
    }

    #[cfg(test)]
    fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }
}

/// Coalesced receive and receive stamps; a kernel without them only makes it slower or coarser.
pub(super) fn receive_options(fd: BorrowedFd<'_>) {
    let _ = sys::set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
    let _ = sys::set_option(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
}
