//! Can a stranger learn by time which usernames exist? A million probes with an unknown username and a million with a
//! known one and a wrong key, interleaved in batches; the medians of the batches may differ by less than two percent.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sfu_core::command::{BoundSocket, Command, Reply, WebRtcTransportOptions};
use sfu_core::limits::Limits;
use sfu_core::shard::{Shard, ShardConfig};
use sfu_proto::crypto::{Certificate, hmac};
use sfu_proto::srtp::SrtpProfile;
use sfu_wire::net::SocketId;
use sfu_wire::stun::{Class, StunBuilder};
use sfu_wire::time::Time;

const SOCKET: SocketId = SocketId(1);
const START: Time = Time::from_nanos(1_000_000_000);
const BATCH: usize = 1_000;
const BATCHES: usize = 1_000;

fn main() {
    // `cargo test` runs benches with this flag: nothing to check there.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    let (mut shard, ufrag) = shard();
    let known = probe(&ufrag);
    let unknown = probe(&ufrag.chars().rev().collect::<String>());
    assert_eq!(known.len(), unknown.len());
    let mut times = [Vec::with_capacity(BATCHES), Vec::with_capacity(BATCHES)];
    for _ in 0..BATCHES {
        for (bytes, times) in [&known, &unknown].into_iter().zip(&mut times) {
            times.push(batch(&mut shard, bytes));
        }
    }
    let [known, unknown] = times.map(median);
    let difference = (known - unknown) / known * 100.0;
    println!("probe: known username {known:.0} ns, unknown {unknown:.0} ns, difference {difference:+.2} %");
}

#[expect(clippy::disallowed_methods, reason = "a benchmark lives in real time")]
fn now() -> Instant {
    Instant::now()
}

fn batch(shard: &mut Shard, bytes: &[u8]) -> Duration {
    let from = SocketAddr::from(([192, 0, 2, 1], 9_999));
    let mut copy = bytes.to_vec();
    let start = now();
    for _ in 0..BATCH {
        shard.handle_datagram(START, START, SOCKET, from, &mut copy);
    }
    let took = now().duration_since(start);
    assert!(shard.outbox().transmits().is_empty(), "a stranger was answered");
    took
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_nanos() as f64 / BATCH as f64
}

fn probe(ufrag: &str) -> Vec<u8> {
    let mut buf = vec![0; 256];
    let username = format!("{ufrag}:stranger");
    let len = StunBuilder::new(&mut buf, Class::Request, 1, &[7; 12])
        .username(username.as_bytes())
        .ice_controlling(1)
        .priority(1)
        .finish(Some((b"not the password", hmac::hmac_sha1)))
        .expect("fits");
    buf.truncate(len);
    buf
}

fn shard() -> (Shard, String) {
    let mut shard = Shard::new(ShardConfig {
        index: 0,
        seed: [3; 32],
        epoch_unix_nanos: 0,
        certificate: Certificate::generate().expect("a certificate"),
        srtp_profiles: SrtpProfile::ALL.to_vec(),
        limits: Limits::default(),
    })
    .expect("a shard");
    let Ok(Reply::Created(router)) = shard.handle_command(START, &[], Command::CreateRouter) else {
        panic!("no router");
    };
    let local = SocketAddr::from(([198, 51, 100, 1], 4_444));
    let bound = [BoundSocket { socket: SOCKET, local, announced: None, expose_internal_ip: false }];
    let create = Command::CreateWebRtcTransport { router, options: WebRtcTransportOptions::default() };
    let Ok(Reply::WebRtcTransport(created)) = shard.handle_command(START, &bound, create) else {
        panic!("no transport");
    };
    (shard, created.ice.username_fragment)
}
