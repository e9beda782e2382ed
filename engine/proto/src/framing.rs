//! Packets on a byte stream: a length of two bytes, then so many bytes of one packet (RFC 4571, section 2; RFC 6544,
//! section 10 for STUN and DTLS beside RTP).
//!
//! What it is: [`Deframer`], the incoming side of one connection, and [`SendQueue`], what waits for its outgoing side.
//! What they are told: bytes as they come, packets as they are written, how much the stream took. What they tell:
//! whole packets in place, and slices to write.
//!
//! Limits: a frame longer than the caller allows is an error before any of it is kept, so a connection never holds more
//! than one frame less a byte. A queue never holds more than [`Room`] says: the oldest media goes first, and what keeps
//! the connection going (STUN, DTLS, RTCP) has room of its own and goes ahead of media. Frames of length 0 carry
//! nothing and are skipped.
//!
//! It leaves out: sockets; connections' lives, which are the runtime's.

use std::collections::VecDeque;
use std::ops::Range;

use sfu_wire::demux::{DatagramKind, classify};

/// Bytes before each packet.
pub const FRAME_HEADER: usize = 2;

/// A frame says that it is longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameTooLong(pub usize);

/// The beginning of a frame whose end has not come.
#[derive(Debug, Default)]
pub struct Deframer {
    kept: Vec<u8>,
}

impl Deframer {
    /// Puts what was kept at the front of `room` and forgets it; new bytes go behind it. Tells how many bytes it is.
    pub fn restore(&mut self, room: &mut [u8]) -> usize {
        let len = self.kept.len().min(room.len());
        let (Some(front), Some(kept)) = (room.get_mut(..len), self.kept.get(..len)) else { return 0 };
        front.copy_from_slice(kept);
        self.kept.clear();
        len
    }

    /// Finds the next packet in `bytes` from `at` on, and moves `at` behind it. `None` when it is not whole yet. A
    /// length above `max` is an error; there is no way to go on after it.
    pub fn next_packet(bytes: &[u8], at: &mut usize, max: usize) -> Result<Option<Range<usize>>, FrameTooLong> {
        loop {
            let Some(header) = bytes.get(*at..).and_then(|rest| rest.first_chunk::<FRAME_HEADER>()) else {
                return Ok(None);
            };
            let len = usize::from(u16::from_be_bytes(*header));
            if len > max {
                return Err(FrameTooLong(len));
            }
            let packet = *at + FRAME_HEADER..*at + FRAME_HEADER + len;
            if packet.end > bytes.len() {
                return Ok(None);
            }
            *at = packet.end;
            if len > 0 {
                return Ok(Some(packet));
            }
        }
    }

    /// Keeps the beginning of a frame until more comes.
    pub fn keep(&mut self, rest: &[u8]) {
        self.kept.extend_from_slice(rest);
    }

    /// Bytes that are kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

/// How much a queue may hold, bytes with headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Of STUN, DTLS and RTCP.
    pub control: usize,
    /// Of RTP.
    pub media: usize,
}

/// Frames that wait until the stream takes more.
#[derive(Debug, Default)]
pub struct SendQueue {
    /// What is left of the frame that the stream has a part of. It has to be completed, whatever comes.
    head: VecDeque<u8>,
    control: VecDeque<u8>,
    media: VecDeque<u8>,
}

impl SendQueue {
    /// Appends a packet. Tells how many packets were lost by it: older media that made room, or the packet itself.
    pub fn push(&mut self, packet: &[u8], room: Room) -> usize {
        let Ok(len) = u16::try_from(packet.len()) else { return 1 };
        let need = packet.len() + FRAME_HEADER;
        let mut lost = 0;
        let queue = if is_control(packet) {
            if self.control.len() + need > room.control {
                return 1;
            }
            &mut self.control
        } else {
            if need > room.media {
                return 1;
            }
            while self.media.len() + need > room.media
                && let Some(frame) = first_frame(&self.media)
            {
                self.media.drain(..frame);
                lost += 1;
            }
            &mut self.media
        };
        queue.extend(len.to_be_bytes());
        queue.extend(packet);
        lost
    }

    /// Of this packet the stream took `sent` bytes, the header included, and then no more: the rest goes first. Only
    /// for a queue that is empty.
    pub fn push_rest(&mut self, packet: &[u8], sent: usize) {
        debug_assert!(self.is_empty(), "the stream took a packet ahead of others");
        let Ok(len) = u16::try_from(packet.len()) else { return };
        let header = len.to_be_bytes();
        self.head.extend(header.iter().skip(sent));
        self.head.extend(packet.iter().skip(sent.saturating_sub(FRAME_HEADER)));
    }

    /// What to write, in this order.
    pub fn slices(&self) -> [&[u8]; 6] {
        let ((a, b), (c, d), (e, f)) = (self.head.as_slices(), self.control.as_slices(), self.media.as_slices());
        [a, b, c, d, e, f]
    }

    /// The stream took the first `taken` bytes of that.
    pub fn consume(&mut self, mut taken: usize) {
        let of_head = taken.min(self.head.len());
        self.head.drain(..of_head);
        taken -= of_head;
        for queue in [&mut self.control, &mut self.media] {
            while taken > 0
                && let Some(frame) = first_frame(queue)
            {
                let of_frame = taken.min(frame);
                taken -= of_frame;
                queue.drain(..of_frame);
                // A frame that has begun is no more to be shed, nor overtaken.
                self.head.extend(queue.drain(..frame - of_frame));
            }
        }
        if self.is_empty() {
            // A queue is for bad times: its memory goes with them.
            *self = Self::default();
        }
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.head.len() + self.control.len() + self.media.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What keeps a connection going, as opposed to what it is for.
fn is_control(packet: &[u8]) -> bool {
    matches!(classify(packet), Some(DatagramKind::Stun | DatagramKind::Dtls | DatagramKind::Rtcp))
}

/// Length of the first frame, header included.
fn first_frame(queue: &VecDeque<u8>) -> Option<usize> {
    let (high, low) = (queue.front()?, queue.get(1)?);
    let frame = FRAME_HEADER + usize::from(u16::from_be_bytes([*high, *low]));
    debug_assert!(frame <= queue.len(), "only whole frames are queued");
    Some(frame.min(queue.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 1_500;

    fn stream(packets: &[Vec<u8>]) -> Vec<u8> {
        packets.iter().flat_map(|p| [&(p.len() as u16).to_be_bytes()[..], p].concat()).collect()
    }

    /// What comes out of a stream that arrives in pieces of these sizes.
    fn deframe(stream: &[u8], sizes: &[usize], max: usize) -> (Vec<Vec<u8>>, Option<FrameTooLong>, usize) {
        let mut deframer = Deframer::default();
        let mut room = vec![0; 70_000];
        let (mut out, mut rest, mut most) = (Vec::new(), stream, 0);
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let kept = deframer.restore(&mut room);
            let fresh = sizes.next().copied().unwrap_or(1).clamp(1, rest.len());
            room[kept..kept + fresh].copy_from_slice(&rest[..fresh]);
            rest = &rest[fresh..];
            let bytes = &room[..kept + fresh];
            let mut at = 0;
            loop {
                match Deframer::next_packet(bytes, &mut at, max) {
                    Ok(Some(packet)) => out.push(bytes[packet].to_vec()),
                    Ok(None) => break,
                    Err(error) => return (out, Some(error), most),
                }
            }
            deframer.keep(&bytes[at..]);
            most = most.max(deframer.len());
        }
        (out, None, most)
    }

    #[test]
    fn row_012_packets_come_out_whole_however_the_stream_is_split() {
        let packets: Vec<Vec<u8>> = [1, 2, 3, 700, 1_500, 20].iter().map(|n| vec![*n as u8; *n]).collect();
        let bytes = stream(&packets);
        for size in [1, 2, 3, 5, 701, 1_501, 1_502, 1_503, bytes.len()] {
            let (out, error, most) = deframe(&bytes, &[size], MAX);
            assert_eq!((out, error), (packets.clone(), None), "pieces of {size}");
            assert!(most < MAX + FRAME_HEADER);
        }
    }

    #[test]
    fn row_012_empty_frames_are_nothing_and_long_ones_are_refused_before_they_are_kept() {
        let mut bytes = vec![0; 20];
        bytes.extend(stream(&[vec![7; 5]]));
        assert_eq!(deframe(&bytes, &[3], MAX).0, [vec![7; 5]]);
        for len in [MAX + 1, 65_535] {
            let mut bytes = stream(&[vec![7; 5]]);
            bytes.extend((len as u16).to_be_bytes());
            let (out, error, most) = deframe(&bytes, &[1], MAX);
            assert_eq!((out.len(), error), (1, Some(FrameTooLong(len))));
            assert!(most <= 6);
        }
    }

    fn rtp(len: usize, number: u8) -> Vec<u8> {
        let mut packet = vec![number; len.max(3)];
        (packet[0], packet[1]) = (0x80, 100);
        packet
    }

    fn dtls(len: usize, number: u8) -> Vec<u8> {
        let mut packet = vec![number; len.max(3)];
        packet[0] = 22;
        packet
    }

    fn drain(queue: &mut SendQueue) -> Vec<Vec<u8>> {
        let bytes = queue.slices().concat();
        queue.consume(bytes.len());
        assert!(queue.is_empty());
        deframe(&bytes, &[bytes.len().max(1)], 65_535).0
    }

    const ROOM: Room = Room { control: 200, media: 1_000 };

    #[test]
    fn the_oldest_media_makes_room_and_control_goes_ahead() {
        let mut queue = SendQueue::default();
        let mut lost = 0;
        for number in 0..20 {
            lost += queue.push(&rtp(98, number), ROOM);
        }
        assert_eq!((lost, queue.len()), (10, 1_000));
        assert_eq!(queue.push(&dtls(50, 99), ROOM), 0);
        assert_eq!(queue.push(&dtls(150, 98), ROOM), 1, "there is no older one to give way");
        assert_eq!(queue.push(&rtp(1_000, 97), ROOM), 1, "it would not fit if all others went");
        let out = drain(&mut queue);
        assert_eq!(out[0], dtls(50, 99));
        assert_eq!(out[1..], (10..20).map(|n| rtp(98, n)).collect::<Vec<_>>());
    }

    #[test]
    fn a_frame_that_has_begun_is_completed_before_anything_else() {
        let mut queue = SendQueue::default();
        queue.push_rest(&rtp(98, 1), 1);
        queue.push(&dtls(50, 2), ROOM);
        let first = queue.slices().concat();
        assert_eq!(first.len(), 99 + 52);
        queue.consume(99);
        queue.push(&rtp(98, 3), ROOM);
        queue.push(&rtp(98, 4), ROOM);
        queue.consume(52 + 10);
        // The frame that has begun goes on, though its packet is the oldest, and a newer control packet is there.
        let small = Room { media: 100, ..ROOM };
        assert_eq!(queue.push(&rtp(98, 5), small), 1);
        queue.push(&dtls(50, 6), ROOM);
        let bytes = [&stream(&[rtp(98, 3)])[..10], &queue.slices().concat()].concat();
        assert_eq!(deframe(&bytes, &[7], MAX).0, [rtp(98, 3), dtls(50, 6), rtp(98, 5)]);
    }

    proptest! {
        #[test]
        fn whatever_is_pushed_and_taken_the_stream_stays_legal_and_the_queue_bounded(
            steps in proptest::collection::vec((any::<bool>(), 3usize..300, 0usize..700), 0..200)
        ) {
            let mut queue = SendQueue::default();
            let (mut wire, mut pushed, mut lost) = (Vec::new(), 0usize, 0usize);
            for (number, (control, len, take)) in steps.iter().enumerate() {
                let packet = if *control { dtls(*len, number as u8) } else { rtp(*len, number as u8) };
                pushed += 1;
                lost += queue.push(&packet, ROOM);
                prop_assert!(queue.len() <= ROOM.control + ROOM.media + 302);
                let bytes = queue.slices().concat();
                let taken = (*take).min(bytes.len());
                wire.extend_from_slice(&bytes[..taken]);
                queue.consume(taken);
                prop_assert_eq!(queue.len(), bytes.len() - taken);
            }
            wire.extend(queue.slices().concat());
            let (out, error, most) = deframe(&wire, &[13], 65_535);
            prop_assert_eq!((error, most < 303), (None, true));
            prop_assert_eq!(out.len(), pushed - lost);
            for kind in [22, 0x80] {
                let numbers: Vec<u8> = out.iter().filter(|p| p[0] == kind).map(|p| p[2]).collect();
                prop_assert!(numbers.windows(2).all(|two| two[0] < two[1]), "in order of their kind: {:?}", numbers);
            }
        }

        #[test]
        fn any_split_gives_the_same_packets(
            bytes in proptest::collection::vec(0u8..4, 0..400), sizes in proptest::collection::vec(1usize..9, 1..20)
        ) {
            let whole = deframe(&bytes, &[bytes.len().max(1)], 600);
            let split = deframe(&bytes, &sizes, 600);
            prop_assert_eq!((whole.0, whole.1), (split.0, split.1));
        }
    }
}
