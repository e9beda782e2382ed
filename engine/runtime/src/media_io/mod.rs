//! Media sockets of one shard, behind one small trait with two back ends.
//!
//! Told: sockets, and runs to send. Tells: datagrams with their kernel receive stamps, in place in
//! the back end's own buffers, and what became of the sends. Both receive coalesced datagrams
//! (UDP_GRO) and send runs as one message (UDP_SEGMENT).
//!
//! Limits: a batch is at most [`BATCH`] messages; nothing is allocated per packet; an error of one
//! datagram or one destination never closes a socket.
//!
//! Left out: TCP, which has an epoll of its own that a sleep here watches.

mod buffers;
mod messages;
mod mmsg;
pub(crate) mod runs;
mod uring;
mod verdict;

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use sfu_core::outbox::Outbox;
use sfu_wire::net::SocketId;

use crate::backlog::Held;
use crate::options::IoBackend;
use runs::{Routes, Runs};

/// Most messages of one kernel call.
pub(crate) const BATCH: usize = 64;
/// Room for one received message: the most that UDP_GRO may hand over at once.
pub(crate) const MESSAGE_ROOM: usize = 65_536;

/// A received datagram, in the back end's buffer.
#[derive(Debug)]
pub(crate) struct Datagram<'a> {
    pub(crate) socket: SocketId,
    /// Canonical.
    pub(crate) from: SocketAddr,
    /// Kernel receive stamp: nanoseconds since 1970, wall clock.
    pub(crate) stamp: Option<u64>,
    pub(crate) bytes: &'a mut [u8],
}

/// What became of a flush.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Datagrams that the kernel took.
    pub(crate) datagrams: u64,
    /// Messages in which it took them.
    pub(crate) messages: u64,
    /// Datagrams that it refused.
    pub(crate) failed: u64,
}

/// Why a sleep ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Woken {
    /// The mailbox's descriptor is readable.
    pub(crate) by_mailbox: bool,
    /// A ring of glommio's is ready.
    pub(crate) by_ring: bool,
    /// There is something to do for TCP connections.
    pub(crate) by_tcp: bool,
}

/// The sockets of one shard.
pub(crate) trait MediaIo {
    /// Takes a bound, blocking socket. On an error the socket is closed and forgotten.
    fn add_socket(&mut self, id: SocketId, local: SocketAddr, fd: OwnedFd) -> std::io::Result<()>;
    /// Closes a socket; its port is free when this returns. Unknown ids are ignored.
    fn remove_socket(&mut self, id: SocketId);
    /// Takes in what the kernel has, at most one batch; never waits. 0 is nothing. What is left of
    /// the batch before comes first.
    fn recv_batch(&mut self) -> usize;
    /// The next datagram of the batch.
    fn next_datagram(&mut self) -> Option<Datagram<'_>>;
    /// Routes on which runs must go singly.
    fn routes(&self) -> &Routes;
    /// Sends runs of `outbox`; on return the kernel needs none of its bytes. What a socket has no room for is held,
    /// and with it everything else for that socket.
    fn send_runs(&mut self, outbox: &Outbox, runs: &Runs, held: &mut Held) -> Sent;
    /// Something was left by the last batch, here or in the kernel.
    fn has_backlog(&self) -> bool;
    /// Whether the next sleeps end when one of glommio's rings is ready.
    fn watch_rings(&mut self, on: bool);
    /// The next sleeps end, too, when this descriptor is readable. It outlives the back end.
    fn watch_tcp(&mut self, epoll: BorrowedFd<'_>) -> std::io::Result<()>;
    /// Waits for datagrams, the mailbox, or `timeout`; `None` waits for ever.
    fn park(&mut self, timeout: Option<Duration>) -> Woken;
    /// Lets system calls fail.
    #[cfg(test)]
    fn faults(&mut self) -> &mut verdict::Faults;
}

#[cfg(test)]
mod tests;

/// Opens a back end. `wake` and `rings` outlive it: the owner of the loop holds them.
pub(crate) fn open(backend: IoBackend, wake: BorrowedFd<'_>, rings: &[RawFd]) -> std::io::Result<Box<dyn MediaIo>> {
    Ok(match backend {
        IoBackend::Default | IoBackend::Mmsg => Box::new(mmsg::Mmsg::new(wake, rings)?),
        IoBackend::IoUring => Box::new(uring::Uring::new(wake, rings)?),
    })
}

/// A small ring as the io_uring back end wants it, to see whether the kernel can.
pub(crate) fn probe_ring() -> std::io::Result<io_uring::IoUring> {
    uring::open_ring(4, 8)
}

/// Whether the kernel takes provided buffer rings.
pub(crate) fn has_buffer_rings(ring: &io_uring::IoUring) -> bool {
    let Ok(buffers) = buffers::Buffers::register(ring) else { return false };
    let gone = ring.submitter().unregister_buf_ring(buffers::GROUP).is_ok();
    drop(buffers);
    gone
}
