//! The glommio side of a shard: other tasks on the same core, and when to let them run.
//!
//! A shard's media task parks the thread in its own wait, since glommio's wake-up costs more than
//! the packets of a small room. As long as no other task lives on the executor there is nothing to
//! let run, so there is no tick at all and glommio's rings are not watched. Once a task is hosted,
//! the media task also watches the rings of the executor, and yields when one is readable, every
//! [`TICK`] at the latest (glommio's timers live in user space and make no ring readable while the
//! executor does not sleep), and after [`STINT`] of uninterrupted media work.
//!
//! Yielding is two timer sleeps of a microsecond: `yield_task_queue_now` comes straight back as long
//! as the preemption timer has not fired, without a look at the reactor. The first sleep reaps what
//! is ready and lets woken tasks run; the second submits what those tasks asked for.

use std::cell::Cell;
use std::future::Future;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Duration;

use sfu_wire::time::Time;

/// Longest time for which a hosted task may have to wait.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// Longest stretch of media work while tasks are hosted.
pub(crate) const STINT: Duration = Duration::from_millis(2);

/// How long glommio polls before it sleeps for real; covers the sleeps of a yield.
pub(crate) const SPIN: Duration = Duration::from_micros(50);

/// Executors are made under this lock, so that the ring descriptors that appear meanwhile are known
/// to be the new executor's.
static MAKING: Mutex<()> = Mutex::new(());

/// Makes an executor and finds the descriptors of its rings.
pub(crate) fn make_executor(
    cpu: Option<usize>,
    name: &str,
) -> Result<(glommio::LocalExecutor, Vec<RawFd>), glommio::GlommioError<()>> {
    let placement = cpu.map_or(glommio::Placement::Unbound, glommio::Placement::Fixed);
    let _guard = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let before = ring_fds();
    let executor = glommio::LocalExecutorBuilder::new(placement)
        .name(name)
        // What a shard does through glommio is small: the default of 10 MiB for each executor would
        // be locked memory for nothing.
        .io_memory(1 << 20)
        // Once a task is hosted, this timer makes a ring readable each time it fires, which ends
        // the media task's sleep: no shorter than the tick, or it would become the tick.
        .preempt_timer(TICK)
        .spin_before_park(SPIN)
        .make()?;
    let rings = ring_fds().into_iter().filter(|fd| !before.contains(fd)).collect();
    Ok((executor, rings))
}

/// The io_uring descriptors of this process.
fn ring_fds() -> Vec<RawFd> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == "anon_inode:[io_uring]"))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Tasks beside the media task. Clones share one count.
#[derive(Debug, Clone, Default)]
pub struct Host {
    tasks: Rc<Cell<usize>>,
}

/// Counts one task for as long as it lives, however it ends.
struct Hosted(Rc<Cell<usize>>);

impl Drop for Hosted {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Host {
    /// Runs `task` on this shard's executor, beside the media task. It must not compute for long:
    /// the media task waits meanwhile.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.set(self.tasks.get() + 1);
        let hosted = Hosted(Rc::clone(&self.tasks));
        glommio::spawn_local(async move {
            let _hosted = hosted;
            task.await;
        })
        .detach();
    }

    /// No task is hosted.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.get() == 0
    }
}

/// Decides when the media task yields.
#[derive(Debug)]
pub(crate) struct Yielding {
    host: Host,
    last: Time,
}

impl Yielding {
    /// Yields for the tasks of `host`.
    pub(crate) fn new(host: Host) -> Self {
        Self { host, last: Time::from_nanos(0) }
    }

    /// The tasks for which it yields.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Whether the media task watches glommio's rings while it sleeps.
    pub(crate) fn watches_rings(&self) -> bool {
        !self.host.is_empty()
    }

    /// When the media task must be awake for the sake of hosted tasks.
    pub(crate) fn deadline(&self) -> Option<Time> {
        (!self.host.is_empty()).then(|| self.last + TICK)
    }

    /// Whether to yield now.
    pub(crate) fn is_due(&self, now: Time, ring_ready: bool) -> bool {
        !self.host.is_empty() && (ring_ready || now.saturating_since(self.last) >= STINT)
    }

    /// Lets hosted tasks run.
    pub(crate) async fn yield_now(&mut self, now: Time) {
        self.last = now;
        for _ in 0..2 {
            glommio::timer::sleep(Duration::from_micros(1)).await;
        }
    }
}
