//! Round trip of a command on an idle engine: submit, shard, poll.

use std::time::{Duration, Instant};

use sfu_control::schema as fb;
use sfu_control::{Engine, EngineOptions, decode, encode};

const ROUNDS: u64 = 2_000;

fn main() {
    // `cargo test` runs benches with this flag: nothing to check there.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    round_trips();
}

#[expect(clippy::disallowed_methods, reason = "a benchmark lives in real time")]
fn now() -> Instant {
    Instant::now()
}

fn round_trips() {
    let engine = Engine::with_options(&EngineOptions { shards: 1, ..EngineOptions::default() }).expect("starts");
    let mut buffer = vec![0; 1 << 16];
    let created = call(&engine, &mut buffer, 1, 0, fb::RequestBodyT::CreateRouter(Box::default()));
    let fb::ReplyBodyT::Created(router) = created.body else { panic!("no router: {created:?}") };
    let mut times = Vec::new();
    for id in 2..ROUNDS + 2 {
        // Long enough for the shard to park: an idle engine is what callers meet.
        engine.wait(Some(Duration::from_micros(500)));
        let start = now();
        call(&engine, &mut buffer, id, router.id, fb::RequestBodyT::GetStats(Box::default()));
        times.push(now().duration_since(start));
    }
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e6;
    println!("command round trip, us: p50 {:.0}, p90 {:.0}, p99 {:.0}", at(50), at(90), at(99));
    engine.shutdown(Duration::from_secs(2)).expect("stops");
}

fn call(engine: &Engine, buffer: &mut [u8], id: u64, target: u64, body: fb::RequestBodyT) -> fb::ReplyT {
    engine.submit(&encode::request(id, target, body)).expect("accepted");
    loop {
        engine.wait(Some(Duration::from_secs(5)));
        let outcome = engine.poll(buffer).expect("open");
        for message in decode::messages(&buffer[..outcome.written]) {
            if let Ok(fb::ContentT::Reply(reply)) = message
                && reply.id == id
            {
                return *reply;
            }
        }
    }
}
