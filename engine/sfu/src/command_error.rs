//! Why a command was refused, in the controller's words.

use sfu_wire::id::ObjectId;

/// What kind of mistake a command made. Numbers are part of the public contract: never renumbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum ErrorCode {
    /// Bytes that are no command.
    Malformed = 1,
    /// A value out of its range; the field is named.
    InvalidArgument = 2,
    /// No such object (any more).
    NotFound = 3,
    /// The object exists but is not in a state for this.
    InvalidState = 4,
    /// The value collides with one in use (SSRC, MID, port).
    AlreadyExists = 5,
    /// Well-formed, but outside what libsfu does.
    Unsupported = 6,
    /// A queue is full: try again.
    Busy = 7,
    /// A limit of the configuration or of the machine is reached.
    ResourceExhausted = 8,
    /// An address or port cannot be had.
    AddressUnavailable = 9,
    /// The engine or the shard is shutting down.
    Closed = 10,
    /// A bug on our side.
    Internal = 11,
}

/// A refused command: nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    /// The kind of mistake.
    pub code: ErrorCode,
    /// Path of the offending field, in the caller's words (`encodings[0].ssrc`); empty if none.
    pub field: String,
    /// One sentence with the value and the remedy.
    pub text: String,
}

impl CommandError {
    /// Makes an error.
    pub fn new(code: ErrorCode, field: impl Into<String>, text: impl Into<String>) -> Self {
        Self { code, field: field.into(), text: text.into() }
    }

    /// The object named by `field` does not exist.
    pub fn not_found(field: &str, id: ObjectId) -> Self {
        Self::new(ErrorCode::NotFound, field, format!("no such object: {id}; it may have been closed"))
    }
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.field.is_empty() {
            write!(f, "{:?}: {}", self.code, self.text)
        } else {
            write!(f, "{:?}: {}: {}", self.code, self.field, self.text)
        }
    }
}

impl std::error::Error for CommandError {}
