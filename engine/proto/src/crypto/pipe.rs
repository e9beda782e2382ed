//! The datagram BIO under a DTLS session (RFC 6347, section 4.1.1: record boundaries are datagram boundaries).
//!
//! What it is: a stream in the shape that the TLS library wants, over memory. It is told one record at a time
//! and hands out whole datagrams. Limits: [`MAX_OUTGOING`] datagrams wait; more are dropped, as a full
//! socket would. It leaves out: size limits, since the library fills datagrams to the MTU that it was told.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use super::budget::{CHANGE_CIPHER_SPEC, HANDSHAKE, Record};

/// Datagrams that wait for the caller; the largest flight has a quarter of that.
pub(super) const MAX_OUTGOING: usize = 64;

/// Datagrams of a last flight that are kept: it has two records.
const MAX_FLIGHT: usize = 4;

/// The datagram BIO: one record in, whole datagrams out.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// The record that the library is to read next.
    pub(super) incoming: Vec<u8>,
    /// Datagrams for the caller.
    pub(super) outgoing: VecDeque<Vec<u8>>,
    /// Datagrams written since the session last looked.
    pub(super) written: usize,
    /// The last encrypted record that was sent.
    pub(super) sealed: Vec<u8>,
    /// The last datagrams from a ChangeCipherSpec on: with them a side ends its part of a handshake.
    pub(super) flight: Vec<Vec<u8>>,
}

impl Pipe {
    /// Keeps what is needed when the library is gone.
    fn note(&mut self, datagram: &[u8]) {
        let (mut rest, mut begins, mut goes_on) = (datagram, false, false);
        while let Some((record, after)) = Record::split_first(rest) {
            rest = after;
            begins |= record.epoch == 0 && record.content_type == CHANGE_CIPHER_SPEC;
            goes_on |= record.epoch == 1 && record.content_type == HANDSHAKE;
            if record.epoch == 1 {
                self.sealed.clear();
                self.sealed.extend_from_slice(record.bytes);
            }
        }
        if begins {
            self.flight.clear();
        }
        if (begins || goes_on) && self.flight.len() < MAX_FLIGHT {
            self.flight.push(datagram.to_vec());
        }
    }
}

impl Read for Pipe {
    /// A datagram is read whole or not at all, so what does not fit is lost, as with a socket.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = self.incoming.len().min(buffer.len());
        buffer[..len].copy_from_slice(&self.incoming[..len]);
        self.incoming.clear();
        Ok(len)
    }
}

impl Write for Pipe {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.note(datagram);
        if self.outgoing.len() < MAX_OUTGOING && !datagram.is_empty() {
            self.outgoing.push_back(datagram.to_vec());
            self.written += 1;
        }
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
