//! Bearer tokens and addresses that cannot be guessed.

use std::fmt::Write;

use openssl::memcmp;
use openssl::sha::sha256;

use crate::protoo::Refusal;

/// A bearer token, as its digest: comparing takes the same time for all of them.
#[derive(Clone)]
pub(super) struct Token([u8; 32]);

impl Token {
    pub(super) fn new(text: &str) -> Self {
        Self(sha256(text.as_bytes()))
    }

    /// This is one of them.
    pub(super) fn is_among(&self, tokens: &[Self]) -> bool {
        tokens.iter().fold(false, |found, token| memcmp::eq(&token.0, &self.0) | found)
    }
}

/// Random bytes in hexadecimal.
pub(super) fn random_text(bytes: usize) -> Result<String, Refusal> {
    let mut random = vec![0; bytes];
    openssl::rand::rand_bytes(&mut random).map_err(|_| Refusal::new(500, "no randomness is to be had"))?;
    Ok(random.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_among_others_and_a_wrong_one_is_not() {
        let tokens = ["one", "two"].map(Token::new);
        assert!(Token::new("one").is_among(&tokens) && Token::new("two").is_among(&tokens));
        assert!(!Token::new("three").is_among(&tokens) && !Token::new("").is_among(&tokens));
    }

    #[test]
    fn random_texts_differ() {
        let (one, other) = (random_text(16).unwrap(), random_text(16).unwrap());
        assert!(one.len() == 32 && one != other);
    }
}
