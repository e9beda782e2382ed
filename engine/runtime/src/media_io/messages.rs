//! Kernel messages: runs on their way out, control data on its way in.

use std::net::SocketAddr;

use sfu_core::outbox::Outbox;

use super::BATCH;
use super::runs::{MAX_SEGMENTS, Run, Runs};
use crate::sys::SockAddr;

/// Control data of an outgoing message: one UDP_SEGMENT.
const SEGMENT_CONTROL: usize = control_space(size_of::<u16>());
/// Control data of an incoming message: one receive stamp and one UDP_GRO, with room to spare.
pub(crate) const RECEIVE_CONTROL: usize = 128;

const HEADER: usize = size_of::<libc::cmsghdr>();
const ALIGN: usize = size_of::<usize>();

const fn align(len: usize) -> usize {
    len.div_ceil(ALIGN) * ALIGN
}

const fn control_space(len: usize) -> usize {
    align(HEADER) + align(len)
}

/// A control buffer, aligned as the kernel wants it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; SEGMENT_CONTROL]);

/// Up to [`BATCH`] outgoing messages. The vectors never grow, so pointers between them hold.
pub(crate) struct Outgoing {
    names: Vec<SockAddr>,
    pieces: Vec<libc::iovec>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
}

impl Outgoing {
    pub(crate) fn new() -> Self {
        Self {
            names: Vec::with_capacity(BATCH),
            pieces: Vec::with_capacity(BATCH * MAX_SEGMENTS),
            controls: Vec::with_capacity(BATCH),
            headers: Vec::with_capacity(BATCH),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.names.clear();
        self.pieces.clear();
        self.controls.clear();
        self.headers.clear();
    }

    /// Adds a run as one message. There must be room: at most [`BATCH`] since the last clear.
    ///
    /// The message points into `outbox` and into `self`: it may be given to the kernel only while
    /// neither has changed.
    pub(crate) fn push(&mut self, run: &Run, ipv6: bool, runs: &Runs, outbox: &Outbox) {
        let first = self.pieces.len();
        for bytes in runs.segments(run, outbox).take(MAX_SEGMENTS) {
            self.push_piece(bytes);
        }
        let segment = (run.count > 1).then_some(run.segment);
        self.push_header(run.to, ipv6, first, segment);
    }

    /// Adds one datagram as one message; see [`push`](Self::push).
    pub(crate) fn push_single(&mut self, to: SocketAddr, ipv6: bool, bytes: &[u8]) {
        let first = self.pieces.len();
        self.push_piece(bytes);
        self.push_header(to, ipv6, first, None);
    }

    fn push_piece(&mut self, bytes: &[u8]) {
        assert!(self.pieces.len() < self.pieces.capacity(), "a batch holds {BATCH} runs");
        self.pieces.push(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() });
    }

    fn push_header(&mut self, to: SocketAddr, ipv6: bool, first: usize, segment: Option<u16>) {
        assert!(self.headers.len() < BATCH, "a batch holds {BATCH} messages");
        self.names.push(SockAddr::for_family(to, ipv6));
        self.controls.push(segment_control(segment.unwrap_or(0)));
        let slot = self.headers.len();
        // SAFETY: zeros are a valid msghdr: no name, no pieces, no control data.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        let name = &mut self.names[slot];
        header.msg_name = (&raw mut name.storage).cast();
        header.msg_namelen = name.len;
        header.msg_iov = self.pieces[first..].as_mut_ptr();
        header.msg_iovlen = self.pieces.len() - first;
        if segment.is_some() {
            header.msg_control = self.controls[slot].0.as_mut_ptr().cast();
            header.msg_controllen = SEGMENT_CONTROL;
        }
        self.headers.push(libc::mmsghdr { msg_hdr: header, msg_len: 0 });
    }

    /// The messages, for the kernel.
    pub(crate) fn headers(&mut self) -> &mut [libc::mmsghdr] {
        &mut self.headers
    }
}

/// UDP_SEGMENT with the size of a segment.
fn segment_control(segment: u16) -> Control {
    let mut control = Control([0; SEGMENT_CONTROL]);
    // cmsg_len is a size_t, then level and type as ints, then the data, aligned.
    control.0[..ALIGN].copy_from_slice(&(align(HEADER) + size_of::<u16>()).to_ne_bytes());
    control.0[ALIGN..ALIGN + 4].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
    control.0[ALIGN + 4..ALIGN + 8].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
    control.0[align(HEADER)..align(HEADER) + 2].copy_from_slice(&segment.to_ne_bytes());
    control
}

/// What control data of a received message says.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    /// Size of the coalesced datagrams; 0 when there is one only.
    pub(crate) segment: usize,
    /// Receive stamp, nanoseconds since 1970.
    pub(crate) stamp: Option<u64>,
}

/// Reads control data. It comes from the kernel, yet every length is checked.
pub(crate) fn parse_control(mut control: &[u8]) -> Received {
    let mut received = Received::default();
    while control.len() >= HEADER {
        let number = |at: usize| i32::from_ne_bytes(control[at..at + 4].try_into().unwrap_or_default());
        let len = usize::from_ne_bytes(control[..ALIGN].try_into().unwrap_or_default());
        let (level, kind) = (number(ALIGN), number(ALIGN + 4));
        let Some(data) = control.get(align(HEADER)..len) else { break };
        if (level, kind) == (libc::SOL_UDP, libc::UDP_GRO) {
            if let Some(bytes) = data.first_chunk::<4>() {
                received.segment = usize::try_from(i32::from_ne_bytes(*bytes)).unwrap_or(0);
            }
        } else if (level, kind) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS)
            && let (Some(seconds), Some(nanos)) =
                (data.first_chunk::<8>(), data.get(8..).and_then(|d| d.first_chunk::<8>()))
        {
            let seconds = u64::from_ne_bytes(*seconds);
            received.stamp = seconds.checked_mul(1_000_000_000).and_then(|s| s.checked_add(u64::from_ne_bytes(*nanos)));
        }
        match control.get(align(len)..) {
            Some(rest) if len > 0 => control = rest,
            _ => break,
        }
    }
    received
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_control_is_laid_out_as_the_kernels_macros_say() {
        let mut control = segment_control(1200);
        // SAFETY: zeros are a valid msghdr.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = SEGMENT_CONTROL;
        // SAFETY: the header points at SEGMENT_CONTROL bytes of control data.
        unsafe {
            let first = libc::CMSG_FIRSTHDR(&raw const header);
            assert_eq!((*first).cmsg_level, libc::SOL_UDP);
            assert_eq!((*first).cmsg_type, libc::UDP_SEGMENT);
            assert_eq!((*first).cmsg_len, libc::CMSG_LEN(2) as usize);
            assert_eq!(libc::CMSG_DATA(first).cast::<u16>().read_unaligned(), 1200);
            assert_eq!(SEGMENT_CONTROL, libc::CMSG_SPACE(2) as usize);
        }
    }

    #[test]
    fn h34_control_data_of_any_length_is_read_without_harm() {
        let mut bytes = Vec::new();
        let mut push = |level: i32, kind: i32, data: &[u8]| {
            bytes.extend((align(HEADER) + data.len()).to_ne_bytes());
            bytes.extend(level.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(data);
            bytes.resize(align(bytes.len()), 0);
        };
        let mut stamp = 5u64.to_ne_bytes().to_vec();
        stamp.extend(7u64.to_ne_bytes());
        push(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &stamp);
        push(libc::SOL_UDP, libc::UDP_GRO, &1200i32.to_ne_bytes());
        assert_eq!(parse_control(&bytes), Received { segment: 1200, stamp: Some(5_000_000_007) });
        for len in 0..bytes.len() {
            parse_control(&bytes[..len]);
        }
        for len in [0, 1, 15, 16, usize::MAX, usize::MAX - 7] {
            bytes[..ALIGN].copy_from_slice(&len.to_ne_bytes());
            parse_control(&bytes);
        }
    }
}
