//! AES-GCM with a key that stays and an IV for each call: what SRTP's direct path is made of.
//!
//! What it is: [`GcmSealer`] and [`GcmOpener`], each one OpenSSL context that is made once and only told a
//! new IV for each packet, and the key derivation that belongs to them. They are told buffers in which
//! associated data, text and tag lie one after the other; they tell whether it worked. A sealer may take
//! the end of the text from elsewhere, so that one plaintext is encrypted into many places without a copy.
//!
//! Limits: keys of 128 or 256 bits, IVs of 96, tags of 128. RFCs: 5116, 3711 section 4.3, 7714 section 11.
//! It leaves out which IV is allowed: that nonces do not repeat is the caller's duty.

use std::ffi::c_int;
use std::ptr::{self, NonNull};

use openssl::symm::{Cipher, Crypter, Mode};
use openssl_sys as sys;

use crate::keys::erase;

/// Bytes of a tag.
pub const TAG_LEN: usize = 16;
/// Bytes of an IV.
pub const IV_LEN: usize = 12;

/// An OpenSSL cipher context with its key.
struct Context(NonNull<sys::EVP_CIPHER_CTX>);

impl Context {
    fn new(key: &[u8], encrypt: bool) -> Option<Self> {
        let cipher = match key.len() {
            // SAFETY: the function returns a constant of the library.
            16 => unsafe { sys::EVP_aes_128_gcm() },
            // SAFETY: as above.
            32 => unsafe { sys::EVP_aes_256_gcm() },
            _ => return None,
        };
        // SAFETY: no arguments; the result is null or ours to free.
        let context = Self(NonNull::new(unsafe { sys::EVP_CIPHER_CTX_new() })?);
        // SAFETY: the context is live, the cipher one of the library's, the key as long as it reads (chosen by
        // that length); a null IV means that it follows.
        let set = unsafe {
            sys::EVP_CipherInit_ex(
                context.0.as_ptr(),
                cipher,
                ptr::null_mut(),
                key.as_ptr(),
                ptr::null(),
                c_int::from(encrypt),
            )
        };
        (set == 1).then_some(context)
    }

    /// Begins a message.
    #[inline]
    fn begin(&mut self, iv: &[u8; IV_LEN]) -> bool {
        // SAFETY: the context is live and has a cipher whose IV is of the default length, 12; nulls and -1 keep
        // cipher, key and direction.
        unsafe {
            sys::EVP_CipherInit_ex(self.0.as_ptr(), ptr::null(), ptr::null_mut(), ptr::null(), iv.as_ptr(), -1) == 1
        }
    }

    /// Takes in associated data.
    #[inline]
    fn authenticate(&mut self, bytes: &[u8]) -> bool {
        let Ok(len) = c_int::try_from(bytes.len()) else { return false };
        let mut written = 0;
        // SAFETY: the context is live; a null output means associated data, of which `len` bytes are read.
        unsafe { sys::EVP_CipherUpdate(self.0.as_ptr(), ptr::null_mut(), &mut written, bytes.as_ptr(), len) == 1 }
    }

    /// Encrypts or decrypts where the bytes stand.
    #[inline]
    fn in_place(&mut self, bytes: &mut [u8]) -> bool {
        let Ok(len) = c_int::try_from(bytes.len()) else { return false };
        let mut written = 0;
        let at = bytes.as_mut_ptr();
        // SAFETY: the context is live; a counter mode writes exactly as many bytes as it reads, and both places are
        // the same `len` bytes, which the library allows.
        unsafe { sys::EVP_CipherUpdate(self.0.as_ptr(), at, &mut written, at, len) == 1 && written == len }
    }

    /// Encrypts from one place to another of the same length.
    #[inline]
    fn across(&mut self, from: &[u8], to: &mut [u8]) -> bool {
        let Ok(len) = c_int::try_from(from.len()) else { return false };
        if to.len() != from.len() {
            return false;
        }
        let mut written = 0;
        // SAFETY: the context is live; as many bytes are written as read, both slices have `len`, and they cannot
        // overlap since one is borrowed mutably.
        unsafe {
            sys::EVP_CipherUpdate(self.0.as_ptr(), to.as_mut_ptr(), &mut written, from.as_ptr(), len) == 1
                && written == len
        }
    }

    /// Ends a message: makes the tag, or compares it.
    #[inline]
    fn finish(&mut self) -> bool {
        let (mut nothing, mut written) = ([0u8; TAG_LEN], 0);
        // SAFETY: the context is live; this mode writes nothing here, and there is room for a block.
        unsafe { sys::EVP_CipherFinal(self.0.as_ptr(), nothing.as_mut_ptr(), &mut written) == 1 }
    }

    /// Reads the tag into `tag`, or tells the one to compare with.
    #[inline]
    fn tag(&mut self, command: c_int, tag: &mut [u8; TAG_LEN]) -> bool {
        // SAFETY: the context is live; both commands read or write the 16 bytes that the length says.
        unsafe { sys::EVP_CIPHER_CTX_ctrl(self.0.as_ptr(), command, TAG_LEN as c_int, tag.as_mut_ptr().cast()) == 1 }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context came from `EVP_CIPHER_CTX_new` and nothing uses it after this; the library erases it.
        unsafe { sys::EVP_CIPHER_CTX_free(self.0.as_ptr()) };
    }
}

/// Encrypts and signs.
pub struct GcmSealer(Context);

impl GcmSealer {
    /// `None` for a key that is neither 16 nor 32 bytes, or without memory.
    pub fn new(key: &[u8]) -> Option<Self> {
        Context::new(key, true).map(Self)
    }

    /// Seals a message in `buffer`: `aad` bytes of associated data, then text of which `head` bytes are in place
    /// and the rest is `tail`, whose two parts follow each other, then room for the tag, which must be all that is
    /// left. `false` if the lengths disagree or the library fails; the content of the buffer is undefined then.
    #[inline]
    pub fn seal(&mut self, iv: &[u8; IV_LEN], buffer: &mut [u8], aad: usize, head: usize, tail: [&[u8]; 2]) -> bool {
        let Some((aad, rest)) = buffer.split_at_mut_checked(aad) else { return false };
        let Some((head, rest)) = rest.split_at_mut_checked(head) else { return false };
        let Some((body, rest)) = rest.split_at_mut_checked(tail[0].len()) else { return false };
        let Some((end, tag)) = rest.split_at_mut_checked(tail[1].len()) else { return false };
        let Ok(tag) = <&mut [u8; TAG_LEN]>::try_from(tag) else { return false };
        let context = &mut self.0;
        context.begin(iv)
            && context.authenticate(aad)
            && (head.is_empty() || context.in_place(head))
            && (tail[0].is_empty() || context.across(tail[0], body))
            && (tail[1].is_empty() || context.across(tail[1], end))
            && context.finish()
            && context.tag(sys::EVP_CTRL_GCM_GET_TAG, tag)
    }
}

/// Verifies and decrypts.
pub struct GcmOpener(Context);

impl GcmOpener {
    /// `None` for a key that is neither 16 nor 32 bytes, or without memory.
    pub fn new(key: &[u8]) -> Option<Self> {
        Context::new(key, false).map(Self)
    }

    /// Opens a message in place: `aad` bytes of associated data, text, tag. `false` if the tag is wrong; the
    /// text is undefined then. OpenSSL compares in constant time.
    #[inline]
    pub fn open(&mut self, iv: &[u8; IV_LEN], buffer: &mut [u8], aad: usize) -> bool {
        let Some(end) = buffer.len().checked_sub(TAG_LEN) else { return false };
        let (message, tag) = buffer.split_at_mut(end);
        let Some((aad, text)) = message.split_at_mut_checked(aad) else { return false };
        let Ok(tag) = <&mut [u8; TAG_LEN]>::try_from(tag) else { return false };
        let context = &mut self.0;
        context.begin(iv)
            && context.tag(sys::EVP_CTRL_GCM_SET_TAG, tag)
            && context.authenticate(aad)
            && (text.is_empty() || context.in_place(text))
            && context.finish()
    }
}

/// Fills `out` with the key stream of AES in counter mode under `master`, from the counter block that the
/// label and the salt make (RFC 3711, section 4.3.3; a salt of 96 bits stands at its left, RFC 7714, section 11).
/// `false` if key or salt have no legal length.
pub fn derive(master: &[u8], salt: &[u8], label: u8, out: &mut [u8]) -> bool {
    let cipher = match master.len() {
        16 => Cipher::aes_128_ctr(),
        32 => Cipher::aes_256_ctr(),
        _ => return false,
    };
    let mut block = [0u8; 16];
    match block.get_mut(..salt.len()) {
        Some(place) if salt.len() <= 14 => place.copy_from_slice(salt),
        _ => return false,
    }
    block[7] ^= label;
    let mut stream = [0u8; 64];
    let Some(zeros) = [0u8; 48].get(..out.len()).map(<[u8]>::len) else { return false };
    let made = Crypter::new(cipher, Mode::Encrypt, master, Some(&block))
        .and_then(|mut crypter| crypter.update(&[0u8; 48][..zeros], &mut stream));
    let whole = made.is_ok_and(|len| len == out.len());
    if whole {
        out.copy_from_slice(&stream[..out.len()]);
    }
    erase(&mut stream);
    erase(&mut block);
    whole
}

#[cfg(test)]
mod tests {
    use openssl::symm::{decrypt_aead, encrypt_aead};

    use super::*;

    fn cipher(key: &[u8]) -> Cipher {
        if key.len() == 32 { Cipher::aes_256_gcm() } else { Cipher::aes_128_gcm() }
    }

    #[test]
    fn one_context_seals_as_a_fresh_one_does_wherever_the_text_comes_from() {
        for key in [&[7u8; 16][..], &[9; 32]] {
            let mut sealer = GcmSealer::new(key).expect("a key");
            for n in 0..60u8 {
                let iv = [n; IV_LEN];
                let aad: Vec<u8> = (0..12 + n % 9 * 4).collect();
                let text: Vec<u8> = (0..u32::from(n) * 21).map(|b| b as u8).collect();
                let mut tag = [0u8; TAG_LEN];
                let expected = encrypt_aead(cipher(key), key, Some(&iv), &aad, &text, &mut tag).expect("gcm");
                for head in [0, 1, 16, 33, text.len()] {
                    let head = head.min(text.len());
                    let mut buffer = [&aad[..], &text[..head]].concat();
                    buffer.resize(aad.len() + text.len() + TAG_LEN, 0xee);
                    let (middle, end) = text[head..].split_at((text.len() - head) * 2 / 3);
                    assert!(sealer.seal(&iv, &mut buffer, aad.len(), head, [middle, end]));
                    assert_eq!(buffer, [&aad[..], &expected, &tag].concat());
                }
            }
        }
    }

    #[test]
    fn what_is_changed_anywhere_does_not_open() {
        let key = [3u8; 16];
        let mut sealer = GcmSealer::new(&key).expect("a key");
        let mut opener = GcmOpener::new(&key).expect("a key");
        let mut sealed = b"associated: the text of the message".to_vec();
        let (aad, len) = (12, sealed.len());
        sealed.resize(len + TAG_LEN, 0);
        assert!(sealer.seal(&[1; IV_LEN], &mut sealed, aad, len - aad, [&[], &[]]));
        for at in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[at] ^= 0x10;
            assert!(!opener.open(&[1; IV_LEN], &mut forged, aad), "byte {at}");
        }
        assert!(!opener.open(&[2; IV_LEN], &mut sealed.clone(), aad));
        let mut whole = sealed.clone();
        assert!(opener.open(&[1; IV_LEN], &mut whole, aad));
        assert_eq!(&whole[..len], b"associated: the text of the message");
        let (head, tag) = sealed.split_at(len);
        assert!(decrypt_aead(cipher(&key), &key, Some(&[1; IV_LEN]), &head[..aad], &head[aad..], tag).is_ok());
    }

    #[test]
    fn lengths_that_disagree_are_refused() {
        let mut sealer = GcmSealer::new(&[1; 16]).expect("a key");
        let mut buffer = [0u8; 40];
        assert!(!sealer.seal(&[0; IV_LEN], &mut buffer, 41, 0, [&[], &[]]));
        assert!(!sealer.seal(&[0; IV_LEN], &mut buffer, 12, 29, [&[], &[]]));
        assert!(!sealer.seal(&[0; IV_LEN], &mut buffer, 12, 0, [&[0; 13], &[]]), "no room for the tag");
        assert!(!sealer.seal(&[0; IV_LEN], &mut buffer, 12, 0, [&[0; 10], &[0; 3]]), "no room for the tag");
        assert!(sealer.seal(&[0; IV_LEN], &mut buffer, 12, 0, [&[0; 12], &[]]));
        let mut opener = GcmOpener::new(&[1; 16]).expect("a key");
        for len in 0..TAG_LEN + 12 {
            assert!(!opener.open(&[0; IV_LEN], &mut buffer[..len], 12));
        }
        assert!(GcmSealer::new(&[1; 17]).is_none() && GcmOpener::new(&[]).is_none());
        assert!(!derive(&[1; 17], &[0; 12], 0, &mut [0; 16]) && !derive(&[1; 16], &[0; 15], 0, &mut [0; 16]));
        assert!(!derive(&[1; 16], &[0; 12], 0, &mut [0; 49]));
    }

    #[test]
    fn the_derivation_vectors_of_rfc_3711_hold() {
        // Appendix B.3.
        let master = [0xe1, 0xf9, 0x7a, 0x0d, 0x3e, 0x01, 0x8b, 0xe0, 0xd6, 0x4f, 0xa3, 0x2c, 0x06, 0xde, 0x41, 0x39];
        let salt = [0x0e, 0xc6, 0x75, 0xad, 0x49, 0x8a, 0xfe, 0xeb, 0xb6, 0x96, 0x0b, 0x3a, 0xab, 0xe6];
        let (mut key, mut session_salt) = ([0u8; 16], [0u8; 14]);
        assert!(derive(&master, &salt, 0, &mut key) && derive(&master, &salt, 2, &mut session_salt));
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&key), "c61e7a93744f39ee10734afe3ff7a087");
        assert_eq!(hex(&session_salt), "30cbbc08863d8c85d49db34a9ae1");
    }
}
