//! What connected transports hold, counted by the allocator that Rust and the C libraries share: not by pages, which say
//! as much of the allocator as of us. One test alone in its process, or others would be counted too.
#![allow(unsafe_code)]

use std::net::SocketAddr;

use sfu_core::testing::PeerOptions;
use sfu_core::testing::world::World;
use sfu_proto::crypto::DtlsRole;
use sfu_wire::id::ObjectId;

/// Bytes that are allocated now, by whomever.
fn in_use() -> usize {
    // SAFETY: no arguments; the answer is a structure of numbers.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

/// Connects so many transports, of whose peers nothing stays.
fn connect(world: &mut World, router: ObjectId, role: DtlsRole, count: u16) {
    for n in 0..count {
        let (transport, socket) = world.transport(router);
        let addr = SocketAddr::from(([198, 51, 100, 1], 10_000 + n));
        let member = world.add_peer(transport, socket, addr, PeerOptions { role, ..PeerOptions::default() });
        world.connect(member);
        world.members.clear();
        world.events.clear();
    }
}

#[test]
fn a_connected_transport_holds_less_than_promised() {
    const COUNT: u16 = 200;
    /// SPECIFICATION.md promises 64 KiB of pages. What is above this is something new that stays: a TLS session of the
    /// library, for one, has 85 KB.
    const MOST: usize = 16 * 1024;
    for role in [DtlsRole::Client, DtlsRole::Server] {
        let mut world = World::new(17);
        let router = world.router();
        // Caches of the libraries, and the first growth of tables.
        connect(&mut world, router, role, 20);
        let before = in_use();
        connect(&mut world, router, role, COUNT);
        let each = (in_use() - before) / usize::from(COUNT);
        println!("a transport whose peer is DTLS {role:?}: {each} bytes");
        assert!(each <= MOST, "{each} bytes for each, its peer being DTLS {role:?}");
        assert!(each > 4 * 1024, "{each} bytes for each: the count is wrong");
    }
}
