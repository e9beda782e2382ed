//! Fan-out through the pure shard: CPU for each datagram written, at growing numbers of viewers, interleaved.
//!
//! `fan_out [VIEWERS...]`. One number alone, under `valgrind --tool=cachegrind`, shows where the misses are.

use std::time::Duration;

use sfu_bench::pure::PureRoom;
use sfu_bench::sys;

const ROUNDS: usize = 15;
/// Datagrams of a round, about.
const ROUND: usize = 20_000;
/// Packets that arrive together: one outbox is full of them at most.
const TOGETHER: usize = 4;
const SIZE: usize = 1_200;

fn main() {
    let mut sizes: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![10, 100, 500];
    }
    let clock = sys::cpu_clock();
    let mut rooms: Vec<(usize, PureRoom, Vec<f64>)> =
        sizes.iter().map(|viewers| (*viewers, PureRoom::new(*viewers), Vec::new())).collect();
    for n in 0..=ROUNDS {
        for (viewers, room, costs) in &mut rooms {
            let (mut spent, mut sent) = (Duration::ZERO, 0);
            while sent < ROUND {
                let mut sealed: Vec<Vec<u8>> = (0..TOGETHER).map(|_| room.sealed(SIZE)).collect();
                let before = sys::read_clock(clock);
                let out = room.forward(&mut sealed);
                spent += sys::read_clock(clock) - before;
                assert!(out >= *viewers * TOGETHER, "{out} datagrams for {viewers} viewers");
                sent += out;
            }
            // The first round warms up.
            if n > 0 {
                costs.push(spent.as_nanos() as f64 / sent as f64);
            }
        }
    }
    let mut first = None;
    for (viewers, _, costs) in &mut rooms {
        costs.sort_by(f64::total_cmp);
        let median = costs[costs.len() / 2];
        let base = *first.get_or_insert(median);
        println!(
            "N={viewers}: {median:.0} ns for each datagram (least {:.0}), {:+.0} %",
            costs[0],
            (median / base - 1.0) * 100.0
        );
    }
}
