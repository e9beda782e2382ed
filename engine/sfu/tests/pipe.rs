//! Pipe transports: from router to router, with keep-alives instead of ICE.

use std::net::SocketAddr;
use std::time::Duration;

use sfu_core::command::{
    Command, CommandError, ErrorCode, Event, PipeRemote, PipeTransportCreated, PipeTransportOptions, Reply,
    SrtpParameters,
};
use sfu_core::stats::Dump;
use sfu_core::testing::world::{OPUS, World, consumer_config, opus, producer_config, rtp};
use sfu_proto::keys::{KeyMaterial, SrtpProfile};
use sfu_wire::id::ObjectId;
use sfu_wire::media::{MediaKind, Mid};
use sfu_wire::net::SocketId;

struct Pipe {
    created: PipeTransportCreated,
    socket: SocketId,
}

fn pipe(world: &mut World, router: ObjectId, srtp: bool) -> Pipe {
    let bound = world.bind();
    let command =
        Command::CreatePipeTransport { router, options: PipeTransportOptions { srtp, rtx: true, only_wanted: false } };
    match world.shard.handle_command(world.now, std::slice::from_ref(&bound), command) {
        Ok(Reply::PipeTransport(created)) => Pipe { created, socket: bound.socket },
        other => panic!("expected a pipe, got {other:?}"),
    }
}

fn connect(
    world: &mut World,
    pipe: &Pipe,
    to: SocketAddr,
    srtp: Option<SrtpParameters>,
) -> Result<Reply, CommandError> {
    let remote = Box::new(PipeRemote { ip: to.ip(), port: to.port(), srtp });
    world.command(Command::ConnectPipeTransport { transport: pipe.created.id, remote })
}

/// Two routers joined by a pipe.
fn joined(world: &mut World, srtp: bool) -> (ObjectId, Pipe, ObjectId, Pipe) {
    let (here, there) = (world.router(), world.router());
    let (a, b) = (pipe(world, here, srtp), pipe(world, there, srtp));
    connect(world, &a, b.created.local.1, b.created.srtp.clone()).expect("connect");
    connect(world, &b, a.created.local.1, a.created.srtp.clone()).expect("connect");
    world.settle();
    (here, a, there, b)
}

fn mid(n: u8) -> Mid {
    Mid::new(&[b'a' + n]).expect("legal")
}

#[test]
fn audio_crosses_from_one_router_to_the_other_in_the_clear_and_protected() {
    for srtp in [false, true] {
        let mut world = World::new(100 + u64::from(srtp));
        let (here, a, there, b) = joined(&mut world, srtp);
        let (alice, bob) = (world.join(here), world.join(there));
        let source = world.produce_audio(alice, 7);
        let config = Box::new(consumer_config(source, MediaKind::Audio, mid(0), false));
        let crossing = match world.command(Command::Consume { transport: a.created.id, config }) {
            Ok(Reply::Consumer(created)) => created,
            other => panic!("{other:?}"),
        };
        let config = Box::new(producer_config(MediaKind::Audio, mid(0), vec![opus()], Some(crossing.ssrc), None));
        let piped = world.create(Command::Produce { transport: b.created.id, config });
        world.consume(bob, piped);
        for n in 0..20 {
            world.send_rtp(alice, &rtp(OPUS, 7, n, 960 * u32::from(n), &[], b"over there"));
        }
        assert_eq!(world.rtp(bob).len(), 20, "srtp {srtp}");
        assert!(world.strays.is_empty());
    }
}

#[test]
fn a_pipe_keeps_its_path_open_and_tells_when_the_other_end_falls_silent_and_comes_back() {
    let mut world = World::new(102);
    let (_, a, _, b) = joined(&mut world, true);
    world.run(Duration::from_secs(60));
    let silent = |world: &World| -> Vec<(ObjectId, bool)> {
        let told = |e: &Event| {
            if let Event::PipeSilent { transport, silent } = e { Some((*transport, *silent)) } else { None }
        };
        world.events.iter().filter_map(told).collect()
    };
    assert!(silent(&world).is_empty(), "keep-alives are enough");
    let packets = |world: &mut World, id| world.stats(id).expect("stats").transport.expect("of it").packets_received;
    let heard = packets(&mut world, a.created.id);
    assert!((25..=35).contains(&heard), "one in two seconds, not {heard}");
    world.close(b.created.id).expect("close");
    world.run(Duration::from_secs(30));
    assert_eq!(silent(&world), [(a.created.id, true)]);
    assert!(matches!(world.dump(a.created.id), Some(Dump::PipeTransport(dump)) if dump.silent));
}

#[test]
fn row_093_a_suspended_machine_does_not_take_its_own_absence_for_the_silence_of_a_pipe() {
    let mut world = World::new(104);
    let (_, _, _, b) = joined(&mut world, true);
    world.run(Duration::from_secs(5));
    for leap in [9, 3_600, 86_400] {
        world.now += Duration::from_secs(leap);
        world.run(Duration::from_secs(5));
    }
    let silent = |world: &World| world.events.iter().any(|e| matches!(e, Event::PipeSilent { .. }));
    assert!(!silent(&world), "{:?}", world.events);
    // Its real silence is still told.
    world.close(b.created.id).expect("close");
    world.run(Duration::from_secs(30));
    assert!(silent(&world));
}

#[test]
fn h29_a_pipe_refuses_addresses_that_are_nobodys_keys_that_do_not_fit_and_itself() {
    let mut world = World::new(103);
    let router = world.router();
    let (clear, keyed) = (pipe(&mut world, router, false), pipe(&mut world, router, true));
    let field = |verdict: Result<Reply, CommandError>| verdict.expect_err("refused").field;
    let own = clear.created.local.1;
    for bad in ["0.0.0.0:9", "239.0.0.1:9", "[::]:9", "169.254.0.9:9", "[::ffff:0.0.0.0]:9"] {
        assert_eq!(field(connect(&mut world, &clear, bad.parse().expect("an address"), None)), "ip", "{bad}");
    }
    assert_eq!(field(connect(&mut world, &clear, own, None)), "ip", "a pipe into itself");
    let peer: SocketAddr = "203.0.113.1:4000".parse().expect("an address");
    assert_eq!(field(connect(&mut world, &keyed, peer, None)), "srtpParameters");
    let profile = SrtpProfile::Aes128CmSha1_80;
    let other = SrtpParameters { profile, key: KeyMaterial::new(&[1; 30]).expect("short enough") };
    assert_eq!(field(connect(&mut world, &keyed, peer, Some(other.clone()))), "srtpParameters.cryptoSuite");
    assert_eq!(field(connect(&mut world, &clear, peer, Some(other))), "srtpParameters");
    connect(&mut world, &clear, peer, None).expect("connect");
    assert_eq!(connect(&mut world, &clear, peer, None).expect_err("twice").code, ErrorCode::InvalidState);
    world.close(clear.created.id).expect("close");
    assert_eq!(world.releases.iter().map(|r| r.0).collect::<Vec<_>>(), [clear.socket]);
}
