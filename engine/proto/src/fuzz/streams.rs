//! Sequences of operations on the stream machines: each byte string is a script.

use std::time::Duration;

use sfu_wire::buf::PacketPool;
use sfu_wire::dependency_descriptor::{DependencyDescriptor, TemplateStructure};
use sfu_wire::rtcp::{DlrrBlock, Nack, TransportCc};
use sfu_wire::scalability::{Layers, ScalabilityMode};
use sfu_wire::time::{MAX_ROUND_TRIP, NtpTime, Time};

use crate::history::History;
use crate::layers::{PacketLayer, Scheme, Selector, TargetTable};
use crate::nack::{MAX_MISSING, NackGenerator};
use crate::receive_stream::ReceiveStream;
use crate::resend::ResendGuard;
use crate::rewrite::{Origin, PictureId, PictureIdMap, SequenceMap, TimestampLine};
use crate::score::{BEST, INACTIVE, INACTIVE_DTX, Score, Totals};
use crate::transport_cc::TransportCcReceiver;

/// Operations of one script; the rest is ignored.
const MAX_STEPS: usize = 4096;

/// Reads a script.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn long(&mut self) -> Option<u32> {
        Some(u32::from(self.word()?) << 16 | u32::from(self.word()?))
    }
}

/// Reception and history: positions are unique, and what is found is what was put there.
pub fn history(data: &[u8]) {
    let mut script = Script(data);
    let pool = PacketPool::new(16);
    let mut stream = ReceiveStream::new(1, 90_000);
    let mut history = History::new(64, 64, Duration::from_millis(500));
    let mut guard = ResendGuard::new();
    let mut now = Time::ZERO;
    let mut newest = None;
    for _ in 0..MAX_STEPS {
        let (Some(op), Some(sequence)) = (script.byte(), script.word()) else {
            return;
        };
        now += Duration::from_millis(u64::from(op >> 3));
        let placed = match op & 7 {
            0..=4 => stream.handle_rtp(now, sequence, u32::from(sequence) * 3000, 90_000, 100),
            5 => stream.handle_repaired(sequence),
            6 => {
                stream.change_ssrc(u32::from(sequence));
                continue;
            }
            _ => {
                let position = u64::from(sequence) + 0x1_0000;
                guard.admit(now, position, Duration::from_millis(u64::from(op)));
                let _ = stream.report_block(now);
                continue;
            }
        };
        let Ok(placed) = placed else { continue };
        assert_eq!(placed.position as u16, sequence);
        assert_eq!(placed.newest, newest.is_none_or(|n| placed.position > n));
        newest = newest.max(Some(placed.position));
        let Some(packet) = pool.take(&sequence.to_be_bytes()) else {
            continue;
        };
        history.insert(placed.position, now, packet, placed.position);
        assert!(history.len() <= 64 && history.bytes() <= 64);
        let kept = history.lookup(now, placed.position);
        assert!(kept.is_none_or(|e| e.meta == placed.position && e.packet[..] == sequence.to_be_bytes()));
        assert!(kept.is_some() || !placed.newest);
    }
}

/// Scores and round trips: whatever is told of a stream, they stay within their bounds, and silence is
/// noticed once.
pub fn score(data: &[u8]) {
    let mut script = Script(data);
    let patience = [None, Some(INACTIVE), Some(INACTIVE_DTX)];
    let mut score = Score::new(patience[usize::from(script.byte().unwrap_or(0) % 3)]);
    let mut stream = ReceiveStream::new(1, 48_000);
    let mut totals = Totals::default();
    let mut now = Time::from_millis(1);
    for _ in 0..MAX_STEPS {
        let (Some(op), Some(number)) = (script.byte(), script.long()) else {
            return;
        };
        let before = score.score();
        let changed = match op % 6 {
            0 => score.handle_packet(now),
            1 => {
                totals.expected = totals.expected.saturating_add(u64::from(number));
                totals.received = totals.received.saturating_add(u64::from(number >> (op >> 4)));
                false
            }
            2 => {
                totals.repaired = totals.repaired.saturating_add(u64::from(number >> 8));
                totals.repairs = totals.repairs.saturating_add(u64::from(number >> (op >> 4)));
                false
            }
            3 => score.handle_report(totals),
            4 => {
                let ntp = NtpTime(u64::from(number) << 16);
                let answer = DlrrBlock { ssrc: 1, last_rr: u32::from(op), delay_since_last_rr: number >> 3 };
                stream.handle_dlrr(ntp, &answer);
                assert!(stream.round_trip().is_none_or(|rtt| rtt <= MAX_ROUND_TRIP));
                false
            }
            _ => {
                now += Duration::from_micros(u64::from(number >> 8));
                let changed = score.handle_timeout(now);
                assert!(!score.handle_timeout(now) && score.next_timeout().is_none_or(|at| at > now));
                changed
            }
        };
        assert!(score.score() <= BEST && changed == (score.score() != before));
        assert!(score.is_active() || score.score() == 0);
    }
}

/// The three maps: what is mapped is found again, nothing is mapped twice, lines do not go back.
pub fn rewrite(data: &[u8]) {
    let mut script = Script(data);
    let mut sequence = SequenceMap::new(script.word().unwrap_or(0), 256);
    let mut line = TimestampLine::new(90_000);
    let mut pictures = PictureIdMap::default();
    let mut position = 0x1_0000u64;
    let mut now = Time::ZERO;
    let mut last: Option<u32> = None;
    for step in 0..MAX_STEPS {
        let (Some(op), Some(by), Some(timestamp)) = (script.byte(), script.byte(), script.long()) else {
            return;
        };
        now += Duration::from_millis(u64::from(by));
        position += u64::from(by);
        match op % 5 {
            0 => {
                assert_eq!(sequence.start(position), sequence.stretch());
                assert!(sequence.is_news(position));
            }
            1 => {
                let late = position - u64::from(op);
                if !sequence.skip(late, 0) {
                    assert!(sequence.fill(late).is_some() && sequence.map(late, 0).is_none());
                }
            }
            _ => {}
        }
        if let Some((out, note)) = sequence.map(position, step as u16) {
            let origin = Origin { position: position as u32, note, stretch: sequence.stretch() };
            assert_eq!(sequence.locate(out), Some(origin));
        }
        let _ = sequence.map(position.saturating_sub(u64::from(op)), 0);
        if op & 0x80 != 0 {
            line.restart();
        }
        let steady = line.map(now, position, timestamp, if op & 0x40 == 0 { 90_000 } else { 48_000 });
        assert!(by == 0 || last.is_none_or(|last| steady.wrapping_sub(last) as i32 >= -90_000));
        last = if by == 0 { last } else { Some(steady) };
        let id = PictureId { picture_id: Some(timestamp as u16 & 0x7F), wide: op & 0x20 != 0, tl0_pic_idx: Some(by) };
        let out = pictures.start(id).apply(id);
        assert!(out.picture_id.is_some_and(|id| id <= if out.wide { 0x7FFF } else { 0x7F }));
        pictures.written(out);
    }
}

/// Layer selectors: a packet of a picture that was decided on gets the same verdict again, and what was not
/// wanted when its picture began is not forwarded.
pub fn layers(data: &[u8]) {
    let mut script = Script(data);
    let mut selector = Selector::new();
    let mut structure = TemplateStructure::default();
    let mut table = TargetTable::EMPTY;
    let mut timestamp = 0u32;
    for _ in 0..MAX_STEPS {
        let (Some(op), Some(bits), Some(by)) = (script.byte(), script.word(), script.byte()) else {
            return;
        };
        match op & 15 {
            0 => selector.set_target(Layers::new(by >> 4, by & 15)),
            1 => selector.start(ScalabilityMode {
                spatial: (by & 7) + 1,
                key: by & 8 != 0,
                simulcast: if by & 16 == 0 { 1 } else { (by & 7) + 1 },
                ..ScalabilityMode::default()
            }),
            2 => table.set_active(u32::from(bits)),
            3..=5 => {
                let at = usize::from(bits) % script.0.len().max(1);
                let value = script.0.get(at..(at + usize::from(by)).min(script.0.len())).unwrap_or_default();
                let Ok(descriptor) = DependencyDescriptor::parse(value, &mut structure) else { continue };
                if descriptor.has_structure {
                    table = TargetTable::new(&structure, table.generation.wrapping_add(1));
                }
                let layer = PacketLayer::of_descriptor(&descriptor, table.generation);
                select_twice(&mut selector, &layer, timestamp, &table);
                let (active, _) = selector.active_targets(&table, layer.frame);
                assert_eq!(active & !table.active(), 0, "a target that is not produced");
            }
            _ => {
                timestamp =
                    timestamp.wrapping_add(if op & 64 == 0 { u32::from(by) } else { 0u32.wrapping_sub(by.into()) });
                let flag = |bit: u16| bits >> bit & 1 == 1;
                let layer = PacketLayer {
                    scheme: [Scheme::Vp8, Scheme::H265, Scheme::Vp9][usize::from(op >> 4 & 3) % 3],
                    spatial: (bits & 7) as u8,
                    temporal: (bits >> 3 & 7) as u8,
                    key: flag(6) && flag(7),
                    inter: flag(8),
                    inter_layer: flag(9),
                    switch_up: flag(10),
                    ends_frame: flag(11),
                    ..PacketLayer::default()
                };
                select_twice(&mut selector, &layer, timestamp, &table);
            }
        }
        let (target, current) = (selector.target(), selector.current());
        assert!(target.spatial < 8 && target.temporal < 8 && current.spatial < 8 && current.temporal < 8);
    }
}

fn select_twice(selector: &mut Selector, layer: &PacketLayer, timestamp: u32, table: &TargetTable) {
    let first = selector.select(layer, timestamp, table);
    let again = selector.select(layer, timestamp, table);
    assert_eq!((first.forward, first.dropped), (again.forward, again.dropped), "{layer:?}");
    assert!(first.forward || !first.marker);
}

/// The NACK register: bounded, and all that it asks for can be written.
pub fn nack(data: &[u8]) {
    let mut script = Script(data);
    let mut nack = NackGenerator::new();
    let mut position = 0x1_0000u64;
    let mut now = Time::ZERO;
    let mut buf = [0u8; 400];
    for _ in 0..MAX_STEPS {
        let (Some(op), Some(by)) = (script.byte(), script.word()) else {
            return;
        };
        now += Duration::from_millis(u64::from(op & 63));
        match op >> 6 {
            0 | 1 => {
                position += u64::from(by % 300);
                nack.handle_packet(now, position);
            }
            2 => {
                nack.handle_packet(now, position.saturating_sub(u64::from(by % 2000)));
            }
            _ if by & 1 == 0 => nack.restart(position),
            _ => nack.forget_before(position.saturating_sub(u64::from(by % 100))),
        }
        assert!(nack.len() <= MAX_MISSING);
        let mut out = [0u16; 64];
        for _ in 0..=MAX_MISSING / 64 {
            let count = nack.poll(now, None, &mut out);
            if count == 0 {
                break;
            }
            assert!(Nack::write(&mut buf, 1, 2, &out[..count]).is_ok());
        }
        assert_eq!(nack.poll(now, None, &mut out), 0, "nothing is due twice");
        let _ = nack.take_gave_up();
    }
}

/// Transport-wide feedback: every feedback can be parsed, and each round ends.
pub fn tcc(data: &[u8]) {
    let mut script = Script(data);
    let mut receiver = TransportCcReceiver::new();
    let mut now = Time::from_millis(1);
    let mut sequence = 0u16;
    let mut buf = [0u8; 1200];
    for _ in 0..MAX_STEPS {
        let (Some(op), Some(by)) = (script.byte(), script.word()) else {
            return;
        };
        sequence = if op & 1 == 0 { sequence.wrapping_add(by & 15) } else { by };
        let early = if op & 2 == 0 { 0 } else { u64::from(by) * 1000 };
        receiver.on_packet(now - Duration::from_micros(early), sequence);
        now += Duration::from_micros(u64::from(op) * u64::from(by & 0xFF));
        let mut rounds = 0;
        while let Some(len) = receiver.poll(now, 1, 2, &mut buf) {
            let feedback = TransportCc::parse(&buf[..len]);
            assert!(feedback.is_ok_and(|f| f.arrivals().count() == usize::from(f.status_count)));
            rounds += 1;
            assert!(rounds <= 4096);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::rtcp_schedule::scatter;

    /// The targets hold over random scripts; fuzzers go on from there.
    #[test]
    fn random_scripts_hold() {
        for seed in 0..300u64 {
            let script: Vec<u8> = (0..2000u64).map(|k| scatter(seed << 32 | k) as u8).collect();
            super::history(&script);
            super::rewrite(&script);
            super::layers(&script);
            super::nack(&script);
            super::tcc(&script);
            super::score(&script);
        }
    }
}
