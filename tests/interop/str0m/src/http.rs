//! The HTTP half of WHIP (RFC 9725) and WHEP: one request on each connection, by HTTP/1.0, whose answers end with it.
//!
//! Limits: seconds for an answer, bytes of it. Left out: TLS, tokens, redirects, trickle.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of an answer.
const MAX_ANSWER: u64 = 256 << 10;

/// Where an offer is given.
#[derive(Debug)]
pub(crate) struct Address {
    /// Host and port.
    authority: String,
    path: String,
    server: SocketAddr,
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url}: give http://HOST:PORT/PATH"))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut found = authority.to_socket_addrs().map_err(|error| format!("{authority}: {error}"))?;
        let server = found.next().ok_or_else(|| format!("{authority}: no address"))?;
        Ok(Self { authority: authority.to_owned(), path: format!("/{path}"), server })
    }

    /// An address of ours from which the server can be reached, with any free port.
    pub(crate) fn local(&self) -> Result<SocketAddr, String> {
        let mut local = self.connect()?.local_addr().map_err(|error| error.to_string())?;
        local.set_port(0);
        Ok(local)
    }

    /// Gives an offer; tells the path of the resource, and the answer.
    pub(crate) fn offer(&self, sdp: &str) -> Result<(String, String), String> {
        let (status, headers, body) = self.request("POST", &self.path, sdp)?;
        if status != 201 {
            return Err(format!("POST: {status}: {body}"));
        }
        let location = headers.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
        });
        let location = location.ok_or("the answer has no Location")?;
        if location.starts_with('/') { Ok((location, body)) } else { Err(format!("{location}: no path of the server")) }
    }

    pub(crate) fn delete(&self, resource: &str) -> Result<(), String> {
        let (status, _, body) = self.request("DELETE", resource, "")?;
        if status == 200 { Ok(()) } else { Err(format!("DELETE: {status}: {body}")) }
    }

    fn connect(&self) -> Result<TcpStream, String> {
        TcpStream::connect_timeout(&self.server, PATIENCE).map_err(|error| format!("{}: {error}", self.server))
    }

    /// Status, headers, body.
    fn request(&self, method: &str, path: &str, body: &str) -> Result<(u16, String, String), String> {
        let failed = |error: std::io::Error| format!("{method} {path}: {error}");
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n",
            self.authority,
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).map_err(failed)?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER).read_to_string(&mut answer).map_err(failed)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("{method} {path}: no HTTP answer"))?;
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| format!("{method} {path}: no status in {head:?}"))?;
        Ok((status, head.to_owned(), body.to_owned()))
    }
}
