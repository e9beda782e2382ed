//! Every field of every request, as the schema has them: absent, empty, at its most, of another union.

use sfu_core::command::ErrorCode;

use super::room::Room;
use super::schema_text::{Field, Schema, Value, message};
use crate::schema as fb;

/// What may be done to one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Absent,
    Empty,
    Most,
    /// One of the numbers that are no numbers, or the sign bit alone.
    Odd,
    Long,
}

const CHANGES: [Change; 5] = [Change::Absent, Change::Empty, Change::Most, Change::Odd, Change::Long];

/// A sensible value for a field by its name.
fn sensible(schema: &Schema, field: &Field, room: &Room) -> Value {
    let scalar = |bits: u64| Value::Scalar { bits, size: schema.sizes[&field.kind] };
    let text = |text: &str| Value::Text(text.to_owned());
    match (field.name.as_str(), field.kind.as_str()) {
        ("ip", _) => text("127.0.0.1"),
        ("announced_address", _) => text("sfu.example.org"),
        ("mime_type", _) => text("video/VP8"),
        ("uri", _) => text("urn:ietf:params:rtp-hdrext:sdes:mid"),
        ("value", "string") => Value::Text(vec!["AB"; 32].join(":")),
        ("certificate_pem" | "private_key_pem", _) => text("-----BEGIN"),
        (_, "string") => text("a"),
        ("producer", _) => scalar(PRODUCER.with(std::cell::Cell::get)),
        ("webrtc_server", _) => scalar(room.router),
        ("clock_rate", _) => scalar(90_000),
        ("payload_type" | "preferred_payload_type" | "codec_payload_type", _) => scalar(100),
        ("kind" | "id" | "preferred_id" | "min" | "max", _) => scalar(1),
        ("channels", _) => scalar(1),
        ("number", _) => scalar(1.0_f64.to_bits()),
        (_, kind) if schema.sizes.contains_key(kind) => scalar(0),
        (_, kind) => table(schema, kind, room),
    }
}

thread_local! {
    static PRODUCER: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A table with all its fields.
fn table(schema: &Schema, name: &str, room: &Room) -> Value {
    let field = |field: &Field| {
        let one = sensible(schema, field, room);
        let value = match (field.list, one) {
            (false, one) => one,
            (true, Value::Scalar { bits, size }) => Value::Scalars { bits: vec![bits], size },
            (true, one) => Value::List(vec![one]),
        };
        (field.slot, value)
    };
    Value::Table(schema.tables[name].iter().map(field).collect())
}

/// The value changed; `None` is absent.
fn changed(value: &Value, change: Change) -> Option<Value> {
    Some(match (change, value) {
        (Change::Absent, _) => return None,
        (Change::Empty, Value::Scalar { size, .. }) => Value::Scalar { bits: 0, size: *size },
        (Change::Empty, Value::Text(_)) => Value::Text(String::new()),
        (Change::Empty, Value::Scalars { size, .. }) => Value::Scalars { bits: Vec::new(), size: *size },
        (Change::Empty, Value::List(_)) => Value::List(Vec::new()),
        (Change::Empty, Value::Table(_)) => Value::Table(Vec::new()),
        (Change::Most, Value::Scalar { size, .. }) => Value::Scalar { bits: u64::MAX, size: *size },
        (Change::Most, Value::Text(_)) => Value::Text("\u{10ffff}".repeat(64)),
        (Change::Odd, Value::Scalar { size: 8, .. }) => Value::Scalar { bits: f64::INFINITY.to_bits(), size: 8 },
        (Change::Odd, Value::Scalar { size, .. }) => Value::Scalar { bits: 1 << (size * 8 - 1), size: *size },
        (Change::Odd, Value::Text(_)) => Value::Text("\0\r\n".to_owned()),
        (Change::Long, Value::Text(text)) => Value::Text(text.repeat(65_536 / text.len())),
        (Change::Most | Change::Long, Value::Scalars { size, .. }) => {
            Value::Scalars { bits: vec![u64::MAX; 4096], size: *size }
        }
        (Change::Most, Value::List(items)) => Value::List(items.iter().cloned().cycle().take(40).collect()),
        (Change::Long, Value::List(items)) => Value::List(items.iter().cloned().cycle().take(4096).collect()),
        (_, other) => other.clone(),
    })
}

/// The value with each of its fields changed in turn, with the path of the field.
fn each_change(value: &Value, path: &str, out: &mut Vec<(String, Value)>) {
    match value {
        Value::Table(fields) => {
            for (i, (slot, field)) in fields.iter().enumerate() {
                let path = format!("{path}.{slot}");
                for change in CHANGES {
                    let mut fields = fields.clone();
                    match changed(field, change) {
                        Some(value) => fields[i].1 = value,
                        None => drop(fields.remove(i)),
                    }
                    out.push((format!("{path} {change:?}"), Value::Table(fields)));
                }
                let mut below = Vec::new();
                each_change(field, &path, &mut below);
                for (path, value) in below {
                    let mut fields = fields.clone();
                    fields[i].1 = value;
                    out.push((path, Value::Table(fields)));
                }
            }
        }
        Value::List(items) => {
            let mut below = Vec::new();
            each_change(&items[0], path, &mut below);
            out.extend(below.into_iter().map(|(path, item)| (path, Value::List(vec![item]))));
        }
        _ => {}
    }
}

fn request(tag: u8, target: u64, body: Value) -> Vec<u8> {
    let byte = |bits: u64| Value::Scalar { bits, size: 1 };
    let word = |bits: u64| Value::Scalar { bits, size: 8 };
    let request = vec![(4, word(1)), (6, word(target)), (8, byte(u64::from(tag))), (10, body)];
    message(&Value::Table(vec![(4, byte(1)), (6, Value::Table(request))]))
}

/// Submits; what is accepted must be answered once, and nothing may be our own bug.
fn play(room: &mut Room, bytes: &[u8], what: &str) {
    if let Err(error) = room.engine.submit(bytes) {
        assert_eq!(error.code, ErrorCode::Malformed, "{what}: {error}");
        return;
    }
    room.engine.run();
    let reply = |m: fb::ContentT| match m {
        fb::ContentT::Reply(reply) => Some(reply),
        _ => None,
    };
    let replies: Vec<_> = room.engine.messages().into_iter().filter_map(reply).collect();
    assert_eq!(replies.len(), 1, "{what}");
    assert!(
        replies[0].code != fb::Code::internal && replies[0].code != fb::Code::malformed,
        "{what}: {:?}",
        replies[0]
    );
    if replies[0].code != fb::Code::ok {
        let text = replies[0].text.as_deref().unwrap_or_default();
        assert!(!text.is_empty() && text.len() < 300 && !text.contains('\n'), "{what}: {text}");
    }
}

/// A room with a producer and a consumer, and the target for each kind of request.
fn stage() -> (Room, Vec<u64>) {
    let mut room = Room::new();
    let producer = room.produce(1);
    let consumer = room.consume(producer);
    PRODUCER.with(|p| p.set(producer));
    let targets = vec![0, room.router, room.publishing, room.subscribing, producer, consumer];
    (room, targets)
}

#[test]
fn h33_each_field_of_each_request_absent_empty_or_at_its_most_is_answered_or_refused() {
    let schema = Schema::read();
    let mut played = 0;
    for (i, name) in schema.unions["RequestBody"].iter().enumerate() {
        let (mut room, targets) = stage();
        let full = table(&schema, name, &room);
        let mut bodies = vec![(String::new(), full.clone()), ("without fields".to_owned(), Value::Table(Vec::new()))];
        each_change(&full, "", &mut bodies);
        for (what, body) in bodies {
            for target in &targets {
                if name == "Close" {
                    room = stage().0;
                }
                play(&mut room, &request(i as u8 + 1, *target, body.clone()), &format!("{name}{what}"));
                played += 1;
            }
        }
    }
    assert!(played > 3_000, "only {played} messages were made");
}

#[test]
fn h33_each_request_under_the_tag_of_each_other_is_answered_or_refused() {
    let schema = Schema::read();
    let names = &schema.unions["RequestBody"];
    for name in names {
        let (mut room, targets) = stage();
        for tag in 0..=names.len() as u8 + 1 {
            if names.get(usize::from(tag).wrapping_sub(1)).is_some_and(|n| n == "Close") {
                continue;
            }
            for target in &targets {
                let body = table(&schema, name, &room);
                play(&mut room, &request(tag, *target, body), &format!("{name} under tag {tag}"));
            }
        }
    }
}

#[test]
fn h33_engine_options_with_each_field_changed_are_taken_or_refused_with_one_line() {
    let schema = Schema::read();
    let room = Room::new();
    let full = table(&schema, "EngineOptions", &room);
    let mut all = vec![("without fields".to_owned(), Value::Table(Vec::new()))];
    each_change(&full, "", &mut all);
    for (what, options) in all {
        let content = (4, Value::Scalar { bits: 4, size: 1 });
        let bytes = message(&Value::Table(vec![content, (6, options)]));
        let result = crate::EngineOptions::decode(&bytes).and_then(|o| o.resolve(&[0, 1]));
        if let Err(error) = result {
            assert!(!error.text.is_empty() && !error.text.contains('\n'), "{what}: {error}");
        }
    }
}
