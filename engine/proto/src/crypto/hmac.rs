//! HMAC-SHA1 as STUN wants it (RFC 8489, section 14.5; RFC 2104).
//!
//! What it is: one function over parts that need not be joined. It is told a key and parts, it tells
//! twenty bytes. It leaves out comparison, which the verifier does in constant time. The two hash passes
//! are spelled out because OpenSSL's own HMAC looks its algorithm up anew at every call, which costs
//! more than the hashing of a Binding request.

use openssl::sha::Sha1;

use crate::keys::erase;

/// Block size of SHA-1.
const BLOCK: usize = 64;

/// HMAC-SHA1 of the concatenated `parts`.
pub fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let mut block = [0u8; BLOCK];
    if key.len() > BLOCK {
        block[..20].copy_from_slice(&openssl::sha::sha1(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let mut inner = Sha1::new();
    block.iter_mut().for_each(|byte| *byte ^= 0x36);
    inner.update(&block);
    for part in parts {
        inner.update(part);
    }
    let mut outer = Sha1::new();
    block.iter_mut().for_each(|byte| *byte ^= 0x36 ^ 0x5c);
    outer.update(&block);
    outer.update(&inner.finish());
    erase(&mut block);
    outer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_vectors_of_rfc_2202_hold() {
        assert_eq!(hex(&hmac_sha1(&[0x0b; 20], &[b"Hi There"])), "b617318655057264e28bc0b6fb378c8ef146be00");
        assert_eq!(
            hex(&hmac_sha1(b"Jefe", &[b"what do ya ", b"want for ", b"nothing?"])),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        );
        assert_eq!(
            hex(&hmac_sha1(&[0xaa; 80], &[b"Test Using Larger Than Block-Size Key - Hash Key First"])),
            "aa4ae5e15272d00e95705637ce8a3b55ed402112"
        );
    }

    #[test]
    fn the_split_into_parts_does_not_matter() {
        let data: Vec<u8> = (0..200).collect();
        let whole = hmac_sha1(b"key", &[&data]);
        for cut in 0..data.len() {
            assert_eq!(hmac_sha1(b"key", &[&data[..cut], &data[cut..]]), whole);
        }
    }
}
