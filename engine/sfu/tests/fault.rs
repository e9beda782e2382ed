//! A bug in one room is that room's end, and nobody else's.

use std::time::Duration;

use sfu_core::command::{CloseReason, Command, ErrorCode, Event};
use sfu_core::testing::world::{OPUS, World, rtp};
use sfu_wire::id::ObjectId;

struct Room {
    router: ObjectId,
    alice: usize,
    bob: usize,
}

fn rooms(world: &mut World, count: usize) -> Vec<Room> {
    let make = |world: &mut World| {
        let router = world.router();
        let (alice, bob) = (world.join(router), world.join(router));
        let producer = world.produce_audio(alice, 1111);
        world.consume(bob, producer);
        Room { router, alice, bob }
    };
    (0..count).map(|_| make(world)).collect()
}

/// What was told of closed routers: id and words.
fn failed(world: &World) -> Vec<(ObjectId, String)> {
    let told =
        |e: &Event| if let Event::RouterFailed { router, text } = e { Some((*router, text.clone())) } else { None };
    world.events.iter().filter_map(told).collect()
}

fn talk(world: &mut World, rooms: &[Room], packets: std::ops::Range<u16>) -> Vec<usize> {
    let mut heard = vec![0; rooms.len()];
    for n in packets {
        for room in rooms {
            world.send_rtp(room.alice, &rtp(OPUS, 1111, n, 960 * u32::from(n), &[], b"voice"));
        }
        world.run(Duration::from_millis(20));
        for (heard, room) in heard.iter_mut().zip(rooms) {
            *heard += world.rtp(room.bob).len();
        }
    }
    heard
}

#[test]
fn row_112_a_panic_in_the_packet_path_of_one_room_of_ten_costs_the_others_no_packet() {
    let mut world = World::new(120);
    let rooms = rooms(&mut world, 10);
    assert_eq!(talk(&mut world, &rooms, 0..10), [10; 10]);
    world.events.clear();
    let broken = rooms[4].router;
    world.shard.planted = Some(broken);
    let heard = talk(&mut world, &rooms, 10..110);
    for (n, heard) in heard.iter().enumerate() {
        assert_eq!(*heard, if n == 4 { 0 } else { 100 }, "room {n}");
    }
    let told = failed(&world);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].0, broken);
    assert!(told[0].1.contains("planted"), "{}", told[0].1);
    // Everything that was in it is told, with the reason that its parent has.
    let transport = world.members[rooms[4].alice].transport.id;
    let closed = Event::Closed { object: transport, reason: CloseReason::Panic };
    assert!(world.events.contains(&closed));
    assert_eq!(world.shard.object_counts(), [9, 18, 9, 9]);
    // Its sockets are given back.
    assert_eq!(world.releases.len(), 2);
}

#[test]
fn row_112_a_panic_at_a_command_is_its_answer_and_at_a_timer_an_event() {
    let mut world = World::new(121);
    let rooms = rooms(&mut world, 4);
    talk(&mut world, &rooms, 0..5);
    world.shard.planted = Some(rooms[0].router);
    let transport = world.members[rooms[0].alice].transport.id;
    let error = world.command(Command::Stats { object: transport }).expect_err("a bug");
    assert_eq!(error.code, ErrorCode::Internal);
    assert!(error.text.contains("planted"), "{}", error.text);
    world.settle();
    assert_eq!(failed(&world).len(), 1);
    let again = world.command(Command::Stats { object: transport }).expect_err("gone");
    assert_eq!(again.code, ErrorCode::NotFound);

    // Reports are due within two seconds in all rooms: the broken one takes no other's with it.
    world.shard.planted = Some(rooms[1].router);
    world.run(Duration::from_secs(3));
    assert_eq!(failed(&world).len(), 2);
    world.shard.planted = None;
    for room in &rooms[2..] {
        world.received(room.bob);
    }
    assert_eq!(talk(&mut world, &rooms[2..], 5..60), [55, 55]);
    for room in &rooms[2..] {
        let reports = world.received(room.bob).len();
        let stats = world.stats(world.members[room.bob].transport.id).expect("alive");
        assert!(reports > 0 || stats.transport.is_some_and(|t| t.packets_sent > 55), "reports go on");
    }
}

#[test]
fn a_new_room_of_the_same_shard_works_after_a_fault() {
    let mut world = World::new(122);
    let first = rooms(&mut world, 1);
    world.shard.planted = Some(first[0].router);
    talk(&mut world, &first, 0..1);
    assert_eq!(world.shard.object_counts(), [0, 0, 0, 0]);
    let second = rooms(&mut world, 1);
    assert_ne!(second[0].router, first[0].router);
    assert_eq!(talk(&mut world, &second, 0..20), [20]);
}
