//! Taps through the client and a running engine, with their files read back.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::room::usual_codecs;
use crate::client::{Client, Event, Id, ListenInfo, PlainRemote, PlainTransportOptions};
use crate::schema as fb;
use crate::{Engine, EngineOptions};

struct Stage {
    client: Client,
    events: Receiver<Event>,
    transport: Id,
    peer: UdpSocket,
    directory: PathBuf,
}

/// A plain transport with its peer, and a directory of its own.
fn stage(name: &str, taps: bool) -> Stage {
    let directory = std::env::temp_dir().join(format!("sfu-taps-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir(&directory).expect("a directory");
    let tap_directory = taps.then(|| directory.to_str().expect("UTF-8").to_owned());
    let options = EngineOptions { shards: 1, unpinned: true, tap_directory, ..EngineOptions::default() };
    let (client, events) = Client::start(Engine::with_options(&options).expect("an engine starts here"));
    let router = client.create_router(&usual_codecs()).wait().expect("a router").id;
    let plain = PlainTransportOptions::new(ListenInfo::udp("127.0.0.1"));
    let plain = client.create_plain_transport(router, &plain).wait().expect("a transport");
    let peer = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    peer.connect((plain.address.as_str(), plain.port)).expect("it can be reached");
    let port = Some(peer.local_addr().expect("an address").port());
    let remote = PlainRemote { ip: Some("127.0.0.1".to_owned()), port, ..PlainRemote::default() };
    client.connect_plain_transport(plain.id, &remote).wait().expect("it can be connected");
    Stage { client, events, transport: plain.id, peer, directory }
}

fn tap(name: &str, max_bytes: u64) -> fb::StartTapT {
    fb::StartTapT { name: name.to_owned(), max_bytes, ..fb::StartTapT::default() }
}

fn closed(events: &Receiver<Event>) -> fb::TapClosedT {
    loop {
        match events.recv_timeout(Duration::from_secs(20)).expect("the tap ends") {
            Event::TapClosed { closed, .. } => return *closed,
            _ => continue,
        }
    }
}

fn rtp(sequence: u8) -> Vec<u8> {
    let mut packet = vec![0x80, 111, 0, sequence, 0, 0, 0, 0, 0, 0, 0, 9];
    packet.resize(1_000, sequence);
    packet
}

#[test]
fn a_file_has_the_packets_that_were_sent_and_ends_at_its_size() {
    let stage = stage("file", true);
    stage.client.start_tap(stage.transport, &tap("a.pcapng", 4_096)).wait().expect("it can be tapped");
    for n in 1..=5 {
        stage.peer.send(&rtp(n)).expect("it is sent");
    }
    let end = closed(&stage.events);
    assert_eq!((end.reason, end.packets, end.dropped, end.text), (fb::TapEnd::size_reached, 3, 0, None));
    let bytes = std::fs::read(stage.directory.join("a.pcapng")).expect("it is there");
    assert_eq!(bytes.len() as u64, end.bytes);
    assert!(bytes.len() <= 4_096);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + 8) {
        let word = |i: usize| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
        let (kind, len) = (word(0), word(4) as usize);
        if kind == 6 {
            found.push(bytes[at + 28 + 28..at + 28 + 28 + 1_000].to_vec());
        }
        at += len;
    }
    assert_eq!((at, found), (bytes.len(), vec![rtp(1), rtp(2), rtp(3)]));
    // The name is taken now.
    stage.client.start_tap(stage.transport, &tap("a.pcapng", 4_096)).wait().expect("the disk is asked later");
    let end = closed(&stage.events);
    assert_eq!((end.reason, end.packets), (fb::TapEnd::failed, 0));
    assert!(end.text.expect("it is told why").contains("a.pcapng"));
    let _ = std::fs::remove_dir_all(&stage.directory);
}

#[test]
fn h37_taps_are_refused_without_a_directory_or_a_plain_name_and_end_when_it_is_removed() {
    let off = stage("off", false);
    let error = off.client.start_tap(off.transport, &tap("a", 4_096)).wait().expect_err("taps are off");
    assert!(format!("{error:?}").contains("tap_directory"), "{error:?}");
    let stage = stage("gone", true);
    for name in ["../a", "/etc/a", "a/b", "..", ""] {
        let error = stage.client.start_tap(stage.transport, &tap(name, 4_096)).wait().expect_err(name);
        assert!(format!("{error:?}").contains("name"), "{error:?}");
    }
    std::os::unix::fs::symlink("/etc/passwd", stage.directory.join("link")).expect("a link");
    // Often, since the writer finds out while the idle shard goes to sleep.
    for _ in 0..200 {
        stage.client.start_tap(stage.transport, &tap("link", 4_096)).wait().expect("the disk is asked later");
        assert_eq!(closed(&stage.events).reason, fb::TapEnd::failed);
    }
    stage.client.start_tap(stage.transport, &tap("b", 1 << 20)).wait().expect("it can be tapped");
    while !stage.directory.join("b").exists() {
        std::thread::yield_now();
    }
    std::fs::remove_dir_all(&stage.directory).expect("it can be removed");
    stage.peer.send(&rtp(1)).expect("it is sent");
    assert_eq!(closed(&stage.events).reason, fb::TapEnd::failed);
    let stats = stage.client.stats(stage.transport).wait().expect("the transport lives");
    assert_eq!(stats.transport.expect("counters").packets_received, 1);
    for directory in [off.directory, stage.directory] {
        let _ = std::fs::remove_dir_all(directory);
    }
}
