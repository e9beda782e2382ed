//! Errors by audience: the operator who starts an engine, and the caller who submits to it.

/// Why an engine could not start. Numbers are part of the public contract: never renumbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum StartCode {
    /// An option is out of its range.
    InvalidOptions = 1,
    /// The kernel is too old.
    KernelTooOld = 2,
    /// io_uring is denied by a sysctl, by seccomp, or lacks an operation.
    IoUringUnavailable = 3,
    /// Not enough memory may be locked.
    MemlockTooLow = 4,
    /// Not enough files may be opened.
    FileLimitTooLow = 5,
    /// A shard cannot have the core that was asked for.
    CpuUnavailable = 6,
    /// An address or port cannot be had.
    AddressUnavailable = 7,
    /// The kernel gives no randomness.
    NoEntropy = 8,
    /// The certificate or key cannot be used.
    Certificate = 9,
    /// A resource ran out while starting.
    Resource = 10,
    /// A bug on our side.
    Internal = 11,
}

/// Why an engine could not start: one line with the cause, the value found and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError {
    /// The kind of failure.
    pub code: StartCode,
    /// Name of the check that failed, as `sfu doctor` prints it.
    pub check: &'static str,
    /// One line: cause, value, remedy.
    pub text: String,
}

impl StartError {
    /// Makes an error; line breaks in `text` become spaces, so that it stays one line.
    pub fn new(code: StartCode, check: &'static str, text: impl Into<String>) -> Self {
        let text: String = text.into().replace(['\n', '\r'], " ");
        Self { code, check, text }
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.check, self.text)
    }
}

impl std::error::Error for StartError {}

/// Why a request was not accepted. Nothing has happened then, and no reply will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubmitError {
    /// Too many requests in flight for this shard: poll replies, then try again.
    Busy,
    /// The engine or the shard is gone, or the caller is a forked child.
    Closed,
}

impl std::fmt::Display for SubmitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Busy => "too many requests in flight for this shard: poll replies, then try again",
            Self::Closed => "the engine or the shard is closed",
        })
    }
}

impl std::error::Error for SubmitError {}

/// Why a batch of packets was not taken whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaError {
    /// A record is cut off or its packet is longer than a datagram.
    Malformed,
    /// The engine or the shard is gone, or the caller is a forked child.
    Closed,
}

/// Shards that had not ended within the time given to shutdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutdownError {
    /// Which shards still run.
    pub shards: Vec<u8>,
}

impl std::fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "shards {:?} did not end in time", self.shards)
    }
}

impl std::error::Error for ShutdownError {}
