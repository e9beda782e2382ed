//! The shard's transmit arena: datagrams of one turn, one after the other, ready for the kernel.
//!
//! Told: a writer for each datagram (it writes in place, so that encryption is the only copy).
//! Tells: bytes and destinations, in the order in which they were written; the caller sends them and
//! calls [`Outbox::clear`]. Limits: bytes and datagrams, both fixed when made; a full arena refuses, video
//! before the rest, and never grows. It leaves grouping by destination to the sender.

use std::net::SocketAddr;

use sfu_wire::drop_reason::DropReason;
use sfu_wire::net::SocketId;

/// What is given up first when there is no room: the lesser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Video and retransmissions: what is lost of it is asked for again.
    Video,
    /// Audio.
    Audio,
    /// What calls hang on: RTCP, STUN, DTLS.
    Control,
}

/// One datagram to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// The socket to send from.
    pub socket: SocketId,
    /// Where to.
    pub to: SocketAddr,
    /// Where its bytes begin in the arena.
    pub offset: u32,
    /// How many there are.
    pub len: u16,
    /// When it is given up.
    pub urgency: Urgency,
}

/// The arena.
#[derive(Debug)]
pub struct Outbox {
    arena: Box<[u8]>,
    fill: usize,
    transmits: Vec<Transmit>,
    max_transmits: usize,
}

impl Outbox {
    /// Makes an arena for `bytes` and `datagrams`.
    pub fn new(bytes: usize, datagrams: usize) -> Self {
        Self {
            arena: vec![0; bytes.min(u32::MAX as usize)].into_boxed_slice(),
            fill: 0,
            transmits: Vec::with_capacity(datagrams),
            max_transmits: datagrams,
        }
    }

    /// Gives `write` a slot of `max_len` bytes; it says how many it used, or `None` for nothing to
    /// send, which is no error.
    pub fn push_with(
        &mut self,
        socket: SocketId,
        to: SocketAddr,
        max_len: usize,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Result<(), DropReason> {
        self.try_push_with(socket, to, max_len, |slot| Ok(write(slot).unwrap_or(0))).map(|_| ())
    }

    /// As [`Outbox::push_with`], for a writer that may refuse with a reason. A length of 0 sends
    /// nothing. Answers the length sent.
    pub fn try_push_with(
        &mut self,
        socket: SocketId,
        to: SocketAddr,
        max_len: usize,
        write: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>,
    ) -> Result<usize, DropReason> {
        self.try_push_as(Urgency::Control, socket, to, max_len, write)
    }

    /// As [`Outbox::try_push_with`], for media: video leaves an eighth of the arena to others, so that one
    /// packet with very many receivers costs no audio. What has no room is a [`DropReason::ShedVideo`] or
    /// [`DropReason::ShedAudio`].
    pub fn try_push_as(
        &mut self,
        urgency: Urgency,
        socket: SocketId,
        to: SocketAddr,
        max_len: usize,
        write: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>,
    ) -> Result<usize, DropReason> {
        let (part, full) = match urgency {
            Urgency::Video => (7, DropReason::ShedVideo),
            Urgency::Audio => (8, DropReason::ShedAudio),
            Urgency::Control => (8, DropReason::TransmitFull),
        };
        let end = self.fill.saturating_add(max_len);
        let room = end <= self.arena.len() / 8 * part + self.arena.len() % 8;
        let place = self.transmits.len() < self.max_transmits / 8 * part + self.max_transmits % 8;
        if !room || !place || max_len > usize::from(u16::MAX) {
            return Err(full);
        }
        let slot = self.arena.get_mut(self.fill..end).ok_or(full)?;
        let len = write(slot)?.min(max_len);
        if len > 0 {
            self.transmits.push(Transmit { socket, to, offset: self.fill as u32, len: len as u16, urgency });
            self.fill += len;
        }
        Ok(len)
    }

    /// Takes a datagram over from another arena, into all the room that there is. `false`: there is none.
    pub fn push_copy(&mut self, transmit: &Transmit, bytes: &[u8]) -> bool {
        let end = self.fill.saturating_add(bytes.len());
        let Some(slot) = self.arena.get_mut(self.fill..end) else { return false };
        if self.transmits.len() >= self.max_transmits || bytes.len() > usize::from(u16::MAX) {
            return false;
        }
        slot.copy_from_slice(bytes);
        self.transmits.push(Transmit { offset: self.fill as u32, len: bytes.len() as u16, ..*transmit });
        self.fill = end;
        true
    }

    /// Forgets all datagrams: they have been handed to the kernel.
    pub fn clear(&mut self) {
        self.fill = 0;
        self.transmits.clear();
    }

    /// Datagrams in order.
    pub fn transmits(&self) -> &[Transmit] {
        &self.transmits
    }

    /// The bytes of a datagram of this turn.
    pub fn bytes(&self, transmit: &Transmit) -> &[u8] {
        let start = transmit.offset as usize;
        self.arena.get(start..start + usize::from(transmit.len)).unwrap_or(&[])
    }

    /// Bytes that it can hold.
    pub fn capacity(&self) -> usize {
        self.arena.len()
    }

    /// Bytes in use.
    pub fn fill(&self) -> usize {
        self.fill
    }

    /// A quarter is used: send before the next input. The rest is for what a single input may bring: a
    /// packet with thousands of consumers.
    pub fn is_nearly_full(&self) -> bool {
        self.fill >= self.arena.len() / 4 || self.transmits.len() >= self.max_transmits / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 9))
    }

    #[test]
    fn datagrams_lie_one_after_the_other_and_keep_their_bytes() {
        let mut outbox = Outbox::new(100, 10);
        for n in 1..=3u8 {
            let pushed = outbox.push_with(SocketId(0), to(), 20, |slot| {
                slot[..usize::from(n)].fill(n);
                Some(usize::from(n))
            });
            assert_eq!(pushed, Ok(()));
        }
        let all: Vec<_> = outbox.transmits().iter().map(|t| outbox.bytes(t).to_vec()).collect();
        assert_eq!(all, [vec![1], vec![2, 2], vec![3, 3, 3]]);
        assert_eq!(outbox.fill(), 6);
        outbox.clear();
        assert_eq!((outbox.fill(), outbox.transmits().len()), (0, 0));
    }

    #[test]
    fn video_leaves_room_for_audio_and_both_for_control() {
        let mut outbox = Outbox::new(160, 100);
        let mut push = |urgency| outbox.try_push_as(urgency, SocketId(0), to(), 10, |_| Ok(10));
        let video: Vec<_> = (0..16).map(|_| push(Urgency::Video)).collect();
        assert_eq!(video.iter().filter(|sent| sent.is_ok()).count(), 14);
        assert_eq!(video.last(), Some(&Err(DropReason::ShedVideo)));
        assert_eq!(push(Urgency::Audio), Ok(10));
        assert_eq!(push(Urgency::Control), Ok(10));
        assert_eq!(push(Urgency::Audio), Err(DropReason::ShedAudio));
        assert_eq!(push(Urgency::Control), Err(DropReason::TransmitFull));
    }

    #[test]
    fn a_copy_keeps_everything_but_its_place() {
        let mut from = Outbox::new(100, 10);
        let mut into = Outbox::new(10, 10);
        from.try_push_as(Urgency::Audio, SocketId(4), to(), 8, |slot| {
            slot.fill(7);
            Ok(8)
        })
        .expect("room");
        let transmit = from.transmits()[0];
        assert!(into.push_copy(&transmit, from.bytes(&transmit)));
        assert!(!into.push_copy(&transmit, from.bytes(&transmit)), "no room for a second one");
        assert_eq!(into.transmits(), from.transmits());
        assert_eq!(into.bytes(&into.transmits()[0]), [7; 8]);
    }

    #[test]
    fn a_full_arena_refuses_and_a_refusing_writer_leaves_no_trace() {
        let mut outbox = Outbox::new(30, 2);
        assert_eq!(
            outbox.try_push_with(SocketId(0), to(), 20, |_| Err(DropReason::TooLarge)),
            Err(DropReason::TooLarge)
        );
        assert_eq!(outbox.push_with(SocketId(0), to(), 20, |_| None), Ok(()));
        assert_eq!(outbox.fill(), 0);
        assert_eq!(outbox.push_with(SocketId(0), to(), 20, |_| Some(20)), Ok(()));
        assert_eq!(outbox.push_with(SocketId(0), to(), 20, |_| Some(20)), Err(DropReason::TransmitFull));
        assert_eq!(outbox.push_with(SocketId(0), to(), 5, |_| Some(5)), Ok(()));
        assert_eq!(outbox.push_with(SocketId(0), to(), 1, |_| Some(1)), Err(DropReason::TransmitFull));
        assert!(outbox.is_nearly_full());
    }
}
