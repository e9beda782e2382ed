//! The shard as the runtime sees it: a small trait, so that tests can put an echo in its place.

use sfu_core::command::{BoundSocket, Command, CommandError, Event, ReleaseSocket, Reply};
use sfu_core::outbox::Outbox;
use sfu_core::peer::{PeerMessage, PeerOut};
use sfu_core::shard::{Shard, ShardConfig};
use sfu_core::shared_port::{Claim, Whose};
use sfu_core::tap::TapPacket;
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;
use sfu_wire::net::{SocketId, Tuple};
use sfu_wire::time::Time;
use std::net::SocketAddr;

use crate::host::Host;

/// What the runtime gives to a shard at birth.
#[derive(Debug, Clone, Copy)]
pub struct ShardSeed {
    /// Index of the shard.
    pub index: u8,
    /// How often it was made anew after a panic.
    pub life: u8,
    /// Randomness from the kernel.
    pub seed: [u8; 32],
    /// Wall clock at [`Time`] zero.
    pub epoch_unix_nanos: u64,
}

/// How many objects a shard holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Routers.
    pub routers: u32,
    /// Transports of any kind.
    pub transports: u32,
    /// Producers.
    pub producers: u32,
    /// Consumers.
    pub consumers: u32,
}

/// The pure core of a shard. Methods mean what [`Shard`] says of them.
pub trait ShardCore {
    /// A datagram came in; it may be changed in place if it is ours.
    fn handle_datagram(
        &mut self,
        now: Time,
        arrival: Time,
        socket: SocketId,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Whose;
    /// Other shards listen on the port of this socket too.
    fn share_socket(&mut self, _socket: SocketId) {}
    /// The next 5-tuple of such a port that was verified or given up.
    fn poll_claim(&mut self) -> Option<Claim> {
        None
    }
    /// The application gives a packet to one of its direct transports.
    fn handle_media(&mut self, _now: Time, _target: ObjectId, _packet: &[u8]) {}
    /// Direct transports have packets for the application.
    fn has_media(&self) -> bool {
        false
    }
    /// Hands those packets over, in order, and forgets them.
    fn take_media(&mut self, _take: &mut dyn FnMut(ObjectId, &[u8])) {}
    /// Another shard says something, and sends a packet with it.
    fn handle_peer(&mut self, _now: Time, _from: u8, _message: &PeerMessage, _packet: &[u8]) {}
    /// Another shard has ended; it may have been made anew.
    fn handle_peer_lost(&mut self, _now: Time, _shard: u8) {}
    /// There is something to say to other shards.
    fn has_peer_output(&self) -> bool {
        false
    }
    /// The next of it for this shard.
    fn poll_peer(&mut self, _to: u8) -> Option<PeerOut> {
        None
    }
    /// There are copies of tapped packets.
    fn has_taps(&self) -> bool {
        false
    }
    /// Hands those copies over, in order, and forgets them.
    fn take_taps(&mut self, _take: &mut dyn FnMut(&TapPacket<'_>)) {}
    /// A transport's tap cannot be written any more.
    fn handle_tap_failure(&mut self, _transport: ObjectId) {}
    /// A command, with the sockets bound for it.
    fn handle_command(&mut self, now: Time, sockets: &[BoundSocket], command: Command) -> Result<Reply, CommandError>;
    /// Time has passed.
    fn handle_timeout(&mut self, now: Time);
    /// The end: a chance to tell peers. `true`: send the outbox and call again.
    fn handle_shutdown(&mut self, _now: Time) -> bool {
        false
    }
    /// When [`handle_timeout`](Self::handle_timeout) is due.
    fn next_timeout(&self) -> Option<Time>;
    /// The next event.
    fn poll_event(&mut self) -> Option<Event>;
    /// A TCP connection closed that [`is_verified`](Self::is_verified) was true for.
    fn handle_disconnect(&mut self, _now: Time, _socket: SocketId, _from: SocketAddr) {}
    /// Whether a TCP connection is a peer's.
    fn is_verified(&self, _socket: SocketId, _from: SocketAddr) -> bool {
        false
    }
    /// The next TCP connection that nothing uses any more.
    fn poll_disconnect(&mut self) -> Option<Tuple> {
        None
    }
    /// The next socket that nothing uses any more.
    fn poll_release(&mut self) -> Option<ReleaseSocket>;
    /// Datagrams to send.
    fn outbox(&mut self) -> &mut Outbox;
    /// Counts datagrams that the kernel refused.
    fn count_drop(&mut self, reason: DropReason, n: u64);
    /// How many objects there are.
    fn counts(&self) -> Counts;
    /// Called once, on the shard's own executor, before anything else: the place to host tasks.
    fn started(&mut self, _host: &Host) {}
}

/// Makes the real shard.
pub(crate) fn make_shard(
    seed: ShardSeed,
    certificate: sfu_proto::crypto::Certificate,
    srtp_profiles: Vec<sfu_proto::srtp::SrtpProfile>,
) -> Result<Shard, CommandError> {
    Shard::new(ShardConfig {
        index: seed.index,
        life: seed.life,
        seed: seed.seed,
        epoch_unix_nanos: seed.epoch_unix_nanos,
        certificate,
        srtp_profiles,
        limits: sfu_core::limits::Limits::default(),
    })
}

impl ShardCore for Shard {
    fn handle_datagram(
        &mut self,
        now: Time,
        arrival: Time,
        socket: SocketId,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Whose {
        Shard::handle_datagram(self, now, arrival, socket, from, datagram)
    }

    fn share_socket(&mut self, socket: SocketId) {
        Shard::share_socket(self, socket);
    }

    fn poll_claim(&mut self) -> Option<Claim> {
        Shard::poll_claim(self)
    }

    fn handle_media(&mut self, now: Time, target: ObjectId, packet: &[u8]) {
        Shard::handle_media(self, now, target, packet);
    }

    fn has_media(&self) -> bool {
        Shard::has_media(self)
    }

    fn take_media(&mut self, take: &mut dyn FnMut(ObjectId, &[u8])) {
        self.media().for_each(|packet| take(packet.source, packet.bytes));
        self.clear_media();
    }

    fn handle_peer(&mut self, now: Time, from: u8, message: &PeerMessage, packet: &[u8]) {
        Shard::handle_peer(self, now, from, message, packet);
    }

    fn handle_peer_lost(&mut self, now: Time, shard: u8) {
        Shard::handle_peer_lost(self, now, shard);
    }

    fn has_peer_output(&self) -> bool {
        Shard::has_peer_output(self)
    }

    fn poll_peer(&mut self, to: u8) -> Option<PeerOut> {
        Shard::poll_peer(self, to)
    }

    fn has_taps(&self) -> bool {
        Shard::has_taps(self)
    }

    fn take_taps(&mut self, take: &mut dyn FnMut(&TapPacket<'_>)) {
        self.taps().for_each(|packet| take(&packet));
        self.clear_taps();
    }

    fn handle_tap_failure(&mut self, transport: ObjectId) {
        Shard::handle_tap_failure(self, transport);
    }

    fn handle_command(&mut self, now: Time, sockets: &[BoundSocket], command: Command) -> Result<Reply, CommandError> {
        Shard::handle_command(self, now, sockets, command)
    }

    fn handle_timeout(&mut self, now: Time) {
        Shard::handle_timeout(self, now);
    }

    fn handle_shutdown(&mut self, now: Time) -> bool {
        Shard::handle_shutdown(self, now)
    }

    fn next_timeout(&self) -> Option<Time> {
        Shard::next_timeout(self)
    }

    fn poll_event(&mut self) -> Option<Event> {
        Shard::poll_event(self)
    }

    fn handle_disconnect(&mut self, now: Time, socket: SocketId, from: SocketAddr) {
        Shard::handle_disconnect(self, now, socket, from);
    }

    fn is_verified(&self, socket: SocketId, from: SocketAddr) -> bool {
        Shard::is_verified(self, socket, from)
    }

    fn poll_disconnect(&mut self) -> Option<Tuple> {
        Shard::poll_disconnect(self)
    }

    fn poll_release(&mut self) -> Option<ReleaseSocket> {
        Shard::poll_release(self)
    }

    fn outbox(&mut self) -> &mut Outbox {
        Shard::outbox(self)
    }

    fn count_drop(&mut self, reason: DropReason, n: u64) {
        Shard::count_drop(self, reason, n);
    }

    fn counts(&self) -> Counts {
        let [routers, transports, producers, consumers] =
            Shard::object_counts(self).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        Counts { routers, transports, producers, consumers }
    }
}
