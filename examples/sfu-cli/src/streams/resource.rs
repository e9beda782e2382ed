//! What a POST makes: a peer in a room, known by an address that cannot be guessed, until it is deleted or its
//! connection ends.
//!
//! Told: fragments (RFC 9725, section 4.3) and the wish to end. Tells: the entity tag of its ICE session, and with a new one
//! the credentials of a restart.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sfu_control::client::Id;
use sfu_control::schema as fb;
use tokio::sync::watch;

use super::problem::{Answered, Problem};
use super::secret::random_text;
use super::{FRAGMENT, Kind, SDP, Streams};
use crate::connection::close_code;
use crate::protoo::Refusal;
use crate::room::{Peer, Room};
use crate::service::Service;

/// How long DTLS may take to connect.
const CONNECT: Duration = Duration::from_secs(30);
/// How often it is looked whether the peer is heard of.
const LISTEN: Duration = Duration::from_secs(5);
/// A peer that is not heard of for this long is gone. Consent by ICE checks (RFC 7675) is not asked for: GStreamer and
/// others over libnice send none once they are connected, but keep-alives each 25 s.
const SILENCE: Duration = Duration::from_secs(30);
/// How long an ending may take before it is answered all the same.
const FAREWELL: Duration = Duration::from_secs(3);

/// Living resources by the last part of their address.
#[derive(Default)]
pub(super) struct Resources(Mutex<HashMap<String, Arc<Resource>>>);

impl Resources {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Resource>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Resource>> {
        self.lock().get(id).cloned()
    }
}

/// The ICE session (RFC 9725, section 4.3.1).
struct IceSession {
    /// Without its quotes.
    tag: String,
    /// Of the client; absent until its description came.
    ufrag: Option<String>,
}

/// See the module.
pub(super) struct Resource {
    pub(super) kind: Kind,
    pub(super) room: Arc<Room>,
    pub(super) peer: Arc<Peer>,
    pub(super) transport: Id,
    id: String,
    /// An async lock: restarts are one after the other.
    ice: tokio::sync::Mutex<IceSession>,
    gone: watch::Sender<bool>,
}

impl Resource {
    pub(super) fn new(
        kind: Kind,
        room: Arc<Room>,
        peer: Arc<Peer>,
        transport: Id,
        ufrag: Option<String>,
    ) -> Result<Arc<Self>, Refusal> {
        let ice = tokio::sync::Mutex::new(IceSession { tag: random_text(8)?, ufrag });
        let (gone, _) = watch::channel(false);
        Ok(Arc::new(Self { kind, room, peer, transport, id: random_text(16)?, ice, gone }))
    }

    /// 201, with the description.
    pub(super) async fn created(&self, sdp: String) -> Answered {
        let location = format!("/{}/{}/{}", self.kind.path(), percent(&self.room.name), self.id);
        let mut response = (StatusCode::CREATED, sdp).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
        headers.insert(header::ETAG, tag(&self.ice.lock().await.tag)?);
        headers.insert(header::LOCATION, value(&location)?);
        Ok(response)
    }

    /// Registers it and sees to its end.
    pub(super) fn start(self: &Arc<Self>, streams: &Arc<Streams>) {
        streams.resources.lock().insert(self.id.clone(), Arc::clone(self));
        let (resource, streams) = (Arc::clone(self), Arc::clone(streams));
        tokio::spawn(async move {
            resource.attend(&streams.service).await;
            streams.resources.lock().remove(&resource.id);
            streams.service.leave(&resource.room, &resource.peer).await;
            // Nobody waits, most of the time.
            let _ = resource.gone.send(true);
        });
    }

    async fn attend(&self, service: &Service) {
        let mut closing = self.peer.connection.closing();
        if tokio::time::timeout(CONNECT, closing.wait_for(Option::is_some)).await.is_ok() {
            return;
        }
        let dump = service.client.dump(self.transport).await;
        let connected = match &dump {
            Ok(fb::ReplyBodyT::WebRtcTransportDump(dump)) => dump.dtls_state == fb::DtlsState::connected,
            Ok(_) | Err(_) => false,
        };
        if !connected {
            self.peer.connection.close(close_code::RETRY, format!("not connected within {} s", CONNECT.as_secs()));
        }
        let mut heard = 0;
        let mut ticks = 0;
        // An ended sender means the end as well.
        while tokio::time::timeout(LISTEN, closing.wait_for(Option::is_some)).await.is_err() {
            let now = self.heard(service).await;
            ticks = if now == heard { ticks + 1 } else { 0 };
            heard = now;
            if LISTEN * ticks >= SILENCE {
                self.peer.connection.close(close_code::RETRY, format!("silent for {} s", SILENCE.as_secs()));
            }
        }
    }

    /// Datagrams that came from the peer's address, of whatever use.
    async fn heard(&self, service: &Service) -> u64 {
        let Ok(stats) = service.client.stats(self.transport).await else { return 0 };
        let refused = stats.drops.iter().flatten().map(|drop| drop.value).sum::<u64>();
        stats.transport.map_or(0, |transport| transport.packets_received) + refused
    }

    /// The client's description came.
    pub(super) async fn answered(&self, ufrag: String) {
        self.ice.lock().await.ufrag = Some(ufrag);
    }

    /// Ends it; 200 once it has left.
    pub(super) async fn end(&self) -> Answered {
        let mut gone = self.gone.subscribe();
        self.peer.connection.close(close_code::CLOSED, "its resource was deleted");
        if tokio::time::timeout(FAREWELL, gone.wait_for(|gone| *gone)).await.is_err() {
            tracing::warn!("{}: did not leave within {} s", self.peer.id, FAREWELL.as_secs());
        }
        Ok(StatusCode::OK.into_response())
    }

    /// A fragment: candidates, which an ICE-lite agent has no use for, or a restart.
    pub(super) async fn patch(&self, service: &Service, headers: &HeaderMap, text: &str) -> Answered {
        let fragment = service.client.parse_sdp_fragment(text).await?;
        let mut ice = self.ice.lock().await;
        let wants = headers.get(header::IF_MATCH).map(|value| value.to_str().unwrap_or_default());
        let new = fragment.ice_parameters.filter(|new| ice.ufrag.as_deref() != Some(new.username_fragment.as_str()));
        match (Condition::new(wants, &ice.tag), new) {
            (Condition::Absent, _) => {
                let text = "If-Match: is missing; give the ETag, or * with new credentials for a restart";
                Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, text))
            }
            (Condition::Other, _) => {
                let text = "If-Match: the ICE session is another one by now";
                Err(Problem::new(StatusCode::PRECONDITION_FAILED, text))
            }
            (Condition::Any, None) => {
                let text = "If-Match: * is for restarts, and the fragment has no new a=ice-ufrag and a=ice-pwd";
                Err(Problem::bad_request(text))
            }
            (Condition::Current, Some(_)) => {
                let text = "a=ice-ufrag is not that of this ICE session; a restart needs If-Match: *";
                Err(Problem::new(StatusCode::CONFLICT, text))
            }
            (Condition::Current, None) => Ok(StatusCode::NO_CONTENT.into_response()),
            (Condition::Any, Some(new)) => {
                service.client.restart_ice(self.transport).await?;
                let text = service.client.create_sdp_fragment(self.transport, fragment.mid.as_deref()).await?;
                *ice = IceSession { tag: random_text(8)?, ufrag: Some(new.username_fragment) };
                tracing::info!("{}: restarted ICE", self.peer.id);
                let mut response: Response = text.into_response();
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(FRAGMENT));
                response.headers_mut().insert(header::ETAG, tag(&ice.tag)?);
                Ok(response)
            }
        }
    }
}

/// What an `If-Match` header says of the current tag (RFC 9110, section 13.1.1).
#[derive(Debug, PartialEq, Eq)]
enum Condition {
    Absent,
    Any,
    Current,
    Other,
}

impl Condition {
    fn new(header: Option<&str>, tag: &str) -> Self {
        let Some(header) = header else { return Self::Absent };
        let mut tags = header.split(',').map(str::trim);
        if header.trim() == "*" {
            Self::Any
        } else if tags.any(|one| one.strip_prefix('"').and_then(|one| one.strip_suffix('"')) == Some(tag)) {
            Self::Current
        } else {
            Self::Other
        }
    }
}

fn value(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

fn tag(text: &str) -> Result<HeaderValue, Problem> {
    value(&format!("\"{text}\""))
}

/// One segment of a path (RFC 3986, section 2.1).
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_told_apart() {
        for (header, expected) in [
            (None, Condition::Absent),
            (Some("*"), Condition::Any),
            (Some("\"a\""), Condition::Current),
            (Some("\"b\", \"a\""), Condition::Current),
            (Some("\"b\""), Condition::Other),
            (Some("W/\"a\""), Condition::Other),
            (Some("a"), Condition::Other),
            (Some(""), Condition::Other),
        ] {
            assert_eq!(Condition::new(header, "a"), expected, "{header:?}");
        }
    }

    #[test]
    fn addresses_hold_any_room() {
        assert_eq!(percent("a/b ü?"), "a%2Fb%20%C3%BC%3F");
    }
}
