//! Handshakes with a DTLS implementation that shares no code with ours (dimpl), both ways round.

use std::sync::Arc;
use std::time::Instant;

use dimpl::{Config, Dtls, DtlsCertificate, Output};

use super::super::certificate::Certificate;
use super::tests::*;
use super::*;

/// The other implementation, in the same virtual time.
struct Foreign {
    dtls: Dtls,
    base: Instant,
    wake: Option<Time>,
    certificate: Option<Vec<u8>>,
    keys: Option<Vec<u8>>,
    data: Vec<Vec<u8>>,
    closed: bool,
}

enum Kind {
    Dtls12,
    /// Offers DTLS 1.3 and 1.2 in one ClientHello.
    Any,
}

impl Foreign {
    fn new(kind: Kind, active: bool, certificate: &Certificate) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the peer wants an Instant; only differences count")]
        let base = Instant::now();
        let (certificate, private_key) = (certificate.der().to_vec(), certificate.key_der());
        let certificate = DtlsCertificate { certificate, private_key };
        let config = Arc::new(Config::builder().build().expect("config"));
        let mut dtls = match kind {
            Kind::Dtls12 => Dtls::new_12(config, certificate, base),
            Kind::Any => Dtls::new_auto(config, certificate, base),
        };
        dtls.set_active(active);
        Self { dtls, base, wake: None, certificate: None, keys: None, data: Vec::new(), closed: false }
    }

    fn at(&self, now: Time) -> Instant {
        self.base + now.saturating_since(START)
    }

    /// Everything it has to say now.
    fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        let mut buffer = vec![0u8; 4096];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(bytes) => datagrams.push(bytes.to_vec()),
                Output::Timeout(at) => {
                    self.wake = Some(START + at.saturating_duration_since(self.base));
                    return datagrams;
                }
                Output::PeerCert(der) => self.certificate = Some(der.to_vec()),
                Output::KeyingMaterial(material, _) => self.keys = Some(material.to_vec()),
                Output::ApplicationData(data) => self.data.push(data.to_vec()),
                Output::CloseNotify => self.closed = true,
                _ => {}
            }
        }
    }
}

/// Runs both for a while over a link that loses one datagram in `loss` (0: none).
fn run(ours: &mut DtlsSession, foreign: &mut Foreign, now: &mut Time, loss: usize) {
    let mut random = crate::testing::Random::new(5);
    let mut buffer = [0u8; 1500];
    for _ in 0..400 {
        foreign.dtls.handle_timeout(foreign.at(*now)).expect("foreign timer");
        for datagram in foreign.drain() {
            if loss == 0 || random.below(loss) > 0 {
                let _ = ours.handle_datagram(*now, &datagram);
            }
        }
        ours.handle_timeout(*now);
        while let Some(len) = ours.poll_transmit(&mut buffer) {
            if loss == 0 || random.below(loss) > 0 {
                foreign.dtls.handle_packet(&buffer[..len]).expect("foreign input");
            }
        }
        *now += Duration::from_millis(25);
    }
}

fn assert_agreement(ours: &mut DtlsSession, foreign: &mut Foreign, now: &mut Time) {
    let keys = match ours.poll_event() {
        Some(DtlsEvent::Connected(keys)) => keys,
        other => panic!("{other:?}"),
    };
    assert_eq!(foreign.certificate.as_deref(), Some(certificate().der()));
    let material = foreign.keys.as_deref().expect("keys");
    let (client, server) = match ours.role() {
        DtlsRole::Client => (&keys.local, &keys.remote),
        DtlsRole::Server => (&keys.remote, &keys.local),
    };
    let (key, salt) = (keys.profile.key_len(), keys.profile.salt_len());
    assert_eq!(material.len(), 2 * (key + salt));
    let expect = |n: usize| [&material[n * key..(n + 1) * key], &material[2 * key + n * salt..][..salt]].concat();
    assert_eq!((client.as_bytes(), server.as_bytes()), (&expect(0)[..], &expect(1)[..]));
    ours.send(b"to you").expect("send");
    foreign.dtls.send_application_data(b"to me").expect("send");
    run(ours, foreign, now, 0);
    assert_eq!(foreign.data, [b"to you".to_vec()]);
    assert_eq!(ours.poll_event(), Some(DtlsEvent::ApplicationData(b"to me".to_vec())));
    ours.close(*now);
    run(ours, foreign, now, 0);
    assert!(foreign.closed);
}

#[test]
fn another_implementation_connects_to_us_with_and_without_loss() {
    let other = Certificate::generate().expect("certificate");
    for (kind, loss) in [(Kind::Dtls12, 0), (Kind::Dtls12, 4), (Kind::Any, 0), (Kind::Any, 4)] {
        let context = context(&SrtpProfile::ALL);
        let mut ours = DtlsSession::new(&context, DtlsRole::Server, START).expect("session");
        ours.set_remote_fingerprints(other.fingerprints());
        let mut foreign = Foreign::new(kind, true, &other);
        let mut now = START;
        run(&mut ours, &mut foreign, &mut now, loss);
        assert_agreement(&mut ours, &mut foreign, &mut now);
    }
}

#[test]
fn we_connect_to_another_implementation_with_and_without_loss() {
    let other = Certificate::generate().expect("certificate");
    for (kind, loss) in [(Kind::Dtls12, 0), (Kind::Dtls12, 4), (Kind::Any, 0), (Kind::Any, 4)] {
        let context = context(&SrtpProfile::ALL);
        let mut ours = DtlsSession::new(&context, DtlsRole::Client, START).expect("session");
        ours.set_remote_fingerprints(other.fingerprints());
        let mut foreign = Foreign::new(kind, false, &other);
        let mut now = START;
        run(&mut ours, &mut foreign, &mut now, loss);
        assert_agreement(&mut ours, &mut foreign, &mut now);
    }
}
