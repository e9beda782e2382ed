//! One peer's WebSocket from its first frame to its last.
//!
//! Told: frames. Tells: requests to the service, one at a time and in order; responses to whoever waits. Limits: frame
//! size, messages per second (further ones wait in the kernel's buffers, which slows the sender down), requests under
//! way, silence.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::connection::{Closing, Connection, close_code};
use crate::protoo::{self, Data, Frame, Refusal};
use crate::requests;
use crate::room::{Peer, Room};
use crate::service::{Hello, Service};

/// Requests of one peer that wait for their turn.
const REQUESTS: usize = 64;
/// Messages per second that a peer may send in the long run.
const RATE: u32 = 200;
/// Messages that it may send at once: a joiner accepts every stream of a room.
const BURST: u32 = 2000;
/// Frames that go out behind another without a flush between them.
const MOST_AT_ONCE: usize = 32;
/// A ping goes out this often.
const PING: Duration = Duration::from_secs(15);
/// A peer that sends nothing, not even a pong, for this long is gone.
const SILENCE: Duration = Duration::from_secs(45);
/// How long the farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Runs one connection until it ends; then the peer has left.
pub(crate) async fn run(service: Arc<Service>, socket: WebSocket, hello: Hello) {
    let (sink, stream) = socket.split();
    let (connection, frames) = Connection::new();
    let writer = tokio::spawn(write(sink, frames, connection.closing()));
    let _connected = service.requests.connected();
    match service.enter(&hello, Arc::clone(&connection)).await {
        Ok((room, peer)) => {
            attend(&service, &room, &peer, stream).await;
            service.leave(&room, &peer).await;
        }
        Err(refusal) => {
            tracing::info!(target: "sfu::session", "{}: refused in room {}: {refusal}", hello.peer_id, hello.room_id);
            connection.notify("error", &json!({ "errorCode": refusal.code, "errorReason": refusal.reason }));
            connection.close(close_code::CLOSED, refusal.reason);
        }
    }
    connection.close(1000, "");
    // The writer ends by itself once told to close; a panic in it concerns this connection alone.
    let _ = tokio::time::timeout(FAREWELL * 2, writer).await;
}

async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut frames: mpsc::Receiver<String>,
    mut closing: watch::Receiver<Option<Closing>>,
) {
    let mut ping = tokio::time::interval(PING);
    ping.tick().await;
    loop {
        let message = tokio::select! {
            biased;
            frame = frames.recv() => match frame {
                Some(frame) => Message::Text(frame.into()),
                None => return,
            },
            _ = closing.wait_for(Option::is_some) => break,
            _ = ping.tick() => Message::Ping(Vec::new().into()),
        };
        // A peer that takes no byte for this long will not say goodbye either.
        match tokio::time::timeout(SILENCE, send(&mut sink, message, &mut frames)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
    let farewell = closing.borrow().clone().map(|closing| {
        // A close frame carries at most 123 bytes of reason.
        let mut reason = closing.reason;
        while reason.len() > 123 {
            reason.pop();
        }
        CloseFrame { code: closing.code, reason: reason.into() }
    });
    let _ = tokio::time::timeout(FAREWELL, sink.send(Message::Close(farewell))).await;
}

/// Sends a message and what is queued behind it in one go: what is said together arrives together.
async fn send(
    sink: &mut SplitSink<WebSocket, Message>,
    first: Message,
    frames: &mut mpsc::Receiver<String>,
) -> Result<(), axum::Error> {
    sink.feed(first).await?;
    for _ in 0..MOST_AT_ONCE {
        let Ok(frame) = frames.try_recv() else { break };
        sink.feed(Message::Text(frame.into())).await?;
    }
    sink.flush().await
}

async fn attend(service: &Arc<Service>, room: &Arc<Room>, peer: &Arc<Peer>, stream: SplitStream<WebSocket>) {
    let (sender, requests) = mpsc::channel(REQUESTS);
    let worker = tokio::spawn(work(Arc::clone(service), Arc::clone(room), Arc::clone(peer), requests));
    read(peer, stream, &sender).await;
    // What was under way is finished first, so that nothing is created after the peer's departure was tidied up.
    drop(sender);
    let _ = worker.await;
}

async fn work(
    service: Arc<Service>,
    room: Arc<Room>,
    peer: Arc<Peer>,
    mut requests: mpsc::Receiver<(u32, String, Data)>,
) {
    while let Some((id, method, data)) = requests.recv().await {
        let result = requests::handle(&service, &room, &peer, id, &method, data).await;
        let code = result.as_ref().err().map_or(200, |refusal| u32::from(refusal.code));
        service.requests.signalled(&method, code);
        if let Err(refusal) = &result {
            tracing::debug!(target: "sfu::session", "{}/{}: {method} refused: {refusal}", room.name, peer.id);
        }
        // A request that has answered by itself says so with None.
        if let Some(result) = result.transpose() {
            peer.connection.respond(id, &result);
        }
    }
}

async fn read(peer: &Peer, mut stream: SplitStream<WebSocket>, requests: &mpsc::Sender<(u32, String, Data)>) {
    let mut closing = peer.connection.closing();
    let mut allowance = Allowance::new(Instant::now());
    loop {
        let message = tokio::select! {
            message = tokio::time::timeout(SILENCE, stream.next()) => message,
            _ = closing.wait_for(Option::is_some) => return,
        };
        match message {
            Ok(Some(Ok(Message::Text(text)))) => on_text(peer, &text, requests),
            Ok(Some(Ok(Message::Binary(_)))) => complain(peer, &Refusal::field("frame", "binary; expected text")),
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            Ok(Some(Ok(Message::Close(_))) | None) => return,
            Ok(Some(Err(error))) => {
                tracing::debug!(target: "sfu::session", "{}: connection failed: {error}", peer.id);
                peer.connection.close(close_code::TOO_BIG, error.to_string());
                return;
            }
            Err(_) => {
                peer.connection.close(close_code::RETRY, "nothing was heard from the peer");
                return;
            }
        }
        if let Some(wait) = allowance.spend(Instant::now()) {
            tokio::time::sleep(wait).await;
        }
    }
}

fn on_text(peer: &Peer, text: &str, requests: &mpsc::Sender<(u32, String, Data)>) {
    match protoo::parse(text) {
        Ok(Frame::Request { id, method, data }) => {
            if requests.try_send((id, method, data)).is_err() {
                let text = format!("more than {REQUESTS} requests under way; wait for answers");
                peer.connection.respond(id, &Err(Refusal::new(429, text)));
            }
        }
        Ok(Frame::Response { id, result }) => peer.connection.complete(id, result),
        Ok(Frame::Notification { method }) => {
            tracing::trace!(target: "sfu::session", "{}: notification {method} ignored", peer.id)
        }
        Err(bad) => match bad.id {
            Some(id) => peer.connection.respond(id, &Err(bad.refusal)),
            None => complain(peer, &bad.refusal),
        },
    }
}

/// What cannot be answered, since it is no request, is complained about.
fn complain(peer: &Peer, refusal: &Refusal) {
    peer.connection.notify("error", &json!({ "errorCode": refusal.code, "errorReason": refusal.reason }));
}

/// A token bucket over messages.
struct Allowance {
    tokens: f64,
    at: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { tokens: f64::from(BURST), at: now }
    }

    /// Takes one token; tells how long to wait for it.
    fn spend(&mut self, now: Instant) -> Option<Duration> {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(RATE);
        self.tokens = (self.tokens + earned).min(f64::from(BURST)) - 1.0;
        self.at = now;
        (self.tokens < 0.0).then(|| Duration::from_secs_f64(-self.tokens / f64::from(RATE)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_slowed_to_the_rate_after_its_burst() {
        let mut now = Instant::now();
        let mut allowance = Allowance::new(now);
        assert!((0..BURST).all(|_| allowance.spend(now).is_none()));
        let start = now;
        for _ in 0..RATE * 3 {
            if let Some(wait) = allowance.spend(now) {
                now += wait;
            }
        }
        let took = now.duration_since(start);
        assert!((2.9..3.1).contains(&took.as_secs_f64()), "{took:?}");
    }

    #[test]
    fn what_was_not_sent_is_saved_up_to_the_burst() {
        let now = Instant::now();
        let mut allowance = Allowance::new(now);
        let later = now + Duration::from_secs(3600);
        assert!((0..BURST).all(|_| allowance.spend(later).is_none()));
        assert!(allowance.spend(later).is_some());
    }
}
