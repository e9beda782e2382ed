//! The runtime around an echoing core: sockets, mailboxes, events, ends.

mod support;

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

use sfu_core::command::{Command, ErrorCode, Event, Reply};
use sfu_runtime::{ListenInfo, Output, Runtime, ShardRequest, SubmitError};
use support::{BACKENDS, Echo, LONG, ask, listen, listen_on, object, options, outputs, request, start};

fn client(ip: &str) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn an_echo_comes_back_through_both_back_ends_and_families() {
    for backend in BACKENDS {
        let runtime = start(1, backend, 1);
        let mut ips = vec!["127.0.0.1", "127.0.0.2"];
        if UdpSocket::bind("[::1]:0").is_ok() {
            ips.push("::1");
        }
        let places = listen(&runtime, 0, &ips);
        assert_eq!(places.len(), ips.len());
        for (ip, (_, addr)) in ips.iter().zip(&places) {
            let client = client(ip);
            for n in 0..200u32 {
                client.send_to(&n.to_be_bytes(), addr).unwrap();
                let mut buffer = [0; 100];
                let (len, from) = client.recv_from(&mut buffer).unwrap();
                assert_eq!((&buffer[..len], from), (&n.to_be_bytes()[..], *addr));
            }
        }
        // A reply comes after the turns before it have been counted.
        ask(&runtime, 0, request(1, Command::ShardStats)).unwrap();
        let load = &runtime.loads()[0];
        assert_eq!(load.datagrams_in, 200 * ips.len() as u64);
        assert!(load.alive && load.cpu > Duration::ZERO);
        runtime.shutdown(LONG).unwrap();
    }
}

#[test]
fn copies_to_one_destination_leave_as_runs() {
    for backend in BACKENDS {
        let runtime = start(1, backend, 10);
        let (_, addr) = listen(&runtime, 0, &["127.0.0.1"])[0];
        let client = client("127.0.0.1");
        client.send_to(&[5; 1000], addr).unwrap();
        let mut buffer = [0; 2000];
        for _ in 0..10 {
            assert_eq!(client.recv(&mut buffer).unwrap(), 1000);
        }
        // A reply comes after the turn that sent the datagrams has been counted.
        ask(&runtime, 0, request(1, Command::ShardStats)).unwrap();
        let load = &runtime.loads()[0];
        assert_eq!((load.datagrams_out, load.messages_out), (10, 1));
    }
}

#[test]
fn row_114_fifty_starts_and_stops_leave_no_descriptor() {
    let once = |backend| {
        let runtime = start(2, backend, 1);
        let places = listen(&runtime, 1, &["127.0.0.1"]);
        let client = client("127.0.0.1");
        client.send_to(b"x", places[0].1).unwrap();
        client.recv(&mut [0; 10]).unwrap();
        runtime.shutdown(LONG).unwrap();
    };
    BACKENDS.into_iter().for_each(once);
    let before = open_files();
    for _ in 0..25 {
        BACKENDS.into_iter().for_each(once);
    }
    // Other tests of this process open and close files meanwhile, but not fifty engines' worth.
    assert!(open_files() < before + 50, "{before} -> {}", open_files());
}

#[test]
fn row_114_all_descriptors_close_on_exec() {
    let runtime = start(1, BACKENDS[0], 1);
    listen(&runtime, 0, &["127.0.0.1"]);
    for entry in std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten() {
        let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let Ok(info) = std::fs::read_to_string(entry.path()) else { continue };
        let target = std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap_or_default();
        let target = target.to_string_lossy().into_owned();
        let ours = ["anon_inode:[io_uring]", "anon_inode:[eventfd]", "anon_inode:[eventpoll]", "socket:"];
        if number <= 2 || !ours.iter().any(|kind| target.starts_with(kind)) {
            continue;
        }
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        let flags = i32::from_str_radix(flags, 8).unwrap();
        assert_ne!(flags & libc::O_CLOEXEC, 0, "{number} -> {target}");
    }
}

#[test]
fn row_081_busy_when_full_and_every_accepted_request_is_answered_once() {
    let runtime = {
        let options = sfu_runtime::RuntimeOptions { command_queue: 8, ..options(2, BACKENDS[0]) };
        Runtime::start_with(&options, |_| Ok(Echo::new(1))).unwrap()
    };
    for token in 0..8 {
        runtime.submit(0, request(token, Command::ShardStats)).unwrap();
    }
    assert_eq!(runtime.submit(0, request(8, Command::ShardStats)), Err(SubmitError::Busy));
    // The other shard is not concerned.
    runtime.submit(1, request(100, Command::ShardStats)).unwrap();
    let mut tokens = Vec::new();
    while tokens.len() < 9 {
        for output in outputs(&runtime) {
            let Output::Reply { token, result } = output else { panic!() };
            result.unwrap();
            tokens.push(token);
        }
    }
    tokens.sort_unstable();
    assert_eq!(tokens, [0, 1, 2, 3, 4, 5, 6, 7, 100]);
    runtime.submit(0, request(9, Command::ShardStats)).unwrap();
    assert_eq!(runtime.submit(9, request(9, Command::ShardStats)), Err(SubmitError::Closed), "no such shard");
}

#[test]
fn a_reply_comes_before_the_events_that_its_command_caused() {
    let runtime = start(1, BACKENDS[0], 1);
    for round in 0..50 {
        runtime.submit(0, request(round, Command::Pause { object: object(3) })).unwrap();
        let mut all = Vec::new();
        while all.len() < 2 {
            all.extend(outputs(&runtime));
        }
        assert!(matches!(all[0], Output::Reply { token, .. } if token == round), "{all:?}");
        assert!(matches!(&all[1], Output::Event(Event::DtlsState { transport, .. }) if *transport == object(3)));
    }
}

#[test]
fn row_112_a_panic_ends_one_shard_with_an_output_and_answers_what_it_held() {
    for backend in BACKENDS {
        let runtime = start(2, backend, 1);
        let places = listen(&runtime, 1, &["127.0.0.1"]);
        runtime.submit(0, request(1, Command::DumpShard)).unwrap();
        let mut failed = false;
        while !failed {
            for output in outputs(&runtime) {
                if let Output::ShardFailed { shard, restarts, text } = output {
                    assert_eq!((shard, restarts, text.as_str()), (0, true, "planted"));
                    failed = true;
                } else {
                    let Output::Reply { token: 1, result } = output else { panic!("{output:?}") };
                    assert_eq!(result.unwrap_err().code, ErrorCode::Internal);
                }
            }
        }
        ask(&runtime, 0, request(2, Command::ShardStats)).unwrap();
        let client = client("127.0.0.1");
        client.send_to(b"alive", places[0].1).unwrap();
        assert_eq!(client.recv(&mut [0; 10]).unwrap(), 5);
        ask(&runtime, 1, request(3, Command::ShardStats)).unwrap();
        assert!(runtime.loads()[0].alive && runtime.loads()[1].alive);
        runtime.shutdown(LONG).unwrap();
    }
}

#[test]
fn row_112_a_shard_that_fails_again_and_again_is_given_up_in_the_end() {
    let runtime = start(2, BACKENDS[0], 1);
    let mut lives = 0;
    loop {
        runtime.submit(0, request(lives, Command::DumpShard)).unwrap();
        let mut last = None;
        while last.is_none() {
            last = outputs(&runtime).into_iter().find_map(|output| match output {
                Output::ShardFailed { restarts, .. } => Some(!restarts),
                _ => None,
            });
        }
        lives += 1;
        if last == Some(true) {
            break;
        }
    }
    assert_eq!(lives, 16);
    while runtime.loads()[0].alive {
        std::thread::yield_now();
    }
    assert_eq!(runtime.submit(0, request(99, Command::ShardStats)), Err(SubmitError::Closed));
    ask(&runtime, 1, request(100, Command::ShardStats)).unwrap();
    runtime.shutdown(LONG).unwrap();
}

#[test]
fn row_077_shutdown_answers_what_is_queued_and_may_be_repeated() {
    let runtime = start(2, BACKENDS[0], 1);
    let mut accepted = 0;
    for token in 0..500 {
        accepted += usize::from(runtime.submit((token % 2) as u8, request(token, Command::ShardStats)).is_ok());
    }
    runtime.shutdown(Duration::from_secs(2)).unwrap();
    runtime.shutdown(Duration::ZERO).unwrap();
    assert_eq!(runtime.submit(0, request(1, Command::ShardStats)), Err(SubmitError::Closed));
    let mut all = Vec::new();
    while all.len() < accepted {
        let before = all.len();
        runtime.poll(7, &mut all);
        assert!(all.len() > before, "{} of {accepted}", all.len());
    }
    assert_eq!(all.len(), accepted);
}

#[test]
fn row_077_submits_from_many_threads_during_shutdown_are_refused_or_answered() {
    let runtime = std::sync::Arc::new(start(2, BACKENDS[0], 1));
    let submitters: Vec<_> = (0..4)
        .map(|_| {
            let runtime = std::sync::Arc::clone(&runtime);
            std::thread::spawn(move || {
                let mut accepted = 0usize;
                loop {
                    match runtime.submit((accepted % 2) as u8, request(0, Command::ShardStats)) {
                        Ok(()) => accepted += 1,
                        Err(SubmitError::Busy) => std::thread::yield_now(),
                        Err(SubmitError::Closed) => return accepted,
                    }
                }
            })
        })
        .collect();
    let mut answered = Vec::new();
    while answered.len() < 2_000 {
        runtime.wait(Some(LONG));
        runtime.poll(64, &mut answered);
    }
    runtime.shutdown(LONG).unwrap();
    let accepted: usize = submitters.into_iter().map(|thread| thread.join().unwrap()).sum();
    runtime.poll(usize::MAX, &mut answered);
    assert_eq!(answered.len(), accepted);
}

#[test]
fn row_077_a_forked_child_can_neither_submit_nor_hang_in_shutdown() {
    let runtime = start(1, BACKENDS[0], 1);
    // SAFETY: the child calls nothing that needs a thread or a lock of the parent's, and leaves by
    // _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = runtime.submit(0, request(1, Command::ShardStats)) == Err(SubmitError::Closed);
        let ended = runtime.shutdown(Duration::from_secs(5)).is_ok();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!(refused && ended))) };
    }
    let mut status = 0;
    // SAFETY: `child` is our child and `status` a valid place.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    ask(&runtime, 0, request(2, Command::ShardStats)).unwrap();
}

#[test]
fn h28_a_released_socket_frees_its_port_and_a_failed_command_too() {
    for backend in BACKENDS {
        let runtime = start(1, backend, 1);
        let (id, addr) = listen(&runtime, 0, &["127.0.0.1"])[0];
        let same = || ListenInfo { port: addr.port(), ..ListenInfo::udp(addr.ip()) };
        let error = listen_on(&runtime, 0, vec![same()]).unwrap_err();
        assert_eq!(error.code, ErrorCode::AddressUnavailable);
        assert!(error.text.contains(&addr.to_string()), "{error}");
        ask(&runtime, 0, request(2, Command::Close { object: object(id) })).unwrap();
        // The socket closes in the turn of the reply; what comes later finds it closed.
        ask(&runtime, 0, request(3, Command::ShardStats)).unwrap();
        // A command that the core refuses gives its sockets back.
        let refused = ShardRequest { token: 4, listen: vec![same()], command: Command::CreateRouter };
        assert_eq!(ask(&runtime, 0, refused).unwrap_err().code, ErrorCode::InvalidState);
        assert_eq!(listen_on(&runtime, 0, vec![same()]).unwrap()[0].1, addr);
    }
}

#[test]
fn row_078_listening_nowhere_or_on_nonsense_is_an_error_that_names_the_field() {
    let runtime = start(1, BACKENDS[0], 1);
    let error = listen_on(&runtime, 0, vec![ListenInfo::udp("224.0.0.1".parse().unwrap())]).unwrap_err();
    assert_eq!((error.code, error.field.as_str()), (ErrorCode::InvalidArgument, "listenInfos[0].ip"));
}

#[test]
fn an_idle_shard_takes_no_turns() {
    for backend in BACKENDS {
        let runtime = start(1, backend, 1);
        listen(&runtime, 0, &["127.0.0.1"]);
        // The turn that answered may still be on its way to sleep.
        ask(&runtime, 0, request(2, Command::ShardStats)).unwrap();
        runtime.wait(Some(Duration::from_millis(50)));
        let before = runtime.loads()[0].turns;
        assert!(!runtime.wait(Some(Duration::from_millis(300))));
        let turns = runtime.loads()[0].turns - before;
        assert!(turns <= 1, "{turns} turns in 300 ms of nothing");
    }
}

#[test]
fn tasks_beside_the_media_task_run_and_do_not_make_it_spin() {
    for backend in BACKENDS {
        let runtime = Runtime::start_with(&options(1, backend), |_| Ok(Echo::hosting())).unwrap();
        let mut done = 0;
        for token in 0..1_000_000 {
            let Ok(Reply::Created(id)) = ask(&runtime, 0, request(token, Command::ShardStats)) else { panic!() };
            done = id.index();
            if done == 105 {
                break;
            }
            runtime.wait(Some(Duration::from_millis(1)));
        }
        assert_eq!(done, 105, "five timers and one descriptor");
        // With the tasks gone, so is the tick.
        runtime.wait(Some(Duration::from_millis(50)));
        let before = runtime.loads()[0].turns;
        runtime.wait(Some(Duration::from_millis(300)));
        assert!(runtime.loads()[0].turns - before <= 1);
    }
}

#[test]
fn the_event_descriptor_is_readable_exactly_while_there_is_something() {
    let runtime = start(1, BACKENDS[0], 1);
    let readable = || {
        let mut entry = libc::pollfd { fd: runtime.event_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry.
        unsafe { libc::poll(&raw mut entry, 1, 0) == 1 }
    };
    assert!(!readable());
    for token in 0..3 {
        runtime.submit(0, request(token, Command::ShardStats)).unwrap();
    }
    let mut out = Vec::new();
    while out.len() < 3 {
        assert!(runtime.wait(Some(LONG)));
        assert!(readable());
        runtime.poll(1, &mut out);
    }
    runtime.poll(1, &mut out);
    assert!(!readable());
}
