//! CPU nanoseconds per forwarded packet over loopback, both I/O back ends, interleaved, medians.
//!
//! `cargo bench --bench loopback -- quick` runs fewer and shorter cases.

use std::time::Duration;

use sfu_bench::loopback::{Case, Figures, run};
use sfu_runtime::IoBackend;

fn main() {
    let quick = std::env::args().any(|a| a == "quick");
    // `cargo test` runs benches with this flag: nothing to check there, and a load run would be out of place.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    let (rounds, seconds) = if quick { (1, 1) } else { (3, 3) };
    println!(
        "{:>5} {:>6} {:>6} {:>9} {:>10} {:>8} {:>7} {:>7} {:>9} {:>9}",
        "N", "in/s", "burst", "back end", "ns/packet", "pkt/msg", "cpu %", "loss %", "p50 us", "p99 us"
    );
    for (consumers, rate, burst) in [(10, 100, 1), (10, 1_000, 4), (100, 500, 4), (500, 100, 4)] {
        let mut results: Vec<(IoBackend, Vec<Figures>)> =
            vec![(IoBackend::IoUring, Vec::new()), (IoBackend::Mmsg, Vec::new())];
        for _ in 0..rounds {
            for (io, figures) in &mut results {
                let duration = Duration::from_secs(seconds);
                figures.push(run(Case { consumers, burst, rate, size: 1_200, duration, io: *io }));
            }
        }
        for (io, figures) in &mut results {
            figures.sort_by(|a, b| a.cpu_ns_per_sent.total_cmp(&b.cpu_ns_per_sent));
            let f = figures[figures.len() / 2];
            println!(
                "{consumers:>5} {rate:>6} {burst:>6} {:>9} {:>10.0} {:>8.2} {:>7.1} {:>7.2} {:>9.0} {:>9.0}",
                format!("{io:?}"),
                f.cpu_ns_per_sent,
                f.datagrams_per_message,
                f.utilisation,
                f.loss,
                f.p50.as_secs_f64() * 1e6,
                f.p99.as_secs_f64() * 1e6
            );
        }
    }
}
