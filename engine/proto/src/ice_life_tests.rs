//! Restarts, consent, and what must not be learned from an agent.

use super::tests::*;
use super::*;
use crate::testing::Random;

#[test]
fn row_011_old_credentials_hold_until_the_new_ones_are_used_and_not_longer() {
    let mut agent = agent();
    let old = nominating();
    accept(&mut agent, START, tuple(1), &old);
    agent.restart(credentials(NEW));
    assert_eq!(agent.local(), &credentials(NEW));
    assert_eq!(agent.previous(), Some(&credentials(OLD)));
    assert!(agent.knows_username(b"oldufrag:x") && agent.knows_username(b"newufrag:x"));
    accept(&mut agent, START + SECOND, tuple(1), &old);
    assert_eq!(agent.selected(), Some(tuple(1)), "data goes on meanwhile");
    events(&mut agent);
    accept(&mut agent, START + SECOND, tuple(2), &Check { credentials: NEW, ..nominating() });
    assert_eq!(agent.previous(), None);
    assert!(!agent.knows_username(b"oldufrag:x"));
    assert_eq!(events(&mut agent), [IceEvent::Selected(tuple(2))]);
    refuse(&mut agent, START + SECOND, tuple(1), &old.bytes(), DropReason::StunUnauthenticated);
    refuse(&mut agent, START + SECOND, tuple(9), &old.bytes(), DropReason::StunUnauthenticated);
}

#[test]
fn row_011_a_second_restart_keeps_the_credentials_that_are_in_use() {
    let mut agent = agent();
    accept(&mut agent, START, tuple(1), &check());
    agent.restart(credentials(("middle", "never used by anybody")));
    agent.restart(credentials(NEW));
    assert!(agent.knows_username(b"oldufrag:x") && !agent.knows_username(b"middle:x"));
    accept(&mut agent, START, tuple(1), &check());
    accept(&mut agent, START, tuple(1), &Check { credentials: NEW, ..check() });
    assert!(!agent.knows_username(b"oldufrag:x"));
}

#[test]
fn a_restart_lets_nomination_values_begin_anew() {
    let mut agent = agent();
    accept(&mut agent, START, tuple(1), &renominating(100));
    agent.restart(credentials(NEW));
    accept(&mut agent, START, tuple(2), &Check { credentials: NEW, ..renominating(1) });
    assert_eq!(agent.selected(), Some(tuple(2)));
}

#[test]
fn row_013_silence_of_thirty_seconds_disconnects() {
    let mut agent = agent();
    accept(&mut agent, START, tuple(1), &nominating());
    accept(&mut agent, START + SECOND * 10, tuple(1), &check());
    events(&mut agent);
    let end = START + SECOND * 40;
    assert_eq!(agent.next_timeout(), Some(end));
    agent.handle_timeout(Time::from_nanos(end.as_nanos() - 1));
    assert_eq!(agent.state(), IceState::Completed);
    agent.handle_timeout(end);
    assert_eq!(events(&mut agent), [IceEvent::TupleRemoved(tuple(1)), IceEvent::State(IceState::Disconnected)]);
    assert_eq!((agent.selected(), agent.next_timeout(), agent.tuples().count()), (None, None, 0));
}

#[test]
fn a_closed_connection_is_gone_at_once_and_may_come_again_with_the_same_credentials() {
    let mut agent = agent();
    accept(&mut agent, START, tuple(1), &nominating());
    accept(&mut agent, START + SECOND, tuple(2), &check());
    events(&mut agent);
    agent.remove_tuple(&tuple(9));
    assert!(events(&mut agent).is_empty(), "it was never there");
    agent.remove_tuple(&tuple(1));
    assert_eq!(events(&mut agent), [IceEvent::TupleRemoved(tuple(1)), IceEvent::Selected(tuple(2))]);
    agent.remove_tuple(&tuple(2));
    assert_eq!(events(&mut agent), [IceEvent::TupleRemoved(tuple(2)), IceEvent::State(IceState::Disconnected)]);
    assert_eq!(agent.next_timeout(), None);
    accept(&mut agent, START + SECOND * 2, tuple(1), &nominating());
    assert_eq!((agent.selected(), agent.state()), (Some(tuple(1)), IceState::Completed));
}

#[test]
fn row_013_unsigned_traffic_is_no_consent() {
    let mut agent = agent();
    accept(&mut agent, START, tuple(1), &nominating());
    let forged = Check { key: Some("wrong"), ..nominating() };
    for second in 1..30 {
        give(&mut agent, START + SECOND * second, tuple(1), &forged.bytes()).0.expect_err("forged");
    }
    agent.handle_timeout(START + SECOND * 30);
    assert_eq!(agent.state(), IceState::Disconnected);
}

#[test]
fn row_093_a_suspended_machine_does_not_take_its_own_absence_for_silence() {
    let leap = Duration::from_secs(3600);
    // By the timer, and by the peer's request, whichever is first after the leap.
    for by_request in [false, true] {
        let mut agent = agent();
        accept(&mut agent, START, tuple(1), &nominating());
        accept(&mut agent, START, tuple(2), &check());
        events(&mut agent);
        let now = START + leap;
        if !by_request {
            agent.handle_timeout(now);
        }
        accept(&mut agent, now, tuple(1), &check());
        assert_eq!((agent.state(), agent.selected()), (IceState::Completed, Some(tuple(1))));
        assert_eq!(events(&mut agent), [], "nothing has happened yet");
        // Who stays silent now is dropped, once, and soon.
        let end = now + STALL_GRACE;
        assert_eq!(agent.next_timeout(), Some(end));
        agent.handle_timeout(Time::from_nanos(end.as_nanos() - 1));
        assert!(agent.is_valid(&tuple(2)));
        agent.handle_timeout(end);
        assert_eq!(events(&mut agent), [IceEvent::TupleRemoved(tuple(2))]);
        // And consent goes on to be asked of the other.
        agent.handle_timeout(agent.next_timeout().expect("a deadline"));
        assert_eq!(agent.state(), IceState::Disconnected);
    }
}

#[test]
fn row_093_leap_after_leap_gives_no_consent_for_ever() {
    let mut agent = agent();
    accept(&mut agent, START, tuple(1), &nominating());
    let mut now = START;
    for _ in 0..2 {
        assert_eq!(agent.state(), IceState::Completed);
        now += Duration::from_secs(3600);
        agent.handle_timeout(now);
    }
    assert_eq!(agent.state(), IceState::Disconnected);
}

#[test]
fn an_expired_tuple_is_not_revived_by_the_same_credentials() {
    let mut agent = agent();
    accept(&mut agent, START, tuple(1), &nominating());
    let late = START + SECOND * 31;
    // Nobody has called the timeout: the request itself comes too late.
    let (verdict, reply) = give(&mut agent, late, tuple(1), &nominating().bytes());
    assert_eq!((verdict, reply.len()), (Err(DropReason::StunUnauthenticated), 0));
    assert_eq!(agent.state(), IceState::Disconnected);
    // Another address of the same peer may connect, and so may the old one after a restart.
    accept(&mut agent, late, tuple(2), &check());
    assert_eq!(agent.state(), IceState::Connected);
    agent.restart(credentials(NEW));
    accept(&mut agent, late, tuple(1), &Check { credentials: NEW, ..nominating() });
    assert_eq!((agent.state(), agent.selected()), (IceState::Completed, Some(tuple(1))));
}

#[test]
fn a_backup_tuple_that_was_silent_for_long_may_come_back() {
    let mut agent = agent();
    accept(&mut agent, START, tuple(1), &nominating());
    accept(&mut agent, START, tuple(2), &check());
    accept(&mut agent, START + SECOND * 20, tuple(1), &check());
    agent.handle_timeout(START + SECOND * 31);
    assert!(!agent.is_valid(&tuple(2)));
    accept(&mut agent, START + SECOND * 32, tuple(2), &check());
    assert_eq!((agent.state(), agent.selected()), (IceState::Completed, Some(tuple(1))));
}

#[test]
fn the_memory_of_expired_tuples_is_bounded_and_closes_when_full() {
    let mut agent = agent();
    let mut now = START;
    for port in 0..MAX_EXPIRED as u16 {
        accept(&mut agent, now, tuple(1000 + port), &check());
        now += SECOND * 31;
        agent.handle_timeout(now);
    }
    assert_eq!(give(&mut agent, now, tuple(7), &check().bytes()).0, Err(DropReason::StunUnauthenticated));
    agent.restart(credentials(NEW));
    accept(&mut agent, now, tuple(7), &Check { credentials: NEW, ..check() });
}

#[test]
fn when_the_selected_tuple_falls_silent_the_freshest_takes_over() {
    let mut agent = agent();
    accept(&mut agent, START, tuple(1), &nominating());
    accept(&mut agent, START + SECOND * 20, tuple(2), &check());
    accept(&mut agent, START + SECOND * 25, tuple(3), &check());
    events(&mut agent);
    agent.handle_timeout(START + SECOND * 30);
    assert_eq!(events(&mut agent), [IceEvent::TupleRemoved(tuple(1)), IceEvent::Selected(tuple(3))]);
}

#[test]
fn without_consent_timeout_nothing_expires() {
    let mut agent = IceAgent::new(START, credentials(OLD), IceConfig { consent_timeout: None });
    accept(&mut agent, START, tuple(1), &check());
    assert_eq!(agent.next_timeout(), None);
    agent.handle_timeout(Time::MAX);
    accept(&mut agent, START + SECOND * 10_000, tuple(1), &check());
}

#[test]
fn h30_bytes_out_never_exceed_bytes_in() {
    let (mut bytes_in, mut bytes_out, mut unsigned_out) = (0, 0, 0);
    for to in [tuple(1), tuple6(1)] {
        for check in [check(), nominating(), Check { controlled: true, ..check() }, renominating(1)] {
            let mut agent = agent();
            let bytes = check.bytes();
            bytes_in += bytes.len();
            bytes_out += give(&mut agent, START, to, &bytes).1.len();
            let unsigned = with_fingerprint(bytes[..bytes.len() - 32].to_vec());
            unsigned_out += give(&mut agent, START, to, &unsigned).1.len();
        }
        // The smallest request that can be signed: user name only.
        let mut buffer = [0u8; 200];
        let len = StunBuilder::new(&mut buffer, Class::Request, BINDING, b"transaction!")
            .username(b"oldufrag:x")
            .finish(Some((OLD.1.as_bytes(), hmac_sha1)))
            .expect("room");
        bytes_in += len;
        bytes_out += give(&mut agent(), START, to, &buffer[..len]).1.len();
    }
    assert!(bytes_out <= bytes_in && bytes_out > 0, "{bytes_out} out, {bytes_in} in");
    assert_eq!(unsigned_out, 0);
}

#[test]
fn a_reply_buffer_that_is_too_small_gives_no_reply() {
    let mut agent = agent();
    let bytes = check().bytes();
    let message = StunMessage::parse(&bytes).expect("well-formed");
    let input = agent.handle_binding(START, tuple(1), &message, &mut [0; 10]);
    assert_eq!(input, IceInput { reply_len: 0, verdict: Ok(()) });
}

#[test]
fn generated_credentials_are_long_legal_and_different() {
    struct Counting(Random);
    impl RngCore for Counting {
        fn next_u32(&mut self) -> u32 {
            self.0.next() as u32
        }
        fn next_u64(&mut self) -> u64 {
            self.0.next()
        }
        fn fill_bytes(&mut self, bytes: &mut [u8]) {
            bytes.iter_mut().for_each(|byte| *byte = self.0.next() as u8);
        }
    }
    let mut random = Counting(Random::new(1));
    let (a, b) = (IceCredentials::generate(&mut random), IceCredentials::generate(&mut random));
    assert_ne!(a, b);
    assert_eq!((a.username_fragment.len(), a.password.len()), (UFRAG_LEN, PASSWORD_LEN));
    assert!(a.password.bytes().all(|byte| ICE_CHARS.contains(&byte)));
    assert!(!format!("{a:?}").contains(&a.password));
}

#[test]
fn h31_unknown_users_are_refused_for_the_same_reasons_as_known_ones() {
    let mut broken = nominating().bytes();
    *broken.last_mut().expect("bytes") ^= 1;
    for bytes in [Check { key: Some("wrong"), ..nominating() }.bytes(), broken] {
        let message = StunMessage::parse(&bytes).expect("well-formed");
        let stranger = IceAgent::new(START, IceCredentials::new("another", "secret"), IceConfig::default());
        let known = agent().authenticate(&message);
        assert!(known.is_err());
        assert_eq!(stranger.authenticate(&message), known);
    }
}
