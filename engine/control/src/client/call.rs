//! One request under way: a slot that the pump fills, a future and a blocking wait on it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::types::ClientError;
use crate::schema as fb;

pub(super) type Answer = Result<fb::ReplyBodyT, ClientError>;

#[derive(Default)]
struct SlotState {
    answer: Option<Answer>,
    waker: Option<Waker>,
}

#[derive(Default)]
pub(super) struct Slot {
    state: Mutex<SlotState>,
    ready: Condvar,
}

/// A panic of another holder leaves these small states whole, so poisoning says nothing.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    pub(super) fn fill(&self, answer: Answer) {
        let mut state = lock(&self.state);
        state.answer = Some(answer);
        let waker = state.waker.take();
        drop(state);
        self.ready.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A request under way: a future of any executor, or [`wait`](Self::wait) for it. Dropping it drops only the answer.
#[must_use = "a call does nothing visible until it is awaited or waited for"]
pub struct Call<T> {
    pub(super) slot: Arc<Slot>,
    pub(super) convert: fn(fb::ReplyBodyT) -> Result<T, ClientError>,
}

impl<T> Call<T> {
    /// Blocks until the answer is there. Not from within an event callback: that is the pump's thread.
    pub fn wait(self) -> Result<T, ClientError> {
        let mut state = lock(&self.slot.state);
        loop {
            if let Some(answer) = state.answer.take() {
                drop(state);
                return answer.and_then(self.convert);
            }
            state = self.slot.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Future for Call<T> {
    type Output = Result<T, ClientError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.slot.state);
        match state.answer.take() {
            Some(answer) => {
                drop(state);
                Poll::Ready(answer.and_then(self.convert))
            }
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call")
    }
}
