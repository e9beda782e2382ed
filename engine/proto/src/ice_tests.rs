//! Connectivity checks: which are believed, what they change, what is answered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sfu_wire::net::SocketId;

use super::*;

pub(super) const START: Time = Time::from_millis(5_000);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const OLD: (&str, &str) = ("oldufrag", "old password of some length");
pub(super) const NEW: (&str, &str) = ("newufrag", "new password of some length");

pub(super) fn credentials((ufrag, password): (&str, &str)) -> IceCredentials {
    IceCredentials::new(ufrag, password)
}

pub(super) fn agent() -> IceAgent {
    IceAgent::new(START, credentials(OLD), IceConfig::default())
}

pub(super) fn tuple(port: u16) -> Tuple {
    Tuple::new(SocketId(1), SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), port))
}

pub(super) fn tuple6(port: u16) -> Tuple {
    Tuple::new(SocketId(1), SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port))
}

/// What a test changes in a good request.
pub(super) struct Check {
    pub(super) credentials: (&'static str, &'static str),
    pub(super) username: Option<Vec<u8>>,
    pub(super) key: Option<&'static str>,
    pub(super) class: Class,
    pub(super) method: u16,
    pub(super) nominate: bool,
    pub(super) nomination: Option<u32>,
    pub(super) controlled: bool,
    pub(super) extra: Vec<(u16, Vec<u8>)>,
}

pub(super) fn check() -> Check {
    Check {
        credentials: OLD,
        username: None,
        key: None,
        class: Class::Request,
        method: BINDING,
        nominate: false,
        nomination: None,
        controlled: false,
        extra: Vec::new(),
    }
}

pub(super) fn nominating() -> Check {
    Check { nominate: true, ..check() }
}

pub(super) fn renominating(value: u32) -> Check {
    Check { nomination: Some(value), ..check() }
}

impl Check {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut buffer = [0u8; 1500];
        let (ufrag, password) = self.credentials;
        let username = self.username.clone().unwrap_or_else(|| format!("{ufrag}:peer").into_bytes());
        let mut builder =
            StunBuilder::new(&mut buffer, self.class, self.method, b"transaction!").username(&username).priority(1234);
        builder = if self.controlled { builder.ice_controlled(99) } else { builder.ice_controlling(99) };
        if self.nominate {
            builder = builder.use_candidate();
        }
        if let Some(value) = self.nomination {
            builder = builder.nomination(value);
        }
        for (kind, value) in &self.extra {
            builder = builder.attribute(*kind, value);
        }
        let key = self.key.unwrap_or(password).as_bytes();
        let len = builder.finish(Some((key, hmac_sha1))).expect("room");
        buffer[..len].to_vec()
    }
}

pub(super) fn give(agent: &mut IceAgent, now: Time, tuple: Tuple, bytes: &[u8]) -> (Result<(), DropReason>, Vec<u8>) {
    let mut reply = [0u8; MAX_REPLY];
    let message = StunMessage::parse(bytes).expect("well-formed");
    let input = agent.handle_binding(now, tuple, &message, &mut reply);
    assert!(input.reply_len <= bytes.len(), "a reply larger than its request amplifies");
    (input.verdict, reply[..input.reply_len].to_vec())
}

pub(super) fn accept(agent: &mut IceAgent, now: Time, tuple: Tuple, check: &Check) {
    let (verdict, reply) = give(agent, now, tuple, &check.bytes());
    assert_eq!(verdict, Ok(()));
    let reply = StunMessage::parse(&reply).expect("reply");
    assert_eq!(reply.class(), Class::Success);
    assert_eq!(reply.transaction_id(), b"transaction!");
    assert_eq!(reply.xor_mapped_address(), Some(tuple.remote));
    assert!(reply.has_valid_fingerprint());
    assert!(reply.check_integrity(check.credentials.1.as_bytes(), hmac_sha1));
}

pub(super) fn refuse(agent: &mut IceAgent, now: Time, tuple: Tuple, bytes: &[u8], reason: DropReason) {
    let before = format!("{agent:?}");
    assert_eq!(give(agent, now, tuple, bytes), (Err(reason), Vec::new()));
    assert_eq!(format!("{agent:?}"), before, "a refused request changes nothing");
}

pub(super) fn events(agent: &mut IceAgent) -> Vec<IceEvent> {
    std::iter::from_fn(|| agent.poll_event()).collect()
}

#[test]
fn a_first_check_connects_and_a_nomination_completes() {
    let mut agent = agent();
    assert_eq!((agent.state(), agent.selected(), agent.next_timeout()), (IceState::New, None, None));
    accept(&mut agent, START, tuple(1), &check());
    assert_eq!(events(&mut agent), [IceEvent::Selected(tuple(1)), IceEvent::State(IceState::Connected)]);
    accept(&mut agent, START, tuple6(2), &nominating());
    assert_eq!(events(&mut agent), [IceEvent::Selected(tuple6(2)), IceEvent::State(IceState::Completed)]);
    accept(&mut agent, START, tuple6(2), &nominating());
    assert_eq!(events(&mut agent), []);
    assert!(agent.is_valid(&tuple(1)) && agent.is_valid(&tuple6(2)) && !agent.is_valid(&tuple(3)));
    assert_eq!(agent.tuples().count(), 2);
}

#[test]
fn row_004_integrity_and_fingerprint_decide() {
    let mut agent = agent();
    let good = check().bytes();
    // MESSAGE-INTEGRITY takes the 24 bytes before the 8 of FINGERPRINT.
    let mac_at = good.len() - 8 - 20;
    for at in [mac_at, mac_at + 19] {
        let mut forged = good[..good.len() - 8].to_vec();
        forged[at] ^= 1;
        let forged = with_fingerprint(forged);
        refuse(&mut agent, START, tuple(1), &forged, DropReason::StunUnauthenticated);
    }
    let unsigned = with_fingerprint(good[..mac_at - 4].to_vec());
    refuse(&mut agent, START, tuple(1), &unsigned, DropReason::StunUnauthenticated);
    let mut wrong = good.clone();
    *wrong.last_mut().expect("bytes") ^= 1;
    refuse(&mut agent, START, tuple(1), &wrong, DropReason::StunFingerprint);
    let mut missing = good[..good.len() - 8].to_vec();
    let len = (missing.len() - 20) as u16;
    missing[2..4].copy_from_slice(&len.to_be_bytes());
    refuse(&mut agent, START, tuple(1), &missing, DropReason::StunFingerprint);
    // What follows MESSAGE-INTEGRITY is not signed and does not count: here a USE-CANDIDATE.
    let mut appended = good[..good.len() - 8].to_vec();
    appended.extend([0x00, 0x25, 0, 0]);
    let (verdict, reply) = give(&mut agent, START, tuple(1), &with_fingerprint(appended));
    assert_eq!((verdict, reply.is_empty()), (Ok(()), false));
    assert_eq!(agent.state(), IceState::Connected);
}

/// Adds FINGERPRINT to a message whose attributes end here, by way of the builder's arithmetic.
pub(super) fn with_fingerprint(message: Vec<u8>) -> Vec<u8> {
    let mut buffer = [0u8; 1500];
    let id: [u8; 12] = message[8..20].try_into().expect("id");
    let mut builder = StunBuilder::new(&mut buffer, Class::Request, BINDING, &id);
    let mut rest = &message[20..];
    while let [k0, k1, l0, l1, after @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*l0, *l1]));
        builder = builder.attribute(u16::from_be_bytes([*k0, *k1]), &after[..len]);
        rest = &after[len.next_multiple_of(4)..];
    }
    let len = builder.finish(None).expect("room");
    buffer[..len].to_vec()
}

#[test]
fn h31_row_005_unknown_user_and_wrong_key_look_alike() {
    let mut agent = agent();
    let strangers = [
        Check { username: Some(b"nobody:peer".to_vec()), ..check() },
        Check { key: Some("a wrong password"), ..check() },
        Check { username: Some(b"oldufrag".to_vec()), ..check() },
        Check { username: Some(b":oldufrag".to_vec()), ..check() },
        Check { username: Some(b"peer:oldufrag".to_vec()), ..check() },
        Check { username: Some(b"oldufra:x".to_vec()), ..check() },
        Check { username: Some(b"oldufragx:x".to_vec()), ..check() },
        Check { username: Some(b"OLDUFRAG:x".to_vec()), ..check() },
        Check { username: Some(vec![0xff, 0xfe, b':', 0x80]), ..check() },
        Check { username: Some(vec![b'a'; 508]), ..check() },
        Check { username: Some(Vec::new()), ..check() },
    ];
    for stranger in &strangers {
        refuse(&mut agent, START, tuple(1), &stranger.bytes(), DropReason::StunUnauthenticated);
    }
    assert!(agent.knows_username(b"oldufrag:anything") && !agent.knows_username(b"nobody:peer"));
}

#[test]
fn row_006_unknown_required_attributes_are_listed_and_optional_ones_ignored() {
    let mut agent = agent();
    let strange = Check { extra: vec![(0x7001, vec![1, 2, 3]), (0x7002, vec![])], ..nominating() };
    let (verdict, reply) = give(&mut agent, START, tuple(1), &strange.bytes());
    assert_eq!(verdict, Err(DropReason::StunUnexpected));
    let reply = StunMessage::parse(&reply).expect("reply");
    assert_eq!((reply.class(), reply.error_code()), (Class::Error, Some(420)));
    assert_eq!(reply.unknown_attributes().collect::<Vec<_>>(), [0x7001, 0x7002]);
    assert!(reply.check_integrity(OLD.1.as_bytes(), hmac_sha1));
    assert_eq!((agent.state(), agent.selected()), (IceState::New, None));
    let many = Check { extra: (0..24).map(|n| (0x7100 + n, Vec::new())).collect(), ..check() };
    assert_eq!(give(&mut agent, START, tuple(1), &many.bytes()).0, Err(DropReason::StunUnexpected));
    let optional = Check { extra: vec![(0xf001, vec![0; 40])], ..check() };
    accept(&mut agent, START, tuple(1), &optional);
}

#[test]
fn row_007_indications_responses_and_other_methods_are_dropped() {
    let mut agent = agent();
    for class in [Class::Indication, Class::Success, Class::Error] {
        let bytes = Check { class, ..check() }.bytes();
        refuse(&mut agent, START, tuple(1), &bytes, DropReason::StunUnexpected);
    }
    for method in [0, 3, 4, 8, 9, 0xfff] {
        let bytes = Check { method, ..check() }.bytes();
        refuse(&mut agent, START, tuple(1), &bytes, DropReason::StunUnexpected);
    }
}

#[test]
fn row_008_ten_thousand_ports_leave_eight_tuples_and_the_selected_one() {
    let mut agent = agent();
    accept(&mut agent, START, tuple(60_000), &nominating());
    events(&mut agent);
    let mut refused = 0;
    for port in 1..10_000u16 {
        let now = START + Duration::from_micros(u64::from(port) * 100);
        let (verdict, _) = give(&mut agent, now, tuple(port), &check().bytes());
        refused += usize::from(verdict == Err(DropReason::IceTupleLimit));
        assert!(agent.tuples().count() <= MAX_TUPLES);
    }
    assert_eq!(refused, 10_000 - MAX_TUPLES);
    assert_eq!(agent.selected(), Some(tuple(60_000)));
    assert_eq!(events(&mut agent), []);
    // A peer that wanders gets in again once old tuples are silent.
    let later = START + STALE_TUPLE * 2;
    accept(&mut agent, later, tuple(60_000), &check());
    accept(&mut agent, later, tuple(20_000), &nominating());
    assert_eq!(agent.selected(), Some(tuple(20_000)));
    assert!(matches!(events(&mut agent)[..], [IceEvent::TupleRemoved(_), IceEvent::Selected(_)]));
}

#[test]
fn row_009_the_last_nomination_wins_and_older_values_do_not() {
    let mut agent = agent();
    for round in 0..1000u16 {
        accept(&mut agent, START, tuple(1 + round % 2), &nominating());
        assert_eq!(agent.selected(), Some(tuple(1 + round % 2)));
    }
    let told = events(&mut agent);
    assert!(told.len() <= 4, "flapping is told once: {told:?}");
    assert_eq!(told.iter().filter(|event| matches!(event, IceEvent::Selected(_))).count(), 1);
    assert_eq!(told.iter().filter(|event| matches!(event, IceEvent::State(_))).count(), 2);

    accept(&mut agent, START, tuple(1), &renominating(5));
    accept(&mut agent, START, tuple(2), &renominating(4));
    assert_eq!(agent.selected(), Some(tuple(1)), "overtaken");
    accept(&mut agent, START, tuple(2), &renominating(5));
    assert_eq!(agent.selected(), Some(tuple(1)), "ambiguous");
    accept(&mut agent, START, tuple(2), &renominating(6));
    assert_eq!(agent.selected(), Some(tuple(2)));
    accept(&mut agent, START, tuple(2), &renominating(u32::MAX));
    accept(&mut agent, START, tuple(1), &renominating(0));
    assert_eq!(agent.selected(), Some(tuple(2)));
}

#[test]
fn row_010_a_controlled_peer_is_told_to_switch() {
    let mut agent = agent();
    let conflict = Check { controlled: true, ..nominating() };
    let (verdict, reply) = give(&mut agent, START, tuple(1), &conflict.bytes());
    assert_eq!(verdict, Err(DropReason::StunUnexpected));
    let reply = StunMessage::parse(&reply).expect("reply");
    assert_eq!((reply.class(), reply.error_code()), (Class::Error, Some(487)));
    assert!(reply.check_integrity(OLD.1.as_bytes(), hmac_sha1) && reply.has_valid_fingerprint());
    assert_eq!((agent.state(), agent.tuples().count(), events(&mut agent)), (IceState::New, 0, vec![]));
}
