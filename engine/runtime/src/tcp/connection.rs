//! One TCP connection: its descriptor, the frame that has begun to come, and what waits to go.
//!
//! Told: packets, the time, that there may be something to read or room to write. Tells: packets, what was lost, that it
//! has ended. Limits: [`TcpLimits`]. Left out: whose it is.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

use arrayvec::ArrayVec;
use sfu_core::limits::TcpLimits;
use sfu_proto::framing::{Deframer, FRAME_HEADER, FrameTooLong, Room, SendQueue};
use sfu_wire::net::Tuple;
use sfu_wire::time::Time;

use crate::sys;

/// What every connection is watched for.
pub(super) const READABLE: i32 = libc::EPOLLIN | libc::EPOLLRDHUP;
/// Packets of one system call; each is two pieces.
const BATCH: usize = 64;

/// What a read brought.
pub(super) enum Read {
    /// So many bytes are in the buffer, with what was kept before.
    Some(usize),
    /// Nothing now.
    Nothing,
    /// The connection has ended.
    End,
}

/// What became of packets.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) messages: u64,
    pub(super) lost: u64,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) tuple: Tuple,
    pub(super) fd: OwnedFd,
    pub(super) generation: u32,
    /// A transport has taken a signed Binding request by it.
    pub(super) verified: bool,
    /// Until then it has to be.
    pub(super) until: Time,
    /// Another shard has accepted it: it is not handed on again.
    pub(super) adopted: bool,
    deframer: Deframer,
    /// What is kept has not been looked at yet.
    untold: bool,
    queue: SendQueue,
    /// Packets that came before that and did not prove anything.
    pub(super) refused: usize,
    heard: Time,
    /// When the kernel last took something, or nothing waited.
    moved: Time,
    watched_for_room: bool,
}

impl Connection {
    pub(super) fn new(tuple: Tuple, fd: OwnedFd, generation: u32, (now, until): (Time, Time)) -> Self {
        Self {
            tuple,
            fd,
            generation,
            verified: false,
            until,
            adopted: false,
            deframer: Deframer::default(),
            untold: false,
            queue: SendQueue::default(),
            refused: 0,
            heard: now,
            moved: now,
            watched_for_room: false,
        }
    }

    /// It comes from another shard, which has read these bytes and refused so many packets.
    pub(super) fn adopt(&mut self, bytes: &[u8], refused: usize) {
        self.deframer.keep(bytes);
        (self.adopted, self.untold, self.refused) = (true, true, refused);
    }

    /// Reads once, behind what was kept.
    pub(super) fn read(&mut self, room: &mut [u8], most: usize, now: Time) -> Read {
        let kept = self.deframer.restore(room);
        if std::mem::take(&mut self.untold) {
            return Read::Some(kept);
        }
        let fresh = &mut room[kept..];
        let len = fresh.len().min(most);
        match sys::recv(self.fd.as_fd(), &mut fresh[..len]) {
            Ok(0) => Read::End,
            Ok(n) => {
                self.heard = now;
                Read::Some(kept + n)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                self.deframer.keep(&room[..kept]);
                Read::Nothing
            }
            Err(_) => Read::End,
        }
    }

    /// The next packet of what was read; keeps the rest when there is none.
    pub(super) fn next_packet(
        &mut self,
        bytes: &[u8],
        at: &mut usize,
        limits: &TcpLimits,
    ) -> Result<Option<Range<usize>>, FrameTooLong> {
        let max = if self.verified { limits.frame_bytes } else { limits.half_open_frame_bytes };
        let packet = Deframer::next_packet(bytes, at, max)?;
        if packet.is_none() {
            self.deframer.keep(&bytes[*at..]);
        }
        Ok(packet)
    }

    /// A packet proved nothing. Tells how many have.
    pub(super) fn refuse(&mut self) -> usize {
        self.refused += 1;
        self.refused
    }

    /// Sends packets, or queues what the kernel does not take.
    pub(super) fn send<'p>(
        &mut self,
        packets: impl Iterator<Item = &'p [u8]>,
        room: Room,
        now: Time,
    ) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut packets = packets.peekable();
        while packets.peek().is_some() {
            let batch: ArrayVec<&[u8], BATCH> = packets.by_ref().take(BATCH).collect();
            let mut taken = if self.queue.is_empty() { self.write(&batch, now)? } else { 0 };
            outcome.messages += u64::from(taken > 0);
            for packet in batch {
                let frame = packet.len() + FRAME_HEADER;
                if taken >= frame {
                    taken -= frame;
                } else if taken > 0 {
                    self.queue.push_rest(packet, std::mem::take(&mut taken));
                } else {
                    outcome.lost += self.queue.push(packet, room) as u64;
                }
            }
        }
        Ok(outcome)
    }

    /// Writes frames of these packets: how many bytes the kernel took.
    fn write(&mut self, batch: &[&[u8]], now: Time) -> io::Result<usize> {
        let headers: ArrayVec<[u8; FRAME_HEADER], BATCH> =
            batch.iter().map(|packet| (packet.len() as u16).to_be_bytes()).collect();
        let mut pieces: ArrayVec<IoSlice<'_>, { 2 * BATCH }> = ArrayVec::new();
        for (header, packet) in headers.iter().zip(batch) {
            pieces.push(IoSlice::new(header));
            pieces.push(IoSlice::new(packet));
        }
        self.moved = now;
        or_nothing(sys::send(self.fd.as_fd(), &pieces))
    }

    /// There is room again: sends what waits, once.
    pub(super) fn resume(&mut self, now: Time) -> io::Result<()> {
        let taken = {
            let pieces: ArrayVec<IoSlice<'_>, 6> =
                self.queue.slices().into_iter().filter(|s| !s.is_empty()).map(IoSlice::new).collect();
            if pieces.is_empty() { 0 } else { or_nothing(sys::send(self.fd.as_fd(), &pieces))? }
        };
        if taken > 0 {
            self.moved = now;
            self.queue.consume(taken);
        }
        Ok(())
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Something waits.
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// What to watch for from now on, if that is something else than before.
    pub(super) fn changed_interest(&mut self) -> Option<i32> {
        let wanted = self.is_waiting();
        let is_new = std::mem::replace(&mut self.watched_for_room, wanted) != wanted;
        is_new.then_some(if wanted { READABLE | libc::EPOLLOUT } else { READABLE })
    }

    /// Nothing came, or the peer read nothing, for too long.
    pub(super) fn is_dead(&self, now: Time, limits: &TcpLimits) -> bool {
        now.saturating_since(self.heard) >= limits.idle_time
            || (self.is_waiting() && now.saturating_since(self.moved) >= limits.stall_time)
    }
}

/// A full buffer takes nothing, which is no error.
fn or_nothing(sent: io::Result<usize>) -> io::Result<usize> {
    match sent {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
        other => other,
    }
}
