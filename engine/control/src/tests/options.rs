//! Engine options: what is made of them, and certificates that cannot be used.

use sfu_proto::crypto::Certificate;
use sfu_proto::srtp::SrtpProfile;
use sfu_runtime::{IoBackend, StartCode, StartError};

use crate::EngineOptions;

fn text(bytes: Result<Vec<u8>, impl std::fmt::Debug>) -> String {
    String::from_utf8(bytes.expect("it can be written")).expect("PEM is text")
}

fn pems() -> (String, String) {
    let certificate = Certificate::generate().expect("OpenSSL makes one");
    (text(certificate.pem()), text(certificate.key_pem()))
}

fn start(options: &EngineOptions) -> StartError {
    let error = options.resolve(&[0, 1, 2, 3]).expect_err("these options are refused");
    assert!(!error.text.contains('\n') && !error.text.contains("PRIVATE KEY"), "{error}");
    error
}

fn with(certificate: Option<&str>, key: Option<&str>) -> EngineOptions {
    EngineOptions {
        certificate_pem: certificate.map(str::to_owned),
        private_key_pem: key.map(str::to_owned),
        ..EngineOptions::default()
    }
}

#[test]
fn row_096_certificates_that_cannot_be_used_are_refused_at_start() {
    let (certificate, key) = pems();
    let (_, other_key) = pems();
    assert!(with(Some(&certificate), Some(&key)).resolve(&[0]).is_ok());
    let half = certificate.len() / 2;
    let bad = [
        (Some(certificate.as_str()), None),
        (None, Some(key.as_str())),
        (Some(""), Some(key.as_str())),
        (Some(certificate.as_str()), Some("")),
        (Some("not PEM"), Some(key.as_str())),
        (Some(certificate.as_str()), Some("not PEM")),
        (Some(&certificate[..half]), Some(key.as_str())),
        (Some(key.as_str()), Some(certificate.as_str())),
        (Some(certificate.as_str()), Some(other_key.as_str())),
    ];
    for (certificate, key) in bad {
        assert_eq!(start(&with(certificate, key)).code, StartCode::Certificate);
    }
    let huge = "x".repeat(1 << 17);
    assert_eq!(start(&with(Some(&huge), Some(&key))).code, StartCode::Certificate);
}

#[test]
fn options_survive_their_message() {
    let (certificate, key) = pems();
    let options = EngineOptions {
        shards: 3,
        cpus: vec![4, 2, 0],
        unpinned: false,
        certificate_pem: Some(certificate),
        private_key_pem: Some(key),
        srtp_profiles: vec![SrtpProfile::Aes128CmSha1_32, SrtpProfile::AeadAes256Gcm],
        command_queue: 17,
        event_queue: 18,
        io_backend: IoBackend::Mmsg,
        tap_directory: Some("/var/taps".to_owned()),
    };
    assert_eq!(EngineOptions::decode(&options.encode()).expect("they are readable"), options);
    let default = EngineOptions::default();
    assert_eq!(EngineOptions::decode(&default.encode()).expect("they are readable"), default);
    assert!(!format!("{options:?}").contains("BEGIN"), "keys stay out of logs");
}

#[test]
fn shards_are_pinned_one_to_one_or_not_at_all() {
    let cpus = |options: &EngineOptions, usable: &[usize]| -> Vec<Option<usize>> {
        let resolved = options.resolve(usable).expect("these options are fine");
        resolved.shards.iter().map(|s| s.cpu).collect()
    };
    let default = EngineOptions::default();
    assert_eq!(cpus(&default, &[2, 5]), vec![Some(2), Some(5)]);
    assert_eq!(cpus(&default, &[]), vec![None]);
    let two = EngineOptions { shards: 2, ..EngineOptions::default() };
    assert_eq!(cpus(&two, &[7, 8, 9]), vec![Some(7), Some(8)]);
    // More shards than cores: the kernel places them.
    assert_eq!(cpus(&two, &[7]), vec![None, None]);
    let named = EngineOptions { cpus: vec![9, 3], ..EngineOptions::default() };
    assert_eq!(cpus(&named, &[0]), vec![Some(9), Some(3)]);
    let unpinned = EngineOptions { unpinned: true, ..EngineOptions::default() };
    assert_eq!(cpus(&unpinned, &[0, 1]), vec![None, None]);
}

#[test]
fn row_078_options_out_of_range_name_the_field() {
    let default = EngineOptions::default;
    let cases = [
        ("shards", EngineOptions { shards: 256, ..default() }),
        ("shards", EngineOptions { shards: 3, cpus: vec![0, 1], ..default() }),
        ("cpus", EngineOptions { cpus: vec![0, 0], ..default() }),
        ("cpus", EngineOptions { cpus: vec![0], unpinned: true, ..default() }),
        ("command_queue", EngineOptions { command_queue: 0, ..default() }),
        ("command_queue", EngineOptions { command_queue: u32::MAX, ..default() }),
        ("event_queue", EngineOptions { event_queue: 0, ..default() }),
        ("srtp_profiles", EngineOptions { srtp_profiles: vec![SrtpProfile::AeadAes128Gcm; 2], ..default() }),
    ];
    for (field, options) in cases {
        let error = start(&options);
        assert_eq!(error.code, StartCode::InvalidOptions);
        assert!(error.text.starts_with(field), "{error}");
    }
}
