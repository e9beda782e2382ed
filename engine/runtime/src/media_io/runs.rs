//! Grouping of an outbox into runs: datagrams to one destination that leave as one message.
//!
//! Told: an outbox and the routes that take no runs. Tells: an order of its datagrams in which those
//! of one destination are neighbours, each destination's in the order in which they were written,
//! and how they divide into runs: equal sizes and one shorter last, at most [`MAX_SEGMENTS`], below
//! [`MAX_RUN_BYTES`]. It allocates only until its vectors have grown to the size of the outbox.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};

use sfu_core::outbox::{Outbox, Transmit};
use sfu_wire::net::SocketId;

use crate::listen::is_tcp;

/// Most datagrams of a run.
pub(crate) const MAX_SEGMENTS: usize = 16;
/// Most bytes of a run: below what one IP packet can claim, headers included.
pub(crate) const MAX_RUN_BYTES: usize = 65_000;
/// Most routes that are remembered; beyond this, runs are off for all.
const MAX_ROUTES: usize = 1024;

/// Routes that refused a run.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    without_runs: HashSet<(SocketId, IpAddr), foldhash::fast::RandomState>,
    all_off: bool,
}

impl Routes {
    /// Whether a run may go this way.
    pub(crate) fn takes_runs(&self, socket: SocketId, to: IpAddr) -> bool {
        !self.all_off && (self.without_runs.is_empty() || !self.without_runs.contains(&(socket, to)))
    }

    /// A run was refused: from now on datagrams go singly this way.
    pub(crate) fn refuse_runs(&mut self, socket: SocketId, to: IpAddr) {
        if self.without_runs.len() >= MAX_ROUTES {
            self.all_off = true;
            self.without_runs.clear();
        } else {
            self.without_runs.insert((socket, to));
        }
    }

    /// The socket is gone: its id may come again.
    pub(crate) fn forget(&mut self, socket: SocketId) {
        self.without_runs.retain(|(s, _)| *s != socket);
    }
}

/// Datagrams that leave as one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) socket: SocketId,
    pub(crate) to: SocketAddr,
    /// Where its datagrams begin in [`Runs::order`].
    pub(crate) first: u32,
    /// How many they are.
    pub(crate) count: u16,
    /// Size of each but the last, which may be shorter.
    pub(crate) segment: u16,
}

/// The runs of one outbox.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    keys: Vec<(u64, u32)>,
    order: Vec<u32>,
    runs: Vec<Run>,
    /// So many of `runs` are for media sockets; the others go by TCP.
    datagram_runs: usize,
    hasher: foldhash::fast::RandomState,
}

impl Runs {
    /// Groups `outbox`.
    pub(crate) fn group(&mut self, outbox: &Outbox, routes: &Routes) {
        let transmits = outbox.transmits();
        self.keys.clear();
        self.order.clear();
        self.runs.clear();
        if transmits.len() > 1 {
            // The socket leads the key, so that one socket's runs are neighbours too. Two
            // destinations with one hash may interleave: shorter runs, still in order for each.
            self.keys.extend(transmits.iter().zip(0u32..).map(|(transmit, index)| {
                let hash = self.hasher.hash_one(transmit.to) & 0xffff_ffff;
                (u64::from(transmit.socket.0) << 32 | hash, index)
            }));
            self.keys.sort_unstable();
            self.order.extend(self.keys.iter().map(|(_, index)| *index));
        } else {
            self.order.extend((0u32..).take(transmits.len()));
        }
        self.divide(transmits, routes);
        // Listening sockets have the highest ids, so they come last.
        self.datagram_runs = self.runs.partition_point(|run| !is_tcp(run.socket));
    }

    fn divide(&mut self, transmits: &[Transmit], routes: &Routes) {
        let mut open: Option<(Run, usize)> = None;
        for (position, index) in (0u32..).zip(&self.order) {
            let next = &transmits[*index as usize];
            if let Some((run, bytes)) = &mut open {
                let bytes_after = *bytes + usize::from(next.len);
                let whole = *bytes == usize::from(run.count) * usize::from(run.segment);
                let joins = whole
                    && next.len <= run.segment
                    && run.to == next.to
                    && run.socket == next.socket
                    && usize::from(run.count) < MAX_SEGMENTS
                    && bytes_after <= MAX_RUN_BYTES
                    && routes.takes_runs(run.socket, run.to.ip());
                if joins {
                    run.count += 1;
                    *bytes = bytes_after;
                    continue;
                }
                self.runs.push(*run);
            }
            let run = Run { socket: next.socket, to: next.to, first: position, count: 1, segment: next.len };
            open = Some((run, usize::from(next.len)));
        }
        if let Some((run, _)) = open {
            self.runs.push(run);
        }
    }

    /// The runs for media sockets, those of one socket side by side.
    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs[..self.datagram_runs]
    }

    /// The runs that go by TCP connections, those of one connection side by side.
    pub(crate) fn by_connection(&self) -> &[Run] {
        &self.runs[self.datagram_runs..]
    }

    /// Which datagrams of the outbox a run is made of, in order.
    pub(crate) fn indices(&self, run: &Run) -> impl Iterator<Item = u32> + '_ {
        let first = run.first as usize;
        self.order.get(first..first + usize::from(run.count)).unwrap_or(&[]).iter().copied()
    }

    /// The datagrams of a run, in order.
    pub(crate) fn segments<'a>(&'a self, run: &Run, outbox: &'a Outbox) -> impl Iterator<Item = &'a [u8]> {
        let first = run.first as usize;
        let indices = self.order.get(first..first + usize::from(run.count)).unwrap_or(&[]);
        indices
            .iter()
            .filter_map(|index| outbox.transmits().get(*index as usize))
            .map(|transmit| outbox.bytes(transmit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outbox_of(datagrams: &[(u8, u16)]) -> Outbox {
        let mut outbox = Outbox::new(1 << 22, 8192);
        for (number, (to, len)) in (0u32..).zip(datagrams) {
            let socket = SocketId(u32::from(to % 2));
            let addr = SocketAddr::from(([10, 0, 0, *to], 9));
            outbox
                .push_with(socket, addr, usize::from(*len), |slot| {
                    slot.fill(0);
                    slot[..4].copy_from_slice(&number.to_be_bytes());
                    Some(slot.len())
                })
                .unwrap();
        }
        outbox
    }

    fn grouped(outbox: &Outbox, routes: &Routes) -> Vec<(u8, Vec<(u32, usize)>)> {
        let mut runs = Runs::default();
        runs.group(outbox, routes);
        let number = |bytes: &[u8]| (u32::from_be_bytes(bytes[..4].try_into().unwrap()), bytes.len());
        runs.runs()
            .iter()
            .map(|run| {
                let IpAddr::V4(ip) = run.to.ip() else { panic!() };
                (ip.octets()[3], runs.segments(run, outbox).map(number).collect())
            })
            .collect()
    }

    #[test]
    fn a_frame_to_one_destination_is_two_runs_when_sizes_differ() {
        let outbox = outbox_of(&[(1, 100), (1, 100), (1, 99), (1, 99), (1, 99)]);
        let runs = grouped(&outbox, &Routes::default());
        let sizes: Vec<Vec<usize>> = runs.iter().map(|(_, run)| run.iter().map(|s| s.1).collect()).collect();
        assert_eq!(sizes, [vec![100, 100, 99], vec![99, 99]]);
    }

    #[test]
    fn a_longer_one_begins_a_new_run_and_a_refused_route_has_none() {
        let outbox = outbox_of(&[(1, 99), (1, 100), (3, 50), (3, 50)]);
        let mut routes = Routes::default();
        let counts = |runs: Vec<(u8, Vec<(u32, usize)>)>| {
            let mut counts: Vec<_> = runs.iter().map(|(to, run)| (*to, run.len())).collect();
            counts.sort_unstable();
            counts
        };
        assert_eq!(counts(grouped(&outbox, &routes)), [(1, 1), (1, 1), (3, 2)]);
        routes.refuse_runs(SocketId(1), "10.0.0.3".parse().unwrap());
        assert_eq!(counts(grouped(&outbox, &routes)), [(1, 1), (1, 1), (3, 1), (3, 1)]);
        routes.forget(SocketId(1));
        assert_eq!(counts(grouped(&outbox, &routes)), [(1, 1), (1, 1), (3, 2)]);
    }

    #[test]
    fn too_many_refusing_routes_switch_runs_off_instead_of_growing() {
        let mut routes = Routes::default();
        for n in 0..=MAX_ROUTES as u32 {
            routes.refuse_runs(SocketId(0), IpAddr::from(n.to_be_bytes()));
        }
        assert!(routes.without_runs.is_empty());
        assert!(!routes.takes_runs(SocketId(9), IpAddr::from([9, 9, 9, 9])));
    }

    proptest! {
        #[test]
        fn every_datagram_leaves_once_in_order_of_its_flow_and_runs_are_legal(
            datagrams in proptest::collection::vec((0u8..6, 4u16..1500), 0..300)
        ) {
            let outbox = outbox_of(&datagrams);
            let runs = grouped(&outbox, &Routes::default());
            let mut seen = vec![Vec::new(); 6];
            for (to, run) in &runs {
                prop_assert!(run.len() <= MAX_SEGMENTS && !run.is_empty());
                prop_assert!(run.iter().map(|s| s.1).sum::<usize>() <= MAX_RUN_BYTES);
                let segment = run[0].1;
                prop_assert!(run[..run.len() - 1].iter().all(|s| s.1 == segment));
                prop_assert!(run[run.len() - 1].1 <= segment);
                seen[usize::from(*to)].extend(run.iter().map(|s| s.0));
            }
            for (to, numbers) in seen.iter().enumerate() {
                let expected: Vec<u32> =
                    (0u32..).zip(&datagrams).filter(|(_, d)| usize::from(d.0) == to).map(|(n, _)| n).collect();
                prop_assert_eq!(numbers, &expected);
            }
        }
    }
}
