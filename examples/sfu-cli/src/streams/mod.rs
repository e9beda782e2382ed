//! WHIP and WHEP: publishing into a room and watching it by HTTP and session descriptions alone.
//!
//! Told: requests on `/whip/ROOM` and `/whep/ROOM`, and on the resources below them. Tells: answers, or problems
//! (RFC 9457) that say what was wrong and what to do. RFC 9725 (WHIP) and draft-ietf-wish-whep, in both of its ways: the
//! watcher offers, or the body is empty and the service offers. Limits: bytes of a body; rooms and peers as everywhere;
//! a resource whose DTLS is not connected within half a minute goes.
//!
//! Leaves out: `Link` headers (the service needs no STUN or TURN server), events and layer choice of WHEP.

mod problem;
mod publish;
mod resource;
mod secret;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{patch, post};

use crate::protoo::check_text;
use crate::service::Service;
use crate::web::origin_allowed;
use problem::{Answered, Problem};
use resource::{Resource, Resources};
use secret::Token;

/// Bytes of a request's body. The largest offers of browsers have a quarter of it.
const MAX_BODY: usize = 256 * 1024;
/// Characters of a room's name.
const MAX_ROOM: usize = 64;
const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// Which of the two protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Whip,
    Whep,
}

impl Kind {
    fn path(self) -> &'static str {
        match self {
            Self::Whip => "whip",
            Self::Whep => "whep",
        }
    }
}

/// What the handlers share.
pub(crate) struct Streams {
    service: Arc<Service>,
    origins: Arc<Vec<String>>,
    whip: Vec<Token>,
    whep: Vec<Token>,
    resources: Resources,
}

impl Streams {
    /// Without tokens of a kind everybody may.
    pub(crate) fn new(service: Arc<Service>, origins: Arc<Vec<String>>, whip: &[String], whep: &[String]) -> Arc<Self> {
        let tokens = |texts: &[String]| texts.iter().map(|text| Token::new(text)).collect();
        let (whip, whep) = (tokens(whip), tokens(whep));
        Arc::new(Self { service, origins, whip, whep, resources: Resources::default() })
    }

    fn authorized(&self, kind: Kind, headers: &HeaderMap) -> bool {
        let tokens = if kind == Kind::Whip { &self.whip } else { &self.whep };
        if tokens.is_empty() {
            return true;
        }
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = value.and_then(|value| value.split_once(' ')).filter(|(s, _)| s.eq_ignore_ascii_case("bearer"));
        let Some((_, given)) = bearer else { return false };
        Token::new(given.trim()).is_among(tokens)
    }
}

type Shared = State<Arc<Streams>>;
type Params = Result<Query<HashMap<String, String>>, QueryRejection>;

/// The routes of both protocols.
pub(crate) fn routes(streams: Arc<Streams>) -> Router {
    Router::new()
        .route("/whip/{room}", post(whip))
        .route("/whip/{room}/{resource}", patch(whip_patch).delete(whip_delete))
        .route("/whep/{room}", post(whep))
        .route("/whep/{room}/{resource}", patch(whep_patch).delete(whep_delete))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&streams), guard))
        .with_state(streams)
}

/// Origin, preflight and token, before anything else; headers for browsers, after all else.
async fn guard(State(streams): Shared, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let origin = headers.get(header::ORIGIN).cloned();
    if !origin_allowed(headers, &streams.origins) {
        let text = "Origin: not allowed to stream here; see --origin";
        return Problem::new(StatusCode::FORBIDDEN, text).into_response();
    }
    let path = request.uri().path();
    let kind = if path.starts_with("/whip/") { Kind::Whip } else { Kind::Whep };
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else if streams.authorized(kind, headers) {
        let method = request.method().clone();
        let response = next.run(request).await;
        if response.status() == StatusCode::METHOD_NOT_ALLOWED { not_allowed(&method, &response) } else { response }
    } else {
        let text = "Authorization: a bearer token of this service is needed";
        Problem::new(StatusCode::UNAUTHORIZED, text).with(header::WWW_AUTHENTICATE, "Bearer").into_response()
    };
    let fixed = [
        (HeaderName::from_static("accept-post"), SDP),
        (HeaderName::from_static("accept-patch"), FRAGMENT),
        (header::CACHE_CONTROL, "no-store"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "OPTIONS, POST, PATCH, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, If-Match"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Location, ETag, Accept-Patch, Accept-Post"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
        (header::VARY, "Origin"),
    ];
    let headers = response.headers_mut();
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

fn not_allowed(method: &Method, response: &Response) -> Response {
    let text =
        format!("{method} is not for this address; POST to /whip/ROOM or /whep/ROOM, PATCH and DELETE what it makes");
    let mut out = Problem::new(StatusCode::METHOD_NOT_ALLOWED, text).into_response();
    if let Some(allow) = response.headers().get(header::ALLOW) {
        out.headers_mut().insert(header::ALLOW, allow.clone());
    }
    out
}

/// The body as text of one of these types.
fn text(headers: &HeaderMap, body: Result<Bytes, BytesRejection>, types: &[&str]) -> Result<String, Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let given = given.split(';').next().unwrap_or_default().trim();
    if !types.iter().any(|wanted| given.eq_ignore_ascii_case(wanted)) {
        let text = format!("Content-Type: {given:?}; give {}", types.join(" or "));
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let body = body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {MAX_BODY} bytes"))
        }
        status => Problem::new(status, error.body_text()),
    })?;
    String::from_utf8(body.into()).map_err(|_| Problem::bad_request("the body is no UTF-8 text"))
}

fn query(params: Params) -> Result<HashMap<String, String>, Problem> {
    params.map(|Query(query)| query).map_err(|error| Problem::bad_request(error.body_text()))
}

async fn whip(
    State(streams): Shared,
    Path(room): Path<String>,
    params: Params,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answered {
    check_text("room", &room, MAX_ROOM)?;
    let offer = text(&headers, body, &[SDP])?;
    let who = publish::Introduction::new(&query(params)?, &headers)?;
    // A task of its own: what it begins is finished or undone even if the client hangs up meanwhile.
    finished(tokio::spawn(publish::open(streams, room, offer, who)).await)
}

async fn whep(
    State(streams): Shared,
    Path(room): Path<String>,
    params: Params,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answered {
    check_text("room", &room, MAX_ROOM)?;
    let wanted = watch::wanted(&query(params)?)?;
    let empty = matches!(&body, Ok(body) if body.is_empty());
    if empty {
        return finished(tokio::spawn(watch::offer(streams, room, wanted)).await);
    }
    let offer = text(&headers, body, &[SDP])?;
    finished(tokio::spawn(watch::open(streams, room, offer, wanted)).await)
}

fn finished(result: Result<Answered, tokio::task::JoinError>) -> Answered {
    result.unwrap_or_else(|error| {
        tracing::error!("a request for a stream failed: {error}");
        Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request failed in the service"))
    })
}

fn find(streams: &Streams, kind: Kind, room: &str, id: &str) -> Result<Arc<Resource>, Problem> {
    let found = streams.resources.find(id).filter(|resource| resource.kind == kind && resource.room.name == room);
    found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "no such resource; it may have ended: POST a new offer"))
}

async fn whip_patch(
    State(streams): Shared,
    Path((room, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answered {
    let resource = find(&streams, Kind::Whip, &room, &id)?;
    let fragment = text(&headers, body, &[FRAGMENT])?;
    resource.patch(&streams.service, &headers, &fragment).await
}

async fn whep_patch(
    State(streams): Shared,
    Path((room, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answered {
    let resource = find(&streams, Kind::Whep, &room, &id)?;
    let is_answer = headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(SDP.as_bytes()));
    let text = text(&headers, body, &[FRAGMENT, SDP])?;
    if is_answer {
        return finished(tokio::spawn(watch::answered(streams, resource, text)).await);
    }
    resource.patch(&streams.service, &headers, &text).await
}

async fn whip_delete(State(streams): Shared, Path((room, id)): Path<(String, String)>) -> Answered {
    find(&streams, Kind::Whip, &room, &id)?.end().await
}

async fn whep_delete(State(streams): Shared, Path((room, id)): Path<(String, String)>) -> Answered {
    find(&streams, Kind::Whep, &room, &id)?.end().await
}
