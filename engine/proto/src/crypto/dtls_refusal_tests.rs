//! Handshakes and records that must not pass: wrong identity, odd peers, forgeries, floods.

use openssl::ssl::{SslContext, SslMethod, SslOptions, SslVersion};
use openssl::x509::X509;

use super::super::budget::tests::{fragment, record};
use super::super::budget::{ALERT, APPLICATION_DATA, HANDSHAKE};
use super::super::certificate::Certificate;
use super::super::context::CIPHERS;
use super::tests::*;
use super::*;
use crate::testing::Random;

#[test]
fn row_018_a_wrong_certificate_fails_and_gives_no_keys() {
    let other = Certificate::generate().expect("certificate");
    let mut truncated = certificate().fingerprints();
    truncated.iter_mut().for_each(|fingerprint| fingerprint.value.truncate(4));
    for wrong in [other.fingerprints(), Vec::new(), truncated] {
        let mut link = Link::pair(&context(&SrtpProfile::ALL));
        link.server.set_remote_fingerprints(wrong);
        link.run_clean();
        assert_eq!(failure(&mut link.server), "certificate matches no signalled fingerprint");
        assert_eq!(link.server.poll_event(), None);
        assert_eq!(link.server.send(b"x"), Err(DropReason::NotConnected));
        // The client was told.
        assert!(matches!(link.client.poll_event(), Some(DtlsEvent::Connected(_))));
        assert_eq!(link.client.poll_event(), Some(DtlsEvent::Closed));
    }
}

#[test]
fn row_018_a_fingerprint_after_the_handshake_releases_the_keys() {
    let context = context(&SrtpProfile::ALL);
    for good in [true, false] {
        let server = DtlsSession::new(&context, DtlsRole::Server, START).expect("session");
        let mut link = Link::new(session(&context, DtlsRole::Client), server);
        link.run_clean();
        assert_eq!(link.server.state(), DtlsState::Unverified);
        assert_eq!(link.server.poll_event(), None);
        // Data before that is no data.
        link.client.send(b"early").expect("send");
        link.run_clean();
        assert_eq!(link.server.poll_event(), None);
        if good {
            link.server.set_remote_fingerprints(certificate().fingerprints());
            link.assert_connected();
            link.assert_alive();
        } else {
            link.server.set_remote_fingerprints(Certificate::generate().expect("other").fingerprints());
            failure(&mut link.server);
        }
    }
}

#[test]
fn row_018_the_second_of_two_fingerprints_is_enough() {
    let mut link = Link::pair(&context(&SrtpProfile::ALL));
    let mut both = Certificate::generate().expect("other").fingerprints();
    both.push(certificate().fingerprints().swap_remove(2));
    link.server.set_remote_fingerprints(both);
    link.run_clean();
    link.assert_connected();
}

#[test]
fn row_015_no_common_cipher_fails_with_a_reason() {
    let client = odd_context(|builder| builder.set_cipher_list("ECDHE-ECDSA-AES256-SHA"));
    let server = session(&context(&SrtpProfile::ALL), DtlsRole::Server);
    let mut link = Link::new(session(&client, DtlsRole::Client), server);
    link.run_clean();
    assert_eq!(failure(&mut link.server), "no shared cipher");
    assert!(failure(&mut link.client).contains("handshake failure"));
}

#[test]
fn row_015_no_use_srtp_fails_with_a_reason() {
    let plain = SslContext::builder(SslMethod::dtls()).map(|mut builder| {
        let (x509, key) = certificate().to_native().expect("native");
        builder.set_certificate(&x509).expect("certificate");
        builder.set_private_key(&key).expect("key");
        builder.set_options(SslOptions::NO_QUERY_MTU);
        DtlsContext { context: builder.build(), mtu: 1200 }
    });
    let server = session(&context(&SrtpProfile::ALL), DtlsRole::Server);
    let mut link = Link::new(session(&plain.expect("context"), DtlsRole::Client), server);
    link.run_clean();
    assert_eq!(failure(&mut link.server), "no common SRTP protection profile");
}

#[test]
fn row_015_dtls_1_0_fails_with_a_reason() {
    let old = odd_context(|builder| {
        builder.set_min_proto_version(Some(SslVersion::DTLS1))?;
        builder.set_max_proto_version(Some(SslVersion::DTLS1))?;
        builder.set_security_level(0);
        builder.set_cipher_list("ALL:@SECLEVEL=0")
    });
    let server = session(&context(&SrtpProfile::ALL), DtlsRole::Server);
    let mut link = Link::new(session(&old, DtlsRole::Client), server);
    link.run_clean();
    assert_eq!(failure(&mut link.server), "unsupported protocol");
}

#[test]
fn a_peer_without_extended_master_secret_is_refused() {
    // SSL_OP_NO_EXTENDED_MASTER_SECRET, for which the crate has no name.
    let old = odd_context(|builder| {
        builder.set_options(SslOptions::from_bits_retain(1));
        Ok(())
    });
    let server = session(&context(&SrtpProfile::ALL), DtlsRole::Server);
    let mut link = Link::new(session(&old, DtlsRole::Client), server);
    link.run_clean();
    assert!(failure(&mut link.server).contains("extended master secret"));
}

#[test]
fn h07_a_client_without_certificate_is_refused() {
    let anonymous = SslContext::builder(SslMethod::dtls()).map(|mut builder| {
        builder.set_options(SslOptions::NO_QUERY_MTU);
        builder.set_tlsext_use_srtp("SRTP_AES128_CM_SHA1_80").expect("profiles");
        DtlsContext { context: builder.build(), mtu: 1200 }
    });
    let server = session(&context(&SrtpProfile::ALL), DtlsRole::Server);
    let mut link = Link::new(session(&anonymous.expect("context"), DtlsRole::Client), server);
    link.run_clean();
    assert_eq!(failure(&mut link.server), "peer did not return a certificate");
}

#[test]
fn h07_leaving_out_or_forging_any_record_of_the_clients_second_flight_gives_no_keys() {
    let context = context(&SrtpProfile::ALL);
    for target in 0..5 {
        for forge in [false, true] {
            let mut link = Link::pair(&context);
            link.run(START + HANDSHAKE_TIME * 2, &mut |to_server, burst| {
                if flight_of(to_server, &burst) != 3 {
                    return burst;
                }
                let mut records = Vec::new();
                for datagram in &burst {
                    let mut rest = &datagram[..];
                    while let Some((record, after)) = Record::split_first(rest) {
                        records.push(record.bytes.to_vec());
                        rest = after;
                    }
                }
                assert!(records.len() >= 4, "certificate, key exchange, proof, change, Finished: {}", records.len());
                let target = target.min(records.len() - 1);
                if forge {
                    let last = records[target].len() - 1;
                    records[target][last] ^= 1;
                } else {
                    records.remove(target);
                }
                records
            });
            assert!(!matches!(link.server.poll_event(), Some(DtlsEvent::Connected(_))), "record {target} {forge}");
            assert_eq!(link.server.state(), DtlsState::Failed);
        }
    }
}

#[test]
fn h08_row_016_fragments_that_never_end_are_bounded_and_end_in_time() {
    let mut server = session(&context(&SrtpProfile::ALL), DtlsRole::Server);
    let mut accepted = 0;
    for at in 0..100_000u32 {
        let now = START + Duration::from_micros(u64::from(at) * 200);
        let part = record(HANDSHAKE, 0, u64::from(at), &fragment(1, 6_000, (at % 9) as u16, at % 5_500, &[7; 100]));
        accepted += usize::from(server.handle_datagram(now, &part).is_ok()) * part.len();
    }
    assert!(accepted <= 64 * 1024, "{accepted}");
    let at = server.next_timeout().expect("deadline");
    assert_eq!(at, START + HANDSHAKE_TIME);
    server.handle_timeout(at);
    assert_eq!(failure(&mut server), "handshake did not end in time");
    assert_eq!(server.next_timeout(), None);
    assert_eq!(server.poll_transmit(&mut [0; 1500]), None);
}

#[test]
fn row_017_a_chain_of_a_hundred_kilobytes_does_not_get_in() {
    let fat = odd_context(|builder| {
        let (link, _) = Certificate::generate_rsa(2048).expect("rsa").to_native()?;
        for _ in 0..140 {
            builder.add_extra_chain_cert(link.clone())?;
        }
        Ok(())
    });
    let server = session(&context(&SrtpProfile::ALL), DtlsRole::Server);
    let mut link = Link::new(session(&fat, DtlsRole::Client), server);
    link.run_clean();
    assert_eq!(link.server.state(), DtlsState::Failed);
}

#[test]
fn row_019_renegotiation_is_refused_and_the_session_lives() {
    let eager = odd_context(|builder| {
        builder.clear_options(SslOptions::NO_RENEGOTIATION);
        Ok(())
    });
    let server = session(&context(&SrtpProfile::ALL), DtlsRole::Server);
    // A client that cannot identify the server keeps the library, which does as the test wants.
    let client = DtlsSession::new(&eager, DtlsRole::Client, START).expect("session");
    let mut link = Link::new(client, server);
    link.run_clean();
    assert!(matches!(link.server.poll_event(), Some(DtlsEvent::Connected(_))));
    let stream = link.client.stream.as_mut().expect("stream");
    assert!(ffi::renegotiate(stream.ssl()));
    let _ = stream.do_handshake();
    let mut buffer = [0u8; 1500];
    let len = link.client.poll_transmit(&mut buffer).expect("an encrypted ClientHello");
    assert_eq!(buffer[4], 1, "epoch");
    link.server.handle_datagram(link.now, &buffer[..len]).expect("a valid record");
    let len = link.server.poll_transmit(&mut buffer).expect("an alert");
    assert_eq!(buffer[0], ALERT);
    assert!(len < 100);
    assert_eq!(link.server.poll_event(), None);
    assert_eq!(link.server.state(), DtlsState::Connected);
    link.server.send(b"still here").expect("alive");
}

#[test]
fn errors_that_others_leave_in_the_threads_queue_are_not_blamed_on_a_session() {
    let leave_one = || X509::from_der(b"garbage").expect_err("no certificate").put();
    let context = context(&SrtpProfile::ALL);
    let mut link = Link::pair(&context);
    link.run(START + HANDSHAKE_TIME, &mut |_, burst| {
        leave_one();
        burst
    });
    leave_one();
    link.assert_connected();
    leave_one();
    link.assert_alive();
    // What happens in a shard: media with bad tags between DTLS records.
    let key = KeyMaterial::new(&[1; 28]).expect("length");
    let mut srtp = crate::srtp::SrtpReceiver::new(&SrtpProfile::AeadAes128Gcm, &key).expect("receiver");
    for round in 0..20u8 {
        let _ = srtp.unprotect_rtp(&mut [&[0x80, 96, 0, round][..], &[round; 60]].concat());
        let _ = srtp.unprotect_rtcp(&mut [&[0x80, 201, 0, round][..], &[round; 60]].concat());
        let _ = link.server.handle_datagram(link.now, &record(APPLICATION_DATA, 1, 100 + u64::from(round), &[9; 60]));
        assert_eq!(link.server.poll_event(), None);
    }
    link.assert_alive();
}

#[test]
fn row_019_plaintext_after_finished_changes_nothing() {
    let mut link = connected();
    let mut fresh = session(&context(&SrtpProfile::ALL), DtlsRole::Client);
    let mut hello = [0u8; 1500];
    let len = fresh.poll_transmit(&mut hello).expect("hello");
    for datagram in [
        hello[..len].to_vec(),
        record(APPLICATION_DATA, 0, 77, b"data"),
        record(ALERT, 0, 78, &[2, 40]),
        record(ALERT, 0, 79, &[1, 0]),
    ] {
        assert_eq!(link.server.handle_datagram(link.now, &datagram), Err(DropReason::Dtls));
    }
    assert_eq!(link.server.poll_event(), None);
    assert_eq!(link.server.poll_transmit(&mut hello), None);
    link.assert_alive();
}

#[test]
fn row_020_only_a_genuine_close_notify_closes() {
    let mut link = connected();
    for forged in [record(ALERT, 0, 9, &[1, 0]), record(ALERT, 1, 1 << 40, &[0x55; 40]), record(ALERT, 1, 9, &[1, 0])] {
        let _ = link.server.handle_datagram(link.now, &forged);
        assert_eq!(link.server.poll_event(), None);
    }
    link.assert_alive();
    link.client.close(link.now);
    assert_eq!(link.client.state(), DtlsState::Closed);
    let mut buffer = [0u8; 1500];
    let len = link.client.poll_transmit(&mut buffer).expect("close_notify");
    link.server.handle_datagram(link.now, &buffer[..len]).expect("genuine");
    assert_eq!(link.server.poll_event(), Some(DtlsEvent::Closed));
    assert_eq!(link.server.handle_datagram(link.now, &buffer[..len]), Err(DropReason::Dtls), "replayed");
    assert_eq!(link.server.poll_event(), None);
    assert_eq!(link.client.poll_event(), None);
}

#[test]
fn forged_encrypted_records_of_every_length_change_nothing() {
    for cipher in CIPHERS.split(':').filter(|cipher| cipher.contains("ECDSA")) {
        let only = odd_context(|builder| builder.set_cipher_list(cipher));
        let mut link = Link::pair(&only);
        link.run_clean();
        link.assert_connected();
        let mut random = Random::new(7);
        for content_type in 20..=23 {
            for len in (0..80).chain([1 << 13, 1 << 14, (1 << 14) + 300, (1 << 14) + 2048, (1 << 14) + 2049]) {
                let content: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
                for (sequence, epoch) in [(2, 1), (5_000, 1), ((1 << 48) - 1, 1), (3, 2), (3, u16::MAX)] {
                    let forged = record(content_type, epoch, sequence, &content);
                    let _ = link.server.handle_datagram(link.now, &forged);
                    let _ = link.client.handle_datagram(link.now, &forged);
                }
            }
        }
        assert_eq!((link.server.poll_event(), link.client.poll_event()), (None, None), "{cipher}");
        link.assert_alive();
    }
}

#[test]
fn row_020_a_forged_close_notify_during_the_handshake_is_dropped() {
    let mut link = Link::pair(&context(&SrtpProfile::ALL));
    link.run(START + HANDSHAKE_TIME, &mut |_, burst| {
        burst.into_iter().flat_map(|datagram| [record(ALERT, 0, 5000, &[1, 0]), datagram]).collect()
    });
    link.assert_connected();
}

#[test]
fn replayed_application_data_is_delivered_once() {
    let mut link = connected();
    link.client.send(b"once").expect("send");
    let mut buffer = [0u8; 1500];
    let len = link.client.poll_transmit(&mut buffer).expect("data");
    for _ in 0..3 {
        let _ = link.server.handle_datagram(link.now, &buffer[..len]);
    }
    assert_eq!(link.server.poll_event(), Some(DtlsEvent::ApplicationData(b"once".to_vec())));
    assert_eq!(link.server.poll_event(), None);
}

#[test]
fn encrypted_records_before_their_keys_are_held_and_few() {
    let mut server = session(&context(&SrtpProfile::ALL), DtlsRole::Server);
    let early = |n: u8| record(HANDSHAKE, 1, u64::from(n), &[n; 40]);
    assert!(server.handle_datagram(START, &early(1)).is_ok());
    assert!(server.handle_datagram(START, &early(1)).is_ok(), "a copy needs no room");
    assert!(server.handle_datagram(START, &early(2)).is_ok());
    assert_eq!(server.handle_datagram(START, &early(3)), Err(DropReason::DtlsBudget));
    assert_eq!(server.handle_datagram(START, &record(HANDSHAKE, 1, 4, &[4; 600])), Err(DropReason::DtlsBudget));
}

#[test]
fn arbitrary_and_mutated_datagrams_do_no_harm() {
    let context = context(&SrtpProfile::ALL);
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut link = Link::pair(&context);
        link.run(START + HANDSHAKE_TIME * 3, &mut |_, burst| {
            let mut sent = Vec::new();
            for datagram in burst {
                let mut mutant = datagram.clone();
                for _ in 0..=random.below(4) {
                    let at = random.below(mutant.len());
                    mutant[at] ^= random.below(256) as u8;
                }
                mutant.truncate(random.below(mutant.len()) + 1);
                sent.push(mutant);
                sent.push((0..random.below(200)).map(|_| random.below(256) as u8).collect());
                sent.push(datagram);
            }
            sent
        });
        for session in [&link.client, &link.server] {
            assert!(session.next_timeout().is_none(), "seed {seed}: it ended, well or badly");
        }
    }
}

#[test]
fn a_closed_session_is_silent() {
    let mut link = connected();
    link.server.close(link.now);
    link.server.close(link.now);
    link.server.handle_timeout(link.now + HANDSHAKE_TIME);
    assert_eq!(link.server.send(b"x"), Err(DropReason::NotConnected));
    let mut buffer = [0u8; 1500];
    assert!(link.server.poll_transmit(&mut buffer).is_some(), "close_notify");
    assert_eq!(link.server.poll_transmit(&mut buffer), None);
    assert_eq!(link.server.poll_event(), None);
}

#[test]
fn closing_in_the_middle_of_a_handshake_is_harmless() {
    let mut server = session(&context(&SrtpProfile::ALL), DtlsRole::Server);
    let mut client = session(&context(&SrtpProfile::ALL), DtlsRole::Client);
    let mut buffer = [0u8; 1500];
    let len = client.poll_transmit(&mut buffer).expect("hello");
    server.handle_datagram(START, &buffer[..len]).expect("hello");
    server.close(START);
    client.close(START);
    assert_eq!((server.state(), client.state()), (DtlsState::Closed, DtlsState::Closed));
    assert_eq!((server.next_timeout(), client.next_timeout()), (None, None));
}
