//! A shard core that echoes, and a runtime around it.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod by_tcp;
pub(crate) mod house;

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use sfu_core::command::{
    BoundSocket, Command, CommandError, DtlsState, ErrorCode, Event, IceCandidate, IceParameters, ReleaseSocket, Reply,
    WebRtcTransportCreated,
};
use sfu_core::outbox::Outbox;
use sfu_core::shared_port::Whose;
use sfu_proto::crypto::Certificate;
use sfu_runtime::{
    Counts, Host, IoBackend, ListenInfo, Output, Runtime, RuntimeOptions, ShardCore, ShardPlacement, ShardRequest,
};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::{ObjectId, ObjectKind};
use sfu_wire::net::SocketId;
use sfu_wire::time::Time;

/// Long enough for the slowest machine.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Sends each datagram back `copies` times. Commands:
/// `CreateWebRtcServer` listens and tells where, `Close` releases the socket that the id's index
/// names, `Pause` causes an event, `ShardStats` tells what hosted tasks have done, `DumpShard`
/// panics.
pub(crate) struct Echo {
    outbox: Outbox,
    copies: usize,
    releases: VecDeque<ReleaseSocket>,
    events: VecDeque<Event>,
    hosted: Rc<Cell<u32>>,
    host_tasks: bool,
    /// Its farewell never ends.
    talkative: bool,
    /// The last arrival may not lie after `now`.
    failed_sends: u64,
}

impl Echo {
    pub(crate) fn new(copies: usize) -> Self {
        Self {
            outbox: Outbox::new(4 << 20, 8192),
            copies,
            releases: VecDeque::new(),
            events: VecDeque::new(),
            hosted: Rc::default(),
            host_tasks: false,
            talkative: false,
            failed_sends: 0,
        }
    }

    pub(crate) fn hosting() -> Self {
        Self { host_tasks: true, ..Self::new(1) }
    }

    pub(crate) fn talkative() -> Self {
        Self { talkative: true, ..Self::new(1) }
    }
}

fn refused(text: &str) -> CommandError {
    CommandError::new(ErrorCode::InvalidState, "", text)
}

impl ShardCore for Echo {
    fn handle_datagram(
        &mut self,
        now: Time,
        arrival: Time,
        socket: SocketId,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Whose {
        assert!(arrival <= now);
        for _ in 0..self.copies {
            let _ = self.outbox.push_with(socket, from, datagram.len(), |slot| {
                slot.copy_from_slice(datagram);
                Some(datagram.len())
            });
        }
        Whose::Ours
    }

    fn handle_command(&mut self, _: Time, sockets: &[BoundSocket], command: Command) -> Result<Reply, CommandError> {
        match command {
            Command::CreateWebRtcServer => {
                let candidate = |socket: &BoundSocket| IceCandidate {
                    foundation: socket.socket.0.to_string(),
                    priority: 0,
                    address: socket.local.ip().to_string(),
                    port: socket.local.port(),
                    protocol: socket.protocol,
                };
                Ok(Reply::WebRtcTransport(WebRtcTransportCreated {
                    id: object(0),
                    ice: IceParameters { username_fragment: String::new(), password: String::new() },
                    candidates: sockets.iter().map(candidate).collect(),
                    fingerprints: Vec::new(),
                }))
            }
            Command::CreateRouter => Err(refused("an echo has no routers")),
            Command::Close { object } => {
                self.releases.push_back(ReleaseSocket(SocketId(object.index())));
                Ok(Reply::Done)
            }
            Command::Pause { object } => {
                self.events.push_back(Event::DtlsState {
                    transport: object,
                    state: DtlsState::Connected,
                    reason: String::new(),
                });
                Ok(Reply::Done)
            }
            Command::ShardStats => Ok(Reply::Created(object(self.hosted.get()))),
            Command::DumpShard => panic!("planted"),
            _ => Ok(Reply::Done),
        }
    }

    fn handle_timeout(&mut self, _: Time) {}

    fn handle_shutdown(&mut self, _: Time) -> bool {
        self.talkative
    }

    fn next_timeout(&self) -> Option<Time> {
        None
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_release(&mut self) -> Option<ReleaseSocket> {
        self.releases.pop_front()
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn count_drop(&mut self, _: DropReason, n: u64) {
        self.failed_sends += n;
    }

    fn counts(&self) -> Counts {
        Counts::default()
    }

    fn started(&mut self, host: &Host) {
        if self.host_tasks {
            let done = Rc::clone(&self.hosted);
            host.spawn(async move {
                for _ in 0..5 {
                    glommio::timer::sleep(Duration::from_millis(2)).await;
                    done.set(done.get() + 1);
                }
            });
            let done = Rc::clone(&self.hosted);
            host.spawn(async move {
                let (reader, mut writer) = std::io::pipe().unwrap();
                let reader = glommio::io::PollableFd::new(reader).unwrap();
                std::thread::spawn(move || std::io::Write::write_all(&mut writer, b"x").unwrap());
                reader.readable().await.unwrap();
                done.set(done.get() + 100);
            });
        }
    }
}

pub(crate) fn object(index: u32) -> ObjectId {
    ObjectId::new(0, ObjectKind::Transport, 1, index)
}

pub(crate) fn certificate() -> Certificate {
    static CERTIFICATE: LazyLock<Certificate> = LazyLock::new(|| Certificate::generate().unwrap());
    CERTIFICATE.clone()
}

pub(crate) fn options(shards: usize, io: IoBackend) -> RuntimeOptions {
    RuntimeOptions { shards: vec![ShardPlacement::default(); shards], io, ..RuntimeOptions::new(certificate()) }
}

pub(crate) fn start(shards: usize, io: IoBackend, copies: usize) -> Runtime {
    Runtime::start_with(&options(shards, io), move |_| Ok(Echo::new(copies))).unwrap()
}

pub(crate) fn request(token: u64, command: Command) -> ShardRequest {
    ShardRequest { token, listen: Vec::new(), command }
}

/// The next outputs, as soon as there are any.
pub(crate) fn outputs(runtime: &Runtime) -> Vec<Output> {
    let mut out = Vec::new();
    while out.is_empty() {
        assert!(runtime.wait(Some(LONG)), "nothing came");
        runtime.poll(64, &mut out);
    }
    out
}

/// Submits and waits for the answer; nothing else may come.
pub(crate) fn ask(runtime: &Runtime, shard: u8, request: ShardRequest) -> Result<Reply, CommandError> {
    let sent = request.token;
    runtime.submit(shard, request).unwrap();
    let out = outputs(runtime);
    assert_eq!(out.len(), 1, "{out:?}");
    match out.into_iter().next() {
        Some(Output::Reply { token, result }) if token == sent => result,
        other => panic!("{other:?}"),
    }
}

/// Listens on free ports of `ips`; tells ids and addresses.
pub(crate) fn listen(runtime: &Runtime, shard: u8, ips: &[&str]) -> Vec<(u32, SocketAddr)> {
    let infos = ips.iter().map(|ip| ListenInfo::udp(ip.parse().unwrap())).collect();
    listen_on(runtime, shard, infos).unwrap()
}

pub(crate) fn listen_on(
    runtime: &Runtime,
    shard: u8,
    listen: Vec<ListenInfo>,
) -> Result<Vec<(u32, SocketAddr)>, CommandError> {
    let reply = ask(runtime, shard, ShardRequest { token: 1, listen, command: Command::CreateWebRtcServer })?;
    let Reply::WebRtcTransport(created) = reply else { panic!("{reply:?}") };
    let place = |c: &IceCandidate| {
        (c.foundation.parse().unwrap(), SocketAddr::new(c.address.parse::<IpAddr>().unwrap(), c.port))
    };
    Ok(created.candidates.iter().map(place).collect())
}

pub(crate) const BACKENDS: [IoBackend; 2] = [IoBackend::Mmsg, IoBackend::IoUring];

/// CRC-32 of ISO 3309, bit by bit (RFC 8489, section 14.7).
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}
