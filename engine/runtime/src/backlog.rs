//! What the kernel had no room for: it goes before anything younger, and what is too much is given up, video before
//! audio and the oldest first. Late video is worth little, since its receiver asks for it again or for a key frame;
//! a gap in speech is heard.
//!
//! Told: an outbox after it was sent, and which of its datagrams were held. Tells: the outbox to send first the next time,
//! audio and what controls before video; how many were given up. Limits: [`MAX_BYTES`] and [`MAX_DATAGRAMS`]. Its room is
//! made when the kernel first refuses for want of room; from then on nothing is allocated.

use sfu_core::outbox::{Outbox, Urgency};
use sfu_wire::net::SocketId;

/// Bytes that wait at most: some milliseconds of a fast link.
const MAX_BYTES: usize = 1 << 20;
/// Datagrams that wait at most.
const MAX_DATAGRAMS: usize = 4096;

/// What a send did not get rid of.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Sockets whose buffers are full.
    stuffed: Vec<SocketId>,
    /// Indices into the outbox's datagrams.
    datagrams: Vec<u32>,
}

impl Held {
    /// The socket takes nothing for now: what is for it is to be held, so that nothing overtakes.
    pub(crate) fn is_stuffed(&self, socket: SocketId) -> bool {
        self.stuffed.contains(&socket)
    }

    /// The socket's buffer is full.
    pub(crate) fn stuff(&mut self, socket: SocketId) {
        if !self.is_stuffed(socket) {
            self.stuffed.push(socket);
        }
    }

    /// These datagrams were not sent.
    pub(crate) fn hold(&mut self, datagrams: impl Iterator<Item = u32>) {
        self.datagrams.extend(datagrams);
    }

    /// How many were not sent.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.datagrams.len()
    }

    /// Forgets the datagrams, but not which sockets are full.
    fn next_outbox(&mut self) {
        self.datagrams.clear();
    }

    fn clear(&mut self) {
        self.datagrams.clear();
        self.stuffed.clear();
    }
}

/// Datagrams that were given up, by urgency.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shed {
    pub(crate) video: u64,
    pub(crate) audio: u64,
    pub(crate) control: u64,
}

impl Shed {
    fn add(&mut self, urgency: Urgency) {
        match urgency {
            Urgency::Video => self.video += 1,
            Urgency::Audio => self.audio += 1,
            Urgency::Control => self.control += 1,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Backlog {
    waiting: Outbox,
    /// The next `waiting`, while it is put together.
    spare: Outbox,
    held: Held,
    /// What is to be kept: where it is, and how urgent. Oldest first.
    kept: Vec<(bool, u32, Urgency)>,
    max_bytes: usize,
    max_datagrams: usize,
}

impl Default for Backlog {
    fn default() -> Self {
        Self::new(MAX_BYTES, MAX_DATAGRAMS)
    }
}

impl Backlog {
    pub(crate) fn new(max_bytes: usize, max_datagrams: usize) -> Self {
        let empty = || Outbox::new(0, 0);
        let (waiting, spare) = (empty(), empty());
        Self { waiting, spare, held: Held::default(), kept: Vec::new(), max_bytes, max_datagrams }
    }

    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.transmits().is_empty()
    }

    /// How many datagrams wait.
    #[cfg(test)]
    pub(crate) fn waiting_len(&self) -> usize {
        self.waiting.transmits().len()
    }

    /// Sends what waits and then `outbox`, by `send`, which tells what it could not get rid of; keeps of that what is
    /// worth it. `outbox` can be cleared afterwards. Tells what was given up.
    pub(crate) fn pass(&mut self, outbox: &Outbox, mut send: impl FnMut(&Outbox, &mut Held)) -> Shed {
        self.held.clear();
        self.kept.clear();
        if !self.is_empty() {
            send(&self.waiting, &mut self.held);
            keep(&mut self.kept, false, &self.waiting, &mut self.held);
        }
        if !outbox.transmits().is_empty() {
            send(outbox, &mut self.held);
            keep(&mut self.kept, true, outbox, &mut self.held);
        }
        if self.kept.is_empty() {
            self.waiting.clear();
            return Shed::default();
        }
        self.rebuild(outbox)
    }

    #[cold]
    fn rebuild(&mut self, outbox: &Outbox) -> Shed {
        if self.spare.capacity() == 0 {
            self.waiting = Outbox::new(self.max_bytes, self.max_datagrams);
            self.spare = Outbox::new(self.max_bytes, self.max_datagrams);
        }
        let shed = self.give_up(outbox);
        // Video last: the next time, too, room may run out before the end.
        for is_video in [false, true] {
            for (young, index, _) in self.kept.iter().filter(|(.., u)| (*u == Urgency::Video) == is_video) {
                let source = if *young { outbox } else { &self.waiting };
                let Some(transmit) = source.transmits().get(*index as usize) else { continue };
                // There is room: what was too much was given up.
                self.spare.push_copy(transmit, source.bytes(transmit));
            }
        }
        std::mem::swap(&mut self.waiting, &mut self.spare);
        self.spare.clear();
        shed
    }

    /// Takes off `kept` what is too much: the oldest video, then the oldest audio, then the oldest of the rest.
    fn give_up(&mut self, outbox: &Outbox) -> Shed {
        let size = |(young, index, _): &(bool, u32, Urgency)| {
            let source = if *young { outbox } else { &self.waiting };
            source.transmits().get(*index as usize).map_or(0, |transmit| usize::from(transmit.len))
        };
        let mut shed = Shed::default();
        let mut bytes: usize = self.kept.iter().map(size).sum();
        let mut count = self.kept.len();
        for urgency in [Urgency::Video, Urgency::Audio, Urgency::Control] {
            self.kept.retain(|one| {
                let stays = one.2 != urgency || bytes <= self.max_bytes && count <= self.max_datagrams;
                if !stays {
                    bytes -= size(one);
                    count -= 1;
                    shed.add(urgency);
                }
                stays
            });
        }
        shed
    }
}

/// Notes what was held of an outbox, the oldest first.
fn keep(kept: &mut Vec<(bool, u32, Urgency)>, young: bool, outbox: &Outbox, held: &mut Held) {
    held.datagrams.sort_unstable();
    let urgency = |index: u32| outbox.transmits().get(index as usize).map_or(Urgency::Video, |t| t.urgency);
    kept.extend(held.datagrams.iter().map(|index| (young, *index, urgency(*index))));
    held.next_outbox();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::SocketAddr;

    const SOCKET: SocketId = SocketId(3);

    fn outbox(datagrams: &[(Urgency, u8)]) -> Outbox {
        let mut outbox = Outbox::new(1 << 16, 1024);
        for (urgency, mark) in datagrams {
            let to = SocketAddr::from(([192, 0, 2, 1], 9));
            let write = |slot: &mut [u8]| {
                slot.fill(*mark);
                Ok(slot.len())
            };
            outbox.try_push_as(*urgency, SOCKET, to, 10, write).expect("room");
        }
        outbox
    }

    fn marks(outbox: &Outbox) -> Vec<u8> {
        outbox.transmits().iter().map(|transmit| outbox.bytes(transmit)[0]).collect()
    }

    /// A kernel that takes `room` datagrams and then no more.
    fn kernel<'a>(room: &'a mut usize, taken: &'a mut Vec<u8>) -> impl FnMut(&Outbox, &mut Held) + 'a {
        |outbox, held| {
            for (index, mark) in (0u32..).zip(marks(outbox)) {
                if *room == 0 || held.is_stuffed(SOCKET) {
                    held.stuff(SOCKET);
                    held.hold(std::iter::once(index));
                } else {
                    *room -= 1;
                    taken.push(mark);
                }
            }
        }
    }

    #[test]
    fn what_waits_goes_first_audio_before_video_and_the_oldest_video_is_given_up() {
        use Urgency::{Audio, Control, Video};
        let mut backlog = Backlog::new(60, 100);
        let mut taken = Vec::new();
        let first = outbox(&[(Video, 1), (Audio, 2), (Video, 3), (Control, 4), (Video, 5)]);
        let shed = backlog.pass(&first, kernel(&mut 1, &mut taken));
        assert_eq!((shed, taken.as_slice(), marks(&backlog.waiting)), (Shed::default(), &[1][..], vec![2, 4, 3, 5]));
        let second = outbox(&[(Video, 6), (Audio, 7), (Video, 8)]);
        let shed = backlog.pass(&second, kernel(&mut 0, &mut taken));
        assert_eq!(shed, Shed { video: 1, ..Shed::default() });
        assert_eq!(marks(&backlog.waiting), [2, 4, 7, 5, 6, 8], "3 was the oldest video");
        let third = outbox(&[(Audio, 9), (Audio, 10), (Audio, 11), (Audio, 12), (Video, 13)]);
        let shed = backlog.pass(&third, kernel(&mut 0, &mut taken));
        assert_eq!(shed, Shed { video: 4, audio: 1, control: 0 }, "audio when no video is left");
        assert_eq!(marks(&backlog.waiting), [4, 7, 9, 10, 11, 12]);
        let shed = backlog.pass(&outbox(&[(Video, 14)]), kernel(&mut 100, &mut taken));
        assert_eq!((shed, backlog.is_empty()), (Shed::default(), true));
        assert_eq!(taken, [1, 4, 7, 9, 10, 11, 12, 14]);
    }

    #[test]
    fn a_full_socket_keeps_no_other_waiting() {
        let mut backlog = Backlog::new(1000, 100);
        let mut other = outbox(&[(Urgency::Audio, 1)]);
        let to = SocketAddr::from(([192, 0, 2, 1], 9));
        other.try_push_as(Urgency::Video, SocketId(4), to, 1, |_| Ok(1)).expect("room");
        let mut sent = 0;
        backlog.pass(&other, |outbox, held| {
            held.stuff(SOCKET);
            for (index, transmit) in (0u32..).zip(outbox.transmits()) {
                if held.is_stuffed(transmit.socket) {
                    held.hold(std::iter::once(index));
                } else {
                    sent += 1;
                }
            }
        });
        assert_eq!((sent, marks(&backlog.waiting)), (1, vec![1]));
    }

    proptest! {
        /// Every datagram is sent, waits or was counted as given up; no audio is given up while video waits; each
        /// class keeps its order.
        #[test]
        fn nothing_is_lost_uncounted_and_audio_is_last(
            turns in proptest::collection::vec((proptest::collection::vec(0u8..3, 0..20), 0usize..15), 1..20),
            max in 1usize..30,
        ) {
            let mut backlog = Backlog::new(10 * max, max);
            let mut taken = Vec::new();
            let (mut pushed, mut given_up, mut next) = (0, 0, 0u8);
            let mut classes = std::collections::HashMap::new();
            for (classes_of_turn, mut room) in turns {
                let datagrams: Vec<_> = classes_of_turn.iter().map(|class| {
                    let urgency = [Urgency::Video, Urgency::Audio, Urgency::Control][usize::from(*class)];
                    next = next.wrapping_add(1);
                    classes.insert(next, urgency);
                    (urgency, next)
                }).collect();
                pushed += datagrams.len() as u64;
                if pushed > 250 {
                    break;
                }
                let shed = backlog.pass(&outbox(&datagrams), kernel(&mut room, &mut taken));
                given_up += shed.video + shed.audio + shed.control;
                let waiting = marks(&backlog.waiting);
                prop_assert!(waiting.len() <= max);
                let video_waits = waiting.iter().any(|mark| classes[mark] == Urgency::Video);
                prop_assert!(shed.audio + shed.control == 0 || !video_waits);
                prop_assert_eq!(taken.len() as u64 + waiting.len() as u64 + given_up, pushed);
            }
            for class in [Urgency::Video, Urgency::Audio] {
                let order: Vec<u8> = taken.iter().copied().filter(|mark| classes[mark] == class).collect();
                prop_assert!(order.is_sorted(), "{:?} out of order: {:?}", class, order);
            }
        }
    }
}
