//! Calls over rough networks, in virtual time.

use std::net::SocketAddr;
use std::time::Duration;

use sfu_core::command::{Command, DtlsState, Event, IceState};
use sfu_core::testing::PeerOptions;
use sfu_proto::crypto::DtlsRole;
use sfu_proto::srtp::SrtpProfile;
use sfu_sim::call::{Call, Start};
use sfu_sim::media::pli_packet;
use sfu_sim::net::LinkConfig;
use sfu_sim::world::World;

/// Seeds of every run; a failure names its seed.
const SEEDS: [u64; 6] = [1, 2, 3, 0xfeed, 0xdead_beef, u64::MAX];

fn rough() -> LinkConfig {
    LinkConfig {
        delay: Duration::from_millis(50),
        jitter: Duration::from_millis(20),
        loss: 50,
        duplicate: 20,
        reorder: 50,
        ..LinkConfig::default()
    }
}

fn rough_call(seed: u64) -> Call {
    let mut call = Call::new(World::new(seed), rough(), 2, Start::default());
    call.send_frames(150, 4);
    call.pass(Duration::from_secs(2));
    call
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let hash = |seed| {
        let call = rough_call(seed);
        assert!(call.subscribers.iter().all(|s| s.sink.complete() > 140), "seed {seed}: the call did not work");
        call.world.trace_hash()
    };
    assert_eq!(hash(42), hash(42));
    assert_ne!(hash(42), hash(43));
}

#[test]
fn row_098_video_survives_five_percent_loss_at_a_hundred_milliseconds() {
    for seed in SEEDS {
        println!("seed {seed}");
        let mut call = Call::new(World::new(seed), rough(), 3, Start::default());
        call.send_frames(300, 4);
        call.pass(Duration::from_secs(3));
        for subscriber in &call.subscribers {
            let sink = &subscriber.sink;
            sink.check_order();
            let share = sink.complete() as f64 / 300.0;
            assert!(share >= 0.97, "seed {seed}: {} of 300 frames complete, {} gaps", sink.complete(), sink.gaps());
            assert!(sink.complete() * 100 >= sink.seen() * 99, "seed {seed}: {}/{}", sink.complete(), sink.seen());
            assert!(sink.repaired > 0, "seed {seed}: nothing was repaired by RTX");
        }
    }
}

#[test]
fn row_021_a_final_flight_sent_again_does_not_end_the_session() {
    // At this round trip every flight is sent twice, so encrypted records arrive that were answered already.
    let link = LinkConfig { delay: Duration::from_millis(70), ..LinkConfig::default() };
    let mut call = Call::new(World::new(7), link, 4, Start::default());
    call.send_frames(60, 2);
    call.pass(Duration::from_secs(2));
    let failed = |e: &Event| matches!(e, Event::DtlsState { state: DtlsState::Failed | DtlsState::Closed, .. });
    assert!(!call.world.events.iter().any(|(_, e)| failed(e)), "{:?}", call.world.events);
    assert!(call.subscribers.iter().all(|s| s.sink.complete() >= 55));
}

#[test]
fn every_profile_and_both_dtls_roles_connect_and_forward() {
    for profile in SrtpProfile::ALL {
        for role in [DtlsRole::Client, DtlsRole::Server] {
            let mut world = World::with_profiles(5, vec![profile]);
            let router = world.router();
            world.join(router, LinkConfig::default(), PeerOptions { role, ..PeerOptions::default() });
            world.connect_all(Duration::from_secs(5));
            let mut call =
                Call::new(World::with_profiles(6, vec![profile]), LinkConfig::default(), 1, Start::default());
            call.send_frames(30, 2);
            call.pass(Duration::from_secs(1));
            assert!(call.subscribers[0].sink.complete() >= 28, "{profile:?} {role:?}");
        }
    }
}

#[test]
fn row_021_handshakes_get_through_heavy_loss() {
    for seed in SEEDS {
        println!("seed {seed}");
        let link = LinkConfig { loss: 300, delay: Duration::from_millis(100), ..LinkConfig::default() };
        let mut world = World::new(seed);
        let router = world.router();
        for _ in 0..4 {
            world.join(router, link, PeerOptions::default());
        }
        world.connect_all(Duration::from_secs(60));
    }
}

#[test]
fn pause_and_resume_leave_no_gap_and_begin_with_a_key_frame() {
    let mut call = Call::new(World::new(11), LinkConfig::default(), 2, Start::default());
    call.send_frames(60, 3);
    let consumer = call.subscribers[0].consumer;
    call.command(Command::Pause { object: consumer });
    call.pass(Duration::from_millis(200));
    let frozen = call.subscribers[0].sink.seen();
    call.send_frames(60, 3);
    assert_eq!(call.subscribers[0].sink.seen(), frozen, "a paused consumer is sent nothing");
    let keys = call.source.key_frames;
    call.command(Command::Resume { object: consumer });
    call.pass(Duration::from_millis(100));
    call.send_frames(60, 3);
    call.pass(Duration::from_secs(1));
    assert!(call.source.key_frames > keys, "resume asks the publisher for a key frame");
    for subscriber in &call.subscribers {
        subscriber.sink.check_order();
        assert_eq!(subscriber.sink.gaps(), 0);
    }
    assert!(call.subscribers[0].sink.seen() >= frozen + 55);
}

#[test]
fn a_paused_producer_is_silent_for_all_and_comes_back() {
    let mut call = Call::new(World::new(12), LinkConfig::default(), 2, Start::default());
    call.send_frames(30, 2);
    let producer = call.producer;
    call.command(Command::Pause { object: producer });
    let told = call.world.events.iter().filter(|(_, e)| matches!(e, Event::ProducerPaused { .. })).count();
    assert_eq!(told, 2, "each consumer is told once");
    call.pass(Duration::from_millis(200));
    let frozen = call.subscribers[0].sink.seen();
    call.send_frames(10, 2);
    assert_eq!(call.subscribers[0].sink.seen(), frozen);
    call.command(Command::Resume { object: producer });
    call.send_frames(60, 2);
    call.pass(Duration::from_secs(1));
    call.subscribers[0].sink.check_order();
    assert_eq!(call.subscribers[0].sink.gaps(), 0);
    assert!(call.subscribers[0].sink.seen() >= frozen + 50);
}

#[test]
fn row_025_counters_start_near_their_wrap_and_nothing_breaks() {
    for (i, sequence) in [65_535u16, 65_530, 65_000, 0, 32_767].into_iter().enumerate() {
        let start = Start { sequence, timestamp: u32::MAX - 4_000 };
        let mut call = Call::new(World::new(100 + i as u64), rough(), 1, start);
        call.send_frames(200, 4);
        call.pass(Duration::from_secs(3));
        let sink = &call.subscribers[0].sink;
        sink.check_order();
        assert!(sink.complete() * 100 >= sink.seen() * 99, "start {sequence}: {}/{}", sink.complete(), sink.seen());
    }
}

#[test]
fn row_026_a_late_consumer_starts_at_a_key_frame_after_the_publisher_wrapped() {
    let start = Start { sequence: 60_000, timestamp: 0 };
    let mut call = Call::new(World::new(26), LinkConfig::default(), 1, start);
    call.send_frames(200, 40);
    call.subscribe(LinkConfig::default());
    call.world.connect_all(Duration::from_secs(5));
    call.send_frames(60, 4);
    call.pass(Duration::from_secs(1));
    let late = &call.subscribers[1].sink;
    late.check_order();
    assert!(late.complete() >= 50, "{} frames", late.complete());
}

#[test]
fn row_041_a_storm_of_key_frame_requests_reaches_the_publisher_at_its_throttle() {
    let delay = Duration::from_secs(1);
    let mut call = Call::with_key_frame_delay(World::new(41), LinkConfig::default(), 10, Start::default(), delay);
    call.send_frames(30, 2);
    let before = call.source.key_frames;
    // Ten subscribers, thirty requests a second each, for ten seconds.
    for _ in 0..300 {
        let pli: Vec<_> = call.subscribers.iter().map(|s| (s.member, s.sink.ssrc())).collect();
        for (member, ssrc) in pli {
            call.world.members[member].peer.send_rtcp(&pli_packet(1, ssrc));
        }
        call.send_frames(1, 2);
    }
    let asked = call.source.key_frames - before;
    assert!((5..=11).contains(&asked), "{asked} key frames in ten seconds of storm at one a second");
}

#[test]
fn row_104_a_rebinding_peer_goes_on_after_its_first_check() {
    let mut call = Call::new(World::new(104), LinkConfig::default(), 1, Start::default());
    call.send_frames(60, 2);
    let member = call.subscribers[0].member;
    call.world.members[member].peer.set_addr(SocketAddr::from(([192, 0, 2, 77], 7_777)));
    // Consent checks go out every 2.5 s; the peer's next one moves the media.
    call.send_frames(120, 2);
    let seen = call.subscribers[0].sink.seen();
    call.send_frames(30, 2);
    assert!(call.subscribers[0].sink.seen() >= seen + 25, "media reaches the new address");
}

#[test]
fn row_013_and_106_a_vanished_peer_is_disconnected_by_consent_and_sent_nothing_more() {
    let mut call = Call::new(World::new(13), LinkConfig::default(), 1, Start::default());
    call.send_frames(30, 2);
    let member = call.subscribers[0].member;
    let transport = call.world.members[member].transport;
    call.world.members[member].peer.stop_checks();
    call.pass(Duration::from_secs(33));
    let gone = Event::IceState { transport, state: IceState::Disconnected };
    assert!(call.world.events.iter().any(|(_, e)| *e == gone), "disconnected within 33 s");
    let sent = call.world.members[member].down.counters().offered;
    call.send_frames(30, 2);
    assert_eq!(call.world.members[member].down.counters().offered, sent, "nothing goes to a peer without consent");
}

#[test]
fn row_105_ice_restart_keeps_the_media_flowing() {
    let mut call = Call::new(World::new(105), LinkConfig::default(), 1, Start::default());
    call.send_frames(30, 2);
    let member = call.subscribers[0].member;
    let transport = call.world.members[member].transport;
    let reply = call.world.command(Command::RestartIce { transport }).expect("restarts");
    let sfu_core::command::Reply::IceParameters(ice) = reply else { panic!("not ICE parameters: {reply:?}") };
    call.send_frames(30, 2);
    let now = call.world.now();
    call.world.members[member].peer.set_remote_ice(now, ice);
    call.send_frames(60, 2);
    call.pass(Duration::from_secs(1));
    assert!(call.world.members[member].peer.is_answered());
    assert!(call.subscribers[0].sink.complete() >= 115, "{}", call.subscribers[0].sink.complete());
    assert_eq!(call.subscribers[0].sink.gaps(), 0);
}
