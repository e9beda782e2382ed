//! An engine whose shards share one port, and can be made to fail.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use sfu_core::command::{
    BoundSocket, Command, CommandError, Event, Listen, ReleaseSocket, Reply, WebRtcTransportCreated,
    WebRtcTransportOptions,
};
use sfu_core::outbox::Outbox;
use sfu_core::shard::{Shard, ShardConfig};
use sfu_core::shared_port::{Claim, Whose};
use sfu_core::stats::Dump;
use sfu_proto::srtp::SrtpProfile;
use sfu_runtime::{Counts, ListenInfo, Output, Runtime, RuntimeOptions, ShardCore, ShardRequest, ShardSeed};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;
use sfu_wire::net::{SocketId, Tuple};
use sfu_wire::time::Time;

use super::{certificate, outputs, request};

const KEY: u64 = 7;

/// A shard that is asked to stop a tap stands still while somebody holds this.
pub(crate) static STARVED: Mutex<()> = Mutex::new(());

/// The real shard, which panics when asked for a dump of itself.
pub(crate) struct Mortal(Shard);

impl Mortal {
    pub(crate) fn make(seed: ShardSeed) -> Result<Self, CommandError> {
        Shard::new(ShardConfig {
            index: seed.index,
            life: seed.life,
            seed: seed.seed,
            epoch_unix_nanos: seed.epoch_unix_nanos,
            certificate: certificate(),
            srtp_profiles: SrtpProfile::ALL.to_vec(),
            limits: sfu_core::limits::Limits::default(),
        })
        .map(Self)
    }
}

impl ShardCore for Mortal {
    fn handle_datagram(&mut self, now: Time, at: Time, socket: SocketId, from: SocketAddr, bytes: &mut [u8]) -> Whose {
        self.0.handle_datagram(now, at, socket, from, bytes)
    }
    fn share_socket(&mut self, socket: SocketId) {
        self.0.share_socket(socket);
    }
    fn poll_claim(&mut self) -> Option<Claim> {
        self.0.poll_claim()
    }
    fn handle_command(&mut self, now: Time, sockets: &[BoundSocket], command: Command) -> Result<Reply, CommandError> {
        assert!(!matches!(command, Command::DumpShard), "planted");
        if matches!(command, Command::StopTap { .. }) {
            drop(STARVED.lock().unwrap_or_else(PoisonError::into_inner));
            return Ok(Reply::Done);
        }
        self.0.handle_command(now, sockets, command)
    }
    fn handle_timeout(&mut self, now: Time) {
        self.0.handle_timeout(now);
    }
    fn next_timeout(&self) -> Option<Time> {
        self.0.next_timeout()
    }
    fn poll_event(&mut self) -> Option<Event> {
        self.0.poll_event()
    }
    fn poll_release(&mut self) -> Option<ReleaseSocket> {
        self.0.poll_release()
    }
    fn handle_disconnect(&mut self, now: Time, socket: SocketId, from: SocketAddr) {
        self.0.handle_disconnect(now, socket, from);
    }
    fn is_verified(&self, socket: SocketId, from: SocketAddr) -> bool {
        self.0.is_verified(socket, from)
    }
    fn poll_disconnect(&mut self) -> Option<Tuple> {
        self.0.poll_disconnect()
    }
    fn outbox(&mut self) -> &mut Outbox {
        self.0.outbox()
    }
    fn count_drop(&mut self, reason: DropReason, n: u64) {
        self.0.count_drop(reason, n);
    }
    fn counts(&self) -> Counts {
        ShardCore::counts(&self.0)
    }
}

/// An engine whose shards share one port.
pub(crate) struct House {
    pub(crate) runtime: Runtime,
    pub(crate) servers: Vec<ObjectId>,
    pub(crate) routers: Vec<ObjectId>,
    listen: ListenInfo,
}

impl House {
    /// With a part of a server that listens on `listen`, and a router, on each shard.
    pub(crate) fn new(options: &RuntimeOptions, listen: ListenInfo) -> Self {
        let runtime = Runtime::start_with(options, Mortal::make).unwrap();
        let listen = ListenInfo { shared: Some(KEY), ..listen };
        let mut this = Self { runtime, servers: Vec::new(), routers: Vec::new(), listen };
        for shard in 0..this.runtime.shard_count() as u8 {
            let (server, router) = this.furnish(shard);
            this.servers.push(server);
            this.routers.push(router);
        }
        this
    }

    /// A part of the server, and a router.
    pub(crate) fn furnish(&self, shard: u8) -> (ObjectId, ObjectId) {
        let listen = vec![self.listen.clone()];
        let create = ShardRequest { token: 1, listen, command: Command::CreateWebRtcServer };
        let server = created(&self.ask(shard, create));
        (server, created(&self.ask(shard, request(2, Command::CreateRouter))))
    }

    /// Submits and waits for the answer; events come and go.
    pub(crate) fn ask(&self, shard: u8, request: ShardRequest) -> Reply {
        let asked = request.token;
        self.runtime.submit(shard, request).unwrap();
        let reply = |output| match output {
            Output::Reply { token, result } if token == asked => Some(result),
            _ => None,
        };
        loop {
            if let Some(result) = outputs(&self.runtime).into_iter().find_map(reply) {
                return result.unwrap();
            }
        }
    }

    pub(crate) fn command(&self, shard: u8, command: Command) -> Reply {
        self.ask(shard, request(3, command))
    }

    /// A transport of the shard's router on the shard's part of the server.
    pub(crate) fn transport(&self, shard: u8) -> WebRtcTransportCreated {
        let options =
            WebRtcTransportOptions { listen: Listen::Server(self.servers[usize::from(shard)]), ..Default::default() };
        let router = self.routers[usize::from(shard)];
        match self.command(shard, Command::CreateWebRtcTransport { router, options }) {
            Reply::WebRtcTransport(created) => created,
            other => panic!("{other:?}"),
        }
    }

    /// The address to which a transport sends.
    pub(crate) fn selected(&self, transport: ObjectId) -> Option<SocketAddr> {
        let Reply::Dump(dump) = self.command(transport.shard(), Command::Dump { object: transport }) else { panic!() };
        let Dump::WebRtcTransport(dump) = *dump else { panic!("{dump:?}") };
        dump.selected_tuple.map(|tuple| tuple.remote)
    }

    /// RTP packets that a producer has taken.
    pub(crate) fn packets(&self, object: ObjectId) -> u64 {
        let Reply::Stats(stats) = self.command(object.shard(), Command::Stats { object }) else { panic!() };
        stats.streams.iter().map(|stream| stream.packets).sum()
    }

    pub(crate) fn drops(&self, shard: u8, reason: DropReason) -> u64 {
        let Reply::Stats(stats) = self.command(shard, Command::ShardStats) else { panic!() };
        stats.drops.count(reason)
    }

    pub(crate) fn counter(&self, shard: u8, name: &str) -> u64 {
        let Reply::Stats(stats) = self.command(shard, Command::ShardStats) else { panic!() };
        stats.counters.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value)
    }

    /// What arrived at another shard than its own, and all that arrived.
    pub(crate) fn foreign(&self) -> (u64, u64) {
        let loads = self.runtime.loads();
        (loads.iter().map(|load| load.handed_over).sum(), loads.iter().map(|load| load.datagrams_in).sum())
    }

    /// Has a shard panic, and waits until it is made anew.
    pub(crate) fn kill(&self, shard: u8) {
        self.runtime.submit(shard, request(9, Command::DumpShard)).unwrap();
        let failure = |output: &Output| matches!(output, Output::ShardFailed { restarts: true, .. });
        while !outputs(&self.runtime).iter().any(failure) {}
    }
}

pub(crate) fn created(reply: &Reply) -> ObjectId {
    let Reply::Created(id) = reply else { panic!("{reply:?}") };
    *id
}
