//! Why: the latest decisions about the media of a transport or a consumer, kept while somebody asks.
//!
//! Told: what was not forwarded and the reason, which layers were chosen and the cause, each with its
//! moment. Tells: the latest of them, the oldest first ([`DecisionLog::rows`]).
//!
//! Off, a log is one pointer and each note one branch. Switched on, it takes its memory at once and never
//! more: a note allocates nothing. Refusals that repeat are one row with a count, so that a paused
//! consumer does not push everything else out. Limits: [`Limits::decisions`](crate::limits::Limits).
//! Left out: what to do about it.

use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;
use sfu_wire::ring::Ring;
use sfu_wire::scalability::Layers;
use sfu_wire::time::Time;

/// What made a consumer's choice of layers change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LayerCause {
    /// The stream begins.
    Start,
    /// The controller prefers other layers.
    Preferred,
    /// The target's key frame, or switching point, has arrived.
    SwitchPoint,
    /// A layer that was in use, or wanted, is not sent any more.
    Inactive,
    /// A layer is sent (again).
    Active,
    /// Quality of the layers as received has changed.
    Score,
    /// Another producer is followed.
    Source,
    /// The consumer or its producer was paused.
    Paused,
}

impl LayerCause {
    /// All causes.
    pub const ALL: [Self; 8] = [
        Self::Start,
        Self::Preferred,
        Self::SwitchPoint,
        Self::Inactive,
        Self::Active,
        Self::Score,
        Self::Source,
        Self::Paused,
    ];

    /// The stable snake-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Preferred => "preferred",
            Self::SwitchPoint => "switch_point",
            Self::Inactive => "inactive",
            Self::Active => "active",
            Self::Score => "score",
            Self::Source => "source",
            Self::Paused => "paused",
        }
    }
}

/// A choice of layers, with the numbers that it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerDecision {
    /// Why now.
    pub cause: LayerCause,
    /// What the controller wants at most; `None` is all there is.
    pub preferred: Option<Layers>,
    /// What is aimed at; `None` is nothing.
    pub target: Option<Layers>,
    /// What is sent from now on; `None` is nothing.
    pub current: Option<Layers>,
    /// Score of the target's stream, 0 to 10.
    pub score: u8,
    /// Bitrate of the target as received, bit/s; 0 if not known.
    pub bitrate: u32,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A packet was not forwarded, or not taken.
    Drop {
        /// Why.
        reason: DropReason,
        /// SSRC on the wire that it came from, or would have gone to; 0 if there was none to read.
        ssrc: u32,
        /// Its sequence number there, or 0.
        sequence: u16,
        /// So many in a row for the same reason; SSRC and sequence number are those of the last one.
        count: u32,
    },
    /// Layers were chosen.
    Layers(LayerDecision),
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// When; for repeated refusals the moment of the last one.
    pub at: Time,
    /// Whose packet or layers: a consumer, a producer, or the transport itself.
    pub object: ObjectId,
    /// What.
    pub what: What,
}

/// The latest decisions, if anybody wants them.
#[derive(Debug, Default)]
pub struct DecisionLog(Option<Box<Ring<Decision>>>);

impl DecisionLog {
    /// Keeps the latest `rows` from now on; 0 switches it off and gives the memory back. What was kept
    /// before is forgotten.
    pub fn keep(&mut self, rows: usize) {
        self.0 = (rows > 0).then(|| Box::new(Ring::new(rows)));
    }

    /// Somebody wants them.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// So many rows are kept at most.
    pub fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, |ring| ring.cap())
    }

    /// A packet was refused.
    #[inline]
    pub fn note_drop(&mut self, at: Time, object: ObjectId, reason: DropReason, packet: (u32, u16), n: u32) {
        if let Some(ring) = &mut self.0 {
            note_drop(ring, at, object, reason, packet, n);
        }
    }

    /// Layers were chosen for a consumer.
    #[inline]
    pub fn note_layers(&mut self, at: Time, consumer: ObjectId, decision: LayerDecision) {
        if let Some(ring) = &mut self.0 {
            ring.push_evicting(Decision { at, object: consumer, what: What::Layers(decision) });
        }
    }

    /// What is kept, the oldest first.
    pub fn rows(&self) -> impl Iterator<Item = &Decision> {
        self.0.iter().flat_map(|ring| ring.iter())
    }
}

#[cold]
fn note_drop(
    ring: &mut Ring<Decision>,
    at: Time,
    object: ObjectId,
    reason: DropReason,
    (ssrc, sequence): (u32, u16),
    n: u32,
) {
    let newest = ring.len().checked_sub(1).and_then(|last| ring.get_mut(last));
    if let Some(Decision { at: last, object: of, what }) = newest
        && *of == object
        && let What::Drop { reason: why, ssrc: s, sequence: q, count } = what
        && *why == reason
    {
        (*last, *s, *q, *count) = (at, ssrc, sequence, count.saturating_add(n));
        return;
    }
    ring.push_evicting(Decision { at, object, what: What::Drop { reason, ssrc, sequence, count: n } });
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_wire::id::ObjectKind;

    fn id(index: u32) -> ObjectId {
        ObjectId::new(0, ObjectKind::Consumer, 1, index)
    }

    fn layers(cause: LayerCause) -> LayerDecision {
        LayerDecision {
            cause,
            preferred: None,
            target: Some(Layers::new(2, 1)),
            current: None,
            score: 9,
            bitrate: 1_000,
        }
    }

    #[test]
    fn off_keeps_nothing_and_on_keeps_the_latest() {
        let mut log = DecisionLog::default();
        log.note_layers(Time::from_millis(1), id(1), layers(LayerCause::Start));
        assert_eq!((log.rows().count(), log.is_on(), log.capacity()), (0, false, 0));
        log.keep(3);
        for (n, cause) in LayerCause::ALL.into_iter().enumerate() {
            log.note_layers(Time::from_millis(n as u64), id(1), layers(cause));
        }
        let kept: Vec<_> = log.rows().map(|row| row.at).collect();
        assert_eq!(kept, [5, 6, 7].map(Time::from_millis));
        log.keep(0);
        assert_eq!(log.rows().count(), 0);
    }

    #[test]
    fn refusals_in_a_row_are_one_row_and_others_are_not_pushed_out() {
        let mut log = DecisionLog::default();
        log.keep(4);
        log.note_layers(Time::from_millis(0), id(1), layers(LayerCause::Start));
        for n in 1..1_000u16 {
            log.note_drop(Time::from_millis(u64::from(n)), id(1), DropReason::ConsumerPaused, (7, n), 1);
        }
        log.note_drop(Time::from_millis(2_000), id(2), DropReason::ConsumerPaused, (8, 5), 1);
        log.note_drop(Time::from_millis(2_001), id(2), DropReason::TooLarge, (8, 6), 2);
        let rows: Vec<_> = log.rows().copied().collect();
        assert_eq!(rows.len(), 4);
        let paused = What::Drop { reason: DropReason::ConsumerPaused, ssrc: 7, sequence: 999, count: 999 };
        assert_eq!((rows[1].at, rows[1].what), (Time::from_millis(999), paused));
        assert!(matches!(rows[2].what, What::Drop { ssrc: 8, count: 1, .. }));
        assert!(matches!(rows[3].what, What::Drop { reason: DropReason::TooLarge, count: 2, .. }));
    }

    #[test]
    fn names_are_different() {
        let names: std::collections::BTreeSet<_> = LayerCause::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), LayerCause::ALL.len());
    }
}
