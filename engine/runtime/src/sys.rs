//! Thin safe covers over system calls that std does not offer. One call each, no policy.
//!
//! All descriptors made here are close-on-exec: a host that forks and execs leaks none of them.

use std::ffi::CStr;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use crate::port_program::Instruction;

/// Turns the -1 of a system call into the error it stands for.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A new eventfd.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: the call made `fd` for us; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a file for writing in a directory: it must not be there, nor be a link. For its owner alone.
pub(crate) fn create_in(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_WRONLY | libc::O_CLOEXEC;
    let mode: libc::c_uint = 0o600;
    // SAFETY: `name` ends with a NUL and outlives the call.
    let fd = check(unsafe { libc::openat(directory.as_raw_fd(), name.as_ptr(), flags, mode) })?;
    // SAFETY: the call made `fd` for us; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A new epoll instance.
pub(crate) fn epoll() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the call made `fd` for us; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds, changes or removes what an epoll instance watches a descriptor for.
pub(crate) fn epoll_control(
    epoll: BorrowedFd<'_>,
    operation: i32,
    fd: BorrowedFd<'_>,
    events: i32,
    token: u64,
) -> io::Result<()> {
    let mut event = libc::epoll_event { events: events as u32, u64: token };
    // SAFETY: `event` is a valid place.
    check(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, fd.as_raw_fd(), &raw mut event) }).map(drop)
}

/// Takes what an epoll instance has right now: how many of `events` it filled.
pub(crate) fn epoll_poll(epoll: BorrowedFd<'_>, events: &mut [libc::epoll_event]) -> usize {
    let room = libc::c_int::try_from(events.len()).unwrap_or(libc::c_int::MAX);
    // SAFETY: `events` has room for as many events as are asked for.
    let n = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), room, 0) };
    usize::try_from(n).unwrap_or(0).min(events.len())
}

/// Writes one number to an eventfd.
pub(crate) fn write_u64(fd: BorrowedFd<'_>, value: u64) {
    // SAFETY: the buffer is eight readable bytes.
    let _ = unsafe { libc::write(fd.as_raw_fd(), (&raw const value).cast(), 8) };
}

/// Reads one number from an eventfd.
pub(crate) fn read_u64(fd: BorrowedFd<'_>) -> Option<u64> {
    let mut value = 0u64;
    // SAFETY: the buffer is eight writable bytes.
    let n = unsafe { libc::read(fd.as_raw_fd(), (&raw mut value).cast(), 8) };
    (n == 8).then_some(value)
}

fn poll_one(fd: BorrowedFd<'_>, events: libc::c_short, timeout: Option<Duration>) -> io::Result<bool> {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    let spec = timeout.map(timespec);
    let spec_ptr = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: one valid entry, a valid or null timeout, no signal mask.
    let n = check(unsafe { libc::ppoll(&raw mut entry, 1, spec_ptr, std::ptr::null()) })?;
    Ok(n > 0)
}

/// Waits until `fd` is readable; `None` waits for ever. A signal ends the wait early, with false.
pub(crate) fn poll_in(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> bool {
    poll_one(fd, libc::POLLIN, timeout).unwrap_or(false)
}

/// Waits until `fd` takes another datagram.
pub(crate) fn poll_out(fd: BorrowedFd<'_>, timeout: Duration) -> bool {
    poll_one(fd, libc::POLLOUT, Some(timeout)).unwrap_or(false)
}

/// A span for the kernel.
pub(crate) fn timespec(span: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(span.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(span.subsec_nanos() as i32),
    }
}

/// A new UDP socket: blocking, close-on-exec, not bound.
pub(crate) fn udp_socket(ip: IpAddr) -> io::Result<OwnedFd> {
    let family = if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no pointers are passed.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the call made `fd` for us; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A new TCP socket: non-blocking, close-on-exec, not bound.
pub(crate) fn tcp_socket(ip: IpAddr) -> io::Result<OwnedFd> {
    let family = if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no pointers are passed.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) })?;
    // SAFETY: the call made `fd` for us; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lets a bound socket take connections.
pub(crate) fn listen(fd: BorrowedFd<'_>, backlog: i32) -> io::Result<()> {
    // SAFETY: no pointers are passed.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

/// Takes a connection: non-blocking, close-on-exec.
pub(crate) fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
    let mut name = SockAddr::empty();
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: `name` has room for `name.len` bytes, which the kernel heeds.
    let taken =
        check(unsafe { libc::accept4(fd.as_raw_fd(), (&raw mut name.storage).cast(), &raw mut name.len, flags) })?;
    // SAFETY: the call made the descriptor for us; nothing else owns it.
    let taken = unsafe { OwnedFd::from_raw_fd(taken) };
    let from = name.addr().ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?;
    Ok((taken, from))
}

/// Reads from a stream what is there.
pub(crate) fn recv(fd: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `room` is as long as is said.
    let n = unsafe { libc::recv(fd.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), libc::MSG_DONTWAIT) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Writes pieces to a stream, as far as it takes them. A stream that is closed is an error and no signal: the host's
/// handlers are not for us.
pub(crate) fn send(fd: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: zeros are a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // An IoSlice is an iovec, and sendmsg does not write to it.
    message.msg_iov = pieces.as_ptr().cast::<libc::iovec>().cast_mut();
    message.msg_iovlen = pieces.len();
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the message points at `pieces`, which borrow what they point at.
    let n = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, flags) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Sets an option whose value is an int.
pub(crate) fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value is an int, as `len` says.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) }).map(drop)
}

/// The kernel's `sock_fprog`, with the bytes between its fields, which it is handed as well.
#[repr(C)]
struct Program {
    len: libc::c_ushort,
    gap: [u8; PROGRAM_GAP],
    filter: *const Instruction,
}

const PROGRAM_GAP: usize = size_of::<*const Instruction>() - size_of::<libc::c_ushort>();
const _: () = assert!(size_of::<Program>() == size_of::<libc::sock_fprog>());

/// Attaches a classic filter to the group of sockets that share this one's port: its answer is a socket's place there.
pub(crate) fn attach_reuseport_filter(fd: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    let len = libc::c_ushort::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let filter = Program { len, gap: [0; PROGRAM_GAP], filter: program.as_ptr() };
    let size = size_of::<Program>() as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF);
    // SAFETY: `filter` names `len` instructions, laid out as the kernel's, which it only reads, during the call.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const filter).cast(), size) }).map(drop)
}

/// Binds a socket.
pub(crate) fn bind(fd: BorrowedFd<'_>, addr: SocketAddr) -> io::Result<()> {
    let name = SockAddr::new(addr);
    // SAFETY: `name` holds `name.len` valid bytes.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const name.storage).cast(), name.len) }).map(drop)
}

/// The address a socket is bound to.
pub(crate) fn local_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let mut name = SockAddr::empty();
    // SAFETY: `name` has room for `name.len` bytes, which the kernel heeds.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut name.storage).cast(), &raw mut name.len) })?;
    name.addr().ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}

/// What the calling thread has used so far. The fields of rusage that Linux always leaves 0 are left out.
pub(crate) fn thread_usage() -> Option<[(&'static str, u64); 9]> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the place is a whole rusage, which the kernel fills.
    check(unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) }).ok()?;
    // SAFETY: all bytes were zero, which is a valid rusage, and the kernel has written over them.
    let usage = unsafe { usage.assume_init() };
    let number = |n: libc::c_long| u64::try_from(n).unwrap_or(0);
    let micros = |t: libc::timeval| number(t.tv_sec) * 1_000_000 + u64::try_from(t.tv_usec).unwrap_or(0);
    Some([
        ("thread_cpu_user_us", micros(usage.ru_utime)),
        ("thread_cpu_system_us", micros(usage.ru_stime)),
        ("thread_max_rss_kib", number(usage.ru_maxrss)),
        ("thread_minor_faults", number(usage.ru_minflt)),
        ("thread_major_faults", number(usage.ru_majflt)),
        ("thread_blocks_in", number(usage.ru_inblock)),
        ("thread_blocks_out", number(usage.ru_oublock)),
        ("thread_voluntary_switches", number(usage.ru_nvcsw)),
        ("thread_involuntary_switches", number(usage.ru_nivcsw)),
    ])
}

/// The CPU-time clock of the calling thread.
pub(crate) fn cpu_clock() -> Option<libc::clockid_t> {
    let mut id: libc::clockid_t = 0;
    // SAFETY: pthread_self names the calling thread, which is alive; `id` is a valid place.
    let failed = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut id) };
    (failed == 0).then_some(id)
}

/// Reads a clock; `None` when there is none of that id (any more).
pub(crate) fn read_clock(id: libc::clockid_t) -> Option<Duration> {
    let mut spec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `spec` is a valid place; a clock id that is gone makes the call fail, no more.
    let failed = unsafe { libc::clock_gettime(id, &raw mut spec) };
    if failed != 0 {
        return None;
    }
    Some(Duration::new(u64::try_from(spec.tv_sec).ok()?, u32::try_from(spec.tv_nsec).ok()?))
}

/// An option whose value is an int.
#[cfg(test)]
pub(crate) fn option(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<i32> {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the place is an int, as `len` says.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut len) })?;
    Ok(value)
}

/// Whether a descriptor closes on exec, and whether it is non-blocking.
#[cfg(test)]
pub(crate) fn flags(fd: BorrowedFd<'_>) -> (bool, bool) {
    // SAFETY: these read the flags of a descriptor that is open.
    let (descriptor, status) =
        unsafe { (libc::fcntl(fd.as_raw_fd(), libc::F_GETFD), libc::fcntl(fd.as_raw_fd(), libc::F_GETFL)) };
    (descriptor & libc::FD_CLOEXEC != 0, status & libc::O_NONBLOCK != 0)
}

/// Soft limit of a resource; `None` is no limit.
pub(crate) fn soft_limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place.
    let failed = unsafe { libc::getrlimit(resource, &raw mut limit) };
    (failed == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Cores that the calling thread may run on; empty when the kernel does not say.
pub(crate) fn affinity() -> Vec<usize> {
    // SAFETY: a cpu_set_t of zeros is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` has the size that is passed.
    let failed = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if failed != 0 {
        return Vec::new();
    }
    // SAFETY: every index is below CPU_SETSIZE.
    (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

/// Keeps the host's signal handlers off the calling thread. Faults still reach it.
pub(crate) fn block_signals() {
    // SAFETY: the set is initialised by sigfillset before anything reads it; the calls touch only
    // the calling thread's mask.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        for fault in
            [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGABRT, libc::SIGPROF]
        {
            libc::sigdelset(&raw mut set, fault);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// A socket address in the kernel's form.
#[derive(Clone, Copy)]
pub(crate) struct SockAddr {
    pub(crate) storage: libc::sockaddr_storage,
    pub(crate) len: libc::socklen_t,
}

impl SockAddr {
    /// Room for any address.
    pub(crate) fn empty() -> Self {
        // SAFETY: zeros are a valid sockaddr_storage (family unspecified).
        let storage = unsafe { std::mem::zeroed() };
        Self { storage, len: size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    /// `addr` in the kernel's form.
    pub(crate) fn new(addr: SocketAddr) -> Self {
        let mut name = Self::empty();
        match addr {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: sockaddr_storage is large enough and aligned for every sockaddr.
                unsafe { (&raw mut name.storage).cast::<libc::sockaddr_in>().write(raw) };
                name.len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
            SocketAddr::V6(v6) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { (&raw mut name.storage).cast::<libc::sockaddr_in6>().write(raw) };
                name.len = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            }
        }
        name
    }

    /// The address for a socket of the IPv6 family: IPv4 goes mapped.
    pub(crate) fn for_family(addr: SocketAddr, ipv6: bool) -> Self {
        match addr {
            SocketAddr::V4(v4) if ipv6 => {
                Self::new(SocketAddr::V6(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0)))
            }
            _ => Self::new(addr),
        }
    }

    /// Back to std's form.
    pub(crate) fn addr(&self) -> Option<SocketAddr> {
        // SAFETY: `storage` is a whole sockaddr_storage.
        let bytes = unsafe {
            std::slice::from_raw_parts((&raw const self.storage).cast::<u8>(), size_of::<libc::sockaddr_storage>())
        };
        parse_sockaddr(bytes)
    }
}

/// Reads a socket address from the kernel's bytes.
pub(crate) fn parse_sockaddr(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    if i32::from(family) == libc::AF_INET {
        let ip: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
        Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(ip), port)))
    } else if i32::from(family) == libc::AF_INET6 {
        let flow = u32::from_ne_bytes(bytes.get(4..8)?.try_into().ok()?);
        let ip: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
        let scope = u32::from_ne_bytes(bytes.get(24..28)?.try_into().ok()?);
        Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope)))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernels_form() {
        for text in ["192.0.2.1:5004", "[2001:db8::1]:5004", "[fe80::1%3]:9", "0.0.0.0:0"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(SockAddr::new(addr).addr(), Some(addr));
        }
        let mapped = SockAddr::for_family("192.0.2.1:7".parse().unwrap(), true).addr().unwrap();
        assert_eq!(mapped, "[::ffff:192.0.2.1]:7".parse().unwrap());
        assert_eq!(parse_sockaddr(&[]), None);
        assert_eq!(parse_sockaddr(&[0; 28]), None);
        assert_eq!(parse_sockaddr(&[2, 0, 1]), None);
    }
}
