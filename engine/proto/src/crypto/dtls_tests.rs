//! Sessions in pairs over a lossy link in virtual time, and handshakes that end well.

use std::cell::RefCell;

use openssl::error::ErrorStack;
use openssl::ssl::{ExtensionContext, SslContextBuilder};

use super::super::budget::HANDSHAKE;
use super::super::budget::tests::{fragment, record};
use super::super::certificate::Certificate;
use super::super::context::DEFAULT_MTU;
use super::*;
use crate::testing::Random;

pub(super) const START: Time = Time::from_millis(1_000);
pub(super) const MTU: usize = DEFAULT_MTU;

thread_local! {
    // One certificate is enough for most tests, and keys take time to make.
    static CERTIFICATE: RefCell<Option<Certificate>> = const { RefCell::new(None) };
}

pub(super) fn certificate() -> Certificate {
    CERTIFICATE
        .with(|slot| slot.borrow_mut().get_or_insert_with(|| Certificate::generate().expect("certificate")).clone())
}

pub(super) fn context(profiles: &[SrtpProfile]) -> DtlsContext {
    DtlsContext::new(&certificate(), profiles, MTU).expect("context")
}

/// A context that obeys nothing but `last_word`.
pub(super) fn odd_context(last_word: impl FnOnce(&mut SslContextBuilder) -> Result<(), ErrorStack>) -> DtlsContext {
    DtlsContext::customised(&certificate(), &SrtpProfile::ALL, MTU, last_word).expect("context")
}

pub(super) fn session(context: &DtlsContext, role: DtlsRole) -> DtlsSession {
    let mut session = DtlsSession::new(context, role, START).expect("session");
    session.set_remote_fingerprints(certificate().fingerprints());
    session
}

/// One datagram under way.
pub(super) struct Flying {
    arrives: Time,
    to_server: bool,
    bytes: Vec<u8>,
}

/// Two sessions and what is between them, in virtual time.
pub(super) struct Link {
    pub(super) now: Time,
    pub(super) client: DtlsSession,
    pub(super) server: DtlsSession,
    pub(super) delay: Duration,
    pub(super) flying: Vec<Flying>,
    pub(super) sent: usize,
    pub(super) largest: usize,
    pub(super) steps: usize,
}

impl Link {
    pub(super) fn new(client: DtlsSession, server: DtlsSession) -> Self {
        Self {
            now: START,
            client,
            server,
            delay: Duration::from_millis(20),
            flying: Vec::new(),
            sent: 0,
            largest: 0,
            steps: 0,
        }
    }

    pub(super) fn pair(context: &DtlsContext) -> Self {
        Self::new(session(context, DtlsRole::Client), session(context, DtlsRole::Server))
    }

    /// Takes what both want to send; `hop` sees bursts (all that one side sends at one instant) and says
    /// what becomes of them.
    pub(super) fn collect(&mut self, hop: &mut dyn FnMut(bool, Vec<Vec<u8>>) -> Vec<Vec<u8>>) {
        for to_server in [true, false] {
            let sender = if to_server { &mut self.client } else { &mut self.server };
            let mut burst = Vec::new();
            let mut buffer = [0u8; 1500];
            while let Some(len) = sender.poll_transmit(&mut buffer) {
                self.sent += 1;
                self.largest = self.largest.max(len);
                burst.push(buffer[..len].to_vec());
            }
            if burst.is_empty() {
                continue;
            }
            for bytes in hop(to_server, burst) {
                self.flying.push(Flying { arrives: self.now + self.delay, to_server, bytes });
            }
        }
    }

    /// Runs until nothing is left to do, or `until`.
    pub(super) fn run(&mut self, until: Time, hop: &mut dyn FnMut(bool, Vec<Vec<u8>>) -> Vec<Vec<u8>>) {
        loop {
            self.steps += 1;
            assert!(self.steps < 100_000, "time stands still");
            self.collect(hop);
            let arrival = self.flying.iter().map(|flying| flying.arrives).min();
            let deadlines = [arrival, self.client.next_timeout(), self.server.next_timeout()];
            let Some(next) = deadlines.into_iter().flatten().min().filter(|next| *next <= until) else {
                return;
            };
            self.now = self.now.max(next);
            let (due, rest): (Vec<_>, Vec<_>) = self.flying.drain(..).partition(|flying| flying.arrives <= self.now);
            self.flying = rest;
            for flying in due {
                let receiver = if flying.to_server { &mut self.server } else { &mut self.client };
                let _ = receiver.handle_datagram(self.now, &flying.bytes);
            }
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
        }
    }

    pub(super) fn run_clean(&mut self) {
        self.run(self.now + Duration::from_secs(60), &mut |_, burst| burst);
    }

    /// Both connected; their keys, client's first.
    pub(super) fn keys(&mut self) -> (SrtpKeys, SrtpKeys) {
        let keys = |session: &mut DtlsSession| match session.poll_event() {
            Some(DtlsEvent::Connected(keys)) => keys,
            other => panic!("{:?} told {other:?}", session.role),
        };
        (keys(&mut self.client), keys(&mut self.server))
    }

    pub(super) fn assert_connected(&mut self) {
        let (client, server) = self.keys();
        assert_eq!((&client.local, &client.remote), (&server.remote, &server.local));
        assert_ne!(client.local, client.remote);
    }

    /// Both can still talk.
    pub(super) fn assert_alive(&mut self) {
        for (text, from_client) in [(b"ping", true), (b"pong", false)] {
            let (from, to) =
                if from_client { (&mut self.client, &mut self.server) } else { (&mut self.server, &mut self.client) };
            from.send(text).expect("send");
            let mut buffer = [0u8; 1500];
            while let Some(len) = from.poll_transmit(&mut buffer) {
                let _ = to.handle_datagram(self.now, &buffer[..len]);
            }
            assert_eq!(to.poll_event(), Some(DtlsEvent::ApplicationData(text.to_vec())));
        }
    }
}

/// A pair that has connected and whose events are read.
pub(super) fn connected() -> Link {
    let mut link = Link::pair(&context(&SrtpProfile::ALL));
    link.run_clean();
    link.assert_connected();
    link
}

pub(super) fn failure(session: &mut DtlsSession) -> String {
    match session.poll_event() {
        Some(DtlsEvent::Failed(why)) => {
            assert_eq!(session.state(), DtlsState::Failed);
            why
        }
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[test]
fn both_sides_agree_on_keys_for_every_profile() {
    for profile in SrtpProfile::ALL {
        let mut link = Link::pair(&context(&[profile]));
        link.run_clean();
        let (client, server) = link.keys();
        assert_eq!((client.profile, server.profile), (profile, profile));
        assert_eq!((&client.local, &client.remote), (&server.remote, &server.local));
        assert_eq!(client.local.as_bytes().len(), profile.key_len() + profile.salt_len());
        link.assert_alive();
    }
}

#[test]
fn the_servers_order_of_profiles_wins() {
    let mut reversed = SrtpProfile::ALL;
    reversed.reverse();
    for order in [SrtpProfile::ALL, reversed] {
        let mut other = order;
        other.reverse();
        let client = session(&context(&other), DtlsRole::Client);
        let server = session(&context(&order), DtlsRole::Server);
        let mut link = Link::new(client, server);
        link.run_clean();
        assert_eq!(link.keys().0.profile, order[0]);
    }
}

#[test]
fn two_sessions_have_different_keys() {
    let context = context(&SrtpProfile::ALL);
    let (mut a, mut b) = (Link::pair(&context), Link::pair(&context));
    a.run_clean();
    b.run_clean();
    assert_ne!(a.keys().0.local, b.keys().0.local);
}

/// Which flight a burst belongs to: 1 and 3 are the client's, 2 and 4 the server's.
pub(super) fn flight_of(to_server: bool, burst: &[Vec<u8>]) -> usize {
    let (first, _) = Record::split_first(&burst[0]).expect("record");
    let first_message = first.content()[0];
    match to_server {
        true if first.epoch == 0 && first.content_type == HANDSHAKE && first_message == 1 => 1,
        true => 3,
        false if first.epoch == 0 && first.content_type == HANDSHAKE => 2,
        false => 4,
    }
}

#[test]
fn row_021_every_flight_may_be_lost_five_times_at_a_round_trip_of_three_seconds() {
    let context = context(&SrtpProfile::ALL);
    for lost_flight in 1..=4 {
        for losses in 1..=5 {
            let mut link = Link::pair(&context);
            link.delay = Duration::from_millis(1500);
            let mut left = losses;
            let mut bursts = 0;
            link.run(START + HANDSHAKE_TIME * 2, &mut |to_server, burst| {
                bursts += 1;
                if flight_of(to_server, &burst) == lost_flight && left > 0 {
                    left -= 1;
                    return Vec::new();
                }
                burst
            });
            assert_eq!(left, 0, "flight {lost_flight} was sent again often enough");
            link.assert_connected();
            assert!(bursts < 60, "flight {lost_flight} lost {losses} times: {bursts} bursts are a storm");
            link.assert_alive();
        }
    }
}

#[test]
fn waits_double_and_depend_on_nothing_but_the_callers_time() {
    let mut client = session(&context(&SrtpProfile::ALL), DtlsRole::Client);
    let mut buffer = [0u8; 1500];
    while client.poll_transmit(&mut buffer).is_some() {}
    let mut expected = FIRST_RETRANSMIT;
    let mut now = START;
    for _ in 0..8 {
        let at = client.next_timeout().expect("a flight is outstanding");
        assert_eq!(at.saturating_since(now), expected);
        client.handle_timeout(Time::from_nanos(at.as_nanos() - 1));
        assert_eq!(client.poll_transmit(&mut buffer), None, "too early");
        now = at;
        client.handle_timeout(now);
        assert!(client.poll_transmit(&mut buffer).is_some(), "in time");
        assert_eq!(client.poll_transmit(&mut buffer), None, "once");
        expected *= 2;
    }
}

#[test]
fn a_lossy_link_connects_in_every_run() {
    let context = context(&SrtpProfile::ALL);
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let mut link = Link::pair(&context);
        link.run(START + HANDSHAKE_TIME, &mut |_, mut burst| {
            burst.retain(|_| random.below(10) >= 3);
            if !burst.is_empty() && random.below(3) == 0 {
                let again = random.below(burst.len());
                burst.push(burst[again].clone());
            }
            random.shuffle(&mut burst);
            burst
        });
        let (client, server) = link.keys();
        assert_eq!(client.local, server.remote, "seed {seed}");
    }
}

#[test]
fn h10_a_client_hello_in_any_number_of_fragments_in_any_order_works() {
    for mtu in [256, 320, 576, 1200] {
        for seed in 0..12 {
            // As large as a post-quantum key share.
            let hybrid = DtlsContext::customised(&certificate(), &SrtpProfile::ALL, mtu, |builder| {
                builder.add_custom_ext(
                    0x6a6a,
                    ExtensionContext::CLIENT_HELLO,
                    |_, _, _| Ok(Some(vec![0x5a; 1216])),
                    |_, _, _: &[u8], _| Ok(()),
                )
            })
            .expect("context");
            let mut random = Random::new(seed);
            let server = session(&context(&SrtpProfile::ALL), DtlsRole::Server);
            let mut link = Link::new(session(&hybrid, DtlsRole::Client), server);
            let mut hello_fragments = 0;
            link.run(START + HANDSHAKE_TIME, &mut |to_server, mut burst| {
                if to_server && hello_fragments == 0 {
                    hello_fragments = burst.len();
                }
                let copies: Vec<_> = burst.iter().filter(|_| random.below(3) == 0).cloned().collect();
                burst.extend(copies);
                random.shuffle(&mut burst);
                burst
            });
            assert!(hello_fragments >= 2, "mtu {mtu}: {hello_fragments}");
            link.assert_connected();
        }
    }
}

/// A ClientHello in `size`-byte fragments, record numbers from `first`.
fn refragmented(hello: &[u8], size: usize, first: u64) -> Vec<Vec<u8>> {
    let (record_, _) = Record::split_first(hello).expect("record");
    let body = &record_.content()[12..];
    let length = body.len() as u32;
    body.chunks(size)
        .enumerate()
        .map(|(at, chunk)| record(HANDSHAKE, 0, first + at as u64, &fragment(1, length, 0, (at * size) as u32, chunk)))
        .collect()
}

#[test]
fn h10_a_flight_sent_again_with_other_boundaries_completes_the_message() {
    let context = context(&SrtpProfile::ALL);
    for (size, other) in [(40, 61), (30, 100), (25, 26)] {
        let mut client = session(&context, DtlsRole::Client);
        let mut server = session(&context, DtlsRole::Server);
        let mut buffer = [0u8; 1500];
        let len = client.poll_transmit(&mut buffer).expect("hello");
        let mut first = refragmented(&buffer[..len], size, 0);
        first.pop();
        first.reverse();
        let mut again = refragmented(&buffer[..len], other, 100);
        again.reverse();
        for datagram in first {
            server.handle_datagram(START, &datagram).expect("fragment");
        }
        assert_eq!(server.poll_transmit(&mut buffer), None, "the last fragment is missing");
        for datagram in again {
            let _ = server.handle_datagram(START, &datagram);
        }
        assert!(server.poll_transmit(&mut buffer).is_some(), "{size} then {other}");
    }
}

#[test]
fn h11_the_largest_handshake_datagram_fills_the_path_but_not_more() {
    let rsa = Certificate::generate_rsa(4096).expect("certificate");
    for certificate in [certificate(), rsa] {
        let context = DtlsContext::new(&certificate, &SrtpProfile::ALL, MTU).expect("context");
        let mut link = Link::pair(&context);
        link.client.set_remote_fingerprints(certificate.fingerprints());
        link.server.set_remote_fingerprints(certificate.fingerprints());
        link.run_clean();
        link.assert_connected();
        assert!(link.largest <= 1200, "{}", link.largest);
        if certificate.der().len() > 1000 {
            assert!(link.largest >= 900, "{}", link.largest);
        }
    }
}

#[test]
fn row_103_a_path_that_loses_long_datagrams_without_a_word_is_got_through_by_shorter_ones() {
    // Its certificate fills several datagrams.
    let rsa = Certificate::generate_rsa(4096).expect("certificate");
    let context = DtlsContext::new(&rsa, &SrtpProfile::ALL, MTU).expect("context");
    for hole in [1_200, 1_000, 576] {
        let mut link = Link::pair(&context);
        link.client.set_remote_fingerprints(rsa.fingerprints());
        link.server.set_remote_fingerprints(rsa.fingerprints());
        let mut lost = 0;
        link.run(START + HANDSHAKE_TIME, &mut |_, mut burst| {
            let all = burst.len();
            burst.retain(|datagram| datagram.len() <= hole);
            lost += all - burst.len();
            burst
        });
        link.assert_connected();
        assert_eq!(lost == 0, hole >= 1_200, "{lost} lost of those longer than {hole}");
        assert!(link.now <= START + Duration::from_secs(5), "{hole}: {:?}", link.now);
    }
}
