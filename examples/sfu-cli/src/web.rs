//! The web side: the page, the health check, and the door to signalling.
//!
//! The page is part of the binary. Signalling shares its address: a WebSocket upgrade on `/` that speaks `protoo`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Path, Query, State, WebSocketUpgrade};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::RustEmbed;
use sfu_control::client::ListenInfo;

use crate::broadcasters::{self, Broadcasters};
use crate::log::Log;
use crate::metrics;
use crate::protoo::MAX_FRAME;
use crate::service::{self, Hello, Service};
use crate::session;
use crate::streams::{self, Streams};

/// The protocol's name in the WebSocket handshake.
const SUBPROTOCOL: &str = "protoo";

/// The bundled page.
#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/page/dist"]
struct Page;

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct Web {
    pub(crate) service: Arc<Service>,
    /// Origins that may signal besides the page's own.
    pub(crate) origins: Arc<Vec<String>>,
    /// WHIP and WHEP.
    pub(crate) streams: Arc<Streams>,
    pub(crate) log: Log,
    /// Rooms with series of their own.
    pub(crate) metrics_rooms: u16,
    /// Where plain transports listen.
    pub(crate) plain: ListenInfo,
    pub(crate) broadcasters: Arc<Broadcasters>,
}

/// All routes.
pub(crate) fn routes(web: Web) -> Router {
    let streams = streams::routes(Arc::clone(&web.streams));
    let page = Router::new()
        .route("/", get(root))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/{*path}", get(asset))
        .merge(broadcasters::routes());
    page.with_state(web).merge(streams)
}

async fn health(State(web): State<Web>) -> Response {
    web.service.requests.served("/health", 200);
    Json(service::health(&web.service).await).into_response()
}

async fn metrics(State(web): State<Web>) -> Response {
    let gathered = metrics::gather(&web.service, usize::from(web.metrics_rooms), web.log.dropped()).await;
    let response = match gathered {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n").into_response(),
    };
    web.service.requests.served("/metrics", response.status().as_u16());
    response
}

async fn asset(State(web): State<Web>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    let response = file(&path, &headers);
    web.service.requests.served("page", response.status().as_u16());
    response
}

async fn root(
    State(web): State<Web>,
    query: Result<Query<HashMap<String, String>>, QueryRejection>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Ok(upgrade) = upgrade else {
        return file("index.html", &headers);
    };
    let plain = |code: StatusCode, text: String| (code, text + "\n").into_response();
    if !origin_allowed(&headers, &web.origins) {
        tracing::info!(target: "sfu::web", "a connection of origin {:?} was refused", headers.get(header::ORIGIN));
        return plain(StatusCode::FORBIDDEN, "Origin: not allowed to signal here; see --origin".into());
    }
    if !offers_subprotocol(&headers) {
        return plain(StatusCode::BAD_REQUEST, format!("Sec-WebSocket-Protocol: expected {SUBPROTOCOL}"));
    }
    let hello = match query {
        Ok(Query(query)) => Hello::new(&query),
        Err(error) => return plain(StatusCode::BAD_REQUEST, error.body_text()),
    };
    match hello {
        Ok(hello) => upgrade
            .protocols([SUBPROTOCOL])
            .max_message_size(MAX_FRAME)
            .max_frame_size(MAX_FRAME)
            .on_upgrade(move |socket| session::run(web.service, socket, hello)),
        Err(refusal) => plain(StatusCode::BAD_REQUEST, refusal.reason),
    }
}

fn offers_subprotocol(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    offers
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|name| name.trim() == SUBPROTOCOL)
}

/// A browser tells where the script comes from: the page's own host may signal, and whom the operator named. Clients
/// that are no browsers send no origin; the check is not against them.
pub(crate) fn origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    let same = |name: &String| name == "*" || name.trim_end_matches('/').eq_ignore_ascii_case(origin);
    if allowed.iter().any(same) {
        return true;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    matches!((authority, host), (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host))
}

fn file(path: &str, headers: &HeaderMap) -> Response {
    let Some(asset) = Page::get(path) else {
        return (StatusCode::NOT_FOUND, "not found\n").into_response();
    };
    let tag: String = asset.metadata.sha256_hash()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let seen = headers.get(header::IF_NONE_MATCH).is_some_and(|seen| seen.as_bytes() == tag.as_bytes());
    let mut response =
        if seen { StatusCode::NOT_MODIFIED.into_response() } else { asset.data.into_owned().into_response() };
    let fixed = [
        (header::CONTENT_TYPE, media_type(path)),
        // Asked for anew each time: the answer is short when nothing has changed.
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; media-src 'self' blob: mediastream:; \
             style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, end)| end) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn the_pages_own_origin_and_named_ones_may_signal_and_no_other() {
        let named = vec!["https://app.example.org".to_owned()];
        let cases = [
            ("http://127.0.0.1:3000", "127.0.0.1:3000", true),
            ("https://Room.Example.org", "room.example.org", true),
            ("https://app.example.org", "127.0.0.1:3000", true),
            ("https://evil.example", "127.0.0.1:3000", false),
            ("http://127.0.0.1:3001", "127.0.0.1:3000", false),
            ("null", "127.0.0.1:3000", false),
        ];
        for (origin, host, expected) in cases {
            let headers = headers(&[(header::ORIGIN, origin), (header::HOST, host)]);
            assert_eq!(origin_allowed(&headers, &named), expected, "{origin} at {host}");
        }
        assert!(origin_allowed(&headers(&[(header::HOST, "x")]), &[]), "no browser");
        let foreign = headers(&[(header::ORIGIN, "https://evil.example"), (header::HOST, "x")]);
        assert!(origin_allowed(&foreign, &["*".to_owned()]));
    }

    #[test]
    fn the_subprotocol_is_found_in_a_list() {
        assert!(offers_subprotocol(&headers(&[(header::SEC_WEBSOCKET_PROTOCOL, "a, protoo")])));
        assert!(!offers_subprotocol(&headers(&[(header::SEC_WEBSOCKET_PROTOCOL, "protoo2")])));
    }

    #[test]
    fn the_page_is_part_of_the_binary_and_is_not_sent_twice() {
        let first = file("index.html", &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        assert_eq!(file("index.html", &headers(&[(header::IF_NONE_MATCH, &tag)])).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(file("../Cargo.toml", &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
    }
}
