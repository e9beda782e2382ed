//! Levels of sources at any time, as a script of four bytes a step: who is loud, and who speaks.

use std::time::Duration;

use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::time::Time;

use crate::active_speaker::ActiveSpeaker;
use crate::audio_level::{AudioLevels, LevelNews};

/// Steps of one script; the rest is ignored.
const MAX_STEPS: usize = 4096;

/// What is told is about sources that are there, in order and within its bounds; silence is never told twice.
pub fn speakers(data: &[u8]) {
    let interval = Duration::from_millis(250);
    let mut now = Time::ZERO;
    let mut levels = AudioLevels::new(now, 2, -90, interval);
    let mut speaker = ActiveSpeaker::new(now, interval);
    let mut known = [false; 8];
    let mut silent = true;
    for step in data.chunks_exact(4).take(MAX_STEPS) {
        let [op, who, level, wait] = [step[0], step[1], step[2], step[3]];
        let index = usize::from(who % 8);
        let id = ObjectId::new(0, ObjectKind::Producer, 1, index as u32);
        match op % 16 {
            0 | 1 => {
                levels.add(id);
                speaker.add(id);
                known[index] = true;
            }
            2 => {
                levels.remove(id);
                speaker.remove(id);
                known[index] = false;
            }
            3 if wait & 15 == 0 => {
                silent |= levels.restart(now).is_some();
                speaker.restart(now);
            }
            // A gap, or a clock that leaps.
            4 => now += Duration::from_millis(u64::from(wait) * if level == 255 { 1 << 20 } else { 40 }),
            _ => {
                for _ in 0..(op >> 4) {
                    levels.handle_level(id, level);
                    speaker.handle_level(now, id, level);
                }
            }
        }
        now += Duration::from_millis(u64::from(wait % 32));
        match levels.handle_timeout(now) {
            Some(LevelNews::Volumes(volumes)) => {
                silent = false;
                assert!((1..=2).contains(&volumes.len()));
                assert!(volumes.iter().all(|v| known[v.source.index() as usize] && (-90..=0).contains(&v.dbov)));
            }
            Some(LevelNews::Silence) => assert!(!std::mem::replace(&mut silent, true), "silence twice"),
            None => {}
        }
        let before = speaker.dominant();
        if let Some(dominant) = speaker.handle_timeout(now) {
            assert_ne!(Some(dominant), before, "the same speaker twice");
        }
        assert!(speaker.dominant().is_none_or(|id| known[id.index() as usize]));
        assert!(levels.next_timeout() > now && speaker.next_timeout() > now);
    }
}
