//! Payload format.

/// Does this payload begin a key frame?
pub fn is_key_frame(_payload: &[u8]) -> bool {
    false
}
