//! The shard's deadlines: one queue over all objects, so that neither a packet nor a wake-up scans
//! them.
//!
//! Told: "this timer of this object is due then". Tells: the earliest deadline, and which timers are
//! due. A binary heap with lazy deletion: moving a deadline later costs nothing (the entry in the heap
//! finds out when it surfaces), moving it earlier costs one entry. The state of each timer is a
//! [`Slot`] that lives in its object, so a closed object takes its timers along. Limits: at most one
//! live entry for each slot, and stale ones that surface by themselves.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use sfu_wire::id::ObjectId;
use sfu_wire::time::Time;

/// What a timer does when it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerKind {
    /// Consent has run out, and sending stops (RFC 7675); or a postponed ICE event is told.
    Ice,
    /// The handshake's last flight is sent again (RFC 6347, section 4.2.4), or the handshake fails.
    Dtls,
    /// Transport-wide feedback and the bitrate bound go to the peer.
    Feedback,
    /// A pipe shows that it lives, and looks whether the other end does.
    KeepAlive,
    /// A producer or consumer has RTCP to send: reports, NACKs, key-frame requests.
    Stream,
    /// An observer's interval is over.
    Observer,
    /// A tap has lasted as long as it may.
    Tap,
}

/// The state of one timer, kept in the object that it belongs to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slot {
    /// When it is due, as the object wants it.
    deadline: Option<Time>,
    /// The earliest entry for it in the heap.
    queued: Option<Time>,
}

impl Slot {
    /// When it is due.
    pub fn deadline(&self) -> Option<Time> {
        self.deadline
    }
}

/// The queue.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Time, ObjectId, TimerKind)>>,
}

impl Timers {
    /// Makes an empty queue with room for `capacity` timers.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { heap: BinaryHeap::with_capacity(capacity) }
    }

    /// Sets or clears a timer.
    pub fn arm(&mut self, slot: &mut Slot, object: ObjectId, kind: TimerKind, deadline: Option<Time>) {
        slot.deadline = deadline;
        let Some(deadline) = deadline else { return };
        if slot.queued.is_none_or(|queued| deadline < queued) {
            slot.queued = Some(deadline);
            self.heap.push(Reverse((deadline, object, kind)));
        }
    }

    /// Takes the next entry that is not later than `now`. The caller finds the object's slot and asks
    /// [`Timers::is_due`]; an object that is gone needs nothing.
    pub fn pop(&mut self, now: Time) -> Option<Entry> {
        let Reverse((at, _, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse((at, object, kind))| Entry { at, object, kind })
    }

    /// Whether a popped entry means that the timer is due; a timer that has moved to a later time is
    /// queued again. A timer that is due is cleared.
    pub fn is_due(&mut self, now: Time, slot: &mut Slot, entry: &Entry) -> bool {
        if slot.queued != Some(entry.at) {
            return false;
        }
        slot.queued = None;
        match slot.deadline {
            Some(deadline) if deadline <= now => {
                slot.deadline = None;
                true
            }
            later => {
                self.arm(slot, entry.object, entry.kind, later);
                false
            }
        }
    }

    /// The earliest entry. It may turn out to be stale: a wake-up for nothing, never a missed one.
    pub fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Entries, stale ones included.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// No entry.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

/// An entry that surfaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    at: Time,
    /// Whose timer.
    pub object: ObjectId,
    /// Which timer.
    pub kind: TimerKind,
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_wire::id::ObjectKind;

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    fn id() -> ObjectId {
        ObjectId::new(0, ObjectKind::Transport, 1, 1)
    }

    fn fires(timers: &mut Timers, slot: &mut Slot, now: Time) -> usize {
        let mut n = 0;
        while let Some(entry) = timers.pop(now) {
            n += usize::from(timers.is_due(now, slot, &entry));
        }
        n
    }

    #[test]
    fn a_timer_moved_later_fires_once_at_the_later_time() {
        let (mut timers, mut slot) = (Timers::default(), Slot::default());
        timers.arm(&mut slot, id(), TimerKind::Ice, Some(at(10)));
        for ms in 11..1000 {
            timers.arm(&mut slot, id(), TimerKind::Ice, Some(at(ms)));
        }
        assert_eq!(timers.len(), 1, "moving later adds no entry");
        assert_eq!(fires(&mut timers, &mut slot, at(998)), 0);
        assert_eq!(timers.next(), Some(at(999)));
        assert_eq!(fires(&mut timers, &mut slot, at(999)), 1);
        assert_eq!(fires(&mut timers, &mut slot, at(5000)), 0);
    }

    #[test]
    fn a_timer_moved_earlier_fires_at_the_earlier_time_and_never_again() {
        let (mut timers, mut slot) = (Timers::default(), Slot::default());
        timers.arm(&mut slot, id(), TimerKind::Dtls, Some(at(100)));
        timers.arm(&mut slot, id(), TimerKind::Dtls, Some(at(10)));
        assert_eq!(fires(&mut timers, &mut slot, at(10)), 1);
        assert_eq!(fires(&mut timers, &mut slot, at(200)), 0);
        assert!(timers.is_empty());
    }

    #[test]
    fn a_cleared_timer_does_not_fire_and_can_be_set_again() {
        let (mut timers, mut slot) = (Timers::default(), Slot::default());
        timers.arm(&mut slot, id(), TimerKind::Dtls, Some(at(10)));
        timers.arm(&mut slot, id(), TimerKind::Dtls, None);
        assert_eq!(fires(&mut timers, &mut slot, at(20)), 0);
        timers.arm(&mut slot, id(), TimerKind::Dtls, Some(at(30)));
        assert_eq!(fires(&mut timers, &mut slot, at(30)), 1);
    }
}
