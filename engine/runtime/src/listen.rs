//! Binding the sockets that a command asks for, on the shard's own thread.
//!
//! Told: listen infos. Tells: bound sockets, or one error that names address and port, with nothing
//! left behind. UDP sockets are blocking: io_uring would answer EAGAIN on non-blocking ones instead of
//! waiting, and the other back end passes MSG_DONTWAIT. TCP sockets listen; what they accept inherits
//! their options.
//!
//! Limits: [`MAX_SOCKETS`] per command; a scan of a port range asks the kernel for each port at most
//! once and skips ports that this shard holds itself. There is no SO_REUSEPORT unless asked for, or for ports that the
//! shards of one engine share on purpose ([`crate::shared_port`]), and SO_REUSEADDR for TCP only, where it lets a restart
//! have its port although old connections fade: two sockets never share a port by accident, whatever ranges were given.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use sfu_core::command::{BoundSocket, CommandError, ErrorCode};
use sfu_wire::net::{SocketId, is_unroutable};

use crate::options::{ListenInfo, Protocol};
use crate::shared_port::{SharedPort, SharedPorts};
use crate::sys;

/// Most sockets that one command may ask for.
pub(crate) const MAX_SOCKETS: usize = 16;

/// Kernel buffers when the controller does not say: a key frame to 500 consumers leaves in one
/// turn, and a full buffer is loss. The kernel takes less without complaint.
const DEFAULT_BUFFER: usize = 4 << 20;

/// Largest kernel buffer that may be asked for.
const MAX_BUFFER: usize = 256 << 20;

/// How much of what a connection was given may wait in the kernel unsent, bytes: what has to wait longer waits where
/// it can still be shed.
const UNSENT: i32 = 64 << 10;
/// For how long what was sent may stay unacknowledged before the kernel gives a connection up, ms: as long as consent
/// lasts.
const UNACKNOWLEDGED_MS: i32 = 30_000;
/// Connections that may wait to be accepted; the kernel takes less without complaint.
const BACKLOG: i32 = 1_024;

/// The same for IPv6 as `IP_PMTUDISC_INTERFACE` for IPv4 (linux/in6.h).
const IPV6_PMTUDISC_INTERFACE: i32 = 4;

/// Ids of listening TCP sockets have this bit.
const TCP: u32 = 1 << 31;

/// Whether this is the id of a listening TCP socket.
#[inline]
pub(crate) const fn is_tcp(socket: SocketId) -> bool {
    socket.0 & TCP != 0
}

/// A socket that was bound for a command.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) info: BoundSocket,
    pub(crate) fd: OwnedFd,
    /// The port, if other shards listen on it too.
    pub(crate) shared: Option<Arc<SharedPort>>,
}

/// Binds the sockets of one shard and remembers which ports it holds.
#[derive(Debug)]
pub(crate) struct Binder {
    next: u32,
    random: u64,
    held: HashSet<Place>,
    by_socket: HashMap<SocketId, Place>,
    /// The engine's shared ports, and this shard.
    sharing: Option<(Arc<SharedPorts>, u8)>,
    /// Sockets of shared ports, with the ports' keys.
    shared: HashMap<SocketId, u64>,
}

/// What one socket has.
type Place = (Protocol, IpAddr, u16);

/// Why one port could not be bound.
enum Refused {
    /// Another socket has it.
    Taken,
    /// Every port of this address will be refused alike.
    Address(CommandError),
}

impl Binder {
    /// `random` decides where scans of port ranges begin.
    pub(crate) fn new(random: u64) -> Self {
        Self {
            next: 0,
            random: random | 1,
            held: HashSet::new(),
            by_socket: HashMap::new(),
            sharing: None,
            shared: HashMap::new(),
        }
    }

    /// As [`new`](Self::new), for a shard that may share ports with others.
    pub(crate) fn sharing(random: u64, ports: Arc<SharedPorts>, shard: u8) -> Self {
        Self { sharing: Some((ports, shard)), ..Self::new(random) }
    }

    /// Binds everything or nothing.
    pub(crate) fn bind_all(&mut self, infos: &[ListenInfo]) -> Result<Vec<Bound>, CommandError> {
        if infos.len() > MAX_SOCKETS {
            let text = format!("{} listen infos; at most {MAX_SOCKETS} are allowed", infos.len());
            return Err(CommandError::new(ErrorCode::InvalidArgument, "listenInfos", text));
        }
        let mut bound: Vec<Bound> = Vec::with_capacity(infos.len());
        for (index, info) in infos.iter().enumerate() {
            match self.bind_one(&format!("listenInfos[{index}]"), info) {
                Ok(socket) => bound.push(socket),
                Err(error) => {
                    bound.iter().for_each(|b| self.released(b.info.socket));
                    return Err(error);
                }
            }
        }
        Ok(bound)
    }

    /// A socket was closed: its port may be tried again.
    pub(crate) fn released(&mut self, socket: SocketId) {
        if let Some(held) = self.by_socket.remove(&socket) {
            self.held.remove(&held);
        }
        if let (Some(key), Some((ports, shard))) = (self.shared.remove(&socket), &self.sharing) {
            ports.leave(key, *shard);
        }
    }

    /// Binds one socket, and remembers nothing.
    pub(crate) fn open(&mut self, field: &str, info: &ListenInfo) -> Result<(OwnedFd, SocketAddr), CommandError> {
        validate(field, info)?;
        match info.port_range {
            Some((low, high)) if info.port == 0 => self.bind_in_range(field, info, low, high),
            _ => bind_port(field, info, info.port).map_err(|refused| match refused {
                Refused::Address(error) => error,
                Refused::Taken => {
                    let addr = SocketAddr::new(info.ip, info.port);
                    let text = format!(
                        "cannot bind {} {addr}: the port is taken; choose another, or stop what holds it",
                        name(info)
                    );
                    CommandError::new(ErrorCode::AddressUnavailable, format!("{field}.port"), text)
                }
            }),
        }
    }

    fn bind_one(&mut self, field: &str, info: &ListenInfo) -> Result<Bound, CommandError> {
        let random = self.draw();
        let (fd, local, shared) = match (info.shared, &self.sharing) {
            (Some(key), Some((ports, shard))) => {
                let (port, fd) = ports.join(key, *shard, field, info, random)?;
                (fd, port.local(), Some(port))
            }
            _ => {
                let (fd, local) = self.open(field, info)?;
                (fd, local, None)
            }
        };
        let socket = self.free_id(info.protocol);
        if let Some(port) = &shared {
            self.shared.insert(socket, port.key());
        }
        self.held.insert((info.protocol, info.ip, local.port()));
        self.by_socket.insert(socket, (info.protocol, info.ip, local.port()));
        let info = BoundSocket {
            socket,
            protocol: info.protocol,
            local,
            announced: info.announced.clone(),
            expose_internal_ip: info.expose_internal_ip,
        };
        Ok(Bound { info, fd, shared })
    }

    fn bind_in_range(
        &mut self,
        field: &str,
        info: &ListenInfo,
        low: u16,
        high: u16,
    ) -> Result<(OwnedFd, SocketAddr), CommandError> {
        let size = u32::from(high) - u32::from(low) + 1;
        let start = (self.draw() % u64::from(size)) as u32;
        for step in 0..size {
            let port = low + ((start + step) % size) as u16;
            if self.held.contains(&(info.protocol, info.ip, port)) {
                continue;
            }
            match bind_port(field, info, port) {
                Ok(bound) => return Ok(bound),
                Err(Refused::Taken) => {}
                Err(Refused::Address(error)) => return Err(error),
            }
        }
        let text = format!(
            "no free {} port at {} in {low}-{high}: all {size} are taken; widen portRange, close transports, \
             or use a WebRTC server, which needs one port for all",
            name(info),
            SocketAddr::new(info.ip, low)
        );
        Err(CommandError::new(ErrorCode::AddressUnavailable, format!("{field}.portRange"), text))
    }

    /// xorshift64: spreads ports, guards nothing.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn free_id(&mut self, protocol: Protocol) -> SocketId {
        let bit = if protocol == Protocol::Tcp { TCP } else { 0 };
        loop {
            let id = SocketId(self.next & !TCP | bit);
            self.next = self.next.wrapping_add(1);
            if !self.by_socket.contains_key(&id) {
                return id;
            }
        }
    }
}

fn validate(field: &str, info: &ListenInfo) -> Result<(), CommandError> {
    let invalid =
        |name: &str, text: String| Err(CommandError::new(ErrorCode::InvalidArgument, format!("{field}.{name}"), text));
    if info.udp_reuse_port && info.protocol == Protocol::Tcp {
        return invalid("udpReusePort", "is for UDP; a TCP port is one listener's".to_owned());
    }
    if is_unroutable(info.ip) && (!info.ip.is_unspecified() || info.announced.is_none()) {
        let remedy = if info.ip.is_unspecified() { "set announcedAddress too, or give" } else { "give" };
        return invalid(
            "ip",
            format!("{} is no address that a peer can send to: {remedy} an address of this host", info.ip),
        );
    }
    if let Some((low, high)) = info.port_range
        && (low == 0 || low > high)
    {
        return invalid("portRange", format!("{low}-{high} is empty or begins at 0: give min <= max, from 1 to 65535"));
    }
    for (name, bytes) in [("sendBufferSize", info.send_buffer), ("recvBufferSize", info.recv_buffer)] {
        if bytes > MAX_BUFFER {
            return invalid(name, format!("{bytes} bytes; at most {MAX_BUFFER} are allowed"));
        }
    }
    Ok(())
}

fn bind_port(field: &str, info: &ListenInfo, port: u16) -> Result<(OwnedFd, SocketAddr), Refused> {
    let bound = open_socket(info, port, false).and_then(|fd| Ok((sys::local_addr(fd.as_fd())?, fd)));
    match bound {
        Ok((local, fd)) => Ok((fd, local)),
        Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => Err(Refused::Taken),
        Err(error) => Err(Refused::Address(bind_error(field, name(info), SocketAddr::new(info.ip, port), &error))),
    }
}

/// Binds one more socket to a port whose first one lets others in.
pub(crate) fn bind_beside(info: &ListenInfo, port: u16) -> io::Result<OwnedFd> {
    open_socket(info, port, true)
}

fn open_socket(info: &ListenInfo, port: u16, beside: bool) -> io::Result<OwnedFd> {
    let fd = match info.protocol {
        Protocol::Udp => sys::udp_socket(info.ip),
        Protocol::Tcp => sys::tcp_socket(info.ip),
    }?;
    if beside || info.udp_reuse_port {
        sys::set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    match info.protocol {
        Protocol::Udp => ignore_path_mtu(fd.as_fd(), info.ip),
        Protocol::Tcp => sys::set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?,
    }
    if info.ip.is_ipv6() {
        sys::set_option(fd.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, i32::from(info.ipv6_only))?;
    }
    sys::bind(fd.as_fd(), SocketAddr::new(info.ip, port))?;
    for (forced, plain, bytes) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, info.recv_buffer),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, info.send_buffer),
    ] {
        match (bytes, info.protocol) {
            (0, Protocol::Udp) => set_buffer(fd.as_fd(), forced, plain, DEFAULT_BUFFER),
            // The kernel sizes the buffers of each connection by what its path carries.
            (0, Protocol::Tcp) => {}
            (bytes, _) => set_buffer(fd.as_fd(), forced, plain, bytes),
        }
    }
    if info.protocol == Protocol::Tcp {
        for (option, value) in
            [(libc::TCP_NODELAY, 1), (libc::TCP_NOTSENT_LOWAT, UNSENT), (libc::TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)]
        {
            sys::set_option(fd.as_fd(), libc::IPPROTO_TCP, option, value)?;
        }
        sys::listen(fd.as_fd(), BACKLOG)?;
    }
    Ok(fd)
}

/// The protocol, for errors.
pub(crate) fn name(info: &ListenInfo) -> &'static str {
    match info.protocol {
        Protocol::Udp => "UDP",
        Protocol::Tcp => "TCP",
    }
}

/// Our packets fit every path that carries media, so what ICMP says of a path's MTU can only do harm: anybody may forge it,
/// and the kernel would refuse what is larger. Without the "don't fragment" bit, routers with a smaller MTU that say
/// nothing (black holes) let packets pass in pieces. A kernel that cannot goes by what it is told.
fn ignore_path_mtu(fd: BorrowedFd<'_>, ip: IpAddr) {
    let _ = sys::set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_INTERFACE);
    if ip.is_ipv6() {
        let _ = sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, IPV6_PMTUDISC_INTERFACE);
    }
}

/// Sizes are wishes: the forced option needs a privilege, the other is clamped to a sysctl.
fn set_buffer(fd: BorrowedFd<'_>, forced: i32, plain: i32, bytes: usize) {
    let bytes = i32::try_from(bytes.min(MAX_BUFFER)).unwrap_or(i32::MAX);
    if sys::set_option(fd, libc::SOL_SOCKET, forced, bytes).is_err() {
        let _ = sys::set_option(fd, libc::SOL_SOCKET, plain, bytes);
    }
}

pub(crate) fn bind_error(field: &str, protocol: &str, addr: SocketAddr, error: &io::Error) -> CommandError {
    let (code, why) = match error.raw_os_error() {
        Some(libc::EADDRNOTAVAIL) => {
            (ErrorCode::AddressUnavailable, "the address is not on this host; use one that `ip addr` lists".to_owned())
        }
        Some(libc::EAFNOSUPPORT) => {
            (ErrorCode::AddressUnavailable, "this host has IPv6 switched off; listen on an IPv4 address".to_owned())
        }
        Some(libc::EACCES | libc::EPERM) => (
            ErrorCode::AddressUnavailable,
            "the port is privileged; use one above 1023, or grant CAP_NET_BIND_SERVICE".to_owned(),
        ),
        Some(libc::EMFILE | libc::ENFILE) => {
            let limit = sys::soft_limit(libc::RLIMIT_NOFILE).map_or("unlimited".to_owned(), |n| n.to_string());
            (
                ErrorCode::ResourceExhausted,
                format!("no file descriptor left (EMFILE, limit {limit}); raise `ulimit -n`"),
            )
        }
        Some(libc::ENOBUFS | libc::ENOMEM) => {
            (ErrorCode::ResourceExhausted, "the kernel has no memory for a socket; free some".to_owned())
        }
        _ => (ErrorCode::AddressUnavailable, error.to_string()),
    };
    let name = if code == ErrorCode::ResourceExhausted { field.to_owned() } else { format!("{field}.ip") };
    CommandError::new(code, name, format!("cannot bind {protocol} {addr}: {why}"))
}

/// Whether `info` could be bound right now; used before a start.
pub(crate) fn probe(field: &str, info: &ListenInfo) -> Result<(), CommandError> {
    Binder::new(1).bind_one(field, info).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// Three neighbouring ports that are free right now.
    fn free_range() -> (u16, u16) {
        for low in (20_011..32_000).step_by(7) {
            let hold: Vec<_> =
                (low..low + 3).filter_map(|p| std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, p)).ok()).collect();
            if hold.len() == 3 {
                return (low, low + 2);
            }
        }
        panic!("no three free ports on this host");
    }

    fn in_range(range: (u16, u16)) -> ListenInfo {
        ListenInfo { port_range: Some(range), ..ListenInfo::udp(Ipv4Addr::LOCALHOST.into()) }
    }

    #[test]
    fn h28_three_ports_serve_three_refuse_clearly_and_serve_again_once_freed() {
        let range = free_range();
        let mut binder = Binder::new(77);
        let mut bound = Vec::new();
        let mut refused = 0;
        for _ in 0..10 {
            match binder.bind_all(&[in_range(range)]) {
                Ok(mut sockets) => bound.append(&mut sockets),
                Err(error) => {
                    refused += 1;
                    assert_eq!(error.code, ErrorCode::AddressUnavailable);
                    assert_eq!(error.field, "listenInfos[0].portRange");
                    assert!(error.text.contains(&format!("127.0.0.1:{}", range.0)), "{}", error.text);
                }
            }
        }
        assert_eq!((bound.len(), refused), (3, 7));
        let freed = bound.swap_remove(1);
        let port = freed.info.local.port();
        binder.released(freed.info.socket);
        drop(freed);
        let again = binder.bind_all(&[in_range(range)]).unwrap();
        assert_eq!(again[0].info.local.port(), port);
    }

    #[test]
    fn h28_ranges_that_overlap_never_give_one_port_twice() {
        let (low, high) = free_range();
        let mut one = Binder::new(3);
        let mut two = Binder::new(9);
        let mut ports = HashSet::new();
        let mut held = Vec::new();
        for binder in [&mut one, &mut two, &mut Binder::new(5)] {
            let bound = binder.bind_all(&[in_range((low, high))]).unwrap();
            assert!(ports.insert(bound[0].info.local.port()));
            held.push(bound);
        }
        assert!(two.bind_all(&[in_range((low, high))]).is_err());
    }

    #[test]
    fn h28_a_failure_in_the_middle_leaves_no_socket_behind() {
        let (low, _) = free_range();
        let fixed = ListenInfo { port: low, ..ListenInfo::udp(Ipv4Addr::LOCALHOST.into()) };
        let foreign = ListenInfo::udp("192.0.2.1".parse().unwrap());
        let mut binder = Binder::new(1);
        let error = binder.bind_all(&[fixed.clone(), foreign]).unwrap_err();
        assert_eq!(error.field, "listenInfos[1].ip");
        assert!(binder.held.is_empty() && binder.by_socket.is_empty());
        binder.bind_all(&[fixed]).unwrap();
    }

    #[test]
    fn row_087_errors_name_the_address_and_the_port() {
        let other = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = other.local_addr().unwrap().port();
        let taken = ListenInfo { port, ..ListenInfo::udp(Ipv4Addr::LOCALHOST.into()) };
        let error = Binder::new(1).bind_all(&[taken]).unwrap_err();
        assert!(error.text.contains(&format!("127.0.0.1:{port}")) && error.text.contains("taken"), "{error}");
        assert_eq!(error.field, "listenInfos[0].port");

        let foreign = ListenInfo { port: 4711, ..ListenInfo::udp("192.0.2.1".parse().unwrap()) };
        let error = Binder::new(1).bind_all(&[foreign]).unwrap_err();
        assert!(error.text.contains("192.0.2.1:4711") && error.text.contains("not on this host"), "{error}");

        let off = bind_error(
            "listenInfos[0]",
            "UDP",
            "[::1]:9".parse().unwrap(),
            &io::Error::from_raw_os_error(libc::EAFNOSUPPORT),
        );
        assert!(off.text.contains("[::1]:9") && off.text.contains("IPv6 switched off"), "{off}");
    }

    #[test]
    fn row_078_nonsense_is_refused_by_field() {
        let refused = |info: ListenInfo| Binder::new(1).bind_all(&[info]).unwrap_err();
        let lo = ListenInfo::udp(Ipv4Addr::LOCALHOST.into());
        let any = ListenInfo::udp(Ipv6Addr::UNSPECIFIED.into());
        assert_eq!(refused(any.clone()).field, "listenInfos[0].ip");
        assert_eq!(refused(ListenInfo::udp("224.0.0.1".parse().unwrap())).field, "listenInfos[0].ip");
        assert_eq!(refused(ListenInfo { port_range: Some((9, 8)), ..lo.clone() }).field, "listenInfos[0].portRange");
        assert_eq!(refused(ListenInfo { port_range: Some((0, 8)), ..lo.clone() }).field, "listenInfos[0].portRange");
        let shared = ListenInfo { protocol: Protocol::Tcp, udp_reuse_port: true, ..lo.clone() };
        assert_eq!(refused(shared).field, "listenInfos[0].udpReusePort");
        assert_eq!(refused(ListenInfo { recv_buffer: 1 << 40, ..lo.clone() }).field, "listenInfos[0].recvBufferSize");
        assert_eq!(Binder::new(1).bind_all(&vec![lo; 17]).unwrap_err().field, "listenInfos");
    }

    fn option(fd: &OwnedFd, level: i32, name: i32) -> i32 {
        sys::option(fd.as_fd(), level, name).unwrap()
    }

    #[test]
    fn row_087_a_tcp_port_that_is_taken_or_used_up_names_the_address_and_the_port() {
        let other = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = other.local_addr().unwrap().port();
        let tcp = ListenInfo::tcp(Ipv4Addr::LOCALHOST.into());
        let error = Binder::new(1).bind_all(&[ListenInfo { port, ..tcp.clone() }]).unwrap_err();
        assert!(error.text.contains(&format!("TCP 127.0.0.1:{port}")) && error.text.contains("taken"), "{error}");
        assert_eq!((error.code, error.field.as_str()), (ErrorCode::AddressUnavailable, "listenInfos[0].port"));
        let range = ListenInfo { port_range: Some((port, port)), ..tcp.clone() };
        let error = Binder::new(1).bind_all(&[range]).unwrap_err();
        assert!(error.text.contains(&format!("TCP port at 127.0.0.1:{port}")), "{error}");
        assert_eq!(error.field, "listenInfos[0].portRange");
        let foreign = ListenInfo { port: 4711, ..ListenInfo::tcp("192.0.2.1".parse().unwrap()) };
        let error = Binder::new(1).bind_all(&[foreign]).unwrap_err();
        assert!(error.text.contains("TCP 192.0.2.1:4711") && error.text.contains("not on this host"), "{error}");
    }

    #[test]
    fn one_port_serves_both_protocols_and_ids_tell_them_apart() {
        let mut binder = Binder::new(5);
        let udp = binder.bind_all(&[ListenInfo::udp(Ipv4Addr::LOCALHOST.into())]).unwrap().remove(0);
        let port = udp.info.local.port();
        let same = ListenInfo { port, ..ListenInfo::tcp(Ipv4Addr::LOCALHOST.into()) };
        // Somebody else may have it.
        let Ok(mut tcp) = binder.bind_all(&[same]) else { return };
        let tcp = tcp.remove(0);
        assert_eq!((tcp.info.local, tcp.info.protocol), (udp.info.local, Protocol::Tcp));
        assert!(is_tcp(tcp.info.socket) && !is_tcp(udp.info.socket));
        assert_eq!(option(&tcp.fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN), 1);
        assert_eq!(sys::flags(tcp.fd.as_fd()), (true, true));
        binder.released(udp.info.socket);
        assert_eq!((binder.held.len(), binder.by_socket.len()), (1, 1));
    }

    #[test]
    fn row_103_what_icmp_says_of_a_path_is_not_heeded_and_packets_may_be_fragmented() {
        let bind = |info: ListenInfo| Binder::new(1).bind_all(&[info]).map(|mut bound| bound.remove(0).fd);
        let fd = bind(ListenInfo::udp(Ipv4Addr::LOCALHOST.into())).unwrap();
        assert_eq!(option(&fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER), libc::IP_PMTUDISC_INTERFACE);
        // A host without IPv6 has nothing to show here.
        if let Ok(fd) = bind(ListenInfo::udp(Ipv6Addr::LOCALHOST.into())) {
            assert_eq!(option(&fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER), IPV6_PMTUDISC_INTERFACE);
            assert_eq!(option(&fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER), libc::IP_PMTUDISC_INTERFACE);
        }
    }

    #[test]
    fn options_of_a_listen_info_reach_the_socket() {
        let bind = |info: ListenInfo| Binder::new(1).bind_all(&[info]).unwrap().remove(0).fd;
        let sized = ListenInfo { send_buffer: 8_192, recv_buffer: 16_384, ..ListenInfo::udp([127, 0, 0, 1].into()) };
        for info in [sized.clone(), ListenInfo { protocol: Protocol::Tcp, ..sized }] {
            let fd = bind(info);
            // The kernel doubles what it is asked for (socket(7)).
            assert_eq!(option(&fd, libc::SOL_SOCKET, libc::SO_SNDBUF), 2 * 8_192);
            assert_eq!(option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF), 2 * 16_384);
        }
        let first = ListenInfo { udp_reuse_port: true, ..ListenInfo::udp([127, 0, 0, 1].into()) };
        let held = Binder::new(1).bind_all(std::slice::from_ref(&first)).unwrap();
        let second = ListenInfo { port: held[0].info.local.port(), ..first };
        assert_eq!(option(&bind(second.clone()), libc::SOL_SOCKET, libc::SO_REUSEPORT), 1);
        let alone = ListenInfo { udp_reuse_port: false, ..second };
        assert_eq!(Binder::new(1).bind_all(&[alone]).unwrap_err().code, ErrorCode::AddressUnavailable);
        // A host without IPv6 has nothing to show here.
        for ipv6_only in [false, true] {
            let any = ListenInfo {
                ipv6_only,
                announced: Some("2001:db8::1".to_owned()),
                ..ListenInfo::tcp(Ipv6Addr::UNSPECIFIED.into())
            };
            if let Ok(bound) = Binder::new(1).bind_all(&[any]) {
                let only = option(&bound[0].fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY);
                assert_eq!(only, i32::from(ipv6_only));
            }
        }
    }

    #[test]
    fn sockets_are_closed_on_exec_and_wait() {
        let bound = Binder::new(1).bind_all(&[ListenInfo::udp(Ipv4Addr::LOCALHOST.into())]).unwrap();
        assert_eq!(sys::flags(bound[0].fd.as_fd()), (true, false));
    }
}
