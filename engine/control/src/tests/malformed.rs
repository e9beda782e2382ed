//! Bytes that are no request: refused synchronously, quickly, without a panic.

use std::time::Instant;

use proptest::prelude::*;
use sfu_core::command::ErrorCode;

use super::room::{create_transport, produce, video};
use crate::schema as fb;
use crate::schema::RequestBodyT as Body;
use crate::{decode, encode, fuzz};

fn sample() -> Vec<u8> {
    encode::request(7, 0x0103_0000_0100_0001, Body::Produce(Box::new(produce(&video(1234, "0")))))
}

fn code(bytes: &[u8]) -> Option<ErrorCode> {
    decode::request(bytes).err().map(|e| e.code)
}

/// Table of a Message that is all vtable and offsets, built by hand.
fn hand_made(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&((body.len() + 8) as u32).to_le_bytes());
    bytes.extend_from_slice(&8_u32.to_le_bytes());
    bytes.extend_from_slice(b"LSFU");
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn row_067_a_message_cut_at_each_byte_is_malformed() {
    let bytes = sample();
    assert_eq!(code(&bytes), None);
    for length in 0..bytes.len() {
        assert_eq!(code(&bytes[..length]), Some(ErrorCode::Malformed), "{length} bytes");
        // The same with a prefix that fits.
        let mut cut = bytes[..length].to_vec();
        if length >= 4 {
            cut[..4].copy_from_slice(&((length - 4) as u32).to_le_bytes());
        }
        fuzz::message(&cut);
    }
}

#[test]
fn row_067_every_flipped_bit_is_refused_or_means_something_and_never_panics() {
    let bytes = sample();
    let mut refused = 0;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        refused += usize::from(code(&flipped).is_some());
        fuzz::message(&flipped);
    }
    assert!(refused > bytes.len(), "only {refused} of {} were refused", bytes.len() * 8);
}

#[test]
fn row_067_another_file_identifier_and_another_content_are_malformed() {
    let mut bytes = sample();
    bytes[8..12].copy_from_slice(b"LSFX");
    assert_eq!(code(&bytes), Some(ErrorCode::Malformed));
    let reply = encode::reply(7, Ok(fb::ReplyBodyT::Done(Box::default())));
    let error = decode::request(&reply).expect_err("a reply is no request");
    assert_eq!((error.code, error.field.as_str()), (ErrorCode::Malformed, "content"));
}

#[test]
fn row_067_offsets_to_themselves_and_backwards_are_malformed() {
    // A vtable of six bytes (one field), then the table: its soffset, then the field's offset.
    for offset in [0_u32, 1, 4, u32::MAX, u32::MAX - 7, 1 << 31] {
        let mut body = vec![8, 0, 8, 0, 4, 0, 0, 0];
        body.extend_from_slice(&8_i32.to_le_bytes());
        body.extend_from_slice(&offset.to_le_bytes());
        let mut bytes = hand_made(&body);
        bytes[4..8].copy_from_slice(&16_u32.to_le_bytes());
        assert_eq!(code(&bytes), Some(ErrorCode::Malformed), "{offset}");
    }
    for root in [0_u32, 4, 1 << 31, u32::MAX] {
        let mut bytes = sample();
        bytes[4..8].copy_from_slice(&root.to_le_bytes());
        assert_eq!(code(&bytes), Some(ErrorCode::Malformed), "root {root}");
    }
}

/// One table shared by very many offsets, which the verifier sees as so many tables.
fn shared_tables(count: usize) -> Vec<u8> {
    let mut builder = flatbuffers::FlatBufferBuilder::new();
    let name = builder.create_string("x");
    let one = fb::Parameter::create(&mut builder, &fb::ParameterArgs { name: Some(name), ..Default::default() });
    let parameters = builder.create_vector(&vec![one; count]);
    let mime = builder.create_string("video/VP8");
    let codec = fb::RtpCodecCapability::create(
        &mut builder,
        &fb::RtpCodecCapabilityArgs { mime_type: Some(mime), parameters: Some(parameters), ..Default::default() },
    );
    let codecs = builder.create_vector(&vec![codec; count]);
    let args = fb::CreateRouterArgs { media_codecs: Some(codecs), shard: None };
    let body = fb::CreateRouter::create(&mut builder, &args).as_union_value();
    let args = fb::RequestArgs { id: 1, target: 0, body_type: fb::RequestBody::CreateRouter, body: Some(body) };
    let request = fb::Request::create(&mut builder, &args).as_union_value();
    let args = fb::MessageArgs { content_type: fb::Content::Request, content: Some(request) };
    let message = fb::Message::create(&mut builder, &args);
    fb::finish_size_prefixed_message_buffer(&mut builder, message);
    builder.finished_data().to_vec()
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a bound on time is what this test is about")]
fn row_067_a_million_tables_are_malformed_within_a_moment() {
    // 1000 codecs of 1000 parameters in a few kilobytes: a million tables, if they were unpacked.
    let bytes = shared_tables(1000);
    assert!(bytes.len() < 20_000);
    let best = (0..20).map(|_| {
        let start = Instant::now();
        assert_eq!(code(&bytes), Some(ErrorCode::Malformed));
        start.elapsed()
    });
    let best = best.min().expect("there were tries");
    // A debug build is an order of magnitude slower than what ships.
    let bound = if cfg!(debug_assertions) { 20 } else { 1 };
    assert!(best.as_millis() < bound, "{best:?}");
}

#[test]
fn row_068_size_prefixes_that_lie_are_malformed_and_allocate_nothing() {
    let bytes = sample();
    let real = (bytes.len() - 4) as u32;
    for prefix in [0, 1, real - 1, real + 1, u32::MAX, i32::MAX as u32] {
        let mut lying = bytes.clone();
        lying[..4].copy_from_slice(&prefix.to_le_bytes());
        assert_eq!(code(&lying), Some(ErrorCode::Malformed), "{prefix}");
        fuzz::message(&lying);
    }
    // A vector's length is a prefix too.
    let mut long = shared_tables(4);
    for at in 0..long.len() - 4 {
        let before = long[at..at + 4].to_vec();
        long[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        fuzz::message(&long);
        long[at..at + 4].copy_from_slice(&before);
    }
}

#[test]
fn row_068_bytes_at_any_alignment_are_read() {
    let bytes = sample();
    let mut room = vec![0_u8; bytes.len() + 8];
    for shift in 0..8 {
        room[shift..shift + bytes.len()].copy_from_slice(&bytes);
        assert_eq!(code(&room[shift..shift + bytes.len()]), None, "shifted by {shift}");
    }
}

#[test]
fn row_068_messages_above_the_limit_are_refused_unread() {
    assert_eq!(code(&vec![0; decode::MAX_MESSAGE + 1]), Some(ErrorCode::Malformed));
}

#[test]
fn row_069_a_request_without_body_or_with_an_unknown_one_is_malformed() {
    // A tag without its table, and a tag that no schema knows yet.
    for tag in [fb::RequestBody::Close, fb::RequestBody(200)] {
        for with_body in [false, true] {
            let mut builder = flatbuffers::FlatBufferBuilder::new();
            let table = fb::Close::create(&mut builder, &fb::CloseArgs {}).as_union_value();
            let request = builder.start_table();
            builder.push_slot_always(fb::Request::VT_BODY_TYPE, tag);
            if with_body {
                builder.push_slot_always(fb::Request::VT_BODY, table);
            }
            let request = builder.end_table(request);
            let message = builder.start_table();
            builder.push_slot_always(fb::Message::VT_CONTENT_TYPE, fb::Content::Request);
            builder.push_slot_always(fb::Message::VT_CONTENT, request);
            let message = builder.end_table(message);
            builder.finish_size_prefixed(message, Some(fb::MESSAGE_IDENTIFIER));
            let result = decode::request(builder.finished_data());
            if with_body && tag == fb::RequestBody::Close {
                assert!(result.is_ok());
            } else {
                let error = result.expect_err("the union is not whole");
                assert_eq!((error.code, error.field.as_str()), (ErrorCode::Malformed, "body"), "{tag:?} {with_body}");
            }
        }
    }
}

#[test]
fn row_067_engine_options_of_any_bytes_are_refused_with_one_line() {
    for bytes in [Vec::new(), vec![0; 64], sample()] {
        let error = crate::EngineOptions::decode(&bytes).expect_err("no options");
        assert!(!error.text.contains('\n'), "{error}");
    }
}

#[test]
fn messages_that_lie_in_a_row_are_read_one_by_one_and_a_cut_one_ends_them() {
    let mut bytes = encode::reply(1, Ok(fb::ReplyBodyT::Done(Box::default())));
    let first = bytes.len();
    bytes.extend(encode::request(2, 0, Body::CreateWebRtcTransport(Box::new(create_transport()))));
    assert_eq!(decode::messages(&bytes).filter(Result::is_ok).count(), 2);
    let results: Vec<_> = decode::messages(&bytes[..bytes.len() - 1]).collect();
    assert!(results.len() == 2 && results[0].is_ok() && results[1].is_err());
    assert_eq!(decode::messages(&bytes[..first + 3]).count(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn row_067_random_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..512)) {
        fuzz::message(&data);
        fuzz::message(&hand_made(&data));
    }

    #[test]
    fn row_067_mutated_messages_never_panic(changes in proptest::collection::vec(any::<(u16, u8)>(), 1..8)) {
        let mut bytes = sample();
        for (at, value) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] = value;
        }
        fuzz::message(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn sessions_of_any_commands_answer_each_once_and_leave_nothing(
        data in proptest::collection::vec(any::<u8>(), 0..1500),
    ) {
        fuzz::session(&data);
    }
}
