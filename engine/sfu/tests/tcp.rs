//! Transports that are reached by TCP: connections come and go, and the tuples with them.

use std::net::SocketAddr;
use std::time::Duration;

use sfu_core::command::{Command, DtlsState, Event, IceState, Listen, Reply, WebRtcTransportOptions};
use sfu_core::stats::Dump;
use sfu_core::testing::PeerOptions;
use sfu_core::testing::world::{OPUS, World, rtp};
use sfu_wire::drop_reason::DropReason;
use sfu_wire::id::ObjectId;
use sfu_wire::net::{Protocol, Tuple};

const FIRST: ([u8; 4], u16) = ([198, 51, 100, 1], 20_000);

/// A connected peer by TCP, on a socket of its transport's own.
fn join(world: &mut World, router: ObjectId, addr: SocketAddr) -> usize {
    let bound = world.bind_tcp();
    let socket = bound.socket;
    let created = world.transport_on(router, Listen::Own, &[bound]);
    assert!(created.candidates.iter().all(|c| c.protocol == Protocol::Tcp));
    let member = world.add_peer(created, socket, addr, PeerOptions::default());
    world.connect(member)
}

fn states(world: &World, member: usize) -> Vec<IceState> {
    let id = world.members[member].transport.id;
    let state = |event: &Event| match event {
        Event::IceState { transport, state } if *transport == id => Some(*state),
        _ => None,
    };
    world.events.iter().filter_map(state).collect()
}

#[test]
fn media_flows_by_tcp_and_dumps_and_events_say_so() {
    let mut world = World::new(1);
    let router = world.router();
    let ada = join(&mut world, router, FIRST.into());
    let grace = world.join(router);
    let producer = world.produce_audio(ada, 77);
    world.consume(grace, producer);
    let (other, back) = (world.produce_audio(grace, 78), world.rtp(ada).len());
    world.consume(ada, other);
    for number in 1..=5 {
        world.send_rtp(ada, &rtp(OPUS, 77, number, 960, &[(1, b"1")], b"sound"));
        world.send_rtp(grace, &rtp(OPUS, 78, number, 960, &[(1, b"2")], b"sound"));
    }
    assert_eq!((world.rtp(grace).len(), world.rtp(ada).len(), back), (5, 5, 0));
    let id = world.members[ada].transport.id;
    let Ok(Reply::Dump(dump)) = world.command(Command::Dump { object: id }) else { panic!("no dump") };
    let Dump::WebRtcTransport(dump) = *dump else { panic!("{dump:?}") };
    assert_eq!(dump.selected_tuple.map(|t| (t.protocol, t.remote)), Some((Protocol::Tcp, FIRST.into())));
    let selected = world.events.iter().find_map(|event| match event {
        Event::IceSelectedTuple { transport, protocol, .. } if *transport == id => Some(*protocol),
        _ => None,
    });
    assert_eq!(selected, Some(Protocol::Tcp));
}

#[test]
fn row_013_a_closed_connection_ends_its_tuple_at_once_and_another_may_come() {
    let mut world = World::new(2);
    let router = world.router();
    let ada = join(&mut world, router, FIRST.into());
    let socket = world.members[ada].socket;
    assert!(world.shard.is_verified(socket, FIRST.into()));
    world.disconnect(ada);
    assert_eq!(states(&world, ada).last(), Some(&IceState::Disconnected));
    assert!(!world.shard.is_verified(socket, FIRST.into()));
    // Nobody has to be told what is closed already: by then the address may be another connection's.
    world.run(Duration::from_millis(10));
    assert!(world.disconnects.is_empty());
    // The same port again: its consent had not run out.
    world.run(Duration::from_secs(6));
    assert_eq!(states(&world, ada).last(), Some(&IceState::Completed));
    world.disconnect(ada);
    world.members[ada].peer.set_addr((FIRST.0, FIRST.1 + 1).into());
    world.run(Duration::from_secs(6));
    assert_eq!(states(&world, ada).last(), Some(&IceState::Completed));
    assert!(world.members[ada].peer.is_connected());
    assert!(!world.events.iter().any(|e| matches!(e, Event::DtlsState { state: DtlsState::Closed, .. })));
    // A connection that is nobody's is nothing.
    world.shard.handle_disconnect(world.now, socket, ([203, 0, 113, 7], 9).into());
    assert_eq!(states(&world, ada).last(), Some(&IceState::Completed));
}

#[test]
fn row_106_a_peer_that_vanished_behind_an_open_connection_loses_it_with_its_consent() {
    let mut world = World::new(3);
    let router = world.router();
    let ada = join(&mut world, router, FIRST.into());
    world.members[ada].peer.stop_checks();
    world.run(Duration::from_secs(29));
    assert!(world.disconnects.is_empty());
    world.run(Duration::from_secs(4));
    assert_eq!(states(&world, ada).last(), Some(&IceState::Disconnected));
    assert_eq!(world.disconnects, [Tuple::new(world.members[ada].socket, FIRST.into())]);
}

#[test]
fn closing_a_transport_wants_its_connections_closed_and_those_of_others_kept() {
    let mut world = World::new(4);
    let router = world.router();
    let bound = [world.bind(), world.bind_tcp()];
    let now = world.now;
    let reply = world.shard.handle_command(now, &bound, Command::CreateWebRtcServer);
    let Ok(Reply::Created(server)) = reply else { panic!("{reply:?}") };
    let mut members = Vec::new();
    for number in 0..3u16 {
        let created = world.transport_on(router, Listen::Server(server), &[]);
        assert_eq!(created.candidates.iter().map(|c| c.protocol).collect::<Vec<_>>(), [Protocol::Udp, Protocol::Tcp]);
        // The last one comes by UDP.
        let socket = if number == 2 { bound[0].socket } else { bound[1].socket };
        let addr = (FIRST.0, FIRST.1 + number).into();
        let member = world.add_peer(created, socket, addr, PeerOptions::default());
        members.push(world.connect(member));
    }
    let close = |world: &mut World, member: usize| {
        let object = world.members[member].transport.id;
        world.command(Command::Close { object }).expect("it is there");
        world.settle();
    };
    close(&mut world, members[2]);
    assert!(world.disconnects.is_empty(), "there is no connection to close");
    close(&mut world, members[0]);
    assert_eq!(world.disconnects, [Tuple::new(bound[1].socket, FIRST.into())]);
    assert!(world.members[members[1]].peer.is_connected() && world.releases.is_empty());
    world.command(Command::Close { object: server }).expect("it is there");
    world.settle();
    assert_eq!((world.disconnects.len(), world.releases.len()), (2, 2));
}

#[test]
fn a_transport_without_tcp_is_not_reached_by_its_servers_tcp() {
    let mut world = World::new(5);
    let router = world.router();
    let bound = [world.bind(), world.bind_tcp()];
    let now = world.now;
    let reply = world.shard.handle_command(now, &bound, Command::CreateWebRtcServer);
    let Ok(Reply::Created(server)) = reply else { panic!("{reply:?}") };
    let options = WebRtcTransportOptions {
        listen: Listen::Server(server),
        enable_tcp: false,
        ..WebRtcTransportOptions::default()
    };
    let reply = world.shard.handle_command(now, &[], Command::CreateWebRtcTransport { router, options });
    let Ok(Reply::WebRtcTransport(created)) = reply else { panic!("{reply:?}") };
    assert_eq!(created.candidates.iter().map(|c| c.protocol).collect::<Vec<_>>(), [Protocol::Udp]);
    let member = world.add_peer(created, bound[1].socket, FIRST.into(), PeerOptions::default());
    world.signal(member).expect("connect");
    world.start(member);
    world.run(Duration::from_millis(300));
    assert!(!world.members[member].peer.is_connected());
    assert!(!world.shard.is_verified(bound[1].socket, FIRST.into()));
    assert!(world.drops(DropReason::StunUnauthenticated) > 0);
}

#[test]
fn a_wildcard_address_cannot_be_exposed_and_rtp_without_ice_has_no_tcp() {
    let mut world = World::new(6);
    let router = world.router();
    let now = world.now;
    let mut any = world.bind();
    (any.local, any.announced, any.expose_internal_ip) =
        ("[::]:4000".parse().unwrap(), Some("sfu.example.org".to_owned()), true);
    let error = world.shard.handle_command(now, &[any], Command::CreateWebRtcServer).expect_err("nowhere");
    assert_eq!(error.field, "listenInfos[0].exposeInternalIp");
    let tcp = [world.bind_tcp()];
    let options = sfu_core::command::PipeTransportOptions { srtp: false, rtx: false, only_wanted: false };
    let error =
        world.shard.handle_command(now, &tcp, Command::CreatePipeTransport { router, options }).expect_err("by UDP");
    assert_eq!(error.field, "listenInfo.protocol");
}
