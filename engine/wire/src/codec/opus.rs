//! Payload format.
