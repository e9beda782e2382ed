//! Machines on which an engine cannot start: each fault is made for real, in a child process.

mod support;

use std::process::Command as Process;
use std::time::Duration;

use sfu_runtime::{IoBackend, Runtime, ShardPlacement, StartError};
use support::{Echo, options};

const FAULT: &str = "SFU_TEST_START_FAULT";

/// Runs this very test again in a child process with a fault, and gives its one line.
fn start_with_fault(test: &str, fault: &str) -> String {
    let output = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(FAULT, fault)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!err.contains("panicked") && !err.contains("backtrace"), "{err}");
    assert_eq!(output.status.code(), Some(3), "{out}{err}");
    let lines: Vec<&str> = out.lines().filter_map(|line| line.split_once("START ").map(|(_, text)| text)).collect();
    assert_eq!(lines.len(), 1, "{out}");
    lines[0].to_owned()
}

/// In the child: makes the fault, starts, tells what came of it.
fn child(make_fault: impl FnOnce(&str)) {
    let Ok(fault) = std::env::var(FAULT) else { return };
    let mut options = options(1, IoBackend::Default);
    if let Some(cpu) = fault.strip_prefix("cpu ") {
        options.shards = vec![ShardPlacement { cpu: cpu.parse().ok() }];
    }
    make_fault(&fault);
    #[expect(clippy::disallowed_methods, reason = "a test of how long a start takes")]
    let begin = std::time::Instant::now();
    let started = Runtime::start_with(&options, |_| Ok(Echo::new(1)));
    #[expect(clippy::disallowed_methods, reason = "a test of how long a start takes")]
    let took = begin.elapsed();
    let text = match started {
        Ok(_) => "started".to_owned(),
        Err(StartError { code, check, text }) => format!("{code:?} {check}: {text}"),
    };
    assert!(took < Duration::from_secs(1), "{took:?}");
    println!("START {text}");
    std::process::exit(3);
}

fn is_child() -> bool {
    std::env::var(FAULT).is_ok()
}

fn limit(resource: libc::__rlimit_resource_t, value: u64) {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: `limit` is valid.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

/// A seccomp filter that answers io_uring_setup with `errno`.
fn deny_io_uring(errno: i32) {
    let step = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_io_uring_setup as u32, 0, 1),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program is valid and lives during the call; it binds this thread and its children.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

#[test]
fn row_088_low_memlock_is_one_line_with_cause_value_and_remedy() {
    if is_child() {
        return child(|_| limit(libc::RLIMIT_MEMLOCK, 64 * 1024));
    }
    let line = start_with_fault("row_088_low_memlock_is_one_line_with_cause_value_and_remedy", "memlock");
    assert!(line.starts_with("MemlockTooLow memlock: memlock 64 KiB, need 512 KiB"), "{line}");
    assert!(line.contains("ulimit -l"), "{line}");
}

#[test]
fn row_089_denied_io_uring_is_one_line_and_no_backtrace() {
    if is_child() {
        return child(|fault| deny_io_uring(fault.parse().unwrap()));
    }
    for (errno, name) in [(libc::EPERM, "EPERM"), (libc::ENOSYS, "ENOSYS")] {
        let line = start_with_fault("row_089_denied_io_uring_is_one_line_and_no_backtrace", &errno.to_string());
        assert!(line.starts_with("IoUringUnavailable io_uring: io_uring is"), "{line}");
        assert!(line.contains(name) && line.contains("seccomp"), "{line}");
    }
}

#[test]
fn h35_glommio_denied_io_uring_neither_panics_nor_hangs() {
    if is_child() {
        return child(|_| deny_io_uring(libc::EPERM));
    }
    let line = start_with_fault("h35_glommio_denied_io_uring_neither_panics_nor_hangs", "x");
    assert!(line.starts_with("IoUringUnavailable"), "{line}");
}

#[test]
fn row_086_a_file_limit_reached_at_any_step_is_one_line() {
    if is_child() {
        return child(|fault| limit(libc::RLIMIT_NOFILE, fault.parse().unwrap()));
    }
    for files in [5, 20, 40] {
        let line = start_with_fault("row_086_a_file_limit_reached_at_any_step_is_one_line", &files.to_string());
        assert!(line.contains(&format!("{files}")) && line.contains("ulimit -n"), "{line}");
        assert!(line.starts_with("FileLimitTooLow"), "{line}");
    }
}

#[test]
fn row_097_a_core_that_the_process_may_not_use_is_named() {
    if is_child() {
        return child(|_| ());
    }
    let line = start_with_fault("row_097_a_core_that_the_process_may_not_use_is_named", "cpu 999");
    assert!(line.starts_with("CpuUnavailable cpus: core 999 was asked for"), "{line}");
}

#[test]
fn row_097_more_unpinned_shards_than_cores_still_start() {
    let runtime = Runtime::start_with(&options(5, IoBackend::Default), |_| Ok(Echo::new(1))).unwrap();
    assert_eq!(runtime.shard_count(), 5);
    runtime.shutdown(support::LONG).unwrap();
}

#[test]
fn a_pinned_shard_starts_on_its_core() {
    let mut options = options(1, IoBackend::Default);
    options.shards = vec![ShardPlacement { cpu: Some(0) }];
    match Runtime::start_with(&options, |_| Ok(Echo::new(1))) {
        Ok(runtime) => runtime.shutdown(support::LONG).unwrap(),
        // A machine that keeps core 0 from us.
        Err(error) => assert_eq!(error.check, "cpus", "{error}"),
    }
}

#[test]
fn options_out_of_range_and_a_core_that_cannot_be_made_are_errors_of_the_start() {
    let shards = |n| options(n, IoBackend::Default);
    assert_eq!(Runtime::start_with(&shards(0), |_| Ok(Echo::new(1))).unwrap_err().check, "options");
    assert_eq!(Runtime::start_with(&shards(256), |_| Ok(Echo::new(1))).unwrap_err().check, "options");
    let queue = sfu_runtime::RuntimeOptions { command_queue: 0, ..shards(1) };
    assert_eq!(Runtime::start_with(&queue, |_| Ok(Echo::new(1))).unwrap_err().check, "options");
    let refuse = |seed: sfu_runtime::ShardSeed| {
        if seed.index == 1 {
            let code = sfu_core::command::ErrorCode::InvalidArgument;
            return Err(sfu_core::command::CommandError::new(code, "certificate", "unfit"));
        }
        Ok(Echo::new(1))
    };
    let error = Runtime::start_with(&shards(2), refuse).unwrap_err();
    assert!(error.check == "shard" && error.text.contains("unfit"), "{error}");
}
