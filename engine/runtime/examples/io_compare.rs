//! Compares the two back ends of the media sockets: CPU of the shard's thread for each datagram it
//! sends, in the shapes that an SFU sees, without any protocol work in between.
//!
//! `cargo run --release -p sfu-runtime --example io_compare`. Rounds of the two interleave; medians
//! and minima are told, so a busy machine moves the figures together.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use sfu_core::command::{
    BoundSocket, Command, CommandError, Event, IceCandidate, IceParameters, ReleaseSocket, Reply,
    WebRtcTransportCreated,
};
use sfu_core::outbox::Outbox;
use sfu_core::shared_port::Whose;
use sfu_proto::crypto::Certificate;
use sfu_runtime::{
    Counts, IoBackend, ListenInfo, Output, Runtime, RuntimeOptions, ShardCore, ShardPlacement, ShardRequest,
};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::net::SocketId;
use sfu_wire::time::Time;

/// One shape of traffic.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    /// Destinations of each datagram.
    sinks: usize,
    /// Datagrams that arrive together.
    burst: usize,
    /// Bursts per second.
    rate: u64,
    /// Each destination has a socket of its own on our side.
    own_sockets: bool,
}

const SHAPES: &[Shape] = &[
    Shape { name: "everyday: 100/s, 10 sinks", sinks: 10, burst: 1, rate: 100, own_sockets: false },
    Shape { name: "everyday, own sockets", sinks: 10, burst: 1, rate: 100, own_sockets: true },
    Shape { name: "1000/s, 1 sink", sinks: 1, burst: 1, rate: 1000, own_sockets: false },
    Shape { name: "100 sinks, no runs", sinks: 100, burst: 1, rate: 200, own_sockets: false },
    Shape { name: "100 sinks, own sockets", sinks: 100, burst: 1, rate: 200, own_sockets: true },
    Shape { name: "100 sinks, runs of 4", sinks: 100, burst: 4, rate: 100, own_sockets: false },
    Shape { name: "100 sinks, own, runs of 4", sinks: 100, burst: 4, rate: 100, own_sockets: true },
    Shape { name: "1 sink, bursts of 64", sinks: 1, burst: 64, rate: 100, own_sockets: false },
];

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(600);
const SIZE: usize = 1200;

/// Sends each datagram to all sinks.
struct FanOut {
    outbox: Outbox,
    sinks: Vec<SocketAddr>,
    sockets: Vec<SocketId>,
    own_sockets: bool,
}

impl ShardCore for FanOut {
    fn handle_datagram(&mut self, _: Time, _: Time, socket: SocketId, _: SocketAddr, datagram: &mut [u8]) -> Whose {
        for (index, to) in self.sinks.iter().enumerate() {
            let from = if self.own_sockets { self.sockets[index % self.sockets.len()] } else { socket };
            let _ = self.outbox.push_with(from, *to, datagram.len(), |slot| {
                slot.copy_from_slice(datagram);
                Some(slot.len())
            });
        }
        Whose::Ours
    }

    fn handle_command(&mut self, _: Time, sockets: &[BoundSocket], _: Command) -> Result<Reply, CommandError> {
        self.sockets.extend(sockets.iter().map(|bound| bound.socket));
        let candidate = |bound: &BoundSocket| IceCandidate {
            foundation: String::new(),
            priority: 0,
            address: bound.local.ip().to_string(),
            port: bound.local.port(),
            protocol: bound.protocol,
        };
        Ok(Reply::WebRtcTransport(WebRtcTransportCreated {
            id: ObjectId::new(0, ObjectKind::Transport, 1, 1),
            ice: IceParameters { username_fragment: String::new(), password: String::new() },
            candidates: sockets.iter().map(candidate).collect(),
            fingerprints: Vec::new(),
        }))
    }

    fn handle_timeout(&mut self, _: Time) {}

    fn next_timeout(&self) -> Option<Time> {
        None
    }

    fn poll_event(&mut self) -> Option<Event> {
        None
    }

    fn poll_release(&mut self) -> Option<ReleaseSocket> {
        None
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn count_drop(&mut self, _: DropReason, _: u64) {}

    fn counts(&self) -> Counts {
        Counts::default()
    }
}

/// CPU nanoseconds per datagram sent, and datagrams per message.
fn round(io: IoBackend, shape: Shape, certificate: &Certificate) -> (f64, f64) {
    let sinks: Vec<UdpSocket> = (0..shape.sinks).filter_map(|_| UdpSocket::bind("127.0.0.1:0").ok()).collect();
    let addrs: Vec<SocketAddr> = sinks.iter().filter_map(|sink| sink.local_addr().ok()).collect();
    let mut options = RuntimeOptions::new(certificate.clone());
    options.shards = vec![ShardPlacement { cpu: Some(0) }];
    options.io = io;
    let make = move |_| {
        let outbox = Outbox::new(4 << 20, 8192);
        Ok(FanOut { outbox, sinks: addrs.clone(), sockets: Vec::new(), own_sockets: shape.own_sockets })
    };
    let runtime = Runtime::start_with(&options, make).unwrap_or_else(|error| panic!("{error}"));
    let entry = listen(&runtime, if shape.own_sockets { shape.sinks } else { 1 });
    let source = UdpSocket::bind("127.0.0.1:0").unwrap_or_else(|error| panic!("{error}"));
    let send = |bursts: u64| {
        for _ in 0..bursts {
            for _ in 0..shape.burst {
                let _ = source.send_to(&[7; SIZE], entry);
            }
            std::thread::sleep(Duration::from_secs(1) / shape.rate as u32);
        }
    };
    send(shape.rate / 10);
    let before = runtime.loads()[0].clone();
    send(shape.rate * ROUND.as_millis() as u64 / 1000);
    let after = runtime.loads()[0].clone();
    let sent = (after.datagrams_out - before.datagrams_out).max(1) as f64;
    let messages = (after.messages_out - before.messages_out).max(1) as f64;
    ((after.cpu - before.cpu).as_nanos() as f64 / sent, sent / messages)
}

/// Listens on `count` sockets; the address of the first. At most 16 at a time may be asked for.
fn listen(runtime: &Runtime, count: usize) -> SocketAddr {
    let mut first = None;
    let mut left = count;
    while left > 0 {
        let now = left.min(16);
        left -= now;
        let listen = (0..now).map(|_| ListenInfo::udp([127, 0, 0, 1].into())).collect();
        let request = ShardRequest { token: 0, listen, command: Command::CreateWebRtcServer };
        runtime.submit(0, request).unwrap_or_else(|error| panic!("{error}"));
        let mut outputs = Vec::new();
        while outputs.is_empty() {
            runtime.wait(None);
            runtime.poll(1, &mut outputs);
        }
        let Some(Output::Reply { result: Ok(Reply::WebRtcTransport(created)), .. }) = outputs.pop() else {
            panic!("no sockets")
        };
        first = first.or_else(|| created.candidates.first().map(|c| SocketAddr::from(([127, 0, 0, 1], c.port))));
    }
    first.unwrap_or_else(|| panic!("no sockets"))
}

/// Median and minimum.
fn digest(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0])
}

fn main() {
    let certificate = Certificate::generate().unwrap_or_else(|error| panic!("{error}"));
    println!("{:<28} {:>16} {:>16} {:>14}", "CPU ns per datagram sent", "mmsg", "io_uring", "ratio");
    for shape in SHAPES {
        let (mut mmsg, mut uring) = (Vec::new(), Vec::new());
        let mut run = 0.0;
        for _ in 0..ROUNDS {
            let (cost, length) = round(IoBackend::Mmsg, *shape, &certificate);
            mmsg.push(cost);
            run = length;
            uring.push(round(IoBackend::IoUring, *shape, &certificate).0);
        }
        let ((a, a_min), (b, b_min)) = (digest(mmsg), digest(uring));
        let (median, least) = (b / a, b_min / a_min);
        let name = shape.name;
        println!("{name:<28} {a:>8.0} {a_min:>7.0} {b:>8.0} {b_min:>7.0} {median:>8.2} {least:>5.2}  runs of {run:.1}");
    }
}
