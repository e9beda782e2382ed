//! Many threads on one engine. `make tsan` runs these under ThreadSanitizer.

use std::collections::{BTreeMap, BTreeSet};
use std::ptr::null_mut;
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};

use sfu_control::encode;
use sfu_control::schema as fb;

use super::tests::{engine_of, poll, submit};
use super::*;

const THREADS: u64 = 32;
/// Requests that each thread has had accepted before the engine is shut down.
const ROUNDS: u64 = 40;
/// Far longer than it takes, also where every memory access is watched.
const PATIENCE: Duration = Duration::from_secs(120);

/// What one thread had accepted, and what it read; the replies may be to anybody's requests.
#[derive(Default)]
struct Seen {
    accepted: BTreeSet<u64>,
    answered: BTreeMap<u64, usize>,
}

impl Seen {
    fn read(&mut self, mut bytes: &[u8]) {
        while let Some((prefix, _)) = bytes.split_first_chunk::<4>() {
            let (message, rest) = bytes.split_at(4 + u32::from_le_bytes(*prefix) as usize);
            let message = fb::size_prefixed_root_as_message(message).expect("the engine writes whole messages");
            if let Some(reply) = message.content_as_reply() {
                *self.answered.entry(reply.id()).or_default() += 1;
            }
            bytes = rest;
        }
    }

    /// Reads what there is; tells whether the engine is closed.
    fn poll(&mut self, engine: u64, buffer: &mut [u8]) -> bool {
        match poll(engine, buffer) {
            (SFU_OK, written, _) => self.read(&buffer[..written]),
            (SFU_CLOSED, ..) => return true,
            (status, ..) => panic!("poll: {status}"),
        }
        false
    }
}

/// Rooms come and go, shards are asked, and things are asked for that are not there.
fn body(round: u64) -> fb::RequestBodyT {
    match round % 4 {
        0 => fb::RequestBodyT::CreateRouter(Box::default()),
        1 => fb::RequestBodyT::GetStats(Box::default()),
        2 => fb::RequestBodyT::GetDump(Box::default()),
        _ => fb::RequestBodyT::Pause(Box::default()),
    }
}

/// One thread's life: every call that any thread may make, until the engine is closed.
fn use_engine(engine: u64, thread: u64, mut half_way: impl FnMut()) -> Seen {
    let mut seen = Seen::default();
    let mut buffer = vec![0; 256 << 10];
    for round in 0.. {
        let id = thread << 32 | (round + 1);
        match submit(engine, &encode::request(id, 0, body(thread + round))).0 {
            SFU_OK => {
                seen.accepted.insert(id);
            }
            SFU_BUSY => {}
            SFU_CLOSED => break,
            status => panic!("submit: {status}"),
        }
        if round == ROUNDS {
            half_way();
        }
        let mut fd = -1;
        // SAFETY: the descriptor is a live value.
        assert!(matches!(unsafe { sfu_engine_event_fd(engine, &raw mut fd) }, SFU_OK | SFU_CLOSED));
        // SAFETY: as above.
        assert!(matches!(unsafe { sfu_engine_media_fd(engine, &raw mut fd) }, SFU_OK | SFU_CLOSED));
        let mut taken = 0;
        // SAFETY: no records, and a live value.
        let sent = unsafe { sfu_engine_send_media(engine, std::ptr::null(), 0, &raw mut taken) };
        assert!(matches!(sent, SFU_OK | SFU_CLOSED), "send_media: {sent}");
        assert!(matches!(sfu_engine_wait(engine, 1), SFU_OK | SFU_TIMEOUT | SFU_CLOSED));
        if seen.poll(engine, &mut buffer) {
            break;
        }
    }
    seen
}

#[test]
fn row_074_and_row_077_thirty_two_threads_call_an_engine_that_is_shut_down_meanwhile() {
    let engine = engine_of(2);
    let (tell, half_way) = channel();
    let begin = Arc::new(Barrier::new(THREADS as usize));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (tell, begin) = (tell.clone(), begin.clone());
            std::thread::spawn(move || {
                begin.wait();
                use_engine(engine, thread, || tell.send(()).expect("the test listens"))
            })
        })
        .collect();
    drop(tell);
    for _ in 0..THREADS {
        half_way.recv_timeout(PATIENCE).expect("a thread has failed, or is stuck");
    }
    // All of them are in the middle of their calls.
    assert_eq!(sfu_engine_shutdown(engine, 10_000), SFU_OK);
    let mut all = Seen::default();
    for thread in threads {
        let seen = thread.join().expect("no thread fails");
        all.accepted.extend(seen.accepted);
        for (id, times) in seen.answered {
            *all.answered.entry(id).or_default() += times;
        }
    }
    while !all.poll(engine, &mut vec![0; 256 << 10]) {}
    assert!(all.accepted.len() as u64 >= THREADS * ROUNDS / 2, "{} accepted", all.accepted.len());
    assert!(all.answered.values().all(|&times| times == 1), "answered twice");
    assert_eq!(all.answered.into_keys().collect::<BTreeSet<_>>(), all.accepted);
    assert_eq!(sfu_engine_free(engine), SFU_OK);
    // SAFETY: null is refused, and the handle is not known any more.
    assert_ne!(unsafe { sfu_engine_event_fd(engine, null_mut()) }, SFU_OK);
}
