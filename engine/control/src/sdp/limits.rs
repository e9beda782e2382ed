//! How much of everything a session description may hold. A browser's offer for forty people is below each.

/// Bytes of a description or a fragment.
pub const BYTES: usize = 256 * 1024;
/// Lines of it.
pub const LINES: usize = 16_384;
/// Bytes of one line; H264 parameter sets and candidates are the longest in use.
pub const LINE: usize = 4096;
/// Media sections.
pub const SECTIONS: usize = 128;
/// Attributes before the first media section, and in each.
pub const ATTRIBUTES: usize = 1024;
/// Formats of one media line: payload types are seven bits.
pub const FORMATS: usize = 128;
/// SSRCs of one section, RTX included.
pub const SSRCS: usize = 64;
