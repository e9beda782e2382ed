//! Buffers that the kernel fills on its own: a ring through which they are given to it.
//!
//! A buffer belongs to the kernel from [`give_back`](Buffers::give_back) until a completion names
//! it, and to us from then on. Room is reserved, not touched: memory is used as messages come.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use super::MESSAGE_ROOM;
use super::messages::RECEIVE_CONTROL;

/// How many buffers there are; a power of two.
pub(super) const COUNT: usize = 128;
/// The group by which receives name them.
pub(super) const GROUP: u16 = 0;
/// Room of one buffer: a whole coalesced message, and in front of it the kernel's header, the name
/// and the control data.
const ROOM: usize = MESSAGE_ROOM + 64 + RECEIVE_CONTROL;
const PAGE: usize = 4096;

/// Page-aligned memory for the ring's entries.
struct Entries(NonNull<BufRingEntry>);

impl Entries {
    fn layout() -> std::alloc::Layout {
        const { assert!(size_of::<BufRingEntry>() * COUNT <= PAGE) };
        // The size and the alignment are constants that fit, so this cannot fail.
        std::alloc::Layout::from_size_align(PAGE, PAGE).unwrap_or(std::alloc::Layout::new::<[u64; 512]>())
    }

    fn new() -> io::Result<Self> {
        // SAFETY: the layout has a size above zero.
        let memory = unsafe { std::alloc::alloc_zeroed(Self::layout()) };
        NonNull::new(memory.cast()).map(Self).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        // SAFETY: the memory came from the same layout.
        unsafe { std::alloc::dealloc(self.0.as_ptr().cast(), Self::layout()) };
    }
}

/// The buffers and their ring. It must outlive the `IoUring` that it is registered with.
pub(super) struct Buffers {
    entries: Entries,
    room: Box<[u8]>,
    tail: u16,
    /// Buffers that the kernel holds.
    held: usize,
}

impl Buffers {
    /// Registers the ring and gives all buffers to the kernel.
    pub(super) fn register(ring: &IoUring) -> io::Result<Self> {
        let entries = Entries::new()?;
        // SAFETY: the memory holds COUNT entries and lives until after the ring is gone (see the
        // order of fields of its owner).
        unsafe { ring.submitter().register_buf_ring_with_flags(entries.0.as_ptr() as u64, COUNT as u16, GROUP, 0)? };
        let mut buffers = Self { entries, room: vec![0; COUNT * ROOM].into_boxed_slice(), tail: 0, held: 0 };
        (0..COUNT as u16).for_each(|buffer| buffers.give_back(buffer));
        Ok(buffers)
    }

    /// The kernel has none: receives would end with ENOBUFS.
    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// The first `len` bytes of a buffer that a completion named.
    pub(super) fn bytes(&self, buffer: u16, len: usize) -> &[u8] {
        let start = usize::from(buffer) * ROOM;
        &self.room[start..start + len.min(ROOM)]
    }

    /// A buffer that a completion named.
    pub(super) fn bytes_mut(&mut self, buffer: u16) -> &mut [u8] {
        let start = usize::from(buffer) * ROOM;
        &mut self.room[start..start + ROOM]
    }

    /// A completion named a buffer: it is ours now.
    pub(super) fn taken(&mut self) {
        self.held = self.held.saturating_sub(1);
    }

    /// Gives a buffer to the kernel.
    pub(super) fn give_back(&mut self, buffer: u16) {
        let room = &mut self.room[usize::from(buffer) * ROOM..][..ROOM];
        let slot = usize::from(self.tail) % COUNT;
        // SAFETY: the slot is one of COUNT entries, which the kernel does not read before the tail
        // has passed it.
        let entry = unsafe { &mut *self.entries.0.as_ptr().add(slot) };
        entry.set_addr(room.as_mut_ptr() as u64);
        entry.set_len(ROOM as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        self.held += 1;
        // SAFETY: the tail lies inside the first entry, is two bytes and aligned; the kernel reads
        // it atomically, and Release publishes the entry before it.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.0.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }
}
