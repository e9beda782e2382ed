//! The door for the caller's bytes: one size-prefixed message in, object-API values out.
//!
//! The flatbuffers verifier runs first, always, with limits on depth, tables and apparent size, so that whatever
//! passes is small and whole. Told: bytes. Tells: a message's content, or which field is malformed and why. Meaning
//! (ranges, states, negotiation) is not checked here.

use flatbuffers::{InvalidFlatbuffer, VerifierOptions};
use sfu_core::command::{CommandError, ErrorCode};

use crate::schema as fb;

/// Largest message that is accepted, with its prefix.
pub const MAX_MESSAGE: usize = 1 << 20;
/// Smallest one: prefix, root offset, file identifier.
const MIN_MESSAGE: usize = 12;
const PREFIX: usize = 4;

/// The schema nests seven tables; more is no message of ours.
const MAX_DEPTH: usize = 16;

/// Bounds of one direction.
struct Bounds {
    bytes: usize,
    tables: usize,
    /// Tables and strings may be shared between offsets; unpacking does not share, so this bounds its memory.
    apparent: usize,
}

/// What callers submit. A list of 4096 codecs with two tables each still passes, and is then refused by its field.
const SUBMITTED: Bounds = Bounds { bytes: MAX_MESSAGE, tables: 16_384, apparent: 4 << 20 };
/// What the engine says: the statistics of a full router.
const POLLED: Bounds = Bounds { bytes: 256 << 20, tables: 4 << 20, apparent: 1 << 30 };

/// A decoded request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Chosen by the caller; comes back in the reply.
    pub id: u64,
    /// The object; 0 is the engine.
    pub target: u64,
    /// What to do.
    pub body: fb::RequestBodyT,
}

fn malformed(field: impl Into<String>, text: impl Into<String>) -> CommandError {
    CommandError::new(ErrorCode::Malformed, field, text)
}

/// The verifier's complaint as one sentence, and the field where it has one.
fn from_verifier(error: &InvalidFlatbuffer) -> CommandError {
    let field = match error {
        InvalidFlatbuffer::MissingRequiredField { required, .. } => required.to_string(),
        // The verifier names the tag; the field is what callers know.
        InvalidFlatbuffer::InconsistentUnion { field, .. } => field.trim_end_matches("_type").to_owned(),
        _ => String::new(),
    };
    let text = error.to_string();
    malformed(field, text.lines().next().unwrap_or("the verifier refused the message").to_owned())
}

/// Decodes exactly one message of a caller.
pub fn message(bytes: &[u8]) -> Result<fb::ContentT, CommandError> {
    bounded(bytes, &SUBMITTED)
}

fn bounded(bytes: &[u8], bounds: &Bounds) -> Result<fb::ContentT, CommandError> {
    if bytes.len() < MIN_MESSAGE {
        return Err(malformed("", format!("{} bytes are no message; the least is {MIN_MESSAGE}", bytes.len())));
    }
    if bytes.len() > bounds.bytes {
        return Err(malformed("", format!("{} bytes; at most {} are accepted", bytes.len(), bounds.bytes)));
    }
    let (prefix, rest) = bytes.split_at(PREFIX);
    let announced = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]);
    if announced as usize != rest.len() {
        let text = format!("the size prefix says {announced}, but {} bytes follow it", rest.len());
        return Err(malformed("", text));
    }
    if rest[4..8] != *fb::MESSAGE_IDENTIFIER.as_bytes() {
        return Err(malformed("", format!("the file identifier is not {}", fb::MESSAGE_IDENTIFIER)));
    }
    let options = VerifierOptions {
        max_depth: MAX_DEPTH,
        max_tables: bounds.tables,
        max_apparent_size: bounds.apparent,
        ignore_missing_null_terminator: false,
    };
    let message = fb::size_prefixed_root_as_message_with_opts(&options, bytes).map_err(|e| from_verifier(&e))?;
    if message.content_type().variant_name().is_none() || message.content_type() == fb::Content::NONE {
        return Err(malformed("content", format!("{} is no known content", message.content_type().0)));
    }
    Ok(message.unpack().content)
}

/// Decodes a message whose content is a request.
pub fn request(bytes: &[u8]) -> Result<Request, CommandError> {
    match message(bytes)? {
        fb::ContentT::Request(request) if request.body == fb::RequestBodyT::NONE => {
            Err(malformed("body", "the request has no body, or one of an unknown type"))
        }
        fb::ContentT::Request(request) => Ok(Request { id: request.id, target: request.target, body: request.body }),
        other => Err(malformed("content", format!("{:?} is no request", other.content_type()))),
    }
}

/// Decodes a message whose content is engine options.
pub fn engine_options(bytes: &[u8]) -> Result<fb::EngineOptionsT, CommandError> {
    match message(bytes)? {
        fb::ContentT::EngineOptions(options) => Ok(*options),
        other => Err(malformed("content", format!("{:?} are no engine options", other.content_type()))),
    }
}

/// Decodes messages that lie one after the other, as `poll` writes them. Ends after the first malformed one.
pub fn messages(bytes: &[u8]) -> impl Iterator<Item = Result<fb::ContentT, CommandError>> + '_ {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = rest.first_chunk::<PREFIX>().map_or(0, |p| u32::from_le_bytes(*p) as usize).saturating_add(PREFIX);
        if length > rest.len() || length < MIN_MESSAGE {
            rest = &[];
            return Some(Err(malformed("", "a message is cut off")));
        }
        let (one, more) = rest.split_at(length);
        rest = more;
        Some(bounded(one, &POLLED))
    })
}
