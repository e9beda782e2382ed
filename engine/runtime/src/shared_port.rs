//! Ports that all shards of an engine listen on: one socket for each shard, all bound to one address (SO_REUSEPORT).
//!
//! Told: which shard listens, which peers' addresses each has verified. Tells: sockets, whose a peer's address is, and, to
//! the kernel, where to put what comes from it ([`PortProgram`]). The first shard that asks binds the sockets of all of
//! them. They stay bound while any shard listens, so that one that is made anew takes up its own where it was: the
//! kernel knows sockets by their place in the group.
//!
//! A TCP port is shared likewise, without a program: the kernel spreads connections over the listening sockets, and a
//! connection is handed over when it first names its shard. There are no claims, since a connection is its shard's alone.
//! What arrives while a shard is made anew waits to be accepted; the socket of a shard that listens no more is closed, since
//! the kernel would bring it connections that nobody accepts.
//!
//! The program is made anew on a thread of its own whenever addresses have changed, and not more often than leaves
//! that thread idle most of the time. Until then, or for good where the kernel takes no program, a datagram may arrive at a shard
//! that it does not belong to, and is handed over ([`crate::hand_over`]).
//!
//! The first socket is bound without SO_REUSEPORT: a port that anybody else has is refused, also one that another
//! engine of the same user shares among its own shards.
//!
//! Limits: an address has one owner, the first to verify it, until that one gives it up; a transport has at most eight.
//! A shard that has failed for good keeps its UDP socket: what still comes there was for it, or for nobody. When no shard
//! listens the port is free, also if they have all failed: whichever comes first then binds it again.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use foldhash::quality::RandomState;
use rand_core::TryRngCore;
use sfu_core::command::CommandError;

use crate::listen::{self, Binder};
use crate::options::{ListenInfo, Protocol};
use crate::port_program::{MAX_WORDS, PortProgram};
use crate::sys;

/// Rest after each program, and more for each address that is in it: a program of ten thousand takes some
/// milliseconds to make and attach.
const REST: Duration = Duration::from_millis(5);
const REST_PER_PEER: Duration = Duration::from_micros(2);
/// A program of fewer words is no use.
const MIN_WORDS: usize = 24;

/// How datagrams of a port find their shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Steering {
    /// By the kernel's hash; shards hand over what is not theirs.
    HandOver {
        /// Why the kernel took no program; `None`: it was not asked.
        errno: Option<i32>,
    },
    /// By a program.
    Program {
        /// Addresses that it knows.
        peers: usize,
    },
}

/// One port.
#[derive(Debug)]
pub(crate) struct SharedPort {
    key: u64,
    protocol: Protocol,
    local: SocketAddr,
    /// One for each shard, in the order in which they were bound; none once the port is free. For TCP, those that are
    /// closed are missing.
    sockets: Mutex<Vec<Option<OwnedFd>>>,
    /// Whose each verified address is.
    owners: RwLock<HashMap<SocketAddr, u8, RandomState>>,
    changed: AtomicBool,
    steering: Mutex<Steering>,
}

impl SharedPort {
    fn bind(key: u64, field: &str, info: &ListenInfo, shards: usize, random: u64) -> Result<Self, CommandError> {
        let (first, local) = Binder::new(random).open(field, info)?;
        let shared = |error: io::Error| listen::bind_error(field, listen::name(info), local, &error);
        sys::set_option(first.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1).map_err(shared)?;
        let mut sockets = vec![Some(first)];
        while sockets.len() < shards {
            sockets.push(Some(listen::bind_beside(info, local.port()).map_err(shared)?));
        }
        Ok(Self {
            key,
            protocol: info.protocol,
            local,
            sockets: Mutex::new(sockets),
            owners: RwLock::default(),
            changed: AtomicBool::new(true),
            steering: Mutex::new(Steering::HandOver { errno: None }),
        })
    }

    fn sockets(&self) -> MutexGuard<'_, Vec<Option<OwnedFd>>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The socket of a shard; one beyond the last has none.
    fn socket(&self, shard: u8, info: &ListenInfo) -> io::Result<OwnedFd> {
        let mut sockets = self.sockets();
        let place = sockets.get_mut(usize::from(shard)).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        match place {
            Some(socket) => socket.try_clone(),
            closed => closed.insert(listen::bind_beside(info, self.local.port())?).try_clone(),
        }
    }

    /// A shard listens no more, though others do.
    fn close_socket(&self, shard: u8) {
        if self.protocol == Protocol::Tcp
            && let Some(place) = self.sockets().get_mut(usize::from(shard))
        {
            *place = None;
        }
    }

    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// The shard that has verified a peer's address.
    pub(crate) fn owner(&self, remote: SocketAddr) -> Option<u8> {
        self.owners.read().unwrap_or_else(PoisonError::into_inner).get(&remote).copied()
    }

    /// How datagrams find their shards now.
    #[cfg(test)]
    pub(crate) fn steering(&self) -> Steering {
        *self.steering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<SocketAddr, u8, RandomState>)) {
        change(&mut self.owners.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.store(true, SeqCst);
    }

    /// Tells the kernel by way of `attach`; answers how many addresses there are.
    fn steer(&self, seed: u32, attach: impl Fn(&OwnedFd, &PortProgram) -> io::Result<()>) -> usize {
        let mut peers: Vec<(SocketAddr, u8)> = {
            let owners = self.owners.read().unwrap_or_else(PoisonError::into_inner);
            owners.iter().map(|(remote, shard)| (*remote, *shard)).collect()
        };
        // When not all fit, let it be the same ones the next time.
        peers.sort_unstable();
        let mut words = MAX_WORDS;
        let steering = loop {
            let shards = self.sockets().len();
            let program = PortProgram::new(shards, &peers, words, seed);
            // Attached under the lock, so that a port that is given up is free at once.
            let sockets = self.sockets();
            let Some(Some(first)) = sockets.first() else { return 0 };
            match attach(first, &program) {
                Ok(()) => break Steering::Program { peers: program.peers },
                // Heavier than net.core.optmem_max.
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && words > MIN_WORDS => words /= 2,
                Err(error) => break Steering::HandOver { errno: error.raw_os_error() },
            }
        };
        *self.steering.lock().unwrap_or_else(PoisonError::into_inner) = steering;
        peers.len()
    }
}

fn attach(socket: &OwnedFd, program: &PortProgram) -> io::Result<()> {
    sys::attach_reuseport_filter(socket.as_fd(), &program.instructions)
}

#[derive(Debug)]
struct Entry {
    port: Arc<SharedPort>,
    members: HashSet<u8>,
}

#[derive(Debug, Default)]
struct Signal {
    changed: bool,
    stop: bool,
}

/// All shared ports of an engine.
#[derive(Debug)]
pub(crate) struct SharedPorts {
    shards: usize,
    /// The kernel is told whose addresses are.
    steers: bool,
    entries: Mutex<HashMap<u64, Entry>>,
    signal: Mutex<Signal>,
    wake: Condvar,
}

impl SharedPorts {
    pub(crate) fn new(shards: usize, steers: bool) -> Self {
        Self { shards, steers, entries: Mutex::default(), signal: Mutex::default(), wake: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_signal(&self) -> MutexGuard<'_, Signal> {
        self.signal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A shard begins to listen on the port with this key; the first one binds it.
    pub(crate) fn join(
        &self,
        key: u64,
        shard: u8,
        field: &str,
        info: &ListenInfo,
        random: u64,
    ) -> Result<(Arc<SharedPort>, OwnedFd), CommandError> {
        let mut entries = self.lock();
        let (port, made) = match entries.get(&key) {
            Some(entry) => (Arc::clone(&entry.port), false),
            None => (Arc::new(SharedPort::bind(key, field, info, self.shards, random)?), true),
        };
        let socket = port.socket(shard, info);
        let socket = socket.map_err(|error| listen::bind_error(field, listen::name(info), port.local, &error))?;
        let new = || Entry { port: Arc::clone(&port), members: HashSet::new() };
        entries.entry(key).or_insert_with(new).members.insert(shard);
        drop(entries);
        if made {
            self.notify();
        }
        Ok((port, socket))
    }

    /// A shard listens no more; the last one frees the port.
    pub(crate) fn leave(&self, key: u64, shard: u8) {
        let mut entries = self.lock();
        if let Some(entry) = entries.get_mut(&key) {
            entry.members.remove(&shard);
            let port = Arc::clone(&entry.port);
            port.close_socket(shard);
            if entry.members.is_empty() {
                entries.remove(&key);
                // Whoever steers may hold the port still; nobody may have to wait for that to bind it again.
                port.sockets().clear();
            }
            drop(entries);
            port.change(|owners| owners.retain(|_, owner| *owner != shard));
            self.notify();
        }
    }

    /// A shard has ended for good.
    pub(crate) fn leave_all(&self, shard: u8) {
        let keys: Vec<u64> = self.lock().keys().copied().collect();
        keys.into_iter().for_each(|key| self.leave(key, shard));
    }

    /// A shard has failed: nothing is its own any more. Its sockets stay for the next life, while others listen: nobody
    /// knows whether it will ask for them.
    pub(crate) fn forget_shard(&self, shard: u8) {
        self.lock().retain(|_, entry| {
            let was = entry.members.remove(&shard);
            entry.port.change(|owners| owners.retain(|_, owner| *owner != shard));
            let ends = was && entry.members.is_empty();
            if ends {
                entry.port.sockets().clear();
            }
            !ends
        });
        self.notify();
    }

    /// A shard has verified a peer's address, or gives it up. The first to verify one keeps it.
    pub(crate) fn claim(&self, port: &SharedPort, remote: SocketAddr, shard: u8, held: bool) {
        // A connection cannot arrive anywhere else.
        if port.protocol == Protocol::Tcp {
            return;
        }
        port.change(|owners| {
            if held {
                owners.entry(remote).or_insert(shard);
            } else if owners.get(&remote) == Some(&shard) {
                owners.remove(&remote);
            }
        });
        self.notify();
    }

    fn notify(&self) {
        if self.steers {
            self.lock_signal().changed = true;
            self.wake.notify_one();
        }
    }

    /// Ends [`run`](Self::run).
    pub(crate) fn stop(&self) {
        self.lock_signal().stop = true;
        self.wake.notify_one();
    }

    /// Tells the kernel of changes until stopped: the body of a thread.
    pub(crate) fn run(&self) {
        loop {
            let idle = |signal: &mut Signal| !signal.changed && !signal.stop;
            let mut signal = self.wake.wait_while(self.lock_signal(), idle).unwrap_or_else(PoisonError::into_inner);
            if signal.stop {
                return;
            }
            signal.changed = false;
            drop(signal);
            let peers = self.steer_changed();
            let rest = REST + REST_PER_PEER.saturating_mul(u32::try_from(peers).unwrap_or(u32::MAX));
            let running = |signal: &mut Signal| !signal.stop;
            let _ = self.wake.wait_timeout_while(self.lock_signal(), rest, running);
        }
    }

    fn steer_changed(&self) -> usize {
        let of_udp = |entry: &&Entry| entry.port.protocol == Protocol::Udp;
        let ports: Vec<Arc<SharedPort>> =
            self.lock().values().filter(of_udp).map(|entry| Arc::clone(&entry.port)).collect();
        let changed = ports.iter().filter(|port| port.changed.swap(false, SeqCst));
        // Without randomness the program is as exact, only its collisions could be foreseen.
        changed.map(|port| port.steer(rand_core::OsRng.try_next_u32().unwrap_or(1), attach)).sum()
    }
}

/// Whether this kernel steers: binds two sockets of loopback, and attaches a program.
pub(crate) fn probe() -> Result<(), CommandError> {
    let info = ListenInfo::udp(std::net::Ipv4Addr::LOCALHOST.into());
    let port = SharedPort::bind(0, "listenInfos[0]", &info, 2, 1)?;
    let program = PortProgram::new(2, &[(port.local, 1)], MAX_WORDS, 1);
    let first = port.socket(0, &info).map_err(|error| listen::bind_error("steering", "UDP", port.local, &error))?;
    attach(&first, &program).map_err(|error| listen::bind_error("steering", "UDP", port.local, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port_program::tests::check_for;
    use sfu_core::command::ErrorCode;
    use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};

    const ANY: Option<i32> = None;

    fn info(ip: std::net::IpAddr) -> ListenInfo {
        ListenInfo { shared: Some(1), ..ListenInfo::udp(ip) }
    }

    fn loopback() -> ListenInfo {
        info(Ipv4Addr::LOCALHOST.into())
    }

    /// Who of the group has something to read.
    fn readers(port: &SharedPort) -> Vec<usize> {
        let readable = |fd: &OwnedFd| sys::poll_in(fd.as_fd(), Some(Duration::from_millis(20)));
        let sockets = port.sockets();
        (0..sockets.len()).filter(|n| sockets[*n].as_ref().is_some_and(readable)).collect()
    }

    fn take(port: &SharedPort, shard: usize) {
        let socket = UdpSocket::from(port.sockets()[shard].as_ref().unwrap().try_clone().unwrap());
        socket.recv_from(&mut [0; 2_000]).unwrap();
    }

    #[test]
    fn the_kernel_brings_each_peer_to_its_shard_and_checks_to_theirs() {
        for ip in [Ipv4Addr::LOCALHOST.into(), std::net::IpAddr::from(Ipv6Addr::LOCALHOST)] {
            let Ok(port) = SharedPort::bind(1, "x", &info(ip), 3, 5) else { continue };
            let peers: Vec<UdpSocket> = (0..30).map(|_| UdpSocket::bind((ip, 0)).unwrap()).collect();
            for (n, peer) in peers.iter().enumerate() {
                port.change(|owners| _ = owners.insert(peer.local_addr().unwrap(), (n % 3) as u8));
            }
            assert_eq!(port.steer(77, attach), 30);
            assert_eq!(port.steering(), Steering::Program { peers: 30 });
            for (n, peer) in peers.iter().enumerate() {
                for datagram in [&[0x80; 100][..], &[22, 254, 253], &[0xc8]] {
                    peer.send_to(datagram, port.local).unwrap();
                    assert_eq!(readers(&port), [n % 3], "{ip}");
                    take(&port, n % 3);
                }
                peer.send_to(&check_for((n + 1) as u8 % 3), port.local).unwrap();
                assert_eq!(readers(&port), [(n + 1) % 3]);
                take(&port, (n + 1) % 3);
            }
        }
    }

    #[test]
    fn row_112_the_socket_of_a_shard_that_is_made_anew_keeps_its_place_and_what_is_in_it() {
        let ports = SharedPorts::new(2, true);
        let (port, first) = ports.join(9, 0, "x", &loopback(), 3).unwrap();
        let (_, second) = ports.join(9, 1, "x", &loopback(), 3).unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let from = peer.local_addr().unwrap();
        ports.claim(&port, from, 0, true);
        assert_eq!(ports.steer_changed(), 1);
        drop(first);
        ports.forget_shard(0);
        assert_eq!(port.owner(from), None);
        peer.send_to(b"\x80 for whoever comes", port.local).unwrap();
        let (again, first) = ports.join(9, 0, "x", &loopback(), 3).unwrap();
        assert_eq!(again.local(), port.local());
        assert!(sys::poll_in(first.as_fd(), Some(Duration::from_secs(5))), "the program of the first life still holds");
        drop((first, second));
        ports.leave(9, 0);
        ports.leave(9, 1);
        let addr = port.local;
        drop((port, again));
        UdpSocket::bind(addr).expect("the last one frees the port");
    }

    fn tcp() -> ListenInfo {
        ListenInfo { protocol: Protocol::Tcp, ..loopback() }
    }

    fn connect(port: &SharedPort) -> std::net::TcpStream {
        std::net::TcpStream::connect(port.local).unwrap()
    }

    /// Accepts so many connections by these sockets together, and tells how many by each.
    fn accepted<const N: usize>(sockets: [&OwnedFd; N], all: usize) -> [usize; N] {
        let mut counts = [0; N];
        for _ in 0..1_000 {
            for (socket, count) in sockets.iter().zip(&mut counts) {
                *count += std::iter::from_fn(|| sys::accept(socket.as_fd()).ok()).count();
            }
            if counts.iter().sum::<usize>() == all {
                return counts;
            }
            // The kernel may still be at it.
            sockets.iter().for_each(|socket| _ = sys::poll_in(socket.as_fd(), Some(Duration::from_millis(20))));
        }
        panic!("{counts:?} of {all} have come");
    }

    #[test]
    fn a_tcp_port_is_one_for_all_shards_and_whoever_stops_listening_leaves_nobody_waiting() {
        let ports = SharedPorts::new(2, true);
        let (port, first) = ports.join(5, 0, "x", &tcp(), 3).unwrap();
        let (_, second) = ports.join(5, 1, "x", &tcp(), 3).unwrap();
        ports.claim(&port, "192.0.2.1:9".parse().unwrap(), 1, true);
        assert_eq!((port.owner("192.0.2.1:9".parse().unwrap()), ports.steer_changed()), (None, 0), "no claims");
        // One address, which nobody else gets.
        let same = ListenInfo { port: port.local.port(), ..tcp() };
        let refused = SharedPorts::new(2, true).join(1, 0, "listenInfos[0]", &same, 3).unwrap_err();
        assert_eq!((refused.code, refused.field.as_str()), (ErrorCode::AddressUnavailable, "listenInfos[0].port"));
        assert!(refused.text.contains("TCP"), "{refused}");
        let held: Vec<_> = (0..64).map(|_| connect(&port)).collect();
        let [a, b] = accepted([&first, &second], 64);
        assert!(a > 0 && b > 0, "{a} and {b} of 64");
        drop((held, first));
        // One that has failed has its connections waiting.
        ports.forget_shard(0);
        let held: Vec<_> = (0..64).map(|_| connect(&port)).collect();
        let (again, first) = ports.join(5, 0, "x", &tcp(), 3).unwrap();
        assert_eq!(again.local(), port.local());
        assert!(accepted([&first, &second], 64)[0] > 0, "what came meanwhile is there");
        drop(held);
    }

    #[test]
    fn row_112_a_shard_that_is_gone_for_good_gets_no_tcp_connections_any_more() {
        let ports = SharedPorts::new(2, true);
        let (port, first) = ports.join(5, 0, "x", &tcp(), 3).unwrap();
        let (_, second) = ports.join(5, 1, "x", &tcp(), 3).unwrap();
        drop(first);
        ports.forget_shard(0);
        ports.leave_all(0);
        let held: Vec<_> = (0..64).map(|_| connect(&port)).collect();
        accepted([&second], 64);
        drop(held);
        // A part that is made again listens again.
        let (again, first) = ports.join(5, 0, "x", &tcp(), 3).unwrap();
        assert_eq!(again.local(), port.local());
        let held: Vec<_> = (0..64).map(|_| connect(&port)).collect();
        assert!(accepted([&first, &second], 64).iter().all(|n| *n > 0));
        drop((held, first, second));
        ports.leave(5, 0);
        ports.leave(5, 1);
        let addr = port.local;
        std::net::TcpListener::bind(addr).expect("the last one frees the port");
    }

    #[test]
    fn row_112_a_port_that_every_shard_has_failed_on_is_free_and_can_be_had_again() {
        for info in [loopback(), tcp()] {
            let ports = SharedPorts::new(2, true);
            let (port, first) = ports.join(5, 0, "x", &info, 3).unwrap();
            let (_, second) = ports.join(5, 1, "x", &info, 3).unwrap();
            let same = ListenInfo { port: port.local.port(), ..info.clone() };
            drop((first, second));
            ports.forget_shard(0);
            ports.forget_shard(1);
            // Nobody knows whether anybody will listen again: another server may, and so may this one.
            let other = ports.join(6, 0, "x", &ListenInfo { shared: Some(6), ..same.clone() }, 3);
            drop(other.expect("nothing of it is left"));
            ports.leave(6, 0);
            ports.join(5, 1, "x", &same, 3).expect("it is bound again");
            ports.leave_all(1);
            assert!(ports.lock().is_empty());
        }
    }

    #[test]
    fn row_104_an_address_stays_with_the_first_who_verified_it_until_that_one_gives_it_up() {
        let ports = SharedPorts::new(2, false);
        let (port, _socket) = ports.join(1, 0, "x", &loopback(), 3).unwrap();
        let peer: SocketAddr = "192.0.2.1:5000".parse().unwrap();
        ports.claim(&port, peer, 0, true);
        ports.claim(&port, peer, 1, true);
        ports.claim(&port, peer, 1, false);
        assert_eq!(port.owner(peer), Some(0));
        ports.claim(&port, peer, 0, false);
        assert_eq!(port.owner(peer), None);
        ports.claim(&port, peer, 1, true);
        ports.leave_all(1);
        assert_eq!(port.owner(peer), None);
    }

    #[test]
    fn h28_a_port_that_somebody_has_is_refused_even_if_he_would_share_it() {
        let ports = SharedPorts::new(2, true);
        let (port, _socket) = ports.join(1, 0, "x", &loopback(), 3).unwrap();
        let same = ListenInfo { port: port.local.port(), ..loopback() };
        let refused = SharedPorts::new(2, true).join(1, 0, "listenInfos[0]", &same, 3).unwrap_err();
        assert_eq!((refused.code, refused.field.as_str()), (ErrorCode::AddressUnavailable, "listenInfos[0].port"));
        let refused = SharedPorts::new(2, true).join(2, 0, "x", &info("192.0.2.1".parse().unwrap()), 3).unwrap_err();
        assert_eq!(refused.code, ErrorCode::AddressUnavailable);
        assert!(ports.join(1, 2, "x", &same, 3).is_err(), "there is no third shard");
    }

    #[test]
    fn where_the_kernel_takes_no_program_or_only_a_small_one_the_rest_is_handed_over() {
        let port = SharedPort::bind(1, "x", &loopback(), 2, 5).unwrap();
        assert_eq!(port.steering(), Steering::HandOver { errno: ANY });
        for n in 0..2_000_u16 {
            port.change(|owners| _ = owners.insert(([192, 0, 2, 1], 1_024 + n).into(), (n % 2) as u8));
        }
        let refuse = |errno| move |_: &OwnedFd, _: &PortProgram| Err(io::Error::from_raw_os_error(errno));
        port.steer(1, refuse(libc::ENOPROTOOPT));
        assert_eq!(port.steering(), Steering::HandOver { errno: Some(libc::ENOPROTOOPT) });
        port.steer(1, refuse(libc::ENOMEM));
        assert_eq!(port.steering(), Steering::HandOver { errno: Some(libc::ENOMEM) });
        let light = |fd: &OwnedFd, program: &PortProgram| {
            if program.instructions.len() > 300 {
                Err(io::Error::from_raw_os_error(libc::ENOMEM))
            } else {
                attach(fd, program)
            }
        };
        port.steer(1, light);
        let Steering::Program { peers } = port.steering() else { panic!("{:?}", port.steering()) };
        assert!(peers > 100 && peers < 2_000, "{peers}");
    }

    #[test]
    fn a_program_of_the_greatest_length_is_taken_and_steers() {
        let port = SharedPort::bind(1, "x", &loopback(), 2, 5).unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        port.change(|owners| {
            owners.extend((0..60_000_u16).map(|n| (([10, 0, 0, 1], 1_024 + n).into(), (n % 2) as u8)));
            owners.insert(peer.local_addr().unwrap(), 1);
        });
        // A kernel with a small net.core.optmem_max takes a smaller one.
        port.steer(9, attach);
        let Steering::Program { peers } = port.steering() else { panic!("{:?}", port.steering()) };
        assert!(peers > 1_000, "{peers}");
    }
}
