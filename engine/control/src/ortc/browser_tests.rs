//! What Chromium and Firefox really say (through mediasoup-client 3.24.1) to a room with these capabilities: taken,
//! told apart, and given on to each other.

use std::collections::BTreeMap;

use serde::Deserialize;
use sfu_core::config::StreamType;
use sfu_wire::extension::ExtensionKind;

use super::tests::{consume, produce, router};
use super::types::*;
use super::{codec, validate};

const CHROMIUM: &str = include_str!("fixtures/chromium.json");
const FIREFOX: &str = include_str!("fixtures/firefox.json");
const ROUTER: &str = include_str!("fixtures/router.json");

/// One browser's part.
#[derive(Deserialize)]
struct Browser {
    /// Its name and version.
    agent: String,
    /// What it is able to receive.
    recv: RtpCapabilities,
    /// What it sends, by codec and way.
    sent: BTreeMap<String, RtpParameters>,
}

fn browsers() -> [Browser; 2] {
    [CHROMIUM, FIREFOX].map(|text| serde_json::from_str(text).expect("a browser is readable"))
}

/// The room that they were told of.
fn room() -> RtpCapabilities {
    let told: RtpCapabilities = serde_json::from_str(ROUTER).expect("capabilities are readable");
    let media = told.codecs.iter().filter(|c| !c.mime_type.ends_with("/rtx")).cloned();
    router(&media.collect::<Vec<_>>())
}

fn kind_of(name: &str) -> MediaKind {
    if name.starts_with("video") { MediaKind::Video } else { MediaKind::Audio }
}

#[test]
fn the_room_says_what_they_were_told() {
    let told: RtpCapabilities = serde_json::from_str(ROUTER).expect("capabilities are readable");
    assert_eq!(room().codecs, told.codecs);
    validate::capabilities(&told, "").expect("what we say is valid");
}

#[test]
fn each_way_of_sending_is_taken_for_what_it_is() {
    let room = room();
    for browser in browsers() {
        for (name, parameters) in &browser.sent {
            let what = format!("{name} of {}", browser.agent);
            let (config, consumable) = produce(&room, kind_of(name), parameters).expect(&what);
            let expected = match name.split(' ').nth(1) {
                Some("simulcast") => StreamType::Simulcast,
                Some("svc") => StreamType::Svc,
                _ => StreamType::Simple,
            };
            assert_eq!(config.stream_type, expected, "{what}");
            assert_eq!(config.encodings.len(), if expected == StreamType::Simulcast { 3 } else { 1 }, "{what}");
            let layers = config.encodings.iter().map(|e| e.scalability.temporal).max();
            assert_eq!(layers, Some(if expected == StreamType::Simple { 1 } else { 3 }), "{what}");
            if expected == StreamType::Simulcast {
                assert!(config.encodings.iter().all(|e| e.ssrc.is_none() && e.rid.is_some()), "{what}");
                assert!(config.extensions.get(ExtensionKind::Rid).is_some(), "{what}");
                assert!(config.extensions.get(ExtensionKind::RepairedRid).is_some(), "{what}");
            } else {
                assert!(config.encodings[0].ssrc.is_some(), "{what}");
            }
            let repaired = kind_of(name) == MediaKind::Video;
            assert_eq!(config.codecs[0].rtx_payload_type.is_some(), repaired, "{what}");
            assert_eq!(consumable.parameters.msid, parameters.msid, "{what}");
        }
    }
}

#[test]
fn who_knows_the_codec_gets_it_in_the_rooms_numbers_and_the_others_do_not() {
    let room = room();
    for publisher in browsers() {
        for (name, parameters) in &publisher.sent {
            let (_, consumable) = produce(&room, kind_of(name), parameters).expect("it is taken");
            for subscriber in browsers() {
                let what = format!("{name} from {} to {}", publisher.agent, subscriber.agent);
                validate::capabilities(&subscriber.recv, "").expect(&what);
                let media = &parameters.codecs[0];
                let knows = subscriber.recv.codecs.iter().any(|c| codec::matches(c.into(), media.into(), true));
                let Ok((config, told)) = consume(&consumable, &subscriber.recv, None) else {
                    assert!(!knows, "{what}");
                    continue;
                };
                assert!(knows, "{what}");
                // The subscriber loaded the room's capabilities, so its own numbers are the room's.
                let own = subscriber.recv.codecs.iter().find(|c| codec::matches((*c).into(), media.into(), true));
                assert_eq!(Some(told.codecs[0].payload_type), own.and_then(|c| c.preferred_payload_type), "{what}");
                assert!(config.codecs[0].feedback.transport_cc, "{what}");
                for extension in &told.header_extensions {
                    let known = subscriber.recv.header_extensions.iter().find(|x| x.uri == extension.uri);
                    assert_eq!(known.map(|x| x.preferred_id), Some(extension.id), "{what}");
                }
            }
        }
    }
}
