//! Our end of one protoo connection: what we send, what we wait for, and the wish to close.
//!
//! Told: notifications and requests for the peer, responses that came in. Tells: frames for the writer. Limits: the
//! queue of outgoing frames ([`OUTGOING`]) and of unanswered requests; a peer that reads too slowly is closed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use crate::protoo::{self, Refusal};

/// Frames queued for a peer. A joiner of a full room is sent one frame for each stream of it at once.
const OUTGOING: usize = 4096;
/// Requests of ours that a peer has not answered.
const PENDING: usize = 4096;
/// How long a peer may take to answer.
const ANSWER: Duration = Duration::from_secs(20);

/// WebSocket close codes.
pub(crate) mod close_code {
    /// The server stops.
    pub(crate) const GOING_AWAY: u16 = 1001;
    /// A frame was too big.
    pub(crate) const TOO_BIG: u16 = 1009;
    /// Closed for good: protoo clients do not come back after it.
    pub(crate) const CLOSED: u16 = 4000;
    /// The media path failed or the peer was too slow: it may come back.
    pub(crate) const RETRY: u16 = 4001;
}

/// Why a connection is being closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Closing {
    pub(crate) code: u16,
    pub(crate) reason: String,
}

#[derive(Default)]
struct Pending {
    last: u32,
    waiting: HashMap<u32, oneshot::Sender<Result<Value, Refusal>>>,
}

/// See the module.
pub(crate) struct Connection {
    outgoing: mpsc::Sender<String>,
    closing: watch::Sender<Option<Closing>>,
    pending: Mutex<Pending>,
}

impl Connection {
    /// A connection and what its writer drains.
    pub(crate) fn new() -> (Arc<Self>, mpsc::Receiver<String>) {
        let (outgoing, frames) = mpsc::channel(OUTGOING);
        let (closing, _) = watch::channel(None);
        (Arc::new(Self { outgoing, closing, pending: Mutex::default() }), frames)
    }

    /// Changes to `Some` when the connection is to be closed.
    pub(crate) fn closing(&self) -> watch::Receiver<Option<Closing>> {
        self.closing.subscribe()
    }

    /// Closes it; the first reason stays.
    pub(crate) fn close(&self, code: u16, reason: impl Into<String>) {
        self.closing.send_if_modified(|closing| {
            let first = closing.is_none();
            if first {
                *closing = Some(Closing { code, reason: reason.into() });
            }
            first
        });
    }

    fn send(&self, frame: String) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.outgoing.try_send(frame) {
            self.close(close_code::RETRY, "the peer reads its messages too slowly");
        }
    }

    /// Tells the peer something.
    pub(crate) fn notify(&self, method: &str, data: &Value) {
        self.send(protoo::notification(method, data));
    }

    /// Answers a request of the peer.
    pub(crate) fn respond(&self, id: u32, result: &Result<Value, Refusal>) {
        self.send(protoo::response(id, result));
    }

    /// Asks the peer and waits for the answer.
    pub(crate) async fn request(&self, method: &str, data: &Value) -> Result<Value, Refusal> {
        let (id, answer) = self.register()?;
        self.send(protoo::request(id, method, data));
        let mut closing = self.closing();
        let result = tokio::select! {
            answer = tokio::time::timeout(ANSWER, answer) => match answer {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(Refusal::new(410, "the connection closed")),
                Err(_) => Err(Refusal::new(408, format!("{method}: no answer within {} s", ANSWER.as_secs()))),
            },
            _ = closing.wait_for(Option::is_some) => Err(Refusal::new(410, "the connection closed")),
        };
        self.lock().waiting.remove(&id);
        result
    }

    /// The peer answered; an answer to nothing is ignored.
    pub(crate) fn complete(&self, id: u32, result: Result<Value, Refusal>) {
        let waiting = self.lock().waiting.remove(&id);
        if let Some(waiting) = waiting {
            // The asker may have given up just now.
            let _ = waiting.send(result);
        }
    }

    fn register(&self) -> Result<(u32, oneshot::Receiver<Result<Value, Refusal>>), Refusal> {
        let mut pending = self.lock();
        if pending.waiting.len() >= PENDING {
            return Err(Refusal::new(503, "the peer does not answer its requests"));
        }
        let (sender, receiver) = oneshot::channel();
        pending.last = pending.last.wrapping_add(1);
        let id = pending.last;
        pending.waiting.insert(id, sender);
        Ok((id, receiver))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        // A panic elsewhere leaves the map whole.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn an_answer_reaches_its_request_and_a_stray_one_is_ignored() {
        let (connection, mut frames) = Connection::new();
        connection.complete(99, Ok(Value::Null));
        let asking = tokio::spawn({
            let connection = Arc::clone(&connection);
            async move { connection.request("newConsumer", &json!({})).await }
        });
        let frame: Value = serde_json::from_str(&frames.recv().await.unwrap()).unwrap();
        connection.complete(u32::try_from(frame["id"].as_u64().unwrap()).unwrap(), Ok(json!("yes")));
        assert_eq!(asking.await.unwrap(), Ok(json!("yes")));
    }

    #[tokio::test]
    async fn closing_ends_what_is_waited_for_and_keeps_the_first_reason() {
        let (connection, _frames) = Connection::new();
        connection.close(close_code::RETRY, "one");
        connection.close(close_code::CLOSED, "two");
        assert_eq!(connection.request("x", &Value::Null).await.unwrap_err().code, 410);
        let closing = connection.closing().borrow().clone();
        assert_eq!(closing, Some(Closing { code: close_code::RETRY, reason: "one".into() }));
    }

    #[test]
    fn a_peer_that_does_not_read_is_closed_instead_of_queued_for() {
        let (connection, _frames) = Connection::new();
        for _ in 0..=OUTGOING {
            connection.notify("x", &Value::Null);
        }
        assert_eq!(connection.closing().borrow().as_ref().map(|c| c.code), Some(close_code::RETRY));
    }
}
