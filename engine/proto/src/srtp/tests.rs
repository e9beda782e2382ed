//! SRTP both ways: what opens, what must not, and what is never sent.

use std::collections::HashSet as Set;

use super::oracle::Oracle;
use super::*;
use crate::testing::Random;

fn key(profile: SrtpProfile) -> KeyMaterial {
    let bytes: Vec<u8> =
        (0..(profile.key_len() + profile.salt_len()) as u8).map(|n| n.wrapping_mul(37) ^ 0x5c).collect();
    KeyMaterial::new(&bytes).expect("length")
}

fn receiver(profile: SrtpProfile) -> SrtpReceiver {
    SrtpReceiver::new(&profile, &key(profile)).expect("receiver")
}

fn sender(profile: SrtpProfile) -> SrtpSender {
    SrtpSender::new(&profile, &key(profile)).expect("sender")
}

fn rtp(ssrc: u32, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(sequence.to_be_bytes());
    packet.extend(1234u32.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

fn rtcp(ssrc: u32, words: usize) -> Vec<u8> {
    let mut packet = vec![0x81, 201];
    packet.extend((words as u16 + 1).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..words * 4).map(|n| n as u8));
    packet
}

fn protect(sender: &mut SrtpSender, packet: &[u8]) -> Result<Vec<u8>, DropReason> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + sender.profile.rtp_overhead(), 0);
    let len = sender.protect_rtp(&mut buffer, packet.len())?;
    assert_eq!(len, buffer.len());
    Ok(buffer)
}

fn protect_control(sender: &mut SrtpSender, packet: &[u8]) -> Result<Vec<u8>, DropReason> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + sender.profile.rtcp_overhead(), 0);
    let len = sender.protect_rtcp(&mut buffer, packet.len())?;
    assert_eq!(len, buffer.len());
    Ok(buffer)
}

fn open(receiver: &mut SrtpReceiver, packet: &[u8]) -> Result<Vec<u8>, DropReason> {
    let mut buffer = packet.to_vec();
    let len = receiver.unprotect_rtp(&mut buffer)?;
    buffer.truncate(len);
    Ok(buffer)
}

fn open_control(receiver: &mut SrtpReceiver, packet: &[u8]) -> Result<Vec<u8>, DropReason> {
    let mut buffer = packet.to_vec();
    let len = receiver.unprotect_rtcp(&mut buffer)?;
    buffer.truncate(len);
    Ok(buffer)
}

/// A packet with CSRCs, a header extension and a payload of the given length.
fn elaborate(random: &mut Random, ssrc: u32, sequence: u16) -> Vec<u8> {
    let (csrcs, words) = (random.below(4), random.below(4));
    let mut packet = rtp(ssrc, sequence, &[]);
    packet[0] |= csrcs as u8;
    packet.extend((0..csrcs * 4).map(|n| n as u8));
    if words > 0 {
        packet[0] |= 0x10;
        packet.extend([0xbe, 0xde, 0, words as u8]);
        packet.extend((0..words * 4).map(|n| n as u8));
    }
    packet.extend((0..random.below(1100)).map(|n| n as u8));
    packet
}

#[test]
fn what_we_protect_is_what_the_rfcs_say_and_opens_again() {
    for profile in SrtpProfile::ALL {
        let oracle = Oracle::new(profile, &key(profile));
        let (mut out, mut back) = (sender(profile), receiver(profile));
        let mut random = Random::new(1);
        for index in 0..200u64 {
            let packet = elaborate(&mut random, 0x8000_0001, index as u16);
            let sent = protect(&mut out, &packet).expect("protect");
            assert_eq!(sent, oracle.protect_rtp(&packet, index), "{profile:?}");
            assert_eq!(open(&mut back, &sent), Ok(packet));
        }
        for index in 1..200u32 {
            let packet = rtcp(7, random.below(30));
            let sent = protect_control(&mut out, &packet).expect("protect");
            assert_eq!(sent, oracle.protect_rtcp(&packet, index), "{profile:?}");
            assert_eq!(open_control(&mut back, &sent), Ok(packet));
        }
    }
}

/// The direct path and libsrtp side by side: the same packets in, the same verdicts and the same bytes out.
#[test]
fn h05_h12_row_025_the_direct_path_is_byte_equal_to_libsrtp() {
    for profile in SrtpProfile::ALL {
        let (mut ours, mut theirs) =
            (sender(profile), SrtpSender::with_library(&profile, &key(profile)).expect("sender"));
        let (mut opens, mut opens_too) =
            (receiver(profile), SrtpReceiver::with_library(&profile, &key(profile)).expect("receiver"));
        let mut random = Random::new(25);
        let mut sequence = [0u16, 40_000, 65_500];
        let mut kept: Vec<Vec<u8>> = Vec::new();
        let (mut refused, mut replayed) = (0, 0);
        for step in 0..60_000 {
            let which = random.below(sequence.len());
            let number = match random.below(40) {
                0 => sequence[which].wrapping_sub(random.below(2_000) as u16),
                1 => sequence[which].wrapping_add(random.below(60_000) as u16),
                2 => sequence[which],
                _ => sequence[which].wrapping_add(1 + random.below(30) as u16),
            };
            let packet = elaborate(&mut random, which as u32 + 1, number);
            let expected = protect(&mut theirs, &packet);
            let split = header_end(&packet) + random.below(packet.len() - header_end(&packet) + 1);
            assert_eq!(protect_split(&mut ours, &packet, split), expected, "{profile:?} step {step}");
            let Ok(sealed) = expected else {
                refused += 1;
                continue;
            };
            sequence[which] = number;
            kept.push(sealed);
            // Most arrive, some late, some twice, some forged.
            let arrives = if random.below(4) == 0 { random.below(kept.len()) } else { kept.len() - 1 };
            let mut arriving = kept[arrives].clone();
            if random.below(10) == 0 {
                let at = random.below(arriving.len());
                arriving[at] ^= 1 << random.below(8);
            }
            let verdict = open(&mut opens_too, &arriving);
            assert_eq!(open(&mut opens, &arriving), verdict, "{profile:?} step {step}");
            replayed += usize::from(verdict == Err(DropReason::SrtpReplay));
            if kept.len() > 3_000 {
                kept.drain(..1_000);
            }
        }
        assert!(refused > 100 && replayed > 100, "{refused} refused, {replayed} replayed");
        assert_eq!(opens.stream_count(), opens_too.stream_count());
    }
}

fn header_end(packet: &[u8]) -> usize {
    check_rtp(packet, 0).expect("a header").len
}

/// Protects a packet of which only `split` bytes stand in the buffer.
fn protect_split(sender: &mut SrtpSender, packet: &[u8], split: usize) -> Result<Vec<u8>, DropReason> {
    let mut buffer = packet[..split].to_vec();
    buffer.resize(packet.len() + sender.profile.rtp_overhead() + 7, 0xee);
    let len = sender.protect_rtp_from(&mut buffer, Plain { written: split, tail: &packet[split..], padding: 0 })?;
    assert!(buffer[len..].iter().all(|byte| *byte == 0xee), "nothing is written behind the tag");
    buffer.truncate(len);
    Ok(buffer)
}

/// Padding is text like any other, wherever the bytes before it stand.
#[test]
fn padding_behind_a_tail_is_sealed_as_if_it_had_stood_there() {
    for profile in SrtpProfile::ALL {
        let (mut ours, mut theirs) =
            (sender(profile), SrtpSender::with_library(&profile, &key(profile)).expect("sender"));
        let mut back = receiver(profile);
        for padding in 0..=MAX_PADDING as u8 {
            for (n, len) in [0, 1, 15, 16, 17, 1_000].into_iter().enumerate() {
                let mut packet = rtp(9, u16::from(padding) * 10 + n as u16, &vec![0x5a; len]);
                packet[0] |= if padding > 0 { 0x20 } else { 0 };
                let mut whole = packet.clone();
                whole.resize(packet.len() + usize::from(padding), 0);
                if let Some(last) = whole.last_mut().filter(|_| padding > 0) {
                    *last = padding;
                }
                let written = 12 + len / 3;
                let plain = Plain { written, tail: &packet[written..], padding };
                assert_eq!(plain.len(), whole.len());
                let mut buffer = packet[..written].to_vec();
                buffer.resize(whole.len() + profile.rtp_overhead() + 3, 0xee);
                let mut clear = buffer.clone();
                let sealed = ours.protect_rtp_from(&mut buffer, plain).expect("room");
                assert_eq!(
                    buffer[..sealed],
                    protect(&mut theirs, &whole).expect("room"),
                    "{profile:?} {padding} {len}"
                );
                assert_eq!(open(&mut back, &buffer[..sealed]), Ok(whole.clone()));
                assert_eq!(plain.complete(&mut clear), Some(whole.len()));
                assert_eq!(clear[..whole.len()], whole);
                assert_eq!(plain.complete(&mut clear[..whole.len() - 1]), None);
            }
        }
    }
}

#[test]
fn a_bad_tag_is_refused_at_every_byte() {
    for profile in SrtpProfile::ALL {
        let (mut out, mut back) = (sender(profile), receiver(profile));
        let sent = protect(&mut out, &rtp(1, 1, b"payload")).expect("protect");
        for at in 1..sent.len() {
            let mut forged = sent.clone();
            forged[at] ^= 1;
            assert!(open(&mut back, &forged).is_err(), "{profile:?} byte {at}");
        }
        let control = protect_control(&mut out, &rtcp(1, 6)).expect("protect");
        for at in 1..control.len() {
            let mut forged = control.clone();
            forged[at] ^= 1;
            assert!(open_control(&mut back, &forged).is_err(), "{profile:?} byte {at}");
        }
        assert_eq!(back.stream_count(), 0);
        assert!(open(&mut back, &sent).is_ok() && open_control(&mut back, &control).is_ok());
    }
}

#[test]
fn h15_row_023_every_length_up_to_64_is_refused_without_harm() {
    for profile in SrtpProfile::ALL {
        let (mut back, mut out) = (receiver(profile), sender(profile));
        for first in [0x80u8, 0x8f, 0x90, 0x9f, 0x00, 0x40, 0xc0, 0xff, 0xa0] {
            for len in 0..=64usize {
                for fill in [0u8, 0x55, 0xff] {
                    let mut packet = vec![fill; len];
                    if let Some(byte) = packet.first_mut() {
                        *byte = first;
                    }
                    assert!(open(&mut back, &packet).is_err());
                    assert!(open_control(&mut back, &packet).is_err());
                    // Sending such bytes is our own mistake, but must not reach beyond the buffer either.
                    let _ = out.protect_rtp(&mut packet.clone(), len);
                    let _ = out.protect_rtcp(&mut packet.clone(), len);
                    let _ = out.protect_rtp(&mut packet, len + 1);
                }
            }
        }
        assert_eq!(back.stream_count(), 0);
    }
}

#[test]
fn row_023_headers_that_lie_are_refused() {
    for profile in SrtpProfile::ALL {
        let mut back = receiver(profile);
        let tag = profile.rtp_overhead();
        let body = vec![0u8; tag];
        let with_first = |first: u8, extra: &[u8]| [&rtp(1, 1, &[])[..], extra, &body].concat().tap_first(first);
        assert_eq!(open(&mut back, &with_first(0x8f, &[])), Err(DropReason::RtpMalformed), "15 CSRCs in 12 bytes");
        assert_eq!(open(&mut back, &with_first(0x90, &[0xbe, 0xde, 0xff, 0xff])), Err(DropReason::RtpMalformed));
        assert_eq!(open(&mut back, &with_first(0x90, &[0xbe, 0xde, 0, 1])), Err(DropReason::RtpMalformed));
        assert_eq!(open(&mut back, &with_first(0x00, &[])), Err(DropReason::RtpMalformed));
        assert_eq!(open(&mut back, &with_first(0x40, &[])), Err(DropReason::RtpMalformed));
        assert_eq!(open(&mut back, &with_first(0xc0, &[])), Err(DropReason::RtpMalformed));
        assert_eq!(open(&mut back, &with_first(0x80, &[])), Err(DropReason::SrtpAuth));
        assert_eq!(open(&mut back, &rtp(1, 1, &body[..tag - 1])), Err(DropReason::SrtpTooShort));
    }
}

trait TapFirst {
    fn tap_first(self, first: u8) -> Self;
}

impl TapFirst for Vec<u8> {
    fn tap_first(mut self, first: u8) -> Self {
        self[0] = first;
        self
    }
}

#[test]
fn empty_payloads_and_shortest_control_packets_work() {
    for profile in SrtpProfile::ALL {
        let (mut out, mut back) = (sender(profile), receiver(profile));
        let sent = protect(&mut out, &rtp(1, 1, &[])).expect("protect");
        assert_eq!(open(&mut back, &sent), Ok(rtp(1, 1, &[])));
        let sent = protect_control(&mut out, &rtcp(1, 0)).expect("protect");
        assert_eq!(open_control(&mut back, &sent), Ok(rtcp(1, 0)));
    }
}

#[test]
fn row_024_replays_are_refused_at_any_distance() {
    for profile in SrtpProfile::ALL {
        let oracle = Oracle::new(profile, &key(profile));
        let mut back = receiver(profile);
        let old = oracle.protect_rtp(&rtp(1, 5, b"old"), 5);
        assert!(open(&mut back, &old).is_ok());
        for _ in 0..1000 {
            assert_eq!(open(&mut back, &old), Err(DropReason::SrtpReplay));
        }
        for index in 6..70_000u64 {
            // A packet now and then is enough to move the window; around 1,024 each one is tested.
            if index < 1100 || index % 997 == 0 {
                let sent = oracle.protect_rtp(&rtp(1, index as u16, b"x"), index);
                assert!(open(&mut back, &sent).is_ok(), "{profile:?} {index}");
                let refused = open(&mut back, &old);
                assert!(matches!(refused, Err(DropReason::SrtpReplay | DropReason::SrtpAuth)), "{index}");
            }
        }
        let control = oracle.protect_rtcp(&rtcp(1, 2), 3);
        assert!(open_control(&mut back, &control).is_ok());
        for index in 4..400 {
            assert_eq!(open_control(&mut back, &control), Err(DropReason::SrtpReplay));
            assert!(open_control(&mut back, &oracle.protect_rtcp(&rtcp(1, 2), index)).is_ok());
        }
    }
}

#[test]
fn row_024_a_late_packet_within_the_window_is_accepted_once() {
    for profile in SrtpProfile::ALL {
        let oracle = Oracle::new(profile, &key(profile));
        let mut back = receiver(profile);
        assert!(open(&mut back, &oracle.protect_rtp(&rtp(1, 5000, b"new"), 5000)).is_ok());
        let late = oracle.protect_rtp(&rtp(1, 5000 - 1023, b"late"), 5000 - 1023);
        assert!(open(&mut back, &late).is_ok());
        assert_eq!(open(&mut back, &late), Err(DropReason::SrtpReplay));
        let too_late = oracle.protect_rtp(&rtp(1, 5000 - 1024, b"late"), 5000 - 1024);
        assert_eq!(open(&mut back, &too_late), Err(DropReason::SrtpReplay));
    }
}

#[test]
fn row_025_a_stream_that_starts_before_the_wrap_goes_on_after_it() {
    for profile in SrtpProfile::ALL {
        let oracle = Oracle::new(profile, &key(profile));
        let mut back = receiver(profile);
        for index in 65_535..66_000u64 {
            let packet = rtp(1, index as u16, b"x");
            assert_eq!(open(&mut back, &oracle.protect_rtp(&packet, index)), Ok(packet), "{profile:?} {index}");
        }
        // If the packets before the wrap are lost, nothing tells the receiver of the wrap (RFC 3711, 3.3.1): a
        // sender avoids that by starting low. Nothing is kept of such packets.
        let mut unaware = receiver(profile);
        assert_eq!(open(&mut unaware, &oracle.protect_rtp(&rtp(1, 0, b"x"), 65_536)), Err(DropReason::SrtpAuth));
        assert!(!unaware.knows(1));
    }
}

#[test]
fn row_025_gaps_around_half_of_the_number_space() {
    for profile in SrtpProfile::ALL {
        let oracle = Oracle::new(profile, &key(profile));
        for start in [100u64, 40_000, 65_535, 100_000] {
            for (gap, readable) in [((1u64 << 15) - 1, true), ((1 << 15) + 1, false)] {
                let mut back = receiver(profile);
                // A warm-up teaches the receiver the rollover count.
                for index in (0..=start).step_by(30_000).chain([start]) {
                    let sent = oracle.protect_rtp(&rtp(1, index as u16, b"x"), index);
                    assert!(open(&mut back, &sent).is_ok() || index == start, "{profile:?} {start} {index}");
                }
                let beyond = oracle.protect_rtp(&rtp(1, (start + gap) as u16, b"x"), start + gap);
                // Below 2^15 the library assumes that no wrap has happened yet, and so reads larger gaps.
                let readable = readable || start + gap <= 65_535;
                assert_eq!(open(&mut back, &beyond).is_ok(), readable, "{profile:?} from {start} by {gap}");
                let next = oracle.protect_rtp(&rtp(1, (start + 1) as u16, b"x"), start + 1);
                assert_eq!(open(&mut back, &next).is_ok(), !readable, "an unreadable gap moves nothing");
            }
        }
    }
}

#[test]
fn five_wraps_in_order_with_losses_decrypt() {
    for profile in SrtpProfile::ALL {
        let oracle = Oracle::new(profile, &key(profile));
        let (mut back, mut out) = (receiver(profile), sender(profile));
        let mut random = Random::new(3);
        let mut index = 20_000u64;
        while index < 5 << 16 {
            let packet = rtp(9, index as u16, &index.to_be_bytes());
            let sent = protect(&mut out, &packet).expect("protect");
            assert_eq!(sent, oracle.protect_rtp(&packet, index), "{profile:?} {index}");
            assert_eq!(open(&mut back, &sent), Ok(packet));
            index += 1 + random.below(900) as u64;
        }
    }
}

#[test]
fn h05_a_forged_jump_moves_nothing() {
    for profile in SrtpProfile::ALL {
        let oracle = Oracle::new(profile, &key(profile));
        let mut back = receiver(profile);
        for index in 0..3000u64 {
            for jump in [1u16, 1 << 10, (1 << 15) - 1, 1 << 15, (1 << 15) + 1, u16::MAX] {
                let mut forged = oracle.protect_rtp(&rtp(1, index as u16, b"x"), index);
                forged[2..4].copy_from_slice(&(index as u16).wrapping_add(jump).to_be_bytes());
                assert!(open(&mut back, &forged).is_err());
            }
            let packet = rtp(1, index as u16, b"x");
            assert_eq!(open(&mut back, &oracle.protect_rtp(&packet, index)), Ok(packet), "{profile:?} {index}");
        }
    }
}

#[test]
fn h04_forged_ssrcs_leave_nothing_behind() {
    for profile in SrtpProfile::ALL {
        let mut back = receiver(profile);
        let mut packet = rtp(0, 1, &[0x55; 40]);
        for ssrc in 0..50_000u32 {
            packet[8..12].copy_from_slice(&ssrc.wrapping_mul(0x9e37_79b1).to_be_bytes());
            assert!(back.unprotect_rtp(&mut packet.clone()).is_err());
            assert!(back.unprotect_rtcp(&mut packet.clone()).is_err());
        }
        assert_eq!(back.stream_count(), 0);
        for ssrc in (0..50_000u32).map(|n| n.wrapping_mul(0x9e37_79b1)) {
            assert!(!back.knows(ssrc));
            assert!(!back.knows(ssrc.swap_bytes()));
        }
    }
}

#[test]
fn h04_row_035_verified_ssrcs_are_capped_and_signalled_ones_stay() {
    let profile = SrtpProfile::AeadAes128Gcm;
    let oracle = Oracle::new(profile, &key(profile));
    let mut back = receiver(profile);
    back.pin_stream(7);
    for ssrc in 0..3000u32 {
        assert!(open(&mut back, &oracle.protect_rtp(&rtp(ssrc, 1, b"x"), 1)).is_ok());
        assert!(back.stream_count() <= MAX_INBOUND_SSRCS);
    }
    assert!(back.knows(7) && back.knows(2999));
    assert!(!back.knows(8) && !back.knows(2999 - MAX_INBOUND_SSRCS as u32));
    assert_eq!((0..3000).filter(|ssrc| back.knows(*ssrc)).count(), MAX_INBOUND_SSRCS);
    assert_eq!(open(&mut back, &oracle.protect_rtp(&rtp(7, 1, b"x"), 1)), Err(DropReason::SrtpReplay));
    back.remove_stream(7);
    back.remove_stream(7);
    assert!(!back.knows(7));
    back.unpin_stream(7);
    for ssrc in 2000..3000 {
        back.pin_stream(ssrc);
    }
    assert_eq!(back.pinned.len(), MAX_INBOUND_SSRCS / 2);
}

#[test]
fn h12_no_index_ever_covers_two_byte_strings() {
    for profile in SrtpProfile::ALL {
        let oracle = Oracle::new(profile, &key(profile));
        let mut out = sender(profile);
        let mut random = Random::new(11);
        let mut used: Set<(u32, u64)> = Set::new();
        let mut refused = 0;
        let mut sequence = [0u16; 4];
        for step in 0..20_000 {
            let ssrc = random.below(4);
            // Mostly forward, sometimes a packet sent again with other bytes, a jump, or a stream made anew.
            let number = match random.below(20) {
                0 => sequence[ssrc].wrapping_sub(random.below(2000) as u16),
                1 => sequence[ssrc].wrapping_add(random.below(40_000) as u16),
                _ => sequence[ssrc].wrapping_add(1),
            };
            if random.below(2000) == 0 {
                out.remove_stream(ssrc as u32);
            }
            let packet = rtp(ssrc as u32, number, &(step as u32).to_be_bytes());
            match protect(&mut out, &packet) {
                Ok(sent) => {
                    sequence[ssrc] = number;
                    let index = (0..2000u64)
                        .map(|roc| roc << 16 | u64::from(number))
                        .find(|index| oracle.protect_rtp(&packet, *index) == sent);
                    assert!(used.insert((ssrc as u32, index.expect("some index"))), "{profile:?} step {step}");
                }
                Err(_) => refused += 1,
            }
            if out.spent.len() == 4 {
                break;
            }
        }
        assert!(refused > 0 && used.len() > 100);
    }
}

#[test]
fn h12_a_removed_ssrc_does_not_come_back_under_the_same_key() {
    let mut out = sender(SrtpProfile::AeadAes256Gcm);
    assert!(protect(&mut out, &rtp(1, 1, b"first")).is_ok());
    assert_eq!(protect(&mut out, &rtp(1, 1, b"other")), Err(DropReason::SrtpReplay));
    out.remove_stream(1);
    assert_eq!(protect(&mut out, &rtp(1, 1, b"other")), Err(DropReason::SrtpKeyExhausted));
    assert_eq!(out.add_stream(1), Err(DropReason::SrtpKeyExhausted));
    out.remove_stream(2);
    assert_eq!(out.add_stream(2), Ok(()), "never used, so never spent");
}

#[test]
fn row_036_a_key_is_not_used_beyond_its_lifetime() {
    let mut out = sender(SrtpProfile::AeadAes128Gcm);
    out.add_stream(1).expect("add");
    out.streams.get_mut(&1).expect("stream").rtcp_sent = MAX_RTCP_INDEX - 1;
    assert!(protect_control(&mut out, &rtcp(1, 1)).is_ok());
    assert_eq!(protect_control(&mut out, &rtcp(1, 1)), Err(DropReason::SrtpKeyExhausted));
    out.streams.get_mut(&1).expect("stream").rtp_sent = MAX_RTP_INDEX - 1;
    assert!(protect(&mut out, &rtp(1, 1, b"x")).is_ok());
    assert_eq!(protect(&mut out, &rtp(1, 2, b"x")), Err(DropReason::SrtpKeyExhausted));
}

#[test]
fn a_buffer_without_room_for_the_tag_is_refused_before_anything_is_written() {
    for profile in SrtpProfile::ALL {
        let mut out = sender(profile);
        let packet = rtp(1, 1, b"x");
        for room in 0..profile.rtp_overhead() {
            let mut buffer = packet.clone();
            buffer.resize(packet.len() + room, 0xee);
            assert_eq!(out.protect_rtp(&mut buffer, packet.len()), Err(DropReason::TooLarge));
            assert_eq!(&buffer[..packet.len()], &packet[..]);
        }
        assert_eq!(out.protect_rtp(&mut [0; 4], usize::MAX), Err(DropReason::TooLarge));
        assert_eq!(out.protect_rtcp(&mut [0; 4], usize::MAX), Err(DropReason::TooLarge));
    }
}

#[test]
fn a_key_of_the_wrong_length_is_refused() {
    for profile in SrtpProfile::ALL {
        let short = KeyMaterial::new(&[1; 27]).expect("short");
        assert!(SrtpReceiver::new(&profile, &short).is_err());
        assert!(SrtpSender::new(&profile, &short).is_err());
    }
}

#[test]
fn buffers_need_no_alignment() {
    for profile in SrtpProfile::ALL {
        let (mut out, mut back) = (sender(profile), receiver(profile));
        for shift in 0..8usize {
            let packet = rtp(1, shift as u16, b"payload of some length");
            let mut buffer = vec![0u8; shift + packet.len() + profile.rtp_overhead()];
            buffer[shift..shift + packet.len()].copy_from_slice(&packet);
            out.protect_rtp(&mut buffer[shift..], packet.len()).expect("protect");
            let len = back.unprotect_rtp(&mut buffer[shift..]).expect("open");
            assert_eq!(&buffer[shift..shift + len], &packet[..]);
        }
    }
}

#[test]
fn the_wrong_key_opens_nothing() {
    for profile in SrtpProfile::ALL {
        let mut other = key(profile).as_bytes().to_vec();
        other[3] ^= 1;
        let mut back = SrtpReceiver::new(&profile, &KeyMaterial::new(&other).expect("length")).expect("receiver");
        let sent = protect(&mut sender(profile), &rtp(1, 1, b"x")).expect("protect");
        assert_eq!(open(&mut back, &sent), Err(DropReason::SrtpAuth));
    }
}
