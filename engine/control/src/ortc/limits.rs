//! How much of everything the dictionaries may hold. A browser's offer is an order of magnitude below each.

/// Codecs in capabilities or parameters, RTX entries included.
pub const CODECS: usize = 128;
/// Codecs that a router may be made of, RTX not counted: a dynamic payload type for each, and one for its RTX.
pub const ROUTER_CODECS: usize = 28;
/// Header extensions in a list.
pub const HEADER_EXTENSIONS: usize = 64;
/// Encodings in a list: as many as there are spatial layers.
pub const ENCODINGS: usize = 8;
/// RTCP feedback kinds of one codec.
pub const FEEDBACK: usize = 16;
/// fmtp parameters of one codec or header extension.
pub const PARAMETERS: usize = 32;
/// Bytes of names, MIME types, feedback kinds.
pub const NAME: usize = 64;
/// Bytes of a parameter's text (H264 parameter sets are the longest) and of a URI.
pub const TEXT: usize = 1024;
/// Bytes of a CNAME: the length field of an SDES item is one byte.
pub const CNAME: usize = 255;
/// Bytes of an msid.
pub const MSID: usize = 256;
/// Fingerprints in DTLS parameters.
pub const FINGERPRINTS: usize = 16;
