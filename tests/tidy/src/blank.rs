//! Blanks comments and literals of Rust text, so that rules look at code only. Lines and columns stay.

/// The same text with every character of comments and of string and character literals made a space.
#[must_use]
pub fn blank(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = skip(&bytes, at);
        if end == at {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(bytes[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment or literal that begins here ends; here itself when none begins.
fn skip(text: &[char], at: usize) -> usize {
    let next = text.get(at + 1).copied();
    match text[at] {
        '/' if next == Some('/') => find(text, at, |c| c == '\n'),
        '/' if next == Some('*') => block_comment(text, at),
        '"' => string(text, at + 1),
        'r' if !follows_name(text, at) => raw_string(text, at).unwrap_or(at),
        '\'' => character(text, at).unwrap_or(at),
        _ => at,
    }
}

fn find(text: &[char], from: usize, matches: impl Fn(char) -> bool) -> usize {
    text[from..].iter().position(|c| matches(*c)).map_or(text.len(), |offset| from + offset)
}

fn follows_name(text: &[char], at: usize) -> bool {
    // `br"..."` is a literal too, so a single `b` before it does not count as a name.
    let before = |back: usize| at.checked_sub(back).map(|index| text[index]);
    let name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if before(1) == Some('b') { name(before(2)) } else { name(before(1)) }
}

fn block_comment(text: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut here = at;
    while here + 1 < text.len() {
        match (text[here], text[here + 1]) {
            ('/', '*') => {
                depth += 1;
                here += 2;
            }
            ('*', '/') => {
                depth -= 1;
                here += 2;
                if depth == 0 {
                    return here;
                }
            }
            _ => here += 1,
        }
    }
    text.len()
}

fn string(text: &[char], from: usize) -> usize {
    let mut here = from;
    while here < text.len() {
        match text[here] {
            '\\' => here += 2,
            '"' => return here + 1,
            _ => here += 1,
        }
    }
    text.len()
}

fn raw_string(text: &[char], at: usize) -> Option<usize> {
    let hashes = text[at + 1..].iter().take_while(|c| **c == '#').count();
    let mut here = at + 1 + hashes;
    if text.get(here) != Some(&'"') {
        return None;
    }
    here += 1;
    while here < text.len() {
        let closes = text[here] == '"' && text[here + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        if closes {
            return Some(here + 1 + hashes);
        }
        here += 1;
    }
    Some(text.len())
}

/// A character literal, told from a lifetime by its closing quote.
fn character(text: &[char], at: usize) -> Option<usize> {
    let close = if text.get(at + 1) == Some(&'\\') {
        let from = at + 3;
        (from..text.len().min(from + 9)).find(|index| text[*index] == '\'')?
    } else {
        at + 2
    };
    (text.get(close) == Some(&'\'')).then_some(close + 1)
}

#[cfg(test)]
mod tests {
    use super::blank;

    /// What is left, with runs of blanks made one; its length must not have changed.
    fn left(text: &str) -> String {
        let blanked = blank(text);
        assert_eq!(blanked.chars().count(), text.chars().count());
        assert_eq!(blanked.lines().count(), text.lines().count());
        blanked.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_go_and_lines_stay() {
        assert_eq!(left("a // b\nc /* d /* e */ f */ g"), "a c g");
    }

    #[test]
    fn strings_go_with_their_escapes() {
        assert_eq!(left(r#"f("a\"b", c)"#), "f( , c)");
        assert_eq!(left("f(r#\"a\"b\"#, c)"), "f( , c)");
    }

    #[test]
    fn lifetimes_are_not_characters() {
        assert_eq!(left("&'a str, 'x', '\\n'"), "&'a str, ,");
    }

    #[test]
    fn names_that_end_in_r_do_not_open_raw_strings() {
        assert_eq!(left("var\"x\"y"), "var y");
    }
}
