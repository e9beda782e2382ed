//! The one error of this floor: what was wrong, and where.

/// Bytes that are not what they claim to be, or a slice too small to write into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseError {
    /// What was wrong, as a noun phrase. Never contains bytes of the input.
    pub what: &'static str,
    /// Offset into the input at which it was noticed.
    pub offset: usize,
}

impl ParseError {
    /// Makes an error.
    #[inline]
    pub const fn new(what: &'static str, offset: usize) -> Self {
        Self { what, offset }
    }
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}", self.what, self.offset)
    }
}

impl std::error::Error for ParseError {}
