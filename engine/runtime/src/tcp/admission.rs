//! Who may have a connection: counts by the peer's address, and the caps on them.
//!
//! Told: connections that come, prove themselves, go. Tells: whether there is room. An IPv6 peer is its /64, since a
//! host has all of it. Limits: as many entries as connections.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use sfu_core::limits::TcpLimits;

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    all: usize,
    half_open: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Admission {
    limits: TcpLimits,
    by_address: HashMap<IpAddr, Count, foldhash::fast::RandomState>,
    total: Count,
}

impl Admission {
    pub(super) fn new(limits: TcpLimits) -> Self {
        Self { limits, by_address: HashMap::default(), total: Count::default() }
    }

    /// There is room for a connection from `ip`, at a listener that has so many.
    pub(super) fn admits(&self, ip: IpAddr, at_listener: usize) -> bool {
        let of_address = self.by_address.get(&block(ip)).copied().unwrap_or_default();
        self.total.all < self.limits.connections
            && at_listener < self.limits.connections_per_listener
            && of_address.all < self.limits.connections_per_address
            && of_address.half_open < self.limits.half_open_per_address
    }

    /// So many have proven nothing yet that one of them has to go before another comes.
    pub(super) fn is_crowded(&self) -> bool {
        self.total.half_open >= self.limits.half_open
    }

    /// Connections that have proven nothing yet.
    pub(super) fn half_open(&self) -> usize {
        self.total.half_open
    }

    /// A connection came.
    pub(super) fn admit(&mut self, ip: IpAddr) {
        for count in [self.by_address.entry(block(ip)).or_default(), &mut self.total] {
            count.all += 1;
            count.half_open += 1;
        }
    }

    /// A connection is a peer's.
    pub(super) fn verified(&mut self, ip: IpAddr) {
        for count in self.by_address.get_mut(&block(ip)).into_iter().chain([&mut self.total]) {
            count.half_open -= 1;
        }
    }

    /// A connection is nobody's any more.
    pub(super) fn disowned(&mut self, ip: IpAddr) {
        for count in self.by_address.get_mut(&block(ip)).into_iter().chain([&mut self.total]) {
            count.half_open += 1;
        }
    }

    /// A connection went.
    pub(super) fn gone(&mut self, ip: IpAddr, verified: bool) {
        let ip = block(ip);
        for count in self.by_address.get_mut(&ip).into_iter().chain([&mut self.total]) {
            count.all -= 1;
            count.half_open -= usize::from(!verified);
        }
        if self.by_address.get(&ip).is_some_and(|count| count.all == 0) {
            self.by_address.remove(&ip);
        }
    }
}

/// What one host may have addresses of.
fn block(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> TcpLimits {
        TcpLimits {
            connections: 6,
            connections_per_listener: 5,
            connections_per_address: 3,
            half_open: 4,
            half_open_per_address: 2,
            ..TcpLimits::default()
        }
    }

    #[test]
    fn row_012_each_cap_holds_by_itself_and_all_counts_go_back_to_nothing() {
        let mut admission = Admission::new(limits());
        let [a, b, c] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|ip| ip.parse().unwrap());
        admission.admit(a);
        admission.admit(a);
        assert!(!admission.admits(a, 0), "two of one address have proven nothing");
        admission.verified(a);
        admission.admit(a);
        admission.verified(a);
        assert!(!admission.admits(a, 0), "three of one address");
        assert!(admission.admits(b, 0) && !admission.admits(b, 5), "five of one listener");
        admission.admit(b);
        admission.admit(b);
        assert!(!admission.is_crowded());
        admission.admit(c);
        assert!(admission.is_crowded() && !admission.admits(c, 0), "six of the shard");
        admission.disowned(a);
        for (ip, verified) in [(a, true), (a, false), (a, false), (b, false), (b, false), (c, false)] {
            admission.gone(ip, verified);
        }
        assert_eq!((admission.by_address.len(), admission.total.all, admission.half_open()), (0, 0, 0));
    }

    #[test]
    fn addresses_of_one_64_are_one_peer() {
        let mut admission = Admission::new(limits());
        admission.admit("2001:db8::1".parse().unwrap());
        admission.admit("2001:db8::ffff:2".parse().unwrap());
        assert!(!admission.admits("2001:db8::3".parse().unwrap(), 0));
        assert!(admission.admits("2001:db8:0:1::3".parse().unwrap(), 0));
    }
}
