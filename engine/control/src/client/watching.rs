//! The client's calls about what looks at media: observers, traces, decision logs.

use std::time::Duration;

use super::call::Call;
use super::types::{AudioLevelObserverOptions, Id};
use super::{Client, ClientError, unexpected};
use crate::schema as fb;

impl Client {
    /// Makes an observer that tells who is loud.
    pub fn create_audio_level_observer(&self, router: Id, options: &AudioLevelObserverOptions) -> Call<Id> {
        let body = fb::CreateAudioLevelObserverT {
            max_entries: options.max_entries,
            threshold: options.threshold,
            interval_ms: milliseconds(options.interval),
        };
        self.call(router, fb::RequestBodyT::CreateAudioLevelObserver(Box::new(body)), created)
    }

    /// Makes an observer that tells who is the dominant speaker, deciding each `interval` (300 ms is usual).
    pub fn create_active_speaker_observer(&self, router: Id, interval: Duration) -> Call<Id> {
        let body = fb::CreateActiveSpeakerObserverT { interval_ms: milliseconds(interval) };
        self.call(router, fb::RequestBodyT::CreateActiveSpeakerObserver(Box::new(body)), created)
    }

    /// Lets an observer hear an audio producer.
    pub fn observe(&self, observer: Id, producer: Id) -> Call<()> {
        self.done(observer, fb::RequestBodyT::Observe(Box::new(fb::ObserveT { producer })))
    }

    /// Lets an observer hear a producer no longer.
    pub fn unobserve(&self, observer: Id, producer: Id) -> Call<()> {
        self.done(observer, fb::RequestBodyT::Unobserve(Box::new(fb::UnobserveT { producer })))
    }

    /// Chooses what of a producer or consumer is told as [`Event::Trace`](super::Event::Trace); none switches it off.
    pub fn set_trace(&self, object: Id, kinds: &[fb::TraceKind]) -> Call<()> {
        let body = fb::SetTraceT { kinds: Some(kinds.to_vec()) };
        self.done(object, fb::RequestBodyT::SetTrace(Box::new(body)))
    }

    /// Keeps the latest decisions about the media of a transport or consumer; 0 rows is off.
    pub fn keep_decisions(&self, object: Id, rows: u32) -> Call<()> {
        self.done(object, fb::RequestBodyT::KeepDecisions(Box::new(fb::KeepDecisionsT { rows })))
    }

    /// Writes copies of a transport's packets to a new file in the engine's tap directory;
    /// [`Event::TapClosed`](super::Event::TapClosed) tells the end.
    pub fn start_tap(&self, transport: Id, tap: &fb::StartTapT) -> Call<()> {
        self.done(transport, fb::RequestBodyT::StartTap(Box::new(tap.clone())))
    }

    /// Ends a tap.
    pub fn stop_tap(&self, transport: Id) -> Call<()> {
        self.done(transport, fb::RequestBodyT::StopTap(Box::default()))
    }

    /// What was kept, the oldest first.
    pub fn decisions(&self, object: Id) -> Call<fb::DecisionsT> {
        self.call(object, fb::RequestBodyT::GetDecisions(Box::default()), |reply| match reply {
            fb::ReplyBodyT::Decisions(decisions) => Ok(*decisions),
            _ => Err(unexpected("another reply than Decisions")),
        })
    }
}

fn created(reply: fb::ReplyBodyT) -> Result<Id, ClientError> {
    match reply {
        fb::ReplyBodyT::Created(created) => Ok(created.id),
        _ => Err(unexpected("another reply than Created")),
    }
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
