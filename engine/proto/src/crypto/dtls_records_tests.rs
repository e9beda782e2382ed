//! Sessions after their handshake: the library goes, and nobody notices.

use super::super::budget::HANDSHAKE;
use super::super::context::CIPHERS;
use super::super::pipe::MAX_OUTGOING;
use super::connected::FATAL;
use super::tests::*;
use super::*;

/// A client without fingerprints, so that it keeps the library, and a server that is connected to it. With fingerprints
/// and a proof that proves nothing, the client goes on with the library.
fn mixed(cipher: &str) -> Link {
    let only = odd_context(|builder| builder.set_cipher_list(cipher));
    let client = DtlsSession::new(&only, DtlsRole::Client, START).expect("session");
    let mut link = Link::new(client, session(&only, DtlsRole::Server));
    link.run_clean();
    assert_eq!(link.client.state(), DtlsState::Unverified);
    *link.client.proof.last_mut().expect("the server's Finished") ^= 1;
    link.client.set_remote_fingerprints(certificate().fingerprints());
    link.assert_connected();
    assert!(link.client.stream.is_some() && link.server.stream.is_none(), "{cipher}");
    link
}

fn suites() -> impl Iterator<Item = &'static str> {
    CIPHERS.split(':').filter(|cipher| cipher.contains("ECDSA"))
}

/// Hands over what one side has to say, and tells how many datagrams that were.
fn carry(now: Time, from: &mut DtlsSession, to: &mut DtlsSession) -> usize {
    let (mut buffer, mut count) = ([0; 1_500], 0);
    while let Some(len) = from.poll_transmit(&mut buffer) {
        let _ = to.handle_datagram(now, &buffer[..len]);
        count += 1;
    }
    count
}

#[test]
fn the_library_goes_with_the_handshake_whatever_the_suite_and_the_role() {
    for cipher in suites() {
        let only = odd_context(|builder| builder.set_cipher_list(cipher));
        let mut link = Link::pair(&only);
        link.run_clean();
        link.assert_connected();
        assert!(link.client.stream.is_none() && link.server.stream.is_none(), "{cipher}");
        link.assert_alive();
        link.assert_alive();
    }
}

#[test]
fn the_library_goes_when_the_fingerprint_comes_late() {
    let context = context(&SrtpProfile::ALL);
    let client = session(&context, DtlsRole::Client);
    let mut link = Link::new(client, DtlsSession::new(&context, DtlsRole::Server, START).expect("session"));
    link.run_clean();
    assert!(link.server.stream.is_some(), "nobody is identified yet");
    link.server.set_remote_fingerprints(certificate().fingerprints());
    link.assert_connected();
    assert!(link.server.stream.is_none());
    link.assert_alive();
}

#[test]
fn keys_that_prove_nothing_leave_the_library_in_its_place_and_it_understands_us() {
    for cipher in suites() {
        let mut link = mixed(cipher);
        for _ in 0..100 {
            link.assert_alive();
        }
        link.server.close(link.now);
        assert_eq!(carry(link.now, &mut link.server, &mut link.client), 1);
        assert_eq!(link.client.poll_event(), Some(DtlsEvent::Closed), "{cipher}");
        let mut link = mixed(cipher);
        link.client.close(link.now);
        assert_eq!(carry(link.now, &mut link.client, &mut link.server), 1);
        assert_eq!(link.server.poll_event(), Some(DtlsEvent::Closed), "{cipher}");
        assert_eq!(carry(link.now, &mut link.server, &mut link.client), 1, "its own close_notify");
    }
}

/// RFC 6347, section 4.2.4: only to an authentic repetition, and to each once.
#[test]
fn a_client_that_missed_the_last_flight_is_sent_it_again_and_nobody_else_is() {
    let mut link = Link::pair(&context(&SrtpProfile::ALL));
    let mut lost = Vec::new();
    let until = link.now + Duration::from_millis(400);
    link.run(until, &mut |to_server, burst| {
        if flight_of(to_server, &burst) == 4 {
            lost.extend(burst);
            return Vec::new();
        }
        burst
    });
    assert_eq!((link.server.state(), link.client.state()), (DtlsState::Connected, DtlsState::Handshaking));
    assert!(link.server.stream.is_none());
    assert!(lost.len() >= 2 && lost.iter().all(|datagram| *datagram == lost[0]), "the same bytes each time");
    let mut buffer = [0; 1_500];
    assert_eq!(link.server.poll_transmit(&mut buffer), None);
    let mut forged = super::super::budget::tests::record(HANDSHAKE, 1, 9, &[20; 40]);
    assert_eq!(link.server.handle_datagram(link.now, &forged), Err(DropReason::Dtls));
    forged[12] = 0;
    let _ = link.server.handle_datagram(link.now, &forged);
    assert_eq!(link.server.poll_transmit(&mut buffer), None);
    let mut repeated = Vec::new();
    link.run(link.now + Duration::from_secs(5), &mut |to_server, burst| {
        if to_server {
            repeated.extend(burst.iter().cloned());
        }
        burst
    });
    link.assert_connected();
    link.assert_alive();
    for datagram in &repeated {
        let _ = link.server.handle_datagram(link.now, datagram);
    }
    assert_eq!(link.server.poll_transmit(&mut buffer), None, "a replay is answered by nothing");
}

/// The server asks a client of ours to negotiate anew.
#[test]
fn row_019_a_request_to_negotiate_anew_is_refused_and_the_session_lives() {
    let eager = odd_context(|builder| {
        builder.clear_options(openssl::ssl::SslOptions::NO_RENEGOTIATION);
        Ok(())
    });
    let client = session(&context(&SrtpProfile::ALL), DtlsRole::Client);
    let mut link = Link::new(client, DtlsSession::new(&eager, DtlsRole::Server, START).expect("session"));
    link.run_clean();
    assert!(link.client.stream.is_none());
    let stream = link.server.stream.as_mut().expect("not identified");
    assert!(ffi::renegotiate(stream.ssl()));
    let _ = stream.do_handshake();
    assert!(carry(link.now, &mut link.server, &mut link.client) > 0, "a HelloRequest");
    let mut buffer = [0; 1_500];
    let len = link.client.poll_transmit(&mut buffer).expect("an alert");
    assert_eq!((buffer[0], buffer[4]), (ALERT, 1));
    assert!(len < 100 && link.client.poll_transmit(&mut buffer).is_none());
    assert!(matches!(link.client.poll_event(), Some(DtlsEvent::Connected(_))));
    assert_eq!(link.client.poll_event(), None);
    assert_eq!(link.client.state(), DtlsState::Connected);
}

#[test]
fn a_fatal_alert_of_the_peer_ends_the_session() {
    let mut link = connected();
    link.client.send_record(ALERT, &[FATAL, 40]).expect("room");
    carry(link.now, &mut link.client, &mut link.server);
    assert!(failure(&mut link.server).contains("40"));
    let mut link = connected();
    for content in [&[1, 90][..], &[], &[2], &[2, 40, 0]] {
        link.client.send_record(ALERT, content).expect("room");
    }
    carry(link.now, &mut link.client, &mut link.server);
    assert_eq!(link.server.poll_event(), None, "warnings, and what is no alert");
    link.assert_alive();
}

#[test]
fn what_is_not_polled_is_bounded() {
    let mut link = connected();
    let sent = (0..1_000).filter(|_| link.client.send(b"x").is_ok()).count();
    assert_eq!(sent, MAX_OUTGOING);
    assert_eq!(carry(link.now, &mut link.client, &mut link.server), MAX_OUTGOING);
    assert_eq!(std::iter::from_fn(|| link.server.poll_event()).count(), MAX_OUTGOING);
    assert_eq!(link.client.send(&[0; MAX_PLAINTEXT + 1]), Err(DropReason::Dtls));
    link.assert_alive();
}
