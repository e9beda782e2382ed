//! The protoo protocol: JSON frames of a request-and-response protocol over a WebSocket, both ways.
//!
//! Told: text frames. Tells: typed frames, and the text of our own. A frame that is wrong is refused with the field
//! named, and the connection goes on. Leaves out: the WebSocket itself (see [`crate::session`]).

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// The largest frame taken from a peer, in bytes. A browser's `produce` is below 10 KiB.
pub(crate) const MAX_FRAME: usize = 256 * 1024;

/// A refused request: the code follows HTTP, the reason names the field and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) reason: String,
}

impl Refusal {
    pub(crate) fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// The request is wrong at `field`.
    pub(crate) fn field(field: &str, problem: impl fmt::Display) -> Self {
        Self::new(400, format!("{field}: {problem}"))
    }

    /// Nothing of that id belongs to this peer.
    pub(crate) fn unknown(field: &str, id: &str) -> Self {
        Self::new(404, format!("{field}: {id:?} is not an object of this peer; it may have been closed"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.code)
    }
}

/// What a peer said.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame {
    Request {
        id: u32,
        method: String,
        data: Data,
    },
    Response {
        id: u32,
        result: Result<Value, Refusal>,
    },
    /// Peers have nothing to notify us of; unknown ones are ignored.
    Notification {
        method: String,
    },
}

/// A frame that is none; `id` is that of the request, if it can be made out, so that it can be answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadFrame {
    pub(crate) id: Option<u32>,
    pub(crate) refusal: Refusal,
}

/// Parses one text frame.
pub(crate) fn parse(text: &str) -> Result<Frame, BadFrame> {
    let bad = |id, field: &str, problem: &str| Err(BadFrame { id, refusal: Refusal::field(field, problem) });
    let value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return bad(None, "frame", &format!("not JSON: {error}")),
    };
    let Value::Object(mut frame) = value else {
        return bad(None, "frame", "expected a JSON object");
    };
    let set = |name: &str| frame.get(name) == Some(&Value::Bool(true));
    let (request, response, notification) = (set("request"), set("response"), set("notification"));
    let id = frame.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
    let method = match frame.remove("method") {
        Some(Value::String(method)) if method.len() <= 64 => Some(method),
        _ => None,
    };
    if request {
        let Some(id) = id else { return bad(None, "id", "expected an integer below 2^32") };
        let Some(method) = method else { return bad(Some(id), "method", "expected a string of at most 64 bytes") };
        let data = match frame.remove("data") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(data)) => data,
            Some(_) => return bad(Some(id), "data", "expected an object"),
        };
        Ok(Frame::Request { id, method, data: Data(data) })
    } else if response {
        let Some(id) = id else { return bad(None, "id", "expected an integer below 2^32") };
        let result = if frame.get("ok") == Some(&Value::Bool(true)) {
            Ok(frame.remove("data").unwrap_or(Value::Null))
        } else {
            Err(refusal_of(&frame))
        };
        Ok(Frame::Response { id, result })
    } else if notification {
        match method {
            Some(method) => Ok(Frame::Notification { method }),
            None => bad(None, "method", "expected a string of at most 64 bytes"),
        }
    } else {
        bad(None, "frame", "one of request, response and notification must be true")
    }
}

fn refusal_of(frame: &Map<String, Value>) -> Refusal {
    let code = frame.get("errorCode").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let reason = frame.get("errorReason").and_then(Value::as_str).unwrap_or("no reason given");
    Refusal::new(code.unwrap_or(500), reason.chars().take(200).collect::<String>())
}

/// Our request.
pub(crate) fn request(id: u32, method: &str, data: &Value) -> String {
    json!({ "request": true, "id": id, "method": method, "data": data }).to_string()
}

/// Our notification.
pub(crate) fn notification(method: &str, data: &Value) -> String {
    json!({ "notification": true, "method": method, "data": data }).to_string()
}

/// Our answer to request `id`.
pub(crate) fn response(id: u32, result: &Result<Value, Refusal>) -> String {
    match result {
        Ok(data) => json!({ "response": true, "id": id, "ok": true, "data": data }),
        Err(refusal) => {
            json!({ "response": true, "id": id, "ok": false, "errorCode": refusal.code, "errorReason": refusal.reason })
        }
    }
    .to_string()
}

/// The `data` of a request, read field by field; each refusal names its field.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Data(Map<String, Value>);

impl Data {
    /// The fields of a JSON object.
    pub(crate) fn new(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// Text of at most `max` characters, not empty, without control characters.
    pub(crate) fn text(&self, field: &str, max: usize) -> Result<&str, Refusal> {
        let Some(Value::String(text)) = self.0.get(field) else {
            return Err(Refusal::field(field, "missing; expected a string"));
        };
        check_text(field, text, max)?;
        Ok(text)
    }

    /// A truth value; absent and null are false.
    pub(crate) fn flag(&self, field: &str) -> Result<bool, Refusal> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(_) => Err(Refusal::field(field, "expected true or false")),
        }
    }

    /// A whole number, absent or null.
    pub(crate) fn number(&self, field: &str, max: u8) -> Result<Option<u8>, Refusal> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64().and_then(|n| u8::try_from(n).ok()) {
                Some(number) if number <= max => Ok(Some(number)),
                _ => Err(Refusal::field(field, format_args!("expected a whole number from 0 to {max}"))),
            },
        }
    }

    /// A structure or a word, not a list; serde's words name what is wrong inside.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, field: &str) -> Result<T, Refusal> {
        match self.0.remove(field) {
            None => Err(Refusal::field(field, "missing")),
            // serde would take a list for a structure, member by member.
            Some(Value::Array(_)) => Err(Refusal::field(field, "expected an object, not a list")),
            Some(value) => serde_json::from_value(value).map_err(|error| Refusal::field(field, error)),
        }
    }

    /// A structure that may be absent.
    pub(crate) fn take_option<T: DeserializeOwned>(&mut self, field: &str) -> Result<Option<T>, Refusal> {
        if self.0.get(field).is_none_or(Value::is_null) { Ok(None) } else { self.take(field).map(Some) }
    }

    /// An object that is carried and not read, of at most `max` bytes of JSON; absent is an empty one.
    pub(crate) fn take_opaque(&mut self, field: &str, max: usize) -> Result<Map<String, Value>, Refusal> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(object)) => {
                let size = Value::Object(object.clone()).to_string().len();
                if size > max {
                    return Err(Refusal::field(field, format_args!("{size} bytes of JSON; at most {max} are carried")));
                }
                Ok(object)
            }
            Some(_) => Err(Refusal::field(field, "expected an object")),
        }
    }
}

/// The rule for names and ids that people give: not empty, at most `max` characters, no control characters.
pub(crate) fn check_text(field: &str, text: &str, max: usize) -> Result<(), Refusal> {
    if text.trim().is_empty() {
        Err(Refusal::field(field, "is empty"))
    } else if text.chars().count() > max {
        Err(Refusal::field(field, format_args!("longer than {max} characters")))
    } else if text.chars().any(char::is_control) {
        Err(Refusal::field(field, "has control characters"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_is_parsed_and_its_data_may_be_absent() {
        let frame = parse(r#"{"request":true,"id":7,"method":"join","data":{"displayName":"Ada"}}"#).unwrap();
        let Frame::Request { id, method, data } = frame else { panic!("no request") };
        assert_eq!((id, method.as_str(), data.text("displayName", 60).unwrap()), (7, "join", "Ada"));
        assert_eq!(
            parse(r#"{"request":true,"id":8,"method":"x"}"#).unwrap(),
            Frame::Request { id: 8, method: "x".into(), data: Data::default() }
        );
    }

    #[test]
    fn wrong_frames_are_refused_with_their_field_and_keep_the_id_where_there_is_one() {
        let cases = [
            ("", None, "frame: not JSON"),
            ("[]", None, "frame: expected"),
            ("{}", None, "frame: one of"),
            (r#"{"request":true,"method":"x"}"#, None, "id: "),
            (r#"{"request":true,"id":4294967296,"method":"x"}"#, None, "id: "),
            (r#"{"request":true,"id":1}"#, Some(1), "method: "),
            (r#"{"request":true,"id":1,"method":"x","data":[1]}"#, Some(1), "data: "),
            (r#"{"response":true}"#, None, "id: "),
            (r#"{"notification":true}"#, None, "method: "),
        ];
        for (text, id, reason) in cases {
            let bad = parse(text).unwrap_err();
            assert_eq!(bad.id, id, "{text}");
            assert!(bad.refusal.reason.starts_with(reason), "{text}: {}", bad.refusal.reason);
        }
        let deep = "[".repeat(100_000);
        assert!(parse(&deep).is_err(), "nesting is bounded");
    }

    #[test]
    fn a_response_is_a_value_or_a_refusal() {
        assert_eq!(
            parse(r#"{"response":true,"id":1,"ok":true}"#).unwrap(),
            Frame::Response { id: 1, result: Ok(Value::Null) }
        );
        assert_eq!(
            parse(r#"{"response":true,"id":1,"ok":false,"errorCode":404,"errorReason":"no"}"#).unwrap(),
            Frame::Response { id: 1, result: Err(Refusal::new(404, "no")) }
        );
    }

    #[test]
    fn fields_are_checked_one_by_one() {
        let mut data =
            Data(json!({"n": 1, "s": "", "c": "a\u{7}", "b": "no", "o": {"k": "v"}}).as_object().unwrap().clone());
        assert_eq!(data.text("x", 10).unwrap_err().reason, "x: missing; expected a string");
        assert_eq!(data.text("n", 10).unwrap_err().code, 400);
        assert_eq!(data.text("s", 10).unwrap_err().reason, "s: is empty");
        assert_eq!(data.text("c", 10).unwrap_err().reason, "c: has control characters");
        assert!(data.flag("b").is_err() && !data.flag("absent").unwrap());
        assert!(data.take_opaque("o", 3).is_err());
        assert!(data.take::<u8>("n").is_ok() && data.take::<u8>("n").is_err());
        assert_eq!(data.take_option::<u8>("n").unwrap(), None);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-zA-Z]{0,12}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_a_frame_says_it_is_parsed_or_refused(
            members in prop::collection::hash_map("request|response|notification|id|method|ok|data|errorCode|errorReason", json(), 0..9),
            flag in prop::sample::select(vec!["request", "response", "notification", "none"]),
        ) {
            let mut frame: Map<String, Value> = members.into_iter().collect();
            frame.insert(flag.to_owned(), Value::Bool(true));
            match parse(&Value::Object(frame).to_string()) {
                Ok(Frame::Request { mut data, .. }) => {
                    for field in ["a", "data", "id"] {
                        let _ = (data.text(field, 5).is_ok(), data.flag(field).is_ok());
                        let _ = data.take_opaque(field, 50);
                        let _ = data.take::<sfu_control::ortc::RtpParameters>(field);
                    }
                }
                Ok(_) => {}
                Err(bad) => prop_assert!(bad.refusal.reason.contains(": ")),
            }
        }

        #[test]
        fn no_text_at_all_is_worse_than_refused(text in ".{0,300}") {
            let _ = parse(&text);
        }
    }
}
