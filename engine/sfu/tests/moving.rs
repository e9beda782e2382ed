//! Peers whose address changes in the middle of a call: media follows the first signed check, and nothing is set up anew.

use std::net::SocketAddr;
use std::time::Duration;

use sfu_core::command::{BoundSocket, Command, Event, Listen, Reply};
use sfu_core::testing::PeerOptions;
use sfu_core::testing::world::{OPUS, World, rtp};
use sfu_wire::id::ObjectId;

/// A publisher, and a viewer with its consumer; both connected.
struct Call {
    world: World,
    ada: usize,
    grace: usize,
    sequence: u16,
    dtls_events: usize,
}

impl Call {
    fn new(seed: u64, viewer: impl FnOnce(&mut World, ObjectId) -> usize) -> Self {
        let mut world = World::new(seed);
        let router = world.router();
        let ada = world.join(router);
        let grace = viewer(&mut world, router);
        let producer = world.produce_audio(ada, 77);
        world.consume(grace, producer);
        let dtls_events = count_dtls(&world);
        Self { world, ada, grace, sequence: 0, dtls_events }
    }

    /// Sends packets; tells how many of them the viewer got where it is now.
    fn send(&mut self, count: u16) -> usize {
        for _ in 0..count {
            self.sequence += 1;
            let packet = rtp(OPUS, 77, self.sequence, u32::from(self.sequence) * 960, &[(1, b"1")], b"sound");
            self.world.send_rtp(self.ada, &packet);
        }
        self.world.rtp(self.grace).len()
    }

    /// The viewer's check arrives from where it is now.
    fn check(&mut self) {
        let (from, check) = {
            let peer = &mut self.world.members[self.grace].peer;
            (peer.addr(), peer.binding_request(true))
        };
        self.world.inject(self.grace, from, &check);
    }

    fn restart(&mut self) {
        let transport = self.world.members[self.grace].transport.id;
        let reply = self.world.command(Command::RestartIce { transport });
        let Ok(Reply::IceParameters(ice)) = reply else { panic!("{reply:?}") };
        let now = self.world.now;
        self.world.members[self.grace].peer.set_remote_ice(now, ice);
    }

    /// No handshake, no new keys.
    fn kept_its_keys(&self) {
        assert_eq!(count_dtls(&self.world), self.dtls_events);
        assert!(self.world.members[self.grace].peer.failure().is_none());
    }
}

fn count_dtls(world: &World) -> usize {
    world.events.iter().filter(|e| matches!(e, Event::DtlsState { .. })).count()
}

#[test]
fn row_104_media_follows_the_first_signed_check_to_a_new_port_and_back() {
    let mut call = Call::new(104, |world, router| world.join(router));
    assert_eq!(call.send(5), 5);
    let home = call.world.members[call.grace].peer.addr();
    let away = SocketAddr::new(home.ip(), home.port() + 1_000);
    for (place, left) in [(away, home), (home, away)] {
        call.world.members[call.grace].peer.set_addr(place);
        // A stranger's unsigned packet from there moves nothing.
        call.world.inject(call.grace, place, &[0x80; 40]);
        assert_eq!(call.send(5), 0);
        let strayed: Vec<_> = std::mem::take(&mut call.world.strays);
        assert!(strayed.len() == 5 && strayed.iter().all(|(_, to, _)| *to == left));
        call.check();
        assert_eq!(call.send(5), 5, "from the check on, all of it");
        assert!(call.world.strays.is_empty());
    }
    call.kept_its_keys();
}

#[test]
fn row_105_two_restarts_in_a_row_and_a_change_from_ipv4_to_ipv6_lose_no_packet_and_no_key() {
    let mut sockets = Vec::new();
    let mut call = Call::new(105, |world, router| {
        let v6 = BoundSocket { local: "[2001:db8::1]:4000".parse().unwrap(), ..world.bind() };
        let bound = [world.bind(), v6];
        sockets.extend(bound.iter().map(|b| b.socket));
        let created = world.transport_on(router, Listen::Own, &bound);
        let member =
            world.add_peer(created, bound[0].socket, ([198, 51, 100, 9], 5_000).into(), PeerOptions::default());
        world.connect(member)
    });
    assert_eq!(call.send(5), 5);
    // Nobody uses the credentials between the two.
    call.restart();
    assert_eq!(call.send(5), 5, "the old pair serves until a check comes with the new credentials");
    call.restart();
    assert_eq!(call.send(5), 5);
    call.check();
    assert_eq!(call.send(5), 5);
    // The peer's network changes under it; it restarts, and its first check comes by the other socket.
    let grace = call.grace;
    call.world.members[grace].peer.set_addr("[2001:db8::77]:7".parse().unwrap());
    call.world.members[grace].socket = sockets[1];
    call.restart();
    call.check();
    assert_eq!(call.send(20), 20);
    call.kept_its_keys();
    call.world.run(Duration::from_secs(3));
    assert!(call.world.members[grace].peer.is_answered());
}
