//! The back end on io_uring: one multishot recvmsg for each socket into a ring of provided buffers,
//! and sends in batches of one submission.
//!
//! The ring runs its deferred work only when this thread enters it (DEFER_TASKRUN), so completions
//! come in batches and never interrupt. A multishot receive ends when the buffers run out (ENOBUFS);
//! it is armed again as soon as buffers have been given back, not by a timer.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use sfu_core::outbox::Outbox;
use sfu_wire::net::{SocketId, canonical_addr};

use super::buffers::{Buffers, GROUP};
use super::messages::{Outgoing, RECEIVE_CONTROL, Received, parse_control};
use super::mmsg::receive_options;
use super::runs::{Routes, Run, Runs};
use super::verdict::{Call, Faults, Verdict, judge};
use super::{BATCH, Datagram, MediaIo, Sent, Woken};
use crate::backlog::Held;
use crate::sys::{self, parse_sockaddr};

/// Submissions that fit into the ring: a batch of sends, and as many receives to arm.
const SUBMISSIONS: u32 = 256;
/// Completions that fit: every buffer, every send, with room to spare.
const COMPLETIONS: u32 = 4096;
/// Room for the name in a received message.
const NAME_ROOM: usize = 28;
/// How long a flush may wait, once, for room in a socket's buffer.
const PATIENCE: Duration = Duration::from_millis(1);
/// A receive that failed for another reason than missing buffers is armed again by the next turn;
/// one that keeps failing makes turns at most this often.
const BACK_OFF: Duration = Duration::from_millis(5);
/// Turns of the wait for a cancelled receive.
const CANCEL_TURNS: usize = 1000;

/// What a completion is about, in the upper eight bits of its user data. Receives carry the socket
/// in the lower 32 bits and a generation in the 24 between: an id may be used again.
const RECEIVE: u64 = 1;
const SEND: u64 = 2;
const WAKE: u64 = 3;
const RING: u64 = 4;
const CANCEL: u64 = 5;
const TCP: u64 = 6;

fn tag(kind: u64, generation: u32, value: u32) -> u64 {
    kind << 56 | u64::from(generation & 0xff_ffff) << 32 | u64::from(value)
}

/// Opens a ring as this back end wants it.
pub(crate) fn open_ring(submissions: u32, completions: u32) -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(completions)
        .build(submissions)
}

struct Socket {
    fd: OwnedFd,
    ipv6: bool,
    generation: u32,
    armed: bool,
    /// The last receive failed for another reason than missing buffers.
    failing: bool,
}

/// A completed receive that has not been taken apart.
#[derive(Clone, Copy)]
struct Arrived {
    socket: SocketId,
    buffer: u16,
    len: u32,
}

/// The message that is being taken apart.
struct Current {
    arrived: Arrived,
    from: SocketAddr,
    received: Received,
    /// Where the next datagram begins in the buffer, and where the payload ends.
    start: usize,
    end: usize,
    /// All datagrams are given out; the buffer goes back at the next call.
    spent: bool,
}

/// See the module. Fields drop in order: the ring first, so that the kernel is done with the
/// buffers and the message template when they go.
pub(super) struct Uring {
    ring: IoUring,
    buffers: Buffers,
    /// What every multishot receive asks for.
    template: Box<libc::msghdr>,
    sockets: HashMap<SocketId, Socket, foldhash::fast::RandomState>,
    generation: u32,
    /// Sockets whose receive must be armed again.
    unarmed: Vec<SocketId>,
    arrived: VecDeque<Arrived>,
    current: Option<Current>,
    /// Results of the sends of one batch.
    results: Vec<Option<i32>>,
    outgoing: Outgoing,
    routes: Routes,
    wake: RawFd,
    wake_armed: bool,
    /// What TCP connections wait in, and whether it is polled.
    tcp: Option<(RawFd, bool)>,
    rings: Vec<RawFd>,
    watching: bool,
    rings_armed: Vec<bool>,
    woken: Woken,
    faults: Faults,
}

impl Uring {
    pub(super) fn new(wake: BorrowedFd<'_>, rings: &[RawFd]) -> io::Result<Self> {
        let ring = open_ring(SUBMISSIONS, COMPLETIONS)?;
        let buffers = Buffers::register(&ring)?;
        // SAFETY: zeros are a valid msghdr.
        let mut template: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        template.msg_namelen = NAME_ROOM as libc::socklen_t;
        template.msg_controllen = RECEIVE_CONTROL;
        Ok(Self {
            ring,
            buffers,
            template,
            sockets: HashMap::default(),
            generation: 0,
            unarmed: Vec::new(),
            arrived: VecDeque::with_capacity(super::buffers::COUNT),
            current: None,
            results: vec![None; BATCH],
            outgoing: Outgoing::new(),
            routes: Routes::default(),
            wake: wake.as_raw_fd(),
            wake_armed: false,
            tcp: None,
            rings: rings.to_vec(),
            watching: false,
            rings_armed: vec![false; rings.len()],
            woken: Woken::default(),
            faults: Faults::default(),
        })
    }

    /// Queues a submission, making room if there is none.
    fn submit(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: whatever an entry points at outlives it: the template and the buffers live as
            // long as the ring, and sends are waited for before their messages change.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return;
            }
            let _ = self.ring.submit();
            self.reap();
        }
    }

    /// Takes all completions off the ring.
    fn reap(&mut self) {
        // Completions are few words each; they are copied out so that handling may use `self`.
        loop {
            let Some(entry) = self.ring.completion().next() else { return };
            self.complete(&entry);
        }
    }

    fn complete(&mut self, entry: &cqueue::Entry) {
        let data = entry.user_data();
        match data >> 56 {
            RECEIVE => self.complete_receive(entry, data),
            SEND => {
                if let Some(slot) = self.results.get_mut((data & 0xffff_ffff) as usize) {
                    *slot = Some(entry.result());
                }
            }
            WAKE => {
                self.woken.by_mailbox = true;
                self.wake_armed = cqueue::more(entry.flags());
            }
            TCP => {
                self.woken.by_tcp = true;
                if let Some((_, armed)) = &mut self.tcp {
                    *armed = false;
                }
            }
            RING => {
                self.woken.by_ring = true;
                if let Some(armed) = self.rings_armed.get_mut((data & 0xffff_ffff) as usize) {
                    *armed = false;
                }
            }
            _ => {}
        }
    }

    fn complete_receive(&mut self, entry: &cqueue::Entry, data: u64) {
        let id = SocketId(data as u32);
        let generation = (data >> 32) as u32 & 0xff_ffff;
        let buffer = cqueue::buffer_select(entry.flags());
        if buffer.is_some() {
            self.buffers.taken();
        }
        let result = self.faults.inject(Call::Receive).map_or(entry.result(), |errno| -errno);
        let socket = self.sockets.get_mut(&id).filter(|socket| socket.generation == generation);
        let known = socket.is_some();
        if let Some(socket) = socket {
            if !cqueue::more(entry.flags()) {
                socket.armed = false;
                self.unarmed.push(id);
            }
            socket.failing = result < 0 && result != -libc::ENOBUFS;
        }
        match (buffer, u32::try_from(result)) {
            (Some(buffer), Ok(len)) if known => self.arrived.push_back(Arrived { socket: id, buffer, len }),
            (Some(buffer), _) => self.buffers.give_back(buffer),
            (None, _) => {}
        }
    }

    /// Arms what is not armed, as far as there are buffers.
    fn arm(&mut self) {
        if !self.wake_armed {
            self.wake_armed = true;
            let poll =
                opcode::PollAdd::new(types::Fd(self.wake), libc::POLLIN as u32).build().user_data(tag(WAKE, 0, 0));
            self.submit(&poll);
        }
        if let Some((fd, armed @ false)) = &mut self.tcp {
            *armed = true;
            let poll = opcode::PollAdd::new(types::Fd(*fd), libc::POLLIN as u32).build().user_data(tag(TCP, 0, 0));
            self.submit(&poll);
        }
        if self.watching {
            for index in 0..self.rings.len() {
                if !std::mem::replace(&mut self.rings_armed[index], true) {
                    let poll = opcode::PollAdd::new(types::Fd(self.rings[index]), libc::POLLIN as u32).build();
                    self.submit(&poll.user_data(tag(RING, 0, index as u32)));
                }
            }
        }
        if self.buffers.is_empty() {
            return;
        }
        while let Some(id) = self.unarmed.pop() {
            let Some(socket) = self.sockets.get_mut(&id) else { continue };
            if std::mem::replace(&mut socket.armed, true) {
                continue;
            }
            let fd = types::Fd(socket.fd.as_raw_fd());
            let data = tag(RECEIVE, socket.generation, id.0);
            let receive = opcode::RecvMsgMulti::new(fd, &raw const *self.template, GROUP).build().user_data(data);
            self.submit(&receive);
        }
    }

    /// Opens the next message; false when there is none.
    fn open_next(&mut self) -> bool {
        while let Some(arrived) = self.arrived.pop_front() {
            let bytes = self.buffers.bytes(arrived.buffer, arrived.len as usize);
            let opened = types::RecvMsgOut::parse(bytes, &self.template).ok().and_then(|message| {
                let from = canonical_addr(parse_sockaddr(message.name_data())?);
                let payload = message.payload_data();
                let start = payload.as_ptr() as usize - bytes.as_ptr() as usize;
                Some((from, parse_control(message.control_data()), start, start + payload.len()))
            });
            match opened {
                Some((from, received, start, end)) if self.sockets.contains_key(&arrived.socket) => {
                    self.current = Some(Current { arrived, from, received, start, end, spent: false });
                    return true;
                }
                _ => self.buffers.give_back(arrived.buffer),
            }
        }
        false
    }

    /// Sends one batch of messages and waits until the kernel is done with it.
    fn send_messages(&mut self, batch: &[Run], held: &Held) {
        self.results[..batch.len()].fill(None);
        let headers: *mut libc::mmsghdr = self.outgoing.headers().as_mut_ptr();
        for (index, run) in batch.iter().enumerate() {
            if held.is_stuffed(run.socket) {
                self.results[index] = Some(-libc::EAGAIN);
                continue;
            }
            if let Some(errno) = self.faults.inject(Call::Send(run.count)) {
                self.results[index] = Some(-errno);
                continue;
            }
            let Some(socket) = self.sockets.get(&run.socket) else {
                self.results[index] = Some(-libc::EBADF);
                continue;
            };
            // SAFETY: `headers` holds a message for each run of the batch.
            let header = unsafe { &raw const (*headers.add(index)).msg_hdr };
            let entry = opcode::SendMsg::new(types::Fd(socket.fd.as_raw_fd()), header)
                .flags(libc::MSG_DONTWAIT as u32)
                .build()
                .user_data(tag(SEND, 0, index as u32));
            self.submit(&entry);
        }
        // Sends that may not wait complete while they are submitted; the loop is for the kernel's
        // right to do otherwise.
        let _ = self.ring.submit();
        self.reap();
        while self.results[..batch.len()].iter().any(Option::is_none) {
            let _ = self.ring.submit_and_wait(1);
            self.reap();
        }
    }

    fn send_batch(
        &mut self,
        outbox: &Outbox,
        runs: &Runs,
        batch: &[Run],
        patient: &mut bool,
        outcome: &mut Outcome<'_>,
    ) {
        self.outgoing.clear();
        for run in batch {
            let ipv6 = self.sockets.get(&run.socket).is_some_and(|socket| socket.ipv6);
            self.outgoing.push(run, ipv6, runs, outbox);
        }
        self.send_messages(batch, outcome.held);
        for (index, run) in batch.iter().enumerate() {
            let result = self.results[index].unwrap_or(-libc::EIO);
            if result >= 0 {
                outcome.sent.messages += 1;
                outcome.sent.datagrams += u64::from(run.count);
            } else if outcome.held.is_stuffed(run.socket) {
                outcome.held.hold(runs.indices(run));
            } else {
                self.refused(-result, run, outbox, runs, patient, outcome);
            }
        }
    }

    /// A run was refused: tries what may help, with plain calls, since this is rare.
    fn refused(
        &mut self,
        errno: i32,
        run: &Run,
        outbox: &Outbox,
        runs: &Runs,
        patient: &mut bool,
        outcome: &mut Outcome<'_>,
    ) {
        let sent = &mut *outcome.sent;
        let Some(socket) = self.sockets.get(&run.socket) else {
            sent.failed += u64::from(run.count);
            return;
        };
        let mut message = Outgoing::new();
        let mut waited = false;
        match judge(errno, run.count) {
            Verdict::Singly { remember } => {
                if remember {
                    self.routes.refuse_runs(run.socket, run.to.ip());
                }
                for bytes in runs.segments(run, outbox) {
                    message.clear();
                    message.push_single(run.to, socket.ipv6, bytes);
                    let taken =
                        self.faults.inject(Call::Send(1)).is_none() && send_one(socket.fd.as_fd(), &mut message);
                    sent.messages += u64::from(taken);
                    sent.datagrams += u64::from(taken);
                    sent.failed += u64::from(!taken);
                }
                return;
            }
            Verdict::Wait if std::mem::take(patient) => {
                sys::poll_out(socket.fd.as_fd(), PATIENCE);
                waited = true;
            }
            Verdict::Again | Verdict::AgainOnce => {}
            Verdict::Wait => {
                outcome.held.stuff(run.socket);
                outcome.held.hold(runs.indices(run));
                return;
            }
            Verdict::Drop => {
                sent.failed += u64::from(run.count);
                return;
            }
        }
        message.push(run, socket.ipv6, runs, outbox);
        let taken = self.faults.inject(Call::Send(run.count)).is_none() && send_one(socket.fd.as_fd(), &mut message);
        if waited && !taken {
            outcome.held.stuff(run.socket);
            outcome.held.hold(runs.indices(run));
            return;
        }
        sent.messages += u64::from(taken);
        sent.datagrams += u64::from(run.count) * u64::from(taken);
        sent.failed += u64::from(run.count) * u64::from(!taken);
    }
}

/// Where a flush notes what became of its runs.
struct Outcome<'a> {
    sent: &'a mut Sent,
    held: &'a mut Held,
}

/// Sends one message with a plain call.
fn send_one(fd: BorrowedFd<'_>, message: &mut Outgoing) -> bool {
    let header = &raw const message.headers()[0].msg_hdr;
    // SAFETY: the message points into itself and into an outbox that the caller has borrowed.
    unsafe { libc::sendmsg(fd.as_raw_fd(), header, libc::MSG_DONTWAIT) >= 0 }
}

impl Drop for Uring {
    /// Closing a ring only begins to end what is under way in it: a receive that is still armed could fill a
    /// buffer after its memory has gone to somebody else. So receives are ended, and waited for, first.
    fn drop(&mut self) {
        let ids: Vec<SocketId> = self.sockets.keys().copied().collect();
        for id in ids {
            self.remove_socket(id);
        }
    }
}

impl MediaIo for Uring {
    fn add_socket(&mut self, id: SocketId, local: SocketAddr, fd: OwnedFd) -> io::Result<()> {
        receive_options(fd.as_fd());
        self.generation = self.generation.wrapping_add(1) & 0xff_ffff;
        let generation = self.generation;
        self.sockets.insert(id, Socket { fd, ipv6: local.is_ipv6(), generation, armed: false, failing: false });
        self.unarmed.push(id);
        Ok(())
    }

    fn remove_socket(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get(&id) else { return };
        if socket.armed {
            // The receive holds the socket open: wait until it is gone, so that the port is free.
            let data = tag(RECEIVE, socket.generation, id.0);
            self.submit(&opcode::AsyncCancel::new(data).build().user_data(tag(CANCEL, 0, 0)));
            for _ in 0..CANCEL_TURNS {
                if self.sockets.get(&id).is_none_or(|socket| !socket.armed) {
                    break;
                }
                let _ = self.ring.submit_and_wait(1);
                self.reap();
            }
        }
        self.sockets.remove(&id);
        self.routes.forget(id);
        self.unarmed.retain(|unarmed| *unarmed != id);
        // What had arrived goes with the socket: its id may name another one soon.
        let Self { arrived, buffers, .. } = self;
        arrived.retain(|message| {
            let stays = message.socket != id;
            if !stays {
                buffers.give_back(message.buffer);
            }
            stays
        });
    }

    fn recv_batch(&mut self) -> usize {
        self.arrived.len() + usize::from(self.current.as_ref().is_some_and(|current| !current.spent))
    }

    fn next_datagram(&mut self) -> Option<Datagram<'_>> {
        if let Some(spent) = self.current.take_if(|current| current.spent) {
            self.buffers.give_back(spent.arrived.buffer);
        }
        if self.current.is_none() && !self.open_next() {
            return None;
        }
        let current = self.current.as_mut()?;
        let size = if current.received.segment == 0 { current.end } else { current.received.segment };
        let (start, end) = (current.start, (current.start + size).min(current.end));
        current.start = end;
        current.spent = end == current.end;
        let (socket, from, stamp) = (current.arrived.socket, current.from, current.received.stamp);
        let bytes = &mut self.buffers.bytes_mut(current.arrived.buffer)[start..end];
        Some(Datagram { socket, from, stamp, bytes })
    }

    fn routes(&self) -> &Routes {
        &self.routes
    }

    fn send_runs(&mut self, outbox: &Outbox, runs: &Runs, held: &mut Held) -> Sent {
        let mut sent = Sent::default();
        let mut patient = true;
        for batch in runs.runs().chunks(BATCH) {
            self.send_batch(outbox, runs, batch, &mut patient, &mut Outcome { sent: &mut sent, held });
        }
        sent
    }

    fn has_backlog(&self) -> bool {
        !self.arrived.is_empty() || self.current.as_ref().is_some_and(|current| !current.spent)
    }

    fn watch_rings(&mut self, on: bool) {
        // Polls that are under way when the watch ends fire once more, at most.
        self.watching = on;
    }

    fn watch_tcp(&mut self, epoll: BorrowedFd<'_>) -> io::Result<()> {
        self.tcp = Some((epoll.as_raw_fd(), false));
        Ok(())
    }

    fn park(&mut self, timeout: Option<Duration>) -> Woken {
        self.arm();
        let failing = !self.unarmed.is_empty() || self.sockets.values().any(|socket| socket.failing);
        let timeout = if failing { Some(timeout.map_or(BACK_OFF, |t| t.min(BACK_OFF))) } else { timeout };
        let nothing_yet = self.ring.completion().is_empty();
        let want = usize::from(nothing_yet && timeout != Some(Duration::ZERO));
        let result = match timeout {
            Some(timeout) if want > 0 => {
                let span = types::Timespec::from(timeout);
                self.ring.submitter().submit_with_args(want, &types::SubmitArgs::new().timespec(&span))
            }
            _ => self.ring.submit_and_wait(want),
        };
        // A timeout or a signal is no error; a full completion queue is emptied below.
        drop(result);
        self.reap();
        std::mem::take(&mut self.woken)
    }

    #[cfg(test)]
    fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }
}
