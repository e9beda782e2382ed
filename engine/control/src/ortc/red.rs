//! The fmtp line of RED for audio (RFC 2198, section 5): the payload types of the blocks in a packet, as in `111/111`.
//!
//! It is no list of names and values. Clients hold it as a parameter without a name (`"" = "111/111"`), as one whose
//! name is the list (`"111/111" = ""`), or lose it; what is said here is the first of these. Without a list RED carries
//! the first codec of its clock and channels. Left out: RED of several different codecs.

use sfu_wire::codec::CodecKind;

use super::codec::codec_kind;
use super::types::{ParameterValue, Parameters, RtpCodecParameters};

/// Most blocks of a packet that are negotiated. Browsers have two, and never more than nine.
const BLOCKS: usize = 9;

/// What can be said of the payload types of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocks {
    /// Nothing is said.
    Unsaid,
    /// All blocks are of this payload type, so many in a packet.
    Of(u8, usize),
    /// Different ones, or what is no payload type.
    Unusable,
}

/// Reads the list of blocks.
pub fn blocks(parameters: &Parameters) -> Blocks {
    let list = match parameters.get("") {
        Some(value) => value.to_text(),
        None => match parameters.iter().find(|(_, value)| value.to_text().is_empty()) {
            Some((name, _)) => name.clone(),
            None => return Blocks::Unsaid,
        },
    };
    let types: Vec<Option<u8>> = list.split('/').map(|pt| pt.trim().parse().ok()).collect();
    match types.first() {
        Some(Some(first)) if types.len() <= BLOCKS && types.iter().all(|pt| *pt == Some(*first)) => {
            Blocks::Of(*first, types.len())
        }
        _ => Blocks::Unusable,
    }
}

/// The parameters of a RED codec that repeats `payload_type`.
pub fn parameters(payload_type: u8, count: usize) -> Parameters {
    let list = vec![payload_type.to_string(); count.clamp(2, BLOCKS)].join("/");
    Parameters::from([(String::new(), ParameterValue::Text(list))])
}

/// The codec that a RED codec of the same list repeats, and how many blocks a packet has.
pub fn primary<'c>(
    red: &RtpCodecParameters,
    codecs: &'c [RtpCodecParameters],
) -> Option<(&'c RtpCodecParameters, usize)> {
    let fits = |c: &&RtpCodecParameters| {
        codec_kind(&c.mime_type) == CodecKind::Opus && c.clock_rate == red.clock_rate && c.channels == red.channels
    };
    match blocks(&red.parameters) {
        Blocks::Unsaid => codecs.iter().find(fits).map(|c| (c, 2)),
        Blocks::Of(pt, count) => codecs.iter().filter(fits).find(|c| c.payload_type == pt).map(|c| (c, count)),
        Blocks::Unusable => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, value: &str) -> Blocks {
        blocks(&Parameters::from([(name.to_owned(), value.into())]))
    }

    #[test]
    fn the_list_is_read_wherever_a_client_puts_it() {
        assert_eq!(of("", "111/111"), Blocks::Of(111, 2));
        assert_eq!(of("111/111/111", ""), Blocks::Of(111, 3));
        assert_eq!(blocks(&Parameters::new()), Blocks::Unsaid);
        assert_eq!(of("maxptime", "60"), Blocks::Unsaid);
        assert_eq!(blocks(&parameters(97, 2)), Blocks::Of(97, 2));
        assert_eq!(blocks(&parameters(97, 0)), Blocks::Of(97, 2), "a list of less is no redundancy");
    }

    #[test]
    fn row_078_lists_of_several_codecs_or_of_no_payload_types_are_unusable() {
        for list in ["111/112", "111/", "x/y", "300/300", "", &["1"; 10].join("/")] {
            assert_eq!(of("", list), Blocks::Unusable, "{list}");
        }
    }
}
