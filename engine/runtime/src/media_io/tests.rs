//! Both back ends against real loopback sockets, with failing system calls.

use std::net::UdpSocket;

use super::verdict::Call;
use super::*;
use crate::backlog::{Backlog, Held};
use crate::event_fd::EventFd;
use sfu_core::outbox::Urgency;
use std::os::fd::AsFd;

const LONG: Duration = Duration::from_secs(10);

struct Bench {
    io: Box<dyn MediaIo>,
    wake: EventFd,
    local: SocketAddr,
    peer: UdpSocket,
    outbox: Outbox,
    runs: Runs,
}

fn bench(backend: IoBackend, ip: &str) -> Bench {
    let wake = EventFd::new().unwrap();
    let mut io = open(backend, wake.as_fd(), &[]).unwrap();
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    let local = socket.local_addr().unwrap();
    io.add_socket(SocketId(7), local, socket.into()).unwrap();
    let peer = UdpSocket::bind((ip, 0)).unwrap();
    peer.set_read_timeout(Some(LONG)).unwrap();
    io.park(Some(Duration::ZERO));
    Bench { io, wake, local, peer, outbox: Outbox::new(1 << 20, 1024), runs: Runs::default() }
}

/// Runs `test` on both back ends, and on both families where the host has IPv6.
fn on_both(test: impl Fn(Bench)) {
    let ipv6 = UdpSocket::bind("[::1]:0").is_ok();
    for backend in [IoBackend::Mmsg, IoBackend::IoUring] {
        test(bench(backend, "127.0.0.1"));
        if ipv6 {
            test(bench(backend, "::1"));
        }
    }
}

impl Bench {
    fn push(&mut self, bytes: &[u8]) {
        let to = self.peer.local_addr().unwrap();
        self.outbox
            .push_with(SocketId(7), to, bytes.len(), |slot| {
                slot.copy_from_slice(bytes);
                Some(bytes.len())
            })
            .unwrap();
    }

    fn flush(&mut self) -> Sent {
        let (sent, held) = self.flush_held();
        assert_eq!(held, 0);
        sent
    }

    /// The same, and how many datagrams wait for room.
    fn flush_held(&mut self) -> (Sent, usize) {
        self.runs.group(&self.outbox, self.io.routes());
        let mut held = Held::default();
        let sent = self.io.send_runs(&self.outbox, &self.runs, &mut held);
        self.outbox.clear();
        (sent, held.count())
    }

    /// What has arrived, until there are `count`.
    fn receive(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for _ in 0..10_000 {
            while self.io.recv_batch() > 0 {
                while let Some(datagram) = self.io.next_datagram() {
                    assert_eq!(datagram.socket, SocketId(7));
                    assert_eq!(datagram.from, self.peer.local_addr().unwrap());
                    assert!(datagram.stamp.is_some());
                    all.push(datagram.bytes.to_vec());
                }
            }
            if all.len() >= count {
                return all;
            }
            self.io.park(Some(Duration::from_millis(5)));
        }
        panic!("{} of {count} came", all.len());
    }

    fn peer_receives(&self, count: usize) -> Vec<Vec<u8>> {
        let mut buffer = [0; 2000];
        (0..count).map(|_| self.peer.recv(&mut buffer).map(|n| buffer[..n].to_vec()).unwrap()).collect()
    }
}

#[test]
fn datagrams_come_whole_in_order_and_with_their_sender() {
    on_both(|mut bench| {
        let sent: Vec<Vec<u8>> =
            (0..1000u32).map(|n| [&n.to_be_bytes()[..], &[9; 700][..n as usize % 700]].concat()).collect();
        let mut received = Vec::new();
        for batch in sent.chunks(50) {
            for bytes in batch {
                bench.peer.send_to(bytes, bench.local).unwrap();
            }
            received.extend(bench.receive(batch.len()));
        }
        assert_eq!(received, sent);
    });
}

#[test]
fn a_batch_taken_in_parts_loses_nothing() {
    on_both(|mut bench| {
        for n in 0..50u8 {
            bench.peer.send_to(&[n], bench.local).unwrap();
        }
        let mut all = Vec::new();
        while all.len() < 50 {
            if bench.io.recv_batch() == 0 {
                bench.io.park(Some(LONG));
                continue;
            }
            // One at a time, with a look at the kernel in between.
            all.extend(bench.io.next_datagram().map(|datagram| datagram.bytes[0]));
            bench.io.park(Some(Duration::ZERO));
        }
        assert_eq!(all, (0..50).collect::<Vec<u8>>());
    });
}

#[test]
fn row_001_empty_and_largest_datagrams_pass() {
    on_both(|mut bench| {
        let largest = vec![7; 65_507 - if bench.local.is_ipv6() { 20 } else { 0 }];
        for bytes in [&[][..], &[1], &largest, &[]] {
            bench.peer.send_to(bytes, bench.local).unwrap();
            assert_eq!(bench.receive(1), [bytes.to_vec()]);
        }
    });
}

#[test]
fn a_run_leaves_as_one_message_and_arrives_as_its_datagrams() {
    on_both(|mut bench| {
        let datagrams: Vec<Vec<u8>> = (0..20u8).map(|n| vec![n; 1200]).chain([vec![99; 300]]).collect();
        for bytes in &datagrams {
            bench.push(bytes);
        }
        assert_eq!(bench.flush(), Sent { datagrams: 21, messages: 2, failed: 0 });
        assert_eq!(bench.peer_receives(21), datagrams);
    });
}

#[test]
fn h34_a_coalesced_message_is_taken_apart() {
    on_both(|mut bench| {
        // The bench's own socket talks to itself: GSO out, GRO in.
        let to = bench.local;
        let other = bench.peer.try_clone().unwrap();
        bench.outbox.clear();
        for n in 0..16u8 {
            bench
                .outbox
                .push_with(SocketId(7), to, 1000, |slot| {
                    slot.fill(n);
                    Some(slot.len())
                })
                .unwrap();
        }
        assert_eq!(bench.flush().messages, 1);
        let mut all = Vec::new();
        while all.len() < 16 {
            bench.io.park(Some(LONG));
            while bench.io.recv_batch() > 0 {
                while let Some(datagram) = bench.io.next_datagram() {
                    assert_eq!((datagram.from, datagram.bytes.len()), (to, 1000));
                    all.push(datagram.bytes[0]);
                }
            }
        }
        assert_eq!(all, (0..16).collect::<Vec<u8>>());
        drop(other);
    });
}

#[test]
fn h34_a_route_that_refuses_runs_gets_its_datagrams_singly_from_then_on() {
    for errno in [libc::EIO, libc::EINVAL] {
        on_both(|mut bench| {
            let refuse = move |call| matches!(call, Call::Send(n) if n > 1).then_some(errno);
            bench.io.faults().hook = Some(Box::new(refuse));
            let datagrams: Vec<Vec<u8>> = (0..5u8).map(|n| vec![n; 500]).collect();
            datagrams.iter().for_each(|bytes| bench.push(bytes));
            assert_eq!(bench.flush(), Sent { datagrams: 5, messages: 5, failed: 0 });
            assert_eq!(bench.peer_receives(5), datagrams);
            let to = bench.peer.local_addr().unwrap().ip();
            assert!(!bench.io.routes().takes_runs(SocketId(7), to));
            // Nothing is tried as a run any more.
            bench.io.faults().hook = Some(Box::new(|call| {
                assert!(matches!(call, Call::Send(1) | Call::Receive), "{call:?}");
                None
            }));
            datagrams.iter().for_each(|bytes| bench.push(bytes));
            assert_eq!(bench.flush().datagrams, 5);
            assert_eq!(bench.peer_receives(5), datagrams);
        });
    }
}

#[test]
fn h34_every_errno_at_every_send_leaves_the_socket_alive() {
    let errnos = [
        libc::EPERM,
        libc::EINTR,
        libc::EIO,
        libc::EAGAIN,
        libc::EACCES,
        libc::EINVAL,
        libc::EMSGSIZE,
        libc::ENOBUFS,
        libc::ENOMEM,
        libc::ECONNREFUSED,
        libc::ENETUNREACH,
        libc::EHOSTUNREACH,
        libc::ENETDOWN,
        libc::EADDRNOTAVAIL,
    ];
    for errno in errnos {
        on_both(|mut bench| {
            let mut once = Some(errno);
            bench.io.faults().hook =
                Some(Box::new(move |call| matches!(call, Call::Send(_)).then(|| once.take()).flatten()));
            for n in 0..3u8 {
                bench.push(&[n; 100]);
            }
            let (sent, held) = bench.flush_held();
            assert_eq!(sent.datagrams + sent.failed + held as u64, 3, "errno {errno}: {sent:?}");
            bench.peer_receives(sent.datagrams as usize);
            bench.push(b"alive");
            assert_eq!(bench.flush(), Sent { datagrams: 1, messages: 1, failed: 0 }, "errno {errno}");
            assert_eq!(bench.peer_receives(1), [b"alive".to_vec()]);
        });
    }
}

#[test]
fn row_090_a_storm_of_refusals_is_counted_and_ends() {
    for errno in [libc::ENOBUFS, libc::EAGAIN, libc::EPERM, libc::ENETUNREACH, libc::EMSGSIZE, libc::ECONNREFUSED] {
        on_both(|mut bench| {
            bench.io.faults().hook = Some(Box::new(move |call| matches!(call, Call::Send(_)).then_some(errno)));
            for n in 0..200u32 {
                bench.push(&vec![1; 100 + n as usize]);
            }
            let (sent, held) = bench.flush_held();
            // For want of room they wait; what is wrong with them else does not go away.
            let waits = matches!(errno, libc::ENOBUFS | libc::EAGAIN);
            let failed = if waits { 0 } else { 200 };
            assert_eq!(
                (sent, held),
                (Sent { datagrams: 0, messages: 0, failed }, 200 * usize::from(waits)),
                "errno {errno}"
            );
        });
    }
}

#[test]
fn a_stuffed_socket_gets_what_waited_before_what_is_younger_and_audio_before_video() {
    on_both(|mut bench| {
        let mut backlog = Backlog::new(60_000, 1000);
        let pass = |bench: &mut Bench, backlog: &mut Backlog| {
            let Bench { io, outbox, runs, .. } = bench;
            let shed = backlog.pass(outbox, |outbox, held| {
                runs.group(outbox, io.routes());
                io.send_runs(outbox, runs, held);
            });
            outbox.clear();
            shed
        };
        // How many messages the socket has room for.
        let room = std::rc::Rc::new(std::cell::Cell::new(0));
        let left = std::rc::Rc::clone(&room);
        bench.io.faults().hook = Some(Box::new(move |call| match call {
            Call::Send(_) if left.get() == 0 => Some(libc::EAGAIN),
            Call::Send(_) => {
                left.set(left.get() - 1);
                None
            }
            Call::Receive => None,
        }));
        let to = bench.peer.local_addr().unwrap();
        let mut pushed = 0u32;
        for (urgency, count) in
            [(Urgency::Audio, 10), (Urgency::Video, 100), (Urgency::Audio, 10), (Urgency::Video, 100)]
        {
            for _ in 0..count {
                pushed += 1;
                let mark = pushed.to_be_bytes();
                let write = |slot: &mut [u8]| {
                    slot[..4].copy_from_slice(&mark);
                    Ok(slot.len())
                };
                bench.outbox.try_push_as(urgency, SocketId(7), to, 1000, write).unwrap();
            }
            let shed = pass(&mut bench, &mut backlog);
            assert_eq!((shed.audio, shed.control), (0, 0));
        }
        let last = u32::MAX.to_be_bytes();
        let write = |slot: &mut [u8]| {
            slot.copy_from_slice(&last);
            Ok(slot.len())
        };
        bench.outbox.try_push_as(Urgency::Video, SocketId(7), to, 4, write).unwrap();
        let mut marks: Vec<u32> = Vec::new();
        while marks.last() != Some(&u32::MAX) {
            room.set(2);
            let before = backlog.waiting_len();
            pass(&mut bench, &mut backlog);
            let sent = before + usize::from(marks.is_empty()) - backlog.waiting_len();
            marks.extend(bench.peer_receives(sent).iter().map(|m| u32::from_be_bytes(m[..4].try_into().unwrap())));
        }
        assert_eq!(marks[..20], (1..=10).chain(111..=120).collect::<Vec<u32>>(), "audio came through, in order");
        let video = &marks[20..marks.len() - 1];
        assert_eq!(video.last(), Some(&220));
        assert!(video.is_sorted() && video[0] == 181, "the oldest video was given up: {}", video[0]);
    });
}

#[test]
fn h34_every_errno_at_a_receive_leaves_the_socket_alive() {
    for errno in
        [libc::EINTR, libc::EIO, libc::EAGAIN, libc::ENOBUFS, libc::ENOMEM, libc::ECONNREFUSED, libc::EHOSTUNREACH]
    {
        on_both(|mut bench| {
            let mut once = Some(errno);
            bench.io.faults().hook = Some(Box::new(move |call| (call == Call::Receive).then(|| once.take()).flatten()));
            bench.peer.send_to(b"lost, maybe", bench.local).unwrap();
            bench.io.park(Some(LONG));
            while bench.io.recv_batch() > 0 && bench.io.next_datagram().is_some() {}
            bench.peer.send_to(b"alive", bench.local).unwrap();
            while bench.receive(1).last().is_none_or(|bytes| bytes != b"alive") {}
        });
    }
}

#[test]
fn h34_a_receive_that_ran_out_of_buffers_is_armed_again_when_they_return() {
    on_both(|mut bench| {
        // Twice what all buffers hold (and what a socket holds by default), sent before anything is
        // taken.
        let sent: Vec<Vec<u8>> = (0..240u32).map(|n| n.to_be_bytes().to_vec()).collect();
        for round in 0..3 {
            for bytes in &sent {
                bench.peer.send_to(bytes, bench.local).unwrap();
            }
            assert_eq!(bench.receive(sent.len()), sent, "round {round}");
        }
    });
}

#[test]
fn the_mailbox_ends_a_sleep_as_often_as_it_is_raised() {
    on_both(|mut bench| {
        for _ in 0..5 {
            assert_eq!(bench.io.park(Some(Duration::ZERO)), Woken::default());
            bench.wake.raise();
            assert!(bench.io.park(Some(LONG)).by_mailbox);
            bench.wake.lower();
        }
    });
}

#[test]
fn h28_a_removed_socket_frees_its_port_at_once_and_its_id_may_come_again() {
    on_both(|mut bench| {
        for round in 0..20 {
            bench.peer.send_to(b"late", bench.local).unwrap();
            if round % 2 == 0 {
                bench.io.park(Some(LONG));
            }
            bench.io.remove_socket(SocketId(7));
            bench.io.remove_socket(SocketId(7));
            let again = UdpSocket::bind(bench.local).unwrap();
            bench.io.add_socket(SocketId(7), bench.local, again.into()).unwrap();
            bench.io.park(Some(Duration::ZERO));
            bench.peer.send_to(b"new", bench.local).unwrap();
            assert_eq!(bench.receive(1).last().unwrap(), b"new");
        }
    });
}

#[test]
fn sends_to_sockets_that_are_gone_are_counted() {
    on_both(|mut bench| {
        bench.push(b"one");
        bench.push(b"two");
        bench.io.remove_socket(SocketId(7));
        assert_eq!(bench.flush(), Sent { datagrams: 0, messages: 0, failed: 2 });
    });
}
