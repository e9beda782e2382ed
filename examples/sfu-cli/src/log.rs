//! Where log lines go: to stderr, by a thread of their own, so that a reader who stops reading stops nothing else.
//!
//! Told: lines, as the parts of the program write them. Tells: stderr, and how many lines found no place.
//! Limits: [`LINES`] lines wait; what comes beyond is dropped and counted. Lines of each part have a target by which
//! they can be chosen: `sfu::web`, `sfu::session`, `sfu::room`, `sfu::engine`.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written.
const LINES: usize = 4096;
/// How long the end of the program waits for its last lines.
const FAREWELL: Duration = Duration::from_millis(500);

/// What the writing thread is told.
#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Everything before this is written: say so.
    Flush(SyncSender<()>),
}

/// The door for lines.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    lines: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Log {
    /// Starts to log what `filter` lets through; `RUST_LOG`-like directives, such as `info,sfu::session=debug`.
    pub(crate) fn start(filter: &str) -> Result<Self, String> {
        let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
        let (log, lines) = Self::new(LINES);
        std::thread::Builder::new()
            .name("sfu-log".to_owned())
            .spawn(move || write_all(&lines, &mut io::stderr()))
            .map_err(|error| format!("the thread that writes the log does not start: {error}"))?;
        let logging = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_target(true)
            .with_ansi(io::stderr().is_terminal())
            .with_writer(log.clone());
        logging.try_init().map_err(|error| error.to_string())?;
        Ok(log)
    }

    fn new(lines: usize) -> (Self, Receiver<Message>) {
        let (sender, receiver) = sync_channel(lines);
        (Self { lines: sender, dropped: Arc::default() }, receiver)
    }

    /// Waits until what was logged is written, but not for ever.
    pub(crate) fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.lines.try_send(Message::Flush(done)).is_ok() {
            // A log that nobody reads is not waited for.
            let _ = written.recv_timeout(FAREWELL);
        }
    }

    /// Lines that found no place so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn write_all(lines: &Receiver<Message>, out: &mut impl Write) {
    for message in lines {
        match message {
            // Where the log goes nobody can be told that it does not.
            Message::Line(line) => drop(out.write_all(&line)),
            // Whoever waited has given up.
            Message::Flush(done) => drop(done.try_send(())),
        }
    }
}

/// One line: it goes when it is complete.
#[derive(Debug)]
pub(crate) struct Line {
    bytes: Vec<u8>,
    log: Log,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        match self.log.lines.try_send(Message::Line(std::mem::take(&mut self.bytes))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.log.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { bytes: Vec::new(), log: self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_written_before_the_program_ends() {
        let (log, lines) = Log::new(64);
        let writer = std::thread::spawn(move || {
            let mut out = Vec::new();
            write_all(&lines, &mut out);
            out
        });
        log.make_writer().write_all(b"stopped\n").unwrap();
        log.flush();
        drop(log);
        assert_eq!(writer.join().unwrap(), b"stopped\n");
        // With nobody to write, the wait ends.
        let (log, _lines) = Log::new(64);
        log.flush();
    }

    #[test]
    fn row_095_a_log_that_nobody_reads_drops_and_counts_and_stops_nobody() {
        let (log, lines) = Log::new(4);
        for n in 0..10_000 {
            let mut line = log.make_writer();
            line.write_all(format!("line {n}").as_bytes()).unwrap();
            line.write_all(b"\n").unwrap();
        }
        assert_eq!(log.dropped(), 10_000 - 4);
        let dropped = Arc::clone(&log.dropped);
        drop(log);
        let mut out = Vec::new();
        write_all(&lines, &mut out);
        assert_eq!(out, b"line 0\nline 1\nline 2\nline 3\n");
        assert_eq!(dropped.load(Ordering::Relaxed), 10_000 - 4);
    }
}
