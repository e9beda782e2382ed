//! What looks at media beside those who receive it: observers, traces, decision logs; their commands and
//! their places on the way of a packet.
//!
//! A packet tests one byte of its producer and one of each consumer ([`Watch`](crate::trace::Watch)); only
//! if somebody looks is anything of this file called. Nothing here allocates for a packet.

use sfu_wire::drop_reason::DropReason;
use sfu_wire::extension::{AudioLevel, ExtensionKind};
use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::media::MediaKind;
use sfu_wire::rtp::RtpView;
use sfu_wire::time::Time;

use crate::command::{CommandError, ErrorCode, Event, Reply};
use crate::decision::Decision;
use crate::observer::{Observer, ObserverOptions};
use crate::outbox::Outbox;
use crate::producer::Ingress;
use crate::shard::Shard;
use crate::timers::TimerKind;
use crate::trace::{Direction, RtpTrace, TraceMask};

impl Shard {
    pub(crate) fn create_observer(
        &mut self,
        now: Time,
        router: ObjectId,
        options: ObserverOptions,
    ) -> Result<Reply, CommandError> {
        let limits = self.limits;
        let entry = self.routers.get_mut(router).ok_or_else(|| CommandError::not_found("target", router))?;
        options.check()?;
        if entry.observers.len() >= limits.observers_per_router {
            let text = format!("the limit of {} observers of one router is reached", limits.observers_per_router);
            return Err(CommandError::new(ErrorCode::ResourceExhausted, "target", text));
        }
        let id = self.observers.insert_with(|id| Observer::new(now, id, router, options)).ok_or_else(|| {
            let text = format!("the limit of {} observers is reached: close some first", limits.observers);
            CommandError::new(ErrorCode::ResourceExhausted, "", text)
        })?;
        entry.observers.push(id);
        Ok(Reply::Created(id))
    }

    pub(crate) fn observe(&mut self, now: Time, id: ObjectId, producer: ObjectId) -> Result<Reply, CommandError> {
        let limit = self.limits.producers_per_observer;
        let observer = self.observers.get_mut(id).ok_or_else(|| CommandError::not_found("target", id))?;
        let held = self.producers.get_mut(producer).ok_or_else(|| CommandError::not_found("producer", producer))?;
        let invalid = |text: &str| Err(CommandError::new(ErrorCode::InvalidArgument, "producer", text));
        if self.transports.get(held.it.transport()).map(|t| t.router) != Some(observer.router()) {
            return invalid("the producer is in another router; observe it with an observer of its own router");
        }
        if held.it.kind() != MediaKind::Audio {
            return invalid("the producer is video; observers listen to audio");
        }
        if observer.producers.contains(&producer) {
            return Ok(Reply::Done);
        }
        if observer.producers.len() >= limit {
            let text = format!("the limit of {limit} producers of one observer is reached");
            return Err(CommandError::new(ErrorCode::ResourceExhausted, "producer", text));
        }
        observer.add(now, producer);
        held.watch.set_observed(true);
        self.observed.entry(producer).or_default().push(id);
        let at = observer.next_timeout();
        self.timers.arm(&mut observer.timer, id, TimerKind::Observer, at);
        self.tell_wish(producer);
        Ok(Reply::Done)
    }

    /// Stops observing; what is not observed is no error.
    pub(crate) fn unobserve(&mut self, id: ObjectId, producer: ObjectId) -> Result<Reply, CommandError> {
        let producer = self.span.mirrors.get(&producer).copied().unwrap_or(producer);
        let observer = self.observers.get_mut(id).ok_or_else(|| CommandError::not_found("target", id))?;
        observer.remove(producer);
        self.forget_observer(producer, id);
        Ok(Reply::Done)
    }

    /// A producer is heard by one observer less.
    fn forget_observer(&mut self, producer: ObjectId, observer: ObjectId) {
        let Some(observers) = self.observed.get_mut(&producer) else { return };
        observers.retain(|o| *o != observer);
        if observers.is_empty() {
            self.observed.remove(&producer);
            if let Some(held) = self.producers.get_mut(producer) {
                held.watch.set_observed(false);
            }
            self.tell_wish(producer);
        }
    }

    /// A producer is gone: nobody hears it any more.
    pub(crate) fn forget_observed(&mut self, producer: ObjectId) {
        for observer in self.observed.remove(&producer).unwrap_or_default() {
            if let Some(observer) = self.observers.get_mut(observer) {
                observer.remove(producer);
            }
        }
    }

    pub(crate) fn close_observer(&mut self, id: ObjectId) -> Option<()> {
        let observer = self.observers.remove(id)?;
        for producer in &observer.producers {
            self.forget_observer(*producer, id);
        }
        if let Some(router) = self.routers.get_mut(observer.router()) {
            router.observers.retain(|o| *o != id);
        }
        Some(())
    }

    pub(crate) fn pause_observer(&mut self, now: Time, id: ObjectId, paused: bool) -> Result<(), CommandError> {
        let observer = self.observers.get_mut(id).ok_or_else(|| CommandError::not_found("target", id))?;
        let event = observer.set_paused(now, paused);
        let at = observer.next_timeout();
        self.timers.arm(&mut observer.timer, id, TimerKind::Observer, at);
        self.tell_observed(event);
        Ok(())
    }

    /// An observer's timer is due.
    pub(crate) fn run_observer(&mut self, now: Time, id: ObjectId) {
        let Some(observer) = self.observers.get_mut(id) else { return };
        let event = observer.handle_timeout(now);
        let at = observer.next_timeout();
        self.timers.arm(&mut observer.timer, id, TimerKind::Observer, at);
        self.tell_observed(event);
    }

    /// Tells what an observer has found, by the ids that the caller knows.
    fn tell_observed(&mut self, event: Option<Event>) {
        let event = event.map(|event| match event {
            Event::DominantSpeaker { observer, producer } => {
                Event::DominantSpeaker { observer, producer: self.origin_of(producer) }
            }
            Event::Volumes { observer, mut volumes } => {
                volumes.iter_mut().for_each(|volume| volume.source = self.origin_of(volume.source));
                Event::Volumes { observer, volumes }
            }
            other => other,
        });
        self.out.events.extend(event);
    }

    pub(crate) fn set_trace(&mut self, id: ObjectId, mask: TraceMask) -> Result<Reply, CommandError> {
        let (allowed, watch) = match id.kind() {
            Some(ObjectKind::Producer) => (TraceMask::OF_PRODUCER, self.producers.get_mut(id).map(|h| &mut h.watch)),
            Some(ObjectKind::Consumer) => (TraceMask::OF_CONSUMER, self.consumers.get_mut(id).map(|h| &mut h.watch)),
            _ => {
                let text = format!("{id} is no producer and no consumer; others have nothing to trace");
                return Err(CommandError::new(ErrorCode::NotFound, "target", text));
            }
        };
        let watch = watch.ok_or_else(|| CommandError::not_found("target", id))?;
        if !mask.is_within(allowed) {
            let text = "a consumer receives no sender reports; leave sr out";
            return Err(CommandError::new(ErrorCode::InvalidArgument, "kinds", text));
        }
        watch.set_traced(mask);
        for lane in self.lanes(id) {
            if let Some(held) = self.consumers.get_mut(lane) {
                held.watch.set_traced(mask);
            }
        }
        if mask != TraceMask::NONE {
            self.out.traces.reserve();
        }
        Ok(Reply::Done)
    }

    pub(crate) fn keep_decisions(&mut self, id: ObjectId, rows: u32) -> Result<Reply, CommandError> {
        let limit = self.limits.decisions;
        let rows = match usize::try_from(rows) {
            Ok(rows) if rows <= limit => rows,
            _ => {
                let text = format!("{rows} are too many; give at most {limit}, or 0 to keep none");
                return Err(CommandError::new(ErrorCode::InvalidArgument, "rows", text));
            }
        };
        let missing = || CommandError::not_found("target", id);
        match id.kind() {
            Some(ObjectKind::Transport) => self.transports.get_mut(id).ok_or_else(missing)?.decisions.keep(rows),
            Some(ObjectKind::Consumer) => {
                let held = self.consumers.get_mut(id).ok_or_else(missing)?;
                held.it.decisions_mut().keep(rows);
                held.watch.set_decisions(rows > 0);
            }
            _ => return Err(no_decisions(id)),
        }
        Ok(Reply::Done)
    }

    pub(crate) fn dump_decisions(&self, id: ObjectId) -> Result<Reply, CommandError> {
        let missing = || CommandError::not_found("target", id);
        let log = match id.kind() {
            Some(ObjectKind::Transport) => &self.transports.get(id).ok_or_else(missing)?.decisions,
            Some(ObjectKind::Consumer) => self.consumers.get(id).ok_or_else(missing)?.it.decisions(),
            _ => return Err(no_decisions(id)),
        };
        let unix = |row: &Decision| (self.epoch_unix_nanos.saturating_add(row.at.as_nanos()), *row);
        Ok(Reply::Decisions { capacity: log.capacity(), rows: log.rows().map(unix).collect() })
    }

    /// Somebody looks at the packets of a producer, and here is one.
    #[cold]
    pub(crate) fn watch_ingress(
        &mut self,
        now: Time,
        id: ObjectId,
        verdict: &Result<Ingress, DropReason>,
        view: &RtpView<'_>,
        (bytes, rtx): (&[u8], bool),
    ) {
        let Some(watch) = self.producers.get(id).map(|held| held.watch) else { return };
        if let Ok(ingress) = verdict
            && watch.is_observed()
        {
            self.hear(now, id, ingress, bytes);
        }
        let packet = RtpTrace {
            ssrc: view.ssrc,
            payload_type: view.payload_type,
            sequence: view.sequence,
            timestamp: view.timestamp,
            marker: view.marker,
            key_frame: verdict.as_ref().is_ok_and(|ingress| ingress.codec.is_video() && ingress.key_frame),
            rtx,
            bytes: u16::try_from(bytes.len()).unwrap_or(u16::MAX),
        };
        self.out.traces.rtp(now, id, watch.traced(), Direction::In, packet);
    }

    /// Gives the level that a packet claims to those who listen.
    fn hear(&mut self, now: Time, producer: ObjectId, ingress: &Ingress, bytes: &[u8]) {
        let span = ingress.extensions.iter().find(|span| span.kind == ExtensionKind::AudioLevel);
        let value = span.and_then(|s| bytes.get(usize::from(s.start)..usize::from(s.start) + usize::from(s.len)));
        let Some(level) = value.and_then(AudioLevel::parse) else { return };
        for observer in self.observed.get(&producer).into_iter().flatten() {
            if let Some(observer) = self.observers.get_mut(*observer) {
                observer.handle_level(now, producer, level.level);
            }
        }
    }
}

/// The header of the datagram that was put into the arena last: it stays readable under SRTP.
#[cold]
pub(crate) fn last_sent(outbox: &Outbox, key_frame: bool, rtx: bool) -> Option<RtpTrace> {
    let transmit = outbox.transmits().last()?;
    let [first, second, rest @ ..] = outbox.bytes(transmit).first_chunk::<12>()?;
    let word = |at: usize| u32::from_be_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
    (first >> 6 == 2).then(|| RtpTrace {
        ssrc: word(6),
        payload_type: second & 0x7f,
        sequence: u16::from_be_bytes([rest[0], rest[1]]),
        timestamp: word(2),
        marker: second & 0x80 != 0,
        key_frame,
        rtx,
        bytes: transmit.len,
    })
}

/// SSRC and sequence number of a datagram that may be RTP; zeros where it is not. They are in clear in
/// SRTP (RFC 3711, section 3.1).
pub(crate) fn header_of(datagram: &[u8]) -> (u32, u16) {
    match datagram.first_chunk::<12>() {
        Some([first, kind, high, low, _, _, _, _, a, b, c, d]) if first >> 6 == 2 && !(192..224).contains(kind) => {
            (u32::from_be_bytes([*a, *b, *c, *d]), u16::from_be_bytes([*high, *low]))
        }
        _ => (0, 0),
    }
}

fn no_decisions(id: ObjectId) -> CommandError {
    let text = format!("{id} is no transport and no consumer; only those keep decisions");
    CommandError::new(ErrorCode::NotFound, "target", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rtp_has_a_header_to_tell_of() {
        let rtp = [0x80, 0x65, 1, 2, 0, 0, 0, 0, 9, 8, 7, 6];
        assert_eq!(header_of(&rtp), (0x0908_0706, 0x0102));
        let mut rtcp = rtp;
        rtcp[1] = 200;
        assert_eq!(header_of(&rtcp), (0, 0));
        assert_eq!(header_of(&rtp[..11]), (0, 0));
        assert_eq!(header_of(&[22; 20]), (0, 0));
    }
}
