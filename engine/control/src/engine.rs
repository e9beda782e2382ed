//! The engine handle: bytes in, bytes out, from any thread.
//!
//! Told: requests ([`Engine::submit`]). Tells: replies and events ([`Engine::poll`]), and when there are any
//! ([`Engine::wait`], [`Engine::event_fd`]). A request that `submit` accepts gets exactly one reply; one that it
//! refuses gets none. Limits: the runtime's queues, and as many answers waiting here as one shard may have requests
//! in flight.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sfu_core::command::{CommandError, ErrorCode};
use sfu_runtime::{MediaError, Output, Runtime, ShardRequest, StartError};

use crate::controller::{Controller, Prepared, Step};
use crate::decode;
use crate::options::EngineOptions;

/// Why a request was not accepted; no reply will come. `Malformed` (the bytes), `AlreadyExists` (the request id is in
/// flight), `Busy` (a queue is full) or `Closed`.
pub type SubmitError = CommandError;

/// What one poll did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PollOutcome {
    /// Bytes written: whole messages.
    pub written: usize,
    /// Bytes of the next message that waits; 0 if none does. With `written` 0 the buffer is too small for it.
    pub needed: usize,
}

struct State {
    controller: Controller,
    /// Encoded messages that wait for the caller.
    ready: VecDeque<Vec<u8>>,
    outputs: Vec<Output>,
    closed: bool,
}

/// A running engine.
pub struct Engine {
    state: Mutex<State>,
    runtime: Runtime,
    /// Answers that may wait here before local requests are refused as BUSY.
    ready_limit: usize,
}

/// Outputs taken from the runtime at a time.
const BATCH: usize = 256;

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("shards", &self.shard_count()).finish_non_exhaustive()
    }
}

fn closed() -> CommandError {
    CommandError::new(ErrorCode::Closed, "", "the engine is shut down")
}

impl Engine {
    /// Starts an engine from a size-prefixed message whose content is EngineOptions.
    pub fn new(options: &[u8]) -> Result<Self, StartError> {
        Self::with_options(&EngineOptions::decode(options)?)
    }

    /// Starts an engine.
    pub fn with_options(options: &EngineOptions) -> Result<Self, StartError> {
        let options = options.resolve(&sfu_runtime::preflight::usable_cpus())?;
        let cpus = options.shards.iter().map(|s| s.cpu).collect();
        let ready_limit = options.command_queue;
        let runtime = Runtime::start(options)?;
        let state = State {
            controller: Controller::new(cpus),
            ready: VecDeque::new(),
            outputs: Vec::with_capacity(BATCH),
            closed: false,
        };
        Ok(Self { state: Mutex::new(state), runtime, ready_limit })
    }

    /// Number of shards.
    pub fn shard_count(&self) -> usize {
        self.runtime.shard_count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while encoding loses one message at worst; the rest of the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one size-prefixed message whose content is a Request. The bytes are free again when this returns.
    pub fn submit(&self, bytes: &[u8]) -> Result<(), SubmitError> {
        let request = Prepared::from(decode::request(bytes)?);
        let mut state = self.lock();
        if state.closed {
            return Err(closed());
        }
        if state.ready.len() >= self.ready_limit.max(BATCH) {
            return Err(CommandError::new(ErrorCode::Busy, "", "too many answers wait: poll them, then try again"));
        }
        match state.controller.accept(request)? {
            Step::Answer(message) => {
                state.ready.push_back(message);
                let state_mut = &mut *state;
                state_mut.ready.extend(state_mut.controller.poll_drained());
                drop(state);
                self.runtime.notify();
                Ok(())
            }
            Step::Dispatch(requests) => {
                let mut first = true;
                for (shard, request) in requests {
                    let token = request.token;
                    if let Err(error) = self.runtime.submit(shard, request) {
                        let error = refusal(error);
                        if first {
                            state.controller.withdraw(token);
                            return Err(error);
                        }
                        // Some shards work already: the reply says what happened.
                        if let Some(message) = state.controller.reply(token, Err(error)) {
                            state.ready.push_back(message);
                        }
                    }
                    first = false;
                }
                Ok(())
            }
        }
    }

    /// Writes as many whole messages as fit, each size-prefixed, one after the other. With both
    /// figures 0 there is nothing to poll. After shutdown the last messages can be polled; then this fails as
    /// `Closed`.
    pub fn poll(&self, buffer: &mut [u8]) -> Result<PollOutcome, SubmitError> {
        let mut state = self.lock();
        let state = &mut *state;
        let mut outcome = PollOutcome::default();
        loop {
            while let Some(message) = state.ready.front() {
                let Some(slot) = buffer.get_mut(outcome.written..outcome.written + message.len()) else {
                    outcome.needed = message.len();
                    // The runtime knows nothing of what waits here.
                    self.runtime.notify();
                    return Ok(outcome);
                };
                slot.copy_from_slice(message);
                outcome.written += message.len();
                state.ready.pop_front();
            }
            self.submit_own(&mut state.controller);
            self.runtime.poll(BATCH, &mut state.outputs);
            if state.outputs.is_empty() {
                break;
            }
            for output in state.outputs.drain(..) {
                state.controller.output(output, &mut state.ready);
            }
            state.ready.extend(state.controller.poll_drained());
        }
        if state.closed && outcome.written == 0 { Err(closed()) } else { Ok(outcome) }
    }

    /// Gives shards what the controller asks of them by itself. What one is too busy for waits for the next poll.
    fn submit_own(&self, controller: &mut Controller) {
        while let Some((shard, request)) = controller.poll_request() {
            let ShardRequest { token, listen, command } = &request;
            let copy = ShardRequest { token: *token, listen: listen.clone(), command: command.clone() };
            match self.runtime.submit(shard, request) {
                Ok(()) => {}
                Err(sfu_runtime::SubmitError::Busy) => return controller.put_back(shard, copy),
                // Its shard is gone, and what it was about with it: there is nobody to answer.
                Err(error @ sfu_runtime::SubmitError::Closed) => {
                    drop(controller.reply(copy.token, Err(refusal(error))))
                }
            }
        }
    }

    /// Gives packets to direct transports: records of object id (8 bytes), length (4 bytes), both little-endian, and
    /// packet. Tells how many packets were taken. A queue that is full gives up its oldest packets, which counts as
    /// `media_queue_full`.
    pub fn send_media(&self, batch: &[u8]) -> (usize, Result<(), SubmitError>) {
        let (taken, verdict) = self.runtime.send_media(batch);
        let error = |error| match error {
            MediaError::Malformed => {
                let text = "a record is cut off, or its packet is longer than a datagram";
                CommandError::new(ErrorCode::Malformed, "", text)
            }
            MediaError::Closed => closed(),
        };
        (taken, verdict.map_err(error))
    }

    /// Writes packets of direct transports as whole records, of the consumer for RTP and of the transport for RTCP.
    pub fn poll_media(&self, buffer: &mut [u8]) -> PollOutcome {
        let (written, needed) = self.runtime.poll_media(buffer);
        PollOutcome { written, needed }
    }

    /// Readable when there is media to poll. It belongs to the engine: neither read nor close it.
    pub fn media_fd(&self) -> BorrowedFd<'_> {
        self.runtime.media_fd()
    }

    /// Blocks until there is media to poll, or the time is over.
    pub fn wait_media(&self, timeout: Option<Duration>) -> bool {
        self.runtime.wait_media(timeout)
    }

    /// Blocks until there is something to poll, the time is over, or the engine shuts down. True if there may be
    /// something to poll.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        {
            let state = self.lock();
            if state.closed || !state.ready.is_empty() {
                return true;
            }
        }
        self.runtime.wait(timeout)
    }

    /// Readable when there is something to poll. It belongs to the engine: neither read nor close it.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.runtime.event_fd()
    }

    /// Ends all shards; what is in flight is answered as `Closed`. Doing it twice is no error.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), SubmitError> {
        // Submitters stop first, so that nothing new is in flight when the shards are gone.
        self.lock().closed = true;
        let ended = self.runtime.shutdown(timeout);
        {
            let mut state = self.lock();
            let state = &mut *state;
            self.runtime.poll(usize::MAX, &mut state.outputs);
            for output in state.outputs.drain(..) {
                state.controller.output(output, &mut state.ready);
            }
            state.controller.fail_all(&closed(), &mut state.ready);
        }
        self.runtime.notify();
        ended.map_err(|e| CommandError::new(ErrorCode::Internal, "", e.to_string()))
    }
}

fn refusal(error: sfu_runtime::SubmitError) -> CommandError {
    let code = match error {
        sfu_runtime::SubmitError::Busy => ErrorCode::Busy,
        sfu_runtime::SubmitError::Closed => ErrorCode::Closed,
    };
    CommandError::new(code, "", error.to_string())
}
