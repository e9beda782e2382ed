//! The named doors between foreign threads and a shard.
//!
//! [`Inbox`]: requests to one shard. [`Outlet`]: outputs of all shards to whoever polls.
//!
//! Both are short `Mutex<VecDeque>` sections and not lock-free rings. The reason is closing: when a
//! shard ends, every accepted request still has to be answered once, and "closed" and "queued" must
//! be decided together. Media never passes here. A shard looks at an atomic count before it takes
//! the lock, so a shard without commands never touches it; holders only move values.
//!
//! Limits: a shard has at most `capacity` requests *in flight*: accepted, with the reply not yet
//! polled. That one number bounds the queue of requests and reserves the slot of each reply. Events
//! beyond their bound coalesce per object and kind, keeping the latest; telemetry is dropped and
//! counted. Wake-ups: at most one eventfd write per sleep of a shard, and one per change of the
//! outlet from empty to non-empty.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sfu_wire::id::ObjectId;

use crate::error::SubmitError;
use crate::event_fd::EventFd;
use crate::hand_over::HandOver;
use crate::media_queue::{MAX_BYTES, MediaQueue};

/// A poisoned lock only says that a holder panicked between two moves of whole values: the queue is
/// still a queue.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const RUNNING: u8 = 0;
const PARKED: u8 = 1;
const NOTIFIED: u8 = 2;

/// Requests to one shard.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    state: Mutex<InboxState<T>>,
    /// Length of the queue, readable without the lock.
    queued: AtomicUsize,
    /// Requests accepted whose reply nobody has polled.
    in_flight: AtomicUsize,
    capacity: usize,
    sleep: AtomicU8,
    wake: EventFd,
    stopping: AtomicBool,
    /// Packets for direct transports.
    media: Mutex<MediaQueue>,
    has_media: AtomicBool,
    /// See [`Inbox::call`].
    called: AtomicBool,
    /// Datagrams that arrived at other shards.
    pub(crate) handed: HandOver,
    /// Other shards have written to their rings, or made room in this one's, or are gone.
    has_peers: AtomicBool,
    /// Eventfd writes, for tests and statistics.
    wakes: AtomicU64,
}

#[derive(Debug)]
struct InboxState<T> {
    queue: VecDeque<T>,
    closed: bool,
}

impl<T> Inbox<T> {
    /// An inbox for `capacity` requests in flight.
    pub(crate) fn new(capacity: usize) -> std::io::Result<Self> {
        Ok(Self {
            state: Mutex::new(InboxState { queue: VecDeque::with_capacity(capacity), closed: false }),
            queued: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            capacity,
            sleep: AtomicU8::new(RUNNING),
            wake: EventFd::new()?,
            stopping: AtomicBool::new(false),
            media: Mutex::new(MediaQueue::new(MAX_BYTES)),
            has_media: AtomicBool::new(false),
            called: AtomicBool::new(false),
            handed: HandOver::default(),
            has_peers: AtomicBool::new(false),
            wakes: AtomicU64::new(0),
        })
    }

    /// Accepts a request and reserves its reply, or refuses it whole.
    pub(crate) fn push(&self, request: T) -> Result<(), SubmitError> {
        let reserved = self.in_flight.fetch_update(SeqCst, SeqCst, |n| (n < self.capacity).then_some(n + 1));
        {
            let mut state = lock(&self.state);
            if state.closed || self.stopping.load(SeqCst) {
                drop(state);
                if reserved.is_ok() {
                    self.replies_polled(1);
                }
                return Err(SubmitError::Closed);
            }
            if reserved.is_err() {
                return Err(SubmitError::Busy);
            }
            state.queue.push_back(request);
            self.queued.store(state.queue.len(), SeqCst);
        }
        self.notify();
        Ok(())
    }

    /// Wakes the shard if it sleeps.
    pub(crate) fn notify(&self) {
        if self.sleep.compare_exchange(PARKED, NOTIFIED, SeqCst, SeqCst).is_ok() {
            self.wakes.fetch_add(1, SeqCst);
            self.wake.raise();
        }
    }

    /// Has the shard look at what others hold for it. Unlike a mere [`Inbox::notify`], a call that comes between the
    /// shard's last look and its sleep is not lost.
    pub(crate) fn call(&self) {
        self.called.store(true, SeqCst);
        self.notify();
    }

    /// The shard is about to look (shard's side).
    pub(crate) fn answer_call(&self) {
        if self.called.load(SeqCst) {
            self.called.store(false, SeqCst);
        }
    }

    /// `n` replies were taken away: their slots are free again.
    pub(crate) fn replies_polled(&self, n: usize) {
        let _ = self.in_flight.fetch_update(SeqCst, SeqCst, |v| Some(v.saturating_sub(n)));
    }

    /// The next request (shard's side).
    pub(crate) fn pop(&self) -> Option<T> {
        if self.queued.load(SeqCst) == 0 {
            return None;
        }
        let mut state = lock(&self.state);
        let request = state.queue.pop_front();
        self.queued.store(state.queue.len(), SeqCst);
        request
    }

    /// Gives packets to the shard's direct transports.
    pub(crate) fn push_media<'a>(
        &self,
        packets: impl Iterator<Item = (ObjectId, &'a [u8])>,
    ) -> Result<(), SubmitError> {
        {
            // Decided as for requests, so that nothing is queued for a shard that has ended.
            let state = lock(&self.state);
            if state.closed || self.stopping.load(SeqCst) {
                return Err(SubmitError::Closed);
            }
            let mut media = lock(&self.media);
            packets.for_each(|(object, packet)| media.push(object, packet));
            self.has_media.store(true, SeqCst);
        }
        self.notify();
        Ok(())
    }

    /// Packets for direct transports wait.
    pub(crate) fn has_media(&self) -> bool {
        self.has_media.load(SeqCst)
    }

    /// Takes packets for direct transports into `buffer` (shard's side): bytes, and how many were given up.
    pub(crate) fn take_media(&self, buffer: &mut [u8]) -> (usize, u64) {
        let mut media = lock(&self.media);
        let (written, _) = media.take(buffer);
        self.has_media.store(!media.is_empty(), SeqCst);
        (written, media.take_lost())
    }

    /// The shard is to look at the rings of the others.
    pub(crate) fn raise_peers(&self) {
        self.has_peers.store(true, SeqCst);
        self.notify();
    }

    /// Whether it is to do so; once for each time that somebody says so, or more (shard's side).
    pub(crate) fn take_peers(&self) -> bool {
        // Lowered before the rings are looked at: whoever writes after that raises it again.
        self.has_peers.load(SeqCst) && self.has_peers.swap(false, SeqCst)
    }

    /// Something waits for the shard.
    pub(crate) fn has_work(&self) -> bool {
        self.queued.load(SeqCst) > 0
            || self.has_media.load(SeqCst)
            || self.has_peers.load(SeqCst)
            || self.called.load(SeqCst)
            || self.handed.has_some()
            || self.is_stopping()
    }

    /// The shard is about to sleep; false when it must not, since something came in.
    pub(crate) fn prepare_to_park(&self) -> bool {
        self.sleep.store(PARKED, SeqCst);
        if self.has_work() {
            self.sleep.store(RUNNING, SeqCst);
            return false;
        }
        true
    }

    /// The shard is awake again; `readable` says that its eventfd woke it.
    pub(crate) fn unparked(&self, readable: bool) {
        self.sleep.store(RUNNING, SeqCst);
        if readable {
            self.wake.lower();
        }
    }

    /// Asks the shard to end.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, SeqCst);
        self.notify();
    }

    /// The shard was asked to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    /// Gives back what was accepted but not taken, and goes on.
    pub(crate) fn empty(&self) -> VecDeque<T> {
        self.handed.close_connections(false);
        let mut state = lock(&self.state);
        self.queued.store(0, SeqCst);
        self.sleep.store(RUNNING, SeqCst);
        std::mem::take(&mut state.queue)
    }

    /// Refuses everything from now on, and gives back what was accepted but not taken.
    pub(crate) fn close(&self) -> VecDeque<T> {
        self.handed.close_connections(true);
        let mut state = lock(&self.state);
        state.closed = true;
        self.queued.store(0, SeqCst);
        std::mem::take(&mut state.queue)
    }

    /// Requests in the queue, requests whose reply nobody has polled, and the most of the latter.
    pub(crate) fn depth(&self) -> (usize, usize, usize) {
        (self.queued.load(SeqCst), self.in_flight.load(SeqCst), self.capacity)
    }

    /// What the shard sleeps on.
    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// How often the shard was woken by an eventfd write.
    #[cfg(test)]
    pub(crate) fn wakes(&self) -> u64 {
        self.wakes.load(SeqCst)
    }
}

/// How an output behaves in a full queue.
pub(crate) enum Retention<K> {
    /// Kept without exception: a reply, whose slot was reserved.
    Reserved,
    /// The latest of its key is kept.
    Latest(K),
    /// May be dropped and counted.
    Telemetry,
    /// No output of its own: so much telemetry was lost before it came here.
    Lost(u64),
}

/// An output of a shard.
pub(crate) trait Item {
    /// Identifies "the same state of the same object".
    type Key: Hash + Eq + Copy + std::fmt::Debug;
    /// How it behaves in a full queue.
    fn retention(&self) -> Retention<Self::Key>;
}

#[derive(Debug)]
struct Lane<T: Item> {
    queue: VecDeque<T>,
    /// Number of the first element of `queue`, counted from the beginning of time.
    first: u64,
    /// Number of the latest element of each key that is in the queue.
    latest: HashMap<T::Key, u64, foldhash::fast::RandomState>,
    /// Elements that are not replies.
    events: usize,
    lost: u64,
}

impl<T: Item> Lane<T> {
    fn push(&mut self, item: T, max_events: usize) {
        match item.retention() {
            Retention::Reserved => self.queue.push_back(item),
            Retention::Latest(key) => {
                if self.events >= max_events
                    && let Some(number) = self.latest.get(&key)
                    && let Some(slot) = self.queue.get_mut((*number - self.first) as usize)
                {
                    *slot = item;
                    return;
                }
                self.latest.insert(key, self.first + self.queue.len() as u64);
                self.events += 1;
                self.queue.push_back(item);
            }
            Retention::Lost(count) => self.lost = self.lost.saturating_add(count),
            Retention::Telemetry if self.events >= max_events => self.lost += 1,
            Retention::Telemetry => {
                self.events += 1;
                self.queue.push_back(item);
            }
        }
    }

    /// The oldest element, and whether it was a reply.
    fn pop(&mut self) -> Option<(T, bool)> {
        let item = self.queue.pop_front()?;
        let number = self.first;
        self.first += 1;
        let retention = item.retention();
        if let Retention::Latest(key) = &retention
            && self.latest.get(key) == Some(&number)
        {
            self.latest.remove(key);
        }
        let reply = matches!(retention, Retention::Reserved);
        if !reply {
            self.events -= 1;
        }
        Some((item, reply))
    }
}

/// Outputs of all shards: one lane each, so that shards never wait for one another.
#[derive(Debug)]
pub(crate) struct Outlet<T: Item> {
    lanes: Vec<Mutex<Lane<T>>>,
    max_events: usize,
    raised: AtomicBool,
    ready: EventFd,
    /// The lane at which the next poll begins, so that none starves.
    turn: AtomicUsize,
}

/// What [`Outlet::poll`] took besides the outputs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Polled {
    /// Replies taken from each lane that had any: (lane, replies).
    pub(crate) replies: Vec<(usize, usize)>,
    /// Telemetry dropped since the last poll.
    pub(crate) lost: u64,
}

impl<T: Item> Outlet<T> {
    /// An outlet with `lanes` lanes of `max_events` events.
    pub(crate) fn new(lanes: usize, max_events: usize) -> std::io::Result<Self> {
        let lane = || Lane {
            queue: VecDeque::new(),
            first: 0,
            latest: HashMap::with_hasher(foldhash::fast::RandomState::default()),
            events: 0,
            lost: 0,
        };
        Ok(Self {
            lanes: (0..lanes).map(|_| Mutex::new(lane())).collect(),
            max_events,
            raised: AtomicBool::new(false),
            ready: EventFd::new()?,
            turn: AtomicUsize::new(0),
        })
    }

    /// Publishes the outputs of one turn of a shard and empties `items`.
    pub(crate) fn publish(&self, lane: usize, items: &mut Vec<T>) {
        if items.is_empty() {
            return;
        }
        {
            let mut lane = lock(&self.lanes[lane]);
            for item in items.drain(..) {
                lane.push(item, self.max_events);
            }
        }
        self.raise();
    }

    pub(crate) fn raise(&self) {
        if !self.raised.swap(true, SeqCst) {
            self.ready.raise();
        }
    }

    /// Moves at most `max` outputs into `out`, in order for each shard.
    pub(crate) fn poll(&self, max: usize, out: &mut Vec<T>) -> Polled {
        // Lowered first: whoever publishes after this raises it again. A publisher that was between
        // its two steps causes one empty poll, never a lost wake-up.
        self.ready.lower();
        self.raised.store(false, SeqCst);
        let mut polled = Polled { replies: Vec::new(), lost: 0 };
        let mut left = max;
        let mut more = false;
        let start = self.turn.fetch_add(1, SeqCst);
        for i in 0..self.lanes.len() {
            let index = start.wrapping_add(i) % self.lanes.len();
            let mut lane = lock(&self.lanes[index]);
            let mut replies = 0;
            while left > 0
                && let Some((item, reply)) = lane.pop()
            {
                out.push(item);
                left -= 1;
                replies += usize::from(reply);
            }
            polled.lost += std::mem::take(&mut lane.lost);
            more |= !lane.queue.is_empty();
            if replies > 0 {
                polled.replies.push((index, replies));
            }
        }
        if more {
            self.raise();
        }
        polled
    }

    /// Outputs of a lane that wait to be polled.
    pub(crate) fn depth(&self, lane: usize) -> usize {
        self.lanes.get(lane).map_or(0, |lane_of| lock(lane_of).queue.len())
    }

    /// Readable while there is something to poll.
    pub(crate) fn ready_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    /// Waits until there is something to poll.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> bool {
        self.ready.wait(timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Debug, PartialEq)]
    enum Out {
        Reply(u32),
        State(u32, u32),
        Level(u32),
        Missed(u64),
    }

    impl Item for Out {
        type Key = u32;
        fn retention(&self) -> Retention<u32> {
            match self {
                Out::Reply(_) => Retention::Reserved,
                Out::State(object, _) => Retention::Latest(*object),
                Out::Level(_) => Retention::Telemetry,
                Out::Missed(count) => Retention::Lost(*count),
            }
        }
    }

    #[test]
    fn row_081_a_full_inbox_is_busy_until_replies_are_polled() {
        let inbox = Inbox::new(3).unwrap();
        for n in 0..3 {
            inbox.push(n).unwrap();
        }
        assert_eq!(inbox.push(9), Err(SubmitError::Busy));
        // The shard taking requests frees nothing: their replies are still to come.
        assert_eq!((inbox.pop(), inbox.pop(), inbox.pop(), inbox.pop()), (Some(0), Some(1), Some(2), None));
        assert_eq!(inbox.push(9), Err(SubmitError::Busy));
        inbox.replies_polled(1);
        inbox.push(9).unwrap();
        assert_eq!(inbox.push(10), Err(SubmitError::Busy));
    }

    #[test]
    fn a_sleeping_shard_is_woken_once_and_a_running_one_never() {
        let inbox = Inbox::new(100).unwrap();
        (0..10).for_each(|n| inbox.push(n).unwrap());
        assert_eq!(inbox.wakes(), 0);
        assert!(!inbox.prepare_to_park(), "there is work: no sleep");
        while inbox.pop().is_some() {}
        assert!(inbox.prepare_to_park());
        (0..10).for_each(|n| inbox.push(n).unwrap());
        assert_eq!(inbox.wakes(), 1);
        assert!(sys_readable(&inbox));
        inbox.unparked(true);
        assert!(!sys_readable(&inbox));
        (0..10).for_each(|n| inbox.push(n).unwrap());
        assert_eq!(inbox.wakes(), 1);
        while inbox.pop().is_some() {}
        assert!(inbox.prepare_to_park());
        inbox.stop();
        assert_eq!(inbox.wakes(), 2);
    }

    #[test]
    fn a_call_between_the_last_look_and_the_sleep_keeps_the_shard_awake() {
        let inbox = Inbox::<u32>::new(1).unwrap();
        inbox.answer_call();
        inbox.call();
        assert!(!inbox.prepare_to_park());
        inbox.answer_call();
        assert!(inbox.prepare_to_park());
        inbox.call();
        assert!(sys_readable(&inbox));
    }

    fn sys_readable<T>(inbox: &Inbox<T>) -> bool {
        crate::sys::poll_in(inbox.wake_fd(), Some(Duration::ZERO))
    }

    #[test]
    fn a_closed_inbox_gives_back_what_it_had_and_takes_no_more() {
        let inbox = Inbox::new(4).unwrap();
        inbox.push(1).unwrap();
        inbox.push(2).unwrap();
        assert_eq!(inbox.close(), [1, 2]);
        assert_eq!(inbox.push(3), Err(SubmitError::Closed));
        let stopped = Inbox::new(1).unwrap();
        stopped.push(1).unwrap();
        stopped.stop();
        assert_eq!(stopped.push(2), Err(SubmitError::Closed), "closed wins over busy");
    }

    #[test]
    fn the_outlet_is_raised_when_it_stops_being_empty_and_lowered_when_it_is_drained() {
        let outlet = Outlet::new(2, 10).unwrap();
        let mut out = Vec::new();
        assert!(!outlet.wait(Some(Duration::ZERO)));
        outlet.publish(0, &mut vec![Out::Reply(1), Out::Reply(2)]);
        outlet.publish(1, &mut vec![Out::Reply(3)]);
        assert!(outlet.wait(None));
        outlet.poll(2, &mut out);
        assert!(outlet.wait(Some(Duration::ZERO)), "one is left");
        let polled = outlet.poll(10, &mut out);
        assert_eq!(polled.replies.iter().map(|(_, n)| n).sum::<usize>(), 1);
        assert!(!outlet.wait(Some(Duration::ZERO)));
        assert_eq!(out.len(), 3);
    }

    #[test]
    fn row_081_states_coalesce_per_object_and_telemetry_drops_with_a_count() {
        let outlet = Outlet::new(1, 4).unwrap();
        let mut items = vec![Out::State(1, 0), Out::State(2, 0), Out::Level(0), Out::State(3, 0)];
        // Full now: known objects coalesce, new objects still get in, telemetry does not.
        for n in 1..100_000 {
            items.extend([Out::State(1, n), Out::Level(n), Out::State(2, n)]);
        }
        items.extend([Out::State(4, 7), Out::Missed(7), Out::Reply(5)]);
        outlet.publish(0, &mut items);
        let mut out = Vec::new();
        let polled = outlet.poll(usize::MAX, &mut out);
        let last = 99_999;
        let expected = [
            Out::State(1, last),
            Out::State(2, last),
            Out::Level(0),
            Out::State(3, 0),
            Out::State(4, 7),
            Out::Reply(5),
        ];
        assert_eq!(out, expected);
        assert_eq!(polled, Polled { replies: vec![(0, 1)], lost: 99_999 + 7 });
        // Below the bound every step is told.
        outlet.publish(0, &mut vec![Out::State(1, 0), Out::State(1, 1)]);
        out.clear();
        outlet.poll(1, &mut out);
        outlet.publish(0, &mut vec![Out::State(1, 2)]);
        outlet.poll(9, &mut out);
        assert_eq!(out, [Out::State(1, 0), Out::State(1, 1), Out::State(1, 2)]);
    }

    #[test]
    fn every_accepted_request_is_answered_under_contention() {
        let inbox = Arc::new(Inbox::new(8).unwrap());
        let outlet = Arc::new(Outlet::<Out>::new(1, 8).unwrap());
        const EACH: u32 = 2_000;
        let shard = {
            let (inbox, outlet) = (Arc::clone(&inbox), Arc::clone(&outlet));
            std::thread::spawn(move || {
                let mut served = 0;
                while served < 2 * EACH {
                    let mut replies = Vec::new();
                    while let Some(n) = inbox.pop() {
                        replies.push(Out::Reply(n));
                        served += 1;
                    }
                    outlet.publish(0, &mut replies);
                    if inbox.prepare_to_park() && served < 2 * EACH {
                        let readable = crate::sys::poll_in(inbox.wake_fd(), None);
                        inbox.unparked(readable);
                    }
                }
            })
        };
        let submit = |from: u32| {
            let inbox = Arc::clone(&inbox);
            std::thread::spawn(move || {
                for n in from..from + EACH {
                    while inbox.push(n).is_err() {
                        std::thread::yield_now();
                    }
                }
            })
        };
        let submitters = [submit(0), submit(EACH)];
        let mut seen = vec![0u8; 2 * EACH as usize];
        let mut out = Vec::new();
        while seen.contains(&0) {
            assert!(outlet.wait(Some(Duration::from_secs(20))), "lost wake-up");
            for (_, replies) in outlet.poll(16, &mut out).replies {
                inbox.replies_polled(replies);
            }
            for item in out.drain(..) {
                let Out::Reply(n) = item else { panic!() };
                seen[n as usize] += 1;
            }
        }
        submitters.into_iter().for_each(|thread| thread.join().unwrap());
        shard.join().unwrap();
        assert!(seen.iter().all(|n| *n == 1));
    }
}
