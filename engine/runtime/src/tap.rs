//! The thread that writes tapped packets to files, so that no shard waits for a disk.
//!
//! Told: taps that start and end, copies of packets. Tells: the end of each tap, when its file is closed; to the shard,
//! which taps cannot be written any more. A file is made in the one directory that was opened at the start, and only
//! where nothing of its name is. Limits: [`MAX_QUEUED`] bytes of copies under way; what is beyond is dropped and
//! counted. A removed file is noticed at the next write. Left out: what is in the files (`tap_format`).

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sfu_core::command::Event;
use sfu_core::tap::{TapEnd, TapFormat, TapOptions, TapPacket};
use sfu_wire::id::ObjectId;

use crate::error::{StartCode, StartError};
use crate::runtime::{Output, Shared};
use crate::sys;
use crate::tap_format;

/// Bytes of copies that may wait for the disk.
const MAX_QUEUED: usize = 8 << 20;

/// A tap that has ended.
struct Closing {
    shard: u8,
    transport: ObjectId,
    reason: TapEnd,
    /// Packets that there were, written or not.
    seen: u64,
}

enum Job {
    Start(ObjectId, u64, TapOptions),
    Packets(Vec<(ObjectId, Copied)>),
    Close(Closing),
    /// A shard is made anew, without its transports.
    Gone(u8),
    End(SyncSender<()>),
}

/// A packet with what is known of it.
struct Copied {
    facts: TapPacket<'static>,
    bytes: Vec<u8>,
}

/// What the shards and the writer share.
#[derive(Debug, Default)]
struct Common {
    queued: AtomicUsize,
    any_failed: AtomicBool,
    /// With their numbers: a transport may be tapped anew before the shard hears that the tap before could not be written.
    failed: Mutex<Vec<(ObjectId, u64)>>,
}

/// The shards' end.
#[derive(Debug)]
pub(crate) struct TapSink {
    jobs: Sender<Job>,
    common: Arc<Common>,
    running: Mutex<Running>,
}

/// The taps that have not ended, with their numbers, and the last number.
#[derive(Debug, Default)]
struct Running {
    numbers: HashMap<ObjectId, u64>,
    last: u64,
}

/// The writer's end.
pub(crate) struct TapJobs {
    jobs: Receiver<Job>,
    common: Arc<Common>,
    directory: File,
}

/// Opens the directory.
pub(crate) fn open(directory: &Path) -> Result<(TapSink, TapJobs), StartError> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC).open(directory);
    let directory = opened.map_err(|error| {
        let text = format!("tap_directory: {} cannot be opened: {error}; give a directory", directory.display());
        StartError::new(StartCode::InvalidOptions, "options", text)
    })?;
    let (sender, jobs) = channel();
    let common = Arc::<Common>::default();
    let running = Mutex::default();
    Ok((TapSink { jobs: sender, common: Arc::clone(&common), running }, TapJobs { jobs, common, directory }))
}

impl TapSink {
    // The receiver is gone only when the engine ends, and then nobody waits for what is lost.
    fn tell(&self, job: Job) {
        let _ = self.jobs.send(job);
    }

    pub(crate) fn start(&self, transport: ObjectId, options: TapOptions) {
        let mut running = self.lock_running();
        running.last += 1;
        let number = running.last;
        running.numbers.insert(transport, number);
        drop(running);
        self.tell(Job::Start(transport, number, options));
    }

    fn lock_running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn close(&self, shard: u8, transport: ObjectId, reason: TapEnd, seen: u64) {
        self.lock_running().numbers.remove(&transport);
        self.tell(Job::Close(Closing { shard, transport, reason, seen }));
    }

    /// A shard failed: its files are closed as they are.
    pub(crate) fn shard_gone(&self, shard: u8) {
        self.lock_running().numbers.retain(|transport, _| transport.shard() != shard);
        self.tell(Job::Gone(shard));
    }

    /// The next tap of a shard that cannot be written and has not ended otherwise.
    pub(crate) fn failure(&self, shard: u8) -> Option<ObjectId> {
        if !self.common.any_failed.load(SeqCst) {
            return None;
        }
        let mut failed = self.common.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let running = self.lock_running();
        // A shard forgets what was about an earlier tap of the same transport.
        failed.retain(|(id, number)| id.shard() != shard || running.numbers.get(id) == Some(number));
        let at = failed.iter().position(|(id, _)| id.shard() == shard);
        let found = at.map(|at| failed.swap_remove(at).0);
        self.common.any_failed.store(!failed.is_empty(), SeqCst);
        found
    }

    /// Packets to send together.
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch { sink: self, packets: Vec::new() }
    }

    /// Closes all files, waiting at most so long.
    pub(crate) fn end(&self, timeout: Duration) {
        let (done, wait) = sync_channel(1);
        self.tell(Job::End(done));
        // A disk that hangs must not keep the engine.
        let _ = wait.recv_timeout(timeout);
    }
}

/// See [`TapSink::batch`].
pub(crate) struct Batch<'a> {
    sink: &'a TapSink,
    packets: Vec<(ObjectId, Copied)>,
}

impl Batch<'_> {
    /// A packet beyond what may wait is left out; it is counted when the tap ends.
    pub(crate) fn add(&mut self, packet: &TapPacket<'_>) {
        let cost = packet.bytes.len() + size_of::<Copied>();
        let queued = &self.sink.common.queued;
        if queued.load(SeqCst) + cost > MAX_QUEUED {
            return;
        }
        queued.fetch_add(cost, SeqCst);
        let copied = Copied { facts: TapPacket { bytes: &[], ..*packet }, bytes: packet.bytes.to_vec() };
        self.packets.push((packet.transport, copied));
    }

    pub(crate) fn send(self) {
        // While the disk hangs there is no room for any, and the jobs are not counted.
        if !self.packets.is_empty() {
            self.sink.tell(Job::Packets(self.packets));
        }
    }
}

/// A file that is written.
struct Tapped {
    number: u64,
    file: Option<File>,
    format: TapFormat,
    /// Nanoseconds of Unix time of the first packet.
    start: Option<u64>,
    packets: u64,
    bytes: u64,
    trouble: String,
}

impl Tapped {
    fn write(&mut self, chunk: &[u8], packets: u64) -> Result<(), String> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(chunk).map_err(|error| error.to_string())?;
        (self.bytes, self.packets) = (self.bytes + chunk.len() as u64, self.packets + packets);
        match file.metadata() {
            Ok(facts) if facts.nlink() == 0 => Err("the file was removed".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Writes one packet behind `chunk`.
    fn append(&mut self, copied: &Copied, chunk: &mut Vec<u8>) {
        let packet = TapPacket { bytes: &copied.bytes, ..copied.facts };
        match self.format {
            TapFormat::Pcapng => tap_format::pcapng_packet(chunk, &packet),
            TapFormat::Rtpdump => {
                let first = self.start.is_none();
                let start = *self.start.get_or_insert(packet.at_unix_nanos);
                if first {
                    tap_format::rtpdump_header(chunk, packet.remote, start);
                }
                tap_format::rtpdump_packet(chunk, start, &packet);
            }
        }
    }
}

impl TapJobs {
    /// Works until the engine ends.
    pub(crate) fn run(self, shared: &Shared) {
        sys::block_signals();
        let mut open: HashMap<ObjectId, Tapped> = HashMap::new();
        while let Ok(job) = self.jobs.recv() {
            match job {
                Job::Start(transport, number, options) => {
                    let tapped = self.start(number, &options);
                    if tapped.file.is_none() {
                        self.fail(shared, transport, number);
                    }
                    open.insert(transport, tapped);
                }
                Job::Packets(packets) => self.packets(shared, &mut open, &packets),
                Job::Close(closing) => {
                    let event = end(open.remove(&closing.transport), &closing);
                    shared.outlet.publish(usize::from(closing.shard), &mut vec![Output::Event(event)]);
                }
                Job::Gone(shard) => open.retain(|id, _| id.shard() != shard),
                Job::End(done) => {
                    drop(open);
                    // Whoever waited may have lost patience.
                    let _ = done.try_send(());
                    return;
                }
            }
        }
    }

    fn start(&self, number: u64, options: &TapOptions) -> Tapped {
        let made = CString::new(options.name.as_str())
            .map_err(std::io::Error::from)
            .and_then(|name| sys::create_in(self.directory.as_fd(), &name));
        let (file, trouble) = match made {
            Ok(fd) => (Some(File::from(fd)), String::new()),
            Err(error) => (None, format!("{} cannot be made: {error}", options.name)),
        };
        let mut tapped = Tapped { number, file, format: options.format, start: None, packets: 0, bytes: 0, trouble };
        if options.format == TapFormat::Pcapng
            && let Err(error) = tapped.write(&tap_format::pcapng_header(), 0)
        {
            (tapped.file, tapped.trouble) = (None, error);
        }
        tapped
    }

    fn packets(&self, shared: &Shared, open: &mut HashMap<ObjectId, Tapped>, packets: &[(ObjectId, Copied)]) {
        let mut chunk = Vec::new();
        // Neighbours of one tap are written together.
        for run in packets.chunk_by(|a, b| a.0 == b.0) {
            let cost: usize = run.iter().map(|(_, copied)| copied.bytes.len() + size_of::<Copied>()).sum();
            self.common.queued.fetch_sub(cost, SeqCst);
            let Some((transport, tapped)) = run.first().and_then(|(id, _)| Some((*id, open.get_mut(id)?))) else {
                continue;
            };
            if tapped.file.is_none() {
                continue;
            }
            chunk.clear();
            run.iter().for_each(|(_, copied)| tapped.append(copied, &mut chunk));
            if let Err(error) = tapped.write(&chunk, run.len() as u64) {
                (tapped.file, tapped.trouble) = (None, error);
                self.fail(shared, transport, tapped.number);
            }
        }
    }

    /// Has the shard end the tap.
    fn fail(&self, shared: &Shared, transport: ObjectId, number: u64) {
        self.common.failed.lock().unwrap_or_else(PoisonError::into_inner).push((transport, number));
        self.common.any_failed.store(true, SeqCst);
        if let Some(inbox) = shared.inboxes.get(usize::from(transport.shard())) {
            inbox.call();
        }
    }
}

/// Closes the file and tells what became of it.
fn end(tapped: Option<Tapped>, closing: &Closing) -> Event {
    let (packets, bytes, text) = tapped.map_or((0, 0, String::new()), |t| (t.packets, t.bytes, t.trouble));
    let reason = if text.is_empty() { closing.reason } else { TapEnd::Failed };
    let dropped = closing.seen.saturating_sub(packets);
    Event::TapClosed { transport: closing.transport, reason, packets, bytes, dropped, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_wire::id::ObjectKind;

    fn options() -> TapOptions {
        TapOptions {
            name: "tap".to_owned(),
            format: TapFormat::Pcapng,
            max_bytes: 4_096,
            max_duration: Duration::from_secs(1),
            headers_only: false,
        }
    }

    #[test]
    fn a_failure_of_an_earlier_tap_does_not_end_the_one_that_runs() {
        let (sink, jobs) = open(&std::env::temp_dir()).unwrap();
        let fail = |transport, number| {
            jobs.common.failed.lock().unwrap().push((transport, number));
            jobs.common.any_failed.store(true, SeqCst);
        };
        let started = || match jobs.jobs.recv().unwrap() {
            Job::Start(_, number, _) => number,
            _ => panic!("another job"),
        };
        let [tapped, other] = [0, 1].map(|shard| ObjectId::new(shard, ObjectKind::Transport, 1, 1));
        [tapped, other].into_iter().for_each(|transport| sink.start(transport, options()));
        let [first, others] = [started(), started()];
        // The writer notices after the tap has ended and the next one has begun.
        sink.close(0, tapped, TapEnd::Stopped, 0);
        assert!(matches!(jobs.jobs.recv().unwrap(), Job::Close(_)));
        sink.start(tapped, options());
        let second = started();
        fail(tapped, first);
        fail(other, others);
        assert_eq!((sink.failure(0), sink.failure(1), sink.failure(1)), (None, Some(other), None));
        fail(tapped, first);
        fail(tapped, second);
        assert_eq!((sink.failure(0), sink.failure(0)), (Some(tapped), None));
        // Nor does anything outlive the shard.
        fail(tapped, second);
        sink.shard_gone(0);
        assert_eq!(sink.failure(0), None);
        assert!(!jobs.common.any_failed.load(SeqCst));
    }
}
