//! A session whose handshake is over and whose peer is identified: the library goes, [`Records`] come.
//!
//! It is told encrypted records and what is to be sent; it tells events and datagrams of its session. A close_notify or a
//! fatal alert of the peer ends it (RFC 5246, section 7.2); a Finished that comes again is answered with our last flight (RFC
//! 6347, section 4.2.4); a wish to negotiate anew with an alert (RFC 5746, section 4.5). Only authentic records count.
//! Limits: datagrams by `pipe`, events by the session. It leaves out the handshake.

use sfu_wire::drop_reason::DropReason;

use super::super::budget::{ALERT, APPLICATION_DATA, HANDSHAKE, Record};
use super::super::pipe::MAX_OUTGOING;
use super::super::records::Records;
use super::{DtlsEvent, DtlsSession, DtlsState, forget_errors};

/// Handshake messages that come when there is no handshake.
const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const FINISHED: u8 = 20;
/// Alerts: level and description (RFC 5246, section 7.2).
pub(super) const CLOSE_NOTIFY: [u8; 2] = [1, 0];
const NO_RENEGOTIATION: [u8; 2] = [1, 100];
pub(super) const FATAL: u8 = 2;

impl DtlsSession {
    /// Lets go of the library once nothing is left to do but a record now and then. Where keys cannot be proven the
    /// library stays.
    pub(super) fn hand_over(&mut self) {
        let Some(stream) = self.stream.as_mut().filter(|_| self.state == DtlsState::Connected) else { return };
        let pipe = stream.get_mut();
        let (sealed, flight) = (std::mem::take(&mut pipe.sealed), std::mem::take(&mut pipe.flight));
        let Some(records) = Records::after(stream.ssl(), self.role, &self.proof, &sealed, flight) else {
            return forget_errors();
        };
        self.last_words.append(&mut stream.get_mut().outgoing);
        self.records = Some(Box::new(records));
        (self.stream, self.proof) = (None, Vec::new());
        forget_errors();
    }

    /// An encrypted record when the library is gone.
    pub(super) fn take_record(&mut self, bytes: &[u8]) -> Result<(), DropReason> {
        let (record, _) = Record::split_first(bytes).ok_or(DropReason::Dtls)?;
        let opened = self.records.as_mut().and_then(|records| records.open(&record));
        forget_errors();
        let content = opened.ok_or(DropReason::Dtls)?;
        match (record.content_type, content.as_slice()) {
            (APPLICATION_DATA, [_, ..]) => self.push(DtlsEvent::ApplicationData(content)),
            (ALERT, [_, 0]) => {
                self.end(DtlsState::Closed);
                self.push(DtlsEvent::Closed);
            }
            (ALERT, [FATAL, code]) => self.fail(format!("the peer ended the association with alert {code}")),
            // It has missed our last flight (RFC 6347, section 4.2.4).
            (HANDSHAKE, [FINISHED, ..]) => {
                let flight = self.records.as_ref().map_or(&[][..], |records| records.flight());
                self.last_words
                    .extend(flight.iter().take(MAX_OUTGOING - self.last_words.len().min(MAX_OUTGOING)).cloned());
            }
            (HANDSHAKE, [HELLO_REQUEST | CLIENT_HELLO, ..]) => drop(self.send_record(ALERT, &NO_RENEGOTIATION)),
            _ => {}
        }
        Ok(())
    }

    /// Sends a record of any type: what a fuzzer that knows the keys can do.
    pub(crate) fn send_record(&mut self, content_type: u8, content: &[u8]) -> Result<(), DropReason> {
        let room = self.last_words.len() < MAX_OUTGOING;
        let sealed = self.records.as_mut().filter(|_| room).and_then(|records| records.seal(content_type, content));
        forget_errors();
        self.last_words.push_back(sealed.ok_or(DropReason::Dtls)?);
        Ok(())
    }
}
