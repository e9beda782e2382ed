//! The engine's body: shards on their threads, and the one door for everybody else.
//!
//! Told: options, then requests. Tells: outputs. [`Runtime`] is `Send + Sync`; every method may be
//! called from any thread, at once. Limits: [`RuntimeOptions`].
//!
//! A forked child inherits descriptors (all close on exec) but no threads: there, `submit` answers
//! [`SubmitError::Closed`], and `shutdown` and drop return at once and touch nothing.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rand_core::TryRngCore;
use sfu_core::command::{Command, CommandError, ErrorCode, Event, Reply};
use sfu_core::shard::MAX_LIVES;

use crate::clock::{Epoch, ThreadCpuClock};
use crate::core::{ShardCore, ShardSeed, make_shard};
use crate::error::{MediaError, ShutdownError, StartCode, StartError, SubmitError};
use crate::host::{Host, make_executor};
use crate::listen::MAX_SOCKETS;
use crate::load::{LoadCell, ShardLoad};
use crate::mailbox::{Inbox, Item, Outlet, Retention};
use crate::media_io;
use crate::media_queue::{MediaOutlet, records};
use crate::memory::MemoryLimit;
use crate::mesh::{self, Mesh, Port};
use crate::options::{IoBackend, ListenInfo, RuntimeOptions, ShardPlacement, TcpLimits};
use crate::preflight::{self, PreflightOptions, Status};
use crate::shard_loop::ShardLoop;
use crate::shared_port::SharedPorts;
use crate::sys;
use crate::tap::{self, TapSink};

/// Longest time that a start waits for its shards.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time that dropping a runtime waits for its shards.
const DROP_TIMEOUT: Duration = Duration::from_secs(2);
/// Bounds of the queues that an operator may ask for.
const MAX_QUEUE: usize = 1 << 20;

/// A request to a shard.
#[derive(Debug)]
pub struct ShardRequest {
    /// The caller's number: the reply carries it.
    pub token: u64,
    /// Sockets to bind for the command; they are closed again if it fails.
    pub listen: Vec<ListenInfo>,
    /// The command.
    pub command: Command,
}

/// What comes out of an engine.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// The one answer to an accepted request.
    Reply {
        /// The request's number.
        token: u64,
        /// What came of it.
        result: Result<Reply, CommandError>,
    },
    /// Something happened; its object tells the shard.
    Event(Event),
    /// A bug ended a shard: all its objects are gone. Other shards go on.
    ShardFailed {
        /// Which.
        shard: u8,
        /// It is made anew, empty, and takes requests; what it had accepted is answered.
        restarts: bool,
        /// What the panic said.
        text: String,
    },
    /// So much telemetry was dropped since the last time, for want of polling.
    EventsLost(u64),
}

impl Item for Output {
    type Key = (u64, u8);

    fn retention(&self) -> Retention<Self::Key> {
        match self {
            Self::Reply { .. } => Retention::Reserved,
            Self::ShardFailed { shard, .. } => Retention::Latest((u64::from(*shard), 0)),
            Self::EventsLost(_) => Retention::Latest((0, 1)),
            Self::Event(Event::Trace { .. }) => Retention::Telemetry,
            Self::Event(Event::TelemetryLost { count }) => Retention::Lost(*count),
            Self::Event(event) => Retention::Latest(match event {
                Event::Closed { object, .. } => (object.to_u64(), 2),
                Event::RouterFailed { router, .. } => (router.to_u64(), 2),
                Event::IceState { transport, .. } => (transport.to_u64(), 3),
                Event::IceSelectedTuple { transport, .. } => (transport.to_u64(), 4),
                Event::DtlsState { transport, .. } => (transport.to_u64(), 5),
                Event::TransportTuple { transport, rtcp: false, .. } => (transport.to_u64(), 20),
                Event::TransportTuple { transport, rtcp: true, .. } => (transport.to_u64(), 21),
                Event::PipeSilent { transport, .. } => (transport.to_u64(), 22),
                Event::StreamLimitReached { transport, .. } => (transport.to_u64(), 23),
                Event::TapClosed { transport, .. } => (transport.to_u64(), 24),
                // Paused and resumed are two values of one state.
                Event::ProducerPaused { consumer } | Event::ProducerResumed { consumer } => (consumer.to_u64(), 6),
                Event::LayersChanged { consumer, .. } => (consumer.to_u64(), 7),
                Event::ProducerScore { producer, .. } => (producer.to_u64(), 8),
                Event::ConsumerScore { consumer, .. } => (consumer.to_u64(), 9),
                Event::WantedLayers { producer, .. } => (producer.to_u64(), 10),
                Event::VideoOrientation { producer, .. } => (producer.to_u64(), 11),
                // Loud and silent are two values of one state.
                Event::Volumes { observer, .. } | Event::Silence { observer } => (observer.to_u64(), 12),
                Event::DominantSpeaker { observer, .. } => (observer.to_u64(), 13),
                // Dealt with above.
                Event::Trace { object, .. } => (object.to_u64(), 14),
                Event::TelemetryLost { .. } => (0, 14),
            }),
        }
    }
}

/// What all threads of an engine share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) inboxes: Vec<Inbox<ShardRequest>>,
    pub(crate) outlet: Outlet<Output>,
    pub(crate) loads: Vec<LoadCell>,
    pub(crate) media: MediaOutlet,
    pub(crate) mesh: Mesh,
    /// Where taps are written, if they may be.
    pub(crate) taps: Option<TapSink>,
    /// Ports that all shards listen on.
    pub(crate) ports: Arc<SharedPorts>,
    pub(crate) memory: MemoryLimit,
    running: Mutex<Vec<u8>>,
    ended: Condvar,
}

impl Shared {
    /// The shard is made anew: what it had accepted is answered. `outputs` go first.
    pub(crate) fn restart_shard(&self, shard: u8, outputs: &mut Vec<Output>) {
        let index = usize::from(shard);
        self.ports.forget_shard(shard);
        self.tell_end(shard);
        for request in self.inboxes[index].empty() {
            let error = CommandError::new(ErrorCode::Closed, "", "the shard failed before it came to this request");
            outputs.push(Output::Reply { token: request.token, result: Err(error) });
        }
        self.outlet.publish(index, outputs);
    }

    /// Other shards learn of it before anybody else does: whoever acts upon it finds them ready.
    fn tell_end(&self, shard: u8) {
        self.mesh.ended(shard);
        self.inboxes.iter().for_each(Inbox::raise_peers);
    }

    /// The shard will take nothing any more: what it had accepted is answered. `outputs` go first.
    pub(crate) fn close_shard(&self, shard: u8, outputs: &mut Vec<Output>) {
        let index = usize::from(shard);
        self.ports.leave_all(shard);
        self.tell_end(shard);
        for request in self.inboxes[index].close() {
            let error = CommandError::new(ErrorCode::Closed, "", "the shard ended before it came to this request");
            outputs.push(Output::Reply { token: request.token, result: Err(error) });
        }
        self.loads[index].ended();
        self.outlet.publish(index, outputs);
    }
}

/// A running engine.
#[derive(Debug)]
pub struct Runtime {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The process that started it.
    pid: u32,
}

impl Runtime {
    /// Checks the machine, then starts all shards, or none.
    pub fn start(options: RuntimeOptions) -> Result<Self, StartError> {
        let certificate = options.certificate.clone();
        let profiles = options.srtp_profiles.clone();
        Self::start_with(&options, move |seed| make_shard(seed, certificate.clone(), profiles.clone()))
    }

    /// As [`start`](Self::start), with another core for the shards: tests and benchmarks.
    pub fn start_with<S, F>(options: &RuntimeOptions, make: F) -> Result<Self, StartError>
    where
        S: ShardCore + 'static,
        F: Fn(ShardSeed) -> Result<S, CommandError> + Send + Sync + 'static,
    {
        validate(options)?;
        preflight(options)?;
        let count = options.shards.len();
        let resource = |error: std::io::Error| StartError::new(StartCode::Resource, "start", start_failure(&error));
        let mut inboxes = Vec::with_capacity(count);
        for _ in 0..count {
            inboxes.push(Inbox::new(options.command_queue).map_err(resource)?);
        }
        let (taps, tap_jobs) = options.tap_directory.as_deref().map(tap::open).transpose()?.unzip();
        let shared = Arc::new(Shared {
            inboxes,
            outlet: Outlet::new(count, options.event_queue).map_err(resource)?,
            loads: (0..count).map(|_| LoadCell::default()).collect(),
            media: MediaOutlet::new().map_err(resource)?,
            mesh: Mesh::new(count),
            taps,
            ports: Arc::new(SharedPorts::new(count, options.steer_shared_ports)),
            memory: MemoryLimit::of_process(&options.cgroups),
            running: Mutex::new(Vec::new()),
            ended: Condvar::new(),
        });
        let runtime = Self { shared, threads: Mutex::new(Vec::new()), pid: std::process::id() };
        if let Some(jobs) = tap_jobs {
            let shared = Arc::clone(&runtime.shared);
            let body = move || jobs.run(&shared);
            std::thread::Builder::new().name("sfu-taps".to_owned()).spawn(body).map_err(resource)?;
        }
        if count > 1 && options.steer_shared_ports {
            let ports = Arc::clone(&runtime.shared.ports);
            let body = move || {
                sys::block_signals();
                ports.run();
            };
            let thread = std::thread::Builder::new().name("sfu-steering".to_owned()).spawn(body).map_err(resource)?;
            runtime.lock_threads().push(thread);
        }
        // An error on the way drops `runtime`, which ends the shards that did start.
        runtime.start_shards(options, Arc::new(make))?;
        Ok(runtime)
    }

    fn start_shards<S, F>(&self, options: &RuntimeOptions, make: Arc<F>) -> Result<(), StartError>
    where
        S: ShardCore + 'static,
        F: Fn(ShardSeed) -> Result<S, CommandError> + Send + Sync + 'static,
    {
        let epoch = Epoch::now();
        let (started, starts) = sync_channel(options.shards.len());
        let ports = mesh::ports(options.shards.len());
        for ((index, placement), port) in options.shards.iter().enumerate().zip(ports) {
            let mut seed = [0; 32];
            rand_core::OsRng.try_fill_bytes(&mut seed).map_err(no_entropy)?;
            let birth = Birth {
                seed: ShardSeed { index: index as u8, life: 0, seed, epoch_unix_nanos: epoch.unix_nanos() },
                placement: *placement,
                io: options.io,
                tcp: options.tcp,
                epoch,
                shared: Arc::clone(&self.shared),
            };
            self.shared.lock_running().push(index as u8);
            let (make, started) = (Arc::clone(&make), started.clone());
            let body = move || birth.live(port, &*make, &started);
            match std::thread::Builder::new().name(format!("sfu-shard-{index}")).spawn(body) {
                Ok(thread) => self.lock_threads().push(thread),
                Err(error) => {
                    self.shared.ended(index as u8);
                    return Err(StartError::new(StartCode::Resource, "start", start_failure(&error)));
                }
            }
        }
        drop(started);
        wait_for_starts(&starts, options.shards.len())
    }

    fn lock_threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.shared.inboxes.len()
    }

    /// Gives a request to a shard. Accepted means: exactly one [`Output::Reply`] will come.
    pub fn submit(&self, shard: u8, request: ShardRequest) -> Result<(), SubmitError> {
        if self.is_forked() {
            return Err(SubmitError::Closed);
        }
        let inbox = self.shared.inboxes.get(usize::from(shard)).ok_or(SubmitError::Closed)?;
        inbox.push(request)
    }

    /// Moves at most `max` outputs into `out` (and one [`Output::EventsLost`] beyond, if any were).
    /// Outputs of one shard come in order.
    pub fn poll(&self, max: usize, out: &mut Vec<Output>) {
        let polled = self.shared.outlet.poll(max, out);
        for (lane, replies) in polled.replies {
            self.shared.inboxes[lane].replies_polled(replies);
        }
        if polled.lost > 0 {
            out.push(Output::EventsLost(polled.lost));
        }
    }

    /// Gives a batch of packets to direct transports, each record whole (see [`records`]). Tells how many packets were
    /// taken; the first that is no record, or whose shard is gone, ends the batch.
    pub fn send_media(&self, batch: &[u8]) -> (usize, Result<(), MediaError>) {
        let mut taken = 0;
        if self.is_forked() {
            return (taken, Err(MediaError::Closed));
        }
        let mut rest = records(batch).peekable();
        while let Some(record) = rest.peek() {
            let Some((object, _)) = record else { return (taken, Err(MediaError::Malformed)) };
            let shard = object.shard();
            let Some(inbox) = self.shared.inboxes.get(usize::from(shard)) else {
                return (taken, Err(MediaError::Closed));
            };
            // Neighbours of one shard go under one lock.
            let mut run = 0;
            let same = std::iter::from_fn(|| rest.next_if(|r| r.is_some_and(|(o, _)| o.shard() == shard)).flatten());
            if inbox.push_media(same.inspect(|_| run += 1)).is_err() {
                return (taken, Err(MediaError::Closed));
            }
            taken += run;
        }
        (taken, Ok(()))
    }

    /// Moves packets of direct transports into `buffer` as whole records: bytes written, and the size of the next record
    /// that did not fit, or 0.
    pub fn poll_media(&self, buffer: &mut [u8]) -> (usize, usize) {
        self.shared.media.take(buffer)
    }

    /// Readable while there is media to poll. It may be readable once with nothing there.
    pub fn media_fd(&self) -> BorrowedFd<'_> {
        self.shared.media.ready_fd()
    }

    /// Waits until there is media to poll, at most for `timeout`.
    pub fn wait_media(&self, timeout: Option<Duration>) -> bool {
        self.shared.media.wait(timeout)
    }

    /// Readable while there is something to poll. It may be readable once with nothing there.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.shared.outlet.ready_fd()
    }

    /// Makes [`event_fd`](Self::event_fd) readable and wakes waiters: for answers that the floor above gives itself.
    pub fn notify(&self) {
        self.shared.outlet.raise();
        self.shared.media.raise();
    }

    /// Waits until there is something to poll, at most for `timeout`.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        self.shared.outlet.wait(timeout)
    }

    /// What the shards carry.
    pub fn loads(&self) -> Vec<ShardLoad> {
        self.shared.loads.iter().enumerate().map(|(index, load)| load.read(index as u8)).collect()
    }

    /// Ends all shards and joins their threads, waiting at most `timeout`. Each shard tells its peers first,
    /// for a second at most. Requests that no shard
    /// came to are answered with [`ErrorCode::Closed`]; outputs may be polled afterwards. Again is
    /// no error.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), ShutdownError> {
        if self.is_forked() {
            return Ok(());
        }
        self.shared.inboxes.iter().for_each(Inbox::stop);
        let running = self.shared.lock_running();
        let (running, _) = self
            .shared
            .ended
            .wait_timeout_while(running, timeout, |running| !running.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        if !running.is_empty() {
            return Err(ShutdownError { shards: running.clone() });
        }
        drop(running);
        self.shared.ports.stop();
        if let Some(taps) = &self.shared.taps {
            taps.end(timeout);
        }
        let threads = std::mem::take(&mut *self.lock_threads());
        for thread in threads {
            // Every shard has ended, so this waits for no more than the exit of a thread. A shard
            // that panicked has said so in its output.
            let _ = thread.join();
        }
        Ok(())
    }

    fn is_forked(&self) -> bool {
        std::process::id() != self.pid
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // Shards that hang keep their threads; there is no one left to tell.
        let _ = self.shutdown(DROP_TIMEOUT);
    }
}

impl Shared {
    fn lock_running(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, shard: u8) {
        self.lock_running().retain(|s| *s != shard);
        self.ended.notify_all();
    }
}

fn validate(options: &RuntimeOptions) -> Result<(), StartError> {
    let invalid = |text: String| Err(StartError::new(StartCode::InvalidOptions, "options", text));
    let shards = options.shards.len();
    if shards == 0 || shards > usize::from(u8::MAX) {
        return invalid(format!("{shards} shards: give 1 to 255"));
    }
    for (name, value) in [("command_queue", options.command_queue), ("event_queue", options.event_queue)] {
        if value == 0 || value > MAX_QUEUE {
            return invalid(format!("{name} is {value}: give 1 to {MAX_QUEUE}"));
        }
    }
    Ok(())
}

fn preflight(options: &RuntimeOptions) -> Result<(), StartError> {
    let wanted = PreflightOptions {
        shards: options.shards.len(),
        cpus: options.shards.iter().filter_map(|shard| shard.cpu).collect(),
        listen: Vec::new(),
    };
    match preflight::check(&wanted).into_iter().find(|check| check.status == Status::Fail) {
        Some(check) => Err(check.into_error()),
        None => Ok(()),
    }
}

fn wait_for_starts(starts: &Receiver<Result<(), StartError>>, count: usize) -> Result<(), StartError> {
    for _ in 0..count {
        match starts.recv_timeout(START_TIMEOUT) {
            Ok(result) => result?,
            Err(RecvTimeoutError::Timeout) => {
                let text = format!("a shard did not start within {START_TIMEOUT:?}; is the machine overloaded?");
                return Err(StartError::new(StartCode::Resource, "start", text));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(StartError::new(StartCode::Internal, "start", "a shard panicked while starting"));
            }
        }
    }
    Ok(())
}

fn start_failure(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => {
            let limit = sys::soft_limit(libc::RLIMIT_NOFILE).map_or("unlimited".to_owned(), |n| n.to_string());
            format!("no file descriptor left (EMFILE, limit {limit}); raise `ulimit -n`")
        }
        Some(libc::EAGAIN) => format!("no thread could be made ({error}); raise `ulimit -u` or the cgroup's pids.max"),
        _ => format!("{error}"),
    }
}

fn no_entropy(error: rand_core::OsError) -> StartError {
    let text = format!("the kernel gives no randomness ({error}); let getrandom through seccomp");
    StartError::new(StartCode::NoEntropy, "entropy", text)
}

/// What a shard's thread is born with.
struct Birth {
    seed: ShardSeed,
    placement: ShardPlacement,
    io: IoBackend,
    tcp: TcpLimits,
    epoch: Epoch,
    shared: Arc<Shared>,
}

impl Birth {
    /// The life of a shard's thread.
    fn live<S, F>(self, port: Port, make: &F, started: &SyncSender<Result<(), StartError>>)
    where
        S: ShardCore + 'static,
        F: Fn(ShardSeed) -> Result<S, CommandError>,
    {
        sys::block_signals();
        let (shard, shared) = (self.seed.index, Arc::clone(&self.shared));
        let mut outputs = Vec::new();
        let port = Rc::new(RefCell::new(port));
        for life in 0..MAX_LIVES {
            let outcome = catch_unwind(AssertUnwindSafe(|| self.run(life, &port, make, started)));
            let text = match outcome {
                Ok(Ok(())) => break,
                // What keeps the first life from starting is told by `started`.
                Ok(Err(_)) if life == 0 => break,
                Ok(Err(error)) => error.to_string(),
                Err(panic) => panic_text(&*panic),
            };
            let restarts = life + 1 < MAX_LIVES && !shared.inboxes[usize::from(shard)].is_stopping();
            outputs.push(Output::ShardFailed { shard, restarts, text });
            if let Some(taps) = &shared.taps {
                taps.shard_gone(shard);
            }
            if !restarts {
                break;
            }
            shared.restart_shard(shard, &mut outputs);
        }
        shared.close_shard(shard, &mut outputs);
        shared.ended(shard);
    }

    fn run<S, F>(
        &self,
        life: u8,
        port: &Rc<RefCell<Port>>,
        make: &F,
        started: &SyncSender<Result<(), StartError>>,
    ) -> Result<(), StartError>
    where
        S: ShardCore + 'static,
        F: Fn(ShardSeed) -> Result<S, CommandError>,
    {
        let shared = Arc::clone(&self.shared);
        let index = usize::from(self.seed.index);
        match self.prepare(life, port, make) {
            Ok((executor, body)) => {
                shared.loads[index].started(ThreadCpuClock::of_this_thread());
                // Only the first life is waited for.
                let _ = started.send(Ok(()));
                executor.run(body.run());
                Ok(())
            }
            Err(error) => {
                let _ = started.send(Err(error.clone()));
                Err(error)
            }
        }
    }

    fn prepare<S, F>(
        &self,
        life: u8,
        port: &Rc<RefCell<Port>>,
        make: &F,
    ) -> Result<(glommio::LocalExecutor, ShardLoop<S>), StartError>
    where
        S: ShardCore + 'static,
        F: Fn(ShardSeed) -> Result<S, CommandError>,
    {
        let index = self.seed.index;
        let (executor, rings) = make_executor(self.placement.cpu, &format!("sfu-{index}")).map_err(|error| {
            let text = format!("shard {index} got no executor: {error}; `sfu doctor` lists what glommio needs");
            StartError::new(StartCode::IoUringUnavailable, "executor", text)
        })?;
        let wake = self.shared.inboxes[usize::from(index)].wake_fd();
        let io = media_io::open(self.io, wake, &rings).map_err(|error| {
            let text = format!("shard {index} got no media sockets: {}", start_failure(&error));
            StartError::new(StartCode::Resource, "media_io", text)
        })?;
        // The same randomness again would give the same secrets again.
        let mut seed = ShardSeed { life, ..self.seed };
        if life > 0 {
            rand_core::OsRng.try_fill_bytes(&mut seed.seed).map_err(no_entropy)?;
        }
        let core = make(seed).map_err(|error| {
            StartError::new(StartCode::Certificate, "shard", format!("shard {index} could not be made: {error}"))
        })?;
        let (shared, port) = (Arc::clone(&self.shared), Rc::clone(port));
        let body = ShardLoop::new((core, io), self.epoch, seed, shared, port, Host::default(), self.tcp);
        Ok((executor, body))
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without text".to_owned());
    text.chars().take(500).collect()
}

const _: () = assert!(MAX_SOCKETS <= 16, "a shard takes at most 16 sockets with one command");

const _: fn() = || {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Runtime>();
};
