//! Checks of the machine before anything starts, and the table of `sfu doctor`.
//!
//! Told: what will be asked of the machine. Tells: one line per check with what was found and, where
//! it does not serve, what to do. It changes nothing, needs no privilege, takes milliseconds and
//! never panics: glommio alone would panic when io_uring is denied.

use std::io;

use io_uring::{IoUring, Probe, opcode};
use rand_core::TryRngCore;

use crate::error::{StartCode, StartError};
use crate::listen;
use crate::options::ListenInfo;
use crate::shared_port;
use crate::sys;

/// The oldest kernel that serves: multishot recvmsg came with 6.0, DEFER_TASKRUN with 6.1.
const MIN_KERNEL: (u32, u32) = (6, 1);
/// glommio refuses below this.
const MIN_MEMLOCK: u64 = 512 * 1024;
/// Descriptors of the engine itself.
const BASE_FILES: u64 = 32;
/// Descriptors of each shard: its rings, eventfds and threads' helpers.
const FILES_PER_SHARD: u64 = 16;
/// Below this, transports with ports of their own soon run out of descriptors.
const COMFORTABLE_FILES: u64 = 4096;

/// What will be asked of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreflightOptions {
    /// How many shards.
    pub shards: usize,
    /// The cores to pin them to; empty leaves them unpinned.
    pub cpus: Vec<usize>,
    /// Addresses and ports that must be free.
    pub listen: Vec<ListenInfo>,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Fine.
    Ok,
    /// It works, but not as well as it could.
    Warn,
    /// An engine would not start.
    Fail,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Name of the check.
    pub name: &'static str,
    /// How it went.
    pub status: Status,
    /// What was found.
    pub value: String,
    /// What to do; empty when nothing.
    pub remedy: String,
    /// The code of a start that fails for it.
    pub code: StartCode,
}

impl Check {
    fn ok(name: &'static str, code: StartCode, value: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, value: value.into(), remedy: String::new(), code }
    }

    fn bad(name: &'static str, code: StartCode, value: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, status: Status::Fail, value: value.into(), remedy: remedy.into(), code }
    }

    fn warn(mut self) -> Self {
        self.status = Status::Warn;
        self
    }

    /// The error of a start that fails for this check.
    pub fn into_error(self) -> StartError {
        StartError::new(self.code, self.name, format!("{}; {}", self.value, self.remedy))
    }
}

/// Cores that this process may use, in order.
pub fn usable_cpus() -> Vec<usize> {
    sys::affinity()
}

/// Makes all checks, the most basic first.
pub fn check(options: &PreflightOptions) -> Vec<Check> {
    let mut checks = vec![kernel(), memlock(), files(options.shards)];
    checks.extend(on_a_thread_of_its_own(|| [uring(), uring_features()]));
    checks.push(cpus(options, &sys::affinity()));
    checks.push(entropy());
    if options.shards > 1 {
        checks.push(judge_shared_ports(shared_port::probe().err().map(|error| error.text)));
    }
    let fields = (0..).map(|index| format!("listenInfos[{index}]"));
    checks.extend(options.listen.iter().zip(fields).map(|(info, field)| port(&field, info)));
    checks
}

fn kernel() -> Check {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    judge_kernel(release.trim())
}

fn judge_kernel(release: &str) -> Check {
    let (major, minor) = MIN_KERNEL;
    match parse_release(release) {
        None => Check::ok("kernel", StartCode::KernelTooOld, format!("unknown release {release:?}")).warn(),
        Some(version) if version < MIN_KERNEL => Check::bad(
            "kernel",
            StartCode::KernelTooOld,
            format!("Linux {release} is too old, {major}.{minor} is needed"),
            "boot a newer kernel (Debian 12 and Ubuntu 24.04 have one)",
        ),
        Some(_) => Check::ok("kernel", StartCode::KernelTooOld, format!("Linux {release}")),
    }
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn memlock() -> Check {
    judge_memlock(sys::soft_limit(libc::RLIMIT_MEMLOCK))
}

fn judge_memlock(limit: Option<u64>) -> Check {
    let code = StartCode::MemlockTooLow;
    match limit {
        None => Check::ok("memlock", code, "unlimited"),
        Some(bytes) if bytes < MIN_MEMLOCK => Check::bad(
            "memlock",
            code,
            format!("memlock {} KiB, need {} KiB", bytes / 1024, MIN_MEMLOCK / 1024),
            "do `ulimit -l 8192`, LimitMEMLOCK=8M in a systemd unit, or `docker run --ulimit memlock=8388608`",
        ),
        Some(bytes) => Check::ok("memlock", code, format!("{} KiB", bytes / 1024)),
    }
}

fn files(shards: usize) -> Check {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    judge_files(sys::soft_limit(libc::RLIMIT_NOFILE), open, shards as u64)
}

fn judge_files(limit: Option<u64>, open: u64, shards: u64) -> Check {
    let code = StartCode::FileLimitTooLow;
    let remedy =
        "raise it: `ulimit -n 65536`, LimitNOFILE=65536 in a systemd unit, or `docker run --ulimit nofile=65536`";
    let needed = open + BASE_FILES + FILES_PER_SHARD * shards.max(1);
    match limit {
        None => Check::ok("files", code, "unlimited"),
        Some(limit) if limit < needed => {
            let value = format!("file limit {limit} (RLIMIT_NOFILE, {open} open), need {needed}");
            Check::bad("files", code, value, remedy)
        }
        Some(limit) if limit < COMFORTABLE_FILES => {
            let value = format!("file limit {limit}: each transport with a port of its own takes one");
            Check::bad("files", code, value, remedy).warn()
        }
        Some(limit) => Check::ok("files", code, format!("{limit}")),
    }
}

/// The kernel tears a ring down later, with work that it runs on the threads that used the ring and
/// that ends their system calls with EINTR. A thread that is gone by then spares the caller that.
fn on_a_thread_of_its_own(checks: impl FnOnce() -> [Check; 2] + Send + 'static) -> Vec<Check> {
    let failed = |cause: String| {
        let remedy = "raise `ulimit -u` or the cgroup's pids.max";
        vec![Check::bad("io_uring", StartCode::Resource, cause, remedy)]
    };
    match std::thread::Builder::new().name("sfu-preflight".to_owned()).spawn(checks) {
        Ok(thread) => thread.join().map_or_else(|_| failed("the check itself failed".to_owned()), Vec::from),
        Err(error) => failed(format!("no thread could be made: {error}")),
    }
}

fn uring() -> Check {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    let disabled = disabled.and_then(|text| text.trim().parse::<u8>().ok());
    match IoUring::new(4) {
        Ok(_) => Check::ok("io_uring", StartCode::IoUringUnavailable, "allowed"),
        Err(error) => {
            let (value, remedy) = explain_uring(error.raw_os_error().unwrap_or(0), disabled);
            Check::bad("io_uring", StartCode::IoUringUnavailable, value, remedy)
        }
    }
}

/// Why io_uring_setup failed, and what to do.
fn explain_uring(errno: i32, disabled: Option<u8>) -> (String, &'static str) {
    match (errno, disabled) {
        (libc::EPERM, Some(2)) => (
            "io_uring is switched off: kernel.io_uring_disabled = 2".to_owned(),
            "do `sysctl kernel.io_uring_disabled=0`, or 1 and put the user into kernel.io_uring_group",
        ),
        (libc::EPERM, Some(1)) => (
            "io_uring is for a group only: kernel.io_uring_disabled = 1".to_owned(),
            "put the user into the group of kernel.io_uring_group, or do `sysctl kernel.io_uring_disabled=0`",
        ),
        (libc::EPERM | libc::EACCES, _) => (
            "io_uring is denied by a seccomp or security profile (EPERM)".to_owned(),
            "allow io_uring_setup, io_uring_enter and io_uring_register: \
             `docker run --security-opt seccomp=examples/seccomp/libsfu.json`",
        ),
        (libc::ENOSYS, _) => (
            "io_uring is hidden by a seccomp profile, or the kernel was built without it (ENOSYS)".to_owned(),
            "allow io_uring_setup, io_uring_enter and io_uring_register \
             (`docker run --security-opt seccomp=examples/seccomp/libsfu.json`), or boot a kernel with CONFIG_IO_URING",
        ),
        (libc::ENOMEM, _) => {
            ("no memory for an io_uring (ENOMEM)".to_owned(), "raise the memlock limit or the cgroup's memory.max")
        }
        (libc::EMFILE | libc::ENFILE, _) => {
            ("no file descriptor left for an io_uring (EMFILE)".to_owned(), "raise `ulimit -n`")
        }
        _ => (
            format!("io_uring does not work: {}", io::Error::from_raw_os_error(errno)),
            "see whether a security module or a sandbox forbids it",
        ),
    }
}

/// Operations that the media ring or glommio's rings submit.
const OPERATIONS: &[(&str, u8)] = &[
    ("RECVMSG", opcode::RecvMsg::CODE),
    ("SENDMSG", opcode::SendMsg::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("READ", opcode::Read::CODE),
    ("WRITE", opcode::Write::CODE),
    ("TIMEOUT", opcode::Timeout::CODE),
    ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
];

fn uring_features() -> Check {
    let code = StartCode::IoUringUnavailable;
    match missing_feature() {
        Ok(None) => Check::ok("io_uring_features", code, "multishot receive, provided buffers, deferred task work"),
        Ok(Some(missing)) => {
            Check::bad("io_uring_features", code, format!("io_uring lacks {missing}"), "boot Linux 6.1 or newer")
        }
        Err(error) => Check::bad(
            "io_uring_features",
            code,
            format!("io_uring could not be asked for its features: {error}"),
            "see the line above; a seccomp profile must allow io_uring_register and io_uring_enter too",
        ),
    }
}

fn missing_feature() -> io::Result<Option<&'static str>> {
    let ring = match crate::media_io::probe_ring() {
        Ok(ring) => ring,
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(Some("IORING_SETUP_DEFER_TASKRUN")),
        Err(error) => return Err(error),
    };
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    if let Some((name, _)) = OPERATIONS.iter().find(|(_, code)| !probe.is_supported(*code)) {
        return Ok(Some(name));
    }
    if !crate::media_io::has_buffer_rings(&ring) {
        return Ok(Some("provided buffer rings"));
    }
    Ok(None)
}

fn cpus(options: &PreflightOptions, allowed: &[usize]) -> Check {
    let code = StartCode::CpuUnavailable;
    let list = |cpus: &[usize]| cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let have = format!("{} shards, the process may use cores {}", options.shards, list(allowed));
    if allowed.is_empty() {
        return Check::ok("cpus", code, "the kernel does not say which cores may be used").warn();
    }
    let missing: Vec<usize> = options.cpus.iter().copied().filter(|cpu| !allowed.contains(cpu)).collect();
    if !missing.is_empty() {
        return Check::bad(
            "cpus",
            code,
            format!("core {} was asked for, but {have}", list(&missing)),
            "name cores that the process may use, widen its affinity (taskset, cpuset), or leave the shards unpinned",
        );
    }
    if options.shards > allowed.len() {
        let remedy = "start fewer shards: several on one core only disturb each other";
        return Check::bad("cpus", code, have, remedy).warn();
    }
    Check::ok("cpus", code, have)
}

fn entropy() -> Check {
    let mut bytes = [0; 32];
    match rand_core::OsRng.try_fill_bytes(&mut bytes) {
        Ok(()) => Check::ok("entropy", StartCode::NoEntropy, "getrandom works"),
        Err(error) => Check::bad(
            "entropy",
            StartCode::NoEntropy,
            format!("the kernel gives no randomness: {error}"),
            "let getrandom through the seccomp profile",
        ),
    }
}

fn judge_shared_ports(refusal: Option<String>) -> Check {
    let code = StartCode::AddressUnavailable;
    match refusal {
        None => Check::ok("shared_ports", code, "the kernel brings packets to the shards that they are for"),
        Some(text) => Check::bad(
            "shared_ports",
            code,
            format!("no filter can be attached to a shared port ({text}): shards hand packets over to one another"),
            "let setsockopt with SO_ATTACH_REUSEPORT_CBPF through the sandbox, or start one shard",
        )
        .warn(),
    }
}

fn port(field: &str, info: &ListenInfo) -> Check {
    let code = StartCode::AddressUnavailable;
    let ports = match info.port_range {
        Some((low, high)) if info.port == 0 => format!("UDP {} ports {low}-{high}", info.ip),
        _ => format!("UDP {}", std::net::SocketAddr::new(info.ip, info.port)),
    };
    match listen::probe(field, info) {
        Ok(()) => Check::ok("listen", code, format!("{ports} can be bound")),
        Err(error) => {
            // The error's text is "cause; remedy".
            let (value, remedy) = error.text.split_once("; ").unwrap_or((&error.text, "choose another"));
            Check::bad("listen", code, value, remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_line(check: Check) -> String {
        assert_eq!(check.status, Status::Fail, "{check:?}");
        let text = check.into_error().to_string();
        assert!(!text.contains('\n') && text.len() < 400, "{text}");
        text
    }

    #[test]
    fn this_machine_passes_within_a_second() {
        let checks = check(&PreflightOptions { shards: 1, ..Default::default() });
        assert!(checks.iter().all(|c| c.status != Status::Fail), "{checks:#?}");
    }

    #[test]
    fn row_089_each_way_of_denying_io_uring_has_its_own_line() {
        let line = |errno, sysctl| {
            let (value, remedy) = explain_uring(errno, sysctl);
            one_line(Check::bad("io_uring", StartCode::IoUringUnavailable, value, remedy))
        };
        assert!(line(libc::EPERM, Some(2)).contains("io_uring_disabled = 2"));
        assert!(line(libc::EPERM, Some(1)).contains("io_uring_disabled = 1"));
        assert!(line(libc::EPERM, Some(0)).contains("seccomp"));
        assert!(line(libc::EPERM, None).contains("seccomp"));
        assert!(line(libc::ENOSYS, Some(0)).contains("ENOSYS"));
        assert!(line(libc::EIO, None).contains("does not work"));
    }

    #[test]
    fn row_089_an_old_kernel_is_named_with_its_release() {
        let text = one_line(judge_kernel("5.15.0-91-generic"));
        assert!(text.contains("5.15.0-91-generic") && text.contains("6.1"), "{text}");
        for fine in ["6.1.0-18-amd64", "6.18.44", "7.0.0", "6.1"] {
            assert_eq!(judge_kernel(fine).status, Status::Ok, "{fine}");
        }
        assert_eq!(judge_kernel("plan 9").status, Status::Warn);
    }

    #[test]
    fn row_088_a_low_memlock_says_what_it_is_and_what_it_must_be() {
        let text = one_line(judge_memlock(Some(64 * 1024)));
        assert!(
            text.contains("memlock 64 KiB, need 512 KiB, do") || text.contains("memlock 64 KiB, need 512 KiB; do"),
            "{text}"
        );
        assert_eq!(judge_memlock(Some(8 << 20)).status, Status::Ok);
        assert_eq!(judge_memlock(None).status, Status::Ok);
    }

    #[test]
    fn a_kernel_that_takes_no_filter_is_told_of_and_no_reason_not_to_start() {
        let check = judge_shared_ports(Some("ENOPROTOOPT".to_owned()));
        assert_eq!(check.status, Status::Warn);
        assert!(check.value.contains("ENOPROTOOPT") && check.remedy.contains("CBPF"), "{check:?}");
        assert_eq!(judge_shared_ports(None).status, Status::Ok);
    }

    #[test]
    fn row_086_a_low_file_limit_is_named() {
        let text = one_line(judge_files(Some(40), 10, 2));
        assert!(text.contains("40") && text.contains("need 74"), "{text}");
        assert_eq!(judge_files(Some(1024), 10, 2).status, Status::Warn);
        assert_eq!(judge_files(Some(65_536), 10, 2).status, Status::Ok);
    }

    #[test]
    fn row_097_cores_that_the_process_may_not_use_are_named() {
        let asked = |shards, cpus: &[usize]| PreflightOptions { shards, cpus: cpus.to_vec(), listen: Vec::new() };
        let text = one_line(cpus(&asked(2, &[0, 7]), &[0, 1]));
        assert!(text.contains("core 7") && text.contains("cores 0,1"), "{text}");
        // Unpinned shards fall back to sharing what there is.
        assert_eq!(cpus(&asked(4, &[]), &[0]).status, Status::Warn);
        assert_eq!(cpus(&asked(2, &[0, 1]), &[0, 1]).status, Status::Ok);
        assert_eq!(cpus(&asked(2, &[]), &[]).status, Status::Warn);
    }

    #[test]
    fn row_087_a_taken_port_fails_the_check_and_names_it() {
        let holder = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let info = ListenInfo { port, ..ListenInfo::udp("127.0.0.1".parse().unwrap()) };
        let options = PreflightOptions { shards: 1, cpus: Vec::new(), listen: vec![info.clone()] };
        let failed = check(&options).into_iter().find(|c| c.status == Status::Fail).unwrap();
        assert_eq!(failed.code, StartCode::AddressUnavailable);
        assert!(one_line(failed).contains(&format!("127.0.0.1:{port}")));
        drop(holder);
        assert_eq!(super::port("listenInfos[0]", &info).status, Status::Ok);
    }
}
