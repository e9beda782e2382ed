//! Requests about what looks at media: observers, traces, decision logs.

use std::time::Duration;

use sfu_core::command::{Command, CommandError};
use sfu_core::observer::ObserverOptions;
use sfu_core::tap::{TapFormat, TapOptions};
use sfu_core::trace::TraceMask;
use sfu_wire::id::{ObjectId, ObjectKind};

use super::plan::{one, plain};
use super::{Controller, Pending, Plan};
use crate::ortc::convert::{invalid, member};
use crate::schema as fb;

type Planned = Result<Plan, CommandError>;

/// A trace names each kind once.
const MAX_KINDS: usize = TraceMask::ALL.len();

impl Controller {
    pub(super) fn create_observer(&self, target: u64, options: ObserverOptions) -> Planned {
        let router = self.object(target, &[ObjectKind::Router])?;
        options.check()?;
        Ok(one(router, Command::CreateObserver { router, options }, Pending::Observer { router }))
    }

    pub(super) fn observe(&self, target: u64, producer: u64, on: bool) -> Planned {
        let observer = self.object(target, &[ObjectKind::Observer])?;
        // A producer that has closed is not observed any more: no error when leaving.
        let producer =
            if on { self.living(producer, &[ObjectKind::Producer], "producer")? } else { ObjectId::from_u64(producer) };
        if !on {
            return Ok(plain(observer, Command::Unobserve { observer, producer }));
        }
        if let Some(router) = self.registry.router_of_observer(observer) {
            self.producer_of(producer.to_u64(), router)?;
        }
        let command = self.across(observer, producer, Command::Observe { observer, producer });
        Ok(plain(observer, command))
    }

    pub(super) fn set_trace(&self, target: u64, body: fb::SetTraceT) -> Planned {
        let object = self.object(target, &[ObjectKind::Producer, ObjectKind::Consumer])?;
        let wanted = body.kinds.unwrap_or_default();
        if wanted.len() > MAX_KINDS {
            return Err(invalid("kinds", format!("{} entries; give each of the {MAX_KINDS} once", wanted.len())));
        }
        let mut kinds = TraceMask::NONE;
        for (i, kind) in wanted.iter().enumerate() {
            let Some((one, _)) = TraceMask::ALL.get(usize::from(kind.0)) else {
                let text = format!("{} is no kind; use 0 to {}", kind.0, MAX_KINDS - 1);
                return Err(invalid(member("", "kinds", i), text));
            };
            kinds = kinds.with(*one);
        }
        Ok(plain(object, Command::SetTrace { object, kinds }))
    }

    pub(super) fn keep_decisions(&self, target: u64, rows: u32) -> Planned {
        let object = self.object(target, &[ObjectKind::Transport, ObjectKind::Consumer])?;
        Ok(plain(object, Command::KeepDecisions { object, rows }))
    }

    pub(super) fn start_tap(&self, target: u64, body: fb::StartTapT) -> Planned {
        let transport = self.object(target, &[ObjectKind::Transport])?;
        let format = match body.format {
            fb::TapFormat::pcapng => TapFormat::Pcapng,
            fb::TapFormat::rtpdump => TapFormat::Rtpdump,
            other => return Err(invalid("format", format!("{} is no format; use 0 or 1", other.0))),
        };
        let options = TapOptions {
            name: body.name,
            format,
            max_bytes: body.max_bytes,
            max_duration: Duration::from_millis(u64::from(body.max_duration_ms)),
            headers_only: body.headers_only,
        };
        options.check()?;
        Ok(plain(transport, Command::StartTap { transport, options }))
    }

    pub(super) fn decisions(&self, target: u64) -> Planned {
        let object = self.object(target, &[ObjectKind::Transport, ObjectKind::Consumer])?;
        Ok(plain(object, Command::DumpDecisions { object }))
    }
}

/// From the schema's words.
pub(super) fn audio_level(body: &fb::CreateAudioLevelObserverT) -> ObserverOptions {
    ObserverOptions::AudioLevel {
        max_entries: body.max_entries,
        threshold: body.threshold,
        interval: Duration::from_millis(u64::from(body.interval_ms)),
    }
}

/// From the schema's words.
pub(super) fn active_speaker(body: &fb::CreateActiveSpeakerObserverT) -> ObserverOptions {
    ObserverOptions::ActiveSpeaker { interval: Duration::from_millis(u64::from(body.interval_ms)) }
}
