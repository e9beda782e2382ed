//! Entry points for fuzzers: arbitrary bytes in, nothing may panic, nothing may loop.
//!
//! What it is: one function per door that the network has on this floor. They are told bytes and tell
//! nothing. Each makes its machine anew, so that an input means the same every time. Keys and passwords are
//! known, so that a fuzzer can get past them. It leaves out: what needs two parties.

mod framing;
mod speakers;
mod streams;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use sfu_wire::net::{SocketId, Tuple};
use sfu_wire::stun::StunMessage;
use sfu_wire::time::Time;

use crate::crypto::{Certificate, DtlsContext, DtlsRole, DtlsSession};
use crate::ice::{IceAgent, IceConfig, IceCredentials, MAX_REPLY};
use crate::keys::{KeyMaterial, SrtpProfile};
use crate::srtp::{SrtpReceiver, SrtpSender};

pub use framing::framing;
pub use speakers::speakers;
pub use streams::{history, layers, nack, rewrite, score, tcc};

/// Steps that a machine may take for one input; more is a loop.
const MAX_STEPS: usize = 10_000;

/// Pieces of `data`: each begins with two bytes of length.
fn pieces(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = data.split_first_chunk::<2>()?;
        let (piece, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
        data = rest;
        Some(piece)
    })
}

/// DTLS before and after a handshake.
pub fn dtls(data: &[u8]) {
    dtls_server(data);
    dtls_connected(data);
}

/// A connected DTLS server that is sent `data` as records: of its peer, or by somebody without keys.
fn dtls_connected(data: &[u8]) {
    let Ok(certificate) = Certificate::generate() else { return };
    let Ok(context) = DtlsContext::new(&certificate, &SrtpProfile::ALL, 1200) else { return };
    let mut now = Time::from_millis(1);
    let side = |role| {
        let mut session = DtlsSession::new(&context, role, now).ok()?;
        session.set_remote_fingerprints(certificate.fingerprints());
        Some(session)
    };
    let (Some(mut client), Some(mut server)) = (side(DtlsRole::Client), side(DtlsRole::Server)) else { return };
    let mut buffer = [0u8; 1500];
    for _ in 0..20 {
        now += Duration::from_millis(1);
        for to_server in [true, false] {
            let (from, to) = if to_server { (&mut client, &mut server) } else { (&mut server, &mut client) };
            while let Some(len) = from.poll_transmit(&mut buffer) {
                let _ = to.handle_datagram(now, &buffer[..len]);
            }
        }
    }
    for piece in pieces(data) {
        let Some((first, content)) = piece.split_first() else { continue };
        if first & 0x80 == 0 {
            let _ = client.send_record(20 + first % 4, content);
        } else {
            let _ = server.handle_datagram(now, content);
        }
        let mut steps = 0;
        while let Some(len) = client.poll_transmit(&mut buffer) {
            let _ = server.handle_datagram(now, &buffer[..len]);
        }
        while server.poll_transmit(&mut buffer).is_some() || server.poll_event().is_some() {
            steps += 1;
            assert!(steps < 100, "one record brings a flight at most");
        }
    }
}

/// A DTLS server that is sent `data` as datagrams, with time passing between them.
fn dtls_server(data: &[u8]) {
    let Ok(certificate) = Certificate::generate() else {
        return;
    };
    let Ok(context) = DtlsContext::new(&certificate, &SrtpProfile::ALL, 1200) else {
        return;
    };
    let mut now = Time::from_millis(1);
    let Ok(mut session) = DtlsSession::new(&context, DtlsRole::Server, now) else {
        return;
    };
    session.set_remote_fingerprints(certificate.fingerprints());
    let mut buffer = [0u8; 1500];
    let mut steps = 0;
    for datagram in pieces(data) {
        let _ = session.handle_datagram(now, datagram);
        now += Duration::from_millis(20);
        session.handle_timeout(now);
        while session.poll_transmit(&mut buffer).is_some() || session.poll_event().is_some() {
            steps += 1;
            assert!(steps < MAX_STEPS, "output without end");
        }
    }
    while let Some(at) = session.next_timeout() {
        steps += 1;
        assert!(at > now && steps < MAX_STEPS, "time stands still");
        now = at;
        session.handle_timeout(now);
        while session.poll_transmit(&mut buffer).is_some() {}
    }
}

/// An ICE agent that is sent `data` as STUN messages from a few tuples.
pub fn ice(data: &[u8]) {
    let mut now = Time::from_millis(1);
    let mut agent = IceAgent::new(now, IceCredentials::new("user", "password"), IceConfig::default());
    let mut reply = [0u8; MAX_REPLY];
    for (at, bytes) in pieces(data).enumerate() {
        let port = 1000 + (at % 20) as u16;
        let tuple = Tuple::new(SocketId(0), SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        if let Ok(message) = StunMessage::parse(bytes) {
            let input = agent.handle_binding(now, tuple, &message, &mut reply);
            assert!(input.reply_len <= bytes.len(), "amplification");
        }
        if at % 50 == 49 {
            agent.restart(IceCredentials::new("user2", "password"));
        }
        // Some of them are connections, which end.
        if bytes.last().is_some_and(|byte| byte & 7 == 7) {
            agent.remove_tuple(&tuple);
            assert!(!agent.is_valid(&tuple) && agent.selected() != Some(tuple), "a tuple that is gone");
        }
        now += Duration::from_millis(300);
        agent.handle_timeout(now);
        while agent.poll_event().is_some() {}
    }
}

/// Receivers and senders of every profile that are given `data` as packets.
pub fn srtp(data: &[u8]) {
    for profile in SrtpProfile::ALL {
        let Some(key) = KeyMaterial::new(&[7; KeyMaterial::MAX_LEN][..profile.key_len() + profile.salt_len()]) else {
            return;
        };
        let (Ok(mut receiver), Ok(mut sender)) = (SrtpReceiver::new(&profile, &key), SrtpSender::new(&profile, &key))
        else {
            return;
        };
        for packet in pieces(data) {
            let _ = receiver.unprotect_rtp(&mut packet.to_vec());
            let _ = receiver.unprotect_rtcp(&mut packet.to_vec());
            let mut buffer = packet.to_vec();
            buffer.resize(packet.len() + 20, 0);
            if let Ok(len) = sender.protect_rtp(&mut buffer, packet.len()) {
                let opened = receiver.unprotect_rtp(&mut buffer[..len]);
                assert!(opened.is_err() || opened == Ok(packet.len()), "what we close opens to the same length");
            }
            let mut buffer = packet.to_vec();
            buffer.resize(packet.len() + 20, 0);
            if let Ok(len) = sender.protect_rtcp(&mut buffer, packet.len()) {
                let _ = receiver.unprotect_rtcp(&mut buffer[..len]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    /// Random pieces, some with a plausible first byte.
    fn input(random: &mut Random, first: &[u8]) -> Vec<u8> {
        let mut data = Vec::new();
        for _ in 0..random.below(12) {
            let length = random.below(120);
            data.extend((length as u16).to_be_bytes());
            let mut piece: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
            if let Some(byte) = piece.first_mut() {
                *byte = first[random.below(first.len())];
            }
            data.extend(piece);
        }
        data
    }

    #[test]
    fn random_input_does_no_harm() {
        let mut random = Random::new(2);
        for _ in 0..100 {
            dtls(&input(&mut random, &[20, 21, 22, 23, 0]));
        }
        for _ in 0..2000 {
            ice(&input(&mut random, &[0, 1]));
            srtp(&input(&mut random, &[0x80, 0x90, 0x8f, 0xbf]));
        }
    }

    #[test]
    fn random_levels_choose_known_speakers() {
        let mut random = Random::new(3);
        for _ in 0..300 {
            let data: Vec<u8> = (0..random.below(4_000)).map(|_| random.next() as u8).collect();
            speakers(&data);
        }
    }

    #[test]
    fn pieces_end() {
        assert_eq!(pieces(&[0, 2, 1, 2, 0, 9, 3]).collect::<Vec<_>>(), [&[1u8, 2][..], &[3u8][..]]);
        assert_eq!(pieces(&[0]).count(), 0);
    }
}
