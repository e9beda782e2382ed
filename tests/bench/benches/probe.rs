//! Can a stranger learn by time which usernames exist? A million probes with unknown usernames and a million with
//! known ones and a wrong key, interleaved in batches; the medians of the batches may differ by less than two percent.
//! Once with one username, whose transport is in the cache, and once with those of a thousand transports in turn.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sfu_core::command::{BoundSocket, Command, Listen, Reply, WebRtcTransportOptions};
use sfu_core::limits::Limits;
use sfu_core::shard::{Shard, ShardConfig};
use sfu_proto::crypto::{Certificate, hmac};
use sfu_proto::srtp::SrtpProfile;
use sfu_wire::net::{Protocol, SocketId};
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
    for transports in [1, 1_000] {
        compare(transports);
    }
}

fn compare(transports: usize) {
    let (mut shard, made) = shard(transports);
    // Not in the order in which they were made, which memory can foresee.
    let names: Vec<&String> = (0..transports).map(|n| &made[n * 617 % transports]).collect();
    let known: Vec<Vec<u8>> = names.iter().map(|name| probe(name)).collect();
    let reversed = names.iter().map(|name| name.chars().rev().collect::<String>());
    let unknown: Vec<Vec<u8>> = reversed.map(|name| probe(&name)).collect();
    let mut times = [Vec::with_capacity(BATCHES), Vec::with_capacity(BATCHES)];
    for n in 0..BATCHES {
        // Each comes first in turn, so that what one leaves in the caches favours neither.
        let mut order = [(&known, 0), (&unknown, 1)];
        order.rotate_left(n % 2);
        for (probes, which) in order {
            times[which].push(batch(&mut shard, probes));
        }
    }
    let [known, unknown] = times.map(median);
    let difference = (known - unknown) / known * 100.0;
    println!(
        "probe: {transports} transports, known usernames {known:.0} ns, unknown {unknown:.0} ns, difference {difference:+.2} %"
    );
}

#[expect(clippy::disallowed_methods, reason = "a benchmark lives in real time")]
fn now() -> Instant {
    Instant::now()
}

fn batch(shard: &mut Shard, probes: &[Vec<u8>]) -> Duration {
    let from = SocketAddr::from(([192, 0, 2, 1], 9_999));
    let mut copies = probes.to_vec();
    let start = now();
    for n in 0..BATCH {
        let at = n % copies.len();
        shard.handle_datagram(START, START, SOCKET, from, &mut copies[at]);
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

fn shard(transports: usize) -> (Shard, Vec<String>) {
    let mut shard = Shard::new(ShardConfig {
        index: 0,
        life: 0,
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
    let bound =
        [BoundSocket { socket: SOCKET, protocol: Protocol::Udp, local, announced: None, expose_internal_ip: false }];
    let Ok(Reply::Created(server)) = shard.handle_command(START, &bound, Command::CreateWebRtcServer) else {
        panic!("no server");
    };
    let mut names = Vec::new();
    for _ in 0..transports {
        let options = WebRtcTransportOptions { listen: Listen::Server(server), ..WebRtcTransportOptions::default() };
        let create = Command::CreateWebRtcTransport { router, options };
        let Ok(Reply::WebRtcTransport(created)) = shard.handle_command(START, &[], create) else {
            panic!("no transport");
        };
        names.push(created.ice.username_fragment);
    }
    (shard, names)
}
