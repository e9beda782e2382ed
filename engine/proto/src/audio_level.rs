//! How loud the sources of a room are, over windows of time.
//!
//! Told: sources as they come and go, and the level that each of their packets claims (RFC 6464, 0 is the
//! loudest, 127 is silence). Tells, at the end of each window: the loudest sources with their mean level
//! in dBov, or once that there is nothing to hear any more. A source counts with at least
//! [`MIN_SAMPLES`] packets in the window: a few stray packets say nothing about it.
//! Limits: the sources are the caller's to bound; a packet costs one search and no memory.
//! Left out: who is heard best as a speaker, which is another question than who is loudest.

use std::time::Duration;

use sfu_wire::id::ObjectId;
use sfu_wire::time::Time;

/// Packets that a source needs in a window.
pub const MIN_SAMPLES: u32 = 10;

/// The mean level of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volume {
    /// Which source.
    pub source: ObjectId,
    /// -127 (silence) to 0 (the loudest), dBov.
    pub dbov: i8,
}

/// What a window has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LevelNews {
    /// Who is loud, the loudest first.
    Volumes(Vec<Volume>),
    /// Nobody is any more.
    Silence,
}

#[derive(Debug, Clone, Copy)]
struct Source {
    id: ObjectId,
    sum: u64,
    count: u32,
}

/// Levels of a set of sources.
#[derive(Debug)]
pub struct AudioLevels {
    /// In order of their ids.
    sources: Vec<Source>,
    max_entries: usize,
    threshold: i8,
    interval: Duration,
    end: Time,
    silent: bool,
}

impl AudioLevels {
    /// Windows of `interval`; at most `max_entries` sources of at least `threshold` dBov are told.
    pub fn new(now: Time, max_entries: usize, threshold: i8, interval: Duration) -> Self {
        Self { sources: Vec::new(), max_entries, threshold, interval, end: now + interval, silent: true }
    }

    /// A source may be heard from now on. Twice is once.
    pub fn add(&mut self, id: ObjectId) {
        if let Err(at) = self.find(id) {
            self.sources.insert(at, Source { id, sum: 0, count: 0 });
        }
    }

    /// A source is gone.
    pub fn remove(&mut self, id: ObjectId) {
        if let Ok(at) = self.find(id) {
            self.sources.remove(at);
        }
    }

    /// A packet of a source claims this level: 0 to 127, as -dBov.
    #[inline]
    pub fn handle_level(&mut self, id: ObjectId, level: u8) {
        if let Ok(at) = self.find(id)
            && let Some(source) = self.sources.get_mut(at)
        {
            source.sum += u64::from(level.min(127));
            source.count = source.count.saturating_add(1);
        }
    }

    /// The end of the window, if it has come: what is to be told.
    pub fn handle_timeout(&mut self, now: Time) -> Option<LevelNews> {
        if now < self.end {
            return None;
        }
        self.end = now + self.interval;
        let mut volumes: Vec<Volume> = self.sources.iter().filter_map(Source::volume).collect();
        self.sources.iter_mut().for_each(|s| (s.sum, s.count) = (0, 0));
        volumes.retain(|v| v.dbov >= self.threshold);
        // Equal levels in the order of the ids, so that the same input tells the same.
        volumes.sort_by_key(|v| std::cmp::Reverse(v.dbov));
        volumes.truncate(self.max_entries);
        if !volumes.is_empty() {
            self.silent = false;
            return Some(LevelNews::Volumes(volumes));
        }
        (!std::mem::replace(&mut self.silent, true)).then_some(LevelNews::Silence)
    }

    /// Begins a window anew, as after a pause: what was heard before is forgotten. Silence, if it was
    /// not silent before.
    pub fn restart(&mut self, now: Time) -> Option<LevelNews> {
        self.end = now + self.interval;
        self.sources.iter_mut().for_each(|s| (s.sum, s.count) = (0, 0));
        (!std::mem::replace(&mut self.silent, true)).then_some(LevelNews::Silence)
    }

    /// Nobody has been loud since silence was told.
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// The end of the window.
    pub fn next_timeout(&self) -> Time {
        self.end
    }

    fn find(&self, id: ObjectId) -> Result<usize, usize> {
        self.sources.binary_search_by_key(&id, |s| s.id)
    }
}

impl Source {
    fn volume(&self) -> Option<Volume> {
        if self.count < MIN_SAMPLES {
            return None;
        }
        let count = u64::from(self.count);
        let mean = (self.sum + count / 2) / count;
        // The mean of values up to 127.
        Some(Volume { source: self.id, dbov: -(mean as i8) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sfu_wire::id::ObjectKind;

    fn id(n: u32) -> ObjectId {
        ObjectId::new(0, ObjectKind::Producer, 1, n)
    }

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn levels(max: usize) -> AudioLevels {
        let mut levels = AudioLevels::new(at(0), max, -80, Duration::from_millis(800));
        (0..4).for_each(|n| levels.add(id(n)));
        levels
    }

    fn say(levels: &mut AudioLevels, source: u32, level: u8, packets: usize) {
        (0..packets).for_each(|_| levels.handle_level(id(source), level));
    }

    #[test]
    fn the_loudest_come_first_and_no_more_than_asked_for() {
        let mut levels = levels(2);
        for (source, level) in [(0, 50), (1, 30), (2, 40), (3, 90)] {
            say(&mut levels, source, level, 40);
        }
        assert_eq!(levels.handle_timeout(at(799)), None);
        let told = levels.handle_timeout(at(800));
        let volumes = vec![Volume { source: id(1), dbov: -30 }, Volume { source: id(2), dbov: -40 }];
        assert_eq!(told, Some(LevelNews::Volumes(volumes)));
        assert_eq!(levels.next_timeout(), at(1_600));
    }

    #[test]
    fn silence_is_told_once_and_only_after_sound() {
        let mut levels = levels(1);
        assert_eq!(levels.handle_timeout(at(800)), None, "it was silent before");
        say(&mut levels, 0, 20, MIN_SAMPLES as usize);
        assert!(matches!(levels.handle_timeout(at(1_600)), Some(LevelNews::Volumes(_))));
        assert_eq!(levels.handle_timeout(at(2_400)), Some(LevelNews::Silence));
        assert_eq!(levels.handle_timeout(at(3_200)), None);
    }

    #[test]
    fn few_packets_say_nothing_and_quiet_ones_are_below_the_threshold() {
        let mut levels = levels(4);
        say(&mut levels, 0, 5, MIN_SAMPLES as usize - 1);
        say(&mut levels, 1, 81, 40);
        assert_eq!(levels.handle_timeout(at(800)), None);
    }

    #[test]
    fn the_level_is_the_mean_of_the_window() {
        let mut levels = levels(1);
        say(&mut levels, 0, 20, 10);
        say(&mut levels, 0, 41, 10);
        let Some(LevelNews::Volumes(told)) = levels.handle_timeout(at(800)) else { panic!("nothing is told") };
        assert_eq!(told[0].dbov, -31);
    }

    #[test]
    fn who_is_gone_is_not_told_and_a_restart_forgets() {
        let mut levels = levels(4);
        say(&mut levels, 0, 20, 40);
        levels.remove(id(0));
        say(&mut levels, 0, 20, 40);
        assert_eq!(levels.handle_timeout(at(800)), None);
        say(&mut levels, 1, 20, 40);
        assert_eq!(levels.restart(at(900)), None);
        assert_eq!(levels.handle_timeout(at(1_700)), None);
        say(&mut levels, 1, 20, 40);
        assert!(levels.handle_timeout(at(2_500)).is_some());
        assert_eq!(levels.restart(at(2_600)), Some(LevelNews::Silence), "a pause ends what was heard");
    }

    proptest! {
        #[test]
        fn volumes_are_in_bounds_and_in_order(
            packets in prop::collection::vec((0_u32..6, any::<u8>()), 0..400),
            threshold in -127_i8..=0,
            max in 0_usize..8,
        ) {
            let mut levels = AudioLevels::new(at(0), max, threshold, Duration::from_millis(100));
            (0..4).for_each(|n| levels.add(id(n)));
            for (source, level) in packets {
                levels.handle_level(id(source), level);
            }
            if let Some(LevelNews::Volumes(told)) = levels.handle_timeout(at(100)) {
                prop_assert!(!told.is_empty() && told.len() <= max);
                prop_assert!(told.iter().all(|v| v.dbov >= threshold && v.dbov <= 0 && v.source.index() < 4));
                prop_assert!(told.windows(2).all(|pair| pair[0].dbov >= pair[1].dbov));
            }
        }
    }
}
