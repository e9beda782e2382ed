//! What a DTLS peer may make us do before it has proven who it is.
//!
//! What it is: a filter in front of the TLS library that reads record and handshake headers (RFC 6347,
//! sections 4.1 and 4.2.2). It is told records, it tells whether they may pass. Limits: all constants
//! below; with them a handshake that never completes holds at most [`MAX_DECLARED`] bytes of half-built
//! messages. It leaves out everything encrypted, whose content it cannot see.
//!
//! Why it is needed: the library allocates a message's declared length at its first fragment and a whole
//! record buffer for each record that comes early; and it ends a handshake for malformed fragments that
//! anybody on the path can forge.

use arrayvec::ArrayVec;
use sfu_wire::drop_reason::DropReason;

/// Bytes taken in during one handshake, retransmissions included.
pub(super) const MAX_BYTES: usize = 64 * 1024;
/// Records taken in during one handshake.
pub(super) const MAX_RECORDS: usize = 512;
/// Sum of the declared lengths of a handshake's messages: with what the library itself takes for a session, some
/// 50 KiB, a handshake that never ends stays within 64 KiB.
pub(super) const MAX_DECLARED: usize = 8 * 1024;
/// Length of one handshake message; a certificate chain is the only long one, and those of WebRTC are one self-signed
/// certificate (RFC 8827, section 6.5).
pub(super) const MAX_MESSAGE: usize = 6 * 1024;
/// Distinct messages of one handshake: a full one with cookie has nine.
const MAX_MESSAGES: usize = 12;
/// The longest record (RFC 6347, section 4.1).
const MAX_RECORD: usize = (1 << 14) + 2048;

/// The longest plaintext record: the library ends the session for a longer one.
const MAX_PLAIN_RECORD: usize = 1 << 14;

/// Length of a record header.
pub(super) const RECORD_HEADER: usize = 13;
const MESSAGE_HEADER: usize = 12;

/// Content type of ChangeCipherSpec.
pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
/// Content type of alerts.
pub(super) const ALERT: u8 = 21;
/// Content type of handshake messages.
pub(super) const HANDSHAKE: u8 = 22;
/// Content type of application data.
pub(super) const APPLICATION_DATA: u8 = 23;

/// One DTLS record, header included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// Header and content.
    pub(super) bytes: &'a [u8],
    /// Content type.
    pub(super) content_type: u8,
    /// Zero before the keys change.
    pub(super) epoch: u16,
}

impl<'a> Record<'a> {
    /// The first record of a datagram and what follows it; `None` if it is malformed.
    pub(super) fn split_first(datagram: &'a [u8]) -> Option<(Record<'a>, &'a [u8])> {
        let header = datagram.first_chunk::<RECORD_HEADER>()?;
        let content_type = header[0];
        if !(CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&content_type) || header[1] != 0xfe {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        if length == 0 || length > MAX_RECORD {
            return None;
        }
        let (bytes, rest) = datagram.split_at_checked(RECORD_HEADER + length)?;
        Some((Record { bytes, content_type, epoch: u16::from_be_bytes([header[3], header[4]]) }, rest))
    }

    /// Its number within the epoch, 48 bits.
    pub(super) fn sequence(&self) -> u64 {
        let number: [u8; 8] = self.bytes.get(3..11).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        u64::from_be_bytes(number) & ((1 << 48) - 1)
    }

    /// What the record carries.
    pub(super) fn content(&self) -> &'a [u8] {
        &self.bytes[RECORD_HEADER..]
    }
}

/// A handshake message of which a part has been seen.
#[derive(Debug, Clone, Copy)]
struct Declared {
    sequence: u16,
    kind: u8,
    length: usize,
}

/// The account of one handshake.
#[derive(Debug, Default)]
pub(super) struct HandshakeBudget {
    bytes: usize,
    records: usize,
    declared: ArrayVec<Declared, MAX_MESSAGES>,
}

impl HandshakeBudget {
    /// Charges a record that came before the handshake was done, and says whether it may pass.
    pub(super) fn admit(&mut self, record: &Record<'_>) -> Result<(), DropReason> {
        if self.bytes + record.bytes.len() > MAX_BYTES || self.records >= MAX_RECORDS {
            return Err(DropReason::DtlsBudget);
        }
        self.bytes += record.bytes.len();
        self.records += 1;
        match (record.epoch, record.content_type) {
            (0, _) if record.content().len() > MAX_PLAIN_RECORD => Err(DropReason::Dtls),
            (0, HANDSHAKE) => self.admit_messages(record.content()),
            (0, CHANGE_CIPHER_SPEC) if record.content() == [1] => Ok(()),
            // A plaintext warning, close_notify above all, can be forged by anybody and is never needed. A
            // fatal one can be forged too, but saves the user a 30 s wait when it is real.
            (0, ALERT) if record.content().len() == 2 && record.content()[0] == 2 => Ok(()),
            (1, ALERT | HANDSHAKE | APPLICATION_DATA) => Ok(()),
            _ => Err(DropReason::Dtls),
        }
    }

    /// Walks the message fragments of a plaintext record; each must be whole and agree with earlier ones.
    fn admit_messages(&mut self, mut content: &[u8]) -> Result<(), DropReason> {
        while !content.is_empty() {
            let header = content.first_chunk::<MESSAGE_HEADER>().ok_or(DropReason::Dtls)?;
            let number = |at: usize| {
                usize::from(header[at]) << 16 | usize::from(header[at + 1]) << 8 | usize::from(header[at + 2])
            };
            let (length, offset, fragment) = (number(1), number(6), number(9));
            let sequence = u16::from_be_bytes([header[4], header[5]]);
            // An empty fragment of a message that is not empty makes no progress.
            if offset + fragment > length || (fragment == 0 && length > 0) {
                return Err(DropReason::Dtls);
            }
            self.declare(Declared { sequence, kind: header[0], length })?;
            content = content.get(MESSAGE_HEADER + fragment..).ok_or(DropReason::Dtls)?;
        }
        Ok(())
    }

    /// Notes a message, or compares it with what its earlier fragments said.
    fn declare(&mut self, message: Declared) -> Result<(), DropReason> {
        if let Some(known) = self.declared.iter().find(|known| known.sequence == message.sequence) {
            let same = known.kind == message.kind && known.length == message.length;
            return if same { Ok(()) } else { Err(DropReason::Dtls) };
        }
        let sum: usize = self.declared.iter().map(|known| known.length).sum();
        if message.length > MAX_MESSAGE || sum + message.length > MAX_DECLARED {
            return Err(DropReason::DtlsBudget);
        }
        self.declared.try_push(message).map_err(|_| DropReason::DtlsBudget)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A plaintext record.
    pub(in crate::crypto) fn record(content_type: u8, epoch: u16, sequence: u64, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![content_type, 0xfe, 0xfd];
        bytes.extend(epoch.to_be_bytes());
        bytes.extend(&sequence.to_be_bytes()[2..]);
        bytes.extend((content.len() as u16).to_be_bytes());
        bytes.extend(content);
        bytes
    }

    /// A handshake fragment with its header.
    pub(in crate::crypto) fn fragment(kind: u8, length: u32, sequence: u16, offset: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend(&length.to_be_bytes()[1..]);
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(&offset.to_be_bytes()[1..]);
        bytes.extend(&(body.len() as u32).to_be_bytes()[1..]);
        bytes.extend(body);
        bytes
    }

    fn admit(budget: &mut HandshakeBudget, bytes: &[u8]) -> Result<(), DropReason> {
        let (record, rest) = Record::split_first(bytes).expect("well-formed record");
        assert!(rest.is_empty());
        budget.admit(&record)
    }

    #[test]
    fn records_are_split_and_malformed_ones_refused() {
        let mut datagram = record(HANDSHAKE, 0, 1, &[1, 2, 3]);
        datagram.extend(record(ALERT, 1, 2, &[4]));
        let (first, rest) = Record::split_first(&datagram).expect("first");
        assert_eq!((first.content_type, first.epoch, first.content()), (HANDSHAKE, 0, &[1u8, 2, 3][..]));
        let (second, rest) = Record::split_first(rest).expect("second");
        assert_eq!((second.content_type, second.epoch, second.content()), (ALERT, 1, &[4u8][..]));
        assert!(rest.is_empty());
        for len in 0..16 {
            assert!(Record::split_first(&datagram[..len]).is_none(), "{len}");
        }
        assert!(Record::split_first(&record(19, 0, 1, &[1])).is_none());
        assert!(Record::split_first(&record(24, 0, 1, &[1])).is_none());
        assert!(Record::split_first(&record(HANDSHAKE, 0, 1, &[])).is_none());
    }

    #[test]
    fn h09_a_zero_length_fragment_is_refused() {
        let mut budget = HandshakeBudget::default();
        let empty = record(HANDSHAKE, 0, 1, &fragment(1, 100, 0, 0, &[]));
        assert_eq!(admit(&mut budget, &empty), Err(DropReason::Dtls));
        let hello_done = record(HANDSHAKE, 0, 1, &fragment(14, 0, 3, 0, &[]));
        assert_eq!(admit(&mut budget, &hello_done), Ok(()));
    }

    #[test]
    fn row_016_oversized_and_inconsistent_messages_are_refused() {
        let mut budget = HandshakeBudget::default();
        let huge = record(HANDSHAKE, 0, 1, &fragment(11, (1 << 24) - 1, 1, 0, &[0; 10]));
        assert_eq!(admit(&mut budget, &huge), Err(DropReason::DtlsBudget));
        let good = record(HANDSHAKE, 0, 2, &fragment(1, 300, 0, 0, &[0; 10]));
        assert_eq!(admit(&mut budget, &good), Ok(()));
        let overlapping = record(HANDSHAKE, 0, 3, &fragment(1, 300, 0, 5, &[0; 10]));
        assert_eq!(admit(&mut budget, &overlapping), Ok(()));
        for bad in
            [fragment(1, 301, 0, 10, &[0; 10]), fragment(2, 300, 0, 10, &[0; 10]), fragment(1, 300, 0, 295, &[0; 10])]
        {
            assert_eq!(admit(&mut budget, &record(HANDSHAKE, 0, 4, &bad)), Err(DropReason::Dtls));
        }
    }

    #[test]
    fn h08_bytes_records_and_declared_lengths_are_capped() {
        let mut budget = HandshakeBudget::default();
        let mut declared = 0;
        for sequence in 0..100 {
            let part = record(HANDSHAKE, 0, 1, &fragment(11, 9000, sequence, 0, &[0; 1]));
            if admit(&mut budget, &part).is_ok() {
                declared += 9000;
            }
        }
        assert!(declared <= MAX_DECLARED);

        let mut budget = HandshakeBudget::default();
        let part = record(HANDSHAKE, 0, 1, &fragment(11, 9000, 0, 0, &[0; 1000]));
        let passed = (0..1000).filter(|_| admit(&mut budget, &part).is_ok()).count();
        assert!(passed * part.len() <= MAX_BYTES);

        let mut budget = HandshakeBudget::default();
        let tiny = record(CHANGE_CIPHER_SPEC, 0, 1, &[1]);
        let passed = (0..10_000).filter(|_| admit(&mut budget, &tiny).is_ok()).count();
        assert_eq!(passed, MAX_RECORDS);
    }

    #[test]
    fn row_020_plaintext_close_notify_and_application_data_do_not_pass() {
        let mut budget = HandshakeBudget::default();
        assert_eq!(admit(&mut budget, &record(ALERT, 0, 1, &[1, 0])), Err(DropReason::Dtls));
        assert_eq!(admit(&mut budget, &record(APPLICATION_DATA, 0, 1, &[1, 0])), Err(DropReason::Dtls));
        assert_eq!(admit(&mut budget, &record(ALERT, 0, 1, &[2, 40])), Ok(()));
        assert_eq!(admit(&mut budget, &record(HANDSHAKE, 2, 1, &[2, 40])), Err(DropReason::Dtls));
    }
}
