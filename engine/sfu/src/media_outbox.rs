//! Packets for the application that holds a direct transport: the way out that is no network.
//!
//! Told: a writer for each packet. Tells: packets in order, whole, until [`MediaOutbox::clear`]. Limits: bytes
//! and packets of one turn; a full outbox refuses with [`DropReason::TransmitFull`]. Its room is made when the first
//! packet comes, so shards without direct transports have none. Waiting for a slow application is the
//! runtime's business.

use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaEntry {
    /// The direct transport that it left.
    pub transport: ObjectId,
    /// RTCP, not RTP.
    pub rtcp: bool,
    start: u32,
    len: u16,
}

/// The packets of one turn.
#[derive(Debug)]
pub struct MediaOutbox {
    arena: Vec<u8>,
    fill: usize,
    entries: Vec<MediaEntry>,
    max_bytes: usize,
    max_packets: usize,
}

impl MediaOutbox {
    /// Makes an outbox for so much, without its room.
    pub fn new(max_bytes: usize, max_packets: usize) -> Self {
        Self {
            arena: Vec::new(),
            fill: 0,
            entries: Vec::new(),
            max_bytes: max_bytes.min(u32::MAX as usize),
            max_packets,
        }
    }

    /// Gives `write` room for `max_len` bytes; it says how many it used, 0 for nothing to send.
    pub(crate) fn try_push_with(
        &mut self,
        transport: ObjectId,
        rtcp: bool,
        max_len: usize,
        write: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>,
    ) -> Result<usize, DropReason> {
        if self.arena.is_empty() {
            self.arena.resize(self.max_bytes, 0);
            self.entries.reserve(self.max_packets);
        }
        if self.entries.len() >= self.max_packets || max_len > usize::from(u16::MAX) {
            return Err(DropReason::TransmitFull);
        }
        let slot = self.arena.get_mut(self.fill..self.fill + max_len).ok_or(DropReason::TransmitFull)?;
        let len = write(slot)?.min(max_len);
        if len > 0 {
            self.entries.push(MediaEntry { transport, rtcp, start: self.fill as u32, len: len as u16 });
            self.fill += len;
        }
        Ok(len)
    }

    /// Packets in order.
    pub fn entries(&self) -> &[MediaEntry] {
        &self.entries
    }

    /// The bytes of a packet.
    pub fn bytes(&self, entry: &MediaEntry) -> &[u8] {
        let start = entry.start as usize;
        self.arena.get(start..start + usize::from(entry.len)).unwrap_or(&[])
    }

    /// Forgets all packets: they have been handed on.
    pub fn clear(&mut self) {
        self.fill = 0;
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_wire::id::ObjectKind;

    #[test]
    fn packets_keep_their_order_and_a_full_outbox_refuses() {
        let id = ObjectId::new(0, ObjectKind::Transport, 1, 1);
        let mut outbox = MediaOutbox::new(10, 2);
        let mut push = |n: u8| {
            outbox.try_push_with(id, false, 5, |slot| {
                slot[0] = n;
                Ok(usize::from(n))
            })
        };
        assert_eq!((push(1), push(0), push(2), push(3)), (Ok(1), Ok(0), Ok(2), Err(DropReason::TransmitFull)));
        let all: Vec<&[u8]> = outbox.entries().iter().map(|e| outbox.bytes(e)).collect();
        assert_eq!(all, [&[1][..], &[2, 0]]);
        outbox.clear();
        assert!(outbox.entries().is_empty());
        assert_eq!(outbox.try_push_with(id, false, 11, |_| Ok(1)), Err(DropReason::TransmitFull));
    }
}
