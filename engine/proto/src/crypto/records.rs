//! Encrypted records of a DTLS 1.2 association whose handshake is over (RFC 6347, section 4.1).
//!
//! What it is: [`Records`], what is left to do then: close, notice a close, answer who missed our last flight, refuse to
//! negotiate anew. The library holds some 85 KB for a session all its life, most of it buffers of the handshake; this takes
//! a few hundred bytes. It is told records and contents; it tells contents and records. Keys are derived as the library
//! has derived them, and tried on the last record of either side before the library is let go: should anything be
//! otherwise, there is no [`Records`] and the library goes on.
//!
//! Limits: the AEAD suites of `context`; a replay window of 64 records (section 4.1.2.6), which moves for authentic records
//! alone; 2^48 records each way. RFCs: 5246 sections 5 and 6.3 (PRF, keys), 5288 (AES-GCM), 7905 (ChaCha20-Poly1305),
//! 6347 section 4.2.4 (the last flight). It leaves out the handshake, and what contents mean.

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::ssl::SslRef;
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};

use super::budget::{HANDSHAKE, RECORD_HEADER, Record};
use super::dtls::{DtlsRole, EXPLICIT_NONCE, MAX_PLAINTEXT, TAG};
use crate::keys::erase;

/// DTLS 1.2 on the wire.
const VERSION: [u8; 2] = [0xfe, 0xfd];
/// The only epoch after a first handshake.
const EPOCH: u64 = 1;
const MAX_SEQUENCE: u64 = (1 << 48) - 1;
const WINDOW: u64 = 64;
const IV: usize = 12;
const MASTER_SECRET: usize = 48;
const RANDOM: usize = 32;

/// How a suite makes nonces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nonce {
    /// Four bytes of salt; the rest is in the record.
    Explicit,
    /// A whole IV, crossed with epoch and number of the record.
    Implicit,
}

/// A cipher suite's part in records.
#[derive(Clone, Copy)]
struct Suite {
    cipher: Cipher,
    nonce: Nonce,
}

impl Suite {
    fn named(name: &str) -> Option<Self> {
        let of = |cipher, nonce| Some(Self { cipher, nonce });
        match name {
            name if name.contains("AES128-GCM") => of(Cipher::aes_128_gcm(), Nonce::Explicit),
            name if name.contains("AES256-GCM") => of(Cipher::aes_256_gcm(), Nonce::Explicit),
            name if name.contains("CHACHA20-POLY1305") => of(Cipher::chacha20_poly1305(), Nonce::Implicit),
            _ => None,
        }
    }

    /// Bytes of the key block for one direction's IV.
    fn iv_len(self) -> usize {
        match self.nonce {
            Nonce::Explicit => IV - EXPLICIT_NONCE,
            Nonce::Implicit => IV,
        }
    }

    fn explicit_len(self) -> usize {
        match self.nonce {
            Nonce::Explicit => EXPLICIT_NONCE,
            Nonce::Implicit => 0,
        }
    }
}

/// Key and IV of one direction.
struct Direction {
    key: [u8; 32],
    iv: [u8; IV],
}

impl Drop for Direction {
    fn drop(&mut self) {
        erase(&mut self.key);
        erase(&mut self.iv);
    }
}

impl Direction {
    fn key(&self, suite: Suite) -> &[u8] {
        self.key.get(..suite.cipher.key_len()).unwrap_or(&self.key)
    }

    fn nonce(&self, suite: Suite, sequence: u64, explicit: &[u8]) -> [u8; IV] {
        let mut nonce = self.iv;
        let end = IV - EXPLICIT_NONCE;
        match suite.nonce {
            Nonce::Explicit => nonce[end..].copy_from_slice(explicit),
            Nonce::Implicit => {
                let number = (EPOCH << 48 | sequence).to_be_bytes();
                nonce[end..].iter_mut().zip(number).for_each(|(to, from)| *to ^= from);
            }
        }
        nonce
    }
}

/// See the module.
pub(super) struct Records {
    suite: Suite,
    theirs: Direction,
    ours: Direction,
    /// Number of the next record that we send.
    next: u64,
    /// What is in its nonce, where that is in the record.
    next_explicit: u64,
    /// The highest number of theirs, and which of the 64 up to it have been seen, that one being the lowest bit.
    newest: u64,
    seen: u64,
    /// The last flight of a server: it is sent again to a client that repeats its own.
    flight: Vec<Vec<u8>>,
}

impl Records {
    /// Takes over from the library after a handshake. `theirs` is the record with which the peer ended it, `ours` the last
    /// encrypted record that we sent; both prove the keys. `None`: they do not fit.
    pub(super) fn after(
        ssl: &SslRef,
        role: DtlsRole,
        theirs: &[u8],
        ours: &[u8],
        flight: Vec<Vec<u8>>,
    ) -> Option<Self> {
        let cipher = ssl.current_cipher()?;
        let suite = Suite::named(cipher.name())?;
        let [client, server] = directions(ssl, suite, cipher.handshake_digest()?)?;
        let (own, remote) = match role {
            DtlsRole::Client => (client, server),
            DtlsRole::Server => (server, client),
        };
        let (last, proof) = (only(ours)?, only(theirs)?);
        open(suite, &own, &last)?;
        open(suite, &remote, &proof).filter(|_| proof.content_type == HANDSHAKE)?;
        let explicit = match suite.nonce {
            Nonce::Explicit => u64::from_be_bytes(last.content().first_chunk().copied()?).wrapping_add(1),
            Nonce::Implicit => 0,
        };
        Some(Self {
            suite,
            theirs: remote,
            ours: own,
            next: last.sequence().checked_add(1)?,
            next_explicit: explicit,
            newest: proof.sequence(),
            // What came before the end of the handshake has been dealt with.
            seen: u64::MAX,
            flight: if role == DtlsRole::Server { flight } else { Vec::new() },
        })
    }

    /// The content of an authentic record that has not been here before.
    pub(super) fn open(&mut self, record: &Record<'_>) -> Option<Vec<u8>> {
        let sequence = record.sequence();
        if record.epoch != EPOCH as u16 || self.was_seen(sequence) {
            return None;
        }
        let content = open(self.suite, &self.theirs, record)?;
        if sequence > self.newest {
            let step = sequence - self.newest;
            self.seen = if step < WINDOW { self.seen << step } else { 0 };
            self.newest = sequence;
        }
        self.seen |= 1 << (self.newest - sequence);
        Some(content)
    }

    fn was_seen(&self, sequence: u64) -> bool {
        match self.newest.checked_sub(sequence) {
            Some(back) => back >= WINDOW || self.seen >> back & 1 == 1,
            None => false,
        }
    }

    /// A record with this content, ready to be sent. `None` if it is too long, or numbers are used up.
    pub(super) fn seal(&mut self, content_type: u8, content: &[u8]) -> Option<Vec<u8>> {
        let sequence = self.next;
        if content.len() > MAX_PLAINTEXT || sequence > MAX_SEQUENCE {
            return None;
        }
        let explicit = self.next_explicit.to_be_bytes();
        // Spent first: whatever happens now, this nonce does not come again.
        self.next += 1;
        self.next_explicit = self.next_explicit.wrapping_add(1);
        let nonce = self.ours.nonce(self.suite, sequence, &explicit);
        let aad = associated(content_type, sequence, content.len())?;
        let mut tag = [0; TAG];
        let key = self.ours.key(self.suite);
        let sealed = encrypt_aead(self.suite.cipher, key, Some(&nonce), &aad, content, &mut tag).ok()?;
        let explicit = &explicit[..self.suite.explicit_len()];
        let length = u16::try_from(explicit.len() + sealed.len() + TAG).ok()?;
        let mut record = vec![content_type, VERSION[0], VERSION[1]];
        record.extend((EPOCH << 48 | sequence).to_be_bytes());
        record.extend(length.to_be_bytes());
        [explicit, &sealed, &tag].into_iter().for_each(|part| record.extend_from_slice(part));
        Some(record)
    }

    /// What a client is sent again that has missed it.
    pub(super) fn flight(&self) -> &[Vec<u8>] {
        &self.flight
    }
}

/// The one record that these bytes are.
fn only(bytes: &[u8]) -> Option<Record<'_>> {
    Record::split_first(bytes).filter(|(record, rest)| rest.is_empty() && record.epoch == EPOCH as u16).map(|(r, _)| r)
}

/// What a tag covers besides the content (RFC 5246, section 6.2.3.3, with RFC 6347, section 4.1.2.1).
fn associated(content_type: u8, sequence: u64, len: usize) -> Option<[u8; RECORD_HEADER]> {
    let mut aad = [0; RECORD_HEADER];
    aad[..8].copy_from_slice(&(EPOCH << 48 | sequence).to_be_bytes());
    aad[8] = content_type;
    aad[9..11].copy_from_slice(&VERSION);
    aad[11..].copy_from_slice(&u16::try_from(len).ok()?.to_be_bytes());
    Some(aad)
}

fn open(suite: Suite, direction: &Direction, record: &Record<'_>) -> Option<Vec<u8>> {
    let (explicit, rest) = record.content().split_at_checked(suite.explicit_len())?;
    let (sealed, tag) = rest.split_at_checked(rest.len().checked_sub(TAG)?)?;
    if record.bytes.get(1..3) != Some(&VERSION[..]) || sealed.len() > MAX_PLAINTEXT {
        return None;
    }
    let sequence = record.sequence();
    let nonce = direction.nonce(suite, sequence, explicit);
    let aad = associated(record.content_type, sequence, sealed.len())?;
    decrypt_aead(suite.cipher, direction.key(suite), Some(&nonce), &aad, sealed, tag).ok()
}

/// Keys and IVs of the client's and the server's records (RFC 5246, section 6.3; AEAD suites have no MAC keys).
fn directions(ssl: &SslRef, suite: Suite, digest: MessageDigest) -> Option<[Direction; 2]> {
    let (mut master, mut client, mut server) = ([0; MASTER_SECRET], [0; RANDOM], [0; RANDOM]);
    let whole = ssl.session()?.master_key(&mut master) == MASTER_SECRET
        && ssl.client_random(&mut client) == RANDOM
        && ssl.server_random(&mut server) == RANDOM;
    let (key_len, iv_len) = (suite.cipher.key_len(), suite.iv_len());
    let mut block = [0; 2 * (32 + IV)];
    let used = block.get_mut(..2 * (key_len + iv_len))?;
    let made = expand(digest, &master, &[b"key expansion", &server, &client], used).filter(|()| whole);
    erase(&mut master);
    let (keys, ivs) = used.split_at(2 * key_len);
    let both = [0, 1].map(|n| {
        let mut direction = Direction { key: [0; 32], iv: [0; IV] };
        direction.key[..key_len].copy_from_slice(&keys[n * key_len..(n + 1) * key_len]);
        direction.iv[..iv_len].copy_from_slice(&ivs[n * iv_len..(n + 1) * iv_len]);
        direction
    });
    erase(&mut block);
    made.map(|()| both)
}

/// The pseudo-random function of TLS 1.2 (RFC 5246, section 5); the label is the first part of the seed.
fn expand(digest: MessageDigest, secret: &[u8], seed: &[&[u8]], out: &mut [u8]) -> Option<()> {
    let key = PKey::hmac(secret).ok()?;
    let hmac = |parts: &[&[u8]]| {
        let mut signer = Signer::new(digest, &key).ok()?;
        parts.iter().try_for_each(|part| signer.update(part)).ok()?;
        signer.sign_to_vec().ok()
    };
    let mut link = hmac(seed)?;
    for chunk in out.chunks_mut(digest.size()) {
        let parts: Vec<&[u8]> = std::iter::once(&link[..]).chain(seed.iter().copied()).collect();
        let mut block = hmac(&parts)?;
        chunk.copy_from_slice(block.get(..chunk.len())?);
        erase(&mut block);
        link = hmac(&[&link])?;
    }
    erase(&mut link);
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::budget::{ALERT, APPLICATION_DATA};
    use super::*;

    /// Two sides of one association; the keys are what they are.
    fn pair(name: &str) -> (Records, Records) {
        let suite = Suite::named(name).expect("a suite");
        let direction = |fill: u8| {
            let mut iv = [0; IV];
            iv[..suite.iv_len()].fill(fill ^ 0xff);
            Direction { key: [fill; 32], iv }
        };
        let side = |own, remote| Records {
            suite,
            theirs: direction(remote),
            ours: direction(own),
            next: 1,
            next_explicit: u64::MAX,
            newest: 0,
            seen: u64::MAX,
            flight: Vec::new(),
        };
        (side(1, 2), side(2, 1))
    }

    const SUITES: [&str; 3] =
        ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"];

    fn take(records: &mut Records, bytes: &[u8]) -> Option<Vec<u8>> {
        let (record, rest) = Record::split_first(bytes)?;
        rest.is_empty().then(|| records.open(&record)).flatten()
    }

    #[test]
    fn the_vector_of_the_pseudo_random_function_holds() {
        let secret = [0x9b, 0xbe, 0x43, 0x6b, 0xa9, 0x40, 0xf0, 0x17, 0xb1, 0x76, 0x52, 0x84, 0x9a, 0x71, 0xdb, 0x35];
        let seed = [0xa0, 0xba, 0x9f, 0x93, 0x6c, 0xda, 0x31, 0x18, 0x27, 0xa6, 0xf7, 0x96, 0xff, 0xd5, 0x19, 0x8c];
        let mut out = [0; 40];
        expand(MessageDigest::sha256(), &secret, &[b"test label", &seed], &mut out).expect("memory");
        let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9");
    }

    #[test]
    fn records_open_once_and_a_change_of_any_byte_is_noticed() {
        for name in SUITES {
            let (mut a, mut b) = pair(name);
            for content in [&b""[..], b"x", &[7; 1_000]] {
                let record = a.seal(APPLICATION_DATA, content).expect("numbers");
                for at in 0..record.len() {
                    let mut forged = record.clone();
                    forged[at] ^= 0x10;
                    assert_eq!(take(&mut b, &forged), None, "{name} byte {at}");
                }
                assert_eq!(take(&mut b, &record).as_deref(), Some(content), "{name}");
                assert_eq!(take(&mut b, &record), None, "{name}: a replay");
            }
            assert!(a.seal(APPLICATION_DATA, &[0; MAX_PLAINTEXT + 1]).is_none());
            a.next = MAX_SEQUENCE;
            assert!(a.seal(ALERT, &[1, 0]).is_some() && a.seal(ALERT, &[1, 0]).is_none(), "numbers are used up");
        }
    }

    #[test]
    fn nonces_do_not_come_again() {
        let (mut a, _) = pair(SUITES[0]);
        let nonces: std::collections::HashSet<Vec<u8>> = (0..1_000)
            .map(|_| a.seal(ALERT, &[1, 0]).expect("numbers")[RECORD_HEADER..RECORD_HEADER + EXPLICIT_NONCE].to_vec())
            .collect();
        assert_eq!(nonces.len(), 1_000);
    }

    proptest! {
        /// In any order, with losses and repetitions: each once, unless it is older than the window.
        #[test]
        fn the_window_takes_what_is_new(order in prop::collection::vec(0usize..200, 1..400)) {
            let (mut a, mut b) = pair(SUITES[2]);
            let sealed: Vec<Vec<u8>> = (0..200).map(|_| a.seal(ALERT, &[1, 0]).expect("numbers")).collect();
            let mut taken = std::collections::BTreeSet::new();
            let mut newest = 0;
            for n in order {
                let number = n as u64 + 1;
                let expected = number + WINDOW > newest && !taken.contains(&n);
                prop_assert_eq!(take(&mut b, &sealed[n]).is_some(), expected, "{}", n);
                if expected {
                    taken.insert(n);
                    newest = newest.max(number);
                }
            }
        }
    }
}
