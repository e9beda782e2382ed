//! The datagram BIO under a DTLS session (RFC 6347, section 4.1.1: record boundaries are datagram boundaries).
//!
//! What it is: a stream in the shape that the TLS library wants, over memory. It is told one record at a time
//! and hands out whole datagrams. Limits: [`MAX_OUTGOING`] datagrams wait; more are dropped, as a full
//! socket would. It leaves out: size limits, since the library fills datagrams to the MTU that it was told.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

/// Datagrams that wait for the caller; the largest flight has a quarter of that.
pub(super) const MAX_OUTGOING: usize = 64;

/// The datagram BIO: one record in, whole datagrams out.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// The record that the library is to read next.
    pub(super) incoming: Vec<u8>,
    /// Datagrams for the caller.
    pub(super) outgoing: VecDeque<Vec<u8>>,
    /// Datagrams written since the session last looked.
    pub(super) written: usize,
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
