//! Who is the speaker of a room: dominant speaker identification over three time scales, after
//! I. Volfin and I. Cohen, "Dominant speaker identification for multipoint videoconferencing"
//! (Computer Speech and Language, 2013).
//!
//! Told: sources as they come and go, and the level that each of their packets claims (RFC 6464, 0 is the
//! loudest, 127 is silence). Tells, at the end of each interval: the new dominant speaker, if there is one.
//!
//! ```text
//!   now                                                    1 s ago
//!    |--|--|--|--|--|   |--|--|--|--|--|        ...        |
//!     frames of 20 ms: how much of the frame is speech, 0 to 13      immediate scale
//!    |- block ------|   |- block ------|        ...         10 blocks
//!     frames of a block that are speech, 0 to 5                      medium scale
//!     blocks that are speech, 0 to 10                                long scale
//! ```
//!
//! Each number becomes a score: the logarithm of how much likelier it is under speech (binomial) than under
//! silence (exponential). Another source takes over when it beats the dominant one on all three scales at
//! once: speech now (so the change is quick), speech for a while (so a cough is not enough), and more of it
//! over the last second (so that who is interrupted for a moment stays).
//!
//! Where the paper counts sub-bands with energy, there are only levels here: each four decibel above the
//! source's own background count as one. Time is cut into frames by the clock, so that sources which send
//! nothing while they are silent (DTX) are silent, and packets of 10 to 120 ms weigh by their time.
//! Limits: the sources are the caller's to bound; a packet costs one search and no memory.
//! Left out: what to do while everybody is silent: the last speaker stays.

use std::time::Duration;

use sfu_wire::id::ObjectId;
use sfu_wire::time::Time;

/// Length of a frame.
const FRAME_MS: u64 = 20;
/// Largest immediate number.
const N1: usize = 13;
/// Frames of a block.
const N2: usize = 5;
/// Blocks that are remembered.
const N3: usize = 10;
const FRAMES: usize = N2 * N3;
/// How much a challenger must be ahead on each scale.
const AHEAD: [f32; 3] = [3.0, 2.0, 0.0];
/// Parameter of the distribution under silence, on each scale.
const LAMBDA: [f32; 3] = [0.78, 24.0, 47.0];
/// A score is at least this: the comparison divides.
const LEAST: f32 = 1e-10;
/// A frame is speech from this immediate number on: 16 dB above the background.
const SPEECH: u8 = 4;
/// A block is speech with this many frames of it.
const SPEECH_FRAMES: usize = 3;
/// The latest frames in which the immediate number is looked for, since packets come unevenly.
const IMMEDIATE_FRAMES: usize = 3;
/// The longest packet of Opus, in frames: a longer gap is silence.
const MAX_GAP: u64 = 6;
/// The background is taken to be between these, in dB above -127 dBov, times 16.
const BACKGROUND: (u16, u16) = (47 * 16, 77 * 16);

/// Scores of all numbers of one scale, from 0 upwards.
fn scores<const N: usize>(lambda: f32) -> [f32; N] {
    let n = N - 1;
    let mut choose = 0.0_f32;
    std::array::from_fn(|v| {
        if v > 0 {
            // ln C(n, v) from ln C(n, v - 1).
            choose += ((n - v + 1) as f32).ln() - (v as f32).ln();
        }
        (choose + n as f32 * 0.5_f32.ln() - lambda.ln() + lambda * v as f32).max(LEAST)
    })
}

#[derive(Debug, Clone)]
struct Source {
    id: ObjectId,
    /// Immediate numbers by frame, modulo [`FRAMES`].
    frames: [u8; FRAMES],
    /// The newest frame that has been heard.
    newest: Option<u64>,
    /// The level of the background, dB above -127 dBov, times 16.
    background: u16,
}

impl Source {
    fn new(id: ObjectId) -> Self {
        Self { id, frames: [0; FRAMES], newest: None, background: BACKGROUND.1 }
    }

    /// How much of a frame of this level is speech. The background falls with the level at once and
    /// rises by about 3 dB a second.
    fn immediate(&mut self, level: u8) -> u8 {
        let loudness = u16::from(127 - level.min(127)) * 16;
        self.background = (self.background + 1).min(loudness).clamp(BACKGROUND.0, BACKGROUND.1);
        let above = loudness.saturating_sub(self.background) / 16 / 4;
        above.min(N1 as u16) as u8
    }

    fn handle_level(&mut self, frame: u64, level: u8) {
        let value = self.immediate(level);
        let Some(newest) = self.newest else {
            self.newest = Some(frame);
            self.set(frame, value);
            return;
        };
        // A packet that comes early, since the one before came late, belongs to the frame after that.
        let frame = if frame <= newest { (newest + 1).min(frame + 1) } else { frame };
        if frame <= newest {
            let slot = &mut self.frames[(newest % FRAMES as u64) as usize];
            *slot = value.max(*slot);
            return;
        }
        let fill = if frame - newest <= MAX_GAP { value } else { 0 };
        for missed in (newest + 1).max(frame.saturating_sub(FRAMES as u64))..frame {
            self.set(missed, fill);
        }
        self.set(frame, value);
        self.newest = Some(frame);
    }

    fn set(&mut self, frame: u64, value: u8) {
        self.frames[(frame % FRAMES as u64) as usize] = value;
    }

    /// Immediate, medium and long number at a frame.
    fn numbers(&self, now: u64) -> [usize; 3] {
        let Some(newest) = self.newest else { return [0; 3] };
        // The next packet may be on its way; after that it is silence.
        let silent = now.saturating_sub(newest);
        let silent = if silent <= MAX_GAP { 0 } else { silent };
        let end = newest + silent;
        let frame = |back: u64| match (end.checked_sub(back), back < silent) {
            (Some(frame), false) => self.frames[(frame % FRAMES as u64) as usize],
            _ => 0,
        };
        let immediate = (0..IMMEDIATE_FRAMES as u64).map(frame).max().unwrap_or(0);
        let spoken = |block: usize| {
            let first = (block * N2) as u64;
            (first..first + N2 as u64).filter(|back| frame(*back) >= SPEECH).count()
        };
        let long = (0..N3).filter(|block| spoken(*block) >= SPEECH_FRAMES).count();
        [usize::from(immediate), spoken(0), long]
    }
}

/// The choice of the dominant speaker.
#[derive(Debug)]
pub struct ActiveSpeaker {
    /// In order of their ids.
    sources: Vec<Source>,
    dominant: Option<ObjectId>,
    interval: Duration,
    next: Time,
    immediate: [f32; N1 + 1],
    medium: [f32; N2 + 1],
    long: [f32; N3 + 1],
}

impl ActiveSpeaker {
    /// Decides each `interval`.
    pub fn new(now: Time, interval: Duration) -> Self {
        let [a, b, c] = LAMBDA;
        Self {
            sources: Vec::new(),
            dominant: None,
            interval,
            next: now + interval,
            immediate: scores(a),
            medium: scores(b),
            long: scores(c),
        }
    }

    /// A source may be heard from now on. Twice is once.
    pub fn add(&mut self, id: ObjectId) {
        if let Err(at) = self.find(id) {
            self.sources.insert(at, Source::new(id));
        }
    }

    /// A source is gone; if it was dominant, nobody is until the next one speaks.
    pub fn remove(&mut self, id: ObjectId) {
        if let Ok(at) = self.find(id) {
            self.sources.remove(at);
        }
        if self.dominant == Some(id) {
            self.dominant = None;
        }
    }

    /// A packet of a source claims this level: 0 to 127, as -dBov.
    #[inline]
    pub fn handle_level(&mut self, now: Time, id: ObjectId, level: u8) {
        if let Ok(at) = self.find(id)
            && let Some(source) = self.sources.get_mut(at)
        {
            source.handle_level(frame_at(now), level);
        }
    }

    /// The end of the interval, if it has come: the new dominant speaker, if it is another one.
    pub fn handle_timeout(&mut self, now: Time) -> Option<ObjectId> {
        if now < self.next {
            return None;
        }
        self.next = now + self.interval;
        let frame = frame_at(now);
        let best = match self.dominant.and_then(|id| self.find(id).ok()) {
            Some(at) => self.challenger(frame, at),
            None => self.first(frame),
        }?;
        self.dominant = Some(best);
        Some(best)
    }

    /// Forgets what was heard, as after a pause; the dominant speaker stays.
    pub fn restart(&mut self, now: Time) {
        self.next = now + self.interval;
        for source in &mut self.sources {
            *source = Source::new(source.id);
        }
    }

    /// When the interval ends.
    pub fn next_timeout(&self) -> Time {
        self.next
    }

    /// The dominant speaker.
    pub fn dominant(&self) -> Option<ObjectId> {
        self.dominant
    }

    /// Who speaks, when nobody is dominant: the best on the long scale among those who speak now.
    fn first(&self, frame: u64) -> Option<ObjectId> {
        let speaking = self.sources.iter().map(|s| (s.numbers(frame), s.id));
        let speaking = speaking.filter(|([immediate, medium, long], _)| {
            *immediate >= usize::from(SPEECH) && *medium >= SPEECH_FRAMES && *long > 0
        });
        // The first of equals, so that the same input tells the same.
        speaking.rev().max_by_key(|([_, medium, long], _)| (*long, *medium)).map(|(_, id)| id)
    }

    /// Who beats the dominant speaker on all scales, by the most on the medium one.
    fn challenger(&self, frame: u64, dominant: usize) -> Option<ObjectId> {
        let holder = self.scores_of(self.sources.get(dominant)?, frame);
        let mut best: Option<(f32, ObjectId)> = None;
        for (at, source) in self.sources.iter().enumerate() {
            if at == dominant {
                continue;
            }
            let own = self.scores_of(source, frame);
            let ahead: [f32; 3] = std::array::from_fn(|scale| (own[scale] / holder[scale]).ln());
            let wins = ahead.iter().zip(AHEAD).all(|(by, least)| *by > least);
            if wins && best.is_none_or(|(by, _)| ahead[1] > by) {
                best = Some((ahead[1], source.id));
            }
        }
        best.map(|(_, id)| id)
    }

    fn scores_of(&self, source: &Source, frame: u64) -> [f32; 3] {
        let [immediate, medium, long] = source.numbers(frame);
        let of = |scores: &[f32], v: usize| scores.get(v).copied().unwrap_or(LEAST);
        [of(&self.immediate, immediate), of(&self.medium, medium), of(&self.long, long)]
    }

    fn find(&self, id: ObjectId) -> Result<usize, usize> {
        self.sources.binary_search_by_key(&id, |s| s.id)
    }
}

fn frame_at(now: Time) -> u64 {
    now.as_millis() / FRAME_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sfu_wire::id::ObjectKind;

    const QUIET: u8 = 75;
    const LOUD: u8 = 30;

    fn id(n: u32) -> ObjectId {
        ObjectId::new(0, ObjectKind::Producer, 1, n)
    }

    /// A room with a clock. Each source has a level, or sends nothing.
    struct Room {
        speaker: ActiveSpeaker,
        ms: u64,
        told: Vec<(u64, u32)>,
        packet_ms: u64,
    }

    impl Room {
        fn new(sources: u32) -> Self {
            let mut speaker = ActiveSpeaker::new(Time::ZERO, Duration::from_millis(300));
            (0..sources).for_each(|n| speaker.add(id(n)));
            Self { speaker, ms: 0, told: Vec::new(), packet_ms: 20 }
        }

        fn run(&mut self, ms: u64, levels: &[Option<u8>]) {
            for _ in 0..ms / 10 {
                let now = Time::from_millis(self.ms);
                for (n, level) in levels.iter().enumerate() {
                    if let Some(level) = level.filter(|_| self.ms.is_multiple_of(self.packet_ms)) {
                        self.speaker.handle_level(now, id(n as u32), level);
                    }
                }
                if let Some(dominant) = self.speaker.handle_timeout(now) {
                    self.told.push((self.ms, dominant.index()));
                }
                self.ms += 10;
            }
        }

        fn dominant(&self) -> Option<u32> {
            self.speaker.dominant().map(|id| id.index())
        }
    }

    #[test]
    fn who_speaks_becomes_dominant_and_stays_through_silence() {
        let mut room = Room::new(3);
        room.run(3_000, &[Some(QUIET), Some(QUIET), None]);
        assert_eq!(room.dominant(), None, "background is no speech");
        room.run(1_000, &[Some(QUIET), Some(LOUD), None]);
        assert_eq!(room.dominant(), Some(1));
        room.run(5_000, &[Some(QUIET), Some(QUIET), None]);
        assert_eq!((room.dominant(), room.told.len()), (Some(1), 1));
    }

    #[test]
    fn the_next_speaker_takes_over_within_a_second_or_so() {
        let mut room = Room::new(3);
        room.run(2_000, &[Some(LOUD), Some(QUIET), None]);
        let change = room.ms;
        room.run(3_000, &[Some(QUIET), None, Some(LOUD)]);
        assert_eq!(room.dominant(), Some(2));
        let (at, _) = room.told[1];
        assert!((300..=1_200).contains(&(at - change)), "{} ms", at - change);
    }

    #[test]
    fn a_cough_and_two_voices_at_once_change_nothing() {
        let mut room = Room::new(2);
        room.run(3_000, &[Some(LOUD), Some(QUIET)]);
        room.run(60, &[Some(LOUD), Some(10)]);
        room.run(2_000, &[Some(LOUD), Some(QUIET)]);
        // A long interruption, while the first one goes on.
        room.run(2_000, &[Some(LOUD), Some(LOUD)]);
        assert_eq!(room.told.iter().map(|(_, who)| *who).collect::<Vec<_>>(), [0]);
        // A cough while the speaker takes a breath.
        room.run(200, &[Some(QUIET), Some(20)]);
        room.run(2_000, &[Some(LOUD), Some(QUIET)]);
        assert_eq!(room.dominant(), Some(0));
    }

    #[test]
    fn sources_that_send_nothing_while_silent_are_silent() {
        let mut room = Room::new(2);
        room.run(2_000, &[Some(LOUD), None]);
        room.run(2_000, &[None, Some(LOUD)]);
        assert_eq!(room.dominant(), Some(1));
    }

    #[test]
    fn packets_of_any_length_weigh_by_their_time() {
        for packet_ms in [10, 20, 40, 60, 120] {
            let mut room = Room::new(2);
            room.packet_ms = packet_ms;
            room.run(1_200, &[Some(QUIET), Some(LOUD)]);
            assert_eq!(room.dominant(), Some(1), "{packet_ms} ms");
            room.run(2_400, &[Some(LOUD), Some(QUIET)]);
            assert_eq!(room.dominant(), Some(0), "{packet_ms} ms");
        }
    }

    #[test]
    fn a_noisy_background_is_learned() {
        let mut room = Room::new(2);
        // A fan at -55 dBov, after silence.
        room.run(1_000, &[Some(127), Some(QUIET)]);
        room.run(10_000, &[Some(55), Some(QUIET)]);
        room.run(1_500, &[Some(55), Some(LOUD)]);
        assert_eq!(room.dominant(), Some(1), "the voice beats the fan");
    }

    #[test]
    fn who_leaves_is_not_dominant_and_a_restart_forgets_speech() {
        let mut room = Room::new(2);
        room.run(1_000, &[Some(LOUD), None]);
        room.speaker.remove(id(0));
        assert_eq!(room.dominant(), None);
        room.run(1_000, &[Some(LOUD), None]);
        assert_eq!(room.dominant(), None);
        room.run(900, &[None, Some(LOUD)]);
        room.speaker.restart(Time::from_millis(room.ms));
        assert_eq!(room.speaker.sources[0].numbers(room.ms / FRAME_MS), [0; 3]);
    }

    #[test]
    fn scores_are_the_papers_formula() {
        // v = 2 of 5, p = 1/2, lambda = 24: ln 10 + 5 ln 0.5 - ln 24 + 48.
        let expected = 10_f32.ln() + 5.0 * 0.5_f32.ln() - 24_f32.ln() + 48.0;
        assert!((scores::<{ N2 + 1 }>(24.0)[2] - expected).abs() < 1e-3);
        assert_eq!(scores::<{ N1 + 1 }>(0.78)[0], LEAST, "silence is as unlikely as can be");
    }

    proptest! {
        #[test]
        fn any_levels_at_any_time_choose_a_known_source(
            script in prop::collection::vec((0_u32..5, any::<u8>(), 0_u64..5_000), 0..300),
        ) {
            let mut speaker = ActiveSpeaker::new(Time::ZERO, Duration::from_millis(300));
            let mut known = std::collections::BTreeSet::new();
            let mut ms = 0;
            for (n, level, step) in script {
                match level % 16 {
                    0 => { speaker.add(id(n)); known.insert(id(n)); }
                    1 => { speaker.remove(id(n)); known.remove(&id(n)); }
                    2 => ms += step,
                    _ => { speaker.handle_level(Time::from_millis(ms), id(n), level); ms += step / 200; }
                }
                let now = Time::from_millis(ms);
                if let Some(dominant) = speaker.handle_timeout(now) {
                    prop_assert_eq!(Some(dominant), speaker.dominant());
                }
                prop_assert!(speaker.dominant().is_none_or(|id| known.contains(&id)));
                prop_assert!(speaker.next_timeout() > now);
            }
        }
    }
}
