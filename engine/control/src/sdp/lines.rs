//! Text to lines: the outermost shape of a session description (RFC 8866, section 5) and of a trickle-ICE fragment
//! (RFC 8840, section 9).
//!
//! Told: text of any content. Tells: numbered lines, split at the media lines, or the first line that is wrong. Limits:
//! [`limits`], checked before anything is kept; one pass, nothing nested. Leaves out: what lines mean,
//! and their order within a part, which peers do not keep.

use sfu_core::command::{CommandError, ErrorCode};

use super::limits;
use crate::ortc::convert::shown;

/// Refusal of a description: the line (from 1) where there is one, and a sentence with the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdpError {
    /// Line, from 1.
    pub line: Option<u32>,
    /// `InvalidArgument`, or `Unsupported` for what is right and cannot be served.
    pub code: ErrorCode,
    /// What is wrong, the value, and the remedy.
    pub text: String,
}

impl SdpError {
    pub(crate) fn new(code: ErrorCode, line: impl Into<Option<u32>>, text: impl Into<String>) -> Self {
        Self { line: line.into(), code, text: text.into() }
    }

    pub(crate) fn invalid(line: impl Into<Option<u32>>, text: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidArgument, line, text)
    }

    pub(crate) fn unsupported(line: impl Into<Option<u32>>, text: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unsupported, line, text)
    }

    /// As the refusal of the request's field that held the text.
    pub fn in_field(self, field: &str) -> CommandError {
        let text = match self.line {
            Some(line) => format!("line {line}: {}", self.text),
            None => self.text,
        };
        CommandError::new(self.code, field, text)
    }
}

/// One `x=value` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// From 1.
    pub(crate) number: u32,
    /// The letter before `=`.
    pub(crate) letter: u8,
    pub(crate) value: &'a str,
}

impl<'a> Line<'a> {
    /// Name and value of an attribute line; a flag has an empty value.
    pub(crate) fn attribute(&self) -> Option<(&'a str, &'a str)> {
        (self.letter == b'a').then(|| self.value.split_once(':').unwrap_or((self.value, "")))
    }

    /// A refusal of this line.
    pub(crate) fn wrong(&self, text: impl std::fmt::Display) -> SdpError {
        let text = format!("{}: {text}", shown(&format!("{}={}", char::from(self.letter), self.value)));
        SdpError::new(ErrorCode::InvalidArgument, self.number, text)
    }
}

/// Lines before the first media line, and those of each media section, its media line first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lines<'a> {
    pub(crate) session: Vec<Line<'a>>,
    pub(crate) sections: Vec<Vec<Line<'a>>>,
}

/// Splits a text into lines.
pub(crate) fn split(text: &str) -> Result<Lines<'_>, SdpError> {
    if text.len() > limits::BYTES {
        return Err(SdpError::invalid(None, format!("{} bytes; give at most {}", text.len(), limits::BYTES)));
    }
    let mut lines = Lines { session: Vec::new(), sections: Vec::new() };
    for (at, raw) in text.split('\n').enumerate() {
        if at >= limits::LINES {
            return Err(SdpError::invalid(None, format!("more than {} lines", limits::LINES)));
        }
        let raw = raw.strip_suffix('\r').unwrap_or(raw);
        // Blank lines come from texts that were pasted or joined.
        if raw.is_empty() {
            continue;
        }
        let line = line(raw, at as u32 + 1)?;
        if line.letter == b'm' {
            if lines.sections.len() >= limits::SECTIONS {
                let text = format!("more than {} media sections", limits::SECTIONS);
                return Err(SdpError::invalid(line.number, text));
            }
            lines.sections.push(Vec::new());
        }
        let part = lines.sections.last_mut().unwrap_or(&mut lines.session);
        if part.len() >= limits::ATTRIBUTES {
            let text = format!("more than {} lines in one section", limits::ATTRIBUTES);
            return Err(SdpError::invalid(line.number, text));
        }
        part.push(line);
    }
    Ok(lines)
}

fn line(raw: &str, number: u32) -> Result<Line<'_>, SdpError> {
    if raw.len() > limits::LINE {
        return Err(SdpError::invalid(number, format!("{} bytes; give at most {}", raw.len(), limits::LINE)));
    }
    if raw.chars().any(|c| c.is_control() && c != '\t') {
        return Err(SdpError::invalid(number, format!("{} has control characters", shown(raw))));
    }
    match raw.as_bytes() {
        [letter, b'=', ..] if letter.is_ascii_lowercase() => Ok(Line { number, letter: *letter, value: &raw[2..] }),
        _ => Err(SdpError::invalid(number, format!("{} is no line of SDP; give a letter and =", shown(raw)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_or_without_carriage_return_and_blank_ones_are_skipped() {
        let lines = split("v=0\r\n\r\na=x:y z\nm=audio 9 X 0\r\na=flag\n").expect("four lines");
        assert_eq!(lines.session.len(), 2);
        assert_eq!(lines.session[1].attribute(), Some(("x", "y z")));
        assert_eq!(lines.session[0].attribute(), None);
        assert_eq!(lines.sections[0][1].attribute(), Some(("flag", "")));
        assert_eq!(lines.sections[0][1].number, 5);
    }

    #[test]
    fn h40_lines_lengths_and_sections_have_caps() {
        for (text, says) in [
            ("x".repeat(limits::BYTES + 1), "bytes"),
            ("\n".repeat(limits::LINES), "lines"),
            (format!("v=0\na={}", "x".repeat(limits::LINE)), "bytes"),
            ("m=audio 9 X 0\n".repeat(limits::SECTIONS + 1), "media sections"),
            (format!("v=0\n{}", "a=x\n".repeat(limits::ATTRIBUTES)), "in one section"),
        ] {
            let error = split(&text).expect_err("it is beyond a limit");
            assert!(error.code == ErrorCode::InvalidArgument && error.text.contains(says), "{error:?}");
        }
    }

    #[test]
    fn what_is_no_line_is_refused_with_its_number() {
        for wrong in ["nonsense", "=", "A=x", "é=1", "a=\u{0}", "a=\u{7}bell", "a"] {
            let error = split(&format!("v=0\n{wrong}\n")).expect_err(wrong);
            assert_eq!((error.line, error.code), (Some(2), ErrorCode::InvalidArgument), "{wrong}");
        }
    }
}
