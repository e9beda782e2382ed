//! What publishers send: packets that look like Opus and VP8 to a server, and carry the time at which they were sent.
//!
//! VP8 (RFC 7741): descriptors with a 15-bit picture id, frame headers that tell key frames and the picture's size; what
//! follows is filling. The last [`TRAILER`] bytes of each payload are a mark and microseconds of the sender's clock, which
//! viewers in the same process share.

use std::time::{Duration, Instant};

/// Bytes of the mark and the time.
pub(super) const TRAILER: usize = 12;
const MARK: &[u8; 4] = b"sfub";
/// Most bytes of a payload.
pub(super) const MAX_PAYLOAD: usize = 1_100;
/// Bytes of the descriptor and of a key frame's header.
const HEAD: usize = 4 + 10;

/// Writes the mark and the time behind `payload`.
fn seal(payload: &mut Vec<u8>, start: Instant, now: Instant) {
    payload.extend_from_slice(MARK);
    let micros = u64::try_from(now.duration_since(start).as_micros()).unwrap_or(u64::MAX);
    payload.extend_from_slice(&micros.to_be_bytes());
}

/// How long a payload was under way; nothing if it is not of this program.
pub(super) fn age(payload: &[u8], start: Instant, now: Instant) -> Option<Duration> {
    let trailer = payload.last_chunk::<TRAILER>()?;
    let (mark, time) = trailer.split_at(MARK.len());
    if mark != MARK {
        return None;
    }
    let sent = Duration::from_micros(u64::from_be_bytes(time.try_into().ok()?));
    Some(now.duration_since(start).saturating_sub(sent))
}

/// An Opus packet: a 20 ms CELT frame's first byte, filling, the trailer.
pub(super) fn opus(size: usize, start: Instant, now: Instant) -> Vec<u8> {
    let mut payload = vec![0xF8];
    payload.resize(size.max(TRAILER + 1) - TRAILER, 0x55);
    seal(&mut payload, start, now);
    payload
}

/// A picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) size: usize,
    pub(super) key: bool,
    pub(super) picture_id: u16,
    pub(super) width: u16,
    pub(super) height: u16,
}

/// The payloads of a picture.
pub(super) fn vp8(frame: &Frame, start: Instant, now: Instant) -> Vec<Vec<u8>> {
    let room = MAX_PAYLOAD - HEAD - TRAILER;
    let count = frame.size.div_ceil(room).max(1);
    let each = frame.size.div_ceil(count);
    (0..count)
        .map(|index| {
            let first = index == 0;
            // X, and S at the beginning of the partition; I; M and the id.
            let mut payload = vec![if first { 0x90 } else { 0x80 }, 0x80];
            payload.extend_from_slice(&(0x8000 | frame.picture_id).to_be_bytes());
            if first {
                // RFC 6386 section 9.1: P, version, show_frame.
                payload.extend_from_slice(&[0x10 | u8::from(!frame.key), 0, 0]);
                if frame.key {
                    payload.extend_from_slice(&[0x9D, 0x01, 0x2A]);
                    payload.extend_from_slice(&frame.width.to_le_bytes());
                    payload.extend_from_slice(&frame.height.to_le_bytes());
                }
            }
            payload.resize(payload.len() + each, 0x55);
            seal(&mut payload, start, now);
            payload
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::meter::now;

    #[test]
    fn payloads_carry_their_time_and_keep_the_size() {
        let start = now();
        let sent = start + Duration::from_millis(5);
        let frame = Frame { size: 4_000, key: true, picture_id: 7, width: 640, height: 360 };
        let payloads = vp8(&frame, start, sent);
        assert_eq!(payloads.len(), 4);
        for payload in &payloads {
            assert!(payload.len() <= MAX_PAYLOAD);
            assert_eq!(age(payload, start, sent + Duration::from_millis(3)), Some(Duration::from_millis(3)));
        }
        assert_eq!(payloads[0][..14], [0x90, 0x80, 0x80, 7, 0x10, 0, 0, 0x9D, 1, 0x2A, 0x80, 2, 0x68, 1]);
        assert_eq!(payloads[1][..4], [0x80, 0x80, 0x80, 7]);
        assert_eq!(opus(80, start, sent).len(), 80);
        assert!(age(&opus(0, start, sent), start, sent).is_some());
        assert_eq!(age(b"something else that is long", start, sent), None);
    }

    #[test]
    fn small_pictures_are_one_payload_and_others_than_keys_say_so() {
        let start = now();
        let frame = Frame { size: 0, key: false, picture_id: 0x7FFF, width: 1, height: 1 };
        let payloads = vp8(&frame, start, start);
        assert_eq!(payloads.len(), 1);
        assert_eq!(payloads[0][..7], [0x90, 0x80, 0xFF, 0xFF, 0x11, 0, 0]);
    }
}
