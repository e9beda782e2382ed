//! Thin safe covers over the system calls that the harness needs and std does not offer. No policy.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Messages that one receive takes at most.
pub const BATCH: usize = 64;
/// Room for each.
pub const ROOM: usize = 2_048;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Keeps the calling thread on one core; on a machine without it, anywhere.
pub fn pin(cpu: usize) {
    affinity(cpu..cpu + 1);
}

/// Lets the calling thread run on any core that the process may use.
pub fn unpin() {
    affinity(0..libc::CPU_SETSIZE as usize);
}

fn affinity(cpus: std::ops::Range<usize>) {
    // SAFETY: zeros are an empty set, the indices are below its size, and the set has the size that is passed.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for cpu in cpus {
            libc::CPU_SET(cpu % libc::CPU_SETSIZE as usize, &mut set);
        }
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// The CPU-time clock of the calling thread, readable from any thread while it lives.
pub fn cpu_clock() -> libc::clockid_t {
    let mut id: libc::clockid_t = 0;
    // SAFETY: pthread_self names the calling thread, which is alive; `id` is a valid place.
    unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut id) };
    id
}

/// Reads a clock; zero when its thread has ended.
pub fn read_clock(id: libc::clockid_t) -> Duration {
    let mut spec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `spec` is a valid place; an id that is gone makes the call fail, no more.
    unsafe { libc::clock_gettime(id, &raw mut spec) };
    Duration::new(spec.tv_sec.unsigned_abs(), spec.tv_nsec as u32)
}

/// The kernel's number of the calling thread.
pub fn thread_id() -> i32 {
    // SAFETY: no arguments.
    unsafe { libc::gettid() }
}

/// Moves the calling thread, and what it starts, into a network namespace of its own, which goes when its last user
/// does. Without the right to do so, in a user namespace of its own, which a process of one thread may make.
pub fn new_network() -> io::Result<()> {
    // SAFETY: no pointers are passed; the call changes only which namespaces this thread is in.
    let plain = check(unsafe { libc::unshare(libc::CLONE_NEWNET) });
    // SAFETY: as above.
    plain.or_else(|_| check(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) })).map(drop)
}

/// Asks for large socket buffers, with the privilege to exceed the system's limit if there is one.
pub fn set_buffers(fd: BorrowedFd<'_>, bytes: i32) {
    for (forced, plain) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
        for option in [plain, forced] {
            let len = size_of::<libc::c_int>() as libc::socklen_t;
            // SAFETY: the value is an int, as `len` says.
            unsafe {
                libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const bytes).cast(), len);
            }
        }
    }
}

/// Makes a tun device whose frames carry a `virtio_net_hdr` of ten bytes; with `uso` it takes runs whole.
pub fn open_tun(name: &str, uso: bool) -> io::Result<OwnedFd> {
    // SAFETY: the path is a C string.
    let fd = check(unsafe { libc::open(c"/dev/net/tun".as_ptr(), libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC) })?;
    // SAFETY: the call made `fd` for us; nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: zeros are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: the request reads an ifreq through a valid pointer.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    let features = libc::TUN_F_CSUM | if uso { libc::TUN_F_USO4 | libc::TUN_F_USO6 } else { 0 };
    // SAFETY: the request takes its argument by value.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(features)) })?;
    Ok(fd)
}

/// Reads one frame; `None` when there is none.
pub fn read(fd: BorrowedFd<'_>, buf: &mut [u8]) -> Option<usize> {
    // SAFETY: the buffer is as long as told.
    let n = unsafe { libc::read(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len()) };
    usize::try_from(n).ok()
}

/// Writes one frame.
pub fn write(fd: BorrowedFd<'_>, buf: &[u8]) -> bool {
    // SAFETY: the buffer is as long as told.
    let n = unsafe { libc::write(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len()) };
    n == buf.len() as isize
}

/// An epoll instance.
pub struct Poller {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poller {
    /// Makes one that tells of at most 256 descriptors at a time.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the call made `fd` for us; nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; 256] })
    }

    /// Watches a descriptor for input.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: `event` is a valid place.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event) })?;
        Ok(())
    }

    /// Waits; `None` for ever. Tells how many are ready.
    pub fn wait(&mut self, timeout: Option<Duration>) -> usize {
        let spec = timeout.map(|t| libc::timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
        let spec = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `events` has room for as many as are asked for; the timeout is valid or null; there is no mask.
        let n = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len() as libc::c_int,
                spec,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        usize::try_from(n).unwrap_or(0).min(self.events.len())
    }

    /// The token of the `index`th that was ready.
    pub fn token(&self, index: usize) -> u64 {
        self.events[index].u64
    }
}

/// Room for a batch of received datagrams.
pub struct Batch {
    room: Box<[u8]>,
    lens: [usize; BATCH],
}

impl Default for Batch {
    fn default() -> Self {
        Self { room: vec![0; BATCH * ROOM].into_boxed_slice(), lens: [0; BATCH] }
    }
}

impl Batch {
    /// One recvmmsg that does not wait; tells how many datagrams came, at most `limit`.
    pub fn receive(&mut self, fd: BorrowedFd<'_>, limit: usize) -> usize {
        let limit = limit.min(BATCH);
        // SAFETY: zeros are valid for both: no name, no control data, no pieces.
        let (mut headers, mut pieces): ([libc::mmsghdr; BATCH], [libc::iovec; BATCH]) = unsafe { std::mem::zeroed() };
        for ((chunk, piece), header) in self.room.chunks_exact_mut(ROOM).zip(&mut pieces).zip(&mut headers).take(limit)
        {
            *piece = libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: ROOM };
            header.msg_hdr.msg_iov = piece;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: each of the first `limit` headers points at one piece of `room`, all alive during the call.
        let n = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                limit as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let n = usize::try_from(n).unwrap_or(0);
        for (len, header) in self.lens.iter_mut().zip(&headers).take(n) {
            *len = (header.msg_len as usize).min(ROOM);
        }
        n
    }

    /// The `index`th datagram.
    pub fn datagram(&mut self, index: usize) -> &mut [u8] {
        &mut self.room[index * ROOM..index * ROOM + self.lens[index]]
    }
}

/// Lets this process open as many files as it may.
pub fn raise_file_limit() {
    // SAFETY: `limit` is a valid place, and read and written as a whole.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
}

/// Gives free memory back to the kernel.
pub fn trim_heap() {
    // SAFETY: no pointers are passed.
    unsafe { libc::malloc_trim(0) };
}

/// Memory of this process that is in use: the second number of /proc/self/statm.
pub fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    // SAFETY: no pointers are passed.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages * page.unsigned_abs()
}
