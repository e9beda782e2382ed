//! What a shard's thread has used and what waits at its doors: named counters that the runtime adds to the
//! shard's own when it is asked for them.
//!
//! Told: the shard's number and its traffic; called on the shard's thread. Tells: counters. Those of the
//! thread begin with `thread_` and are not to be summed (peak memory is that of the whole process).
//! Limits: one system call each time. getrusage(2), RUSAGE_THREAD.

use crate::load::Traffic;
use crate::runtime::Shared;
use crate::sys;

/// Counters of a shard's thread and doors.
pub(crate) fn counters(shared: &Shared, index: usize, traffic: &Traffic) -> Vec<(&'static str, u64)> {
    let mut all = vec![
        ("datagrams_sent", traffic.datagrams_out),
        ("messages_sent", traffic.messages_out),
        ("send_failures", traffic.send_failures),
        ("turns", traffic.turns),
        ("datagrams_handed_over", traffic.handed_over),
        ("datagrams_taken_over", traffic.taken_over),
        ("hand_overs_lost", traffic.hand_overs_lost),
        ("stalls", traffic.stalls),
        ("stalled_ms", traffic.stalled_ms),
    ];
    if let Some(inbox) = shared.inboxes.get(index) {
        let (queued, in_flight, capacity) = inbox.depth();
        all.push(("mailbox_queued", queued as u64));
        all.push(("mailbox_in_flight", in_flight as u64));
        all.push(("mailbox_capacity", capacity as u64));
    }
    all.push(("outputs_waiting", shared.outlet.depth(index) as u64));
    if let Some(usage) = sys::thread_usage() {
        all.extend(usage);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threads_usage_grows_with_its_work() {
        let cpu = || -> u64 {
            let usage = sys::thread_usage().expect("Linux tells it");
            usage.iter().filter(|(name, _)| name.starts_with("thread_cpu_")).map(|(_, us)| us).sum()
        };
        let before = cpu();
        let mut sum = 0_u64;
        // The kernel accounts in ticks at worst: work until it shows.
        for round in 0..100_000_u64 {
            sum = (0..10_000).fold(sum, |sum, n| sum.wrapping_mul(31).wrapping_add(n ^ round));
            if cpu() > before {
                assert_ne!(sum, 1);
                return;
            }
        }
        panic!("no CPU time after much work");
    }
}
