//! The HTTP half of WHIP (RFC 9725) and WHEP: an offer goes out by POST, an answer and the address of the stream come back,
//! and DELETE there ends it.
//!
//! Limits: bytes of an answer, seconds for a request. Leaves out: trickle, `Link` headers, redirects.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_openssl::client::legacy::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::tls;

/// Most bytes of an answer.
const MAX_ANSWER: usize = 256 << 10;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Speaks to one server.
#[derive(Debug, Clone)]
pub(super) struct Signalling {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// An accepted stream.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) answer: String,
    /// Where it is ended, if the server said so.
    pub(super) resource: Option<Uri>,
}

impl Signalling {
    pub(super) fn new(insecure: bool) -> Result<Self, String> {
        let https = tls::connector(insecure)?;
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(https) })
    }

    /// Offers a stream.
    pub(super) async fn offer(&self, url: &str, token: Option<&str>, offer: String) -> Result<Accepted, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url}: no address: {error}"))?;
        let request = self.request(Method::POST, &uri, token, offer)?;
        let (status, location, body) = self.send(request).await.map_err(|error| format!("POST {url}: {error}"))?;
        if status != 201 {
            let reason: String = body.chars().take(300).collect();
            return Err(format!("POST {url}: {status}: {reason}"));
        }
        let resource = location.and_then(|location| join(&uri, &location));
        Ok(Accepted { answer: body, resource })
    }

    /// Ends a stream.
    pub(super) async fn end(&self, resource: &Uri, token: Option<&str>) -> Result<(), String> {
        let request = self.request(Method::DELETE, resource, token, String::new())?;
        let (status, ..) = self.send(request).await.map_err(|error| format!("DELETE {resource}: {error}"))?;
        if (200..300).contains(&status) { Ok(()) } else { Err(format!("DELETE {resource}: {status}")) }
    }

    fn request(
        &self,
        method: Method,
        uri: &Uri,
        token: Option<&str>,
        body: String,
    ) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::builder().method(method).uri(uri).header(header::USER_AGENT, "sfu-bench");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/sdp");
        }
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request.body(Full::from(body)).map_err(|error| format!("no request can be made for {uri}: {error}"))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(u16, Option<String>, String), String> {
        let work = async {
            let response = self.client.request(request).await.map_err(|error| chain(&error))?;
            let status = response.status().as_u16();
            let location =
                response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            let text = String::from_utf8(body.into()).map_err(|_| "the answer is no text".to_owned())?;
            Ok((status, location, text))
        };
        tokio::time::timeout(PATIENCE, work)
            .await
            .unwrap_or_else(|_| Err(format!("no answer in {} s", PATIENCE.as_secs())))
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// `Location` is an address, or a path on the same server.
fn join(base: &Uri, location: &str) -> Option<Uri> {
    if location.contains("://") {
        return location.parse().ok();
    }
    let mut parts = base.clone().into_parts();
    let path = if location.starts_with('/') {
        location.to_owned()
    } else {
        let (folder, _) = base.path().rsplit_once('/')?;
        format!("{folder}/{location}")
    };
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// The local address from which packets to the server leave.
pub(super) fn local_address(url: &str) -> Result<IpAddr, String> {
    let uri: Uri = url.parse().map_err(|error| format!("{url}: no address: {error}"))?;
    let host = uri.host().ok_or_else(|| format!("{url}: no host in it"))?.trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let found = (host, port).to_socket_addrs().map_err(|error| format!("{host}: {error}"))?.next();
    let server: SocketAddr = found.ok_or_else(|| format!("{host}: no address"))?;
    let any = SocketAddr::new(if server.is_ipv4() { [0; 4].into() } else { [0; 16].into() }, 0);
    let route = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(server)?;
        socket.local_addr()
    });
    route.map(|address| address.ip()).map_err(|error| format!("no way to {server}: {error}; give --bind"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_addresses_or_paths() {
        let base: Uri = "http://a.example:8080/whip/room".parse().unwrap();
        for (location, wanted) in [
            ("/whip/room/x", "http://a.example:8080/whip/room/x"),
            ("x?y=1", "http://a.example:8080/whip/x?y=1"),
            ("https://b.example/z", "https://b.example/z"),
        ] {
            assert_eq!(join(&base, location).unwrap().to_string(), wanted);
        }
    }

    #[test]
    fn the_way_to_a_server_on_this_machine_is_loopback() {
        assert!(local_address("http://127.0.0.1:3000").unwrap().is_loopback());
        assert!(local_address("http://[::1]:3000/x").unwrap().is_loopback());
        assert!(local_address("nothing").is_err());
    }
}
