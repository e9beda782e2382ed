//! Frames on a byte stream: read whole and in pieces, and written through a queue that sheds.
//!
//! Told: bytes, of which the first few say how they are split. Tells nothing; panics where the two readings differ, or
//! a queue holds too much or writes what is no stream of frames. Limits: the input's length.

use crate::framing::{Deframer, FRAME_HEADER, Room, SendQueue};

/// Longest packet that is taken.
const MAX: usize = 600;

/// A stream that is read at once and in pieces, and packets that are sent by a stream which takes what it likes.
pub fn framing(data: &[u8]) {
    let Some((sizes, stream)) = data.split_first_chunk::<4>() else { return };
    assert_eq!(read(stream, &[stream.len().max(1)]), read(stream, &sizes.map(|size| usize::from(size) + 1)));
    write(stream);
}

/// The packets of a stream, and whether it ended at one that is too long.
fn read(mut stream: &[u8], sizes: &[usize]) -> (Vec<Vec<u8>>, bool) {
    let mut deframer = Deframer::default();
    let mut room = vec![0; MAX + FRAME_HEADER + stream.len()];
    let mut packets = Vec::new();
    for size in sizes.iter().cycle() {
        let (fresh, rest) = stream.split_at((*size).min(stream.len()));
        if fresh.is_empty() {
            break;
        }
        stream = rest;
        let kept = deframer.restore(&mut room);
        let end = kept + fresh.len();
        room[kept..end].copy_from_slice(fresh);
        let mut at = 0;
        loop {
            match Deframer::next_packet(&room[..end], &mut at, MAX) {
                Ok(Some(packet)) => packets.push(room[packet].to_vec()),
                Ok(None) => break,
                Err(_) => return (packets, true),
            }
        }
        deframer.keep(&room[at..end]);
        assert!(deframer.len() < MAX + FRAME_HEADER, "more than one frame is kept");
    }
    (packets, false)
}

/// Each piece of three bytes is a packet, its kind, and how much the stream takes then.
fn write(data: &[u8]) {
    let room = Room { control: 400, media: 900 };
    let (mut queue, mut wire, mut expected) = (SendQueue::default(), Vec::new(), 0);
    for step in data.chunks_exact(3) {
        let mut packet = vec![step[0]; usize::from(step[1]).max(2)];
        packet[0] = if step[0] & 1 == 0 { 22 } else { 0x80 };
        expected += 1;
        expected -= queue.push(&packet, room);
        assert!(queue.len() <= room.control + room.media + 257, "the queue holds too much");
        let bytes = queue.slices().concat();
        let taken = (usize::from(step[2]) * 3).min(bytes.len());
        wire.extend_from_slice(&bytes[..taken]);
        queue.consume(taken);
    }
    wire.extend(queue.slices().concat());
    let mut at = 0;
    let mut written = 0;
    while let Ok(Some(_)) = Deframer::next_packet(&wire, &mut at, MAX) {
        written += 1;
    }
    assert_eq!((at, written), (wire.len(), expected), "what is written is a stream of what was not lost");
}
