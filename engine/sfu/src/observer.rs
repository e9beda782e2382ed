//! Observers: who is loud in a room, and who speaks.
//!
//! Told: producers to listen to, the levels that their packets claim, time. Tells: events, at the end of
//! each interval, if there is anything to say. An observer belongs to a router, hears producers of that
//! router only, and closes with it. Paused, it hears nothing.
//! Limits: producers of one observer and observers of one router by [`crate::limits::Limits`]; a packet
//! costs one search for each observer and no memory. RFC 6464.

use std::time::Duration;

use sfu_proto::active_speaker::ActiveSpeaker;
use sfu_proto::audio_level::{AudioLevels, LevelNews, Volume};
use sfu_wire::id::ObjectId;
use sfu_wire::time::Time;

use crate::command::{CommandError, ErrorCode, Event};
use crate::timers::Slot;

/// Shortest and longest interval that an observer may have.
pub const INTERVALS_MS: (u128, u128) = (100, 10_000);

/// What an observer is to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObserverOptions {
    /// The loudest producers.
    AudioLevel {
        /// So many at most; at least 1.
        max_entries: u16,
        /// Those below it are not told: -127 to 0, dBov.
        threshold: i8,
        /// Length of a window, 100 ms to 10 s.
        interval: Duration,
    },
    /// The dominant speaker.
    ActiveSpeaker {
        /// Distance of decisions, 100 ms to 10 s.
        interval: Duration,
    },
}

impl ObserverOptions {
    /// One entry, -80 dBov, each second.
    pub const AUDIO_LEVEL: Self =
        Self::AudioLevel { max_entries: 1, threshold: -80, interval: Duration::from_millis(1_000) };
    /// Each 300 ms.
    pub const ACTIVE_SPEAKER: Self = Self::ActiveSpeaker { interval: Duration::from_millis(300) };

    /// Refuses what is out of range.
    pub fn check(&self) -> Result<(), CommandError> {
        let invalid = |field: &str, text: String| Err(CommandError::new(ErrorCode::InvalidArgument, field, text));
        let interval = match self {
            Self::AudioLevel { max_entries: 0, .. } => {
                return invalid("max_entries", "0 entries tell nothing; give at least 1".to_owned());
            }
            Self::AudioLevel { threshold, .. } if *threshold > 0 || *threshold == i8::MIN => {
                return invalid("threshold", format!("{threshold} is no level; give -127 to 0 dBov"));
            }
            Self::AudioLevel { interval, .. } | Self::ActiveSpeaker { interval } => interval.as_millis(),
        };
        let (least, most) = INTERVALS_MS;
        if interval < least || interval > most {
            return invalid("interval_ms", format!("{interval} is out of range; give {least} to {most}"));
        }
        Ok(())
    }
}

#[derive(Debug)]
enum Machine {
    Levels(AudioLevels),
    Speaker(ActiveSpeaker),
}

/// See the module's description.
#[derive(Debug)]
pub struct Observer {
    id: ObjectId,
    router: ObjectId,
    options: ObserverOptions,
    paused: bool,
    /// What it hears, in order of addition.
    pub(crate) producers: Vec<ObjectId>,
    machine: Machine,
    pub(crate) timer: Slot,
}

impl Observer {
    /// An observer that hears nothing yet. `options` are checked.
    pub(crate) fn new(now: Time, id: ObjectId, router: ObjectId, options: ObserverOptions) -> Self {
        let machine = match options {
            ObserverOptions::AudioLevel { max_entries, threshold, interval } => {
                Machine::Levels(AudioLevels::new(now, usize::from(max_entries), threshold, interval))
            }
            ObserverOptions::ActiveSpeaker { interval } => Machine::Speaker(ActiveSpeaker::new(now, interval)),
        };
        Self { id, router, options, paused: false, producers: Vec::new(), machine, timer: Slot::default() }
    }

    /// Listens to a producer.
    pub(crate) fn add(&mut self, now: Time, producer: ObjectId) {
        if self.producers.is_empty() {
            // It slept without one.
            self.restart(now);
        }
        self.producers.push(producer);
        match &mut self.machine {
            Machine::Levels(levels) => levels.add(producer),
            Machine::Speaker(speaker) => speaker.add(producer),
        }
    }

    /// No longer listens to a producer.
    pub(crate) fn remove(&mut self, producer: ObjectId) {
        self.producers.retain(|p| *p != producer);
        match &mut self.machine {
            Machine::Levels(levels) => levels.remove(producer),
            Machine::Speaker(speaker) => speaker.remove(producer),
        }
    }

    /// A packet of a producer claims this level.
    #[inline]
    pub(crate) fn handle_level(&mut self, now: Time, producer: ObjectId, level: u8) {
        if self.paused {
            return;
        }
        match &mut self.machine {
            Machine::Levels(levels) => levels.handle_level(producer, level),
            Machine::Speaker(speaker) => speaker.handle_level(now, producer, level),
        }
    }

    /// The interval may be over.
    pub(crate) fn handle_timeout(&mut self, now: Time) -> Option<Event> {
        let observer = self.id;
        match &mut self.machine {
            Machine::Levels(levels) => levels.handle_timeout(now).map(|news| told(observer, news)),
            Machine::Speaker(speaker) => {
                speaker.handle_timeout(now).map(|producer| Event::DominantSpeaker { observer, producer })
            }
        }
    }

    /// Stops or goes on listening. Whoever was loud is no more when it stops.
    pub(crate) fn set_paused(&mut self, now: Time, paused: bool) -> Option<Event> {
        if std::mem::replace(&mut self.paused, paused) == paused {
            return None;
        }
        self.restart(now)
    }

    fn restart(&mut self, now: Time) -> Option<Event> {
        match &mut self.machine {
            Machine::Levels(levels) => levels.restart(now).map(|news| told(self.id, news)),
            Machine::Speaker(speaker) => {
                speaker.restart(now);
                None
            }
        }
    }

    /// When [`Observer::handle_timeout`] has something to do. An observer without producers sleeps once
    /// it has told silence.
    pub(crate) fn next_timeout(&self) -> Option<Time> {
        let next = match &self.machine {
            Machine::Levels(levels) => levels.next_timeout(),
            Machine::Speaker(speaker) => speaker.next_timeout(),
        };
        (!self.paused && (!self.producers.is_empty() || self.is_loud())).then_some(next)
    }

    fn is_loud(&self) -> bool {
        matches!(&self.machine, Machine::Levels(levels) if !levels.is_silent())
    }

    /// Its id.
    pub fn id(&self) -> ObjectId {
        self.id
    }

    /// Its router.
    pub fn router(&self) -> ObjectId {
        self.router
    }

    /// As made.
    pub fn options(&self) -> ObserverOptions {
        self.options
    }

    /// Paused by command.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// The dominant speaker, if it looks for one and there is one.
    pub fn dominant(&self) -> Option<ObjectId> {
        match &self.machine {
            Machine::Levels(_) => None,
            Machine::Speaker(speaker) => speaker.dominant(),
        }
    }
}

fn told(observer: ObjectId, news: LevelNews) -> Event {
    match news {
        LevelNews::Volumes(volumes) => Event::Volumes { observer, volumes },
        LevelNews::Silence => Event::Silence { observer },
    }
}

/// The loudness of a producer, as [`Event::Volumes`] tells it.
pub type ProducerVolume = Volume;
