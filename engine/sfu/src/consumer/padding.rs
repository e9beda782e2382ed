//! Padding that makes the packets of a frame equal in size, so that they leave in one message to the kernel.
//!
//! A message carries segments of one size, of which the last may be shorter. Senders divide a frame into packets that
//! differ by a byte, the longer ones last, so that a frame would be two messages. One byte of RTP padding (RFC 3550,
//! section 5.1) for the first packet of a frame, and as much for those after it as they are shorter, makes it one.
//!
//! Told: packets in the order in which they are sent: the length of each, and whether it is of the frame before, and ends
//! it. Tells: bytes of padding, at most [`MAX_PADDING`]. The last packet of a frame has none, so that frames of one packet
//! cost nothing. A packet that is much shorter than those before it has none either: it ends their message, and the next
//! one begins another. Left out: audio, and streams whose packets are repeated in others (RED, parity), where
//! a length is part of what is repeated; retransmissions, which leave alone.

use sfu_proto::srtp::MAX_PADDING;
use sfu_wire::codec::CodecKind;
use sfu_wire::media::MediaKind;

use crate::config::ConsumerConfig;

/// The padding bit of the first byte of a header.
pub(super) const PADDING_BIT: u8 = 0x20;

/// Where no padding is wanted.
const OFF: u16 = u16::MAX;

/// What the packets of the present frame are padded to, in bytes; 0: the next one begins a message. Every packet has it at
/// hand, so that it is small.
#[derive(Debug, Clone, Copy)]
pub(super) struct FramePadding(u16);

impl FramePadding {
    /// Padding as the configuration has it.
    pub(super) fn new(config: &ConsumerConfig) -> Self {
        let repeats = |kind| matches!(kind, CodecKind::Red | CodecKind::UlpFec | CodecKind::FlexFec);
        let wanted = config.pad_frames
            && config.kind == MediaKind::Video
            && !config.codecs.iter().any(|codec| repeats(codec.kind));
        Self(if wanted { 0 } else { OFF })
    }

    /// Bytes of padding for a packet of `len` bytes, of which there is `room` for in all. `goes_on`: it is of the frame of
    /// the packet before it; `ends`: it is its last one.
    #[inline]
    pub(super) fn next(&mut self, goes_on: bool, ends: bool, len: usize, room: usize) -> u8 {
        if self.0 == OFF {
            return 0;
        }
        let shorter = usize::from(self.0).checked_sub(len).filter(|_| goes_on && self.0 > 0);
        let much_shorter = shorter.is_some_and(|by| by > MAX_PADDING);
        if ends || much_shorter {
            self.0 = 0;
            return 0;
        }
        let by = shorter.unwrap_or(1);
        let by = if len + by <= room { by } else { 0 };
        self.0 = u16::try_from(len + by).ok().filter(|size| *size < OFF).unwrap_or(0);
        by as u8
    }
}

#[cfg(test)]
mod tests {
    use super::super::rig::consumer_config;
    use super::*;

    const ROOM: usize = 1_400;

    fn wanted() -> FramePadding {
        FramePadding::new(&ConsumerConfig { pad_frames: true, ..consumer_config(CodecKind::Vp8) })
    }

    /// Sizes of a frame's packets as they are sent.
    fn padded(padding: &mut FramePadding, sizes: &[usize]) -> Vec<usize> {
        let last = sizes.len() - 1;
        let one = |(n, len): (usize, &usize)| len + usize::from(padding.next(n > 0, n == last, *len, ROOM));
        sizes.iter().enumerate().map(one).collect()
    }

    #[test]
    fn packets_that_differ_by_a_byte_become_equal_wherever_the_longer_ones_are() {
        let mut padding = wanted();
        assert_eq!(padded(&mut padding, &[99, 99, 100, 100]), [100, 100, 100, 100]);
        assert_eq!(padded(&mut padding, &[100, 100, 99, 99]), [101, 101, 101, 99]);
        assert_eq!(padded(&mut padding, &[100, 100, 100, 100]), [101, 101, 101, 100]);
        assert_eq!(padded(&mut padding, &[93, 101, 94, 94]), [94, 102, 102, 94], "longer than that begins anew");
    }

    #[test]
    fn frames_of_one_packet_and_packets_that_end_a_message_are_not_padded() {
        let mut padding = wanted();
        assert_eq!(padded(&mut padding, &[500]), [500]);
        assert_eq!(padded(&mut padding, &[500, 40, 500, 499]), [501, 40, 501, 499]);
        // A frame whose end is lost is over when the next one begins.
        assert_eq!(padding.next(false, false, 300, ROOM), 1);
        assert_eq!(padding.next(false, false, 299, ROOM), 1);
    }

    #[test]
    fn there_is_no_padding_without_room_or_wish_nor_where_packets_are_repeated() {
        let mut padding = wanted();
        assert_eq!(padding.next(false, false, ROOM, ROOM), 0);
        assert_eq!(padding.next(true, false, ROOM - 1, ROOM), 1, "as the one before");
        let plain = consumer_config(CodecKind::Vp8);
        let with = |kind| {
            let mut config = ConsumerConfig { pad_frames: true, ..consumer_config(CodecKind::Vp8) };
            config.codecs.push(crate::config::CodecConfig { kind, ..config.codecs[0] });
            config
        };
        let audio = ConsumerConfig { pad_frames: true, ..consumer_config(CodecKind::Opus) };
        for config in [plain, with(CodecKind::Red), with(CodecKind::UlpFec), with(CodecKind::FlexFec), audio] {
            assert_eq!(padded(&mut FramePadding::new(&config), &[9, 9, 10]), [9, 9, 10]);
        }
    }
}
